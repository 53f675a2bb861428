/* test_hostile.c - devices that break virtio's rules, or change their minds at the worst moment.
 *
 * Whatever the device does: no wild access (the model and AddressSanitizer watch), no hang (bounded
 * turns), no leak, every request ends exactly once, and the error says whose fault it was. Seeds
 * make every run the same. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "model/rig.h"
#include "virtio_blk.h"

#define BIT(n)   (1ULL << (n))
#define NR_IO    8
#define RING     32
#define NR_STEPS 90 /* accesses that opening a disk takes at most, and some I/O */

static struct rig r;

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
	rig_init(&r);
	r.cfg.queue_size[0] = RING;
}

static void setup_packed(void)
{
	setup();
	r.cfg.features[0] |= BIT(VIRTIO_F_RING_PACKED);
}

static void setup_in_order(void)
{
	setup();
	r.cfg.features[0] |= BIT(VIRTIO_F_IN_ORDER);
}

static void setup_packed_in_order(void)
{
	setup_packed();
	r.cfg.features[0] |= BIT(VIRTIO_F_IN_ORDER);
}

static void setup_legacy(void)
{
	setup();
	model_legacy(&r.cfg);
}

static void teardown(void)
{
	rig_end(&r);
}

static void on_done(struct blk_req *req, int err)
{
	struct io *i = (struct io *)req;

	i->calls++;
	i->err = err;
}

static void submit(unsigned nr)
{
	memset(io, 0, sizeof(io));
	for (unsigned i = 0; i < nr; i++) {
		io[i].iov = (struct iovec){buf + i * 4096, 4096};
		io[i].req = (struct blk_req){.op = BLK_READ,
			.sector = i * 8,
			.nr_sectors = 8,
			.iov = &io[i].iov,
			.nr_iov = 1,
			.done = on_done};
		if (blk_submit(r.q, &io[i].req) < 0)
			io[i].calls++; /* a capacity that is a lie */
	}
	blk_kick(r.q);
	(void)model_run(r.m);
}

/* A disk with NR requests that the device has and does not complete. */
static void open_with_inflight(unsigned nr)
{
	r.cfg.when = MODEL_STEPPED;
	r.cfg.run_on_polls = 1;
	ck_assert_msg(rig_disk(&r) == 0, "%s", r.err);
	model_config(r.m)->run_on_polls = 0;
	model_config(r.m)->hold = true;
	buf = blk_dma_alloc(r.dev, NR_IO * 4096);
	submit(nr);
	ck_assert_uint_eq(model_inflight(r.m), nr);
}

static unsigned nr_done(unsigned nr)
{
	unsigned n = 0;

	for (unsigned i = 0; i < nr; i++) {
		ck_assert_uint_le(io[i].calls, 1);
		n += io[i].calls;
	}
	return n;
}

static void all_end(unsigned nr)
{
	for (int turns = 0; nr_done(nr) < nr; turns++) {
		ck_assert_msg(turns < 50, "requests hang");
		(void)blk_wait(r.q, 2000);
	}
}

static void all_end_with(unsigned nr, int err)
{
	all_end(nr);
	for (unsigned i = 0; i < nr; i++)
		ck_assert_int_eq(io[i].err, err);
}

/* The disk is of no use any more, but answers, and lets go. */
static void stays_broken(int err)
{
	ck_assert_int_eq(blk_do(r.q, BLK_READ, 0, 8, buf), err);
	ck_assert_int_eq(blk_do(r.q, BLK_WRITE_ZEROES, 0, 8, NULL), err);
	ck_assert_uint_eq(model_status(r.m), 0); /* it was reset */
	blk_dma_free(r.dev, buf, NR_IO * 4096);
}

/* The used ring */

START_TEST(used_id_that_is_not_in_flight_is_a_broken_protocol)
{
	static const uint32_t ids[] = {
		RING - 1, RING, RING + 1, 255, 0xffff, 0x10000, 0x10001, 0x7fffffff, 0xffffffff};

	open_with_inflight(3);
	model_push_used(r.m, 0, ids[_i], 1);
	all_end_with(3, -EPROTO);
	stays_broken(-EPROTO);
}
END_TEST

