/* xattr.h - extended attributes, for the files that free inodes and clear privileges. vblkfs.h has
 * the calls by number.
 *
 * Caller holds inode->lock, for writing to change, and calls inode_update() after a change. */
#ifndef VBLKFS_XATTR_H
#define VBLKFS_XATTR_H
#include "inode.h"

/* The length of the entry at AT of an area's BYTES; 0: what is there is not whole, or no entry. */
uint32_t xattr_entry_check(const uint8_t *area, uint32_t bytes, uint32_t at);

/* Is there a NAME ("security.capability")? 1, 0, or -EIO, -EUCLEAN. Cheap when the inode has no
 * attributes. */
int xattr_present(struct fs_thread *t, struct inode *inode, const char *name);
/* -ENODATA: there is none. H has a few blocks to join. */
int xattr_remove_locked(struct tx_handle *h, struct inode *inode, const char *name);
/* All of them, with their blocks; their number is bounded, so that one handle of TX_JOIN_EXTENT
 * blocks will do. */
int xattr_free_all(struct tx_handle *h, struct inode *inode);
#endif
