/* dump_inode.c - inodes, their trees and extended attributes.
 *
 * Invariants
 *  1. A walk through a tree takes each block once, and levels fall by one at each step: so it ends,
 *     whatever the blocks say. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "dump.h"

#define XATTR_AREAS_MAX 17U

/* --- trees --- */

struct walk {
	struct dump *d;
	struct dump_tree *tree;
	struct dump_seen *seen;
};

static int broken(struct walk *w, uint64_t block, const char *why)
{
	if (w->tree->broken != NULL)
		w->tree->broken(w->tree, block, why);
	return 0;
}

static int walk_block(struct walk *w, uint64_t block, unsigned level)
{
	enum block_type type = level == 0 ? w->tree->leaf_type : w->tree->node_type;
	struct node_disk node; /* or a leaf */
	unsigned nr;
	int err;

	if (dump_seen(&w->seen, block))
		return broken(w, block, "is in the tree twice");
	if (dump_read(w->d, block, &node) < 0)
		return broken(w, block, dump_error(w->d));
	if (!dump_is_type(&node, type))
		return broken(w, block,
			level == 0 ? "magic wrong: no leaf of this tree"
				   : "magic wrong: no node of this tree");
	err = w->tree->fn(w->tree, block, level, (const uint8_t *)&node);
	if (err != 0 || level == 0)
		return err;
	if (le16_get(node.level) != level) /* its magic is right, so it is followed all the same */
		(void)broken(w, block, "level wrong");
	nr = le16_get(node.nr);
	for (unsigned i = 0; i < nr && i < NODE_RECORDS && err == 0; i++)
		err = walk_block(w, le64_get(node.rec[i].child), level - 1);
	return err;
}

int dump_tree_walk(struct dump *d, struct dump_tree *tree)
{
	struct walk w = {.d = d, .tree = tree};
	int err;

	if (tree->height > BTREE_HEIGHT_MAX)
		return broken(&w, tree->root, "height wrong: not followed");
	err = walk_block(&w, tree->root, tree->height);
	dump_seen_free(&w.seen);
	return err;
}

static void tree_of(const struct inode_disk *inode, struct dump_tree *tree)
{
	const struct fork_btree *fork = (const struct fork_btree *)inode->fork;
	bool is_dir = S_ISDIR(le32_get(inode->mode));

	tree->ino = le64_get(inode->ino);
	tree->root = le64_get(fork->root);
	tree->height = le32_get(fork->height);
	tree->leaf_type = is_dir ? BT_DIR_LEAF : BT_EXTENT_LEAF;
	tree->node_type = is_dir ? BT_DIR_NODE : BT_EXTENT_NODE;
}

/* --- finding --- */

int dump_inode_spot(struct dump *d, uint64_t ino, struct dump_spot *out)
{
	const struct dump_geometry *g = &d->geo;
	uint64_t group, slot;
	int err = dump_need_geometry(d);

	if (err < 0)
		return err;
	if (ino == 0 || ino > (uint64_t)g->nr_groups * g->inodes_per_group)
		return dump_fail(d, -EINVAL, "no inode %" PRIu64 ": they are 1 to %" PRIu64, ino,
			(uint64_t)g->nr_groups * g->inodes_per_group);
	group = (ino - 1) / g->inodes_per_group;
	slot = (ino - 1) % g->inodes_per_group;
	out->block = group * g->group_blocks + GROUP_BITMAP + g->bitmap_blocks + g->ibitmap_blocks +
		     slot / INODES_PER_BLOCK;
	out->offset = (unsigned)(offsetof(struct inodes_disk, inode) +
				 slot % INODES_PER_BLOCK * INODE_BYTES);
	return 0;
}

int dump_inode_get(struct dump *d, uint64_t ino, struct inode_disk *out, struct inodes_disk *table)
{
	struct dump_spot spot;
	int err = dump_inode_spot(d, ino, &spot);

	if (err == 0)
		err = dump_read(d, spot.block, table);
	if (err < 0)
		return err;
	if (!dump_is_type(table, BT_INODES))
		return dump_fail(d, -ENOENT,
			"inode %" PRIu64 ": block %" PRIu64
			" of the inode table is not initialised, or damaged",
			ino, spot.block);
	memcpy(out, (const uint8_t *)table + spot.offset, sizeof(*out));
	return 0;
}

