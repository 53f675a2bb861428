/* mblk.c - the model as a block device (virtio 1.2, 5.2): configuration, requests, disk and its
 * cache. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "state.h"

#define SECTOR        512U
#define CONFIG(field) offsetof(struct virtio_blk_config, field)

/* Configuration */

#define ALWAYS 0xff
static const struct config_field {
	uint8_t off, bytes, feature;
} fields[] = {
	{CONFIG(capacity), 4, ALWAYS},
	{CONFIG(capacity) + 4, 4, ALWAYS},
	{CONFIG(size_max), 4, VIRTIO_BLK_F_SIZE_MAX},
	{CONFIG(seg_max), 4, VIRTIO_BLK_F_SEG_MAX},
	{CONFIG(cylinders), 2, VIRTIO_BLK_F_GEOMETRY},
	{CONFIG(heads), 1, VIRTIO_BLK_F_GEOMETRY},
	{CONFIG(sectors), 1, VIRTIO_BLK_F_GEOMETRY},
	{CONFIG(blk_size), 4, VIRTIO_BLK_F_BLK_SIZE},
	{CONFIG(physical_block_exp), 1, VIRTIO_BLK_F_TOPOLOGY},
	{CONFIG(alignment_offset), 1, VIRTIO_BLK_F_TOPOLOGY},
	{CONFIG(min_io_size), 2, VIRTIO_BLK_F_TOPOLOGY},
	{CONFIG(opt_io_size), 4, VIRTIO_BLK_F_TOPOLOGY},
	{CONFIG(writeback), 1, VIRTIO_BLK_F_CONFIG_WCE},
	{CONFIG(num_queues), 2, VIRTIO_BLK_F_MQ},
	{CONFIG(max_discard_sectors), 4, VIRTIO_BLK_F_DISCARD},
	{CONFIG(max_discard_seg), 4, VIRTIO_BLK_F_DISCARD},
	{CONFIG(discard_sector_alignment), 4, VIRTIO_BLK_F_DISCARD},
	{CONFIG(max_write_zeroes_sectors), 4, VIRTIO_BLK_F_WRITE_ZEROES},
	{CONFIG(max_write_zeroes_seg), 4, VIRTIO_BLK_F_WRITE_ZEROES},
	{CONFIG(write_zeroes_may_unmap), 1, VIRTIO_BLK_F_WRITE_ZEROES},
	{CONFIG(max_secure_erase_sectors), 4, VIRTIO_BLK_F_SECURE_ERASE},
	{CONFIG(max_secure_erase_seg), 4, VIRTIO_BLK_F_SECURE_ERASE},
	{CONFIG(secure_erase_sector_alignment), 4, VIRTIO_BLK_F_SECURE_ERASE},
	{CONFIG(zoned_model), 1, VIRTIO_BLK_F_ZONED},
};

static void fill_config(const struct model *m, struct virtio_blk_config *c)
{
	memset(c, 0xff, sizeof(*c)); /* what the test left out is not to be used */
	c->capacity = le64_of(m->capacity);
	c->size_max = le32_of(m->cfg.blk.size_max);
	c->seg_max = le32_of(m->cfg.blk.seg_max);
	c->blk_size = le32_of(m->cfg.blk.blk_size);
	c->cylinders = le16_of(17);
	c->heads = 4;
	c->sectors = 32;
	c->physical_block_exp = m->cfg.blk.physical_exp;
	c->alignment_offset = 1;
	c->min_io_size = le16_of(8);
	c->opt_io_size = le32_of(64);
	c->writeback = m->cfg.blk.writeback;
	c->num_queues = le16_of(m->cfg.blk.num_queues);
	c->max_discard_sectors = le32_of(m->cfg.blk.discard_sectors);
	c->max_discard_seg = le32_of(m->cfg.blk.discard_seg);
	c->discard_sector_alignment = le32_of(m->cfg.blk.discard_align);
	c->max_write_zeroes_sectors = le32_of(m->cfg.blk.zeroes_sectors);
	c->max_write_zeroes_seg = le32_of(m->cfg.blk.zeroes_seg);
	c->write_zeroes_may_unmap = m->cfg.blk.zeroes_may_unmap;
	c->max_secure_erase_sectors = le32_of(m->cfg.blk.erase_sectors);
	c->max_secure_erase_seg = le32_of(m->cfg.blk.erase_seg);
	c->secure_erase_sector_alignment = le32_of(m->cfg.blk.erase_align);
	c->zoned_model = m->cfg.blk.zoned_model;
}

