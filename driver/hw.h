/* hw.h - the one way to the hardware: a table of hooks for one PCI function.
 *
 * Everything the driver does to a device goes through here: BARs (memory or I/O), PCI configuration
 * space, DMA memory and the interrupt. Behind it: a function bound to uio_pci_generic (hw_uio.c) or
 * vfio-pci (hw_vfio.c), and in tests the strict device model, or QEMU's device without a guest. Every
 * register access has the register's own width (virtio 1.2, 4.1.3.1).
 *
 * Ring memory is read and written through dma_load*() and dma_store*() and ordered by dma_wmb(),
 * dma_rmb() and dma_mb() only. In the product those are plain atomic accesses and fences. Built
 * with -DHW_MODEL they go through the table where it has the hook, so that the model sees each ring
 * store and shows the device unfenced stores in the worst order: a missing barrier then is a failed
 * test.
 *
 * Threads: cfg_*, bar_* and dma_* from any thread; the driver holds its own lock around
 * select-then-access registers; irq_wait from one thread only. Errors are negative errnos. */
#ifndef VBLKFS_HW_H
#define VBLKFS_HW_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "le.h"

struct hw;

struct hw_ids {
	uint16_t vendor, device, subvendor, subdevice;
	uint8_t revision;
};

struct hw_bar {
	uint64_t bytes; /* 0: not there */
	bool is_io;
};

struct hw_ops {
	/* PCI configuration space: whole length or a negative errno (a short read is -EPERM). */
	int (*cfg_read)(struct hw *hw, uint32_t off, void *buf, uint32_t len);
	int (*cfg_write)(struct hw *hw, uint32_t off, const void *buf, uint32_t len);

	/* Make LEN bytes at OFF of BAR accessible; before any access to them. */
	int (*bar_map)(struct hw *hw, int bar, uint64_t off, uint64_t len);
	uint8_t (*read8)(struct hw *hw, int bar, uint64_t off);
	uint16_t (*read16)(struct hw *hw, int bar, uint64_t off);
	uint32_t (*read32)(struct hw *hw, int bar, uint64_t off);
	void (*write8)(struct hw *hw, int bar, uint64_t off, uint8_t val);
	void (*write16)(struct hw *hw, int bar, uint64_t off, uint16_t val);
	void (*write32)(struct hw *hw, int bar, uint64_t off, uint32_t val);

	/* DMA memory: zeroed, 4096-aligned; contiguous for the device when at most 2 MiB. NULL:
	 * none left. */
	void *(*dma_alloc)(struct hw *hw, size_t bytes);
	void (*dma_free)(struct hw *hw, void *mem, size_t bytes);
	/* The device's address of MEM, and in *CONTIG how many bytes on from there are contiguous.
	 * UINT64_MAX: not DMA memory. */
	uint64_t (*dma_addr)(struct hw *hw, const void *mem, size_t *contig);

	/* Interrupts: the line, or, once irq_vectors was called, messages (MSI-X). irq_wait sleeps
	 * until one came or WAKE_FD is readable: 1 + the vector's number (1: the line), 0, or
	 * -EOPNOTSUPP where there is none (poll instead), -ENODEV when the device is gone. The line
	 * stays masked until irq_unmask; messages are never masked. */
	int (*irq_wait)(struct hw *hw, int wake_fd);
	int (*irq_unmask)(struct hw *hw);
	int (*irq_mask)(struct hw *hw);
	/* NR vectors instead of the line; 0: the line again. -ENOSPC: so many are not to be had.
	 * NULL where hw->nr_vectors is 0. */
	int (*irq_vectors)(struct hw *hw, unsigned nr);
	/* Interrupts of VECTOR, which is in use, are written to the eventfd FD from now on, and
	 * irq_wait does not see them; -1: as before. On failure all is as it was, but after -EIO:
	 * nobody sees them any more. NULL where irq_vectors is. */
	int (*irq_redirect)(struct hw *hw, unsigned vector, int fd);

	int (*bus_master)(
		struct hw *hw, bool on); /* set, and read back: -EIO if it does not stick */
	int (*function_reset)(
		struct hw *hw); /* the last resort when a reset times out; -EOPNOTSUPP */
	void (*sleep_us)(struct hw *hw, uint32_t us); /* while a register is awaited */
	/* How often the whole machine was suspended, or was about to be, since it was booted. NULL:
	 * not known. */
	uint64_t (*nr_suspends)(struct hw *hw);
	void (*close)(struct hw *hw); /* masks, bus master off, unmaps, lets go */

