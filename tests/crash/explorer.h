/* explorer.h - all disks that a power cut may leave of a recording, as many as asked for.
 *
 * A cut comes after some event of the log. What a completed FLUSH covers is there; of every write
 * that was submitted since, done or not, each sector may be there or not. Where few writes are
 * pending all subsets of them are tried, else and beyond that a choice by seed: subsets, torn
 * writes, what the disk might have done out of order. Now and then the power fails once more while
 * the mount that follows replays, or the unmount after it writes.
 *
 * A state is a disk's contents and what was promised by then. Each is checked once: the contents
 * and the operations that led there are hashed, also across workloads. */
#ifndef VBLKFS_CRASH_EXPLORER_H
#define VBLKFS_CRASH_EXPLORER_H
#include "runner.h"
#include "seen.h"

struct cut {            /* which state: enough to make it again from a recording */
	uint32_t event; /* the power fails before this one */
	uint32_t choice;
	bool nested;
	uint32_t event2, choice2; /* nested: likewise, of what the mount wrote */
};

struct failure {
	struct cut cut;
	char why[600];
};

/* Counted over all processes. */
struct counts {
	_Atomic uint64_t workloads, states, distinct, nested, failures;
	_Atomic uint64_t ace[2]; /* sequences of one operation, and of two */
};

struct explorer;

/* *NOW is always the state that is being looked at. */
struct explorer *explorer_open(struct seen *seen, struct counts *counts, struct cut *now);
void explorer_close(struct explorer *x);
/* At most about MAX_STATES of REC. False: one failed. */
bool explorer_run(
	struct explorer *x, const struct recording *rec, uint32_t max_states, struct failure *out);
/* One of them, however often it was seen; ON_TREE as in oracle.h. */
bool explorer_one(struct explorer *x, const struct recording *rec, const struct cut *cut,
	void (*on_tree)(const char *line), struct failure *out);
#endif
