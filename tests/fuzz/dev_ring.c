/* dev_ring.c - see dev_ring.h. */
#include <string.h>
#include "dev_ring.h"
#include "virtio.h"

struct parts {
	uint8_t *mem[3]; /* descriptors, driver's, device's */
	uint32_t bytes[3];
};

static bool find_parts(const struct dev_ring *r, struct parts *out)
{
	out->bytes[0] = r->size * 16U;
	out->bytes[1] = r->packed ? 4 : 6 + r->size * 2U;
	out->bytes[2] = r->packed ? 4 : 6 + r->size * 8U;
	out->mem[0] = fz_dma_host(r->dma, r->desc, out->bytes[0]);
	out->mem[1] = fz_dma_host(r->dma, r->driver, out->bytes[1]);
	out->mem[2] = fz_dma_host(r->dma, r->device, out->bytes[2]);
	return out->mem[0] != NULL && out->mem[1] != NULL && out->mem[2] != NULL;
}

bool dev_ring_start(struct dev_ring *r, const struct fz_dma *dma, bool packed, uint16_t size,
	uint64_t desc, uint64_t driver, uint64_t device)
{
	struct parts parts;

	*r = (struct dev_ring){.dma = dma,
		.packed = packed,
		.size = size,
		.desc = desc,
		.driver = driver,
		.device = device,
		.avail_wrap = true,
		.used_wrap = true};
	return size > 0 && find_parts(r, &parts);
}

static void add_seg(
	struct dev_chain *c, const struct dev_ring *r, uint64_t addr, uint32_t bytes, bool writable)
{
	uint8_t *mem = fz_dma_host(r->dma, addr, bytes);

	if (mem == NULL || bytes == 0 || c->nr == DEV_SEGS_MAX ||
		(c->nr > 0 && c->seg[c->nr - 1].writable && !writable)) {
		c->sane = false;
		return;
	}
	c->seg[c->nr++] = (struct dev_seg){.mem = mem, .bytes = bytes, .writable = writable};
	c->in_bytes += writable ? bytes : 0;
}

static void walk_split(const struct dev_ring *r, struct dev_chain *c,
	const struct vring_desc *table, uint32_t size, uint32_t at, bool indirect)
{
	for (uint32_t n = 0;; n++) {
		const struct vring_desc *d = &table[at];
		uint16_t flags;

		if (at >= size || n == size) {
			c->sane = false;
			return;
		}
		flags = le16_get(d->flags);
		if (flags & VRING_DESC_F_INDIRECT) {
			uint32_t bytes = le32_get(d->len);
			uint8_t *mem = fz_dma_host(r->dma, le64_get(d->addr), bytes);

			c->sane &= !indirect && mem != NULL && bytes >= 16 && bytes % 16 == 0 &&
				   (uintptr_t)mem % 16 == 0 && !(flags & VRING_DESC_F_NEXT);
			if (c->sane)
				walk_split(r, c, (struct vring_desc *)mem, bytes / 16, 0, true);
			return;
		}
		add_seg(c, r, le64_get(d->addr), le32_get(d->len), flags & VRING_DESC_F_WRITE);
		if (!(flags & VRING_DESC_F_NEXT))
			return;
		at = le16_get(d->next);
	}
}

static bool take_split(struct dev_ring *r, const struct parts *p, struct dev_chain *c)
{
	const struct vring_avail *avail = (const struct vring_avail *)p->mem[1];

	if (le16_get(avail->idx) == r->avail)
		return false;
	c->id = le16_get(avail->ring[r->avail % r->size]);
	r->avail++;
	c->skip = 1;
	walk_split(r, c, (const struct vring_desc *)p->mem[0], r->size, c->id, false);
	return true;
}

static void walk_table(const struct dev_ring *r, struct dev_chain *c, uint64_t addr, uint32_t bytes)
{
	const struct vring_packed_desc *table =
		(const struct vring_packed_desc *)fz_dma_host(r->dma, addr, bytes);

	if (table == NULL || bytes == 0 || bytes % 16 != 0 || (uintptr_t)table % 16 != 0) {
		c->sane = false;
		return;
	}
	for (uint32_t i = 0; i < bytes / 16; i++)
		add_seg(c, r, le64_get(table[i].addr), le32_get(table[i].len),
			le16_get(table[i].flags) & VRING_DESC_F_WRITE);
}

