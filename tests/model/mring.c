/* mring.c - the model's virtqueues. Here are those with a split ring, and what both kinds have in
 * common; mpacked.c has what differs. Split: what the driver exposes is checked when avail.idx is
 * stored, watched while the device owns it, and given back through the used ring.
 *
 * Invariants
 *  1. reqs holds what lies between the used ring and avail.idx as the driver stored it last, oldest
 *     first.
 *  2. A descriptor is in at most one of them (owned[]); from exposure to completion neither it nor
 *     the buffers change.
 *  3. The device is asleep only after it asked for kicks and then saw nothing new. */
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include "state.h"

static le16 *used_event(const struct m_queue *q)
{
	return &q->avail->ring[q->size];
}

static le16 *avail_event(const struct m_queue *q)
{
	return (le16 *)&q->used->ring[q->size];
}

static void store16(struct model *m, le16 *p, uint16_t val)
{
	mdma_device_store(m, p, htole16(val), 2);
}

static bool event_idx(const struct m_queue *q)
{
	return m_negotiated(q->m, VIRTIO_RING_F_EVENT_IDX);
}

/* 2.7.10: has NEW passed EVENT on its way from OLD? */
static bool passed(uint16_t event, uint16_t new, uint16_t old)
{
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

/* Taking a queue into service, and out of it */

static void *part(struct m_queue *q, unsigned i, uint64_t bytes, unsigned align, const char *name)
{
	uint64_t addr = (uint64_t)q->addr[2 * i + 1] << 32 | q->addr[2 * i];
	void *p = mdma_host(q->m, addr, bytes);

	if (addr % align != 0)
		m_violation(q->m, "SP1: %s of queue %u is at 0x%lx", name, q->index, (long)addr);
	if (p == NULL)
		m_violation(q->m, "SP1: %s of queue %u, %lu bytes at 0x%lx: not DMA memory", name,
			q->index, (long)bytes, (long)addr);
	return p;
}

static bool overlap(const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
	return (const uint8_t *)a < (const uint8_t *)b + b_bytes &&
	       (const uint8_t *)b < (const uint8_t *)a + a_bytes;
}

static size_t avail_bytes(const struct m_queue *q)
{
	return 6 + 2UL * q->size;
}

static size_t used_bytes(const struct m_queue *q)
{
	return 6 + 8UL * q->size;
}

int mring_enable(struct m_queue *q)
{
	size_t desc_bytes = 16UL * q->size;

	q->awake = q->kicked = false;
	q->is_packed = m_negotiated(q->m, VIRTIO_F_RING_PACKED);
	if (q->is_packed)
		return mpacked_enable(q);
	q->desc = part(q, 0, desc_bytes, 16, "descriptor table");
	q->avail = part(q, 1, avail_bytes(q), 2, "available ring");
	q->used = part(q, 2, used_bytes(q), 4, "used ring");
	if (q->desc == NULL || q->avail == NULL || q->used == NULL)
		return -1;
	if (overlap(q->desc, desc_bytes, q->avail, avail_bytes(q)) ||
		overlap(q->desc, desc_bytes, q->used, used_bytes(q)) ||
		overlap(q->avail, avail_bytes(q), q->used, used_bytes(q)))
		m_violation(q->m, "SP1: the parts of queue %u overlap", q->index);
	if (le16_get(q->used->flags) != 0 || le16_get(q->used->idx) != 0 ||
		le16_get(q->avail->idx) != 0)
		m_violation(q->m, "SP13: the rings of queue %u were not zeroed", q->index);
	q->shadow_idx = q->last_avail = q->used_idx = q->next_desc = 0;
	q->owned = calloc(q->size, sizeof(*q->owned));
	return 0;
}

/* The last thing the device may do before a reset is complete: write to the used ring. */
static void scribble(struct m_queue *q)
{
	uint64_t addr = (uint64_t)q->addr[5] << 32 | q->addr[4];

	if (q->is_packed)
		mpacked_scribble(q, false);
	else if (mdma_host(q->m, addr, used_bytes(q)) == q->used)
		memset(q->used, 0x5a, used_bytes(q));
}

void mring_disable(struct m_queue *q, bool scribbling)
{
	struct m_req *req, *next;

	if (q->enabled && scribbling)
		scribble(q);
	DL_FOREACH_SAFE (q->reqs, req, next) {
		DL_DELETE(q->reqs, req);
		mchain_free(req);
	}
	free(q->owned);
	q->owned = NULL;
	q->enabled = 0;
	q->addr_written = 0;
	memset(q->addr, 0xee, sizeof(q->addr)); /* not what they were: the driver has to set them */
	q->desc = NULL;
	q->avail = NULL;
	q->used = NULL;
}

static void stored_avail_idx(struct m_queue *q)
{
	uint16_t new = le16_get(q->avail->idx);

	if ((uint16_t)(new - q->last_avail) > q->size ||
		(uint16_t)(new - q->last_avail) < (uint16_t)(q->shadow_idx - q->last_avail)) {
		m_violation(q->m, "SP10: avail.idx of queue %u from %u to %u, %u fetched", q->index,
			q->shadow_idx, new, q->last_avail);
		return;
	}
	while (q->shadow_idx != new)
		mchain_expose(q, q->shadow_idx++);
}

/* The driver's stores and loads of ring memory */

static void stored_in_avail(struct m_queue *q, const uint8_t *p)
{
	size_t off = (size_t)(p - (const uint8_t *)q->avail);
	uint16_t flags = le16_get(q->avail->flags);

	if (off == offsetof(struct vring_avail, idx)) {
		stored_avail_idx(q);
	} else if (off == offsetof(struct vring_avail, flags)) {
		if (flags > (event_idx(q) ? 0 : 1))
			m_violation(q->m, "SP11: avail.flags is %u", flags);
		q->m->moment_armed = true;
	} else if (p == (const uint8_t *)used_event(q)) {
		if (!event_idx(q))
			m_violation(q->m, "SP11: used_event without EVENT_IDX");
		q->m->moment_armed = true;
	} else {
		uint16_t slot = (uint16_t)((off - offsetof(struct vring_avail, ring)) / 2);
		uint16_t ahead = (uint16_t)(slot - q->last_avail) % q->size;

		if (ahead < (uint16_t)(q->shadow_idx - q->last_avail))
			m_violation(
				q->m, "CL1: slot %u of the available ring is the device's", slot);
	}
}

static void stored_in_request(struct m_queue *q, const uint8_t *p, int bytes)
{
	struct m_req *req;

	DL_FOREACH (q->reqs, req) {
		if (req->table != NULL && overlap(p, (size_t)bytes, req->table, req->table_bytes))
			m_violation(
				q->m, "CL1: the indirect table of a request in flight was written");
	}
}

void mring_driver_stored(struct model *m, void *p, int bytes)
{
	for (unsigned i = 0; i < m->cfg.nr_queues; i++) {
		struct m_queue *q = &m->queue[i];

		if (!q->enabled)
			continue;
		if (q->is_packed && mpacked_overlaps(q, p, (size_t)bytes)) {
			mpacked_stored(q, p);
		} else if (q->is_packed) {
			stored_in_request(q, p, bytes);
		} else if (overlap(p, (size_t)bytes, q->desc, 16UL * q->size)) {
			if (q->owned[(struct vring_desc *)((uintptr_t)p & ~15UL) - q->desc])
				m_violation(
					m, "CL1: a descriptor of a request in flight was written");
		} else if (overlap(p, (size_t)bytes, q->avail, avail_bytes(q))) {
			stored_in_avail(q, p);
		} else if (overlap(p, (size_t)bytes, q->used, used_bytes(q))) {
			m_violation(m, "CL1: the used ring was written");
		} else {
			stored_in_request(q, p, bytes);
		}
	}
}

static struct m_queue *queue_of(
	struct model *m, const void *p, const le16 *(*field)(const struct m_queue *q))
{
	for (unsigned i = 0; i < m->cfg.nr_queues; i++)
		if (m->queue[i].enabled && !m->queue[i].is_packed && field(&m->queue[i]) == p)
			return &m->queue[i];
	return NULL;
}

static const le16 *field_used_idx(const struct m_queue *q)
{
	return &q->used->idx;
}

static const le16 *field_avail_idx(const struct m_queue *q)
{
	return &q->avail->idx;
}

static const le16 *field_avail_flags(const struct m_queue *q)
{
	return &q->avail->flags;
}

static const le16 *field_used_event(const struct m_queue *q)
{
	return used_event(q);
}

/* What the driver reads to learn whether a kick is wanted. */
static const le16 *field_kick_hint(const struct m_queue *q)
{
	return event_idx(q) ? avail_event(q) : &q->used->flags;
}

static const le16 *field_other_hint(const struct m_queue *q)
{
	return event_idx(q) ? &q->used->flags : avail_event(q);
}

static struct m_queue *packed_queue_of(struct model *m, const void *p)
{
	for (unsigned i = 0; i < m->cfg.nr_queues; i++)
		if (m->queue[i].enabled && m->queue[i].is_packed &&
			mpacked_overlaps(&m->queue[i], p, 1))
			return &m->queue[i];
	return NULL;
}

bool mring_is_sync(struct model *m, const void *p, bool stored)
{
	const struct m_queue *packed = packed_queue_of(m, p);

	if (packed != NULL)
		return mpacked_is_sync(packed, p, stored);
	return queue_of(m, p, field_used_idx) != NULL || queue_of(m, p, field_avail_idx) != NULL ||
	       queue_of(m, p, field_avail_flags) != NULL ||
	       queue_of(m, p, field_used_event) != NULL ||
	       queue_of(m, p, field_kick_hint) != NULL || queue_of(m, p, field_other_hint) != NULL;
}

static bool is_packed_flag(const struct m_queue *q, const void *p)
{
	return q != NULL && p != q->pdevice && p != q->pdriver && mpacked_is_sync(q, p, false);
}

void mring_driver_loads(struct model *m, const void *p)
{
	struct m_queue *q = queue_of(m, p, field_kick_hint), *packed = packed_queue_of(m, p);

	if (packed != NULL && p == packed->pdevice && packed->phead != NULL &&
		mdma_unfenced(m, packed->phead, 2))
		m_violation(
			m, "PK9: the head's flags are not ordered before the look at the event");
	if (q != NULL && mdma_unfenced(m, &q->avail->idx, 2))
		m_violation(m, "SP17: avail.idx is not ordered before the look at whether to kick");
	if (m->cfg.run_on_polls != 0 &&
		(queue_of(m, p, field_used_idx) != NULL || is_packed_flag(packed, p)) &&
		++m->polls % m->cfg.run_on_polls == 0)
		model_run(m);
}

/* Notifications */

static void ask_for_kicks(struct m_queue *q, bool wanted)
{
	if (q->is_packed)
		mpacked_ask_for_kicks(q, wanted);
	else if (event_idx(q)) { /* used.flags is to be ignored then, as avail_event is otherwise */
		store16(q->m, avail_event(q),
			wanted ? (uint16_t)(q->last_avail + q->m->cfg.event_ahead)
			       : (uint16_t)(q->last_avail - 1));
		store16(q->m, &q->used->flags, wanted);
	} else {
		store16(q->m, &q->used->flags, !wanted);
		store16(q->m, avail_event(q),
			wanted ? (uint16_t)(q->last_avail - 1) : q->last_avail);
	}
}

static bool has_new(struct m_queue *q)
{
	if (q->is_packed)
		return mpacked_has_new(q);
	return m_load16(q->m, &q->avail->idx) != q->last_avail;
}

/* Invariant 3. What is still pending in the driver's store buffer is not seen here. */
static void try_to_sleep(struct m_queue *q)
{
	ask_for_kicks(q, true);
	if (has_new(q))
		ask_for_kicks(q, false);
	else
		q->awake = false;
}

void mring_driver_loaded(struct model *m, const void *p)
{
	struct m_queue *q = queue_of(m, p, field_kick_hint), *packed = packed_queue_of(m, p);

	if (packed != NULL && p == packed->pdevice)
		q = packed;
	if (q != NULL && q->awake) { /* the worst moment: it has just read that no kick is wanted */
		try_to_sleep(q);
		if (q->awake && m->cfg.when == MODEL_INLINE)
			mring_serve(q);
	}
	if (m->moment == MODEL_AFTER_USED_IDX_LOAD && m->moment_armed &&
		(queue_of(m, p, field_used_idx) != NULL || is_packed_flag(packed, p))) {
		m->moment = MODEL_NEVER;
		mring_complete_all(m);
	}
}

static bool wants_irq(struct m_queue *q, uint16_t old)
{
	if (event_idx(q))
		return passed(m_load16(q->m, used_event(q)), q->used_idx, old);
	return (m_load16(q->m, &q->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT) == 0;
}

/* NR_REQS have been used, of NR_DESCS descriptors of the ring: more than one are a batch, by the id
 * of its last. */
static void push_used(
	struct m_queue *q, unsigned nr_reqs, unsigned nr_descs, uint32_t id, uint32_t len)
{
	struct vring_used_elem *e;
	uint16_t old;

	if (q->is_packed) {
		if (mpacked_push_used(q, nr_descs, id, len))
			m_irq_of_queue(q);
		return;
	}
	e = &q->used->ring[q->used_idx % q->size];
	old = q->used_idx;
	q->used_idx = (uint16_t)(old + nr_reqs);
	mdma_device_store(q->m, &e->id, htole32(id), 4);
	mdma_device_store(q->m, &e->len, htole32(len), 4);
	store16(q->m, &q->used->idx, q->used_idx);
	if (wants_irq(q, old))
		m_irq_of_queue(q);
}

/* Service */

static void disown(struct m_queue *q, struct m_req *req)
{
	for (unsigned i = 0; i < req->nr_chain && !q->is_packed; i++)
		q->owned[req->chain[i]] = false;
}

static void check_untouched(struct m_queue *q, const struct m_req *req)
{
	if (mchain_desc_hash(q, req) != req->desc_hash)
		m_violation(q->m, "CL1: descriptors of head %u changed in flight", req->pub.head);
	if (mchain_data_hash(req) != req->data_hash)
		m_violation(q->m, "CL1: buffers of head %u (type %u) changed in flight",
			req->pub.head, req->pub.type);
}

static void log_done(struct model *m, const struct model_req *req)
{
	if (m->nr_done == m->done_room) {
		m->done_room = m->done_room == 0 ? 64 : 2 * m->done_room;
		m->done = realloc(m->done, m->done_room * sizeof(*m->done));
	}
	m->done[m->nr_done++] = *req;
}

/* False: it stays. */
static bool execute(struct m_queue *q, struct m_req *req)
{
	struct model *m = q->m;

	check_untouched(q, req);
	mblk_execute(m, req);
	if (m->cfg.on_complete != NULL)
		m->cfg.on_complete(&req->pub, m->cfg.arg);
	if (req->pub.hold) {
		req->data_hash = mchain_data_hash(req);
		return false;
	}
	if (!req->pub.leave_status)
		mdma_device_store(m, req->status, req->pub.status, 1);
	log_done(m, &req->pub);
	disown(q, req);
	DL_DELETE(q->reqs, req);
	return true;
}

static unsigned complete(struct m_queue *q, struct m_req *req)
{
	if (!execute(q, req))
		return 0;
	push_used(q, 1, req->nr_chain, req->pub.used_id, req->pub.used_len);
	mchain_free(req);
	return 1;
}

/* The device keeps to IN_ORDER, unless the test has it complete in another one. */
static bool in_order(const struct m_queue *q)
{
	return m_negotiated(q->m, VIRTIO_F_IN_ORDER) && q->m->cfg.order == MODEL_IN_ORDER;
}

/* The oldest NR, or as many of them as do not stay, by one used entry (2.7.9, 2.8.8). */
static unsigned complete_batch(struct m_queue *q, unsigned nr)
{
	struct m_req *req, *last = NULL;
	unsigned nr_reqs = 0, nr_descs = 0;

	while (nr_reqs < nr && execute(q, req = q->reqs)) {
		if (last != NULL)
			mchain_free(last);
		last = req;
		nr_reqs++;
		nr_descs += req->nr_chain;
	}
	if (last == NULL)
		return 0;
	push_used(q, nr_reqs, nr_descs, last->pub.used_id, last->pub.used_len);
	mchain_free(last);
	return nr_reqs;
}

static struct m_req *fetched_at(struct m_queue *q, unsigned index)
{
	struct m_req *req;

	DL_FOREACH (q->reqs, req) {
		if (req->fetched && index-- == 0)
			return req;
	}
	return NULL;
}

bool mring_complete(struct m_queue *q, unsigned index)
{
	struct m_req *req = q->enabled ? fetched_at(q, index) : NULL;

	if (req == NULL)
		return false;
	req->pub.hold = false;
	if (!in_order(q))
		return complete(q, req) != 0;
	for (unsigned i = 0; i < index; i++)
		fetched_at(q, i)->pub.hold = false;
	return complete_batch(q, index + 1) == index + 1;
}

static void fetch(struct m_queue *q)
{
	struct m_req *req;

	DL_FOREACH (q->reqs, req) {
		if (!has_new(q))
			break;
		if (req->fetched)
			continue;
		req->fetched = true;
		if (q->is_packed)
			mpacked_fetched(q, req);
		else
			q->last_avail++;
		if (req->bad)
			model_needs_reset(q->m);
	}
}

static unsigned nr_ready(struct m_queue *q)
{
	struct m_req *req;
	unsigned n = 0;

	DL_FOREACH (q->reqs, req) {
		bool ready = req->fetched && !req->bad && !req->pub.hold;

		if (!ready && in_order(q))
			break;
		n += ready;
	}
	return n;
}

static struct m_req *pick(struct m_queue *q, unsigned n)
{
	unsigned at = 0;
	struct m_req *req;

	if (q->m->cfg.order == MODEL_LAST_FIRST)
		at = n - 1;
	else if (q->m->cfg.order == MODEL_SHUFFLED)
		at = (unsigned)(m_random(q->m) % n);
	DL_FOREACH (q->reqs, req) {
		if (req->fetched && !req->bad && !req->pub.hold && at-- == 0)
			break;
	}
	return req;
}

static bool is_serving(const struct m_queue *q)
{
	const struct model *m = q->m;

	return q->enabled && !q->resetting && (m->status & VIRTIO_CONFIG_S_DRIVER_OK) != 0 &&
	       (m->status & VIRTIO_CONFIG_S_NEEDS_RESET) == 0 && m->bus_master && !m->gone &&
	       !m->reset_pending;
}

unsigned mring_serve(struct m_queue *q)
{
	unsigned completed = 0, n;

	while (is_serving(q) && has_new(q)) {
		fetch(q);
		while (!q->m->cfg.hold && is_serving(q) && (n = nr_ready(q)) > 0)
			completed += in_order(q) ? complete_batch(q, 1 + m_random(q->m) % n)
						 : complete(q, pick(q, n));
	}
	if (is_serving(q))
		ask_for_kicks(q, !q->awake);
	return completed;
}

/* A device that polls goes to sleep when it has found nothing. */
unsigned mring_step(struct m_queue *q)
{
	unsigned completed = mring_serve(q);

	if (completed == 0 && q->awake && is_serving(q))
		try_to_sleep(q);
	return completed;
}

unsigned mring_complete_all(struct model *m)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m->cfg.nr_queues; i++)
		while (mring_complete(&m->queue[i], 0))
			n++;
	return n;
}

