/* mkfs.c - make an empty filesystem on a disk.
 *
 * Invariants
 *  1. The old superblock is gone, durably, before anything else is touched; the new one is written
 *     last, after a flush of all the rest. So an interrupted mkfs leaves a disk that nobody takes
 *     for a filesystem.
 *  2. Of groups other than the first only the header is written (and a copy of the superblock):
 *     what else they have is initialised on first use. So the time it takes depends on the number
 *     of groups, not on the size of the disk.
 *  3. Nothing that an earlier filesystem left can be taken for ours: block heads carry the new
 *     UUID, and the journal begins at a random sequence number, with a first record that is no
 *     record. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <uuid/uuid.h>
#include "vblkfs.h"
#include "format.h"
#include "bitmap.h"
#include "cache.h"
#include "super.h"

#define RATIO_DEFAULT       16384U
#define RATIO_MIN           1024U
#define RATIO_MAX           (64U << 20)
#define JOURNAL_DEFAULT_MAX 32768U /* blocks: 128 MiB */
#define RESERVE_MIN         64U
#define RESERVE_MAX         4096U
#define WIPE_HEAD_BYTES     (4U << 20) /* where other formats keep their signatures */
#define WIPE_TAIL_BYTES     (1U << 20)
#define ZERO_BYTES          (1U << 20)
#define DISCARD_SECTORS     (1U << 21) /* a request: 1 GiB */
#define SLOTS               128U

struct layout { /* all that the plan decides */
	struct mkfs_geometry geo;
	uint32_t bitmap_blocks, ibitmap_blocks, itable_blocks;
	uint32_t tables; /* blocks at the beginning of each group */
	uint64_t reserved_blocks;
};

struct slot { /* one block on its way to the disk */
	struct blk_req req;
	struct iovec iov;
	struct mkfs *m;
	struct slot *next;
};

struct mkfs {
	struct blockdev *dev;
	struct blk_queue *q;
	struct blk_info info;
	const struct mkfs_opts *opts;
	struct layout l;
	uint64_t journal_start;
	uint64_t sequence; /* of the journal's first transaction */
	uint64_t hash_seed, now;
	uint32_t generation_seed;
	uint8_t *mem; /* SLOTS blocks */
	struct slot slot[SLOTS];
	struct slot *idle;
	uint64_t progress_total;
	int err; /* of the first write that failed */
};

