/* check_store.c - what the passes of fsck stand on: blocks read and written, blocks claimed, slots
 * of the inode table, memory.
 *
 * Invariants
 *  1. With FSCK_NO nothing is written: what would be is pinned in the cache, and read from there.
 *  2. Every block that is written is sealed here, after check_super_mark().
 *  3. A block is claimed when what names it was found sound. A second claim marks it as shared. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "bitmap.h"
#include "checker.h"

int chk_fail(struct check *c, int err, const char *fmt, ...)
{
	va_list ap;

	if (c->out->error[0] == '\0') { /* the first is the cause */
		va_start(ap, fmt);
		(void)vsnprintf(c->out->error, sizeof(c->out->error), fmt, ap);
		va_end(ap);
	}
	return err;
}

int chk_go_on(struct check *c)
{
	if (c->opts->cancelled != NULL && c->opts->cancelled(c->opts->arg))
		return chk_fail(c, -ECANCELED, "cancelled");
	return c->stop ? -ECANCELED : 0;
}

void chk_progress(struct check *c, uint64_t done, uint64_t total)
{
	if (c->opts->progress != NULL)
		c->opts->progress(c->opts->arg, c->pass, FSCK_PASSES, done, total);
}

/* --- memory --- */

static void count_memory(struct check *c, size_t more, size_t less)
{
	c->memory += more;
	c->memory -= less;
	if (c->memory > c->out->memory_bytes)
		c->out->memory_bytes = c->memory;
}

void *chk_alloc(struct check *c, size_t bytes)
{
	void *mem = calloc(1, bytes);

	if (mem == NULL)
		(void)chk_fail(c, -ENOMEM, "out of memory: %zu MiB are in use, %zu KiB wanted",
			(size_t)(c->memory >> 20), bytes >> 10);
	else
		count_memory(c, bytes, 0);
	return mem;
}

void chk_free(struct check *c, void *mem, size_t bytes)
{
	if (mem != NULL)
		count_memory(c, 0, bytes);
	free(mem);
}

int chk_grow(struct check *c, void **v, size_t nr, size_t *max, size_t bytes)
{
	size_t more = *max < 64 ? 64 : *max + *max / 2;
	void *mem;

	if (nr < *max)
		return 0;
	mem = realloc(*v, more * bytes);
	if (mem == NULL)
		return chk_fail(
			c, -ENOMEM, "out of memory: %zu MiB are in use", (size_t)(c->memory >> 20));
	count_memory(c, more * bytes, *max * bytes);
	*v = mem;
	*max = more;
	return 0;
}

uint8_t *chk_page_get(struct check *c)
{
	assert(c->nr_pages_used < NR_PAGES);
	return c->pages + (size_t)BLOCK_BYTES * c->nr_pages_used++;
}

void chk_page_put(struct check *c, uint8_t *page)
{
	c->nr_pages_used--;
	assert(page == c->pages + (size_t)BLOCK_BYTES * c->nr_pages_used);
	(void)page;
}

/* --- blocks --- */

static void read_pinned(struct check *c, uint64_t block, uint8_t *page)
{
	struct buf *b = c->writes ? NULL : cache_peek(&c->fs, block);

	if (b != NULL)
		memcpy(page, b->data, BLOCK_BYTES);
	cache_put(b);
}

/* Before a block counts as lost: does the disk still answer at all? What was read of it once, the
 * superblock, must be there; a disk that is gone must not look like one great hole. */
static bool disk_answers(struct check *c)
{
	uint8_t *page = chk_page_get(c);
	int err = cache_read_raw(&c->t, c->super_from, 1, page);

	chk_page_put(c, page);
	return err == 0;
}

int chk_read_run(struct check *c, uint64_t block, uint32_t nr, uint8_t *buf)
{
	int err = cache_read_raw(&c->t, block, nr, buf);

	if (err == -EIO && !disk_answers(c))
		err = -ENXIO;
	if (err < 0 && err != -EIO)
		return chk_fail(c, err, "cannot read block %llu: %s", (unsigned long long)block,
			strerror(-err));
	for (uint32_t i = 0; i < nr; i++)
		read_pinned(c, block + i, buf + (size_t)i * BLOCK_BYTES);
	return err;
}

