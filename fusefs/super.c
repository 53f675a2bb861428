/* super.c - mounting and unmounting; the superblock.
 *
 * Invariants
 *  1. No field of the superblock is used before super_check() has passed it.
 *  2. STATE_CLEAN is on the disk only while the journal is empty and nobody has the filesystem
 *     mounted for writing: mounting takes it away, durably, before anything else is written;
 *     unmounting sets it after all else is durable.
 *  3. What changes in a superblock lies in its first 512 bytes, so a torn write of it is the old or
 *     the new one.
 *  4. While mounted for writing the superblock changes as any metadata block does: by transactions.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include "alloc.h"
#include "inode.h"
#include "orphan.h"
#include "super.h"
#include "tx.h"

#define SUPER_BLOCK 1U

static_assert(offsetof(struct super_disk, label) <= SECTOR_BYTES, "invariant 3");

/* --- the superblock's bytes --- */

static bool looks_like_ours(const struct super_disk *sb)
{
	return le32_get(sb->head.magic) == BT_SUPER ||
	       memcmp(sb->signature, SUPER_SIGNATURE, sizeof(sb->signature)) == 0;
}

static const char *check_head(const struct super_disk *sb, uint64_t block)
{
	if (le32_get(sb->head.magic) != BT_SUPER)
		return "no superblock";
	if (le32_get(sb->head.crc) != block_crc(sb))
		return "checksum is wrong";
	if (memcmp(sb->signature, SUPER_SIGNATURE, sizeof(sb->signature)) != 0)
		return "signature is wrong";
	if (le64_get(sb->head.block) != block)
		return "was written for another block";
	if (le64_get(sb->head.owner) != 0)
		return "owner is not 0";
	return NULL;
}

static uint64_t div_up(uint64_t a, uint64_t b)
{
	return (a + b - 1) / b;
}

static const char *check_groups(const struct super_disk *sb, uint64_t disk_blocks)
{
	uint64_t nr_blocks = le64_get(sb->nr_blocks);
	uint64_t per_group = le32_get(sb->group_blocks);
	uint64_t nr_groups = le32_get(sb->nr_groups);
	uint64_t inodes = le32_get(sb->inodes_per_group);
	uint64_t tables;

	if (per_group < GROUP_BLOCKS_MIN || per_group > GROUP_BLOCKS_MAX ||
		(per_group & (per_group - 1)) != 0)
		return "group_blocks is not a power of two, or out of range";
	if (nr_groups == 0 || nr_blocks > nr_groups * per_group ||
		nr_blocks <= (nr_groups - 1) * per_group)
		return "nr_groups does not fit nr_blocks";
	if (nr_blocks > disk_blocks)
		return "the filesystem is larger than the disk";
	if (inodes == 0 || inodes % INODES_PER_BLOCK != 0)
		return "inodes_per_group is not a multiple of a block's";
	if (le32_get(sb->bitmap_blocks) != div_up(per_group, BITMAP_BITS) ||
		le32_get(sb->ibitmap_blocks) != div_up(inodes, BITMAP_BITS) ||
		le32_get(sb->itable_blocks) != inodes / INODES_PER_BLOCK)
		return "the tables' sizes are wrong";
	tables = (uint64_t)le32_get(sb->bitmap_blocks) + le32_get(sb->ibitmap_blocks) +
		 le32_get(sb->itable_blocks);
	if (GROUP_BITMAP + tables + GROUP_DATA_MIN > per_group)
		return "the tables leave no room in a group";
	return NULL;
}

static const char *check_journal(const struct super_disk *sb)
{
	uint64_t start = le64_get(sb->journal_start);
	uint64_t nr = le64_get(sb->journal_blocks);
	uint64_t tables = (uint64_t)le32_get(sb->bitmap_blocks) + le32_get(sb->ibitmap_blocks) +
			  le32_get(sb->itable_blocks);
	uint64_t end = le64_get(sb->nr_blocks);

	if (le32_get(sb->nr_groups) > 1)
		end = le32_get(sb->group_blocks);
	if (start != GROUP_BITMAP + tables || nr < JOURNAL_BLOCKS_MIN || nr > end - start ||
		start > end)
		return "the journal is not where it must be";
	return NULL;
}

