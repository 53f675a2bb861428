/* check_super.c - pass 0: which superblock is believed; its copies; and what it says of repairs.
 *
 * Checks: the superblock, field by field (super_check()); its copies against it; the mark of
 * damage; block 0. Collects: the geometry, in c->fs. Relies on: nothing.
 *
 * When block 1 can't be believed, in this order: the block that the user named; the copies, in
 * groups 1, 2, 4... of any size that a group can have; images of it in the journal, the newest,
 * for a disk of one group has no copies. What such a one says of counters, orphans and times is
 * old: later passes count anew. After the replay block 1 may be sound again, and only if it is
 * not then it is restored. */
#include <errno.h>
#include <time.h>
#include "checker.h"
#include "super.h"

#define SUPER_BLOCK 1U

/* --- finding one --- */

/* Sound but for counters, which are counted anew. */
static bool sound_but_counters(const struct super_disk *sb, uint64_t disk_blocks)
{
	struct super_disk try = *sb;

	if (le32_get(sb->head.crc) != block_crc(sb))
		return false;
	try.free_blocks = try.free_inodes = try.reserved_blocks = le64_of(0);
	block_seal(&try);
	return super_check(&try, SUPER_BLOCK, disk_blocks) == NULL;
}

/* Sound, but of another version: nothing to repair, and nothing to be put in its place. */
static bool is_of_other_version(const struct super_disk *sb)
{
	return le32_get(sb->head.magic) == BT_SUPER && le32_get(sb->head.crc) == block_crc(sb) &&
	       memcmp(sb->signature, SUPER_SIGNATURE, sizeof(sb->signature)) == 0 &&
	       le32_get(sb->version) != FORMAT_VERSION;
}

static bool take(struct check *c, const uint8_t *page, uint64_t from)
{
	memcpy(&c->sb, page, sizeof(c->sb));
	super_geometry(&c->fs, &c->sb);
	c->super_from = from;
	return true;
}

static bool read_at(struct check *c, uint64_t block, uint8_t *page)
{
	return block < c->disk_blocks && cache_read_raw(&c->t, block, 1, page) == 0;
}

static bool try_copy(struct check *c, uint64_t block, uint8_t *page)
{
	return read_at(c, block, page) &&
	       super_check((void *)page, block, c->disk_blocks) == NULL && take(c, page, block);
}

static bool try_copies(struct check *c, uint8_t *page)
{
	for (uint64_t at = GROUP_BLOCKS_MAX; at < c->disk_blocks; at *= 2)
		if (try_copy(c, at + GROUP_SUPER, page))
			return true;
	for (uint64_t at = GROUP_BLOCKS_MIN; at < GROUP_BLOCKS_MAX && at < c->disk_blocks; at *= 2)
		if (try_copy(c, at + GROUP_SUPER, page))
			return true;
	return false;
}

/* Is PAGE, read from BLOCK, an image of the superblock in the journal that it tells of? */
static bool is_image(const struct check *c, const uint8_t *page, uint64_t block)
{
	const struct super_disk *sb = (const struct super_disk *)page;

	return le32_get(sb->head.magic) == BT_SUPER &&
	       super_check(sb, SUPER_BLOCK, c->disk_blocks) == NULL &&
	       block > le64_get(sb->journal_start) &&
	       block < le64_get(sb->journal_start) + le64_get(sb->journal_blocks);
}

static bool try_images(struct check *c)
{
	uint64_t end = c->disk_blocks < GROUP_BLOCKS_MAX ? c->disk_blocks : GROUP_BLOCKS_MAX;
	uint64_t newest = 0;

	for (uint64_t at = SUPER_BLOCK + 1; at < end && chk_go_on(c) == 0; at += WINDOW_BLOCKS) {
		uint32_t nr = (uint32_t)(end - at < WINDOW_BLOCKS ? end - at : WINDOW_BLOCKS);

		if (cache_read_raw(&c->t, at, nr, c->window) < 0)
			continue;
		for (uint32_t i = 0; i < nr; i++) {
			const uint8_t *page = c->window + (size_t)i * BLOCK_BYTES;
			const struct super_disk *sb = (const struct super_disk *)page;

			if (!is_image(c, page, at + i) || le64_get(sb->head.sequence) < newest)
				continue;
			newest = le64_get(sb->head.sequence);
			(void)take(c, page, at + i);
			end = le64_get(sb->journal_start) + le64_get(sb->journal_blocks);
		}
	}
	return newest != 0;
}

