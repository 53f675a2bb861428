/* qemu.h - a QEMU without a guest: a q35 machine with one virtio-blk disk, whose CPU never runs. Its
 * registers are reached by the qtest protocol, itself by QMP, and its memory and its disk are files
 * that this process has mapped.
 *
 * Whatever goes wrong ends the test, with QEMU's own words. It dies with the thread that started it.
 *
 * Threads: qemu_irq_wait() from one, all else from any. */
#ifndef VBLKFS_TESTS_QTEST_QEMU_H
#define VBLKFS_TESTS_QTEST_QEMU_H
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include "dma.h"

#define QEMU_DISK_BYTES (16U << 20)
#define QEMU_DISK_SLOT  5U /* on bus 0 */

struct qemu;

struct qemu_opts {
	/* More properties of the device, as "a=b,c=d" or as JSON's members, for those that have
	 * lists. Each of these may be NULL. */
	const char *device;
	const char *object, *object2; /* for options -object */
	const char *filter;           /* for an option -blockdev: node "top", over node "disk" */
	bool read_only;
};

bool qemu_is_there(void);
bool qemu_offers(const char *property); /* of the device */
struct qemu *qemu_start(const struct qemu_opts *opts);
void qemu_stop(struct qemu *q);

/* BYTES is 1, 2 or 4: so wide is the one access. */
uint32_t qemu_in(struct qemu *q, uint16_t port, int bytes);
void qemu_out(struct qemu *q, uint16_t port, int bytes, uint32_t val);
uint32_t qemu_read(struct qemu *q, uint64_t addr, int bytes);
void qemu_write(struct qemu *q, uint64_t addr, int bytes, uint32_t val);

/* Until a PCI interrupt line of the machine is high: 1, or WAKE_FD is readable: 0. */
int qemu_irq_wait(struct qemu *q, int wake_fd);

/* Its RAM, without what a PC keeps in its first megabyte. */
struct dma_arena *qemu_memory(struct qemu *q);
uint64_t qemu_memory_addr(const struct qemu *q, const void *mem); /* as the machine has it */

uint8_t *qemu_disk(struct qemu *q);      /* QEMU_DISK_BYTES, as they are in the image */
uint64_t qemu_disk_used(struct qemu *q); /* bytes of them for which the host has memory */

/* COMMAND, made as by printf(), is JSON. What it returns is the caller's. */
struct json_object *qemu_qmp(struct qemu *q, const char *command, ...)
	__attribute__((format(printf, 2, 3)));
#endif
