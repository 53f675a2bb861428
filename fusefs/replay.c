/* replay.c - at mount, what the journal has committed goes home (tx_replay() in tx.h).
 *
 * Invariants
 *  1. A transaction is taken whole or not at all: all of its records and images are checked before
 *     the first of them counts.
 *  2. What is written home depends only on the ring, and the ring is not touched until all is
 *     durable: a replay that is cut off is simply done again.
 *  3. The tail then stands behind the last transaction taken, and the next sequence number leaves
 *     one out: the one that parts of a torn transaction may carry.
 *  4. A read-only mount writes nothing: the images are pinned in the cache instead. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include "journal.h"

#define WINDOW_BLOCKS 256U
#define WINDOW_BYTES  ((size_t)WINDOW_BLOCKS * BLOCK_BYTES)

struct image { /* of the transactions taken, in the ring's order */
	uint64_t block;
	uint64_t index;
	uint64_t sequence;
};

struct last { /* of a block: its newest image, and its newest revoke */
	uint64_t block;
	uint64_t index;   /* of the image; 0: none */
	uint64_t revoked; /* sequence; 0: never */
	UT_hash_handle hh;
};

struct home_write {         /* of one block of the window */
	struct blk_req req; /* first */
	struct iovec iov;
	struct replay *r;
};

struct list {
	void *v;
	size_t nr, max;
};

struct replay {
	struct fs *fs;
	struct fs_thread *t;
	uint64_t ring;
	uint64_t at;        /* index of the next record */
	uint64_t sequence;  /* that it should have */
	uint32_t nr_blocks; /* records and images of this transaction, so far */
	uint32_t crc;
	struct list images;  /* struct image: of this transaction and those taken */
	struct list revokes; /* uint64_t: this transaction's */
	size_t nr_taken;     /* of images: those of whole transactions */
	uint64_t nr_transactions;
	uint64_t nr_behind; /* whole, but behind one that is not */
	struct last *last;  /* hash by block */

	uint8_t *window;    /* WINDOW_BLOCKS of the ring */
	uint64_t window_at; /* index of its first; 0: empty */
	uint32_t window_nr;
	struct home_write write[WINDOW_BLOCKS];
	unsigned nr_in_flight; /* of them; the window stays meanwhile */
	int write_err;
};

static int list_add(struct list *l, const void *item, size_t bytes)
{
	if (l->nr == l->max) {
		size_t max = l->max == 0 ? 256 : l->max * 2;
		void *v = realloc(l->v, max * bytes);

		if (v == NULL)
			return -ENOMEM;
		l->v = v;
		l->max = max;
	}
	memcpy((uint8_t *)l->v + l->nr++ * bytes, item, bytes);
	return 0;
}

/* --- reading the ring --- */

static int wait_writes(struct replay *r)
{
	while (r->nr_in_flight > 0)
		(void)blk_wait(r->t->q, -1);
	return r->write_err;
}

static int look(struct replay *r, uint64_t index, uint8_t **out)
{
	int err;

	if (r->window_at == 0 || index < r->window_at || index >= r->window_at + r->window_nr) {
		uint64_t nr = r->ring - index + 1;

		err = wait_writes(r);
		if (err < 0)
			return err;
		r->window_at = 0;
		r->window_nr = (uint32_t)(nr < WINDOW_BLOCKS ? nr : WINDOW_BLOCKS);
		err = cache_read_raw(r->t, r->fs->journal_start + index, r->window_nr, r->window);
		if (err < 0)
			return err;
		r->window_at = index;
	}
	*out = r->window + (index - r->window_at) * BLOCK_BYTES;
	return 0;
}

/* The next block of the ring; NULL: this transaction has had as many as there are. */
static int advance(struct replay *r, uint8_t **out)
{
	int err;

	*out = NULL;
	if (r->nr_blocks == r->ring)
		return 0;
	err = look(r, r->at, out);
	if (err < 0)
		return err;
	r->at = r->at % r->ring + 1;
	r->nr_blocks++;
	return 0;
}

