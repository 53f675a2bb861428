/* virtio_bus.c - see virtio_bus.h.
 *
 * Invariants
 *  1. The status register only ever gains bits, but for the write of 0 that resets (virtio 1.2,
 *     2.1.2).
 *  2. A feature is accepted only if the device offers it and the driver's table names it, and never
 *     after FEATURES_OK (2.2).
 *  3. No step of initialisation follows one that failed: FAILED is set, then the device is reset
 *     (3.1.1).
 *  4. config_changed() is called under config_lock, never before the probe has ended.
 *  5. No register of a device that is known to be gone is written: its addresses may be another
 *     one's by now. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include "log.h"
#include "virtio_bus.h"

#define STATUS_GONE 0xffU /* what reads of a removed function give */

static struct {
	pthread_mutex_t lock;
	struct virtio_driver *drivers;
} bus = {.lock = PTHREAD_MUTEX_INITIALIZER};

int virtio_register_driver(struct virtio_driver *drv)
{
	int err = 0;

	pthread_mutex_lock(&bus.lock);
	for (struct virtio_driver *d = bus.drivers; d != NULL; d = d->next)
		if (d == drv)
			err = -EEXIST;
	if (err == 0) {
		drv->next = bus.drivers;
		bus.drivers = drv;
	}
	pthread_mutex_unlock(&bus.lock);
	return err;
}

static bool id_matches(const struct virtio_device *vdev, const struct virtio_driver *drv)
{
	for (const struct virtio_device_id *id = drv->id_table; id->device != 0; id++)
		if ((id->device == VIRTIO_ANY_ID || id->device == vdev->id.device) &&
			(id->vendor == VIRTIO_ANY_ID || id->vendor == vdev->id.vendor))
			return true;
	return false;
}

static struct virtio_driver *match(const struct virtio_device *vdev)
{
	struct virtio_driver *drv;

	pthread_mutex_lock(&bus.lock);
	for (drv = bus.drivers; drv != NULL; drv = drv->next)
		if (id_matches(vdev, drv))
			break;
	pthread_mutex_unlock(&bus.lock);
	return drv;
}

int virtio_fail(struct virtio_device *vdev, int err, const char *format, ...)
{
	va_list args;

	if (vdev->why[0] == '\0') {
		va_start(args, format);
		(void)vsnprintf(vdev->why, sizeof(vdev->why), format, args);
		va_end(args);
	}
	return err;
}

static int gone(struct virtio_device *vdev)
{
	return virtio_fail(vdev, -ENODEV, "the device is gone");
}

static int add_status(struct virtio_device *vdev, uint8_t bits)
{
	uint8_t status = vdev->config->get_status(vdev);

	if (status == STATUS_GONE || atomic_load(&vdev->gone) != 0)
		return gone(vdev);
	vdev->config->set_status(vdev, status | bits);
	return 0;
}

/* The device ignores the reset. Without bus mastering it can't reach memory, whatever it thinks its
 * state is; a reset of the whole function, if it has one, makes that state known again. */
static int reset_by_force(struct virtio_device *vdev, int err)
{
	int off = vdev->hw->ops->bus_master(vdev->hw, false);

	if (vdev->hw->ops->function_reset(vdev->hw) == 0 && vdev->config->get_status(vdev) == 0)
		return 0;
	vdev->reset_failed = true;
	log_line(LOG_CRIT,
		"%s: the device does not reset; bus mastering is %s, and its memory is kept",
		vdev->name, off == 0 ? "off" : "still on");
	return virtio_fail(vdev, err, "the device does not reset");
}

int virtio_reset_device(struct virtio_device *vdev)
{
	int err = atomic_load(&vdev->gone) != 0 ? -ENODEV : vdev->config->reset(vdev);

	if (err == -ENODEV) {
		/* In case it is there all the same, and only does not answer. */
		(void)vdev->hw->ops->bus_master(vdev->hw, false);
		return gone(vdev);
	}
	return err < 0 ? reset_by_force(vdev, err) : 0;
}

void virtio_give_up(struct virtio_device *vdev)
{
	if (vdev->gave_up)
		return;
	vdev->gave_up = true;
	(void)add_status(vdev, VIRTIO_CONFIG_S_FAILED);
	(void)virtio_reset_device(vdev);
}

static uint64_t table_bits(const unsigned *table, unsigned nr)
{
	uint64_t bits = 0;

	for (unsigned i = 0; i < nr; i++)
		bits |= 1ULL << table[i];
	return bits;
}

