/* vblk_watch.c - notices what no interrupt tells: a device that stalls, and ends the service of one
 * that broke.
 *
 * The thread ticks only while somebody sleeps with requests in flight. At a tick without progress
 * the sleepers look for themselves, so that a lost interrupt costs a second and not for ever. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <syslog.h>
#include <unistd.h>
#include "vblk.h"

#define TICK_MS     1000
#define STALL_TICKS 30U

void vblk_break(struct vblk *vblk, int err, const char *why)
{
	if (atomic_exchange(&vblk->breaking, true))
		return;
	syslog(LOG_ERR, "%s: %s: every request fails from now on", vblk->info.name, why);
	for (unsigned i = 0; i < vblk->nr_rings; i++) {
		struct vblk_ring *ring = &vblk->ring[i];

		owner_lock_share(&ring->lock);
		owner_lock(&ring->lock);
		ring->service = VBLK_STOPPED;
		owner_unlock(&ring->lock);
	}
	/* Only now may what the device had be given back: it can't write to it any more (virtio
	 * 1.2, 3.3.1). */
	(void)virtio_reset_device(vblk->vdev);
	atomic_store(&vblk->dead, err);
	for (unsigned i = 0; i < vblk->nr_rings; i++)
		(void)vblk_ring_wake(&vblk->ring[i]);
}

static uint64_t nr_inflight(struct vblk_ring *ring)
{
	uint64_t returned = atomic_load(&ring->nr_returned);

	return atomic_load(&ring->nr_given) - returned;
}

static void report_stall(struct vblk *vblk, unsigned index)
{
	syslog(LOG_WARNING, "%s: %llu requests on queue %u, none done for %u s: %s",
		vblk->info.name, (unsigned long long)nr_inflight(&vblk->ring[index]), index,
		vblk->watch.stall_ticks * (unsigned)vblk->watch.tick_ms / 1000,
		vblk->vdev->config->silence(vblk->vdev));
}

/* False: it stands still. */
static bool check_ring(struct vblk *vblk, unsigned index)
{
	struct vblk_watch *w = &vblk->watch;
	struct vblk_ring *ring = &vblk->ring[index];
	uint64_t returned = atomic_load(&ring->nr_returned);

	if (nr_inflight(ring) == 0 || returned != w->seen[index]) {
		w->seen[index] = returned;
		w->idle_ticks[index] = 0;
		return true;
	}
	w->idle_ticks[index]++;
	if (w->idle_ticks[index] == w->stall_ticks)
		report_stall(vblk, index);
	(void)vblk_ring_wake(ring);
	return false;
}

/* Without interrupts a change of the configuration is seen here. */
static void check_device(struct vblk *vblk)
{
	struct virtio_device *vdev = vblk->vdev;
	int err = virtio_device_health(vdev);
	uint32_t generation;

	if (err < 0) {
		virtio_config_changed(vdev);
		return;
	}
	generation = vdev->config->generation(vdev);
	if (generation != vblk->watch.generation)
		virtio_config_changed(vdev);
	vblk->watch.generation = generation;
}

static bool anything_inflight(struct vblk *vblk)
{
	for (unsigned i = 0; i < vblk->nr_rings; i++)
		if (nr_inflight(&vblk->ring[i]) != 0)
			return true;
	return false;
}

static void wait_for(int fd, int timeout_ms)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	eventfd_t count;

	if (poll(&pfd, 1, timeout_ms) > 0)
		(void)eventfd_read(fd, &count);
}

/* Off, unless somebody goes to sleep just now: see vblk_watch_on(). */
static void turn_off(struct vblk *vblk)
{
	atomic_store(&vblk->watch.on, false);
	if (anything_inflight(vblk))
		atomic_store(&vblk->watch.on, true);
}

static void tick(struct vblk *vblk)
{
	bool stalled = false;

	if (atomic_load(&vblk->dead) != 0) {
		atomic_store(&vblk->watch.on, false);
		return;
	}
	for (unsigned i = 0; i < vblk->nr_rings; i++)
		if (!check_ring(vblk, i))
			stalled = true;
	if (stalled || !atomic_load(&vblk->vdev->has_irq))
		check_device(vblk);
	if (!anything_inflight(vblk))
		turn_off(vblk);
}

static void *watch_main(void *arg)
{
	struct vblk *vblk = arg;
	struct vblk_watch *w = &vblk->watch;

	(void)pthread_setname_np(pthread_self(), "vblk-watch");
	while (!atomic_load(&w->stop)) {
		bool on = atomic_load(&w->on);

		wait_for(w->wake_fd, on ? w->tick_ms : -1);
		if (on)
			tick(vblk);
	}
	return NULL;
}

void vblk_watch_on(struct vblk *vblk)
{
	struct vblk_watch *w = &vblk->watch;

	/* nr_given before `on` is looked at; turn_off() writes `on`, then looks at nr_given. */
	atomic_thread_fence(memory_order_seq_cst);
	if (!atomic_load(&w->on) && !atomic_exchange(&w->on, true))
		(void)eventfd_write(w->wake_fd, 1);
}

int vblk_watch_start(struct vblk *vblk)
{
	struct vblk_watch *w = &vblk->watch;
	int err;

	w->tick_ms = TICK_MS;
	w->stall_ticks = STALL_TICKS;
	w->generation = vblk->vdev->config->generation(vblk->vdev);
	w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->wake_fd < 0)
		return -errno;
	err = -pthread_create(&w->thread, NULL, watch_main, vblk);
	if (err < 0)
		close(w->wake_fd);
	return err;
}

void vblk_watch_stop(struct vblk *vblk)
{
	struct vblk_watch *w = &vblk->watch;

	atomic_store(&w->stop, true);
	(void)eventfd_write(w->wake_fd, 1);
	pthread_join(w->thread, NULL);
	close(w->wake_fd);
}
