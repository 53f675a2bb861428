/* latency.h - how long requests took, from the buckets of struct blk_stat.
 *
 * A bucket is as wide as its lower end, so a percentile lies in it somewhere: it is placed as if
 * the requests were spread evenly, and may be off by that width. Microseconds, but where it says
 * otherwise. */
#ifndef VBLKFS_LATENCY_H
#define VBLKFS_LATENCY_H
#include <stdint.h>
#include "blockdev.h"

struct latency {
	uint64_t buckets[BLK_LATENCY_BUCKETS];
	uint64_t us; /* the sum */
};

uint64_t latency_nr(const struct latency *l); /* requests */
double latency_mean(const struct latency *l); /* 0 of none, as the next */
double latency_percentile(const struct latency *l, double percent);
#endif