/* Bits 28 and up belong to rings and transport, which drop what they do not know in
 * finalize_features(). */
#define TRANSPORT_FEATURES (~0ULL << VIRTIO_RING_F_INDIRECT_DESC)

static void choose_features(struct virtio_device *vdev)
{
	const struct virtio_driver *drv = vdev->drv;
	uint64_t known = table_bits(drv->feature_table, drv->nr_features);

	vdev->offered = vdev->config->get_features(vdev);
	if (!(vdev->offered >> VIRTIO_F_VERSION_1 & 1) && drv->feature_table_legacy != NULL)
		known = table_bits(drv->feature_table_legacy, drv->nr_features_legacy);
	vdev->features = vdev->offered & (known | TRANSPORT_FEATURES);
}

static int negotiate(struct virtio_device *vdev)
{
	int err;

	choose_features(vdev);
	if (vdev->drv->validate != NULL) {
		err = vdev->drv->validate(vdev);
		if (err < 0)
			return virtio_fail(vdev, err, "the device's features can't be used");
	}
	err = vdev->config->finalize_features(vdev);
	if (err < 0 || !virtio_has_feature(vdev, VIRTIO_F_VERSION_1))
		return err; /* 3.1.2: a legacy device knows no FEATURES_OK */
	err = add_status(vdev, VIRTIO_CONFIG_S_FEATURES_OK);
	if (err < 0)
		return err;
	if (!(vdev->config->get_status(vdev) & VIRTIO_CONFIG_S_FEATURES_OK))
		return virtio_fail(vdev, -EOPNOTSUPP,
			"the device refuses the features 0x%llx of the 0x%llx that it offers",
			(unsigned long long)vdev->features, (unsigned long long)vdev->offered);
	return 0;
}

int virtio_device_ready(struct virtio_device *vdev)
{
	return add_status(vdev, VIRTIO_CONFIG_S_DRIVER_OK);
}

/* Let config_changed() through, and deliver what came too early. */
static void enable_config(struct virtio_device *vdev)
{
	pthread_mutex_lock(&vdev->config_lock);
	vdev->config_enabled = true;
	if (vdev->config_pending)
		vdev->drv->config_changed(vdev);
	vdev->config_pending = false;
	pthread_mutex_unlock(&vdev->config_lock);
}

static void disable_config(struct virtio_device *vdev)
{
	pthread_mutex_lock(&vdev->config_lock);
	vdev->config_enabled = false;
	pthread_mutex_unlock(&vdev->config_lock);
}

void virtio_config_changed(struct virtio_device *vdev)
{
	pthread_mutex_lock(&vdev->config_lock);
	if (vdev->config_enabled)
		vdev->drv->config_changed(vdev);
	else
		vdev->config_pending = true;
	pthread_mutex_unlock(&vdev->config_lock);
}

void virtio_device_gone(struct virtio_device *vdev, int err)
{
	atomic_store(&vdev->gone, err);
	virtio_config_changed(vdev);
}

bool virtio_device_freeze(struct virtio_device *vdev)
{
	bool can;

	pthread_mutex_lock(&vdev->config_lock);
	can = vdev->config_enabled && vdev->drv->freeze != NULL;
	if (can)
		vdev->drv->freeze(vdev);
	pthread_mutex_unlock(&vdev->config_lock);
	return can;
}

void virtio_device_restore(struct virtio_device *vdev)
{
	pthread_mutex_lock(&vdev->config_lock);
	atomic_store(&vdev->away, false);
	if (vdev->config_enabled && vdev->drv->restore != NULL)
		vdev->drv->restore(vdev);
	vdev->rings_kept = false;
	pthread_mutex_unlock(&vdev->config_lock);
}

void virtio_config_lock(struct virtio_device *vdev)
{
	pthread_mutex_lock(&vdev->config_lock);
}

bool virtio_config_trylock(struct virtio_device *vdev)
{
	return pthread_mutex_trylock(&vdev->config_lock) == 0;
}

void virtio_config_unlock(struct virtio_device *vdev)
{
	pthread_mutex_unlock(&vdev->config_lock);
}

