/* vq_packed.c - the packed ring (virtio 1.2, 2.8).
 *
 * One ring of descriptors serves both ways: the driver writes a request's at `next_avail`, the
 * device one used descriptor at `next_used`, from which the request's whole length is skipped. Wrap
 * counters tell the laps apart.
 *
 * Invariants
 *  1. Ring memory is touched through hw.h's dma_load*() and dma_store*() only; what the device may
 *     have written over is kept in struct entry, by buffer id.
 *  2. Requests are added behind a head that is not available yet: the first since the last kick.
 *     Its flags are stored last, by vqp_kick_prepare(), and show all of them at once (2.8.6).
 *  3. From then until it is used a request's descriptors are not written (2.8.16).
 *  4. The device may return each request that it was shown once, and nothing else.
 *  5. With IN_ORDER a request's buffer id is where it stands in the ring: so next_used is also the
 *     oldest one's id.
 *  6. With IN_ORDER one descriptor is never used: QEMU takes a ring that is full for an empty one
 *     when a request of it is done, and returns none of them (seen with 10.0.13). */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "vq_packed.h"
#include "vq_tables.h"

#define LINE_BYTES 64U

struct entry {       /* by buffer id */
	void *token; /* NULL: free */
	uint64_t in_bytes;
	uint16_t nr_desc;
	uint16_t table;
	uint16_t number; /* of the request, as they are added */
	uint16_t next;   /* free one */
};

struct vq_packed {
	struct hw *hw;
	bool event_idx;
	bool in_order;
	bool cb_enabled;
	bool avail_wrap, used_wrap;
	uint16_t size;
	uint16_t usable; /* descriptors: invariant 6 */
	uint16_t next_avail, next_used;
	uint16_t nr_free; /* descriptors */
	uint16_t free_id;
	uint16_t added, shown, returned; /* requests, ever */
	uint16_t batch_end; /* when so many have returned the next used descriptor is to be read */
	uint16_t unshown_descs;
	uint16_t first_head, first_flags; /* invariant 2 */

	struct vring_packed_desc *desc;
	le32 *driver_event, *device_event;
	struct entry *entry;
	struct vq_tables tables; /* with INDIRECT_DESC */

	void *mem;
	size_t mem_bytes;
	struct vq_addresses addr;
};

/* | desc | driver's event | device's event |, each on cache lines of its own */
static int alloc_ring(struct vq_packed *p)
{
	size_t driver_at =
		(sizeof(*p->desc) * p->size + LINE_BYTES - 1) & ~(size_t)(LINE_BYTES - 1);
	size_t bytes = driver_at + 2 * (size_t)LINE_BYTES, contig;
	uint8_t *mem = p->hw->ops->dma_alloc(p->hw, bytes);

	if (mem == NULL)
		return -ENOMEM;
	p->mem = mem;
	p->mem_bytes = bytes;
	p->desc = (struct vring_packed_desc *)mem;
	p->driver_event = (le32 *)(mem + driver_at);
	p->device_event = (le32 *)(mem + driver_at + LINE_BYTES);
	p->addr.desc = p->hw->ops->dma_addr(p->hw, mem, &contig);
	p->addr.driver = p->addr.desc + driver_at;
	p->addr.device = p->addr.driver + LINE_BYTES;
	return p->addr.desc == UINT64_MAX || contig < bytes ? -EFAULT : 0;
}

static void set_event(struct vq_packed *p, uint32_t off_wrap, uint32_t flags)
{
	dma_store32(p->hw, p->driver_event, off_wrap | flags << VRING_PACKED_EVENT_FLAGS_SHIFT);
}

