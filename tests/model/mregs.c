/* mregs.c - the model's BARs: who may touch which register when, and what the device makes of it.
 *
 * Invariants
 *  1. An access has its register's own width and lies in a mapped part of a structure (PC3, PC15).
 *  2. From the write of 0 to device_status until a read of it gave 0, nothing else is touched (RS1,
 *     PC12).
 *  3. Status bits are added one by one in the specification's order; what each step allows is
 *     checked at the access. */
#include <errno.h>
#include <string.h>
#include "state.h"

#define COMMON(field) offsetof(struct virtio_pci_common_cfg, field)

static const uint8_t reg_bytes[] = {
	[COMMON(device_feature_select)] = 4,
	[COMMON(device_feature)] = 4,
	[COMMON(driver_feature_select)] = 4,
	[COMMON(driver_feature)] = 4,
	[COMMON(config_msix_vector)] = 2,
	[COMMON(num_queues)] = 2,
	[COMMON(device_status)] = 1,
	[COMMON(config_generation)] = 1,
	[COMMON(queue_select)] = 2,
	[COMMON(queue_size)] = 2,
	[COMMON(queue_msix_vector)] = 2,
	[COMMON(queue_enable)] = 2,
	[COMMON(queue_notify_off)] = 2,
	[COMMON(queue_desc_lo)] = 4,
	[COMMON(queue_desc_hi)] = 4,
	[COMMON(queue_driver_lo)] = 4,
	[COMMON(queue_driver_hi)] = 4,
	[COMMON(queue_device_lo)] = 4,
	[COMMON(queue_device_hi)] = 4,
	[COMMON(queue_notify_data)] = 2,
	[COMMON(queue_reset)] = 2,
};

int mregs_map(struct hw *hw, int bar, uint64_t off, uint64_t len)
{
	struct model *m = m_of(hw);
	int err = 0;

	m_lock(m);
	m_tick(m);
	m_trace(m, MODEL_MAP, true, bar, 0, off, len);
	if (m_fails(m)) {
		err = -ENOMEM;
	} else {
		err = bar_maps_fits(hw, bar, off, len) ? bar_maps_add(&m->maps, bar, off, len)
						       : -EINVAL;
	}
	m_unlock(m);
	return err;
}

/* The structure that an access of BYTES at OFF of BAR falls into, NULL (and a violation) when into
 * none. */
static const struct model_cap *structure_at(struct model *m, int bar, uint64_t off, unsigned bytes)
{
	const struct model_cap *cap = mpci_find(m, bar, off);

	if (!bar_maps_has(&m->maps, bar, off, bytes)) {
		m_violation(m, "PC7: access to BAR %d+0x%lx, which is not mapped", bar, (long)off);
		return NULL;
	}
	if (off % bytes != 0)
		m_violation(m, "PC3: misaligned access at BAR %d+0x%lx", bar, (long)off);
	if (m->cfg.garbage_bars)
		return NULL;
	if (cap == NULL || off - cap->offset + bytes > cap->length) {
		m_violation(m, "PC15: %u bytes at BAR %d+0x%lx are in no structure", bytes, bar,
			(long)off);
		return NULL;
	}
	return cap;
}

/* What a BAR of garbage reads as: often enough what was written, so that a driver gets past its
 * first steps. */
static uint32_t garbage(struct model *m, uint64_t off)
{
	switch (m_random(m) % 8) {
	case 0:
		return 0;
	case 1:
		return UINT32_MAX;
	case 2:
		return (uint32_t)m_random(m);
	default:
		return m->echo[off % M_ECHO];
	}
}

/* What may be accessed at all in the device's present state; status itself excepted. */
static void check_state(struct model *m, bool write)
{
	if (m->reset_pending)
		m_violation(m, "RS1 PC12: access before device_status read 0");
	if (m->features_ok_unread)
		m_violation(m, "IN1: FEATURES_OK was not read back first");
	if (write && (m->status & VIRTIO_CONFIG_S_FAILED) != 0)
		m_violation(m, "IN3 ST3: write after FAILED, without a reset");
	if (m->closed)
		m_violation(m, "access after close");
}

