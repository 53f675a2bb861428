/* alloc.c - which blocks and inode numbers are free.
 *
 * Invariants
 *  1. A group's map is its block bitmap, plus the blocks that were freed and await their commit. A
 *     block is handed out only when its bit in the map is clear; then it is clear in the bitmap
 *     too.
 *  2. A run that is handed out, and its bits, lie within one bitmap block: an allocation joins that
 *     and the group's header, and on the group's first use its other bitmap blocks.
 *  3. unpromised = clear bits of all maps - blocks promised to handles. Every handle that allocates
 *     has a promise, so there is a free block for it somewhere.
 *  4. Group.longest is no less than the longest run of clear bits, group.first_free no more than
 *     the first of them: both only save time.
 *  5. Inode numbers are taken from the lowest free slot up, so tables are initialised block after
 *     block.
 *
 * What a group keeps in memory is read on first use: its header when it is looked at, its map when
 * it may have what is wanted. group->lock covers the struct, and the bytes of header and bitmaps.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "alloc.h"
#include "bitmap.h"

#define MAP_LOADS_MAX 16U /* maps that one call reads for a better fit than what it knows of */

struct group {
	pthread_mutex_t lock;
	bool header_read; /* all below is filled in, but for the map */
	uint32_t nr_blocks;
	uint32_t free;                /* clear bits in the map */
	uint32_t first_free, longest; /* invariant 4 */
	uint8_t *map;                 /* NULL: not needed yet */
	uint32_t free_inodes, first_free_inode;
	uint32_t inodes_ready;
};

struct groups {
	struct group *group;
	atomic_int_fast64_t unpromised;   /* invariant 3 */
	atomic_uint_fast64_t free_blocks; /* clear bits of all bitmaps */
	atomic_uint_fast64_t free_inodes;
	atomic_uint_fast64_t awaiting;    /* freed, not committed */
	atomic_uint_fast64_t releases;    /* how often blocks became free */
	atomic_uint_fast32_t next_spread; /* group for the next directory under the root */
	atomic_uint_fast32_t generation;
};

static uint32_t tables_of(const struct fs *fs, uint32_t group)
{
	uint32_t tables = GROUP_BITMAP + fs->bitmap_blocks + fs->ibitmap_blocks + fs->itable_blocks;

	return group == 0 ? tables + (uint32_t)fs->journal_blocks : tables;
}

static uint32_t blocks_of(const struct fs *fs, uint32_t group)
{
	uint64_t left = fs->nr_blocks - fs_group_start(fs, group);

	return left < fs->group_blocks ? (uint32_t)left : fs->group_blocks;
}

static uint64_t bitmap_block(const struct fs *fs, uint32_t group, uint32_t index)
{
	return fs_group_start(fs, group) + GROUP_BITMAP + index;
}

static uint64_t ibitmap_block(const struct fs *fs, uint32_t group, uint32_t index)
{
	return fs_group_start(fs, group) + GROUP_BITMAP + fs->bitmap_blocks + index;
}

static uint64_t itable_block(const struct fs *fs, uint32_t group, uint32_t index)
{
	return fs_group_start(fs, group) + GROUP_BITMAP + fs->bitmap_blocks + fs->ibitmap_blocks +
	       index;
}

static int get_header(struct fs_thread *t, uint32_t group, struct buf **out)
{
	uint64_t block = fs_group_start(t->fs, group) + GROUP_HEADER;

	return cache_get(t, block, BT_GROUP, group, out);
}

static const char *header_fault(const struct fs *fs, uint32_t group, const struct group_disk *d)
{
	uint32_t nr = blocks_of(fs, group);

	if (le32_get(d->group) != group)
		return "wrong group number";
	if ((le32_get(d->flags) & ~GROUP_F_BITMAP_READY) != 0)
		return "unknown flags";
	if (le32_get(d->nr_blocks) != nr)
		return "wrong number of blocks";
	if (le32_get(d->free_blocks) > nr - tables_of(fs, group))
		return "more blocks free than there are";
	if (le32_get(d->free_inodes) > fs->inodes_per_group)
		return "more inodes free than there are";
	if (le32_get(d->inodes_ready) > fs->inodes_per_group ||
		le32_get(d->inodes_ready) % INODES_PER_BLOCK != 0)
		return "wrong count of initialised inodes";
	return NULL;
}

