/* virtio_pci_modern.c - the registers of a virtio 1 device (virtio 1.2, 4.1.4).
 *
 * Invariants
 *  1. A structure that is used lies whole inside a BAR that exists: see virtio_pci_layout.c.
 *  2. queue_enable is only ever written as 1, after everything else of that queue (4.1.4.3.2); a
 *     reset, of the device or of that queue, ends the queue. */
#include <errno.h>
#include <string.h>
#include "virtio_pci_common.h"
#include "virtqueue.h"

#define COMMON(field) offsetof(struct virtio_pci_common_cfg, field)
#define COMMON_MAX    sizeof(struct virtio_pci_common_cfg)
#define DEVICE_MAX    256U

#define QUEUE_RESET_POLL_US  200U
#define QUEUE_RESET_LIMIT_US (5U * 1000 * 1000)

/* Two 32-bit halves, low first (4.1.3.1). */
static void write_common64(struct virtio_pci *vpci, uint64_t lo_off, uint64_t val)
{
	vpci_write32(vpci, &vpci->at.common, lo_off, (uint32_t)val);
	vpci_write32(vpci, &vpci->at.common, lo_off + 4, (uint32_t)(val >> 32));
}

static uint8_t vpci_get_status(struct virtio_device *vdev)
{
	return vpci_read8(to_vpci(vdev), &to_vpci(vdev)->at.common, COMMON(device_status));
}

static void vpci_set_status(struct virtio_device *vdev, uint8_t status)
{
	vpci_write8(to_vpci(vdev), &to_vpci(vdev)->at.common, COMMON(device_status), status);
}

static uint64_t vpci_get_features(struct virtio_device *vdev)
{
	struct virtio_pci *vpci = to_vpci(vdev);
	uint64_t features;

	pthread_mutex_lock(&vpci->lock);
	vpci_write32(vpci, &vpci->at.common, COMMON(device_feature_select), 0);
	features = vpci_read32(vpci, &vpci->at.common, COMMON(device_feature));
	vpci_write32(vpci, &vpci->at.common, COMMON(device_feature_select), 1);
	features |= (uint64_t)vpci_read32(vpci, &vpci->at.common, COMMON(device_feature)) << 32;
	pthread_mutex_unlock(&vpci->lock);
	return features;
}

static uint64_t known_transport_features(const struct virtio_pci *vpci)
{
	uint64_t known = vq_known_features() | 1ULL << VIRTIO_F_ACCESS_PLATFORM;

	if ((vpci->at.notify.off | vpci->at.notify_multiplier) % 4 == 0) /* else misaligned */
		known |= 1ULL << VIRTIO_F_NOTIFICATION_DATA;
	if (vpci->at.common.bytes >= COMMON(queue_notify_data) + 2)
		known |= 1ULL << VIRTIO_F_NOTIF_CONFIG_DATA;
	if (vpci->at.common.bytes >= COMMON(queue_reset) + 2)
		known |= 1ULL << VIRTIO_F_RING_RESET;
	return known;
}

static int check_features(struct virtio_device *vdev)
{
	if (!virtio_has_feature(vdev, VIRTIO_F_VERSION_1))
		return virtio_fail(vdev, -EPROTO,
			"the device has the registers of virtio 1, but does not offer VERSION_1");
	return vpci_check_addresses(vdev);
}

/* Both words are written, always: a reset need not have cleared what a former owner wrote. */
static int vpci_finalize_features(struct virtio_device *vdev)
{
	struct virtio_pci *vpci = to_vpci(vdev);
	const uint64_t device_bits = (1ULL << VIRTIO_RING_F_INDIRECT_DESC) - 1;
	int err;

	vdev->features &= device_bits | known_transport_features(vpci);
	err = check_features(vdev);
	if (err < 0)
		return err;
	pthread_mutex_lock(&vpci->lock);
	vpci_write32(vpci, &vpci->at.common, COMMON(driver_feature_select), 0);
	vpci_write32(vpci, &vpci->at.common, COMMON(driver_feature), (uint32_t)vdev->features);
	vpci_write32(vpci, &vpci->at.common, COMMON(driver_feature_select), 1);
	vpci_write32(
		vpci, &vpci->at.common, COMMON(driver_feature), (uint32_t)(vdev->features >> 32));
	pthread_mutex_unlock(&vpci->lock);
	return 0;
}

static uint32_t vpci_generation(struct virtio_device *vdev)
{
	return vpci_read8(to_vpci(vdev), &to_vpci(vdev)->at.common, COMMON(config_generation));
}

static uint64_t vpci_get(struct virtio_device *vdev, uint32_t off, unsigned bytes)
{
	return vpci_get_field(to_vpci(vdev), &to_vpci(vdev)->at.device, off, bytes);
}

static int vpci_set(struct virtio_device *vdev, uint32_t off, unsigned bytes, uint64_t val)
{
	vpci_set_field(to_vpci(vdev), &to_vpci(vdev)->at.device, off, bytes, val);
	return 0;
}

