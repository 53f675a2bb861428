/* mpci.c - the model's PCI configuration space: header, vendor capabilities, MSI-X. */
#include <errno.h>
#include <string.h>
#include "state.h"

#define PCI_CAP_ID_VENDOR 0x09
#define PCI_CAP_ID_MSIX   0x11
#define MSIX_AT           0x40 /* the first */

static void put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, (uint16_t)v);
	put16(p + 2, (uint16_t)(v >> 16));
}

static uint8_t cap_bytes(const struct model_cap *cap)
{
	if (cap->cap_len != 0)
		return cap->cap_len;
	return cap->type == VIRTIO_PCI_CAP_NOTIFY_CFG || cap->type == VIRTIO_PCI_CAP_PCI_CFG ? 20
											     : 16;
}

static unsigned put_cap(struct model *m, unsigned at, const struct model_cap *cap, bool last)
{
	uint8_t *p = m->space + at;
	unsigned bytes = cap_bytes(cap);
	unsigned room = (bytes + 3) & ~3U;

	p[0] = PCI_CAP_ID_VENDOR;
	p[1] = last ? 0 : (uint8_t)(at + room);
	p[2] = (uint8_t)bytes;
	p[3] = cap->type;
	p[4] = cap->bar;
	put32(p + 8, cap->offset);
	put32(p + 12, cap->length);
	if (cap->type == VIRTIO_PCI_CAP_NOTIFY_CFG && bytes >= 20)
		put32(p + 16, m->cfg.notify_multiplier);
	return at + room;
}

static unsigned put_msix(struct model *m, unsigned at, bool last)
{
	uint8_t *p = m->space + at;

	p[0] = PCI_CAP_ID_MSIX;
	p[1] = last ? 0 : (uint8_t)(at + 12);
	put16(p + 2, 0x8000 | 1); /* enabled, two vectors */
	m->space_may_clear[at + 3] = 0x80;
	return at + 12;
}

void mpci_build(struct model *m)
{
	const struct model_config *cfg = &m->cfg;
	unsigned at = MSIX_AT;

	put16(m->space, cfg->ids.vendor);
	put16(m->space + 2, cfg->ids.device);
	put16(m->space + 4, 0x0403); /* I/O, memory; bus mastering off; INTx disabled */
	m->space[8] = cfg->ids.revision;
	put16(m->space + 0x2c, cfg->ids.subvendor);
	put16(m->space + 0x2e, cfg->ids.subdevice);
	m->space[0x3d] = !cfg->no_irq;
	if (cfg->nr_caps == 0 && !cfg->msix_left_on)
		return;
	put16(m->space + 6, 0x10); /* there is a capability list */
	m->space[0x34] = (uint8_t)at;
	if (cfg->msix_left_on)
		at = put_msix(m, at, cfg->nr_caps == 0);
	for (unsigned i = 0; i < cfg->nr_caps && at + cap_bytes(&cfg->caps[i]) <= 256; i++)
		at = put_cap(m, at, &cfg->caps[i], i + 1 == cfg->nr_caps);
}

bool mpci_msix_is_on(const struct model *m)
{
	return m->cfg.msix_left_on && (m->space[MSIX_AT + 3] & 0x80) != 0;
}

/* Structures may be offered several times; each of them works. */
const struct model_cap *mpci_find(const struct model *m, int bar, uint64_t off)
{
	if (m->cfg.legacy)
		return mlegacy_find(m, bar, off);
	for (unsigned i = 0; i < m->cfg.nr_caps; i++) {
		const struct model_cap *cap = &m->cfg.caps[i];

		if (cap->type >= VIRTIO_PCI_CAP_COMMON_CFG &&
			cap->type <= VIRTIO_PCI_CAP_DEVICE_CFG && cap->bar == bar &&
			off >= cap->offset && off - cap->offset < cap->length)
			return cap;
	}
	return NULL;
}

int mpci_read(struct hw *hw, uint32_t off, void *buf, uint32_t len)
{
	struct model *m = m_of(hw);
	uint32_t limit = m->cfg.config_space_limit != 0 ? m->cfg.config_space_limit : 256;
	int err = 0;

	m_lock(m);
	m_tick(m);
	m_trace(m, MODEL_CONFIG_SPACE, false, 0, (int)len, off, 0);
	if (m_fails(m))
		err = -EIO;
	else if (off > limit || len > limit - off)
		err = -EPERM;
	else if (m->gone)
		memset(buf, 0xff, len);
	else
		memcpy(buf, m->space + off, len);
	m_unlock(m);
	return err;
}

/* Nothing in there is the driver's to write, but what a former owner left on (PC8; command is
 * reached by hooks). */
int mpci_write(struct hw *hw, uint32_t off, const void *buf, uint32_t len)
{
	struct model *m = m_of(hw);
	const uint8_t *bytes = buf;
	int err = 0;

	m_lock(m);
	m_tick(m);
	m_trace(m, MODEL_CONFIG_SPACE, true, 0, (int)len, off, bytes[0]);
	if (m_fails(m)) {
		err = -EIO;
		goto out;
	}
	for (uint32_t i = 0; i < len && off + i < 256; i++) {
		uint8_t *p = m->space + off + i;
		uint8_t may = m->cfg.garbage_bars ? 0x80 : m->space_may_clear[off + i];

		if (may == 0 || (*p & ~may) != (bytes[i] & ~may) || (bytes[i] & ~*p) != 0)
			m_violation(m, "PC8: configuration space byte 0x%x written", off + i);
		else
			*p = bytes[i];
	}
out:
	m_unlock(m);
	return err;
}