static uint16_t notify_off(const struct m_queue *q)
{
	if (q->m->cfg.legacy)
		return 0;
	return q->m->cfg.shared_notify ? 0 : (uint16_t)(q->m->cfg.nr_queues - 1 - q->index);
}

static uint16_t notify_data(const struct m_queue *q)
{
	bool odd = q->m->cfg.odd_notify_data && m_negotiated(q->m, VIRTIO_F_NOTIF_CONFIG_DATA);

	return odd ? (uint16_t)(0x4242 - q->index) : q->index;
}

static struct m_queue *selected(struct model *m)
{
	struct m_queue *q = &m->queue[m->queue_select % MODEL_MAX_QUEUES];

	return m->queue_select < m->cfg.nr_queues && q->max != 0 ? q : NULL;
}

/* Device status */

static uint8_t read_status(struct model *m)
{
	m->features_ok_unread = false;
	if (m->reset_pending) {
		if (m->cfg.status_stuck)
			return m->status;
		if (m->reset_left > 0 && m->status != 0) {
			m->reset_left--;
			return m->status;
		}
		mregs_reset(m);
	}
	return m->status;
}

/* What somebody here can serve. */
static const uint8_t known_bits[] = {VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_F_SEG_MAX,
	VIRTIO_BLK_F_GEOMETRY, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_FLUSH,
	VIRTIO_BLK_F_TOPOLOGY, VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_MQ, VIRTIO_BLK_F_DISCARD,
	VIRTIO_BLK_F_WRITE_ZEROES, VIRTIO_BLK_F_LIFETIME, VIRTIO_BLK_F_SECURE_ERASE,
	VIRTIO_RING_F_INDIRECT_DESC, VIRTIO_RING_F_EVENT_IDX, VIRTIO_F_VERSION_1,
	VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_ORDER_PLATFORM, VIRTIO_F_NOTIF_CONFIG_DATA,
	VIRTIO_F_RING_PACKED, VIRTIO_F_IN_ORDER, VIRTIO_F_NOTIFICATION_DATA, VIRTIO_F_RING_RESET};

static bool is_known(const struct model *m, unsigned bit)
{
	if (bit == VIRTIO_F_ANY_LAYOUT)
		return m->cfg.legacy;
	for (unsigned i = 0; i < sizeof(known_bits); i++)
		if (known_bits[i] == bit)
			return true;
	return false;
}

/* Can the device live with what the driver accepted? */
static bool check_features(struct model *m)
{
	uint8_t words = m->cfg.legacy ? 1 : 3;

	if ((m->feature_written & words) != words)
		m_violation(m, "FE3: a word of the driver's features was not written since reset");
	if (m_offered(m, VIRTIO_F_ANY_LAYOUT) && m->cfg.legacy &&
		!m_negotiated(m, VIRTIO_F_ANY_LAYOUT))
		m_violation(m, "LG5: ANY_LAYOUT was offered and not accepted");
	for (unsigned bit = 0; bit < 128; bit++) {
		if (!m_negotiated(m, bit))
			continue;
		if (!m_offered(m, bit))
			m_violation(m, "FE1: feature %u was accepted but not offered", bit);
		if (!is_known(m, bit))
			m_violation(m, "FE4 RF5: feature %u was accepted; nobody here can serve it",
				bit);
	}
	if (m_offered(m, VIRTIO_F_VERSION_1) && !m_negotiated(m, VIRTIO_F_VERSION_1))
		m_violation(m, "RF1: VERSION_1 was offered and not accepted");
	if (m_negotiated(m, VIRTIO_F_ACCESS_PLATFORM) && m->cfg.iommu_translates &&
		!m->cfg.iommu_is_ours)
		m_violation(m, "RF2: ACCESS_PLATFORM accepted, and the IOMMU is not set up");
	if (!m_negotiated(m, VIRTIO_F_ACCESS_PLATFORM) && m->cfg.iommu_is_ours)
		m_violation(m, "RF2: the IOMMU's addresses for a device that goes past it");
	if (m_offered(m, VIRTIO_F_ACCESS_PLATFORM) && !m_negotiated(m, VIRTIO_F_ACCESS_PLATFORM))
		return false;
	return !m->cfg.refuse_features_ok;
}

