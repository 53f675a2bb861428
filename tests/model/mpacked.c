/* mpacked.c - the model's packed rings, where they differ from split ones (mring.c).
 *
 * A position is an index with the lap's wrap counter in bit 15, as in the event suppression area.
 *
 * Invariants
 *  1. What the driver makes available is read and checked at the moment that the flags of the first
 *     of it are stored: all that follows it has to be there by then.
 *  2. From `pused` on `pinflight` descriptors are the device's: the driver stores into none of
 *     them. */
#include <string.h>
#include <utlist.h>
#include "state.h"

#define WRAP 0x8000U

static uint16_t index_of(uint16_t pos)
{
	return (uint16_t)(pos & ~WRAP);
}

static uint16_t advance(const struct m_queue *q, uint16_t pos, unsigned by)
{
	unsigned at = index_of(pos) + by;
	uint16_t wrap = pos & WRAP;

	for (; at >= q->size; at -= q->size)
		wrap ^= WRAP;
	return (uint16_t)(at | wrap);
}

static void *part(struct m_queue *q, unsigned i, uint64_t bytes, unsigned align)
{
	uint64_t addr = (uint64_t)q->addr[2 * i + 1] << 32 | q->addr[2 * i];
	void *p = mdma_host(q->m, addr, bytes);

	if (addr % align != 0 || p == NULL)
		m_violation(q->m, "PK1: part %u of packed queue %u is at 0x%lx", i, q->index,
			(long)addr);
	return p;
}

int mpacked_enable(struct m_queue *q)
{
	q->pdesc = part(q, 0, 16UL * q->size, 16);
	q->pdriver = part(q, 1, 4, 4);
	q->pdevice = part(q, 2, 4, 4);
	if (q->pdesc == NULL || q->pdriver == NULL || q->pdevice == NULL)
		return -1;
	for (unsigned i = 0; i < q->size; i++)
		if (le16_get(q->pdesc[i].flags) != 0)
			m_violation(q->m, "PK1: the ring of queue %u was not zeroed", q->index);
	if (le32_get(*q->pdevice) != 0)
		m_violation(q->m, "PK1: the device's event of queue %u was not zeroed", q->index);
	q->pshadow = q->pavail = q->pused = WRAP;
	q->pinflight = 0;
	q->phead = NULL;
	return 0;
}

void mpacked_scribble(struct m_queue *q, bool random)
{
	uint8_t *p = (uint8_t *)q->pdesc;
	uint64_t addr = (uint64_t)q->addr[1] << 32 | q->addr[0];

	if (mdma_host(q->m, addr, 16UL * q->size) != p)
		return; /* it is freed already */
	for (size_t i = 0; i < 16UL * q->size; i++)
		p[i] = random ? (uint8_t)m_random(q->m) : 0x5a;
}

static bool within(const void *p, size_t bytes, const void *area, size_t area_bytes)
{
	return (const uint8_t *)p < (const uint8_t *)area + area_bytes &&
	       (const uint8_t *)area < (const uint8_t *)p + bytes;
}

bool mpacked_overlaps(const struct m_queue *q, const void *p, size_t bytes)
{
	return within(p, bytes, q->pdesc, 16UL * q->size) || within(p, bytes, q->pdriver, 4) ||
	       within(p, bytes, q->pdevice, 4);
}

static bool is_available(uint16_t flags, uint16_t pos)
{
	bool avail = flags & VRING_PACKED_DESC_F_AVAIL, used = flags & VRING_PACKED_DESC_F_USED;

	return avail != used && avail == ((pos & WRAP) != 0);
}

static void expose_all(struct m_queue *q, const le16 *head)
{
	q->phead = head;
	while (is_available(le16_get(q->pdesc[index_of(q->pshadow)].flags), q->pshadow)) {
		const struct m_req *req = mchain_expose_packed(q);

		q->pinflight += req->nr_chain;
		if (q->pinflight > q->size)
			m_violation(q->m, "PK5: more descriptors in flight than the ring has");
		if (req->bad)
			break;
	}
}

static void stored_event(struct m_queue *q)
{
	uint32_t flags = le32_get(*q->pdriver) >> VRING_PACKED_EVENT_FLAGS_SHIFT;
	bool event_idx = m_negotiated(q->m, VIRTIO_RING_F_EVENT_IDX);

	if (flags > (event_idx ? VRING_PACKED_EVENT_FLAG_DESC : VRING_PACKED_EVENT_FLAG_DISABLE))
		m_violation(q->m, "PK11: the driver's event flags are %u", flags);
	q->m->moment_armed = true;
}

