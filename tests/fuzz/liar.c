/* liar.c - see liar.h. */
#include <errno.h>
#include <string.h>
#include "fds.h"
#include "liar.h"
#include "world.h"

#define LEGACY_BAR    0
#define BAR           4
#define COMMON_AT     0x0000U
#define ISR_AT        0x1000U
#define DEVICE_AT     0x2000U
#define NOTIFY_AT     0x3000U
#define BAR_BYTES     0x4000U
#define NOTIFY_EACH   4U
#define MSIX_AT       0x84 /* in configuration space */
#define PCI_COMMAND   0x04
#define PCI_MASTER    0x04
#define COMMON(field) offsetof(struct virtio_pci_common_cfg, field)
#define CONFIG(field) offsetof(struct virtio_blk_config, field)
#define PATIENCE      80U     /* sleeps, then it gives in */
#define PATIENCE_GONE 160U    /* sleeps, then it goes away */
#define PATIENT_FOR   100000U /* sleeps in a run, then no longer: the longest limits, once */
#define SLEEPS_MAX    2000U   /* whoever waits longer does not look whether it is there */

static struct liar *to_liar(struct hw *hw)
{
	return (struct liar *)hw;
}

/* --- requests --- */

static struct dev_ring *ring_of(struct liar *l, unsigned queue)
{
	struct liar_queue *q = &l->queue[queue];

	return q->live && l->master && !l->gone ? &q->ring : NULL;
}

static bool take(struct liar *l, unsigned queue)
{
	struct dev_ring *ring = ring_of(l, queue % LIAR_QUEUES);

	return ring != NULL && dev_blk_take(&l->blk, ring, queue % LIAR_QUEUES);
}

/* Where there are vectors, all of them: what an interrupt is for is only a hint. */
static void raise_irq(struct liar *l, uint8_t isr)
{
	l->isr |= isr;
	l->irq_raised = true;
	l->vectors_to_tell = l->vectors;
	for (unsigned i = 0; i < l->vectors; i++)
		if (l->redirect[i] >= 0)
			fds_signal(l->redirect[i]);
}

static void finish(struct liar *l, unsigned i, uint8_t status)
{
	struct dev_ring *ring = ring_of(l, l->blk.taken[i].queue);

	dev_blk_finish(&l->blk, ring, i, status);
	if (ring != NULL)
		raise_irq(l, VIRTIO_PCI_ISR_QUEUE);
}

void liar_serve(struct liar *l)
{
	unsigned limit = 1000; /* a ring full of lies may have more to take than was ever there */

	for (unsigned i = 0; i < LIAR_QUEUES; i++)
		while (limit-- > 0 && (l->blk.nr_taken > 0 || take(l, i)))
			finish(l, 0, VIRTIO_BLK_S_OK);
}

static void reset_queue(struct liar *l, unsigned queue)
{
	struct liar_queue *q = &l->queue[queue];

	*q = (struct liar_queue){.max = q->max, .notify_off = q->notify_off, .size = q->max};
	dev_blk_forget(&l->blk, queue);
}

static void reset(struct liar *l)
{
	for (unsigned i = 0; i < LIAR_QUEUES; i++)
		reset_queue(l, i);
	l->status = 0;
	l->isr = 0;
	l->blk.dirty = false;
	memset(l->driver_features, 0xff, sizeof(l->driver_features));
}

/* --- lies --- */

static void patch(uint8_t *mem, size_t bytes, uint32_t at, uint32_t value)
{
	at %= (uint32_t)bytes;
	memcpy(mem + at, &value, bytes - at < 4 ? bytes - at : 4);
}

static void set_master(struct liar *l, bool on)
{
	l->master = on;
	l->space[PCI_COMMAND] =
		(uint8_t)((l->space[PCI_COMMAND] & ~PCI_MASTER) | (on ? PCI_MASTER : 0));
}

static bool is_in_order(const struct liar *l)
{
	return l->driver_features[1] >> (VIRTIO_F_IN_ORDER - 32) & 1;
}

