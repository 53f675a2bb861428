/* test_faults.c - the nth read, write, flush, or allocation of memory fails, for each n of a
 * workload that touches everything, the replay of a journal and the freeing of orphans included.
 *
 * Each run: a dirty disk is mounted, worked on, and unmounted, with one fault on the way (or with
 * all later ones failing, too). Nothing may crash, hang or leak, every error must be one that says
 * what happened, and afterwards, without faults, the filesystem must be sound, with all in it that
 * was promised (vblkfs(5), PROMISES, 1, 2, 11 and 12).
 *
 * By default each sweep takes a part of all n, chosen by a seed that is printed when it fails; with
 * FAULTS=all in the environment every n, with FAULTS=N only that one. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>
#include "cut_disk.h"
#include "fsck.h"
#include "io_wait.h"

#define DISK_MIB  24U
#define BUF_BYTES (FS_IO_MAX + FS_BLOCK_BYTES)
#define ROOT      FS_ROOT_INO
#define RUNS      120U /* of a sweep, unless told otherwise */
#define NR_NAMES  400U /* of the big directory: leaves under a node */
#define RUN_S     300U /* after which a run hangs */

/* --- memory that runs out (the linker leads malloc() here) --- */

static atomic_long fail_malloc_in; /* 1: the next one fails; 0 and below: none does */
static atomic_bool fail_malloc_for_ever;
static atomic_long nr_mallocs;
static _Thread_local bool spared; /* inside the test's own disk */

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t nr, size_t bytes);
void *__real_realloc(void *mem, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t nr, size_t bytes);
void *__wrap_realloc(void *mem, size_t bytes);

static bool no_memory(void)
{
	long in;

	if (spared)
		return false;
	atomic_fetch_add(&nr_mallocs, 1);
	if (atomic_load(&fail_malloc_in) <= 0)
		return false;
	in = atomic_fetch_sub(&fail_malloc_in, 1);
	if (in == 1 && atomic_load(&fail_malloc_for_ever))
		atomic_store(&fail_malloc_in, 1);
	return in == 1;
}

void *__wrap_malloc(size_t bytes)
{
	return no_memory() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t nr, size_t bytes)
{
	return no_memory() ? NULL : __real_calloc(nr, bytes);
}

void *__wrap_realloc(void *mem, size_t bytes)
{
	return no_memory() ? NULL : __real_realloc(mem, bytes);
}

/* DMA memory counts as memory, too. */
static const struct blockdev_ops *real;
static struct blockdev_ops ops;

static void *dma_alloc(struct blockdev *dev, size_t bytes)
{
	return no_memory() ? NULL : real->dma_alloc(dev, bytes);
}

static int poll_spared(struct blk_queue *q)
{
	int nr;

	spared = true;
	nr = real->poll(q);
	spared = false;
	return nr;
}

/* --- what is logged, for messages: the run's first lines (the C library's syslog() is not called) ---
 */

static char said[2048];
static atomic_size_t said_bytes;

void syslog(int priority, const char *fmt, ...)
{
	char line[256];
	va_list ap;
	size_t at;
	int n;

	(void)priority;
	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	n = n > (int)sizeof(line) - 2 ? (int)sizeof(line) - 2 : n;
	line[n++] = '\n';
	at = atomic_fetch_add(&said_bytes, (size_t)n);
	if (at + (size_t)n < sizeof(said))
		memcpy(said + at, line, (size_t)n);
}

/* --- the disk to begin with --- */

static struct blockdev *base;
static size_t base_events;
static uint8_t *buf; /* of the run */

struct mount {
	struct fs *fs;
	struct fs_thread *t;
};

static ssize_t transfer(
	struct mount *m, uint64_t ino, uint64_t offset, uint32_t bytes, bool write, uint8_t **data)
{
	struct fs_io io = {.ino = ino, .offset = offset, .bytes = bytes, .buf = buf};
	ssize_t result = io_do(m->t, write ? fs_write : fs_read, &io);

	if (data != NULL)
		*data = io.data;
	return result;
}

static int put_bytes(struct mount *m, uint64_t ino, uint64_t offset, uint32_t bytes, int value)
{
	ssize_t n;

	memset(buf, value, bytes);
	n = transfer(m, ino, offset, bytes, true, NULL);
	return n < 0 ? (int)n : 0;
}

static int make(struct mount *m, uint64_t dir, const char *name, uint32_t mode, uint64_t *ino)
{
	struct fs_attr a = {0};
	int err = fs_mknod(m->t, dir, name, mode, 0, &(struct fs_cred){0}, &a);

	*ino = a.ino;
	return err;
}

