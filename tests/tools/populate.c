/* populate.c - an image file with a bit of everything in it, made without a mount; and a look at
 * all that an image holds.
 *
 *	populate make IMAGE	16 MiB: files of all kinds, cleanly unmounted
 *	populate groups IMAGE	the same with two groups (1 GiB and a bit, sparse)
 *	populate cut IMAGE	mount an IMAGE of "make", change it, and lose power: three transactions
 *				are in the journal, with revokes, and an orphan is in its list
 *	populate verify IMAGE	mount it, read everything, make and remove something, unmount; prints
 *				a line for each file: path, mode, links, owner, size, checksums of
 *				its contents and of its attributes
 *
 * What is made is the same each time, to the last byte: this program's own time(), clock_gettime()
 * and getrandom() stand in for libc's. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>
#include <isa-l/crc.h>
#include "disk.h"
#include "vblkfs.h"

#define THEN      1700000000 /* 2023-11-14 */
#define MIB       (UINT64_C(1) << 20)
#define NR_NAMES  400
#define PATH_MAX_ 4096

static const char *image;
static struct blockdev *dev;
static struct fs *fs;
static struct fs_thread *t;
static uint8_t *buf;

/* --- instead of libc's --- */

time_t time(time_t *out)
{
	if (out != NULL)
		*out = THEN;
	return THEN;
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
	if (clock != CLOCK_REALTIME)
		return (int)syscall(SYS_clock_gettime, clock, out);
	*out = (struct timespec){.tv_sec = THEN, .tv_nsec = 123456789};
	return 0;
}

ssize_t getrandom(void *out, size_t bytes, unsigned flags)
{
	(void)flags;
	for (size_t i = 0; i < bytes; i++)
		((uint8_t *)out)[i] = (uint8_t)(i * 37 + 11);
	return (ssize_t)bytes;
}

/* --- calls that must succeed --- */

static void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

static void die(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "populate: %s: ", image);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	fflush(stdout);
	_exit(1); /* threads of a mounted filesystem may run */
}

static void must(int64_t result, const char *what, const char *which)
{
	if (result < 0)
		die("%s %s: %s", what, which, strerror((int)-result));
}

static void open_disk(void)
{
	char err[256];

	if (disk_open(image, NULL, &dev, err, sizeof(err)) < 0)
		die("%s", err);
	buf = blk_dma_alloc(dev, FS_IO_MAX + FS_BLOCK_BYTES);
	if (buf == NULL)
		die("no memory");
}

static void mount_it(void)
{
	must(fs_mount(dev, &(struct fs_mount_opts){0}, &fs), "mount", "");
	must(fs_thread_open(fs, &t), "thread", "");
}

static void unmount_it(void)
{
	struct fs_stats st;

	fs_get_stats(fs, &st);
	fs_thread_close(t);
	must(fs_unmount(fs), "unmount", "");
	if (st.read_only)
		die("turned read-only: damage was seen");
	blk_dma_free(dev, buf, FS_IO_MAX + FS_BLOCK_BYTES);
	blk_close(dev);
}

static uint64_t node(uint64_t dir, const char *name, uint32_t mode, uint64_t rdev)
{
	struct fs_attr a;

	must(fs_mknod(t, dir, name, mode, rdev, &(struct fs_cred){1000, 100}, &a), "make", name);
	fs_forget(t, a.ino, 1);
	return a.ino;
}

static uint64_t mkdir_in(uint64_t dir, const char *name)
{
	return node(dir, name, S_IFDIR | 0755, 0);
}

static void io_done(struct fs_io *io, ssize_t result)
{
	*(ssize_t *)io->user = result;
}

#define PENDING INT64_MIN

static ssize_t transfer(uint64_t ino, uint64_t offset, uint32_t bytes, bool is_write)
{
	ssize_t result = PENDING;
	struct fs_io io = {.ino = ino,
		.offset = offset,
		.bytes = bytes,
		.buf = buf,
		.done = io_done,
		.user = &result};

	if (is_write)
		fs_write(t, &io);
	else
		fs_read(t, &io);
	while (result == PENDING)
		blk_wait(fs_thread_queue(t), 1000);
	return result;
}

static void write_blocks(uint64_t ino, uint64_t block, uint32_t nr)
{
	memset(buf, (int)('a' + ino % 26), (size_t)nr * FS_BLOCK_BYTES);
	must(transfer(ino, block * FS_BLOCK_BYTES, nr * FS_BLOCK_BYTES, true), "write", "");
}

static uint64_t file(uint64_t dir, const char *name, const char *contents)
{
	uint64_t ino = node(dir, name, S_IFREG | 0644, 0);

	if (contents[0] != '\0') {
		memcpy(buf, contents, strlen(contents));
		must(transfer(ino, 0, (uint32_t)strlen(contents), true), "write", name);
	}
	return ino;
}

