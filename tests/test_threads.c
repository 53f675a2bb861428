/* test_threads.c - threads that use the same files and directories, all at once, while commits,
 * checkpoints and the orphans' thread go on. Under ThreadSanitizer (make tsan) it must be silent.
 *
 * Nobody knows what an operation will find, so what is checked holds at any moment:
 *  1. Each 8 bytes of file data are zero, or say which file (its number and generation) they were
 *     written to, and where.
 *  2. An extended attribute is whole.
 *  3. An operation fails only for a reason that another thread can have given it.
 *  4. When all names are removed, all blocks and inodes are free again.
 *
 * The seed is printed; VBLKFS_SEED and VBLKFS_OPS choose another run, or a longer one. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "io_wait.h"
#include "memfs.h"
#include "orphan.h"

#define THREADS   4
#define DIRS      4
#define NAMES     8
#define FILE_MAX  (2U << 20)
#define WRITE_MAX (96U << 10)
#define XATTR_MAX 900

struct worker {
	pthread_t thread;
	struct fs_thread *t;
	uint64_t rng;
	uint8_t *buf;
	char failure[200];
};

static struct memfs m;
static uint64_t dirs[DIRS];
static uint64_t seed;

static uint64_t env_number(const char *name, uint64_t otherwise)
{
	const char *s = getenv(name);

	return s == NULL ? otherwise : strtoull(s, NULL, 0);
}

static uint32_t rnd(struct worker *w, uint32_t below)
{
	w->rng = w->rng * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(w->rng >> 33) % below;
}

/* Ends the worker. */
static void failed(struct worker *w, const char *what, uint64_t ino, long result)
{
	if (w->failure[0] == '\0')
		snprintf(w->failure, sizeof(w->failure), "%s, inode %llu: %ld", what,
			(unsigned long long)ino, result);
}

/* Another thread may have removed, made or filled what this one meant to use. */
static void expect(struct worker *w, const char *what, uint64_t ino, long result)
{
	static const int allowed[] = {ENOENT, EEXIST, ENOTEMPTY, EISDIR, ENOTDIR, ENODATA};

	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
		if (result == -allowed[i])
			return;
	if (result < 0)
		failed(w, what, ino, result);
}

/* ---- file data ---- */

static uint64_t word_of(const struct fs_attr *a, uint64_t offset)
{
	return (a->ino << 48 ^ a->generation << 24 ^ offset) | 1;
}

static uint32_t some_offset(struct worker *w, uint32_t end)
{
	/* often at a block's border */
	return rnd(w, 2) == 0 ? rnd(w, end / 4096) * 4096 : rnd(w, end / 8) * 8;
}

static void write_some(struct worker *w, const struct fs_attr *a)
{
	struct io_wait wait = {0};
	struct fs_io io = {.ino = a->ino, .buf = w->buf, .done = io_done, .user = &wait};
	struct fs_attr now;

	io.offset = some_offset(w, FILE_MAX);
	io.bytes = some_offset(w, WRITE_MAX) + 8;
	for (uint32_t i = 0; i < io.bytes / 8; i++)
		((uint64_t *)(void *)w->buf)[i] = word_of(a, io.offset + i * 8);
	fs_write(w->t, &io);
	if (rnd(w, 3) == 0) /* something else while it is in flight */
		expect(w, "getattr", a->ino, fs_getattr(w->t, a->ino, &now));
	if (io_result(w->t, &wait) != (ssize_t)io.bytes)
		failed(w, "write", a->ino, wait.result);
}

static void read_some(struct worker *w, const struct fs_attr *a)
{
	struct io_wait wait = {0};
	struct fs_io io = {.ino = a->ino, .buf = w->buf, .done = io_done, .user = &wait};
	const uint64_t *word;

	io.offset = some_offset(w, FILE_MAX);
	io.bytes = some_offset(w, WRITE_MAX) + 8;
	fs_read(w->t, &io);
	if (io_result(w->t, &wait) < 0)
		failed(w, "read", a->ino, wait.result);
	word = io.data;
	for (ssize_t i = 0; i < wait.result / 8; i++)
		if (word[i] != 0 && word[i] != word_of(a, io.offset + (uint64_t)i * 8))
			failed(w, "foreign data", a->ino, (long)io.offset + i * 8);
}

