/* vblk_reset.c - the device is reset, or one queue of it: for good, or to go on with it.
 *
 *	freeze the rings -> (planned: let the device finish, flush) -> take what it has finished ->
 *	reset -> negotiate anew, empty queues -> DRIVER_OK -> what it had is given again
 *
 * Invariants
 *  1. All of it is done under config_lock, so one at a time.
 *  2. Nothing that the device had is given again, or given back, before its status reads 0, or the
 *     queue's reset does: till then it may write to that memory (virtio 1.2, 3.3.1, 2.6.1.1.2).
 *  3. A request is sent again whole. Those that were in flight together have no order among them
 *     (blockdev.h), so a read reads, and a write writes, what it would have. Flushes: see
 *     vblk_rings_restore(). */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include "log.h"
#include "vblk.h"

#define SUSPEND_LIMIT_US (1000U * 1000)
#define SUSPEND_POLL_US  10000U
#define MINUTE_NS        (60ULL * 1000 * 1000 * 1000)

void vblk_break(struct vblk *vblk, int err, const char *why)
{
	if (atomic_exchange(&vblk->breaking, true))
		return;
	log_line(LOG_ERR, "%s: %s: every request fails from now on", vblk->info.name, why);
	for (unsigned i = 0; i < vblk->nr_rings; i++) {
		struct vblk_ring *ring = &vblk->ring[i];

		owner_lock_share(&ring->lock);
		owner_lock(&ring->lock);
		ring->service = VBLK_STOPPED;
		owner_unlock(&ring->lock);
	}
	(void)virtio_reset_device(vblk->vdev); /* invariant 2 */
	atomic_store(&vblk->dead, err);
	for (unsigned i = 0; i < vblk->nr_rings; i++)
		(void)vblk_ring_wake(&vblk->ring[i]);
}

/* RING NULL: all. */
static unsigned reap(struct vblk *vblk, struct vblk_ring *ring)
{
	return ring != NULL ? vblk_ring_reap(ring) : vblk_rings_reap(vblk);
}

/* Then nothing more comes out of it. */
static bool is_broken(const struct vblk *vblk, const struct vblk_ring *ring)
{
	bool broken = false;

	for (unsigned i = 0; i < vblk->nr_rings; i++)
		if (ring == NULL || ring == &vblk->ring[i])
			broken |= vblk->ring[i].vq->broken;
	return broken;
}

/* Until the device has nothing any more, or does not get on. -ETIMEDOUT, -EPROTO, and as
 * virtio_device_health(). */
static int drain(struct vblk *vblk, struct vblk_ring *ring)
{
	struct vblk_wait w;
	unsigned nr, before = UINT_MAX;

	while ((nr = reap(vblk, ring)) > 0) {
		int err;

		if (nr < before)
			w = (struct vblk_wait){.limit_us = vblk_patience_us(vblk)};
		before = nr;
		err = is_broken(vblk, ring) ? -EPROTO : vblk_wait_a_little(vblk, &w);
		if (err < 0)
			return err;
	}
	return 0;
}

static int flush_all(struct vblk *vblk)
{
	uint64_t nr = vblk_nr_changes(vblk);
	int err = 0;

	if (atomic_load(&vblk->nr_flushed) == nr)
		return 0;
	if (atomic_load(
		    &vblk->volatile_cache)) /* else they are durable, whatever the cache is next */
		err = vblk_ring_flush(&vblk->ring[0]);
	if (err == 0)
		vblk_note_flushed(vblk, nr);
	return err;
}

int vblk_quiesce(struct vblk *vblk)
{
	int err;

	vblk_rings_quiesce(vblk);
	err = drain(vblk, NULL);
	return err < 0 ? err : flush_all(vblk);
}

/* A device that asks for it again and again is given up. */
static bool too_often(struct vblk *vblk)
{
	uint64_t now = count_now_ns();

	for (unsigned i = 0; i < VBLK_RESETS_MAX; i++)
		if (vblk->reset_ns[i] == 0 || now - vblk->reset_ns[i] > MINUTE_NS) {
			vblk->reset_ns[i] = now;
			return false;
		}
	return true;
}

static int give_up(struct vblk *vblk, int err, const char *why, const char *what)
{
	char text[512];

	(void)snprintf(text, sizeof(text), "%s, %s", why, what);
	vblk_break(vblk, err == -ENODEV ? err : -EIO, text);
	return err;
}

bool vblk_was_suspended(struct vblk *vblk)
{
	struct hw *hw = vblk->hw;

	if (hw->ops->nr_suspends == NULL)
		return false;
	/* The kernel lets its processes go on first, and counts then. */
	for (uint32_t waited_us = 0; waited_us < SUSPEND_LIMIT_US; waited_us += SUSPEND_POLL_US) {
		if (hw->ops->nr_suspends(hw) != vblk->nr_suspends)
			return true;
		hw->ops->sleep_us(hw, SUSPEND_POLL_US);
	}
	return false;
}

/* The part between the freeze and the end. */
static int reset_device(struct vblk *vblk, enum vblk_reset_cause cause)
{
	int err;

	(void)vblk_rings_reap(vblk); /* what the device has finished is finished */
	err = virtio_reset_device(vblk->vdev);
	if (err < 0)
		return err;
	if (vblk->hw->ops->nr_suspends != NULL)
		vblk->nr_suspends = vblk->hw->ops->nr_suspends(vblk->hw);
	err = virtio_device_restart(vblk->vdev);
	return err < 0 ? err : vblk_go_on(vblk, cause);
}

