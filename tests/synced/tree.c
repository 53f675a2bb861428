/* tree.c - see tree.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "tree.h"
#include "../io_wait.h"

#define PATH_BYTES   1024U
#define BUF_BYTES    (FS_IO_MAX + 2 * FS_BLOCK_BYTES)
#define ALL_FILE_MAX (4U << 20) /* of larger ones tree_read_all() reads the beginning */

/* ---- by system calls ---- */

static int mounted_stat(struct tree *t, const char *path, struct tree_stat *out)
{
	struct stat st;

	(void)t;
	if (lstat(path, &st) < 0)
		return -errno;
	*out = (struct tree_stat){.is_dir = S_ISDIR(st.st_mode),
		.size = (uint64_t)st.st_size,
		.nlink = (uint32_t)st.st_nlink};
	return 0;
}

static ssize_t mounted_read(struct tree *t, const char *path, uint8_t *buf, size_t bytes)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	size_t done = 0;
	ssize_t n = 1;

	(void)t;
	if (fd < 0)
		return -errno;
	while (n > 0 && done < bytes) {
		n = read(fd, buf + done, bytes - done);
		if (n > 0)
			done += (size_t)n;
	}
	n = n < 0 ? -errno : (ssize_t)done;
	close(fd);
	return n;
}

static ssize_t mounted_attr(
	struct tree *t, const char *path, const char *name, void *buf, size_t bytes)
{
	ssize_t n = lgetxattr(path, name, buf, bytes);

	(void)t;
	return n < 0 ? -errno : n;
}

static int mounted_list(struct tree *t, const char *path, tree_name_fn fn, void *arg)
{
	DIR *dir = opendir(path);
	struct dirent *e;
	int err;

	(void)t;
	if (dir == NULL)
		return -errno;
	errno = 0;
	while ((e = readdir(dir)) != NULL) {
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
			!fn(arg, e->d_name))
			break;
		errno = 0;
	}
	err = -errno;
	closedir(dir);
	return err;
}

struct tree tree_mounted = {mounted_stat, mounted_read, mounted_attr, mounted_list};

/* ---- by the filesystem's calls ---- */

/* The reference is the caller's. */
static int walk(struct tree_fs *t, const char *path, struct fs_attr *out)
{
	char name[FS_NAME_MAX + 1];
	int err = fs_getattr(t->t, FS_ROOT_INO, out);

	while (err == 0 && *(path += strspn(path, "/")) != '\0') {
		size_t n = strcspn(path, "/");
		uint64_t dir = out->ino;

		if (n > FS_NAME_MAX) {
			err = -ENAMETOOLONG;
		} else {
			memcpy(name, path, n);
			name[n] = '\0';
			err = fs_lookup(t->t, dir, name, out);
		}
		path += n;
		if (dir != FS_ROOT_INO)
			fs_forget(t->t, dir, 1);
	}
	return err;
}

static void forget(struct tree_fs *t, const struct fs_attr *a)
{
	if (a->ino != FS_ROOT_INO)
		fs_forget(t->t, a->ino, 1);
}

static int fs_tree_stat(struct tree *tree, const char *path, struct tree_stat *out)
{
	struct tree_fs *t = (struct tree_fs *)tree;
	struct fs_attr a;
	int err = walk(t, path, &a);

	if (err < 0)
		return err;
	*out = (struct tree_stat){.is_dir = S_ISDIR(a.mode), .size = a.size, .nlink = a.nlink};
	forget(t, &a);
	return 0;
}

static ssize_t read_some(struct tree_fs *t, uint64_t ino, uint64_t offset, uint8_t *buf, size_t n)
{
	struct fs_io io = {.ino = ino,
		.offset = offset,
		.bytes = n < FS_IO_MAX ? (uint32_t)n : FS_IO_MAX,
		.buf = t->buf};
	ssize_t result = io_do(t->t, fs_read, &io);

	if (result > 0)
		memcpy(buf, io.data, (size_t)result);
	return result;
}

