/* extent.c - a file's extents: inline in the inode, or in the leaves of a B+tree.
 *
 * A change takes the records of one place (the inode's fork, or one leaf) into an array of host
 * values, edits it there and puts it back: so the inode and the tree share one set of edits, and
 * every record is checked before any is changed.
 *
 * Invariants
 *  1. Within a place records are sorted by lblk, none is empty, none overlaps the next, and none
 *     could be merged with the next.
 *  2. An extent lies within its leaf's range of keys (btree_leaf_range()): one that would reach
 *     past it is two, in two leaves. So what is at a block is found in the block's leaf, and pieces
 *     that are cut off stay where they belong.
 *  3. A leaf is never empty: it is removed from the tree instead, and the last one's removal leaves
 *     FORK_NONE. */
#include <errno.h>
#include <string.h>
#include "alloc.h"
#include "btree.h"
#include "inode.h"

struct place {
	struct btree_path path; /* of the leaf; in_tree only */
	bool in_tree;
	uint64_t end; /* no extent here may reach past this block */
	unsigned nr;
	struct extent e[EXTENT_LEAF_RECORDS + 2]; /* an edit adds two at most */
};

static struct btree extent_tree(struct inode *inode)
{
	return (struct btree){inode, BT_EXTENT_LEAF, BT_EXTENT_NODE};
}

static uint64_t extent_end(const struct extent *e)
{
	return e->lblk + e->nr_blocks;
}

static int corrupt_leaf(const struct inode *inode, const struct buf *leaf, const char *why)
{
	return fs_corrupt(inode->fs, leaf->block, "extent leaf of inode %llu: %s",
		(unsigned long long)inode->ino, why);
}

bool extent_blocks_ok(const struct fs *fs, uint64_t start, uint64_t nr_blocks)
{
	uint64_t tables = 3U + (uint64_t)fs->bitmap_blocks + fs->ibitmap_blocks + fs->itable_blocks;
	uint64_t at;

	if (start >= fs->nr_blocks || nr_blocks == 0 || nr_blocks > fs->nr_blocks - start)
		return false;
	at = start - fs_group_start(fs, fs_group_of(fs, start));
	if (at < tables || at + nr_blocks > fs->group_blocks)
		return false;
	return start + nr_blocks <= fs->journal_start ||
	       start >= fs->journal_start + fs->journal_blocks;
}

bool extent_decode(const struct fs *fs, const struct extent_disk *disk, struct extent *out)
{
	struct extent e = {
		.lblk = le64_get(disk->lblk),
		.pblk = le64_get(disk->pblk),
		.nr_blocks = le32_get(disk->nr_blocks),
		.flags = le32_get(disk->flags),
	};

	if (e.nr_blocks == 0 || e.nr_blocks > EXTENT_BLOCKS_MAX || (e.flags & ~EXTENT_F_UNWRITTEN))
		return false;
	if (e.lblk >= LBLK_END || e.nr_blocks > LBLK_END - e.lblk)
		return false;
	if (!extent_blocks_ok(fs, e.pblk, e.nr_blocks))
		return false;
	*out = e;
	return true;
}

void extent_encode(const struct extent *e, struct extent_disk *disk)
{
	disk->lblk = le64_of(e->lblk);
	disk->pblk = le64_of(e->pblk);
	disk->nr_blocks = le32_of(e->nr_blocks);
	disk->flags = le32_of(e->flags);
}

static struct extent_leaf_disk *leaf_of(const struct buf *b)
{
	return (struct extent_leaf_disk *)b->data;
}

static int leaf_nr(const struct inode *inode, const struct buf *b, unsigned *nr)
{
	unsigned n = le16_get(leaf_of(b)->nr);

	if (n == 0 || n > EXTENT_LEAF_RECORDS)
		return corrupt_leaf(inode, b, "bad number of records");
	*nr = n;
	return 0;
}

static int leaf_record(
	const struct inode *inode, const struct buf *b, unsigned i, struct extent *out)
{
	if (!extent_decode(inode->fs, &leaf_of(b)->rec[i], out))
		return corrupt_leaf(inode, b, "bad record");
	return 0;
}

