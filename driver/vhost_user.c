/* vhost_user.c - see vhost_user.h.
 *
 * There is no status register behind a socket: the status is kept here, and what depends on it is
 * done when it changes: rings are enabled at DRIVER_OK and stopped at the reset.
 *
 *	bus, driver --- struct vhost_user --- struct vhost_conn --- back-end
 *	                  (as long as the disk)  (as long as the back-end lives)
 *
 * Invariants
 *  1. Everything that goes over the connection does so under `lock`. Nothing waits for the driver
 *     or for a back-end to come back under it.
 *  2. A ring's addresses in descriptors and in messages are the same: this process's own.
 *  3. Memory is added to the back-end before it is handed out; the next back-end gets all of it.
 *  4. The next back-end has to do all that was agreed on with the first one.
 *  5. Rings are given to a back-end while the driver is frozen or does not know them yet: zeroed, or,
 *     where both back-ends keep notes of what is in flight, as the last one left them. Requests are
 *     then done again by the next back-end, else by the driver; never by both: what once was
 *     begun with zeroed rings, or did not get as far as to begin, is the driver's.
 *
 * What a connection's end does not end: a back-end that is alive still, because the connection broke
 * by a late or wrong answer, keeps the memory mapped, which nobody can take back from it. It may write
 * to kept and zeroed rings, and to the buffers of what is given again or has failed, until it sees that
 * the connection is over. One process that serves one front-end after the other has seen that, and
 * ended what it had, before it answers the next connection; so the same back-end again is safe. Another
 * one on the same socket beside a last one that hangs is not, and can't be told from here: a late used
 * entry breaks a ring at worst, but a late read may overwrite a buffer that serves something else by
 * then, and a late write newer data on the disk. vblkfs(8) asks for the end of the old one first. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>
#include "dma.h"
#include "log.h"
#include "vhost_conn.h"
#include "vhost_user.h"
#include "virtqueue.h"

#define RETRY_MS 100

unsigned vhost_user_retry_s = 30;

struct vring {
	struct virtqueue *vq;
	int kick_fd, call_fd; /* a polled one's, too: qemu-storage-daemon dies of a ring without */
};

struct vhost_user {
	struct virtio_device vdev;
	struct hw hw;
	char path[108];
	struct dma_arena *dma;
	bool use_irq;

	pthread_mutex_t lock; /* guards all down to the line */
	struct vhost_conn conn;
	struct vup_region region[VUP_REGIONS_MAX];
	unsigned nr_regions;
	unsigned nr_pages; /* of the arena, that they cover */
	bool told_memory;  /* the back-end knows the regions */
	struct vhost_inflight inflight;
	struct config_write { /* what the driver wrote last */
		uint32_t off;
		unsigned bytes; /* 0: nothing */
		uint64_t le;
	} written;
	uint8_t status;
	/* --- */
	atomic_bool connected;
	atomic_uint generation; /* of the configuration */

	struct vring *vring;
	unsigned nr_vrings;
	pthread_t thread;
	bool running;
	int stop_fd;
	struct pollfd *pfd; /* stop, connection, back-end's requests, then a call a ring */
};

enum { POLL_STOP, POLL_CONN, POLL_BACKEND, POLL_CALLS };

static struct vhost_user *to_vu(struct virtio_device *vdev)
{
	return (struct vhost_user *)vdev;
}

static struct vhost_user *hw_to_vu(struct hw *hw)
{
	return (struct vhost_user *)((char *)hw - offsetof(struct vhost_user, hw));
}

/* --- memory --- */

/* The next region: each is as large as all before it together, so that few are enough. */
static void next_region(const struct vhost_user *vu, struct vup_region *r, unsigned *nr_pages)
{
	unsigned nr = vu->nr_pages, first = DMA_PAGES_MAX >> (vu->conn.max_regions - 1);

	if (nr == 0)
		nr = first;
	if (vu->nr_regions + 1 == vu->conn.max_regions || nr > DMA_PAGES_MAX - vu->nr_pages)
		nr = DMA_PAGES_MAX - vu->nr_pages;
	r->user_addr = (uintptr_t)dma_page(vu->dma, vu->nr_pages);
	r->guest_addr = r->user_addr;
	r->bytes = (uint64_t)nr * DMA_PAGE_BYTES;
	r->mmap_offset = (uint64_t)vu->nr_pages * DMA_PAGE_BYTES;
	*nr_pages = nr;
}

