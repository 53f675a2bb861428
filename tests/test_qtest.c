/* test_qtest.c - the whole driver on QEMU's own virtio-blk device, with no guest: what the device
 * that others wrote makes of it. What it wrote is looked for in QEMU's image, not asked of the
 * device. Row ids are those of the virtio checklist. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "qtest/hw_qtest.h"
#include "qtest/qemu.h"
#include "until.h"
#include "vblk.h"
#include "virtio_blk.h"
#include "virtio_pci_layout.h"

#define BIT(n)     (1ULL << (n))
#define SLOT_BYTES 65536U
#define NR_SLOTS   (QEMU_DISK_BYTES / SLOT_BYTES)
#define NR_IO      48U
#define RINGS_MAX  4U
#define NR_OPS     (BLK_WRITE_ZEROES + 1) /* QEMU has no others */
#define PIECES_MAX 128U

static struct qemu_opts machine;
static struct disk_opts opts;
static struct qemu *q;
static struct hw *hw;
static struct blockdev *dev;
static unsigned nr_queues;
static struct blk_queue *queue[RINGS_MAX];
static uint32_t unit; /* bytes of a logical block */
static uint64_t seed;
static uint8_t expected[QEMU_DISK_BYTES];

struct io {
	struct blk_req req; /* first */
	struct iovec iov[PIECES_MAX];
	uint8_t *buf; /* twice a slot: pieces lie apart */
	unsigned calls;
	int err;
};
static struct io io[NR_IO];

/* Properties of the device that not every QEMU has: where one is missing its rows are left out. */
static struct newer {
	const char *name;
	bool missing;
} newer[] = {{.name = "in_order"}, {.name = "iothread-vq-mapping"}};
#define NR_NEWER (sizeof(newer) / sizeof(newer[0]))

static void look_at_newer(void)
{
	for (unsigned i = 0; i < NR_NEWER; i++)
		newer[i].missing = !qemu_offers(newer[i].name);
}

static void say_what_is_left_out(void)
{
	for (unsigned i = 0; i < NR_NEWER; i++)
		if (newer[i].missing)
			(void)printf("SKIPPED: this QEMU's device has no %s\n", newer[i].name);
}

static bool is_left_out(const char *device)
{
	for (unsigned i = 0; i < NR_NEWER; i++)
		if (newer[i].missing && strstr(device, newer[i].name) != NULL)
			return true;
	return false;
}

static void setup(void)
{
	machine = (struct qemu_opts){.device = NULL};
	opts = (struct disk_opts){.max_rings = 0};
	seed = 1;
}

/* Its disk is full. */
static void start_qemu(void)
{
	q = qemu_start(&machine);
	for (size_t i = 0; i < sizeof(expected); i++)
		expected[i] = (uint8_t)(i * 7 + i / 4096);
	memcpy(qemu_disk(q), expected, sizeof(expected));
}

static void open_disk(void)
{
	struct blk_info info;
	char err[256] = "";

	if (q == NULL)
		start_qemu();
	hw = hw_qtest_open(q);
	ck_assert_msg(vblk_open_hw(hw, &opts, &dev, err, sizeof(err)) == 0, "%s", err);
	blk_get_info(dev, &info);
	unit = info.logical_bytes;
	nr_queues = info.nr_rings < RINGS_MAX ? info.nr_rings : RINGS_MAX;
	for (unsigned i = 0; i < nr_queues; i++)
		ck_assert_int_eq(blk_queue_open(dev, &queue[i]), 0);
	for (unsigned i = 0; i < NR_IO; i++) {
		io[i].buf = blk_dma_alloc(dev, 2UL * SLOT_BYTES);
		ck_assert_ptr_nonnull(io[i].buf);
	}
}

static void close_disk(void)
{
	for (unsigned i = 0; i < NR_IO; i++)
		blk_dma_free(dev, io[i].buf, 2UL * SLOT_BYTES);
	for (unsigned i = 0; i < nr_queues; i++)
		blk_queue_close(queue[i]);
	blk_close(dev);
	dev = NULL;
}

static void teardown(void)
{
	if (dev != NULL)
		close_disk();
	if (q != NULL)
		qemu_stop(q);
	q = NULL;
}

static struct blk_info info(void)
{
	struct blk_info i;

	blk_get_info(dev, &i);
	return i;
}

static uint32_t draw(uint32_t below)
{
	seed = seed * 6364136223846793005 + 1442695040888963407;
	return (uint32_t)((seed >> 33) % below);
}

/* Requests: each in a slot of the disk that no other one has, its memory in pieces of one size, with
 * gaps between them. */

static void on_done(struct blk_req *req, int err)
{
	struct io *i = (struct io *)req;

	i->calls++;
	i->err = err;
}

static void copy_pieces(struct io *i, uint8_t *disk, bool to_memory)
{
	for (int n = 0; n < i->req.nr_iov; n++) {
		if (to_memory)
			memcpy(i->iov[n].iov_base, disk, i->iov[n].iov_len);
		else
			memcpy(disk, i->iov[n].iov_base, i->iov[n].iov_len);
		disk += i->iov[n].iov_len;
	}
}