/* ---- places ---- */

static int place_load_leaf(struct inode *inode, struct place *p)
{
	uint64_t lo;
	int err;

	btree_leaf_range(&p->path, &lo, &p->end);
	err = leaf_nr(inode, p->path.leaf, &p->nr);
	for (unsigned i = 0; err == 0 && i < p->nr; i++) {
		err = leaf_record(inode, p->path.leaf, i, &p->e[i]);
		if (err == 0 && (p->e[i].lblk < lo || extent_end(&p->e[i]) > p->end))
			err = corrupt_leaf(inode, p->path.leaf, "records out of order");
		lo = extent_end(&p->e[i]);
	}
	return err;
}

static void place_put(struct place *p)
{
	if (p->in_tree)
		btree_path_put(&p->path);
	p->in_tree = false;
}

/* The place where an extent that begins at KEY is, or would be. */
static int place_load(struct fs_thread *t, struct inode *inode, uint64_t key, struct place *p)
{
	struct btree bt = extent_tree(inode);
	int err;

	p->nr = 0;
	p->end = LBLK_END;
	p->in_tree = inode->fork_format == FORK_BTREE;
	if (!p->in_tree) {
		if (inode->fork_format == FORK_EXTENTS)
			p->nr = inode->fork_count;
		memcpy(p->e, inode->fork.extents, p->nr * sizeof(p->e[0]));
		return 0;
	}
	err = btree_find(t, &bt, key, &p->path);
	if (err < 0) {
		p->in_tree = false;
		return err;
	}
	err = place_load_leaf(inode, p);
	if (err < 0)
		place_put(p);
	return err;
}

