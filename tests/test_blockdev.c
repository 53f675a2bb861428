/* test_blockdev.c - the seam (blockdev.c), on the disk in memory and on an image file, and on a
 * disk of the test's own. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "disk.h"

#define NR_SECTORS 2048U

static struct blockdev *dev;
static struct blk_queue *q;
static char path[64];

struct io {
	struct blk_req req; /* first */
	struct iovec iov[4];
	unsigned calls;
	int err;
};

static void on_done(struct blk_req *req, int err)
{
	struct io *io = (struct io *)req;

	io->calls++;
	io->err = err;
}

static void io_init(struct io *io, enum blk_op op, uint64_t sector, uint32_t nr_sectors, void *buf)
{
	memset(io, 0, sizeof(*io));
	io->iov[0] = (struct iovec){buf, (size_t)nr_sectors * SECTOR_BYTES};
	io->req = (struct blk_req){.op = op,
		.sector = sector,
		.nr_sectors = nr_sectors,
		.iov = io->iov,
		.nr_iov = 1,
		.done = on_done};
}

static void make_image(off_t bytes)
{
	int fd;

	strcpy(path, "/tmp/vblkfs-test-XXXXXX");
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, bytes), 0);
	close(fd);
}

static void open_image(const struct disk_opts *opts)
{
	char err[256] = "";

	ck_assert_msg(image_open(path, opts, &dev, err, sizeof(err)) == 0, "%s", err);
	ck_assert_int_eq(blk_queue_open(dev, &q), 0);
}

static void setup_memory(void)
{
	path[0] = '\0';
	ck_assert_int_eq(mem_disk_open(NR_SECTORS, &dev), 0);
	ck_assert_int_eq(blk_queue_open(dev, &q), 0);
}

static void setup_image(void)
{
	make_image(NR_SECTORS * SECTOR_BYTES);
	open_image(NULL);
}

static void teardown(void)
{
	if (q != NULL)
		blk_queue_close(q);
	if (dev != NULL)
		blk_close(dev);
	if (path[0] != '\0')
		(void)unlink(path);
	q = NULL;
	dev = NULL;
}

static void fill(uint8_t *p, size_t bytes, unsigned seed)
{
	for (size_t i = 0; i < bytes; i++)
		p[i] = (uint8_t)((i + seed) * 2654435761U >> 24);
}

/* What every disk does */

START_TEST(data_comes_back)
{
	uint8_t *out = blk_dma_alloc(dev, 65536), *in = blk_dma_alloc(dev, 65536);

	fill(out, 65536, 1);
	ck_assert_int_eq(blk_do(q, BLK_WRITE, 3, 128, out), 0);
	ck_assert_int_eq(blk_do(q, BLK_FLUSH, 0, 0, NULL), 0);
	ck_assert_int_eq(blk_do(q, BLK_READ, 3, 128, in), 0);
	ck_assert_mem_eq(in, out, 65536);
	ck_assert_uint_eq(q->nr_inflight, 0);
	blk_dma_free(dev, out, 65536);
	blk_dma_free(dev, in, 65536);
}
END_TEST

START_TEST(pieces_are_transferred_in_their_order)
{
	uint8_t *mem = blk_dma_alloc(dev, 8192), *in = blk_dma_alloc(dev, 4096);
	struct io io;

	fill(mem, 8192, 2);
	io_init(&io, BLK_WRITE, 0, 4, NULL);
	io.iov[0] = (struct iovec){mem + 5000, 1000};
	io.iov[1] = (struct iovec){mem, 24};
	io.iov[2] = (struct iovec){mem + 2048, 1024};
	io.req.nr_iov = 3;
	ck_assert_int_eq(blk_submit(q, &io.req), 0);
	while (io.calls == 0)
		(void)blk_wait(q, 5000);
	ck_assert_int_eq(io.err, 0);
	ck_assert_int_eq(blk_do(q, BLK_READ, 0, 4, in), 0);
	ck_assert_mem_eq(in, mem + 5000, 1000);
	ck_assert_mem_eq(in + 1000, mem, 24);
	ck_assert_mem_eq(in + 1024, mem + 2048, 1024);
	blk_dma_free(dev, mem, 8192);
	blk_dma_free(dev, in, 4096);
}
END_TEST

