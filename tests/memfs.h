/* memfs.h - for unit tests: a filesystem on a disk in memory, mounted, with one thread. */
#ifndef VBLKFS_TESTS_MEMFS_H
#define VBLKFS_TESTS_MEMFS_H
#include <check.h>
#include <stdlib.h>
#include "disk.h"
#include "vblkfs.h"

/* ck_assert() tells Check's runner of itself each time; in a loop of thousands that is most of the
 * time. */
#define MUST(cond)                                 \
	do {                                       \
		if (!(cond))                       \
			ck_abort_msg("%s", #cond); \
	} while (0)

struct memfs {
	struct blockdev *dev;
	struct fs *fs;
	struct fs_thread *t;
};

static inline void memfs_mount(struct memfs *m)
{
	/* what is corrupt shall be refused each time, not only the first */
	static const struct fs_mount_opts opts = {.errors = FS_ERRORS_CONTINUE};

	ck_assert_int_eq(fs_mount(m->dev, &opts, &m->fs), 0);
	ck_assert_int_eq(fs_thread_open(m->fs, &m->t), 0);
}

static inline void memfs_open(struct memfs *m, unsigned mib)
{
	struct mkfs_geometry geo;
	char err[256];

	ck_assert_int_eq(mem_disk_open((uint64_t)mib << 11, &m->dev), 0);
	ck_assert_int_eq(mkfs_write(m->dev, &(struct mkfs_opts){0}, &geo, err, sizeof(err)), 0);
	memfs_mount(m);
}

/* Returns what fs_unmount() does. */
static inline int memfs_unmount(struct memfs *m)
{
	fs_thread_close(m->t);
	return fs_unmount(m->fs);
}

static inline void memfs_remount(struct memfs *m)
{
	ck_assert_int_eq(memfs_unmount(m), 0);
	memfs_mount(m);
}

static inline void memfs_close(struct memfs *m)
{
	(void)memfs_unmount(m);
	blk_close(m->dev);
}

static inline int run_suite(Suite *s)
{
	SRunner *r = srunner_create(s);
	int failed;

	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
#endif
