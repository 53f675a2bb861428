/* pci_func.c - see pci_func.h.
 *
 * libpciaccess finds the function, and maps its BARs uncached, page by page, as they are asked for.
 * Configuration space goes through a descriptor of our own: libpciaccess opens the file anew for
 * each access, and each interrupt needs one. */
#include <errno.h>
#include <fcntl.h>
#include <pciaccess.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "bar_guard.h"
#include "mmio.h"
#include "pci_func.h"

#define DEVICES    "/sys/bus/pci/devices"
#define PAGE_BYTES BAR_GUARD_BYTES
#define PAGES_MAX  (1U << 20) /* of a BAR: 4 GiB */

struct bar {
	struct hw_bar is;
	pciaddr_t base;
	uint8_t **page;           /* memory BAR: where its pages are mapped, NULL: not */
	struct pci_io_handle *io; /* I/O BAR, once "mapped" */
};

struct pci_func {
	struct pci_device *dev;
	int config_fd;
	char address[32];
	pthread_mutex_t lock; /* guards mapping */
	struct bar bar[6];
};

/* libpciaccess has one global state, which the first function brings up and the last takes down. */
static struct {
	pthread_mutex_t lock;
	unsigned users;
} pci_system = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int system_get(void)
{
	int err = 0;

	pthread_mutex_lock(&pci_system.lock);
	if (pci_system.users == 0)
		err = pci_system_init();
	if (err == 0)
		pci_system.users++;
	pthread_mutex_unlock(&pci_system.lock);
	return err == 0 ? 0 : -ENODEV;
}

static void system_put(void)
{
	pthread_mutex_lock(&pci_system.lock);
	if (--pci_system.users == 0)
		pci_system_cleanup();
	pthread_mutex_unlock(&pci_system.lock);
}

static struct pci_device *find(const char *address)
{
	unsigned domain, bus, dev, func;

	if (sscanf(address, "%x:%x:%x.%x", &domain, &bus, &dev, &func) != 4)
		return NULL;
	return pci_device_find_by_slot(domain, bus, dev, func);
}

static int describe_bars(struct pci_func *f)
{
	for (int i = 0; i < 6; i++) {
		const struct pci_mem_region *r = &f->dev->regions[i];
		struct bar *b = &f->bar[i];

		if (r->base_addr == 0 || r->size == 0)
			continue; /* not there, or without an address */
		b->is = (struct hw_bar){.bytes = r->size, .is_io = r->is_IO};
		b->base = r->base_addr;
		if (b->is.is_io)
			continue;
		if (r->size > (uint64_t)PAGES_MAX * PAGE_BYTES) {
			b->is.bytes = 0;
			continue;
		}
		b->page = calloc(r->size / PAGE_BYTES + 1, sizeof(*b->page));
		if (b->page == NULL)
			return -ENOMEM;
	}
	return 0;
}

static void unmap_bar(struct pci_func *f, struct bar *b)
{
	if (b->io != NULL)
		pci_device_close_io(f->dev, b->io);
	for (uint64_t i = 0; b->page != NULL && i <= b->is.bytes / PAGE_BYTES; i++)
		if (b->page[i] != NULL) {
			bar_guard_remove(b->page[i]);
			(void)pci_device_unmap_range(f->dev, b->page[i], PAGE_BYTES);
		}
	free(b->page);
}