START_TEST(write_zeroes_reads_as_zeros)
{
	uint8_t *mem = blk_dma_alloc(dev, 8192);

	memset(mem, 0xee, 8192);
	ck_assert_int_eq(blk_do(q, BLK_WRITE, 0, 16, mem), 0);
	ck_assert_int_eq(blk_do(q, BLK_WRITE_ZEROES, 4, 8, NULL), 0);
	ck_assert_int_eq(blk_do(q, BLK_READ, 0, 16, mem), 0);
	ck_assert_uint_eq(mem[4 * 512 - 1], 0xee);
	ck_assert_uint_eq(mem[4 * 512], 0);
	ck_assert_uint_eq(mem[12 * 512 - 1], 0);
	ck_assert_uint_eq(mem[12 * 512], 0xee);
	ck_assert_int_eq(blk_do(q, BLK_DISCARD, 0, 16, NULL), 0);
	blk_dma_free(dev, mem, 8192);
}
END_TEST

START_TEST(requests_that_make_no_sense_are_refused_at_once)
{
	uint8_t *mem = blk_dma_alloc(dev, 4096);
	struct io io;

	ck_assert_int_eq(blk_do(q, BLK_READ, NR_SECTORS, 1, mem), -EINVAL);
	ck_assert_int_eq(blk_do(q, BLK_READ, NR_SECTORS - 1, 2, mem), -EINVAL);
	ck_assert_int_eq(blk_do(q, BLK_WRITE, UINT64_MAX, 1, mem), -EINVAL);
	ck_assert_int_eq(blk_do(q, BLK_WRITE, 0, 0, mem), -EINVAL);
	ck_assert_int_eq(blk_do(q, (enum blk_op)99, 0, 1, mem), -EINVAL);
	ck_assert_int_eq(blk_do(q, BLK_READ, NR_SECTORS - 1, 1, mem), 0);
	io_init(&io, BLK_READ, NR_SECTORS, 1, mem);
	ck_assert_int_eq(blk_submit(q, &io.req), -EINVAL);
	ck_assert_int_eq(blk_wait(q, 0), 0);
	ck_assert_uint_eq(io.calls, 0);
	ck_assert_uint_eq(q->nr_inflight, 0);
	blk_dma_free(dev, mem, 4096);
}
END_TEST

START_TEST(far_more_requests_than_any_ring_holds_are_done_once_each)
{
	enum { NR = 2000 };
	struct io *io = calloc(NR, sizeof(*io));
	uint8_t *mem = blk_dma_alloc(dev, NR_SECTORS * 512);
	unsigned nr_done = 0;

	for (unsigned i = 0; i < NR; i++) {
		io_init(&io[i], i % 3 ? BLK_WRITE : BLK_READ, i, 1, mem + i * 512);
		ck_assert_int_eq(blk_submit(q, &io[i].req), 0);
	}
	ck_assert_uint_eq(q->nr_inflight, NR);
	while (nr_done < NR) {
		int n = blk_wait(q, 5000);

		ck_assert_int_gt(n, 0);
		nr_done += (unsigned)n;
	}
	for (unsigned i = 0; i < NR; i++) {
		ck_assert_uint_eq(io[i].calls, 1);
		ck_assert_int_eq(io[i].err, 0);
	}
	ck_assert_uint_eq(q->nr_inflight, 0);
	blk_dma_free(dev, mem, NR_SECTORS * 512);
	free(io);
}
END_TEST

static unsigned resubmits;

static void again(struct blk_req *req, int err)
{
	on_done(req, err);
	if (resubmits > 0) {
		resubmits--;
		ck_assert_int_eq(blk_submit(q, req), 0);
	}
}

