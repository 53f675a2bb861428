/* blockdev.h - the seam: what the filesystem asks of a disk.
 *
 * Positions and counts are in sectors of 512 bytes, whatever the disk's own
 * block size; they must be multiples of that block size. Errors are negative
 * errnos: -EIO the disk failed, -EPROTO it broke its protocol, -ENODEV it is
 * gone, -EROFS it is read-only, -EOPNOTSUPP it cannot do this.
 *
 * Threads: a blk_queue belongs to one thread: every call on it but blk_wake(),
 * and so every done(), happens there. There may be more queues than the disk
 * has rings (blk_info.nr_rings): then some share one, under a lock, and each
 * still gets its own completions only.
 *
 * A write is durable only after a BLK_FLUSH that was submitted, on any queue,
 * once the write was done. Completions come in any order. */
#ifndef VBLKFS_BLOCKDEV_H
#define VBLKFS_BLOCKDEV_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define SECTOR_BYTES 512U

enum blk_op { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD, BLK_WRITE_ZEROES, BLK_SECURE_ERASE };
#define BLK_NR_OPS (BLK_SECURE_ERASE + 1)

struct blockdev;
struct blk_queue;

struct blk_req { /* the caller's, but the queue's from submit to done() */
	enum blk_op op;
	uint64_t sector;
	uint32_t nr_sectors;     /* any size: split by the disk's limits below the seam */
	const struct iovec *iov; /* nr_sectors * 512 bytes of blk_dma_alloc() memory; READ, WRITE */
	int nr_iov;
	void (*done)(struct blk_req *req, int err);
	struct blk_req *next; /* the queue's, between submit and done() */
	uint64_t priv[4];     /* the queue's, likewise */
};

struct blk_info {
	uint64_t nr_sectors;
	uint32_t logical_bytes;  /* the disk's block: 512 or 4096 */
	uint32_t physical_bytes; /* best unit of writing; >= logical_bytes */
	uint32_t nr_rings;       /* queues beyond this many share a ring */
	bool read_only;
	bool volatile_cache; /* writes need BLK_FLUSH to be durable */
	bool can_discard;
	bool can_write_zeroes;
	bool can_secure_erase;    /* a discard that takes all copies of the data with it */
	uint32_t nr_resets;       /* of the device, since it was opened */
	uint32_t nr_queue_resets; /* of one of its queues alone */
	char serial[21];          /* NUL-terminated; empty when the disk has none */
	char name[64];            /* as given by the user: address or path; for messages */
};

/* Bucket 0 counts what took less than 1 microsecond, bucket i what took from 2^(i-1) to 2^i - 1; the
 * last has all that is longer, a minute and more. */
#define BLK_LATENCY_BUCKETS 28
/* Bucket i counts batches of 2^i to 2^(i+1) - 1 requests; the last has all that are larger. */
#define BLK_BATCH_BUCKETS 8

struct blk_stat { /* of one ring, since it was opened; uint64_t all of it */
	uint64_t reads, writes, flushes, others;
	uint64_t read_bytes, write_bytes;
	uint64_t errors;
	uint64_t kicks;       /* doorbells rung */
	uint64_t kicks_saved; /* batches for which the device asked for none */
	uint64_t interrupts;  /* wake-ups from sleep by the device */
	uint64_t polls_hit, polls_missed;
	uint64_t batches[BLK_BATCH_BUCKETS]; /* what one doorbell, rung or saved, was for */
	/* How long the disk had each request: from its batch's first until the poll that found it
	 * done. One that the disk's limits split counts once for each part. */
	uint64_t latency[BLK_NR_OPS][BLK_LATENCY_BUCKETS];
	uint64_t latency_us[BLK_NR_OPS]; /* their sum */
};

/* The disk behind the seam. One implementation fills one of these tables; every
 * entry is required unless it says otherwise. Call through the functions below. */
