/* vq_packed.h - the packed ring, for virtqueue.c, which passes each of its calls on: see virtqueue.h
 * for what they mean. */
#ifndef VBLKFS_VQ_PACKED_H
#define VBLKFS_VQ_PACKED_H
#include "virtqueue.h"

int vqp_create(struct virtio_device *vdev, uint16_t size, struct vq_packed **out);
void vqp_destroy(struct vq_packed *p, bool leak);
void vqp_reset(struct vq_packed *p);
struct vq_addresses vqp_addresses(const struct vq_packed *p);
unsigned vqp_max_segs(const struct vq_packed *p);
bool vqp_has_room(const struct vq_packed *p, unsigned nr_segs);
int vqp_add(struct vq_packed *p, const struct vq_seg *seg, unsigned nr_out, unsigned nr_in,
	void *token);
bool vqp_kick_prepare(struct vq_packed *p);
unsigned vqp_nr_unkicked(const struct vq_packed *p);
uint16_t vqp_notification_data(const struct vq_packed *p);
void *vqp_get_buf(struct virtqueue *vq);
void vqp_disable_cb(struct vq_packed *p);
bool vqp_enable_cb(struct vq_packed *p); /* what the device did; not whether the queue is broken */
#endif
