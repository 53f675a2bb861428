/* pci_disk.h - the machine's virtio block devices on PCI, as sysfs shows them; whatever driver they
 * have. */
#ifndef VBLKFS_PCI_DISK_H
#define VBLKFS_PCI_DISK_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pci_disk {
	char address[16]; /* 0000:00:05.0 */
	uint16_t vendor, device, subvendor, subdevice;
	uint8_t revision;
	char driver[32];     /* in use; empty: none */
	char block[32];      /* the kernel's block device (vda); empty: none */
	char node[32];       /* of a user-space driver: uio0, vfio/7; empty: none */
	char serial[21];     /* empty: none, or not known */
	uint64_t bytes;      /* 0: not known */
	char old_driver[32]; /* recorded by bind: the driver to give it back to */
};

/* All of them, by address. *OUT is the caller's to free. How many, or a negative errno. */
int pci_disk_list(struct pci_disk **out);
/* One, by address in any form that disk_is_pci() takes. On failure a line in ERR. */
int pci_disk_find(const char *address, struct pci_disk *out, char *err, size_t err_bytes);

bool pci_disk_is_ours(const struct pci_disk *d); /* bound to a driver that hw_open() knows */

/* The record that bind leaves and unbind removes: old driver, size, serial. */
int pci_disk_record_write(const struct pci_disk *d);
void pci_disk_record_remove(const struct pci_disk *d);
#endif
