/* check_tree.c - B+trees of blocks, for fsck: extents in pass 1, directories in pass 2.
 *
 * Checks: that each node and leaf is what it should be, that levels fall by one and keys rise,
 * and that a node's keys are those of what it leads to. Collects: claims of the tree's blocks,
 * their number. Relies on: the geometry; the caller judges what is in a leaf.
 *
 * What a leaf holds says more than the keys above it, for each key is only one number among many
 * that agree. So children are taken in the order in which they stand, each may have what its
 * neighbours leave room for, and keys that do not fit are corrected afterwards. Keys that do not
 * rise are a sign that the records were moved: then these are sorted first, by the lowest key
 * that is found below each.
 *
 * A block that can't be believed is dropped with all it leads to: a file has a hole there, and
 * what a directory named gets to lost+found. No node is read twice by a walk, so a crafted tree
 * costs no more than its blocks. */
#include <errno.h>
#include <stdlib.h>
#include "btree.h"
#include "checker.h"

struct found {       /* below one record */
	bool gone;   /* nothing that counts */
	bool remove; /* so the record goes, too */
	uint64_t min, max;
};

struct node {
	struct tree *t;
	uint64_t block;
	unsigned level;
	struct node_disk *d; /* a page */
	unsigned nr;
	bool dirty;
	struct found f[NODE_RECORDS];
};

static bool fix(struct tree *t, enum problem_code code, uint64_t block, uint64_t x, uint64_t y)
{
	return chk_fix(
		t->c, code, &(struct problem_at){.ino = t->ino, .block = block, .x = x, .y = y});
}

/* Read BLOCK, of level LEVEL. *OUT->gone: it can't be used. */
static int load(struct tree *t, uint64_t block, unsigned level, uint8_t *page, bool *dirty,
	struct found *out)
{
	enum block_type type = level == 0 ? t->leaf_type : t->node_type;
	struct problem_at at = {.ino = t->ino, .block = block};
	bool salvage = false;
	int err = 0;

	*dirty = false;
	if (!extent_blocks_ok(&t->c->fs, block, 1)) {
		at.s = "can't be one";
	} else {
		err = chk_read(t->c, block, page);
		if (err < 0 && err != -EIO)
			return err;
		at.s = err == -EIO ? "can't be read"
				   : chk_fault(t->c, page, block, type, t->ino, &salvage);
	}
	if (at.s == NULL)
		return 0;
	if (salvage) {
		*dirty = chk_fix(t->c, P_TREE_CHECKSUM, &at);
		if (*dirty)
			chk_head_mend(t->c, page, block, type, t->ino);
		return 0;
	}
	out->gone = true;
	out->remove = chk_fix(t->c, P_TREE_BLOCK, &at);
	return 0;
}

/* --- records in a wrong order --- */

/* The lowest key below BLOCK, as far as can be told; 0 when it can't. */
static uint64_t lowest(struct tree *t, uint64_t block, unsigned level)
{
	uint8_t *page = chk_page_get(t->c);
	uint64_t key = 0;
	bool salvage;

	while (extent_blocks_ok(&t->c->fs, block, 1) && chk_read(t->c, block, page) == 0) {
		const struct node_disk *node = (const struct node_disk *)page;
		const struct dir_leaf_disk *dir = (const struct dir_leaf_disk *)page;
		uint16_t at = le16_get(dir->slot[0]);

		if (chk_fault(t->c, page, block, level == 0 ? t->leaf_type : t->node_type, t->ino,
			    &salvage) != NULL)
			break;
		if (level-- > 0) {
			block = le64_get(node->rec[0].child);
			continue;
		}
		if (t->leaf_type == BT_EXTENT_LEAF)
			key = le64_get(((const struct extent_leaf_disk *)page)->rec[0].lblk);
		else if (at % 8 == 0 && at <= BLOCK_BYTES - sizeof(struct dirent_disk))
			key = le64_get(((const struct dirent_disk *)(page + at))->key);
		break;
	}
	chk_page_put(t->c, page);
	return key;
}

