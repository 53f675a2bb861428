/* vhost_conn.c - see vhost_conn.h.
 *
 * Invariants
 *  1. Protocol features are spoken of only when bit 30 was offered, and a request that belongs to
 *     one is sent only when that one is agreed on.
 *  2. Only what the driver knows of the configuration is asked for: back-ends refuse more.
 *  3. A connection on which anything went wrong is shut down.
 *  4. After a request that may not be acknowledged, but that must have taken effect, one follows
 *     that has a reply. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "vhost_conn.h"

#define PROTO_KNOWN                                                                 \
	(1ULL << VUP_PROTO_MQ | 1ULL << VUP_PROTO_ACK | 1ULL << VUP_PROTO_BACKEND | \
		1ULL << VUP_PROTO_CONFIG | 1ULL << VUP_PROTO_INFLIGHT | 1ULL << VUP_PROTO_SLOTS)

static int fail(struct vhost_conn *c, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static int fail(struct vhost_conn *c, int err, const char *format, ...)
{
	va_list args;

	if (c->why[0] == '\0') {
		va_start(args, format);
		(void)vsnprintf(c->why, sizeof(c->why), format, args);
		va_end(args);
	}
	return err;
}

void vhc_shut(struct vhost_conn *c)
{
	if (c->ch.fd >= 0)
		(void)shutdown(c->ch.fd, SHUT_RDWR);
}

/* What went wrong at REQUEST, in words. */
static int check(struct vhost_conn *c, int err, const char *request)
{
	if (err >= 0)
		return err;
	if (err != -EREMOTEIO)
		vhc_shut(c);
	switch (err) {
	case -ENODEV:
		return fail(c, err, "the back-end closed the connection at %s", request);
	case -ETIMEDOUT:
		return fail(c, err, "the back-end does not answer %s: does it serve somebody else?",
			request);
	case -EPROTO:
		return fail(c, err, "the back-end broke the protocol at %s", request);
	case -EREMOTEIO:
		return fail(c, err, "the back-end refuses %s", request);
	default:
		return fail(c, err, "%s: %s", request, strerror(-err));
	}
}

static bool has(const struct vhost_conn *c, unsigned proto_bit)
{
	return c->proto >> proto_bit & 1;
}

static int agree_on_protocol(struct vhost_conn *c)
{
	uint64_t offered;
	int err;

	if (!(c->features >> VUP_F_PROTOCOL & 1))
		return 0;
	err = check(c, vup_get_u64(&c->ch, VUP_GET_PROTOCOL_FEATURES, &offered),
		"GET_PROTOCOL_FEATURES");
	if (err < 0)
		return err;
	err = check(c, vup_set_u64(&c->ch, VUP_SET_PROTOCOL_FEATURES, offered & PROTO_KNOWN),
		"SET_PROTOCOL_FEATURES");
	if (err < 0)
		return err;
	c->proto = offered & PROTO_KNOWN;
	c->ch.ack = has(c, VUP_PROTO_ACK);
	return 0;
}

static int read_limits(struct vhost_conn *c)
{
	uint64_t queues = 1, regions = 1; /* a table is not added to */
	int err = 0;

	if (has(c, VUP_PROTO_MQ))
		err = check(c, vup_get_u64(&c->ch, VUP_GET_QUEUE_NUM, &queues), "GET_QUEUE_NUM");
	if (err == 0 && has(c, VUP_PROTO_SLOTS))
		err = check(c, vup_get_u64(&c->ch, VUP_GET_MAX_MEM_SLOTS, &regions),
			"GET_MAX_MEM_SLOTS");
	if (err < 0)
		return err;
	if (queues == 0 || regions == 0)
		return fail(c, -EPROTO, "the back-end has %llu queues and %llu memory slots",
			(unsigned long long)queues, (unsigned long long)regions);
	c->max_queues = queues > UINT16_MAX ? UINT16_MAX : (uint32_t)queues;
	c->max_regions = regions > VUP_REGIONS_MAX ? VUP_REGIONS_MAX : (uint32_t)regions;
	return 0;
}

static int offer_backend_channel(struct vhost_conn *c)
{
	int pair[2], err;

	if (!has(c, VUP_PROTO_BACKEND))
		return 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return check(c, -errno, "socketpair");
	err = check(c, vup_set(&c->ch, VUP_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1),
		"SET_BACKEND_REQ_FD");
	close(pair[1]);
	if (err < 0)
		close(pair[0]);
	else
		c->backend_fd = pair[0];
	return err;
}

