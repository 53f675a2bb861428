/* backend.c - see backend.h. */
#include <errno.h>
#include <string.h>
#include "backend.h"
#include "dma.h"
#include "shm.h"
#include "world.h"

#define PATIENCE      80U  /* sleeps, then it gives in */
#define PATIENCE_GONE 200U /* sleeps, then it dies, and nobody comes after it */
#define SLEEPS_MAX    4000U
#define NO_SUCCESSOR  UINT32_MAX
#define NOTES_BYTES   4096U

struct header {
	uint32_t request, flags, bytes;
};

struct message {
	struct header h;
	union {
		uint64_t u64;
		struct vup_vring_state state;
		struct vup_vring_addr addr;
		struct vup_mem_table table;
		struct vup_mem_reg reg;
		struct vup_inflight inflight;
		struct vup_config config;
	} u;
};

/* --- its end --- */

static void let_go(int *file)
{
	if (*file >= 0)
		fds_put(*file);
	*file = -1;
}

static void drop_files(struct backend_in *in)
{
	for (unsigned i = 0; i < in->nr_files; i++)
		fds_put(in->file[i]);
	in->nr_files = 0;
	in->nr = 0;
}

static void hang_up(struct backend *b)
{
	let_go(&b->channel);
	drop_files(&b->in_channel);
}

/* The notes stay. */
static void disconnect(struct backend *b)
{
	let_go(&b->conn);
	drop_files(&b->in);
	hang_up(b);
	for (unsigned i = 0; i < BACKEND_QUEUES; i++) {
		let_go(&b->queue[i].kick);
		let_go(&b->queue[i].call);
		b->queue[i].live = false;
		b->queue[i].enabled = false;
	}
	b->agreed = b->acked = 0;
	b->said_queues = b->said_slots = 1; /* where it is not asked */
	b->has_said_features = b->garbles = false;
	b->nr_pages = b->nr_regions = 0;
	b->has_notes = b->was_given_notes = false;
	b->dies = false;
}

static void forget_notes(struct backend *b)
{
	let_go(&b->notes);
	b->blk.nr_taken = 0;
}

/* --- rings --- */

static struct dev_ring *ring_of(struct backend *b, unsigned queue)
{
	struct backend_queue *q = &b->queue[queue % BACKEND_QUEUES];

	return q->live && q->enabled && b->conn >= 0 && fds_is_connected(b->conn) ? &q->ring : NULL;
}

static bool is_told(const struct backend *b, uint64_t addr, uint64_t bytes)
{
	return addr >= FZ_DMA_BASE &&
	       addr + bytes <= FZ_DMA_BASE + (uint64_t)b->nr_pages * DMA_PAGE_BYTES;
}

static void check_memory(const struct backend *b, const struct dev_chain *c)
{
	for (unsigned i = 0; i < c->nr; i++)
		FZ_CHECK(b->blk.dirty || is_told(b, fz_dma_addr(shm_dma(), c->seg[i].mem, NULL),
						 c->seg[i].bytes),
			"a request leads to memory that the back-end was not told of");
}

static bool take(struct backend *b, unsigned queue)
{
	struct dev_ring *ring = ring_of(b, queue);

	if (ring == NULL || !dev_blk_take(&b->blk, ring, queue % BACKEND_QUEUES))
		return false;
	check_memory(b, &b->blk.taken[b->blk.nr_taken - 1].chain);
	return true;
}

static void call(struct backend *b, unsigned queue)
{
	int file = b->queue[queue % BACKEND_QUEUES].call;

	if (file >= 0)
		fds_add(file);
}

static void finish(struct backend *b, unsigned i, uint8_t status)
{
	unsigned queue = b->blk.taken[i].queue;
	struct dev_ring *ring = ring_of(b, queue);

	if (ring == NULL)
		return; /* it is in the notes */
	dev_blk_finish(&b->blk, ring, i, status);
	call(b, queue);
}

