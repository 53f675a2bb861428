/* test_fs_random.c - random operations on a whole filesystem, each compared with a model of it in memory.
 *
 * The seed is printed; VBLKFS_SEED and VBLKFS_OPS choose another run, or a longer one. The model is a tree of nodes; it says
 * of each operation what it must return. Every now and then all is compared, and the filesystem is mounted anew. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utlist.h>
#include "io_wait.h"
#include "memfs.h"
#include "fsck.h"
#include "table.h"
#include "alloc.h"
#include "orphan.h"

#define NR_NAMES      24
#define NODES_MAX     90
#define XATTRS_MAX    6
#define XVALUE_MAX    700
#define PAGES_MAX     12000 /* of all files: less than the disk has */
#define REMOUNT_EVERY 400
#define BURST         6

struct page {
	uint64_t index;
	uint8_t bytes[FS_BLOCK_BYTES];
	UT_hash_handle hh;
};

struct xval {
	bool there;
	size_t bytes;
	uint8_t value[XVALUE_MAX];
};

struct node {
	uint64_t ino, generation;
	uint32_t mode, uid, gid, nlink;
	uint64_t rdev, size, refs; /* those we hold */
	struct timespec mtime;
	bool mtime_known;
	struct page *pages;
	struct node *entry[NR_NAMES]; /* directories */
	struct node *parent;
	char target[FS_SYMLINK_MAX + 1];
	struct xval xattr[XATTRS_MAX];
	struct node *prev, *next;
};

static struct memfs m;
static struct node *nodes; /* all with links or references; the root is first */
static unsigned nr_nodes, nr_pages;
static uint8_t *dma[BURST];
static uint64_t rng;
static char name_of[NR_NAMES][FS_NAME_MAX + 1];

static uint64_t rnd(uint64_t below) /* xorshift64* */
{
	rng ^= rng >> 12;
	rng ^= rng << 25;
	rng ^= rng >> 27;
	return (rng * 0x2545f4914f6cdd1dULL >> 11) % below;
}

static uint64_t env_number(const char *name, uint64_t otherwise)
{
	const char *s = getenv(name);

	return s == NULL ? otherwise : strtoull(s, NULL, 0);
}

/* ---- the model ---- */

static struct node *node_new(uint32_t mode, const struct fs_attr *attr)
{
	struct node *n = calloc(1, sizeof(*n));

	ck_assert_ptr_nonnull(n);
	n->mode = mode;
	n->nlink = S_ISDIR(mode) ? 2 : 1;
	n->ino = attr->ino;
	n->generation = attr->generation;
	n->refs = 1;
	DL_APPEND(nodes, n);
	nr_nodes++;
	return n;
}

static void pages_drop(struct node *n, uint64_t from, uint64_t end)
{
	struct page *p, *tmp;

	HASH_ITER (hh, n->pages, p, tmp) {
		if (p->index < from || p->index >= end)
			continue;
		HASH_DEL(n->pages, p);
		free(p);
		nr_pages--;
	}
}

static void node_delete(struct node *n)
{
	pages_drop(n, 0, UINT64_MAX);
	DL_DELETE(nodes, n);
	nr_nodes--;
	free(n);
}

static struct page *page_of(struct node *n, uint64_t index, bool make)
{
	struct page *p;

	HASH_FIND(hh, n->pages, &index, sizeof(index), p);
	if (p == NULL && make) {
		p = calloc(1, sizeof(*p));
		p->index = index;
		HASH_ADD(hh, n->pages, index, sizeof(index), p);
		nr_pages++;
	}
	return p;
}

static void model_write(struct node *n, uint64_t offset, const uint8_t *data, size_t bytes)
{
	for (size_t done = 0; done < bytes;) {
		size_t at = (offset + done) % FS_BLOCK_BYTES, nr = FS_BLOCK_BYTES - at;
		struct page *p = page_of(n, (offset + done) / FS_BLOCK_BYTES, true);

		if (nr > bytes - done)
			nr = bytes - done;
		memcpy(p->bytes + at, data + done, nr);
		done += nr;
	}
	if (offset + bytes > n->size)
		n->size = offset + bytes;
}

static void model_zero(struct node *n, uint64_t offset, uint64_t end)
{
	struct page *p, *tmp;

	HASH_ITER (hh, n->pages, p, tmp) {
		uint64_t start = p->index * FS_BLOCK_BYTES, stop = start + FS_BLOCK_BYTES;
		uint64_t from = offset > start ? offset : start, to = end < stop ? end : stop;

		if (from < to)
			memset(p->bytes + (from - start), 0, to - from);
	}
}

static void model_truncate(struct node *n, uint64_t size)
{
	if (size < n->size) {
		model_zero(n, size, UINT64_MAX);
		pages_drop(n, (size + FS_BLOCK_BYTES - 1) / FS_BLOCK_BYTES, UINT64_MAX);
	}
	n->size = size;
}

