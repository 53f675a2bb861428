/* blk_count.h - the figures of struct blk_stat: how the disks count.
 *
 * Threads: one writes a blk_stat at a time, others may read it meanwhile. So no read-modify-write is
 * needed, but whole words. */
#ifndef VBLKFS_BLK_COUNT_H
#define VBLKFS_BLK_COUNT_H
#include <assert.h>
#include <time.h>
#include "blockdev.h"

static inline void count(uint64_t *counter, uint64_t add)
{
	__atomic_store_n(counter, *counter + add, __ATOMIC_RELAXED);
}

static inline uint64_t count_now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* How many bits it takes to write X: 0 for 0, 1 for 1, 2 for 2 and 3, ... */
static inline unsigned count_bits(uint64_t x)
{
	return x == 0 ? 0 : 64 - (unsigned)__builtin_clzll(x);
}

static inline void count_latency(struct blk_stat *st, enum blk_op op, uint64_t ns)
{
	uint64_t us = ns / 1000;
	unsigned bucket = count_bits(us);

	if (bucket >= BLK_LATENCY_BUCKETS)
		bucket = BLK_LATENCY_BUCKETS - 1;
	count(&st->latency[op][bucket], 1);
	count(&st->latency_us[op], us);
}

static inline void count_batch(struct blk_stat *st, unsigned nr) /* at least one */
{
	unsigned bucket = count_bits(nr) - 1;

	count(&st->batches[bucket < BLK_BATCH_BUCKETS ? bucket : BLK_BATCH_BUCKETS - 1], 1);
}

static inline void count_request(struct blk_stat *st, const struct blk_req *req, int err)
{
	uint64_t bytes = (uint64_t)req->nr_sectors * SECTOR_BYTES;

	switch (req->op) {
	case BLK_READ:
		count(&st->reads, 1);
		count(&st->read_bytes, bytes);
		break;
	case BLK_WRITE:
		count(&st->writes, 1);
		count(&st->write_bytes, bytes);
		break;
	case BLK_FLUSH:
		count(&st->flushes, 1);
		break;
	default:
		count(&st->others, 1);
	}
	if (err < 0)
		count(&st->errors, 1);
}

static inline void count_read(const struct blk_stat *st, struct blk_stat *out)
{
	const uint64_t *from = (const uint64_t *)st;
	uint64_t *to = (uint64_t *)out;

	static_assert(sizeof(*out) % sizeof(*to) == 0, "all counters are 64 bits wide");
	for (size_t i = 0; i < sizeof(*out) / sizeof(*to); i++)
		to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}
#endif