const char *super_check(const struct super_disk *sb, uint64_t block, uint64_t disk_blocks)
{
	const char *why = check_head(sb, block);

	if (why != NULL)
		return why;
	if (le32_get(sb->version) != FORMAT_VERSION)
		return "of a version that this program does not know";
	if (le32_get(sb->block_bytes) != BLOCK_BYTES)
		return "block_bytes is not 4096";
	why = check_groups(sb, disk_blocks);
	if (why == NULL)
		why = check_journal(sb);
	if (why != NULL)
		return why;
	if (le64_get(sb->free_blocks) > le64_get(sb->nr_blocks) ||
		le64_get(sb->reserved_blocks) > le64_get(sb->nr_blocks) ||
		le64_get(sb->free_inodes) >
			(uint64_t)le32_get(sb->nr_groups) * le32_get(sb->inodes_per_group))
		return "counters are out of range";
	return NULL;
}

/* --- block 0 --- */

#define BOOT_ENTRY 446U
#define BOOT_TYPE  0xdaU /* "non-filesystem data" */

/* Cylinder, head and sector are the ones that mean "see the LBA". */
void super_boot_sector(uint8_t *block, uint64_t nr_sectors)
{
	static const uint8_t entry[8] = {0, 0, 2, 0, BOOT_TYPE, 0xff, 0xff, 0xff};
	uint64_t rest = nr_sectors - 1;
	le32 lba = le32_of(1);
	le32 nr = le32_of(rest > UINT32_MAX ? UINT32_MAX : (uint32_t)rest);

	memcpy(block + BOOT_ENTRY, entry, sizeof(entry));
	memcpy(block + BOOT_ENTRY + 8, &lba, sizeof(lba));
	memcpy(block + BOOT_ENTRY + 12, &nr, sizeof(nr));
	block[510] = 0x55;
	block[511] = 0xaa;
}

bool super_boot_sector_ok(const uint8_t *block)
{
	return block[BOOT_ENTRY + 4] == BOOT_TYPE && block[510] == 0x55 && block[511] == 0xaa;
}

/* --- reading it, before there is a cache --- */

struct raw { /* a queue and one page, to read and write blocks with */
	struct blockdev *dev;
	struct blk_queue *q;
	struct super_disk *sb;
	uint64_t disk_blocks;
	uint64_t copy_at; /* block of the copy that was used; 0: none */
};

static int raw_open(struct blockdev *dev, struct raw *raw)
{
	struct blk_info info;
	int err;

	blk_get_info(dev, &info);
	raw->dev = dev;
	raw->copy_at = 0;
	raw->disk_blocks = info.nr_sectors / BLOCK_SECTORS;
	raw->sb = blk_dma_alloc(dev, BLOCK_BYTES);
	if (raw->sb == NULL)
		return -ENOMEM;
	err = blk_queue_open(dev, &raw->q);
	if (err < 0)
		blk_dma_free(dev, raw->sb, BLOCK_BYTES);
	return err;
}

static void raw_close(struct raw *raw)
{
	blk_queue_close(raw->q);
	blk_dma_free(raw->dev, raw->sb, BLOCK_BYTES);
}

static int raw_read(struct raw *raw, uint64_t block)
{
	struct blk_req at;

	if (block >= raw->disk_blocks)
		return -ENODATA;
	block_req(&at, BLK_READ, block, 1, NULL, 0);
	return blk_do(raw->q, BLK_READ, at.sector, at.nr_sectors, raw->sb);
}

/* A good copy of a damaged superblock: in groups 1, 2, 4, ... of the default size. */
static bool read_copy(struct raw *raw)
{
	for (uint64_t at = GROUP_BLOCKS_DEFAULT; at < raw->disk_blocks; at *= 2) {
		if (raw_read(raw, at + SUPER_BLOCK) == 0 &&
			super_check(raw->sb, at + SUPER_BLOCK, raw->disk_blocks) == NULL) {
			raw->copy_at = at + SUPER_BLOCK;
			return true;
		}
	}
	return false;
}

static void copy_label(char label[33], const struct super_disk *sb)
{
	memcpy(label, sb->label, sizeof(sb->label));
	label[sizeof(sb->label)] = '\0';
}

