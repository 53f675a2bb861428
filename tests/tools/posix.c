/* posix.c - system calls on names and attributes, held against POSIX and Linux's man pages: each
 * error that can be had, who may do what, and what times, links and modes are afterwards.
 *
 *	posix DIRECTORY [TEST]
 *
 * As root, in an empty DIRECTORY that all may search. Each test runs in a directory of its own,
 * which is open to all. Says what went wrong, with the line; exit 1 if anything did.
 *
 * Nothing here knows the filesystem: on ext4 and tmpfs it must pass, too. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ANN  70001U /* three users; ANN and BOB are in TEAM, too */
#define BOB  70002U
#define CAT  70003U
#define TEAM 70009U

#define LONG_NAME   256  /* one too long */
#define SYMLINK_MAX 4024 /* at least */

static const char *test_name;
static unsigned nr_failed, nr_checks;

static void failed(int line, const char *what, long got, int err)
{
	fprintf(stderr, "posix: %s, line %d: %s: got %ld, errno %d (%s)\n", test_name, line, what,
		got, err, strerror(err));
	nr_failed++;
}

/* A call that succeeds; that fails with ERR; a fact. */
#define OK(call)                                                       \
	do {                                                           \
		long got_ = (call);                                    \
		nr_checks++;                                           \
		if (got_ < 0)                                          \
			failed(__LINE__, #call " works", got_, errno); \
	} while (0)
#define FAILS(call, err)                                                     \
	do {                                                                 \
		long got_ = (call);                                          \
		nr_checks++;                                                 \
		if (got_ >= 0 || errno != (err))                             \
			failed(__LINE__, #call " gives " #err, got_, errno); \
	} while (0)
#define IS(cond)                                       \
	do {                                           \
		nr_checks++;                           \
		if (!(cond))                           \
			failed(__LINE__, #cond, 0, 0); \
	} while (0)

/* ---- who ---- */

static void become(unsigned uid)
{
	const gid_t groups[] = {uid, TEAM};

	if (seteuid(0) < 0 || setegid(uid) < 0 ||
		setgroups(uid == ANN || uid == BOB ? 2 : 0, groups) < 0 || seteuid(uid) < 0) {
		perror("posix: can't change the user");
		exit(2);
	}
}

static void be_root(void)
{
	become(0);
}

/* ---- things ---- */

static void touch(const char *path, mode_t mode, unsigned uid)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_EXCL, 0600);

	OK(fd);
	OK(write(fd, "12345678", 8));
	OK(fchown(fd, uid, uid));
	OK(fchmod(fd, mode));
	close(fd);
}

static void make_dir(const char *path, mode_t mode, unsigned uid)
{
	OK(mkdir(path, 0700));
	OK(chown(path, uid, uid));
	OK(chmod(path, mode));
}

static int open_close(const char *path, int flags, mode_t mode)
{
	int fd = open(path, flags, mode);

	if (fd < 0)
		return -1;
	return close(fd);
}

static struct stat stat_of(const char *path)
{
	struct stat st = {0};

	OK(lstat(path, &st));
	return st;
}

static unsigned mode_of(const char *path)
{
	return stat_of(path).st_mode & 07777;
}

static unsigned links_of(const char *path)
{
	return (unsigned)stat_of(path).st_nlink;
}

static bool is_later(struct timespec a, struct timespec b)
{
	return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}

static void tick(void) /* the kernel's coarse clock moves on */
{
	nanosleep(&(struct timespec){.tv_nsec = 12000000}, NULL);
}

/* What CALL does to the times of PATH: M or C are changed, in lower case they are not. */
#define TIMES(path, mc, call)                                                                \
	do {                                                                                 \
		struct stat b_ = stat_of(path), a_;                                          \
		tick();                                                                      \
		OK(call);                                                                    \
		a_ = stat_of(path);                                                          \
		nr_checks++;                                                                 \
		if (is_later(a_.st_mtim, b_.st_mtim) != ((mc)[0] == 'M') ||                  \
			is_later(a_.st_ctim, b_.st_ctim) != ((mc)[1] == 'C'))                \
			failed(__LINE__, #call " changes of " #path " the times " mc, 0, 0); \
	} while (0)

/* ---- what all calls on a path have in common ---- */

static int c_chmod(const char *p)
{
	return chmod(p, 0755);
}
static int c_chown(const char *p)
{
	return chown(p, (uid_t)-1, (gid_t)-1);
}
static int c_lchown(const char *p)
{
	return lchown(p, (uid_t)-1, (gid_t)-1);
}
static int c_link_from(const char *p)
{
	return link(p, "new");
}
static int c_link_to(const char *p)
{
	return link("file", p);
}
static int c_mkdir(const char *p)
{
	return mkdir(p, 0755);
}
static int c_mkfifo(const char *p)
{
	return mkfifo(p, 0644);
}
static int c_mknod(const char *p)
{
	return mknod(p, S_IFREG | 0644, 0);
}
static int c_open(const char *p)
{
	return open_close(p, O_RDONLY, 0);
}
static int c_creat(const char *p)
{
	return open_close(p, O_WRONLY | O_CREAT, 0644);
}
static int c_excl(const char *p)
{
	return open_close(p, O_WRONLY | O_CREAT | O_EXCL, 0644);
}
static int c_rename_from(const char *p)
{
	return rename(p, "new");
}
static int c_rename_to(const char *p)
{
	return rename("file", p);
}
static int c_rmdir(const char *p)
{
	return rmdir(p);
}
static int c_symlink(const char *p)
{
	return symlink("file", p);
}
static int c_truncate(const char *p)
{
	return truncate(p, 3);
}
static int c_unlink(const char *p)
{
	return unlink(p);
}
static int c_utime(const char *p)
{
	return utimensat(AT_FDCWD, p, NULL, 0);
}
static int c_stat(const char *p)
{
	struct stat st;
	return stat(p, &st);
}
static int c_lstat(const char *p)
{
	struct stat st;
	return lstat(p, &st);
}
static int c_access(const char *p)
{
	return eaccess(p, F_OK);
}
static int c_readlink(const char *p)
{
	char b[8];
	return (int)readlink(p, b, sizeof(b));
}
static int c_statvfs(const char *p)
{
	struct statvfs s;
	return statvfs(p, &s);
}
static int c_chdir(const char *p)
{
	return chdir(p);
}

enum { FOLLOWS = 1, MAKES = 2, MUST_NOT_BE = 4 };
static const struct {
	const char *name;
	int (*call)(const char *path);
	unsigned what;
} calls[] = {
	{"chmod", c_chmod, FOLLOWS},
	{"chown", c_chown, FOLLOWS},
	{"lchown", c_lchown, 0},
	{"link from", c_link_from, 0},
	{"link to", c_link_to, MAKES | MUST_NOT_BE},
	{"mkdir", c_mkdir, MAKES | MUST_NOT_BE},
	{"mkfifo", c_mkfifo, MAKES | MUST_NOT_BE},
	{"mknod", c_mknod, MAKES | MUST_NOT_BE},
	{"open", c_open, FOLLOWS},
	{"open O_CREAT", c_creat, FOLLOWS | MAKES},
	{"open O_EXCL", c_excl, MAKES | MUST_NOT_BE},
	{"rename from", c_rename_from, 0},
	{"rename to", c_rename_to, MAKES},
	{"rmdir", c_rmdir, 0},
	{"symlink", c_symlink, MAKES | MUST_NOT_BE},
	{"truncate", c_truncate, FOLLOWS},
	{"unlink", c_unlink, 0},
	{"utimensat", c_utime, FOLLOWS},
	{"stat", c_stat, FOLLOWS},
	{"lstat", c_lstat, 0},
	{"access", c_access, FOLLOWS},
	{"readlink", c_readlink, 0},
	{"statvfs", c_statvfs, FOLLOWS},
	{"chdir", c_chdir, FOLLOWS},
};
#define NR_CALLS (sizeof(calls) / sizeof(calls[0]))

static void call_fails(int line, unsigned i, const char *path, int err)
{
	char what[80];
	int got;

	errno = 0;
	got = calls[i].call(path);
	nr_checks++;
	if (got >= 0 || errno != err) {
		snprintf(what, sizeof(what), "%s of %.30s gives %s", calls[i].name, path,
			strerrorname_np(err));
		failed(line, what, got, errno);
	}
}
#define ALL_FAIL(path, err)                        \
	for (unsigned i_ = 0; i_ < NR_CALLS; i_++) \
	call_fails(__LINE__, i_, path, err)
#define THOSE_FAIL(bits, path, err)                \
	for (unsigned i_ = 0; i_ < NR_CALLS; i_++) \
		if (calls[i_].what & (bits))       \
	call_fails(__LINE__, i_, path, err)

static void paths_that_lead_nowhere(void)
{
	static char path[5000];

	touch("file", 0644, 0);
	symlink("loop", "loop");
	symlink("missing", "dangling");
	ALL_FAIL("file/x", ENOTDIR);
	ALL_FAIL("missing/x", ENOENT);
	ALL_FAIL("dangling/x", ENOENT);
	ALL_FAIL("loop/x", ELOOP);
	ALL_FAIL("", ENOENT);
	for (unsigned i = 0; i < NR_CALLS; i++) {
		if (!(calls[i].what & MAKES))
			call_fails(__LINE__, i, "missing", ENOENT);
		if ((calls[i].what & (FOLLOWS | MAKES)) == FOLLOWS)
			call_fails(__LINE__, i, "dangling", ENOENT);
		if (calls[i].what & FOLLOWS)
			call_fails(__LINE__, i, "loop", ELOOP);
	}
	memset(path, 'a', LONG_NAME);
	ALL_FAIL(path, ENAMETOOLONG);
	strcpy(path + LONG_NAME, "/x");
	ALL_FAIL(path, ENAMETOOLONG);
	for (unsigned i = 0; i < 4500; i += 2)
		memcpy(path + i, "./", 3);
	ALL_FAIL(path, ENAMETOOLONG);
	ALL_FAIL((const char *)8, EFAULT);
}

static void names_that_exist(void)
{
	static const char *const there[] = {
		"file", "dir", "link", "dangling", "loop", "fifo", "socket", "device"};

	touch("file", 0644, 0);
	make_dir("dir", 0755, 0);
	OK(symlink("file", "link"));
	OK(symlink("missing", "dangling"));
	OK(symlink("loop", "loop"));
	OK(mkfifo("fifo", 0644));
	OK(mknod("socket", S_IFSOCK | 0644, 0));
	OK(mknod("device", S_IFCHR | 0644, makedev(1, 3)));
	for (unsigned i = 0; i < sizeof(there) / sizeof(there[0]); i++)
		THOSE_FAIL(MUST_NOT_BE, there[i], EEXIST);
}

static void names_of_255_bytes_and_of_any_bytes(void)
{
	static const char *const odd[] = {"\x01", "a\nb", "\xff\xfe", "na\xc3\xafve", "*?[", " ",
		"...", "-rf", "\\", "\xe2\x80\xae"};
	char name[LONG_NAME] = {0}, found[600];
	unsigned nr = 0;
	struct dirent *e;
	DIR *dir;

	memset(name, 0xe4, 255);
	touch(name, 0644, 0);
	IS(links_of(name) == 1);
	OK(rename(name, "short"));
	OK(rename("short", name));
	for (unsigned i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		touch(odd[i], 0644, 0);
	dir = opendir(".");
	while ((e = readdir(dir)) != NULL) {
		nr++;
		snprintf(found, sizeof(found), "./%s", e->d_name);
		IS(access(found, F_OK) == 0);
	}
	closedir(dir);
	IS(nr == 2 + 1 + sizeof(odd) / sizeof(odd[0]));
}

static void a_directory_that_may_not_be_searched(void)
{
	make_dir("locked", 0600, ANN);
	touch("file", 0666, ANN);
	touch("locked/x", 0666, ANN);
	become(ANN);
	ALL_FAIL("locked/x", EACCES);
	be_root();
	OK(chmod("locked", 0555)); /* searched, but not changed */
	become(ANN);
	THOSE_FAIL(MAKES, "locked/y", EACCES);
	FAILS(unlink("locked/x"), EACCES);
	FAILS(rename("locked/x", "x"), EACCES);
	FAILS(rmdir("locked/x"), EACCES);
}

static void a_directory_that_was_removed(void)
{
	DIR *dir;
	struct stat st;

	touch("file", 0644, 0);
	OK(mkdir("gone", 0755));
	OK(chdir("gone"));
	OK(rmdir("../gone"));
	for (unsigned i = 0; i < NR_CALLS; i++)
		if (calls[i].call != c_link_to && calls[i].call != c_rename_to)
			call_fails(__LINE__, i, "x", ENOENT);
	OK(stat(".", &st));
	IS(st.st_nlink == 0);
	dir = opendir(".");
	IS(dir != NULL && readdir(dir) == NULL);
	if (dir != NULL)
		closedir(dir);
}

/* ---- permissions ---- */

static bool may(unsigned mode, unsigned uid, unsigned bit)
{
	unsigned shift = uid == ANN ? 6 : uid == BOB ? 3 : 0;

	return uid == 0 || (mode >> shift & bit);
}

static void who_may_open(void)
{
	static const unsigned users[] = {0, ANN, BOB, CAT};

	touch("file", 0, 0);
	OK(chown("file", ANN, TEAM));
	make_dir("dir", 0, 0);
	OK(chown("dir", ANN, TEAM));
	for (unsigned bits = 0; bits < 8; bits++) {
		for (unsigned who = 0; who < 9; who += 3) {
			unsigned mode = bits << who;

			OK(chmod("file", mode));
			OK(chmod("dir", mode));
			for (unsigned u = 0; u < 4; u++) {
				become(users[u]);
				IS((open_close("file", O_RDONLY, 0) == 0) ==
					may(mode, users[u], 4));
				IS((open_close("file", O_WRONLY, 0) == 0) ==
					may(mode, users[u], 2));
				IS((truncate("file", bits) == 0) == may(mode, users[u], 2));
				IS((open_close("dir", O_RDONLY, 0) == 0) == may(mode, users[u], 4));
				IS((open_close("dir/new", O_CREAT, 0) == 0) ==
					(may(mode, users[u], 2) && may(mode, users[u], 1)));
				be_root();
				unlink("dir/new");
			}
		}
	}
}

static void who_may_chmod(void)
{
	touch("file", 0644, ANN);
	become(BOB);
	FAILS(chmod("file", 0666), EPERM);
	become(ANN);
	OK(chmod("file", 0640));
	IS(mode_of("file") == 0640);
	TIMES("file", "mC", chmod("file", 0600));
	/* set-group-ID only for a group one is in */
	be_root();
	OK(chown("file", ANN, CAT));
	become(ANN);
	OK(chmod("file", 02755));
	IS(mode_of("file") == 0755);
	be_root();
	OK(chown("file", ANN, TEAM));
	become(ANN);
	OK(chmod("file", 02755));
	IS(mode_of("file") == 02755);
	OK(chmod("file", 01644)); /* sticky on a file is nothing, but kept */
	OK(symlink("file", "link"));
	OK(chmod("link", 0604));
	IS(mode_of("file") == 0604 && S_ISLNK(stat_of("link").st_mode));
}

static void who_may_chown(void)
{
	touch("file", 0644, ANN);
	become(BOB);
	FAILS(chown("file", BOB, (gid_t)-1), EPERM);
	FAILS(chown("file", (uid_t)-1, BOB), EPERM);
	become(ANN);
	FAILS(chown("file", BOB, (gid_t)-1), EPERM);
	FAILS(chown("file", (uid_t)-1, CAT), EPERM);
	TIMES("file", "mC", chown("file", ANN, TEAM));
	IS(stat_of("file").st_gid == TEAM);
	be_root();
	TIMES("file", "mC", chown("file", BOB, CAT));
	IS(stat_of("file").st_uid == BOB && stat_of("file").st_gid == CAT);
	OK(symlink("file", "link"));
	OK(lchown("link", ANN, ANN));
	IS(stat_of("link").st_uid == ANN && stat_of("file").st_uid == BOB);
	OK(chown("link", CAT, (gid_t)-1));
	IS(stat_of("link").st_uid == ANN && stat_of("file").st_uid == CAT);
}

static void set_id_bits_go_with_the_owner_and_with_the_contents(void)
{
	touch("file", 06755, ANN);
	become(ANN);
	OK(chown("file", (uid_t)-1, TEAM));
	IS(mode_of("file") == 0755);
	be_root();
	OK(chmod("file", 06755));
	OK(chown("file", BOB, TEAM));
	IS(mode_of("file") == 0755);
	OK(chmod("file", 06777));
	become(CAT);
	OK(truncate("file", 3));
	IS(mode_of("file") == 0777);
	be_root();
	OK(chmod("file", 02767)); /* not executable by the group: a lock bit, once */
	OK(chown("file", ANN, TEAM));
	IS(mode_of("file") == 02767);
	make_dir("dir", 06755, ANN);
	OK(chown("dir", BOB, BOB)); /* of a directory they mean something else */
	IS(mode_of("dir") == 06755);
}

static void a_sticky_directory_protects_its_names(void)
{
	static const struct {
		unsigned who;
		bool may;
	} t[] = {{ANN, true}, {BOB, true}, {CAT, false}, {0, true}};

	make_dir("sticky", 01777, ANN);
	make_dir("open", 0777, ANN);
	for (unsigned i = 0; i < 4; i++) {
		int err = t[i].may ? 0 : -1;

		touch("sticky/file", 0666, BOB);
		touch("sticky/victim", 0666, BOB);
		touch("sticky/own", 0666, t[i].who);
		make_dir("sticky/dir", 0777, BOB);
		become(t[i].who);
		IS(rename("sticky/file", "open/file") == err && (err == 0 || errno == EPERM));
		IS(rename("sticky/own", "sticky/victim") == err && (err == 0 || errno == EPERM));
		IS(rmdir("sticky/dir") == err && (err == 0 || errno == EPERM));
		if (err < 0)
			FAILS(unlink("sticky/victim"), EPERM);
		OK(link("sticky/victim", "sticky/other")); /* it is writable, so it may be linked */
		be_root();
		unlink("sticky/file");
		unlink("open/file");
		unlink("sticky/own");
		OK(unlink("sticky/victim"));
		OK(unlink("sticky/other"));
		rmdir("sticky/dir");
	}
}

static void new_things_belong_to_their_maker_or_to_the_directory(void)
{
	make_dir("plain", 0777, CAT);
	make_dir("sgid", 02777, CAT);
	become(ANN);
	OK(open_close("plain/f", O_CREAT | O_WRONLY, 0644));
	IS(stat_of("plain/f").st_uid == ANN && stat_of("plain/f").st_gid == ANN);
	OK(open_close("sgid/f", O_CREAT | O_WRONLY, 02755));
	IS(stat_of("sgid/f").st_uid == ANN && stat_of("sgid/f").st_gid == CAT);
	IS(mode_of("sgid/f") == 0755); /* not her group */
	OK(mkdir("plain/d", 0755));
	IS(stat_of("plain/d").st_gid == ANN && mode_of("plain/d") == 0755);
	OK(mkdir("sgid/d", 0755));
	IS(stat_of("sgid/d").st_gid == CAT && mode_of("sgid/d") == 02755);
	OK(symlink("x", "sgid/l"));
	IS(stat_of("sgid/l").st_gid == CAT);
	OK(mkfifo("sgid/p", 0644));
	IS(stat_of("sgid/p").st_gid == CAT);
	umask(027);
	OK(open_close("plain/g", O_CREAT | O_WRONLY, 0666));
	OK(mkdir("plain/e", 0777));
	OK(mkfifo("plain/p", 0666));
	IS(mode_of("plain/g") == 0640 && mode_of("plain/e") == 0750 && mode_of("plain/p") == 0640);
}

/* ---- call by call ---- */

static void link_counts_and_refuses(void)
{
	int fd;

	touch("a", 0644, 0);
	make_dir("dir", 0755, 0);
	OK(symlink("a", "sym"));
	TIMES("dir", "MC", link("a", "dir/b"));
	TIMES("a", "mC", link("a", "c"));
	IS(links_of("a") == 3 && links_of("c") == 3 && links_of("dir/b") == 3);
	IS(stat_of("a").st_ino == stat_of("dir/b").st_ino);
	FAILS(link("dir", "x"), EPERM);
	FAILS(link("a", "c"), EEXIST);
	FAILS(link("a", "/dev/x"), EXDEV);
	OK(link("sym", "hard sym")); /* the symbolic link itself */
	IS(S_ISLNK(stat_of("hard sym").st_mode) && links_of("sym") == 2);
	OK(linkat(AT_FDCWD, "sym", AT_FDCWD, "followed", AT_SYMLINK_FOLLOW));
	IS(links_of("a") == 4);
	TIMES("a", "mC", unlink("c"));
	OK(unlink("dir/b"));
	OK(unlink("followed"));
	IS(links_of("a") == 1);
	fd = open("a", O_RDONLY);
	OK(unlink("a"));
	IS(fd >= 0 && fstat(fd, &(struct stat){0}) == 0);
	close(fd);
	OK(mkfifo("fifo", 0644));
	OK(link("fifo", "fifo2"));
	IS(links_of("fifo2") == 2);
}

static void mkdir_and_rmdir_count_links(void)
{
	make_dir("dir", 0755, 0);
	IS(links_of("dir") == 2);
	TIMES("dir", "MC", mkdir("dir/a", 0755));
	OK(mkdir("dir/b", 0755));
	touch("dir/file", 0644, 0);
	IS(links_of("dir") == 4);
	FAILS(rmdir("dir"), ENOTEMPTY);
	FAILS(rmdir("dir/file"), ENOTDIR);
	FAILS(rmdir("dir/a/."), EINVAL);
	FAILS(rmdir("dir/a/.."), ENOTEMPTY);
	OK(symlink("a", "dir/link"));
	FAILS(rmdir("dir/link"), ENOTDIR);
	FAILS(rmdir("dir/link/"), ENOTDIR);
	TIMES("dir", "MC", rmdir("dir/a"));
	IS(links_of("dir") == 3);
	OK(mkdir("dir/slash/", 0755));
	FAILS(unlink("dir/slash"), EISDIR);
	FAILS(open_close("dir/slash", O_WRONLY, 0), EISDIR);
	FAILS(open_close("dir/slash", O_RDONLY | O_CREAT, 0), EISDIR);
	FAILS(open_close("dir/x/", O_WRONLY | O_CREAT, 0644), EISDIR);
	FAILS(truncate("dir", 0), EISDIR);
	FAILS(read(open("dir", O_RDONLY), &(char){0}, 1), EISDIR);
}

static void special_files(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = "bound"};
	int s = socket(AF_UNIX, SOCK_STREAM, 0);

	OK(mknod("char", S_IFCHR | 0640, makedev(1, 3)));
	OK(mknod("block", S_IFBLK | 0600, makedev(259, 100000)));
	OK(mknod("fifo", S_IFIFO | 0644, 0));
	OK(mknod("socket", S_IFSOCK | 0755, 0));
	OK(mknod("plain", S_IFREG | 0600, 0));
	IS(S_ISCHR(stat_of("char").st_mode) && stat_of("char").st_rdev == makedev(1, 3));
	IS(S_ISBLK(stat_of("block").st_mode) && stat_of("block").st_rdev == makedev(259, 100000));
	IS(S_ISFIFO(stat_of("fifo").st_mode) && S_ISSOCK(stat_of("socket").st_mode));
	IS(S_ISREG(stat_of("plain").st_mode) && stat_of("plain").st_size == 0);
	FAILS(mknod("x", S_IFDIR | 0755, 0), EPERM);
	FAILS(mknod("x", S_IFLNK | 0755, 0), EINVAL);
	FAILS(open_close("socket", O_RDONLY, 0), ENXIO);
	FAILS(open_close("fifo", O_WRONLY | O_NONBLOCK, 0), ENXIO);
	FAILS(truncate("fifo", 0), EINVAL);
	IS(posix_fallocate(open("fifo", O_RDWR), 0, 10) == ESPIPE);
	OK(bind(s, (struct sockaddr *)&addr, sizeof(addr)));
	IS(S_ISSOCK(stat_of("bound").st_mode));
	FAILS(bind(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&addr, sizeof(addr)),
		EADDRINUSE);
	become(ANN);
	FAILS(mknod("x", S_IFCHR | 0640, makedev(1, 3)), EPERM);
	FAILS(mknod("x", S_IFBLK | 0640, makedev(1, 3)), EPERM);
	OK(mknod("x", S_IFIFO | 0640, 0));
	close(s);
}

static void open_flags(void)
{
	char buf[16] = {0};
	int fd;

	touch("file", 0644, 0);
	OK(mkdir("dir", 0755));
	OK(symlink("file", "link"));
	OK(symlink("new", "dangling"));
	FAILS(open_close("file", O_RDONLY | O_DIRECTORY, 0), ENOTDIR);
	FAILS(open_close("link", O_RDONLY | O_NOFOLLOW, 0), ELOOP);
	FAILS(open_close("file/", O_RDONLY, 0), ENOTDIR);
	OK(open_close("dir", O_RDONLY | O_DIRECTORY, 0));
	OK(open_close("dangling", O_WRONLY | O_CREAT, 0644));
	IS(S_ISREG(stat_of("new").st_mode));
	IS(open_close("dir", O_TMPFILE | O_RDWR, 0600) == 0 || errno == EOPNOTSUPP);
	TIMES("file", "MC", open_close("file", O_WRONLY | O_TRUNC, 0));
	IS(stat_of("file").st_size == 0);
	fd = open("file", O_WRONLY | O_APPEND);
	OK(write(fd, "abc", 3));
	OK(lseek(fd, 0, SEEK_SET));
	OK(write(fd, "def", 3));
	FAILS(read(fd, buf, 1), EBADF);
	close(fd);
	fd = open("file", O_RDONLY);
	IS(read(fd, buf, 16) == 6 && memcmp(buf, "abcdef", 6) == 0);
	FAILS(write(fd, buf, 1), EBADF);
	FAILS(ftruncate(fd, 0), EINVAL);
	close(fd);
	/* made without a right to write, yet written by its maker */
	become(ANN);
	fd = open("mine", O_CREAT | O_RDWR, 0);
	OK(write(fd, "x", 1));
	FAILS(open_close("mine", O_RDONLY, 0), EACCES);
	close(fd);
}

static void a_program_that_runs_is_not_written(void)
{
	int fd, runs[2];
	pid_t pid;

	if (system("cp /bin/sleep prog") != 0)
		failed(__LINE__, "cp", 0, 0);
	OK(pipe2(runs, O_CLOEXEC));
	pid = fork();
	if (pid == 0) {
		execl("./prog", "prog", "5", (char *)NULL);
		_exit(127);
	}
	close(runs[1]);
	IS(read(runs[0], &(char){0}, 1) == 0);
	close(runs[0]);
	FAILS(open_close("prog", O_WRONLY, 0), ETXTBSY);
	FAILS(truncate("prog", 0), ETXTBSY);
	OK(unlink("prog"));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	touch("script", 0755, 0);
	fd = open("script", O_WRONLY);
	FAILS(execl("./script", "script", (char *)NULL), ETXTBSY);
	close(fd);
}

static void rename_by_type(void)
{
	static const struct {
		const char *from, *to;
		int err;
	} t[] = {
		{"file", "dir", EISDIR},
		{"file", "full", EISDIR},
		{"dir", "file", ENOTDIR},
		{"dir", "link", ENOTDIR},
		{"dir", "full", ENOTEMPTY},
		{"full", "full/sub/x", EINVAL},
		{"full", "full/sub", EINVAL},
		{"full/sub", "full", ENOTEMPTY},
		{"file", "file", 0},
		{"file", "same", 0}, /* one inode: nothing happens, both names stay */
		{"dir/.", "x", EBUSY},
		{"dir/..", "x", EBUSY},
		{"dir", "full/.", EBUSY},
		{"file", "x/", ENOTDIR},
		{"file/", "x", ENOTDIR},
		{"file", "/dev/x", EXDEV},
		{"file", "link", 0},
		{"full", "dir", 0},
	};

	touch("file", 0644, 0);
	OK(link("file", "same"));
	OK(symlink("dir", "link"));
	make_dir("dir", 0755, 0);
	make_dir("full", 0755, 0);
	OK(mkdir("full/sub", 0755));
	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		int got = rename(t[i].from, t[i].to);

		nr_checks++;
		if (got != (t[i].err ? -1 : 0) || (got < 0 && errno != t[i].err)) {
			fprintf(stderr, "%s to %s: ", t[i].from, t[i].to);
			failed(__LINE__, "rename by type", got, errno);
		}
		if (i == 9)
			IS(links_of("file") == 2 && links_of("same") == 2);
	}
	IS(access("dir/sub", F_OK) == 0 && links_of("dir") == 3);
	FAILS(lstat("full", &(struct stat){0}), ENOENT);
}

static void rename_moves_links_and_times(void)
{
	ino_t ino;

	make_dir("a", 0755, 0);
	make_dir("b", 0755, 0);
	make_dir("a/dir", 0755, 0);
	touch("a/file", 0644, 0);
	touch("b/over", 0644, 0);
	OK(link("b/over", "kept"));
	ino = stat_of("a/file").st_ino;
	TIMES("a", "MC", rename("a/file", "b/over"));
	IS(stat_of("b/over").st_ino == ino && links_of("kept") == 1);
	TIMES("b", "MC", rename("a/dir", "b/dir"));
	IS(links_of("a") == 2 && links_of("b") == 3);
	IS(stat_of("b/dir/..").st_ino == stat_of("b").st_ino);
	OK(link("b/over", "b/watched"));
	TIMES("b/watched", "mC", rename("b/over", "b/again"));
	TIMES("b/watched", "mC", rename("b/again", "a/again"));
}

static void rename_with_flags(void)
{
	ino_t f, d;

	touch("file", 0644, 0);
	make_dir("x", 0755, 0);
	make_dir("x/dir", 0755, 0);
	touch("other", 0644, 0);
	f = stat_of("file").st_ino;
	d = stat_of("x/dir").st_ino;
	FAILS(renameat2(AT_FDCWD, "file", AT_FDCWD, "other", RENAME_NOREPLACE), EEXIST);
	FAILS(renameat2(AT_FDCWD, "file", AT_FDCWD, "file", RENAME_NOREPLACE), EEXIST);
	OK(renameat2(AT_FDCWD, "other", AT_FDCWD, "fresh", RENAME_NOREPLACE));
	FAILS(renameat2(AT_FDCWD, "file", AT_FDCWD, "none", RENAME_EXCHANGE), ENOENT);
	FAILS(renameat2(AT_FDCWD, "file", AT_FDCWD, "fresh", RENAME_EXCHANGE | RENAME_NOREPLACE),
		EINVAL);
	FAILS(renameat2(AT_FDCWD, "file", AT_FDCWD, "fresh", 0x100), EINVAL);
	FAILS(renameat2(AT_FDCWD, "x", AT_FDCWD, "x/dir", RENAME_EXCHANGE), EINVAL);
	OK(renameat2(AT_FDCWD, "file", AT_FDCWD, "x/dir", RENAME_EXCHANGE));
	IS(stat_of("x/dir").st_ino == f && stat_of("file").st_ino == d);
	IS(links_of("x") == 2 && stat_of("file/..").st_ino == stat_of(".").st_ino);
}

static void who_may_rename(void)
{
	make_dir("from", 0755, ANN);
	make_dir("to", 0777, BOB);
	touch("from/file", 0666, ANN);
	make_dir("from/dir", 0755, BOB);
	become(BOB);
	FAILS(rename("from/file", "to/file"), EACCES);
	FAILS(rename("to/none", "from/file"), ENOENT);
	be_root();
	OK(chmod("from", 0777));
	become(CAT); /* its ".." changes, which is writing to it */
	FAILS(rename("from/dir", "to/dir"), EACCES);
	OK(rename("from/dir", "from/dir2"));
	become(BOB);
	OK(rename("from/dir2", "to/dir"));
}

static void symlinks(void)
{
	char target[4200], buf[4200];

	memset(target, 'x', sizeof(target));
	for (unsigned n = 1; n <= SYMLINK_MAX; n = n < 64 ? n * 2 : n + 132) {
		target[n] = '\0';
		OK(symlink(target, "s"));
		IS(readlink("s", buf, sizeof(buf)) == (ssize_t)n && memcmp(buf, target, n) == 0);
		IS(stat_of("s").st_size == (off_t)n);
		OK(unlink("s"));
		target[n] = 'x';
	}
	target[4096] = '\0';
	FAILS(symlink(target, "s"), ENAMETOOLONG);
	FAILS(symlink("", "s"), ENOENT);
	touch("file", 0644, 0);
	FAILS(readlink("file", buf, sizeof(buf)), EINVAL);
	FAILS(readlink(".", buf, sizeof(buf)), EINVAL);
	become(ANN);
	OK(symlink("file", "l"));
	IS(stat_of("l").st_uid == ANN && mode_of("l") == 0777);
	IS(readlink("l", buf, 2) == 2 && memcmp(buf, "fi", 2) == 0);
}

static void truncate_cuts_and_grows(void)
{
	struct rlimit small = {.rlim_cur = 10000, .rlim_max = RLIM_INFINITY}, old;
	char buf[32];
	int fd;

	touch("file", 0644, ANN);
	TIMES("file", "MC", truncate("file", 4));
	TIMES("file", "MC", truncate("file", 20));
	fd = open("file", O_RDWR);
	IS(read(fd, buf, 32) == 20 && memcmp(buf, "1234\0\0\0\0\0\0\0\0", 12) == 0);
	TIMES("file", "MC", ftruncate(fd, 20)); /* ftruncate(2): always */
	OK(ftruncate(fd, 1ULL << 40));
	IS(stat_of("file").st_size == 1LL << 40);
	FAILS(ftruncate(fd, -1), EINVAL);
	FAILS(truncate("file", -1), EINVAL);
	FAILS(pwrite(fd, buf, 1, -1), EINVAL);
	OK(ftruncate(fd, 0));
	getrlimit(RLIMIT_FSIZE, &old);
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &small);
	FAILS(ftruncate(fd, 10001), EFBIG);
	FAILS(pwrite(fd, buf, 10, 10000), EFBIG);
	IS(pwrite(fd, buf, 10, 9995) == 5);
	setrlimit(RLIMIT_FSIZE, &old);
	close(fd);
	become(BOB);
	FAILS(truncate("file", 0), EACCES);
}

