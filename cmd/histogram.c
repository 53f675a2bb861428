/* histogram.c - see histogram.h. Below 32 ns a bucket is a nanosecond; from there on bucket
 * 32 * (m - 4) + s, s from 0 to 31, has 2^m * (1 + s / 32) and up. */
#include "histogram.h"

#define STEPS      HISTOGRAM_STEPS
#define STEPS_LOG2 5U

static unsigned bucket_of(uint64_t ns)
{
	unsigned power;

	if (ns < STEPS)
		return (unsigned)ns;
	power = 63U - (unsigned)__builtin_clzll(ns);
	return (power - STEPS_LOG2) * STEPS + (unsigned)(ns >> (power - STEPS_LOG2));
}

/* The middle of a bucket. */
static double bucket_ns(unsigned bucket)
{
	uint64_t start, width;

	if (bucket < STEPS)
		return bucket;
	width = 1ULL << (bucket / STEPS - 1);
	start = (STEPS + bucket % STEPS) * width;
	return (double)start + (double)(width - 1) / 2;
}

void histogram_add(struct histogram *h, uint64_t ns)
{
	h->nr++;
	h->sum_ns += ns;
	if (ns > h->max_ns)
		h->max_ns = ns;
	h->bucket[bucket_of(ns)]++;
}

void histogram_merge(struct histogram *to, const struct histogram *from)
{
	to->nr += from->nr;
	to->sum_ns += from->sum_ns;
	if (from->max_ns > to->max_ns)
		to->max_ns = from->max_ns;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		to->bucket[i] += from->bucket[i];
}

double histogram_mean_us(const struct histogram *h)
{
	return h->nr == 0 ? 0 : (double)h->sum_ns / (double)h->nr / 1e3;
}

double histogram_percentile_us(const struct histogram *h, double percent)
{
	double rank = (double)h->nr * percent / 100;
	double max = (double)h->max_ns;
	uint64_t seen = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += h->bucket[i];
		if (h->bucket[i] > 0 && (double)seen >= rank)
			return (bucket_ns(i) < max ? bucket_ns(i) : max) / 1e3;
	}
	return 0;
}

uint64_t histogram_power(const struct histogram *h, unsigned power)
{
	uint64_t n = 0;

	for (unsigned i = bucket_of(1ULL << power); i < bucket_of(2ULL << power); i++)
		n += h->bucket[i];
	return n;
}