/* The first of those whose ring is there. */
static bool finish_one(struct backend *b)
{
	for (unsigned i = 0; i < b->blk.nr_taken; i++)
		if (ring_of(b, b->blk.taken[i].queue) != NULL) {
			finish(b, i, VIRTIO_BLK_S_OK);
			return true;
		}
	return false;
}

void backend_serve(struct backend *b)
{
	unsigned limit = 1000; /* a ring full of lies may have more to take than was ever there */

	for (unsigned i = 0; i < BACKEND_QUEUES; i++)
		while (limit-- > 0 && (finish_one(b) || take(b, i)))
			continue;
}

static uint16_t nr_in_flight(const struct backend *b, unsigned queue)
{
	uint16_t nr = 0;

	for (unsigned i = 0; i < b->blk.nr_taken; i++)
		nr += b->blk.taken[i].queue == queue;
	return nr;
}

static uint16_t index_at(uint64_t addr) /* of a ring's part, the driver's or the device's */
{
	const struct vring_used *part =
		(const struct vring_used *)fz_dma_host(shm_dma(), addr, sizeof(*part));

	return part == NULL ? 0 : le16_get(part->idx);
}

static void start_ring(struct backend *b, unsigned queue)
{
	struct backend_queue *q = &b->queue[queue];
	bool there = q->size <= UINT16_MAX &&
		     dev_ring_start(&q->ring, shm_dma(), false, (uint16_t)q->size, q->addr.desc,
			     q->addr.avail, q->addr.used);

	FZ_CHECK(there, "a ring is not in DMA memory");
	FZ_CHECK(is_told(b, q->addr.desc, q->size * 16U) &&
			 is_told(b, q->addr.avail, 6 + q->size * 2U) &&
			 is_told(b, q->addr.used, 6 + q->size * 8U),
		"a ring is in memory that the back-end was not told of");
	FZ_CHECK(b->was_given_notes || (q->base == 0 && index_at(q->addr.avail) == 0 &&
					       index_at(q->addr.used) == 0),
		"a ring that is not empty, and no notes of it");
	if (!b->has_notes) {
		dev_blk_forget(&b->blk, queue);
		b->blk.dirty &= queue > 0; /* all of them begin anew */
	}
	q->ring.used = q->base;
	q->ring.avail = (uint16_t)(q->base + nr_in_flight(b, queue));
	q->live = true;
	q->enabled = !(b->acked >> VUP_F_PROTOCOL & 1);
}

/* --- replies --- */

static unsigned make_files(struct backend *b, int file[FDS_PASS_MAX], unsigned nr)
{
	for (; b->pass > 0 && nr < FDS_PASS_MAX; b->pass--)
		file[nr++] = fds_new(FDS_EVENT);
	b->pass = 0;
	return nr;
}

/* The driver is bound by what it was told. */
static void note_answer(struct backend *b, uint32_t request, const uint8_t *payload)
{
	uint64_t val;

	memcpy(&val, payload, sizeof(val));
	if (b->garbles)
		val = UINT64_MAX;
	if (request == VUP_GET_FEATURES && !b->has_said_features) {
		b->said_features = val;
		b->has_said_features = true;
	} else if (request == VUP_GET_QUEUE_NUM) {
		b->said_queues = val;
	} else if (request == VUP_GET_MAX_MEM_SLOTS) {
		b->said_slots = val;
	}
}

