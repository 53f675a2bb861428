/* vblk_queue.c - requests: cut into parts, given to the ring, taken back, called back.
 *
 * Invariants
 *  1. A request is in one place: it waits for room (`left` not 0), or all of it is with the device (`left` 0, `parts` not 0), or it is on
 *     its owner's done list.
 *  2. Requests wait in one line per ring, whoever's they are, and whoever takes parts back gives the next ones: so one that waits
 *     always gets on, even when its owner sleeps.
 *  3. done() is called by the owner, in its vblk_poll(), under no lock, once, with the first error of any part.
 *  4. Parts come back from the device, or all at once after its reset (vblk->dead); a slot is never used again before. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include "vblk.h"

#define SPIN_US       50U
#define NAP_MIN_US    20U
#define NAP_MAX_US    1000U
#define ID_LIMIT_US   (5U * 1000 * 1000)
#define ID_POLL_US    20U
#define STATUS_POISON 0xffU

struct progress { /* of a request; lives in blk_req.priv */
	struct vblk_handle *owner;
	size_t iov_off; /* bytes into iov[iov_index]: the first that was not given yet */
	uint32_t iov_index;
	uint32_t left;  /* sectors to give; of a flush: 1 */
	uint32_t parts; /* with the device */
	int32_t err;    /* the first */
} __attribute__((may_alias));
static_assert(sizeof(struct progress) <= sizeof(((struct blk_req *)0)->priv), "fits");

static struct progress *progress_of(struct blk_req *req)
{
	return (struct progress *)req->priv;
}

/* One thread writes at a time, others may read: no read-modify-write is needed, but whole words. */
static void count(uint64_t *counter, uint64_t add)
{
	__atomic_store_n(counter, *counter + add, __ATOMIC_RELAXED);
}

static void count_atomic(atomic_uint_fast64_t *counter, uint64_t add)
{
	uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, now + add, memory_order_relaxed);
}

static uint32_t min32(uint64_t a, uint64_t b)
{
	return (uint32_t)(a < b ? a : b);
}

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

static void count_request(struct blk_stat *stat, const struct blk_req *req, int err)
{
	uint64_t bytes = (uint64_t)req->nr_sectors * SECTOR_BYTES;

	switch (req->op) {
	case BLK_READ:
		count(&stat->reads, 1);
		count(&stat->read_bytes, bytes);
		break;
	case BLK_WRITE:
		count(&stat->writes, 1);
		count(&stat->write_bytes, bytes);
		break;
	case BLK_FLUSH:
		count(&stat->flushes, 1);
		break;
	default:
		count(&stat->others, 1);
	}
	if (err < 0)
		count(&stat->errors, 1);
}

static void finish(struct vblk_ring *ring, struct blk_req *req)
{
	struct vblk_handle *owner = progress_of(req)->owner;

	count_request(&ring->stat, req, progress_of(req)->err);
	req->next = NULL;
	*owner->done_end = req;
	owner->done_end = &req->next;
	(void)wake(owner);
}

static void part_returned(struct vblk_ring *ring, struct vblk_slot *slot, int err)
{
	struct blk_req *req = slot->req;
	struct progress *p = progress_of(req);

	slot->req = NULL;
	ring->free_slot[ring->nr_free_slots++] = (uint16_t)(slot - ring->slot);
	count_atomic(&ring->nr_returned, 1);
	if (p->err == 0)
		p->err = err;
	p->parts--;
	if (p->parts == 0 && p->left == 0)
		finish(ring, req);
}

static int error_of(uint8_t status)
{
	switch (status) {
	case VIRTIO_BLK_S_OK:
		return 0;
	case VIRTIO_BLK_S_UNSUPP:
		return -EOPNOTSUPP;
	default: /* IOERR; what the specification does not know; or never written */
		return -EIO;
	}
}

static void reap(struct vblk_ring *ring)
{
	struct vblk_slot *slot;

	while ((slot = vq_get_buf(ring->vq)) != NULL) {
		uint8_t status =
			dma_load8(ring->vblk->hw, &ring->slot_dma[slot - ring->slot].status);

		part_returned(ring, slot, error_of(status));
	}
}

/* --- a part's beginning --- */

