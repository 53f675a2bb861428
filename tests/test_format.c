/* test_format.c - tests format.h: checksums and the superblock's check, on what mkfs.c makes. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "cache.h"
#include "disk.h"
#include "super.h"

#define DISK_BLOCKS FS_BLOCKS_MIN

/* The superblock of a new filesystem. */
static void new_super(struct super_disk *out)
{
	struct mkfs_opts opts = {.no_discard = true, .label = "format"};
	struct mkfs_geometry geo;
	struct blockdev *dev;
	struct blk_queue *q;
	char err[256];
	void *mem;

	ck_assert_int_eq(mem_disk_open((uint64_t)DISK_BLOCKS * BLOCK_SECTORS, &dev), 0);
	ck_assert_int_eq(mkfs_write(dev, &opts, &geo, err, sizeof(err)), 0);
	ck_assert_int_eq(blk_queue_open(dev, &q), 0);
	mem = blk_dma_alloc(dev, BLOCK_BYTES);
	ck_assert_int_eq(cache_read_raw(&(struct fs_thread){.q = q}, GROUP_SUPER, 1, mem), 0);
	memcpy(out, mem, BLOCK_BYTES);
	blk_dma_free(dev, mem, BLOCK_BYTES);
	blk_queue_close(q);
	blk_close(dev);
}

