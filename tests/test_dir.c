/* test_dir.c - a directory's entries against a hash table; names of one hash; leaves and nodes that
 * lie. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#define XXH_INLINE_ALL
#include <xxhash.h>
#include "dir.h"
#include "memfs.h"
#include "table.h"

struct known { /* a name that the directory has */
	char name[FS_NAME_MAX + 1];
	uint64_t ino;
	uint64_t cookie;
	uint8_t type;
	bool seen;
	UT_hash_handle hh;
};

static struct memfs m;
static struct inode *dir;
static struct tx_handle handle;
static struct known *known; /* the model */

static void begin(void)
{
	MUST(tx_begin(m.t, TX_JOIN_NAMES, TX_ALLOC_NAMES, &handle) == 0);
	MUST(pthread_rwlock_wrlock(&dir->lock) == 0);
}

static void end(void)
{
	MUST(inode_update(&handle, dir, false) == 0);
	pthread_rwlock_unlock(&dir->lock);
	tx_end(&handle);
}

static void new_dir(void)
{
	ck_assert_int_eq(tx_begin(m.t, TX_JOIN_NAMES, TX_ALLOC_NAMES, &handle), 0);
	ck_assert_int_eq(inode_create(&handle, FS_ROOT_INO, S_IFDIR | 0700, 0, 0, &dir), 0);
	pthread_rwlock_unlock(&dir->lock);
	tx_end(&handle);
}

static void setup(void)
{
	known = NULL;
	memfs_open(&m, 64);
	new_dir();
}

static void forget(struct known *k)
{
	HASH_DEL(known, k);
	free(k);
}

static void forget_all(void)
{
	struct known *k, *next;

	HASH_ITER (hh, known, k, next)
		forget(k);
}

static void teardown(void)
{
	forget_all();
	inode_put(m.t, dir);
	memfs_close(&m);
}

static int insert(const char *name, uint64_t ino, uint8_t type)
{
	int err;

	begin();
	err = dir_insert(&handle, dir, name, ino, type);
	end();
	return err;
}

static int take(const char *name)
{
	int err;

	begin();
	err = dir_remove(&handle, dir, name);
	end();
	return err;
}

static int replace(const char *name, uint64_t ino, uint8_t type)
{
	int err;

	begin();
	err = dir_replace(&handle, dir, name, ino, type);
	end();
	return err;
}

static int look(const char *name, struct dir_entry *e)
{
	return dir_lookup(m.t, dir, name, e);
}

static struct known *find(const char *name)
{
	struct known *k;

	HASH_FIND_STR(known, name, k);
	return k;
}

/* Insert, and tell the model. */
static struct known *add(const char *name, uint64_t ino)
{
	struct known *k = calloc(1, sizeof(*k));
	struct dir_entry e;

	MUST(k != NULL);
	snprintf(k->name, sizeof(k->name), "%s", name);
	k->ino = ino;
	k->type = DT_REG;
	MUST(insert(name, ino, DT_REG) == 0);
	MUST(look(name, &e) == 0);
	k->cookie = e.cookie;
	HASH_ADD_STR(known, name, k);
	return k;
}

static void drop(struct known *k)
{
	MUST(take(k->name) == 0);
	forget(k);
}

/* What the directory and the model hold is the same: by name, and by a walk in rising order of
 * cookies. */
static void expect_known(void)
{
	struct dir_cursor c = {.at_leaf = false};
	struct dir_entry e;
	struct known *k, *next;
	uint64_t last = 2;
	unsigned nr = 0;
	int err;

	HASH_ITER (hh, known, k, next) {
		MUST(look(k->name, &e) == 0);
		MUST(e.ino == k->ino);
		MUST(e.type == k->type);
		MUST(e.cookie == k->cookie);
	}
	while ((err = dir_next(m.t, dir, &c, last, &e)) == 0) {
		MUST(e.cookie > last);
		last = e.cookie;
		k = find(e.name);
		MUST(k != NULL);
		MUST(e.ino == k->ino);
		MUST(e.name_bytes == strlen(k->name));
		nr++;
	}
	MUST(err == -ENOENT);
	MUST(nr == HASH_COUNT(known));
	MUST(dir->size == dir->nr_blocks * BLOCK_BYTES);
	MUST(dir_is_empty(dir) == (known == NULL));
	dir_cursor_put(&c);
}