static void send(struct backend *b, const struct message *m, int with)
{
	uint8_t wire[1024] = {0};
	int file[FDS_PASS_MAX];
	size_t bytes = sizeof(m->h) + m->h.bytes;
	unsigned nr = 0;

	if (b->withholds)
		let_go(&with);
	if (with >= 0)
		file[nr++] = with;
	nr = make_files(b, file, nr);
	memcpy(wire, &m->h, sizeof(m->h));
	memcpy(wire + sizeof(m->h), &m->u, m->h.bytes);
	if (b->patches)
		memcpy(wire + b->patch_at % bytes, &b->patch, sizeof(b->patch));
	b->garbles |= b->cuts || b->twice;
	note_answer(b, m->h.request, wire + sizeof(m->h));
	if (b->cuts)
		bytes = b->length % sizeof(wire);
	if (b->dies && b->die_at < bytes)
		bytes = b->die_at;
	b->patches = b->cuts = b->withholds = false;
	fds_push(b->conn, wire, bytes, file, nr);
	if (b->dies)
		disconnect(b);
}

/* WITH: a file to pass, or -1. */
static void reply(struct backend *b, struct message *m, uint32_t bytes, int with)
{
	m->h.flags = VUP_VERSION | VUP_REPLY;
	m->h.bytes = bytes;
	if (b->silent) {
		b->silent = false;
		let_go(&with);
		return;
	}
	send(b, m, with);
	if (b->twice && b->conn >= 0)
		send(b, m, -1);
	b->twice = false;
}

static void reply_u64(struct backend *b, struct message *m, uint64_t val)
{
	m->u.u64 = val;
	reply(b, m, sizeof(val), -1);
}

static void reply_config(struct backend *b, struct message *m)
{
	uint32_t off = m->u.config.offset, bytes = m->u.config.bytes;

	FZ_CHECK(m->h.bytes == VUP_CONFIG_HEADER + bytes && bytes <= sizeof(b->config) && off == 0,
		"GET_CONFIG of %u bytes at %u", bytes, off);
	if (bytes > b->config_bytes) {
		reply(b, m, 0, -1);
		return;
	}
	memcpy(m->u.config.data, b->config, bytes);
	reply(b, m, m->h.bytes, -1);
}

static void reply_notes(struct backend *b, struct message *m)
{
	FZ_CHECK(m->u.inflight.nr_queues > 0 && m->u.inflight.queue_size > 0, "no notes wanted");
	forget_notes(b);
	b->notes = fds_new(FDS_MEMORY);
	fds_get(b->notes);
	m->u.inflight.bytes = NOTES_BYTES;
	reply(b, m, m->h.bytes, b->notes);
}

static void reply_base(struct backend *b, struct message *m)
{
	struct backend_queue *q = &b->queue[m->u.state.index % BACKEND_QUEUES];

	FZ_CHECK(m->u.state.index < BACKEND_QUEUES, "ring %u", m->u.state.index);
	m->u.state.num = q->ring.avail;
	q->live = false;
	let_go(&q->kick);
	let_go(&q->call);
	dev_blk_forget(&b->blk, m->u.state.index % BACKEND_QUEUES);
	reply(b, m, sizeof(m->u.state), -1);
}

/* --- what it is told --- */

/* It may have been told of it before, and have refused it, or have seemed to. */
static void add_region(struct backend *b, const struct vup_region *r, int file)
{
	uint64_t told = (uint64_t)b->nr_pages * DMA_PAGE_BYTES,
		 all = (uint64_t)DMA_PAGES_MAX * DMA_PAGE_BYTES;

	FZ_CHECK(file == shm_file(), "a region of another file");
	FZ_CHECK(r->bytes > 0 && r->bytes % DMA_PAGE_BYTES == 0 && r->mmap_offset <= told &&
			 r->bytes <= all - r->mmap_offset &&
			 r->user_addr == FZ_DMA_BASE + r->mmap_offset &&
			 r->guest_addr == r->user_addr,
		"a region of 0x%llx bytes at 0x%llx, behind 0x%llx", (long long)r->bytes,
		(long long)r->mmap_offset, (long long)told);
	if (r->mmap_offset + r->bytes <= told)
		return;
	b->nr_pages = (unsigned)((r->mmap_offset + r->bytes) / DMA_PAGE_BYTES);
	b->nr_regions++;
	FZ_CHECK(b->nr_regions <= b->said_slots, "%u regions", b->nr_regions);
}

