/* vmock.c - see vmock.h. It speaks to one front-end at a time, and serves rings in the same
 * thread. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "vhost_proto.h"
#include "vmock.h"

#define QUEUES_MAX 8U
#define LOG_MAX    1024U
#define HELD_MAX   256U

/* What a back-end notes of a split ring, for its successor. */
struct notes {
	uint64_t features;
	uint16_t version, nr, last_head, used_idx;
	struct note {
		uint8_t inflight, pad[5];
		uint16_t next;
		uint64_t counter;
	} note[];
};
static_assert(sizeof(struct notes) == 16 && sizeof(struct note) == 16, "vhost-user");

struct ring {
	uint32_t size;
	const struct vring_desc *desc;
	const struct vring_avail *avail;
	struct vring_used *used;
	uint16_t last_avail, used_idx, base;
	struct notes *notes; /* NULL: of another back-end's making, or none */
	uint64_t counter;
	uint16_t again[HELD_MAX], nr_again; /* what the last one had */
	int kick_fd, call_fd;
	bool enabled;
};

struct region {
	struct vup_region is;
	uint8_t *mem;
};

struct vmock {
	struct vmock_config cfg;
	char dir[64], path[80];
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int wake_fd;
	atomic_bool stop;
	bool killed;

	int listen_fd, fd, backend_fd;
	bool ack, proto_known, writeback_set, told_mode;
	void *notes;
	struct vup_inflight inflight;
	ino_t notes_file; /* of the file that it made last */
	unsigned nr_again;
	uint64_t features;
	struct region region[VUP_REGIONS_MAX];
	unsigned nr_regions;
	struct ring ring[QUEUES_MAX];
	unsigned nr_held;

	int log[LOG_MAX];
	unsigned nr_log;
	char complaint[256];
	unsigned nr_done[32];
	uint8_t disk[VMOCK_DISK_BYTES];
};

void vmock_defaults(struct vmock_config *cfg)
{
	*cfg = (struct vmock_config){
		.features = 1ULL << VIRTIO_BLK_F_SEG_MAX | 1ULL << VIRTIO_BLK_F_BLK_SIZE |
			    1ULL << VIRTIO_BLK_F_FLUSH | 1ULL << VIRTIO_BLK_F_CONFIG_WCE |
			    1ULL << VIRTIO_BLK_F_MQ | 1ULL << VIRTIO_RING_F_INDIRECT_DESC |
			    1ULL << VIRTIO_RING_F_EVENT_IDX | 1ULL << VIRTIO_F_VERSION_1 |
			    1ULL << VUP_F_PROTOCOL,
		.proto = 1ULL << VUP_PROTO_MQ | 1ULL << VUP_PROTO_ACK | 1ULL << VUP_PROTO_BACKEND |
			 1ULL << VUP_PROTO_CONFIG | 1ULL << VUP_PROTO_SLOTS |
			 1ULL << VUP_PROTO_INFLIGHT | 1ULL << 1 | 1ULL << 13,
		.nr_queues = 2,
		.nr_slots = 32,
		.config_bytes = 60,
		.capacity = VMOCK_DISK_BYTES / 512,
	};
}

static void complain(struct vmock *v, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (v->complaint[0] == '\0')
		(void)vsnprintf(v->complaint, sizeof(v->complaint), format, args);
	va_end(args);
}

/* --- memory --- */

static void *by_addr(struct vmock *v, uint64_t addr, uint64_t bytes, bool guest)
{
	for (unsigned i = 0; i < v->nr_regions; i++) {
		const struct vup_region *r = &v->region[i].is;
		uint64_t from = guest ? r->guest_addr : r->user_addr;

		if (addr >= from && addr - from < r->bytes && bytes <= r->bytes - (addr - from))
			return v->region[i].mem + (addr - from);
	}
	complain(v, "VU7: 0x%llx is in no region", (unsigned long long)addr);
	return NULL;
}

static void add_region(struct vmock *v, const struct vup_region *r, int fd)
{
	struct region *to = &v->region[v->nr_regions];

	if (fd < 0 || v->nr_regions == VUP_REGIONS_MAX) {
		complain(v, "VU9: a region without a file, or too many");
		return;
	}
	to->is = *r;
	to->mem = mmap(NULL, r->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		(off_t)r->mmap_offset);
	if (to->mem == MAP_FAILED)
		complain(v, "VU9: a region can't be mapped");
	else
		v->nr_regions++;
}