static const char *random_name(void)
{
	static char name[FS_NAME_MAX + 1];
	unsigned bytes =
		rand() % 4 != 0 ? 1 + (unsigned)rand() % 30 : 1 + (unsigned)rand() % FS_NAME_MAX;

	for (unsigned i = 0; i < bytes; i++)
		name[i] = (char)('0' + rand() % 70);
	for (unsigned i = 0; i < bytes; i++)
		if (name[i] == '/')
			name[i] = '_';
	name[bytes] = '\0';
	return name;
}

/* One of the model's, at random enough. */
static struct known *any_known(void)
{
	struct known *k = known;

	for (int skip = rand() % 200; skip > 0 && k != NULL; skip--)
		k = k->hh.next;
	return k != NULL ? k : known;
}

/* Names of 32 bytes that all have one 64-bit hash. XXH3 multiplies two halves of 16 bytes, each
 * mixed with its secret and the seed: with a seed that makes the first half 0 for our first 8
 * bytes, the next 8 do not count. */
#define MAGIC "collide:"
static void make_names_collide(void)
{
	uint64_t magic, secret;

	memcpy(&magic, MAGIC, sizeof(magic));
	memcpy(&secret, XXH3_kSecret, sizeof(secret));
	m.fs->hash_seed = magic - secret;
}

static const char *colliding(unsigned i)
{
	static char name[64];

	snprintf(name, sizeof(name), MAGIC "%08uand all the rest", i);
	ck_assert_uint_eq(strlen(name), 32);
	return name;
}

START_TEST(an_empty_directory_finds_nothing_and_has_no_blocks)
{
	struct dir_cursor c = {.at_leaf = false};
	struct dir_entry e;

	ck_assert_int_eq(look("a", &e), -ENOENT);
	ck_assert_int_eq(take("a"), -ENOENT);
	ck_assert_int_eq(replace("a", 5, DT_REG), -ENOENT);
	ck_assert_int_eq(dir_next(m.t, dir, &c, 0, &e), -ENOENT);
	ck_assert_uint_eq(dir->nr_blocks, 0);
	ck_assert(dir_is_empty(dir));
}
END_TEST

START_TEST(a_name_is_there_once)
{
	struct dir_entry e;

	ck_assert_int_eq(insert("a", 5, DT_REG), 0);
	ck_assert_int_eq(insert("a", 6, DT_DIR), -EEXIST);
	ck_assert_int_eq(look("a", &e), 0);
	ck_assert_uint_eq(e.ino, 5);
	ck_assert_uint_eq(e.type, DT_REG);
	ck_assert_str_eq(e.name, "a");
	ck_assert_int_eq(look("A", &e), -ENOENT);
	ck_assert_int_eq(look("aa", &e), -ENOENT);
}
END_TEST

START_TEST(names_of_impossible_length_are_refused)
{
	char name[FS_NAME_MAX + 2];
	struct dir_entry e;

	memset(name, 'x', sizeof(name));
	name[FS_NAME_MAX + 1] = '\0';
	ck_assert_int_eq(insert(name, 5, DT_REG), -ENAMETOOLONG);
	ck_assert_int_eq(insert("", 5, DT_REG), -EINVAL);
	name[FS_NAME_MAX] = '\0';
	ck_assert_int_eq(insert(name, 5, DT_REG), 0);
	ck_assert_int_eq(look(name, &e), 0);
	ck_assert_str_eq(e.name, name);
}
END_TEST

START_TEST(replace_keeps_the_cookie)
{
	struct dir_entry before, after;

	ck_assert_int_eq(insert("a", 5, DT_REG), 0);
	ck_assert_int_eq(look("a", &before), 0);
	ck_assert_int_eq(replace("a", 6, DT_DIR), 0);
	ck_assert_int_eq(look("a", &after), 0);
	ck_assert_uint_eq(after.cookie, before.cookie);
	ck_assert_uint_eq(after.ino, 6);
	ck_assert_uint_eq(after.type, DT_DIR);
}
END_TEST

START_TEST(random_changes_match_a_hash_table)
{
	enum { STEPS = 12000 };

	srand((unsigned)_i);
	for (unsigned i = 0; i < STEPS; i++) {
		int what = rand() % 100, grow = i / 3000 % 2 == 0 ? 70 : 20;
		const char *name = random_name();

		if (what < grow) {
			if (find(name) != NULL)
				MUST(insert(name, 7, DT_REG) == -EEXIST);
			else
				add(name, 10 + i);
		} else if (known != NULL && what < 90) {
			drop(any_known());
		} else if (known != NULL) {
			struct known *k = any_known();

			k->ino = 10 + i;
			k->type = DT_LNK;
			MUST(replace(k->name, k->ino, k->type) == 0);
		}
		if (i % 2000 == 0)
			expect_known();
	}
	expect_known();
	while (known != NULL)
		drop(known);
	MUST(dir->nr_blocks == 0);
}
END_TEST