/* May BLOCK have images? Nobody makes others, but a disk may hold anything. */
static bool is_home(const struct fs *fs, uint64_t block)
{
	return block != 0 && block < fs->nr_blocks &&
	       (block < fs->journal_start || block >= fs->journal_start + fs->journal_blocks);
}

static bool image_ok(const struct fs *fs, const uint8_t *image, const struct journal_tag *tag)
{
	const struct block_head *head = (const struct block_head *)image;

	return le64_get(head->block) == le64_get(tag->block) &&
	       le32_get(head->crc) == le32_get(tag->crc) &&
	       memcmp(head->fs_uuid, fs->uuid, sizeof(fs->uuid)) == 0 &&
	       le32_get(head->crc) == block_crc(image);
}

/* --- pass 1: which transactions are whole --- */

/* Each step returns 1: go on, 0: the ring ends here, or an error. */

static int take_desc(struct replay *r, const struct journal_desc_disk *in_window)
{
	struct journal_desc_disk desc = *in_window; /* the window moves on */
	uint32_t nr = le32_get(desc.nr);
	int err;

	if (nr > JOURNAL_TAGS)
		return fs_corrupt(r->fs, le64_get(desc.head.block), "describes %u images", nr);
	for (uint32_t i = 0; i < nr; i++) {
		struct image image = {.block = le64_get(desc.tag[i].block),
			.index = r->at,
			.sequence = r->sequence};
		uint8_t *data;

		if (!is_home(r->fs, image.block))
			return fs_corrupt(r->fs, le64_get(desc.head.block),
				"has an image of block %llu", (unsigned long long)image.block);
		err = advance(r, &data);
		if (err < 0)
			return err;
		if (data == NULL || !image_ok(r->fs, data, &desc.tag[i]))
			return 0;
		err = list_add(&r->images, &image, sizeof(image));
		if (err < 0)
			return err;
	}
	return 1;
}

static int take_revoke(struct replay *r, const struct journal_revoke_disk *revoke)
{
	uint32_t nr = le32_get(revoke->nr);

	if (nr > JOURNAL_REVOKES)
		return fs_corrupt(r->fs, le64_get(revoke->head.block), "revokes %u blocks", nr);
	for (uint32_t i = 0; i < nr; i++) {
		uint64_t block = le64_get(revoke->block[i]);
		int err = list_add(&r->revokes, &block, sizeof(block));

		if (err < 0)
			return err;
	}
	return 1;
}

static struct last *last_of(struct replay *r, uint64_t block)
{
	struct last *last;

	HASH_FIND(hh, r->last, &block, sizeof(block), last);
	if (last != NULL)
		return last;
	last = calloc(1, sizeof(*last));
	if (last != NULL) {
		last->block = block;
		HASH_ADD(hh, r->last, block, sizeof(last->block), last);
		if (!table_has(last)) {
			free(last);
			return NULL;
		}
	}
	return last;
}

/* The commit record is there: what was seen since the last one counts. */
static int take_transaction(struct replay *r)
{
	const uint64_t *revokes = r->revokes.v;
	const struct image *images = r->images.v;

	for (size_t i = r->nr_taken; i < r->images.nr; i++) {
		struct last *last = last_of(r, images[i].block);

		if (last == NULL)
			return -ENOMEM;
		last->index = images[i].index;
	}
	for (size_t i = 0; i < r->revokes.nr; i++) {
		struct last *last = last_of(r, revokes[i]);

		if (last == NULL)
			return -ENOMEM;
		last->revoked = r->sequence;
	}
	r->nr_taken = r->images.nr;
	r->nr_transactions++;
	return 0;
}