void mpacked_stored(struct m_queue *q, const uint8_t *p)
{
	size_t off = (size_t)(p - (const uint8_t *)q->pdesc);
	unsigned from_used;

	if (within(p, 1, q->pdriver, 4)) {
		stored_event(q);
		return;
	}
	if (within(p, 1, q->pdevice, 4)) {
		m_violation(q->m, "CL1: the device's event area was written");
		return;
	}
	from_used = (unsigned)(off / 16 + q->size - index_of(q->pused)) % q->size;
	if (from_used < q->pinflight)
		m_violation(q->m, "PK4 CL1: descriptor %zu is the device's", off / 16);
	else if (p == (const uint8_t *)&q->pdesc[index_of(q->pshadow)].flags)
		expose_all(q, (const le16 *)(const void *)p);
	else if (p == (const uint8_t *)q->phead)
		q->phead = NULL; /* a lap later it is one of many */
}

/* Of stores only those wait for a full barrier that the device looks out for: other descriptors'
 * flags are data, which the head's come after. */
bool mpacked_is_sync(const struct m_queue *q, const void *p, bool stored)
{
	size_t off = (size_t)((const uint8_t *)p - (const uint8_t *)q->pdesc);

	if (p == q->pdriver || p == q->pdevice)
		return true;
	if (stored)
		return p == q->phead;
	return off % 16 == offsetof(struct vring_packed_desc, flags);
}

bool mpacked_has_new(struct m_queue *q)
{
	return is_available(m_load16(q->m, &q->pdesc[index_of(q->pavail)].flags), q->pavail);
}

void mpacked_fetched(struct m_queue *q, const struct m_req *req)
{
	q->pavail = advance(q, q->pavail, req->nr_chain);
}

static void store_device_event(struct m_queue *q, uint32_t off_wrap, uint32_t flags)
{
	mdma_device_store(
		q->m, q->pdevice, htole32(off_wrap | flags << VRING_PACKED_EVENT_FLAGS_SHIFT), 4);
}

void mpacked_ask_for_kicks(struct m_queue *q, bool wanted)
{
	if (!wanted)
		store_device_event(q, 0, VRING_PACKED_EVENT_FLAG_DISABLE);
	else if (m_negotiated(q->m, VIRTIO_RING_F_EVENT_IDX))
		store_device_event(q, advance(q, q->pavail, q->m->cfg.event_ahead),
			VRING_PACKED_EVENT_FLAG_DESC);
	else
		store_device_event(q, 0, VRING_PACKED_EVENT_FLAG_ENABLE);
}

/* Does the used position pass what the driver wants to hear of, on its way over NR from OLD? */
static bool wants_irq(struct m_queue *q, uint16_t old, unsigned nr)
{
	uint32_t word = m_load32(q->m, q->pdriver);

	switch (word >> VRING_PACKED_EVENT_FLAGS_SHIFT & 3) {
	case VRING_PACKED_EVENT_FLAG_ENABLE:
		return true;
	case VRING_PACKED_EVENT_FLAG_DESC:
		for (unsigned i = 0; i < nr; i++)
			if (advance(q, old, i) == (uint16_t)word)
				return true;
		return false;
	default:
		return false;
	}
}

bool mpacked_push_used(struct m_queue *q, unsigned nr, uint32_t id, uint32_t len)
{
	struct vring_packed_desc *d = &q->pdesc[index_of(q->pused)];
	uint16_t old = q->pused;
	uint16_t flags =
		(uint16_t)((old & WRAP ? VRING_PACKED_DESC_F_AVAIL | VRING_PACKED_DESC_F_USED : 0) |
			   VRING_DESC_F_WRITE);

	mdma_device_store(q->m, &d->id, htole16((uint16_t)id), 2);
	mdma_device_store(q->m, &d->len, htole32(len), 4);
	mdma_device_store(q->m, &d->flags, htole16(flags), 2);
	q->pused = advance(q, q->pused, nr);
	q->pinflight -= nr < q->pinflight ? nr : q->pinflight;
	return wants_irq(q, old, nr);
}