START_TEST(entries_outlive_a_remount)
{
	uint64_t ino = dir->ino;
	char name[32];

	atomic_fetch_add(&dir->nlookup, 1);
	for (unsigned i = 0; i < 3000; i++) {
		snprintf(name, sizeof(name), "file-%u", i);
		add(name, 10 + i);
	}
	for (unsigned i = 0; i < 3000; i += 3) {
		snprintf(name, sizeof(name), "file-%u", i);
		drop(find(name));
	}
	inode_put(m.t, dir);
	fs_forget(m.t, ino, 1);
	memfs_remount(&m);
	ck_assert_int_eq(inode_get(m.t, ino, &dir), 0);
	expect_known();
}
END_TEST

START_TEST(names_of_one_hash_are_told_apart)
{
	enum { NR = 500 }; /* several leaves of them */
	struct dir_entry e;

	make_names_collide();
	for (unsigned i = 0; i < NR; i++) {
		struct known *k = add(colliding(i), 10 + i);

		ck_assert_uint_eq(k->cookie & DIR_KEY_SEQ_MASK, i);
	}
	ck_assert_uint_gt(dir->nr_blocks, 5);
	ck_assert_int_eq(look(colliding(NR), &e), -ENOENT);
	ck_assert_int_eq(insert(colliding(NR - 1), 5, DT_REG), -EEXIST);
	expect_known();
}
END_TEST

START_TEST(a_number_of_a_hash_is_used_again)
{
	enum { NR = 300 };
	uint64_t cookie;

	make_names_collide();
	for (unsigned i = 0; i < NR; i++)
		add(colliding(i), 10 + i);
	for (unsigned i = 3; i < NR; i += 40) {
		cookie = find(colliding(i))->cookie;
		drop(find(colliding(i)));
		expect_known();
		ck_assert_uint_eq(add(colliding(NR + i), 5)->cookie, cookie);
	}
	expect_known();
}
END_TEST

START_TEST(the_last_number_of_a_hash_is_the_end)
{
	make_names_collide();
	for (unsigned i = 0; i <= DIR_KEY_SEQ_MASK; i++)
		MUST(insert(colliding(i), 10 + i, DT_REG) == 0);
	MUST(insert(colliding(99999), 5, DT_REG) == -ENOSPC);
	MUST(insert("of another hash", 5, DT_REG) == 0);
	MUST(take(colliding(1234)) == 0);
	MUST(insert(colliding(99999), 5, DT_REG) == 0);
}
END_TEST

/* What readdir promises: a name that is there from the walk's beginning to its end is seen once,
 * whatever is put and taken beside it. */
START_TEST(a_walk_sees_each_lasting_name_once_while_others_change)
{
	enum { LASTING = 2000 };
	struct dir_entry e;
	struct known *k, *next;
	uint64_t cookie = 0;
	char name[64];

	srand(5);
	for (unsigned i = 0; i < LASTING; i++) {
		snprintf(name, sizeof(name), "lasting-%u", i);
		add(name, 10 + i);
		snprintf(name, sizeof(name), "early-%u", i);
		ck_assert_int_eq(insert(name, 5, DT_REG), 0);
	}
	for (unsigned i = 0;; i++) {
		struct dir_cursor c = {
			.at_leaf = false}; /* a new one each time, as each readdir call has */
		int err = 0;

		for (unsigned j = 0; j < 10 && err == 0; j++) {
			err = dir_next(m.t, dir, &c, cookie, &e);
			if (err == 0) {
				k = find(e.name);
				ck_assert(k == NULL || !k->seen);
				if (k != NULL)
					k->seen = true;
				cookie = e.cookie;
			}
		}
		dir_cursor_put(&c);
		if (err == -ENOENT)
			break;
		ck_assert_int_eq(err, 0);
		snprintf(name, sizeof(name), "early-%u", (unsigned)rand() % LASTING);
		take(name);
		for (unsigned j = 0; j < 10; j++) {
			snprintf(name, sizeof(name), "late-%u-%u-%032d", i, j, 0);
			ck_assert_int_eq(insert(name, 5, DT_REG), 0);
		}
	}
	HASH_ITER (hh, known, k, next)
		ck_assert(k->seen);
}
END_TEST