static void change_queue(struct liar_queue *q, uint32_t value)
{
	switch (value % LIAR_QUEUE_REGS) {
	case 0:
		q->max = q->size = (uint16_t)(value >> 8);
		break;
	case 1:
		q->enabled = (uint16_t)(value >> 8);
		break;
	default:
		q->notify_off = (uint16_t)(value >> 8);
	}
}

static void act_on_ring(struct liar *l, const struct liar_event *e)
{
	struct liar_queue *q = &l->queue[e->arg % LIAR_QUEUES];

	if (!q->live || !l->master || l->gone)
		return;
	l->blk.dirty = true; /* a request may seem done that is not */
	if (e->act == LIAR_USE)
		dev_ring_use(&q->ring, e->value & 0xffff, e->value >> 16, 1);
	else if (e->act == LIAR_JUMP)
		dev_ring_jump(&q->ring, (uint16_t)e->value);
	else
		dev_ring_scribble(&q->ring, e->arg / LIAR_QUEUES, e->value);
	raise_irq(l, VIRTIO_PCI_ISR_QUEUE);
}

static void suspend(struct liar *l, uint32_t value)
{
	l->nr_suspends += value & 1;
	if (value & 2)
		reset(l);
	if (value & 4)
		set_master(l, false);
}

static void set_capacity(struct liar *l, uint32_t sectors)
{
	const le64 val = le64_of(sectors);

	l->generation++;
	memcpy(l->config + CONFIG(capacity), &val, sizeof(val));
	raise_irq(l, VIRTIO_PCI_ISR_CONFIG);
}

static void act(struct liar *l, const struct liar_event *e)
{
	switch (e->act) {
	case LIAR_ANSWER:
		l->answers = true;
		l->answer = e->value;
		break;
	case LIAR_LOAD:
		l->loads = true;
		l->load = e->value;
		break;
	case LIAR_CONFIG:
		l->generation++;
		patch(l->config, sizeof(l->config), e->arg, e->value);
		break;
	case LIAR_QUIETLY:
		patch(l->config, sizeof(l->config), e->arg, e->value);
		break;
	case LIAR_SPACE:
		patch(l->space, sizeof(l->space), e->arg, e->value);
		break;
	case LIAR_STATUS:
		l->status = (uint8_t)e->value;
		break;
	case LIAR_IRQ:
		raise_irq(l, (uint8_t)e->value);
		break;
	case LIAR_NO_IRQ:
		l->irq_error = -(1 + (int)(e->value % 133));
		break;
	case LIAR_REMOVE:
		l->gone = true;
		raise_irq(l, 0xff);
		break;
	case LIAR_RETURN:
		l->gone = false;
		break;
	case LIAR_TAKE:
		(void)take(l, e->arg);
		break;
	case LIAR_FINISH:
		if (l->blk.nr_taken > 0) {
			l->blk.dirty |= e->arg % l->blk.nr_taken != 0 && is_in_order(l);
			finish(l, e->arg % l->blk.nr_taken, (uint8_t)e->value);
		}
		break;
	case LIAR_HOLD:
		l->hold = e->value & 1;
		break;
	case LIAR_FAIL:
		l->fails = true;
		l->fail = e->value;
		break;
	case LIAR_QUEUE:
		change_queue(&l->queue[e->arg % LIAR_QUEUES], e->value);
		break;
	case LIAR_STUCK:
		l->stuck = e->value;
		break;
	case LIAR_MASTER:
		set_master(l, false);
		if (e->value & 1)
			l->status &= (uint8_t)~VIRTIO_CONFIG_S_DRIVER_OK;
		break;
	case LIAR_SUSPEND:
		suspend(l, e->value);
		break;
	case LIAR_CAPACITY:
		set_capacity(l, e->value);
		break;
	default:
		act_on_ring(l, e);
	}
}

void liar_do(struct liar *l, unsigned when, const struct liar_event *event)
{
	if (when == 0) {
		act(l, event);
	} else if (l->nr_armed < LIAR_ARMED_MAX) {
		l->armed[l->nr_armed].countdown = when;
		l->armed[l->nr_armed++].event = *event;
	}
}

