/* checkpoint.c - committed transactions go home (checkpoint.h).
 *
 * Invariants
 *  1. For each block with an image in the ring, `newest` has the newest committed version; only
 *     that one is ever written home. Older ones count as home: the ring keeps the newer until it
 *     is.
 *  2. A version that is not at home references its buf, so no one reads an older one from the disk.
 *  3. A block that is freed is out of here when its transaction is committed, and so before it is
 *     used again: a late write can't hit its new owner. (Writes are waited for in the step that
 *     submits them.)
 *  4. The order on the disk: home writes, FLUSH, the head with the new tail, FLUSH, then the ring's
 *     space is used again. Any FLUSH will do, so while commits come these cost none of their own.
 *
 * A round takes the oldest transactions, writes what of theirs is not at home, in the order of the
 * disk, in steps between which commits go on, and then moves the tail past them. */
#include <errno.h>
#include <stdlib.h>
#include "checkpoint.h"

#define BATCH_BLOCKS 256U

enum round_state { IDLE, WRITING, HOME_WRITTEN, HOME_DURABLE, HEAD_WRITTEN };

struct home_req {           /* a run of blocks on their way home */
	struct blk_req req; /* first */
	struct checkpoint *c;
};

struct checkpoint {
	struct fs *fs;
	struct blk_queue *q;
	struct journal *j;
	struct tx *oldest, *youngest; /* all transactions in the ring */
	struct tx_block *newest;      /* hash by block */
	uint64_t nr_away;

	enum round_state state; /* of the round; the rest is about it */
	struct tx *upto;        /* the last transaction that it takes */
	struct tx_block **todo; /* by block */
	size_t nr_todo, at;

	unsigned nr_in_flight; /* the step's requests */
	int err;
	struct home_req req[BATCH_BLOCKS];
	struct iovec iov[BATCH_BLOCKS];
	struct tx_block *batch[BATCH_BLOCKS];
};

/* --- what is in the ring --- */

static struct tx_block *find_newest(struct checkpoint *c, uint64_t block)
{
	struct tx_block *tb;

	HASH_FIND(hh, c->newest, &block, sizeof(block), tb);
	return tb;
}

/* TB needs no writing home any more. */
static void let_go(struct checkpoint *c, struct tx_block *tb)
{
	struct buf *b = tb->buf;

	if (b == NULL)
		return;
	tb->buf = NULL;
	pthread_mutex_lock(&b->join_lock);
	if (b->newest == tb)
		b->newest = NULL;
	pthread_mutex_unlock(&b->join_lock);
	cache_page_free(c->fs, tb->image);
	tb->image = NULL;
	cache_put(b);
	if (!tb->dropped) {
		tb->tx->nr_away--;
		c->nr_away--;
	}
}

int checkpoint_find_revokes(struct checkpoint *c, struct tx *tx)
{
	if (tx->nr_freed_metadata == 0)
		return 0;
	tx->revoked = malloc(tx->nr_freed_metadata * sizeof(*tx->revoked));
	if (tx->revoked == NULL)
		return -ENOMEM;
	for (const struct tx_free *f = tx->freed; f != NULL; f = f->next)
		for (uint32_t i = 0; f->metadata && i < f->nr_blocks; i++)
			if (find_newest(c, f->start + i) != NULL)
				tx->revoked[tx->nr_revoked++] = f->start + i;
	return 0;
}

static bool add_version(struct checkpoint *c, struct tx_block *tb)
{
	struct tx_block *older = find_newest(c, tb->block);

	tb->tx->nr_away++;
	c->nr_away++;
	if (older != NULL) {
		HASH_DEL(c->newest, older);
		let_go(c, older);
	}
	HASH_ADD(hh, c->newest, block, sizeof(tb->block), tb);
	return table_has(tb);
}

