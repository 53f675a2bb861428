/* user.c - see user.h. */
#include <errno.h>
#include <string.h>
#include "user.h"
#include "world.h"

#define IO_SECTORS  16U
#define IO_BYTES    (IO_SECTORS * SECTOR_BYTES)
#define BUF_BYTES   ((USER_REQS + 1) * IO_BYTES) /* the last is USER_DO's */
#define SPIN_US     8U                           /* some looks at the clock */
#define NEVER_WROTE 0xa5a5a5a5a5a5a5a5U

/* --- data: every sector begins with its number --- */

static uint64_t mark_of(uint64_t sector)
{
	return sector * 0x9e3779b97f4a7c15U + 1;
}

/* BYTES at MEM are byte AT and on of a transfer from SECTOR. Data may be cut anywhere. */
static void on_data(
	void *arg, bool to_device, uint64_t sector, uint8_t *mem, uint32_t bytes, uint64_t at)
{
	const struct user *u = arg;
	size_t off = (size_t)(mem - u->buf);
	const struct user_io *io;

	if (mem < u->buf || off >= USER_REQS * IO_BYTES)
		return; /* of a request that has no data of ours: the serial number */
	io = &u->io[off / IO_BYTES];
	FZ_CHECK(io->busy && off % IO_BYTES + bytes <= io->req.nr_sectors * SECTOR_BYTES &&
			 io->req.op == (to_device ? BLK_WRITE : BLK_READ),
		"the device has data of a request that is done");
	for (uint32_t i = 0; i < bytes; i++) {
		uint64_t in_sector = (at + i) % SECTOR_BYTES, mark;
		uint8_t byte;

		if (in_sector >= 8) {
			i += (uint32_t)(SECTOR_BYTES - 1 - in_sector);
			continue;
		}
		mark = mark_of(sector + (at + i) / SECTOR_BYTES);
		byte = (uint8_t)(mark >> 8 * in_sector);
		if (to_device)
			FZ_CHECK(mem[i] == byte, "wrong data written to sector %llu",
				(long long)(sector + (at + i) / SECTOR_BYTES));
		else
			mem[i] = byte;
	}
}

static uint8_t *data_of(const struct user *u, const struct user_io *io)
{
	return u->buf + (size_t)(io - u->io) * IO_BYTES;
}

static void check_read(const struct user *u, const struct user_io *io)
{
	for (uint32_t i = 0; i < io->req.nr_sectors; i++) {
		uint64_t mark;

		memcpy(&mark, data_of(u, io) + (size_t)i * SECTOR_BYTES, 8);
		FZ_CHECK(mark == NEVER_WROTE || mark == mark_of(io->req.sector + i),
			"sector %llu has another's data", (long long)(io->req.sector + i));
	}
}

static struct user *now; /* done() has no argument for it */

static void on_done(struct blk_req *req, int err)
{
	struct user_io *io = (struct user_io *)req;

	FZ_CHECK(io->busy, "a request is called back twice");
	FZ_CHECK(err <= 0 && err > -134, "called back with %d", err);
	if (err == 0 && req->op == BLK_READ && !now->device->dirty)
		check_read(now, io);
	io->busy = false;
}

static void fill(const struct user *u, const struct user_io *io)
{
	for (uint32_t i = 0; i < io->req.nr_sectors; i++) {
		uint64_t mark = io->req.op == BLK_WRITE ? mark_of(io->req.sector + i) : NEVER_WROTE;

		memcpy(data_of(u, io) + (size_t)i * SECTOR_BYTES, &mark, 8);
	}
}

/* In up to three pieces, of any length. */
static void cut(const struct user *u, struct user_io *io, uint16_t where)
{
	uint8_t *buf = data_of(u, io);
	uint32_t bytes = io->req.nr_sectors * SECTOR_BYTES;
	uint32_t a = where % (bytes + 1), b = where / 7 % (bytes + 1 - a);

	io->iov[0] = (struct iovec){buf, a};
	io->iov[1] = (struct iovec){buf + a, b};
	io->iov[2] = (struct iovec){buf + a + b, bytes - a - b};
	io->req.iov = io->iov;
	io->req.nr_iov = 3;
	fill(u, io);
}

