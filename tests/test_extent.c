/* test_extent.c - the extents of one inode against a table of its blocks; and leaves and slots that break the format. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "memfs.h"
#include "alloc.h"
#include "btree.h"
#include "inode.h"

#define NR_LBLK 3000U

static struct memfs m;
static struct inode *inode;
static struct {
	uint64_t pblk; /* 0: hole */
	uint32_t flags;
} model[NR_LBLK];
static uint64_t rng = 0x5eed;

static uint32_t rnd(uint32_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 20) % below;
}

static uint64_t free_blocks(void)
{
	uint64_t blocks, inodes;

	ck_assert_int_eq(fs_sync(m.t), 0);
	alloc_counters(m.fs, &blocks, &inodes);
	return blocks;
}

static void setup(void)
{
	struct fs_attr attr;

	memfs_open(&m, 64);
	ck_assert_int_eq(
		fs_mknod(m.t, FS_ROOT_INO, "f", S_IFREG | 0644, 0, &(struct fs_cred){0}, &attr), 0);
	ck_assert_int_eq(inode_get(m.t, attr.ino, &inode), 0);
	memset(model, 0, sizeof(model));
}

static void teardown(void)
{
	inode_put(m.t, inode);
	memfs_close(&m);
}

static void begin(struct tx_handle *h, uint32_t nr_alloc)
{
	ck_assert_int_eq(tx_begin(m.t, 2 * TX_JOIN_EXTENT, nr_alloc, h), 0);
	pthread_rwlock_wrlock(&inode->lock);
}

static void end(struct tx_handle *h)
{
	ck_assert_int_eq(inode_update(h, inode, false), 0);
	pthread_rwlock_unlock(&inode->lock);
	tx_end(h);
}

/* Map up to NR blocks from LBLK on, which is a hole. */
static uint32_t add(uint32_t lblk, uint32_t nr, uint32_t flags, uint64_t goal)
{
	struct extent e = {.lblk = lblk, .flags = flags};
	struct tx_handle h;

	begin(&h, nr + TX_ALLOC_EXTENT);
	ck_assert_int_eq(alloc_blocks(&h, goal, nr, &e.pblk, &e.nr_blocks), 0);
	ck_assert_int_eq(extent_insert(&h, inode, &e), 0);
	end(&h);
	for (uint32_t i = 0; i < e.nr_blocks; i++) {
		model[lblk + i].pblk = e.pblk + i;
		model[lblk + i].flags = flags;
	}
	return e.nr_blocks;
}

/* From LBLK on: how many blocks are one extent, or one hole. */
static uint32_t model_run(uint32_t lblk)
{
	uint32_t n = 1;

	while (lblk + n < NR_LBLK && model[lblk + n].flags == model[lblk].flags &&
		(model[lblk].pblk == 0 ? model[lblk + n].pblk == 0
				       : model[lblk + n].pblk == model[lblk].pblk + n))
		n++;
	return n;
}

static void check_map(void)
{
	uint64_t blocks = 0;
	struct extent e;

	for (uint32_t i = 0; i < NR_LBLK; i += e.nr_blocks) {
		ck_assert_int_eq(extent_map(m.t, inode, i, NR_LBLK - i, &e), 0);
		ck_assert_uint_eq(e.lblk, i);
		ck_assert_uint_eq(e.pblk, model[i].pblk);
		ck_assert_uint_eq(e.flags, model[i].flags);
		/* neighbours in two leaves stay two extents: never longer than the model's run */
		ck_assert_uint_le(e.nr_blocks, model_run(i));
		ck_assert_uint_ge(e.nr_blocks, 1);
		if (e.pblk == 0)
			ck_assert_uint_eq(e.nr_blocks, model_run(i));
		else
			blocks += e.nr_blocks;
	}
	ck_assert_uint_ge(inode->nr_blocks, blocks);
}

static void remove_range(uint32_t from, uint32_t to)
{
	bool more = true;

	while (more) {
		struct tx_handle h;

		begin(&h, 0);
		ck_assert_int_eq(extent_remove_some(&h, inode, from, to, &more), 0);
		end(&h);
	}
	for (uint32_t i = from; i < to; i++) {
		model[i].pblk = 0;
		model[i].flags = 0;
	}
}

static void flip(uint32_t lblk)
{
	struct tx_handle h;
	struct extent e;
	uint32_t skip, nr;

	ck_assert_int_eq(extent_map(m.t, inode, lblk, NR_LBLK, &e), 0);
	if (e.pblk == 0)
		return;
	skip = rnd(e.nr_blocks);
	nr = 1 + rnd(e.nr_blocks - skip);
	begin(&h, TX_ALLOC_EXTENT);
	if (e.flags & EXTENT_F_UNWRITTEN)
		ck_assert_int_eq(extent_convert(&h, inode, lblk + skip, nr), 0);
	else
		ck_assert_int_eq(extent_unwrite(&h, inode, lblk + skip, nr), 0);
	end(&h);
	for (uint32_t i = 0; i < nr; i++)
		model[lblk + skip + i].flags ^= EXTENT_F_UNWRITTEN;
}

