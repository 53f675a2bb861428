/* vfio_bar.h - configuration space and BARs of a function, through its VFIO device file: mapped
 * where the kernel lets it, else by pread() and pwrite().
 *
 * Threads: any, but for open and close; vfio_bar_map() before the accesses that need it. Errors are
 * negative errnos. */
#ifndef VBLKFS_VFIO_BAR_H
#define VBLKFS_VFIO_BAR_H
#include <pthread.h>
#include "hw.h"

struct vfio_bar {
	struct hw_bar is;
	uint64_t at;    /* where it is in the device file */
	uint8_t **page; /* where its pages are mapped; NULL: not, or not yet */
};

struct vfio_bars {
	int device;
	uint64_t config_at, config_bytes;
	pthread_mutex_t lock; /* guards mapping */
	struct vfio_bar bar[6];
};

int vfio_bars_open(struct vfio_bars *b, int device);
void vfio_bars_close(struct vfio_bars *b);
/* From now on reads give ones, and writes go nowhere. */
void vfio_bars_blank(struct vfio_bars *b);

int vfio_cfg_read(struct vfio_bars *b, uint32_t off, void *buf, uint32_t len);
int vfio_cfg_write(struct vfio_bars *b, uint32_t off, const void *buf, uint32_t len);

int vfio_bar_map(struct vfio_bars *b, int bar, uint64_t off, uint64_t len);
uint32_t vfio_bar_read(struct vfio_bars *b, int bar, uint64_t off, unsigned bytes);
void vfio_bar_write(struct vfio_bars *b, int bar, uint64_t off, unsigned bytes, uint32_t val);
#endif