/* --- steps --- */

static void draw_request(struct blk_req *req, uint32_t value)
{
	*req = (struct blk_req){.op = value % BLK_NR_OPS,
		.sector = value >> 8 & 0x7fff,
		.nr_sectors = 1 + (value >> 24) % IO_SECTORS,
		.done = on_done};
	if (value & 0x80) { /* whole blocks */
		req->sector &= ~7ULL;
		req->nr_sectors = (req->nr_sectors + 7) & ~7U;
	}
}

static bool has_data(const struct blk_req *req)
{
	return req->op == BLK_READ || req->op == BLK_WRITE;
}

static void submit(struct user *u, const struct user_step *s)
{
	struct blk_queue *q = u->q[s->when % USER_QUEUES];
	struct user_io *io = &u->io[s->when / USER_QUEUES % USER_REQS];

	if (q == NULL || io->busy)
		return;
	draw_request(&io->req, s->value);
	if (has_data(&io->req))
		cut(u, io, s->arg);
	else if (io->req.op != BLK_FLUSH)
		io->req.nr_sectors *= 64;
	io->busy = true; /* it may be called back before blk_submit() returns */
	if (blk_submit(q, &io->req) < 0)
		io->busy = false;
}

static void do_now(struct user *u, const struct user_step *s)
{
	struct blk_queue *q = u->q[s->when % USER_QUEUES];
	struct blk_req req;
	int err;

	draw_request(&req, s->value);
	if (q == NULL)
		return;
	err = blk_do(q, req.op, req.sector, req.nr_sectors,
		has_data(&req) ? u->buf + USER_REQS * IO_BYTES : NULL);
	FZ_CHECK(err <= 0 && err > -134, "done with %d", err);
}

static void describe(struct user *u)
{
	struct blk_stat stat[VBLK_RINGS_MAX];
	struct vblk_detail detail;
	struct blk_info info;
	char text[128];

	(void)vblk_describe(u->dev, &detail);
	(void)blk_stats(u->dev, stat, VBLK_RINGS_MAX);
	(void)vblk_attribute(u->dev, "status", text, sizeof(text));
	(void)vblk_attribute(u->dev, "features", text, sizeof(text));
	blk_get_info(u->dev, &info);
	FZ_CHECK(memchr(info.serial, '\0', sizeof(info.serial)) != NULL, "a serial without end");
}

static void alloc_or_free(struct user *u, const struct user_step *s)
{
	unsigned i = s->when % USER_PIECES;
	size_t bytes = 1 + s->arg % (64U << 10);

	if (u->piece[i].mem != NULL) {
		blk_dma_free(u->dev, u->piece[i].mem, u->piece[i].bytes);
		u->piece[i].mem = NULL;
		return;
	}
	u->piece[i].mem = blk_dma_alloc(u->dev, bytes);
	u->piece[i].bytes = bytes;
}

static void close_queue(struct user *u, unsigned i)
{
	if (u->q[i] == NULL || u->q[i]->nr_inflight > 0)
		return;
	blk_queue_close(u->q[i]);
	u->q[i] = NULL;
}

static void do_on_queue(struct blk_queue *q, enum user_act act, const struct user_step *s)
{
	if (act == USER_KICK)
		blk_kick(q);
	else if (act == USER_POLL)
		(void)blk_poll(q);
	else if (act == USER_ARM)
		(void)blk_arm(q);
	else if (act == USER_WAKE)
		blk_wake(q);
	else if (act == USER_WAIT)
		(void)blk_wait(q, (int)(s->value % 3000));
}