static uint64_t must_make(struct mount *m, uint64_t dir, const char *name, uint32_t mode)
{
	uint64_t ino;

	MUST(make(m, dir, name, mode, &ino) == 0);
	return ino;
}

static void must_open(struct mount *m, struct blockdev *disk)
{
	MUST(fs_mount(disk, &(struct fs_mount_opts){.cache_mib = 1}, &m->fs) == 0);
	MUST(fs_thread_open(m->fs, &m->t) == 0);
}

static const char *numbered(const char *prefix, unsigned i)
{
	static char name[32];

	snprintf(name, sizeof(name), "%s-with-a-long-name-%u", prefix, i);
	return name;
}

/* A tree of everything: directories of several levels, files in many extents, attributes in blocks,
 * links. */
static void fill_base(struct mount *m)
{
	uint64_t big = must_make(m, ROOT, "big", S_IFDIR | 0755);
	uint64_t frag = must_make(m, ROOT, "frag", S_IFREG | 0644);
	uint64_t plain = must_make(m, ROOT, "plain", S_IFREG | 0644);
	static char value[3000];
	struct fs_attr a;

	for (unsigned i = 0; i < NR_NAMES; i++)
		(void)must_make(m, big, numbered("n", i), S_IFREG | 0600);
	for (unsigned i = 0; i < 30; i++)
		MUST(put_bytes(m, frag, i * 3 * FS_BLOCK_BYTES, 5000, 1) == 0);
	MUST(put_bytes(m, plain, 0, 200000, 1) == 0);
	memset(value, 'x', sizeof(value));
	MUST(fs_setxattr(m->t, plain, "user.large", value, sizeof(value), 0) == 0);
	MUST(fs_setxattr(m->t, plain, "user.small", "v", 1, 0) == 0);
	memset(value, 'l', 300);
	value[300] = '\0';
	MUST(fs_symlink(m->t, ROOT, "link", value, &(struct fs_cred){0}, &a) == 0);
	MUST(fs_link(m->t, plain, big, "hard", &a) == 0);
}

/* Unlinked and half truncated ones, and a journal that has not gone home. */
static void dirty_base(struct mount *m)
{
	uint64_t gone = must_make(m, ROOT, "gone", S_IFREG | 0644);
	struct fs_attr a;

	for (unsigned i = 0; i < 10; i++)
		MUST(put_bytes(m, gone, i * 3 * FS_BLOCK_BYTES, 5000, 1) == 0);
	MUST(fs_unlink(m->t, ROOT, "gone") == 0);
	MUST(fs_lookup(m->t, ROOT, "frag", &a) == 0);
	MUST(put_bytes(m, a.ino, 0, 100, 2) == 0);
	MUST(fs_sync(m->t) == 0);
}

static void setup(void)
{
	struct mkfs_opts opts = {
		.have_uuid = true, .uuid = "faults", .journal_bytes = 4U << 20, .no_discard = true};
	struct mkfs_geometry geo;
	struct mount m;
	char err[128];

	MUST(cut_disk_open((uint64_t)DISK_MIB << 11, &base) == 0);
	MUST(mkfs_write(base, &opts, &geo, err, sizeof(err)) == 0);
	buf = blk_dma_alloc(base, BUF_BYTES);
	must_open(&m, base);
	fill_base(&m);
	fs_thread_close(m.t);
	MUST(fs_unmount(m.fs) == 0);
	cut_disk_record(base);
	must_open(&m, base);
	dirty_base(&m);
	base_events = cut_disk_nr_events(base);
	fs_thread_close(m.t);
	MUST(fs_unmount(m.fs) == 0);
}

static void teardown(void)
{
	blk_dma_free(base, buf, BUF_BYTES);
	blk_close(base);
}

static struct blockdev *fresh_disk(void)
{
	struct blockdev *disk;

	MUST(cut_disk_cut(base, base_events, CUT_ALL, 0, &disk) == 0);
	real = disk->ops;
	ops = *real;
	ops.dma_alloc = dma_alloc;
	ops.poll = poll_spared;
	disk->ops = &ops;
	return disk;
}

/* --- the workload --- */

#define NR_FILES      4U
#define FILE_BYTES(i) (3000U + (i)*70000U)

struct promised { /* what the workload was told of file I */
	bool synced[NR_FILES];
	bool tried_unlink, unlinked; /* "plain"; durably */
	bool clean;
};

static const char *what; /* for messages */
static uint64_t nth;
static unsigned seed;

/* An error that a fault may lead to, and that says so. -EROFS: an earlier one turned the mount
 * read-only. -ENOENT and the like: an earlier call failed. */
