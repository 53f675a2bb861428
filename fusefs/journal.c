/* journal.c - the ring of the journal: records go in at its head (format.h draws them).
 *
 * Invariants
 *  1. Sequence numbers rise by one from one transaction to the next and are never used again, not
 *     even for a transaction of which only parts reached the disk: replay skips its number.
 *  2. The next transaction's first record is written only when the last one's commit record is
 *     durable. So at most one transaction in the ring is torn, and it is the last.
 *  3. Records of a transaction may reach the disk in any order, the commit record too: checksums
 *     tell whether all are there. What the commit record must not overtake is file data; tx.c sees
 *     to that.
 *  4. The disk reads only pages that nobody changes: images are copies.
 *  5. Space is used again only when the head that gives it up is durable. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <isa-l/crc.h>
#include "journal.h"

#define RUN_BLOCKS 256U /* in one write */
#define NR_RUNS    4U   /* in flight */

/* A transaction may take a quarter of the ring: one is running, one being written, and the rest is
 * for checkpoints to work on. */
#define RING_SHARE 4U
#define TX_SPARE \
	8U /* blocks of a transaction beyond those of its handles: the superblock, the commit record, revokes */

#define TX_MAX_LEAST UINT64_C(192) /* blocks; more than any handle asks for */

struct run {                /* blocks of the ring that are written together */
	struct blk_req req; /* first */
	struct journal *j;
	uint64_t index;
	uint32_t nr;
	bool in_flight;
	int nr_iov;
	struct iovec iov[RUN_BLOCKS];
	void *page[RUN_BLOCKS]; /* given back when written */
};

struct journal {
	struct fs *fs;
	struct blk_queue *q;
	uint64_t ring;     /* blocks; their indexes are 1 to ring */
	uint64_t head;     /* index of the next record */
	uint64_t used;     /* blocks from the tail, as the disk surely has it, to the head */
	uint64_t sequence; /* of the next transaction */
	uint32_t tx_max;
	struct run *filling; /* NULL: none */
	struct run run[NR_RUNS];
	uint32_t crc; /* of the transaction being written: see journal_commit_disk */
	int err;      /* of its first write that failed */
	struct tx_block *batch[JOURNAL_TAGS];
};

static uint64_t div_up(uint64_t a, uint64_t b)
{
	return (a + b - 1) / b;
}

/* Blocks of the ring for a transaction of so many images and revokes. */
static uint64_t log_blocks(uint64_t nr_images, uint64_t nr_revokes)
{
	return nr_images + div_up(nr_images, JOURNAL_TAGS) + div_up(nr_revokes, JOURNAL_REVOKES) +
	       1;
}

static uint64_t next_index(const struct journal *j, uint64_t index, uint64_t nr_blocks)
{
	return (index - 1 + nr_blocks) % j->ring + 1;
}

/* --- records --- */

bool journal_record_ok(const struct fs *fs, const void *record, enum block_type type,
	uint64_t index, uint64_t sequence)
{
	const struct block_head *head = record;

	return le32_get(head->magic) == (uint32_t)type && le64_get(head->sequence) == sequence &&
	       le64_get(head->block) == fs->journal_start + index &&
	       memcmp(head->fs_uuid, fs->uuid, sizeof(fs->uuid)) == 0 &&
	       le32_get(head->crc) == block_crc(record);
}

uint32_t journal_crc_add(uint32_t crc, const void *record)
{
	le32 its = ((const struct block_head *)record)->crc;

	return ~crc32_iscsi((uint8_t *)&its, sizeof(its), ~crc);
}

int journal_head_check(struct fs *fs, const struct journal_head_disk *head)
{
	int err = block_verify(fs, head, fs->journal_start, BT_JOURNAL_HEAD, 0);

	if (err < 0)
		return err;
	if (le64_get(head->tail) == 0 || le64_get(head->tail) >= fs->journal_blocks)
		return fs_corrupt(fs, fs->journal_start, "the tail is outside the journal");
	if (le64_get(head->tail_sequence) == 0 ||
		le64_get(head->tail_sequence) > JOURNAL_SEQUENCE_MAX)
		return fs_corrupt(fs, fs->journal_start, "the tail has an impossible sequence");
	return 0;
}

void journal_head_fill(
	struct fs *fs, struct journal_head_disk *head, uint64_t tail, uint64_t sequence)
{
	memset(head, 0, sizeof(*head));
	block_head_init(head, fs->uuid, BT_JOURNAL_HEAD, fs->journal_start, 0);
	head->head.sequence = le64_of(sequence);
	head->tail = le64_of(tail);
	head->tail_sequence = le64_of(sequence);
	block_seal(head);
}

static void *record_new(struct journal *j, enum block_type type)
{
	void *record = cache_page_alloc(j->fs);

	if (record == NULL)
		return NULL;
	memset(record, 0, BLOCK_BYTES);
	block_head_init(record, j->fs->uuid, type, j->fs->journal_start + j->head, 0);
	((struct block_head *)record)->sequence = le64_of(j->sequence);
	return record;
}

