/* test_alloc.c - tests alloc.c and bitmap.c on a memory disk that mkfs_write() made. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "alloc.h"
#include "bitmap.h"
#include "disk.h"

#define MIB_SECTORS   2048U
#define GROUP_SECTORS ((uint64_t)GROUP_BLOCKS_DEFAULT * BLOCK_SECTORS)

static struct blockdev *dev;
static struct mkfs_geometry geo;
static struct fs *fs;
static struct fs_thread *t;

static void make_disk(uint64_t nr_sectors, uint32_t ratio)
{
	struct mkfs_opts opts = {.no_discard = true, .inode_bytes_ratio = ratio};
	char err[256] = "";

	ck_assert_int_eq(mem_disk_open(nr_sectors, &dev), 0);
	ck_assert_msg(mkfs_write(dev, &opts, &geo, err, sizeof(err)) == 0, "%s", err);
}

static void mount_disk(void)
{
	const struct fs_mount_opts opts = {.errors = FS_ERRORS_CONTINUE, .commit_s = 1000};

	ck_assert_int_eq(fs_mount(dev, &opts, &fs), 0);
	ck_assert_int_eq(fs_thread_open(fs, &t), 0);
}

static void make(uint64_t nr_sectors)
{
	make_disk(nr_sectors, 0);
	mount_disk();
}

static void unmount_disk(void)
{
	fs_thread_close(t);
	ck_assert_int_eq(fs_unmount(fs), 0);
}

static void destroy(void)
{
	unmount_disk();
	blk_close(dev);
}

static struct tx_handle begin(uint64_t nr_alloc)
{
	struct tx_handle h;

	ck_assert_int_eq(tx_begin(t, TX_JOIN_EXTENT, nr_alloc, &h), 0);
	return h;
}

static void commit(void)
{
	ck_assert_int_eq(tx_sync_wait(t, UINT64_MAX), 0);
}

/* One allocation in a transaction of its own. */
static uint64_t take(uint64_t goal, uint32_t want, uint32_t *nr)
{
	struct tx_handle h = begin(want);
	uint64_t start;

	ck_assert_int_eq(alloc_blocks(&h, goal, want, &start, nr), 0);
	ck_assert_uint_ge(*nr, 1);
	ck_assert_uint_le(*nr, want);
	tx_end(&h);
	return start;
}

static void take_exactly(uint64_t start, uint32_t nr)
{
	uint32_t got;

	ck_assert_uint_eq(take(start, nr, &got), start);
	ck_assert_uint_eq(got, nr);
}

static int give(uint64_t start, uint32_t nr)
{
	struct tx_handle h = begin(0);
	int err = alloc_free(&h, start, nr, false);

	tx_end(&h);
	return err;
}

static uint64_t free_blocks(void)
{
	uint64_t blocks, inodes;

	alloc_counters(fs, &blocks, &inodes);
	return blocks;
}

static uint64_t free_inodes(void)
{
	uint64_t blocks, inodes;

	alloc_counters(fs, &blocks, &inodes);
	return inodes;
}

static uint32_t tables(void)
{
	return GROUP_BITMAP + fs->bitmap_blocks + fs->ibitmap_blocks + fs->itable_blocks;
}

static uint64_t first_data(uint32_t group)
{
	return fs_group_start(fs, group) + tables() + (group == 0 ? fs->journal_blocks : 0);
}

/* Read the block of a metadata TYPE through the cache, and copy it. */
static void copy_block(uint64_t block, enum block_type type, uint64_t owner, void *out)
{
	struct buf *b;

	ck_assert_int_eq(cache_get(t, block, type, owner, &b), 0);
	memcpy(out, b->data, BLOCK_BYTES);
	cache_put(b);
}

static struct group_disk header_of(uint32_t group)
{
	struct group_disk d;

	copy_block(fs_group_start(fs, group) + GROUP_HEADER, BT_GROUP, group, &d);
	return d;
}

/* Change a block of the unmounted disk, and make its checksum good again. */
static void edit_block(uint64_t block, void (*edit)(void *block))
{
	struct blk_queue *q;
	uint8_t *mem = blk_dma_alloc(dev, BLOCK_BYTES);

	ck_assert_int_eq(blk_queue_open(dev, &q), 0);
	ck_assert_int_eq(blk_do(q, BLK_READ, block * BLOCK_SECTORS, BLOCK_SECTORS, mem), 0);
	edit(mem);
	block_seal(mem);
	ck_assert_int_eq(blk_do(q, BLK_WRITE, block * BLOCK_SECTORS, BLOCK_SECTORS, mem), 0);
	blk_queue_close(q);
	blk_dma_free(dev, mem, BLOCK_BYTES);
}