static enum blk_op draw_op(void)
{
	struct blk_info i = info();
	enum blk_op op = (enum blk_op)draw(i.read_only ? 1 : NR_OPS);

	if ((op == BLK_DISCARD && !i.can_discard) ||
		(op == BLK_WRITE_ZEROES && !i.can_write_zeroes))
		return BLK_WRITE;
	return op;
}

static void make_iov(struct io *i, uint32_t piece)
{
	uint32_t left = i->req.nr_sectors * SECTOR_BYTES;

	i->req.iov = i->iov;
	for (int n = 0; left > 0; n++) {
		uint32_t step = left < piece ? left : piece;

		i->iov[n] = (struct iovec){i->buf + 2UL * piece * (unsigned)n, step};
		i->req.nr_iov = n + 1;
		left -= step;
	}
}

static void make(struct io *i, enum blk_op op, unsigned slot, uint32_t first_unit,
	uint32_t nr_units, uint32_t piece)
{
	i->calls = 0;
	i->err = 1;
	i->req = (struct blk_req){.op = op,
		.sector = (slot * SLOT_BYTES + first_unit * unit) / SECTOR_BYTES,
		.nr_sectors = nr_units * unit / SECTOR_BYTES,
		.done = on_done};
	if (op == BLK_FLUSH)
		i->req.sector = i->req.nr_sectors = 0;
	if (op != BLK_READ && op != BLK_WRITE)
		return;
	make_iov(i, piece);
	(void)draw(2);
	for (uint32_t at = 0; at < 2 * nr_units * unit; at += 8) {
		uint64_t word = (seed + at) * 0x9e3779b97f4a7c15;

		memcpy(i->buf + at, &word, 8);
	}
}

static void make_whole(struct io *i, enum blk_op op, unsigned slot)
{
	make(i, op, slot, 0, SLOT_BYTES / unit, SLOT_BYTES / 4);
}

static void make_any(struct io *i, unsigned slot)
{
	uint32_t nr_units = 1 + draw(SLOT_BYTES / unit);

	make(i, draw_op(), slot, draw(SLOT_BYTES / unit - nr_units + 1), nr_units, unit << draw(5));
}

static uint64_t byte_of(const struct io *i)
{
	return i->req.sector * SECTOR_BYTES;
}

static size_t length_of(const struct io *i)
{
	return (size_t)i->req.nr_sectors * SECTOR_BYTES;
}

/* What a request that is done has done. */
static void check_done(struct io *i)
{
	uint8_t *want = expected + byte_of(i), *disk = qemu_disk(q) + byte_of(i), *got;

	ck_assert_uint_eq(i->calls, 1);
	ck_assert_int_eq(i->err, 0);
	switch (i->req.op) {
	case BLK_READ:
		got = malloc(length_of(i));
		copy_pieces(i, got, false);
		ck_assert_mem_eq(got, want, length_of(i));
		free(got);
		break;
	case BLK_WRITE:
		copy_pieces(i, want, false);
		ck_assert_mem_eq(disk, want, length_of(i));
		break;
	case BLK_WRITE_ZEROES:
		memset(want, 0, length_of(i));
		ck_assert_mem_eq(disk, want, length_of(i));
		break;
	case BLK_DISCARD: /* BO14: whatever it is now */
		memcpy(want, disk, length_of(i));
		break;
	default:
		break;
	}
}

static bool all_done(unsigned from, unsigned step)
{
	for (unsigned i = from; i < NR_IO; i += step)
		if (io[i].calls == 0)
			return false;
	return true;
}

static void submit_all(void)
{
	for (unsigned i = 0; i < NR_IO; i++)
		ck_assert_int_eq(blk_submit(queue[i % nr_queues], &io[i].req), 0);
	for (unsigned i = 0; i < nr_queues; i++)
		blk_kick(queue[i]);
}

static void wait_all(void)
{
	for (unsigned i = 0; i < nr_queues; i++)
		while (!all_done(i, nr_queues))
			(void)blk_wait(queue[i], -1);
}

/* All slots of the first requests. */
static void submit_writes(void)
{
	for (unsigned i = 0; i < NR_IO; i++)
		make_whole(&io[i], BLK_WRITE, i);
	submit_all();
}

static void all_are_done(void)
{
	wait_all();
	for (unsigned i = 0; i < NR_IO; i++)
		check_done(&io[i]);
}

static void disk_works(unsigned rounds)
{
	for (unsigned round = 0; round < rounds; round++) {
		unsigned first = draw(NR_SLOTS);

		for (unsigned i = 0; i < NR_IO; i++)
			make_any(&io[i], (first + i) % NR_SLOTS);
		submit_all();
		all_are_done();
	}
	ck_assert_mem_eq(qemu_disk(q), expected, QEMU_DISK_BYTES);
}

