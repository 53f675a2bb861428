/* test_orphan.c - what is unlinked or cut short is freed, whether a crash came between or not.
 *
 * A crash is a copy of the disk as it is after a sync, mounted as a disk of its own. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "io_wait.h"
#include "memfs.h"
#include "alloc.h"
#include "file.h"
#include "orphan.h"

#define MIB        64U
#define NR_EXTENTS 700U

static struct memfs m;
static uint64_t free_blocks, free_inodes; /* at first */

static void count_free(struct memfs *f, uint64_t *blocks, uint64_t *inodes)
{
	orphans_wait(f->t);
	ck_assert_int_eq(fs_sync(f->t), 0);
	alloc_counters(f->fs, blocks, inodes);
}

static void check_all_free(struct memfs *f)
{
	uint64_t blocks, inodes;

	count_free(f, &blocks, &inodes);
	ck_assert_uint_eq(blocks, free_blocks);
	ck_assert_uint_eq(inodes, free_inodes);
	ck_assert_uint_eq(le64_get(((struct super_disk *)f->fs->super->data)->orphan_head), 0);
}

static uint64_t make(const char *name)
{
	struct fs_attr attr;

	ck_assert_int_eq(
		fs_mknod(m.t, FS_ROOT_INO, name, S_IFREG, 0, &(struct fs_cred){0}, &attr), 0);
	return attr.ino;
}

static void setup(void)
{
	memfs_open(&m, MIB);
	/* With a first entry the root has its leaf. */
	fs_forget(m.t, make("first"), 1);
	count_free(&m, &free_blocks, &free_inodes);
}

static void teardown(void)
{
	memfs_close(&m);
}

/* A disk like M's is now, mounted. */
static void crash(struct memfs *copy)
{
	struct blk_queue *to;
	uint8_t *page;

	ck_assert_int_eq(fs_sync(m.t), 0);
	ck_assert_int_eq(mem_disk_open((uint64_t)MIB << 11, &copy->dev), 0);
	ck_assert_int_eq(blk_queue_open(copy->dev, &to), 0);
	page = blk_dma_alloc(copy->dev, 1 << 20);
	for (uint64_t s = 0; s < (uint64_t)MIB << 11; s += 2048) {
		ck_assert_int_eq(blk_do(fs_thread_queue(m.t), BLK_READ, s, 2048, page), 0);
		ck_assert_int_eq(blk_do(to, BLK_WRITE, s, 2048, page), 0);
	}
	blk_dma_free(copy->dev, page, 1 << 20);
	blk_queue_close(to);
	memfs_mount(copy);
}

/* Every other block, so that there are NR extents. */
static void write_sparse(uint64_t ino, unsigned nr)
{
	uint8_t *page = blk_dma_alloc(m.dev, FS_BLOCK_BYTES);

	for (unsigned i = 0; i < nr; i++) {
		struct fs_io io = {.ino = ino,
			.offset = 2 * i * FS_BLOCK_BYTES,
			.bytes = FS_BLOCK_BYTES,
			.buf = page};

		ck_assert_int_eq(io_do(m.t, fs_write, &io), FS_BLOCK_BYTES);
	}
	blk_dma_free(m.dev, page, FS_BLOCK_BYTES);
}

START_TEST(unlinked_and_forgotten_is_freed) /* looped: small, large */
{
	uint64_t ino = make("f");

	write_sparse(ino, _i == 0 ? 2 : NR_EXTENTS);
	ck_assert_int_eq(fs_unlink(m.t, FS_ROOT_INO, "f"), 0);
	fs_forget(m.t, ino, 1);
	check_all_free(&m);
}
END_TEST

START_TEST(unlinked_and_in_use_is_freed_when_the_mount_ends) /* looped: small, large */
{
	write_sparse(make("f"), _i == 0 ? 2 : NR_EXTENTS);
	ck_assert_int_eq(fs_unlink(m.t, FS_ROOT_INO, "f"), 0);
	memfs_remount(&m);
	check_all_free(&m);
}
END_TEST

START_TEST(unlinked_and_in_use_is_freed_after_a_crash) /* looped: small, large */
{
	struct memfs after;
	char name[16];

	for (int i = 0; i < 5; i++) {
		sprintf(name, "f%d", i);
		write_sparse(make(name), _i == 0 ? 2 : NR_EXTENTS / 5);
	}
	for (int i = 0; i < 5; i++) {
		sprintf(name, "f%d", i);
		ck_assert_int_eq(fs_unlink(m.t, FS_ROOT_INO, name), 0);
	}
	crash(&after);
	check_all_free(&after);
	memfs_close(&after);
}
END_TEST

START_TEST(the_list_stays_whole_whichever_goes_first)
{
	static const int order[] = {2, 0, 4, 3, 1}; /* from the middle, the ends, ... */
	uint64_t ino[5];
	char name[16];

	for (int i = 0; i < 5; i++) {
		sprintf(name, "f%d", i);
		ino[i] = make(name);
		ck_assert_int_eq(fs_unlink(m.t, FS_ROOT_INO, name), 0);
	}
	for (int i = 0; i < 5; i++) {
		struct memfs after;
		uint64_t blocks, inodes;

		crash(&after);
		check_all_free(&after);
		memfs_close(&after);
		fs_forget(m.t, ino[order[i]], 1);
		count_free(&m, &blocks, &inodes);
		ck_assert_uint_eq(inodes, free_inodes - (uint64_t)(4 - i));
	}
	check_all_free(&m);
}
END_TEST

