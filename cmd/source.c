/* source.c - uuid= and label=: look at each disk that is ours to look at.
 *
 * In capitals mount(8) would look for them itself, among the kernel's disks, and give up; so small
 * letters do, too. */
#include <errno.h>
#include <string.h>
#include <time.h>
#include <uuid/uuid.h>
#include "bind_list.h"
#include "source.h"
#include "vblkfs.h"

/* A daemon that was killed a moment ago may still hold its disk. */
#define BUSY_TRIES    20
#define BUSY_PAUSE_NS 50000000L

/* How long one may be with the kernel yet that is for udev's rule to bind: less than the 90 s that
 * systemd gives to a mount. */
#define BIND_WAIT_S   60
#define BIND_PAUSE_NS 200000000L

static time_t now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

static bool has_label(struct blockdev *dev, const void *label)
{
	struct fs_ident ident;

	return fs_identify(dev, &ident) == 0 && strcmp(ident.label, label) == 0;
}

static bool has_uuid(struct blockdev *dev, const void *text)
{
	struct fs_ident ident;
	uuid_t uuid;

	return fs_identify(dev, &ident) == 0 && uuid_parse(text, uuid) == 0 &&
	       uuid_compare(uuid, ident.uuid) == 0;
}

static int open_once(const char *source, const struct disk_opts *opts, struct blockdev **out,
	char *err, size_t err_bytes)
{
	const char *label = disk_tag(source, "label"), *uuid = disk_tag(source, "uuid");

	if (label != NULL)
		return disk_find(has_label, label, opts, out, err, err_bytes);
	if (uuid != NULL)
		return disk_find(has_uuid, uuid, opts, out, err, err_bytes);
	return disk_open(source, opts, out, err, err_bytes);
}

static int open_in_a_moment(const char *source, const struct disk_opts *opts, struct blockdev **out,
	char *err, size_t err_bytes)
{
	struct timespec pause = {.tv_nsec = BUSY_PAUSE_NS};
	int res;

	for (int i = 0; i < BUSY_TRIES; i++) {
		res = open_once(source, opts, out, err, err_bytes);
		if (res != -EBUSY)
			break;
		nanosleep(&pause, NULL);
	}
	return res;
}

static bool may_be_bound_yet(const char *source)
{
	char address[32];

	if (disk_parse_address(source, address, sizeof(address)))
		return bind_list_is_pending(address);
	return (disk_tag(source, "serial") != NULL || disk_tag(source, "label") != NULL ||
		       disk_tag(source, "uuid") != NULL) &&
	       bind_list_is_pending(NULL);
}

/* At boot a mount is as early as udev. */
int source_open(const char *source, const struct disk_opts *opts, struct blockdev **out, char *err,
	size_t err_bytes)
{
	const struct timespec pause = {.tv_nsec = BIND_PAUSE_NS};
	const time_t deadline = now_s() + BIND_WAIT_S;
	bool pending;
	int res;

	for (;;) {
		/* Asked before, for it may be bound while we look. */
		pending = may_be_bound_yet(source);
		res = open_in_a_moment(source, opts, out, err, err_bytes);
		if (res == 0 || !pending || now_s() >= deadline)
			return res;
		nanosleep(&pause, NULL);
	}
}
