/* fuzz_ring.c - the rings alone, both layouts, against a device that writes what the input says.
 *
 *	| layout and features 1 | size 1 | act 1, its arguments | act ... |
 *
 * What must hold: no access outside of DMA memory; a token comes back once, and only when it was
 * shown to the device; a device that never lied finds exactly what was added, and its queue is
 * never broken. */
#include <stdlib.h>
#include <string.h>
#include "fz.h"
#include "dev_ring.h"
#include "virtqueue.h"

#define NR_TOKENS 128U /* no ring here is larger */
#define SEGS_MAX  128U
#define BUF_BYTES 4096U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum state { FREE, ADDED, SHOWN };

struct token {
	enum state state;
	unsigned nr, nr_out;
	uint32_t sizes; /* what seg_bytes() makes of them */
};

static struct {
	struct hw hw; /* first */
	struct fz_dma dma;
	struct virtio_device vdev;
	struct virtqueue *vq;
	struct dev_ring ring;
	struct token token[NR_TOKENS];
	struct dev_chain chain, next; /* taken last, not used; as it is taken */
	bool holds, in_order;
	bool lied;
	uint8_t *buf;
} t;

static void *hw_alloc(struct hw *hw, size_t bytes)
{
	(void)hw;
	return fz_dma_alloc(&t.dma, bytes);
}

static void hw_free(struct hw *hw, void *mem, size_t bytes)
{
	(void)hw;
	fz_dma_free(&t.dma, mem, bytes);
}

static uint64_t hw_addr(struct hw *hw, const void *mem, size_t *contig)
{
	(void)hw;
	return fz_dma_addr(&t.dma, mem, contig);
}

static const struct hw_ops hw_ops = {
	.dma_alloc = hw_alloc, .dma_free = hw_free, .dma_addr = hw_addr};

static void connect_device(void)
{
	struct vq_addresses addr;

	vq_get_addresses(t.vq, &addr);
	FZ_CHECK(dev_ring_start(&t.ring, &t.dma, virtio_has_feature(&t.vdev, VIRTIO_F_RING_PACKED),
			 t.vq->size, addr.desc, addr.driver, addr.device),
		"the ring's parts are not in DMA memory");
	t.holds = false;
	t.lied = false;
}

static bool open_queue(struct fz_input *in)
{
	static const uint16_t sizes[] = {
		1, 2, 2, 4, 4, 4, 8, 8, 8, 8, 16, 16, 16, 32, 64, 128}; /* large ones are slow */
	const struct virtqueue_info info = {.name = "fuzz"};
	uint8_t features = (uint8_t)fz_take(in, 1);
	uint16_t size = sizes[fz_take(in, 1) % 16];

	t.vdev.features = 1ULL << VIRTIO_F_VERSION_1 |
			  (uint64_t)(features & 1) << VIRTIO_F_RING_PACKED |
			  (uint64_t)(features >> 1 & 1) << VIRTIO_RING_F_EVENT_IDX |
			  (uint64_t)(features >> 2 & 1) << VIRTIO_RING_F_INDIRECT_DESC |
			  (uint64_t)(features >> 3 & 1) << VIRTIO_F_IN_ORDER;
	t.in_order = virtio_has_feature(&t.vdev, VIRTIO_F_IN_ORDER);
	if (vq_create(&t.vdev, 0, size, &info, &t.vq) < 0)
		return false;
	connect_device();
	return true;
}

static uint32_t seg_bytes(const struct token *token, unsigned i)
{
	return 1 + (token->sizes >> i % 4 * 8 & 0xff);
}

static uint64_t seg_addr(unsigned i)
{
	return fz_dma_addr(&t.dma, t.buf + i * 8, NULL);
}

static struct token *free_token(void)
{
	for (unsigned i = 0; i < t.vq->size; i++)
		if (t.token[i].state == FREE)
			return &t.token[i];
	return NULL;
}

static void add(struct fz_input *in)
{
	struct vq_seg seg[SEGS_MAX];
	struct token *token = free_token();
	unsigned max = vq_max_segs(t.vq), nr = 1 + (unsigned)fz_take(in, 1) % max;
	unsigned nr_out = (unsigned)fz_take(in, 1) % (nr + 1);
	bool room = vq_has_room(t.vq, nr);
	int err;

	FZ_CHECK(max <= t.vq->size && max <= NR_TOKENS, "lists of %u", max);
	if (nr > SEGS_MAX)
		return;
	FZ_CHECK(token != NULL || !room, "room for more requests than entries");
	if (token == NULL)
		return;
	*token = (struct token){.nr = nr, .nr_out = nr_out, .sizes = (uint32_t)fz_take(in, 4)};
	for (unsigned i = 0; i < nr; i++)
		seg[i] = (struct vq_seg){.addr = seg_addr(i), .bytes = seg_bytes(token, i)};
	err = vq_add(t.vq, seg, nr_out, nr - nr_out, token);
	FZ_CHECK((err == 0) == room, "vq_add: %d, and vq_has_room() said %d", err, room);
	if (err == 0)
		token->state = ADDED;
}

static void show(void)
{
	bool broken = t.vq->broken;

	(void)vq_kick_prepare(t.vq);
	for (unsigned i = 0; !broken && i < t.vq->size; i++)
		if (t.token[i].state == ADDED)
			t.token[i].state = SHOWN;
	FZ_CHECK(broken || vq_nr_unkicked(t.vq) == 0, "not all was shown");
}

