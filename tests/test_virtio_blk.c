/* test_virtio_blk.c - the block driver, behind blockdev.h, against the strict model. Row ids are
 * those of the virtio checklist. */
#include <check.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "log.h"
#include "model/rig.h"
#include "until.h"
#include "vblk.h"
#include "virtio_blk.h"

#define BIT(n)   (1ULL << (n))
#define NOT_QEMU 0x1234 /* a subsystem vendor */

static struct rig r;

struct io {                 /* a request of a test */
	struct blk_req req; /* first */
	struct iovec iov[8];
	unsigned calls;
	int err;
};

/* What the driver logged, a line each. */
static struct {
	pthread_mutex_t lock;
	char text[1 << 20];
	size_t bytes;
} driver_log = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void take_log(int priority, const char *line)
{
	(void)priority;
	pthread_mutex_lock(&driver_log.lock);
	driver_log.bytes += (size_t)snprintf(driver_log.text + driver_log.bytes,
		sizeof(driver_log.text) - driver_log.bytes, "%s\n", line);
	ck_assert_uint_lt(driver_log.bytes, sizeof(driver_log.text));
	pthread_mutex_unlock(&driver_log.lock);
}

static bool log_says(const char *words)
{
	bool found;

	pthread_mutex_lock(&driver_log.lock);
	found = strstr(driver_log.text, words) != NULL;
	pthread_mutex_unlock(&driver_log.lock);
	return found;
}

/* Once it is true: what another thread is about to say. */
static void wait_until_log_says(const char *words)
{
	wait_until(log_says(words));
}

static void setup(void)
{
	log_to(take_log);
	rig_init(&r);
}

