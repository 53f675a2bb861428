/* test_mkfs.c - tests mkfs.c: the plan, what it writes, and in which order. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "alloc.h"
#include "bitmap.h"
#include "disk.h"
#include "super.h"

#define MIB_SECTORS   2048U
#define GIB_SECTORS   (1024ULL * MIB_SECTORS)
#define SMALL_SECTORS (16ULL * MIB_SECTORS)

/* --- a disk that records what it is asked, and fails from the nth write or flush on */

#define LOG_MAX 4096

struct logged {
	enum blk_op op;
	uint64_t sector;
	uint32_t nr_sectors;
};

static struct recorder {
	struct blockdev dev;
	struct blockdev *inner;
	struct blk_queue *inner_q;
	struct blk_info info;
	struct logged log[LOG_MAX];
	int nr_logged;
	int fail_from; /* index in the log */
} rec;

struct rec_queue {
	struct blk_queue q;
	struct blk_req *first, **last; /* carried out, done() not called */
};

static void rec_info(struct blockdev *dev, struct blk_info *out)
{
	(void)dev;
	*out = rec.info;
}

static int rec_queue_open(struct blockdev *dev, struct blk_queue **out)
{
	struct rec_queue *rq = calloc(1, sizeof(*rq));

	(void)dev;
	rq->last = &rq->first;
	*out = &rq->q;
	return 0;
}

static void rec_queue_close(struct blk_queue *q)
{
	free(q);
}

static int carry_out(const struct blk_req *req)
{
	void *buf = req->nr_iov > 0 ? req->iov[0].iov_base : NULL;

	ck_assert_int_le(req->nr_iov, 1);
	if (req->op != BLK_READ) {
		ck_assert_int_lt(rec.nr_logged, LOG_MAX);
		rec.log[rec.nr_logged++] = (struct logged){req->op, req->sector, req->nr_sectors};
		if (rec.nr_logged > rec.fail_from)
			return -EIO;
	}
	return blk_do(rec.inner_q, req->op, req->sector, req->nr_sectors, buf);
}

static int rec_submit(struct blk_queue *q, struct blk_req *req)
{
	struct rec_queue *rq = (struct rec_queue *)q;

	req->priv[0] = (uint64_t)(int64_t)carry_out(req);
	req->next = NULL;
	*rq->last = req;
	rq->last = &req->next;
	return 0;
}

static void rec_kick(struct blk_queue *q)
{
	(void)q;
}

static int rec_poll(struct blk_queue *q)
{
	struct rec_queue *rq = (struct rec_queue *)q;
	struct blk_req *req = rq->first;
	int n = 0;

	rq->first = NULL;
	rq->last = &rq->first;
	for (; req != NULL; n++) {
		struct blk_req *next = req->next;

		req->done(req, (int)(int64_t)req->priv[0]);
		req = next;
	}
	return n;
}

static bool rec_arm(struct blk_queue *q)
{
	return ((struct rec_queue *)q)->first != NULL;
}

static void *rec_dma_alloc(struct blockdev *dev, size_t bytes)
{
	(void)dev;
	return blk_dma_alloc(rec.inner, bytes);
}

static void rec_dma_free(struct blockdev *dev, void *mem, size_t bytes)
{
	(void)dev;
	blk_dma_free(rec.inner, mem, bytes);
}

static void rec_close(struct blockdev *dev)
{
	(void)dev;
	blk_queue_close(rec.inner_q);
	blk_close(rec.inner);
}

static const struct blockdev_ops rec_ops = {
	.info = rec_info,
	.queue_open = rec_queue_open,
	.queue_close = rec_queue_close,
	.submit = rec_submit,
	.kick = rec_kick,
	.poll = rec_poll,
	.arm = rec_arm,
	.dma_alloc = rec_dma_alloc,
	.dma_free = rec_dma_free,
	.close = rec_close,
};

static struct blockdev *recorder(uint64_t nr_sectors)
{
	memset(&rec, 0, sizeof(rec));
	rec.dev.ops = &rec_ops;
	rec.fail_from = LOG_MAX;
	ck_assert_int_eq(mem_disk_open(nr_sectors, &rec.inner), 0);
	ck_assert_int_eq(blk_queue_open(rec.inner, &rec.inner_q), 0);
	blk_get_info(rec.inner, &rec.info);
	return &rec.dev;
}

