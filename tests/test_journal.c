/* test_journal.c - journal.c, checkpoint.c and replay.c: what is committed is there after a power
 * cut, and nothing else is. */
#include <errno.h>
#include "block_world.h"
#include "journal.h"

#define STEPS 160U

/* Step S sets these blocks to S; so a state tells which step was the last. */
static unsigned step_block(unsigned s, unsigned j)
{
	return (s * 5 + j) % WORLD_BLOCKS;
}

static unsigned step_width(unsigned s)
{
	return s % 8 == 0 ? 50 : 1 + s % 5;
}

static int do_step(struct world *w, unsigned s)
{
	struct tx_handle h;
	int err = tx_begin(w->t, step_width(s), 0, &h);

	if (err < 0)
		return err;
	for (unsigned j = 0; j < step_width(s); j++)
		world_put(&h, w, step_block(s, j), s);
	tx_end(&h);
	return 0;
}

static void check_state(const struct world *w, uint64_t at_least, uint64_t at_most)
{
	uint64_t expect[WORLD_BLOCKS] = {0};
	uint64_t last = 0;

	for (unsigned i = 0; i < w->nr; i++)
		if (world_get(w, i) > last)
			last = world_get(w, i);
	ck_assert_uint_ge(last, at_least);
	ck_assert_uint_le(last, at_most);
	for (unsigned s = 1; s <= last; s++)
		for (unsigned j = 0; j < step_width(s); j++)
			expect[step_block(s, j)] = s;
	for (unsigned i = 0; i < w->nr; i++)
		ck_assert_uint_eq(world_get(w, i), expect[i]);
}

/* A disk with blocks of 0, clean; from here on it records. */
static void make_base(struct world *w)
{
	world_make(w);
	world_mount(w, NULL);
	world_populate(w, WORLD_BLOCKS);
	ck_assert_int_eq(world_unmount(w), 0);
	cut_disk_record(w->disk);
}

/* Steps, every third synced and noted. The mount goes on. */
static int make_history(struct world *w)
{
	int err = 0;

	for (unsigned s = 1; s <= STEPS && err == 0; s++) {
		err = do_step(w, s);
		if (err == 0 && s % 3 == 0)
			err = world_sync(w);
		if (err == 0 && s % 3 == 0)
			cut_disk_note(w->disk, s);
	}
	return err;
}

static struct world cut(const struct world *w, size_t nr_events, enum cut_keep keep, uint64_t seed)
{
	struct world after = *w;

	ck_assert_int_eq(cut_disk_cut(w->disk, nr_events, keep, seed, &after.disk), 0);
	return after;
}

static void check_cut(const struct world *w, size_t nr_events, enum cut_keep keep)
{
	struct world after = cut(w, nr_events, keep, nr_events);
	uint64_t noted = cut_disk_noted(w->disk, nr_events);

	world_mount(&after, &(struct fs_mount_opts){.read_only = true});
	check_state(&after, noted, STEPS);
	ck_assert_int_eq(world_unmount(&after), 0);
	ck_assert_uint_eq(cut_disk_nr_writes(after.disk), 0);
	world_mount(&after, NULL);
	check_state(&after, noted, STEPS);
	ck_assert_int_eq(world_unmount(&after), 0);
	world_close(&after);
}

static uint64_t blocks_committed(struct world *w)
{
	struct fs_stats stats;

	fs_get_stats(w->fs, &stats);
	return stats.commit_blocks;
}

START_TEST(a_cut_anywhere_leaves_a_committed_state_with_all_that_was_synced)
{
	struct world w;
	size_t nr_events;

	make_base(&w);
	world_mount(&w, NULL);
	ck_assert_int_eq(make_history(&w), 0);
	ck_assert_uint_gt(blocks_committed(&w), w.fs->journal_blocks); /* it went round the ring */
	ck_assert_int_eq(world_unmount(&w), 0);
	nr_events = cut_disk_nr_events(w.disk);
	for (size_t i = (size_t)_i; i <= nr_events; i += 3)
		check_cut(&w, i, (enum cut_keep)_i);
	world_close(&w);
}
END_TEST

