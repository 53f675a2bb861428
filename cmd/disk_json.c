/* disk_json.c - see disk_json.h. */
#include <json-c/json.h>
#include <stdlib.h>
#include "disk_json.h"
#include "virtio_blk.h"

#define RINGS_MAX 128 /* of an image: one for each worker, and one for the commits */

const char *const disk_json_ops[BLK_NR_OPS] = {
	[BLK_READ] = "read",
	[BLK_WRITE] = "write",
	[BLK_FLUSH] = "flush",
	[BLK_DISCARD] = "discard",
	[BLK_WRITE_ZEROES] = "write_zeroes",
	[BLK_SECURE_ERASE] = "secure_erase",
};

static void add_u64(struct json_object *o, const char *key, uint64_t v)
{
	json_object_object_add(o, key, json_object_new_uint64(v));
}

static void add_bool(struct json_object *o, const char *key, bool v)
{
	json_object_object_add(o, key, json_object_new_boolean(v));
}

static void add_string(struct json_object *o, const char *key, const char *v)
{
	json_object_object_add(o, key, json_object_new_string(v));
}

/* ---- the disk ---- */

struct json_object *disk_json(struct blockdev *dev)
{
	struct json_object *o = json_object_new_object();
	struct blk_info info;

	blk_get_info(dev, &info);
	add_string(o, "name", info.name);
	add_string(o, "serial", info.serial);
	add_u64(o, "bytes", info.nr_sectors * SECTOR_BYTES);
	add_u64(o, "logical_bytes", info.logical_bytes);
	add_u64(o, "physical_bytes", info.physical_bytes);
	add_bool(o, "read_only", info.read_only);
	add_bool(o, "volatile_cache", info.volatile_cache);
	add_bool(o, "can_discard", info.can_discard);
	add_bool(o, "can_write_zeroes", info.can_write_zeroes);
	add_bool(o, "can_secure_erase", info.can_secure_erase);
	add_u64(o, "rings", info.nr_rings);
	add_u64(o, "resets", info.nr_resets);
	add_u64(o, "queue_resets", info.nr_queue_resets);
	add_bool(o, "smaller_than_used", info.nr_sectors < atomic_load(&dev->nr_claimed));
	return o;
}

/* ---- the device behind it ---- */

static struct json_object *feature_json(unsigned bit, const struct vblk_detail *d)
{
	struct json_object *o = json_object_new_object();
	const char *name = virtio_blk_feature_name(bit);

	add_u64(o, "bit", bit);
	json_object_object_add(o, "name", name == NULL ? NULL : json_object_new_string(name));
	add_bool(o, "negotiated", d->features >> bit & 1);
	return o;
}

/* Those that the device offers. */
static struct json_object *features_json(const struct vblk_detail *d)
{
	struct json_object *a = json_object_new_array();

	for (unsigned bit = 0; bit < 64; bit++)
		if (d->offered >> bit & 1)
			json_object_array_add(a, feature_json(bit, d));
	return a;
}

static struct json_object *status_json(uint8_t status)
{
	static const struct {
		uint8_t bit;
		const char *name;
	} names[] = {{VIRTIO_CONFIG_S_ACKNOWLEDGE, "ACKNOWLEDGE"},
		{VIRTIO_CONFIG_S_DRIVER, "DRIVER"}, {VIRTIO_CONFIG_S_FEATURES_OK, "FEATURES_OK"},
		{VIRTIO_CONFIG_S_DRIVER_OK, "DRIVER_OK"},
		{VIRTIO_CONFIG_S_NEEDS_RESET, "DEVICE_NEEDS_RESET"},
		{VIRTIO_CONFIG_S_FAILED, "FAILED"}};
	struct json_object *a = json_object_new_array();

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (status & names[i].bit)
			json_object_array_add(a, json_object_new_string(names[i].name));
	return a;
}

/* 0 where the device names none. */
static struct json_object *limits_json(const struct vblk_detail *d)
{
	struct json_object *o = json_object_new_object();

