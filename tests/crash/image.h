/* image.h - the contents of a disk as one array, with a hash that follows each change.
 *
 * The hash is the sum of one for each block, so what a disk would hash to with a few other blocks
 * costs those blocks only. */
#ifndef VBLKFS_CRASH_IMAGE_H
#define VBLKFS_CRASH_IMAGE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMAGE_BLOCK   4096U
#define IMAGE_SECTORS (IMAGE_BLOCK / 512U)

struct image {
	uint32_t nr_blocks;
	uint8_t *bytes;
	uint64_t *block_hash;
	uint64_t hash;
	uint32_t *changed; /* blocks written since the copy was taken */
	uint32_t nr_changed;
	bool *is_changed;
};

/* Zeros; does not return without memory. */
void image_open(struct image *im, uint32_t nr_blocks);
void image_close(struct image *im);
void image_write(struct image *im, uint64_t sector, uint32_t nr_sectors, const uint8_t *data);
/* IM becomes what FROM is; where both were the same before, only what was written since costs. */
void image_copy(struct image *im, const struct image *from);
void image_restore(struct image *im, const struct image *from);

uint64_t image_block_hash(const uint8_t *block, uint64_t nr);
#endif