/* Caller holds g->lock, as in all that follows with a struct group. */
static int read_header(struct fs_thread *t, uint32_t group, struct group *g)
{
	const struct group_disk *d;
	const char *fault;
	struct buf *b;
	int err;

	if (g->header_read)
		return 0;
	err = get_header(t, group, &b);
	if (err < 0)
		return err;
	d = (const struct group_disk *)b->data;
	fault = header_fault(t->fs, group, d);
	if (fault != NULL) {
		err = fs_corrupt(t->fs, b->block, "group %u: %s", group, fault);
	} else {
		g->nr_blocks = le32_get(d->nr_blocks);
		g->free = g->longest = le32_get(d->free_blocks);
		g->first_free = tables_of(t->fs, group);
		g->free_inodes = le32_get(d->free_inodes);
		g->inodes_ready = le32_get(d->inodes_ready);
		g->first_free_inode = 0;
		g->header_read = true;
	}
	cache_put(b);
	return err;
}

/* The map of a group whose bitmap was never initialised: only its tables are in use. */
static void map_fresh(const struct fs *fs, uint32_t group, uint8_t *map)
{
	bits_set(map, 0, tables_of(fs, group));
	bits_set(map, blocks_of(fs, group), fs->bitmap_blocks * BITMAP_BITS);
}

static int map_read(struct fs_thread *t, uint32_t group, uint8_t *map)
{
	for (uint32_t i = 0; i < t->fs->bitmap_blocks; i++) {
		struct buf *b;
		int err = cache_get(t, bitmap_block(t->fs, group, i), BT_BLOCK_BITMAP, group, &b);

		if (err < 0)
			return err;
		memcpy(map + (size_t)i * BLOCK_PAYLOAD, ((struct bitmap_disk *)b->data)->bits,
			BLOCK_PAYLOAD);
		cache_put(b);
	}
	return 0;
}

static const char *map_fault(
	const struct fs *fs, uint32_t group, const struct group *g, const uint8_t *map)
{
	uint32_t bits = fs->bitmap_blocks * BITMAP_BITS;

	if (bits_next_clear(map, 0, tables_of(fs, group)) < tables_of(fs, group))
		return "its own tables are marked free";
	if (bits_next_clear(map, g->nr_blocks, bits) < bits)
		return "blocks past its end are marked free";
	if (bits_count_clear(map, 0, g->nr_blocks) != g->free)
		return "the header's count of free blocks is not the bitmap's";
	return NULL;
}

static bool is_bitmap_ready(const struct buf *header)
{
	const struct group_disk *d = (const struct group_disk *)header->data;

	return (le32_get(d->flags) & GROUP_F_BITMAP_READY) != 0;
}

static int load_map(struct fs_thread *t, uint32_t group, struct group *g)
{
	const char *fault;
	struct buf *header;
	uint8_t *map;
	int err;

	if (g->map != NULL)
		return 0;
	map = calloc(t->fs->bitmap_blocks, BLOCK_PAYLOAD);
	if (map == NULL)
		return -ENOMEM;
	err = get_header(t, group, &header);
	if (err < 0)
		goto free_map;
	if (is_bitmap_ready(header))
		err = map_read(t, group, map);
	else
		map_fresh(t->fs, group, map);
	cache_put(header);
	if (err < 0)
		goto free_map;
	fault = map_fault(t->fs, group, g, map);
	if (fault != NULL) {
		err = fs_corrupt(
			t->fs, bitmap_block(t->fs, group, 0), "group %u: %s", group, fault);
		goto free_map;
	}
	g->map = map;
	return 0;

free_map:
	free(map);
	return err;
}

/* The group's block bitmap gets its first contents, the map's. */
static int init_bitmap(
	struct tx_handle *h, uint32_t group, const struct group *g, struct buf *header)
{
	struct group_disk *d = (struct group_disk *)header->data;

	for (uint32_t i = 0; i < h->t->fs->bitmap_blocks; i++) {
		struct buf *b;
		int err = cache_get_new(
			h, bitmap_block(h->t->fs, group, i), BT_BLOCK_BITMAP, group, &b);

		if (err < 0)
			return err;
		memcpy(((struct bitmap_disk *)b->data)->bits, g->map + (size_t)i * BLOCK_PAYLOAD,
			BLOCK_PAYLOAD);
		cache_put(b);
	}
	d->flags = le32_of(le32_get(d->flags) | GROUP_F_BITMAP_READY);
	return 0;
}

/* The header of GROUP, joined, and one block of its block bitmap, joined. */
static int join_bitmap(struct tx_handle *h, uint32_t group, const struct group *g, uint32_t index,
	struct buf **header, struct buf **bitmap)
{
	struct fs_thread *t = h->t;
	int err;