START_TEST(used_id_of_an_inner_descriptor_is_a_broken_protocol)
{
	open_with_inflight(1); /* one chain of three descriptors: only its head is an id */
	for (uint32_t id = 0; id < RING; id++)
		if (id != model_head_in_flight(r.m, 0, 0)) {
			model_push_used(r.m, 0, id, 1);
			break;
		}
	all_end_with(1, -EPROTO);
	stays_broken(-EPROTO);
}
END_TEST

START_TEST(request_completed_twice_is_a_broken_protocol)
{
	uint16_t head;

	open_with_inflight(3);
	head = model_head_in_flight(r.m, 0, 1);
	ck_assert(model_complete(r.m, 0, 1));
	model_push_used(r.m, 0, head, 1);
	all_end(3);
	ck_assert_int_eq(io[1].err, 0);
	ck_assert_int_eq(io[0].err, -EPROTO);
	ck_assert_int_eq(io[2].err, -EPROTO);
	stays_broken(-EPROTO);
}
END_TEST

START_TEST(completion_without_a_status_is_an_error) /* BO12: the poison is still there */
{
	open_with_inflight(1);
	model_push_used(r.m, 0, model_head_in_flight(r.m, 0, 0), 1);
	all_end_with(1, -EIO);
	blk_dma_free(r.dev, buf, NR_IO * 4096);
	model_forgive(r.m); /* the model still takes the request for its own */
}
END_TEST

/* SP9, PK13: the last of three, alone; a packed ring can't tell it from a batch, but its statuses do */
START_TEST(requests_used_out_of_their_order_are_a_broken_protocol)
{
	r.cfg.order = MODEL_LAST_FIRST;
	open_with_inflight(3);
	ck_assert(model_complete(r.m, 0, 2));
	all_end_with(3, -EPROTO);
	stays_broken(-EPROTO);
}
END_TEST

/* The memory of a request without a status is the device's until a reset. */
START_TEST(batch_with_a_request_that_was_not_done_is_a_broken_protocol)
{
	open_with_inflight(3);
	model_push_used(r.m, 0, model_head_in_flight(r.m, 0, 0), 1);
	all_end_with(3, -EPROTO);
	stays_broken(-EPROTO);
}
END_TEST

START_TEST(used_index_that_jumps_is_a_broken_protocol)
{
	static const uint16_t jumps[] = {4, 5, RING, RING + 1, 0x7fff, 0x8000, 0xfffe, 0xffff};

	open_with_inflight(3);
	model_jump_used_idx(r.m, 0, jumps[_i]);
	all_end_with(3, -EPROTO);
	stays_broken(-EPROTO);
}
END_TEST

START_TEST(completion_with_nothing_in_flight_is_a_broken_protocol)
{
	open_with_inflight(0);
	model_push_used(r.m, 0, 0, 1);
	(void)blk_poll(r.q);
	stays_broken(-EPROTO);
}
END_TEST

START_TEST(used_length_past_the_buffers_is_a_broken_protocol)
{
	static const uint32_t lens[] = {4096 + 2, 4096 + 17, 65536, 0xffffffff};

	open_with_inflight(2);
	model_push_used(r.m, 0, model_head_in_flight(r.m, 0, 0), lens[_i]);
	all_end_with(2, -EPROTO);
	stays_broken(-EPROTO);
}
END_TEST

START_TEST(rings_full_of_garbage_end_in_an_error)
{
	r.cfg.seed = (uint64_t)_i;
	open_with_inflight(NR_IO);
	model_scribble(r.m, 0);
	(void)blk_poll(r.q);
	if (r.cfg.features[0] >> VIRTIO_F_RING_PACKED & 1) {
		/* It may look like nothing used: then a reset brings them back. */
		model_config(r.m)->hold = false;
		model_config(r.m)->run_on_polls = 1;
		model_needs_reset(r.m);
	}
	all_end(NR_IO);
	blk_dma_free(r.dev, buf, NR_IO * 4096);
	model_forgive(r.m); /* it was the model that wrote to descriptors in flight */
}
END_TEST

