/* synced_check.c - judge a mount, or a disk that nobody has mounted, by a file of marks. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "disk.h"
#include "synced.h"

static int read_marks(const char *path, struct streams *out)
{
	uint8_t block[MARK_BYTES];
	FILE *f = fopen(path, "re");
	int err = f == NULL ? -errno : 0;

	while (err == 0 && fread(block, 1, sizeof(block), f) == sizeof(block))
		err = streams_learn(out, block);
	if (f != NULL)
		(void)fclose(f);
	if (err == 0 && out->nr == 0)
		err = -ENODATA;
	if (err < 0)
		fprintf(stderr, "synced: %s: %s\n", path,
			err == -ENODATA ? "no mark in it" : strerror(-err));
	return err;
}

static int judge(const struct streams *all, struct tree *tree, const char *base)
{
	char why[512];
	int64_t nr = tree_read_all(tree, base[0] == '\0' ? "/" : base);

	if (nr < 0) {
		fprintf(stderr, "synced: not all can be read: %s\n", strerror((int)-nr));
		return 1;
	}
	if (streams_judge(all, tree, base, why, sizeof(why)) < 0) {
		fprintf(stderr, "synced: %s\n", why);
		return 1;
	}
	printf("synced: seed %" PRIu64 ": all of %" PRIu64 " steps is there; %" PRId64 " names\n",
		all->seed, streams_steps(all), nr);
	return 0;
}

int synced_check(const struct synced_args *a)
{
	struct streams all = {0};
	int status = 1;

	if (read_marks(a->first, &all) == 0)
		status = judge(&all, &tree_mounted, a->second);
	streams_free(&all);
	return status;
}

static int judge_image(const struct streams *all, struct blockdev *dev, const char *base)
{
	const struct fs_mount_opts opts = {.read_only = true};
	struct tree_fs tree;
	char why[512];
	int status, err;

	if (check_disk(dev, why, sizeof(why)) < 0) {
		fprintf(stderr, "synced: %s\n", why);
		return 1;
	}
	err = tree_fs_open(&tree, dev, &opts);
	if (err < 0) {
		fprintf(stderr, "synced: it cannot be mounted: %s\n", strerror(-err));
		return 1;
	}
	status = judge(all, &tree.tree, base);
	err = tree_fs_close(&tree);
	if (err < 0)
		fprintf(stderr, "synced: it cannot be unmounted: %s\n", strerror(-err));
	return err < 0 ? 1 : status;
}

int synced_image(const struct synced_args *a)
{
	const struct disk_opts opts = {.read_only = true};
	struct streams all = {0};
	struct blockdev *dev;
	char err[256];
	int status = 1;

	if (read_marks(a->first, &all) < 0)
		return 1;
	if (image_open(a->second, &opts, &dev, err, sizeof(err)) < 0) {
		fprintf(stderr, "synced: %s\n", err);
	} else {
		status = judge_image(&all, dev, a->base);
		blk_close(dev);
	}
	streams_free(&all);
	return status;
}