static void check_range(uint32_t from, uint32_t end)
{
	uint8_t bits[32] __attribute__((aligned(8))) = {0};

	bits_set(bits, from, end);
	for (uint32_t n = 0; n < 256; n++)
		ck_assert_int_eq(bits_test(bits, n), n >= from && n < end);
	ck_assert_uint_eq(bits_next_set(bits, 0, 256), from < end ? from : 256);
	ck_assert_uint_eq(bits_next_clear(bits, from, 256), end);
	ck_assert_uint_eq(bits_count_clear(bits, 0, 256), 256 - (end - from));
	ck_assert_uint_eq(bits_clear_before(bits, 0, from), from);
	ck_assert_uint_eq(bits_clear_before(bits, 3, 256), from < end && end > 3 ? 256 - end : 253);
	bits_clear(bits, from, end);
	ck_assert_uint_eq(bits_next_set(bits, 0, 256), 256);
}

START_TEST(a_range_of_bits_is_set_cleared_and_found_at_every_border)
{
	static const uint32_t border[] = {0, 1, 2, 7, 8, 9, 63, 64, 65, 127, 128, 129, 192, 250};

	for (size_t i = 0; i < sizeof(border) / sizeof(border[0]); i++)
		for (size_t j = i; j < sizeof(border) / sizeof(border[0]); j++)
			check_range(border[i], border[j]);
}
END_TEST

START_TEST(a_new_filesystem_has_all_but_its_tables_free)
{
	struct fs_statfs st;

	make(64 * MIB_SECTORS);
	ck_assert_uint_eq(free_blocks(), geo.free_blocks);
	ck_assert_uint_eq(free_blocks(), geo.nr_blocks - first_data(0));
	ck_assert_uint_eq(free_inodes(), geo.nr_inodes - 1);
	alloc_statfs(fs, &st);
	ck_assert_uint_eq(st.nr_blocks, geo.free_blocks);
	ck_assert_uint_eq(st.free_blocks, geo.free_blocks);
	ck_assert_uint_eq(st.avail_blocks, geo.free_blocks - fs->reserved_blocks);
	ck_assert_uint_eq(st.nr_inodes, geo.nr_inodes);
	destroy();
}
END_TEST

START_TEST(a_run_begins_at_its_goal_and_is_as_long_as_wanted)
{
	make(64 * MIB_SECTORS);
	take_exactly(first_data(0) + 1000, 256);
	take_exactly(first_data(0) + 1256, 100);
	ck_assert_uint_eq(free_blocks(), geo.free_blocks - 356);
	destroy();
}
END_TEST

START_TEST(without_a_goal_the_first_free_block_is_taken)
{
	uint32_t nr;

	make(64 * MIB_SECTORS);
	ck_assert_uint_eq(take(0, 8, &nr), first_data(0));
	ck_assert_uint_eq(take(0, 8, &nr), first_data(0) + 8);
	destroy();
}
END_TEST

START_TEST(one_long_run_is_preferred_to_pieces_near_the_goal)
{
	uint64_t base;
	uint32_t nr;

	make(64 * MIB_SECTORS);
	base = first_data(0);
	for (uint32_t i = 0; i < 10; i++)
		take_exactly(base + (uint64_t)i * 10 + 5, 5); /* gaps of 5 */
	ck_assert_uint_eq(take(base, 64, &nr), base + 100);
	ck_assert_uint_eq(nr, 64);
	ck_assert_uint_eq(take(base + 20, 5, &nr), base + 20); /* and a gap serves what fits */
	destroy();
}
END_TEST

START_TEST(a_run_that_reaches_over_the_goal_is_found_from_the_front)
{
	uint64_t base, end;
	uint32_t nr;

	make(16 * MIB_SECTORS);
	base = first_data(0);
	end = geo.nr_blocks;
	take_exactly(base, (uint32_t)(end - base - 300));
	take_exactly(end - 100, 50); /* free: 200 blocks, then 50 at the end */
	ck_assert_uint_eq(take(end - 250, 180, &nr), end - 300);
	ck_assert_uint_eq(nr, 180);
	destroy();
}
END_TEST

START_TEST(a_run_ends_with_its_bitmap_block)
{
	uint64_t border;
	uint32_t nr;

	make(GROUP_SECTORS);
	border = (first_data(0) / BITMAP_BITS + 1) * BITMAP_BITS;
	ck_assert_uint_eq(take(border - 10, 64, &nr), border - 10);
	ck_assert_uint_eq(nr, 10);
	ck_assert_uint_eq(take(border, 64, &nr), border);
	ck_assert_uint_eq(nr, 64);
	destroy();
}
END_TEST

/* Take all there is, WANT at a time; each block once. */
static uint64_t fill(uint8_t *model, uint32_t want)
{
	struct tx_handle h;
	uint64_t taken = 0, start;
	uint32_t nr;

	while (tx_begin(t, TX_JOIN_EXTENT, want, &h) == 0) {
		ck_assert_int_eq(alloc_blocks(&h, 0, want, &start, &nr), 0);
		ck_assert_uint_eq(
			bits_next_set(model, (uint32_t)start, (uint32_t)start + nr), start + nr);
		bits_set(model, (uint32_t)start, (uint32_t)start + nr);
		taken += nr;
		tx_end(&h);
	}
	return taken;
}

