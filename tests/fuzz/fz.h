/* fz.h - what the fuzzers share: their input, their verdict, DMA memory.
 *
 * Input that is used up reads as zeros, and zeros mean an honest device wherever they can. */
#ifndef VBLKFS_FUZZ_FZ_H
#define VBLKFS_FUZZ_FZ_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fz_input {
	const uint8_t *at;
	size_t left;
};

uint64_t fz_take(struct fz_input *in, unsigned bytes); /* little-endian; up to 8 */

/* The driver did what it must not: report it to libFuzzer as a crash. */
#define FZ_CHECK(cond, ...) ((cond) ? (void)0 : fz_fail(__VA_ARGS__))
void fz_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* DMA memory: no piece takes the place of another while a run lasts, and around them and in their
 * place lies poison for AddressSanitizer. The device's addresses are nobody's pointers, and far from
 * each other. */
#define FZ_DMA_BASE   0x7300000000ULL /* a legacy device reaches 44 bits */
#define FZ_DMA_SPREAD (32ULL << 20)
#define FZ_DMA_PIECES 512U

struct fz_piece {
	uint8_t *mem; /* NULL: freed */
	size_t bytes;
};

struct fz_dma {
	struct fz_piece piece[FZ_DMA_PIECES];
	unsigned nr;
	size_t used; /* of the arena */
	size_t live; /* bytes */
};

void fz_dma_begin(struct fz_dma *dma); /* of a run; whatever is left of the last one is gone */
void *fz_dma_alloc(struct fz_dma *dma, size_t bytes); /* NULL: none left */
void fz_dma_free(struct fz_dma *dma, void *mem, size_t bytes);
uint64_t fz_dma_addr(const struct fz_dma *dma, const void *mem, size_t *contig);
/* BYTES at the device's address ADDR; NULL: they are not all in one piece. */
uint8_t *fz_dma_host(const struct fz_dma *dma, uint64_t addr, uint64_t bytes);
#endif