/* IN5: there is no FEATURES_OK; what was accepted counts from the first queue on. */
static void add_legacy_status(struct model *m, uint8_t bit)
{
	static const uint8_t before[] = {
		[VIRTIO_CONFIG_S_ACKNOWLEDGE] = 0,
		[VIRTIO_CONFIG_S_DRIVER] = VIRTIO_CONFIG_S_ACKNOWLEDGE,
		[VIRTIO_CONFIG_S_DRIVER_OK] = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER,
	};

	if (bit >= sizeof(before) || (bit & (bit - 1)) != 0 || before[bit] != m->status)
		m_violation(m, "IN5: status 0x%x after 0x%x", m->status | bit, m->status);
	if (bit == VIRTIO_CONFIG_S_DRIVER_OK)
		(void)check_features(m);
}

static bool add_modern_status(struct model *m, uint8_t bit)
{
	static const uint8_t before[] = {
		[VIRTIO_CONFIG_S_ACKNOWLEDGE] = 0,
		[VIRTIO_CONFIG_S_DRIVER] = VIRTIO_CONFIG_S_ACKNOWLEDGE,
		[VIRTIO_CONFIG_S_FEATURES_OK] =
			VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER,
		[VIRTIO_CONFIG_S_DRIVER_OK] = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
					      VIRTIO_CONFIG_S_FEATURES_OK,
	};

	if (bit >= sizeof(before) || (bit & (bit - 1)) != 0 ||
		before[bit] != (m->status & ~VIRTIO_CONFIG_S_NEEDS_RESET))
		m_violation(m, "ST1 IN1: status 0x%x after 0x%x", m->status | bit, m->status);
	if (bit == VIRTIO_CONFIG_S_FEATURES_OK) {
		m->features_ok_unread = true;
		if (!check_features(m))
			return false;
	}
	return true;
}

static void add_status(struct model *m, uint8_t bit)
{
	if (bit == VIRTIO_CONFIG_S_FAILED)
		;
	else if (m->cfg.legacy)
		add_legacy_status(m, bit);
	else if (!add_modern_status(m, bit))
		return;
	if (bit == VIRTIO_CONFIG_S_DRIVER_OK && !m->bus_master)
		m_violation(m, "DRIVER_OK without bus mastering: the device would serve nothing");
	m->status |= bit;
}

static void write_status(struct model *m, uint8_t val)
{
	uint8_t kept =
		m->status & ~VIRTIO_CONFIG_S_NEEDS_RESET; /* the device may just have set that */

	if (val == 0) {
		m->reset_pending = true;
		m->reset_left = m->cfg.reset_delay;
		m->features_ok_unread = false;
		return;
	}
	check_state(m, true);
	if ((kept & ~val) != 0)
		m_violation(m, "ST2: status 0x%x drops bits of 0x%x", val, m->status);
	if ((val & ~m->status) != 0)
		add_status(m, val & ~m->status);
}

/* Features */

static uint32_t read_device_feature(struct model *m)
{
	uint32_t word = m->device_feature_select;

	if ((m->status & VIRTIO_CONFIG_S_DRIVER) == 0)
		m_violation(m, "IN1: features read before DRIVER");
	if (word > 3)
		return 0;
	return (uint32_t)(m->cfg.features[word / 2] >> word % 2 * 32);
}

static void write_driver_feature(struct model *m, uint32_t val)
{
	if ((m->status & VIRTIO_CONFIG_S_DRIVER) == 0)
		m_violation(m, "IN1: features written before DRIVER");
	if ((m->status & (VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK)) != 0)
		m_violation(m, "FE3: features written after FEATURES_OK");
	if (m->driver_feature_select > 3)
		return;
	m->driver_feature[m->driver_feature_select] = val;
	m->feature_written |= (uint8_t)(1 << m->driver_feature_select);
}

