/* block_world.h - for tests below inodes: a small filesystem on a cut_disk, with metadata blocks
 * that hold one number each. */
#ifndef VBLKFS_BLOCK_WORLD_H
#define VBLKFS_BLOCK_WORLD_H
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "alloc.h"
#include "cut_disk.h"
#include "tx.h"

#define WORLD_SECTORS (32U * 2048) /* 32 MiB, and the smallest journal */
#define WORLD_BLOCKS  64U
#define WORLD_OWNER   77U

struct world {
	struct blockdev *disk;
	struct fs *fs;
	struct fs_thread *t;
	uint64_t block[WORLD_BLOCKS];
	unsigned nr;
};

static inline void world_make(struct world *w)
{
	struct mkfs_opts opts = {
		.have_uuid = true, .uuid = "world", .journal_bytes = 4U << 20, .no_discard = true};
	struct mkfs_geometry geo;
	char err[128];

	*w = (struct world){0};
	ck_assert_int_eq(cut_disk_open(WORLD_SECTORS, &w->disk), 0);
	ck_assert_int_eq(mkfs_write(w->disk, &opts, &geo, err, sizeof(err)), 0);
	cut_disk_record(w->disk);
}

static inline void world_mount(struct world *w, const struct fs_mount_opts *opts)
{
	ck_assert_int_eq(fs_mount(w->disk, opts, &w->fs), 0);
	ck_assert_int_eq(fs_thread_open(w->fs, &w->t), 0);
}

static inline int world_unmount(struct world *w)
{
	struct fs *fs = w->fs;

	fs_thread_close(w->t);
	w->fs = NULL;
	return fs_unmount(fs);
}

static inline void world_close(struct world *w)
{
	blk_close(w->disk);
}

static inline uint64_t *world_number(struct buf *b)
{
	return (uint64_t *)(void *)(b->data + sizeof(struct block_head));
}

/* Under H: a new block, with VALUE. */
static inline uint64_t world_new_block(struct tx_handle *h, uint64_t value)
{
	struct buf *b;
	uint64_t at;
	uint32_t nr;

	ck_assert_int_eq(alloc_blocks(h, 0, 1, &at, &nr), 0);
	ck_assert_int_eq(cache_get_new(h, at, BT_SYMLINK, WORLD_OWNER, &b), 0);
	*world_number(b) = value;
	cache_put(b);
	return at;
}

/* NR blocks, each 0, durable. */
static inline void world_populate(struct world *w, unsigned nr)
{
	struct tx_handle h;

	for (unsigned i = 0; i < nr; i++) {
		ck_assert_int_eq(tx_begin(w->t, 8, 1, &h), 0);
		w->block[w->nr++] = world_new_block(&h, 0);
		tx_end(&h);
	}
	ck_assert_int_eq(tx_sync_wait(w->t, UINT64_MAX), 0);
}

/* Under H. */
static inline void world_put(struct tx_handle *h, const struct world *w, unsigned i, uint64_t value)
{
	struct buf *b;

	ck_assert_int_eq(cache_get(h->t, w->block[i], BT_SYMLINK, WORLD_OWNER, &b), 0);
	ck_assert_int_eq(tx_join(h, b), 0);
	*world_number(b) = value;
	cache_put(b);
}

static inline uint64_t world_get(const struct world *w, unsigned i)
{
	struct buf *b;
	uint64_t value;

	ck_assert_int_eq(cache_get(w->t, w->block[i], BT_SYMLINK, WORLD_OWNER, &b), 0);
	value = *world_number(b);
	cache_put(b);
	return value;
}

/* One handle that sets block I. */
static inline int world_set(struct world *w, unsigned i, uint64_t value)
{
	struct tx_handle h;
	int err = tx_begin(w->t, 1, 0, &h);

	if (err < 0)
		return err;
	world_put(&h, w, i, value);
	tx_end(&h);
	return 0;
}

static inline int world_sync(struct world *w)
{
	return tx_sync_wait(w->t, UINT64_MAX);
}
#endif