static int take_record(struct replay *r, const uint8_t *record, uint64_t index, bool *whole)
{
	const struct journal_commit_disk *commit = (const struct journal_commit_disk *)record;

	if (journal_record_ok(r->fs, record, BT_JOURNAL_COMMIT, index, r->sequence)) {
		*whole = le32_get(commit->nr_blocks) == r->nr_blocks &&
			 le32_get(commit->crc) == r->crc;
		return 0;
	}
	if (journal_record_ok(r->fs, record, BT_JOURNAL_DESC, index, r->sequence)) {
		r->crc = journal_crc_add(r->crc, record);
		return take_desc(r, (const struct journal_desc_disk *)record);
	}
	if (journal_record_ok(r->fs, record, BT_JOURNAL_REVOKE, index, r->sequence)) {
		r->crc = journal_crc_add(r->crc, record);
		return take_revoke(r, (const struct journal_revoke_disk *)record);
	}
	return 0;
}

/* 1: the transaction at r->at was taken, 0: there is no whole one. */
static int scan_transaction(struct replay *r)
{
	uint64_t start = r->at;
	bool whole = false;
	int ret;

	r->nr_blocks = 0;
	r->crc = 0;
	r->revokes.nr = 0;
	do {
		uint64_t index = r->at;
		uint8_t *record;

		ret = advance(r, &record);
		if (ret == 0)
			ret = record == NULL ? 0 : take_record(r, record, index, &whole);
	} while (ret > 0);
	if (ret == 0 && whole)
		ret = take_transaction(r);
	if (ret < 0)
		return ret;
	if (!whole) {
		r->images.nr = r->nr_taken;
		r->at = start;
		return 0;
	}
	r->sequence++;
	return 1;
}

/* --- pass 2: images go home --- */

static bool is_wanted(struct replay *r, const struct image *image)
{
	const struct last *last = last_of(r, image->block);

	return last != NULL && last->index == image->index && image->sequence > last->revoked;
}

static void home_done(struct blk_req *req, int err)
{
	struct replay *r = ((struct home_write *)req)->r;

	r->nr_in_flight--;
	if (err < 0 && r->write_err == 0)
		r->write_err = err;
}

static int bring_home(struct replay *r, const struct image *image)
{
	struct home_write *w;
	uint8_t *data;
	int err;

	err = look(r, image->index, &data);
	if (err < 0)
		return err;
	if (r->fs->read_only)
		return cache_pin(r->fs, image->block, data);
	w = &r->write[image->index - r->window_at];
	w->r = r;
	w->iov = (struct iovec){.iov_base = data, .iov_len = BLOCK_BYTES};
	block_req(&w->req, BLK_WRITE, image->block, 1, &w->iov, 1);
	w->req.done = home_done;
	r->nr_in_flight++;
	err = blk_submit(r->t->q, &w->req);
	if (err < 0)
		home_done(&w->req, err);
	return err;
}

static int bring_all_home(struct replay *r)
{
	const struct image *images = r->images.v;
	int err = 0;
	int write_err;

	for (size_t i = 0; i < r->nr_taken && err == 0; i++)
		if (is_wanted(r, &images[i]))
			err = bring_home(r, &images[i]);
	write_err = wait_writes(r);
	return err < 0 ? err : write_err;
}

/* --- all of it --- */

static int read_head(struct replay *r)
{
	const struct journal_head_disk *head = (const struct journal_head_disk *)r->window;
	int err = cache_read_raw(r->t, r->fs->journal_start, 1, r->window);

	if (err == 0)
		err = journal_head_check(r->fs, head);
	if (err < 0)
		return err;
	r->at = le64_get(head->tail);
	r->sequence = le64_get(head->tail_sequence);
	return 0;
}

static int write_head(struct replay *r)
{
	int err = cache_flush(r->fs, r->t->q);

	if (err < 0)
		return err;
	journal_head_fill(r->fs, (struct journal_head_disk *)r->window, r->at,
		r->sequence + 1); /* invariant 3 */
	err = cache_write_raw(r->t->q, r->fs->journal_start, 1, r->window);
	return err < 0 ? err : cache_flush(r->fs, r->t->q);
}

/* Find all transactions that are whole. */
static int scan(struct replay *r)
{
	int ret = read_head(r);

	if (ret < 0)
		return ret;
	do
		ret = scan_transaction(r);
	while (ret > 0);
	return ret;
}

