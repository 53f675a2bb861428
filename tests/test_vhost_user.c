/* test_vhost_user.c - the vhost-user transport, and a disk that lives and dies behind it. Row ids
 * are those of the vhost-user checklist. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "disk.h"
#include "log.h"
#include "model/vmock.h"
#include "until.h"
#include "vhost_proto.h"
#include "vhost_user.h"
#include "virtio_blk.h"

#define BIT(n) (1ULL << (n))
#define NR_IO  20

static struct vmock_config cfg;
static struct vmock *mock;
static struct disk_opts opts;
static struct blockdev *dev;
static struct blk_queue *q;
static char err_text[256];

struct io {
	struct blk_req req; /* first */
	struct iovec iov;
	unsigned calls;
	int err;
};
static struct io io[NR_IO];
static uint8_t *buf;

static void setup(void)
{
	vmock_defaults(&cfg);
	opts = (struct disk_opts){.max_rings = 0};
	dev = NULL;
	vhost_user_retry_s = 3600;
}

static int try_open(void)
{
	if (mock == NULL)
		mock = vmock_start(&cfg);
	err_text[0] = '\0';
	return vblk_open_socket(vmock_path(mock), &opts, &dev, err_text, sizeof(err_text));
}

static void open_disk(void)
{
	ck_assert_msg(try_open() == 0, "%s", err_text);
	ck_assert_int_eq(blk_queue_open(dev, &q), 0);
	buf = blk_dma_alloc(dev, NR_IO * 4096);
	ck_assert_ptr_nonnull(buf);
}

static void close_disk(void)
{
	blk_dma_free(dev, buf, NR_IO * 4096);
	blk_queue_close(q);
	blk_close(dev);
	dev = NULL;
}

static void teardown(void)
{
	if (dev != NULL)
		close_disk();
	ck_assert_str_eq(vmock_complaint(mock), "");
	vmock_stop(mock);
	mock = NULL;
}

static void is_refused(int err, const char *words)
{
	ck_assert_int_eq(try_open(), err);
	ck_assert_msg(strstr(err_text, words) != NULL, "'%s' does not say '%s'", err_text, words);
	ck_assert_ptr_null(strchr(err_text, '\n'));
	dev = NULL;
}

static struct blk_info info(void)
{
	struct blk_info i;

	blk_get_info(dev, &i);
	return i;
}

static void fill(uint8_t seed)
{
	for (unsigned i = 0; i < NR_IO * 4096; i++)
		buf[i] = (uint8_t)(i * 7 + i / 512 + seed);
}

static void disk_works(void)
{
	fill(3);
	ck_assert_int_eq(blk_do(q, BLK_WRITE, 8, NR_IO * 8, buf), 0);
	ck_assert(vmock_holds(mock, 8UL * 512, buf, NR_IO * 4096));
	memset(buf, 0, NR_IO * 4096);
	ck_assert_int_eq(blk_do(q, BLK_READ, 8, NR_IO * 8, buf), 0);
	ck_assert(vmock_holds(mock, 8UL * 512, buf, NR_IO * 4096));
	ck_assert_int_eq(blk_do(q, BLK_FLUSH, 0, 0, NULL), 0);
}

static void on_done(struct blk_req *req, int err)
{
	struct io *i = (struct io *)req;

	i->calls++;
	i->err = err;
}

static void submit_some(unsigned from, unsigned to, enum blk_op op)
{
	for (unsigned i = from; i < to; i++) {
		io[i].iov = (struct iovec){buf + i * 4096, 4096};
		io[i].req = (struct blk_req){.op = op,
			.sector = i * 8,
			.nr_sectors = op == BLK_FLUSH ? 0 : 8,
			.iov = &io[i].iov,
			.nr_iov = 1,
			.done = on_done};
		ck_assert_int_eq(blk_submit(q, &io[i].req), 0);
	}
	blk_kick(q);
}

static void submit(unsigned nr, enum blk_op op)
{
	memset(io, 0, sizeof(io));
	submit_some(0, nr, op);
}

static void wait_held(unsigned nr)
{
	wait_until(vmock_nr_held(mock) >= nr);
}

static void wait_done(unsigned nr)
{
	wait_until(vmock_nr_done(mock, VIRTIO_BLK_T_OUT) >= nr);
	ck_assert_uint_eq(vmock_nr_done(mock, VIRTIO_BLK_T_OUT), nr);
}

static void come_back(void)
{
	vmock_kill(mock);
	vmock_config(mock)->hold = false;
	vmock_return(mock);
}

static void all_end_with(unsigned nr, int err)
{
	for (unsigned i = 0; i < nr; i++) {
		while (io[i].calls == 0)
			(void)blk_wait(q, -1);
	}
	(void)blk_poll(q); /* none of them ends twice */
	for (unsigned i = 0; i < nr; i++) {
		ck_assert_uint_eq(io[i].calls, 1);
		ck_assert_int_eq(io[i].err, err);
	}
}

