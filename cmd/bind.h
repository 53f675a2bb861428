/* bind.h - hand a virtio disk to a driver for user space, and give it back. */
#ifndef VBLKFS_BIND_H
#define VBLKFS_BIND_H
#include <stdbool.h>
#include "pci_disk.h"

#define BIND_HUGEPAGES 64U /* reserved when there are none: 128 MiB in pages of 2 MiB */

struct bind_report {
	bool already;                /* nothing was to be done */
	uint64_t hugepages_reserved; /* by this call; 0: there were some */
	bool module_loaded;          /* by this call */
};

/* DRIVER: uio_pci_generic or vfio-pci; NULL: what suits the disk. Refuses with -EBUSY a disk that is
 * in use, and unless FORCE one that carries a known signature. On failure ERR has one line, and the
 * disk is with the driver that it had. */
int bind_disk(struct pci_disk *d, const char *driver, bool force, struct bind_report *report,
	char *err, size_t err_bytes);
bool bind_knows_driver(const char *name);

/* Back to the driver that bind recorded, else to the one that claims it. Refuses -EBUSY while in
 * use. */
int unbind_disk(struct pci_disk *d, bool *already, char *err, size_t err_bytes);
/* Is another process about to bind or unbind a disk? */
bool bind_is_under_way(void);
#endif