static uint64_t nr_interrupts(void)
{
	struct blk_stat stat[RINGS_MAX];
	int n = blk_stats(dev, stat, RINGS_MAX);
	uint64_t sum = 0;

	for (int i = 0; i < n; i++)
		sum += stat[i].interrupts;
	return sum;
}

/* Asleep at once, one is woken by the device, unless it is the faster one each time. */
static void sleeper_is_woken(void)
{
	for (unsigned i = 0; i < nr_queues; i++)
		queue[i]->spin_us = 0;
	while (nr_interrupts() == 0)
		ck_assert_int_eq(blk_do(queue[0], BLK_READ, 0, 8, io[0].buf), 0);
}

/* The features, in all their combinations that matter */

#define VERSION_1 BIT(VIRTIO_F_VERSION_1)
#define INDIRECT  BIT(VIRTIO_RING_F_INDIRECT_DESC)
#define EVENTS    BIT(VIRTIO_RING_F_EVENT_IDX)
#define PACKED    BIT(VIRTIO_F_RING_PACKED)
#define DISCARD   BIT(VIRTIO_BLK_F_DISCARD)
#define ZEROES    BIT(VIRTIO_BLK_F_WRITE_ZEROES)
#define FLUSH     BIT(VIRTIO_BLK_F_FLUSH)
#define WCE       BIT(VIRTIO_BLK_F_CONFIG_WCE)
#define MQ        BIT(VIRTIO_BLK_F_MQ)
#define IN_ORDER  BIT(VIRTIO_F_IN_ORDER)

/* Two of the device's threads, each with every second queue. */
#define TWO_THREADS                                                                            \
	"\"num-queues\": 4, \"iothread-vq-mapping\": [{\"iothread\": \"io\"}, {\"iothread\": " \
	"\"io2\"}]"

