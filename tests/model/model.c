/* model.c - the model's life, its log of violations and accesses, the interrupt line, and the rest
 * of the hooks. */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "state.h"

#define VIOLATION_BYTES    65536
#define PCI_COMMAND        0x04
#define PCI_COMMAND_MASTER 0x04

void m_violation(struct model *m, const char *fmt, ...)
{
	va_list args;
	size_t left = VIOLATION_BYTES - m->violation_bytes;
	int n;

	m->violations++;
	va_start(args, fmt);
	n = vsnprintf(m->violation_text + m->violation_bytes, left, fmt, args);
	va_end(args);
	if (n < 0 || (size_t)n + 2 > left)
		return; /* they fill a page: the first ones tell */
	m->violation_bytes += (size_t)n;
	m->violation_text[m->violation_bytes++] = '\n';
	m->violation_text[m->violation_bytes] = '\0';
}

void m_trace(struct model *m, enum model_region region, bool write, int bar, int bytes,
	uint64_t off, uint64_t value)
{
	if (m->trace_len == m->trace_room) {
		m->trace_room = m->trace_room == 0 ? 256 : 2 * m->trace_room;
		m->trace = realloc(m->trace, m->trace_room * sizeof(*m->trace));
	}
	m->trace[m->trace_len++] = (struct model_access){
		.region = region,
		.write = write,
		.bar = (uint8_t)bar,
		.bytes = (uint8_t)bytes,
		.off = off,
		.value = value,
	};
}

uint64_t m_random(struct model *m) /* splitmix64 */
{
	uint64_t z = m->rng += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

bool m_fails(struct model *m)
{
	if (m->fail_countdown == 0 || --m->fail_countdown > 0)
		return false;
	m->failed = true;
	return true;
}

void m_tick(struct model *m)
{
	if (m->at_countdown > 0 && --m->at_countdown == 0)
		m->at_fn(m);
}

void m_tick_region(struct model *m, enum model_region region)
{
	void (*fn)(struct model * m) = m->at_region_fn;

	if (fn == NULL || region != m->at_region)
		return;
	m->at_region_fn = NULL;
	fn(m);
}

bool m_offered(const struct model *m, unsigned bit)
{
	if (m->cfg.legacy && bit > 31)
		return false;
	return m->cfg.features[bit / 64] >> bit % 64 & 1;
}

bool m_settled(const struct model *m)
{
	if (m->cfg.legacy)
		return (m->feature_written & 1) != 0;
	return (m->status & VIRTIO_CONFIG_S_FEATURES_OK) != 0;
}

bool m_negotiated(const struct model *m, unsigned bit)
{
	return (m->feature_written >> bit / 32 & 1) != 0 &&
	       (m->driver_feature[bit / 32] >> bit % 32 & 1) != 0;
}

/* The interrupt line: a level. Like uio_pci_generic it is masked when it was delivered. */

static void tell(int fd)
{
	const uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) != sizeof(one))
		abort();
}

static void signal_irq(struct model *m)
{
	if (m->irq_signalled || (m->cfg.lose_irqs && !m->gone))
		return;
	m->irq_signalled = true;
	tell(m->irq_fd);
}

void m_irq_update(struct model *m)
{
	if (m->isr != 0 && !m->irq_masked && !m->cfg.no_irq)
		signal_irq(m);
}

/* A message: ISR has no part in it. */
static void fire(struct model *m, uint16_t vector)
{
	if (vector == VIRTIO_MSI_NO_VECTOR)
		return;
	m->stat.irqs++;
	if (m->lost >> vector & 1)
		return;
	if (m->direct_fd[vector] != 0) {
		tell(m->direct_fd[vector] - 1);
		return;
	}
	m->fired |= 1ULL << vector;
	signal_irq(m);
}

void m_irq_of_queue(struct m_queue *q)
{
	if (q->m->vectors > 0)
		fire(q->m, q->vector);
	else
		m_irq(q->m, VIRTIO_PCI_ISR_QUEUE);
}

void m_irq(struct model *m, uint8_t isr_bits)
{
	if (m->vectors > 0) {
		if (isr_bits & VIRTIO_PCI_ISR_CONFIG)
			fire(m, m->config_vector);
		return;
	}
	m->stat.irqs += m->isr == 0;
	m->isr |= isr_bits;
	m_irq_update(m);
}

