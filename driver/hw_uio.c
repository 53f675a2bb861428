/* hw_uio.c - the hardware as uio_pci_generic gives it to a process.
 *
 * Invariants
 *  1. One process at a time: the lock file is locked before /dev/uioN is opened, because a close of
 *     it, by anyone, makes the kernel turn bus mastering off under the owner.
 *  2. The command register is shared with the kernel's interrupt handler, which sets Interrupt
 *     Disable. So it is never read, changed and written back: bus mastering is written as the byte
 *     at offset 4, Interrupt Disable with the whole word, whose other bits are ours and known. (The
 *     byte at offset 5 would do on real hardware; QEMU before 9.2 does not move the line then:
 *     interrupts get lost, or never end.)
 *  3. /dev/uioN stays open as long as queues may run: its close, by death too, ends the function's
 *     DMA.
 *  4. DMA memory begins with the first dma_alloc(), after the device's reset: what a dead owner
 *     left is not touched before. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "dma.h"
#include "hw_open.h"
#include "pci_func.h"
#include "sysfs.h"

#define PCI_COMMAND     0x04
#define COMMAND_MASTER  0x0004
#define COMMAND_NO_INTX 0x0400

struct uio {
	struct hw hw;
	struct pci_func *func;
	struct dma_arena *dma;    /* NULL until the first dma_alloc() */
	pthread_mutex_t dma_lock; /* guards its creation */
	int lock_fd;
	int uio_fd;
	pthread_mutex_t command_lock;
	uint16_t command; /* the register, as we want it, without Interrupt Disable */
};

static struct uio *to_uio(struct hw *hw)
{
	return (struct uio *)hw;
}

static int uio_cfg_read(struct hw *hw, uint32_t off, void *buf, uint32_t len)
{
	return pcif_cfg_read(to_uio(hw)->func, off, buf, len);
}

static int uio_cfg_write(struct hw *hw, uint32_t off, const void *buf, uint32_t len)
{
	return pcif_cfg_write(to_uio(hw)->func, off, buf, len);
}

static int uio_bar_map(struct hw *hw, int bar, uint64_t off, uint64_t len)
{
	return pcif_map(to_uio(hw)->func, bar, off, len);
}

static uint8_t uio_read8(struct hw *hw, int bar, uint64_t off)
{
	return (uint8_t)pcif_read(to_uio(hw)->func, bar, off, 1);
}

static uint16_t uio_read16(struct hw *hw, int bar, uint64_t off)
{
	return (uint16_t)pcif_read(to_uio(hw)->func, bar, off, 2);
}

static uint32_t uio_read32(struct hw *hw, int bar, uint64_t off)
{
	return pcif_read(to_uio(hw)->func, bar, off, 4);
}

static void uio_write8(struct hw *hw, int bar, uint64_t off, uint8_t val)
{
	pcif_write(to_uio(hw)->func, bar, off, 1, val);
}

static void uio_write16(struct hw *hw, int bar, uint64_t off, uint16_t val)
{
	pcif_write(to_uio(hw)->func, bar, off, 2, val);
}

static void uio_write32(struct hw *hw, int bar, uint64_t off, uint32_t val)
{
	pcif_write(to_uio(hw)->func, bar, off, 4, val);
}

/* --- DMA memory --- */

static void *uio_dma_alloc(struct hw *hw, size_t bytes)
{
	struct uio *u = to_uio(hw);
	int err = 0;

	pthread_mutex_lock(&u->dma_lock);
	if (u->dma == NULL)
		err = dma_create(hw->name, &u->dma);
	pthread_mutex_unlock(&u->dma_lock);
	return err < 0 ? NULL : dma_alloc(u->dma, bytes);
}

static void uio_dma_free(struct hw *hw, void *mem, size_t bytes)
{
	dma_free(to_uio(hw)->dma, mem, bytes);
}

static uint64_t uio_dma_addr(struct hw *hw, const void *mem, size_t *contig)
{
	return dma_addr(to_uio(hw)->dma, mem, contig);
}

/* --- interrupt --- */

