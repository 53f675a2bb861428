/* tx.c - transactions: handles, the commit thread, sync (tx.h).
 *
 * Invariants
 *  1. At most two transactions are not durable: the running one, which handles join, and the one
 *     that is being committed. Only the commit thread turns one into the other, with no handle
 *     open.
 *  2. A block that is changed under a handle was joined to the handle's transaction before. Joining
 *     takes join_lock, and copies the bytes out for the transaction being committed if that has not
 *     been done; so the commit thread and the joiner both find the bytes as the older transaction
 *     left them, whoever comes first.
 *  3. Every buf with a version that is not at home is referenced, so the cache cannot lose it and
 *     read an older one.
 *  4. tx_io_begin() counts a transfer under an epoch and then looks at the epoch again. The commit
 *     thread turns the epoch and then waits for the count of the old one; so it either sees a
 *     transfer, or that transfer began after the turn.
 *  5. Whatever was written and completed before a flush round began is durable when the round ends:
 *     a round takes data_unflushed back before it submits its FLUSH, and tx_io_end() sets it before
 *     it counts down.
 *  6. Once fs->shut is set nothing is written any more, and everyone who waits is told -EIO.
 *  7. FLUSHes are numbered from 1. A file written in place is stamped with the number of the one
 *     that covers it; it is durable when that or a later one was done (flushes_ok). When one fails,
 *     the files whose stamps are higher than flushes_ok are told so by their next fsync.
 *  8. While frozen no handle is open, no transfer that writes is in flight, nothing is committed or
 *     brought home. freeze is set before the epoch is turned, so invariant 4 holds for it, too. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include "alloc.h"
#include "checkpoint.h"
#include "journal.h"
#include "orphan.h"
#include "probes.h"
#include "super.h"

#define COMMIT_S_DEFAULT 5U
#define SPACE_TRIES      8U /* commits that tx_begin() waits for when space is short */

struct waiter { /* a thread that polls its queue until something here changes */
	struct waiter *next;
	struct blk_queue *q;
};

enum freeze { THAWED, FREEZING, FROZEN };

struct txs {
	struct fs *fs;
	pthread_mutex_t lock; /* leaf */
	struct tx *running;   /* this and below: under lock */
	uint64_t closed;      /* sequence of the last transaction that was closed */
	struct waiter *waiters;
	struct fs_sync *syncs, **last_sync;
	struct fs_thread *threads;
	bool commit_asked;
	bool hurry; /* the cache is full of what we hold */
	bool stop;
	uint64_t nr_freezes; /* which one the next three are about */
	pthread_cond_t freeze_over;
	int freeze_err;
	struct fs_stats stats;

	_Atomic enum freeze freeze; /* changes under lock */

	atomic_uint_fast64_t committed;
	atomic_uint epoch; /* its lowest bit counts */
	atomic_bool epoch_awaited;
	atomic_bool data_unflushed;
	atomic_bool new_data_unflushed; /* and some of it is shown by metadata not yet committed */
	atomic_uint_fast64_t flushes_begun, flushes_ok; /* invariant 7 */
	atomic_bool data_watched; /* it will be flushed in time, though nobody syncs */

	pthread_t thread;     /* the rest: the commit thread's */
	uint64_t data_due_ms; /* when; 0: nobody has asked */
	struct blk_queue *q;
	struct journal *journal;
	struct checkpoint *checkpoint;
	bool errors_marked; /* on the disk */
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* --- waiting --- */

/* Caller holds txs->lock. */
static void wake_all(struct txs *txs)
{
	for (struct waiter *w = txs->waiters; w != NULL; w = w->next)
		blk_wake(w->q);
}

/* Caller holds txs->lock, which is let go meanwhile. Returns after any change, any completion, and
 * sometimes for nothing. */
static void wait_change(struct txs *txs, struct fs_thread *t)
{
	struct waiter w = {.next = txs->waiters, .q = t->q};
	struct waiter **at;

	/* cppcheck-suppress autoVariables ; taken out below */
	txs->waiters = &w;
	pthread_mutex_unlock(&txs->lock);
	(void)blk_wait(t->q, -1);
	pthread_mutex_lock(&txs->lock);
	for (at = &txs->waiters; *at != &w; at = &(*at)->next)
		;
	*at = w.next;
}

/* Caller holds txs->lock. */
static void ask_commit(struct txs *txs)
{
	if (!txs->commit_asked) {
		txs->commit_asked = true;
		blk_wake(txs->q);
	}
}

void tx_hurry(struct fs *fs)
{
	struct txs *txs = fs->txs;

	if (txs == NULL || fs->read_only)
		return;
	pthread_mutex_lock(&txs->lock);
	if (!txs->hurry) {
		txs->hurry = true;
		blk_wake(txs->q);
	}
	pthread_mutex_unlock(&txs->lock);
}

void tx_shut(struct fs *fs)
{
	struct txs *txs = fs->txs;

	if (txs == NULL || fs->read_only)
		return;
	pthread_mutex_lock(&txs->lock);
	wake_all(txs);
	blk_wake(txs->q);
	pthread_mutex_unlock(&txs->lock);
}

/* --- handles --- */

static bool is_empty(const struct tx *tx)
{
	return tx->blocks == NULL && tx->freed == NULL;
}

static struct tx *tx_new(uint64_t sequence)
{
	struct tx *tx = calloc(1, sizeof(*tx));

