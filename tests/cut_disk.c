/* cut_disk.c - a disk that can lose power (cut_disk.h).
 *
 * The contents are a private mapping of a memory file that holds them as they were when recording
 * began: a cut maps the file again and repeats writes on top of it, so it costs what was written,
 * not what the disk holds. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "cut_disk.h"
#include "plain_dma.h"

enum event_kind { EV_WRITE, EV_FLUSH, EV_NOTE };

struct event {
	enum event_kind kind;
	uint64_t
		value; /* EV_WRITE: sector; EV_FLUSH: events done before it was submitted; EV_NOTE */
	uint32_t nr_sectors;
	uint8_t *data; /* EV_WRITE */
};

struct cut_disk {
	struct blockdev dev;
	pthread_mutex_t lock; /* guards all below */
	uint64_t nr_sectors;
	int base;         /* memory file */
	bool base_shared; /* with a disk that was cut from this one, or this one from it */
	uint8_t *bytes;
	struct event *events;
	size_t nr_events, max_events;
	uint64_t fail_writes, fail_reads, fail_flushes; /* in so many; 0: never */
	uint64_t nr_reads, nr_writes, nr_flushes;
	bool read_only, write_through, fail_once;
};

struct cut_queue {
	struct blk_queue q;
	struct blk_req *first, **last;
};

static struct cut_disk *disk_of(struct blockdev *dev)
{
	return (struct cut_disk *)dev;
}

static struct event *add_event(struct cut_disk *d)
{
	if (d->nr_events == d->max_events) {
		d->max_events = d->max_events == 0 ? 1024 : d->max_events * 2;
		d->events = realloc(d->events, d->max_events * sizeof(*d->events));
		if (d->events == NULL)
			abort();
	}
	d->events[d->nr_events] = (struct event){.kind = EV_NOTE};
	return &d->events[d->nr_events++];
}

static void free_events(struct cut_disk *d)
{
	for (size_t i = 0; i < d->nr_events; i++)
		free(d->events[i].data);
	d->nr_events = 0;
}

