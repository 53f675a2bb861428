/* arena.c - memory that is given back all at once (arena.h). */
#include <stdlib.h>
#include <string.h>
#include "arena.h"

#define CHUNK_BYTES ((size_t)1 << 20)

struct arena_chunk {
	struct arena_chunk *next;
	size_t used, bytes;
	_Alignas(16) unsigned char mem[];
};

void *arena_get(struct arena *a, size_t bytes)
{
	struct arena_chunk *c = a->chunks;

	bytes = (bytes + 15) & ~(size_t)15;
	if (c == NULL || c->bytes - c->used < bytes) {
		size_t want = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;

		c = malloc(sizeof(*c) + want);
		if (c == NULL)
			abort();
		c->next = a->chunks;
		c->used = 0;
		c->bytes = want;
		a->chunks = c;
	}
	c->used += bytes;
	return c->mem + c->used - bytes;
}

void *arena_zeroed(struct arena *a, size_t bytes)
{
	return memset(arena_get(a, bytes), 0, bytes);
}

static void free_from(struct arena_chunk *c)
{
	while (c != NULL) {
		struct arena_chunk *next = c->next;

		free(c);
		c = next;
	}
}

void arena_clear(struct arena *a)
{
	if (a->chunks == NULL)
		return;
	free_from(a->chunks->next);
	a->chunks->next = NULL;
	a->chunks->used = 0;
}

void arena_free(struct arena *a)
{
	free_from(a->chunks);
	a->chunks = NULL;
}
