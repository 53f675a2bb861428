/* test_ring_features.c - each combination of what changes how rings work, under traffic, against the
 * strict model: all of it that virtio 1.2 has for a block device's queues. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "model/rig.h"
#include "virtio_blk.h"

#define BIT(n)          (1ULL << (n))
#define NR_QUEUES       3
#define NR_IO           24 /* three times what a ring of 8 has entries, in lists of 3 to 6 */
#define IO_SECTORS      4
#define IO_BYTES        ((size_t)IO_SECTORS * SECTOR_BYTES)
#define AREA_SECTORS    1024 /* a queue's own part of the disk */
#define NR_ROUNDS       4
#define NR_COMBINED     7
#define NR_COMBINATIONS (1 << NR_COMBINED)

static const unsigned combined[NR_COMBINED] = {VIRTIO_F_RING_PACKED, VIRTIO_RING_F_INDIRECT_DESC,
	VIRTIO_RING_F_EVENT_IDX, VIRTIO_F_IN_ORDER, VIRTIO_F_NOTIFICATION_DATA,
	VIRTIO_F_NOTIF_CONFIG_DATA, VIRTIO_F_RING_RESET};

static struct rig r;
static struct lane { /* a queue and what is done on it */
	struct blk_queue *q;
	struct io {
		struct blk_req req; /* first */
		struct iovec iov[4];
	} io[NR_IO];
	struct blk_req flush;
	unsigned nr_done;
	uint8_t *written, *read; /* NR_IO * IO_BYTES each */
	uint64_t base;
} lane[NR_QUEUES];

static void on_done(struct blk_req *req, int err)
{
	(void)req;
	ck_assert_int_eq(err, 0);
}

static uint64_t sector_of(const struct lane *l, unsigned i)
{
	return l->base + (uint64_t)i * (IO_SECTORS + 1);
}

/* In 1 to 4 pieces that do not touch, so that each is a descriptor: the buffer's last come first. */
static void submit(struct lane *l, enum blk_op op, unsigned i, uint8_t *mem)
{
	unsigned nr = 1U << i % 3;
	size_t bytes = IO_BYTES / nr;
	struct io *io = &l->io[i];

	for (unsigned k = 0; k < nr; k++)
		io->iov[k] = (struct iovec){mem + (nr - 1 - k) * bytes, bytes};
	io->req = (struct blk_req){.op = op,
		.sector = sector_of(l, i),
		.nr_sectors = IO_SECTORS,
		.iov = io->iov,
		.nr_iov = (int)nr,
		.done = on_done};
	ck_assert_int_eq(blk_submit(l->q, &io->req), 0);
}

static void submit_all(enum blk_op op)
{
	for (unsigned i = 0; i < NR_IO; i++)
		for (unsigned n = 0; n < NR_QUEUES; n++) {
			struct lane *l = &lane[n];

			submit(l, op, i, (op == BLK_READ ? l->read : l->written) + i * IO_BYTES);
			if (i % 5 == 0)
				blk_kick(l->q);
		}
	for (unsigned n = 0; n < NR_QUEUES; n++)
		blk_kick(lane[n].q);
}

static void submit_flushes(void)
{
	for (unsigned n = 0; n < NR_QUEUES; n++) {
		lane[n].flush = (struct blk_req){.op = BLK_FLUSH, .done = on_done};
		ck_assert_int_eq(blk_submit(lane[n].q, &lane[n].flush), 0);
		blk_kick(lane[n].q);
	}
}

/* Until each lane has NR done. */
static void wait_for_all(unsigned nr)
{
	for (unsigned n = 0; n < NR_QUEUES; n++)
		for (unsigned turns = 0; lane[n].nr_done < nr; turns++) {
			lane[n].nr_done +=
				(unsigned)(r.cfg.when == MODEL_STEPPED ? blk_poll(lane[n].q)
								       : blk_wait(lane[n].q, 5000));
			ck_assert_uint_lt(turns, 1000);
		}
	for (unsigned n = 0; n < NR_QUEUES; n++) {
		ck_assert_uint_eq(lane[n].nr_done, nr);
		lane[n].nr_done = 0;
	}
}

/* Where a queue can be reset: while its requests are under way. */
static void resize(unsigned round)
{
	static const unsigned sizes[] = {8, 32, 0, 16, 4};

	if (r.cfg.features[0] & BIT(VIRTIO_F_RING_RESET))
		ck_assert_int_eq(
			vblk_reset_queue(r.dev, round % NR_QUEUES, sizes[round % 5], false), 0);
}