static void unlink_and_open_files(void)
{
	struct stat st;
	char buf[8];
	int fd;

	make_dir("dir", 0755, 0);
	touch("dir/file", 0644, 0);
	fd = open("dir/file", O_RDWR);
	TIMES("dir", "MC", unlink("dir/file"));
	IS(fstat(fd, &st) == 0 && st.st_nlink == 0 && st.st_size == 8);
	IS(pread(fd, buf, 8, 0) == 8 && memcmp(buf, "12345678", 8) == 0);
	OK(pwrite(fd, "new", 3, 100000));
	OK(fchmod(fd, 0600));
	OK(fchown(fd, ANN, ANN));
	OK(ftruncate(fd, 5));
	OK(fsync(fd));
	IS(fstat(fd, &st) == 0 && st.st_size == 5 && st.st_uid == ANN);
	touch("dir/file", 0644, 0); /* another one */
	IS(stat_of("dir/file").st_ino != st.st_ino);
	close(fd);
	FAILS(unlink("dir"), EISDIR);
	FAILS(unlink("dir/file/"), ENOTDIR);
}

static void set_times(const char *path, long a_s, long a_ns, long m_s, long m_ns)
{
	struct timespec ts[2] = {{a_s, a_ns}, {m_s, m_ns}};

	OK(utimensat(AT_FDCWD, path, ts, AT_SYMLINK_NOFOLLOW));
}

