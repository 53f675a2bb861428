/* dev_blk.h - the honest half of a virtio-blk device: requests that it took from rings, and what it
 * does with them. */
#ifndef VBLKFS_FUZZ_DEV_BLK_H
#define VBLKFS_FUZZ_DEV_BLK_H
#include "dev_ring.h"

#define DEV_TAKEN_MAX 12U

struct dev_blk_ops { /* of who drives the driver */
	/* An honest device moves data of SECTOR on to or from MEM. */
	void (*data)(void *arg, bool to_device, uint64_t sector, uint8_t *mem, uint32_t bytes,
		uint64_t at);
	void *arg;
};

struct dev_taken {
	unsigned queue;
	struct dev_chain chain;
};

struct dev_blk {
	const struct dev_blk_ops *ops;
	bool dirty; /* it lied on a ring: a request may seem done that is not; data is not moved */
	unsigned nr_taken;
	struct dev_taken taken[DEV_TAKEN_MAX]; /* last */
};

struct virtio_blk_config dev_blk_config(uint16_t nr_queues);
bool dev_blk_take(struct dev_blk *b, struct dev_ring *ring, unsigned queue);
/* The request number I, with STATUS; RING NULL: its ring is no more. */
void dev_blk_finish(struct dev_blk *b, struct dev_ring *ring, unsigned i, uint8_t status);
void dev_blk_forget(struct dev_blk *b, unsigned queue); /* what it took from there */
#endif
