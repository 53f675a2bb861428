/* virtio_pci_legacy.c - the registers of a legacy device, in its I/O BAR 0 (virtio 1.2, 4.1.4.10).
 *
 * They are in the machine's byte order, as is all else that such a device shares with its driver; le.h
 * has no such type, so that only little-endian machines are served.
 *
 * Invariants
 *  1. A ring has the size that the device gives it, and lies in one piece, as 2.7.2 says: the number
 *     of its first page is all that the device is told. Only a reset ends it.
 *  2. There is no FEATURES_OK, and no feature past the 32nd: without VERSION_1 the bus asks for none,
 *     and the rings are laid out as in 1.
 *  3. The configuration is looked for anew at each access: MSI-X moves it.
 *  4. There is no generation either: `torn` stands in, and changes when two looks at a field of
 *     several registers did not agree (2.5.4). */
#include <errno.h>
#include <string.h>
#include <syslog.h>
#include "log.h"
#include "virtio_pci_common.h"
#include "virtqueue.h"

#define REGISTERS_BYTES VIRTIO_PCI_CONFIG_OFF(false)
#define CONFIG_MIN      8U /* a block device's capacity */
#define CONFIG_MAX      256U

static uint8_t legacy_get_status(struct virtio_device *vdev)
{
	return vpci_read8(to_vpci(vdev), &to_vpci(vdev)->at.common, VIRTIO_PCI_STATUS);
}

static void legacy_set_status(struct virtio_device *vdev, uint8_t status)
{
	vpci_write8(to_vpci(vdev), &to_vpci(vdev)->at.common, VIRTIO_PCI_STATUS, status);
}

static uint64_t legacy_get_features(struct virtio_device *vdev)
{
	return vpci_read32(to_vpci(vdev), &to_vpci(vdev)->at.common, VIRTIO_PCI_HOST_FEATURES);
}

static int legacy_finalize_features(struct virtio_device *vdev)
{
	const uint64_t device_bits = (1ULL << VIRTIO_RING_F_INDIRECT_DESC) - 1;
	int err = vpci_check_addresses(vdev);

	if (err < 0)
		return err;
	vdev->features &= UINT32_MAX & (device_bits | vq_known_features());
	vpci_write32(to_vpci(vdev), &to_vpci(vdev)->at.common, VIRTIO_PCI_GUEST_FEATURES,
		(uint32_t)vdev->features);
	return 0;
}

static uint32_t legacy_generation(struct virtio_device *vdev)
{
	return atomic_load(&to_vpci(vdev)->torn);
}

/* Two vectors stand before it while MSI-X is on. */
static struct vpci_region find_config(struct virtio_pci *vpci)
{
	struct vpci_region r = vpci->at.device;

	r.off = VIRTIO_PCI_CONFIG_OFF(vpci_msix_is_on(vpci));
	return r;
}

static uint64_t legacy_get(struct virtio_device *vdev, uint32_t off, unsigned bytes)
{
	struct virtio_pci *vpci = to_vpci(vdev);
	struct vpci_region r = find_config(vpci);
	uint64_t val = vpci_get_field(vpci, &r, off, bytes);

	if (bytes > 4 && vpci_get_field(vpci, &r, off, bytes) != val)
		atomic_fetch_add(&vpci->torn, 1);
	return val;
}

static int legacy_set(struct virtio_device *vdev, uint32_t off, unsigned bytes, uint64_t val)
{
	struct vpci_region r = find_config(to_vpci(vdev));

	vpci_set_field(to_vpci(vdev), &r, off, bytes, val);
	return 0;
}

static void legacy_notify(struct virtqueue *vq)
{
	struct virtio_pci *vpci = to_vpci(vq->vdev);

	vpci_write16(vpci, &vpci->at.common, VIRTIO_PCI_QUEUE_NOTIFY, vq->index);
}

/* The queue's size. 0: it is not there, or not as a reset leaves it, and vdev->why says so. */
static uint16_t select_queue(struct virtio_pci *vpci, uint16_t index)
{
	const struct vpci_region *r = &vpci->at.common;
	uint16_t size;

	vpci_write16(vpci, r, VIRTIO_PCI_QUEUE_SEL, index);
	size = vpci_read16(vpci, r, VIRTIO_PCI_QUEUE_NUM);
	if (size == 0) {
		(void)virtio_fail(&vpci->vdev, 0, "queue %u is not there", index);
	} else if ((size & (size - 1)) != 0) {
		(void)virtio_fail(
			&vpci->vdev, 0, "queue %u has %u entries, no power of two", index, size);
		size = 0;
	} else if (vpci_read32(vpci, r, VIRTIO_PCI_QUEUE_PFN) != 0) {
		(void)virtio_fail(
			&vpci->vdev, 0, "queue %u is enabled already after a reset", index);
		size = 0;
	}
	return size;
}

