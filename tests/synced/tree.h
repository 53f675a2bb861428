/* tree.h - a tree of files to be judged: on a mount, or on a disk that nobody has mounted.
 *
 * Paths are whole. Errors are negative errnos. One thread. */
#ifndef VBLKFS_TREE_H
#define VBLKFS_TREE_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "vblkfs.h"

struct tree_stat {
	bool is_dir;
	uint64_t size;
	uint32_t nlink;
};
typedef bool (*tree_name_fn)(void *arg, const char *name); /* false: enough */

struct tree {
	int (*stat)(struct tree *t, const char *path, struct tree_stat *out);
	ssize_t (*read)(struct tree *t, const char *path, uint8_t *buf, size_t bytes);
	ssize_t (*attr)(
		struct tree *t, const char *path, const char *name, void *buf, size_t bytes);
	int (*list)(
		struct tree *t, const char *path, tree_name_fn fn, void *arg); /* not . and .. */
};

extern struct tree tree_mounted; /* by system calls */

struct tree_fs { /* by the filesystem's own calls */
	struct tree tree;
	struct fs *fs;
	struct fs_thread *t;
	struct blockdev *dev;
	void *buf; /* TREE_FS_BUF_BYTES */
};
int tree_fs_open(struct tree_fs *t, struct blockdev *dev, const struct fs_mount_opts *opts);
int tree_fs_close(struct tree_fs *t); /* unmounts */
/* Every name below PATH can be looked at, every byte be read. How many names, or an error. */
int64_t tree_read_all(struct tree *t, const char *path);
#endif
