/* super.h - the superblock's check, for whoever reads one: mounting, fsck, tests. */
#ifndef VBLKFS_SUPER_H
#define VBLKFS_SUPER_H
#include <stdint.h>
#include "fs.h"

/* NULL: SB, read from BLOCK of a disk of DISK_BLOCKS, is sound. Else what is wrong with it.
 * Features are not judged. */
const char *super_check(const struct super_disk *sb, uint64_t block, uint64_t disk_blocks);

/* By the commit thread, once it commits no more: STATE_ERRORS into the superblock at its home,
 * where the next mount finds it whatever the journal holds. As well as it can. */
void super_mark_errors(struct fs *fs, struct blk_queue *q);
#endif
