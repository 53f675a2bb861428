/* vblk_watch.c - notices what no interrupt tells: a device that stalls. It is waited for, unless
 * there is a time limit: then the queue is reset, where the user says that the device can do that,
 * then the device, and if that does not help, it is given up.
 *
 * The thread ticks only while somebody sleeps with requests in flight. At a tick without progress
 * the sleepers look for themselves, so that a lost interrupt costs a second and not for ever. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <syslog.h>
#include <unistd.h>
#include "log.h"
#include "vblk.h"

#define TICK_MS     1000
#define STALL_TICKS 30U

static uint64_t nr_inflight(struct vblk_ring *ring)
{
	uint64_t returned = atomic_load(&ring->nr_returned);

	return atomic_load(&ring->nr_given) - returned;
}

static void describe_stall(struct vblk *vblk, unsigned index, char *buf, size_t bytes)
{
	struct vblk_watch *w = &vblk->watch;

	(void)snprintf(buf, bytes, "%llu requests on queue %u, none done for %u s: %s",
		(unsigned long long)nr_inflight(&vblk->ring[index]), index,
		w->idle_ticks[index] * (unsigned)w->tick_ms / 1000,
		vblk->vdev->config->silence(vblk->vdev));
}

/* False: the device is to be reset instead. Unasked that is so at once, for who knows what the device
 * would do with the requests of a queue that is reset alone (see vblk_reset.c). */
static bool try_queue_reset(struct vblk *vblk, unsigned index, const char *why)
{
	struct vblk_watch *w = &vblk->watch;
	struct vblk_ring *ring = &vblk->ring[index];

	if (!w->queue_reset || w->tried[index] != VBLK_NO_CURE)
		return false;
	w->tried[index] = VBLK_QUEUE_RESET;
	return vblk_reset_ring(vblk, ring, ring->vq->size, VBLK_FORGET, why) == 0;
}

/* It is over its time limit. A reset may help, of the queue alone or of the device, once each. */
static void time_out(struct vblk *vblk, unsigned index, const char *why)
{
	enum vblk_cure *tried = &vblk->watch.tried[index];

	virtio_config_lock(vblk->vdev);
	if (try_queue_reset(vblk, index, why)) {
		; /* and sent again */
	} else if (*tried != VBLK_DEVICE_RESET) {
		*tried = VBLK_DEVICE_RESET;
		(void)vblk_reset(vblk, VBLK_BROKEN, why);
	} else {
		vblk_break(vblk, -EIO, why);
	}
	virtio_config_unlock(vblk->vdev);
}

static void handle_stall(struct vblk *vblk, unsigned index)
{
	struct vblk_watch *w = &vblk->watch;
	uint64_t idle_ms = (uint64_t)w->idle_ticks[index] * (unsigned)w->tick_ms;
	bool late = vblk->timeout_s != 0 && idle_ms >= vblk->timeout_s * 1000ULL;
	char why[256];

	if (w->idle_ticks[index] != w->stall_ticks && !late)
		return;
	if (vblk_ring_has_answers(&vblk->ring[index])) { /* it is the owner that stalls */
		w->idle_ticks[index] = 0;
		w->tried[index] = VBLK_NO_CURE;
		return;
	}
	describe_stall(vblk, index, why, sizeof(why));
	if (late) {
		w->idle_ticks[index] = 0;
		time_out(vblk, index, why);
	} else {
		log_line(LOG_WARNING, "%s: %s", vblk->info.name, why);
	}
}

/* Without interrupts a change of the configuration is seen here. False: somebody is at something with
 * the device, for long maybe. */
static bool check_device(struct vblk *vblk)
{
	struct virtio_device *vdev = vblk->vdev;
	uint32_t generation = vblk->watch.generation;
	int err;

	if (!virtio_config_trylock(vdev)) /* while somebody resets it, it has no state */
		return false;
	err = virtio_device_health(vdev);
	if (err == 0)
		generation = vdev->config->generation(vdev);
	virtio_config_unlock(vdev);
	if (err < 0 || generation != vblk->watch.generation)
		virtio_config_changed(vdev);
	vblk->watch.generation = generation;
	return true;
}

static void check_ring(struct vblk *vblk, unsigned index)
{
	struct vblk_watch *w = &vblk->watch;
	struct vblk_ring *ring = &vblk->ring[index];
	uint64_t returned = atomic_load(&ring->nr_returned);

	if (nr_inflight(ring) == 0 || returned != w->seen[index]) {
		if (returned != w->seen[index])
			w->tried[index] = VBLK_NO_CURE;
		w->seen[index] = returned;
		w->idle_ticks[index] = 0;
		return;
	}
	/* The device may know better than the clock, and be reset: what that brings back has all its time
	 * again. While somebody else is at it, no time passes. */
	if (check_device(vblk)) {
		w->idle_ticks[index]++;
		if (atomic_load(&ring->nr_returned) == returned)
			handle_stall(vblk, index);
		else
			w->idle_ticks[index] = 0;
		w->seen[index] = atomic_load(&ring->nr_returned);
	}
	(void)vblk_ring_wake(ring);
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

void vblk_watch_tick(struct vblk *vblk)
{
	if (atomic_load(&vblk->dead) != 0) {
		atomic_store(&vblk->watch.on, false);
		return;
	}
	for (unsigned i = 0; i < vblk->nr_rings; i++)
		check_ring(vblk, i);
	if (!atomic_load(&vblk->vdev->has_irq))
		(void)check_device(vblk);
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
			vblk_watch_tick(vblk);
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
