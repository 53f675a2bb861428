/* bind_list.h - the disks that are for user space at every boot and whenever they are plugged in:
 * /etc/vblkfs/bind.conf. A line of it is a PCI address or serial=ID; # begins a comment. */
#ifndef VBLKFS_BIND_LIST_H
#define VBLKFS_BIND_LIST_H
#include <stdbool.h>
#include "pci_disk.h"

#define BIND_CONF "/etc/vblkfs/bind.conf"

/* Is D on the list, and was it not given back by hand since the boot? A negative errno, with a line in
 * ERR: the list can't be read, or makes no sense. No file: nothing is on the list. */
int bind_list_has(const struct pci_disk *d, char *err, size_t err_bytes);
/* D was given back by hand, so the list must not take it away again; or bound by hand. */
void bind_list_skip(const struct pci_disk *d, bool skip);
/* Will udev's rule yet bind the disk at ADDRESS, or with NULL any, as far as can be told: is it on the
 * list, or does the kernel not know its serial number yet? */
bool bind_list_is_pending(const char *address);
#endif
