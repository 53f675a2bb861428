/* test_libvblk.c - the library (vblk/vblk.h), on image files, on the strict device model, and on a
 * vhost-user back-end of the tests' own. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>
#include "libvblk.h"
#include "model/rig.h"
#include "model/vmock.h"
#include "until.h"
#include "vblk.h"
#include "virtio_blk.h"

#define DISK_BYTES (1U << 20)
#define NR_IO      32U
#define IO_BYTES   4096U

static char path[64];
static char err_text[256];
static struct vblk_disk *disk;
static struct vblk_queue *q;
static struct rig rig;
static struct vmock *mock;
static uint8_t *mem;

static void make_image(void)
{
	int fd;

	strcpy(path, "/tmp/vblkfs-test-XXXXXX");
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, DISK_BYTES), 0);
	close(fd);
}

static int open_path(const struct vblk_opts *opts)
{
	err_text[0] = '\0';
	return vblk_disk_open(path, opts, &disk, err_text, sizeof(err_text));
}

static void open_queue(void)
{
	ck_assert_int_eq(vblk_queue_open(disk, &q), 0);
	mem = vblk_mem_alloc(disk, NR_IO * IO_BYTES);
	ck_assert_ptr_nonnull(mem);
}

static void setup_image(void)
{
	disk = NULL;
	q = NULL;
	make_image();
	ck_assert_msg(open_path(NULL) == 0, "%s", err_text);
	open_queue();
}

static void setup_model(void)
{
	rig_init(&rig);
	rig.cfg.blk.capacity = DISK_BYTES / 512;
	rig.cfg.features[0] |= 1ULL << VIRTIO_BLK_F_LIFETIME;
	rig.cfg.blk.pre_eol = 1;
	rig.cfg.blk.typ_a = 3;
	rig.cfg.blk.typ_b = 4;
	rig.cfg.blk.zeroes_may_unmap = 1;
	ck_assert_msg(rig_disk(&rig) == 0, "%s", rig.err);
	disk = libvblk_wrap(rig.dev);
	open_queue();
}

static void open_backend(const struct vblk_opts *opts)
{
	struct vmock_config cfg;
	char source[160];

	vmock_defaults(&cfg);
	cfg.capacity = DISK_BYTES / 512;
	mock = vmock_start(&cfg);
	snprintf(source, sizeof(source), "vhost-user:%s", vmock_path(mock));
	ck_assert_msg(vblk_disk_open(source, opts, &disk, err_text, sizeof(err_text)) == 0, "%s",
		err_text);
}

static void setup_backend(void)
{
	open_backend(NULL);
	open_queue();
}

static void close_all(void)
{
	vblk_mem_free(disk, mem, NR_IO * IO_BYTES);
	ck_assert_int_eq(vblk_queue_close(q), 0);
	q = NULL;
}

static void teardown_image(void)
{
	if (q != NULL)
		close_all();
	if (disk != NULL)
		ck_assert_int_eq(vblk_disk_close(disk), 0);
	(void)unlink(path);
}

static void teardown_model(void)
{
	close_all();
	free(disk); /* what it wraps is the rig's */
	rig_end(&rig);
}

static void teardown_backend(void)
{
	close_all();
	ck_assert_int_eq(vblk_disk_close(disk), 0);
	ck_assert_str_eq(vmock_complaint(mock), "");
	vmock_stop(mock);
}

struct io {
	struct vblk_req req;
	unsigned calls;
	int err;
};

static void on_done(struct vblk_req *req, int err)
{
	struct io *io = req->arg;

	io->calls++;
	io->err = err;
}

static void io_init(struct io *io, enum vblk_op op, uint64_t offset, uint64_t bytes, void *buf)
{
	*io = (struct io){
		.req = {.op = op, .offset = offset, .bytes = bytes, .buf = buf, .done = on_done}};
	io->req.arg = io;
}

static void fill(uint8_t *p, size_t bytes, unsigned seed)
{
	for (size_t i = 0; i < bytes; i++)
		p[i] = (uint8_t)((i + seed) * 2654435761U >> 24);
}