START_TEST(done_may_submit_again)
{
	uint8_t *mem = blk_dma_alloc(dev, 512);
	struct io io;

	resubmits = 500;
	io_init(&io, BLK_READ, 0, 1, mem);
	io.req.done = again;
	ck_assert_int_eq(blk_submit(q, &io.req), 0);
	while (io.calls < 501)
		ck_assert_int_gt(blk_wait(q, 5000), 0);
	ck_assert_uint_eq(q->nr_inflight, 0);
	blk_dma_free(dev, mem, 512);
}
END_TEST

START_TEST(dma_memory_is_zeroed_and_aligned)
{
	static const size_t sizes[] = {1, 512, 4096, 4097, 65536, 2U << 20, 4U << 20};
	size_t bytes = sizes[_i];
	uint8_t *mem = blk_dma_alloc(dev, bytes);

	ck_assert_ptr_nonnull(mem);
	ck_assert_uint_eq((uintptr_t)mem % 4096, 0);
	if (bytes % (2U << 20) == 0)
		ck_assert_uint_eq((uintptr_t)mem % (2U << 20), 0);
	ck_assert(mem[0] == 0 && memcmp(mem, mem + 1, bytes - 1) == 0);
	memset(mem, 0xff, bytes);
	blk_dma_free(dev, mem, bytes);
	blk_dma_free(dev, NULL, bytes);
}
END_TEST

/* Sleep */

START_TEST(wake_ends_the_next_sleep)
{
	blk_wake(q);
	ck_assert_int_eq(blk_wait(q, -1), 0);
	ck_assert_int_eq(blk_wait(q, 0), 0);
}
END_TEST

START_TEST(wakes_merge)
{
	struct pollfd pfd = {.fd = blk_fd(q), .events = POLLIN};

	blk_wake(q);
	blk_wake(q);
	ck_assert(blk_arm(q));
	ck_assert_int_eq(blk_poll(q), 0);
	ck_assert(!blk_arm(q));
	ck_assert_int_eq(poll(&pfd, 1, 0), 0); /* blk_poll() has reset it */
}
END_TEST

static void *wake_later(void *arg)
{
	(void)usleep(2000);
	blk_wake(arg);
	return NULL;
}

START_TEST(wake_from_another_thread_ends_a_sleep)
{
	pthread_t thread;

	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(pthread_create(&thread, NULL, wake_later, q), 0);
		ck_assert_int_eq(blk_wait(q, -1), 0);
		pthread_join(thread, NULL);
	}
}
END_TEST

static void *wake_often(void *arg)
{
	for (int i = 0; i < 20000; i++)
		blk_wake(arg);
	return NULL;
}

START_TEST(no_wake_is_lost_when_many_come)
{
	pthread_t thread[2];

	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, wake_often, q), 0);
	for (int i = 0; i < 100; i++)
		(void)blk_wait(q, 1);
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	blk_wake(q);
	ck_assert_int_eq(blk_wait(q, -1), 0); /* would hang */
}
END_TEST

START_TEST(sleep_with_nothing_to_come_ends_in_time)
{
	ck_assert_int_eq(blk_wait(q, 0), 0);
	ck_assert_int_eq(blk_wait(q, 20), 0);
}
END_TEST

START_TEST(completion_ends_a_sleep)
{
	uint8_t *mem = blk_dma_alloc(dev, 4096);
	struct io io;

	q->spin_us = (uint32_t)(100 * _i); /* 0: sleep at once */
	for (int i = 0; i < 100; i++) {
		io_init(&io, BLK_READ, 0, 8, mem);
		ck_assert_int_eq(blk_submit(q, &io.req), 0);
		ck_assert_int_eq(blk_wait(q, 5000), 1);
		ck_assert_uint_eq(io.calls, 1);
	}
	blk_dma_free(dev, mem, 4096);
}
END_TEST

