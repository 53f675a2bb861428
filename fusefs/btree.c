/* btree.c - nodes of B+trees: finding a leaf, adding one, removing one.
 *
 * Invariants
 *  1. A node at level L has 1 to NODE_RECORDS records; its children are at level L - 1, leaves are
 *     level 0.
 *  2. Keys rise strictly. Record 0's key is not used (it is written as zero): whatever sends a
 *     search to the node bounds it.
 *  3. A search believes only the records that it touches, and of these it checks order and range;
 *     so a crafted node costs an error, never a wild block, a loop or an endless walk: levels fall
 *     on the way down, and who reads leaves checks their keys against btree_leaf_range().
 *  4. A change allocates, joins and checks all it needs first. Up to that point an error leaves the
 *     tree as it was.
 *  5. Nodes are never merged: a node goes when it is empty, a root when it has one child left. */
#include <errno.h>
#include <string.h>
#include "alloc.h"
#include "btree.h"
#include "inode.h"

#define NEW_BLOCKS_MAX \
	(BTREE_HEIGHT_MAX + 1U) /* a leaf, and one a level: a split node's half or a new root */

static struct node_disk *node_of(const struct buf *b)
{
	return (struct node_disk *)b->data;
}

static unsigned node_nr(const struct buf *b)
{
	return le16_get(node_of(b)->nr);
}

static uint64_t node_key(const struct buf *b, unsigned i)
{
	return le64_get(node_of(b)->rec[i].key);
}

static uint64_t node_child(const struct buf *b, unsigned i)
{
	return le64_get(node_of(b)->rec[i].child);
}

/* The block at LEVEL that FROM (a node; 0: the inode) leads to. */
static int get_child(struct fs_thread *t, const struct btree *bt, uint64_t from, uint64_t block,
	unsigned level, struct buf **out)
{
	struct buf *b;
	int err;

	if (block == 0 || block >= t->fs->nr_blocks)
		return fs_corrupt(t->fs, from, "inode %llu: tree leads to block %llu",
			(unsigned long long)bt->inode->ino, (unsigned long long)block);
	err = cache_get(t, block, level == 0 ? bt->leaf_type : bt->node_type, bt->inode->ino, &b);
	if (err < 0)
		return err;
	if (level > 0 && (le16_get(node_of(b)->level) != level || node_nr(b) == 0 ||
				 node_nr(b) > NODE_RECORDS)) {
		err = fs_corrupt(t->fs, block, "inode %llu: tree node of level %u, %u records",
			(unsigned long long)bt->inode->ino, le16_get(node_of(b)->level),
			node_nr(b));
		cache_put(b);
		return err;
	}
	*out = b;
	return 0;
}

/* Which record of B leads to KEY. *LO and *HI bound the keys below B on the way in, and below that
 * record on return. */
static int node_search(struct fs *fs, const struct buf *b, uint64_t key, uint64_t *lo, uint64_t *hi,
	unsigned *index)
{
	unsigned left = 0, right = node_nr(b);

	while (right - left > 1) {
		unsigned mid = (left + right) / 2;
		uint64_t k = node_key(b, mid);

		if (k <= *lo || k >= *hi)
			return fs_corrupt(fs, b->block, "tree node: key %u is out of order", mid);
		if (k <= key) {
			left = mid;
			*lo = k;
		} else {
			right = mid;
			*hi = k;
		}
	}
	*index = left;
	return 0;
}

void btree_path_put(struct btree_path *path)
{
	cache_put(path->leaf);
	for (unsigned i = 0; i < BTREE_HEIGHT_MAX; i++)
		cache_put(path->node[i]);
	memset(path, 0, sizeof(*path));
}