static const uint32_t op_type[] = {
	[BLK_READ] = VIRTIO_BLK_T_IN,
	[BLK_WRITE] = VIRTIO_BLK_T_OUT,
	[BLK_FLUSH] = VIRTIO_BLK_T_FLUSH,
	[BLK_DISCARD] = VIRTIO_BLK_T_DISCARD,
	[BLK_WRITE_ZEROES] = VIRTIO_BLK_T_WRITE_ZEROES,
};

struct part {
	uint16_t slot;
	uint32_t type;
	uint64_t sector;     /* for the header */
	uint32_t nr_sectors; /* of the request, that this part takes; of a flush: 1 */
	struct vq_seg seg[VBLK_SEGS_MAX];
	unsigned nr_data; /* in seg[1] and up */
	size_t iov_off;   /* as in struct progress, after this part */
	uint32_t iov_index;
};

static uint64_t next_sector(struct blk_req *req)
{
	return req->sector + (req->nr_sectors - progress_of(req)->left);
}

static uint64_t slot_addr(const struct vblk_ring *ring, uint16_t slot, size_t field)
{
	return ring->slot_dma_addr + (uint64_t)slot * sizeof(struct vblk_slot_dma) + field;
}

/* Add BYTES at ADDR to the data, to the last segment where it goes on from there. */
static bool add_seg(
	struct part *part, uint64_t addr, uint32_t bytes, uint32_t size_max, unsigned max)
{
	struct vq_seg *last = &part->seg[part->nr_data];

	if (part->nr_data > 0 && last->addr + last->bytes == addr &&
		(uint64_t)last->bytes + bytes <= size_max) {
		last->bytes += bytes;
		return true;
	}
	if (part->nr_data == max)
		return false;
	part->nr_data++;
	part->seg[part->nr_data] = (struct vq_seg){.addr = addr, .bytes = bytes};
	return true;
}

/* Fill the data segments from where the request stands, as far as one part may go. *BYTES: how many that are. */
static int gather(
	const struct vblk_ring *ring, struct blk_req *req, struct part *part, uint64_t *bytes)
{
	struct hw *hw = ring->vblk->hw;
	const struct progress *p = progress_of(req);
	uint32_t size_max =
		(uint32_t)atomic_load_explicit(&ring->vblk->limits.size_max, memory_order_relaxed);
	unsigned max = min32(ring->max_segs,
		atomic_load_explicit(&ring->vblk->limits.seg_max, memory_order_relaxed));
	uint64_t limit = min32((uint64_t)p->left * SECTOR_BYTES, VBLK_PART_BYTES);
	uint32_t i = p->iov_index;
	size_t off = p->iov_off;

	for (*bytes = 0; *bytes < limit;) {
		const uint8_t *from;
		uint64_t addr;
		size_t contig;
		uint32_t step;

		while (i < (uint32_t)req->nr_iov && off == req->iov[i].iov_len) {
			i++;
			off = 0;
		}
		if (i == (uint32_t)req->nr_iov)
			return -EINVAL; /* less memory than sectors */
		from = (const uint8_t *)req->iov[i].iov_base + off;
		addr = hw->ops->dma_addr(hw, from, &contig);
		if (addr == UINT64_MAX)
			return -EFAULT;
		step = min32(
			min32(req->iov[i].iov_len - off, limit - *bytes), min32(contig, size_max));
		if (!add_seg(part, addr, step, size_max, max))
			break;
		*bytes += step;
		off += step;
	}
	part->iov_index = i;
	part->iov_off = off;
	return 0;
}

/* Take OVER bytes off the end again. */
static void trim(const struct blk_req *req, struct part *part, uint64_t over)
{
	while (over > 0) {
		struct vq_seg *last = &part->seg[part->nr_data];
		uint32_t step = min32(over, last->bytes);

		while (part->iov_off == 0)
			part->iov_off = req->iov[--part->iov_index].iov_len;
		step = min32(step, part->iov_off);
		part->iov_off -= step;
		last->bytes -= step;
		over -= step;
		if (last->bytes == 0)
			part->nr_data--;
	}
}