/* Beginning */

START_TEST(requests_come_in_the_order_that_works) /* VU1, VU3, VU11, VU18 */
{
	static const int order[] = {VUP_SET_OWNER, VUP_GET_FEATURES, VUP_GET_PROTOCOL_FEATURES,
		VUP_SET_PROTOCOL_FEATURES, VUP_GET_QUEUE_NUM, VUP_GET_MAX_MEM_SLOTS,
		VUP_SET_BACKEND_REQ_FD, VUP_GET_CONFIG, VUP_SET_FEATURES, VUP_SET_CONFIG,
		VUP_GET_CONFIG, VUP_ADD_MEM_REG, VUP_GET_INFLIGHT_FD, VUP_SET_INFLIGHT_FD,
		VUP_SET_VRING_NUM, VUP_SET_VRING_BASE, VUP_SET_VRING_ADDR, VUP_SET_VRING_CALL,
		VUP_SET_VRING_KICK};
	unsigned nr = sizeof(order) / sizeof(order[0]);

	cfg.nr_queues = 1;
	open_disk();
	for (unsigned i = 0; i < nr; i++)
		ck_assert_int_eq(vmock_request(mock, i), order[i]);
	ck_assert_int_eq(vmock_request(mock, nr), VUP_SET_VRING_ENABLE);
	disk_works();
	close_disk();
	ck_assert_uint_eq(vmock_count(mock, VUP_GET_VRING_BASE), 1);
}
END_TEST

START_TEST(disk_says_what_the_backend_is) /* VU5, VU8 */
{
	static struct vblk_detail d;

	cfg.features |= BIT(VUP_F_LOG);
	open_disk();
	ck_assert_int_eq(vblk_describe(dev, &d), 0);
	ck_assert_uint_eq(d.offered, cfg.features & ~(BIT(VUP_F_LOG) | BIT(VUP_F_PROTOCOL)));
	ck_assert_uint_eq(info().nr_sectors, VMOCK_DISK_BYTES / 512);
	ck_assert_uint_eq(info().nr_rings, 2);
	ck_assert_str_eq(info().serial, "MOCK");
	ck_assert(info().volatile_cache);
	disk_works();
}
END_TEST

START_TEST(replies_may_come_byte_by_byte) /* VU2 */
{
	cfg.in_pieces = true;
	open_disk();
	disk_works();
}
END_TEST

static const unsigned gets[] = {VUP_GET_FEATURES, VUP_GET_PROTOCOL_FEATURES, VUP_GET_QUEUE_NUM,
	VUP_GET_MAX_MEM_SLOTS, VUP_GET_CONFIG, VUP_GET_INFLIGHT_FD, VUP_SET_FEATURES,
	VUP_ADD_MEM_REG, VUP_SET_VRING_ADDR, VUP_SET_INFLIGHT_FD};

START_TEST(wrong_reply_ends_it) /* VU2 */
{
	cfg.bad_request = gets[_i / 3];
	cfg.how = BAD_TYPE + _i % 3;
	is_refused(-EPROTO, "broke the protocol");
}
END_TEST

static char logged[4096];

static void take_log(int priority, const char *line)
{
	size_t at = strlen(logged);

	(void)priority;
	(void)snprintf(logged + at, sizeof(logged) - at, "%s\n", line);
}

/* VU15: it goes without, and its successor begins anew. */
START_TEST(backend_that_has_no_file_for_its_notes_is_used)
{
	cfg.bad_request = VUP_GET_INFLIGHT_FD;
	cfg.how = BAD_NO_FD;
	logged[0] = '\0';
	log_to(take_log);
	open_disk();
	log_to(NULL);
	ck_assert_msg(strstr(logged, "no file") != NULL, "%s", logged);
	ck_assert_uint_eq(vmock_count(mock, VUP_SET_INFLIGHT_FD), 0);
	vmock_config(mock)->hold = true;
	submit(7, BLK_WRITE);
	wait_held(7);
	come_back();
	all_end_with(7, 0);
	ck_assert_uint_eq(vmock_nr_again(mock), 0);
	disk_works();
}
END_TEST

static unsigned nr_open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir) != NULL)
		n++;
	(void)closedir(dir);
	return n;
}

START_TEST(descriptors_nobody_asked_for_are_not_kept) /* VU15 */
{
	unsigned before;

	mock = vmock_start(&cfg);
	before = nr_open_fds();
	vmock_config(mock)->bad_request = VUP_GET_INFLIGHT_FD;
	vmock_config(mock)->how = BAD_MORE_FDS;
	open_disk();
	disk_works();
	close_disk();
	wait_until(nr_open_fds() <= before); /* the back-end's end, too */
	ck_assert_uint_eq(nr_open_fds(), before);
}
END_TEST

START_TEST(backend_that_closes_is_named) /* VU14 */
{
	cfg.bad_request = gets[_i];
	cfg.how = BAD_CLOSE;
	is_refused(-ENODEV, "closed the connection");
}
END_TEST