int chk_read(struct check *c, uint64_t block, void *page)
{
	struct buf *b = c->writes ? NULL : cache_peek(&c->fs, block);

	if (b == NULL)
		return chk_read_run(c, block, 1, page);
	memcpy(page, b->data, BLOCK_BYTES);
	cache_put(b);
	return 0;
}

int chk_write(struct check *c, uint64_t block, void *page)
{
	int err;

	block_seal(page);
	if (!c->writes) {
		c->nr_pinned++;
		err = cache_pin(&c->fs, block, page);
	} else {
		err = check_super_mark(c);
		if (err == 0)
			err = cache_write_raw(c->t.q, block, 1, page);
	}
	c->out->changed |= c->writes;
	if (block == c->inode_block && page != c->inode_page)
		c->inode_block = 0;
	return err == 0 ? 0
			: chk_fail(c, err, "cannot write block %llu: %s", (unsigned long long)block,
				  strerror(-err));
}

const char *chk_fault(struct check *c, const void *page, uint64_t block, enum block_type type,
	uint64_t owner, bool *salvage)
{
	const struct block_head *head = page;
	bool magic = le32_get(head->magic) == (uint32_t)type;
	bool place = le64_get(head->block) == block;
	bool uuid = memcmp(head->fs_uuid, c->fs.uuid, sizeof(c->fs.uuid)) == 0;
	bool mine = le64_get(head->owner) == owner;
	bool crc = le32_get(head->crc) == block_crc(page);

	/* One field of the head may have been hit, like any other byte. */
	*salvage = !crc && magic + place + uuid + mine >= 3;
	if (!magic)
		return "is of another kind";
	if (!place)
		return "was written for another place";
	if (!uuid)
		return "belongs to another filesystem";
	if (!mine)
		return "belongs to another";
	return crc ? NULL : "has a wrong checksum";
}

void chk_head_mend(
	struct check *c, void *page, uint64_t block, enum block_type type, uint64_t owner)
{
	le64 sequence = ((struct block_head *)page)->sequence;

	block_head_init(page, c->fs.uuid, type, block, owner);
	((struct block_head *)page)->sequence = sequence;
}

void chk_block_new(
	struct check *c, void *page, uint64_t block, enum block_type type, uint64_t owner)
{
	memset(page, 0, BLOCK_BYTES);
	block_head_init(page, c->fs.uuid, type, block, owner);
}

/* --- claims --- */

static size_t map_bytes(const struct check *c)
{
	return (size_t)c->fs.bitmap_blocks * BLOCK_PAYLOAD;
}

static int need_map(struct check *c, uint8_t **map)
{
	if (*map == NULL)
		*map = chk_alloc(c, map_bytes(c));
	return *map == NULL ? -ENOMEM : 0;
}

/* Of the blocks [bit, end) those that are claimed already. */
static int mark_shared(struct check *c, struct check_group *g, uint32_t bit, uint32_t end)
{
	int err = need_map(c, &g->shared);

	for (bit = bits_next_set(g->blocks, bit, end); bit < end && err == 0;
		bit = bits_next_set(g->blocks, bit + 1, end)) {
		c->nr_shared += !bits_test(g->shared, bit);
		bits_set(g->shared, bit, bit + 1);
	}
	return err;
}

int chk_claim(struct check *c, uint64_t start, uint64_t nr)
{
	struct check_group *g = &c->group[fs_group_of(&c->fs, start)];
	uint32_t bit = (uint32_t)(start % c->fs.group_blocks);
	uint32_t end = bit + (uint32_t)nr; /* extents lie within a group */
	int err = need_map(c, &g->blocks);

	if (err == 0 && bits_next_set(g->blocks, bit, end) < end)
		err = mark_shared(c, g, bit, end);
	if (err == 0)
		bits_set(g->blocks, bit, end);
	return err;
}