static int nr_logged(enum blk_op op)
{
	int nr = 0;

	for (int i = 0; i < rec.nr_logged; i++)
		nr += rec.log[i].op == op;
	return nr;
}

/* --- helpers */

static void make(struct blockdev *dev, const struct mkfs_opts *opts, struct mkfs_geometry *geo)
{
	char err[256] = "";

	ck_assert_msg(mkfs_write(dev, opts, geo, err, sizeof(err)) == 0, "%s", err);
}

/* Block BLOCK of the disk. */
static void peek(struct blockdev *dev, uint64_t block, void *out)
{
	struct blk_queue *q;
	void *mem = blk_dma_alloc(dev, BLOCK_BYTES);

	ck_assert_int_eq(blk_queue_open(dev, &q), 0);
	ck_assert_int_eq(blk_do(q, BLK_READ, block * BLOCK_SECTORS, BLOCK_SECTORS, mem), 0);
	memcpy(out, mem, BLOCK_BYTES);
	blk_queue_close(q);
	blk_dma_free(dev, mem, BLOCK_BYTES);
}

static void poke(struct blockdev *dev, uint64_t block, uint32_t nr, uint8_t byte)
{
	size_t bytes = (size_t)nr * BLOCK_BYTES;
	struct blk_queue *q;
	uint8_t *mem = blk_dma_alloc(dev, bytes);

	memset(mem, byte, bytes);
	ck_assert_int_eq(blk_queue_open(dev, &q), 0);
	ck_assert_int_eq(blk_do(q, BLK_WRITE, block * BLOCK_SECTORS, nr * BLOCK_SECTORS, mem), 0);
	blk_queue_close(q);
	blk_dma_free(dev, mem, bytes);
}

/* A metadata block, which must be in order. */
static void peek_meta(struct blockdev *dev, const struct mkfs_geometry *geo, uint64_t block,
	enum block_type type, uint64_t owner, void *out)
{
	const struct block_head *head = out;

	peek(dev, block, out);
	ck_assert_uint_eq(le32_get(head->magic), type);
	ck_assert_uint_eq(le32_get(head->crc), block_crc(out));
	ck_assert_uint_eq(le64_get(head->block), block);
	ck_assert_uint_eq(le64_get(head->owner), owner);
	ck_assert_mem_eq(head->fs_uuid, geo->uuid, 16);
}

static uint32_t tables(const struct super_disk *sb)
{
	return GROUP_BITMAP + le32_get(sb->bitmap_blocks) + le32_get(sb->ibitmap_blocks) +
	       le32_get(sb->itable_blocks);
}

static int plan(uint64_t nr_sectors, const struct mkfs_opts *opts, struct mkfs_geometry *geo,
	const char *why)
{
	char err[256] = "";
	int ret = mkfs_plan(nr_sectors, opts, geo, err, sizeof(err));

	if (ret < 0)
		ck_assert_msg(strstr(err, why) != NULL, "\"%s\" without \"%s\"", err, why);
	return ret;
}

/* --- the plan */

static const uint64_t sizes[] = {SMALL_SECTORS, SMALL_SECTORS + 7, 100 * MIB_SECTORS,
	GIB_SECTORS - 8, GIB_SECTORS, GIB_SECTORS + 8, GIB_SECTORS + 16 * MIB_SECTORS,
	GIB_SECTORS + 20 * MIB_SECTORS, 10 * GIB_SECTORS + 12345, 1024 * GIB_SECTORS,
	16 * 1024 * GIB_SECTORS};

