/* mkfs.vblkfs.c - make an empty vblkfs filesystem on a disk or in an image file.
 *
 * Invariants
 *  1. Nothing is written, created or extended before all that can be refused has been.
 *  2. Whatever the disk carries is kept unless -f was given, on a terminal or not. */
#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>
#include <uuid/uuid.h>
#include "parse_bytes.h"
#include "signature.h"
#include "source.h"
#include "vblkfs.h"

#define JOURNAL_MIB_MAX (1U << 20)

struct job {
	const char *disk;
	uint64_t image_bytes; /* SIZE; 0: not given */
	bool force, dry_run, quiet, json;
	bool is_new;  /* the image file is not there yet */
	bool created; /* it is, by us */
	struct mkfs_opts opts;
	struct timespec started;
	unsigned last_percent;
};

static void usage(FILE *to)
{
	fputs("usage: mkfs.vblkfs [-fKNnqV] [-i bytes-per-inode] [-J size=MiB] [-L label] [-U "
	      "uuid]\n"
	      "                   [--dry-run] [--json] [--secure-erase] disk [size]\n"
	      "       mkfs.vblkfs --help | --version\n",
		to);
}

static int complain(const char *what, const char *why)
{
	size_t n = strlen(what);

	if (strncmp(why, what, n) == 0 && why[n] == ':') /* a driver's words may name it already */
		fprintf(stderr, "mkfs.vblkfs: %s\n", why);
	else
		fprintf(stderr, "mkfs.vblkfs: %s: %s\n", what, why);
	return EXIT_FAILURE;
}

/* --- options */

static bool parse_uuid(const char *text, struct mkfs_opts *opts)
{
	opts->have_uuid = true;
	if (strcmp(text, "clear") == 0)
		uuid_clear(opts->uuid);
	else if (strcmp(text, "random") == 0)
		uuid_generate_random(opts->uuid);
	else if (strcmp(text, "time") == 0)
		uuid_generate_time(opts->uuid);
	else
		return uuid_parse(text, opts->uuid) == 0;
	return true;
}

static bool parse_journal(const char *text, struct mkfs_opts *opts)
{
	uint64_t mib;

	if (strncmp(text, "size=", 5) != 0 || !parse_bytes(text + 5, &mib) || mib > JOURNAL_MIB_MAX)
		return false;
	opts->journal_bytes = mib << 20;
	return true;
}

static bool parse_ratio(const char *text, struct mkfs_opts *opts)
{
	uint64_t bytes;

	if (!parse_bytes(text, &bytes) || bytes > UINT32_MAX)
		return false;
	opts->inode_bytes_ratio = (uint32_t)bytes;
	return true;
}

static bool parse_label(const char *text, struct mkfs_opts *opts)
{
	if (strlen(text) >= sizeof(opts->label))
		return false;
	memcpy(opts->label, text, strlen(text) + 1);
	return true;
}

enum { OPT_HELP = 256, OPT_VERSION, OPT_JSON, OPT_DRY_RUN, OPT_SECURE_ERASE };

