/* test_promises.c - vblkfs(5), PROMISES: a test or more for each, by its number.
 *
 * Most do something on a disk that can lose power (cut_disk.h), note what was promised on the way,
 * and then look at what each possible cut leaves: after every event, with all, none, some, or torn
 * parts of what was not flushed. What the kernel adds under a mount (it keeps dirty pages until
 * close(2) or fsync(2)) is tested by tests/fuse. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include "cut_disk.h"
#include "fsck.h"
#include "io_wait.h"
#include "until.h"

#define DISK_MIB  32U
#define BUF_BYTES (FS_IO_MAX + FS_BLOCK_BYTES)
#define ROOT      FS_ROOT_INO

struct place { /* a disk, and its filesystem while mounted */
	struct blockdev *disk;
	struct fs *fs;
	struct fs_thread *t;
	uint8_t *buf;
};

static struct place here;

static void mount_at(struct place *p, const struct fs_mount_opts *opts)
{
	MUST(fs_mount(p->disk, opts, &p->fs) == 0);
	MUST(fs_thread_open(p->fs, &p->t) == 0);
	p->buf = blk_dma_alloc(p->disk, BUF_BYTES);
	MUST(p->buf != NULL);
}

static int unmount_at(struct place *p)
{
	blk_dma_free(p->disk, p->buf, BUF_BYTES);
	fs_thread_close(p->t);
	return fs_unmount(p->fs);
}

static void setup(void)
{
	struct mkfs_opts opts = {.have_uuid = true,
		.uuid = "promise",
		.journal_bytes = 4U << 20,
		.no_discard = true};
	struct mkfs_geometry geo;
	char err[128];

	MUST(cut_disk_open((uint64_t)DISK_MIB << 11, &here.disk) == 0);
	MUST(mkfs_write(here.disk, &opts, &geo, err, sizeof(err)) == 0);
	mount_at(&here, NULL);
}

static void teardown(void)
{
	(void)unmount_at(&here);
	blk_close(here.disk);
}

/* What was done up to now is there in any case. */
static void from_here(const struct fs_mount_opts *opts)
{
	MUST(unmount_at(&here) == 0);
	cut_disk_record(here.disk);
	mount_at(&here, opts);
}

/* --- calls --- */

static uint64_t make(struct place *p, uint64_t dir, const char *name, uint32_t mode)
{
	struct fs_attr a;

	MUST(fs_mknod(p->t, dir, name, mode, 0, &(struct fs_cred){0}, &a) == 0);
	return a.ino;
}

static uint64_t make_file(const char *name)
{
	return make(&here, ROOT, name, S_IFREG | 0644);
}

static uint64_t find(struct place *p, uint64_t dir, const char *name) /* 0: no such name */
{
	struct fs_attr a;
	int err = fs_lookup(p->t, dir, name, &a);

	MUST(err == 0 || err == -ENOENT);
	return err == 0 ? a.ino : 0;
}

static void rename_to(const char *from, const char *to)
{
	MUST(fs_rename(here.t, ROOT, from, ROOT, to, 0) == 0);
}

static ssize_t transfer(struct place *p, uint64_t ino, uint64_t offset, uint32_t bytes,
	bool is_write, uint8_t **data)
{
	struct fs_io io = {.ino = ino, .offset = offset, .bytes = bytes, .buf = p->buf};
	ssize_t result = io_do(p->t, is_write ? fs_write : fs_read, &io);

	if (data != NULL)
		*data = io.data;
	return result;
}

static void write_bytes(uint64_t ino, uint64_t offset, uint32_t bytes, int value)
{
	memset(here.buf, value, bytes);
	MUST(transfer(&here, ino, offset, bytes, true, NULL) == (ssize_t)bytes);
}

/* The first MiB of a file. */
static uint32_t read_file(struct place *p, uint64_t ino, uint8_t **data)
{
	ssize_t n = transfer(p, ino, 0, FS_IO_MAX, false, data);

	MUST(n >= 0);
	return (uint32_t)n;
}