/* One random act of a hostile device. */
static void misbehave(unsigned act)
{
	switch (act % 8) {
	case 0:
		model_push_used(r.m, 0, (uint32_t)rand() % (2 * RING), (uint32_t)rand() % 8192);
		break;
	case 1:
		model_jump_used_idx(r.m, 0, (uint16_t)(rand() % (2 * RING)));
		break;
	case 2:
		model_irq(r.m);
		break;
	case 3:
		model_needs_reset(r.m);
		break;
	case 4:
		model_set_capacity(r.m, (uint64_t)rand(), true);
		break;
	case 5:
		model_scribble(r.m, 0);
		break;
	default:
		(void)model_complete(r.m, 0, (unsigned)rand() % NR_IO);
	}
}

START_TEST(random_misbehaviour_ends_every_request_once)
{
	srand((unsigned)_i);
	r.cfg.seed = (uint64_t)_i;
	open_with_inflight(NR_IO);
	for (int i = 0; i < 10; i++) {
		misbehave((unsigned)rand());
		(void)blk_poll(r.q);
	}
	model_config(r.m)->hold = false; /* from now on it serves */
	model_config(r.m)->run_on_polls = 1;
	(void)model_complete_all(r.m);
	if (nr_done(NR_IO) < NR_IO)
		model_needs_reset(r.m); /* what the device lost by its acts is sent again */
	all_end(NR_IO);
	blk_dma_free(r.dev, buf, NR_IO * 4096);
	model_forgive(r.m);
}
END_TEST

static void write_and_flush(int *err)
{
	buf = blk_dma_alloc(r.dev, 4096);
	for (int i = 0; i < 3 && *err == 0; i++) {
		*err = blk_do(r.q, BLK_WRITE, 0, 8, buf);
		if (*err == 0)
			*err = blk_do(r.q, BLK_FLUSH, 0, 0, NULL);
	}
	blk_dma_free(r.dev, buf, 4096);
}

/* Registers and configuration */

static void random_capabilities(uint8_t *space)
{
	unsigned at = 0x40;

	space[6] = 0x10;
	space[0x34] = (uint8_t)(rand() % 4 == 0 ? rand() : 0x40);
	for (unsigned i = 0x40; i < 256; i++)
		space[i] = (uint8_t)rand();
	while (at + 20 <= 256 && rand() % 16 != 0) { /* and often something like a list */
		unsigned next = rand() % 8 == 0 ? (unsigned)rand() % 256 : at + 20;

		space[at] = rand() % 8 == 0 ? (uint8_t)rand() : 9;
		space[at + 1] = (uint8_t)next;
		space[at + 2] = (uint8_t)(rand() % 4 == 0 ? rand() : 20);
		space[at + 3] = (uint8_t)(1 + rand() % 5);
		space[at + 4] = (uint8_t)(rand() % 8);
		for (unsigned i = 8; i < 20; i++)
			space[at + i] = i % 4 < 2 ? (uint8_t)rand() : rand() % 64 == 0;
		at += 20;
	}
}

/* PC4, PC6: thousands, with garbage behind them */
START_TEST(random_capability_lists_lead_nowhere_wild)
{
	unsigned nr_opened = 0;

	for (unsigned seed = 0; seed < 300; seed++) {
		srand(seed + 300 * (unsigned)_i);
		r.cfg.seed = seed;
		r.cfg.garbage_bars = true;
		r.cfg.bar[0].bytes = 1ULL << rand() % 20;
		r.cfg.bar[2].bytes = 4096;
		rig_model(&r);
		random_capabilities(model_config_space(r.m));
		nr_opened += rig_disk(&r) == 0;
		if (r.dev != NULL)
			rig_disk_close(&r);
		else
			ck_assert_str_ne(r.err, "");
		model_check_end(r.m);
		rig_no_violations(&r);
		model_destroy(r.m);
		r.m = NULL;
	}
	ck_assert_uint_eq(nr_opened, 0); /* nothing there completes a request */
	rig_model(&r);
	model_hw(r.m)->ops->close(model_hw(r.m));
}
END_TEST

static uint32_t any_limit(void)
{
	static const uint32_t values[] = {0, 1, 2, 3, 7, 8, 126, 254, 511, 512, 513, 4096, 65536,
		0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};

	return values[rand() % (int)(sizeof(values) / sizeof(values[0]))];
}