START_TEST(a_replay_that_is_cut_off_is_done_again)
{
	struct world w, once;
	size_t nr_events;

	make_base(&w);
	world_mount(&w, NULL);
	ck_assert_int_eq(make_history(&w), 0);
	once = cut(&w, cut_disk_nr_events(w.disk), CUT_NONE, 0);
	ck_assert_int_eq(world_unmount(&w), 0);
	cut_disk_record(once.disk);
	world_mount(&once, NULL);
	nr_events = cut_disk_nr_events(once.disk);
	ck_assert_uint_gt(nr_events, WORLD_BLOCKS / 2); /* blocks went home */
	ck_assert_int_eq(world_unmount(&once), 0);
	for (size_t i = 0; i <= nr_events; i++) {
		struct world twice = cut(&once, i, CUT_TORN, i);

		world_mount(&twice, NULL);
		check_state(&twice, STEPS - 1, STEPS);
		ck_assert_int_eq(world_unmount(&twice), 0);
		world_close(&twice);
	}
	world_close(&once);
	world_close(&w);
}
END_TEST

START_TEST(the_tail_does_not_pass_what_is_not_durable_at_home)
{
	size_t start, end;
	struct world w;

	make_base(&w);
	world_mount(&w, NULL);
	for (unsigned s = 1; s <= 8; s++)
		ck_assert_int_eq(do_step(&w, s), 0);
	ck_assert_int_eq(world_sync(&w), 0);
	start = cut_disk_nr_events(w.disk);
	ck_assert_int_eq(world_unmount(&w), 0); /* all goes home */
	end = cut_disk_nr_events(w.disk);
	for (size_t n = start; n <= end; n++)
		for (uint64_t seed = 0; seed < 6; seed++) {
			struct world after = cut(&w, n, CUT_RANDOM, n * 6 + seed);

			world_mount(&after, &(struct fs_mount_opts){.read_only = true});
			check_state(&after, 8, 8);
			ck_assert_int_eq(world_unmount(&after), 0);
			world_close(&after);
		}
	world_close(&w);
}
END_TEST

/* What was not committed when power went must not come back, nor mix with what is done after the
 * mount. */
START_TEST(parts_of_a_torn_transaction_never_count_in_a_later_one)
{
	struct world w;

	make_base(&w);
	for (unsigned round = 1; round <= 20; round++) {
		struct world after;
		size_t before;

		world_mount(&w, NULL);
		before = cut_disk_nr_events(w.disk);
		ck_assert_int_eq(do_step(&w, 8 * round), 0);
		ck_assert_int_eq(world_sync(&w), 0);
		after = cut(&w, before + 1, CUT_TORN, round); /* only the records, in part */
		ck_assert_int_eq(world_unmount(&w), 0);
		world_close(&w);
		w = after;
		cut_disk_record(w.disk);
		world_mount(&w, &(struct fs_mount_opts){.read_only = true});
		for (unsigned i = 0; i < w.nr; i++)
			ck_assert_uint_eq(world_get(&w, i), 0);
		ck_assert_int_eq(world_unmount(&w), 0);
	}
	world_close(&w);
}
END_TEST

/* --- revokes --- */

static void free_block(struct world *w, uint64_t block)
{
	struct tx_handle h;

	ck_assert_int_eq(tx_begin(w->t, 8, 0, &h), 0);
	ck_assert_int_eq(alloc_free(&h, block, 1, true), 0);
	tx_end(&h);
	ck_assert_int_eq(world_sync(w), 0);
}

static void write_data(struct world *w, uint64_t block, int byte)
{
	uint8_t *page = blk_dma_alloc(w->disk, BLOCK_BYTES);
	unsigned epoch = tx_io_begin(w->t);

	memset(page, byte, BLOCK_BYTES);
	ck_assert_int_eq(cache_write_raw(w->t->q, block, 1, page), 0);
	tx_io_end(w->t, epoch);
	blk_dma_free(w->disk, page, BLOCK_BYTES);
}