/* --- rings --- */

static uint8_t transfer(struct vmock *v, uint32_t type, uint64_t at, uint8_t *mem, uint32_t bytes)
{
	if (type == VIRTIO_BLK_T_GET_ID) {
		memset(mem, 0, bytes);
		memcpy(mem, "MOCK", 4);
		return VIRTIO_BLK_S_OK;
	}
	if (at > VMOCK_DISK_BYTES || bytes > VMOCK_DISK_BYTES - at)
		return VIRTIO_BLK_S_IOERR;
	if (type == VIRTIO_BLK_T_IN)
		memcpy(mem, v->disk + at, bytes);
	else
		memcpy(v->disk + at, mem, bytes);
	return VIRTIO_BLK_S_OK;
}

/* One request: the descriptors at D, of which the first is HEAD. */
static void serve_request(struct vmock *v, const struct vring_desc *d, uint16_t head)
{
	const struct virtio_blk_outhdr *hdr = NULL;
	uint8_t status = VIRTIO_BLK_S_OK;
	uint64_t done = 0;

	for (uint16_t i = head;; i = le16_get(d[i].next)) {
		uint32_t bytes = le32_get(d[i].len);
		uint8_t *mem = by_addr(v, le64_get(d[i].addr), bytes, true);
		bool last = (le16_get(d[i].flags) & VRING_DESC_F_NEXT) == 0;

		if (mem == NULL)
			return;
		if (hdr == NULL) {
			hdr = (const void *)mem;
		} else if (last) {
			*mem = status;
			v->nr_done[le32_get(hdr->type) % 32]++;
			return;
		} else if (status == VIRTIO_BLK_S_OK) {
			status = transfer(v, le32_get(hdr->type),
				le64_get(hdr->sector) * 512 + done, mem, bytes);
			done += bytes;
		}
	}
}

static struct note *note_of(struct ring *r, uint16_t head)
{
	static struct note nowhere;

	return r->notes != NULL ? &r->notes->note[head] : &nowhere;
}

static void push_used(struct ring *r, uint32_t id)
{
	struct vring_used_elem *e = &r->used->ring[r->used_idx % r->size];

	e->id = le32_of(id);
	e->len = le32_of(1);
	r->used_idx++;
	__atomic_store_n(&r->used->idx.v, htole16(r->used_idx), __ATOMIC_RELEASE);
	if (r->call_fd >= 0)
		(void)eventfd_write(r->call_fd, 1);
}

/* In the order that a death in the middle can be told by. */
static void complete(struct vmock *v, struct ring *r, uint16_t head)
{
	const struct vring_desc *d = &r->desc[head];

	if (le16_get(d->flags) & VRING_DESC_F_INDIRECT) {
		const void *table = by_addr(v, le64_get(d->addr), le32_get(d->len), true);

		if (table != NULL)
			serve_request(v, table, 0);
	} else {
		serve_request(v, r->desc, head);
	}
	if (r->notes != NULL)
		r->notes->last_head = head;
	push_used(r, head);
	note_of(r, head)->inflight = 0;
	if (r->notes != NULL)
		r->notes->used_idx = r->used_idx;
}

static void do_again(struct vmock *v, struct ring *r)
{
	for (unsigned i = 0; i < r->nr_again && !v->cfg.hold; i++) {
		complete(v, r, r->again[i]);
		v->nr_again++;
	}
	if (!v->cfg.hold)
		r->nr_again = 0;
}

static bool has_new(const struct ring *r)
{
	return r->last_avail != le16toh(__atomic_load_n(&r->avail->idx.v, __ATOMIC_ACQUIRE));
}

static void take_new(struct vmock *v, struct ring *r)
{
	while (has_new(r)) {
		uint16_t head = le16_get(r->avail->ring[r->last_avail % r->size]);

		r->last_avail++;
		note_of(r, head)->counter = r->counter++;
		note_of(r, head)->inflight = 1;
		if (v->cfg.hold)
			v->nr_held++;
		else
			complete(v, r, head);
	}
}

