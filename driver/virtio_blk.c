/* virtio_blk.c - the block device's driver: its features, configuration, beginning and end (virtio
 * 1.2, 5.2).
 *
 * Invariants
 *  1. A configuration field is read only if its feature was negotiated, and a feature is accepted
 *     only if its field is there.
 *  2. What the device says is checked when it is read; past that, limits are never 0 and always
 *     allow one logical block.
 *  3. DMA memory is freed only after the device was reset; if that failed, never. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include "log.h"
#include "probes.h"
#include "vblk.h"
#include "vhost_user.h"
#include "virtio_blk.h"
#include "virtio_pci.h"

#define CONFIG(field)    offsetof(struct virtio_blk_config, field)
#define CONFIG_TRIES     100
#define LOGICAL_MAX      4096U
#define PHYSICAL_EXP_MAX 8U                  /* larger units are advice that nobody could follow */
#define RING_MIN         3U                  /* header, data, status */
#define QUEUE_MIN        4U                  /* and a power of two */
#define BUSY_LOOK_US     1000U               /* between two looks at config_lock */
#define SIZE_MIN         VIRTIO_BLK_ID_BYTES /* a segment of what is not data */
#define NO_LIMIT         UINT32_MAX

static const unsigned features[] = {
	VIRTIO_F_ANY_LAYOUT, /* the first: of legacy devices only */
	VIRTIO_BLK_F_SIZE_MAX,
	VIRTIO_BLK_F_SEG_MAX,
	VIRTIO_BLK_F_GEOMETRY,
	VIRTIO_BLK_F_RO,
	VIRTIO_BLK_F_BLK_SIZE,
	VIRTIO_BLK_F_FLUSH,
	VIRTIO_BLK_F_TOPOLOGY,
	VIRTIO_BLK_F_CONFIG_WCE,
	VIRTIO_BLK_F_MQ,
	VIRTIO_BLK_F_DISCARD,
	VIRTIO_BLK_F_WRITE_ZEROES,
	VIRTIO_BLK_F_LIFETIME,
	VIRTIO_BLK_F_SECURE_ERASE,
};

/* How long the configuration must be for a feature's fields to be there. */
static const struct {
	unsigned feature;
	uint32_t end;
} feature_fields[] = {
	{VIRTIO_BLK_F_SIZE_MAX, CONFIG(seg_max)},
	{VIRTIO_BLK_F_SEG_MAX, CONFIG(cylinders)},
	{VIRTIO_BLK_F_GEOMETRY, CONFIG(blk_size)},
	{VIRTIO_BLK_F_BLK_SIZE, CONFIG(physical_block_exp)},
	{VIRTIO_BLK_F_TOPOLOGY, CONFIG(writeback)},
	{VIRTIO_BLK_F_CONFIG_WCE, CONFIG(unused0)},
	{VIRTIO_BLK_F_MQ, CONFIG(max_discard_sectors)},
	{VIRTIO_BLK_F_DISCARD, CONFIG(max_write_zeroes_sectors)},
	{VIRTIO_BLK_F_WRITE_ZEROES, CONFIG(unused1)},
	{VIRTIO_BLK_F_SECURE_ERASE, CONFIG(zone_sectors)},
};

/* A limit of 0 is no limit elsewhere; here it is a device that is not to be trusted with it. */
static bool may_secure_erase(struct virtio_device *vdev)
{
	return vdev->config->get(vdev, CONFIG(max_secure_erase_sectors), 4) != 0 &&
	       vdev->config->get(vdev, CONFIG(max_secure_erase_seg), 4) != 0 &&
	       vdev->config->get(vdev, CONFIG(secure_erase_sector_alignment), 4) != 0;
}

/* Without ZONED, which is not in our table, a host-aware disk is one like others (virtio 1.3, 5.2.5).
 * A host-managed one fails every write that is not at its zone's write pointer. */
static int check_zoned(struct virtio_device *vdev)
{
	unsigned model = VIRTIO_BLK_Z_NONE;

	if (!(vdev->offered >> VIRTIO_BLK_F_ZONED & 1))
		return 0;
	if (vdev->config_bytes <= CONFIG(zoned_model))
		return virtio_fail(vdev, -EPROTO, "it is zoned and does not say how");
	model = (unsigned)vdev->config->get(vdev, CONFIG(zoned_model), 1);
	if (model == VIRTIO_BLK_Z_NONE || model == VIRTIO_BLK_Z_HA)
		return 0;
	return virtio_fail(vdev, -EOPNOTSUPP,
		"a %s zoned disk can't be used: it is not written at random",
		model == VIRTIO_BLK_Z_HM ? "host-managed" : "strangely");
}