START_TEST(a_plan_adds_up_for_any_size)
{
	const struct mkfs_opts opts = {0};
	struct mkfs_geometry geo;
	uint64_t blocks = sizes[_i] / BLOCK_SECTORS, tables_all;
	uint32_t itable, table;

	ck_assert_int_eq(plan(sizes[_i], &opts, &geo, ""), 0);
	itable = geo.inodes_per_group / INODES_PER_BLOCK;
	table = GROUP_BITMAP + 9 + itable +
		(geo.inodes_per_group + BITMAP_BITS - 1) / (uint32_t)BITMAP_BITS;
	tables_all = (uint64_t)geo.nr_groups * table;
	ck_assert_uint_eq(geo.inodes_per_group % INODES_PER_BLOCK, 0);
	ck_assert_uint_eq(geo.nr_inodes, (uint64_t)geo.nr_groups * geo.inodes_per_group);
	ck_assert_uint_eq(geo.free_blocks, geo.nr_blocks - tables_all - geo.journal_blocks);
	ck_assert_uint_le(geo.nr_blocks, blocks);
	ck_assert_uint_lt(blocks - geo.nr_blocks, table + GROUP_DATA_MIN);
	ck_assert_uint_eq(geo.nr_groups, (geo.nr_blocks + geo.group_blocks - 1) / geo.group_blocks);
	if (geo.nr_groups > 1)
		ck_assert_uint_ge(geo.nr_blocks - (uint64_t)(geo.nr_groups - 1) * geo.group_blocks,
			table + GROUP_DATA_MIN);
	ck_assert_uint_ge(geo.journal_blocks, JOURNAL_BLOCKS_MIN);
	ck_assert_uint_le(geo.journal_blocks, 32768);
}
END_TEST

START_TEST(a_disk_below_16_mib_is_too_small)
{
	const struct mkfs_opts opts = {0};
	struct mkfs_geometry geo;

	ck_assert_int_eq(plan(SMALL_SECTORS - 1, &opts, &geo, "16 MiB"), -ENOSPC);
	ck_assert_int_eq(plan(0, &opts, &geo, "16 MiB"), -ENOSPC);
}
END_TEST

START_TEST(an_option_out_of_range_is_named)
{
	struct mkfs_geometry geo;
	struct mkfs_opts opts = {.inode_bytes_ratio = 1023};

	ck_assert_int_eq(plan(GIB_SECTORS, &opts, &geo, "1023 bytes an inode"), -EINVAL);
	opts = (struct mkfs_opts){.inode_bytes_ratio = (64 << 20) + 1};
	ck_assert_int_eq(plan(GIB_SECTORS, &opts, &geo, "bytes an inode"), -EINVAL);
	opts = (struct mkfs_opts){.journal_bytes = 1 << 20};
	ck_assert_int_eq(plan(GIB_SECTORS, &opts, &geo, "journal"), -EINVAL);
	opts = (struct mkfs_opts){.journal_bytes = 513 << 20};
	ck_assert_int_eq(plan(GIB_SECTORS, &opts, &geo, "journal"), -EINVAL);
	opts = (struct mkfs_opts){.label = "two\nlines"};
	ck_assert_int_eq(plan(GIB_SECTORS, &opts, &geo, "label"), -EINVAL);
	memset(opts.label, 'x', sizeof(opts.label));
	ck_assert_int_eq(plan(GIB_SECTORS, &opts, &geo, "label"), -EINVAL);
}
END_TEST

START_TEST(options_change_what_they_say)
{
	const struct mkfs_opts opts = {.inode_bytes_ratio = 65536,
		.journal_bytes = 64 << 20,
		.have_uuid = true,
		.uuid = {7},
		.label = "name"};
	struct mkfs_geometry geo;

	ck_assert_int_eq(plan(GIB_SECTORS, &opts, &geo, ""), 0);
	ck_assert_uint_eq(geo.journal_blocks, 16384);
	ck_assert_uint_ge(geo.nr_inodes, 16384);
	ck_assert_uint_lt(geo.nr_inodes, 16384 + INODES_PER_BLOCK);
	ck_assert_uint_eq(geo.uuid[0], 7);
	ck_assert_str_eq(geo.label, "name");
}
END_TEST

/* --- what is written */

START_TEST(the_first_block_has_a_partition_table_that_says_the_disk_is_used)
{
	const struct mkfs_opts opts = {0};
	struct blockdev *dev = recorder(SMALL_SECTORS);
	struct mkfs_geometry geo;
	uint8_t mbr[BLOCK_BYTES];
	le32 start, nr;

	make(dev, &opts, &geo);
	peek(dev, GROUP_BOOT, mbr);
	ck_assert_uint_eq(mbr[510], 0x55);
	ck_assert_uint_eq(mbr[511], 0xaa);
	ck_assert_uint_eq(mbr[446 + 4], 0xda);
	memcpy(&start, mbr + 446 + 8, 4);
	memcpy(&nr, mbr + 446 + 12, 4);
	ck_assert_uint_eq(le32_get(start), 1);
	ck_assert_uint_eq(le32_get(nr), SMALL_SECTORS - 1);
	for (unsigned i = 0; i < BLOCK_BYTES; i++)
		if (i < 446 || (i >= 462 && i != 510 && i != 511))
			ck_assert_uint_eq(mbr[i], 0);
	blk_close(dev);
}
END_TEST