START_TEST(every_free_block_is_handed_out_once_and_then_it_is_enospc)
{
	uint8_t model[16 * 1024] __attribute__((aligned(8))) = {0};
	struct tx_handle h;
	uint64_t taken;

	make(16 * MIB_SECTORS);
	bits_set(model, 0, (uint32_t)first_data(0));
	taken = fill(model, 37);
	taken += fill(model, 1);
	ck_assert_uint_eq(taken, geo.free_blocks - fs->reserved_blocks);
	ck_assert_int_eq(tx_begin(t, TX_JOIN_EXTENT, 1, &h), -ENOSPC);
	ck_assert_uint_eq(free_blocks(), fs->reserved_blocks);
	h = begin(0); /* what only frees may use the reserve */
	tx_end(&h);
	destroy();
}
END_TEST

START_TEST(a_promise_that_is_not_used_is_given_back)
{
	make(16 * MIB_SECTORS);
	for (int i = 0; i < 100; i++) {
		struct tx_handle h = begin(1000);

		tx_end(&h);
	}
	ck_assert_uint_eq(free_blocks(), geo.free_blocks);
	destroy();
}
END_TEST

START_TEST(promises_never_exceed_what_is_free)
{
	uint64_t usable;

	make(16 * MIB_SECTORS);
	usable = geo.free_blocks - fs->reserved_blocks;
	ck_assert_int_eq(alloc_reserve(fs, usable + 1, false), -ENOSPC);
	ck_assert_int_eq(alloc_reserve(fs, usable, false), 0);
	ck_assert_int_eq(alloc_reserve(fs, 1, false), -ENOSPC);
	ck_assert_int_eq(alloc_reserve(fs, fs->reserved_blocks, true), 0);
	ck_assert_int_eq(alloc_reserve(fs, 1, true), -ENOSPC);
	ck_assert_int_eq(alloc_reserve(fs, UINT64_MAX, true), -ENOSPC);
	alloc_unreserve(fs, geo.free_blocks);
	destroy();
}
END_TEST

START_TEST(freed_blocks_are_used_again_only_after_the_commit)
{
	uint64_t base;
	uint32_t nr;

	make(16 * MIB_SECTORS);
	base = first_data(0);
	take_exactly(base, 8);
	commit();
	ck_assert_int_eq(give(base, 8), 0);
	ck_assert_uint_eq(alloc_awaiting_commit(fs), 8);
	ck_assert_uint_eq(free_blocks(), geo.free_blocks);
	ck_assert_uint_eq(take(base, 8, &nr), base + 8);
	commit();
	ck_assert_uint_eq(alloc_awaiting_commit(fs), 0);
	take_exactly(base, 8);
	destroy();
}
END_TEST

START_TEST(blocks_that_await_their_commit_are_not_promised)
{
	uint64_t base, usable;
	uint32_t nr;

	make(16 * MIB_SECTORS);
	base = first_data(0);
	usable = geo.free_blocks - fs->reserved_blocks;
	ck_assert_uint_eq(take(base, 500, &nr), base);
	ck_assert_uint_eq(nr, 500);
	ck_assert_int_eq(give(base, 500), 0);
	ck_assert_int_eq(alloc_reserve(fs, usable, false), -ENOSPC);
	commit();
	ck_assert_int_eq(alloc_reserve(fs, usable, false), 0);
	alloc_unreserve(fs, usable);
	destroy();
}
END_TEST

START_TEST(held_blocks_are_handed_out_to_nobody)
{
	uint64_t base, start, at;
	uint32_t nr, got;

	make(16 * MIB_SECTORS);
	base = first_data(0);
	take_exactly(base, 8);
	commit();
	ck_assert_int_eq(give(base + 2, 4), 0); /* free, but not for good yet */
	ck_assert_int_eq(alloc_hold_free(t, base, fs->nr_blocks, 1, 16, &start, &nr), 0);
	ck_assert_uint_eq(start, base + 8);
	ck_assert_uint_eq(nr, 16);
	at = take(start, 16, &got);
	ck_assert(at >= start + 16 || at + got <= start);
	alloc_release(fs, start, nr);
	commit();
	ck_assert_uint_eq(alloc_awaiting_commit(fs), 0);
	ck_assert_int_eq(alloc_hold_free(t, base, fs->nr_blocks, 1, 16, &start, &nr), 0);
	ck_assert_uint_eq(start, base + 2);
	ck_assert_uint_eq(nr, 4);
	alloc_release(fs, start, nr);
	ck_assert_int_eq(alloc_hold_free(t, base, base + 8, 5, 16, &start, &nr), 0);
	ck_assert_uint_eq(nr, 0); /* no run of 5 there */
	destroy();
}
END_TEST

START_TEST(what_is_held_leaves_most_of_the_space)
{
	uint64_t start, all;
	uint32_t nr;

	make(16 * MIB_SECTORS);
	all = free_blocks();
	ck_assert_int_eq(alloc_hold_free(t, 0, fs->nr_blocks, 1, UINT32_MAX, &start, &nr), 0);
	ck_assert_uint_eq(nr, all / 4);
	ck_assert_uint_eq(free_blocks(), all); /* for df(1) they are free */
	ck_assert_int_eq(alloc_reserve(fs, all - nr, true), 0);
	ck_assert_int_eq(alloc_reserve(fs, 1, true), -ENOSPC);
	alloc_unreserve(fs, all - nr);
	alloc_release(fs, start, nr);
	destroy();
}
END_TEST

