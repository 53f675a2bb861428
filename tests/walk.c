/* walk.c - depth first, each directory read in one go before what is in it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <isa-l/crc.h>
#include "io_wait.h"
#include "walk.h"

#define PATH_LEN 4096

struct walk {
	struct fs_thread *t;
	FILE *list;
	uint8_t *buf; /* DMA memory: two blocks */
	char *err;
	size_t err_bytes;
	char path[PATH_LEN];
	char xlist[1 << 16], value[1 << 16];
};

struct entry { /* of a directory that is being walked */
	uint64_t ino;
	uint32_t mode;
	struct entry *next;
	char name[];
};

static int wrong(struct walk *w, int64_t result, const char *what)
{
	snprintf(w->err, w->err_bytes, "%s: %s: %s", w->path[0] == '\0' ? "/" : w->path, what,
		strerror((int)-result));
	return (int)result;
}

static ssize_t transfer(
	struct walk *w, uint64_t ino, uint64_t offset, uint32_t bytes, bool is_write)
{
	struct fs_io io = {.ino = ino, .offset = offset, .bytes = bytes, .buf = w->buf};

	return io_do(w->t, is_write ? fs_write : fs_read, &io);
}

static uint32_t sum(uint32_t crc, const void *data, size_t bytes)
{
	return ~crc32_iscsi((uint8_t *)data, (int)bytes, ~crc);
}

/* What is no hole, and where that is. */
static int read_file(struct walk *w, uint64_t ino, uint64_t size, uint32_t *crc)
{
	uint64_t at = 0;

	while (at < size) {
		uint64_t data;
		int err = fs_lseek(w->t, ino, at, SEEK_DATA, &data);
		ssize_t n;

		if (err == -ENXIO)
			break;
		if (err < 0)
			return wrong(w, err, "seek");
		at = data & ~(uint64_t)(FS_BLOCK_BYTES - 1);
		n = transfer(w, ino, at, FS_BLOCK_BYTES, false);
		if (n <= 0)
			return wrong(w, n == 0 ? -ENODATA : n, "read");
		*crc = sum(sum(*crc, &at, sizeof(at)), w->buf, (size_t)n);
		at += (uint64_t)n;
	}
	return 0;
}

/* In any order, as they may be moved. */
static int read_xattrs(struct walk *w, uint64_t ino, uint32_t *all)
{
	ssize_t n = fs_listxattr(w->t, ino, w->xlist, sizeof(w->xlist));

	if (n < 0)
		return wrong(w, n, "list of attributes");
	for (const char *name = w->xlist; name < w->xlist + n; name += strlen(name) + 1) {
		ssize_t bytes = fs_getxattr(w->t, ino, name, w->value, sizeof(w->value));

		if (bytes < 0)
			return wrong(w, bytes, name);
		*all += sum(sum(0, name, strlen(name)), w->value, (size_t)bytes);
	}
	return 0;
}

static int read_inode(struct walk *w, uint64_t ino, struct fs_attr *a)
{
	char target[FS_SYMLINK_MAX + 1];
	uint32_t data = 0, xattrs = 0;
	int err = fs_getattr(w->t, ino, a);

	if (err < 0)
		return wrong(w, err, "attributes");
	if (S_ISREG(a->mode))
		err = read_file(w, ino, a->size, &data);
	if (err == 0 && !S_ISLNK(a->mode))
		err = read_xattrs(w, ino, &xattrs);
	if (S_ISLNK(a->mode)) {
		err = fs_readlink(w->t, ino, target, sizeof(target));
		if (err < 0)
			return wrong(w, err, "target");
		data = sum(0, target, strlen(target));
	}
	if (err == 0 && w->list != NULL)
		fprintf(w->list, "%s\t%o %u %u:%u %llu %08x %08x\n",
			w->path[0] == '\0' ? "/" : w->path, a->mode, a->nlink, a->uid, a->gid,
			S_ISDIR(a->mode) ? 0ULL : (unsigned long long)a->size, data, xattrs);
	return err;
}