struct waiter {
	struct fs_sync s; /* first */
	atomic_bool done;
	int err;
};

static void waited(struct fs_sync *s, int err)
{
	struct waiter *w = (struct waiter *)s;

	w->err = err;
	atomic_store(&w->done, true);
}

static int sync_file(uint64_t ino, bool datasync)
{
	struct waiter w = {.s.done = waited};

	fs_fsync(here.t, ino, datasync, &w.s);
	while (!atomic_load(&w.done))
		blk_wait(fs_thread_queue(here.t), 1);
	return w.err;
}

/* --- cuts --- */

/* CHECK each state that a cut may leave. NOTED: the last note before it. Every other mount is
 * read-only. */
static void after_each_cut(void (*check)(struct place *p, uint64_t noted))
{
	size_t nr = cut_disk_nr_events(here.disk);

	MUST(nr > 0);
	for (size_t n = 0; n <= nr; n++)
		for (int keep = CUT_ALL; keep <= CUT_TORN; keep++) {
			struct fs_mount_opts opts = {.read_only = (n + (size_t)keep) % 2 == 0};
			struct place p = {0};

			MUST(cut_disk_cut(here.disk, n, (enum cut_keep)keep, n, &p.disk) == 0);
			mount_at(&p, &opts);
			check(&p, cut_disk_noted(here.disk, n));
			MUST(unmount_at(&p) == 0);
			blk_close(p.disk);
		}
}

/* --- the tree as text --- */

struct listing {
	char text[2048];
	size_t used;
	uint64_t dirs[32];
	unsigned nr_dirs;
};

static bool list_one(void *arg, const char *name, const struct fs_attr *a, uint64_t cookie)
{
	struct listing *l = arg;

	(void)cookie;
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return true;
	l->used += (size_t)snprintf(l->text + l->used, sizeof(l->text) - l->used,
		"%llu/%s=%llu:%o*%u ", (unsigned long long)l->dirs[l->nr_dirs], name,
		(unsigned long long)a->ino, a->mode, a->nlink);
	MUST(l->used < sizeof(l->text));
	return true;
}

static bool note_dir(void *arg, const char *name, const struct fs_attr *a, uint64_t cookie)
{
	struct listing *l = arg;

	(void)cookie;
	if (S_ISDIR(a->mode) && strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
		MUST(l->nr_dirs < 31);
		l->dirs[l->nr_dirs++] = a->ino;
	}
	return true;
}

static void list_tree(struct place *p, struct listing *l)
{
	unsigned end;

	*l = (struct listing){.dirs = {ROOT}, .nr_dirs = 1};
	for (unsigned i = 0; i < l->nr_dirs; i++)
		MUST(fs_readdir(p->t, l->dirs[i], 0, false, note_dir, l) == 0);
	end = l->nr_dirs;
	for (l->nr_dirs = 0; l->nr_dirs < end; l->nr_dirs++)
		MUST(fs_readdir(p->t, l->dirs[l->nr_dirs], 0, true, list_one, l) == 0);
}

/* --- 1: fsync --- */

#define DATA_BYTES 10000U

static void check_synced(struct place *p, uint64_t noted)
{
	uint64_t dir = find(p, ROOT, "d");
	uint64_t ino = dir == 0 ? 0 : find(p, dir, "f");
	uint8_t *data;

	if (noted == 0)
		return;
	MUST(ino != 0);
	MUST(read_file(p, ino, &data) >= DATA_BYTES);
	for (unsigned i = 0; i < DATA_BYTES; i++)
		MUST(data[i] == 2 || (data[i] == 1 && noted < 3));
	MUST(noted < 2 || find(p, ROOT, "g") == ino);
}