START_TEST(freeing_what_is_not_allocated_is_corruption)
{
	uint64_t base;

	make(16 * MIB_SECTORS);
	base = first_data(0);
	take_exactly(base, 8);
	ck_assert_int_eq(give(base + 4, 8), -EUCLEAN);                /* half of it is free */
	ck_assert_int_eq(give(base - 1, 2), -EUCLEAN);                /* the journal */
	ck_assert_int_eq(give(GROUP_SUPER, 1), -EUCLEAN);             /* a table */
	ck_assert_int_eq(give(geo.nr_blocks - 1, 2), -EUCLEAN);       /* past the end */
	ck_assert_int_eq(give(UINT64_MAX - 1, UINT32_MAX), -EUCLEAN); /* and overflowing */
	ck_assert_uint_eq(free_blocks(), geo.free_blocks - 8);
	destroy();
}
END_TEST

START_TEST(freeing_twice_before_the_commit_is_corruption)
{
	make(16 * MIB_SECTORS);
	take_exactly(first_data(0), 8);
	ck_assert_int_eq(give(first_data(0), 8), 0);
	ck_assert_int_eq(give(first_data(0), 8), -EUCLEAN);
	ck_assert_uint_eq(free_blocks(), geo.free_blocks);
	destroy();
}
END_TEST

START_TEST(a_run_over_several_bitmap_blocks_is_freed_as_one)
{
	uint64_t border, at;
	uint32_t nr;

	make(GROUP_SECTORS);
	border = (first_data(0) / BITMAP_BITS + 1) * BITMAP_BITS;
	for (at = border - 10; at < border + BITMAP_BITS + 10; at += nr)
		ck_assert_uint_eq(take(at, (uint32_t)(border + BITMAP_BITS + 10 - at), &nr), at);
	ck_assert_int_eq(give(border - 10, BITMAP_BITS + 20), 0);
	commit();
	ck_assert_uint_eq(free_blocks(), geo.free_blocks);
	ck_assert_uint_eq(le32_get(header_of(0).free_blocks), geo.free_blocks);
	destroy();
}
END_TEST

/* What the model says of a block. */
enum { FREE, USED, AWAITING };

struct run {
	uint64_t start;
	uint32_t nr;
};

static void model_take(uint8_t *model, struct run *run)
{
	run->start = take(
		(uint64_t)(rand() % (int)geo.nr_blocks), 1 + (uint32_t)(rand() % 30), &run->nr);
	for (uint32_t i = 0; i < run->nr; i++) {
		ck_assert_int_eq(model[run->start + i], FREE);
		model[run->start + i] = USED;
	}
}

static void model_give(uint8_t *model, const struct run *run)
{
	ck_assert_int_eq(give(run->start, run->nr), 0);
	memset(model + run->start, AWAITING, run->nr);
}

static void model_commit(uint8_t *model)
{
	commit();
	for (uint64_t i = 0; i < geo.nr_blocks; i++)
		if (model[i] == AWAITING)
			model[i] = FREE;
}

static void model_compare(const uint8_t *model)
{
	struct bitmap_disk d;
	uint64_t nr[3] = {0};

	copy_block(GROUP_BITMAP, BT_BLOCK_BITMAP, 0, &d);
	for (uint32_t i = 0; i < geo.nr_blocks; i++) {
		nr[model[i]]++;
		ck_assert_int_eq(bits_test(d.bits, i), model[i] == USED);
	}
	ck_assert_uint_eq(free_blocks(), nr[FREE] + nr[AWAITING]);
	ck_assert_uint_eq(alloc_awaiting_commit(fs), nr[AWAITING]);
	ck_assert_uint_eq(le32_get(header_of(0).free_blocks), free_blocks());
}

START_TEST(random_operations_agree_with_a_model)
{
	static uint8_t model[FS_BLOCKS_MIN];
	static struct run run[30];

	srand((unsigned)_i);
	make(16 * MIB_SECTORS);
	memset(model, FREE, sizeof(model));
	memset(model, USED, first_data(0));
	memset(run, 0, sizeof(run));
	for (int i = 0; i < 1000; i++) {
		struct run *r = &run[rand() % 30];

		if (r->nr == 0) {
			model_take(model, r);
		} else {
			model_give(model, r);
			r->nr = 0;
		}
		if (rand() % 40 == 0)
			model_commit(model);
		if (i % 100 == 0)
			model_compare(model);
	}
	model_commit(model);
	model_compare(model);
	destroy();
}
END_TEST

/* --- several threads */

static atomic_uchar owned[FS_BLOCKS_MIN];