/* Queues */

static bool is_address(uint64_t off)
{
	return off >= COMMON(queue_desc_lo) && off <= COMMON(queue_device_hi);
}

/* The queue forgets all: 2.6.1, and 4.1.4.3.1 for what its registers are then. */
static void forget_queue(struct m_queue *q)
{
	mring_disable(q, !q->m->cfg.neat_queue_reset);
	q->max = q->size = q->m->cfg.queue_size[q->index];
	q->m->ordered_seq =
		q->m->device_stores; /* the register that reads 0 comes after all of them */
	q->resetting = false;
}

static uint16_t read_queue_reset(struct m_queue *q)
{
	if (!m_negotiated(q->m, VIRTIO_F_RING_RESET))
		m_violation(q->m, "VQ2: queue_reset read without RING_RESET");
	if (q->resetting && !q->m->cfg.queue_reset_stuck && q->reset_left-- == 0)
		forget_queue(q);
	return q->resetting;
}

static void write_queue_reset(struct m_queue *q, uint16_t val)
{
	if (!m_negotiated(q->m, VIRTIO_F_RING_RESET))
		m_violation(q->m, "VQ2: queue_reset written without RING_RESET");
	if (val != 1 || q->resetting || (q->m->status & VIRTIO_CONFIG_S_DRIVER_OK) == 0)
		m_violation(q->m, "VQ2: %u written to queue_reset", val);
	if (val != 1)
		return;
	if (q->m->cfg.on_queue_reset != NULL)
		q->m->cfg.on_queue_reset(q->m, q->m->cfg.arg);
	q->resetting = true;
	q->was_reset = true;
	q->vector = VIRTIO_MSI_NO_VECTOR;
	q->reset_left = q->m->cfg.reset_delay;
}

static uint32_t read_queue(struct model *m, uint64_t off)
{
	struct m_queue *q = selected(m);

	if (q == NULL)
		return 0;
	if (is_address(off))
		return q->addr[(off - COMMON(queue_desc_lo)) / 4];
	switch (off) {
	case COMMON(queue_size):
		return q->size;
	case COMMON(queue_msix_vector):
		return q->vector;
	case COMMON(queue_enable):
		return q->enabled;
	case COMMON(queue_notify_off):
		return notify_off(q);
	case COMMON(queue_notify_data):
		if (!m_negotiated(m, VIRTIO_F_NOTIF_CONFIG_DATA))
			m_violation(m, "RF6: queue_notify_data read without NOTIF_CONFIG_DATA");
		return notify_data(q);
	default:
		return read_queue_reset(q);
	}
}

/* What the register holds then: the device may lack the means. */
static uint16_t map_vector(struct model *m, uint16_t vector)
{
	unsigned taken = m->cfg.vectors_taken == 0 ? m->cfg.nr_vectors : m->cfg.vectors_taken;

	if (vector != VIRTIO_MSI_NO_VECTOR && vector >= m->vectors)
		m_violation(m, "PC19: vector %u, and %u are on", vector, m->vectors);
	return vector < taken && !m->cfg.no_vector_taken ? vector : VIRTIO_MSI_NO_VECTOR;
}

static void check_queue_write(struct model *m, const struct m_queue *q)
{
	if (!m_settled(m))
		m_violation(m, "IN1: queue %u set up before FEATURES_OK", q->index);
	if (q->resetting)
		m_violation(m, "VQ2 PC13: queue %u set up before queue_reset read 0", q->index);
	if ((m->status & VIRTIO_CONFIG_S_DRIVER_OK) != 0 && !q->was_reset)
		m_violation(m, "IN1: queue %u set up after DRIVER_OK", q->index);
	if (q->enabled)
		m_violation(m, "PC10: queue %u set up after it was enabled", q->index);
}

static void enable_queue(struct m_queue *q, uint16_t val)
{
	if (val != 1) {
		m_violation(q->m, "PC11: %u written to queue_enable", val);
		return;
	}
	if (q->addr_written != 0x3f)
		m_violation(
			q->m, "PC10 VQ4: queue %u enabled before its addresses were set", q->index);
	if (mring_enable(q) == 0)
		q->enabled = 1;
}

