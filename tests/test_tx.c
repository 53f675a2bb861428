/* test_tx.c - tx.c: handles, commits, sync, and many threads at once. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>
#include "block_world.h"
#include "until.h"

static struct world w;

static void setup(void)
{
	world_make(&w);
	world_mount(&w, NULL);
	world_populate(&w, WORLD_BLOCKS);
}

static void teardown(void)
{
	ck_assert_int_eq(world_unmount(&w), 0);
	world_close(&w);
}

static uint64_t nr_commits(void)
{
	struct fs_stats stats;

	fs_get_stats(w.fs, &stats);
	return stats.commits;
}

/* --- handles --- */

START_TEST(joining_a_block_again_takes_no_credit)
{
	struct tx_handle h;

	ck_assert_int_eq(tx_begin(w.t, 1, 0, &h), 0);
	for (uint64_t i = 0; i < 10; i++)
		world_put(&h, &w, 0, i);
	ck_assert_uint_eq(h.nr_join, 0);
	tx_end(&h);
	ck_assert_uint_eq(world_get(&w, 0), 9);
}
END_TEST

START_TEST(joining_more_blocks_than_said_is_a_bug_that_shows)
{
	struct tx_handle h;

	ck_assert_int_eq(tx_begin(w.t, 1, 0, &h), 0);
	world_put(&h, &w, 0, 1);
	world_put(&h, &w, 1, 1);
}
END_TEST

START_TEST(a_handle_gives_back_the_space_it_did_not_use)
{
	struct fs_statfs before, after;
	struct tx_handle h;

	alloc_statfs(w.fs, &before);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(tx_begin(w.t, 8, before.avail_blocks / 2, &h), 0);
		tx_end(&h);
	}
	alloc_statfs(w.fs, &after);
	ck_assert_uint_eq(before.avail_blocks, after.avail_blocks);
}
END_TEST

START_TEST(more_space_than_there_is_is_refused)
{
	struct fs_statfs st;
	struct tx_handle h;

	alloc_statfs(w.fs, &st);
	ck_assert_int_eq(tx_begin(w.t, 8, st.avail_blocks + 1, &h), -ENOSPC);
	ck_assert_int_eq(tx_begin(w.t, 8, st.avail_blocks, &h), 0);
	tx_end(&h);
}
END_TEST

START_TEST(space_that_awaits_a_commit_is_waited_for)
{
	struct fs_statfs st;
	struct tx_handle h;

	ck_assert_int_eq(tx_begin(w.t, 8, 0, &h), 0);
	ck_assert_int_eq(alloc_free(&h, w.block[0], 1, true), 0);
	tx_end(&h);
	ck_assert_uint_gt(alloc_awaiting_commit(w.fs), 0);
	alloc_statfs(w.fs, &st); /* counts what awaits its commit */
	ck_assert_int_eq(tx_begin(w.t, 8, st.avail_blocks, &h), 0);
	ck_assert_uint_eq(alloc_awaiting_commit(w.fs), 0);
	tx_end(&h);
}
END_TEST

START_TEST(a_transaction_that_is_full_is_committed_and_the_next_one_opened)
{
	uint64_t commits = nr_commits();

	for (unsigned round = 1; round <= 40; round++)
		for (unsigned i = 0; i < WORLD_BLOCKS; i++) {
			struct tx_handle h;

			ck_assert_int_eq(tx_begin(w.t, 8, 1, &h), 0);
			world_put(&h, &w, i, round);
			if (i % 4 == 0)
				(void)world_new_block(&h, round);
			tx_end(&h);
		}
	ck_assert_uint_gt(nr_commits(), commits);
	for (unsigned i = 0; i < WORLD_BLOCKS; i++)
		ck_assert_uint_eq(world_get(&w, i), 40);
}
END_TEST

/* --- sync --- */

START_TEST(sync_with_nothing_to_do_touches_no_disk)
{
	uint64_t writes, flushes;

	ck_assert_int_eq(world_sync(&w), 0);
	writes = cut_disk_nr_writes(w.disk);
	flushes = cut_disk_nr_flushes(w.disk);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(world_sync(&w), 0);
	ck_assert_uint_eq(cut_disk_nr_writes(w.disk), writes);
	ck_assert_uint_eq(cut_disk_nr_flushes(w.disk), flushes);
}
END_TEST

