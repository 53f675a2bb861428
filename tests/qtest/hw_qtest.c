/* hw_qtest.c - see hw_qtest.h. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "hw_qtest.h"

#define CONFIG_ADDRESS 0xcf8U
#define CONFIG_DATA    0xcfcU
#define CONFIG_ENABLE  (1U << 31)

#define PCI_COMMAND     0x04U
#define COMMAND_IO      0x0001U
#define COMMAND_MEMORY  0x0002U
#define COMMAND_MASTER  0x0004U
#define COMMAND_NO_INTX 0x0400U
#define PCI_REVISION    0x08U
#define PCI_BAR         0x10U
#define BAR_IO          1U
#define BAR_64          4U
#define PCI_SUBVENDOR   0x2cU

/* Where nothing else of the machine is. */
#define IO_WINDOW     0xc000U
#define MEMORY_WINDOW 0xe0000000U

struct qt {
	struct hw hw;
	struct qemu *q;
	uint32_t bar_addr[6];
	pthread_mutex_t cfg_lock; /* address port, then data port; and `command` */
	uint16_t command;         /* the register, without Interrupt Disable */
};

static struct qt *to_qt(struct hw *hw)
{
	return (struct qt *)hw;
}

/* --- configuration space: byte by byte, as anyone may --- */

static void select_cfg(struct qt *t, uint32_t off)
{
	qemu_out(t->q, CONFIG_ADDRESS, 4, CONFIG_ENABLE | QEMU_DISK_SLOT << 11 | (off & ~3U));
}

static int qt_cfg_read(struct hw *hw, uint32_t off, void *buf, uint32_t len)
{
	struct qt *t = to_qt(hw);
	uint8_t *to = buf;

	pthread_mutex_lock(&t->cfg_lock);
	for (uint32_t i = 0; i < len; i++) {
		if (i == 0 || (off + i) % 4 == 0)
			select_cfg(t, off + i);
		to[i] = (uint8_t)qemu_in(t->q, (uint16_t)(CONFIG_DATA + (off + i) % 4), 1);
	}
	pthread_mutex_unlock(&t->cfg_lock);
	return 0;
}

/* One access of 1, 2 or 4 bytes. Caller holds cfg_lock. */
static void write_cfg(struct qt *t, uint32_t off, int bytes, uint32_t val)
{
	select_cfg(t, off);
	qemu_out(t->q, (uint16_t)(CONFIG_DATA + off % 4), bytes, val);
}

static int qt_cfg_write(struct hw *hw, uint32_t off, const void *buf, uint32_t len)
{
	struct qt *t = to_qt(hw);
	uint32_t val = 0;

	memcpy(&val, buf, len);
	pthread_mutex_lock(&t->cfg_lock);
	write_cfg(t, off, (int)len, le32toh(val));
	pthread_mutex_unlock(&t->cfg_lock);
	return 0;
}

/* --- BARs --- */

static int qt_bar_map(struct hw *hw, int bar, uint64_t off, uint64_t len)
{
	ck_assert_uint_le(off + len, hw->bar[bar].bytes);
	return 0;
}

static uint32_t bar_read(struct hw *hw, int bar, uint64_t off, int bytes)
{
	struct qt *t = to_qt(hw);
	uint32_t addr = t->bar_addr[bar] + (uint32_t)off;

	ck_assert_uint_le(off + (unsigned)bytes, hw->bar[bar].bytes);
	return hw->bar[bar].is_io ? qemu_in(t->q, (uint16_t)addr, bytes)
				  : qemu_read(t->q, addr, bytes);
}

static void bar_write(struct hw *hw, int bar, uint64_t off, int bytes, uint32_t val)
{
	struct qt *t = to_qt(hw);
	uint32_t addr = t->bar_addr[bar] + (uint32_t)off;

	ck_assert_uint_le(off + (unsigned)bytes, hw->bar[bar].bytes);
	if (hw->bar[bar].is_io)
		qemu_out(t->q, (uint16_t)addr, bytes, val);
	else
		qemu_write(t->q, addr, bytes, val);
}

static uint8_t qt_read8(struct hw *hw, int bar, uint64_t off)
{
	return (uint8_t)bar_read(hw, bar, off, 1);
}

static uint16_t qt_read16(struct hw *hw, int bar, uint64_t off)
{
	return (uint16_t)bar_read(hw, bar, off, 2);
}

static uint32_t qt_read32(struct hw *hw, int bar, uint64_t off)
{
	return bar_read(hw, bar, off, 4);
}

static void qt_write8(struct hw *hw, int bar, uint64_t off, uint8_t val)
{
	bar_write(hw, bar, off, 1, val);
}

static void qt_write16(struct hw *hw, int bar, uint64_t off, uint16_t val)
{
	bar_write(hw, bar, off, 2, val);
}

static void qt_write32(struct hw *hw, int bar, uint64_t off, uint32_t val)
{
	bar_write(hw, bar, off, 4, val);
}

/* --- memory --- */

static void *qt_dma_alloc(struct hw *hw, size_t bytes)
{
	return dma_alloc(qemu_memory(to_qt(hw)->q), bytes);
}

static void qt_dma_free(struct hw *hw, void *mem, size_t bytes)
{
	dma_free(qemu_memory(to_qt(hw)->q), mem, bytes);
}

static uint64_t qt_dma_addr(struct hw *hw, const void *mem, size_t *contig)
{
	struct qemu *q = to_qt(hw)->q;

	return dma_addr(qemu_memory(q), mem, contig) == UINT64_MAX ? UINT64_MAX
								   : qemu_memory_addr(q, mem);
}

/* --- interrupt, bus mastering: the command register, as uio_pci_generic and its user share it --- */