/* NR blocks with holes between them: as many extents. */
static uint64_t file_with_holes(uint64_t dir, const char *name, unsigned nr)
{
	uint64_t ino = node(dir, name, S_IFREG | 0600, 0);

	for (unsigned i = 0; i < nr; i++)
		write_blocks(ino, 2ULL * i, 1);
	return ino;
}

static void symlink_in(uint64_t dir, const char *name, const char *target)
{
	struct fs_attr a;

	must(fs_symlink(t, dir, name, target, &(struct fs_cred){0}, &a), "symlink", name);
	fs_forget(t, a.ino, 1);
}

static void hard_link(uint64_t ino, uint64_t dir, const char *name)
{
	struct fs_attr a;

	must(fs_link(t, ino, dir, name, &a), "link", name);
	fs_forget(t, ino, 1);
}

static void set_xattr(uint64_t ino, const char *name, size_t bytes)
{
	char value[FS_BLOCK_BYTES];

	memset(value, 'v', bytes);
	must(fs_setxattr(t, ino, name, value, bytes, 0), "setxattr", name);
}

/* --- what is made --- */

static void make_files(void)
{
	uint64_t dir = mkdir_in(FS_ROOT_INO, "files"), ino;

	file(dir, "empty", "");
	ino = file(dir, "small", "a few bytes\n");
	hard_link(ino, FS_ROOT_INO, "linked");
	write_blocks(node(dir, "one", S_IFREG | 0644, 0), 0, 64);
	file_with_holes(dir, "three", 3);
	file_with_holes(dir, "leaf", 10);
	file_with_holes(dir, "tree", 400);
	ino = node(dir, "unwritten", S_IFREG | 0644, 0);
	must(fs_fallocate(t, ino, 0, 0, 16 * FS_BLOCK_BYTES), "fallocate", "");
	write_blocks(ino, 4, 2);
}

static void make_dirs(void)
{
	uint64_t dir = mkdir_in(FS_ROOT_INO, "dirs"), many;
	char name[80];

	mkdir_in(dir, "empty");
	file(mkdir_in(mkdir_in(dir, "a"), "b"), "deep", "deep\n");
	file(mkdir_in(dir, "few"), "first", "1\n");
	file(dir, "second", "2\n");
	many = mkdir_in(dir, "many");
	for (int i = 0; i < NR_NAMES; i++) {
		snprintf(name, sizeof(name), "a name that is of some length, number %03d", i);
		file(many, name, "");
	}
}

static const char *long_target(void)
{
	static char target[301];

	memset(target, 't', 300);
	return target;
}

static void make_others(void)
{
	uint64_t dir = mkdir_in(FS_ROOT_INO, "others"), ino;

	symlink_in(dir, "short", "../files/small");
	symlink_in(dir, "long", long_target());
	node(dir, "fifo", S_IFIFO | 0600, 0);
	node(dir, "socket", S_IFSOCK | 0600, 0);
	node(dir, "char", S_IFCHR | 0600, makedev(1, 3));
	node(dir, "block", S_IFBLK | 0600, makedev(8, 1));
	ino = file(dir, "xattr_inline", "");
	set_xattr(ino, "user.one", 5);
	set_xattr(ino, "user.two", 4);
	ino = file(dir, "xattr_blocks", "with attributes\n");
	set_xattr(ino, "user.inline", 8);
	set_xattr(ino, "user.first", 2500);
	set_xattr(ino, "user.second", 2500);
	set_xattr(ino, "user.third", 300);
	set_xattr(mkdir_in(dir, "xattr_dir"), "user.d", 1000);
}