START_TEST(sync_of_file_data_alone_is_one_flush)
{
	uint64_t flushes = cut_disk_nr_flushes(w.disk);

	tx_io_end_read(w.t, tx_io_begin(w.t)); /* a read is nothing to flush */
	ck_assert_int_eq(world_sync(&w), 0);
	ck_assert_uint_eq(cut_disk_nr_flushes(w.disk), flushes);
	tx_io_end(w.t, tx_io_begin(w.t));
	ck_assert_int_eq(world_sync(&w), 0);
	ck_assert_uint_eq(cut_disk_nr_flushes(w.disk), flushes + 1);
}
END_TEST

START_TEST(a_commit_with_file_data_flushes_it_before_the_commit_record)
{
	uint64_t flushes = cut_disk_nr_flushes(w.disk);

	tx_io_end(w.t, tx_io_begin(w.t));
	ck_assert_int_eq(world_set(&w, 0, 1), 0);
	ck_assert_int_eq(world_sync(&w), 0);
	ck_assert_uint_eq(cut_disk_nr_flushes(w.disk), flushes + 2);
}
END_TEST

static void set_times(struct world *in)
{
	struct tx_handle h;

	ck_assert_int_eq(tx_begin(in->t, 1, 0, &h), 0);
	world_put(&h, in, 0, 7);
	tx_times_only(&h);
	tx_end(&h);
}

START_TEST(a_commit_of_times_alone_lets_file_data_share_its_flush)
{
	uint64_t flushes = cut_disk_nr_flushes(w.disk);

	tx_io_end(w.t, tx_io_begin(w.t));
	set_times(&w);
	ck_assert_int_eq(world_sync(&w), 0);
	ck_assert_uint_eq(cut_disk_nr_flushes(w.disk), flushes + 1);
	ck_assert_int_eq(world_sync(&w), 0); /* that one was enough */
	ck_assert_uint_eq(cut_disk_nr_flushes(w.disk), flushes + 1);

	tx_io_end(w.t, tx_io_begin(w.t));
	set_times(&w);
	ck_assert_int_eq(world_set(&w, 0, 1), 0); /* and now something else, too */
	ck_assert_int_eq(world_sync(&w), 0);
	ck_assert_uint_eq(cut_disk_nr_flushes(w.disk), flushes + 3);
}
END_TEST

/* Nothing but the unmount flushes; on a disk without a volatile cache not even that would do
 * anything. */
START_TEST(without_barriers_there_is_one_flush_at_the_end)
{
	struct fs_mount_opts opts = {.no_barrier = true};
	uint64_t flushes;

	ck_assert_int_eq(world_unmount(&w), 0);
	flushes = cut_disk_nr_flushes(w.disk);
	world_mount(&w, &opts);
	for (unsigned i = 0; i < 400; i++) { /* checkpoints, too */
		tx_io_end(w.t, tx_io_begin(w.t));
		ck_assert_int_eq(world_set(&w, i % WORLD_BLOCKS, i), 0);
		ck_assert_int_eq(world_sync(&w), 0);
	}
	ck_assert_uint_eq(cut_disk_nr_flushes(w.disk), flushes);
	ck_assert_int_eq(world_unmount(&w), 0);
	ck_assert_uint_eq(cut_disk_nr_flushes(w.disk), flushes + 1);
	world_mount(&w, NULL);
}
END_TEST

struct async {
	struct fs_sync s; /* first */
	atomic_bool done;
	int err;
};

static void async_done(struct fs_sync *s, int err)
{
	struct async *a = (struct async *)s;

	a->err = err;
	atomic_store(&a->done, true);
}

static void sleep_ms(long ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	nanosleep(&ts, NULL);
}

static void await(struct async *a)
{
	wait_until(atomic_load(&a->done));
}

