/* virtio_pci_layout.h - where in its BARs a virtio PCI function has its structures (virtio 1.2,
 * 4.1.4). */
#ifndef VBLKFS_VIRTIO_PCI_LAYOUT_H
#define VBLKFS_VIRTIO_PCI_LAYOUT_H
#include "hw.h"
#include "virtio.h"

struct vpci_region { /* bytes 0: there is none */
	uint8_t bar;
	uint64_t off, bytes;
};

struct vpci_layout {
	struct vpci_region common, notify, isr, device;
	uint32_t notify_multiplier;
	uint8_t msix; /* where in configuration space the MSI-X capability is; 0: none */
};

/* Reads the capability list. What it finds lies whole inside a BAR that exists, is aligned, and has
 * its least size. */
int vpci_find_layout(struct hw *hw, struct vpci_layout *out);
#endif