/* On every disk */

START_TEST(data_comes_back)
{
	fill(mem, 65536, 1);
	ck_assert_int_eq(vblk_queue_do(q, VBLK_WRITE, 4096, 65536, mem), 0);
	ck_assert_int_eq(vblk_queue_do(q, VBLK_FLUSH, 0, 0, NULL), 0);
	memset(mem, 0, 65536);
	ck_assert_int_eq(vblk_queue_do(q, VBLK_READ, 4096, 65536, mem), 0);
	for (unsigned i = 0; i < 65536; i++)
		ck_assert_uint_eq(mem[i], (uint8_t)((i + 1) * 2654435761U >> 24));
}
END_TEST

START_TEST(pieces_are_transferred_in_their_order)
{
	struct iovec iov[] = {{mem + 9000, 1000}, {mem, 24}, {mem + 4096, 1024}};
	uint8_t *in = mem + 16384;
	struct io io;

	fill(mem, 16384, 2);
	io_init(&io, VBLK_WRITE, 512, 2048, NULL);
	io.req.iov = iov;
	io.req.nr_iov = 3;
	ck_assert_int_eq(vblk_queue_submit(q, &io.req), 0);
	while (io.calls == 0)
		(void)vblk_queue_wait(q, -1);
	ck_assert_int_eq(io.err, 0);
	ck_assert_int_eq(vblk_queue_do(q, VBLK_READ, 512, 2048, in), 0);
	ck_assert_mem_eq(in, mem + 9000, 1000);
	ck_assert_mem_eq(in + 1000, mem, 24);
	ck_assert_mem_eq(in + 1024, mem + 4096, 1024);
}
END_TEST

START_TEST(zeroes_and_discards_are_done)
{
	memset(mem, 0xee, 8192);
	ck_assert_int_eq(vblk_queue_do(q, VBLK_WRITE, 0, 8192, mem), 0);
	ck_assert_int_eq(vblk_queue_do(q, VBLK_WRITE_ZEROES, 512, 4096, NULL), 0);
	ck_assert_int_eq(vblk_queue_do(q, VBLK_DISCARD, 16384, 4096, NULL), 0);
	ck_assert_int_eq(vblk_queue_do(q, VBLK_READ, 0, 8192, mem), 0);
	ck_assert_uint_eq(mem[511], 0xee);
	ck_assert_uint_eq(mem[512], 0);
	ck_assert_uint_eq(mem[4607], 0);
	ck_assert_uint_eq(mem[4608], 0xee);
}
END_TEST

static const struct {
	struct vblk_req req;
	int err;
} refused[] = {
	{{.op = VBLK_SECURE_ERASE + 1, .bytes = 512}, -EINVAL},
	{{.op = VBLK_SECURE_ERASE, .bytes = 512}, -EOPNOTSUPP},
	{{.op = VBLK_READ, .bytes = 0}, -EINVAL}, {{.op = VBLK_READ, .bytes = 513}, -EINVAL},
	{{.op = VBLK_READ, .bytes = 512, .offset = 1}, -EINVAL},
	{{.op = VBLK_READ, .bytes = 1024, .offset = DISK_BYTES - 512}, -EINVAL},
	{{.op = VBLK_READ, .bytes = 1ULL << 42}, -EINVAL},
	{{.op = VBLK_READ, .bytes = 512, .offset = UINT64_MAX - 511}, -EINVAL},
	{{.op = VBLK_READ, .bytes = 512, .flags = VBLK_FUA}, -EINVAL},
	{{.op = VBLK_WRITE, .bytes = 512, .flags = 2}, -EINVAL},
	{{.op = VBLK_WRITE, .bytes = 512, .nr_iov = 1}, -EINVAL}, /* too few bytes */
	{{.op = VBLK_WRITE, .bytes = 512, .nr_iov = 2}, -EINVAL}, /* too many */
	{{.op = VBLK_WRITE, .bytes = 512, .nr_iov = 3}, -EINVAL}, /* so many that it wraps */
};

