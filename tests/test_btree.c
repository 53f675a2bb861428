/* test_btree.c - trees of leaves against a sorted list, on a filesystem in memory; and nodes that
 * lie. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "alloc.h"
#include "btree.h"
#include "inode.h"
#include "memfs.h"

#define LEAVES      5000U
#define LEAVES_TALL 64000U /* more than two levels of full nodes lead to */

/* A leaf here holds one key, which says which leaf it is. */
struct test_leaf {
	struct block_head head;
	le64 key;
};

static struct memfs m;
static struct inode *inode;
static struct btree tree;
static struct tx_handle handle;

static void begin(void)
{
	MUST(tx_begin(m.t, TX_JOIN_NAMES, TX_ALLOC_NAMES, &handle) == 0);
	MUST(pthread_rwlock_wrlock(&inode->lock) == 0);
}

static void end(void)
{
	MUST(inode_update(&handle, inode, false) == 0);
	pthread_rwlock_unlock(&inode->lock);
	tx_end(&handle);
}

static void open_mib(unsigned mib)
{
	memfs_open(&m, mib);
	ck_assert_int_eq(tx_begin(m.t, TX_JOIN_NAMES, TX_ALLOC_NAMES, &handle), 0);
	ck_assert_int_eq(inode_create(&handle, FS_ROOT_INO, S_IFREG | 0600, 0, 0, &inode), 0);
	pthread_rwlock_unlock(&inode->lock);
	tx_end(&handle);
	tree = (struct btree){inode, BT_EXTENT_LEAF, BT_EXTENT_NODE};
}

static void setup(void)
{
	open_mib(64);
}

static void setup_tall(void)
{
	open_mib(512);
}

static void teardown(void)
{
	inode_put(m.t, inode);
	memfs_close(&m);
}

static uint64_t leaf_key(const struct buf *b)
{
	return le64_get(((struct test_leaf *)b->data)->key);
}

static void set_leaf_key(struct buf *b, uint64_t key)
{
	((struct test_leaf *)b->data)->key = le64_of(key);
}

static void plant(void) /* the first leaf, for key 0 */
{
	struct buf *b;

	begin();
	ck_assert_int_eq(btree_create(&handle, &tree, &b), 0);
	set_leaf_key(b, 0);
	cache_put(b);
	end();
}

/* A leaf that follows a removed one may be found for keys below its own; then it takes KEY, and the
 * new leaf its old key. */
static void add_locked(uint64_t key)
{
	struct btree_path path;
	uint64_t upper = key;
	struct buf *b;

	MUST(btree_find(m.t, &tree, key, &path) == 0);
	if (leaf_key(path.leaf) > key) {
		upper = leaf_key(path.leaf);
		MUST(tx_join(&handle, path.leaf) == 0);
		set_leaf_key(path.leaf, key);
	}
	MUST(btree_add_leaf(&handle, &tree, &path, upper, &b) == 0);
	set_leaf_key(b, upper);
	cache_put(b);
	btree_path_put(&path);
}

static void add(uint64_t key)
{
	begin();
	add_locked(key);
	end();
}

