/* virtio_bus.h - the virtio bus: devices, drivers, and how they find each other; feature
 * negotiation and device status.
 *
 * Names and order follow Linux's drivers/virtio. A transport registers a device: it is reset,
 * acknowledged, matched, validated, probed, made live, scanned. The driver then owns it until
 * virtio_unregister_device().
 *
 * Errors are negative errnos; the first failure also leaves one line for the user in vdev->why.
 *
 * Threads: registration from any thread. config_changed() comes from the transport's interrupt
 * thread, or, when a change came before the probe ended, from the thread that probes; never from
 * two at a time. The transport locks its registers. */
#ifndef VBLKFS_VIRTIO_BUS_H
#define VBLKFS_VIRTIO_BUS_H
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "hw.h"
#include "virtio.h"

struct virtio_device;
struct virtqueue;

struct virtqueue_info {
	const char *name; /* req.0; copied */
	void (*callback)(struct virtqueue
			*vq); /* on the interrupt thread: something may be in the used ring */
};

struct virtio_region { /* where in its BARs a device has one of its structures */
	const char *name;
	uint8_t bar;
	uint64_t off, bytes;
};
#define VIRTIO_REGIONS_MAX 8

/* What a transport does for the bus. Every entry is required unless it says otherwise. */
struct virtio_config_ops {
	const char *name; /* for people; may be NULL */
	uint8_t (*get_status)(struct virtio_device *vdev);
	void (*set_status)(struct virtio_device *vdev, uint8_t status); /* not 0: that is reset() */
	/* Status 0, and wait until it reads 0: then the device touches no memory. -ENODEV: gone;
	 * -ETIMEDOUT: it may still do. */
	int (*reset)(struct virtio_device *vdev);
	uint64_t (*get_features)(struct virtio_device *vdev);
	/* Drops what the transport and the rings do not understand, then tells the device. Without
	 * VERSION_1 it is a legacy device, or an error. */
	int (*finalize_features)(struct virtio_device *vdev);
	uint32_t (*generation)(struct virtio_device *vdev);
	/* One field, of its natural width: 1, 2, 4 or 8 bytes, in host order. The caller keeps to
	 * vdev->config_bytes. */
	uint64_t (*get)(struct virtio_device *vdev, uint32_t off, unsigned bytes);
	int (*set)(struct virtio_device *vdev, uint32_t off, unsigned bytes, uint64_t val);
	/* Make NR queues, none bigger than MAX_SIZE where the driver may choose, and start listening
	 * for interrupts. All or none. */
	int (*find_vqs)(struct virtio_device *vdev, unsigned nr, uint32_t max_size,
		const struct virtqueue_info *info, struct virtqueue **out);
	/* After reset(). When it failed, the memory is not freed: the device may still write to it.
	 */
	void (*del_vqs)(struct virtio_device *vdev);
	void (*notify)(struct virtqueue *vq);
	/* With RING_RESET (2.6.1), else not called; may be NULL. The device lets go of one queue and
	 * forgets its requests, while the others go on: -ENODEV; -ETIMEDOUT: it may still touch them.
	 * Then, vq_resize() in between or not: it has an empty one. */
	int (*disable_vq_and_reset)(struct virtqueue *vq);
	int (*enable_vq_after_reset)(struct virtqueue *vq);
	/* Interrupts of VQ are written to the eventfd FD from now on, and its callback is not called;
	 * -1: it is again, and what came meanwhile may not be seen by it. -EOPNOTSUPP: not of this
	 * queue. May be NULL. Resets change nothing of it. */
	int (*wake_by)(struct virtqueue *vq, int fd);
	/* After a reset and up to FEATURES_OK: the same queues again, empty. NULL: it can't. */
	int (*restart_vqs)(struct virtio_device *vdev);
	/* Instead of a reset, of a device that has no request and may go away: the same queues again,
	 * empty, and all else as it was. After an error it goes away. May be NULL. */
	int (*renew_vqs)(struct virtio_device *vdev);
	/* May be NULL. How many there are. */
	unsigned (*regions)(
		struct virtio_device *vdev, struct virtio_region out[VIRTIO_REGIONS_MAX]);
	/* Why it may be that the device does not answer, in words. */
	const char *(*silence)(struct virtio_device *vdev);
	/* It lost its state, and its thread has yet to see to it, or waits for config_lock. May be
	 * NULL. */
	bool (*is_cut_off)(struct virtio_device *vdev);
	/* Is there a device whose status is 0, or nothing? NULL: nothing. */
	bool (*is_there)(struct virtio_device *vdev);
	void (*close)(struct virtio_device *vdev); /* unregister, and let go of all */
};

struct virtio_device_id {
	uint32_t device;
	uint32_t vendor;
};
#define VIRTIO_ANY_ID 0xffffffffU

