/* super.h - the superblock's check, for whoever reads one: mounting, fsck, tests. */
#ifndef VBLKFS_SUPER_H
#define VBLKFS_SUPER_H
#include <stdint.h>
#include "format.h"

/* NULL: SB, read from BLOCK of a disk of DISK_BLOCKS, is sound. Else what is wrong with it. Features are not judged. */
const char *super_check(const struct super_disk *sb, uint64_t block, uint64_t disk_blocks);
#endif
