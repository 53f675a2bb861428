/* test_inode.c - inodes in memory: found once, kept as long as needed, freed when nobody is left; and slots that break the format. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "io_wait.h"
#include "memfs.h"
#include "alloc.h"
#include "inode.h"
#include "orphan.h"

static struct memfs m;

static void setup(void)
{
	memfs_open(&m, 160);
}

static void teardown(void)
{
	memfs_close(&m);
}

static uint64_t make(const char *name, uint32_t mode)
{
	struct fs_attr attr;

	ck_assert_int_eq(
		fs_mknod(m.t, FS_ROOT_INO, name, mode, 0, &(struct fs_cred){7, 8}, &attr), 0);
	return attr.ino;
}

START_TEST(one_number_is_one_inode)
{
	uint64_t ino = make("f", S_IFREG | 0640);
	struct inode *a, *b;

	ck_assert_int_eq(inode_get(m.t, ino, &a), 0);
	ck_assert_int_eq(inode_get(m.t, ino, &b), 0);
	ck_assert_ptr_eq(a, b);
	inode_put(m.t, b);
	inode_put(m.t, a);
}
END_TEST

static void *get_inode(void *arg)
{
	struct inode **out = arg;
	struct fs_thread *t;

	if (fs_thread_open(m.fs, &t) != 0 || inode_get(t, 2, out) != 0)
		abort();
	fs_thread_close(t);
	return NULL;
}

START_TEST(threads_that_read_one_inode_get_the_same) /* looped */
{
	struct inode *found[4];
	pthread_t thread[4];

	ck_assert_uint_eq(make("f", S_IFREG | 0640), 2);
	memfs_remount(&m);
	for (int i = 0; i < 4; i++)
		pthread_create(&thread[i], NULL, get_inode, &found[i]);
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	for (int i = 0; i < 4; i++) {
		ck_assert_ptr_eq(found[i], found[0]);
		inode_put(m.t, found[i]);
	}
}
END_TEST

START_TEST(every_field_survives_a_remount)
{
	uint64_t ino = make("f", S_IFREG | 0640);
	struct fs_setattr set = {
		.valid = FS_SET_MODE | FS_SET_SIZE | FS_SET_ATIME | FS_SET_MTIME | FS_SET_CTIME,
		.mode = 01777,
		.size = 123456789012,
		.atime = {-5, 1},
		.mtime = {1LL << 40, 999999999},
		.ctime = {12, 13}};
	struct fs_attr a, b;

	ck_assert_int_eq(fs_setattr(m.t, ino, &set, &a), 0);
	ck_assert_int_eq(a.atime.tv_sec, -5);
	ck_assert_int_eq(a.mtime.tv_sec, 1LL << 40);
	ck_assert_int_eq(a.ctime.tv_nsec, 13);
	ck_assert_uint_eq(a.uid, 7);
	ck_assert_uint_eq(a.gid, 8);
	memfs_remount(&m);
	ck_assert_int_eq(fs_getattr(m.t, ino, &b), 0);
	ck_assert_mem_eq(&a, &b, sizeof(a));
}
END_TEST

START_TEST(numbers_that_are_not_in_use_are_stale)
{
	struct fs_attr a;

	ck_assert_int_eq(fs_getattr(m.t, 0, &a), -ESTALE);
	ck_assert_int_eq(fs_getattr(m.t, 2, &a), -ESTALE);
	ck_assert_int_eq(fs_getattr(m.t, 1000, &a), -ESTALE);
	ck_assert_int_eq(fs_getattr(m.t, 1ULL << 60, &a), -ESTALE);
	ck_assert_int_eq(fs_getattr(m.t, FS_ROOT_INO, &a), 0);
}
END_TEST

START_TEST(an_unlinked_inode_lives_until_it_is_forgotten)
{
	uint64_t ino = make("f", S_IFREG | 0640);
	struct fs_attr a;

	ck_assert_int_eq(fs_lookup(m.t, FS_ROOT_INO, "f", &a), 0);
	ck_assert_int_eq(fs_unlink(m.t, FS_ROOT_INO, "f"), 0);
	ck_assert_int_eq(fs_getattr(m.t, ino, &a), 0);
	ck_assert_uint_eq(a.nlink, 0);
	fs_forget(m.t, ino, 1);
	ck_assert_int_eq(fs_getattr(m.t, ino, &a), 0);
	fs_forget(m.t, ino, 1);
	ck_assert_int_eq(fs_getattr(m.t, ino, &a), -ESTALE);
	fs_forget(m.t, ino, 100); /* says nothing */
}
END_TEST

