/* virtio_pci_layout.c - see virtio_pci_layout.h.
 *
 * The list is the device's word, and may be anything: it may loop, lead into the header or past the
 * end, name BARs that do not exist, or structures that reach out of them. Such capabilities are
 * passed over, as are unknown ones (4.1.4.1). */
#include <stdbool.h>
#include "virtio_pci_layout.h"

#define PCI_STATUS          0x06
#define PCI_STATUS_CAP_LIST 0x10
#define PCI_CAP_LIST        0x34
#define PCI_CAP_ID_VENDOR   0x09
#define PCI_CAP_ID_MSIX     0x11
#define PCI_CAP_MSIX_BYTES  12U
#define PCI_CONFIG_BYTES    256U
#define PCI_HEADER_BYTES    64U
#define COMMON_MIN          offsetof(struct virtio_pci_common_cfg, queue_notify_data)
#define DEVICE_MIN          8U /* a block device's capacity */

/* Where a structure of TYPE goes, and how much of it there must be. */
static struct vpci_region *region_of(
	struct vpci_layout *out, uint8_t type, uint64_t *min, uint64_t *align)
{
	*align = 4;
	switch (type) {
	case VIRTIO_PCI_CAP_COMMON_CFG:
		*min = COMMON_MIN;
		return &out->common;
	case VIRTIO_PCI_CAP_NOTIFY_CFG:
		*min = 2;
		*align = 2;
		return &out->notify;
	case VIRTIO_PCI_CAP_ISR_CFG:
		*min = 1;
		*align = 1;
		return &out->isr;
	case VIRTIO_PCI_CAP_DEVICE_CFG:
		*min = DEVICE_MIN;
		return &out->device;
	default:
		return NULL; /* 4.1.4.1: to be ignored */
	}
}

static bool is_usable(
	const struct hw *hw, const struct virtio_pci_cap *cap, uint64_t min, uint64_t align)
{
	uint64_t off = le32_get(cap->offset), bytes = le32_get(cap->length);

	return cap->bar <= 5 && bytes >= min && off % align == 0 && hw->bar[cap->bar].bytes != 0 &&
	       off + bytes <= hw->bar[cap->bar].bytes;
}

/* The first usable instance counts (4.1.4.1); one in an I/O BAR, a system call an access, only
 * where no memory BAR has it. */
static bool is_better(
	const struct hw *hw, const struct vpci_region *have, const struct virtio_pci_cap *cap)
{
	return have->bytes == 0 || (hw->bar[have->bar].is_io && !hw->bar[cap->bar].is_io);
}

static int take_capability(struct hw *hw, struct vpci_layout *out, uint32_t at)
{
	struct virtio_pci_cap cap;
	uint64_t min, align;
	struct vpci_region *r;
	le32 multiplier;
	int err = hw->ops->cfg_read(hw, at, &cap, sizeof(cap));

	if (err < 0)
		return err;
	if (cap.cap_len < sizeof(cap))
		return 0;
	r = region_of(out, cap.cfg_type, &min, &align);
	if (r == NULL || !is_usable(hw, &cap, min, align) || !is_better(hw, r, &cap))
		return 0;
	if (r == &out->notify) {
		if (cap.cap_len < sizeof(cap) + 4 || at + sizeof(cap) + 4 > PCI_CONFIG_BYTES)
			return 0;
		err = hw->ops->cfg_read(hw, at + sizeof(cap), &multiplier, 4);
		if (err < 0)
			return err;
		out->notify_multiplier = le32_get(multiplier);
	}
	*r = (struct vpci_region){
		.bar = cap.bar, .off = le32_get(cap.offset), .bytes = le32_get(cap.length)};
	return 0;
}

static int take(struct hw *hw, struct vpci_layout *out, uint8_t id, uint8_t at)
{
	if (id == PCI_CAP_ID_VENDOR && at + sizeof(struct virtio_pci_cap) <= PCI_CONFIG_BYTES)
		return take_capability(hw, out, at);
	if (id == PCI_CAP_ID_MSIX && at + PCI_CAP_MSIX_BYTES <= PCI_CONFIG_BYTES)
		out->msix = at;
	return 0;
}

int vpci_find_layout(struct hw *hw, struct vpci_layout *out)
{
	bool seen[PCI_CONFIG_BYTES / 4] = {false};
	uint8_t status, at, cap[2];
	int err = hw->ops->cfg_read(hw, PCI_STATUS, &status, 1);

	*out = (struct vpci_layout){.msix = 0};
	if (err < 0 || !(status & PCI_STATUS_CAP_LIST))
		return err;
	err = hw->ops->cfg_read(hw, PCI_CAP_LIST, &at, 1);
	if (err < 0)
		return err;
	for (at &= 0xfc; at >= PCI_HEADER_BYTES && !seen[at / 4]; at = cap[1] & 0xfc) {
		seen[at / 4] = true;
		err = hw->ops->cfg_read(hw, at, cap, 2);
		if (err == 0)
			err = take(hw, out, cap[0], at);
		if (err < 0)
			return err;
	}
	return 0;
}