static int find(struct check *c, uint8_t *page)
{
	const struct super_disk *sb = (const struct super_disk *)page;
	bool readable = read_at(c, SUPER_BLOCK, page);
	bool ours = readable && le32_get(sb->head.magic) == BT_SUPER;
	const char *why = readable ? super_check(sb, SUPER_BLOCK, c->disk_blocks) : "can't be read";
	uint64_t alt = c->opts->alt_super;

	if (why == NULL || (readable && sound_but_counters(sb, c->disk_blocks))) {
		(void)take(c, page, SUPER_BLOCK);
		return 0;
	}
	if (readable && is_of_other_version(sb))
		return chk_fail(c, -EOPNOTSUPP,
			"is of version %u, which this program does not know: take a newer one",
			le32_get(sb->version));
	if (alt != 0)
		return try_copy(c, alt, page)
			       ? 0
			       : chk_fail(c, -ENODATA, "no copy of the superblock in block %llu",
					 (unsigned long long)alt);
	if (try_copies(c, page) || try_images(c))
		return 0;
	if (ours)
		return chk_fail(c, -ENODATA,
			"superblock: %s; and no sound copy was found (-b names one)", why);
	return chk_fail(c, -ENODATA,
		"no vblkfs superblock, nor a copy of one: is it the right disk? (-b names a copy)");
}

static int check_features(struct check *c)
{
	uint32_t incompat = le32_get(c->sb.incompat) & ~FEATURE_INCOMPAT_KNOWN;
	uint32_t ro_compat = le32_get(c->sb.ro_compat) & ~FEATURE_RO_COMPAT_KNOWN;

	if (incompat != 0)
		return chk_fail(c, -EOPNOTSUPP,
			"uses features that this program does not know (incompat %#x): take a "
			"newer one",
			incompat);
	if (ro_compat != 0 && c->writes)
		return chk_fail(c, -EROFS,
			"uses features that this program can't repair (ro_compat %#x): only -n",
			ro_compat);
	return 0;
}

static void fill_result(struct check *c)
{
	struct fsck_result *out = c->out;

	memcpy(out->label, c->fs.label, sizeof(out->label));
	out->nr_blocks = c->fs.nr_blocks;
	out->nr_inodes = (uint64_t)c->fs.nr_groups * c->fs.inodes_per_group;
	out->used_blocks = out->nr_blocks - le64_get(c->sb.free_blocks);
	out->used_inodes = out->nr_inodes - le64_get(c->sb.free_inodes);
}

int check_super(struct check *c)
{
	uint8_t *page = chk_page_get(c);
	uint32_t state;
	int err = find(c, page);

	chk_page_put(c, page);
	if (err == 0)
		err = check_features(c);
	if (err < 0)
		return err;
	state = le32_get(c->sb.state);
	c->errors = (state & STATE_ERRORS) != 0;
	c->clean = c->super_from == SUPER_BLOCK && (state & STATE_CLEAN) && !(state & STATE_ERRORS);
	fill_result(c);
	return 0;
}

/* --- block 1, after the replay --- */

/* What a copy or an old image can't know. */
static void forget_state(struct super_disk *sb)
{
	sb->state = le32_of(STATE_ERRORS);
	sb->orphan_head = le64_of(0);
}

static int check_primary(struct check *c, uint8_t *page)
{
	const struct super_disk *sb = (const struct super_disk *)page;
	int err = chk_read(c, SUPER_BLOCK, page);
	const char *why = err == -EIO ? "can't be read" : NULL;

	if (err < 0 && err != -EIO)
		return err;
	if (why == NULL)
		why = super_check(sb, SUPER_BLOCK, c->disk_blocks);
	if (why == NULL || (err == 0 && sound_but_counters(sb, c->disk_blocks))) {
		(void)take(c, page, SUPER_BLOCK);
		if (why != NULL && chk_fix(c, P_SUPER_COUNTERS_RANGE, &(struct problem_at){0})) {
			c->sb.free_blocks = c->sb.free_inodes = le64_of(0);
			c->sb.reserved_blocks = le64_of(c->fs.nr_blocks / 256);
			c->super_bad = c->count_anew = true;
		}
		return 0;
	}
	forget_state(&c->sb);
	if (!chk_fix(c, P_SUPER_DAMAGED, &(struct problem_at){.block = c->super_from, .s = why}))
		return chk_fail(c, -EUCLEAN, "nothing can be done without a superblock");
	c->super_bad = c->count_anew = true;
	return 0;
}

/* NULL: the fields that never change are SB's. */
static const char *copy_fault(struct check *c, const struct super_disk *copy, uint64_t block)
{
	const struct super_disk *sb = &c->sb;
	const char *why = super_check(copy, block, c->disk_blocks);

	if (why != NULL)
		return why;
	if (memcmp(copy->head.fs_uuid, sb->head.fs_uuid, sizeof(sb->head.fs_uuid)) != 0)
		return "belongs to another filesystem";
	if (memcmp(&copy->compat, &sb->compat, 3 * sizeof(le32)) != 0 ||
		memcmp(&copy->nr_blocks, &sb->nr_blocks,
			offsetof(struct super_disk, free_blocks) -
				offsetof(struct super_disk, nr_blocks)) != 0 ||
		le64_get(copy->hash_seed) != le64_get(sb->hash_seed))
		return "differs from it";
	return NULL;
}

