/* dump.c - a disk that is looked at: its superblock, groups, and any block.
 *
 * Invariants
 *  1. Geometry is used only when it passes super_check(), the checksum aside. Without one, the
 *     superblock and single blocks can still be shown.
 *  2. dump_read() refuses blocks that the disk does not have; so whoever follows a number from the
 *     disk need not check it first.
 *  3. Counts from the disk are cut to what the block has room for before they are used. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "bitmap.h"
#include "cache.h"
#include "dump.h"
#include "super.h"
#include "table.h"

#define NO_PAGE UINT64_MAX

/* --- errors --- */

int dump_fail(struct dump *d, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(d->error, sizeof(d->error), fmt, ap);
	va_end(ap);
	return err;
}

const char *dump_error(const struct dump *d)
{
	return d->error;
}

int dump_need_geometry(struct dump *d)
{
	if (d->have_geo)
		return 0;
	return dump_fail(d, -EUCLEAN,
		"superblock: %s; only single blocks and the superblock can be shown", d->why_not);
}

/* --- sets --- */

struct dump_seen {
	uint64_t n;
	UT_hash_handle hh;
};

bool dump_seen(struct dump_seen **set, uint64_t n)
{
	struct dump_seen *s;

	HASH_FIND(hh, *set, &n, sizeof(n), s);
	if (s != NULL)
		return true;
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return true;
	s->n = n;
	HASH_ADD(hh, *set, n, sizeof(s->n), s);
	if (table_has(s))
		return false;
	free(s);
	return true;
}

void dump_seen_free(struct dump_seen **set)
{
	struct dump_seen *s = *set;

	HASH_CLEAR(hh, *set);
	while (s != NULL) {
		struct dump_seen *next = s->hh.next;

		free(s);
		s = next;
	}
}

/* --- reading --- */

int dump_read(struct dump *d, uint64_t block, void *data)
{
	struct blk_req at;
	int err;

	if (block >= d->disk_blocks)
		return dump_fail(d, -ENXIO,
			"block %" PRIu64 " is past the end of the disk, which has %" PRIu64, block,
			d->disk_blocks);
	if (d->page_at != block) {
		d->page_at = NO_PAGE;
		block_req(&at, BLK_READ, block, 1, NULL, 0);
		err = blk_do(d->q, BLK_READ, at.sector, at.nr_sectors, d->page);
		if (err < 0)
			return dump_fail(
				d, err, "cannot read block %" PRIu64 ": %s", block, strerror(-err));
		d->page_at = block;
	}
	memcpy(data, d->page, BLOCK_BYTES);
	return 0;
}

bool dump_is_type(const void *data, enum block_type type)
{
	return le32_get(((const struct block_head *)data)->magic) == (uint32_t)type;
}

static void take_geometry(struct dump *d, const struct super_disk *sb)
{
	d->geo = (struct dump_geometry){
		.nr_blocks = le64_get(sb->nr_blocks),
		.journal_start = le64_get(sb->journal_start),
		.journal_blocks = le64_get(sb->journal_blocks),
		.hash_seed = le64_get(sb->hash_seed),
		.group_blocks = le32_get(sb->group_blocks),
		.nr_groups = le32_get(sb->nr_groups),
		.inodes_per_group = le32_get(sb->inodes_per_group),
		.bitmap_blocks = le32_get(sb->bitmap_blocks),
		.ibitmap_blocks = le32_get(sb->ibitmap_blocks),
		.itable_blocks = le32_get(sb->itable_blocks),
	};
	memcpy(d->geo.uuid, sb->head.fs_uuid, sizeof(d->geo.uuid));
	d->have_geo = true;
}

/* Only the first fault is kept: it says why the next place was looked at. */
static bool try_super(struct dump *d, uint64_t block)
{
	struct super_disk sb;
	const char *why;

	if (dump_read(d, block, &sb) < 0) {
		why = d->error;
	} else {
		block_seal(&sb); /* a wrong checksum alone does not make the numbers useless */
		why = super_check(&sb, block, d->disk_blocks);
	}
	if (why == NULL) {
		take_geometry(d, &sb);
		d->super_at = block;
	} else if (d->why_not[0] == '\0') {
		snprintf(d->why_not, sizeof(d->why_not), "%s", why);
	}
	return why == NULL;
}

static void find_super(struct dump *d)
{
	d->super_at = GROUP_SUPER;
	if (try_super(d, GROUP_SUPER))
		return;
	for (uint64_t at = GROUP_BLOCKS_DEFAULT; at < d->disk_blocks; at *= 2)
		if (try_super(d, at + GROUP_SUPER))
			return;
}