static void set_table(struct backend *b, const struct message *m)
{
	const struct vup_mem_table *table = &m->u.table;

	FZ_CHECK(table->nr_regions == b->in.nr_files &&
			 m->h.bytes == 8 + table->nr_regions * sizeof(table->region[0]),
		"a table of %u regions", table->nr_regions);
	b->nr_pages = b->nr_regions = 0;
	for (uint32_t i = 0; i < table->nr_regions; i++)
		add_region(b, &table->region[i], b->in.file[i]);
}

/* The one descriptor of a message, whose it is now. */
static int take_file(struct backend_in *in)
{
	FZ_CHECK(in->nr_files == 1, "%u descriptors", in->nr_files);
	in->nr_files = 0;
	return in->file[0];
}

static int take_event(struct backend_in *in)
{
	int file = take_file(in);

	FZ_CHECK(fds_kind(file) == FDS_EVENT, "no eventfd for a ring");
	return file;
}

static void set_notes(struct backend *b)
{
	b->was_given_notes = true;
	b->has_notes = b->in.file[0] == b->notes;
	if (!b->has_notes)
		forget_notes(b);
}

static void set_config(struct backend *b, const struct message *m)
{
	uint32_t off = m->u.config.offset, bytes = m->u.config.bytes;

	FZ_CHECK(m->h.bytes == VUP_CONFIG_HEADER + bytes && off < sizeof(b->config) &&
			 bytes <= sizeof(b->config) - off,
		"SET_CONFIG of %u bytes at %u", bytes, off);
	memcpy(b->config + off, m->u.config.data, bytes);
}

/* Has to do with a ring. */
static void set_vring(struct backend *b, const struct message *m)
{
	struct backend_queue *q = &b->queue[m->u.state.index % BACKEND_QUEUES];

	FZ_CHECK(m->u.state.index < BACKEND_QUEUES && m->u.state.index < b->said_queues, "ring %u",
		m->u.state.index);
	switch (m->h.request) {
	case VUP_SET_VRING_NUM:
		q->size = m->u.state.num;
		break;
	case VUP_SET_VRING_ADDR:
		q->addr = m->u.addr;
		break;
	case VUP_SET_VRING_BASE:
		q->base = (uint16_t)m->u.state.num;
		break;
	case VUP_SET_VRING_ENABLE:
		q->enabled = m->u.state.num != 0;
		break;
	case VUP_SET_VRING_CALL:
		let_go(&q->call);
		q->call = take_event(&b->in);
		break;
	default:
		let_go(&q->kick);
		q->kick = take_event(&b->in);
		start_ring(b, m->u.state.index);
	}
}

static void set(struct backend *b, const struct message *m)
{
	switch (m->h.request) {
	case VUP_SET_OWNER:
		break;
	case VUP_SET_FEATURES:
		FZ_CHECK((m->u.u64 & ~b->said_features) == 0, "features 0x%llx of 0x%llx",
			(long long)m->u.u64, (long long)b->said_features);
		b->acked = m->u.u64;
		break;
	case VUP_SET_PROTOCOL_FEATURES:
		b->agreed = m->u.u64;
		break;
	case VUP_SET_BACKEND_REQ_FD:
		hang_up(b);
		b->channel = take_file(&b->in);
		break;
	case VUP_SET_MEM_TABLE:
		set_table(b, m);
		break;
	case VUP_ADD_MEM_REG:
		add_region(b, &m->u.reg.region, b->in.file[0]);
		break;
	case VUP_SET_INFLIGHT_FD:
		set_notes(b);
		break;
	case VUP_SET_CONFIG:
		set_config(b, m);
		break;
	default:
		set_vring(b, m);
	}
}

/* --- messages --- */