static const struct combination {
	const char *device, *object, *object2;
	uint64_t has, lacks; /* features, as negotiated */
	unsigned rings;
	bool read_only;
	struct disk_opts opts;
} combinations[] = {
	/* clang-format off */
	{.device = "num-queues=1", .has = VERSION_1 | INDIRECT | EVENTS | DISCARD | ZEROES | FLUSH | WCE, .lacks = PACKED | MQ, .rings = 1},
	{.device = "num-queues=2", .has = MQ, .rings = 2},
	{.device = "num-queues=4,disable-legacy=on", .has = MQ, .rings = 4},
	{.device = "num-queues=4", .opts = {.max_rings = 3}, .rings = 3},
	{.device = "num-queues=2", .opts = {.poll_only = true}, .rings = 2},
	{.device = "num-queues=1,indirect_desc=off", .lacks = INDIRECT},
	{.device = "num-queues=1,event_idx=off", .lacks = EVENTS},
	{.device = "num-queues=2,event_idx=off,indirect_desc=off", .lacks = EVENTS | INDIRECT},
	{.device = "num-queues=1,queue-size=4", .opts = {.ring_size = 4}},
	{.device = "num-queues=2,queue-size=8,indirect_desc=off", .opts = {.ring_size = 8}},
	{.device = "num-queues=1,queue-size=16,seg-max-adjust=off", .opts = {.ring_size = 16}},
	{.device = "num-queues=1,queue-size=1024"},
	{.device = "num-queues=1,queue-size=1024", .opts = {.ring_size = 64}},
	{.device = "num-queues=1,packed=on", .has = PACKED},
	{.device = "num-queues=4,packed=on", .has = PACKED, .rings = 4},
	{.device = "num-queues=1,packed=on,event_idx=off", .has = PACKED, .lacks = EVENTS},
	{.device = "num-queues=1,packed=on,indirect_desc=off", .has = PACKED, .lacks = INDIRECT},
	{.device = "num-queues=2,packed=on,queue-size=4", .has = PACKED, .opts = {.ring_size = 4}},
	{.device = "num-queues=1,packed=on,queue-size=8,indirect_desc=off,event_idx=off", .has = PACKED, .opts = {.ring_size = 8}},
	{.device = "num-queues=1,packed=on,queue-size=1024", .has = PACKED},
	{.device = "num-queues=1,packed=on", .opts = {.poll_only = true}, .has = PACKED},
	{.device = "discard=off", .lacks = DISCARD, .has = ZEROES},
	{.device = "write-zeroes=off", .lacks = ZEROES, .has = DISCARD},
	{.device = "discard=off,write-zeroes=off", .lacks = DISCARD | ZEROES},
	{.device = "max-discard-sectors=24,max-write-zeroes-sectors=8", .has = DISCARD | ZEROES},
	{.device = "write-cache=off,config-wce=off", .lacks = FLUSH},
	{.device = "config-wce=off", .has = FLUSH, .lacks = WCE},
	{.device = "write-cache=off", .has = WCE},
	{.device = "logical_block_size=4096,physical_block_size=4096", .has = BIT(VIRTIO_BLK_F_BLK_SIZE)},
	{.device = "logical_block_size=4096,physical_block_size=4096,packed=on,num-queues=2", .has = PACKED},
	{.device = "iommu_platform=on,disable-legacy=on", .has = BIT(VIRTIO_F_ACCESS_PLATFORM)},
	{.device = "page-per-vq=on,num-queues=4", .rings = 4},
	{.device = "modern-pio-notify=on,num-queues=2", .rings = 2},
	{.device = "iothread=io,num-queues=4", .object = "iothread,id=io", .rings = 4},
	{.device = "iothread=io,packed=on", .object = "iothread,id=io", .has = PACKED},
	{.device = TWO_THREADS, .object = "iothread,id=io", .object2 = "iothread,id=io2", .rings = 4},
	{.device = TWO_THREADS ", \"packed\": true, \"in_order\": true", .object = "iothread,id=io", .object2 = "iothread,id=io2", .has = IN_ORDER | PACKED},
	{.device = "vectors=0", .has = INDIRECT},
	{.device = "num-queues=1,in_order=on", .has = IN_ORDER | INDIRECT | EVENTS, .lacks = PACKED},
	{.device = "num-queues=4,in_order=on,event_idx=off", .has = IN_ORDER, .lacks = EVENTS},
	{.device = "num-queues=1,in_order=on,indirect_desc=off", .has = IN_ORDER, .lacks = INDIRECT},
	{.device = "num-queues=2,in_order=on,indirect_desc=off,event_idx=off", .has = IN_ORDER, .opts = {.ring_size = 8}},
	{.device = "num-queues=1,in_order=on", .has = IN_ORDER, .opts = {.ring_size = 4}},
	{.device = "iothread=io,num-queues=2,in_order=on", .object = "iothread,id=io", .has = IN_ORDER},
	{.device = "num-queues=1,in_order=on,packed=on", .has = IN_ORDER | INDIRECT | EVENTS | PACKED},
	{.device = "num-queues=4,in_order=on,packed=on,event_idx=off", .has = IN_ORDER | PACKED, .lacks = EVENTS},
	{.device = "num-queues=1,in_order=on,packed=on,indirect_desc=off", .has = IN_ORDER | PACKED, .lacks = INDIRECT},
	{.device = "num-queues=2,in_order=on,packed=on,indirect_desc=off,event_idx=off", .has = IN_ORDER | PACKED, .opts = {.ring_size = 8}},
	{.device = "num-queues=1,in_order=on,packed=on", .has = IN_ORDER | PACKED, .opts = {.ring_size = 4}},
	{.device = "iothread=io,num-queues=2,in_order=on,packed=on", .object = "iothread,id=io", .has = IN_ORDER | PACKED},
	{.device = "num-queues=2", .has = BIT(VIRTIO_BLK_F_RO), .read_only = true},
	{.device = "disable-modern=on,num-queues=1", .has = INDIRECT | EVENTS | DISCARD | ZEROES | FLUSH, .lacks = VERSION_1},
	{.device = "disable-modern=on,num-queues=4", .lacks = VERSION_1, .rings = 4},
	{.device = "disable-modern=on", .opts = {.poll_only = true}, .lacks = VERSION_1},
	{.device = "disable-modern=on,indirect_desc=off,event_idx=off", .lacks = VERSION_1 | INDIRECT | EVENTS},
	{.device = "disable-modern=on,queue-size=8", .lacks = VERSION_1},
	{.device = "disable-modern=on,queue-size=1024,vectors=0", .lacks = VERSION_1},
	{.device = "disable-modern=on,write-cache=off,config-wce=off", .lacks = VERSION_1 | FLUSH},
	{.device = "disable-modern=on,logical_block_size=4096,physical_block_size=4096", .lacks = VERSION_1},
	/* clang-format on */
};

/* As it says itself: 10.0.13 has 1024, whatever queue-size is. */
static unsigned qemu_ring_size(void)
{
	struct json_object *status, *size;
	unsigned val;

	status = qemu_qmp(q,
		"{\"execute\": \"x-query-virtio-queue-status\", \"arguments\": "
		"{\"path\": \"/machine/peripheral/vblk/virtio-backend\", \"queue\": 0}}");
	ck_assert(json_object_object_get_ex(status, "vring-num-default", &size));
	val = (unsigned)json_object_get_int(size);
	json_object_put(status);
	return val;
}

static void check_negotiated(const struct combination *c)
{
	static struct vblk_detail d;

	ck_assert_int_eq(vblk_describe(dev, &d), 0);
	ck_assert_uint_eq(d.features & c->has, c->has);
	ck_assert_uint_eq(d.features & c->lacks, 0);
	ck_assert_uint_eq(d.features & ~d.offered, 0);
	if (c->rings != 0)
		ck_assert_uint_eq(d.nr_rings, c->rings);
	ck_assert_uint_eq(d.ring[0].size, c->opts.ring_size ? c->opts.ring_size : qemu_ring_size());
	ck_assert_uint_eq(d.status, d.features & VERSION_1 ? 0x0f : 0x07);
	ck_assert_str_eq(info().serial, "QTEST");
	ck_assert_uint_eq(info().nr_sectors, QEMU_DISK_BYTES / SECTOR_BYTES);
}