int virtio_device_restart(struct virtio_device *vdev)
{
	uint64_t before = vdev->features;
	int err = vdev->config->restart_vqs == NULL ? -EOPNOTSUPP : 0;

	vdev->why[0] = '\0';
	if (err == 0)
		err = add_status(vdev, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	if (err == 0)
		err = add_status(vdev, VIRTIO_CONFIG_S_DRIVER);
	if (err == 0)
		err = negotiate(vdev);
	if (err == 0 && vdev->features != before)
		err = virtio_fail(vdev, -EPROTO,
			"it has the features 0x%llx after a reset, and had 0x%llx",
			(unsigned long long)vdev->features, (unsigned long long)before);
	if (err == 0)
		err = vdev->config->restart_vqs(vdev);
	return err < 0 ? err : virtio_device_ready(vdev);
}

int virtio_device_health(struct virtio_device *vdev)
{
	int err = atomic_load(&vdev->gone);
	uint8_t status;

	if (err < 0)
		return err;
	if (atomic_load(&vdev->away) ||
		(vdev->config->is_cut_off != NULL && vdev->config->is_cut_off(vdev)))
		return -EAGAIN;
	status = vdev->config->get_status(vdev);
	/* 0 is what an unmapped function reads as; or the machine was suspended, which resets it. */
	if (status == 0 && vdev->config->is_there != NULL && vdev->config->is_there(vdev))
		return -ECONNRESET;
	if (status == STATUS_GONE || status == 0) {
		atomic_store(&vdev->gone, -ENODEV);
		return -ENODEV;
	}
	if (status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return -EIO;
	return status & VIRTIO_CONFIG_S_DRIVER_OK ? 0 : -ECONNRESET;
}

/* From DRIVER to DRIVER_OK, in the order of 3.1.1. */
static int probe(struct virtio_device *vdev)
{
	int err = add_status(vdev, VIRTIO_CONFIG_S_DRIVER);

	if (err < 0)
		return err;
	err = negotiate(vdev);
	if (err < 0)
		return err;
	err = vdev->drv->probe(vdev);
	if (err < 0)
		return err;
	if (!(vdev->config->get_status(vdev) & VIRTIO_CONFIG_S_DRIVER_OK)) {
		err = virtio_device_ready(vdev);
		if (err < 0)
			vdev->drv->remove(vdev);
	}
	return err;
}

int virtio_register_device(struct virtio_device *vdev)
{
	int err;

	pthread_mutex_init(&vdev->config_lock, NULL);
	err = virtio_reset_device(vdev);
	if (err < 0)
		goto destroy_lock;
	err = add_status(vdev, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	if (err < 0)
		goto failed;
	vdev->drv = match(vdev);
	if (vdev->drv == NULL) {
		err = virtio_fail(
			vdev, -ENXIO, "no driver for virtio device type %u", vdev->id.device);
		goto failed;
	}
	err = probe(vdev);
	if (err < 0)
		goto failed;
	if (vdev->drv->scan != NULL)
		vdev->drv->scan(vdev);
	enable_config(vdev);
	return 0;

failed:
	if (vdev->config->get_status(vdev) == STATUS_GONE) { /* whatever it looked like before */
		vdev->why[0] = '\0';
		err = gone(vdev);
	}
	virtio_give_up(vdev);
destroy_lock:
	pthread_mutex_destroy(&vdev->config_lock);
	return err;
}

void virtio_unregister_device(struct virtio_device *vdev)
{
	disable_config(vdev);
	vdev->drv->remove(vdev);
	pthread_mutex_destroy(&vdev->config_lock);
}

static int show_features(const struct virtio_device *vdev, char *buf, size_t bytes)
{
	char bits[65];

	for (unsigned i = 0; i < 64; i++)
		bits[i] = vdev->features >> i & 1 ? '1' : '0';
	bits[64] = '\0';
	return snprintf(buf, bytes, "%s", bits);
}

int virtio_attribute(struct virtio_device *vdev, const char *name, char *buf, size_t bytes)
{
	if (strcmp(name, "status") == 0)
		return snprintf(buf, bytes, "0x%08x", vdev->config->get_status(vdev));
	if (strcmp(name, "features") == 0)
		return show_features(vdev, buf, bytes);
	if (strcmp(name, "vendor") == 0)
		return snprintf(buf, bytes, "0x%04x", vdev->id.vendor);
	if (strcmp(name, "device") == 0)
		return snprintf(buf, bytes, "0x%04x", vdev->id.device);
	if (strcmp(name, "modalias") == 0)
		return snprintf(buf, bytes, "virtio:d%08Xv%08X", vdev->id.device, vdev->id.vendor);
	return -ENOENT;
}
