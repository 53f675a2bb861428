/* populate.c - an image file with a bit of everything in it, made without a mount; and a look at
 * all that an image holds.
 *
 *	populate make IMAGE	16 MiB: files of all kinds, cleanly unmounted
 *	populate groups IMAGE	the same with two groups (1 GiB and a bit, sparse)
 *	populate cut IMAGE	mount an IMAGE of "make", change it, and lose power: three transactions
 *				are in the journal, with revokes, and an orphan is in its list
 *	populate found IMAGE	mount it, and make a file that is called lost+found
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
#include "disk.h"
#include "orphan.h"
#include "vblkfs.h"
#include "walk.h"
#include "../io_wait.h"

#define THEN     1700000000 /* 2023-11-14 */
#define MIB      (UINT64_C(1) << 20)
#define NR_NAMES 120

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
	/* no commit but those that are asked for, however slow the machine */
	const struct fs_mount_opts opts = {.commit_s = 3600};

	must(fs_mount(dev, &opts, &fs), "mount", "");
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

static void write_bytes(uint64_t ino, uint64_t offset, uint32_t bytes)
{
	struct fs_io io = {.ino = ino, .offset = offset, .bytes = bytes, .buf = buf};

	must(io_do(t, fs_write, &io), "write", "");
}

static void write_blocks(uint64_t ino, uint64_t block, uint32_t nr)
{
	memset(buf, (int)('a' + ino % 26), (size_t)nr * FS_BLOCK_BYTES);
	write_bytes(ino, block * FS_BLOCK_BYTES, nr * FS_BLOCK_BYTES);
}

static uint64_t file(uint64_t dir, const char *name, const char *contents)
{
	uint64_t ino = node(dir, name, S_IFREG | 0644, 0);

	if (contents[0] != '\0') {
		memcpy(buf, contents, strlen(contents));
		write_bytes(ino, 0, (uint32_t)strlen(contents));
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
	char name[100];

	mkdir_in(dir, "empty");
	file(mkdir_in(mkdir_in(dir, "a"), "b"), "deep", "deep\n");
	file(mkdir_in(dir, "few"), "first", "1\n");
	file(dir, "second", "2\n");
	many = mkdir_in(dir, "many");
	for (int i = 0; i < NR_NAMES; i++) {
		snprintf(name, sizeof(name),
			"a name so long that a leaf of the directory does not have many, number "
			"%03d",
			i);
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
	orphans_wait(t); /* "leaf" is freed by another thread */
	must(fs_sync(t), "sync", "");
	(void)look_up(files, "one"); /* held: so it becomes an orphan */
	must(fs_unlink(t, files, "one"), "unlink", "one");
	must(fs_sync(t), "sync", "");
	_exit(0);
}

static void found(void)
{
	open_disk();
	mount_it();
	file(FS_ROOT_INO, "lost+found", "and lost again\n");
	unmount_it();
}

/* --- verify --- */

static void verify(void)
{
	char err[256];

	open_disk();
	mount_it();
	if (walk_all(t, dev, stdout, err, sizeof(err)) < 0 ||
		walk_write(t, dev, err, sizeof(err)) < 0)
		die("%s", err);
	unmount_it();
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fputs("usage: populate make|groups|cut|found|verify IMAGE\n", stderr);
		return 2;
	}
	image = argv[2];
	if (strcmp(argv[1], "make") == 0)
		make(16 * MIB, 0);
	else if (strcmp(argv[1], "groups") == 0)
		make(1024 * MIB + 16 * MIB, 256 << 10);
	else if (strcmp(argv[1], "cut") == 0)
		cut();
	else if (strcmp(argv[1], "found") == 0)
		found();
	else if (strcmp(argv[1], "verify") == 0)
		verify();
	else
		die("no such job: %s", argv[1]);
	return 0;
}