static void setup_packed(void)
{
	setup();
	r.cfg.features[0] |= BIT(VIRTIO_F_RING_PACKED);
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

static void open_disk(void)
{
	ck_assert_msg(rig_disk(&r) == 0, "%s", r.err);
}

static void is_refused(int err, const char *word)
{
	ck_assert_int_eq(rig_disk(&r), err);
	ck_assert_msg(strstr(r.err, word) != NULL, "'%s' does not say '%s'", r.err, word);
	ck_assert_ptr_null(strchr(r.err, '\n'));
	ck_assert_uint_eq(model_dma_live(r.m), 0);
}

static struct vblk_watch *watch(void)
{
	return &((struct vblk *)r.dev)->watch;
}

/* A tick of the watch, here and now: time passes by these alone. */
static void watch_by_hand(int tick_ms)
{
	watch()->tick_ms = tick_ms;
	watch()->stall_ticks = UINT_MAX;
}

static void tick(void)
{
	vblk_watch_tick((struct vblk *)r.dev);
}

static struct blk_info info(void)
{
	struct blk_info i;

	blk_get_info(r.dev, &i);
	return i;
}

static uint8_t *dma(size_t bytes)
{
	uint8_t *p = blk_dma_alloc(r.dev, bytes);

	ck_assert_ptr_nonnull(p);
	return p;
}

static void fill(uint8_t *p, size_t bytes, uint64_t seed)
{
	for (size_t i = 0; i < bytes; i++)
		p[i] = (uint8_t)((i + seed) * 0x9e3779b97f4a7c15 >> 56);
}

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

static int submit(struct io *io)
{
	return blk_submit(r.q, &io->req);
}

static int reads(uint64_t sector, uint32_t nr_sectors, void *buf)
{
	return blk_do(r.q, BLK_READ, sector, nr_sectors, buf);
}

static int writes(uint64_t sector, uint32_t nr_sectors, void *buf)
{
	return blk_do(r.q, BLK_WRITE, sector, nr_sectors, buf);
}

static unsigned done_of_type(uint32_t type)
{
	unsigned n = 0;

	for (size_t i = 0; i < model_nr_done(r.m); i++)
		n += model_done(r.m, i).type == type;
	return n;
}

static void disk_works(void)
{
	uint8_t *buf = dma(65536);

	fill(buf, 65536, 1);
	ck_assert_int_eq(writes(64, 128, buf), 0);
	ck_assert_mem_eq(model_disk(r.m) + 64 * 512, buf, 65536);
	memset(buf, 0, 65536);
	ck_assert_int_eq(reads(64, 128, buf), 0);
	ck_assert_mem_eq(model_disk(r.m) + 64 * 512, buf, 65536);
	ck_assert_int_eq(blk_do(r.q, BLK_FLUSH, 0, 0, NULL), 0);
	blk_dma_free(r.dev, buf, 65536);
}

/* Configuration */

START_TEST(disk_says_what_the_device_is)
{
	struct blk_info i;
	char text[80];

	open_disk();
	i = info();
	ck_assert_uint_eq(i.nr_sectors, r.cfg.blk.capacity);
	ck_assert_uint_eq(i.logical_bytes, 512);
	ck_assert_uint_eq(i.physical_bytes, 4096);
	ck_assert_uint_eq(i.nr_rings, 1);
	ck_assert(!i.read_only);
	ck_assert(i.volatile_cache);
	ck_assert(i.can_discard);
	ck_assert(i.can_write_zeroes);
	ck_assert_str_eq(i.serial, "MODEL-0001");
	ck_assert_str_eq(i.name, "model");
	ck_assert_int_gt(vblk_attribute(r.dev, "status", text, sizeof(text)), 0);
	ck_assert_str_eq(text, "0x0000000f");
	ck_assert_int_eq(vblk_attribute(r.dev, "features", text, sizeof(text)), 64);
	ck_assert_int_eq(text[VIRTIO_F_VERSION_1], '1');
	ck_assert_int_eq(vblk_attribute(r.dev, "none", text, sizeof(text)), -ENOENT);
	disk_works();
}
END_TEST

START_TEST(device_is_described_for_people)
{
	static struct vblk_detail d;

	r.cfg.features[0] |= BIT(VIRTIO_BLK_F_SIZE_MAX);
	r.cfg.blk.size_max = 65536;
	open_disk();
	ck_assert_int_eq(vblk_describe(r.dev, &d), 0);
	ck_assert_str_eq(d.transport, "virtio-pci, modern");
	ck_assert_uint_eq(d.status, 0xf);
	ck_assert_uint_eq(d.offered, r.cfg.features[0]);
	ck_assert_uint_eq(d.features, model_driver_features(r.m));
	ck_assert_uint_eq(d.size_max, 65536);
	ck_assert_uint_eq(d.seg_max, r.cfg.blk.seg_max);
	ck_assert_uint_eq(d.discard_sectors, r.cfg.blk.discard_sectors);
	ck_assert_uint_eq(d.physical_exp, 3);
	ck_assert_uint_eq(d.nr_rings, 1);
	ck_assert_str_eq(d.ring[0].name, "req.0");
	ck_assert_uint_eq(d.ring[0].size, 256);
	ck_assert_uint_eq(d.ring[0].nr_handles, 1);
	ck_assert_uint_eq(d.nr_regions, 4);
	ck_assert_str_eq(d.region[0].name, "common");
	ck_assert_str_eq(virtio_blk_feature_name(VIRTIO_BLK_F_DISCARD), "DISCARD");
	ck_assert_ptr_null(virtio_blk_feature_name(63));
	model_remove(r.m);
	ck_assert_int_eq(blk_do(r.q, BLK_FLUSH, 0, 0, NULL), -ENODEV);
	ck_assert_int_eq(vblk_describe(r.dev, &d), 0); /* what is known without it */
	ck_assert_uint_eq(d.seg_max, 0);
}
END_TEST

START_TEST(legacy_disk_is_described_as_one) /* LG3: ring_size does not apply */
{
	static struct vblk_detail d;

	r.opts.ring_size = 16;
	r.cfg.features[0] |= BIT(VIRTIO_F_ANY_LAYOUT); /* LG5 */
	open_disk();
	ck_assert_int_eq(vblk_describe(r.dev, &d), 0);
	ck_assert_str_eq(d.transport, "virtio-pci, legacy");
	ck_assert_uint_eq(d.status, 0x7);
	ck_assert_uint_eq(d.offered, r.cfg.features[0]);
	ck_assert_uint_eq(d.features, model_driver_features(r.m));
	ck_assert_uint_eq(d.ring[0].size, 256);
	ck_assert(log_says("256 entries"));
	ck_assert_uint_eq(d.nr_regions, 2);
	ck_assert_str_eq(d.region[0].name, "legacy");
	disk_works();
}
END_TEST

START_TEST(positions_are_sectors_of_512_whatever_the_block) /* BI1 */
{
	uint8_t *buf;

	r.cfg.blk.blk_size = 4096;
	r.cfg.blk.capacity = 16384 + 5; /* the last block is no whole one */
	open_disk();
	ck_assert_uint_eq(info().nr_sectors, 16384);
	ck_assert_uint_eq(info().logical_bytes, 4096);
	ck_assert_uint_eq(info().physical_bytes, 32768);
	buf = dma(8192);
	fill(buf, 8192, 2);
	ck_assert_int_eq(writes(16, 16, buf), 0);
	ck_assert_mem_eq(model_disk(r.m) + 16 * 512, buf, 8192);
	ck_assert_int_eq(writes(17, 8, buf), -EINVAL);
	ck_assert_int_eq(writes(16, 9, buf), -EINVAL);
	blk_dma_free(r.dev, buf, 8192);
}
END_TEST

/* CF2, CF4, FE2, BI3: each bit masked; the model checks */
START_TEST(fields_are_read_only_where_their_feature_is_offered)
{
	r.cfg.features[0] |= BIT(VIRTIO_BLK_F_SIZE_MAX);
	r.cfg.blk.size_max = 65536;
	r.cfg.features[0] &= ~BIT(_i);
	if (_i == VIRTIO_F_VERSION_1) {
		is_refused(-EPROTO, "VERSION_1");
		return;
	}
	open_disk();
	disk_works();
}
END_TEST

START_TEST(unknown_block_features_are_not_accepted) /* FE1, FE4, BI2: all 128 offered */
{
	r.cfg.features[0] = r.cfg.features[1] = ~0ULL;
	r.cfg.features[0] &= ~BIT(VIRTIO_BLK_F_RO);
	r.cfg.blk.size_max = 4096;
	open_disk();
	disk_works();
	ck_assert(!(model_driver_features(r.m) >> VIRTIO_BLK_F_ZONED & 1));
	ck_assert(!(model_driver_features(r.m) >> 3 & 1)); /* a bit that nobody knows */
}
END_TEST

START_TEST(configuration_of_any_length_is_used_as_far_as_it_goes) /* CF3, PC6 */
{
	static const uint32_t lengths[] = {4096, 96, 72, 60, 36, 24, 8};

	r.cfg.features[0] |= BIT(VIRTIO_BLK_F_SECURE_ERASE);
	r.cfg.caps[2].length = lengths[_i];
	open_disk();
	ck_assert(info().can_secure_erase == (lengths[_i] >= 72));
	ck_assert_uint_eq(info().nr_sectors, r.cfg.blk.capacity);
	disk_works();
}
END_TEST

START_TEST(configuration_too_short_for_a_capacity_is_refused) /* PC6 */
{
	r.cfg.caps[2].length = 7;
	is_refused(-EOPNOTSUPP, "virtio 1");
}
END_TEST

static unsigned config_reads;

static void resize_between_halves(struct model *m, uint32_t off, void *arg)
{
	(void)arg;
	if (off == 0 && config_reads++ == 0)
		model_set_capacity(m, 0xffffffff, false);
}

START_TEST(capacity_that_changes_between_its_halves_is_read_again) /* CF1 */
{
	config_reads = 0;
	r.cfg.blk.capacity = 0x100000000;
	r.cfg.on_config_read = resize_between_halves;
	open_disk();
	ck_assert_uint_eq(info().nr_sectors, 0xffffffff);
}
END_TEST

static void resize_always(struct model *m, uint32_t off, void *arg)
{
	(void)arg;
	if (off == 0)
		model_set_capacity(m, 16384 + ++config_reads, false);
}

START_TEST(configuration_that_never_stands_still_is_refused) /* CF1: no endless loop */
{
	r.cfg.on_config_read = resize_always;
	is_refused(-EPROTO, "never stands still");
}
END_TEST

START_TEST(configuration_that_makes_no_sense_is_refused)
{
	switch (_i) {
	case 0:
		r.cfg.blk.blk_size = 0;
		break;
	case 1:
		r.cfg.blk.blk_size = 256;
		break;
	case 2:
		r.cfg.blk.blk_size = 1000;
		break;
	case 3:
		r.cfg.blk.num_queues = 0; /* BI5 */
		break;
	default: /* not even a block fits into one request */
		r.cfg.features[0] |= BIT(VIRTIO_BLK_F_SIZE_MAX);
		r.cfg.blk.size_max = 100;
		r.cfg.blk.seg_max = 5;
	}
	is_refused(-EPROTO, "");
}
END_TEST

START_TEST(blocks_larger_than_4096_are_not_supported)
{
	r.cfg.blk.blk_size = 8192;
	is_refused(-EOPNOTSUPP, "8192");
}
END_TEST

START_TEST(serial_of_20_bytes_needs_no_nul) /* BO10 */
{
	memcpy(r.cfg.blk.serial, "ABCDEFGHIJKLMNOPQRST", 20);
	open_disk();
	ck_assert_str_eq(info().serial, "ABCDEFGHIJKLMNOPQRST");
}
END_TEST

START_TEST(serial_is_safe_to_print)
{
	memcpy(r.cfg.blk.serial, "a\033[2Jb\n", 8);
	open_disk();
	ck_assert_str_eq(info().serial, "a?[2Jb?");
}
END_TEST

START_TEST(zoned_disk_is_used_only_where_it_can_be_written_at_random)
{
	static const int expect[] = {[VIRTIO_BLK_Z_NONE] = 0,
		[VIRTIO_BLK_Z_HM] = -EOPNOTSUPP,
		[VIRTIO_BLK_Z_HA] = 0,
		[3] = -EOPNOTSUPP};

	r.cfg.features[0] |= BIT(VIRTIO_BLK_F_ZONED);
	r.cfg.blk.zoned_model = (uint8_t)_i;
	if (expect[_i] < 0) {
		is_refused(expect[_i], _i == VIRTIO_BLK_Z_HM ? "host-managed zoned" : "zoned");
		return;
	}
	open_disk();
	ck_assert(!(model_driver_features(r.m) >> VIRTIO_BLK_F_ZONED & 1));
	disk_works();
}
END_TEST

START_TEST(zoned_disk_that_does_not_say_how_is_refused) /* CF3 */
{
	r.cfg.features[0] |= BIT(VIRTIO_BLK_F_ZONED);
	r.cfg.caps[2].length = offsetof(struct virtio_blk_config, zoned_model);
	is_refused(-EPROTO, "zoned");
}
END_TEST

START_TEST(lifetime_is_asked_for_where_it_is_offered) /* BO11 */
{
	static struct vblk_detail d;

	if (_i)
		r.cfg.features[0] |= BIT(VIRTIO_BLK_F_LIFETIME);
	r.cfg.blk.pre_eol = 2;
	r.cfg.blk.typ_a = 0x1234; /* reserved, and handed on as it is */
	r.cfg.blk.typ_b = 11;
	open_disk();
	ck_assert_int_eq(vblk_describe(r.dev, &d), 0);
	ck_assert_uint_eq(done_of_type(VIRTIO_BLK_T_GET_LIFETIME), (unsigned)_i);
	ck_assert(d.lifetime.known == (_i == 1));
	ck_assert_uint_eq(d.lifetime.pre_eol, _i ? 2 : 0);
	ck_assert_uint_eq(d.lifetime.typ_a, _i ? 0x1234 : 0);
	ck_assert_uint_eq(d.lifetime.typ_b, _i ? 11 : 0);
	disk_works();
}
END_TEST

static void no_lifetime(struct model_req *req, void *arg)
{
	(void)arg;
	if (req->type == VIRTIO_BLK_T_GET_LIFETIME)
		req->status = VIRTIO_BLK_S_IOERR;
}

START_TEST(device_that_does_not_know_its_lifetime_works) /* BO11 */
{
	static struct vblk_detail d;

	r.cfg.features[0] |= BIT(VIRTIO_BLK_F_LIFETIME);
	r.cfg.on_complete = no_lifetime;
	open_disk();
	ck_assert_int_eq(vblk_describe(r.dev, &d), 0);
	ck_assert(!d.lifetime.known);
	disk_works();
}
END_TEST

static void no_id(struct model_req *req, void *arg)
{
	(void)arg;
	if (req->type == VIRTIO_BLK_T_GET_ID)
		req->status = VIRTIO_BLK_S_UNSUPP;
}

START_TEST(device_without_a_serial_works) /* BO10 */
{
	r.cfg.on_complete = no_id;
	open_disk();
	ck_assert_str_eq(info().serial, "");
	disk_works();
}
END_TEST

START_TEST(queues_are_as_many_as_device_and_options_allow) /* BI5 */
{
	static const struct {
		bool mq;
		uint16_t config, transport;
		uint32_t max_rings, expect;
	} how[] = {{false, 4, 4, 0, 1}, {true, 4, 4, 0, 4}, {true, 4, 4, 2, 2}, {true, 8, 4, 0, 4},
		{true, 1, 4, 3, 1}};

	if (!how[_i].mq)
		r.cfg.features[0] &= ~BIT(VIRTIO_BLK_F_MQ);
	r.cfg.blk.num_queues = how[_i].config;
	r.cfg.nr_queues = how[_i].transport;
	for (unsigned i = 0; i < 4; i++)
		r.cfg.queue_size[i] = 64;
	r.opts.max_rings = how[_i].max_rings;
	open_disk();
	ck_assert_uint_eq(info().nr_rings, how[_i].expect);
	disk_works();
}
END_TEST

/* Transfers */

/* BI6, SP6: the model checks every segment */
START_TEST(transfers_are_split_by_size_max_and_seg_max)
{
	static const struct {
		uint32_t size_max, seg_max;
		uint16_t ring;
		bool indirect;
	} how[] = {{512, 1, 64, true}, {512, 2, 64, true}, {4096, 1, 64, true}, {1000, 3, 64, true},
		{65536, 126, 128, true}, {0, 0, 64, true}, {0, 4, 8, true}, {700, 200, 256, true},
		{4096, 254, 4, true}, {4096, 254, 4, false}, {0, 254, 256, false}};
	const uint32_t bytes = 3U << 20; /* crosses hugepages */
	uint8_t *buf;

	r.cfg.features[0] |= BIT(VIRTIO_BLK_F_SIZE_MAX);
	if (!how[_i].indirect)
		r.cfg.features[0] &= ~BIT(VIRTIO_RING_F_INDIRECT_DESC);
	r.cfg.blk.size_max = how[_i].size_max;
	r.cfg.blk.seg_max = how[_i].seg_max;
	r.cfg.queue_size[0] = how[_i].ring;
	open_disk();
	buf = dma(bytes);
	fill(buf, bytes, 3);
	ck_assert_int_eq(writes(7, bytes / 512, buf), 0);
	ck_assert_mem_eq(model_disk(r.m) + 7 * 512, buf, bytes);
	memset(buf, 0, bytes);
	ck_assert_int_eq(reads(7, bytes / 512, buf), 0);
	ck_assert_mem_eq(model_disk(r.m) + 7 * 512, buf, bytes);
	blk_dma_free(r.dev, buf, bytes);
}
END_TEST

START_TEST(memory_in_pieces_of_any_size_is_gathered) /* BO3, BO6 */
{
	static const size_t sizes[] = {100, 412, 1, 511, 4096, 1000, 24, 2048};
	size_t at = 0, total = 0;
	struct io io;
	uint8_t *buf;

	r.cfg.blk.seg_max = (uint32_t)(2 + _i);
	open_disk();
	buf = dma(65536);
	fill(buf, 65536, 4);
	io_init(&io, BLK_WRITE, 40, 0, NULL);
	for (int i = 0; i < 8; i++) {
		io.iov[i] = (struct iovec){buf + at, sizes[i]};
		total += sizes[i];
		at += sizes[i] + 64; /* not adjacent */
	}
	ck_assert_uint_eq(total % 512, 0);
	io.req.nr_iov = 8;
	io.req.nr_sectors = (uint32_t)(total / 512);
	ck_assert_int_eq(submit(&io), 0);
	while (io.calls == 0)
		(void)blk_wait(r.q, -1);
	ck_assert_int_eq(io.err, 0);
	at = 0;
	for (int i = 0; i < 8; i++) {
		ck_assert_mem_eq(model_disk(r.m) + 40 * 512 + at, io.iov[i].iov_base, sizes[i]);
		at += sizes[i];
	}
	blk_dma_free(r.dev, buf, 65536);
}
END_TEST

START_TEST(adjacent_memory_is_one_descriptor) /* SP4 */
{
	struct io io;
	uint8_t *buf;

	open_disk();
	buf = dma(1 << 20);
	io_init(&io, BLK_WRITE, 0, (1 << 20) / 512, buf);
	for (int i = 0; i < 8; i++)
		io.iov[i] = (struct iovec){buf + i * (1 << 17), 1 << 17};
	io.req.nr_iov = 8;
	ck_assert_int_eq(submit(&io), 0);
	while (io.calls == 0)
		(void)blk_wait(r.q, -1);
	ck_assert_int_eq(io.err, 0);
	ck_assert_uint_eq(model_done(r.m, model_nr_done(r.m) - 1).nr_desc, 3);
	blk_dma_free(r.dev, buf, 1 << 20);
}
END_TEST

START_TEST(memory_that_is_no_dma_memory_is_an_error) /* VIRTIO.md trap 20 */
{
	uint8_t *heap;
	struct io io;

	open_disk();
	heap = calloc(1, 512);
	io_init(&io, BLK_READ, 0, 1, heap);
	ck_assert_int_eq(submit(&io), 0);
	while (io.calls == 0)
		(void)blk_wait(r.q, -1);
	ck_assert_int_lt(io.err, 0);
	disk_works();
	free(heap);
}
END_TEST

START_TEST(less_memory_than_sectors_is_an_error)
{
	struct io io;
	uint8_t *buf;

	open_disk();
	buf = dma(4096);
	io_init(&io, BLK_READ, 0, 8, buf);
	io.iov[0].iov_len = 2048;
	ck_assert_int_eq(submit(&io), 0);
	while (io.calls == 0)
		(void)blk_wait(r.q, -1);
	ck_assert_int_eq(io.err, -EINVAL);
	blk_dma_free(r.dev, buf, 4096);
}
END_TEST

START_TEST(nothing_goes_past_the_end) /* BO1: and the device never hears of it */
{
	uint8_t *buf;
	size_t before;

	open_disk();
	buf = dma(4096);
	before = model_nr_done(r.m);
	ck_assert_int_eq(reads(r.cfg.blk.capacity - 7, 8, buf), -EINVAL);
	ck_assert_int_eq(writes(r.cfg.blk.capacity, 1, buf), -EINVAL);
	ck_assert_int_eq(writes(UINT64_MAX, 8, buf), -EINVAL);
	ck_assert_int_eq(blk_do(r.q, BLK_DISCARD, r.cfg.blk.capacity - 1, 2, NULL), -EINVAL);
	ck_assert_int_eq(blk_do(r.q, BLK_WRITE_ZEROES, r.cfg.blk.capacity - 1, 2, NULL), -EINVAL);
	ck_assert_uint_eq(model_nr_done(r.m), before);
	ck_assert_int_eq(reads(r.cfg.blk.capacity - 8, 8, buf), 0);
	blk_dma_free(r.dev, buf, 4096);
}
END_TEST

#ifndef __SANITIZE_THREAD__
START_TEST(sector_numbers_have_64_bits)
{
	const uint64_t far = (1ULL << 33) - 16;
	uint8_t *buf;

	r.cfg.blk.capacity = 1ULL << 33;
	open_disk();
	buf = dma(4096);
	fill(buf, 4096, 5);
	ck_assert_int_eq(writes(far, 8, buf), 0);
	ck_assert_mem_eq(model_disk(r.m) + far * 512, buf, 4096);
	blk_dma_free(r.dev, buf, 4096);
}
END_TEST
#endif

START_TEST(read_only_disk_refuses_writes_by_itself) /* BO2 */
{
	uint8_t *buf;
	size_t before;

	if (_i == 0)
		r.cfg.features[0] |= BIT(VIRTIO_BLK_F_RO);
	else
		r.opts.read_only = true;
	open_disk();
	ck_assert(info().read_only);
	buf = dma(512);
	before = model_nr_done(r.m);
	ck_assert_int_eq(writes(0, 1, buf), -EROFS);
	ck_assert_int_eq(blk_do(r.q, BLK_DISCARD, 0, 8, NULL), -EROFS);
	ck_assert_int_eq(blk_do(r.q, BLK_WRITE_ZEROES, 0, 8, NULL), -EROFS);
	ck_assert_uint_eq(model_nr_done(r.m), before);
	ck_assert_int_eq(reads(0, 1, buf), 0);
	ck_assert_int_eq(blk_do(r.q, BLK_FLUSH, 0, 0, NULL), 0);
	if (_i == 0)
		ck_assert(model_driver_features(r.m) >> VIRTIO_BLK_F_RO & 1);
	blk_dma_free(r.dev, buf, 512);
}
END_TEST

/* Flush, discard, write zeroes */

START_TEST(flush_is_sent_where_there_is_a_volatile_cache) /* BI4, BO4, BO5 */
{
	static const struct {
		bool flush, wce;
		uint8_t writeback;
		bool expect;
	} how[] = {{true, true, 1, true}, {true, true, 0, false}, {true, false, 0, true},
		{false, false, 1, false}, {false, true, 1, false}};

	if (!how[_i].flush)
		r.cfg.features[0] &= ~BIT(VIRTIO_BLK_F_FLUSH);
	if (!how[_i].wce)
		r.cfg.features[0] &= ~BIT(VIRTIO_BLK_F_CONFIG_WCE);
	r.cfg.blk.writeback = how[_i].writeback;
	open_disk();
	ck_assert_int_eq(info().volatile_cache, how[_i].expect);
	disk_works();
	ck_assert_uint_eq(done_of_type(VIRTIO_BLK_T_FLUSH), how[_i].expect);
}
END_TEST

static void cut_power_and_reopen(void)
{
	rig_disk_close(&r);
	model_power_cut(r.m);
	open_disk();
}

START_TEST(what_was_written_before_a_flush_survives_a_power_cut) /* BO15 */
{
	uint8_t *buf;

	r.cfg.seed = 7;
	open_disk();
	model_lose_all_on_cut(r.m, true);
	buf = dma(4096);
	memset(buf, 0xa1, 4096);
	ck_assert_int_eq(writes(0, 8, buf), 0);
	ck_assert_int_eq(blk_do(r.q, BLK_FLUSH, 0, 0, NULL), 0);
	memset(buf, 0xa2, 4096);
	ck_assert_int_eq(writes(8, 8, buf), 0); /* not flushed: lost */
	blk_dma_free(r.dev, buf, 4096);
	cut_power_and_reopen();
	buf = dma(8192);
	ck_assert_int_eq(reads(0, 16, buf), 0);
	ck_assert_uint_eq(buf[0], 0xa1);
	ck_assert_uint_eq(buf[4095], 0xa1);
	ck_assert_uint_eq(buf[4096], 0);
	blk_dma_free(r.dev, buf, 8192);
}
END_TEST

START_TEST(without_a_volatile_cache_a_write_is_durable) /* BI4, BO15 */
{
	uint8_t *buf;

	r.cfg.blk.writeback = 0;
	open_disk();
	model_lose_all_on_cut(r.m, true);
	buf = dma(4096);
	memset(buf, 0xa3, 4096);
	ck_assert_int_eq(writes(0, 8, buf), 0);
	ck_assert_int_eq(blk_do(r.q, BLK_FLUSH, 0, 0, NULL), 0);
	blk_dma_free(r.dev, buf, 4096);
	cut_power_and_reopen();
	buf = dma(4096);
	ck_assert_int_eq(reads(0, 8, buf), 0);
	ck_assert_uint_eq(buf[4095], 0xa3);
	blk_dma_free(r.dev, buf, 4096);
}
END_TEST

/* BO16: and what was in the cache before is not left there */
START_TEST(cache_is_switched_off_and_flushed_once)
{
	uint8_t *buf;

	r.opts.write_through = true;
	open_disk();
	ck_assert(!info().volatile_cache);
	ck_assert_uint_eq(done_of_type(VIRTIO_BLK_T_FLUSH), 1);
	buf = dma(4096);
	fill(buf, 4096, 11);
	ck_assert_int_eq(writes(0, 8, buf), 0);
	ck_assert_int_eq(blk_do(r.q, BLK_FLUSH, 0, 0, NULL), 0);
	ck_assert_uint_eq(done_of_type(VIRTIO_BLK_T_FLUSH), 1);
	model_lose_all_on_cut(r.m, true);
	blk_dma_free(r.dev, buf, 4096);
	rig_disk_close(&r);
	model_power_cut(r.m);
	ck_assert_uint_eq(model_disk(r.m)[0], (uint8_t)((0 + 11) * 0x9e3779b97f4a7c15 >> 56));
}
END_TEST

START_TEST(cache_that_can_not_be_switched_off_is_said) /* BO16, FE2 */
{
	r.opts.write_through = true;
	r.cfg.features[0] &= ~BIT(VIRTIO_BLK_F_CONFIG_WCE);
	if (_i) {
		is_refused(-EOPNOTSUPP, "can't be switched off");
	} else { /* there is none */
		r.cfg.features[0] &= ~BIT(VIRTIO_BLK_F_FLUSH);
		open_disk();
		disk_works();
	}
}
END_TEST

START_TEST(write_zeroes_reads_as_zeros) /* BO4, BO7, BO9, BO14 */
{
	r.cfg.blk.zeroes_may_unmap = (uint8_t)_i;
	open_disk();
	memset(model_disk(r.m), 0xee, 64 * 512);
	ck_assert_int_eq(blk_do(r.q, BLK_WRITE_ZEROES, 8, 16, NULL), 0);
	ck_assert_uint_eq(model_disk(r.m)[8 * 512 - 1], 0xee);
	ck_assert_uint_eq(model_disk(r.m)[8 * 512], 0);
	ck_assert_uint_eq(model_disk(r.m)[24 * 512 - 1], 0);
	ck_assert_uint_eq(model_disk(r.m)[24 * 512], 0xee);
	ck_assert_uint_eq(model_done(r.m, model_nr_done(r.m) - 1).range_flags, (unsigned)_i);
}
END_TEST

START_TEST(ranges_are_split_by_their_limit_and_alignment) /* BO7, BO8, BO9 */
{
	static const enum blk_op ops[] = {BLK_WRITE_ZEROES, BLK_DISCARD, BLK_SECURE_ERASE};
	uint64_t next = 3;
	size_t first;

	r.cfg.features[0] |= BIT(VIRTIO_BLK_F_SECURE_ERASE);
	r.cfg.blk.discard_sectors = r.cfg.blk.erase_sectors = 100;
	r.cfg.blk.discard_align = r.cfg.blk.erase_align = 32;
	r.cfg.blk.zeroes_sectors = 64;
	open_disk();
	first = model_nr_done(r.m);
	ck_assert_int_eq(blk_do(r.q, ops[_i], 3, 1000, NULL), 0);
	ck_assert_uint_gt(model_nr_done(r.m), first + 9);
	for (size_t i = first; i < model_nr_done(r.m); i++) {
		const struct model_req done = model_done(r.m, i), *req = &done;

		ck_assert_uint_eq(req->range_sector, next);
		next += req->range_sectors;
		if (_i && i > first)
			ck_assert_uint_eq(req->range_sector % 32, 0);
	}
	ck_assert_uint_eq(next, 1003);
}
END_TEST

/* BO7, BO8: the device's wish for where parts end is no reason to break its blocks. */
START_TEST(alignment_that_breaks_blocks_is_not_followed)
{
	bool erase = _i == 1;

	r.cfg.features[0] |= BIT(VIRTIO_BLK_F_SECURE_ERASE);
	r.cfg.blk.blk_size = 4096;
	r.cfg.blk.discard_sectors = r.cfg.blk.erase_sectors = 32;
	r.cfg.blk.discard_align = r.cfg.blk.erase_align = 3;
	open_disk();
	ck_assert_int_eq(blk_do(r.q, erase ? BLK_SECURE_ERASE : BLK_DISCARD, 8, 128, NULL), 0);
	for (size_t i = 0; i < model_nr_done(r.m); i++)
		ck_assert_uint_eq(model_done(r.m, i).range_sectors % 8, 0);
}
END_TEST

START_TEST(limits_of_zero_mean_none) /* VIRTIO.md trap 28 */
{
	r.cfg.blk.discard_sectors = r.cfg.blk.discard_seg = r.cfg.blk.discard_align = 0;
	r.cfg.blk.zeroes_sectors = r.cfg.blk.zeroes_seg = 0;
	r.cfg.blk.seg_max = 0;
	r.cfg.features[0] |= BIT(VIRTIO_BLK_F_SIZE_MAX);
	r.cfg.blk.size_max = 0;
	open_disk();
	ck_assert_int_eq(blk_do(r.q, BLK_DISCARD, 0, 16384, NULL), 0);
	ck_assert_int_eq(blk_do(r.q, BLK_WRITE_ZEROES, 0, 16384, NULL), 0);
	disk_works();
}
END_TEST

START_TEST(secure_erase_is_sent_as_such) /* BO4, BO7, BO9 */
{
	r.cfg.features[0] |= BIT(VIRTIO_BLK_F_SECURE_ERASE);
	r.cfg.features[0] &= ~BIT(VIRTIO_BLK_F_DISCARD); /* of no use for it */
	open_disk();
	ck_assert(info().can_secure_erase);
	memset(model_disk(r.m), 0x11, 64 * 512);
	ck_assert_int_eq(blk_do(r.q, BLK_SECURE_ERASE, 8, 16, NULL), 0);
	ck_assert_uint_eq(done_of_type(VIRTIO_BLK_T_SECURE_ERASE), 1);
	ck_assert_uint_eq(model_disk(r.m)[8 * 512 - 1], 0x11);
	ck_assert_uint_eq(model_disk(r.m)[8 * 512], 0xee);
	ck_assert_uint_eq(model_disk(r.m)[24 * 512 - 1], 0xee);
	ck_assert_uint_eq(model_disk(r.m)[24 * 512], 0x11);
	ck_assert_uint_eq(model_done(r.m, model_nr_done(r.m) - 1).range_flags, 0);
}
END_TEST

START_TEST(secure_erase_without_limits_is_refused) /* VIRTIO.md trap 28 */
{
	uint32_t *limits[] = {
		&r.cfg.blk.erase_sectors, &r.cfg.blk.erase_seg, &r.cfg.blk.erase_align};

	r.cfg.features[0] |= BIT(VIRTIO_BLK_F_SECURE_ERASE);
	*limits[_i] = 0;
	open_disk();
	ck_assert(!info().can_secure_erase);
	ck_assert(!(model_driver_features(r.m) >> VIRTIO_BLK_F_SECURE_ERASE & 1));
	ck_assert_int_eq(blk_do(r.q, BLK_SECURE_ERASE, 0, 8, NULL), -EOPNOTSUPP);
	disk_works();
}
END_TEST

START_TEST(what_the_device_lacks_is_not_supported) /* FE2 */
{
	r.cfg.features[0] &= ~(BIT(VIRTIO_BLK_F_DISCARD) | BIT(VIRTIO_BLK_F_WRITE_ZEROES));
	open_disk();
	ck_assert(!info().can_discard);
	ck_assert(!info().can_write_zeroes);
	ck_assert_int_eq(blk_do(r.q, BLK_DISCARD, 0, 8, NULL), -EOPNOTSUPP);
	ck_assert_int_eq(blk_do(r.q, BLK_WRITE_ZEROES, 0, 8, NULL), -EOPNOTSUPP);
	ck_assert_int_eq(blk_do(r.q, BLK_SECURE_ERASE, 0, 8, NULL), -EOPNOTSUPP);
}
END_TEST

/* Results */

static int forced_status; /* -1: leave it unwritten */

static void force_status(struct model_req *req, void *arg)
{
	(void)arg;
	if (req->type == VIRTIO_BLK_T_GET_ID)
		return;
	if (forced_status < 0)
		req->leave_status = true;
	else
		req->status = (uint8_t)forced_status;
}

START_TEST(status_byte_alone_decides) /* BO12: all 256 values, and none */
{
	r.cfg.on_complete = force_status;
	open_disk();
	for (forced_status = -1; forced_status < 256; forced_status++) {
		int err = blk_do(r.q, forced_status % 2 ? BLK_FLUSH : BLK_WRITE_ZEROES, 0, 8, NULL);

		if (forced_status == VIRTIO_BLK_S_OK)
			ck_assert_int_eq(err, 0);
		else if (forced_status == VIRTIO_BLK_S_UNSUPP)
			ck_assert_int_eq(err, -EOPNOTSUPP);
		else
			ck_assert_int_eq(err, -EIO);
	}
}
END_TEST

static void any_len(struct model_req *req, void *arg)
{
	static const uint32_t lens[] = {0, 1, 100};

	(void)arg;
	if (req->type == VIRTIO_BLK_T_IN)
		req->used_len = lens[req->sector % 3];
}

START_TEST(used_length_says_nothing) /* SP12 */
{
	uint8_t *buf;

	r.cfg.on_complete = any_len;
	open_disk();
	memset(model_disk(r.m), 0x77, 16 * 512);
	buf = dma(512);
	for (unsigned i = 0; i < 3; i++) {
		memset(buf, 0, 512);
		ck_assert_int_eq(reads(i, 1, buf), 0);
		ck_assert_uint_eq(buf[511], 0x77);
	}
	blk_dma_free(r.dev, buf, 512);
}
END_TEST

static void fail_third_part(struct model_req *req, void *arg)
{
	unsigned *parts = arg;

	if (req->type == VIRTIO_BLK_T_DISCARD && ++*parts == 3)
		req->status = VIRTIO_BLK_S_IOERR;
}

START_TEST(one_failed_part_fails_the_request_once) /* BO13 */
{
	unsigned parts = 0;
	struct io io;

	r.cfg.on_complete = fail_third_part;
	r.cfg.arg = &parts;
	r.cfg.blk.discard_sectors = 8;
	open_disk();
	io_init(&io, BLK_DISCARD, 0, 80, NULL);
	io.req.nr_iov = 0;
	ck_assert_int_eq(submit(&io), 0);
	while (io.calls == 0)
		(void)blk_wait(r.q, -1);
	(void)blk_poll(r.q);
	ck_assert_uint_eq(io.calls, 1);
	ck_assert_int_eq(io.err, -EIO);
	ck_assert_uint_eq(model_inflight(r.m), 0);
}
END_TEST

/* Batches and rings */

START_TEST(batch_rings_the_doorbell_once) /* SP14, SP15 */
{
	struct model_stat before, after;
	struct io io[32];
	uint8_t *buf;

	r.cfg.when = MODEL_STEPPED;
	r.cfg.run_on_polls = 1;
	open_disk();
	buf = dma(32 * 512);
	model_config(r.m)->run_on_polls = 0;
	model_get_stat(r.m, &before);
	for (unsigned i = 0; i < 32; i++) {
		io_init(&io[i], BLK_READ, i, 1, buf + i * 512);
		ck_assert_int_eq(submit(&io[i]), 0);
	}
	model_get_stat(r.m, &after);
	ck_assert_uint_eq(after.kicks, before.kicks);
	blk_kick(r.q);
	model_get_stat(r.m, &after);
	ck_assert_uint_eq(after.kicks, before.kicks + 1);
	ck_assert_uint_eq(model_inflight(r.m), 32);
	(void)model_run(r.m);
	ck_assert_int_eq(blk_poll(r.q), 32);
	for (unsigned i = 0; i < 32; i++)
		ck_assert_uint_eq(io[i].calls, 1);
	blk_dma_free(r.dev, buf, 32 * 512);
}
END_TEST

/* SP6, BO17: far more requests than the ring holds, completed in any order */
START_TEST(full_ring_is_no_error)
{
	enum { NR = 200 };
	static struct io io[NR];
	unsigned nr_done = 0;
	uint8_t *buf;

	r.cfg.when = MODEL_STEPPED;
	r.cfg.run_on_polls = 2;
	r.cfg.order = (enum model_order)(_i % 3);
	r.cfg.queue_size[0] = _i / 3 ? 4 : 16;
	r.cfg.seed = (uint64_t)_i;
	open_disk();
	buf = dma(NR * 512);
	for (unsigned i = 0; i < NR * 512; i++)
		model_disk(r.m)[i] = (uint8_t)(i / 512);
	for (unsigned i = 0; i < NR; i++) {
		io_init(&io[i], BLK_READ, i, 1, buf + i * 512);
		ck_assert_int_eq(submit(&io[i]), 0);
	}
	while (nr_done < NR)
		nr_done += (unsigned)blk_wait(r.q, -1);
	for (unsigned i = 0; i < NR; i++) {
		ck_assert_uint_eq(io[i].calls, 1);
		ck_assert_int_eq(io[i].err, 0);
		ck_assert_uint_eq(buf[i * 512 + 511], (uint8_t)i);
	}
	blk_dma_free(r.dev, buf, NR * 512);
}
END_TEST

static unsigned resubmits;

static void again(struct blk_req *req, int err)
{
	on_done(req, err);
	if (resubmits > 0) {
		resubmits--;
		ck_assert_int_eq(blk_submit(r.q, req), 0);
	}
}

START_TEST(done_may_submit_again)
{
	struct io io;
	uint8_t *buf;

	resubmits = 100;
	open_disk();
	buf = dma(512);
	io_init(&io, BLK_READ, 0, 1, buf);
	io.req.done = again;
	ck_assert_int_eq(submit(&io), 0);
	while (io.calls < 101)
		ck_assert_int_ge(blk_wait(r.q, -1), 0);
	ck_assert_uint_eq(model_inflight(r.m), 0);
	blk_dma_free(r.dev, buf, 512);
}
END_TEST

struct worker {
	pthread_t thread;
	unsigned number;
	unsigned nr_changes; /* it goes on until so many were made, see changes_made */
	int err;
};

static atomic_uint changes_made; /* to the device, by another thread of the test */

static void *work(void *arg)
{
	struct worker *w = arg;
	struct blk_queue *q;
	uint8_t *buf = blk_dma_alloc(r.dev, 4096);

	w->err = buf == NULL ? -ENOMEM : blk_queue_open(r.dev, &q);
	if (w->err < 0)
		return NULL;
	for (unsigned i = 0; (i < 100 || atomic_load(&changes_made) < w->nr_changes) && w->err == 0;
		i++) {
		uint64_t sector = w->number * 64 + i % 8 * 8;

		memset(buf, (int)(w->number * 100 + i), 4096);
		w->err = blk_do(q, BLK_WRITE, sector, 8, buf);
		memset(buf, 0, 4096);
		if (w->err == 0)
			w->err = blk_do(q, BLK_READ, sector, 8, buf);
		if (w->err == 0 && buf[4095] != (uint8_t)(w->number * 100 + i))
			w->err = -EBADMSG;
		if (w->err == 0 && i % 16 == 0)
			w->err = blk_do(q, BLK_FLUSH, 0, 0, NULL);
	}
	blk_queue_close(q);
	blk_dma_free(r.dev, buf, 4096);
	return NULL;
}

/* BO17, VQ: more queues than rings, and fewer */
START_TEST(threads_share_rings_and_get_their_own_completions)
{
	struct worker w[6];

	r.cfg.when = MODEL_THREAD;
	r.cfg.order = MODEL_SHUFFLED;
	r.cfg.nr_queues = 8;
	r.cfg.blk.num_queues = (uint16_t)(_i == 0 ? 1 : _i == 1 ? 3 : 8);
	for (unsigned i = 0; i < 8; i++)
		r.cfg.queue_size[i] = 16;
	open_disk();
	for (unsigned i = 0; i < 6; i++) {
		w[i].number = i;
		w[i].nr_changes = 0;
		ck_assert_int_eq(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	}
	for (unsigned i = 0; i < 6; i++) {
		pthread_join(w[i].thread, NULL);
		ck_assert_int_eq(w[i].err, 0);
	}
}
END_TEST

START_TEST(figures_count_what_was_done)
{
	struct blk_stat s;
	uint8_t *buf;

	open_disk();
	buf = dma(4096);
	ck_assert_int_eq(writes(0, 8, buf), 0);
	ck_assert_int_eq(reads(0, 4, buf), 0);
	ck_assert_int_eq(blk_do(r.q, BLK_FLUSH, 0, 0, NULL), 0);
	ck_assert_int_eq(blk_do(r.q, BLK_WRITE_ZEROES, 0, 8, NULL), 0);
	ck_assert_int_eq(blk_stats(r.dev, &s, 1), 1);
	ck_assert_uint_eq(s.writes, 1);
	ck_assert_uint_eq(s.write_bytes, 4096);
	ck_assert_uint_eq(s.reads, 1);
	ck_assert_uint_eq(s.read_bytes, 2048);
	ck_assert_uint_eq(s.flushes, 1);
	ck_assert_uint_eq(s.others, 1);
	ck_assert_uint_eq(s.errors, 0);
	ck_assert_uint_eq(s.kicks, 4);
	ck_assert_uint_eq(s.batches[0], 4); /* each on its own */
	blk_dma_free(r.dev, buf, 4096);
}
END_TEST

START_TEST(figures_tell_polls_that_missed_and_doorbells_that_were_saved)
{
	static struct io io[2];
	struct blk_stat before, s;
	uint8_t *buf;

	r.cfg.when = MODEL_STEPPED;
	r.cfg.run_on_polls = 1;
	r.cfg.poll_rings = true;
	open_disk();
	model_config(r.m)->run_on_polls = 0;
	while (model_run(r.m) != 0)
		continue; /* finds nothing, and sleeps */
	buf = dma(2 * 512);
	ck_assert_int_eq(blk_stats(r.dev, &before, 1), 1);
	for (unsigned i = 0; i < 2; i++) {
		io_init(&io[i], BLK_WRITE, i, 1, buf + i * 512);
		ck_assert_int_eq(submit(&io[i]), 0);
		blk_kick(r.q); /* the first one wakes it */
	}
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(blk_poll(r.q), 0);
	(void)model_run(r.m);
	ck_assert_int_eq(blk_poll(r.q), 2);
	ck_assert_int_eq(blk_stats(r.dev, &s, 1), 1);
	ck_assert_uint_eq(s.kicks - before.kicks, 1);
	ck_assert_uint_eq(s.kicks_saved - before.kicks_saved, 1);
	ck_assert_uint_eq(s.polls_missed - before.polls_missed, 3);
	ck_assert_uint_eq(s.polls_hit - before.polls_hit, 1);
	blk_dma_free(r.dev, buf, 2 * 512);
}
END_TEST

START_TEST(figures_count_requests_that_failed)
{
	struct blk_stat s;
	uint8_t *buf;

	open_disk();
	buf = dma(512);
	forced_status = VIRTIO_BLK_S_IOERR;
	model_config(r.m)->on_complete = force_status;
	ck_assert_int_eq(writes(0, 1, buf), -EIO);
	ck_assert_int_eq(reads(0, 1, buf), -EIO);
	ck_assert_int_eq(blk_stats(r.dev, &s, 1), 1);
	ck_assert_uint_eq(s.errors, 2);
	blk_dma_free(r.dev, buf, 512);
}
END_TEST

static uint64_t nr_timed(const struct blk_stat *s, enum blk_op op, unsigned from, unsigned to)
{
	uint64_t n = 0;

	for (unsigned i = from; i < to; i++)
		n += s->latency[op][i];
	return n;
}

START_TEST(latency_is_the_time_that_the_device_had_a_request)
{
	static struct io io[5];
	struct blk_stat s;
	uint8_t *buf;

	r.cfg.when = MODEL_STEPPED;
	r.cfg.run_on_polls = 1;
	open_disk();
	model_config(r.m)->run_on_polls = 0;
	buf = dma(5 * 512);
	for (unsigned i = 0; i < 5; i++) {
		io_init(&io[i], BLK_WRITE, i, 1, buf + i * 512);
		ck_assert_int_eq(submit(&io[i]), 0);
	}
	blk_kick(r.q);
	(void)usleep(20000);
	(void)model_run(r.m);
	ck_assert_int_eq(blk_poll(r.q), 5);
	ck_assert_int_eq(blk_stats(r.dev, &s, 1), 1);
	ck_assert_uint_eq(s.batches[2], 1); /* 4 to 7 */
	/* Bucket 15 begins at 16384 us. */
	ck_assert_uint_eq(nr_timed(&s, BLK_WRITE, 15, BLK_LATENCY_BUCKETS), 5);
	ck_assert_uint_eq(nr_timed(&s, BLK_WRITE, 0, 15), 0);
	ck_assert_uint_eq(nr_timed(&s, BLK_READ, 0, BLK_LATENCY_BUCKETS), 0);
	ck_assert_uint_ge(s.latency_us[BLK_WRITE], 5 * 20000);
	blk_dma_free(r.dev, buf, 5 * 512);
}
END_TEST

START_TEST(buckets_are_powers_of_two)
{
	static const struct {
		uint64_t ns;
		unsigned bucket;
	} want[] = {{0, 0}, {999, 0}, {1000, 1}, {1999, 1}, {2000, 2}, {3999, 2}, {4000, 3},
		{1000000, 10}, {1024000, 11}, {UINT64_MAX, BLK_LATENCY_BUCKETS - 1}};
	struct blk_stat s;

	open_disk();
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		memset(&s, 0, sizeof(s));
		count_latency(&s, BLK_FLUSH, want[i].ns);
		ck_assert_uint_eq(s.latency[BLK_FLUSH][want[i].bucket], 1);
		ck_assert_uint_eq(s.latency_us[BLK_FLUSH], want[i].ns / 1000);
	}
	memset(&s, 0, sizeof(s));
	count_batch(&s, 1);
	count_batch(&s, 3);
	count_batch(&s, 1000);
	ck_assert_uint_eq(s.batches[0], 1);
	ck_assert_uint_eq(s.batches[1], 1);
	ck_assert_uint_eq(s.batches[BLK_BATCH_BUCKETS - 1], 1);
}
END_TEST

/* Sleep */

static void sleep_until_done(struct io *io)
{
	while (io->calls == 0)
		(void)blk_wait(r.q, -1);
	ck_assert_uint_eq(io->calls, 1);
	ck_assert_int_eq(io->err, 0);
}

/* Once the queue's owner is asleep, or about to be. */
static void *complete_for_sleeper(void *arg)
{
	struct vblk_handle *h = arg;

	wait_until(atomic_load(&h->armed) || !atomic_load(&h->ring->vblk->vdev->has_irq));
	(void)usleep(1000); /* till it is; should that take longer, it will not have slept */
	while (model_run(r.m) != 0)
		continue;
	return NULL;
}

/* One request on Q whose completion it sleeps for. */
static void sleeps_for_one(struct blk_queue *q, uint8_t *buf)
{
	pthread_t thread;
	struct io io;

	q->spin_us = 0;
	io_init(&io, BLK_READ, 0, 1, buf);
	ck_assert_int_eq(blk_submit(q, &io.req), 0);
	blk_kick(q);
	ck_assert_int_eq(pthread_create(&thread, NULL, complete_for_sleeper, q), 0);
	while (io.calls == 0)
		(void)blk_wait(q, -1);
	ck_assert_uint_eq(io.calls, 1);
	ck_assert_int_eq(io.err, 0);
	pthread_join(thread, NULL);
}

START_TEST(sleeper_is_woken_by_the_interrupt) /* SP19, PC16 */
{
	uint8_t *buf;

	r.cfg.when = MODEL_STEPPED;
	r.cfg.run_on_polls = 1;
	if (_i)
		r.cfg.features[0] &= ~BIT(VIRTIO_RING_F_EVENT_IDX);
	open_disk();
	model_config(r.m)->run_on_polls = 0;
	buf = dma(512);
	for (int i = 0; i < 20; i++)
		sleeps_for_one(r.q, buf);
	blk_dma_free(r.dev, buf, 512);
}
END_TEST

static unsigned told_to_the_thread(void)
{
	return model_trace_count(r.m, MODEL_IRQ, true, 3);
}

static void shares_the_ring(uint8_t *buf)
{
	struct blk_queue *other;

	ck_assert_int_eq(blk_queue_open(r.dev, &other), 0);
	for (int i = 0; i < 5 || told_to_the_thread() == 0; i++) {
		sleeps_for_one(other, buf);
		sleeps_for_one(r.q, buf);
	}
	blk_queue_close(other);
}

START_TEST(vector_of_a_ring_wakes_its_only_sleeper_without_a_thread_between)
{
	struct blk_stat stat;
	uint8_t *buf;

	r.cfg.when = MODEL_STEPPED;
	r.cfg.run_on_polls = 1;
	r.cfg.nr_vectors = 2;
	open_disk();
	model_config(r.m)->run_on_polls = 0;
	buf = dma(512);
	do {
		for (int i = 0; i < 20; i++)
			sleeps_for_one(r.q, buf);
		ck_assert_int_eq(blk_stats(r.dev, &stat, 1), 1);
	} while (stat.interrupts == 0);
	ck_assert_uint_eq(told_to_the_thread(), 0);

	if (_i) /* else it is closed as it is: the model looks */
		shares_the_ring(buf);
	blk_dma_free(r.dev, buf, 512);
}
END_TEST

/* Looped: it stays as it was; the vector is lost, to the sleeper, or on its way back to the thread. */
START_TEST(vector_that_can_not_be_redirected_costs_no_wake_up)
{
	struct blk_queue *other;
	struct vblk_detail d;
	uint8_t *buf;

	r.cfg.when = MODEL_STEPPED;
	r.cfg.run_on_polls = 1;
	r.cfg.nr_vectors = 2;
	open_disk();
	((struct vblk *)r.dev)->watch.tick_ms = 1000 * 1000;
	model_config(r.m)->run_on_polls = 0;
	buf = dma(512);
	if (_i == 2)
		sleeps_for_one(r.q, buf);
	model_config(r.m)->redirect = _i == 0 ? REDIRECT_FAILS : REDIRECT_LOSES_IT;
	if (_i == 2)
		ck_assert_int_eq(blk_queue_open(r.dev, &other), 0);
	for (int i = 0; i < 5; i++)
		sleeps_for_one(r.q, buf);
	ck_assert(log_says("polling instead") == (_i > 0));
	ck_assert_int_eq(vblk_describe(r.dev, &d), 0);
	ck_assert(d.has_irq == (_i == 0));
	if (_i == 2)
		blk_queue_close(other);
	blk_dma_free(r.dev, buf, 512);
}
END_TEST

START_TEST(shared_vector_wakes_by_the_thread)
{
	uint8_t *buf;

	r.cfg.when = MODEL_STEPPED;
	r.cfg.run_on_polls = 1;
	r.cfg.nr_vectors = 1;
	open_disk();
	model_config(r.m)->run_on_polls = 0;
	buf = dma(512);
	while (told_to_the_thread() == 0)
		sleeps_for_one(r.q, buf);
	blk_dma_free(r.dev, buf, 512);
}
END_TEST

START_TEST(completion_in_the_window_of_arming_is_not_lost) /* SP19: both sides of the barrier */
{
	struct io io;
	uint8_t *buf;

	r.cfg.when = MODEL_STEPPED;
	r.cfg.run_on_polls = 1;
	if (_i % 2)
		r.cfg.features[0] &= ~BIT(VIRTIO_RING_F_EVENT_IDX);
	open_disk();
	model_config(r.m)->run_on_polls = 0;
	model_config(r.m)->hold = true;
	r.q->spin_us = 0;
	buf = dma(512);
	for (int i = 0; i < 20; i++) {
		io_init(&io, BLK_READ, 0, 1, buf);
		ck_assert_int_eq(submit(&io), 0);
		blk_kick(r.q);
		(void)model_run(r.m);
		(void)blk_poll(r.q); /* disarms */
		model_complete_at(r.m, _i / 2 ? MODEL_BEFORE_BARRIER : MODEL_AFTER_USED_IDX_LOAD);
		sleep_until_done(&io);
	}
	blk_dma_free(r.dev, buf, 512);
}
END_TEST

START_TEST(polling_takes_no_interrupt)
{
	struct model_stat before, after;

	open_disk();
	model_get_stat(r.m, &before);
	for (int i = 0; i < 10; i++)
		disk_works();
	model_get_stat(r.m, &after);
	ck_assert_uint_le(
		after.irqs - before.irqs, 1); /* the used event may be passed once in 65536 */
}
END_TEST

START_TEST(disk_without_interrupt_is_polled)
{
	r.cfg.when = MODEL_STEPPED;
	r.cfg.run_on_polls = 3;
	if (_i == 0)
		r.cfg.no_irq = true;
	else
		r.opts.poll_only = true;
	open_disk();
	r.q->spin_us = 0;
	disk_works();
	ck_assert_uint_eq(model_trace_count(r.m, MODEL_IRQ, true, 1), 0);
}
END_TEST

START_TEST(lost_interrupt_costs_a_tick_and_not_for_ever)
{
	pthread_t thread;
	struct io io;
	uint8_t *buf;

	r.cfg.when = MODEL_STEPPED;
	r.cfg.run_on_polls = 1;
	r.cfg.lose_irqs = true;
	open_disk();
	watch()->tick_ms = 50;
	model_config(r.m)->run_on_polls = 0;
	r.q->spin_us = 0;
	buf = dma(512);
	io_init(&io, BLK_READ, 0, 1, buf);
	ck_assert_int_eq(submit(&io), 0);
	blk_kick(r.q);
	ck_assert_int_eq(pthread_create(&thread, NULL, complete_for_sleeper, r.q), 0);
	sleep_until_done(&io);
	pthread_join(thread, NULL);
	blk_dma_free(r.dev, buf, 512);
}
END_TEST

START_TEST(spurious_interrupts_do_no_harm) /* NT1 */
{
	r.cfg.spurious_irqs = true;
	open_disk();
	r.q->spin_us = 0;
	for (int i = 0; i < 20; i++)
		disk_works();
}
END_TEST

/* Changes */

static void wait_for_capacity(uint64_t sectors)
{
	wait_until(info().nr_sectors == sectors);
}

START_TEST(capacity_follows_the_device) /* BO18, CF1 */
{
	size_t before;
	uint8_t *buf;

	r.cfg.blk.capacity = 20000;
	rig_model(&r);
	model_set_capacity(r.m, 1000, false);
	open_disk();
	buf = dma(512);
	ck_assert_int_eq(writes(1500, 1, buf), -EINVAL);
	model_set_capacity(r.m, 2000, true);
	wait_for_capacity(2000);
	ck_assert_int_eq(writes(1500, 1, buf), 0);
	model_set_capacity(r.m, 1200, true);
	wait_for_capacity(1200);
	before = model_nr_done(r.m);
	ck_assert_int_eq(writes(1500, 1, buf), -EINVAL); /* BO1: not a word of it to the device */
	ck_assert_uint_eq(model_nr_done(r.m), before);
	blk_dma_free(r.dev, buf, 512);
}
END_TEST

static void submit_some(struct io *io, unsigned nr, uint8_t *buf)
{
	for (unsigned i = 0; i < nr; i++) {
		io_init(&io[i], BLK_READ, i, 1, buf + i * 512);
		ck_assert_int_eq(submit(&io[i]), 0);
	}
	blk_kick(r.q);
	(void)model_run(r.m);
}

static void all_end_with(struct io *io, unsigned nr, int err)
{
	for (unsigned i = 0; i < nr; i++) {
		while (io[i].calls == 0)
			(void)blk_wait(r.q, -1);
	}
	(void)blk_poll(r.q); /* none of them ends twice */
	for (unsigned i = 0; i < nr; i++) {
		ck_assert_uint_eq(io[i].calls, 1);
		ck_assert_int_eq(io[i].err, err);
	}
}

/* NR requests in flight of OP, of which the device has done none; 32 entries, so some wait. */
static void open_holding(struct io *io, enum blk_op op, unsigned nr, uint8_t **buf)
{
	r.cfg.when = MODEL_STEPPED;
	r.cfg.run_on_polls = 1;
	r.cfg.queue_size[0] = 32;
	open_disk();
	*buf = dma((size_t)nr * 512);
	fill(*buf, (size_t)nr * 512, 3);
	model_config(r.m)->run_on_polls = 0;
	model_config(r.m)->hold = true;
	for (unsigned i = 0; i < nr; i++) {
		io_init(&io[i], op, 8 + i, 1, *buf + (size_t)i * 512);
		ck_assert_int_eq(submit(&io[i]), 0);
	}
	blk_kick(r.q);
	(void)model_run(r.m);
}

/* The device serves again by itself, from the next reset on. */
static void stop_holding(void)
{
	model_config(r.m)->hold = false;
	model_config(r.m)->run_on_polls = 1;
}

static int flush(void)
{
	return blk_do(r.q, BLK_FLUSH, 0, 0, NULL);
}

/* ST4, CL2, VIRTIO.md trap 29: requests of both sorts, some done, some with the device, some not */
START_TEST(needs_reset_is_recovered_and_requests_are_sent_again)
{
	static struct io io[40];
	enum blk_op op = _i == 0 ? BLK_READ : BLK_WRITE;
	uint8_t *buf, *want = malloc(40 * 512);

	open_holding(io, op, 40, &buf);
	fill(want, 40 * 512, 4);
	if (op == BLK_READ)
		memcpy(model_disk(r.m) + 8 * 512, want, 40 * 512);
	else
		memcpy(want, buf, 40 * 512);
	ck_assert(model_complete(r.m, 0, 3));
	ck_assert(model_complete(r.m, 0, 1));
	stop_holding();
	model_needs_reset(r.m);
	all_end_with(io, 40, 0);
	ck_assert_mem_eq(op == BLK_READ ? buf : model_disk(r.m) + 8 * 512, want, 40 * 512);
	ck_assert(log_says("may be lost") == (op == BLK_WRITE));
	ck_assert_uint_eq(info().nr_resets, 1);
	ck_assert_uint_eq(model_status(r.m), 0xf);
	blk_dma_free(r.dev, buf, 40 * 512);
	if (op == BLK_WRITE)
		ck_assert_int_eq(flush(), -EIO); /* two were done before the reset */
	disk_works();
	free(want);
}
END_TEST

START_TEST(unflushed_writes_before_a_reset_fail_the_next_flush_once) /* VIRTIO.md trap 30 */
{
	uint8_t *buf;

	open_disk();
	buf = dma(512);
	ck_assert_int_eq(writes(0, 1, buf), 0);
	if (_i == 0)
		ck_assert_int_eq(flush(), 0);
	if (_i == 2)
		ck_assert_int_eq(reads(0, 1, buf), 0);
	model_needs_reset(r.m);
	wait_until(info().nr_resets == 1);
	ck_assert_int_eq(reads(0, 1, buf), 0);
	ck_assert_int_eq(flush(), (_i == 0 ? 0 : -EIO));
	ck_assert_int_eq(flush(), 0);
	ck_assert_int_eq(writes(0, 1, buf), 0);
	ck_assert_int_eq(flush(), 0);
	blk_dma_free(r.dev, buf, 512);
}
END_TEST

START_TEST(flush_in_flight_at_a_reset_fails_if_anything_may_be_lost)
{
	static struct io io[1];
	uint8_t *buf;

	r.cfg.when = MODEL_STEPPED;
	r.cfg.run_on_polls = 1;
	open_disk();
	buf = dma(512);
	if (_i == 1)
		ck_assert_int_eq(writes(0, 1, buf), 0);
	model_config(r.m)->run_on_polls = 0;
	model_config(r.m)->hold = true;
	io_init(io, BLK_FLUSH, 0, 0, NULL);
	ck_assert_int_eq(submit(io), 0);
	blk_kick(r.q);
	(void)model_run(r.m);
	stop_holding();
	model_needs_reset(r.m);
	all_end_with(io, 1, _i == 1 ? -EIO : 0);
	blk_dma_free(r.dev, buf, 512);
}
END_TEST

START_TEST(device_that_asks_for_resets_without_end_is_given_up)
{
	uint8_t *buf;
	int err = 0;

	open_disk();
	buf = dma(512);
	for (int i = 0; i < 100 && err == 0; i++) {
		uint32_t before = info().nr_resets;

		model_needs_reset(r.m);
		wait_until(info().nr_resets != before || log_says("fails from"));
		err = reads(0, 1, buf);
	}
	ck_assert_int_eq(err, -EIO);
	wait_until_log_says("time and again");
	ck_assert_uint_eq(info().nr_resets, VBLK_RESETS_MAX);
	blk_dma_free(r.dev, buf, 512);
}
END_TEST

START_TEST(reset_that_is_asked_for_loses_nothing)
{
	uint8_t *buf;

	open_disk();
	buf = dma(4 * 512);
	fill(buf, 4 * 512, 9);
	ck_assert_int_eq(writes(0, 4, buf), 0);
	ck_assert_int_eq(vblk_reset_disk(r.dev), 0);
	ck_assert_uint_eq(done_of_type(VIRTIO_BLK_T_FLUSH), 1);
	ck_assert_uint_eq(info().nr_resets, 1);
	ck_assert_int_eq(flush(), 0);
	disk_works();
	blk_dma_free(r.dev, buf, 4 * 512);
}
END_TEST

static uint64_t slept_us(void)
{
	struct model_stat s;

	model_get_stat(r.m, &s);
	return s.slept_us;
}

/* Nothing more comes out of it: there is nothing to wait for. */
START_TEST(broken_ring_is_not_waited_for)
{
	static struct io io[3];
	uint8_t *buf;

	open_holding(io, BLK_WRITE, 3, &buf);
	model_push_used(r.m, 0, 31, 0);
	stop_holding();
	ck_assert_int_eq(vblk_reset_disk(r.dev), 0);
	ck_assert(log_says("broke the virtqueue's rules"));
	ck_assert_uint_lt(slept_us(), 1000 * 1000);
	all_end_with(io, 3, 0);
	disk_works();
	blk_dma_free(r.dev, buf, 3 * 512);
}
END_TEST

static uint64_t step_us;

/* One of those that it has, each time that so much time has passed. */
static void complete_slowly(struct model *m, uint32_t us, void *arg)
{
	(void)us, (void)arg;
	if (slept_us() >= step_us * (model_nr_done(m) - 1)) /* the first was GET_ID */
		(void)model_complete(m, 0, 0);
}

/* Bit 0 of _i: the cache is switched, or the device reset; bit 1: requests may take longer. */
START_TEST(slow_disk_is_waited_for_while_it_gets_on)
{
	static struct io io[4];
	uint8_t *buf;

	r.opts.timeout_s = _i & 2 ? 100 : 0;
	open_disk();
	watch_by_hand(INT_MAX);
	model_config(r.m)->hold = true;
	buf = dma(4 * 512);
	for (unsigned i = 0; i < 4; i++) {
		io_init(&io[i], BLK_WRITE, i, 1, buf + i * 512);
		ck_assert_int_eq(submit(&io[i]), 0);
	}
	blk_kick(r.q);
	step_us = (_i & 2 ? 90ULL : 25ULL) * 1000 * 1000;
	model_config(r.m)->on_sleep = complete_slowly;
	ck_assert_int_eq(_i & 1 ? vblk_reset_disk(r.dev) : vblk_set_cache(r.dev, false), 0);
	model_config(r.m)->hold = false;
	all_end_with(io, 4, 0);
	ck_assert_uint_eq(done_of_type(VIRTIO_BLK_T_FLUSH), 1);
	ck_assert(!log_says("before the reset"));
	ck_assert(!log_says("may be lost"));
	ck_assert_int_eq(flush(), 0);
	blk_dma_free(r.dev, buf, 4 * 512);
}
END_TEST

START_TEST(reset_sets_the_vectors_again) /* PC19: those that the device still takes */
{
	r.cfg.nr_vectors = 2;
	open_disk();
	ck_assert_uint_eq(model_queue_vector(r.m, 0), 1);
	ck_assert_int_eq(vblk_reset_disk(r.dev), 0);
	ck_assert_uint_eq(model_config_vector(r.m), 0);
	ck_assert_uint_eq(model_queue_vector(r.m, 0), 1);
	r.q->spin_us = 0; /* each request waits for its interrupt */
	disk_works();
	model_config(r.m)->vectors_taken = 1;
	ck_assert_int_eq(vblk_reset_disk(r.dev), -EPROTO);
	ck_assert_ptr_nonnull(strstr(driver_log.text, "vectors"));
}
END_TEST

static atomic_bool workers_end;

static void *reset_again_and_again(void *arg)
{
	(void)arg;
	for (unsigned n = 0; !atomic_load(&workers_end); n++) {
		if (n % 2 == 0)
			ck_assert_msg(
				vblk_reset_disk(r.dev) == 0, "reset %u: %s", n, driver_log.text);
		else
			ck_assert_int_eq(vblk_set_cache(r.dev, n % 4 == 1), 0);
		atomic_fetch_add(&changes_made, 1);
	}
	return NULL;
}

/* While four threads write and read, CHANGE changes the device, NR times at least. */
static void change_under_load(void *(*change)(void *), unsigned nr)
{
	struct worker w[4];
	pthread_t changer;

	atomic_store(&workers_end, false);
	for (unsigned i = 0; i < 4; i++) {
		w[i].number = i;
		w[i].nr_changes = nr;
		ck_assert_int_eq(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	}
	ck_assert_int_eq(pthread_create(&changer, NULL, change, NULL), 0);
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(w[i].thread, NULL);
		ck_assert_int_eq(w[i].err, 0);
	}
	atomic_store(&workers_end, true);
	pthread_join(changer, NULL);
}

START_TEST(resets_under_load_lose_nothing)
{
	r.cfg.when = MODEL_THREAD;
	r.cfg.order = MODEL_SHUFFLED;
	r.cfg.features[0] |= BIT(VIRTIO_BLK_F_CONFIG_WCE);
	r.cfg.nr_queues = 2;
	r.cfg.blk.num_queues = 2;
	for (unsigned i = 0; i < 2; i++)
		r.cfg.queue_size[i] = 16;
	open_disk();
	change_under_load(reset_again_and_again, 3);
}
END_TEST

START_TEST(cache_mode_is_set_after_a_flush_and_kept_over_a_reset) /* BO16 */
{
	uint8_t *buf;

	r.cfg.features[0] |= BIT(VIRTIO_BLK_F_CONFIG_WCE);
	open_disk();
	buf = dma(512);
	fill(buf, 512, 5);
	ck_assert_int_eq(writes(7, 1, buf), 0);
	ck_assert_int_eq(vblk_set_cache(r.dev, false), 0);
	ck_assert_uint_eq(model_config(r.m)->blk.writeback, 0);
	ck_assert(!info().volatile_cache);
	ck_assert_int_eq(flush(), 0);
	ck_assert_uint_eq(done_of_type(VIRTIO_BLK_T_FLUSH), 1); /* the one of the change */
	ck_assert_int_eq(vblk_reset_disk(r.dev), 0);            /* which sets it back */
	ck_assert_uint_eq(model_config(r.m)->blk.writeback, 0);
	ck_assert_int_eq(vblk_set_cache(r.dev, true), 0);
	ck_assert(info().volatile_cache);
	ck_assert_int_eq(writes(8, 1, buf), 0);
	ck_assert_int_eq(flush(), 0);
	ck_assert_uint_eq(done_of_type(VIRTIO_BLK_T_FLUSH), 2);
	blk_dma_free(r.dev, buf, 512);
}
END_TEST

/* What was written through needed no flush: a reset after the switch loses none of it. */
START_TEST(writes_before_the_cache_was_switched_on_are_durable)
{
	uint8_t *buf;

	r.cfg.features[0] |= BIT(VIRTIO_BLK_F_CONFIG_WCE);
	open_disk();
	buf = dma(512);
	ck_assert_int_eq(vblk_set_cache(r.dev, false), 0);
	ck_assert_int_eq(writes(7, 1, buf), 0);
	ck_assert_int_eq(vblk_set_cache(r.dev, true), 0);
	model_needs_reset(r.m);
	wait_until(info().nr_resets == 1);
	ck_assert(!log_says("may be lost"));
	ck_assert_int_eq(flush(), 0);
	blk_dma_free(r.dev, buf, 512);
}
END_TEST

START_TEST(shrinking_below_what_is_used_is_said_loudly)
{
	uint8_t *buf;

	open_disk();
	buf = dma(512);
	blk_claim(r.dev, 10000);
	model_set_capacity(r.m, 12000, true);
	wait_for_capacity(12000);
	wait_until_log_says("capacity changes from 16384 to 12000");
	model_set_capacity(r.m, 8000, true);
	wait_for_capacity(8000);
	wait_until_log_says("shrinks from 12000 to 8000 sectors, and 10000 are in use");
	ck_assert_int_eq(writes(9000, 1, buf), -EINVAL);
	ck_assert_int_eq(writes(100, 1, buf), 0);
	model_set_capacity(r.m, 20000, true);
	wait_for_capacity(20000);
	ck_assert_int_eq(writes(9000, 1, buf), 0);
	blk_dma_free(r.dev, buf, 512);
}
END_TEST

START_TEST(removed_device_ends_all_with_enodev) /* VIRTIO.md trap 15 */
{
	static struct io io[40];
	uint8_t *buf;

	r.cfg.when = MODEL_STEPPED;
	r.cfg.run_on_polls = 1;
	r.cfg.queue_size[0] = 32;
	open_disk();
	model_config(r.m)->run_on_polls = 0;
	model_config(r.m)->hold = true;
	buf = dma(40 * 512);
	submit_some(io, 40, buf);
	model_remove(r.m);
	all_end_with(io, 40, -ENODEV);
	ck_assert_int_eq(reads(0, 1, buf), -ENODEV);
	blk_dma_free(r.dev, buf, 40 * 512);
	model_trace_clear(r.m);
	rig_disk_close(&r);
	for (size_t i = 0; i < model_trace_len(r.m); i++) /* its addresses may be another one's */
		ck_assert(!model_trace(r.m, i).write || model_trace(r.m, i).region == MODEL_IRQ);
}
END_TEST

START_TEST(removed_device_is_noticed_without_interrupts)
{
	static struct io io[4];
	uint8_t *buf;

	r.opts.poll_only = true;
	r.cfg.when = MODEL_STEPPED;
	r.cfg.run_on_polls = 1;
	open_disk();
	watch()->tick_ms = 20;
	model_config(r.m)->run_on_polls = 0;
	model_config(r.m)->hold = true;
	buf = dma(4 * 512);
	submit_some(io, 4, buf);
	model_remove(r.m);
	all_end_with(io, 4, -ENODEV);
	blk_dma_free(r.dev, buf, 4 * 512);
}
END_TEST

START_TEST(disk_can_be_closed_and_opened_again) /* VQ4, SP13, IN1 */
{
	for (int round = 0; round < 3; round++) {
		open_disk();
		disk_works();
		rig_disk_close(&r);
		ck_assert_uint_eq(model_status(r.m), 0);
		ck_assert_uint_eq(model_dma_live(r.m), 0);
	}
}
END_TEST

START_TEST(any_failing_step_leaves_nothing_behind) /* IN3, CL2 */
{
	r.cfg.nr_queues = 2;
	r.cfg.blk.num_queues = 2;
	r.cfg.queue_size[1] = 16;
	for (unsigned nth = 1;; nth++) {
		int err;

		rig_model(&r);
		model_fail_nth(r.m, nth);
		err = rig_disk(&r);
		if (!model_failed(r.m)) {
			ck_assert_int_eq(err, 0);
			ck_assert_uint_gt(nth, r.cfg.legacy ? 8 : 10);
			break;
		}
		ck_assert_msg(err < 0, "step %u failed, and nobody noticed", nth);
		ck_assert_str_ne(r.err, "");
		ck_assert_uint_eq(model_status(r.m), 0);
		ck_assert_uint_eq(model_dma_live(r.m), 0);
		rig_no_violations(&r);
		model_destroy(r.m);
		r.m = NULL;
	}
}
END_TEST

START_TEST(device_that_never_answers_is_given_up)
{
	struct model_stat s;

	r.cfg.hold = true;
	is_refused(-ETIMEDOUT, "the host does not answer");
	model_get_stat(r.m, &s);
	ck_assert_uint_ge(s.slept_us, 1000 * 1000);
}
END_TEST

static void lose_bus_master(struct model *m)
{
	model_lose_bus_master(m, false);
}

static void lose_driver_ok(struct model *m)
{
	model_lose_bus_master(m, true);
}

/* VIRTIO.md traps 10, 11: by the close of another program */
START_TEST(bus_mastering_lost_while_it_opens_is_named)
{
	rig_model(&r);
	model_at_region(r.m, MODEL_NOTIFY, lose_bus_master);
	is_refused(-ETIMEDOUT, "bus mastering");
	model_forgive(r.m); /* the kick that it was lost at */
}
END_TEST

START_TEST(device_stopped_while_it_opens_is_named)
{
	rig_model(&r);
	model_at_region(r.m, MODEL_NOTIFY, lose_driver_ok);
	is_refused(-EIO, "bus mastering");
	model_forgive(r.m);
}
END_TEST

static void open_stepped(unsigned nr, struct io *io, uint8_t **buf)
{
	r.cfg.when = MODEL_STEPPED;
	r.cfg.run_on_polls = 1;
	open_disk();
	watch()->tick_ms = 20;
	watch()->stall_ticks = 2;
	model_config(r.m)->run_on_polls = 0;
	model_config(r.m)->hold = true;
	*buf = dma(nr * 512);
	submit_some(io, nr, *buf);
}

/* The cause in the message, and no more than that: the host may come back. */
START_TEST(stall_is_reported_with_its_cause)
{
	static const char *const causes[] = {"the host does not answer",
		"bus mastering was turned off", "the device is gone",
		"its configuration space can't be read"};
	static struct io io[3];
	uint8_t *buf;

	open_stepped(3, io, &buf);
	if (_i == 1)
		lose_bus_master(r.m);
	else if (_i == 2) /* of which its registers do not tell */
		memset(model_config_space(r.m), 0xff, 2);
	else if (_i == 3)
		model_fail_nth(r.m, 1);
	while (!log_says("3 requests on queue 0"))
		ck_assert_int_eq(blk_wait(r.q, 100), 0);
	ck_assert_msg(log_says(causes[_i]), "%s", driver_log.text);
	(void)model_complete_all(r.m);
	all_end_with(io, 3, 0);
	blk_dma_free(r.dev, buf, 3 * 512);
}
END_TEST

START_TEST(stopped_device_is_reset_and_goes_on) /* VIRTIO.md trap 11 */
{
	static struct io io[3];
	uint8_t *buf;

	open_stepped(3, io, &buf);
	stop_holding();
	lose_driver_ok(r.m);
	all_end_with(io, 3, 0);
	ck_assert_msg(log_says("bus mastering off"), "%s", driver_log.text);
	ck_assert(model_is_bus_master(r.m));
	blk_dma_free(r.dev, buf, 3 * 512);
}
END_TEST

/* Nobody can know at once that the device sleeps, and kicks it. */
static void forgive_kicks(void)
{
	const char *text = model_violation_text(r.m);

	for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1)
		ck_assert_msg(strncmp(line, "IN4: kick before DRIVER_OK\n", 27) == 0, "%s", text);
	model_forgive(r.m);
}

