/* virtio_pci.c - virtio over PCI, modern devices (virtio 1.2, 4.1).
 *
 * Invariants
 *  1. A structure that is used lies whole inside a BAR that exists: see virtio_pci_layout.c.
 *  2. Registers behind a select register (features, queues) are touched under `lock`.
 *  3. queue_enable is only ever written as 1, after everything else of that queue (4.1.4.3.2); a
 *     reset ends the queue.
 *  4. One thread reads the ISR register, which clears it: before it the interrupt line is high,
 *     after it new events raise it anew. So the order is ISR, then the callbacks, then unmask.
 *  5. Bus mastering is on only from find_vqs(), when a reset has made the device forget all
 *     addresses, until after the last reset. */
#include <errno.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <syslog.h>
#include <unistd.h>
#include "virtio_pci.h"
#include "virtio_pci_layout.h"
#include "virtqueue.h"

#define PCI_VENDOR         0x00
#define PCI_COMMAND        0x04
#define PCI_COMMAND_MASTER 0x04
#define PCI_MSIX_CONTROL   2
#define PCI_MSIX_ENABLE    0x80 /* in the control word's upper byte */

#define STATUS_GONE    0xffU
#define RESET_POLL_US  200U
#define RESET_LIMIT_US (5U * 1000 * 1000)
#define COMMON(field)  offsetof(struct virtio_pci_common_cfg, field)
#define COMMON_MAX     sizeof(struct virtio_pci_common_cfg)
#define DEVICE_MAX     256U

struct virtio_pci {
	struct virtio_device vdev;
	struct vpci_layout at;
	pthread_mutex_t lock;
	struct virtqueue **vqs;
	unsigned nr_vqs;
	bool use_irq;
	bool irq_running;
	pthread_t irq_thread;
	int stop_fd; /* eventfd: irq_thread is to end */
};

static struct virtio_pci *to_vpci(struct virtio_device *vdev)
{
	return (struct virtio_pci *)vdev;
}

static uint8_t read8(struct virtio_pci *vpci, const struct vpci_region *r, uint64_t off)
{
	struct hw *hw = vpci->vdev.hw;

	return hw->ops->read8(hw, r->bar, r->off + off);
}

static uint16_t read16(struct virtio_pci *vpci, const struct vpci_region *r, uint64_t off)
{
	struct hw *hw = vpci->vdev.hw;

	return hw->ops->read16(hw, r->bar, r->off + off);
}

static uint32_t read32(struct virtio_pci *vpci, const struct vpci_region *r, uint64_t off)
{
	struct hw *hw = vpci->vdev.hw;

	return hw->ops->read32(hw, r->bar, r->off + off);
}

static void write8(struct virtio_pci *vpci, const struct vpci_region *r, uint64_t off, uint8_t val)
{
	struct hw *hw = vpci->vdev.hw;

	hw->ops->write8(hw, r->bar, r->off + off, val);
}

static void write16(
	struct virtio_pci *vpci, const struct vpci_region *r, uint64_t off, uint16_t val)
{
	struct hw *hw = vpci->vdev.hw;

	hw->ops->write16(hw, r->bar, r->off + off, val);
}

static void write32(
	struct virtio_pci *vpci, const struct vpci_region *r, uint64_t off, uint32_t val)
{
	struct hw *hw = vpci->vdev.hw;

	hw->ops->write32(hw, r->bar, r->off + off, val);
}

/* Two 32-bit halves, low first (4.1.3.1). */
static void write_common64(struct virtio_pci *vpci, uint64_t lo_off, uint64_t val)
{
	write32(vpci, &vpci->at.common, lo_off, (uint32_t)val);
	write32(vpci, &vpci->at.common, lo_off + 4, (uint32_t)(val >> 32));
}

static uint8_t vpci_get_status(struct virtio_device *vdev)
{
	return read8(to_vpci(vdev), &to_vpci(vdev)->at.common, COMMON(device_status));
}

