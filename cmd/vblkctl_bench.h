/* vblkctl_bench.h - requests to a disk as fast as they go, by the library (vblk/vblk.h), and how
 * long they took. */
#ifndef VBLKFS_VBLKCTL_BENCH_H
#define VBLKFS_VBLKCTL_BENCH_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include "histogram.h"
#include "vblk/vblk.h"

enum bench_pattern {
	BENCH_READ,
	BENCH_WRITE,
	BENCH_RW, /* some of both */
	BENCH_RANDREAD,
	BENCH_RANDWRITE,
	BENCH_RANDRW,
	BENCH_FLUSH,
	BENCH_DISCARD,
	BENCH_RANDDISCARD,
	BENCH_WRITE_ZEROES,
	BENCH_RANDWRITE_ZEROES,
	BENCH_NR_PATTERNS
};

struct bench_job {
	enum bench_pattern pattern;
	unsigned read_percent; /* of a mixed one */
	uint64_t bytes;        /* of a request */
	uint64_t span;         /* of the disk, from its begin; 0: all */
	unsigned depth;        /* requests under way, a queue */
	unsigned queues;       /* each with a thread */
	double runtime_s;      /* 0: until nr_ios */
	uint64_t nr_ios;       /* in all; 0: until the time is over */
	int spin_us;           /* -1: the disk's own */
	bool verify; /* what is written says where it is, and what is read is held against that */
	atomic_bool *stop; /* set at any time: end soon */
};

struct bench_result {
	struct vblk_info info;    /* in the end */
	unsigned nr_rings;        /* that were there, in use or not; of an image one a queue */
	struct histogram latency; /* of all */
	struct histogram reads, others; /* of which they are the sum */
	double seconds;
	uint64_t nr_errors, nr_wrong; /* of the former: read, but not as written */
	int first_error;
	uint64_t kicks, kicks_saved, interrupts;
};

bool bench_writes(enum bench_pattern pattern); /* what is on the disk is another thing then */
bool bench_mixes(enum bench_pattern pattern);
bool bench_has_data(enum bench_pattern pattern); /* to read or to write */
/* Do JOB on DISK. 0, with requests that failed counted; or a negative errno, with a line in ERR. */
int bench_run(struct vblk_disk *disk, const struct bench_job *job, struct bench_result *result,
	char *err, size_t err_bytes);
#endif
