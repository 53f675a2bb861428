/* test_super.c - super.c: what is mounted and what is refused; clean and dirty; what follows corruption. */
#include <errno.h>
#include "block_world.h"
#include "super.h"

static struct world w;

static void setup(void)
{
	world_make(&w);
}

static void teardown(void)
{
	world_close(&w);
}

static struct super_disk *on_disk(void)
{
	return (struct super_disk *)(void *)(cut_disk_bytes(w.disk) + BLOCK_BYTES);
}

static uint64_t disk_blocks(void)
{
	return WORLD_SECTORS / BLOCK_SECTORS;
}

static struct fs_ident identify(void)
{
	struct fs_ident ident;

	ck_assert_int_eq(fs_identify(w.disk, &ident), 0);
	return ident;
}

/* --- the check --- */

START_TEST(any_flipped_bit_of_the_superblock_is_refused)
{
	uint64_t bits = (uint64_t)sizeof(struct super_disk) * 8;
	struct super_disk sb = *on_disk();
	uint8_t *bytes = (uint8_t *)&sb;

	ck_assert_ptr_null(super_check(&sb, 1, disk_blocks()));
	for (uint64_t bit = 0; bit < bits; bit += bit < 4096 ? 1 : 61) {
		bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
		ck_assert_ptr_nonnull(super_check(&sb, 1, disk_blocks()));
		bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
	}
}
END_TEST

struct change { /* to one field, with the checksum made good again */
	size_t at;
	unsigned bytes;
	uint64_t value;
};
#define CHANGE(field, val)                                                                         \
	{                                                                                          \
		offsetof(struct super_disk, field), sizeof(((struct super_disk *)0)->field), (val) \
	}
static const struct change changes[] = {
	CHANGE(signature, 0),
	CHANGE(head.block, 2),
	CHANGE(head.owner, 1),
	CHANGE(version, 0),
	CHANGE(version, 2),
	CHANGE(block_bytes, 512),
	CHANGE(nr_blocks, 0),
	CHANGE(nr_blocks, UINT64_MAX),
	CHANGE(nr_blocks, WORLD_SECTORS / BLOCK_SECTORS + 1),
	CHANGE(group_blocks, 0),
	CHANGE(group_blocks, 1),
	CHANGE(group_blocks, GROUP_BLOCKS_DEFAULT + 1),
	CHANGE(group_blocks, 1U << 31),
	CHANGE(nr_groups, 0),
	CHANGE(nr_groups, 2),
	CHANGE(nr_groups, UINT32_MAX),
	CHANGE(inodes_per_group, 0),
	CHANGE(inodes_per_group, INODES_PER_BLOCK + 1),
	CHANGE(inodes_per_group, UINT32_MAX / INODES_PER_BLOCK * INODES_PER_BLOCK),
	CHANGE(bitmap_blocks, 0),
	CHANGE(ibitmap_blocks, 9),
	CHANGE(itable_blocks, UINT32_MAX),
	CHANGE(journal_start, 0),
	CHANGE(journal_start, UINT64_MAX),
	CHANGE(journal_blocks, 0),
	CHANGE(journal_blocks, JOURNAL_BLOCKS_MIN - 1),
	CHANGE(journal_blocks, UINT64_MAX),
	CHANGE(journal_blocks, WORLD_SECTORS / BLOCK_SECTORS),
	CHANGE(free_blocks, UINT64_MAX),
	CHANGE(free_inodes, UINT64_MAX),
	CHANGE(reserved_blocks, UINT64_MAX),
};

static void apply(struct super_disk *sb, const struct change *c)
{
	uint64_t value = htole64(c->value);

	memcpy((uint8_t *)sb + c->at, &value, c->bytes);
	block_seal(sb);
}

START_TEST(a_superblock_that_contradicts_itself_or_the_disk_is_refused)
{
	apply(on_disk(), &changes[_i]);
	ck_assert_ptr_nonnull(super_check(on_disk(), 1, disk_blocks()));
	ck_assert_int_lt(fs_mount(w.disk, NULL, &w.fs), 0);
	ck_assert_uint_eq(cut_disk_nr_events(w.disk), 0);
}
END_TEST

/* --- features --- */