static int refuse(char *err, size_t err_bytes, int code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static int refuse(char *err, size_t err_bytes, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(err, err_bytes, fmt, ap);
	va_end(ap);
	return code;
}

static uint64_t div_up(uint64_t n, uint64_t by)
{
	return n / by + (n % by != 0);
}

static uint64_t clamp(uint64_t n, uint64_t low, uint64_t high)
{
	return n < low ? low : n > high ? high : n;
}

static uint32_t group_nr_blocks(const struct mkfs_geometry *geo, uint32_t group)
{
	if (group + 1 < geo->nr_groups)
		return geo->group_blocks;
	return (uint32_t)(geo->nr_blocks - (uint64_t)group * geo->group_blocks);
}

static int check_opts(const struct mkfs_opts *opts, char *err, size_t err_bytes)
{
	uint32_t ratio = opts->inode_bytes_ratio;

	if (memchr(opts->label, '\0', sizeof(opts->label)) == NULL)
		return refuse(err, err_bytes, -EINVAL, "the label is longer than 32 bytes");
	for (const char *c = opts->label; *c != '\0'; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			return refuse(err, err_bytes, -EINVAL, "the label has a control character");
	if (ratio != 0 && (ratio < RATIO_MIN || ratio > RATIO_MAX))
		return refuse(err, err_bytes, -EINVAL, "%u bytes an inode: must be %u to %u", ratio,
			RATIO_MIN, RATIO_MAX);
	return 0;
}

/* Tables of a group that is BLOCKS long: they are the same in all groups. */
static void plan_tables(struct layout *l, uint32_t blocks, uint32_t ratio)
{
	uint64_t inodes = (uint64_t)blocks * BLOCK_BYTES / ratio;

	l->itable_blocks = (uint32_t)div_up(inodes, INODES_PER_BLOCK);
	l->geo.inodes_per_group = l->itable_blocks * INODES_PER_BLOCK;
	l->bitmap_blocks = (uint32_t)div_up(l->geo.group_blocks, BITMAP_BITS);
	l->ibitmap_blocks = (uint32_t)div_up(l->geo.inodes_per_group, BITMAP_BITS);
	l->tables = GROUP_BITMAP + l->bitmap_blocks + l->ibitmap_blocks + l->itable_blocks;
}

static int plan_journal(struct layout *l, const struct mkfs_opts *opts, char *err, size_t err_bytes)
{
	uint64_t nr = opts->journal_bytes / BLOCK_BYTES;
	uint32_t max = group_nr_blocks(&l->geo, 0) / 2;

	if (opts->journal_bytes == 0)
		nr = clamp(l->geo.nr_blocks / 64, JOURNAL_BLOCKS_MIN, JOURNAL_DEFAULT_MAX);
	if (nr < JOURNAL_BLOCKS_MIN || nr > max)
		return refuse(err, err_bytes, -EINVAL,
			"a journal of %llu KiB: must be %u to %u KiB on this disk",
			(unsigned long long)nr * 4, JOURNAL_BLOCKS_MIN * 4, max * 4);
	/* RATIO_MIN keeps the tables below a third of the group. */
	assert(l->tables + nr + GROUP_DATA_MIN <= group_nr_blocks(&l->geo, 0));
	l->geo.journal_blocks = nr;
	return 0;
}

static int plan(uint64_t nr_sectors, const struct mkfs_opts *opts, struct layout *l, char *err,
	size_t err_bytes)
{
	struct mkfs_geometry *geo = &l->geo;
	uint64_t blocks = nr_sectors / BLOCK_SECTORS;
	uint64_t rest = blocks % GROUP_BLOCKS_DEFAULT;
	uint64_t full = blocks / GROUP_BLOCKS_DEFAULT;
	int ret;

	memset(l, 0, sizeof(*l));
	ret = check_opts(opts, err, err_bytes);
	if (ret < 0)
		return ret;
	if (blocks < FS_BLOCKS_MIN)
		return refuse(err, err_bytes, -ENOSPC,
			"the disk has %llu KiB: the smallest filesystem is %u MiB",
			(unsigned long long)nr_sectors / 2, FS_BLOCKS_MIN / 256);
	if (full >= UINT32_MAX)
		return refuse(err, err_bytes, -EINVAL, "the disk has more than 2^32 - 1 groups");

	geo->group_blocks = GROUP_BLOCKS_DEFAULT;
	plan_tables(l, (uint32_t)(full > 0 ? GROUP_BLOCKS_DEFAULT : rest),
		opts->inode_bytes_ratio != 0 ? opts->inode_bytes_ratio : RATIO_DEFAULT);
	if (full > 0 && rest < l->tables + GROUP_DATA_MIN)
		rest = 0;
	geo->nr_groups = (uint32_t)full + (rest > 0);
	geo->nr_blocks = full * GROUP_BLOCKS_DEFAULT + rest;
	ret = plan_journal(l, opts, err, err_bytes);
	if (ret < 0)
		return ret;
	geo->free_blocks =
		geo->nr_blocks - (uint64_t)geo->nr_groups * l->tables - geo->journal_blocks;
	geo->nr_inodes = (uint64_t)geo->nr_groups * geo->inodes_per_group;
	l->reserved_blocks = clamp(geo->nr_blocks / 256, RESERVE_MIN, RESERVE_MAX);
	memcpy(geo->label, opts->label, sizeof(geo->label));
	if (opts->have_uuid)
		memcpy(geo->uuid, opts->uuid, sizeof(geo->uuid));
	else
		uuid_generate_random(geo->uuid);
	return 0;
}

static void progress(struct mkfs *m, uint64_t done)
{
	if (m->opts->progress != NULL)
		m->opts->progress(m->opts->arg, done, m->progress_total);
}

/* Zeros on [sector, sector + nr_sectors); M->mem is free to use. */
static int zero_range(struct mkfs *m, uint64_t sector, uint64_t nr_sectors)
{
	uint32_t step = SLOTS * BLOCK_SECTORS;
	int err = 0;

	if (m->info.can_write_zeroes &&
		blk_do(m->q, BLK_WRITE_ZEROES, sector, (uint32_t)nr_sectors, NULL) == 0)
		return 0;
	memset(m->mem, 0, (size_t)SLOTS * BLOCK_BYTES);
	while (nr_sectors > 0 && err == 0) {
		uint32_t nr = (uint32_t)(nr_sectors < step ? nr_sectors : step);

		err = blk_do(m->q, BLK_WRITE, sector, nr, m->mem);
		sector += nr;
		nr_sectors -= nr;
	}
	return err;
}

static int wipe_all(struct mkfs *m, enum blk_op op)
{
	int err = 0;

	for (uint64_t at = 0; at < m->info.nr_sectors && err == 0; at += DISCARD_SECTORS) {
		uint64_t left = m->info.nr_sectors - at;
		uint32_t nr = (uint32_t)(left < DISCARD_SECTORS ? left : DISCARD_SECTORS);

		err = blk_do(m->q, op, at, nr, NULL);
		if (err == 0)
			progress(m, (at + nr) / BLOCK_SECTORS);
	}
	return err;
}

static int destroy_old(struct mkfs *m)
{
	uint64_t tail = WIPE_TAIL_BYTES / SECTOR_BYTES;
	int err;

	/* From here on the old filesystem is gone, see invariant 1. */
	err = zero_range(m, (uint64_t)GROUP_SUPER * BLOCK_SECTORS, BLOCK_SECTORS);
	if (err == 0)
		err = blk_do(m->q, BLK_FLUSH, 0, 0, NULL);
	if (err < 0)
		return err;
	if (m->opts->secure_erase)
		err = wipe_all(m, BLK_SECURE_ERASE);
	else if (m->info.can_discard && !m->opts->no_discard)
		(void)wipe_all(m, BLK_DISCARD); /* advice: if it fails, the disk is as good */
	if (err < 0)
		return err;
	/* Only now: what a discarded sector reads as is anybody's guess. */
	err = zero_range(m, 0, WIPE_HEAD_BYTES / SECTOR_BYTES);
	if (err == 0)
		err = zero_range(m, m->info.nr_sectors - tail, tail);
	return err;
}

static void slot_done(struct blk_req *req, int err)
{
	struct slot *s = (struct slot *)req;

	if (err < 0 && s->m->err == 0)
		s->m->err = err;
	s->next = s->m->idle;
	s->m->idle = s;
}

/* A zeroed block to fill; write_block() sends it. */
static struct slot *slot_get(struct mkfs *m)
{
	struct slot *s;

	while (m->idle == NULL)
		blk_wait(m->q, -1);
	s = m->idle;
	m->idle = s->next;
	memset(s->iov.iov_base, 0, BLOCK_BYTES);
	return s;
}

static void write_block(struct mkfs *m, struct slot *s, uint64_t block)
{
	int err;

	block_req(&s->req, BLK_WRITE, block, 1, &s->iov, 1);
	s->req.done = slot_done;
	err = blk_submit(m->q, &s->req);
	if (err < 0)
		slot_done(&s->req, err);
}

static void write_meta(
	struct mkfs *m, struct slot *s, enum block_type type, uint64_t owner, uint64_t block)
{
	struct block_head *head = s->iov.iov_base;

	block_head_init(head, m->l.geo.uuid, type, block, owner);
	head->sequence = le64_of(m->sequence - 1);
	block_seal(head);
	write_block(m, s, block);
}

/* Wait for all writes, and make them durable. */
static int settle(struct mkfs *m)
{
	while (m->q->nr_inflight > 0)
		blk_wait(m->q, -1);
	if (m->err == 0)
		m->err = blk_do(m->q, BLK_FLUSH, 0, 0, NULL);
	return m->err;
}

static void write_boot(struct mkfs *m)
{
	struct slot *s = slot_get(m);

	super_boot_sector(s->iov.iov_base, m->info.nr_sectors);
	write_block(m, s, GROUP_BOOT);
}

static void write_super(struct mkfs *m, uint64_t block)
{
	const struct mkfs_geometry *geo = &m->l.geo;
	struct slot *s = slot_get(m);
	struct super_disk *d = s->iov.iov_base;

	memcpy(d->signature, SUPER_SIGNATURE, sizeof(SUPER_SIGNATURE));
	d->version = le32_of(FORMAT_VERSION);
	d->block_bytes = le32_of(BLOCK_BYTES);
	d->state = le32_of(STATE_CLEAN);
	d->nr_blocks = le64_of(geo->nr_blocks);
	d->group_blocks = le32_of(geo->group_blocks);
	d->nr_groups = le32_of(geo->nr_groups);
	d->inodes_per_group = le32_of(geo->inodes_per_group);
	d->bitmap_blocks = le32_of(m->l.bitmap_blocks);
	d->ibitmap_blocks = le32_of(m->l.ibitmap_blocks);
	d->itable_blocks = le32_of(m->l.itable_blocks);
	d->journal_start = le64_of(m->journal_start);
	d->journal_blocks = le64_of(geo->journal_blocks);
	d->free_blocks = le64_of(geo->free_blocks);
	d->free_inodes = le64_of(geo->nr_inodes - 1);
	d->reserved_blocks = le64_of(m->l.reserved_blocks);
	d->hash_seed = le64_of(m->hash_seed);
	d->mkfs_time = le64_of(m->now);
	d->write_time = le64_of(m->now);
	d->generation_seed = le32_of(m->generation_seed);
	memcpy(d->label, geo->label, sizeof(d->label));
	write_meta(m, s, BT_SUPER, 0, block);
}

static void write_group(struct mkfs *m, uint32_t group)
{
	const struct mkfs_geometry *geo = &m->l.geo;
	uint64_t start = (uint64_t)group * geo->group_blocks;
	uint32_t nr = group_nr_blocks(geo, group);
	struct slot *s = slot_get(m);
	struct group_disk *d = s->iov.iov_base;
	bool first = group == 0; /* it has the journal and the root */

	d->group = le32_of(group);
	d->flags = le32_of(first ? GROUP_F_BITMAP_READY : 0);
	d->nr_blocks = le32_of(nr);
	d->free_blocks = le32_of(nr - m->l.tables - (first ? (uint32_t)geo->journal_blocks : 0));
	d->free_inodes = le32_of(geo->inodes_per_group - first);
	d->inodes_ready = le32_of(first ? INODES_PER_BLOCK : 0);
	d->nr_dirs = le32_of(first);
	write_meta(m, s, BT_GROUP, group, start + GROUP_HEADER);
	if (format_has_super_copy(group))
		write_super(m, start + GROUP_SUPER);
}

/* NR_BITMAPS blocks of a bitmap from BLOCK on: bits below USED and from END on are set. */
static void write_bitmap(struct mkfs *m, enum block_type type, uint64_t block, uint32_t nr_bitmaps,
	uint32_t used, uint32_t end)
{
	for (uint32_t i = 0; i < nr_bitmaps; i++) {
		struct slot *s = slot_get(m);
		struct bitmap_disk *d = s->iov.iov_base;
		uint32_t base = i * BITMAP_BITS;

		bits_set(d->bits, 0, (uint32_t)clamp(used, base, base + BITMAP_BITS) - base);
		bits_set(d->bits, (uint32_t)clamp(end, base, base + BITMAP_BITS) - base,
			BITMAP_BITS);
		write_meta(m, s, type, 0, block + i);
	}
}

static void write_root(struct mkfs *m, uint64_t block)
{
	struct slot *s = slot_get(m);
	struct inode_disk *d = ((struct inodes_disk *)s->iov.iov_base)->inode;

	d->ino = le64_of(FS_ROOT_INO);
	d->mode = le32_of(S_IFDIR | 0755);
	d->nlink = le32_of(2);
	d->generation = le32_of(1);
	d->atime_s = d->mtime_s = d->ctime_s = d->btime_s = le64_of(m->now);
	d->parent_rdev = le64_of(FS_ROOT_INO);
	d->fork_format = FORK_NONE;
	write_meta(m, s, BT_INODES, 0, block);
}

static void write_journal(struct mkfs *m)
{
	struct slot *s = slot_get(m);
	struct journal_head_disk *d = s->iov.iov_base;

	d->tail_sequence = le64_of(m->sequence);
	d->tail = le64_of(1);
	write_meta(m, s, BT_JOURNAL_HEAD, 0, m->journal_start);
	write_block(m, slot_get(m), m->journal_start + 1); /* zeros: no record */
}

static int write_all(struct mkfs *m)
{
	const struct layout *l = &m->l;
	uint32_t ibitmap = GROUP_BITMAP + l->bitmap_blocks;
	uint32_t itable = ibitmap + l->ibitmap_blocks;
	uint32_t used = l->tables + (uint32_t)l->geo.journal_blocks;

	write_boot(m);
	write_bitmap(m, BT_BLOCK_BITMAP, GROUP_BITMAP, l->bitmap_blocks, used,
		group_nr_blocks(&l->geo, 0));
	write_bitmap(m, BT_INODE_BITMAP, ibitmap, 1, 1, l->geo.inodes_per_group);
	write_root(m, itable);
	write_journal(m);
	for (uint32_t g = 0; g < l->geo.nr_groups && m->err == 0; g++) {
		write_group(m, g);
		progress(m, m->progress_total - (l->geo.nr_groups - g - 1));
	}
	if (settle(m) < 0)
		return m->err;
	/* The moment at which there is a filesystem: before this write there is none. */
	write_super(m, GROUP_SUPER);
	return settle(m);
}

static int pick_numbers(struct mkfs *m)
{
	uint64_t random[3];

	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return -EIO;
	m->sequence = (random[0] >> 16) + 1; /* 2^48 values, and the rest to count in */
	m->hash_seed = random[1];
	m->generation_seed = (uint32_t)random[2];
	m->now = (uint64_t)time(NULL);
	m->journal_start = m->l.tables;
	return 0;
}

static int open_writer(struct mkfs *m)
{
	int err = blk_queue_open(m->dev, &m->q);

	if (err < 0)
		return err;
	m->mem = blk_dma_alloc(m->dev, (size_t)SLOTS * BLOCK_BYTES);
	if (m->mem == NULL) {
		blk_queue_close(m->q);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < SLOTS; i++) {
		struct slot *s = &m->slot[i];

		s->m = m;
		s->iov = (struct iovec){m->mem + (size_t)i * BLOCK_BYTES, BLOCK_BYTES};
		s->next = m->idle;
		m->idle = s;
	}
	return 0;
}

static void close_writer(struct mkfs *m)
{
	while (m->q->nr_inflight > 0)
		blk_wait(m->q, -1);
	blk_dma_free(m->dev, m->mem, (size_t)SLOTS * BLOCK_BYTES);
	blk_queue_close(m->q);
}

int mkfs_plan(uint64_t nr_sectors, const struct mkfs_opts *opts, struct mkfs_geometry *out,
	char *err, size_t err_bytes)
{
	struct layout l;
	int ret = plan(nr_sectors, opts, &l, err, err_bytes);

	if (ret == 0)
		*out = l.geo;
	return ret;
}

int mkfs_write(struct blockdev *dev, const struct mkfs_opts *opts, struct mkfs_geometry *out,
	char *err, size_t err_bytes)
{
	struct mkfs *m = calloc(1, sizeof(*m));
	int ret;

	if (m == NULL)
		return refuse(err, err_bytes, -ENOMEM, "out of memory");
	m->dev = dev;
	m->opts = opts;
	blk_get_info(dev, &m->info);
	ret = plan(m->info.nr_sectors, opts, &m->l, err, err_bytes);
	if (ret < 0)
		goto free_m;
	if (m->info.read_only) {
		ret = refuse(err, err_bytes, -EROFS, "the disk is read-only");
		goto free_m;
	}
	if (opts->secure_erase && !m->info.can_secure_erase) {
		ret = refuse(err, err_bytes, -EOPNOTSUPP, "the disk can't erase securely");
		goto free_m;
	}
	m->progress_total = m->info.nr_sectors / BLOCK_SECTORS + m->l.geo.nr_groups;
	ret = pick_numbers(m);
	if (ret == 0)
		ret = open_writer(m);
	if (ret < 0) {
		(void)refuse(err, err_bytes, ret, "cannot start: %s", strerror(-ret));
		goto free_m;
	}
	ret = destroy_old(m);
	if (ret == 0)
		ret = write_all(m);
	if (ret < 0)
		(void)refuse(err, err_bytes, ret, "writing failed: %s", strerror(-ret));
	else
		*out = m->l.geo;
	close_writer(m);
free_m:
	free(m);
	return ret;
}
