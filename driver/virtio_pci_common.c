/* virtio_pci_common.c - see virtio_pci_common.h.
 *
 * Invariants
 *  1. One thread reads the ISR register, which clears it: before it the interrupt line is high,
 *     after it new events raise it anew. So the order is ISR, then the callbacks, then unmask.
 *     Where there are vectors (MSI-X) nobody reads it: each says by its number what it is for.
 *  2. Bus mastering is on only from find_vqs(), when a reset has made the device forget all
 *     addresses, until after the last reset. */
#include <errno.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <syslog.h>
#include <unistd.h>
#include "log.h"
#include "virtio_pci_common.h"
#include "virtqueue.h"

#define PCI_VENDOR         0x00
#define PCI_COMMAND        0x04
#define PCI_COMMAND_MASTER 0x04
#define PCI_MSIX_CONTROL   2
#define PCI_MSIX_ENABLE    0x80 /* in the control word's upper byte */

#define STATUS_GONE    0xffU
#define RESET_POLL_US  200U
#define RESET_LIMIT_US (5U * 1000 * 1000)

uint8_t vpci_read8(struct virtio_pci *vpci, const struct vpci_region *r, uint64_t off)
{
	struct hw *hw = vpci->vdev.hw;

	return hw->ops->read8(hw, r->bar, r->off + off);
}

uint16_t vpci_read16(struct virtio_pci *vpci, const struct vpci_region *r, uint64_t off)
{
	struct hw *hw = vpci->vdev.hw;

	return hw->ops->read16(hw, r->bar, r->off + off);
}

uint32_t vpci_read32(struct virtio_pci *vpci, const struct vpci_region *r, uint64_t off)
{
	struct hw *hw = vpci->vdev.hw;

	return hw->ops->read32(hw, r->bar, r->off + off);
}

void vpci_write8(struct virtio_pci *vpci, const struct vpci_region *r, uint64_t off, uint8_t val)
{
	struct hw *hw = vpci->vdev.hw;

	hw->ops->write8(hw, r->bar, r->off + off, val);
}

void vpci_write16(struct virtio_pci *vpci, const struct vpci_region *r, uint64_t off, uint16_t val)
{
	struct hw *hw = vpci->vdev.hw;

	hw->ops->write16(hw, r->bar, r->off + off, val);
}

void vpci_write32(struct virtio_pci *vpci, const struct vpci_region *r, uint64_t off, uint32_t val)
{
	struct hw *hw = vpci->vdev.hw;

	hw->ops->write32(hw, r->bar, r->off + off, val);
}

int vpci_map_region(struct virtio_pci *vpci, struct vpci_region *r, uint64_t max)
{
	struct hw *hw = vpci->vdev.hw;

	if (r->bytes > max)
		r->bytes = max;
	return hw->ops->bar_map(hw, r->bar, r->off, r->bytes);
}

int vpci_reset(struct virtio_device *vdev)
{
	struct hw *hw = vdev->hw;
	uint32_t waited_us = 0;
	uint8_t status;

	if (vdev->config->get_status(vdev) == STATUS_GONE)
		return -ENODEV;
	vdev->config->set_status(vdev, 0);
	while ((status = vdev->config->get_status(vdev)) != 0) {
		if (status == STATUS_GONE)
			return -ENODEV;
		if (waited_us >= RESET_LIMIT_US)
			return -ETIMEDOUT;
		hw->ops->sleep_us(hw, RESET_POLL_US);
		waited_us += RESET_POLL_US;
	}
	return 0;
}

uint64_t vpci_get_field(
	struct virtio_pci *vpci, const struct vpci_region *r, uint32_t off, unsigned bytes)
{
	switch (bytes) {
	case 1:
		return vpci_read8(vpci, r, off);
	case 2:
		return vpci_read16(vpci, r, off);
	case 4:
		return vpci_read32(vpci, r, off);
	default:
		return vpci_read32(vpci, r, off) | (uint64_t)vpci_read32(vpci, r, off + 4) << 32;
	}
}