/* 4.1.5.2: the queue; with NOTIFICATION_DATA its position, too, in a word of 32 bits. */
static void vpci_notify(struct virtqueue *vq)
{
	struct virtio_pci *vpci = to_vpci(vq->vdev);

	if (virtio_has_feature(vq->vdev, VIRTIO_F_NOTIFICATION_DATA))
		vpci_write32(vpci, &vpci->at.notify, vq->notify_addr,
			(uint32_t)vq_notification_data(vq) << 16 | vq->notify_data);
	else
		vpci_write16(vpci, &vpci->at.notify, vq->notify_addr, vq->notify_data);
}

/* Caller holds the lock, and INDEX is selected. */
static int find_notify_addr(struct virtio_pci *vpci, struct virtqueue *vq)
{
	struct hw *hw = vpci->vdev.hw;
	unsigned bytes = virtio_has_feature(&vpci->vdev, VIRTIO_F_NOTIFICATION_DATA) ? 4 : 2;
	uint64_t off = (uint64_t)vpci->at.notify_multiplier *
		       vpci_read16(vpci, &vpci->at.common, COMMON(queue_notify_off));

	if (off % bytes != 0 || off + bytes > vpci->at.notify.bytes)
		return virtio_fail(&vpci->vdev, -EPROTO,
			"the doorbell of queue %u is outside the notify structure", vq->index);
	vq->notify_addr = off;
	vq->notify_data = vq->index;
	if (virtio_has_feature(&vpci->vdev, VIRTIO_F_NOTIF_CONFIG_DATA))
		vq->notify_data = vpci_read16(vpci, &vpci->at.common, COMMON(queue_notify_data));
	return hw->ops->bar_map(hw, vpci->at.notify.bar, vpci->at.notify.off + off, bytes);
}

static void enable_queue(struct virtio_pci *vpci, const struct virtqueue *vq)
{
	struct vq_addresses addr;

	vq_get_addresses(vq, &addr);
	vpci_write16(vpci, &vpci->at.common, COMMON(queue_size), vq->size);
	write_common64(vpci, COMMON(queue_desc_lo), addr.desc);
	write_common64(vpci, COMMON(queue_driver_lo), addr.driver);
	write_common64(vpci, COMMON(queue_device_lo), addr.device);
	/* Last: from here on the device may touch the ring, and only a reset takes that back
	 * (4.1.4.3.2). */
	vpci_write16(vpci, &vpci->at.common, COMMON(queue_enable), 1);
}

/* The largest power of two that neither the device's size nor MAX exceeds; 0: the queue is not
 * there. */
static uint16_t choose_size(uint32_t device, uint32_t max)
{
	uint32_t size = VRING_MAX_SIZE;

	if (device == 0)
		return 0;
	while (size > device || (max != 0 && size > max))
		size /= 2;
	return (uint16_t)(size == 0 ? 1 : size);
}

static int setup_vq(struct virtio_pci *vpci, uint16_t index, uint32_t max_size,
	const struct virtqueue_info *info, struct virtqueue **out)
{
	struct virtqueue *vq;
	uint16_t max, size;
	int err;

	vpci_write16(vpci, &vpci->at.common, COMMON(queue_select), index);
	max = vpci_read16(vpci, &vpci->at.common, COMMON(queue_size));
	size = choose_size(max, max_size);
	if (size == 0 || vpci_read16(vpci, &vpci->at.common, COMMON(queue_enable)) != 0)
		return virtio_fail(&vpci->vdev, -EPROTO, "queue %u is %s", index,
			size == 0 ? "not there" : "enabled already after a reset");
	err = vq_create(&vpci->vdev, index, size, info, &vq);
	if (err < 0)
		return virtio_fail(&vpci->vdev, err, "no DMA memory for queue %u", index);
	vq->max_size = choose_size(max, 0);
	err = find_notify_addr(vpci, vq);
	if (err < 0) {
		vq_destroy(vq, false);
		return virtio_fail(
			&vpci->vdev, err, "the doorbell of queue %u can't be mapped", index);
	}
	enable_queue(vpci, vq);
	*out = vq;
	return 0;
}

static int restart_vq(struct virtio_pci *vpci, struct virtqueue *vq)
{
	vpci_write16(vpci, &vpci->at.common, COMMON(queue_select), vq->index);
	if (vpci_read16(vpci, &vpci->at.common, COMMON(queue_size)) < vq->size ||
		vpci_read16(vpci, &vpci->at.common, COMMON(queue_enable)) != 0)
		return virtio_fail(&vpci->vdev, -EPROTO,
			"queue %u is not what it was before the reset", vq->index);
	vq_reset(vq);
	enable_queue(vpci, vq);
	return 0;
}

/* Caller holds the lock, and the queue is selected. It is done when the register reads 0, not before
 * (4.1.4.3.2). */