	add_u64(o, "size_max", d->size_max);
	add_u64(o, "seg_max", d->seg_max);
	add_u64(o, "max_discard_sectors", d->discard_sectors);
	add_u64(o, "max_discard_seg", d->discard_seg);
	add_u64(o, "discard_sector_alignment", d->discard_align);
	add_u64(o, "max_write_zeroes_sectors", d->zeroes_sectors);
	add_u64(o, "max_write_zeroes_seg", d->zeroes_seg);
	add_bool(o, "write_zeroes_may_unmap", d->zeroes_may_unmap);
	add_u64(o, "max_secure_erase_sectors", d->erase_sectors);
	add_u64(o, "max_secure_erase_seg", d->erase_seg);
	add_u64(o, "secure_erase_sector_alignment", d->erase_align);
	return o;
}

static struct json_object *geometry_json(const struct vblk_detail *d)
{
	struct json_object *o = json_object_new_object();

	add_u64(o, "cylinders", d->cylinders);
	add_u64(o, "heads", d->heads);
	add_u64(o, "sectors", d->sectors);
	return o;
}

static struct json_object *lifetime_json(const struct vblk_detail *d)
{
	struct json_object *o = json_object_new_object();

	add_u64(o, "pre_eol_info", d->lifetime.pre_eol);
	add_u64(o, "device_lifetime_est_typ_a", d->lifetime.typ_a);
	add_u64(o, "device_lifetime_est_typ_b", d->lifetime.typ_b);
	return o;
}

static struct json_object *topology_json(const struct vblk_detail *d)
{
	struct json_object *o = json_object_new_object();

	add_u64(o, "physical_block_exp", d->physical_exp);
	add_u64(o, "alignment_offset", d->alignment_offset);
	add_u64(o, "min_io_size", d->min_io_blocks);
	add_u64(o, "opt_io_size", d->opt_io_blocks);
	return o;
}

static void add_config(struct json_object *o, const struct vblk_detail *d)
{
	json_object_object_add(o, "limits", limits_json(d));
	if (d->features >> VIRTIO_BLK_F_GEOMETRY & 1)
		json_object_object_add(o, "geometry", geometry_json(d));
	if (d->features >> VIRTIO_BLK_F_TOPOLOGY & 1)
		json_object_object_add(o, "topology", topology_json(d));
}

static struct json_object *vq_json(const struct vblk_detail *d, unsigned i)
{
	struct json_object *o = json_object_new_object();

	add_string(o, "name", d->ring[i].name);
	add_u64(o, "size", d->ring[i].size);
	add_u64(o, "max_size", d->ring[i].max_size);
	add_u64(o, "segments", d->ring[i].max_segs);
	add_u64(o, "threads", d->ring[i].nr_handles);
	return o;
}

static struct json_object *vqs_json(const struct vblk_detail *d)
{
	struct json_object *a = json_object_new_array();

	for (unsigned i = 0; i < d->nr_rings; i++)
		json_object_array_add(a, vq_json(d, i));
	return a;
}

static struct json_object *regions_json(const struct vblk_detail *d)
{
	struct json_object *a = json_object_new_array();

	for (unsigned i = 0; i < d->nr_regions; i++) {
		struct json_object *o = json_object_new_object();

		add_string(o, "name", d->region[i].name);
		add_u64(o, "bar", d->region[i].bar);
		add_u64(o, "offset", d->region[i].off);
		add_u64(o, "length", d->region[i].bytes);
		json_object_array_add(a, o);
	}
	return a;
}

struct json_object *disk_json_info(struct blockdev *dev)
{
	struct json_object *o = disk_json(dev);
	struct vblk_detail *d = malloc(sizeof(*d));

	if (d == NULL || vblk_describe(dev, d) < 0) {
		add_string(o, "transport", "image file");
		free(d);
		return o;
	}
	add_string(o, "transport", d->transport);
	json_object_object_add(
		o, "driver", d->driver == NULL ? NULL : json_object_new_string(d->driver));
	add_bool(o, "interrupt", d->has_irq);
	add_u64(o, "vectors", d->nr_vectors);
	add_bool(o, "busy", d->busy);
	add_u64(o, "status", d->status);
	json_object_object_add(o, "status_names", status_json(d->status));
	json_object_object_add(o, "features", features_json(d));
	if (!d->busy)
		add_config(o, d);
	if (d->lifetime.known)
		json_object_object_add(o, "lifetime", lifetime_json(d));
	json_object_object_add(o, "queues", vqs_json(d));
	json_object_object_add(o, "structures", regions_json(d));
	free(d);
	return o;
}

