/* test_errors.c - errors.c: what errors= does, call by call, when a block of metadata is damaged;
 * and what is said about it. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include "cut_disk.h"
#include "io_wait.h"
#include "memfs.h"
#include "fs.h"

static struct memfs m;
static uint8_t *buf;      /* a block of DMA memory */
static unsigned nr_lines; /* logged */
static char last_line[512];

/* Instead of the C library's. */
void syslog(int priority, const char *fmt, ...)
{
	va_list ap;

	(void)priority;
	va_start(ap, fmt);
	(void)vsnprintf(last_line, sizeof(last_line), fmt, ap);
	va_end(ap);
	nr_lines++;
}

static uint64_t make(const char *name, uint32_t mode)
{
	struct fs_attr a;

	MUST(fs_mknod(m.t, FS_ROOT_INO, name, mode, 0, &(struct fs_cred){0}, &a) == 0);
	return a.ino;
}

/* --- each call that there is --- */

static uint64_t file, dir;

static int transfer(void (*fn)(struct fs_thread *t, struct fs_io *io))
{
	struct fs_io io = {.ino = file, .bytes = 100, .buf = buf};
	ssize_t result = io_do(m.t, fn, &io);

	return result < 0 ? (int)result : 0;
}

static int do_read(void)
{
	return transfer(fs_read);
}

static int do_write(void)
{
	return transfer(fs_write);
}

static int do_getattr(void)
{
	struct fs_attr a;

	return fs_getattr(m.t, file, &a);
}

static int do_lookup(void)
{
	struct fs_attr a;
	int err = fs_lookup(m.t, FS_ROOT_INO, "file", &a);

	if (err == 0)
		fs_forget(m.t, a.ino, 1);
	return err;
}

static bool take(void *arg, const char *name, const struct fs_attr *a, uint64_t cookie)
{
	(void)arg;
	(void)name;
	(void)a;
	(void)cookie;
	return true;
}

static int do_readdir(void)
{
	return fs_readdir(m.t, FS_ROOT_INO, 0, false, take, NULL);
}

static int do_readlink(void)
{
	struct fs_attr a;
	char to[FS_SYMLINK_MAX + 1];
	int err = fs_lookup(m.t, FS_ROOT_INO, "link", &a);

	return err < 0 ? err : fs_readlink(m.t, a.ino, to, sizeof(to));
}

static int do_getxattr(void)
{
	char value[16];
	ssize_t n = fs_getxattr(m.t, file, "user.x", value, sizeof(value));

	return n < 0 ? (int)n : 0;
}

static int do_lseek(void)
{
	uint64_t out;

	return fs_lseek(m.t, file, 0, SEEK_DATA, &out);
}

static int do_setattr(void)
{
	struct fs_attr a;

	return fs_setattr(m.t, file, &(struct fs_setattr){.valid = FS_SET_MODE, .mode = 0600}, &a);
}

static int do_truncate(void)
{
	struct fs_attr a;

	return fs_setattr(m.t, file, &(struct fs_setattr){.valid = FS_SET_SIZE, .size = 200}, &a);
}

static int do_mknod(void)
{
	struct fs_attr a;

	return fs_mknod(m.t, FS_ROOT_INO, "new", S_IFREG | 0644, 0, &(struct fs_cred){0}, &a);
}

static int do_symlink(void)
{
	struct fs_attr a;

	return fs_symlink(m.t, FS_ROOT_INO, "newlink", "to", &(struct fs_cred){0}, &a);
}

static int do_link(void)
{
	struct fs_attr a;

	return fs_link(m.t, file, dir, "hard", &a);
}

static int do_rename(void)
{
	return fs_rename(m.t, dir, "hard", dir, "renamed", 0);
}

static int do_unlink(void)
{
	return fs_unlink(m.t, dir, "renamed");
}

static int do_rmdir(void)
{
	return fs_rmdir(m.t, FS_ROOT_INO, "dir");
}

static int do_setxattr(void)
{
	return fs_setxattr(m.t, file, "user.y", "1", 1, 0);
}

static int do_removexattr(void)
{
	return fs_removexattr(m.t, file, "user.y");
}

static int do_fallocate(void)
{
	return fs_fallocate(m.t, file, 0, 0, 50000);
}

static int do_sync(void)
{
	return fs_sync(m.t);
}