START_TEST(request_that_makes_no_sense_stays_the_callers)
{
	struct iovec iov[] = {{mem, 511}, {mem + 511, 2}, {mem, SIZE_MAX}};
	struct io io;

	io_init(&io, VBLK_READ, 0, 512, mem);
	io.req.op = refused[_i].req.op;
	io.req.bytes = refused[_i].req.bytes;
	io.req.offset = refused[_i].req.offset;
	io.req.flags = refused[_i].req.flags;
	io.req.nr_iov = refused[_i].req.nr_iov;
	io.req.iov = iov;
	ck_assert_int_eq(vblk_queue_submit(q, &io.req), refused[_i].err);
	ck_assert_int_eq(vblk_queue_wait(q, 0), 0);
	ck_assert_uint_eq(io.calls, 0);
}
END_TEST

START_TEST(nothing_is_closed_under_a_user)
{
	struct io io;

	io_init(&io, VBLK_WRITE, 0, 4096, mem);
	ck_assert_int_eq(vblk_queue_submit(q, &io.req), 0);
	ck_assert_int_eq(vblk_queue_close(q), -EBUSY);
	ck_assert_int_eq(vblk_disk_close(disk), -EBUSY);
	while (io.calls == 0)
		(void)vblk_queue_wait(q, -1);
	ck_assert_int_eq(vblk_disk_close(disk), -EBUSY);
}
END_TEST

static uint64_t count_flushes(void)
{
	struct vblk_stat stat = {.size = sizeof(stat)};

	ck_assert_int_eq(vblk_disk_stat(disk, 0, &stat), 0);
	return stat.flushes;
}

START_TEST(write_with_fua_is_done_once_it_was_flushed)
{
	uint64_t before = count_flushes();
	struct io io;

	io_init(&io, VBLK_WRITE, 0, 4096, mem);
	io.req.flags = VBLK_FUA;
	ck_assert_int_eq(vblk_queue_submit(q, &io.req), 0);
	ck_assert_int_eq(vblk_queue_wait(q, -1), 1);
	ck_assert_uint_eq(io.calls, 1);
	ck_assert_int_eq(io.err, 0);
	ck_assert_uint_eq(count_flushes(), before + 1);
}
END_TEST

/* The write's flush needs a kick of its own, which poll gives it. */
START_TEST(write_with_fua_gets_on_by_polling_alone)
{
	struct io io;

	io_init(&io, VBLK_WRITE, 0, 4096, mem);
	io.req.flags = VBLK_FUA;
	ck_assert_int_eq(vblk_queue_submit(q, &io.req), 0);
	vblk_queue_kick(q);
	while (vblk_queue_poll(q) == 0)
		continue;
	ck_assert_uint_eq(io.calls, 1);
}
END_TEST

START_TEST(sleeping_on_the_descriptor_misses_no_completion)
{
	struct pollfd pfd = {.fd = vblk_queue_fd(q), .events = POLLIN};
	struct io io;

	for (unsigned i = 0; i < 200; i++) {
		io_init(&io, i % 2 ? VBLK_READ : VBLK_WRITE, i * 4096 % DISK_BYTES, 4096, mem);
		ck_assert_int_eq(vblk_queue_submit(q, &io.req), 0);
		vblk_queue_kick(q);
		while (io.calls == 0) {
			if (!vblk_queue_arm(q))
				ck_assert_int_eq(poll(&pfd, 1, -1), 1);
			(void)vblk_queue_poll(q);
		}
		ck_assert_int_eq(io.err, 0);
	}
}
END_TEST

static void *wake_it(void *arg)
{
	vblk_queue_wake(arg);
	return NULL;
}

START_TEST(another_thread_ends_a_sleep)
{
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, wake_it, q), 0);
	ck_assert_int_eq(vblk_queue_wait(q, -1), 0); /* and not for ever */
	pthread_join(thread, NULL);
}
END_TEST