uint16_t mring_next_avail(const struct m_queue *q)
{
	return q->is_packed ? q->pshadow : q->shadow_idx;
}

void mring_kick(struct m_queue *q)
{
	struct model *m = q->m;

	m->stat.kicks++;
	m->stat.kicks_unwanted += q->awake;
	m->stat.kicks_empty += !has_new(q);
	if (m->cfg.spurious_irqs && m_random(m) % 2 == 0)
		model_irq(m);
	q->kicked = true;
	q->awake = m->cfg.poll_rings;
	if (q->awake)
		ask_for_kicks(q, false);
	if (m->cfg.when == MODEL_INLINE)
		mring_serve(q);
	else if (m->cfg.when == MODEL_THREAD)
		pthread_cond_signal(&m->thread_wake);
	if (m->cfg.when == MODEL_INLINE)
		q->kicked = false;
}

static bool touches(const struct m_req *req, const uint8_t *mem, size_t bytes)
{
	if (req->table != NULL && overlap(mem, bytes, req->table, req->table_bytes))
		return true;
	for (unsigned i = 0; i < req->nr_segs; i++)
		if (overlap(mem, bytes, req->seg[i].host, req->seg[i].bytes))
			return true;
	return false;
}

void mring_freeing(struct model *m, const uint8_t *mem, size_t bytes)
{
	for (unsigned i = 0; i < m->cfg.nr_queues; i++) {
		struct m_queue *q = &m->queue[i];
		struct m_req *req;

		if (!q->enabled)
			continue;
		if (q->is_packed ? mpacked_overlaps(q, mem, bytes)
				 : overlap(mem, bytes, q->desc, 16UL * q->size) ||
					   overlap(mem, bytes, q->avail, avail_bytes(q)) ||
					   overlap(mem, bytes, q->used, used_bytes(q)))
			m_violation(m,
				"CL2: the rings of queue %u are freed while the device has them",
				i);
		DL_FOREACH (q->reqs, req) {
			if (touches(req, mem, bytes))
				m_violation(m, "CL2: a buffer of queue %u is freed in flight", i);
		}
	}
}

