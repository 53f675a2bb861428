/* vblkfs.c - vblkfs(8): mount a filesystem and serve it; also mount(8)'s helper (mount.fuse.vblkfs)
 * and, by that name, umount.fuse.vblkfs.
 *
 * Two processes. The one that was called waits for one message, checks that the mount can be read,
 * and exits with mount(8)'s status. The daemon opens the disk (after the fork: a disk belongs to
 * the process that opened it), mounts, says so, serves, and unmounts.
 *
 * Invariants
 *  1. The caller gets status 0 only when the root of the mount could be listed; else one line says
 *     why, and no mount is left.
 *  2. However the end comes (umount, SIGTERM, a lost disk) it is tear_down() that makes the disk
 *     clean, and then control_close() that tells those who wait.
 *  3. The first thread only waits; it takes no part in requests, so that it may itself use the
 *     mount. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <json-c/json.h>
#include <libmount/libmount.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>
#include <uuid/uuid.h>
#include "../fusefs/session.h"
#include "control.h"
#include "disk_json.h"
#include "fusermount.h"
#include "mount_opts.h"
#include "namespace.h"
#include "source.h"
#include "sysfs.h"
#include "umount.h"
#include "utab.h"
#include "vblkfs_jobs.h"

#define MESSAGE_BYTES 1024
#define READAHEAD_KIB "1024"
#define DETACHED_MS   500 /* after which an unmounted filesystem must be in use somewhere */

struct program {
	struct mount_opts opts;
	const char *source;
	const char *given_dir;
	char dir[PATH_MAX];
	const char *ns;
	bool helper; /* called by mount(8): -f means fake there */
	bool foreground, debug, fake, sloppy;
};

struct daemon {
	const struct program *prog;
	int report_fd; /* to the caller, until it was told; -1: standard error */
	struct blockdev *dev;
	struct fs *fs;
	struct session *session;
	struct control *control;
	struct jobs *jobs; /* NULL: none are to be had */
	dev_t mount_dev;
	int signal_fd;
};

/* ---- words to the caller ---- */

static int complain(const char *source, const char *message)
{
	size_t n = strlen(source);

	if (strncmp(message, source, n) == 0 &&
		message[n] == ':') /* a driver's words may name it already */
		fprintf(stderr, "vblkfs: %s\n", message);
	else
		fprintf(stderr, "vblkfs: %s: %s\n", source, message);
	return MNT_EX_FAIL;
}