START_TEST(a_walk_goes_on_from_any_cookie)
{
	struct dir_entry e, again;
	struct dir_cursor c = {.at_leaf = false};
	uint64_t last = 0;
	char name[32];

	for (unsigned i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		add(name, 10 + i);
	}
	while (dir_next(m.t, dir, &c, last, &e) == 0) {
		struct dir_cursor fresh = {.at_leaf = false};

		ck_assert_int_eq(dir_next(m.t, dir, &fresh, last, &again), 0);
		ck_assert_str_eq(again.name, e.name);
		dir_cursor_put(&fresh);
		ck_assert_int_eq(dir_next(m.t, dir, &fresh, e.cookie - 1, &again),
			0); /* a cookie that nobody has */
		ck_assert_str_eq(again.name, e.name);
		dir_cursor_put(&fresh);
		last = e.cookie;
	}
	dir_cursor_put(&c);
	ck_assert_int_eq(dir_next(m.t, dir, &c, UINT64_MAX, &e), -ENOENT);
}
END_TEST

START_TEST(a_thinned_out_directory_gives_blocks_back)
{
	enum { NR = 4000 };
	uint64_t full;
	char name[32];

	for (unsigned i = 0; i < NR; i++) {
		snprintf(name, sizeof(name), "name-number-%u", i);
		add(name, 10 + i);
	}
	full = dir->nr_blocks;
	for (unsigned i = 0; i < NR; i++) {
		snprintf(name, sizeof(name), "name-number-%u", i);
		if (i % 50 != 0)
			drop(find(name));
	}
	expect_known();
	ck_assert_uint_lt(dir->nr_blocks, full / 5);
}
END_TEST

/* Deleting a name and putting one in its place, for ever, must not run out of room in the heap. */
START_TEST(dead_bytes_are_used_again)
{
	char name[64];

	for (unsigned i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "%040u", i);
		add(name, 10 + i);
	}
	ck_assert_uint_eq(dir->nr_blocks, 1);
	for (unsigned i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "%040u", i);
		drop(find(name));
		snprintf(name, sizeof(name), "%040u", i + 50);
		add(name, 10 + i);
	}
	ck_assert_uint_eq(dir->nr_blocks, 1);
	expect_known();
}
END_TEST

/* ---- lies ---- */

static struct dir_leaf_disk *only_leaf(struct buf **b)
{
	struct btree bt = {dir, BT_DIR_LEAF, BT_DIR_NODE};
	struct btree_path path;

	ck_assert_int_eq(btree_find(m.t, &bt, 1, &path), 0);
	ck_assert_uint_eq(path.height, 0);
	*b = path.leaf;
	return (struct dir_leaf_disk *)path.leaf->data;
}

static void set16(le16 *field, unsigned value)
{
	*field = le16_of((uint16_t)value);
}

enum lie {
	NR_ZERO,
	NR_BIG,
	HEAP_IN_SLOTS,
	HEAP_PAST_END,
	DEAD_BIG,
	SLOT_LOW,
	SLOT_ODD,
	SLOT_HIGH,
	NAME_EMPTY,
	NAME_LONG,
	SLASH,
	ZERO_BYTE,
	INO_ZERO,
	KEY_LOW,
	KEY_ORDER,
	KEY_NEGATIVE,
	NR_LIES
};

static void tell(struct dir_leaf_disk *d, enum lie lie)
{
	unsigned mid = le16_get(d->nr) / 2;
	struct dirent_disk *e = (struct dirent_disk *)((uint8_t *)d + le16_get(d->slot[mid]));

	switch (lie) {
	case NR_ZERO:
		set16(&d->nr, 0);
		break;
	case NR_BIG:
		set16(&d->nr, 2012);
		break;
	case HEAP_IN_SLOTS:
		set16(&d->heap_start, 72);
		break;
	case HEAP_PAST_END:
		set16(&d->heap_start, 4104);
		break;
	case DEAD_BIG:
		set16(&d->heap_dead, 8);
		break;
	case SLOT_LOW:
		set16(&d->slot[mid], 0);
		break;
	case SLOT_ODD:
		set16(&d->slot[mid], le16_get(d->slot[mid]) + 1U);
		break;
	case SLOT_HIGH:
		set16(&d->slot[mid], 4088);
		break;
	case NAME_EMPTY:
		e->name_bytes = 0;
		break;
	case NAME_LONG: /* there are so few entries that it passes the block's end */
		e->name_bytes = 255;
		break;
	case SLASH:
		e->name[1] = '/';
		break;
	case ZERO_BYTE:
		e->name[1] = '\0';
		break;
	case INO_ZERO:
		e->ino = le64_of(0);
		break;
	case KEY_LOW:
		e->key = le64_of(4095);
		break;
	case KEY_ORDER:
		e->key = le64_of((1ULL << 63) - 1);
		break;
	case KEY_NEGATIVE:
		e->key = le64_of(1ULL << 63);
		break;
	case NR_LIES:
		break;
	}
}