static const struct config_field *field_at(uint32_t off, int bytes)
{
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (fields[i].off == off && fields[i].bytes == bytes)
			return &fields[i];
	return NULL;
}

uint32_t mblk_config_read(struct model *m, uint32_t off, int bytes)
{
	const struct config_field *f = field_at(off, bytes);
	struct virtio_blk_config c;
	uint32_t val = 0;

	if ((m->status & VIRTIO_CONFIG_S_DRIVER) == 0)
		m_violation(m, "CF4: configuration read before DRIVER");
	if (f == NULL) {
		m_violation(m, "PC3: %d bytes at %u of the configuration are no field", bytes, off);
		return 0;
	}
	if (f->feature != ALWAYS && !m_offered(m, f->feature))
		m_violation(m, "CF2: field at %u read, feature %u is not offered", off, f->feature);
	if (off == CONFIG(writeback) && !m_settled(m))
		m_violation(m, "BI3: writeback read before FEATURES_OK");
	if (off == CONFIG(capacity) + 4 && m->capacity > m->capacity_told)
		m->capacity_told = m->capacity;
	fill_config(m, &c);
	memcpy(&val, (const uint8_t *)&c + off, (size_t)bytes);
	return le32toh(val);
}

void mblk_config_write(struct model *m, uint32_t off, int bytes, uint32_t val)
{
	if (!m_settled(m))
		m_violation(m, "CF4: configuration written before FEATURES_OK");
	if (off != CONFIG(writeback) || bytes != 1 || !m_negotiated(m, VIRTIO_BLK_F_CONFIG_WCE) ||
		val > 1)
		m_violation(m, "BO16: 0x%x written to %u of the configuration", val, off);
	else
		m->cfg.blk.writeback = (uint8_t)val;
}

/* Disk and cache */