static int vblk_validate(struct virtio_device *vdev)
{
	int err = check_zoned(vdev);

	if (err < 0)
		return err;
	for (size_t i = 0; i < sizeof(feature_fields) / sizeof(feature_fields[0]); i++)
		if (feature_fields[i].end > vdev->config_bytes)
			virtio_clear_feature(vdev, feature_fields[i].feature);
	if (!virtio_has_feature(vdev, VIRTIO_BLK_F_FLUSH)) /* no cache that could be switched */
		virtio_clear_feature(vdev, VIRTIO_BLK_F_CONFIG_WCE);
	if (virtio_has_feature(vdev, VIRTIO_BLK_F_SECURE_ERASE) && !may_secure_erase(vdev))
		virtio_clear_feature(vdev, VIRTIO_BLK_F_SECURE_ERASE);
	return 0;
}

/* --- configuration --- */

static uint32_t get(struct virtio_device *vdev, unsigned feature, uint32_t off, unsigned bytes,
	uint32_t without)
{
	if (!virtio_has_feature(vdev, feature))
		return without;
	return (uint32_t)vdev->config->get(vdev, off, bytes);
}

/* Each field by its own width; only the generation says whether they belong together (2.5.1). */
static void read_fields(struct virtio_device *vdev, struct vblk_config *c)
{
	c->capacity = vdev->config->get(vdev, CONFIG(capacity), 8);
	c->size_max = get(vdev, VIRTIO_BLK_F_SIZE_MAX, CONFIG(size_max), 4, 0);
	c->seg_max = get(vdev, VIRTIO_BLK_F_SEG_MAX, CONFIG(seg_max), 4, 1);
	c->blk_size = get(vdev, VIRTIO_BLK_F_BLK_SIZE, CONFIG(blk_size), 4, SECTOR_BYTES);
	c->cylinders = (uint16_t)get(vdev, VIRTIO_BLK_F_GEOMETRY, CONFIG(cylinders), 2, 0);
	c->heads = (uint8_t)get(vdev, VIRTIO_BLK_F_GEOMETRY, CONFIG(heads), 1, 0);
	c->sectors = (uint8_t)get(vdev, VIRTIO_BLK_F_GEOMETRY, CONFIG(sectors), 1, 0);
	c->physical_exp =
		(uint8_t)get(vdev, VIRTIO_BLK_F_TOPOLOGY, CONFIG(physical_block_exp), 1, 0);
	c->alignment_offset =
		(uint8_t)get(vdev, VIRTIO_BLK_F_TOPOLOGY, CONFIG(alignment_offset), 1, 0);
	c->min_io_blocks = (uint16_t)get(vdev, VIRTIO_BLK_F_TOPOLOGY, CONFIG(min_io_size), 2, 0);
	c->opt_io_blocks = get(vdev, VIRTIO_BLK_F_TOPOLOGY, CONFIG(opt_io_size), 4, 0);
	/* 5.2.5.1: without the field a device with FLUSH writes back, one without writes through.
	 */
	c->writeback = (uint8_t)get(vdev, VIRTIO_BLK_F_CONFIG_WCE, CONFIG(writeback), 1,
		virtio_has_feature(vdev, VIRTIO_BLK_F_FLUSH));
	c->num_queues = (uint16_t)get(vdev, VIRTIO_BLK_F_MQ, CONFIG(num_queues), 2, 1);
	c->discard_sectors = get(vdev, VIRTIO_BLK_F_DISCARD, CONFIG(max_discard_sectors), 4, 0);
	c->discard_seg = get(vdev, VIRTIO_BLK_F_DISCARD, CONFIG(max_discard_seg), 4, 0);
	c->discard_align = get(vdev, VIRTIO_BLK_F_DISCARD, CONFIG(discard_sector_alignment), 4, 0);
	c->zeroes_sectors =
		get(vdev, VIRTIO_BLK_F_WRITE_ZEROES, CONFIG(max_write_zeroes_sectors), 4, 0);
	c->zeroes_seg = get(vdev, VIRTIO_BLK_F_WRITE_ZEROES, CONFIG(max_write_zeroes_seg), 4, 0);
	c->zeroes_may_unmap =
		(uint8_t)get(vdev, VIRTIO_BLK_F_WRITE_ZEROES, CONFIG(write_zeroes_may_unmap), 1, 0);
	c->erase_sectors =
		get(vdev, VIRTIO_BLK_F_SECURE_ERASE, CONFIG(max_secure_erase_sectors), 4, 0);
	c->erase_seg = get(vdev, VIRTIO_BLK_F_SECURE_ERASE, CONFIG(max_secure_erase_seg), 4, 0);
	c->erase_align =
		get(vdev, VIRTIO_BLK_F_SECURE_ERASE, CONFIG(secure_erase_sector_alignment), 4, 0);
}

static int read_config(struct virtio_device *vdev, struct vblk_config *c)
{
	for (int i = 0; i < CONFIG_TRIES; i++) {
		uint32_t generation = vdev->config->generation(vdev);

		read_fields(vdev, c);
		if (vdev->config->generation(vdev) == generation)
			return 0;
	}
	return virtio_fail(vdev, -EPROTO, "its configuration never stands still");
}

