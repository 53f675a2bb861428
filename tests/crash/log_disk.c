/* log_disk.c - a disk over an image, with a log (log_disk.h).
 *
 * A request is carried out when its queue is polled, in the order of its submission: at once, or
 * as late as its owner looks. Between the two it is in flight, and the log tells how long. What it
 * wrote must not have changed meanwhile. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>
#include "log_disk.h"
#include "plain_dma.h"

#define QUEUES_MAX 8U
#define POOL_MAX   8U /* freed DMA memory that is kept, of one size each */

struct pooled {
	size_t bytes;
	void *mem;
};

struct log_disk {
	struct blockdev dev;
	pthread_mutex_t lock; /* guards all below */
	const struct image *base;
	uint8_t **over; /* by block; NULL: the base's */
	uint32_t *changed;
	uint32_t nr_changed;
	uint8_t **spare; /* pages */
	uint32_t nr_spare;
	bool recording;
	const char *fault;
	uint64_t nr_writes;
	struct log_events log;
	struct blk_queue *queue[QUEUES_MAX];
	unsigned nr_queues;
	struct pooled pool[POOL_MAX];
};

struct log_queue {
	struct blk_queue q;
	struct blk_req *first, **last;
};

static struct log_disk *disk_of(struct blockdev *dev)
{
	return (struct log_disk *)dev;
}

static void *must(void *p)
{
	if (p == NULL)
		abort();
	return p;
}

/* --- the log --- */

struct log_event *log_events_add(struct log_events *log, enum log_kind kind, uint64_t value)
{
	if (log->nr == log->max) {
		log->max = log->max == 0 ? 256 : log->max * 2;
		log->v = must(realloc(log->v, log->max * sizeof(*log->v)));
	}
	log->v[log->nr] = (struct log_event){.kind = kind, .value = value};
	return &log->v[log->nr++];
}

void log_events_free(struct log_events *log)
{
	arena_free(&log->data);
	free(log->v);
	*log = (struct log_events){0};
}

/* --- what is written --- */

static uint8_t *page_of(struct log_disk *d, uint32_t block)
{
	if (d->over[block] == NULL) {
		d->over[block] = d->nr_spare > 0 ? d->spare[--d->nr_spare]
						 : must(aligned_alloc(IMAGE_BLOCK, IMAGE_BLOCK));
		memcpy(d->over[block], d->base->bytes + (size_t)block * IMAGE_BLOCK, IMAGE_BLOCK);
		d->changed[d->nr_changed++] = block;
	}
	return d->over[block];
}

/* One piece that lies in one block at a time. */
static void put(struct log_disk *d, uint64_t at, const uint8_t *data, size_t bytes)
{
	while (bytes > 0) {
		size_t in = at % IMAGE_BLOCK, nr = IMAGE_BLOCK - in;

		if (nr > bytes)
			nr = bytes;
		memcpy(page_of(d, (uint32_t)(at / IMAGE_BLOCK)) + in, data, nr);
		at += nr;
		data += nr;
		bytes -= nr;
	}
}

static void get(const struct log_disk *d, uint64_t at, uint8_t *to, size_t bytes)
{
	while (bytes > 0) {
		size_t in = at % IMAGE_BLOCK, nr = IMAGE_BLOCK - in;
		const uint8_t *over = d->over[at / IMAGE_BLOCK];

		if (nr > bytes)
			nr = bytes;
		memcpy(to, over != NULL ? over + in : d->base->bytes + at, nr);
		at += nr;
		to += nr;
		bytes -= nr;
	}
}

void log_disk_put(struct blockdev *dev, uint64_t sector, uint32_t nr_sectors, const uint8_t *data)
{
	put(disk_of(dev), sector * SECTOR_BYTES, data, (size_t)nr_sectors * SECTOR_BYTES);
}

uint64_t log_disk_hash(struct blockdev *dev)
{
	const struct log_disk *d = disk_of(dev);
	uint64_t hash = d->base->hash;

	for (uint32_t i = 0; i < d->nr_changed; i++) {
		uint32_t b = d->changed[i];

		hash += image_block_hash(d->over[b], b) - d->base->block_hash[b];
	}
	return hash;
}

void log_disk_to_image(struct blockdev *dev, struct image *to)
{
	const struct log_disk *d = disk_of(dev);

	for (uint32_t i = 0; i < d->nr_changed; i++)
		image_write(to, (uint64_t)d->changed[i] * IMAGE_SECTORS, IMAGE_SECTORS,
			d->over[d->changed[i]]);
}

/* --- requests --- */

static uint64_t hash_of(const struct blk_req *req)
{
	XXH3_state_t state;

	XXH3_64bits_reset(&state);
	for (int i = 0; i < req->nr_iov; i++)
		XXH3_64bits_update(&state, req->iov[i].iov_base, req->iov[i].iov_len);
	return XXH3_64bits_digest(&state);
}