/* Caller holds the lock. */
static int add_region(struct vhost_user *vu)
{
	struct vup_region *r = &vu->region[vu->nr_regions];
	unsigned more;
	int err = 0;

	if (vu->nr_regions >= vu->conn.max_regions) /* an earlier back-end had room for more */
		return -EREMOTEIO;
	next_region(vu, r, &more);
	if (vu->told_memory)
		err = vhc_add_memory(&vu->conn, r, dma_file(vu->dma));
	if (err == -EREMOTEIO)
		return err;
	vu->nr_regions++; /* if the connection broke, the next back-end gets it */
	vu->nr_pages += more;
	return 0;
}

/* dma_grows_fn: invariant 3. */
static int cover(void *arg, unsigned nr_pages)
{
	struct vhost_user *vu = arg;
	int err = 0;

	pthread_mutex_lock(&vu->lock);
	if (nr_pages > vu->nr_pages)
		err = add_region(vu);
	pthread_mutex_unlock(&vu->lock);
	if (err < 0)
		log_line(LOG_ERR, "%s: the back-end takes no more memory", vu->vdev.name);
	return err;
}

static void *vu_dma_alloc(struct hw *hw, size_t bytes)
{
	return dma_alloc(hw_to_vu(hw)->dma, bytes);
}

static void vu_dma_free(struct hw *hw, void *mem, size_t bytes)
{
	dma_free(hw_to_vu(hw)->dma, mem, bytes);
}

static uint64_t vu_dma_addr(struct hw *hw, const void *mem, size_t *contig)
{
	return dma_addr(hw_to_vu(hw)->dma, mem, contig);
}

static void vu_sleep_us(struct hw *hw, uint32_t us)
{
	struct timespec ts = {.tv_sec = us / 1000000, .tv_nsec = (long)(us % 1000000) * 1000};

	(void)hw;
	(void)nanosleep(&ts, NULL);
}

/* There is no bus between the two. */
static int vu_bus_master(struct hw *hw, bool on)
{
	(void)hw;
	(void)on;
	return 0;
}

static int vu_function_reset(struct hw *hw)
{
	(void)hw;
	return -EOPNOTSUPP;
}

static const struct hw_ops vu_hw_ops = {
	.dma_alloc = vu_dma_alloc,
	.dma_free = vu_dma_free,
	.dma_addr = vu_dma_addr,
	.bus_master = vu_bus_master,
	.function_reset = vu_function_reset,
	.sleep_us = vu_sleep_us,
};

/* --- what the bus asks for --- */

static uint8_t vu_get_status(struct virtio_device *vdev)
{
	struct vhost_user *vu = to_vu(vdev);
	uint8_t status;

	pthread_mutex_lock(&vu->lock);
	status = vu->status;
	pthread_mutex_unlock(&vu->lock);
	return status;
}

/* Caller holds the lock. A connection that breaks is noticed by the thread. */
static int enable_vrings(struct vhost_user *vu)
{
	int err = 0;

	for (unsigned i = 0; i < vu->nr_vrings && err == 0; i++)
		err = vhc_enable_vring(&vu->conn, (uint16_t)i, true);
	return err;
}

static void vu_set_status(struct virtio_device *vdev, uint8_t status)
{
	struct vhost_user *vu = to_vu(vdev);

	pthread_mutex_lock(&vu->lock);
	if (status & ~vu->status & VIRTIO_CONFIG_S_DRIVER_OK)
		(void)enable_vrings(vu);
	vu->status = status;
	pthread_mutex_unlock(&vu->lock);
}

/* Caller holds the lock. */
static int stop_vrings(struct vhost_user *vu)
{
	int err = atomic_load(&vu->connected) ? 0 : -ENODEV;

	for (unsigned i = 0; i < vu->nr_vrings && err == 0; i++)
		err = vhc_stop_vring(&vu->conn, (uint16_t)i);
	return err;
}