START_TEST(promise_1_what_was_synced_is_there_with_its_names)
{
	uint64_t dir, ino;
	struct fs_attr a;

	from_here(NULL);
	dir = make(&here, ROOT, "d", S_IFDIR | 0755);
	ino = make(&here, dir, "f", S_IFREG | 0644);
	write_bytes(ino, 0, DATA_BYTES, 1);
	MUST(sync_file(ino, false) == 0);
	cut_disk_note(here.disk, 1);
	MUST(fs_link(here.t, ino, ROOT, "g", &a) == 0);
	MUST(sync_file(ino, false) == 0);
	cut_disk_note(here.disk, 2);
	write_bytes(ino, 0, DATA_BYTES, 2);
	MUST(sync_file(ino, true) == 0);
	cut_disk_note(here.disk, 3);
	after_each_cut(check_synced);
}
END_TEST

static void check_appended(struct place *p, uint64_t noted)
{
	uint64_t ino = find(p, ROOT, "f");
	uint8_t *data;

	MUST(ino != 0);
	MUST(read_file(p, ino, &data) >= noted);
	MUST(all_are(7, data, noted));
}

START_TEST(promise_1_fdatasync_leaves_out_times_only)
{
	uint64_t ino = make_file("f");
	uint64_t size = 0;

	from_here(NULL);
	for (uint32_t bytes = 1000; bytes < 7000; bytes += 1100) {
		write_bytes(ino, size, bytes, 7);
		size += bytes;
		MUST(sync_file(ino, true) == 0);
		cut_disk_note(here.disk, size);
	}
	after_each_cut(check_appended);
}
END_TEST

static uint64_t nr_commits(void)
{
	struct fs_stats st;

	fs_get_stats(here.fs, &st);
	return st.commits;
}

START_TEST(promise_1_fdatasync_commits_nothing_when_only_times_changed)
{
	struct fs_setattr set = {.valid = FS_SET_MTIME | FS_SET_ATIME, .mtime = {.tv_sec = 99}};
	uint64_t ino = make_file("f");
	uint64_t commits;
	struct fs_attr a;

	write_bytes(ino, 0, DATA_BYTES, 1);
	MUST(fs_sync(here.t) == 0);
	commits = nr_commits();
	MUST(fs_setattr(here.t, ino, &set, &a) == 0);
	MUST(sync_file(ino, true) == 0);
	ck_assert_uint_eq(nr_commits(), commits);
	MUST(sync_file(ino, false) == 0);
	ck_assert_uint_eq(nr_commits(), commits + 1);
	set.valid = FS_SET_MODE;
	set.mode = 0600;
	MUST(fs_setattr(here.t, ino, &set, &a) == 0);
	MUST(sync_file(ino, true) == 0);
	ck_assert_uint_eq(nr_commits(), commits + 2);
}
END_TEST

static void check_entries(struct place *p, uint64_t noted)
{
	uint64_t dir = find(p, ROOT, "d");

	MUST(noted == 0 || dir != 0);
	for (uint64_t i = 1; i <= noted; i++) {
		char name[16];

		snprintf(name, sizeof(name), "e%u", (unsigned)i);
		MUST(find(p, dir, name) != 0);
	}
}

START_TEST(promise_1_a_directory_that_was_synced_has_its_entries) /* looped: fsync, fdatasync */
{
	uint64_t dir;

	from_here(NULL);
	dir = make(&here, ROOT, "d", S_IFDIR | 0755);
	for (uint64_t i = 1; i <= 5; i++) {
		char name[16];

		snprintf(name, sizeof(name), "e%u", (unsigned)i);
		(void)make(&here, dir, name, S_IFREG | 0644);
		MUST(sync_file(dir, _i == 1) == 0);
		cut_disk_note(here.disk, i);
	}
	after_each_cut(check_entries);
}
END_TEST

/* --- 2: it mounts --- */

static void check_tree(struct place *p, uint64_t noted)
{
	struct listing l;

	(void)noted;
	list_tree(p, &l);
	MUST(unmount_at(p) == 0);
	fsck_sound(p->disk);
	mount_at(p, NULL);
}

