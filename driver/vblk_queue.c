/* vblk_queue.c - requests: given to the ring part by part, taken back, called back.
 *
 * Invariants
 *  1. A request is in one place: it waits for room (`left` not 0), or all of it is with the device
 *     (`left` 0, `parts` not 0), or it is on its owner's done list.
 *  2. Requests wait in one line per ring, whoever's they are, and whoever takes parts back gives
 *     the next ones: so one that waits always gets on, even when its owner sleeps.
 *  3. done() is called by the owner, in its vblk_poll(), under no lock, once, with the first error
 *     of any part.
 *  4. Parts come back from the device, or all at once after its reset (vblk->dead), or are taken
 *     back when it lost them (frozen); a slot is never used again before.
 *  5. A request that the device lost is given again from its start: it was not called back, so its
 *     memory is still the queue's. One that is in a kept ring is not: the next device finds it there.
 *  6. What a device acknowledged before it lost its state, and did not flush, may be gone: then a
 *     flush fails, once. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "probes.h"
#include "vblk.h"

#define SPIN_US    100U /* about what a sleep and its interrupt cost: at worst twice the best */
#define NAP_MIN_US 20U
#define NAP_MAX_US 1000U

/* --- ends of sleep --- */

static bool wake(struct vblk_handle *h)
{
	if (!atomic_load(&h->armed) || !atomic_exchange(&h->armed, false))
		return false;
	blk_wake(&h->q);
	return true;
}

bool vblk_ring_wake(struct vblk_ring *ring)
{
	bool any = false;

	pthread_mutex_lock(&ring->handles_lock);
	for (struct vblk_handle *h = ring->handles; h != NULL; h = h->next)
		any |= wake(h);
	pthread_mutex_unlock(&ring->handles_lock);
	return any;
}

/* --- a request's end --- */

/* A flush that the disk does not need, and is not sent. */
static bool is_noop(const struct vblk *vblk, const struct blk_req *req)
{
	return req->op == BLK_FLUSH &&
	       !atomic_load_explicit(&vblk->volatile_cache, memory_order_relaxed);
}

uint64_t vblk_nr_changes(const struct vblk *vblk)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < vblk->nr_rings; i++)
		sum += __atomic_load_n(&vblk->ring[i].stat.writes, __ATOMIC_RELAXED) +
		       __atomic_load_n(&vblk->ring[i].stat.others, __ATOMIC_RELAXED);
	return sum;
}

void vblk_note_flushed(struct vblk *vblk, uint64_t covers)
{
	uint64_t now = atomic_load(&vblk->nr_flushed);

	while (now < covers && !atomic_compare_exchange_weak(&vblk->nr_flushed, &now, covers))
		continue;
}

static void finish(struct vblk_ring *ring, struct blk_req *req)
{
	const struct vblk_progress *p = vblk_progress_of(req);
	struct vblk_handle *owner = p->owner;

	if (!is_noop(ring->vblk, req)) {
		count_request(&ring->stat, req, p->err);
		if (req->op == BLK_FLUSH && p->err == 0)
			vblk_note_flushed(ring->vblk, p->covers);
	}
	req->next = NULL;
	*owner->done_end = req;
	owner->done_end = &req->next;
	(void)wake(owner);
}

static void part_returned(struct vblk_ring *ring, struct vblk_slot *slot, int err)
{
	struct blk_req *req = slot->req;
	struct vblk_progress *p = vblk_progress_of(req);

	vblk_free_slot(ring, (uint16_t)(slot - ring->slots.slot));
	vblk_count_parts(&ring->nr_returned);
	if (p->err == 0)
		p->err = err;
	p->parts--;
	if (p->parts == 0 && p->left == 0)
		finish(ring, req);
}

/* With IN_ORDER an entry of the used ring may speak for requests that it does not name. One without a
 * status is not believed: the device may have it still, so that only a reset may end it. */
static bool is_skipped(struct vblk_ring *ring, uint8_t status)
{
	if (status != VBLK_NO_STATUS || !virtio_has_feature(ring->vblk->vdev, VIRTIO_F_IN_ORDER))
		return false;
	vq_break(ring->vq, "a request is used, and has the status", status);
	return true;
}

