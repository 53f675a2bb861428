/* libvblk.h - what the library's parts, and its tests, share. */
#ifndef VBLKFS_LIBVBLK_H
#define VBLKFS_LIBVBLK_H
#include <stdatomic.h>
#include "blockdev.h"
#include "vblk/vblk.h"

struct vblk_disk {
	struct blockdev *dev;
	atomic_uint nr_queues;
	unsigned nr_forks; /* of this process's ancestors, when it was opened */
	void (*resized)(void *arg, uint64_t bytes);
	void *resized_arg;
};

/* A disk of the library's around DEV, which it then owns. NULL: no memory. */
struct vblk_disk *libvblk_wrap(struct blockdev *dev);
/* False: this process was forked from the one that has it open. */
bool libvblk_is_ours(const struct vblk_disk *disk);
#endif