void model_push_used(struct model *m, unsigned queue, uint32_t id, uint32_t len)
{
	struct m_queue *q = &m->queue[queue];

	m_lock(m);
	if (q->enabled)
		push_used(q, 1, 1, id, len);
	m_unlock(m);
}

void model_jump_used_idx(struct model *m, unsigned queue, uint16_t by)
{
	struct m_queue *q = &m->queue[queue];

	m_lock(m);
	if (q->enabled && !q->is_packed) {
		q->used_idx = (uint16_t)(q->used_idx + by);
		store16(m, &q->used->idx, q->used_idx);
		m_irq_of_queue(q);
	}
	m_unlock(m);
}

static void random_bytes(struct model *m, void *mem, size_t bytes)
{
	uint8_t *p = mem;

	for (size_t i = 0; i < bytes; i++)
		p[i] = (uint8_t)m_random(m);
}

void model_scribble(struct model *m, unsigned queue)
{
	struct m_queue *q = &m->queue[queue];

	m_lock(m);
	if (q->enabled && q->is_packed) {
		mpacked_scribble(q, true);
	} else if (q->enabled) {
		random_bytes(m, q->desc, 16UL * q->size);
		random_bytes(m, q->avail, avail_bytes(q));
		random_bytes(m, q->used, used_bytes(q));
	}
	m_unlock(m);
}

uint16_t model_head_in_flight(struct model *m, unsigned queue, unsigned index)
{
	struct m_req *req;

	m_lock(m);
	req = fetched_at(&m->queue[queue], index);
	m_unlock(m);
	return req == NULL ? UINT16_MAX : req->pub.head;
}