static int plan_transfer(struct vblk_ring *ring, struct blk_req *req, struct part *part)
{
	uint64_t bytes;
	int err = gather(ring, req, part, &bytes);
	uint64_t over = bytes % ((uint64_t)ring->vblk->unit_sectors * SECTOR_BYTES);

	if (err < 0)
		return err;
	if (over == bytes)
		return -EINVAL; /* one block in more pieces than the device takes */
	trim(req, part, over);
	part->sector = next_sector(req);
	part->nr_sectors = (uint32_t)((bytes - over) / SECTOR_BYTES);
	return 0;
}

static void plan_range(struct vblk_ring *ring, struct blk_req *req, struct part *part)
{
	struct vblk_limits *limits = &ring->vblk->limits;
	struct hw *hw = ring->vblk->hw;
	struct vblk_slot_dma *dma = &ring->slot_dma[part->slot];
	bool discard = req->op == BLK_DISCARD;
	uint32_t max =
		(uint32_t)atomic_load(discard ? &limits->discard_sectors : &limits->zeroes_sectors);
	uint64_t sector = next_sector(req);
	uint32_t nr = min32(progress_of(req)->left, max);
	uint32_t align = (uint32_t)atomic_load(&limits->discard_align);
	uint32_t tail = (uint32_t)((sector + nr) % align);

	if (discard && nr < progress_of(req)->left && tail < nr)
		nr -= tail; /* the next part begins aligned */
	dma_store64(hw, &dma->u.range.sector, sector);
	dma_store32(hw, &dma->u.range.num_sectors, nr);
	dma_store32(hw, &dma->u.range.flags,
		!discard && ring->vblk->zeroes_unmap ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0);
	part->seg[1] = (struct vq_seg){
		.addr = slot_addr(ring, part->slot, offsetof(struct vblk_slot_dma, u)),
		.bytes = sizeof(dma->u.range)};
	part->nr_data = 1;
	part->nr_sectors = nr;
}

static int plan(struct vblk_ring *ring, struct blk_req *req, struct part *part)
{
	part->type = op_type[req->op];
	part->sector = 0; /* 5.2.6: of IN and OUT only */
	part->nr_data = 0;
	part->iov_index = 0;
	part->iov_off = 0;
	switch (req->op) {
	case BLK_READ:
	case BLK_WRITE:
		return plan_transfer(ring, req, part);
	case BLK_FLUSH:
		part->nr_sectors = 1;
		return 0;
	default:
		plan_range(ring, req, part);
		return 0;
	}
}

/* Header, data, status into the ring. */
static int add_part(struct vblk_ring *ring, struct part *part, bool data_in)
{
	struct hw *hw = ring->vblk->hw;
	struct vblk_slot_dma *dma = &ring->slot_dma[part->slot];
	unsigned nr = part->nr_data;

	if (!vq_has_room(ring->vq, nr + 2))
		return -ENOSPC;
	dma_store32(hw, &dma->header.type, part->type);
	dma_store32(hw, &dma->header.reserved, 0);
	dma_store64(hw, &dma->header.sector, part->sector);
	dma_store8(hw, &dma->status, STATUS_POISON);
	part->seg[0] = (struct vq_seg){
		.addr = slot_addr(ring, part->slot, offsetof(struct vblk_slot_dma, header)),
		.bytes = sizeof(dma->header)};
	part->seg[nr + 1] = (struct vq_seg){
		.addr = slot_addr(ring, part->slot, offsetof(struct vblk_slot_dma, status)),
		.bytes = 1};
	return vq_add(ring->vq, part->seg, data_in ? 1 : 1 + nr, data_in ? nr + 1 : 1,
		&ring->slot[part->slot]);
}

/* -ENOSPC: there is no room. Any other error: the request can't go on. */
static int give_part(struct vblk_ring *ring, struct blk_req *req)
{
	struct progress *p = progress_of(req);
	struct part part;
	int err;

	if (ring->nr_free_slots == 0)
		return -ENOSPC;
	part.slot = ring->free_slot[ring->nr_free_slots - 1];
	err = plan(ring, req, &part);
	if (err == 0)
		err = add_part(ring, &part, req->op == BLK_READ);
	if (err < 0)
		return err;
	ring->nr_free_slots--;
	ring->slot[part.slot].req = req;
	count_atomic(&ring->nr_given, 1);
	p->iov_index = part.iov_index;
	p->iov_off = part.iov_off;
	p->left -= part.nr_sectors;
	p->parts++;
	return 0;
}