int btree_find(struct fs_thread *t, const struct btree *bt, uint64_t key, struct btree_path *path)
{
	uint64_t block = bt->inode->fork.btree.root, from = 0;
	uint64_t lo = 0, hi = UINT64_MAX;
	int err = 0;

	memset(path, 0, sizeof(*path));
	path->height = bt->inode->fork.btree.height;
	if (path->height > BTREE_HEIGHT_MAX)
		return fs_corrupt(t->fs, 0, "inode %llu: tree of height %u",
			(unsigned long long)bt->inode->ino, path->height);
	for (unsigned i = path->height; i-- > 0 && err == 0;) {
		err = get_child(t, bt, from, block, i + 1, &path->node[i]);
		if (err == 0)
			err = node_search(t->fs, path->node[i], key, &lo, &hi, &path->index[i]);
		if (err == 0) {
			from = path->node[i]->block;
			block = node_child(path->node[i], path->index[i]);
		}
	}
	if (err == 0)
		err = get_child(t, bt, from, block, 0, &path->leaf);
	if (err < 0)
		btree_path_put(path);
	return err;
}

/* Follow PATH's record of level TOP down to a leaf, keeping to the first or the LAST record of each
 * node below. */
static int descend(struct fs_thread *t, const struct btree *bt, struct btree_path *path,
	unsigned top, bool last)
{
	int err = 0;

	cache_put(path->leaf);
	path->leaf = NULL;
	for (unsigned i = top; err == 0; i--) {
		struct buf *up = path->node[i];
		uint64_t block = node_child(up, path->index[i]);

		if (i == 0) {
			err = get_child(t, bt, up->block, block, 0, &path->leaf);
			break;
		}
		cache_put(path->node[i - 1]);
		path->node[i - 1] = NULL;
		err = get_child(t, bt, up->block, block, i, &path->node[i - 1]);
		if (err == 0)
			path->index[i - 1] = last ? node_nr(path->node[i - 1]) - 1 : 0;
	}
	if (err < 0)
		btree_path_put(path);
	return err;
}

int btree_next_leaf(struct fs_thread *t, const struct btree *bt, struct btree_path *path)
{
	unsigned i = 0;

	while (i < path->height && path->index[i] + 1 == node_nr(path->node[i]))
		i++;
	if (i == path->height)
		return -ENOENT;
	path->index[i]++;
	return descend(t, bt, path, i, false);
}

int btree_prev_leaf(struct fs_thread *t, const struct btree *bt, struct btree_path *path)
{
	unsigned i = 0;

	while (i < path->height && path->index[i] == 0)
		i++;
	if (i == path->height)
		return -ENOENT;
	path->index[i]--;
	return descend(t, bt, path, i, true);
}

void btree_leaf_range(const struct btree_path *path, uint64_t *lo, uint64_t *hi)
{
	unsigned i = 0;

	*lo = 0;
	*hi = UINT64_MAX;
	while (i < path->height && path->index[i] == 0)
		i++;
	if (i < path->height)
		*lo = node_key(path->node[i], path->index[i]);
	i = 0;
	while (i < path->height && path->index[i] + 1 == node_nr(path->node[i]))
		i++;
	if (i < path->height)
		*hi = node_key(path->node[i], path->index[i] + 1);
}

void btree_path_copy(struct btree_path *to, const struct btree_path *from)
{
	*to = *from;
	cache_ref(to->leaf);
	for (unsigned i = 0; i < to->height; i++)
		cache_ref(to->node[i]);
}

/* Back out of a change that could not get all its blocks. */
static void give_back(struct tx_handle *h, struct buf **new, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		uint64_t block = new[i]->block;

		cache_put(new[i]);
		/* Failing, it leaks a block in a filesystem that has just failed. */
		alloc_free(h, block, 1, true);
	}
}

/* NR blocks as near after GOAL as there are: NEW[0] a leaf, the rest nodes of rising level. */
static int take_blocks(
	struct tx_handle *h, const struct btree *bt, uint64_t goal, unsigned nr, struct buf **new)
{
	for (unsigned i = 0; i < nr; i++) {
		uint64_t block;
		uint32_t got;
		int err = alloc_blocks(h, goal, 1, &block, &got);

		if (err == 0) {
			err = cache_get_new(h, block, i == 0 ? bt->leaf_type : bt->node_type,
				bt->inode->ino, &new[i]);
			if (err != 0)
				alloc_free(h, block, 1, true);
		}
		if (err != 0) {
			give_back(h, new, i);
			return err;
		}
		if (i > 0)
			node_of(new[i])->level = le16_of((uint16_t)i);
		goal = block + 1;
	}
	return 0;
}