/* An access: what was armed for it happens first. */
static void tick(struct liar *l)
{
	FZ_CHECK(!l->closed, "an access after close");
	for (unsigned i = 0; i < l->nr_armed;) {
		struct liar_event event = l->armed[i].event;

		if (--l->armed[i].countdown > 0) {
			i++;
			continue;
		}
		l->armed[i] = l->armed[--l->nr_armed];
		act(l, &event);
	}
}

static int fails(struct liar *l)
{
	tick(l);
	if (!l->fails)
		return 0;
	l->fails = false;
	return -(1 + (int)(l->fail % 133));
}

/* --- registers --- */

static struct liar_queue *selected(struct liar *l)
{
	return l->queue_select < l->num_queues && l->queue_select < LIAR_QUEUES
		       ? &l->queue[l->queue_select]
		       : NULL;
}

/* Has a reset not come to its end yet? */
static bool is_stuck(struct liar *l)
{
	if (l->stuck > 0 && l->stuck != UINT32_MAX)
		l->stuck--;
	return l->stuck > 0;
}

static uint8_t read_status(struct liar *l)
{
	return l->status == 0 && is_stuck(l) ? VIRTIO_CONFIG_S_DRIVER_OK : l->status;
}

static uint32_t read_queue(struct liar *l, uint64_t off)
{
	struct liar_queue *q = selected(l);

	if (q == NULL)
		return 0;
	switch (off) {
	case COMMON(queue_size):
		return q->size;
	case COMMON(queue_msix_vector):
		return q->vector;
	case COMMON(queue_enable):
		return q->enabled;
	case COMMON(queue_notify_off):
		return q->notify_off;
	case COMMON(queue_notify_data):
		return l->queue_select;
	case COMMON(queue_reset):
		return is_stuck(l);
	default:
		return 0;
	}
}

static uint32_t read_common(struct liar *l, uint64_t off)
{
	switch (off) {
	case COMMON(device_feature):
		return l->select[0] < 2 ? l->features[l->select[0]] : 0;
	case COMMON(config_msix_vector):
		return l->config_vector;
	case COMMON(num_queues):
		return l->num_queues;
	case COMMON(device_status):
		return read_status(l);
	case COMMON(config_generation):
		return l->generation;
	default:
		return read_queue(l, off);
	}
}

static uint32_t read_device(struct liar *l, uint64_t off)
{
	uint32_t val = 0;

	if (off < sizeof(l->config))
		memcpy(&val, l->config + off,
			sizeof(l->config) - off < 4 ? sizeof(l->config) - off : 4);
	return val;
}

static uint32_t read_isr(struct liar *l)
{
	uint32_t val = l->isr;

	l->isr = 0;
	return val;
}

static uint32_t legacy_config_at(const struct liar *l)
{
	return VIRTIO_PCI_CONFIG_OFF(l->space[MSIX_AT + 3] & 0x80);
}

static uint32_t read_legacy(struct liar *l, uint64_t off)
{
	struct liar_queue *q = selected(l);

	if (off >= legacy_config_at(l))
		return read_device(l, off - legacy_config_at(l));
	switch (off) {
	case VIRTIO_PCI_HOST_FEATURES:
		return l->features[0];
	case VIRTIO_PCI_QUEUE_PFN:
		return q != NULL && q->enabled ? 1 : 0;
	case VIRTIO_PCI_QUEUE_NUM:
		return q == NULL ? 0 : q->size;
	case VIRTIO_PCI_STATUS:
		return read_status(l);
	case VIRTIO_PCI_ISR:
		return read_isr(l);
	default:
		return 0;
	}
}

static uint32_t honest_read(struct liar *l, int bar, uint64_t off)
{
	if (bar == LEGACY_BAR)
		return read_legacy(l, off);
	if (bar != BAR || off >= NOTIFY_AT)
		return 0;
	if (off < ISR_AT)
		return read_common(l, off - COMMON_AT);
	return off >= DEVICE_AT ? read_device(l, off - DEVICE_AT) : read_isr(l);
}

