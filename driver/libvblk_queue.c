/* libvblk_queue.c - the library's queues and requests (vblk/vblk.h), over the seam.
 *
 * A request's `lib' holds the seam's request, from submit to done(). A write that is to be durable
 * is two of them, one after the other. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "libvblk.h"

struct vblk_queue {
	struct blk_queue *q;
	struct vblk_disk *disk;
	unsigned nr_inflight;
	unsigned nr_done; /* since the poll began */
	bool flush_given; /* since the last kick, by a write that is done */
	atomic_bool woken;
};

struct lib_req {
	struct blk_req req; /* first */
	struct vblk_queue *q;
	struct iovec iov;
};
static_assert(sizeof(struct lib_req) <= sizeof(((struct vblk_req *)0)->lib), "it fits");
static_assert((int)VBLK_READ == BLK_READ && (int)VBLK_WRITE == BLK_WRITE &&
		      (int)VBLK_FLUSH == BLK_FLUSH && (int)VBLK_DISCARD == BLK_DISCARD &&
		      (int)VBLK_WRITE_ZEROES == BLK_WRITE_ZEROES &&
		      (int)VBLK_SECURE_ERASE == BLK_SECURE_ERASE,
	"the same numbers");

int vblk_queue_open(struct vblk_disk *disk, struct vblk_queue **out)
{
	struct vblk_queue *q;
	int err;

	if (!libvblk_is_ours(disk))
		return -EPERM;
	q = calloc(1, sizeof(*q));
	if (q == NULL)
		return -ENOMEM;
	err = blk_queue_open(disk->dev, &q->q);
	if (err < 0) {
		free(q);
		return err;
	}
	q->disk = disk;
	atomic_fetch_add(&disk->nr_queues, 1);
	*out = q;
	return 0;
}

int vblk_queue_close(struct vblk_queue *q)
{
	if (!libvblk_is_ours(q->disk))
		return -EPERM;
	if (q->nr_inflight != 0)
		return -EBUSY;
	blk_queue_close(q->q);
	atomic_fetch_sub(&q->disk->nr_queues, 1);
	free(q);
	return 0;
}

/* --- requests --- */

static struct lib_req *lib_of(struct vblk_req *req)
{
	return (struct lib_req *)(void *)req->lib;
}

static struct vblk_req *user_of(struct lib_req *lib)
{
	return (struct vblk_req *)(void *)((uint8_t *)lib - offsetof(struct vblk_req, lib));
}

static void finish(struct blk_req *req, int err)
{
	struct lib_req *lib = (struct lib_req *)req;
	struct vblk_req *user = user_of(lib);

	lib->q->nr_inflight--;
	lib->q->nr_done++;
	user->done(user, err);
}

/* The write of VBLK_FUA is done. */
static void flush_written(struct blk_req *req, int err)
{
	struct lib_req *lib = (struct lib_req *)req;

	if (err == 0) {
		*req = (struct blk_req){.op = BLK_FLUSH, .done = finish};
		err = blk_submit(lib->q->q, req);
		lib->q->flush_given = true;
	}
	if (err < 0)
		finish(req, err);
}

static bool has_data(const struct vblk_req *req)
{
	return req->op == VBLK_READ || req->op == VBLK_WRITE;
}

static bool memory_fits(const struct vblk_req *req)
{
	uint64_t left = req->bytes;

	if (!has_data(req) || req->nr_iov == 0)
		return true;
	if (req->nr_iov > INT32_MAX)
		return false;
	for (uint32_t i = 0; i < req->nr_iov; i++) {
		if (req->iov[i].iov_len > left)
			return false;
		left -= req->iov[i].iov_len;
	}
	return left == 0;
}

