/* image.c - an image file, or a kernel block device, behind the seam.
 *
 * Through the kernel's page cache, by io_uring: BLK_FLUSH is fdatasync(2). One opener: an exclusive
 * flock (shared when read-only). Where io_uring is refused (seccomp, old kernel) requests are
 * carried out by plain system calls in the owner's poll.
 *
 * Invariants
 *  1. A request is in exactly one place: in the ring (nr_in_ring counts it) or in the queue's FIFO.
 *  2. Never more requests in the ring than its completion queue has room for.
 *
 * A queue counts as a ring of its own in the figures (struct blk_stat), where a doorbell is a system
 * call. `lock` guards the list of queues; the figures are the queue's thread's. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <liburing.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "blk_count.h"
#include "disk.h"
#include "plain_dma.h"
#include "probes.h"

#define RING_ENTRIES 256U

struct image {
	struct blockdev dev;
	int fd;
	struct blk_info info;
	pthread_mutex_t lock;
	struct image_queue *queues; /* the oldest first */
};

struct image_queue {
	struct blk_queue q;
	int fd;
	bool have_ring;
	bool event_registered;
	struct io_uring ring;
	unsigned nr_in_ring;
	unsigned nr_prepared;          /* since the last io_uring_submit() */
	struct blk_req *first, **last; /* FIFO: no room in the ring, or no ring */
	uint64_t batch_ns; /* when its first was submitted; 0: none was since the kick */
	struct blk_stat stat;
	struct image_queue *next;
};

static void image_info(struct blockdev *dev, struct blk_info *out)
{
	*out = ((struct image *)dev)->info;
}

static int image_queue_open(struct blockdev *dev, struct blk_queue **out)
{
	struct image *image = (struct image *)dev;
	struct image_queue *iq = calloc(1, sizeof(*iq)), **at;

	if (iq == NULL)
		return -ENOMEM;
	iq->fd = image->fd;
	iq->last = &iq->first;
	iq->have_ring = io_uring_queue_init(RING_ENTRIES, &iq->ring, 0) == 0;
	if (iq->have_ring)
		io_uring_ring_dontfork(&iq->ring);
	pthread_mutex_lock(&image->lock);
	for (at = &image->queues; *at != NULL; at = &(*at)->next)
		; /* last, so that the others keep their numbers in the figures */
	*at = iq;
	pthread_mutex_unlock(&image->lock);
	*out = &iq->q;
	return 0;
}

static void image_queue_close(struct blk_queue *q)
{
	struct image_queue *iq = (struct image_queue *)q, **at;
	struct image *image = (struct image *)q->dev;

	pthread_mutex_lock(&image->lock);
	for (at = &image->queues; *at != iq; at = &(*at)->next)
		;
	*at = iq->next;
	pthread_mutex_unlock(&image->lock);
	if (iq->have_ring)
		io_uring_queue_exit(&iq->ring);
	free(iq);
}

static off_t start_byte(const struct blk_req *req)
{
	return (off_t)(req->sector * SECTOR_BYTES);
}

static off_t length_bytes(const struct blk_req *req)
{
	return (off_t)req->nr_sectors * SECTOR_BYTES;
}

/* A hole reads as zeros, so it serves both operations, on files and on block devices. */
#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

static void prepare(struct image_queue *iq, struct io_uring_sqe *sqe, struct blk_req *req)
{
	switch (req->op) {
	case BLK_READ:
		io_uring_prep_readv(
			sqe, iq->fd, req->iov, (unsigned)req->nr_iov, (uint64_t)start_byte(req));
		break;
	case BLK_WRITE:
		io_uring_prep_writev(
			sqe, iq->fd, req->iov, (unsigned)req->nr_iov, (uint64_t)start_byte(req));
		break;
	case BLK_FLUSH:
		io_uring_prep_fsync(sqe, iq->fd, IORING_FSYNC_DATASYNC);
		break;
	case BLK_DISCARD:
	case BLK_WRITE_ZEROES:
		io_uring_prep_fallocate(sqe, iq->fd, PUNCH, start_byte(req), length_bytes(req));
		break;
	case BLK_SECURE_ERASE: /* a file can't: blk_submit() refuses it */
		break;
	}
	io_uring_sqe_set_data(sqe, req);
}

/* Move requests from the FIFO into the ring while there is room. */
static void fill_ring(struct image_queue *iq)
{
	while (iq->first != NULL && iq->nr_in_ring < RING_ENTRIES) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&iq->ring);

		if (sqe == NULL)
			return;
		prepare(iq, sqe, iq->first);
		iq->first = iq->first->next;
		if (iq->first == NULL)
			iq->last = &iq->first;
		iq->nr_in_ring++;
		iq->nr_prepared++;
	}
}