/* What ck_assert says in a thread is not heard: it counts its troubles instead. */
static void *take_and_give(void *seed)
{
	struct fs_thread *mine;
	struct run kept[16] = {0};
	uintptr_t troubles = 0;
	unsigned random = (unsigned)(uintptr_t)seed;

	if (fs_thread_open(fs, &mine) < 0)
		return (void *)1;
	for (int i = 0; i < 300; i++) {
		struct run *r = &kept[rand_r(&random) % 16];
		struct tx_handle h;

		if (tx_begin(mine, TX_JOIN_EXTENT, 16, &h) < 0) {
			troubles++;
			continue;
		}
		for (uint32_t b = 0; b < r->nr; b++)
			troubles += !atomic_exchange(&owned[r->start + b], 0);
		if (r->nr > 0)
			troubles += alloc_free(&h, r->start, r->nr, false) < 0;
		troubles += alloc_blocks(&h, 0, 1 + (uint32_t)rand_r(&random) % 16, &r->start,
				    &r->nr) < 0;
		for (uint32_t b = 0; b < r->nr; b++)
			troubles += atomic_exchange(&owned[r->start + b], 1);
		tx_end(&h);
	}
	fs_thread_close(mine);
	return (void *)troubles;
}

START_TEST(threads_never_have_the_same_block)
{
	pthread_t thread[3];
	uint64_t nr = 0;

	make(16 * MIB_SECTORS);
	for (uintptr_t i = 0; i < 3; i++)
		ck_assert_int_eq(
			pthread_create(&thread[i], NULL, take_and_give, (void *)(i + 1)), 0);
	for (int i = 0; i < 3; i++) {
		void *troubles;

		pthread_join(thread[i], &troubles);
		ck_assert_ptr_null(troubles);
	}
	commit();
	for (uint32_t b = 0; b < FS_BLOCKS_MIN; b++)
		nr += owned[b];
	ck_assert_uint_eq(free_blocks(), geo.free_blocks - nr);
	ck_assert_int_eq(alloc_reserve(fs, geo.free_blocks - nr, true), 0);
	ck_assert_int_eq(alloc_reserve(fs, 1, true), -ENOSPC);
	alloc_unreserve(fs, geo.free_blocks - nr);
	destroy();
}
END_TEST

START_TEST(the_first_use_of_a_group_initialises_its_bitmap)
{
	struct bitmap_disk d;

	make(2 * GROUP_SECTORS);
	ck_assert_uint_eq(le32_get(header_of(1).flags), 0);
	take_exactly(first_data(1), 3);
	ck_assert_uint_eq(le32_get(header_of(1).flags), GROUP_F_BITMAP_READY);
	ck_assert_uint_eq(le32_get(header_of(1).free_blocks), GROUP_BLOCKS_DEFAULT - tables() - 3);
	copy_block(fs_group_start(fs, 1) + GROUP_BITMAP, BT_BLOCK_BITMAP, 1, &d);
	ck_assert_uint_eq(bits_next_clear(d.bits, 0, BITMAP_BITS), tables() + 3);
	ck_assert_uint_eq(bits_next_set(d.bits, tables() + 3, BITMAP_BITS), BITMAP_BITS);
	copy_block(fs_group_start(fs, 1) + GROUP_BITMAP + fs->bitmap_blocks - 1, BT_BLOCK_BITMAP, 1,
		&d);
	ck_assert_uint_eq(bits_next_set(d.bits, 0, BITMAP_BITS),
		GROUP_BLOCKS_DEFAULT - (fs->bitmap_blocks - 1) * BITMAP_BITS);
	destroy();
}
END_TEST

START_TEST(a_full_group_gives_way_to_the_next)
{
	uint64_t at, start;
	uint32_t nr;

	make(2 * GROUP_SECTORS);
	for (at = first_data(0); at < fs_group_start(fs, 1); at += nr)
		ck_assert_uint_eq(take(at, (uint32_t)(fs_group_start(fs, 1) - at), &nr), at);
	ck_assert_uint_eq(le32_get(header_of(0).free_blocks), 0);
	start = take(first_data(0), 10, &nr);
	ck_assert_uint_eq(start, first_data(1));
	ck_assert_uint_eq(nr, 10);
	destroy();
}
END_TEST

START_TEST(a_last_group_as_small_as_can_be_is_used_to_its_end)
{
	uint32_t nr;

	make_disk(GROUP_SECTORS, 0);
	blk_close(dev);
	make(GROUP_SECTORS +
		(GROUP_BLOCKS_DEFAULT - geo.free_blocks - geo.journal_blocks + GROUP_DATA_MIN) *
			BLOCK_SECTORS);
	ck_assert_uint_eq(geo.nr_groups, 2);
	take_exactly(first_data(1), GROUP_DATA_MIN);
	ck_assert_uint_eq(take(first_data(1), 1, &nr), first_data(0));
	destroy();
}
END_TEST

static uint64_t take_inode(uint64_t parent, bool is_dir, uint32_t *generation)
{
	struct tx_handle h = begin(0);
	uint64_t ino;

	ck_assert_int_eq(alloc_inode(&h, parent, is_dir, &ino, generation), 0);
	tx_end(&h);
	return ino;
}

static int give_inode(uint64_t ino, bool is_dir)
{
	struct tx_handle h = begin(0);
	int err = alloc_inode_free(&h, ino, is_dir);

	tx_end(&h);
	return err;
}

