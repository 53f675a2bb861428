/* dma.c - see dma.h.
 *
 *	window (address space, reserved once)
 *	| page 0 | page 1 | page 2 | ...        | not mapped yet
 *	  pieces   large    large    free
 *
 * Invariants
 *  1. Page N of the window is page N of the file, mapped shared: a fork can't move it by
 *     copy-on-write, and MADV_DONTFORK keeps a child from holding it; of one without a file, from
 *     having a copy.
 *  2. phys[N] is known before nr_pages counts N, and never changes; so dma_addr() needs no lock.
 *  3. A page is free, cut into pieces of 4096 bytes, or part of a run of whole pages. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>
#include "dma.h"

#define PIECE_BYTES      4096U
#define PIECES           (DMA_PAGE_BYTES / PIECE_BYTES)
#define WINDOW_PAGES     DMA_PAGES_MAX
#define HUGEPAGES        "/sys/kernel/mm/hugepages/hugepages-2048kB/"
#define HUGEPAGES_WANTED 64U /* what to advise when there are none: 128 MiB */
#define MOUNT_DIR        "/dev/hugepages"
#define PAGEMAP_PRESENT  (1ULL << 63)
#define PAGEMAP_PFN      ((1ULL << 55) - 1)

enum page_use { PAGE_FREE, PAGE_PIECES, PAGE_WHOLE };

struct page {
	enum page_use use;
	uint16_t nr_used; /* pieces */
	uint64_t used[PIECES / 64];
};

enum arena_kind { ARENA_HUGE, ARENA_SHARED, ARENA_MAPPED };

struct dma_arena {
	enum arena_kind kind;
	uint8_t *window; /* 2 MiB-aligned */
	void *reserved;
	size_t reserved_bytes;
	char path[192];
	int fd;             /* -1: there is no file */
	int pagemap_fd;     /* of a huge one; else -1 */
	dma_grows_fn grows; /* of a shared one */
	dma_maps_fn maps;   /* of a mapped one */
	void *arg;          /* for either */
	atomic_uint nr_pages;
	pthread_mutex_t lock; /* guards what follows, but for reads of phys by dma_addr() */
	struct page *page;
	uint64_t phys[WINDOW_PAGES];
};

/* --- where the file is --- */

static bool has_2m_pages(const char *dir)
{
	struct statfs fs;

	return statfs(dir, &fs) == 0 && fs.f_bsize == DMA_PAGE_BYTES;
}

static bool find_mount(char *dir, size_t bytes)
{
	FILE *mounts = setmntent("/proc/mounts", "r");
	struct mntent *m;
	bool found = false;

	if (mounts == NULL)
		return false;
	while (!found && (m = getmntent(mounts)) != NULL)
		if (strcmp(m->mnt_type, "hugetlbfs") == 0 && has_2m_pages(m->mnt_dir)) {
			(void)snprintf(dir, bytes, "%s", m->mnt_dir);
			found = true;
		}
	(void)endmntent(mounts);
	return found;
}

static int find_or_mount(char *dir, size_t bytes)
{
	if (find_mount(dir, bytes))
		return 0;
	if (mkdir(MOUNT_DIR, 0755) < 0 && errno != EEXIST)
		return -errno;
	if (mount("hugetlbfs", MOUNT_DIR, "hugetlbfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
		    "pagesize=2M") < 0)
		return -errno;
	(void)snprintf(dir, bytes, "%s", MOUNT_DIR);
	return 0;
}

static int file_path(const char *address, char *path, size_t bytes)
{
	char dir[128];
	int err = find_or_mount(dir, sizeof(dir));

	if (err == 0)
		(void)snprintf(path, bytes, "%s/vblkfs-%s", dir, address);
	return err;
}

static unsigned long read_count(const char *name)
{
	char path[128], text[32];
	unsigned long n = 0;
	FILE *f;

	(void)snprintf(path, sizeof(path), HUGEPAGES "%s", name);
	f = fopen(path, "re");
	if (f == NULL)
		return 0;
	if (fgets(text, sizeof(text), f) != NULL)
		n = strtoul(text, NULL, 10);
	(void)fclose(f);
	return n;
}

/* Free ones, those that the kernel would make on demand, and those that a dead owner's file holds.
 */
static unsigned long nr_available(const char *path)
{
	unsigned long n = read_count("free_hugepages") - read_count("resv_hugepages");
	unsigned long overcommit = read_count("nr_overcommit_hugepages");
	unsigned long surplus = read_count("surplus_hugepages");
	struct stat st;

	if (overcommit > surplus)
		n += overcommit - surplus;
	if (stat(path, &st) == 0)
		n += (unsigned long)st.st_blocks * 512 / DMA_PAGE_BYTES;
	return n;
}