int dump_open(struct blockdev *dev, struct dump **out)
{
	struct dump *d = calloc(1, sizeof(*d));
	struct blk_info info;
	int err;

	if (d == NULL)
		return -ENOMEM;
	blk_get_info(dev, &info);
	d->dev = dev;
	d->disk_blocks = info.nr_sectors / BLOCK_SECTORS;
	d->page_at = NO_PAGE;
	err = -ENOMEM;
	d->page = blk_dma_alloc(dev, BLOCK_BYTES);
	if (d->page == NULL)
		goto free_dump;
	err = blk_queue_open(dev, &d->q);
	if (err < 0)
		goto free_page;
	find_super(d);
	*out = d;
	return 0;

free_page:
	blk_dma_free(dev, d->page, BLOCK_BYTES);
free_dump:
	free(d);
	return err;
}

void dump_close(struct dump *d)
{
	blk_queue_close(d->q);
	blk_dma_free(d->dev, d->page, BLOCK_BYTES);
	free(d);
}

/* --- faults of a head --- */

/* Fault number STEP, into f->text; false: it has none of that number. */
static bool fault(const struct dump *d, const void *data, struct dump_faults *f)
{
	const struct block_head *h = data;

	switch (f->step) {
	case 1:
		if (f->type == 0 || le32_get(h->magic) == f->type)
			return false;
		snprintf(f->text, sizeof(f->text), "magic wrong");
		return true;
	case 2:
		snprintf(f->text, sizeof(f->text), "crc wrong");
		return le32_get(h->crc) != block_crc(data);
	case 3:
		snprintf(
			f->text, sizeof(f->text), "written for block %" PRIu64, le64_get(h->block));
		return f->block != DUMP_ANY && le64_get(h->block) != f->block;
	case 4:
		snprintf(f->text, sizeof(f->text), "owner is not %" PRIu64, f->owner);
		return f->owner != DUMP_ANY && le64_get(h->owner) != f->owner;
	default:
		snprintf(f->text, sizeof(f->text), "of another filesystem");
		return d->have_geo && memcmp(h->fs_uuid, d->geo.uuid, sizeof(h->fs_uuid)) != 0;
	}
}

const char *dump_next_fault(const struct dump *d, const void *data, struct dump_faults *faults)
{
	while (faults->step < 5) {
		faults->step++;
		if (fault(d, data, faults))
			return faults->text;
	}
	return NULL;
}

void dump_show_head(struct dump *d, struct dump_out *o, uint64_t block, const void *data,
	uint32_t type, uint64_t owner)
{
	struct dump_faults faults = {.block = block, .owner = owner, .type = type};
	const char *text;

	o->open(o, "head", DUMP_ROW, NULL);
	dump_show_fields(o, &dump_head, data);
	o->close(o);
	o->open(o, "faults", DUMP_LIST, NULL);
	while ((text = dump_next_fault(d, data, &faults)) != NULL)
		dump_show_string(o, NULL, text);
	o->close(o);
}

/* --- where a block is --- */

static uint32_t tables_end(const struct dump_geometry *g)
{
	return GROUP_BITMAP + g->bitmap_blocks + g->ibitmap_blocks + g->itable_blocks;
}

static void role_in_group(
	const struct dump_geometry *g, uint32_t group, uint32_t at, char *out, size_t bytes)
{
	uint32_t bitmaps = GROUP_BITMAP + g->bitmap_blocks;
	uint32_t tables = bitmaps + g->ibitmap_blocks;
	uint64_t first = (uint64_t)group * g->inodes_per_group +
			 (uint64_t)(at - tables) * INODES_PER_BLOCK + 1;

	if (at == GROUP_BOOT)
		snprintf(out, bytes, "boot block of group %u", group);
	else if (at == GROUP_SUPER && format_has_super_copy(group))
		snprintf(out, bytes, "copy of the superblock, in group %u", group);
	else if (at == GROUP_SUPER)
		snprintf(out, bytes, "%s %u",
			group == 0 ? "superblock, in group" : "not used, in group", group);
	else if (at == GROUP_HEADER)
		snprintf(out, bytes, "header of group %u", group);
	else if (at < bitmaps)
		snprintf(out, bytes, "block bitmap %u of group %u", at - GROUP_BITMAP, group);
	else if (at < tables)
		snprintf(out, bytes, "inode bitmap %u of group %u", at - bitmaps, group);
	else if (at < tables_end(g))
		snprintf(out, bytes, "inodes %" PRIu64 " to %" PRIu64 ", in group %u", first,
			first + INODES_PER_BLOCK - 1, group);
	else
		snprintf(out, bytes, "data of group %u", group);
}

