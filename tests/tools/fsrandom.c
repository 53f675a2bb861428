/* fsrandom.c - random operations on a mounted filesystem, held against a model in memory.
 *
 *	fsrandom [--seed N] [--ops N] [--remount COMMAND --every N] DIRECTORY
 *
 * Every operation is done twice, by system calls below DIRECTORY (which must be empty) and on the
 * model; results must agree. At the end, and after each remount, the whole tree is compared: names,
 * types, modes, owners, links, sizes, times set, and every byte. The seed is printed; the same seed
 * does the same operations. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/falloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

#define FILE_MAX  (3U << 20)
#define CHUNK_MAX (256U << 10)
#define NAMES_MAX 24 /* different names in one directory: few, so that they meet */
#define HELD_MAX  6

struct node { /* an inode of the model */
	mode_t mode;
	unsigned nlink;
	struct timespec mtime; /* as set by utimensat; tv_sec 0: not known */
	uint8_t *data;
	size_t size;
	char *target;
	struct entry *entries; /* of a directory */
	struct node *parent;   /* of a directory */
	unsigned held;         /* open descriptors */
};

struct entry {
	char name[64];
	struct node *node;
	struct entry *next, *prev;
};

struct held { /* a file kept open, perhaps unlinked */
	int fd;
	struct node *node;
};

static struct node *root;
static char base[4096];
static uint64_t seed_state;
static struct held held[HELD_MAX];
static uint64_t op_number;
static const char *op_name = "start";

static void die(const char *what, const char *path)
{
	fprintf(stderr, "fsrandom: operation %llu (%s): %s: %s (errno %d %s)\n",
		(unsigned long long)op_number, op_name, path, what, errno, strerror(errno));
	exit(1);
}

static uint64_t random64(void) /* splitmix64 */
{
	uint64_t z = (seed_state += 0x9e3779b97f4a7c15U);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
	return z ^ (z >> 31);
}

static uint64_t below(uint64_t n)
{
	return n == 0 ? 0 : random64() % n;
}

static struct node *new_node(mode_t mode)
{
	struct node *n = calloc(1, sizeof(*n));

	if (n == NULL)
		die("out of memory", "model");
	n->mode = mode;
	n->nlink = S_ISDIR(mode) ? 2 : 1;
	return n;
}

static void drop_if_unused(struct node *n)
{
	if (n->nlink > 0 || n->held > 0)
		return;
	free(n->data);
	free(n->target);
	free(n);
}

static struct entry *find(struct node *dir, const char *name)
{
	struct entry *e;

	DL_FOREACH (dir->entries, e)
		if (strcmp(e->name, name) == 0)
			return e;
	return NULL;
}

static struct entry *add_entry(struct node *dir, const char *name, struct node *n)
{
	struct entry *e = calloc(1, sizeof(*e));

	if (e == NULL)
		die("out of memory", "model");
	snprintf(e->name, sizeof(e->name), "%s", name);
	e->node = n;
	DL_APPEND(dir->entries, e);
	if (S_ISDIR(n->mode)) {
		n->parent = dir;
		dir->nlink++;
	}
	return e;
}

/* Take the name away; the node loses a link (a directory: all). */
static void remove_entry(struct node *dir, struct entry *e)
{
	struct node *n = e->node;

	DL_DELETE(dir->entries, e);
	free(e);
	if (S_ISDIR(n->mode)) {
		dir->nlink--;
		n->nlink = 0;
	} else {
		n->nlink--;
	}
	drop_if_unused(n);
}

/* A random directory; its path into PATH. */
static struct node *pick_dir(char *path, size_t bytes)
{
	struct node *dir = root;

	snprintf(path, bytes, "%s", base);
	for (int depth = 0; depth < 5; depth++) {
		struct entry *e, *found = NULL;
		unsigned seen = 0;
		size_t len;

		DL_FOREACH (dir->entries, e)
			if (S_ISDIR(e->node->mode) && below(++seen) == 0)
				found = e;
		if (found == NULL || below(3) == 0)
			break;
		len = strlen(path);
		snprintf(path + len, bytes - len, "/%s", found->name);
		dir = found->node;
	}
	return dir;
}

static void pick_name(char *name, size_t bytes)
{
	static const char *const tail[] = {
		"", ".txt", "-with-a-longer-name-than-others", "\xc3\xa9"};

	snprintf(name, bytes, "n%u%s", (unsigned)below(NAMES_MAX), tail[below(4)]);
}

