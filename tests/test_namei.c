/* test_namei.c - operations on names: their rules one by one, a tree of random ones against a
 * model, and several threads at once. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "dir.h"
#include "memfs.h"

static struct memfs m;
static const struct fs_cred cred = {1000, 100};

static void setup(void)
{
	memfs_open(&m, 24);
}

static void teardown(void)
{
	memfs_close(&m);
}

/* ---- short forms; each leaves no reference behind ---- */

static void forget(const struct fs_attr *a)
{
	fs_forget(m.t, a->ino, 1);
}

static int mknod_in(uint64_t dir, const char *name, uint32_t mode, uint64_t *ino)
{
	struct fs_attr a;
	int err = fs_mknod(m.t, dir, name, mode, 0, &cred, &a);

	if (err == 0) {
		forget(&a);
		if (ino != NULL)
			*ino = a.ino;
	}
	return err;
}

static uint64_t mkdir_in(uint64_t dir, const char *name)
{
	uint64_t ino;

	ck_assert_int_eq(mknod_in(dir, name, S_IFDIR | 0755, &ino), 0);
	return ino;
}

static uint64_t file_in(uint64_t dir, const char *name)
{
	uint64_t ino;

	ck_assert_int_eq(mknod_in(dir, name, S_IFREG | 0644, &ino), 0);
	return ino;
}

static int look(uint64_t dir, const char *name, struct fs_attr *a)
{
	int err = fs_lookup(m.t, dir, name, a);

	if (err == 0)
		forget(a);
	return err;
}

static uint64_t ino_of(uint64_t dir, const char *name) /* 0: no such name */
{
	struct fs_attr a;
	int err = look(dir, name, &a);

	ck_assert(err == 0 || err == -ENOENT);
	return err == 0 ? a.ino : 0;
}

static struct fs_attr attr_of(uint64_t ino)
{
	struct fs_attr a;

	ck_assert_int_eq(fs_getattr(m.t, ino, &a), 0);
	return a;
}

static int rename_in(
	uint64_t from, const char *name, uint64_t to, const char *newname, unsigned flags)
{
	return fs_rename(m.t, from, name, to, newname, flags);
}

/* ---- look up and make ---- */

START_TEST(a_new_file_is_found_with_what_it_was_made_with)
{
	struct fs_attr a, b;

	ck_assert_int_eq(fs_mknod(m.t, FS_ROOT_INO, "f", S_IFREG | 04640, 0, &cred, &a), 0);
	ck_assert_uint_eq(a.mode, S_IFREG | 04640);
	ck_assert_uint_eq(a.uid, 1000);
	ck_assert_uint_eq(a.gid, 100);
	ck_assert_uint_eq(a.nlink, 1);
	ck_assert_uint_eq(a.size, 0);
	ck_assert_int_eq(look(FS_ROOT_INO, "f", &b), 0);
	ck_assert_uint_eq(b.ino, a.ino);
	ck_assert_uint_eq(b.mode, a.mode);
	forget(&a);
	ck_assert_int_eq(look(FS_ROOT_INO, "g", &b), -ENOENT);
	ck_assert_int_eq(look(a.ino, "g", &b), -ENOTDIR);
	ck_assert_int_eq(look(987654321, "g", &b), -ESTALE);
}
END_TEST

START_TEST(every_type_but_a_symlink_can_be_made)
{
	static const uint32_t types[] = {S_IFREG, S_IFDIR, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK};
	struct fs_attr a;
	char name[8];

	for (unsigned i = 0; i < 6; i++) {
		snprintf(name, sizeof(name), "%u", i);
		ck_assert_int_eq(
			fs_mknod(m.t, FS_ROOT_INO, name, types[i] | 0600, 0x1234, &cred, &a), 0);
		forget(&a);
	}
	memfs_remount(&m);
	for (unsigned i = 0; i < 6; i++) {
		bool dev = types[i] == S_IFCHR || types[i] == S_IFBLK;

		snprintf(name, sizeof(name), "%u", i);
		ck_assert_int_eq(look(FS_ROOT_INO, name, &a), 0);
		ck_assert_uint_eq(a.mode, types[i] | 0600);
		ck_assert_uint_eq(a.rdev, dev ? 0x1234 : 0);
	}
	ck_assert_int_eq(mknod_in(FS_ROOT_INO, "no", S_IFLNK | 0777, NULL), -EINVAL);
	ck_assert_int_eq(mknod_in(FS_ROOT_INO, "plain", 0600, NULL), 0);
	ck_assert_int_eq(look(FS_ROOT_INO, "plain", &a), 0);
	ck_assert_uint_eq(a.mode, S_IFREG | 0600);
}
END_TEST

START_TEST(dot_and_dotdot_are_found)
{
	uint64_t a = mkdir_in(FS_ROOT_INO, "a"), b = mkdir_in(a, "b");

	ck_assert_uint_eq(ino_of(FS_ROOT_INO, "."), FS_ROOT_INO);
	ck_assert_uint_eq(ino_of(FS_ROOT_INO, ".."), FS_ROOT_INO);
	ck_assert_uint_eq(ino_of(b, "."), b);
	ck_assert_uint_eq(ino_of(b, ".."), a);
	ck_assert_uint_eq(ino_of(a, ".."), FS_ROOT_INO);
}
END_TEST

START_TEST(bad_names_are_refused_by_every_call)
{
	static const struct {
		const char *name;
		int err;
	} bad[] = {{"", -EINVAL}, {".", -EINVAL}, {"..", -EINVAL}, {"a/b", -EINVAL},
		{NULL, -ENAMETOOLONG}};
	char longest[FS_NAME_MAX + 2];
	const char *name = bad[_i].name;
	struct fs_attr a;
	int err = bad[_i].err;
	uint64_t ino = file_in(FS_ROOT_INO, "f");

	memset(longest, 'x', sizeof(longest));
	longest[FS_NAME_MAX + 1] = '\0';
	if (name == NULL)
		name = longest;
	if (name[0] != '.')
		ck_assert_int_eq(look(FS_ROOT_INO, name, &a), err);
	ck_assert_int_eq(mknod_in(FS_ROOT_INO, name, S_IFREG, NULL), err);
	ck_assert_int_eq(fs_symlink(m.t, FS_ROOT_INO, name, "t", &cred, &a), err);
	ck_assert_int_eq(fs_link(m.t, ino, FS_ROOT_INO, name, &a), err);
	ck_assert_int_eq(fs_unlink(m.t, FS_ROOT_INO, name), err);
	ck_assert_int_eq(fs_rmdir(m.t, FS_ROOT_INO, name), err);
	ck_assert_int_eq(rename_in(FS_ROOT_INO, name, FS_ROOT_INO, "g", 0), err);
	ck_assert_int_eq(rename_in(FS_ROOT_INO, "f", FS_ROOT_INO, name, 0), err);
	longest[FS_NAME_MAX] = '\0';
	ck_assert_int_eq(mknod_in(FS_ROOT_INO, longest, S_IFREG, NULL), 0);
}
END_TEST

