/* virtqueue.c - virtqueues, and the split ring (virtio 1.2, 2.7); the packed one is in vq_packed.c.
 *
 * Invariants
 *  1. Ring memory is touched through hw.h's dma_load*() and dma_store*() only, and never read back
 *     to learn our own state: what the device may have scribbled over is kept in struct entry.
 *  2. Between vq_kick_prepare() and its used entry a request's descriptors are not written (3.3.1).
 *  3. shown_idx - used_idx is how many requests the device has; it may return each of them once,
 *     and nothing else.
 *  4. A device that breaks 3 makes the queue broken, for good.
 *  5. With IN_ORDER the free descriptors are a ring, not a stack: each request takes those behind
 *     the last one's, so the oldest one's are where the one before it ended (2.7.5.2). */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include "log.h"
#include "virtqueue.h"
#include "vq_packed.h"
#include "vq_tables.h"

#define LINE_BYTES 64U

struct entry {       /* of a descriptor in the ring */
	void *token; /* first of a request: not NULL; else NULL */
	uint64_t in_bytes;
	uint16_t next; /* of the request, or of the free list */
	uint16_t nr_desc;
	uint16_t table;
	uint16_t avail_idx; /* where in the available ring the request went */
};

struct vq_ring {
	struct hw *hw;
	bool legacy;
	bool event_idx;
	bool in_order;
	bool cb_enabled;
	uint16_t size, mask;
	uint16_t avail_idx; /* next to fill */
	uint16_t shown_idx; /* what the device was shown */
	uint16_t used_idx;  /* next to take */
	uint16_t used_seen; /* the device's, as of the last look */
	uint16_t batch_end; /* where the next used entry is to be read */
	uint16_t oldest;    /* IN_ORDER: the head of the next that comes back */
	uint16_t free_head, nr_free;

	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	le16 *used_event, *avail_event;
	struct entry *entry;
	struct vq_tables tables; /* with INDIRECT_DESC */

	void *mem;
	size_t mem_bytes;
	struct vq_addresses addr;
};

uint64_t vq_known_features(void)
{
	uint64_t known = 1ULL << VIRTIO_RING_F_INDIRECT_DESC | 1ULL << VIRTIO_RING_F_EVENT_IDX |
			 1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_F_RING_PACKED |
			 1ULL << VIRTIO_F_IN_ORDER;

#if defined(__x86_64__) || defined(__i386__)
	known |= 1ULL << VIRTIO_F_ORDER_PLATFORM; /* here hw.h's barriers hold for devices too */
#endif
	return known;
}

static size_t align_up(size_t bytes, size_t align)
{
	return (bytes + align - 1) & ~(align - 1);
}

/* One block, as 2.7 draws it, the used ring on cache lines of its own:  | desc | avail, used_event |
 * used, avail_event |. Of a legacy device it is on pages of its own (2.7.2). */
static int alloc_ring(struct vq_ring *r, uint16_t size)
{
	size_t avail_at = sizeof(struct vring_desc) * size;
	size_t used_at =
		align_up(avail_at + sizeof(struct vring_avail) + sizeof(le16) * (size + 1U),
			r->legacy ? VIRTIO_PCI_VRING_ALIGN : LINE_BYTES);
	size_t bytes = used_at + sizeof(struct vring_used) + sizeof(struct vring_used_elem) * size +
		       sizeof(le16);
	uint8_t *mem = r->hw->ops->dma_alloc(r->hw, bytes);
	size_t contig;

	if (mem == NULL)
		return -ENOMEM;
	r->mem = mem;
	r->mem_bytes = bytes;
	r->desc = (struct vring_desc *)mem;
	r->avail = (struct vring_avail *)(mem + avail_at);
	r->used = (struct vring_used *)(mem + used_at);
	r->used_event = &r->avail->ring[size];
	r->avail_event = (le16 *)&r->used->ring[size];
	r->addr.desc = r->hw->ops->dma_addr(r->hw, mem, &contig);
	r->addr.driver = r->addr.desc + avail_at;
	r->addr.device = r->addr.desc + used_at;
	return r->addr.desc == UINT64_MAX || contig < bytes ? -EFAULT : 0;
}