START_TEST(the_first_group_is_initialised)
{
	const struct mkfs_opts opts = {.label = "0123456789abcdef0123456789abcdef"};
	struct blockdev *dev = recorder(SMALL_SECTORS);
	struct mkfs_geometry geo;
	struct super_disk sb;
	struct group_disk group;
	struct bitmap_disk bitmap;
	uint32_t used;

	make(dev, &opts, &geo);
	peek_meta(dev, &geo, GROUP_SUPER, BT_SUPER, 0, &sb);
	ck_assert_ptr_null(super_check(&sb, GROUP_SUPER, geo.nr_blocks));
	ck_assert_mem_eq(sb.label, opts.label, 32);
	peek_meta(dev, &geo, GROUP_HEADER, BT_GROUP, 0, &group);
	ck_assert_uint_eq(le32_get(group.flags), GROUP_F_BITMAP_READY);
	ck_assert_uint_eq(le32_get(group.free_blocks), geo.free_blocks);
	ck_assert_uint_eq(le32_get(group.free_inodes), geo.nr_inodes - 1);
	ck_assert_uint_eq(le32_get(group.inodes_ready), INODES_PER_BLOCK);

	used = tables(&sb) + (uint32_t)geo.journal_blocks;
	peek_meta(dev, &geo, GROUP_BITMAP, BT_BLOCK_BITMAP, 0, &bitmap);
	ck_assert_uint_eq(bits_next_clear(bitmap.bits, 0, BITMAP_BITS), used);
	ck_assert_uint_eq(bits_next_set(bitmap.bits, used, BITMAP_BITS), geo.nr_blocks);
	ck_assert_uint_eq(
		bits_next_clear(bitmap.bits, (uint32_t)geo.nr_blocks, BITMAP_BITS), BITMAP_BITS);
	for (uint32_t i = 1; i < le32_get(sb.bitmap_blocks); i++) {
		peek_meta(dev, &geo, GROUP_BITMAP + i, BT_BLOCK_BITMAP, 0, &bitmap);
		ck_assert_uint_eq(bits_next_clear(bitmap.bits, 0, BITMAP_BITS), BITMAP_BITS);
	}
	peek_meta(
		dev, &geo, GROUP_BITMAP + le32_get(sb.bitmap_blocks), BT_INODE_BITMAP, 0, &bitmap);
	ck_assert_uint_eq(bits_next_clear(bitmap.bits, 0, BITMAP_BITS), 1);
	ck_assert_uint_eq(bits_next_set(bitmap.bits, 1, BITMAP_BITS), geo.inodes_per_group);
	blk_close(dev);
}
END_TEST

START_TEST(the_root_is_an_empty_directory)
{
	const struct mkfs_opts opts = {0};
	struct blockdev *dev = recorder(SMALL_SECTORS);
	struct mkfs_geometry geo;
	struct super_disk sb;
	struct inodes_disk table;
	const struct inode_disk *root = &table.inode[0];

	make(dev, &opts, &geo);
	peek(dev, GROUP_SUPER, &sb);
	peek_meta(dev, &geo, tables(&sb) - le32_get(sb.itable_blocks), BT_INODES, 0, &table);
	ck_assert_uint_eq(le64_get(root->ino), FS_ROOT_INO);
	ck_assert_uint_eq(le32_get(root->mode), S_IFDIR | 0755);
	ck_assert_uint_eq(le32_get(root->nlink), 2);
	ck_assert_uint_eq(le64_get(root->parent_rdev), FS_ROOT_INO);
	ck_assert_uint_eq(le64_get(root->size), 0);
	ck_assert_uint_eq(root->fork_format, FORK_NONE);
	ck_assert_uint_eq(le64_get(root->mtime_s), le64_get(sb.mkfs_time));
	for (uint32_t i = 1; i < INODES_PER_BLOCK; i++)
		ck_assert_uint_eq(le64_get(table.inode[i].ino), 0);
	blk_close(dev);
}
END_TEST

