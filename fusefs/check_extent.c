/* check_extent.c - part of pass 1: which blocks a file has.
 *
 * Checks: extents, in the inode or in the leaves of a tree (check_tree.c does the nodes): each
 * one by itself, order, overlap, and that it is in the leaf where it is looked for. Collects:
 * claims of all blocks that are mapped; their number. Relies on: the geometry.
 *
 * An extent that makes no sense is dropped: the file has a hole there. Blocks that two files
 * claim are pass 3's. */
#include <errno.h>
#include <stdlib.h>
#include "btree.h"
#include "checker.h"

struct record { /* one that stays: as it is, or because nobody wanted it dropped */
	struct extent e;
	bool sound;
};

struct records {
	struct check_inode *i;
	uint64_t block; /* 0: in the inode */
	unsigned nr;
	struct record r[EXTENT_LEAF_RECORDS];
	bool dirty;
};

static bool fix(struct records *rs, enum problem_code code, const struct extent *e)
{
	struct problem_at at = {
		.ino = rs->i->ino, .block = rs->block, .x = e->lblk, .y = e->nr_blocks};
	bool yes = chk_fix(rs->i->c, code, &at);

	rs->dirty |= yes;
	return yes;
}

static void take(struct records *rs, const struct extent_disk *disk)
{
	struct record *r = &rs->r[rs->nr];

	r->sound = extent_decode(&rs->i->c->fs, disk, &r->e);
	if (!r->sound) {
		struct extent_disk known = *disk;

		known.flags = le32_of(le32_get(disk->flags) & EXTENT_F_UNWRITTEN);
		r->sound = extent_decode(&rs->i->c->fs, &known, &r->e) &&
			   fix(rs, P_EXTENT_FLAGS, &r->e);
	}
	if (!r->sound) {
		r->e = (struct extent){.lblk = le64_get(disk->lblk),
			.pblk = le64_get(disk->pblk),
			.nr_blocks = le32_get(disk->nr_blocks),
			.flags = le32_get(disk->flags)};
		if (fix(rs, P_EXTENT_INVALID, &r->e))
			return;
	}
	rs->nr++;
}

static int by_lblk(const void *a, const void *b)
{
	uint64_t x = ((const struct record *)a)->e.lblk, y = ((const struct record *)b)->e.lblk;

	return x < y ? -1 : x > y;
}

static void sort(struct records *rs)
{
	for (unsigned i = 1; i < rs->nr; i++)
		if (rs->r[i].sound && rs->r[i - 1].sound && rs->r[i].e.lblk < rs->r[i - 1].e.lblk) {
			if (fix(rs, P_EXTENT_ORDER, &rs->r[i].e))
				qsort(rs->r, rs->nr, sizeof(rs->r[0]), by_lblk);
			return;
		}
}

static uint64_t end_of(const struct extent *e)
{
	return e->lblk + e->nr_blocks;
}

/* Drop those for which IS_BAD, unless that is not wanted: then they only don't count. */
static void filter(struct records *rs, enum problem_code code, uint64_t lo, uint64_t hi)
{
	unsigned nr = 0;
	uint64_t end = lo;

	for (unsigned i = 0; i < rs->nr; i++) {
		struct record r = rs->r[i];
		bool bad = code == P_EXTENT_RANGE ? r.e.lblk < lo || end_of(&r.e) > hi
						  : r.e.lblk < end;

		if (r.sound && bad) {
			if (fix(rs, code, &r.e))
				continue;
			r.sound = false;
		}
		if (r.sound)
			end = end_of(&r.e);
		rs->r[nr++] = r;
	}
	rs->nr = nr;
}

static void check_range(struct records *rs, struct tree *t, const struct tree_range *range)
{
	unsigned nr_below = 0, nr_above = 0;
	uint64_t lo, hi;

	for (unsigned i = 0; i < rs->nr; i++) {
		nr_below += rs->r[i].e.lblk < range->lo;
		nr_above += end_of(&rs->r[i].e) > range->hi;
	}
	tree_range_pick(t, range, rs->nr, nr_below, nr_above, false, &lo, &hi);
	filter(rs, P_EXTENT_RANGE, lo, hi);
}

static int claim_all(struct records *rs)
{
	struct check_inode *i = rs->i;
	int err = 0;

	for (unsigned k = 0; k < rs->nr && err == 0; k++) {
		if (!rs->r[k].sound)
			continue;
		err = chk_claim(i->c, rs->r[k].e.pblk, rs->r[k].e.nr_blocks);
		i->nr_blocks += rs->r[k].e.nr_blocks;
		if (end_of(&rs->r[k].e) > i->end)
			i->end = end_of(&rs->r[k].e);
		i->c->out->nr_extents++;
	}
	return err;
}

/* --- in the inode --- */

