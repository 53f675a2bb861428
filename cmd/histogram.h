/* histogram.h - how long many things took: by binary magnitude, 32 steps in each, so that what comes
 * out is 3 % exact, without memory for each. Nanoseconds in, microseconds out. */
#ifndef VBLKFS_HISTOGRAM_H
#define VBLKFS_HISTOGRAM_H
#include <stdint.h>

#define HISTOGRAM_STEPS   32U
#define HISTOGRAM_BUCKETS (60U * HISTOGRAM_STEPS)

struct histogram { /* begins as zeros */
	uint64_t nr, sum_ns, max_ns;
	uint64_t bucket[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *h, uint64_t ns);
void histogram_merge(struct histogram *to, const struct histogram *from);
double histogram_mean_us(const struct histogram *h); /* 0 of none, as the next */
double histogram_percentile_us(const struct histogram *h, double percent);
/* How many took from 2^POWER to less than 2^(POWER + 1) nanoseconds. */
uint64_t histogram_power(const struct histogram *h, unsigned power);
#endif
