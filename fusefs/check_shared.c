/* check_shared.c - pass 3: blocks that are claimed twice.
 *
 * Checks: nothing new: pass 1 and 2 have marked these blocks. Collects: claims of the copies that
 * are made. Relies on: trees as passes 1 and 2 have left them.
 *
 * Nobody can tell whose contents they are, so nothing is taken away from anybody: one keeps the
 * blocks, each other gets a copy of the whole extent, in a run of its own. A block that is sound
 * metadata stays that; else the inode with the lowest number keeps it, and within a file what
 * comes first. A copy is durable before anything leads to it. Where there is no room for one, the
 * extent is dropped. */
#include <errno.h>
#include <dirent.h>
#include <stdlib.h>
#include "bitmap.h"
#include "checker.h"

struct sharing { /* of one inode */
	struct check *c;
	uint64_t ino;
	bool any_empty; /* leaves */
	uint64_t lost;  /* blocks that the inode has no more */
	bool dirty;
};

static size_t map_bytes(const struct check *c)
{
	return (size_t)c->fs.bitmap_blocks * BLOCK_PAYLOAD;
}

/* --- which are metadata --- */

/* Sound, whoever its owner is: file data does not carry this disk's numbers and a checksum. */
static bool is_metadata(struct check *c, const uint8_t *page, uint64_t block)
{
	const struct block_head *head = (const struct block_head *)page;

	switch (le32_get(head->magic)) {
	case BT_EXTENT_LEAF:
	case BT_EXTENT_NODE:
	case BT_DIR_LEAF:
	case BT_DIR_NODE:
	case BT_XATTR:
	case BT_SYMLINK:
		break;
	default:
		return false;
	}
	return le64_get(head->block) == block &&
	       memcmp(head->fs_uuid, c->fs.uuid, sizeof(c->fs.uuid)) == 0 &&
	       le32_get(head->crc) == block_crc(page) && chk_ino_ready(c, le64_get(head->owner)) &&
	       (*chk_ino(c, le64_get(head->owner)) & INO_USED) != 0;
}

static int settle_metadata(struct check *c, uint32_t group, uint8_t *page)
{
	struct check_group *g = &c->group[group];
	uint32_t end = chk_group_blocks(c, group);

	g->settled = chk_alloc(c, map_bytes(c));
	if (g->settled == NULL)
		return -ENOMEM;
	for (uint32_t bit = bits_next_set(g->shared, 0, end); bit < end;
		bit = bits_next_set(g->shared, bit + 1, end)) {
		uint64_t block = fs_group_start(&c->fs, group) + bit;
		int err = chk_read(c, block, page);

		if (err < 0 && err != -EIO)
			return err;
		if (err == 0 && is_metadata(c, page, block))
			bits_set(g->settled, bit, bit + 1);
	}
	return 0;
}

/* --- copies --- */

static int copy_blocks(struct check *c, uint64_t to, uint64_t from, uint32_t nr)
{
	int err = check_super_mark(c);

	for (uint32_t i = 0; i < nr && err == 0; i += WINDOW_BLOCKS) {
		uint32_t n = nr - i < WINDOW_BLOCKS ? nr - i : WINDOW_BLOCKS;

		err = cache_read_raw(&c->t, from + i, n, c->window);
		if (err == -EIO) { /* what can't be read stays so for one of them */
			memset(c->window, 0, (size_t)n * BLOCK_BYTES);
			err = 0;
		}
		if (err == 0)
			err = cache_write_raw(c->t.q, to + i, n, c->window);
		if (err == 0)
			err = chk_go_on(c);
	}
	return err < 0 ? err : blk_do(c->t.q, BLK_FLUSH, 0, 0, NULL);
}

/* The inode no longer has what is left of E: blocks that nobody else claims are free. */
static void let_go(struct sharing *s, const struct extent *e)
{
	struct check_group *g = &s->c->group[fs_group_of(&s->c->fs, e->pblk)];
	uint32_t bit = (uint32_t)(e->pblk % s->c->fs.group_blocks), end = bit + e->nr_blocks;

	for (; bit < end; bit++)
		if (!bits_test(g->shared, bit))
			bits_clear(g->blocks, bit, bit + 1);
	s->lost += e->nr_blocks;
}

