/* holders.h - who uses a kernel block device. */
#ifndef VBLKFS_HOLDERS_H
#define VBLKFS_HOLDERS_H
#include <stddef.h>

struct pci_disk;

/* In words, into OUT: "mounted at /srv (vda1)", "swap", "held by md0", "open in process 612
 * (fsck)". Partitions count. 1: in use, 0: not, or a negative errno. */
int holders_of(const char *block, char *out, size_t bytes);

/* Likewise of a disk on PCI, whoever drives it. Its file in /dev is never opened here: closing uio0 again
 * would take bus mastering from whoever does. */
int holders_of_disk(const struct pci_disk *d, char *out, size_t bytes);

/* Take BLOCK exclusively, so that nobody can mount it or build on it until the descriptor is
 * closed. -EBUSY. */
int holders_lock(const char *block);
#endif