static int check_inline(struct check_inode *i)
{
	struct inode_disk *d = i->d;
	struct records rs = {.i = i};
	unsigned nr = d->fork_count;

	if ((nr == 0 || nr > INODE_INLINE_EXTENTS) && !chk_inode_fix(i, P_EXTENT_COUNT, nr, 0))
		return 0;
	if (nr == 0 || nr > INODE_INLINE_EXTENTS)
		nr = INODE_INLINE_EXTENTS;
	for (unsigned k = 0; k < nr; k++) {
		struct extent_disk e;

		memcpy(&e, d->fork + k * sizeof(e), sizeof(e));
		if (le32_get(e.nr_blocks) != 0 || k < d->fork_count)
			take(&rs, &e);
	}
	sort(&rs);
	filter(&rs, P_EXTENT_OVERLAP, 0, LBLK_END);
	if (rs.dirty || rs.nr != d->fork_count || rs.nr == 0) { /* none: that is FORK_NONE */
		memset(d->fork, 0, sizeof(d->fork));
		for (unsigned k = 0; k < rs.nr; k++) {
			struct extent_disk e;

			extent_encode(&rs.r[k].e, &e);
			memcpy(d->fork + k * sizeof(e), &e, sizeof(e));
		}
		d->fork_format = rs.nr == 0 ? FORK_NONE : FORK_EXTENTS;
		d->fork_count = (uint8_t)rs.nr;
		i->dirty = true;
	}
	return claim_all(&rs);
}

/* --- in a tree --- */

static void put_leaf(struct extent_leaf_disk *leaf, const struct records *rs)
{
	memset(leaf->rec, 0, sizeof(leaf->rec));
	for (unsigned k = 0; k < rs->nr; k++)
		extent_encode(&rs->r[k].e, &leaf->rec[k]);
	leaf->nr = le16_of((uint16_t)rs->nr);
}

static int check_leaf(struct tree *t, uint64_t block, uint8_t *page, const struct tree_range *range,
	struct tree_leaf *out)
{
	struct extent_leaf_disk *leaf = (struct extent_leaf_disk *)page;
	struct records *rs = t->arg;
	unsigned nr = le16_get(leaf->nr);

	rs->block = block;
	rs->nr = 0;
	rs->dirty = false;
	if (nr == 0 || nr > EXTENT_LEAF_RECORDS) {
		struct problem_at at = {.ino = t->ino, .block = block, .x = nr};

		rs->dirty = chk_fix(t->c, P_EXTENT_COUNT, &at);
		nr = EXTENT_LEAF_RECORDS;
	}
	for (unsigned k = 0; k < nr; k++)
		if (le32_get(leaf->rec[k].nr_blocks) != 0 || k < le16_get(leaf->nr))
			take(rs, &leaf->rec[k]);
	sort(rs);
	check_range(rs, t, range);
	filter(rs, P_EXTENT_OVERLAP, 0, LBLK_END);
	out->empty = rs->nr == 0;
	out->dirty = rs->dirty && !out->empty;
	if (out->empty)
		return 0;
	put_leaf(leaf, rs);
	out->min = rs->r[0].e.lblk;
	out->max = end_of(&rs->r[rs->nr - 1].e) - 1;
	return claim_all(rs);
}

static int check_fork_tree(struct check_inode *i)
{
	struct check *c = i->c;
	struct fork_btree fork;
	struct records *rs;
	struct tree tree = {.c = c,
		.ino = i->ino,
		.leaf_type = BT_EXTENT_LEAF,
		.node_type = BT_EXTENT_NODE,
		.leaf = check_leaf};
	uint32_t height;
	uint64_t root;
	int err = 0;

	memcpy(&fork, i->d->fork, sizeof(fork));
	root = le64_get(fork.root);
	height = le32_get(fork.height);
	if (tree_mend_height(&tree, root, &height)) {
		fork.height = le32_of(height);
		memcpy(i->d->fork, &fork, sizeof(fork));
		i->dirty = true;
	}
	if (!extent_blocks_ok(&c->fs, root, 1) || height > BTREE_HEIGHT_MAX) {
		struct problem_at at = {.ino = i->ino, .block = root, .x = height};

		if (!chk_fix(c, P_TREE_ROOT, &at))
			return 0;
		root = 0;
	} else {
		rs = chk_alloc(c, sizeof(*rs));
		if (rs == NULL)
			return -ENOMEM;
		rs->i = i;
		tree.arg = rs;
		err = tree_check(&tree, &root, height);
		i->nr_blocks += tree.nr_blocks;
		chk_free(c, rs, sizeof(*rs));
	}
	if (root == 0) {
		i->d->fork_format = FORK_NONE;
		memset(i->d->fork, 0, sizeof(i->d->fork));
		i->dirty = true;
	}
	return err;
}

int check_extents(struct check_inode *i)
{
	if (i->d->fork_format == FORK_EXTENTS)
		return check_inline(i);
	return i->d->fork_format == FORK_BTREE ? check_fork_tree(i) : 0;
}