static int image_submit(struct blk_queue *q, struct blk_req *req)
{
	struct image_queue *iq = (struct image_queue *)q;

	if (iq->batch_ns == 0)
		iq->batch_ns = count_now_ns();
	req->priv[0] = iq->batch_ns;
	PROBE4(submit, 0, req->op, req->sector, req->nr_sectors);
	req->next = NULL;
	*iq->last = req;
	iq->last = &req->next;
	if (iq->have_ring)
		fill_ring(iq);
	return 0;
}

static void image_kick(struct blk_queue *q)
{
	struct image_queue *iq = (struct image_queue *)q;
	int n;

	if (!iq->have_ring || iq->nr_prepared == 0)
		return;
	n = io_uring_submit(&iq->ring); /* -EAGAIN, -EBUSY: the next kick or poll tries again */
	if (n <= 0)
		return;
	iq->nr_prepared -= (unsigned)n;
	iq->batch_ns = 0;
	count(&iq->stat.kicks, 1);
	count_batch(&iq->stat, (unsigned)n);
	PROBE3(kick, 0, n, 1);
}

/* Read or write on from byte DONE of the request until its end. 0 or a negative errno. */
static int transfer_rest(int fd, const struct blk_req *req, size_t done)
{
	off_t at = start_byte(req) + (off_t)done;

	for (int i = 0; i < req->nr_iov; i++) {
		uint8_t *p = req->iov[i].iov_base;
		size_t left = req->iov[i].iov_len;
		size_t skip = done < left ? done : left;

		done -= skip;
		p += skip;
		left -= skip;
		while (left > 0) {
			ssize_t n = req->op == BLK_READ ? pread(fd, p, left, at)
							: pwrite(fd, p, left, at);

			if (n < 0 && errno == EINTR)
				continue;
			if (n <= 0)
				return n < 0 ? -errno : -EIO;
			p += n;
			left -= (size_t)n;
			at += n;
		}
	}
	return 0;
}

static int carry_out(int fd, const struct blk_req *req)
{
	switch (req->op) {
	case BLK_READ:
	case BLK_WRITE:
		return transfer_rest(fd, req, 0);
	case BLK_FLUSH:
		return fdatasync(fd) < 0 ? -errno : 0;
	case BLK_DISCARD:
	case BLK_WRITE_ZEROES:
		return fallocate(fd, PUNCH, start_byte(req), length_bytes(req)) < 0 ? -errno : 0;
	case BLK_SECURE_ERASE:
		break;
	}
	return -EINVAL;
}

/* What the ring's result means: a short transfer (a signal, a limit) is finished here, and so is one
 * of more pieces than the kernel takes at a time. */
static int result_of(int fd, const struct blk_req *req, int res)
{
	if (res == -EAGAIN || res == -EINTR || (res == -EINVAL && req->nr_iov > IOV_MAX))
		return carry_out(fd, req);
	if (res < 0)
		return res;
	if (req->op != BLK_READ && req->op != BLK_WRITE)
		return 0;
	return res == length_bytes(req) ? 0 : transfer_rest(fd, req, (size_t)res);
}

/* For the caller: an image that can't be read or written is a failed disk. */
static int disk_error(int err)
{
	return err == 0 || err == -EOPNOTSUPP || err == -ENOSPC ? err : -EIO;
}

static void finish(struct image_queue *iq, struct blk_req *req, uint64_t now_ns, int err)
{
	count_request(&iq->stat, req, err);
	count_latency(&iq->stat, req->op, now_ns - req->priv[0]);
	PROBE4(complete, 0, req->op, now_ns - req->priv[0], err < 0);
	req->done(req, err);
}

static int poll_fifo(struct image_queue *iq)
{
	struct blk_req *req = iq->first;
	int n = 0;

	iq->first = NULL;
	iq->last = &iq->first;
	iq->batch_ns = 0;
	for (; req != NULL; n++) {
		struct blk_req *next = req->next;
		int err = disk_error(carry_out(iq->fd, req));

		finish(iq, req, count_now_ns(), err);
		req = next;
	}
	return n;
}

static int image_poll(struct blk_queue *q)
{
	struct image_queue *iq = (struct image_queue *)q;
	struct io_uring_cqe *cqe;
	uint64_t now_ns = 0;
	int n = 0;

	if (!iq->have_ring)
		return poll_fifo(iq);
	while (io_uring_peek_cqe(&iq->ring, &cqe) == 0) {
		struct blk_req *req = io_uring_cqe_get_data(cqe);
		int res = cqe->res;

		io_uring_cqe_seen(&iq->ring, cqe);
		iq->nr_in_ring--;
		if (now_ns == 0)
			now_ns = count_now_ns();
		finish(iq, req, now_ns, disk_error(result_of(iq->fd, req, res)));
		n++;
	}
	count(n > 0 ? &iq->stat.polls_hit : &iq->stat.polls_missed, 1);
	fill_ring(iq);
	image_kick(q);
	return n;
}