START_TEST(two_queues_get_their_own_completions)
{
	uint8_t *mem = blk_dma_alloc(dev, 1024);
	struct blk_queue *other;
	struct io mine, theirs;

	ck_assert_int_eq(blk_queue_open(dev, &other), 0);
	io_init(&mine, BLK_READ, 0, 1, mem);
	io_init(&theirs, BLK_READ, 1, 1, mem + 512);
	ck_assert_int_eq(blk_submit(q, &mine.req), 0);
	ck_assert_int_eq(blk_submit(other, &theirs.req), 0);
	ck_assert_int_eq(blk_wait(other, 5000), 1);
	ck_assert_uint_eq(theirs.calls, 1);
	ck_assert_uint_eq(mine.calls, 0);
	ck_assert_int_eq(blk_wait(q, 5000), 1);
	ck_assert_uint_eq(mine.calls, 1);
	blk_queue_close(other);
	blk_dma_free(dev, mem, 1024);
}
END_TEST

/* Images */

START_TEST(an_image_queue_keeps_its_place_in_the_figures)
{
	uint8_t *mem;
	struct blk_stat stat[2];
	struct blk_queue *other;

	make_image(NR_SECTORS * SECTOR_BYTES);
	open_image(NULL);
	mem = blk_dma_alloc(dev, 512);
	ck_assert_int_eq(blk_do(q, BLK_READ, 0, 1, mem), 0);
	ck_assert_int_eq(blk_queue_open(dev, &other), 0);
	ck_assert_int_eq(blk_stats(dev, stat, 2), 2);
	ck_assert_uint_eq(stat[0].reads, 1);
	ck_assert_uint_eq(stat[1].reads, 0);
	blk_queue_close(other);
	blk_dma_free(dev, mem, 512);
}
END_TEST

START_TEST(image_has_its_file_s_size)
{
	struct blk_info info;

	make_image(NR_SECTORS * SECTOR_BYTES + 100);
	open_image(NULL);
	blk_get_info(dev, &info);
	ck_assert_uint_eq(info.nr_sectors, NR_SECTORS);
	ck_assert_uint_eq(info.logical_bytes, 512);
	ck_assert(!info.read_only);
	ck_assert(info.volatile_cache);
	ck_assert_str_eq(info.name, path);
}
END_TEST

START_TEST(image_keeps_data_over_a_close)
{
	uint8_t *mem;

	make_image(NR_SECTORS * SECTOR_BYTES);
	open_image(NULL);
	mem = blk_dma_alloc(dev, 4096);
	fill(mem, 4096, 3);
	ck_assert_int_eq(blk_do(q, BLK_WRITE, 8, 8, mem), 0);
	blk_dma_free(dev, mem, 4096);
	blk_queue_close(q);
	blk_close(dev);
	open_image(NULL);
	mem = blk_dma_alloc(dev, 8192);
	fill(mem + 4096, 4096, 3);
	ck_assert_int_eq(blk_do(q, BLK_READ, 8, 8, mem), 0);
	ck_assert_mem_eq(mem, mem + 4096, 4096);
	blk_dma_free(dev, mem, 8192);
}
END_TEST

START_TEST(read_only_image_refuses_writes)
{
	const struct disk_opts opts = {.read_only = true};
	uint8_t *mem;

	make_image(NR_SECTORS * SECTOR_BYTES);
	ck_assert_int_eq(chmod(path, 0444), 0);
	open_image(&opts);
	mem = blk_dma_alloc(dev, 512);
	ck_assert_int_eq(blk_do(q, BLK_WRITE, 0, 1, mem), -EROFS);
	ck_assert_int_eq(blk_do(q, BLK_DISCARD, 0, 1, NULL), -EROFS);
	ck_assert_int_eq(blk_do(q, BLK_WRITE_ZEROES, 0, 1, NULL), -EROFS);
	ck_assert_int_eq(blk_do(q, BLK_READ, 0, 1, mem), 0);
	ck_assert_int_eq(blk_do(q, BLK_FLUSH, 0, 0, NULL), 0);
	blk_dma_free(dev, mem, 512);
}
END_TEST

static void refused(const char *name, const struct disk_opts *opts, int code, const char *word)
{
	struct blockdev *other = NULL;
	char err[256] = "";

	ck_assert_int_eq(image_open(name, opts, &other, err, sizeof(err)), code);
	ck_assert_ptr_null(other);
	ck_assert_msg(strstr(err, name) != NULL && strstr(err, word) != NULL, "'%s'", err);
}

