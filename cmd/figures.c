/* figures.c - see figures.h. */
#include <string.h>
#include "figures.h"

#define NR_COUNTERS (sizeof(struct blk_stat) / sizeof(uint64_t))

void figures_add(struct blk_stat *to, const struct blk_stat *from)
{
	uint64_t *t = (uint64_t *)to;
	const uint64_t *f = (const uint64_t *)from;

	for (size_t i = 0; i < NR_COUNTERS; i++)
		t[i] += f[i];
}

void figures_subtract(struct blk_stat *from, const struct blk_stat *before)
{
	uint64_t *f = (uint64_t *)from;
	const uint64_t *b = (const uint64_t *)before;

	for (size_t i = 0; i < NR_COUNTERS; i++)
		f[i] = f[i] > b[i] ? f[i] - b[i] : 0;
}

uint64_t figures_requests(const struct blk_stat *st)
{
	return st->reads + st->writes + st->flushes + st->others;
}

double figures_batch(const struct blk_stat *st)
{
	uint64_t batches = st->kicks + st->kicks_saved;

	return batches == 0 ? 0 : (double)figures_requests(st) / (double)batches;
}

struct latency figures_latency(const struct blk_stat *st, enum blk_op op)
{
	struct latency l = {.us = st->latency_us[op]};

	memcpy(l.buckets, st->latency[op], sizeof(l.buckets));
	return l;
}
