/* pci_func.h - one PCI function: found by its address, its configuration space, its BARs. On
 * libpciaccess and sysfs.
 *
 * Threads: open and close from one at a time; the rest from any, but pcif_map() before the accesses
 * that need it. */
#ifndef VBLKFS_PCI_FUNC_H
#define VBLKFS_PCI_FUNC_H
#include "hw.h"

struct pci_func;

/* ADDRESS as 0000:00:05.0. -ENODEV: there is none. */
int pcif_open(const char *address, struct pci_func **out);
void pcif_close(struct pci_func *f);
void pcif_describe(const struct pci_func *f, struct hw_ids *ids, struct hw_bar bar[6]);

/* All of it or an error: -EPERM when the kernel gives less than was asked for. */
int pcif_cfg_read(struct pci_func *f, uint32_t off, void *buf, uint32_t len);
int pcif_cfg_write(struct pci_func *f, uint32_t off, const void *buf, uint32_t len);

int pcif_map(struct pci_func *f, int bar, uint64_t off, uint64_t len);
uint32_t pcif_read(struct pci_func *f, int bar, uint64_t off, unsigned bytes);
void pcif_write(struct pci_func *f, int bar, uint64_t off, unsigned bytes, uint32_t val);

int pcif_reset(struct pci_func *f); /* by the kernel; -EOPNOTSUPP where the function can't */
#endif
