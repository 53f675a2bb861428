/* signature.h - what a disk carries already: a filesystem, a partition table, a member of something
 * larger.
 *
 * WHAT gets one line for a message: `an ext4 filesystem, label "data"'. Errors are negative errnos.
 * Nothing is written. */
#ifndef VBLKFS_SIGNATURE_H
#define VBLKFS_SIGNATURE_H
#include <stddef.h>

struct blockdev;

enum { SIGNATURE_NONE = 0, SIGNATURE_OURS = 1, SIGNATURE_FOREIGN = 2 };

int signature_find_on(struct blockdev *dev, char *what, size_t bytes);
/* The same of an image file or a kernel block device, which must not be in use. */
int signature_find(const char *path, char *what, size_t bytes);
#endif