/* Below the leaf is what was seen already: more than one record there hardly lies. What is above
 * must leave room for the leaf that comes next, or that would be lost for one wrong number. */
void tree_range_pick(struct tree *t, const struct tree_range *r, unsigned nr, unsigned nr_below,
	unsigned nr_above, bool sure, uint64_t *lo, uint64_t *hi)
{
	uint64_t room;

	*lo = r->lo < r->rlo ? r->rlo : r->lo;
	*hi = r->hi < r->rhi ? r->hi : r->rhi;
	if (nr_below > 1 || (nr_below == 1 && (sure || nr <= 2)))
		*lo = r->rlo;
	if (nr_above == 0 || r->next == 0)
		return;
	room = lowest(t, r->next, r->next_level);
	if (room > *hi)
		*hi = room < r->rhi ? room : r->rhi;
	else if (room < r->rlo && nr_above * 2 > nr) /* what comes next is out of its place */
		*hi = r->rhi;
}

static int by_key(const void *a, const void *b)
{
	uint64_t x = le64_get(((const struct node_record *)a)->key);
	uint64_t y = le64_get(((const struct node_record *)b)->key);

	return x < y ? -1 : x > y;
}

static void check_order(struct node *n)
{
	struct node_record *rec = n->d->rec;
	unsigned i = 2;

	while (i < n->nr && le64_get(rec[i].key) > le64_get(rec[i - 1].key))
		i++;
	if (i >= n->nr || !fix(n->t, P_TREE_ORDER, n->block, 0, 0))
		return;
	for (i = 0; i < n->nr; i++)
		rec[i].key = le64_of(lowest(n->t, le64_get(rec[i].child), n->level - 1));
	qsort(rec, n->nr, sizeof(rec[0]), by_key);
	n->dirty = true;
}

/* --- a node --- */

static void check_fields(struct node *n)
{
	struct tree *t = n->t;

	if (le16_get(n->d->level) != n->level &&
		fix(t, P_TREE_LEVEL, n->block, le16_get(n->d->level), n->level)) {
		n->d->level = le16_of((uint16_t)n->level);
		n->dirty = true;
	}
	n->nr = le16_get(n->d->nr);
	if (n->nr != 0 && n->nr <= NODE_RECORDS)
		return;
	n->dirty |= fix(t, P_TREE_COUNT, n->block, n->nr, 0);
	n->nr = NODE_RECORDS;
	while (n->nr > 0 && le64_get(n->d->rec[n->nr - 1].child) == 0)
		n->nr--;
	n->d->nr = le16_of((uint16_t)n->nr);
}

static int walk(struct tree *t, uint64_t block, unsigned level, const struct tree_range *range,
	struct found *out);

static int walk_children(struct node *n, const struct tree_range *range)
{
	struct tree_range below = *range;
	int err = 0;

	for (unsigned i = 0; i < n->nr && err == 0; i++) {
		if (i > 0)
			below.lo = le64_get(n->d->rec[i].key);
		below.hi = i + 1 < n->nr ? le64_get(n->d->rec[i + 1].key) : range->hi;
		below.next = i + 1 < n->nr ? le64_get(n->d->rec[i + 1].child) : range->next;
		below.next_level = i + 1 < n->nr ? n->level - 1 : range->next_level;
		n->f[i] = (struct found){0};
		err = chk_go_on(n->t->c);
		if (err == 0)
			err = walk(
				n->t, le64_get(n->d->rec[i].child), n->level - 1, &below, &n->f[i]);
		if (!n->f[i].gone)
			below.rlo = n->f[i].max + 1;
	}
	return err;
}

