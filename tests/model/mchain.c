/* mchain.c - the model reads a request from the ring at the moment that it is exposed, and checks it.
 *
 * That moment is the store of avail.idx: a device that polls may look right then, and sees nothing
 * that is not ordered before it. What was read is remembered with hashes, so that a change in
 * flight is found out. */
#include <stdlib.h>
#include <utlist.h>
#include <xxhash.h>
#include "state.h"

static void bad(struct m_queue *q, struct m_req *req, const char *rule)
{
	m_violation(q->m, "%s (queue %u, head %u, descriptor %u)", rule, q->index, req->pub.head,
		req->pub.nr_desc);
	req->bad = true;
}

static void add_chain(struct m_req *req, uint16_t i)
{
	if (req->nr_chain == req->chain_room) {
		req->chain_room = req->chain_room == 0 ? 4 : 2 * req->chain_room;
		req->chain = realloc(req->chain, req->chain_room * sizeof(*req->chain));
	}
	req->chain[req->nr_chain++] = i;
}

static void add_seg(
	struct m_queue *q, struct m_req *req, const struct vring_desc *d, uint16_t flags)
{
	uint64_t addr = m_load64(q->m, &d->addr);
	uint32_t bytes = m_load32(q->m, &d->len);
	bool writable = (flags & VRING_DESC_F_WRITE) != 0;
	uint8_t *host = mdma_host(q->m, addr, bytes);

	req->pub.nr_desc++;
	if (bytes == 0)
		bad(q, req, "BO3: a descriptor of no bytes");
	else if (host == NULL)
		bad(q, req, "VQ: a buffer that is not one contiguous piece of DMA memory");
	if (!writable && req->nr_segs > 0 && req->seg[req->nr_segs - 1].writable)
		bad(q, req, "SP3: a readable descriptor after a writable one");
	if (req->bad)
		return;
	if (req->nr_segs == req->seg_room) {
		req->seg_room = req->seg_room == 0 ? 4 : 2 * req->seg_room;
		req->seg = realloc(req->seg, req->seg_room * sizeof(*req->seg));
	}
	req->seg[req->nr_segs++] =
		(struct m_seg){.host = host, .bytes = bytes, .writable = writable};
}

static void read_table(struct m_queue *q, struct m_req *req)
{
	uint32_t entries = req->table_bytes / 16, i = 0;
	uint16_t flags, next;

	if (mdma_unfenced(q->m, req->table, req->table_bytes))
		bad(q, req, "SP16: the indirect table is not ordered before avail.idx");
	do {
		if (i >= entries) {
			bad(q, req, "SP7: next leads out of the indirect table");
			return;
		}
		flags = m_load16(q->m, &req->table[i].flags);
		if ((flags & ~(VRING_DESC_F_NEXT | VRING_DESC_F_WRITE)) != 0)
			bad(q, req, "SP7: INDIRECT inside an indirect table, or an unknown flag");
		add_seg(q, req, &req->table[i], flags);
		if (req->pub.nr_desc > entries)
			bad(q, req, "SP5: a loop in the indirect table");
		next = m_load16(q->m, &req->table[i].next);
		if (next != i + 1 && (flags & VRING_DESC_F_NEXT) != 0 &&
			m_negotiated(q->m, VIRTIO_F_IN_ORDER))
			bad(q, req, "SP8: the indirect table is not in its order");
		i = next;
	} while (!req->bad && (flags & VRING_DESC_F_NEXT) != 0);
}

static void read_packed_table(struct m_queue *q, struct m_req *req)
{
	if (mdma_unfenced(q->m, req->table, req->table_bytes))
		bad(q, req, "PK9: the indirect table is not ordered before the head's flags");
	for (uint32_t i = 0; i < req->table_bytes / 16 && !req->bad; i++) {
		uint16_t flags =
			m_load16(q->m, &((struct vring_packed_desc *)&req->table[i])->flags);

		if ((flags & ~VRING_DESC_F_WRITE) != 0)
			bad(q, req, "PK8: another flag than WRITE in an indirect table");
		add_seg(q, req, &req->table[i], flags);
	}
}

