/* test_trim.c - tests trim.c on a memory disk, where discarded bytes read as 0xdd, erased ones as 0xee. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "fs.h"
#include "memfs.h"

#define MIB         (1ULL << 20)
#define FILE_BLOCKS 16U

static struct memfs m;
static const struct fs_cred root;

static void set_up(void)
{
	const struct mkfs_opts opts = {.no_discard = true};
	struct mkfs_geometry geo;
	char err[256];

	ck_assert_int_eq(mem_disk_open(32 * MIB / SECTOR_BYTES, &m.dev), 0);
	ck_assert_int_eq(mkfs_write(m.dev, &opts, &geo, err, sizeof(err)), 0);
	memfs_mount(&m);
}

static void tear_down(void)
{
	memfs_close(&m);
}

struct io {
	struct fs_io io;
	bool done;
	ssize_t result;
};

static void on_done(struct fs_io *io, ssize_t result)
{
	((struct io *)io)->done = true;
	((struct io *)io)->result = result;
}

static void finish(struct io *io)
{
	while (!io->done)
		(void)blk_wait(fs_thread_queue(m.t), -1);
	MUST(io->result == (ssize_t)io->io.bytes);
}

/* A file of FILE_BLOCKS blocks, each byte of them BYTE. */
static uint64_t make_file(const char *name, int byte)
{
	uint8_t *buf = blk_dma_alloc(m.dev, FS_IO_MAX + FS_BLOCK_BYTES);
	struct io io = {0};
	struct fs_attr a;

	MUST(fs_mknod(m.t, FS_ROOT_INO, name, S_IFREG | 0644, 0, &root, &a) == 0);
	memset(buf, byte, FILE_BLOCKS * FS_BLOCK_BYTES);
	io.io = (struct fs_io){
		.ino = a.ino, .bytes = FILE_BLOCKS * FS_BLOCK_BYTES, .buf = buf, .done = on_done};
	fs_write(m.t, &io.io);
	finish(&io);
	fs_forget(m.t, a.ino, 1);
	blk_dma_free(m.dev, buf, FS_IO_MAX + FS_BLOCK_BYTES);
	return a.ino;
}

static void file_is(const char *name, int byte)
{
	uint8_t *buf = blk_dma_alloc(m.dev, FS_IO_MAX + FS_BLOCK_BYTES);
	struct io io = {0};
	struct fs_attr a;
	const uint8_t *p;

	MUST(fs_lookup(m.t, FS_ROOT_INO, name, &a) == 0);
	io.io = (struct fs_io){
		.ino = a.ino, .bytes = FILE_BLOCKS * FS_BLOCK_BYTES, .buf = buf, .done = on_done};
	fs_read(m.t, &io.io);
	finish(&io);
	p = io.io.data;
	for (size_t i = 0; i < FILE_BLOCKS * FS_BLOCK_BYTES; i++)
		MUST(p[i] == byte);
	fs_forget(m.t, a.ino, 1);
	blk_dma_free(m.dev, buf, FS_IO_MAX + FS_BLOCK_BYTES);
}

/* How many blocks of the disk are BYTE all over. */
static uint64_t blocks_of(int byte)
{
	struct blk_queue *q = fs_thread_queue(m.t);
	uint8_t *buf = blk_dma_alloc(m.dev, FS_BLOCK_BYTES);
	uint64_t n = 0;

	for (uint64_t b = 0; b < m.fs->nr_blocks; b++) {
		MUST(blk_do(q, BLK_READ, b * 8, 8, buf) == 0);
		n += buf[0] == byte && memcmp(buf, buf + 1, FS_BLOCK_BYTES - 1) == 0;
	}
	blk_dma_free(m.dev, buf, FS_BLOCK_BYTES);
	return n;
}

static uint64_t discarded(void) /* and not written since */
{
	return blocks_of(0xdd);
}

static uint64_t free_blocks(void)
{
	struct fs_statfs s;

	fs_statfs(m.fs, &s);
	return s.free_blocks;
}