/* The ring's memory is zero (2.8.11). */
static void start_ring(struct vq_packed *p)
{
	for (uint16_t i = 0; i < p->size; i++)
		p->entry[i] = (struct entry){.next = i + 1};
	p->free_id = 0;
	p->nr_free = p->usable;
	p->next_avail = p->next_used = 0;
	p->avail_wrap = p->used_wrap = true;
	p->added = p->shown = p->returned = p->batch_end = p->unshown_descs = 0;
	p->cb_enabled = false;
	vq_tables_reset(&p->tables);
	set_event(p, 0, VRING_PACKED_EVENT_FLAG_DISABLE);
}

int vqp_create(struct virtio_device *vdev, uint16_t size, struct vq_packed **out)
{
	struct vq_packed *p = calloc(1, sizeof(*p));
	int err;

	if (p == NULL)
		return -ENOMEM;
	p->hw = vdev->hw;
	p->size = size;
	p->event_idx = virtio_has_feature(vdev, VIRTIO_RING_F_EVENT_IDX);
	p->in_order = virtio_has_feature(vdev, VIRTIO_F_IN_ORDER);
	p->usable = (uint16_t)(p->in_order && size > 1 ? size - 1 : size);
	p->entry = calloc(size, sizeof(*p->entry));
	err = p->entry == NULL ? -ENOMEM : alloc_ring(p);
	if (err == 0 && virtio_has_feature(vdev, VIRTIO_RING_F_INDIRECT_DESC))
		err = vq_tables_create(&p->tables, p->hw, size);
	if (err < 0) {
		vqp_destroy(p, false);
		return err;
	}
	start_ring(p);
	*out = p;
	return 0;
}

void vqp_destroy(struct vq_packed *p, bool leak)
{
	if (p->mem != NULL && !leak)
		p->hw->ops->dma_free(p->hw, p->mem, p->mem_bytes);
	vq_tables_destroy(&p->tables, leak);
	free(p->entry);
	free(p);
}

void vqp_reset(struct vq_packed *p)
{
	memset(p->mem, 0, p->mem_bytes);
	start_ring(p);
}

struct vq_addresses vqp_addresses(const struct vq_packed *p)
{
	return p->addr;
}

unsigned vqp_max_segs(const struct vq_packed *p)
{
	if (p->tables.mem == NULL || p->size < VQ_TABLE_DESCS)
		return p->usable; /* 2.8.19: no list longer than the queue, indirect or not */
	return VQ_TABLE_DESCS;
}

/* As in the split ring: when the ring fills up. */
static bool use_table(const struct vq_packed *p, unsigned nr)
{
	return nr > 1 && p->tables.nr_free > 0 && p->nr_free < nr + p->size / 2U;
}

bool vqp_has_room(const struct vq_packed *p, unsigned nr_segs)
{
	return p->nr_free >= (use_table(p, nr_segs) ? 1U : nr_segs);
}

static uint16_t lap_flags(const struct vq_packed *p)
{
	return p->avail_wrap ? VRING_PACKED_DESC_F_AVAIL : VRING_PACKED_DESC_F_USED;
}

/* The next descriptor of the ring. The first since the last kick is not made available yet. */
static void put_desc(struct vq_packed *p, const struct vq_seg *seg, uint16_t id, uint16_t flags)
{
	struct vring_packed_desc *d = &p->desc[p->next_avail];

	dma_store64(p->hw, &d->addr, seg->addr);
	dma_store32(p->hw, &d->len, seg->bytes);
	dma_store16(p->hw, &d->id, id);
	flags |= lap_flags(p);
	if (p->unshown_descs == 0) {
		p->first_head = p->next_avail;
		p->first_flags = flags;
	} else {
		dma_store16(p->hw, &d->flags, flags);
	}
	p->unshown_descs++;
	p->nr_free--;
	if (++p->next_avail == p->size) {
		p->next_avail = 0;
		p->avail_wrap = !p->avail_wrap;
	}
}

static void put_direct(
	struct vq_packed *p, const struct vq_seg *seg, unsigned nr_out, unsigned nr, uint16_t id)
{
	for (unsigned i = 0; i < nr; i++)
		put_desc(p, &seg[i], id,
			(uint16_t)((i >= nr_out ? VRING_DESC_F_WRITE : 0) |
				   (i + 1 < nr ? VRING_DESC_F_NEXT : 0)));
}

