/* vhost_proto.h - vhost-user messages on a Unix socket, as its front-end sends and receives them.
 *
 * One request is outstanding at a time. A message that is not what is due, by type, flags or size,
 * is -EPROTO: the stream is of no use any more. So it is after -ENODEV (closed by the back-end) and
 * -ETIMEDOUT. -EREMOTEIO: the back-end refuses the request, and goes on.
 *
 * Threads: one at a time per channel. */
#ifndef VBLKFS_VHOST_PROTO_H
#define VBLKFS_VHOST_PROTO_H
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vup_request {
	VUP_GET_FEATURES = 1,
	VUP_SET_FEATURES = 2,
	VUP_SET_OWNER = 3,
	VUP_SET_MEM_TABLE = 5,
	VUP_SET_VRING_NUM = 8,
	VUP_SET_VRING_ADDR = 9,
	VUP_SET_VRING_BASE = 10,
	VUP_GET_VRING_BASE = 11,
	VUP_SET_VRING_KICK = 12,
	VUP_SET_VRING_CALL = 13,
	VUP_GET_PROTOCOL_FEATURES = 15,
	VUP_SET_PROTOCOL_FEATURES = 16,
	VUP_GET_QUEUE_NUM = 17,
	VUP_SET_VRING_ENABLE = 18,
	VUP_SET_BACKEND_REQ_FD = 21,
	VUP_GET_CONFIG = 24,
	VUP_SET_CONFIG = 25,
	VUP_GET_INFLIGHT_FD = 31,
	VUP_SET_INFLIGHT_FD = 32,
	VUP_GET_MAX_MEM_SLOTS = 36,
	VUP_ADD_MEM_REG = 37,
};

enum vup_backend_request { VUP_BACKEND_CONFIG_CHANGE = 2 };

#define VUP_VERSION        1U
#define VUP_VERSION_MASK   3U
#define VUP_REPLY          4U
#define VUP_NEED_REPLY     8U
#define VUP_F_LOG          26 /* feature bit: it can log what it writes, for a migration */
#define VUP_F_PROTOCOL     30 /* feature bit: protocol features exist */
#define VUP_PROTO_MQ       0
#define VUP_PROTO_ACK      3 /* any request may ask for a reply */
#define VUP_PROTO_BACKEND  5 /* the back-end has requests, too */
#define VUP_PROTO_CONFIG   9
#define VUP_PROTO_INFLIGHT 12 /* the back-end's notes of what it has outlive it */
#define VUP_PROTO_SLOTS    15 /* memory is added region by region */
#define VUP_REGIONS_MAX    8U /* in a table */
#define VUP_CONFIG_MAX     256U

/* Payloads; in the byte order of the host. */
struct vup_vring_state {
	uint32_t index, num;
};

struct vup_vring_addr { /* addresses are the front-end's own */
	uint32_t index, flags;
	uint64_t desc, used, avail, log;
};
static_assert(sizeof(struct vup_vring_addr) == 40, "vhost-user");

struct vup_region {
	uint64_t guest_addr; /* as descriptors have it */
	uint64_t bytes;
	uint64_t user_addr; /* as vring addresses have it */
	uint64_t mmap_offset;
};

struct vup_mem_table {
	uint32_t nr_regions, pad;
	struct vup_region region[VUP_REGIONS_MAX];
};

struct vup_mem_reg {
	uint64_t pad;
	struct vup_region region;
};
static_assert(sizeof(struct vup_mem_reg) == 40, "vhost-user");

struct vup_inflight { /* a file, and for how much it has room */
	uint64_t bytes, offset;
	uint16_t nr_queues, queue_size, pad[2];
};
static_assert(sizeof(struct vup_inflight) == 24, "vhost-user");

struct vup_config {
	uint32_t offset, bytes, flags;
	uint8_t data[VUP_CONFIG_MAX];
};
#define VUP_CONFIG_HEADER offsetof(struct vup_config, data)

struct vup_channel {
	int fd;
	bool ack; /* VUP_PROTO_ACK: requests without a reply of their own are acknowledged */
};

/* -ENOENT, -ECONNREFUSED and the like: nobody listens there. */
int vup_connect(const char *path, int *fd);

/* BYTES of payload and up to VUP_REGIONS_MAX descriptors, which stay the caller's. Waits for the
 * acknowledgement, if there is one. */
int vup_set(struct vup_channel *ch, enum vup_request request, const void *payload, uint32_t bytes,
	const int *fds, unsigned nr_fds);
int vup_set_u64(struct vup_channel *ch, enum vup_request request, uint64_t val);
/* Send BYTES of PAYLOAD, and have it overwritten by as many, or as few as MIN, of the reply. How
 * many, or an error. */
int vup_get(struct vup_channel *ch, enum vup_request request, void *payload, uint32_t bytes,
	uint32_t min);
int vup_get_u64(struct vup_channel *ch, enum vup_request request, uint64_t *val);
/* All BYTES, and with them a descriptor, which is the caller's to close; -1: none came. */
int vup_get_fd(
	struct vup_channel *ch, enum vup_request request, void *payload, uint32_t bytes, int *fd);

/* The back-end's requests, on a socket of their own: the next one's number. Its payload is not
 * looked at. */
int vup_next_request(int fd, bool *need_reply);
int vup_reply(int fd, uint32_t request, uint64_t val);
#endif