/* crc32c bit by bit, from its definition in vblkfs(5). */
static uint32_t slow_crc32c(const uint8_t *p, size_t bytes)
{
	uint32_t crc = 0xffffffff;

	for (size_t i = 0; i < bytes; i++) {
		crc ^= p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

START_TEST(the_reference_checksum_is_crc32c)
{
	ck_assert_uint_eq(slow_crc32c((const uint8_t *)"123456789", 9), 0xe3069283);
}
END_TEST

START_TEST(a_block_is_sealed_with_crc32c_of_itself_with_the_crc_as_zero)
{
	uint8_t block[BLOCK_BYTES] __attribute__((aligned(8)));
	struct block_head *head = (struct block_head *)block;
	uint32_t crc;

	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = (uint8_t)(i * 7 + i / 256);
	crc = block_crc(block);
	block_seal(block);
	ck_assert_uint_eq(le32_get(head->crc), crc);
	head->crc = le32_of(0);
	ck_assert_uint_eq(slow_crc32c(block, sizeof(block)), crc);
}
END_TEST

START_TEST(a_head_says_what_whose_and_where_a_block_is)
{
	struct block_head head;
	const uint8_t uuid[16] = {1, 2, 3};

	memset(&head, 0xff, sizeof(head));
	block_head_init(&head, uuid, BT_DIR_LEAF, 77, 12);
	ck_assert_mem_eq(&head.magic, "vbDL", 4);
	ck_assert_uint_eq(le64_get(head.block), 77);
	ck_assert_uint_eq(le64_get(head.owner), 12);
	ck_assert_mem_eq(head.fs_uuid, uuid, 16);
	ck_assert_uint_eq(le64_get(head.pad[0]) | le64_get(head.pad[1]), 0);
}
END_TEST

START_TEST(a_new_superblock_is_sound)
{
	struct super_disk sb;

	new_super(&sb);
	ck_assert_ptr_null(super_check(&sb, GROUP_SUPER, DISK_BLOCKS));
	ck_assert_uint_eq(le32_get(sb.state), STATE_CLEAN);
	ck_assert_str_eq((const char *)sb.label, "format");
}
END_TEST

START_TEST(any_flipped_superblock_bit_is_refused)
{
	struct super_disk sb;

	new_super(&sb);
	for (unsigned bit = 0; bit < BLOCK_BYTES * 8; bit++) {
		((uint8_t *)&sb)[bit / 8] ^= (uint8_t)(1U << bit % 8);
		ck_assert_msg(super_check(&sb, GROUP_SUPER, DISK_BLOCKS) != NULL, "bit %u", bit);
		((uint8_t *)&sb)[bit / 8] ^= (uint8_t)(1U << bit % 8);
	}
}
END_TEST

static void no_groups(struct super_disk *sb)
{
	sb->nr_groups = le32_of(0);
}
static void odd_group_size(struct super_disk *sb)
{
	sb->group_blocks = le32_of(GROUP_BLOCKS_DEFAULT - 1);
}
static void huge_group(struct super_disk *sb)
{
	sb->group_blocks = le32_of(GROUP_BLOCKS_MAX * 2);
}
static void larger_than_the_disk(struct super_disk *sb)
{
	sb->nr_blocks = le64_of(DISK_BLOCKS + 1);
}
static void odd_inodes(struct super_disk *sb)
{
	sb->inodes_per_group = le32_of(le32_get(sb->inodes_per_group) + 1);
}
static void short_bitmap(struct super_disk *sb)
{
	sb->bitmap_blocks = le32_of(8);
}
static void short_itable(struct super_disk *sb)
{
	sb->itable_blocks = le32_of(le32_get(sb->itable_blocks) - 1);
}
static void journal_elsewhere(struct super_disk *sb)
{
	sb->journal_start = le64_of(le64_get(sb->journal_start) + 1);
}
static void journal_past_the_end(struct super_disk *sb)
{
	sb->journal_blocks = le64_of(UINT64_MAX - 5);
}
static void short_journal(struct super_disk *sb)
{
	sb->journal_blocks = le64_of(JOURNAL_BLOCKS_MIN - 1);
}
static void too_much_free(struct super_disk *sb)
{
	sb->free_blocks = le64_of(DISK_BLOCKS + 1);
}
static void too_many_inodes_free(struct super_disk *sb)
{
	sb->free_inodes = le64_of(UINT32_MAX);
}
static void other_version(struct super_disk *sb)
{
	sb->version = le32_of(FORMAT_VERSION + 1);
}
static void other_block_size(struct super_disk *sb)
{
	sb->block_bytes = le32_of(8192);
}
static void other_place(struct super_disk *sb)
{
	sb->head.block = le64_of(GROUP_BLOCKS_DEFAULT + GROUP_SUPER);
}

static void (*const faults[])(struct super_disk *) = {no_groups, odd_group_size, huge_group,
	larger_than_the_disk, odd_inodes, short_bitmap, short_itable, journal_elsewhere,
	journal_past_the_end, short_journal, too_much_free, too_many_inodes_free, other_version,
	other_block_size, other_place};

START_TEST(a_superblock_that_breaks_the_format_is_refused_though_its_checksum_is_right)
{
	struct super_disk sb;

	new_super(&sb);
	faults[_i](&sb);
	block_seal(&sb);
	ck_assert_ptr_nonnull(super_check(&sb, GROUP_SUPER, DISK_BLOCKS));
}
END_TEST

START_TEST(copies_stand_in_groups_that_are_powers_of_two)
{
	static const uint32_t yes[] = {1, 2, 4, 8, 1024, 1U << 31};
	static const uint32_t no[] = {0, 3, 5, 6, 7, 9, 1023, UINT32_MAX};

	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
		ck_assert(format_has_super_copy(yes[i]));
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		ck_assert(!format_has_super_copy(no[i]));
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("format");
	TCase *c = tcase_create("format");

	tcase_set_timeout(c, 30);
	tcase_add_test(c, the_reference_checksum_is_crc32c);
	tcase_add_test(c, a_block_is_sealed_with_crc32c_of_itself_with_the_crc_as_zero);
	tcase_add_test(c, a_head_says_what_whose_and_where_a_block_is);
	tcase_add_test(c, a_new_superblock_is_sound);
	tcase_add_test(c, any_flipped_superblock_bit_is_refused);
	tcase_add_loop_test(c,
		a_superblock_that_breaks_the_format_is_refused_though_its_checksum_is_right, 0,
		(int)(sizeof(faults) / sizeof(faults[0])));
	tcase_add_test(c, copies_stand_in_groups_that_are_powers_of_two);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	SRunner *r = srunner_create(suite());
	int failed;

	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
