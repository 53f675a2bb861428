/* shm.h - DMA memory that another process maps: driver/dma.h's shared arena, of fz.h's memory.
 *
 * Its pages are where the device's addresses are, so that a few pieces make many of them. */
#ifndef VBLKFS_FUZZ_SHM_H
#define VBLKFS_FUZZ_SHM_H
#include "fz.h"

void shm_begin(void);
void shm_end(void); /* checks that none is left */
struct fz_dma *shm_dma(void);
int shm_file(void); /* of fds.h; -1: there is no arena */
#endif
