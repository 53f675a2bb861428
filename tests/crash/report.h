/* report.h - what a run comes to, for people and for programs. */
#ifndef VBLKFS_CRASH_REPORT_H
#define VBLKFS_CRASH_REPORT_H
#include "explorer.h"

struct run {
	uint64_t seed;
	double seconds;
	unsigned jobs;
	uint64_t ace[2]; /* how many sequences there are; 0: it was not about them */
	bool json;
	const char *program;
};

/* One failure, with the workload and the command that makes it again. FILE: the recording is saved
 * there (NULL: it is not). */
void report_failure(const struct run *run, const struct recording *rec, const struct failure *f,
	const char *file);
void report_end(const struct run *run, const struct counts *counts);
void report_ops(const struct recording *rec, const struct cut *cut);
#endif
