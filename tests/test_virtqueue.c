/* test_virtqueue.c - both layouts of a ring against the strict model, by the same tests. Row ids are
 * those of the virtio checklist. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "model/rig.h"

#define WITHOUT(bit) (~(1ULL << (bit)))
#define NO_EVENT     WITHOUT(VIRTIO_RING_F_EVENT_IDX)
#define NO_TABLE     WITHOUT(VIRTIO_RING_F_INDIRECT_DESC)
#define PLAIN        (NO_EVENT & NO_TABLE)
#define ALL          (~0ULL)

static struct rig r;

static void setup(void)
{
	rig_init(&r);
	r.cfg.when = MODEL_STEPPED;
}

static void setup_packed(void)
{
	setup();
	r.cfg.features[0] |= 1ULL << VIRTIO_F_RING_PACKED;
}

static void setup_in_order(void)
{
	setup();
	r.cfg.features[0] |= 1ULL << VIRTIO_F_IN_ORDER;
}

static void setup_packed_in_order(void)
{
	setup_packed();
	r.cfg.features[0] |= 1ULL << VIRTIO_F_IN_ORDER;
}

static bool is_in_order(void)
{
	return r.cfg.features[0] >> VIRTIO_F_IN_ORDER & 1;
}

static void setup_legacy(void)
{
	setup();
	model_legacy(&r.cfg);
}

static bool is_packed(void)
{
	return r.cfg.features[0] >> VIRTIO_F_RING_PACKED & 1;
}

static void teardown(void)
{
	rig_end(&r);
}

/* One queue of SIZE in a device that works only when model_run() gives it time. */
static struct virtqueue *start(unsigned size, uint64_t features)
{
	r.cfg.queue_size[0] = (uint16_t)size;
	r.cfg.features[0] &= features;
	r.cfg.blk.seg_max = 1024;
	ck_assert_msg(rig_plug(&r) == 0, "%s", r.err);
	ck_assert_int_eq(virtio_has_feature(r.vdev, VIRTIO_F_RING_PACKED), is_packed()); /* RF3 */
	return r.vq[0];
}

static void add(struct virtqueue *vq, struct rig_io *io, uint64_t sector, unsigned nr_data)
{
	ck_assert_int_eq(rig_io_add(&r, vq, io, VIRTIO_BLK_T_IN, sector, nr_data), 0);
}

static void one_request(struct virtqueue *vq, struct rig_io *io)
{
	add(vq, io, 0, 1);
	rig_kick(vq);
	ck_assert_ptr_eq(rig_get(&r, vq, 3), io);
	ck_assert_uint_eq(*io->status, VIRTIO_BLK_S_OK);
}

static struct model_stat stat_now(void)
{
	struct model_stat s;

	model_get_stat(r.m, &s);
	return s;
}

static void alloc_ios(struct rig_io *io, unsigned nr, uint32_t data_bytes)
{
	for (unsigned i = 0; i < nr; i++)
		rig_io_alloc(&r, &io[i], data_bytes);
}

static void free_ios(struct rig_io *io, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		rig_io_free(&r, &io[i]);
}

/* Layout */

START_TEST(ring_of_any_legal_size_is_aligned_and_contiguous) /* SP1, SP2: all powers of two */
{
	struct rig_io io;
	struct virtqueue *vq;

	r.max_size = 1U << _i;
	vq = start(r.cfg.legacy ? r.max_size : VRING_MAX_SIZE, ALL); /* which has no choice */
	ck_assert_uint_eq(model_queue_size_set(r.m, 0), r.max_size);
	rig_io_alloc(&r, &io, 512);
	if (vq_max_segs(vq) >= 3) /* a smaller ring has no room for header, data and status */
		one_request(vq, &io);
	rig_io_free(&r, &io);
}
END_TEST

START_TEST(ring_size_is_a_power_of_two_within_what_the_device_has) /* SP2 */
{
	static const struct {
		uint16_t device, expect;
	} sizes[] = {{1, 1}, {2, 2}, {3, 2}, {100, 64}, {255, 128}, {1024, 1024}};

	start(sizes[_i].device, ALL);
	ck_assert_uint_eq(model_queue_size_set(r.m, 0), sizes[_i].expect);
}
END_TEST