static void model_read(struct node *n, uint64_t offset, uint8_t *out, size_t bytes)
{
	memset(out, 0, bytes);
	for (size_t done = 0; done < bytes;) {
		size_t at = (offset + done) % FS_BLOCK_BYTES, nr = FS_BLOCK_BYTES - at;
		struct page *p = page_of(n, (offset + done) / FS_BLOCK_BYTES, false);

		if (nr > bytes - done)
			nr = bytes - done;
		if (p != NULL)
			memcpy(out + done, p->bytes + at, nr);
		done += nr;
	}
}

static bool dir_is_empty_model(const struct node *dir)
{
	for (int i = 0; i < NR_NAMES; i++)
		if (dir->entry[i] != NULL)
			return false;
	return true;
}

static struct node *pick(bool (*fits)(const struct node *))
{
	struct node *n, *found = NULL;
	uint64_t seen = 0;

	DL_FOREACH (nodes, n)
		if (fits(n) && rnd(++seen) == 0)
			found = n;
	return found;
}

static bool is_dir(const struct node *n)
{
	return S_ISDIR(n->mode) && n->nlink > 0;
}

static bool is_file(const struct node *n)
{
	return S_ISREG(n->mode);
}

static bool is_any(const struct node *n)
{
	return n->ino != FS_ROOT_INO;
}

static bool has_xattrs(const struct node *n)
{
	return S_ISREG(n->mode) || S_ISDIR(n->mode);
}

static bool is_linked(const struct node *n)
{
	return n->nlink > 0 && n->ino != FS_ROOT_INO;
}

static bool is_under(const struct node *n, const struct node *above)
{
	for (; n != above; n = n->parent)
		if (n->ino == FS_ROOT_INO)
			return false;
	return true;
}

/* ---- comparing ---- */

static ssize_t read_now(struct fs_thread *t, uint8_t *buf, uint64_t ino, uint64_t offset,
	uint32_t bytes, uint8_t **data)
{
	struct fs_io io = {.ino = ino, .offset = offset, .bytes = bytes, .buf = buf};
	ssize_t result;

	memset(buf, 0xa5, FS_IO_MAX + FS_BLOCK_BYTES);
	result = io_do(t, fs_read, &io);
	*data = io.data;
	return result;
}

static void check_read(struct node *n, uint64_t offset, uint32_t bytes)
{
	static uint8_t want[FS_IO_MAX];
	uint64_t end = offset + bytes < n->size ? offset + bytes : n->size;
	ssize_t nr = end > offset ? (ssize_t)(end - offset) : 0;
	uint8_t *data;

	ck_assert_int_eq(read_now(m.t, dma[0], n->ino, offset, bytes, &data), nr);
	if (nr == 0)
		return;
	model_read(n, offset, want, (size_t)nr);
	if (memcmp(data, want, (size_t)nr) == 0)
		return;
	for (ssize_t i = 0; i < nr; i++)
		ck_assert_msg(data[i] == want[i], "ino %lu, byte %lu: %02x, not %02x", n->ino,
			offset + (uint64_t)i, data[i], want[i]);
}

static void check_data(struct node *n)
{
	struct page *p, *tmp;

	for (uint64_t at = 0; at < n->size && at < 3 << 20; at += FS_IO_MAX)
		check_read(n, at, FS_IO_MAX);
	HASH_ITER (hh, n->pages, p, tmp) {
		if (p->index >= (3 << 20) / FS_BLOCK_BYTES)
			check_read(n, p->index * FS_BLOCK_BYTES, 2 * FS_BLOCK_BYTES);
	}
}

static void check_attr(const struct node *n, const struct fs_attr *a)
{
	ck_assert_uint_eq(a->ino, n->ino);
	ck_assert_uint_eq(a->generation, n->generation);
	ck_assert_uint_eq(a->mode, n->mode);
	ck_assert_uint_eq(a->uid, n->uid);
	ck_assert_uint_eq(a->gid, n->gid);
	ck_assert_uint_eq(a->nlink, n->nlink);
	ck_assert_uint_eq(a->rdev, n->rdev);
	if (S_ISREG(n->mode) || S_ISLNK(n->mode))
		ck_assert_uint_eq(a->size, n->size);
	if (n->mtime_known) {
		ck_assert_int_eq(a->mtime.tv_sec, n->mtime.tv_sec);
		ck_assert_int_eq(a->mtime.tv_nsec, n->mtime.tv_nsec);
	}
}

static void xattr_name(int i, char *out)
{
	sprintf(out, i % 2 == 0 ? "user.attribute%d" : "trusted.t%d", i);
}