START_TEST(promise_2_after_any_cut_it_mounts_and_the_tree_can_be_walked)
{
	uint64_t dir, ino;
	struct fs_attr a;

	from_here(NULL);
	for (unsigned i = 0; i < 4; i++) {
		dir = make(&here, ROOT, "d", S_IFDIR | 0755);
		ino = make(&here, dir, "f", S_IFREG | 0644);
		write_bytes(ino, i * 50000, 30000, 1);
		MUST(fs_symlink(here.t, dir, "s", "target", &(struct fs_cred){0}, &a) == 0);
		MUST(fs_setxattr(here.t, ino, "user.x", "value", 5, 0) == 0);
		MUST(fs_rename(here.t, dir, "f", ROOT, "f", 0) == 0);
		MUST(fs_sync(here.t) == 0);
		MUST(fs_unlink(here.t, dir, "s") == 0);
		MUST(fs_rmdir(here.t, ROOT, "d") == 0);
		fs_forget(here.t, dir, 1);
	}
	after_each_cut(check_tree);
}
END_TEST

/* --- 3: replaced by a rename --- */

#define NEW_BYTES 300000U

static void check_replaced(struct place *p, uint64_t noted)
{
	uint64_t ino = find(p, ROOT, "f");
	uint8_t *data;
	uint32_t n;

	MUST(ino != 0);
	n = read_file(p, ino, &data);
	if (n == NEW_BYTES)
		MUST(all_are(2, data, n));
	else
		MUST(noted == 0 && n == DATA_BYTES && all_are(1, data, n));
}

START_TEST(promise_3_a_file_replaced_by_rename_is_the_old_or_the_new_one)
{
	uint64_t ino = make_file("f");

	write_bytes(ino, 0, DATA_BYTES, 1);
	from_here(NULL);
	ino = make_file("f.new");
	for (unsigned at = 0; at < NEW_BYTES; at += NEW_BYTES / 10)
		write_bytes(ino, at, NEW_BYTES / 10, 2);
	rename_to("f.new", "f");
	MUST(fs_sync(here.t) == 0);
	cut_disk_note(here.disk, 1);
	after_each_cut(check_replaced);
}
END_TEST

/* --- 4: nobody else's data --- */

#define SECRET 0x53

static void check_no_secret(struct place *p, uint64_t noted)
{
	static const char *const names[] = {"a", "b", "c"};

	(void)noted;
	for (unsigned i = 0; i < 3; i++) {
		uint64_t ino = find(p, ROOT, names[i]);
		uint8_t *data;

		if (ino != 0)
			MUST(memchr(data, SECRET, read_file(p, ino, &data)) == NULL);
	}
}

static void leave_secrets(void)
{
	uint64_t ino = make_file("secret");
	struct fs_statfs st;
	uint64_t at = 0;

	fs_statfs(here.fs, &st);
	for (; at + (2U << 20) < st.avail_blocks * FS_BLOCK_BYTES; at += FS_IO_MAX)
		write_bytes(ino, at, FS_IO_MAX, SECRET);
	MUST(fs_unlink(here.t, ROOT, "secret") == 0);
	fs_forget(here.t, ino, 1);
}

START_TEST(promise_4_no_cut_shows_what_another_file_had)
{
	uint64_t a, b, c;

	leave_secrets();
	from_here(NULL);
	a = make_file("a");
	b = make_file("b");
	c = make_file("c");
	for (unsigned i = 0; i < 6; i++) {
		write_bytes(a, (uint64_t)i * 5001, 5001, 1); /* appends */
		write_bytes(b, (uint64_t)i * 90000 + 100, 50,
			1); /* leaves holes, and parts of blocks */
		if (i % 2 == 0)
			MUST(fs_fallocate(here.t, c, 0, (uint64_t)i * 20000, 30000) == 0);
		else
			write_bytes(c, (uint64_t)i * 20000 - 5, 9000, 1);
		if (i % 3 == 2)
			MUST(fs_sync(here.t) == 0);
	}
	MUST(fs_sync(here.t) == 0);
	after_each_cut(check_no_secret);
}
END_TEST

/* --- 5: the time until it is safe --- */

/* What a power cut at this moment would leave at the least. */
static struct place cut_now(void)
{
	struct place p = {0};