	err = get_header(t, group, header);
	if (err < 0)
		return err;
	err = tx_join(h, *header);
	if (err == 0 && !is_bitmap_ready(*header))
		err = init_bitmap(h, group, g, *header);
	if (err < 0)
		goto put_header;
	err = cache_get(t, bitmap_block(t->fs, group, index), BT_BLOCK_BITMAP, group, bitmap);
	if (err < 0)
		goto put_header;
	err = tx_join(h, *bitmap);
	if (err == 0)
		return 0;
	cache_put(*bitmap);
put_header:
	cache_put(*header);
	return err;
}

static void header_add(struct buf *header, int32_t free_blocks)
{
	struct group_disk *d = (struct group_disk *)header->data;

	d->free_blocks = le32_of(le32_get(d->free_blocks) + (uint32_t)free_blocks);
}

/* Hand out the blocks [bit, bit + *nr), cut by invariant 2. */
static int take_run(
	struct tx_handle *h, uint32_t group, struct group *g, uint32_t bit, uint32_t *nr)
{
	struct groups *gs = h->t->fs->groups;
	uint32_t first = bit % BITMAP_BITS;
	uint32_t end = first + *nr < BITMAP_BITS ? first + *nr : BITMAP_BITS;
	struct buf *header, *bitmap;
	uint8_t *bits;
	int err;

	err = join_bitmap(h, group, g, bit / BITMAP_BITS, &header, &bitmap);
	if (err < 0)
		return err;
	bits = ((struct bitmap_disk *)bitmap->data)->bits;
	assert(bits_next_set(bits, first, end) == end);
	*nr = end - first;
	bits_set(bits, first, end);
	bits_set(g->map, bit, bit + *nr);
	header_add(header, -(int32_t)*nr);
	g->free -= *nr;
	if (bit == g->first_free)
		g->first_free += *nr;
	atomic_fetch_sub(&gs->free_blocks, *nr);
	h->nr_reserved -= *nr;
	cache_put(bitmap);
	cache_put(header);
	return 0;
}

/* The first run of at least FIT clear bits in [from, end), up to WANT long. *LONGEST: of those it
 * passed. */
static bool find_run(const uint8_t *map, uint32_t from, uint32_t end, uint32_t fit, uint32_t want,
	uint32_t *bit, uint32_t *nr, uint32_t *longest)
{
	while (from < end) {
		uint32_t start = bits_next_clear(map, from, end);
		uint32_t stop = bits_next_set(map, start, want < end - start ? start + want : end);

		if (stop - start >= fit) {
			*bit = start;
			*nr = stop - start;
			return true;
		}
		if (stop - start > *longest)
			*longest = stop - start;
		from = stop;
	}
	return false;
}

/* -ENOSPC: no run of FIT blocks here, or none that is worth reading the map for. */
static int try_group(struct tx_handle *h, uint32_t group, uint32_t goal, uint32_t fit,
	uint32_t want, unsigned *loads, uint64_t *start, uint32_t *nr)
{
	struct group *g = &h->t->fs->groups->group[group];
	uint32_t longest = 0, bit, before;
	int err;

	err = read_header(h->t, group, g);
	if (err < 0)
		return err;
	if (g->longest < fit || (g->map == NULL && fit > 1 && *loads >= MAP_LOADS_MAX))
		return -ENOSPC;
	if (g->map == NULL)
		(*loads)++;
	err = load_map(h->t, group, g);
	if (err < 0)
		return err;
	if (goal < g->first_free)
		goal = g->first_free;
	/* Then from the front, with runs that go on past the goal. */
	before = g->nr_blocks - goal < fit ? g->nr_blocks : goal + fit - 1;
	if (!find_run(g->map, goal, g->nr_blocks, fit, want, &bit, nr, &longest) &&
		!find_run(g->map, g->first_free, before, fit, want, &bit, nr, &longest)) {
		g->longest = longest;
		return -ENOSPC;
	}
	err = take_run(h, group, g, bit, nr);
	if (err == 0)
		*start = fs_group_start(h->t->fs, group) + bit;
	return err;
}

/* Look in the goal's group, then in those after it, around. */
static int try_groups(struct tx_handle *h, uint64_t goal, uint32_t fit, uint32_t want,
	unsigned *loads, uint64_t *start, uint32_t *nr)
{
	struct fs *fs = h->t->fs;
	uint32_t first = fs_group_of(fs, goal);

	for (uint32_t i = 0; i < fs->nr_groups; i++) {
		uint32_t group = (uint32_t)(((uint64_t)first + i) % fs->nr_groups);
		uint32_t bit = i == 0 ? (uint32_t)(goal - fs_group_start(fs, group)) : 0;
		struct group *g = &fs->groups->group[group];
		int err;

		pthread_mutex_lock(&g->lock);
		err = try_group(h, group, bit, fit, want, loads, start, nr);
		pthread_mutex_unlock(&g->lock);
		if (err != -ENOSPC)
			return err;
	}
	return -ENOSPC;
}

