/* disk.c - which kind of disk a name means. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "disk.h"
#include "pci_disk.h"
#include "run_dir.h"

bool disk_parse_address(const char *source, char *out, size_t bytes)
{
	unsigned domain = 0, bus, slot, function;
	int end = 0;

	if (strncmp(source, "virtio:", 7) == 0)
		source += 7;
	if (sscanf(source, "%4x:%2x:%2x.%1x%n", &domain, &bus, &slot, &function, &end) != 4) {
		domain = 0;
		end = 0;
		if (sscanf(source, "%2x:%2x.%1x%n", &bus, &slot, &function, &end) != 3)
			return false;
	}
	if (source[end] != '\0')
		return false;
	/* Whether a bus has room for such a slot is not a question of form: it is not there. */
	snprintf(out, bytes, "%04x:%02x:%02x.%x", domain, bus, slot, function);
	return true;
}

bool disk_is_pci(const char *source)
{
	char address[32];

	return disk_parse_address(source, address, sizeof(address));
}

const char *disk_socket(const char *source)
{
	static const char prefix[] = "vhost-user:";

	return strncmp(source, prefix, sizeof(prefix) - 1) == 0 ? source + sizeof(prefix) - 1
								: NULL;
}

const char *disk_tag(const char *source, const char *key)
{
	size_t n = strlen(key);

	return strncasecmp(source, key, n) == 0 && source[n] == '=' ? source + n + 1 : NULL;
}

/* Who searches has each free disk open for a moment: the next one is not to find it in use then. -1:
 * no lock, as for those who can open none of them. */
static int lock_search(void)
{
	int fd;

	if (mkdir(RUN_DIR, 0755) < 0 && errno != EEXIST)
		return -1;
	fd = open(RUN_DIR "/search.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd >= 0)
		(void)flock(fd, LOCK_EX);
	return fd;
}

static int find_unlocked(disk_is_it_fn is_it, const void *arg, const struct disk_opts *opts,
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
		if (vblk_open(disks[i].address, opts, out, last, sizeof(last)) < 0)
			continue; /* in use, mostly */
		if (is_it(*out, arg)) {
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

int disk_find(disk_is_it_fn is_it, const void *arg, const struct disk_opts *opts,
	struct blockdev **out, char *err, size_t err_bytes)
{
	int lock = lock_search(), res = find_unlocked(is_it, arg, opts, out, err, err_bytes);

	if (lock >= 0)
		close(lock);
	return res;
}

static bool has_serial(struct blockdev *dev, const void *arg)
{
	struct blk_info info;

	blk_get_info(dev, &info);
	return strcmp(info.serial, arg) == 0;
}

/* The record that bind made is asked first: so those that are not it need not be opened. */
static int open_serial(const char *serial, const struct disk_opts *opts, struct blockdev **out,
	char *err, size_t err_bytes)
{
	struct pci_disk *disks;
	int n = pci_disk_list(&disks), res = -ENODEV;

	for (int i = 0; i < n && res == -ENODEV; i++) {
		if (!pci_disk_is_ours(&disks[i]) || strcmp(disks[i].serial, serial) != 0)
			continue;
		res = vblk_open(disks[i].address, opts, out, err, err_bytes);
		if (res == 0 && !has_serial(*out, serial)) { /* there is another one by now */
			blk_close(*out);
			res = -ENODEV;
		}
	}
	if (n > 0)
		free(disks);
	return res == -ENODEV ? disk_find(has_serial, serial, opts, out, err, err_bytes) : res;
}

int disk_open(const char *source, const struct disk_opts *opts, struct blockdev **out, char *err,
	size_t err_bytes)
{
	char address[32];

	if (disk_parse_address(source, address, sizeof(address)))
		return vblk_open(address, opts, out, err, err_bytes);
	if (disk_tag(source, "serial") != NULL)
		return open_serial(disk_tag(source, "serial"), opts, out, err, err_bytes);
	if (disk_socket(source) != NULL)
		return vblk_open_socket(disk_socket(source), opts, out, err, err_bytes);
	return image_open(source, opts, out, err, err_bytes);
}
