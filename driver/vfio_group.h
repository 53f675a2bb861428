/* vfio_group.h - a function that is bound to vfio-pci: its IOMMU group, the container with the
 * group's address space, and the function's own file. Linux's Documentation/driver-api/vfio.rst.
 *
 * Errors are negative errnos, with one line for the user. Threads: open and close from one at a
 * time; the rest from any. */
#ifndef VBLKFS_VFIO_GROUP_H
#define VBLKFS_VFIO_GROUP_H
#include "hw_open.h"

struct vfio_group {
	int container, group, device; /* descriptors */
	uint64_t iova, iova_end;      /* what a device's addresses may be; 2 MiB-aligned */
};

int vfio_group_open(const struct hw_reason *why, struct vfio_group *out);
/* Closes the device first: the kernel resets the function, and then ends its reach into memory. */
void vfio_group_close(struct vfio_group *g);

/* May a driver in user space have the function at ADDRESS at all? -ENODEV: it is behind no IOMMU;
 * -EBUSY: another function of its group has a driver of the kernel. */
int vfio_group_check(const struct hw_reason *why);

/* The device's reads and writes of IOVA reach MEM; both are aligned to 4096. The memory is pinned
 * till the container is closed. -ENOMEM, mostly: RLIMIT_MEMLOCK. */
int vfio_map(const struct vfio_group *g, void *mem, uint64_t iova, uint64_t bytes);
#endif