int alloc_blocks(struct tx_handle *h, uint64_t goal, uint32_t want, uint64_t *start, uint32_t *nr)
{
	struct fs *fs = h->t->fs;
	uint64_t releases;

	assert(want > 0 && h->nr_reserved > 0);
	if (want > h->nr_reserved)
		want = (uint32_t)h->nr_reserved;
	if (want > BITMAP_BITS)
		want = BITMAP_BITS;
	if (want == 0)
		return -ENOSPC;
	if (goal >= fs->nr_blocks)
		goal = 0;
	do {
		unsigned loads = 0;

		releases = atomic_load(&fs->groups->releases);
		for (uint32_t fit = want; fit > 0; fit /= 2) {
			int err = try_groups(h, goal, fit, want, &loads, start, nr);

			if (err != -ENOSPC)
				return err;
		}
		/* Groups only fill up between releases; so when there was none, they all were empty
		 * at once, which invariant 3 rules out. */
	} while (atomic_load(&fs->groups->releases) != releases);
	return fs_corrupt(fs, 0, "the count of free blocks promises some, but no group has one");
}

/* The parts of [bit, end) bitmap block by bitmap block: returns where the one that starts at BIT
 * ends. */
static uint32_t part_end(uint32_t bit, uint32_t end)
{
	uint32_t next = (bit / BITMAP_BITS + 1) * BITMAP_BITS;

	return end < next ? end : next;
}

/* All that can fail of freeing [bit, end): afterwards header and bitmaps are joined. */
static int free_check(
	struct tx_handle *h, uint32_t group, struct group *g, uint32_t bit, uint32_t end)
{
	struct fs *fs = h->t->fs;
	int err = read_header(h->t, group, g);

	if (err == 0)
		err = load_map(h->t, group, g);
	if (err < 0)
		return err;
	for (uint32_t stop; bit < end; bit = stop) {
		uint32_t first = bit % BITMAP_BITS;
		struct buf *header, *bitmap;
		uint32_t last, clear;

		stop = part_end(bit, end);
		last = first + (stop - bit);
		err = join_bitmap(h, group, g, bit / BITMAP_BITS, &header, &bitmap);
		if (err < 0)
			return err;
		clear = bits_next_clear(((struct bitmap_disk *)bitmap->data)->bits, first, last);
		cache_put(bitmap);
		cache_put(header);
		if (clear < last)
			return fs_corrupt(fs, fs_group_start(fs, group) + bit - first + clear,
				"a block that is free is freed");
	}
	return 0;
}

/* The bits of [bit, end) go from the bitmap; in the map they stay until the commit. */
static int free_bits(
	struct tx_handle *h, uint32_t group, struct group *g, uint32_t bit, uint32_t end)
{
	for (uint32_t stop; bit < end; bit = stop) {
		uint32_t first = bit % BITMAP_BITS;
		struct buf *header, *bitmap;
		int err = join_bitmap(h, group, g, bit / BITMAP_BITS, &header, &bitmap);

		if (err < 0)
			return err;
		stop = part_end(bit, end);
		bits_clear(((struct bitmap_disk *)bitmap->data)->bits, first, first + stop - bit);
		header_add(header, (int32_t)(stop - bit));
		cache_put(bitmap);
		cache_put(header);
	}
	return 0;
}

int alloc_free(struct tx_handle *h, uint64_t start, uint32_t nr, bool metadata)
{
	struct fs *fs = h->t->fs;
	struct groups *gs = fs->groups;
	uint32_t group, bit;
	struct group *g;
	int err;

	if (nr == 0)
		return 0;
	if (start >= fs->nr_blocks || nr > fs->nr_blocks - start)
		return fs_corrupt(fs, start, "%u blocks past the end are freed", nr);
	group = fs_group_of(fs, start);
	bit = (uint32_t)(start - fs_group_start(fs, group));
	if (bit < tables_of(fs, group) || nr > blocks_of(fs, group) - bit)
		return fs_corrupt(fs, start, "%u blocks with a group's tables are freed", nr);

	g = &gs->group[group];
	pthread_mutex_lock(&g->lock);
	err = free_check(h, group, g, bit, bit + nr);
	if (err == 0)
		err = tx_freed(h, start, nr, metadata);
	if (err == 0)
		err = free_bits(h, group, g, bit, bit + nr);
	if (err == 0) {
		atomic_fetch_add(&gs->free_blocks, nr);
		atomic_fetch_add(&gs->awaiting, nr);
	}
	pthread_mutex_unlock(&g->lock);
	return err;
}