/* The driver has it look, and there is nothing yet; then the device answers. */
static void *answer_after_a_look(void *arg)
{
	struct vblk *vblk = arg;

	wait_until(vblk_ring_wake(&vblk->ring[0]));
	(void)usleep(1000); /* let it look */
	wait_until(model_run(rig.m) > 0);
	return NULL;
}

START_TEST(wait_goes_on_until_something_is_done)
{
	pthread_t thread;
	struct io io;

	model_config(rig.m)->when = MODEL_STEPPED;
	io_init(&io, VBLK_READ, 0, 4096, mem);
	ck_assert_int_eq(vblk_queue_submit(q, &io.req), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, answer_after_a_look, disk->dev), 0);
	ck_assert_int_eq(vblk_queue_wait(q, -1), 1);
	ck_assert_uint_eq(io.calls, 1);
	pthread_join(thread, NULL);
}
END_TEST

START_TEST(wait_ends_in_time)
{
	ck_assert_int_eq(vblk_queue_wait(q, 1), 0);
}
END_TEST

struct writer {
	pthread_t thread;
	unsigned nr;
};

/* Each with a queue of its own, on every second block. */
static void *write_and_compare(void *arg)
{
	const struct writer *w = arg;
	uint8_t *buf = vblk_mem_alloc(disk, IO_BYTES), *copy = malloc(IO_BYTES);
	struct vblk_queue *own;

	ck_assert_int_eq(vblk_queue_open(disk, &own), 0);
	for (unsigned i = 0; i < 200; i++) {
		uint64_t at = (w->nr + 2 * (i % 100)) * (uint64_t)IO_BYTES;

		fill(buf, IO_BYTES, w->nr * 1000 + i);
		memcpy(copy, buf, IO_BYTES);
		ck_assert_int_eq(vblk_queue_do(own, VBLK_WRITE, at, IO_BYTES, buf), 0);
		memset(buf, 0, IO_BYTES);
		ck_assert_int_eq(vblk_queue_do(own, VBLK_READ, at, IO_BYTES, buf), 0);
		ck_assert_mem_eq(buf, copy, IO_BYTES);
	}
	ck_assert_int_eq(vblk_queue_close(own), 0);
	vblk_mem_free(disk, buf, IO_BYTES);
	free(copy);
	return NULL;
}

START_TEST(two_threads_have_a_queue_each)
{
	struct writer w[2] = {{.nr = 0}, {.nr = 1}};

	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&w[i].thread, NULL, write_and_compare, &w[i]), 0);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(w[i].thread, NULL);
}
END_TEST

/* What a child must not do it can't do; 0, or which of them it could. */
static int try_everything(void)
{
	struct vblk_queue *other;
	struct io io;

	io_init(&io, VBLK_WRITE, 0, 4096, mem);
	if (vblk_queue_submit(q, &io.req) != -EPERM)
		return 1;
	if (vblk_queue_poll(q) != -EPERM || vblk_queue_wait(q, -1) != -EPERM)
		return 2;
	if (vblk_queue_open(disk, &other) != -EPERM || vblk_mem_alloc(disk, 4096) != NULL)
		return 3;
	if (vblk_disk_reset(disk) != -EPERM || vblk_disk_set_cache(disk, true) != -EPERM)
		return 4;
	vblk_queue_kick(q);
	vblk_queue_wake(q);
	vblk_mem_free(disk, mem, NR_IO * IO_BYTES);
	return vblk_queue_close(q) != -EPERM || vblk_disk_close(disk) != -EPERM ? 5 : 0;
}

START_TEST(after_a_fork_the_disk_is_the_parents)
{
	int status;
	pid_t pid;
	struct io io;

	io_init(&io, VBLK_WRITE, 0, 4096, mem);
	fill(mem, 4096, 7);
	ck_assert_int_eq(vblk_queue_submit(q, &io.req), 0); /* is under way meanwhile */
	pid = fork();
	if (pid == 0)
		_exit(try_everything());
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
	while (io.calls == 0)
		(void)vblk_queue_wait(q, -1);
	ck_assert_int_eq(io.err, 0);
	ck_assert_int_eq(vblk_queue_do(q, VBLK_READ, 0, 4096, mem + 4096), 0);
	ck_assert_mem_eq(mem, mem + 4096, 4096);
}
END_TEST