static void serve_ring(struct vmock *v, struct ring *r)
{
	if (!r->enabled || r->used == NULL) {
		complain(v, "VU11: a kick before the ring was enabled");
		return;
	}
	do_again(v, r);
	do {
		take_new(v, r);
		/* EVENT_IDX: a kick is wanted for the next one. */
		*(le16 *)&r->used->ring[r->size] = le16_of(r->last_avail);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
	} while (has_new(r));
}

/* --- messages --- */

static bool send_all(struct vmock *v, int fd, const void *from, size_t bytes)
{
	const uint8_t *at = from;

	while (bytes > 0) {
		size_t step = v->cfg.in_pieces ? 1 : bytes;
		ssize_t n = send(fd, at, step, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		at += n;
		bytes -= (size_t)n;
	}
	return true;
}

#define FDS_MAX 3U

/* The first byte of FROM, with FD, NR times. */
static bool send_fd(int to, const void *from, int fd, unsigned nr)
{
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(FDS_MAX * sizeof(int))] = {0};
	struct iovec iov = {(void *)from, 1};
	struct msghdr msg = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = CMSG_SPACE(nr * sizeof(int))};

	*CMSG_FIRSTHDR(&msg) = (struct cmsghdr){.cmsg_len = CMSG_LEN(nr * sizeof(int)),
		.cmsg_level = SOL_SOCKET,
		.cmsg_type = SCM_RIGHTS};
	for (unsigned i = 0; i < nr; i++)
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)) + i * sizeof(fd), &fd, sizeof(fd));
	return sendmsg(to, &msg, MSG_NOSIGNAL) == 1;
}

static bool send_header(struct vmock *v, const uint32_t h[3], int fd, unsigned nr_fds)
{
	if (fd < 0)
		return send_all(v, v->fd, h, 12);
	return send_fd(v->fd, h, fd, nr_fds) && send_all(v, v->fd, (const uint8_t *)h + 1, 11);
}

static bool reply_fd(struct vmock *v, uint32_t request, const void *payload, uint32_t bytes, int fd)
{
	uint32_t h[3] = {request, VUP_VERSION | VUP_REPLY, bytes};
	uint8_t more[8] = {0};
	bool bad = request == v->cfg.bad_request;

	if (bad && v->cfg.how == BAD_CLOSE)
		return false;
	if (bad && v->cfg.how == BAD_TYPE)
		h[0]++;
	if (bad && v->cfg.how == BAD_FLAGS)
		h[1] = VUP_VERSION;
	if (bad && v->cfg.how == BAD_SIZE)
		h[2] += sizeof(more);
	if (bad && v->cfg.how == BAD_NO_FD)
		fd = -1;
	return send_header(v, h, fd, bad && v->cfg.how == BAD_MORE_FDS ? FDS_MAX : 1) &&
	       send_all(v, v->fd, payload, bytes) &&
	       (!bad || v->cfg.how != BAD_SIZE || send_all(v, v->fd, more, sizeof(more)));
}

static bool reply(struct vmock *v, uint32_t request, const void *payload, uint32_t bytes)
{
	return reply_fd(v, request, payload, bytes, -1);
}

static bool reply_u64(struct vmock *v, uint32_t request, uint64_t val)
{
	return reply(v, request, &val, sizeof(val));
}

static bool proto(const struct vmock *v, unsigned bit)
{
	return v->cfg.proto >> bit & 1;
}

static bool get_config(struct vmock *v, const struct vup_config *ask)
{
	struct vup_config out = *ask;
	struct virtio_blk_config c = {.capacity = le64_of(v->cfg.capacity),
		.seg_max = le32_of(126),
		.blk_size = le32_of(512),
		.writeback = v->cfg.writeback,
		.num_queues = le16_of((uint16_t)v->cfg.nr_queues),
		.max_secure_erase_sectors = le32_of(8),
		.max_secure_erase_seg = le32_of(1),
		.secure_erase_sector_alignment = le32_of(8)};

	if (ask->offset != 0 || ask->bytes > v->cfg.config_bytes)
		return reply(v, VUP_GET_CONFIG, NULL, 0);
	memcpy(out.data, &c, ask->bytes);
	return reply(v, VUP_GET_CONFIG, &out, VUP_CONFIG_HEADER + ask->bytes);
}