/* SP13, VQ4: the model scribbles at each reset */
START_TEST(rings_start_zeroed_whatever_the_device_left_behind)
{
	struct rig_io io;

	for (int round = 0; round < 3; round++) {
		struct virtqueue *vq = start(64, ALL);

		rig_io_alloc(&r, &io, 512);
		one_request(vq, &io);
		rig_io_free(&r, &io);
		rig_unplug(&r);
	}
}
END_TEST

/* Descriptors */

/* SP3: the data arrives where it should, both ways */
START_TEST(readable_buffers_stand_before_writable_ones)
{
	struct virtqueue *vq = start(64, _i ? ALL : PLAIN);
	struct rig_io io;

	rig_io_alloc(&r, &io, 4096);
	memset(io.data, 0x5c, 4096);
	ck_assert_int_eq(rig_io_add(&r, vq, &io, VIRTIO_BLK_T_OUT, 8, 4), 0);
	rig_kick(vq);
	ck_assert_ptr_eq(rig_get(&r, vq, 3), &io);
	ck_assert_mem_eq(model_disk(r.m) + 8 * 512, io.data, 4096);
	memset(io.data, 0, 4096);
	add(vq, &io, 8, 2);
	rig_kick(vq);
	ck_assert_ptr_eq(rig_get(&r, vq, 3), &io);
	ck_assert_mem_eq(model_disk(r.m) + 8 * 512, io.data, 4096);
	rig_io_free(&r, &io);
}
END_TEST

START_TEST(longest_list_fits_the_queue_and_is_served) /* SP4, SP6, SP5: indirect or not */
{
	static const unsigned sizes[] = {4, 8, 64, 256};
	unsigned size = sizes[_i / 2];
	struct virtqueue *vq = start(size, _i % 2 ? ALL : NO_TABLE);
	unsigned max = vq_max_segs(vq);
	struct rig_io io[2];

	ck_assert_uint_le(max, size);
	ck_assert_uint_ge(max, 3);
	alloc_ios(io, 2, 512 * (max - 2));
	for (int round = 0; round < 5; round++) {
		add(vq, &io[0], 0, max - 2);
		rig_kick(vq);
		ck_assert_ptr_eq(rig_get(&r, vq, 3), &io[0]);
	}
	ck_assert_uint_eq(stat_now().max_chain, max);
	free_ios(io, 2);
}
END_TEST

START_TEST(indirect_tables_appear_only_when_negotiated) /* SP7 */
{
	struct virtqueue *vq = start(8, _i ? ALL : NO_TABLE);
	struct rig_io io[16];
	unsigned nr = 0, nr_indirect = 0;

	alloc_ios(io, 16, 512);
	while (nr < 16 && rig_io_add(&r, vq, &io[nr], VIRTIO_BLK_T_IN, 0, 1) == 0)
		nr++;
	rig_kick(vq);
	for (unsigned i = 0; i < nr; i++)
		ck_assert_ptr_nonnull(rig_get(&r, vq, 3));
	for (size_t i = 0; i < model_nr_done(r.m); i++)
		nr_indirect += model_done(r.m, i).indirect;
	if (_i)
		ck_assert_uint_gt(nr_indirect, 0);
	else
		ck_assert_uint_eq(nr_indirect, 0);
	free_ios(io, 16);
}
END_TEST

START_TEST(full_ring_says_so_and_takes_more_after_a_completion)
{
	struct virtqueue *vq = start(8, _i ? ALL : NO_TABLE);
	struct rig_io io[16];
	unsigned nr = 0;

	alloc_ios(io, 16, 512);
	while (rig_io_add(&r, vq, &io[nr], VIRTIO_BLK_T_IN, 0, 1) == 0)
		ck_assert_uint_lt(++nr, 16);
	ck_assert(!vq_has_room(vq, 3));
	ck_assert_int_eq(rig_io_add(&r, vq, &io[nr], VIRTIO_BLK_T_IN, 0, 1), -ENOSPC);
	rig_kick(vq);
	ck_assert_ptr_nonnull(rig_get(&r, vq, 3));
	ck_assert(vq_has_room(vq, 3));
	add(vq, &io[nr], 0, 1);
	rig_kick(vq);
	for (unsigned i = 0; i < nr; i++)
		ck_assert_ptr_nonnull(rig_get(&r, vq, 3));
	ck_assert_ptr_null(vq_get_buf(vq));
	free_ios(io, 16);
}
END_TEST