/* MEM, which is there, has been written to. -EPERM: the kernel hides addresses from this process.
 */
static int translate(int pagemap_fd, const void *mem, uint64_t *phys)
{
	uintptr_t page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
	off_t at = (off_t)((uintptr_t)mem / page_bytes * sizeof(uint64_t));
	uint64_t entry;

	if (pread(pagemap_fd, &entry, sizeof(entry), at) != (ssize_t)sizeof(entry))
		return -EIO;
	if (!(entry & PAGEMAP_PRESENT))
		return -EFAULT;
	if ((entry & PAGEMAP_PFN) == 0)
		return -EPERM;
	*phys = (entry & PAGEMAP_PFN) * page_bytes;
	return 0;
}

/* Asked of a page that is there for sure. */
static int check_translation(void)
{
	volatile uint64_t here = 0;
	uint64_t phys;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	err = translate(fd, (const void *)&here, &phys);
	close(fd);
	return err;
}

int dma_check(const char *address, char *err_text, size_t err_bytes)
{
	char path[192];
	int err = check_translation();

	if (err < 0) {
		(void)snprintf(err_text, err_bytes,
			"%s: physical addresses are hidden; root (CAP_SYS_ADMIN) is needed",
			address);
		return err;
	}
	err = file_path(address, path, sizeof(path));
	if (err < 0 && err != -ENODEV) {
		(void)snprintf(err_text, err_bytes, "%s: hugetlbfs can't be mounted on %s: %s",
			address, MOUNT_DIR, strerror(-err));
		return err;
	}
	if (err < 0 || nr_available(path) == 0) {
		(void)snprintf(err_text, err_bytes,
			"%s: no free hugepages; run: sysctl vm.nr_hugepages=%u", address,
			HUGEPAGES_WANTED);
		return -ENOMEM;
	}
	return 0;
}

/* --- pages --- */

static int reserve_window(struct dma_arena *a)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	uintptr_t from;

	a->reserved_bytes = (size_t)(WINDOW_PAGES + 1) * DMA_PAGE_BYTES;
	/* cppcheck-suppress invalidFunctionArg ; -1 is what MAP_ANONYMOUS wants */
	a->reserved = mmap(NULL, a->reserved_bytes, PROT_NONE, flags, -1, 0);
	if (a->reserved == MAP_FAILED)
		return -errno;
	from = (uintptr_t)a->reserved;
	a->window = (uint8_t *)a->reserved + (-from & (DMA_PAGE_BYTES - 1));
	return 0;
}

static uint8_t *page_mem(const struct dma_arena *a, unsigned i)
{
	return a->window + (size_t)i * DMA_PAGE_BYTES;
}

/* A hugepage is contiguous, so its first frame is enough. */
static int look_up_address(struct dma_arena *a, unsigned i)
{
	switch (a->kind) {
	case ARENA_SHARED:
		a->phys[i] = (uintptr_t)page_mem(a, i);
		return 0;
	case ARENA_MAPPED:
		return a->maps(a->arg, i, page_mem(a, i), &a->phys[i]);
	default:
		/* Written, so that it is there, before it is translated. */
		*(volatile uint8_t *)page_mem(a, i) = 0;
		return translate(a->pagemap_fd, page_mem(a, i), &a->phys[i]);
	}
}

static int make_room(struct dma_arena *a, unsigned i)
{
	off_t end = (off_t)(i + 1) * DMA_PAGE_BYTES;

	if (a->kind == ARENA_SHARED)
		return a->grows(a->arg, i + 1);
	if (a->kind == ARENA_HUGE && ftruncate(a->fd, end) < 0)
		return -errno;
	return 0;
}

static int map_page(struct dma_arena *a, unsigned i)
{
	int flags =
		a->kind == ARENA_MAPPED ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED | MAP_POPULATE;
	/* cppcheck-suppress invalidFunctionArg ; -1 is what MAP_ANONYMOUS wants */
	void *at = mmap(page_mem(a, i), DMA_PAGE_BYTES, PROT_READ | PROT_WRITE, flags | MAP_FIXED,
		a->fd, a->fd < 0 ? 0 : (off_t)i * DMA_PAGE_BYTES);

	if (at == MAP_FAILED)
		return -errno;
	(void)madvise(at, DMA_PAGE_BYTES, MADV_DONTFORK);
	if (a->kind == ARENA_MAPPED)
		(void)madvise(at, DMA_PAGE_BYTES, MADV_HUGEPAGE); /* fewer entries in the IOMMU */
	return 0;
}