static int alloc_entries(struct vq_ring *r)
{
	r->entry = calloc(r->size, sizeof(*r->entry));
	return r->entry == NULL ? -ENOMEM : 0;
}

static void free_ring(struct vq_ring *r, bool leak)
{
	if (r->mem != NULL && !leak)
		r->hw->ops->dma_free(r->hw, r->mem, r->mem_bytes);
	vq_tables_destroy(&r->tables, leak);
	free(r->entry);
	free(r);
}

/* Ask for no interrupt: by a used index that lies just behind, so that the device comes by it only
 * after all others. */
static void quench(struct vq_ring *r)
{
	if (r->event_idx)
		dma_store16(r->hw, r->used_event, r->used_idx - 1);
	else
		dma_store16(r->hw, &r->avail->flags, VRING_AVAIL_F_NO_INTERRUPT);
}

/* The ring's memory is zero (2.7.10.1). */
static void start_ring(struct vq_ring *r)
{
	r->avail_idx = r->shown_idx = r->used_idx = r->used_seen = r->batch_end = 0;
	r->oldest = 0;
	for (uint16_t i = 0; i < r->size; i++)
		r->entry[i] = (struct entry){.next = (i + 1) & r->mask};
	r->free_head = 0;
	r->nr_free = r->size;
	vq_tables_reset(&r->tables);
	r->cb_enabled = false;
	quench(r);
}

static int create_ring(struct virtio_device *vdev, uint16_t size, struct vq_ring **out)
{
	struct vq_ring *r = calloc(1, sizeof(*r));
	int err;

	if (r == NULL)
		return -ENOMEM;
	r->hw = vdev->hw;
	r->size = size;
	r->mask = size - 1;
	r->legacy = !virtio_has_feature(vdev, VIRTIO_F_VERSION_1);
	r->event_idx = virtio_has_feature(vdev, VIRTIO_RING_F_EVENT_IDX);
	r->in_order = virtio_has_feature(vdev, VIRTIO_F_IN_ORDER);
	err = alloc_entries(r);
	if (err == 0)
		err = alloc_ring(r, size);
	if (err == 0 && virtio_has_feature(vdev, VIRTIO_RING_F_INDIRECT_DESC))
		err = vq_tables_create(&r->tables, r->hw, size);
	if (err < 0) {
		free_ring(r, false);
		return err;
	}
	start_ring(r);
	*out = r;
	return 0;
}

static int create_layout(
	struct virtio_device *vdev, uint16_t size, struct vq_ring **ring, struct vq_packed **packed)
{
	if (virtio_has_feature(vdev, VIRTIO_F_RING_PACKED))
		return vqp_create(vdev, size, packed);
	return create_ring(vdev, size, ring);
}

static void destroy_layout(struct vq_ring *ring, struct vq_packed *packed, bool leak)
{
	if (packed != NULL)
		vqp_destroy(packed, leak);
	else
		free_ring(ring, leak);
}

int vq_create(struct virtio_device *vdev, uint16_t index, uint16_t size,
	const struct virtqueue_info *info, struct virtqueue **out)
{
	struct virtqueue *vq = calloc(1, sizeof(*vq));
	int err;

	assert(size > 0 && size <= VRING_MAX_SIZE && (size & (size - 1)) == 0);
	if (vq == NULL)
		return -ENOMEM;
	vq->vdev = vdev;
	vq->index = index;
	vq->size = vq->max_size = size;
	vq->callback = info->callback;
	(void)snprintf(vq->name, sizeof(vq->name), "%s", info->name);
	err = create_layout(vdev, size, &vq->ring, &vq->packed);
	if (err < 0) {
		free(vq);
		return err;
	}
	*out = vq;
	return 0;
}

