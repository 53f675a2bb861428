/* libvblk.c - the library's disks (vblk/vblk.h), over the seam.
 *
 * Structs with a size are filled in whole, and as much of them is copied as both sides know. */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "disk.h"
#include "libvblk.h"
#include "log.h"
#include "pci_disk.h"
#include "virtio_blk.h"

#define SIZE_BYTES sizeof(uint32_t)

static _Atomic(log_fn) user_log;

static void pass_on(int priority, const char *line)
{
	log_fn fn = atomic_load(&user_log);

	if (fn != NULL)
		fn(priority, line);
}

const char *vblk_version(void)
{
	return VBLKFS_VERSION;
}

void vblk_set_log(void (*fn)(int priority, const char *line))
{
	atomic_store(&user_log, fn);
}

/* --- forks --- */

static unsigned nr_forks; /* changes while the process has one thread */

static void count_fork(void)
{
	nr_forks++;
}

static void watch_forks(void)
{
	(void)pthread_atfork(NULL, NULL, count_fork);
}

bool libvblk_is_ours(const struct vblk_disk *disk)
{
	return disk->nr_forks == nr_forks;
}

/* --- disks --- */

static int entry_of(const struct pci_disk *d, struct vblk_entry *e)
{
	*e = (struct vblk_entry){
		.vendor = d->vendor,
		.device = d->device,
		.can_open = pci_disk_is_ours(d),
		.bytes = d->bytes,
	};
	(void)snprintf(e->address, sizeof(e->address), "%s", d->address);
	(void)snprintf(e->driver, sizeof(e->driver), "%s", d->driver);
	(void)snprintf(e->block, sizeof(e->block), "%s", d->block);
	(void)snprintf(e->serial, sizeof(e->serial), "%s", d->serial);
	return 0;
}

int vblk_disk_list(int (*each)(void *arg, const struct vblk_entry *entry), void *arg)
{
	struct pci_disk *disks;
	struct vblk_entry entry;
	int n = pci_disk_list(&disks), res = n < 0 ? n : 0;

	for (int i = 0; i < n && res == 0; i++) {
		entry_of(&disks[i], &entry);
		res = each(arg, &entry);
	}
	if (n >= 0)
		free(disks);
	return res;
}

struct vblk_disk *libvblk_wrap(struct blockdev *dev)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct vblk_disk *disk = calloc(1, sizeof(*disk));

	if (disk == NULL)
		return NULL;
	pthread_once(&once, watch_forks);
	disk->dev = dev;
	disk->nr_forks = nr_forks;
	return disk;
}

static void report_size(void *arg, uint64_t nr_sectors)
{
	const struct vblk_disk *disk = arg;

	if (disk->resized != NULL)
		disk->resized(disk->resized_arg, nr_sectors * SECTOR_BYTES);
}

/* Signals are for the application's threads. Those that a thread causes by itself stay. */
static void block_signals(sigset_t *before)
{
	sigset_t set;

	sigfillset(&set);
	sigdelset(&set, SIGBUS);
	sigdelset(&set, SIGFPE);
	sigdelset(&set, SIGILL);
	sigdelset(&set, SIGSEGV);
	sigdelset(&set, SIGTRAP);
	pthread_sigmask(SIG_SETMASK, &set, before);
}

/* As this library knows them. -E2BIG: they ask for something that it does not. */
static int read_opts(const struct vblk_opts *from, struct vblk_opts *opts)
{
	const uint8_t *byte = (const uint8_t *)from;

	*opts = (struct vblk_opts){.size = sizeof(*opts)};
	if (from == NULL)
		return 0;
	if (from->size < SIZE_BYTES)
		return -EINVAL;
	for (size_t i = sizeof(*opts); i < from->size; i++)
		if (byte[i] != 0)
			return -E2BIG;
	memcpy(opts, from, from->size < sizeof(*opts) ? from->size : sizeof(*opts));
	return opts->reserved == 0 ? 0 : -E2BIG;
}

