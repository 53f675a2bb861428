/* source.h - open a disk by any name that a user may give it. */
#ifndef VBLKFS_SOURCE_H
#define VBLKFS_SOURCE_H
#include "../driver/disk.h"

/* disk.h's names, and uuid= and label= (in any case), which are looked for on all disks that are
 * bound and free. One that is not, but is on the list of udev's rule, is waited for. On failure ERR has
 * one line. */
int source_open(const char *source, const struct disk_opts *opts, struct blockdev **out, char *err,
	size_t err_bytes);
#endif
