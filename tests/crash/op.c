/* op.c - operations as lines of text (op.h). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "op.h"

static const char *const names[OP_KINDS] = {
	[OP_CREAT] = "creat",
	[OP_MKDIR] = "mkdir",
	[OP_FIFO] = "fifo",
	[OP_SYMLINK] = "symlink",
	[OP_LINK] = "link",
	[OP_UNLINK] = "unlink",
	[OP_RMDIR] = "rmdir",
	[OP_RENAME] = "rename",
	[OP_EXCHANGE] = "exchange",
	[OP_TRUNCATE] = "truncate",
	[OP_WRITE] = "write",
	[OP_FALLOC] = "falloc",
	[OP_SETXATTR] = "setxattr",
	[OP_REMOVEXATTR] = "removexattr",
	[OP_CHMOD] = "chmod",
	[OP_OPEN] = "open",
	[OP_CLOSE] = "close",
	[OP_SYNC] = "sync",
	[OP_FSYNC] = "fsync",
	[OP_FDATASYNC] = "fdatasync",
	[OP_START_FSYNC] = "start_fsync",
	[OP_START_SYNC] = "start_sync",
	[OP_START_WRITE] = "start_write",
	[OP_AWAIT_WRITE] = "await_write",
	[OP_AWAIT] = "await",
	[OP_TIME] = "time",
	[OP_FREEZE] = "freeze",
	[OP_THAW] = "thaw",
	[OP_REMOUNT] = "remount",
	[OP_UNMOUNT] = "unmount",
};

void op_print(const struct op *op, char *out, size_t bytes)
{
	(void)snprintf(out, bytes,
		"%-11s /%-8s /%-8s mode=%o offset=%" PRIu64 " bytes=%" PRIu32
		" same=%d result=%" PRId64 " ino=%" PRIu64 " gen=%" PRIu32,
		names[op->kind], op->path, op->to, (unsigned)op->mode, op->offset, op->bytes,
		op->same_second, op->result, op->ino, op->generation);
}

bool op_parse(const char *line, struct op *out)
{
	char name[16], path[OP_PATH_BYTES + 1], to[OP_PATH_BYTES + 1];
	unsigned mode;
	int same;

	*out = (struct op){0};
	if (sscanf(line,
		    "%15s %56s %56s mode=%o offset=%" SCNu64 " bytes=%" SCNu32
		    " same=%d result=%" SCNd64 " ino=%" SCNu64 " gen=%" SCNu32,
		    name, path, to, &mode, &out->offset, &out->bytes, &same, &out->result,
		    &out->ino, &out->generation) != 10)
		return false;
	out->mode = (int)mode;
	out->same_second = same != 0;
	strcpy(out->path, path + 1); /* both begin with a slash */
	strcpy(out->to, to + 1);
	for (int i = 0; i < OP_KINDS; i++)
		if (strcmp(name, names[i]) == 0) {
			out->kind = (enum op_kind)i;
			return true;
		}
	return false;
}

bool op_is_persist(enum op_kind kind)
{
	switch (kind) {
	case OP_SYNC:
	case OP_FSYNC:
	case OP_FDATASYNC:
	case OP_AWAIT:
	case OP_TIME:
	case OP_FREEZE:
	case OP_REMOUNT:
	case OP_UNMOUNT:
		return true;
	default:
		return false;
	}
}