START_TEST(a_name_in_use_is_not_made_again)
{
	struct fs_attr a;
	uint64_t f = file_in(FS_ROOT_INO, "f");

	ck_assert_int_eq(mknod_in(FS_ROOT_INO, "f", S_IFREG, NULL), -EEXIST);
	ck_assert_int_eq(mknod_in(FS_ROOT_INO, "f", S_IFDIR, NULL), -EEXIST);
	ck_assert_int_eq(fs_symlink(m.t, FS_ROOT_INO, "f", "t", &cred, &a), -EEXIST);
	ck_assert_int_eq(fs_link(m.t, f, FS_ROOT_INO, "f", &a), -EEXIST);
	ck_assert_uint_eq(attr_of(f).nlink, 1);
	ck_assert_int_eq(mknod_in(f, "x", S_IFREG, NULL), -ENOTDIR);
}
END_TEST

START_TEST(a_set_group_id_directory_gives_its_group)
{
	struct fs_setattr set = {
		.valid = FS_SET_MODE | FS_SET_GID, .mode = S_IFDIR | 02775, .gid = 7};
	uint64_t d = mkdir_in(FS_ROOT_INO, "d");
	struct fs_attr a;

	ck_assert_int_eq(fs_setattr(m.t, d, &set, &a), 0);
	a = attr_of(file_in(d, "f"));
	ck_assert_uint_eq(a.gid, 7);
	ck_assert_uint_eq(a.mode, S_IFREG | 0644);
	a = attr_of(mkdir_in(d, "sub"));
	ck_assert_uint_eq(a.gid, 7);
	ck_assert_uint_eq(a.mode, S_IFDIR | 02755);
	ck_assert_int_eq(fs_symlink(m.t, d, "l", "t", &cred, &a), 0);
	forget(&a);
	ck_assert_uint_eq(a.gid, 7);
}
END_TEST

START_TEST(a_directory_counts_its_subdirectories)
{
	uint64_t d = mkdir_in(FS_ROOT_INO, "d");

	ck_assert_uint_eq(attr_of(d).nlink, 2);
	mkdir_in(d, "1");
	mkdir_in(d, "2");
	file_in(d, "f");
	ck_assert_uint_eq(attr_of(d).nlink, 4);
	ck_assert_int_eq(fs_rmdir(m.t, d, "1"), 0);
	ck_assert_uint_eq(attr_of(d).nlink, 3);
	ck_assert_uint_eq(attr_of(FS_ROOT_INO).nlink, 3);
}
END_TEST

/* ---- symlinks ---- */

START_TEST(a_symlink_reads_back_at_any_length)
{
	static const unsigned lengths[] = {1, 2, 78, 79, 80, 81, 255, 1000, 4023, 4024};
	char target[FS_SYMLINK_MAX + 2], back[FS_SYMLINK_MAX + 1], name[16];
	struct fs_attr a;

	for (unsigned i = 0; i < 10; i++) {
		memset(target, 'a' + (int)i, sizeof(target));
		target[lengths[i]] = '\0';
		snprintf(name, sizeof(name), "l%u", i);
		ck_assert_int_eq(fs_symlink(m.t, FS_ROOT_INO, name, target, &cred, &a), 0);
		forget(&a);
		ck_assert_uint_eq(a.size, lengths[i]);
		ck_assert_uint_eq(a.mode, S_IFLNK | 0777);
		ck_assert_uint_eq(a.nr_sectors, lengths[i] <= INODE_SYMLINK_MAX ? 0 : 8);
	}
	memfs_remount(&m);
	for (unsigned i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "l%u", i);
		memset(target, 'a' + (int)i, sizeof(target));
		target[lengths[i]] = '\0';
		ck_assert_int_eq(
			fs_readlink(m.t, ino_of(FS_ROOT_INO, name), back, sizeof(back)), 0);
		ck_assert_str_eq(back, target);
	}
}
END_TEST

START_TEST(impossible_symlinks_are_refused)
{
	char target[FS_SYMLINK_MAX + 2], back[FS_SYMLINK_MAX + 1];
	struct fs_attr a;

	memset(target, 'x', sizeof(target));
	target[4025] = '\0';
	ck_assert_int_eq(fs_symlink(m.t, FS_ROOT_INO, "l", target, &cred, &a), -ENAMETOOLONG);
	ck_assert_int_eq(fs_symlink(m.t, FS_ROOT_INO, "l", "", &cred, &a), -ENOENT);
	ck_assert_int_eq(fs_readlink(m.t, FS_ROOT_INO, back, sizeof(back)), -EINVAL);
	ck_assert_int_eq(fs_readlink(m.t, file_in(FS_ROOT_INO, "f"), back, sizeof(back)), -EINVAL);
}
END_TEST

START_TEST(a_removed_symlink_gives_its_block_back)
{
	struct fs_statfs before, after;
	char target[1001];
	struct fs_attr a;

	memset(target, 'x', 1000);
	target[1000] = '\0';
	file_in(FS_ROOT_INO, "keeps the directory's leaf");
	ck_assert_int_eq(fs_sync(m.t), 0);
	fs_statfs(m.fs, &before);
	ck_assert_int_eq(fs_symlink(m.t, FS_ROOT_INO, "l", target, &cred, &a), 0);
	forget(&a);
	ck_assert_int_eq(fs_unlink(m.t, FS_ROOT_INO, "l"), 0);
	ck_assert_int_eq(fs_sync(m.t), 0);
	fs_statfs(m.fs, &after);
	ck_assert_uint_eq(after.free_blocks, before.free_blocks);
	ck_assert_uint_eq(after.free_inodes, before.free_inodes);
}
END_TEST

/* ---- link, unlink, rmdir ---- */