/* How many of the place's extents begin at or before KEY. */
static unsigned place_count_to(const struct place *p, uint64_t key)
{
	unsigned lo = 0, hi = p->nr;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (p->e[mid].lblk <= key)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* The place and index of the last extent that begins at or before KEY; -ENOENT: none. */
static int place_seek(
	struct fs_thread *t, struct inode *inode, uint64_t key, struct place *p, unsigned *at)
{
	struct btree bt = extent_tree(inode);
	unsigned n;
	int err;

	err = place_load(t, inode, key, p);
	if (err < 0)
		return err;
	n = place_count_to(p, key);
	if (n == 0 && p->in_tree) {
		err = btree_prev_leaf(t, &bt, &p->path);
		if (err == 0)
			err = place_load_leaf(inode, p);
		n = p->nr;
		if (err == 0 && p->e[n - 1].lblk > key)
			err = corrupt_leaf(inode, p->path.leaf, "records out of order");
	} else if (n == 0) {
		err = -ENOENT;
	}
	if (err < 0) {
		place_put(p);
		return err;
	}
	*at = n - 1;
	return 0;
}

static void leaf_store(struct buf *b, const struct extent *e, unsigned nr)
{
	struct extent_leaf_disk *leaf = leaf_of(b);
	unsigned i;

	for (i = 0; i < nr; i++)
		extent_encode(&e[i], &leaf->rec[i]);
	memset(&leaf->rec[nr], 0, (EXTENT_LEAF_RECORDS - nr) * sizeof(leaf->rec[0]));
	leaf->nr = le16_of((uint16_t)nr);
}

static int place_store_inode(struct tx_handle *h, struct inode *inode, const struct place *p)
{
	struct btree bt = extent_tree(inode);
	struct buf *leaf;
	int err;

	if (p->nr > INODE_INLINE_EXTENTS) {
		err = btree_create(h, &bt, &leaf);
		if (err < 0)
			return err;
		leaf_store(leaf, p->e, p->nr);
		cache_put(leaf);
		return 0;
	}
	memset(&inode->fork, 0, sizeof(inode->fork));
	memcpy(inode->fork.extents, p->e, p->nr * sizeof(p->e[0]));
	inode->fork_format = p->nr == 0 ? FORK_NONE : FORK_EXTENTS;
	inode->fork_count = (uint8_t)p->nr;
	return 0;
}

static int place_store_leaf(struct tx_handle *h, struct inode *inode, struct place *p, unsigned at)
{
	struct btree bt = extent_tree(inode);
	unsigned keep = p->nr;
	struct buf *right = NULL;
	int err;

	err = tx_join(h, p->path.leaf);
	if (err < 0)
		return err;
	if (p->nr > EXTENT_LEAF_RECORDS) {
		/* A file that is written from front to back leaves full leaves behind it. */
		keep = at >= EXTENT_LEAF_RECORDS - 1 ? EXTENT_LEAF_RECORDS : p->nr / 2;
		err = btree_add_leaf(h, &bt, &p->path, p->e[keep].lblk, &right);
		if (err < 0)
			return err;
		leaf_store(right, &p->e[keep], p->nr - keep);
		cache_put(right);
	}
	leaf_store(p->path.leaf, p->e, keep);
	return 0;
}

/* Put the edited records back; AT is about where the edit was. Puts the place. */
static int place_store(struct tx_handle *h, struct inode *inode, struct place *p, unsigned at)
{
	struct btree bt = extent_tree(inode);
	int err;

	if (p->in_tree && p->nr == 0) {
		p->in_tree = false; /* the path is put by: */
		return btree_remove_leaf(h, &bt, &p->path);
	}
	if (p->in_tree)
		err = place_store_leaf(h, inode, p, at);
	else
		err = place_store_inode(h, inode, p);
	place_put(p);
	return err;
}

/* ---- edits of a place's array ---- */

static void edit_open(struct place *p, unsigned at, unsigned nr)
{
	memmove(&p->e[at + nr], &p->e[at], (p->nr - at) * sizeof(p->e[0]));
	p->nr += nr;
}

static void edit_delete(struct place *p, unsigned at)
{
	memmove(&p->e[at], &p->e[at + 1], (p->nr - at - 1) * sizeof(p->e[0]));
	p->nr--;
}

/* Merge extent AT with the one after it, if that continues it. */
static void edit_merge(struct place *p, unsigned at)
{
	struct extent *a = &p->e[at], *b = a + 1;

	if (at + 1 >= p->nr || extent_end(a) != b->lblk || a->pblk + a->nr_blocks != b->pblk ||
		a->flags != b->flags)
		return;
	if ((uint64_t)a->nr_blocks + b->nr_blocks > EXTENT_BLOCKS_MAX)
		return;
	a->nr_blocks += b->nr_blocks;
	edit_delete(p, at + 1);
}

/* Cut extent AT in two at LBLK, which lies inside it. */
static void edit_cut(struct place *p, unsigned at, uint64_t lblk)
{
	struct extent *a = &p->e[at];
	uint32_t first = (uint32_t)(lblk - a->lblk);

	edit_open(p, at, 1);
	a[0].nr_blocks = first;
	a[1].lblk += first;
	a[1].pblk += first;
	a[1].nr_blocks -= first;
}

/* Cut around [from, to), part of extent AT. Returns the index of what is exactly that. */
static unsigned edit_isolate(struct place *p, unsigned at, uint64_t from, uint64_t to)
{
	if (extent_end(&p->e[at]) > to)
		edit_cut(p, at, to);
	if (p->e[at].lblk < from) {
		edit_cut(p, at, from);
		at++;
	}
	return at;
}

/* ---- looking ---- */

static void map_found(const struct extent *e, uint64_t lblk, uint32_t max, struct extent *out)
{
	uint32_t skip = (uint32_t)(lblk - e->lblk);
	uint32_t nr = e->nr_blocks - skip;

	*out = (struct extent){lblk, e->pblk + skip, nr < max ? nr : max, e->flags};
}

static void map_hole(uint64_t lblk, uint64_t next, uint32_t max, struct extent *out)
{
	uint64_t nr = next - lblk;

	*out = (struct extent){.lblk = lblk, .nr_blocks = nr < max ? (uint32_t)nr : max};
}

static void map_inline(const struct inode *inode, uint64_t lblk, uint32_t max, struct extent *out)
{
	unsigned nr = inode->fork_format == FORK_EXTENTS ? inode->fork_count : 0;
	const struct extent *e = inode->fork.extents;

	for (; nr > 0; nr--, e++) {
		if (e->lblk > lblk)
			break;
		if (extent_end(e) > lblk) {
			map_found(e, lblk, max, out);
			return;
		}
	}
	map_hole(lblk, nr > 0 ? e->lblk : lblk + max, max, out);
}

/* How many of a leaf's records begin at or before LBLK. What it says of an unsorted leaf is wrong,
 * yet in bounds, and its caller checks the records that he uses. */
static unsigned leaf_count_to(const struct buf *b, unsigned nr, uint64_t lblk)
{
	const struct extent_disk *rec = leaf_of(b)->rec;
	unsigned lo = 0, hi = nr;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (le64_get(rec[mid].lblk) <= lblk)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Where the first extent of the leaf after PATH's begins; LBLK_END: there is none. */
static int tree_after(
	struct fs_thread *t, struct inode *inode, struct btree_path *path, uint64_t *lblk)
{
	struct btree bt = extent_tree(inode);
	unsigned nr;
	int err;

	err = btree_next_leaf(t, &bt, path);
	if (err == -ENOENT) {
		*lblk = LBLK_END;
		return 0;
	}
	if (err == 0)
		err = leaf_nr(inode, path->leaf, &nr);
	if (err == 0)
		*lblk = le64_get(leaf_of(path->leaf)->rec[0].lblk);
	return err;
}

/* PATH is at LBLK's leaf. */
static int map_in_leaf(struct fs_thread *t, struct inode *inode, struct btree_path *path,
	uint64_t lblk, uint32_t max, struct extent *out)
{
	struct buf *leaf = path->leaf;
	uint64_t next = LBLK_END;
	struct extent e = {0};
	unsigned nr = 0, i;
	int err;

	err = leaf_nr(inode, leaf, &nr);
	if (err < 0)
		return err;
	i = leaf_count_to(leaf, nr, lblk);
	if (i < nr)
		next = le64_get(leaf_of(leaf)->rec[i].lblk);
	if (i > 0) {
		err = leaf_record(inode, leaf, i - 1, &e);
		if (err < 0)
			return err;
		if (extent_end(&e) > next)
			return corrupt_leaf(inode, leaf, "records out of order");
		if (extent_end(&e) > lblk) {
			map_found(&e, lblk, max, out);
			return 0;
		}
	}
	if (i == nr) {
		err = tree_after(t, inode, path, &next);
		if (err < 0)
			return err;
		if (next <= lblk)
			return corrupt_leaf(inode, path->leaf, "records out of order");
	}
	map_hole(lblk, next, max, out);
	return 0;
}

int extent_map(
	struct fs_thread *t, struct inode *inode, uint64_t lblk, uint32_t max, struct extent *out)
{
	struct btree bt = extent_tree(inode);
	struct btree_path path;
	int err;

	if (inode->fork_format != FORK_BTREE || lblk >= LBLK_END) {
		map_inline(inode, lblk, max, out);
		return 0;
	}
	err = btree_find(t, &bt, lblk, &path);
	if (err < 0)
		return err;
	err = map_in_leaf(t, inode, &path, lblk, max, out);
	btree_path_put(&path);
	return err;
}

int extent_last(struct fs_thread *t, struct inode *inode, struct extent *out)
{
	struct place p;
	unsigned at;
	int err;

	err = place_seek(t, inode, LBLK_END, &p, &at);
	if (err < 0)
		return err;
	*out = p.e[at];
	place_put(&p);
	return 0;
}

/* ---- changing ---- */

/* Add NEW, or what of it P may hold. *NR: how many blocks that was. Puts the place. */
static int insert_in(
	struct tx_handle *h, struct inode *inode, struct place *p, struct extent new, uint32_t *nr)
{
	unsigned at = place_count_to(p, new.lblk);
	int err;

	if (extent_end(&new) > p->end)
		new.nr_blocks = (uint32_t)(p->end - new.lblk);
	if ((at > 0 && extent_end(&p->e[at - 1]) > new.lblk) ||
		(at < p->nr && extent_end(&new) > p->e[at].lblk)) {
		place_put(p);
		return fs_corrupt(inode->fs, 0, "inode %llu: extents overlap at block %llu",
			(unsigned long long)inode->ino, (unsigned long long)new.lblk);
	}
	edit_open(p, at, 1);
	p->e[at] = new;
	edit_merge(p, at);
	if (at > 0)
		edit_merge(p, at - 1);
	err = place_store(h, inode, p, at);
	*nr = new.nr_blocks;
	return err;
}

int extent_insert(struct tx_handle *h, struct inode *inode, const struct extent *new)
{
	struct extent left = *new;

	while (left.nr_blocks > 0) {
		struct place p;
		uint32_t nr = 0;
		int err;

		err = place_load(h->t, inode, left.lblk, &p);
		if (err == 0)
			err = insert_in(h, inode, &p, left, &nr);
		if (err < 0)
			return err;
		inode->nr_blocks += nr;
		left.lblk += nr;
		left.pblk += nr;
		left.nr_blocks -= nr;
	}
	return 0;
}

static int set_flags(
	struct tx_handle *h, struct inode *inode, uint64_t lblk, uint32_t nr_blocks, uint32_t flags)
{
	struct place p;
	unsigned at;
	int err;

	err = place_seek(h->t, inode, lblk, &p, &at);
	if (err < 0)
		return err == -ENOENT ? -EINVAL : err;
	if (lblk + nr_blocks > extent_end(&p.e[at]) || p.e[at].flags == flags) {
		place_put(&p);
		return -EINVAL;
	}
	at = edit_isolate(&p, at, lblk, lblk + nr_blocks);
	p.e[at].flags = flags;
	edit_merge(&p, at);
	if (at > 0)
		edit_merge(&p, at - 1);
	return place_store(h, inode, &p, at);
}

int extent_convert(struct tx_handle *h, struct inode *inode, uint64_t lblk, uint32_t nr_blocks)
{
	return set_flags(h, inode, lblk, nr_blocks, 0);
}

int extent_unwrite(struct tx_handle *h, struct inode *inode, uint64_t lblk, uint32_t nr_blocks)
{
	return set_flags(h, inode, lblk, nr_blocks, EXTENT_F_UNWRITTEN);
}

/* Free [from, to) of extent AT and unmap it. Puts the place. */
static int remove_part(struct tx_handle *h, struct inode *inode, struct place *p, unsigned at,
	uint64_t from, uint64_t to)
{
	uint32_t nr = (uint32_t)(to - from);
	int err;

	if (inode->nr_blocks < nr) {
		place_put(p);
		return fs_corrupt(inode->fs, 0, "inode %llu: has more blocks than it counts",
			(unsigned long long)inode->ino);
	}
	err = alloc_free(h, p->e[at].pblk + (from - p->e[at].lblk), nr, false);
	if (err < 0) {
		place_put(p);
		return err;
	}
	at = edit_isolate(p, at, from, to);
	edit_delete(p, at);
	err = place_store(h, inode, p, at);
	if (err < 0)
		return fs_abort(inode->fs, err, "inode %llu: extents half removed",
			(unsigned long long)inode->ino);
	inode->nr_blocks -= nr;
	return 0;
}

int extent_remove_some(
	struct tx_handle *h, struct inode *inode, uint64_t lblk, uint64_t end, bool *more)
{
	uint64_t from, to;
	bool before;
	struct place p;
	unsigned at;
	int err;

	*more = false;
	if (lblk >= end)
		return 0;
	err = place_seek(h->t, inode, end - 1, &p, &at);
	if (err < 0)
		return err == -ENOENT ? 0 : err;
	from = p.e[at].lblk > lblk ? p.e[at].lblk : lblk;
	to = extent_end(&p.e[at]) < end ? extent_end(&p.e[at]) : end;
	if (from >= to) {
		place_put(&p);
		return 0;
	}
	/* Of what is in the leaf before nothing is known here: say yes, the next call looks. */
	before = at > 0 ? extent_end(&p.e[at - 1]) > lblk : p.in_tree && from > lblk;
	err = remove_part(h, inode, &p, at, from, to);
	if (err == 0)
		*more = before && inode->fork_format != FORK_NONE;
	return err;
}