START_TEST(the_journal_is_empty_and_nothing_stale_can_follow_its_head)
{
	const struct mkfs_opts opts = {.no_discard = true};
	struct blockdev *dev = recorder(SMALL_SECTORS);
	static const uint8_t zeros[BLOCK_BYTES];
	struct journal_head_disk head;
	struct mkfs_geometry geo;
	struct super_disk sb;
	uint8_t next[BLOCK_BYTES];

	poke(dev, 0, FS_BLOCKS_MIN, 0xff);
	make(dev, &opts, &geo);
	peek(dev, GROUP_SUPER, &sb);
	ck_assert_uint_eq(le64_get(sb.journal_start), tables(&sb));
	peek_meta(dev, &geo, tables(&sb), BT_JOURNAL_HEAD, 0, &head);
	ck_assert_uint_eq(le64_get(head.tail), 1);
	ck_assert_uint_eq(le64_get(head.tail_sequence), le64_get(head.head.sequence) + 1);
	peek(dev, tables(&sb) + 1, next);
	ck_assert_mem_eq(next, zeros, BLOCK_BYTES);
	blk_close(dev);
}
END_TEST

START_TEST(other_groups_have_a_header_and_some_a_copy_of_the_superblock)
{
	const struct mkfs_opts opts = {.no_discard = true};
	struct blockdev *dev = recorder(5 * GIB_SECTORS);
	struct mkfs_geometry geo;
	struct group_disk group;
	struct super_disk sb;

	make(dev, &opts, &geo);
	ck_assert_uint_eq(geo.nr_groups, 5);
	for (uint32_t g = 1; g < 5; g++) {
		uint64_t start = (uint64_t)g * geo.group_blocks;

		peek_meta(dev, &geo, start + GROUP_HEADER, BT_GROUP, g, &group);
		ck_assert_uint_eq(le32_get(group.group), g);
		ck_assert_uint_eq(le32_get(group.flags), 0);
		ck_assert_uint_eq(le32_get(group.inodes_ready), 0);
		ck_assert_uint_eq(le32_get(group.free_inodes), geo.inodes_per_group);
		if (format_has_super_copy(g)) {
			peek_meta(dev, &geo, start + GROUP_SUPER, BT_SUPER, 0, &sb);
			ck_assert_ptr_null(super_check(&sb, start + GROUP_SUPER, geo.nr_blocks));
		} else {
			peek(dev, start + GROUP_SUPER, &sb);
			ck_assert_uint_eq(le32_get(sb.head.magic), 0);
		}
	}
	blk_close(dev);
}
END_TEST

START_TEST(what_others_left_at_both_ends_is_wiped)
{
	const struct mkfs_opts opts = {.no_discard = true};
	struct blockdev *dev = recorder(64 * MIB_SECTORS);
	static const uint8_t zeros[BLOCK_BYTES];
	uint64_t end = 64 * 256;
	struct mkfs_geometry geo;
	uint8_t block[BLOCK_BYTES];

	poke(dev, 0, 1024, 0xff);
	poke(dev, end - 256, 256, 0xff);
	make(dev, &opts, &geo);
	for (uint64_t i = 0; i < 1024; i++) {
		peek(dev, i, block);
		if (i == GROUP_BOOT || le32_get(((struct block_head *)block)->magic) != 0)
			continue;
		ck_assert_mem_eq(block, zeros, BLOCK_BYTES);
	}
	for (uint64_t i = end - 256; i < end; i++) {
		peek(dev, i, block);
		ck_assert_mem_eq(block, zeros, BLOCK_BYTES);
	}
	blk_close(dev);
}
END_TEST

START_TEST(two_filesystems_share_no_number)
{
	const struct mkfs_opts opts = {0};
	struct blockdev *dev = recorder(SMALL_SECTORS);
	struct mkfs_geometry geo[2];
	struct super_disk sb[2];
	struct journal_head_disk head[2];

	for (int i = 0; i < 2; i++) {
		make(dev, &opts, &geo[i]);
		peek(dev, GROUP_SUPER, &sb[i]);
		peek(dev, le64_get(sb[i].journal_start), &head[i]);
	}
	ck_assert_mem_ne(geo[0].uuid, geo[1].uuid, 16);
	ck_assert_uint_ne(le64_get(sb[0].hash_seed), le64_get(sb[1].hash_seed));
	ck_assert_uint_ne(le64_get(head[0].tail_sequence), le64_get(head[1].tail_sequence));
	blk_close(dev);
}
END_TEST

/* --- the order of writes */