void model_irq(struct model *m)
{
	m_lock(m);
	if (m->vectors > 0) {
		fire(m, (uint16_t)(m_random(m) % m->vectors));
	} else {
		m->stat.irqs++;
		if (!m->irq_masked)
			signal_irq(m);
	}
	m_unlock(m);
}

static int take_vector(struct model *m)
{
	int vector = __builtin_ctzll(m->fired);

	m->fired &= m->fired - 1;
	m_trace(m, MODEL_IRQ, true, 0, 0, 3, (uint64_t)vector);
	if (m->fired != 0)
		signal_irq(m);
	return 1 + vector;
}

static int take_irq(struct model *m)
{
	uint64_t count;

	if (!m->irq_signalled || read(m->irq_fd, &count, sizeof(count)) != sizeof(count))
		return 0;
	m->irq_signalled = false;
	if (m->vectors > 0)
		return m->fired == 0 ? 0 : take_vector(m);
	m->irq_masked = true;
	m->irq_taken = m->isr != 0;
	m_trace(m, MODEL_IRQ, true, 0, 0, 2, m->isr);
	return 1;
}

static int irq_wait(struct hw *hw, int wake_fd)
{
	struct model *m = m_of(hw);
	struct pollfd fds[2] = {
		{.fd = m->irq_fd, .events = POLLIN}, {.fd = wake_fd, .events = POLLIN}};
	int got;

	if (m->cfg.no_irq)
		return -EOPNOTSUPP;
	while (poll(fds, 2, -1) < 0)
		continue; /* EINTR */
	m_lock(m);
	m_tick(m);
	got = m->gone ? -ENODEV : take_irq(m);
	m_unlock(m);
	return got;
}

static int irq_unmask(struct hw *hw)
{
	struct model *m = m_of(hw);

	m_lock(m);
	m_tick(m);
	m_trace(m, MODEL_IRQ, true, 0, 0, 1, 0);
	if (m->irq_taken)
		m_violation(m, "PC16: unmasked before ISR was read: an interrupt storm");
	m->irq_masked = false;
	m_irq_update(m);
	m_unlock(m);
	return 0;
}

static int irq_mask(struct hw *hw)
{
	struct model *m = m_of(hw);

	m_lock(m);
	m_tick(m);
	m_trace(m, MODEL_IRQ, true, 0, 0, 0, 0);
	m->irq_masked = true;
	m_unlock(m);
	return 0;
}

static int irq_vectors(struct hw *hw, unsigned nr)
{
	struct model *m = m_of(hw);
	unsigned max = m->cfg.vectors_to_be_had == 0 ? m->cfg.nr_vectors : m->cfg.vectors_to_be_had;
	int err = 0;

	m_lock(m);
	m_tick(m);
	if (nr > m->cfg.nr_vectors)
		m_violation(m, "PC19: %u vectors of a table of %u", nr, m->cfg.nr_vectors);
	m->vectors = 0;
	m->fired = 0;
	if (nr > max)
		err = -ENOSPC;
	else
		m->vectors = nr;
	m_unlock(m);
	return err;
}

static int irq_redirect(struct hw *hw, unsigned vector, int fd)
{
	struct model *m = m_of(hw);
	int err = 0;

	m_lock(m);
	m_tick(m);
	if (vector >= m->vectors) {
		m_violation(m, "PC19: vector %u redirected, and %u are on", vector, m->vectors);
	} else if (m->cfg.redirect == REDIRECT_FAILS) {
		err = -ENOMEM;
	} else {
		m->direct_fd[vector] = fd + 1;
		if (m->cfg.redirect == REDIRECT_LOSES_IT) {
			m->lost |= 1ULL << vector;
			m->direct_fd[vector] = 0;
			err = -EIO;
		}
	}
	m_unlock(m);
	return err;
}

/* Other hooks */

static void m_set_bus_master(struct model *m, bool on)
{
	m->bus_master = on;
	if (on)
		m->space[PCI_COMMAND] |= PCI_COMMAND_MASTER;
	else
		m->space[PCI_COMMAND] &= (uint8_t)~PCI_COMMAND_MASTER;
}