/* Asleep with 40 writes: two are done and not flushed, some are with the device, some wait. Bit 0 of
 * _i: it has lost all of its state; bit 1: a request's time limit is over before anybody looks. */
START_TEST(suspend_of_the_machine_loses_nothing)
{
	static struct io io[40];
	uint8_t *buf, *want = malloc(40 * 512);

	r.opts.timeout_s = _i & 2 ? 1 : 0;
	open_holding(io, BLK_WRITE, 40, &buf);
	watch_by_hand(INT_MAX);
	memcpy(want, buf, 40 * 512);
	ck_assert(model_complete(r.m, 0, 3));
	ck_assert(model_complete(r.m, 0, 1));
	tick(); /* it has done something since the last */
	stop_holding();
	model_suspend(r.m, _i & 1);
	tick();
	all_end_with(io, 40, 0);
	ck_assert_msg(log_says("the machine was suspended"), "%s", driver_log.text);
	ck_assert_uint_eq(info().nr_resets, 1);
	ck_assert(model_is_bus_master(r.m));
	ck_assert_mem_eq(model_disk(r.m) + 8 * 512, want, 40 * 512);
	ck_assert_int_eq(flush(), 0);
	ck_assert_uint_eq(done_of_type(VIRTIO_BLK_T_FLUSH), 1);
	forgive_kicks();
	blk_dma_free(r.dev, buf, 40 * 512);
	free(want);
}
END_TEST

