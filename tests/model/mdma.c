/* mdma.c - DMA memory, and the order in which driver and device see each other's stores.
 *
 * Memory: an arena of hugepages that lie in no order, and never side by side, in the device's
 * address space. Freed memory is poisoned for AddressSanitizer and unknown to the device.
 *
 * The driver's stores stand in memory at once, but stay in the list `pending`, with the value
 * before: the device sees that one.
 *  - dma_mb: pending stores have arrived.
 *  - dma_wmb: they arrive before any later one. Data is taken as arrived then (nobody can tell the
 *    difference); indexes, flags and events stay pending, since only dma_mb orders them before the
 *    driver's next load.
 *  - When avail.idx is stored, the device may look at once: what is pending then was not ordered
 *    before it.
 *
 * The device's stores are in memory at once too. A load of the driver sees the newest index or
 * flag, but data as it was at its last dma_rmb or dma_mb: an unordered load may be that old. */
#include <errno.h>
#include <sanitizer/asan_interface.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "state.h"

#define NR_HUGE    16U
#define PAGE_BYTES 4096U
#define NR_PAGES   (NR_HUGE * (MODEL_HUGE_BYTES / PAGE_BYTES))
#define PHYS_BASE  0x1200000000ULL

int mdma_create(struct model *m)
{
	size_t bytes = (size_t)(NR_HUGE + 1) * MODEL_HUGE_BYTES;
	uint8_t *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (map == MAP_FAILED)
		return -ENOMEM;
	m->arena_map = map;
	m->arena = map + (-(uintptr_t)map % MODEL_HUGE_BYTES);
	m->page_to_phys = calloc(NR_HUGE, sizeof(uint32_t));
	m->phys_to_page = calloc(NR_HUGE, sizeof(uint32_t));
	m->page_used = calloc(NR_PAGES, 1);
	for (uint32_t i = 0; i < NR_HUGE; i++)
		m->page_to_phys[i] = i;
	for (uint32_t i = NR_HUGE - 1; i > 0; i--) { /* shuffle */
		uint32_t j = (uint32_t)(m_random(m) % (i + 1)), swap = m->page_to_phys[i];

		m->page_to_phys[i] = m->page_to_phys[j];
		m->page_to_phys[j] = swap;
	}
	for (uint32_t i = 0; i < NR_HUGE; i++)
		m->phys_to_page[m->page_to_phys[i]] = i;
	ASAN_POISON_MEMORY_REGION(m->arena, (size_t)NR_HUGE * MODEL_HUGE_BYTES);
	return 0;
}

void mdma_destroy(struct model *m)
{
	while (m->allocs != NULL) {
		struct m_alloc *a = m->allocs;

		m->allocs = a->next;
		free(a);
	}
	ASAN_UNPOISON_MEMORY_REGION(m->arena, (size_t)NR_HUGE * MODEL_HUGE_BYTES);
	munmap(m->arena_map, (size_t)(NR_HUGE + 1) * MODEL_HUGE_BYTES);
	free(m->page_to_phys);
	free(m->phys_to_page);
	free(m->page_used);
	free(m->pending);
}

static bool pages_are_free(const struct model *m, unsigned first, unsigned nr)
{
	return memchr(m->page_used + first, 1, nr) == NULL;
}

/* First fit; a free page stays behind each piece, and a piece of up to a hugepage lies inside
 * one. */
static unsigned find_pages(const struct model *m, unsigned nr)
{
	const unsigned huge = MODEL_HUGE_BYTES / PAGE_BYTES;

	for (unsigned i = 0; i + nr < NR_PAGES; i++) {
		if (nr >= huge && i % huge != 0)
			continue;
		if (nr < huge && i / huge != (i + nr) / huge)
			continue;
		if (pages_are_free(m, i, nr >= huge ? nr : nr + 1))
			return i;
	}
	return NR_PAGES;
}

void *mdma_alloc(struct hw *hw, size_t bytes)
{
	struct model *m = m_of(hw);
	size_t whole = (bytes + PAGE_BYTES - 1) & ~(size_t)(PAGE_BYTES - 1);
	unsigned nr = (unsigned)(whole / PAGE_BYTES), first;
	struct m_alloc *a = NULL;
	uint8_t *mem = NULL;

	m_lock(m);
	if (bytes == 0 || m_fails(m))
		goto out;
	first = find_pages(m, nr);
	if (first == NR_PAGES)
		goto out;
	a = calloc(1, sizeof(*a));
	mem = m->arena + (size_t)first * PAGE_BYTES;
	memset(m->page_used + first, 1, nr);
	ASAN_UNPOISON_MEMORY_REGION(mem, bytes);
	memset(mem, 0, bytes);
	*a = (struct m_alloc){.next = m->allocs, .mem = mem, .bytes = bytes};
	m->allocs = a;
	m->dma_live += bytes;
out:
	m_unlock(m);
	return mem;
}