	if (tx != NULL) {
		tx->sequence = sequence;
		tx->last_block = &tx->blocks;
	}
	return tx;
}

/* Space for the handle; what is freed but not committed yet may have to become usable first. */
static int reserve(struct fs_thread *t, uint64_t nr, bool may_use_reserve)
{
	struct fs *fs = t->fs;
	int err = alloc_reserve(fs, nr, may_use_reserve);

	/* Who frees must not wait for the thread that frees: it may be that thread. */
	if (err == -ENOSPC && !may_use_reserve && fs->orphans != NULL) {
		orphans_wait(t);
		err = alloc_reserve(fs, nr, may_use_reserve);
	}
	for (unsigned i = 0; err == -ENOSPC && i < SPACE_TRIES && alloc_awaiting_commit(fs) > 0;
		i++) {
		int sync_err = tx_sync_wait(t, UINT64_MAX);

		if (sync_err < 0)
			return sync_err;
		err = alloc_reserve(fs, nr, may_use_reserve);
	}
	return err;
}

/* Would NR_JOIN more blocks fit into TX, on top of PROMISED ones? */
static bool has_room(
	const struct txs *txs, const struct tx *tx, uint32_t promised, uint32_t nr_join)
{
	uint32_t max = journal_tx_max(txs->journal);

	return tx->nr_blocks + promised + nr_join <= max && tx->nr_freed_metadata <= max;
}

static int join_running(struct txs *txs, struct fs_thread *t, struct tx_handle *h)
{
	int err;

	pthread_mutex_lock(&txs->lock);
	for (;;) {
		struct tx *tx = txs->running;
		bool is_open = tx != NULL && !tx->closing;

		err = fs_may_write(t->fs);
		if (err < 0)
			break;
		if (atomic_load(&txs->freeze) != THAWED) {
			wait_change(txs, t);
			continue;
		}
		if (is_open && has_room(txs, tx, tx->credits, h->nr_join)) {
			tx->nr_handles++;
			tx->credits += h->nr_join;
			h->tx = tx;
			break;
		}
		if (is_open && !has_room(txs, tx, 0, h->nr_join))
			ask_commit(
				txs); /* else handles that end will give back what they did not use */
		wait_change(txs, t);
	}
	pthread_mutex_unlock(&txs->lock);
	return err;
}

int tx_begin(struct fs_thread *t, uint32_t nr_join, uint64_t nr_alloc, struct tx_handle *h)
{
	struct fs *fs = t->fs;
	bool frees_only = nr_alloc == 0;
	int err;

	err = fs_may_write(fs);
	if (err < 0)
		return err;
	assert(nr_join <= journal_tx_max(fs->txs->journal));
	if (frees_only)
		nr_alloc = TX_ALLOC_EXTENT;
	err = reserve(t, nr_alloc, frees_only);
	if (err < 0)
		return err;
	*h = (struct tx_handle){.t = t, .nr_join = nr_join, .nr_reserved = nr_alloc};
	err = join_running(fs->txs, t, h);
	if (err < 0)
		alloc_unreserve(fs, nr_alloc);
	return err;
}

void tx_times_only(struct tx_handle *h)
{
	h->times_only = true;
}

void tx_end(struct tx_handle *h)
{
	struct fs *fs = h->t->fs;
	struct txs *txs = fs->txs;
	struct tx *tx = h->tx;

	if (h->nr_reserved > 0)
		alloc_unreserve(fs, h->nr_reserved);
	pthread_mutex_lock(&txs->lock);
	tx->credits -= h->nr_join;
	tx->nr_handles--;
	if (!h->times_only)
		tx->orders_data = true;
	if (tx->closing && tx->nr_handles == 0)
		blk_wake(txs->q);
	else if (h->nr_join > 0)
		wake_all(txs); /* one of them may fit in now */
	pthread_mutex_unlock(&txs->lock);
	h->tx = NULL;
}

int tx_block_copy(struct fs *fs, struct tx_block *tb)
{
	if (tb->copied)
		return 0;
	tb->image = cache_page_alloc(fs);
	if (tb->image == NULL)
		return -ENOMEM;
	memcpy(tb->image, tb->buf->data, BLOCK_BYTES);
	tb->copied = true;
	return 0;
}

/* Caller holds buf->join_lock. */
static int make_newest(struct fs *fs, struct tx *tx, struct buf *b, struct tx_block *tb)
{
	if (b->newest != NULL) { /* of a transaction that was closed before TX was opened */
		int err = tx_block_copy(fs, b->newest);

		if (err < 0)
			return err;
	}
	*tb = (struct tx_block){.tx = tx, .buf = b, .block = b->block};
	b->newest = tb;
	atomic_store(&b->joined, tx->sequence);
	return 0;
}

static void add_block(struct txs *txs, struct tx *tx, struct tx_block *tb)
{
	pthread_mutex_lock(&txs->lock);
	*tx->last_block = tb;
	tx->last_block = &tb->next;
	tx->nr_blocks++;
	if (tx->dirty_at_ms == 0) {
		tx->dirty_at_ms = now_ms();
		blk_wake(txs->q); /* to look at the clock from now on */
	}
	pthread_mutex_unlock(&txs->lock);
}

static int join_tx(struct fs *fs, struct tx *tx, struct buf *b, bool *is_first)
{
	struct tx_block *tb = NULL;
	int err = 0;

	*is_first = false;
	if (atomic_load(&b->joined) == tx->sequence)
		return 0;
	tb = malloc(sizeof(*tb));
	if (tb == NULL)
		return -ENOMEM;
	pthread_mutex_lock(&b->join_lock);
	if (atomic_load(&b->joined) != tx->sequence) {
		err = make_newest(fs, tx, b, tb);
		*is_first = err == 0;
	}
	pthread_mutex_unlock(&b->join_lock);
	if (!*is_first) {
		free(tb);
		return err;
	}
	cache_ref(b);
	add_block(fs->txs, tx, tb);
	return 0;
}

int tx_join(struct tx_handle *h, struct buf *b)
{
	bool is_first;
	int err = join_tx(h->t->fs, h->tx, b, &is_first);

	if (is_first) {
		struct txs *txs = h->t->fs->txs;

		assert(h->nr_join > 0);
		h->nr_join--;
		pthread_mutex_lock(&txs->lock);
		h->tx->credits--;
		if (h->tx->nr_blocks > journal_tx_max(txs->journal) / 2)
			ask_commit(txs); /* before it is full and handles have to wait */
		pthread_mutex_unlock(&txs->lock);
	}
	return err;
}

uint64_t tx_sequence(const struct tx_handle *h)
{
	return h->tx->sequence;
}

uint64_t tx_committed(const struct fs *fs)
{
	return atomic_load(&fs->txs->committed);
}

/* BLOCK is freed by TX: if TX has changed it too, that change need not be written. */
static void drop_block(struct fs *fs, const struct tx *tx, uint64_t block)
{
	struct buf *b = cache_peek(fs, block);

	if (b == NULL)
		return;
	pthread_mutex_lock(&b->join_lock);
	if (b->newest != NULL && b->newest->tx == tx)
		b->newest->dropped = true;
	pthread_mutex_unlock(&b->join_lock);
	cache_forget(fs, block);
	cache_put(b);
}

int tx_freed(struct tx_handle *h, uint64_t start, uint32_t nr_blocks, bool metadata)
{
	struct fs *fs = h->t->fs;
	struct tx_free *f = malloc(sizeof(*f));

	if (f == NULL)
		return -ENOMEM;
	*f = (struct tx_free){.start = start, .nr_blocks = nr_blocks, .metadata = metadata};
	if (metadata)
		for (uint32_t i = 0; i < nr_blocks; i++)
			drop_block(fs, h->tx, start + i);
	pthread_mutex_lock(&fs->txs->lock);
	f->next = h->tx->freed;
	h->tx->freed = f;
	if (metadata)
		h->tx->nr_freed_metadata += nr_blocks;
	pthread_mutex_unlock(&fs->txs->lock);
	return 0;
}

/* --- file I/O --- */

void tx_thread_add(struct fs_thread *t)
{
	struct txs *txs = t->fs->txs;

	pthread_mutex_lock(&txs->lock);
	t->next = txs->threads;
	txs->threads = t;
	pthread_mutex_unlock(&txs->lock);
}

void tx_thread_remove(struct fs_thread *t)
{
	struct txs *txs = t->fs->txs;
	struct fs_thread **at;

	assert(atomic_load(&t->io_in_flight[0]) == 0 && atomic_load(&t->io_in_flight[1]) == 0);
	pthread_mutex_lock(&txs->lock);
	for (at = &txs->threads; *at != t; at = &(*at)->next)
		;
	*at = t->next;
	pthread_mutex_unlock(&txs->lock);
}

unsigned tx_io_begin(struct fs_thread *t)
{
	atomic_uint *epoch = &t->fs->txs->epoch;

	for (;;) {
		unsigned e = atomic_load(epoch) & 1;

		atomic_fetch_add(&t->io_in_flight[e], 1);
		if ((atomic_load(epoch) & 1) == e) /* invariant 4 */
			return e;
		tx_io_end_read(t, e);
	}
}

void tx_io_end_read(struct fs_thread *t, unsigned epoch)
{
	struct txs *txs = t->fs->txs;

	if (atomic_fetch_sub(&t->io_in_flight[epoch], 1) == 1 && atomic_load(&txs->epoch_awaited))
		blk_wake(txs->q);
}

/* Never back: another thread's transfer may have ended under a later FLUSH meanwhile. */
static void stamp(struct inode *inode, uint64_t flush)
{
	uint64_t was = atomic_load(&inode->written_at);

	while (was < flush && !atomic_compare_exchange_weak(&inode->written_at, &was, flush))
		continue;
}

void tx_io_end_in_place(struct fs_thread *t, unsigned epoch, struct inode *inode)
{
	struct txs *txs = t->fs->txs;

	if (inode != NULL)
		stamp(inode, atomic_load(&txs->flushes_begun) + 1);
	atomic_store(&txs->data_unflushed, true); /* first: invariant 5 */
	if (!atomic_load(&txs->data_watched) && !atomic_exchange(&txs->data_watched, true))
		blk_wake(txs->q); /* to look at the clock from now on */
	tx_io_end_read(t, epoch);
}

void tx_io_end(struct fs_thread *t, unsigned epoch)
{
	atomic_store(&t->fs->txs->new_data_unflushed, true);
	tx_io_end_in_place(t, epoch, NULL);
}

bool tx_is_flushed(const struct fs *fs, uint64_t stamp)
{
	return stamp <= atomic_load(&fs->txs->flushes_ok);
}

static bool epoch_drained(struct txs *txs, unsigned epoch)
{
	bool drained = true;

	pthread_mutex_lock(&txs->lock);
	for (struct fs_thread *t = txs->threads; t != NULL && drained; t = t->next)
		drained = atomic_load(&t->io_in_flight[epoch]) == 0;
	pthread_mutex_unlock(&txs->lock);
	return drained;
}

/* New transfers count under another epoch from here on. Returns the old one. */
static unsigned turn_epoch(struct txs *txs)
{
	return atomic_fetch_add(&txs->epoch, 1) & 1;
}

static void drain_epoch(struct txs *txs, unsigned epoch)
{
	atomic_store(&txs->epoch_awaited, true);
	while (!epoch_drained(txs, epoch))
		(void)blk_wait(txs->q, -1);
	atomic_store(&txs->epoch_awaited, false);
}

/* After an error nothing that was written since the last FLUSH is known to be there. */
static int try_flush(struct txs *txs)
{
	uint64_t number = atomic_fetch_add(&txs->flushes_begun, 1) + 1;
	bool new_data = atomic_exchange(&txs->new_data_unflushed, false);
	int err;

	atomic_store(&txs->data_unflushed, false); /* before the FLUSH: invariant 5 */
	err = cache_flush(txs->fs, txs->q);
	if (err == 0) {
		atomic_store(&txs->flushes_ok, number);
		checkpoint_flushed(txs->checkpoint);
		return 0;
	}
	if (new_data)
		atomic_store(&txs->new_data_unflushed, true);
	atomic_store(&txs->data_unflushed, true);
	return err;
}

static int flush(struct txs *txs)
{
	int err = try_flush(txs);

	return err < 0 ? fs_abort(txs->fs, err, "flush") : 0;
}

/* --- sync --- */

/* Caller holds txs->lock. The sequence that must be committed for everything up to SEQUENCE to be
 * durable. */
static uint64_t sync_target(const struct txs *txs, uint64_t sequence)
{
	if (sequence != UINT64_MAX)
		return sequence;
	return txs->running != NULL && !is_empty(txs->running) ? txs->running->sequence
							       : txs->closed;
}

/* Once for each loss, to whoever asks first. */
static int inode_result(struct inode *inode, int err)
{
	if (inode == NULL)
		return err;
	if (atomic_exchange(&inode->write_lost, false))
		err = -EIO;
	inode_put_io(inode);
	return err;
}

void tx_sync(struct fs_thread *t, uint64_t sequence, struct inode *inode, struct fs_sync *s)
{
	struct fs *fs = t->fs;
	struct txs *txs = fs->txs;

	if (fs->read_only || atomic_load(&fs->shut)) {
		s->done(s, inode_result(inode, fs->read_only ? 0 : -EIO));
		return;
	}
	s->next = NULL;
	s->priv[1] = (uintptr_t)inode;
	pthread_mutex_lock(&txs->lock);
	s->priv[0] = sync_target(txs, sequence);
	*txs->last_sync = s;
	txs->last_sync = &s->next;
	pthread_mutex_unlock(&txs->lock);
	blk_wake(txs->q);
}

struct sync_waiter {
	struct fs_sync s; /* first */
	struct txs *txs;
	struct blk_queue *q;
	bool done; /* under txs->lock, so that the queue is not closed before it was woken */
	int err;
};

static void sync_waited(struct fs_sync *s, int err)
{
	struct sync_waiter *w = (struct sync_waiter *)s;
	struct txs *txs = w->txs;

	pthread_mutex_lock(&txs->lock);
	w->err = err;
	w->done = true;
	blk_wake(w->q);
	pthread_mutex_unlock(&txs->lock);
}

int tx_sync_wait(struct fs_thread *t, uint64_t sequence)
{
	struct txs *txs = t->fs->txs;
	struct sync_waiter w = {.s.done = sync_waited, .txs = txs, .q = t->q};

	tx_sync(t, sequence, NULL, &w.s);
	pthread_mutex_lock(&txs->lock);
	while (!w.done)
		wait_change(txs, t);
	pthread_mutex_unlock(&txs->lock);
	return w.err;
}

/* Caller holds txs->lock. All that wait now: in *FIRST; returns the sequence that the last of them
 * needs. */
static uint64_t take_syncs(struct txs *txs, struct fs_sync **first)
{
	uint64_t target = 0;

	*first = txs->syncs;
	txs->syncs = NULL;
	txs->last_sync = &txs->syncs;
	for (const struct fs_sync *s = *first; s != NULL; s = s->next)
		if (s->priv[0] > target)
			target = s->priv[0];
	return target;
}

static void finish_syncs(struct fs_sync *s, int err)
{
	while (s != NULL) {
		struct fs_sync *next = s->next;

		s->done(s, inode_result((struct inode *)(uintptr_t)s->priv[1], err));
		s = next;
	}
}

/* --- the commit thread --- */

/* No new handle joins the running transaction, and those that did have ended. NULL: nothing runs,
 * or nothing was changed. */
static struct tx *close_running(struct txs *txs)
{
	struct tx *tx;