static void vpci_set_status(struct virtio_device *vdev, uint8_t status)
{
	write8(to_vpci(vdev), &to_vpci(vdev)->at.common, COMMON(device_status), status);
}

static int vpci_reset(struct virtio_device *vdev)
{
	struct hw *hw = vdev->hw;
	uint32_t waited_us = 0;
	uint8_t status;

	if (vpci_get_status(vdev) == STATUS_GONE)
		return -ENODEV;
	vpci_set_status(vdev, 0);
	while ((status = vpci_get_status(vdev)) != 0) {
		if (status == STATUS_GONE)
			return -ENODEV;
		if (waited_us >= RESET_LIMIT_US)
			return -ETIMEDOUT;
		hw->ops->sleep_us(hw, RESET_POLL_US);
		waited_us += RESET_POLL_US;
	}
	return 0;
}

static uint64_t vpci_get_features(struct virtio_device *vdev)
{
	struct virtio_pci *vpci = to_vpci(vdev);
	uint64_t features;

	pthread_mutex_lock(&vpci->lock);
	write32(vpci, &vpci->at.common, COMMON(device_feature_select), 0);
	features = read32(vpci, &vpci->at.common, COMMON(device_feature));
	write32(vpci, &vpci->at.common, COMMON(device_feature_select), 1);
	features |= (uint64_t)read32(vpci, &vpci->at.common, COMMON(device_feature)) << 32;
	pthread_mutex_unlock(&vpci->lock);
	return features;
}

static uint64_t known_transport_features(const struct virtio_pci *vpci)
{
	uint64_t known = vq_known_features() | 1ULL << VIRTIO_F_ACCESS_PLATFORM;

	if (vpci->at.common.bytes >= COMMON(queue_notify_data) + 2)
		known |= 1ULL << VIRTIO_F_NOTIF_CONFIG_DATA;
	return known;
}

static int check_features(struct virtio_device *vdev)
{
	if (!virtio_has_feature(vdev, VIRTIO_F_VERSION_1))
		return virtio_fail(vdev, -EPROTO,
			"the device has the registers of virtio 1, but does not offer VERSION_1");
	if (virtio_has_feature(vdev, VIRTIO_F_ACCESS_PLATFORM) && vdev->hw->iommu_translates)
		return virtio_fail(vdev, -EOPNOTSUPP,
			"the device is behind an IOMMU that translates, which UIO can't "
			"program: boot with iommu=pt, or without ACCESS_PLATFORM (QEMU: "
			"iommu_platform=off)");
	return 0;
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
	write32(vpci, &vpci->at.common, COMMON(driver_feature_select), 0);
	write32(vpci, &vpci->at.common, COMMON(driver_feature), (uint32_t)vdev->features);
	write32(vpci, &vpci->at.common, COMMON(driver_feature_select), 1);
	write32(vpci, &vpci->at.common, COMMON(driver_feature), (uint32_t)(vdev->features >> 32));
	pthread_mutex_unlock(&vpci->lock);
	return 0;
}

static uint32_t vpci_generation(struct virtio_device *vdev)
{
	return read8(to_vpci(vdev), &to_vpci(vdev)->at.common, COMMON(config_generation));
}

static uint64_t vpci_get(struct virtio_device *vdev, uint32_t off, unsigned bytes)
{
	struct virtio_pci *vpci = to_vpci(vdev);
	const struct vpci_region *r = &vpci->at.device;

	switch (bytes) {
	case 1:
		return read8(vpci, r, off);
	case 2:
		return read16(vpci, r, off);
	case 4:
		return read32(vpci, r, off);
	default:
		return read32(vpci, r, off) | (uint64_t)read32(vpci, r, off + 4) << 32;
	}
}

