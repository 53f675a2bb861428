/* test_file.c - reading and writing: what is asked for is what comes back, whatever the offsets, and nothing else ever does.
 *
 * The disk is the one in memory with some of its entries replaced: it counts requests, keeps completions back, fails writes. What
 * mkfs discarded reads as 0xdd there, which stands for another file's old data. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "io_wait.h"
#include "memfs.h"
#include "inode.h"

static struct memfs m;
static uint8_t *buf; /* DMA memory, FS_IO_MAX and a page */
static uint8_t *other_buf;
static struct fs_thread *other; /* a second thread's, used by this one */

/* ---- the disk ---- */

static const struct blockdev_ops *real;
static struct blockdev_ops ops;
static atomic_uint nr_requests, nr_flushes;
static struct blk_queue *_Atomic held; /* this queue completes nothing */
static bool fail_writes;
static void (*failed_done)(struct blk_req *req, int err);

static void done_with_error(struct blk_req *req, int err)
{
	(void)err;
	failed_done(req, -EIO);
}

static int submit(struct blk_queue *q, struct blk_req *req)
{
	nr_requests++;
	nr_flushes += req->op == BLK_FLUSH;
	if (fail_writes && req->op == BLK_WRITE && (q == fs_thread_queue(m.t))) {
		failed_done = req->done;
		req->done = done_with_error;
	}
	return real->submit(q, req);
}

static int poll_queue(struct blk_queue *q)
{
	return q == held ? 0 : real->poll(q);
}

static bool arm(struct blk_queue *q)
{
	return q != held && real->arm(q);
}

static void setup(void)
{
	memfs_open(&m, 64);
	real = m.dev->ops;
	ops = *real;
	ops.submit = submit;
	ops.poll = poll_queue;
	ops.arm = arm;
	m.dev->ops = &ops;
	held = NULL;
	fail_writes = false;
	ck_assert_int_eq(fs_thread_open(m.fs, &other), 0);
	buf = blk_dma_alloc(m.dev, FS_IO_MAX + FS_BLOCK_BYTES);
	other_buf = blk_dma_alloc(m.dev, FS_IO_MAX + FS_BLOCK_BYTES);
}

static void teardown(void)
{
	blk_dma_free(m.dev, buf, FS_IO_MAX + FS_BLOCK_BYTES);
	blk_dma_free(m.dev, other_buf, FS_IO_MAX + FS_BLOCK_BYTES);
	fs_thread_close(other);
	memfs_close(&m);
}

static void mount_again(void)
{
	fs_thread_close(other);
	(void)memfs_unmount(&m);
	memfs_mount(&m);
	ck_assert_int_eq(fs_thread_open(m.fs, &other), 0);
}

/* ---- calls ---- */

static uint64_t make(const char *name, uint32_t mode)
{
	struct fs_attr attr;

	ck_assert_int_eq(fs_mknod(m.t, FS_ROOT_INO, name, mode, 0, &(struct fs_cred){0}, &attr), 0);
	return attr.ino;
}

static struct fs_attr attr_of(uint64_t ino)
{
	struct fs_attr attr;

	ck_assert_int_eq(fs_getattr(m.t, ino, &attr), 0);
	return attr;
}

static void set_size(uint64_t ino, uint64_t size)
{
	struct fs_attr attr;

	ck_assert_int_eq(fs_setattr(m.t, ino,
				 &(struct fs_setattr){.valid = FS_SET_SIZE, .size = size}, &attr),
		0);
	ck_assert_uint_eq(attr.size, size);
}

static void fill(uint8_t *to, uint32_t bytes, unsigned seed)
{
	for (uint32_t i = 0; i < bytes; i++)
		to[i] = (uint8_t)(i * 7 + i / 251 + seed);
}

static ssize_t write_on(struct fs_thread *t, uint8_t *from, uint64_t ino, uint64_t offset,
	uint32_t bytes, unsigned seed)
{
	struct io_wait w = {0};
	struct fs_io io = {.ino = ino,
		.offset = offset,
		.bytes = bytes,
		.buf = from,
		.done = io_done,
		.user = &w};

	fill(from, bytes, seed);
	memset(from + bytes, 0xee, FS_BLOCK_BYTES);
	fs_write(t, &io);
	return io_result(t, &w);
}