static void check_xattrs(const struct node *n)
{
	char list[XATTRS_MAX * 32], name[32];
	size_t want = 0;

	for (int i = 0; i < XATTRS_MAX; i++) {
		uint8_t value[XVALUE_MAX];

		xattr_name(i, name);
		if (!n->xattr[i].there) {
			ck_assert_int_eq(
				fs_getxattr(m.t, n->ino, name, value, sizeof(value)), -ENODATA);
			continue;
		}
		ck_assert_int_eq(fs_getxattr(m.t, n->ino, name, value, sizeof(value)),
			(ssize_t)n->xattr[i].bytes);
		ck_assert(memcmp(value, n->xattr[i].value, n->xattr[i].bytes) == 0);
		want += strlen(name) + 1;
	}
	ck_assert_int_eq(fs_listxattr(m.t, n->ino, list, sizeof(list)), (ssize_t)want);
}

struct listing {
	const struct node *dir;
	bool seen[NR_NAMES];
	unsigned nr_dots;
	unsigned room; /* entries before FILL says no */
	uint64_t cookie;
};

static bool list_one(void *arg, const char *name, const struct fs_attr *attr, uint64_t cookie)
{
	struct listing *l = arg;
	int i;

	if (l->room == 0)
		return false;
	l->room--;
	l->cookie = cookie;
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
		l->nr_dots++;
		return true;
	}
	for (i = 0; i < NR_NAMES && strcmp(name, name_of[i]) != 0; i++)
		;
	ck_assert_msg(
		i < NR_NAMES && l->dir->entry[i] != NULL, "entry %s is not in the model", name);
	ck_assert_msg(!l->seen[i], "entry %s comes twice", name);
	ck_assert_uint_eq(attr->ino, l->dir->entry[i]->ino);
	ck_assert_uint_eq(attr->mode & S_IFMT, l->dir->entry[i]->mode & S_IFMT);
	l->seen[i] = true;
	return true;
}

static void check_dir(const struct node *n)
{
	struct listing l = {.dir = n};

	do {
		l.room = 1 + (unsigned)rnd(10);
		ck_assert_int_eq(fs_readdir(m.t, n->ino, l.cookie, false, list_one, &l), 0);
	} while (l.room == 0);
	ck_assert_uint_eq(l.nr_dots, 2);
	for (int i = 0; i < NR_NAMES; i++)
		ck_assert_msg(l.seen[i] == (n->entry[i] != NULL), "entry %s", name_of[i]);
}

static void check_node(struct node *n)
{
	char target[FS_SYMLINK_MAX + 1];
	struct fs_attr a;

	ck_assert_int_eq(fs_getattr(m.t, n->ino, &a), 0);
	check_attr(n, &a);
	if (S_ISREG(n->mode))
		check_data(n);
	if (is_dir(n))
		check_dir(n);
	if (S_ISLNK(n->mode)) {
		ck_assert_int_eq(fs_readlink(m.t, n->ino, target, sizeof(target)), 0);
		ck_assert_str_eq(target, n->target);
	}
	check_xattrs(n);
}

static void check_all(void)
{
	struct node *n;

	DL_FOREACH (nodes, n)
		check_node(n);
}

/* ---- operations on names ---- */

static void gone(struct node *n) /* one link less */
{
	n->nlink--;
	if (S_ISDIR(n->mode))
		n->nlink = 0;
}

/* Give back what we hold of N; if it has no links that is its end. */
static void forget(struct node *n)
{
	fs_forget(m.t, n->ino, n->refs);
	n->refs = 0;
	if (n->nlink == 0) {
		struct fs_attr a;

		ck_assert_int_eq(fs_getattr(m.t, n->ino, &a), -ESTALE);
		node_delete(n);
	}
}

static const uint32_t types[] = {
	S_IFREG, S_IFREG, S_IFREG, S_IFREG, S_IFDIR, S_IFDIR, S_IFLNK, S_IFIFO, S_IFCHR};

static void op_make(void)
{
	struct node *dir = pick(is_dir), *n;
	uint32_t mode = types[rnd(sizeof(types) / sizeof(types[0]))] | (uint32_t)rnd(01000);
	struct fs_cred cred = {(uint32_t)rnd(3), (uint32_t)rnd(3)};
	int i = (int)rnd(NR_NAMES), err;
	char target[FS_SYMLINK_MAX + 1];
	uint64_t rdev = S_ISCHR(mode) ? 1 + rnd(1000) : 0;
	struct fs_attr a;

	if (nr_nodes >= NODES_MAX)
		return;
	if (S_ISLNK(mode)) {
		size_t bytes = 1 + rnd(rnd(3) == 0 ? 4000 : 100);

		memset(target, 't', bytes);
		target[bytes] = '\0';
		mode = S_IFLNK | 0777;
		err = fs_symlink(m.t, dir->ino, name_of[i], target, &cred, &a);
	} else {
		err = fs_mknod(m.t, dir->ino, name_of[i], mode, rdev, &cred, &a);
	}
	ck_assert_int_eq(err, dir->entry[i] != NULL ? -EEXIST : 0);
	if (err < 0)
		return;
	n = node_new(mode, &a);
	n->uid = cred.uid;
	n->gid = cred.gid;
	n->rdev = rdev;
	if (S_ISLNK(mode)) {
		strcpy(n->target, target);
		n->size = strlen(target);
	}
	if (S_ISDIR(mode)) {
		n->parent = dir;
		dir->nlink++;
	}
	dir->entry[i] = n;
	dir->mtime_known = false;
	check_attr(n, &a);
}

