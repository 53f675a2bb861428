/* checker.h - the parts of fsck: one file a pass, and what they share.
 *
 *	check_super.c	0  which superblock to believe; its copies
 *	check_journal.c	0  what is committed goes home
 *	check_inode.c	1  the inode tables; with check_extent.c, check_xattr.c
 *	check_dir.c	2  directories, and the names in them
 *	check_shared.c	3  blocks that two files claim
 *	check_link.c	4  is everything reachable; link counts; the orphan list
 *	check_group.c	5  bitmaps, headers of groups, counters
 *	check_attach.c	   names that are put in last, through the mounted filesystem: lost+found
 *	check_tree.c	   B+trees, for passes 1 and 2
 *	check_problem.c	   the table of all problems: words, questions, what preen may do
 *	check_store.c	   reading and writing blocks; memory
 *
 * RULES
 *  1. A pass believes what earlier passes have left sound, and nothing else.
 *  2. Whoever finds something asks chk_fix(), which counts, reports and decides. On false nothing
 *     is changed, and the pass goes on as if what is wrong were not there.
 *  3. FSCK_NO decides as FSCK_YES does, but writes into an overlay (pins of the cache): so it
 *     finds what a repair would find, and each fault once. Past OVERLAY_BLOCKS it decides "no".
 *  4. Before the first repair the superblock says, durably, "not clean, damaged", and says
 *     otherwise only once all repairs are durable. A block is written whole, sealed, in one
 *     piece. So a repair that is cut off leaves a filesystem that the next run finishes; nothing
 *     that was sound is changed before its replacement is durable.
 *  5. Blocks that a run takes for its repairs are neither claimed by anything now, nor were when
 *     it began (the bitmaps say so, where they can be read): a cut shows no two owners.
 *
 * Memory: a bit a block of each group that has any in use, 5 bytes an inode of the initialised
 * tables, 48 a directory. Nothing grows with the size of files. */
#ifndef VBLKFS_CHECKER_H
#define VBLKFS_CHECKER_H
#include <string.h>
#include "cache.h"
#include "extent.h"

enum problem_code {
	/* superblock and journal */
	P_SUPER_DAMAGED,
	P_SUPER_COUNTERS_RANGE,
	P_SUPER_COPY,
	P_SUPER_ERRORS,
	P_BOOT_SECTOR,
	P_JOURNAL_HEAD,
	P_JOURNAL_RECORD,
	P_JOURNAL_NOT_EMPTY,
	P_JOURNAL_BEHIND,
	/* pass 1 */
	P_GROUP_HEADER,
	P_GROUP_INODES_READY,
	P_INODE_BLOCK,
	P_INODE_NUMBER,
	P_INODE_TYPE,
	P_INODE_TYPE_KNOWN,
	P_INODE_MODE,
	P_INODE_SIZE,
	P_INODE_TIMES,
	P_INODE_FLAGS,
	P_INODE_TRUNCATING,
	P_INODE_FORK,
	P_INODE_FORK_COUNT,
	P_EXTENT_COUNT,
	P_EXTENT_FLAGS,
	P_EXTENT_INVALID,
	P_EXTENT_ORDER,
	P_EXTENT_OVERLAP,
	P_EXTENT_RANGE,
	P_TREE_ROOT,
	P_TREE_HEIGHT,
	P_TREE_BLOCK,
	P_TREE_CHECKSUM,
	P_TREE_LEVEL,
	P_TREE_COUNT,
	P_TREE_ORDER,
	P_TREE_KEY,
	P_TREE_TWICE,
	P_SYMLINK_TARGET,
	P_SYMLINK_SIZE,
	P_SYMLINK_BLOCK,
	P_XATTR_BYTES,
	P_XATTR_ENTRY,
	P_XATTR_FORM,
	P_XATTR_TWICE,
	P_XATTR_BLOCK,
	P_XATTR_CHECKSUM,
	P_XATTR_EMPTY,
	P_XATTR_LIST,
	P_INODE_BLOCKS,
	P_DIR_SIZE,
	P_ROOT_TYPE,
	P_ROOT_MISSING,
	/* pass 2 */
	P_DIR_LEAF,
	P_ENTRY_NAME,
	P_ENTRY_PLACE,
	P_ENTRY_TWICE,
	P_ENTRY_INODE,
	P_ENTRY_FREE,
	P_ENTRY_ROOT,
	P_ENTRY_DIR_TWICE,
	P_ENTRY_TYPE,
	/* pass 3 */
	P_BLOCKS_SHARED,
	P_BLOCKS_SHARED_LOST,
	/* pass 4 */
	P_DIR_PARENT,
	P_DIR_CYCLE,
	P_UNATTACHED,
	P_LINK_COUNT,
	P_ORPHAN_NAMED,
	P_ORPHAN_LIST,
	/* pass 5 */
	P_BLOCK_BITMAP,
	P_BLOCK_BITMAP_FLAG,
	P_BLOCKS_LEAKED,
	P_BLOCKS_UNMARKED,
	P_INODE_BITMAP,
	P_INODES_LEAKED,
	P_INODES_UNMARKED,
	P_GROUP_FREE_BLOCKS,
	P_GROUP_FREE_INODES,
	P_GROUP_DIRS,
	P_SUPER_FREE_BLOCKS,
	P_SUPER_FREE_INODES,
	/* last */
	P_ATTACH_FAILED,
	NR_PROBLEMS
};