	MUST(cut_disk_cut(here.disk, cut_disk_nr_events(here.disk), CUT_NONE, 0, &p.disk) == 0);
	mount_at(&p, NULL);
	return p;
}

static struct fs_stats stats_of(struct place *p)
{
	struct fs_stats st;

	fs_get_stats(p->fs, &st);
	return st;
}

static void leave(struct place *p)
{
	MUST(unmount_at(p) == 0);
	blk_close(p->disk);
}

static bool is_safe(const char *name)
{
	struct place p = cut_now();
	bool found = find(&p, ROOT, name) != 0;

	leave(&p);
	return found;
}

START_TEST(promise_5_a_change_of_metadata_is_safe_after_commit_seconds)
{
	uint64_t began;
	char name[16];
	unsigned i = 0;

	from_here(&(struct fs_mount_opts){.commit_s = 1});
	do {
		snprintf(name, sizeof(name), "f%u", i++);
		began = now_ms();
		(void)make_file(name);
		wait_until(is_safe(name));
	} while (now_ms() - began >= 2000); /* the machine was busy, or it never is sooner */
}
END_TEST

static bool safe_data_is(uint64_t ino, int value)
{
	struct place p = cut_now();
	uint8_t *data;
	bool is;

	MUST(read_file(&p, ino, &data) == DATA_BYTES);
	is = all_are(value, data, DATA_BYTES);
	leave(&p);
	return is;
}

/* An overwrite in the same second as the one before changes no metadata. */
START_TEST(promise_5_an_overwrite_that_changes_no_metadata_is_safe_after_commit_seconds)
{
	uint64_t began, ino = make_file("f");
	bool shows_it;

	write_bytes(ino, 0, DATA_BYTES, 1);
	from_here(&(struct fs_mount_opts){.commit_s = 1});
	do {
		write_bytes(ino, 0, DATA_BYTES, 2);
		MUST(fs_sync(here.t) == 0);
		began = now_ms();
		write_bytes(ino, 0, DATA_BYTES, 3);
		shows_it = stats_of(&here).dirty_blocks == 0 && safe_data_is(ino, 2);
		wait_until(safe_data_is(ino, 3));
	} while (!shows_it || now_ms() - began >= 2000); /* as above */
}
END_TEST

/* --- 6: one block --- */

static void check_sectors(struct place *p, uint64_t noted)
{
	uint64_t ino = find(p, ROOT, "f");
	uint8_t *data;

	MUST(read_file(p, ino, &data) == 3 * FS_BLOCK_BYTES);
	for (unsigned i = 0; i < 3 * FS_BLOCK_BYTES / SECTOR_BYTES; i++) {
		const uint8_t *sector = data + (size_t)i * SECTOR_BYTES;
		bool is_written = i / (FS_BLOCK_BYTES / SECTOR_BYTES) == 1;

		MUST((all_are(1, sector, SECTOR_BYTES) && (!is_written || noted == 0)) ||
			(all_are(2, sector, SECTOR_BYTES) && is_written));
	}
}

START_TEST(promise_6_of_an_overwritten_block_each_sector_is_old_or_new)
{
	uint64_t ino = make_file("f");

	write_bytes(ino, 0, 3 * FS_BLOCK_BYTES, 1);
	from_here(NULL);
	write_bytes(ino, FS_BLOCK_BYTES, FS_BLOCK_BYTES, 2);
	MUST(sync_file(ino, true) == 0);
	cut_disk_note(here.disk, 1);
	after_each_cut(check_sectors);
}
END_TEST

/* --- 7: read-only --- */

