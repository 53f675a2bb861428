/* hw_vfio.c - the hardware as vfio-pci gives it to a process.
 *
 * Invariants
 *  1. The device knows addresses of the IOMMU only: page N of the arena is at iova + N * 2 MiB, and
 *     stays there till the container is closed, after the device. So no request ever reaches memory
 *     that is not the arena's, and none that a killed owner left outlives its memory: the kernel
 *     resets the function when the device file is closed.
 *  2. When the kernel wants the function back it waits for that close. So the device is let go at
 *     once, under the driver, which then finds what it would find of a removed one: registers that
 *     read all ones. The descriptor's number stays taken, by a file that has nothing in it. */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <syslog.h>
#include <unistd.h>
#include "dma.h"
#include "log.h"
#include "vfio_bar.h"
#include "vfio_group.h"
#include "vfio_irq.h"

#define PCI_IDS        0x00
#define PCI_REVISION   0x08
#define PCI_SUBSYSTEM  0x2c
#define PCI_COMMAND    0x04
#define COMMAND_DECODE 0x03 /* of I/O and memory */
#define COMMAND_MASTER 0x04

struct vfio {
	struct hw hw;
	int lock_fd;
	struct vfio_group group;
	struct vfio_bars bars;
	struct vfio_irq irq;
	struct dma_arena *dma;
	atomic_int dma_err; /* why the arena could not grow last time */
	bool can_reset;
	pthread_mutex_t command_lock;
};

static struct vfio *to_vfio(struct hw *hw)
{
	return (struct vfio *)hw;
}

static int hook_cfg_read(struct hw *hw, uint32_t off, void *buf, uint32_t len)
{
	return vfio_cfg_read(&to_vfio(hw)->bars, off, buf, len);
}

static int hook_cfg_write(struct hw *hw, uint32_t off, const void *buf, uint32_t len)
{
	return vfio_cfg_write(&to_vfio(hw)->bars, off, buf, len);
}

static int hook_bar_map(struct hw *hw, int bar, uint64_t off, uint64_t len)
{
	return vfio_bar_map(&to_vfio(hw)->bars, bar, off, len);
}

static uint8_t hook_read8(struct hw *hw, int bar, uint64_t off)
{
	return (uint8_t)vfio_bar_read(&to_vfio(hw)->bars, bar, off, 1);
}

static uint16_t hook_read16(struct hw *hw, int bar, uint64_t off)
{
	return (uint16_t)vfio_bar_read(&to_vfio(hw)->bars, bar, off, 2);
}

static uint32_t hook_read32(struct hw *hw, int bar, uint64_t off)
{
	return vfio_bar_read(&to_vfio(hw)->bars, bar, off, 4);
}

static void hook_write8(struct hw *hw, int bar, uint64_t off, uint8_t val)
{
	vfio_bar_write(&to_vfio(hw)->bars, bar, off, 1, val);
}

static void hook_write16(struct hw *hw, int bar, uint64_t off, uint16_t val)
{
	vfio_bar_write(&to_vfio(hw)->bars, bar, off, 2, val);
}

static void hook_write32(struct hw *hw, int bar, uint64_t off, uint32_t val)
{
	vfio_bar_write(&to_vfio(hw)->bars, bar, off, 4, val);
}

/* --- DMA memory --- */

/* The arena grows: see dma_maps_fn. */
static int map_page(void *arg, unsigned nr, void *mem, uint64_t *addr)
{
	struct vfio *v = arg;
	uint64_t iova = v->group.iova + (uint64_t)nr * DMA_PAGE_BYTES;
	int err =
		iova < v->group.iova_end ? vfio_map(&v->group, mem, iova, DMA_PAGE_BYTES) : -ENOSPC;

	atomic_store(&v->dma_err, err);
	if (err < 0)
		return err;
	*addr = iova;
	return 0;
}

static void *hook_dma_alloc(struct hw *hw, size_t bytes)
{
	struct vfio *v = to_vfio(hw);
	void *mem = dma_alloc(v->dma, bytes);

	if (mem == NULL)
		log_line(LOG_ERR, "%s: no DMA memory: the IOMMU did not take more: %s", hw->name,
			strerror(-atomic_load(&v->dma_err)));
	return mem;
}

static void hook_dma_free(struct hw *hw, void *mem, size_t bytes)
{
	dma_free(to_vfio(hw)->dma, mem, bytes);
}