static ssize_t write_at(uint64_t ino, uint64_t offset, uint32_t bytes, unsigned seed)
{
	return write_on(m.t, buf, ino, offset, bytes, seed);
}

/* DATA is where the bytes are then. */
static ssize_t read_on(struct fs_thread *t, uint8_t *to, uint64_t ino, uint64_t offset,
	uint32_t bytes, uint8_t **data)
{
	struct io_wait w = {0};
	struct fs_io io = {.ino = ino,
		.offset = offset,
		.bytes = bytes,
		.buf = to,
		.done = io_done,
		.user = &w};

	memset(to, 0xee, FS_IO_MAX + FS_BLOCK_BYTES);
	fs_read(t, &io);
	(void)io_result(t, &w);
	*data = io.data;
	return w.result;
}

static ssize_t read_at(uint64_t ino, uint64_t offset, uint32_t bytes, uint8_t **data)
{
	return read_on(m.t, buf, ino, offset, bytes, data);
}

static void check_zeros(uint64_t ino, uint64_t offset, uint32_t bytes)
{
	uint8_t *data;

	ck_assert_int_eq(read_at(ino, offset, bytes, &data), bytes);
	ck_assert(all_are(0, data, bytes));
}

/* ---- data ---- */

static const struct {
	uint64_t offset;
	uint32_t bytes;
} spots[] = {{0, 1}, {0, 4096}, {1, 4095}, {100, 5000}, {4095, 2}, {0, FS_IO_MAX},
	{3000, FS_IO_MAX}, {1 << 20, 10}, {(1ULL << 40) + 5, 9000},
	{FS_FILE_SIZE_MAX - 4000, 4000}};

START_TEST(what_is_written_is_read_back) /* looped over spots */
{
	static uint8_t want[FS_IO_MAX];
	uint64_t ino = make("f", S_IFREG | 0644), offset = spots[_i].offset;
	uint32_t bytes = spots[_i].bytes;
	uint8_t *data;

	fill(want, bytes, 5);
	ck_assert_int_eq(write_at(ino, offset, bytes, 5), bytes);
	ck_assert_uint_eq(attr_of(ino).size, offset + bytes);
	ck_assert_int_eq(read_at(ino, offset, bytes, &data), bytes);
	ck_assert_mem_eq(data, want, bytes);
	if (offset >= 4096)
		check_zeros(ino, offset - 4096, offset % 4096 != 0 ? offset % 4096 : 4096);

	fill(want, bytes, 9); /* over what is there */
	ck_assert_int_eq(write_at(ino, offset, bytes, 9), bytes);
	ck_assert_uint_eq(attr_of(ino).size, offset + bytes);
	ck_assert_int_eq(read_at(ino, offset, bytes, &data), bytes);
	ck_assert_mem_eq(data, want, bytes);
}
END_TEST

START_TEST(a_read_ends_where_the_file_does)
{
	uint64_t ino = make("f", S_IFREG | 0644);
	uint8_t *data;

	ck_assert_int_eq(read_at(ino, 0, 100, &data), 0);
	ck_assert_int_eq(write_at(ino, 0, 5000, 1), 5000);
	ck_assert_int_eq(read_at(ino, 0, FS_IO_MAX, &data), 5000);
	ck_assert_int_eq(read_at(ino, 4999, 10, &data), 1);
	ck_assert_int_eq(read_at(ino, 5000, 10, &data), 0);
	ck_assert_int_eq(read_at(ino, UINT64_MAX - 5, 5, &data), 0);
	ck_assert_int_eq(read_at(ino, 10, 0, &data), 0);
}
END_TEST

START_TEST(a_mib_into_a_fresh_file_is_one_extent_and_one_request)
{
	uint64_t ino = make("f", S_IFREG | 0644);
	struct inode *inode;
	uint8_t *data;

	ck_assert_int_eq(inode_get(m.t, ino, &inode), 0);
	ck_assert_int_eq(write_at(ino, 0, 4096, 1), 4096); /* now all metadata is in the cache */
	nr_requests = 0;
	ck_assert_int_eq(write_at(ino, 1 << 20, FS_IO_MAX, 1), FS_IO_MAX);
	ck_assert_uint_eq(nr_requests, 1);
	ck_assert_uint_eq(inode->fork_count, 2);
	nr_requests = 0;
	ck_assert_int_eq(write_at(ino, 1 << 20, FS_IO_MAX, 2), FS_IO_MAX);
	ck_assert_int_eq(read_at(ino, 1 << 20, FS_IO_MAX, &data), FS_IO_MAX);
	ck_assert_uint_eq(nr_requests, 2);
	inode_put(m.t, inode);
}
END_TEST