START_TEST(links_are_counted)
{
	uint64_t f = file_in(FS_ROOT_INO, "f"), d = mkdir_in(FS_ROOT_INO, "d");
	struct fs_attr a;

	ck_assert_int_eq(fs_link(m.t, f, d, "g", &a), 0);
	forget(&a);
	ck_assert_uint_eq(a.ino, f);
	ck_assert_uint_eq(a.nlink, 2);
	ck_assert_uint_eq(ino_of(d, "g"), f);
	ck_assert_int_eq(fs_unlink(m.t, FS_ROOT_INO, "f"), 0);
	ck_assert_uint_eq(attr_of(f).nlink, 1);
	ck_assert_uint_eq(ino_of(FS_ROOT_INO, "f"), 0);
	ck_assert_uint_eq(ino_of(d, "g"), f);
}
END_TEST

START_TEST(a_directory_is_not_linked)
{
	uint64_t d = mkdir_in(FS_ROOT_INO, "d");
	struct fs_attr a;

	ck_assert_int_eq(fs_link(m.t, d, FS_ROOT_INO, "e", &a), -EPERM);
	ck_assert_int_eq(fs_link(m.t, d, d, "e", &a), -EPERM);
	ck_assert_int_eq(fs_link(m.t, FS_ROOT_INO, d, "e", &a), -EPERM);
}
END_TEST

START_TEST(an_unlinked_inode_lives_while_referenced)
{
	struct fs_attr a, b;

	ck_assert_int_eq(fs_mknod(m.t, FS_ROOT_INO, "f", S_IFREG | 0600, 0, &cred, &a), 0);
	ck_assert_int_eq(fs_unlink(m.t, FS_ROOT_INO, "f"), 0);
	ck_assert_uint_eq(attr_of(a.ino).nlink, 0);
	ck_assert_int_eq(fs_link(m.t, a.ino, FS_ROOT_INO, "g", &b), -ENOENT);
	forget(&a);
	ck_assert_int_eq(fs_getattr(m.t, a.ino, &b), -ESTALE);
}
END_TEST

START_TEST(unlink_and_rmdir_keep_to_their_kind)
{
	uint64_t d = mkdir_in(FS_ROOT_INO, "d"), f = file_in(FS_ROOT_INO, "f");

	ck_assert_int_eq(fs_unlink(m.t, FS_ROOT_INO, "d"), -EISDIR);
	ck_assert_int_eq(fs_rmdir(m.t, FS_ROOT_INO, "f"), -ENOTDIR);
	ck_assert_int_eq(fs_unlink(m.t, FS_ROOT_INO, "x"), -ENOENT);
	ck_assert_int_eq(fs_rmdir(m.t, FS_ROOT_INO, "x"), -ENOENT);
	ck_assert_int_eq(fs_unlink(m.t, f, "x"), -ENOTDIR);
	file_in(d, "in it");
	ck_assert_int_eq(fs_rmdir(m.t, FS_ROOT_INO, "d"), -ENOTEMPTY);
	ck_assert_int_eq(fs_unlink(m.t, d, "in it"), 0);
	ck_assert_int_eq(fs_rmdir(m.t, FS_ROOT_INO, "d"), 0);
	ck_assert_uint_eq(ino_of(FS_ROOT_INO, "d"), 0);
}
END_TEST

static bool count_entry(void *arg, const char *name, const struct fs_attr *attr, uint64_t cookie)
{
	(void)name;
	(void)attr;
	(void)cookie;
	++*(unsigned *)arg;
	return true;
}

START_TEST(nothing_is_found_or_made_in_a_removed_directory)
{
	uint64_t d = mkdir_in(FS_ROOT_INO, "d"), f = file_in(FS_ROOT_INO, "f");
	struct fs_attr a, b;
	unsigned nr = 0;

	ck_assert_int_eq(fs_lookup(m.t, FS_ROOT_INO, "d", &a), 0);
	ck_assert_int_eq(fs_rmdir(m.t, FS_ROOT_INO, "d"), 0);
	ck_assert_uint_eq(attr_of(d).nlink, 0);
	ck_assert_int_eq(fs_lookup(m.t, d, "x", &b), -ENOENT);
	ck_assert_int_eq(fs_lookup(m.t, d, "..", &b), -ENOENT);
	ck_assert_int_eq(mknod_in(d, "x", S_IFREG, NULL), -ENOENT);
	ck_assert_int_eq(mknod_in(d, "x", S_IFDIR, NULL), -ENOENT);
	ck_assert_int_eq(fs_link(m.t, f, d, "x", &b), -ENOENT);
	ck_assert_int_eq(rename_in(FS_ROOT_INO, "f", d, "x", 0), -ENOENT);
	ck_assert_int_eq(fs_readdir(m.t, d, 0, false, count_entry, &nr), -ENOENT);
	forget(&a);
}
END_TEST

static bool after(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec > b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec > b->tv_nsec);
}

static void pass_time(void)
{
	struct timespec start, now;

	inode_now(&start);
	do
		inode_now(&now);
	while (!after(&now, &start));
}

/* The directory's mtime and ctime move; the inode's ctime does, its mtime does not. */
START_TEST(changes_of_names_set_the_times)
{
	uint64_t d = mkdir_in(FS_ROOT_INO, "d"), f = file_in(d, "f");
	struct fs_attr d0 = attr_of(d), f0 = attr_of(f), d1, f1, a;

	pass_time();
	switch (_i) {
	case 0:
		ck_assert_int_eq(fs_link(m.t, f, d, "g", &a), 0);
		break;
	case 1:
		ck_assert_int_eq(fs_link(m.t, f, FS_ROOT_INO, "g", &a), 0);
		f0 = attr_of(f);
		pass_time();
		ck_assert_int_eq(fs_unlink(m.t, d, "f"), 0);
		break;
	case 2:
		ck_assert_int_eq(rename_in(d, "f", d, "g", 0), 0);
		break;
	case 3:
		ck_assert_int_eq(rename_in(d, "f", FS_ROOT_INO, "g", 0), 0);
		break;
	case 4:
		file_in(FS_ROOT_INO, "h");
		ck_assert_int_eq(rename_in(FS_ROOT_INO, "h", d, "f", RENAME_EXCHANGE), 0);
		break;
	}
	d1 = attr_of(d);
	f1 = attr_of(f);
	ck_assert(after(&d1.mtime, &d0.mtime));
	ck_assert(after(&d1.ctime, &d0.ctime));
	ck_assert(after(&f1.ctime, &f0.ctime));
	ck_assert(!after(&f1.mtime, &f0.mtime));
}
END_TEST

static void set_nlink(uint64_t ino, uint32_t nlink)
{
	struct inode *inode;

	ck_assert_int_eq(inode_get(m.t, ino, &inode), 0);
	inode->nlink = nlink;
	inode_put(m.t, inode);
}