/* Structs of other versions */

START_TEST(struct_of_an_older_version_is_filled_as_far_as_it_goes)
{
	struct vblk_info info;

	memset(&info, 0x55, sizeof(info));
	info.size = offsetof(struct vblk_info, bytes);
	ck_assert_int_eq(vblk_disk_info(disk, &info), 0);
	ck_assert_uint_eq(info.block_bytes, 512);
	ck_assert_uint_eq(info.bytes, 0x5555555555555555);
	info.size = 3;
	ck_assert_int_eq(vblk_disk_info(disk, &info), -EINVAL);
}
END_TEST

START_TEST(rest_of_a_newer_struct_is_zeros)
{
	struct {
		struct vblk_info info;
		uint8_t more[16];
	} newer;

	memset(&newer, 0x55, sizeof(newer));
	newer.info.size = sizeof(newer);
	ck_assert_int_eq(vblk_disk_info(disk, &newer.info), 0);
	ck_assert_uint_eq(newer.info.bytes, DISK_BYTES);
	for (unsigned i = 0; i < sizeof(newer.more); i++)
		ck_assert_uint_eq(newer.more[i], 0);
}
END_TEST

/* Images */

START_TEST(options_of_a_newer_version_are_refused_once_used)
{
	struct {
		struct vblk_opts opts;
		uint64_t more;
	} newer = {.opts = {.size = sizeof(newer)}};
	struct vblk_disk *second = NULL;
	char other[80];
	int fd;

	snprintf(other, sizeof(other), "%s.2", path);
	fd = creat(other, 0600);
	ck_assert_int_eq(ftruncate(fd, 65536), 0);
	close(fd);
	newer.more = 1;
	ck_assert_int_eq(
		vblk_disk_open(other, &newer.opts, &second, err_text, sizeof(err_text)), -E2BIG);
	ck_assert_ptr_nonnull(strstr(err_text, "does not know"));
	newer.more = 0;
	newer.opts.reserved = 1;
	ck_assert_int_eq(vblk_disk_open(other, &newer.opts, &second, NULL, 0), -E2BIG);
	newer.opts.reserved = 0;
	ck_assert_int_eq(vblk_disk_open(other, &newer.opts, &second, NULL, 0), 0);
	ck_assert_int_eq(vblk_disk_close(second), 0);
	newer.opts.size = 0;
	ck_assert_int_eq(
		vblk_disk_open(other, &newer.opts, &second, err_text, sizeof(err_text)), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err_text, "size is not set"));
	(void)unlink(other);
}
END_TEST

START_TEST(read_only_disk_takes_no_writes)
{
	struct vblk_opts opts = {.size = sizeof(opts), .read_only = true};
	struct vblk_info info = {.size = sizeof(info)};

	close_all();
	ck_assert_int_eq(vblk_disk_close(disk), 0);
	ck_assert_int_eq(open_path(&opts), 0);
	open_queue();
	ck_assert_int_eq(vblk_disk_info(disk, &info), 0);
	ck_assert(info.read_only);
	ck_assert_str_eq(info.transport, "image file");
	ck_assert_str_eq(info.name, path);
	ck_assert_int_eq(vblk_queue_do(q, VBLK_READ, 0, 4096, mem), 0);
	ck_assert_int_eq(vblk_queue_do(q, VBLK_WRITE, 0, 4096, mem), -EROFS);
}
END_TEST