struct finder {                /* of extent K */
	struct dump_tree tree; /* first */
	uint64_t k;
	struct dump_spot *out;
};

static int count_extents(
	struct dump_tree *tree, uint64_t block, unsigned level, const uint8_t *data)
{
	struct finder *f = (struct finder *)tree;
	const struct extent_leaf_disk *leaf = (const struct extent_leaf_disk *)data;
	unsigned nr = le16_get(leaf->nr);

	if (level > 0)
		return 0;
	if (nr > EXTENT_LEAF_RECORDS)
		nr = EXTENT_LEAF_RECORDS;
	if (f->k >= nr) {
		f->k -= nr;
		return 0;
	}
	f->out->block = block;
	f->out->offset = (unsigned)(offsetof(struct extent_leaf_disk, rec) +
				    f->k * sizeof(struct extent_disk));
	return 1;
}

int dump_extent_spot(struct dump *d, uint64_t ino, uint64_t k, struct dump_spot *out)
{
	struct inodes_disk table;
	struct inode_disk inode;
	struct finder f = {.tree = {.fn = count_extents}, .k = k, .out = out};
	int err = dump_inode_get(d, ino, &inode, &table);

	if (err < 0)
		return err;
	if (inode.fork_format == FORK_EXTENTS && k < INODE_INLINE_EXTENTS) {
		err = dump_inode_spot(d, ino, out);
		out->offset += (unsigned)(offsetof(struct inode_disk, fork) +
					  k * sizeof(struct extent_disk));
		return err;
	}
	if (inode.fork_format == FORK_BTREE && !S_ISDIR(le32_get(inode.mode))) {
		tree_of(&inode, &f.tree);
		err = dump_tree_walk(d, &f.tree);
		if (err != 0)
			return err < 0 ? err : 0;
	}
	return dump_fail(d, -ENOENT, "inode %" PRIu64 " has no extent %" PRIu64, ino, k);
}

int dump_dir_walk(struct dump *d, uint64_t ino, struct dump_tree *tree)
{
	struct inodes_disk table;
	struct inode_disk inode;
	int err = dump_inode_get(d, ino, &inode, &table);

	if (err < 0)
		return err;
	if (!S_ISDIR(le32_get(inode.mode)))
		return dump_fail(d, -ENOTDIR, "inode %" PRIu64 " is no directory", ino);
	if (inode.fork_format != FORK_BTREE)
		return 0;
	tree_of(&inode, tree);
	return dump_tree_walk(d, tree);
}

/* --- extended attributes --- */

static const struct dump_column xattr_columns[] = {
	{"area", 12}, {"offset", 6}, {"name", -32}, {"value_bytes", 11}, {"value", -1}, {NULL, 0}};

static void show_xattr(struct dump_out *o, const struct xattr_disk *e)
{
	const char *prefix = dump_enum_name(dump_xattr_spaces, e->space);
	uint16_t value_bytes = le16_get(e->value_bytes);
	char name[32 + FS_NAME_MAX];
	size_t n = 0;

	if (prefix != NULL)
		n = (size_t)snprintf(name, sizeof(name), "%s", prefix);
	memcpy(name + n, e->data, e->name_bytes);
	dump_show(o, "space", e->space);
	dump_show_bytes(o, "name", name, n + e->name_bytes);
	dump_show(o, "value_bytes", value_bytes);
	dump_show_bytes(o, "value", e->data + e->name_bytes, value_bytes);
}