START_TEST(a_number_used_again_has_another_generation)
{
	uint64_t ino = make("f", S_IFREG | 0640);
	struct fs_attr a, b;

	ck_assert_int_eq(fs_getattr(m.t, ino, &a), 0);
	fs_forget(m.t, ino, 1);
	ck_assert_int_eq(fs_unlink(m.t, FS_ROOT_INO, "f"), 0);
	ck_assert_uint_eq(make("g", S_IFREG | 0600), ino);
	ck_assert_int_eq(fs_getattr(m.t, ino, &b), 0);
	ck_assert_uint_ne(a.generation, b.generation);
	ck_assert_uint_eq(b.mode, S_IFREG | 0600);
}
END_TEST

static void sync_done(struct fs_sync *s, int err)
{
	__atomic_store_n((int *)s->user, err, __ATOMIC_RELEASE);
}

static void sync_inode(uint64_t ino, bool datasync)
{
	int result = 1;
	struct fs_sync s = {.done = sync_done, .user = &result};

	fs_fsync(m.t, ino, datasync, &s);
	while (__atomic_load_n(&result, __ATOMIC_ACQUIRE) == 1)
		blk_wait(fs_thread_queue(m.t), 10);
	ck_assert_int_eq(result, 0);
}

/* With more inodes looked up meanwhile than are kept. */
START_TEST(fsync_knows_of_a_change_though_nobody_held_the_inode)
{
	struct fs_setattr set = {.valid = FS_SET_MODE, .mode = 0777};
	struct fs_attr a;
	uint64_t first;
	char name[16];

	for (int i = 0; i < 6000; i++) {
		sprintf(name, "f%d", i);
		fs_forget(m.t, make(name, S_IFREG | 0600), 1);
	}
	ck_assert_int_eq(fs_sync(m.t), 0);
	ck_assert_int_eq(fs_lookup(m.t, FS_ROOT_INO, "f0", &a), 0);
	first = a.ino;
	ck_assert_int_eq(fs_setattr(m.t, first, &set, &a), 0);
	fs_forget(m.t, first, 1);
	for (int i = 1; i < 6000; i++) {
		sprintf(name, "f%d", i);
		ck_assert_int_eq(fs_lookup(m.t, FS_ROOT_INO, name, &a), 0);
		fs_forget(m.t, a.ino, 1);
	}
	sync_inode(first, false);
	ck_assert_uint_eq(alloc_awaiting_commit(m.fs), 0);
	{
		struct inode *inode;

		ck_assert_int_eq(inode_get(m.t, first, &inode), 0);
		ck_assert_uint_le(inode->changed_seq, tx_committed(m.fs));
		ck_assert_uint_gt(inode->changed_seq, 0); /* it was kept */
		inode_put(m.t, inode);
	}
}
END_TEST

START_TEST(fdatasync_does_not_care_for_times)
{
	uint64_t ino = make("f", S_IFREG | 0640), committed;
	struct fs_setattr set = {.valid = FS_SET_MTIME, .mtime = {5, 5}};
	struct fs_attr a;

	ck_assert_int_eq(fs_sync(m.t), 0);
	ck_assert_int_eq(fs_setattr(m.t, ino, &set, &a), 0);
	committed = tx_committed(m.fs);
	sync_inode(ino, true);
	ck_assert_uint_eq(tx_committed(m.fs), committed);
	sync_inode(ino, false);
	ck_assert_uint_gt(tx_committed(m.fs), committed);
}
END_TEST

/* ---- slots that break the format ---- */