static uint8_t *map_sectors(uint64_t sectors)
{
	void *p = mmap(NULL, sectors * SECTOR, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static bool map_disk(struct model *m)
{
	m->disk = map_sectors(m->disk_sectors);
	m->stable = map_sectors(m->disk_sectors);
	if (m->disk != NULL && m->stable != NULL)
		return true;
	if (m->disk != NULL)
		munmap(m->disk, m->disk_sectors * SECTOR);
	if (m->stable != NULL)
		munmap(m->stable, m->disk_sectors * SECTOR);
	return false;
}

/* ThreadSanitizer leaves less address space than some tests' disks are large. */
int mblk_create(struct model *m)
{
	m->first_writeback = m->cfg.blk.writeback;
	m->capacity = m->disk_sectors = m->cfg.blk.capacity;
	if (m->disk_sectors > 1ULL << 34) /* 8 TiB of address space are enough */
		m->disk_sectors = 1ULL << 34;
	if (m->disk_sectors == 0)
		m->disk_sectors = 1;
	while (!map_disk(m)) {
		if (m->disk_sectors == 1)
			return -ENOMEM;
		m->disk_sectors /= 2;
	}
	return 0;
}

void mblk_destroy(struct model *m)
{
	munmap(m->disk, m->disk_sectors * SECTOR);
	munmap(m->stable, m->disk_sectors * SECTOR);
	free(m->dirty);
}

bool mblk_volatile(const struct model *m)
{
	if (m_negotiated(m, VIRTIO_BLK_F_CONFIG_WCE))
		return m->cfg.blk.writeback != 0;
	return m_negotiated(m, VIRTIO_BLK_F_FLUSH);
}

static void persist(struct model *m, uint64_t sector, uint64_t nr)
{
	memcpy(m->stable + sector * SECTOR, m->disk + sector * SECTOR, nr * SECTOR);
}

static void changed(struct model *m, uint64_t sector, uint64_t nr)
{
	if (!mblk_volatile(m)) {
		persist(m, sector, nr);
		return;
	}
	if (m->nr_dirty == m->dirty_room) {
		m->dirty_room = m->dirty_room == 0 ? 64 : 2 * m->dirty_room;
		m->dirty = realloc(m->dirty, m->dirty_room * sizeof(*m->dirty));
	}
	m->dirty[m->nr_dirty++] =
		(struct m_range){.sector = sector, .nr = nr, .seq = ++m->dirty_seq};
}

/* BO15: of what was written, only what was done when the flush was exposed. */
static void flush(struct model *m, uint64_t covers)
{
	size_t kept = 0;

	for (size_t i = 0; i < m->nr_dirty; i++) {
		if (m->dirty[i].seq <= covers)
			persist(m, m->dirty[i].sector, m->dirty[i].nr);
		else
			m->dirty[kept++] = m->dirty[i];
	}
	m->nr_dirty = kept;
}

void model_power_cut(struct model *m)
{
	m_lock(m);
	for (size_t i = 0; i < m->nr_dirty; i++) {
		for (uint64_t s = m->dirty[i].sector; s < m->dirty[i].sector + m->dirty[i].nr;
			s++) {
			if (!m->lose_all && m_random(m) % 2 == 0)
				persist(m, s, 1);
			else
				memcpy(m->disk + s * SECTOR, m->stable + s * SECTOR, SECTOR);
		}
	}
	m->nr_dirty = 0;
	mregs_reset(m);
	m_unlock(m);
}

/* Requests */

static uint64_t readable_bytes(const struct m_req *req)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < req->nr_segs; i++)
		n += req->seg[i].writable ? 0 : req->seg[i].bytes;
	return n;
}

static uint64_t writable_bytes(const struct m_req *req)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < req->nr_segs; i++)
		n += req->seg[i].writable ? req->seg[i].bytes : 0;
	return n;
}

/* Copy BYTES between BUF and the request's readable or writable stream, from byte AT of it. */
static void stream(const struct m_req *req, bool writable, uint64_t at, void *buf, uint64_t bytes)
{
	uint8_t *p = buf;

	for (unsigned i = 0; i < req->nr_segs && bytes > 0; i++) {
		const struct m_seg *seg = &req->seg[i];
		uint64_t n;

		if (seg->writable != writable)
			continue;
		if (at >= seg->bytes) {
			at -= seg->bytes;
			continue;
		}
		n = seg->bytes - at < bytes ? seg->bytes - at : bytes;
		if (writable)
			memcpy(seg->host + at, p, n);
		else
			memcpy(p, seg->host + at, n);
		p += n;
		bytes -= n;
		at = 0;
	}
}

static bool is_out(uint32_t type)
{
	return type == VIRTIO_BLK_T_OUT || type == VIRTIO_BLK_T_DISCARD ||
	       type == VIRTIO_BLK_T_WRITE_ZEROES || type == VIRTIO_BLK_T_SECURE_ERASE;
}

static void broken(struct model *m, struct m_req *req, const char *rule)
{
	m_violation(m, "%s (type %u, sector %lu, %lu bytes)", rule, req->pub.type,
		(long)req->pub.sector, (long)req->pub.data_bytes);
	req->bad = true;
}

/* BI6: size_max and seg_max count data only. A descriptor that also has header or status bytes
 * counts too. */