void vq_reset(struct virtqueue *vq)
{
	vq->broken = false;
	if (vq->packed != NULL) {
		vqp_reset(vq->packed);
		return;
	}
	memset(vq->ring->mem, 0, vq->ring->mem_bytes);
	start_ring(vq->ring);
}

int vq_resize(struct virtqueue *vq, uint16_t size)
{
	struct vq_ring *ring = NULL;
	struct vq_packed *packed = NULL;
	int err = create_layout(vq->vdev, size, &ring, &packed);

	if (err < 0)
		return err;
	destroy_layout(vq->ring, vq->packed, false);
	vq->ring = ring;
	vq->packed = packed;
	vq->size = size;
	vq->broken = false;
	return 0;
}

void vq_destroy(struct virtqueue *vq, bool leak)
{
	destroy_layout(vq->ring, vq->packed, leak);
	free(vq);
}

uint16_t vq_used_idx(const struct virtqueue *vq)
{
	return dma_load16(vq->ring->hw, &vq->ring->used->idx);
}

void vq_get_addresses(const struct virtqueue *vq, struct vq_addresses *out)
{
	*out = vq->packed != NULL ? vqp_addresses(vq->packed) : vq->ring->addr;
}

unsigned vq_max_segs(const struct virtqueue *vq)
{
	if (vq->packed != NULL)
		return vqp_max_segs(vq->packed);
	if (vq->ring->tables.mem == NULL || vq->size < VQ_TABLE_DESCS)
		return vq->size; /* 2.7.5.3.1: no list longer than the queue, indirect or not */
	return VQ_TABLE_DESCS;
}

/* A table costs the device one more look-up, but only one entry of the ring: for when the ring
 * fills up. */
static bool use_table(const struct vq_ring *r, unsigned nr)
{
	return nr > 1 && r->tables.nr_free > 0 && r->nr_free < nr + r->size / 2U;
}

bool vq_has_room(const struct virtqueue *vq, unsigned nr_segs)
{
	const struct vq_ring *r = vq->ring;

	if (vq->packed != NULL)
		return vqp_has_room(vq->packed, nr_segs);
	return r->nr_free >= (use_table(r, nr_segs) ? 1U : nr_segs);
}

static void put_desc(struct vq_ring *r, struct vring_desc *d, const struct vq_seg *seg,
	uint16_t flags, uint16_t next)
{
	dma_store64(r->hw, &d->addr, seg->addr);
	dma_store32(r->hw, &d->len, seg->bytes);
	dma_store16(r->hw, &d->flags, flags);
	dma_store16(r->hw, &d->next, next);
}

static uint16_t desc_flags(unsigned i, unsigned nr_out, unsigned nr)
{
	return (i >= nr_out ? VRING_DESC_F_WRITE : 0) | (i + 1 < nr ? VRING_DESC_F_NEXT : 0);
}

static void put_direct(struct vq_ring *r, const struct vq_seg *seg, unsigned nr_out, unsigned nr)
{
	uint16_t at = r->free_head;

	for (unsigned i = 0; i < nr; i++) {
		uint16_t next = r->entry[at].next;

		put_desc(
			r, &r->desc[at], &seg[i], desc_flags(i, nr_out, nr), i + 1 < nr ? next : 0);
		at = next;
	}
	r->free_head = at;
}

static uint16_t put_indirect(
	struct vq_ring *r, const struct vq_seg *seg, unsigned nr_out, unsigned nr)
{
	uint16_t number = r->tables.free[--r->tables.nr_free];
	struct vring_desc *table = vq_table(&r->tables, number);
	const struct vq_seg whole = {
		.addr = vq_table_addr(&r->tables, number),
		.bytes = nr * (uint32_t)sizeof(*table),
	};
	uint16_t at = r->free_head;

	for (unsigned i = 0; i < nr; i++)
		put_desc(r, &table[i], &seg[i], desc_flags(i, nr_out, nr),
			(uint16_t)(i + 1 < nr ? i + 1 : 0));
	put_desc(r, &r->desc[at], &whole, VRING_DESC_F_INDIRECT, 0);
	r->free_head = r->entry[at].next;
	return number;
}