static void check_data(struct world *w, uint64_t block, int byte)
{
	for (unsigned i = 0; i < BLOCK_BYTES; i++)
		ck_assert_int_eq(cut_disk_bytes(w->disk)[block * BLOCK_BYTES + i], byte);
}

START_TEST(a_freed_block_that_holds_data_now_is_not_overwritten_by_its_old_image)
{
	size_t promised, nr_events;
	uint64_t block;
	struct world w;

	make_base(&w);
	world_mount(&w, NULL);
	block = w.block[3];
	ck_assert_int_eq(world_set(&w, 3, 1), 0);
	ck_assert_int_eq(world_sync(&w), 0);
	w.nr = 3;
	free_block(&w, block);
	write_data(&w, block, 0x5a);
	ck_assert_int_eq(world_set(&w, 0, 1), 0);
	ck_assert_int_eq(world_sync(&w), 0);
	promised = cut_disk_nr_events(w.disk);
	ck_assert_int_eq(world_unmount(&w), 0); /* checkpoints everything */
	check_data(&w, block, 0x5a);
	nr_events = cut_disk_nr_events(w.disk);
	for (size_t i = promised; i <= nr_events; i++) {
		struct world after = cut(&w, i, CUT_TORN, i);

		world_mount(&after, NULL);
		check_data(&after, block, 0x5a);
		ck_assert_int_eq(world_unmount(&after), 0);
		check_data(&after, block, 0x5a);
		world_close(&after);
	}
	world_close(&w);
}
END_TEST

START_TEST(a_freed_block_that_is_metadata_again_has_its_new_image)
{
	struct tx_handle h;
	struct world w, after;
	uint64_t old;

	make_base(&w);
	world_mount(&w, NULL);
	old = w.block[WORLD_BLOCKS - 1];
	ck_assert_int_eq(world_set(&w, WORLD_BLOCKS - 1, 1), 0);
	ck_assert_int_eq(world_sync(&w), 0);
	free_block(&w, old);
	do { /* allocation will come back to it */
		ck_assert_int_eq(tx_begin(w.t, 8, 1, &h), 0);
		w.block[WORLD_BLOCKS - 1] = world_new_block(&h, 2);
		tx_end(&h);
	} while (w.block[WORLD_BLOCKS - 1] != old);
	ck_assert_int_eq(world_sync(&w), 0);
	after = cut(&w, cut_disk_nr_events(w.disk), CUT_NONE, 0);
	ck_assert_int_eq(world_unmount(&w), 0);
	world_mount(&after, NULL);
	ck_assert_uint_eq(world_get(&after, WORLD_BLOCKS - 1), 2);
	ck_assert_int_eq(world_unmount(&after), 0);
	world_close(&after);
	world_close(&w);
}
END_TEST

/* A block joined and freed by one transaction leaves no image, and no trace in a block that was
 * free before. */
START_TEST(a_block_that_lives_within_one_transaction_is_not_written)
{
	struct tx_handle h;
	uint64_t block;
	struct world w;

	make_base(&w);
	world_mount(&w, NULL);
	ck_assert_int_eq(tx_begin(w.t, 16, 1, &h), 0);
	block = world_new_block(&h, 1);
	ck_assert_int_eq(alloc_free(&h, block, 1, true), 0);
	tx_end(&h);
	memset(cut_disk_bytes(w.disk) + block * BLOCK_BYTES, 0x11, BLOCK_BYTES);
	ck_assert_int_eq(world_sync(&w), 0);
	ck_assert_int_eq(world_unmount(&w), 0);
	check_data(&w, block, 0x11);
	world_close(&w);
}
END_TEST

/* --- a journal that is not what it should be --- */

static struct world dirty_disk(void)
{
	struct world w, after;

	make_base(&w);
	world_mount(&w, NULL);
	ck_assert_int_eq(do_step(&w, 8), 0);
	ck_assert_int_eq(world_sync(&w), 0);
	after = cut(&w, cut_disk_nr_events(w.disk), CUT_NONE, 0);
	ck_assert_int_eq(world_unmount(&w), 0);
	world_close(&w);
	return after;
}