struct problem_at { /* what its words mention */
	uint64_t ino, block, x, y;
	uint32_t group;
	const char *s;
	const char *name; /* of an entry: any bytes */
	unsigned name_bytes;
};

/* What is known of a slot of the inode table: type (DT_*) in the lower four bits. */
#define INO_TYPE   0x0fU
#define INO_USED   0x10U
#define INO_NAMED  0x20U /* a directory leads to it */
#define INO_ORPHAN 0x40U
#define INO_DONE   0x80U /* a directory: is known to lead to the root */

struct check_group {
	uint32_t ready;   /* slots of the inode table that are in initialised blocks */
	uint8_t *inode;   /* INO_*, of each of them */
	int32_t *links;   /* what the inode counts, less what was found */
	uint8_t *blocks;  /* bitmap: claimed. NULL: none */
	uint8_t *shared;  /* claimed twice */
	uint8_t *settled; /* pass 3: has its owner */
	uint8_t *nodes;   /* nodes of trees that were visited */
	uint32_t nr_used, nr_dirs;
	bool remade; /* the header is to be written anew */
};

struct check_dir {
	uint64_t ino, parent; /* as the inode says */
	uint64_t found;       /* where its name is; 0: none yet */
	uint64_t root;        /* of the tree; 0: none */
	uint64_t nr_blocks;   /* that the inode counts, less those of attributes */
	uint32_t height;
	uint32_t run; /* pass 4 */
};

struct check_orphan {
	uint64_t ino, next;
	bool listed; /* the list leads to it */
};

/* A name that check_attach.c puts in, or takes out. */
struct check_name {
	uint64_t dir; /* 0: lost+found */
	uint64_t ino;
	uint8_t type;
	uint8_t name_bytes;
	bool take_out; /* the name of INO in DIR goes */
	char name[FS_NAME_MAX + 1];
};

#define LIST_OF(type)           \
	struct {                \
		type *v;        \
		size_t nr, max; \
	}

struct check {
	struct fs fs; /* geometry; its cache is the overlay of rule 3 */
	struct fs_thread t;
	const struct fsck_opts *opts;
	struct fsck_result *out;
	uint64_t disk_blocks;
	bool writes; /* not FSCK_NO */
	bool clean;  /* so the superblock said */
	bool errors; /* likewise: damage was seen */

	uint64_t super_from;  /* block that SB was read from */
	struct super_disk sb; /* as it is, and in the end will be written */
	bool super_bad;       /* block 1 is to be written */
	bool count_anew;      /* what it counts says nothing */
	bool marked;          /* rule 4 */

	struct check_group *group;
	LIST_OF(struct check_dir) dirs; /* by number */
	LIST_OF(struct check_orphan) orphans;
	LIST_OF(struct check_name) names;
	uint64_t nr_shared;  /* blocks */
	uint32_t generation; /* highest seen */

