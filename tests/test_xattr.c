/* test_xattr.c - extended attributes: the calls' rules, random changes against a hash table, areas
 * that lie. */
#include <check.h>
#include <errno.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include "memfs.h"
#include "table.h"
#include "xattr.h"

#define VALUE_MAX 4000

static struct memfs m;
static uint64_t file; /* referenced once */
static const struct fs_cred cred = {1000, 100};

static uint64_t make(const char *name, uint32_t mode)
{
	struct fs_attr a;

	ck_assert_int_eq(fs_mknod(m.t, FS_ROOT_INO, name, mode, 0, &cred, &a), 0);
	return a.ino;
}

static void setup(void)
{
	memfs_open(&m, 32);
	file = make("f", S_IFREG | 0600);
}

static void teardown(void)
{
	memfs_close(&m);
}

static int set(const char *name, const char *value, int flags)
{
	return fs_setxattr(m.t, file, name, value, strlen(value), flags);
}

static void expect_value(const char *name, const char *value)
{
	char buf[VALUE_MAX];
	ssize_t n = fs_getxattr(m.t, file, name, buf, sizeof(buf));

	ck_assert_int_eq(n, (ssize_t)strlen(value));
	ck_assert_int_eq(memcmp(buf, value, (size_t)n), 0);
}

START_TEST(every_space_keeps_a_value)
{
	static const char *const names[] = {"user.a", "trusted.a", "security.a",
		"system.posix_acl_access", "system.posix_acl_default"};

	for (unsigned i = 0; i < 5; i++)
		ck_assert_int_eq(set(names[i], names[i], 0), 0);
	memfs_remount(&m);
	for (unsigned i = 0; i < 5; i++)
		expect_value(names[i], names[i]);
}
END_TEST

START_TEST(other_names_are_refused)
{
	char longest[XATTR_NAME_MAX + 2];

	ck_assert_int_eq(set("system.other", "v", 0), -EOPNOTSUPP);
	ck_assert_int_eq(set("system.posix_acl_access2", "v", 0), -EOPNOTSUPP);
	ck_assert_int_eq(set("name", "v", 0), -EOPNOTSUPP);
	ck_assert_int_eq(set("", "v", 0), -EOPNOTSUPP);
	ck_assert_int_eq(set("user.", "v", 0), -EINVAL);
	ck_assert_int_eq(fs_getxattr(m.t, file, "other.x", NULL, 0), -EOPNOTSUPP);
	ck_assert_int_eq(fs_removexattr(m.t, file, "other.x"), -EOPNOTSUPP);
	memset(longest, 'x', sizeof(longest));
	memcpy(longest, "user.", 5);
	longest[XATTR_NAME_MAX + 1] = '\0';
	ck_assert_int_eq(set(longest, "v", 0), -ERANGE);
	longest[XATTR_NAME_MAX] = '\0';
	ck_assert_int_eq(set(longest, "v", 0), 0);
	expect_value(longest, "v");
}
END_TEST

START_TEST(create_and_replace_say_what_is_there)
{
	ck_assert_int_eq(set("user.a", "1", XATTR_REPLACE), -ENODATA);
	ck_assert_int_eq(set("user.a", "1", XATTR_CREATE), 0);
	ck_assert_int_eq(set("user.a", "2", XATTR_CREATE), -EEXIST);
	expect_value("user.a", "1");
	ck_assert_int_eq(set("user.a", "3", XATTR_REPLACE), 0);
	expect_value("user.a", "3");
	ck_assert_int_eq(set("user.a", "4", 0), 0);
	expect_value("user.a", "4");
	ck_assert_int_eq(set("user.a", "5", 8), -EINVAL);
}
END_TEST

