/* super.h - the superblock, for whoever reads or writes one: mounting, mkfs, fsck, tests. */
#ifndef VBLKFS_SUPER_H
#define VBLKFS_SUPER_H
#include <stdint.h>
#include "fs.h"

/* NULL: SB, read from BLOCK of a disk of DISK_BLOCKS, is sound. Else what is wrong with it.
 * Features are not judged. */
const char *super_check(const struct super_disk *sb, uint64_t block, uint64_t disk_blocks);

/* All that FS takes from SB, which is sound. */
void super_geometry(struct fs *fs, const struct super_disk *sb);

/* The partition table of block 0: other systems' tools then see a disk that is in use. BLOCK is
 * zeroed, or had one. */
void super_boot_sector(uint8_t *block, uint64_t nr_sectors);
bool super_boot_sector_ok(const uint8_t *block);

/* By the commit thread, once it commits no more: STATE_ERRORS into the superblock at its home,
 * where the next mount finds it whatever the journal holds. As well as it can. */
void super_mark_errors(struct fs *fs, struct blk_queue *q);
#endif
