/* seen.c - a set of 64-bit hashes that processes share: a table with open addressing, filled by
 * compare and swap, never emptied. */
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include "seen.h"

struct seen {
	uint64_t mask;
	_Atomic uint64_t slot[];
};

static size_t bytes_of(uint64_t slots)
{
	return sizeof(struct seen) + slots * sizeof(uint64_t);
}

struct seen *seen_open(uint64_t max_states)
{
	uint64_t slots = 1024;
	struct seen *s;

	while (slots < 4 * max_states)
		slots *= 2;
	s = mmap(NULL, bytes_of(slots), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s == MAP_FAILED)
		abort();
	s->mask = slots - 1;
	return s;
}

void seen_close(struct seen *s)
{
	munmap(s, bytes_of(s->mask + 1));
}

bool seen_add(struct seen *s, uint64_t hash)
{
	hash |= 1; /* 0: the slot is free */
	for (uint64_t i = hash >> 1;; i++) {
		uint64_t there = 0;

		if (atomic_compare_exchange_strong(&s->slot[i & s->mask], &there, hash))
			return true;
		if (there == hash)
			return false;
	}
}