int vhc_read_config(struct vhost_conn *c)
{
	struct vup_config msg = {.bytes = sizeof(c->config)};
	uint32_t total = VUP_CONFIG_HEADER + sizeof(c->config);
	int n;

	/* Shorter ones: of back-ends that know no zones, no secure erase, or no discard. */
	static const uint32_t lengths[] = {sizeof(struct virtio_blk_config),
		offsetof(struct virtio_blk_config, zone_sectors),
		offsetof(struct virtio_blk_config, max_secure_erase_sectors),
		offsetof(struct virtio_blk_config, max_discard_sectors)};
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		msg = (struct vup_config){.bytes = lengths[i]};
		total = VUP_CONFIG_HEADER + lengths[i];
		n = check(c, vup_get(&c->ch, VUP_GET_CONFIG, &msg, total, 0), "GET_CONFIG");
		if (n < 0)
			return n;
		if ((uint32_t)n == total && msg.bytes == lengths[i]) {
			memcpy(c->config, msg.data, lengths[i]);
			c->config_bytes = lengths[i];
			return 0;
		}
		if (n != 0) /* empty: it is too much to ask */
			return fail(c, -EPROTO, "the back-end broke the protocol at GET_CONFIG");
	}
	return fail(c, -EPROTO, "the back-end does not give its configuration");
}

int vhc_write_config(struct vhost_conn *c, uint32_t off, const void *val, uint32_t bytes)
{
	struct vup_config msg = {.offset = off, .bytes = bytes};

	memcpy(msg.data, val, bytes);
	return check(c, vup_set(&c->ch, VUP_SET_CONFIG, &msg, VUP_CONFIG_HEADER + bytes, NULL, 0),
		"SET_CONFIG");
}

static int learn(struct vhost_conn *c)
{
	int err = check(c, vup_set(&c->ch, VUP_SET_OWNER, NULL, 0, NULL, 0), "SET_OWNER");

	if (err == 0)
		err = check(c, vup_get_u64(&c->ch, VUP_GET_FEATURES, &c->features), "GET_FEATURES");
	if (err == 0)
		err = agree_on_protocol(c);
	if (err == 0)
		err = read_limits(c);
	if (err == 0)
		err = offer_backend_channel(c);
	if (err < 0)
		return err;
	if (!has(c, VUP_PROTO_CONFIG))
		return fail(c, -EOPNOTSUPP, "the back-end has no configuration: no block device");
	return vhc_read_config(c);
}

int vhc_open(struct vhost_conn *c, const char *path)
{
	int err;

	*c = (struct vhost_conn){.ch = {.fd = -1}, .backend_fd = -1};
	err = vup_connect(path, &c->ch.fd);
	switch (err) {
	case 0:
		break;
	case -ENOENT:
	case -ECONNREFUSED:
		return fail(c, err, "no back-end listens there");
	case -ETIMEDOUT:
		return check(c, err, "the connection");
	default:
		return fail(c, err, "%s", strerror(-err));
	}
	err = learn(c);
	if (err < 0)
		vhc_close(c);
	return err;
}

void vhc_close(struct vhost_conn *c)
{
	if (c->ch.fd >= 0)
		close(c->ch.fd);
	if (c->backend_fd >= 0)
		close(c->backend_fd);
	c->ch.fd = -1;
	c->backend_fd = -1;
}

/* Invariant 4. */
static int settle(struct vhost_conn *c)
{
	uint64_t features;

	if (c->ch.ack)
		return 0;
	return check(c, vup_get_u64(&c->ch, VUP_GET_FEATURES, &features), "GET_FEATURES");
}

int vhc_set_features(struct vhost_conn *c, uint64_t features)
{
	return check(c,
		vup_set_u64(&c->ch, VUP_SET_FEATURES,
			features | (c->features & 1ULL << VUP_F_PROTOCOL)),
		"SET_FEATURES");
}

int vhc_add_memory(struct vhost_conn *c, const struct vup_region *region, int mem_fd)
{
	const struct vup_mem_reg msg = {.region = *region};
	int err = check(
		c, vup_set(&c->ch, VUP_ADD_MEM_REG, &msg, sizeof(msg), &mem_fd, 1), "ADD_MEM_REG");

	return err < 0 ? err : settle(c);
}