static const struct rule {
	uint32_t request;
	uint32_t min, max; /* bytes */
	unsigned nr_files; /* a table has its own number */
	int needs;         /* a bit of the protocol's features; -1: none */
	bool asks;
} rules[] = {
	{VUP_GET_FEATURES, 0, 0, 0, -1, true},
	{VUP_SET_FEATURES, 8, 8, 0, -1, false},
	{VUP_SET_OWNER, 0, 0, 0, -1, false},
	{VUP_SET_MEM_TABLE, 8, sizeof(struct vup_mem_table), 0, -1, false},
	{VUP_SET_VRING_NUM, 8, 8, 0, -1, false},
	{VUP_SET_VRING_ADDR, 40, 40, 0, -1, false},
	{VUP_SET_VRING_BASE, 8, 8, 0, -1, false},
	{VUP_GET_VRING_BASE, 8, 8, 0, -1, true},
	{VUP_SET_VRING_KICK, 8, 8, 1, -1, false},
	{VUP_SET_VRING_CALL, 8, 8, 1, -1, false},
	{VUP_GET_PROTOCOL_FEATURES, 0, 0, 0, -1, true},
	{VUP_SET_PROTOCOL_FEATURES, 8, 8, 0, -1, false},
	{VUP_GET_QUEUE_NUM, 0, 0, 0, VUP_PROTO_MQ, true},
	{VUP_SET_VRING_ENABLE, 8, 8, 0, -1, false},
	{VUP_SET_BACKEND_REQ_FD, 0, 0, 1, VUP_PROTO_BACKEND, false},
	{VUP_GET_CONFIG, 12, 12 + 256, 0, VUP_PROTO_CONFIG, true},
	{VUP_SET_CONFIG, 12, 12 + 256, 0, VUP_PROTO_CONFIG, false},
	{VUP_GET_INFLIGHT_FD, 24, 24, 0, VUP_PROTO_INFLIGHT, true},
	{VUP_SET_INFLIGHT_FD, 24, 24, 1, VUP_PROTO_INFLIGHT, false},
	{VUP_GET_MAX_MEM_SLOTS, 0, 0, 0, VUP_PROTO_SLOTS, true},
	{VUP_ADD_MEM_REG, 40, 40, 1, VUP_PROTO_SLOTS, false},
};
#define NR_RULES (sizeof(rules) / sizeof(rules[0]))

static const struct rule *check_rule(const struct backend *b, const struct message *m)
{
	const struct rule *r = rules;
	bool acks = b->agreed >> VUP_PROTO_ACK & 1;

	while (r < rules + NR_RULES && r->request != m->h.request)
		r++;
	FZ_CHECK(r < rules + NR_RULES, "request %u", m->h.request);
	FZ_CHECK(m->h.bytes >= r->min && m->h.bytes <= r->max, "request %u of %u bytes",
		m->h.request, m->h.bytes);
	FZ_CHECK(m->h.flags == (VUP_VERSION | (acks && !r->asks ? VUP_NEED_REPLY : 0)),
		"request %u with flags %u", m->h.request, m->h.flags);
	FZ_CHECK(r->needs < 0 || b->agreed >> r->needs & 1, "request %u was not agreed on",
		m->h.request);
	FZ_CHECK(b->in.nr_files == r->nr_files || r->request == VUP_SET_MEM_TABLE,
		"request %u with %u descriptors", m->h.request, b->in.nr_files);
	return r;
}

static void answer(struct backend *b, struct message *m)
{
	switch (m->h.request) {
	case VUP_GET_FEATURES:
		reply_u64(b, m, b->features);
		break;
	case VUP_GET_PROTOCOL_FEATURES:
		reply_u64(b, m, b->proto);
		break;
	case VUP_GET_QUEUE_NUM:
		reply_u64(b, m, b->max_queues);
		break;
	case VUP_GET_MAX_MEM_SLOTS:
		reply_u64(b, m, b->max_slots);
		break;
	case VUP_GET_CONFIG:
		reply_config(b, m);
		break;
	case VUP_GET_INFLIGHT_FD:
		reply_notes(b, m);
		break;
	default:
		reply_base(b, m);
	}
}

