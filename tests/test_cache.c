/* test_cache.c - cache.c: what is read is verified, read once, and kept as long as it must be. */
#include <errno.h>
#include <pthread.h>
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

static void remount(const struct fs_mount_opts *opts)
{
	ck_assert_int_eq(world_unmount(&w), 0);
	world_mount(&w, opts);
}

static struct fs_stats figures(void)
{
	struct fs_stats stats;

	fs_get_stats(w.fs, &stats);
	return stats;
}

static struct block_head *on_disk(unsigned i)
{
	return (struct block_head *)(void *)(cut_disk_bytes(w.disk) + w.block[i] * BLOCK_BYTES);
}

static int get(unsigned i, struct buf **out)
{
	return cache_get(w.t, w.block[i], BT_SYMLINK, WORLD_OWNER, out);
}

/* --- blocks --- */

static uint32_t crc32c_bit_by_bit(const uint8_t *p, size_t bytes)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < bytes; i++) {
		crc ^= p[i];
		for (unsigned k = 0; k < 8; k++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78U : 0);
	}
	return ~crc;
}

START_TEST(the_checksum_is_crc32c_with_its_own_field_as_zero)
{
	uint8_t block[BLOCK_BYTES], zeroed[BLOCK_BYTES];

	for (unsigned i = 0; i < BLOCK_BYTES; i++)
		block[i] = (uint8_t)(i * 7 + i / 256);
	memcpy(zeroed, block, sizeof(zeroed));
	memset(zeroed + offsetof(struct block_head, crc), 0, 4);
	ck_assert_uint_eq(block_crc(block), crc32c_bit_by_bit(zeroed, BLOCK_BYTES));
	block_seal(block);
	ck_assert_uint_eq(block_crc(block), le32_get(((struct block_head *)(void *)block)->crc));
}
END_TEST

/* --- verification --- */

static void damage_magic(struct block_head *head)
{
	head->magic = le32_of(BT_XATTR);
	block_seal(head);
}

static void damage_crc(struct block_head *head)
{
	((uint8_t *)head)[4095] ^= 0x80;
}

static void damage_place(struct block_head *head)
{
	head->block = le64_of(le64_get(head->block) + 1);
	block_seal(head);
}

static void damage_filesystem(struct block_head *head)
{
	head->fs_uuid[15] ^= 1;
	block_seal(head);
}

static void damage_owner(struct block_head *head)
{
	head->owner = le64_of(WORLD_OWNER + 1);
	block_seal(head);
}

static void (*const damages[])(struct block_head *) = {
	damage_magic, damage_crc, damage_place, damage_filesystem, damage_owner};

START_TEST(a_block_that_is_not_what_was_asked_for_is_refused)
{
	struct fs_mount_opts opts = {.errors = FS_ERRORS_CONTINUE};
	struct buf *b;

	remount(&opts);
	damages[_i](on_disk(5));
	ck_assert_int_eq(get(5, &b), -EUCLEAN);
	ck_assert_int_eq(get(5, &b), -EUCLEAN); /* and is not in the cache now */
	ck_assert_int_eq(get(6, &b), 0);
	cache_put(b);
}
END_TEST

START_TEST(a_cached_block_is_not_given_out_as_another_kind)
{
	struct fs_mount_opts opts = {.errors = FS_ERRORS_CONTINUE};
	struct buf *b;

	remount(&opts);
	ck_assert_int_eq(get(5, &b), 0);
	cache_put(b);
	ck_assert_int_eq(cache_get(w.t, w.block[5], BT_XATTR, WORLD_OWNER, &b), -EUCLEAN);
	ck_assert_int_eq(cache_get(w.t, w.block[5], BT_SYMLINK, WORLD_OWNER + 1, &b), -EUCLEAN);
	ck_assert_int_eq(get(5, &b), 0);
	cache_put(b);
}
END_TEST

START_TEST(a_block_past_the_end_is_refused)
{
	struct fs_mount_opts opts = {.errors = FS_ERRORS_CONTINUE};
	struct buf *b;

	remount(&opts);
	ck_assert_int_eq(cache_get(w.t, w.fs->nr_blocks, BT_SYMLINK, 1, &b), -EUCLEAN);
	ck_assert_int_eq(cache_get(w.t, UINT64_MAX, BT_SYMLINK, 1, &b), -EUCLEAN);
}
END_TEST

START_TEST(a_read_that_failed_is_tried_again_by_the_next_caller)
{
	struct buf *b;

	remount(NULL);
	cut_disk_fail_reads(w.disk, 1);
	ck_assert_int_eq(get(5, &b), -EIO);
	cut_disk_fail_reads(w.disk, 0);
	ck_assert_int_eq(get(5, &b), 0);
	cache_put(b);
	ck_assert(!figures().read_only);
}
END_TEST

/* --- keeping --- */