/* Keep the ring as full as random chance will, for many rounds; completions come in the order that
 * is the model's. */
static void churn(struct virtqueue *vq, unsigned rounds)
{
	enum { NR = 32 };
	struct rig_io io[NR];
	bool busy[NR] = {false};
	unsigned inflight = 0;
	struct rig_io *token;

	alloc_ios(io, NR, 2048);
	srand(1);
	for (unsigned round = 0; round < rounds || inflight > 0; round++) {
		for (unsigned i = 0; i < NR && round < rounds; i++) {
			unsigned nr_data = 1U << rand() % 3;

			if (busy[i] || rand() % 2 == 0)
				continue;
			if (rig_io_add(&r, vq, &io[i], VIRTIO_BLK_T_IN, i, nr_data) < 0)
				break;
			busy[i] = true;
			inflight++;
		}
		rig_kick(vq);
		while ((token = rig_get(&r, vq, 3)) != NULL) {
			ck_assert(busy[token - io]);
			ck_assert_uint_eq(*token->status, VIRTIO_BLK_S_OK);
			busy[token - io] = false;
			inflight--;
		}
		ck_assert_uint_lt(round, rounds + 2 * NR);
	}
	free_ios(io, NR);
}

/* CL1, SP5, SP8, BO17: shuffled, last first, in order */
START_TEST(descriptors_in_flight_are_never_touched)
{
	r.cfg.order = is_in_order() ? MODEL_IN_ORDER : (enum model_order)(_i % 3);
	churn(start(16, _i / 3 % 2 ? ALL : NO_TABLE), 300);
}
END_TEST

/* Kicks */

START_TEST(device_that_wants_a_kick_gets_one_for_a_batch) /* SP14, SP15 */
{
	struct virtqueue *vq = start(64, _i ? ALL : NO_EVENT);
	struct rig_io io[8];

	alloc_ios(io, 8, 512);
	for (unsigned i = 0; i < 8; i++)
		add(vq, &io[i], i, 1);
	ck_assert_uint_eq(vq_nr_unkicked(vq), 8);
	ck_assert_uint_eq(model_inflight(r.m), 0);
	rig_kick(vq);
	ck_assert_uint_eq(vq_nr_unkicked(vq), 0);
	ck_assert_uint_eq(model_inflight(r.m), 8);
	ck_assert_uint_eq(stat_now().kicks, 1);
	ck_assert(!vq_kick_prepare(vq)); /* nothing new */
	for (unsigned i = 0; i < 8; i++)
		ck_assert_ptr_nonnull(rig_get(&r, vq, 3));
	free_ios(io, 8);
}
END_TEST

START_TEST(kick_is_due_when_a_batch_passes_the_event) /* SP15: event between old and new index */
{
	struct rig_io io[6];
	struct virtqueue *vq;

	r.cfg.event_ahead = is_packed() ? 2 * 3 : 2; /* it counts descriptors there */
	vq = start(64, ALL);
	alloc_ios(io, 6, 512);
	one_request(vq, &io[0]); /* now the device has named its event: after two more */
	for (unsigned i = 0; i < 3; i++) {
		add(vq, &io[i], 0, 1);
		ck_assert_int_eq(vq_kick_prepare(vq), i == 2);
	}
	vq_notify(vq);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_ptr_nonnull(rig_get(&r, vq, 3));
	for (unsigned i = 0; i < 6; i++)
		add(vq, &io[i], 0, 1);
	ck_assert(vq_kick_prepare(vq));
	vq_notify(vq);
	for (unsigned i = 0; i < 6; i++)
		ck_assert_ptr_nonnull(rig_get(&r, vq, 3));
	free_ios(io, 6);
}
END_TEST

