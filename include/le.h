/* le.h - little-endian integers as they stand on a disk and in a virtqueue.
 *
 * Each is a struct of one member, so that mixing one with a host integer does
 * not compile. le*_get() gives the host's value, le*_of() makes the other. */
#ifndef VBLKFS_LE_H
#define VBLKFS_LE_H
#include <endian.h>
#include <stdint.h>

typedef struct {
	uint16_t v;
} le16;

typedef struct {
	uint32_t v;
} le32;

typedef struct {
	uint64_t v;
} le64;

static inline uint16_t le16_get(le16 x)
{
	return le16toh(x.v);
}

static inline uint32_t le32_get(le32 x)
{
	return le32toh(x.v);
}

static inline uint64_t le64_get(le64 x)
{
	return le64toh(x.v);
}

static inline le16 le16_of(uint16_t x)
{
	return (le16){htole16(x)};
}

static inline le32 le32_of(uint32_t x)
{
	return (le32){htole32(x)};
}

static inline le64 le64_of(uint64_t x)
{
	return (le64){htole64(x)};
}
#endif