static void check_access(const struct liar *l, int bar, uint64_t off, unsigned bytes)
{
	FZ_CHECK(off % bytes == 0, "%u bytes at BAR %d+0x%llx", bytes, bar, (long long)off);
	FZ_CHECK(bar_maps_has(&l->maps, bar, off, bytes),
		"%u bytes at BAR %d+0x%llx, which is not mapped", bytes, bar, (long long)off);
}

static uint32_t bar_read(struct hw *hw, int bar, uint64_t off, unsigned bytes)
{
	struct liar *l = to_liar(hw);
	uint32_t val;

	tick(l);
	check_access(l, bar, off, bytes);
	val = l->gone ? UINT32_MAX : honest_read(l, bar, off);
	if (l->answers)
		val = l->answer;
	l->answers = false;
	return val;
}

static uint8_t read8(struct hw *hw, int bar, uint64_t off)
{
	return (uint8_t)bar_read(hw, bar, off, 1);
}

static uint16_t read16(struct hw *hw, int bar, uint64_t off)
{
	return (uint16_t)bar_read(hw, bar, off, 2);
}

static uint32_t read32(struct hw *hw, int bar, uint64_t off)
{
	return bar_read(hw, bar, off, 4);
}

static void enable(struct liar *l, struct liar_queue *q)
{
	bool packed = l->driver_features[1] >> (VIRTIO_F_RING_PACKED - 32) & 1;

	q->enabled = 1;
	q->live = dev_ring_start(&q->ring, &l->dma, packed, q->size,
		q->addr[0] | (uint64_t)q->addr[1] << 32, q->addr[2] | (uint64_t)q->addr[3] << 32,
		q->addr[4] | (uint64_t)q->addr[5] << 32);
}

static void write_queue(struct liar *l, uint64_t off, uint32_t val)
{
	struct liar_queue *q = selected(l);

	if (q == NULL)
		return;
	if (off == COMMON(queue_size))
		q->size = (uint16_t)val;
	else if (off == COMMON(queue_msix_vector))
		q->vector = (uint16_t)val;
	else if (off == COMMON(queue_enable))
		enable(l, q);
	else if (off == COMMON(queue_reset))
		reset_queue(l, l->queue_select);
	else if (off >= COMMON(queue_desc_lo) && off <= COMMON(queue_device_hi))
		q->addr[(off - COMMON(queue_desc_lo)) / 4] = val;
}

static void write_status(struct liar *l, uint8_t val)
{
	if (val == 0)
		reset(l); /* its end may take longer to be seen */
	else
		l->status = val;
}

static void write_common(struct liar *l, uint64_t off, uint32_t val)
{
	switch (off) {
	case COMMON(device_feature_select):
		l->select[0] = val;
		break;
	case COMMON(driver_feature_select):
		l->select[1] = val;
		break;
	case COMMON(driver_feature):
		if (l->select[1] < 2)
			l->driver_features[l->select[1]] = val;
		break;
	case COMMON(device_status):
		write_status(l, (uint8_t)val);
		break;
	case COMMON(config_msix_vector):
		l->config_vector = (uint16_t)val;
		break;
	case COMMON(queue_select):
		l->queue_select = (uint16_t)val;
		break;
	default:
		write_queue(l, off, val);
	}
}

static void write_device(struct liar *l, uint64_t off, uint32_t val, unsigned bytes)
{
	if (off + bytes <= sizeof(l->config))
		memcpy(l->config + off, &val, bytes);
}

static void write_page_number(struct liar *l, uint32_t val)
{
	struct liar_queue *q = selected(l);
	uint64_t desc = (uint64_t)val << VIRTIO_PCI_QUEUE_ADDR_SHIFT, avail, used;

	if (q == NULL)
		return;
	avail = desc + q->size * sizeof(struct vring_desc);
	used = (avail + 6 + 2ULL * q->size + VIRTIO_PCI_VRING_ALIGN - 1) &
	       ~(uint64_t)(VIRTIO_PCI_VRING_ALIGN - 1);
	l->driver_features[1] = 0;
	memcpy(q->addr, &(const uint64_t[]){desc, avail, used}, sizeof(q->addr));
	enable(l, q);
}

static void kicked(struct liar *l)
{
	if (!l->hold)
		liar_serve(l);
}

