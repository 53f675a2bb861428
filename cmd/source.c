/* source.c - uuid=, label= and serial=: look at each disk that is ours to look at.
 *
 * In capitals mount(8) would look for the first two itself, among the kernel's disks, and give up;
 * so small letters do, too. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <uuid/uuid.h>
#include "pci_disk.h"
#include "source.h"
#include "vblkfs.h"

/* A daemon that was killed a moment ago may still hold its disk. */
#define BUSY_TRIES    20
#define BUSY_PAUSE_NS 50000000L

static bool has_tag(struct blockdev *dev, const char *key, const char *value)
{
	struct blk_info info;
	struct fs_ident ident;
	uuid_t uuid;

	if (strcmp(key, "serial") == 0) {
		blk_get_info(dev, &info);
		return strcmp(info.serial, value) == 0;
	}
	if (fs_identify(dev, &ident) < 0)
		return false;
	if (strcmp(key, "label") == 0)
		return strcmp(ident.label, value) == 0;
	return uuid_parse(value, uuid) == 0 && uuid_compare(uuid, ident.uuid) == 0;
}

static int open_by_tag(const char *key, const char *value, const struct disk_opts *opts,
	struct blockdev **out, char *err, size_t err_bytes)
{
	struct pci_disk *disks;
	char last[256] = "";
	int n, nr_ours = 0;

	n = pci_disk_list(&disks);
	if (n < 0) {
		snprintf(err, err_bytes, "cannot list the disks: %s", strerror(-n));
		return n;
	}
	for (int i = 0; i < n; i++) {
		if (!pci_disk_is_ours(&disks[i]))
			continue;
		nr_ours++;
		if (disk_open(disks[i].address, opts, out, last, sizeof(last)) < 0)
			continue; /* in use, mostly */
		if (has_tag(*out, key, value)) {
			free(disks);
			return 0;
		}
		blk_close(*out);
	}
	free(disks);
	snprintf(err, err_bytes, "not found on %d bound disks%s%s; see vblkctl list", nr_ours,
		last[0] != '\0' ? "; one failed: " : "", last);
	return -ENODEV;
}

static int open_once(const char *source, const struct disk_opts *opts, struct blockdev **out,
	char *err, size_t err_bytes)
{
	static const char *const keys[] = {"uuid", "label", "serial"};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		size_t n = strlen(keys[i]);

		if (strncasecmp(source, keys[i], n) == 0 && source[n] == '=')
			return open_by_tag(keys[i], source + n + 1, opts, out, err, err_bytes);
	}
	return disk_open(source, opts, out, err, err_bytes);
}

int source_open(const char *source, const struct disk_opts *opts, struct blockdev **out, char *err,
	size_t err_bytes)
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