	pthread_mutex_lock(&txs->lock);
	txs->commit_asked = false;
	tx = txs->running;
	if (tx != NULL)
		tx->closing = true;
	while (tx != NULL && tx->nr_handles > 0) {
		pthread_mutex_unlock(&txs->lock);
		(void)blk_wait(txs->q, -1);
		pthread_mutex_lock(&txs->lock);
	}
	if (tx != NULL && is_empty(tx)) {
		tx->closing = false;
		wake_all(txs);
		tx = NULL;
	}
	pthread_mutex_unlock(&txs->lock);
	return tx;
}

/* The counters are exact now, with no handle open, so they are exact for whoever replays TX. */
static int update_super(struct fs *fs, struct tx *tx)
{
	struct super_disk *sb = (struct super_disk *)fs->super->data;
	uint64_t free_blocks, free_inodes;
	uint32_t state = le32_get(sb->state) | (atomic_load(&fs->errors_seen) ? STATE_ERRORS : 0);
	bool is_first;
	int err;

	alloc_counters(fs, &free_blocks, &free_inodes);
	if (free_blocks == le64_get(sb->free_blocks) && free_inodes == le64_get(sb->free_inodes) &&
		state == le32_get(sb->state))
		return 0;
	err = join_tx(fs, tx, fs->super, &is_first);
	if (err < 0)
		return err;
	pthread_mutex_lock(&fs->super->lock);
	sb->free_blocks = le64_of(free_blocks);
	sb->free_inodes = le64_of(free_inodes);
	sb->write_time = le64_of((uint64_t)time(NULL));
	sb->state = le32_of(state);
	pthread_mutex_unlock(&fs->super->lock);
	return 0;
}

/* Handles may go on, if the ring has room for what they will do; else they wait for a checkpoint.
 * CLOSED is yet to be written. */
static int open_next(struct txs *txs, const struct tx *closed)
{
	struct tx *tx = NULL;

	if (journal_has_room(txs->journal, closed)) {
		tx = tx_new(txs->closed + 1);
		if (tx == NULL)
			return fs_abort(txs->fs, -ENOMEM, "begin a transaction");
	}
	pthread_mutex_lock(&txs->lock);
	txs->running = tx;
	wake_all(txs);
	pthread_mutex_unlock(&txs->lock);
	return 0;
}

static void release_freed(struct fs *fs, struct tx *tx)
{
	while (tx->freed != NULL) {
		struct tx_free *f = tx->freed;

		tx->freed = f->next;
		alloc_release(fs, f->start, f->nr_blocks);
		free(f);
	}
}

/* TX will not be committed. */
static void discard(struct fs *fs, struct tx *tx)
{
	while (tx->blocks != NULL) {
		struct tx_block *tb = tx->blocks;

		tx->blocks = tb->next;
		pthread_mutex_lock(&tb->buf->join_lock);
		if (tb->buf->newest == tb)
			tb->buf->newest = NULL;
		pthread_mutex_unlock(&tb->buf->join_lock);
		cache_page_free(fs, tb->image);
		cache_put(tb->buf);
		free(tb);
	}
	while (tx->freed != NULL) {
		struct tx_free *f = tx->freed;

		tx->freed = f->next;
		free(f);
	}
	free(tx->revoked);
	free(tx);
}

/* Must file data that was written so far be durable before TX's commit record is? */
static bool data_comes_first(const struct txs *txs, const struct tx *tx)
{
	return tx->orders_data && atomic_load(&txs->data_unflushed);
}

/* Who gave up half-way shut the mount before ending the handle or the transfer: nothing that was
 * open then may be committed. */
static int check_shut(const struct txs *txs)
{
	return atomic_load(&txs->fs->shut) ? -EIO : 0;
}

/* Records, file data and commit record reach the disk so that the commit record is not durable
 * before the file data is that it shows. */
static int write_tx(struct txs *txs, struct tx *tx, unsigned epoch)
{
	struct fs *fs = txs->fs;
	int err;

	err = checkpoint_find_revokes(txs->checkpoint, tx);
	if (err == 0)
		err = journal_start(txs->journal, tx);
	if (err < 0)
		return fs_abort(fs, err, "write a transaction");
	if (!epoch_drained(txs, epoch) || data_comes_first(txs, tx)) {
		journal_push(txs->journal); /* while we wait */
		drain_epoch(txs, epoch);
		if (data_comes_first(txs, tx))
			err = flush(txs);
	}
	if (err == 0)
		err = check_shut(txs); /* data that it names may be lost */
	if (err < 0) {
		journal_cancel(txs->journal);
		return err;
	}
	err = journal_finish(txs->journal, tx);
	if (err < 0)
		return fs_abort(fs, err, "write a transaction");
	return flush(txs); /* the commit point: TX is all there from here on */
}

static void committed(struct txs *txs, struct tx *tx, uint64_t us)
{
	pthread_mutex_lock(&txs->lock);
	txs->stats.commits++;
	txs->stats.commit_blocks += tx->nr_blocks;
	txs->stats.commit_us += us;
	pthread_mutex_unlock(&txs->lock);
	PROBE3(commit, tx->sequence, tx->nr_blocks, us);
	atomic_store(&txs->committed, tx->sequence);
	release_freed(txs->fs, tx);
	if (checkpoint_add(txs->checkpoint, tx) < 0)
		(void)fs_abort(txs->fs, -ENOMEM, "keep what goes home");
	if (txs->running == NULL &&
		journal_has_room(txs->journal, NULL)) /* it was smaller than it might have been */
		(void)open_next(txs, NULL);
}

/* Make the running transaction durable, and the file data written before. */
static int commit(struct txs *txs)
{
	uint64_t start_us = now_us();
	struct tx *tx = close_running(txs);
	unsigned epoch;
	int err;

	if (tx == NULL)
		return 0;
	err = update_super(txs->fs, tx);
	epoch = turn_epoch(txs);
	pthread_mutex_lock(&txs->lock);
	txs->running = NULL;
	txs->closed = tx->sequence;
	pthread_mutex_unlock(&txs->lock);
	if (err < 0)
		(void)fs_abort(txs->fs, err, "close a transaction");
	if (err == 0)
		err = check_shut(txs);
	if (err == 0)
		err = open_next(txs, tx);
	if (err == 0)
		err = write_tx(txs, tx, epoch);
	if (err == 0)
		committed(txs, tx, now_us() - start_us);
	else
		discard(txs->fs, tx);
	return err;
}

/* Only file data is to be made durable. When that fails, and neither contents that a later commit
 * would show nor blocks on their way home may be lost with it, it is a matter of the files that
 * were written. */
static int flush_round(struct txs *txs)
{
	int err;

	drain_epoch(txs, turn_epoch(txs));
	if (!atomic_load(&txs->data_unflushed))
		return 0;
	err = try_flush(txs);
	if (err == 0)
		return 0;
	if (atomic_load(&txs->new_data_unflushed) || !checkpoint_is_idle(txs->checkpoint))
		return fs_abort(txs->fs, err, "flush");
	syslog(LOG_ERR,
		"%s: flush: %s; files written since the last one say so at their next fsync",
		txs->fs->disk_name, strerror(-err));
	inodes_note_lost(txs->fs);
	return err;
}

/* What was overwritten in place is in no transaction: a commit may never come. */
static void flush_in_time(struct txs *txs)
{
	txs->data_due_ms = 0;
	atomic_store(&txs->data_watched, false); /* what is written from here on asks again */
	if (atomic_load(&txs->data_unflushed))
		(void)flush_round(txs);
}

static void serve_syncs(struct txs *txs)
{
	struct fs_sync *first;
	uint64_t target;
	int err;

	pthread_mutex_lock(&txs->lock);
	target = take_syncs(txs, &first);
	pthread_mutex_unlock(&txs->lock);
	if (atomic_load(&txs->fs->shut))
		err = -EIO;
	else if (target > atomic_load(&txs->committed))
		err = commit(txs);
	else
		err = flush_round(txs);
	finish_syncs(first, err < 0 ? -EIO : 0);
}

/* Some of the work that brings committed blocks home, and room in the ring. */
static void step_checkpoint(struct txs *txs, bool all)
{
	int err;

	if (checkpoint_wants_flush(txs->checkpoint)) {
		if (flush(txs) == 0 && txs->running == NULL && journal_has_room(txs->journal, NULL))
			(void)open_next(txs, NULL);
		return;
	}
	err = checkpoint_step(txs->checkpoint, all);
	if (err < 0)
		(void)fs_abort(txs->fs, err, "bring committed blocks home");
}

/* --- freezing --- */

static int bring_all_home(struct txs *txs)
{
	int err = atomic_load(&txs->fs->shut) ? -EIO : commit(txs);

	if (err == 0)
		err = flush_round(txs); /* what is written in place */
	while (err == 0 && !checkpoint_is_empty(txs->checkpoint)) {
		step_checkpoint(txs, true);
		err = atomic_load(&txs->fs->shut) ? -EIO : 0;
	}
	return err;
}

/* Caller holds txs->lock. */
static void set_freeze(struct txs *txs, enum freeze to, int err)
{
	atomic_store(&txs->freeze, to);
	txs->freeze_err = err;
	pthread_cond_broadcast(&txs->freeze_over);
	if (to == THAWED)
		wake_all(txs);
	blk_wake(txs->q);
}

static void freeze(struct txs *txs)
{
	uint64_t which;
	int err;

	pthread_mutex_lock(&txs->lock);
	which = txs->nr_freezes;
	pthread_mutex_unlock(&txs->lock);
	err = bring_all_home(txs);
	pthread_mutex_lock(&txs->lock);
	if (txs->nr_freezes == which && atomic_load(&txs->freeze) == FREEZING)
		set_freeze(txs, err < 0 ? THAWED : FROZEN, err);
	pthread_mutex_unlock(&txs->lock);
}

int fs_freeze(struct fs *fs)
{
	struct txs *txs = fs->txs;
	uint64_t which;
	int err = fs_may_write(fs);

	if (err < 0)
		return err;
	pthread_mutex_lock(&txs->lock);
	if (atomic_load(&txs->freeze) != THAWED) {
		pthread_mutex_unlock(&txs->lock);
		return -EBUSY;
	}
	which = ++txs->nr_freezes;
	set_freeze(txs, FREEZING, 0);
	while (txs->nr_freezes == which && atomic_load(&txs->freeze) == FREEZING)
		pthread_cond_wait(&txs->freeze_over, &txs->lock);
	err = txs->nr_freezes == which ? txs->freeze_err : -ECANCELED;
	pthread_mutex_unlock(&txs->lock);
	return err;
}

int fs_thaw(struct fs *fs)
{
	struct txs *txs = fs->txs;
	enum freeze was;

	pthread_mutex_lock(&txs->lock);
	was = atomic_load(&txs->freeze);
	if (was != THAWED)
		set_freeze(txs, THAWED, was == FREEZING ? -ECANCELED : 0);
	pthread_mutex_unlock(&txs->lock);
	return was == THAWED ? -EINVAL : 0;
}

bool tx_is_freezing(const struct fs *fs)
{
	return atomic_load(&fs->txs->freeze) != THAWED;
}

/* --- what to do next --- */

enum job {
	JOB_NONE,
	JOB_SYNC,
	JOB_MARK_ERRORS,
	JOB_COMMIT,
	JOB_FLUSH,
	JOB_FREEZE,
	JOB_CHECKPOINT,
	JOB_STOP
};

struct plan {
	enum job job;
	int timeout_ms; /* JOB_NONE */
	bool all;       /* JOB_CHECKPOINT: everything, not only as much as is needed */
};

static uint64_t commit_ms(const struct fs *fs)
{
	return (fs->opts.commit_s == 0 ? COMMIT_S_DEFAULT : fs->opts.commit_s) * UINT64_C(1000);
}

/* Caller holds txs->lock. Would a commit and a checkpoint bring the cache much? */
static bool may_relieve(const struct txs *txs)
{
	uint64_t held = checkpoint_nr_away(txs->checkpoint);

	if (txs->running != NULL)
		held += txs->running->nr_blocks;
	return held >= cache_max_blocks(txs->fs) / 8;
}

/* Caller holds txs->lock. Ms until the running transaction is to be committed; -1: there is nothing
 * to commit. */
static int commit_in_ms(const struct txs *txs)
{
	const struct tx *tx = txs->running;
	uint64_t due, now;

	if (tx == NULL || tx->dirty_at_ms == 0)
		return -1;
	if (txs->commit_asked || txs->hurry || txs->stop)
		return 0;
	due = tx->dirty_at_ms + commit_ms(txs->fs);
	now = now_ms();
	return now >= due ? 0 : (int)(due - now);
}

/* Ms until file data is to be flushed, though nobody syncs; -1: there is none. */
static int flush_in_ms(struct txs *txs)
{
	uint64_t now;

	if (!atomic_load(&txs->data_watched))
		return -1;
	now = now_ms();
	if (txs->data_due_ms == 0)
		txs->data_due_ms = now + commit_ms(txs->fs);
	return now >= txs->data_due_ms ? 0 : (int)(txs->data_due_ms - now);
}

/* -1: never. */
static int sooner(int a_ms, int b_ms)
{
	if (a_ms < 0 || b_ms < 0)
		return a_ms < 0 ? b_ms : a_ms;
	return a_ms < b_ms ? a_ms : b_ms;
}

/* Caller holds txs->lock. When a round of checkpoints only waits for a FLUSH, let the next commit
 * bring it, unless someone waits. */
static bool must_checkpoint(const struct txs *txs, bool all)
{
	if (!checkpoint_is_due(txs->checkpoint, all))
		return false;
	return all || txs->running == NULL || !checkpoint_wants_flush(txs->checkpoint);
}

/* What to do now; else how long to sleep. */
static struct plan make_plan(struct txs *txs)
{
	struct plan plan = {.job = JOB_NONE, .timeout_ms = -1};