	/* Only the model has these; NULL means plain memory. */
	void (*dma_store)(struct hw *hw, void *p, uint64_t val, int bytes);
	uint64_t (*dma_load)(struct hw *hw, const void *p, int bytes);
	void (*dma_barrier)(struct hw *hw, int kind); /* enum hw_barrier */
};

enum hw_barrier { HW_WMB, HW_RMB, HW_MB };

struct hw {
	const struct hw_ops *ops;
	const char *driver; /* the kernel's, by which it is reached; NULL: none */
	struct hw_ids ids;
	struct hw_bar bar[6];
	bool has_irq;
	unsigned nr_vectors; /* of the function's MSI-X table, as far as it can be used; 0: none */
	bool iommu_translates; /* what a device says that uses the IOMMU: VIRTIO_F_ACCESS_PLATFORM */
	bool iommu_is_ours;    /* dma_addr() gives addresses that only the IOMMU understands */
	char name[64];         /* 0000:00:05.0 */
};

#ifdef HW_MODEL
#define HW_HOOKED(hw, hook) ((hw)->ops->hook != NULL)
#else
#define HW_HOOKED(hw, hook) 0
#endif

/* Ring memory is shared with the device: every access is one atomic load or store of the field's
 * width. */
static inline void dma_store16(struct hw *hw, le16 *p, uint16_t val)
{
	if (HW_HOOKED(hw, dma_store))
		hw->ops->dma_store(hw, p, htole16(val), 2);
	else
		__atomic_store_n(&p->v, htole16(val), __ATOMIC_RELAXED);
}

static inline void dma_store32(struct hw *hw, le32 *p, uint32_t val)
{
	if (HW_HOOKED(hw, dma_store))
		hw->ops->dma_store(hw, p, htole32(val), 4);
	else
		__atomic_store_n(&p->v, htole32(val), __ATOMIC_RELAXED);
}

static inline void dma_store64(struct hw *hw, le64 *p, uint64_t val)
{
	if (HW_HOOKED(hw, dma_store))
		hw->ops->dma_store(hw, p, htole64(val), 8);
	else
		__atomic_store_n(&p->v, htole64(val), __ATOMIC_RELAXED);
}

static inline void dma_store8(struct hw *hw, uint8_t *p, uint8_t val)
{
	if (HW_HOOKED(hw, dma_store))
		hw->ops->dma_store(hw, p, val, 1);
	else
		__atomic_store_n(p, val, __ATOMIC_RELAXED);
}

static inline uint8_t dma_load8(struct hw *hw, const uint8_t *p)
{
	if (HW_HOOKED(hw, dma_load))
		return (uint8_t)hw->ops->dma_load(hw, p, 1);
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static inline uint16_t dma_load16(struct hw *hw, const le16 *p)
{
	if (HW_HOOKED(hw, dma_load))
		return le16toh((uint16_t)hw->ops->dma_load(hw, p, 2));
	return le16toh(__atomic_load_n(&p->v, __ATOMIC_RELAXED));
}

static inline uint32_t dma_load32(struct hw *hw, const le32 *p)
{
	if (HW_HOOKED(hw, dma_load))
		return le32toh((uint32_t)hw->ops->dma_load(hw, p, 4));
	return le32toh(__atomic_load_n(&p->v, __ATOMIC_RELAXED));
}

/* Stores before it are seen by the device before stores after it. */
static inline void dma_wmb(struct hw *hw)
{
	if (HW_HOOKED(hw, dma_barrier))
		hw->ops->dma_barrier(hw, HW_WMB);
	atomic_thread_fence(memory_order_release);
}

/* Loads before it are done before loads after it. */
static inline void dma_rmb(struct hw *hw)
{
	if (HW_HOOKED(hw, dma_barrier))
		hw->ops->dma_barrier(hw, HW_RMB);
	atomic_thread_fence(memory_order_acquire);
}

/* Stores before it are seen before loads after it are done. */
static inline void dma_mb(struct hw *hw)
{
	if (HW_HOOKED(hw, dma_barrier))
		hw->ops->dma_barrier(hw, HW_MB);
	atomic_thread_fence(memory_order_seq_cst);
}

#define HW_DRIVER_UIO  "uio_pci_generic"
#define HW_DRIVER_VFIO "vfio-pci"

/* Open the function at ADDRESS (0000:00:05.0) by the kernel driver that it is bound to; takes its
 * exclusive lock. DMA memory grows as dma_alloc asks: with UIO a hugetlbfs file named for ADDRESS,
 * with VFIO ordinary memory. On failure a one-line reason that says what to do is in ERR. */
int hw_open(const char *address, struct hw **out, char *err, size_t err_bytes);
#endif
