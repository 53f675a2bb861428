/* check.c - fs_check(): the passes of fsck in their order (checker.h has the rules). */
#include <errno.h>
#include <stdlib.h>
#include "checker.h"

typedef int (*pass_fn)(struct check *c);

/* --- what a check stands on --- */

static size_t group_bytes(const struct check *c)
{
	return (size_t)c->fs.nr_groups * sizeof(*c->group);
}

#define STORE_BYTES ((size_t)(NR_PAGES + 1 + WINDOW_BLOCKS) * BLOCK_BYTES)

static int open_store(struct check *c, struct blockdev *dev)
{
	struct blk_info info;
	int err;

	blk_get_info(dev, &info);
	if (info.read_only && c->writes)
		return chk_fail(c, -EROFS, "the disk is read-only: only -n");
	c->disk_blocks = info.nr_sectors / BLOCK_SECTORS;
	c->fs.dev = dev;
	c->fs.opts.errors = FS_ERRORS_CONTINUE; /* nothing here is ever shut */
	c->fs.read_only = !c->writes;
	memcpy(c->fs.disk_name, info.name, sizeof(c->fs.disk_name));
	c->t.fs = &c->fs;
	err = blk_queue_open(dev, &c->t.q);
	if (err < 0)
		return chk_fail(c, err, "cannot open a queue: %s", strerror(-err));
	c->pages = blk_dma_alloc(dev, STORE_BYTES);
	c->memory = c->out->memory_bytes = STORE_BYTES;
	err = c->pages == NULL ? -ENOMEM : cache_create(&c->fs);
	if (err < 0) {
		if (c->pages != NULL)
			blk_dma_free(dev, c->pages, STORE_BYTES);
		blk_queue_close(c->t.q);
		return chk_fail(c, err, "out of memory for disk blocks");
	}
	c->inode_page = c->pages + (size_t)NR_PAGES * BLOCK_BYTES;
	c->window = c->inode_page + BLOCK_BYTES;
	return 0;
}

static void close_store(struct check *c)
{
	struct fs_stats pinned = {0};

	cache_stats(&c->fs, &pinned);
	c->out->memory_bytes += pinned.cache_blocks * BLOCK_BYTES;
	cache_destroy(&c->fs);
	blk_dma_free(c->fs.dev, c->pages, STORE_BYTES);
	blk_queue_close(c->t.q);
}

static int create_tables(struct check *c)
{
	c->group = chk_alloc(c, group_bytes(c));
	return c->group == NULL ? -ENOMEM : 0;
}

static void destroy_tables(struct check *c)
{
	for (uint32_t i = 0; c->group != NULL && i < c->fs.nr_groups; i++) {
		struct check_group *g = &c->group[i];

		free(g->inode);
		free(g->links);
		free(g->blocks);
		free(g->shared);
		free(g->settled);
		free(g->nodes);
	}
	free(c->group);
	free(c->dirs.v);
	free(c->orphans.v);
	free(c->names.v);
}

/* --- the passes --- */

static int check_all(struct check *c)
{
	static const pass_fn passes[FSCK_PASSES] = {
		check_inodes, check_dirs, check_shared, check_links, check_groups};
	int err = create_tables(c);

	for (unsigned i = 0; i < FSCK_PASSES && err == 0; i++) {
		c->pass = i + 1;
		chk_progress(c, 0, 1);
		err = passes[i](c);
		if (err == 0)
			err = chk_go_on(c);
		chk_progress(c, 1, 1);
	}
	return err;
}

/* Names are put in on a filesystem that is sound but for them, and says so only afterwards. */
static int put_names(struct check *c)
{
	int err;

	if (!c->writes || c->names.nr == 0)
		return 0;
	err = check_super_attach(c, true);
	if (err == 0)
		err = check_attach(c);
	return err < 0 ? err : check_super_attach(c, false);
}

/* With its journal replayed it is as sound as it was before it stopped, unless somebody says
 * otherwise. */
static bool replay_is_enough(const struct check *c)
{
	return !c->opts->force && c->out->nr_problems == 0;
}

static int check_disk(struct check *c)
{
	int err = check_super(c);

	if (err < 0)
		return err;
	if (c->clean && !c->opts->force) {
		c->out->was_clean = true;
		return 0;
	}
	err = check_journal(c);
	if (err == 0)
		err = check_super_home(c);
	if (err == 0 && replay_is_enough(c)) {
		c->out->was_clean = true;
		return check_super_done(c);
	}
	if (err == 0)
		err = check_all(c);
	if (err == 0)
		err = put_names(c);
	return err < 0 ? err : check_super_done(c);
}

int fs_check(struct blockdev *dev, const struct fsck_opts *opts, struct fsck_result *out)
{
	struct check *c = calloc(1, sizeof(*c));
	int err;

	*out = (struct fsck_result){0};
	if (c == NULL)
		return -ENOMEM;
	c->opts = opts;
	c->out = out;
	c->writes = opts->mode != FSCK_NO;
	err = open_store(c, dev);
	if (err == 0) {
		err = check_disk(c);
		destroy_tables(c);
		close_store(c);
	}
	if (err < 0)
		(void)chk_fail(c, err, "the disk failed: %s", strerror(-err));
	if (c->stop) /* as asked for: *OUT says why */
		err = 0;
	free(c);
	return err;
}
