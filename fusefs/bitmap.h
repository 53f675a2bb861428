/* bitmap.h - arrays of bits as they stand in bitmap blocks: bit N is bit N % 8 of byte N / 8.
 *
 * BITS is aligned to 8 bytes and a multiple of 8 bytes long: words of 64 bits are looked at. Ranges
 * are [from, end). */
#ifndef VBLKFS_BITMAP_H
#define VBLKFS_BITMAP_H
#include <stdbool.h>
#include <stdint.h>

static inline bool bits_test(const uint8_t *bits, uint32_t n)
{
	return (bits[n / 8] >> n % 8 & 1) != 0;
}

void bits_set(uint8_t *bits, uint32_t from, uint32_t end);
void bits_clear(uint8_t *bits, uint32_t from, uint32_t end);
/* The first set, or clear, bit of the range; END when there is none. */
uint32_t bits_next_set(const uint8_t *bits, uint32_t from, uint32_t end);
uint32_t bits_next_clear(const uint8_t *bits, uint32_t from, uint32_t end);
/* How many clear bits end right before FROM, none below LOW counted. */
uint32_t bits_clear_before(const uint8_t *bits, uint32_t low, uint32_t from);
uint32_t bits_count_clear(const uint8_t *bits, uint32_t from, uint32_t end);
#endif