int fs_identify(struct blockdev *dev, struct fs_ident *out)
{
	struct raw raw;
	bool is_copy;
	int err;

	err = raw_open(dev, &raw);
	if (err < 0)
		return err;
	err = raw_read(&raw, SUPER_BLOCK);
	if (err == 0 && !looks_like_ours(raw.sb))
		err = -ENODATA;
	if (err < 0)
		goto close_raw;
	is_copy = super_check(raw.sb, SUPER_BLOCK, raw.disk_blocks) != NULL;
	if (is_copy && !read_copy(&raw)) {
		err = -EUCLEAN;
		goto close_raw;
	}
	memcpy(out->uuid, raw.sb->head.fs_uuid, sizeof(out->uuid));
	copy_label(out->label, raw.sb);
	out->dirty = is_copy || (le32_get(raw.sb->state) & STATE_CLEAN) == 0;
	out->nr_blocks = le64_get(raw.sb->nr_blocks);
close_raw:
	raw_close(&raw);
	return err;
}

/* --- threads --- */

int fs_thread_open(struct fs *fs, struct fs_thread **out)
{
	struct fs_thread *t = calloc(1, sizeof(*t));
	int err;

	if (t == NULL)
		return -ENOMEM;
	t->fs = fs;
	err = blk_queue_open(fs->dev, &t->q);
	if (err < 0) {
		free(t);
		return err;
	}
	tx_thread_add(t);
	*out = t;
	return 0;
}

void fs_thread_close(struct fs_thread *t)
{
	tx_thread_remove(t);
	blk_queue_close(t->q);
	free(t);
}

struct blk_queue *fs_thread_queue(struct fs_thread *t)
{
	return t->q;
}

/* --- mounting --- */

void super_geometry(struct fs *fs, const struct super_disk *sb)
{
	memcpy(fs->uuid, sb->head.fs_uuid, sizeof(fs->uuid));
	copy_label(fs->label, sb);
	fs->nr_blocks = le64_get(sb->nr_blocks);
	fs->hash_seed = le64_get(sb->hash_seed);
	fs->journal_start = le64_get(sb->journal_start);
	fs->journal_blocks = le64_get(sb->journal_blocks);
	fs->reserved_blocks = le64_get(sb->reserved_blocks);
	fs->group_blocks = le32_get(sb->group_blocks);
	fs->nr_groups = le32_get(sb->nr_groups);
	fs->inodes_per_group = le32_get(sb->inodes_per_group);
	fs->bitmap_blocks = le32_get(sb->bitmap_blocks);
	fs->ibitmap_blocks = le32_get(sb->ibitmap_blocks);
	fs->itable_blocks = le32_get(sb->itable_blocks);
}

static int check_features(const struct fs *fs, const struct super_disk *sb)
{
	uint32_t incompat = le32_get(sb->incompat) & ~FEATURE_INCOMPAT_KNOWN;
	uint32_t ro_compat = le32_get(sb->ro_compat) & ~FEATURE_RO_COMPAT_KNOWN;

	if (incompat != 0) {
		syslog(LOG_ERR,
			"%s: uses features that this program does not know (incompat %#x): not "
			"mounted",
			fs->disk_name, incompat);
		return -EOPNOTSUPP;
	}
	if (ro_compat != 0 && !fs->read_only) {
		syslog(LOG_ERR,
			"%s: uses features that this program cannot write (ro_compat %#x): mount "
			"it read-only",
			fs->disk_name, ro_compat);
		return -EROFS;
	}
	return 0;
}

/* A damaged superblock may stand whole in the journal (a checkpoint of it was torn): a copy of it
 * leads there. */
static int read_super(struct fs *fs, struct raw *raw)
{
	const char *why = NULL;
	int err = raw_read(raw, SUPER_BLOCK);

	if (err == -ENODATA || (err == 0 && !looks_like_ours(raw->sb))) {
		syslog(LOG_ERR, "%s: no vblkfs filesystem", fs->disk_name);
		return -EINVAL;
	}
	if (err == 0)
		why = super_check(raw->sb, SUPER_BLOCK, raw->disk_blocks);
	if ((err < 0 || why != NULL) && !read_copy(raw)) {
		syslog(LOG_ERR, "%s: superblock: %s; no copy is good; run fsck.vblkfs",
			fs->disk_name, err < 0 ? strerror(-err) : why);
		return err < 0 ? err : -EUCLEAN;
	}
	super_geometry(fs, raw->sb);
	if (le32_get(raw->sb->state) &
		STATE_ERRORS) /* super_mark_errors(): an older image in the journal lacks it */
		atomic_store(&fs->errors_seen, true);
	return check_features(fs, raw->sb);
}

