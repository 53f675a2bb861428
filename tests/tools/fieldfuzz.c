/* fieldfuzz.c - each field of each block of metadata, damaged in each way: fsck must make it sound.
 *
 *	fieldfuzz [--seed N] [--fields N] [--runs N | --all] IMAGE
 *
 * A field of a block of IMAGE (which is not changed), or all of a block, is set to zeros, ones, a
 * random value, one more, one less, or has its first or last bit flipped; a field's block gets a good
 * checksum again. Then the check repairs it, finds nothing the second time, the filesystem is
 * mounted, all of it is read, something is written, and the check finds nothing once more. What could
 * not be repaired is counted, and must not crash.
 *
 * --runs (500) are drawn by --seed (printed), each with --fields (1) damaged: first one of the fields
 * that there are, then which block's; --all takes each block's in each way. Exit status 1 when one
 * fails; what was done is printed. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "bitmap.h"
#include "cache.h"
#include "disk.h"
#include "dump.h"
#include "walk.h"

enum verb { ZERO, ONES, RANDOM, ADD, SUB, FIRSTBIT, LASTBIT, NR_VERBS };
static const char *const verb_names[NR_VERBS] = {
	"zero", "ones", "random", "+1", "-1", "firstbit", "lastbit"};

#define FIELDS_MAX 16

struct spot {
	uint64_t block;
	unsigned offset, bytes; /* in the block */
	const char *structure, *field;
};

struct damage {
	const struct spot *spot;
	enum verb verb;
};

static uint8_t *image; /* DMA memory */
static uint64_t nr_sectors;
static struct blockdev *dev;
static struct blk_queue *q;
static struct spot *spots;
static size_t nr_spots, max_spots;
static size_t *kinds; /* where those of the next name begin; the last is the end */
static size_t nr_kinds;
static uint64_t rng;

static uint64_t next_random(void) /* splitmix64 */
{
	uint64_t z = (rng += 0x9e3779b97f4a7c15U);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
	return z ^ (z >> 31);
}

static int die(const char *what, const char *why)
{
	fprintf(stderr, "fieldfuzz: %s: %s\n", what, why);
	exit(2);
}

/* --- what can be damaged --- */

static void add_spot(uint64_t block, unsigned at, const char *structure, const struct dump_field *f)
{
	if (nr_spots == max_spots) {
		max_spots = max_spots == 0 ? 1024 : max_spots * 2;
		spots = realloc(spots, max_spots * sizeof(*spots));
		if (spots == NULL)
			die("spots", strerror(ENOMEM));
	}
	spots[nr_spots++] = (struct spot){block, at + f->offset, f->bytes, structure, f->name};
}

static const struct dump_field whole = {"whole", 0, BLOCK_BYTES, DUMP_BYTES, NULL};

static void add_layout(uint64_t block, unsigned at, const struct dump_layout *layout)
{
	for (unsigned i = 0; i < layout->nr_fields; i++)
		add_spot(block, at, layout->name, &layout->field[i]);
}

static void add_xattrs(uint64_t block, unsigned at, unsigned bytes)
{
	const uint8_t *b = image + block * BLOCK_BYTES;

	for (unsigned end = at + bytes; at + sizeof(struct xattr_disk) <= end;) {
		const struct xattr_disk *e = (const struct xattr_disk *)(b + at);

		add_layout(block, at, &dump_xattr_layout);
		at += (4U + e->name_bytes + le16_get(e->value_bytes) + 3U) & ~3U;
	}
}

static void add_inode(uint64_t block, unsigned at)
{
	const struct inode_disk *d = (const struct inode_disk *)(image + block * BLOCK_BYTES + at);
	unsigned fork = at + offsetof(struct inode_disk, fork);

	if (le64_get(d->ino) == 0)
		return;
	add_layout(block, at, &dump_inode_layout);
	if (d->fork_format == FORK_BTREE || d->fork_format == FORK_SYMLINK_BLOCK)
		add_layout(block, at, &dump_fork_layout);
	for (unsigned i = 0; d->fork_format == FORK_EXTENTS && i < d->fork_count; i++)
		add_layout(block, fork + i * sizeof(struct extent_disk), &dump_extent_layout);
	add_xattrs(block, at + offsetof(struct inode_disk, xattr), le16_get(d->xattr_bytes));
}

/* The first, the middle, and the last record. */
static void add_records(uint64_t block, const struct dump_layout *layout)
{
	const struct dump_records *r = layout->records;
	unsigned nr = r->count == NULL ? r->max
				       : (unsigned)dump_number(dump_find_field(layout, r->count),
						 image + block * BLOCK_BYTES);
	unsigned k[3] = {0, nr / 2, nr - 1};

	for (unsigned i = 0; i < 3 && nr > 0; i++)
		if (i == 0 || k[i] != k[i - 1])
			add_layout(block, r->offset + k[i] * r->bytes, r->of);
}