START_TEST(image_has_one_writer_or_many_readers)
{
	const struct disk_opts ro = {.read_only = true};
	struct blockdev *other;
	char err[256];

	make_image(NR_SECTORS * SECTOR_BYTES);
	open_image(NULL);
	refused(path, NULL, -EBUSY, "in use");
	refused(path, &ro, -EBUSY, "in use");
	blk_queue_close(q);
	blk_close(dev);
	open_image(&ro);
	refused(path, NULL, -EBUSY, "in use");
	ck_assert_int_eq(image_open(path, &ro, &other, err, sizeof(err)), 0);
	blk_close(other);
}
END_TEST

START_TEST(image_can_not_be_written_through)
{
	const struct disk_opts through = {.write_through = true};
	struct blockdev *other;
	char err[128];

	ck_assert_int_eq(image_open(path, &through, &other, err, sizeof(err)), -EOPNOTSUPP);
	ck_assert_ptr_nonnull(strstr(err, "writethrough"));
}
END_TEST

START_TEST(what_is_no_disk_is_refused)
{
	refused("/nowhere/at/all", NULL, -ENOENT, "");
	refused("/tmp", NULL, -EISDIR, "");
	refused("/dev/null", NULL, -ENOTBLK, "not a");
}
END_TEST

START_TEST(truncated_image_is_an_error_and_no_hang)
{
	uint8_t *mem;

	make_image(NR_SECTORS * SECTOR_BYTES);
	open_image(NULL);
	ck_assert_int_eq(truncate(path, 4096), 0);
	mem = blk_dma_alloc(dev, 8192);
	ck_assert_int_eq(blk_do(q, BLK_READ, 0, 16, mem), -EIO);
	ck_assert_int_eq(blk_do(q, BLK_READ, 100, 1, mem), -EIO);
	ck_assert_int_eq(blk_do(q, BLK_READ, 0, 8, mem), 0);
	blk_dma_free(dev, mem, 8192);
}
END_TEST

/* More than readv(2) does; a virtio disk takes any number. */
START_TEST(image_takes_memory_in_any_number_of_pieces)
{
	static struct iovec iov[NR_SECTORS];
	enum blk_op op = BLK_WRITE;
	uint8_t *mem, *want = malloc(NR_SECTORS * SECTOR_BYTES);
	struct io io;

	make_image(NR_SECTORS * SECTOR_BYTES);
	open_image(NULL);
	mem = blk_dma_alloc(dev, NR_SECTORS * SECTOR_BYTES);
	fill(mem, NR_SECTORS * SECTOR_BYTES, 5);
	memcpy(want, mem, NR_SECTORS * SECTOR_BYTES);
	for (unsigned i = 0; i < NR_SECTORS; i++)
		iov[i] = (struct iovec){mem + (size_t)i * SECTOR_BYTES, SECTOR_BYTES};
	for (unsigned n = 0; n < 2; n++, op = BLK_READ) {
		io_init(&io, op, 0, NR_SECTORS, NULL);
		io.req.iov = iov;
		io.req.nr_iov = NR_SECTORS;
		ck_assert_int_eq(blk_submit(q, &io.req), 0);
		while (io.calls == 0)
			(void)blk_wait(q, -1);
		ck_assert_int_eq(io.err, 0);
		ck_assert_mem_eq(mem, want, NR_SECTORS * SECTOR_BYTES);
		memset(mem, 0, NR_SECTORS * SECTOR_BYTES);
	}
	blk_dma_free(dev, mem, NR_SECTORS * SECTOR_BYTES);
	free(want);
}
END_TEST

/* Names */