START_TEST(bytes_past_the_end_are_zeros_when_the_file_grows) /* looped: how it grows */
{
	uint64_t ino = make("f", S_IFREG | 0644);

	ck_assert_int_eq(write_at(ino, 0, 4096, 1), 4096);
	set_size(ino, 100); /* on the disk the old bytes are still there */
	switch (_i) {
	case 0:
		set_size(ino, 4096);
		break;
	case 1:
		ck_assert_int_eq(write_at(ino, 8192, 10, 1), 10);
		break;
	case 2:
		ck_assert_int_eq(write_at(ino, 4090, 6, 1), 6);
		check_zeros(ino, 100, 3990);
		return;
	case 3:
		ck_assert_int_eq(fs_fallocate(m.t, ino, 0, 0, 20000), 0);
		break;
	default:
		ck_assert_int_eq(fs_fallocate(m.t, ino, FALLOC_FL_ZERO_RANGE, 4096, 10), 0);
	}
	check_zeros(ino, 100, 3996);
}
END_TEST

/* They are contents: were they not flushed before the commit record, a crash could show the old
 * bytes in a file that is longer already. */
START_TEST(zeros_in_a_partial_block_are_durable_before_what_shows_them) /* looped: by what */
{
	uint64_t ino = make("f", S_IFREG | 0644);

	ck_assert_int_eq(write_at(ino, 0, 20000, 1), 20000);
	set_size(ino, 10000);
	ck_assert_int_eq(fs_sync(m.t), 0);
	nr_flushes = 0;
	if (_i == 0)
		set_size(ino, 12000);
	else
		ck_assert_int_eq(fs_fallocate(m.t, ino,
					 _i == 1 ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
						 : FALLOC_FL_ZERO_RANGE,
					 1000, 9000),
			0);
	ck_assert_int_eq(fs_sync(m.t), 0);
	ck_assert_uint_eq(nr_flushes, 2);
}
END_TEST

START_TEST(what_is_allocated_ahead_reads_as_zeros)
{
	uint64_t ino = make("f", S_IFREG | 0644), at;
	uint8_t *data;

	ck_assert_int_eq(fs_fallocate(m.t, ino, 0, 0, 100000), 0);
	ck_assert_uint_ge(attr_of(ino).nr_sectors, 100000 / 512);
	check_zeros(ino, 0, 100000);
	ck_assert_int_eq(fs_lseek(m.t, ino, 0, SEEK_DATA, &at), -ENXIO);
	ck_assert_int_eq(write_at(ino, 20001, 10, 7), 10);
	ck_assert_int_eq(fs_lseek(m.t, ino, 0, SEEK_DATA, &at), 0);
	ck_assert_uint_eq(at, 16384);
	ck_assert_int_eq(fs_lseek(m.t, ino, at, SEEK_HOLE, &at), 0);
	ck_assert_uint_eq(at, 20480);
	check_zeros(ino, 0, 20001);
	check_zeros(ino, 20011, 70000);
	ck_assert_int_eq(read_at(ino, 20001, 10, &data), 10);
	ck_assert_uint_eq(data[3], (uint8_t)(3 * 7 + 7));
}
END_TEST

START_TEST(blocks_kept_past_the_end_do_not_count_as_size)
{
	uint64_t ino = make("f", S_IFREG | 0644);

	ck_assert_int_eq(fs_fallocate(m.t, ino, FALLOC_FL_KEEP_SIZE, 0, 100000), 0);
	ck_assert_uint_eq(attr_of(ino).size, 0);
	ck_assert_uint_ge(attr_of(ino).nr_sectors, 100000 / 512);
	set_size(ino, 50000);
	check_zeros(ino, 0, 50000);
	ck_assert_uint_le(attr_of(ino).nr_sectors, 104 * 1024 / 512);
}
END_TEST