int vq_add(struct virtqueue *vq, const struct vq_seg *seg, unsigned nr_out, unsigned nr_in,
	void *token)
{
	struct vq_ring *r = vq->ring;
	unsigned nr = nr_out + nr_in;
	struct entry *e;
	uint16_t head;

	if (vq->packed != NULL)
		return vqp_add(vq->packed, seg, nr_out, nr_in, token);
	head = r->free_head;
	assert(nr > 0 && nr <= vq_max_segs(vq) && token != NULL);
	if (!vq_has_room(vq, nr))
		return -ENOSPC;
	e = &r->entry[head];
	if (use_table(r, nr)) {
		e->table = put_indirect(r, seg, nr_out, nr);
		e->nr_desc = 1;
	} else {
		put_direct(r, seg, nr_out, nr);
		e->table = VQ_NO_TABLE;
		e->nr_desc = (uint16_t)nr;
	}
	e->token = token;
	e->in_bytes = vq_sum_bytes(seg + nr_out, nr_in);
	e->avail_idx = r->avail_idx;
	r->nr_free -= e->nr_desc;
	dma_store16(r->hw, &r->avail->ring[r->avail_idx & r->mask], head);
	r->avail_idx++;
	return 0;
}

unsigned vq_nr_unkicked(const struct virtqueue *vq)
{
	if (vq->packed != NULL)
		return vqp_nr_unkicked(vq->packed);
	return (uint16_t)(vq->ring->avail_idx - vq->ring->shown_idx);
}

bool vq_kick_prepare(struct virtqueue *vq)
{
	struct vq_ring *r = vq->ring;
	uint16_t old, new;

	if (vq->packed != NULL)
		return !vq->broken && vqp_kick_prepare(vq->packed);
	old = r->shown_idx;
	new = r->avail_idx;
	if (old == new || vq->broken)
		return false;
	/* Descriptors and ring slots before idx (2.7.13.3.1); the device reads idx first, then
	 * them. */
	dma_wmb(r->hw);
	dma_store16(r->hw, &r->avail->idx, new);
	r->shown_idx = new;
	/* idx before the device's wish is read (2.7.13.4.1); the device stores its wish, then looks
	 * at idx once more. */
	dma_mb(r->hw);
	if (r->event_idx) {
		uint16_t event = dma_load16(r->hw, r->avail_event);

		return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
	}
	return !(dma_load16(r->hw, &r->used->flags) & VRING_USED_F_NO_NOTIFY);
}

void vq_notify(struct virtqueue *vq)
{
	vq->vdev->config->notify(vq);
}

uint16_t vq_notification_data(const struct virtqueue *vq)
{
	return vq->packed != NULL ? vqp_notification_data(vq->packed) : vq->ring->shown_idx;
}

void vq_break(struct virtqueue *vq, const char *what, unsigned value)
{
	vq->broken = true;
	log_line(LOG_ERR, "%s: %s: the device broke the virtqueue's rules: %s %u", vq->vdev->name,
		vq->name, what, value);
}

/* Look how far the device is. True: there is something to take. */
static bool look_at_used(struct virtqueue *vq)
{
	struct vq_ring *r = vq->ring;
	uint16_t idx = dma_load16(r->hw, &r->used->idx);

	if (idx == r->used_idx)
		return false;
	if ((uint16_t)(idx - r->used_idx) > (uint16_t)(r->shown_idx - r->used_idx)) {
		vq_break(vq, "more requests used than it was given, used index", idx);
		return false;
	}
	/* idx before the entries and the data (2.7.14); the device stores them, then idx. */
	dma_rmb(r->hw);
	r->used_seen = idx;
	return true;
}

static bool is_with_device(const struct vq_ring *r, uint32_t id)
{
	return id < r->size && r->entry[id].token != NULL &&
	       (uint16_t)(r->shown_idx - r->entry[id].avail_idx - 1) < VRING_MAX_SIZE;
}