static void check_segments(struct model *m, struct m_req *req, uint64_t out, uint64_t in)
{
	uint64_t at = 0;
	uint32_t size_max = m_offered(m, VIRTIO_BLK_F_SIZE_MAX) ? m->cfg.blk.size_max : 0;
	uint32_t nr_data = 0;
	uint32_t seg_max = m->cfg.blk.seg_max != 0 ? m->cfg.blk.seg_max : 1;

	for (unsigned i = 0; i < req->nr_segs; i++) {
		uint64_t end = at + req->seg[i].bytes;

		if (end > 16 && at < out + in - 1) {
			nr_data++;
			if (size_max != 0 && req->seg[i].bytes > size_max)
				broken(m, req, "BI6: a segment larger than size_max");
		}
		at = end;
	}
	if (m_offered(m, VIRTIO_BLK_F_SEG_MAX) && nr_data > seg_max)
		broken(m, req, "BI6: more segments than seg_max");
}

/* BO1. A disk that shrank says so later, and requests may be on their way. */
static void check_end(struct model *m, struct m_req *req, uint64_t sector, uint64_t nr)
{
	uint64_t end = m->capacity > m->capacity_told ? m->capacity : m->capacity_told;

	if (sector > end || nr > end - sector)
		broken(m, req, "BO1: past the end of the disk");
	else if (sector > m->capacity || nr > m->capacity - sector)
		req->past_end = true;
}

static void check_transfer(struct model *m, struct m_req *req)
{
	uint64_t bytes = req->pub.data_bytes, sectors = bytes / SECTOR;
	uint32_t unit = m_negotiated(m, VIRTIO_BLK_F_BLK_SIZE) ? m->cfg.blk.blk_size : SECTOR;

	if (bytes == 0 || bytes % SECTOR != 0)
		broken(m, req, "BO6: length is no multiple of 512");
	check_end(m, req, req->pub.sector, sectors);
	if (unit >= SECTOR && (bytes % unit != 0 || req->pub.sector * SECTOR % unit != 0))
		broken(m, req, "BI1: not a multiple of the logical block");
}

/* By the type of the request. */
static void range_limits(const struct model *m, uint32_t type, uint32_t *sectors, uint32_t *segs)
{
	switch (type) {
	case VIRTIO_BLK_T_DISCARD:
		*sectors = m->cfg.blk.discard_sectors;
		*segs = m->cfg.blk.discard_seg;
		break;
	case VIRTIO_BLK_T_SECURE_ERASE:
		*sectors = m->cfg.blk.erase_sectors;
		*segs = m->cfg.blk.erase_seg;
		break;
	default:
		*sectors = m->cfg.blk.zeroes_sectors;
		*segs = m->cfg.blk.zeroes_seg;
	}
}

static void check_range(struct model *m, struct m_req *req,
	const struct virtio_blk_discard_write_zeroes *r, uint32_t max)
{
	bool zeroes = req->pub.type == VIRTIO_BLK_T_WRITE_ZEROES;
	uint32_t flags = le32_get(r->flags), nr = le32_get(r->num_sectors);
	uint64_t sector = le64_get(r->sector);

	if (nr == 0 || (max != 0 && nr > max))
		broken(m, req, "BO8: num_sectors");
	check_end(m, req, sector, nr);
	if ((flags & ~VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) != 0 || (!zeroes && flags != 0))
		broken(m, req, "BO9: flags");
	if (zeroes && flags != 0 && !m->cfg.blk.zeroes_may_unmap)
		broken(m, req, "BO9: unmap where write_zeroes_may_unmap is 0");
}

static void check_ranges(struct model *m, struct m_req *req)
{
	uint64_t n = req->pub.data_bytes / sizeof(struct virtio_blk_discard_write_zeroes);
	uint32_t sectors, max;

	range_limits(m, req->pub.type, &sectors, &max);
	if (n == 0 || req->pub.data_bytes % sizeof(struct virtio_blk_discard_write_zeroes) != 0 ||
		(max != 0 && n > max)) {
		broken(m, req, "BO7: number of segments");
		return;
	}
	for (uint64_t i = 0; i < n; i++) {
		struct virtio_blk_discard_write_zeroes r;

		stream(req, false, sizeof(struct virtio_blk_outhdr) + i * sizeof(r), &r, sizeof(r));
		check_range(m, req, &r, sectors);
		if (i == 0) {
			req->pub.range_sector = le64_get(r.sector);
			req->pub.range_sectors = le32_get(r.num_sectors);
			req->pub.range_flags = le32_get(r.flags);
		}
	}
}

