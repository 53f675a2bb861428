/* check_group.c - pass 5: bitmaps, headers of groups, counters; and, for pass 1, how far the
 * inode tables go.
 *
 * Checks: headers; that bitmaps say what passes 1 to 4 have found; the counters of groups and
 * superblock. Collects: nothing. Relies on: all passes before; whatever was repaired there has
 * its blocks and inodes right.
 *
 * All this can be made from what was found, but for inodes_ready: that is read in pass 1, and
 * where it can't be believed the table itself is looked at, block by block, for the last that is
 * one. */
#include <errno.h>
#include "bitmap.h"
#include "checker.h"

static uint64_t header_block(const struct check *c, uint32_t group)
{
	return fs_group_start(&c->fs, group) + GROUP_HEADER;
}

/* --- pass 1: how far do the tables go --- */

static const char *header_fault(const struct check *c, uint32_t group, const struct group_disk *d)
{
	uint32_t nr = chk_group_blocks(c, group);

	if (le32_get(d->group) != group)
		return "has another group's number";
	if ((le32_get(d->flags) & ~GROUP_F_BITMAP_READY) != 0)
		return "has unknown flags";
	if (le32_get(d->nr_blocks) != nr)
		return "counts a wrong number of blocks";
	if (le32_get(d->inodes_ready) > c->fs.inodes_per_group ||
		le32_get(d->inodes_ready) % INODES_PER_BLOCK != 0)
		return "counts an impossible number of initialised inodes";
	return NULL;
}

/* One past the last block of the table that is one, in slots. */
static int probe(struct check *c, uint32_t group, uint32_t *ready)
{
	bool salvage;

	*ready = 0;
	for (uint32_t at = 0; at < c->fs.itable_blocks; at += WINDOW_BLOCKS) {
		uint32_t left = c->fs.itable_blocks - at;
		uint32_t nr = left < WINDOW_BLOCKS ? left : WINDOW_BLOCKS;
		int err = chk_read_run(c, chk_itable_block(c, group, at), nr, c->window);

		if (err < 0 && err != -EIO)
			return err;
		for (uint32_t i = 0; i < nr && err == 0; i++) {
			const uint8_t *page = c->window + (size_t)i * BLOCK_BYTES;
			uint64_t block = chk_itable_block(c, group, at + i);

			if (chk_fault(c, page, block, BT_INODES, group, &salvage) == NULL ||
				salvage)
				*ready = (at + i + 1) * INODES_PER_BLOCK;
		}
	}
	return 0;
}

/* Is a slot past READY marked as in use, where the bitmap is initialised? */
static int any_past(struct check *c, uint32_t group, uint32_t ready, uint8_t *page, bool *any)
{
	const struct bitmap_disk *d = (const struct bitmap_disk *)page;
	uint32_t index = ready / BITMAP_BITS, bit = ready % BITMAP_BITS;
	uint32_t left = c->fs.inodes_per_group - index * BITMAP_BITS;
	uint32_t end = left < BITMAP_BITS ? left : BITMAP_BITS;
	uint64_t block = chk_ibitmap_block(c, group, index);
	bool salvage;
	int err;

	if (bit == 0 || ready == c->fs.inodes_per_group)
		return 0;
	err = chk_read(c, block, page);
	if (err == 0 && chk_fault(c, page, block, BT_INODE_BITMAP, group, &salvage) == NULL)
		*any = bits_next_set(d->bits, bit, end) < end;
	return err == -EIO ? 0 : err;
}

static int check_ready(struct check *c, uint32_t group, const struct group_disk *d, uint8_t *page)
{
	struct check_group *g = &c->group[group];
	bool suspect =
		g->ready == 0 && (group == 0 || le32_get(d->free_inodes) != c->fs.inodes_per_group);
	struct problem_at at = {.group = group, .x = g->ready};
	uint32_t ready;
	int err = any_past(c, group, g->ready, page, &suspect);

	if (err < 0 || !suspect)
		return err;
	err = probe(c, group, &ready);
	at.y = ready;
	if (err == 0 && ready > g->ready && chk_fix(c, P_GROUP_INODES_READY, &at)) {
		g->ready = ready;
		g->remade = true;
	}
	return err;
}