static bool in_journal(const struct dump *d, uint64_t block)
{
	return d->have_geo && block >= d->geo.journal_start &&
	       block < d->geo.journal_start + d->geo.journal_blocks;
}

void dump_block_role(const struct dump *d, uint64_t block, char *out, size_t bytes)
{
	if (!d->have_geo)
		snprintf(out, bytes, "not known");
	else if (block >= d->geo.nr_blocks)
		snprintf(out, bytes, "past the end of the filesystem");
	else if (block == d->geo.journal_start)
		snprintf(out, bytes, "head of the journal");
	else if (in_journal(d, block))
		snprintf(out, bytes, "index %" PRIu64 " of the journal",
			block - d->geo.journal_start);
	else
		role_in_group(&d->geo, (uint32_t)(block / d->geo.group_blocks),
			(uint32_t)(block % d->geo.group_blocks), out, bytes);
}

/* --- superblock and groups --- */

static int show_super(struct dump *d, struct dump_out *o)
{
	struct super_disk sb;
	const char *why;
	int err = dump_read(d, d->super_at, &sb);

	if (err < 0)
		return err;
	if (!d->have_geo && !dump_is_type(&sb, BT_SUPER) &&
		memcmp(sb.signature, SUPER_SIGNATURE, sizeof(sb.signature)) != 0)
		return dump_fail(d, -ENODATA, "no vblkfs filesystem");
	o->open(o, "superblock", DUMP_OBJECT, NULL);
	dump_show(o, "block", d->super_at);
	if (d->super_at != GROUP_SUPER)
		dump_show_string(o, "instead_of_block_1", d->why_not);
	dump_show_head(d, o, d->super_at, &sb, BT_SUPER, 0);
	why = super_check(&sb, d->super_at, d->disk_blocks);
	if (!d->have_geo && why != NULL)
		dump_show_string(o, "fault", d->why_not);
	dump_show_fields(o, dump_layout_of(BT_SUPER), &sb);
	o->close(o);
	return 0;
}

int dump_super(struct dump *d, struct dump_out *o)
{
	int err;

	o->open(o, NULL, DUMP_OBJECT, NULL);
	err = show_super(d, o);
	o->close(o);
	return err;
}

/* A row: the header's fields, after where things are. */
static int show_group_row(struct dump *d, struct dump_out *o, uint32_t group)
{
	uint64_t start = (uint64_t)group * d->geo.group_blocks;
	struct dump_faults faults = {
		.block = start + GROUP_HEADER, .owner = group, .type = BT_GROUP};
	struct group_disk g;
	const char *text;
	int err = dump_read(d, start + GROUP_HEADER, &g);

	if (err < 0)
		return err;
	o->open(o, NULL, DUMP_ROW, NULL);
	dump_show(o, "start", start);
	dump_show_fields(o, dump_layout_of(BT_GROUP), &g);
	text = dump_next_fault(d, &g, &faults);
	dump_show_string(o, "fault", text == NULL ? "" : text);
	o->close(o);
	return 0;
}

static int show_groups(struct dump *d, struct dump_out *o)
{
	static const struct dump_column columns[] = {{"group", 6}, {"start", 12}, {"nr_blocks", 9},
		{"free_blocks", 11}, {"free_inodes", 11}, {"inodes_ready", 12}, {"nr_dirs", 7},
		{"flags", -12}, {"fault", -1}, {NULL, 0}};
	int err = 0;

	o->open(o, "groups", DUMP_LIST, columns);
	for (uint32_t g = 0; g < d->geo.nr_groups && err == 0; g++)
		err = show_group_row(d, o, g);
	o->close(o);
	return err;
}

int dump_groups(struct dump *d, struct dump_out *o)
{
	int err = dump_need_geometry(d);

	if (err < 0)
		return err;
	o->open(o, NULL, DUMP_OBJECT, NULL);
	err = show_groups(d, o);
	o->close(o);
	return err;
}

int dump_summary(struct dump *d, struct dump_out *o)
{
	int err;

	o->open(o, NULL, DUMP_OBJECT, NULL);
	err = show_super(d, o);
	if (err == 0 && d->have_geo)
		err = show_groups(d, o);
	o->close(o);
	return err;
}

/* Runs of clear bits below END, numbered from BASE on, as rows. */
static void show_clear(struct dump_out *o, const uint8_t *bits, uint32_t end, uint64_t base)
{
	uint32_t from = 0;

	while ((from = bits_next_clear(bits, from, end)) < end) {
		uint32_t to = bits_next_set(bits, from, end);

		o->open(o, NULL, DUMP_ROW, NULL);
		dump_show(o, "first", base + from);
		dump_show(o, "last", base + to - 1);
		dump_show(o, "count", to - from);
		o->close(o);
		from = to;
	}
}

