/* dev_ring.h - the device's side of a virtqueue, split or packed, for a device that may lie: it
 * takes what the driver made available, and writes whatever it is told to the used ring.
 *
 * Ring memory may hold anything: nothing outside of DMA memory is touched for it. */
#ifndef VBLKFS_FUZZ_DEV_RING_H
#define VBLKFS_FUZZ_DEV_RING_H
#include "fz.h"

#define DEV_SEGS_MAX 160U

struct dev_seg {
	uint8_t *mem;
	uint32_t bytes;
	bool writable;
};

struct dev_chain {
	uint16_t id;
	uint16_t skip; /* how far the next used entry is: descriptors of a packed ring, else one */
	bool sane;     /* every segment is DMA memory, readable ones first, as 2.7.4.2 wants it */
	unsigned nr;
	uint64_t in_bytes;
	struct dev_seg seg[DEV_SEGS_MAX];
};

struct dev_ring {
	const struct fz_dma *dma;
	bool packed;
	uint16_t size;
	uint64_t desc, driver, device; /* addresses, as the driver gave them */
	uint16_t avail, used;          /* next to take, next to write */
	bool avail_wrap, used_wrap;
};

/* False: the parts are not in DMA memory. */
bool dev_ring_start(struct dev_ring *r, const struct fz_dma *dma, bool packed, uint16_t size,
	uint64_t desc, uint64_t driver, uint64_t device);
bool dev_ring_take(struct dev_ring *r, struct dev_chain *out); /* false: there is none */
/* SKIP: the chain's, or with IN_ORDER the sum of those that ID speaks for. */
void dev_ring_use(struct dev_ring *r, uint32_t id, uint32_t bytes, uint16_t skip);
void dev_ring_jump(struct dev_ring *r, uint16_t by); /* the used index, nothing else */
/* VAL into the 4 bytes at OFF of descriptors, driver's and device's part, as if they lay behind
 * each other; OFF wraps around. */
void dev_ring_scribble(struct dev_ring *r, uint32_t off, uint32_t val);
#endif