static void random_change(void)
{
	uint32_t lblk = rnd(NR_LBLK), n;

	switch (rnd(10)) {
	case 0:
		n = rnd(rnd(4) == 0 ? 300 : 12);
		remove_range(lblk, lblk + n < NR_LBLK ? lblk + n : NR_LBLK);
		break;
	case 1:
	case 2:
	case 3:
		flip(lblk);
		break;
	default:
		if (model[lblk].pblk != 0)
			break;
		n = model_run(lblk);
		if (lblk > 0 && model[lblk - 1].pblk != 0 && rnd(2) == 0)
			add(lblk, 1 + rnd(n < 8 ? n : 8), model[lblk - 1].flags,
				model[lblk - 1].pblk + 1);
		else
			add(lblk, 1 + rnd(n < 5 ? n : 5), rnd(2),
				fs_group_start(m.fs, 0) + rnd(10000));
	}
}

START_TEST(extents_are_what_was_mapped)
{
	uint64_t before = free_blocks();
	struct extent last;

	for (int i = 0; i < 6000; i++) {
		random_change();
		if (i % 250 == 0)
			check_map();
	}
	check_map();
	ck_assert_int_eq(inode->fork_format, FORK_BTREE);
	ck_assert_uint_gt(inode->fork.btree.height, 0);
	ck_assert_int_eq(extent_last(m.t, inode, &last), 0);
	for (uint64_t i = last.lblk + last.nr_blocks; i < NR_LBLK; i++)
		ck_assert_uint_eq(model[i].pblk, 0);

	remove_range(0, NR_LBLK);
	check_map();
	ck_assert_int_eq(inode->fork_format, FORK_NONE);
	ck_assert_uint_eq(inode->nr_blocks, 0);
	ck_assert_int_eq(extent_last(m.t, inode, &last), -ENOENT);
	ck_assert_uint_eq(free_blocks(), before);
}
END_TEST

START_TEST(neighbours_on_disk_and_in_the_file_are_one_extent)
{
	struct extent e;
	uint64_t goal = 20000 % (m.fs->nr_blocks / 2);

	ck_assert_uint_eq(add(0, 4, 0, goal), 4);
	ck_assert_uint_eq(add(8, 4, 0, model[0].pblk + 8), 4);
	ck_assert_uint_eq(inode->fork_count, 2);
	ck_assert_uint_eq(add(4, 4, 0, model[0].pblk + 4), 4);
	ck_assert_uint_eq(inode->fork_count, 1);
	ck_assert_int_eq(extent_map(m.t, inode, 1, 100, &e), 0);
	ck_assert_uint_eq(e.nr_blocks, 11);
	ck_assert_uint_eq(e.pblk, model[0].pblk + 1);
}
END_TEST

START_TEST(an_extent_over_the_border_of_two_leaves_is_found_and_cut)
{
	struct extent e;
	uint32_t i;

	/* Every other block, so that nothing merges and leaves split; then take away the first extents of the second leaf, and
	 * map one run over where they were, which then changes in parts. */
	for (i = 0; i < 600; i += 2)
		add(i, 1, 0, 9000 + 2 * i);
	for (i = 100; i < 500; i += 2) {
		struct extent f;

		remove_range(i, i + 60);
		add(i + 1, 58, 0, 4000);
		for (uint32_t k = i + 1; k < i + 59; k += 7) {
			ck_assert_int_eq(extent_map(m.t, inode, k, 1, &f), 0);
			ck_assert_uint_eq(f.pblk, model[k].pblk);
		}
		flip(i + 1 + rnd(58));
		flip(i + 1 + rnd(58));
		remove_range(i + 1, i + 59);
	}
	check_map();
	ck_assert_int_eq(extent_last(m.t, inode, &e), 0);
	ck_assert_uint_eq(e.lblk, 598);
}
END_TEST

START_TEST(a_file_written_from_front_to_back_has_full_leaves)
{
	uint32_t n = 4 * EXTENT_LEAF_RECORDS;

	for (uint32_t i = 0; i < n; i++)
		add(2 * i, 1, 0, 5000 + 4 * i);
	ck_assert_int_eq(inode->fork_format, FORK_BTREE);
	ck_assert_uint_le(
		inode->nr_blocks, n + 4 + 1 + 1); /* leaves, a root, and one to go on with */
}
END_TEST

START_TEST(an_overlap_is_refused)
{
	struct extent e = {.lblk = 3, .nr_blocks = 4};
	struct tx_handle h;

	add(5, 2, 0, 5000);
	begin(&h, 20);
	e.pblk = model[5].pblk + 100;
	ck_assert_int_eq(extent_insert(&h, inode, &e), -EUCLEAN);
	ck_assert_int_eq(extent_convert(&h, inode, 5, 1), -EINVAL); /* not unwritten */
	ck_assert_int_eq(extent_convert(&h, inode, 0, 1), -EINVAL); /* a hole */
	end(&h);
}
END_TEST

