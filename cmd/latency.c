/* latency.c - see latency.h. */
#include "latency.h"

uint64_t latency_nr(const struct latency *l)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < BLK_LATENCY_BUCKETS; i++)
		n += l->buckets[i];
	return n;
}

double latency_mean(const struct latency *l)
{
	uint64_t n = latency_nr(l);

	return n == 0 ? 0 : (double)l->us / (double)n;
}

double latency_percentile(const struct latency *l, double percent)
{
	double rank = (double)latency_nr(l) * percent / 100, below = 0;

	for (unsigned i = 0; i < BLK_LATENCY_BUCKETS; i++) {
		double here = (double)l->buckets[i];
		double start = i == 0 ? 0 : (double)(1ULL << (i - 1));
		double width = i == 0 ? 1 : start;

		if (here > 0 && below + here >= rank)
			return start + width * (rank - below) / here;
		below += here;
	}
	return 0;
}