uint64_t btree_goal(const struct inode *inode)
{
	return fs_group_start(
		inode->fs, (uint32_t)((inode->ino - 1) / inode->fs->inodes_per_group));
}

int btree_create(struct tx_handle *h, const struct btree *bt, struct buf **leaf)
{
	struct inode *inode = bt->inode;
	struct buf *new;
	int err;

	err = take_blocks(h, bt, btree_goal(inode), 1, &new);
	if (err < 0)
		return err;
	inode->fork_format = FORK_BTREE;
	inode->fork_count = 0;
	memset(&inode->fork, 0, sizeof(inode->fork));
	inode->fork.btree.root = new->block;
	inode->nr_blocks++;
	*leaf = new;
	return 0;
}

static void node_insert(struct buf *b, unsigned at, uint64_t key, uint64_t child)
{
	struct node_disk *n = node_of(b);
	unsigned nr = node_nr(b);

	memmove(&n->rec[at + 1], &n->rec[at], (nr - at) * sizeof(n->rec[0]));
	n->rec[at] = (struct node_record){le64_of(key), le64_of(child)};
	n->nr = le16_of((uint16_t)(nr + 1));
}

static void node_remove(struct buf *b, unsigned at)
{
	struct node_disk *n = node_of(b);
	unsigned nr = node_nr(b);

	memmove(&n->rec[at], &n->rec[at + 1], (nr - at - 1) * sizeof(n->rec[0]));
	memset(&n->rec[nr - 1], 0, sizeof(n->rec[0]));
	n->rec[0].key = le64_of(0);
	n->nr = le16_of((uint16_t)(nr - 1));
}

/* B is full: give its upper half to NEW, and insert at AT of what were B's records. Returns the key
 * that NEW is for. One that comes last goes to NEW alone: files and their extents mostly grow at
 * the end. */
static uint64_t node_split(
	struct buf *b, struct buf *new, unsigned at, uint64_t key, uint64_t child)
{
	struct node_disk *n = node_of(b), *half = node_of(new);
	unsigned keep = at == NODE_RECORDS ? NODE_RECORDS : NODE_RECORDS / 2;
	uint64_t border = at == NODE_RECORDS ? key : node_key(b, keep);

	memcpy(half->rec, &n->rec[keep], (NODE_RECORDS - keep) * sizeof(n->rec[0]));
	memset(&n->rec[keep], 0, (NODE_RECORDS - keep) * sizeof(n->rec[0]));
	n->nr = le16_of((uint16_t)keep);
	half->nr = le16_of((uint16_t)(NODE_RECORDS - keep));
	if (at <= keep && keep < NODE_RECORDS)
		node_insert(b, at, key, child);
	else
		node_insert(new, at - keep, key, child);
	half->rec[0].key = le64_of(0);
	return border;
}

/* Put a record for NEW[0] after PATH's. The lowest NR_SPLIT nodes are full; NEW[1..] are for their
 * halves and the new root. */
static void add_record(const struct btree *bt, struct btree_path *path, uint64_t key,
	unsigned nr_split, struct buf **new)
{
	struct inode *inode = bt->inode;
	uint64_t child = new[0]->block;

	for (unsigned i = 0; i < nr_split; i++) {
		key = node_split(path->node[i], new[i + 1], path->index[i] + 1, key, child);
		child = new[i + 1]->block;
	}
	if (nr_split < path->height) {
		node_insert(path->node[nr_split], path->index[nr_split] + 1, key, child);
	} else {
		node_insert(new[nr_split + 1], 0, 0, inode->fork.btree.root);
		node_insert(new[nr_split + 1], 1, key, child);
		inode->fork.btree.root = new[nr_split + 1]->block;
		inode->fork.btree.height++;
	}
}