void alloc_release(struct fs *fs, uint64_t start, uint32_t nr)
{
	struct groups *gs = fs->groups;
	uint32_t group = fs_group_of(fs, start);
	uint32_t bit = (uint32_t)(start - fs_group_start(fs, group));
	struct group *g = &gs->group[group];
	uint32_t run;

	pthread_mutex_lock(&g->lock);
	assert(g->map != NULL && bits_next_clear(g->map, bit, bit + nr) == bit + nr);
	bits_clear(g->map, bit, bit + nr);
	g->free += nr;
	run = bits_clear_before(g->map, g->first_free, bit) +
	      bits_next_set(g->map, bit, g->nr_blocks) - bit;
	if (run > g->longest)
		g->longest = run;
	if (bit < g->first_free)
		g->first_free = bit;
	pthread_mutex_unlock(&g->lock);

	atomic_fetch_sub(&gs->awaiting, nr);
	atomic_fetch_add(&gs->releases, 1);
	atomic_fetch_add(&gs->unpromised, nr);
}

/* --- free blocks that are held for a while */

#define HOLD_PART 4 /* of the blocks that nobody was promised, one in so many is held at most */

/* Invariant 3, for a run of up to NR blocks of which MIN would do. 0: none. */
static uint32_t unpromise(struct groups *gs, uint32_t min, uint32_t nr)
{
	int_fast64_t have = atomic_load(&gs->unpromised);
	uint32_t got;

	do {
		int_fast64_t most = have / HOLD_PART;

		if (most < (int_fast64_t)min)
			return 0;
		got = most < (int_fast64_t)nr ? (uint32_t)most : nr;
	} while (!atomic_compare_exchange_weak(&gs->unpromised, &have, have - (int64_t)got));
	return got;
}

/* The first run of at least MIN clear bits of the map in [bit, end). Its length, up to MAX; 0:
 * none. */
static uint32_t find_free_run(
	const struct group *g, uint32_t *bit, uint32_t end, uint32_t min, uint32_t max)
{
	for (uint32_t at = *bit; (at = bits_next_clear(g->map, at, end)) < end;) {
		uint32_t stop = bits_next_set(g->map, at, end);

		if (stop - at >= min) {
			*bit = at;
			return stop - at < max ? stop - at : max;
		}
		at = stop;
	}
	return 0;
}

/* In one group, from BIT to END of it. */
static int hold_in_group(struct fs_thread *t, uint32_t group, uint32_t *bit, uint32_t end,
	uint32_t min, uint32_t max, uint32_t *nr)
{
	struct groups *gs = t->fs->groups;
	struct group *g = &gs->group[group];
	int err;

	*nr = 0;
	pthread_mutex_lock(&g->lock);
	err = read_header(t, group, g);
	if (err == 0 && g->free >= min)
		err = load_map(t, group, g);
	if (err == 0 && g->free >= min)
		*nr = find_free_run(g, bit, end, min, max);
	if (*nr > 0)
		*nr = unpromise(gs, min, *nr);
	if (*nr > 0) {
		bits_set(g->map, *bit, *bit + *nr);
		g->free -= *nr;
		atomic_fetch_add(&gs->awaiting, *nr);
	}
	pthread_mutex_unlock(&g->lock);
	return err;
}

int alloc_hold_free(struct fs_thread *t, uint64_t from, uint64_t end, uint32_t min, uint32_t max,
	uint64_t *start, uint32_t *nr)
{
	struct fs *fs = t->fs;

	for (*nr = 0; from < end && *nr == 0;) {
		uint32_t group = fs_group_of(fs, from);
		uint64_t first = fs_group_start(fs, group);
		uint64_t next = first + blocks_of(fs, group);
		uint32_t bit = (uint32_t)(from - first);
		int err = hold_in_group(t, group, &bit,
			(uint32_t)((end < next ? end : next) - first), min, max, nr);

		if (err < 0)
			return err;
		*start = first + bit;
		from = next;
	}
	return 0;
}

/* --- inode numbers */

/* The lowest free slot of those below inodes_ready, where the bitmap is initialised; inodes_ready
 * when there is none. */
static int find_inode(struct fs_thread *t, uint32_t group, struct group *g, uint32_t *slot)
{
	uint32_t at = g->first_free_inode;

	while (at < g->inodes_ready) {
		uint32_t base = at / BITMAP_BITS * BITMAP_BITS;
		uint32_t left = g->inodes_ready - base;
		uint32_t end = left < BITMAP_BITS ? left : BITMAP_BITS;
		struct buf *b;
		uint32_t bit;
		int err;

		err = cache_get(t, ibitmap_block(t->fs, group, at / BITMAP_BITS), BT_INODE_BITMAP,
			group, &b);
		if (err < 0)
			return err;
		bit = bits_next_clear(((struct bitmap_disk *)b->data)->bits, at - base, end);
		cache_put(b);
		at = base + bit;
		if (bit < end)
			break;
	}
	*slot = at < g->inodes_ready ? at : g->inodes_ready;
	return 0;
}