/* A request keeps an entry at the least. */
static void check_room(void)
{
	unsigned nr = 0;

	for (unsigned i = 0; i < t.vq->size; i++)
		nr += t.token[i].state != FREE;
	if (nr == t.vq->size || !virtio_has_feature(&t.vdev, VIRTIO_RING_F_INDIRECT_DESC))
		FZ_CHECK(!vq_has_room(t.vq, t.vq->size - nr + 1), "more room than entries");
}

static void get(void)
{
	bool broken = t.vq->broken;
	struct token *token = vq_get_buf(t.vq);

	FZ_CHECK(t.lied || !t.vq->broken, "an honest device's queue is broken");
	if (token == NULL) {
		check_room();
		return;
	}
	FZ_CHECK(!broken, "a broken queue gives something back");
	FZ_CHECK(token->state == SHOWN, "a token comes back in state %d", token->state);
	token->state = FREE;
}

/* An honest device takes a request: it is one of those that were shown, whole. */
static void check_chain(const struct dev_chain *c)
{
	const struct token *token;

	FZ_CHECK(c->sane, "descriptors that make no sense");
	for (token = t.token; token < t.token + t.vq->size; token++) {
		unsigned i = 0;

		if (token->state != SHOWN || token->nr != c->nr)
			continue;
		while (i < c->nr && c->seg[i].mem == t.buf + i * 8 &&
			c->seg[i].bytes == seg_bytes(token, i) &&
			c->seg[i].writable == (i >= token->nr_out))
			i++;
		if (i == c->nr)
			return;
	}
	fz_fail("the device has a request that was not given to it");
}

/* With IN_ORDER several may be held, and the last one's used entry speaks for all. */
static void take(void)
{
	uint16_t skip = t.holds ? t.chain.skip : 0;

	if (t.holds && !t.in_order)
		return;
	if (!dev_ring_take(&t.ring, &t.next))
		return;
	t.chain = t.next;
	t.chain.skip = (uint16_t)(t.chain.skip + skip);
	t.holds = true;
	if (!t.lied)
		check_chain(&t.chain);
}

static void use(struct fz_input *in)
{
	uint32_t bytes = (uint32_t)fz_take(in, 1);

	if (!t.holds)
		return;
	t.holds = false;
	if (bytes > t.chain.in_bytes)
		bytes = (uint32_t)t.chain.in_bytes;
	dev_ring_use(&t.ring, t.chain.id, bytes, t.chain.skip);
}

static void lie(struct fz_input *in)
{
	uint8_t how = (uint8_t)fz_take(in, 1);

	t.lied = true;
	if (how % 4 == 0)
		dev_ring_jump(&t.ring, (uint16_t)fz_take(in, 2));
	else if (how % 4 == 1)
		dev_ring_use(&t.ring, (uint32_t)fz_take(in, 4), (uint32_t)fz_take(in, 4), how / 4);
	else if (how % 4 == 2)
		dev_ring_use(&t.ring, (uint8_t)fz_take(in, 1), (uint8_t)fz_take(in, 1), how / 4);
	else
		dev_ring_scribble(
			&t.ring, (uint32_t)fz_take(in, 2), (uint32_t)fz_take(in, how & 4 ? 4 : 2));
}

static void reset(void)
{
	vq_reset(t.vq);
	FZ_CHECK(!t.vq->broken && vq_has_room(t.vq, vq_max_segs(t.vq)), "not as new after a reset");
	memset(t.token, 0, sizeof(t.token));
	connect_device();
}

static void act(struct fz_input *in)
{
	switch (fz_take(in, 1) % 12) {
	case 0:
	case 1:
		add(in);
		break;
	case 2:
	case 3:
		show();
		break;
	case 4:
	case 5:
		get();
		break;
	case 6:
		take();
		break;
	case 7:
		use(in);
		break;
	case 8: /* one round of both */
		show();
		take();
		use(in);
		get();
		break;
	case 9:
		if (vq_enable_cb(t.vq))
			vq_disable_cb(t.vq);
		break;
	case 10:
		lie(in);
		break;
	default:
		if (fz_take(in, 1) == 0)
			reset();
		else
			vq_disable_cb(t.vq);
	}
}

/* All that the device was shown comes back. */
static void finish(void)
{
	struct fz_input none = {0};

	for (unsigned i = 0; i <= t.vq->size; i++) {
		take();
		use(&none);
		get();
	}
	for (unsigned i = 0; i <= t.vq->size && t.in_order; i++)
		get(); /* what one entry spoke for */
	for (unsigned i = 0; i < t.vq->size && !t.lied; i++)
		FZ_CHECK(t.token[i].state != SHOWN, "an honest device's request is lost");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct fz_input in = {.at = data, .left = bytes};

	memset(t.token, 0, sizeof(t.token));
	fz_dma_begin(&t.dma);
	t.hw.ops = &hw_ops;
	t.vdev.hw = &t.hw;
	t.buf = fz_dma_alloc(&t.dma, BUF_BYTES);
	if (open_queue(&in)) {
		while (in.left > 0)
			act(&in);
		finish();
		vq_destroy(t.vq, false);
	}
	fz_dma_free(&t.dma, t.buf, BUF_BYTES);
	FZ_CHECK(t.dma.live == 0, "%zu bytes of DMA memory are not freed", t.dma.live);
	return 0;
}