static void cut(struct worker *w, const struct fs_attr *a)
{
	struct fs_setattr set = {.valid = FS_SET_SIZE, .size = some_offset(w, FILE_MAX)};
	struct fs_attr now;

	expect(w, "truncate", a->ino, fs_setattr(w->t, a->ino, &set, &now));
}

static void allocate(struct worker *w, const struct fs_attr *a)
{
	static const int mode[] = {0, FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
		FALLOC_FL_KEEP_SIZE | FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE};

	expect(w, "fallocate", a->ino,
		fs_fallocate(w->t, a->ino, mode[rnd(w, 5)], some_offset(w, FILE_MAX),
			some_offset(w, 4 * WRITE_MAX) + 8));
}

static void sync_done(struct fs_sync *s, int err)
{
	atomic_store((atomic_int *)s->user, err);
}

static void sync_it(struct worker *w, const struct fs_attr *a)
{
	atomic_int result = 1;
	struct fs_sync s = {.done = sync_done, .user = &result};

	fs_fsync(w->t, a->ino, rnd(w, 2), &s);
	while (atomic_load(&result) == 1)
		blk_wait(fs_thread_queue(w->t), 1);
	if (atomic_load(&result) < 0)
		failed(w, "fsync", a->ino, atomic_load(&result));
}

static void seek(struct worker *w, const struct fs_attr *a)
{
	uint64_t at;
	int err = fs_lseek(w->t, a->ino, rnd(w, FILE_MAX), rnd(w, 2) ? SEEK_DATA : SEEK_HOLE, &at);

	if (err < 0 && err != -ENXIO)
		failed(w, "lseek", a->ino, err);
}

/* ---- attributes ---- */

static void set_xattr(struct worker *w, const struct fs_attr *a)
{
	char name[16], value[XATTR_MAX];
	size_t bytes = 1 + rnd(w, XATTR_MAX);

	snprintf(name, sizeof(name), "user.%u", rnd(w, 4));
	memset(value, (int)('a' + bytes % 26), bytes);
	if (rnd(w, 4) == 0)
		expect(w, "removexattr", a->ino, fs_removexattr(w->t, a->ino, name));
	else
		expect(w, "setxattr", a->ino, fs_setxattr(w->t, a->ino, name, value, bytes, 0));
}

static void get_xattr(struct worker *w, const struct fs_attr *a)
{
	char name[16], value[XATTR_MAX], list[256];
	ssize_t n;

	snprintf(name, sizeof(name), "user.%u", rnd(w, 4));
	n = fs_getxattr(w->t, a->ino, name, value, sizeof(value));
	expect(w, "getxattr", a->ino, n);
	for (ssize_t i = 0; i < n; i++)
		if (value[i] != (char)('a' + n % 26))
			failed(w, "torn attribute", a->ino, i);
	expect(w, "listxattr", a->ino, fs_listxattr(w->t, a->ino, list, sizeof(list)));
}

static void change_mode(struct worker *w, const struct fs_attr *a)
{
	struct fs_setattr set = {.valid = FS_SET_MODE | FS_SET_UID | FS_SET_MTIME | FS_KILL_PRIV,
		.mode = a->mode ^ 0111,
		.uid = rnd(w, 3)};
	struct fs_attr now;

	expect(w, "setattr", a->ino, fs_setattr(w->t, a->ino, &set, &now));
}

static void (*const file_ops[])(struct worker *w, const struct fs_attr *a) = {
	write_some,
	write_some,
	write_some,
	read_some,
	read_some,
	read_some,
	cut,
	allocate,
	sync_it,
	seek,
	set_xattr,
	get_xattr,
	change_mode,
};