START_TEST(random_configuration_is_refused_or_obeyed) /* BI6, BO8 */
{
	unsigned nr_opened = 0;

	for (unsigned seed = 0; seed < 100; seed++) {
		srand(seed + 100 * (unsigned)_i);
		r.cfg.features[0] |= BIT(VIRTIO_BLK_F_SIZE_MAX);
		r.cfg.blk.capacity = rand() % 4 == 0 ? any_limit() : 16384;
		r.cfg.blk.size_max = any_limit();
		r.cfg.blk.seg_max = any_limit();
		r.cfg.blk.blk_size = rand() % 2 == 0 ? 512U << rand() % 5 : any_limit();
		r.cfg.blk.physical_exp = (uint8_t)any_limit();
		r.cfg.blk.num_queues = (uint16_t)any_limit();
		if (r.cfg.legacy) /* nothing else says how many there are */
			r.cfg.blk.num_queues = 1;
		r.cfg.blk.writeback = (uint8_t)any_limit();
		r.cfg.blk.discard_sectors = any_limit();
		r.cfg.blk.discard_align = any_limit();
		r.cfg.blk.zeroes_sectors = any_limit();
		r.cfg.blk.zeroes_may_unmap = (uint8_t)any_limit();
		r.cfg.features[0] |= 1ULL << VIRTIO_BLK_F_SECURE_ERASE;
		r.cfg.blk.erase_sectors = any_limit();
		r.cfg.blk.erase_seg = any_limit();
		r.cfg.blk.erase_align = any_limit();
		rig_model(&r);
		if (rig_disk(&r) == 0) {
			struct blk_info info;

			nr_opened++;
			blk_get_info(r.dev, &info);
			ck_assert(info.logical_bytes >= 512 && info.logical_bytes <= 4096);
			ck_assert_uint_ge(info.physical_bytes, info.logical_bytes);
			buf = blk_dma_alloc(r.dev, 65536);
			if (info.nr_sectors >= 128) {
				int err = blk_do(r.q, BLK_WRITE, 0, 128, buf);

				ck_assert_msg(err == 0 || err == -EINVAL, "write: %d", err);
				err = blk_do(r.q, BLK_DISCARD, 0, 128, NULL);
				ck_assert_msg(err == 0 || err == -EOPNOTSUPP, "discard: %d", err);
				err = blk_do(r.q, BLK_WRITE_ZEROES, 0, 128, NULL);
				ck_assert_msg(err == 0 || err == -EOPNOTSUPP, "zeroes: %d", err);
				err = blk_do(r.q, BLK_SECURE_ERASE, 0, 128, NULL);
				ck_assert_msg(err == 0 || err == -EOPNOTSUPP, "erase: %d", err);
			}
			ck_assert_int_eq(blk_do(r.q, BLK_FLUSH, 0, 0, NULL), 0);
			blk_dma_free(r.dev, buf, 65536);
			rig_disk_close(&r);
		}
		model_check_end(r.m);
		rig_no_violations(&r);
		model_destroy(r.m);
		r.m = NULL;
	}
	ck_assert_uint_gt(nr_opened, 5);
	rig_model(&r);
	model_hw(r.m)->ops->close(model_hw(r.m));
}
END_TEST

static void keep_flushes(struct model_req *req, void *arg)
{
	const bool *keep = arg;

	req->hold = *keep && req->type == VIRTIO_BLK_T_FLUSH;
}

/* The driver's own flush, which nobody but it waits for. */
START_TEST(flush_that_comes_after_its_time_limit_is_nobodys)
{
	bool keep = true;
	int err = 0;

	r.cfg.when = MODEL_STEPPED;
	r.cfg.run_on_polls = 1;
	r.cfg.on_complete = keep_flushes;
	r.cfg.arg = &keep;
	ck_assert_int_eq(rig_disk(&r), 0);
	buf = blk_dma_alloc(r.dev, NR_IO * 4096);
	ck_assert_int_eq(blk_do(r.q, BLK_WRITE, 0, 8, buf), 0);
	ck_assert_int_eq(vblk_set_cache(r.dev, false), -ETIMEDOUT);
	keep = false;
	ck_assert_uint_eq(model_complete_all(r.m), 1);
	ck_assert_int_eq(blk_poll(r.q), 0);
	submit(NR_IO);
	all_end_with(NR_IO, 0);
	blk_dma_free(r.dev, buf, NR_IO * 4096);
	write_and_flush(&err);
	ck_assert_int_eq(err, 0);
}
END_TEST