int check_group_header(struct check *c, uint32_t group)
{
	struct check_group *g = &c->group[group];
	uint64_t block = header_block(c, group);
	uint8_t *page = chk_page_get(c), *page2 = chk_page_get(c);
	const struct group_disk *d = (const struct group_disk *)page;
	struct problem_at at = {.group = group, .block = block};
	bool salvage;
	int err = chk_read(c, block, page);

	if (err == 0) {
		at.s = chk_fault(c, page, block, BT_GROUP, group, &salvage);
		if (at.s == NULL)
			at.s = header_fault(c, group, d);
	} else if (err == -EIO) {
		at.s = "can't be read";
		err = 0;
	}
	if (err == 0 && at.s != NULL) {
		g->remade = chk_fix(c, P_GROUP_HEADER, &at);
		err = probe(c, group, &g->ready);
	} else if (err == 0) {
		g->ready = le32_get(d->inodes_ready);
		err = check_ready(c, group, d, page2);
	}
	if (group == 0 && g->ready == 0) { /* it has the root directory, or should */
		g->ready = INODES_PER_BLOCK;
		g->remade = true;
	}
	chk_page_put(c, page2);
	chk_page_put(c, page);
	return err;
}

/* --- bitmaps --- */

struct bitmap { /* one block of one */
	uint32_t group;
	uint64_t block;
	enum block_type type;
	uint64_t first;      /* block or inode that its first bit means */
	const uint8_t *want; /* BLOCK_PAYLOAD bytes */
	enum problem_code bad, leaked, unmarked;
};

/* How many bits are set in A and not in B; *FIRST of them. */
static uint32_t more_bits(const uint8_t *a, const uint8_t *b, uint32_t *first)
{
	uint32_t nr = 0;

	*first = BITMAP_BITS;
	for (uint32_t i = BLOCK_PAYLOAD; i-- > 0;) {
		unsigned more = a[i] & ~b[i] & 0xffU;

		if (more == 0)
			continue;
		nr += (uint32_t)__builtin_popcount(more);
		*first = i * 8 + (uint32_t)__builtin_ctz(more);
	}
	return nr;
}

static bool differs(struct check *c, const struct bitmap *b, enum problem_code code,
	const uint8_t *more, const uint8_t *less)
{
	struct problem_at at = {.group = b->group};
	uint32_t first;

	at.x = more_bits(more, less, &first);
	at.block = at.ino = b->first + first;
	return at.x != 0 && chk_fix(c, code, &at);
}

static int check_bitmap(struct check *c, const struct bitmap *b)
{
	uint8_t *page = chk_page_get(c);
	struct bitmap_disk *d = (struct bitmap_disk *)page;
	struct problem_at at = {.group = b->group, .block = b->block};
	bool salvage, dirty = false;
	int err = chk_read(c, b->block, page);

	at.s = err == -EIO ? "can't be read"
			   : chk_fault(c, page, b->block, b->type, b->group, &salvage);
	if (err < 0 && err != -EIO)
		goto put;
	err = 0;
	if (at.s != NULL) {
		dirty = chk_fix(c, b->bad, &at);
		if (dirty) {
			chk_block_new(c, page, b->block, b->type, b->group);
			memcpy(d->bits, b->want, BLOCK_PAYLOAD);
		}
	} else {
		bool less = differs(c, b, b->leaked, d->bits, b->want);
		bool more = differs(c, b, b->unmarked, b->want, d->bits);

		for (uint32_t i = 0; i < BLOCK_PAYLOAD; i++) {
			if (less)
				d->bits[i] &= b->want[i];
			if (more)
				d->bits[i] |= b->want[i];
		}
		dirty = less || more;
	}
	if (dirty && c->writes)
		err = chk_write(c, b->block, page);
put:
	chk_page_put(c, page);
	return err;
}

/* --- a group --- */