static ssize_t fs_tree_read(struct tree *tree, const char *path, uint8_t *buf, size_t bytes)
{
	struct tree_fs *t = (struct tree_fs *)tree;
	struct fs_attr a;
	size_t done = 0;
	ssize_t n = walk(t, path, &a);

	if (n < 0)
		return n;
	do {
		n = read_some(t, a.ino, done, buf + done, bytes - done);
		if (n > 0)
			done += (size_t)n;
	} while (n > 0 && done < bytes);
	forget(t, &a);
	return n < 0 ? n : (ssize_t)done;
}

static ssize_t fs_tree_attr(
	struct tree *tree, const char *path, const char *name, void *buf, size_t bytes)
{
	struct tree_fs *t = (struct tree_fs *)tree;
	struct fs_attr a;
	ssize_t n = walk(t, path, &a);

	if (n < 0)
		return n;
	n = fs_getxattr(t->t, a.ino, name, buf, bytes);
	forget(t, &a);
	return n;
}

struct fill {
	tree_name_fn fn;
	void *arg;
};

static bool fill_one(void *arg, const char *name, const struct fs_attr *attr, uint64_t cookie)
{
	struct fill *f = arg;

	(void)attr;
	(void)cookie;
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || f->fn(f->arg, name);
}

static int fs_tree_list(struct tree *tree, const char *path, tree_name_fn fn, void *arg)
{
	struct tree_fs *t = (struct tree_fs *)tree;
	struct fill f = {fn, arg};
	struct fs_attr a;
	int err = walk(t, path, &a);

	if (err < 0)
		return err;
	err = fs_readdir(t->t, a.ino, 0, false, fill_one, &f);
	forget(t, &a);
	return err;
}

int tree_fs_open(struct tree_fs *t, struct blockdev *dev, const struct fs_mount_opts *opts)
{
	int err;

	*t = (struct tree_fs){
		.tree = {fs_tree_stat, fs_tree_read, fs_tree_attr, fs_tree_list}, .dev = dev};
	t->buf = blk_dma_alloc(dev, BUF_BYTES);
	if (t->buf == NULL)
		return -ENOMEM;
	err = fs_mount(dev, opts, &t->fs);
	if (err < 0)
		goto free_buf;
	err = fs_thread_open(t->fs, &t->t);
	if (err == 0)
		return 0;
	(void)fs_unmount(t->fs);
free_buf:
	blk_dma_free(dev, t->buf, BUF_BYTES);
	return err;
}

int tree_fs_close(struct tree_fs *t)
{
	int err;

	fs_thread_close(t->t);
	err = fs_unmount(t->fs);
	blk_dma_free(t->dev, t->buf, BUF_BYTES);
	return err;
}

/* ---- all of it ---- */

struct names {
	char **name;
	size_t nr;
	bool no_memory;
};

static bool collect(void *arg, const char *name)
{
	struct names *n = arg;
	char **more = realloc(n->name, (n->nr + 1) * sizeof(*more));

	if (more != NULL)
		n->name = more;
	if (more == NULL || (more[n->nr] = strdup(name)) == NULL) {
		n->no_memory = true;
		return false;
	}
	n->nr++;
	return true;
}

static int64_t read_one(struct tree *t, const char *path)
{
	struct tree_stat st;
	uint8_t *buf;
	size_t bytes;
	ssize_t n;
	int err = t->stat(t, path, &st);

	if (err < 0)
		return err;
	if (st.is_dir)
		return tree_read_all(t, path);
	bytes = st.size < ALL_FILE_MAX ? st.size : ALL_FILE_MAX;
	buf = malloc(bytes + 1);
	if (buf == NULL)
		return -ENOMEM;
	n = t->read(t, path, buf, bytes);
	free(buf);
	return n < 0 ? n : n == (ssize_t)bytes ? 0 : -EIO;
}

int64_t tree_read_all(struct tree *t, const char *path)
{
	struct names names = {0};
	char below[PATH_BYTES];
	int64_t nr = t->list(t, path, collect, &names);

	if (names.no_memory)
		nr = -ENOMEM;
	for (size_t i = 0; i < names.nr; i++) {
		int64_t n;

		(void)snprintf(below, sizeof(below), "%s/%s", path, names.name[i]);
		n = nr < 0 ? 0 : read_one(t, below);
		nr = nr < 0 ? nr : n < 0 ? n : nr + n + 1;
		free(names.name[i]);
	}
	free(names.name);
	return nr;
}