START_TEST(disk_that_somebody_has_is_refused_in_one_line)
{
	struct vblk_disk *second = NULL;

	ck_assert_int_eq(vblk_disk_open(path, NULL, &second, err_text, sizeof(err_text)), -EBUSY);
	ck_assert_ptr_nonnull(strstr(err_text, "in use"));
	ck_assert_ptr_null(strchr(err_text, '\n'));
	ck_assert_ptr_null(second);
	ck_assert_int_eq(vblk_disk_open("/no/such", NULL, &second, err_text, 12), -ENOENT);
	ck_assert_uint_lt(strlen(err_text), 12);
}
END_TEST

START_TEST(image_has_no_virtio_device)
{
	struct vblk_device device = {.size = sizeof(device)};

	ck_assert_int_eq(vblk_disk_device(disk, &device), -ENODEV);
	ck_assert_int_eq(vblk_disk_reset(disk), -EOPNOTSUPP);
	ck_assert_int_eq(vblk_disk_set_cache(disk, false), -EOPNOTSUPP);
}
END_TEST

static int stop_at_once(void *arg, const struct vblk_entry *entry)
{
	(*(unsigned *)arg)++;
	ck_assert_uint_eq(entry->vendor, VIRTIO_PCI_VENDOR);
	return 42;
}

START_TEST(listing_ends_when_it_is_told_to)
{
	unsigned nr = 0;
	int res = vblk_disk_list(stop_at_once, &nr);

	ck_assert_int_eq(res, nr == 0 ? 0 : 42); /* as this machine has disks */
	ck_assert_uint_le(nr, 1);
}
END_TEST

/* The device */

START_TEST(device_is_described_by_the_standards_numbers)
{
	struct vblk_device device = {.size = sizeof(device)};
	struct vblk_info info = {.size = sizeof(info)};

	ck_assert_int_eq(vblk_disk_device(disk, &device), 0);
	ck_assert_uint_eq(device.features_offered, rig.cfg.features[0]);
	ck_assert_uint_eq(device.features, model_driver_features(rig.m));
	ck_assert_uint_eq(device.status, 15);
	ck_assert_uint_eq(device.seg_max, rig.cfg.blk.seg_max);
	ck_assert_uint_eq(device.ring_entries, rig.cfg.queue_size[0]);
	ck_assert_uint_eq(device.cylinders, 17);
	ck_assert_uint_eq(device.heads, 4);
	ck_assert_uint_eq(device.sectors, 32);
	ck_assert_uint_eq(device.physical_block_exp, rig.cfg.blk.physical_exp);
	ck_assert_uint_eq(device.alignment_offset, 1);
	ck_assert_uint_eq(device.min_io_size, 8);
	ck_assert_uint_eq(device.opt_io_size, 64);
	ck_assert(device.write_zeroes_may_unmap);
	ck_assert_uint_eq(device.pre_eol_info, 1);
	ck_assert_uint_eq(device.lifetime_est_typ_a, 3);
	ck_assert_uint_eq(device.lifetime_est_typ_b, 4);
	ck_assert_str_eq(vblk_feature_name(VIRTIO_BLK_F_FLUSH), "FLUSH");
	ck_assert_int_eq(vblk_disk_info(disk, &info), 0);
	ck_assert_ptr_nonnull(strstr(info.transport, "virtio-pci"));
	ck_assert_uint_eq(info.bytes, DISK_BYTES);
}
END_TEST

static void are_the_drivers(const struct vblk_stat *stat)
{
	struct blk_stat s;

	ck_assert_int_eq(blk_stats(disk->dev, &s, 1), 1);
	ck_assert_uint_eq(stat->flushes, s.flushes);
	ck_assert_uint_eq(stat->others, s.others);
	ck_assert_uint_eq(stat->errors, s.errors);
	ck_assert_uint_eq(stat->kicks, s.kicks);
	ck_assert_uint_eq(stat->kicks_saved, s.kicks_saved);
	ck_assert_uint_eq(stat->interrupts, s.interrupts);
	ck_assert_uint_eq(stat->polls_hit, s.polls_hit);
	ck_assert_uint_eq(stat->polls_missed, s.polls_missed);
	ck_assert_mem_eq(stat->batches, s.batches, sizeof(s.batches));
	ck_assert_mem_eq(stat->latency, s.latency, sizeof(s.latency));
	ck_assert_mem_eq(stat->latency_us, s.latency_us, sizeof(s.latency_us));
}