START_TEST(promise_7_a_read_only_mount_of_any_cut_writes_nothing)
{
	size_t nr;

	from_here(NULL);
	for (unsigned i = 0; i < 3; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%u", i);
		write_bytes(make_file(name), 0, DATA_BYTES, 1);
		MUST(fs_sync(here.t) == 0);
	}
	nr = cut_disk_nr_events(here.disk);
	for (size_t n = 0; n <= nr; n++) {
		struct place p = {0};
		struct listing l;

		MUST(cut_disk_cut(here.disk, n, CUT_RANDOM, n, &p.disk) == 0);
		cut_disk_set_read_only(p.disk, n % 2 == 0);
		mount_at(&p, &(struct fs_mount_opts){.read_only = true});
		list_tree(&p, &l);
		MUST(find(&p, ROOT, "f2") != 0 || n < nr);
		MUST(fs_unlink(p.t, ROOT, "f0") == -EROFS);
		MUST(fs_sync(p.t) == 0);
		MUST(unmount_at(&p) == 0);
		MUST(cut_disk_nr_writes(p.disk) == 0 && cut_disk_nr_flushes(p.disk) == 0);
		blk_close(p.disk);
	}
}
END_TEST

/* --- 8: operations on names --- */

#define MAX_STATES 40U

static struct listing states[MAX_STATES];
static unsigned nr_states;

static void add_state(void)
{
	MUST(nr_states < MAX_STATES);
	list_tree(&here, &states[nr_states++]);
}

static void check_is_a_state(struct place *p, uint64_t noted)
{
	struct listing l;

	list_tree(p, &l);
	for (unsigned i = (unsigned)noted; i < nr_states; i++)
		if (strcmp(states[i].text, l.text) == 0)
			return;
	ck_abort_msg("no moment had: %s", l.text);
}

static void do_names(unsigned round)
{
	uint64_t d = make(&here, ROOT, "d", S_IFDIR | 0755);
	uint64_t f;
	struct fs_attr a;

	add_state();
	f = make(&here, d, "f", S_IFREG | 0600);
	add_state();
	MUST(fs_link(here.t, f, ROOT, "g", &a) == 0);
	add_state();
	MUST(fs_rename(here.t, ROOT, "g", d, "h", 0) == 0);
	add_state();
	MUST(fs_setattr(here.t, f, &(struct fs_setattr){.valid = FS_SET_MODE, .mode = 0640}, &a) ==
		0);
	add_state();
	MUST(fs_unlink(here.t, d, "f") == 0);
	add_state();
	MUST(fs_rename(here.t, d, "h", ROOT, round == 0 ? "x" : "y", 0) == 0);
	add_state();
	MUST(fs_rmdir(here.t, ROOT, "d") == 0);
	fs_forget(here.t, d, 1);
	add_state();
}

START_TEST(promise_8_the_names_are_what_they_were_at_some_moment)
{
	nr_states = 0;
	from_here(NULL);
	add_state();
	for (unsigned round = 0; round < 4; round++) {
		do_names(round);
		MUST(fs_sync(here.t) == 0);
		cut_disk_note(here.disk, nr_states - 1);
	}
	after_each_cut(check_is_a_state);
}
END_TEST

/* --- 9: contents before what is done after them --- */

static void check_order(struct place *p, uint64_t noted)
{
	uint64_t f = find(p, ROOT, "f");
	unsigned last = 0;
	uint8_t *data;
	uint32_t n;

	(void)noted;
	n = read_file(p, f, &data);
	for (unsigned i = 1; i <= 6; i++) {
		char name[16];

		snprintf(name, sizeof(name), "after%u", i);
		if (find(p, ROOT, name) != 0)
			last = i;
	}
	for (unsigned i = 0; i < DATA_BYTES; i++)
		MUST(data[i] >= last);       /* overwritten in place */
	MUST(n >= DATA_BYTES + 3000 * last); /* appended */
	for (unsigned i = 1; i <= last; i++)
		MUST(all_are(100 + (int)i, data + DATA_BYTES + 3000 * (i - 1), 3000));
}

START_TEST(promise_9_what_was_written_is_there_when_what_was_done_later_is)
{
	uint64_t ino = make_file("f");

	write_bytes(ino, 0, DATA_BYTES, 0);
	from_here(NULL);
	for (unsigned i = 1; i <= 6; i++) {
		char name[16];

		snprintf(name, sizeof(name), "after%u", i);
		write_bytes(ino, 0, DATA_BYTES, (int)i);
		write_bytes(ino, DATA_BYTES + 3000 * (i - 1), 3000, 100 + (int)i);
		(void)make_file(name);
		if (i % 2 == 0)
			MUST(fs_sync(here.t) == 0);
	}
	MUST(fs_sync(here.t) == 0);
	after_each_cut(check_order);
}
END_TEST

