/* fuzz_device.c - the whole driver against a device that lies: open, requests on several queues,
 * resets, interrupts, close; all of it in one thread.
 *
 *	| header HEADER_BYTES | step 8 | step 8 | ...
 *	a step: | what 1 | when 1 | argument 2 | value 4 |
 *
 * A step is a lie (liar.h), or something that the driver is asked for. Those before the first of
 * the latter come before the disk is opened.
 *
 * What must hold: no wild access, to memory or to registers; a bounded number of sleeps; each
 * request that was taken is called back once; what is read and said to be read is not another
 * sector's; at the end nothing is left. */
#include <errno.h>
#include <string.h>
#include "fz.h"
#include "liar.h"
#include "virtio_blk.h"
#include "world.h"

#define NR_IO       8U
#define IO_SECTORS  16U
#define IO_BYTES    (IO_SECTORS * SECTOR_BYTES)
#define NR_HANDLES  4U
#define STEPS_MAX   96U
#define TURNS_MAX   40 /* to the end, once the device is gone */
#define NEVER_WROTE 0xa5a5a5a5a5a5a5a5U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum step {
	STEP_SUBMIT = LIAR_NR_ACTS,
	STEP_KICK,
	STEP_POLL,
	STEP_ARM,
	STEP_WAIT,
	STEP_WAKE,
	STEP_TURN, /* of a thread of the driver */
	STEP_SERVE,
	STEP_RESET,
	STEP_CACHE,
	STEP_DESCRIBE,
	STEP_OPEN_QUEUE,
	STEP_CLOSE_QUEUE,
	STEP_CANT, /* the next thread or descriptor can't be had */
	STEP_NR
};

struct step_record {
	uint8_t what, when;
	uint16_t arg;
	uint32_t value;
};

struct io {
	struct blk_req req; /* first */
	struct iovec iov[3];
	bool busy;
};

static struct {
	struct liar liar;
	struct disk_opts opts;
	struct blockdev *dev;
	struct blk_queue *q[NR_HANDLES];
	struct io io[NR_IO];
	unsigned nr_on[NR_HANDLES]; /* requests */
	uint8_t *buf;
	bool settles; /* in the end it is reset and serves; else it goes away */
} t;

/* --- data: every sector begins with its number --- */

static uint64_t mark_of(uint64_t sector)
{
	return sector * 0x9e3779b97f4a7c15U + 1;
}