/* As much of REQ as there is room for. False: it must wait. */
static bool give(struct vblk_ring *ring, struct blk_req *req)
{
	struct progress *p = progress_of(req);

	while (p->left > 0 && p->err == 0) {
		int err = ring->stopped ? -EIO : give_part(ring, req);

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
	if (ring->stopped || vq_nr_unkicked(ring->vq) == 0)
		return;
	if (vq_kick_prepare(ring->vq)) {
		vq_notify(ring->vq);
		count(&ring->stat.kicks, 1);
	} else {
		count(&ring->stat.kicks_saved, 1);
	}
}

/* The device was reset: what it had is ours again. */
static void fail_all(struct vblk_ring *ring, int err)
{
	for (uint16_t i = 0; i < ring->nr_slots; i++)
		if (ring->slot[i].req != NULL)
			part_returned(ring, &ring->slot[i], err);
	for (struct blk_req *req = ring->waiting; req != NULL; req = req->next)
		progress_of(req)->err = progress_of(req)->err < 0 ? progress_of(req)->err : err;
	give_waiting(ring);
}

/* --- the seam --- */

static struct vblk_handle *to_handle(struct blk_queue *q)
{
	return (struct vblk_handle *)q;
}

static bool is_noop(const struct vblk *vblk, const struct blk_req *req)
{
	return req->op == BLK_FLUSH && !vblk->info.volatile_cache;
}

/* The disk may have shrunk since the caller last asked. */
static bool in_range(struct vblk *vblk, const struct blk_req *req)
{
	uint64_t nr_sectors = atomic_load_explicit(&vblk->limits.nr_sectors, memory_order_relaxed);

	return req->op == BLK_FLUSH ||
	       (req->sector <= nr_sectors && req->nr_sectors <= nr_sectors - req->sector);
}

int vblk_submit(struct blk_queue *q, struct blk_req *req)
{
	struct vblk_handle *h = to_handle(q);
	struct vblk_ring *ring = h->ring;
	struct progress *p = progress_of(req);

	if (!in_range(ring->vblk, req))
		return -EINVAL;
	*p = (struct progress){
		.owner = h,
		.left = req->op == BLK_FLUSH ? 1 : req->nr_sectors,
		.err = atomic_load_explicit(&ring->vblk->dead, memory_order_relaxed),
	};
	if (is_noop(ring->vblk, req))
		p->left = 0;
	req->next = NULL;
	owner_lock(&ring->lock);
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
	} else if (!ring->stopped) {
		reap(ring);
		give_waiting(ring);
		kick(ring);
		if (!owner_lock_is_shared(&ring->lock))
			vq_disable_cb(ring->vq);
	}
	*broke = ring->vq->broken && !ring->stopped;
	first = take_done(h);
	count(first != NULL ? &ring->stat.polls_hit : &ring->stat.polls_missed, 1);
	owner_unlock(&ring->lock);
	return first;
}