static void drop(uint64_t key)
{
	struct btree_path path;

	begin();
	MUST(btree_find(m.t, &tree, key, &path) == 0);
	MUST(leaf_key(path.leaf) == key);
	MUST(btree_remove_leaf(&handle, &tree, &path) == 0);
	MUST(path.leaf == NULL);
	end();
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The tree's leaves are KEYS (sorted), forwards and backwards, and each is found by its key. */
static void expect_leaves(const uint64_t *keys, unsigned nr)
{
	struct btree_path path;
	uint64_t lo, hi;

	MUST(btree_find(m.t, &tree, 0, &path) == 0);
	for (unsigned i = 0; i < nr; i++) {
		MUST(leaf_key(path.leaf) == keys[i]);
		btree_leaf_range(&path, &lo, &hi);
		MUST(lo <= keys[i] && (i == 0 ? lo == 0 : lo > keys[i - 1]));
		MUST(hi > keys[i] && hi <= (i + 1 < nr ? keys[i + 1] : UINT64_MAX));
		MUST(btree_next_leaf(m.t, &tree, &path) == (i + 1 < nr ? 0 : -ENOENT));
	}
	for (unsigned i = nr; i-- > 0;) {
		MUST(leaf_key(path.leaf) == keys[i]);
		MUST(btree_prev_leaf(m.t, &tree, &path) == (i > 0 ? 0 : -ENOENT));
	}
	btree_path_put(&path);
	for (unsigned i = 0; i < nr; i++) {
		MUST(btree_find(m.t, &tree, keys[i], &path) == 0);
		MUST(leaf_key(path.leaf) == keys[i]);
		btree_path_put(&path);
	}
}

static void shuffle(uint64_t *a, unsigned nr, unsigned seed)
{
	srand(seed);
	for (unsigned i = nr; i-- > 1;) {
		unsigned k = (unsigned)rand() % (i + 1);
		uint64_t x = a[i];

		a[i] = a[k];
		a[k] = x;
	}
}

static uint64_t *numbers(unsigned nr) /* 0, 10, 20, ... */
{
	uint64_t *a = malloc(nr * sizeof(*a));

	ck_assert_ptr_nonnull(a);
	for (unsigned i = 0; i < nr; i++)
		a[i] = i * 10ULL;
	return a;
}

START_TEST(leaves_added_in_rising_order_fill_the_nodes)
{
	uint64_t *keys = numbers(LEAVES_TALL);

	plant();
	for (unsigned i = 1; i < LEAVES_TALL;) {
		begin();
		for (unsigned k = 0; k < 8 && i < LEAVES_TALL;
			k++) /* well within a handle's blocks */
			add_locked(keys[i++]);
		end();
	}
	expect_leaves(keys, LEAVES_TALL);
	ck_assert_uint_eq(inode->fork.btree.height, 3);
	/* 255 full nodes above the leaves; two above those; the root */
	ck_assert_uint_eq(inode->nr_blocks,
		LEAVES_TALL + (LEAVES_TALL + NODE_RECORDS - 1) / NODE_RECORDS + 3);
	free(keys);
}
END_TEST

START_TEST(leaves_added_in_any_order_are_found)
{
	uint64_t *keys = numbers(LEAVES);

	plant();
	shuffle(keys + 1, LEAVES - 1, 1);
	for (unsigned i = 1; i < LEAVES; i++)
		add(keys[i]);
	qsort(keys, LEAVES, sizeof(keys[0]), by_number);
	expect_leaves(keys, LEAVES);
	free(keys);
}
END_TEST

START_TEST(removing_in_any_order_shrinks_the_tree_to_nothing)
{
	uint64_t *keys = numbers(LEAVES);

	plant();
	for (unsigned i = 1; i < LEAVES; i++)
		add(keys[i]);
	shuffle(keys, LEAVES, 2);
	for (unsigned left = LEAVES; left > 0; left--) {
		drop(keys[left - 1]);
		if (left == LEAVES / 2 || left == 1000 || left == 10) {
			uint64_t *rest = numbers(left - 1);

			memcpy(rest, keys, (left - 1) * sizeof(rest[0]));
			qsort(rest, left - 1, sizeof(rest[0]), by_number);
			expect_leaves(rest, left - 1);
			free(rest);
		}
		if (left == 2) /* one leaf is left, and perhaps a node that nobody looked into */
			ck_assert_uint_le(inode->fork.btree.height, 1);
	}
	ck_assert_uint_eq(inode->nr_blocks, 0);
	ck_assert_uint_eq(inode->fork_format, FORK_NONE);
	free(keys);
}
END_TEST

/* Every block that the tree took is given back: so a second tree of the same size fits where the
 * first was. */
START_TEST(a_removed_tree_gives_all_its_blocks_back)
{
	struct fs_statfs before, after;
	uint64_t *keys = numbers(LEAVES);

	ck_assert_int_eq(fs_sync(m.t), 0);
	fs_statfs(m.fs, &before);
	plant();
	for (unsigned i = 1; i < LEAVES; i++)
		add(keys[i]);
	for (unsigned i = 0; i < LEAVES; i++)
		drop(keys[i]);
	ck_assert_int_eq(fs_sync(m.t), 0);
	fs_statfs(m.fs, &after);
	ck_assert_uint_eq(after.free_blocks, before.free_blocks);
	free(keys);
}
END_TEST

START_TEST(a_mix_of_adding_and_removing_matches_a_list)
{
	enum { RANGE = 3000, STEPS = 10000 };
	static bool there[RANGE];
	uint64_t *keys = numbers(RANGE);
	unsigned nr = 0;

	srand(3);
	memset(there, 0, sizeof(there));
	there[0] = true;
	plant();
	for (unsigned i = 0; i < STEPS; i++) {
		unsigned k = 1 + (unsigned)rand() % (RANGE - 1);

		if (there[k])
			drop(k * 10ULL);
		else
			add(k * 10ULL);
		there[k] = !there[k];
	}
	for (unsigned k = 0; k < RANGE; k++)
		if (there[k])
			keys[nr++] = k * 10ULL;
	expect_leaves(keys, nr);
	free(keys);
}
END_TEST

START_TEST(a_leaf_cannot_be_added_for_a_key_outside_the_range)
{
	struct btree_path path;
	struct buf *b;

	plant();
	add(100);
	add(200);
	begin();
	ck_assert_int_eq(btree_find(m.t, &tree, 150, &path), 0);
	ck_assert_int_eq(btree_add_leaf(&handle, &tree, &path, 100, &b), -EUCLEAN);
	ck_assert_int_eq(btree_add_leaf(&handle, &tree, &path, 200, &b), -EUCLEAN);
	btree_path_put(&path);
	end();
}
END_TEST

/* A tree of height 1 whose root node is changed by LIE; then it must be refused. */
static struct node_disk *root_node(struct btree_path *path)
{
	plant();
	for (unsigned i = 1; i < 100; i++)
		add(i * 10ULL);
	ck_assert_int_eq(btree_find(m.t, &tree, 555, path), 0);
	return (struct node_disk *)path->node[0]->data;
}

static void expect_refused(struct btree_path *path)
{
	btree_path_put(path);
	ck_assert_int_eq(btree_find(m.t, &tree, 555, path), -EUCLEAN);
	ck_assert_ptr_null(path->leaf);
	ck_assert_ptr_null(path->node[0]);
}

START_TEST(a_node_without_records_is_refused)
{
	struct btree_path path;

	root_node(&path)->nr = le16_of(0);
	expect_refused(&path);
}
END_TEST

START_TEST(a_node_with_too_many_records_is_refused)
{
	struct btree_path path;

	root_node(&path)->nr = le16_of(NODE_RECORDS + 1);
	expect_refused(&path);
}
END_TEST

START_TEST(a_node_of_another_level_is_refused)
{
	struct btree_path path;

	root_node(&path)->level = le16_of(2);
	expect_refused(&path);
}
END_TEST

START_TEST(a_node_with_keys_out_of_order_is_refused)
{
	struct btree_path path;

	root_node(&path)->rec[55].key =
		le64_of(_i == 0 ? 1 : 100000); /* the search for 555 meets it */
	expect_refused(&path);
}
END_TEST

START_TEST(a_child_outside_the_filesystem_is_refused)
{
	struct btree_path path;
	struct node_disk *n = root_node(&path);

	n->rec[path.index[0]].child = le64_of(_i == 0 ? 0 : m.fs->nr_blocks);
	expect_refused(&path);
}
END_TEST

START_TEST(a_child_that_is_the_node_itself_is_refused)
{
	struct btree_path path;
	struct node_disk *n = root_node(&path);

	n->rec[path.index[0]].child = le64_of(path.node[0]->block);
	expect_refused(&path);
}
END_TEST

START_TEST(a_tree_too_high_is_refused)
{
	struct btree_path path;

	plant();
	inode->fork.btree.height = BTREE_HEIGHT_MAX + 1;
	ck_assert_int_eq(btree_find(m.t, &tree, 0, &path), -EUCLEAN);
}
END_TEST

static Suite *btree_suite(void)
{
	Suite *s = suite_create("btree");
	TCase *grow = tcase_create("grow and shrink"), *tall = tcase_create("tall"),
	      *lies = tcase_create("lies");

	tcase_set_timeout(grow, 60);
	tcase_add_checked_fixture(grow, setup, teardown);
	tcase_add_test(grow, leaves_added_in_any_order_are_found);
	tcase_add_test(grow, removing_in_any_order_shrinks_the_tree_to_nothing);
	tcase_add_test(grow, a_removed_tree_gives_all_its_blocks_back);
	tcase_add_test(grow, a_mix_of_adding_and_removing_matches_a_list);
	suite_add_tcase(s, grow);
	tcase_set_timeout(tall, 60);
	tcase_add_checked_fixture(tall, setup_tall, teardown);
	tcase_add_test(tall, leaves_added_in_rising_order_fill_the_nodes);
	suite_add_tcase(s, tall);
	tcase_add_checked_fixture(lies, setup, teardown);
	tcase_add_test(lies, a_leaf_cannot_be_added_for_a_key_outside_the_range);
	tcase_add_test(lies, a_node_without_records_is_refused);
	tcase_add_test(lies, a_node_with_too_many_records_is_refused);
	tcase_add_test(lies, a_node_of_another_level_is_refused);
	tcase_add_loop_test(lies, a_node_with_keys_out_of_order_is_refused, 0, 2);
	tcase_add_loop_test(lies, a_child_outside_the_filesystem_is_refused, 0, 2);
	tcase_add_test(lies, a_child_that_is_the_node_itself_is_refused);
	tcase_add_test(lies, a_tree_too_high_is_refused);
	suite_add_tcase(s, lies);
	return s;
}

int main(void)
{
	return run_suite(btree_suite());
}