static void do_write(struct log_disk *d, const struct blk_req *req)
{
	size_t bytes = (size_t)req->nr_sectors * SECTOR_BYTES;
	uint64_t at = req->sector * SECTOR_BYTES;
	struct log_event *e;
	uint8_t *data, *to;

	d->nr_writes++;
	if (!d->recording && req->op == BLK_WRITE) {
		for (int i = 0; i < req->nr_iov; at += req->iov[i++].iov_len)
			put(d, at, req->iov[i].iov_base, req->iov[i].iov_len);
		return;
	}
	data = to = arena_get(&d->log.data, bytes);
	if (req->op == BLK_WRITE)
		for (int i = 0; i < req->nr_iov; to += req->iov[i++].iov_len)
			memcpy(to, req->iov[i].iov_base, req->iov[i].iov_len);
	else
		memset(data, req->op == BLK_DISCARD ? 0xdd : 0, bytes);
	put(d, at, data, bytes);
	if (!d->recording)
		return;
	if (req->op == BLK_WRITE && hash_of(req) != req->priv[1])
		d->fault = "a buffer was changed while the disk wrote it";
	e = log_events_add(&d->log, LOG_WRITE, req->sector);
	e->submitted = (uint32_t)req->priv[0];
	e->nr_sectors = req->nr_sectors;
	e->data = data;
}

static void carry_out(struct log_disk *d, const struct blk_req *req)
{
	uint64_t at = req->sector * SECTOR_BYTES;

	pthread_mutex_lock(&d->lock);
	if (req->op == BLK_READ)
		for (int i = 0; i < req->nr_iov; at += req->iov[i++].iov_len)
			get(d, at, req->iov[i].iov_base, req->iov[i].iov_len);
	else if (req->op != BLK_FLUSH)
		do_write(d, req);
	else if (d->recording)
		log_events_add(&d->log, LOG_FLUSH, 0)->submitted = (uint32_t)req->priv[0];
	pthread_mutex_unlock(&d->lock);
}

/* A disk may do them in any order. */
static bool overlaps(const struct log_queue *lq, const struct blk_req *req)
{
	for (const struct blk_req *r = lq->first; r != NULL; r = r->next)
		if (r->op == BLK_WRITE && r->sector < req->sector + req->nr_sectors &&
			req->sector < r->sector + r->nr_sectors)
			return true;
	return false;
}

static int log_submit(struct blk_queue *q, struct blk_req *req)
{
	struct log_queue *lq = (struct log_queue *)q;
	struct log_disk *d = disk_of(q->dev);

	if (req->op != BLK_READ && d->recording) {
		pthread_mutex_lock(&d->lock);
		req->priv[0] = d->log.nr;
		if (req->op == BLK_WRITE && overlaps(lq, req))
			d->fault = "two writes of the same sectors are in flight together";
		pthread_mutex_unlock(&d->lock);
		if (req->op == BLK_WRITE)
			req->priv[1] = hash_of(req);
	}
	req->next = NULL;
	*lq->last = req;
	lq->last = &req->next;
	return 0;
}

static void log_kick(struct blk_queue *q)
{
	(void)q;
}

static int log_poll(struct blk_queue *q)
{
	struct log_queue *lq = (struct log_queue *)q;
	struct blk_req *req = lq->first;
	int n = 0;

	lq->first = NULL;
	lq->last = &lq->first;
	for (struct blk_req *next; req != NULL; req = next, n++) {
		next = req->next;
		carry_out(disk_of(q->dev), req);
		req->done(req, 0);
	}
	return n;
}

static bool log_arm(struct blk_queue *q)
{
	return ((struct log_queue *)q)->first != NULL;
}

/* --- queues and memory --- */

static int log_queue_open(struct blockdev *dev, struct blk_queue **out)
{
	struct log_disk *d = disk_of(dev);
	struct log_queue *lq = must(calloc(1, sizeof(*lq)));

	lq->last = &lq->first;
	pthread_mutex_lock(&d->lock);
	if (d->nr_queues == QUEUES_MAX)
		abort();
	d->queue[d->nr_queues++] = &lq->q;
	pthread_mutex_unlock(&d->lock);
	*out = &lq->q;
	return 0;
}

static void log_queue_close(struct blk_queue *q)
{
	struct log_disk *d = disk_of(q->dev);
	unsigned i, nr = 0;

	pthread_mutex_lock(&d->lock);
	for (i = 0; i < d->nr_queues; i++) {
		if (d->queue[i] == q)
			d->queue[i] = NULL;
		if (d->queue[i] != NULL)
			nr = i + 1;
	}
	d->nr_queues = nr;
	pthread_mutex_unlock(&d->lock);
	free(q);
}

const char *log_disk_fault(struct blockdev *dev)
{
	return disk_of(dev)->fault;
}

uint64_t log_disk_nr_writes(struct blockdev *dev)
{
	return disk_of(dev)->nr_writes;
}