START_TEST(disk_holds_what_was_written)
{
	const struct combination *c = &combinations[_i];

	if (is_left_out(c->device))
		return;
	machine.device = c->device;
	machine.object = c->object;
	machine.object2 = c->object2;
	machine.read_only = c->read_only;
	opts = c->opts;
	seed = (uint64_t)_i + 1;
	open_disk();
	check_negotiated(c);
	disk_works(4);
	if (!c->opts.poll_only)
		sleeper_is_woken();
	disk_works(4);
	ck_assert_uint_eq(info().nr_resets, 0);
	close_disk();
	open_disk(); /* ST1, VQ4: after its reset it is as new */
	disk_works(1);
}
END_TEST

START_TEST(device_is_described_as_qemu_made_it)
{
	static struct vblk_detail d;

	machine.device = "num-queues=2,cyls=100,heads=7,secs=13,physical_block_size=4096,"
			 "min_io_size=8192,opt_io_size=65536,discard_granularity=16384,"
			 "max-discard-sectors=2048,max-write-zeroes-sectors=1024";
	open_disk();
	ck_assert_int_eq(vblk_describe(dev, &d), 0);
	ck_assert_uint_eq(d.cylinders, 100);
	ck_assert_uint_eq(d.heads, 7);
	ck_assert_uint_eq(d.sectors, 13);
	ck_assert_uint_eq(d.physical_exp, 3);
	ck_assert_uint_eq(d.alignment_offset, 0);
	ck_assert_uint_eq(d.min_io_blocks, 16);
	ck_assert_uint_eq(d.opt_io_blocks, 128);
	ck_assert_uint_eq(d.discard_align, 32);
	ck_assert_uint_eq(d.discard_sectors, 2048);
	ck_assert_uint_eq(d.discard_seg, 1);
	ck_assert_uint_eq(d.zeroes_sectors, 1024);
	ck_assert_uint_eq(d.zeroes_seg, 1);
	ck_assert(d.zeroes_may_unmap);
	ck_assert_uint_eq(d.seg_max, 254);
	ck_assert_uint_eq(info().physical_bytes, 4096);
}
END_TEST

/* 5.2.6: of zeros because they may be unmapped. */
START_TEST(what_is_discarded_or_zeroed_is_the_hosts_again)
{
	enum blk_op op = _i ? BLK_WRITE_ZEROES : BLK_DISCARD;
	uint64_t before;

	open_disk();
	before = qemu_disk_used(q);
	ck_assert_int_eq(blk_do(queue[0], op, 8192, 4096, NULL), 0);
	ck_assert_uint_eq(qemu_disk_used(q), before - 4096 * SECTOR_BYTES);
	memset(expected + 8192 * SECTOR_BYTES, 0, 4096 * SECTOR_BYTES);
	disk_works(1);
}
END_TEST

/* Changes and failures */

static void resize(const char *node, uint64_t bytes)
{
	json_object_put(qemu_qmp(q,
		"{\"execute\": \"block_resize\", \"arguments\": "
		"{\"node-name\": \"%s\", \"size\": %llu}}",
		node, (unsigned long long)bytes));
}

static void is_resized(uint64_t bytes)
{
	resize("disk", bytes);
	wait_until(info().nr_sectors == bytes / SECTOR_BYTES);
}

START_TEST(capacity_follows_the_image) /* BO18, PC18, CF1 */
{
	uint8_t *buf;

	open_disk();
	buf = io[0].buf;
	is_resized(2 * QEMU_DISK_BYTES);
	ck_assert_int_eq(blk_do(queue[0], BLK_READ, QEMU_DISK_BYTES / SECTOR_BYTES, 8, buf), 0);
	is_resized(QEMU_DISK_BYTES / 2);
	ck_assert_int_eq(
		blk_do(queue[0], BLK_READ, QEMU_DISK_BYTES / 2 / SECTOR_BYTES, 8, buf), -EINVAL);
	is_resized(QEMU_DISK_BYTES);
	memset(expected + QEMU_DISK_BYTES / 2, 0, QEMU_DISK_BYTES / 2);
	disk_works(2);
}
END_TEST