/* If the device goes away meanwhile, and comes back, it has been reset all the more, and it is told
 * then what waits here (see vblk_restore()). */
static int renew(struct vblk *vblk, const char *why)
{
	int err = virtio_device_health(vblk->vdev);

	if (err < 0)
		return err;
	log_line(LOG_NOTICE, "%s: %s: it is reset", vblk->info.name, why);
	err = vblk_quiesce(vblk);
	if (err == 0 && vblk->vdev->config->renew_vqs(vblk->vdev) < 0)
		err = -EAGAIN;
	if (err == 0)
		atomic_fetch_add(&vblk->nr_resets, 1);
	vblk_rings_thaw(vblk);
	return err;
}

static int reset(struct vblk *vblk, enum vblk_reset_cause cause, const char *why)
{
	const struct virtio_config_ops *config = vblk->vdev->config;
	bool planned = cause == VBLK_REQUESTED;
	int err = atomic_load(&vblk->dead);

	if (err != 0)
		return err;
	if (planned && config->renew_vqs != NULL)
		return renew(vblk, why);
	if (config->restart_vqs == NULL)
		return planned ? -EOPNOTSUPP : give_up(vblk, -EIO, why, "and it can't be reset");
	if (cause == VBLK_BROKEN && too_often(vblk))
		return give_up(vblk, -EIO, why, "time and again");
	log_line(cause == VBLK_BROKEN ? LOG_WARNING : LOG_NOTICE, "%s: %s: it is reset",
		vblk->info.name, why);
	if (planned)
		err = vblk_quiesce(vblk);
	else
		vblk_rings_quiesce(vblk);
	if (err == -ECONNRESET && vblk_was_suspended(vblk))
		cause = VBLK_SUSPENDED;
	else if (err < 0) /* then it is a reset as any other */
		log_line(LOG_WARNING, "%s: before the reset: %s", vblk->info.name,
			err == -ETIMEDOUT ? config->silence(vblk->vdev) : strerror(-err));
	err = reset_device(vblk, cause);
	if (err < 0)
		return give_up(vblk, err, why,
			vblk->vdev->why[0] != '\0' ? vblk->vdev->why : "and its reset failed");
	return 0;
}

int vblk_reset(struct vblk *vblk, enum vblk_reset_cause cause, const char *why)
{
	int err;

	atomic_store(&vblk->busy, true);
	err = reset(vblk, cause, why);
	atomic_store(&vblk->busy, false);
	return err;
}

/* QEMU's block device forgets a queue that is reset, but not the requests that it took from it: they
 * end later, in memory that is somebody else's by then and in the new ring (seen with 7.2 and with
 * 10.0.13). Its PCI subsystem vendor is the one of its virtio devices, unless somebody sells it under
 * another; and no register tells one that does forget. So nobody is asked to but by who knows the
 * device. */
static bool never_forgets(const struct vblk *vblk)
{
	return vblk->vdev->id.vendor == VIRTIO_PCI_VENDOR;
}

/* The part between the freeze and the end. *RESIZED: what came of the other size. */
static int renew_ring(struct vblk *vblk, struct vblk_ring *ring, uint16_t size, int *resized)
{
	const struct virtio_config_ops *config = vblk->vdev->config;
	int err;

	(void)vblk_ring_reap(ring);
	err = config->disable_vq_and_reset(ring->vq);
	if (err < 0)
		return err;
	vblk_ring_take_back(ring);
	*resized = size == ring->vq->size ? 0 : vblk_ring_resize(ring, size);
	return config->enable_vq_after_reset(ring->vq);
}

static int reset_ring(struct vblk *vblk, struct vblk_ring *ring, uint16_t size,
	enum vblk_pending pending, const char *why)
{
	int resized = 0, err = atomic_load(&vblk->dead);

	if (err == 0 && (!virtio_has_feature(vblk->vdev, VIRTIO_F_RING_RESET) ||
				(pending == VBLK_FORGET && never_forgets(vblk))))
		err = -EOPNOTSUPP;
	if (err != 0)
		return err;
	log_line(pending == VBLK_FORGET ? LOG_WARNING : LOG_NOTICE, "%s: %s: queue %u is reset",
		vblk->info.name, why, ring->vq->index);
	vblk_ring_quiesce(ring);
	err = pending == VBLK_FORGET ? -ETIMEDOUT : drain(vblk, ring);
	if (err < 0 && (pending == VBLK_AWAIT || never_forgets(vblk))) {
		vblk_ring_thaw(ring);
		return err;
	}
	if (renew_ring(vblk, ring, size, &resized) < 0) {
		err = vblk_reset(vblk, VBLK_BROKEN, "a queue can't be reset");
		if (err == 0 && resized == 0 && ring->vq->size != size)
			resized = -ECANCELED;
		return err < 0 ? err : resized;
	}
	atomic_fetch_add(&vblk->nr_queue_resets, 1);
	vblk_ring_thaw(ring);
	return resized;
}

int vblk_reset_ring(struct vblk *vblk, struct vblk_ring *ring, uint16_t size,
	enum vblk_pending pending, const char *why)
{
	int err;

	atomic_store(&vblk->busy, true);
	err = reset_ring(vblk, ring, size, pending, why);
	atomic_store(&vblk->busy, false);
	return err;
}