START_TEST(request_that_is_refused_is_named) /* VU4 */
{
	cfg.bad_request = gets[6 + _i];
	cfg.how = BAD_REFUSED;
	is_refused(-EREMOTEIO, "refuses");
}
END_TEST

START_TEST(backend_without_protocol_features_has_no_configuration) /* VU3, VU6 */
{
	if (_i)
		cfg.features &= ~BIT(VUP_F_PROTOCOL);
	else
		cfg.proto &= ~BIT(VUP_PROTO_CONFIG);
	is_refused(-EOPNOTSUPP, "no configuration");
}
END_TEST

START_TEST(each_protocol_feature_may_be_missing) /* VU3, VU4, VU9 */
{
	static const unsigned bits[] = {VUP_PROTO_MQ, VUP_PROTO_ACK, VUP_PROTO_BACKEND,
		VUP_PROTO_SLOTS, VUP_PROTO_INFLIGHT};

	cfg.proto &= ~BIT(bits[_i]);
	if (bits[_i] == VUP_PROTO_MQ)
		cfg.features &= ~BIT(VIRTIO_BLK_F_MQ);
	open_disk();
	disk_works();
	ck_assert_uint_eq(vmock_count(mock, VUP_SET_MEM_TABLE), bits[_i] == VUP_PROTO_SLOTS);
	if (bits[_i] == VUP_PROTO_ACK) /* VU4: one with a reply follows the memory */
		ck_assert_uint_ge(vmock_count(mock, VUP_GET_FEATURES), 2);
}
END_TEST

START_TEST(configuration_of_any_length_is_asked_for) /* VU5 */
{
	static const uint32_t lengths[] = {72, 60, 36};

	cfg.config_bytes = lengths[_i];
	open_disk();
	disk_works();
}
END_TEST

START_TEST(backend_with_nothing_to_give_is_refused)
{
	if (_i)
		cfg.nr_queues = 0;
	else
		cfg.nr_slots = 0;
	is_refused(-EPROTO, "the back-end has");
}
END_TEST

START_TEST(device_without_version_1_is_refused) /* RF1 */
{
	cfg.features &= ~BIT(VIRTIO_F_VERSION_1);
	is_refused(-EPROTO, "VERSION_1");
}
END_TEST

START_TEST(polled_disk_works) /* VU10 */
{
	opts.poll_only = true;
	open_disk();
	q->spin_us = 0;
	disk_works();
}
END_TEST

START_TEST(sleeper_is_woken_by_a_call) /* VU12 */
{
	open_disk();
	q->spin_us = 0;
	for (int i = 0; i < 20; i++)
		disk_works();
}
END_TEST

START_TEST(memory_grows_region_by_region) /* VU9 */
{
	void *mem[20];

	if (_i)
		cfg.proto &= ~BIT(VUP_PROTO_SLOTS);
	open_disk();
	for (int i = 0; i < 20; i++) {
		mem[i] = blk_dma_alloc(dev, 8 << 20);
		ck_assert_ptr_nonnull(mem[i]);
		memset(mem[i], i, 4096);
		ck_assert_int_eq(blk_do(q, BLK_WRITE, (uint64_t)i * 8, 8, mem[i]), 0);
		ck_assert(vmock_holds(mock, i * 4096UL, mem[i], 4096));
	}
	for (int i = 0; i < 20; i++)
		blk_dma_free(dev, mem[i], 8 << 20);
}
END_TEST

START_TEST(memory_that_is_refused_is_not_handed_out)
{
	void *mem[20];
	int n = 0;

	open_disk();
	vmock_config(mock)->bad_request = VUP_ADD_MEM_REG;
	vmock_config(mock)->how = BAD_REFUSED;
	while (n < 20 && (mem[n] = blk_dma_alloc(dev, 8 << 20)) != NULL)
		n++;
	ck_assert_int_gt(n, 5);
	ck_assert_int_lt(n, 20);
	while (n > 0)
		blk_dma_free(dev, mem[--n], 8 << 20);
	disk_works();
}
END_TEST

/* Cache mode */

START_TEST(cache_mode_is_set_not_believed) /* VU6, BI4: the first word may be wrong */
{
	cfg.writeback = (uint8_t)(_i % 2);
	opts.write_through = _i / 2;
	open_disk();
	ck_assert_uint_eq(vmock_writeback(mock), !opts.write_through);
	ck_assert_int_eq(info().volatile_cache, !opts.write_through);
	/* BO16: what was written before the switch is flushed once */
	ck_assert_uint_eq(vmock_nr_done(mock, VIRTIO_BLK_T_FLUSH), opts.write_through);
	disk_works();
}
END_TEST

START_TEST(cache_that_can_not_be_switched_is_said)
{
	cfg.features &= ~BIT(VIRTIO_BLK_F_CONFIG_WCE);
	opts.write_through = true;
	is_refused(-EOPNOTSUPP, "can't be switched off");
}
END_TEST

/* Changes, death and return */

