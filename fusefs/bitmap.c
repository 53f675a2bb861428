/* bitmap.c - searching and changing ranges of bits, 64 at a time. */
#include "bitmap.h"
#include <endian.h>
#include <string.h>

static uint64_t word_get(const uint8_t *bits, uint32_t word)
{
	uint64_t v;

	memcpy(&v, bits + (size_t)word * 8, 8);
	return le64toh(v);
}

static void word_put(uint8_t *bits, uint32_t word, uint64_t v)
{
	v = htole64(v);
	memcpy(bits + (size_t)word * 8, &v, 8);
}

/* The bits of WORD that are in [from, end), which the word meets. */
static uint64_t word_mask(uint32_t word, uint32_t from, uint32_t end)
{
	uint32_t base = word * 64;
	uint64_t mask = UINT64_MAX;

	if (from > base)
		mask &= UINT64_MAX << (from - base);
	if (end - base < 64)
		mask &= UINT64_MAX >> (64 - (end - base));
	return mask;
}

void bits_set(uint8_t *bits, uint32_t from, uint32_t end)
{
	if (from >= end)
		return;
	for (uint32_t w = from / 64; w <= (end - 1) / 64; w++)
		word_put(bits, w, word_get(bits, w) | word_mask(w, from, end));
}

void bits_clear(uint8_t *bits, uint32_t from, uint32_t end)
{
	if (from >= end)
		return;
	for (uint32_t w = from / 64; w <= (end - 1) / 64; w++)
		word_put(bits, w, word_get(bits, w) & ~word_mask(w, from, end));
}

/* The first bit of the range that differs from those of FLIP (0 or all ones). */
static uint32_t next(const uint8_t *bits, uint32_t from, uint32_t end, uint64_t flip)
{
	if (from >= end)
		return end;
	for (uint32_t w = from / 64; w <= (end - 1) / 64; w++) {
		uint64_t found = (word_get(bits, w) ^ flip) & word_mask(w, from, end);

		if (found != 0)
			return w * 64 + (uint32_t)__builtin_ctzll(found);
	}
	return end;
}

uint32_t bits_next_set(const uint8_t *bits, uint32_t from, uint32_t end)
{
	return next(bits, from, end, 0);
}

uint32_t bits_next_clear(const uint8_t *bits, uint32_t from, uint32_t end)
{
	return next(bits, from, end, UINT64_MAX);
}

uint32_t bits_clear_before(const uint8_t *bits, uint32_t low, uint32_t from)
{
	if (low >= from)
		return 0;
	for (uint32_t w = (from - 1) / 64 + 1; w-- > low / 64;) {
		uint64_t set = word_get(bits, w) & word_mask(w, low, from);

		if (set != 0)
			return from - (w * 64 + 64 - (uint32_t)__builtin_clzll(set));
	}
	return from - low;
}

uint32_t bits_count_clear(const uint8_t *bits, uint32_t from, uint32_t end)
{
	uint32_t nr = 0;

	if (from >= end)
		return 0;
	for (uint32_t w = from / 64; w <= (end - 1) / 64; w++)
		nr += (uint32_t)__builtin_popcountll(~word_get(bits, w) & word_mask(w, from, end));
	return nr;
}