START_TEST(error_of_the_disk_fails_its_own_request_only) /* BO12 */
{
	static const char *const iotype[] = {
		[BLK_READ] = "read",
		[BLK_WRITE] = "write",
		[BLK_FLUSH] = "flush",
		[BLK_DISCARD] = "discard",
		[BLK_WRITE_ZEROES] = "write-zeroes",
	};
	enum blk_op op = (enum blk_op)_i;
	char filter[256];

	(void)snprintf(filter, sizeof(filter),
		"blkdebug,node-name=top,image=disk,discard=unmap,inject-error.0.event=none,"
		"inject-error.0.errno=5,inject-error.0.iotype=%s%s",
		iotype[op], op == BLK_FLUSH ? "" : ",inject-error.0.sector=700");
	machine.filter = filter;
	open_disk();
	ck_assert_int_eq(blk_do(queue[0], BLK_WRITE, 0, 8, io[0].buf), 0); /* to be flushed */
	memcpy(expected, io[0].buf, 4096);
	for (unsigned i = 0; i < NR_IO; i++)
		make_whole(&io[i], i == 5 ? op : op == BLK_WRITE ? BLK_READ : BLK_WRITE, i);
	submit_all();
	wait_all();
	ck_assert_int_eq(io[5].err, -EIO);
	io[5].req.op = BLK_FLUSH;
	io[5].err = 0;
	for (unsigned i = 0; i < NR_IO; i++)
		check_done(&io[i]);
	ck_assert_uint_eq(info().nr_resets, 0);
	ck_assert_mem_eq(qemu_disk(q), expected, QEMU_DISK_BYTES);
}
END_TEST

/* Reads and writes take for ever, all but the first. */
static void hold_requests(void)
{
	machine.object = "throttle-group,id=tg,x-bps-total=1";
	machine.filter = "throttle,node-name=top,throttle-group=tg,file=disk";
}

static void let_go(void)
{
	json_object_put(
		qemu_qmp(q, "{\"execute\": \"qom-set\", \"arguments\": {\"path\": \"/objects/tg\", "
			    "\"property\": \"limits\", \"value\": {\"bps-total\": 0}}}"));
	resize("top", QEMU_DISK_BYTES); /* which lets go of those that are held already */
}

static void wait_for_reset(unsigned nr)
{
	while (info().nr_resets < nr)
		(void)blk_wait(queue[0], 10); /* asleep it is watched */
	ck_assert_uint_eq(info().nr_resets, nr);
	((struct vblk *)dev)->timeout_s =
		0; /* from here on it may take all the time that it needs */
}

static void write_common(const struct vpci_layout *at, uint64_t off, int bytes, uint16_t val)
{
	if (bytes == 1)
		hw->ops->write8(hw, at->common.bar, at->common.off + off, (uint8_t)val);
	else
		hw->ops->write16(hw, at->common.bar, at->common.off + off, val);
}

static void disable_ring(void)
{
	struct vpci_layout at;

	ck_assert_int_eq(vpci_find_layout(hw, &at), 0);
	write_common(&at, offsetof(struct virtio_pci_common_cfg, queue_select), 2, 0);
	write_common(&at, offsetof(struct virtio_pci_common_cfg, queue_enable), 2, 0);
}

static void offer_descriptor_that_is_not_there(void)
{
	struct virtqueue *vq = ((struct vblk *)dev)->ring[0].vq;
	struct vq_addresses addr;
	struct vring_avail *avail;
	uint16_t idx;

	vq_get_addresses(vq, &addr);
	avail = (struct vring_avail *)((uint8_t *)dma_page(qemu_memory(q), 0) + addr.driver);
	idx = le16_get(avail->idx);
	avail->ring[idx % vq->size] = le16_of(vq->size);
	__atomic_store_n(&avail->idx.v, htole16(idx + 1), __ATOMIC_SEQ_CST);
	vq_notify(vq);
}

static void take_bus_mastering_away(void)
{
	(void)hw->ops->bus_master(hw, false);
}

static const struct {
	const char *device;
	void (*break_it)(void);
	uint32_t timeout_s;
	bool hangs; /* QEMU 7.2, at a kick after it */
} breaks[] = {
	{.device = "num-queues=2", .break_it = disable_ring},
	{.device = "num-queues=2,packed=on", .break_it = disable_ring},
	{.device = "num-queues=2,in_order=on", .break_it = disable_ring},
	{.device = "num-queues=2,in_order=on,packed=on", .break_it = disable_ring},
	{.device = "num-queues=2", .break_it = offer_descriptor_that_is_not_there},
	{.device = "num-queues=2", .break_it = take_bus_mastering_away},
	{.device = "num-queues=2,packed=on", .break_it = take_bus_mastering_away, .hangs = true},
	{.device = "num-queues=2,disable-modern=on", .break_it = take_bus_mastering_away},
	/* A legacy device can't say that it needs a reset: it falls silent. */
	{.device = "num-queues=2,disable-modern=on",
		.break_it = offer_descriptor_that_is_not_there,
		.timeout_s = 2},
};

/* ST4, PC11, SP2, trap 11. QEMU finishes what it has before a reset is over; and what comes after it
 * broke it does not take. */