/* ---- names ---- */

static void forget(struct worker *w, int err, const struct fs_attr *a)
{
	if (err == 0)
		fs_forget(w->t, a->ino, 1);
}

static bool count_entry(void *arg, const char *name, const struct fs_attr *attr, uint64_t cookie)
{
	(void)name;
	(void)attr;
	(void)cookie;
	++*(unsigned *)arg;
	return true;
}

static void change_names(struct worker *w, uint64_t dir, const char *name)
{
	const struct fs_cred cred = {0};
	uint64_t to = dirs[rnd(w, DIRS)];
	struct fs_attr a, linked;
	char other[8];
	unsigned nr = 0;
	int err;

	snprintf(other, sizeof(other), "n%u", rnd(w, NAMES));
	switch (rnd(w, 9)) {
	case 0:
		err = fs_mknod(w->t, dir, name, S_IFDIR | 0755, 0, &cred, &a);
		expect(w, "mkdir", dir, err);
		forget(w, err, &a);
		break;
	case 1:
		expect(w, "rmdir", dir, fs_rmdir(w->t, dir, name));
		break;
	case 2:
		err = fs_symlink(w->t, dir, name, "to somewhere", &cred, &a);
		expect(w, "symlink", dir, err);
		forget(w, err, &a);
		break;
	case 3:
	case 4:
		expect(w, "unlink", dir, fs_unlink(w->t, dir, name));
		break;
	case 5:
		expect(w, "rename", dir, fs_rename(w->t, dir, name, to, other, 0));
		break;
	case 6:
		expect(w, "exchange", dir, fs_rename(w->t, dir, name, to, other, RENAME_EXCHANGE));
		break;
	case 7:
		expect(w, "readdir", dir, fs_readdir(w->t, dir, 0, false, count_entry, &nr));
		break;
	default:
		err = fs_lookup(w->t, dir, name, &a);
		expect(w, "lookup", dir, err);
		if (err < 0)
			break;
		if (!S_ISDIR(a.mode)) {
			int link_err = fs_link(w->t, a.ino, to, other, &linked);

			expect(w, "link", dir, link_err);
			forget(w, link_err, &linked);
		}
		forget(w, err, &a);
	}
}

/* A file of that name, made if there is none, and something done to it; it may lose its name
 * meanwhile. */
static void use_file(struct worker *w, uint64_t dir, const char *name)
{
	struct fs_attr a;
	int err;

	err = fs_mknod(w->t, dir, name, S_IFREG | 0644, 0, &(struct fs_cred){0}, &a);
	if (err == -EEXIST)
		err = fs_lookup(w->t, dir, name, &a);
	expect(w, "open", dir, err);
	if (err < 0)
		return;
	for (unsigned i = 0; S_ISREG(a.mode) && i < 3; i++)
		file_ops[rnd(w, sizeof(file_ops) / sizeof(file_ops[0]))](w, &a);
	fs_forget(w->t, a.ino, 1);
}

static void step(struct worker *w)
{
	uint64_t dir = dirs[rnd(w, DIRS)];
	struct fs_statfs st;
	struct fs_stats stats;
	char name[8];

	snprintf(name, sizeof(name), "n%u", rnd(w, NAMES));
	if (rnd(w, 3) == 0)
		change_names(w, dir, name);
	else
		use_file(w, dir, name);
	if (rnd(w, 20) == 0) {
		fs_statfs(m.fs, &st);
		fs_get_stats(m.fs, &stats);
	}
}

static void *work(void *arg)
{
	uint64_t nr = env_number("VBLKFS_OPS", 4000) / THREADS;
	struct worker *w = arg;

	if (fs_thread_open(m.fs, &w->t) != 0)
		abort();
	w->buf = blk_dma_alloc(m.dev, WRITE_MAX + 2 * FS_BLOCK_BYTES);
	for (uint64_t i = 0; i < nr && w->failure[0] == '\0'; i++)
		step(w);
	blk_dma_free(m.dev, w->buf, WRITE_MAX + 2 * FS_BLOCK_BYTES);
	fs_thread_close(w->t);
	return NULL;
}

