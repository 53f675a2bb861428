/* btree.h - B+trees of metadata blocks, for extents and for directories.
 *
 * Nodes (struct node_disk) are handled here; what is in a leaf is its owner's. The root is a block
 * number and a height, kept in the inode's fork. Caller holds inode->lock: for reading to search,
 * for writing to change. A path pins its blocks. */
#ifndef VBLKFS_BTREE_H
#define VBLKFS_BTREE_H
#include "tx.h"

struct inode;

struct btree {
	struct inode *inode; /* owner; its fork has root and height, its nr_blocks counts */
	enum block_type leaf_type, node_type;
};

/* Where a block of metadata of INODE would best be: in its group. */
uint64_t btree_goal(const struct inode *inode);

struct btree_path {
	unsigned height; /* 0: the root is the leaf */
	struct buf *leaf;
	struct buf *node[BTREE_HEIGHT_MAX]; /* [0] is the leaf's parent */
	unsigned index[BTREE_HEIGHT_MAX];   /* which record was followed */
};

/* First block of an empty tree: one leaf, joined, payload zeroed. The fork becomes FORK_BTREE. */
int btree_create(struct tx_handle *h, const struct btree *bt, struct buf **leaf);
/* Go to the leaf that holds KEY or would. -EUCLEAN on a node that breaks the format. */
int btree_find(struct fs_thread *t, const struct btree *bt, uint64_t key, struct btree_path *path);
/* On to the next leaf in key order; -ENOENT at the end: the path stays. Another error puts it.
 * Likewise back. */
int btree_next_leaf(struct fs_thread *t, const struct btree *bt, struct btree_path *path);
int btree_prev_leaf(struct fs_thread *t, const struct btree *bt, struct btree_path *path);
void btree_path_put(struct btree_path *path); /* may be called again */
void btree_path_copy(struct btree_path *to, const struct btree_path *from); /* a path of its own */
/* The keys that the leaf may hold: *LO up to below *HI. Who reads a leaf checks this: nobody else
 * does. */
void btree_leaf_range(const struct btree_path *path, uint64_t *lo, uint64_t *hi);

/* Make a new leaf right after path->leaf, for keys from KEY up; nodes are split as needed, and the
 * tree may grow. *OUT is the new leaf, joined, zeroed, referenced; the path stays at the old leaf
 * and is valid for it only (search again). On an error nothing has changed; -EUCLEAN: KEY is not
 * within the leaf's range. */
int btree_add_leaf(struct tx_handle *h, const struct btree *bt, struct btree_path *path,
	uint64_t key, struct buf **out);
/* Free path->leaf, whatever it still holds, and nodes that become empty; the tree may shrink. Puts
 * the path, on an error too; then nothing has changed. When the last leaf goes, the fork becomes
 * FORK_NONE. */
int btree_remove_leaf(struct tx_handle *h, const struct btree *bt, struct btree_path *path);
#endif
