/* shm.c - see shm.h. */
#include <errno.h>
#include "dma.h"
#include "fds.h"
#include "shm.h"
#include "world.h"

int __wrap_dma_create_shared(dma_grows_fn grows, void *arg, struct dma_arena **out);
int __wrap_dma_file(const struct dma_arena *arena);
void *__wrap_dma_page(const struct dma_arena *arena, unsigned nr);
void __wrap_dma_destroy(struct dma_arena *arena);
void *__wrap_dma_alloc(struct dma_arena *arena, size_t bytes);
void __wrap_dma_free(struct dma_arena *arena, void *mem, size_t bytes);
uint64_t __wrap_dma_addr(const struct dma_arena *arena, const void *mem, size_t *contig);

struct dma_arena { /* there is one */
	struct fz_dma dma;
	dma_grows_fn grows;
	void *arg;
	int file, fd;
	unsigned nr_pages;
};

static struct dma_arena the;

void shm_begin(void)
{
	fz_dma_begin(&the.dma);
	the.fd = the.file = -1;
	the.nr_pages = 0;
}

void shm_end(void)
{
	FZ_CHECK(the.fd < 0, "the arena is left");
}

struct fz_dma *shm_dma(void)
{
	return &the.dma;
}

int shm_file(void)
{
	return the.file;
}

int __wrap_dma_create_shared(dma_grows_fn grows, void *arg, struct dma_arena **out)
{
	FZ_CHECK(the.fd < 0, "two arenas");
	the.grows = grows;
	the.arg = arg;
	the.file = fds_new(FDS_MEMORY);
	the.fd = fds_open(the.file);
	*out = &the;
	return 0;
}

int __wrap_dma_file(const struct dma_arena *arena)
{
	return arena->fd;
}

void *__wrap_dma_page(const struct dma_arena *arena, unsigned nr)
{
	(void)arena;
	return (void *)(uintptr_t)(FZ_DMA_BASE + (uint64_t)nr * DMA_PAGE_BYTES);
}

int __wrap_close(int fd);

/* What a reset that failed makes it keep goes with the arena, and was cried out for. */
void __wrap_dma_destroy(struct dma_arena *arena)
{
	FZ_CHECK(arena->dma.live == 0 || world_nr_critical() > 0,
		"%zu bytes of DMA memory are left", arena->dma.live);
	(void)__wrap_close(arena->fd);
	arena->fd = arena->file = -1;
}

static int grow(struct dma_arena *arena, size_t bytes)
{
	unsigned nr = (unsigned)((arena->dma.nr * FZ_DMA_SPREAD + bytes - 1) / DMA_PAGE_BYTES) + 1;

	if (nr > DMA_PAGES_MAX)
		return -ENOMEM;
	for (int err; arena->nr_pages < nr; arena->nr_pages++) {
		err = arena->grows(arena->arg, arena->nr_pages + 1);
		if (err < 0)
			return err;
	}
	return 0;
}

void *__wrap_dma_alloc(struct dma_arena *arena, size_t bytes)
{
	return world_fails() || grow(arena, bytes) < 0 ? NULL : fz_dma_alloc(&arena->dma, bytes);
}

void __wrap_dma_free(struct dma_arena *arena, void *mem, size_t bytes)
{
	fz_dma_free(&arena->dma, mem, bytes);
}

uint64_t __wrap_dma_addr(const struct dma_arena *arena, const void *mem, size_t *contig)
{
	return fz_dma_addr(&arena->dma, mem, contig);
}