START_TEST(all_free_blocks_are_discarded_and_no_other) /* looped: or erased securely */
{
	char name[16];
	uint64_t trimmed;

	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		make_file(name, i);
	}
	for (int i = 0; i < 20; i += 2) {
		snprintf(name, sizeof(name), "f%d", i);
		ck_assert_int_eq(fs_unlink(m.t, FS_ROOT_INO, name), 0);
	}
	ck_assert_int_eq(fs_trim(m.t, 0, UINT64_MAX, 0, _i == 1, &trimmed), 0);
	ck_assert_uint_eq(trimmed, free_blocks() * FS_BLOCK_BYTES);
	ck_assert_uint_eq(blocks_of(_i == 1 ? 0xee : 0xdd), free_blocks());
	memfs_remount(&m);
	for (int i = 1; i < 20; i += 2) {
		snprintf(name, sizeof(name), "f%d", i);
		file_is(name, i);
	}
	make_file("new", 77);
	file_is("new", 77);
}
END_TEST

START_TEST(a_range_and_a_least_length_are_kept_to)
{
	uint64_t trimmed, before;

	make_file("a", 1);
	make_file("b", 2);
	make_file("c", 3);
	ck_assert_int_eq(fs_unlink(m.t, FS_ROOT_INO, "b"), 0);
	ck_assert_int_eq(fs_sync(m.t), 0);
	ck_assert_int_eq(fs_trim(m.t, 20 * MIB, 2 * MIB + 100, 0, false, &trimmed), 0);
	ck_assert_uint_eq(trimmed, 2 * MIB);
	before = discarded();
	ck_assert_int_eq(fs_trim(m.t, 0, 16 * MIB, MIB, false, &trimmed), 0);
	ck_assert_uint_gt(trimmed, 0);
	ck_assert_uint_eq(discarded() - before, trimmed / FS_BLOCK_BYTES);
	before = discarded();
	ck_assert_int_eq(fs_trim(m.t, 0, 16 * MIB, 0, false, &trimmed), 0);
	ck_assert_uint_ge(discarded() - before, FILE_BLOCKS); /* where b was: too short before */
	ck_assert_int_eq(fs_trim(m.t, 32 * MIB, MIB, 0, false, &trimmed), -EINVAL);
	ck_assert_int_eq(fs_trim(m.t, 0, 4095, 0, false, &trimmed), -EINVAL);
	ck_assert_int_eq(fs_trim(m.t, 0, UINT64_MAX, UINT64_MAX, false, &trimmed), -EINVAL);
}
END_TEST

static void *trim_again_and_again(void *arg)
{
	atomic_bool *stop = arg;
	struct fs_thread *t;
	uint64_t trimmed;

	if (fs_thread_open(m.fs, &t) < 0)
		abort();
	while (!atomic_load(stop))
		if (fs_trim(t, 0, UINT64_MAX, 0, false, &trimmed) < 0)
			abort();
	fs_thread_close(t);
	return NULL;
}

START_TEST(what_is_written_meanwhile_stays)
{
	atomic_bool stop = false;
	pthread_t thread;
	char name[16];

	ck_assert_int_eq(pthread_create(&thread, NULL, trim_again_and_again, &stop), 0);
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		make_file(name, i & 0x7f);
		if (i % 3 != 0)
			MUST(fs_unlink(m.t, FS_ROOT_INO, name) == 0);
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	for (int i = 0; i < 300; i += 3) {
		snprintf(name, sizeof(name), "f%d", i);
		file_is(name, i & 0x7f);
	}
}
END_TEST

START_TEST(a_read_only_mount_is_not_trimmed)
{
	struct fs_mount_opts ro = {.read_only = true};
	uint64_t trimmed;

	ck_assert_int_eq(memfs_unmount(&m), 0);
	ck_assert_int_eq(fs_mount(m.dev, &ro, &m.fs), 0);
	ck_assert_int_eq(fs_thread_open(m.fs, &m.t), 0);
	ck_assert_int_eq(fs_trim(m.t, 0, UINT64_MAX, 0, false, &trimmed), -EROFS);
	ck_assert_uint_eq(trimmed, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("trim");
	TCase *c = tcase_create("trim");

	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, set_up, tear_down);
	tcase_add_loop_test(c, all_free_blocks_are_discarded_and_no_other, 0, 2);
	tcase_add_test(c, a_range_and_a_least_length_are_kept_to);
	tcase_add_test(c, what_is_written_meanwhile_stays);
	tcase_add_test(c, a_read_only_mount_is_not_trimmed);
	suite_add_tcase(s, c);
	return run_suite(s);
}