static void count_late(struct model *m, uint32_t off, void *arg)
{
	(void)off, (void)arg;
	model_config(m)->nr_suspends = 1;
}

/* Processes run before the kernel has counted it. */
START_TEST(suspend_that_is_counted_late_is_known_all_the_same)
{
	static struct io io[3];
	uint8_t *buf;

	open_stepped(3, io, &buf);
	stop_holding();
	model_suspend(r.m, true);
	model_config(r.m)->nr_suspends = 0;
	model_config(r.m)->on_sleep = count_late;
	all_end_with(io, 3, 0);
	ck_assert_msg(log_says("the machine was suspended"), "%s", driver_log.text);
	forgive_kicks();
	blk_dma_free(r.dev, buf, 3 * 512);
}
END_TEST

START_TEST(suspends_may_be_many)
{
	static struct io io[3];
	uint8_t *buf;

	open_stepped(3, io, &buf);
	watch_by_hand(INT_MAX);
	(void)model_complete_all(r.m);
	all_end_with(io, 3, 0);
	for (unsigned i = 1; i <= 2 * VBLK_RESETS_MAX; i++) {
		model_config(r.m)->hold = true;
		submit_some(io, 3, buf);
		tick();
		stop_holding();
		model_suspend(r.m, i % 2 == 0);
		tick();
		all_end_with(io, 3, 0);
		ck_assert_uint_eq(info().nr_resets, i);
	}
	forgive_kicks();
	blk_dma_free(r.dev, buf, 3 * 512);
}
END_TEST