static void vpci_set(struct virtio_device *vdev, uint32_t off, unsigned bytes, uint64_t val)
{
	struct virtio_pci *vpci = to_vpci(vdev);
	const struct vpci_region *r = &vpci->at.device;

	switch (bytes) {
	case 1:
		write8(vpci, r, off, (uint8_t)val);
		break;
	case 2:
		write16(vpci, r, off, (uint16_t)val);
		break;
	case 4:
		write32(vpci, r, off, (uint32_t)val);
		break;
	default:
		write32(vpci, r, off, (uint32_t)val);
		write32(vpci, r, off + 4, (uint32_t)(val >> 32));
	}
}

static void vpci_notify(struct virtqueue *vq)
{
	struct virtio_pci *vpci = to_vpci(vq->vdev);

	write16(vpci, &vpci->at.notify, vq->notify_addr, vq->notify_data);
}

/* Caller holds the lock, and INDEX is selected. */
static int find_notify_addr(struct virtio_pci *vpci, struct virtqueue *vq)
{
	struct hw *hw = vpci->vdev.hw;
	uint64_t off = (uint64_t)vpci->at.notify_multiplier *
		       read16(vpci, &vpci->at.common, COMMON(queue_notify_off));

	if (off % 2 != 0 || off + 2 > vpci->at.notify.bytes)
		return virtio_fail(&vpci->vdev, -EPROTO,
			"the doorbell of queue %u is outside the notify structure", vq->index);
	vq->notify_addr = off;
	vq->notify_data = vq->index;
	if (virtio_has_feature(&vpci->vdev, VIRTIO_F_NOTIF_CONFIG_DATA))
		vq->notify_data = read16(vpci, &vpci->at.common, COMMON(queue_notify_data));
	return hw->ops->bar_map(hw, vpci->at.notify.bar, vpci->at.notify.off + off, 2);
}

static void enable_queue(struct virtio_pci *vpci, const struct virtqueue *vq)
{
	struct vq_addresses addr;

	vq_get_addresses(vq, &addr);
	write16(vpci, &vpci->at.common, COMMON(queue_size), vq->size);
	write_common64(vpci, COMMON(queue_desc_lo), addr.desc);
	write_common64(vpci, COMMON(queue_driver_lo), addr.driver);
	write_common64(vpci, COMMON(queue_device_lo), addr.device);
	/* Last: from here on the device may touch the ring, and only a reset takes that back
	 * (4.1.4.3.2). */
	write16(vpci, &vpci->at.common, COMMON(queue_enable), 1);
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
	uint16_t size;
	int err;

	write16(vpci, &vpci->at.common, COMMON(queue_select), index);
	size = choose_size(read16(vpci, &vpci->at.common, COMMON(queue_size)), max_size);
	if (size == 0 || read16(vpci, &vpci->at.common, COMMON(queue_enable)) != 0)
		return virtio_fail(&vpci->vdev, -EPROTO, "queue %u is %s", index,
			size == 0 ? "not there" : "enabled already after a reset");
	err = vq_create(&vpci->vdev, index, size, info, &vq);
	if (err < 0)
		return virtio_fail(&vpci->vdev, err, "no DMA memory for queue %u", index);
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

static void handle_interrupt(struct virtio_pci *vpci)
{
	/* One read: it clears both bits, lowers the line and, on real PCI, waits for the DMA before
	 * the interrupt. */
	uint8_t isr = read8(vpci, &vpci->at.isr, 0);

	if (isr & VIRTIO_PCI_ISR_CONFIG)
		virtio_config_changed(&vpci->vdev);
	/* Whatever ISR says: interrupts merge (4.1.5.4.2), and a look too many costs little. */
	for (unsigned i = 0; i < vpci->nr_vqs; i++)
		vq_interrupt(vpci->vqs[i]);
}

/* From now on the driver must poll; those who sleep are woken, to notice. */
static void lose_irq(struct virtio_pci *vpci, int err)
{
	atomic_store(&vpci->vdev.has_irq, false);
	if (err == -ENODEV)
		virtio_device_gone(&vpci->vdev, err);
	else
		syslog(LOG_WARNING, "%s: no interrupt (%s): polling instead", vpci->vdev.name,
			strerror(-err));
	for (unsigned i = 0; i < vpci->nr_vqs; i++)
		vq_interrupt(vpci->vqs[i]);
}

static void *irq_main(void *arg)
{
	struct virtio_pci *vpci = arg;
	struct hw *hw = vpci->vdev.hw;
	int rc;

	(void)pthread_setname_np(pthread_self(), "virtio-irq");
	while ((rc = hw->ops->irq_wait(hw, vpci->stop_fd)) > 0) {
		handle_interrupt(vpci);
		rc = hw->ops->irq_unmask(hw);
		if (rc < 0)
			break;
	}
	if (rc < 0)
		lose_irq(vpci, rc);
	return NULL;
}

static int start_irq(struct virtio_pci *vpci)
{
	struct hw *hw = vpci->vdev.hw;
	int err;

	if (!vpci->use_irq || !hw->has_irq)
		return 0;
	vpci->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vpci->stop_fd < 0)
		return -errno;
	atomic_store(&vpci->vdev.has_irq, true);
	err = -pthread_create(&vpci->irq_thread, NULL, irq_main, vpci);
	if (err < 0)
		goto close_fd;
	vpci->irq_running = true;
	err = hw->ops->irq_unmask(hw);
	if (err == 0)
		return 0;
	/* The thread ends with del_vqs(). */
	return virtio_fail(&vpci->vdev, err, "the interrupt can't be enabled");

close_fd:
	atomic_store(&vpci->vdev.has_irq, false);
	close(vpci->stop_fd);
	return err;
}