static void write_legacy(struct liar *l, uint64_t off, uint32_t val, unsigned bytes)
{
	if (off >= legacy_config_at(l))
		write_device(l, off - legacy_config_at(l), val, bytes);
	else if (off == VIRTIO_PCI_GUEST_FEATURES)
		l->driver_features[0] = val;
	else if (off == VIRTIO_PCI_QUEUE_PFN)
		write_page_number(l, val);
	else if (off == VIRTIO_PCI_QUEUE_SEL)
		l->queue_select = (uint16_t)val;
	else if (off == VIRTIO_PCI_QUEUE_NOTIFY)
		kicked(l);
	else if (off == VIRTIO_PCI_STATUS)
		write_status(l, (uint8_t)val);
}

static void bar_write(struct hw *hw, int bar, uint64_t off, unsigned bytes, uint32_t val)
{
	struct liar *l = to_liar(hw);

	tick(l);
	check_access(l, bar, off, bytes);
	if (l->gone) {
		l->blk.dirty = true; /* should it return, it knows nothing of this */
		return;
	}
	if (bar == LEGACY_BAR)
		write_legacy(l, off, val, bytes);
	else if (bar != BAR)
		return;
	else if (off >= NOTIFY_AT)
		kicked(l);
	else if (off >= DEVICE_AT)
		write_device(l, off - DEVICE_AT, val, bytes);
	else if (off < ISR_AT)
		write_common(l, off - COMMON_AT, val);
}

static void write8(struct hw *hw, int bar, uint64_t off, uint8_t val)
{
	bar_write(hw, bar, off, 1, val);
}

static void write16(struct hw *hw, int bar, uint64_t off, uint16_t val)
{
	bar_write(hw, bar, off, 2, val);
}

static void write32(struct hw *hw, int bar, uint64_t off, uint32_t val)
{
	bar_write(hw, bar, off, 4, val);
}

static int bar_map(struct hw *hw, int bar, uint64_t off, uint64_t bytes)
{
	struct liar *l = to_liar(hw);
	int err = fails(l);

	FZ_CHECK(bar_maps_fits(hw, bar, off, bytes), "0x%llx bytes at BAR %d+0x%llx are mapped",
		(long long)bytes, bar, (long long)off);
	return err < 0 ? err : bar_maps_add(&l->maps, bar, off, bytes);
}

/* --- the other hooks --- */

static int cfg_read(struct hw *hw, uint32_t off, void *buf, uint32_t bytes)
{
	struct liar *l = to_liar(hw);
	int err = fails(l);

	FZ_CHECK(off + bytes <= sizeof(l->space), "%u bytes at %u of configuration space", bytes,
		off);
	if (err < 0)
		return err;
	if (l->gone)
		memset(buf, 0xff, bytes);
	else
		memcpy(buf, l->space + off, bytes);
	return 0;
}

static int cfg_write(struct hw *hw, uint32_t off, const void *buf, uint32_t bytes)
{
	struct liar *l = to_liar(hw);
	int err = fails(l);

	FZ_CHECK(off >= 64 && off + bytes <= sizeof(l->space), "%u of configuration space written",
		off);
	if (err == 0 && !l->gone)
		memcpy(l->space + off, buf, bytes);
	return err;
}

static void *dma_alloc(struct hw *hw, size_t bytes)
{
	struct liar *l = to_liar(hw);

	return fails(l) < 0 ? NULL : fz_dma_alloc(&l->dma, bytes);
}

static void dma_free(struct hw *hw, void *mem, size_t bytes)
{
	fz_dma_free(&to_liar(hw)->dma, mem, bytes);
}

static uint64_t dma_addr(struct hw *hw, const void *mem, size_t *contig)
{
	return fz_dma_addr(&to_liar(hw)->dma, mem, contig);
}

static uint64_t dma_load(struct hw *hw, const void *p, int bytes)
{
	struct liar *l = to_liar(hw);
	uint64_t val = 0;

	tick(l);
	memcpy(&val, p, (size_t)bytes);
	if (l->loads)
		memcpy(&val, &l->load, bytes < 4 ? (size_t)bytes : 4);
	l->blk.dirty |= l->loads; /* the driver may be led astray by it, and let go of a request */
	l->loads = false;
	return val;
}

