/* fs.h - the mounted filesystem, and the rules that its files share.
 *
 * THE LOCK ORDER, outermost first, and what each guards:
 *
 *	tx_begin()		no lock, but it may wait for a commit: call it holding none below
 *	fs->rename_lock		the shape of the tree: held while a directory changes its parent
 *	inode->lock		the inode, its fork and tree, a directory's entries; parent before
 *				child, else lower number first
 *	fs->orphan_lock		the orphan list on the disk
 *	group->lock		one group's header, bitmaps and its in-memory map
 *	buf->lock		bytes of a block that several owners share (inodes, superblock)
 *	cache, inode table, tx	inner locks of cache.c, inode.c, tx.c: leaves, nothing is taken or
 *				awaited under them
 *
 * WHY NOBODY DEADLOCKS. A thread that holds any of them waits only for inner locks and for its own
 * queue's reads; so every holder goes on. Only tx_begin() and fs_sync() wait for a commit; a commit
 * waits for handles to end and for file I/O to complete; so those two poll their thread's queue
 * while they wait. done() callbacks take no lock but leaves.
 *
 * FILE DATA AND COMMITS. Every read and write of file blocks is counted (tx_io_begin, tx_io_end). A
 * commit first waits for all that was counted before the transaction closed. That is the whole of
 * ordered mode (contents reach the disk before the metadata that names them), of fsync's wait for
 * writes in flight, and of the rule that a freed block is not used again while a transfer to its
 * old owner is in flight: freed blocks become free when the transaction that freed them is
 * committed. */
#ifndef VBLKFS_FS_H
#define VBLKFS_FS_H
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "vblkfs.h"
#include "format.h"

struct cache;
struct txs;
struct groups;
struct inodes;
struct orphans;
struct buf;

#define LOGGED_MAX 64U

struct fs_log { /* errors.c: what was said about damage */
	pthread_mutex_t lock;
	uint32_t line[LOGGED_MAX]; /* checksums of the last ones */
	unsigned nr_lines;
	time_t window_s; /* when it began */
	unsigned nr_in_window;
};

struct fs {
	struct blockdev *dev;
	struct fs_mount_opts opts;
	bool read_only; /* as mounted */
	/* Turned read-only by an error: no handle begins, nothing more is committed. */
	atomic_bool shut;
	atomic_bool dead;        /* errors=shutdown: every call is -EIO */
	atomic_bool errors_seen; /* STATE_ERRORS is due in the superblock */
	struct fs_log log;

	/* From the superblock, fixed while mounted. */
	char disk_name[64]; /* for messages */
	uint8_t uuid[16];
	char label[33];
	uint64_t nr_blocks;
	uint64_t hash_seed;
	uint64_t journal_start, journal_blocks;
	uint64_t reserved_blocks;
	uint32_t group_blocks, nr_groups, inodes_per_group;
	uint32_t bitmap_blocks, ibitmap_blocks, itable_blocks;

	struct buf *super; /* held while mounted; bytes under super->lock */
	pthread_mutex_t rename_lock;
	pthread_mutex_t orphan_lock;
	struct cache *cache;     /* cache.c */
	struct txs *txs;         /* tx.c */
	struct groups *groups;   /* alloc.c */
	struct inodes *inodes;   /* inode.c */
	struct orphans *orphans; /* orphan.c */
};

struct fs_thread {
	struct fs *fs;
	struct blk_queue *q;
	atomic_uint io_in_flight[2]; /* tx.c: transfers of file data, by epoch; see tx_io_begin() */
	struct fs_thread *next;      /* tx.c's list of threads */
};

/* fs_corrupt(fs, block, fmt, ...): the disk's contents break the format: log it with BLOCK (0:
 * none) and the reason, mark the superblock, follow errors=. Is -EUCLEAN.
 * fs_abort(fs, err, fmt, ...): a write of unknown outcome: log, and go read-only. Is ERR.
 * fs_note_io(fs, err, fmt, ...): the disk failed one request; whoever asked gets the error, and the
 * mount goes on: log it.
 * Macros, so that whoever reads the code, the static analyser too, sees what they come to. */
#define fs_corrupt(...)        (fs_note_corrupt(__VA_ARGS__), -EUCLEAN)
#define fs_abort(fs, err, ...) (fs_note_abort(fs, err, __VA_ARGS__), (err))
void fs_note_corrupt(struct fs *fs, uint64_t block, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void fs_note_abort(struct fs *fs, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void fs_note_io(struct fs *fs, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* 0, -EROFS or -EIO: may this call change something? */
int fs_may_write(const struct fs *fs);

static inline uint64_t fs_group_start(const struct fs *fs, uint32_t group)
{
	return (uint64_t)group * fs->group_blocks;
}

static inline uint32_t fs_group_of(const struct fs *fs, uint64_t block)
{
	return (uint32_t)(block / fs->group_blocks);
}
#endif
