/* fsck_world.h - for tests of the check: a small filesystem with one of everything, of which
 * copies are cheap; and a walk through all of one.
 *
 * It has three groups, so that there are copies of the superblock and inodes in more than one
 * table; files of one extent, of three, and with a tree; directories of no leaf, one, and many;
 * links, devices, attributes in all their places. */
#ifndef VBLKFS_TESTS_FSCK_WORLD_H
#define VBLKFS_TESTS_FSCK_WORLD_H
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include "cut_disk.h"
#include "fsck.h"
#include "cache.h"
#include "io_wait.h"

#define WORLD_MIB    2200U
#define WORLD_NAMES  700 /* of one inode, in one directory */
#define WORLD_PIECES 400 /* extents of the file with a tree */

struct world {
	struct memfs m;                           /* m.dev is a cut_disk */
	uint8_t *buf;                             /* DMA memory */
	uint64_t dir[4], file, frag, names, full; /* numbers of inodes */
};

/* --- calls on a mounted filesystem --- */

static inline void world_write(
	struct world *w, uint64_t ino, uint64_t offset, uint32_t bytes, int fill)
{
	struct fs_io io = {
		.ino = ino, .offset = offset, .bytes = bytes, .buf = w->buf, .data = w->buf};

	memset(w->buf, fill, bytes);
	ck_assert_int_eq(io_do(w->m.t, fs_write, &io), bytes);
}

static inline uint64_t world_make(struct world *w, uint64_t dir, const char *name, uint32_t mode)
{
	struct fs_attr attr;

	ck_assert_int_eq(fs_mknod(w->m.t, dir, name, mode, S_ISCHR(mode) ? 0x105 : 0,
				 &(struct fs_cred){0}, &attr),
		0);
	fs_forget(w->m.t, attr.ino, 1);
	return attr.ino;
}

static inline void world_symlink(struct world *w, uint64_t dir, const char *name, size_t bytes)
{
	char target[FS_SYMLINK_MAX + 1] = {0};
	struct fs_attr attr;

	memset(target, 'x', bytes);
	ck_assert_int_eq(fs_symlink(w->m.t, dir, name, target, &(struct fs_cred){0}, &attr), 0);
	fs_forget(w->m.t, attr.ino, 1);
}

static inline void world_xattr(struct world *w, uint64_t ino, const char *name, size_t bytes)
{
	char value[4096];

	memset(value, 'v', sizeof(value));
	ck_assert_int_eq(fs_setxattr(w->m.t, ino, name, value, bytes, 0), 0);
}

static inline void world_link(struct world *w, uint64_t ino, uint64_t dir, const char *name)
{
	struct fs_attr attr;

	ck_assert_int_eq(fs_link(w->m.t, ino, dir, name, &attr), 0);
	fs_forget(w->m.t, attr.ino, 1);
}

/* --- everything --- */

static inline void world_fill_dirs(struct world *w)
{
	char name[FS_NAME_MAX + 1];

	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "dir%d", i);
		w->dir[i] = world_make(w, i == 3 ? w->dir[2] : FS_ROOT_INO, name, S_IFDIR | 0755);
		for (int k = 0; k < 4; k++) {
			uint64_t ino;

			snprintf(name, sizeof(name), "file %d of %d", k, i);
			ino = world_make(w, w->dir[i], name, S_IFREG | 0644);
			world_write(w, ino, 0, 4096U * (unsigned)(k + 1), 'a' + i);
		}
	}
	world_make(w, w->dir[3], "empty", S_IFDIR | 0700);
	world_make(w, w->dir[1], "device", S_IFCHR | 0600);
	world_make(w, w->dir[1], "fifo", S_IFIFO | 0600);
	world_symlink(w, w->dir[0], "short", 20);
	world_symlink(w, w->dir[1], "long", 500);
	for (int i = 0; i < 20; i++) { /* so that group 0 has more than one block of inodes */
		snprintf(name, sizeof(name), "plain %d", i);
		world_make(w, FS_ROOT_INO, name, S_IFREG | 0444);
	}
	w->names = world_make(w, FS_ROOT_INO, "names", S_IFDIR | 0755);
	for (int i = 0; i < WORLD_NAMES; i++) {
		snprintf(name, sizeof(name),
			"a name of one and the same file, number %d of them all", i);
		world_link(w, w->file, w->names, name);
	}
}

static inline void world_fill_files(struct world *w)
{
	w->file = world_make(w, FS_ROOT_INO, "file", S_IFREG | 0644);
	world_write(w, w->file, 0, 10000, 'f');
	world_write(w, w->file, 40960, 4096, 'f');
	w->frag = world_make(w, FS_ROOT_INO, "pieces", S_IFREG | 0644);
	for (unsigned i = 0; i < WORLD_PIECES; i++)
		world_write(w, w->frag, i * 8192U, 4096, 'p');
	w->full = world_make(w, FS_ROOT_INO, "attributes", S_IFREG | 04755);
	ck_assert_int_eq(fs_fallocate(w->m.t, w->full, 0, 0, 65536), 0);
	world_xattr(w, w->full, "user.small", 10);
	world_xattr(w, w->full, "user.one", 3000);
	world_xattr(w, w->full, "trusted.two", 3000);
	world_xattr(w, w->full, "security.three", 3000);
	world_xattr(w, w->file, "user.inline", 10);
}