START_TEST(a_lying_leaf_is_refused)
{
	struct dir_cursor c = {.at_leaf = false};
	struct dir_leaf_disk *d;
	struct dir_entry e;
	uint64_t last = 0;
	struct buf *b;
	char name[32];
	int err;

	for (unsigned i = 0; i < 11; i++) {
		snprintf(name, sizeof(name), "name-%u", i);
		ck_assert_int_eq(insert(name, 10 + i, DT_REG), 0);
	}
	d = only_leaf(&b);
	tell(d, (enum lie)_i);
	while ((err = dir_next(m.t, dir, &c, last, &e)) == 0)
		last = e.cookie;
	dir_cursor_put(&c);
	ck_assert_int_eq(err, -EUCLEAN);
	/* a lookup of any name meets the entry in the middle first */
	if (_i != DEAD_BIG && _i != SLASH && _i != ZERO_BYTE && _i != INO_ZERO && _i != KEY_ORDER)
		ck_assert_int_eq(look("any", &e), -EUCLEAN);
	if (_i != SLASH && _i != ZERO_BYTE && _i != INO_ZERO) /* of no concern to the others */
		ck_assert_int_eq(insert("new", 5, DT_REG), -EUCLEAN);
	cache_put(b);
}
END_TEST

START_TEST(a_fork_of_another_format_is_refused)
{
	struct dir_cursor c = {.at_leaf = false};
	struct dir_entry e;

	dir->fork_format = FORK_EXTENTS;
	ck_assert_int_eq(look("a", &e), -EUCLEAN);
	ck_assert_int_eq(dir_next(m.t, dir, &c, 0, &e), -EUCLEAN);
	dir->fork_format = FORK_NONE;
}
END_TEST

#define TREE_BLOCKS 64

/* All blocks of the directory's tree. */
static unsigned tree_blocks(struct buf **b)
{
	struct btree bt = {dir, BT_DIR_LEAF, BT_DIR_NODE};
	struct btree_path path;
	unsigned nr = 0;

	ck_assert_int_eq(btree_find(m.t, &bt, 0, &path), 0);
	for (unsigned i = 0; i < path.height; i++) {
		cache_ref(path.node[i]);
		b[nr++] = path.node[i];
	}
	do {
		ck_assert_uint_lt(nr, TREE_BLOCKS);
		cache_ref(path.leaf);
		b[nr++] = path.leaf;
	} while (btree_next_leaf(m.t, &bt, &path) == 0);
	btree_path_put(&path);
	return nr;
}

static void flip_bytes(struct buf *b)
{
	for (int n = 1 + rand() % 4; n > 0; n--) {
		/* heads of leaves and slots are where it hurts */
		unsigned at = 64 + (unsigned)rand() % (rand() % 2 != 0 ? 100 : BLOCK_PAYLOAD);

		b->data[at] = rand() % 2 != 0 ? (uint8_t)rand()
					      : (uint8_t)(b->data[at] ^ 1 << rand() % 8);
	}
}

/* Bytes are changed past the checksum, which is checked only when a block is read: as a crafted
 * image would have them. */
START_TEST(reading_any_garbage_ends_in_an_error_or_an_entry)
{
	static uint8_t saved[TREE_BLOCKS][BLOCK_BYTES];
	struct buf *b[TREE_BLOCKS];
	unsigned nr, bad = 0;
	char name[128];

	srand(11);
	for (unsigned i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "some-name-%0100u", i);
		MUST(insert(name, 10 + i, DT_REG) == 0);
	}
	nr = tree_blocks(b);
	MUST(nr > 10);
	for (unsigned i = 0; i < nr; i++)
		memcpy(saved[i], b[i]->data, BLOCK_BYTES);
	for (unsigned round = 0; round < 1000; round++) {
		struct dir_cursor c = {.at_leaf = false};
		unsigned victim = rand() % 3 == 0 ? 0 : (unsigned)rand() % nr, steps = 0;
		uint64_t last = 0;
		struct dir_entry e;
		int err;

		flip_bytes(b[victim]);
		while ((err = dir_next(m.t, dir, &c, last, &e)) == 0) {
			MUST(e.cookie > last);
			last = e.cookie;
			MUST(++steps <= 300 + 40);
		}
		MUST(err == -ENOENT || err == -EUCLEAN);
		bad += err == -EUCLEAN;
		dir_cursor_put(&c);
		for (unsigned i = 0; i < 5; i++) {
			snprintf(name, sizeof(name), "some-name-%0100u", (unsigned)rand() % 300);
			err = look(name, &e);
			MUST(err == 0 || err == -ENOENT || err == -EUCLEAN);
		}
		memcpy(b[victim]->data, saved[victim], BLOCK_BYTES);
	}
	MUST(bad > 250);
	for (unsigned i = 0; i < nr; i++)
		cache_put(b[i]);
}
END_TEST

