/* model.h - what the filesystem should hold, and what it may hold after a power cut.
 *
 * The model follows a workload operation by operation, numbered from 1; 0 is the state before it,
 * and what made that. Of names and attributes it keeps one digest for each state; of file contents
 * every version of every sector, with the operation that made it.
 *
 * Names and attributes after a cut have to be as after one of the operations from a floor, which
 * what was acknowledged sets, to the last that had begun. Contents: each sector as after an
 * operation from the higher of that one and the file's own floor, again to the last begun. */
#ifndef VBLKFS_CRASH_MODEL_H
#define VBLKFS_CRASH_MODEL_H
#include "table.h"
#include "arena.h"
#include "op.h"
#include "vblkfs.h"

#define MODEL_OPS_MAX    4000U
#define MODEL_FILE_MAX   (8U << 20)
#define MODEL_SECTOR     512U
#define MODEL_XATTRS     4
#define MODEL_VALUE_MAX  3900U
#define MODEL_TARGET_MAX 2000U

struct version {
	uint32_t op;
	const uint8_t *bytes; /* NULL: zeros */
};

struct sector {
	struct version *v; /* oldest first */
	uint32_t nr, max;
};

struct ack { /* after operation AT was done: nothing is lost of what was done up to COVERS */
	uint32_t at, covers;
	struct ack *next; /* an older one */
};

struct mentry {
	struct mentry *next;
	struct mnode *node;
	char name[OP_PATH_BYTES];
};

struct mnode {
	struct { /* no padding */
		uint64_t ino, generation;
	} key;
	uint32_t mode, nlink, uid, gid;
	uint64_t size; /* of a file or symlink */
	uint64_t target_hash;
	uint64_t xattr[MODEL_XATTRS]; /* hash of name and value; 0: none */
	struct mentry *entries;       /* of a directory */
	struct mnode *parent;         /* likewise */
	struct sector *sector;
	uint32_t nr_sectors; /* that there is room for */
	unsigned held;       /* references that OP_OPEN took */
	uint32_t touched;    /* the last operation that changed it or a name of it */
	struct ack *acks;
	struct mnode *next; /* all that ever were */
	UT_hash_handle hh;
};

struct model {
	struct arena mem;
	struct mnode *root, *nodes, *by_key;
	uint32_t nr_ops;
	struct ack *acks;                     /* of all that there is */
	uint64_t digest[MODEL_OPS_MAX + 1];   /* of names and attributes, after each operation */
	uint32_t floor[MODEL_OPS_MAX + 1];    /* of those, once it is done */
	uint32_t last_ack[MODEL_OPS_MAX + 1]; /* the last operation up to it that promised */
	uint8_t kind[MODEL_OPS_MAX + 1];      /* enum op_kind */
	uint64_t chain[MODEL_OPS_MAX + 1];    /* hash of all operations up to it */
	struct mnode *started;                /* by OP_START_*; NULL: all */
	uint32_t started_at, started_floor;
	bool in_base;
};

void model_begin(
	struct model *m, const struct fs_attr *root); /* anew; then the base's operations */
void model_end_base(struct model *m);                 /* from here on they are numbered */
void model_free(struct model *m);
void model_apply(struct model *m, const struct op *op); /* op->result says what came of it */

struct mnode *model_find(const struct model *m, const char *path); /* NULL: no such */
/* The directory of PATH, and its last component. NULL: no such directory. */
struct mnode *model_parent(const struct model *m, const char *path, const char **name);
struct mnode *model_node(const struct model *m, uint64_t ino, uint64_t generation);

/* What operation OP puts into NODE's bytes from OFFSET on. */
void model_pattern(uint64_t ino, uint64_t generation, uint32_t op, uint64_t offset, uint8_t *out,
	size_t bytes);
void model_target(uint32_t op, char *out, uint32_t bytes); /* of a symlink; ends with NUL */
void model_xattr(uint32_t op, int which, char *name, uint8_t *value, uint32_t bytes);
uint32_t model_data_floor(const struct model *m, const struct mnode *node, uint32_t done);
const uint8_t *model_latest(const struct mnode *node, uint64_t sector); /* NULL: zeros */

/* The digest is the sum of these over all entries and all inodes. */
struct facts { /* no padding */
	uint64_t ino, generation, size, target_hash, xattr_sum;
	uint32_t mode, nlink, uid, gid;
};
uint64_t facts_hash(const struct facts *f);
uint64_t entry_hash(uint64_t dir, const char *name, uint64_t ino);
uint64_t bytes_hash(const void *bytes, size_t nr, uint64_t seed);
uint64_t xattr_hash(const char *name, const void *value, size_t bytes);
void model_print(const struct model *m, void (*line)(const char *text)); /* the tree as it is now */
#endif