static void set_config(struct vmock *v, const struct vup_config *c)
{
	if (c->offset != offsetof(struct virtio_blk_config, writeback) || c->bytes != 1 ||
		c->flags != 0)
		complain(v, "VU6: SET_CONFIG of %u bytes at %u", c->bytes, c->offset);
	v->cfg.writeback = c->data[0];
	v->told_mode = true;
	v->writeback_set = true;
}

static struct notes *notes_of(struct vmock *v, uint32_t index)
{
	size_t bytes = sizeof(struct notes) + sizeof(struct note) * v->inflight.queue_size;

	if (v->notes == NULL)
		return NULL;
	if (index >= v->inflight.nr_queues || v->ring[index].size > v->inflight.queue_size)
		complain(v, "VU15: no place for ring %u", index);
	return (struct notes *)((uint8_t *)v->notes + bytes * index);
}

static bool make_notes(struct vmock *v, const struct vup_inflight *ask)
{
	struct vup_inflight out = *ask;
	struct stat st;
	bool ok;
	int fd = memfd_create("notes", MFD_CLOEXEC);

	out.bytes = (sizeof(struct notes) + sizeof(struct note) * ask->queue_size) * ask->nr_queues;
	if (fd < 0 || ftruncate(fd, (off_t)out.bytes) < 0 || fstat(fd, &st) < 0)
		abort();
	v->notes_file = st.st_ino;
	ok = reply_fd(v, VUP_GET_INFLIGHT_FD, &out, sizeof(out), fd);
	close(fd);
	return ok;
}

static void take_notes(struct vmock *v, const struct vup_inflight *in, int fd)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_ino != v->notes_file)
		complain(v, "VU15: not the file that the last back-end made");
	for (unsigned i = 0; i < QUEUES_MAX; i++)
		if (v->ring[i].used != NULL)
			complain(v, "VU15: SET_INFLIGHT_FD after ring %u", i);
	if (v->notes != NULL)
		(void)munmap(v->notes, v->inflight.bytes);
	v->inflight = *in;
	v->notes = mmap(NULL, in->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)in->offset);
	if (v->notes == MAP_FAILED)
		abort();
}

static void add_sorted(struct ring *r, uint16_t head)
{
	uint16_t i = r->nr_again++;

	for (; i > 0 && r->notes->note[r->again[i - 1]].counter > r->notes->note[head].counter; i--)
		r->again[i] = r->again[i - 1];
	r->again[i] = head;
}

/* A ring that the last back-end left. */
static void keep_ring(struct vmock *v, struct ring *r)
{
	if (!v->told_mode && (v->features >> VIRTIO_BLK_F_CONFIG_WCE & 1))
		complain(v, "BI4: a ring goes on before the cache mode is told");
	r->used_idx = le16_get(r->used->idx);
	if (r->notes->used_idx != r->used_idx)
		r->notes->note[r->notes->last_head].inflight = 0;
	r->notes->used_idx = r->used_idx;
	for (uint16_t i = 0; i < r->size; i++) {
		if (r->notes->note[i].inflight)
			add_sorted(r, i);
		if (r->notes->note[i].counter >= r->counter)
			r->counter = r->notes->note[i].counter + 1;
	}
	r->last_avail = r->used_idx + r->nr_again;
}

static void set_addr(struct vmock *v, const struct vup_vring_addr *a)
{
	struct ring *r = &v->ring[a->index % QUEUES_MAX];

	r->desc = by_addr(v, a->desc, 16ULL * r->size, false);
	r->avail = by_addr(v, a->avail, 6 + 2ULL * r->size, false);
	r->used = by_addr(v, a->used, 6 + 8ULL * r->size, false);
	if (r->used == NULL || r->avail == NULL)
		return;
	r->notes = notes_of(v, a->index);
	if (r->notes != NULL && r->notes->version != 0)
		keep_ring(v, r);
	else if (le16_get(r->avail->idx) != 0 || le16_get(r->used->idx) != 0)
		complain(v, "VU16: ring %u is not zeroed", a->index);
	if (r->base != le16_get(r->used->idx))
		complain(v, "VU15, VU16: base %u", r->base);
	if (r->notes != NULL) {
		r->notes->version = 1;
		r->notes->nr = (uint16_t)r->size;
	}
}