static void op_link(void)
{
	struct node *dir = pick(is_dir), *n = pick(is_linked);
	int i = (int)rnd(NR_NAMES), err;
	struct fs_attr a;

	if (n == NULL)
		return;
	err = fs_link(m.t, n->ino, dir->ino, name_of[i], &a);
	if (S_ISDIR(n->mode)) {
		ck_assert_int_eq(err, -EPERM);
		return;
	}
	ck_assert_int_eq(err, dir->entry[i] != NULL ? -EEXIST : 0);
	if (err < 0)
		return;
	n->nlink++;
	n->refs++;
	dir->entry[i] = n;
	dir->mtime_known = false;
	check_attr(n, &a);
}

static void op_remove(void)
{
	struct node *dir = pick(is_dir), *n;
	int i = (int)rnd(NR_NAMES), err, want = 0;
	bool rmdir_it = rnd(2) == 0;

	n = dir->entry[i];
	if (n == NULL)
		want = -ENOENT;
	else if (rmdir_it && !S_ISDIR(n->mode))
		want = -ENOTDIR;
	else if (!rmdir_it && S_ISDIR(n->mode))
		want = -EISDIR;
	else if (rmdir_it && !dir_is_empty_model(n))
		want = -ENOTEMPTY;
	err = rmdir_it ? fs_rmdir(m.t, dir->ino, name_of[i]) : fs_unlink(m.t, dir->ino, name_of[i]);
	ck_assert_int_eq(err, want);
	if (err < 0)
		return;
	dir->entry[i] = NULL;
	dir->mtime_known = false;
	if (S_ISDIR(n->mode))
		dir->nlink--;
	gone(n);
	if (n->nlink == 0 && rnd(2) == 0)
		forget(n);
}

static int rename_error(
	struct node *from, struct node *n, struct node *to, struct node *old, unsigned flags)
{
	if (n == NULL)
		return -ENOENT;
	if (flags == RENAME_EXCHANGE) {
		if (old == NULL)
			return -ENOENT;
		if ((S_ISDIR(n->mode) && is_under(to, n)) ||
			(S_ISDIR(old->mode) && is_under(from, old)))
			return n == old ? 0 : 1; /* 1: which error it is, is not for us to say */
		return 0;
	}
	if (flags == RENAME_NOREPLACE && old != NULL)
		return -EEXIST;
	if (S_ISDIR(n->mode) && is_under(to, n))
		return 1;
	if (old == NULL || old == n)
		return 0;
	if (S_ISDIR(n->mode) && !S_ISDIR(old->mode))
		return -ENOTDIR;
	if (!S_ISDIR(n->mode) && S_ISDIR(old->mode))
		return 1;
	if (S_ISDIR(old->mode) && !dir_is_empty_model(old))
		return 1;
	return 0;
}

static void move_dir(struct node *n, struct node *from, struct node *to)
{
	if (n == NULL || !S_ISDIR(n->mode))
		return;
	n->parent = to;
	from->nlink--;
	to->nlink++;
}