static void write_queue_size(struct m_queue *q, uint16_t val)
{
	if (val == 0 || val > q->max || (val & (val - 1)) != 0)
		m_violation(q->m, "SP2 PC9: queue_size %u of %u", val, q->max);
	else
		q->size = val;
}

static void write_queue(struct model *m, uint64_t off, uint32_t val)
{
	struct m_queue *q = selected(m);

	if (q == NULL) {
		m_violation(m, "PC14: register 0x%lx of queue %u written, which is not there",
			(long)off, m->queue_select);
		return;
	}
	if (off == COMMON(queue_reset)) {
		write_queue_reset(q, (uint16_t)val);
		return;
	}
	check_queue_write(m, q);
	if (is_address(off)) {
		unsigned i = (unsigned)(off - COMMON(queue_desc_lo)) / 4;

		q->addr[i] = val;
		q->addr_written |= (uint8_t)(1 << i);
	} else if (off == COMMON(queue_size)) {
		write_queue_size(q, (uint16_t)val);
	} else if (off == COMMON(queue_enable)) {
		enable_queue(q, (uint16_t)val);
	} else if (off == COMMON(queue_msix_vector)) {
		q->vector = map_vector(m, (uint16_t)val);
	} else {
		m_violation(m, "PC9: register 0x%lx is read-only", (long)off);
	}
}

/* The common structure */

uint32_t mregs_common_read(struct model *m, uint64_t off)
{
	if (off != COMMON(device_status))
		check_state(m, false);
	switch (off) {
	case COMMON(device_feature_select):
		return m->device_feature_select;
	case COMMON(device_feature):
		return read_device_feature(m);
	case COMMON(driver_feature_select):
		return m->driver_feature_select;
	case COMMON(driver_feature):
		return m->driver_feature_select < 4 ? m->driver_feature[m->driver_feature_select]
						    : 0;
	case COMMON(config_msix_vector):
		return m->config_vector;
	case COMMON(num_queues):
		return m->cfg.nr_queues;
	case COMMON(device_status):
		return read_status(m);
	case COMMON(config_generation):
		return m->generation;
	case COMMON(queue_select):
		return m->queue_select;
	default:
		return read_queue(m, off);
	}
}

void mregs_common_write(struct model *m, uint64_t off, uint32_t val)
{
	if (off != COMMON(device_status))
		check_state(m, true);
	switch (off) {
	case COMMON(device_feature_select):
		m->device_feature_select = val;
		break;
	case COMMON(driver_feature_select):
		m->driver_feature_select = val;
		break;
	case COMMON(driver_feature):
		write_driver_feature(m, val);
		break;
	case COMMON(config_msix_vector):
		m->config_vector = map_vector(m, (uint16_t)val);
		break;
	case COMMON(device_status):
		write_status(m, (uint8_t)val);
		break;
	case COMMON(queue_select):
		m->queue_select = (uint16_t)val;
		break;
	case COMMON(device_feature):
	case COMMON(num_queues):
	case COMMON(config_generation):
		m_violation(m, "PC9: register 0x%lx is read-only", (long)off);
		break;
	default:
		write_queue(m, off, val);
	}
}

static bool common_width_fits(struct model *m, uint64_t off, unsigned bytes)
{
	if (off < sizeof(reg_bytes) && reg_bytes[off] == bytes)
		return true;
	m_violation(m, "PC3: %u bytes at 0x%lx of the common structure", bytes, (long)off);
	return false;
}

/* ISR and notification */

