#ifndef VBLKFS_PARSE_BYTES_H
#define VBLKFS_PARSE_BYTES_H
#include <stdbool.h>
#include <stdint.h>

/* A number, not 0, with an optional suffix K, M, G, T or P, in any case: powers of 1024. */
bool parse_bytes(const char *text, uint64_t *out);
#endif