	pthread_mutex_lock(&txs->lock);
	if (txs->hurry && !may_relieve(txs))
		txs->hurry = false;
	plan.all = txs->stop || txs->hurry;
	if (txs->syncs != NULL) {
		plan.job = JOB_SYNC;
	} else if (atomic_load(&txs->freeze) != THAWED) {
		if (atomic_load(&txs->freeze) == FREEZING)
			plan.job = JOB_FREEZE;
	} else if (atomic_load(&txs->fs->shut)) {
		if (atomic_load(&txs->fs->errors_seen) && !txs->errors_marked)
			plan.job = JOB_MARK_ERRORS;
	} else {
		int commit_due = commit_in_ms(txs), flush_due = flush_in_ms(txs);

		plan.timeout_ms = sooner(commit_due, flush_due);
		if (commit_due == 0)
			plan.job = JOB_COMMIT;
		else if (flush_due == 0)
			plan.job = JOB_FLUSH;
		else if (must_checkpoint(txs, plan.all))
			plan.job = JOB_CHECKPOINT;
	}
	if (plan.job == JOB_NONE && txs->stop)
		plan.job = JOB_STOP;
	pthread_mutex_unlock(&txs->lock);
	return plan;
}

static void *commit_main(void *arg)
{
	struct txs *txs = arg;

	for (;;) {
		struct plan plan = make_plan(txs);

		switch (plan.job) {
		case JOB_SYNC:
			serve_syncs(txs);
			break;
		case JOB_MARK_ERRORS:
			super_mark_errors(txs->fs, txs->q);
			txs->errors_marked = true;
			break;
		case JOB_COMMIT:
			(void)commit(txs);
			break;
		case JOB_FLUSH:
			flush_in_time(txs);
			break;
		case JOB_FREEZE:
			freeze(txs);
			break;
		case JOB_CHECKPOINT:
			step_checkpoint(txs, plan.all);
			break;
		case JOB_STOP:
			return NULL;
		case JOB_NONE:
			(void)blk_wait(txs->q, plan.timeout_ms);
			break;
		}
	}
}

/* --- begin and end --- */

static int start_thread(struct txs *txs)
{
	int err = blk_queue_open(txs->fs->dev, &txs->q);

	if (err < 0)
		return err;
	err = journal_create(txs->fs, txs->q, &txs->journal);
	if (err < 0)
		goto close_queue;
	err = checkpoint_create(txs->fs, txs->q, txs->journal, &txs->checkpoint);
	if (err < 0)
		goto destroy_journal;
	txs->closed = journal_next_sequence(txs->journal) - 1;
	atomic_store(&txs->committed, txs->closed);
	txs->running = tx_new(txs->closed + 1);
	if (txs->running == NULL) {
		err = -ENOMEM;
		goto destroy_checkpoint;
	}
	err = -pthread_create(&txs->thread, NULL, commit_main, txs);
	if (err < 0)
		goto free_running;
	return 0;

free_running:
	free(txs->running);
destroy_checkpoint:
	checkpoint_destroy(txs->checkpoint);
destroy_journal:
	journal_destroy(txs->journal);
close_queue:
	blk_queue_close(txs->q);
	return err;
}

int tx_create(struct fs *fs)
{
	struct txs *txs = calloc(1, sizeof(*txs));
	int err;

	if (txs == NULL)
		return -ENOMEM;
	txs->fs = fs;
	txs->last_sync = &txs->syncs;
	pthread_mutex_init(&txs->lock, NULL);
	pthread_cond_init(&txs->freeze_over, NULL);
	fs->txs = txs;
	err = fs->read_only ? 0 : start_thread(txs);
	if (err < 0) {
		fs->txs = NULL;
		pthread_cond_destroy(&txs->freeze_over);
		pthread_mutex_destroy(&txs->lock);
		free(txs);
	}
	return err;
}

static void stop_thread(struct txs *txs)
{
	pthread_mutex_lock(&txs->lock);
	txs->stop = true;
	pthread_mutex_unlock(&txs->lock);
	blk_wake(txs->q);
	pthread_join(txs->thread, NULL);
	if (txs->running != NULL)
		discard(txs->fs, txs->running);
	checkpoint_destroy(txs->checkpoint);
	journal_destroy(txs->journal);
	blk_queue_close(txs->q);
}

int tx_destroy(struct fs *fs)
{
	struct txs *txs = fs->txs;

	if (!fs->read_only)
		stop_thread(txs);
	fs->txs = NULL;
	pthread_cond_destroy(&txs->freeze_over);
	pthread_mutex_destroy(&txs->lock);
	free(txs);
	return atomic_load(&fs->shut) ? -EIO : 0;
}

void tx_stats(struct fs *fs, struct fs_stats *out)
{
	struct txs *txs = fs->txs;

	pthread_mutex_lock(&txs->lock);
	out->frozen = atomic_load(&txs->freeze) != THAWED;
	out->commits += txs->stats.commits;
	out->commit_blocks += txs->stats.commit_blocks;
	out->commit_us += txs->stats.commit_us;
	if (txs->running != NULL)
		out->dirty_blocks += txs->running->nr_blocks;
	pthread_mutex_unlock(&txs->lock);
}