/* Made, filled and unmounted; copies of it show it so. */
static inline void world_open(struct world *w)
{
	const struct mkfs_opts opts = {.journal_bytes = 4U << 20, .no_discard = true};
	struct mkfs_geometry geo;
	char err[256];

	ck_assert_int_eq(cut_disk_open((uint64_t)WORLD_MIB << 11, &w->m.dev), 0);
	ck_assert_int_eq(mkfs_write(w->m.dev, &opts, &geo, err, sizeof(err)), 0);
	w->buf = blk_dma_alloc(w->m.dev, FS_IO_MAX);
	memfs_mount(&w->m);
	world_fill_files(w);
	world_fill_dirs(w);
	ck_assert_int_eq(memfs_unmount(&w->m), 0);
	cut_disk_record(w->m.dev);
}

static inline void world_close(struct world *w)
{
	blk_dma_free(w->m.dev, w->buf, FS_IO_MAX);
	blk_close(w->m.dev);
}

static inline struct blockdev *world_copy(struct world *w)
{
	struct blockdev *dev;

	ck_assert_int_eq(cut_disk_cut(w->m.dev, cut_disk_nr_events(w->m.dev), CUT_ALL, 0, &dev), 0);
	return dev;
}

static inline void *world_block(struct blockdev *dev, uint64_t block)
{
	return cut_disk_bytes(dev) + block * BLOCK_BYTES;
}

/* --- a walk: all can be read --- */

struct world_names {
	struct world_name {
		char name[FS_NAME_MAX + 1];
		uint64_t ino;
	} * v;
	size_t nr, max;
};

static inline bool world_take_name(
	void *arg, const char *name, const struct fs_attr *attr, uint64_t cookie)
{
	struct world_names *n = arg;

	(void)cookie;
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return true;
	if (n->nr == n->max) {
		n->max = n->max == 0 ? 64 : n->max * 2;
		n->v = realloc(n->v, n->max * sizeof(*n->v));
	}
	snprintf(n->v[n->nr].name, sizeof(n->v[0].name), "%s", name);
	n->v[n->nr++].ino = attr->ino;
	return true;
}

static inline void world_walk_file(struct memfs *m, uint8_t *buf, const struct fs_attr *a)
{
	for (uint64_t at = 0; at < a->size && at < (16U << 20); at += FS_IO_MAX) {
		struct fs_io io = {.ino = a->ino, .offset = at, .bytes = FS_IO_MAX, .buf = buf};

		MUST(io_do(m->t, fs_read, &io) > 0);
	}
}

/* How many names there are below DIR. */
static inline size_t world_walk(struct memfs *m, uint8_t *buf, uint64_t dir, unsigned depth)
{
	struct world_names names = {0};
	size_t nr;

	MUST(depth < 100);
	MUST(fs_readdir(m->t, dir, 0, false, world_take_name, &names) == 0);
	nr = names.nr;
	for (size_t i = 0; i < names.nr; i++) {
		char target[FS_SYMLINK_MAX + 1];
		struct fs_attr a;

		MUST(fs_lookup(m->t, dir, names.v[i].name, &a) == 0);
		MUST(a.ino == names.v[i].ino);
		MUST(fs_listxattr(m->t, a.ino, NULL, 0) >= 0);
		if (S_ISDIR(a.mode))
			nr += world_walk(m, buf, a.ino, depth + 1);
		else if (S_ISREG(a.mode))
			world_walk_file(m, buf, &a);
		else if (S_ISLNK(a.mode))
			MUST(fs_readlink(m->t, a.ino, target, sizeof(target)) == 0);
		fs_forget(m->t, a.ino, 1);
	}
	free(names.v);
	return nr;
}

/* Mount DEV, read everything, make and remove something. Returns how many names there are. */
static inline size_t world_use(struct blockdev *dev)
{
	struct world w = {.m = {.dev = dev}};
	size_t nr;
	bool corrupt;

	w.buf = blk_dma_alloc(dev, FS_IO_MAX + FS_BLOCK_BYTES);
	memfs_mount(&w.m);
	nr = world_walk(&w.m, w.buf, FS_ROOT_INO, 0);
	(void)world_make(&w, FS_ROOT_INO, "new", S_IFREG | 0644);
	ck_assert_int_eq(fs_unlink(w.m.t, FS_ROOT_INO, "new"), 0);
	corrupt = atomic_load(&w.m.fs->errors_seen);
	blk_dma_free(dev, w.buf, FS_IO_MAX + FS_BLOCK_BYTES);
	ck_assert_int_eq(memfs_unmount(&w.m), 0);
	ck_assert(!corrupt);
	return nr;
}

/* Repair what is on DEV, and see that it is: a second run finds nothing, and all can be used. */
static inline void world_repair(struct blockdev *dev, struct fsck_log *log, struct fsck_result *out)
{
	ck_assert_int_eq(fsck_run(dev, FSCK_YES, log, out), 0);
	ck_assert_uint_eq(out->nr_left, 0);
	fsck_sound(dev);
}
#endif