static void need(struct model *m, struct m_req *req, unsigned feature)
{
	if (!m_negotiated(m, feature))
		broken(m, req, "FE1: a request whose feature was not negotiated");
}

static void check_type(struct model *m, struct m_req *req)
{
	uint32_t type = req->pub.type;

	if (type != VIRTIO_BLK_T_IN && is_out(type) && m_negotiated(m, VIRTIO_BLK_F_RO))
		broken(m, req, "BO2: a read-only disk is asked to write");
	switch (type) {
	case VIRTIO_BLK_T_IN:
	case VIRTIO_BLK_T_OUT:
		check_transfer(m, req);
		break;
	case VIRTIO_BLK_T_FLUSH:
		need(m, req, VIRTIO_BLK_F_FLUSH);
		if (req->pub.data_bytes != 0)
			broken(m, req, "BO5: FLUSH with data");
		break;
	case VIRTIO_BLK_T_GET_ID:
		if (req->pub.data_bytes != VIRTIO_BLK_ID_BYTES)
			broken(m, req, "BO10: GET_ID of a wrong length");
		break;
	case VIRTIO_BLK_T_GET_LIFETIME:
		need(m, req, VIRTIO_BLK_F_LIFETIME);
		if (req->pub.data_bytes != sizeof(struct virtio_blk_lifetime))
			broken(m, req, "BO11: GET_LIFETIME of a wrong length");
		break;
	case VIRTIO_BLK_T_SECURE_ERASE:
		need(m, req, VIRTIO_BLK_F_SECURE_ERASE);
		check_ranges(m, req);
		break;
	case VIRTIO_BLK_T_DISCARD:
		need(m, req, VIRTIO_BLK_F_DISCARD);
		check_ranges(m, req);
		break;
	case VIRTIO_BLK_T_WRITE_ZEROES:
		need(m, req, VIRTIO_BLK_F_WRITE_ZEROES);
		check_ranges(m, req);
		break;
	default:
		broken(m, req, "BO3: an unknown request type");
	}
}

/* LG5: a legacy device without ANY_LAYOUT takes header and status for what the first and the last
 * descriptor are. */
static void check_framing(struct model *m, struct m_req *req)
{
	if (!m->cfg.legacy || m_negotiated(m, VIRTIO_F_ANY_LAYOUT))
		return;
	if (req->seg[0].bytes != sizeof(struct virtio_blk_outhdr) ||
		req->seg[req->nr_segs - 1].bytes != 1)
		broken(m, req, "LG5: header or status share a descriptor with data");
}

void mblk_parse(struct model *m, struct m_req *req)
{
	uint64_t out = readable_bytes(req), in = writable_bytes(req);
	struct virtio_blk_outhdr hdr;

	if (out < sizeof(hdr) || in < 1) {
		broken(m, req, "BO3: no room for header or status");
		return;
	}
	stream(req, false, 0, &hdr, sizeof(hdr));
	req->pub.type = le32_get(hdr.type);
	req->pub.sector = le64_get(hdr.sector);
	req->pub.data_bytes = is_out(req->pub.type) ? out - sizeof(hdr) : in - 1;
	req->status = req->seg[req->nr_segs - 1].host + req->seg[req->nr_segs - 1].bytes - 1;
	req->covers = m->dirty_seq;
	if (le32_get(hdr.reserved) != 0)
		broken(m, req, "BO3: reserved is not 0");
	if (req->pub.type > VIRTIO_BLK_T_OUT && req->pub.sector != 0)
		broken(m, req, "BO4: sector is not 0");
	if (is_out(req->pub.type) ? in != 1 : out != sizeof(hdr))
		broken(m, req, "BO5: data in both directions, or in the wrong one");
	if (*req->status <= VIRTIO_BLK_S_UNSUPP)
		broken(m, req, "BO12: the status byte is not poisoned");
	check_framing(m, req);
	check_segments(m, req, out, in);
	check_type(m, req);
}