void vpci_set_field(struct virtio_pci *vpci, const struct vpci_region *r, uint32_t off,
	unsigned bytes, uint64_t val)
{
	switch (bytes) {
	case 1:
		vpci_write8(vpci, r, off, (uint8_t)val);
		break;
	case 2:
		vpci_write16(vpci, r, off, (uint16_t)val);
		break;
	case 4:
		vpci_write32(vpci, r, off, (uint32_t)val);
		break;
	default:
		vpci_write32(vpci, r, off, (uint32_t)val);
		vpci_write32(vpci, r, off + 4, (uint32_t)(val >> 32));
	}
}

/* Reads of a function that was removed give all ones. */
static bool is_removed(struct hw *hw)
{
	uint16_t vendor;

	return hw->ops->cfg_read(hw, PCI_VENDOR, &vendor, 2) < 0 || vendor == 0xffff;
}

bool vpci_is_there(struct virtio_device *vdev)
{
	return !is_removed(vdev->hw);
}

const char *vpci_silence(struct virtio_device *vdev)
{
	uint8_t command;

	if (vdev->hw->ops->cfg_read(vdev->hw, PCI_COMMAND, &command, 1) < 0)
		return "its configuration space can't be read";
	if (is_removed(vdev->hw))
		return "the device is gone";
	if (!(command & PCI_COMMAND_MASTER))
		return "bus mastering was turned off: did another program open the function?";
	return "the host does not answer";
}

int vpci_check_addresses(struct virtio_device *vdev)
{
	bool by_iommu = virtio_has_feature(vdev, VIRTIO_F_ACCESS_PLATFORM);

	if (by_iommu && vdev->hw->iommu_translates && !vdev->hw->iommu_is_ours)
		return virtio_fail(vdev, -EOPNOTSUPP,
			"the device is behind an IOMMU that translates, which UIO can't program: "
			"run vblkctl unbind, then bind --driver " HW_DRIVER_VFIO);
	/* It would take our addresses for physical ones, and write over somebody's memory. */
	if (!by_iommu && vdev->hw->iommu_is_ours)
		return virtio_fail(vdev, -EOPNOTSUPP,
			"the device goes past the IOMMU (no ACCESS_PLATFORM; QEMU: "
			"iommu_platform=on): run vblkctl unbind, then bind "
			"--driver " HW_DRIVER_UIO);
	return 0;
}

/* --- vectors: 0 is for the configuration, the queues have the others, or share --- */

static uint16_t vector_of(const struct virtio_pci *vpci, unsigned queue)
{
	unsigned nr = vpci->vdev.nr_vectors;

	return (uint16_t)(nr <= 1 ? 0 : 1 + queue % (nr - 1));
}

int vpci_set_queue_vector(struct virtio_pci *vpci, uint16_t index)
{
	uint16_t vector = vector_of(vpci, index);

	if (vpci->vdev.nr_vectors == 0)
		return 0;
	return vpci->queue_vector(vpci, index, vector) == vector ? 0 : -ENOSPC;
}

/* -ENOSPC: the device has not taken one (4.1.5.1.2.2). Caller holds the lock. */
static int set_vectors(struct virtio_pci *vpci, unsigned nr_vqs)
{
	int err = vpci->config_vector(vpci, 0) == 0 ? 0 : -ENOSPC;

	for (unsigned i = 0; i < nr_vqs && err == 0; i++)
		err = vpci_set_queue_vector(vpci, (uint16_t)i);
	return err;
}

static int try_vectors(struct virtio_pci *vpci, unsigned nr, unsigned nr_vqs)
{
	struct hw *hw = vpci->vdev.hw;
	int err = hw->ops->irq_vectors(hw, nr);

	if (err < 0)
		return err;
	vpci->vdev.nr_vectors = nr;
	pthread_mutex_lock(&vpci->lock);
	err = set_vectors(vpci, nr_vqs);
	pthread_mutex_unlock(&vpci->lock);
	return err;
}

static void drop_vectors(struct virtio_pci *vpci)
{
	struct hw *hw = vpci->vdev.hw;

	if (vpci->vdev.nr_vectors > 0)
		(void)hw->ops->irq_vectors(hw, 0);
	vpci->vdev.nr_vectors = 0;
}

