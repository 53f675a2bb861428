/* signature.c - what a disk carries already.
 *
 * libblkid probes file descriptors, and a disk behind the seam has none. All signatures that it
 * knows are near the disk's beginning or its end: so those parts are copied to their places in a
 * sparse file in memory, as long as the disk. */
#include <blkid/blkid.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "../driver/disk.h"
#include "signature.h"
#include "vblkfs.h"

#define HEAD_BYTES  (4U << 20)
#define TAIL_BYTES  (1U << 20)
#define CHUNK_BYTES (1U << 20)

struct copy {
	struct blk_queue *q;
	uint8_t *buf; /* CHUNK_BYTES */
	int fd;
};

static bool is_zero(const uint8_t *p, size_t bytes)
{
	return bytes == 0 || (p[0] == 0 && memcmp(p, p + 1, bytes - 1) == 0);
}

/* Sectors [from, end) of the disk to the same place of the file. */
static int copy_range(struct copy *c, uint64_t from, uint64_t end)
{
	while (from < end) {
		uint64_t left = end - from;
		uint32_t nr = left < CHUNK_BYTES / SECTOR_BYTES ? (uint32_t)left
								: CHUNK_BYTES / SECTOR_BYTES;
		size_t bytes = (size_t)nr * SECTOR_BYTES;
		int err = blk_do(c->q, BLK_READ, from, nr, c->buf);

		if (err < 0)
			return err;
		if (!is_zero(c->buf, bytes) &&
			pwrite(c->fd, c->buf, bytes, (off_t)(from * SECTOR_BYTES)) !=
				(ssize_t)bytes)
			return -EIO;
		from += nr;
	}
	return 0;
}

static int copy_ends(struct copy *c, const struct blk_info *info)
{
	uint64_t end = info->nr_sectors;
	uint64_t head = HEAD_BYTES / SECTOR_BYTES;
	uint64_t tail = end > TAIL_BYTES / SECTOR_BYTES ? end - TAIL_BYTES / SECTOR_BYTES : 0;
	int err;

	if (ftruncate(c->fd, (off_t)(end * SECTOR_BYTES)) < 0)
		return -errno;
	if (head > end)
		head = end;
	err = copy_range(c, 0, head);
	return err < 0 ? err : copy_range(c, tail > head ? tail : head, end);
}

/* The disk's ends in a file; *FD is the caller's. */
static int make_copy(struct blockdev *dev, const struct blk_info *info, int *fd)
{
	struct copy c = {0};
	int err;

	c.buf = blk_dma_alloc(dev, CHUNK_BYTES);
	if (c.buf == NULL)
		return -ENOMEM;
	err = blk_queue_open(dev, &c.q);
	if (err < 0)
		goto free_buf;
	c.fd = memfd_create("vblkfs-probe", MFD_CLOEXEC);
	err = c.fd < 0 ? -errno : copy_ends(&c, info);
	if (err == 0)
		*fd = c.fd;
	else if (c.fd >= 0)
		close(c.fd);
	blk_queue_close(c.q);
free_buf:
	blk_dma_free(dev, c.buf, CHUNK_BYTES);
	return err;
}

static const char *value_of(blkid_probe probe, const char *name)
{
	const char *value;

	return blkid_probe_lookup_value(probe, name, &value, NULL) == 0 ? value : NULL;
}

static void describe(blkid_probe probe, char *what, size_t bytes)
{
	const char *type = value_of(probe, "TYPE");
	const char *usage = value_of(probe, "USAGE");
	const char *label = value_of(probe, "LABEL");
	const char *table = value_of(probe, "PTTYPE");

	if (type == NULL)
		snprintf(what, bytes, "a %s partition table", table != NULL ? table : "damaged");
	else if (usage != NULL && strcmp(usage, "filesystem") == 0)
		snprintf(what, bytes, "a filesystem of type %s%s%s%s", type,
			label != NULL ? ", label \"" : "", label != NULL ? label : "",
			label != NULL ? "\"" : "");
	else
		snprintf(what, bytes, "data of type %s", type);
}

static int probe_copy(blkid_probe probe, char *what, size_t bytes)
{
	switch (blkid_do_safeprobe(probe)) {
	case 0:
		describe(probe, what, bytes);
		return SIGNATURE_FOREIGN;
	case 1:
		return SIGNATURE_NONE;
	case -2:
		snprintf(what, bytes, "signatures of more than one kind");
		return SIGNATURE_FOREIGN;
	default:
		return -EIO;
	}
}

static int find_foreign(int fd, const struct blk_info *info, char *what, size_t bytes)
{
	blkid_probe probe = blkid_new_probe();
	int ret = -ENOMEM;

	if (probe == NULL)
		return -ENOMEM;
	if (blkid_probe_set_device(probe, fd, 0, 0) == 0 &&
		blkid_probe_set_sectorsize(probe, info->logical_bytes) == 0 &&
		blkid_probe_enable_superblocks(probe, 1) == 0 &&
		blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE |
								 BLKID_SUBLKS_LABEL |
								 BLKID_SUBLKS_BADCSUM) == 0 &&
		blkid_probe_enable_partitions(probe, 1) == 0)
		ret = probe_copy(probe, what, bytes);
	blkid_free_probe(probe);
	return ret;
}

static int find_ours(struct blockdev *dev, char *what, size_t bytes)
{
	struct fs_ident ident;
	int err = fs_identify(dev, &ident);

	if (err == -EUCLEAN)
		snprintf(what, bytes, "a damaged vblkfs filesystem");
	else if (err == 0)
		snprintf(what, bytes, "a vblkfs filesystem%s%s%s%s",
			ident.label[0] != '\0' ? ", label \"" : "", ident.label,
			ident.label[0] != '\0' ? "\"" : "",
			ident.dirty ? ", not cleanly unmounted" : "");
	return err == 0 || err == -EUCLEAN ? SIGNATURE_OURS
	       : err == -ENODATA           ? SIGNATURE_NONE
					   : err;
}

int signature_find_on(struct blockdev *dev, char *what, size_t bytes)
{
	struct blk_info info;
	int fd = -1;
	int ret;

	blk_get_info(dev, &info);
	if (info.nr_sectors == 0)
		return SIGNATURE_NONE;
	ret = find_ours(dev, what, bytes);
	if (ret != SIGNATURE_NONE)
		return ret;
	ret = make_copy(dev, &info, &fd);
	if (ret < 0)
		return ret;
	ret = find_foreign(fd, &info, what, bytes);
	close(fd);
	return ret;
}

int signature_find(const char *path, char *what, size_t bytes)
{
	const struct disk_opts opts = {.read_only = true};
	struct blockdev *dev;
	char err[256];
	int ret;

	ret = image_open(path, &opts, &dev, err, sizeof(err));
	if (ret < 0)
		return ret;
	ret = signature_find_on(dev, what, bytes);
	blk_close(dev);
	return ret;
}