static int open_disk(struct vblk_disk *disk, const char *source, const struct vblk_opts *opts,
	char *err, size_t err_bytes)
{
	const struct disk_opts disk_opts = {
		.read_only = opts->read_only,
		.max_rings = opts->max_rings,
		.ring_size = opts->ring_size,
		.poll_only = opts->poll_only,
		.write_through = opts->write_through,
		.timeout_s = opts->timeout_s,
		.queue_reset = opts->queue_reset,
		.resized = report_size,
		.resized_arg = disk,
	};
	sigset_t before;
	int res;

	disk->resized = opts->resized;
	disk->resized_arg = opts->resized_arg;
	block_signals(&before);
	res = disk_open(source, &disk_opts, &disk->dev, err, err_bytes);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return res;
}

int vblk_disk_open(const char *source, const struct vblk_opts *opts, struct vblk_disk **out,
	char *err, size_t err_bytes)
{
	char nowhere[256];
	struct vblk_disk *disk;
	struct vblk_opts known;
	int res = read_opts(opts, &known);

	if (err == NULL) {
		err = nowhere;
		err_bytes = sizeof(nowhere);
	}
	if (res < 0) {
		(void)snprintf(err, err_bytes, "%s: %s", source,
			res == -EINVAL ? "the options' size is not set"
				       : "options that this libvblk does not know");
		return res;
	}
	log_to(pass_on);
	disk = libvblk_wrap(NULL);
	if (disk == NULL) {
		(void)snprintf(err, err_bytes, "%s: %s", source, strerror(ENOMEM));
		return -ENOMEM;
	}
	res = open_disk(disk, source, &known, err, err_bytes);
	if (res < 0) {
		free(disk);
		return res;
	}
	*out = disk;
	return 0;
}

int vblk_disk_close(struct vblk_disk *disk)
{
	if (!libvblk_is_ours(disk))
		return -EPERM;
	if (atomic_load(&disk->nr_queues) != 0)
		return -EBUSY;
	blk_close(disk->dev);
	free(disk);
	return 0;
}

/* --- what it is --- */

static int give(void *out, const void *from, size_t bytes)
{
	uint32_t size;

	memcpy(&size, out, sizeof(size));
	if (size < SIZE_BYTES)
		return -EINVAL;
	if (size > bytes)
		memset((uint8_t *)out + bytes, 0, size - bytes);
	memcpy((uint8_t *)out + SIZE_BYTES, (const uint8_t *)from + SIZE_BYTES,
		(size < bytes ? size : bytes) - SIZE_BYTES);
	return 0;
}

static const char *transport_of(struct vblk_disk *disk)
{
	const char *name = vblk_transport(disk->dev);

	return name == NULL ? "image file" : name;
}

int vblk_disk_info(struct vblk_disk *disk, struct vblk_info *info)
{
	struct vblk_info now = {.size = sizeof(now)};
	struct blk_info i;

	blk_get_info(disk->dev, &i);
	now.block_bytes = i.logical_bytes;
	now.physical_bytes = i.physical_bytes;
	now.nr_rings = i.nr_rings;
	now.bytes = i.nr_sectors * SECTOR_BYTES;
	now.read_only = i.read_only;
	now.volatile_cache = i.volatile_cache;
	now.can_discard = i.can_discard;
	now.can_write_zeroes = i.can_write_zeroes;
	now.can_secure_erase = i.can_secure_erase;
	now.nr_resets = i.nr_resets;
	now.nr_queue_resets = i.nr_queue_resets;
	(void)snprintf(now.transport, sizeof(now.transport), "%s", transport_of(disk));
	(void)snprintf(now.serial, sizeof(now.serial), "%s", i.serial);
	(void)snprintf(now.name, sizeof(now.name), "%s", i.name);
	return give(info, &now, sizeof(now));
}

static void copy_shape(const struct vblk_detail *d, struct vblk_device *now)
{
	now->cylinders = d->cylinders;
	now->heads = d->heads;
	now->sectors = d->sectors;
	now->physical_block_exp = d->physical_exp;
	now->alignment_offset = d->alignment_offset;
	now->min_io_size = d->min_io_blocks;
	now->opt_io_size = d->opt_io_blocks;
	now->write_zeroes_may_unmap = d->zeroes_may_unmap;
	now->pre_eol_info = d->lifetime.pre_eol;
	now->lifetime_est_typ_a = d->lifetime.typ_a;
	now->lifetime_est_typ_b = d->lifetime.typ_b;
}

