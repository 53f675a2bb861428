/* dump.h - the blocks of a filesystem as named fields: for people, programs and tests that look at
 * a disk which may be damaged.
 *
 * Nothing is mounted, written or replayed: the disk is shown as it stands. Nothing that is read is
 * believed: a block with a wrong checksum is shown all the same, with its faults named, and
 * whatever leads to another place is checked first.
 *
 * One table of fields for each structure (dump_fields.c) serves all who name a field: what is
 * printed, as text or as JSON, and the tests' tool that damages images.
 *
 * Errors are negative errnos; dump_error() says why in one line. A struct dump belongs to one
 * thread. */
#ifndef VBLKFS_DUMP_H
#define VBLKFS_DUMP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "vblkfs.h"
#include "format.h"

/* --- fields --- */

enum dump_kind {
	DUMP_UINT,
	DUMP_INT, /* signed */
	DUMP_HEX,
	DUMP_FLAGS, /* bits with names */
	DUMP_ENUM,
	DUMP_MODE,
	DUMP_TIME,  /* signed seconds since 1970 */
	DUMP_MAGIC, /* enum block_type */
	DUMP_BOOL,
	DUMP_UUID,
	DUMP_TEXT,  /* bytes, up to the first NUL; they may be anything */
	DUMP_BYTES, /* bytes */
};

struct dump_name {
	uint64_t value;
	const char *name; /* NULL: the end */
};

struct dump_field {
	const char *name;
	uint16_t offset, bytes;
	enum dump_kind kind;
	const struct dump_name *names; /* FLAGS, ENUM */
};

/* An array in a structure: NAME[K].FIELD, or NAME[K] alone when the record's only field has an
 * empty name. */
struct dump_records {
	const char *name;
	const struct dump_layout *of;
	uint16_t offset, bytes, max;
	const char *count;         /* the field that has their number; NULL: there are MAX */
	const char *const *column; /* of OF's fields those that a table shows; ends with NULL */
};

struct dump_layout {
	const char *name;      /* "superblock" */
	enum block_type type;  /* 0: no block, but part of one */
	const char *structure; /* vblkfs(5)'s name for it */
	const struct dump_field *field;
	unsigned nr_fields;
	const struct dump_records *records; /* NULL: none */
};

extern const struct dump_layout dump_head, dump_inode_layout, dump_fork_layout;
extern const struct dump_layout dump_extent_layout, dump_dirent_layout, dump_xattr_layout;
extern const struct dump_name dump_xattr_spaces[];

const struct dump_layout *dump_layout_of(uint32_t magic); /* NULL: no block's */
const struct dump_field *dump_find_field(const struct dump_layout *layout, const char *name);
/* PATH names a field of a block that is LAYOUT: "nlink", "rec[3].key", "head.owner". *OFFSET is
 * where it is in the block. NULL: there is none such. */
const struct dump_field *dump_find_path(
	const struct dump_layout *layout, const char *path, unsigned *offset);
/* Of a field of at most 8 bytes, at DATA. */
uint64_t dump_number(const struct dump_field *field, const void *data);

/* --- where it is shown --- */

struct dump_value {
	const char *key;
	enum dump_kind kind;
	const struct dump_name *names;
	uint64_t number;
	const uint8_t *bytes; /* UUID, TEXT, BYTES */
	size_t nr_bytes;
};
/* VALUE as a person reads it. Whatever a terminal might obey is escaped, as \ooo. *OUT is the
 * caller's to free; NULL: no memory. */
char *dump_text(const struct dump_value *value);
/* The names of FLAGS, one by one: the name of the first bit of *REST that has one, which is taken
 * away; NULL: no more. */
const char *dump_next_flag(const struct dump_name *names, uint64_t *rest);
const char *dump_enum_name(const struct dump_name *names, uint64_t value); /* NULL: none */

struct dump_column {
	const char *key;
	int width; /* as printf's: negative is left-aligned */
};

enum dump_form {
	DUMP_OBJECT, /* named values, a line each */
	DUMP_ROW,    /* named values in one line; what is in it may be more */
	DUMP_LIST,   /* objects or rows without a key */
};

/* A document is opened with the key NULL. */
struct dump_out {
	void (*open)(struct dump_out *o, const char *key, enum dump_form form,
		const struct dump_column
			*columns); /* of a list that is a table; ends with key NULL */
	void (*close)(struct dump_out *o);
	void (*value)(struct dump_out *o, const struct dump_value *value);
};

/* --- a disk --- */

struct dump_geometry {
	uint64_t nr_blocks, journal_start, journal_blocks, hash_seed;
	uint32_t group_blocks, nr_groups, inodes_per_group;
	uint32_t bitmap_blocks, ibitmap_blocks, itable_blocks;
	uint8_t uuid[16];
};