static int ok_on_garbage(int err)
{
	return err == 0 || err == -ENOENT || err == -EEXIST || err == -EUCLEAN || err == -ENOSPC;
}

START_TEST(changing_any_garbage_ends_in_an_error_or_a_change)
{
	char name[128];

	srand(12);
	for (unsigned round = 0; round < 50; round++) {
		struct buf *b[TREE_BLOCKS];
		unsigned nr, names = 20 + (unsigned)rand() % 250;

		for (unsigned i = 0; i < names; i++) {
			snprintf(name, sizeof(name), "some-name-%0100u", i);
			MUST(insert(name, 10 + i, DT_REG) == 0);
		}
		nr = tree_blocks(b);
		for (unsigned i = 0; i < 3; i++)
			flip_bytes(b[(unsigned)rand() % nr]);
		for (unsigned i = 0; i < nr; i++)
			cache_put(b[i]);
		for (unsigned i = 0; i < names && !atomic_load(&m.fs->shut); i++) {
			snprintf(name, sizeof(name), "some-name-%0100u", (unsigned)rand() % names);
			begin();
			MUST(ok_on_garbage(dir_remove(&handle, dir, name)));
			snprintf(name, sizeof(name), "new-name-%0100u", i);
			MUST(ok_on_garbage(dir_insert(&handle, dir, name, 5, DT_REG)));
			snprintf(name, sizeof(name), "some-name-%0100u", (unsigned)rand() % names);
			MUST(ok_on_garbage(dir_replace(&handle, dir, name, 5, DT_REG)));
			end();
		}
		inode_put(m.t, dir);
		if (atomic_load(&m.fs->shut) ||
			round % 20 ==
				19) { /* it noticed halfway; or the disk is full of what was left */
			memfs_close(&m);
			memfs_open(&m, 64);
		}
		new_dir();
	}
}
END_TEST

static Suite *dir_suite(void)
{
	Suite *s = suite_create("dir");
	TCase *tc = tcase_create("entries"), *lies = tcase_create("lies");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, an_empty_directory_finds_nothing_and_has_no_blocks);
	tcase_add_test(tc, a_name_is_there_once);
	tcase_add_test(tc, names_of_impossible_length_are_refused);
	tcase_add_test(tc, replace_keeps_the_cookie);
	tcase_add_loop_test(tc, random_changes_match_a_hash_table, 0, 2);
	tcase_add_test(tc, entries_outlive_a_remount);
	tcase_add_test(tc, names_of_one_hash_are_told_apart);
	tcase_add_test(tc, a_number_of_a_hash_is_used_again);
	tcase_add_test(tc, the_last_number_of_a_hash_is_the_end);
	tcase_add_test(tc, a_walk_sees_each_lasting_name_once_while_others_change);
	tcase_add_test(tc, a_walk_goes_on_from_any_cookie);
	tcase_add_test(tc, a_thinned_out_directory_gives_blocks_back);
	tcase_add_test(tc, dead_bytes_are_used_again);
	suite_add_tcase(s, tc);
	tcase_set_timeout(lies, 60);
	tcase_add_checked_fixture(lies, setup, teardown);
	tcase_add_loop_test(lies, a_lying_leaf_is_refused, 0, NR_LIES);
	tcase_add_test(lies, a_fork_of_another_format_is_refused);
	tcase_add_test(lies, reading_any_garbage_ends_in_an_error_or_an_entry);
	tcase_add_test(lies, changing_any_garbage_ends_in_an_error_or_a_change);
	suite_add_tcase(s, lies);
	return s;
}

int main(void)
{
	return run_suite(dir_suite());
}