static void times_are_set(void)
{
	struct timespec some[2] = {{5, 0}, {6, 0}}, wrong[2] = {{0, 1000000000}, {0, 0}};
	struct timespec now[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}},
			omit[2] = {{0, UTIME_OMIT}, {0, UTIME_OMIT}};
	struct stat st;

	touch("file", 0644, ANN);
	set_times("file", 1, 2, 1234567890, 123456789);
	st = stat_of("file");
	IS(st.st_atim.tv_sec == 1 && st.st_atim.tv_nsec == 2);
	IS(st.st_mtim.tv_sec == 1234567890 && st.st_mtim.tv_nsec == 123456789);
	set_times("file", -5, 999999999, 0, UTIME_OMIT);
	st = stat_of("file");
	IS(st.st_atim.tv_sec == -5 && st.st_atim.tv_nsec == 999999999);
	IS(st.st_mtim.tv_sec == 1234567890);
	set_times("file", 0, UTIME_OMIT, 1L << 33, 7);
	IS(stat_of("file").st_mtim.tv_sec == 1L << 33 && stat_of("file").st_atim.tv_sec == -5);
	TIMES("file", "mC",
		utimensat(AT_FDCWD, "file", (struct timespec[2]){{9, 9}, {0, UTIME_OMIT}}, 0));
	TIMES("file", "mc", utimensat(AT_FDCWD, "file", omit, 0));
	set_times("file", 1, 1, 1, 1);
	OK(utimensat(AT_FDCWD, "file", NULL, 0));
	IS(stat_of("file").st_mtim.tv_sec > 1000000 && stat_of("file").st_atim.tv_sec > 1000000);
	FAILS(utimensat(AT_FDCWD, "file", wrong, 0), EINVAL);
	OK(symlink("file", "link"));
	set_times("link", 3, 0, 4, 0);
	IS(stat_of("link").st_mtim.tv_sec == 4 && stat_of("file").st_mtim.tv_sec != 4);
	become(ANN);
	OK(utimensat(AT_FDCWD, "file", some, 0));
	become(BOB);
	FAILS(utimensat(AT_FDCWD, "file", some, 0), EPERM);
	FAILS(utimensat(AT_FDCWD, "file", NULL, 0), EACCES);
	be_root();
	OK(chmod("file", 0666));
	become(BOB); /* who may write may say "now", and nothing else */
	OK(utimensat(AT_FDCWD, "file", NULL, 0));
	OK(utimensat(AT_FDCWD, "file", now, 0));
	FAILS(utimensat(AT_FDCWD, "file", some, 0), EPERM);
}