static int bus_master(struct hw *hw, bool on)
{
	struct model *m = m_of(hw);
	int err = 0;

	m_lock(m);
	m_tick(m);
	if (m_fails(m) || (on && m->cfg.bus_master_stuck))
		err = -EIO;
	else
		m_set_bus_master(m, on);
	m_unlock(m);
	return err;
}

static int function_reset(struct hw *hw)
{
	struct model *m = m_of(hw);
	int err = 0;

	m_lock(m);
	m_tick(m);
	if (m->cfg.no_function_reset)
		err = -EOPNOTSUPP;
	else
		mregs_reset(m);
	m_unlock(m);
	return err;
}

static void sleep_us(struct hw *hw, uint32_t us)
{
	struct model *m = m_of(hw);

	m_lock(m);
	m->stat.slept_us += us;
	m_unlock(m);
	if (m->cfg.on_sleep != NULL)
		m->cfg.on_sleep(m, us, m->cfg.arg);
	if (m->cfg.when == MODEL_THREAD) /* it needs time, too */
		(void)usleep(us);
}

static uint64_t nr_suspends(struct hw *hw)
{
	struct model *m = m_of(hw);
	uint64_t n;

	m_lock(m);
	n = m->cfg.nr_suspends;
	m_unlock(m);
	return n;
}

static void close_hw(struct hw *hw)
{
	struct model *m = m_of(hw);

	m_lock(m);
	if (m->closed)
		m_violation(m, "closed twice");
	if (m->status != 0 && !m->gone && !m->cfg.status_stuck)
		m_violation(m, "CL2: closed while device_status was 0x%x", m->status);
	if (m->vectors != 0)
		m_violation(m, "closed while vectors were on");
	for (unsigned i = 0; i < 64; i++)
		if (m->direct_fd[i] != 0)
			m_violation(m, "closed while vector %u had an eventfd of somebody's", i);
	m->closed = true;
	m_set_bus_master(m, false);
	m->irq_masked = true;
	m_unlock(m);
}

static const struct hw_ops ops = {
	.cfg_read = mpci_read,
	.cfg_write = mpci_write,
	.bar_map = mregs_map,
	.read8 = mregs_read8,
	.read16 = mregs_read16,
	.read32 = mregs_read32,
	.write8 = mregs_write8,
	.write16 = mregs_write16,
	.write32 = mregs_write32,
	.dma_alloc = mdma_alloc,
	.dma_free = mdma_free,
	.dma_addr = mdma_addr,
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
	.dma_store = mdma_store,
	.dma_load = mdma_load,
	.dma_barrier = mdma_barrier,
};

/* Life */

#define BIT(n) (1ULL << (n))

void model_defaults(struct model_config *cfg)
{
	*cfg = (struct model_config){
		.ids = {.vendor = VIRTIO_PCI_VENDOR,
			.device = VIRTIO_PCI_DEVICE_BLK,
			.subvendor = VIRTIO_PCI_VENDOR,
			.subdevice = 0x1100,
			.revision = 1},
		.features = {BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_GEOMETRY) |
			     BIT(VIRTIO_BLK_F_BLK_SIZE) | BIT(VIRTIO_BLK_F_FLUSH) |
			     BIT(VIRTIO_BLK_F_TOPOLOGY) | BIT(VIRTIO_BLK_F_CONFIG_WCE) |
			     BIT(VIRTIO_BLK_F_MQ) | BIT(VIRTIO_BLK_F_DISCARD) |
			     BIT(VIRTIO_BLK_F_WRITE_ZEROES) | BIT(VIRTIO_RING_F_INDIRECT_DESC) |
			     BIT(VIRTIO_RING_F_EVENT_IDX) | BIT(VIRTIO_F_VERSION_1) |
			     BIT(VIRTIO_F_RING_RESET)},
		.bar = {[1] = {.bytes = 4096}, [4] = {.bytes = 0x4000}},
		.caps = {{VIRTIO_PCI_CAP_COMMON_CFG, 4, 0, 0x1000, 0},
			{VIRTIO_PCI_CAP_ISR_CFG, 4, 0x1000, 0x1000, 0},
			{VIRTIO_PCI_CAP_DEVICE_CFG, 4, 0x2000, 0x1000, 0},
			{VIRTIO_PCI_CAP_NOTIFY_CFG, 4, 0x3000, 0x1000, 0},
			{VIRTIO_PCI_CAP_PCI_CFG, 0, 0, 0, 0}},
		.nr_caps = 5,
		.notify_multiplier = 4,
		.nr_queues = 1,
		.queue_size = {256},
		.blk = {.capacity = 16384,
			.seg_max = 254,
			.blk_size = 512,
			.physical_exp = 3,
			.writeback = 1,
			.num_queues = 1,
			.discard_sectors = 4194304,
			.discard_seg = 1,
			.discard_align = 1,
			.zeroes_sectors = 4194304,
			.zeroes_seg = 1,
			.zeroes_may_unmap = 1,
			.erase_sectors = 4194304,
			.erase_seg = 1,
			.erase_align = 1,
			.serial = "MODEL-0001"},
	};
}

