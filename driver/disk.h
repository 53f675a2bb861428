/* disk.h - open a disk by the name a user gives it.
 *
 * Names: 0000:00:05.0 or 00:05.0 or virtio:0000:00:05.0 (a PCI function bound to uio_pci_generic
 * or vfio-pci), serial=ID (the one of those that has it; in any case), vhost-user:/path.sock (the
 * socket of a vhost-user-blk back-end); anything else is the path of an image file. */
#ifndef VBLKFS_DISK_H
#define VBLKFS_DISK_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "blockdev.h"

struct disk_opts {
	bool read_only;     /* never write; an image is opened read-only */
	uint32_t max_rings; /* 0: as many as the disk has */
	uint32_t ring_size; /* 0: the disk's own; else a power of two, 2 to 32768 */
	bool poll_only;     /* never sleep on the interrupt */
	bool write_through; /* switch its write cache off */
	uint32_t timeout_s; /* a request that takes longer has the device reset; 0: none */
	bool queue_reset; /* its queue alone, first: the device is known to forget what it had of it */
	/* It has another size now; may be NULL. In a thread of the driver's. */
	void (*resized)(void *arg, uint64_t nr_sectors);
	void *resized_arg;
};

/* OPTS may be NULL. On failure ERR has one line for the user. */
int disk_open(const char *source, const struct disk_opts *opts, struct blockdev **out, char *err,
	size_t err_bytes);
/* The first that IS_IT likes, of the bound disks that are free: each is opened. */
typedef bool (*disk_is_it_fn)(struct blockdev *dev, const void *arg);
int disk_find(disk_is_it_fn is_it, const void *arg, const struct disk_opts *opts,
	struct blockdev **out, char *err, size_t err_bytes);
/* The value in KEY=VALUE, KEY in any case; NULL: SOURCE has another form. */
const char *disk_tag(const char *source, const char *key);
/* The PCI address that SOURCE is, by its form, as 0000:00:05.0 into OUT; false: SOURCE has another
 * form. */
bool disk_parse_address(const char *source, char *out, size_t bytes);
bool disk_is_pci(const char *source);
/* The socket that SOURCE names; NULL: it has another form. */
const char *disk_socket(const char *source);

int image_open(const char *path, const struct disk_opts *opts, struct blockdev **out, char *err,
	size_t err_bytes);
int vblk_open(const char *address, const struct disk_opts *opts, struct blockdev **out, char *err,
	size_t err_bytes);
int vblk_open_socket(const char *path, const struct disk_opts *opts, struct blockdev **out,
	char *err, size_t err_bytes);

/* A disk in memory, for tests: zeroed, NR_SECTORS long. */
int mem_disk_open(uint64_t nr_sectors, struct blockdev **out);
#endif