static void writing_changes_times(void)
{
	int fd, dir;

	touch("file", 0644, 0);
	make_dir("dir", 0755, 0);
	fd = open("file", O_RDWR);
	TIMES("file", "MC", write(fd, "x", 1));
	TIMES("file", "mc", pread(fd, &(char){0}, 1, 0));
	TIMES("file", "mc", fsync(fd));
	TIMES("file", "mc", open_close("file", O_RDWR, 0));
	TIMES("file", "MC", posix_fallocate(fd, 0, 100000) == 0 ? 0 : -1);
	TIMES("dir", "MC", open_close("dir/f", O_CREAT, 0600));
	TIMES("dir", "mc", open_close("dir/f", O_CREAT, 0600));
	TIMES("dir", "MC", symlink("x", "dir/s"));
	TIMES("dir", "MC", mkfifo("dir/p", 0600));
	TIMES("dir", "MC", rename("dir/p", "dir/q"));
	dir = open("dir", O_RDONLY);
	TIMES("dir", "mC", fchmod(dir, 0700));
	close(dir);
	close(fd);
}

static void fallocate_allocates(void)
{
	int fd = open("file", O_CREAT | O_RDWR, 0644), err;

	IS(posix_fallocate(fd, 0, 5000) == 0);
	IS(stat_of("file").st_size == 5000 && stat_of("file").st_blocks >= 10);
	IS(posix_fallocate(fd, 0, 100) == 0);
	IS(stat_of("file").st_size == 5000);
	IS(posix_fallocate(fd, -1, 100) == EINVAL);
	IS(posix_fallocate(fd, 0, 0) == EINVAL);
	IS(posix_fallocate(fd, INT64_MAX, 10) == EFBIG);
	IS(posix_fallocate(open("file", O_RDONLY), 0, 10) == EBADF);
	err = posix_fallocate(fd, 0, 1LL << 50);
	IS(err == ENOSPC || err == EFBIG);
	FAILS(fallocate(fd, 0x8000, 0, 10), EOPNOTSUPP);
	IS(stat_of("file").st_size == 5000);
	close(fd);
}