/* Move the data of IN or OUT; what lies past the memory behind the disk reads as zeros. */
static void transfer(struct model *m, struct m_req *req)
{
	uint64_t at = req->pub.sector * SECTOR, bytes = req->pub.data_bytes;

	if (req->pub.sector + bytes / SECTOR > m->disk_sectors)
		return;
	if (req->pub.type == VIRTIO_BLK_T_IN) {
		stream(req, true, 0, m->disk + at, bytes);
	} else {
		stream(req, false, sizeof(struct virtio_blk_outhdr), m->disk + at, bytes);
		changed(m, req->pub.sector, bytes / SECTOR);
	}
}

/* What the sectors read as after a request of TYPE. */
static int wiped_byte(uint32_t type)
{
	switch (type) {
	case VIRTIO_BLK_T_DISCARD: /* BO14: anything */
		return 0xdd;
	case VIRTIO_BLK_T_SECURE_ERASE: /* likewise */
		return 0xee;
	default:
		return 0;
	}
}

static void wipe(struct model *m, struct m_req *req)
{
	uint64_t n = req->pub.data_bytes / sizeof(struct virtio_blk_discard_write_zeroes);

	for (uint64_t i = 0; i < n; i++) {
		struct virtio_blk_discard_write_zeroes r;

		stream(req, false, sizeof(struct virtio_blk_outhdr) + i * sizeof(r), &r, sizeof(r));
		if (le64_get(r.sector) + le32_get(r.num_sectors) > m->disk_sectors)
			continue;
		memset(m->disk + le64_get(r.sector) * SECTOR, wiped_byte(req->pub.type),
			(size_t)le32_get(r.num_sectors) * SECTOR);
		changed(m, le64_get(r.sector), le32_get(r.num_sectors));
	}
}

static void give_lifetime(const struct model *m, const struct m_req *req)
{
	struct virtio_blk_lifetime l = {.pre_eol_info = le16_of(m->cfg.blk.pre_eol),
		.device_lifetime_est_typ_a = le16_of(m->cfg.blk.typ_a),
		.device_lifetime_est_typ_b = le16_of(m->cfg.blk.typ_b)};

	stream(req, true, 0, &l, sizeof(l));
}

void mblk_execute(struct model *m, struct m_req *req)
{
	req->pub.status = VIRTIO_BLK_S_OK;
	req->pub.used_len = 1;
	if (req->past_end) {
		req->pub.status = VIRTIO_BLK_S_IOERR;
		return;
	}
	switch (req->pub.type) {
	case VIRTIO_BLK_T_IN:
		req->pub.used_len = (uint32_t)req->pub.data_bytes + 1;
		transfer(m, req);
		break;
	case VIRTIO_BLK_T_OUT:
		transfer(m, req);
		break;
	case VIRTIO_BLK_T_FLUSH:
		flush(m, req->covers);
		break;
	case VIRTIO_BLK_T_GET_ID:
		req->pub.used_len = VIRTIO_BLK_ID_BYTES + 1;
		stream(req, true, 0, m->cfg.blk.serial, VIRTIO_BLK_ID_BYTES);
		break;
	case VIRTIO_BLK_T_GET_LIFETIME:
		req->pub.used_len = sizeof(struct virtio_blk_lifetime) + 1;
		give_lifetime(m, req);
		break;
	default:
		wipe(m, req);
	}
	if (m->cfg.legacy) /* LG7: many of them count what they were given */
		req->pub.used_len = (uint32_t)(readable_bytes(req) + writable_bytes(req));
}
