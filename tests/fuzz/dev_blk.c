/* dev_blk.c - see dev_blk.h. */
#include <string.h>
#include "dev_blk.h"
#include "virtio.h"

static void drop(struct dev_blk *b, unsigned i)
{
	b->nr_taken--;
	memmove(&b->taken[i], &b->taken[i + 1], (b->nr_taken - i) * sizeof(b->taken[0]));
}

struct virtio_blk_config dev_blk_config(uint16_t nr_queues)
{
	return (struct virtio_blk_config){
		.capacity = le64_of(16384),
		.size_max = le32_of(65536),
		.seg_max = le32_of(126),
		.blk_size = le32_of(512),
		.writeback = 1,
		.num_queues = le16_of(nr_queues),
		.max_discard_sectors = le32_of(1024),
		.max_discard_seg = le32_of(1),
		.discard_sector_alignment = le32_of(8),
		.max_write_zeroes_sectors = le32_of(1024),
		.max_write_zeroes_seg = le32_of(1),
		.write_zeroes_may_unmap = 1,
		.max_secure_erase_sectors = le32_of(1024),
		.max_secure_erase_seg = le32_of(1),
		.secure_erase_sector_alignment = le32_of(8),
	};
}

bool dev_blk_take(struct dev_blk *b, struct dev_ring *ring, unsigned queue)
{
	struct dev_taken *t = &b->taken[b->nr_taken];

	if (b->nr_taken == DEV_TAKEN_MAX || !dev_ring_take(ring, &t->chain))
		return false;
	FZ_CHECK(t->chain.sane || b->dirty, "descriptors lead out of DMA memory");
	t->queue = queue;
	b->nr_taken++;
	return true;
}

static void move_data(struct dev_blk *b, const struct dev_chain *c, bool out, uint64_t sector)
{
	uint64_t at = 0;
	unsigned first = out ? 1 : 0, last = c->nr - 1;

	for (unsigned i = first; i < last; i++) {
		if (c->seg[i].writable == out)
			continue;
		if (!b->dirty)
			b->ops->data(b->ops->arg, out, sector, c->seg[i].mem, c->seg[i].bytes, at);
		at += c->seg[i].bytes;
	}
}

/* How many bytes it wrote. */
static uint32_t execute(struct dev_blk *b, const struct dev_chain *c, uint8_t status)
{
	struct virtio_blk_outhdr header;
	const struct dev_seg *end;

	if (!c->sane || c->nr < 2 || c->seg[0].bytes < sizeof(header))
		return 0;
	end = &c->seg[c->nr - 1];
	if (!end->writable)
		return 0;
	memcpy(&header, c->seg[0].mem, sizeof(header));
	if (status == VIRTIO_BLK_S_OK && le32_get(header.type) == VIRTIO_BLK_T_IN)
		move_data(b, c, false, le64_get(header.sector));
	if (le32_get(header.type) == VIRTIO_BLK_T_OUT)
		move_data(b, c, true, le64_get(header.sector));
	end->mem[end->bytes - 1] = status;
	return (uint32_t)c->in_bytes;
}

void dev_blk_finish(struct dev_blk *b, struct dev_ring *ring, unsigned i, uint8_t status)
{
	const struct dev_chain *c = &b->taken[i].chain;

	if (ring != NULL)
		dev_ring_use(ring, c->id, execute(b, c, status), c->skip);
	drop(b, i);
}

void dev_blk_forget(struct dev_blk *b, unsigned queue)
{
	for (unsigned i = b->nr_taken; i > 0; i--)
		if (b->taken[i - 1].queue == queue)
			drop(b, i - 1);
}
