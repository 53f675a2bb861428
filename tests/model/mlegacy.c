/* mlegacy.c - the model as a legacy device (virtio 1.2, 4.1.4.10): its registers in BAR 0, as what
 * they are in the common structure of a modern one. A queue is one block of memory, and its first
 * page all that the driver tells. */
#include "state.h"

#define COMMON(field) offsetof(struct virtio_pci_common_cfg, field)

/* LG2: with MSI-X on, two vectors stand before the device's configuration. */
const struct model_cap *mlegacy_find(const struct model *m, int bar, uint64_t off)
{
	static const struct model_cap notify = {VIRTIO_PCI_CAP_NOTIFY_CFG, 0, 16, 2, 0},
				      isr = {VIRTIO_PCI_CAP_ISR_CFG, 0, 19, 1, 0},
				      common = {VIRTIO_PCI_CAP_COMMON_CFG, 0, 0, 24, 0},
				      device[2] = {{VIRTIO_PCI_CAP_DEVICE_CFG, 0, 20, 1024, 0},
					      {VIRTIO_PCI_CAP_DEVICE_CFG, 0, 24, 1024, 0}};
	bool msix = mpci_msix_is_on(m);

	if (bar != 0 || off >= m->cfg.bar[0].bytes)
		return NULL;
	if (off >= device[msix].offset)
		return &device[msix];
	if (off == isr.offset)
		return &isr;
	return off == notify.offset ? &notify : &common;
}

static bool width_fits(struct model *m, uint64_t off, unsigned bytes)
{
	static const uint8_t width[24] = {
		[VIRTIO_PCI_HOST_FEATURES] = 4,
		[VIRTIO_PCI_GUEST_FEATURES] = 4,
		[VIRTIO_PCI_QUEUE_PFN] = 4,
		[VIRTIO_PCI_QUEUE_NUM] = 2,
		[VIRTIO_PCI_QUEUE_SEL] = 2,
		[VIRTIO_PCI_STATUS] = 1,
	};

	if (off < sizeof(width) && width[off] == bytes)
		return true;
	m_violation(m, "LG1: %u bytes at %lu of the legacy registers", bytes, (long)off);
	return false;
}

static uint32_t page_number(const struct m_queue *q)
{
	return (uint32_t)(((uint64_t)q->addr[1] << 32 | q->addr[0]) >> VIRTIO_PCI_QUEUE_ADDR_SHIFT);
}

uint32_t mlegacy_read(struct model *m, uint64_t off, unsigned bytes)
{
	if (!width_fits(m, off, bytes))
		return 0;
	m->device_feature_select = m->driver_feature_select = 0;
	switch (off) {
	case VIRTIO_PCI_HOST_FEATURES:
		return mregs_common_read(m, COMMON(device_feature));
	case VIRTIO_PCI_GUEST_FEATURES:
		return mregs_common_read(m, COMMON(driver_feature));
	case VIRTIO_PCI_QUEUE_PFN:
		return mregs_common_read(m, COMMON(queue_enable)) == 0
			       ? 0
			       : page_number(&m->queue[m->queue_select]);
	case VIRTIO_PCI_QUEUE_NUM:
		return mregs_common_read(m, COMMON(queue_size));
	case VIRTIO_PCI_QUEUE_SEL:
		return mregs_common_read(m, COMMON(queue_select));
	default:
		return mregs_common_read(m, COMMON(device_status));
	}
}

static void write_address(struct model *m, uint64_t off, uint64_t addr)
{
	mregs_common_write(m, off, (uint32_t)addr);
	mregs_common_write(m, off + 4, (uint32_t)(addr >> 32));
}

/* LG3: as 2.7.2 lays it out, of the size that the device said. */
static void write_page_number(struct model *m, uint32_t val)
{
	uint64_t size = mregs_common_read(m, COMMON(queue_size));
	uint64_t desc = (uint64_t)val << VIRTIO_PCI_QUEUE_ADDR_SHIFT;
	uint64_t avail = desc + sizeof(struct vring_desc) * size;
	uint64_t used = (avail + 6 + 2 * size + VIRTIO_PCI_VRING_ALIGN - 1) &
			~(uint64_t)(VIRTIO_PCI_VRING_ALIGN - 1);

	if (val == 0) {
		m_violation(m, "LG3: page number 0");
		return;
	}
	if (mdma_host(m, desc, used + 6 + 8 * size - desc) == NULL)
		m_violation(m, "LG3: the queue at page 0x%x is not in one piece", val);
	write_address(m, COMMON(queue_desc_lo), desc);
	write_address(m, COMMON(queue_driver_lo), avail);
	write_address(m, COMMON(queue_device_lo), used);
	mregs_common_write(m, COMMON(queue_enable), 1);
}

void mlegacy_write(struct model *m, uint64_t off, unsigned bytes, uint32_t val)
{
	if (!width_fits(m, off, bytes))
		return;
	m->device_feature_select = m->driver_feature_select = 0;
	switch (off) {
	case VIRTIO_PCI_GUEST_FEATURES:
		mregs_common_write(m, COMMON(driver_feature), val);
		break;
	case VIRTIO_PCI_QUEUE_PFN:
		write_page_number(m, val);
		break;
	case VIRTIO_PCI_QUEUE_SEL:
		mregs_common_write(m, COMMON(queue_select), val);
		break;
	case VIRTIO_PCI_STATUS:
		mregs_common_write(m, COMMON(device_status), val);
		break;
	default:
		m_violation(m, "LG1: register %lu is read-only", (long)off);
	}
}
