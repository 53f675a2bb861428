/* vfio_irq.c - see vfio_irq.h. */
#include <errno.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "vfio_irq.h"

/* How many interrupts of the kind INDEX the function has. */
static unsigned count_of(int device, uint32_t index)
{
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = index};

	if (ioctl(device, VFIO_DEVICE_GET_IRQ_INFO, &info) < 0 ||
		!(info.flags & VFIO_IRQ_INFO_EVENTFD))
		return 0;
	return info.count;
}

/* Of the kind INDEX, those from FIRST on. Without FDS, NR 0: none of the kind any more. > 0: so many
 * could be had, not NR. */
static int set_eventfds(int device, uint32_t index, unsigned first, unsigned nr, const int *fds)
{
	union {
		struct vfio_irq_set set;
		uint8_t room[sizeof(struct vfio_irq_set) + VFIO_VECTORS_MAX * sizeof(int32_t)];
	} u = {.set = {
		       .argsz = (uint32_t)(sizeof(u.set) + nr * sizeof(int32_t)),
		       .flags = VFIO_IRQ_SET_ACTION_TRIGGER |
				(nr == 0 ? VFIO_IRQ_SET_DATA_NONE : VFIO_IRQ_SET_DATA_EVENTFD),
		       .index = index,
		       .start = first,
		       .count = nr,
	       }};
	int got;

	if (nr > 0)
		memcpy(u.set.data, fds, nr * sizeof(int32_t));
	got = ioctl(device, VFIO_DEVICE_SET_IRQS, &u.set);
	return got < 0 ? -errno : got;
}

static int set_line_mask(int device, uint32_t action)
{
	struct vfio_irq_set set = {
		.argsz = sizeof(set),
		.flags = action | VFIO_IRQ_SET_DATA_NONE,
		.index = VFIO_PCI_INTX_IRQ_INDEX,
		.count = 1,
	};

	return ioctl(device, VFIO_DEVICE_SET_IRQS, &set) < 0 ? -errno : 0;
}