static void make(uint64_t bytes, uint32_t inode_bytes_ratio)
{
	struct mkfs_opts opts = {.label = "corpus",
		.have_uuid = true,
		.uuid = "vblkfs corpus 01",
		.inode_bytes_ratio = inode_bytes_ratio,
		.journal_bytes = 4 * MIB};
	struct mkfs_geometry geo;
	char err[256];
	int fd = open(image, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		die("%s", strerror(errno));
	close(fd);
	open_disk();
	if (mkfs_write(dev, &opts, &geo, err, sizeof(err)) < 0)
		die("mkfs: %s", err);
	mount_it();
	make_files();
	make_dirs();
	make_others();
	unmount_it();
}

static uint64_t look_up(uint64_t dir, const char *name)
{
	struct fs_attr a;

	must(fs_lookup(t, dir, name, &a), "look up", name);
	return a.ino;
}

static void cut(void)
{
	uint64_t files, others;

	open_disk();
	mount_it();
	files = look_up(FS_ROOT_INO, "files");
	others = look_up(FS_ROOT_INO, "others");
	file(files, "new", "made before the cut\n");
	symlink_in(others, "brief", long_target());
	must(fs_sync(t), "sync", "");
	must(fs_unlink(t, others, "brief"), "unlink", "brief");
	must(fs_unlink(t, files, "leaf"), "unlink", "leaf");
	must(fs_sync(t), "sync", "");
	(void)look_up(files, "one"); /* held: so it becomes an orphan */
	must(fs_unlink(t, files, "one"), "unlink", "one");
	must(fs_sync(t), "sync", "");
	_exit(0);
}

/* --- verify --- */

struct found { /* an entry of a directory that is being walked */
	uint64_t ino;
	uint32_t mode;
	struct found *next;
	char name[];
};

static bool collect(void *arg, const char *name, const struct fs_attr *attr, uint64_t cookie)
{
	struct found **list = arg, *f;

	(void)cookie;
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return true;
	f = malloc(sizeof(*f) + strlen(name) + 1);
	if (f == NULL)
		die("no memory");
	f->ino = attr->ino;
	f->mode = attr->mode;
	strcpy(f->name, name);
	f->next = *list;
	*list = f;
	return true;
}

static uint32_t sum(uint32_t crc, const void *data, size_t bytes)
{
	return ~crc32_iscsi((uint8_t *)data, (int)bytes, ~crc);
}

/* The checksum of what is no hole, and of where that is. */
static uint32_t read_file(uint64_t ino, uint64_t size, const char *path)
{
	uint64_t at = 0;
	uint32_t crc = 0;

	while (at < size) {
		uint64_t data;
		int err = fs_lseek(t, ino, at, SEEK_DATA, &data);
		ssize_t n;

		if (err == -ENXIO)
			break;
		must(err, "seek", path);
		at = data & ~(uint64_t)(FS_BLOCK_BYTES - 1);
		n = transfer(ino, at, FS_BLOCK_BYTES, false);
		must(n, "read", path);
		if (n == 0)
			die("%s: ends at %llu of %llu", path, (unsigned long long)at,
				(unsigned long long)size);
		crc = sum(sum(crc, &at, sizeof(at)), buf, (size_t)n);
		at += (uint64_t)n;
	}
	return crc;
}

/* In any order, as they may be moved. */
static uint32_t read_xattrs(uint64_t ino, const char *path)
{
	static char list[1 << 20], value[1 << 16];
	ssize_t n = fs_listxattr(t, ino, list, sizeof(list));
	uint32_t all = 0;

	must(n, "list attributes of", path);
	for (const char *name = list; name < list + n; name += strlen(name) + 1) {
		ssize_t bytes = fs_getxattr(t, ino, name, value, sizeof(value));

		must(bytes, "read attribute of", path);
		all += sum(sum(0, name, strlen(name)), value, (size_t)bytes);
	}
	return all;
}

static void read_inode(uint64_t ino, const char *path, struct fs_attr *a)
{
	char target[FS_SYMLINK_MAX + 1];
	uint32_t data = 0, xattrs = 0;

	must(fs_getattr(t, ino, a), "stat", path);
	if (S_ISREG(a->mode))
		data = read_file(ino, a->size, path);
	if (S_ISLNK(a->mode)) {
		must(fs_readlink(t, ino, target, sizeof(target)), "read link", path);
		data = sum(0, target, strlen(target));
	} else {
		xattrs = read_xattrs(ino, path);
	}
	printf("%s\t%o %u %u:%u %llu %08x %08x\n", path, a->mode, a->nlink, a->uid, a->gid,
		S_ISDIR(a->mode) ? 0ULL : (unsigned long long)a->size, data, xattrs);
}

static void walk(uint64_t dir, const char *path) /* real recursion */
{
	struct found *list = NULL, *next;
	char below[PATH_MAX_];

	must(fs_readdir(t, dir, 0, false, collect, &list), "list", path);
	for (struct found *f = list; f != NULL; f = next) {
		struct fs_attr a;

		next = f->next;
		if (snprintf(below, sizeof(below), "%s/%s", path, f->name) >= (int)sizeof(below))
			die("%s: too deep", path);
		must(fs_lookup(t, dir, f->name, &a), "look up", below);
		if (a.ino != f->ino || (a.mode & S_IFMT) != (f->mode & S_IFMT))
			die("%s: readdir and lookup do not agree", below);
		read_inode(f->ino, below, &a);
		if (S_ISDIR(a.mode))
			walk(f->ino, below);
		fs_forget(t, f->ino, 1);
		free(f);
	}
}

static void verify(void)
{
	static const char name[] = "populate verify was here";
	struct fs_attr a;

	open_disk();
	mount_it();
	read_inode(FS_ROOT_INO, "/", &a);
	walk(FS_ROOT_INO, "");
	file(FS_ROOT_INO, name, "and wrote\n");
	must(fs_unlink(t, FS_ROOT_INO, name), "unlink", name);
	unmount_it();
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fputs("usage: populate make|groups|cut|verify IMAGE\n", stderr);
		return 2;
	}
	image = argv[2];
	if (strcmp(argv[1], "make") == 0)
		make(16 * MIB, 0);
	else if (strcmp(argv[1], "groups") == 0)
		make(1024 * MIB + 16 * MIB, 256 << 10);
	else if (strcmp(argv[1], "cut") == 0)
		cut();
	else if (strcmp(argv[1], "verify") == 0)
		verify();
	else
		die("no such job: %s", argv[1]);
	return 0;
}