static bool image_arm(struct blk_queue *q)
{
	struct image_queue *iq = (struct image_queue *)q;

	image_kick(q);
	if (!iq->have_ring)
		return iq->first != NULL;
	if (!iq->event_registered)
		iq->event_registered = io_uring_register_eventfd(&iq->ring, q->event_fd) == 0;
	return !iq->event_registered || iq->nr_prepared > 0 || io_uring_cq_ready(&iq->ring) > 0;
}

static int image_stat(struct blockdev *dev, struct blk_stat *out, int max)
{
	struct image *image = (struct image *)dev;
	int n = 0;

	pthread_mutex_lock(&image->lock);
	for (struct image_queue *iq = image->queues; iq != NULL && n < max; iq = iq->next)
		count_read(&iq->stat, &out[n++]);
	pthread_mutex_unlock(&image->lock);
	return n;
}

static void image_close(struct blockdev *dev)
{
	struct image *image = (struct image *)dev;

	close(image->fd);
	pthread_mutex_destroy(&image->lock);
	free(dev);
}

static const struct blockdev_ops image_ops = {
	.info = image_info,
	.queue_open = image_queue_open,
	.queue_close = image_queue_close,
	.submit = image_submit,
	.kick = image_kick,
	.poll = image_poll,
	.arm = image_arm,
	.dma_alloc = plain_dma_alloc,
	.dma_free = plain_dma_free,
	.stat = image_stat,
	.close = image_close,
};

/* Size and block of a file or a kernel block device. */
static int measure(int fd, struct blk_info *info)
{
	struct stat st;
	uint64_t bytes;
	int logical = SECTOR_BYTES;

	if (fstat(fd, &st) < 0)
		return -errno;
	bytes = (uint64_t)st.st_size;
	if (S_ISBLK(st.st_mode)) {
		if (ioctl(fd, BLKGETSIZE64, &bytes) < 0 || ioctl(fd, BLKSSZGET, &logical) < 0)
			return -errno;
	} else if (!S_ISREG(st.st_mode)) {
		return -ENOTBLK;
	}
	info->nr_sectors = bytes / SECTOR_BYTES;
	info->logical_bytes = (uint32_t)logical;
	info->physical_bytes = 4096;
	info->can_discard = true;
	info->can_write_zeroes = true;
	return 0;
}

static int fail(char *err, size_t err_bytes, int code, const char *path, const char *why)
{
	snprintf(err, err_bytes, "%s: %s", path, why);
	return code;
}

/* A block device that will be written is opened O_EXCL: refused while it is mounted or otherwise
 * held. */
static int open_locked(const char *path, bool read_only, char *err, size_t err_bytes)
{
	struct stat st;
	int flags = (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC;
	int fd;

	if (!read_only && stat(path, &st) == 0 && S_ISBLK(st.st_mode))
		flags |= O_EXCL;
	fd = open(path, flags);
	if (fd < 0)
		return fail(err, err_bytes, -errno, path,
			errno == EBUSY ? "in use (mounted or held by the kernel)"
				       : strerror(errno));
	if (flock(fd, (read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) < 0) {
		close(fd);
		return fail(
			err, err_bytes, -EBUSY, path, "in use by another process (is it mounted?)");
	}
	return fd;
}

int image_open(const char *path, const struct disk_opts *opts, struct blockdev **out, char *err,
	size_t err_bytes)
{
	bool read_only = opts != NULL && opts->read_only;
	struct image *image;
	int code, fd;

	if (opts != NULL && opts->write_through)
		return fail(err, err_bytes, -EOPNOTSUPP, path,
			"the kernel's cache can't be switched off: no writethrough here");
	fd = open_locked(path, read_only, err, err_bytes);
	if (fd < 0)
		return fd;
	image = calloc(1, sizeof(*image));
	if (image == NULL) {
		close(fd);
		return fail(err, err_bytes, -ENOMEM, path, strerror(ENOMEM));
	}
	code = measure(fd, &image->info);
	if (code < 0) {
		close(fd);
		free(image);
		return fail(err, err_bytes, code, path,
			code == -ENOTBLK ? "not a file and not a block device" : strerror(-code));
	}
	image->dev.ops = &image_ops;
	pthread_mutex_init(&image->lock, NULL);
	image->fd = fd;
	image->info.nr_rings = 64;
	image->info.read_only = read_only;
	image->info.volatile_cache = true;
	snprintf(image->info.name, sizeof(image->info.name), "%s", path);
	*out = &image->dev;
	return 0;
}