int checkpoint_add(struct checkpoint *c, struct tx *tx)
{
	int err = 0;

	/* A revoked version stays in the hash: while it is in the ring, it may have to be revoked
	 * again. It is not there any more when the tail has moved past it since
	 * checkpoint_find_revokes(). */
	for (uint32_t i = 0; i < tx->nr_revoked; i++) {
		struct tx_block *tb = find_newest(c, tx->revoked[i]);

		if (tb != NULL)
			let_go(c, tb);
	}
	free(tx->revoked);
	tx->revoked = NULL;
	for (struct tx_block *tb = tx->blocks; tb != NULL; tb = tb->next) {
		if (tb->dropped)
			let_go(c, tb);
		else if (!add_version(c, tb))
			err = -ENOMEM;
	}
	if (c->oldest == NULL)
		c->oldest = tx;
	else
		c->youngest->next = tx;
	c->youngest = tx;
	return err;
}

/* The oldest transaction leaves. */
static void drop_oldest(struct checkpoint *c)
{
	struct tx *tx = c->oldest;

	c->oldest = tx->next;
	while (tx->blocks != NULL) {
		struct tx_block *tb = tx->blocks;

		tx->blocks = tb->next;
		let_go(c, tb);
		if (find_newest(c, tb->block) == tb)
			HASH_DEL(c->newest, tb);
		free(tb);
	}
	free(tx);
}

/* --- a round's choice --- */

static uint64_t max_away(const struct checkpoint *c)
{
	return cache_max_blocks(c->fs) / 2;
}

/* Has enough been chosen when USED blocks of the ring stay, and AWAY blocks not at home? */
static bool is_enough(const struct checkpoint *c, uint64_t used, uint64_t away)
{
	return used <= journal_ring(c->j) / 4 && away <= max_away(c) / 2;
}

static int by_block(const void *a, const void *b)
{
	uint64_t x = (*(struct tx_block *const *)a)->block;
	uint64_t y = (*(struct tx_block *const *)b)->block;

	return x < y ? -1 : x > y;
}

/* The oldest transactions; as many as needed, or all. */
static uint64_t choose(struct checkpoint *c, bool all)
{
	uint64_t used = journal_used(c->j);
	uint64_t away = c->nr_away;
	uint64_t chosen = 0;
	struct tx *tx = c->oldest;

	for (;;) {
		chosen += tx->nr_away;
		used -= tx->log_blocks;
		away -= tx->nr_away;
		c->upto = tx;
		if (tx->next == NULL || (!all && is_enough(c, used, away)))
			return chosen;
		tx = tx->next;
	}
}

static int begin_round(struct checkpoint *c, bool all)
{
	uint64_t nr = choose(c, all);

	c->nr_todo = 0;
	c->at = 0;
	c->todo = malloc((nr + 1) * sizeof(struct tx_block *));
	if (c->todo == NULL)
		return -ENOMEM;
	for (struct tx *tx = c->oldest;; tx = tx->next) {
		for (struct tx_block *tb = tx->blocks; tb != NULL; tb = tb->next)
			if (tb->buf != NULL)
				c->todo[c->nr_todo++] = tb;
		if (tx == c->upto)
			break;
	}
	assert(c->nr_todo <= nr);
	qsort(c->todo, c->nr_todo, sizeof(struct tx_block *), by_block);
	c->state = WRITING;
	return 0;
}

/* --- writing home --- */

/* TB's bytes into its image: from the buf while they are still there, else from the ring. */
static int load_image(struct checkpoint *c, struct tx_block *tb)
{
	struct buf *b = tb->buf;
	bool is_there;

	tb->image = cache_page_alloc(c->fs);
	if (tb->image == NULL)
		return -ENOMEM;
	pthread_mutex_lock(&b->join_lock);
	is_there = b->newest == tb;
	if (is_there)
		memcpy(tb->image, b->data, BLOCK_BYTES);
	pthread_mutex_unlock(&b->join_lock);
	if (!is_there)
		return journal_read_image(c->j, tb->log_index, tb->image);
	((struct block_head *)tb->image)->sequence = le64_of(tb->tx->sequence);
	block_seal(tb->image);
	return 0;
}

static void home_done(struct blk_req *req, int err)
{
	struct checkpoint *c = ((struct home_req *)req)->c;

	c->nr_in_flight--;
	if (err < 0 && c->err == 0)
		c->err = err;
}