/* Nobody slept: somebody else reset it, and who knows what became of its cache. */
START_TEST(device_that_was_reset_by_others_goes_on_and_fails_a_flush)
{
	static struct io io[3];
	uint8_t *buf;

	open_holding(io, BLK_WRITE, 3, &buf);
	watch()->tick_ms = 20;
	ck_assert(model_complete(r.m, 0, 0));
	stop_holding();
	model_suspend(r.m, true);
	model_config(r.m)->nr_suspends = 0;
	all_end_with(io, 3, 0);
	ck_assert_msg(log_says("may be lost"), "%s", driver_log.text);
	ck_assert_int_eq(flush(), -EIO);
	ck_assert_int_eq(flush(), 0);
	forgive_kicks();
	blk_dma_free(r.dev, buf, 3 * 512);
}
END_TEST

/* VIRTIO.md trap 15: what is left of a function that is gone may read as 0, too. */
START_TEST(function_that_is_gone_and_reads_as_zero_is_gone)
{
	static struct io io[3];
	uint8_t *buf;

	open_stepped(3, io, &buf);
	model_suspend(r.m, true);
	memset(model_config_space(r.m), 0xff, 2);
	all_end_with(io, 3, -ENODEV);
	ck_assert_msg(log_says("the device is gone"), "%s", driver_log.text);
	forgive_kicks();
	blk_dma_free(r.dev, buf, 3 * 512);
}
END_TEST