/* --- runs --- */

static void run_done(struct blk_req *req, int err)
{
	struct run *run = (struct run *)req;
	struct journal *j = run->j;

	if (err < 0 && j->err == 0)
		j->err = err;
	for (uint32_t i = 0; i < run->nr; i++)
		cache_page_free(j->fs, run->page[i]);
	run->nr = 0;
	run->nr_iov = 0;
	run->in_flight = false;
}

static void run_submit(struct journal *j)
{
	struct run *run = j->filling;
	int err;

	j->filling = NULL;
	if (run == NULL)
		return;
	run->in_flight = true;
	block_req(&run->req, BLK_WRITE, j->fs->journal_start + run->index, run->nr, run->iov,
		run->nr_iov);
	run->req.done = run_done;
	err = blk_submit(j->q, &run->req);
	if (err < 0)
		run_done(&run->req, err);
}

static struct run *run_get(struct journal *j)
{
	for (;;) {
		for (unsigned i = 0; i < NR_RUNS; i++)
			if (!j->run[i].in_flight)
				return &j->run[i];
		(void)blk_wait(j->q, -1);
	}
}

/* PAGE is the ring's next block, and the journal's to give back. */
static void append(struct journal *j, void *page)
{
	struct run *run = j->filling;

	if (run == NULL) {
		run = j->filling = run_get(j);
		run->index = j->head;
	}
	if (run->nr_iov > 0 &&
		(uint8_t *)run->iov[run->nr_iov - 1].iov_base + run->iov[run->nr_iov - 1].iov_len ==
			(uint8_t *)page)
		run->iov[run->nr_iov - 1].iov_len += BLOCK_BYTES;
	else
		run->iov[run->nr_iov++] = (struct iovec){.iov_base = page, .iov_len = BLOCK_BYTES};
	run->page[run->nr++] = page;
	j->head = next_index(j, j->head, 1);
	if (run->nr == RUN_BLOCKS || j->head == 1) /* the ring begins again elsewhere on the disk */
		run_submit(j);
}

static int wait_all(struct journal *j)
{
	run_submit(j);
	for (unsigned i = 0; i < NR_RUNS; i++)
		while (j->run[i].in_flight)
			(void)blk_wait(j->q, -1);
	return j->err;
}

/* --- writing a transaction --- */

static int copy_out(struct journal *j, struct tx_block *tb)
{
	struct block_head *head;
	int err;

	pthread_mutex_lock(&tb->buf->join_lock);
	err = tx_block_copy(j->fs, tb);
	pthread_mutex_unlock(&tb->buf->join_lock);
	if (err < 0)
		return err;
	head = tb->image; /* ours alone from here on */
	head->sequence = le64_of(tb->tx->sequence);
	block_seal(head);
	return 0;
}

/* NR blocks of j->batch: their description, then their images. */
static int append_batch(struct journal *j, uint32_t nr)
{
	struct journal_desc_disk *desc;

	for (uint32_t i = 0; i < nr; i++) {
		int err = copy_out(j, j->batch[i]);

		if (err < 0)
			return err;
	}
	desc = record_new(j, BT_JOURNAL_DESC);
	if (desc == NULL)
		return -ENOMEM;
	desc->nr = le32_of(nr);
	for (uint32_t i = 0; i < nr; i++) {
		desc->tag[i].block = le64_of(j->batch[i]->block);
		desc->tag[i].crc = ((struct block_head *)j->batch[i]->image)->crc;
	}
	block_seal(desc);
	j->crc = journal_crc_add(j->crc, desc);
	append(j, desc);
	for (uint32_t i = 0; i < nr; i++) {
		j->batch[i]->log_index = j->head;
		append(j, j->batch[i]->image);
		j->batch[i]->image = NULL;
	}
	return 0;
}

static int append_images(struct journal *j, struct tx *tx)
{
	uint32_t nr = 0;
	int err;

	for (struct tx_block *tb = tx->blocks; tb != NULL; tb = tb->next) {
		if (tb->dropped)
			continue;
		j->batch[nr++] = tb;
		if (nr < JOURNAL_TAGS)
			continue;
		err = append_batch(j, nr);
		if (err < 0)
			return err;
		nr = 0;
	}
	return nr == 0 ? 0 : append_batch(j, nr);
}

static int append_revokes(struct journal *j, const struct tx *tx)
{
	uint32_t nr;

	for (uint32_t at = 0; at < tx->nr_revoked; at += nr) {
		struct journal_revoke_disk *r = record_new(j, BT_JOURNAL_REVOKE);

		if (r == NULL)
			return -ENOMEM;
		nr = tx->nr_revoked - at < JOURNAL_REVOKES ? tx->nr_revoked - at : JOURNAL_REVOKES;
		r->nr = le32_of(nr);
		for (uint32_t i = 0; i < nr; i++)
			r->block[i] = le64_of(tx->revoked[at + i]);
		block_seal(r);
		j->crc = journal_crc_add(j->crc, r);
		append(j, r);
	}
	return 0;
}