static void set_fd(struct vmock *v, uint64_t what, int fd, bool kick)
{
	struct ring *r = &v->ring[what % QUEUES_MAX];
	int *at = kick ? &r->kick_fd : &r->call_fd;

	if (fd < 0 || what > UINT8_MAX)
		complain(v, "VU10: a ring without a descriptor");
	*at = fd < 0 ? -1 : dup(fd);
	if (!kick && fd >= 0)
		(void)eventfd_write(fd, 1); /* VU12: with nothing used */
}

static void stop_ring(struct ring *r)
{
	if (r->kick_fd >= 0)
		close(r->kick_fd);
	if (r->call_fd >= 0)
		close(r->call_fd);
	*r = (struct ring){.kick_fd = -1, .call_fd = -1};
}

static void check_order(struct vmock *v, uint32_t request)
{
	static const struct {
		uint32_t request;
		unsigned bit;
	} needs[] = {{VUP_GET_QUEUE_NUM, VUP_PROTO_MQ}, {VUP_GET_CONFIG, VUP_PROTO_CONFIG},
		{VUP_SET_CONFIG, VUP_PROTO_CONFIG}, {VUP_GET_MAX_MEM_SLOTS, VUP_PROTO_SLOTS},
		{VUP_ADD_MEM_REG, VUP_PROTO_SLOTS}, {VUP_GET_INFLIGHT_FD, VUP_PROTO_INFLIGHT},
		{VUP_SET_INFLIGHT_FD, VUP_PROTO_INFLIGHT},
		{VUP_SET_BACKEND_REQ_FD, VUP_PROTO_BACKEND}};

	for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++)
		if (request == needs[i].request && (!v->proto_known || !proto(v, needs[i].bit)))
			complain(v, "VU3: request %u without its protocol feature", request);
	if (v->nr_log == 0 || (v->nr_log > 0 && v->log[v->nr_log - 1] != (int)request))
		if (v->nr_log < LOG_MAX)
			v->log[v->nr_log++] = (int)request;
}

union payload {
	uint64_t u64;
	struct vup_vring_state state;
	struct vup_vring_addr addr;
	struct vup_mem_table table;
	struct vup_mem_reg reg;
	struct vup_config config;
	struct vup_inflight inflight;
};

static bool set_table(
	struct vmock *v, const struct vup_mem_table *t, const int *fds, unsigned nr_fds)
{
	v->nr_regions = 0;
	if (t->nr_regions != nr_fds)
		complain(v, "VU9: %u regions, %u descriptors", t->nr_regions, nr_fds);
	for (unsigned i = 0; i < t->nr_regions && i < nr_fds; i++)
		add_region(v, &t->region[i], fds[i]);
	return true;
}

/* What is read out. False: end the connection. *REPLIED: there was a reply. */
static bool handle_get(struct vmock *v, uint32_t request, const union payload *p, bool *replied)
{
	struct vup_vring_state base;

	*replied = true;
	switch (request) {
	case VUP_GET_FEATURES:
		return reply_u64(v, request, v->cfg.features);
	case VUP_GET_PROTOCOL_FEATURES:
		if (!(v->cfg.features >> VUP_F_PROTOCOL & 1))
			complain(v, "VU3: protocol features without bit 30");
		return reply_u64(v, request, v->cfg.proto);
	case VUP_GET_QUEUE_NUM:
		return reply_u64(v, request, v->cfg.nr_queues);
	case VUP_GET_MAX_MEM_SLOTS:
		return reply_u64(v, request, v->cfg.nr_slots);
	case VUP_GET_CONFIG:
		return get_config(v, &p->config);
	case VUP_GET_INFLIGHT_FD:
		return make_notes(v, &p->inflight);
	case VUP_GET_VRING_BASE:
		base = (struct vup_vring_state){
			p->state.index, v->ring[p->state.index % QUEUES_MAX].last_avail};
		if (v->cfg.ends_at_stop)
			push_used(&v->ring[p->state.index % QUEUES_MAX], 0);
		stop_ring(&v->ring[p->state.index % QUEUES_MAX]);
		return reply(v, request, &base, sizeof(base));
	default:
		*replied = false;
		return true;
	}
}