struct blk_queue *log_disk_queue(struct blockdev *dev, unsigned nth)
{
	struct log_disk *d = disk_of(dev);
	struct blk_queue *q;

	pthread_mutex_lock(&d->lock);
	q = nth < d->nr_queues ? d->queue[nth] : NULL;
	pthread_mutex_unlock(&d->lock);
	return q;
}

static void log_info(struct blockdev *dev, struct blk_info *out)
{
	*out = (struct blk_info){
		.nr_sectors = (uint64_t)disk_of(dev)->base->nr_blocks * IMAGE_SECTORS,
		.logical_bytes = SECTOR_BYTES,
		.physical_bytes = IMAGE_BLOCK,
		.nr_rings = 64,
		.volatile_cache = true,
		.can_discard = true,
		.can_write_zeroes = true,
		.serial = "crash",
		.name = "crash",
	};
}

/* A mount takes the same few large pieces each time: the system's price for fresh pages would be
 * most of it. */
static void *log_dma_alloc(struct blockdev *dev, size_t bytes)
{
	struct log_disk *d = disk_of(dev);
	void *mem = NULL;

	pthread_mutex_lock(&d->lock);
	for (unsigned i = 0; i < POOL_MAX && mem == NULL; i++)
		if (d->pool[i].mem != NULL && d->pool[i].bytes == bytes) {
			mem = d->pool[i].mem;
			d->pool[i].mem = NULL;
		}
	pthread_mutex_unlock(&d->lock);
	if (mem == NULL)
		return plain_dma_alloc(dev, bytes);
	memset(mem, 0, bytes);
	return mem;
}

static void log_dma_free(struct blockdev *dev, void *mem, size_t bytes)
{
	struct log_disk *d = disk_of(dev);

	pthread_mutex_lock(&d->lock);
	for (unsigned i = 0; i < POOL_MAX && mem != NULL; i++)
		if (d->pool[i].mem == NULL) {
			d->pool[i] = (struct pooled){bytes, mem};
			mem = NULL;
		}
	pthread_mutex_unlock(&d->lock);
	if (mem != NULL)
		plain_dma_free(dev, mem, bytes);
}

static void log_close(struct blockdev *dev)
{
	struct log_disk *d = disk_of(dev);

	log_disk_reset(dev, d->base);
	log_events_free(&d->log);
	while (d->nr_spare > 0)
		free(d->spare[--d->nr_spare]);
	for (unsigned i = 0; i < POOL_MAX; i++)
		free(d->pool[i].mem);
	free(d->spare);
	free(d->changed);
	free(d->over);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

static const struct blockdev_ops log_ops = {
	.info = log_info,
	.queue_open = log_queue_open,
	.queue_close = log_queue_close,
	.submit = log_submit,
	.kick = log_kick,
	.poll = log_poll,
	.arm = log_arm,
	.dma_alloc = log_dma_alloc,
	.dma_free = log_dma_free,
	.close = log_close,
};

int log_disk_open(const struct image *base, struct blockdev **out)
{
	struct log_disk *d = must(calloc(1, sizeof(*d)));

	d->dev.ops = &log_ops;
	d->base = base;
	d->over = must(calloc(base->nr_blocks, sizeof(*d->over)));
	d->changed = must(calloc(base->nr_blocks, sizeof(*d->changed)));
	d->spare = must(calloc(base->nr_blocks, sizeof(*d->spare)));
	pthread_mutex_init(&d->lock, NULL);
	*out = &d->dev;
	return 0;
}

void log_disk_reset(struct blockdev *dev, const struct image *base)
{
	struct log_disk *d = disk_of(dev);

	while (d->nr_changed > 0) {
		uint32_t block = d->changed[--d->nr_changed];

		d->spare[d->nr_spare++] = d->over[block];
		d->over[block] = NULL;
	}
	d->log.nr = 0;
	arena_clear(&d->log.data);
	d->recording = false;
	d->fault = NULL;
	d->nr_writes = 0;
	d->base = base;
}

void log_disk_record(struct blockdev *dev, bool on)
{
	struct log_disk *d = disk_of(dev);

	pthread_mutex_lock(&d->lock);
	d->recording = on;
	pthread_mutex_unlock(&d->lock);
}

const struct log_events *log_disk_events(struct blockdev *dev)
{
	return &disk_of(dev)->log;
}

void log_disk_take(struct blockdev *dev, struct log_events *out)
{
	struct log_disk *d = disk_of(dev);

	*out = d->log;
	d->log = (struct log_events){0};
}

void log_disk_mark(struct blockdev *dev, enum log_kind kind, uint64_t value)
{
	struct log_disk *d = disk_of(dev);

	pthread_mutex_lock(&d->lock);
	(void)log_events_add(&d->log, kind, value);
	pthread_mutex_unlock(&d->lock);
}
