/* plain_dma.h - "DMA memory" for disks that are served by this process or its kernel: ordinary
 * pages. */
#ifndef VBLKFS_PLAIN_DMA_H
#define VBLKFS_PLAIN_DMA_H
#include "blockdev.h"

void *plain_dma_alloc(struct blockdev *dev, size_t bytes);
void plain_dma_free(struct blockdev *dev, void *mem, size_t bytes);
#endif