static void capacity_becomes(uint64_t nr_sectors)
{
	ck_assert_int_eq(vmock_change_capacity(mock, nr_sectors), 0);
	wait_until(info().nr_sectors == nr_sectors);
}

START_TEST(capacity_follows_the_backend) /* VU13, BO18 */
{
	open_disk();
	capacity_becomes(1000);
	ck_assert_int_eq(blk_do(q, BLK_READ, 1000, 8, buf), -EINVAL);
}
END_TEST

static void without_notes(bool is_so)
{
	if (is_so)
		cfg.proto &= ~BIT(VUP_PROTO_INFLIGHT);
}

/* VU14, VU15, VU16: each once, whatever the first one had done of it; by the back-end's notes, or by
 * the driver. More than the ring has room for. */
START_TEST(requests_in_flight_are_given_to_the_next_backend)
{
	without_notes(_i / 2);
	if (_i % 2)
		opts.ring_size = 16;
	opts.max_rings = 1;
	open_disk();
	vmock_config(mock)->hold = true;
	fill(9);
	submit(NR_IO, BLK_WRITE);
	wait_held(_i % 2 ? 5 : NR_IO);
	vmock_kill(mock);
	vmock_config(mock)->hold = false;
	ck_assert_int_eq(blk_wait(q, 300), 0); /* nobody there: they wait */
	vmock_return(mock);
	all_end_with(NR_IO, 0);
	ck_assert_int_eq(vmock_nr_again(mock) >= 5, _i / 2 == 0);
	ck_assert_uint_eq(vmock_nr_done(mock, VIRTIO_BLK_T_OUT), NR_IO);
	ck_assert(vmock_holds(mock, 0, buf, NR_IO * 4096));
	disk_works();
}
END_TEST

START_TEST(what_was_done_and_not_seen_is_not_done_again) /* VU15 */
{
	opts.max_rings = 1;
	opts.write_through = true;
	open_disk();
	submit(8, BLK_WRITE);
	wait_done(8);
	vmock_config(mock)->hold = true;
	submit_some(8, 16, BLK_WRITE);
	wait_held(8);
	come_back();
	all_end_with(16, 0);
	ck_assert_uint_eq(vmock_nr_again(mock), 8);
	ck_assert_uint_eq(vmock_nr_done(mock, VIRTIO_BLK_T_OUT), 16);
	disk_works();
}
END_TEST

START_TEST(notes_last_for_one_backend_after_the_other) /* VU15 */
{
	unsigned enabled;

	opts.write_through = true;
	open_disk();
	for (unsigned i = 0; i < 5; i++) {
		vmock_config(mock)->hold = true;
		submit(7, BLK_WRITE);
		wait_held(7);
		vmock_kill(mock);
		enabled = vmock_count(mock, VUP_SET_VRING_ENABLE);
		vmock_return(mock); /* one that takes over, and dies before it gets anywhere */
		wait_until(vmock_count(mock, VUP_SET_VRING_ENABLE) > enabled);
		ck_assert_int_eq(blk_wait(q, 150), 0);
		come_back();
		all_end_with(7, 0);
		ck_assert_uint_eq(vmock_nr_again(mock), 7 * (i + 1));
	}
	ck_assert_uint_eq(vmock_count(mock, VUP_GET_INFLIGHT_FD), 1);
	disk_works();
}
END_TEST

/* VU15, VU16: then the driver does it, and the third one has notes again, if the second one has. */
START_TEST(backends_with_and_without_notes_take_turns)
{
	opts.write_through = true;
	without_notes(_i);
	open_disk();
	for (unsigned i = 0; i < 4; i++) {
		vmock_config(mock)->hold = true;
		submit(7, BLK_WRITE);
		wait_held(7);
		vmock_kill(mock);
		vmock_config(mock)->proto ^= BIT(VUP_PROTO_INFLIGHT);
		vmock_config(mock)->hold = false;
		vmock_return(mock);
		all_end_with(7, 0);
	}
	ck_assert_uint_eq(vmock_nr_again(mock), 0);
	come_back();
	disk_works();
}
END_TEST

/* VU9: it has room for what there is, and no more. */
START_TEST(next_backend_with_fewer_slots_is_given_no_more_memory)
{
	void *mem[20];
	int n = 0;

	open_disk();
	vmock_kill(mock);
	if (_i)
		vmock_config(mock)->nr_slots = 1;
	else
		vmock_config(mock)->proto &= ~BIT(VUP_PROTO_SLOTS);
	vmock_return(mock);
	submit(1, BLK_READ);
	all_end_with(1, 0);
	while (n < 20 && (mem[n] = blk_dma_alloc(dev, 8 << 20)) != NULL)
		n++;
	ck_assert_int_lt(n, 20);
	ck_assert_uint_eq(vmock_count(mock, VUP_ADD_MEM_REG), 1 + _i);
	while (n > 0)
		blk_dma_free(dev, mem[--n], 8 << 20);
	disk_works();
}
END_TEST