struct blockdev_ops {
	void (*info)(struct blockdev *dev, struct blk_info *out);
	int (*queue_open)(struct blockdev *dev, struct blk_queue **out);
	void (*queue_close)(struct blk_queue *q);
	int (*submit)(struct blk_queue *q, struct blk_req *req);
	void (*kick)(struct blk_queue *q);
	int (*poll)(struct blk_queue *q);
	bool (*arm)(struct blk_queue *q);
	void *(*dma_alloc)(struct blockdev *dev, size_t bytes);
	void (*dma_free)(struct blockdev *dev, void *mem, size_t bytes);
	int (*stat)(struct blockdev *dev, struct blk_stat *out, int max); /* may be NULL */
	void (*close)(struct blockdev *dev);
};

struct blockdev {
	const struct blockdev_ops *ops;
	atomic_uint_fast64_t nr_claimed; /* see blk_claim() */
};

struct blk_queue { /* embedded first in the implementation's own */
	struct blockdev *dev;
	uint32_t spin_us; /* how long blk_wait() polls before it sleeps; 0: sleep at once */
	/* Below: blockdev.c's. An implementation ends a sleep by blk_wake(). */
	int event_fd;
	atomic_bool woken;    /* event_fd was written by blk_wake() */
	bool armed;           /* event_fd may be written by the disk */
	uint32_t nr_inflight; /* submitted, done() not yet called */
	struct blk_info info; /* as of the last look; what blk_submit() checks against */
};

void blk_get_info(struct blockdev *dev, struct blk_info *out);
int blk_stats(struct blockdev *dev, struct blk_stat *out, int max); /* how many were filled in */
/* The sectors before NR_SECTORS are in use: a disk that becomes smaller than that says so, loudly. */
void blk_claim(struct blockdev *dev, uint64_t nr_sectors);
void blk_close(struct blockdev *dev); /* all queues closed, all DMA memory freed before */

/* A queue for the calling thread. Close it with nothing in flight. */
int blk_queue_open(struct blockdev *dev, struct blk_queue **out);
void blk_queue_close(struct blk_queue *q);

/* Queue REQ; the disk learns of it at the next blk_kick(). A full ring is no
 * error: REQ waits in the queue for room. -EINVAL: misaligned, no bytes, or past the
 * end; -EROFS; -EOPNOTSUPP: on these REQ stays the caller's and done() is not called. */
int blk_submit(struct blk_queue *q, struct blk_req *req);

void blk_kick(struct blk_queue *q); /* one doorbell for all that is queued */

/* Reap: calls done() for what has completed, returns how many. Never sleeps. done()
 * may submit again; it must not call blk_poll() or blk_wait(). */
int blk_poll(struct blk_queue *q);

/* To sleep: while blk_arm() returns true there is something to poll. When it returned false,
 * blk_fd() becomes readable at the next completion or blk_wake(); blk_poll() resets it. */
bool blk_arm(struct blk_queue *q);
int blk_fd(const struct blk_queue *q);
void blk_wake(struct blk_queue *q); /* from any thread: end a sleep, now or the next one */

/* Kick, poll for a while, then sleep, until something was done, blk_wake() was called or
 * TIMEOUT_MS passed (-1: for ever). Returns what blk_poll() would. */
int blk_wait(struct blk_queue *q, int timeout_ms);

/* Memory that requests may point into: zeroed, aligned to 4096 bytes, physically contiguous when
 * BYTES is at most 2 MiB (2 MiB-aligned when BYTES is a multiple of it). NULL: none left. Any
 * thread. */
void *blk_dma_alloc(struct blockdev *dev, size_t bytes);
void blk_dma_free(struct blockdev *dev, void *mem, size_t bytes);

/* Do one request and wait for it on Q; other requests' done() may be called meanwhile.
 * BUF is NR_SECTORS * 512 bytes of DMA memory, NULL where OP carries no data. */
int blk_do(struct blk_queue *q, enum blk_op op, uint64_t sector, uint32_t nr_sectors, void *buf);
#endif