static void handle_set(
	struct vmock *v, uint32_t request, const union payload *p, const int *fds, unsigned nr_fds)
{
	int fd = nr_fds > 0 ? fds[0] : -1;

	switch (request) {
	case VUP_SET_OWNER:
		break;
	case VUP_SET_FEATURES:
		v->features = p->u64;
		if (p->u64 & ~v->cfg.features)
			complain(v, "FE1: features that were not offered");
		break;
	case VUP_SET_PROTOCOL_FEATURES:
		v->proto_known = true;
		if (p->u64 & ~v->cfg.proto || p->u64 >> 13 & 1)
			complain(v, "VU3: protocol features 0x%llx", (unsigned long long)p->u64);
		v->ack = p->u64 >> VUP_PROTO_ACK & 1;
		break;
	case VUP_SET_BACKEND_REQ_FD:
		v->backend_fd = dup(fd);
		break;
	case VUP_SET_CONFIG:
		set_config(v, &p->config);
		break;
	case VUP_SET_INFLIGHT_FD:
		take_notes(v, &p->inflight, fd);
		break;
	case VUP_SET_MEM_TABLE:
		(void)set_table(v, &p->table, fds, nr_fds);
		break;
	case VUP_ADD_MEM_REG:
		add_region(v, &p->reg.region, fd);
		break;
	case VUP_SET_VRING_NUM:
		v->ring[p->state.index % QUEUES_MAX].size = p->state.num;
		break;
	case VUP_SET_VRING_BASE:
		v->ring[p->state.index % QUEUES_MAX].base = (uint16_t)p->state.num;
		break;
	case VUP_SET_VRING_ADDR:
		set_addr(v, &p->addr);
		break;
	case VUP_SET_VRING_KICK:
	case VUP_SET_VRING_CALL:
		set_fd(v, p->u64, fd, request == VUP_SET_VRING_KICK);
		break;
	case VUP_SET_VRING_ENABLE:
		v->ring[p->state.index % QUEUES_MAX].enabled = p->state.num;
		break;
	default:
		complain(v, "VU18: request %u", request);
	}
}

static bool read_all(int fd, void *to, size_t bytes)
{
	return bytes == 0 || recv(fd, to, bytes, MSG_WAITALL) == (ssize_t)bytes;
}

static bool read_header(int fd, uint32_t h[3], int *fds, unsigned *nr_fds)
{
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(VUP_REGIONS_MAX * sizeof(int))];
	struct iovec iov = {h, 12};
	struct msghdr msg = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control)};
	const struct cmsghdr *c;

	*nr_fds = 0;
	if (recvmsg(fd, &msg, MSG_WAITALL | MSG_CMSG_CLOEXEC) != 12)
		return false;
	c = CMSG_FIRSTHDR(&msg);
	if (c != NULL && c->cmsg_type == SCM_RIGHTS) {
		*nr_fds = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(c), *nr_fds * sizeof(int));
	}
	return true;
}

/* False: the connection has ended. */
static bool serve_message(struct vmock *v)
{
	union payload p = {0};
	uint32_t h[3];
	int fds[VUP_REGIONS_MAX];
	unsigned nr_fds;
	bool replied, go_on;

	if (!read_header(v->fd, h, fds, &nr_fds) || h[2] > sizeof(p) || !read_all(v->fd, &p, h[2]))
		return false;
	if ((h[1] & VUP_VERSION_MASK) != VUP_VERSION || ((h[1] & VUP_NEED_REPLY) != 0 && !v->ack))
		complain(v, "VU1: flags 0x%x of request %u", h[1], h[0]);
	check_order(v, h[0]);
	go_on = handle_get(v, h[0], &p, &replied);
	if (!replied) {
		bool refuse = h[0] == v->cfg.bad_request && v->cfg.how == BAD_REFUSED;

		if (h[0] == v->cfg.bad_request && v->cfg.how == BAD_CLOSE)
			return false;
		if (!refuse)
			handle_set(v, h[0], &p, fds, nr_fds);
		if (h[1] & VUP_NEED_REPLY)
			go_on = reply_u64(v, h[0], refuse);
	}
	for (unsigned i = 0; i < nr_fds; i++)
		close(fds[i]);
	return go_on;
}

/* --- life --- */