/* One for each queue and one more; else as many as there are; else two; else one; else the line. */
static void find_vectors(struct virtio_pci *vpci, unsigned nr_vqs)
{
	unsigned max = vpci->vdev.hw->nr_vectors, nr = nr_vqs + 1 < max ? nr_vqs + 1 : max;

	if (!vpci->use_irq || vpci->config_vector == NULL)
		return;
	while (nr > 0 && try_vectors(vpci, nr, nr_vqs) < 0)
		nr = nr > 2 ? 2 : nr - 1;
	if (nr == 0)
		drop_vectors(vpci);
}

/* --- interrupts --- */

static void handle_message(struct virtio_pci *vpci, unsigned vector)
{
	for (unsigned i = 0; i < vpci->nr_vqs; i++)
		if (vector_of(vpci, i) == vector)
			vq_interrupt(vpci->vqs[i]);
	if (vector == 0)
		virtio_config_changed(&vpci->vdev); /* last: it may wait for a reset's end */
}

static void handle_line(struct virtio_pci *vpci)
{
	/* One read: it clears both bits, lowers the line and, on real PCI, waits for the DMA before
	 * the interrupt. */
	uint8_t isr = vpci_read8(vpci, &vpci->at.isr, 0);

	/* Whatever ISR says: interrupts merge (4.1.5.4.2), and a look too many costs little. */
	for (unsigned i = 0; i < vpci->nr_vqs; i++)
		vq_interrupt(vpci->vqs[i]);
	if (isr & VIRTIO_PCI_ISR_CONFIG)
		virtio_config_changed(&vpci->vdev); /* last: it may wait for a reset's end */
}

/* From now on the driver must poll; those who sleep are woken, to notice. */
static void lose_irq(struct virtio_pci *vpci, int err)
{
	atomic_store(&vpci->vdev.has_irq, false);
	if (err == -ENODEV)
		virtio_device_gone(&vpci->vdev, err);
	else
		log_line(LOG_WARNING, "%s: no interrupt (%s): polling instead", vpci->vdev.name,
			strerror(-err));
	for (unsigned i = 0; i < vpci->nr_vqs; i++)
		vq_interrupt(vpci->vqs[i]);
}

int vpci_wake_by(struct virtqueue *vq, int fd)
{
	struct virtio_pci *vpci = to_vpci(vq->vdev);
	struct hw *hw = vpci->vdev.hw;
	int err;

	if (vpci->vdev.nr_vectors <= vpci->nr_vqs) /* some are shared */
		return -EOPNOTSUPP;
	err = hw->ops->irq_redirect(hw, vector_of(vpci, vq->index), fd);
	if (err == -EIO && atomic_load(&vpci->vdev.has_irq))
		lose_irq(vpci, err);
	return err;
}

static void *irq_main(void *arg)
{
	struct virtio_pci *vpci = arg;
	struct hw *hw = vpci->vdev.hw;
	int rc;

	(void)pthread_setname_np(pthread_self(), "virtio-irq");
	while ((rc = hw->ops->irq_wait(hw, vpci->stop_fd)) > 0) {
		if (vpci->vdev.nr_vectors > 0) {
			handle_message(vpci, (unsigned)rc - 1);
			continue;
		}
		handle_line(vpci);
		rc = hw->ops->irq_unmask(hw);
		if (rc < 0)
			break;
	}
	if (rc < 0)
		lose_irq(vpci, rc);
	return NULL;
}

static int start_irq(struct virtio_pci *vpci)
{
	struct hw *hw = vpci->vdev.hw;
	int err;

	if (!vpci->use_irq || !hw->has_irq)
		return 0;
	vpci->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vpci->stop_fd < 0)
		return -errno;
	atomic_store(&vpci->vdev.has_irq, true);
	err = -pthread_create(&vpci->irq_thread, NULL, irq_main, vpci);
	if (err < 0)
		goto close_fd;
	vpci->irq_running = true;
	err = vpci->vdev.nr_vectors > 0 ? 0 : hw->ops->irq_unmask(hw);
	if (err == 0)
		return 0;
	/* The thread ends with del_vqs(). */
	return virtio_fail(&vpci->vdev, err, "the interrupt can't be enabled");

close_fd:
	atomic_store(&vpci->vdev.has_irq, false);
	close(vpci->stop_fd);
	return err;
}