static void reap(struct vblk_ring *ring)
{
	struct vblk_slot *slot;
	uint64_t now_ns = 0, took_ns; /* one look at the clock for all that are done */

	while ((slot = vq_get_buf(ring->vq)) != NULL) {
		uint8_t status =
			dma_load8(ring->vblk->hw, &ring->slots.dma[slot - ring->slots.slot].status);

		if (is_skipped(ring, status))
			return;
		if (slot->alone) { /* whoever waited for it gave up */
			vblk_free_slot(ring, (uint16_t)(slot - ring->slots.slot));
			continue;
		}
		if (now_ns == 0)
			now_ns = count_now_ns();
		took_ns = now_ns - slot->given_ns;
		count_latency(&ring->stat, slot->req->op, took_ns);
		PROBE4(complete, ring->vq->index, slot->req->op, took_ns, status);
		part_returned(ring, slot, vblk_error_of(status));
	}
}

/* --- on to the device --- */

/* As much of REQ as there is room for. False: it must wait. */
static bool give(struct vblk_ring *ring, struct blk_req *req)
{
	struct vblk_progress *p = vblk_progress_of(req);

	while (p->left > 0 && p->err == 0) {
		int err = ring->service == VBLK_LIVE      ? vblk_give_part(ring, req)
			  : ring->service == VBLK_STOPPED ? -EIO
							  : -ENOSPC;

		if (err == -ENOSPC)
			return false;
		p->err = err;
	}
	p->left = 0;
	if (p->parts == 0)
		finish(ring, req);
	return true;
}

static void give_waiting(struct vblk_ring *ring)
{
	while (ring->waiting != NULL) {
		struct blk_req *req = ring->waiting, *next = req->next;

		if (!give(ring, req))
			return;
		ring->waiting = next;
		if (next == NULL)
			ring->waiting_end = &ring->waiting;
	}
}

static void kick(struct vblk_ring *ring)
{
	unsigned nr = ring->service == VBLK_LIVE ? vq_nr_unkicked(ring->vq) : 0;
	bool wanted;

	if (nr == 0) /* or it is a reset's, under another lock */
		return;
	ring->batch_ns = 0;
	count_batch(&ring->stat, nr);
	wanted = vq_kick_prepare(ring->vq);
	if (wanted)
		vq_notify(ring->vq);
	count(wanted ? &ring->stat.kicks : &ring->stat.kicks_saved, 1);
	PROBE3(kick, ring->vq->index, nr, wanted);
}

/* The device was reset: what it had is ours again. */
static void fail_all(struct vblk_ring *ring, int err)
{
	for (uint16_t i = 0; i < ring->slots.nr; i++)
		if (ring->slots.slot[i].req != NULL)
			part_returned(ring, &ring->slots.slot[i], err);
	for (struct blk_req *req = ring->waiting; req != NULL; req = req->next)
		vblk_progress_of(req)->err =
			vblk_progress_of(req)->err < 0 ? vblk_progress_of(req)->err : err;
	give_waiting(ring);
}

/* --- a device that lost its state --- */

void vblk_ring_freeze(struct vblk_ring *ring)
{
	owner_lock_share(&ring->lock);
	owner_lock(&ring->lock);
	if (ring->service == VBLK_LIVE)
		ring->service = VBLK_FROZEN;
	owner_unlock(&ring->lock);
}

static void rewind_request(struct vblk *vblk, struct blk_req *req)
{
	struct vblk_progress *p = vblk_progress_of(req);

	p->iov_index = 0;
	p->parts = 0;
	p->left = p->err < 0 ? 0 : req->op == BLK_FLUSH ? 1 : req->nr_sectors;
	if (req->op == BLK_FLUSH)
		p->covers = vblk_nr_changes(vblk);
	else
		p->iov_off = 0;
}

/* The device has none of them any more: all parts come back to their requests, which wait again,
 * before those that have waited so far. */
static void take_back_all(struct vblk_ring *ring)
{
	struct blk_req *first = NULL, **end = &first;

	ring->batch_ns = 0;
	for (uint16_t i = 0; i < ring->slots.nr; i++) {
		struct blk_req *req = ring->slots.slot[i].req;

		if (req != NULL || ring->slots.slot[i].alone)
			vblk_free_slot(ring, i);
		if (req == NULL)
			continue;
		vblk_count_parts(&ring->nr_returned);
		if (--vblk_progress_of(req)->parts > 0)
			continue;
		if (vblk_progress_of(req)->left == 0) { /* else it is in the line already */
			*end = req;
			end = &req->next;
		}
		rewind_request(ring->vblk, req);
	}
	*end = ring->waiting;
	if (ring->waiting == NULL && first != NULL)
		ring->waiting_end = end;
	ring->waiting = first;
}