static void set_features(uint32_t compat, uint32_t ro_compat, uint32_t incompat)
{
	on_disk()->compat = le32_of(compat);
	on_disk()->ro_compat = le32_of(ro_compat);
	on_disk()->incompat = le32_of(incompat);
	block_seal(on_disk());
}

START_TEST(an_unknown_incompatible_feature_is_refused_always)
{
	struct fs_mount_opts opts = {.read_only = true};

	set_features(0, 0, 1U << 31);
	ck_assert_int_eq(fs_mount(w.disk, NULL, &w.fs), -EOPNOTSUPP);
	ck_assert_int_eq(fs_mount(w.disk, &opts, &w.fs), -EOPNOTSUPP);
	ck_assert_uint_eq(cut_disk_nr_events(w.disk), 0);
}
END_TEST

START_TEST(an_unknown_ro_compatible_feature_is_refused_for_writing)
{
	struct fs_mount_opts opts = {.read_only = true};

	set_features(0, 1U << 31, 0);
	ck_assert_int_eq(fs_mount(w.disk, NULL, &w.fs), -EROFS);
	world_mount(&w, &opts);
	ck_assert_int_eq(world_unmount(&w), 0);
	ck_assert_uint_eq(cut_disk_nr_events(w.disk), 0);
}
END_TEST

START_TEST(an_unknown_compatible_feature_is_mounted_and_kept)
{
	set_features(1U << 31, 0, 0);
	world_mount(&w, NULL);
	ck_assert_int_eq(world_unmount(&w), 0);
	ck_assert_uint_eq(le32_get(on_disk()->compat), 1U << 31);
}
END_TEST

/* --- clean and dirty --- */

START_TEST(mounting_makes_it_dirty_durably_and_unmounting_clean)
{
	struct world after = w;
	struct fs_ident ident;
	size_t mounted, end;

	ck_assert(!identify().dirty);
	world_mount(&w, NULL);
	mounted = cut_disk_nr_events(w.disk);
	world_populate(&w, 3);
	ck_assert_int_eq(world_unmount(&w), 0);
	end = cut_disk_nr_events(w.disk);
	ck_assert(!identify().dirty);
	for (size_t n = mounted; n < end; n++) { /* only the last flush makes it clean for sure */
		ck_assert_int_eq(cut_disk_cut(w.disk, n, CUT_NONE, 0, &after.disk), 0);
		ck_assert_int_eq(fs_identify(after.disk, &ident), 0);
		ck_assert(ident.dirty);
		world_close(&after);
	}
}
END_TEST

/* Clean on the disk means that there is nothing to replay, whatever was kept of the last writes. */
START_TEST(a_clean_superblock_never_comes_before_what_makes_it_clean)
{
	struct world after;
	struct fs_ident ident;
	size_t synced, end;

	world_mount(&w, NULL);
	world_populate(&w, 3);
	synced = cut_disk_nr_events(w.disk);
	for (uint64_t i = 0; i < 3; i++)
		ck_assert_int_eq(world_set(&w, (unsigned)i, i + 1), 0);
	ck_assert_int_eq(world_unmount(&w), 0);
	end = cut_disk_nr_events(w.disk);
	for (size_t n = synced; n <= end; n++) {
		after = w;
		ck_assert_int_eq(cut_disk_cut(w.disk, n, CUT_RANDOM, n, &after.disk), 0);
		ck_assert_int_eq(fs_identify(after.disk, &ident), 0);
		if (!ident.dirty)
			for (unsigned i = 0; i < 3; i++)
				ck_assert_uint_eq(
					*(uint64_t *)(void *)(cut_disk_bytes(after.disk) +
							      w.block[i] * BLOCK_BYTES + 64),
					i + 1);
		world_close(&after);
	}
}
END_TEST

START_TEST(each_writable_mount_is_counted)
{
	struct fs_mount_opts opts = {.read_only = true};

	for (unsigned i = 0; i < 3; i++) {
		world_mount(&w, NULL);
		ck_assert_int_eq(world_unmount(&w), 0);
		world_mount(&w, &opts);
		ck_assert_int_eq(world_unmount(&w), 0);
	}
	ck_assert_uint_eq(le32_get(on_disk()->mount_count), 3);
}
END_TEST

