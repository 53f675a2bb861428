/* virtio_pci_common.h - what the two versions of the virtio-pci transport share.
 *
 * Private to virtio_pci_*.c, which have Linux's names and division: the function as a whole, its
 * interrupt and its list of queues are common, registers belong to a version. A version is one
 * function that looks whether its registers are there, and then fills in `vdev.config`, the hooks
 * below and the regions `isr`, `device`.
 *
 * Threads: registers behind a select register (features, queues) are touched under `lock`. */
#ifndef VBLKFS_VIRTIO_PCI_COMMON_H
#define VBLKFS_VIRTIO_PCI_COMMON_H
#include <pthread.h>
#include "virtio_pci.h"
#include "virtio_pci_layout.h"

struct virtio_pci {
	struct virtio_device vdev;
	struct vpci_layout at;
	pthread_mutex_t lock;
	struct virtqueue **vqs;
	unsigned nr_vqs;
	bool use_irq;
	bool irq_running;
	pthread_t irq_thread;
	int stop_fd; /* eventfd: irq_thread is to end */

	/* The version's. Caller holds `lock`. */
	int (*setup_vq)(struct virtio_pci *vpci, uint16_t index, uint32_t max_size,
		const struct virtqueue_info *info, struct virtqueue **out);
	int (*restart_vq)(struct virtio_pci *vpci, struct virtqueue *vq); /* after a reset */
	/* Before the queue is set up: its interrupts, or those of the configuration, are VECTOR's.
	 * Returns the one that the device has taken. NULL, both: this version uses none. */
	uint16_t (*config_vector)(struct virtio_pci *vpci, uint16_t vector);
	uint16_t (*queue_vector)(struct virtio_pci *vpci, uint16_t index, uint16_t vector);
	atomic_uint torn; /* virtio_pci_legacy.c's generation */
};

static inline struct virtio_pci *to_vpci(struct virtio_device *vdev)
{
	return (struct virtio_pci *)vdev;
}

/* -ENODEV: the registers of this version are not there. Else a failure has said why. */
int virtio_pci_modern_probe(struct virtio_pci *vpci);
int virtio_pci_legacy_probe(struct virtio_pci *vpci);

/* OFF is in R. */
uint8_t vpci_read8(struct virtio_pci *vpci, const struct vpci_region *r, uint64_t off);
uint16_t vpci_read16(struct virtio_pci *vpci, const struct vpci_region *r, uint64_t off);
uint32_t vpci_read32(struct virtio_pci *vpci, const struct vpci_region *r, uint64_t off);
void vpci_write8(struct virtio_pci *vpci, const struct vpci_region *r, uint64_t off, uint8_t val);
void vpci_write16(struct virtio_pci *vpci, const struct vpci_region *r, uint64_t off, uint16_t val);
void vpci_write32(struct virtio_pci *vpci, const struct vpci_region *r, uint64_t off, uint32_t val);

/* A field of the device's configuration, which is in R, as struct virtio_config_ops has it. */
uint64_t vpci_get_field(
	struct virtio_pci *vpci, const struct vpci_region *r, uint32_t off, unsigned bytes);
void vpci_set_field(struct virtio_pci *vpci, const struct vpci_region *r, uint32_t off,
	unsigned bytes, uint64_t val);

bool vpci_msix_is_on(struct virtio_pci *vpci);

/* Make what there is of R accessible, but no more than MAX bytes. */
int vpci_map_region(struct virtio_pci *vpci, struct vpci_region *r, uint64_t max);

/* Where there are vectors: the queue's, while it is not enabled. -ENOSPC: the device has not taken
 * it. Caller holds `lock`. */
int vpci_set_queue_vector(struct virtio_pci *vpci, uint16_t index);

/* For finalize_features(): do the addresses that we have and those that the device takes agree? */
int vpci_check_addresses(struct virtio_device *vdev);

/* For the versions' tables of virtio_config_ops. */
int vpci_reset(struct virtio_device *vdev);
int vpci_find_vqs(struct virtio_device *vdev, unsigned nr, uint32_t max_size,
	const struct virtqueue_info *info, struct virtqueue **out);
void vpci_del_vqs(struct virtio_device *vdev);
int vpci_wake_by(struct virtqueue *vq, int fd);
int vpci_restart_vqs(struct virtio_device *vdev);
const char *vpci_silence(struct virtio_device *vdev);
bool vpci_is_there(struct virtio_device *vdev);
#endif