START_TEST(links_beyond_the_limit_are_refused)
{
	enum { MOST = 0x7fffffff };
	uint64_t d = mkdir_in(FS_ROOT_INO, "d"), f = file_in(FS_ROOT_INO, "f");
	struct fs_attr a;

	mkdir_in(FS_ROOT_INO, "e");
	set_nlink(f, MOST);
	ck_assert_int_eq(fs_link(m.t, f, FS_ROOT_INO, "g", &a), -EMLINK);
	set_nlink(f, 1);
	set_nlink(d, MOST);
	ck_assert_int_eq(mknod_in(d, "sub", S_IFDIR, NULL), -EMLINK);
	ck_assert_int_eq(mknod_in(d, "file", S_IFREG, NULL), 0);
	ck_assert_int_eq(rename_in(FS_ROOT_INO, "e", d, "e", 0), -EMLINK);
	ck_assert_int_eq(rename_in(FS_ROOT_INO, "e", d, "file", RENAME_EXCHANGE), -EMLINK);
	set_nlink(d, MOST - 1);
	ck_assert_int_eq(rename_in(FS_ROOT_INO, "e", d, "e", 0), 0);
	set_nlink(d, 3);
}
END_TEST

/* ---- rename ---- */

/* The tree of every line of the table:
 *	/ a/ { x  sub/ { deep/ } }   b/ { y }   empty/   f   g   (h is another name of f)   */
struct rename_case {
	const char *from, *to;
	unsigned flags;
	int err;
};
static const struct rename_case rename_cases[] = {
	{"f", "new", 0, 0},
	{"f", "g", 0, 0},
	{"f", "f", 0, 0},
	{"f", "h", 0, 0}, /* two names of one file: both stay */
	{"f", "b/new", 0, 0},
	{"f", "b/y", 0, 0},
	{"f", "empty", 0, -EISDIR},
	{"f", "b", 0, -EISDIR},
	{"a", "f", 0, -ENOTDIR},
	{"a", "new", 0, 0},
	{"a", "empty", 0, 0},
	{"a", "b", 0, -ENOTEMPTY},
	{"a", "a", 0, 0},
	{"a", "b/new", 0, 0},
	{"a/sub", "empty", 0, 0},
	{"a/sub", "b/new", 0, 0},
	{"a/sub", "sub", 0, 0},
	{"a", "a/new", 0, -EINVAL},
	{"a", "a/x", 0, -EINVAL},
	{"a", "a/sub", 0, -EINVAL},
	{"a", "a/sub/new", 0, -EINVAL},
	{"a", "a/sub/deep/new", 0, -EINVAL},
	{"a/sub", "a", 0, -ENOTEMPTY}, /* over its own parent */
	{"a/sub/deep", "a", 0, -ENOTEMPTY},
	{"a/x", "a", 0, -ENOTEMPTY},
	{"none", "new", 0, -ENOENT},
	{"none", "f", 0, -ENOENT},
	{"f", "new", RENAME_NOREPLACE, 0},
	{"f", "g", RENAME_NOREPLACE, -EEXIST},
	{"f", "h", RENAME_NOREPLACE, -EEXIST},
	{"a", "empty", RENAME_NOREPLACE, -EEXIST},
	{"a", "b/new", RENAME_NOREPLACE, 0},
	{"f", "g", RENAME_EXCHANGE, 0},
	{"f", "h", RENAME_EXCHANGE, 0},
	{"f", "new", RENAME_EXCHANGE, -ENOENT},
	{"f", "b", RENAME_EXCHANGE, 0},
	{"a", "b", RENAME_EXCHANGE, 0},
	{"a/sub", "b", RENAME_EXCHANGE, 0},
	{"a/sub", "b/y", RENAME_EXCHANGE, 0},
	{"a/x", "b", RENAME_EXCHANGE, 0},
	{"a", "a/sub", RENAME_EXCHANGE, -EINVAL},
	{"a", "a/x", RENAME_EXCHANGE, -EINVAL},
	{"a/sub/deep", "a", RENAME_EXCHANGE, -EINVAL},
	{"a/x", "a", RENAME_EXCHANGE, -EINVAL},
	{"f", "g", RENAME_NOREPLACE | RENAME_EXCHANGE, -EINVAL},
	{"f", "g", RENAME_WHITEOUT, -EINVAL},
	{"f/z", "g", 0, -ENOTDIR},
	{"g", "f/z", 0, -ENOTDIR},
};
#define NR_RENAMES (int)(sizeof(rename_cases) / sizeof(rename_cases[0]))

static void make_tree(void)
{
	uint64_t a = mkdir_in(FS_ROOT_INO, "a"), b = mkdir_in(FS_ROOT_INO, "b"),
		 sub = mkdir_in(a, "sub");
	uint64_t f = file_in(FS_ROOT_INO, "f");
	struct fs_attr attr;

	mkdir_in(FS_ROOT_INO, "empty");
	mkdir_in(sub, "deep");
	file_in(a, "x");
	file_in(b, "y");
	file_in(FS_ROOT_INO, "g");
	ck_assert_int_eq(fs_link(m.t, f, FS_ROOT_INO, "h", &attr), 0);
	forget(&attr);
}

/* The directory of PATH, and its last name. */
static uint64_t dir_of(const char *path, const char **name)
{
	uint64_t dir = FS_ROOT_INO;
	const char *slash;
	char part[32];

	while ((slash = strchr(path, '/')) != NULL) {
		snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
		dir = ino_of(dir, part);
		ck_assert_uint_ne(dir, 0);
		path = slash + 1;
	}
	*name = path;
	return dir;
}

static uint64_t ino_at(const char *path)
{
	const char *name;
	uint64_t dir = dir_of(path, &name);

	return S_ISDIR(attr_of(dir).mode) ? ino_of(dir, name) : 0;
}

struct census {
	unsigned subdirs, entries;
	uint64_t dir;
	struct {
		uint64_t ino;
		char name[32];
		bool is_dir;
	} e[64];
};

static bool take_census(void *arg, const char *name, const struct fs_attr *attr, uint64_t cookie)
{
	struct census *c = arg;

	(void)cookie;
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return true;
	ck_assert_uint_lt(c->entries, 64);
	c->e[c->entries].ino = attr->ino;
	c->e[c->entries].is_dir = S_ISDIR(attr->mode);
	snprintf(c->e[c->entries].name, 32, "%s", name);
	c->entries++;
	c->subdirs += S_ISDIR(attr->mode);
	return true;
}