START_TEST(awake_device_is_not_kicked) /* SP14, SP15: it misstates the hint that does not count */
{
	struct virtqueue *vq;
	struct rig_io io[2];

	r.cfg.poll_rings = true;
	vq = start(64, _i ? ALL : NO_EVENT);
	alloc_ios(io, 2, 512);
	for (unsigned i = 0; i < 100; i++) {
		add(vq, &io[0], 0, 1);
		rig_kick(vq); /* wakes it */
		add(vq, &io[1], 0, 1);
		rig_kick(vq);
		ck_assert_ptr_nonnull(rig_get(&r, vq, 3));
		ck_assert_ptr_nonnull(rig_get(&r, vq, 3));
		while (model_run(r.m) != 0)
			continue; /* finds nothing, and sleeps */
	}
	ck_assert_uint_eq(stat_now().kicks, 100);
	ck_assert_uint_eq(stat_now().kicks_unwanted, 0);
	free_ios(io, 2);
}
END_TEST

/* SP10, SP15: batches of 1 to 7, over the wrap */
START_TEST(each_batch_is_kicked_once_past_65536_submissions)
{
	struct virtqueue *vq = start(16, _i ? ALL : NO_EVENT);
	unsigned idx = 0, batches = 0;
	struct rig_io io[7];

	alloc_ios(io, 7, 512);
	while (idx < 65536 + 100) {
		unsigned batch = 1 + batches % 7;

		unsigned back = 0;

		for (unsigned i = 0; i < batch; i++)
			(void)rig_io_add(&r, vq, &io[i], VIRTIO_BLK_T_FLUSH, 0, 0);
		rig_kick(vq);
		while (back < batch && rig_get(&r, vq, 3) != NULL)
			back++;
		ck_assert_uint_eq(back, batch); /* one assertion a batch: they are slow */
		idx += batch;
		batches++;
	}
	ck_assert_uint_eq(stat_now().kicks, batches);
	ck_assert_uint_eq(stat_now().kicks_empty, 0);
	free_ios(io, 7);
}
END_TEST

/* SP16, SP17: a lost kick is a hang here */
START_TEST(device_that_falls_asleep_while_the_driver_looks_misses_nothing)
{
	struct virtqueue *vq;
	struct rig_io io[4];

	r.cfg.poll_rings = true;
	vq = start(16, _i ? ALL : NO_EVENT);
	alloc_ios(io, 4, 512);
	for (unsigned i = 0; i < 1000; i++) {
		unsigned nr = 1 + i % 4;

		for (unsigned k = 0; k < nr; k++) {
			add(vq, &io[k], 0, 1);
			rig_kick(vq); /* the model goes to sleep inside, right after the look */
		}
		for (unsigned k = 0; k < nr; k++)
			ck_assert_ptr_nonnull(rig_get(&r, vq, 3));
		if (i % 3 == 0)
			(void)model_run(r.m);
	}
	free_ios(io, 4);
}
END_TEST

/* Completions */

/* SP18: unordered loads are given old values */
START_TEST(used_entries_and_status_are_read_after_the_index)
{
	churn(start(8, _i ? ALL : PLAIN), 50);
}
END_TEST

static void no_used_len(struct model_req *req, void *arg)
{
	(void)arg;
	req->used_len = 0;
}

START_TEST(used_length_of_zero_is_no_error) /* SP12: it is no measure of anything */
{
	struct virtqueue *vq;
	struct rig_io io;

	r.cfg.on_complete = no_used_len;
	vq = start(8, ALL);
	rig_io_alloc(&r, &io, 512);
	one_request(vq, &io);
	rig_io_free(&r, &io);
}
END_TEST

/* Interrupts */

static unsigned irqs_for_one(struct virtqueue *vq, struct rig_io *io)
{
	unsigned before = stat_now().irqs;

	one_request(vq, io);
	return stat_now().irqs - before;
}