struct place { /* a name in a directory, with or without something there */
	struct node *dir;
	struct entry *entry;
	char name[64];
	char path[4096 + 512];
};

static void pick_place(struct place *p)
{
	char dir[4096];

	p->dir = pick_dir(dir, sizeof(dir));
	pick_name(p->name, sizeof(p->name));
	p->entry = find(p->dir, p->name);
	snprintf(p->path, sizeof(p->path), "%s/%s", dir, p->name);
}

/* A place with a regular file; false: none was met. */
static bool pick_file(struct place *p)
{
	for (int i = 0; i < 20; i++) {
		pick_place(p);
		if (p->entry != NULL && S_ISREG(p->entry->node->mode))
			return true;
	}
	return false;
}

static void expect(int result, int wanted_errno, const char *path)
{
	if (wanted_errno == 0 && result < 0)
		die("failed", path);
	if (wanted_errno != 0 && result >= 0)
		die("succeeded where it must not", path);
	if (wanted_errno != 0 && errno != wanted_errno) {
		fprintf(stderr, "fsrandom: wanted errno %d %s\n", wanted_errno,
			strerror(wanted_errno));
		die("wrong error", path);
	}
}

static void model_resize(struct node *n, size_t size)
{
	n->data = realloc(n->data, size + 1);
	if (n->data == NULL)
		die("out of memory", "model");
	if (size > n->size)
		memset(n->data + n->size, 0, size - n->size);
	n->size = size;
}

static void model_write(struct node *n, size_t at, const uint8_t *from, size_t bytes)
{
	if (bytes == 0)
		return;
	if (at + bytes > n->size)
		model_resize(n, at + bytes);
	memcpy(n->data + at, from, bytes);
	n->mtime.tv_sec = 0;
}

static uint8_t *random_bytes(size_t bytes)
{
	uint8_t *p = malloc(bytes + 8);

	if (p == NULL)
		die("out of memory", "buffer");
	for (size_t i = 0; i < bytes; i += 8) {
		uint64_t r = random64();

		memcpy(p + i, &r, 8);
	}
	return p;
}

/* Where to write or read: often aligned, often near the end. */
static size_t pick_offset(const struct node *n)
{
	switch (below(4)) {
	case 0:
		return below(FILE_MAX / 4096) * 4096;
	case 1:
		return n->size;
	case 2:
		return below(n->size + 1);
	default:
		return below(n->size + 100000) % FILE_MAX;
	}
}

static size_t pick_length(void)
{
	return below(3) == 0 ? 4096 * (1 + below(CHUNK_MAX / 4096)) : 1 + below(CHUNK_MAX);
}

static void write_by(int fd, struct node *n, const char *path)
{
	size_t at = pick_offset(n), bytes = pick_length();
	uint8_t *data = random_bytes(bytes);

	if (pwrite(fd, data, bytes, (off_t)at) != (ssize_t)bytes)
		die("short or failed write", path);
	model_write(n, at, data, bytes);
	free(data);
}

static void compare_bytes(
	const struct node *n, size_t at, const uint8_t *got, ssize_t bytes, const char *path)
{
	for (ssize_t i = 0; i < bytes; i++) {
		if (got[i] == n->data[at + (size_t)i])
			continue;
		fprintf(stderr, "fsrandom: byte %zu is %02x, must be %02x; size %zu\n",
			at + (size_t)i, got[i], n->data[at + (size_t)i], n->size);
		die("wrong data", path);
	}
}

static void read_by(int fd, const struct node *n, const char *path)
{
	size_t at = pick_offset(n), bytes = pick_length();
	size_t wanted = at >= n->size ? 0 : at + bytes > n->size ? n->size - at : bytes;
	uint8_t *got = malloc(bytes);
	ssize_t result = pread(fd, got, bytes, (off_t)at);

	if (result != (ssize_t)wanted)
		die("wrong length read", path);
	compare_bytes(n, at, got, result, path);
	free(got);
}

static int open_or_die(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		die("open", path);
	return fd;
}