static void op_rename(void)
{
	static const unsigned kinds[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
	struct node *from = pick(is_dir), *to = pick(is_dir), *n, *old;
	int i = (int)rnd(NR_NAMES), j = (int)rnd(NR_NAMES), err, want;
	unsigned flags = kinds[rnd(5)];

	n = from->entry[i];
	old = to->entry[j];
	want = rename_error(from, n, to, old, flags);
	err = fs_rename(m.t, from->ino, name_of[i], to->ino, name_of[j], flags);
	if (want <= 0)
		ck_assert_int_eq(err, want);
	else
		ck_assert_int_lt(err, 0);
	if (err < 0 || n == old)
		return;
	from->mtime_known = to->mtime_known = false;
	if (flags == RENAME_EXCHANGE) {
		move_dir(n, from, to);
		move_dir(old, to, from);
		from->entry[i] = old;
		to->entry[j] = n;
		return;
	}
	from->entry[i] = NULL;
	to->entry[j] = n;
	move_dir(n, from, to);
	if (old != NULL) {
		if (S_ISDIR(old->mode))
			to->nlink--;
		gone(old);
		if (old->nlink == 0 && rnd(2) == 0)
			forget(old);
	}
}

static void op_lookup(void)
{
	struct node *dir = pick(is_dir), *n;
	int i = (int)rnd(NR_NAMES);
	struct fs_attr a;

	n = dir->entry[i];
	ck_assert_int_eq(fs_lookup(m.t, dir->ino, name_of[i], &a), n == NULL ? -ENOENT : 0);
	if (n == NULL)
		return;
	check_attr(n, &a);
	n->refs++;
	if (rnd(2) == 0) { /* as the kernel does: forget all, and find it again later */
		forget(n);
		ck_assert_int_eq(fs_lookup(m.t, dir->ino, name_of[i], &a), 0);
		n->refs = 1;
		check_attr(n, &a);
	}
}

static void op_forget(void)
{
	struct node *n = pick(is_any);

	if (n != NULL && n->nlink == 0)
		forget(n);
}

/* ---- operations on attributes ---- */

static void op_setattr(void)
{
	struct node *n = pick(is_any);
	struct fs_setattr set = {0};
	struct fs_attr a;

	if (n == NULL)
		return;
	if (rnd(2) == 0) {
		set.valid |= FS_SET_MODE;
		set.mode = n->mode = (n->mode & S_IFMT) | (uint32_t)rnd(01000);
	}
	if (rnd(3) == 0) {
		set.valid |= FS_SET_UID | FS_SET_GID;
		set.uid = n->uid = (uint32_t)rnd(1000);
		set.gid = n->gid = (uint32_t)rnd(1000);
	}
	set.valid |= FS_SET_MTIME;
	set.mtime = n->mtime =
		(struct timespec){(time_t)rnd(1ULL << 34) - 1000, (long)rnd(1000000000)};
	n->mtime_known = true;
	ck_assert_int_eq(fs_setattr(m.t, n->ino, &set, &a), 0);
	check_attr(n, &a);
}

static void op_xattr(void)
{
	struct node *n = pick(has_xattrs);
	int i = (int)rnd(XATTRS_MAX), flags = (int[]){0, 0, XATTR_CREATE, XATTR_REPLACE}[rnd(4)];
	char name[32];
	struct xval x = {.there = true};
	int want = 0;

	if (n == NULL)
		return;
	xattr_name(i, name);
	if (rnd(3) == 0) {
		ck_assert_int_eq(
			fs_removexattr(m.t, n->ino, name), n->xattr[i].there ? 0 : -ENODATA);
		n->xattr[i].there = false;
		return;
	}
	x.bytes = rnd(rnd(2) == 0 ? 20 : XVALUE_MAX);
	for (size_t k = 0; k < x.bytes; k++)
		x.value[k] = (uint8_t)rnd(256);
	if (flags == XATTR_CREATE && n->xattr[i].there)
		want = -EEXIST;
	if (flags == XATTR_REPLACE && !n->xattr[i].there)
		want = -ENODATA;
	ck_assert_int_eq(fs_setxattr(m.t, n->ino, name, x.value, x.bytes, flags), want);
	if (want == 0)
		n->xattr[i] = x;
}

/* ---- operations on data ---- */

static uint64_t random_offset(void)
{
	static const uint64_t base[] = {0, 0, 0, 1 << 20, 1ULL << 33, (1ULL << 50) - 5000};
	uint64_t at = base[rnd(6)] + rnd(rnd(2) == 0 ? 20000 : 1 << 20);

	return rnd(2) == 0 ? at & ~(uint64_t)(FS_BLOCK_BYTES - 1) : at;
}

static uint32_t random_bytes(void)
{
	static const uint32_t max[] = {100, 5000, 20000, 70000, 300000, FS_IO_MAX};
	uint32_t bytes = 1 + (uint32_t)rnd(max[rnd(rnd(4) == 0 ? 6 : 4)]);

	return rnd(2) == 0 && bytes > FS_BLOCK_BYTES ? bytes & ~(FS_BLOCK_BYTES - 1) : bytes;
}

/* Several writes at once, which may overlap: on one thread they count in the order of the calls. */
static void op_write(void)
{
	unsigned nr = rnd(3) == 0 ? BURST : 1;
	struct fs_io io[BURST];
	struct io_wait w[BURST] = {0};
	struct node *n = pick(is_file);

	if (n == NULL || nr_pages > PAGES_MAX)
		return;
	for (unsigned i = 0; i < nr; i++) {
		io[i] = (struct fs_io){.ino = n->ino,
			.offset = random_offset(),
			.buf = dma[i],
			.bytes = random_bytes(),
			.done = io_done,
			.user = &w[i]};
		if (i > 0 && rnd(2) == 0)
			io[i].offset = io[i - 1].offset + rnd(io[i - 1].bytes + 1);
		for (uint32_t k = 0; k < io[i].bytes + FS_BLOCK_BYTES; k++)
			dma[i][k] = k < 16 || k % 512 == 0 ? (uint8_t)rnd(256) : (uint8_t)(k + i);
		model_write(n, io[i].offset, dma[i], io[i].bytes);
		fs_write(m.t, &io[i]);
	}
	for (unsigned i = 0; i < nr; i++) {
		(void)io_result(m.t, &w[i]);
		ck_assert_int_eq(w[i].result, io[i].bytes);
	}
	n->mtime_known = false;
	check_read(n, io[nr - 1].offset & ~4095ULL, io[nr - 1].bytes);
}

static void op_read(void)
{
	struct node *n = pick(is_file);

	if (n != NULL)
		check_read(n, random_offset(), random_bytes());
}

static void op_truncate(void)
{
	struct node *n = pick(is_file);
	struct fs_setattr set = {.valid = FS_SET_SIZE};
	struct fs_attr a;

	if (n == NULL)
		return;
	set.size = rnd(4) == 0 ? 0 : rnd(2) == 0 ? rnd(n->size + 1) : random_offset();
	ck_assert_int_eq(fs_setattr(m.t, n->ino, &set, &a), 0);
	model_truncate(n, set.size);
	n->mtime_known = false;
	check_attr(n, &a);
}

static void op_fallocate(void)
{
	static const int modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE};
	struct node *n = pick(is_file);
	int mode = modes[rnd(5)];
	uint64_t offset = random_offset(), bytes = random_bytes();

	if (n == NULL)
		return;
	ck_assert_int_eq(fs_fallocate(m.t, n->ino, mode, offset, bytes), 0);
	if (mode & (FALLOC_FL_ZERO_RANGE | FALLOC_FL_PUNCH_HOLE))
		model_zero(n, offset, offset + bytes);
	if (!(mode & FALLOC_FL_KEEP_SIZE) && offset + bytes > n->size)
		n->size = offset + bytes;
	n->mtime_known = false;
}