START_TEST(sizes_are_told_and_kept_to)
{
	char buf[16];

	ck_assert_int_eq(fs_getxattr(m.t, file, "user.a", buf, sizeof(buf)), -ENODATA);
	ck_assert_int_eq(set("user.a", "12345", 0), 0);
	ck_assert_int_eq(fs_getxattr(m.t, file, "user.a", NULL, 0), 5);
	ck_assert_int_eq(fs_getxattr(m.t, file, "user.a", buf, 4), -ERANGE);
	ck_assert_int_eq(fs_getxattr(m.t, file, "user.a", buf, 5), 5);
	ck_assert_int_eq(fs_listxattr(m.t, file, NULL, 0), 7);
	ck_assert_int_eq(fs_listxattr(m.t, file, buf, 6), -ERANGE);
	ck_assert_int_eq(fs_listxattr(m.t, file, buf, 7), 7);
	ck_assert_str_eq(buf, "user.a");
	ck_assert_int_eq(set("user.empty", "", 0), 0);
	ck_assert_int_eq(fs_getxattr(m.t, file, "user.empty", buf, sizeof(buf)), 0);
}
END_TEST

START_TEST(user_attributes_are_for_files_and_directories)
{
	struct fs_attr a;

	file = make("d", S_IFDIR | 0700);
	ck_assert_int_eq(set("user.a", "v", 0), 0);
	file = make("p", S_IFIFO | 0700);
	ck_assert_int_eq(set("user.a", "v", 0), -EPERM);
	ck_assert_int_eq(set("trusted.a", "v", 0), 0);
	ck_assert_int_eq(fs_symlink(m.t, FS_ROOT_INO, "l", "t", &cred, &a), 0);
	file = a.ino;
	ck_assert_int_eq(set("user.a", "v", 0), -EPERM);
	ck_assert_int_eq(set("security.a", "v", 0), 0);
}
END_TEST

START_TEST(small_ones_take_no_block_and_large_ones_give_theirs_back)
{
	struct fs_attr a;
	char big[2101];

	memset(big, 'b', 2100);
	big[2100] = '\0';
	ck_assert_int_eq(set("security.selinux", "user_u:object_r:t", 0), 0);
	ck_assert_int_eq(fs_getattr(m.t, file, &a), 0);
	ck_assert_uint_eq(a.nr_sectors, 0);
	ck_assert_int_eq(set("user.big1", big, 0), 0);
	ck_assert_int_eq(set("user.big2", big, 0), 0);
	ck_assert_int_eq(fs_getattr(m.t, file, &a), 0);
	ck_assert_uint_eq(a.nr_sectors, 16);
	ck_assert_int_eq(fs_removexattr(m.t, file, "user.big1"), 0);
	ck_assert_int_eq(set("user.big2", "small", 0), 0); /* grows in its block, which stays */
	ck_assert_int_eq(fs_removexattr(m.t, file, "user.big2"), 0);
	ck_assert_int_eq(fs_getattr(m.t, file, &a), 0);
	ck_assert_uint_eq(a.nr_sectors, 0);
	expect_value("security.selinux", "user_u:object_r:t");
	ck_assert_int_eq(fs_removexattr(m.t, file, "security.selinux"), 0);
	ck_assert_int_eq(fs_removexattr(m.t, file, "security.selinux"), -ENODATA);
	ck_assert_int_eq(fs_listxattr(m.t, file, NULL, 0), 0);
}
END_TEST

START_TEST(a_change_moves_ctime_only)
{
	struct fs_attr a, b;

	ck_assert_int_eq(fs_getattr(m.t, file, &a), 0);
	do { /* until the clock has moved */
		ck_assert_int_eq(set("user.a", "v", 0), 0);
		ck_assert_int_eq(fs_getattr(m.t, file, &b), 0);
	} while (a.ctime.tv_sec == b.ctime.tv_sec && a.ctime.tv_nsec == b.ctime.tv_nsec);
	ck_assert_int_eq(a.mtime.tv_nsec, b.mtime.tv_nsec);
}
END_TEST