/* Link counts and parents below DIR are what they should be. Returns how many names there are. */
static unsigned expect_sound(uint64_t dir, uint64_t parent)
{
	struct census c = {.dir = dir};
	unsigned nr;

	ck_assert_uint_eq(ino_of(dir, ".."), parent);
	ck_assert_int_eq(fs_readdir(m.t, dir, 0, false, take_census, &c), 0);
	ck_assert_uint_eq(attr_of(dir).nlink, 2 + c.subdirs);
	nr = c.entries;
	for (unsigned i = 0; i < c.entries; i++) {
		ck_assert_uint_eq(ino_of(dir, c.e[i].name), c.e[i].ino);
		if (c.e[i].is_dir)
			nr += expect_sound(c.e[i].ino, dir);
		else
			ck_assert_uint_ge(attr_of(c.e[i].ino).nlink, 1);
	}
	return nr;
}

START_TEST(rename_follows_the_table)
{
	const struct rename_case *c = &rename_cases[_i];
	uint64_t from_dir, to_dir, from, to;
	const char *from_name, *to_name;
	unsigned before, gone;

	make_tree();
	before = expect_sound(FS_ROOT_INO, FS_ROOT_INO);
	from_dir = dir_of(c->from, &from_name);
	to_dir = dir_of(c->to, &to_name);
	from = ino_at(c->from);
	to = ino_at(c->to);
	ck_assert_int_eq(rename_in(from_dir, from_name, to_dir, to_name, c->flags), c->err);

	if (c->err != 0 || from == to) {
		ck_assert_uint_eq(ino_at(c->from), from);
		ck_assert_uint_eq(ino_at(c->to), to);
		ck_assert_uint_eq(expect_sound(FS_ROOT_INO, FS_ROOT_INO), before);
		return;
	}
	ck_assert_uint_eq(ino_of(to_dir, to_name), from);
	ck_assert_uint_eq(ino_of(from_dir, from_name), c->flags & RENAME_EXCHANGE ? to : 0);
	gone = to != 0 && !(c->flags & RENAME_EXCHANGE);
	ck_assert_uint_eq(expect_sound(FS_ROOT_INO, FS_ROOT_INO), before - gone);
	memfs_remount(&m);
	ck_assert_uint_eq(ino_of(to_dir, to_name), from);
	ck_assert_uint_eq(expect_sound(FS_ROOT_INO, FS_ROOT_INO), before - gone);
}
END_TEST

START_TEST(what_rename_overwrites_loses_a_link)
{
	uint64_t g, f;
	struct fs_attr a, b, f_attr;

	make_tree();
	f = ino_at("f");
	ck_assert_int_eq(fs_lookup(m.t, FS_ROOT_INO, "g", &a), 0);
	g = a.ino;
	ck_assert_int_eq(rename_in(FS_ROOT_INO, "b", FS_ROOT_INO, "c", 0), 0);
	ck_assert_int_eq(rename_in(FS_ROOT_INO, "f", FS_ROOT_INO, "g", 0), 0);
	ck_assert_uint_eq(attr_of(g).nlink, 0);
	f_attr = attr_of(f);
	ck_assert_uint_eq(f_attr.nlink, 2);
	forget(&a);
	ck_assert_int_eq(fs_getattr(m.t, g, &b), -ESTALE);
	ck_assert_int_eq(rename_in(ino_at("a"), "x", FS_ROOT_INO, "h", 0), 0);
	ck_assert_uint_eq(attr_of(f).nlink, 1);
}
END_TEST

START_TEST(a_circle_of_parents_is_noticed)
{
	uint64_t a, b;
	struct inode *inode;

	a = mkdir_in(FS_ROOT_INO, "a");
	b = mkdir_in(a, "b");
	ck_assert_int_eq(inode_get(m.t, a, &inode), 0);
	inode->parent = b;
	file_in(FS_ROOT_INO, "f");
	ck_assert_int_eq(rename_in(FS_ROOT_INO, "f", b, "f", 0), -EUCLEAN);
	inode->parent = FS_ROOT_INO;
	inode_put(m.t, inode);
}
END_TEST

/* ---- readdir ---- */

struct page { /* a reply that has room for so many */
	unsigned room, nr;
	uint64_t last;
	char name[64][32];
	struct fs_attr attr[64];
};

static bool fill_page(void *arg, const char *name, const struct fs_attr *attr, uint64_t cookie)
{
	struct page *p = arg;

	if (p->nr == p->room)
		return false;
	ck_assert_uint_gt(cookie, p->last);
	p->last = cookie;
	snprintf(p->name[p->nr], sizeof(p->name[0]), "%s", name);
	p->attr[p->nr++] = *attr;
	return true;
}

START_TEST(readdir_pages_through_all_names_once)
{
	enum { NR = 500 };
	bool seen[NR] = {false};
	uint64_t d = mkdir_in(FS_ROOT_INO, "d");
	struct page p = {.room = 1 + (unsigned)_i * 10};
	unsigned total = 0;
	char name[32];

	for (unsigned i = 0; i < NR; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		file_in(d, name);
	}
	do {
		p.nr = 0;
		ck_assert_int_eq(fs_readdir(m.t, d, p.last, false, fill_page, &p), 0);
		for (unsigned i = 0; i < p.nr; i++, total++) {
			unsigned k;

			if (total < 2) {
				ck_assert_str_eq(p.name[i], total == 0 ? "." : "..");
				ck_assert_uint_eq(p.attr[i].ino, total == 0 ? d : FS_ROOT_INO);
				ck_assert_uint_eq(p.attr[i].mode, S_IFDIR);
				continue;
			}
			ck_assert_int_eq(sscanf(p.name[i], "f%u", &k), 1);
			ck_assert(!seen[k]);
			seen[k] = true;
			ck_assert_uint_eq(p.attr[i].mode, S_IFREG);
		}
	} while (p.nr > 0);
	ck_assert_uint_eq(total, NR + 2);
}
END_TEST

static uint64_t lookups_of(uint64_t ino)
{
	struct inode *inode;
	uint64_t nr;

	ck_assert_int_eq(inode_get(m.t, ino, &inode), 0);
	nr = atomic_load(&inode->nlookup);
	inode_put(m.t, inode);
	return nr;
}