/* Those that wait, and those that the device has. */
static bool fail_flushes(struct vblk_ring *ring, int err)
{
	bool any = false;

	for (uint16_t i = 0; i < ring->slots.nr; i++) {
		struct blk_req *req = ring->slots.slot[i].req;

		if (req == NULL || req->op != BLK_FLUSH || vblk_progress_of(req)->err < 0)
			continue;
		vblk_progress_of(req)->err = err;
		any = true;
	}
	for (struct blk_req *req = ring->waiting; req != NULL; req = req->next) {
		struct vblk_progress *p = vblk_progress_of(req);

		if (req->op != BLK_FLUSH || p->err < 0)
			continue;
		p->err = err;
		p->left = 0;
		any = true;
	}
	return any;
}

static void lock_all(struct vblk *vblk)
{
	for (unsigned i = 0; i < vblk->nr_rings; i++)
		owner_lock(&vblk->ring[i].lock);
}

static void unlock_all(struct vblk *vblk)
{
	for (unsigned i = 0; i < vblk->nr_rings; i++)
		owner_unlock(&vblk->ring[i].lock);
}

static void thaw(struct vblk_ring *ring)
{
	if (ring->service != VBLK_FROZEN)
		return;
	ring->service = VBLK_LIVE;
	give_waiting(ring);
	kick(ring);
}

void vblk_rings_restore(struct vblk *vblk, int flush_err)
{
	bool told = false;

	lock_all(vblk); /* a flush is submitted before or after, not in the middle */
	for (unsigned i = 0; i < vblk->nr_rings; i++) {
		if (!vblk->vdev->rings_kept)
			take_back_all(&vblk->ring[i]);
		told |= flush_err < 0 && fail_flushes(&vblk->ring[i], flush_err);
	}
	if (flush_err < 0 && !told)
		atomic_store(&vblk->flush_err, flush_err);
	for (unsigned i = 0; i < vblk->nr_rings; i++)
		thaw(&vblk->ring[i]);
	unlock_all(vblk);
	for (unsigned i = 0; i < vblk->nr_rings; i++)
		(void)vblk_ring_wake(&vblk->ring[i]);
}

void vblk_ring_quiesce(struct vblk_ring *ring)
{
	owner_lock_share(&ring->lock);
	owner_lock(&ring->lock);
	kick(ring);
	if (ring->service == VBLK_LIVE)
		ring->service = VBLK_FROZEN;
	owner_unlock(&ring->lock);
}

unsigned vblk_ring_reap(struct vblk_ring *ring)
{
	unsigned nr_left;

	owner_lock(&ring->lock);
	reap(ring);
	nr_left = ring->slots.nr - ring->slots.nr_free;
	owner_unlock(&ring->lock);
	return nr_left;
}

bool vblk_ring_has_answers(struct vblk_ring *ring)
{
	uint64_t before;
	bool any;

	owner_lock_share(&ring->lock);
	owner_lock(&ring->lock);
	before = atomic_load(&ring->nr_returned);
	if (ring->service == VBLK_LIVE)
		reap(ring);
	any = atomic_load(&ring->nr_returned) != before;
	owner_unlock(&ring->lock);
	return any;
}

void vblk_ring_take_back(struct vblk_ring *ring)
{
	owner_lock(&ring->lock);
	take_back_all(ring);
	vq_reset(ring->vq); /* what it has used since the last look is taken back, too */
	owner_unlock(&ring->lock);
}

void vblk_ring_thaw(struct vblk_ring *ring)
{
	owner_lock(&ring->lock);
	thaw(ring);
	owner_unlock(&ring->lock);
	(void)vblk_ring_wake(ring); /* who sleeps may have missed what was reaped */
}

void vblk_rings_quiesce(struct vblk *vblk)
{
	for (unsigned i = 0; i < vblk->nr_rings; i++)
		vblk_ring_quiesce(&vblk->ring[i]);
}

unsigned vblk_rings_reap(struct vblk *vblk)
{
	unsigned nr_left = 0;

	for (unsigned i = 0; i < vblk->nr_rings; i++)
		nr_left += vblk_ring_reap(&vblk->ring[i]);
	return nr_left;
}

