/* trim.c - tell the disk which blocks are free.
 *
 * Invariants
 *  1. A block is discarded only while it is held free (alloc_hold_free()): nobody can be given it
 *     before the discard is done.
 *  2. Its freeing is committed, so that after a crash no file of the last commit has lost it. */
#include "alloc.h"
#include "fs.h"

#define RUN_MAX (1U << 18) /* blocks in one discard: whoever needs that space waits no longer */

static int discard(struct fs_thread *t, bool secure, uint64_t start, uint32_t nr)
{
	enum blk_op op = secure ? BLK_SECURE_ERASE : BLK_DISCARD;
	int err = blk_do(t->q, op, start * BLOCK_SECTORS, (uint32_t)(nr * BLOCK_SECTORS), NULL);

	if (err < 0)
		fs_note_io(t->fs, err, "%s of %u blocks at %llu", secure ? "erasure" : "discard",
			nr, (unsigned long long)start);
	return err;
}

/* The blocks that lie whole in [offset, offset + bytes). */
static void range_of(
	const struct fs *fs, uint64_t offset, uint64_t bytes, uint64_t *from, uint64_t *end)
{
	uint64_t last = bytes > UINT64_MAX - offset ? UINT64_MAX : offset + bytes;

	*from = offset / BLOCK_BYTES + (offset % BLOCK_BYTES != 0);
	*end = last / BLOCK_BYTES;
	if (*end > fs->nr_blocks)
		*end = fs->nr_blocks;
}

static int check_disk(struct fs_thread *t, bool secure)
{
	struct blk_info info;

	blk_get_info(t->fs->dev, &info);
	if (!(secure ? info.can_secure_erase : info.can_discard))
		return -EOPNOTSUPP;
	return info.read_only ? -EROFS : fs_may_write(t->fs);
}

int fs_trim(struct fs_thread *t, uint64_t offset, uint64_t bytes, uint64_t min_bytes, bool secure,
	uint64_t *trimmed)
{
	struct fs *fs = t->fs;
	uint64_t min = min_bytes / BLOCK_BYTES + (min_bytes % BLOCK_BYTES != 0);
	uint64_t at, end, start;
	uint32_t nr;
	int err = check_disk(t, secure);

	*trimmed = 0;
	if (err < 0)
		return err;
	if (offset / BLOCK_BYTES >= fs->nr_blocks || bytes < BLOCK_BYTES || min > fs->group_blocks)
		return -EINVAL;
	range_of(fs, offset, bytes, &at, &end);
	err = fs_sync(t); /* so that what was just freed counts, too */
	while (err == 0 && at < end) {
		err = alloc_hold_free(
			t, at, end, min == 0 ? 1 : (uint32_t)min, RUN_MAX, &start, &nr);
		if (err < 0 || nr == 0)
			break;
		err = discard(t, secure, start, nr);
		alloc_release(fs, start, nr);
		if (err == 0)
			*trimmed += (uint64_t)nr * BLOCK_BYTES;
		at = start + nr;
	}
	return err;
}