void model_legacy(struct model_config *cfg)
{
	cfg->legacy = true;
	cfg->ids.device = VIRTIO_PCI_DEVICE_BLK_OLD;
	cfg->ids.subdevice = VIRTIO_ID_BLOCK;
	cfg->ids.revision = 0;
	cfg->features[0] &= UINT32_MAX;
	cfg->features[0] |= BIT(VIRTIO_BLK_F_BARRIER) | BIT(VIRTIO_BLK_F_SCSI) |
			    BIT(VIRTIO_F_NOTIFY_ON_EMPTY) | BIT(30);
	memset(cfg->bar, 0, sizeof(cfg->bar));
	cfg->bar[0] = (struct hw_bar){.bytes = 128, .is_io = true};
	cfg->nr_caps = 0;
}

static void *device_thread(void *arg)
{
	struct model *m = arg;

	m_lock(m);
	while (!m->thread_stop)
		if (model_run(m) == 0)
			pthread_cond_wait(&m->thread_wake, &m->lock);
	m_unlock(m);
	return NULL;
}

static void fill_hw(struct model *m)
{
	m->hw.ops = &ops;
	m->hw.ids = m->cfg.ids;
	memcpy(m->hw.bar, m->cfg.bar, sizeof(m->hw.bar));
	m->hw.has_irq = !m->cfg.no_irq;
	m->hw.nr_vectors = m->cfg.nr_vectors;
	m->hw.iommu_translates = m->cfg.iommu_translates;
	m->hw.iommu_is_ours = m->cfg.iommu_is_ours;
	snprintf(m->hw.name, sizeof(m->hw.name), "model");
}

struct model *model_create(const struct model_config *cfg)
{
	struct model *m = calloc(1, sizeof(*m));
	pthread_mutexattr_t attr;

	m->cfg = *cfg;
	m->rng = cfg->seed;
	m->violation_text = calloc(1, VIOLATION_BYTES);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&m->lock, &attr);
	pthread_mutexattr_destroy(&attr);
	pthread_cond_init(&m->thread_wake, NULL);
	m->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	m->irq_masked = true;
	if (mdma_create(m) < 0 || mblk_create(m) < 0)
		abort();
	for (unsigned i = 0; i < MODEL_MAX_QUEUES; i++) {
		m->queue[i].m = m;
		m->queue[i].index = (uint16_t)i;
	}
	fill_hw(m);
	mpci_build(m);
	mregs_reset(m);
	if (cfg->stale_irq) {
		m->isr = VIRTIO_PCI_ISR_QUEUE;
		m->irq_taken = true;
	}
	if (cfg->when == MODEL_THREAD && pthread_create(&m->thread, NULL, device_thread, m) != 0)
		abort();
	return m;
}

void model_destroy(struct model *m)
{
	if (m->cfg.when == MODEL_THREAD) {
		m_lock(m);
		m->thread_stop = true;
		pthread_cond_signal(&m->thread_wake);
		m_unlock(m);
		pthread_join(m->thread, NULL);
	}
	for (unsigned i = 0; i < MODEL_MAX_QUEUES; i++)
		mring_disable(&m->queue[i], false);
	mdma_destroy(m);
	mblk_destroy(m);
	close(m->irq_fd);
	pthread_mutex_destroy(&m->lock);
	pthread_cond_destroy(&m->thread_wake);
	free(m->violation_text);
	free(m->trace);
	free(m->done);
	free(m);
}