START_TEST(a_punched_range_is_zeros_and_gives_its_blocks_back)
{
	uint64_t ino = make("f", S_IFREG | 0644);
	uint8_t *data;

	ck_assert_int_eq(write_at(ino, 0, 100000, 3), 100000);
	ck_assert_int_eq(
		fs_fallocate(m.t, ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5000, 20000), 0);
	check_zeros(ino, 5000, 20000);
	ck_assert_int_eq(read_at(ino, 4999, 1, &data), 1);
	ck_assert_uint_eq(data[0], (uint8_t)(4999 * 7 + 4999 / 251 + 3));
	ck_assert_int_eq(read_at(ino, 25000, 1, &data), 1);
	ck_assert_uint_eq(data[0], (uint8_t)(25000 * 7 + 25000 / 251 + 3));
	ck_assert_uint_eq(attr_of(ino).nr_sectors, (25 - 4) * 8); /* 8192 to 24576 */
}
END_TEST

static void leave_single_blocks_free(void)
{
	uint64_t ino = make("big", S_IFREG | 0644), at = 0;

	for (uint32_t bytes = FS_IO_MAX; bytes >= FS_BLOCK_BYTES; bytes /= 4)
		while (write_at(ino, at, bytes, 1) == bytes)
			at += bytes;
	for (at = 0; at < 8 << 20; at += 2 * FS_BLOCK_BYTES)
		ck_assert_int_eq(fs_fallocate(m.t, ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					 at, FS_BLOCK_BYTES),
			0);
	ck_assert_int_eq(fs_sync(m.t), 0);
}

START_TEST(a_write_that_needs_many_extents_is_whole) /* looped: aligned or not */
{
	static uint8_t want[FS_IO_MAX];
	uint64_t ino = make("f", S_IFREG | 0644), offset = _i == 0 ? 0 : 1000;
	struct inode *inode;
	uint8_t *data;

	leave_single_blocks_free();
	fill(want, FS_IO_MAX, 77);
	ck_assert_int_eq(write_at(ino, offset, FS_IO_MAX, 77), FS_IO_MAX);
	ck_assert_int_eq(inode_get(m.t, ino, &inode), 0);
	ck_assert_int_eq(inode->fork_format, FORK_BTREE);
	ck_assert_ptr_null(inode->writes);
	inode_put(m.t, inode);
	ck_assert_int_eq(read_at(ino, offset, FS_IO_MAX, &data), FS_IO_MAX);
	ck_assert_mem_eq(data, want, FS_IO_MAX);
	mount_again();
	ck_assert_int_eq(read_at(ino, offset, FS_IO_MAX, &data), FS_IO_MAX);
	ck_assert_mem_eq(data, want, FS_IO_MAX);
}
END_TEST

/* ---- what is not allowed ---- */

START_TEST(wrong_calls_are_refused)
{
	uint64_t ino = make("f", S_IFREG | 0644), dir = make("d", S_IFDIR | 0755);
	uint64_t pipe = make("p", S_IFIFO | 0644);
	const struct fs_setattr too_large = {.valid = FS_SET_SIZE, .size = FS_FILE_SIZE_MAX + 1ULL};
	uint8_t *data;
	struct fs_attr a;

	ck_assert_int_eq(write_at(dir, 0, 10, 0), -EISDIR);
	ck_assert_int_eq(read_at(dir, 0, 10, &data), -EISDIR);
	ck_assert_int_eq(write_at(pipe, 0, 10, 0), -EINVAL);
	ck_assert_int_eq(write_at(12345, 0, 10, 0), -ESTALE);
	ck_assert_int_eq(read_at(0, 0, 10, &data), -ESTALE);
	ck_assert_int_eq(read_at(UINT64_MAX, 0, 10, &data), -ESTALE);
	ck_assert_int_eq(write_at(ino, FS_FILE_SIZE_MAX, 1, 0), -EFBIG);
	ck_assert_int_eq(write_at(ino, UINT64_MAX - 1, 10, 0), -EFBIG);
	ck_assert_int_eq(fs_setattr(m.t, ino, &too_large, &a), -EFBIG);
	ck_assert_int_eq(fs_fallocate(m.t, ino, 0, FS_FILE_SIZE_MAX, 1), -EFBIG);
	ck_assert_int_eq(fs_fallocate(m.t, ino, 0, 0, 0), -EINVAL);
	ck_assert_int_eq(fs_fallocate(m.t, ino, FALLOC_FL_PUNCH_HOLE, 0, 1), -EOPNOTSUPP);
	ck_assert_int_eq(fs_fallocate(m.t, dir, 0, 0, 1), -EISDIR);
	ck_assert_uint_eq(attr_of(ino).size, 0);
	ck_assert_uint_eq(attr_of(ino).nr_sectors, 0);
}
END_TEST

