/* journal.h - what tx.c and journal.c share: a transaction, its blocks, and the ring on the disk that holds committed ones.
 *
 * All calls are by the commit thread, or while it does not run; struct tx_block says what else others touch. */
#ifndef VBLKFS_JOURNAL_H
#define VBLKFS_JOURNAL_H
#include "tx.h"

struct tx_block {              /* one transaction's version of one block */
	struct tx_block *next; /* of the transaction */
	struct tx *tx;
	struct buf *buf; /* referenced while this version is not at home */
	uint64_t block;
	void *image; /* its bytes, copied out of the buf; a page of the cache. Under buf->join_lock until copied */
	bool copied;  /* under buf->join_lock: whoever joins the buf next need not copy for us */
	bool dropped; /* under txs->lock: freed by the same transaction, not to be written */
};

struct tx_free { /* blocks freed in a transaction */
	struct tx_free *next;
	uint64_t start;
	uint32_t nr_blocks;
	bool metadata;
};

struct tx {
	uint64_t sequence;
	struct tx_block *blocks, **last_block; /* this and below: under txs->lock while it runs */
	struct tx_free *freed;
	uint32_t nr_blocks;
	uint32_t nr_revokes; /* at most */
	uint32_t credits;    /* blocks that open handles may still join */
	uint32_t nr_handles; /* open */
	bool closing;
	uint64_t dirty_at_ms; /* when its first block was joined; 0: none was */
};

struct journal;

int journal_create(struct fs *fs, struct blk_queue *q, struct journal **out);
void journal_destroy(struct journal *j);

/* Blocks that one transaction may have. */
uint32_t journal_tx_max(const struct journal *j);

int journal_commit(struct journal *j, struct tx *tx);

/* Copy B's bytes into its image, unless that was done. */
int tx_block_copy(struct fs *fs, struct tx_block *tb);
#endif
