/* vblkctl_trim.c - the verb trim: the daemon of a mount tells its disk which blocks are free. */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "vblkctl.h"

static const char *why_not(int err)
{
	switch (err) {
	case -EOPNOTSUPP:
		return "the disk cannot discard";
	case -ENOTTY:
		return "no filesystem that can be trimmed is mounted there";
	case -EROFS:
		return "it is read-only";
	default:
		return strerror(-err);
	}
}

static int trim(const char *dir, uint64_t *trimmed)
{
	struct fstrim_range range = {.len = UINT64_MAX};
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (ioctl(fd, FITRIM, &range) < 0)
		err = -errno;
	close(fd);
	*trimmed = range.len;
	return err;
}

static int print_trimmed(const struct verb_args *a, const char *key, uint64_t bytes)
{
	struct json_object *o;
	char size[32];

	if (a->json) {
		o = json_object_new_object();
		json_object_object_add(o, key, json_object_new_uint64(bytes));
		return print_json(o);
	}
	printf("%s: %s %s\n", a->argv[0], human_bytes(bytes, size, sizeof(size)),
		a->secure ? "erased" : "trimmed");
	return EXIT_OK;
}

/* By the daemon: the kernel has no call for it. */
static int trim_secure(const struct verb_args *a)
{
	struct json_object *o = run_job(a->argv[0], "trim-secure");
	uint64_t erased;

	if (o == NULL)
		return EXIT_FAILED;
	erased = json_number(o, "erased_bytes");
	json_object_put(o);
	return print_trimmed(a, "erased_bytes", erased);
}

int verb_trim(const struct verb_args *a)
{
	struct json_object *hello;
	uint64_t trimmed = 0;
	pid_t pid;
	int err;

	if (a->secure)
		return trim_secure(a);
	if (find_target(a->argv[0], &pid) < 0)
		return EXIT_FAILED;
	hello = ask_daemon(a->argv[0], pid, "hello");
	if (hello == NULL)
		return EXIT_FAILED;
	err = trim(json_text(hello, "mountpoint"), &trimmed);
	json_object_put(hello);
	if (err < 0) {
		fprintf(stderr, "vblkctl: %s: %s\n", a->argv[0], why_not(err));
		return EXIT_FAILED;
	}
	return print_trimmed(a, "trimmed_bytes", trimmed);
}