/* --- 10: appending --- */

static const uint32_t appends[] = {100, 4096, 5000, 1, 20000, 3992, 8192, 12345};
#define NR_APPENDS (sizeof(appends) / sizeof(appends[0]))

static void check_append(struct place *p, uint64_t noted)
{
	uint64_t ino = find(p, ROOT, "f");
	uint32_t n, at = 0;
	uint8_t *data;

	n = read_file(p, ino, &data);
	for (unsigned i = 0; i < NR_APPENDS && at < n; i++) {
		MUST(at + appends[i] <= n); /* of each all or nothing, as it came in one request */
		MUST(all_are(1 + (int)i, data + at, appends[i]));
		at += appends[i];
	}
	MUST(n >= noted);
}

START_TEST(promise_10_a_file_that_is_appended_to_ends_where_its_data_does)
{
	uint64_t ino = make_file("f");
	uint32_t at = 0;

	from_here(NULL);
	for (unsigned i = 0; i < NR_APPENDS; i++) {
		write_bytes(ino, at, appends[i], 1 + (int)i);
		at += appends[i];
		if (i % 3 == 2) {
			MUST(fs_sync(here.t) == 0);
			cut_disk_note(here.disk, at);
		}
	}
	MUST(fs_sync(here.t) == 0);
	after_each_cut(check_append);
}
END_TEST

/* --- 11: no false success --- */

START_TEST(
	promise_11_fsync_fails_when_the_disk_did_not_take_the_data) /* looped: fsync, fdatasync */
{
	uint64_t ino = make_file("f");

	write_bytes(ino, 0, DATA_BYTES, 1);
	MUST(fs_sync(here.t) == 0);
	write_bytes(ino, 0, DATA_BYTES, 2);
	cut_disk_fail_flushes(here.disk, 1);
	ck_assert_int_eq(sync_file(ino, _i == 1), -EIO);
}
END_TEST

/* Each file that was written since the last FLUSH says so, once, and no other does. */
START_TEST(promise_11_a_lost_flush_is_told_once_for_each_file_that_was_overwritten)
{
	uint64_t a = make_file("a"), b = make_file("b"), c = make_file("c");

	write_bytes(a, 0, DATA_BYTES, 1);
	write_bytes(b, 0, DATA_BYTES, 1);
	write_bytes(c, 0, DATA_BYTES, 1);
	MUST(fs_sync(here.t) == 0);
	write_bytes(a, 0, DATA_BYTES, 2);
	write_bytes(b, 0, DATA_BYTES, 2);
	cut_disk_fail_once(here.disk, true);
	cut_disk_fail_flushes(here.disk, 1);
	ck_assert_int_eq(sync_file(a, true), -EIO);
	ck_assert_int_eq(sync_file(a, true), 0);
	ck_assert_int_eq(sync_file(c, true), 0);
	ck_assert_int_eq(sync_file(b, true), -EIO);
	ck_assert_int_eq(sync_file(b, true), 0);
	write_bytes(b, 0, DATA_BYTES, 3);
	ck_assert_int_eq(sync_file(b, false), 0);
	(void)make_file("d"); /* the mount goes on */
	ck_assert_int_eq(fs_sync(here.t), 0);
}
END_TEST

/* New contents may be lost with that FLUSH: their blocks must not be shown, so nothing is committed
 * any more. */
