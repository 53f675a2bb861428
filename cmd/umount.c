/* umount.c - unmount, and come back only when the disk is clean and closed.
 *
 * The kernel does not wait for a FUSE daemon: umount(2) returns while the daemon still writes. So
 * the daemon is asked, before the unmount, to tell when it is done. The mount is found by its
 * device number: a path may be a bind mount's, or be reached in several ways. */
#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <libmount/libmount.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "control.h"
#include "fusermount.h"
#include "namespace.h"
#include "umount.h"

/* The kernel tells the daemon of the last unmount at once. If it has heard nothing by then,
 * something else has the mount. */
#define HEARD_MS 3000

struct umount_opts {
	const char *dir;
	const char *ns; /* a mount namespace: a path, or a process id */
	bool lazy, force, read_only, verbose;
};

static int usage(void)
{
	fprintf(stderr, "usage: umount.fuse.vblkfs DIR [-flnrv] [-N namespace] [-t type]\n");
	return MNT_EX_USAGE;
}

static int parse(int argc, char **argv, struct umount_opts *o)
{
	int c;

	while ((c = getopt(argc, argv, "flnrvN:t:")) != -1) {
		switch (c) {
		case 'f':
			o->force = true;
			break;
		case 'l':
			o->lazy = true;
			break;
		case 'r':
			o->read_only = true;
			break;
		case 'v':
			o->verbose = true;
			break;
		case 'N':
			o->ns = optarg;
			break;
		case 'n': /* there is no mtab to leave alone */
		case 't':
			break;
		default:
			return -EINVAL;
		}
	}
	if (argc - optind != 1)
		return -EINVAL;
	o->dir = argv[optind];
	return 0;
}

/* The device number of the filesystem mounted on DIR, as in hello's "dev"; and how often that
 * filesystem is mounted. */
static int mounted_dev(const char *dir, char *dev, size_t bytes)
{
	struct libmnt_table *tb = mnt_new_table_from_file("/proc/self/mountinfo");
	struct libmnt_fs *fs =
		tb != NULL ? mnt_table_find_target(tb, dir, MNT_ITER_BACKWARD) : NULL;
	dev_t devno = fs != NULL ? mnt_fs_get_devno(fs) : 0;

	if (fs != NULL)
		snprintf(dev, bytes, "%u:%u", major(devno), minor(devno));
	mnt_unref_table(tb);
	return fs != NULL ? 0 : -ENOENT;
}

static bool still_mounted(const char *dev)
{
	struct libmnt_table *tb = mnt_new_table_from_file("/proc/self/mountinfo");
	unsigned maj, min;
	bool found = false;

	if (tb != NULL && sscanf(dev, "%u:%u", &maj, &min) == 2)
		found = mnt_table_find_devno(tb, makedev(maj, min), MNT_ITER_FORWARD) != NULL;
	mnt_unref_table(tb);
	return found;
}

/* What umount -i does: no helper again. Returns umount(8)'s exit status. */
static int plain_umount(const struct umount_opts *o)
{
	struct libmnt_context *cxt = mnt_new_context();
	char msg[BUFSIZ] = "";
	int rc, status;

	if (cxt == NULL)
		return MNT_EX_SYSERR;
	mnt_context_set_target(cxt, o->dir);
	mnt_context_disable_helpers(cxt, 1);
	mnt_context_enable_lazy(cxt, o->lazy);
	mnt_context_enable_force(cxt, o->force);
	mnt_context_enable_rdonly_umount(cxt, o->read_only);
	rc = mnt_context_umount(cxt);
	status = mnt_context_get_excode(cxt, rc, msg, sizeof(msg));
	if (status != 0 || msg[0] != '\0')
		fprintf(stderr, "umount: %s: %s\n", o->dir, msg[0] != '\0' ? msg : "umount failed");
	mnt_free_context(cxt);
	return status;
}

/* umount(8) calls this program as the user that called it, who may not unmount; fusermount3(1) may,
 * what is that user's. */
static int umount_as_user(const struct umount_opts *o)
{
	int err = fusermount_unmount(o->dir, o->lazy);

	if (err < 0 && err != -EPERM)
		fprintf(stderr, "umount: %s: fusermount3: %s\n", o->dir, strerror(-err));
	return err < 0 ? MNT_EX_FAIL : 0;
}

static bool is_unmounting(pid_t pid)
{
	struct json_object *hello, *state;
	bool res = true; /* no answer: it is at its end, or past it */

	if (control_ask(pid, "hello", &hello) < 0)
		return true;
	if (json_object_object_get_ex(hello, "state", &state))
		res = strcmp(json_object_get_string(state), "mounted") != 0;
	json_object_put(hello);
	return res;
}

static int report(const struct umount_opts *o, struct json_object *answer)
{
	struct json_object *v;
	int status = 0;

	if (!json_object_object_get_ex(answer, "result", &v) ||
		strcmp(json_object_get_string(v), "clean") != 0) {
		const char *why = json_object_object_get_ex(answer, "error", &v)
					  ? json_object_get_string(v)
					  : "?";

		fprintf(stderr,
			"umount: %s: unmounted, but the filesystem is not clean: %s; the next "
			"mount recovers it\n",
			o->dir, why);
		status = MNT_EX_FAIL;
	} else if (o->verbose) {
		printf("umount: %s: unmounted, and the disk is clean\n", o->dir);
	}
	json_object_put(answer);
	return status;
}

/* FD: a "wait" sent to the daemon PID before the unmount. */
static int wait_clean(const struct umount_opts *o, pid_t pid, int fd)
{
	struct json_object *answer;
	int err;

	err = control_receive(fd, HEARD_MS, &answer);
	if (err == -ETIMEDOUT && !is_unmounting(pid)) {
		fprintf(stderr,
			"umount: %s: unmounted here, but another mount namespace or process still "
			"has it: "
			"the disk stays open\n",
			o->dir);
		return 0;
	}
	if (err == -ETIMEDOUT)
		err = control_receive(fd, -1, &answer);
	if (err == 0)
		return report(o, answer);
	fprintf(stderr,
		"umount: %s: unmounted, but its daemon died before the disk was clean; the next "
		"mount recovers it\n",
		o->dir);
	return MNT_EX_FAIL;
}

/* What the kernel writes on the way out would wait for a thaw, and umount(8) with it. */
static void thaw(const struct umount_opts *o, pid_t pid)
{
	struct json_object *answer;

	if (control_ask(pid, "thaw", &answer) < 0)
		return;
	if (!json_object_object_get_ex(answer, "error", NULL))
		fprintf(stderr, "umount: %s: was frozen; thawed\n", o->dir);
	json_object_put(answer);
}

int umount_main(int argc, char **argv)
{
	struct umount_opts o = {0};
	char dev[32];
	pid_t pid = 0;
	int fd = -1, status, err;

	if (parse(argc, argv, &o) < 0)
		return usage();
	if (o.ns != NULL && (err = namespace_enter(o.ns)) < 0) {
		fprintf(stderr, "umount: namespace %s: %s\n", o.ns, strerror(-err));
		return MNT_EX_SYSERR;
	}
	if (mounted_dev(o.dir, dev, sizeof(dev)) == 0 && control_find("dev", dev, &pid) == 0) {
		thaw(&o, pid);
		fd = o.lazy ? -1 : control_send(pid, "wait");
	}
	status = geteuid() != 0 && !o.force && !o.read_only ? umount_as_user(&o) : plain_umount(&o);
	if (status == 0 && fd >= 0 && !still_mounted(dev))
		status = wait_clean(&o, pid, fd);
	if (fd >= 0)
		close(fd);
	return status;
}