static int check_copy(struct check *c, uint32_t group, uint8_t *page)
{
	uint64_t block = fs_group_start(&c->fs, group) + GROUP_SUPER;
	struct super_disk *copy = (struct super_disk *)page;
	int err = chk_read(c, block, page);
	const char *why = err == -EIO ? "can't be read" : NULL;

	if (err < 0 && err != -EIO)
		return err;
	if (why == NULL)
		why = copy_fault(c, copy, block);
	if (why == NULL ||
		!chk_fix(c, P_SUPER_COPY, &(struct problem_at){.block = block, .s = why}))
		return 0;
	*copy = c->sb;
	copy->head.block = le64_of(block);
	copy->state = le32_of(STATE_CLEAN);
	copy->orphan_head = le64_of(0);
	return chk_write(c, block, page);
}

static int check_boot(struct check *c, uint8_t *page)
{
	int err = chk_read(c, GROUP_BOOT, page);
	struct blk_info info;

	if (err < 0 && err != -EIO)
		return err;
	if (err == -EIO)
		memset(page, 0, BLOCK_BYTES);
	if (super_boot_sector_ok(page) || !chk_fix(c, P_BOOT_SECTOR, &(struct problem_at){0}))
		return 0;
	blk_get_info(c->fs.dev, &info);
	super_boot_sector(page, info.nr_sectors);
	if (!c->writes) /* nobody reads it again; and it has no head to seal */
		return 0;
	err = check_super_mark(c);
	c->out->changed = true;
	return err < 0 ? err : cache_write_raw(c->t.q, GROUP_BOOT, 1, page);
}

int check_super_home(struct check *c)
{
	uint8_t *page = chk_page_get(c);
	int err = check_primary(c, page);

	if (err == 0)
		err = check_features(c);
	if (err == 0)
		fill_result(c);
	if (!c->marked) /* by ourselves */
		c->errors |= (le32_get(c->sb.state) & STATE_ERRORS) != 0;
	if (err == 0 && c->errors && !c->super_bad)
		c->super_bad = chk_fix(c, P_SUPER_ERRORS, &(struct problem_at){0});
	for (uint64_t g = 1; g < c->fs.nr_groups && err == 0; g *= 2)
		err = check_copy(c, (uint32_t)g, page);
	if (err == 0)
		err = check_boot(c, page);
	chk_page_put(c, page);
	return err;
}

/* --- rule 4 --- */

static int write_home(struct check *c, uint32_t state)
{
	uint8_t *page = chk_page_get(c);
	struct super_disk *sb = (struct super_disk *)page;
	int err;

	*sb = c->sb;
	sb->head.block = le64_of(SUPER_BLOCK);
	sb->state = le32_of(state);
	sb->write_time = le64_of((uint64_t)time(NULL));
	block_seal(page);
	err = blk_do(c->t.q, BLK_FLUSH, 0, 0, NULL);
	if (err == 0)
		err = cache_write_raw(c->t.q, SUPER_BLOCK, 1, page);
	if (err == 0)
		err = blk_do(c->t.q, BLK_FLUSH, 0, 0, NULL);
	chk_page_put(c, page);
	return err == 0 ? 0 : chk_fail(c, err, "cannot write the superblock: %s", strerror(-err));
}

int check_super_mark(struct check *c)
{
	if (c->marked || !c->writes)
		return 0;
	if (c->super_from != SUPER_BLOCK && !c->super_bad)
		return 0; /* nobody mounts it as it is, and to restore it was not decided yet */
	c->marked = true;
	return write_home(c, STATE_ERRORS);
}

int check_super_attach(struct check *c, bool before)
{
	uint8_t *page;
	struct super_disk was = c->sb;
	int err;

	if (before) {
		c->marked = true;
		return write_home(c, STATE_ERRORS);
	}
	page = chk_page_get(c);
	err = chk_read(c, SUPER_BLOCK, page);
	if (err == 0)
		memcpy(&c->sb, page, sizeof(c->sb));
	chk_page_put(c, page);
	c->sb.mount_count = was.mount_count; /* that one was ours */
	c->sb.mount_time = was.mount_time;
	return err;
}

int check_super_done(struct check *c)
{
	bool sound = c->out->nr_left == 0;

	if (!c->writes || (!c->marked && !c->super_bad && (c->clean || !sound)))
		return 0;
	c->out->changed = true;
	return write_home(c, sound ? STATE_CLEAN : STATE_ERRORS);
}