static void act(struct backend *b, const struct backend_event *e);

/* Something happens, a message of the type REQUEST, or anything (0): what was armed for it happens
 * first. */
static void tick(struct backend *b, uint32_t request)
{
	for (unsigned i = 0; i < b->nr_armed;) {
		struct backend_event event = b->armed[i].event;

		if (b->armed[i].request != request ||
			(request == 0 && --b->armed[i].countdown > 0)) {
			i++;
			continue;
		}
		b->armed[i] = b->armed[--b->nr_armed];
		act(b, &event);
	}
}

static void handle(struct backend *b, struct message *m)
{
	const struct rule *r = check_rule(b, m);
	uint64_t refusal;

	tick(b, m->h.request);
	if (b->conn < 0)
		return;
	refusal = b->refuses ? b->refusal : 0;
	if (r->asks) {
		answer(b, m);
		return;
	}
	if (m->h.flags & VUP_NEED_REPLY)
		b->refuses = false;
	else
		refusal = 0;
	if (refusal == 0)
		set(b, m);
	if (m->h.flags & VUP_NEED_REPLY)
		reply_u64(b, m, refusal);
}

/* Up to BYTES of a message are there. */
static bool gather(struct backend_in *in, int file, size_t bytes)
{
	while (in->nr < bytes) {
		unsigned nr;
		int passed[FDS_PASS_MAX];
		size_t n = fds_pull(file, in->bytes + in->nr, bytes - in->nr, passed, &nr);

		for (unsigned i = 0; i < nr; i++) {
			FZ_CHECK(in->nr_files < FDS_PASS_MAX, "descriptors without end");
			in->file[in->nr_files++] = passed[i];
		}
		if (n == 0)
			return false;
		in->nr += n;
	}
	return true;
}

static bool gather_message(struct backend_in *in, int file, struct message *out)
{
	if (file < 0 || !gather(in, file, sizeof(out->h)))
		return false;
	memset(out, 0, sizeof(*out));
	memcpy(&out->h, in->bytes, sizeof(out->h));
	FZ_CHECK(out->h.bytes <= sizeof(out->u), "a message of %u bytes", out->h.bytes);
	if (!gather(in, file, sizeof(out->h) + out->h.bytes))
		return false;
	memcpy(&out->u, in->bytes + sizeof(out->h), out->h.bytes);
	return true;
}

static void check_reply(const struct message *m)
{
	FZ_CHECK(m->h.bytes == 8 && m->h.flags == (VUP_VERSION | VUP_REPLY),
		"a reply of %u bytes, flags %u", m->h.bytes, m->h.flags);
	FZ_CHECK((m->u.u64 == 0) == (m->h.request == VUP_BACKEND_CONFIG_CHANGE),
		"request %u was answered by %llu", m->h.request, (long long)m->u.u64);
}

static void on_sent(void *arg, int file)
{
	struct backend *b = arg;
	struct message m;

	tick(b, 0);
	while (file == b->conn && gather_message(&b->in, b->conn, &m)) {
		handle(b, &m);
		drop_files(&b->in);
	}
	while (file == b->channel && gather_message(&b->in_channel, b->channel, &m)) {
		check_reply(&m);
		drop_files(&b->in_channel);
	}
}

static int on_connect(void *arg, int file)
{
	static const int errors[] = {ECONNREFUSED, ENOENT, EAGAIN, EINTR, EACCES, ENOTSOCK};
	struct backend *b = arg;

	tick(b, 0);
	if (b->nr_refused > 0) {
		if (b->nr_refused != NO_SUCCESSOR)
			b->nr_refused--;
		return errors[b->nr_refused % (sizeof(errors) / sizeof(errors[0]))];
	}
	disconnect(b);
	b->conn = file;
	return 0;
}

