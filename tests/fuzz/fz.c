/* fz.c - see fz.h. */
#include <sanitizer/asan_interface.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fz.h"

#define PAGE_BYTES  4096U
#define ARENA_BYTES (1U << 20) /* more costs time, and shows nothing */

static _Alignas(PAGE_BYTES) uint8_t arena[ARENA_BYTES];

uint64_t fz_take(struct fz_input *in, unsigned bytes)
{
	uint64_t val = 0;

	for (unsigned i = 0; i < bytes && in->left > 0; i++, in->left--)
		val |= (uint64_t)*in->at++ << 8 * i;
	return val;
}

void fz_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vfprintf(stderr, format, args);
	va_end(args);
	(void)fputc('\n', stderr);
	abort();
}

static struct fz_piece *piece_at(const struct fz_dma *dma, const uint8_t *p)
{
	for (unsigned i = 0; i < dma->nr; i++) {
		const struct fz_piece *piece = &dma->piece[i];

		if (piece->mem != NULL && p >= piece->mem && p < piece->mem + piece->bytes)
			return (struct fz_piece *)piece;
	}
	return NULL;
}

void fz_dma_begin(struct fz_dma *dma)
{
	if (dma->used == 0)
		dma->used = ARENA_BYTES; /* the first */
	ASAN_POISON_MEMORY_REGION(arena, dma->used);
	dma->nr = 0;
	dma->used = PAGE_BYTES;
	dma->live = 0;
}

void *fz_dma_alloc(struct fz_dma *dma, size_t bytes)
{
	size_t whole =
		(bytes + 2 * PAGE_BYTES - 1) & ~(size_t)(PAGE_BYTES - 1); /* a gap behind it */
	uint8_t *mem = arena + dma->used;

	FZ_CHECK(bytes > 0, "no bytes of DMA memory asked for");
	if (whole > ARENA_BYTES - dma->used || dma->nr == FZ_DMA_PIECES)
		return NULL;
	ASAN_UNPOISON_MEMORY_REGION(mem, bytes);
	memset(mem, 0, bytes);
	dma->piece[dma->nr++] = (struct fz_piece){.mem = mem, .bytes = bytes};
	dma->used += whole;
	dma->live += bytes;
	return mem;
}

void fz_dma_free(struct fz_dma *dma, void *mem, size_t bytes)
{
	struct fz_piece *piece = piece_at(dma, mem);

	FZ_CHECK(piece != NULL && piece->mem == mem && piece->bytes == bytes,
		"dma_free of %zu bytes that were not allocated so", bytes);
	ASAN_POISON_MEMORY_REGION(mem, bytes);
	piece->mem = NULL;
	dma->live -= bytes;
}

uint64_t fz_dma_addr(const struct fz_dma *dma, const void *mem, size_t *contig)
{
	const struct fz_piece *piece = piece_at(dma, mem);

	if (piece == NULL)
		return UINT64_MAX;
	if (contig != NULL)
		*contig = (size_t)(piece->mem + piece->bytes - (const uint8_t *)mem);
	return FZ_DMA_BASE + (uint64_t)(piece - dma->piece) * FZ_DMA_SPREAD +
	       (uint64_t)((const uint8_t *)mem - piece->mem);
}

uint8_t *fz_dma_host(const struct fz_dma *dma, uint64_t addr, uint64_t bytes)
{
	uint64_t i = (addr - FZ_DMA_BASE) / FZ_DMA_SPREAD,
		 off = (addr - FZ_DMA_BASE) % FZ_DMA_SPREAD;

	if (addr < FZ_DMA_BASE || i >= dma->nr || dma->piece[i].mem == NULL ||
		off >= dma->piece[i].bytes || bytes > dma->piece[i].bytes - off)
		return NULL;
	return dma->piece[i].mem + off;
}
