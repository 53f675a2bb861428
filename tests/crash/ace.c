/* ace.c - all sequences of one and of two operations, within bounds (workloads.h).
 *
 * They begin on a filesystem with directories /, A, B and A/C, and in each a file "foo" with
 * contents and an attribute; "bar" does not exist. After each operation comes one of: nothing,
 * sync(2), fsync(2) or fdatasync(2) of what it was about, fsync(2) of the directory of that, or of
 * the one where it was. The first of two operations is about directory A, or moves something
 * between A and another: what else there is differs from that in names only. */
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "workloads.h"

#define NR_DIRS       4U
#define NR_FILES      8U
#define INSTANCES_MAX 512U
#define PERSISTS      6U

enum persist { NOTHING, SYNC, FSYNC, FDATASYNC, FSYNC_DIR, FSYNC_OLD_DIR };

static char file[NR_FILES][OP_PATH_BYTES];
static const char *const dirs[NR_DIRS] = {"", "A", "B", "A/C"};
static struct op instance[INSTANCES_MAX];
static unsigned nr_instances;

struct first { /* an operation that may come first, and what may follow it */
	uint16_t op;
	uint16_t *second;
	unsigned nr_seconds;
	uint64_t start; /* index of its first sequence of two */
};
static struct first firsts[INSTANCES_MAX];
static unsigned nr_firsts; /* those of one; of two, those of the first NR_LEADING */
static unsigned nr_leading;
static uint64_t nr_ace2;

static void add(struct op op)
{
	if (nr_instances == INSTANCES_MAX)
		abort();
	instance[nr_instances++] = op;
}

static void add_two(enum op_kind kind, const char *path, const char *to)
{
	struct op op = op_of(kind, path);

	strcpy(op.to, to);
	add(op);
}

static void add_range(
	enum op_kind kind, const char *path, uint64_t offset, uint32_t bytes, int mode, bool same)
{
	struct op op = op_of(kind, path);

	op.offset = offset;
	op.bytes = bytes;
	op.mode = mode;
	op.same_second = same;
	add(op);
}

/* "foo" has 10000 bytes. */
static void add_of_file(const char *path)
{
	add(op_of(OP_CREAT, path));
	add(op_of(OP_UNLINK, path));
	add_range(OP_SYMLINK, path, 0, 30, 0, false);
	add_range(OP_WRITE, path, 10000, 5000, 0, false);
	add_range(OP_WRITE, path, 3000, 3000, 0,
		true); /* in place, nothing else changes: as O_DIRECT */
	add_range(OP_WRITE, path, 0, 8192, 0, false);
	add_range(OP_WRITE, path, 20000, 3000, 0, false);
	add_range(OP_FALLOC, path, 10000, 8192, 0, false);
	add_range(OP_FALLOC, path, 12288, 16384, FALLOC_FL_KEEP_SIZE, false);
	add_range(OP_FALLOC, path, 2000, 6000, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, false);
	add_range(OP_FALLOC, path, 1000, 12000, FALLOC_FL_ZERO_RANGE, false);
	add_range(OP_FALLOC, path, 4096, 8192, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, false);
	add_range(OP_TRUNCATE, path, 0, 0, 0, false);
	add_range(OP_TRUNCATE, path, 5000, 0, 0, false);
	add_range(OP_TRUNCATE, path, 30000, 0, 0, false);
	add_range(OP_SETXATTR, path, 0, 24, 0, false);
	add_range(OP_SETXATTR, path, 0, 2000, 1, false);
	add_range(OP_REMOVEXATTR, path, 0, 0, 0, false);
	add_range(OP_CHMOD, path, 0, 0, 0600, false);
}

static void add_of_dir(const char *dir)
{
	char path[OP_PATH_BYTES];

	(void)snprintf(path, sizeof(path), "%s%sdir", dir, dir[0] == '\0' ? "" : "/");
	add(op_of(OP_MKDIR, path));
	add(op_of(OP_RMDIR, path));
	add(op_of(OP_RMDIR, dir));
}

static void add_instances(void)
{
	for (unsigned i = 0; i < NR_DIRS; i++)
		add_of_dir(dirs[i]);
	for (unsigned i = 0; i < NR_FILES; i++)
		add_of_file(file[i]);
	for (unsigned i = 0; i < NR_FILES; i++)
		for (unsigned k = 0; k < NR_FILES; k++) {
			add_two(OP_LINK, file[i], file[k]);
			add_two(OP_RENAME, file[i], file[k]);
			if (i < k)
				add_two(OP_EXCHANGE, file[i], file[k]);
		}
	add_two(OP_RENAME, "A", "D");
	add_two(OP_RENAME, "A/C", "B/C");
	add_two(OP_RENAME, "B", "A/B");
	add_two(OP_EXCHANGE, "A/C", "B");
}

/* A recording of the operations that make the base, as far as this file needs it. */
static void apply_base(struct model *m)
{
	const struct fs_attr root = {
		.ino = FS_ROOT_INO, .generation = 1, .mode = S_IFDIR | 0755, .nlink = 2};
	uint64_t ino = 2;

	model_begin(m, &root);
	for (unsigned i = 1; i < NR_DIRS; i++) {
		struct op op = op_of(OP_MKDIR, dirs[i]);

		op.ino = ino++;
		model_apply(m, &op);
	}
	for (unsigned i = 0; i < NR_FILES; i += 2) {
		struct op op = op_of(OP_CREAT, file[i]);

		op.ino = ino++;
		model_apply(m, &op);
		op.kind = OP_SETXATTR;
		op.bytes = 4;
		model_apply(m, &op);
	}
	model_end_base(m);
}