static bool is_zero(struct node *n, uint64_t from, uint64_t to)
{
	struct page *p, *tmp;

	HASH_ITER (hh, n->pages, p, tmp) {
		uint64_t start = p->index * FS_BLOCK_BYTES;

		for (unsigned i = 0; i < FS_BLOCK_BYTES; i++)
			if (p->bytes[i] != 0 && start + i >= from && start + i < to)
				return false;
	}
	return true;
}

/* Where a hole is said to be, there are zeros. */
static void op_seek(void)
{
	struct node *n = pick(is_file);
	uint64_t at, data, hole;
	int err;

	if (n == NULL)
		return;
	at = rnd(2) == 0 ? rnd(n->size + 1) : random_offset();
	err = fs_lseek(m.t, n->ino, at, SEEK_DATA, &data);
	if (at >= n->size) {
		ck_assert_int_eq(err, -ENXIO);
		return;
	}
	if (err == -ENXIO)
		data = n->size;
	else
		ck_assert_int_eq(err, 0);
	ck_assert(data >= at && data <= n->size);
	ck_assert(is_zero(n, at, data));
	ck_assert_int_eq(fs_lseek(m.t, n->ino, at, SEEK_HOLE, &hole), 0);
	ck_assert(hole >= at && hole <= n->size);
	ck_assert(hole == at || data == at);
}

static void sync_done(struct fs_sync *s, int err) /* on any thread */
{
	struct io_wait *w = s->user;

	w->result = err;
	__atomic_store_n(&w->done, true, __ATOMIC_RELEASE); /* the last look at W and S */
}

static void op_fsync(void)
{
	struct node *n = pick(is_any);
	struct io_wait w = {0};
	struct fs_sync s = {.done = sync_done, .user = &w};

	if (n == NULL)
		return;
	fs_fsync(m.t, n->ino, rnd(2) == 0, &s);
	while (!__atomic_load_n(&w.done, __ATOMIC_ACQUIRE))
		blk_wait(fs_thread_queue(m.t), 10);
	ck_assert_int_eq(w.result, 0);
}

/* ---- the run ---- */

static void find_again(struct node *dir)
{
	for (int i = 0; i < NR_NAMES; i++) {
		struct node *n = dir->entry[i];
		struct fs_attr a;

		if (n == NULL)
			continue;
		ck_assert_int_eq(fs_lookup(m.t, dir->ino, name_of[i], &a), 0);
		check_attr(n, &a);
		if (n->refs++ == 0 && S_ISDIR(n->mode))
			find_again(n);
	}
}

static void remount(void)
{
	struct node *n, *tmp;

	check_all();
	ck_assert_int_eq(memfs_unmount(&m), 0);
	fsck_sound(m.dev);
	memfs_mount(&m);
	DL_FOREACH_SAFE (nodes, n, tmp) {
		n->refs = 0;
		if (n->nlink == 0)
			node_delete(n);
	}
	find_again(nodes);
	check_all();
}

static void (*const ops[])(void) = {op_make, op_make, op_make, op_link, op_remove, op_remove,
	op_rename, op_rename, op_lookup, op_forget, op_setattr, op_xattr, op_write, op_write,
	op_write, op_write, op_read, op_read, op_truncate, op_fallocate, op_fallocate, op_seek,
	op_fsync};