static struct m_alloc *alloc_at(struct model *m, const uint8_t *p)
{
	struct m_alloc *a = m->allocs;

	while (a != NULL && (p < a->mem || p >= a->mem + a->bytes))
		a = a->next;
	return a;
}

static void release(struct model *m, struct m_alloc *gone)
{
	struct m_alloc **at = &m->allocs;
	size_t pages = (gone->bytes + PAGE_BYTES - 1) / PAGE_BYTES;

	while (*at != gone)
		at = &(*at)->next;
	*at = gone->next;
	memset(m->page_used + (size_t)(gone->mem - m->arena) / PAGE_BYTES, 0, pages);
	ASAN_POISON_MEMORY_REGION(gone->mem, gone->bytes);
	m->dma_live -= gone->bytes;
	free(gone);
}

void mdma_free(struct hw *hw, void *mem, size_t bytes)
{
	struct model *m = m_of(hw);
	struct m_alloc *a;

	m_lock(m);
	a = mem == NULL ? NULL : alloc_at(m, mem);
	if (a == NULL || a->mem != mem || a->bytes != bytes) {
		m_violation(m, "dma_free of %zu bytes that were not allocated so", bytes);
	} else {
		if (!m->gone)
			mring_freeing(m, mem, bytes);
		release(m, a);
	}
	m_unlock(m);
}

uint64_t mdma_addr(struct hw *hw, const void *mem, size_t *contig)
{
	struct model *m = m_of(hw);
	uint64_t addr = UINT64_MAX;
	size_t off, in_page;

	m_lock(m);
	if (alloc_at(m, mem) != NULL) {
		off = (size_t)((const uint8_t *)mem - m->arena);
		in_page = off % MODEL_HUGE_BYTES;
		addr = PHYS_BASE +
		       2ULL * m->page_to_phys[off / MODEL_HUGE_BYTES] * MODEL_HUGE_BYTES + in_page;
		if (contig != NULL)
			*contig = MODEL_HUGE_BYTES - in_page;
	}
	m_unlock(m);
	return addr;
}

void *mdma_host(struct model *m, uint64_t addr, uint64_t bytes)
{
	uint64_t huge = (addr - PHYS_BASE) / MODEL_HUGE_BYTES;
	uint64_t in_page = (addr - PHYS_BASE) % MODEL_HUGE_BYTES;
	struct m_alloc *a;
	uint8_t *p;

	if (addr < PHYS_BASE || huge % 2 != 0 || huge / 2 >= NR_HUGE ||
		bytes > MODEL_HUGE_BYTES - in_page)
		return NULL;
	p = m->arena + (size_t)m->phys_to_page[huge / 2] * MODEL_HUGE_BYTES + in_page;
	a = alloc_at(m, p);
	return a != NULL && bytes <= (uint64_t)(a->mem + a->bytes - p) ? p : NULL;
}

static uint64_t load_plain(const void *p, int bytes)
{
	switch (bytes) {
	case 1:
		return __atomic_load_n((const uint8_t *)p, __ATOMIC_RELAXED);
	case 2:
		return __atomic_load_n((const uint16_t *)p, __ATOMIC_RELAXED);
	case 4:
		return __atomic_load_n((const uint32_t *)p, __ATOMIC_RELAXED);
	default:
		return __atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED);
	}
}

static void store_plain(void *p, uint64_t val, int bytes)
{
	switch (bytes) {
	case 1:
		__atomic_store_n((uint8_t *)p, (uint8_t)val, __ATOMIC_RELAXED);
		break;
	case 2:
		__atomic_store_n((uint16_t *)p, (uint16_t)val, __ATOMIC_RELAXED);
		break;
	case 4:
		__atomic_store_n((uint32_t *)p, (uint32_t)val, __ATOMIC_RELAXED);
		break;
	default:
		__atomic_store_n((uint64_t *)p, val, __ATOMIC_RELAXED);
	}
}

/* The driver's side */