int vblk_poll(struct blk_queue *q)
{
	struct vblk_handle *h = to_handle(q);
	struct blk_req *req, *next;
	bool broke;
	int n = 0;

	if (atomic_load_explicit(&h->armed, memory_order_relaxed))
		atomic_store(&h->armed, false);
	req = poll_ring(h, &broke);
	if (broke)
		vblk_break(h->ring->vblk, -EPROTO, "the device broke the protocol");
	for (; req != NULL; req = next) {
		next = req->next;
		n++;
		h->nr_owned--;
		req->done(req, progress_of(req)->err);
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
	h->nap_us = min32(h->nap_us * 2ULL, NAP_MAX_US);
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
	ready = h->done != NULL || (!ring->stopped && vq_enable_cb(ring->vq));
	owner_unlock(&ring->lock);
	/* After `armed` was set: whoever changes these wakes those who are armed. */
	if (atomic_load(&vblk->dead) != 0 || !atomic_load(&vblk->vdev->has_irq))
		ready = true;
	if (ready)
		atomic_store(&h->armed, false);
	return ready;
}

bool vblk_arm(struct blk_queue *q)
{
	struct vblk_handle *h = to_handle(q);
	struct vblk *vblk = h->ring->vblk;

	if (h->nr_owned == 0)
		return false; /* only blk_wake() can end this sleep */
	vblk_watch_on(vblk);
	if (atomic_load(&vblk->vdev->has_irq))
		return arm_ring(h);
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

int vblk_queue_open(struct blockdev *dev, struct blk_queue **out)
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
	pthread_mutex_unlock(&vblk->open_lock);
	*out = &h->q;
	return 0;
}

void vblk_queue_close(struct blk_queue *q)
{
	struct vblk_handle *h = to_handle(q);
	struct vblk *vblk = h->ring->vblk;
	struct vblk_handle **at;

	pthread_mutex_lock(&vblk->open_lock);
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
	const uint64_t *from = (const uint64_t *)&ring->stat;
	uint64_t *to = (uint64_t *)out;

	static_assert(sizeof(*out) % sizeof(*to) == 0, "all counters are 64 bits wide");
	for (size_t i = 0; i < sizeof(*out) / sizeof(*to); i++)
		to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
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

int vblk_ring_init(struct vblk_ring *ring, struct virtqueue *vq)
{
	struct hw *hw = ring->vblk->hw;
	size_t contig, bytes = (size_t)vq->size * sizeof(struct vblk_slot_dma);

	ring->vq = vq;
	ring->max_segs = min32(vq_max_segs(vq), VBLK_SEGS_MAX) - 2;
	ring->slot = calloc(vq->size, sizeof(*ring->slot));
	ring->free_slot = calloc(vq->size, sizeof(*ring->free_slot));
	ring->slot_dma = hw->ops->dma_alloc(hw, bytes);
	if (ring->slot == NULL || ring->free_slot == NULL || ring->slot_dma == NULL)
		return -ENOMEM;
	ring->slot_dma_addr = hw->ops->dma_addr(hw, ring->slot_dma, &contig);
	for (uint16_t i = 0; i < vq->size; i++)
		ring->free_slot[i] = (uint16_t)(vq->size - 1 - i);
	ring->nr_slots = vq->size;
	ring->nr_free_slots = vq->size;
	return ring->slot_dma_addr == UINT64_MAX || contig < bytes ? -EFAULT : 0;
}

void vblk_ring_destroy(struct vblk_ring *ring, bool leak)
{
	struct hw *hw = ring->vblk->hw;

	if (ring->slot_dma != NULL && !leak)
		hw->ops->dma_free(
			hw, ring->slot_dma, (size_t)ring->nr_slots * sizeof(struct vblk_slot_dma));
	free(ring->slot);
	free(ring->free_slot);
	owner_lock_destroy(&ring->lock);
	pthread_mutex_destroy(&ring->handles_lock);
}

static int wait_for_id(struct vblk_ring *ring)
{
	struct hw *hw = ring->vblk->hw;

	for (uint32_t waited_us = 0; waited_us < ID_LIMIT_US; waited_us += ID_POLL_US) {
		if (vq_get_buf(ring->vq) != NULL)
			return 0;
		if (ring->vq->broken)
			return -EPROTO;
		hw->ops->sleep_us(hw, ID_POLL_US);
	}
	return -ETIMEDOUT;
}

int vblk_ring_get_id(struct vblk_ring *ring, char id[VIRTIO_BLK_ID_BYTES])
{
	struct part part = {.slot = ring->free_slot[0], .type = VIRTIO_BLK_T_GET_ID, .nr_data = 1};
	struct vblk_slot_dma *dma = &ring->slot_dma[part.slot];
	int err;

	part.seg[1] = (struct vq_seg){
		.addr = slot_addr(ring, part.slot, offsetof(struct vblk_slot_dma, u)),
		.bytes = VIRTIO_BLK_ID_BYTES};
	err = add_part(ring, &part, true);
	if (err < 0)
		return err;
	if (vq_kick_prepare(ring->vq))
		vq_notify(ring->vq);
	err = wait_for_id(ring);
	if (err < 0)
		return err;
	for (unsigned i = 0; i < VIRTIO_BLK_ID_BYTES; i++)
		id[i] = (char)dma_load8(ring->vblk->hw, &dma->u.id[i]);
	return error_of(dma_load8(ring->vblk->hw, &dma->status)) < 0 ? -EIO : 0;
}