void vblk_rings_thaw(struct vblk *vblk)
{
	for (unsigned i = 0; i < vblk->nr_rings; i++)
		vblk_ring_thaw(&vblk->ring[i]);
}

/* --- the seam --- */

static struct vblk_handle *to_handle(struct blk_queue *q)
{
	return (struct vblk_handle *)q;
}

/* The disk may have shrunk since the caller last asked. */
static bool in_range(struct vblk *vblk, const struct blk_req *req)
{
	uint64_t nr_sectors = atomic_load_explicit(&vblk->limits.nr_sectors, memory_order_relaxed);

	return req->op == BLK_FLUSH ||
	       (req->sector <= nr_sectors && req->nr_sectors <= nr_sectors - req->sector);
}

/* Caller holds the ring's lock: see vblk_rings_restore(). */
static void prepare_flush(struct vblk *vblk, struct blk_req *req)
{
	struct vblk_progress *p = vblk_progress_of(req);

	if (is_noop(vblk, req)) {
		p->left = 0;
		return;
	}
	p->covers = vblk_nr_changes(vblk);
	if (p->err == 0 && atomic_load_explicit(&vblk->flush_err, memory_order_relaxed) != 0)
		p->err = atomic_exchange(&vblk->flush_err, 0);
}

int vblk_submit(struct blk_queue *q, struct blk_req *req)
{
	struct vblk_handle *h = to_handle(q);
	struct vblk_ring *ring = h->ring;
	struct vblk_progress *p = vblk_progress_of(req);

	if (!in_range(ring->vblk, req))
		return -EINVAL;
	*p = (struct vblk_progress){
		.owner = h,
		.left = req->op == BLK_FLUSH ? 1 : req->nr_sectors,
		.err = atomic_load_explicit(&ring->vblk->dead, memory_order_relaxed),
	};
	req->next = NULL;
	owner_lock(&ring->lock);
	if (req->op == BLK_FLUSH)
		prepare_flush(ring->vblk, req);
	if (ring->waiting != NULL || !give(ring, req)) {
		*ring->waiting_end = req;
		ring->waiting_end = &req->next;
	}
	owner_unlock(&ring->lock);
	h->nr_owned++;
	return 0;
}

void vblk_kick(struct blk_queue *q)
{
	struct vblk_ring *ring = to_handle(q)->ring;

	owner_lock(&ring->lock);
	kick(ring);
	owner_unlock(&ring->lock);
}

static struct blk_req *take_done(struct vblk_handle *h)
{
	struct blk_req *first = h->done;

	h->done = NULL;
	h->done_end = &h->done;
	return first;
}

/* Everything that has to be done under the lock. *BROKE: the device broke the ring just now. */
static struct blk_req *poll_ring(struct vblk_handle *h, bool *broke)
{
	struct vblk_ring *ring = h->ring;
	struct blk_req *first;
	int dead = atomic_load(&ring->vblk->dead);

	owner_lock(&ring->lock);
	if (dead != 0) {
		fail_all(ring, dead);
	} else if (ring->service == VBLK_LIVE) {
		reap(ring);
		give_waiting(ring);
		kick(ring);
		if (!owner_lock_is_shared(&ring->lock))
			vq_disable_cb(ring->vq);
	}
	*broke = ring->service == VBLK_LIVE && ring->vq->broken;
	first = take_done(h);
	count(first != NULL ? &ring->stat.polls_hit : &ring->stat.polls_missed, 1);
	owner_unlock(&ring->lock);
	return first;
}

/* Unless a reset has mended it meanwhile. */
static void broken(struct vblk_ring *ring)
{
	struct vblk *vblk = ring->vblk;

	virtio_config_lock(vblk->vdev);
	if (ring->vq->broken)
		vblk_break(vblk, -EPROTO, "the device broke the protocol");
	virtio_config_unlock(vblk->vdev);
}

/* Armed still, so nobody has woken it, and there is something: an interrupt did. */
static void count_direct_wake(struct vblk_ring *ring)
{
	if (!atomic_load_explicit(&ring->wakes, memory_order_relaxed))
		return;
	atomic_fetch_add(&ring->nr_interrupts, 1);
	PROBE2(interrupt, ring->vq->index, true);
}

