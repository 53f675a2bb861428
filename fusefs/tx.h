/* tx.h - transactions: every change of metadata is part of one, and is on the disk whole or not at
 * all.
 *
 * Many handles, of many threads, make up the running transaction. One commit thread closes it
 * (every commit= seconds, on fsync, when it grows large), waits for its handles and for earlier
 * file I/O (fs.h), and makes it durable, while the next one runs.
 *
 *	err = tx_begin(t, nr_join, nr_alloc, &h);	may wait; holds no lock
 *	  lock things
 *	  err = tx_join(&h, buf);			before the first change of buf's bytes
 *	  change buf->data
 *	  unlock
 *	tx_end(&h);					the changes stand; they are durable after a commit
 *
 * There is no undo: check everything that can fail before the first change; -EIO or -EUCLEAN
 * halfway is fs_abort(). Space can't run out halfway: NR_ALLOC blocks are promised at the
 * beginning.
 *
 * A block that the committing transaction has not yet copied out is copied by tx_join() first, so
 * nobody waits. tx_join() may be called with or without buf->lock. Waits inside tx_begin() and the
 * like poll this thread's queue, and may use up a blk_wake() of it that was meant for the caller:
 * look again at what you wait for before you sleep. */
#ifndef VBLKFS_TX_H
#define VBLKFS_TX_H
#include "cache.h"

struct tx_handle { /* on the caller's stack */
	struct fs_thread *t;
	struct tx *tx;
	bool times_only;      /* see tx_times_only() */
	uint32_t nr_join;     /* blocks it may still join */
	uint64_t nr_reserved; /* blocks it may still allocate */
};

/* Enough for one operation on names: two directory inserts and a removal with splits, three inodes,
 * bitmaps. */
#define TX_JOIN_NAMES  96U
#define TX_ALLOC_NAMES 32U
/* Enough to insert or remove one extent, with splits, bitmaps and the inode. */
#define TX_JOIN_EXTENT  48U
#define TX_ALLOC_EXTENT 16U
#define TX_JOIN_INODE   8U /* one inode's fields */

int tx_create(struct fs *fs); /* starts the commit thread unless read-only */
/* Commit all, write all home, stop the thread. */
int tx_destroy(struct fs *fs);
/* At mount, before tx_create(): bring what the journal has committed home (read-only: into the
 * cache only). */
int tx_replay(struct fs_thread *t, uint64_t *nr_transactions); /* how many there were; or NULL */
/* Only look. NR_BEHIND: how many whole ones there are behind one that is not; or NULL. */
int tx_replay_scan(struct fs_thread *t, uint64_t *nr_transactions, uint64_t *nr_behind);

/* NR_ALLOC: blocks that may be allocated, data and metadata. 0: the operation only frees, and may
 * use the reserve for TX_ALLOC_EXTENT blocks. When space is short but freed blocks await a commit,
 * waits for it. -ENOSPC, -EROFS, -EIO. */
int tx_begin(struct fs_thread *t, uint32_t nr_join, uint64_t nr_alloc, struct tx_handle *h);
int tx_join(struct tx_handle *h, struct buf *b); /* may be called again for the same buf */
/* H changes nothing but times. A transaction of such handles alone promises nothing of what was
 * written before, so it is spared the FLUSH for file data ahead of its commit record: the one after
 * it makes both durable. */
void tx_times_only(struct tx_handle *h);
void tx_end(struct tx_handle *h);

/* The sequence of the handle's transaction; and the last durable one. An inode remembers the one
 * that changed it. */
uint64_t tx_sequence(const struct tx_handle *h);
uint64_t tx_committed(const struct fs *fs);

/* START.. was freed under H by alloc.c: call alloc_release() for it once H's transaction is
 * committed. METADATA: revoke, and drop it from the cache. */
int tx_freed(struct tx_handle *h, uint64_t start, uint32_t nr_blocks, bool metadata);

/* Durable up to SEQUENCE (UINT64_MAX: all that runs now), file data written before the call
 * included; s->done() then. Asynchronous. */
struct inode;
/* INODE, unless NULL: -EIO if a write to it was lost since it was asked last; its reference becomes
 * tx.c's. */
void tx_sync(struct fs_thread *t, uint64_t sequence, struct inode *inode, struct fs_sync *s);
int tx_sync_wait(struct fs_thread *t, uint64_t sequence); /* polls the queue meanwhile */

/* Count one transfer of file data, from before it is submitted; tx_io_end() on the same thread,
 * from done(). Between the two this thread must not wait in tx_begin() but for what is submitted: a
 * commit, for which tx_begin() waits, waits for the transfer. */
void tx_thread_add(struct fs_thread *t);
void tx_thread_remove(struct fs_thread *t);
unsigned tx_io_begin(struct fs_thread *t);
void tx_io_end(struct fs_thread *t, unsigned epoch);

/* The transfer wrote over blocks that INODE had, within its size: should the FLUSH for it fail, only
 * that file is concerned. tx_io_end() always serves, and then takes the mount with it. */
void tx_io_end_in_place(struct fs_thread *t, unsigned epoch, struct inode *inode);
bool tx_is_flushed(const struct fs *fs, uint64_t stamp); /* inode->written_at */

/* The transfer was a read: nothing that a commit would have to flush. tx_io_end() always serves,
 * and may cost a FLUSH. */
void tx_io_end_read(struct fs_thread *t, unsigned epoch);

/* Is the filesystem frozen, or about to be? Who writes in place asks after it has counted its
 * transfer: a freeze that it does not see then waits for it. */
bool tx_is_freezing(const struct fs *fs);

/* From any thread, under any lock but tx.c's: */
void tx_shut(struct fs *fs);  /* fs->shut was set: wake all who wait */
void tx_hurry(struct fs *fs); /* memory is short: commit and checkpoint soon */

void tx_stats(struct fs *fs, struct fs_stats *out); /* adds its part */
#endif