START_TEST(the_old_superblock_goes_first_and_the_new_one_comes_last)
{
	const struct mkfs_opts opts = {0};
	struct blockdev *dev = recorder(SMALL_SECTORS);
	struct mkfs_geometry geo;
	const struct logged *log = rec.log;
	int n;

	make(dev, &opts, &geo);
	n = rec.nr_logged;
	ck_assert_int_eq(log[0].op, BLK_WRITE_ZEROES);
	ck_assert_uint_eq(log[0].sector, BLOCK_SECTORS * GROUP_SUPER);
	ck_assert_int_eq(log[1].op, BLK_FLUSH);
	ck_assert_int_eq(log[n - 3].op, BLK_FLUSH);
	ck_assert_int_eq(log[n - 2].op, BLK_WRITE);
	ck_assert_uint_eq(log[n - 2].sector, BLOCK_SECTORS * GROUP_SUPER);
	ck_assert_int_eq(log[n - 1].op, BLK_FLUSH);
	blk_close(dev);
}
END_TEST

START_TEST(cut_off_anywhere_it_leaves_no_filesystem)
{
	const struct mkfs_opts opts = {0};
	struct blockdev *dev = recorder(SMALL_SECTORS);
	struct mkfs_geometry geo;
	struct fs_ident ident;
	char err[256];
	int total;

	make(dev, &opts, &geo);
	total = rec.nr_logged;
	for (int cut = 1; cut < total - 1; cut++) {
		rec.nr_logged = 0;
		rec.fail_from = cut;
		ck_assert_int_eq(mkfs_write(dev, &opts, &geo, err, sizeof(err)), -EIO);
		ck_assert_int_eq(fs_identify(dev, &ident), -ENODATA);
		rec.nr_logged = 0;
		rec.fail_from = LOG_MAX;
		make(dev, &opts, &geo);
	}
	blk_close(dev);
}
END_TEST

START_TEST(the_whole_disk_is_discarded_unless_told_not_to)
{
	const struct mkfs_opts discard = {0}, keep = {.no_discard = true};
	struct blockdev *dev = recorder(SMALL_SECTORS);
	struct mkfs_geometry geo;
	uint64_t sectors = 0;

	make(dev, &discard, &geo);
	for (int i = 0; i < rec.nr_logged; i++)
		if (rec.log[i].op == BLK_DISCARD)
			sectors += rec.log[i].nr_sectors;
	ck_assert_uint_eq(sectors, SMALL_SECTORS);
	rec.nr_logged = 0;
	make(dev, &keep, &geo);
	ck_assert_int_eq(nr_logged(BLK_DISCARD), 0);
	blk_close(dev);
}
END_TEST

START_TEST(the_whole_disk_is_erased_securely_on_request)
{
	const struct mkfs_opts opts = {.secure_erase = true};
	struct blockdev *dev = recorder(SMALL_SECTORS);
	struct mkfs_geometry geo;
	uint64_t sectors = 0;
	struct fs_ident ident;

	make(dev, &opts, &geo);
	for (int i = 0; i < rec.nr_logged; i++)
		if (rec.log[i].op == BLK_SECURE_ERASE)
			sectors += rec.log[i].nr_sectors;
	ck_assert_uint_eq(sectors, SMALL_SECTORS);
	ck_assert_int_eq(nr_logged(BLK_DISCARD), 0);
	ck_assert_int_eq(fs_identify(dev, &ident), 0);
	blk_close(dev);
}
END_TEST

START_TEST(a_secure_erase_that_cannot_be_is_refused_before_anything_is_written)
{
	const struct mkfs_opts opts = {.secure_erase = true};
	struct blockdev *dev = recorder(SMALL_SECTORS);
	struct mkfs_geometry geo;
	char err[256] = "";

	rec.info.can_secure_erase = false;
	ck_assert_int_eq(mkfs_write(dev, &opts, &geo, err, sizeof(err)), -EOPNOTSUPP);
	ck_assert_ptr_nonnull(strstr(err, "can't erase securely"));
	ck_assert_int_eq(rec.nr_logged, 0);
	blk_close(dev);
}
END_TEST