/* That it was asked for the second time shows that the first has failed. */
static void wait_attempts(unsigned nr_before)
{
	wait_until(vmock_count(mock, VUP_SET_OWNER) >= nr_before + 2);
}

START_TEST(backend_that_dies_while_it_takes_over_is_followed_by_the_driver) /* VU15, VU16 */
{
	unsigned before;

	open_disk();
	before = vmock_count(mock, VUP_SET_OWNER);
	vmock_config(mock)->hold = true;
	submit(7, BLK_WRITE);
	wait_held(7);
	vmock_kill(mock);
	vmock_config(mock)->hold = false;
	vmock_config(mock)->bad_request = _i ? VUP_SET_VRING_ENABLE : VUP_SET_INFLIGHT_FD;
	vmock_config(mock)->how = BAD_CLOSE;
	vmock_return(mock);
	wait_attempts(before);
	ck_assert_int_eq(blk_poll(q), 0);
	vmock_config(mock)->how = BAD_NOTHING;
	all_end_with(7, 0);
	ck_assert_uint_eq(vmock_nr_again(mock), 0);
	disk_works();
}
END_TEST

/* VU17: the one that finished it is dead, and flushed nothing. */
START_TEST(write_that_was_done_and_not_seen_is_not_taken_for_durable)
{
	open_disk();
	submit(1, BLK_WRITE);
	wait_done(1);
	come_back();
	all_end_with(1, 0);
	ck_assert_int_eq(blk_do(q, BLK_FLUSH, 0, 0, NULL), -EIO);
	ck_assert_int_eq(blk_do(q, BLK_FLUSH, 0, 0, NULL), 0);
}
END_TEST

START_TEST(requests_while_there_is_no_backend_wait) /* VU16 */
{
	without_notes(_i);
	open_disk();
	vmock_kill(mock);
	(void)usleep(50 * 1000);
	submit(NR_IO, BLK_READ);
	ck_assert_int_eq(blk_wait(q, 200), 0);
	vmock_return(mock);
	all_end_with(NR_IO, 0);
}
END_TEST

START_TEST(flush_fails_once_when_writes_may_be_lost) /* VU17 */
{
	without_notes(_i / 2);
	open_disk();
	ck_assert_int_eq(blk_do(q, BLK_WRITE, 0, 8, buf), 0);
	if (_i % 2 == 0) { /* nobody flushes just then: the next one who does */
		come_back();
		submit(1, BLK_READ);
		all_end_with(1, 0);
		ck_assert_int_eq(blk_do(q, BLK_FLUSH, 0, 0, NULL), -EIO);
	} else { /* in flight */
		vmock_config(mock)->hold = true;
		submit(1, BLK_FLUSH);
		wait_held(1);
		come_back();
		all_end_with(1, -EIO);
	}
	ck_assert_int_eq(blk_do(q, BLK_FLUSH, 0, 0, NULL), 0);
	disk_works();
}
END_TEST

START_TEST(flush_goes_on_where_nothing_is_lost) /* VU17: flushed; nothing written; no cache */
{
	int what = _i % 3;

	without_notes(_i / 3);
	opts.write_through = what == 2;
	open_disk();
	if (what != 1)
		ck_assert_int_eq(blk_do(q, BLK_WRITE, 0, 8, buf), 0);
	ck_assert_int_eq(blk_do(q, BLK_FLUSH, 0, 0, NULL), 0);
	if (what == 2)
		ck_assert_int_eq(blk_do(q, BLK_WRITE, 0, 8, buf), 0);
	vmock_config(mock)->hold = true;
	submit(1, BLK_FLUSH);
	if (what != 2)
		wait_held(1);
	come_back();
	all_end_with(1, 0);
	ck_assert_int_eq(blk_do(q, BLK_FLUSH, 0, 0, NULL), 0);
}
END_TEST

START_TEST(next_backend_is_told_the_cache_mode)
{
	opts.write_through = true;
	open_disk();
	vmock_kill(mock);
	vmock_config(mock)->writeback = 1;
	vmock_return(mock);
	ck_assert_int_eq(blk_do(q, BLK_WRITE, 0, 8, buf), 0);
	ck_assert_uint_eq(vmock_config(mock)->writeback, 0);
}
END_TEST

START_TEST(next_backend_has_its_own_capacity) /* BO18 */
{
	open_disk();
	vmock_kill(mock);
	vmock_config(mock)->capacity = 500;
	vmock_return(mock);
	submit(1, BLK_READ);
	all_end_with(1, 0);
	wait_until(info().nr_sectors == 500);
}
END_TEST