START_TEST(what_never_fits_is_too_big_and_a_full_list_is_full)
{
	static char big[65536];
	char name[32];
	unsigned nr = 0;
	int err;

	memset(big, 'b', sizeof(big));
	ck_assert_int_eq(fs_setxattr(m.t, file, "user.a", big, 65536, 0), -E2BIG);
	ck_assert_int_eq(fs_setxattr(m.t, file, "user.a", big, 4016 - 4 - 1 + 1, 0), -E2BIG);
	ck_assert_int_eq(fs_setxattr(m.t, file, "user.a", big, 4016 - 4 - 1, 0), 0);
	do {
		snprintf(name, sizeof(name), "user.n%u", nr);
		err = fs_setxattr(m.t, file, name, big, 3000, 0);
		nr += err == 0;
	} while (err == 0);
	ck_assert_int_eq(err, -ENOSPC);
	ck_assert_uint_eq(nr, 15);
	snprintf(name, sizeof(name), "user.n%u", 3);
	ck_assert_int_eq(fs_setxattr(m.t, file, name, big, 3500, 0),
		0); /* its own block has room when it goes */
	ck_assert_int_eq(fs_getxattr(m.t, file, "user.a", NULL, 0), 4016 - 4 - 1);
}
END_TEST

START_TEST(a_removed_file_gives_all_back)
{
	static char big[3000];
	struct fs_statfs before, after;
	char name[32];

	ck_assert_int_eq(fs_sync(m.t), 0);
	fs_statfs(m.fs, &before);
	for (unsigned i = 0; i < 16; i++) {
		snprintf(name, sizeof(name), "user.n%u", i);
		ck_assert_int_eq(fs_setxattr(m.t, file, name, big, sizeof(big), 0), 0);
	}
	make("other", S_IFREG | 0600);
	ck_assert_int_eq(fs_unlink(m.t, FS_ROOT_INO, "f"), 0);
	fs_forget(m.t, file, 1);
	ck_assert_int_eq(fs_sync(m.t), 0);
	fs_statfs(m.fs, &after);
	ck_assert_uint_eq(after.free_blocks, before.free_blocks);
	ck_assert_uint_eq(after.free_inodes, before.free_inodes);
}
END_TEST

START_TEST(a_directory_counts_its_blocks_in_its_size)
{
	static char big[3000];
	struct fs_attr a;

	file = make("d", S_IFDIR | 0700);
	ck_assert_int_eq(fs_setxattr(m.t, file, "user.big", big, sizeof(big), 0), 0);
	ck_assert_int_eq(fs_getattr(m.t, file, &a), 0);
	ck_assert_uint_eq(a.size, 4096);
	ck_assert_int_eq(fs_removexattr(m.t, file, "user.big"), 0);
	ck_assert_int_eq(fs_getattr(m.t, file, &a), 0);
	ck_assert_uint_eq(a.size, 0);
}
END_TEST

/* ---- against a hash table ---- */

struct known {
	char name[40];
	size_t bytes;
	char value[VALUE_MAX];
	UT_hash_handle hh;
};
static struct known *known;

static void expect_known(void)
{
	static char buf[VALUE_MAX], list[65536];
	struct known *k, *next;
	unsigned nr = 0;
	ssize_t n;

	HASH_ITER (hh, known, k, next) {
		n = fs_getxattr(m.t, file, k->name, buf, sizeof(buf));
		ck_assert_int_eq(n, (ssize_t)k->bytes);
		ck_assert_int_eq(memcmp(buf, k->value, k->bytes), 0);
	}
	n = fs_listxattr(m.t, file, list, sizeof(list));
	ck_assert_int_ge(n, 0);
	for (const char *s = list; s < list + n; s += strlen(s) + 1, nr++) {
		HASH_FIND_STR(known, s, k);
		ck_assert_ptr_nonnull(k);
	}
	ck_assert_uint_eq(nr, HASH_COUNT(known));
}

static size_t random_bytes(void)
{
	switch (rand() % 10) {
	case 0:
		return 0;
	case 1:
	case 2:
		return (size_t)rand() % 3500;
	default:
		return (size_t)rand() % 60;
	}
}

static void step_set(const char *name)
{
	static char value[VALUE_MAX];
	size_t bytes = random_bytes();
	struct known *k;
	int err;

	for (size_t i = 0; i < bytes; i++)
		value[i] = (char)rand();
	err = fs_setxattr(m.t, file, name, value, bytes, 0);
	if (err == -ENOSPC)
		return;
	ck_assert_int_eq(err, 0);
	HASH_FIND_STR(known, name, k);
	if (k == NULL) {
		k = calloc(1, sizeof(*k));
		ck_assert_ptr_nonnull(k);
		snprintf(k->name, sizeof(k->name), "%s", name);
		HASH_ADD_STR(known, name, k);
	}
	k->bytes = bytes;
	memcpy(k->value, value, bytes);
}