START_TEST(sync_waits_for_transfers_that_began_before_it)
{
	struct async a = {.s.done = async_done};
	unsigned epoch = tx_io_begin(w.t);

	if (_i == 1)
		ck_assert_int_eq(world_set(&w, 0, 1), 0);
	tx_sync(w.t, UINT64_MAX, NULL, &a.s);
	sleep_ms(30);
	ck_assert(!atomic_load(&a.done));
	tx_io_end(w.t, epoch);
	await(&a);
	ck_assert_int_eq(a.err, 0);
}
END_TEST

START_TEST(sync_does_not_wait_for_transfers_that_began_after_it)
{
	struct async a = {.s.done = async_done};
	unsigned first = tx_io_begin(w.t);
	unsigned second;

	tx_sync(w.t, UINT64_MAX, NULL, &a.s);
	do { /* until the commit thread has turned the epoch */
		sleep_ms(1);
		second = tx_io_begin(w.t);
		if (second == first)
			tx_io_end_read(w.t, second);
	} while (second == first);
	tx_io_end(w.t, first);
	await(&a);
	tx_io_end(w.t, second);
}
END_TEST

START_TEST(a_change_is_committed_by_itself_in_time)
{
	struct fs_mount_opts opts = {.commit_s = 1};
	uint64_t commits, began, took;

	ck_assert_int_eq(world_unmount(&w), 0);
	world_mount(&w, &opts);
	do {
		commits = nr_commits();
		began = now_ms();
		ck_assert_int_eq(world_set(&w, 0, 1), 0);
		wait_until(nr_commits() > commits);
		took = now_ms() - began;
		ck_assert_uint_ge(took, 1000);
	} while (took >= 2000); /* then the machine was busy, or it never comes sooner */
}
END_TEST

START_TEST(the_committed_sequence_rises_to_what_was_synced)
{
	struct tx_handle h;
	uint64_t sequence;

	ck_assert_int_eq(tx_begin(w.t, 1, 0, &h), 0);
	sequence = tx_sequence(&h);
	world_put(&h, &w, 0, 1);
	tx_end(&h);
	ck_assert_uint_lt(tx_committed(w.fs), sequence);
	ck_assert_int_eq(tx_sync_wait(w.t, sequence), 0);
	ck_assert_uint_eq(tx_committed(w.fs), sequence);
}
END_TEST

static uint64_t world_at_home(unsigned i)
{
	uint8_t *page = cache_page_alloc(w.fs);
	uint64_t value;

	ck_assert_int_eq(cache_read_raw(w.t, w.block[i], 1, page), 0);
	memcpy(&value, page + sizeof(struct block_head), sizeof(value));
	cache_page_free(w.fs, page);
	return value;
}

/* The transaction that is being committed keeps what it was given, though its blocks are changed
 * again before they are copied. */
START_TEST(a_change_after_the_close_is_not_in_the_commit)
{
	struct async a = {.s.done = async_done};
	struct world after = w;
	struct tx_handle h;
	struct buf *first;
	uint64_t sequence;

	ck_assert_int_eq(tx_begin(w.t, 2, 0, &h), 0);
	sequence = tx_sequence(&h);
	world_put(&h, &w, 0, 1);
	world_put(&h, &w, 1, 1);
	tx_end(&h);
	ck_assert_int_eq(cache_get(w.t, w.block[0], BT_SYMLINK, WORLD_OWNER, &first), 0);
	pthread_mutex_lock(&first->join_lock); /* the commit thread comes as far as here */
	tx_sync(w.t, UINT64_MAX, NULL, &a.s);
	do {
		ck_assert_int_eq(tx_begin(w.t, 1, 0, &h), 0);
		if (tx_sequence(&h) == sequence)
			tx_end(&h);
	} while (h.tx == NULL);
	world_put(&h, &w, 1, 2);
	tx_end(&h);
	pthread_mutex_unlock(&first->join_lock);
	cache_put(first);
	await(&a);
	ck_assert_int_eq(
		cut_disk_cut(w.disk, cut_disk_nr_events(w.disk), CUT_NONE, 0, &after.disk), 0);
	world_mount(&after, NULL);
	ck_assert_uint_eq(world_get(&after, 0), 1);
	ck_assert_uint_eq(world_get(&after, 1), 1);
	ck_assert_int_eq(world_unmount(&after), 0);
	world_close(&after);
}
END_TEST