START_TEST(a_block_is_read_once)
{
	uint64_t misses, hits;

	remount(NULL);
	misses = figures().cache_misses;
	hits = figures().cache_hits;
	for (unsigned i = 0; i < 10; i++)
		(void)world_get(&w, 5);
	ck_assert_uint_eq(figures().cache_misses, misses + 1);
	ck_assert_uint_eq(figures().cache_hits, hits + 9);
}
END_TEST

static void *read_all(void *arg)
{
	struct world mine = w;

	(void)arg;
	ck_assert_int_eq(fs_thread_open(w.fs, &mine.t), 0);
	for (unsigned i = 0; i < WORLD_BLOCKS; i++)
		ck_assert_uint_eq(world_get(&mine, i), 0);
	fs_thread_close(mine.t);
	return NULL;
}

START_TEST(threads_that_miss_the_same_blocks_read_each_once)
{
	pthread_t thread[4];
	uint64_t misses;

	remount(NULL);
	misses = figures().cache_misses;
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, read_all, NULL), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	ck_assert_uint_eq(figures().cache_misses, misses + WORLD_BLOCKS);
}
END_TEST

#define MANY 600U /* blocks: more than a MiB of cache holds */

static void make_many(uint64_t block[MANY])
{
	for (unsigned i = 0; i < MANY; i++) {
		struct tx_handle h;

		ck_assert_int_eq(tx_begin(w.t, 8, 1, &h), 0);
		block[i] = world_new_block(&h, i);
		tx_end(&h);
	}
}

static void check_many(const uint64_t block[MANY])
{
	for (unsigned i = 0; i < MANY; i++) {
		struct buf *b;

		ck_assert_int_eq(cache_get(w.t, block[i], BT_SYMLINK, WORLD_OWNER, &b), 0);
		ck_assert_uint_eq(*world_number(b), i);
		cache_put(b);
	}
}

/* Blocks that are not at home stay; a checkpoint lets go of them. */
static void await_limit(void)
{
	wait_until(figures().cache_blocks <= 256 + 8);
}

START_TEST(the_cache_stays_within_its_limit_and_loses_no_change)
{
	struct fs_mount_opts opts = {.cache_mib = 1};
	uint64_t block[MANY];

	remount(&opts);
	make_many(block); /* most of them must go home before there is room for the rest */
	check_many(block);
	ck_assert_int_eq(world_sync(&w), 0);
	check_many(block);
	await_limit();
	check_many(block);
	remount(&opts);
	check_many(block);
}
END_TEST

START_TEST(what_is_in_use_stays_though_the_cache_is_full)
{
	struct fs_mount_opts opts = {.cache_mib = 1};
	struct buf *held[MANY];
	uint64_t block[MANY];

	make_many(block);
	remount(&opts);
	for (unsigned i = 0; i < MANY; i++)
		ck_assert_int_eq(cache_get(w.t, block[i], BT_SYMLINK, WORLD_OWNER, &held[i]), 0);
	for (unsigned i = 0; i < MANY; i++)
		ck_assert_uint_eq(*world_number(held[i]), i);
	for (unsigned i = 0; i < MANY; i++)
		cache_put(held[i]);
	ck_assert_uint_le(figures().cache_blocks, 256 + 8);
}
END_TEST

START_TEST(a_forgotten_block_is_there_for_who_holds_it_and_for_nobody_else)
{
	struct buf *held, *again;

	remount(NULL);
	ck_assert_int_eq(get(5, &held), 0);
	cache_forget(w.fs, w.block[5]);
	ck_assert_ptr_null(cache_peek(w.fs, w.block[5]));
	ck_assert_uint_eq(*world_number(held), 0);
	ck_assert_int_eq(get(5, &again), 0);
	ck_assert_ptr_ne(held, again);
	cache_put(held);
	cache_put(again);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("cache");
	TCase *tc = tcase_create("all");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, the_checksum_is_crc32c_with_its_own_field_as_zero);
	tcase_add_loop_test(tc, a_block_that_is_not_what_was_asked_for_is_refused, 0,
		sizeof(damages) / sizeof(damages[0]));
	tcase_add_test(tc, a_cached_block_is_not_given_out_as_another_kind);
	tcase_add_test(tc, a_block_past_the_end_is_refused);
	tcase_add_test(tc, a_read_that_failed_is_tried_again_by_the_next_caller);
	tcase_add_test(tc, a_block_is_read_once);
	tcase_add_test(tc, threads_that_miss_the_same_blocks_read_each_once);
	tcase_add_test(tc, the_cache_stays_within_its_limit_and_loses_no_change);
	tcase_add_test(tc, what_is_in_use_stays_though_the_cache_is_full);
	tcase_add_test(tc, a_forgotten_block_is_there_for_who_holds_it_and_for_nobody_else);
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
