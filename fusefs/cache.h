/* cache.h - the block cache: every metadata block that is in use, in DMA memory.
 *
 * A buf is one block; it stays while referenced or dirty, and is dropped when least recently used. cache_get() reads and verifies:
 * magic, crc, block number, filesystem, owner. Nobody reads metadata past it.
 *
 * The bytes of a buf belong to whoever's lock covers the block (fs.h); before the first change under a handle they are
 * joined to it (tx.h). Dirty bufs are written by commits only, and the crc is made there.
 *
 * Threads: any. Waits are for reads of the same block, by this thread's queue or another's. */
#ifndef VBLKFS_CACHE_H
#define VBLKFS_CACHE_H
#include "fs.h"

struct tx;

struct buf {
	uint64_t block;
	uint8_t *data;	     /* 4096 bytes; starts with struct block_head */
	enum block_type type;
	pthread_mutex_t lock; /* see fs.h */

	/* tx.c's, under its lock: */
	struct tx *tx;	      /* the transaction that has it dirty; NULL: clean */
	struct tx *committing; /* an earlier one that still has to copy it out; NULL: none */
	struct buf *tx_next, *committing_next;

	struct cache_priv *priv; /* cache.c's: references, state, hash, LRU */
};

int cache_create(struct fs *fs);
void cache_destroy(struct fs *fs);

/* Find or read BLOCK and check that it is a TYPE of OWNER. -EIO, -EUCLEAN (logged), -ENOMEM. *OUT is referenced: cache_put(). */
int cache_get(struct fs_thread *t, uint64_t block, enum block_type type, uint64_t owner,
	struct buf **out);
/* A block just allocated (or initialised on first use): not read, its payload zeroed, its head written, and joined to H. */
struct tx_handle;
int cache_get_new(struct tx_handle *h, uint64_t block, enum block_type type, uint64_t owner,
	struct buf **out);
void cache_put(struct buf *b); /* NULL: nothing */
void cache_ref(struct buf *b);
/* BLOCK was freed: drop it, dirty or not, once unreferenced. By tx_free(). */
void cache_forget(struct fs *fs, uint64_t block);

/* The one place where blocks become sectors. */
int cache_read_raw(struct fs_thread *t, uint64_t block, uint32_t nr_blocks, void *buf);
int cache_write_raw(struct blk_queue *q, uint64_t block, uint32_t nr_blocks, void *buf);
void block_req(struct blk_req *req, enum blk_op op, uint64_t block, uint32_t nr_blocks,
	const struct iovec *iov, int nr_iov); /* fills op, sector, nr_sectors, iov */

uint32_t block_crc(const void *block); /* of 4096 bytes, head.crc taken as zero */
void block_seal(void *block);	       /* store it */
void block_head_init(void *block, const uint8_t uuid[16], enum block_type type, uint64_t at,
	uint64_t owner);
#endif