void user_do(struct user *u, enum user_act act, const struct user_step *s)
{
	unsigned i = s->when % USER_QUEUES;

	switch (act) {
	case USER_SUBMIT:
		submit(u, s);
		break;
	case USER_TURN:
		world_turn(s->when % 4);
		break;
	case USER_RESET:
		(void)vblk_reset_disk(u->dev);
		break;
	case USER_CACHE:
		(void)vblk_set_cache(u->dev, s->value & 1);
		break;
	case USER_DESCRIBE:
		describe(u);
		break;
	case USER_OPEN_QUEUE:
		if (u->q[i] == NULL && blk_queue_open(u->dev, &u->q[i]) == 0)
			u->q[i]->spin_us = s->arg % 32;
		break;
	case USER_CLOSE_QUEUE:
		close_queue(u, i);
		break;
	case USER_CANT:
		world_fail_next();
		break;
	case USER_RESET_QUEUE:
		(void)vblk_reset_queue(
			u->dev, s->when, s->arg & 1 ? 1U << s->arg % 9 : s->arg, s->value & 1);
		break;
	case USER_CLAIM:
		blk_claim(u->dev, s->value);
		break;
	case USER_DO:
		do_now(u, s);
		break;
	case USER_ALLOC:
		alloc_or_free(u, s);
		break;
	default:
		if (u->q[i] != NULL)
			do_on_queue(u->q[i], act, s);
	}
}

bool user_next_step(struct fz_input *in, unsigned nr_before, struct user_step *s)
{
	if (in->left == 0)
		return false;
	s->what = (uint8_t)(fz_take(in, 1) % (nr_before + USER_NR_ACTS));
	s->when = (uint8_t)fz_take(in, 1);
	s->arg = (uint16_t)fz_take(in, 2);
	s->value = (uint32_t)fz_take(in, 4);
	return true;
}

/* --- beginning and end --- */

static void on_resized(void *arg, uint64_t nr_sectors)
{
	struct user *u = arg;

	FZ_CHECK(u->dev == NULL || nr_sectors != u->nr_sectors, "resized to what it was");
	u->nr_sectors = nr_sectors;
}

void user_begin(struct user *u, struct dev_blk *device, struct disk_opts *opts)
{
	static struct dev_blk_ops ops = {.data = on_data};

	memset(u, 0, sizeof(*u));
	now = u;
	ops.arg = u;
	device->ops = &ops;
	u->device = device;
	opts->resized = on_resized;
	opts->resized_arg = u;
}

bool user_take_over(struct user *u, struct blockdev *dev)
{
	struct blk_info info;

	u->dev = dev;
	blk_get_info(dev, &info);
	u->nr_sectors = info.nr_sectors;
	u->buf = blk_dma_alloc(dev, BUF_BYTES);
	if (u->buf != NULL && blk_queue_open(dev, &u->q[0]) == 0) {
		u->q[0]->spin_us = SPIN_US;
		return true;
	}
	blk_dma_free(dev, u->buf, BUF_BYTES);
	blk_close(dev);
	return false;
}

bool user_is_idle(const struct user *u)
{
	for (unsigned i = 0; i < USER_QUEUES; i++)
		if (u->q[i] != NULL && u->q[i]->nr_inflight > 0)
			return false;
	return true;
}

void user_wait(struct user *u)
{
	for (unsigned i = 0; i < USER_QUEUES; i++)
		if (u->q[i] != NULL && u->q[i]->nr_inflight > 0)
			(void)blk_wait(u->q[i], 2000);
}

void user_close(struct user *u)
{
	for (unsigned i = 0; i < USER_REQS; i++)
		FZ_CHECK(!u->io[i].busy, "a request was not called back");
	for (unsigned i = 0; i < USER_QUEUES; i++)
		close_queue(u, i);
	for (unsigned i = 0; i < USER_PIECES; i++)
		if (u->piece[i].mem != NULL)
			blk_dma_free(u->dev, u->piece[i].mem, u->piece[i].bytes);
	blk_dma_free(u->dev, u->buf, BUF_BYTES);
	blk_close(u->dev);
}