const struct fds_ops backend_fds_ops = {.connect = on_connect, .sent = on_sent};

/* --- lies --- */

static void patch(uint8_t *mem, size_t bytes, uint32_t at, uint32_t value)
{
	at %= (uint32_t)bytes;
	memcpy(mem + at, &value, bytes - at < 4 ? bytes - at : 4);
}

/* All zeros: the configuration changed, no reply wanted. */
static void ask(struct backend *b, const struct backend_event *e)
{
	uint8_t wire[512] = {0};
	const struct header h = {.request = VUP_BACKEND_CONFIG_CHANGE ^ (e->value & 0xff),
		.flags = VUP_VERSION ^ (e->value >> 8 & 0xff),
		.bytes = e->arg};
	size_t bytes = sizeof(h) + (e->value >> 24) + e->arg;
	int file[FDS_PASS_MAX];
	unsigned nr;

	if (b->channel < 0)
		return;
	if (bytes > sizeof(wire))
		bytes = sizeof(wire);
	if (e->value >> 16 & 1) /* a part of it */
		bytes = e->arg % bytes;
	memcpy(wire, &h, sizeof(h));
	nr = make_files(b, file, 0);
	fds_push(b->channel, wire, bytes, file, nr);
}

static void fail_next(uint32_t value)
{
	static const int errors[] = {
		EINTR, EAGAIN, ECONNRESET, EPIPE, ENOMEM, EIO, ENOBUFS, ETOOMANYREFS};

	fds_fail(errors[value % (sizeof(errors) / sizeof(errors[0]))]);
}

static void act_on_ring(struct backend *b, const struct backend_event *e)
{
	struct dev_ring *ring = ring_of(b, e->arg);

	if (ring == NULL)
		return;
	b->blk.dirty = true; /* a request may seem done that is not */
	if (e->act == BACKEND_USE)
		dev_ring_use(ring, e->value & 0xffff, e->value >> 16, 1);
	else if (e->act == BACKEND_JUMP)
		dev_ring_jump(ring, (uint16_t)e->value);
	else
		dev_ring_scribble(ring, e->arg / BACKEND_QUEUES, e->value);
	call(b, e->arg);
}

static void act_on_messages(struct backend *b, const struct backend_event *e)
{
	switch (e->act) {
	case BACKEND_PATCH:
		b->patches = true;
		b->patch_at = e->arg;
		b->patch = e->value;
		break;
	case BACKEND_LENGTH:
		b->cuts = true;
		b->length = e->arg;
		break;
	case BACKEND_SILENT:
		b->silent = true;
		break;
	case BACKEND_TWICE:
		b->twice = true;
		break;
	case BACKEND_PASS:
		b->pass = e->arg % (FDS_PASS_MAX + 1);
		b->withholds = e->value & 1;
		break;
	case BACKEND_REFUSE:
		b->refuses = true;
		b->refusal = e->value;
		break;
	case BACKEND_TRICKLE:
		fds_trickle(e->arg);
		break;
	case BACKEND_CUT:
		fds_cut(e->arg);
		break;
	case BACKEND_FAIL:
		fail_next(e->value);
		break;
	case BACKEND_ASK:
		ask(b, e);
		break;
	default:
		hang_up(b);
	}
}

