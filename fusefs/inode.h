/* inode.h - inodes in memory.
 *
 * One struct inode for a number while anyone refers to it. Its fields are the truth; inode_update()
 * puts them into the inode table under a handle. References: inode_get/inode_put inside calls; and
 * nlookup, those the API's callers hold (fs_lookup, fs_forget). An inode without links is on the
 * orphan list from the unlink on, and is freed when the last of both is gone: small ones at once by
 * that thread, others by orphan.c's thread. */
#ifndef VBLKFS_INODE_H
#define VBLKFS_INODE_H
#include "tx.h"
#include "extent.h"
#include "table.h"

struct inode {
	uint64_t ino;
	struct fs *fs;
	pthread_rwlock_t lock; /* see fs.h; guards all down to the line */
	_Atomic uint32_t mode; /* its type never changes, and may be looked at without the lock */
	uint32_t nlink;
	uint32_t uid, gid;
	uint64_t size;      /* bytes */
	uint64_t nr_blocks; /* allocated */
	uint32_t generation;
	uint32_t flags; /* INODE_F_* */
	struct timespec atime, mtime, ctime, btime;
	uint64_t parent; /* directories */
	uint64_t rdev;   /* devices */
	uint64_t xattr_block;
	uint8_t xattr[INODE_XATTR_BYTES];
	uint16_t xattr_bytes;
	uint8_t fork_format; /* enum fork_format */
	uint8_t fork_count;
	union {
		struct extent extents[INODE_INLINE_EXTENTS];
		struct {
			uint64_t root;
			uint32_t height;
		} btree;
		char symlink[INODE_FORK_BYTES];
	} fork;
	uint64_t changed_seq;       /* transaction of the last change; tx_sequence() */
	uint64_t synced_seq_needed; /* of the last change that fdatasync wants */
	uint64_t alloc_goal;        /* where the next block of data would best be */
	/* --- */
	atomic_uint_fast64_t written_at; /* tx.c: the FLUSH that covers the last write in place */
	atomic_bool write_lost;          /* the next fsync must say so */
	pthread_mutex_t writes_lock;     /* leaf */
	struct fs_io *writes;            /* file.c: those in flight */
	bool broken; /* under writes_lock; file.c: blocks are mapped whose contents never got there */
	struct inode *orphan_prev, *orphan_next; /* under fs->orphan_lock; utlist's DL_ */
	atomic_uint_fast64_t nlookup;
	unsigned refs;                     /* inode.c's lock, down to the end */
	bool freeing;                      /* nobody gets it any more */
	bool in_lru;                       /* nobody refers to it, yet it is kept for a while */
	struct inode *lru_prev, *lru_next; /* utlist's DL_ */
	struct inode *kick_next;           /* orphan.c's lock: in its thread's queue */
	UT_hash_handle hh;
};

int inodes_create(struct fs *fs);
void inodes_destroy(struct fs *fs);
void inodes_note_lost(struct fs *fs); /* a FLUSH failed: whose writes needed it? Any thread */

/* Find or read. -ESTALE: free or never used. *OUT: inode_put(). */
int inode_get(struct fs_thread *t, uint64_t ino, struct inode **out);
void inode_put(struct fs_thread *t,
	struct inode *inode); /* NULL: nothing. Under no lock: it may free an orphan */
void inode_put_io(
	struct inode *inode); /* from done(): leaves an orphan's freeing to orphan.c's thread */
void inode_hold(struct inode *inode);

/* A new inode under H, times now, nlink 1 (directories 2), referenced and write-locked, not yet in
 * any directory. */
int inode_create(struct tx_handle *h, uint64_t parent, uint32_t mode, uint32_t uid, uint32_t gid,
	struct inode **out);
/* Put the fields into the inode table. Caller holds inode->lock for writing. TIMES_ONLY: fdatasync
 * need not care. */
int inode_update(struct tx_handle *h, struct inode *inode, bool times_only);
void inode_attr(const struct inode *inode, struct fs_attr *out); /* caller holds inode->lock */
void inode_now(struct timespec *out);

/* Free the inode and all it has; it is unlinked and nobody refers to it but the caller, who took it
 * over: with an error it stays, unusable, for the next mount. Several transactions. By inode.c and
 * orphan.c. */
int inode_free_all(struct fs_thread *t, struct inode *inode);

/* For orphan.c. Take over an unlinked inode to which nobody but API callers refer; false: somebody
 * does. */
bool inode_take_over(struct inode *inode);
/* The inode's slot in the table: to look at, or joined. Use it under (*B)->lock; cache_put(*B). */
int inode_slot_get(struct fs_thread *t, uint64_t ino, struct buf **b, struct inode_disk **disk);
int inode_slot_join(struct tx_handle *h, uint64_t ino, struct buf **b, struct inode_disk **disk);

/* attr.c: does FS_KILL_PRIV have anything to do; do it. Caller holds inode->lock, for writing to do
 * it, and updates the inode. */
bool inode_has_priv(struct fs_thread *t, struct inode *inode);
int inode_kill_priv(struct tx_handle *h, struct inode *inode);
#endif