static int vu_reset(struct virtio_device *vdev)
{
	struct vhost_user *vu = to_vu(vdev);
	int err;

	pthread_mutex_lock(&vu->lock);
	err = stop_vrings(vu);
	vu->status = 0;
	pthread_mutex_unlock(&vu->lock);
	return err == 0 || err == -ENODEV ? err : -ETIMEDOUT;
}

/* Without those that are vhost-user's own, and no device's. */
static uint64_t vu_get_features(struct virtio_device *vdev)
{
	return to_vu(vdev)->conn.features & ~(1ULL << VUP_F_PROTOCOL | 1ULL << VUP_F_LOG);
}

static int vu_finalize_features(struct virtio_device *vdev)
{
	struct vhost_user *vu = to_vu(vdev);
	const uint64_t device_bits = (1ULL << VIRTIO_RING_F_INDIRECT_DESC) - 1;
	int err;

	/* Rings are split here: what a packed one begins with is told in another way. */
	vdev->features &= device_bits | (vq_known_features() & ~(1ULL << VIRTIO_F_RING_PACKED));
	if (!virtio_has_feature(vdev, VIRTIO_F_VERSION_1))
		return virtio_fail(vdev, -EPROTO, "the back-end does not offer VERSION_1");
	pthread_mutex_lock(&vu->lock);
	err = vhc_set_features(&vu->conn, vdev->features);
	pthread_mutex_unlock(&vu->lock);
	return err < 0 ? virtio_fail(vdev, err, "%s", vu->conn.why) : 0;
}

static uint32_t vu_generation(struct virtio_device *vdev)
{
	return atomic_load(&to_vu(vdev)->generation);
}

static uint64_t vu_get(struct virtio_device *vdev, uint32_t off, unsigned bytes)
{
	struct vhost_user *vu = to_vu(vdev);
	uint64_t val = 0;

	pthread_mutex_lock(&vu->lock);
	memcpy(&val, vu->conn.config + off, bytes);
	pthread_mutex_unlock(&vu->lock);
	return le64toh(val);
}

/* Caller holds the lock. */
static int write_config(struct vhost_user *vu)
{
	const struct config_write *w = &vu->written;

	return w->bytes == 0 ? 0 : vhc_write_config(&vu->conn, w->off, &w->le, w->bytes);
}

/* The next back-end is told what this one has taken, and no more. */
static int vu_set(struct virtio_device *vdev, uint32_t off, unsigned bytes, uint64_t val)
{
	struct vhost_user *vu = to_vu(vdev);
	struct config_write before;
	int err;

	pthread_mutex_lock(&vu->lock);
	before = vu->written;
	vu->written = (struct config_write){.off = off, .bytes = bytes, .le = htole64(val)};
	err = atomic_load(&vu->connected) ? write_config(vu) : -ENODEV;
	if (err == 0)
		err = vhc_read_config(&vu->conn);
	if (err < 0)
		vu->written = before;
	pthread_mutex_unlock(&vu->lock);
	return err;
}

static void vu_notify(struct virtqueue *vq)
{
	(void)eventfd_write(to_vu(vq->vdev)->vring[vq->index].kick_fd, 1);
}

static bool vu_is_cut_off(struct virtio_device *vdev)
{
	struct vhost_user *vu = to_vu(vdev);
	struct pollfd pfd = {.events = POLLRDHUP};
	bool closed;

	pthread_mutex_lock(&vu->lock);
	pfd.fd = vu->conn.ch.fd; /* -1: nothing to be seen */
	closed = poll(&pfd, 1, 0) > 0;
	pthread_mutex_unlock(&vu->lock);
	return closed;
}

static const char *vu_silence(struct virtio_device *vdev)
{
	return atomic_load(&to_vu(vdev)->connected) ? "the back-end does not answer"
						    : "the back-end is gone; waiting for the next";
}

/* --- rings --- */

static void forget_inflight(struct vhost_user *vu)
{
	if (vu->inflight.fd >= 0)
		close(vu->inflight.fd);
	vu->inflight.fd = -1;
}