static void read_indirect(
	struct m_queue *q, struct m_req *req, const struct vring_desc *d, uint16_t flags)
{
	uint64_t addr = m_load64(q->m, &d->addr);

	req->pub.indirect = true;
	req->table_bytes = m_load32(q->m, &d->len);
	if (!m_negotiated(q->m, VIRTIO_RING_F_INDIRECT_DESC))
		bad(q, req, "SP7: INDIRECT was not negotiated");
	if ((flags & VRING_DESC_F_NEXT) != 0)
		bad(q, req, "SP7: INDIRECT together with NEXT");
	if (req->table_bytes == 0 || req->table_bytes % 16 != 0)
		bad(q, req, "SP7: the indirect table's length");
	req->table = mdma_host(q->m, addr, req->table_bytes);
	if (req->table == NULL || addr % 16 != 0)
		bad(q, req, "SP7: the indirect table is not in DMA memory, or misaligned");
	if (!req->bad && q->is_packed)
		read_packed_table(q, req);
	else if (!req->bad)
		read_table(q, req);
}

static void read_chain(struct m_queue *q, struct m_req *req)
{
	uint16_t i = req->pub.head, flags;

	do {
		const struct vring_desc *d = &q->desc[i];

		if (i >= q->size) {
			bad(q, req, "SP5: a descriptor outside the table");
			return;
		}
		if (q->owned[i]) {
			bad(q, req, "CL1 SP5: a loop, or a descriptor of a request in flight");
			return;
		}
		if (mdma_unfenced(q->m, d, sizeof(*d)))
			bad(q, req, "SP16: a descriptor is not ordered before avail.idx");
		if (i != q->next_desc && m_negotiated(q->m, VIRTIO_F_IN_ORDER))
			bad(q, req, "SP8: descriptors are not taken in the ring's order");
		q->next_desc = (uint16_t)((i + 1) % q->size);
		q->owned[i] = true;
		add_chain(req, i);
		flags = m_load16(q->m, &d->flags);
		if ((flags & ~(VRING_DESC_F_NEXT | VRING_DESC_F_WRITE | VRING_DESC_F_INDIRECT)) !=
			0)
			bad(q, req, "SP7: an unknown descriptor flag");
		if ((flags & VRING_DESC_F_INDIRECT) != 0) {
			read_indirect(q, req, d, flags);
			return;
		}
		add_seg(q, req, d, flags);
		i = m_load16(q->m, &d->next);
	} while (!req->bad && (flags & VRING_DESC_F_NEXT) != 0);
}

uint64_t mchain_desc_hash(const struct m_queue *q, const struct m_req *req)
{
	uint64_t h = 0;

	/* A packed ring's the device itself writes over, when requests end in another order. */
	for (unsigned i = 0; i < req->nr_chain && !q->is_packed; i++)
		h = XXH64(&q->desc[req->chain[i]], sizeof(struct vring_desc), h);
	return req->table == NULL ? h : XXH64(req->table, req->table_bytes, h);
}

uint64_t mchain_data_hash(const struct m_req *req)
{
	uint64_t h = 0;

	for (unsigned i = 0; i < req->nr_segs; i++)
		h = XXH64(req->seg[i].host, req->seg[i].bytes, h);
	return h;
}

