/* blockdev.c - the seam's common half: checks, sleeping and waking, synchronous requests.
 *
 * How a sleep ends without a lost wake-up: blk_wake() sets `woken` and then writes event_fd; the
 * owner clears `woken` and then drains event_fd, and looks at `woken` once more before it sleeps.
 * So a wake that finds `woken` set may skip the write: the owner has yet to look. A write that
 * comes after the owner has looked ends one sleep for nothing. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include "blockdev.h"

void blk_get_info(struct blockdev *dev, struct blk_info *out)
{
	dev->ops->info(dev, out);
}

int blk_stats(struct blockdev *dev, struct blk_stat *out, int max)
{
	return dev->ops->stat == NULL ? 0 : dev->ops->stat(dev, out, max);
}

void blk_claim(struct blockdev *dev, uint64_t nr_sectors)
{
	atomic_store(&dev->nr_claimed, nr_sectors);
}

void blk_close(struct blockdev *dev)
{
	dev->ops->close(dev);
}

int blk_queue_open(struct blockdev *dev, struct blk_queue **out)
{
	struct blk_queue *q;
	int fd, err;

	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	err = dev->ops->queue_open(dev, &q);
	if (err < 0) {
		close(fd);
		return err;
	}
	q->dev = dev;
	q->event_fd = fd;
	q->woken = false;
	q->armed = false;
	q->nr_inflight = 0;
	blk_get_info(dev, &q->info);
	*out = q;
	return 0;
}

void blk_queue_close(struct blk_queue *q)
{
	int fd = q->event_fd;

	q->dev->ops->queue_close(q);
	close(fd);
}

static bool in_range(const struct blk_info *info, const struct blk_req *req)
{
	return req->sector <= info->nr_sectors && req->nr_sectors <= info->nr_sectors - req->sector;
}

static int check_op(const struct blk_info *info, enum blk_op op)
{
	switch (op) {
	case BLK_READ:
	case BLK_FLUSH:
		return 0;
	case BLK_WRITE:
		return info->read_only ? -EROFS : 0;
	case BLK_DISCARD:
		return !info->can_discard ? -EOPNOTSUPP : info->read_only ? -EROFS : 0;
	case BLK_WRITE_ZEROES:
		return !info->can_write_zeroes ? -EOPNOTSUPP : info->read_only ? -EROFS : 0;
	case BLK_SECURE_ERASE:
		return !info->can_secure_erase ? -EOPNOTSUPP : info->read_only ? -EROFS : 0;
	}
	return -EINVAL;
}

static int check_request(struct blk_queue *q, const struct blk_req *req)
{
	uint32_t unit = q->info.logical_bytes / SECTOR_BYTES;
	int err = check_op(&q->info, req->op);

	if (err < 0 || req->op == BLK_FLUSH)
		return err;
	if (req->nr_sectors == 0 || req->sector % unit != 0 || req->nr_sectors % unit != 0)
		return -EINVAL;
	if (!in_range(&q->info, req))
		blk_get_info(q->dev, &q->info); /* it may have grown */
	return in_range(&q->info, req) ? 0 : -EINVAL;
}

int blk_submit(struct blk_queue *q, struct blk_req *req)
{
	int err = check_request(q, req);

	if (err < 0)
		return err;
	err = q->dev->ops->submit(q, req);
	if (err == 0)
		q->nr_inflight++;
	return err;
}

void blk_kick(struct blk_queue *q)
{
	q->dev->ops->kick(q);
}

/* Was blk_wake() called? Resets event_fd where it may have been written. */
static bool take_wake(struct blk_queue *q)
{
	bool woken = atomic_exchange(&q->woken, false);
	uint64_t count;

	if (woken || q->armed) {
		q->armed = false;
		(void)!read(q->event_fd, &count, sizeof(count)); /* EAGAIN: it was not written */
	}
	return woken;
}

static int reap(struct blk_queue *q)
{
	int n = q->dev->ops->poll(q);

	if (n > 0)
		q->nr_inflight -= (uint32_t)n;
	return n;
}

int blk_poll(struct blk_queue *q)
{
	(void)take_wake(q);
	return reap(q);
}

bool blk_arm(struct blk_queue *q)
{
	q->armed = true;
	return q->dev->ops->arm(q) || atomic_load(&q->woken);
}

int blk_fd(const struct blk_queue *q)
{
	return q->event_fd;
}

void blk_wake(struct blk_queue *q)
{
	const uint64_t one = 1;

	if (atomic_exchange(&q->woken, true))
		return;
	(void)!write(q->event_fd, &one, sizeof(one));
}

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* Poll for spin_us. True: it is time to return; *DONE is how many were reaped. */
static bool spin(struct blk_queue *q, int *done)
{
	uint64_t end = 0;

	for (;;) {
		bool woken = take_wake(q);

		*done = reap(q);
		if (*done != 0 || woken)
			return true;
		if (q->nr_inflight == 0 || q->spin_us == 0)
			return false;
		if (end == 0)
			end = now_us() + q->spin_us;
		else if (now_us() >= end)
			return false;
	}
}

static int remaining_ms(uint64_t end_us)
{
	uint64_t now = now_us();

	return now >= end_us ? 0 : (int)((end_us - now + 999) / 1000);
}

int blk_wait(struct blk_queue *q, int timeout_ms)
{
	uint64_t end_us = timeout_ms < 0 ? 0 : now_us() + (uint64_t)timeout_ms * 1000;
	int left_ms = timeout_ms;
	int done;

	blk_kick(q);
	while (!spin(q, &done)) {
		struct pollfd pfd = {.fd = q->event_fd, .events = POLLIN};

		if (timeout_ms >= 0 && (left_ms = remaining_ms(end_us)) == 0)
			return done;
		if (blk_arm(q))
			continue;
		(void)poll(&pfd, 1, left_ms); /* EINTR: look again */
	}
	return done;
}

void *blk_dma_alloc(struct blockdev *dev, size_t bytes)
{
	return dev->ops->dma_alloc(dev, bytes);
}

void blk_dma_free(struct blockdev *dev, void *mem, size_t bytes)
{
	if (mem != NULL)
		dev->ops->dma_free(dev, mem, bytes);
}

struct sync_req {
	struct blk_req req;
	bool done;
	int err;
};

static void sync_done(struct blk_req *req, int err)
{
	struct sync_req *s = (struct sync_req *)req;

	s->done = true;
	s->err = err;
}

int blk_do(struct blk_queue *q, enum blk_op op, uint64_t sector, uint32_t nr_sectors, void *buf)
{
	struct iovec iov = {.iov_base = buf, .iov_len = (size_t)nr_sectors * SECTOR_BYTES};
	struct sync_req s = {
		.req = {.op = op,
			.sector = sector,
			.nr_sectors = nr_sectors,
			.iov = buf == NULL ? NULL : &iov,
			.nr_iov = buf == NULL ? 0 : 1,
			.done = sync_done},
	};
	int err = blk_submit(q, &s.req);

	if (err < 0)
		return err;
	while (!s.done)
		(void)blk_wait(q, -1);
	return s.err;
}