int vblk_poll(struct blk_queue *q)
{
	struct vblk_handle *h = to_handle(q);
	bool was_armed = atomic_load_explicit(&h->armed, memory_order_relaxed) &&
			 atomic_exchange(&h->armed, false);
	struct blk_req *req, *next;
	bool broke;
	int n = 0;

	req = poll_ring(h, &broke);
	if (was_armed && req != NULL)
		count_direct_wake(h->ring);
	if (broke)
		broken(h->ring);
	for (; req != NULL; req = next) {
		next = req->next;
		n++;
		h->nr_owned--;
		req->done(req, vblk_progress_of(req)->err);
	}
	if (n > 0)
		h->nap_us = NAP_MIN_US;
	return n;
}

/* No interrupt will come: sleep a little, then let the caller look again. */
static void nap(struct vblk_handle *h)
{
	struct timespec ts = {.tv_nsec = (long)h->nap_us * 1000};

	(void)nanosleep(&ts, NULL);
	h->nap_us = h->nap_us * 2 < NAP_MAX_US ? h->nap_us * 2 : NAP_MAX_US;
}

/* Ask for an interrupt. True: there is something to poll now, or the ring's service ended. */
static bool arm_ring(struct vblk_handle *h)
{
	struct vblk_ring *ring = h->ring;
	struct vblk *vblk = ring->vblk;
	bool ready;

	owner_lock(&ring->lock);
	atomic_store(&h->armed, true); /* before the device may interrupt */
	kick(ring);
	ready = h->done != NULL || (ring->service == VBLK_LIVE && vq_enable_cb(ring->vq));
	owner_unlock(&ring->lock);
	/* After `armed` was set: whoever changes these wakes those who are armed. */
	if (atomic_load(&vblk->dead) != 0 || !atomic_load(&vblk->vdev->has_irq))
		ready = true;
	if (ready)
		atomic_store(&h->armed, false);
	return ready;
}

/* Before the first sleep on a ring that nobody shares. */
static void ask_to_wake(struct vblk_handle *h)
{
	struct vblk_ring *ring = h->ring;
	struct vblk *vblk = ring->vblk;

	pthread_mutex_lock(&vblk->open_lock);
	if (!ring->asked_to_wake && ring->nr_handles == 1)
		atomic_store(
			&ring->wakes, vblk->vdev->config->wake_by(ring->vq, blk_fd(&h->q)) == 0);
	ring->asked_to_wake = true;
	pthread_mutex_unlock(&vblk->open_lock);
	h->has_slept = true;
}

/* Caller holds open_lock. Somebody else is to be woken, or nobody. */
static void stop_to_wake(struct vblk_ring *ring)
{
	if (atomic_exchange(&ring->wakes, false))
		(void)ring->vblk->vdev->config->wake_by(ring->vq, -1);
	ring->asked_to_wake = false;
}

bool vblk_arm(struct blk_queue *q)
{
	struct vblk_handle *h = to_handle(q);
	struct vblk *vblk = h->ring->vblk;

	if (h->nr_owned == 0)
		return false; /* only blk_wake() can end this sleep */
	vblk_watch_on(vblk);
	if (atomic_load(&vblk->vdev->has_irq)) {
		if (!h->has_slept && vblk->vdev->config->wake_by != NULL)
			ask_to_wake(h);
		return arm_ring(h);
	}
	vblk_kick(q);
	nap(h);
	return true;
}

/* Caller holds open_lock. The ring with the fewest handles. */
static struct vblk_ring *choose_ring(struct vblk *vblk)
{
	struct vblk_ring *best = &vblk->ring[0];

	for (unsigned i = 1; i < vblk->nr_rings; i++)
		if (vblk->ring[i].nr_handles < best->nr_handles)
			best = &vblk->ring[i];
	return best;
}

int vblk_handle_open(struct blockdev *dev, struct blk_queue **out)
{
	struct vblk *vblk = (struct vblk *)dev;
	struct vblk_handle *h = calloc(1, sizeof(*h));
	struct vblk_ring *ring;

	if (h == NULL)
		return -ENOMEM;
	h->q.spin_us = SPIN_US;
	h->nap_us = NAP_MIN_US;
	h->done_end = &h->done;
	pthread_mutex_lock(&vblk->open_lock);
	ring = choose_ring(vblk);
	h->ring = ring;
	if (ring->nr_handles++ > 0)
		owner_lock_share(&ring->lock);
	pthread_mutex_lock(&ring->handles_lock);
	h->next = ring->handles;
	ring->handles = h;
	pthread_mutex_unlock(&ring->handles_lock);
	if (ring->nr_handles > 1) {
		stop_to_wake(ring);
		(void)vblk_ring_wake(ring); /* what came just now was not for all */
	}
	pthread_mutex_unlock(&vblk->open_lock);
	*out = &h->q;
	return 0;
}