START_TEST(a_secure_erase_that_fails_is_an_error)
{
	const struct mkfs_opts opts = {.secure_erase = true};
	struct blockdev *dev = recorder(SMALL_SECTORS);
	struct mkfs_geometry geo;
	struct fs_ident ident;
	char err[256] = "";

	make(dev, &(struct mkfs_opts){.no_discard = true}, &geo);
	rec.nr_logged = 0;
	rec.fail_from = 2; /* after the zeros and their flush */
	ck_assert_int_eq(mkfs_write(dev, &opts, &geo, err, sizeof(err)), -EIO);
	ck_assert_int_eq(rec.log[2].op, BLK_SECURE_ERASE);
	ck_assert_int_eq(fs_identify(dev, &ident), -ENODATA);
	blk_close(dev);
}
END_TEST

START_TEST(a_disk_that_can_only_write_will_do)
{
	const struct mkfs_opts opts = {0};
	struct blockdev *dev = recorder(SMALL_SECTORS);
	struct mkfs_geometry geo;
	struct fs_ident ident;

	poke(dev, 0, FS_BLOCKS_MIN, 0xff);
	rec.info.can_discard = rec.info.can_write_zeroes = false;
	rec.info.logical_bytes = 4096;
	make(dev, &opts, &geo);
	ck_assert_int_eq(nr_logged(BLK_DISCARD) + nr_logged(BLK_WRITE_ZEROES), 0);
	ck_assert_int_eq(fs_identify(dev, &ident), 0);
	ck_assert(!ident.dirty);
	blk_close(dev);
}
END_TEST

START_TEST(a_read_only_disk_is_refused_untouched)
{
	const struct mkfs_opts opts = {0};
	struct blockdev *dev = recorder(SMALL_SECTORS);
	struct mkfs_geometry geo;
	char err[256] = "";

	rec.info.read_only = true;
	ck_assert_int_eq(mkfs_write(dev, &opts, &geo, err, sizeof(err)), -EROFS);
	ck_assert_ptr_nonnull(strstr(err, "read-only"));
	ck_assert_int_eq(rec.nr_logged, 0);
	blk_close(dev);
}
END_TEST

static uint64_t last_done, last_total;

static void note_progress(void *arg, uint64_t done, uint64_t total)
{
	ck_assert_ptr_eq(arg, &last_done);
	ck_assert_uint_ge(done, last_done);
	last_done = done;
	last_total = total;
}

START_TEST(progress_rises_to_the_total)
{
	const struct mkfs_opts opts = {.progress = note_progress, .arg = &last_done};
	struct blockdev *dev = recorder(SMALL_SECTORS);
	struct mkfs_geometry geo;

	make(dev, &opts, &geo);
	ck_assert_uint_gt(last_total, 0);
	ck_assert_uint_eq(last_done, last_total);
	blk_close(dev);
}
END_TEST

/* --- with the rest of the filesystem */

START_TEST(a_stale_journal_of_the_same_uuid_is_not_replayed)
{
	const struct mkfs_opts opts = {.no_discard = true, .have_uuid = true, .uuid = {1}};
	const struct fs_mount_opts mount = {.commit_s = 1000};
	struct blockdev *dev, *copy;
	struct mkfs_geometry geo;
	struct fs_thread *t;
	struct tx_handle h;
	struct fs_statfs st;
	struct fs *fs;
	uint64_t start;
	uint32_t nr;
	struct blk_queue *from, *to;
	void *mem;

	ck_assert_int_eq(mem_disk_open(SMALL_SECTORS, &dev), 0);
	ck_assert_int_eq(mem_disk_open(SMALL_SECTORS, &copy), 0);
	make(dev, &opts, &geo);
	ck_assert_int_eq(fs_mount(dev, &mount, &fs), 0);
	ck_assert_int_eq(fs_thread_open(fs, &t), 0);
	ck_assert_int_eq(tx_begin(t, TX_JOIN_EXTENT, 100, &h), 0);
	ck_assert_int_eq(alloc_blocks(&h, 0, 100, &start, &nr), 0);
	tx_end(&h);
	ck_assert_int_eq(tx_sync_wait(t, UINT64_MAX), 0);

	/* The power goes: what is on the disk now, with a transaction in its journal, is what the second disk has. */
	mem = blk_dma_alloc(dev, SMALL_SECTORS * SECTOR_BYTES);
	ck_assert_int_eq(blk_queue_open(dev, &from), 0);
	ck_assert_int_eq(blk_queue_open(copy, &to), 0);
	ck_assert_int_eq(blk_do(from, BLK_READ, 0, SMALL_SECTORS, mem), 0);
	ck_assert_int_eq(blk_do(to, BLK_WRITE, 0, SMALL_SECTORS, mem), 0);
	blk_queue_close(from);
	blk_queue_close(to);
	blk_dma_free(dev, mem, SMALL_SECTORS * SECTOR_BYTES);
	fs_thread_close(t);
	ck_assert_int_eq(fs_unmount(fs), 0);
	blk_close(dev);

	make(copy, &opts, &geo);
	ck_assert_int_eq(fs_mount(copy, &mount, &fs), 0);
	alloc_statfs(fs, &st);
	ck_assert_uint_eq(st.free_blocks, geo.free_blocks);
	ck_assert_int_eq(fs_unmount(fs), 0);
	blk_close(copy);
}
END_TEST