void chk_unclaim(struct check *c, uint64_t block)
{
	struct check_group *g = &c->group[fs_group_of(&c->fs, block)];
	uint32_t bit = (uint32_t)(block % c->fs.group_blocks);

	bits_clear(g->blocks, bit, bit + 1);
}

int chk_node_seen(struct check *c, uint64_t block, bool *seen)
{
	struct check_group *g = &c->group[fs_group_of(&c->fs, block)];
	uint32_t bit = (uint32_t)(block % c->fs.group_blocks);
	int err = need_map(c, &g->nodes);

	if (err < 0)
		return err;
	*seen = bits_test(g->nodes, bit);
	bits_set(g->nodes, bit, bit + 1);
	return 0;
}

/* What is free for rule 5, as a bitmap: neither claimed nor marked in use on the disk. */
static int free_map(struct check *c, uint32_t group, uint8_t *map)
{
	struct check_group *g = &c->group[group];
	uint8_t *page = chk_page_get(c);
	const struct bitmap_disk *d = (const struct bitmap_disk *)page;
	bool salvage;
	int err = 0;

	for (uint32_t i = 0; i < c->fs.bitmap_blocks && err == 0; i++) {
		uint64_t block = fs_group_start(&c->fs, group) + GROUP_BITMAP + i;
		uint8_t *bits = map + (size_t)i * BLOCK_PAYLOAD;

		memset(bits, 0, BLOCK_PAYLOAD);
		err = chk_read(c, block, page);
		if (err == 0 && chk_fault(c, page, block, BT_BLOCK_BITMAP, group, &salvage) == NULL)
			memcpy(bits, d->bits, BLOCK_PAYLOAD);
		if (err == -EIO)
			err = 0;
	}
	chk_page_put(c, page);
	for (size_t i = 0; g->blocks != NULL && i < map_bytes(c); i++)
		map[i] |= g->blocks[i];
	bits_set(map, 0, chk_tables(c, group));
	return err;
}

static bool find_run(const uint8_t *map, uint32_t end, uint32_t nr, uint32_t *bit)
{
	uint32_t at = bits_next_clear(map, 0, end);

	while (end - at >= nr) {
		uint32_t stop = bits_next_set(map, at, at + nr);

		if (stop == at + nr) {
			*bit = at;
			return true;
		}
		at = bits_next_clear(map, stop, end);
	}
	return false;
}

int chk_take_blocks(struct check *c, uint32_t nr, uint64_t *start)
{
	uint8_t *map = chk_alloc(c, map_bytes(c));
	int err = map == NULL ? -ENOMEM : 0;
	uint32_t bit;

	*start = 0;
	for (uint32_t i = 0; i < c->fs.nr_groups && *start == 0 && err == 0; i++) {
		err = free_map(c, i, map);
		if (err == 0 && find_run(map, chk_group_blocks(c, i), nr, &bit))
			*start = fs_group_start(&c->fs, i) + bit;
	}
	if (err == 0 && *start != 0)
		err = chk_claim(c, *start, nr);
	chk_free(c, map, map_bytes(c));
	return err;
}

/* --- slots --- */

int chk_inode_get(struct check *c, uint64_t ino, struct inode_disk **out)
{
	uint32_t group = (uint32_t)((ino - 1) / c->fs.inodes_per_group);
	uint32_t slot = (uint32_t)((ino - 1) % c->fs.inodes_per_group);
	uint64_t block = chk_itable_block(c, group, slot / INODES_PER_BLOCK);

	if (c->inode_block != block) {
		int err = chk_read(c, block, c->inode_page);

		c->inode_block = 0;
		if (err < 0)
			return chk_fail(c, err, "cannot read block %llu of the inode table",
				(unsigned long long)block);
		c->inode_block = block;
	}
	*out = &((struct inodes_disk *)c->inode_page)->inode[slot % INODES_PER_BLOCK];
	return 0;
}

int chk_inode_put(struct check *c)
{
	return chk_write(c, c->inode_block, c->inode_page);
}