/* The superblock's bytes to their place, now. Only while no transaction runs and the journal is
 * empty. */
static int write_super_home(struct fs *fs, struct raw *raw)
{
	struct super_disk *sb = (struct super_disk *)fs->super->data;
	int err;

	sb->write_time = le64_of((uint64_t)time(NULL));
	if (atomic_load(&fs->errors_seen))
		sb->state = le32_of(le32_get(sb->state) | STATE_ERRORS);
	memcpy(raw->sb, sb, BLOCK_BYTES);
	block_seal(raw->sb);
	err = cache_write_raw(raw->q, SUPER_BLOCK, 1, raw->sb);
	if (err == 0 && (le32_get(sb->state) & STATE_CLEAN)) /* the last one: barriers or not */
		err = blk_do(raw->q, BLK_FLUSH, 0, 0, NULL);
	else if (err == 0)
		err = cache_flush(fs, raw->q);
	if (err < 0)
		syslog(LOG_ERR, "%s: cannot write the superblock: %s", fs->disk_name,
			strerror(-err));
	return err;
}

void super_mark_errors(struct fs *fs, struct blk_queue *q)
{
	struct fs_thread t = {.fs = fs, .q = q};
	struct super_disk *sb = cache_page_alloc(fs);

	if (sb == NULL)
		return;
	if (cache_read_raw(&t, SUPER_BLOCK, 1, sb) == 0 &&
		super_check(sb, SUPER_BLOCK, fs->nr_blocks) == NULL) {
		sb->state = le32_of(le32_get(sb->state) | STATE_ERRORS);
		block_seal(sb);
		(void)cache_write_raw(q, SUPER_BLOCK, 1, sb);
		(void)cache_flush(fs, q);
	}
	cache_page_free(fs, sb);
}

static int mark_mounted(struct fs *fs, struct raw *raw)
{
	struct super_disk *sb = (struct super_disk *)fs->super->data;

	if (le32_get(sb->state) & STATE_ERRORS || atomic_load(&fs->errors_seen))
		syslog(LOG_WARNING, "%s: errors were seen in this filesystem: run fsck.vblkfs",
			fs->disk_name);
	if (fs->opts.no_barrier)
		syslog(LOG_WARNING, "%s: mounted without barriers: a power cut may damage anything",
			fs->disk_name);
	sb->state = le32_of(le32_get(sb->state) & ~STATE_CLEAN);
	sb->mount_count = le32_of(le32_get(sb->mount_count) + 1);
	sb->mount_time = le64_of((uint64_t)time(NULL));
	return write_super_home(fs, raw);
}

/* From a disk with a superblock to one whose journal is empty and whose superblock is in fs->super.
 */
static int recover(struct fs *fs, struct raw *raw)
{
	struct fs_thread t = {.fs = fs, .q = raw->q};
	const struct super_disk *sb;
	const char *why;
	int err;

	err = tx_replay(&t, NULL);
	if (err < 0)
		return err;
	err = cache_get(&t, SUPER_BLOCK, BT_SUPER, 0, &fs->super);
	if (err < 0 && raw->copy_at != 0)
		syslog(LOG_ERR,
			"%s: the superblock is damaged, but not its copy in block %llu: "
			"fsck.vblkfs can repair it",
			fs->disk_name, (unsigned long long)raw->copy_at);
	if (err < 0)
		return err;
	sb = (const struct super_disk *)fs->super->data;
	why = super_check(sb, SUPER_BLOCK, raw->disk_blocks);
	if (why != NULL)
		err = fs_corrupt(fs, SUPER_BLOCK, "%s", why);
	else
		err = check_features(fs, sb);
	if (err == 0)
		super_geometry(fs, sb);
	if (err == 0 && !fs->read_only)
		err = mark_mounted(fs, raw);
	if (err < 0)
		cache_put(fs->super);
	return err;
}