static void setup_names(void)
{
	for (int i = 0; i < NR_NAMES; i++) {
		size_t bytes = i % 4 == 0 ? FS_NAME_MAX : (size_t)(2 + i);

		memset(name_of[i], 'a' + i, bytes);
	}
}

static void setup_on(unsigned mib)
{
	struct fs_attr root;

	rng = env_number("VBLKFS_SEED", 0x5eed);
	memfs_open(&m, mib);
	setup_names();
	for (int i = 0; i < BURST; i++)
		dma[i] = blk_dma_alloc(m.dev, FS_IO_MAX + FS_BLOCK_BYTES);
	ck_assert_int_eq(fs_getattr(m.t, FS_ROOT_INO, &root), 0);
	node_new(root.mode, &root)->parent = NULL;
	nodes->nlink = 2;
}

static void setup(void)
{
	setup_on(256);
}

static void teardown(void)
{
	while (nodes != NULL)
		node_delete(nodes);
	for (int i = 0; i < BURST; i++)
		blk_dma_free(m.dev, dma[i], FS_IO_MAX + FS_BLOCK_BYTES);
	memfs_close(&m);
}

START_TEST(random_operations_do_what_the_model_says) /* one seed a loop */
{
	uint64_t nr = env_number("VBLKFS_OPS", 1500), seed = rng += (uint64_t)_i * 1000003;

	printf("VBLKFS_SEED=%lu\n", seed);
	fflush(stdout);
	for (uint64_t i = 1; i <= nr; i++) {
		ops[rnd(sizeof(ops) / sizeof(ops[0]))]();
		if (i % REMOUNT_EVERY == 0 || i == nr)
			remount();
	}
}
END_TEST

/* ---- several threads, each with files of its own ---- */

#define NR_THREADS 4

struct worker {
	pthread_t thread;
	uint64_t seed;
	char failure[200];
};

static uint32_t worker_rnd(struct worker *k, uint32_t below)
{
	k->seed = k->seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(k->seed >> 33) % below;
}

#define WORKER_MUST(cond)                                                                         \
	do {                                                                                      \
		if (!(cond)) {                                                                    \
			snprintf(k->failure, sizeof(k->failure), "line %d: %s", __LINE__, #cond); \
			return;                                                                   \
		}                                                                                 \
	} while (0)

/* A file of its own, written, read back, cut and renamed in a directory that all share. */
static void work_on_file(struct worker *k, struct fs_thread *t, uint8_t *buf, unsigned round)
{
	uint32_t bytes = 1 + worker_rnd(k, 200000), at = worker_rnd(k, 50000);
	char name[40], other[50];
	struct io_wait w = {0};
	struct fs_io io = {.offset = at, .bytes = bytes, .buf = buf, .done = io_done, .user = &w};
	struct fs_attr a;
	uint8_t *data;

	sprintf(name, "%lx-%u", (unsigned long)k->thread, round);
	sprintf(other, "%s-moved", name);
	WORKER_MUST(
		fs_mknod(t, FS_ROOT_INO, name, S_IFREG | 0600, 0, &(struct fs_cred){0}, &a) == 0);
	memset(buf, (int)(round + k->seed), bytes);
	io.ino = a.ino;
	fs_write(t, &io);
	WORKER_MUST(fs_rename(t, FS_ROOT_INO, name, FS_ROOT_INO, other, 0) == 0);
	(void)io_result(t, &w);
	WORKER_MUST(w.result == bytes);
	WORKER_MUST(read_now(t, buf, a.ino, at, FS_BLOCK_BYTES, &data) ==
		    (bytes < FS_BLOCK_BYTES ? bytes : FS_BLOCK_BYTES));
	WORKER_MUST(data[0] == (uint8_t)(round + k->seed));
	if (worker_rnd(k, 4) == 0)
		WORKER_MUST(fs_sync(t) == 0);
	if (worker_rnd(k, 2) == 0)
		WORKER_MUST(fs_setattr(t, a.ino,
				    &(struct fs_setattr){.valid = FS_SET_SIZE, .size = at / 2},
				    &a) == 0);
	WORKER_MUST(fs_unlink(t, FS_ROOT_INO, other) == 0);
	WORKER_MUST(fs_getattr(t, a.ino, &a) == 0 && a.nlink == 0);
	fs_forget(t, a.ino, 1);
}

static void *worker_main(void *arg)
{
	uint64_t rounds = env_number("VBLKFS_OPS", 1500) / 15;
	struct worker *k = arg;
	struct fs_thread *t;
	uint8_t *buf = blk_dma_alloc(m.dev, FS_IO_MAX + FS_BLOCK_BYTES);

	if (fs_thread_open(m.fs, &t) != 0)
		abort();
	for (unsigned i = 0; i < rounds && k->failure[0] == '\0'; i++)
		work_on_file(k, t, buf, i);
	fs_thread_close(t);
	blk_dma_free(m.dev, buf, FS_IO_MAX + FS_BLOCK_BYTES);
	return NULL;
}

static void free_counts(struct fs_statfs *st)
{
	orphans_wait(m.t);
	ck_assert_int_eq(fs_sync(m.t), 0);
	alloc_statfs(m.fs, st);
}

START_TEST(threads_do_not_disturb_each_other_and_leave_nothing)
{
	struct worker workers[NR_THREADS] = {0};
	struct fs_statfs before, after;

	free_counts(&before);
	for (int i = 0; i < NR_THREADS; i++) {
		workers[i].seed = rng + (uint64_t)i;
		pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]);
	}
	for (int i = 0; i < NR_THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		ck_assert_str_eq(workers[i].failure, "");
	}
	free_counts(&after);
	ck_assert_uint_eq(after.free_blocks, before.free_blocks);
	ck_assert_uint_eq(after.free_inodes, before.free_inodes);
	remount();
}
END_TEST