int btree_add_leaf(struct tx_handle *h, const struct btree *bt, struct btree_path *path,
	uint64_t key, struct buf **out)
{
	struct buf *new[NEW_BLOCKS_MAX];
	unsigned nr_split = 0, nr_new;
	uint64_t lo, hi;
	int err = 0;

	btree_leaf_range(path, &lo, &hi);
	if (key <= lo || key >= hi)
		return fs_corrupt(h->t->fs, path->leaf->block,
			"inode %llu: leaf holds keys that are not its own",
			(unsigned long long)bt->inode->ino);
	while (nr_split < path->height && node_nr(path->node[nr_split]) == NODE_RECORDS)
		nr_split++;
	if (nr_split == BTREE_HEIGHT_MAX)
		return -ENOSPC;
	for (unsigned i = 0; i <= nr_split && i < path->height && err == 0; i++)
		err = tx_join(h, path->node[i]);
	if (err < 0)
		return err;
	nr_new = 1 + nr_split + (nr_split == path->height);
	err = take_blocks(h, bt, path->leaf->block + 1, nr_new, new);
	if (err < 0)
		return err;

	add_record(bt, path, key, nr_split, new);
	bt->inode->nr_blocks += nr_new;
	for (unsigned i = 1; i < nr_new; i++)
		cache_put(new[i]);
	*out = new[0];
	return 0;
}

/* What goes with a leaf: the nodes that it leaves empty, and roots that it leaves with one
 * child. */
struct removal {
	unsigned nr_empty; /* lowest nodes, which have no other record */
	unsigned height;   /* of the tree after; nodes from here up go too */
	uint64_t root;     /* after; 0: the tree is gone */
};

static int plan_removal(
	struct fs *fs, const struct btree *bt, const struct btree_path *path, struct removal *r)
{
	unsigned i = 0, top = path->height;

	while (i < path->height && node_nr(path->node[i]) == 1)
		i++;
	r->nr_empty = i;
	if (i == path->height) {
		r->height = 0;
		r->root = 0;
		return 0;
	}
	while (top - 1 > i && node_nr(path->node[top - 1]) == 1)
		top--;
	r->height = top;
	r->root = path->node[top - 1]->block;
	if (top - 1 == i && node_nr(path->node[i]) == 2) {
		r->height = i;
		r->root = node_child(path->node[i], path->index[i] == 0 ? 1 : 0);
		if (r->root == 0 || r->root >= fs->nr_blocks)
			return fs_corrupt(fs, path->node[i]->block,
				"inode %llu: tree leads to block %llu",
				(unsigned long long)bt->inode->ino, (unsigned long long)r->root);
	}
	return 0;
}

static int free_blocks(struct tx_handle *h, const struct btree *bt, const struct btree_path *path,
	const struct removal *r)
{
	uint64_t gone[1 + BTREE_HEIGHT_MAX];
	unsigned nr = 0;

	gone[nr++] = path->leaf->block;
	for (unsigned i = 0; i < path->height; i++)
		if (i < r->nr_empty || i >= r->height)
			gone[nr++] = path->node[i]->block;
	if (bt->inode->nr_blocks < nr)
		return fs_corrupt(h->t->fs, 0, "inode %llu: has more blocks than it counts",
			(unsigned long long)bt->inode->ino);
	for (unsigned i = 0; i < nr; i++) {
		int err = alloc_free(h, gone[i], 1, true);

		if (err < 0 && i > 0)
			return fs_abort(h->t->fs, err, "inode %llu: tree half removed",
				(unsigned long long)bt->inode->ino);
		if (err < 0)
			return err;
	}
	bt->inode->nr_blocks -= nr;
	return 0;
}

int btree_remove_leaf(struct tx_handle *h, const struct btree *bt, struct btree_path *path)
{
	struct inode *inode = bt->inode;
	struct removal r;
	bool keeps_node;
	int err;

	err = plan_removal(h->t->fs, bt, path, &r);
	if (err < 0)
		goto put;
	keeps_node = r.nr_empty < r.height; /* its lowest one loses a record */
	if (keeps_node) {
		err = tx_join(h, path->node[r.nr_empty]);
		if (err < 0)
			goto put;
	}
	err = free_blocks(h, bt, path, &r);
	if (err < 0)
		goto put;
	if (keeps_node)
		node_remove(path->node[r.nr_empty], path->index[r.nr_empty]);
	inode->fork.btree.root = r.root;
	inode->fork.btree.height = r.height;
	if (r.root == 0)
		inode->fork_format = FORK_NONE;
put:
	btree_path_put(path);
	return err;
}