START_TEST(figures_are_by_the_ring)
{
	struct vblk_stat stat = {.size = sizeof(stat)};
	uint64_t sum = 0;

	ck_assert_int_eq(vblk_queue_do(q, VBLK_WRITE, 0, 8192, mem), 0);
	ck_assert_int_eq(vblk_queue_do(q, VBLK_READ, 0, 4096, mem), 0);
	ck_assert_int_eq(vblk_disk_stat(disk, 0, &stat), 0);
	ck_assert_uint_eq(stat.reads, 1);
	ck_assert_uint_eq(stat.writes, 1);
	ck_assert_uint_eq(stat.write_bytes, 8192);
	for (unsigned i = 0; i < VBLK_LATENCY_BUCKETS; i++)
		sum += stat.latency[VBLK_WRITE][i];
	ck_assert_uint_eq(sum, 1);
	are_the_drivers(&stat);
	ck_assert_int_eq(vblk_disk_stat(disk, 1, &stat), -ENOENT);
	ck_assert_int_eq(vblk_disk_stat(disk, 1000, &stat), -ENOENT);
}
END_TEST

START_TEST(memory_of_the_callers_own_fails_on_a_device)
{
	static uint8_t own[4096];

	ck_assert_int_eq(vblk_queue_do(q, VBLK_READ, 0, sizeof(own), own), -EFAULT);
}
END_TEST

START_TEST(reset_by_request_loses_nothing)
{
	struct vblk_info info = {.size = sizeof(info)};

	fill(mem, 4096, 3);
	ck_assert_int_eq(vblk_queue_do(q, VBLK_WRITE, 0, 4096, mem), 0);
	ck_assert_int_eq(vblk_disk_reset(disk), 0);
	ck_assert_int_eq(vblk_queue_do(q, VBLK_READ, 0, 4096, mem + 4096), 0);
	ck_assert_mem_eq(mem, mem + 4096, 4096);
	ck_assert_int_eq(vblk_disk_info(disk, &info), 0);
	ck_assert_uint_eq(info.nr_resets, 1);
}
END_TEST

START_TEST(resets_of_a_queue_are_counted_by_themselves)
{
	struct vblk_info info = {.size = sizeof(info)};

	ck_assert_int_eq(vblk_reset_queue(disk->dev, 0, 0, false), 0);
	ck_assert_int_eq(vblk_disk_info(disk, &info), 0);
	ck_assert_uint_eq(info.nr_queue_resets, 1);
	ck_assert_uint_eq(info.nr_resets, 0);
}
END_TEST

START_TEST(failed_write_with_fua_is_not_flushed)
{
	uint64_t before = count_flushes();
	struct io io;

	io_init(&io, VBLK_WRITE, 0, 4096, NULL); /* no memory of the disk's */
	io.req.flags = VBLK_FUA;
	ck_assert_int_eq(vblk_queue_submit(q, &io.req), 0);
	ck_assert_int_eq(vblk_queue_wait(q, -1), 1);
	ck_assert_int_eq(io.err, -EFAULT);
	ck_assert_uint_eq(count_flushes(), before);
}
END_TEST

/* A back-end on a socket */

static atomic_ullong new_bytes;
static atomic_uint nr_lines;

static void on_resize(void *arg, uint64_t bytes)
{
	atomic_store((atomic_ullong *)arg, bytes);
}

static void on_line(int priority, const char *line)
{
	ck_assert_int_eq(priority, LOG_NOTICE);
	ck_assert_ptr_nonnull(strstr(line, "capacity changes"));
	atomic_fetch_add(&nr_lines, 1);
}