static const struct {
	int (*call)(void);
	bool changes;
} calls[] = {{do_read, false}, {do_getattr, false}, {do_lookup, false}, {do_readdir, false},
	{do_readlink, false}, {do_getxattr, false}, {do_lseek, false}, {do_write, true},
	{do_setattr, true}, {do_truncate, true}, {do_mknod, true}, {do_symlink, true},
	{do_link, true}, {do_rename, true}, {do_unlink, true}, {do_rmdir, true},
	{do_setxattr, true}, {do_removexattr, true}, {do_fallocate, true}};
#define NR_CALLS (sizeof(calls) / sizeof(calls[0]))

static void mount_with(enum fs_errors errors)
{
	struct fs_mount_opts opts = {.errors = errors};
	struct mkfs_geometry geo;
	struct fs_attr a;
	char err[256];

	MUST(mem_disk_open(64U << 11, &m.dev) == 0);
	MUST(mkfs_write(m.dev, &(struct mkfs_opts){0}, &geo, err, sizeof(err)) == 0);
	MUST(fs_mount(m.dev, &opts, &m.fs) == 0);
	MUST(fs_thread_open(m.fs, &m.t) == 0);
	buf = blk_dma_alloc(m.dev, FS_BLOCK_BYTES);
	file = make("file", S_IFREG | 0644);
	dir = make("dir", S_IFDIR | 0755);
	MUST(fs_symlink(m.t, FS_ROOT_INO, "link", "to", &(struct fs_cred){0}, &a) == 0);
	MUST(fs_setxattr(m.t, file, "user.x", "1", 1, 0) == 0);
	MUST(do_write() == 0);
	MUST(fs_sync(m.t) == 0);
	nr_lines = 0;
}

static int unmount(void)
{
	int err;

	blk_dma_free(m.dev, buf, FS_BLOCK_BYTES);
	err = memfs_unmount(&m);
	blk_close(m.dev);
	return err;
}

START_TEST(with_errors_remount_ro_reading_goes_on_and_changing_is_refused)
{
	mount_with(FS_ERRORS_REMOUNT_RO);
	MUST(fs_corrupt(m.fs, 99, "a test") == -EUCLEAN);
	for (size_t i = 0; i < NR_CALLS; i++)
		ck_assert_int_eq(calls[i].call(), calls[i].changes ? -EROFS : 0);
	ck_assert_int_eq(do_sync(), -EIO);
	ck_assert_int_lt(unmount(), 0);
}
END_TEST

START_TEST(with_errors_continue_everything_goes_on)
{
	mount_with(FS_ERRORS_CONTINUE);
	MUST(fs_corrupt(m.fs, 99, "a test") == -EUCLEAN);
	for (size_t i = 0; i < NR_CALLS; i++)
		ck_assert_int_eq(calls[i].call(), 0);
	ck_assert_int_eq(do_sync(), 0);
	ck_assert_int_eq(unmount(), 0);
}
END_TEST

START_TEST(with_errors_shutdown_every_call_fails)
{
	mount_with(FS_ERRORS_SHUTDOWN);
	MUST(fs_corrupt(m.fs, 99, "a test") == -EUCLEAN);
	for (size_t i = 0; i < NR_CALLS; i++)
		ck_assert_int_eq(calls[i].call(), -EIO);
	ck_assert_int_eq(do_sync(), -EIO);
	ck_assert_int_lt(unmount(), 0);
}
END_TEST

/* A journal write of unknown outcome is no matter of errors=: nothing can be committed any more. */
START_TEST(a_lost_write_ends_changing_whatever_errors_says) /* looped over errors= */
{
	mount_with((enum fs_errors)_i);
	MUST(fs_abort(m.fs, -EIO, "a test") == -EIO);
	for (size_t i = 0; i < NR_CALLS; i++)
		ck_assert_int_eq(calls[i].call(), _i == FS_ERRORS_SHUTDOWN ? -EIO
						  : calls[i].changes       ? -EROFS
									   : 0);
	ck_assert_int_eq(do_sync(), -EIO);
	ck_assert_int_lt(unmount(), 0);
}
END_TEST

/* --- the log --- */

START_TEST(what_was_said_is_not_said_again)
{
	mount_with(FS_ERRORS_CONTINUE);
	for (unsigned i = 0; i < 100; i++)
		fs_note_corrupt(m.fs, 99, "bad %s", "magic");
	ck_assert_uint_eq(nr_lines, 1);
	ck_assert_ptr_nonnull(strstr(last_line, "block 99: bad magic"));
	fs_note_corrupt(m.fs, 100, "bad %s", "magic");
	fs_note_corrupt(m.fs, 99, "bad %s", "checksum");
	ck_assert_uint_eq(nr_lines, 3);
	ck_assert_int_eq(unmount(), 0);
}
END_TEST