static void stop_irq(struct virtio_pci *vpci)
{
	if (!vpci->irq_running)
		return;
	(void)eventfd_write(vpci->stop_fd, 1);
	pthread_join(vpci->irq_thread, NULL);
	vpci->irq_running = false;
	atomic_store(&vpci->vdev.has_irq, false);
	close(vpci->stop_fd);
	(void)vpci->vdev.hw->ops->irq_mask(vpci->vdev.hw);
}

void vpci_del_vqs(struct virtio_device *vdev)
{
	struct virtio_pci *vpci = to_vpci(vdev);

	stop_irq(vpci);
	drop_vectors(vpci);
	for (unsigned i = 0; i < vpci->nr_vqs; i++)
		vq_destroy(vpci->vqs[i], vdev->reset_failed);
	free(vpci->vqs);
	vpci->vqs = NULL;
	vpci->nr_vqs = 0;
}

static int setup_vqs(
	struct virtio_pci *vpci, unsigned nr, uint32_t max_size, const struct virtqueue_info *info)
{
	int err = 0;

	pthread_mutex_lock(&vpci->lock);
	for (unsigned i = 0; i < nr && err == 0; i++) {
		err = vpci->setup_vq(vpci, (uint16_t)i, max_size, &info[i], &vpci->vqs[i]);
		if (err == 0)
			vpci->nr_vqs++;
	}
	pthread_mutex_unlock(&vpci->lock);
	return err;
}

/* The interrupt thread goes on meanwhile: it touches no queue but to wake who sleeps. */
int vpci_restart_vqs(struct virtio_device *vdev)
{
	struct virtio_pci *vpci = to_vpci(vdev);
	int err = vdev->hw->ops->bus_master(vdev->hw, true);

	pthread_mutex_lock(&vpci->lock);
	if (err == 0 && vdev->nr_vectors > 0 && set_vectors(vpci, vpci->nr_vqs) < 0)
		err = virtio_fail(
			vdev, -EPROTO, "its vectors are not what they were before the reset");
	for (unsigned i = 0; i < vpci->nr_vqs && err == 0; i++)
		err = vpci->restart_vq(vpci, vpci->vqs[i]);
	pthread_mutex_unlock(&vpci->lock);
	return err;
}

/* After the reset: drop a raised line that a dead owner left, and let the device reach memory. */
static int enable_device(struct virtio_pci *vpci)
{
	struct hw *hw = vpci->vdev.hw;
	int err;

	(void)vpci_read8(vpci, &vpci->at.isr, 0);
	err = hw->ops->bus_master(hw, true);
	if (err < 0)
		return virtio_fail(
			&vpci->vdev, err, "bus mastering can't be enabled: %s", strerror(-err));
	return 0;
}

int vpci_find_vqs(struct virtio_device *vdev, unsigned nr, uint32_t max_size,
	const struct virtqueue_info *info, struct virtqueue **out)
{
	struct virtio_pci *vpci = to_vpci(vdev);
	int err = enable_device(vpci);

	if (err < 0)
		return err;
	vpci->vqs = calloc(nr, sizeof(struct virtqueue *));
	if (vpci->vqs == NULL)
		return -ENOMEM;
	find_vectors(vpci, nr);
	err = setup_vqs(vpci, nr, max_size, info);
	if (err == 0)
		err = start_irq(vpci);
	if (err < 0) {
		virtio_give_up(vdev); /* queues may be live: reset before their memory is freed */
		vpci_del_vqs(vdev);
		return err;
	}
	memcpy(out, vpci->vqs, nr * sizeof(struct virtqueue *));
	return 0;
}

/* The byte of MSI-X's control word that has the enable bit; 0: there is no MSI-X. */
static int read_msix_control(struct hw *hw, uint32_t at, uint8_t *control)
{
	*control = 0;
	return at == 0 ? 0 : hw->ops->cfg_read(hw, at + PCI_MSIX_CONTROL + 1, control, 1);
}

bool vpci_msix_is_on(struct virtio_pci *vpci)
{
	uint8_t control;

	return read_msix_control(vpci->vdev.hw, vpci->at.msix, &control) == 0 &&
	       (control & PCI_MSIX_ENABLE) != 0;
}

/* A former owner may have left MSI-X on; then the line of INTx stays silent. Only the byte with the
 * enable bit is written. */