static bool is_legal(struct model *m, const void *p, int bytes)
{
	struct m_alloc *a = alloc_at(m, p);

	if (a != NULL && bytes <= a->mem + a->bytes - (const uint8_t *)p &&
		(uintptr_t)p % (unsigned)bytes == 0)
		return true;
	m_violation(m, "dma access of %d bytes at %p: not DMA memory, or misaligned", bytes, p);
	return false;
}

static void remember(struct model *m, void *p, int bytes)
{
	if (m->nr_pending == m->pending_room) {
		m->pending_room = m->pending_room == 0 ? 64 : 2 * m->pending_room;
		m->pending = realloc(m->pending, m->pending_room * sizeof(*m->pending));
	}
	m->pending[m->nr_pending++] = (struct m_pending){
		.p = p, .bytes = bytes, .old = load_plain(p, bytes), .thread = pthread_self()};
}

void mdma_store(struct hw *hw, void *p, uint64_t val, int bytes)
{
	struct model *m = m_of(hw);

	m_lock(m);
	if (is_legal(m, p, bytes)) {
		remember(m, p, bytes);
		store_plain(p, val, bytes);
		mring_driver_stored(m, p, bytes);
	}
	m_unlock(m);
}

/* What an unordered load may still see at P: the value before the oldest device store that this
 * thread is not ordered after. */
static bool stale_value(const struct model *m, const void *p, int bytes, uint64_t *old)
{
	bool found = false;

	for (size_t n = 0; n < m->nr_announced && n < M_ANNOUNCED; n++) {
		const struct m_announced *a =
			&m->announced[(m->nr_announced - 1 - n) % M_ANNOUNCED];

		if (a->seq <= m->ordered_seq)
			break;
		if (a->p == p && a->bytes == bytes) {
			*old = a->old;
			found = true;
		}
	}
	return found;
}

uint64_t mdma_load(struct hw *hw, const void *p, int bytes)
{
	struct model *m = m_of(hw);
	uint64_t val = 0, old;

	m_lock(m);
	if (is_legal(m, p, bytes)) {
		mring_driver_loads(m, p);
		val = load_plain(p, bytes);
		if (!mring_is_sync(m, p, false) && stale_value(m, p, bytes, &old)) {
			m_violation(m, "SP18: data is read with no read barrier after the index");
			val = old;
		}
		mring_driver_loaded(m, p);
	}
	m_unlock(m);
	return val;
}

/* Pending stores have arrived; with ONLY_DATA, those that nobody synchronises on. Other threads'
 * too: what they did under a lock that this one has now is ordered with its own. */
static void arrive(struct model *m, bool only_data)
{
	size_t kept = 0;

	for (size_t i = 0; i < m->nr_pending; i++) {
		struct m_pending *pend = &m->pending[i];

		if (only_data && mring_is_sync(m, pend->p, true))
			m->pending[kept++] = *pend;
	}
	m->nr_pending = kept;
}

void mdma_barrier(struct hw *hw, int kind)
{
	struct model *m = m_of(hw);

	m_lock(m);
	if (kind == HW_MB && m->moment == MODEL_BEFORE_BARRIER && m->moment_armed) {
		m->moment = MODEL_NEVER;
		mring_complete_all(m);
	}
	if (kind != HW_RMB)
		arrive(m, kind == HW_WMB);
	if (kind != HW_WMB)
		m->ordered_seq = m->device_stores;
	m_unlock(m);
}

/* The device's side */

uint64_t mdma_device_load(struct model *m, const void *p, int bytes)
{
	for (size_t i = 0; i < m->nr_pending; i++)
		if (m->pending[i].p == p && m->pending[i].bytes == bytes)
			return m->pending[i].old; /* the oldest: none of them has arrived */
	return load_plain(p, bytes);
}

void mdma_device_store(struct model *m, void *p, uint64_t val, int bytes)
{
	m->announced[m->nr_announced++ % M_ANNOUNCED] = (struct m_announced){
		.p = p, .bytes = bytes, .old = load_plain(p, bytes), .seq = ++m->device_stores};
	store_plain(p, val, bytes);
}

bool mdma_unfenced(struct model *m, const void *p, size_t bytes)
{
	const uint8_t *from = p;

	for (size_t i = 0; i < m->nr_pending; i++) {
		const struct m_pending *pend = &m->pending[i];

		if (pend->p < from + bytes && from < pend->p + pend->bytes &&
			pthread_equal(pend->thread, pthread_self()))
			return true;
	}
	return false;
}

void mdma_drain(struct model *m)
{
	m->nr_pending = 0;
}
