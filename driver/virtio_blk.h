/* virtio_blk.h - the virtio block device's driver, behind include/blockdev.h. */
#ifndef VBLKFS_VIRTIO_BLK_H
#define VBLKFS_VIRTIO_BLK_H
#include "disk.h"
#include "hw.h"

/* The disk behind HW. On success it owns HW; on failure HW is closed, and ERR has one line for the
 * user. OPTS may be NULL. */
int vblk_open_hw(struct hw *hw, const struct disk_opts *opts, struct blockdev **out, char *err,
	size_t err_bytes);

/* Attributes of the device, see virtio_attribute(). -ENODEV: DEV is not a virtio disk. */
int vblk_attribute(struct blockdev *dev, const char *name, char *buf, size_t bytes);
#endif
