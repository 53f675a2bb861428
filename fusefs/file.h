/* file.h - what file.c (reading and writing), space.c (sizes and holes) and attr.c share. */
#ifndef VBLKFS_FILE_H
#define VBLKFS_FILE_H
#include "inode.h"

/* tx_begin() for what needs NR_ALLOC blocks; if they are only promised by inodes that are being
 * freed, wait for those. */
int file_begin(struct fs_thread *t, uint32_t nr_join, uint64_t nr_alloc, struct tx_handle *h);

/* Is a write to one of these blocks in flight? Caller holds inode->lock, for writing if none may
 * begin. */
bool file_is_written(struct inode *inode, uint64_t first, uint64_t last);
/* Poll this thread's queue until no write to these blocks is in flight. Caller holds no lock and no
 * handle. */
void file_wait(struct fs_thread *t, struct inode *inode, uint64_t first, uint64_t last);

/* In these three the caller holds inode->lock for writing. -EAGAIN: file_settle() with no lock and
 * no handle, then try again. */

/* What is on the disk of bytes [from, to), which are in one block, becomes zeros before it returns.
 */
int file_zero(struct fs_thread *t, struct inode *inode, uint64_t from, uint64_t to);
/* If the file is to have bytes past its end: zeros where the end is inside a block. Its pending
 * truncate is -EAGAIN. */
int file_grow_from_end(struct fs_thread *t, struct inode *inode);
/* Set the size; blocks past it go now, or in parts: then the inode has INODE_F_TRUNCATING and
 * file_truncate_later() is due after tx_end(). The caller updates the inode. H has TX_JOIN_EXTENT
 * joins at least. */
int file_set_size(struct tx_handle *h, struct inode *inode, uint64_t size);

int file_settle(struct fs_thread *t, struct inode *inode);
/* Finish a truncate that is pending, or leave that to orphan.c's thread. */
int file_truncate_finish(struct fs_thread *t, struct inode *inode);
void file_truncate_later(struct inode *inode);

/* Unmap and free what a handle can take of [first, end); the caller updates the inode. */
int file_unmap(struct tx_handle *h, struct inode *inode, uint64_t first, uint64_t end, bool *more);
/* Where a new block for LBLK would best be; PREV: the extent before it, if known. */
uint64_t file_goal(struct fs_thread *t, struct inode *inode, uint64_t lblk);
#endif