/* In a table the order alone links descriptors, and WRITE is the only flag (2.8.19). */
static uint16_t put_indirect(
	struct vq_packed *p, const struct vq_seg *seg, unsigned nr_out, unsigned nr, uint16_t id)
{
	uint16_t number = p->tables.free[--p->tables.nr_free];
	struct vring_packed_desc *table = vq_table(&p->tables, number);
	const struct vq_seg whole = {
		.addr = vq_table_addr(&p->tables, number),
		.bytes = nr * VQ_TABLE_DESC_BYTES,
	};

	for (unsigned i = 0; i < nr; i++) {
		dma_store64(p->hw, &table[i].addr, seg[i].addr);
		dma_store32(p->hw, &table[i].len, seg[i].bytes);
		dma_store16(p->hw, &table[i].id, 0);
		dma_store16(p->hw, &table[i].flags, i >= nr_out ? VRING_DESC_F_WRITE : 0);
	}
	put_desc(p, &whole, id, VRING_DESC_F_INDIRECT);
	return number;
}

int vqp_add(
	struct vq_packed *p, const struct vq_seg *seg, unsigned nr_out, unsigned nr_in, void *token)
{
	unsigned nr = nr_out + nr_in;
	uint16_t id = p->in_order ? p->next_avail : p->free_id;
	struct entry *e;

	assert(nr > 0 && nr <= vqp_max_segs(p) && token != NULL);
	if (!vqp_has_room(p, nr))
		return -ENOSPC;
	e = &p->entry[id];
	p->free_id = e->next;
	e->table = VQ_NO_TABLE;
	e->nr_desc = (uint16_t)nr;
	if (use_table(p, nr)) {
		e->table = put_indirect(p, seg, nr_out, nr, id);
		e->nr_desc = 1;
	} else {
		put_direct(p, seg, nr_out, nr, id);
	}
	e->token = token;
	e->in_bytes = vq_sum_bytes(seg + nr_out, nr_in);
	e->number = p->added++;
	return 0;
}

unsigned vqp_nr_unkicked(const struct vq_packed *p)
{
	return (uint16_t)(p->added - p->shown);
}

static uint16_t with_wrap(uint16_t index, bool wrap)
{
	return index | (wrap ? VRING_PACKED_EVENT_WRAP : 0);
}

/* Nothing is unshown. */
uint16_t vqp_notification_data(const struct vq_packed *p)
{
	return with_wrap(p->next_avail, p->avail_wrap);
}

/* 2.8.10: does the device want to hear of what was just shown, NR descriptors up to next_avail? */
static bool wants_kick(struct vq_packed *p, uint16_t nr)
{
	uint32_t word = dma_load32(p->hw, p->device_event);
	uint32_t flags = word >> VRING_PACKED_EVENT_FLAGS_SHIFT & 3;
	uint16_t event = word & (VRING_PACKED_EVENT_WRAP - 1), new = p->next_avail;

	if (flags != VRING_PACKED_EVENT_FLAG_DESC || !p->event_idx)
		return flags != VRING_PACKED_EVENT_FLAG_DISABLE;
	if (((word & VRING_PACKED_EVENT_WRAP) != 0) != p->avail_wrap)
		event = (uint16_t)(event - p->size); /* of the lap before */
	return (uint16_t)(new - event - 1) < nr;
}

bool vqp_kick_prepare(struct vq_packed *p)
{
	uint16_t nr = p->unshown_descs;

	if (nr == 0)
		return false;
	/* All else before the first head's flags (2.8.21.1.1); the device reads them first. */
	dma_wmb(p->hw);
	dma_store16(p->hw, &p->desc[p->first_head].flags, p->first_flags);
	p->unshown_descs = 0;
	p->shown = p->added;
	/* The flags before the device's wish is read (2.8.21.3.1); the device stores its wish, then
	 * looks at the flags once more. */
	dma_mb(p->hw);
	return wants_kick(p, nr);
}