static uint8_t *map_base(const struct cut_disk *d)
{
	void *p = mmap(NULL, d->nr_sectors * SECTOR_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE,
		d->base, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* --- requests --- */

/* One of a kind is done: does it fail? */
static bool fails(const struct cut_disk *d, uint64_t *in)
{
	if (*in == 0)
		return false;
	if (*in > 1) {
		--*in;
		return false;
	}
	if (d->fail_once)
		*in = 0;
	return true;
}

static int do_read(struct cut_disk *d, const struct blk_req *req)
{
	const uint8_t *at = d->bytes + req->sector * SECTOR_BYTES;

	d->nr_reads++;
	if (fails(d, &d->fail_reads))
		return -EIO;
	for (int i = 0; i < req->nr_iov; at += req->iov[i++].iov_len)
		memcpy(req->iov[i].iov_base, at, req->iov[i].iov_len);
	return 0;
}

static int do_write(struct cut_disk *d, const struct blk_req *req)
{
	size_t bytes = (size_t)req->nr_sectors * SECTOR_BYTES;
	uint8_t *at;
	struct event *e;

	d->nr_writes++;
	if (fails(d, &d->fail_writes))
		return -EIO;
	e = add_event(d);
	e->kind = EV_WRITE;
	e->value = req->sector;
	e->nr_sectors = req->nr_sectors;
	e->data = at = malloc(bytes);
	if (at == NULL)
		abort();
	if (req->op == BLK_WRITE)
		for (int i = 0; i < req->nr_iov; at += req->iov[i++].iov_len)
			memcpy(at, req->iov[i].iov_base, req->iov[i].iov_len);
	else
		memset(at, req->op == BLK_DISCARD ? 0xdd : 0, bytes);
	memcpy(d->bytes + req->sector * SECTOR_BYTES, e->data, bytes);
	return 0;
}

static int do_flush(struct cut_disk *d, const struct blk_req *req)
{
	struct event *e;

	d->nr_flushes++;
	if (fails(d, &d->fail_flushes))
		return -EIO;
	e = add_event(d);
	e->kind = EV_FLUSH;
	e->value = req->priv[0];
	return 0;
}

static int carry_out(struct cut_disk *d, const struct blk_req *req)
{
	int err;

	pthread_mutex_lock(&d->lock);
	if (req->op == BLK_READ)
		err = do_read(d, req);
	else if (req->op == BLK_FLUSH)
		err = do_flush(d, req);
	else
		err = do_write(d, req);
	pthread_mutex_unlock(&d->lock);
	return err;
}

static int cut_submit(struct blk_queue *q, struct blk_req *req)
{
	struct cut_queue *cq = (struct cut_queue *)q;
	struct cut_disk *d = disk_of(q->dev);

	pthread_mutex_lock(&d->lock);
	req->priv[0] = d->nr_events;
	pthread_mutex_unlock(&d->lock);
	req->next = NULL;
	*cq->last = req;
	cq->last = &req->next;
	return 0;
}

static void cut_kick(struct blk_queue *q)
{
	(void)q;
}

static int cut_poll(struct blk_queue *q)
{
	struct cut_queue *cq = (struct cut_queue *)q;
	struct blk_req *req = cq->first;
	int n = 0;

	cq->first = NULL;
	cq->last = &cq->first;
	for (struct blk_req *next; req != NULL; req = next, n++) {
		next = req->next;
		req->done(req, carry_out(disk_of(q->dev), req));
	}
	return n;
}

static bool cut_arm(struct blk_queue *q)
{
	return ((struct cut_queue *)q)->first != NULL;
}

static int cut_queue_open(struct blockdev *dev, struct blk_queue **out)
{
	struct cut_queue *cq = calloc(1, sizeof(*cq));

	(void)dev;
	if (cq == NULL)
		return -ENOMEM;
	cq->last = &cq->first;
	*out = &cq->q;
	return 0;
}

static void cut_queue_close(struct blk_queue *q)
{
	free(q);
}

static void cut_info(struct blockdev *dev, struct blk_info *out)
{
	const struct cut_disk *d = disk_of(dev);

	*out = (struct blk_info){
		.nr_sectors = d->nr_sectors,
		.logical_bytes = SECTOR_BYTES,
		.physical_bytes = 4096,
		.nr_rings = 64,
		.read_only = d->read_only,
		.volatile_cache = !d->write_through,
		.can_discard = true,
		.can_write_zeroes = true,
		.serial = "cut",
		.name = "cut",
	};
}

static void cut_close(struct blockdev *dev)
{
	struct cut_disk *d = disk_of(dev);

	free_events(d);
	free(d->events);
	munmap(d->bytes, d->nr_sectors * SECTOR_BYTES);
	close(d->base);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

static const struct blockdev_ops cut_ops = {
	.info = cut_info,
	.queue_open = cut_queue_open,
	.queue_close = cut_queue_close,
	.submit = cut_submit,
	.kick = cut_kick,
	.poll = cut_poll,
	.arm = cut_arm,
	.dma_alloc = plain_dma_alloc,
	.dma_free = plain_dma_free,
	.close = cut_close,
};

/* --- opening and cutting --- */

/* BASE becomes the disk's, also on failure. */
static int disk_new(int base, uint64_t nr_sectors, struct cut_disk **out)
{
	struct cut_disk *d = calloc(1, sizeof(*d));

	if (d == NULL) {
		close(base);
		return -ENOMEM;
	}
	d->dev.ops = &cut_ops;
	d->nr_sectors = nr_sectors;
	d->base = base;
	d->bytes = map_base(d);
	if (d->bytes == NULL) {
		close(base);
		free(d);
		return -ENOMEM;
	}
	pthread_mutex_init(&d->lock, NULL);
	*out = d;
	return 0;
}

int cut_disk_open(uint64_t nr_sectors, struct blockdev **out)
{
	int base = memfd_create("cut_disk", MFD_CLOEXEC);
	struct cut_disk *d;
	int err;

	if (base < 0)
		return -errno;
	if (ftruncate(base, (off_t)(nr_sectors * SECTOR_BYTES)) < 0) {
		err = -errno;
		close(base);
		return err;
	}
	err = disk_new(base, nr_sectors, &d);
	if (err == 0)
		*out = &d->dev;
	return err;
}

static void write_base(int base, const uint8_t *bytes, uint64_t sector, uint64_t nr_sectors)
{
	size_t left = nr_sectors * SECTOR_BYTES;
	off_t at = (off_t)(sector * SECTOR_BYTES);

	while (left > 0) {
		ssize_t n = pwrite(base, bytes + at, left, at);

		if (n <= 0)
			abort();
		at += n;
		left -= (size_t)n;
	}
}

/* What the disk holds becomes a base of its own. */
static void unshare_base(struct cut_disk *d)
{
	int base = memfd_create("cut_disk", MFD_CLOEXEC);

	if (base < 0)
		abort();
	write_base(base, d->bytes, 0, d->nr_sectors);
	munmap(d->bytes, d->nr_sectors * SECTOR_BYTES);
	close(d->base);
	d->base = base;
	d->base_shared = false;
	d->bytes = map_base(d);
	if (d->bytes == NULL)
		abort();
}

void cut_disk_record(struct blockdev *dev)
{
	struct cut_disk *d = disk_of(dev);

	pthread_mutex_lock(&d->lock);
	if (d->base_shared)
		unshare_base(d);
	else
		for (size_t i = 0; i < d->nr_events; i++)
			if (d->events[i].kind == EV_WRITE)
				write_base(d->base, d->bytes, d->events[i].value,
					d->events[i].nr_sectors);
	free_events(d);
	pthread_mutex_unlock(&d->lock);
}

size_t cut_disk_nr_events(struct blockdev *dev)
{
	struct cut_disk *d = disk_of(dev);
	size_t nr;

	pthread_mutex_lock(&d->lock);
	nr = d->nr_events;
	pthread_mutex_unlock(&d->lock);
	return nr;
}

void cut_disk_note(struct blockdev *dev, uint64_t value)
{
	struct cut_disk *d = disk_of(dev);

	pthread_mutex_lock(&d->lock);
	add_event(d)->value = value;
	pthread_mutex_unlock(&d->lock);
}

uint64_t cut_disk_noted(struct blockdev *dev, size_t nr_events)
{
	const struct cut_disk *d = disk_of(dev);

	while (nr_events-- > 0)
		if (d->events[nr_events].kind == EV_NOTE)
			return d->events[nr_events].value;
	return 0;
}

static uint64_t random_of(uint64_t *state) /* splitmix64 */
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15U);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
	z = (z ^ z >> 27) * 0x94d049bb133111ebU;
	return z ^ z >> 31;
}

static size_t flushed_before(const struct cut_disk *d, size_t nr_events)
{
	if (d->write_through)
		return nr_events;
	while (nr_events-- > 0)
		if (d->events[nr_events].kind == EV_FLUSH)
			return d->events[nr_events].value;
	return 0;
}

static void repeat(struct cut_disk *to, const struct event *e, enum cut_keep keep, uint64_t *seed)
{
	bool whole = keep == CUT_ALL || (keep == CUT_RANDOM && random_of(seed) & 1);

	for (uint32_t s = 0; s < e->nr_sectors; s++)
		if (whole || (keep == CUT_TORN && random_of(seed) & 1))
			memcpy(to->bytes + (e->value + s) * SECTOR_BYTES,
				e->data + (size_t)s * SECTOR_BYTES, SECTOR_BYTES);
}

int cut_disk_cut(struct blockdev *dev, size_t nr_events, enum cut_keep keep, uint64_t seed,
	struct blockdev **out)
{
	struct cut_disk *d = disk_of(dev);
	size_t flushed = flushed_before(d, nr_events);
	struct cut_disk *to;
	int base = dup(d->base);
	int err;

	if (base < 0)
		return -errno;
	err = disk_new(base, d->nr_sectors, &to);
	if (err < 0)
		return err;
	d->base_shared = true;
	to->base_shared = true;
	for (size_t i = 0; i < nr_events; i++)
		if (d->events[i].kind == EV_WRITE)
			repeat(to, &d->events[i], i < flushed ? CUT_ALL : keep, &seed);
	*out = &to->dev;
	return 0;
}

/* --- faults and figures --- */

void cut_disk_fail_once(struct blockdev *dev, bool once)
{
	disk_of(dev)->fail_once = once;
}

void cut_disk_fail_writes(struct blockdev *dev, uint64_t nth)
{
	disk_of(dev)->fail_writes = nth;
}

void cut_disk_fail_reads(struct blockdev *dev, uint64_t nth)
{
	disk_of(dev)->fail_reads = nth;
}

void cut_disk_fail_flushes(struct blockdev *dev, uint64_t nth)
{
	disk_of(dev)->fail_flushes = nth;
}

void cut_disk_set_read_only(struct blockdev *dev, bool on)
{
	disk_of(dev)->read_only = on;
}

void cut_disk_set_write_through(struct blockdev *dev)
{
	disk_of(dev)->write_through = true;
}

uint64_t cut_disk_nr_reads(struct blockdev *dev)
{
	return disk_of(dev)->nr_reads;
}

uint64_t cut_disk_nr_writes(struct blockdev *dev)
{
	return disk_of(dev)->nr_writes;
}

uint64_t cut_disk_nr_flushes(struct blockdev *dev)
{
	return disk_of(dev)->nr_flushes;
}

uint8_t *cut_disk_bytes(struct blockdev *dev)
{
	return disk_of(dev)->bytes;
}
