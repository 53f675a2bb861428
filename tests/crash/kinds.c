/* kinds.c - workloads by area: long random ones with a stress each, and scripts that lead to what
 * chance would seldom find (workloads.h).
 *
 * What a workload does next depends on its seed, the operation's number and the model only. */
#include <errno.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "workloads.h"
#include "world.h"

#define HALFCUT_FILL 142U /* operations after which one transaction is nearly large enough */
#define TRIES        60U

struct weight {
	enum op_kind kind;
	unsigned weight;
};

struct kind {
	const char *name;
	uint32_t share; /* states, of 100 */
	next_op_fn next;
	const struct weight *weights; /* of a random one */
	uint32_t nr_ops;
	bool has_files, racy;
	uint32_t commit_s, cache_mib;
};

static const struct kind kinds[];

/* A number below MAX, for operation NR; I tells several apart. */
static uint32_t draw(const struct workload *w, uint32_t nr, unsigned i, uint32_t max)
{
	uint64_t state = w->seed * 0x10001 + ((uint64_t)nr << 24) + i;

	return (uint32_t)(mix64(&state) >> 16) % max;
}

/* --- random ones --- */

static const char *const dir_pool[] = {"", "A", "A/C", "B", "d"};
static const char *const name_pool[] = {"foo", "bar", "x", "y", "dir"};

static void draw_path(const struct workload *w, uint32_t nr, unsigned i, char *out)
{
	uint32_t pick = draw(w, nr, i, 28);
	const char *dir = dir_pool[draw(w, nr, i + 1, 5)];

	if (pick < 25)
		(void)snprintf(out, OP_PATH_BYTES, "%s%s%s", dir, dir[0] == '\0' ? "" : "/",
			name_pool[pick % 5]);
	else
		(void)snprintf(out, OP_PATH_BYTES, "%s", dir_pool[1 + pick % 4]);
}

static enum op_kind draw_kind(const struct workload *w, uint32_t nr, unsigned i)
{
	const struct weight *weights = kinds[w->state[0]].weights, *at = weights;
	uint32_t sum = 0, pick;

	for (at = weights; at->weight > 0; at++)
		sum += at->weight;
	pick = draw(w, nr, i, sum);
	for (at = weights; pick >= at->weight; at++)
		pick -= at->weight;
	return at->kind;
}

