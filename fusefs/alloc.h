/* alloc.h - which blocks and inode numbers are free.
 *
 * Each group has its bitmaps on the disk and, once used, a map in memory: the bitmap, plus blocks
 * that are freed but whose transaction is not committed yet. Allocation looks at the map, so such
 * blocks are not used again too early. Groups are loaded on first use. */
#ifndef VBLKFS_ALLOC_H
#define VBLKFS_ALLOC_H
#include "tx.h"

int alloc_create(struct fs *fs);
void alloc_destroy(struct fs *fs);

/* Up to WANT contiguous blocks, at GOAL (a block; 0: anywhere) or as near after it as there are
 * enough; at least 1: H has them reserved. Prefers one long run over nearness. */
int alloc_blocks(struct tx_handle *h, uint64_t goal, uint32_t want, uint64_t *start, uint32_t *nr);
/* Freed in H; usable again after its commit. -EUCLEAN when one of them was not allocated. */
int alloc_free(struct tx_handle *h, uint64_t start, uint32_t nr, bool metadata);
void alloc_release(struct fs *fs, uint64_t start, uint32_t nr); /* by tx.c, see tx_freed() */
/* Keep a run of free blocks from being handed out, until alloc_release(): the first in [from, end)
 * of at least MIN blocks, up to MAX of them, not over a group's border. Blocks whose freeing is not
 * committed are not free. *NR 0: there is none, or not enough space is left beside it. */
int alloc_hold_free(struct fs_thread *t, uint64_t from, uint64_t end, uint32_t min, uint32_t max,
	uint64_t *start, uint32_t *nr);

/* A number near PARENT for files; directories are spread over groups. -ENOSPC: no free inode
 * anywhere. The slot's block is initialised. */
int alloc_inode(
	struct tx_handle *h, uint64_t parent, bool is_dir, uint64_t *ino, uint32_t *generation);
int alloc_inode_free(struct tx_handle *h, uint64_t ino, bool is_dir);
/* The inode's block and slot; -EUCLEAN when out of range, -ESTALE when its block was never
 * initialised. */
int alloc_inode_where(struct fs_thread *t, uint64_t ino, uint64_t *block, uint32_t *slot);

/* No inode has a higher number. */
static inline uint64_t alloc_inode_max(const struct fs *fs)
{
	return (uint64_t)fs->nr_groups * fs->inodes_per_group;
}

/* Space: promised and not yet used. alloc_reserve() fails with -ENOSPC; MAY_USE_RESERVE lets it go
 * below reserved_blocks. */
int alloc_reserve(struct fs *fs, uint64_t nr, bool may_use_reserve);
void alloc_unreserve(struct fs *fs, uint64_t nr);
uint64_t alloc_awaiting_commit(const struct fs *fs); /* blocks freed, not yet usable */
/* The counters for the superblock, by the commit when no handle is open. */
void alloc_counters(const struct fs *fs, uint64_t *free_blocks, uint64_t *free_inodes);
void alloc_statfs(struct fs *fs, struct fs_statfs *out);
#endif