static void hang_up(struct vmock *v)
{
	for (unsigned i = 0; i < v->nr_regions; i++)
		(void)munmap(v->region[i].mem, v->region[i].is.bytes);
	v->nr_regions = 0;
	for (unsigned i = 0; i < QUEUES_MAX; i++)
		stop_ring(&v->ring[i]);
	if (v->notes != NULL)
		(void)munmap(v->notes, v->inflight.bytes);
	v->notes = NULL;
	if (v->backend_fd >= 0)
		close(v->backend_fd);
	if (v->fd >= 0)
		close(v->fd);
	v->fd = v->backend_fd = -1;
	v->ack = v->proto_known = v->told_mode = false;
	v->nr_held = 0;
}

static void listen_at(struct vmock *v)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", v->path);
	(void)unlink(v->path);
	v->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(v->listen_fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
		listen(v->listen_fd, 4) < 0)
		abort();
}

/* Caller holds the lock. */
static void do_as_told(struct vmock *v)
{
	if (v->killed && v->listen_fd >= 0) {
		hang_up(v);
		close(v->listen_fd);
		v->listen_fd = -1;
	} else if (!v->killed && v->listen_fd < 0) {
		listen_at(v);
	}
	pthread_cond_broadcast(&v->changed);
}

static void serve_kicks(struct vmock *v, const struct pollfd *pfd)
{
	eventfd_t count;

	for (unsigned i = 0; i < QUEUES_MAX; i++)
		if (v->ring[i].kick_fd >= 0 && pfd[i].fd == v->ring[i].kick_fd &&
			pfd[i].revents != 0) {
			(void)eventfd_read(v->ring[i].kick_fd, &count);
			serve_ring(v, &v->ring[i]);
		}
}

/* A kick may be for what was found before it came, and a message that stops the ring be next: in that
 * order. */