static int init_ibitmap_block(struct tx_handle *h, uint32_t group, uint32_t index)
{
	struct fs *fs = h->t->fs;
	uint32_t left = fs->inodes_per_group - index * BITMAP_BITS;
	struct buf *b;
	int err;

	err = cache_get_new(h, ibitmap_block(fs, group, index), BT_INODE_BITMAP, group, &b);
	if (err < 0)
		return err;
	if (left < BITMAP_BITS)
		bits_set(((struct bitmap_disk *)b->data)->bits, left, BITMAP_BITS);
	cache_put(b);
	return 0;
}

/* One more block of the inode table is initialised, and the bitmap's blocks that begin among its
 * slots. */
static int grow_inodes(struct tx_handle *h, uint32_t group, struct group *g, struct buf *header)
{
	struct group_disk *d = (struct group_disk *)header->data;
	uint32_t ready = g->inodes_ready, end = ready + INODES_PER_BLOCK;
	uint32_t index = (uint32_t)((ready + BITMAP_BITS - 1) / BITMAP_BITS);
	struct buf *b;
	int err;

	if (index * BITMAP_BITS < end) {
		err = init_ibitmap_block(h, group, index);
		if (err < 0)
			return err;
	}
	err = cache_get_new(
		h, itable_block(h->t->fs, group, ready / INODES_PER_BLOCK), BT_INODES, group, &b);
	if (err < 0)
		return err;
	cache_put(b);
	g->inodes_ready = end;
	d->inodes_ready = le32_of(end);
	return 0;
}

/* Set the bit of SLOT, and count; HEADER is joined. */
static int use_inode(struct tx_handle *h, uint32_t group, struct group *g, struct buf *header,
	bool is_dir, uint32_t slot)
{
	struct group_disk *d = (struct group_disk *)header->data;
	uint32_t bit = slot % BITMAP_BITS;
	struct buf *bitmap;
	uint8_t *bits;
	int err;

	err = cache_get(h->t, ibitmap_block(h->t->fs, group, slot / BITMAP_BITS), BT_INODE_BITMAP,
		group, &bitmap);
	if (err < 0)
		return err;
	bits = ((struct bitmap_disk *)bitmap->data)->bits;
	if (bits_test(bits, bit))
		err = fs_corrupt(h->t->fs, bitmap->block,
			"group %u: an inode past the initialised table is in use", group);
	else
		err = tx_join(h, bitmap);
	if (err == 0) {
		bits_set(bits, bit, bit + 1);
		g->first_free_inode = slot + 1;
		g->free_inodes--;
		d->free_inodes = le32_of(g->free_inodes);
		d->nr_dirs = le32_of(le32_get(d->nr_dirs) + is_dir);
		atomic_fetch_sub(&h->t->fs->groups->free_inodes, 1);
	}
	cache_put(bitmap);
	return err;
}

/* Take the lowest slot; HEADER is joined. */
static int take_inode(struct tx_handle *h, uint32_t group, struct group *g, struct buf *header,
	bool is_dir, uint32_t *slot)
{
	int err = find_inode(h->t, group, g, slot);

	if (err < 0)
		return err;
	if (*slot == h->t->fs->inodes_per_group)
		return fs_corrupt(h->t->fs, header->block,
			"group %u: the count of free inodes is not the bitmap's", group);
	if (*slot == g->inodes_ready)
		err = grow_inodes(h, group, g, header);
	return err < 0 ? err : use_inode(h, group, g, header, is_dir, *slot);
}

/* -ENOSPC: fewer than MIN_INODES or MIN_BLOCKS are free here. */
static int try_group_inode(struct tx_handle *h, uint32_t group, bool is_dir, uint32_t min_inodes,
	uint32_t min_blocks, uint64_t *ino)
{
	struct fs *fs = h->t->fs;
	struct group *g = &fs->groups->group[group];
	struct buf *header;
	uint32_t slot = 0;
	int err;

	err = read_header(h->t, group, g);
	if (err < 0)
		return err;
	if (g->free_inodes < min_inodes || g->free < min_blocks)
		return -ENOSPC;
	err = get_header(h->t, group, &header);
	if (err < 0)
		return err;
	err = tx_join(h, header);
	if (err == 0)
		err = take_inode(h, group, g, header, is_dir, &slot);
	if (err == 0)
		*ino = (uint64_t)group * fs->inodes_per_group + slot + 1;
	cache_put(header);
	return err;
}