static int uio_irq_wait(struct hw *hw, int wake_fd)
{
	struct uio *u = to_uio(hw);
	struct pollfd pfd[2] = {
		{.fd = u->uio_fd, .events = POLLIN},
		{.fd = wake_fd, .events = POLLIN},
	};
	uint32_t nr_interrupts;

	for (;;) {
		if (poll(pfd, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (pfd[1].revents != 0) /* first: a line that never rests must not keep it up */
			return 0;
		if (read(u->uio_fd, &nr_interrupts, sizeof(nr_interrupts)) == sizeof(nr_interrupts))
			return 1;
		if (errno != EINTR && errno != EAGAIN)
			return -ENODEV; /* unplugged, or taken away from uio_pci_generic */
	}
}

static int write_command(struct uio *u, uint16_t bits)
{
	uint16_t val;
	int err;

	pthread_mutex_lock(&u->command_lock);
	val = htole16(u->command | bits);
	err = pcif_cfg_write(u->func, PCI_COMMAND, &val, 2);
	pthread_mutex_unlock(&u->command_lock);
	return err;
}

static int uio_irq_unmask(struct hw *hw)
{
	return write_command(to_uio(hw), 0);
}

static int uio_irq_mask(struct hw *hw)
{
	return write_command(to_uio(hw), COMMAND_NO_INTX);
}

/* --- the function as a whole --- */

static int uio_bus_master(struct hw *hw, bool on)
{
	struct uio *u = to_uio(hw);
	uint8_t low;
	int err;

	pthread_mutex_lock(&u->command_lock);
	u->command = (uint16_t)(on ? u->command | COMMAND_MASTER : u->command & ~COMMAND_MASTER);
	low = (uint8_t)u->command;
	err = pcif_cfg_write(u->func, PCI_COMMAND, &low, 1);
	pthread_mutex_unlock(&u->command_lock);
	if (err == 0)
		err = pcif_cfg_read(u->func, PCI_COMMAND, &low, 1);
	if (err < 0)
		return err;
	return !!(low & COMMAND_MASTER) == on ? 0 : -EIO;
}

static int uio_function_reset(struct hw *hw)
{
	return pcif_reset(to_uio(hw)->func);
}

static void uio_close(struct hw *hw)
{
	struct uio *u = to_uio(hw);

	(void)uio_irq_mask(hw);
	(void)uio_bus_master(hw, false);
	if (u->dma != NULL)
		dma_destroy(u->dma);
	close(u->uio_fd);
	pcif_close(u->func);
	close(u->lock_fd);
	pthread_mutex_destroy(&u->dma_lock);
	pthread_mutex_destroy(&u->command_lock);
	free(u);
}

static const struct hw_ops uio_ops = {
	.cfg_read = uio_cfg_read,
	.cfg_write = uio_cfg_write,
	.bar_map = uio_bar_map,
	.read8 = uio_read8,
	.read16 = uio_read16,
	.read32 = uio_read32,
	.write8 = uio_write8,
	.write16 = uio_write16,
	.write32 = uio_write32,
	.dma_alloc = uio_dma_alloc,
	.dma_free = uio_dma_free,
	.dma_addr = uio_dma_addr,
	.irq_wait = uio_irq_wait,
	.irq_unmask = uio_irq_unmask,
	.irq_mask = uio_irq_mask,
	.bus_master = uio_bus_master,
	.function_reset = uio_function_reset,
	.sleep_us = hw_sleep_us,
	.nr_suspends = hw_nr_suspends,
	.close = uio_close,
};

/* --- opening --- */

static int open_function(const struct hw_reason *why, struct uio *u)
{
	int err = pcif_open(why->address, &u->func);

	if (err == -ENODEV)
		return hw_fail(why, err, "no such PCI function; 'vblkctl list' shows the disks");
	if (err < 0)
		return hw_fail_errno(why, err, "its configuration space can't be opened");
	pcif_describe(u->func, &u->hw.ids, u->hw.bar);
	return 0;
}

/* Not every function has an interrupt: without one the kernel answers -EIO from the start. A stale
 * count is dropped. */
static bool has_interrupt(int uio_fd)
{
	uint32_t count;

	return read(uio_fd, &count, sizeof(count)) == sizeof(count) || errno == EAGAIN;
}

static int open_uio(const struct hw_reason *why, struct uio *u)
{
	char name[32], path[64];
	int err = sysfs_child(name, sizeof(name), "uio", PCI_DEVICES "/%s/uio", why->address);

	if (err < 0)
		return hw_fail_errno(why, err, "it has no uio device");
	(void)snprintf(path, sizeof(path), "/dev/%s", name);
	u->uio_fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (u->uio_fd < 0)
		return hw_fail_errno(why, -errno, path);
	u->hw.has_irq = has_interrupt(u->uio_fd);
	return 0;
}

/* Is the group of an IOMMU there, and does it translate? */
static bool iommu_translates(const char *address)
{
	char type[32];

	return sysfs_read(type, sizeof(type), PCI_DEVICES "/%s/iommu_group/type", address) == 0 &&
	       strcmp(type, "identity") != 0;
}

static int read_registers(const struct hw_reason *why, struct uio *u)
{
	uint16_t command;
	int err = pcif_cfg_read(u->func, PCI_COMMAND, &command, 2);

	if (err < 0)
		return hw_fail_errno(why, err, "its configuration space can't be read");
	u->command = (uint16_t)(le16toh(command) & ~(COMMAND_NO_INTX | COMMAND_MASTER));
	u->hw.iommu_translates = iommu_translates(why->address);
	return 0;
}

int hw_uio_open(const struct hw_reason *why, int lock_fd, struct hw **out)
{
	struct uio *u = calloc(1, sizeof(*u));
	int err;

	if (u == NULL)
		return hw_fail(why, -ENOMEM, "no memory");
	u->hw.ops = &uio_ops;
	u->hw.driver = HW_DRIVER_UIO;
	u->lock_fd = lock_fd;
	(void)snprintf(u->hw.name, sizeof(u->hw.name), "%s", why->address);
	pthread_mutex_init(&u->dma_lock, NULL);
	pthread_mutex_init(&u->command_lock, NULL);
	err = open_function(why, u);
	if (err < 0)
		goto free_uio;
	err = dma_check(why->address, why->text, why->bytes);
	if (err < 0)
		goto close_function;
	err = open_uio(why, u);
	if (err < 0)
		goto close_function;
	err = read_registers(why, u);
	if (err < 0)
		goto close_uio;
	*out = &u->hw;
	return 0;

close_uio:
	close(u->uio_fd);
close_function:
	pcif_close(u->func);
free_uio:
	pthread_mutex_destroy(&u->dma_lock);
	pthread_mutex_destroy(&u->command_lock);
	free(u);
	return err;
}