START_TEST(device_that_breaks_is_reset_and_has_lost_nothing)
{
	unsigned how = (unsigned)_i / 2;
	bool before = _i % 2 == 0 || breaks[how].hangs;

	if (is_left_out(breaks[how].device))
		return;
	hold_requests();
	machine.device = breaks[how].device;
	opts.timeout_s = breaks[how].timeout_s;
	open_disk();
	if (before)
		submit_writes();
	breaks[how].break_it();
	if (!before)
		submit_writes();
	wait_for_reset(1);
	let_go();
	all_are_done();
	disk_works(2);
	ck_assert_uint_eq(info().nr_resets, 1);
}
END_TEST

START_TEST(flush_after_a_reset_says_that_writes_may_be_lost) /* trap 30 */
{
	open_disk();
	ck_assert_int_eq(blk_do(queue[0], BLK_WRITE, 0, 8, io[0].buf), 0);
	memcpy(expected, io[0].buf, 4096);
	disable_ring();
	wait_for_reset(1);
	ck_assert_int_eq(blk_do(queue[0], BLK_FLUSH, 0, 0, NULL), -EIO);
	ck_assert_int_eq(blk_do(queue[0], BLK_FLUSH, 0, 0, NULL), 0);
	disk_works(2);
}
END_TEST

START_TEST(request_that_takes_too_long_is_sent_again)
{
	hold_requests();
	machine.device = "num-queues=1";
	opts.timeout_s = 1;
	open_disk();
	submit_writes();
	wait_for_reset(1);
	ck_assert_uint_eq(info().nr_queue_resets, 0); /* QEMU would end them, in the new ring */
	let_go();
	all_are_done();
	disk_works(2);
}
END_TEST

static void *reset_again_and_again(void *arg)
{
	unsigned *nr = arg;

	for (*nr = 0; *nr < 12; ++*nr) {
		if (*nr % 3 == 2)
			ck_assert_int_eq(vblk_set_cache(dev, *nr % 2), 0);
		ck_assert_int_eq(vblk_reset_disk(dev), 0);
	}
	return NULL;
}

static const char *const kinds[] = {"num-queues=2", "num-queues=2,packed=on",
	"num-queues=2,in_order=on", "num-queues=2,in_order=on,packed=on",
	"num-queues=2,disable-modern=on"};
#define NR_KINDS  (sizeof(kinds) / sizeof(kinds[0]))
#define NR_MODERN (NR_KINDS - 1)

/* The other one works, and is reset, while this one has requests. */
START_TEST(two_disks_of_one_process_know_nothing_of_each_other)
{
	struct blk_queue *other_queue;
	struct blockdev *other;
	struct qemu *other_q;
	char err[256];
	uint8_t *buf;

	if (is_left_out(kinds[_i]))
		return;
	machine.device = kinds[_i];
	open_disk();
	other_q = qemu_start(&machine);
	ck_assert_msg(vblk_open_hw(hw_qtest_open(other_q), &opts, &other, err, sizeof(err)) == 0,
		"%s", err);
	ck_assert_int_eq(blk_queue_open(other, &other_queue), 0);
	buf = blk_dma_alloc(other, SLOT_BYTES);
	memset(buf, 0x5a, SLOT_BYTES);
	submit_writes();
	ck_assert_int_eq(blk_do(other_queue, BLK_WRITE, 0, SLOT_BYTES / SECTOR_BYTES, buf), 0);
	ck_assert_int_eq(vblk_reset_disk(other), 0);
	all_are_done();
	ck_assert_mem_eq(qemu_disk(other_q), buf, SLOT_BYTES);
	ck_assert_uint_eq(info().nr_resets, 0);
	blk_dma_free(other, buf, SLOT_BYTES);
	blk_queue_close(other_queue);
	blk_close(other);
	qemu_stop(other_q);
	disk_works(2);
}
END_TEST

START_TEST(reset_under_load_loses_nothing)
{
	pthread_t resetter;
	unsigned nr = 0;

	if (is_left_out(kinds[_i]))
		return;
	machine.device = kinds[_i];
	open_disk();
	ck_assert_int_eq(pthread_create(&resetter, NULL, reset_again_and_again, &nr), 0);
	while (info().nr_resets < 12)
		disk_works(1);
	ck_assert_int_eq(pthread_join(resetter, NULL), 0);
	ck_assert_uint_eq(info().nr_resets, 12);
	disk_works(2);
}
END_TEST

/* As if its owner had died after DRIVER_OK: MSI-X on, a ring enabled, a change to be told. */
static void leave_it_in_use(void)
{
	const uint8_t on = 0x80;
	struct vpci_layout at;

	hw = hw_qtest_open(q);
	ck_assert_int_eq(vpci_find_layout(hw, &at), 0);
	(void)hw->ops->cfg_write(hw, at.msix + 3U, &on, 1);
	if (at.common.bytes != 0) {
		write_common(&at, offsetof(struct virtio_pci_common_cfg, device_status), 1, 0x0f);
		write_common(&at, offsetof(struct virtio_pci_common_cfg, queue_enable), 2, 1);
	} else {
		hw->ops->write8(hw, 0, VIRTIO_PCI_STATUS, 7);
		hw->ops->write32(hw, 0, VIRTIO_PCI_QUEUE_PFN, 1);
	}
	resize("disk", QEMU_DISK_BYTES);
	free(hw);
}