/* Blocks FROM.. of the batch that follow each other on the disk, in one request. Returns the index
 * after the last of them. */
static unsigned submit_run(struct checkpoint *c, unsigned from, unsigned nr)
{
	struct home_req *r = &c->req[from];
	unsigned end = from;
	int err;

	do {
		c->iov[end] =
			(struct iovec){.iov_base = c->batch[end]->image, .iov_len = BLOCK_BYTES};
		end++;
	} while (end < nr && c->batch[end]->block == c->batch[end - 1]->block + 1);
	block_req(&r->req, BLK_WRITE, c->batch[from]->block, end - from, &c->iov[from],
		(int)(end - from));
	r->req.done = home_done;
	r->c = c;
	c->nr_in_flight++;
	err = blk_submit(c->q, &r->req);
	if (err < 0)
		home_done(&r->req, err);
	return end;
}

static int write_batch(struct checkpoint *c, unsigned nr)
{
	c->err = 0;
	for (unsigned i = 0; i < nr;)
		i = submit_run(c, i, nr);
	while (c->nr_in_flight > 0)
		(void)blk_wait(c->q, -1);
	return c->err;
}

static int write_some(struct checkpoint *c)
{
	unsigned nr = 0;
	int err = 0;

	while (nr < BATCH_BLOCKS && c->at < c->nr_todo && err == 0) {
		struct tx_block *tb = c->todo[c->at++];

		if (tb->buf ==
			NULL) /* a newer version was committed meanwhile, or the block was freed */
			continue;
		c->batch[nr++] = tb;
		err = load_image(c, tb);
	}
	if (err == 0)
		err = write_batch(c, nr);
	for (unsigned i = 0; err == 0 && i < nr; i++)
		let_go(c, c->batch[i]);
	return err;
}

/* The tail is durable behind the round's transactions. */
static void end_round(struct checkpoint *c)
{
	bool last;

	do {
		last = c->oldest == c->upto;
		journal_free(c->j, c->oldest->log_blocks);
		drop_oldest(c);
	} while (!last);
	free(c->todo);
	c->todo = NULL;
	c->state = IDLE;
}

/* --- steps --- */

bool checkpoint_is_empty(const struct checkpoint *c)
{
	return c->oldest == NULL;
}

bool checkpoint_is_idle(const struct checkpoint *c)
{
	return c->state == IDLE;
}

uint64_t checkpoint_nr_away(const struct checkpoint *c)
{
	return c->nr_away;
}

bool checkpoint_is_due(const struct checkpoint *c, bool all)
{
	if (c->oldest == NULL)
		return false;
	return all || c->state != IDLE || journal_used(c->j) > journal_ring(c->j) / 2 ||
	       c->nr_away > max_away(c);
}

bool checkpoint_wants_flush(const struct checkpoint *c)
{
	return c->state == HOME_WRITTEN || c->state == HEAD_WRITTEN;
}

int checkpoint_step(struct checkpoint *c, bool all)
{
	int err;

	assert(!checkpoint_wants_flush(c));
	if (c->state == IDLE)
		return begin_round(c, all);
	if (c->state == WRITING) {
		err = write_some(c);
		if (err == 0 && c->at == c->nr_todo)
			c->state = HOME_WRITTEN;
	} else {
		err = journal_write_tail(c->j, c->upto);
		if (err == 0)
			c->state = HEAD_WRITTEN;
	}
	return err;
}

void checkpoint_flushed(struct checkpoint *c)
{
	if (c->state == HOME_WRITTEN)
		c->state = HOME_DURABLE;
	else if (c->state == HEAD_WRITTEN)
		end_round(c);
}

int checkpoint_create(
	struct fs *fs, struct blk_queue *q, struct journal *j, struct checkpoint **out)
{
	struct checkpoint *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return -ENOMEM;
	c->fs = fs;
	c->q = q;
	c->j = j;
	*out = c;
	return 0;
}

void checkpoint_destroy(struct checkpoint *c)
{
	while (c->oldest != NULL)
		drop_oldest(c);
	free(c->todo);
	free(c);
}
