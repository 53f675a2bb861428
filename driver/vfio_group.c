/* vfio_group.c - see vfio_group.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "sysfs.h"
#include "vfio_group.h"

#define CONTAINER  "/dev/vfio/vfio"
#define ALIGN      (2ULL << 20) /* as hugepages are */
#define IOVA_FIRST ALIGN        /* 0 would look like no address */

/* --- the group --- */

static int group_name(const char *address, char *out, size_t bytes)
{
	return sysfs_link_name(out, bytes, PCI_DEVICES "/%s/iommu_group", address);
}

/* Drivers that use no DMA of their own, or hand it on. */
static bool is_harmless(const char *driver)
{
	static const char *const known[] = {HW_DRIVER_VFIO, "pci-stub", "pcieport"};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(driver, known[i]) == 0)
			return true;
	return false;
}

/* What keeps the group of ADDRESS from user space: another function, and its driver. */
static bool find_stranger(const char *address, char *out, size_t bytes)
{
	char path[96], driver[64];
	struct dirent *e;
	bool found = false;
	DIR *dir;

	(void)snprintf(path, sizeof(path), PCI_DEVICES "/%s/iommu_group/devices", address);
	dir = opendir(path);
	if (dir == NULL)
		return false;
	while (!found && (e = readdir(dir)) != NULL) {
		if (e->d_name[0] == '.' || strcmp(e->d_name, address) == 0 ||
			sysfs_link_name(
				driver, sizeof(driver), PCI_DEVICES "/%s/driver", e->d_name) < 0 ||
			is_harmless(driver))
			continue;
		(void)snprintf(out, bytes, "%.32s (driver %.32s)", e->d_name, driver);
		found = true;
	}
	closedir(dir);
	return found;
}

static int fail_viable(const struct hw_reason *why, const char *group)
{
	char stranger[80] = "another function";

	(void)find_stranger(why->address, stranger, sizeof(stranger));
	return hw_fail(why, -EBUSY,
		"IOMMU group %s has %s in it, too: the kernel gives a group to user space whole "
		"or not at all; use " HW_DRIVER_UIO,
		group, stranger);
}

int vfio_group_check(const struct hw_reason *why)
{
	char group[32], stranger[80];

	if (group_name(why->address, group, sizeof(group)) < 0)
		return hw_fail(why, -ENODEV,
			"it is behind no IOMMU, which " HW_DRIVER_VFIO
			" needs: switch it on (boot with intel_iommu=on), or use " HW_DRIVER_UIO);
	if (find_stranger(why->address, stranger, sizeof(stranger)))
		return fail_viable(why, group);
	return 0;
}

static int open_container(const struct hw_reason *why, struct vfio_group *g)
{
	g->container = open(CONTAINER, O_RDWR | O_CLOEXEC);
	if (g->container < 0)
		return hw_fail_errno(why, -errno, CONTAINER);
	if (ioctl(g->container, VFIO_GET_API_VERSION) == VFIO_API_VERSION &&
		ioctl(g->container, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) > 0)
		return 0;
	close(g->container);
	return hw_fail(why, -EOPNOTSUPP,
		"the kernel's VFIO has no IOMMU of type 1 (modprobe vfio_iommu_type1)");
}

static int open_group_file(const struct hw_reason *why, const char *name)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/dev/vfio/%s", name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	if (errno == EACCES || errno == EPERM)
		return hw_fail(why, -EACCES, "%s: %s; run as root, or give it to this user", path,
			strerror(errno));
	if (errno == EBUSY)
		return hw_fail(why, -EBUSY, "its IOMMU group %s is open in another program", name);
	if (errno == ENOENT)
		return hw_fail(why, -ENODEV, "no %s: VFIO without an IOMMU is not supported", path);
	return hw_fail_errno(why, -errno, path);
}