static uint64_t hook_dma_addr(struct hw *hw, const void *mem, size_t *contig)
{
	return dma_addr(to_vfio(hw)->dma, mem, contig);
}

/* --- interrupts --- */

/* Invariant 2. The mappings go first: each of them keeps the device file open. */
static void let_go(struct vfio *v)
{
	int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);

	vfio_bars_blank(&v->bars);
	if (nothing < 0)
		return;
	(void)dup3(nothing, v->group.device, O_CLOEXEC);
	close(nothing);
}

static int hook_irq_wait(struct hw *hw, int wake_fd)
{
	struct vfio *v = to_vfio(hw);
	int got = vfio_irq_wait(&v->irq, wake_fd);

	if (got >= 0)
		return got;
	log_line(LOG_ERR, "%s: %s", hw->name,
		got == -ENODEV ? "the kernel wants the device back (it is unplugged, or unbound)"
			       : "the PCI bus reports an error of the device");
	let_go(v);
	return -ENODEV;
}

static int hook_irq_unmask(struct hw *hw)
{
	return vfio_irq_unmask(&to_vfio(hw)->irq);
}

static int hook_irq_mask(struct hw *hw)
{
	return vfio_irq_mask(&to_vfio(hw)->irq);
}

static int hook_irq_vectors(struct hw *hw, unsigned nr)
{
	return vfio_irq_vectors(&to_vfio(hw)->irq, nr);
}

static int hook_irq_redirect(struct hw *hw, unsigned vector, int fd)
{
	return vfio_irq_redirect(&to_vfio(hw)->irq, vector, fd);
}

/* --- the function as a whole --- */

static int hook_bus_master(struct hw *hw, bool on)
{
	struct vfio *v = to_vfio(hw);
	uint8_t command;
	int err;

	pthread_mutex_lock(&v->command_lock);
	err = vfio_cfg_read(&v->bars, PCI_COMMAND, &command, 1);
	if (err == 0) {
		command = (uint8_t)(on ? command | COMMAND_MASTER : command & ~COMMAND_MASTER);
		command |= COMMAND_DECODE;
		err = vfio_cfg_write(&v->bars, PCI_COMMAND, &command, 1);
	}
	if (err == 0)
		err = vfio_cfg_read(&v->bars, PCI_COMMAND, &command, 1);
	pthread_mutex_unlock(&v->command_lock);
	if (err < 0)
		return err;
	return !!(command & COMMAND_MASTER) == on ? 0 : -EIO;
}

static int hook_function_reset(struct hw *hw)
{
	struct vfio *v = to_vfio(hw);

	if (!v->can_reset)
		return -EOPNOTSUPP;
	return ioctl(v->group.device, VFIO_DEVICE_RESET) < 0 ? -errno : 0;
}

static void hook_close(struct hw *hw)
{
	struct vfio *v = to_vfio(hw);

	vfio_irq_close(&v->irq);
	(void)hook_bus_master(hw, false);
	vfio_bars_close(&v->bars);
	vfio_group_close(&v->group);
	dma_destroy(v->dma);
	if (v->lock_fd >= 0)
		close(v->lock_fd);
	pthread_mutex_destroy(&v->command_lock);
	free(v);
}

static const struct hw_ops vfio_ops = {
	.cfg_read = hook_cfg_read,
	.cfg_write = hook_cfg_write,
	.bar_map = hook_bar_map,
	.read8 = hook_read8,
	.read16 = hook_read16,
	.read32 = hook_read32,
	.write8 = hook_write8,
	.write16 = hook_write16,
	.write32 = hook_write32,
	.dma_alloc = hook_dma_alloc,
	.dma_free = hook_dma_free,
	.dma_addr = hook_dma_addr,
	.irq_wait = hook_irq_wait,
	.irq_unmask = hook_irq_unmask,
	.irq_mask = hook_irq_mask,
	.irq_vectors = hook_irq_vectors,
	.irq_redirect = hook_irq_redirect,
	.bus_master = hook_bus_master,
	.function_reset = hook_function_reset,
	.sleep_us = hw_sleep_us,
	.nr_suspends = hw_nr_suspends,
	.close = hook_close,
};

/* --- opening --- */