static int check_config(struct virtio_device *vdev, const struct vblk_config *c)
{
	uint64_t largest = (uint64_t)(c->size_max == 0 ? NO_LIMIT : c->size_max) *
			   (c->seg_max == 0 ? 1 : c->seg_max);

	if (c->blk_size < SECTOR_BYTES || (c->blk_size & (c->blk_size - 1)) != 0)
		return virtio_fail(
			vdev, -EPROTO, "a block size of %u bytes makes no sense", c->blk_size);
	if (c->blk_size > LOGICAL_MAX)
		return virtio_fail(vdev, -EOPNOTSUPP,
			"logical blocks of %u bytes are not supported, only up to %u", c->blk_size,
			LOGICAL_MAX);
	if (largest < c->blk_size || (c->size_max != 0 && c->size_max < SIZE_MIN))
		return virtio_fail(vdev, -EPROTO,
			"size_max %u and seg_max %u leave no room for a block", c->size_max,
			c->seg_max);
	if (c->num_queues == 0)
		return virtio_fail(vdev, -EPROTO, "it offers several queues and has none");
	return 0;
}

/* A limit in sectors: 0 means none, and parts must be whole blocks. 0: not even one block. */
static uint32_t sector_limit(uint32_t device, uint32_t unit)
{
	uint32_t limit = device == 0 ? NO_LIMIT : device;

	return limit - limit % unit;
}

/* In sectors, where parts of a range are to begin; 1: anywhere, also where that would break a block. */
static uint32_t alignment(uint32_t device, uint32_t unit)
{
	return device == 0 || device % unit != 0 ? 1 : device;
}

/* What may change while the disk is in use. */
static void set_limits(struct vblk *vblk, const struct vblk_config *c)
{
	struct vblk_limits *l = &vblk->limits;
	uint32_t unit = vblk->unit_sectors;
	uint32_t discard = sector_limit(c->discard_sectors, unit);
	uint32_t zeroes = sector_limit(c->zeroes_sectors, unit);
	uint32_t erase = sector_limit(c->erase_sectors, unit);

	atomic_store(&l->nr_sectors, c->capacity - c->capacity % unit);
	atomic_store(&l->size_max, c->size_max == 0 ? NO_LIMIT : c->size_max);
	atomic_store(&l->seg_max, c->seg_max == 0 ? 1 : c->seg_max);
	atomic_store(&l->discard_sectors, discard == 0 ? unit : discard);
	atomic_store(&l->discard_align, alignment(c->discard_align, unit));
	atomic_store(&l->zeroes_sectors, zeroes == 0 ? unit : zeroes);
	atomic_store(&l->erase_sectors, erase == 0 ? unit : erase);
	atomic_store(&l->erase_align, alignment(c->erase_align, unit));
}

static void set_info(struct vblk *vblk, const struct vblk_config *c, const struct disk_opts *opts)
{
	struct virtio_device *vdev = vblk->vdev;
	struct blk_info *info = &vblk->info;
	unsigned exp = c->physical_exp > PHYSICAL_EXP_MAX ? 0 : c->physical_exp;

	vblk->unit_sectors = c->blk_size / SECTOR_BYTES;
	vblk->zeroes_unmap = c->zeroes_may_unmap != 0;
	info->logical_bytes = c->blk_size;
	info->physical_bytes = c->blk_size << exp;
	info->nr_rings = vblk->nr_rings;
	info->read_only = virtio_has_feature(vdev, VIRTIO_BLK_F_RO) || opts->read_only;
	atomic_store(&vblk->volatile_cache,
		virtio_has_feature(vdev, VIRTIO_BLK_F_FLUSH) && c->writeback != 0);
	info->can_discard = virtio_has_feature(vdev, VIRTIO_BLK_F_DISCARD) &&
			    sector_limit(c->discard_sectors, vblk->unit_sectors) != 0;
	info->can_write_zeroes = virtio_has_feature(vdev, VIRTIO_BLK_F_WRITE_ZEROES) &&
				 sector_limit(c->zeroes_sectors, vblk->unit_sectors) != 0;
	info->can_secure_erase = virtio_has_feature(vdev, VIRTIO_BLK_F_SECURE_ERASE) &&
				 sector_limit(c->erase_sectors, vblk->unit_sectors) != 0;
	(void)snprintf(info->name, sizeof(info->name), "%s", vdev->name);
}

const char *vblk_what_is_wrong(int err)
{
	switch (err) {
	case -ENODEV:
	case -EAGAIN:
		return "the device is gone";
	case -ECONNRESET:
		return "the device was stopped (did another program open it, and turn bus "
		       "mastering off?)";
	case -EPROTO:
		return "the device broke the protocol";
	default:
		return "the device met an error and asks for a reset";
	}
}