static void add_entries(uint64_t block)
{
	const uint8_t *leaf = image + block * BLOCK_BYTES;
	unsigned nr = dump_leaf_slots(leaf);

	for (unsigned k = 0; k < nr; k += 1 + nr / 4)
		add_layout(block, (unsigned)((const uint8_t *)dump_leaf_entry(leaf, k) - leaf),
			&dump_dirent_layout);
}

static void add_block(uint64_t block)
{
	const struct block_head *head = (const struct block_head *)(image + block * BLOCK_BYTES);
	const struct dump_layout *layout = dump_layout_of(le32_get(head->magic));

	/* images in the journal have their home's number: those are not looked at */
	if (layout == NULL || le64_get(head->block) != block)
		return;
	add_spot(block, 0, layout->name, &whole);
	add_layout(block, 0, &dump_head);
	add_layout(block, 0, layout);
	if (layout->type == BT_INODES)
		for (unsigned i = 0; i < INODES_PER_BLOCK; i++)
			add_inode(block, offsetof(struct inodes_disk, inode[i]));
	else if (layout->records != NULL)
		add_records(block, layout);
	if (layout->type == BT_DIR_LEAF)
		add_entries(block);
	if (layout->type == BT_XATTR)
		add_xattrs(block, offsetof(struct xattr_block_disk, data),
			le32_get(((const struct xattr_block_disk *)head)->bytes));
}

static int by_name(const void *a, const void *b)
{
	const struct spot *x = a, *y = b;
	int order = strcmp(x->structure, y->structure);

	if (order == 0)
		order = strcmp(x->field, y->field);
	if (order == 0)
		order = x->block < y->block ? -1 : x->block > y->block;
	return order != 0 ? order : (int)x->offset - (int)y->offset;
}

static void sort_spots(void)
{
	qsort(spots, nr_spots, sizeof(*spots), by_name);
	kinds = calloc(nr_spots + 1, sizeof(*kinds));
	if (kinds == NULL)
		die("spots", strerror(ENOMEM));
	for (size_t i = 0; i < nr_spots; i++)
		if (i == 0 || strcmp(spots[i].structure, spots[i - 1].structure) != 0 ||
			strcmp(spots[i].field, spots[i - 1].field) != 0)
			kinds[nr_kinds++] = i;
	kinds[nr_kinds] = nr_spots;
}

static const struct spot *draw_spot(void)
{
	size_t k = next_random() % nr_kinds;

	return &spots[kinds[k] + next_random() % (kinds[k + 1] - kinds[k])];
}

/* --- one run --- */

static void damage(const struct damage *d, uint8_t *block)
{
	const struct spot *s = d->spot;
	uint8_t *at = block + s->offset;
	unsigned carry = 1;

	switch (d->verb) {
	case ZERO:
	case ONES:
		memset(at, d->verb == ZERO ? 0 : 0xff, s->bytes);
		break;
	case RANDOM:
		for (unsigned i = 0; i < s->bytes; i++)
			at[i] = (uint8_t)next_random();
		break;
	case ADD:
		for (unsigned i = 0; i < s->bytes && carry != 0; i++)
			carry = ++at[i] == 0;
		break;
	case SUB:
		for (unsigned i = 0; i < s->bytes && carry != 0; i++)
			carry = at[i]-- == 0;
		break;
	case FIRSTBIT:
		at[0] ^= 1;
		break;
	default:
		at[s->bytes - 1] ^= 0x80;
	}
	if (s->bytes < BLOCK_BYTES && strcmp(s->field, "crc") != 0)
		block_seal(block);
}

static void put_disk(const struct damage *d, unsigned nr)
{
	static uint8_t *page;
	int err;

	if (page == NULL)
		page = blk_dma_alloc(dev, BLOCK_BYTES);
	if (page == NULL)
		die("disk", strerror(ENOMEM));
	err = blk_do(q, BLK_WRITE, 0, (uint32_t)nr_sectors, image);
	for (unsigned i = 0; i < nr && err == 0; i++) {
		uint64_t sector = d[i].spot->block * BLOCK_SECTORS;

		err = blk_do(q, BLK_READ, sector, BLOCK_SECTORS, page);
		damage(&d[i], page);
		if (err == 0)
			err = blk_do(q, BLK_WRITE, sector, BLOCK_SECTORS, page);
	}
	if (err < 0)
		die("disk", strerror(-err));
}

static void keep_first(void *arg, const struct fsck_problem *p, bool fixed)
{
	char *first = arg;

	(void)fixed;
	if (first[0] == '\0')
		snprintf(first, 200, "%s: %s", p->name, p->text);
}

/* WHY: the first problem. 0, or a negative errno; *LEFT is how many are. */
static int check(enum fsck_mode mode, char *why, uint64_t *left)
{
	const struct fsck_opts opts = {
		.mode = mode, .force = true, .report = keep_first, .arg = why};
	struct fsck_result result = {0};
	int err;

	why[0] = '\0';
	err = fs_check(dev, &opts, &result);
	if (err < 0)
		snprintf(why, 200, "%s", result.error);
	*left = mode == FSCK_NO ? result.nr_problems : result.nr_left;
	return err;
}