static int create_parts(struct fs *fs)
{
	int err = tx_create(fs);

	if (err < 0)
		return err;
	err = alloc_create(fs);
	if (err < 0)
		goto destroy_tx;
	err = inodes_create(fs);
	if (err < 0)
		goto destroy_alloc;
	err = orphans_create(fs);
	if (err < 0)
		goto destroy_inodes;
	return 0;

destroy_inodes:
	inodes_destroy(fs);
destroy_alloc:
	alloc_destroy(fs);
destroy_tx:
	(void)tx_destroy(fs);
	return err;
}

static int fs_new(struct blockdev *dev, const struct fs_mount_opts *opts, struct fs **out)
{
	struct fs *fs = calloc(1, sizeof(*fs));
	struct blk_info info;

	if (fs == NULL)
		return -ENOMEM;
	blk_get_info(dev, &info);
	fs->dev = dev;
	if (opts != NULL)
		fs->opts = *opts;
	fs->read_only = fs->opts.read_only;
	memcpy(fs->disk_name, info.name, sizeof(fs->disk_name));
	if (info.read_only && !fs->read_only) {
		syslog(LOG_ERR, "%s: the disk is read-only: mount it read-only", fs->disk_name);
		free(fs);
		return -EROFS;
	}
	pthread_mutex_init(&fs->rename_lock, NULL);
	pthread_mutex_init(&fs->orphan_lock, NULL);
	pthread_mutex_init(&fs->log.lock, NULL);
	*out = fs;
	return 0;
}

static void fs_free(struct fs *fs)
{
	pthread_mutex_destroy(&fs->rename_lock);
	pthread_mutex_destroy(&fs->orphan_lock);
	pthread_mutex_destroy(&fs->log.lock);
	free(fs);
}

int fs_mount(struct blockdev *dev, const struct fs_mount_opts *opts, struct fs **out)
{
	struct raw raw;
	struct fs *fs;
	int err;

	err = fs_new(dev, opts, &fs);
	if (err < 0)
		return err;
	err = raw_open(dev, &raw);
	if (err < 0)
		goto free_fs;
	err = read_super(fs, &raw);
	if (err < 0)
		goto close_raw;
	err = cache_create(fs);
	if (err < 0)
		goto close_raw;
	err = recover(fs, &raw);
	if (err < 0)
		goto destroy_cache;
	err = create_parts(fs);
	if (err < 0)
		goto put_super;
	raw_close(&raw);
	blk_claim(dev, fs->nr_blocks * BLOCK_SECTORS);
	*out = fs;
	return 0;

put_super:
	cache_put(fs->super);
destroy_cache:
	cache_destroy(fs);
close_raw:
	raw_close(&raw);
free_fs:
	fs_free(fs);
	return err;
}

static int mark_clean(struct fs *fs)
{
	struct super_disk *sb = (struct super_disk *)fs->super->data;
	struct raw raw;
	int err;

	err = raw_open(fs->dev, &raw);
	if (err < 0)
		return err;
	sb->state = le32_of(le32_get(sb->state) | STATE_CLEAN);
	err = write_super_home(fs, &raw);
	raw_close(&raw);
	return err;
}

int fs_unmount(struct fs *fs)
{
	int err;

	(void)fs_thaw(fs);
	orphans_destroy(fs);
	inodes_destroy(fs);
	err = tx_destroy(fs);
	alloc_destroy(fs);
	if (err == 0 && !fs->read_only)
		err = mark_clean(fs);
	cache_put(fs->super);
	cache_destroy(fs);
	fs_free(fs);
	return err;
}

/* --- what it is --- */

void fs_get_ident(struct fs *fs, struct fs_ident *out)
{
	*out = (struct fs_ident){.dirty = !fs->read_only, .nr_blocks = fs->nr_blocks};
	memcpy(out->uuid, fs->uuid, sizeof(out->uuid));
	memcpy(out->label, fs->label, sizeof(out->label));
}

void fs_statfs(struct fs *fs, struct fs_statfs *out)
{
	alloc_statfs(fs, out);
}

void fs_get_stats(struct fs *fs, struct fs_stats *out)
{
	*out = (struct fs_stats){.read_only = fs_may_write(fs) < 0};
	cache_stats(fs, out);
	tx_stats(fs, out);
}