/* Rows, one for each entry of the area in BLOCK (0: the inode). */
static void show_area(struct dump_out *o, uint64_t block, const uint8_t *area, uint32_t bytes)
{
	uint32_t at = 0, head = offsetof(struct xattr_disk, data);

	while (at < bytes) {
		const struct xattr_disk *e = (const struct xattr_disk *)(area + at);
		uint32_t len =
			bytes - at < head
				? 0
				: (head + e->name_bytes + le16_get(e->value_bytes) + 3U) & ~3U;

		o->open(o, NULL, DUMP_ROW, NULL);
		dump_show(o, "area", block);
		dump_show(o, "offset", at);
		if (len == 0 || len > bytes - at) {
			dump_show_string(o, "fault", "reaches beyond its area");
			len = bytes - at;
		} else {
			show_xattr(o, e);
		}
		o->close(o);
		at += len;
	}
}

void dump_show_xattrs(struct dump_out *o, uint64_t block, const uint8_t *area, uint32_t bytes)
{
	o->open(o, "xattrs", DUMP_LIST, xattr_columns);
	show_area(o, block, area, bytes);
	o->close(o);
}

static void show_xattr_blocks(struct dump *d, struct dump_out *o, const struct inode_disk *inode)
{
	uint64_t block = le64_get(inode->xattr_block);
	struct xattr_block_disk x;

	for (unsigned i = 1; i < XATTR_AREAS_MAX && block != 0; i++) {
		uint32_t bytes;

		if (dump_read(d, block, &x) < 0 || !dump_is_type(&x, BT_XATTR)) {
			o->open(o, NULL, DUMP_ROW, NULL);
			dump_show(o, "area", block);
			dump_show_string(o, "fault", "is no block of attributes");
			o->close(o);
			return;
		}
		bytes = le32_get(x.bytes);
		show_area(o, block, x.data, bytes < sizeof(x.data) ? bytes : sizeof(x.data));
		block = le64_get(x.next);
	}
}

static void show_all_xattrs(struct dump *d, struct dump_out *o, const struct inode_disk *inode)
{
	uint32_t bytes = le16_get(inode->xattr_bytes);

	o->open(o, "xattrs", DUMP_LIST, xattr_columns);
	show_area(o, 0, inode->xattr, bytes < INODE_XATTR_BYTES ? bytes : INODE_XATTR_BYTES);
	show_xattr_blocks(d, o, inode);
	o->close(o);
}

/* --- extents --- */

static const struct dump_column extent_columns[] = {{"lblk", 12}, {"pblk", 12}, {"nr_blocks", 10},
	{"leaf", 12}, {"flags", -10}, {"fault", -1}, {NULL, 0}};
static const struct dump_column tree_columns[] = {
	{"level", 5}, {"block", 12}, {"nr", 5}, {"fault", -1}, {NULL, 0}};

struct shower {                /* of a tree */
	struct dump_tree tree; /* first */
	struct dump *d;
	struct dump_out *o;
};

static void show_extent(struct dump_out *o, const struct extent_disk *e, uint64_t leaf)
{
	o->open(o, NULL, DUMP_ROW, NULL);
	dump_show_fields(o, &dump_extent_layout, e);
	if (leaf != 0)
		dump_show(o, "leaf", leaf);
	o->close(o);
}

static int show_tree_extents(
	struct dump_tree *tree, uint64_t block, unsigned level, const uint8_t *data)
{
	struct shower *s = (struct shower *)tree;
	const struct extent_leaf_disk *leaf = (const struct extent_leaf_disk *)data;
	unsigned nr = le16_get(leaf->nr);

	for (unsigned i = 0; level == 0 && i < nr && i < EXTENT_LEAF_RECORDS; i++)
		show_extent(s->o, &leaf->rec[i], block);
	return 0;
}

static void show_tree_row(struct shower *s, uint64_t block, unsigned nr, const char *fault)
{
	s->o->open(s->o, NULL, DUMP_ROW, NULL);
	dump_show(s->o, "block", block);
	if (nr != 0)
		dump_show(s->o, "nr", nr);
	dump_show_string(s->o, "fault", fault == NULL ? "" : fault);
}

static int show_tree_block(
	struct dump_tree *tree, uint64_t block, unsigned level, const uint8_t *data)
{
	struct shower *s = (struct shower *)tree;
	struct dump_faults f = {.block = block, .owner = tree->ino};