/* The request's descriptors go back to the head of the free list, in their order. */
static void push_free(struct vq_ring *r, uint16_t head, uint16_t nr)
{
	uint16_t last = head;

	for (uint16_t i = 1; i < nr; i++)
		last = r->entry[last].next;
	r->entry[last].next = r->free_head;
	r->free_head = head;
}

static void *reclaim(struct vq_ring *r, uint16_t head)
{
	struct entry *e = &r->entry[head];
	void *token = e->token;

	if (r->in_order)
		r->oldest = (head + e->nr_desc) & r->mask;
	else
		push_free(r, head, e->nr_desc);
	r->nr_free += e->nr_desc;
	if (e->table != VQ_NO_TABLE)
		r->tables.free[r->tables.nr_free++] = e->table;
	e->token = NULL;
	return token;
}

/* The requests up to END are used, by the device's words; it must have counted them, too. */
static bool take_batch(struct virtqueue *vq, uint16_t end)
{
	struct vq_ring *r = vq->ring;

	if ((uint16_t)(end - r->used_idx) > (uint16_t)(r->used_seen - r->used_idx)) {
		vq_break(vq, "it does not use requests in their order, used index", r->used_seen);
		return false;
	}
	r->batch_end = end;
	return true;
}

/* Read the next used entry, for one request, *HEAD; or, with IN_ORDER, for all from the oldest to the
 * one that it names: those have no entries of their own (2.7.9). False: none, or broken. */
static bool take_used(struct virtqueue *vq, uint16_t *head)
{
	struct vq_ring *r = vq->ring;
	const struct vring_used_elem *elem;
	uint32_t id, bytes;

	if (r->used_idx == r->used_seen && !look_at_used(vq))
		return false;
	elem = &r->used->ring[r->used_idx & r->mask];
	id = dma_load32(r->hw, &elem->id);
	bytes = dma_load32(r->hw, &elem->len);
	if (!is_with_device(r, id)) {
		vq_break(vq, "it does not have the request that it returns, id", id);
		return false;
	}
	/* Too few bytes say nothing (2.7.8.3), too many can't be, but from a legacy device
	 * (2.7.8.1). */
	if (bytes > r->entry[id].in_bytes && !r->legacy) {
		vq_break(vq, "it wrote past the request's buffers, bytes", bytes);
		return false;
	}
	if (r->in_order)
		return take_batch(vq, r->entry[id].avail_idx + 1);
	r->batch_end++;
	*head = (uint16_t)id;
	return true;
}

void *vq_get_buf(struct virtqueue *vq)
{
	struct vq_ring *r = vq->ring;
	uint16_t head;

	if (vq->packed != NULL)
		return vq->broken ? NULL : vqp_get_buf(vq);
	head = r->oldest;
	if (vq->broken || (r->used_idx == r->batch_end && !take_used(vq, &head)))
		return NULL;
	r->used_idx++;
	return reclaim(r, head);
}

void vq_disable_cb(struct virtqueue *vq)
{
	if (vq->packed != NULL) {
		vqp_disable_cb(vq->packed);
		return;
	}
	if (!vq->ring->cb_enabled)
		return;
	vq->ring->cb_enabled = false;
	quench(vq->ring);
}

bool vq_enable_cb(struct virtqueue *vq)
{
	struct vq_ring *r = vq->ring;

	if (vq->packed != NULL)
		return vqp_enable_cb(vq->packed) || vq->broken;
	r->cb_enabled = true;
	if (r->event_idx)
		dma_store16(r->hw, r->used_event, r->used_idx);
	else
		dma_store16(r->hw, &r->avail->flags, 0);
	/* The wish before used.idx is looked at again (2.7.14); the device stores idx, then reads
	 * the wish. */
	dma_mb(r->hw);
	return vq->broken || dma_load16(r->hw, &r->used->idx) != r->used_idx;
}

void vq_interrupt(struct virtqueue *vq)
{
	vq->callback(vq);
}
