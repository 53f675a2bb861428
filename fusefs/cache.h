/* cache.h - the block cache: every metadata block that is in use, in DMA memory.
 *
 * A buf is one block; it stays while referenced or dirty, and is dropped when least recently used.
 * cache_get() reads and verifies: magic, crc, block number, filesystem, owner. Nobody reads
 * metadata past it.
 *
 * The bytes of a buf belong to whoever's lock covers the block (fs.h); before the first change
 * under a handle they are joined to it (tx.h). Bufs are never written: commits and checkpoints
 * write copies, and the crc is made there. What is not at home yet is referenced by tx.c, so that a
 * read from the disk always finds the newest version.
 *
 * Threads: any. Waits are for reads of the same block, by this thread's queue or another's. */
#ifndef VBLKFS_CACHE_H
#define VBLKFS_CACHE_H
#include "fs.h"

struct tx_block;

struct buf {
	uint64_t block;
	uint8_t *data; /* 4096 bytes; starts with struct block_head */
	enum block_type type;
	pthread_mutex_t lock; /* see fs.h */

	/* tx.c's: */
	pthread_mutex_t
		join_lock; /* leaf; guards newest, and the bytes while they are copied out */
	struct tx_block
		*newest; /* the last transaction's share in it; NULL: as it stands at home */
	atomic_uint_fast64_t joined; /* the sequence of that transaction */
};

int cache_create(struct fs *fs);
void cache_destroy(struct fs *fs);

/* Find or read BLOCK and check that it is a TYPE of OWNER. -EIO, -EUCLEAN (logged), -ENOMEM. *OUT
 * is referenced: cache_put(). */
int cache_get(struct fs_thread *t, uint64_t block, enum block_type type, uint64_t owner,
	struct buf **out);
/* A block just allocated (or initialised on first use): not read, its payload zeroed, its head
 * written, and joined to H. */
struct tx_handle;
int cache_get_new(struct tx_handle *h, uint64_t block, enum block_type type, uint64_t owner,
	struct buf **out);
void cache_put(struct buf *b); /* NULL: nothing */
void cache_ref(struct buf *b);
/* BLOCK was freed: drop it, dirty or not, once unreferenced. By tx_free(). */
void cache_forget(struct fs *fs, uint64_t block);
struct buf *cache_peek(
	struct fs *fs, uint64_t block); /* referenced if it is there and valid, else NULL */
/* Replay of a read-only mount: DATA (copied) is what BLOCK shall read as, for as long as the mount
 * lasts. */
int cache_pin(struct fs *fs, uint64_t block, const void *data);
void cache_stats(struct fs *fs, struct fs_stats *out); /* adds its part */

uint32_t cache_max_blocks(const struct fs *fs); /* it holds no more, unless all are in use */

/* One block of DMA memory, from the cache's chunks; its contents are anything. NULL: none left. */
void *cache_page_alloc(struct fs *fs);
void cache_page_free(struct fs *fs, void *page); /* NULL: nothing */

/* The one place where blocks become sectors. */
int cache_read_raw(struct fs_thread *t, uint64_t block, uint32_t nr_blocks, void *buf);
int cache_write_raw(struct blk_queue *q, uint64_t block, uint32_t nr_blocks, void *buf);
/* All writes that are done become durable; nothing when the disk keeps what it has, or barriers are
 * off. */
int cache_flush(struct fs *fs, struct blk_queue *q);
void block_req(struct blk_req *req, enum blk_op op, uint64_t block, uint32_t nr_blocks,
	const struct iovec *iov, int nr_iov); /* fills op, sector, nr_sectors, iov */

/* Is DATA, read from BLOCK, a TYPE of OWNER in this filesystem? -EUCLEAN, logged. */
int block_verify(
	struct fs *fs, const void *data, uint64_t block, enum block_type type, uint64_t owner);
uint32_t block_crc(const void *block); /* of 4096 bytes, head.crc taken as zero */
void block_seal(void *block);          /* store it */
void block_head_init(
	void *block, const uint8_t uuid[16], enum block_type type, uint64_t at, uint64_t owner);
#endif