static void step_remove(const char *name)
{
	struct known *k;

	HASH_FIND_STR(known, name, k);
	ck_assert_int_eq(fs_removexattr(m.t, file, name), k != NULL ? 0 : -ENODATA);
	if (k != NULL) {
		HASH_DEL(known, k);
		free(k);
	}
}

START_TEST(random_changes_match_a_hash_table)
{
	static const char *const prefix[] = {"user.", "trusted.", "security."};
	struct known *k, *next;
	struct fs_attr a;
	char name[40];

	known = NULL;
	srand((unsigned)_i + 1);
	for (unsigned i = 0; i < 4000; i++) {
		snprintf(name, sizeof(name), "%s%x", prefix[rand() % 3], (unsigned)rand() % 20);
		if (rand() % 100 < (i / 1000 % 2 == 0 ? 70 : 30))
			step_set(name);
		else
			step_remove(name);
		if (i % 500 == 499) {
			expect_known();
			memfs_remount(&m);
			expect_known();
		}
	}
	HASH_ITER (hh, known, k, next) {
		snprintf(name, sizeof(name), "%s", k->name);
		step_remove(name);
	}
	ck_assert_int_eq(fs_getattr(m.t, file, &a), 0);
	ck_assert_uint_eq(a.nr_sectors, 0);
}
END_TEST

/* ---- for inode.c and attr.c ---- */

START_TEST(a_capability_is_seen_and_removed_under_the_lock)
{
	struct inode *inode;
	struct tx_handle h;

	ck_assert_int_eq(inode_get(m.t, file, &inode), 0);
	ck_assert_int_eq(xattr_present(m.t, inode, "security.capability"), 0);
	ck_assert_int_eq(set("security.capability", "c", 0), 0);
	ck_assert_int_eq(xattr_present(m.t, inode, "security.capability"), 1);
	ck_assert_int_eq(tx_begin(m.t, TX_JOIN_EXTENT, 0, &h), 0);
	pthread_rwlock_wrlock(&inode->lock);
	ck_assert_int_eq(xattr_remove_locked(&h, inode, "security.capability"), 0);
	ck_assert_int_eq(xattr_remove_locked(&h, inode, "security.capability"), -ENODATA);
	pthread_rwlock_unlock(&inode->lock);
	tx_end(&h);
	ck_assert_int_eq(xattr_present(m.t, inode, "security.capability"), 0);
	inode_put(m.t, inode);
}
END_TEST

/* ---- lies ---- */

START_TEST(any_garbage_ends_in_an_error_or_a_value)
{
	static uint8_t saved[BLOCK_BYTES], saved_inode[INODE_XATTR_BYTES];
	static char buf[65536];
	struct inode *inode;
	struct buf *b;
	unsigned bad = 0;
	char name[32];

	srand(9);
	for (unsigned i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "user.n%u", i);
		ck_assert_int_eq(fs_setxattr(m.t, file, name, buf, i * 5, 0), 0);
	}
	ck_assert_int_eq(inode_get(m.t, file, &inode), 0);
	ck_assert_int_eq(cache_get(m.t, inode->xattr_block, BT_XATTR, file, &b), 0);
	memcpy(saved, b->data, sizeof(saved));
	memcpy(saved_inode, inode->xattr, sizeof(saved_inode));
	for (unsigned round = 0; round < 10000; round++) {
		ssize_t n;

		for (int k = rand() % 3; k >= 0; k--) {
			if (rand() % 4 == 0)
				inode->xattr[rand() % (int)INODE_XATTR_BYTES] = (uint8_t)rand();
			else
				b->data[64 + rand() % (rand() % 4 == 0 ? 20 : 4032)] =
					(uint8_t)rand();
		}
		snprintf(name, sizeof(name), "user.n%d", rand() % 40);
		n = fs_getxattr(m.t, file, name, buf, sizeof(buf));
		ck_assert(n >= 0 || n == -ENODATA || n == -EUCLEAN);
		bad += n == -EUCLEAN;
		n = fs_listxattr(m.t, file, buf, (size_t)rand() % 2000);
		ck_assert(n >= 0 || n == -ERANGE || n == -EUCLEAN);
		memcpy(b->data, saved, sizeof(saved));
		memcpy(inode->xattr, saved_inode, sizeof(saved_inode));
	}
	ck_assert_uint_gt(bad, 1000);
	cache_put(b);
	inode_put(m.t, inode);
}
END_TEST