static bool collect(void *arg, const char *name, const struct fs_attr *attr, uint64_t cookie)
{
	struct entry **list = arg, *e;

	(void)cookie;
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return true;
	e = malloc(sizeof(*e) + strlen(name) + 1);
	if (e == NULL)
		abort();
	e->ino = attr->ino;
	e->mode = attr->mode;
	strcpy(e->name, name);
	e->next = *list;
	*list = e;
	return true;
}

static int walk_dir(struct walk *w, uint64_t dir);

static int walk_entry(struct walk *w, uint64_t dir, const struct entry *e)
{
	struct fs_attr a;
	int err = fs_lookup(w->t, dir, e->name, &a);

	if (err < 0)
		return wrong(w, err, "look up");
	if (a.ino != e->ino || (a.mode & S_IFMT) != (e->mode & S_IFMT))
		err = wrong(w, -ESTALE, "readdir and lookup do not agree");
	if (err == 0)
		err = read_inode(w, e->ino, &a);
	if (err == 0 && S_ISDIR(a.mode))
		err = walk_dir(w, e->ino);
	fs_forget(w->t, a.ino, 1);
	return err;
}

static int walk_dir(struct walk *w, uint64_t dir)
{
	size_t n = strlen(w->path);
	struct entry *list = NULL;
	int err = fs_readdir(w->t, dir, 0, false, collect, &list);

	if (err < 0)
		err = wrong(w, err, "list of names");
	while (list != NULL) {
		struct entry *e = list;

		list = e->next;
		if (err == 0) {
			if (n + strlen(e->name) + 2 > sizeof(w->path))
				err = wrong(w, -ENAMETOOLONG, "path");
			else
				sprintf(w->path + n, "/%s", e->name);
		}
		if (err == 0)
			err = walk_entry(w, dir, e);
		w->path[n] = '\0';
		free(e);
	}
	return err;
}

static struct walk *walk_new(
	struct fs_thread *t, struct blockdev *dev, FILE *list, char *err, size_t err_bytes)
{
	struct walk *w = calloc(1, sizeof(*w));

	if (w == NULL)
		abort();
	w->t = t;
	w->list = list;
	w->err = err;
	w->err_bytes = err_bytes;
	w->buf = blk_dma_alloc(dev, 2 * (size_t)FS_BLOCK_BYTES);
	if (w->buf == NULL)
		abort();
	return w;
}

static void walk_free(struct walk *w, struct blockdev *dev)
{
	blk_dma_free(dev, w->buf, 2 * (size_t)FS_BLOCK_BYTES);
	free(w);
}

int walk_all(struct fs_thread *t, struct blockdev *dev, FILE *list, char *err, size_t err_bytes)
{
	struct walk *w = walk_new(t, dev, list, err, err_bytes);
	struct fs_attr a;
	int ret = read_inode(w, FS_ROOT_INO, &a);

	if (ret == 0)
		ret = walk_dir(w, FS_ROOT_INO);
	walk_free(w, dev);
	return ret;
}

int walk_write(struct fs_thread *t, struct blockdev *dev, char *err, size_t err_bytes)
{
	static const char name[] = "a name that nobody else uses";
	struct walk *w = walk_new(t, dev, NULL, err, err_bytes);
	struct fs_attr a;
	int64_t ret = fs_mknod(t, FS_ROOT_INO, name, S_IFREG | 0600, 0, &(struct fs_cred){0}, &a);

	sprintf(w->path, "/%s", name);
	if (ret == 0) {
		ret = transfer(w, a.ino, 0, FS_BLOCK_BYTES, true);
		fs_forget(t, a.ino, 1);
		if (ret == FS_BLOCK_BYTES || ret == -ENOSPC) /* it may be full */
			ret = fs_unlink(t, FS_ROOT_INO, name);
	} else if (ret == -ENOSPC) {
		ret = 0;
	}
	if (ret < 0)
		(void)wrong(w, ret, "make, write and remove");
	walk_free(w, dev);
	return (int)ret;
}
