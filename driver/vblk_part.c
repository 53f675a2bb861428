/* vblk_part.c - requests are cut by the device's limits into parts, each of them one virtio
 * request.
 *
 *	| header | data ... | status |		header and status are the slot's; data is the caller's memory
 *
 * Invariants
 *  1. A part is whole logical blocks, keeps to size_max, seg_max, the ring's size and the limits of
 *     its type, and no segment reaches over a border of contiguous memory.
 *  2. The status byte is poisoned before: what the device does not write is an error. */
#include <assert.h>
#include <errno.h>
#include "probes.h"
#include "vblk.h"

#define ID_LIMIT_US 5000000ULL
#define NAP_MIN_US  20U
#define NAP_MAX_US  1000U
#define LOOK_US     1000U /* a look at the device's status costs more than one at the ring */

static uint32_t min32(uint64_t a, uint64_t b)
{
	return (uint32_t)(a < b ? a : b);
}

int vblk_error_of(uint8_t status)
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

static const uint32_t op_type[] = {
	[BLK_READ] = VIRTIO_BLK_T_IN,
	[BLK_WRITE] = VIRTIO_BLK_T_OUT,
	[BLK_FLUSH] = VIRTIO_BLK_T_FLUSH,
	[BLK_DISCARD] = VIRTIO_BLK_T_DISCARD,
	[BLK_WRITE_ZEROES] = VIRTIO_BLK_T_WRITE_ZEROES,
	[BLK_SECURE_ERASE] = VIRTIO_BLK_T_SECURE_ERASE,
};

struct part {
	uint16_t slot;
	uint32_t type;
	uint64_t sector;     /* for the header */
	uint32_t nr_sectors; /* of the request, that this part takes; of a flush: 1 */
	struct vq_seg seg[VBLK_SEGS_MAX];
	unsigned nr_data; /* in seg[1] and up */
	size_t iov_off;   /* as in struct vblk_progress, after this part */
	uint32_t iov_index;
};

static uint64_t next_sector(struct blk_req *req)
{
	return req->sector + (req->nr_sectors - vblk_progress_of(req)->left);
}