START_TEST(a_name_that_is_too_long_with_its_prefix_is_refused)
{
	static uint8_t area[400];
	struct xattr_disk *e = (struct xattr_disk *)area;

	memset(area, 'n', sizeof(area));
	e->space = XATTR_USER;
	e->value_bytes = le16_of(4);
	e->name_bytes = XATTR_NAME_MAX - 5; /* "user." */
	ck_assert_uint_eq(xattr_entry_check(area, sizeof(area), 0), 4 + 250 + 4 + 2);
	e->name_bytes++;
	ck_assert_uint_eq(xattr_entry_check(area, sizeof(area), 0), 0);
	e->space = XATTR_SECURITY; /* "security." */
	e->name_bytes = XATTR_NAME_MAX - 9;
	ck_assert_uint_ne(xattr_entry_check(area, sizeof(area), 0), 0);
	e->name_bytes++;
	ck_assert_uint_eq(xattr_entry_check(area, sizeof(area), 0), 0);
}
END_TEST

START_TEST(a_list_that_goes_in_a_circle_is_refused)
{
	static char big[3000];
	struct xattr_block_disk *d;
	struct inode *inode;
	struct buf *b;

	ck_assert_int_eq(fs_setxattr(m.t, file, "user.a", big, sizeof(big), 0), 0);
	ck_assert_int_eq(inode_get(m.t, file, &inode), 0);
	ck_assert_int_eq(cache_get(m.t, inode->xattr_block, BT_XATTR, file, &b), 0);
	d = (struct xattr_block_disk *)b->data;
	d->next = le64_of(b->block);
	ck_assert_int_eq(fs_getxattr(m.t, file, "user.a", NULL, 0), -EUCLEAN);
	ck_assert_int_eq(fs_setxattr(m.t, file, "user.b", big, sizeof(big), 0), -EUCLEAN);
	ck_assert_int_eq(fs_removexattr(m.t, file, "user.a"), -EUCLEAN);
	d->next = le64_of(0);
	ck_assert_int_eq(fs_getxattr(m.t, file, "user.a", NULL, 0), sizeof(big));
	d->bytes = le32_of(0); /* an empty block is in no list */
	ck_assert_int_eq(fs_getxattr(m.t, file, "user.a", NULL, 0), -EUCLEAN);
	cache_put(b);
	inode_put(m.t, inode);
}
END_TEST

static Suite *xattr_suite(void)
{
	Suite *s = suite_create("xattr");
	TCase *tc = tcase_create("attributes");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, every_space_keeps_a_value);
	tcase_add_test(tc, other_names_are_refused);
	tcase_add_test(tc, create_and_replace_say_what_is_there);
	tcase_add_test(tc, sizes_are_told_and_kept_to);
	tcase_add_test(tc, user_attributes_are_for_files_and_directories);
	tcase_add_test(tc, small_ones_take_no_block_and_large_ones_give_theirs_back);
	tcase_add_test(tc, a_change_moves_ctime_only);
	tcase_add_test(tc, what_never_fits_is_too_big_and_a_full_list_is_full);
	tcase_add_test(tc, a_removed_file_gives_all_back);
	tcase_add_test(tc, a_directory_counts_its_blocks_in_its_size);
	tcase_add_loop_test(tc, random_changes_match_a_hash_table, 0, 3);
	tcase_add_test(tc, a_capability_is_seen_and_removed_under_the_lock);
	tcase_add_test(tc, any_garbage_ends_in_an_error_or_a_value);
	tcase_add_test(tc, a_name_that_is_too_long_with_its_prefix_is_refused);
	tcase_add_test(tc, a_list_that_goes_in_a_circle_is_refused);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return run_suite(xattr_suite());
}