static int reread_config(struct vblk *vblk, struct vblk_config *c)
{
	struct virtio_device *vdev = vblk->vdev;
	int err = virtio_device_health(vdev);
	bool sane;

	if (err < 0)
		return err;
	sane = read_config(vdev, c) == 0 && check_config(vdev, c) == 0 &&
	       c->blk_size == vblk->info.logical_bytes;
	err = virtio_device_health(vdev); /* what a removed device says may look like sense */
	if (err < 0)
		return err;
	return sane ? 0 : -EPROTO;
}

/* A disk that has become smaller than what is used of it is not followed: what lies past the end
 * fails, and all else goes on. */
static void report_capacity(struct vblk *vblk, uint64_t before, uint64_t now)
{
	uint64_t used = atomic_load(&vblk->dev.nr_claimed);

	if (now < used)
		log_line(LOG_ERR,
			"%s: the disk shrinks from %llu to %llu sectors, and %llu are in use: "
			"requests past its end fail until it is as large again",
			vblk->info.name, (unsigned long long)before, (unsigned long long)now,
			(unsigned long long)used);
	else
		log_line(LOG_NOTICE, "%s: capacity changes from %llu to %llu sectors",
			vblk->info.name, (unsigned long long)before, (unsigned long long)now);
}

static void set_capacity(struct vblk *vblk, const struct vblk_config *c)
{
	uint64_t before = atomic_load(&vblk->limits.nr_sectors), now;

	set_limits(vblk, c);
	now = atomic_load(&vblk->limits.nr_sectors);
	if (now == before)
		return;
	report_capacity(vblk, before, now);
	if (vblk->resized != NULL)
		vblk->resized(vblk->resized_arg, now);
}

static void vblk_config_changed(struct virtio_device *vdev)
{
	struct vblk *vblk = vdev->priv;
	struct vblk_config c;
	int err;

	if (atomic_load(&vblk->breaking))
		return;
	err = reread_config(vblk, &c);
	if (err == 0)
		set_capacity(vblk, &c);
	else if (err == -ECONNRESET && vblk_was_suspended(vblk))
		(void)vblk_reset(vblk, VBLK_SUSPENDED, "the machine was suspended");
	else if (err == -EIO || err == -ECONNRESET)
		(void)vblk_reset(vblk, VBLK_BROKEN, vblk_what_is_wrong(err));
	else if (err != -EAGAIN)
		vblk_break(vblk, err,
			err == -EPROTO ? "the device's new configuration makes no sense"
				       : vblk_what_is_wrong(err));
}

static void vblk_freeze(struct virtio_device *vdev)
{
	struct vblk *vblk = vdev->priv;

	for (unsigned i = 0; i < vblk->nr_rings; i++)
		vblk_ring_freeze(&vblk->ring[i]);
	/* What it finished is finished, and counts as written: see restore_rings(). Not of one that was
	 * given up: its requests have all failed. */
	if (vdev->rings_kept && !atomic_load(&vblk->breaking))
		(void)vblk_rings_reap(vblk);
}

/* What the device acknowledged and did not flush may be gone with its state. Whoever flushes next
 * must not take it for durable. */
static void restore_rings(struct vblk *vblk, enum vblk_reset_cause cause)
{
	uint64_t nr_changes = vblk_nr_changes(vblk);
	int err = 0;

	if (cause == VBLK_SUSPENDED) {
		vblk_rings_restore(vblk, 0);
		return;
	}
	if (atomic_load(&vblk->volatile_cache) && nr_changes != atomic_load(&vblk->nr_flushed)) {
		err = -EIO;
		log_line(LOG_ERR,
			"%s: what was written and not flushed may be lost: the next flush fails",
			vblk->info.name);
	}
	vblk_note_flushed(vblk, nr_changes);
	vblk_rings_restore(vblk, err);
}

static int write_cache_mode(struct vblk *vblk, bool writeback)
{
	struct virtio_device *vdev = vblk->vdev;

	if (vdev->config->set(vdev, CONFIG(writeback), 1, writeback) < 0)
		return -EIO;
	return vdev->config->get(vdev, CONFIG(writeback), 1) == writeback ? 0 : -EIO;
}

int vblk_go_on(struct vblk *vblk, enum vblk_reset_cause cause)
{
	struct virtio_device *vdev = vblk->vdev;
	struct vblk_config c;
	int err = 0;

	/* The reset may have undone it, and then writes would not be as durable as we think. */
	if (virtio_has_feature(vdev, VIRTIO_BLK_F_CONFIG_WCE))
		err = write_cache_mode(vblk, atomic_load(&vblk->volatile_cache));
	if (err == 0)
		err = reread_config(vblk, &c);
	if (err < 0)
		return virtio_fail(vdev, err, "%s", vblk_what_is_wrong(err));
	set_capacity(vblk, &c);
	atomic_fetch_add(&vblk->nr_resets, 1); /* before anybody sees that requests go on */
	restore_rings(vblk, cause);
	return 0;
}