START_TEST(inode_numbers_are_taken_from_the_lowest_up_until_none_is_left)
{
	struct tx_handle h;
	uint64_t ino;
	uint32_t generation;

	make_disk(16 * MIB_SECTORS, 1 << 20);
	mount_disk();
	for (uint64_t want = 2; want <= geo.nr_inodes; want++)
		ck_assert_uint_eq(take_inode(FS_ROOT_INO, want % 2 == 0, &generation), want);
	ck_assert_uint_eq(free_inodes(), 0);
	h = begin(0);
	ck_assert_int_eq(alloc_inode(&h, FS_ROOT_INO, false, &ino, &generation), -ENOSPC);
	ck_assert_int_eq(alloc_inode(&h, FS_ROOT_INO, true, &ino, &generation), -ENOSPC);
	tx_end(&h);
	destroy();
}
END_TEST

START_TEST(the_inode_bitmap_is_initialised_as_the_table_grows)
{
	const uint32_t all = 2200U * INODES_PER_BLOCK; /* into the second block of the bitmap */
	struct bitmap_disk d;
	uint32_t generation;

	make(GROUP_SECTORS);
	ck_assert_uint_ge(fs->ibitmap_blocks, 2);
	for (uint64_t ino = 2; ino <= all; ino++)
		ck_assert_uint_eq(take_inode(FS_ROOT_INO, false, &generation), ino);
	ck_assert_uint_eq(le32_get(header_of(0).inodes_ready), all);
	copy_block(GROUP_BITMAP + fs->bitmap_blocks + 1, BT_INODE_BITMAP, 0, &d);
	ck_assert_uint_eq(bits_next_clear(d.bits, 0, BITMAP_BITS), all - BITMAP_BITS);
	ck_assert_int_eq(give_inode(BITMAP_BITS, false), 0);
	ck_assert_int_eq(give_inode(BITMAP_BITS + 1, false), 0);
	ck_assert_uint_eq(take_inode(FS_ROOT_INO, false, &generation), BITMAP_BITS);
	ck_assert_uint_eq(take_inode(FS_ROOT_INO, false, &generation), BITMAP_BITS + 1);
	destroy();
}
END_TEST

START_TEST(a_number_that_is_used_again_has_another_generation)
{
	uint32_t first, second;
	uint64_t ino;

	make(16 * MIB_SECTORS);
	ino = take_inode(FS_ROOT_INO, false, &first);
	ck_assert_int_eq(give_inode(ino, false), 0);
	ck_assert_uint_eq(free_inodes(), geo.nr_inodes - 1);
	ck_assert_uint_eq(take_inode(FS_ROOT_INO, false, &second), ino);
	ck_assert_uint_ne(first, second);
	destroy();
}
END_TEST

START_TEST(freeing_an_inode_number_that_is_free_is_corruption)
{
	uint32_t generation;
	uint64_t ino;

	make(16 * MIB_SECTORS);
	ino = take_inode(FS_ROOT_INO, false, &generation);
	ck_assert_int_eq(give_inode(ino, false), 0);
	ck_assert_int_eq(give_inode(ino, false), -EUCLEAN);
	ck_assert_int_eq(give_inode(geo.nr_inodes, false), -EUCLEAN); /* never used */
	ck_assert_int_eq(give_inode(geo.nr_inodes + 1, false), -EUCLEAN);
	ck_assert_int_eq(give_inode(0, false), -EUCLEAN);
	ck_assert_uint_eq(free_inodes(), geo.nr_inodes - 1);
	destroy();
}
END_TEST

START_TEST(an_inode_is_found_once_its_table_block_is_initialised)
{
	uint32_t slot, generation;
	uint64_t block, ino = 0;

	make(16 * MIB_SECTORS);
	ck_assert_int_eq(alloc_inode_where(t, FS_ROOT_INO, &block, &slot), 0);
	ck_assert_uint_eq(block, GROUP_BITMAP + fs->bitmap_blocks + fs->ibitmap_blocks);
	ck_assert_uint_eq(slot, 0);
	ck_assert_int_eq(alloc_inode_where(t, INODES_PER_BLOCK + 1, &block, &slot), -ESTALE);
	while (ino <= INODES_PER_BLOCK)
		ino = take_inode(FS_ROOT_INO, false, &generation);
	ck_assert_int_eq(alloc_inode_where(t, ino, &block, &slot), 0);
	ck_assert_uint_eq(block, GROUP_BITMAP + fs->bitmap_blocks + fs->ibitmap_blocks + 1);
	ck_assert_uint_eq(slot, 0);
	ck_assert_uint_eq(le32_get(header_of(0).inodes_ready), 2 * INODES_PER_BLOCK);
	ck_assert_int_eq(alloc_inode_where(t, 0, &block, &slot), -EUCLEAN);
	ck_assert_int_eq(alloc_inode_where(t, geo.nr_inodes + 1, &block, &slot), -EUCLEAN);
	destroy();
}
END_TEST