/* ---- the figures ---- */

static const struct {
	const char *key;
	size_t offset;
} counters[] = {
	{"reads", offsetof(struct blk_stat, reads)},
	{"writes", offsetof(struct blk_stat, writes)},
	{"flushes", offsetof(struct blk_stat, flushes)},
	{"others", offsetof(struct blk_stat, others)},
	{"read_bytes", offsetof(struct blk_stat, read_bytes)},
	{"write_bytes", offsetof(struct blk_stat, write_bytes)},
	{"errors", offsetof(struct blk_stat, errors)},
	{"kicks", offsetof(struct blk_stat, kicks)},
	{"kicks_saved", offsetof(struct blk_stat, kicks_saved)},
	{"interrupts", offsetof(struct blk_stat, interrupts)},
	{"polls_hit", offsetof(struct blk_stat, polls_hit)},
	{"polls_missed", offsetof(struct blk_stat, polls_missed)},
};
#define NR_COUNTERS (sizeof(counters) / sizeof(counters[0]))

static const uint64_t *counter(const struct blk_stat *st, size_t i)
{
	return (const uint64_t *)((const char *)st + counters[i].offset);
}

/* N numbers, without the zeros at the end. */
static struct json_object *numbers(const uint64_t *v, unsigned n)
{
	struct json_object *a = json_object_new_array();

	while (n > 0 && v[n - 1] == 0)
		n--;
	for (unsigned i = 0; i < n; i++)
		json_object_array_add(a, json_object_new_uint64(v[i]));
	return a;
}

static struct json_object *latency_json(const struct blk_stat *st)
{
	struct json_object *all = json_object_new_object();

	for (unsigned op = 0; op < BLK_NR_OPS; op++) {
		struct json_object *o = json_object_new_object();

		add_u64(o, "total_us", st->latency_us[op]);
		json_object_object_add(o, "buckets", numbers(st->latency[op], BLK_LATENCY_BUCKETS));
		json_object_object_add(all, disk_json_ops[op], o);
	}
	return all;
}

static struct json_object *ring_json(const struct blk_stat *st)
{
	struct json_object *o = json_object_new_object();

	for (size_t i = 0; i < NR_COUNTERS; i++)
		add_u64(o, counters[i].key, *counter(st, i));
	json_object_object_add(o, "batches", numbers(st->batches, BLK_BATCH_BUCKETS));
	json_object_object_add(o, "latency", latency_json(st));
	return o;
}

struct json_object *disk_json_rings(struct blockdev *dev)
{
	struct json_object *a = json_object_new_array();
	struct blk_stat *st = calloc(RINGS_MAX, sizeof(*st));
	int n = st == NULL ? 0 : blk_stats(dev, st, RINGS_MAX);

	for (int i = 0; i < n; i++)
		json_object_array_add(a, ring_json(&st[i]));
	free(st);
	return a;
}

/* As numbers(); what is not there is 0. */
static void get_numbers(struct json_object *o, const char *key, uint64_t *v, unsigned n)
{
	struct json_object *a;

	if (!json_object_object_get_ex(o, key, &a))
		return;
	for (size_t i = 0; i < json_object_array_length(a) && i < n; i++)
		v[i] = json_object_get_uint64(json_object_array_get_idx(a, i));
}

static uint64_t get_u64(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_uint64(v) : 0;
}

void disk_json_get_stat(struct json_object *ring, struct blk_stat *out)
{
	struct json_object *all, *o;

	*out = (struct blk_stat){0};
	for (size_t i = 0; i < NR_COUNTERS; i++)
		*(uint64_t *)((char *)out + counters[i].offset) = get_u64(ring, counters[i].key);
	get_numbers(ring, "batches", out->batches, BLK_BATCH_BUCKETS);
	if (!json_object_object_get_ex(ring, "latency", &all))
		return;
	for (unsigned op = 0; op < BLK_NR_OPS; op++) {
		if (!json_object_object_get_ex(all, disk_json_ops[op], &o))
			continue;
		out->latency_us[op] = get_u64(o, "total_us");
		get_numbers(o, "buckets", out->latency[op], BLK_LATENCY_BUCKETS);
	}
}