static void close_vrings(struct vhost_user *vu, bool leak)
{
	for (unsigned i = 0; i < vu->nr_vrings; i++) {
		struct vring *ring = &vu->vring[i];

		vq_destroy(ring->vq, leak);
		close(ring->kick_fd);
		close(ring->call_fd);
	}
	free(vu->vring);
	vu->vring = NULL;
	vu->nr_vrings = 0;
	forget_inflight(vu);
}

static uint16_t ring_size(uint32_t max)
{
	uint32_t size = 256; /* a back-end names no limit; this is what all of them take */

	while (max != 0 && size > max)
		size /= 2;
	return (uint16_t)size;
}

static int make_vring(
	struct vhost_user *vu, unsigned index, uint32_t max_size, const struct virtqueue_info *info)
{
	struct vring *ring = &vu->vring[index];
	int err = vq_create(&vu->vdev, (uint16_t)index, ring_size(max_size), info, &ring->vq);

	if (err < 0)
		return err;
	ring->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ring->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	vu->nr_vrings++; /* close_vrings() closes what is there */
	return ring->kick_fd < 0 || ring->call_fd < 0 ? -EMFILE : 0;
}

/* What the last back-end did not read any more is not for the next one. */
static void drain(int fd)
{
	eventfd_t count;

	(void)eventfd_read(fd, &count);
}

/* The last back-end's notes, or a place for the first one's. Caller holds the lock. */
static int give_inflight(struct vhost_user *vu)
{
	int err = 0;

	if (!vhc_has_inflight(&vu->conn))
		return 0;
	if (vu->inflight.fd < 0)
		err = vhc_get_inflight(
			&vu->conn, (uint16_t)vu->nr_vrings, vu->vring[0].vq->size, &vu->inflight);
	if (err == -ENODATA) {
		log_line(LOG_NOTICE,
			"%s: the back-end would note what it has in flight, and has no file for "
			"it: the next one begins anew",
			vu->vdev.name);
		return 0;
	}
	return err < 0 ? err : vhc_set_inflight(&vu->conn, &vu->inflight);
}

/* To a back-end that knows the memory. Caller holds the lock. */
static int give_rings(struct vhost_user *vu)
{
	int err = give_inflight(vu);

	for (unsigned i = 0; i < vu->nr_vrings && err == 0; i++) {
		const struct vring *ring = &vu->vring[i];
		struct vhost_vring msg = {.index = (uint16_t)i,
			.size = ring->vq->size,
			.base = vq_used_idx(ring->vq),
			.kick_fd = ring->kick_fd,
			.call_fd = ring->call_fd};
		struct vq_addresses addr;

		drain(ring->kick_fd);
		vq_get_addresses(ring->vq, &addr);
		msg.desc = addr.desc;
		msg.driver = addr.driver;
		msg.device = addr.device;
		err = vhc_set_vring(&vu->conn, &msg);
	}
	return err;
}

/* Memory and rings to a back-end that knows neither. Caller holds the lock. */
static int give_all(struct vhost_user *vu)
{
	int err = vhc_set_memory(&vu->conn, vu->region, vu->nr_regions, dma_file(vu->dma));

	vu->told_memory = true;
	return err < 0 ? err : give_rings(vu);
}

/* --- the thread --- */

static void wake_all(struct vhost_user *vu)
{
	for (unsigned i = 0; i < vu->nr_vrings; i++)
		vq_interrupt(vu->vring[i].vq);
}

static void read_config_again(struct vhost_user *vu)
{
	int err;

	pthread_mutex_lock(&vu->lock);
	err = vhc_read_config(&vu->conn);
	pthread_mutex_unlock(&vu->lock);
	if (err < 0)
		return;
	atomic_fetch_add(&vu->generation, 1);
	virtio_config_changed(&vu->vdev);
}

/* False: the channel is of no use any more. */
static bool serve_backend(struct vhost_user *vu)
{
	bool need_reply;
	int fd = vu->conn.backend_fd, request = vup_next_request(fd, &need_reply);

	if (request < 0)
		return false;
	if (request == VUP_BACKEND_CONFIG_CHANGE)
		read_config_again(vu);
	return !need_reply ||
	       vup_reply(fd, (uint32_t)request, request != VUP_BACKEND_CONFIG_CHANGE) == 0;
}