static void *journal_block(struct world *w, uint64_t index)
{
	const struct super_disk *sb =
		(const struct super_disk *)(cut_disk_bytes(w->disk) + BLOCK_BYTES);

	return cut_disk_bytes(w->disk) + (le64_get(sb->journal_start) + index) * BLOCK_BYTES;
}

/* The record that replay looks at first. */
static struct journal_desc_disk *first_desc(struct world *w)
{
	const struct journal_head_disk *head = journal_block(w, 0);

	return journal_block(w, le64_get(head->tail));
}

START_TEST(a_damaged_journal_head_is_refused)
{
	struct world w = dirty_disk();
	struct journal_head_disk *head = journal_block(&w, 0);

	head->tail = le64_of(le64_get(head->tail) + (_i == 0));
	if (_i == 1)
		head->tail = le64_of(100000);
	if (_i == 2)
		head->tail = le64_of(0);
	if (_i > 0)
		block_seal(head);
	ck_assert_int_eq(fs_mount(w.disk, NULL, &w.fs), -EUCLEAN);
	ck_assert_uint_eq(cut_disk_nr_writes(w.disk), 0);
	world_close(&w);
}
END_TEST

START_TEST(a_record_with_a_wrong_bit_ends_the_replay_before_its_transaction)
{
	struct world w = dirty_disk();
	uint8_t *bytes = (uint8_t *)first_desc(&w) +
			 (size_t)_i * BLOCK_BYTES; /* description, image, ... commit */

	ck_assert_int_eq(le32_get(first_desc(&w)->head.magic), BT_JOURNAL_DESC);
	bytes[200] ^= 4;
	world_mount(&w, NULL);
	check_state(&w, 0, 0);
	ck_assert_int_eq(world_unmount(&w), 0);
	world_close(&w);
}
END_TEST

START_TEST(a_commit_record_that_does_not_fit_its_transaction_ends_the_replay)
{
	struct world w = dirty_disk();
	const struct journal_head_disk *head = journal_block(&w, 0);
	struct journal_commit_disk *commit =
		journal_block(&w, le64_get(head->tail) + 1 + le32_get(first_desc(&w)->nr));

	ck_assert_int_eq(le32_get(commit->head.magic), BT_JOURNAL_COMMIT);
	if (_i == 0)
		commit->crc = le32_of(le32_get(commit->crc) ^ 1);
	else
		commit->nr_blocks = le32_of(le32_get(commit->nr_blocks) + 1);
	block_seal(commit);
	world_mount(&w, NULL);
	check_state(&w, 0, 0);
	ck_assert_int_eq(world_unmount(&w), 0);
	world_close(&w);
}
END_TEST

START_TEST(the_sequence_number_of_a_torn_transaction_is_not_used_again)
{
	struct world w = dirty_disk();
	const struct journal_head_disk *head = journal_block(&w, 0);
	uint64_t torn = le64_get(first_desc(&w)->head.sequence);

	((uint8_t *)first_desc(&w))[BLOCK_BYTES + 100] ^= 1;
	world_mount(&w, NULL);
	ck_assert_uint_gt(le64_get(head->tail_sequence), torn);
	ck_assert_int_eq(world_unmount(&w), 0);
	world_close(&w);
}
END_TEST

START_TEST(an_image_of_a_block_that_cannot_have_one_is_refused)
{
	static const uint64_t bad[] = {0, UINT64_MAX, WORLD_SECTORS / BLOCK_SECTORS};
	struct world w = dirty_disk();
	struct journal_desc_disk *desc = first_desc(&w);
	const struct super_disk *sb =
		(const struct super_disk *)(cut_disk_bytes(w.disk) + BLOCK_BYTES);

	desc->tag[1].block = _i < 3 ? le64_of(bad[_i]) : sb->journal_start;
	block_seal(desc);
	ck_assert_int_eq(fs_mount(w.disk, NULL, &w.fs), -EUCLEAN);
	ck_assert_uint_eq(cut_disk_nr_writes(w.disk), 0);
	world_close(&w);
}
END_TEST