static void vblk_restore(struct virtio_device *vdev)
{
	struct vblk *vblk = vdev->priv;

	vblk_config_changed(vdev);
	if (!atomic_load(&vblk->breaking))
		restore_rings(vblk, VBLK_BROKEN);
}

/* --- beginning and end --- */

static void vblk_vq_callback(struct virtqueue *vq)
{
	struct vblk *vblk = vq->vdev->priv;
	struct vblk_ring *ring = &vblk->ring[vq->index];
	bool woke = vblk_ring_wake(ring);

	if (woke)
		atomic_fetch_add(&ring->nr_interrupts, 1);
	PROBE2(interrupt, vq->index, woke);
}

static unsigned choose_nr_rings(
	const struct virtio_device *vdev, const struct vblk_config *c, const struct disk_opts *opts)
{
	unsigned nr = c->num_queues;

	if (nr > vdev->max_vqs && vdev->max_vqs > 0)
		nr = vdev->max_vqs;
	if (opts->max_rings != 0 && nr > opts->max_rings)
		nr = opts->max_rings;
	return nr > VBLK_RINGS_MAX ? VBLK_RINGS_MAX : nr;
}

static struct vblk *alloc_vblk(struct virtio_device *vdev, unsigned nr_rings)
{
	struct vblk *vblk = calloc(1, sizeof(*vblk) + nr_rings * sizeof(vblk->ring[0]));

	if (vblk == NULL)
		return NULL;
	vblk->vdev = vdev;
	vblk->hw = vdev->hw;
	vblk->nr_rings = nr_rings;
	pthread_mutex_init(&vblk->open_lock, NULL);
	for (unsigned i = 0; i < nr_rings; i++)
		vblk_ring_prepare(&vblk->ring[i], vblk);
	return vblk;
}

static void free_vblk(struct vblk *vblk)
{
	for (unsigned i = 0; i < vblk->nr_rings; i++)
		vblk_ring_destroy(&vblk->ring[i], vblk->vdev->reset_failed);
	pthread_mutex_destroy(&vblk->open_lock);
	free(vblk);
}

static int init_ring(struct vblk *vblk, unsigned i, struct virtqueue *vq)
{
	int err;

	if (vq_max_segs(vq) < RING_MIN)
		return virtio_fail(vblk->vdev, -EOPNOTSUPP,
			"queue %u has %u entries, too few for a request", i, vq->size);
	err = vblk_ring_init(&vblk->ring[i], vq);
	if (err < 0)
		return virtio_fail(vblk->vdev, err, "no DMA memory for queue %u", i);
	return 0;
}

static int make_rings(struct vblk *vblk, const struct disk_opts *opts)
{
	struct virtqueue_info info[VBLK_RINGS_MAX];
	struct virtqueue *vqs[VBLK_RINGS_MAX];
	char name[VBLK_RINGS_MAX][16];
	uint32_t max_size = opts->ring_size == 0          ? 0
			    : opts->ring_size < QUEUE_MIN ? QUEUE_MIN
							  : opts->ring_size;
	int err;

	for (unsigned i = 0; i < vblk->nr_rings; i++) {
		(void)snprintf(name[i], sizeof(name[i]), "req.%u", i);
		info[i] = (struct virtqueue_info){.name = name[i], .callback = vblk_vq_callback};
	}
	err = vblk->vdev->config->find_vqs(vblk->vdev, vblk->nr_rings, max_size, info, vqs);
	for (unsigned i = 0; i < vblk->nr_rings && err == 0; i++)
		err = init_ring(vblk, i, vqs[i]);
	return err;
}

/* What the device was asked has no answer, or none that would be of use. */
static int no_answer(struct vblk *vblk, int err)
{
	if (err == -ENODATA)
		return 0;
	if (err == -ETIMEDOUT)
		return virtio_fail(vblk->vdev, err, "the device does not answer: %s",
			vblk->vdev->config->silence(vblk->vdev));
	return virtio_fail(vblk->vdev,
		err == -ECONNRESET ? -EIO
		: err == -EAGAIN   ? -ENODEV
				   : err,
		"%s", vblk_what_is_wrong(err));
}

static int read_lifetime(struct vblk *vblk)
{
	int err = virtio_has_feature(vblk->vdev, VIRTIO_BLK_F_LIFETIME)
			  ? vblk_ring_get_lifetime(&vblk->ring[0], &vblk->lifetime)
			  : 0;

	return err < 0 ? no_answer(vblk, err) : 0;
}

/* The serial number: not NUL-terminated when it is 20 bytes long, and not to be trusted on a
 * terminal. */
static int read_serial(struct vblk *vblk)
{
	char id[VIRTIO_BLK_ID_BYTES];
	int err = vblk_ring_get_id(&vblk->ring[0], id);

	if (err < 0)
		return no_answer(vblk, err);
	for (unsigned i = 0; i < sizeof(id) && id[i] != '\0'; i++)
		vblk->info.serial[i] =
			(char)(isgraph((unsigned char)id[i]) || id[i] == ' ' ? id[i] : '?');
	return 0;
}