static int join(const struct hw_reason *why, const struct vfio_group *g, const char *name)
{
	struct vfio_group_status status = {.argsz = sizeof(status)};

	if (ioctl(g->group, VFIO_GROUP_GET_STATUS, &status) < 0)
		return hw_fail_errno(why, -errno, "its IOMMU group can't be asked");
	if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
		return fail_viable(why, name);
	if (ioctl(g->group, VFIO_GROUP_SET_CONTAINER, &g->container) < 0 ||
		ioctl(g->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0)
		return hw_fail_errno(why, -errno, "its IOMMU can't be set up");
	return 0;
}

/* --- addresses --- */

/* The largest range, its ends moved to multiples of 2 MiB. */
static void take_ranges(
	struct vfio_group *g, const struct vfio_iommu_type1_info_cap_iova_range *ranges)
{
	for (uint32_t i = 0; i < ranges->nr_iovas; i++) {
		uint64_t first = ranges->iova_ranges[i].start;
		uint64_t end = (ranges->iova_ranges[i].end + 1) & ~(ALIGN - 1);

		if (ranges->iova_ranges[i].end == UINT64_MAX)
			end = -ALIGN;
		first = first < IOVA_FIRST ? IOVA_FIRST : (first + ALIGN - 1) & ~(ALIGN - 1);
		if (end > first && end - first > g->iova_end - g->iova) {
			g->iova = first;
			g->iova_end = end;
		}
	}
}

/* INFO is a list whose links count from its start. */
static void walk_info(struct vfio_group *g, const struct vfio_iommu_type1_info *info)
{
	uint32_t at = info->flags & VFIO_IOMMU_INFO_CAPS ? info->cap_offset : 0;

	while (at != 0 && at <= info->argsz - sizeof(struct vfio_info_cap_header)) {
		const struct vfio_info_cap_header *cap = (const void *)((const uint8_t *)info + at);

		if (cap->id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)
			take_ranges(g, (const void *)cap);
		at = cap->next > at ? cap->next : 0;
	}
}

static int find_addresses(const struct hw_reason *why, struct vfio_group *g)
{
	struct vfio_iommu_type1_info size = {.argsz = sizeof(size)}, *info;

	g->iova = g->iova_end = 0;
	if (ioctl(g->container, VFIO_IOMMU_GET_INFO, &size) < 0)
		return hw_fail_errno(why, -errno, "its IOMMU can't be asked");
	info = calloc(1, size.argsz);
	if (info == NULL)
		return hw_fail(why, -ENOMEM, "no memory");
	info->argsz = size.argsz;
	if (ioctl(g->container, VFIO_IOMMU_GET_INFO, info) == 0)
		walk_info(g, info);
	free(info);
	if (g->iova_end == 0)
		return hw_fail(why, -EOPNOTSUPP,
			"the kernel does not tell which addresses the IOMMU takes (Linux 5.4 "
			"does)");
	return 0;
}

int vfio_map(const struct vfio_group *g, void *mem, uint64_t iova, uint64_t bytes)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)mem,
		.iova = iova,
		.size = bytes,
	};

	return ioctl(g->container, VFIO_IOMMU_MAP_DMA, &map) < 0 ? -errno : 0;
}

/* --- beginning and end --- */

int vfio_group_open(const struct hw_reason *why, struct vfio_group *g)
{
	char name[32];
	int err = vfio_group_check(why);

	if (err < 0)
		return err;
	(void)group_name(why->address, name, sizeof(name));
	g->group = open_group_file(why, name);
	if (g->group < 0)
		return g->group;
	err = open_container(why, g);
	if (err < 0)
		goto close_group;
	err = join(why, g, name);
	if (err < 0)
		goto close_container;
	err = find_addresses(why, g);
	if (err < 0)
		goto close_container;
	g->device = ioctl(g->group, VFIO_GROUP_GET_DEVICE_FD, why->address);
	if (g->device >= 0)
		return 0;
	err = hw_fail_errno(why, -errno, "it can't be had from its IOMMU group");

close_container:
	close(g->container);
close_group:
	close(g->group);
	return err;
}

void vfio_group_close(struct vfio_group *g)
{
	close(g->device);
	close(g->group);
	close(g->container);
}