static int try_groups_inode(struct tx_handle *h, uint32_t first, bool is_dir, uint32_t min_inodes,
	uint32_t min_blocks, uint64_t *ino)
{
	struct fs *fs = h->t->fs;

	for (uint32_t i = 0; i < fs->nr_groups; i++) {
		uint32_t group = (uint32_t)(((uint64_t)first + i) % fs->nr_groups);
		struct group *g = &fs->groups->group[group];
		int err;

		pthread_mutex_lock(&g->lock);
		err = try_group_inode(h, group, is_dir, min_inodes, min_blocks, ino);
		pthread_mutex_unlock(&g->lock);
		if (err != -ENOSPC)
			return err;
	}
	return -ENOSPC;
}

/* A directory under the root begins a subtree, which gets a group with room of its own. Deeper ones
 * stay with their parent while its group has a fair share of what is free, so that a tree is near
 * itself. */
static int alloc_dir(struct tx_handle *h, uint64_t parent, uint32_t group, uint64_t *ino)
{
	struct fs *fs = h->t->fs;
	struct groups *gs = fs->groups;
	uint32_t inodes = (uint32_t)(atomic_load(&gs->free_inodes) / fs->nr_groups);
	uint32_t blocks = (uint32_t)(atomic_load(&gs->free_blocks) / fs->nr_groups);

	if (parent == FS_ROOT_INO) {
		group = (uint32_t)(atomic_fetch_add(&gs->next_spread, 1) % fs->nr_groups);
	} else {
		inodes /= 2;
		blocks /= 2;
	}
	return try_groups_inode(h, group, true, inodes > 0 ? inodes : 1, blocks, ino);
}

static uint32_t next_generation(struct groups *gs)
{
	uint32_t generation;

	do
		generation = (uint32_t)atomic_fetch_add(&gs->generation, 1);
	while (generation == 0);
	return generation;
}

int alloc_inode(
	struct tx_handle *h, uint64_t parent, bool is_dir, uint64_t *ino, uint32_t *generation)
{
	struct fs *fs = h->t->fs;
	uint32_t group = (uint32_t)((parent - 1) / fs->inodes_per_group % fs->nr_groups);
	int err = -ENOSPC;

	if (is_dir)
		err = alloc_dir(h, parent, group, ino);
	if (err == -ENOSPC)
		err = try_groups_inode(h, group, is_dir, 1, 0, ino);
	if (err == 0)
		*generation = next_generation(fs->groups);
	return err;
}

static int inode_group(const struct fs *fs, uint64_t ino, uint32_t *group, uint32_t *slot)
{
	if (ino == 0 || ino > alloc_inode_max(fs))
		return -EUCLEAN;
	*group = (uint32_t)((ino - 1) / fs->inodes_per_group);
	*slot = (uint32_t)((ino - 1) % fs->inodes_per_group);
	return 0;
}

static int free_inode(
	struct tx_handle *h, uint32_t group, struct group *g, uint32_t slot, bool is_dir)
{
	struct fs *fs = h->t->fs;
	uint32_t bit = slot % BITMAP_BITS;
	struct buf *header, *bitmap;
	struct group_disk *d;
	uint8_t *bits;
	int err;

	err = read_header(h->t, group, g);
	if (err < 0)
		return err;
	if (slot >= g->inodes_ready)
		return fs_corrupt(fs, 0, "inode %llu was never in use and is freed",
			(unsigned long long)group * fs->inodes_per_group + slot + 1);
	err = get_header(h->t, group, &header);
	if (err < 0)
		return err;
	err = cache_get(h->t, ibitmap_block(fs, group, slot / BITMAP_BITS), BT_INODE_BITMAP, group,
		&bitmap);
	if (err < 0)
		goto put_header;
	d = (struct group_disk *)header->data;
	bits = ((struct bitmap_disk *)bitmap->data)->bits;
	if (!bits_test(bits, bit)) {
		err = fs_corrupt(fs, bitmap->block, "inode %llu is free and is freed",
			(unsigned long long)group * fs->inodes_per_group + slot + 1);
		goto put_bitmap;
	}
	err = tx_join(h, header);
	if (err == 0)
		err = tx_join(h, bitmap);
	if (err < 0)
		goto put_bitmap;
	bits_clear(bits, bit, bit + 1);
	if (slot < g->first_free_inode)
		g->first_free_inode = slot;
	g->free_inodes++;
	d->free_inodes = le32_of(g->free_inodes);
	d->nr_dirs = le32_of(le32_get(d->nr_dirs) - is_dir);
	atomic_fetch_add(&fs->groups->free_inodes, 1);
put_bitmap:
	cache_put(bitmap);
put_header:
	cache_put(header);
	return err;
}