/* One more page, free. Caller holds the lock. */
static int grow(struct dma_arena *a)
{
	unsigned i = atomic_load(&a->nr_pages);
	int err;

	if (i == WINDOW_PAGES)
		return -ENOMEM;
	err = make_room(a, i);
	if (err == 0)
		err = map_page(a, i);
	if (err == 0)
		err = look_up_address(a, i);
	if (err < 0)
		return err;
	atomic_store(&a->nr_pages, i + 1);
	return 0;
}

/* --- pieces --- */

static bool is_used(const struct page *p, unsigned piece)
{
	return p->used[piece / 64] >> piece % 64 & 1;
}

static void mark(struct page *p, unsigned from, unsigned nr, bool used)
{
	for (unsigned i = from; i < from + nr; i++)
		if (used)
			p->used[i / 64] |= 1ULL << i % 64;
		else
			p->used[i / 64] &= ~(1ULL << i % 64);
	p->nr_used = (uint16_t)(used ? p->nr_used + nr : p->nr_used - nr);
}

/* The first of NR free pieces in a row; PIECES: there are none. */
static unsigned find_run(const struct page *p, unsigned nr)
{
	unsigned run = 0;

	if (PIECES - p->nr_used < nr)
		return PIECES;
	for (unsigned i = 0; i < PIECES; i++) {
		if (p->used[i / 64] == UINT64_MAX) {
			i |= 63;
			run = 0;
		} else if (is_used(p, i)) {
			run = 0;
		} else if (++run == nr) {
			return i + 1 - nr;
		}
	}
	return PIECES;
}

static void *take_pieces(struct dma_arena *a, unsigned i, unsigned from, unsigned nr)
{
	a->page[i].use = PAGE_PIECES;
	mark(&a->page[i], from, nr, true);
	return page_mem(a, i) + (size_t)from * PIECE_BYTES;
}

static void *alloc_pieces(struct dma_arena *a, unsigned nr)
{
	unsigned nr_pages = atomic_load(&a->nr_pages), i, from;

	for (i = 0; i < nr_pages; i++) {
		if (a->page[i].use != PAGE_PIECES)
			continue;
		from = find_run(&a->page[i], nr);
		if (from < PIECES)
			return take_pieces(a, i, from, nr);
	}
	for (i = 0; i < nr_pages && a->page[i].use != PAGE_FREE; i++)
		;
	if (i == nr_pages && grow(a) < 0)
		return NULL;
	return take_pieces(a, i, 0, nr);
}

/* --- whole pages --- */

/* How many pages at the end of the arena are free. */
static unsigned free_tail(const struct dma_arena *a)
{
	unsigned nr_pages = atomic_load(&a->nr_pages), n = 0;

	while (n < nr_pages && a->page[nr_pages - 1 - n].use == PAGE_FREE)
		n++;
	return n;
}

static bool is_free_run(const struct dma_arena *a, unsigned from, unsigned nr)
{
	for (unsigned i = from; i < from + nr; i++)
		if (a->page[i].use != PAGE_FREE)
			return false;
	return true;
}

static void *alloc_pages(struct dma_arena *a, unsigned nr)
{
	unsigned from;

	for (from = 0; from + nr <= atomic_load(&a->nr_pages); from++)
		if (is_free_run(a, from, nr))
			goto found;
	while (free_tail(a) < nr)
		if (grow(a) < 0)
			return NULL;
	from = atomic_load(&a->nr_pages) - nr;
found:
	for (unsigned i = from; i < from + nr; i++)
		a->page[i].use = PAGE_WHOLE;
	return page_mem(a, from);
}

static unsigned pieces_of(size_t bytes)
{
	return (unsigned)((bytes + PIECE_BYTES - 1) / PIECE_BYTES);
}

static bool is_whole_pages(size_t bytes)
{
	return bytes > DMA_PAGE_BYTES - PIECE_BYTES;
}

static unsigned pages_of(size_t bytes)
{
	return (unsigned)((bytes + DMA_PAGE_BYTES - 1) / DMA_PAGE_BYTES);
}

void *dma_alloc(struct dma_arena *a, size_t bytes)
{
	void *mem = NULL;

	if (bytes == 0 || bytes > (size_t)WINDOW_PAGES * DMA_PAGE_BYTES)
		return NULL;
	pthread_mutex_lock(&a->lock);
	if (is_whole_pages(bytes))
		mem = alloc_pages(a, pages_of(bytes));
	else
		mem = alloc_pieces(a, pieces_of(bytes));
	pthread_mutex_unlock(&a->lock);
	if (mem != NULL)
		memset(mem, 0, bytes);
	return mem;
}