static void write_command(struct qt *t, uint16_t bits)
{
	pthread_mutex_lock(&t->cfg_lock);
	write_cfg(t, PCI_COMMAND, 2, t->command | bits);
	pthread_mutex_unlock(&t->cfg_lock);
}

static int qt_irq_mask(struct hw *hw)
{
	write_command(to_qt(hw), COMMAND_NO_INTX);
	return 0;
}

static int qt_irq_unmask(struct hw *hw)
{
	write_command(to_qt(hw), 0);
	return 0;
}

static int qt_irq_wait(struct hw *hw, int wake_fd)
{
	int rc = qemu_irq_wait(to_qt(hw)->q, wake_fd);

	if (rc > 0)
		(void)qt_irq_mask(hw);
	return rc;
}

static int qt_bus_master(struct hw *hw, bool on)
{
	struct qt *t = to_qt(hw);
	uint8_t low;

	pthread_mutex_lock(&t->cfg_lock);
	t->command = (uint16_t)(on ? t->command | COMMAND_MASTER : t->command & ~COMMAND_MASTER);
	write_cfg(t, PCI_COMMAND, 1, t->command & 0xff);
	pthread_mutex_unlock(&t->cfg_lock);
	(void)qt_cfg_read(hw, PCI_COMMAND, &low, 1);
	return !!(low & COMMAND_MASTER) == on ? 0 : -EIO;
}

static int qt_function_reset(struct hw *hw)
{
	(void)hw;
	return -EOPNOTSUPP;
}

static void qt_sleep_us(struct hw *hw, uint32_t us)
{
	struct timespec ts = {.tv_sec = us / 1000000, .tv_nsec = (long)(us % 1000000) * 1000};

	(void)hw;
	(void)nanosleep(&ts, NULL);
}

static void qt_close(struct hw *hw)
{
	(void)qt_irq_mask(hw);
	(void)qt_bus_master(hw, false);
	pthread_mutex_destroy(&to_qt(hw)->cfg_lock);
	free(hw);
}

static const struct hw_ops qt_ops = {
	.cfg_read = qt_cfg_read,
	.cfg_write = qt_cfg_write,
	.bar_map = qt_bar_map,
	.read8 = qt_read8,
	.read16 = qt_read16,
	.read32 = qt_read32,
	.write8 = qt_write8,
	.write16 = qt_write16,
	.write32 = qt_write32,
	.dma_alloc = qt_dma_alloc,
	.dma_free = qt_dma_free,
	.dma_addr = qt_dma_addr,
	.irq_wait = qt_irq_wait,
	.irq_unmask = qt_irq_unmask,
	.irq_mask = qt_irq_mask,
	.bus_master = qt_bus_master,
	.function_reset = qt_function_reset,
	.sleep_us = qt_sleep_us,
	.close = qt_close,
};

/* --- what firmware does --- */

static uint32_t read_cfg32(struct qt *t, uint32_t off)
{
	le32 val;

	(void)qt_cfg_read(&t->hw, off, &val, 4);
	return le32_get(val);
}

/* Ask for its size, and give it the next place in the window. A BAR of 64 bits lies below 4 GiB,
 * too. */
static void place_bar(struct qt *t, unsigned i, uint32_t *io, uint32_t *memory)
{
	uint32_t off = PCI_BAR + 4 * i, mask, *at;

	write_cfg(t, off, 4, UINT32_MAX);
	mask = read_cfg32(t, off);
	if (mask == 0)
		return;
	t->hw.bar[i].is_io = mask & BAR_IO;
	t->hw.bar[i].bytes = mask & BAR_IO ? (~(mask & ~3U) + 1) & 0xffff : ~(mask & ~15U) + 1;
	at = mask & BAR_IO ? io : memory;
	*at = (*at + (uint32_t)t->hw.bar[i].bytes - 1) & ~((uint32_t)t->hw.bar[i].bytes - 1);
	t->bar_addr[i] = *at;
	write_cfg(t, off, 4, *at);
	*at += (uint32_t)t->hw.bar[i].bytes;
}

static void place_bars(struct qt *t)
{
	uint32_t io = IO_WINDOW, memory = MEMORY_WINDOW;

	for (unsigned i = 0; i < 6; i++) {
		bool wide = (read_cfg32(t, PCI_BAR + 4 * i) & (BAR_IO | BAR_64)) == BAR_64;

		place_bar(t, i, &io, &memory);
		if (wide)
			write_cfg(t, PCI_BAR + 4 * ++i, 4, 0);
	}
	t->command = COMMAND_IO | COMMAND_MEMORY;
	write_command(t, COMMAND_NO_INTX);
}

struct hw *hw_qtest_open(struct qemu *q)
{
	struct qt *t = calloc(1, sizeof(*t));
	uint32_t ids, sub;

	ck_assert_ptr_nonnull(t);
	t->hw.ops = &qt_ops;
	t->hw.has_irq = true;
	t->q = q;
	pthread_mutex_init(&t->cfg_lock, NULL);
	(void)snprintf(t->hw.name, sizeof(t->hw.name), "0000:00:%02x.0", QEMU_DISK_SLOT);
	ids = read_cfg32(t, 0);
	sub = read_cfg32(t, PCI_SUBVENDOR);
	t->hw.ids = (struct hw_ids){.vendor = (uint16_t)ids,
		.device = (uint16_t)(ids >> 16),
		.subvendor = (uint16_t)sub,
		.subdevice = (uint16_t)(sub >> 16),
		.revision = (uint8_t)read_cfg32(t, PCI_REVISION)};
	place_bars(t);
	return &t->hw;
}