static void directories_are_listed(void)
{
	unsigned nr = 0, nr_dots = 0;
	struct dirent *e;
	long half = 0;
	char name[32];
	DIR *dir;

	for (unsigned i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "entry %u", i);
		OK(i % 2 ? mkdir(name, 0755) : open_close(name, O_CREAT | O_WRONLY, 0644));
	}
	dir = opendir(".");
	while ((e = readdir(dir)) != NULL) {
		bool dots = e->d_name[0] == '.';

		IS(e->d_type ==
			(dots || (e->d_name[strlen(e->d_name) - 1] - '0') % 2 ? DT_DIR : DT_REG));
		IS(strcmp(e->d_name, "..") == 0 || e->d_ino == stat_of(e->d_name).st_ino);
		nr_dots += dots;
		if (++nr == 150)
			half = telldir(dir);
	}
	IS(nr == 302 && nr_dots == 2);
	seekdir(dir, half);
	for (nr = 0; readdir(dir) != NULL; nr++)
		;
	IS(nr == 152);
	touch("late", 0644, 0);
	rewinddir(dir);
	for (nr = 0; readdir(dir) != NULL; nr++)
		;
	IS(nr == 303);
	closedir(dir);
}

static void facts_of_the_filesystem(void)
{
	struct statvfs s;

	OK(statvfs(".", &s));
	IS(s.f_namemax == 255 && s.f_bsize >= 512 && s.f_bfree >= s.f_bavail &&
		s.f_files > s.f_ffree);
	IS(pathconf(".", _PC_NAME_MAX) == 255);
}