/* It has no NEEDS_RESET to say that it broke (2.1.2). */
START_TEST(silent_legacy_device_is_reset_after_its_timeout)
{
	static struct io io[3];
	uint8_t *buf;

	r.opts.timeout_s = 1;
	open_stepped(3, io, &buf);
	watch_by_hand(1000);
	model_needs_reset(r.m);
	stop_holding();
	tick();
	all_end_with(io, 3, 0);
	ck_assert_uint_eq(model_status(r.m), 0x7);
	blk_dma_free(r.dev, buf, 3 * 512);
}
END_TEST

/* The device, for one that a queue is taken from may still end its requests; but before that the queue,
 * where the user says that it does not (bit 1 of _i), and it is not QEMU's (bit 0). */
START_TEST(timeout_resets_once_and_then_gives_up)
{
	static struct io io[3];
	uint8_t *buf;

	r.opts.timeout_s = 1;
	r.cfg.ids.subvendor = _i & 1 ? NOT_QEMU : VIRTIO_PCI_VENDOR;
	r.opts.queue_reset = _i & 2;
	open_stepped(3, io, &buf);
	watch_by_hand(1000);
	if (_i == 3 && !r.cfg.legacy)
		tick();
	ck_assert_uint_eq(info().nr_queue_resets, _i == 3 && !r.cfg.legacy);
	tick();
	ck_assert_uint_eq(info().nr_resets, 1);
	tick();
	all_end_with(io, 3, -EIO);
	ck_assert_uint_eq(info().nr_resets, 1);
	ck_assert(log_says("3 requests on queue 0, none done for 1 s: the host does not answer"));
	blk_dma_free(r.dev, buf, 3 * 512);
}
END_TEST

