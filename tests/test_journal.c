/* test_journal.c - journal.c, checkpoint.c and replay.c: what is committed is there after a power cut, and nothing else is. */
#include "block_world.h"
#include "journal.h"

#define STEPS 120U

/* Step S sets these blocks to S; so a state tells which step was the last. */
static unsigned step_block(unsigned s, unsigned j)
{
	return (s * 5 + j * j) % WORLD_BLOCKS;
}

static unsigned step_width(unsigned s)
{
	return s % 8 == 0 ? 40 : 1 + s % 5;
}

static void do_step(struct world *w, unsigned s)
{
	struct tx_handle h;

	ck_assert_int_eq(tx_begin(w->t, step_width(s), 0, &h), 0);
	for (unsigned j = 0; j < step_width(s); j++)
		world_put(&h, w, step_block(s, j), s);
	tx_end(&h);
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

/* A history on a disk that is clean before it: steps, some of them synced. The mount is not ended. */
static void make_history(struct world *w, unsigned steps)
{
	world_make(w);
	world_mount(w, NULL);
	world_populate(w, WORLD_BLOCKS);
	ck_assert_int_eq(world_unmount(w), 0);
	cut_disk_record(w->disk);
	world_mount(w, NULL);
	for (unsigned s = 1; s <= steps; s++) {
		do_step(w, s);
		if (s % 3 != 0)
			continue;
		ck_assert_int_eq(world_sync(w), 0);
		cut_disk_note(w->disk, s);
	}
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

START_TEST(a_cut_anywhere_leaves_a_committed_state_with_all_that_was_synced)
{
	struct world w;
	size_t nr_events;

	make_history(&w, STEPS);
	ck_assert_int_eq(world_unmount(&w), 0);
	nr_events = cut_disk_nr_events(w.disk);
	ck_assert_uint_gt(cut_disk_nr_writes(w.disk), STEPS / 3);
	for (size_t i = 0; i <= nr_events; i++)
		check_cut(&w, i, (enum cut_keep)(i % 2 == 0 ? _i : CUT_TORN));
	world_close(&w);
}
END_TEST

Suite *suite(void);
Suite *suite(void)
{
	Suite *s = suite_create("journal");
	TCase *tc = tcase_create("cuts");

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, a_cut_anywhere_leaves_a_committed_state_with_all_that_was_synced,
		CUT_ALL, CUT_TORN);
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