static uint8_t isr_read(struct model *m)
{
	uint8_t isr = m->isr;

	/* Its reader is a thread of its own: while another one resets, it does no harm. */
	if (!m->reset_pending && !m->features_ok_unread)
		check_state(m, false);
	m->stat.isr_reads++;
	if (m->vectors > 0)
		m_violation(m, "PC17: ISR is read while MSI-X is on");
	if ((m->status & VIRTIO_CONFIG_S_DRIVER_OK) != 0) {
		if (m->isr_thread_set && !pthread_equal(m->isr_thread, pthread_self()))
			m_violation(m, "PC16: ISR is read by two threads");
		m->isr_thread = pthread_self();
		m->isr_thread_set = true;
	}
	m->isr = 0;
	m->irq_taken = false;
	m_irq_update(m);
	return isr;
}

static struct m_queue *notified(struct model *m, uint64_t off, uint16_t data)
{
	for (unsigned i = 0; i < m->cfg.nr_queues; i++) {
		struct m_queue *q = &m->queue[i];

		if (off == (uint64_t)notify_off(q) * m->cfg.notify_multiplier &&
			notify_data(q) == data)
			return q;
	}
	return NULL;
}

static void notify_write(struct model *m, uint64_t off, unsigned bytes, uint32_t val)
{
	struct m_queue *q = notified(m, off, (uint16_t)val);

	check_state(m, true);
	if (bytes != (m_negotiated(m, VIRTIO_F_NOTIFICATION_DATA) ? 4 : 2))
		m_violation(m, "NT2 NT4: a kick of %u bytes", bytes);
	if ((m->status & VIRTIO_CONFIG_S_DRIVER_OK) == 0)
		m_violation(m, "IN4: kick before DRIVER_OK");
	else if (!m->bus_master)
		m_violation(m, "kick with bus mastering off");
	else if (q == NULL)
		m_violation(m, "PC15 NT3: kick 0x%x at 0x%lx fits no queue", val, (long)off);
	else if (!q->enabled || q->resetting)
		m_violation(m, "VQ2: kick of queue %u, which is not enabled", q->index);
	else if (bytes == 4 && val >> 16 != mring_next_avail(q))
		m_violation(m, "NT2 PK12: kick 0x%x of queue %u, and the next slot is 0x%x", val,
			q->index, mring_next_avail(q));
	else if ((m->status & VIRTIO_CONFIG_S_NEEDS_RESET) == 0 && !m->mute)
		mring_kick(q);
}

/* Accesses */

static enum model_region region_of(const struct model_cap *cap)
{
	switch (cap == NULL ? 0 : cap->type) {
	case VIRTIO_PCI_CAP_COMMON_CFG:
		return MODEL_COMMON;
	case VIRTIO_PCI_CAP_NOTIFY_CFG:
		return MODEL_NOTIFY;
	case VIRTIO_PCI_CAP_ISR_CFG:
		return MODEL_ISR;
	case VIRTIO_PCI_CAP_DEVICE_CFG:
		return MODEL_DEVICE;
	default:
		return MODEL_ELSEWHERE;
	}
}

static uint32_t read_structure(
	struct model *m, const struct model_cap *cap, uint64_t off, unsigned bytes)
{
	switch (region_of(cap)) {
	case MODEL_COMMON:
		if (m->cfg.legacy)
			return mlegacy_read(m, off, bytes);
		return common_width_fits(m, off, bytes) ? mregs_common_read(m, off) : 0;
	case MODEL_ISR:
		if (off == 0 && bytes == 1)
			return isr_read(m);
		m_violation(m, "PC16: %u bytes read at 0x%lx of ISR", bytes, (long)off);
		return 0;
	case MODEL_DEVICE:
		check_state(m, false);
		return mblk_config_read(m, (uint32_t)off, (int)bytes);
	default:
		m_violation(m, "read of a notify register");
		return 0;
	}
}