struct hw *model_hw(struct model *m)
{
	return &m->hw;
}

struct model_config *model_config(struct model *m)
{
	return &m->cfg;
}

/* What a test asks */

unsigned model_violations(const struct model *m)
{
	M_LOOK(m, unsigned, m->violations);
}

const char *model_violation_text(const struct model *m)
{
	return m->violation_text;
}

void model_forgive(struct model *m)
{
	m->violations = 0;
	m->violation_bytes = 0;
	m->violation_text[0] = '\0';
}

void model_check_end(struct model *m)
{
	if (!m->closed)
		m_violation(m, "the function was not closed");
	/* A device that can't be reset may still write to its memory: then it is to be kept. */
	if (m->dma_live != 0 && !m->cfg.status_stuck && !m->cfg.garbage_bars)
		m_violation(m, "%zu bytes of DMA memory were not freed", m->dma_live);
}

size_t model_trace_len(const struct model *m)
{
	M_LOOK(m, size_t, m->trace_len);
}

struct model_access model_trace(const struct model *m, size_t i)
{
	M_LOOK(m, struct model_access, m->trace[i]);
}

bool model_trace_find(const struct model *m, size_t *at, enum model_region region, bool write,
	uint64_t off, struct model_access *out)
{
	bool found = false;

	m_lock(m);
	while (!found && *at < m->trace_len) {
		*out = m->trace[(*at)++];
		found = out->region == region && out->write == write && out->off == off;
	}
	m_unlock(m);
	return found;
}

unsigned model_trace_count(
	const struct model *m, enum model_region region, bool write, uint64_t off)
{
	struct model_access a;
	unsigned n = 0;

	for (size_t at = 0; model_trace_find(m, &at, region, write, off, &a);)
		n++;
	return n;
}

void model_trace_clear(struct model *m)
{
	m_lock(m);
	m->trace_len = 0;
	m_unlock(m);
}

void model_get_stat(const struct model *m, struct model_stat *out)
{
	m_lock(m);
	*out = m->stat;
	m_unlock(m);
}

size_t model_nr_done(const struct model *m)
{
	M_LOOK(m, size_t, m->nr_done);
}

struct model_req model_done(const struct model *m, size_t i)
{
	M_LOOK(m, struct model_req, m->done[i]);
}

uint8_t model_status(const struct model *m)
{
	M_LOOK(m, uint8_t, m->status);
}

uint64_t model_driver_features(const struct model *m)
{
	uint64_t bits = 0;

	m_lock(m);
	for (unsigned i = 0; i < 64; i++)
		bits |= (uint64_t)m_negotiated(m, i) << i;
	m_unlock(m);
	return bits;
}

unsigned model_inflight(struct model *m)
{
	unsigned n = 0;

	m_lock(m);
	for (unsigned i = 0; i < m->cfg.nr_queues; i++)
		for (const struct m_req *req = m->queue[i].reqs; req != NULL; req = req->next)
			n++;
	m_unlock(m);
	return n;
}

uint16_t model_queue_size_set(const struct model *m, unsigned queue)
{
	M_LOOK(m, uint16_t, m->queue[queue].enabled ? m->queue[queue].size : 0);
}

bool model_irq_masked(const struct model *m)
{
	M_LOOK(m, bool, m->irq_masked);
}

unsigned model_vectors(const struct model *m)
{
	M_LOOK(m, unsigned, m->vectors);
}

uint16_t model_config_vector(const struct model *m)
{
	M_LOOK(m, uint16_t, m->config_vector);
}

uint16_t model_queue_vector(const struct model *m, unsigned queue)
{
	M_LOOK(m, uint16_t, m->queue[queue].vector);
}

void model_clear_isr(struct model *m)
{
	m_lock(m);
	m->isr = 0;
	m_unlock(m);
}

bool model_is_bus_master(const struct model *m)
{
	M_LOOK(m, bool, m->bus_master);
}

size_t model_dma_live(const struct model *m)
{
	M_LOOK(m, size_t, m->dma_live);
}

void model_reopen(struct model *m)
{
	m_lock(m);
	m->closed = false;
	m->maps.nr = 0;
	m_unlock(m);
}