static int use(char *why, size_t bytes)
{
	struct fs_thread *t;
	struct fs *fs;
	int err = fs_mount(dev, NULL, &fs);

	snprintf(why, bytes, "mount");
	if (err < 0)
		return err;
	err = fs_thread_open(fs, &t);
	if (err < 0)
		die("thread", strerror(-err));
	err = walk_all(t, dev, NULL, why, bytes);
	if (err == 0)
		err = walk_write(t, dev, why, bytes);
	fs_thread_close(t);
	if (err < 0) {
		(void)fs_unmount(fs);
		return err;
	}
	snprintf(why, bytes, "unmount");
	return fs_unmount(fs);
}

/* 1: it can't be repaired, 0: it was, or was none, -1: not so, WHY. */
static int run(const struct damage *d, unsigned nr, char *why, size_t bytes)
{
	char problem[200];
	uint64_t left;

	put_disk(d, nr);
	if (check(FSCK_YES, problem, &left) < 0 || left > 0)
		return 1;
	if (check(FSCK_NO, problem, &left) < 0 || left > 0) {
		snprintf(why, bytes, "the second check: %s", problem);
		return -1;
	}
	if (use(why, bytes) < 0)
		return -1;
	if (check(FSCK_NO, problem, &left) < 0 || left > 0) {
		snprintf(why, bytes, "the check after it was mounted: %s", problem);
		return -1;
	}
	return 0;
}

/* --- all --- */

static void load(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		die(path, strerror(errno));
	nr_sectors = (uint64_t)st.st_size / SECTOR_BYTES;
	if (mem_disk_open(nr_sectors, &dev) < 0 || blk_queue_open(dev, &q) < 0)
		die(path, "no memory for it");
	image = blk_dma_alloc(dev, (size_t)st.st_size);
	if (image == NULL || read(fd, image, (size_t)st.st_size) != st.st_size)
		die(path, "cannot be read");
	close(fd);
	for (uint64_t b = 0; b < nr_sectors / BLOCK_SECTORS; b++)
		add_block(b);
	if (nr_spots == 0)
		die(path, "no blocks of metadata");
	sort_spots();
}

struct totals {
	uint64_t runs, hopeless, failed;
};

static void one(const struct damage *d, unsigned nr, struct totals *sum)
{
	uint64_t seed = rng;
	char why[256] = "";
	int ret = run(d, nr, why, sizeof(why));

	sum->runs++;
	sum->hopeless += ret > 0;
	sum->failed += ret < 0;
	if (ret >= 0)
		return;
	printf("FAILED: %s\n", why);
	for (unsigned i = 0; i < nr; i++)
		printf("  block %llu @%u: %s.%s of %u bytes: %s\n",
			(unsigned long long)d[i].spot->block, d[i].spot->offset,
			d[i].spot->structure, d[i].spot->field, d[i].spot->bytes,
			verb_names[d[i].verb]);
	printf("  random numbers from %llu on\n", (unsigned long long)seed);
}

static void run_all(struct totals *sum)
{
	for (size_t i = 0; i < nr_spots * NR_VERBS; i++)
		one(&(struct damage){&spots[i / NR_VERBS], i % NR_VERBS}, 1, sum);
}

static void run_some(uint64_t runs, unsigned nr, struct totals *sum)
{
	struct damage d[FIELDS_MAX];

	for (uint64_t i = 0; i < runs; i++) {
		for (unsigned k = 0; k < nr; k++)
			d[k] = (struct damage){draw_spot(), next_random() % NR_VERBS};
		one(d, nr, sum);
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"seed", required_argument, NULL, 's'},
		{"fields", required_argument, NULL, 'f'}, {"runs", required_argument, NULL, 'r'},
		{"all", no_argument, NULL, 'a'}, {0}};
	uint64_t runs = 500, fields = 1;
	struct totals sum = {0};
	bool all = false;
	int c;

	rng = 1;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 's')
			rng = strtoull(optarg, NULL, 0);
		else if (c == 'f')
			fields = strtoull(optarg, NULL, 0);
		else if (c == 'r')
			runs = strtoull(optarg, NULL, 0);
		else if (c == 'a')
			all = true;
		else
			return 2;
	}
	if (argc - optind != 1 || fields == 0 || fields > FIELDS_MAX)
		return die("usage", "fieldfuzz [--seed N] [--fields N] [--runs N | --all] IMAGE");
	load(argv[optind]);
	printf("fieldfuzz: seed %llu, %zu fields of %zu names\n", (unsigned long long)rng, nr_spots,
		nr_kinds);
	if (all)
		run_all(&sum);
	else
		run_some(runs, (unsigned)fields, &sum);
	printf("fieldfuzz: %llu runs, %llu could not be repaired, %llu failed\n",
		(unsigned long long)sum.runs, (unsigned long long)sum.hopeless,
		(unsigned long long)sum.failed);
	return sum.failed > 0;
}