int vhc_set_memory(struct vhost_conn *c, const struct vup_region *region, unsigned nr, int mem_fd)
{
	struct vup_mem_table msg = {.nr_regions = nr};
	int fds[VUP_REGIONS_MAX], err = 0;

	if (has(c, VUP_PROTO_SLOTS)) {
		for (unsigned i = 0; i < nr && err == 0; i++)
			err = vhc_add_memory(c, &region[i], mem_fd);
		return err;
	}
	for (unsigned i = 0; i < nr; i++) {
		msg.region[i] = region[i];
		fds[i] = mem_fd;
	}
	err = check(c,
		vup_set(&c->ch, VUP_SET_MEM_TABLE, &msg,
			(uint32_t)(offsetof(struct vup_mem_table, region) +
				   nr * sizeof(msg.region[0])),
			fds, nr),
		"SET_MEM_TABLE");
	return err < 0 ? err : settle(c);
}

static int set_state(struct vhost_conn *c, enum vup_request request, uint32_t index, uint32_t num,
	const char *name)
{
	const struct vup_vring_state msg = {.index = index, .num = num};

	return check(c, vup_set(&c->ch, request, &msg, sizeof(msg), NULL, 0), name);
}

static int set_fd(
	struct vhost_conn *c, enum vup_request request, uint32_t index, int fd, const char *name)
{
	uint64_t msg = index;

	return check(c, vup_set(&c->ch, request, &msg, sizeof(msg), &fd, 1), name);
}

bool vhc_has_inflight(const struct vhost_conn *c)
{
	return has(c, VUP_PROTO_INFLIGHT);
}

int vhc_get_inflight(
	struct vhost_conn *c, uint16_t nr_queues, uint16_t queue_size, struct vhost_inflight *out)
{
	int err;

	out->is = (struct vup_inflight){.nr_queues = nr_queues, .queue_size = queue_size};
	err = vup_get_fd(&c->ch, VUP_GET_INFLIGHT_FD, &out->is, sizeof(out->is), &out->fd);
	if (err == 0 && out->fd < 0) {
		c->proto &= ~(1ULL << VUP_PROTO_INFLIGHT);
		return -ENODATA;
	}
	out->is.nr_queues = nr_queues;
	out->is.queue_size = queue_size;
	return check(c, err, "GET_INFLIGHT_FD");
}

int vhc_set_inflight(struct vhost_conn *c, const struct vhost_inflight *in)
{
	return check(c, vup_set(&c->ch, VUP_SET_INFLIGHT_FD, &in->is, sizeof(in->is), &in->fd, 1),
		"SET_INFLIGHT_FD");
}

int vhc_set_vring(struct vhost_conn *c, const struct vhost_vring *ring)
{
	const struct vup_vring_addr addr = {.index = ring->index,
		.desc = ring->desc,
		.used = ring->device,
		.avail = ring->driver};
	int err = set_state(c, VUP_SET_VRING_NUM, ring->index, ring->size, "SET_VRING_NUM");

	if (err == 0)
		err = set_state(c, VUP_SET_VRING_BASE, ring->index, ring->base, "SET_VRING_BASE");
	if (err == 0)
		err = check(c, vup_set(&c->ch, VUP_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0),
			"SET_VRING_ADDR");
	if (err == 0)
		err = set_fd(c, VUP_SET_VRING_CALL, ring->index, ring->call_fd, "SET_VRING_CALL");
	if (err == 0)
		err = set_fd(c, VUP_SET_VRING_KICK, ring->index, ring->kick_fd, "SET_VRING_KICK");
	return err;
}

int vhc_enable_vring(struct vhost_conn *c, uint16_t index, bool on)
{
	int err;

	if (!(c->features >> VUP_F_PROTOCOL & 1))
		return 0; /* rings are born enabled then */
	err = set_state(c, VUP_SET_VRING_ENABLE, index, on, "SET_VRING_ENABLE");
	return err < 0 ? err : settle(c); /* before the first kick, which is not sent this way */
}

int vhc_stop_vring(struct vhost_conn *c, uint16_t index)
{
	struct vup_vring_state msg = {.index = index};
	int err = vhc_enable_vring(c, index, false);

	if (err < 0)
		return err;
	err = check(c, vup_get(&c->ch, VUP_GET_VRING_BASE, &msg, sizeof(msg), sizeof(msg)),
		"GET_VRING_BASE");
	return err < 0 ? err : 0;
}
