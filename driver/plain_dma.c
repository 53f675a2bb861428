#include <stdlib.h>
#include <string.h>
#include "plain_dma.h"

#define HUGE_BYTES (2U << 20)

void *plain_dma_alloc(struct blockdev *dev, size_t bytes)
{
	size_t align = bytes % HUGE_BYTES == 0 ? HUGE_BYTES : 4096;
	void *mem;

	(void)dev;
	if (bytes == 0 || posix_memalign(&mem, align, bytes) != 0)
		return NULL;
	memset(mem, 0, bytes);
	return mem;
}

void plain_dma_free(struct blockdev *dev, void *mem, size_t bytes)
{
	(void)dev;
	(void)bytes;
	free(mem);
}