static void lose_queues(struct model *m, uint32_t off, void *arg)
{
	unsigned *looks = arg;

	if (off == 0 && ++*looks == 2)
		model_config(m)->blk.num_queues = 0;
}

START_TEST(configuration_is_checked_again_once_the_cache_was_switched)
{
	unsigned looks = 0;

	r.cfg.on_config_read = lose_queues;
	r.cfg.arg = &looks;
	r.opts.write_through = true;
	ck_assert_int_eq(rig_disk(&r), -EPROTO);
	ck_assert_uint_ge(looks, 2);
}
END_TEST

START_TEST(register_that_lies_once_is_survived) /* each read of the way in, with three lies */
{
	static const uint32_t lies[] = {0, 0xffffffff, 0xa5a5a5a5};

	for (unsigned nth = 1; nth < NR_STEPS; nth++) {
		r.cfg.seed = nth;
		rig_model(&r);
		model_lie_at(r.m, nth, lies[_i]);
		if (rig_disk(&r) == 0) {
			buf = blk_dma_alloc(r.dev, NR_IO * 4096);
			submit(NR_IO);
			(void)blk_wait(r.q, 10);
			/* Some may never be answered: the two do not agree on the ring. */
			model_remove(r.m);
			all_end(NR_IO);
			blk_dma_free(r.dev, buf, NR_IO * 4096);
			rig_disk_close(&r);
		} else {
			ck_assert_str_ne(r.err, "");
		}
		/* The driver may do what a true register would have forbidden. */
		model_destroy(r.m);
		r.m = NULL;
	}
	rig_model(&r);
	model_hw(r.m)->ops->close(model_hw(r.m));
}
END_TEST

/* The worst moment, whichever it is */

/* FN at the NTH access of a disk's life; the errors that it may lead to. */
static void at_every_access(void (*fn)(struct model *m), int one, int other)
{
	unsigned nr_failed = 0;

	for (unsigned nth = 1; nth < NR_STEPS; nth++) {
		struct model_stat stat;
		int err;

		r.err[0] = '\0';
		rig_model(&r);
		model_at(r.m, nth, fn);
		err = rig_disk(&r);
		if (err == 0) {
			write_and_flush(&err);
			rig_disk_close(&r);
		} else {
			ck_assert_str_ne(r.err, "");
		}
		nr_failed += err != 0;
		ck_assert_msg(err == 0 || err == one || err == other, "access %u: error %d: %s",
			nth, err, r.err);
		model_get_stat(r.m, &stat);
		ck_assert_uint_lt(stat.slept_us, 100 * 1000); /* at once, not after a time limit */
		model_check_end(r.m);
		rig_no_violations(&r);
		model_destroy(r.m);
		r.m = NULL;
	}
	ck_assert_uint_gt(nr_failed, 30);
	rig_model(&r);
	model_hw(r.m)->ops->close(model_hw(r.m));
}

START_TEST(needs_reset_at_any_access_is_an_error_and_no_hang) /* ST4 */
{
	at_every_access(model_needs_reset, -EIO, -EIO);
}
END_TEST

START_TEST(removal_at_any_access_is_an_error_and_no_hang) /* VIRTIO.md trap 15 */
{
	at_every_access(model_remove, -ENODEV, -ENODEV);
}
END_TEST

static void shrink(struct model *m)
{
	model_set_capacity(m, 4, true);
}

START_TEST(capacity_may_vanish_at_any_access) /* CF1, BO18 */
{
	at_every_access(shrink, -EINVAL, -EIO);
}
END_TEST

