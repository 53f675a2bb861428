/* op.h - an operation of a workload: what is asked, and what came of it.
 *
 * Paths are relative to the root, "" is the root itself, "#12" inode 12, which may have lost its
 * names. */
#ifndef VBLKFS_CRASH_OP_H
#define VBLKFS_CRASH_OP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OP_PATH_BYTES 56

enum op_kind {
	OP_CREAT,
	OP_MKDIR,
	OP_FIFO,
	OP_SYMLINK, /* bytes: of the target */
	OP_LINK,
	OP_UNLINK,
	OP_RMDIR,
	OP_RENAME,
	OP_EXCHANGE,
	OP_TRUNCATE, /* offset: the size */
	OP_WRITE,
	OP_FALLOC,   /* mode: of fallocate(2) */
	OP_SETXATTR, /* mode: which; bytes: of the value */
	OP_REMOVEXATTR,
	OP_CHMOD,
	OP_OPEN,  /* takes a reference */
	OP_CLOSE, /* gives all back */
	OP_SYNC,
	OP_FSYNC,
	OP_FDATASYNC,
	OP_START_FSYNC, /* and do not wait */
	OP_START_SYNC,  /* likewise; mode 1: the commit is stopped at the leaf of directory PATH */
	OP_START_WRITE, /* and leave it in flight */
	OP_AWAIT_WRITE,
	OP_AWAIT, /* what was started, and let it go on */
	OP_TIME,  /* more passes than between two commits */
	OP_FREEZE,
	OP_THAW,
	OP_REMOUNT,
	OP_UNMOUNT,
	OP_KINDS
};

struct op {
	enum op_kind kind;
	int mode;
	bool same_second; /* the wall clock has not moved since the last one */
	char path[OP_PATH_BYTES], to[OP_PATH_BYTES];
	uint64_t offset;
	uint32_t bytes;
	/* What came of it. */
	int64_t result;
	uint64_t ino; /* CREAT, MKDIR, FIFO, SYMLINK: the new one's */
	uint32_t generation;
};

/* One line without its end. Op_parse() takes it back: false where it is none. */
void op_print(const struct op *op, char *out, size_t bytes);
bool op_parse(const char *line, struct op *out);
bool op_is_persist(enum op_kind kind); /* does its end promise something? */
#endif