/* It is the queue's owner who does something else meanwhile. */
START_TEST(device_whose_answers_nobody_takes_has_not_stalled)
{
	static struct io io[3];
	uint8_t *buf;

	r.opts.timeout_s = 1;
	open_stepped(3, io, &buf);
	watch_by_hand(1000);
	(void)model_complete_all(r.m);
	tick();
	all_end_with(io, 3, 0);
	ck_assert(!log_says("none done"));
	ck_assert_uint_eq(info().nr_resets, 0);
	blk_dma_free(r.dev, buf, 3 * 512);
}
END_TEST

START_TEST(request_has_all_its_time_again_after_a_reset)
{
	static struct io io[3];
	uint8_t *buf;

	r.opts.timeout_s = 3;
	open_stepped(3, io, &buf);
	watch_by_hand(1000);
	tick();
	tick();
	model_suspend(r.m, true);
	tick();
	ck_assert_uint_eq(info().nr_resets, 1);
	tick();
	tick();
	(void)model_run(r.m);
	(void)model_complete_all(r.m);
	all_end_with(io, 3, 0);
	ck_assert(!log_says("none done"));
	ck_assert_uint_eq(info().nr_resets, 1);
	forgive_kicks();
	blk_dma_free(r.dev, buf, 3 * 512);
}
END_TEST

/* Reset of one queue */

static unsigned nr_to_hold;

static void hold_the_first_of_queue_0(struct model_req *req, void *arg)
{
	(void)arg;
	if (req->queue != 0 || req->type == VIRTIO_BLK_T_GET_ID || nr_to_hold == 0)
		return;
	nr_to_hold--;
	req->hold = true;
}

/* Two queues; the device leaves undone what comes first to the first. */
static void open_holding_queue_0(unsigned nr)
{
	nr_to_hold = 0;
	r.cfg.on_complete = hold_the_first_of_queue_0;
	r.cfg.nr_queues = r.cfg.blk.num_queues = 2;
	r.cfg.queue_size[0] = r.cfg.queue_size[1] = 16;
	open_disk();
	watch_by_hand(1000);
	nr_to_hold = nr;
}

static void *reset_queue_0_by_force(void *arg)
{
	(void)arg;
	ck_assert_int_eq(vblk_reset_queue(r.dev, 0, 0, true), 0);
	return NULL;
}

/* A flush among them: what was written before it is still in the device's cache. */
START_TEST(queue_that_stands_is_reset_while_another_goes_on)
{
	static struct io io[20];
	struct blk_queue *other;
	pthread_t resetter;
	uint8_t *buf, *more;

	r.cfg.ids.subvendor = NOT_QEMU;
	r.cfg.order = MODEL_SHUFFLED;
	open_holding_queue_0(0);
	buf = dma(20 * 512);
	more = dma(512);
	fill(buf, 20 * 512, 6);
	ck_assert_int_eq(blk_queue_open(r.dev, &other), 0);
	ck_assert_int_eq(writes(100, 1, more), 0);
	nr_to_hold = 5;
	for (unsigned i = 0; i < 20; i++) {
		io_init(&io[i], i == 2 ? BLK_FLUSH : BLK_WRITE, i == 2 ? 0 : i, i != 2,
			buf + i * 512);
		ck_assert_int_eq(submit(&io[i]), 0);
	}
	blk_kick(r.q);
	ck_assert_int_eq(pthread_create(&resetter, NULL, reset_queue_0_by_force, NULL), 0);
	while (info().nr_queue_resets == 0)
		ck_assert_int_eq(blk_do(other, BLK_WRITE, 101, 1, more), 0);
	pthread_join(resetter, NULL);
	all_end_with(io, 20, 0);
	for (unsigned i = 0; i < 20; i++)
		if (i != 2)
			ck_assert_mem_eq(model_disk(r.m) + i * 512, buf + i * 512, 512);
	ck_assert(!log_says("may be lost"));
	ck_assert_int_eq(flush(), 0);
	ck_assert_uint_eq(info().nr_resets, 0);
	blk_queue_close(other);
	blk_dma_free(r.dev, more, 512);
	blk_dma_free(r.dev, buf, 20 * 512);
}
END_TEST

static atomic_bool asleep, may_go_on;

static void sleep_long(struct model *m, uint32_t us, void *arg)
{
	(void)m, (void)us, (void)arg;
	atomic_store(&asleep, true);
	wait_until(atomic_load(&may_go_on));
}

static void hold_all_but_ids(struct model_req *req, void *arg)
{
	(void)arg;
	req->hold = req->type != VIRTIO_BLK_T_GET_ID;
}

static void *reset_queue_0(void *arg)
{
	(void)arg;
	ck_assert_int_eq(vblk_reset_queue(r.dev, 0, 0, false), 0);
	return NULL;
}

static void *complete_in_queue_1(void *arg)
{
	struct vblk_handle *h = arg;

	wait_until(atomic_load(&h->armed));
	model_config(r.m)->on_complete = NULL;
	ck_assert(model_complete(r.m, 1, 0));
	return NULL;
}

static unsigned nr_isr_reads(void)
{
	struct model_stat s;

	model_get_stat(r.m, &s);
	return s.isr_reads;
}

/* The interrupt's thread waits with a change of the configuration until the reset has ended. */
START_TEST(change_while_a_queue_is_reset_lets_no_other_sleep_on)
{
	static struct io io[2];
	pthread_t resetter, device;
	struct blk_queue *other;
	unsigned before;
	uint8_t *buf;

	atomic_store(&asleep, false);
	atomic_store(&may_go_on, false);
	r.cfg.on_complete = hold_all_but_ids;
	r.cfg.nr_queues = r.cfg.blk.num_queues = 2;
	r.cfg.queue_size[0] = r.cfg.queue_size[1] = 16;
	open_disk();
	((struct vblk *)r.dev)->watch.tick_ms = 20;
	ck_assert_int_eq(blk_queue_open(r.dev, &other), 0);
	buf = dma(2 * 512);
	io_init(&io[0], BLK_WRITE, 0, 1, buf);
	io_init(&io[1], BLK_WRITE, 1, 1, buf + 512);
	ck_assert_int_eq(submit(&io[0]), 0);
	blk_kick(r.q);
	model_config(r.m)->on_sleep = sleep_long;
	ck_assert_int_eq(pthread_create(&resetter, NULL, reset_queue_0, NULL), 0);
	wait_until(atomic_load(&asleep));
	before = nr_isr_reads();
	model_set_capacity(r.m, 20000, true);
	wait_until(nr_isr_reads() > before);
	other->spin_us = 0;
	ck_assert_int_eq(blk_submit(other, &io[1].req), 0);
	ck_assert_int_eq(pthread_create(&device, NULL, complete_in_queue_1, other), 0);
	while (io[1].calls == 0)
		(void)blk_wait(other, -1);
	ck_assert(!atomic_load(&may_go_on));
	ck_assert(model_complete(r.m, 0, 0));
	atomic_store(&may_go_on, true);
	pthread_join(device, NULL);
	pthread_join(resetter, NULL);
	all_end_with(io, 1, 0);
	wait_for_capacity(20000);
	blk_queue_close(other);
	blk_dma_free(r.dev, buf, 2 * 512);
}
END_TEST

START_TEST(queue_that_can_not_be_reset_has_its_device_reset)
{
	static struct io io[3];
	uint8_t *buf;

	r.cfg.ids.subvendor = NOT_QEMU;
	r.cfg.queue_reset_stuck = true;
	open_holding_queue_0(3);
	buf = dma(3 * 512);
	submit_some(io, 3, buf);
	ck_assert_int_eq(vblk_reset_queue(r.dev, 0, 0, true), 0);
	all_end_with(io, 3, 0);
	ck_assert_uint_eq(info().nr_queue_resets, 0);
	ck_assert_uint_eq(info().nr_resets, 1);
	disk_works();
	blk_dma_free(r.dev, buf, 3 * 512);
}
END_TEST

static unsigned size_of_ring(unsigned index)
{
	struct vblk_detail d;

	ck_assert_int_eq(vblk_describe(r.dev, &d), 0);
	return d.ring[index].size;
}

START_TEST(size_that_a_reset_of_the_device_can_not_give_is_said)
{
	r.cfg.queue_reset_stuck = true;
	r.opts.ring_size = 16;
	open_disk();
	ck_assert_int_eq(vblk_reset_queue(r.dev, 0, 32, false), -ECANCELED);
	ck_assert_uint_eq(info().nr_resets, 1);
	ck_assert_uint_eq(size_of_ring(0), 16);
	ck_assert_int_eq(vblk_reset_queue(r.dev, 0, 16, false), 0);
	ck_assert_uint_eq(info().nr_resets, 2);
	disk_works();
}
END_TEST

static void use_all(struct model *m, void *arg)
{
	(void)arg;
	(void)model_complete_all(m);
	model_lie_at(m, 3, 0); /* after queue_reset and queue_enable: the size */
}

/* What it uses in the last moment, and leaves in the ring, is not the driver's to take any more, nor
 * when the queue then does not come back, and its device is reset. */
START_TEST(requests_used_while_the_queue_is_reset_come_back_once)
{
	static struct io io[20];
	uint8_t *buf;

	r.opts.poll_only = true; /* nobody else reads a register */
	r.cfg.ids.subvendor = NOT_QEMU;
	r.cfg.neat_queue_reset = true;
	r.cfg.on_queue_reset = use_all;
	open_holding(io, BLK_WRITE, 20, &buf);
	model_config(r.m)->hold = false; /* of what comes later */
	ck_assert_int_eq(vblk_reset_queue(r.dev, 0, 0, true), 0);
	ck_assert_uint_eq(info().nr_queue_resets, 0);
	ck_assert_uint_eq(info().nr_resets, 1);
	model_config(r.m)->run_on_polls = 1;
	all_end_with(io, 20, 0);
	ck_assert_uint_eq(done_of_type(VIRTIO_BLK_T_OUT), 20 + 20);
	disk_works();
	blk_dma_free(r.dev, buf, 20 * 512);
}
END_TEST

/* It may end them all the same, in a ring that has others by then: QEMU's does, by whatever name it is
 * sold. So it must have finished, or the user knows better, but not better than we. */
START_TEST(queue_with_requests_is_not_reset_alone)
{
	static struct io io[3];
	uint8_t *buf;

	r.cfg.ids.subvendor = _i == 0 ? NOT_QEMU : VIRTIO_PCI_VENDOR;
	open_holding_queue_0(3);
	buf = dma(3 * 512);
	submit_some(io, 3, buf);
	ck_assert_int_eq(vblk_reset_queue(r.dev, 0, 0, _i == 2), -ETIMEDOUT);
	ck_assert_uint_eq(model_trace_count(r.m, MODEL_COMMON, true,
				  offsetof(struct virtio_pci_common_cfg, queue_reset)),
		0);
	ck_assert_int_eq(vblk_reset_queue(r.dev, 1, 0, false), 0);
	ck_assert_uint_eq(info().nr_queue_resets, 1);
	(void)model_complete_all(r.m);
	all_end_with(io, 3, 0);
	ck_assert_uint_eq(info().nr_resets, 0);
	blk_dma_free(r.dev, buf, 3 * 512);
}
END_TEST

static void *resize_again_and_again(void *arg)
{
	static const unsigned sizes[] = {4, 0, 64, 16, 8, 32};

	(void)arg;
	for (unsigned n = 0; !atomic_load(&workers_end); n++) {
		ck_assert_int_eq(vblk_reset_queue(r.dev, n % 2, sizes[n % 6], false), 0);
		atomic_fetch_add(&changes_made, 1);
	}
	return NULL;
}

START_TEST(queues_are_resized_under_load)
{
	r.cfg.when = MODEL_THREAD;
	r.cfg.order = MODEL_SHUFFLED;
	r.cfg.nr_queues = r.cfg.blk.num_queues = 2;
	r.cfg.queue_size[0] = r.cfg.queue_size[1] = 64;
	r.opts.ring_size = 16;
	open_disk();
	change_under_load(resize_again_and_again, 7);
	ck_assert_uint_eq(info().nr_queue_resets, atomic_load(&changes_made));
	ck_assert_uint_eq(info().nr_resets, 0);
}
END_TEST

START_TEST(queue_of_a_size_that_can_not_be_is_refused)
{
	static const unsigned sizes[] = {1, 2, 3, 5, 48, 512, 65536 + 4};
	struct vblk_detail d;

	open_disk();
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		ck_assert_int_eq(vblk_reset_queue(r.dev, 0, sizes[i], false), -EINVAL);
	ck_assert_int_eq(vblk_reset_queue(r.dev, 1, 0, false), -EINVAL);
	ck_assert_int_eq(vblk_reset_queue(r.dev, 0, 4, false), 0);
	ck_assert_int_eq(vblk_describe(r.dev, &d), 0);
	ck_assert_uint_eq(d.ring[0].size, 4);
	ck_assert_uint_eq(d.ring[0].max_size, 256);
	disk_works();
	rig_disk_close(&r);
	rig_end(&r);
	rig_init(&r);
	r.cfg.features[0] &= ~BIT(VIRTIO_F_RING_RESET);
	open_disk();
	ck_assert_int_eq(vblk_reset_queue(r.dev, 0, 4, false), -EOPNOTSUPP);
}
END_TEST

static struct vblk_detail while_busy;

/* Only now does the device do what the driver waits for. */
static void describe_and_serve(struct model *m, uint32_t us, void *arg)
{
	(void)us, (void)arg;
	if (!while_busy.busy)
		ck_assert_int_eq(vblk_describe(r.dev, &while_busy), 0);
	stop_holding();
	(void)model_complete_all(m);
}