static void serve(struct vmock *v, const struct pollfd *pfd)
{
	eventfd_t count;

	pthread_mutex_lock(&v->lock);
	if (pfd[0].revents != 0)
		(void)eventfd_read(v->wake_fd, &count);
	do_as_told(v);
	serve_kicks(v, pfd + 3);
	if (v->listen_fd >= 0 && pfd[1].revents != 0 && v->fd < 0)
		v->fd = accept4(v->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	else if (v->fd >= 0 && pfd[2].revents != 0 && !serve_message(v))
		hang_up(v);
	pthread_cond_broadcast(&v->changed);
	pthread_mutex_unlock(&v->lock);
}

static void *vmock_main(void *arg)
{
	struct vmock *v = arg;
	struct pollfd pfd[3 + QUEUES_MAX];

	while (!v->stop) {
		pfd[0] = (struct pollfd){.fd = v->wake_fd, .events = POLLIN};
		pfd[1] = (struct pollfd){.fd = v->fd >= 0 ? -1 : v->listen_fd, .events = POLLIN};
		pfd[2] = (struct pollfd){.fd = v->fd, .events = POLLIN};
		for (unsigned i = 0; i < QUEUES_MAX; i++)
			pfd[3 + i] = (struct pollfd){.fd = v->ring[i].kick_fd, .events = POLLIN};
		if (poll(pfd, 3 + QUEUES_MAX, -1) > 0)
			serve(v, pfd);
	}
	return NULL;
}

struct vmock *vmock_start(const struct vmock_config *cfg)
{
	struct vmock *v = calloc(1, sizeof(*v));

	v->cfg = *cfg;
	(void)snprintf(v->dir, sizeof(v->dir), "/tmp/vmock.XXXXXX");
	if (mkdtemp(v->dir) == NULL)
		abort();
	(void)snprintf(v->path, sizeof(v->path), "%s/s", v->dir);
	pthread_mutex_init(&v->lock, NULL);
	pthread_cond_init(&v->changed, NULL);
	v->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	v->fd = v->backend_fd = -1;
	for (unsigned i = 0; i < QUEUES_MAX; i++)
		v->ring[i] = (struct ring){.kick_fd = -1, .call_fd = -1};
	listen_at(v);
	if (pthread_create(&v->thread, NULL, vmock_main, v) != 0)
		abort();
	return v;
}

static void wake(struct vmock *v)
{
	(void)eventfd_write(v->wake_fd, 1);
}

void vmock_stop(struct vmock *v)
{
	v->stop = true;
	wake(v);
	pthread_join(v->thread, NULL);
	hang_up(v);
	if (v->listen_fd >= 0)
		close(v->listen_fd);
	close(v->wake_fd);
	(void)unlink(v->path);
	(void)rmdir(v->dir);
	free(v);
}

static void tell(struct vmock *v, bool killed)
{
	pthread_mutex_lock(&v->lock);
	v->killed = killed;
	wake(v);
	while ((v->listen_fd < 0) != killed)
		pthread_cond_wait(&v->changed, &v->lock);
	pthread_mutex_unlock(&v->lock);
}

void vmock_kill(struct vmock *v)
{
	tell(v, true);
}

void vmock_return(struct vmock *v)
{
	tell(v, false);
}

const char *vmock_path(const struct vmock *v)
{
	return v->path;
}

struct vmock_config *vmock_config(struct vmock *v)
{
	return &v->cfg;
}

int vmock_request(struct vmock *v, unsigned i)
{
	int request;

	pthread_mutex_lock(&v->lock);
	request = i < v->nr_log ? v->log[i] : -1;
	pthread_mutex_unlock(&v->lock);
	return request;
}

unsigned vmock_count(struct vmock *v, int request)
{
	unsigned n = 0;

	pthread_mutex_lock(&v->lock);
	for (unsigned i = 0; i < v->nr_log; i++)
		n += v->log[i] == request;
	pthread_mutex_unlock(&v->lock);
	return n;
}

const char *vmock_complaint(struct vmock *v)
{
	pthread_mutex_lock(&v->lock); /* the first of them stays */
	pthread_mutex_unlock(&v->lock);
	return v->complaint;
}

bool vmock_holds(struct vmock *v, size_t at, const void *bytes, size_t nr)
{
	bool same;

	pthread_mutex_lock(&v->lock);
	same = memcmp(v->disk + at, bytes, nr) == 0;
	pthread_mutex_unlock(&v->lock);
	return same;
}

unsigned vmock_nr_held(struct vmock *v)
{
	unsigned n;

	pthread_mutex_lock(&v->lock);
	n = v->nr_held;
	pthread_mutex_unlock(&v->lock);
	return n;
}

unsigned vmock_nr_done(struct vmock *v, uint32_t type)
{
	unsigned n;

	pthread_mutex_lock(&v->lock);
	n = v->nr_done[type % 32];
	pthread_mutex_unlock(&v->lock);
	return n;
}

unsigned vmock_nr_again(struct vmock *v)
{
	unsigned n;

	pthread_mutex_lock(&v->lock);
	n = v->nr_again;
	pthread_mutex_unlock(&v->lock);
	return n;
}

uint8_t vmock_writeback(struct vmock *v)
{
	uint8_t mode;

	pthread_mutex_lock(&v->lock);
	mode = v->writeback_set ? v->cfg.writeback : 0xff;
	pthread_mutex_unlock(&v->lock);
	return mode;
}

int64_t vmock_change_capacity(struct vmock *v, uint64_t capacity)
{
	uint32_t h[3] = {VUP_BACKEND_CONFIG_CHANGE, VUP_VERSION | VUP_NEED_REPLY, 0};
	uint64_t ack;
	int fd;

	pthread_mutex_lock(&v->lock);
	v->cfg.capacity = capacity;
	fd = v->backend_fd;
	pthread_mutex_unlock(&v->lock);
	if (!send_all(v, fd, h, sizeof(h)) || !read_all(fd, h, sizeof(h)) ||
		!read_all(fd, &ack, sizeof(ack)))
		return -1;
	return (int64_t)ack;
}

void vmock_say_changed(struct vmock *v)
{
	const uint32_t h[3] = {VUP_BACKEND_CONFIG_CHANGE, VUP_VERSION, 0};

	pthread_mutex_lock(&v->lock);
	(void)send_all(v, v->backend_fd, h, sizeof(h));
	pthread_mutex_unlock(&v->lock);
}

void vmock_push_used(struct vmock *v, unsigned queue, uint32_t id)
{
	pthread_mutex_lock(&v->lock);
	push_used(&v->ring[queue], id);
	pthread_mutex_unlock(&v->lock);
}