/* ---- a full disk ---- */

static ssize_t write_now(uint64_t ino, uint64_t offset, uint32_t bytes)
{
	struct io_wait w = {0};
	struct fs_io io = {.ino = ino,
		.offset = offset,
		.bytes = bytes,
		.buf = dma[0],
		.done = io_done,
		.user = &w};

	fs_write(m.t, &io);
	(void)io_result(m.t, &w);
	return w.result;
}

static void fill_disk(uint64_t ino)
{
	struct fs_attr before, after;
	uint64_t at = 0;
	ssize_t n;

	for (uint32_t bytes = FS_IO_MAX; bytes >= FS_BLOCK_BYTES; bytes /= 4) {
		while ((n = write_now(ino, at, bytes)) > 0)
			at += 2 * (uint64_t)n; /* holes: extents that do not merge in the file */
		ck_assert_int_eq(n, -ENOSPC);
	}
	ck_assert_int_eq(fs_getattr(m.t, ino, &before), 0);
	ck_assert_int_eq(write_now(ino, at + FS_IO_MAX, FS_IO_MAX), -ENOSPC);
	ck_assert_int_eq(fs_fallocate(m.t, ino, 0, at + FS_IO_MAX, FS_IO_MAX), -ENOSPC);
	ck_assert_int_eq(fs_getattr(m.t, ino, &after), 0);
	ck_assert_uint_eq(after.size, before.size);
	ck_assert_uint_eq(after.nr_sectors, before.nr_sectors);
}

START_TEST(a_full_disk_gives_all_back)
{
	struct fs_statfs before, full, after;
	struct fs_attr a, b;

	for (int round = 0; round < 3; round++) {
		free_counts(&before);
		ck_assert_int_eq(
			fs_mknod(m.t, FS_ROOT_INO, "big", S_IFREG, 0, &(struct fs_cred){0}, &a), 0);
		ck_assert_int_eq(
			fs_mknod(m.t, FS_ROOT_INO, "small", S_IFREG, 0, &(struct fs_cred){0}, &b),
			0);
		fill_disk(a.ino);
		alloc_statfs(m.fs, &full);
		ck_assert_uint_le(full.avail_blocks, 2 * TX_ALLOC_EXTENT);

		/* what is written over needs nothing; and what is deleted can be used at once */
		ck_assert_int_eq(write_now(a.ino, 0, FS_IO_MAX), FS_IO_MAX);
		ck_assert_int_eq(fs_unlink(m.t, FS_ROOT_INO, "big"), 0);
		fs_forget(m.t, a.ino, 1);
		ck_assert_int_eq(write_now(b.ino, 0, FS_IO_MAX), FS_IO_MAX);
		ck_assert_int_eq(fs_unlink(m.t, FS_ROOT_INO, "small"), 0);
		fs_forget(m.t, b.ino, 1);
		free_counts(&after);
		ck_assert_uint_eq(after.free_blocks, before.free_blocks);
		ck_assert_uint_eq(after.free_inodes, before.free_inodes);
		ck_assert_uint_eq(after.avail_blocks, before.avail_blocks);
		if (round == 1)
			remount();
	}
}
END_TEST

static void setup_small(void)
{
	setup_on(24);
}

static Suite *suite(void)
{
	Suite *s = suite_create("fs_random");
	TCase *tc = tcase_create("random"), *full = tcase_create("full");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, random_operations_do_what_the_model_says, 0, 3);
	tcase_add_test(tc, threads_do_not_disturb_each_other_and_leave_nothing);
	suite_add_tcase(s, tc);

	tcase_set_timeout(full, 60);
	tcase_add_checked_fixture(full, setup_small, teardown);
	tcase_add_test(full, a_full_disk_gives_all_back);
	suite_add_tcase(s, full);
	return s;
}

int main(void)
{
	return run_suite(suite());
}