int alloc_inode_free(struct tx_handle *h, uint64_t ino, bool is_dir)
{
	struct fs *fs = h->t->fs;
	uint32_t group, slot;
	struct group *g;
	int err;

	err = inode_group(fs, ino, &group, &slot);
	if (err < 0)
		return err;
	g = &fs->groups->group[group];
	pthread_mutex_lock(&g->lock);
	err = free_inode(h, group, g, slot, is_dir);
	pthread_mutex_unlock(&g->lock);
	return err;
}

int alloc_inode_where(struct fs_thread *t, uint64_t ino, uint64_t *block, uint32_t *slot)
{
	struct fs *fs = t->fs;
	uint32_t group, in_group;
	struct group *g;
	int err;

	err = inode_group(fs, ino, &group, &in_group);
	if (err < 0)
		return err;
	g = &fs->groups->group[group];
	pthread_mutex_lock(&g->lock);
	err = read_header(t, group, g);
	if (err == 0 && in_group >= g->inodes_ready)
		err = -ESTALE;
	pthread_mutex_unlock(&g->lock);
	if (err < 0)
		return err;
	*block = itable_block(fs, group, in_group / INODES_PER_BLOCK);
	*slot = in_group % INODES_PER_BLOCK;
	return 0;
}

/* --- counters */

int alloc_reserve(struct fs *fs, uint64_t nr, bool may_use_reserve)
{
	struct groups *gs = fs->groups;
	int64_t floor = may_use_reserve ? 0 : (int64_t)fs->reserved_blocks;
	int_fast64_t have = atomic_load(&gs->unpromised);

	if (nr > (uint64_t)INT64_MAX / 2)
		return -ENOSPC;
	do
		if (have - (int64_t)nr < floor)
			return -ENOSPC;
	while (!atomic_compare_exchange_weak(&gs->unpromised, &have, have - (int64_t)nr));
	return 0;
}

void alloc_unreserve(struct fs *fs, uint64_t nr)
{
	atomic_fetch_add(&fs->groups->unpromised, (int64_t)nr);
}

uint64_t alloc_awaiting_commit(const struct fs *fs)
{
	return atomic_load(&fs->groups->awaiting);
}

void alloc_counters(const struct fs *fs, uint64_t *free_blocks, uint64_t *free_inodes)
{
	*free_blocks = atomic_load(&fs->groups->free_blocks);
	*free_inodes = atomic_load(&fs->groups->free_inodes);
}

void alloc_statfs(struct fs *fs, struct fs_statfs *out)
{
	struct groups *gs = fs->groups;
	uint64_t tables = (uint64_t)fs->nr_groups * tables_of(fs, 1) + fs->journal_blocks;
	int64_t avail = (int64_t)atomic_load(&gs->unpromised) +
			(int64_t)atomic_load(&gs->awaiting) - (int64_t)fs->reserved_blocks;

	out->nr_blocks = fs->nr_blocks - tables;
	out->free_blocks = atomic_load(&gs->free_blocks);
	out->avail_blocks = avail > 0 ? (uint64_t)avail : 0;
	out->nr_inodes = alloc_inode_max(fs);
	out->free_inodes = atomic_load(&gs->free_inodes);
}

int alloc_create(struct fs *fs)
{
	const struct super_disk *d = (const struct super_disk *)fs->super->data;
	struct groups *gs = calloc(1, sizeof(*gs));

	if (gs == NULL)
		return -ENOMEM;
	gs->group = calloc(fs->nr_groups, sizeof(*gs->group));
	if (gs->group == NULL) {
		free(gs);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < fs->nr_groups; i++)
		pthread_mutex_init(&gs->group[i].lock, NULL);
	atomic_init(&gs->unpromised, (int64_t)le64_get(d->free_blocks));
	atomic_init(&gs->free_blocks, le64_get(d->free_blocks));
	atomic_init(&gs->free_inodes, le64_get(d->free_inodes));
	/* Every mount counts from another place, 2^32 / golden ratio apart. */
	atomic_init(&gs->generation,
		le32_get(d->generation_seed) + le32_get(d->mount_count) * 0x9e3779b1U);
	fs->groups = gs;
	return 0;
}

void alloc_destroy(struct fs *fs)
{
	struct groups *gs = fs->groups;

	if (gs == NULL)
		return;
	for (uint32_t i = 0; i < fs->nr_groups; i++) {
		pthread_mutex_destroy(&gs->group[i].lock);
		free(gs->group[i].map);
	}
	free(gs->group);
	free(gs);
	fs->groups = NULL;
}