/* A vector that has something to tell, and is not redirected: 1 + its number. */
static int next_vector(struct liar *l)
{
	while (l->vectors_to_tell > 0)
		if (l->redirect[--l->vectors_to_tell] < 0)
			return 1 + (int)l->vectors_to_tell;
	return 0;
}

static int irq_wait(struct hw *hw, int wake_fd)
{
	struct liar *l = to_liar(hw);
	int vector;

	for (;; world_rest()) {
		tick(l);
		if (fds_is_readable(wake_fd))
			return 0;
		if (l->irq_error != 0)
			return l->irq_error;
		vector = next_vector(l);
		if (vector > 0)
			return vector;
		if (l->vectors == 0 && l->irq_raised && !l->irq_masked)
			break;
	}
	l->irq_raised = false;
	l->irq_masked = true;
	return 1;
}

static int irq_unmask(struct hw *hw)
{
	struct liar *l = to_liar(hw);
	int err = fails(l);

	if (err == 0)
		l->irq_masked = false;
	return err;
}

static int irq_mask(struct hw *hw)
{
	struct liar *l = to_liar(hw);
	int err = fails(l);

	if (err == 0)
		l->irq_masked = true;
	return err;
}

static int irq_vectors(struct hw *hw, unsigned nr)
{
	struct liar *l = to_liar(hw);
	int err = fails(l);

	FZ_CHECK(nr <= hw->nr_vectors, "%u vectors of %u", nr, hw->nr_vectors);
	if (nr > 0 && err < 0)
		return err;
	l->vectors = nr;
	l->vectors_to_tell = 0;
	memset(l->redirect, 0xff, sizeof(l->redirect)); /* none */
	return 0;
}

static int irq_redirect(struct hw *hw, unsigned vector, int fd)
{
	struct liar *l = to_liar(hw);
	int err = fails(l);

	FZ_CHECK(vector < l->vectors, "vector %u of %u is redirected", vector, l->vectors);
	if (err == 0 || fd < 0)
		l->redirect[vector] = fd;
	return fd < 0 ? 0 : err;
}

static int bus_master(struct hw *hw, bool on)
{
	struct liar *l = to_liar(hw);
	int err = fails(l);

	if (err == 0)
		set_master(l, on);
	else if (!on)
		set_master(l, false); /* else nobody could defend memory against it */
	return err;
}

static int function_reset(struct hw *hw)
{
	struct liar *l = to_liar(hw);
	int err = fails(l);

	if (err < 0 || !l->function_resets) {
		l->never_reset = true;
		return err < 0 ? err : -EOPNOTSUPP;
	}
	reset(l);
	l->never_reset |= l->stuck > 0;
	return 0;
}

void liar_sleep(struct liar *l)
{
	if (++l->all_sleeps > PATIENT_FOR)
		l->patient = false;
	if (++l->sleeps > PATIENCE && !l->patient) {
		l->stuck = 0;
		l->hold = false;
		l->gone |= l->vanishes || l->sleeps > PATIENCE_GONE;
		FZ_CHECK(l->sleeps < SLEEPS_MAX || l->all_sleeps > PATIENT_FOR,
			"it waits for a device that is gone");
	}
	if (!l->hold)
		liar_serve(l);
}

static void sleep_us(struct hw *hw, uint32_t us)
{
	struct liar *l = to_liar(hw);

	tick(l);
	world_pass_us(us);
	liar_sleep(l);
}

static uint64_t nr_suspends(struct hw *hw)
{
	return to_liar(hw)->nr_suspends;
}

static void close_hw(struct hw *hw)
{
	struct liar *l = to_liar(hw);

	FZ_CHECK(!l->closed, "closed twice");
	l->closed = true;
	set_master(l, false);
}

void liar_go_on(struct liar *l)
{
	l->sleeps = 0;
}