START_TEST(readdir_with_attributes_references_what_was_taken)
{
	uint64_t d = mkdir_in(FS_ROOT_INO, "d"), root = lookups_of(FS_ROOT_INO), self, sum = 0;
	struct page p = {.room = 5};
	uint64_t ino[10];
	char name[8];

	self = lookups_of(d);
	for (unsigned i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "%u", i);
		ino[i] = i % 2 ? file_in(d, name) : mkdir_in(d, name);
	}
	ck_assert_int_eq(fs_readdir(m.t, d, 0, true, fill_page, &p), 0);
	ck_assert_uint_eq(p.nr, 5);
	for (unsigned i = 2; i < 5; i++) {
		struct fs_attr a = attr_of(p.attr[i].ino);

		ck_assert_uint_eq(lookups_of(a.ino), 1);
		ck_assert_uint_eq(p.attr[i].mode, a.mode);
		ck_assert_uint_eq(p.attr[i].nlink, a.nlink);
		ck_assert_uint_eq(p.attr[i].uid, 1000);
	}
	for (unsigned i = 0; i < 10; i++)
		sum += lookups_of(ino[i]);
	ck_assert_uint_eq(sum, 3);
	ck_assert_uint_eq(lookups_of(FS_ROOT_INO), root);
	ck_assert_uint_eq(lookups_of(d), self);
	for (unsigned i = 2; i < 5; i++)
		forget(&p.attr[i]);
}
END_TEST

/* rm -r reads a page, removes what it got, and goes on. */
START_TEST(readdir_goes_on_after_its_names_were_removed)
{
	uint64_t d = mkdir_in(FS_ROOT_INO, "d");
	struct page p = {.room = 7};
	char name[32];

	for (unsigned i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		file_in(d, name);
	}
	do {
		p.nr = 0;
		ck_assert_int_eq(fs_readdir(m.t, d, p.last, true, fill_page, &p), 0);
		for (unsigned i = 0; i < p.nr; i++)
			if (p.name[i][0] != '.') {
				forget(&p.attr[i]);
				ck_assert_int_eq(fs_unlink(m.t, d, p.name[i]), 0);
			}
	} while (p.nr > 0);
	ck_assert_int_eq(fs_rmdir(m.t, FS_ROOT_INO, "d"), 0);
}
END_TEST

START_TEST(an_entry_that_lies_about_its_inode_is_refused)
{
	struct inode *root;
	struct tx_handle h;
	struct fs_attr a;
	unsigned nr = 0;
	uint64_t f = file_in(FS_ROOT_INO, "f");

	ck_assert_int_eq(inode_get(m.t, FS_ROOT_INO, &root), 0);
	ck_assert_int_eq(tx_begin(m.t, TX_JOIN_NAMES, TX_ALLOC_NAMES, &h), 0);
	switch (_i) {
	case 0: /* another type */
		ck_assert_int_eq(dir_replace(&h, root, "f", f, DT_DIR), 0);
		break;
	case 1: /* a free inode */
		ck_assert_int_eq(dir_replace(&h, root, "f", f + 1, DT_REG), 0);
		break;
	case 2: /* no inode's number */
		ck_assert_int_eq(dir_replace(&h, root, "f", UINT64_MAX, DT_REG), 0);
		break;
	case 3: /* the directory itself */
		ck_assert_int_eq(dir_replace(&h, root, "f", FS_ROOT_INO, DT_DIR), 0);
		break;
	}
	tx_end(&h);
	inode_put(m.t, root);
	ck_assert_int_eq(fs_lookup(m.t, FS_ROOT_INO, "f", &a), -EUCLEAN);
	ck_assert_int_eq(fs_readdir(m.t, FS_ROOT_INO, 0, true, count_entry, &nr), -EUCLEAN);
	ck_assert_int_eq(_i == 0 || _i == 3 ? fs_rmdir(m.t, FS_ROOT_INO, "f")
					    : fs_unlink(m.t, FS_ROOT_INO, "f"),
		-EUCLEAN);
	ck_assert_int_eq(rename_in(FS_ROOT_INO, "f", FS_ROOT_INO, "g", 0), -EUCLEAN);
}
END_TEST

/* ---- random operations against a model ---- */

enum { NODES = 400, NAMES = 12 };
struct node { /* of the model; number 0 is the root, a free one has type 0 */
	uint64_t ino;
	uint32_t type;
	unsigned nlink;
	int parent;
};
struct mentry {
	int dir, node;
	char name[16];
};
static struct node nodes[NODES];
static struct mentry entries[NODES * 2];
static unsigned nr_entries;

static struct mentry *model_find(int dir, const char *name)
{
	for (unsigned i = 0; i < nr_entries; i++)
		if (entries[i].dir == dir && strcmp(entries[i].name, name) == 0)
			return &entries[i];
	return NULL;
}

static void model_add(int dir, const char *name, int node)
{
	struct mentry *e = &entries[nr_entries++];

	ck_assert_uint_lt(nr_entries, NODES * 2);
	e->dir = dir;
	e->node = node;
	snprintf(e->name, sizeof(e->name), "%s", name);
	if (nodes[node].type == S_IFDIR) {
		nodes[node].parent = dir;
		nodes[dir].nlink++;
	}
}

/* Take the name; the inode keeps its link. */
static void model_take(struct mentry *e)
{
	if (nodes[e->node].type == S_IFDIR)
		nodes[e->dir].nlink--;
	*e = entries[--nr_entries];
}

static void model_drop(int node)
{
	nodes[node].nlink = nodes[node].type == S_IFDIR ? 0 : nodes[node].nlink - 1;
	if (nodes[node].nlink == 0)
		nodes[node].type = 0;
}

static bool model_empty(int dir)
{
	for (unsigned i = 0; i < nr_entries; i++)
		if (entries[i].dir == dir)
			return false;
	return true;
}

static bool model_under(int node, int above)
{
	while (node != above && node != 0)
		node = nodes[node].parent;
	return node == above;
}

static int pick(bool dir_only)
{
	for (;;) {
		int i = rand() % NODES;

		if (nodes[i].type != 0 && (!dir_only || nodes[i].type == S_IFDIR))
			return i;
	}
}

static int free_node(void)
{
	for (int i = 0; i < NODES; i++)
		if (nodes[i].type == 0)
			return i;
	return -1;
}

static void step_make(int dir, const char *name)
{
	static const uint32_t types[] = {S_IFREG, S_IFDIR, S_IFLNK};
	uint32_t type = types[rand() % 3];
	int err, node = free_node();
	struct fs_attr a;

	if (node < 0)
		return;
	if (type == S_IFLNK)
		err = fs_symlink(m.t, nodes[dir].ino, name, "some/where", &cred, &a);
	else
		err = fs_mknod(m.t, nodes[dir].ino, name, type | 0700, 0, &cred, &a);
	ck_assert_int_eq(err, model_find(dir, name) != NULL ? -EEXIST : 0);
	if (err < 0)
		return;
	forget(&a);
	nodes[node] = (struct node){a.ino, type, type == S_IFDIR ? 2 : 1, dir};
	model_add(dir, name, node);
}