/* ---- running ---- */

#define T(name)             \
	{                   \
#name, name \
	}
static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
	T(paths_that_lead_nowhere),
	T(names_that_exist),
	T(names_of_255_bytes_and_of_any_bytes),
	T(a_directory_that_may_not_be_searched),
	T(a_directory_that_was_removed),
	T(who_may_open),
	T(who_may_chmod),
	T(who_may_chown),
	T(set_id_bits_go_with_the_owner_and_with_the_contents),
	T(a_sticky_directory_protects_its_names),
	T(new_things_belong_to_their_maker_or_to_the_directory),
	T(link_counts_and_refuses),
	T(mkdir_and_rmdir_count_links),
	T(special_files),
	T(open_flags),
	T(a_program_that_runs_is_not_written),
	T(rename_by_type),
	T(rename_moves_links_and_times),
	T(rename_with_flags),
	T(who_may_rename),
	T(symlinks),
	T(truncate_cuts_and_grows),
	T(unlink_and_open_files),
	T(times_are_set),
	T(writing_changes_times),
	T(fallocate_allocates),
	T(directories_are_listed),
	T(facts_of_the_filesystem),
};

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void run(const char *base, unsigned i)
{
	test_name = tests[i].name;
	umask(0);
	OK(mkdir("t", 0777));
	OK(chdir("t"));
	tests[i].run();
	be_root();
	OK(chdir(base));
	OK(nftw("t", remove_one, 16, FTW_DEPTH | FTW_PHYS));
}

int main(int argc, char **argv)
{
	char base[4096];

	if (argc < 2 || argc > 3 || geteuid() != 0) {
		fprintf(stderr, "usage (as root): posix DIRECTORY [TEST]\n");
		return 2;
	}
	if (realpath(argv[1], base) == NULL || chdir(base) < 0) {
		perror(argv[1]);
		return 2;
	}
	for (unsigned i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		if (argc == 2 || strcmp(argv[2], tests[i].name) == 0)
			run(base, i);
	printf("posix: %u checks, %u failed\n", nr_checks, nr_failed);
	return nr_failed > 0;
}