static int check(const struct vblk_req *req)
{
	const uint64_t max = (uint64_t)UINT32_MAX * SECTOR_BYTES;

	if (req->op >= BLK_NR_OPS || req->done == NULL || req->offset % SECTOR_BYTES != 0 ||
		req->bytes % SECTOR_BYTES != 0 || req->bytes > max || !memory_fits(req))
		return -EINVAL;
	if ((req->flags & ~VBLK_FUA) != 0 || (req->flags != 0 && req->op != VBLK_WRITE))
		return -EINVAL;
	return 0;
}

static void translate(struct vblk_queue *q, struct vblk_req *req)
{
	struct lib_req *lib = lib_of(req);
	bool own = has_data(req) && req->nr_iov == 0;

	lib->q = q;
	lib->iov = (struct iovec){.iov_base = req->buf, .iov_len = req->bytes};
	lib->req = (struct blk_req){
		.op = (enum blk_op)req->op,
		.sector = req->offset / SECTOR_BYTES,
		.nr_sectors = (uint32_t)(req->bytes / SECTOR_BYTES),
		.iov = own ? &lib->iov : req->iov,
		.nr_iov = own ? 1 : (int)req->nr_iov,
		.done = req->flags & VBLK_FUA ? flush_written : finish,
	};
}

int vblk_queue_submit(struct vblk_queue *q, struct vblk_req *req)
{
	int err = libvblk_is_ours(q->disk) ? check(req) : -EPERM;

	if (err < 0)
		return err;
	translate(q, req);
	err = blk_submit(q->q, &lib_of(req)->req);
	if (err == 0)
		q->nr_inflight++;
	return err;
}

void vblk_queue_kick(struct vblk_queue *q)
{
	if (libvblk_is_ours(q->disk))
		blk_kick(q->q);
}

int vblk_queue_poll(struct vblk_queue *q)
{
	if (!libvblk_is_ours(q->disk))
		return -EPERM;
	q->nr_done = 0;
	q->flush_given = false;
	(void)blk_poll(q->q);
	if (q->flush_given)
		blk_kick(q->q);
	return (int)q->nr_done;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* What ends a wait below need not end the caller's: a write whose flush is still to come, or that the
 * driver had it look. */
int vblk_queue_wait(struct vblk_queue *q, int timeout_ms)
{
	int64_t end_ms = timeout_ms < 0 ? 0 : now_ms() + timeout_ms;
	int left_ms = timeout_ms;

	if (!libvblk_is_ours(q->disk))
		return -EPERM;
	q->nr_done = 0;
	do {
		q->flush_given = false;
		(void)blk_wait(q->q, left_ms);
		if (timeout_ms >= 0)
			left_ms = end_ms > now_ms() ? (int)(end_ms - now_ms()) : 0;
	} while (!atomic_exchange(&q->woken, false) && q->nr_done == 0 &&
		 (q->flush_given || left_ms != 0));
	if (q->flush_given)
		blk_kick(q->q);
	return (int)q->nr_done;
}

void vblk_queue_set_spin(struct vblk_queue *q, uint32_t us)
{
	q->q->spin_us = us;
}

bool vblk_queue_arm(struct vblk_queue *q)
{
	return !libvblk_is_ours(q->disk) || blk_arm(q->q);
}

int vblk_queue_fd(const struct vblk_queue *q)
{
	return blk_fd(q->q);
}

void vblk_queue_wake(struct vblk_queue *q)
{
	if (!libvblk_is_ours(q->disk))
		return;
	atomic_store(&q->woken, true);
	blk_wake(q->q);
}

static void note(struct vblk_req *req, int err)
{
	*(int *)req->arg = err;
}

int vblk_queue_do(struct vblk_queue *q, enum vblk_op op, uint64_t offset, uint64_t bytes, void *buf)
{
	int result = 1; /* under way */
	struct vblk_req req = {.op = (uint32_t)op,
		.offset = offset,
		.bytes = bytes,
		.buf = buf,
		.done = note,
		.arg = &result};
	int err = vblk_queue_submit(q, &req);

	if (err < 0)
		return err;
	while (result > 0)
		(void)vblk_queue_wait(q, -1);
	return result;
}