static uint32_t blocks_since(const struct journal *j, uint64_t start)
{
	return (uint32_t)((j->head + j->ring - start) % j->ring);
}

int journal_start(struct journal *j, struct tx *tx)
{
	int err;

	assert(tx->sequence == j->sequence && j->filling == NULL);
	j->crc = 0;
	j->err = 0;
	tx->log_start = j->head;
	err = append_images(j, tx);
	if (err == 0)
		err = append_revokes(j, tx);
	if (err < 0)
		(void)wait_all(j);
	return err;
}

void journal_push(struct journal *j)
{
	run_submit(j);
	blk_kick(j->q);
}

void journal_cancel(struct journal *j)
{
	struct run *run = j->filling;

	j->filling = NULL;
	if (run != NULL)
		run_done(&run->req, 0); /* it was not submitted: its pages go back */
	(void)wait_all(j);
}

int journal_finish(struct journal *j, struct tx *tx)
{
	struct journal_commit_disk *commit = record_new(j, BT_JOURNAL_COMMIT);

	if (commit == NULL) {
		(void)wait_all(j);
		return -ENOMEM;
	}
	tx->log_blocks = blocks_since(j, tx->log_start) + 1;
	commit->nr_blocks = le32_of(tx->log_blocks);
	commit->crc = le32_of(j->crc);
	commit->time_s = le64_of((uint64_t)time(NULL));
	block_seal(commit);
	append(j, commit);
	j->used += tx->log_blocks;
	j->sequence++;
	assert(j->used <= j->ring);
	return wait_all(j);
}

/* --- space --- */

uint32_t journal_tx_max(const struct journal *j)
{
	return j->tx_max;
}

uint64_t journal_next_sequence(const struct journal *j)
{
	return j->sequence;
}

uint64_t journal_used(const struct journal *j)
{
	return j->used;
}

uint64_t journal_ring(const struct journal *j)
{
	return j->ring;
}

bool journal_has_room(const struct journal *j, const struct tx *closed)
{
	uint64_t need = j->ring / RING_SHARE;

	if (closed != NULL)
		need += log_blocks(closed->nr_blocks, closed->nr_freed_metadata);
	return j->used + need <= j->ring;
}

int journal_write_tail(struct journal *j, const struct tx *tx)
{
	void *page = cache_page_alloc(j->fs);
	int err;

	if (page == NULL)
		return -ENOMEM;
	journal_head_fill(
		j->fs, page, next_index(j, tx->log_start, tx->log_blocks), tx->sequence + 1);
	err = cache_write_raw(j->q, j->fs->journal_start, 1, page);
	cache_page_free(j->fs, page);
	return err;
}

void journal_free(struct journal *j, uint64_t nr_blocks)
{
	assert(nr_blocks <= j->used);
	j->used -= nr_blocks;
}

int journal_read_image(struct journal *j, uint64_t index, void *page)
{
	struct fs_thread t = {.fs = j->fs, .q = j->q};

	return cache_read_raw(&t, j->fs->journal_start + index, 1, page);
}

/* --- begin and end --- */

static int read_head(struct journal *j)
{
	struct fs_thread t = {.fs = j->fs, .q = j->q};
	struct journal_head_disk *head = cache_page_alloc(j->fs);
	int err;

	if (head == NULL)
		return -ENOMEM;
	err = cache_read_raw(&t, j->fs->journal_start, 1, head);
	if (err == 0)
		err = journal_head_check(j->fs, head);
	if (err == 0) {
		j->head = le64_get(head->tail);
		j->sequence = le64_get(head->tail_sequence);
	}
	cache_page_free(j->fs, head);
	return err;
}

/* As large as a quarter of the ring allows, but not so large that the cache is full of what can't
 * be dropped. */
static uint32_t tx_max(const struct journal *j)
{
	uint64_t share = j->ring / RING_SHARE;
	uint64_t by_ring =
		share - div_up(share, JOURNAL_TAGS) - div_up(share, JOURNAL_REVOKES) - TX_SPARE;
	uint64_t by_cache = cache_max_blocks(j->fs) / 4;

	if (by_cache < TX_MAX_LEAST)
		by_cache = TX_MAX_LEAST;
	return (uint32_t)(by_ring < by_cache ? by_ring : by_cache);
}

int journal_create(struct fs *fs, struct blk_queue *q, struct journal **out)
{
	struct journal *j = calloc(1, sizeof(*j));
	int err;

	if (j == NULL)
		return -ENOMEM;
	j->fs = fs;
	j->q = q;
	j->ring = fs->journal_blocks - 1;
	j->tx_max = tx_max(j);
	for (unsigned i = 0; i < NR_RUNS; i++)
		j->run[i].j = j;
	err = read_head(j);
	if (err < 0) {
		free(j);
		return err;
	}
	*out = j;
	return 0;
}

void journal_destroy(struct journal *j)
{
	free(j);
}