START_TEST(backend_that_can_not_go_on_for_the_last_is_refused)
{
	opts.max_rings = 2;
	open_disk();
	vmock_config(mock)->hold = true;
	submit(3, BLK_READ);
	wait_held(3);
	vmock_kill(mock);
	switch (_i) {
	case 0:
		vmock_config(mock)->features &= ~BIT(VIRTIO_RING_F_EVENT_IDX);
		break;
	case 1:
		vmock_config(mock)->nr_queues = 1;
		break;
	default:
		vmock_config(mock)->config_bytes = 36;
	}
	vmock_return(mock);
	all_end_with(3, -ENODEV);
	ck_assert_int_eq(blk_do(q, BLK_READ, 0, 8, buf), -ENODEV);
}
END_TEST

/* Back-ends finish what they have when a ring is stopped. */
START_TEST(what_is_done_after_the_disk_was_given_up_is_nobodys) /* VU15 */
{
	unsigned before;

	opts.max_rings = 1;
	opts.timeout_s = 1;
	open_disk();
	before = vmock_count(mock, VUP_SET_OWNER);
	vmock_config(mock)->hold = vmock_config(mock)->ends_at_stop = true;
	submit(1, BLK_READ);
	wait_held(1);
	all_end_with(1, -EIO);
	vmock_config(mock)->ends_at_stop = false;
	come_back();
	wait_attempts(before - 1);
	ck_assert_int_eq(blk_do(q, BLK_READ, 0, 8, buf), -EIO);
}
END_TEST

START_TEST(backend_that_does_not_return_is_given_up)
{
	vhost_user_retry_s = 1;
	open_disk();
	vmock_config(mock)->hold = true;
	submit(3, BLK_READ);
	wait_held(3);
	vmock_kill(mock);
	all_end_with(3, -ENODEV);
}
END_TEST

START_TEST(disk_without_a_backend_is_closed_at_once)
{
	open_disk();
	vmock_kill(mock);
	(void)usleep(_i * 150 * 1000);
	close_disk();
}
END_TEST

START_TEST(used_id_that_is_not_in_flight_is_a_broken_protocol) /* VIRTIO.md trap 29 */
{
	opts.max_rings = 1;
	open_disk();
	vmock_config(mock)->hold = true;
	submit(3, BLK_READ);
	wait_held(3);
	vmock_push_used(mock, 0, 777);
	all_end_with(3, -EPROTO);
	ck_assert_int_eq(blk_do(q, BLK_READ, 0, 8, buf), -EPROTO);
}
END_TEST

/* What the driver gave up is its owner's again, and is not for a back-end to finish. */
START_TEST(broken_disk_gives_nothing_to_the_next_backend) /* VU16 */
{
	unsigned before;

	opts.max_rings = 1;
	open_disk();
	vmock_config(mock)->hold = true;
	submit(3, BLK_WRITE);
	wait_held(3);
	vmock_push_used(mock, 0, 777);
	all_end_with(3, -EPROTO);
	vmock_kill(mock);
	vmock_config(mock)->hold = false;
	before = vmock_count(mock, VUP_SET_VRING_ENABLE);
	vmock_return(mock);
	wait_until(vmock_count(mock, VUP_SET_VRING_ENABLE) > before);
	ck_assert_int_eq(blk_wait(q, 100), 0);
	ck_assert_uint_eq(vmock_nr_done(mock, VIRTIO_BLK_T_OUT), 0);
}
END_TEST

/* What is asked for while it goes on */

START_TEST(reset_by_request_loses_nothing) /* what was in flight is finished first, and once */
{
	static const unsigned without[] = {0, VUP_PROTO_INFLIGHT, VUP_PROTO_ACK};

	if (_i > 0)
		cfg.proto &= ~BIT(without[_i]);
	open_disk();
	fill(5);
	submit(NR_IO, BLK_WRITE);
	ck_assert_int_eq(vblk_reset_disk(dev), 0);
	all_end_with(NR_IO, 0);
	ck_assert(vmock_holds(mock, 0, buf, NR_IO * 4096));
	ck_assert_uint_eq(vmock_nr_done(mock, VIRTIO_BLK_T_OUT), NR_IO);
	ck_assert_uint_eq(vmock_count(mock, VUP_GET_VRING_BASE), info().nr_rings);
	ck_assert_uint_eq(info().nr_resets, 1);
	ck_assert_int_eq(blk_do(q, BLK_FLUSH, 0, 0, NULL), 0);
	disk_works();
	come_back(); /* the next one has the new rings, and new notes of them */
	submit(NR_IO, BLK_READ);
	all_end_with(NR_IO, 0);
}
END_TEST

static void *reset_and_switch(void *arg)
{
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(vblk_reset_disk(dev), 0);
		ck_assert_int_eq(vblk_set_cache(dev, i % 2), 0);
	}
	atomic_store((atomic_bool *)arg, true);
	return NULL;
}

START_TEST(resets_and_cache_modes_under_load_lose_nothing)
{
	atomic_bool enough = false;
	pthread_t thread;

	open_disk();
	ck_assert_int_eq(pthread_create(&thread, NULL, reset_and_switch, &enough), 0);
	while (!atomic_load(&enough))
		disk_works();
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_uint_eq(info().nr_resets, 20);
	disk_works();
}
END_TEST