struct job { /* pass 5's */
	struct check *c;
	uint8_t *map; /* as a group's bitmap shall be */
	size_t map_bytes;
	uint64_t free_blocks, free_inodes;
};

static int make_bitmap(struct check *c, uint32_t group, const uint8_t *map)
{
	uint8_t *page = chk_page_get(c);
	int err = 0;

	for (uint32_t i = 0; i < c->fs.bitmap_blocks && err == 0 && c->writes; i++) {
		uint64_t block = fs_group_start(&c->fs, group) + GROUP_BITMAP + i;

		chk_block_new(c, page, block, BT_BLOCK_BITMAP, group);
		memcpy(((struct bitmap_disk *)page)->bits, map + (size_t)i * BLOCK_PAYLOAD,
			BLOCK_PAYLOAD);
		err = chk_write(c, block, page);
	}
	chk_page_put(c, page);
	return err;
}

/* A header that is made anew believes in a bitmap that is there. */
static int find_bitmap(struct check *c, uint32_t group, struct group_disk *d)
{
	uint64_t block = fs_group_start(&c->fs, group) + GROUP_BITMAP;
	uint8_t *page = chk_page_get(c);
	int err = chk_read(c, block, page);
	bool salvage;

	if (err == 0 && chk_fault(c, page, block, BT_BLOCK_BITMAP, group, &salvage) == NULL)
		d->flags = le32_of(GROUP_F_BITMAP_READY);
	chk_page_put(c, page);
	return err == -EIO ? 0 : err;
}

static int check_block_bitmap(struct job *j, uint32_t group, struct group_disk *d, bool *dirty)
{
	struct check *c = j->c;
	const struct check_group *g = &c->group[group];
	uint32_t nr = chk_group_blocks(c, group), bits = c->fs.bitmap_blocks * BITMAP_BITS;
	bool in_use = g->blocks != NULL && bits_next_set(g->blocks, 0, nr) < nr;
	int err = 0;

	if (g->blocks != NULL)
		memcpy(j->map, g->blocks, j->map_bytes);
	else
		memset(j->map, 0, j->map_bytes);
	bits_set(j->map, 0, chk_tables(c, group));
	bits_set(j->map, nr, bits);
	if (!(le32_get(d->flags) & GROUP_F_BITMAP_READY)) {
		if (!in_use || (!g->remade && !chk_fix(c, P_BLOCK_BITMAP_FLAG,
						      &(struct problem_at){.group = group})))
			return 0;
		d->flags = le32_of(GROUP_F_BITMAP_READY);
		*dirty = true;
		return make_bitmap(c, group, j->map);
	}
	for (uint32_t i = 0; i < c->fs.bitmap_blocks && err == 0; i++) {
		struct bitmap b = {.group = group,
			.block = fs_group_start(&c->fs, group) + GROUP_BITMAP + i,
			.type = BT_BLOCK_BITMAP,
			.first = fs_group_start(&c->fs, group) + (uint64_t)i * BITMAP_BITS,
			.want = j->map + (size_t)i * BLOCK_PAYLOAD,
			.bad = P_BLOCK_BITMAP,
			.leaked = P_BLOCKS_LEAKED,
			.unmarked = P_BLOCKS_UNMARKED};

		err = check_bitmap(c, &b);
	}
	return err;
}

static int check_inode_bitmap(struct check *c, uint32_t group)
{
	const struct check_group *g = &c->group[group];
	uint8_t want[BLOCK_PAYLOAD] __attribute__((aligned(8)));
	int err = 0;

	for (uint32_t base = 0; base < g->ready && err == 0; base += BITMAP_BITS) {
		uint32_t left = c->fs.inodes_per_group - base;
		struct bitmap b = {.group = group,
			.block = chk_ibitmap_block(c, group, base / BITMAP_BITS),
			.type = BT_INODE_BITMAP,
			.first = (uint64_t)group * c->fs.inodes_per_group + base + 1,
			.want = want,
			.bad = P_INODE_BITMAP,
			.leaked = P_INODES_LEAKED,
			.unmarked = P_INODES_UNMARKED};

		memset(want, 0, sizeof(want));
		for (uint32_t i = base; i < g->ready && i < base + BITMAP_BITS; i++)
			if (g->inode[i] & INO_USED)
				bits_set(want, i - base, i - base + 1);
		if (left < BITMAP_BITS)
			bits_set(want, left, BITMAP_BITS);
		err = check_bitmap(c, &b);
	}
	return err;
}

