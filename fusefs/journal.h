/* journal.h - the journal's ring on the disk, and what tx.c, journal.c, checkpoint.c and replay.c
 * share.
 *
 * A transaction's life: tx.c collects its blocks while handles are open; journal.c writes them to
 * the ring as redo records; once its commit record is durable checkpoint.c keeps it, until each of
 * its blocks is at home in this or a newer version and the ring's tail has passed it.
 *
 * All calls here are by the commit thread, or while it does not run. Where others touch a field it
 * says so. */
#ifndef VBLKFS_JOURNAL_H
#define VBLKFS_JOURNAL_H
#include "table.h"
#include "tx.h"

struct tx_block {              /* one transaction's version of one block */
	struct tx_block *next; /* of the transaction */
	struct tx *tx;
	struct buf *buf; /* referenced; NULL once this version is at home, or need not get there */
	uint64_t block;
	void *image;  /* its bytes, copied out of the buf; under buf->join_lock until copied */
	bool copied;  /* whoever joins the buf next need not copy for us; under buf->join_lock */
	bool dropped; /* freed by the same transaction: not to be written; under buf->join_lock */
	uint64_t log_index; /* where in the ring */
	UT_hash_handle hh;  /* checkpoint.c's */
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
	uint32_t nr_freed_metadata; /* blocks; so many revokes at most */
	uint32_t credits;           /* blocks that open handles may still join */
	uint32_t nr_handles;        /* open */
	bool closing;
	bool orders_data;     /* a handle of it did more than change times */
	uint64_t dirty_at_ms; /* when its first block was joined; 0: none was */

	uint64_t *revoked; /* from here on: once closed */
	uint32_t nr_revoked;
	uint64_t log_start; /* index of its first record in the ring */
	uint32_t log_blocks;
	uint32_t nr_away; /* versions that are not at home */
	struct tx *next;  /* newer, in the ring */
};

struct journal;

/* The journal is empty: it was replayed. */
int journal_create(struct fs *fs, struct blk_queue *q, struct journal **out);
void journal_destroy(struct journal *j);
uint64_t journal_next_sequence(const struct journal *j);

uint32_t journal_tx_max(const struct journal *j); /* blocks that a transaction may have */
/* Is there room for another transaction of any size, after CLOSED (NULL: none) has been written? */
bool journal_has_room(const struct journal *j, const struct tx *closed);
uint64_t journal_used(const struct journal *j); /* blocks of the ring */
uint64_t journal_ring(const struct journal *j); /* blocks of the ring, free or not */

/* Copy TX's blocks out and write them, and its revokes; the last run of records is only prepared.
 * Nothing is in flight after an error. */
int journal_start(struct journal *j, struct tx *tx);
void journal_push(struct journal *j); /* write what is prepared, without waiting */
/* Instead of journal_finish(): there will be no commit record. Nothing is in flight then. */
void journal_cancel(struct journal *j);
/* Add the commit record, to what is prepared if there is any; wait for all. */
int journal_finish(struct journal *j, struct tx *tx);

/* TX was the oldest in the ring: the tail moves past it. The space is free once the head is
 * durable: journal_free(). */
int journal_write_tail(struct journal *j, const struct tx *tx);
void journal_free(struct journal *j, uint64_t nr_blocks);
int journal_read_image(struct journal *j, uint64_t index, void *page);

/* Shared with replay.c. INDEX counts from 1; the head is 0. */
int journal_head_check(struct fs *fs, const struct journal_head_disk *head);
void journal_head_fill(
	struct fs *fs, struct journal_head_disk *head, uint64_t tail, uint64_t sequence);
bool journal_record_ok(const struct fs *fs, const void *record, enum block_type type,
	uint64_t index, uint64_t sequence);
uint32_t journal_crc_add(uint32_t crc, const void *record); /* begins with 0 */

/* Copy the buf's bytes into TB's image, unless that was done. Caller holds buf->join_lock. */
int tx_block_copy(struct fs *fs, struct tx_block *tb);
#endif