START_TEST(an_initialised_table_block_has_only_free_slots)
{
	struct inodes_disk d;
	uint32_t generation;

	make(2 * GROUP_SECTORS);
	/* a number of the second group, whose table nobody has touched */
	ck_assert_uint_eq(take_inode((uint64_t)fs->inodes_per_group + 1, false, &generation),
		fs->inodes_per_group + 1);
	copy_block(fs_group_start(fs, 1) + GROUP_BITMAP + fs->bitmap_blocks + fs->ibitmap_blocks,
		BT_INODES, 1, &d);
	for (uint32_t i = 0; i < INODES_PER_BLOCK; i++)
		ck_assert_uint_eq(le64_get(d.inode[i].ino), 0);
	destroy();
}
END_TEST

START_TEST(directories_under_the_root_spread_and_files_stay_with_their_directory)
{
	uint64_t dir[4], ipg;
	uint32_t generation;
	unsigned groups = 0;

	make(4 * GROUP_SECTORS);
	ipg = fs->inodes_per_group;
	for (int i = 0; i < 4; i++) {
		dir[i] = take_inode(FS_ROOT_INO, true, &generation);
		groups |= 1U << (dir[i] - 1) / ipg;
		ck_assert_uint_eq(
			(take_inode(dir[i], false, &generation) - 1) / ipg, (dir[i] - 1) / ipg);
		ck_assert_uint_eq(
			(take_inode(dir[i], true, &generation) - 1) / ipg, (dir[i] - 1) / ipg);
	}
	ck_assert_int_ge(__builtin_popcount(groups), 3);
	destroy();
}
END_TEST

START_TEST(the_number_of_directories_of_a_group_is_kept)
{
	uint32_t generation;
	uint64_t ino;

	make(16 * MIB_SECTORS);
	ck_assert_uint_eq(le32_get(header_of(0).nr_dirs), 1);
	ino = take_inode(FS_ROOT_INO, true, &generation);
	(void)take_inode(FS_ROOT_INO, false, &generation);
	ck_assert_uint_eq(le32_get(header_of(0).nr_dirs), 2);
	ck_assert_int_eq(give_inode(ino, true), 0);
	ck_assert_uint_eq(le32_get(header_of(0).nr_dirs), 1);
	destroy();
}
END_TEST

START_TEST(what_was_taken_is_taken_after_a_remount)
{
	uint64_t base, ino, blocks, inodes;
	uint32_t nr, generation, again;

	make(2 * GROUP_SECTORS);
	base = first_data(1);
	take_exactly(base, 40);
	ck_assert_int_eq(give(base + 10, 5), 0);
	ino = take_inode(fs->inodes_per_group + 1, false, &generation);
	blocks = free_blocks();
	inodes = free_inodes();
	unmount_disk();
	mount_disk();
	ck_assert_uint_eq(free_blocks(), blocks);
	ck_assert_uint_eq(free_inodes(), inodes);
	take_exactly(base + 10, 5);
	ck_assert_uint_eq(take(base, 1, &nr), base + 40);
	ck_assert_uint_eq(take_inode(fs->inodes_per_group + 1, false, &again), ino + 1);
	ck_assert_uint_ne(again, generation);
	destroy();
}
END_TEST

static void wrong_free_blocks(void *block)
{
	struct group_disk *d = block;

	d->free_blocks = le32_of(le32_get(d->free_blocks) - 1);
}

static void too_many_free_blocks(void *block)
{
	((struct group_disk *)block)->free_blocks = le32_of(UINT32_MAX);
}

static void wrong_group(void *block)
{
	((struct group_disk *)block)->group = le32_of(1);
}

static void unknown_flag(void *block)
{
	((struct group_disk *)block)->flags = le32_of(7);
}

static void wrong_nr_blocks(void *block)
{
	((struct group_disk *)block)->nr_blocks = le32_of(1);
}

static void too_many_inodes_ready(void *block)
{
	((struct group_disk *)block)->inodes_ready = le32_of(INODES_PER_BLOCK << 20);
}

static void odd_inodes_ready(void *block)
{
	((struct group_disk *)block)->inodes_ready = le32_of(INODES_PER_BLOCK + 1);
}

static void (*const header_faults[])(void *) = {wrong_free_blocks, too_many_free_blocks,
	wrong_group, unknown_flag, wrong_nr_blocks, too_many_inodes_ready, odd_inodes_ready};

START_TEST(a_group_header_that_breaks_the_format_is_corruption)
{
	struct tx_handle h;
	uint64_t start;
	uint32_t nr;

	make_disk(16 * MIB_SECTORS, 0);
	edit_block(GROUP_HEADER, header_faults[_i]);
	mount_disk();
	h = begin(1);
	ck_assert_int_eq(alloc_blocks(&h, 0, 1, &start, &nr), -EUCLEAN);
	tx_end(&h);
	destroy();
}
END_TEST

static void tables_free(void *block)
{
	struct bitmap_disk *d = block;
	uint32_t last = bits_next_clear(d->bits, 0, BITMAP_BITS);

	bits_set(d->bits, last, last + 1); /* the count stays right */
	bits_clear(d->bits, GROUP_BITMAP, GROUP_BITMAP + 1);
}