static bool is_about_a(const struct op *op)
{
	return strncmp(op->path, "A", 1) == 0 && strncmp(op->path, "A/C", 3) != 0;
}

static void find_seconds(struct model *m, struct first *f)
{
	struct op op = instance[f->op];

	apply_base(m);
	op.ino = 1000;
	op.result = op.kind == OP_WRITE ? op.bytes : 0;
	model_apply(m, &op);
	f->second = malloc(nr_instances * sizeof(*f->second));
	if (f->second == NULL)
		abort();
	for (unsigned i = 0; i < nr_instances; i++)
		if (op_is_valid(m, &instance[i]))
			f->second[f->nr_seconds++] = (uint16_t)i;
	f->start = nr_ace2;
	nr_ace2 += (uint64_t)f->nr_seconds * PERSISTS * PERSISTS;
}

static void find_firsts(struct model *m, bool about_a)
{
	for (unsigned i = 0; i < nr_instances; i++)
		if (op_is_valid(m, &instance[i]) && is_about_a(&instance[i]) == about_a)
			firsts[nr_firsts++].op = (uint16_t)i;
}

void ace_init(void)
{
	static struct model m;

	for (unsigned i = 0; i < NR_FILES; i++)
		(void)snprintf(file[i], sizeof(file[i]), "%s%s%s", dirs[i / 2], i < 2 ? "" : "/",
			i % 2 == 0 ? "foo" : "bar");
	add_instances();
	apply_base(&m);
	find_firsts(&m, true);
	nr_leading = nr_firsts;
	find_firsts(&m, false);
	for (unsigned i = 0; i < nr_leading; i++)
		find_seconds(&m, &firsts[i]);
	model_free(&m);
}

uint64_t ace_count(unsigned nr_ops)
{
	return nr_ops == 1 ? (uint64_t)nr_firsts * PERSISTS : nr_ace2;
}

/* --- as a workload --- */

/* State: 0 first, 1 its persist, 2 second (or none), 3 its persist, 4: persists that were done. */

static void parent_of(const char *path, char *out)
{
	const char *slash = strrchr(path, '/');
	size_t nr = slash == NULL ? 0 : (size_t)(slash - path);

	memcpy(out, path, nr);
	out[nr] = '\0';
}

/* What OP was about is synced as HOW says. False: it can't be, or is the same as another way. */
static bool persist_op(const struct model *m, const struct op *of, enum persist how, struct op *op)
{
	const char *about = of->to[0] != '\0' ? of->to : of->path;

	*op = op_of(how == FDATASYNC ? OP_FDATASYNC : OP_FSYNC, about);
	switch (how) {
	case NOTHING:
		return false;
	case SYNC:
		*op = op_of(OP_SYNC, "");
		return true;
	case FSYNC:
	case FDATASYNC:
		return model_find(m, about) != NULL;
	case FSYNC_DIR:
		parent_of(about, op->path);
		break;
	case FSYNC_OLD_DIR:
		if (of->to[0] == '\0')
			return false;
		parent_of(of->path, op->path);
		break;
	}
	return model_find(m, op->path) != NULL;
}

/* Step by step: the first, its persist, the second, its persist, and an unmount where the last
 * operation was left alone. */
static bool ace_next(struct workload *w, const struct model *m, uint32_t nr, struct op *op)
{
	(void)nr;
	for (;;) {
		unsigned step = (unsigned)w->state[4]++;
		bool has_second = w->state[2] != UINT64_MAX;
		const struct op *of = &instance[w->state[step < 2 ? 0 : 2] % INSTANCES_MAX];

		switch (step) {
		case 2:
			if (!has_second)
				break;
			/* fall through */
		case 0:
			*op = *of;
			return true;
		case 3:
			if (!has_second)
				break;
			/* fall through */
		case 1:
			if (persist_op(m, of, (enum persist)w->state[step], op))
				return true;
			break;
		case 4:
			if (has_second && w->state[3] != NOTHING)
				return false;
			*op = op_of(OP_UNMOUNT, "");
			return true;
		default:
			return false;
		}
	}
}

void ace_make(unsigned nr_ops, uint64_t index, struct workload *out)
{
	const struct first *f = firsts;

	*out = (struct workload){
		.seed = 1, .has_files = true, .next = ace_next, .state[2] = UINT64_MAX};
	(void)snprintf(out->name, sizeof(out->name), "ace%u:%lu", nr_ops, index);
	if (nr_ops == 1) {
		out->state[0] = firsts[index / PERSISTS].op;
		out->state[1] = index % PERSISTS;
		return;
	}
	while (f + 1 < firsts + nr_leading && f[1].start <= index)
		f++;
	index -= f->start;
	out->state[0] = f->op;
	out->state[1] = index % PERSISTS;
	out->state[3] = index / PERSISTS % PERSISTS;
	out->state[2] = f->second[index / PERSISTS / PERSISTS];
	/* What comes before is a sequence of one, up to where the second begins. */
	out->explore_from = 2;
}