START_TEST(pci_addresses_are_known_by_their_form)
{
	static const struct {
		const char *source, *address; /* NULL: a path */
	} names[] = {{"0000:00:05.0", "0000:00:05.0"}, {"00:05.0", "0000:00:05.0"},
		{"virtio:0001:af:1f.7", "0001:af:1f.7"}, {"virtio:00:05.0", "0000:00:05.0"},
		{"0000:00:99.0", "0000:00:99.0"},
		{"00:05.f", "0000:00:05.f"}, /* which no bus has */
		{"0000:00:05", NULL}, {"00:05.0x", NULL}, {"00:05.10", NULL}, {"disk.img", NULL},
		{"./00:05.0", NULL}, {"", NULL}, {"0000:00:05.0:", NULL}};
	char address[32] = "";

	ck_assert_int_eq(disk_is_pci(names[_i].source), names[_i].address != NULL);
	ck_assert_int_eq(disk_parse_address(names[_i].source, address, sizeof(address)),
		names[_i].address != NULL);
	if (names[_i].address != NULL)
		ck_assert_str_eq(address, names[_i].address);
}
END_TEST

/* A disk of the test's own, for what the others do not do */

static struct {
	struct blk_info info;
	unsigned polls_left; /* until a request is done */
	struct blk_req *req;
	int queue_open_err;
} own;

static void own_info(struct blockdev *disk, struct blk_info *out)
{
	(void)disk;
	*out = own.info;
}

static int own_queue_open(struct blockdev *disk, struct blk_queue **out)
{
	(void)disk;
	if (own.queue_open_err < 0)
		return own.queue_open_err;
	*out = calloc(1, sizeof(**out));
	return 0;
}

static void own_queue_close(struct blk_queue *queue)
{
	free(queue);
}

static int own_submit(struct blk_queue *queue, struct blk_req *req)
{
	(void)queue;
	own.req = req;
	return 0;
}

static void own_kick(struct blk_queue *queue)
{
	(void)queue;
}

static int own_poll(struct blk_queue *queue)
{
	struct blk_req *req = own.req;

	(void)queue;
	if (req == NULL || own.polls_left-- > 0)
		return 0;
	own.req = NULL;
	req->done(req, -EIO);
	return 1;
}

static bool own_arm(struct blk_queue *queue)
{
	(void)queue;
	return own.req != NULL;
}

static const struct blockdev_ops own_ops = {
	.info = own_info,
	.queue_open = own_queue_open,
	.queue_close = own_queue_close,
	.submit = own_submit,
	.kick = own_kick,
	.poll = own_poll,
	.arm = own_arm,
};
static struct blockdev own_disk = {.ops = &own_ops};

static void setup_own(void)
{
	memset(&own, 0, sizeof(own));
	path[0] = '\0';
	own.info =
		(struct blk_info){.nr_sectors = 800, .logical_bytes = 4096, .physical_bytes = 4096};
	ck_assert_int_eq(blk_queue_open(&own_disk, &q), 0);
}

static void teardown_own(void)
{
	blk_queue_close(q);
	q = NULL;
}

START_TEST(requests_are_whole_logical_blocks)
{
	struct io io;

	io_init(&io, BLK_READ, 4, 8, NULL);
	ck_assert_int_eq(blk_submit(q, &io.req), -EINVAL);
	io_init(&io, BLK_READ, 8, 4, NULL);
	ck_assert_int_eq(blk_submit(q, &io.req), -EINVAL);
	io_init(&io, BLK_READ, 8, 8, NULL);
	ck_assert_int_eq(blk_submit(q, &io.req), 0);
	ck_assert_int_eq(blk_wait(q, 5000), 1);
}
END_TEST

START_TEST(what_the_disk_can_t_do_is_refused)
{
	struct io io;

	io_init(&io, BLK_DISCARD, 0, 8, NULL);
	ck_assert_int_eq(blk_submit(q, &io.req), -EOPNOTSUPP);
	io_init(&io, BLK_WRITE_ZEROES, 0, 8, NULL);
	ck_assert_int_eq(blk_submit(q, &io.req), -EOPNOTSUPP);
}
END_TEST

START_TEST(disk_that_grew_takes_requests_there)
{
	struct io io;

	io_init(&io, BLK_READ, 800, 8, NULL);
	ck_assert_int_eq(blk_submit(q, &io.req), -EINVAL);
	own.info.nr_sectors = 808;
	ck_assert_int_eq(blk_submit(q, &io.req), 0);
	ck_assert_int_eq(blk_wait(q, 5000), 1);
}
END_TEST

