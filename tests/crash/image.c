/* image.c - the contents of a disk, and its hash (image.h). */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#define XXH_INLINE_ALL
#include <xxhash.h>
#include "image.h"

uint64_t image_block_hash(const uint8_t *block, uint64_t nr)
{
	return XXH3_64bits_withSeed(block, IMAGE_BLOCK, nr);
}

static void *must(void *p)
{
	if (p == NULL)
		abort();
	return p;
}

void image_open(struct image *im, uint32_t nr_blocks)
{
	size_t bytes = (size_t)nr_blocks * IMAGE_BLOCK;

	*im = (struct image){.nr_blocks = nr_blocks};
	im->bytes = must(aligned_alloc(IMAGE_BLOCK, bytes));
	memset(im->bytes, 0, bytes);
	im->block_hash = must(calloc(nr_blocks, sizeof(*im->block_hash)));
	im->changed = must(calloc(nr_blocks, sizeof(*im->changed)));
	im->is_changed = must(calloc(nr_blocks, sizeof(*im->is_changed)));
	for (uint32_t i = 0; i < nr_blocks; i++) {
		im->block_hash[i] = image_block_hash(im->bytes + (size_t)i * IMAGE_BLOCK, i);
		im->hash += im->block_hash[i];
	}
}

void image_close(struct image *im)
{
	free(im->bytes);
	free(im->block_hash);
	free(im->changed);
	free(im->is_changed);
}

static void rehash(struct image *im, uint32_t block)
{
	uint64_t now = image_block_hash(im->bytes + (size_t)block * IMAGE_BLOCK, block);

	im->hash += now - im->block_hash[block];
	im->block_hash[block] = now;
	if (!im->is_changed[block]) {
		im->is_changed[block] = true;
		im->changed[im->nr_changed++] = block;
	}
}

void image_write(struct image *im, uint64_t sector, uint32_t nr_sectors, const uint8_t *data)
{
	uint64_t first = sector / IMAGE_SECTORS, last = (sector + nr_sectors - 1) / IMAGE_SECTORS;

	memcpy(im->bytes + sector * 512, data, (size_t)nr_sectors * 512);
	for (uint64_t b = first; b <= last; b++)
		rehash(im, (uint32_t)b);
}

static void copy_block(struct image *im, const struct image *from, uint32_t block)
{
	size_t at = (size_t)block * IMAGE_BLOCK;

	memcpy(im->bytes + at, from->bytes + at, IMAGE_BLOCK);
	im->hash += from->block_hash[block] - im->block_hash[block];
	im->block_hash[block] = from->block_hash[block];
}

void image_copy(struct image *im, const struct image *from)
{
	for (uint32_t i = 0; i < im->nr_blocks; i++)
		copy_block(im, from, i);
	image_restore(im, from);
}

void image_restore(struct image *im, const struct image *from)
{
	while (im->nr_changed > 0) {
		uint32_t block = im->changed[--im->nr_changed];

		im->is_changed[block] = false;
		copy_block(im, from, block);
	}
}
