/* orphan.h - inodes that must not outlive a crash: unlinked but in use, or half truncated.
 *
 * A list through the inodes on the disk, from the superblock. One thread frees what is due: at
 * mount what a crash left, later what inode_put_io() and large deletes leave to it. */
#ifndef VBLKFS_ORPHAN_H
#define VBLKFS_ORPHAN_H
#include "inode.h"

int orphans_create(struct fs *fs); /* reads the list when mounted writable, starts the thread */
void orphans_destroy(
	struct fs *fs); /* frees all that nobody refers to, nlookup or not: the mount ends */
int orphan_add(struct tx_handle *h, struct inode *inode); /* caller holds inode->lock for writing */
int orphan_remove(struct tx_handle *h, struct inode *inode); /* likewise */
void orphan_kick(struct
	inode *inode); /* to the thread: free it, or finish its truncate; takes over the caller's reference */
bool orphans_busy(struct fs *fs); /* the thread has something to do */
void orphans_wait(struct fs_thread *
		t); /* until the thread has nothing to do; polls the queue meanwhile. Holds no handle, no lock */
#endif
