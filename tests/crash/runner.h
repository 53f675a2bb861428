/* runner.h - carries a workload out on the filesystem, and records what reaches the disk.
 *
 * What repeats itself: the order of writes and flushes does where the runner waits after each
 * operation until the filesystem's own threads sleep; all there is of time and chance comes from
 * world.h. What does not: a racy workload, which goes on while a commit is being written. Of those
 * the recording is what can be repeated (recording.h saves it). */
#ifndef VBLKFS_CRASH_RUNNER_H
#define VBLKFS_CRASH_RUNNER_H
#include "log_disk.h"
#include "model.h"

#define DISK_BLOCKS 4096U /* 16 MiB: the smallest filesystem */

struct workload;

/* The next operation of W after NR; false: that was the last. MODEL is the state before it. */
typedef bool (*next_op_fn)(
	struct workload *w, const struct model *model, uint32_t nr, struct op *op);

struct workload {
	char name[48];
	uint64_t seed;
	bool has_files;               /* begins on the base that has some */
	bool racy;                    /* operations do not wait for the filesystem's threads */
	uint32_t commit_s, cache_mib; /* 0: never commits by itself; the default */
	uint32_t explore_from;        /* operation; what is before it is only done */
	next_op_fn next;
	int64_t last_result; /* of the operation before */
	uint64_t state[6];   /* the generator's own */
};

struct recording {
	struct workload w;
	const struct image *base;
	struct op *ops; /* of the base, then the workload's */
	uint32_t nr_base, nr_ops, max_ops;
	struct model model;
	struct log_events log;
	uint32_t nr_refused; /* operations that failed */
};

struct runner;

struct runner *runner_open(void);
void runner_close(struct runner *r);
/* Into REC, which is reused. False: the filesystem itself failed, see WHY. */
bool runner_record(struct runner *r, const struct workload *w, struct recording *rec, char *why,
	size_t why_bytes);
const struct image *runner_base(const struct runner *r, bool has_files);
/* The model, anew, from the recording's operations up to NR of the workload's. */
void recording_replay(const struct recording *rec, struct model *m, uint32_t nr);
void recording_free(struct recording *rec);
#endif