static void disconnect(struct vhost_user *vu)
{
	atomic_store(&vu->vdev.away, true);
	pthread_mutex_lock(&vu->lock);
	atomic_store(&vu->connected, false);
	vhc_close(&vu->conn);
	vu->told_memory = false;
	pthread_mutex_unlock(&vu->lock);
}

/* Invariant 4. Caller holds the lock. */
static int check_successor(struct vhost_user *vu, const struct vhost_conn *next)
{
	uint64_t missing = vu->vdev.features & ~next->features;

	if (missing == 0 && next->max_queues >= vu->nr_vrings &&
		next->max_regions >= vu->nr_regions && next->config_bytes >= vu->vdev.config_bytes)
		return 0;
	log_line(LOG_ERR,
		"%s: the new back-end can't go on for the last one: it lacks features 0x%llx, or "
		"queues, "
		"memory slots or configuration",
		vu->vdev.name, (unsigned long long)missing);
	return -EPROTO;
}

static void begin_anew(struct vhost_user *vu)
{
	vu->vdev.rings_kept = false;
	forget_inflight(vu);
	for (unsigned i = 0; i < vu->nr_vrings; i++)
		vq_reset(vu->vring[i].vq);
}

/* Where the last back-end was, with the new one. Its configuration first: it may serve kept rings at
 * once. Caller holds the lock. */
static int go_on(struct vhost_user *vu)
{
	int err = vhc_set_features(&vu->conn, vu->vdev.features);

	if (!vu->vdev.rings_kept || !vhc_has_inflight(&vu->conn) ||
		!(vu->status & VIRTIO_CONFIG_S_DRIVER_OK)) /* reset since: nothing is to be done */
		begin_anew(vu);
	if (err == 0)
		err = write_config(vu);
	if (err == 0)
		err = give_all(vu);
	if (err == 0)
		err = enable_vrings(vu);
	for (unsigned i = 0; i < vu->nr_vrings && err == 0 && vu->vdev.rings_kept; i++)
		vq_notify(vu->vring[i].vq); /* there may be some that the last one never saw */
	return err;
}

/* -EPROTO: there is a back-end, but not one for us. Other errors: try again. */
static int connect_again(struct vhost_user *vu)
{
	struct vhost_conn next;
	int err = vhc_open(&next, vu->path);

	if (err < 0)
		return -EAGAIN;
	pthread_mutex_lock(&vu->lock);
	err = check_successor(vu, &next);
	if (err < 0) {
		vhc_close(&next);
		goto unlock;
	}
	vu->conn = next;
	err = go_on(vu);
	if (err < 0) {
		vhc_close(&vu->conn);
		vu->told_memory = false;
		vu->vdev.rings_kept = false; /* who knows what it did with them */
		err = -EAGAIN;
		goto unlock;
	}
	atomic_store(&vu->connected, true);
	atomic_fetch_add(&vu->generation, 1);
unlock:
	pthread_mutex_unlock(&vu->lock);
	return err;
}

/* True: time to stop. */
static bool pause_or_stop(const struct vhost_user *vu)
{
	struct pollfd pfd = {.fd = vu->stop_fd, .events = POLLIN};

	return poll(&pfd, 1, RETRY_MS) > 0;
}

static time_t now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

/* 0; -ECANCELED: time to stop. */
static int wait_for_successor(struct vhost_user *vu)
{
	time_t deadline = now_s() + vhost_user_retry_s;
	int err;

	do {
		if (pause_or_stop(vu))
			return -ECANCELED;
		err = connect_again(vu);
	} while (err == -EAGAIN && now_s() < deadline);
	return err;
}

/* The back-end is gone, and with it what the device had. False: the thread is to end. */
static bool survive(struct vhost_user *vu)
{
	int err = -ENODEV;

	disconnect(vu);
	vu->vdev.rings_kept = vu->inflight.fd >= 0;
	if (virtio_device_freeze(&vu->vdev)) {
		log_line(LOG_WARNING, "%s: the back-end is gone; waiting %u s for the next",
			vu->vdev.name, vhost_user_retry_s);
		err = wait_for_successor(vu);
	}
	if (err == -ECANCELED)
		return false;
	if (err < 0) {
		virtio_device_gone(&vu->vdev, -ENODEV);
		wake_all(vu);
		return false;
	}
	log_line(LOG_NOTICE, "%s: a back-end is there again", vu->vdev.name);
	virtio_device_restore(&vu->vdev);
	return true;
}