static void op_create(void)
{
	struct place p;
	mode_t mode = 0600 | (mode_t)below(0100);
	int fd;

	pick_place(&p);
	fd = open(p.path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	expect(fd, p.entry != NULL ? EEXIST : 0, p.path);
	if (fd < 0)
		return;
	p.entry = add_entry(p.dir, p.name, new_node(S_IFREG | mode));
	if (below(2) == 0)
		write_by(fd, p.entry->node, p.path);
	close(fd);
}

static void op_mkdir(void)
{
	struct place p;

	pick_place(&p);
	expect(mkdir(p.path, 0755), p.entry != NULL ? EEXIST : 0, p.path);
	if (p.entry == NULL)
		add_entry(p.dir, p.name, new_node(S_IFDIR | 0755));
}

static void op_symlink(void)
{
	struct place p;
	char target[1200];
	size_t len = 1 + below(below(4) == 0 ? 1100 : 90);

	for (size_t i = 0; i < len; i++)
		target[i] = (char)('a' + below(26));
	target[len] = '\0';
	pick_place(&p);
	expect(symlink(target, p.path), p.entry != NULL ? EEXIST : 0, p.path);
	if (p.entry != NULL)
		return;
	p.entry = add_entry(p.dir, p.name, new_node(S_IFLNK | 0777));
	p.entry->node->target = strdup(target);
}

static void op_mkfifo(void)
{
	struct place p;

	pick_place(&p);
	expect(mkfifo(p.path, 0640), p.entry != NULL ? EEXIST : 0, p.path);
	if (p.entry == NULL)
		add_entry(p.dir, p.name, new_node(S_IFIFO | 0640));
}

static void op_write(void)
{
	struct place p;
	int fd;

	if (!pick_file(&p))
		return;
	fd = open_or_die(p.path, O_RDWR);
	for (uint64_t n = 1 + below(3); n > 0; n--)
		write_by(fd, p.entry->node, p.path);
	if (below(4) == 0 && fsync(fd) < 0)
		die("fsync", p.path);
	close(fd);
}

static void op_append(void)
{
	struct place p;
	uint8_t *data;
	size_t bytes = 1 + below(9000);
	int fd;

	if (!pick_file(&p) || p.entry->node->size > FILE_MAX)
		return;
	fd = open_or_die(p.path, O_WRONLY | O_APPEND);
	data = random_bytes(bytes);
	if (write(fd, data, bytes) != (ssize_t)bytes)
		die("append", p.path);
	model_write(p.entry->node, p.entry->node->size, data, bytes);
	free(data);
	close(fd);
}

/* O_DIRECT: the kernel's cache is passed by. */
static void op_direct(void)
{
	struct place p;
	size_t at = below(FILE_MAX / 4096) * 4096, bytes = 4096 * (1 + below(32));
	uint8_t *data;
	void *aligned;
	int fd;

	if (!pick_file(&p) || posix_memalign(&aligned, 4096, bytes) != 0)
		return;
	data = random_bytes(bytes);
	memcpy(aligned, data, bytes);
	free(data);
	fd = open_or_die(p.path, O_RDWR | O_DIRECT);
	if (pwrite(fd, aligned, bytes, (off_t)at) != (ssize_t)bytes)
		die("direct write", p.path);
	model_write(p.entry->node, at, aligned, bytes);
	memset(aligned, 0xee, bytes);
	if (pread(fd, aligned, bytes, (off_t)at) != (ssize_t)bytes)
		die("direct read", p.path);
	compare_bytes(p.entry->node, at, aligned, (ssize_t)bytes, p.path);
	free(aligned);
	close(fd);
}

static void op_mmap(void)
{
	struct place p;
	struct node *n;
	size_t at, bytes;
	uint8_t *map, *data;
	int fd;

	if (!pick_file(&p) || p.entry->node->size == 0)
		return;
	n = p.entry->node;
	at = below(n->size);
	bytes = 1 + below(n->size - at);
	fd = open_or_die(p.path, O_RDWR);
	map = mmap(NULL, n->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		die("mmap", p.path);
	compare_bytes(n, at, map + at, (ssize_t)bytes, p.path);
	if (bytes > CHUNK_MAX)
		bytes = CHUNK_MAX;
	data = random_bytes(bytes);
	memcpy(map + at, data, bytes);
	model_write(n, at, data, bytes);
	free(data);
	if (munmap(map, n->size) < 0)
		die("munmap", p.path);
	close(fd);
}

static void op_read(void)
{
	struct place p;
	int fd;

	if (!pick_file(&p))
		return;
	fd = open_or_die(p.path, O_RDONLY);
	read_by(fd, p.entry->node, p.path);
	close(fd);
}

static void op_truncate(void)
{
	struct place p;
	size_t size;

	if (!pick_file(&p))
		return;
	size = below(3) == 0 ? 0 : below(FILE_MAX);
	if (size == 0 && below(2) == 0)
		close(open_or_die(p.path, O_WRONLY | O_TRUNC));
	else
		expect(truncate(p.path, (off_t)size), 0, p.path);
	model_resize(p.entry->node, size);
	p.entry->node->mtime.tv_sec = 0;
}

static void op_fallocate(void)
{
	static const int modes[] = {0, FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
	int mode = modes[below(5)];
	struct place p;
	struct node *n;
	size_t at, bytes = pick_length(), end;
	int fd;

	if (!pick_file(&p))
		return;
	n = p.entry->node;
	at = pick_offset(n);
	fd = open_or_die(p.path, O_RDWR);
	expect(fallocate(fd, mode, (off_t)at, (off_t)bytes), 0, p.path);
	close(fd);
	if (!(mode & FALLOC_FL_KEEP_SIZE) && at + bytes > n->size)
		model_resize(n, at + bytes);
	end = at + bytes < n->size ? at + bytes : n->size;
	if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) && at < end)
		memset(n->data + at, 0, end - at);
	n->mtime.tv_sec = 0;
}

static void op_unlink(void)
{
	struct place p;
	int wanted;

	pick_place(&p);
	wanted = p.entry == NULL ? ENOENT : S_ISDIR(p.entry->node->mode) ? EISDIR : 0;
	expect(unlink(p.path), wanted, p.path);
	if (wanted == 0)
		remove_entry(p.dir, p.entry);
}

static void op_rmdir(void)
{
	struct place p;
	int wanted = 0;

	pick_place(&p);
	if (p.entry == NULL)
		wanted = ENOENT;
	else if (!S_ISDIR(p.entry->node->mode))
		wanted = ENOTDIR;
	else if (p.entry->node->entries != NULL)
		wanted = ENOTEMPTY;
	expect(rmdir(p.path), wanted, p.path);
	if (wanted == 0)
		remove_entry(p.dir, p.entry);
}

static void op_link(void)
{
	struct place from, to;

	pick_place(&from);
	pick_place(&to);
	if (from.entry == NULL || S_ISDIR(from.entry->node->mode))
		return;
	expect(link(from.path, to.path), to.entry != NULL ? EEXIST : 0, to.path);
	if (to.entry != NULL)
		return;
	from.entry->node->nlink++;
	add_entry(to.dir, to.name, from.entry->node);
}

static bool is_within(const struct node *dir, const struct node *ancestor)
{
	for (; dir != NULL; dir = dir->parent)
		if (dir == ancestor)
			return true;
	return false;
}

static int rename_errno(const struct place *from, const struct place *to, unsigned flags)
{
	bool from_dir, to_dir;

	if (from->entry == NULL)
		return ENOENT;
	from_dir = S_ISDIR(from->entry->node->mode);
	to_dir = to->entry != NULL && S_ISDIR(to->entry->node->mode);
	if ((flags & RENAME_NOREPLACE) && to->entry != NULL)
		return EEXIST;
	if ((flags & RENAME_EXCHANGE) && to->entry == NULL)
		return ENOENT;
	if (from_dir && is_within(to->dir, from->entry->node))
		return EINVAL;
	if (to_dir && is_within(from->dir, to->entry->node))
		return flags & RENAME_EXCHANGE ? EINVAL : ENOTEMPTY;
	if (to->entry == NULL || (flags & RENAME_EXCHANGE) || to->entry->node == from->entry->node)
		return 0;
	if (from_dir != to_dir)
		return to_dir ? EISDIR : ENOTDIR;
	return to_dir && to->entry->node->entries != NULL ? ENOTEMPTY : 0;
}

static void move_entry(struct node *from, struct entry *e, struct node *to, const char *name)
{
	struct node *n = e->node;

	DL_DELETE(from->entries, e);
	free(e);
	if (S_ISDIR(n->mode))
		from->nlink--;
	add_entry(to, name, n);
}

static void exchange(struct place *a, struct place *b)
{
	struct node *x = a->entry->node, *y = b->entry->node;

	if (S_ISDIR(x->mode)) {
		x->parent = b->dir;
		a->dir->nlink--;
		b->dir->nlink++;
	}
	if (S_ISDIR(y->mode)) {
		y->parent = a->dir;
		b->dir->nlink--;
		a->dir->nlink++;
	}
	a->entry->node = y;
	b->entry->node = x;
}

static void op_rename(void)
{
	static const unsigned choice[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
	unsigned flags = choice[below(5)];
	struct place from, to;
	int wanted;

	pick_place(&from);
	pick_place(&to);
	wanted = rename_errno(&from, &to, flags);
	expect(renameat2(AT_FDCWD, from.path, AT_FDCWD, to.path, flags), wanted, to.path);
	if (wanted != 0 || (to.entry != NULL && to.entry->node == from.entry->node))
		return;
	if (flags & RENAME_EXCHANGE) {
		exchange(&from, &to);
		return;
	}
	if (to.entry != NULL)
		remove_entry(to.dir, to.entry);
	move_entry(from.dir, from.entry, to.dir, to.name);
}

static void op_chmod(void)
{
	struct place p;
	mode_t mode = 0600 | (mode_t)below(0200);

	if (!pick_file(&p))
		return;
	expect(chmod(p.path, mode), 0, p.path);
	p.entry->node->mode = S_IFREG | mode;
}

static void op_utimens(void)
{
	struct place p;
	struct timespec ts[2];

	if (!pick_file(&p))
		return;
	ts[0].tv_sec = ts[1].tv_sec = 1 + (time_t)below(4000000000U);
	ts[0].tv_nsec = ts[1].tv_nsec = (long)below(1000000000);
	expect(utimensat(AT_FDCWD, p.path, ts, 0), 0, p.path);
	p.entry->node->mtime = ts[1];
}

static void let_go(struct held *h)
{
	if (h->node == NULL)
		return;
	if (close(h->fd) < 0)
		die("close", "a held file");
	h->node->held--;
	drop_if_unused(h->node);
	h->node = NULL;
}

/* Keep a file open; later operations go on through it, whatever became of its name. */
static void op_hold(void)
{
	struct held *h = &held[below(HELD_MAX)];
	struct place p;

	if (h->node != NULL && below(3) != 0) {
		write_by(h->fd, h->node, "a held file");
		read_by(h->fd, h->node, "a held file");
		return;
	}
	let_go(h);
	if (!pick_file(&p))
		return;
	h->fd = open_or_die(p.path, O_RDWR);
	h->node = p.entry->node;
	h->node->held++;
	if (below(2) == 0) {
		expect(unlink(p.path), 0, p.path);
		remove_entry(p.dir, p.entry);
	}
}

static void compare_stat(const struct node *n, const struct stat *st, const char *path)
{
	if (st->st_mode != n->mode)
		die("wrong mode", path);
	if (st->st_nlink != n->nlink) {
		fprintf(stderr, "fsrandom: %lu links, must be %u\n", (unsigned long)st->st_nlink,
			n->nlink);
		die("wrong link count", path);
	}
	if (S_ISREG(n->mode) && (size_t)st->st_size != n->size) {
		fprintf(stderr, "fsrandom: size %lld, must be %zu\n", (long long)st->st_size,
			n->size);
		die("wrong size", path);
	}
	if (n->mtime.tv_sec != 0 &&
		(st->st_mtim.tv_sec != n->mtime.tv_sec || st->st_mtim.tv_nsec != n->mtime.tv_nsec))
		die("wrong mtime", path);
}

static void compare_file(const struct node *n, const char *path)
{
	int fd = open_or_die(path, O_RDONLY);
	uint8_t *got = malloc(n->size + 1);
	size_t done = 0;
	ssize_t r;

	while ((r = read(fd, got + done, n->size + 1 - done)) > 0)
		done += (size_t)r;
	if (r < 0 || done != n->size)
		die("wrong length", path);
	compare_bytes(n, 0, got, (ssize_t)done, path);
	free(got);
	close(fd);
}

static void compare_dir(const struct node *dir, const char *path);

static void compare_node(const struct node *n, const char *path)
{
	char target[1300];
	struct stat st;
	ssize_t len;

	if (lstat(path, &st) < 0)
		die("lstat", path);
	compare_stat(n, &st, path);
	if (S_ISREG(n->mode)) {
		compare_file(n, path);
	} else if (S_ISDIR(n->mode)) {
		compare_dir(n, path);
	} else if (S_ISLNK(n->mode)) {
		len = readlink(path, target, sizeof(target));
		if (len != (ssize_t)strlen(n->target) ||
			memcmp(target, n->target, (size_t)len) != 0)
			die("wrong target", path);
	}
}

static void compare_dir(const struct node *dir, const char *path)
{
	char child[4096 + 512];
	unsigned on_disk = 0, in_model = 0;
	struct dirent *d;
	struct entry *e;
	DIR *stream = opendir(path);

	if (stream == NULL)
		die("opendir", path);
	while ((d = readdir(stream)) != NULL) {
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		if (find((struct node *)dir, d->d_name) == NULL)
			die("a name that must not be there", d->d_name);
		on_disk++;
	}
	closedir(stream);
	DL_FOREACH (dir->entries, e) {
		snprintf(child, sizeof(child), "%s/%s", path, e->name);
		compare_node(e->node, child);
		in_model++;
	}
	if (on_disk != in_model)
		die("a name is there twice, or missing", path);
}

static void op_compare_dir(void)
{
	char path[4096];
	struct node *dir = pick_dir(path, sizeof(path));

	if (below(20) == 0)
		compare_dir(dir, path);
}

static const struct {
	const char *name;
	void (*run)(void);
	unsigned weight;
} ops[] = {
	{"create", op_create, 14},
	{"mkdir", op_mkdir, 5},
	{"symlink", op_symlink, 3},
	{"mkfifo", op_mkfifo, 1},
	{"write", op_write, 14},
	{"append", op_append, 5},
	{"direct", op_direct, 4},
	{"mmap", op_mmap, 4},
	{"read", op_read, 12},
	{"truncate", op_truncate, 6},
	{"fallocate", op_fallocate, 6},
	{"unlink", op_unlink, 8},
	{"rmdir", op_rmdir, 3},
	{"link", op_link, 4},
	{"rename", op_rename, 9},
	{"chmod", op_chmod, 3},
	{"utimens", op_utimens, 3},
	{"hold", op_hold, 6},
	{"compare", op_compare_dir, 3},
};
#define NR_OPS (sizeof(ops) / sizeof(ops[0]))

static void one_operation(void)
{
	unsigned total = 0;
	uint64_t pick;
	size_t i;

	for (i = 0; i < NR_OPS; i++)
		total += ops[i].weight;
	pick = below(total);
	for (i = 0; pick >= ops[i].weight; i++)
		pick -= ops[i].weight;
	op_name = ops[i].name;
	ops[i].run();
}

static void remount(const char *command)
{
	for (int i = 0; i < HELD_MAX; i++)
		let_go(&held[i]);
	op_name = "remount";
	if (system(command) != 0)
		die("failed", command);
	op_name = "compare after remount";
	compare_dir(root, base);
}

static void run(uint64_t count, const char *command, uint64_t every)
{
	root = new_node(S_IFDIR | 0755);
	for (op_number = 1; op_number <= count; op_number++) {
		one_operation();
		if (command != NULL && op_number % every == 0)
			remount(command);
	}
	op_name = "final compare";
	compare_dir(root, base);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"seed", required_argument, NULL, 's'},
		{"ops", required_argument, NULL, 'o'}, {"remount", required_argument, NULL, 'r'},
		{"every", required_argument, NULL, 'e'}, {0}};
	uint64_t seed = (uint64_t)time(NULL), count = 5000, every = 1000;
	const char *command = NULL;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 's')
			seed = strtoull(optarg, NULL, 0);
		else if (c == 'o')
			count = strtoull(optarg, NULL, 0);
		else if (c == 'r')
			command = optarg;
		else if (c == 'e')
			every = strtoull(optarg, NULL, 0);
		else
			return 2;
	}
	if (optind + 1 != argc || every == 0) {
		fputs("usage: fsrandom [--seed N] [--ops N] [--remount COMMAND --every N] "
		      "DIRECTORY\n",
			stderr);
		return 2;
	}
	snprintf(base, sizeof(base), "%s", argv[optind]);
	(void)umask(0);
	printf("fsrandom: seed %llu, %llu operations\n", (unsigned long long)seed,
		(unsigned long long)count);
	(void)fflush(stdout);
	seed_state = seed;
	run(count, command, every);
	return 0;
}