static void end_free(void *block)
{
	bits_clear(((struct bitmap_disk *)block)->bits, FS_BLOCKS_MIN, FS_BLOCKS_MIN + 1);
}

static void (*const bitmap_faults[])(void *) = {tables_free, end_free};

START_TEST(a_bitmap_that_breaks_the_format_is_corruption)
{
	struct tx_handle h;
	uint64_t start;
	uint32_t nr;

	make_disk(16 * MIB_SECTORS, 0);
	edit_block(GROUP_BITMAP, bitmap_faults[_i]);
	mount_disk();
	h = begin(1);
	ck_assert_int_eq(alloc_blocks(&h, 0, 1, &start, &nr), -EUCLEAN);
	tx_end(&h);
	destroy();
}
END_TEST

static void all_inodes_used(void *block)
{
	bits_set(((struct bitmap_disk *)block)->bits, 0, BITMAP_BITS);
}

static void inode_past_the_table_next(void *block)
{
	bits_set(((struct bitmap_disk *)block)->bits, 0, 2 * INODES_PER_BLOCK);
}

static void (*const ibitmap_faults[])(void *) = {all_inodes_used, inode_past_the_table_next};

START_TEST(an_inode_bitmap_that_breaks_the_format_is_corruption)
{
	struct tx_handle h;
	uint64_t ino;
	uint32_t generation;

	make_disk(16 * MIB_SECTORS, 0);
	mount_disk();
	unmount_disk();
	edit_block(GROUP_BITMAP + 9, ibitmap_faults[_i]);
	mount_disk();
	ck_assert_uint_eq(fs->bitmap_blocks, 9);
	h = begin(0);
	ck_assert_int_eq(alloc_inode(&h, FS_ROOT_INO, false, &ino, &generation), -EUCLEAN);
	tx_end(&h);
	destroy();
}
END_TEST

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))

static Suite *suite(void)
{
	Suite *s = suite_create("alloc");
	TCase *c = tcase_create("alloc");

	tcase_set_timeout(c, 30);
	tcase_add_test(c, a_range_of_bits_is_set_cleared_and_found_at_every_border);
	tcase_add_test(c, a_new_filesystem_has_all_but_its_tables_free);
	tcase_add_test(c, a_run_begins_at_its_goal_and_is_as_long_as_wanted);
	tcase_add_test(c, without_a_goal_the_first_free_block_is_taken);
	tcase_add_test(c, one_long_run_is_preferred_to_pieces_near_the_goal);
	tcase_add_test(c, a_run_that_reaches_over_the_goal_is_found_from_the_front);
	tcase_add_test(c, a_run_ends_with_its_bitmap_block);
	tcase_add_test(c, every_free_block_is_handed_out_once_and_then_it_is_enospc);
	tcase_add_test(c, a_promise_that_is_not_used_is_given_back);
	tcase_add_test(c, promises_never_exceed_what_is_free);
	tcase_add_test(c, freed_blocks_are_used_again_only_after_the_commit);
	tcase_add_test(c, blocks_that_await_their_commit_are_not_promised);
	tcase_add_test(c, held_blocks_are_handed_out_to_nobody);
	tcase_add_test(c, what_is_held_leaves_most_of_the_space);
	tcase_add_test(c, freeing_what_is_not_allocated_is_corruption);
	tcase_add_test(c, freeing_twice_before_the_commit_is_corruption);
	tcase_add_test(c, a_run_over_several_bitmap_blocks_is_freed_as_one);
	tcase_add_loop_test(c, random_operations_agree_with_a_model, 1, 4);
	tcase_add_test(c, threads_never_have_the_same_block);
	tcase_add_test(c, the_first_use_of_a_group_initialises_its_bitmap);
	tcase_add_test(c, a_full_group_gives_way_to_the_next);
	tcase_add_test(c, a_last_group_as_small_as_can_be_is_used_to_its_end);
	tcase_add_test(c, inode_numbers_are_taken_from_the_lowest_up_until_none_is_left);
	tcase_add_test(c, the_inode_bitmap_is_initialised_as_the_table_grows);
	tcase_add_test(c, a_number_that_is_used_again_has_another_generation);
	tcase_add_test(c, freeing_an_inode_number_that_is_free_is_corruption);
	tcase_add_test(c, an_inode_is_found_once_its_table_block_is_initialised);
	tcase_add_test(c, an_initialised_table_block_has_only_free_slots);
	tcase_add_test(c, directories_under_the_root_spread_and_files_stay_with_their_directory);
	tcase_add_test(c, the_number_of_directories_of_a_group_is_kept);
	tcase_add_test(c, what_was_taken_is_taken_after_a_remount);
	tcase_add_loop_test(
		c, a_group_header_that_breaks_the_format_is_corruption, 0, N(header_faults));
	tcase_add_loop_test(c, a_bitmap_that_breaks_the_format_is_corruption, 0, N(bitmap_faults));
	tcase_add_loop_test(
		c, an_inode_bitmap_that_breaks_the_format_is_corruption, 0, N(ibitmap_faults));
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