static void act(struct backend *b, const struct backend_event *e)
{
	switch (e->act) {
	case BACKEND_DIE:
		b->dies = e->arg > 0;
		b->die_at = e->arg;
		b->nr_refused = b->dies ? b->nr_refused : e->value % 64;
		if (!b->dies)
			disconnect(b);
		break;
	case BACKEND_CONFIG:
		patch(b->config, sizeof(b->config), e->arg, e->value);
		break;
	case BACKEND_SHORT:
		b->config_bytes = e->arg;
		break;
	case BACKEND_FEATURES:
		b->features ^= (uint64_t)e->value << e->arg % 64;
		break;
	case BACKEND_PROTO:
		b->proto ^= (uint64_t)e->value << e->arg % 64;
		break;
	case BACKEND_LIMITS:
		b->max_queues = e->arg;
		b->max_slots = e->value;
		break;
	case BACKEND_CALL:
		call(b, e->arg);
		break;
	case BACKEND_TAKE:
		(void)take(b, e->arg);
		break;
	case BACKEND_FINISH:
		if (b->blk.nr_taken > 0)
			finish(b, e->arg % b->blk.nr_taken, (uint8_t)e->value);
		break;
	case BACKEND_HOLD:
		b->hold = e->value & 1;
		break;
	case BACKEND_CANT:
		world_fail_next();
		break;
	case BACKEND_USE:
	case BACKEND_JUMP:
	case BACKEND_SCRIBBLE:
		act_on_ring(b, e);
		break;
	default:
		act_on_messages(b, e);
	}
}

void backend_do(struct backend *b, unsigned when, const struct backend_event *event)
{
	if (when == 0) {
		act(b, event);
	} else if (b->nr_armed < BACKEND_ARMED_MAX) {
		b->armed[b->nr_armed].countdown = when;
		b->armed[b->nr_armed].request =
			when < BACKEND_AT ? 0 : rules[(when - BACKEND_AT) % NR_RULES].request;
		b->armed[b->nr_armed++].event = *event;
	}
}

/* --- time --- */

void backend_settle(struct backend *b)
{
	b->nr_armed = 0;
	b->hold = b->patches = b->cuts = b->silent = b->twice = b->refuses = b->dies =
		b->withholds = false;
	b->pass = 0;
	fds_trickle(0);
	fds_cut(0);
	fds_fail(0);
}

void backend_die(struct backend *b)
{
	disconnect(b);
	b->nr_refused = NO_SUCCESSOR;
}

void backend_sleep(struct backend *b)
{
	tick(b, 0);
	if (++b->sleeps == PATIENCE)
		backend_settle(b);
	if (b->sleeps == PATIENCE_GONE)
		backend_die(b);
	FZ_CHECK(b->sleeps < SLEEPS_MAX, "it waits for a back-end that is gone");
	if (!b->hold)
		backend_serve(b);
}

void backend_go_on(struct backend *b)
{
	b->sleeps = 0;
}

/* --- as it begins --- */

#define BIT(n) (1ULL << (n))

static void fill_config(struct backend *b)
{
	const struct virtio_blk_config c = dev_blk_config(BACKEND_QUEUES);

	memcpy(b->config, &c, sizeof(c));
	b->config_bytes = sizeof(c);
}

void backend_begin(struct backend *b)
{
	memset(b, 0, offsetof(struct backend, blk.taken));
	b->conn = b->channel = b->notes = -1;
	for (unsigned i = 0; i < BACKEND_QUEUES; i++)
		b->queue[i].kick = b->queue[i].call = -1;
	b->features = BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_BLK_SIZE) |
		      BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_TOPOLOGY) |
		      BIT(VIRTIO_BLK_F_CONFIG_WCE) | BIT(VIRTIO_BLK_F_MQ) |
		      BIT(VIRTIO_BLK_F_DISCARD) | BIT(VIRTIO_BLK_F_WRITE_ZEROES) |
		      BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX) |
		      BIT(VUP_F_PROTOCOL) | BIT(VIRTIO_F_VERSION_1);
	b->proto = BIT(VUP_PROTO_MQ) | BIT(VUP_PROTO_ACK) | BIT(VUP_PROTO_BACKEND) |
		   BIT(VUP_PROTO_CONFIG) | BIT(VUP_PROTO_INFLIGHT) | BIT(VUP_PROTO_SLOTS);
	b->max_queues = BACKEND_QUEUES;
	b->max_slots = VUP_REGIONS_MAX;
	fill_config(b);
}

void backend_end(struct backend *b)
{
	disconnect(b);
	forget_notes(b);
}
