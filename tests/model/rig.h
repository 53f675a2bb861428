/* rig.h - a driver plugged into the model, as the unit tests of driver/ use it.
 *
 * rig_init(), then change r->cfg, rig_model(), and one of: rig_plug(), a virtio driver of the
 * test's own with bare queues; rig_disk(), the block driver behind blockdev.h. rig_end() unplugs
 * what is plugged and asserts that the model saw no violation. */
#ifndef VBLKFS_TESTS_MODEL_RIG_H
#define VBLKFS_TESTS_MODEL_RIG_H
#include "disk.h"
#include "model.h"
#include "virtio_bus.h"
#include "virtqueue.h"

struct rig {
	struct model_config cfg;
	struct model *m;
	char err[256];

	/* rig_plug() */
	uint64_t wants; /* features that its driver's table names */
	unsigned nr_vqs;
	uint32_t max_size; /* 0: the device's */
	bool use_irq;
	int (*probe)(struct rig *r); /* instead of finding the queues */
	struct virtio_device *vdev;
	struct virtqueue *vq[MODEL_MAX_QUEUES];
	atomic_uint callbacks[MODEL_MAX_QUEUES];
	atomic_uint config_changes;
	atomic_uint done_at_callback; /* how many the device had completed at the last callback */

	/* rig_disk() */
	struct disk_opts opts;
	struct blockdev *dev;
	struct blk_queue *q;
};

void rig_init(struct rig *r);
void rig_model(
	struct rig *r); /* by rig_plug() and rig_disk(), where the test needs it no earlier */
int rig_plug(struct rig *r);
void rig_unplug(struct rig *r);
int rig_find_vqs(struct rig *r); /* for a probe of the test's own */
int rig_disk(struct rig *r);
void rig_disk_close(struct rig *r);
void rig_end(struct rig *r);
void rig_no_violations(struct rig *r); /* so far */

/* A request of a test, made by hand: header, data and status in DMA memory. */
struct rig_io {
	uint8_t *mem; /* 16 bytes of header, the status byte, then at 512 the data */
	uint32_t data_bytes;
	uint8_t *data, *status;
};
void rig_io_alloc(struct rig *r, struct rig_io *io, uint32_t data_bytes);
void rig_io_free(struct rig *r, struct rig_io *io);
/* Header TYPE and SECTOR, status poisoned, data in NR_DATA descriptors. -ENOSPC as from
 * vq_add(). */
int rig_io_add(struct rig *r, struct virtqueue *vq, struct rig_io *io, uint32_t type,
	uint64_t sector, unsigned nr_data);
void rig_kick(struct virtqueue *vq); /* prepare, and notify where that is wanted */
/* Give the device up to STEPS steps until a token comes back. NULL: it never did. */
void *rig_get(struct rig *r, struct virtqueue *vq, unsigned steps);
#endif