static bool is_available(const struct dev_ring *r, uint16_t flags)
{
	return !!(flags & VRING_PACKED_DESC_F_AVAIL) == r->avail_wrap &&
	       !!(flags & VRING_PACKED_DESC_F_USED) != r->avail_wrap;
}

static void advance(const struct dev_ring *r, uint16_t *at, bool *wrap, uint32_t by)
{
	uint32_t to = *at + by;

	if (to >= r->size) {
		to -= r->size;
		*wrap = !*wrap;
	}
	*at = (uint16_t)(to % r->size);
}

static bool take_packed(struct dev_ring *r, const struct parts *p, struct dev_chain *c)
{
	const struct vring_packed_desc *ring = (const struct vring_packed_desc *)p->mem[0];
	uint16_t flags = le16_get(ring[r->avail].flags);

	if (!is_available(r, flags))
		return false;
	do {
		const struct vring_packed_desc *d = &ring[r->avail];

		flags = le16_get(d->flags);
		c->sane &= is_available(r, flags);
		c->id = le16_get(d->id); /* the last one's counts (2.8.6) */
		if (flags & VRING_DESC_F_INDIRECT)
			walk_table(r, c, le64_get(d->addr), le32_get(d->len));
		else
			add_seg(c, r, le64_get(d->addr), le32_get(d->len),
				flags & VRING_DESC_F_WRITE);
		c->skip++;
		advance(r, &r->avail, &r->avail_wrap, 1);
	} while ((flags & VRING_DESC_F_NEXT) && c->skip < r->size);
	return true;
}

bool dev_ring_take(struct dev_ring *r, struct dev_chain *out)
{
	struct parts p;

	out->nr = 0;
	out->skip = 0;
	out->in_bytes = 0;
	out->sane = true;
	if (!find_parts(r, &p))
		return false;
	return r->packed ? take_packed(r, &p, out) : take_split(r, &p, out);
}

static void use_packed(
	struct dev_ring *r, const struct parts *p, uint32_t id, uint32_t bytes, uint16_t skip)
{
	struct vring_packed_desc *d = (struct vring_packed_desc *)p->mem[0] + r->used;
	uint16_t lap = r->used_wrap ? VRING_PACKED_DESC_F_AVAIL | VRING_PACKED_DESC_F_USED : 0;

	d->id = le16_of((uint16_t)id);
	d->len = le32_of(bytes);
	d->flags = le16_of(lap | VRING_DESC_F_WRITE);
	advance(r, &r->used, &r->used_wrap, skip);
}

void dev_ring_use(struct dev_ring *r, uint32_t id, uint32_t bytes, uint16_t skip)
{
	struct vring_used *used;
	struct parts p;

	if (!find_parts(r, &p))
		return;
	if (r->packed) {
		use_packed(r, &p, id, bytes, skip);
		return;
	}
	used = (struct vring_used *)p.mem[2];
	used->ring[r->used % r->size] =
		(struct vring_used_elem){.id = le32_of(id), .len = le32_of(bytes)};
	r->used = (uint16_t)(r->used + skip);
	used->idx = le16_of(r->used);
}

void dev_ring_jump(struct dev_ring *r, uint16_t by)
{
	struct parts p;

	if (!find_parts(r, &p))
		return;
	if (r->packed) {
		advance(r, &r->used, &r->used_wrap, by % r->size);
		return;
	}
	r->used = (uint16_t)(r->used + by);
	((struct vring_used *)p.mem[2])->idx = le16_of(r->used);
}

void dev_ring_scribble(struct dev_ring *r, uint32_t off, uint32_t val)
{
	struct parts p;
	unsigned i = 0;

	if (!find_parts(r, &p))
		return;
	off %= p.bytes[0] + p.bytes[1] + p.bytes[2];
	while (off >= p.bytes[i])
		off -= p.bytes[i++];
	memcpy(p.mem[i] + off, &val, p.bytes[i] - off < 4 ? p.bytes[i] - off : 4);
}