	/* nr is in the same place in all of them */
	show_tree_row(s, block, le16_get(((const struct node_disk *)data)->nr),
		dump_next_fault(s->d, data, &f));
	dump_show(s->o, "level", level);
	s->o->close(s->o);
	return 0;
}

static void show_broken(struct dump_tree *tree, uint64_t block, const char *why)
{
	struct shower *s = (struct shower *)tree;

	show_tree_row(s, block, 0, why);
	s->o->close(s->o);
}

static int show_extents(struct dump *d, struct dump_out *o, const struct inode_disk *inode)
{
	const struct extent_disk *in_inode = (const struct extent_disk *)inode->fork;
	struct shower s = {.tree = {.fn = show_tree_extents}, .d = d, .o = o};
	int err = 0;

	o->open(o, "extents", DUMP_LIST, extent_columns);
	for (unsigned i = 0; inode->fork_format == FORK_EXTENTS && i < inode->fork_count &&
			     i < INODE_INLINE_EXTENTS;
		i++)
		show_extent(o, &in_inode[i], 0);
	if (inode->fork_format == FORK_BTREE) {
		tree_of(inode, &s.tree);
		err = dump_tree_walk(d, &s.tree);
	}
	o->close(o);
	return err;
}

static int show_tree(struct dump *d, struct dump_out *o, const struct inode_disk *inode)
{
	struct shower s = {.tree = {.fn = show_tree_block, .broken = show_broken}, .d = d, .o = o};
	int err;

	o->open(o, "tree", DUMP_LIST, tree_columns);
	tree_of(inode, &s.tree);
	err = dump_tree_walk(d, &s.tree);
	o->close(o);
	return err;
}

int dump_extents(struct dump *d, struct dump_out *o, uint64_t ino)
{
	struct inodes_disk table;
	struct inode_disk inode;
	int err = dump_inode_get(d, ino, &inode, &table);

	if (err < 0)
		return err;
	o->open(o, NULL, DUMP_OBJECT, NULL);
	dump_show(o, "ino", ino);
	dump_show_field(o, dump_find_field(&dump_inode_layout, "fork_format"), &inode);
	if (inode.fork_format == FORK_BTREE)
		err = show_tree(d, o, &inode);
	if (err == 0 && !S_ISDIR(le32_get(inode.mode)))
		err = show_extents(d, o, &inode);
	o->close(o);
	return err;
}

/* --- an inode --- */

static int show_fork(struct dump *d, struct dump_out *o, const struct inode_disk *inode)
{
	switch (inode->fork_format) {
	case FORK_EXTENTS:
		return show_extents(d, o, inode);
	case FORK_BTREE:
	case FORK_SYMLINK_BLOCK:
		o->open(o, "fork", DUMP_ROW, NULL);
		dump_show_fields(o, &dump_fork_layout, inode);
		o->close(o);
		break;
	case FORK_SYMLINK:
		dump_show_bytes(o, "target", inode->fork,
			strnlen((const char *)inode->fork, sizeof(inode->fork)));
		break;
	default:
		break;
	}
	return 0;
}

int dump_inode(struct dump *d, struct dump_out *o, uint64_t ino)
{
	struct inodes_disk table;
	struct inode_disk inode;
	struct dump_spot spot;
	int err = dump_inode_get(d, ino, &inode, &table);

	if (err == 0)
		err = dump_inode_spot(d, ino, &spot);
	if (err < 0)
		return err;
	o->open(o, NULL, DUMP_OBJECT, NULL);
	dump_show(o, "inode", ino);
	dump_show(o, "block", spot.block);
	dump_show(o, "offset", spot.offset);
	dump_show_bool(o, "in_use", le64_get(inode.ino) != 0);
	dump_show_head(d, o, spot.block, &table, BT_INODES, (ino - 1) / d->geo.inodes_per_group);
	dump_show_fields(o, &dump_inode_layout, &inode);
	err = show_fork(d, o, &inode);
	show_all_xattrs(d, o, &inode);
	o->close(o);
	return err;
}