static void drop_records(struct node *n)
{
	unsigned nr = 0;

	for (unsigned i = 0; i < n->nr; i++) {
		if (n->f[i].remove)
			continue;
		n->d->rec[nr] = n->d->rec[i];
		n->f[nr++] = n->f[i];
	}
	if (nr == n->nr)
		return;
	memset(&n->d->rec[nr], 0, (n->nr - nr) * sizeof(n->d->rec[0]));
	n->d->nr = le16_of((uint16_t)nr);
	if (n->nr > 0 && nr > 0)
		n->d->rec[0].key = le64_of(0);
	n->nr = nr;
	n->dirty = true;
}

/* A key is above all that is before it, and not above what it leads to. */
static void check_keys(struct node *n)
{
	uint64_t end = 0; /* of what is before */

	for (unsigned i = 0; i < n->nr; i++) {
		uint64_t key = le64_get(n->d->rec[i].key);
		bool right = i == 0 ? key == 0 : key >= end && key <= n->f[i].min;

		if (n->f[i].gone)
			continue;
		if (!right && (n->dirty || fix(n->t, P_TREE_KEY, n->block, key, 0))) {
			n->d->rec[i].key = le64_of(i == 0 ? 0 : n->f[i].min);
			n->dirty = true;
		}
		end = n->f[i].max + 1;
	}
}

static void sum_up(const struct node *n, struct found *out)
{
	out->gone = true;
	for (unsigned i = 0; i < n->nr; i++) {
		if (n->f[i].gone)
			continue;
		if (out->gone)
			out->min = n->f[i].min;
		out->max = n->f[i].max;
		out->gone = false;
	}
	out->remove = n->nr == 0;
}

/* A block of the tree stays, or is DROPPED. */
static int count_block(struct tree *t, uint64_t block, bool dropped)
{
	if (!dropped) {
		t->nr_blocks++;
		return t->again ? 0 : chk_claim(t->c, block, 1);
	}
	t->nr_dropped++;
	if (t->again)
		chk_unclaim(t->c, block);
	return 0;
}

static int walk_node(struct node *n, const struct tree_range *range, struct found *out)
{
	struct check *c = n->t->c;
	bool seen = false;
	int err = n->t->again ? 0 : chk_node_seen(c, n->block, &seen);

	if (err < 0)
		return err;
	if (seen) {
		out->gone = true;
		out->remove = fix(n->t, P_TREE_TWICE, n->block, 0, 0);
		return 0;
	}
	check_fields(n);
	check_order(n);
	err = walk_children(n, range);
	if (err < 0)
		return err;
	drop_records(n);
	check_keys(n);
	sum_up(n, out);
	err = count_block(n->t, n->block, out->remove);
	return err == 0 && n->dirty && !out->remove ? chk_write(c, n->block, n->d) : err;
}

static int walk_leaf(struct tree *t, uint64_t block, uint8_t *page, bool dirty,
	const struct tree_range *range, struct found *out)
{
	struct tree_leaf leaf = {0};
	int err = t->leaf(t, block, page, range, &leaf);

	if (err < 0)
		return err;
	*out = (struct found){
		.gone = leaf.empty, .remove = leaf.empty, .min = leaf.min, .max = leaf.max};
	err = count_block(t, block, leaf.empty);
	return err == 0 && !leaf.empty && (dirty || leaf.dirty) ? chk_write(t->c, block, page)
								: err;
}

/* Recursion: as deep as the tree is high. */
static int walk(struct tree *t, uint64_t block, unsigned level, const struct tree_range *range,
	struct found *out)
{
	uint8_t *page = chk_page_get(t->c);
	struct node *n = NULL;
	bool dirty;
	int err = load(t, block, level, page, &dirty, out);

	if (err == 0 && !out->gone && level == 0)
		err = walk_leaf(t, block, page, dirty, range, out);
	if (err == 0 && !out->gone && level > 0) {
		n = chk_alloc(t->c, sizeof(*n));
		err = n == NULL ? -ENOMEM : 0;
	}
	if (n != NULL) {
		n->t = t;
		n->block = block;
		n->level = level;
		n->d = (struct node_disk *)page;
		n->dirty = dirty;
		err = walk_node(n, range, out);
		chk_free(t->c, n, sizeof(*n));
	}
	chk_page_put(t->c, page);
	return err;
}