/* The daemon's: why it gives up, once. */
static void give_up(struct daemon *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void give_up(struct daemon *d, const char *fmt, ...)
{
	char message[MESSAGE_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	if (d->report_fd < 0)
		complain(d->prog->source, message);
	else
		(void)!write(d->report_fd, message, strlen(message));
}

static int detach_mount(const char *dir)
{
	if (umount2(dir, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		return 0;
	return errno == EPERM ? fusermount_unmount(dir, true) : -errno;
}

/* ---- the daemon: figures ---- */

static void add_u64(struct json_object *o, const char *key, uint64_t v)
{
	json_object_object_add(o, key, json_object_new_uint64(v));
}

static void add_string(struct json_object *o, const char *key, const char *v)
{
	json_object_object_add(o, key, json_object_new_string(v));
}

static struct json_object *hello_json(const struct daemon *d)
{
	struct json_object *o = json_object_new_object();
	struct fs_ident ident;
	struct fs_stats st;
	char text[UUID_STR_LEN];

	fs_get_ident(d->fs, &ident);
	fs_get_stats(d->fs, &st);
	json_object_object_add(o, "pid", json_object_new_int(getpid()));
	add_string(o, "source", d->prog->source);
	add_string(o, "mountpoint", d->prog->dir);
	snprintf(text, sizeof(text), "%u:%u", major(d->mount_dev), minor(d->mount_dev));
	add_string(o, "dev", text);
	uuid_unparse_lower(ident.uuid, text);
	add_string(o, "uuid", text);
	add_string(o, "label", ident.label);
	json_object_object_add(o, "read_only", json_object_new_boolean(st.read_only));
	return o;
}

static struct json_object *fs_json(struct fs *fs)
{
	struct json_object *o = json_object_new_object();
	struct fs_stats st;
	struct fs_statfs space;

	fs_get_stats(fs, &st);
	fs_statfs(fs, &space);
	json_object_object_add(o, "read_only", json_object_new_boolean(st.read_only));
	json_object_object_add(o, "frozen", json_object_new_boolean(st.frozen));
	add_u64(o, "block_bytes", FS_BLOCK_BYTES);
	add_u64(o, "blocks", space.nr_blocks);
	add_u64(o, "free_blocks", space.free_blocks);
	add_u64(o, "inodes", space.nr_inodes);
	add_u64(o, "free_inodes", space.free_inodes);
	add_u64(o, "commits", st.commits);
	add_u64(o, "commit_blocks", st.commit_blocks);
	add_u64(o, "commit_us", st.commit_us);
	add_u64(o, "cache_hits", st.cache_hits);
	add_u64(o, "cache_misses", st.cache_misses);
	add_u64(o, "cache_blocks", st.cache_blocks);
	add_u64(o, "dirty_blocks", st.dirty_blocks);
	return o;
}

static struct json_object *workers_json(const struct session *s)
{
	struct json_object *a = json_object_new_array();
	struct session_stats st[SESSION_WORKERS_MAX];
	int n = session_stats(s, st, (int)SESSION_WORKERS_MAX);

	for (int i = 0; i < n; i++) {
		struct json_object *o = json_object_new_object();

		add_u64(o, "requests", st[i].requests);
		add_u64(o, "sleeps", st[i].sleeps);
		add_u64(o, "no_slot", st[i].no_slot);
		json_object_array_add(a, o);
	}
	return a;
}

static bool answer(void *arg, const char *line, struct json_object *out)
{
	const struct daemon *d = arg;

	if (d->jobs != NULL && jobs_answer(d->jobs, line, out))
		return true;
	if (strcmp(line, "info") == 0) {
		json_object_object_add(out, "disk", disk_json_info(d->dev));
		return true;
	}
	if (strcmp(line, "stat") != 0)
		return false;
	json_object_object_add(out, "fs", fs_json(d->fs));
	json_object_object_add(out, "disk", disk_json(d->dev));
	json_object_object_add(out, "rings", disk_json_rings(d->dev));
	json_object_object_add(out, "workers", workers_json(d->session));
	return true;
}

/* ---- the daemon: setting up ---- */

static int open_disk(struct daemon *d)
{
	const struct mount_opts *o = &d->prog->opts;
	struct disk_opts disk = {
		.read_only = o->read_only,
		.max_rings = o->workers,
		.ring_size = o->queue_size,
		.poll_only = o->poll_only,
		.write_through = o->write_through,
		.timeout_s = o->timeout_s,
		.queue_reset = o->queue_reset,
	};
	struct blk_info info;
	char err[512];

	if (source_open(d->prog->source, &disk, &d->dev, err, sizeof(err)) < 0) {
		give_up(d, "%s", err);
		return -1;
	}
	blk_get_info(d->dev, &info);
	if (info.read_only && !o->read_only) {
		give_up(d, "the disk is read-only; mount it with -o ro");
		return -1;
	}
	return 0;
}

static const char *why_no_mount(int err)
{
	switch (err) {
	case -ENODATA:
		return "no vblkfs filesystem on it; make one with mkfs.vblkfs";
	case -EUCLEAN:
		return "the filesystem is damaged (see the system log); check it with fsck.vblkfs";
	case -EOPNOTSUPP:
		return "the filesystem has features that this version does not know; use a newer "
		       "vblkfs";
	case -ENOMEM:
		return "no memory for the cache: lower cache=, or raise vm.nr_hugepages";
	case -EROFS:
		return "the filesystem can only be read; mount it with -o ro";
	default:
		return strerror(-err);
	}
}

static int open_fs(struct daemon *d)
{
	const struct mount_opts *o = &d->prog->opts;
	struct fs_mount_opts opts = {
		.read_only = o->read_only,
		.no_barrier = o->no_barrier,
		.commit_s = o->commit_s,
		.cache_mib = o->cache_mib,
		.errors = o->errors,
	};
	struct fs_ident ident;
	int err;

	err = fs_identify(d->dev, &ident);
	if (err == 0 && ident.dirty)
		syslog(LOG_NOTICE, "%s: was not unmounted; recovering from the journal",
			d->prog->source);
	if (err != -ENODATA)
		err = fs_mount(d->dev, &opts, &d->fs);
	if (err < 0) {
		give_up(d, "%s", why_no_mount(err));
		return -1;
	}
	return 0;
}

static int open_session(struct daemon *d)
{
	const struct mount_opts *o = &d->prog->opts;
	struct session_opts opts = {
		.source = d->prog->source,
		.mount_opts = o->kernel,
		.workers = o->workers,
		.slots = o->slots,
		.spin_us = o->spin_us,
		.allow_other = o->allow_other,
		.debug = d->prog->debug,
	};
	char err[512];

	if (session_open(d->fs, d->dev, d->prog->dir, &opts, &d->session, err, sizeof(err)) < 0) {
		give_up(d, "%s", err);
		return -1;
	}
	return 0;
}

/* The kernel holds a FUSE mount's dirty pages and read-ahead to limits made for slow daemons. Best
 * effort. */
static void tune_kernel(const struct daemon *d)
{
	unsigned maj = major(d->mount_dev), min = minor(d->mount_dev);

	sysfs_write("100", "/sys/class/bdi/%u:%u/max_ratio", maj, min);
	sysfs_write(READAHEAD_KIB, "/sys/class/bdi/%u:%u/read_ahead_kb", maj, min);
}

static void open_control(struct daemon *d)
{
	int err;

	err = jobs_create(d->dev, d->fs, d->session, d->mount_dev, &d->jobs);
	if (err == 0)
		err = control_open(hello_json(d), answer, d, &d->control);
	if (err < 0) {
		d->control = NULL;
		syslog(LOG_NOTICE, "no control socket (umount will not wait): %s", strerror(-err));
	}
}

static int set_up(struct daemon *d)
{
	struct stat st;

	if (open_disk(d) < 0 || open_fs(d) < 0 || open_session(d) < 0)
		return -1;
	if (stat(d->prog->dir, &st) < 0) {
		give_up(d, "%s: %s", d->prog->dir, strerror(errno));
		return -1;
	}
	d->mount_dev = st.st_dev;
	tune_kernel(d);
	open_control(d);
	utab_add(d->prog->source, d->prog->dir);
	return 0;
}

/* ---- the daemon: the end ---- */

static bool still_mounted_here(const struct daemon *d)
{
	struct stat st;

	return stat(d->prog->dir, &st) == 0 && st.st_dev == d->mount_dev;
}

/* A signal: take the mount away from its users, and end. What they have written so far goes to the
 * disk. */
static void detach(struct daemon *d)
{
	struct pollfd over = {.fd = session_fd(d->session), .events = POLLIN};
	int fd;

	jobs_thaw(d->jobs); /* else what is written now would wait */
	if (still_mounted_here(d)) {
		fd = open(d->prog->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0) {
			syncfs(fd);
			close(fd);
		}
		if (detach_mount(d->prog->dir) == 0)
			utab_remove(d->prog->dir);
	}
	if (poll(&over, 1, DETACHED_MS) == 0) {
		syslog(LOG_WARNING, "%s: ending, though files on it are still in use",
			d->prog->dir);
		session_stop(d->session);
	}
}

static void serve(struct daemon *d)
{
	struct pollfd fds[2] = {{.fd = session_fd(d->session), .events = POLLIN},
		{.fd = d->signal_fd, .events = POLLIN}};
	struct signalfd_siginfo si;

	for (;;) {
		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[0].revents != 0)
			return;
		if (read(d->signal_fd, &si, sizeof(si)) == sizeof(si)) {
			syslog(LOG_NOTICE, "%s: signal %u: unmounting", d->prog->dir, si.ssi_signo);
			detach(d);
			return;
		}
	}
}

/* 0: the disk is clean. Whatever was not opened is NULL. */
static int tear_down(struct daemon *d)
{
	int err = 0;

	if (d->control != NULL)
		control_unmounting(d->control);
	jobs_destroy(d->jobs);
	if (d->session != NULL)
		session_close(d->session);
	if (d->fs != NULL)
		err = fs_unmount(d->fs);
	if (d->dev != NULL)
		blk_close(d->dev);
	if (d->control != NULL) {
		if (err < 0)
			syslog(LOG_ERR, "%s: unmounted, but not clean: %s", d->prog->source,
				strerror(-err));
		else
			syslog(LOG_INFO, "%s: unmounted, clean", d->prog->source);
	}
	control_close(d->control, err);
	return err;
}

/* ---- the daemon: its life ---- */

/* Every thread inherits the mask; only serve() takes these signals. */
static int block_signals(void)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

/* The kernel must never wait for this process's own memory by writing to this process's own mount;
 * nor should the process be chosen when memory is short: its users would lose their files. Best
 * effort. */
static void protect_from_memory_pressure(void)
{
	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	sysfs_write("-1000", "/proc/self/oom_score_adj");
}

/* Tell the caller that it is mounted: an empty message. False: the caller is gone (killed while it
 * waited), and will not know that there is a mount. */
static bool leave_the_caller(struct daemon *d)
{
	bool told = write(d->report_fd, "", 1) == 1;
	int null = open("/dev/null", O_RDWR);

	close(d->report_fd);
	d->report_fd = -1;
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		if (null > STDERR_FILENO)
			close(null);
	}
	return told;
}

/* The whole of the daemon; in the foreground REPORT_FD is -1. Returns the exit status. */
static int run(const struct program *prog, int report_fd)
{
	struct daemon d = {.prog = prog, .report_fd = report_fd};
	int err;

	openlog("vblkfs", LOG_PID | (prog->foreground ? LOG_PERROR : 0), LOG_DAEMON);
	d.signal_fd = block_signals();
	protect_from_memory_pressure();
	if (set_up(&d) < 0) {
		tear_down(&d);
		return MNT_EX_FAIL;
	}
	(void)!chdir("/");
	if (report_fd < 0 || leave_the_caller(&d))
		serve(&d);
	else
		detach(&d);
	err = tear_down(&d);
	return err < 0 ? MNT_EX_FAIL : MNT_EX_SUCCESS;
}

/* ---- the caller ---- */

/* A mount of ours whose daemon was killed is in the way: nothing can be mounted on it, nor read
 * from it. */
static int detach_dead_mount(const char *dir)
{
	struct libmnt_table *tb = mnt_new_table_from_file("/proc/self/mountinfo");
	struct libmnt_fs *fs =
		tb != NULL ? mnt_table_find_target(tb, dir, MNT_ITER_BACKWARD) : NULL;
	const char *type = fs != NULL ? mnt_fs_get_fstype(fs) : NULL;
	int err = -ENOTCONN;

	if (type != NULL && strcmp(type, "fuse.vblkfs") == 0)
		err = detach_mount(dir);
	mnt_unref_table(tb);
	return err;
}

static int find_dir(struct program *p)
{
	struct statvfs vfs;
	struct stat st;

	/* Not stat(): of a dead mount the kernel still knows the root's attributes. */
	while (statvfs(p->given_dir, &vfs) < 0) {
		int err = -errno;

		if (err == -ECONNABORTED) /* its daemon is dying this moment: look again */
			continue;
		if (err == -ENOTCONN)
			err = detach_dead_mount(p->given_dir);
		if (err < 0)
			return err;
	}
	if (stat(p->given_dir, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	return realpath(p->given_dir, p->dir) == NULL ? -errno : 0;
}

/* The root can be listed: the mount works. */
static int check_root(const char *dir)
{
	DIR *d = opendir(dir);
	int err;

	if (d == NULL)
		return -errno;
	errno = 0;
	(void)!readdir(d);
	err = -errno;
	closedir(d);
	return err;
}

/* The daemon's only message: empty when it is mounted, else why not. -1: none, it died. */
static ssize_t read_message(int fd, char *message, size_t bytes)
{
	size_t used = 0;
	ssize_t n;

	while (used < bytes - 1 && (n = read(fd, message + used, bytes - 1 - used)) != 0) {
		if (n < 0 && errno != EINTR)
			break;
		if (n > 0)
			used += (size_t)n;
		if (n > 0 && message[used - 1] == '\0')
			return 0;
	}
	message[used] = '\0';
	return used > 0 ? (ssize_t)used : -1;
}

static int wait_for_daemon(const struct program *p, pid_t pid, int fd)
{
	char message[MESSAGE_BYTES];
	int status = 0, err;
	ssize_t n;

	n = read_message(fd, message, sizeof(message));
	if (n != 0) {
		waitpid(pid, &status, 0); /* so that the disk is closed when mount(8) is back */
		if (n < 0)
			snprintf(message, sizeof(message),
				"the daemon died%s%s; see the system log",
				WIFSIGNALED(status) ? ": " : "",
				WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "");
		return complain(p->source, message);
	}
	err = check_root(p->dir);
	if (err < 0) {
		kill(pid, SIGTERM);
		waitpid(pid, &status, 0);
		snprintf(message, sizeof(message), "mounted, but the root cannot be read: %s",
			strerror(-err));
		return complain(p->source, message);
	}
	return MNT_EX_SUCCESS;
}

/* One name for ps(1), pidof(8) and others, whoever called. Not one with '@', which makes systemd
 * spare a process when it shuts down: SIGTERM makes the filesystem clean, and systemd waits for
 * that; it would not wait after umount2(2). */
static void take_name(char *argv0)
{
	static const char name[] = "vblkfs";

	prctl(PR_SET_NAME, name);
	if (strlen(argv0) >= sizeof(name) - 1)
		strncpy(argv0, name, strlen(argv0));
}

static int start_daemon(const struct program *p, char *argv0)
{
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return MNT_EX_SYSERR;
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		complain(p->source, strerror(errno));
		return MNT_EX_SYSERR;
	}
	if (pid == 0) {
		close(fds[0]);
		setsid();
		take_name(argv0);
		_exit(run(p, fds[1]));
	}
	close(fds[1]);
	return wait_for_daemon(p, pid, fds[0]);
}

/* ---- the command line ---- */

static void usage(FILE *f)
{
	fprintf(f, "usage: vblkfs [-dfhnsvV] [-N namespace] [-o options] [-t type] SOURCE DIR\n"
		   "       umount.fuse.vblkfs DIR [-flnrv] [-N namespace] [-t type]\n"
		   "SOURCE: 0000:00:05.0, serial=ID, uuid=..., label=..., vhost-user:SOCKET, or an "
		   "image file\n"
		   "options: ro, commit=s, nobarrier, cache=MiB, "
		   "errors=remount-ro|continue|shutdown, workers=n,\n"
		   "         slots=n, queue-size=n, spin_us=n, timeout=s, poll, writethrough, "
		   "allow_other, "
		   "noallow_other;\n"
		   "         see vblkfs(8)\n");
}

/* 0: go on; else the exit status, plus 1. */
static int parse_option(struct program *p, int c)
{
	switch (c) {
	case 'f':
		if (p->helper)
			p->fake = true;
		else
			p->foreground = true;
		return 0;
	case 'd':
		p->foreground = p->debug = true;
		return 0;
	case 's':
		p->sloppy = true;
		return 0;
	case 'N':
		p->ns = optarg;
		return 0;
	case 'o':
	case 'n': /* there is no mtab to leave alone */
	case 't':
	case 'v':
		return 0;
	case 'h':
		usage(stdout);
		return MNT_EX_SUCCESS + 1;
	case 'V':
		printf("vblkfs %s\n", VBLKFS_VERSION);
		return MNT_EX_SUCCESS + 1;
	default:
		usage(stderr);
		return MNT_EX_USAGE + 1;
	}
}

static int parse(struct program *p, int argc, char **argv)
{
	static const char letters[] = "dfhnsvVN:o:t:";
	char err[256];
	int c, res;

	/* -s may come after -o, so twice. */
	while ((c = getopt(argc, argv, letters)) != -1)
		if ((res = parse_option(p, c)) != 0)
			return res;
	if (argc - optind != 2) {
		usage(stderr);
		return MNT_EX_USAGE + 1;
	}
	p->source = argv[optind];
	p->given_dir = argv[optind + 1];
	for (optind = 0; (c = getopt(argc, argv, letters)) != -1;)
		if (c == 'o' && mount_opts_add(&p->opts, optarg, p->sloppy, err, sizeof(err)) < 0) {
			complain(p->source, err);
			return MNT_EX_USAGE + 1;
		}
	return 0;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? slash + 1 : path;
}

static int mount_main(struct program *p, char *argv0)
{
	char message[PATH_MAX + 64];
	int err;

	if (p->ns != NULL && (err = namespace_enter(p->ns)) < 0) {
		snprintf(message, sizeof(message), "namespace %s: %s", p->ns, strerror(-err));
		complain(p->source, message);
		return MNT_EX_SYSERR;
	}
	if (p->fake)
		return MNT_EX_SUCCESS;
	err = find_dir(p);
	if (err < 0) {
		snprintf(message, sizeof(message), "mount point %s: %s", p->given_dir,
			strerror(-err));
		return complain(p->source, message);
	}
	return p->foreground ? run(p, -1) : start_daemon(p, argv0);
}

int main(int argc, char **argv)
{
	struct program p = {0};
	const char *name = base_name(argv[0]);
	int res;

	if (strncmp(name, "umount.", 7) == 0)
		return umount_main(argc, argv);
	p.helper = strncmp(name, "mount.", 6) == 0;
	mount_opts_init(&p.opts);
	res = parse(&p, argc, argv);
	res = res != 0 ? res - 1 : mount_main(&p, argv[0]);
	mount_opts_free(&p.opts);
	return res;
}