/* ---- the test ---- */

static void mount_tight(void) /* a cache too small, and commits all the time */
{
	static const struct fs_mount_opts opts = {.cache_mib = 1, .commit_s = 1};

	ck_assert_int_eq(fs_mount(m.dev, &opts, &m.fs), 0);
	ck_assert_int_eq(fs_thread_open(m.fs, &m.t), 0);
}

static void setup(void)
{
	struct mkfs_opts opts = {.journal_bytes = 4U << 20};
	struct mkfs_geometry geo;
	char err[256];

	seed = env_number("VBLKFS_SEED", (uint64_t)time(NULL));
	printf("VBLKFS_SEED=%llu\n", (unsigned long long)seed);
	ck_assert_int_eq(mem_disk_open(256U << 11, &m.dev), 0);
	ck_assert_int_eq(mkfs_write(m.dev, &opts, &geo, err, sizeof(err)), 0);
	mount_tight();
}

static void teardown(void)
{
	memfs_close(&m);
}

static void run_workers(void)
{
	static struct worker workers[THREADS];

	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){.rng = seed + i};
		ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		ck_assert_str_eq(workers[i].failure, "");
	}
}

struct listed {
	unsigned nr;
	struct {
		char name[8];
		bool is_dir;
	} entry[NAMES];
};

static bool list_entry(void *arg, const char *name, const struct fs_attr *attr, uint64_t cookie)
{
	struct listed *l = arg;

	(void)cookie;
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return true;
	MUST(l->nr < NAMES && strlen(name) < sizeof(l->entry[0].name));
	strcpy(l->entry[l->nr].name, name);
	l->entry[l->nr++].is_dir = S_ISDIR(attr->mode);
	return true;
}

/* Directories that the threads made are moved about, but nothing is made in them. */
static void empty(uint64_t dir)
{
	struct listed l = {0};

	ck_assert_int_eq(fs_readdir(m.t, dir, 0, false, list_entry, &l), 0);
	for (unsigned i = 0; i < l.nr; i++)
		ck_assert_int_eq(l.entry[i].is_dir ? fs_rmdir(m.t, dir, l.entry[i].name)
						   : fs_unlink(m.t, dir, l.entry[i].name),
			0);
}

static struct fs_statfs free_now(void)
{
	struct fs_statfs st;

	orphans_wait(m.t);
	ck_assert_int_eq(fs_sync(m.t), 0);
	fs_statfs(m.fs, &st);
	return st;
}

START_TEST(threads_that_share_all_find_it_whole_and_leave_nothing)
{
	struct fs_statfs before, after;
	struct fs_attr a;
	char name[8];

	for (unsigned i = 0; i < DIRS; i++) {
		snprintf(name, sizeof(name), "d%u", i);
		ck_assert_int_eq(fs_mknod(m.t, FS_ROOT_INO, name, S_IFDIR | 0755, 0,
					 &(struct fs_cred){0}, &a),
			0);
		dirs[i] = a.ino;
	}
	before = free_now();
	run_workers();
	fs_thread_close(m.t);
	ck_assert_int_eq(fs_unmount(m.fs), 0);
	mount_tight();
	for (unsigned i = 0; i < DIRS; i++)
		empty(dirs[i]);
	after = free_now();
	ck_assert_uint_eq(after.free_inodes, before.free_inodes);
	/* The directories may keep the block of their first name. */
	ck_assert_uint_ge(after.free_blocks + DIRS, before.free_blocks);
	for (unsigned i = 0; i < DIRS; i++) {
		snprintf(name, sizeof(name), "d%u", i);
		ck_assert_int_eq(fs_rmdir(m.t, FS_ROOT_INO, name), 0);
	}
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("threads");
	TCase *tc = tcase_create("threads");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, threads_that_share_all_find_it_whole_and_leave_nothing);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return run_suite(suite());
}