START_TEST(promise_11_a_lost_flush_of_new_data_ends_all_changes) /* looped: how it is new */
{
	uint64_t a = make_file("a"), b = make_file("b");
	struct fs_attr attr;
	struct place p;

	write_bytes(a, 0, DATA_BYTES, 1);
	write_bytes(b, 0, DATA_BYTES, 1);
	MUST(fs_sync(here.t) == 0);
	write_bytes(a, 0, DATA_BYTES, 2);
	if (_i == 0)
		write_bytes(b, 1U << 20, 100, 2);
	else if (_i == 1)
		write_bytes(b, DATA_BYTES, 100, 2); /* in a block that it has */
	else
		MUST(fs_setattr(here.t, b,
			     &(struct fs_setattr){.valid = FS_SET_SIZE, .size = DATA_BYTES + 50},
			     &attr) == 0); /* zeros are written there */
	cut_disk_fail_once(here.disk, true);
	cut_disk_fail_flushes(here.disk, 1);
	ck_assert_int_eq(sync_file(a, true), -EIO);
	ck_assert_int_eq(sync_file(a, true), -EIO);
	ck_assert_int_eq(sync_file(b, true), -EIO);
	ck_assert_int_eq(fs_unlink(here.t, ROOT, "a"), -EROFS);
	p = cut_now();
	MUST(fs_getattr(p.t, b, &attr) == 0);
	MUST(attr.size == DATA_BYTES);
	leave(&p);
}
END_TEST

/* --- 12: the end --- */

START_TEST(promise_12_after_an_unmount_all_is_there_and_nothing_is_to_be_recovered)
{
	struct fs_ident ident;
	struct place p = {0};
	uint8_t *data;

	from_here(NULL);
	write_bytes(make_file("f"), 0, DATA_BYTES, 5);
	MUST(unmount_at(&here) == 0);
	MUST(cut_disk_cut(here.disk, cut_disk_nr_events(here.disk), CUT_NONE, 0, &p.disk) == 0);
	mount_at(&here, NULL); /* for teardown() */
	MUST(fs_identify(p.disk, &ident) == 0);
	MUST(!ident.dirty);
	mount_at(&p, NULL);
	MUST(read_file(&p, find(&p, ROOT, "f"), &data) == DATA_BYTES);
	MUST(all_are(5, data, DATA_BYTES));
	leave(&p);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("promises");
	TCase *tc = tcase_create("all");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, promise_1_what_was_synced_is_there_with_its_names);
	tcase_add_test(tc, promise_1_fdatasync_leaves_out_times_only);
	tcase_add_test(tc, promise_1_fdatasync_commits_nothing_when_only_times_changed);
	tcase_add_loop_test(tc, promise_1_a_directory_that_was_synced_has_its_entries, 0, 2);
	tcase_add_test(tc, promise_2_after_any_cut_it_mounts_and_the_tree_can_be_walked);
	tcase_add_test(tc, promise_3_a_file_replaced_by_rename_is_the_old_or_the_new_one);
	tcase_add_test(tc, promise_4_no_cut_shows_what_another_file_had);
	tcase_add_test(tc, promise_5_a_change_of_metadata_is_safe_after_commit_seconds);
	tcase_add_test(
		tc, promise_5_an_overwrite_that_changes_no_metadata_is_safe_after_commit_seconds);
	tcase_add_test(tc, promise_6_of_an_overwritten_block_each_sector_is_old_or_new);
	tcase_add_test(tc, promise_7_a_read_only_mount_of_any_cut_writes_nothing);
	tcase_add_test(tc, promise_8_the_names_are_what_they_were_at_some_moment);
	tcase_add_test(tc, promise_9_what_was_written_is_there_when_what_was_done_later_is);
	tcase_add_test(tc, promise_10_a_file_that_is_appended_to_ends_where_its_data_does);
	tcase_add_loop_test(tc, promise_11_fsync_fails_when_the_disk_did_not_take_the_data, 0, 2);
	tcase_add_test(tc, promise_11_a_lost_flush_is_told_once_for_each_file_that_was_overwritten);
	tcase_add_loop_test(tc, promise_11_a_lost_flush_of_new_data_ends_all_changes, 0, 3);
	tcase_add_test(tc, promise_12_after_an_unmount_all_is_there_and_nothing_is_to_be_recovered);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return run_suite(suite());
}
