/* vfio_bar.c - see vfio_bar.h. */
#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "bar_guard.h"
#include "mmio.h"
#include "vfio_bar.h"

#define PAGE_BYTES BAR_GUARD_BYTES
#define PAGES_MAX  (1U << 20) /* of a BAR: 4 GiB */
#define PCI_BAR(i) (0x10U + 4U * (uint32_t)(i))
#define PCI_BAR_IO 0x01

static int region_info(int device, uint32_t index, struct vfio_region_info *out)
{
	*out = (struct vfio_region_info){.argsz = sizeof(*out), .index = index};
	return ioctl(device, VFIO_DEVICE_GET_REGION_INFO, out) < 0 ? -errno : 0;
}

static int find_bar(struct vfio_bars *b, int i)
{
	struct vfio_region_info info;
	struct vfio_bar *bar = &b->bar[i];
	uint8_t low;
	int err = region_info(b->device, VFIO_PCI_BAR0_REGION_INDEX + (uint32_t)i, &info);

	if (err == 0 && info.size != 0)
		err = vfio_cfg_read(b, PCI_BAR(i), &low, 1);
	if (err < 0 || info.size == 0 || info.size > (uint64_t)PAGES_MAX * PAGE_BYTES)
		return err;
	bar->is = (struct hw_bar){.bytes = info.size, .is_io = low & PCI_BAR_IO};
	bar->at = info.offset;
	if (!(info.flags & VFIO_REGION_INFO_FLAG_MMAP))
		return 0;
	bar->page = calloc(info.size / PAGE_BYTES, sizeof(*bar->page));
	return bar->page == NULL ? -ENOMEM : 0;
}

int vfio_bars_open(struct vfio_bars *b, int device)
{
	struct vfio_region_info info;
	int err = region_info(device, VFIO_PCI_CONFIG_REGION_INDEX, &info);

	if (err < 0)
		return err;
	*b = (struct vfio_bars){
		.device = device, .config_at = info.offset, .config_bytes = info.size};
	pthread_mutex_init(&b->lock, NULL);
	for (int i = 0; i < 6 && err == 0; i++)
		err = find_bar(b, i);
	if (err < 0)
		vfio_bars_close(b);
	return err;
}

typedef void (*page_fn)(void *page);

static void for_each_page(struct vfio_bars *b, page_fn fn)
{
	for (int i = 0; i < 6; i++)
		for (uint64_t p = 0; b->bar[i].page != NULL && p < b->bar[i].is.bytes / PAGE_BYTES;
			p++)
			if (b->bar[i].page[p] != NULL)
				fn(b->bar[i].page[p]);
}

static void unmap(void *page)
{
	bar_guard_remove(page);
	(void)munmap(page, PAGE_BYTES);
}

void vfio_bars_close(struct vfio_bars *b)
{
	for_each_page(b, unmap);
	for (int i = 0; i < 6; i++)
		free(b->bar[i].page);
	pthread_mutex_destroy(&b->lock);
}

void vfio_bars_blank(struct vfio_bars *b)
{
	pthread_mutex_lock(&b->lock);
	for_each_page(b, bar_guard_blank);
	pthread_mutex_unlock(&b->lock);
}

int vfio_cfg_read(struct vfio_bars *b, uint32_t off, void *buf, uint32_t len)
{
	ssize_t n = pread(b->device, buf, len, (off_t)(b->config_at + off));

	if (n < 0)
		return -errno;
	return n == (ssize_t)len ? 0 : -ENODEV;
}

int vfio_cfg_write(struct vfio_bars *b, uint32_t off, const void *buf, uint32_t len)
{
	ssize_t n = pwrite(b->device, buf, len, (off_t)(b->config_at + off));

	if (n < 0)
		return -errno;
	return n == (ssize_t)len ? 0 : -ENODEV;
}

/* The kernel refuses to map a page that is not the BAR's alone: then it stays with pread(). Caller
 * holds the lock. */
static int map_page(struct vfio_bars *b, struct vfio_bar *bar, uint64_t page)
{
	void *mem;
	int err;

	if (bar->page[page] != NULL)
		return 0;
	mem = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, b->device,
		(off_t)(bar->at + page * PAGE_BYTES));
	if (mem == MAP_FAILED)
		return errno == EINVAL ? 0 : -errno;
	err = bar_guard_add(mem);
	if (err < 0) {
		(void)munmap(mem, PAGE_BYTES);
		return err;
	}
	bar->page[page] = mem;
	return 0;
}

int vfio_bar_map(struct vfio_bars *b, int i, uint64_t off, uint64_t len)
{
	struct vfio_bar *bar = &b->bar[i];
	uint64_t last = off + len - 1;
	int err = 0;

	if (len == 0 || off > bar->is.bytes || len > bar->is.bytes - off)
		return -EINVAL;
	pthread_mutex_lock(&b->lock);
	for (uint64_t p = off / PAGE_BYTES; bar->page != NULL && p <= last / PAGE_BYTES && err == 0;
		p++)
		if (p < bar->is.bytes / PAGE_BYTES)
			err = map_page(b, bar, p);
	pthread_mutex_unlock(&b->lock);
	return err;
}

/* NULL: not mapped. */
static volatile void *at(const struct vfio_bar *bar, uint64_t off)
{
	if (bar->page == NULL || off / PAGE_BYTES >= bar->is.bytes / PAGE_BYTES ||
		bar->page[off / PAGE_BYTES] == NULL)
		return NULL;
	return bar->page[off / PAGE_BYTES] + off % PAGE_BYTES;
}

uint32_t vfio_bar_read(struct vfio_bars *b, int i, uint64_t off, unsigned bytes)
{
	const struct vfio_bar *bar = &b->bar[i];
	volatile void *mem = at(bar, off);
	le32 val = {0};

	if (mem != NULL)
		return mmio_read(mem, bytes);
	if (pread(b->device, &val, bytes, (off_t)(bar->at + off)) != (ssize_t)bytes)
		return UINT32_MAX >> (32 - 8 * bytes);
	return le32_get(val);
}

void vfio_bar_write(struct vfio_bars *b, int i, uint64_t off, unsigned bytes, uint32_t val)
{
	const struct vfio_bar *bar = &b->bar[i];
	volatile void *mem = at(bar, off);
	le32 raw = le32_of(val);

	if (mem != NULL)
		mmio_write(mem, bytes, val);
	else
		(void)pwrite(b->device, &raw, bytes, (off_t)(bar->at + off));
}