START_TEST(only_blocks_for_data_may_be_mapped)
{
	const struct fs *fs = m.fs;
	uint64_t data = fs->journal_start + fs->journal_blocks;

	ck_assert(extent_blocks_ok(fs, data, 1));
	ck_assert(extent_blocks_ok(fs, fs->nr_blocks - 1, 1));
	ck_assert(!extent_blocks_ok(fs, data, 0));
	ck_assert(!extent_blocks_ok(fs, 0, 1));
	ck_assert(!extent_blocks_ok(fs, 1, 1));
	ck_assert(!extent_blocks_ok(fs, fs->journal_start, 1));
	ck_assert(!extent_blocks_ok(fs, data - 1, 2));
	ck_assert(!extent_blocks_ok(fs, fs->journal_start - 1, 1));
	ck_assert(!extent_blocks_ok(fs, fs->nr_blocks - 1, 2));
	ck_assert(!extent_blocks_ok(fs, fs->nr_blocks, 1));
	ck_assert(!extent_blocks_ok(fs, UINT64_MAX, 2));
	ck_assert(!extent_blocks_ok(fs, data, UINT64_MAX));
}
END_TEST

static const struct {
	const char *what;
	uint32_t record;
	struct extent e;
} breaks[] = {
	{"no blocks", 3, {.lblk = 6, .pblk = 9000, .nr_blocks = 0}},
	{"too many blocks", 3, {.lblk = 6, .pblk = 9000, .nr_blocks = 0x80000000U}},
	{"an unknown flag", 3, {.lblk = 6, .pblk = 9000, .nr_blocks = 1, .flags = 2}},
	{"a block of the tables", 3, {.lblk = 6, .pblk = 2, .nr_blocks = 1}},
	{"a block past the end", 3, {.lblk = 6, .pblk = 1ULL << 40, .nr_blocks = 1}},
	{"past the end of files", 3, {.lblk = UINT64_MAX, .pblk = 9000, .nr_blocks = 1}},
	{"an overlap", 3, {.lblk = 6, .pblk = 9000, .nr_blocks = 5}},
	{"disorder", 3, {.lblk = 1, .pblk = 9000, .nr_blocks = 1}},
};

START_TEST(a_leaf_that_breaks_the_format_is_refused) /* looped over breaks */
{
	struct btree bt = {inode, BT_EXTENT_LEAF, BT_EXTENT_NODE};
	struct btree_path path;
	struct tx_handle h;
	bool more;

	for (uint32_t i = 0; i < 20; i++)
		add(2 * i, 1, 0, 9000 + 2 * i);
	ck_assert_int_eq(btree_find(m.t, &bt, 0, &path), 0);
	begin(&h, TX_ALLOC_EXTENT);
	ck_assert_int_eq(tx_join(&h, path.leaf), 0);
	extent_encode(&breaks[_i].e,
		&((struct extent_leaf_disk *)path.leaf->data)->rec[breaks[_i].record]);
	btree_path_put(&path);
	ck_assert_msg(extent_remove_some(&h, inode, 0, LBLK_END, &more) == -EUCLEAN, "%s",
		breaks[_i].what);
	ck_assert_int_eq(extent_insert(&h, inode,
				 &(struct extent){.lblk = 50, .pblk = 9500, .nr_blocks = 1}),
		-EUCLEAN);
	end(&h);
}
END_TEST

START_TEST(a_leaf_with_an_impossible_count_is_refused)
{
	struct btree bt = {inode, BT_EXTENT_LEAF, BT_EXTENT_NODE};
	uint16_t nr = (uint16_t[]){0, EXTENT_LEAF_RECORDS + 1, 0xffff}[_i];
	struct btree_path path;
	struct tx_handle h;
	struct extent e;

	for (uint32_t i = 0; i < 20; i++)
		add(2 * i, 1, 0, 9000 + 2 * i);
	ck_assert_int_eq(btree_find(m.t, &bt, 0, &path), 0);
	begin(&h, TX_ALLOC_EXTENT);
	ck_assert_int_eq(tx_join(&h, path.leaf), 0);
	((struct extent_leaf_disk *)path.leaf->data)->nr = le16_of(nr);
	btree_path_put(&path);
	ck_assert_int_eq(extent_map(m.t, inode, 4, 1, &e), -EUCLEAN);
	ck_assert_int_eq(extent_last(m.t, inode, &e), -EUCLEAN);
	end(&h);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("extent");
	TCase *tc = tcase_create("extents");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, extents_are_what_was_mapped);
	tcase_add_test(tc, neighbours_on_disk_and_in_the_file_are_one_extent);
	tcase_add_test(tc, an_extent_over_the_border_of_two_leaves_is_found_and_cut);
	tcase_add_test(tc, a_file_written_from_front_to_back_has_full_leaves);
	tcase_add_test(tc, an_overlap_is_refused);
	tcase_add_test(tc, only_blocks_for_data_may_be_mapped);
	tcase_add_loop_test(tc, a_leaf_that_breaks_the_format_is_refused, 0,
		sizeof(breaks) / sizeof(breaks[0]));
	tcase_add_loop_test(tc, a_leaf_with_an_impossible_count_is_refused, 0, 3);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return run_suite(suite());
}