static void step_link(int dir, const char *name)
{
	int node = pick(false), want = 0, err;
	struct fs_attr a;

	if (nr_entries >= NODES * 2 - 2)
		return;
	if (nodes[node].type == S_IFDIR)
		want = -EPERM;
	else if (model_find(dir, name) != NULL)
		want = -EEXIST;
	err = fs_link(m.t, nodes[node].ino, nodes[dir].ino, name, &a);
	ck_assert_int_eq(err, want);
	if (err < 0)
		return;
	forget(&a);
	nodes[node].nlink++;
	ck_assert_uint_eq(a.nlink, nodes[node].nlink);
	model_add(dir, name, node);
}

static void step_remove(int dir, const char *name, bool rmdir)
{
	struct mentry *e = model_find(dir, name);
	int want = 0, err;

	if (e == NULL)
		want = -ENOENT;
	else if (rmdir != (nodes[e->node].type == S_IFDIR))
		want = rmdir ? -ENOTDIR : -EISDIR;
	else if (rmdir && !model_empty(e->node))
		want = -ENOTEMPTY;
	err = rmdir ? fs_rmdir(m.t, nodes[dir].ino, name) : fs_unlink(m.t, nodes[dir].ino, name);
	ck_assert_int_eq(err, want);
	if (err == 0) {
		int node = e->node;

		model_take(e);
		model_drop(node);
	}
}

static int model_rename_error(
	const struct mentry *s, const struct mentry *d, int to, unsigned flags)
{
	if (s == NULL || (d == NULL && flags == RENAME_EXCHANGE))
		return -ENOENT;
	if (d != NULL && flags == RENAME_NOREPLACE)
		return -EEXIST;
	if (d != NULL && d->node == s->node)
		return 0;
	if (nodes[s->node].type == S_IFDIR && model_under(to, s->node))
		return -EINVAL;
	if (d == NULL)
		return 0;
	if (nodes[d->node].type == S_IFDIR && model_under(s->dir, d->node))
		return flags == RENAME_EXCHANGE ? -EINVAL : -ENOTEMPTY;
	if (flags == RENAME_EXCHANGE)
		return 0;
	if ((nodes[s->node].type == S_IFDIR) != (nodes[d->node].type == S_IFDIR))
		return nodes[d->node].type == S_IFDIR ? -EISDIR : -ENOTDIR;
	return nodes[d->node].type == S_IFDIR && !model_empty(d->node) ? -ENOTEMPTY : 0;
}

static void model_rename(int from, const char *name, int to, const char *newname, unsigned flags)
{
	int s = model_find(from, name)->node, d = -1;

	if (model_find(to, newname) != NULL)
		d = model_find(to, newname)->node;
	if (s == d)
		return;
	model_take(model_find(from, name));
	if (d >= 0)
		model_take(model_find(to, newname));
	model_add(to, newname, s);
	if (flags == RENAME_EXCHANGE)
		model_add(from, name, d);
	else if (d >= 0)
		model_drop(d);
}

static void step_rename(int from, const char *name)
{
	static const unsigned all_flags[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
	unsigned flags = all_flags[rand() % 5];
	int to = rand() % 3 != 0 ? pick(true) : from, err;
	char newname[16];

	snprintf(newname, sizeof(newname), "n%d", rand() % NAMES);
	err = rename_in(nodes[from].ino, name, nodes[to].ino, newname, flags);
	ck_assert_int_eq(err,
		model_rename_error(model_find(from, name), model_find(to, newname), to, flags));
	if (err == 0)
		model_rename(from, name, to, newname, flags);
}

static void expect_model(void)
{
	struct fs_attr a;

	for (unsigned i = 0; i < nr_entries; i++) {
		const struct node *n = &nodes[entries[i].node];

		ck_assert_int_eq(look(nodes[entries[i].dir].ino, entries[i].name, &a), 0);
		ck_assert_uint_eq(a.ino, n->ino);
		ck_assert_uint_eq(a.mode & S_IFMT, n->type);
		ck_assert_uint_eq(a.nlink, n->nlink);
	}
	ck_assert_uint_eq(expect_sound(FS_ROOT_INO, FS_ROOT_INO), nr_entries);
}

START_TEST(random_operations_match_a_model)
{
	enum { STEPS = 12000 };
	char name[16];

	srand((unsigned)_i + 1);
	memset(nodes, 0, sizeof(nodes));
	nr_entries = 0;
	nodes[0] = (struct node){FS_ROOT_INO, S_IFDIR, 2, 0};
	for (unsigned i = 0; i < STEPS; i++) {
		int dir = pick(true), what = rand() % 100;

		snprintf(name, sizeof(name), "n%d", rand() % NAMES);
		if (what < 30)
			step_make(dir, name);
		else if (what < 38)
			step_link(dir, name);
		else if (what < 65)
			step_remove(dir, name, what < 48);
		else
			step_rename(dir, name);
		if (i % 3000 == 2999) {
			expect_model();
			memfs_remount(&m);
			expect_model();
		}
	}
}
END_TEST

/* ---- several threads ---- */

enum { THREADS = 4, DIRS = 6, RACES = 3000 };
static uint64_t race_dirs[DIRS];

static void race_step(struct fs_thread *t, unsigned *seed)
{
	uint64_t d = race_dirs[(unsigned)rand_r(seed) % DIRS],
		 e = race_dirs[(unsigned)rand_r(seed) % DIRS];
	char name[8], other[8];
	struct fs_attr a;
	unsigned nr = 0;

	snprintf(name, sizeof(name), "r%d", rand_r(seed) % 6);
	snprintf(other, sizeof(other), "r%d", rand_r(seed) % 6);
	switch (rand_r(seed) % 10) {
	case 0:
		if (fs_mknod(t, d, name, S_IFREG | 0600, 0, &cred, &a) == 0)
			fs_forget(t, a.ino, 1);
		break;
	case 1:
		if (fs_mknod(t, d, name, S_IFDIR | 0700, 0, &cred, &a) == 0)
			fs_forget(t, a.ino, 1);
		break;
	case 2:
		fs_unlink(t, d, name);
		break;
	case 3:
		fs_rmdir(t, d, name);
		break;
	case 4:
	case 5:
		fs_rename(t, d, name, e, other, 0);
		break;
	case 6:
		fs_rename(t, d, name, e, other, RENAME_EXCHANGE);
		break;
	case 7:
		if (fs_lookup(t, d, name, &a) == 0)
			fs_forget(t, a.ino, 1);
		break;
	case 8:
		fs_readdir(t, d, 0, false, count_entry, &nr);
		break;
	case 9:
		fs_getattr(t, d, &a);
		break;
	}
}

static void *race(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg + 100;
	struct fs_thread *t;

	if (fs_thread_open(m.fs, &t) != 0)
		return NULL;
	for (unsigned i = 0; i < RACES; i++)
		race_step(t, &seed);
	fs_thread_close(t);
	return t;
}

/* The directories that all threads use are below one another and move about; names in them collide
 * all the time. */
START_TEST(threads_neither_block_each_other_for_ever_nor_break_the_tree)
{
	pthread_t thread[THREADS];
	char name[8];

	for (unsigned i = 0; i < DIRS; i++) {
		snprintf(name, sizeof(name), "r%u", i);
		race_dirs[i] = mkdir_in(i == 0 ? FS_ROOT_INO : race_dirs[i / 2], name);
		file_in(race_dirs[i], "keeps it from being removed");
	}
	for (unsigned i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, race, (void *)(uintptr_t)i), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		void *ret;

		pthread_join(thread[i], &ret);
		ck_assert_ptr_nonnull(ret);
	}
	expect_sound(FS_ROOT_INO, FS_ROOT_INO);
	memfs_remount(&m);
	expect_sound(FS_ROOT_INO, FS_ROOT_INO);
}
END_TEST