static int await_queue_reset(struct virtio_pci *vpci)
{
	struct hw *hw = vpci->vdev.hw;
	uint32_t waited_us = 0;
	uint16_t reset;

	while ((reset = vpci_read16(vpci, &vpci->at.common, COMMON(queue_reset))) != 0) {
		if (reset == UINT16_MAX)
			return -ENODEV;
		if (waited_us >= QUEUE_RESET_LIMIT_US)
			return -ETIMEDOUT;
		hw->ops->sleep_us(hw, QUEUE_RESET_POLL_US);
		waited_us += QUEUE_RESET_POLL_US;
	}
	return vpci_read16(vpci, &vpci->at.common, COMMON(queue_enable)) == 0 ? 0 : -EPROTO;
}

static int vpci_disable_vq_and_reset(struct virtqueue *vq)
{
	struct virtio_pci *vpci = to_vpci(vq->vdev);
	int err;

	pthread_mutex_lock(&vpci->lock);
	vpci_write16(vpci, &vpci->at.common, COMMON(queue_select), vq->index);
	vpci_write16(vpci, &vpci->at.common, COMMON(queue_reset), 1);
	err = await_queue_reset(vpci);
	pthread_mutex_unlock(&vpci->lock);
	return err;
}

static int vpci_enable_vq_after_reset(struct virtqueue *vq)
{
	struct virtio_pci *vpci = to_vpci(vq->vdev);
	int err;

	pthread_mutex_lock(&vpci->lock);
	err = vpci_set_queue_vector(vpci, vq->index);
	if (err == 0)
		err = restart_vq(vpci, vq);
	pthread_mutex_unlock(&vpci->lock);
	return err;
}

static uint16_t config_vector(struct virtio_pci *vpci, uint16_t vector)
{
	vpci_write16(vpci, &vpci->at.common, COMMON(config_msix_vector), vector);
	return vpci_read16(vpci, &vpci->at.common, COMMON(config_msix_vector));
}

static uint16_t queue_vector(struct virtio_pci *vpci, uint16_t index, uint16_t vector)
{
	vpci_write16(vpci, &vpci->at.common, COMMON(queue_select), index);
	if (vpci_read16(vpci, &vpci->at.common, COMMON(queue_size)) == 0)
		return vector; /* not there: who sets it up finds out */
	vpci_write16(vpci, &vpci->at.common, COMMON(queue_msix_vector), vector);
	return vpci_read16(vpci, &vpci->at.common, COMMON(queue_msix_vector));
}

static unsigned vpci_regions(
	struct virtio_device *vdev, struct virtio_region out[VIRTIO_REGIONS_MAX])
{
	const struct vpci_layout *at = &to_vpci(vdev)->at;

	out[0] = (struct virtio_region){"common", at->common.bar, at->common.off, at->common.bytes};
	out[1] = (struct virtio_region){"notify", at->notify.bar, at->notify.off, at->notify.bytes};
	out[2] = (struct virtio_region){"isr", at->isr.bar, at->isr.off, at->isr.bytes};
	out[3] = (struct virtio_region){"device", at->device.bar, at->device.off, at->device.bytes};
	return 4;
}

static const struct virtio_config_ops vpci_modern_config_ops = {
	.name = "virtio-pci, modern",
	.get_status = vpci_get_status,
	.set_status = vpci_set_status,
	.reset = vpci_reset,
	.get_features = vpci_get_features,
	.finalize_features = vpci_finalize_features,
	.generation = vpci_generation,
	.get = vpci_get,
	.set = vpci_set,
	.find_vqs = vpci_find_vqs,
	.del_vqs = vpci_del_vqs,
	.notify = vpci_notify,
	.disable_vq_and_reset = vpci_disable_vq_and_reset,
	.enable_vq_after_reset = vpci_enable_vq_after_reset,
	.wake_by = vpci_wake_by,
	.restart_vqs = vpci_restart_vqs,
	.regions = vpci_regions,
	.silence = vpci_silence,
	.is_there = vpci_is_there,
	.close = virtio_pci_close,
};

static bool is_modern(const struct vpci_layout *at)
{
	return at->common.bytes != 0 && at->notify.bytes != 0 && at->isr.bytes != 0 &&
	       at->device.bytes != 0;
}

/* The doorbells are mapped one by one in find_notify_addr(). */
int virtio_pci_modern_probe(struct virtio_pci *vpci)
{
	struct vpci_layout *at = &vpci->at;
	int err = is_modern(at) ? vpci_map_region(vpci, &at->common, COMMON_MAX) : -ENODEV;

	if (err == 0)
		err = vpci_map_region(vpci, &at->isr, 1);
	if (err == 0)
		err = vpci_map_region(vpci, &at->device, DEVICE_MAX);
	if (err < 0)
		return err;
	vpci->vdev.config = &vpci_modern_config_ops;
	vpci->vdev.max_vqs = vpci_read16(vpci, &at->common, COMMON(num_queues));
	vpci->setup_vq = setup_vq;
	vpci->restart_vq = restart_vq;
	vpci->config_vector = config_vector;
	vpci->queue_vector = queue_vector;
	return 0;
}