static const struct hw_ops ops = {
	.cfg_read = cfg_read,
	.cfg_write = cfg_write,
	.bar_map = bar_map,
	.read8 = read8,
	.read16 = read16,
	.read32 = read32,
	.write8 = write8,
	.write16 = write16,
	.write32 = write32,
	.dma_alloc = dma_alloc,
	.dma_free = dma_free,
	.dma_addr = dma_addr,
	.irq_wait = irq_wait,
	.irq_unmask = irq_unmask,
	.irq_mask = irq_mask,
	.irq_vectors = irq_vectors,
	.irq_redirect = irq_redirect,
	.bus_master = bus_master,
	.function_reset = function_reset,
	.sleep_us = sleep_us,
	.nr_suspends = nr_suspends,
	.close = close_hw,
	.dma_load = dma_load,
};

/* --- as it begins --- */

static void put_cap(struct liar *l, uint8_t at, uint8_t next, uint8_t type, uint32_t offset)
{
	const struct virtio_pci_cap cap = {
		.cap_vndr = 9,
		.cap_next = next,
		.cap_len = type == VIRTIO_PCI_CAP_NOTIFY_CFG ? 20 : 16,
		.cfg_type = type,
		.bar = BAR,
		.offset = le32_of(offset),
		.length = le32_of(0x1000),
	};

	memcpy(l->space + at, &cap, sizeof(cap));
}

static void fill_space(struct liar *l)
{
	const le32 multiplier = le32_of(NOTIFY_EACH);

	l->space[0] = 0xf4;
	l->space[1] = 0x1a;
	l->space[6] = 0x10;
	l->space[0x34] = 0x40;
	put_cap(l, 0x40, 0x50, VIRTIO_PCI_CAP_COMMON_CFG, COMMON_AT);
	put_cap(l, 0x50, 0x60, VIRTIO_PCI_CAP_ISR_CFG, ISR_AT);
	put_cap(l, 0x60, 0x70, VIRTIO_PCI_CAP_DEVICE_CFG, DEVICE_AT);
	put_cap(l, 0x70, MSIX_AT, VIRTIO_PCI_CAP_NOTIFY_CFG, NOTIFY_AT);
	memcpy(l->space + 0x80, &multiplier, sizeof(multiplier));
	l->space[MSIX_AT] = 0x11; /* MSI-X, left on */
	l->space[MSIX_AT + 3] = 0x80;
}

static void fill_config(struct liar *l)
{
	const struct virtio_blk_config c = dev_blk_config(LIAR_QUEUES);

	memcpy(l->config, &c, sizeof(c));
}

#define BIT(n) (1U << (n) % 32)

void liar_begin(struct liar *l)
{
	memset(l, 0, offsetof(struct liar, blk.taken));
	fz_dma_begin(&l->dma);
	l->hw.ops = &ops;
	l->hw.ids = (struct hw_ids){.vendor = VIRTIO_PCI_VENDOR, .device = VIRTIO_PCI_DEVICE_BLK};
	l->hw.bar[BAR].bytes = BAR_BYTES;
	l->hw.has_irq = true;
	memcpy(l->hw.name, "liar", 5);
	l->num_queues = LIAR_QUEUES;
	l->features[0] = BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_BLK_SIZE) |
			 BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_TOPOLOGY) |
			 BIT(VIRTIO_BLK_F_CONFIG_WCE) | BIT(VIRTIO_BLK_F_MQ) |
			 BIT(VIRTIO_BLK_F_DISCARD) | BIT(VIRTIO_BLK_F_WRITE_ZEROES) |
			 BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX);
	l->features[1] = BIT(VIRTIO_F_VERSION_1);
	for (unsigned i = 0; i < LIAR_QUEUES; i++) {
		l->queue[i].max = l->queue[i].size = 16;
		l->queue[i].notify_off = (uint16_t)i;
	}
	fill_space(l);
	fill_config(l);
}

void liar_be_legacy(struct liar *l)
{
	l->hw.ids.device = VIRTIO_PCI_DEVICE_BLK_OLD;
	l->hw.ids.subdevice = VIRTIO_ID_BLOCK;
	l->hw.bar[BAR].bytes = 0;
	l->hw.bar[LEGACY_BAR] = (struct hw_bar){.bytes = 128, .is_io = true};
	l->space[0x34] = MSIX_AT;
}
