/* seen.h - a set of hashes that processes share. */
#ifndef VBLKFS_CRASH_SEEN_H
#define VBLKFS_CRASH_SEEN_H
#include <stdbool.h>
#include <stdint.h>

struct seen;

struct seen *seen_open(uint64_t max_states); /* so many at most */
void seen_close(struct seen *s);
bool seen_add(struct seen *s, uint64_t hash); /* false: it was there */
#endif