static void add_any_rings(TCase *tc, int nr_ids)
{
	tcase_add_loop_test(tc, used_id_that_is_not_in_flight_is_a_broken_protocol, 0, nr_ids);
	tcase_add_test(tc, used_id_of_an_inner_descriptor_is_a_broken_protocol);
	tcase_add_test(tc, completion_with_nothing_in_flight_is_a_broken_protocol);
	tcase_add_loop_test(tc, used_length_past_the_buffers_is_a_broken_protocol, 0, 4);
	tcase_add_loop_test(tc, rings_full_of_garbage_end_in_an_error, 0, 20);
	tcase_add_loop_test(tc, random_misbehaviour_ends_every_request_once, 0, 60);
}

static void add_rings(TCase *tc, int nr_ids)
{
	add_any_rings(tc, nr_ids);
	tcase_add_test(tc, request_completed_twice_is_a_broken_protocol);
	tcase_add_test(tc, completion_without_a_status_is_an_error);
}

static TCase *rings_in_order(const char *name, SFun set_up)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, set_up, teardown);
	tcase_set_timeout(tc, 60);
	add_any_rings(tc, 5);
	tcase_add_test(tc, requests_used_out_of_their_order_are_a_broken_protocol);
	tcase_add_test(tc, batch_with_a_request_that_was_not_done_is_a_broken_protocol);
	return tc;
}

static TCase *packed_rings(void)
{
	TCase *tc = tcase_create("packed");

	tcase_add_checked_fixture(tc, setup_packed, teardown);
	tcase_set_timeout(tc, 60);
	add_rings(tc, 5); /* ids have 16 bits there */
	tcase_add_test(tc, needs_reset_at_any_access_is_an_error_and_no_hang);
	return tc;
}

static void any_used_len(struct model_req *req, void *arg)
{
	(void)arg;
	req->used_len = UINT32_MAX - req->used_len;
}

START_TEST(used_length_of_a_legacy_device_is_not_looked_at) /* LG7 */
{
	int err = 0;

	r.cfg.on_complete = any_used_len;
	ck_assert_int_eq(rig_disk(&r), 0);
	write_and_flush(&err);
	ck_assert_int_eq(err, 0);
}
END_TEST

static TCase *legacy(void)
{
	TCase *tc = tcase_create("legacy");

	tcase_add_checked_fixture(tc, setup_legacy, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, used_id_that_is_not_in_flight_is_a_broken_protocol, 0, 9);
	tcase_add_loop_test(tc, rings_full_of_garbage_end_in_an_error, 0, 5);
	tcase_add_test(tc, used_length_of_a_legacy_device_is_not_looked_at);
	tcase_add_loop_test(tc, random_configuration_is_refused_or_obeyed, 0, 2);
	tcase_add_loop_test(tc, register_that_lies_once_is_survived, 0, 3);
	tcase_add_test(tc, removal_at_any_access_is_an_error_and_no_hang);
	tcase_add_test(tc, capacity_may_vanish_at_any_access);
	return tc;
}

int main(void)
{
	Suite *suite = suite_create("hostile");
	TCase *tc = tcase_create("device");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	add_rings(tc, 9);
	tcase_add_loop_test(tc, used_index_that_jumps_is_a_broken_protocol, 0, 8);
	tcase_add_loop_test(tc, random_capability_lists_lead_nowhere_wild, 0, 10);
	tcase_add_loop_test(tc, random_configuration_is_refused_or_obeyed, 0, 5);
	tcase_add_test(tc, flush_that_comes_after_its_time_limit_is_nobodys);
	tcase_add_test(tc, configuration_is_checked_again_once_the_cache_was_switched);
	tcase_add_loop_test(tc, register_that_lies_once_is_survived, 0, 3);
	tcase_add_test(tc, needs_reset_at_any_access_is_an_error_and_no_hang);
	tcase_add_test(tc, removal_at_any_access_is_an_error_and_no_hang);
	tcase_add_test(tc, capacity_may_vanish_at_any_access);
	suite_add_tcase(suite, tc);
	suite_add_tcase(suite, packed_rings());
	suite_add_tcase(suite, rings_in_order("in_order", setup_in_order));
	suite_add_tcase(suite, rings_in_order("packed_in_order", setup_packed_in_order));
	suite_add_tcase(suite, legacy());
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
