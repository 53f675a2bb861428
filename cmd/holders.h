/* holders.h - who uses a kernel block device. */
#ifndef VBLKFS_HOLDERS_H
#define VBLKFS_HOLDERS_H
#include <stddef.h>

/* In words, into OUT: "mounted at /srv (vda1)", "swap", "held by md0", "open in process 612
 * (fsck)". Partitions count. 1: in use, 0: not, or a negative errno. */
int holders_of(const char *block, char *out, size_t bytes);

/* Likewise for uio0 and its like. It is never opened here: closing it again would take bus
 * mastering from whoever drives the function. */
int holders_of_uio(const char *uio, char *out, size_t bytes);

/* Take BLOCK exclusively, so that nobody can mount it or build on it until the descriptor is
 * closed. -EBUSY. */
int holders_lock(const char *block);
#endif
