/* dma.h - memory that a device may read and write, in pages of 2 MiB: of a named hugetlbfs file for
 * hardware, of an unnamed file for a device that another process plays, ordinary memory behind an
 * IOMMU.
 *
 * Named, so that the pages outlive a killed process and nobody else gets them while the device may
 * still write: the next owner takes them over, once it has reset the device. Pages are added when
 * memory is asked for, and stay until the arena goes.
 *
 * Threads: any, but for create and destroy. */
#ifndef VBLKFS_DMA_H
#define VBLKFS_DMA_H
#include <stddef.h>
#include <stdint.h>

#define DMA_PAGE_BYTES (2U << 20)

struct dma_arena;

/* Is there any memory to be had for the function at ADDRESS? On failure ERR has one line that says
 * what to do. Touches nothing that a former owner left. */
int dma_check(const char *address, char *err, size_t err_bytes);

/* For the function at ADDRESS, which was reset since its last owner died. */
int dma_create(const char *address, struct dma_arena **out);
/* To be mapped by another process from dma_file(), page N at N * DMA_PAGE_BYTES; the addresses are
 * this process's own. GROWS is asked, in the middle of a dma_alloc(), before there are NR_PAGES. */
typedef int (*dma_grows_fn)(void *arg, unsigned nr_pages);
int dma_create_shared(dma_grows_fn grows, void *arg, struct dma_arena **out);
int dma_file(const struct dma_arena *arena);
void *dma_page(const struct dma_arena *arena, unsigned nr);
#define DMA_PAGES_MAX 8192U /* 16 GiB */

/* Ordinary memory. MAPS is asked, likewise, to make page NR, at MEM, known to the device: its
 * address there goes into *ADDR. */
typedef int (*dma_maps_fn)(void *arg, unsigned nr, void *mem, uint64_t *addr);
int dma_create_mapped(dma_maps_fn maps, void *arg, struct dma_arena **out);

/* Memory not freed by then stays in the file, for the next owner's dma_create() to free. */
void dma_destroy(struct dma_arena *arena);
/* Free what a dead owner left, if any: only once the function at ADDRESS was reset since. */
void dma_remove_file(const char *address);

/* Zeroed; 4096-aligned; up to 2 MiB contiguous; a multiple of 2 MiB is 2 MiB-aligned. NULL: none
 * left. */
void *dma_alloc(struct dma_arena *arena, size_t bytes);
void dma_free(struct dma_arena *arena, void *mem, size_t bytes);
/* The device's address, and how many bytes on are contiguous. UINT64_MAX: not of this arena. */
uint64_t dma_addr(const struct dma_arena *arena, const void *mem, size_t *contig);
#endif