	uint8_t *pages; /* DMA memory */
	unsigned nr_pages_used;
	uint8_t *window; /* WINDOW_BLOCKS, for runs of blocks */
	uint8_t *inode_page;
	uint64_t inode_block; /* what inode_page holds; 0: nothing */
	uint64_t nr_pinned;
	uint64_t memory;
	unsigned pass;
	bool stop; /* preen, or ask: no further */
};

#define WINDOW_BLOCKS  64U
#define NR_PAGES       24U
#define OVERLAY_BLOCKS 16384U
#define NAMES_MAX      65536U

/* --- check_problem.c --- */

bool chk_fix(struct check *c, enum problem_code code, const struct problem_at *at);
const char *chk_problem_name(enum problem_code code);

/* --- check_store.c --- */

int chk_fail(struct check *c, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* 0, or why the pass must end. */
int chk_go_on(struct check *c);
void chk_progress(struct check *c, uint64_t done, uint64_t total);
void *chk_alloc(struct check *c, size_t bytes); /* zeroed; counted */
void chk_free(struct check *c, void *mem, size_t bytes);
/* Room for one more at the end of a list. */
int chk_grow(struct check *c, void **v, size_t nr, size_t *max, size_t bytes);

/* Pages are taken and given back like a stack. */
uint8_t *chk_page_get(struct check *c);
void chk_page_put(struct check *c, uint8_t *page);

/* -EIO, of one block: what was there is lost. Others end the check. */
int chk_read(struct check *c, uint64_t block, void *page);
int chk_read_run(struct check *c, uint64_t block, uint32_t nr, uint8_t *buf);
int chk_write(struct check *c, uint64_t block, void *page); /* sealed here */

/* NULL: PAGE is a TYPE of OWNER that belongs at BLOCK. Else what is wrong. *SALVAGE: the contents
 * are what they should be in all likelihood, though they may be damaged; chk_head_mend() makes the
 * head right. */
const char *chk_fault(struct check *c, const void *page, uint64_t block, enum block_type type,
	uint64_t owner, bool *salvage);
void chk_head_mend(
	struct check *c, void *page, uint64_t block, enum block_type type, uint64_t owner);
void chk_block_new(
	struct check *c, void *page, uint64_t block, enum block_type type, uint64_t owner);

/* Claims. */
int chk_claim(struct check *c, uint64_t start, uint64_t nr);
void chk_unclaim(struct check *c, uint64_t block);
int chk_node_seen(struct check *c, uint64_t block, bool *seen);
/* NR blocks in a run that nobody has; 0: there is no such run. They are claimed. */
int chk_take_blocks(struct check *c, uint32_t nr, uint64_t *start);

/* The slot of INO, below `ready`; to change it, chk_inode_put(). Until the next of these calls. */
int chk_inode_get(struct check *c, uint64_t ino, struct inode_disk **out);
int chk_inode_put(struct check *c);

static inline bool chk_ino_ready(const struct check *c, uint64_t ino)
{
	return ino != 0 && ino <= (uint64_t)c->fs.nr_groups * c->fs.inodes_per_group &&
	       (ino - 1) % c->fs.inodes_per_group <
		       c->group[(ino - 1) / c->fs.inodes_per_group].ready;
}

static inline uint8_t *chk_ino(struct check *c, uint64_t ino) /* it is ready */
{
	return &c->group[(ino - 1) / c->fs.inodes_per_group]
			.inode[(ino - 1) % c->fs.inodes_per_group];
}

static inline int32_t *chk_links(struct check *c, uint64_t ino)
{
	return &c->group[(ino - 1) / c->fs.inodes_per_group]
			.links[(ino - 1) % c->fs.inodes_per_group];
}

static inline uint32_t chk_group_blocks(const struct check *c, uint32_t group)
{
	uint64_t left = c->fs.nr_blocks - fs_group_start(&c->fs, group);

	return left < c->fs.group_blocks ? (uint32_t)left : c->fs.group_blocks;
}

static inline uint32_t chk_tables(const struct check *c, uint32_t group)
{
	uint32_t tables =
		GROUP_BITMAP + c->fs.bitmap_blocks + c->fs.ibitmap_blocks + c->fs.itable_blocks;

	return group == 0 ? tables + (uint32_t)c->fs.journal_blocks : tables;
}

static inline uint64_t chk_ibitmap_block(const struct check *c, uint32_t group, uint32_t index)
{
	return fs_group_start(&c->fs, group) + GROUP_BITMAP + c->fs.bitmap_blocks + index;
}

static inline uint64_t chk_itable_block(const struct check *c, uint32_t group, uint32_t index)
{
	return fs_group_start(&c->fs, group) + GROUP_BITMAP + c->fs.bitmap_blocks +
	       c->fs.ibitmap_blocks + index;
}

struct check_dir *chk_dir(struct check *c, uint64_t ino); /* NULL: is none */

/* --- the passes --- */

int check_super(struct check *c);      /* find one: geometry */
int check_super_home(struct check *c); /* after the replay: block 1, and the copies */
int check_super_mark(struct check *c); /* rule 4: before the first repair */
int check_super_done(struct check *c); /* after the last */
/* BEFORE check_attach.c mounts, what it needs; and after, what it has made of it. */
int check_super_attach(struct check *c, bool before);
int check_journal(struct check *c);
int check_inodes(struct check *c);
int check_dirs(struct check *c);
int check_shared(struct check *c);
int check_links(struct check *c);
int check_group_header(struct check *c, uint32_t group); /* pass 1: how far the tables go */
int check_groups(struct check *c);
int check_attach(struct check *c);

/* --- check_tree.c --- */

struct tree_range {
	uint64_t lo, hi;   /* keys that a leaf may have, as its nodes say */
	uint64_t rlo, rhi; /* and as far as its neighbours leave room */
	uint64_t next;     /* block of the neighbour after it; 0: none */
	unsigned next_level;
};

struct tree_leaf { /* what became of one */
	bool dirty;
	bool empty;
	uint64_t min, max; /* keys in it */
};

struct tree {
	struct check *c;
	uint64_t ino;
	enum block_type leaf_type, node_type;
	/* Judge PAGE, a leaf whose head is in order, and mend it. */
	int (*leaf)(struct tree *t, uint64_t block, uint8_t *page, const struct tree_range *r,
		struct tree_leaf *out);
	uint64_t nr_blocks; /* that it has, claimed */
	void *arg;
	/* A second time, in pass 3: nothing is claimed, and what is dropped is no longer. */
	bool again;
	uint64_t nr_dropped;
	uint64_t root; /* pass 3's */
};

/* Is *HEIGHT another than that of what is below ROOT? True: it was corrected. */
bool tree_mend_height(struct tree *t, uint64_t root, uint32_t *height);
/* *ROOT becomes 0: nothing is left. */
int tree_check(struct tree *t, uint64_t *root, uint32_t height);
/* Where the keys of a leaf are to be, when NR_BELOW and NR_ABOVE of NR are not where its nodes say:
 * are these wrong, or are the nodes? SURE: a key proves itself. */
void tree_range_pick(struct tree *t, const struct tree_range *r, unsigned nr, unsigned nr_below,
	unsigned nr_above, bool sure, uint64_t *lo, uint64_t *hi);
/* Call FN for each leaf that can be read, in a tree that was checked. FN sets *DIRTY. */
typedef int (*tree_leaf_fn)(void *arg, uint64_t block, uint8_t *page, bool *dirty);
int tree_each_leaf(struct tree *t, uint64_t root, uint32_t height, tree_leaf_fn fn, void *arg);

/* --- parts of pass 1 --- */

struct check_inode { /* the slot being looked at */
	struct check *c;
	uint64_t ino;
	struct inode_disk *d;
	bool dirty;
	bool gone; /* cleared */
	uint64_t nr_blocks;
	uint64_t end; /* file block after the last that is mapped */
};

static inline bool chk_inode_fix(
	struct check_inode *i, enum problem_code code, uint64_t x, uint64_t y)
{
	bool fix = chk_fix(i->c, code, &(struct problem_at){.ino = i->ino, .x = x, .y = y});

	i->dirty |= fix;
	return fix;
}

int check_extents(struct check_inode *i);
int check_xattrs(struct check_inode *i);
#endif