START_TEST(a_sparse_image_of_1_tib_takes_little_and_is_used_to_its_last_group)
{
	const struct mkfs_opts opts = {0};
	const char *dir = getenv("TMPDIR");
	char path[4096], err[256] = "";
	struct mkfs_geometry geo;
	struct fs_thread *t;
	struct blockdev *dev;
	struct tx_handle h;
	struct fs *fs;
	struct stat st;
	uint64_t start, goal;
	uint32_t nr;
	int fd;

	snprintf(path, sizeof(path), "%s/test_mkfs.XXXXXX", dir != NULL ? dir : "/tmp");
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, 1LL << 40), 0);
	ck_assert_msg(image_open(path, NULL, &dev, err, sizeof(err)) == 0, "%s", err);
	ck_assert_int_eq(unlink(path), 0);
	make(dev, &opts, &geo);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_lt(st.st_blocks * 512, 16 << 20);

	ck_assert_int_eq(fs_mount(dev, NULL, &fs), 0);
	ck_assert_int_eq(fs_thread_open(fs, &t), 0);
	ck_assert_int_eq(tx_begin(t, TX_JOIN_EXTENT, 10, &h), 0);
	goal = geo.nr_blocks - 10;
	ck_assert_int_eq(alloc_blocks(&h, goal, 10, &start, &nr), 0);
	ck_assert_uint_eq(start, goal);
	ck_assert_uint_eq(nr, 10);
	tx_end(&h);
	fs_thread_close(t);
	ck_assert_int_eq(fs_unmount(fs), 0);
	blk_close(dev);
	close(fd);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("mkfs");
	TCase *c = tcase_create("mkfs");

	tcase_set_timeout(c, 30);
	tcase_add_loop_test(
		c, a_plan_adds_up_for_any_size, 0, (int)(sizeof(sizes) / sizeof(sizes[0])));
	tcase_add_test(c, a_disk_below_16_mib_is_too_small);
	tcase_add_test(c, an_option_out_of_range_is_named);
	tcase_add_test(c, options_change_what_they_say);
	tcase_add_test(c, the_first_block_has_a_partition_table_that_says_the_disk_is_used);
	tcase_add_test(c, the_first_group_is_initialised);
	tcase_add_test(c, the_root_is_an_empty_directory);
	tcase_add_test(c, the_journal_is_empty_and_nothing_stale_can_follow_its_head);
	tcase_add_test(c, other_groups_have_a_header_and_some_a_copy_of_the_superblock);
	tcase_add_test(c, what_others_left_at_both_ends_is_wiped);
	tcase_add_test(c, two_filesystems_share_no_number);
	tcase_add_test(c, the_old_superblock_goes_first_and_the_new_one_comes_last);
	tcase_add_test(c, cut_off_anywhere_it_leaves_no_filesystem);
	tcase_add_test(c, the_whole_disk_is_discarded_unless_told_not_to);
	tcase_add_test(c, the_whole_disk_is_erased_securely_on_request);
	tcase_add_test(c, a_secure_erase_that_cannot_be_is_refused_before_anything_is_written);
	tcase_add_test(c, a_secure_erase_that_fails_is_an_error);
	tcase_add_test(c, a_disk_that_can_only_write_will_do);
	tcase_add_test(c, a_read_only_disk_is_refused_untouched);
	tcase_add_test(c, progress_rises_to_the_total);
	tcase_add_test(c, a_stale_journal_of_the_same_uuid_is_not_replayed);
	tcase_add_test(c, a_sparse_image_of_1_tib_takes_little_and_is_used_to_its_last_group);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	SRunner *r = srunner_create(suite());
	int failed;

	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
