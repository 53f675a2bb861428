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

int verb_trim(const struct verb_args *a)
{
	struct json_object *hello;
	uint64_t trimmed = 0;
	char size[32];
	pid_t pid;
	int err;

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
	if (a->json) {
		struct json_object *o = json_object_new_object();

		json_object_object_add(o, "trimmed_bytes", json_object_new_uint64(trimmed));
		return print_json(o);
	}
	printf("%s: %s trimmed\n", a->argv[0], human_bytes(trimmed, size, sizeof(size)));
	return EXIT_OK;
}