void dma_free(struct dma_arena *a, void *mem, size_t bytes)
{
	size_t off = (size_t)((uint8_t *)mem - a->window);
	unsigned i = (unsigned)(off / DMA_PAGE_BYTES);

	pthread_mutex_lock(&a->lock);
	assert(i < atomic_load(&a->nr_pages));
	if (is_whole_pages(bytes)) {
		for (unsigned n = 0; n < pages_of(bytes); n++)
			a->page[i + n].use = PAGE_FREE;
	} else {
		mark(&a->page[i], (unsigned)(off % DMA_PAGE_BYTES / PIECE_BYTES), pieces_of(bytes),
			false);
		if (a->page[i].nr_used == 0)
			a->page[i].use = PAGE_FREE;
	}
	pthread_mutex_unlock(&a->lock);
}

uint64_t dma_addr(const struct dma_arena *a, const void *mem, size_t *contig)
{
	size_t off = (size_t)((const uint8_t *)mem - a->window);
	size_t page = off / DMA_PAGE_BYTES;

	if (page >= atomic_load_explicit(&a->nr_pages, memory_order_acquire))
		return UINT64_MAX;
	off %= DMA_PAGE_BYTES;
	*contig = DMA_PAGE_BYTES - off;
	return a->phys[page] + off;
}

/* --- beginning and end --- */

static int open_file(struct dma_arena *a, const char *address)
{
	int err = file_path(address, a->path, sizeof(a->path));

	if (err < 0)
		return err;
	if (unlink(a->path) < 0 && errno != ENOENT)
		return -errno;
	a->fd = open(a->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (a->fd < 0)
		return -errno;
	a->pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (a->pagemap_fd < 0) {
		err = -errno;
		close(a->fd);
		(void)unlink(a->path);
		return err;
	}
	return 0;
}

void dma_remove_file(const char *address)
{
	char dir[128], path[192];

	if (!find_mount(dir, sizeof(dir)))
		return;
	(void)snprintf(path, sizeof(path), "%s/vblkfs-%s", dir, address);
	(void)unlink(path);
}

/* Sparse, and as long as it may get: the other side maps far more than it may touch. */
static int open_memfd(struct dma_arena *a)
{
	int err;

	a->fd = memfd_create("vblkfs-dma", MFD_CLOEXEC);
	if (a->fd < 0)
		return -errno;
	if (ftruncate(a->fd, (off_t)WINDOW_PAGES * DMA_PAGE_BYTES) == 0)
		return 0;
	err = -errno;
	close(a->fd);
	return err;
}

static int open_backing(struct dma_arena *a, const char *address)
{
	a->fd = a->pagemap_fd = -1;
	switch (a->kind) {
	case ARENA_SHARED:
		return open_memfd(a);
	case ARENA_MAPPED:
		return 0;
	default:
		return open_file(a, address);
	}
}

/* ADDRESS: of a huge one. */
static int create(enum arena_kind kind, const char *address, struct dma_arena **out)
{
	struct dma_arena *a = calloc(1, sizeof(*a));
	int err = -ENOMEM;

	if (a == NULL)
		return -ENOMEM;
	a->kind = kind;
	a->page = calloc(WINDOW_PAGES, sizeof(*a->page));
	if (a->page == NULL)
		goto free_arena;
	err = reserve_window(a);
	if (err < 0)
		goto free_pages;
	err = open_backing(a, address);
	if (err < 0)
		goto unmap;
	pthread_mutex_init(&a->lock, NULL);
	*out = a;
	return 0;

unmap:
	(void)munmap(a->reserved, a->reserved_bytes);
free_pages:
	free(a->page);
free_arena:
	free(a);
	return err;
}

int dma_create(const char *address, struct dma_arena **out)
{
	return create(ARENA_HUGE, address, out);
}

int dma_create_shared(dma_grows_fn grows, void *arg, struct dma_arena **out)
{
	int err = create(ARENA_SHARED, NULL, out);

	if (err < 0)
		return err;
	(*out)->grows = grows;
	(*out)->arg = arg;
	return 0;
}

int dma_create_mapped(dma_maps_fn maps, void *arg, struct dma_arena **out)
{
	int err = create(ARENA_MAPPED, NULL, out);

	if (err < 0)
		return err;
	(*out)->maps = maps;
	(*out)->arg = arg;
	return 0;
}

int dma_file(const struct dma_arena *a)
{
	return a->fd;
}

void *dma_page(const struct dma_arena *a, unsigned nr)
{
	return page_mem(a, nr);
}

void dma_destroy(struct dma_arena *a)
{
	bool all_free = is_free_run(a, 0, atomic_load(&a->nr_pages));

	(void)munmap(a->reserved, a->reserved_bytes);
	if (all_free && a->kind == ARENA_HUGE)
		(void)unlink(a->path);
	if (a->fd >= 0)
		close(a->fd);
	if (a->pagemap_fd >= 0)
		close(a->pagemap_fd);
	pthread_mutex_destroy(&a->lock);
	free(a->page);
	free(a);
}