/* --- the height --- */

/* The level of BLOCK, in as far as its head is in order; -1: it is of no tree. *CHILD: its first. */
static int level_of(struct tree *t, uint64_t block, uint64_t *child)
{
	uint8_t *page = chk_page_get(t->c);
	const struct node_disk *node = (const struct node_disk *)page;
	int level = -1;
	bool salvage;

	if (extent_blocks_ok(&t->c->fs, block, 1) && chk_read(t->c, block, page) == 0) {
		if (chk_fault(t->c, page, block, t->leaf_type, t->ino, &salvage) == NULL)
			level = 0;
		else if (chk_fault(t->c, page, block, t->node_type, t->ino, &salvage) == NULL)
			level = le16_get(node->level) > 0 ? le16_get(node->level) : 1;
		*child = le64_get(node->rec[0].child);
	}
	chk_page_put(t->c, page);
	return level;
}

/* What a path down to a leaf tells; and where it can't be followed, LEVEL, which is the root's. */
static uint32_t height_below(struct tree *t, uint64_t block, int level)
{
	int said = level;

	for (uint32_t height = 1; height <= BTREE_HEIGHT_MAX; height++) {
		level = level_of(t, block, &block);
		if (level <= 0)
			return level == 0 ? height : (uint32_t)said;
	}
	return (uint32_t)said;
}

bool tree_mend_height(struct tree *t, uint64_t root, uint32_t *height)
{
	uint64_t child;
	int level = level_of(t, root, &child);
	uint32_t right;

	if (level < 0 || (uint32_t)level == *height)
		return false;
	right = level == 0 ? 0 : height_below(t, child, level);
	if (right == *height || right > BTREE_HEIGHT_MAX ||
		!fix(t, P_TREE_HEIGHT, root, *height, right))
		return false;
	*height = right;
	return true;
}

int tree_check(struct tree *t, uint64_t *root, uint32_t height)
{
	const struct tree_range all = {.hi = UINT64_MAX, .rhi = UINT64_MAX};
	struct found found = {0};
	int err = walk(t, *root, height, &all, &found);

	if (err == 0 && found.remove)
		*root = 0;
	return err;
}

/* --- again --- */

struct each {
	struct tree *t;
	tree_leaf_fn fn;
	void *arg;
};

static int each(struct each *e, uint64_t block, unsigned level)
{
	struct check *c = e->t->c;
	uint8_t *page = chk_page_get(c);
	const struct node_disk *d = (const struct node_disk *)page;
	bool dirty = false, salvage, seen = false;
	int err = chk_read(c, block, page);

	if (err == 0 && level > 0)
		err = chk_node_seen(c, block, &seen);
	if (err == -EIO || seen ||
		(err == 0 &&
			chk_fault(c, page, block, level == 0 ? e->t->leaf_type : e->t->node_type,
				e->t->ino, &salvage) != NULL)) {
		err = 0; /* as the check has left it: somebody wanted it so */
	} else if (err == 0 && level == 0) {
		err = e->fn(e->arg, block, page, &dirty);
		if (err == 0 && dirty)
			err = chk_write(c, block, page);
	} else if (err == 0) {
		unsigned nr = le16_get(d->nr) <= NODE_RECORDS ? le16_get(d->nr) : 0;

		for (unsigned i = 0; i < nr && err == 0; i++)
			if (extent_blocks_ok(&c->fs, le64_get(d->rec[i].child), 1))
				err = each(e, le64_get(d->rec[i].child), level - 1);
	}
	chk_page_put(c, page);
	return err;
}

int tree_each_leaf(struct tree *t, uint64_t root, uint32_t height, tree_leaf_fn fn, void *arg)
{
	struct each e = {t, fn, arg};

	return extent_blocks_ok(&t->c->fs, root, 1) && height <= BTREE_HEIGHT_MAX
		       ? each(&e, root, height)
		       : 0;
}