/* The sequence of the record at INDEX; 0: it is none that begins or goes on a transaction. */
static uint64_t sequence_at(const struct replay *r, const uint8_t *record, uint64_t index)
{
	uint64_t sequence = le64_get(((const struct block_head *)record)->sequence);

	return journal_record_ok(r->fs, record, BT_JOURNAL_DESC, index, sequence) ||
			       journal_record_ok(r->fs, record, BT_JOURNAL_REVOKE, index, sequence)
		       ? sequence
		       : 0;
}

/* How many there are whose numbers say that they came after the one that is not whole: each is
 * written only when that is durable, so it has been damaged since. Whatever is older has a lower
 * number. */
static int scan_behind(struct replay *r)
{
	uint64_t next = r->sequence + 1, at = r->at;
	int ret = 0;

	for (uint64_t left = r->ring; left > 0 && ret >= 0;) {
		uint64_t used = 1;
		uint8_t *record;

		ret = look(r, at, &record);
		if (ret < 0)
			break;
		r->at = at;
		r->sequence = sequence_at(r, record, at);
		if (r->sequence >= next && r->sequence <= JOURNAL_SEQUENCE_MAX) {
			ret = scan_transaction(r);
			if (ret == -EUCLEAN) /* nor is that one whole */
				ret = 0;
		} else {
			ret = 0;
		}
		if (ret > 0) {
			next = r->sequence;
			used = r->nr_blocks;
		}
		at = (at - 1 + used) % r->ring + 1;
		left -= used < left ? used : left;
	}
	return ret < 0 ? ret : 0;
}

static int scan_all(struct replay *r)
{
	int err = scan(r);
	uint64_t nr = r->nr_transactions;

	if (err == 0)
		err = scan_behind(r);
	r->nr_behind = r->nr_transactions - nr;
	r->nr_transactions = nr;
	return err;
}

static int replay(struct replay *r)
{
	int ret = scan(r);

	if (ret == 0)
		ret = bring_all_home(r);
	if (ret < 0)
		return ret;
	if (r->nr_transactions > 0)
		syslog(LOG_INFO, "%s: %llu transactions replayed from the journal",
			r->fs->disk_name, (unsigned long long)r->nr_transactions);
	return r->fs->read_only ? 0 : write_head(r);
}

static void free_lists(struct replay *r)
{
	struct last *last = r->last;

	HASH_CLEAR(hh, r->last);
	while (last != NULL) {
		struct last *next = last->hh.next;

		free(last);
		last = next;
	}
	free(r->images.v);
	free(r->revokes.v);
}

static int run(struct fs_thread *t, int (*what)(struct replay *r), uint64_t *nr_transactions,
	uint64_t *nr_behind)
{
	struct replay *r = calloc(1, sizeof(*r));
	int err = -ENOMEM;

	if (r == NULL)
		return err;
	r->fs = t->fs;
	r->t = t;
	r->ring = t->fs->journal_blocks - 1;
	r->window = blk_dma_alloc(t->fs->dev, WINDOW_BYTES);
	if (r->window == NULL)
		goto free_replay;
	err = what(r);
	if (err < 0 && err != -EUCLEAN)
		syslog(LOG_ERR, "%s: cannot replay the journal: %s", t->fs->disk_name,
			strerror(-err));
	if (nr_transactions != NULL)
		*nr_transactions = r->nr_transactions;
	if (nr_behind != NULL)
		*nr_behind = r->nr_behind;
	free_lists(r);
	blk_dma_free(t->fs->dev, r->window, WINDOW_BYTES);
free_replay:
	free(r);
	return err;
}

int tx_replay(struct fs_thread *t, uint64_t *nr_transactions)
{
	return run(t, replay, nr_transactions, NULL);
}

int tx_replay_scan(struct fs_thread *t, uint64_t *nr_transactions, uint64_t *nr_behind)
{
	return run(t, nr_behind == NULL ? scan : scan_all, nr_transactions, nr_behind);
}