/* Give the inode blocks of its own for E. *E.nr_blocks 0: there is no room, and it is dropped. */
static int give_copy(struct sharing *s, struct extent *e)
{
	struct check *c = s->c;
	struct problem_at at = {.ino = s->ino, .block = e->pblk, .x = e->nr_blocks};
	uint64_t start;
	int err = chk_take_blocks(c, e->nr_blocks, &start);

	if (err < 0)
		return err;
	if (start != 0) {
		if (c->writes)
			err = copy_blocks(c, start, e->pblk, e->nr_blocks);
		let_go(s, e);
		s->lost -= e->nr_blocks;
		e->pblk = start;
		s->dirty = true;
	} else if (chk_fix(c, P_BLOCKS_SHARED_LOST, &at)) {
		let_go(s, e);
		e->nr_blocks = 0;
		s->dirty = true;
	}
	return err;
}

/* How many of the extent's blocks have another owner; from here on the others have this one. */
static uint32_t settle(struct check *c, const struct extent *e)
{
	struct check_group *g = &c->group[fs_group_of(&c->fs, e->pblk)];
	uint32_t bit = (uint32_t)(e->pblk % c->fs.group_blocks), end = bit + e->nr_blocks;
	uint32_t nr_taken = 0;

	if (g->shared == NULL)
		return 0;
	for (uint32_t at = bits_next_set(g->shared, bit, end); at < end;
		at = bits_next_set(g->shared, at + 1, end))
		nr_taken += bits_test(g->settled, at);
	for (uint32_t at = bits_next_set(g->shared, bit, end); at < end && nr_taken == 0;
		at = bits_next_set(g->shared, at + 1, end))
		bits_set(g->settled, at, at + 1);
	return nr_taken;
}

static int check_extent(struct sharing *s, struct extent_disk *disk)
{
	struct extent e;
	uint32_t nr_taken;
	int err;

	if (!extent_decode(&s->c->fs, disk, &e))
		return 0;
	nr_taken = settle(s->c, &e);
	if (nr_taken == 0 ||
		!chk_fix(s->c, P_BLOCKS_SHARED,
			&(struct problem_at){
				.ino = s->ino, .block = e.pblk, .x = e.nr_blocks, .y = nr_taken}))
		return 0;
	err = give_copy(s, &e);
	extent_encode(&e, disk);
	return err;
}

/* Records of 0 blocks go. Returns how many are left. */
static unsigned close_gaps(struct extent_disk *rec, unsigned nr)
{
	unsigned left = 0;

	for (unsigned i = 0; i < nr; i++)
		if (le32_get(rec[i].nr_blocks) != 0)
			rec[left++] = rec[i];
	memset(rec + left, 0, (nr - left) * sizeof(*rec));
	return left;
}

/* --- files --- */

static int check_leaf(void *arg, uint64_t block, uint8_t *page, bool *dirty)
{
	struct extent_leaf_disk *leaf = (struct extent_leaf_disk *)page;
	struct sharing *s = arg;
	unsigned nr = le16_get(leaf->nr);
	int err = 0;

	(void)block;
	if (nr > EXTENT_LEAF_RECORDS)
		return 0;
	s->dirty = false;
	for (unsigned i = 0; i < nr && err == 0; i++)
		err = check_extent(s, &leaf->rec[i]);
	*dirty = s->dirty;
	if (s->dirty)
		leaf->nr = le16_of((uint16_t)close_gaps(leaf->rec, nr));
	s->any_empty |= le16_get(leaf->nr) == 0;
	return err;
}

static int check_inline(struct sharing *s, struct inode_disk *d)
{
	struct extent_disk rec[INODE_INLINE_EXTENTS];
	unsigned nr = d->fork_count;
	int err = 0;

	if (nr > INODE_INLINE_EXTENTS)
		return 0;
	memcpy(rec, d->fork, sizeof(rec));
	for (unsigned i = 0; i < nr && err == 0; i++)
		err = check_extent(s, &rec[i]);
	if (!s->dirty || err < 0)
		return err;
	d->fork_count = (uint8_t)close_gaps(rec, nr);
	if (d->fork_count == 0)
		d->fork_format = FORK_NONE;
	memcpy(d->fork, rec, sizeof(rec));
	return 0;
}