void vblk_handle_close(struct blk_queue *q)
{
	struct vblk_handle *h = to_handle(q);
	struct vblk *vblk = h->ring->vblk;
	struct vblk_handle **at;

	pthread_mutex_lock(&vblk->open_lock);
	stop_to_wake(h->ring);
	pthread_mutex_lock(&h->ring->handles_lock);
	for (at = &h->ring->handles; *at != h; at = &(*at)->next)
		;
	*at = h->next;
	pthread_mutex_unlock(&h->ring->handles_lock);
	h->ring->nr_handles--;
	pthread_mutex_unlock(&vblk->open_lock);
	free(h);
}

static void read_stat(struct vblk_ring *ring, struct blk_stat *out)
{
	count_read(&ring->stat, out);
	out->interrupts = atomic_load(&ring->nr_interrupts);
}

int vblk_stat(struct blockdev *dev, struct blk_stat *out, int max)
{
	struct vblk *vblk = (struct vblk *)dev;
	int n = max < (int)vblk->nr_rings ? max : (int)vblk->nr_rings;

	for (int i = 0; i < n; i++)
		read_stat(&vblk->ring[i], &out[i]);
	return n;
}

/* --- a ring's life --- */

void vblk_ring_prepare(struct vblk_ring *ring, struct vblk *vblk)
{
	ring->vblk = vblk;
	ring->waiting_end = &ring->waiting;
	owner_lock_init(&ring->lock);
	pthread_mutex_init(&ring->handles_lock, NULL);
}

static void free_slots(struct hw *hw, struct vblk_slots *s, bool leak)
{
	if (s->dma != NULL && !leak)
		hw->ops->dma_free(hw, s->dma, (size_t)s->nr * sizeof(*s->dma));
	free(s->slot);
	free(s->free);
}

/* All are free. */
static int alloc_slots(struct hw *hw, uint16_t nr, struct vblk_slots *s)
{
	size_t contig, bytes = (size_t)nr * sizeof(*s->dma);

	*s = (struct vblk_slots){.nr = nr, .nr_free = nr};
	s->slot = calloc(nr, sizeof(*s->slot));
	s->free = calloc(nr, sizeof(*s->free));
	s->dma = hw->ops->dma_alloc(hw, bytes);
	if (s->slot == NULL || s->free == NULL || s->dma == NULL)
		return -ENOMEM;
	s->dma_addr = hw->ops->dma_addr(hw, s->dma, &contig);
	for (uint16_t i = 0; i < nr; i++)
		s->free[i] = (uint16_t)(nr - 1 - i);
	return s->dma_addr == UINT64_MAX || contig < bytes ? -EFAULT : 0;
}

static unsigned max_segs(const struct virtqueue *vq)
{
	return (vq_max_segs(vq) < VBLK_SEGS_MAX ? vq_max_segs(vq) : VBLK_SEGS_MAX) - 2;
}

int vblk_ring_init(struct vblk_ring *ring, struct virtqueue *vq)
{
	ring->vq = vq;
	ring->max_segs = max_segs(vq);
	return alloc_slots(ring->vblk->hw, vq->size, &ring->slots);
}

int vblk_ring_resize(struct vblk_ring *ring, uint16_t size)
{
	struct hw *hw = ring->vblk->hw;
	struct vblk_slots slots;
	int err = alloc_slots(hw, size, &slots);

	if (err == 0)
		err = vq_resize(ring->vq, size);
	pthread_mutex_lock(&ring->vblk->open_lock); /* vblk_describe() has no other */
	owner_lock(&ring->lock);
	if (err == 0) {
		struct vblk_slots old = ring->slots;

		ring->slots = slots;
		slots = old;
		ring->max_segs = max_segs(ring->vq);
	}
	owner_unlock(&ring->lock);
	pthread_mutex_unlock(&ring->vblk->open_lock);
	free_slots(hw, &slots, false);
	return err;
}

void vblk_ring_destroy(struct vblk_ring *ring, bool leak)
{
	free_slots(ring->vblk->hw, &ring->slots, leak);
	owner_lock_destroy(&ring->lock);
	pthread_mutex_destroy(&ring->handles_lock);
}