static void stop_irq(struct virtio_pci *vpci)
{
	if (!vpci->irq_running)
		return;
	(void)eventfd_write(vpci->stop_fd, 1);
	pthread_join(vpci->irq_thread, NULL);
	vpci->irq_running = false;
	atomic_store(&vpci->vdev.has_irq, false);
	close(vpci->stop_fd);
	(void)vpci->vdev.hw->ops->irq_mask(vpci->vdev.hw);
}

static void vpci_del_vqs(struct virtio_device *vdev)
{
	struct virtio_pci *vpci = to_vpci(vdev);

	stop_irq(vpci);
	for (unsigned i = 0; i < vpci->nr_vqs; i++)
		vq_destroy(vpci->vqs[i], vdev->reset_failed);
	free(vpci->vqs);
	vpci->vqs = NULL;
	vpci->nr_vqs = 0;
}

static int setup_vqs(
	struct virtio_pci *vpci, unsigned nr, uint32_t max_size, const struct virtqueue_info *info)
{
	int err = 0;

	pthread_mutex_lock(&vpci->lock);
	for (unsigned i = 0; i < nr && err == 0; i++) {
		err = setup_vq(vpci, (uint16_t)i, max_size, &info[i], &vpci->vqs[i]);
		if (err == 0)
			vpci->nr_vqs++;
	}
	pthread_mutex_unlock(&vpci->lock);
	return err;
}

static int restart_vq(struct virtio_pci *vpci, struct virtqueue *vq)
{
	write16(vpci, &vpci->at.common, COMMON(queue_select), vq->index);
	if (read16(vpci, &vpci->at.common, COMMON(queue_size)) < vq->size ||
		read16(vpci, &vpci->at.common, COMMON(queue_enable)) != 0)
		return virtio_fail(&vpci->vdev, -EPROTO,
			"queue %u is not what it was before the reset", vq->index);
	vq_reset(vq);
	enable_queue(vpci, vq);
	return 0;
}

/* The interrupt thread goes on meanwhile: it touches no queue but to wake who sleeps. */
static int vpci_restart_vqs(struct virtio_device *vdev)
{
	struct virtio_pci *vpci = to_vpci(vdev);
	int err = vdev->hw->ops->bus_master(vdev->hw, true);

	pthread_mutex_lock(&vpci->lock);
	for (unsigned i = 0; i < vpci->nr_vqs && err == 0; i++)
		err = restart_vq(vpci, vpci->vqs[i]);
	pthread_mutex_unlock(&vpci->lock);
	return err;
}