static const struct dump_column run_columns[] = {
	{"first", 12}, {"last", 12}, {"count", 12}, {NULL, 0}};

struct bitmap_place { /* the blocks of one bitmap of a group */
	const char *key;
	enum block_type type;
	uint64_t block;
	uint32_t nr_blocks;
	uint32_t nr_bits; /* that mean something */
	uint64_t base;    /* what bit 0 stands for */
};

static int show_free_of(
	struct dump *d, struct dump_out *o, uint32_t group, const struct bitmap_place *p)
{
	struct bitmap_disk b __attribute__((aligned(8)));
	int err = 0;

	o->open(o, p->key, DUMP_LIST, run_columns);
	for (uint32_t i = 0; i < p->nr_blocks && i * BITMAP_BITS < p->nr_bits && err == 0; i++) {
		uint32_t rest = p->nr_bits - i * BITMAP_BITS;
		struct dump_faults f = {.block = p->block + i, .owner = group, .type = p->type};

		err = dump_read(d, p->block + i, &b);
		if (err == 0 && dump_next_fault(d, &b, &f) != NULL) {
			o->open(o, NULL, DUMP_ROW, NULL);
			dump_show(o, "damaged_bitmap", p->block + i);
			dump_show_string(o, "fault", f.text);
			o->close(o);
		}
		if (err == 0)
			show_clear(o, b.bits, rest < BITMAP_BITS ? rest : BITMAP_BITS,
				p->base + (uint64_t)i * BITMAP_BITS);
	}
	o->close(o);
	return err;
}

static uint32_t group_nr_blocks(const struct dump_geometry *g, uint32_t group)
{
	uint64_t rest = g->nr_blocks - (uint64_t)group * g->group_blocks;

	return rest < g->group_blocks ? (uint32_t)rest : g->group_blocks;
}

static int show_free(struct dump *d, struct dump_out *o, uint32_t group, const struct group_disk *g)
{
	const struct dump_geometry *geo = &d->geo;
	uint64_t start = (uint64_t)group * geo->group_blocks;
	uint32_t ready = le32_get(g->inodes_ready);
	struct bitmap_place blocks = {"free_block_runs", BT_BLOCK_BITMAP, start + GROUP_BITMAP,
		geo->bitmap_blocks, group_nr_blocks(geo, group), start};
	struct bitmap_place inodes = {"free_inode_runs", BT_INODE_BITMAP,
		start + GROUP_BITMAP + geo->bitmap_blocks, geo->ibitmap_blocks,
		ready < geo->inodes_per_group ? ready : geo->inodes_per_group,
		(uint64_t)group * geo->inodes_per_group + 1};
	int err = 0;

	if ((le32_get(g->flags) & GROUP_F_BITMAP_READY) != 0)
		err = show_free_of(d, o, group, &blocks);
	if (err == 0)
		err = show_free_of(d, o, group, &inodes);
	return err;
}

int dump_group(struct dump *d, struct dump_out *o, uint64_t group)
{
	struct group_disk g;
	uint64_t start;
	int err = dump_need_geometry(d);

	if (err < 0)
		return err;
	if (group >= d->geo.nr_groups)
		return dump_fail(
			d, -EINVAL, "no group %" PRIu64 ": there are %u", group, d->geo.nr_groups);
	start = group * d->geo.group_blocks;
	err = dump_read(d, start + GROUP_HEADER, &g);
	if (err < 0)
		return err;
	o->open(o, NULL, DUMP_OBJECT, NULL);
	dump_show(o, "block", start + GROUP_HEADER);
	dump_show_head(d, o, start + GROUP_HEADER, &g, BT_GROUP, group);
	dump_show_fields(o, dump_layout_of(BT_GROUP), &g);
	dump_show(o, "start", start);
	dump_show(o, "block_bitmap", start + GROUP_BITMAP);
	dump_show(o, "inode_bitmap", start + GROUP_BITMAP + d->geo.bitmap_blocks);
	dump_show(o, "inode_table",
		start + GROUP_BITMAP + d->geo.bitmap_blocks + d->geo.ibitmap_blocks);
	dump_show(
		o, "data", start + tables_end(&d->geo) + (group == 0 ? d->geo.journal_blocks : 0));
	err = show_free(d, o, (uint32_t)group, &g);
	o->close(o);
	return err;
}
