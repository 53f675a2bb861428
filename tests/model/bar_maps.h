/* bar_maps.h - what a driver has mapped of a function's BARs, as those who stand in for one keep it: the
 * strict model and the fuzzer's device.
 *
 * Threads: the caller's lock. */
#ifndef VBLKFS_TESTS_MODEL_BAR_MAPS_H
#define VBLKFS_TESTS_MODEL_BAR_MAPS_H
#include <errno.h>
#include "hw.h"

struct bar_maps {
	struct {
		int bar;
		uint64_t off, bytes;
	} map[80];
	unsigned nr;
};

/* Do BYTES at OFF lie in the WHOLE bytes at FROM? */
static inline bool bar_maps_lies_in(uint64_t off, uint64_t bytes, uint64_t from, uint64_t whole)
{
	return off >= from && off - from <= whole && bytes <= whole - (off - from);
}

/* May it be mapped? */
static inline bool bar_maps_fits(const struct hw *hw, int bar, uint64_t off, uint64_t bytes)
{
	return bar >= 0 && bar <= 5 && bytes > 0 &&
	       bar_maps_lies_in(off, bytes, 0, hw->bar[bar].bytes);
}

/* What fits. -ENOMEM: there are too many. */
static inline int bar_maps_add(struct bar_maps *m, int bar, uint64_t off, uint64_t bytes)
{
	if (m->nr == sizeof(m->map) / sizeof(m->map[0]))
		return -ENOMEM;
	m->map[m->nr].bar = bar;
	m->map[m->nr].off = off;
	m->map[m->nr++].bytes = bytes;
	return 0;
}

static inline bool bar_maps_has(const struct bar_maps *m, int bar, uint64_t off, uint64_t bytes)
{
	for (unsigned i = 0; i < m->nr; i++)
		if (m->map[i].bar == bar &&
			bar_maps_lies_in(off, bytes, m->map[i].off, m->map[i].bytes))
			return true;
	return false;
}
#endif