/* After the reset: drop a raised line that a dead owner left, and let the device reach memory. */
static int enable_device(struct virtio_pci *vpci)
{
	struct hw *hw = vpci->vdev.hw;
	int err;

	(void)read8(vpci, &vpci->at.isr, 0);
	err = hw->ops->bus_master(hw, true);
	if (err < 0)
		return virtio_fail(
			&vpci->vdev, err, "bus mastering can't be enabled: %s", strerror(-err));
	return 0;
}

static int vpci_find_vqs(struct virtio_device *vdev, unsigned nr, uint32_t max_size,
	const struct virtqueue_info *info, struct virtqueue **out)
{
	struct virtio_pci *vpci = to_vpci(vdev);
	int err = enable_device(vpci);

	if (err < 0)
		return err;
	vpci->vqs = calloc(nr, sizeof(struct virtqueue *));
	if (vpci->vqs == NULL)
		return -ENOMEM;
	err = setup_vqs(vpci, nr, max_size, info);
	if (err == 0)
		err = start_irq(vpci);
	if (err < 0) {
		virtio_give_up(vdev); /* queues may be live: reset before their memory is freed */
		vpci_del_vqs(vdev);
		return err;
	}
	memcpy(out, vpci->vqs, nr * sizeof(struct virtqueue *));
	return 0;
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

static const char *vpci_silence(struct virtio_device *vdev)
{
	uint8_t command;

	if (vdev->hw->ops->cfg_read(vdev->hw, PCI_COMMAND, &command, 1) < 0)
		return "its configuration space can't be read";
	if (!(command & PCI_COMMAND_MASTER))
		return "bus mastering was turned off: did another program open the function?";
	return "the host does not answer";
}

static const struct virtio_config_ops vpci_config_ops = {
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
	.restart_vqs = vpci_restart_vqs,
	.regions = vpci_regions,
	.silence = vpci_silence,
	.close = virtio_pci_close,
};

/* A former owner may have left MSI-X on; then the line of INTx stays silent. Only the byte with the
 * enable bit is written. */
static int disable_msix(struct hw *hw, uint32_t at)
{
	uint8_t control;
	int err;

	if (at == 0)
		return 0;
	err = hw->ops->cfg_read(hw, at + PCI_MSIX_CONTROL + 1, &control, 1);
	if (err < 0 || !(control & PCI_MSIX_ENABLE))
		return err;
	control &= (uint8_t)~PCI_MSIX_ENABLE;
	return hw->ops->cfg_write(hw, at + PCI_MSIX_CONTROL + 1, &control, 1);
}

static int map_region(struct hw *hw, struct vpci_region *r, uint64_t max)
{
	if (r->bytes > max)
		r->bytes = max;
	return hw->ops->bar_map(hw, r->bar, r->off, r->bytes);
}

/* The doorbells are mapped one by one in find_notify_addr(). */
static int map_regions(struct virtio_pci *vpci)
{
	struct hw *hw = vpci->vdev.hw;
	int err = map_region(hw, &vpci->at.common, COMMON_MAX);

	if (err == 0)
		err = map_region(hw, &vpci->at.isr, 1);
	if (err == 0)
		err = map_region(hw, &vpci->at.device, DEVICE_MAX);
	return err;
}

/* Reads of a function that was removed give all ones. */
static bool is_removed(struct hw *hw)
{
	uint16_t vendor;

	return hw->ops->cfg_read(hw, PCI_VENDOR, &vendor, 2) < 0 || vendor == 0xffff;
}

static int find_structures(struct virtio_pci *vpci)
{
	int err = vpci_find_layout(vpci->vdev.hw, &vpci->at);

	if (err == 0)
		err = disable_msix(vpci->vdev.hw, vpci->at.msix);
	if (err < 0)
		return virtio_fail(&vpci->vdev, err,
			"its PCI configuration space can't be read: %s",
			err == -EPERM ? "root is needed, and no kernel lockdown" : strerror(-err));
	if (vpci->at.common.bytes == 0 || vpci->at.notify.bytes == 0 || vpci->at.isr.bytes == 0 ||
		vpci->at.device.bytes == 0) {
		if (is_removed(vpci->vdev.hw))
			return virtio_fail(&vpci->vdev, -ENODEV, "the device is gone");
		return virtio_fail(&vpci->vdev, -EOPNOTSUPP,
			"no virtio 1 registers: a legacy-only device is not supported (QEMU: "
			"disable-modern=off)");
	}
	err = map_regions(vpci);
	if (err < 0)
		return virtio_fail(&vpci->vdev, err, "its registers can't be mapped: %s",
			err == -EPERM ? "root is needed, and no kernel lockdown" : strerror(-err));
	return 0;
}

static bool is_virtio_blk(const struct hw_ids *ids)
{
	return ids->vendor == VIRTIO_PCI_VENDOR &&
	       (ids->device == VIRTIO_PCI_DEVICE_BLK || ids->device == VIRTIO_PCI_DEVICE_BLK_OLD);
}

static int register_device(struct virtio_pci *vpci)
{
	const struct hw_ids *ids = &vpci->vdev.hw->ids;
	int err;

	if (!is_virtio_blk(ids))
		return virtio_fail(&vpci->vdev, -ENXIO,
			"not a virtio block device (it is %04x:%04x); 'vblkctl list' shows them",
			ids->vendor, ids->device);
	err = find_structures(vpci);
	if (err < 0)
		return err;
	vpci->vdev.id =
		(struct virtio_device_id){.device = VIRTIO_ID_BLOCK, .vendor = ids->subvendor};
	vpci->vdev.config_bytes = (uint32_t)vpci->at.device.bytes;
	vpci->vdev.max_vqs = read16(vpci, &vpci->at.common, COMMON(num_queues));
	err = vpci->vdev.hw->ops->irq_mask(vpci->vdev.hw); /* a dead owner may have left it on */
	if (err < 0)
		return virtio_fail(
			&vpci->vdev, err, "its interrupt can't be masked: %s", strerror(-err));
	err = virtio_register_device(&vpci->vdev);
	if (err < 0)
		(void)vpci->vdev.hw->ops->bus_master(vpci->vdev.hw, false);
	return err;
}

static void destroy(struct virtio_pci *vpci)
{
	pthread_mutex_destroy(&vpci->lock);
	free(vpci);
}

int virtio_pci_open(struct hw *hw, const void *params, bool use_irq, struct virtio_device **out,
	char *err_text, size_t err_bytes)
{
	struct virtio_pci *vpci = calloc(1, sizeof(*vpci));
	int err;

	if (vpci == NULL) {
		(void)snprintf(err_text, err_bytes, "%s: no memory", hw->name);
		return -ENOMEM;
	}
	pthread_mutex_init(&vpci->lock, NULL);
	vpci->use_irq = use_irq;
	vpci->vdev.config = &vpci_config_ops;
	vpci->vdev.hw = hw;
	vpci->vdev.params = params;
	(void)snprintf(vpci->vdev.name, sizeof(vpci->vdev.name), "%s", hw->name);
	err = register_device(vpci);
	if (err < 0) {
		(void)snprintf(err_text, err_bytes, "%s: %s", hw->name,
			vpci->vdev.why[0] != '\0' ? vpci->vdev.why : strerror(-err));
		destroy(vpci);
		return err;
	}
	*out = &vpci->vdev;
	return 0;
}

void virtio_pci_close(struct virtio_device *vdev)
{
	struct hw *hw = vdev->hw;

	virtio_unregister_device(vdev);
	(void)hw->ops->irq_mask(hw);
	(void)hw->ops->bus_master(hw, false);
	hw->ops->close(hw);
	destroy(to_vpci(vdev));
}