static void free_func(struct pci_func *f)
{
	for (int i = 0; i < 6; i++)
		unmap_bar(f, &f->bar[i]);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

int pcif_open(const char *address, struct pci_func **out)
{
	struct pci_func *f;
	char path[96];
	int err = system_get();

	if (err < 0)
		return err;
	err = -ENOMEM;
	f = calloc(1, sizeof(*f));
	if (f == NULL)
		goto put_system;
	pthread_mutex_init(&f->lock, NULL);
	(void)snprintf(f->address, sizeof(f->address), "%s", address);
	err = -ENODEV;
	f->dev = find(address);
	if (f->dev == NULL)
		goto free_func;
	err = -pci_device_probe(f->dev);
	if (err < 0)
		goto free_func;
	err = describe_bars(f);
	if (err < 0)
		goto free_func;
	(void)snprintf(path, sizeof(path), DEVICES "/%s/config", address);
	f->config_fd = open(path, O_RDWR | O_CLOEXEC);
	if (f->config_fd < 0) {
		err = -errno;
		goto free_func;
	}
	*out = f;
	return 0;

free_func:
	free_func(f);
put_system:
	system_put();
	return err;
}

void pcif_close(struct pci_func *f)
{
	close(f->config_fd);
	free_func(f);
	system_put();
}

void pcif_describe(const struct pci_func *f, struct hw_ids *ids, struct hw_bar bar[6])
{
	*ids = (struct hw_ids){
		.vendor = f->dev->vendor_id,
		.device = f->dev->device_id,
		.subvendor = f->dev->subvendor_id,
		.subdevice = f->dev->subdevice_id,
		.revision = f->dev->revision,
	};
	for (int i = 0; i < 6; i++)
		bar[i] = f->bar[i].is;
}

int pcif_cfg_read(struct pci_func *f, uint32_t off, void *buf, uint32_t len)
{
	ssize_t n = pread(f->config_fd, buf, len, off);

	if (n < 0)
		return -errno;
	return n == (ssize_t)len ? 0 : -EPERM;
}

int pcif_cfg_write(struct pci_func *f, uint32_t off, const void *buf, uint32_t len)
{
	ssize_t n = pwrite(f->config_fd, buf, len, off);

	if (n < 0)
		return -errno;
	return n == (ssize_t)len ? 0 : -EPERM;
}

static int map_page(struct pci_func *f, struct bar *b, uint64_t page)
{
	void *mem;
	int err;

	if (b->page[page] != NULL)
		return 0;
	err = pci_device_map_range(
		f->dev, b->base + page * PAGE_BYTES, PAGE_BYTES, PCI_DEV_MAP_FLAG_WRITABLE, &mem);
	if (err != 0)
		return -err;
	err = bar_guard_add(mem);
	if (err < 0) {
		(void)pci_device_unmap_range(f->dev, mem, PAGE_BYTES);
		return err;
	}
	b->page[page] = mem;
	return 0;
}

static int map_io(struct pci_func *f, struct bar *b)
{
	if (b->io == NULL)
		b->io = pci_device_open_io(f->dev, b->base, b->is.bytes);
	return b->io == NULL ? -EIO : 0;
}

int pcif_map(struct pci_func *f, int bar, uint64_t off, uint64_t len)
{
	struct bar *b = &f->bar[bar];
	int err = 0;

	if (len == 0 || off > b->is.bytes || len > b->is.bytes - off)
		return -EINVAL;
	pthread_mutex_lock(&f->lock);
	if (b->is.is_io)
		err = map_io(f, b);
	else
		for (uint64_t p = off / PAGE_BYTES; p <= (off + len - 1) / PAGE_BYTES && err == 0;
			p++)
			err = map_page(f, b, p);
	pthread_mutex_unlock(&f->lock);
	return err;
}

static volatile void *at(const struct bar *b, uint64_t off)
{
	return b->page[off / PAGE_BYTES] + off % PAGE_BYTES;
}

static uint32_t io_read(const struct bar *b, uint32_t off, unsigned bytes)
{
	switch (bytes) {
	case 1:
		return pci_io_read8(b->io, off);
	case 2:
		return pci_io_read16(b->io, off);
	default:
		return pci_io_read32(b->io, off);
	}
}

uint32_t pcif_read(struct pci_func *f, int bar, uint64_t off, unsigned bytes)
{
	const struct bar *b = &f->bar[bar];

	return b->is.is_io ? io_read(b, (uint32_t)off, bytes) : mmio_read(at(b, off), bytes);
}

static void io_write(const struct bar *b, uint32_t off, unsigned bytes, uint32_t val)
{
	switch (bytes) {
	case 1:
		pci_io_write8(b->io, off, (uint8_t)val);
		break;
	case 2:
		pci_io_write16(b->io, off, (uint16_t)val);
		break;
	default:
		pci_io_write32(b->io, off, val);
	}
}

void pcif_write(struct pci_func *f, int bar, uint64_t off, unsigned bytes, uint32_t val)
{
	const struct bar *b = &f->bar[bar];

	if (b->is.is_io)
		io_write(b, (uint32_t)off, bytes, val);
	else
		mmio_write(at(b, off), bytes, val);
}

int pcif_reset(struct pci_func *f)
{
	char path[96];
	ssize_t n;
	int fd, err;

	(void)snprintf(path, sizeof(path), DEVICES "/%s/reset", f->address);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -EOPNOTSUPP;
	n = write(fd, "1", 1);
	err = n == 1 ? 0 : -errno;
	close(fd);
	return err;
}