static const struct option long_options[] = {
	{"dry-run", no_argument, NULL, OPT_DRY_RUN},
	{"json", no_argument, NULL, OPT_JSON},
	{"secure-erase", no_argument, NULL, OPT_SECURE_ERASE},
	{"help", no_argument, NULL, OPT_HELP},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

static const char *const wrong_value[] = {
	['L'] = "-L: at most 32 bytes",
	['U'] = "-U: a UUID, or random, time or clear",
	['i'] = "-i: a number of bytes",
	['J'] = "-J: size=, then a number of MiB",
};

/* -1: go on, else the exit status. */
static int parse_one(struct job *job, int c)
{
	bool ok = true;

	switch (c) {
	case 'f':
		job->force = true;
		break;
	case 'n':
	case 'N':
	case OPT_DRY_RUN:
		job->dry_run = true;
		break;
	case 'q':
		job->quiet = true;
		break;
	case 'K':
		job->opts.no_discard = true;
		break;
	case OPT_JSON:
		job->json = true;
		break;
	case OPT_SECURE_ERASE:
		job->opts.secure_erase = true;
		break;
	case 'L':
		ok = parse_label(optarg, &job->opts);
		break;
	case 'U':
		ok = parse_uuid(optarg, &job->opts);
		break;
	case 'i':
		ok = parse_ratio(optarg, &job->opts);
		break;
	case 'J':
		ok = parse_journal(optarg, &job->opts);
		break;
	case 'V':
	case OPT_VERSION:
		puts("mkfs.vblkfs " VBLKFS_VERSION);
		return EXIT_SUCCESS;
	case OPT_HELP:
		usage(stdout);
		return EXIT_SUCCESS;
	default:
		usage(stderr);
		return EXIT_FAILURE;
	}
	return ok ? -1 : complain(optarg, wrong_value[c]);
}

static int parse(struct job *job, int argc, char **argv)
{
	int c;

	while ((c = getopt_long(argc, argv, "fi:J:KL:NnqU:V", long_options, NULL)) != -1) {
		int status = parse_one(job, c);

		if (status >= 0)
			return status;
	}
	if (argc - optind < 1 || argc - optind > 2) {
		usage(stderr);
		return EXIT_FAILURE;
	}
	job->disk = argv[optind];
	if (argc - optind == 2 && !parse_bytes(argv[optind + 1], &job->image_bytes))
		return complain(
			argv[optind + 1], "not a size: a number of bytes, or with K, M, G, T or P");
	if (job->image_bytes != 0 && (disk_is_pci(job->disk) || disk_socket(job->disk) != NULL))
		return complain(job->disk, "a size is for image files only");
	return -1;
}

/* --- what is told */

static void report_json(const struct job *job, const struct mkfs_geometry *geo)
{
	struct json_object *o = json_object_new_object();
	char uuid[UUID_STR_LEN];
	const struct {
		const char *key;
		uint64_t value;
	} number[] = {
		{"block_bytes", FS_BLOCK_BYTES},
		{"blocks", geo->nr_blocks},
		{"free_blocks", geo->free_blocks},
		{"journal_blocks", geo->journal_blocks},
		{"groups", geo->nr_groups},
		{"group_blocks", geo->group_blocks},
		{"inodes", geo->nr_inodes},
		{"inodes_per_group", geo->inodes_per_group},
	};

	uuid_unparse_lower(geo->uuid, uuid);
	json_object_object_add(o, "disk", json_object_new_string(job->disk));
	json_object_object_add(o, "written", json_object_new_boolean(!job->dry_run));
	json_object_object_add(o, "uuid", json_object_new_string(uuid));
	json_object_object_add(o, "label", json_object_new_string(geo->label));
	for (size_t i = 0; i < sizeof(number) / sizeof(number[0]); i++)
		json_object_object_add(o, number[i].key, json_object_new_uint64(number[i].value));
	puts(json_object_to_json_string_ext(
		o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(o);
}

static void report_text(const struct job *job, const struct mkfs_geometry *geo)
{
	char uuid[UUID_STR_LEN];

	uuid_unparse_lower(geo->uuid, uuid);
	printf("%s: %s\n", job->disk, job->dry_run ? "would be vblkfs" : "vblkfs");
	printf("uuid     %s\n", uuid);
	if (geo->label[0] != '\0')
		printf("label    %s\n", geo->label);
	printf("blocks   %llu of %u bytes, %llu free (%llu MiB)\n",
		(unsigned long long)geo->nr_blocks, FS_BLOCK_BYTES,
		(unsigned long long)geo->free_blocks, (unsigned long long)geo->free_blocks / 256);
	printf("groups   %u of %u blocks\n", geo->nr_groups, geo->group_blocks);
	printf("inodes   %llu, %u a group\n", (unsigned long long)geo->nr_inodes,
		geo->inodes_per_group);
	printf("journal  %llu blocks (%llu MiB)\n", (unsigned long long)geo->journal_blocks,
		(unsigned long long)geo->journal_blocks / 256);
}

static int report(const struct job *job, const struct mkfs_geometry *geo)
{
	if (job->json)
		report_json(job, geo);
	else if (!job->quiet || job->dry_run)
		report_text(job, geo);
	return fflush(stdout) == 0 ? EXIT_SUCCESS : complain("standard output", strerror(errno));
}

static double elapsed_s(const struct job *job)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - job->started.tv_sec) +
	       (double)(now.tv_nsec - job->started.tv_nsec) / 1e9;
}

/* On a terminal, once it takes longer than a moment. */
static void show_progress(void *arg, uint64_t done, uint64_t total)
{
	struct job *job = arg;
	unsigned percent = (unsigned)((double)done * 100 / (double)total);
	double elapsed = elapsed_s(job);

	if (elapsed < 1 || percent == 0 || (percent == job->last_percent && percent < 100))
		return;
	job->last_percent = percent;
	fprintf(stderr, "\r%u %%, %.0f s, %.0f s left \033[K%s", percent, elapsed,
		elapsed * (100 - percent) / percent, percent == 100 ? "\r\033[K" : "");
}

/* --- the work */

static int plan(struct job *job, uint64_t nr_sectors, struct mkfs_geometry *geo)
{
	char err[256];

	if (mkfs_plan(nr_sectors, &job->opts, geo, err, sizeof(err)) < 0)
		return complain(job->disk, err);
	return EXIT_SUCCESS;
}

static int open_disk(struct job *job, bool read_only, struct blockdev **dev)
{
	const struct disk_opts opts = {.read_only = read_only};
	char err[256];

	if (source_open(job->disk, &opts, dev, err, sizeof(err)) < 0)
		return complain(job->disk, err);
	return EXIT_SUCCESS;
}

/* May the disk be overwritten, and is it large enough? Writes nothing. */
static int check_disk(struct job *job, struct blockdev *dev, struct mkfs_geometry *geo)
{
	struct blk_info info;
	uint64_t nr_sectors;
	char what[256];
	int found;

	blk_get_info(dev, &info);
	nr_sectors = info.nr_sectors;
	if (job->image_bytes != 0) {
		if (job->image_bytes / SECTOR_BYTES < nr_sectors)
			return complain(job->disk, "is larger than that size already");
		nr_sectors = job->image_bytes / SECTOR_BYTES;
	}
	if (plan(job, nr_sectors, geo) != EXIT_SUCCESS)
		return EXIT_FAILURE;
	if (job->opts.secure_erase && !info.can_secure_erase)
		return complain(job->disk, "the disk can't erase securely");
	if (job->force)
		return EXIT_SUCCESS;
	found = signature_find_on(dev, what, sizeof(what));
	if (found == SIGNATURE_NONE)
		return EXIT_SUCCESS;
	if (found < 0)
		return complain(job->disk, strerror(-found));
	fprintf(stderr, "mkfs.vblkfs: %s: has %s; -f overwrites it\n", job->disk, what);
	return job->dry_run ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Give the image file its size. */
static int size_image(struct job *job)
{
	int flags = O_RDWR | O_CLOEXEC | (job->is_new ? O_CREAT | O_EXCL : 0);
	int fd = open(job->disk, flags, 0666);
	int ret = EXIT_SUCCESS;

	if (fd < 0)
		return complain(job->disk, strerror(errno));
	job->created = job->is_new;
	if (ftruncate(fd, (off_t)job->image_bytes) < 0)
		ret = complain(job->disk, strerror(errno));
	close(fd);
	return ret;
}

static int write_disk(struct job *job, struct mkfs_geometry *geo)
{
	struct blockdev *dev;
	struct blk_info info;
	char err[256];
	int ret;

	if (open_disk(job, false, &dev) != EXIT_SUCCESS)
		return EXIT_FAILURE;
	blk_get_info(dev, &info);
	if (info.read_only) {
		blk_close(dev);
		return complain(job->disk, "the disk is read-only");
	}
	ret = check_disk(job, dev, geo);
	if (ret == EXIT_SUCCESS && mkfs_write(dev, &job->opts, geo, err, sizeof(err)) < 0)
		ret = complain(job->disk, err);
	blk_close(dev);
	return ret;
}

/* All that can be told without writing; *GEO is filled in. */
static int check(struct job *job, struct mkfs_geometry *geo)
{
	struct blockdev *dev;
	struct stat st;
	int ret;

	if (job->image_bytes != 0) {
		bool is_there = stat(job->disk, &st) == 0;

		if (job->opts.secure_erase)
			return complain(job->disk, "an image file can't be erased securely");
		job->is_new = !is_there && errno == ENOENT;
		if (job->is_new)
			return plan(job, job->image_bytes / SECTOR_BYTES, geo);
		if (is_there && !S_ISREG(st.st_mode))
			return complain(job->disk, "a size is for image files only");
	}
	if (open_disk(job, true, &dev) != EXIT_SUCCESS)
		return EXIT_FAILURE;
	ret = check_disk(job, dev, geo);
	blk_close(dev);
	return ret;
}

static int make(struct job *job)
{
	struct mkfs_geometry geo;
	int ret = EXIT_SUCCESS;

	if (job->dry_run || job->image_bytes != 0)
		ret = check(job, &geo);
	if (ret == EXIT_SUCCESS && !job->dry_run && job->image_bytes != 0)
		ret = size_image(job);
	if (ret == EXIT_SUCCESS && !job->dry_run)
		ret = write_disk(job, &geo);
	if (ret == EXIT_SUCCESS)
		return report(job, &geo);
	if (job->created)
		(void)unlink(job->disk);
	return ret;
}

int main(int argc, char **argv)
{
	struct job job = {0};
	int status = parse(&job, argc, argv);

	if (status >= 0)
		return status;
	openlog("mkfs.vblkfs", LOG_PID, LOG_DAEMON);
	clock_gettime(CLOCK_MONOTONIC, &job.started);
	if (isatty(STDERR_FILENO) && !job.quiet && !job.json) {
		job.opts.progress = show_progress;
		job.opts.arg = &job;
	}
	return make(&job);
}