START_TEST(a_head_that_no_journal_can_have_is_refused)
{
	static const uint64_t bad[] = {0, JOURNAL_SEQUENCE_MAX + 1, UINT64_MAX};
	struct world w = dirty_disk();
	struct journal_head_disk *head = journal_block(&w, 0);

	head->tail_sequence = le64_of(bad[_i]);
	block_seal(head);
	ck_assert_int_eq(fs_mount(w.disk, NULL, &w.fs), -EUCLEAN);
	world_close(&w);
}
END_TEST

START_TEST(too_many_tags_or_revokes_are_refused)
{
	struct world w = dirty_disk();
	struct journal_desc_disk *desc = first_desc(&w);

	if (_i == 1)
		desc->head.magic = le32_of(BT_JOURNAL_REVOKE);
	desc->nr = le32_of(_i == 1 ? JOURNAL_REVOKES + 1 : JOURNAL_TAGS + 1);
	block_seal(desc);
	ck_assert_int_eq(fs_mount(w.disk, NULL, &w.fs), -EUCLEAN);
	world_close(&w);
}
END_TEST

START_TEST(records_of_an_earlier_filesystem_are_not_replayed)
{
	struct mkfs_opts opts = {.journal_bytes = 4U << 20, .no_discard = true};
	struct world w = dirty_disk();
	struct mkfs_geometry geo;
	struct fs_stats stats;
	struct journal_desc_disk old = *first_desc(&w);
	char err[128];

	ck_assert_int_eq(mkfs_write(w.disk, &opts, &geo, err, sizeof(err)), 0);
	*first_desc(&w) = old; /* put back what mkfs cleared */
	world_mount(&w, NULL);
	fs_get_stats(w.fs, &stats);
	ck_assert(!stats.read_only);
	ck_assert_int_eq(world_unmount(&w), 0);
	world_close(&w);
}
END_TEST

/* --- faults --- */

/* Whatever fails, the caller learns of it before it is told that something is durable that is not.
 */
static void check_fault(void (*inject)(struct blockdev *, uint64_t), uint64_t nth)
{
	uint64_t noted;
	struct world w;
	int err;

	make_base(&w);
	world_mount(&w, NULL);
	inject(w.disk, nth);
	err = make_history(&w);
	noted = cut_disk_noted(w.disk, cut_disk_nr_events(w.disk));
	ck_assert(err == -EIO || err == -EROFS || err == 0);
	if (err < 0) {
		ck_assert_int_eq(do_step(&w, 1), -EROFS);
		ck_assert_int_eq(world_sync(&w), -EIO);
		ck_assert_int_lt(world_unmount(&w), 0);
	} else {
		(void)world_unmount(&w);
	}
	inject(w.disk, 0);
	world_mount(&w, NULL);
	check_state(&w, noted, STEPS);
	ck_assert_int_eq(world_unmount(&w), 0);
	world_close(&w);
}

START_TEST(a_failing_write_turns_the_mount_read_only_and_loses_nothing_synced)
{
	for (uint64_t nth = 1; nth < 120; nth += 5)
		check_fault(cut_disk_fail_writes, nth);
}
END_TEST

START_TEST(a_failing_flush_turns_the_mount_read_only_and_loses_nothing_synced)
{
	for (uint64_t nth = 1; nth < 60; nth += 4)
		check_fault(cut_disk_fail_flushes, nth);
}
END_TEST

/* --- checkpoints --- */

static const struct blockdev_ops *real_ops;
static struct blockdev_ops spying_ops;
static uint64_t home_from; /* sectors before this are not looked at, nor the journal's */
static uint64_t home_last; /* of the round */
static unsigned nr_home, nr_backwards;

static int spying_submit(struct blk_queue *q, struct blk_req *req)
{
	if (req->op == BLK_WRITE && req->sector >= home_from) {
		nr_home++;
		nr_backwards += req->sector < home_last;
		home_last = req->sector;
	}
	return real_ops->submit(q, req);
}