START_TEST(device_is_described_while_it_is_busy) /* looped: reset, of a queue, cache */
{
	static struct vblk_detail later;
	static struct io io[3];
	uint8_t *buf;
	int err;

	r.cfg.features[0] |= BIT(VIRTIO_BLK_F_CONFIG_WCE);
	r.cfg.on_sleep = describe_and_serve;
	while_busy = (struct vblk_detail){.busy = true};
	open_holding(io, BLK_WRITE, 3, &buf);
	while_busy.busy = false;
	err = _i == 0   ? vblk_reset_disk(r.dev)
	      : _i == 1 ? vblk_reset_queue(r.dev, 0, 16, false)
			: vblk_set_cache(r.dev, false);
	ck_assert_int_eq(err, 0);
	ck_assert(while_busy.busy);
	ck_assert_uint_eq(while_busy.status | while_busy.seg_max, 0);
	ck_assert_uint_eq(while_busy.features, model_driver_features(r.m));
	ck_assert_uint_eq(while_busy.ring[0].size, 32);
	ck_assert_int_eq(vblk_describe(r.dev, &later), 0);
	ck_assert(!later.busy);
	ck_assert_uint_eq(later.status, 0xf);
	ck_assert_uint_eq(later.ring[0].size, _i == 1 ? 16 : 32);
	all_end_with(io, 3, 0);
	blk_dma_free(r.dev, buf, 3 * 512);
}
END_TEST

START_TEST(queue_keeps_its_size_where_there_is_no_memory)
{
	unsigned nth = 0;

	r.opts.ring_size = 16;
	open_disk();
	do {
		model_fail_nth(r.m, ++nth);
		ck_assert_int_eq(
			vblk_reset_queue(r.dev, 0, 32, false), model_failed(r.m) ? -ENOMEM : 0);
		ck_assert_uint_eq(size_of_ring(0), model_failed(r.m) ? 16 : 32);
		nth += !model_failed(r.m);
	} while (model_failed(r.m));
	model_fail_nth(r.m, 0);
	ck_assert_uint_eq(nth, 5); /* slots, ring, tables */
	disk_works();
}
END_TEST

static void remove_at_capacity(struct model *m, uint32_t off, void *arg)
{
	(void)arg;
	if (off == 4) /* its upper half */
		model_remove(m);
}

/* VIRTIO.md trap 15: all ones would pass for a capacity */
START_TEST(removal_while_the_configuration_is_read_changes_nothing)
{
	r.cfg.features[0] &= BIT(VIRTIO_F_VERSION_1);
	open_disk();
	model_config(r.m)->on_config_read = remove_at_capacity;
	model_set_capacity(r.m, 1000, true);
	wait_until_log_says("gone");
	ck_assert_uint_eq(info().nr_sectors, 16384);
	wait_until(flush() != 0); /* it is said, then done */
	ck_assert_int_eq(flush(), -ENODEV);
}
END_TEST

START_TEST(ring_size_is_what_was_asked_for)
{
	r.opts.ring_size = 1U << _i;
	open_disk();
	ck_assert_uint_le(model_queue_size_set(r.m, 0), _i < 2 ? 4 : 1U << _i);
	disk_works();
}
END_TEST

START_TEST(ring_too_small_for_a_request_is_refused)
{
	r.cfg.queue_size[0] = 2;
	is_refused(-EOPNOTSUPP, "too few");
}
END_TEST

static TCase *begin(Suite *suite, const char *name, SFun set_up)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, set_up, teardown);
	tcase_set_timeout(tc, 30);
	suite_add_tcase(suite, tc);
	return tc;
}

static void add_configuration(TCase *tc)
{
	tcase_add_test(tc, disk_says_what_the_device_is);
	tcase_add_test(tc, device_is_described_for_people);
	tcase_add_test(tc, positions_are_sectors_of_512_whatever_the_block);
	tcase_add_loop_test(tc, fields_are_read_only_where_their_feature_is_offered, 0, 41);
	tcase_add_test(tc, unknown_block_features_are_not_accepted);
	tcase_add_loop_test(tc, configuration_of_any_length_is_used_as_far_as_it_goes, 0, 7);
	tcase_add_test(tc, configuration_too_short_for_a_capacity_is_refused);
	tcase_add_test(tc, capacity_that_changes_between_its_halves_is_read_again);
	tcase_add_test(tc, configuration_that_never_stands_still_is_refused);
	tcase_add_loop_test(tc, configuration_that_makes_no_sense_is_refused, 0, 5);
	tcase_add_test(tc, blocks_larger_than_4096_are_not_supported);
	tcase_add_test(tc, serial_of_20_bytes_needs_no_nul);
	tcase_add_test(tc, serial_is_safe_to_print);
	tcase_add_test(tc, device_without_a_serial_works);
	tcase_add_loop_test(tc, zoned_disk_is_used_only_where_it_can_be_written_at_random, 0, 4);
	tcase_add_test(tc, zoned_disk_that_does_not_say_how_is_refused);
	tcase_add_loop_test(tc, lifetime_is_asked_for_where_it_is_offered, 0, 2);
	tcase_add_test(tc, device_that_does_not_know_its_lifetime_works);
	tcase_add_loop_test(tc, queues_are_as_many_as_device_and_options_allow, 0, 5);
	tcase_add_loop_test(tc, ring_size_is_what_was_asked_for, 1, 9);
	tcase_add_test(tc, ring_too_small_for_a_request_is_refused);
}

static void add_requests(TCase *tc)
{
	tcase_add_loop_test(tc, transfers_are_split_by_size_max_and_seg_max, 0, 11);
	tcase_add_loop_test(tc, memory_in_pieces_of_any_size_is_gathered, 0, 10);
	tcase_add_test(tc, adjacent_memory_is_one_descriptor);
	tcase_add_test(tc, memory_that_is_no_dma_memory_is_an_error);
	tcase_add_test(tc, less_memory_than_sectors_is_an_error);
	tcase_add_test(tc, nothing_goes_past_the_end);
#ifndef __SANITIZE_THREAD__ /* it leaves no room for so large a disk */
	tcase_add_test(tc, sector_numbers_have_64_bits);
#endif
	tcase_add_loop_test(tc, read_only_disk_refuses_writes_by_itself, 0, 2);
	tcase_add_loop_test(tc, flush_is_sent_where_there_is_a_volatile_cache, 0, 5);
	tcase_add_test(tc, what_was_written_before_a_flush_survives_a_power_cut);
	tcase_add_test(tc, without_a_volatile_cache_a_write_is_durable);
	tcase_add_test(tc, cache_is_switched_off_and_flushed_once);
	tcase_add_loop_test(tc, cache_that_can_not_be_switched_off_is_said, 0, 2);
	tcase_add_loop_test(tc, write_zeroes_reads_as_zeros, 0, 2);
	tcase_add_loop_test(tc, ranges_are_split_by_their_limit_and_alignment, 0, 3);
	tcase_add_test(tc, secure_erase_is_sent_as_such);
	tcase_add_loop_test(tc, secure_erase_without_limits_is_refused, 0, 3);
	tcase_add_loop_test(tc, alignment_that_breaks_blocks_is_not_followed, 0, 2);
	tcase_add_test(tc, limits_of_zero_mean_none);
	tcase_add_test(tc, what_the_device_lacks_is_not_supported);
	tcase_add_test(tc, status_byte_alone_decides);
	tcase_add_test(tc, used_length_says_nothing);
	tcase_add_test(tc, one_failed_part_fails_the_request_once);
}

static void add_rings(TCase *tc)
{
	tcase_add_test(tc, batch_rings_the_doorbell_once);
	tcase_add_loop_test(tc, full_ring_is_no_error, 0, 6);
	tcase_add_test(tc, done_may_submit_again);
	tcase_add_loop_test(tc, threads_share_rings_and_get_their_own_completions, 0, 3);
	tcase_add_test(tc, figures_count_what_was_done);
	tcase_add_test(tc, figures_tell_polls_that_missed_and_doorbells_that_were_saved);
	tcase_add_test(tc, figures_count_requests_that_failed);
	tcase_add_test(tc, latency_is_the_time_that_the_device_had_a_request);
	tcase_add_test(tc, buckets_are_powers_of_two);
	tcase_add_loop_test(tc, sleeper_is_woken_by_the_interrupt, 0, 2);
	tcase_add_loop_test(tc, completion_in_the_window_of_arming_is_not_lost, 0, 4);
	tcase_add_test(tc, polling_takes_no_interrupt);
	tcase_add_loop_test(tc, disk_without_interrupt_is_polled, 0, 2);
	tcase_add_test(tc, lost_interrupt_costs_a_tick_and_not_for_ever);
	tcase_add_test(tc, spurious_interrupts_do_no_harm);
}

static void add_queue_resets(TCase *tc)
{
	tcase_add_test(tc, queue_that_stands_is_reset_while_another_goes_on);
	tcase_add_test(tc, change_while_a_queue_is_reset_lets_no_other_sleep_on);
	tcase_add_test(tc, queue_that_can_not_be_reset_has_its_device_reset);
	tcase_add_test(tc, size_that_a_reset_of_the_device_can_not_give_is_said);
	tcase_add_test(tc, requests_used_while_the_queue_is_reset_come_back_once);
	tcase_add_loop_test(tc, queue_with_requests_is_not_reset_alone, 0, 3);
	tcase_add_test(tc, queues_are_resized_under_load);
	tcase_add_test(tc, queue_of_a_size_that_can_not_be_is_refused);
	tcase_add_loop_test(tc, device_is_described_while_it_is_busy, 0, 3);
	tcase_add_test(tc, queue_keeps_its_size_where_there_is_no_memory);
}

/* What a legacy device can't say, or does not have. */
static void add_modern(TCase *tc)
{
	tcase_add_loop_test(
		tc, vector_of_a_ring_wakes_its_only_sleeper_without_a_thread_between, 0, 2);
	tcase_add_loop_test(tc, vector_that_can_not_be_redirected_costs_no_wake_up, 0, 3);
	tcase_add_test(tc, shared_vector_wakes_by_the_thread);
	tcase_add_test(tc, reset_sets_the_vectors_again);
	tcase_add_loop_test(tc, needs_reset_is_recovered_and_requests_are_sent_again, 0, 2);
	tcase_add_loop_test(tc, unflushed_writes_before_a_reset_fail_the_next_flush_once, 0, 3);
	tcase_add_loop_test(tc, flush_in_flight_at_a_reset_fails_if_anything_may_be_lost, 0, 2);
	tcase_add_test(tc, device_that_asks_for_resets_without_end_is_given_up);
	tcase_add_test(tc, writes_before_the_cache_was_switched_on_are_durable);
}

static void add_legacy(TCase *tc)
{
	tcase_add_test(tc, legacy_disk_is_described_as_one);
	tcase_add_test(tc, positions_are_sectors_of_512_whatever_the_block);
	tcase_add_loop_test(tc, fields_are_read_only_where_their_feature_is_offered, 0, 32);
	tcase_add_test(tc, capacity_that_changes_between_its_halves_is_read_again);
	tcase_add_test(tc, configuration_that_never_stands_still_is_refused);
	tcase_add_loop_test(tc, configuration_that_makes_no_sense_is_refused, 0, 5);
	tcase_add_test(tc, serial_of_20_bytes_needs_no_nul);
	tcase_add_loop_test(tc, queues_are_as_many_as_device_and_options_allow, 0, 3);
	tcase_add_test(tc, ring_too_small_for_a_request_is_refused);
	tcase_add_test(tc, silent_legacy_device_is_reset_after_its_timeout);
}

static void add_changes(TCase *tc)
{
	tcase_add_test(tc, capacity_follows_the_device);
	tcase_add_test(tc, reset_that_is_asked_for_loses_nothing);
	tcase_add_test(tc, broken_ring_is_not_waited_for);
	tcase_add_loop_test(tc, slow_disk_is_waited_for_while_it_gets_on, 0, 4);
	tcase_add_test(tc, resets_under_load_lose_nothing);
	tcase_add_test(tc, cache_mode_is_set_after_a_flush_and_kept_over_a_reset);
	tcase_add_test(tc, shrinking_below_what_is_used_is_said_loudly);
	tcase_add_test(tc, removed_device_ends_all_with_enodev);
	tcase_add_test(tc, removed_device_is_noticed_without_interrupts);
	tcase_add_test(tc, disk_can_be_closed_and_opened_again);
	tcase_add_test(tc, any_failing_step_leaves_nothing_behind);
	tcase_add_test(tc, device_that_never_answers_is_given_up);
	tcase_add_test(tc, bus_mastering_lost_while_it_opens_is_named);
	tcase_add_test(tc, device_stopped_while_it_opens_is_named);
	tcase_add_loop_test(tc, stall_is_reported_with_its_cause, 0, 4);
	tcase_add_test(tc, stopped_device_is_reset_and_goes_on);
	tcase_add_loop_test(tc, suspend_of_the_machine_loses_nothing, 0, 4);
	tcase_add_test(tc, suspend_that_is_counted_late_is_known_all_the_same);
	tcase_add_test(tc, suspends_may_be_many);
	tcase_add_test(tc, device_that_was_reset_by_others_goes_on_and_fails_a_flush);
	tcase_add_test(tc, function_that_is_gone_and_reads_as_zero_is_gone);
	tcase_add_loop_test(tc, timeout_resets_once_and_then_gives_up, 0, 4);
	tcase_add_test(tc, device_whose_answers_nobody_takes_has_not_stalled);
	tcase_add_test(tc, request_has_all_its_time_again_after_a_reset);
	tcase_add_test(tc, removal_while_the_configuration_is_read_changes_nothing);
}

int main(void)
{
	Suite *suite = suite_create("virtio_blk");
	SRunner *runner;
	int failed;

	add_configuration(begin(suite, "configuration", setup));
	add_requests(begin(suite, "requests", setup));
	add_rings(begin(suite, "rings", setup));
	add_changes(begin(suite, "changes", setup));
	add_requests(begin(suite, "packed requests", setup_packed));
	add_rings(begin(suite, "packed rings", setup_packed));
	add_changes(begin(suite, "packed changes", setup_packed));
	add_modern(begin(suite, "modern changes", setup));
	add_modern(begin(suite, "packed modern changes", setup_packed));
	add_queue_resets(begin(suite, "queue_resets", setup));
	add_queue_resets(begin(suite, "packed_queue_resets", setup_packed));
	add_legacy(begin(suite, "legacy configuration", setup_legacy));
	add_requests(begin(suite, "legacy requests", setup_legacy));
	add_rings(begin(suite, "legacy rings", setup_legacy));
	add_changes(begin(suite, "legacy changes", setup_legacy));
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