START_TEST(cache_mode_is_set_after_a_flush_and_told_to_the_next_backend) /* VU6, BO16 */
{
	open_disk();
	ck_assert_int_eq(blk_do(q, BLK_WRITE, 0, 8, buf), 0);
	ck_assert_int_eq(vblk_set_cache(dev, false), 0);
	ck_assert_uint_eq(vmock_nr_done(mock, VIRTIO_BLK_T_FLUSH), 1);
	ck_assert_uint_eq(vmock_writeback(mock), 0);
	ck_assert(!info().volatile_cache);
	vmock_kill(mock);
	vmock_config(mock)->writeback = 1;
	vmock_return(mock);
	ck_assert_int_eq(blk_do(q, BLK_WRITE, 0, 8, buf), 0);
	ck_assert_uint_eq(vmock_config(mock)->writeback, 0);
	ck_assert_int_eq(blk_do(q, BLK_FLUSH, 0, 0, NULL), 0); /* nothing is lost with it */
	ck_assert_int_eq(vblk_set_cache(dev, true), 0);
	ck_assert_uint_eq(vmock_config(mock)->writeback, 1);
	ck_assert(info().volatile_cache);
}
END_TEST

/* What its configuration says is no proof: it may say so of the wrong mode. */
START_TEST(cache_mode_that_is_refused_is_not_believed)
{
	open_disk();
	vmock_config(mock)->bad_request = VUP_SET_CONFIG;
	vmock_config(mock)->how = BAD_REFUSED;
	vmock_config(mock)->writeback = 0;
	capacity_becomes(1000); /* it is read anew */
	ck_assert_int_eq(vblk_set_cache(dev, false), -EIO);
	ck_assert(info().volatile_cache);
	vmock_config(mock)->how = BAD_NOTHING;
	come_back();
	submit(1, BLK_READ);
	all_end_with(1, 0);
	ck_assert_uint_eq(vmock_config(mock)->writeback, 1);
}
END_TEST

static atomic_bool reset_has_begun;

static void note_reset(int priority, const char *line)
{
	(void)priority;
	if (strstr(line, "it is reset") != NULL)
		atomic_store(&reset_has_begun, true);
}

static void *ask_for_reset(void *err)
{
	*(int *)err = vblk_reset_disk(dev);
	return NULL;
}

/* The driver's thread has something to tell then, and waits for the reset's end. */
static void keep_the_thread_busy(void)
{
	unsigned before = vmock_count(mock, VUP_GET_CONFIG);

	vmock_say_changed(mock);
	wait_until(vmock_count(mock, VUP_GET_CONFIG) > before);
}

START_TEST(backend_that_dies_before_a_reset_is_followed_by_the_next)
{
	pthread_t thread;
	int err = 0;

	log_to(note_reset);
	atomic_store(&reset_has_begun, false);
	open_disk();
	vmock_config(mock)->hold = true;
	submit(7, BLK_WRITE);
	wait_held(7);
	ck_assert_int_eq(pthread_create(&thread, NULL, ask_for_reset, &err), 0);
	wait_until(atomic_load(&reset_has_begun));
	if (_i)
		keep_the_thread_busy();
	vmock_kill(mock);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_int_eq(err, -EAGAIN);
	ck_assert_int_eq(vblk_reset_disk(dev), -EAGAIN); /* nor is there one now */
	ck_assert_int_eq(vblk_set_cache(dev, false), -EAGAIN);
	vmock_config(mock)->hold = false;
	vmock_return(mock);
	all_end_with(7, 0);
	ck_assert_int_eq(vblk_reset_disk(dev), 0);
	disk_works();
	log_to(NULL);
}
END_TEST

START_TEST(backend_that_is_gone_is_asked_for_nothing)
{
	int err = 0;

	open_disk();
	vmock_kill(mock);
	ck_assert_int_eq(vblk_reset_disk(dev), -EAGAIN);
	while (err != -EAGAIN) { /* until the driver knows */
		err = vblk_set_cache(dev, false);
		ck_assert_int_ne(err, 0);
		(void)usleep(1000);
	}
	ck_assert(info().volatile_cache);
	vmock_return(mock);
	disk_works();
}
END_TEST

START_TEST(backend_that_fails_in_a_reset_is_followed_by_the_next)
{
	static const unsigned requests[] = {
		VUP_SET_VRING_KICK, VUP_SET_VRING_ENABLE, VUP_GET_VRING_BASE};
	unsigned before;

	opts.write_through = true; /* so that nothing is lost with it */
	open_disk();
	before = vmock_count(mock, VUP_SET_OWNER);
	vmock_config(mock)->bad_request = requests[_i % 3];
	vmock_config(mock)->how = _i / 3 ? BAD_REFUSED : BAD_CLOSE;
	ck_assert_int_eq(vblk_reset_disk(dev), -EAGAIN);
	vmock_config(mock)->how = BAD_NOTHING;
	submit(7, BLK_WRITE);
	all_end_with(7, 0); /* by the next one, or by this one, which has not noticed yet */
	wait_until(vmock_count(mock, VUP_SET_OWNER) > before);
	disk_works();
}
END_TEST