int vblk_disk_device(struct vblk_disk *disk, struct vblk_device *device)
{
	struct vblk_device now = {.size = sizeof(now)};
	struct vblk_detail d;
	int err = libvblk_is_ours(disk) ? vblk_describe(disk->dev, &d) : -EPERM;

	if (err < 0)
		return err;
	now.status = d.status;
	now.interrupt = d.has_irq;
	now.features_offered = d.offered;
	now.features = d.features;
	now.size_max = d.size_max;
	now.seg_max = d.seg_max;
	now.max_discard_sectors = d.discard_sectors;
	now.max_discard_seg = d.discard_seg;
	now.discard_sector_alignment = d.discard_align;
	now.max_write_zeroes_sectors = d.zeroes_sectors;
	now.max_write_zeroes_seg = d.zeroes_seg;
	now.max_secure_erase_sectors = d.erase_sectors;
	now.max_secure_erase_seg = d.erase_seg;
	now.secure_erase_sector_alignment = d.erase_align;
	now.ring_entries = d.ring[0].size;
	now.ring_segments = d.ring[0].max_segs;
	copy_shape(&d, &now);
	return give(device, &now, sizeof(now));
}

const char *vblk_feature_name(unsigned bit)
{
	return virtio_blk_feature_name(bit);
}

static_assert(VBLK_LATENCY_BUCKETS == BLK_LATENCY_BUCKETS &&
		      VBLK_BATCH_BUCKETS == BLK_BATCH_BUCKETS && BLK_NR_OPS <= VBLK_STAT_OPS,
	"the same buckets");

static void copy_stat(const struct blk_stat *s, struct vblk_stat *now)
{
	*now = (struct vblk_stat){
		.size = sizeof(*now),
		.reads = s->reads,
		.writes = s->writes,
		.flushes = s->flushes,
		.others = s->others,
		.read_bytes = s->read_bytes,
		.write_bytes = s->write_bytes,
		.errors = s->errors,
		.kicks = s->kicks,
		.kicks_saved = s->kicks_saved,
		.interrupts = s->interrupts,
		.polls_hit = s->polls_hit,
		.polls_missed = s->polls_missed,
	};
	memcpy(now->batches, s->batches, sizeof(now->batches));
	memcpy(now->latency, s->latency, sizeof(s->latency));
	memcpy(now->latency_us, s->latency_us, sizeof(s->latency_us));
}

int vblk_disk_stat(struct vblk_disk *disk, unsigned ring, struct vblk_stat *stat)
{
	struct vblk_stat now;
	struct blk_stat *all;
	int err = -ENOENT;

	if (ring >= VBLK_RINGS_MAX)
		return -ENOENT;
	all = calloc(ring + 1, sizeof(*all));
	if (all == NULL)
		return -ENOMEM;
	if (blk_stats(disk->dev, all, (int)ring + 1) > (int)ring) {
		copy_stat(&all[ring], &now);
		err = give(stat, &now, sizeof(now));
	}
	free(all);
	return err;
}

int vblk_disk_set_cache(struct vblk_disk *disk, bool writeback)
{
	return libvblk_is_ours(disk) ? vblk_set_cache(disk->dev, writeback) : -EPERM;
}

int vblk_disk_reset(struct vblk_disk *disk)
{
	return libvblk_is_ours(disk) ? vblk_reset_disk(disk->dev) : -EPERM;
}

/* --- memory --- */

void *vblk_mem_alloc(struct vblk_disk *disk, size_t bytes)
{
	return libvblk_is_ours(disk) ? blk_dma_alloc(disk->dev, bytes) : NULL;
}

void vblk_mem_free(struct vblk_disk *disk, void *mem, size_t bytes)
{
	if (libvblk_is_ours(disk))
		blk_dma_free(disk->dev, mem, bytes);
}