static int make_eventfd(int *out)
{
	*out = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return *out < 0 ? -errno : 0;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* An old kernel, or the function, may not have it: then nothing is ever told there. */
static int listen_to(int device, uint32_t index, int *fd)
{
	int err;

	if (count_of(device, index) == 0)
		return 0;
	err = make_eventfd(fd);
	return err < 0 ? err : set_eventfds(device, index, 0, 1, fd);
}

int vfio_irq_open(struct vfio_irq *irq, int device)
{
	int err;

	*irq = (struct vfio_irq){.device = device, .line_fd = -1, .error_fd = -1, .request_fd = -1};
	for (unsigned i = 0; i < VFIO_VECTORS_MAX; i++)
		irq->vector_fd[i] = -1;
	irq->has_line = count_of(device, VFIO_PCI_INTX_IRQ_INDEX) > 0;
	irq->max_vectors = count_of(device, VFIO_PCI_MSIX_IRQ_INDEX);
	if (irq->max_vectors > VFIO_VECTORS_MAX)
		irq->max_vectors = VFIO_VECTORS_MAX;
	pthread_mutex_init(&irq->lock, NULL);
	err = make_eventfd(&irq->line_fd);
	if (err == 0)
		err = listen_to(device, VFIO_PCI_ERR_IRQ_INDEX, &irq->error_fd);
	if (err == 0)
		err = listen_to(device, VFIO_PCI_REQ_IRQ_INDEX, &irq->request_fd);
	if (err < 0)
		vfio_irq_close(irq);
	return err;
}

static void drop_vectors(struct vfio_irq *irq)
{
	if (irq->nr > 0)
		(void)set_eventfds(irq->device, VFIO_PCI_MSIX_IRQ_INDEX, 0, 0, NULL);
	irq->nr = 0;
	for (unsigned i = 0; i < VFIO_VECTORS_MAX; i++)
		close_fd(&irq->vector_fd[i]);
}

static void drop_line(struct vfio_irq *irq)
{
	if (irq->line_on)
		(void)set_eventfds(irq->device, VFIO_PCI_INTX_IRQ_INDEX, 0, 0, NULL);
	irq->line_on = false;
}

void vfio_irq_close(struct vfio_irq *irq)
{
	drop_vectors(irq);
	drop_line(irq);
	close_fd(&irq->line_fd);
	close_fd(&irq->error_fd);
	close_fd(&irq->request_fd);
	pthread_mutex_destroy(&irq->lock);
}

static bool take(int fd)
{
	eventfd_t count;

	return fd >= 0 && eventfd_read(fd, &count) == 0;
}

/* The number of the interrupt that came, + 1; 0: none did. */
static int take_interrupt(struct vfio_irq *irq)
{
	if (irq->nr == 0)
		return take(irq->line_fd) ? 1 : 0;
	for (unsigned n = 0; n < irq->nr; n++) {
		unsigned i = (irq->next + n) % irq->nr;

		if (take(irq->vector_fd[i])) {
			irq->next = i + 1;
			return 1 + (int)i;
		}
	}
	return 0;
}

int vfio_irq_wait(struct vfio_irq *irq, int wake_fd)
{
	struct pollfd pfd[3 + VFIO_VECTORS_MAX] = {
		{.fd = wake_fd, .events = POLLIN},
		{.fd = irq->request_fd, .events = POLLIN},
		{.fd = irq->error_fd, .events = POLLIN},
	};
	unsigned nr = irq->nr == 0 ? 1 : irq->nr;
	int got;

	for (unsigned i = 0; i < nr; i++)
		pfd[3 + i] = (struct pollfd){
			.fd = irq->nr == 0 ? irq->line_fd : irq->vector_fd[i], .events = POLLIN};
	for (;;) {
		if (poll(pfd, 3 + nr, -1) < 0 && errno != EINTR)
			return -errno;
		if (pfd[0].revents != 0)
			return 0;
		if (take(irq->request_fd))
			return -ENODEV;
		if (take(irq->error_fd))
			return -EIO;
		got = take_interrupt(irq);
		if (got > 0)
			return got;
	}
}

int vfio_irq_unmask(struct vfio_irq *irq)
{
	int err = 0;

	pthread_mutex_lock(&irq->lock);
	if (irq->nr == 0 && irq->line_on) {
		err = set_line_mask(irq->device, VFIO_IRQ_SET_ACTION_UNMASK);
	} else if (irq->nr == 0) {
		err = set_eventfds(irq->device, VFIO_PCI_INTX_IRQ_INDEX, 0, 1, &irq->line_fd);
		irq->line_on = err == 0;
	}
	pthread_mutex_unlock(&irq->lock);
	return err;
}

int vfio_irq_mask(struct vfio_irq *irq)
{
	int err = 0;

	pthread_mutex_lock(&irq->lock);
	if (irq->line_on)
		err = set_line_mask(irq->device, VFIO_IRQ_SET_ACTION_MASK);
	pthread_mutex_unlock(&irq->lock);
	return err;
}

/* The kernel has the line or messages, not both. */
int vfio_irq_vectors(struct vfio_irq *irq, unsigned nr)
{
	int err = 0;

	drop_vectors(irq);
	if (nr == 0)
		return 0;
	if (nr > irq->max_vectors)
		return -ENOSPC;
	pthread_mutex_lock(&irq->lock);
	drop_line(irq);
	pthread_mutex_unlock(&irq->lock);
	for (unsigned i = 0; i < nr && err == 0; i++)
		err = make_eventfd(&irq->vector_fd[i]);
	if (err == 0)
		err = set_eventfds(irq->device, VFIO_PCI_MSIX_IRQ_INDEX, 0, nr, irq->vector_fd);
	if (err == 0) {
		irq->nr = nr;
		irq->next = 0;
		return 0;
	}
	drop_vectors(irq);
	return err > 0 ? -ENOSPC : err;
}

/* The kernel takes the vector from whom it was first, and may fail then. */
int vfio_irq_redirect(struct vfio_irq *irq, unsigned vector, int fd)
{
	const int *own = &irq->vector_fd[vector];
	int err = set_eventfds(irq->device, VFIO_PCI_MSIX_IRQ_INDEX, vector, 1, fd < 0 ? own : &fd);

	if (err == 0)
		return 0;
	if (set_eventfds(irq->device, VFIO_PCI_MSIX_IRQ_INDEX, vector, 1, own) != 0)
		return -EIO;
	return fd < 0 ? 0 : -ENOSPC;
}
