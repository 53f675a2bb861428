/* vhost_conn.h - one connection to a vhost-user back-end: what it offers, its configuration, the
 * memory and the rings that it is given.
 *
 * Errors as in vhost_proto.h; after any but -EREMOTEIO the connection is of no use. The first also
 * leaves one line for the user in `why`.
 *
 * Threads: one at a time. */
#ifndef VBLKFS_VHOST_CONN_H
#define VBLKFS_VHOST_CONN_H
#include "vhost_proto.h"
#include "virtio.h"

struct vhost_conn {
	struct vup_channel ch;    /* fd -1: not connected */
	int backend_fd;           /* the back-end's own requests; -1: it has none */
	uint64_t features, proto; /* features: offered; proto: agreed on */
	uint32_t max_queues, max_regions;
	uint8_t config[sizeof(struct virtio_blk_config)];
	uint32_t config_bytes;
	char why[128];
};

struct vhost_vring {
	uint16_t index, size;
	uint64_t desc, driver, device;
	uint16_t base; /* how many requests of it are done: of a ring that goes on */
	int kick_fd, call_fd;
};

/* Up to what the device offers. */
int vhc_open(struct vhost_conn *c, const char *path);
void vhc_close(struct vhost_conn *c); /* also one that is not open */
void vhc_shut(struct vhost_conn *c);  /* it ends, and whoever watches it notices */

/* The bits of virtio, without vhost-user's own. */
int vhc_set_features(struct vhost_conn *c, uint64_t features);
/* Instead of all that it had before; MEM_FD is behind each of them. */
int vhc_set_memory(struct vhost_conn *c, const struct vup_region *region, unsigned nr, int mem_fd);
/* One more; only where c->proto has VUP_PROTO_SLOTS. */
int vhc_add_memory(struct vhost_conn *c, const struct vup_region *region, int mem_fd);

/* Where the back-end notes what it has of all rings, so that the next one can go on with it: its file
 * is asked for once, and shown to each of them before the rings. */
struct vhost_inflight {
	int fd; /* -1: there is none */
	struct vup_inflight is;
};
bool vhc_has_inflight(const struct vhost_conn *c);
/* -ENODATA: the back-end gives no file; it has no notes then, and goes on. */
int vhc_get_inflight(
	struct vhost_conn *c, uint16_t nr_queues, uint16_t queue_size, struct vhost_inflight *out);
int vhc_set_inflight(struct vhost_conn *c, const struct vhost_inflight *in);

/* Rings, from index 0: zeroed ones, or such that go on. The back-end may serve them from vhc_enable_vring() on. */
int vhc_set_vring(struct vhost_conn *c, const struct vhost_vring *ring);
int vhc_enable_vring(struct vhost_conn *c, uint16_t index, bool on);
int vhc_stop_vring(struct vhost_conn *c, uint16_t index); /* it does not touch the ring any more */

int vhc_read_config(struct vhost_conn *c);
int vhc_write_config(struct vhost_conn *c, uint32_t off, const void *val, uint32_t bytes);
#endif
