/* virtio_blk.h - the virtio block device's driver, behind include/blockdev.h. */
#ifndef VBLKFS_VIRTIO_BLK_H
#define VBLKFS_VIRTIO_BLK_H
#include "disk.h"
#include "hw.h"
#include "virtio_bus.h"

#define VBLK_RINGS_MAX 64U

/* The disk behind HW. On success it owns HW; on failure HW is closed, and ERR has one line for the
 * user. OPTS may be NULL. */
int vblk_open_hw(struct hw *hw, const struct disk_opts *opts, struct blockdev **out, char *err,
	size_t err_bytes);

/* How worn the device is, as eMMC counts it: PRE_EOL 1 normal, 2 warning (80 % of the reserved blocks
 * are used), 3 urgent (90 %); TYP_A and TYP_B 1 to 10: up to so many tenths of the life are over, 11:
 * more than all of it. 0, and what is not named: unknown. */
struct vblk_lifetime {
	bool known;
	uint16_t pre_eol, typ_a, typ_b;
};

/* What the device is, for people to look at. Fields of features that were not negotiated are 0. */
struct vblk_detail {
	const char *transport;
	const char *driver; /* the kernel's, by which it is reached; NULL: none */
	bool has_irq;
	unsigned nr_vectors; /* 0: the interrupt is a line */
	bool busy; /* it is being reset, or its cache set: status and configuration are 0 here */
	uint8_t status;
	uint64_t offered, features;
	uint32_t size_max,
		seg_max; /* these as the device has them: 0 may mean that there is none */
	uint32_t discard_sectors, discard_seg, discard_align;
	uint32_t zeroes_sectors, zeroes_seg;
	bool zeroes_may_unmap;
	uint32_t erase_sectors, erase_seg, erase_align;
	struct vblk_lifetime lifetime; /* when it was opened */
	uint16_t cylinders;
	uint8_t heads, sectors;
	uint8_t physical_exp, alignment_offset; /* the offset in logical blocks, as are the next */
	uint16_t min_io_blocks;
	uint32_t opt_io_blocks;
	unsigned nr_rings;
	struct {
		char name[16];
		unsigned size;       /* entries */
		unsigned max_size;   /* that the device has room for */
		unsigned max_segs;   /* of data, in a request */
		unsigned nr_handles; /* threads */
	} ring[VBLK_RINGS_MAX];
	unsigned nr_regions;
	struct virtio_region region[VIRTIO_REGIONS_MAX];
};
/* Waits for no reset. -ENODEV: no virtio disk. */
int vblk_describe(struct blockdev *dev, struct vblk_detail *out);
const char *vblk_transport(const struct blockdev *dev); /* NULL: no virtio disk */
const char *virtio_blk_feature_name(unsigned bit);      /* NULL: not known */

/* Reset the device and go on: what it has is finished first, and nothing is lost. -EOPNOTSUPP: it
 * can't be; -EAGAIN: it is away; -ETIMEDOUT: it does not finish, and can't be reset before. */
int vblk_reset_disk(struct blockdev *dev);
/* The same for queue INDEX alone; it has SIZE entries then, a power of two, or (0) as many as before.
 * -EINVAL: there is no such queue, or it can't have so many; -ETIMEDOUT: the device did not finish what
 * it has, and, unless FORCE, is not asked to forget it (nor if it is known not to); -ENOMEM: it was
 * reset, but there is no memory for that size; -ECANCELED: the device was reset instead, and the queue
 * has the size that it had; -EOPNOTSUPP: it has no RING_RESET. */
int vblk_reset_queue(struct blockdev *dev, unsigned index, unsigned size, bool force);
/* Let the device cache what is written, or not; what was written before is durable then.
 * -EOPNOTSUPP: it can't be set; -EAGAIN: it is away. */
int vblk_set_cache(struct blockdev *dev, bool writeback);

/* Attributes of the device, see virtio_attribute(). -ENODEV: DEV is not a virtio disk. */
int vblk_attribute(struct blockdev *dev, const char *name, char *buf, size_t bytes);
#endif