START_TEST(device_that_a_dead_owner_left_is_taken_over) /* PC8, LG2, traps 7 and 9 */
{
	if (is_left_out(kinds[_i]))
		return;
	machine.device = kinds[_i];
	start_qemu();
	leave_it_in_use();
	open_disk();
	ck_assert_uint_eq(info().nr_sectors, QEMU_DISK_BYTES / SECTOR_BYTES);
	sleeper_is_woken();
	disk_works(2);
}
END_TEST

START_TEST(one_ring_is_reset_and_resized_while_the_others_go_on) /* VQ2, VQ4, PC13 */
{
	const struct virtio_config_ops *config;
	struct virtqueue *vq;

	if (is_left_out(kinds[_i]))
		return;
	machine.device = kinds[_i];
	open_disk();
	vq = ((struct vblk *)dev)->ring[1].vq;
	config = vq->vdev->config;
	ck_assert(virtio_has_feature(vq->vdev, VIRTIO_F_RING_RESET));
	for (uint16_t size = 256; size >= 128; size /= 2) {
		disk_works(1);
		ck_assert_int_eq(config->disable_vq_and_reset(vq), 0);
		ck_assert_int_eq(blk_do(queue[0], BLK_READ, 0, 8, io[0].buf), 0);
		ck_assert_int_eq(vq_resize(vq, size), 0);
		ck_assert_int_eq(config->enable_vq_after_reset(vq), 0);
	}
	disk_works(2);
	ck_assert_uint_eq(info().nr_resets, 0);
}
END_TEST

static void *resize_again_and_again(void *arg)
{
	static const unsigned sizes[] = {4, 256, 16, 0, 64};

	(void)arg;
	for (unsigned n = 0; n < 20; n++)
		ck_assert_int_eq(vblk_reset_queue(dev, n % 2, sizes[n % 5], false), 0);
	return NULL;
}

START_TEST(queues_are_resized_under_load) /* VQ2, VQ3, VQ4, PC13 */
{
	pthread_t resizer;

	if (is_left_out(kinds[_i]))
		return;
	machine.device = kinds[_i];
	open_disk();
	ck_assert_int_eq(pthread_create(&resizer, NULL, resize_again_and_again, NULL), 0);
	while (info().nr_queue_resets < 20)
		disk_works(1);
	ck_assert_int_eq(pthread_join(resizer, NULL), 0);
	ck_assert_uint_eq(info().nr_resets, 0);
	disk_works(2);
}
END_TEST

static void add_changes(TCase *tc)
{
	tcase_add_test(tc, capacity_follows_the_image);
	tcase_add_loop_test(tc, error_of_the_disk_fails_its_own_request_only, 0, NR_OPS);
	tcase_add_loop_test(tc, device_that_breaks_is_reset_and_has_lost_nothing, 0,
		2 * sizeof(breaks) / sizeof(breaks[0]));
	tcase_add_test(tc, flush_after_a_reset_says_that_writes_may_be_lost);
	tcase_add_test(tc, request_that_takes_too_long_is_sent_again);
	tcase_add_loop_test(tc, reset_under_load_loses_nothing, 0, NR_KINDS);
	tcase_add_loop_test(tc, device_that_a_dead_owner_left_is_taken_over, 0, NR_KINDS);
	tcase_add_loop_test(tc, two_disks_of_one_process_know_nothing_of_each_other, 0, NR_KINDS);
	tcase_add_loop_test(tc, one_ring_is_reset_and_resized_while_the_others_go_on, 0, NR_MODERN);
	tcase_add_loop_test(tc, queues_are_resized_under_load, 0, NR_MODERN);
}

static int run(void)
{
	Suite *suite = suite_create("qtest");
	TCase *tc[2] = {tcase_create("features"), tcase_create("changes")};
	SRunner *runner;
	int failed;

	look_at_newer();
	for (int i = 0; i < 2; i++) {
		tcase_add_checked_fixture(tc[i], setup, teardown);
		tcase_set_timeout(tc[i], 30);
		suite_add_tcase(suite, tc[i]);
	}
	tcase_add_loop_test(tc[0], disk_holds_what_was_written, 0,
		sizeof(combinations) / sizeof(combinations[0]));
	tcase_add_test(tc[0], device_is_described_as_qemu_made_it);
	tcase_add_loop_test(tc[0], what_is_discarded_or_zeroed_is_the_hosts_again, 0, 2);
	add_changes(tc[1]);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	say_what_is_left_out();
	return failed != 0;
}

int main(void)
{
	if (qemu_is_there())
		return run();
	(void)printf("SKIPPED: these tests need qemu-system-x86_64 (Debian: qemu-system-x86)\n");
	return getenv("VBLKFS_CI") != NULL;
}