static void give_privileges(uint64_t ino)
{
	const struct fs_setattr set = {.valid = FS_SET_MODE, .mode = 06755};
	struct fs_attr a;

	ck_assert_int_eq(fs_setattr(m.t, ino, &set, &a), 0);
	ck_assert_int_eq(fs_setxattr(m.t, ino, "security.capability", "cap", 3, 0), 0);
	ck_assert_int_eq(fs_setxattr(m.t, ino, "user.other", "x", 1, 0), 0);
}

START_TEST(privileges_go_with_a_write_and_with_the_owner) /* looped: what is done */
{
	uint64_t ino = make("f", S_IFREG | 0644);
	struct fs_setattr set = {.valid = _i == 1 ? FS_SET_UID : FS_KILL_PRIV, .uid = 5};
	struct io_wait w = {0};
	struct fs_io io = {.ino = ino,
		.bytes = 10,
		.kill_priv = true,
		.buf = buf,
		.done = io_done,
		.user = &w};
	struct fs_attr a;
	char c;

	ck_assert_int_eq(write_at(ino, 0, 4096, 1), 4096);
	give_privileges(ino);
	ck_assert_int_eq(write_at(ino, 0, 4096, 1), 4096); /* by one who may keep them */
	ck_assert_uint_eq(attr_of(ino).mode, S_IFREG | 06755);
	if (_i == 0) {
		fs_write(m.t, &io);
		ck_assert_int_eq(io_result(m.t, &w), 10);
	} else {
		ck_assert_int_eq(fs_setattr(m.t, ino, &set, &a), 0);
	}
	ck_assert_uint_eq(attr_of(ino).mode, S_IFREG | 0755);
	ck_assert_int_eq(fs_getxattr(m.t, ino, "security.capability", &c, 0), -ENODATA);
	ck_assert_int_eq(fs_getxattr(m.t, ino, "user.other", &c, 1), 1);
}
END_TEST

/* ---- in flight ---- */

START_TEST(
	new_blocks_read_as_zeros_until_their_data_is_there) /* looped: in a hole, or allocated ahead */
{
	uint64_t ino = make("f", S_IFREG | 0644);
	struct io_wait w = {0};
	struct fs_io io = {.ino = ino, .bytes = 100000, .buf = buf, .done = io_done, .user = &w};
	uint8_t *data;

	if (_i == 1)
		ck_assert_int_eq(fs_fallocate(m.t, ino, 0, 0, 100000), 0);
	fill(buf, 100000, 1);
	fs_write(m.t, &io);
	held = fs_thread_queue(m.t);
	ck_assert_int_eq(read_on(other, other_buf, ino, 0, 100000, &data), 100000);
	ck_assert(all_are(0, data, 100000)); /* not 0xdd */
	ck_assert(!w.done);
	held = NULL;
	ck_assert_int_eq(io_result(m.t, &w), 100000);
	ck_assert_int_eq(read_on(other, other_buf, ino, 0, 100000, &data), 100000);
	ck_assert_mem_eq(data, buf, 100000);
}
END_TEST

static void *write_second(void *arg)
{
	static ssize_t result;

	result = write_on(other, other_buf, *(uint64_t *)arg, 4096, 4096, 50);
	return &result;
}