/* The end of the cache does not write back what is in it (5.2.6.1). */
static int commit_earlier_writes(struct vblk *vblk)
{
	int err = vblk_ring_flush(&vblk->ring[0]);

	if (err < 0)
		return virtio_fail(vblk->vdev, err, "the device's cache can't be flushed");
	return 0;
}

static int start(struct vblk *vblk)
{
	int err;

	if (vblk->hw->ops->nr_suspends != NULL)
		vblk->nr_suspends = vblk->hw->ops->nr_suspends(vblk->hw);
	err = virtio_device_ready(vblk->vdev);
	if (err == 0)
		err = read_serial(vblk);
	if (err == 0)
		err = read_lifetime(vblk);
	if (err == 0 && vblk->write_through)
		err = commit_earlier_writes(vblk);
	if (err == 0)
		err = vblk_watch_start(vblk);
	return err;
}

/* The cache mode that the user wants, or a known one where the configuration does not tell. */
static int set_cache_mode(
	struct virtio_device *vdev, struct vblk_config *c, const struct disk_opts *opts)
{
	uint8_t mode = opts->write_through ? 0 : vdev->cache_mode_unset ? 1 : c->writeback;
	int err;

	if (!virtio_has_feature(vdev, VIRTIO_BLK_F_CONFIG_WCE))
		return mode == c->writeback ? 0
					    : virtio_fail(vdev, -EOPNOTSUPP,
						      "its write cache can't be switched off (no "
						      "CONFIG_WCE)");
	if (mode == c->writeback && !vdev->cache_mode_unset)
		return 0;
	err = vdev->config->set(vdev, CONFIG(writeback), 1, mode);
	if (err < 0)
		return virtio_fail(vdev, -EPROTO, "its write cache can't be switched");
	err = read_config(vdev, c);
	if (err == 0)
		err = check_config(vdev, c); /* it is another one now */
	if (err == 0 && c->writeback != mode)
		err = virtio_fail(vdev, -EPROTO, "its write cache can't be switched");
	return err;
}

static const struct blockdev_ops vblk_ops;

static int vblk_probe(struct virtio_device *vdev)
{
	const struct disk_opts *opts = vdev->params;
	struct vblk *vblk;
	struct vblk_config c;
	int err = read_config(vdev, &c);

	if (err == 0)
		err = check_config(vdev, &c);
	if (err == 0)
		err = set_cache_mode(vdev, &c, opts);
	if (err < 0)
		return err;
	vblk = alloc_vblk(vdev, choose_nr_rings(vdev, &c, opts));
	if (vblk == NULL)
		return -ENOMEM;
	vdev->priv = vblk;
	vblk->dev.ops = &vblk_ops;
	vblk->timeout_s = opts->timeout_s;
	vblk->watch.queue_reset = opts->queue_reset;
	vblk->resized = opts->resized;
	vblk->resized_arg = opts->resized_arg;
	vblk->offered = vdev->offered;
	vblk->features = vdev->features;
	vblk->write_through = opts->write_through && virtio_has_feature(vdev, VIRTIO_BLK_F_FLUSH);
	set_info(vblk, &c, opts);
	set_limits(vblk, &c);
	err = make_rings(vblk, opts);
	if (err < 0)
		goto give_up;
	err = start(vblk);
	if (err < 0)
		goto give_up;
	return 0;

give_up:
	virtio_give_up(vdev);
	vdev->config->del_vqs(vdev);
	free_vblk(vblk);
	vdev->priv = NULL;
	return err;
}

static void vblk_remove(struct virtio_device *vdev)
{
	struct vblk *vblk = vdev->priv;

	vblk_watch_stop(vblk);
	(void)virtio_reset_device(vdev);
	vdev->config->del_vqs(vdev);
	free_vblk(vblk);
	vdev->priv = NULL;
}

static const struct virtio_device_id id_table[] = {
	{VIRTIO_ID_BLOCK, VIRTIO_ANY_ID},
	{0, 0},
};

static struct virtio_driver virtio_blk = {
	.name = "virtio_blk",
	.id_table = id_table,
	.feature_table = features + 1,
	.nr_features = sizeof(features) / sizeof(features[0]) - 1,
	.feature_table_legacy = features,
	.nr_features_legacy = sizeof(features) / sizeof(features[0]),
	.validate = vblk_validate,
	.probe = vblk_probe,
	.remove = vblk_remove,
	.config_changed = vblk_config_changed,
	.freeze = vblk_freeze,
	.restore = vblk_restore,
};

/* --- the seam --- */

static void vblk_info(struct blockdev *dev, struct blk_info *out)
{
	struct vblk *vblk = (struct vblk *)dev;

	*out = vblk->info;
	out->nr_sectors = atomic_load(&vblk->limits.nr_sectors);
	out->volatile_cache = atomic_load(&vblk->volatile_cache);
	out->nr_resets = atomic_load(&vblk->nr_resets);
	out->nr_queue_resets = atomic_load(&vblk->nr_queue_resets);
}

