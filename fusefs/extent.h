/* extent.h - which disk blocks hold which blocks of a file.
 *
 * In the inode while there are few, then a B+tree. Extents never overlap, and neighbours that
 * continue each other are merged. Caller holds inode->lock: for reading to map, for writing to
 * change. */
#ifndef VBLKFS_EXTENT_H
#define VBLKFS_EXTENT_H
#include "tx.h"

struct inode;

#define LBLK_END ((uint64_t)FS_FILE_SIZE_MAX / BLOCK_BYTES) /* no file has a block from here on */

struct extent {
	uint64_t lblk;
	uint64_t pblk; /* 0: a hole */
	uint32_t nr_blocks;
	uint32_t flags; /* EXTENT_F_* */
};

/* May START.. be blocks of a file? They must be in one group, past its tables and the journal. */
bool extent_blocks_ok(const struct fs *fs, uint64_t start, uint64_t nr_blocks);
bool extent_decode(const struct fs *fs, const struct extent_disk *disk, struct extent *out);
void extent_encode(const struct extent *e, struct extent_disk *disk);

/* What is at LBLK: an extent (cut to begin at LBLK), or a hole as long as it is. Never past MAX
 * blocks. */
int extent_map(
	struct fs_thread *t, struct inode *inode, uint64_t lblk, uint32_t max, struct extent *out);
/* The last extent; -ENOENT when there is none. */
int extent_last(struct fs_thread *t, struct inode *inode, struct extent *out);
/* Add NEW where there is a hole. */
int extent_insert(struct tx_handle *h, struct inode *inode, const struct extent *new);
/* Part or all of one unwritten extent is written now; and the other way round. */
int extent_convert(struct tx_handle *h, struct inode *inode, uint64_t lblk, uint32_t nr_blocks);
int extent_unwrite(struct tx_handle *h, struct inode *inode, uint64_t lblk, uint32_t nr_blocks);
/* Unmap and free what is mapped in [lblk, end), from the end backwards, one extent's worth of work;
 * *MORE: call again, with a new handle. */
int extent_remove_some(
	struct tx_handle *h, struct inode *inode, uint64_t lblk, uint64_t end, bool *more);
#endif