static bool is_used(const struct vq_packed *p, uint16_t flags)
{
	bool avail = (flags & VRING_PACKED_DESC_F_AVAIL) != 0;
	bool used = (flags & VRING_PACKED_DESC_F_USED) != 0;

	return avail == used && used == p->used_wrap;
}

static bool is_with_device(const struct vq_packed *p, uint16_t id)
{
	return id < p->size && p->entry[id].token != NULL &&
	       (uint16_t)(p->shown - p->entry[id].number - 1) < VRING_MAX_SIZE;
}

static void *reclaim(struct vq_packed *p, uint16_t id)
{
	struct entry *e = &p->entry[id];
	void *token = e->token;

	p->next_used = (uint16_t)(p->next_used + e->nr_desc);
	if (p->next_used >= p->size) {
		p->next_used = (uint16_t)(p->next_used - p->size);
		p->used_wrap = !p->used_wrap;
	}
	p->nr_free = (uint16_t)(p->nr_free + e->nr_desc);
	if (e->table != VQ_NO_TABLE)
		p->tables.free[p->tables.nr_free++] = e->table;
	e->token = NULL;
	e->next = p->free_id;
	p->free_id = id;
	return token;
}

/* Read the next used descriptor, for one request, *ID; or, with IN_ORDER, for all from the oldest to
 * the one that it names (2.8.8). False: none, or broken. */
static bool take_used(struct virtqueue *vq, uint16_t *id_out)
{
	struct vq_packed *p = vq->packed;
	const struct vring_packed_desc *d = &p->desc[p->next_used];
	uint16_t flags = dma_load16(p->hw, &d->flags), id;
	uint32_t bytes;

	if (!is_used(p, flags))
		return false;
	/* The flags before the rest and the data; the device stores those, then the flags. */
	dma_rmb(p->hw);
	id = dma_load16(p->hw, &d->id);
	bytes = dma_load32(p->hw, &d->len);
	if (!is_with_device(p, id)) {
		vq_break(vq, "it does not have the request that it returns, id", id);
		return false;
	}
	/* Only with WRITE the length counts (2.8.4). Too few bytes say nothing, too many can't be. */
	if ((flags & VRING_DESC_F_WRITE) != 0 && bytes > p->entry[id].in_bytes) {
		vq_break(vq, "it wrote past the request's buffers, bytes", bytes);
		return false;
	}
	p->batch_end = (uint16_t)(p->in_order ? p->entry[id].number + 1 : p->returned + 1);
	if (!p->in_order)
		*id_out = id;
	return true;
}

void *vqp_get_buf(struct virtqueue *vq)
{
	struct vq_packed *p = vq->packed;
	uint16_t id = p->next_used;

	if (p->returned == p->batch_end && !take_used(vq, &id))
		return NULL;
	p->returned++;
	return reclaim(p, id);
}

void vqp_disable_cb(struct vq_packed *p)
{
	if (!p->cb_enabled)
		return;
	p->cb_enabled = false;
	set_event(p, 0, VRING_PACKED_EVENT_FLAG_DISABLE);
}

bool vqp_enable_cb(struct vq_packed *p)
{
	p->cb_enabled = true;
	if (p->event_idx)
		set_event(p, with_wrap(p->next_used, p->used_wrap), VRING_PACKED_EVENT_FLAG_DESC);
	else
		set_event(p, 0, VRING_PACKED_EVENT_FLAG_ENABLE);
	/* The wish before the flags are looked at again; the device stores flags, then reads it. */
	dma_mb(p->hw);
	return p->returned != p->batch_end ||
	       is_used(p, dma_load16(p->hw, &p->desc[p->next_used].flags));
}
