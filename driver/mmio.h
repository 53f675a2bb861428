/* mmio.h - registers that are mapped as memory: one access of the register's own width, in the
 * host's byte order. */
#ifndef VBLKFS_MMIO_H
#define VBLKFS_MMIO_H
#include <stdatomic.h>
#include <stdint.h>
#include "le.h"

static inline uint32_t mmio_read(volatile void *at, unsigned bytes)
{
	switch (bytes) {
	case 1:
		return *(volatile uint8_t *)at;
	case 2:
		return le16toh(*(volatile uint16_t *)at);
	default:
		return le32toh(*(volatile uint32_t *)at);
	}
}

static inline void mmio_write(volatile void *at, unsigned bytes, uint32_t val)
{
	/* Ring stores before a doorbell, on processors that may swap them (the register is uncached
	 * memory). */
	atomic_thread_fence(memory_order_release);
	switch (bytes) {
	case 1:
		*(volatile uint8_t *)at = (uint8_t)val;
		break;
	case 2:
		*(volatile uint16_t *)at = htole16((uint16_t)val);
		break;
	default:
		*(volatile uint32_t *)at = htole32(val);
	}
}
#endif