static void break_mode(struct inode_disk *d)
{
	d->mode = le32_of(0644);
}
static void break_mode_bits(struct inode_disk *d)
{
	d->mode = le32_of(S_IFREG | 0200000);
}
static void break_ino(struct inode_disk *d)
{
	d->ino = le64_of(77);
}
static void break_size(struct inode_disk *d)
{
	d->size = le64_of(FS_FILE_SIZE_MAX + 1ULL);
}
static void break_blocks(struct inode_disk *d)
{
	d->nr_blocks = le64_of(1ULL << 40);
}
static void break_nlink(struct inode_disk *d)
{
	d->nlink = le32_of(0);
}
static void break_flags(struct inode_disk *d)
{
	d->flags = le32_of(4);
}
static void break_truncating(struct inode_disk *d)
{
	d->flags = le32_of(INODE_F_TRUNCATING);
}
static void break_atime(struct inode_disk *d)
{
	d->atime_ns = le32_of(1000000000);
}
static void break_mtime(struct inode_disk *d)
{
	d->mtime_ns = le32_of(UINT32_MAX);
}
static void break_ctime(struct inode_disk *d)
{
	d->ctime_ns = le32_of(1000000000);
}
static void break_btime(struct inode_disk *d)
{
	d->btime_ns = le32_of(1000000000);
}
static void break_format(struct inode_disk *d)
{
	d->fork_format = 5;
}
static void break_type(struct inode_disk *d)
{
	d->fork_format = FORK_SYMLINK;
}
static void break_count(struct inode_disk *d)
{
	d->fork_count = 4;
}
static void break_count_0(struct inode_disk *d)
{
	d->fork_count = 0;
}
static void break_none(struct inode_disk *d)
{
	d->fork_format = FORK_NONE;
}
static void break_root(struct inode_disk *d)
{
	d->fork_format = FORK_BTREE;
	d->fork_count = 0;
}
static void break_xattr(struct inode_disk *d)
{
	d->xattr_bytes = le16_of(52);
}
static void break_xattr_odd(struct inode_disk *d)
{
	d->xattr_bytes = le16_of(3);
}
static void break_xattr_block(struct inode_disk *d)
{
	d->xattr_block = le64_of(1);
}
static void break_fewer(struct inode_disk *d)
{
	d->nr_blocks = le64_of(0);
}
static void break_extent(struct inode_disk *d)
{
	memset(d->fork + 8, 0xff, 8);
}
static void break_dir(struct inode_disk *d)
{
	d->mode = le32_of(S_IFDIR | 0700);
}
static void break_device(struct inode_disk *d)
{
	d->mode = le32_of(S_IFBLK | 0700);
}

static void (*const breaks[])(struct inode_disk *d) = {break_mode, break_mode_bits, break_ino,
	break_size, break_blocks, break_nlink, break_flags, break_truncating, break_atime,
	break_mtime, break_ctime, break_btime, break_format, break_type, break_count, break_count_0,
	break_none, break_root, break_xattr, break_xattr_odd, break_xattr_block, break_fewer,
	break_extent, break_dir, break_device};

static void change_slot(uint64_t ino, void (*change)(struct inode_disk *d))
{
	struct inode_disk *disk;
	struct tx_handle h;
	struct buf *b;

	ck_assert_int_eq(tx_begin(m.t, TX_JOIN_INODE, 0, &h), 0);
	ck_assert_int_eq(inode_slot_join(&h, ino, &b, &disk), 0);
	change(disk);
	cache_put(b);
	tx_end(&h);
}

static void write_blocks(uint64_t ino, uint64_t offset, uint32_t bytes)
{
	struct fs_io io = {
		.ino = ino, .offset = offset, .bytes = bytes, .buf = blk_dma_alloc(m.dev, bytes)};

	ck_assert_int_eq(io_do(m.t, fs_write, &io), bytes);
	blk_dma_free(m.dev, io.buf, bytes);
}

START_TEST(a_slot_that_breaks_the_format_is_refused) /* looped over breaks */
{
	uint64_t ino = make("f", S_IFREG | 0640);
	struct fs_attr a;

	write_blocks(ino, 0, 8192);
	write_blocks(ino, 40960, 8192);
	fs_forget(m.t, ino, 1);
	memfs_remount(&m);
	change_slot(ino, breaks[_i]);
	ck_assert_int_eq(fs_getattr(m.t, ino, &a), -EUCLEAN);
	ck_assert_int_eq(fs_lookup(m.t, FS_ROOT_INO, "f", &a), -EUCLEAN);
	ck_assert_int_eq(fs_getattr(m.t, FS_ROOT_INO, &a), 0);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("inode");
	TCase *tc = tcase_create("inodes");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, one_number_is_one_inode);
	tcase_add_loop_test(tc, threads_that_read_one_inode_get_the_same, 0, 5);
	tcase_add_test(tc, every_field_survives_a_remount);
	tcase_add_test(tc, numbers_that_are_not_in_use_are_stale);
	tcase_add_test(tc, an_unlinked_inode_lives_until_it_is_forgotten);
	tcase_add_test(tc, a_number_used_again_has_another_generation);
	tcase_add_test(tc, fsync_knows_of_a_change_though_nobody_held_the_inode);
	tcase_add_test(tc, fdatasync_does_not_care_for_times);
	tcase_add_loop_test(tc, a_slot_that_breaks_the_format_is_refused, 0,
		sizeof(breaks) / sizeof(breaks[0]));
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return run_suite(suite());
}