static void take_calls(struct vhost_user *vu)
{
	for (unsigned i = 0; i < vu->nr_vrings; i++) {
		if (vu->pfd[POLL_CALLS + i].revents == 0)
			continue;
		drain(vu->vring[i].call_fd);
		vq_interrupt(vu->vring[i].vq);
	}
}

static void watch_connection(struct vhost_user *vu)
{
	vu->pfd[POLL_CONN] = (struct pollfd){.fd = vu->conn.ch.fd, .events = POLLRDHUP};
	vu->pfd[POLL_BACKEND] = (struct pollfd){.fd = vu->conn.backend_fd, .events = POLLIN};
}

static void *vu_main(void *arg)
{
	struct vhost_user *vu = arg;

	(void)pthread_setname_np(pthread_self(), "vhost-user");
	watch_connection(vu);
	for (;;) {
		if (poll(vu->pfd, POLL_CALLS + vu->nr_vrings, -1) < 0)
			continue; /* EINTR */
		if (vu->pfd[POLL_STOP].revents != 0)
			return NULL;
		take_calls(vu);
		if (vu->pfd[POLL_CONN].revents != 0) {
			if (!survive(vu))
				return NULL;
			watch_connection(vu);
		} else if (vu->pfd[POLL_BACKEND].revents != 0 && !serve_backend(vu)) {
			vu->pfd[POLL_BACKEND].fd = -1;
		}
	}
}

static int start_thread(struct vhost_user *vu)
{
	int err;

	vu->pfd = calloc(POLL_CALLS + vu->nr_vrings, sizeof(*vu->pfd));
	if (vu->pfd == NULL)
		return -ENOMEM;
	vu->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vu->stop_fd < 0) {
		err = -errno;
		goto free_pfd;
	}
	vu->pfd[POLL_STOP] = (struct pollfd){.fd = vu->stop_fd, .events = POLLIN};
	for (unsigned i = 0; i < vu->nr_vrings; i++)
		vu->pfd[POLL_CALLS + i] = (struct pollfd){
			.fd = vu->use_irq ? vu->vring[i].call_fd : -1, .events = POLLIN};
	err = -pthread_create(&vu->thread, NULL, vu_main, vu);
	if (err == 0) {
		vu->running = true;
		atomic_store(&vu->vdev.has_irq, vu->use_irq);
		return 0;
	}
	close(vu->stop_fd);
free_pfd:
	free(vu->pfd);
	return err;
}

static void stop_thread(struct vhost_user *vu)
{
	if (!vu->running)
		return;
	(void)eventfd_write(vu->stop_fd, 1);
	pthread_join(vu->thread, NULL);
	vu->running = false;
	atomic_store(&vu->vdev.has_irq, false);
	close(vu->stop_fd);
	free(vu->pfd);
}

/* --- beginning and end --- */

static void vu_del_vqs(struct virtio_device *vdev)
{
	struct vhost_user *vu = to_vu(vdev);

	stop_thread(vu);
	close_vrings(vu, vdev->reset_failed);
}

static int vu_find_vqs(struct virtio_device *vdev, unsigned nr, uint32_t max_size,
	const struct virtqueue_info *info, struct virtqueue **out)
{
	struct vhost_user *vu = to_vu(vdev);
	int err = 0;

	vu->vring = calloc(nr, sizeof(*vu->vring));
	if (vu->vring == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < nr && err == 0; i++)
		err = make_vring(vu, i, max_size, &info[i]);
	if (err == 0) {
		pthread_mutex_lock(&vu->lock);
		err = give_all(vu);
		pthread_mutex_unlock(&vu->lock);
	}
	if (err < 0)
		(void)virtio_fail(
			vdev, err, "%s", vu->conn.why[0] != '\0' ? vu->conn.why : strerror(-err));
	else
		err = start_thread(vu);
	if (err < 0) {
		virtio_give_up(vdev);
		vu_del_vqs(vdev);
		return err;
	}
	for (unsigned i = 0; i < nr; i++)
		out[i] = vu->vring[i].vq;
	return 0;
}

