/* holders.c - the ways to hold a disk: the kernel's holders (md, LVM, dm), loop devices, mounts and
 * swap, and plain open files.
 *
 * The last are found in /proc/PID/fd, which needs root to be complete; bind asks for root anyway.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libmount.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "holders.h"
#include "pci_disk.h"
#include "sysfs.h"

struct part { /* the disk itself, or one of its partitions; or the file of a user-space
		   driver */
	char name[64];
	mode_t type; /* S_IFBLK or S_IFCHR */
	dev_t dev;
};

#define PARTS_MAX 257

static int add_part(struct part *parts, int n, const char *disk, const char *name)
{
	char line[32];
	unsigned major, minor;
	int err;

	if (strcmp(disk, name) == 0)
		err = sysfs_read(line, sizeof(line), "/sys/class/block/%s/dev", disk);
	else
		err = sysfs_read(line, sizeof(line), "/sys/class/block/%s/%s/dev", disk, name);
	if (err < 0 || n == PARTS_MAX || sscanf(line, "%u:%u", &major, &minor) != 2)
		return n;
	snprintf(parts[n].name, sizeof(parts[n].name), "%s", name);
	parts[n].type = S_IFBLK;
	parts[n].dev = makedev(major, minor);
	return n + 1;
}

static int find_parts(const char *disk, struct part *parts)
{
	char path[128];
	struct dirent *e;
	int n = add_part(parts, 0, disk, disk);
	DIR *dir;

	snprintf(path, sizeof(path), "/sys/class/block/%s", disk);
	dir = opendir(path);
	if (dir == NULL)
		return n;
	while ((e = readdir(dir)) != NULL)
		if (strncmp(e->d_name, disk, strlen(disk)) == 0)
			n = add_part(parts, n, disk, e->d_name);
	closedir(dir);
	return n;
}

static int held_by_kernel(const struct part *p, char *out, size_t bytes)
{
	char holder[64], kind[64];

	if (sysfs_child(holder, sizeof(holder), "", "/sys/class/block/%s/holders", p->name) < 0)
		return 0;
	if (sysfs_read(kind, sizeof(kind), "/sys/class/block/%s/dm/name", holder) == 0)
		snprintf(out, bytes, "%s is held by %s (%s)", p->name, holder, kind);
	else
		snprintf(out, bytes, "%s is held by %s", p->name, holder);
	return 1;
}

static int mounted(const struct part *p, char *out, size_t bytes)
{
	struct libmnt_table *tab = mnt_new_table_from_file("/proc/self/mountinfo");
	struct libmnt_fs *fs;
	int found = 0;

	if (tab == NULL)
		return -EIO;
	fs = mnt_table_find_devno(tab, p->dev, MNT_ITER_BACKWARD);
	if (fs != NULL) {
		snprintf(out, bytes, "%s is mounted at %s", p->name, mnt_fs_get_target(fs));
		found = 1;
	}
	mnt_unref_table(tab);
	return found;
}

static int swapped(const struct part *p, char *out, size_t bytes)
{
	char line[512], path[256];
	FILE *f = fopen("/proc/swaps", "re");
	int found = 0;

	if (f == NULL)
		return errno == ENOENT ? 0 : -errno;
	while (!found && fgets(line, sizeof(line), f) != NULL) {
		struct stat st;

		if (sscanf(line, "%255s", path) != 1 || stat(path, &st) < 0 ||
			!S_ISBLK(st.st_mode) || st.st_rdev != p->dev)
			continue;
		snprintf(out, bytes, "%s is swap space", p->name);
		found = 1;
	}
	(void)fclose(f);
	return found;
}

static bool is_one_of(const struct stat *st, const struct part *parts, int n, int *which)
{
	for (*which = 0; *which < n; (*which)++)
		if ((st->st_mode & S_IFMT) == parts[*which].type &&
			st->st_rdev == parts[*which].dev)
			return true;
	return false;
}

/* A loop device opens its disk inside the kernel, where no process shows it. */
static int looped(const struct part *parts, int n, char *out, size_t bytes)
{
	struct dirent *e;
	DIR *dir = opendir("/sys/class/block");
	int found = 0;

	if (dir == NULL)
		return -errno;
	while (!found && (e = readdir(dir)) != NULL) {
		char path[256];
		struct stat st;
		int which;

		if (sysfs_read(path, sizeof(path), "/sys/class/block/%s/loop/backing_file",
			    e->d_name) < 0 ||
			stat(path, &st) < 0 || !is_one_of(&st, parts, n, &which))
			continue;
		snprintf(out, bytes, "%s is held by %s", parts[which].name, e->d_name);
		found = 1;
	}
	closedir(dir);
	return found;
}

static bool process_has_open(const char *pid, const struct part *parts, int n, int *which)
{
	char path[64];
	struct dirent *e;
	bool found = false;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
	dir = opendir(path);
	if (dir == NULL)
		return false;
	while (!found && (e = readdir(dir)) != NULL) {
		struct stat st;

		if (e->d_name[0] != '.' && fstatat(dirfd(dir), e->d_name, &st, 0) == 0)
			found = is_one_of(&st, parts, n, which);
	}
	closedir(dir);
	return found;
}

static int opened(const struct part *parts, int n, char *out, size_t bytes)
{
	struct dirent *e;
	DIR *dir = opendir("/proc");
	int found = 0, which = 0;

	if (dir == NULL)
		return -errno;
	while (!found && (e = readdir(dir)) != NULL) {
		char comm[32] = "?";

		if (e->d_name[0] < '0' || e->d_name[0] > '9' || atoi(e->d_name) == getpid() ||
			!process_has_open(e->d_name, parts, n, &which))
			continue;
		(void)sysfs_read(comm, sizeof(comm), "/proc/%s/comm", e->d_name);
		snprintf(out, bytes, "%s is open in process %.20s (%s)", parts[which].name,
			e->d_name, comm);
		found = 1;
	}
	closedir(dir);
	return found;
}

int holders_of(const char *block, char *out, size_t bytes)
{
	struct part *parts = calloc(PARTS_MAX, sizeof(*parts));
	int n, found = 0;

	if (parts == NULL)
		return -ENOMEM;
	n = find_parts(block, parts);
	for (int i = 0; i < n && found == 0; i++) {
		found = mounted(&parts[i], out, bytes);
		if (found == 0)
			found = swapped(&parts[i], out, bytes);
		if (found == 0)
			found = held_by_kernel(&parts[i], out, bytes);
	}
	if (found == 0)
		found = looped(parts, n, out, bytes);
	if (found == 0)
		found = opened(parts, n, out, bytes);
	free(parts);
	return found;
}

/* Of /dev/uio0, /dev/vfio/7 and their like. */
static int holders_of_node(const char *node, char *out, size_t bytes)
{
	struct part p;
	struct stat st;
	char path[64];

	snprintf(path, sizeof(path), "/dev/%s", node);
	if (stat(path, &st) < 0)
		return -errno;
	p = (struct part){.type = S_IFCHR, .dev = st.st_rdev};
	snprintf(p.name, sizeof(p.name), "%s", node);
	return opened(&p, 1, out, bytes);
}

int holders_of_disk(const struct pci_disk *d, char *out, size_t bytes)
{
	out[0] = '\0';
	if (d->block[0] != '\0')
		return holders_of(d->block, out, bytes);
	return d->node[0] != '\0' ? holders_of_node(d->node, out, bytes) : 0;
}

int holders_lock(const char *block)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/dev/%s", block);
	fd = open(path, O_RDONLY | O_EXCL | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return fd;
}
