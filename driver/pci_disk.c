/* pci_disk.c - see pci_disk.h. Nothing here touches a device: what a function bound to
 * a user-space driver holds is known from the record that bind made. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "disk.h"
#include "hw.h"
#include "pci_disk.h"
#include "run_dir.h"
#include "sysfs.h"
#include "virtio.h"

#define DEVICES "/sys/bus/pci/devices"

static void record_path(const char *address, char *out, size_t bytes)
{
	snprintf(out, bytes, RUN_DIR "/%s.json", address);
}

static void record_read(struct pci_disk *d)
{
	struct json_object *o, *v;
	char path[64];

	record_path(d->address, path, sizeof(path));
	o = json_object_from_file(path);
	if (o == NULL)
		return;
	if (json_object_object_get_ex(o, "old_driver", &v))
		snprintf(d->old_driver, sizeof(d->old_driver), "%s", json_object_get_string(v));
	if (json_object_object_get_ex(o, "serial", &v))
		snprintf(d->serial, sizeof(d->serial), "%s", json_object_get_string(v));
	if (json_object_object_get_ex(o, "bytes", &v))
		d->bytes = json_object_get_uint64(v);
	json_object_put(o);
}

int pci_disk_record_write(const struct pci_disk *d)
{
	struct json_object *o = json_object_new_object();
	char path[64];
	int err = 0;

	if (mkdir(RUN_DIR, 0700) < 0 && errno != EEXIST)
		err = -errno;
	json_object_object_add(o, "old_driver", json_object_new_string(d->driver));
	json_object_object_add(o, "serial", json_object_new_string(d->serial));
	json_object_object_add(o, "bytes", json_object_new_uint64(d->bytes));
	record_path(d->address, path, sizeof(path));
	if (err == 0 && json_object_to_file(path, o) < 0)
		err = -EIO;
	json_object_put(o);
	return err;
}

void pci_disk_record_remove(const struct pci_disk *d)
{
	char path[64];

	record_path(d->address, path, sizeof(path));
	(void)unlink(path);
}

static uint16_t id_of(const char *address, const char *what)
{
	uint64_t v = 0;

	(void)sysfs_read_u64(&v, DEVICES "/%s/%s", address, what);
	return (uint16_t)v;
}

/* The block device that virtio_blk made of it: .../virtio0/block/vda. */
static void look_at_kernel_disk(struct pci_disk *d)
{
	char virtio[32];
	uint64_t sectors = 0;

	if (sysfs_child(virtio, sizeof(virtio), "virtio", DEVICES "/%s", d->address) < 0 ||
		sysfs_child(d->block, sizeof(d->block), "", DEVICES "/%s/%s/block", d->address,
			virtio) < 0)
		return;
	(void)sysfs_read_u64(&sectors, "/sys/class/block/%s/size", d->block);
	d->bytes = sectors * 512;
	(void)sysfs_read(d->serial, sizeof(d->serial), "/sys/class/block/%s/serial", d->block);
}

static void look_at(const char *address, struct pci_disk *d)
{
	memset(d, 0, sizeof(*d));
	snprintf(d->address, sizeof(d->address), "%s", address);
	d->vendor = id_of(address, "vendor");
	d->device = id_of(address, "device");
	d->subvendor = id_of(address, "subsystem_vendor");
	d->subdevice = id_of(address, "subsystem_device");
	d->revision = (uint8_t)id_of(address, "revision");
	(void)sysfs_link_name(d->driver, sizeof(d->driver), DEVICES "/%s/driver", address);
}

static bool is_disk(const struct pci_disk *d)
{
	return virtio_pci_is_blk(d->vendor, d->device, d->subdevice);
}

static void look_at_node(struct pci_disk *d)
{
	char group[16];

	if (strcmp(d->driver, HW_DRIVER_UIO) == 0)
		(void)sysfs_child(d->node, sizeof(d->node), "uio", DEVICES "/%s/uio", d->address);
	else if (strcmp(d->driver, HW_DRIVER_VFIO) == 0 &&
		 sysfs_link_name(group, sizeof(group), DEVICES "/%s/iommu_group", d->address) == 0)
		snprintf(d->node, sizeof(d->node), "vfio/%s", group);
}

static void look_closer(struct pci_disk *d)
{
	record_read(d);
	look_at_kernel_disk(d);
	look_at_node(d);
}

static int by_address(const void *a, const void *b)
{
	return strcmp(((const struct pci_disk *)a)->address, ((const struct pci_disk *)b)->address);
}

int pci_disk_list(struct pci_disk **out)
{
	struct pci_disk *all = NULL;
	struct dirent *e;
	DIR *dir = opendir(DEVICES);
	int n = 0;

	*out = NULL;
	if (dir == NULL)
		return errno == ENOENT ? 0 : -errno; /* no PCI, no disks */
	while ((e = readdir(dir)) != NULL) {
		struct pci_disk d, *more;

		if (e->d_name[0] == '.')
			continue;
		look_at(e->d_name, &d);
		if (!is_disk(&d))
			continue;
		look_closer(&d);
		more = realloc(all, (size_t)(n + 1) * sizeof(*all));
		if (more == NULL) {
			closedir(dir);
			free(all);
			return -ENOMEM;
		}
		all = more;
		all[n++] = d;
	}
	closedir(dir);
	if (n > 0)
		qsort(all, (size_t)n, sizeof(*all), by_address);
	*out = all;
	return n;
}

int pci_disk_find(const char *address, struct pci_disk *out, char *err, size_t err_bytes)
{
	char full[32], path[128];

	if (!disk_parse_address(address, full, sizeof(full))) {
		snprintf(err, err_bytes, "%s: not a PCI address (like 0000:00:05.0)", address);
		return -EINVAL;
	}
	snprintf(path, sizeof(path), DEVICES "/%s", full);
	if (access(path, F_OK) < 0) {
		snprintf(err, err_bytes, "%s: no such PCI function; 'vblkctl list' shows the disks",
			full);
		return -ENODEV;
	}
	look_at(full, out);
	if (!is_disk(out)) {
		snprintf(err, err_bytes,
			"%s: not a virtio block device (it is %04x:%04x); 'vblkctl list' shows the "
			"disks",
			full, out->vendor, out->device);
		return -ENODEV;
	}
	look_closer(out);
	return 0;
}

bool pci_disk_is_ours(const struct pci_disk *d)
{
	return strcmp(d->driver, HW_DRIVER_UIO) == 0 || strcmp(d->driver, HW_DRIVER_VFIO) == 0;
}