START_TEST(free_blocks_and_inodes_survive_unmount_and_replay)
{
	struct fs_statfs before, after_st;
	struct world after = w;

	world_mount(&w, NULL);
	world_populate(&w, 7);
	alloc_statfs(w.fs, &before);
	ck_assert_int_eq(
		cut_disk_cut(w.disk, cut_disk_nr_events(w.disk), CUT_NONE, 0, &after.disk), 0);
	ck_assert_int_eq(world_unmount(&w), 0);
	for (unsigned i = 0; i < 2; i++) { /* after a power cut, and then after a clean unmount */
		world_mount(&after, NULL);
		alloc_statfs(after.fs, &after_st);
		ck_assert_uint_eq(before.free_blocks, after_st.free_blocks);
		ck_assert_uint_eq(before.free_inodes, after_st.free_inodes);
		ck_assert_int_eq(world_unmount(&after), 0);
	}
	world_close(&after);
}
END_TEST

/* --- read-only --- */

START_TEST(a_read_only_disk_is_mounted_read_only_or_not_at_all)
{
	struct fs_mount_opts opts = {.read_only = true};

	cut_disk_set_read_only(w.disk, true);
	ck_assert_int_eq(fs_mount(w.disk, NULL, &w.fs), -EROFS);
	world_mount(&w, &opts);
	ck_assert_int_eq(fs_may_write(w.fs), -EROFS);
	ck_assert_int_eq(world_unmount(&w), 0);
}
END_TEST

/* --- identify --- */

START_TEST(an_empty_disk_holds_no_filesystem)
{
	struct blockdev *disk;
	struct fs_ident ident;
	struct fs *fs;

	ck_assert_int_eq(cut_disk_open(_i == 0 ? 2048 : 1, &disk), 0);
	ck_assert_int_eq(fs_identify(disk, &ident), -ENODATA);
	ck_assert_int_eq(fs_mount(disk, NULL, &fs), -EINVAL);
	blk_close(disk);
}
END_TEST

START_TEST(identify_tells_id_label_and_size)
{
	struct fs_ident ident = identify();
	struct fs_ident mounted;

	ck_assert_mem_eq(ident.uuid, "world", 6);
	ck_assert_str_eq(ident.label, "");
	ck_assert_uint_eq(ident.nr_blocks, disk_blocks());
	world_mount(&w, NULL);
	fs_get_ident(w.fs, &mounted);
	ck_assert_mem_eq(ident.uuid, mounted.uuid, 16);
	ck_assert(mounted.dirty);
	ck_assert_int_eq(world_unmount(&w), 0);
}
END_TEST

START_TEST(a_damaged_superblock_without_copies_is_said_to_be_damaged)
{
	struct fs_ident ident;

	on_disk()->nr_groups = le32_of(77);
	ck_assert_int_eq(fs_identify(w.disk, &ident), -EUCLEAN);
	ck_assert_int_eq(fs_mount(w.disk, NULL, &w.fs), -EUCLEAN);
}
END_TEST

START_TEST(a_damaged_superblock_is_identified_by_its_copy)
{
	struct mkfs_opts opts = {.label = "big", .no_discard = true};
	struct mkfs_geometry geo;
	struct blockdev *disk;
	struct fs_ident ident;
	struct fs *fs;
	char err[128];

	ck_assert_int_eq(
		cut_disk_open((uint64_t)GROUP_BLOCKS_DEFAULT * BLOCK_SECTORS * 3 / 2, &disk), 0);
	ck_assert_int_eq(mkfs_write(disk, &opts, &geo, err, sizeof(err)), 0);
	cut_disk_bytes(disk)[BLOCK_BYTES + 100] ^= 1;
	ck_assert_int_eq(fs_identify(disk, &ident), 0);
	ck_assert_str_eq(ident.label, "big");
	ck_assert(ident.dirty);
	ck_assert_int_eq(
		fs_mount(disk, NULL, &fs), -EUCLEAN); /* its counters can't come from a copy */
	blk_close(disk);
}
END_TEST

/* --- corruption --- */