/* As QEMU does when its guest resets the device. With requests it would not do: a back-end may end
 * those that it has later, in the new rings (qemu-storage-daemon 7.2 does). */
static int vu_renew_vqs(struct virtio_device *vdev)
{
	struct vhost_user *vu = to_vu(vdev);
	int err;

	pthread_mutex_lock(&vu->lock);
	err = stop_vrings(vu);
	if (err == 0) {
		begin_anew(vu);
		err = give_rings(vu);
	}
	if (err == 0)
		err = enable_vrings(vu);
	if (err < 0)
		vhc_shut(&vu->conn);
	pthread_mutex_unlock(&vu->lock);
	return err;
}

static void destroy(struct vhost_user *vu)
{
	vhc_close(&vu->conn);
	dma_destroy(vu->dma);
	pthread_mutex_destroy(&vu->lock);
	free(vu);
}

static void vu_close(struct virtio_device *vdev)
{
	virtio_unregister_device(vdev);
	destroy(to_vu(vdev));
}

static const struct virtio_config_ops vu_config_ops = {
	.name = "vhost-user",
	.get_status = vu_get_status,
	.set_status = vu_set_status,
	.reset = vu_reset,
	.get_features = vu_get_features,
	.finalize_features = vu_finalize_features,
	.generation = vu_generation,
	.get = vu_get,
	.set = vu_set,
	.find_vqs = vu_find_vqs,
	.del_vqs = vu_del_vqs,
	.notify = vu_notify,
	.renew_vqs = vu_renew_vqs,
	.is_cut_off = vu_is_cut_off,
	.silence = vu_silence,
	.close = vu_close,
};

static int register_device(struct vhost_user *vu)
{
	struct virtio_device *vdev = &vu->vdev;
	int err = vhc_open(&vu->conn, vu->path);

	if (err < 0)
		return virtio_fail(vdev, err, "%s", vu->conn.why);
	atomic_store(&vu->connected, true);
	vdev->id = (struct virtio_device_id){.device = VIRTIO_ID_BLOCK, .vendor = VIRTIO_ANY_ID};
	vdev->config_bytes = vu->conn.config_bytes;
	vdev->max_vqs = vu->conn.max_queues;
	/* qemu-storage-daemon says write-through, and does write-back. */
	vdev->cache_mode_unset = true;
	return virtio_register_device(vdev);
}

int vhost_user_open(const char *path, const void *params, bool use_irq, struct virtio_device **out,
	char *err_text, size_t err_bytes)
{
	struct vhost_user *vu = calloc(1, sizeof(*vu));
	int err = vu == NULL ? -ENOMEM : 0;

	if (err == 0 && strlen(path) >= sizeof(vu->path))
		err = -ENAMETOOLONG;
	if (err == 0)
		err = dma_create_shared(cover, vu, &vu->dma);
	if (err < 0) {
		(void)snprintf(err_text, err_bytes, "%s: %s", path, strerror(-err));
		free(vu);
		return err;
	}
	pthread_mutex_init(&vu->lock, NULL);
	vu->use_irq = use_irq;
	vu->inflight.fd = -1;
	vu->hw.ops = &vu_hw_ops;
	vu->vdev.config = &vu_config_ops;
	vu->vdev.hw = &vu->hw;
	vu->vdev.params = params;
	(void)snprintf(vu->path, sizeof(vu->path), "%s", path);
	(void)snprintf(vu->vdev.name, sizeof(vu->vdev.name), "vhost-user:%s", path);
	err = register_device(vu);
	if (err < 0) {
		(void)snprintf(err_text, err_bytes, "vhost-user:%s: %s", path,
			vu->vdev.why[0] != '\0' ? vu->vdev.why : strerror(-err));
		destroy(vu);
		return err;
	}
	*out = &vu->vdev;
	return 0;
}
