/* vfio_irq.h - a function's interrupts through its VFIO device file, each an eventfd: the line, the
 * vectors of MSI-X, and the two by which the kernel says that the function fails or is wanted back.
 *
 * Threads: vfio_irq_wait() from one; vfio_irq_vectors() while nobody is in it; mask and unmask from
 * any. Errors are negative errnos. */
#ifndef VBLKFS_VFIO_IRQ_H
#define VBLKFS_VFIO_IRQ_H
#include <pthread.h>
#include <stdbool.h>

#define VFIO_VECTORS_MAX 65U /* one for each of 64 queues, one for the configuration */

struct vfio_irq {
	int device;
	bool has_line;
	unsigned max_vectors; /* that vfio_irq_vectors() may be asked for */
	pthread_mutex_t lock; /* guards line_on */
	bool line_on;         /* the kernel listens to the line */
	int line_fd;
	int error_fd;   /* the bus reports an error that nobody can correct */
	int request_fd; /* the kernel wants the function back: it is unplugged, or unbound */
	unsigned nr;    /* vectors in use; 0: the line */
	unsigned next;  /* to be looked at first, for none is to starve */
	int vector_fd[VFIO_VECTORS_MAX];
};

int vfio_irq_open(struct vfio_irq *irq, int device);
void vfio_irq_close(struct vfio_irq *irq);

/* As the hooks of hw.h. -ENODEV: the kernel wants the function back; -EIO: it failed. */
int vfio_irq_wait(struct vfio_irq *irq, int wake_fd);
int vfio_irq_unmask(struct vfio_irq *irq);
int vfio_irq_mask(struct vfio_irq *irq);
int vfio_irq_vectors(struct vfio_irq *irq, unsigned nr);
int vfio_irq_redirect(struct vfio_irq *irq, unsigned vector, int fd); /* any thread */
#endif