/* The first step of a truncate, and nobody to do the others. */
static void truncate_first_step(uint64_t ino, uint64_t size)
{
	struct inode *inode;
	struct tx_handle h;

	ck_assert_int_eq(inode_get(m.t, ino, &inode), 0);
	ck_assert_int_eq(tx_begin(m.t, 2 * TX_JOIN_EXTENT + TX_JOIN_INODE, 0, &h), 0);
	pthread_rwlock_wrlock(&inode->lock);
	ck_assert_int_eq(file_set_size(&h, inode, size), 0);
	ck_assert_int_eq(inode_update(&h, inode, false), 0);
	ck_assert(inode->flags & INODE_F_TRUNCATING);
	ck_assert(inode->flags & INODE_F_ORPHAN);
	pthread_rwlock_unlock(&inode->lock);
	tx_end(&h);
	inode_put(m.t, inode);
}

START_TEST(a_truncate_is_finished_after_a_crash)
{
	uint64_t ino = make("f");
	struct memfs after;
	struct fs_attr a;

	write_sparse(ino, NR_EXTENTS);
	truncate_first_step(ino, 10 * FS_BLOCK_BYTES);
	crash(&after);
	orphans_wait(after.t);
	ck_assert_int_eq(fs_getattr(after.t, ino, &a), 0);
	ck_assert_uint_eq(a.size, 10 * FS_BLOCK_BYTES);
	ck_assert_uint_le(a.nr_sectors, (5 + 1) * 8); /* and a leaf */
	ck_assert_int_eq(fs_lookup(after.t, FS_ROOT_INO, "f", &a), 0);
	fs_forget(after.t, ino, 1);
	ck_assert_int_eq(fs_unlink(after.t, FS_ROOT_INO, "f"), 0);
	check_all_free(&after);
	memfs_close(&after);
}
END_TEST

START_TEST(who_makes_the_file_grow_finishes_its_truncate) /* looped: how */
{
	const struct fs_setattr set = {
		.valid = FS_SET_SIZE, .size = NR_EXTENTS * 2 * FS_BLOCK_BYTES};
	uint64_t ino = make("f");
	struct fs_attr a;
	uint64_t at;

	write_sparse(ino, NR_EXTENTS);
	truncate_first_step(ino, 0);
	if (_i == 0)
		ck_assert_int_eq(fs_setattr(m.t, ino, &set, &a), 0);
	else if (_i == 1)
		write_sparse(ino, 1);
	else
		ck_assert_int_eq(fs_fallocate(m.t, ino, 0, 0, 4096), 0);
	ck_assert_int_eq(fs_getattr(m.t, ino, &a), 0);
	ck_assert_uint_eq(a.nr_sectors, _i == 0 ? 0 : 8);
	if (_i != 1)
		ck_assert_int_eq(fs_lseek(m.t, ino, 0, SEEK_DATA, &at), -ENXIO);
	ck_assert_uint_eq(le64_get(((struct super_disk *)m.fs->super->data)->orphan_head), 0);
}
END_TEST

START_TEST(a_long_truncate_is_finished_by_the_thread)
{
	const struct fs_setattr set = {.valid = FS_SET_SIZE, .size = 1};
	uint64_t ino = make("f");
	struct fs_attr a;

	write_sparse(ino, NR_EXTENTS);
	ck_assert_int_eq(fs_setattr(m.t, ino, &set, &a), 0);
	orphans_wait(m.t);
	ck_assert_int_eq(fs_getattr(m.t, ino, &a), 0);
	ck_assert_uint_le(a.nr_sectors, 16);
	ck_assert_int_eq(fs_unlink(m.t, FS_ROOT_INO, "f"), 0);
	fs_forget(m.t, ino, 1);
	check_all_free(&m);
}
END_TEST

static void set_orphan_next(uint64_t ino, uint64_t next)
{
	struct inode_disk *disk;
	struct tx_handle h;
	struct buf *b;

	ck_assert_int_eq(tx_begin(m.t, TX_JOIN_INODE, 0, &h), 0);
	ck_assert_int_eq(inode_slot_join(&h, ino, &b, &disk), 0);
	disk->orphan_next = le64_of(next);
	cache_put(b);
	tx_end(&h);
}

START_TEST(a_list_that_is_not_sound_does_not_prevent_a_mount) /* looped: where it leads */
{
	uint64_t a = make("a"), b = make("b");
	struct memfs after;
	struct fs_attr attr;

	ck_assert_int_eq(fs_unlink(m.t, FS_ROOT_INO, "a"), 0);
	ck_assert_int_eq(fs_unlink(m.t, FS_ROOT_INO, "b"), 0);
	set_orphan_next(a, (uint64_t[]){b, a, FS_ROOT_INO, 999, UINT64_MAX}[_i]);
	crash(&after);
	orphans_wait(after.t);
	ck_assert_int_eq(fs_lookup(after.t, FS_ROOT_INO, "first", &attr), 0);
	ck_assert(le32_get(((struct super_disk *)after.fs->super->data)->state) & STATE_ERRORS ||
		  atomic_load(&after.fs->errors_seen));
	memfs_close(&after);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("orphan");
	TCase *tc = tcase_create("orphans");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, unlinked_and_forgotten_is_freed, 0, 2);
	tcase_add_loop_test(tc, unlinked_and_in_use_is_freed_when_the_mount_ends, 0, 2);
	tcase_add_loop_test(tc, unlinked_and_in_use_is_freed_after_a_crash, 0, 2);
	tcase_add_test(tc, the_list_stays_whole_whichever_goes_first);
	tcase_add_test(tc, a_truncate_is_finished_after_a_crash);
	tcase_add_loop_test(tc, who_makes_the_file_grow_finishes_its_truncate, 0, 3);
	tcase_add_test(tc, a_long_truncate_is_finished_by_the_thread);
	tcase_add_loop_test(tc, a_list_that_is_not_sound_does_not_prevent_a_mount, 0, 5);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return run_suite(suite());
}
