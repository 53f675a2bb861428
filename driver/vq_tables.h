/* vq_tables.h - memory for indirect descriptor tables, all of one length, as a stack of free ones.
 *
 * Private to the rings. Threads: as the queue's. */
#ifndef VBLKFS_VQ_TABLES_H
#define VBLKFS_VQ_TABLES_H
#include "hw.h"

#define VQ_TABLE_DESCS      128U
#define VQ_TABLE_DESC_BYTES 16U /* of either layout */
#define VQ_NO_TABLE         0xffffU

struct vq_tables { /* mem NULL: there are none */
	struct hw *hw;
	uint8_t *mem;
	size_t bytes;
	uint64_t addr;
	uint16_t *free; /* a stack */
	uint16_t nr, nr_free;
};

int vq_tables_create(struct vq_tables *t, struct hw *hw, uint16_t queue_size);
void vq_tables_reset(struct vq_tables *t); /* all of them are free */
void vq_tables_destroy(struct vq_tables *t, bool leak);

static inline void *vq_table(const struct vq_tables *t, uint16_t number)
{
	return t->mem + (size_t)number * VQ_TABLE_DESCS * VQ_TABLE_DESC_BYTES;
}

static inline uint64_t vq_table_addr(const struct vq_tables *t, uint16_t number)
{
	return t->addr + (uint64_t)number * VQ_TABLE_DESCS * VQ_TABLE_DESC_BYTES;
}
#endif