static int disable_msix(struct hw *hw, uint32_t at)
{
	uint8_t control;
	int err = read_msix_control(hw, at, &control);

	if (err < 0 || !(control & PCI_MSIX_ENABLE))
		return err;
	control &= (uint8_t)~PCI_MSIX_ENABLE;
	return hw->ops->cfg_write(hw, at + PCI_MSIX_CONTROL + 1, &control, 1);
}

static const char *access_error(int err)
{
	return err == -EPERM ? "root is needed, and no kernel lockdown" : strerror(-err);
}

static int find_registers(struct virtio_pci *vpci)
{
	struct virtio_device *vdev = &vpci->vdev;
	int err = vpci_find_layout(vdev->hw, &vpci->at);

	if (err == 0)
		err = disable_msix(vdev->hw, vpci->at.msix);
	if (err < 0)
		return virtio_fail(vdev, err, "its PCI configuration space can't be read: %s",
			access_error(err));
	err = virtio_pci_modern_probe(vpci);
	if (err == -ENODEV)
		err = virtio_pci_legacy_probe(vpci);
	if (err == -ENODEV && is_removed(vdev->hw))
		return virtio_fail(vdev, err, "the device is gone");
	if (err == -ENODEV)
		return virtio_fail(vdev, -EOPNOTSUPP,
			"it has neither the registers of virtio 1 nor the I/O BAR of a legacy "
			"device");
	if (err < 0)
		return virtio_fail(
			vdev, err, "its registers can't be mapped: %s", access_error(err));
	vdev->config_bytes = (uint32_t)vpci->at.device.bytes;
	return 0;
}

static int register_device(struct virtio_pci *vpci)
{
	const struct hw_ids *ids = &vpci->vdev.hw->ids;
	int err;

	if (!virtio_pci_is_blk(ids->vendor, ids->device, ids->subdevice))
		return virtio_fail(&vpci->vdev, -ENXIO,
			"not a virtio block device (it is %04x:%04x); 'vblkctl list' shows them",
			ids->vendor, ids->device);
	err = find_registers(vpci);
	if (err < 0)
		return err;
	vpci->vdev.id =
		(struct virtio_device_id){.device = VIRTIO_ID_BLOCK, .vendor = ids->subvendor};
	err = vpci->vdev.hw->ops->irq_mask(vpci->vdev.hw); /* a dead owner may have left it on */
	if (err < 0)
		return virtio_fail(
			&vpci->vdev, err, "its interrupt can't be masked: %s", strerror(-err));
	err = virtio_register_device(&vpci->vdev);
	if (err < 0)
		(void)vpci->vdev.hw->ops->bus_master(vpci->vdev.hw, false);
	return err;
}

static void destroy(struct virtio_pci *vpci)
{
	pthread_mutex_destroy(&vpci->lock);
	free(vpci);
}

int virtio_pci_open(struct hw *hw, const void *params, bool use_irq, struct virtio_device **out,
	char *err_text, size_t err_bytes)
{
	struct virtio_pci *vpci = calloc(1, sizeof(*vpci));
	int err;

	if (vpci == NULL) {
		(void)snprintf(err_text, err_bytes, "%s: no memory", hw->name);
		return -ENOMEM;
	}
	pthread_mutex_init(&vpci->lock, NULL);
	vpci->use_irq = use_irq;
	vpci->vdev.hw = hw;
	vpci->vdev.params = params;
	(void)snprintf(vpci->vdev.name, sizeof(vpci->vdev.name), "%s", hw->name);
	err = register_device(vpci);
	if (err < 0) {
		(void)snprintf(err_text, err_bytes, "%s: %s", hw->name,
			vpci->vdev.why[0] != '\0' ? vpci->vdev.why : strerror(-err));
		destroy(vpci);
		return err;
	}
	*out = &vpci->vdev;
	return 0;
}

void virtio_pci_close(struct virtio_device *vdev)
{
	struct hw *hw = vdev->hw;

	virtio_unregister_device(vdev);
	(void)hw->ops->irq_mask(hw);
	(void)hw->ops->bus_master(hw, false);
	hw->ops->close(hw);
	destroy(to_vpci(vdev));
}