static uint32_t bar_read(struct hw *hw, int bar, uint64_t off, unsigned bytes)
{
	struct model *m = m_of(hw);
	const struct model_cap *cap;
	uint64_t rel = off;
	uint32_t val = UINT32_MAX >> (32 - 8 * bytes);

	m_lock(m);
	m_tick(m);
	cap = structure_at(m, bar, off, bytes);
	if (cap != NULL)
		rel -= cap->offset;
	m_tick_region(m, region_of(cap));
	if (cap != NULL && !m->gone)
		val = read_structure(m, cap, rel, bytes);
	else if (m->cfg.garbage_bars)
		val &= garbage(m, off);
	if (m->lie_countdown > 0 && --m->lie_countdown == 0)
		val = m->lie & UINT32_MAX >> (32 - 8 * bytes);
	m_trace(m, region_of(cap), false, bar, (int)bytes, rel, val);
	if (region_of(cap) == MODEL_DEVICE && m->cfg.on_config_read != NULL)
		m->cfg.on_config_read(m, (uint32_t)rel, m->cfg.arg);
	m_unlock(m);
	return val;
}

static void write_structure(
	struct model *m, const struct model_cap *cap, uint64_t off, unsigned bytes, uint32_t val)
{
	switch (region_of(cap)) {
	case MODEL_COMMON:
		if (m->cfg.legacy)
			mlegacy_write(m, off, bytes, val);
		else if (common_width_fits(m, off, bytes))
			mregs_common_write(m, off, val);
		break;
	case MODEL_NOTIFY:
		notify_write(m, off, bytes, val);
		break;
	case MODEL_DEVICE:
		check_state(m, true);
		mblk_config_write(m, (uint32_t)off, (int)bytes, val);
		break;
	default:
		m_violation(m, "PC16: ISR written");
	}
}

static void bar_write(struct hw *hw, int bar, uint64_t off, unsigned bytes, uint32_t val)
{
	struct model *m = m_of(hw);
	const struct model_cap *cap;
	uint64_t rel = off;

	m_lock(m);
	m_tick(m);
	cap = structure_at(m, bar, off, bytes);
	if (cap != NULL)
		rel -= cap->offset;
	m_tick_region(m, region_of(cap));
	m_trace(m, region_of(cap), true, bar, (int)bytes, rel, val);
	if (cap != NULL && !m->gone)
		write_structure(m, cap, rel, bytes, val);
	m->echo[off % M_ECHO] = val;
	m_unlock(m);
}

uint8_t mregs_read8(struct hw *hw, int bar, uint64_t off)
{
	return (uint8_t)bar_read(hw, bar, off, 1);
}

uint16_t mregs_read16(struct hw *hw, int bar, uint64_t off)
{
	return (uint16_t)bar_read(hw, bar, off, 2);
}

uint32_t mregs_read32(struct hw *hw, int bar, uint64_t off)
{
	return bar_read(hw, bar, off, 4);
}

void mregs_write8(struct hw *hw, int bar, uint64_t off, uint8_t val)
{
	bar_write(hw, bar, off, 1, val);
}

void mregs_write16(struct hw *hw, int bar, uint64_t off, uint16_t val)
{
	bar_write(hw, bar, off, 2, val);
}

void mregs_write32(struct hw *hw, int bar, uint64_t off, uint32_t val)
{
	bar_write(hw, bar, off, 4, val);
}

/* Registers whose value after a reset is not specified come back as garbage: a driver that relies
 * on an old one is found out (QEMU keeps driver_feature). */
void mregs_reset(struct model *m)
{
	for (unsigned i = 0; i < MODEL_MAX_QUEUES; i++) {
		struct m_queue *q = &m->queue[i];

		mring_disable(q, true);
		q->max = q->size = m->cfg.queue_size[i];
		q->resetting = q->was_reset = false;
		q->vector = VIRTIO_MSI_NO_VECTOR;
	}
	m->ordered_seq = m->device_stores; /* the status that reads 0 comes after all of them */
	m->cfg.blk.writeback = m->first_writeback;
	m->status = 0;
	m->reset_pending = false;
	m->mute = false;
	m->features_ok_unread = false;
	m->feature_written = 0;
	memset(m->driver_feature, 0xff, sizeof(m->driver_feature));
	m->device_feature_select = m->driver_feature_select = 0x5a;
	m->queue_select = 0x5a5a;
	m->config_vector = VIRTIO_MSI_NO_VECTOR;
	m->isr = 0;
	m->irq_taken = false;
	m->isr_thread_set = false;
	m_irq_update(m);
}
