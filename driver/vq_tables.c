/* vq_tables.c - see vq_tables.h. */
#include <errno.h>
#include <stdlib.h>
#include "vq_tables.h"

#define TABLES_MAX 1024U /* so that all of them fit one contiguous allocation */

int vq_tables_create(struct vq_tables *t, struct hw *hw, uint16_t queue_size)
{
	size_t contig;

	t->hw = hw;
	t->nr = queue_size < TABLES_MAX ? queue_size : TABLES_MAX;
	t->bytes = (size_t)t->nr * VQ_TABLE_DESCS * VQ_TABLE_DESC_BYTES;
	t->free = calloc(t->nr, sizeof(*t->free));
	if (t->free == NULL)
		return -ENOMEM;
	t->mem = hw->ops->dma_alloc(hw, t->bytes);
	if (t->mem == NULL)
		return -ENOMEM;
	t->addr = hw->ops->dma_addr(hw, t->mem, &contig);
	return t->addr == UINT64_MAX || contig < t->bytes ? -EFAULT : 0;
}

void vq_tables_reset(struct vq_tables *t)
{
	for (uint16_t i = 0; i < t->nr; i++)
		t->free[i] = (uint16_t)(t->nr - 1 - i);
	t->nr_free = t->nr;
}

void vq_tables_destroy(struct vq_tables *t, bool leak)
{
	if (t->mem != NULL && !leak)
		t->hw->ops->dma_free(t->hw, t->mem, t->bytes);
	free(t->free);
}