static void add_requests(TCase *tc)
{
	tcase_add_loop_test(tc, reset_by_request_loses_nothing, 0, 3);
	tcase_add_test(tc, resets_and_cache_modes_under_load_lose_nothing);
	tcase_add_test(tc, cache_mode_is_set_after_a_flush_and_told_to_the_next_backend);
	tcase_add_test(tc, cache_mode_that_is_refused_is_not_believed);
	tcase_add_loop_test(tc, backend_that_dies_before_a_reset_is_followed_by_the_next, 0, 2);
	tcase_add_test(tc, backend_that_is_gone_is_asked_for_nothing);
	tcase_add_loop_test(tc, backend_that_fails_in_a_reset_is_followed_by_the_next, 0, 5);
}

static void add_beginning(TCase *tc)
{
	tcase_add_test(tc, requests_come_in_the_order_that_works);
	tcase_add_test(tc, disk_says_what_the_backend_is);
	tcase_add_test(tc, replies_may_come_byte_by_byte);
	tcase_add_loop_test(tc, wrong_reply_ends_it, 0, 30);
	tcase_add_test(tc, backend_that_has_no_file_for_its_notes_is_used);
	tcase_add_test(tc, descriptors_nobody_asked_for_are_not_kept);
	tcase_add_loop_test(tc, backend_that_closes_is_named, 0, 10);
	tcase_add_loop_test(tc, request_that_is_refused_is_named, 0, 4);
	tcase_add_loop_test(tc, backend_without_protocol_features_has_no_configuration, 0, 2);
	tcase_add_loop_test(tc, each_protocol_feature_may_be_missing, 0, 5);
	tcase_add_loop_test(tc, configuration_of_any_length_is_asked_for, 0, 3);
	tcase_add_loop_test(tc, backend_with_nothing_to_give_is_refused, 0, 2);
	tcase_add_test(tc, device_without_version_1_is_refused);
	tcase_add_test(tc, polled_disk_works);
	tcase_add_test(tc, sleeper_is_woken_by_a_call);
	tcase_add_loop_test(tc, memory_grows_region_by_region, 0, 2);
	tcase_add_test(tc, memory_that_is_refused_is_not_handed_out);
	tcase_add_loop_test(tc, cache_mode_is_set_not_believed, 0, 4);
	tcase_add_test(tc, cache_that_can_not_be_switched_is_said);
}

static void add_changes(TCase *tc)
{
	tcase_add_test(tc, capacity_follows_the_backend);
	tcase_add_loop_test(tc, requests_in_flight_are_given_to_the_next_backend, 0, 4);
	tcase_add_test(tc, what_was_done_and_not_seen_is_not_done_again);
	tcase_add_test(tc, notes_last_for_one_backend_after_the_other);
	tcase_add_loop_test(tc, backends_with_and_without_notes_take_turns, 0, 2);
	tcase_add_loop_test(
		tc, backend_that_dies_while_it_takes_over_is_followed_by_the_driver, 0, 2);
	tcase_add_test(tc, write_that_was_done_and_not_seen_is_not_taken_for_durable);
	tcase_add_loop_test(tc, requests_while_there_is_no_backend_wait, 0, 2);
	tcase_add_loop_test(tc, flush_fails_once_when_writes_may_be_lost, 0, 4);
	tcase_add_loop_test(tc, flush_goes_on_where_nothing_is_lost, 0, 6);
	tcase_add_test(tc, next_backend_is_told_the_cache_mode);
	tcase_add_test(tc, next_backend_has_its_own_capacity);
	tcase_add_loop_test(tc, backend_that_can_not_go_on_for_the_last_is_refused, 0, 3);
	tcase_add_test(tc, what_is_done_after_the_disk_was_given_up_is_nobodys);
	tcase_add_loop_test(tc, next_backend_with_fewer_slots_is_given_no_more_memory, 0, 2);
	tcase_add_test(tc, backend_that_does_not_return_is_given_up);
	tcase_add_loop_test(tc, disk_without_a_backend_is_closed_at_once, 0, 3);
	tcase_add_test(tc, used_id_that_is_not_in_flight_is_a_broken_protocol);
	tcase_add_test(tc, broken_disk_gives_nothing_to_the_next_backend);
}

int main(void)
{
	Suite *suite = suite_create("vhost_user");
	TCase *tc[3] = {
		tcase_create("beginning"), tcase_create("changes"), tcase_create("requests")};
	SRunner *runner;
	int failed;

	for (int i = 0; i < 3; i++) {
		tcase_add_checked_fixture(tc[i], setup, teardown);
		tcase_set_timeout(tc[i], 30);
		suite_add_tcase(suite, tc[i]);
	}
	add_beginning(tc[0]);
	add_changes(tc[1]);
	add_requests(tc[2]);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