static void draw_falloc(const struct workload *w, uint32_t nr, unsigned i, struct op *op)
{
	static const int modes[] = {0, FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
	/* Zeroing a range may find the disk full when half of it is done; the model has no word
	 * for that. */
	bool may_zero = strncmp(w->name, "full", 4) != 0;

	op->mode = modes[draw(w, nr, i, may_zero ? 5 : 3)];
}

static void draw_args(const struct workload *w, uint32_t nr, unsigned i, struct op *op)
{
	static const uint32_t sizes[] = {1, 100, 512, 3000, 4096, 8192, 20000};
	static const uint32_t values[] = {1, 20, 60, 500, 1500, 3800};
	uint32_t blocks = draw(w, nr, i, 10) * 4096;

	op->same_second = draw(w, nr, i + 1, 2) == 0;
	op->offset = draw(w, nr, i + 2, 2) == 0 ? blocks : blocks / 2 + draw(w, nr, i + 3, 5000);
	op->bytes = sizes[draw(w, nr, i + 4, 7)];
	switch (op->kind) {
	case OP_FALLOC:
		draw_falloc(w, nr, i + 5, op);
		break;
	case OP_SETXATTR:
		op->bytes = values[draw(w, nr, i + 6, 6)];
		/* fall through */
	case OP_REMOVEXATTR:
		op->mode = (int)draw(w, nr, i + 5, MODEL_XATTRS);
		break;
	case OP_SYMLINK:
		op->bytes = draw(w, nr, i + 5, 3) == 0 ? 1200 : 40;
		break;
	case OP_CHMOD:
		op->mode = (int)draw(w, nr, i + 5, 01000);
		break;
	default:
		break;
	}
}

/* One that is held, with names or without. */
static bool pick_held(const struct workload *w, const struct model *m, uint32_t nr, struct op *op)
{
	uint32_t seen = 0;

	for (const struct mnode *n = m->nodes; n != NULL; n = n->next)
		if (n->held > 0 && ++seen > 0 && draw(w, nr, 900 + seen, seen) == 0)
			(void)snprintf(op->path, sizeof(op->path), "#%lu", n->key.ino);
	return seen > 0;
}

static bool has_two_paths(enum op_kind kind)
{
	return kind == OP_LINK || kind == OP_RENAME || kind == OP_EXCHANGE;
}

/* What is started has to be awaited before the next one is. */
static bool starts_in_turn(struct workload *w, struct op *op)
{
	bool is_start = op->kind == OP_START_FSYNC || op->kind == OP_START_SYNC;

	if (is_start && w->state[1] != 0)
		op->kind = OP_AWAIT;
	if (op->kind == OP_AWAIT && w->state[1] == 0)
		return false;
	if (is_start || op->kind == OP_AWAIT)
		w->state[1] = op->kind != OP_AWAIT;
	return true;
}

static bool is_of_all(enum op_kind kind)
{
	return kind == OP_SYNC || kind == OP_START_SYNC || kind >= OP_AWAIT_WRITE;
}

static bool draw_op(
	struct workload *w, const struct model *m, uint32_t nr, unsigned i, struct op *op)
{
	*op = (struct op){.kind = draw_kind(w, nr, i)};
	draw_args(w, nr, i + 10, op);
	if (is_of_all(op->kind))
		return op->kind != OP_REMOUNT || w->state[1] == 0;
	draw_path(w, nr, i + 20, op->path);
	if (has_two_paths(op->kind))
		draw_path(w, nr, i + 30, op->to);
	if (op->kind == OP_CLOSE)
		return pick_held(w, m, nr, op);
	if (!op_is_valid(m, op))
		return false;
	if (op->kind == OP_OPEN)
		return model_find(m, op->path) != m->root;
	return true;
}

static bool random_next(struct workload *w, const struct model *m, uint32_t nr, struct op *op)
{
	uint32_t nr_ops = kinds[w->state[0]].nr_ops;

	if (nr == nr_ops && w->state[1] == 0 && w->seed % 2 == 0) {
		*op = op_of(OP_UNMOUNT, "");
		return true;
	}
	if (nr >= nr_ops)
		return false;
	for (unsigned i = 0; i < TRIES; i++)
		if (draw_op(w, m, nr, i * 50, op) && starts_in_turn(w, op))
			return true;
	*op = op_of(OP_SYNC, "");
	return true;
}

static const struct weight names_weights[] = {{OP_CREAT, 5}, {OP_MKDIR, 3}, {OP_FIFO, 1},
	{OP_SYMLINK, 2}, {OP_LINK, 3}, {OP_UNLINK, 4}, {OP_RMDIR, 2}, {OP_RENAME, 6},
	{OP_EXCHANGE, 2}, {OP_SYNC, 2}, {OP_FSYNC, 4}, {OP_FDATASYNC, 1}, {OP_CREAT, 0}};
static const struct weight data_weights[] = {{OP_CREAT, 1}, {OP_WRITE, 10}, {OP_TRUNCATE, 4},
	{OP_FALLOC, 5}, {OP_RENAME, 1}, {OP_SYNC, 1}, {OP_FSYNC, 3}, {OP_FDATASYNC, 3},
	{OP_CREAT, 0}};
static const struct weight mixed_weights[] = {{OP_CREAT, 3}, {OP_MKDIR, 2}, {OP_SYMLINK, 1},
	{OP_LINK, 2}, {OP_UNLINK, 2}, {OP_RMDIR, 1}, {OP_RENAME, 3}, {OP_EXCHANGE, 1},
	{OP_WRITE, 6}, {OP_TRUNCATE, 3}, {OP_FALLOC, 3}, {OP_SETXATTR, 2}, {OP_REMOVEXATTR, 1},
	{OP_CHMOD, 1}, {OP_OPEN, 1}, {OP_CLOSE, 1}, {OP_SYNC, 1}, {OP_FSYNC, 3}, {OP_FDATASYNC, 2},
	{OP_CREAT, 0}};
static const struct weight rename_weights[] = {{OP_CREAT, 3}, {OP_MKDIR, 2}, {OP_WRITE, 3},
	{OP_RENAME, 14}, {OP_EXCHANGE, 8}, {OP_SYNC, 1}, {OP_FSYNC, 3}, {OP_CREAT, 0}};
static const struct weight links_weights[] = {{OP_CREAT, 2}, {OP_LINK, 8}, {OP_UNLINK, 6},
	{OP_RENAME, 3}, {OP_WRITE, 2}, {OP_FSYNC, 3}, {OP_SYNC, 1}, {OP_CREAT, 0}};
static const struct weight xattr_weights[] = {{OP_CREAT, 2}, {OP_MKDIR, 1}, {OP_SYMLINK, 2},
	{OP_UNLINK, 2}, {OP_SETXATTR, 10}, {OP_REMOVEXATTR, 5}, {OP_CHMOD, 1}, {OP_FSYNC, 3},
	{OP_SYNC, 1}, {OP_CREAT, 0}};
static const struct weight orphans_weights[] = {{OP_CREAT, 4}, {OP_MKDIR, 1}, {OP_WRITE, 5},
	{OP_OPEN, 5}, {OP_UNLINK, 6}, {OP_RMDIR, 2}, {OP_RENAME, 2}, {OP_CLOSE, 3},
	{OP_TRUNCATE, 2}, {OP_SYNC, 2}, {OP_FSYNC, 3}, {OP_CREAT, 0}};
static const struct weight racy_weights[] = {{OP_CREAT, 4}, {OP_MKDIR, 1}, {OP_LINK, 2},
	{OP_UNLINK, 3}, {OP_RENAME, 4}, {OP_WRITE, 6}, {OP_TRUNCATE, 2}, {OP_SETXATTR, 2},
	{OP_START_FSYNC, 4}, {OP_START_SYNC, 3}, {OP_AWAIT, 3}, {OP_CREAT, 0}};
static const struct weight remount_weights[] = {{OP_CREAT, 3}, {OP_WRITE, 4}, {OP_OPEN, 1},
	{OP_UNLINK, 2}, {OP_RENAME, 2}, {OP_TRUNCATE, 1}, {OP_SETXATTR, 1}, {OP_FSYNC, 1},
	{OP_REMOUNT, 3}, {OP_CREAT, 0}};
static const struct weight freeze_weights[] = {{OP_CREAT, 3}, {OP_WRITE, 5}, {OP_UNLINK, 2},
	{OP_RENAME, 3}, {OP_TRUNCATE, 1}, {OP_SETXATTR, 1}, {OP_FDATASYNC, 1}, {OP_CREAT, 0}};
static const struct weight time_weights[] = {{OP_CREAT, 3}, {OP_WRITE, 5}, {OP_UNLINK, 2},
	{OP_RENAME, 3}, {OP_TRUNCATE, 1}, {OP_SETXATTR, 1}, {OP_TIME, 5}, {OP_CREAT, 0}};

/* --- scripts --- */

static struct op op_two(enum op_kind kind, const char *path, const char *to)
{
	struct op op = op_of(kind, path);

	(void)snprintf(op.to, sizeof(op.to), "%s", to);
	return op;
}

static struct op op_range(enum op_kind kind, const char *path, uint64_t offset, uint32_t bytes)
{
	struct op op = op_of(kind, path);

	op.offset = offset;
	op.bytes = bytes;
	return op;
}

static struct op op_numbered(enum op_kind kind, const char *fmt, uint32_t nr)
	__attribute__((format(printf, 2, 0)));

static struct op op_numbered(enum op_kind kind, const char *fmt, uint32_t nr)
{
	struct op op = {.kind = kind};

	(void)snprintf(op.path, sizeof(op.path), fmt, nr);
	return op;
}

/* Among others: frozen when all is at home, and nothing but contents is not durable yet. */
static bool freeze_next(struct workload *w, const struct model *m, uint32_t nr, struct op *op)
{
	const struct op steps[] = {op_range(OP_WRITE, "ice", 0, 5000), op_of(OP_FREEZE, ""),
		op_of(OP_THAW, ""), op_range(OP_WRITE, "ice", nr * 100, 3000), op_of(OP_FREEZE, ""),
		op_of(OP_THAW, "")};

	if (nr > 0 && nr % 10 < 4)
		return random_next(w, m, nr, op);
	*op = nr == 0 ? op_of(OP_CREAT, "ice") : steps[nr % 10 - 4];
	op->same_second = nr % 10 >= 5 && nr % 10 <= 7;
	return nr < 40;
}

/* A new version is written aside and renamed over the old one, as editors do; rarely synced. */
static bool replace_next(struct workload *w, const struct model *m, uint32_t nr, struct op *op)
{
	uint32_t round = nr / 4;

	(void)m;
	switch (nr % 4) {
	case 0:
		*op = op_of(OP_CREAT, "new");
		break;
	case 1:
		*op = op_range(OP_WRITE, "new", 0, 1 + draw(w, nr, 0, 30000));
		break;
	case 2:
		*op = op_two(OP_RENAME, "new", round % 3 == 0 ? "A/foo" : "foo");
		break;
	default:
		*op = draw(w, nr, 0, 3) == 0 ? op_of(OP_SYNC, "")
					     : op_range(OP_WRITE, "foo", 0, 5000);
		break;
	}
	return nr < 40;
}

/* A block of metadata is freed and used for a file's contents, while older images of it are in the
 * journal. */
static bool revoke_next(struct workload *w, const struct model *m, uint32_t nr, struct op *op)
{
	uint32_t round = nr / 8;
	struct op steps[8] = {
		op_numbered(OP_MKDIR, "D%u", round),
		op_numbered(OP_CREAT, "D%u/f", round),
		op_of(OP_SYNC, ""),
		op_numbered(OP_UNLINK, "D%u/f", round),
		op_numbered(round % 2 == 0 ? OP_RMDIR : OP_CREAT, round % 2 == 0 ? "D%u" : "h%u",
			round),
		op_of(draw(w, nr, 1, 4) == 0 ? OP_SYNC : OP_FSYNC, ""),
		op_numbered(OP_CREAT, "g%u", round),
		op_numbered(OP_WRITE, "g%u", round),
	};

	if ((w->seed + round) % 3 == 1) { /* or the block of a symbolic link, or of attributes */
		steps[0] = op_numbered(OP_CREAT, "k%u", round);
		steps[1] = op_numbered(OP_SYMLINK, "s%u", round);
		steps[1].bytes = 1500;
		steps[3] = op_numbered(OP_UNLINK, "s%u", round);
		steps[4] = op_numbered(OP_CHMOD, "k%u", round);
	} else if ((w->seed + round) % 3 == 2) {
		steps[0] = op_numbered(OP_CREAT, "k%u", round);
		steps[1] = op_numbered(OP_SETXATTR, "k%u", round);
		steps[1].bytes = 3000;
		steps[3] = op_numbered(OP_REMOVEXATTR, "k%u", round);
		steps[4] = op_numbered(OP_CHMOD, "k%u", round);
	}
	steps[7].bytes = 3 * 4096;
	*op = steps[nr % 8];
	(void)m;
	if (nr % 8 == 6 && draw(w, nr, 2, 2) == 0)
		op->kind = OP_CREAT;
	return round < 4;
}

#define FROZEN_SETUP 29U

static struct op frozen_setup(uint32_t nr)
{
	struct op op = op_of(OP_SYNC, "");

	if (nr < 2)
		op = op_of(OP_MKDIR, nr == 0 ? "D" : "E");
	else if (nr < 10)
		op = op_numbered(OP_CREAT, "D/x%u", nr - 2);
	else if (nr < 19)
		op = op_numbered(OP_CREAT, "E/e%u", nr - 10);
	else if (nr < 27)
		op = op_numbered(OP_WRITE, "D/x%u", nr - 19);
	else if (nr == 27)
		op = op_of(OP_WRITE, "E/e6");
	op.bytes = 8192;
	return op;
}

/* Operations while a commit is stopped before it has copied a block: what they change must not get
 * into it. */
static bool frozen_next(struct workload *w, const struct model *m, uint32_t nr, struct op *op)
{
	const uint32_t nr_setup = FROZEN_SETUP, per_round = 13;
	uint32_t round, step;

	(void)m;
	if (nr < nr_setup) {
		*op = frozen_setup(nr);
		return true;
	}
	round = (nr - nr_setup) / per_round;
	step = (nr - nr_setup) % per_round;
	*op = op_of(OP_SYNC, "");
	if (step == 1) {
		*op = op_numbered(OP_UNLINK, "D/x%u", round);
	} else if (step == 2) {
		*op = op_of(OP_START_SYNC, "D");
		op->mode = 1;
	} else if (step == 3) {
		*op = op_two(OP_LINK, "E/e8", "E/link");
		(void)snprintf(op->to, sizeof(op->to), "E/link%u", round);
	} else if (step == 4) {
		*op = op_two(OP_EXCHANGE, "E/e0", "E/e1");
		if (w->state[1] != 0) /* to where the ring has an old block of, and only that */
			*op = op_two(OP_RENAME, "E/e3", "G/e3");
	} else if (step == 5) {
		*op = op_range(OP_WRITE, draw(w, nr, 0, 2) == 0 ? "E/e0" : "E/e7",
			(uint64_t)round * 8192, 5000);
	} else if (step == 6) {
		*op = op_numbered(OP_UNLINK, "E/link%u", round);
	} else if (step == 7) {
		*op = op_of(OP_AWAIT, "");
	} else if (step == 8 || step == 10) { /* flushes that come without a commit */
		*op = op_range(OP_WRITE, "E/e6", 0, 4096);
	} else if (step == 9 || step == 11) {
		*op = op_of(OP_FDATASYNC, "E/e6");
	}
	return round < 6;
}

/* A commit comes while a write of what it names is in flight. */
static bool inflight_next(struct workload *w, const struct model *m, uint32_t nr, struct op *op)
{
	uint32_t round = nr / 7;
	uint32_t bytes = 1 + draw(w, round, 0, 40000), offset = draw(w, round, 1, 12000);
	const char *old = draw(w, round, 2, 2) == 0 ? "foo" : "B/foo";

	(void)m;
	switch (nr % 7) {
	case 0:
		*op = op_numbered(OP_CREAT, "f%u", round);
		break;
	case 1:
		*op = op_numbered(OP_START_WRITE, "f%u", round);
		if (draw(w, round, 3, 3) == 0)
			*op = op_of(OP_START_WRITE, old);
		op->offset = offset;
		op->bytes = bytes;
		break;
	case 2:
		*op = op_of(OP_START_SYNC, "");
		break;
	case 3:
		*op = op_numbered(OP_RENAME, "f%u", round);
		(void)snprintf(op->to, sizeof(op->to), "A/foo");
		break;
	case 4:
		*op = op_of(OP_AWAIT_WRITE, "");
		break;
	case 5:
		*op = op_of(OP_AWAIT, "");
		break;
	default:
		*op = op_of(draw(w, nr, 0, 2) == 0 ? OP_FSYNC : OP_FDATASYNC, old);
		break;
	}
	return round < 6;
}

/* As "frozen", with everything at home at first but a directory's leaf, which goes home in the
 * midst of it: the ring becomes half full, and checkpoints begin. */
static bool checkpoint_next(struct workload *w, const struct model *m, uint32_t nr, struct op *op)
{
	const struct op first[] = {op_of(OP_CREAT, "g"), op_of(OP_CREAT, "f"), op_of(OP_MKDIR, "G"),
		op_of(OP_CREAT, "G/f"), op_of(OP_FSYNC, "G")};
	uint32_t nr_before = 2 * (uint32_t)(166 + w->seed % 3);
	uint32_t i = nr - FROZEN_SETUP;

	w->explore_from = FROZEN_SETUP + nr_before;
	if (nr < FROZEN_SETUP)
		*op = nr == FROZEN_SETUP - 1 ? op_of(OP_REMOUNT, "") : frozen_setup(nr);
	else if (i < 5)
		*op = first[i];
	else
		*op = op_of(i % 2 == 0 ? OP_FSYNC : OP_CHMOD, "f");
	w->state[1] = 1;
	if (nr >= w->explore_from)
		return frozen_next(w, m, nr - nr_before, op);
	op->mode = (int)(nr % 0777);
	return true;
}

/* Each transaction has three blocks, and so one on the next lap lies where an older one was. */
static bool lap_next(struct workload *w, const struct model *m, uint32_t nr, struct op *op)
{
	(void)m;
	w->explore_from = 2 * (uint32_t)(335 + w->seed % 10);
	*op = nr == 0       ? op_of(OP_CREAT, "f")
	      : nr % 2 == 0 ? op_of(OP_FSYNC, "f")
			    : op_of(OP_CHMOD, "f");
	op->mode = (int)(nr % 0777);
	op->mode = (int)draw(w, nr, 0, 01000);
	return nr < w->explore_from + 40;
}

/* Transactions of several blocks, one after the other, around and around the journal; what is
 * explored is where the ring begins again. */
static bool wrap_next(struct workload *w, const struct model *m, uint32_t nr, struct op *op)
{
	uint32_t i = nr / 3;

	(void)m;
	w->explore_from = 150 + (uint32_t)(w->seed % 12) * 20;
	*op = nr % 3 == 2 ? op_numbered(OP_FSYNC, "f%u", i)
			  : op_numbered(nr % 3 == 0 ? OP_CREAT : OP_SETXATTR, "f%u", i);
	op->bytes = 3800;
	if (nr % 3 == 0 && i > 40 && i % 2 == 0)
		*op = op_numbered(OP_UNLINK, "f%u", i - 40);
	if (nr % 3 != 0 && i > 40 && i % 2 == 0)
		*op = op_numbered(nr % 3 == 1 ? OP_WRITE : OP_FSYNC, "f%u", i - 1);
	return nr < w->explore_from + 24;
}

/* Nothing is synced: transactions end because they are large, and the ring fills up. */
static bool logfull_next(struct workload *w, const struct model *m, uint32_t nr, struct op *op)
{
	static const enum op_kind logfull_other[] = {OP_UNLINK, OP_CREAT, OP_CHMOD, OP_SYMLINK};
	uint32_t i = nr / 4;

	(void)m;
	w->explore_from = 500 + (uint32_t)((w->seed * 3 + 1) % 8) * 90;
	*op = op_numbered(nr % 4 == 0 ? OP_CREAT : OP_SETXATTR, "f%u", i);
	op->mode = (int)(nr % 4);
	op->bytes = 3800;
	if (i > 90 && i % 3 == 0)
		*op = op_numbered(logfull_other[nr % 4], nr % 4 == 0 ? "f%u" : "n%u",
			nr % 4 == 0 ? i - 60 : i);
	return nr < w->explore_from + 260;
}

/* A file in many pieces is cut, punched and removed, in several steps each. */
static bool fragments_next(struct workload *w, const struct model *m, uint32_t nr, struct op *op)
{
	static const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	uint32_t nr_pieces = 150 + (uint32_t)(w->seed % 40);
	uint64_t end = (uint64_t)nr_pieces * 8192;

	(void)m;
	w->explore_from = nr_pieces + 2;
	if (nr == 0) {
		*op = op_of(OP_CREAT, "big");
		return true;
	}
	if (nr <= nr_pieces) {
		*op = op_range(OP_WRITE, "big", (uint64_t)(nr - 1) * 8192, 2000);
		return true;
	}
	switch (nr - nr_pieces) {
	case 1:
	case 4:
	case 7:
		*op = op_of(w->racy ? OP_START_SYNC : OP_SYNC, "");
		break;
	case 2:
		*op = op_range(OP_FALLOC, "big", end / 4 + draw(w, nr, 0, 9000), (uint32_t)end / 2);
		op->mode = punch;
		break;
	case 5:
		*op = op_range(OP_TRUNCATE, "big", draw(w, nr, 0, 30000), 0);
		break;
	case 8:
		*op = op_of(OP_UNLINK, "big");
		break;
	case 3:
	case 6:
	case 9:
		*op = op_of(w->racy ? OP_AWAIT : OP_FSYNC, "");
		break;
	case 10:
		*op = op_of(OP_SYNC, "");
		break;
	default:
		return false;
	}
	return true;
}

/* A transaction is nearly so large that it ends by itself when a file in pieces is cut: a commit
 * comes when half of that is done. */
static bool halfcut_next(struct workload *w, const struct model *m, uint32_t nr, struct op *op)
{
	const uint32_t nr_pieces = 150, first = nr_pieces + 2;
	uint32_t cut = first + HALFCUT_FILL + (uint32_t)(w->seed % 3);
	uint32_t i = nr - first;

	(void)m;
	w->explore_from = cut;
	*op = op_of(OP_SYNC, "");
	if (nr == 0)
		*op = op_of(OP_CREAT, "big");
	else if (nr <= nr_pieces)
		*op = op_range(OP_WRITE, "big", (uint64_t)(nr - 1) * 8192, 2000);
	else if (nr >= first && nr < cut)
		*op = op_numbered(i % 5 == 0 ? OP_CREAT : OP_SETXATTR, "f%u", i / 5);
	else if (nr == cut)
		*op = op_range(w->seed % 6 < 3 ? OP_TRUNCATE : OP_UNLINK, "big", 10000, 0);
	if (op->kind == OP_SETXATTR) {
		op->mode = (int)(i % 5) - 1;
		op->bytes = 3800;
	}
	return nr <= cut + 1;
}

/* The disk is full, and stays nearly so. State 1: how far the filling is. */
static bool full_next(struct workload *w, const struct model *m, uint32_t nr, struct op *op)
{
	static const uint32_t sizes[] = {1 << 20, 1 << 18, 1 << 14, 4096};
	uint32_t at = (uint32_t)w->state[1];

	if (nr == 0) {
		w->explore_from = UINT32_MAX;
		*op = op_of(OP_CREAT, "fill");
		return true;
	}
	if (at < 4 && nr > 1 && w->last_result < (int64_t)sizes[at])
		at = (uint32_t)++w->state[1];
	if (at < 4) {
		*op = op_range(OP_WRITE, "fill", model_find(m, "fill")->size, sizes[at]);
		return true;
	}
	if (at == 4) {
		w->explore_from = nr + 1;
		w->state[1]++;
		w->state[2] = nr;
		*op = op_of(OP_SYNC, "");
		return true;
	}
	switch (nr - w->state[2]) {
	case 5:
		*op = op_range(OP_TRUNCATE, "fill", 8 << 20, 0);
		return true;
	case 6:
		*op = op_of(OP_CREAT, "after");
		return true;
	case 7:
		*op = op_range(OP_WRITE, "after", 0, 500000);
		return true;
	case 12:
		*op = op_of(OP_UNLINK, "fill");
		return true;
	case 13:
		*op = op_range(OP_WRITE, "after", 100000, 600000);
		return true;
	default:
		return random_next(w, m, nr, op) && nr - w->state[2] < 20;
	}
}

/* A directory of several leaves: they split, and go. */
static bool bigdir_next(struct workload *w, const struct model *m, uint32_t nr, struct op *op)
{
	static const char *const fmt = "D/a-name-that-takes-up-some-room-%u";
	uint32_t first = 100 + (uint32_t)(w->seed % 4) * 60;
	uint32_t step = nr - first;
	char path[OP_PATH_BYTES];

	(void)m;
	w->explore_from = first;
	if (nr == 0) {
		*op = op_of(OP_MKDIR, "D");
	} else if (nr < first) {
		*op = op_numbered(OP_CREAT, fmt, nr);
	} else if (step % 8 == 7) {
		*op = op_of(draw(w, nr, 0, 2) == 0 ? OP_SYNC : OP_FSYNC, "D");
	} else if (w->seed % 2 == 0) {
		*op = op_numbered(OP_UNLINK, fmt, 1 + step);
	} else if (step % 3 == 0) {
		*op = op_numbered(OP_RENAME, fmt, 1 + step);
		(void)snprintf(path, sizeof(path), fmt, 5000 + step);
		strcpy(op->to, path);
	} else {
		*op = op_numbered(OP_CREAT, fmt, nr);
	}
	return step < 40 || nr < first;
}

/* Writes of many blocks, over and behind what is there. */
static bool bigwrite_next(struct workload *w, const struct model *m, uint32_t nr, struct op *op)
{
	const char *path = draw(w, nr, 0, 2) == 0 ? "foo" : "B/foo";

	(void)m;
	*op = nr % 4 == 3 ? op_of(draw(w, nr, 1, 2) == 0 ? OP_FSYNC : OP_FDATASYNC, path)
			  : op_range(OP_WRITE, path, draw(w, nr, 2, 300000),
				    1 + draw(w, nr, 3, 300000));
	op->same_second = draw(w, nr, 4, 2) == 0;
	if (draw(w, nr, 5, 8) == 0)
		*op = op_range(OP_TRUNCATE, path, draw(w, nr, 2, 300000), 0);
	return nr < 24;
}

/* --- the list --- */

static const struct kind kinds[] = {
	{"names", 3, random_next, names_weights, 60, true, false, 0, 0},
	{"data", 4, random_next, data_weights, 50, true, false, 0, 0},
	{"mixed", 4, random_next, mixed_weights, 60, true, false, 0, 0},
	{"rename", 3, random_next, rename_weights, 60, true, false, 0, 0},
	{"links", 2, random_next, links_weights, 50, true, false, 0, 0},
	{"xattr", 3, random_next, xattr_weights, 60, true, false, 0, 0},
	{"orphans", 3, random_next, orphans_weights, 60, true, false, 0, 0},
	{"racy", 4, random_next, racy_weights, 60, true, true, 0, 0},
	{"remount", 3, random_next, remount_weights, 40, true, false, 0, 0},
	{"freeze", 2, freeze_next, freeze_weights, 40, true, false, 0, 0},
	{"time", 2, random_next, time_weights, 40, true, false, 5, 0},
	{"replace", 3, replace_next, NULL, 0, true, false, 0, 0},
	{"revoke", 3, revoke_next, NULL, 0, false, false, 0, 0},
	{"frozen", 3, frozen_next, NULL, 0, false, false, 0, 0},
	{"inflight", 3, inflight_next, NULL, 0, true, false, 0, 0},
	{"checkpoint", 3, checkpoint_next, NULL, 0, false, false, 0, 0},
	{"lap", 2, lap_next, NULL, 0, false, false, 0, 0},
	{"wrap", 3, wrap_next, NULL, 0, false, false, 0, 0},
	{"logfull", 3, logfull_next, NULL, 0, false, false, 0, 0},
	{"cache", 3, logfull_next, NULL, 0, false, false, 0, 1},
	{"fragments", 2, fragments_next, NULL, 0, false, false, 0, 0},
	{"steps", 2, fragments_next, NULL, 0, false, true, 0, 0},
	{"halfcut", 2, halfcut_next, NULL, 0, false, false, 0, 0},
	{"full", 2, full_next, data_weights, UINT32_MAX, true, false, 0, 0},
	{"bigdir", 3, bigdir_next, NULL, 0, false, false, 0, 0},
	{"bigwrite", 3, bigwrite_next, NULL, 0, true, false, 0, 0},
};

#define NR_KINDS (sizeof(kinds) / sizeof(kinds[0]))

unsigned kind_count(void)
{
	return NR_KINDS;
}

const char *kind_name(unsigned i)
{
	return kinds[i].name;
}

uint32_t kind_share(unsigned i)
{
	return kinds[i].share;
}

bool kind_make(const char *kind, uint64_t seed, struct workload *out)
{
	for (unsigned i = 0; i < NR_KINDS; i++) {
		const struct kind *k = &kinds[i];

		if (strcmp(k->name, kind) != 0)
			continue;
		*out = (struct workload){.seed = seed,
			.has_files = k->has_files,
			.racy = k->racy,
			.commit_s = k->commit_s,
			.cache_mib = k->cache_mib,
			.next = k->next,
			.state[0] = i};
		(void)snprintf(out->name, sizeof(out->name), "%s:%lu", kind, seed);
		return true;
	}
	return false;
}
