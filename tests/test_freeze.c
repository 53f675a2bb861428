/* test_freeze.c - vblkfs(5), promise 13: freezing, thawing; and shutting down, which ends everything
 * at once. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include "cut_disk.h"
#include "fsck.h"
#include "io_wait.h"

#define DISK_MIB 32U
#define ROOT     FS_ROOT_INO

static struct blockdev *disk;
static struct fs *fs;
static struct fs_thread *t;
static uint8_t *buf;

static void mount_it(void)
{
	MUST(fs_mount(disk, &(struct fs_mount_opts){.commit_s = 1}, &fs) == 0);
	MUST(fs_thread_open(fs, &t) == 0);
	buf = blk_dma_alloc(disk, FS_IO_MAX);
}

static int unmount_it(void)
{
	blk_dma_free(disk, buf, FS_IO_MAX);
	fs_thread_close(t);
	return fs_unmount(fs);
}

static void setup(void)
{
	struct mkfs_opts opts = {
		.have_uuid = true, .uuid = "freeze", .journal_bytes = 4U << 20, .no_discard = true};
	struct mkfs_geometry geo;
	char err[128];

	MUST(cut_disk_open((uint64_t)DISK_MIB << 11, &disk) == 0);
	MUST(mkfs_write(disk, &opts, &geo, err, sizeof(err)) == 0);
	mount_it();
}

static void teardown(void)
{
	(void)unmount_it();
	blk_close(disk);
}

static void sleep_ms(long ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	nanosleep(&ts, NULL);
}

static int make(struct fs_thread *by, const char *name, uint64_t *ino)
{
	struct fs_attr a = {0};
	int err = fs_mknod(by, ROOT, name, S_IFREG | 0644, 0, &(struct fs_cred){0}, &a);

	*ino = a.ino;
	return err;
}

static ssize_t write_bytes(
	struct fs_thread *by, uint8_t *from, uint64_t ino, uint64_t offset, uint32_t bytes)
{
	struct fs_io io = {.ino = ino, .offset = offset, .bytes = bytes, .buf = from};

	return io_do(by, fs_write, &io);
}

/* A copy of the disk, as whoever cuts the power or takes a snapshot has it. */
static struct blockdev *copy_disk(void)
{
	struct blockdev *copy;

	MUST(cut_disk_cut(disk, cut_disk_nr_events(disk), CUT_NONE, 0, &copy) == 0);
	return copy;
}

/* --- someone who writes --- */

enum how { MAKE, OVERWRITE };

struct writer {
	pthread_t thread;
	enum how how;
	uint64_t ino;
	atomic_bool done;
	int err;
};

static void *write_once(void *arg)
{
	struct writer *w = arg;
	struct fs_thread *mine;
	uint8_t *from = blk_dma_alloc(disk, FS_BLOCK_BYTES);
	uint64_t ino;

	MUST(fs_thread_open(fs, &mine) == 0);
	if (w->how == MAKE)
		w->err = make(mine, "late", &ino);
	else
		w->err = write_bytes(mine, from, w->ino, 0, 4096) == 4096 ? 0 : -1;
	fs_thread_close(mine);
	blk_dma_free(disk, from, FS_BLOCK_BYTES);
	atomic_store(&w->done, true);
	return NULL;
}

START_TEST(promise_13_while_frozen_nothing_is_written_and_all_is_there) /* looped: enum how */
{
	struct writer w = {.how = (enum how)_i};
	struct fsck_result result;
	struct fsck_log log = {.loud = true};
	uint64_t writes, flushes;
	struct blockdev *copy;
	struct fs_stats st;
	struct fs_attr a;

	MUST(make(t, "f", &w.ino) == 0);
	MUST(write_bytes(t, buf, w.ino, 0, 100000) == 100000);
	MUST(write_bytes(t, buf, w.ino, 0, 4096) == 4096);
	ck_assert_int_eq(fs_freeze(fs), 0);
	ck_assert_int_eq(fs_freeze(fs), -EBUSY);
	writes = cut_disk_nr_writes(disk);
	flushes = cut_disk_nr_flushes(disk);
	pthread_create(&w.thread, NULL, write_once, &w);
	sleep_ms(1300); /* longer than commit= */
	ck_assert(!atomic_load(&w.done));
	ck_assert_int_eq(fs_lookup(t, ROOT, "f", &a), 0); /* reading goes on */
	ck_assert_int_eq(fs_sync(t), 0);
	fs_get_stats(fs, &st);
	ck_assert(st.frozen);
	ck_assert_uint_eq(cut_disk_nr_writes(disk), writes);
	ck_assert_uint_eq(cut_disk_nr_flushes(disk), flushes);
	copy = copy_disk();
	ck_assert_int_eq(fsck_run(copy, FSCK_NO, &log, &result), 0);
	ck_assert_uint_eq(log.nr, 0);
	ck_assert(!result.journal_replayed);
	ck_assert_uint_eq(result.nr_files, 1);
	blk_close(copy);

	ck_assert_int_eq(fs_thaw(fs), 0);
	ck_assert_int_eq(fs_thaw(fs), -EINVAL);
	pthread_join(w.thread, NULL);
	ck_assert_int_eq(w.err, 0);
	ck_assert_int_eq(fs_sync(t), 0);
	ck_assert_uint_gt(cut_disk_nr_writes(disk), writes);
}
END_TEST

START_TEST(unmounting_thaws)
{
	uint64_t ino;

	MUST(make(t, "f", &ino) == 0);
	ck_assert_int_eq(fs_freeze(fs), 0);
	ck_assert_int_eq(unmount_it(), 0);
	fsck_sound(disk);
	mount_it();
}
END_TEST