/* One counter of the header. */
static void check_count(struct job *j, uint32_t group, le32 *count, uint32_t right,
	enum problem_code code, bool *dirty)
{
	struct problem_at at = {.group = group, .x = le32_get(*count), .y = right};

	if (le32_get(*count) == right)
		return;
	if (j->c->group[group].remade || chk_fix(j->c, code, &at)) {
		*count = le32_of(right);
		*dirty = true;
	}
}

static int read_header(struct check *c, uint32_t group, uint8_t *page)
{
	const struct check_group *g = &c->group[group];
	struct group_disk *d = (struct group_disk *)page;
	int err = chk_read(c, header_block(c, group), page);

	if (err < 0 && err != -EIO)
		return err;
	if (!g->remade)
		return 0;
	chk_block_new(c, page, header_block(c, group), BT_GROUP, group);
	d->group = le32_of(group);
	d->nr_blocks = le32_of(chk_group_blocks(c, group));
	d->inodes_ready = le32_of(g->ready);
	return find_bitmap(c, group, d);
}

static int check_group(struct job *j, uint32_t group)
{
	struct check *c = j->c;
	const struct check_group *g = &c->group[group];
	uint8_t *page = chk_page_get(c);
	struct group_disk *d = (struct group_disk *)page;
	bool dirty = g->remade;
	uint32_t free_blocks, free_inodes = c->fs.inodes_per_group - g->nr_used;
	int err = read_header(c, group, page);

	if (err == 0)
		err = check_block_bitmap(j, group, d, &dirty);
	if (err == 0)
		err = check_inode_bitmap(c, group);
	if (err == 0) {
		free_blocks = bits_count_clear(j->map, 0, chk_group_blocks(c, group));
		check_count(j, group, &d->free_blocks, free_blocks, P_GROUP_FREE_BLOCKS, &dirty);
		check_count(j, group, &d->free_inodes, free_inodes, P_GROUP_FREE_INODES, &dirty);
		check_count(j, group, &d->nr_dirs, g->nr_dirs, P_GROUP_DIRS, &dirty);
		j->free_blocks += free_blocks;
		j->free_inodes += free_inodes;
		if (dirty && c->writes)
			err = chk_write(c, header_block(c, group), page);
	}
	chk_page_put(c, page);
	return err;
}

static void check_total(struct check *c, le64 *count, uint64_t right, enum problem_code code)
{
	struct problem_at at = {.x = le64_get(*count), .y = right};

	if (le64_get(*count) == right)
		return;
	if (c->count_anew || chk_fix(c, code, &at)) {
		*count = le64_of(right);
		c->super_bad = true;
	}
}

int check_groups(struct check *c)
{
	struct job j = {.c = c, .map_bytes = (size_t)c->fs.bitmap_blocks * BLOCK_PAYLOAD};
	int err = 0;

	j.map = chk_alloc(c, j.map_bytes);
	if (j.map == NULL)
		return -ENOMEM;
	for (uint32_t g = 0; g < c->fs.nr_groups && err == 0; g++) {
		err = chk_go_on(c);
		if (err == 0)
			err = check_group(&j, g);
		chk_progress(c, g + 1, c->fs.nr_groups);
	}
	if (err == 0) {
		check_total(c, &c->sb.free_blocks, j.free_blocks, P_SUPER_FREE_BLOCKS);
		check_total(c, &c->sb.free_inodes, j.free_inodes, P_SUPER_FREE_INODES);
		c->out->used_blocks = c->out->nr_blocks - j.free_blocks;
		c->out->used_inodes = c->out->nr_inodes - j.free_inodes;
	}
	chk_free(c, j.map, j.map_bytes);
	return err;
}