enum { DEPTH = 200, ROUNDS = 1000 };
struct mover { /* moves NAME from DIR into INTO, when told to */
	uint64_t dir, into;
	const char *name;
	atomic_uint *round; /* the number of movers that are ready, over all rounds */
	int err[ROUNDS];
};

static void *move_into_the_other(void *arg)
{
	struct mover *v = arg;
	struct fs_thread *t;

	if (fs_thread_open(m.fs, &t) != 0)
		return NULL;
	for (unsigned i = 0; i < ROUNDS; i++) {
		atomic_fetch_add(v->round, 1);
		while (atomic_load(v->round) < 4 * i + 2)
			sched_yield();
		v->err[i] = fs_rename(t, v->dir, v->name, v->into, "x", 0);
		atomic_fetch_add(v->round, 1);
		while (atomic_load(v->round) < 4 * i + 4)
			sched_yield();
		if (v->err[i] == 0 && fs_rename(t, v->into, "x", v->dir, v->name, 0) != 0)
			v->err[i] = -EIO;
	}
	fs_thread_close(t);
	return t;
}

/* Each looks for its ancestors before it locks: were they to do so at once, both would go, and hang
 * below nothing. */
START_TEST(two_directories_are_not_moved_into_each_other)
{
	static struct mover v[2];
	pthread_t thread[2];
	atomic_uint round = 0;
	uint64_t at[2];
	void *ret;

	for (unsigned k = 0; k < 2; k++) {
		at[k] = mkdir_in(FS_ROOT_INO, k == 0 ? "first" : "second");
		for (unsigned i = 0; i < DEPTH; i++) /* a long way up takes time */
			at[k] = mkdir_in(at[k], "d");
		v[k].dir = at[k];
		v[k].name = "mover";
		v[k].round = &round;
		v[1 - k].into = mkdir_in(at[k], "mover");
	}
	for (unsigned k = 0; k < 2; k++)
		ck_assert_int_eq(pthread_create(&thread[k], NULL, move_into_the_other, &v[k]), 0);
	for (unsigned k = 0; k < 2; k++) {
		ck_assert_int_eq(pthread_join(thread[k], &ret), 0);
		ck_assert_ptr_nonnull(ret);
	}
	for (unsigned i = 0; i < ROUNDS; i++)
		MUST((v[0].err[i] == 0 && v[1].err[i] == -EINVAL) ||
			(v[1].err[i] == 0 && v[0].err[i] == -EINVAL));
	expect_sound(FS_ROOT_INO, FS_ROOT_INO);
}
END_TEST

static Suite *namei_suite(void)
{
	Suite *s = suite_create("namei");
	TCase *tc = tcase_create("rules"), *whole = tcase_create("whole trees");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_new_file_is_found_with_what_it_was_made_with);
	tcase_add_test(tc, every_type_but_a_symlink_can_be_made);
	tcase_add_test(tc, dot_and_dotdot_are_found);
	tcase_add_loop_test(tc, bad_names_are_refused_by_every_call, 0, 5);
	tcase_add_test(tc, a_name_in_use_is_not_made_again);
	tcase_add_test(tc, a_set_group_id_directory_gives_its_group);
	tcase_add_test(tc, a_directory_counts_its_subdirectories);
	tcase_add_test(tc, a_symlink_reads_back_at_any_length);
	tcase_add_test(tc, impossible_symlinks_are_refused);
	tcase_add_test(tc, a_removed_symlink_gives_its_block_back);
	tcase_add_test(tc, links_are_counted);
	tcase_add_test(tc, a_directory_is_not_linked);
	tcase_add_test(tc, an_unlinked_inode_lives_while_referenced);
	tcase_add_test(tc, unlink_and_rmdir_keep_to_their_kind);
	tcase_add_test(tc, nothing_is_found_or_made_in_a_removed_directory);
	tcase_add_loop_test(tc, changes_of_names_set_the_times, 0, 5);
	tcase_add_test(tc, links_beyond_the_limit_are_refused);
	tcase_add_loop_test(tc, rename_follows_the_table, 0, NR_RENAMES);
	tcase_add_test(tc, what_rename_overwrites_loses_a_link);
	tcase_add_test(tc, a_circle_of_parents_is_noticed);
	tcase_add_loop_test(tc, readdir_pages_through_all_names_once, 0, 4);
	tcase_add_test(tc, readdir_with_attributes_references_what_was_taken);
	tcase_add_test(tc, readdir_goes_on_after_its_names_were_removed);
	tcase_add_loop_test(tc, an_entry_that_lies_about_its_inode_is_refused, 0, 4);
	suite_add_tcase(s, tc);
	tcase_set_timeout(whole, 60);
	tcase_add_checked_fixture(whole, setup, teardown);
	tcase_add_loop_test(whole, random_operations_match_a_model, 0, 3);
	tcase_add_test(whole, threads_neither_block_each_other_for_ever_nor_break_the_tree);
	tcase_add_test(whole, two_directories_are_not_moved_into_each_other);
	suite_add_tcase(s, whole);
	return s;
}

int main(void)
{
	return run_suite(namei_suite());
}