/* Commit what H did; another handle is open before that is done. */
static void commit_and_begin(struct tx_handle *h, struct buf *held, struct async *a)
{
	uint64_t sequence = tx_sequence(h);

	world_put(h, &w, 0, sequence); /* block 0 is HELD */
	tx_end(h);
	pthread_mutex_lock(&held->join_lock); /* the commit comes as far as here */
	tx_sync(w.t, UINT64_MAX, NULL, &a->s);
	do {
		ck_assert_int_eq(tx_begin(w.t, WORLD_BLOCKS, 0, h), 0);
		if (tx_sequence(h) == sequence)
			tx_end(h);
	} while (h->tx == NULL);
}

/* What a checkpoint brings home is what was committed, also of a block that an open handle has
 * changed since. Round R changes block R, last committed before the first round, and the ring
 * becomes half full in one of the rounds. */
START_TEST(a_checkpoint_takes_no_change_that_is_not_committed)
{
	struct tx_handle h;
	struct buf *held;

	for (unsigned i = 0; i < WORLD_BLOCKS; i++)
		ck_assert_int_eq(world_set(&w, i, 1), 0);
	ck_assert_int_eq(world_sync(&w), 0);
	ck_assert_int_eq(cache_get(w.t, w.block[0], BT_SYMLINK, WORLD_OWNER, &held), 0);
	ck_assert_int_eq(tx_begin(w.t, WORLD_BLOCKS, 0, &h), 0);
	for (unsigned round = 1; round < 25; round++) {
		struct async a = {.s.done = async_done};

		for (unsigned i = 32; i < WORLD_BLOCKS; i++)
			world_put(&h, &w, i, round);
		commit_and_begin(&h, held, &a);
		world_put(&h, &w, round, 100);
		pthread_mutex_unlock(&held->join_lock);
		await(&a);
		sleep_ms(5);
		ck_assert_uint_le(world_at_home(round), 1);
	}
	tx_end(&h);
	wait_until(world_at_home(31) == 1); /* there was a checkpoint */
	cache_put(held);
}
END_TEST

#define NR_NAMED 12U

/* A block of contents, each byte VALUE; metadata block I leads to it. */
static void write_named(unsigned i, void *page)
{
	struct tx_handle h;
	unsigned epoch;
	uint64_t at;
	uint32_t nr;

	memset(page, (int)i, BLOCK_BYTES);
	ck_assert_int_eq(tx_begin(w.t, 8, 1, &h), 0);
	ck_assert_int_eq(alloc_blocks(&h, 0, 1, &at, &nr), 0);
	world_put(&h, &w, i, at);
	epoch = tx_io_begin(w.t);
	tx_end(&h);
	ck_assert_int_eq(cache_write_raw(w.t->q, at, 1, page), 0);
	tx_io_end(w.t, epoch);
}

static void check_named(size_t nr_events, uint64_t seed)
{
	struct fs_mount_opts opts = {.read_only = true};
	struct world after = w;

	ck_assert_int_eq(cut_disk_cut(w.disk, nr_events, CUT_RANDOM, seed, &after.disk), 0);
	world_mount(&after, &opts);
	for (unsigned i = 1; i <= NR_NAMED; i++) {
		uint64_t at = world_get(&after, i);

		if (at != 0)
			ck_assert_int_eq(cut_disk_bytes(after.disk)[at * BLOCK_BYTES], i);
	}
	ck_assert_int_eq(world_unmount(&after), 0);
	world_close(&after);
}

/* File data that metadata names is on the disk whenever the metadata is. */
START_TEST(contents_are_durable_before_the_metadata_that_names_them)
{
	uint8_t *page = blk_dma_alloc(w.disk, BLOCK_BYTES);
	size_t start = cut_disk_nr_events(w.disk);
	size_t end;

	for (unsigned i = 1; i <= NR_NAMED; i++) {
		write_named(i, page);
		ck_assert_int_eq(world_sync(&w), 0);
	}
	end = cut_disk_nr_events(w.disk);
	for (size_t n = start; n <= end; n++)
		for (uint64_t seed = 0; seed < 5; seed++)
			check_named(n, n * 5 + seed);
	blk_dma_free(w.disk, page, BLOCK_BYTES);
}
END_TEST