START_TEST(error_comes_back_from_blk_do)
{
	own.polls_left = (unsigned)_i * 50;
	q->spin_us = (uint32_t)(_i % 2) * 1000;
	ck_assert_int_eq(blk_do(q, BLK_READ, 0, 8, NULL), -EIO);
	ck_assert_uint_eq(q->nr_inflight, 0);
}
END_TEST

START_TEST(queue_that_does_not_open_leaves_nothing)
{
	struct blk_queue *none = NULL;
	int before = dup(0), after;

	close(before);
	own.queue_open_err = -ENOMEM;
	ck_assert_int_eq(blk_queue_open(&own_disk, &none), -ENOMEM);
	ck_assert_ptr_null(none);
	after = dup(0);
	close(after);
	ck_assert_int_eq(after, before); /* no descriptor stayed open */
}
END_TEST

START_TEST(disk_without_figures_has_none)
{
	struct blk_stat s;

	ck_assert_int_eq(blk_stats(&own_disk, &s, 1), 0);
}
END_TEST

static void add_common(Suite *suite, const char *name, void (*setup)(void))
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, data_comes_back);
	tcase_add_test(tc, pieces_are_transferred_in_their_order);
	tcase_add_test(tc, write_zeroes_reads_as_zeros);
	tcase_add_test(tc, requests_that_make_no_sense_are_refused_at_once);
	tcase_add_test(tc, far_more_requests_than_any_ring_holds_are_done_once_each);
	tcase_add_test(tc, done_may_submit_again);
	tcase_add_loop_test(tc, dma_memory_is_zeroed_and_aligned, 0, 7);
	tcase_add_test(tc, wake_ends_the_next_sleep);
	tcase_add_test(tc, wakes_merge);
	tcase_add_test(tc, wake_from_another_thread_ends_a_sleep);
	tcase_add_test(tc, no_wake_is_lost_when_many_come);
	tcase_add_test(tc, sleep_with_nothing_to_come_ends_in_time);
	tcase_add_loop_test(tc, completion_ends_a_sleep, 0, 2);
	tcase_add_test(tc, two_queues_get_their_own_completions);
	suite_add_tcase(suite, tc);
}

static void add_image(Suite *suite)
{
	TCase *tc = tcase_create("image only");

	tcase_add_checked_fixture(tc, NULL, teardown);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, an_image_queue_keeps_its_place_in_the_figures);
	tcase_add_test(tc, image_has_its_file_s_size);
	tcase_add_test(tc, image_keeps_data_over_a_close);
	tcase_add_test(tc, read_only_image_refuses_writes);
	tcase_add_test(tc, image_has_one_writer_or_many_readers);
	tcase_add_test(tc, image_can_not_be_written_through);
	tcase_add_test(tc, what_is_no_disk_is_refused);
	tcase_add_test(tc, truncated_image_is_an_error_and_no_hang);
	tcase_add_test(tc, image_takes_memory_in_any_number_of_pieces);
	tcase_add_loop_test(tc, pci_addresses_are_known_by_their_form, 0, 12);
	suite_add_tcase(suite, tc);
}

static void add_own(Suite *suite)
{
	TCase *tc = tcase_create("own");

	tcase_add_checked_fixture(tc, setup_own, teardown_own);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, requests_are_whole_logical_blocks);
	tcase_add_test(tc, what_the_disk_can_t_do_is_refused);
	tcase_add_test(tc, disk_that_grew_takes_requests_there);
	tcase_add_loop_test(tc, error_comes_back_from_blk_do, 0, 4);
	tcase_add_test(tc, queue_that_does_not_open_leaves_nothing);
	tcase_add_test(tc, disk_without_figures_has_none);
	suite_add_tcase(suite, tc);
}

int main(void)
{
	Suite *suite = suite_create("blockdev");
	SRunner *runner;
	int failed;

	add_common(suite, "memory", setup_memory);
	add_common(suite, "image", setup_image);
	add_image(suite);
	add_own(suite);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