static int checked(int err, const char *call)
{
	switch (err) {
	case 0:
	case -EIO:
	case -ENOMEM:
	case -EROFS:
		return err;
	case -ENOENT:
	case -ENODATA:
	case -ESTALE:
	case -EEXIST:
	case -ENOTEMPTY:
		return err;
	default:
		atomic_store(&fail_malloc_in, 0); /* Check needs memory, too */
		ck_abort_msg("%s %llu (seed %u): %s says %d\n%s", what, (unsigned long long)nth,
			seed, call, err, said);
	}
}
#define TRY(call) checked((int)(call), #call)

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

static int sync_file(struct mount *m, uint64_t ino, bool datasync)
{
	struct waiter w = {.s.done = waited};

	fs_fsync(m->t, ino, datasync, &w.s);
	while (!atomic_load(&w.done))
		blk_wait(fs_thread_queue(m->t), 1);
	return w.err;
}

static void work_on_files(struct mount *m, struct promised *p)
{
	for (unsigned i = 0; i < NR_FILES; i++) {
		uint64_t ino;

		if (TRY(make(m, ROOT, numbered("f", i), S_IFREG | 0644, &ino)) < 0)
			continue;
		if (TRY(put_bytes(m, ino, 0, FILE_BYTES(i), 10 + (int)i)) == 0 &&
			TRY(fs_setxattr(m->t, ino, "user.i", "1", 1, 0)) == 0 &&
			TRY(sync_file(m, ino, i % 2 == 1)) == 0)
			p->synced[i] = true;
	}
}

static uint64_t find(struct mount *m, uint64_t dir, const char *name)
{
	struct fs_attr a = {0};

	(void)TRY(fs_lookup(m->t, dir, name, &a));
	return a.ino;
}

static bool take_any(void *arg, const char *name, const struct fs_attr *a, uint64_t cookie)
{
	(void)name;
	(void)cookie;
	(void)a;
	++*(unsigned *)arg;
	return true;
}

static void work_on_big(struct mount *m)
{
	uint64_t big = find(m, ROOT, "big");
	unsigned nr = 0;

	if (big == 0)
		return;
	for (unsigned i = 0; i < NR_NAMES; i += 4) {
		(void)TRY(fs_unlink(m->t, big, numbered("n", i)));
		if (i % 40 == 0)
			(void)TRY(fs_sync(m->t));
	}
	for (unsigned i = 0; i < 40; i++) {
		uint64_t ino;

		if (TRY(make(m, big, numbered("new", i), S_IFREG | 0600, &ino)) == 0)
			fs_forget(m->t, ino, 1);
	}
	(void)TRY(fs_readdir(m->t, big, 0, false, take_any, &nr));
	(void)TRY(fs_rename(m->t, big, numbered("new", 3), ROOT, "moved", 0));
	(void)TRY(fs_rename(m->t, big, numbered("new", 4), ROOT, "moved", 0));
}

static void work_on_data(struct mount *m)
{
	uint64_t frag = find(m, ROOT, "frag");
	struct fs_setattr half = {.valid = FS_SET_SIZE, .size = 100001};
	struct fs_attr a;
	uint64_t at;
	uint8_t *data;

	if (frag == 0)
		return;
	(void)TRY(
		fs_fallocate(m->t, frag, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 5000, 60000));
	(void)TRY(put_bytes(m, frag, 30000, 300, 3));
	(void)TRY(fs_fallocate(m->t, frag, 0, 8192, 50000));
	(void)TRY(put_bytes(m, frag, 10000, 20000, 4));
	(void)TRY(fs_setattr(m->t, frag, &half, &a));
	(void)TRY(transfer(m, frag, 0, FS_IO_MAX, false, &data) < 0 ? -EIO : 0);
	(void)TRY(fs_lseek(m->t, frag, 0, SEEK_DATA, &at));
	half.size = 300000;
	(void)TRY(fs_setattr(m->t, frag, &half, &a));
}

static void work_on_names(struct mount *m, struct promised *p)
{
	uint64_t plain = find(m, ROOT, "plain"), link = find(m, ROOT, "link");
	static char text[FS_SYMLINK_MAX + 1];
	struct fs_attr a;
	uint64_t d;
	int n;

	if (link != 0)
		(void)TRY(fs_readlink(m->t, link, text, sizeof(text)));
	if (plain != 0) {
		n = (int)fs_getxattr(m->t, plain, "user.large", text, sizeof(text));
		(void)TRY(n > 0 ? 0 : n);
		(void)TRY(fs_removexattr(m->t, plain, "user.large"));
	}
	p->tried_unlink = true;
	n = TRY(fs_unlink(m->t, ROOT, "plain"));
	if (TRY(fs_sync(m->t)) == 0 && n == 0)
		p->unlinked = true;
	(void)TRY(fs_symlink(m->t, ROOT, "other", text, &(struct fs_cred){0}, &a));
	if (TRY(make(m, ROOT, "d", S_IFDIR | 0755, &d)) == 0) {
		(void)TRY(fs_rename(m->t, ROOT, "other", d, "other", 0));
		(void)TRY(fs_unlink(m->t, d, "other"));
		(void)TRY(fs_rmdir(m->t, ROOT, "d"));
		fs_forget(m->t, d, 1);
	}
}