START_TEST(interrupts_come_only_while_enabled) /* SP11 */
{
	struct virtqueue *vq = start(8, _i ? ALL : NO_EVENT);
	struct rig_io io;

	rig_io_alloc(&r, &io, 512);
	ck_assert_uint_eq(irqs_for_one(vq, &io), 0);
	ck_assert(!vq_enable_cb(vq));
	ck_assert_uint_eq(irqs_for_one(vq, &io), 1);
	vq_disable_cb(vq);
	model_clear_isr(r.m);
	ck_assert_uint_eq(irqs_for_one(vq, &io), 0);
	rig_io_free(&r, &io);
}
END_TEST

static void complete_in_the_window(enum model_moment moment, bool event)
{
	struct virtqueue *vq;
	struct rig_io io;
	unsigned before;
	bool pending;

	r.cfg.hold = true;
	vq = start(8, event ? ALL : NO_EVENT);
	rig_io_alloc(&r, &io, 512);
	for (unsigned i = 0; i < 20; i++) {
		vq_disable_cb(vq);
		add(vq, &io, 0, 1);
		rig_kick(vq);
		(void)model_run(r.m);
		before = stat_now().irqs;
		model_complete_at(r.m, moment);
		pending = vq_enable_cb(vq);
		/* Either the driver sees it now or the device sees that it must interrupt: never
		 * neither. */
		ck_assert(pending || stat_now().irqs > before);
		ck_assert_ptr_eq(vq_get_buf(vq), &io);
		model_clear_isr(r.m);
	}
	rig_io_free(&r, &io);
}

START_TEST(completion_just_before_the_barrier_is_seen_by_the_driver) /* SP19 */
{
	complete_in_the_window(MODEL_BEFORE_BARRIER, _i);
}
END_TEST

START_TEST(completion_just_after_the_last_look_raises_an_interrupt) /* SP19 */
{
	complete_in_the_window(MODEL_AFTER_USED_IDX_LOAD, _i);
}
END_TEST

START_TEST(enabling_says_that_there_is_something_already)
{
	struct virtqueue *vq;
	struct rig_io io;

	vq = start(8, _i ? ALL : NO_EVENT);
	rig_io_alloc(&r, &io, 512);
	add(vq, &io, 0, 1);
	rig_kick(vq);
	(void)model_run(r.m);
	ck_assert(vq_enable_cb(vq));
	ck_assert_ptr_eq(vq_get_buf(vq), &io);
	ck_assert(!vq_enable_cb(vq));
	rig_io_free(&r, &io);
}
END_TEST

/* Use in order */

/* SP9, PK13: of all sizes, one list of descriptors and indirect ones among them */
START_TEST(batch_is_taken_apart_by_one_used_entry)
{
	struct virtqueue *vq;
	struct rig_io io[6];

	r.cfg.hold = true;
	vq = start(16, _i ? ALL : NO_TABLE);
	alloc_ios(io, 6, 512);
	for (unsigned round = 0; round < 100; round++) {
		unsigned nr = 1 + round % (_i ? 6 : 5), batch = 1 + round % nr;

		for (unsigned i = 0; i < nr; i++)
			add(vq, &io[i], i, 1);
		rig_kick(vq);
		(void)model_run(r.m);
		ck_assert(model_complete(r.m, 0, batch - 1));
		for (unsigned i = 0; i < batch; i++) {
			ck_assert(vq_enable_cb(vq)); /* in the middle of a batch, too */
			ck_assert_ptr_eq(vq_get_buf(vq), &io[i]);
			ck_assert_uint_eq(*io[i].status, VIRTIO_BLK_S_OK);
		}
		ck_assert(!vq_enable_cb(vq));
		ck_assert_ptr_null(vq_get_buf(vq));
		(void)model_complete_all(r.m);
		for (unsigned i = batch; i < nr; i++)
			ck_assert_ptr_eq(vq_get_buf(vq), &io[i]);
	}
	free_ios(io, 6);
}
END_TEST