/* For drop_empty(): a leaf that was checked before. */
static int look_leaf(struct tree *t, uint64_t block, uint8_t *page, const struct tree_range *range,
	struct tree_leaf *out)
{
	const struct extent_leaf_disk *leaf = (const struct extent_leaf_disk *)page;
	unsigned nr = le16_get(leaf->nr);

	(void)t;
	(void)block;
	(void)range;
	out->empty = nr == 0;
	if (nr > 0 && nr <= EXTENT_LEAF_RECORDS) {
		const struct extent_disk *last = &leaf->rec[nr - 1];

		out->min = le64_get(leaf->rec[0].lblk);
		out->max = le64_get(last->lblk) + le32_get(last->nr_blocks) - 1;
	}
	return 0;
}

static int check_tree_file(struct sharing *s, struct tree *tree, const struct inode_disk *d)
{
	struct fork_btree fork;
	int err;

	memcpy(&fork, d->fork, sizeof(fork));
	tree->root = le64_get(fork.root);
	err = tree_each_leaf(tree, tree->root, le32_get(fork.height), check_leaf, s);
	if (err == 0 && s->any_empty) { /* no leaf is: the tree is pruned */
		tree->leaf = look_leaf;
		tree->again = true;
		err = tree_check(tree, &tree->root, le32_get(fork.height));
		s->lost += tree->nr_dropped;
	}
	return err;
}

static int check_file(struct check *c, uint64_t ino)
{
	struct sharing s = {.c = c, .ino = ino};
	struct tree tree = {
		.c = c, .ino = ino, .leaf_type = BT_EXTENT_LEAF, .node_type = BT_EXTENT_NODE};
	struct inode_disk *d;
	bool in_tree;
	int err = chk_inode_get(c, ino, &d);

	if (err < 0)
		return err;
	in_tree = d->fork_format == FORK_BTREE;
	if (d->fork_format == FORK_EXTENTS)
		err = check_inline(&s, d);
	else if (in_tree)
		err = check_tree_file(&s, &tree, d);
	if (err < 0 || (s.lost == 0 && (in_tree || !s.dirty)))
		return err;
	if (in_tree && tree.root == 0) {
		d->fork_format = FORK_NONE;
		memset(d->fork, 0, sizeof(d->fork));
	}
	d->nr_blocks = le64_of(le64_get(d->nr_blocks) - s.lost);
	return chk_inode_put(c); /* nobody else has used the page meanwhile */
}

static int prepare(struct check *c)
{
	uint8_t *page = chk_page_get(c);
	int err = 0;

	for (uint32_t i = 0; i < c->fs.nr_groups && err == 0; i++) {
		struct check_group *g = &c->group[i];

		chk_free(c, g->nodes, map_bytes(c)); /* trees are walked once more */
		g->nodes = NULL;
		if (g->shared != NULL)
			err = settle_metadata(c, i, page);
	}
	chk_page_put(c, page);
	return err;
}

int check_shared(struct check *c)
{
	uint64_t nr_inodes = (uint64_t)c->fs.inodes_per_group * c->fs.nr_groups;
	int err;

	if (c->nr_shared == 0)
		return 0;
	err = prepare(c);
	for (uint64_t ino = 1; ino <= nr_inodes && err == 0; ino++) {
		if (!chk_ino_ready(c, ino)) {
			ino += c->fs.inodes_per_group - 1 - (ino - 1) % c->fs.inodes_per_group;
			continue;
		}
		if (*chk_ino(c, ino) & INO_USED && (*chk_ino(c, ino) & INO_TYPE) == DT_REG)
			err = check_file(c, ino);
		if (ino % c->fs.inodes_per_group == 0)
			chk_progress(c, ino, nr_inodes);
		if (err == 0)
			err = chk_go_on(c);
	}
	return err;
}