static void work_of_all(struct blockdev *disk, struct promised *p)
{
	struct fs_mount_opts opts = {.cache_mib = 1};
	struct fs_ident ident;
	struct mount m;

	*p = (struct promised){0};
	(void)TRY(fs_identify(disk, &ident));
	if (TRY(fs_mount(disk, &opts, &m.fs)) < 0)
		return;
	if (TRY(fs_thread_open(m.fs, &m.t)) == 0) {
		work_on_files(&m, p);
		work_on_big(&m);
		work_on_data(&m);
		work_on_names(&m, p);
		(void)TRY(fs_sync(m.t));
		fs_thread_close(m.t);
	}
	p->clean = TRY(fs_unmount(m.fs)) == 0;
}

/* --- afterwards --- */

static void fail_run(const char *why)
{
	ck_abort_msg("%s %llu (seed %u): %s\n%s", what, (unsigned long long)nth, seed, why, said);
}

#define EXPECT(cond)                     \
	do {                             \
		if (!(cond))             \
			fail_run(#cond); \
	} while (0)

struct walk {
	struct mount *m;
	uint64_t inos[NR_NAMES + 100];
	uint32_t modes[NR_NAMES + 100];
	unsigned nr;
};

static bool take_entry(void *arg, const char *name, const struct fs_attr *a, uint64_t cookie)
{
	struct walk *w = arg;

	(void)cookie;
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return true;
	EXPECT(w->nr < NR_NAMES + 100);
	w->inos[w->nr] = a->ino;
	w->modes[w->nr++] = a->mode;
	return true;
}

/* Everything can be read. */
static void walk_tree(struct mount *m)
{
	static struct walk w;
	static char list[65536];

	w = (struct walk){.m = m, .inos = {ROOT}, .modes = {S_IFDIR}, .nr = 1};
	for (unsigned i = 0; i < w.nr; i++) {
		uint64_t ino = w.inos[i];
		uint8_t *data;

		if (S_ISDIR(w.modes[i]))
			EXPECT(fs_readdir(m->t, ino, 0, true, take_entry, &w) == 0);
		else if (S_ISREG(w.modes[i]))
			EXPECT(transfer(m, ino, 0, FS_IO_MAX, false, &data) >= 0);
		else
			EXPECT(fs_readlink(m->t, ino, list, sizeof(list)) == 0);
		EXPECT(fs_listxattr(m->t, ino, list, sizeof(list)) >= 0);
	}
}

static void check_promises(struct mount *m, const struct promised *p)
{
	for (unsigned i = 0; i < NR_FILES; i++) {
		uint64_t ino = find(m, ROOT, numbered("f", i));
		uint8_t *data;

		if (!p->synced[i])
			continue;
		EXPECT(ino != 0);
		EXPECT(transfer(m, ino, 0, FS_IO_MAX, false, &data) == (ssize_t)FILE_BYTES(i));
		EXPECT(all_are(10 + (int)i, data, FILE_BYTES(i)));
	}
	if (!p->tried_unlink)
		EXPECT(find(m, ROOT, "plain") != 0);
	if (p->unlinked)
		EXPECT(find(m, ROOT, "plain") == 0);
}

static void check_structure(struct blockdev *disk)
{
	struct fsck_log log = {.loud = true};
	struct fsck_result out;

	EXPECT(fsck_run(disk, FSCK_NO, &log, &out) == 0);
	if (log.nr > 0)
		fail_run(log.names);
}

static void check_after(struct blockdev *disk, const struct promised *p)
{
	struct fs_ident ident;
	struct mount m;

	EXPECT(fs_identify(disk, &ident) == 0);
	EXPECT(ident.dirty != p->clean || !p->clean);
	check_structure(disk); /* what a mount would find, in memory */
	must_open(&m, disk);
	check_promises(&m, p);
	walk_tree(&m);
	fs_thread_close(m.t);
	EXPECT(fs_unmount(m.fs) == 0);
	check_structure(disk);
}

/* --- sweeps --- */

static void hangs(int sig)
{
	static const char text[] = "a run hangs\n";

	(void)sig;
	fprintf(stderr, "%s %llu (seed %u): ", what, (unsigned long long)nth, seed);
	(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
	abort();
}

struct fault {
	const char *name;
	void (*arm)(struct blockdev *disk, uint64_t nth); /* 0: none any more */
	uint64_t (*count)(struct blockdev *disk);         /* what it counts, so far */
	void (*once)(struct blockdev *disk, bool once);
};

static void arm_malloc(struct blockdev *disk, uint64_t n)
{
	(void)disk;
	atomic_store(&fail_malloc_in, (long)n);
}

static uint64_t count_mallocs(struct blockdev *disk)
{
	(void)disk;
	return (uint64_t)atomic_load(&nr_mallocs);
}

static void malloc_once(struct blockdev *disk, bool once)
{
	(void)disk;
	atomic_store(&fail_malloc_for_ever, !once);
}

static const struct fault faults[] = {
	{"read", cut_disk_fail_reads, cut_disk_nr_reads, cut_disk_fail_once},
	{"write", cut_disk_fail_writes, cut_disk_nr_writes, cut_disk_fail_once},
	{"flush", cut_disk_fail_flushes, cut_disk_nr_flushes, cut_disk_fail_once},
	{"malloc", arm_malloc, count_mallocs, malloc_once},
};

typedef void (*workload)(struct blockdev *disk, struct promised *p);

/* The replay, and the check. A block that can't be read is damage to it, and is repaired: reading is
 * not among its faults here. */
static void work_of_fsck(struct blockdev *disk, struct promised *p)
{
	static const struct fsck_opts opts = {.mode = FSCK_PREEN, .force = true};
	struct fsck_result out;

	*p = (struct promised){0};
	(void)TRY(fs_check(disk, &opts, &out));
}

static void run(const struct fault *f, workload work, uint64_t n, bool once)
{
	struct blockdev *disk = fresh_disk();
	struct promised p;

	nth = n;
	memset(said, 0, sizeof(said));
	atomic_store(&said_bytes, 0);
	alarm(RUN_S);
	f->once(disk, once);
	f->arm(disk, n);
	work(disk, &p);
	f->arm(disk, 0);
	check_after(disk, &p);
	alarm(0);
	blk_close(disk);
}

/* How many there are without a fault. */
static uint64_t count_all(const struct fault *f, workload work)
{
	struct blockdev *disk = fresh_disk();
	struct promised p;
	uint64_t before;

	before = f->count(disk);
	work(disk, &p);
	MUST(work == work_of_fsck ||
		(p.clean && p.synced[0] && p.synced[NR_FILES - 1] && p.unlinked));
	before = f->count(disk) - before;
	check_after(disk, &p);
	blk_close(disk);
	return before;
}

static void sweep(const struct fault *f, workload work, bool once)
{
	const char *how = getenv("FAULTS");
	uint64_t nr, step, n = 1;

	what = f->name;
	seed = (unsigned)time(NULL);
	signal(SIGALRM, hangs);
	nr = count_all(f, work);
	if (getenv("FAULTS") != NULL)
		fprintf(stderr, "%s: %llu\n", what, (unsigned long long)nr);
	ck_assert_uint_gt(nr, work == work_of_fsck ? 0 : 10);
	step = nr / RUNS + 1;
	if (how != NULL && strcmp(how, "all") == 0)
		step = 1;
	else if (how != NULL && atoll(how) > 0)
		n = nr = (uint64_t)atoll(how);
	else
		n += seed % step;
	for (; n <= nr; n += step)
		run(f, work, n, once);
}

START_TEST(
	a_fault_is_an_error_and_leaves_a_sound_filesystem) /* looped: fault, and once or for ever */
{
	sweep(&faults[_i / 2], work_of_all, _i % 2 == 0);
}
END_TEST

START_TEST(a_fault_under_a_check_is_an_error_and_leaves_a_sound_filesystem) /* likewise */
{
	sweep(&faults[_i / 2], work_of_fsck, _i % 2 == 0);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("faults");
	TCase *tc = tcase_create("all");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 3600);
	tcase_add_loop_test(tc, a_fault_is_an_error_and_leaves_a_sound_filesystem, 0,
		2 * (int)(sizeof(faults) / sizeof(faults[0])));
	tcase_add_loop_test(tc, a_fault_under_a_check_is_an_error_and_leaves_a_sound_filesystem, 2,
		2 * (int)(sizeof(faults) / sizeof(faults[0])));
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return run_suite(suite());
}