START_TEST(who_waits_for_a_thaw_is_told_when_the_mount_is_shut)
{
	struct writer w = {.how = MAKE};

	ck_assert_int_eq(fs_freeze(fs), 0);
	pthread_create(&w.thread, NULL, write_once, &w);
	sleep_ms(50);
	ck_assert_int_eq(fs_shutdown(fs, false), 0);
	pthread_join(w.thread, NULL);
	ck_assert_int_eq(w.err, -EIO);
	ck_assert_int_eq(fs_freeze(fs), -EIO);
	ck_assert_int_eq(fs_thaw(fs), 0);
}
END_TEST

START_TEST(a_freeze_that_cannot_be_written_is_an_error_and_no_freeze)
{
	uint64_t ino;

	MUST(make(t, "f", &ino) == 0);
	cut_disk_fail_writes(disk, 1);
	ck_assert_int_eq(fs_freeze(fs), -EIO);
	ck_assert_int_eq(fs_thaw(fs), -EINVAL);
	cut_disk_fail_writes(disk, 0);
}
END_TEST

/* --- many who write --- */

static atomic_bool over;

static void *write_on_and_on(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;
	struct fs_thread *mine;
	uint8_t *from = blk_dma_alloc(disk, FS_IO_MAX);
	char name[32];
	uint64_t ino;

	snprintf(name, sizeof(name), "w%u", seed);
	MUST(fs_thread_open(fs, &mine) == 0);
	MUST(make(mine, name, &ino) == 0);
	for (unsigned i = 0; !atomic_load(&over); i++) {
		uint64_t other = 0;

		MUST(write_bytes(mine, from, ino, rand_r(&seed) % 50 * 4096, 5000) == 5000);
		snprintf(name, sizeof(name), "w%u-%u", (unsigned)(uintptr_t)arg, i % 20);
		if (make(mine, name, &other) == 0)
			fs_forget(mine, other, 1);
		else
			MUST(fs_unlink(mine, ROOT, name) == 0);
	}
	fs_thread_close(mine);
	blk_dma_free(disk, from, FS_IO_MAX);
	return NULL;
}

START_TEST(promise_13_a_copy_made_while_frozen_is_sound_whatever_goes_on)
{
	pthread_t threads[3];

	atomic_store(&over, false);
	for (uintptr_t i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, write_on_and_on, (void *)(i + 1));
	for (unsigned i = 0; i < 15; i++) {
		size_t events;
		struct blockdev *copy;

		sleep_ms(5);
		MUST(fs_freeze(fs) == 0);
		events = cut_disk_nr_events(disk);
		copy = copy_disk();
		fsck_sound(copy);
		blk_close(copy);
		MUST(cut_disk_nr_events(disk) == events);
		MUST(fs_thaw(fs) == 0);
	}
	atomic_store(&over, true);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(unmount_it(), 0);
	fsck_sound(disk);
	mount_it();
}
END_TEST

/* --- shutting down --- */

static uint64_t nr_commits(void)
{
	struct fs_stats st;

	fs_get_stats(fs, &st);
	return st.commits;
}

START_TEST(after_a_shutdown_every_call_fails_and_only_what_was_flushed_is_there) /* looped: flush */
{
	struct blockdev *copy;
	struct fs_attr a;
	uint64_t ino, writes, commits;
	bool is_safe;
	struct fs *again;
	struct fs_thread *by;

	MUST(fs_sync(t) == 0);
	commits = nr_commits();
	MUST(make(t, "f", &ino) == 0);
	ck_assert_int_eq(fs_shutdown(fs, _i == 1), 0);
	writes = cut_disk_nr_writes(disk);
	ck_assert_int_eq(fs_lookup(t, ROOT, "f", &a), -EIO);
	ck_assert_int_eq(fs_getattr(t, ROOT, &a), -EIO);
	ck_assert_int_eq(make(t, "g", &ino), -EIO);
	ck_assert_int_eq(fs_sync(t), -EIO);
	ck_assert_int_eq(fs_shutdown(fs, false), 0); /* again changes nothing */
	sleep_ms(1200);
	ck_assert_uint_eq(cut_disk_nr_writes(disk), writes);
	is_safe = nr_commits() > commits; /* or it was time for a commit just then */
	ck_assert(is_safe || _i == 0);
	copy = copy_disk();
	MUST(fs_mount(copy, NULL, &again) == 0);
	MUST(fs_thread_open(again, &by) == 0);
	ck_assert_int_eq(fs_lookup(by, ROOT, "f", &a), is_safe ? 0 : -ENOENT);
	fs_thread_close(by);
	ck_assert_int_eq(fs_unmount(again), 0);
	fsck_sound(copy);
	blk_close(copy);
	ck_assert_int_eq(unmount_it(), -EIO);
	mount_it();
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("freeze");
	TCase *tc = tcase_create("all");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, promise_13_while_frozen_nothing_is_written_and_all_is_there, 0, 2);
	tcase_add_test(tc, unmounting_thaws);
	tcase_add_test(tc, who_waits_for_a_thaw_is_told_when_the_mount_is_shut);
	tcase_add_test(tc, a_freeze_that_cannot_be_written_is_an_error_and_no_freeze);
	tcase_add_test(tc, promise_13_a_copy_made_while_frozen_is_sound_whatever_goes_on);
	tcase_add_loop_test(
		tc, after_a_shutdown_every_call_fails_and_only_what_was_flushed_is_there, 0, 2);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return run_suite(suite());
}