struct virtio_driver {
	const char *name;
	const struct virtio_device_id *id_table; /* ends with device 0 */
	const unsigned *feature_table;           /* bit numbers */
	unsigned nr_features;
	const unsigned *feature_table_legacy; /* for devices without VERSION_1; NULL: the same */
	unsigned nr_features_legacy;
	int (*validate)(
		struct virtio_device *vdev); /* may clear bits in vdev->features; may be NULL */
	int (*probe)(
		struct virtio_device *vdev); /* to undo what it began: virtio_give_up() first */
	void (*scan)(struct virtio_device *vdev);   /* the device is live now; may be NULL */
	void (*remove)(struct virtio_device *vdev); /* resets the device before it frees anything */
	/* The configuration changed, or the device broke: see virtio_device_health(). */
	void (*config_changed)(struct virtio_device *vdev);
	/* The device lost its state: touch no queue. Then, if it comes back, has been told what was
	 * last written to its configuration, and has empty queues: give it anew what it had; or,
	 * with rings_kept, take from them. Both NULL: it can't. */
	void (*freeze)(struct virtio_device *vdev);
	void (*restore)(struct virtio_device *vdev);

	struct virtio_driver *next; /* the bus's */
};

struct virtio_device {
	const struct virtio_config_ops *config;
	struct hw *hw;              /* for DMA memory and barriers */
	struct virtio_device_id id; /* set by the transport, as are the next three */
	char name[64];
	uint32_t config_bytes; /* readable at all; a field past it does not exist */
	uint32_t max_vqs;      /* as the transport knows it */
	bool rings_kept; /* between freeze() and restore(): the next device goes on with the rings as they are */
	bool cache_mode_unset; /* the block device's configuration may tell it wrong, until it was set */
	atomic_bool has_irq; /* interrupts are delivered; may turn false, never true */
	unsigned nr_vectors; /* by as many messages; 0: by one line */
	uint64_t offered, features;
	const void *params; /* what the opener wants of the driver; of the driver's own type */
	void *priv;         /* the driver's */
	char why[160];

	/* the bus's */
	struct virtio_driver *drv;
	pthread_mutex_t
		config_lock; /* config_enabled, config_pending, and the call of config_changed() */
	bool config_enabled, config_pending;
	bool gave_up;
	bool reset_failed; /* the device may still write to memory: free none */
	atomic_int gone;   /* a negative errno once the device is known to be lost */
	atomic_bool
		away; /* the transport's, up to restore(): it lost its state, and may come back */
};

int virtio_register_driver(struct virtio_driver *drv); /* -EEXIST; it stays registered */

/* Reset, match, probe. On failure the device is reset and nothing is kept. -ENXIO: no driver wants
 * it. */
int virtio_register_device(struct virtio_device *vdev);
/* remove(). Then the transport may go. */
void virtio_unregister_device(struct virtio_device *vdev);

static inline bool virtio_has_feature(const struct virtio_device *vdev, unsigned bit)
{
	return vdev->features >> bit & 1;
}
static inline void virtio_clear_feature(struct virtio_device *vdev, unsigned bit)
{
	vdev->features &= ~(1ULL << bit);
}

/* DRIVER_OK: from now on the device may be kicked. For a driver whose probe() does I/O; else the
 * bus does it after probe(). */
int virtio_device_ready(struct virtio_device *vdev);
/* Status 0, awaited; bus mastering is taken away where that fails. -ENODEV, -ETIMEDOUT. */
int virtio_reset_device(struct virtio_device *vdev);
/* After virtio_reset_device(), its driver's queues at rest: from ACKNOWLEDGE to DRIVER_OK again, with
 * the features as they were and the queues empty. -EOPNOTSUPP: the transport can't. */
int virtio_device_restart(struct virtio_device *vdev);
/* Keep config_changed() from being called, and wait until it is not. */
void virtio_config_lock(struct virtio_device *vdev);
bool virtio_config_trylock(struct virtio_device *vdev);
void virtio_config_unlock(struct virtio_device *vdev);
/* 0; -ENODEV: it has gone; -EIO: it says DEVICE_NEEDS_RESET; -ECONNRESET: it has lost its
 * DRIVER_OK, or all of its state; -EAGAIN: it is away. One register read. */
int virtio_device_health(struct virtio_device *vdev);
/* Initialisation failed: FAILED, then reset, so that memory may be freed. Once; later calls do
 * nothing. */
void virtio_give_up(struct virtio_device *vdev);

/* By transports: a configuration interrupt; the device vanished. */
void virtio_config_changed(struct virtio_device *vdev);
void virtio_device_gone(struct virtio_device *vdev, int err);
/* It lost its state and may get it back: freeze() and restore() of the driver. On the thread of
 * config_changed(). False: the driver can't, or is just beginning or ending. */
bool virtio_device_freeze(struct virtio_device *vdev);
void virtio_device_restore(struct virtio_device *vdev);

/* Attributes as text: status, features, vendor, device, modalias. The length, or -ENOENT. */
int virtio_attribute(struct virtio_device *vdev, const char *name, char *buf, size_t bytes);

/* Record the reason of a failure, if it is the first, and return ERR. */
int virtio_fail(struct virtio_device *vdev, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
#endif