struct dump {
	struct blockdev *dev;
	struct blk_queue *q;
	uint64_t disk_blocks;
	struct dump_geometry geo; /* if it is known */
	bool have_geo;
	uint64_t super_at; /* where the superblock is that GEO came from */
	char why_not[256]; /* why it is not known, or did not come from the first one */
	uint8_t *page;     /* of DMA memory; holds block page_at */
	uint64_t page_at;
	char error[256];
};

int dump_open(struct blockdev *dev, struct dump **out); /* without a good superblock, too */
void dump_close(struct dump *d);
const char *dump_error(const struct dump *d);
int dump_fail(struct dump *d, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int dump_need_geometry(struct dump *d);
int dump_read(struct dump *d, uint64_t block, void *data);

/* What is wrong with a block's head, one after another; each call with the same FAULTS gives the
 * next; NULL: no more. */
#define DUMP_ANY UINT64_MAX
struct dump_faults {
	uint64_t block, owner; /* that it should have; DUMP_ANY: nobody knows */
	uint32_t type;         /* likewise; 0: nobody knows */
	unsigned step;
	char text[80];
};
const char *dump_next_fault(const struct dump *d, const void *data, struct dump_faults *faults);
bool dump_is_type(const void *data, enum block_type type);

/* What BLOCK is, by the geometry alone. */
void dump_block_role(const struct dump *d, uint64_t block, char *out, size_t bytes);

struct dump_spot { /* a structure on the disk */
	uint64_t block;
	unsigned offset; /* in the block */
};
int dump_inode_spot(struct dump *d, uint64_t ino, struct dump_spot *out);
int dump_inode_get(struct dump *d, uint64_t ino, struct inode_disk *out, struct inodes_disk *table);
/* The Kth extent of an inode, in the order of its tree. */
int dump_extent_spot(struct dump *d, uint64_t ino, uint64_t k, struct dump_spot *out);
/* The entry of PATH's last component, and its inode's number. The root has no entry. */
int dump_dirent_spot(struct dump *d, const char *path, struct dump_spot *out, uint64_t *ino);
int dump_lookup(struct dump *d, const char *path, uint64_t *ino);

/* The blocks of a tree, parents before children; a damaged one is followed as far as its magic lets
 * it. FN returns 0 to go on. LEVEL 0 are the leaves. */
struct dump_tree {
	uint64_t ino, root;
	uint32_t height;
	enum block_type leaf_type, node_type;
	int (*fn)(struct dump_tree *tree, uint64_t block, unsigned level, const uint8_t *data);
	/* A block that cannot be followed, or not be right. */
	void (*broken)(struct dump_tree *tree, uint64_t block, const char *why);
	void *arg;
};
int dump_tree_walk(struct dump *d, struct dump_tree *tree);
int dump_dir_walk(struct dump *d, uint64_t ino, struct dump_tree *tree); /* TREE has fn, broken */

/* The entries of a directory leaf. NULL: slot K leads outside of it. */
unsigned dump_leaf_slots(const void *leaf); /* no more than there is room for */
const struct dirent_disk *dump_leaf_entry(const void *leaf, unsigned k);

/* A set of numbers. */
struct dump_seen;
/* True: N was in it before. -ENOMEM counts as that, so that whoever loops comes to an end. */
bool dump_seen(struct dump_seen **set, uint64_t n);
void dump_seen_free(struct dump_seen **set);

/* --- views: each shows one document --- */

int dump_super(struct dump *d, struct dump_out *o);
int dump_summary(struct dump *d, struct dump_out *o); /* the superblock, and a row a group */
int dump_groups(struct dump *d, struct dump_out *o);
int dump_group(struct dump *d, struct dump_out *o, uint64_t group);
int dump_block(struct dump *d, struct dump_out *o, uint64_t block);
int dump_inode(struct dump *d, struct dump_out *o, uint64_t ino);
int dump_extents(struct dump *d, struct dump_out *o, uint64_t ino);
int dump_files(struct dump *d, struct dump_out *o, uint64_t dir, uint64_t max_depth);
int dump_journal(struct dump *d, struct dump_out *o);

/* For those. */
void dump_show(struct dump_out *o, const char *key, uint64_t number);
void dump_show_string(struct dump_out *o, const char *key, const char *text);
void dump_show_bytes(struct dump_out *o, const char *key, const void *bytes, size_t nr_bytes);
void dump_show_bool(struct dump_out *o, const char *key, bool value);
void dump_show_fields(struct dump_out *o, const struct dump_layout *layout, const void *data);
void dump_show_field(struct dump_out *o, const struct dump_field *field, const void *data);
void dump_show_payload(struct dump_out *o, const struct dump_layout *layout, const void *data);
void dump_show_xattrs(struct dump_out *o, uint64_t block, const uint8_t *area, uint32_t bytes);
/* Head and faults of a block. OWNER, TYPE as in struct dump_faults. */
void dump_show_head(struct dump *d, struct dump_out *o, uint64_t block, const void *data,
	uint32_t type, uint64_t owner);
#endif