static int read_ids(struct vfio *v)
{
	le16 ids[2], sub[2];
	uint8_t revision;
	int err = vfio_cfg_read(&v->bars, PCI_IDS, ids, sizeof(ids));

	if (err == 0)
		err = vfio_cfg_read(&v->bars, PCI_SUBSYSTEM, sub, sizeof(sub));
	if (err == 0)
		err = vfio_cfg_read(&v->bars, PCI_REVISION, &revision, 1);
	if (err < 0)
		return err;
	v->hw.ids = (struct hw_ids){
		.vendor = le16_get(ids[0]),
		.device = le16_get(ids[1]),
		.subvendor = le16_get(sub[0]),
		.subdevice = le16_get(sub[1]),
		.revision = revision,
	};
	return 0;
}

static int describe(const struct hw_reason *why, struct vfio *v)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	int err = read_ids(v);

	if (err < 0)
		return hw_fail_errno(why, err, "its configuration space can't be read");
	if (ioctl(v->group.device, VFIO_DEVICE_GET_INFO, &info) < 0)
		return hw_fail_errno(why, -errno, "VFIO does not describe it");
	v->can_reset = info.flags & VFIO_DEVICE_FLAGS_RESET;
	for (int i = 0; i < 6; i++)
		v->hw.bar[i] = v->bars.bar[i].is;
	v->hw.has_irq = v->irq.has_line || v->irq.max_vectors > 0;
	v->hw.nr_vectors = v->irq.max_vectors;
	v->hw.iommu_translates = v->hw.iommu_is_ours = true;
	return 0;
}

/* What the device may reach is pinned, and counts as locked. The limit is raised while that may be
 * done: privileges are given up later. */
static void raise_memlock(void)
{
	const struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
	struct rlimit limit;

	if (setrlimit(RLIMIT_MEMLOCK, &none) == 0 || getrlimit(RLIMIT_MEMLOCK, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_MEMLOCK, &limit);
}

/* The first page now, while there is somebody to tell. */
static int make_arena(const struct hw_reason *why, struct vfio *v)
{
	int err = dma_create_mapped(map_page, v, &v->dma);
	struct rlimit limit = {0};
	void *mem;

	if (err < 0)
		return hw_fail_errno(why, err, "no memory for DMA");
	mem = dma_alloc(v->dma, 1);
	if (mem != NULL) {
		dma_free(v->dma, mem, 1);
		return 0;
	}
	err = atomic_load(&v->dma_err);
	if (err == 0)
		err = -ENOMEM;
	dma_destroy(v->dma);
	(void)getrlimit(RLIMIT_MEMLOCK, &limit);
	if (err == -ENOMEM && limit.rlim_cur != RLIM_INFINITY)
		return hw_fail(why, err,
			"no memory may be locked for DMA: RLIMIT_MEMLOCK is %llu KiB; raise it "
			"(ulimit -l), or run as root",
			(unsigned long long)limit.rlim_cur / 1024);
	return hw_fail_errno(why, err, "the IOMMU takes no memory");
}

static int open_parts(const struct hw_reason *why, struct vfio *v)
{
	int err = vfio_bars_open(&v->bars, v->group.device);

	if (err < 0)
		return hw_fail_errno(why, err, "VFIO does not give its registers");
	err = vfio_irq_open(&v->irq, v->group.device);
	if (err < 0) {
		hw_fail_errno(why, err, "VFIO does not give its interrupts");
		goto close_bars;
	}
	err = describe(why, v);
	if (err < 0)
		goto close_irq;
	err = make_arena(why, v);
	if (err < 0)
		goto close_irq;
	return 0;

close_irq:
	vfio_irq_close(&v->irq);
close_bars:
	vfio_bars_close(&v->bars);
	return err;
}

int hw_vfio_open(const struct hw_reason *why, int lock_fd, struct hw **out)
{
	struct vfio *v = calloc(1, sizeof(*v));
	int err;

	if (v == NULL)
		return hw_fail(why, -ENOMEM, "no memory");
	v->hw.ops = &vfio_ops;
	v->hw.driver = HW_DRIVER_VFIO;
	v->lock_fd = lock_fd;
	(void)snprintf(v->hw.name, sizeof(v->hw.name), "%s", why->address);
	pthread_mutex_init(&v->command_lock, NULL);
	raise_memlock();
	err = vfio_group_open(why, &v->group);
	if (err < 0)
		goto free_vfio;
	err = open_parts(why, v);
	if (err < 0)
		goto close_group;
	*out = &v->hw;
	return 0;

close_group:
	vfio_group_close(&v->group);
free_vfio:
	pthread_mutex_destroy(&v->command_lock);
	free(v);
	return err;
}
