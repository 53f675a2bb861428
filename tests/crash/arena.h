/* arena.h - memory that is given back all at once. It does not return without memory. */
#ifndef VBLKFS_CRASH_ARENA_H
#define VBLKFS_CRASH_ARENA_H
#include <stddef.h>

struct arena {
	struct arena_chunk *chunks; /* newest first */
};

void *arena_get(struct arena *a, size_t bytes); /* aligned to 16; its contents are anything */
void *arena_zeroed(struct arena *a, size_t bytes);
void arena_clear(struct arena *a); /* keeps one chunk: the next use is about as long */
void arena_free(struct arena *a);
#endif