START_TEST(a_write_waits_for_one_in_flight_to_the_same_blocks)
{
	uint64_t ino = make("f", S_IFREG | 0644);
	struct io_wait first = {0};
	ssize_t *second;
	struct fs_io a = {.ino = ino, .bytes = 8192, .buf = buf, .done = io_done, .user = &first};
	pthread_t thread;
	uint8_t *data;

	fill(buf, 8192, 1);
	fs_write(m.t, &a);
	held = fs_thread_queue(m.t);
	nr_requests = 0;
	pthread_create(&thread, NULL, write_second, &ino);
	usleep(50000);
	ck_assert_uint_eq(nr_requests, 0); /* else it would be done, and the older one still win */
	held = NULL;
	ck_assert_int_eq(io_result(m.t, &first), 8192);
	pthread_join(thread, (void **)&second);
	ck_assert_int_eq(*second, 4096);
	ck_assert_int_eq(read_at(ino, 4095, 3, &data), 3);
	ck_assert_uint_eq(data[0], (uint8_t)(4095 * 7 + 4095 / 251 + 1));
	ck_assert_uint_eq(data[1], 50);
}
END_TEST

START_TEST(a_sync_waits_for_writes_in_flight)
{
	uint64_t ino = make("f", S_IFREG | 0644);
	struct io_wait w = {0};
	struct fs_io io = {.ino = ino, .bytes = 100000, .buf = buf, .done = io_done, .user = &w};

	fs_write(m.t, &io);
	ck_assert_int_eq(fs_sync(m.t), 0);
	ck_assert(w.done && w.result == 100000);
}
END_TEST

/* ---- failures ---- */

START_TEST(a_failed_overwrite_is_an_error_of_that_write_only)
{
	uint64_t ino = make("f", S_IFREG | 0644);
	uint8_t *data;

	ck_assert_int_eq(write_at(ino, 0, 8192, 1), 8192);
	fail_writes = true;
	ck_assert_int_eq(write_at(ino, 0, 4096, 1), -EIO);
	fail_writes = false;
	ck_assert_int_eq(write_at(ino, 0, 4096, 2), 4096);
	ck_assert_int_eq(read_at(ino, 0, 8192, &data), 8192);
}
END_TEST

START_TEST(new_data_that_was_lost_never_shows_what_was_there_before)
{
	uint64_t ino = make("f", S_IFREG | 0644);
	uint8_t *data;

	ck_assert_int_eq(write_at(ino, 0, 4096, 1), 4096);
	ck_assert_int_eq(fs_sync(m.t), 0);
	fail_writes = true;
	ck_assert_int_eq(write_at(ino, 4096, 4096, 1), -EIO);
	fail_writes = false;
	ck_assert_int_eq(read_at(ino, 4096, 4096, &data), -EIO);
	ck_assert_int_eq(write_at(ino, 0, 4096, 1), -EROFS);

	mount_again();
	ck_assert_int_eq(read_at(ino, 0, 10000, &data), 4096);
	ck_assert_uint_eq(data[0], 1);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("file");
	TCase *tc = tcase_create("data");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, what_is_written_is_read_back, 0, sizeof(spots) / sizeof(spots[0]));
	tcase_add_test(tc, a_read_ends_where_the_file_does);
	tcase_add_test(tc, a_mib_into_a_fresh_file_is_one_extent_and_one_request);
	tcase_add_loop_test(tc, bytes_past_the_end_are_zeros_when_the_file_grows, 0, 5);
	tcase_add_loop_test(tc, zeros_in_a_partial_block_are_durable_before_what_shows_them, 0, 3);
	tcase_add_test(tc, what_is_allocated_ahead_reads_as_zeros);
	tcase_add_test(tc, blocks_kept_past_the_end_do_not_count_as_size);
	tcase_add_test(tc, a_punched_range_is_zeros_and_gives_its_blocks_back);
	tcase_add_loop_test(tc, a_write_that_needs_many_extents_is_whole, 0, 2);
	tcase_add_test(tc, wrong_calls_are_refused);
	tcase_add_loop_test(tc, privileges_go_with_a_write_and_with_the_owner, 0, 3);
	tcase_add_loop_test(tc, new_blocks_read_as_zeros_until_their_data_is_there, 0, 2);
	tcase_add_test(tc, a_write_waits_for_one_in_flight_to_the_same_blocks);
	tcase_add_test(tc, a_sync_waits_for_writes_in_flight);
	tcase_add_test(tc, a_failed_overwrite_is_an_error_of_that_write_only);
	tcase_add_test(tc, new_data_that_was_lost_never_shows_what_was_there_before);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return run_suite(suite());
}