/* --- many threads --- */

#define NR_THREADS 4U
#define PAIRS      (WORLD_BLOCKS / 2)

static pthread_mutex_t pair_lock[PAIRS];
static unsigned nr_ops;

/* Both blocks of a pair always have one number. Returns the epoch of a transfer that began under
 * the handle. */
static unsigned change_pair(struct fs_thread *t, unsigned pair)
{
	struct world mine = w;
	struct tx_handle h;
	unsigned epoch;
	uint64_t value;

	mine.t = t;
	ck_assert_int_eq(tx_begin(t, 6, 1, &h), 0);
	pthread_mutex_lock(&pair_lock[pair]);
	value = world_get(&mine, 2 * pair) + 1;
	world_put(&h, &mine, 2 * pair, value);
	world_put(&h, &mine, 2 * pair + 1, value);
	pthread_mutex_unlock(&pair_lock[pair]);
	if (value % 7 == 0) {
		uint64_t block = world_new_block(&h, value);

		ck_assert_int_eq(alloc_free(&h, block, 1, true), 0);
	}
	epoch = tx_io_begin(t);
	tx_end(&h);
	return epoch;
}

static void *hammer(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;
	struct fs_thread *t;

	ck_assert_int_eq(fs_thread_open(w.fs, &t), 0);
	for (unsigned i = 0; i < nr_ops; i++) {
		unsigned epoch = change_pair(t, (unsigned)rand_r(&seed) % PAIRS);

		tx_io_end(t, epoch);
		if (rand_r(&seed) % 16 == 0)
			ck_assert_int_eq(tx_sync_wait(t, UINT64_MAX), 0);
	}
	fs_thread_close(t);
	return NULL;
}

static void check_pairs(size_t nr_events)
{
	struct world after = w;

	ck_assert_int_eq(cut_disk_cut(w.disk, nr_events, CUT_TORN, nr_events, &after.disk), 0);
	world_mount(&after, NULL);
	for (unsigned p = 0; p < PAIRS; p++)
		ck_assert_uint_eq(world_get(&after, 2 * p), world_get(&after, 2 * p + 1));
	ck_assert_int_eq(world_unmount(&after), 0);
	world_close(&after);
}

START_TEST(threads_that_change_and_sync_at_once_lose_nothing_and_mix_nothing)
{
	const char *ops = getenv("TEST_TX_OPS");
	pthread_t thread[NR_THREADS];
	size_t start, end;
	uint64_t sum = 0;

	nr_ops = ops == NULL ? 500 : (unsigned)atoi(ops);
	for (unsigned p = 0; p < PAIRS; p++)
		pthread_mutex_init(&pair_lock[p], NULL);
	start = cut_disk_nr_events(w.disk);
	for (uintptr_t i = 0; i < NR_THREADS; i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, hammer, (void *)(i + 1)), 0);
	for (unsigned i = 0; i < NR_THREADS; i++)
		pthread_join(thread[i], NULL);
	for (unsigned p = 0; p < PAIRS; p++)
		sum += world_get(&w, 2 * p);
	ck_assert_uint_eq(sum, NR_THREADS * nr_ops);
	end = cut_disk_nr_events(w.disk);
	for (size_t n = start; n <= end; n += (end - start) / 24 + 1)
		check_pairs(n);
}
END_TEST

/* --- errors --- */

START_TEST(who_waits_when_the_mount_is_shut_is_told)
{
	struct async a = {.s.done = async_done};
	unsigned epoch = tx_io_begin(w.t);
	struct tx_handle h;

	ck_assert_int_eq(world_set(&w, 0, 1), 0);
	(void)fs_abort(w.fs, -EIO, "a test");
	tx_sync(w.t, UINT64_MAX, NULL, &a.s);
	await(&a);
	ck_assert_int_eq(a.err, -EIO);
	ck_assert_int_eq(tx_begin(w.t, 1, 0, &h), -EROFS);
	tx_io_end(w.t, epoch);
	ck_assert_int_eq(world_unmount(&w), -EIO);
	world_mount(&w, NULL); /* it was not clean, but it is sound */
	ck_assert_uint_eq(world_get(&w, 0), 0);
}
END_TEST