/* Piece by piece, as submit() has them. */
static void same_on_disk(const struct lane *l, unsigned i, const uint8_t *mem)
{
	unsigned nr = 1U << i % 3;
	size_t bytes = IO_BYTES / nr;
	const uint8_t *disk = model_disk(r.m) + sector_of(l, i) * SECTOR_BYTES;

	for (unsigned k = 0; k < nr; k++)
		ck_assert_mem_eq(disk + k * bytes, mem + (nr - 1 - k) * bytes, bytes);
}

static void write_and_read(unsigned round)
{
	for (unsigned n = 0; n < NR_QUEUES; n++)
		for (size_t i = 0; i < NR_IO * IO_BYTES; i += sizeof(int)) {
			int word = rand();

			memcpy(lane[n].written + i, &word, sizeof(word));
		}
	submit_all(BLK_WRITE);
	resize(round);
	wait_for_all(NR_IO);
	submit_all(BLK_READ);
	submit_flushes();
	wait_for_all(NR_IO + 1);
	for (unsigned n = 0; n < NR_QUEUES; n++)
		for (unsigned i = 0; i < NR_IO; i++) {
			same_on_disk(&lane[n], i, lane[n].written + i * IO_BYTES);
			ck_assert_mem_eq(lane[n].read + i * IO_BYTES,
				lane[n].written + i * IO_BYTES, IO_BYTES);
		}
}

static void zero_and_discard(struct lane *l)
{
	static const uint8_t zeros[IO_BYTES];

	ck_assert_int_eq(blk_do(l->q, BLK_WRITE_ZEROES, sector_of(l, 1), IO_SECTORS, NULL), 0);
	ck_assert_mem_eq(model_disk(r.m) + sector_of(l, 1) * SECTOR_BYTES, zeros, IO_BYTES);
	same_on_disk(l, 2, l->written + 2 * IO_BYTES);
	ck_assert_int_eq(blk_do(l->q, BLK_DISCARD, sector_of(l, 0), IO_SECTORS, NULL), 0);
	same_on_disk(l, 2, l->written + 2 * IO_BYTES);
}

static void open_lanes(void)
{
	for (unsigned n = 0; n < NR_QUEUES; n++) {
		struct lane *l = &lane[n];

		l->q = r.q;
		if (n > 0)
			ck_assert_int_eq(blk_queue_open(r.dev, &l->q), 0);
		l->base = (uint64_t)n * AREA_SECTORS;
		l->written = blk_dma_alloc(r.dev, NR_IO * IO_BYTES);
		l->read = blk_dma_alloc(r.dev, NR_IO * IO_BYTES);
		ck_assert(l->written != NULL && l->read != NULL);
	}
}

static void close_lanes(void)
{
	for (unsigned n = 0; n < NR_QUEUES; n++) {
		if (n > 0)
			blk_queue_close(lane[n].q);
		blk_dma_free(r.dev, lane[n].written, NR_IO * IO_BYTES);
		blk_dma_free(r.dev, lane[n].read, NR_IO * IO_BYTES);
	}
}

static void configure(unsigned combination)
{
	r.cfg.nr_queues = r.cfg.blk.num_queues = NR_QUEUES;
	for (unsigned n = 0; n < NR_QUEUES; n++)
		r.cfg.queue_size[n] = 32;
	r.opts.ring_size = 8;
	r.cfg.odd_notify_data = true;
	for (unsigned i = 0; i < NR_COMBINED; i++) {
		r.cfg.features[0] &= ~BIT(combined[i]);
		if (combination >> i & 1)
			r.cfg.features[0] |= BIT(combined[i]);
	}
	if (!(r.cfg.features[0] & BIT(VIRTIO_F_IN_ORDER)))
		r.cfg.order = MODEL_SHUFFLED;
}

/* SP8, SP9, PK12, PK13, NT2, NT3, VQ1, VQ4: the device serves at once, or bit by bit as it is polled,
 * or by itself, with interrupts */
START_TEST(every_combination_of_ring_features_carries_traffic)
{
	rig_init(&r);
	configure((unsigned)_i);
	r.cfg.when = (enum model_when)(_i % 3);
	r.cfg.run_on_polls = r.cfg.when == MODEL_STEPPED ? 2 : 0;
	r.cfg.seed = (uint64_t)_i;
	srand((unsigned)_i);
	ck_assert_msg(rig_disk(&r) == 0, "%s", r.err);
	for (unsigned i = 0; i < NR_COMBINED; i++)
		ck_assert_int_eq(model_driver_features(r.m) >> combined[i] & 1, _i >> i & 1);
	open_lanes();
	for (unsigned round = 0; round < NR_ROUNDS; round++) {
		write_and_read(round);
		for (unsigned n = 0; n < NR_QUEUES; n++)
			zero_and_discard(&lane[n]);
	}
	close_lanes();
	rig_end(&r);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ring_features");
	TCase *tc = tcase_create("combinations");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(
		tc, every_combination_of_ring_features_carries_traffic, 0, NR_COMBINATIONS);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
