/* hw_open.h - what the ways to open a function have in common: what to tell the user, the lock.
 *
 * hw_open() (hw.h) looks at the function, takes its lock and calls the one that belongs to the
 * kernel driver that the function is bound to. */
#ifndef VBLKFS_HW_OPEN_H
#define VBLKFS_HW_OPEN_H
#include "hw.h"

#define PCI_DEVICES "/sys/bus/pci/devices"

struct hw_reason { /* where the one line goes that says why it failed */
	const char *address;
	char *text;
	size_t bytes;
};

/* Both return ERR, a negative errno. */
int hw_fail(const struct hw_reason *why, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
int hw_fail_errno(const struct hw_reason *why, int err, const char *what);

/* The exclusive lock of a function, until *LOCK_FD is closed: nobody opens it meanwhile. -EBUSY. */
int hw_lock(const struct hw_reason *why, int *lock_fd);

/* LOCK_FD, if it is not -1, is the hardware's, for its close(), on success only. */
int hw_uio_open(const struct hw_reason *why, int lock_fd, struct hw **out);
int hw_vfio_open(const struct hw_reason *why, int lock_fd, struct hw **out);

/* For both, see hw.h. */
void hw_sleep_us(struct hw *hw, uint32_t us);
uint64_t hw_nr_suspends(struct hw *hw);
#endif