/* Whoever fails half-way through its changes shuts the mount, and the commit thread may wait for just
 * that handle, or for that transfer. */
START_TEST(what_was_given_up_half_way_is_not_committed) /* looped: a handle, a transfer */
{
	struct async a = {.s.done = async_done};
	struct tx_handle h;
	unsigned epoch = 0;

	ck_assert_int_eq(tx_begin(w.t, 2, 0, &h), 0);
	world_put(&h, &w, 0, 1);
	if (_i == 1) {
		epoch = tx_io_begin(w.t);
		tx_end(&h);
	}
	tx_sync(w.t, UINT64_MAX, NULL, &a.s);
	sleep_ms(50); /* until it waits */
	ck_assert(!atomic_load(&a.done));
	(void)fs_abort(w.fs, -EIO, "a test");
	if (_i == 1)
		tx_io_end(w.t, epoch);
	else
		tx_end(&h);
	await(&a);
	ck_assert_int_eq(a.err, -EIO);
	ck_assert_int_eq(world_unmount(&w), -EIO);
	world_mount(&w, NULL);
	ck_assert_uint_eq(world_get(&w, 0), 0);
}
END_TEST

START_TEST(a_read_only_mount_begins_no_handle_and_syncs_at_once)
{
	struct fs_mount_opts opts = {.read_only = true};
	struct tx_handle h;

	ck_assert_int_eq(world_unmount(&w), 0);
	world_mount(&w, &opts);
	ck_assert_int_eq(tx_begin(w.t, 1, 0, &h), -EROFS);
	ck_assert_int_eq(world_sync(&w), 0);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("tx");
	TCase *tc = tcase_create("all");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, joining_a_block_again_takes_no_credit);
	tcase_add_test_raise_signal(tc, joining_more_blocks_than_said_is_a_bug_that_shows, SIGABRT);
	tcase_add_test(tc, a_handle_gives_back_the_space_it_did_not_use);
	tcase_add_test(tc, more_space_than_there_is_is_refused);
	tcase_add_test(tc, space_that_awaits_a_commit_is_waited_for);
	tcase_add_test(tc, a_transaction_that_is_full_is_committed_and_the_next_one_opened);
	tcase_add_test(tc, sync_with_nothing_to_do_touches_no_disk);
	tcase_add_test(tc, sync_of_file_data_alone_is_one_flush);
	tcase_add_test(tc, a_commit_with_file_data_flushes_it_before_the_commit_record);
	tcase_add_test(tc, a_commit_of_times_alone_lets_file_data_share_its_flush);
	tcase_add_test(tc, without_barriers_there_is_one_flush_at_the_end);
	tcase_add_loop_test(tc, sync_waits_for_transfers_that_began_before_it, 0, 2);
	tcase_add_test(tc, sync_does_not_wait_for_transfers_that_began_after_it);
	tcase_add_test(tc, a_change_is_committed_by_itself_in_time);
	tcase_add_test(tc, the_committed_sequence_rises_to_what_was_synced);
	tcase_add_test(tc, a_change_after_the_close_is_not_in_the_commit);
	tcase_add_test(tc, a_checkpoint_takes_no_change_that_is_not_committed);
	tcase_add_test(tc, contents_are_durable_before_the_metadata_that_names_them);
	tcase_add_test(tc, threads_that_change_and_sync_at_once_lose_nothing_and_mix_nothing);
	tcase_add_test(tc, who_waits_when_the_mount_is_shut_is_told);
	tcase_add_loop_test(tc, what_was_given_up_half_way_is_not_committed, 0, 2);
	tcase_add_test(tc, a_read_only_mount_begins_no_handle_and_syncs_at_once);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	SRunner *sr = srunner_create(suite());
	int failed;

	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