static void *vblk_dma_alloc(struct blockdev *dev, size_t bytes)
{
	struct hw *hw = ((struct vblk *)dev)->hw;

	return hw->ops->dma_alloc(hw, bytes);
}

static void vblk_dma_free(struct blockdev *dev, void *mem, size_t bytes)
{
	struct vblk *vblk = (struct vblk *)dev;

	if (!vblk->vdev->reset_failed) /* else the device may still write to it */
		vblk->hw->ops->dma_free(vblk->hw, mem, bytes);
}

static void vblk_close(struct blockdev *dev)
{
	struct virtio_device *vdev = ((struct vblk *)dev)->vdev;

	vdev->config->close(vdev);
}

static const struct blockdev_ops vblk_ops = {
	.info = vblk_info,
	.queue_open = vblk_handle_open,
	.queue_close = vblk_handle_close,
	.submit = vblk_submit,
	.kick = vblk_kick,
	.poll = vblk_poll,
	.arm = vblk_arm,
	.dma_alloc = vblk_dma_alloc,
	.dma_free = vblk_dma_free,
	.stat = vblk_stat,
	.close = vblk_close,
};

/* The configuration is read anew, without the driver believing a word of it. */
static void describe_config(struct vblk *vblk, struct vblk_detail *out)
{
	struct vblk_config c;

	read_fields(vblk->vdev, &c);
	out->size_max = c.size_max;
	out->seg_max = virtio_has_feature(vblk->vdev, VIRTIO_BLK_F_SEG_MAX) ? c.seg_max : 0;
	out->discard_sectors = c.discard_sectors;
	out->discard_seg = c.discard_seg;
	out->discard_align = c.discard_align;
	out->zeroes_sectors = c.zeroes_sectors;
	out->zeroes_seg = c.zeroes_seg;
	out->zeroes_may_unmap = c.zeroes_may_unmap != 0;
	out->erase_sectors = c.erase_sectors;
	out->erase_seg = c.erase_seg;
	out->erase_align = c.erase_align;
	out->cylinders = c.cylinders;
	out->heads = c.heads;
	out->sectors = c.sectors;
	out->physical_exp = c.physical_exp;
	out->alignment_offset = c.alignment_offset;
	out->min_io_blocks = c.min_io_blocks;
	out->opt_io_blocks = c.opt_io_blocks;
}

static void describe_rings(struct vblk *vblk, struct vblk_detail *out)
{
	pthread_mutex_lock(&vblk->open_lock);
	out->nr_rings = vblk->nr_rings;
	for (unsigned i = 0; i < vblk->nr_rings; i++) {
		struct vblk_ring *ring = &vblk->ring[i];

		(void)snprintf(out->ring[i].name, sizeof(out->ring[i].name), "req.%u", i);
		out->ring[i].size = ring->slots.nr;
		out->ring[i].max_size = ring->vq->max_size;
		out->ring[i].max_segs = ring->max_segs;
		out->ring[i].nr_handles = ring->nr_handles;
	}
	pthread_mutex_unlock(&vblk->open_lock);
}

/* Caller holds config_lock. */
static void describe_device(struct vblk *vblk, struct vblk_detail *out)
{
	struct virtio_device *vdev = vblk->vdev;

	if (atomic_load(&vdev->gone) == 0) /* else its addresses may be another one's by now */
		out->status = vdev->config->get_status(vdev);
	if (atomic_load(&vblk->dead) == 0 && (out->status & VIRTIO_CONFIG_S_DRIVER_OK))
		describe_config(vblk, out);
}

/* Take config_lock; false: who has it may keep it for long. */
static bool lock_unless_busy(struct vblk *vblk)
{
	while (!virtio_config_trylock(vblk->vdev)) {
		if (atomic_load(&vblk->busy))
			return false;
		vblk->hw->ops->sleep_us(vblk->hw, BUSY_LOOK_US);
	}
	return true;
}

int vblk_describe(struct blockdev *dev, struct vblk_detail *out)
{
	struct vblk *vblk = (struct vblk *)dev;
	struct virtio_device *vdev;

	if (dev->ops != &vblk_ops)
		return -ENODEV;
	vdev = vblk->vdev;
	*out = (struct vblk_detail){.transport = vdev->config->name,
		.driver = vdev->hw->driver,
		.has_irq = atomic_load(&vdev->has_irq),
		.nr_vectors = vdev->nr_vectors,
		.offered = vblk->offered,
		.features = vblk->features,
		.lifetime = vblk->lifetime};
	if (vdev->config->regions != NULL)
		out->nr_regions = vdev->config->regions(vdev, out->region);
	describe_rings(vblk, out);
	out->busy = !lock_unless_busy(vblk); /* then it may have no configuration */
	if (!out->busy) {
		describe_device(vblk, out);
		virtio_config_unlock(vdev);
	}
	return 0;
}

