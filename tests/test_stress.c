/* test_stress.c - everything at once: threads that come and go do requests, while the device
 * interrupts for nothing, changes its configuration and asks for resets, and the user asks for
 * resets, too. Nothing is lost, and ThreadSanitizer has nothing to say (make tsan). */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include "model/rig.h"
#include "virtio_blk.h"

#define BIT(n)      (1ULL << (n))
#define NR_WORKERS  4U
#define NR_OPENS    6U  /* of a queue, by each worker */
#define NR_ROUNDS   12U /* of requests, between open and close */
#define IO_BYTES    4096U
#define IO_SECTORS  (IO_BYTES / SECTOR_BYTES)
#define CAPACITY    16384U
#define NEEDS_RESET 4U /* times: after the fifth in a minute the device would be given up */

static struct rig r;
static atomic_uint nr_left; /* workers */

struct worker {
	pthread_t thread;
	unsigned number;
	const char *failed; /* what */
	int err;
};

static void setup(void)
{
	rig_init(&r);
	r.cfg.when = MODEL_THREAD;
	r.cfg.order = MODEL_SHUFFLED;
	r.cfg.nr_queues = 4;
	for (unsigned i = 0; i < 4; i++)
		r.cfg.queue_size[i] = 16;
	r.cfg.spurious_irqs = true;
}

static void teardown(void)
{
	rig_end(&r);
}

static bool is_filled(const uint8_t *buf, uint8_t with)
{
	for (unsigned i = 0; i < IO_BYTES; i++)
		if (buf[i] != with)
			return false;
	return true;
}

/* A flush may fail when a reset came before it: what it was for may be lost then. */
static void round_trip(struct worker *w, struct blk_queue *q, uint8_t *buf, unsigned n)
{
	uint64_t sector = (w->number * 16 + n % 16) * IO_SECTORS;
	uint8_t with = (uint8_t)(1 + w->number * 60 + n);

	memset(buf, with, IO_BYTES);
	w->failed = "write";
	w->err = blk_do(q, BLK_WRITE, sector, IO_SECTORS, buf);
	if (w->err == 0 && n % 4 == 0) {
		w->failed = "flush";
		w->err = blk_do(q, BLK_FLUSH, 0, 0, NULL);
		w->err = w->err == -EIO ? 0 : w->err;
	}
	memset(buf, 0, IO_BYTES);
	if (w->err == 0) {
		w->failed = "read";
		w->err = blk_do(q, BLK_READ, sector, IO_SECTORS, buf);
	}
	if (w->err == 0 && !is_filled(buf, with)) {
		w->failed = "compare";
		w->err = -EBADMSG;
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;
	uint8_t *buf = blk_dma_alloc(r.dev, IO_BYTES);

	for (unsigned i = 0; i < NR_OPENS && w->err == 0; i++) {
		struct blk_queue *q;

		w->failed = "open";
		w->err = blk_queue_open(r.dev, &q);
		if (w->err < 0)
			break;
		q->spin_us = i % 2 * 50;
		for (unsigned n = 0; n < NR_ROUNDS && w->err == 0; n++)
			round_trip(w, q, buf, i * NR_ROUNDS + n);
		blk_queue_close(q);
	}
	blk_dma_free(r.dev, buf, IO_BYTES);
	atomic_fetch_sub(&nr_left, 1);
	return NULL;
}

/* What others do meanwhile, by turns. */
static void disturb(unsigned turn)
{
	static struct vblk_detail detail;
	struct blk_stat stat[4];
	int err;

	switch (turn % 8) {
	case 1:
	case 5:
		model_set_capacity(r.m, CAPACITY + turn % 16 * 8, true);
		break;
	case 2:
		err = vblk_reset_disk(r.dev);
		ck_assert_msg(err == 0, "reset: %d", err);
		break;
	case 3:
		ck_assert_int_eq(vblk_describe(r.dev, &detail), 0);
		(void)blk_stats(r.dev, stat, 4);
		break;
	case 4:
		err = vblk_set_cache(r.dev, turn & 8);
		ck_assert_msg(err == 0 || err == -EIO, "cache: %d", err);
		break;
	case 6:
		if (turn < NEEDS_RESET * 8)
			model_needs_reset(r.m);
		break;
	default:
		model_irq(r.m);
	}
}

static void run(void)
{
	struct worker w[NR_WORKERS] = {{0}};

	ck_assert_msg(rig_disk(&r) == 0, "%s", r.err);
	atomic_store(&nr_left, NR_WORKERS);
	for (unsigned i = 0; i < NR_WORKERS; i++) {
		w[i].number = i;
		ck_assert_int_eq(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	}
	for (unsigned turn = 0; atomic_load(&nr_left) > 0; turn++)
		disturb(turn);
	for (unsigned i = 0; i < NR_WORKERS; i++) {
		pthread_join(w[i].thread, NULL);
		ck_assert_msg(w[i].err == 0, "worker %u: %s fails: %s", i, w[i].failed,
			strerror(-w[i].err));
	}
}

START_TEST(nothing_is_lost_when_all_happens_at_once) /* by how many rings, and their layout */
{
	r.cfg.blk.num_queues = _i & 1 ? 1 : 4;
	if (_i & 2)
		r.cfg.features[0] |= BIT(VIRTIO_F_RING_PACKED);
	if (_i & 4) {
		r.cfg.features[0] |= BIT(VIRTIO_F_IN_ORDER);
		r.cfg.order = MODEL_IN_ORDER;
	}
	run();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("stress");
	TCase *tc = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, nothing_is_lost_when_all_happens_at_once, 0, 8);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
