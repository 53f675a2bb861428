/* workloads.c - workloads by name and in their order (workloads.h). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "workloads.h"
#include "world.h"

#define ACE1_SHARE  1U
#define ACE2_SHARE  1U
#define KIND_EVERY  40U /* among sequences of two */
#define FIRST_SEEDS 2U  /* each kind comes with so many seeds before any sequence */

struct op op_of(enum op_kind kind, const char *path)
{
	struct op op = {.kind = kind};

	(void)snprintf(op.path, sizeof(op.path), "%s", path);
	return op;
}

static bool is_dir(const struct mnode *n)
{
	return n != NULL && S_ISDIR(n->mode);
}

static bool is_file(const struct mnode *n)
{
	return n != NULL && S_ISREG(n->mode);
}

static bool is_below(const struct mnode *n, const struct mnode *above)
{
	for (; n != NULL; n = n->parent)
		if (n == above)
			return true;
	return false;
}

static bool may_rename(const struct mnode *n, const struct mnode *to_dir, const struct mnode *old)
{
	if (n == NULL || n == old || is_below(to_dir, n))
		return false;
	if (old == NULL)
		return true;
	return is_dir(n) ? is_dir(old) && old->entries == NULL : !is_dir(old);
}

static bool may_exchange(const struct mnode *a, const struct mnode *b, const struct mnode *dir_a,
	const struct mnode *dir_b)
{
	return a != NULL && b != NULL && a != b && !is_below(dir_b, a) && !is_below(dir_a, b);
}

bool op_is_valid(const struct model *m, const struct op *op)
{
	const char *name, *to_name;
	const struct mnode *dir = model_parent(m, op->path, &name);
	const struct mnode *to_dir = model_parent(m, op->to, &to_name);
	const struct mnode *n = model_find(m, op->path);
	const struct mnode *to = op->to[0] == '\0' ? NULL : model_find(m, op->to);

	if (!is_dir(dir) || !is_dir(to_dir))
		return false;
	switch (op->kind) {
	case OP_CREAT:
	case OP_MKDIR:
	case OP_FIFO:
	case OP_SYMLINK:
		return n == NULL && name[0] != '\0';
	case OP_LINK:
		return n != NULL && !is_dir(n) && to == NULL;
	case OP_UNLINK:
		return n != NULL && !is_dir(n);
	case OP_RMDIR:
		return is_dir(n) && n->entries == NULL && n != m->root;
	case OP_RENAME:
		return may_rename(n, to_dir, to);
	case OP_EXCHANGE:
		return may_exchange(n, to, dir, to_dir);
	case OP_TRUNCATE:
	case OP_WRITE:
	case OP_FALLOC:
		return is_file(n);
	case OP_REMOVEXATTR:
		return n != NULL && n->xattr[op->mode] != 0;
	default:
		return n != NULL;
	}
}

void workloads_init(void)
{
	ace_init();
}

bool workload_by_name(const char *name, struct workload *out)
{
	char kind[32];
	uint64_t nr;

	if (sscanf(name, "%31[^:]:%" SCNu64, kind, &nr) != 2)
		return false;
	if (strcmp(kind, "ace1") != 0 && strcmp(kind, "ace2") != 0)
		return kind_make(kind, nr, out);
	if (nr >= ace_count(kind[3] == '1' ? 1 : 2))
		return false;
	ace_make(kind[3] == '1' ? 1 : 2, nr, out);
	return true;
}

const char *workloads_kind(unsigned i)
{
	return i < kind_count() ? kind_name(i) : NULL;
}

/* I of NR in an order that SEED shuffles: a walk around by a step that has no factor in common. */
static uint64_t shuffled(uint64_t i, uint64_t nr, uint64_t seed)
{
	const uint64_t step = 1000000007; /* a prime, more than there are */

	return (i % nr * (step % nr) + seed) % nr;
}

void workload_by_index(uint64_t index, uint64_t seed, struct workload *out, uint32_t *share)
{
	uint64_t first = (uint64_t)kind_count() * FIRST_SEEDS;
	uint64_t i = index - first - ace_count(1);
	uint64_t nth = i / KIND_EVERY * (KIND_EVERY - 1) + i % KIND_EVERY;

	*share = 0;
	if (index >= first && index < first + ace_count(1)) {
		ace_make(1, index - first, out);
		*share = ACE1_SHARE;
	} else if (index >= first && i % KIND_EVERY != KIND_EVERY - 1 && nth < ace_count(2)) {
		ace_make(2, shuffled(nth, ace_count(2), seed), out);
		*share = ACE2_SHARE;
	} else {
		uint64_t nr =
			index < first ? index : first + (nth < ace_count(2) ? i / KIND_EVERY : i);
		unsigned kind = (unsigned)(nr % kind_count());

		(void)kind_make(kind_name(kind), seed + nr / kind_count(), out);
		*share = kind_share(kind);
	}
}