START_TEST(new_size_and_its_log_line_reach_the_caller)
{
	struct vblk_opts opts = {
		.size = sizeof(opts), .resized = on_resize, .resized_arg = &new_bytes};
	struct vblk_info info = {.size = sizeof(info)};

	vblk_set_log(on_line);
	open_backend(&opts);
	ck_assert_uint_eq(vmock_change_capacity(mock, 100), 0);
	wait_until(atomic_load(&new_bytes) != 0);
	ck_assert_uint_eq(atomic_load(&new_bytes), 51200);
	ck_assert_uint_eq(atomic_load(&nr_lines), 1);
	ck_assert_int_eq(vblk_disk_info(disk, &info), 0);
	ck_assert_uint_eq(info.bytes, 51200);
	ck_assert_str_eq(info.transport, "vhost-user");
	ck_assert_int_eq(vblk_disk_close(disk), 0);
	vmock_stop(mock);
}
END_TEST

static void add_common(TCase *tc)
{
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, data_comes_back);
	tcase_add_test(tc, pieces_are_transferred_in_their_order);
	tcase_add_loop_test(tc, request_that_makes_no_sense_stays_the_callers, 0,
		sizeof(refused) / sizeof(refused[0]));
	tcase_add_test(tc, nothing_is_closed_under_a_user);
	tcase_add_test(tc, write_with_fua_is_done_once_it_was_flushed);
	tcase_add_test(tc, write_with_fua_gets_on_by_polling_alone);
	tcase_add_test(tc, sleeping_on_the_descriptor_misses_no_completion);
	tcase_add_test(tc, another_thread_ends_a_sleep);
	tcase_add_test(tc, wait_ends_in_time);
	tcase_add_test(tc, two_threads_have_a_queue_each);
	tcase_add_test(tc, after_a_fork_the_disk_is_the_parents);
	tcase_add_test(tc, struct_of_an_older_version_is_filled_as_far_as_it_goes);
	tcase_add_test(tc, rest_of_a_newer_struct_is_zeros);
}

static void add_image(Suite *suite)
{
	TCase *tc = tcase_create("image");

	tcase_add_checked_fixture(tc, setup_image, teardown_image);
	add_common(tc);
	tcase_add_test(tc, zeroes_and_discards_are_done);
	tcase_add_test(tc, options_of_a_newer_version_are_refused_once_used);
	tcase_add_test(tc, read_only_disk_takes_no_writes);
	tcase_add_test(tc, disk_that_somebody_has_is_refused_in_one_line);
	tcase_add_test(tc, image_has_no_virtio_device);
	tcase_add_test(tc, listing_ends_when_it_is_told_to);
	suite_add_tcase(suite, tc);
}

static void add_model(Suite *suite)
{
	TCase *tc = tcase_create("model");

	tcase_add_checked_fixture(tc, setup_model, teardown_model);
	add_common(tc);
	tcase_add_test(tc, zeroes_and_discards_are_done);
	tcase_add_test(tc, device_is_described_by_the_standards_numbers);
	tcase_add_test(tc, figures_are_by_the_ring);
	tcase_add_test(tc, memory_of_the_callers_own_fails_on_a_device);
	tcase_add_test(tc, wait_goes_on_until_something_is_done);
	tcase_add_test(tc, reset_by_request_loses_nothing);
	tcase_add_test(tc, resets_of_a_queue_are_counted_by_themselves);
	tcase_add_test(tc, failed_write_with_fua_is_not_flushed);
	suite_add_tcase(suite, tc);
}

static void add_backend(Suite *suite)
{
	TCase *tc = tcase_create("back-end"), *own = tcase_create("back-end of its own");

	tcase_add_checked_fixture(tc, setup_backend, teardown_backend);
	add_common(tc);
	suite_add_tcase(suite, tc);
	tcase_add_test(own, new_size_and_its_log_line_reach_the_caller);
	suite_add_tcase(suite, own);
}

int main(void)
{
	Suite *suite = suite_create("libvblk");
	SRunner *runner;
	int failed;

	add_image(suite);
	add_model(suite);
	add_backend(suite);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