static uint64_t slot_addr(const struct vblk_ring *ring, uint16_t slot, size_t field)
{
	return ring->slots.dma_addr + (uint64_t)slot * sizeof(struct vblk_slot_dma) + field;
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

/* Fill the data segments from where the request stands, as far as one part may go. *BYTES: how many
 * that are. */
static int gather(
	const struct vblk_ring *ring, struct blk_req *req, struct part *part, uint64_t *bytes)
{
	struct hw *hw = ring->vblk->hw;
	const struct vblk_progress *p = vblk_progress_of(req);
	uint32_t size_max =
		(uint32_t)atomic_load_explicit(&ring->vblk->limits.size_max, memory_order_relaxed);
	unsigned max = min32(ring->max_segs,
		atomic_load_explicit(&ring->vblk->limits.seg_max, memory_order_relaxed));
	uint64_t limit = min32((uint64_t)p->left * SECTOR_BYTES, VBLK_PART_BYTES);
	uint32_t i = p->iov_index, nr_iov = (uint32_t)req->nr_iov;
	size_t off = p->iov_off;

	for (*bytes = 0; *bytes < limit;) {
		const uint8_t *from;
		uint64_t addr;
		size_t contig = 0;
		uint32_t step;

		while (i < nr_iov && off == req->iov[i].iov_len) {
			i++;
			off = 0;
		}
		if (i == nr_iov)
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
		uint32_t step;

		assert(part->nr_data > 0); /* OVER is less than all of it */
		while (part->iov_off == 0)
			part->iov_off = req->iov[--part->iov_index].iov_len;
		step = min32(min32(over, last->bytes), part->iov_off);
		part->iov_off -= step;
		last->bytes -= step;
		over -= step;
		if (last->bytes == 0)
			part->nr_data--;
	}
}

static int plan_transfer(struct vblk_ring *ring, struct blk_req *req, struct part *part)
{
	uint64_t bytes, over;
	int err = gather(ring, req, part, &bytes);

	if (err < 0)
		return err;
	over = bytes % ((uint64_t)ring->vblk->unit_sectors * SECTOR_BYTES);
	if (over == bytes)
		return -EINVAL; /* one block in more pieces than the device takes */
	trim(req, part, over);
	part->sector = next_sector(req);
	part->nr_sectors = (uint32_t)((bytes - over) / SECTOR_BYTES);
	return 0;
}

static void range_limits(
	const struct vblk_limits *limits, enum blk_op op, uint32_t *sectors, uint32_t *align)
{
	switch (op) {
	case BLK_DISCARD:
		*sectors = (uint32_t)atomic_load(&limits->discard_sectors);
		*align = (uint32_t)atomic_load(&limits->discard_align);
		break;
	case BLK_SECURE_ERASE:
		*sectors = (uint32_t)atomic_load(&limits->erase_sectors);
		*align = (uint32_t)atomic_load(&limits->erase_align);
		break;
	default:
		*sectors = (uint32_t)atomic_load(&limits->zeroes_sectors);
		*align = 1;
	}
}

static void plan_range(struct vblk_ring *ring, struct blk_req *req, struct part *part)
{
	struct hw *hw = ring->vblk->hw;
	struct vblk_slot_dma *dma = &ring->slots.dma[part->slot];
	uint64_t sector = next_sector(req);
	uint32_t left = vblk_progress_of(req)->left, max, align, nr, tail;
	bool unmap = req->op == BLK_WRITE_ZEROES && ring->vblk->zeroes_unmap;

	range_limits(&ring->vblk->limits, req->op, &max, &align);
	nr = min32(left, max);
	tail = (uint32_t)((sector + nr) % align);
	if (nr < left && tail < nr)
		nr -= tail; /* the next part begins aligned */
	dma_store64(hw, &dma->u.range.sector, sector);
	dma_store32(hw, &dma->u.range.num_sectors, nr);
	dma_store32(hw, &dma->u.range.flags, unmap ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0);
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
	struct vblk_slot_dma *dma = &ring->slots.dma[part->slot];
	unsigned nr = part->nr_data;

	if (!vq_has_room(ring->vq, nr + 2))
		return -ENOSPC;
	dma_store32(hw, &dma->header.type, part->type);
	dma_store32(hw, &dma->header.reserved, 0);
	dma_store64(hw, &dma->header.sector, part->sector);
	dma_store8(hw, &dma->status, VBLK_NO_STATUS);
	part->seg[0] = (struct vq_seg){
		.addr = slot_addr(ring, part->slot, offsetof(struct vblk_slot_dma, header)),
		.bytes = sizeof(dma->header)};
	part->seg[nr + 1] = (struct vq_seg){
		.addr = slot_addr(ring, part->slot, offsetof(struct vblk_slot_dma, status)),
		.bytes = 1};
	return vq_add(ring->vq, part->seg, data_in ? 1 : 1 + nr, data_in ? nr + 1 : 1,
		&ring->slots.slot[part->slot]);
}

int vblk_give_part(struct vblk_ring *ring, struct blk_req *req)
{
	struct vblk_progress *p = vblk_progress_of(req);
	struct part part;
	int err;

	if (ring->slots.nr_free == 0)
		return -ENOSPC;
	part.slot = ring->slots.free[ring->slots.nr_free - 1];
	err = plan(ring, req, &part);
	if (err == 0)
		err = add_part(ring, &part, req->op == BLK_READ);
	if (err < 0)
		return err;
	ring->slots.nr_free--;
	if (ring->batch_ns == 0)
		ring->batch_ns = count_now_ns();
	ring->slots.slot[part.slot] = (struct vblk_slot){.req = req, .given_ns = ring->batch_ns};
	vblk_count_parts(&ring->nr_given);
	PROBE4(submit, ring->vq->index, req->op, next_sector(req), part.nr_sectors);
	p->iov_index = part.iov_index;
	if (req->op != BLK_FLUSH)
		p->iov_off = part.iov_off;
	p->left -= part.nr_sectors;
	p->parts++;
	return 0;
}

int vblk_wait_a_little(struct vblk *vblk, struct vblk_wait *w)
{
	uint64_t nap_us = w->waited_us / 8;
	int err;

	if (w->waited_us >= w->look_us) {
		w->look_us = w->waited_us + LOOK_US;
		err = virtio_device_health(vblk->vdev);
		if (err < 0)
			return err;
	}
	if (w->waited_us >= w->limit_us)
		return -ETIMEDOUT;
	nap_us = nap_us < NAP_MIN_US ? NAP_MIN_US : nap_us > NAP_MAX_US ? NAP_MAX_US : nap_us;
	vblk->hw->ops->sleep_us(vblk->hw, (uint32_t)nap_us);
	w->waited_us += nap_us;
	return 0;
}

/* Of a ring with nothing else in it. */
static int wait_for_one(struct vblk_ring *ring, uint64_t limit_us)
{
	struct vblk_wait w = {.limit_us = limit_us};

	while (vq_get_buf(ring->vq) == NULL) {
		int err = ring->vq->broken ? -EPROTO : vblk_wait_a_little(ring->vblk, &w);

		if (err < 0)
			return err;
	}
	return 0;
}

/* Add PART in a slot without a request, and wait for it. The status byte is the caller's to look at.
 * On failure the device may still have it: then the slot is not free. */
static int do_alone(struct vblk_ring *ring, struct part *part, bool data_in, uint64_t limit_us)
{
	int err = add_part(ring, part, data_in);

	if (err < 0)
		return err;
	ring->slots.nr_free--;
	ring->slots.slot[part->slot].alone = true;
	if (vq_kick_prepare(ring->vq))
		vq_notify(ring->vq);
	err = wait_for_one(ring, limit_us);
	if (err == 0)
		vblk_free_slot(ring, part->slot);
	return err;
}

int vblk_ring_flush(struct vblk_ring *ring)
{
	struct part part = {
		.slot = ring->slots.free[ring->slots.nr_free - 1], .type = VIRTIO_BLK_T_FLUSH};
	int err = do_alone(ring, &part, false, vblk_patience_us(ring->vblk));

	if (err < 0)
		return err;
	return vblk_error_of(dma_load8(ring->vblk->hw, &ring->slots.dma[part.slot].status));
}

/* Have the device fill BYTES of the slot's `u`, which *DMA is. */
static int ask(struct vblk_ring *ring, uint32_t type, uint32_t bytes, struct vblk_slot_dma **dma)
{
	struct part part = {
		.slot = ring->slots.free[ring->slots.nr_free - 1], .type = type, .nr_data = 1};
	int err;

	part.seg[1] = (struct vq_seg){
		.addr = slot_addr(ring, part.slot, offsetof(struct vblk_slot_dma, u)),
		.bytes = bytes};
	*dma = &ring->slots.dma[part.slot];
	err = do_alone(ring, &part, true, ID_LIMIT_US);
	if (err < 0)
		return err;
	return vblk_error_of(dma_load8(ring->vblk->hw, &(*dma)->status)) < 0 ? -ENODATA : 0;
}

int vblk_ring_get_id(struct vblk_ring *ring, char id[VIRTIO_BLK_ID_BYTES])
{
	struct vblk_slot_dma *dma;
	int err = ask(ring, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_ID_BYTES, &dma);

	for (unsigned i = 0; i < VIRTIO_BLK_ID_BYTES && err == 0; i++)
		id[i] = (char)dma_load8(ring->vblk->hw, &dma->u.id[i]);
	return err;
}

int vblk_ring_get_lifetime(struct vblk_ring *ring, struct vblk_lifetime *out)
{
	struct hw *hw = ring->vblk->hw;
	struct vblk_slot_dma *dma;
	int err = ask(ring, VIRTIO_BLK_T_GET_LIFETIME, sizeof(dma->u.lifetime), &dma);

	if (err < 0)
		return err;
	out->pre_eol = dma_load16(hw, &dma->u.lifetime.pre_eol_info);
	out->typ_a = dma_load16(hw, &dma->u.lifetime.device_lifetime_est_typ_a);
	out->typ_b = dma_load16(hw, &dma->u.lifetime.device_lifetime_est_typ_b);
	out->known = true;
	return 0;
}