uint8_t *model_disk(struct model *m)
{
	return m->disk;
}

void model_lose_all_on_cut(struct model *m, bool all)
{
	m->lose_all = all;
}

uint8_t *model_config_space(struct model *m)
{
	return m->space;
}

/* What a test makes happen */

unsigned model_run(struct model *m)
{
	unsigned n = 0;

	m_lock(m);
	mdma_drain(m);
	for (unsigned i = 0; i < m->cfg.nr_queues; i++) {
		struct m_queue *q = &m->queue[i];

		if (q->enabled && (q->kicked || q->awake))
			n += mring_step(q);
		q->kicked = false;
	}
	m_unlock(m);
	return n;
}

bool model_complete(struct model *m, unsigned queue, unsigned index)
{
	bool ok;

	m_lock(m);
	mdma_drain(m);
	ok = mring_complete(&m->queue[queue], index);
	m_unlock(m);
	return ok;
}

unsigned model_complete_all(struct model *m)
{
	unsigned n;

	m_lock(m);
	mdma_drain(m);
	n = mring_complete_all(m);
	m_unlock(m);
	return n;
}

void model_complete_at(struct model *m, enum model_moment moment)
{
	m_lock(m);
	m->moment = moment;
	m->moment_armed = false;
	m_unlock(m);
}

void model_set_capacity(struct model *m, uint64_t sectors, bool interrupt)
{
	m_lock(m);
	m->capacity = sectors;
	m->generation++;
	if (interrupt)
		m_irq(m, VIRTIO_PCI_ISR_CONFIG);
	m_unlock(m);
}

void model_merge_irq(struct model *m, uint8_t isr_bits)
{
	m_lock(m);
	m_irq(m, isr_bits);
	m_unlock(m);
}

void model_left_live(struct model *m)
{
	m_lock(m);
	m->status =
		VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK;
	if (!m->cfg.legacy)
		m->status |= VIRTIO_CONFIG_S_FEATURES_OK;
	memset(m->driver_feature, 0xff, sizeof(m->driver_feature));
	m_unlock(m);
}

void model_needs_reset(struct model *m)
{
	m_lock(m);
	if (m->cfg.legacy) {
		m->mute = true;
	} else if (!m->reset_pending && m->status != 0) {
		m->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
		if ((m->status & VIRTIO_CONFIG_S_DRIVER_OK) != 0)
			m_irq(m, VIRTIO_PCI_ISR_CONFIG);
	}
	m_unlock(m);
}

void model_lose_bus_master(struct model *m, bool drop_driver_ok)
{
	m_lock(m);
	m_set_bus_master(m, false);
	if (drop_driver_ok)
		m->status &= (uint8_t)~VIRTIO_CONFIG_S_DRIVER_OK;
	m_unlock(m);
}

void model_suspend(struct model *m, bool deep)
{
	m_lock(m);
	m_set_bus_master(m, false);
	m->status &= (uint8_t)~VIRTIO_CONFIG_S_DRIVER_OK;
	if (deep) {
		for (unsigned i = 0; i < MODEL_MAX_QUEUES; i++)
			m->queue[i].enabled = 0; /* memory stays as it is */
		mregs_reset(m);
	}
	m->cfg.nr_suspends++;
	m_unlock(m);
}

void model_remove(struct model *m)
{
	m_lock(m);
	m->gone = true;
	signal_irq(m);
	m_unlock(m);
}

void model_at(struct model *m, unsigned nth, void (*fn)(struct model *m))
{
	m_lock(m);
	m->at_countdown = nth;
	m->at_fn = fn;
	m_unlock(m);
}

void model_at_region(struct model *m, enum model_region region, void (*fn)(struct model *m))
{
	m_lock(m);
	m->at_region = region;
	m->at_region_fn = fn;
	m_unlock(m);
}

void model_lie_at(struct model *m, unsigned nth, uint32_t value)
{
	m_lock(m);
	m->lie_countdown = nth;
	m->lie = value;
	m_unlock(m);
}

void model_fail_nth(struct model *m, unsigned nth)
{
	m_lock(m);
	m->fail_countdown = nth;
	m->failed = false;
	m_unlock(m);
}

bool model_failed(const struct model *m)
{
	M_LOOK(m, bool, m->failed);
}
