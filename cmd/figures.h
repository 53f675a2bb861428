/* figures.h - the figures of a disk's rings (struct blk_stat): sums, what an interval brought, and as
 * tables. */
#ifndef VBLKFS_FIGURES_H
#define VBLKFS_FIGURES_H
#include <stdbool.h>
#include <stdio.h>
#include "blockdev.h"
#include "latency.h"

void figures_add(struct blk_stat *to, const struct blk_stat *from);
/* What was not so BEFORE. No counter gets below 0: a thread of an image that has ended leaves its place
 * in the list to the next one. */
void figures_subtract(struct blk_stat *from, const struct blk_stat *before);
uint64_t figures_requests(const struct blk_stat *st);
double figures_batch(
	const struct blk_stat *st); /* requests for a doorbell, rung or saved; 0 of none */
struct latency figures_latency(const struct blk_stat *st, enum blk_op op);

/* A table line for each of N rings and, of several, one for all. SECONDS: the counters are shown as
 * rates, of so long an interval; 0: as they are. With HISTOGRAMS all batches and latencies, too, which
 * are counts at any rate. 100 columns are enough. */
void figures_print(
	FILE *to, const struct blk_stat *rings, unsigned n, double seconds, bool histograms);
#endif