START_TEST(a_disk_that_is_damaged_all_over_does_not_fill_the_log)
{
	mount_with(FS_ERRORS_CONTINUE);
	for (unsigned i = 1; i < 10000; i++)
		fs_note_corrupt(m.fs, i, "bad");
	ck_assert_uint_gt(nr_lines, 10);
	ck_assert_uint_lt(nr_lines, 30);
	ck_assert_ptr_nonnull(strstr(last_line, "not logged"));
	ck_assert_int_eq(unmount(), 0);
}
END_TEST

START_TEST(turning_read_only_is_said_once)
{
	mount_with(FS_ERRORS_REMOUNT_RO);
	fs_note_corrupt(m.fs, 99, "bad");
	ck_assert_uint_eq(nr_lines, 2);
	ck_assert_ptr_nonnull(strstr(last_line, "fsck.vblkfs"));
	fs_note_corrupt(m.fs, 98, "bad");
	fs_note_abort(m.fs, -EIO, "a test");
	ck_assert_uint_eq(nr_lines, 3);
	ck_assert_int_lt(unmount(), 0);
}
END_TEST

START_TEST(a_read_that_fails_is_said_once_and_the_mount_goes_on)
{
	struct fs_mount_opts opts = {0};
	struct mkfs_opts mkfs = {.no_discard = true};
	struct mkfs_geometry geo;
	char err[128];

	MUST(cut_disk_open(64U << 11, &m.dev) == 0);
	MUST(mkfs_write(m.dev, &mkfs, &geo, err, sizeof(err)) == 0);
	MUST(fs_mount(m.dev, &opts, &m.fs) == 0);
	MUST(fs_thread_open(m.fs, &m.t) == 0);
	buf = blk_dma_alloc(m.dev, FS_BLOCK_BYTES);
	file = make("file", S_IFREG | 0644);
	MUST(do_write() == 0);
	MUST(fs_sync(m.t) == 0);
	nr_lines = 0;
	cut_disk_fail_reads(m.dev, 1);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(do_read(), -EIO);
	cut_disk_fail_reads(m.dev, 0);
	ck_assert_uint_eq(nr_lines, 1);
	ck_assert_ptr_nonnull(strstr(last_line, "read at byte 0: Input/output error"));
	ck_assert_int_eq(do_read(), 0);
	ck_assert_int_eq(do_write(), 0);
	ck_assert_int_eq(unmount(), 0);
}
END_TEST

/* --- mounting --- */

#define COPY_BLOCK (GROUP_BLOCKS_DEFAULT + 1U)

START_TEST(a_damaged_superblock_with_a_good_copy_leads_to_fsck) /* looped: copy good, or not */
{
	struct mkfs_opts opts = {.no_discard = true};
	struct mkfs_geometry geo;
	struct blockdev *disk;
	char err[128];
	struct fs *fs;

	MUST(cut_disk_open((uint64_t)GROUP_BLOCKS_DEFAULT * BLOCK_SECTORS * 3 / 2, &disk) == 0);
	MUST(mkfs_write(disk, &opts, &geo, err, sizeof(err)) == 0);
	cut_disk_bytes(disk)[BLOCK_BYTES + 100] ^= 1;
	if (_i == 1)
		cut_disk_bytes(disk)[(size_t)COPY_BLOCK * BLOCK_BYTES + 100] ^= 1;
	ck_assert_int_eq(fs_mount(disk, NULL, &fs), -EUCLEAN);
	ck_assert_ptr_nonnull(strstr(last_line, "fsck.vblkfs"));
	ck_assert_ptr_nonnull(strstr(last_line, _i == 0 ? "copy in block 262145" : "no copy"));
	blk_close(disk);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("errors");
	TCase *tc = tcase_create("all");

	tcase_add_test(tc, with_errors_remount_ro_reading_goes_on_and_changing_is_refused);
	tcase_add_test(tc, with_errors_continue_everything_goes_on);
	tcase_add_test(tc, with_errors_shutdown_every_call_fails);
	tcase_add_loop_test(tc, a_lost_write_ends_changing_whatever_errors_says, 0, 3);
	tcase_add_test(tc, what_was_said_is_not_said_again);
	tcase_add_test(tc, a_disk_that_is_damaged_all_over_does_not_fill_the_log);
	tcase_add_test(tc, turning_read_only_is_said_once);
	tcase_add_test(tc, a_read_that_fails_is_said_once_and_the_mount_goes_on);
	tcase_add_loop_test(tc, a_damaged_superblock_with_a_good_copy_leads_to_fsck, 0, 2);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return run_suite(suite());
}