/* SP9: the last of three alone, in a split ring, whose index tells it from a batch */
START_TEST(batch_of_more_than_the_index_counts_breaks_the_ring)
{
	struct virtqueue *vq;
	struct rig_io io[3];

	r.cfg.hold = true;
	r.cfg.order = MODEL_LAST_FIRST;
	vq = start(16, ALL);
	alloc_ios(io, 3, 512);
	for (unsigned i = 0; i < 3; i++)
		add(vq, &io[i], i, 1);
	rig_kick(vq);
	(void)model_run(r.m);
	ck_assert(model_complete(r.m, 0, 2));
	ck_assert_ptr_null(vq_get_buf(vq));
	ck_assert(vq->broken);
	rig_unplug(&r);
	free_ios(io, 3);
}
END_TEST

static TCase *add_tests(Suite *suite, const char *name, SFun set_up)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, set_up, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, ring_of_any_legal_size_is_aligned_and_contiguous, 0, 16);
	if (set_up != setup_legacy) /* see test_virtio_pci.c */
		tcase_add_loop_test(
			tc, ring_size_is_a_power_of_two_within_what_the_device_has, 0, 6);
	tcase_add_test(tc, rings_start_zeroed_whatever_the_device_left_behind);
	tcase_add_loop_test(tc, readable_buffers_stand_before_writable_ones, 0, 2);
	tcase_add_loop_test(tc, longest_list_fits_the_queue_and_is_served, 0, 8);
	tcase_add_loop_test(tc, indirect_tables_appear_only_when_negotiated, 0, 2);
	tcase_add_loop_test(tc, full_ring_says_so_and_takes_more_after_a_completion, 0, 2);
	tcase_add_loop_test(tc, descriptors_in_flight_are_never_touched, 0, 6);
	tcase_add_loop_test(tc, device_that_wants_a_kick_gets_one_for_a_batch, 0, 2);
	tcase_add_test(tc, kick_is_due_when_a_batch_passes_the_event);
	tcase_add_loop_test(tc, awake_device_is_not_kicked, 0, 2);
	tcase_add_loop_test(tc, each_batch_is_kicked_once_past_65536_submissions, 0, 2);
	tcase_add_loop_test(
		tc, device_that_falls_asleep_while_the_driver_looks_misses_nothing, 0, 2);
	tcase_add_loop_test(tc, used_entries_and_status_are_read_after_the_index, 0, 2);
	tcase_add_test(tc, used_length_of_zero_is_no_error);
	tcase_add_loop_test(tc, interrupts_come_only_while_enabled, 0, 2);
	tcase_add_loop_test(tc, completion_just_before_the_barrier_is_seen_by_the_driver, 0, 2);
	tcase_add_loop_test(tc, completion_just_after_the_last_look_raises_an_interrupt, 0, 2);
	tcase_add_loop_test(tc, enabling_says_that_there_is_something_already, 0, 2);
	suite_add_tcase(suite, tc);
	return tc;
}

/* Or QEMU returns nothing of it. None is shown to this device. */
START_TEST(packed_ring_in_order_is_never_full) /* unless it has one descriptor */
{
	static const uint16_t sizes[] = {8, 1}, usable[] = {7, 1};
	struct virtqueue *vq = start(sizes[_i], NO_TABLE);
	struct vq_seg seg = {.bytes = 512};
	unsigned nr = 0;

	while (vq_add(vq, &seg, 1, 0, &seg) == 0)
		nr++;
	ck_assert_uint_eq(nr, usable[_i]);
	ck_assert_uint_eq(vq_max_segs(vq), usable[_i]);
}
END_TEST

static TCase *add_tests_in_order(Suite *suite, const char *name, SFun set_up)
{
	TCase *tc = add_tests(suite, name, set_up);

	tcase_add_loop_test(tc, batch_is_taken_apart_by_one_used_entry, 0, 2);
	return tc;
}

int main(void)
{
	Suite *suite = suite_create("virtqueue");
	SRunner *runner;
	int failed;

	add_tests(suite, "split", setup);
	add_tests(suite, "packed", setup_packed);
	tcase_add_test(add_tests_in_order(suite, "in_order", setup_in_order),
		batch_of_more_than_the_index_counts_breaks_the_ring);
	tcase_add_loop_test(add_tests_in_order(suite, "packed_in_order", setup_packed_in_order),
		packed_ring_in_order_is_never_full, 0, 2);
	add_tests(suite, "legacy", setup_legacy);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
