/* virtio_pci.h - the virtio-pci transport (virtio 1.2, 4.1). A device that has the registers of virtio 1 is
 * driven by them, one that has only those of a legacy device by these.
 *
 * It has one thread, which waits for the function's interrupts: its line, or
 * those vectors of MSI-X that wake nobody directly. */
#ifndef VBLKFS_VIRTIO_PCI_H
#define VBLKFS_VIRTIO_PCI_H
#include "virtio_bus.h"

/* Find the device behind HW and register it on the bus, with PARAMS for its driver. On success the
 * device owns HW, on failure it is the caller's still, and ERR has one line for the user. USE_IRQ:
 * else never listen for interrupts. */
int virtio_pci_open(struct hw *hw, const void *params, bool use_irq, struct virtio_device **out,
	char *err, size_t err_bytes);
void virtio_pci_close(struct virtio_device *vdev);
#endif