/* Caller has selected it. From here on the device may touch the ring. */
static int enable_queue(struct virtio_pci *vpci, const struct virtqueue *vq)
{
	struct vq_addresses addr;

	vq_get_addresses(vq, &addr);
	if (addr.desc >> VIRTIO_PCI_QUEUE_ADDR_SHIFT > UINT32_MAX)
		return virtio_fail(&vpci->vdev, -EOPNOTSUPP,
			"queue %u lies above 16 TiB of memory, where a legacy device can't reach",
			vq->index);
	vpci_write32(vpci, &vpci->at.common, VIRTIO_PCI_QUEUE_PFN,
		(uint32_t)(addr.desc >> VIRTIO_PCI_QUEUE_ADDR_SHIFT));
	return 0;
}

static int setup_vq(struct virtio_pci *vpci, uint16_t index, uint32_t max_size,
	const struct virtqueue_info *info, struct virtqueue **out)
{
	uint16_t size = select_queue(vpci, index);
	struct virtqueue *vq;
	int err;

	if (size == 0)
		return -EPROTO;
	if (max_size != 0 && size > max_size)
		log_line(LOG_NOTICE, "%s: queue %u has %u entries: a legacy device's can't be cut",
			vpci->vdev.name, index, size);
	err = vq_create(&vpci->vdev, index, size, info, &vq);
	if (err < 0)
		return virtio_fail(&vpci->vdev, err, "no DMA memory for queue %u", index);
	err = enable_queue(vpci, vq);
	if (err < 0) {
		vq_destroy(vq, false);
		return err;
	}
	*out = vq;
	return 0;
}

static int restart_vq(struct virtio_pci *vpci, struct virtqueue *vq)
{
	if (select_queue(vpci, vq->index) != vq->size)
		return virtio_fail(&vpci->vdev, -EPROTO,
			"queue %u is not what it was before the reset", vq->index);
	vq_reset(vq);
	return enable_queue(vpci, vq);
}

static unsigned legacy_regions(
	struct virtio_device *vdev, struct virtio_region out[VIRTIO_REGIONS_MAX])
{
	const struct vpci_region *common = &to_vpci(vdev)->at.common;
	const struct vpci_region device = find_config(to_vpci(vdev));

	out[0] = (struct virtio_region){"legacy", common->bar, common->off, device.off};
	out[1] = (struct virtio_region){"device", device.bar, device.off, device.bytes};
	return 2;
}

static const struct virtio_config_ops vpci_legacy_config_ops = {
	.name = "virtio-pci, legacy",
	.get_status = legacy_get_status,
	.set_status = legacy_set_status,
	.reset = vpci_reset,
	.get_features = legacy_get_features,
	.finalize_features = legacy_finalize_features,
	.generation = legacy_generation,
	.get = legacy_get,
	.set = legacy_set,
	.find_vqs = vpci_find_vqs,
	.del_vqs = vpci_del_vqs,
	.notify = legacy_notify,
	.restart_vqs = vpci_restart_vqs,
	.regions = legacy_regions,
	.silence = vpci_silence,
	.is_there = vpci_is_there,
	.close = virtio_pci_close,
};

static int check_bar(struct virtio_pci *vpci)
{
	const struct hw_bar *bar = &vpci->vdev.hw->bar[0];

	if (!virtio_pci_is_transitional(vpci->vdev.hw->ids.device) || bar->bytes == 0 ||
		!bar->is_io)
		return -ENODEV;
	if (__BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__)
		return virtio_fail(&vpci->vdev, -EOPNOTSUPP,
			"a legacy device can't be driven on a big-endian machine (QEMU: "
			"disable-modern=off)");
	if (bar->bytes < VIRTIO_PCI_CONFIG_OFF(vpci->at.msix != 0) + CONFIG_MIN)
		return virtio_fail(&vpci->vdev, -EPROTO,
			"its I/O BAR has %llu bytes, too few for the registers of a legacy device",
			(unsigned long long)bar->bytes);
	return 0;
}

int virtio_pci_legacy_probe(struct virtio_pci *vpci)
{
	struct vpci_region all = {.bytes = vpci->vdev.hw->bar[0].bytes};
	struct vpci_layout *at = &vpci->at;
	int err = check_bar(vpci);

	if (err == 0)
		err = vpci_map_region(vpci, &all, VIRTIO_PCI_CONFIG_OFF(true) + CONFIG_MAX);
	if (err < 0)
		return err;
	at->common = (struct vpci_region){.bytes = REGISTERS_BYTES};
	at->isr = (struct vpci_region){.off = VIRTIO_PCI_ISR, .bytes = 1};
	/* So much of it is there with MSI-X, too. */
	at->device = (struct vpci_region){
		.off = REGISTERS_BYTES, .bytes = all.bytes - VIRTIO_PCI_CONFIG_OFF(at->msix != 0)};
	vpci->vdev.config = &vpci_legacy_config_ops;
	vpci->setup_vq = setup_vq;
	vpci->restart_vq = restart_vq;
	return 0;
}