/* BYTES at MEM are byte AT and on of a transfer from SECTOR. Data may be cut anywhere. */
static void on_data(
	void *arg, bool to_device, uint64_t sector, uint8_t *mem, uint32_t bytes, uint64_t at)
{
	size_t off = (size_t)(mem - t.buf);
	const struct io *io;

	(void)arg;
	if (mem < t.buf || off >= NR_IO * IO_BYTES)
		return; /* of a request that has no data of ours: the serial number */
	io = &t.io[off / IO_BYTES];
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

static void check_read(const struct io *io)
{
	for (uint32_t i = 0; i < io->req.nr_sectors; i++) {
		uint64_t mark;

		memcpy(&mark, t.buf + (size_t)(io - t.io) * IO_BYTES + (size_t)i * SECTOR_BYTES, 8);
		FZ_CHECK(mark == NEVER_WROTE || mark == mark_of(io->req.sector + i),
			"sector %llu has another's data", (long long)(io->req.sector + i));
	}
}

static void on_done(struct blk_req *req, int err)
{
	struct io *io = (struct io *)req;

	FZ_CHECK(io->busy, "a request is called back twice");
	FZ_CHECK(err <= 0 && err > -134, "called back with %d", err);
	if (err == 0 && req->op == BLK_READ && !t.liar.dirty)
		check_read(io);
	io->busy = false;
}

static void fill(const struct io *io)
{
	uint8_t *buf = t.buf + (size_t)(io - t.io) * IO_BYTES;

	for (uint32_t i = 0; i < io->req.nr_sectors; i++) {
		uint64_t mark = io->req.op == BLK_WRITE ? mark_of(io->req.sector + i) : NEVER_WROTE;

		memcpy(buf + (size_t)i * SECTOR_BYTES, &mark, 8);
	}
}

/* In up to three pieces, of any length. */
static void cut(struct io *io, uint16_t where)
{
	uint8_t *buf = t.buf + (size_t)(io - t.io) * IO_BYTES;
	uint32_t bytes = io->req.nr_sectors * SECTOR_BYTES;
	uint32_t a = where % (bytes + 1), b = where / 7 % (bytes + 1 - a);

	io->iov[0] = (struct iovec){buf, a};
	io->iov[1] = (struct iovec){buf + a, b};
	io->iov[2] = (struct iovec){buf + a + b, bytes - a - b};
	io->req.iov = io->iov;
	io->req.nr_iov = 3;
	fill(io);
}

/* --- steps --- */

static struct blk_queue *queue(const struct step_record *s)
{
	return t.q[s->when % NR_HANDLES];
}

static void submit(const struct step_record *s)
{
	struct io *io = &t.io[s->when / NR_HANDLES % NR_IO];

	if (queue(s) == NULL || io->busy)
		return;
	io->req = (struct blk_req){.op = s->value % BLK_NR_OPS,
		.sector = s->value >> 8 & 0x7fff,
		.nr_sectors = 1 + (s->value >> 24) % IO_SECTORS,
		.done = on_done};
	if (s->value & 0x80) { /* whole blocks */
		io->req.sector &= ~7ULL;
		io->req.nr_sectors = (io->req.nr_sectors + 7) & ~7U;
	}
	if (io->req.op == BLK_READ || io->req.op == BLK_WRITE)
		cut(io, s->arg);
	else if (io->req.op != BLK_FLUSH)
		io->req.nr_sectors *= 64;
	io->busy = true; /* it may be called back before blk_submit() returns */
	if (blk_submit(queue(s), &io->req) < 0)
		io->busy = false;
	else
		t.nr_on[s->when % NR_HANDLES]++;
}

static bool is_idle(const struct blk_queue *q)
{
	return q->nr_inflight == 0;
}

static void describe(void)
{
	struct blk_stat stat[VBLK_RINGS_MAX];
	struct vblk_detail detail;
	char text[128];

	(void)vblk_describe(t.dev, &detail);
	(void)blk_stats(t.dev, stat, VBLK_RINGS_MAX);
	(void)vblk_attribute(t.dev, "status", text, sizeof(text));
	(void)vblk_attribute(t.dev, "features", text, sizeof(text));
}

static void close_queue(unsigned i)
{
	if (t.q[i] != NULL && is_idle(t.q[i])) {
		blk_queue_close(t.q[i]);
		t.q[i] = NULL;
	}
}

static void on_idle(void *arg)
{
	(void)arg;
	liar_sleep(&t.liar);
	for (unsigned i = 0; i < world_nr_threads(); i++)
		world_turn(i);
}

static void do_step(const struct step_record *s)
{
	struct blk_queue *q = queue(s);
	unsigned i = s->when % NR_HANDLES;

	switch ((enum step)s->what) {
	case STEP_SUBMIT:
		submit(s);
		break;
	case STEP_TURN:
		world_turn(s->when % 4);
		break;
	case STEP_SERVE:
		liar_serve(&t.liar);
		break;
	case STEP_RESET:
		(void)vblk_reset_disk(t.dev);
		break;
	case STEP_CACHE:
		(void)vblk_set_cache(t.dev, s->value & 1);
		break;
	case STEP_DESCRIBE:
		describe();
		break;
	case STEP_OPEN_QUEUE:
		if (q == NULL && blk_queue_open(t.dev, &t.q[i]) == 0)
			t.q[i]->spin_us = s->arg % 32;
		break;
	case STEP_CLOSE_QUEUE:
		close_queue(i);
		break;
	case STEP_CANT:
		world_fail_next();
		break;
	default:
		if (q == NULL)
			break;
		if (s->what == STEP_KICK)
			blk_kick(q);
		else if (s->what == STEP_POLL)
			(void)blk_poll(q);
		else if (s->what == STEP_ARM)
			(void)blk_arm(q);
		else if (s->what == STEP_WAKE)
			blk_wake(q);
		else
			(void)blk_wait(q, (int)(s->value % 3000));
	}
}

static bool next_step(struct fz_input *in, struct step_record *s)
{
	if (in->left == 0)
		return false;
	s->what = (uint8_t)(fz_take(in, 1) % STEP_NR);
	s->when = (uint8_t)fz_take(in, 1);
	s->arg = (uint16_t)fz_take(in, 2);
	s->value = (uint32_t)fz_take(in, 4);
	return true;
}

static void lie(const struct step_record *s)
{
	const struct liar_event event = {.act = s->what, .arg = s->arg, .value = s->value};

	liar_do(&t.liar, s->when, &event);
}

/* --- a run --- */

/* One run in a thousand has the patience to see the driver's own time limits pass. */
static bool is_patient(const uint8_t *data, size_t bytes)
{
	uint32_t hash = 2166136261U;

	for (size_t i = 0; i < bytes; i++)
		hash = (hash ^ data[i]) * 16777619U;
	return (hash ^ hash >> 16) % 1024 == 0;
}

static void set_up(struct fz_input *in)
{
	static const struct liar_ops ops = {.data = on_data};
	static const struct world_ops world = {.idle = on_idle};
	uint32_t high;
	uint8_t how;

	world_begin(&world);
	liar_begin(&t.liar, &ops);
	memset(t.io, 0, sizeof(t.io));
	memset(t.nr_on, 0, sizeof(t.nr_on));
	t.liar.features[0] ^= (uint32_t)fz_take(in, 4);
	high = (uint32_t)fz_take(in, 2);
	t.liar.features[1] ^= high & 0x3fff;
	t.liar.hw.nr_vectors = high >> 14; /* up to 3 */
	how = (uint8_t)fz_take(in, 1);
	t.opts = (struct disk_opts){.poll_only = how & 1,
		.read_only = (how & 6) == 6,
		.write_through = (how & 24) == 24,
		.timeout_s = how & 32 ? 3 : 0,
		.max_rings = 2};
	t.liar.hw.has_irq = !(how & 64);
	t.liar.vanishes = how & 128;
	how = (uint8_t)fz_take(in, 1);
	t.opts.ring_size = how & 1 ? 0 : 8;
	t.opts.max_rings = 1 + (how >> 1) % 4;
	t.liar.function_resets = how & 8;
	t.liar.hw.iommu_translates = (how & 48) == 48;
	t.settles = how & 64;
	if (how & 128)
		liar_be_legacy(&t.liar);
}

static bool open_disk(struct step_record *s, struct fz_input *in)
{
	char why[256] = "";
	int err;

	while (next_step(in, s) && s->what < LIAR_NR_ACTS)
		lie(s);
	err = vblk_open_hw(&t.liar.hw, &t.opts, &t.dev, why, sizeof(why));
	liar_go_on(&t.liar);
	FZ_CHECK(err == 0 || (err < 0 && why[0] != '\0'), "a failure, %d, without a word", err);
	if (err < 0)
		return false;
	t.buf = blk_dma_alloc(t.dev, NR_IO * IO_BYTES);
	if (t.buf == NULL || blk_queue_open(t.dev, &t.q[0]) < 0) {
		blk_dma_free(t.dev, t.buf, NR_IO * IO_BYTES);
		blk_close(t.dev);
		return false;
	}
	return true;
}

static void play(struct step_record *s, struct fz_input *in)
{
	unsigned n = 0;

	do {
		liar_go_on(&t.liar);
		if (s->what < LIAR_NR_ACTS)
			lie(s);
		else
			do_step(s);
	} while (++n < STEPS_MAX && next_step(in, s));
}

static bool all_idle(void)
{
	for (unsigned i = 0; i < NR_HANDLES; i++)
		if (t.q[i] != NULL && !is_idle(t.q[i]))
			return false;
	return true;
}

/* The device does its duty again, is reset, or goes away: all requests end. */
static void wind_up(void)
{
	const struct liar_event needs_reset = {LIAR_STATUS, 0, 0x4f}, irq = {LIAR_IRQ, 0, 2},
				gone = {LIAR_REMOVE, 0, 0};

	t.liar.nr_armed = 0;
	t.liar.hold = false;
	for (int turn = 0; !all_idle(); turn++) {
		liar_go_on(&t.liar);
		FZ_CHECK(turn < TURNS_MAX, "requests hang");
		if (turn == 1 && t.settles)
			liar_do(&t.liar, 0, &needs_reset);
		if (turn == 1 && t.settles)
			liar_do(&t.liar, 0, &irq);
		if (turn == (t.settles ? 10 : 0))
			liar_do(&t.liar, 0, &gone);
		for (unsigned i = 0; i < NR_HANDLES; i++)
			if (t.q[i] != NULL && !is_idle(t.q[i]))
				(void)blk_wait(t.q[i], 2000);
	}
	for (unsigned i = 0; i < NR_IO; i++)
		FZ_CHECK(!t.io[i].busy, "a request was not called back");
}

static void close_disk(void)
{
	for (unsigned i = 0; i < NR_HANDLES; i++)
		close_queue(i);
	liar_go_on(&t.liar);
	blk_dma_free(t.dev, t.buf, NR_IO * IO_BYTES);
	blk_close(t.dev);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct fz_input in = {.at = data, .left = bytes};
	struct step_record s = {.what = STEP_POLL};

	set_up(&in);
	t.liar.patient = is_patient(data, bytes);
	if (open_disk(&s, &in)) {
		play(&s, &in);
		wind_up();
		close_disk();
	}
	FZ_CHECK(t.liar.closed, "the function was not closed");
	FZ_CHECK(t.liar.dma.live == 0 || t.liar.never_reset, "%zu bytes of DMA memory are left",
		t.liar.dma.live);
	world_end();
	return 0;
}