/* The descriptors from q->pshadow on, which moves past them. */
static void read_packed_chain(struct m_queue *q, struct m_req *req)
{
	const uint16_t lap = VRING_PACKED_DESC_F_AVAIL | VRING_PACKED_DESC_F_USED;
	uint16_t flags;

	do {
		uint16_t at = q->pshadow & 0x7fff;
		const struct vring_packed_desc *d = &q->pdesc[at];
		uint16_t mark =
			q->pshadow & 0x8000 ? VRING_PACKED_DESC_F_AVAIL : VRING_PACKED_DESC_F_USED;

		if (req->nr_chain == q->size) {
			bad(q, req, "PK6: the list is longer than the queue");
			return;
		}
		flags = le16_get(d->flags); /* the head's is just being stored */
		if (mdma_unfenced(q->m, d, sizeof(*d) - (req->nr_chain == 0 ? 2 : 0)))
			bad(q, req, "PK9 PK5: a descriptor is not ordered before the head's flags");
		if ((flags & lap) != mark)
			bad(q, req, "PK5: wrong lap in a descriptor of the list");
		if ((flags & ~(lap | VRING_DESC_F_NEXT | VRING_DESC_F_WRITE |
				     VRING_DESC_F_INDIRECT)) != 0)
			bad(q, req, "SP7: an unknown descriptor flag");
		add_chain(req, at);
		q->pshadow = (uint16_t)(at + 1 == q->size ? (q->pshadow & 0x8000) ^ 0x8000
							  : q->pshadow + 1);
		req->pub.head = le16_get(d->id);
		if ((flags & VRING_DESC_F_INDIRECT) != 0) {
			if (req->nr_chain > 1)
				bad(q, req, "PK8: an indirect table inside a list");
			read_indirect(q, req, (const struct vring_desc *)d, flags);
			return;
		}
		add_seg(q, req, (const struct vring_desc *)d, flags);
	} while (!req->bad && (flags & VRING_DESC_F_NEXT) != 0);
}

static void check_id(struct m_queue *q, struct m_req *req)
{
	const struct m_req *other;

	if (req->pub.head >= q->size)
		bad(q, req, "PK7: a buffer id past the queue's size");
	DL_FOREACH (q->reqs, other) {
		if (other != req && other->pub.head == req->pub.head)
			bad(q, req, "PK7: the buffer id of another request in flight");
	}
}

static void check_chain(struct m_queue *q, struct m_req *req)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < req->nr_segs; i++)
		total += req->seg[i].bytes;
	if (total > UINT32_MAX)
		bad(q, req, "SP5: more than 2^32 bytes");
	if (req->pub.nr_desc > q->size)
		bad(q, req, "SP6: the list is longer than the queue");
	if (req->pub.nr_desc > q->m->stat.max_chain)
		q->m->stat.max_chain = req->pub.nr_desc;
}

void mchain_expose(struct m_queue *q, uint16_t idx)
{
	const le16 *slot = &q->avail->ring[idx % q->size];
	struct m_req *req = calloc(1, sizeof(*req));

	DL_APPEND(q->reqs, req);
	req->pub.queue = q->index;
	req->slot = idx % q->size;
	if (mdma_unfenced(q->m, slot, sizeof(*slot)))
		bad(q, req, "SP16: the ring slot is not ordered before avail.idx");
	req->pub.head = m_load16(q->m, slot);
	req->pub.used_id = req->pub.head;
	read_chain(q, req);
	if (!req->bad)
		check_chain(q, req);
	if (!req->bad)
		mblk_parse(q->m, req);
	req->desc_hash = mchain_desc_hash(q, req);
	req->data_hash = mchain_data_hash(req);
}

struct m_req *mchain_expose_packed(struct m_queue *q)
{
	struct m_req *req = calloc(1, sizeof(*req));

	DL_APPEND(q->reqs, req);
	req->pub.queue = q->index;
	read_packed_chain(q, req);
	req->pub.used_id = req->pub.head;
	check_id(q, req);
	if (!req->bad)
		check_chain(q, req);
	if (!req->bad)
		mblk_parse(q->m, req);
	req->desc_hash = mchain_desc_hash(q, req);
	req->data_hash = mchain_data_hash(req);
	return req;
}

void mchain_free(struct m_req *req)
{
	free(req->chain);
	free(req->seg);
	free(req);
}