const char *vblk_transport(const struct blockdev *dev)
{
	return dev->ops == &vblk_ops ? ((const struct vblk *)dev)->vdev->config->name : NULL;
}

int vblk_reset_disk(struct blockdev *dev)
{
	struct vblk *vblk = (struct vblk *)dev;
	int err;

	if (dev->ops != &vblk_ops)
		return -EOPNOTSUPP;
	virtio_config_lock(vblk->vdev);
	err = vblk_reset(vblk, VBLK_REQUESTED, "by request");
	virtio_config_unlock(vblk->vdev);
	return err;
}

/* Caller holds config_lock. */
static int reset_queue(struct vblk *vblk, unsigned index, unsigned size, bool force)
{
	struct vblk_ring *ring = &vblk->ring[index];

	if (size == 0)
		size = ring->vq->size;
	if (size < QUEUE_MIN || size > ring->vq->max_size || (size & (size - 1)) != 0)
		return -EINVAL;
	return vblk_reset_ring(vblk, ring, (uint16_t)size,
		force ? VBLK_AWAIT_OR_FORGET : VBLK_AWAIT, "by request");
}

int vblk_reset_queue(struct blockdev *dev, unsigned index, unsigned size, bool force)
{
	struct vblk *vblk = (struct vblk *)dev;
	int err;

	if (dev->ops != &vblk_ops || !virtio_has_feature(vblk->vdev, VIRTIO_F_RING_RESET))
		return -EOPNOTSUPP;
	if (index >= vblk->nr_rings)
		return -EINVAL;
	virtio_config_lock(vblk->vdev);
	err = reset_queue(vblk, index, size, force);
	virtio_config_unlock(vblk->vdev);
	return err;
}

/* 5.2.6.1: with 0 nothing that was written before is committed, so it is flushed first. */
static int change_cache(struct vblk *vblk, bool writeback)
{
	int err;

	atomic_store(&vblk->busy, true);
	err = vblk_quiesce(vblk);
	if (err == 0)
		err = write_cache_mode(vblk, writeback);
	if (err == 0)
		atomic_store(&vblk->volatile_cache, writeback);
	vblk_rings_thaw(vblk);
	atomic_store(&vblk->busy, false);
	return err;
}

int vblk_set_cache(struct blockdev *dev, bool writeback)
{
	struct vblk *vblk = (struct vblk *)dev;
	int err;

	if (dev->ops != &vblk_ops || !virtio_has_feature(vblk->vdev, VIRTIO_BLK_F_CONFIG_WCE))
		return -EOPNOTSUPP;
	virtio_config_lock(vblk->vdev);
	err = atomic_load(&vblk->dead);
	if (err == 0 && atomic_load(&vblk->vdev->away))
		err = -EAGAIN; /* its rings are frozen, and not ours to thaw */
	if (err == 0)
		err = change_cache(vblk, writeback);
	virtio_config_unlock(vblk->vdev);
	return err;
}

int vblk_attribute(struct blockdev *dev, const char *name, char *buf, size_t bytes)
{
	if (dev->ops != &vblk_ops)
		return -ENODEV;
	return virtio_attribute(((struct vblk *)dev)->vdev, name, buf, bytes);
}

static const struct disk_opts *options(const struct disk_opts *opts)
{
	static const struct disk_opts defaults;

	(void)virtio_register_driver(&virtio_blk); /* -EEXIST: by an earlier open */
	return opts == NULL ? &defaults : opts;
}

static struct blockdev *disk_of(struct virtio_device *vdev)
{
	vdev->params = NULL; /* of the caller, and read */
	return &((struct vblk *)vdev->priv)->dev;
}

int vblk_open_hw(struct hw *hw, const struct disk_opts *opts, struct blockdev **out, char *err_text,
	size_t err_bytes)
{
	struct virtio_device *vdev;
	int err;

	opts = options(opts);
	err = virtio_pci_open(hw, opts, !opts->poll_only, &vdev, err_text, err_bytes);
	if (err < 0) {
		hw->ops->close(hw);
		return err;
	}
	*out = disk_of(vdev);
	return 0;
}

int vblk_open(const char *address, const struct disk_opts *opts, struct blockdev **out,
	char *err_text, size_t err_bytes)
{
	struct hw *hw;
	int err = hw_open(address, &hw, err_text, err_bytes);

	if (err < 0)
		return err;
	return vblk_open_hw(hw, opts, out, err_text, err_bytes);
}

int vblk_open_socket(const char *path, const struct disk_opts *opts, struct blockdev **out,
	char *err_text, size_t err_bytes)
{
	struct virtio_device *vdev;
	int err;

	opts = options(opts);
	err = vhost_user_open(path, opts, !opts->poll_only, &vdev, err_text, err_bytes);
	if (err < 0)
		return err;
	*out = disk_of(vdev);
	return 0;
}
