/* virtqueue.h - one virtqueue: requests as lists of buffers go in, tokens come out when the device
 * has used them.
 *
 * Nothing here names a ring's layout: behind these calls stands the packed ring of virtio 1.2, 2.8,
 * when it is negotiated, else the split one of 2.7; both with indirect descriptors, event index and
 * use in order when those are.
 *
 * Addresses are the device's. Threads: one at a time per queue, but for vq_interrupt(). */
#ifndef VBLKFS_VIRTQUEUE_H
#define VBLKFS_VIRTQUEUE_H
#include "virtio_bus.h"

struct vq_seg {
	uint64_t addr;
	uint32_t bytes; /* not 0 */
};

static inline uint64_t vq_sum_bytes(const struct vq_seg *seg, unsigned nr)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < nr; i++)
		sum += seg[i].bytes;
	return sum;
}

struct vq_ring; /* the layouts' own */
struct vq_packed;

struct virtqueue {
	struct virtio_device *vdev;
	uint16_t index;
	uint16_t size;     /* entries */
	uint16_t max_size; /* that the device has room for */
	char name[16];
	void (*callback)(struct virtqueue *vq);
	uint64_t notify_addr;     /* the transport's, these two */
	uint16_t notify_data;     /* the queue, as the device wants it named */
	bool broken;              /* the device broke the ring's rules: nothing more comes out */
	struct vq_ring *ring;     /* one of the two is NULL */
	struct vq_packed *packed; /* by this one the layout is told */
};

struct vq_addresses { /* for the transport */
	uint64_t desc, driver, device;
};

/* The feature bits from 28 up that the rings know. */
uint64_t vq_known_features(void);

/* SIZE is a power of two, up to VRING_MAX_SIZE. The features are final. */
int vq_create(struct virtio_device *vdev, uint16_t index, uint16_t size,
	const struct virtqueue_info *info, struct virtqueue **out);
void vq_destroy(
	struct virtqueue *vq, bool leak); /* LEAK: the device may still write to its memory */
/* As just created, where it is: for a device that forgot it. */
void vq_reset(struct virtqueue *vq);
/* While the device does not have it: empty, and of SIZE, as for vq_create(). On failure it is as before. */
int vq_resize(struct virtqueue *vq, uint16_t size);
/* How many requests it is done with, modulo 65536, as the device counts them. Split rings only. */
uint16_t vq_used_idx(const struct virtqueue *vq);
void vq_get_addresses(const struct virtqueue *vq, struct vq_addresses *out);

unsigned vq_max_segs(const struct virtqueue *vq); /* the longest list that ever fits */
bool vq_has_room(const struct virtqueue *vq, unsigned nr_segs);

/* Put a request: SEG has NR_OUT buffers that the device reads, then NR_IN that it writes. TOKEN,
 * not NULL, comes back from vq_get_buf(). The device may not look before vq_kick_prepare().
 * -ENOSPC: no room now. */
int vq_add(struct virtqueue *vq, const struct vq_seg *seg, unsigned nr_out, unsigned nr_in,
	void *token);
/* Show the device what was added since the last time. True: it wants to be told, by vq_notify(). */
bool vq_kick_prepare(struct virtqueue *vq);
unsigned vq_nr_unkicked(const struct virtqueue *vq);
void vq_notify(struct virtqueue *vq);
/* How far requests have been shown: the upper half of a kick's word with NOTIFICATION_DATA (2.9). */
uint16_t vq_notification_data(const struct virtqueue *vq);

/* By the layouts: the device broke the ring's rules. */
void vq_break(struct virtqueue *vq, const char *what, unsigned value);

/* The next token that the device has done with; NULL: none now, or broken. */
void *vq_get_buf(struct virtqueue *vq);

/* Interrupts: a hint to the device. vq_enable_cb() returns true when there is something to get
 * already: then none may come. */
void vq_disable_cb(struct virtqueue *vq);
bool vq_enable_cb(struct virtqueue *vq);
void vq_interrupt(struct virtqueue *vq); /* by the transport */
#endif