START_TEST(corruption_turns_the_mount_read_only_and_is_remembered)
{
	world_mount(&w, NULL);
	world_populate(&w, 3);
	ck_assert_int_eq(world_set(&w, 0, 5), 0);
	ck_assert_int_eq(fs_corrupt(w.fs, 99, "a test"), -EUCLEAN);
	ck_assert_int_eq(fs_may_write(w.fs), -EROFS);
	ck_assert_int_eq(world_set(&w, 0, 6), -EROFS);
	ck_assert_int_lt(world_unmount(&w), 0);
	ck_assert(identify().dirty);
	world_mount(&w, NULL); /* its journal holds a superblock that does not know yet */
	ck_assert_uint_eq(world_get(&w, 0), 0);
	ck_assert_int_eq(world_unmount(&w), 0);
	ck_assert_uint_eq(le32_get(on_disk()->state), STATE_CLEAN | STATE_ERRORS);
}
END_TEST

START_TEST(corruption_with_errors_continue_lets_writes_go_on)
{
	struct fs_mount_opts opts = {.errors = FS_ERRORS_CONTINUE};

	world_mount(&w, &opts);
	world_populate(&w, 3);
	ck_assert_int_eq(fs_corrupt(w.fs, 99, "a test"), -EUCLEAN);
	ck_assert_int_eq(fs_may_write(w.fs), 0);
	ck_assert_int_eq(world_set(&w, 0, 6), 0);
	ck_assert_int_eq(world_unmount(&w), 0);
	ck_assert_uint_eq(le32_get(on_disk()->state), STATE_CLEAN | STATE_ERRORS);
}
END_TEST

START_TEST(corruption_with_errors_shutdown_ends_everything)
{
	struct fs_mount_opts opts = {.errors = FS_ERRORS_SHUTDOWN};

	world_mount(&w, &opts);
	(void)fs_corrupt(w.fs, 99, "a test");
	ck_assert_int_eq(fs_may_write(w.fs), -EIO);
	ck_assert_int_lt(world_unmount(&w), 0);
}
END_TEST

START_TEST(every_failing_read_or_write_of_a_mount_is_an_error_and_leaks_nothing)
{
	for (uint64_t nth = 1; nth < 12; nth++) {
		if (_i == 0)
			cut_disk_fail_reads(w.disk, nth);
		else if (_i == 1)
			cut_disk_fail_writes(w.disk, nth);
		else
			cut_disk_fail_flushes(w.disk, nth);
		if (fs_mount(w.disk, NULL, &w.fs) == 0)
			(void)fs_unmount(w.fs);
		cut_disk_fail_reads(w.disk, 0);
		cut_disk_fail_writes(w.disk, 0);
		cut_disk_fail_flushes(w.disk, 0);
	}
	world_mount(&w, NULL);
	ck_assert_int_eq(world_unmount(&w), 0);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("super");
	TCase *tc = tcase_create("all");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, any_flipped_bit_of_the_superblock_is_refused);
	tcase_add_loop_test(tc, a_superblock_that_contradicts_itself_or_the_disk_is_refused, 0,
		sizeof(changes) / sizeof(changes[0]));
	tcase_add_test(tc, an_unknown_incompatible_feature_is_refused_always);
	tcase_add_test(tc, an_unknown_ro_compatible_feature_is_refused_for_writing);
	tcase_add_test(tc, an_unknown_compatible_feature_is_mounted_and_kept);
	tcase_add_test(tc, mounting_makes_it_dirty_durably_and_unmounting_clean);
	tcase_add_test(tc, a_clean_superblock_never_comes_before_what_makes_it_clean);
	tcase_add_test(tc, each_writable_mount_is_counted);
	tcase_add_test(tc, free_blocks_and_inodes_survive_unmount_and_replay);
	tcase_add_test(tc, a_read_only_disk_is_mounted_read_only_or_not_at_all);
	tcase_add_loop_test(tc, an_empty_disk_holds_no_filesystem, 0, 2);
	tcase_add_test(tc, identify_tells_id_label_and_size);
	tcase_add_test(tc, a_damaged_superblock_without_copies_is_said_to_be_damaged);
	tcase_add_test(tc, a_damaged_superblock_is_identified_by_its_copy);
	tcase_add_test(tc, corruption_turns_the_mount_read_only_and_is_remembered);
	tcase_add_test(tc, corruption_with_errors_continue_lets_writes_go_on);
	tcase_add_test(tc, corruption_with_errors_shutdown_ends_everything);
	tcase_add_loop_test(
		tc, every_failing_read_or_write_of_a_mount_is_an_error_and_leaks_nothing, 0, 3);
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