/* Changed in any order, blocks go home as they lie on the disk, neighbours in one request. */
START_TEST(a_checkpoint_goes_through_the_disk_once_from_front_to_back)
{
	struct world w;

	make_base(&w);
	world_mount(&w, NULL);
	for (unsigned i = 0; i < WORLD_BLOCKS; i++)
		ck_assert_int_eq(world_set(&w, (i * 37) % WORLD_BLOCKS, 1), 0);
	ck_assert_int_eq(world_sync(&w), 0);
	real_ops = w.disk->ops;
	spying_ops = *real_ops;
	spying_ops.submit = spying_submit;
	home_from = (w.fs->journal_start + w.fs->journal_blocks) * BLOCK_SECTORS;
	home_last = nr_home = nr_backwards = 0;
	w.disk->ops = &spying_ops;
	ck_assert_int_eq(world_unmount(&w), 0);
	w.disk->ops = real_ops;
	ck_assert_uint_gt(nr_home, 0);
	ck_assert_uint_lt(nr_home, WORLD_BLOCKS / 4);
	ck_assert_uint_eq(nr_backwards, 0);
	world_close(&w);
}
END_TEST

/* --- economy --- */

START_TEST(a_commit_without_file_data_is_one_write_and_one_flush)
{
	uint64_t writes, flushes;
	struct world w;

	make_base(&w);
	world_mount(&w, NULL);
	ck_assert_int_eq(world_set(&w, 0, 1), 0);
	ck_assert_int_eq(world_sync(&w), 0);
	writes = cut_disk_nr_writes(w.disk);
	flushes = cut_disk_nr_flushes(w.disk);
	ck_assert_int_eq(world_set(&w, 0, 2), 0);
	ck_assert_int_eq(world_sync(&w), 0);
	ck_assert_uint_eq(cut_disk_nr_writes(w.disk), writes + 1);
	ck_assert_uint_eq(cut_disk_nr_flushes(w.disk), flushes + 1);
	ck_assert_int_eq(world_unmount(&w), 0);
	world_close(&w);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("journal");
	TCase *cuts = tcase_create("cuts");
	TCase *rest = tcase_create("rest");

	tcase_set_timeout(cuts, 60);
	tcase_add_loop_test(
		cuts, a_cut_anywhere_leaves_a_committed_state_with_all_that_was_synced, 0, 4);
	tcase_add_test(cuts, a_replay_that_is_cut_off_is_done_again);
	tcase_add_test(cuts, the_tail_does_not_pass_what_is_not_durable_at_home);
	tcase_add_test(cuts, parts_of_a_torn_transaction_never_count_in_a_later_one);
	tcase_add_test(cuts, a_failing_write_turns_the_mount_read_only_and_loses_nothing_synced);
	tcase_add_test(cuts, a_failing_flush_turns_the_mount_read_only_and_loses_nothing_synced);
	suite_add_tcase(s, cuts);
	tcase_set_timeout(rest, 30);
	tcase_add_test(rest, a_freed_block_that_holds_data_now_is_not_overwritten_by_its_old_image);
	tcase_add_test(rest, a_freed_block_that_is_metadata_again_has_its_new_image);
	tcase_add_test(rest, a_block_that_lives_within_one_transaction_is_not_written);
	tcase_add_loop_test(rest, a_damaged_journal_head_is_refused, 0, 3);
	tcase_add_loop_test(
		rest, a_record_with_a_wrong_bit_ends_the_replay_before_its_transaction, 0, 3);
	tcase_add_loop_test(
		rest, a_commit_record_that_does_not_fit_its_transaction_ends_the_replay, 0, 2);
	tcase_add_test(rest, the_sequence_number_of_a_torn_transaction_is_not_used_again);
	tcase_add_loop_test(rest, an_image_of_a_block_that_cannot_have_one_is_refused, 0, 4);
	tcase_add_loop_test(rest, a_head_that_no_journal_can_have_is_refused, 0, 3);
	tcase_add_loop_test(rest, too_many_tags_or_revokes_are_refused, 0, 2);
	tcase_add_test(rest, records_of_an_earlier_filesystem_are_not_replayed);
	tcase_add_test(rest, a_checkpoint_goes_through_the_disk_once_from_front_to_back);
	tcase_add_test(rest, a_commit_without_file_data_is_one_write_and_one_flush);
	suite_add_tcase(s, rest);
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
