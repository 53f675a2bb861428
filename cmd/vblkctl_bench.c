/* vblkctl_bench.c - the verb bench: how fast a disk is. What writes is refused on a disk that carries
 * somebody's data, as mkfs refuses it. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include "libvblk.h"
#include "parse_bytes.h"
#include "signature.h"
#include "vblkctl.h"
#include "vblkctl_bench.h"

#define DEFAULT_BYTES     4096U
#define DEFAULT_RUNTIME_S 5
#define DEPTH_MAX         65536U
#define QUEUES_MAX        256U
#define RUNTIME_MAX_S     (366.0 * 24 * 3600)
#define DEFAULT_READ_PART 50
#define BAR_WIDTH         40

static const char *const pattern_names[BENCH_NR_PATTERNS] = {
	[BENCH_READ] = "read",
	[BENCH_WRITE] = "write",
	[BENCH_RW] = "rw",
	[BENCH_RANDREAD] = "randread",
	[BENCH_RANDWRITE] = "randwrite",
	[BENCH_RANDRW] = "randrw",
	[BENCH_FLUSH] = "flush",
	[BENCH_DISCARD] = "discard",
	[BENCH_RANDDISCARD] = "randdiscard",
	[BENCH_WRITE_ZEROES] = "write-zeroes",
	[BENCH_RANDWRITE_ZEROES] = "randwrite-zeroes",
};

struct bench_args {
	const char *source;
	struct bench_job job;
	struct vblk_opts opts;
	bool json, force, destroy_data, has_read_percent;
};

static atomic_bool stop;

static void on_signal(int sig)
{
	(void)sig;
	atomic_store(&stop, true);
}

/* --- options --- */

static const struct option options[] = {
	{"rw", required_argument, NULL, 'w'},
	{"rwmixread", required_argument, NULL, 'm'},
	{"bs", required_argument, NULL, 'b'},
	{"iodepth", required_argument, NULL, 'd'},
	{"queues", required_argument, NULL, 'q'},
	{"runtime", required_argument, NULL, 't'},
	{"ios", required_argument, NULL, 'n'},
	{"span", required_argument, NULL, 's'},
	{"spin", required_argument, NULL, 'i'},
	{"poll", no_argument, NULL, 'p'},
	{"rings", required_argument, NULL, 'r'},
	{"ring-size", required_argument, NULL, 'z'},
	{"verify", no_argument, NULL, 'v'},
	{"destroy-data", no_argument, NULL, 'D'},
	{"force", no_argument, NULL, 'f'},
	{"json", no_argument, NULL, 'j'},
	{"help", no_argument, NULL, 'h'},
	{0},
};

static bool parse_pattern(const char *name, enum bench_pattern *out)
{
	for (unsigned i = 0; i < BENCH_NR_PATTERNS; i++) {
		if (strcmp(name, pattern_names[i]) == 0) {
			*out = (enum bench_pattern)i;
			return true;
		}
	}
	return false;
}

/* A whole number up to MAX. */
static bool parse_count(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
	*out = 0;
	if (strcmp(text, "0") != 0 && !parse_bytes(text, out))
		return false;
	return *out >= min && *out <= max;
}

/* False: OPTARG does not fit. */
static bool take_value(struct bench_args *a, int c, const char *text)
{
	uint64_t n = 0;
	bool ok = false;

	switch (c) {
	case 'w':
		return parse_pattern(text, &a->job.pattern);
	case 't':
		return parse_real(text, RUNTIME_MAX_S, &a->job.runtime_s);
	case 'b':
		return parse_bytes(text, &a->job.bytes) && a->job.bytes % 512 == 0;
	case 's':
		return parse_bytes(text, &a->job.span);
	case 'n':
		return parse_bytes(text, &a->job.nr_ios);
	case 'm':
		a->has_read_percent = true;
		ok = parse_count(text, 0, 100, &n);
		a->job.read_percent = (unsigned)n;
		return ok;
	case 'd':
		ok = parse_count(text, 1, DEPTH_MAX, &n);
		a->job.depth = (unsigned)n;
		return ok;
	case 'q':
		ok = parse_count(text, 1, QUEUES_MAX, &n);
		a->job.queues = (unsigned)n;
		return ok;
	case 'i':
		ok = parse_count(text, 0, 1000000, &n);
		a->job.spin_us = (int)n;
		return ok;
	case 'r':
		ok = parse_count(text, 1, 65536, &n);
		a->opts.max_rings = (uint32_t)n;
		return ok;
	default: /* z */
		ok = parse_count(text, 2, 32768, &n) && (n & (n - 1)) == 0;
		a->opts.ring_size = (uint32_t)n;
		return ok;
	}
}

/* 0, or the exit status plus 1. */
static int take_option(struct bench_args *a, int c, const char *name)
{
	char why[64];

	switch (c) {
	case 'p':
		a->opts.poll_only = true;
		return 0;
	case 'v':
		a->job.verify = true;
		return 0;
	case 'D':
		a->destroy_data = true;
		return 0;
	case 'f':
		a->force = true;
		return 0;
	case 'j':
		a->json = true;
		return 0;
	case 'h':
		return help() + 1;
	case '?':
		return bad_usage(NULL, NULL) + 1; /* getopt_long() has said why */
	default:
		if (take_value(a, c, optarg))
			return 0;
		(void)snprintf(why, sizeof(why), "--%s does not take", name);
		return bad_usage(why, optarg) + 1;
	}
}

/* As take_option(). */
static int check_options(const struct bench_args *a)
{
	if (a->has_read_percent && !bench_mixes(a->job.pattern))
		return bad_usage("--rwmixread goes with --rw=rw and --rw=randrw", NULL) + 1;
	if (a->job.verify && !bench_has_data(a->job.pattern))
		return bad_usage("--verify goes with what reads or writes data", NULL) + 1;
	return 0;
}

static int parse(struct bench_args *a, int argc, char **argv)
{
	int c, res, which = 0;

	*a = (struct bench_args){
		.job = {.pattern = BENCH_RANDREAD,
			.read_percent = DEFAULT_READ_PART,
			.bytes = DEFAULT_BYTES,
			.depth = 1,
			.queues = 1,
			.spin_us = -1,
			.stop = &stop},
		.opts = {.size = sizeof(a->opts)},
	};
	while ((c = getopt_long(argc, argv, "jfh", options, &which)) != -1)
		if ((res = take_option(a, c, options[which].name)) != 0)
			return res;
	if (optind + 1 != argc)
		return bad_usage(
			       optind == argc ? "an argument is missing" : "one argument too many",
			       optind == argc ? "SOURCE" : argv[optind + 1]) +
		       1;
	a->source = argv[optind];
	if (a->job.runtime_s == 0 && a->job.nr_ios == 0)
		a->job.runtime_s = DEFAULT_RUNTIME_S;
	a->opts.read_only = !bench_writes(a->job.pattern) && a->job.pattern != BENCH_FLUSH;
	return check_options(a);
}

/* --- may it be written? --- */

static int refuse(const char *source, const char *why)
{
	fprintf(stderr, "vblkctl: %s: %s\n", source, why);
	return EXIT_FAILED;
}

static int check_signature(const char *source, struct vblk_disk *disk)
{
	char what[256], line[512];
	int found = signature_find_on(disk->dev, what, sizeof(what));

	if (found == SIGNATURE_NONE)
		return EXIT_OK;
	if (found < 0)
		snprintf(line, sizeof(line), "can't be read: %s", strerror(-found));
	else
		snprintf(line, sizeof(line),
			"it carries %s; --force to overwrite that all the same", what);
	return refuse(source, line);
}

/* --- what came of it --- */

static const struct {
	const char *name, *key;
	double percent;
} percentiles[] = {
	{"50", "p50", 50},
	{"90", "p90", 90},
	{"99", "p99", 99},
	{"99.9", "p99_9", 99.9},
};
#define NR_PERCENTILES (sizeof(percentiles) / sizeof(percentiles[0]))

static double iops(const struct bench_result *r)
{
	return r->seconds == 0 ? 0 : (double)r->latency.nr / r->seconds;
}

static double mib_s(const struct bench_args *a, const struct bench_result *r)
{
	return a->job.pattern == BENCH_FLUSH ? 0 : iops(r) * (double)a->job.bytes / (1 << 20);
}

static void add_number(struct json_object *o, const char *key, uint64_t n)
{
	json_object_object_add(o, key, json_object_new_uint64(n));
}

static void add_double(struct json_object *o, const char *key, double v)
{
	char text[32];

	snprintf(text, sizeof(text), "%.3f", v);
	json_object_object_add(o, key, json_object_new_double_s(v, text));
}

static struct json_object *histogram_json(const struct histogram *h)
{
	struct json_object *all = json_object_new_array();

	for (unsigned power = 0; power < 63; power++) {
		uint64_t n = histogram_power(h, power);
		struct json_object *o;

		if (n == 0)
			continue;
		o = json_object_new_object();
		add_number(o, "from_ns", 1ULL << power);
		add_number(o, "below_ns", 2ULL << power);
		add_number(o, "ios", n);
		json_object_array_add(all, o);
	}
	return all;
}

static struct json_object *latency_json(const struct histogram *h)
{
	struct json_object *o = json_object_new_object();

	add_double(o, "mean", histogram_mean_us(h));
	for (size_t i = 0; i < NR_PERCENTILES; i++)
		add_double(
			o, percentiles[i].key, histogram_percentile_us(h, percentiles[i].percent));
	add_double(o, "max", (double)h->max_ns / 1e3);
	return o;
}

/* Of a mixed pattern. */
static struct json_object *part_json(const struct histogram *h)
{
	struct json_object *o = json_object_new_object();

	add_number(o, "ios", h->nr);
	json_object_object_add(o, "latency_us", latency_json(h));
	json_object_object_add(o, "histogram", histogram_json(h));
	return o;
}

static struct json_object *result_json(const struct bench_args *a, const struct bench_result *r)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "name", json_object_new_string(r->info.name));
	json_object_object_add(o, "transport", json_object_new_string(r->info.transport));
	json_object_object_add(o, "rw", json_object_new_string(pattern_names[a->job.pattern]));
	add_number(o, "bs", a->job.bytes);
	add_number(o, "iodepth", a->job.depth);
	add_number(o, "queues", a->job.queues);
	add_number(o, "rings", r->nr_rings);
	add_double(o, "seconds", r->seconds);
	add_number(o, "ios", r->latency.nr);
	add_number(o, "errors", r->nr_errors);
	add_number(o, "wrong", r->nr_wrong);
	add_double(o, "iops", iops(r));
	add_double(o, "mib_s", mib_s(a, r));
	json_object_object_add(o, "latency_us", latency_json(&r->latency));
	json_object_object_add(o, "histogram", histogram_json(&r->latency));
	if (bench_mixes(a->job.pattern)) {
		add_number(o, "rwmixread", a->job.read_percent);
		json_object_object_add(o, "read", part_json(&r->reads));
		json_object_object_add(o, "write", part_json(&r->others));
	}
	add_number(o, "kicks", r->kicks);
	add_number(o, "kicks_saved", r->kicks_saved);
	add_number(o, "interrupts", r->interrupts);
	add_number(o, "resets", r->info.nr_resets);
	add_number(o, "queue_resets", r->info.nr_queue_resets);
	return o;
}

static void print_histogram(const struct histogram *h)
{
	uint64_t most = 1;
	unsigned first = 63, last = 0;
	char from[32];

	for (unsigned power = 0; power < 63; power++) {
		uint64_t n = histogram_power(h, power);

		if (n == 0)
			continue;
		most = n > most ? n : most;
		first = power < first ? power : first;
		last = power;
	}
	for (unsigned power = first; power <= last; power++) {
		uint64_t n = histogram_power(h, power);
		int width = (int)((double)n * BAR_WIDTH / (double)most);

		printf("  %8s and up %10" PRIu64 " %.*s\n",
			human_ns((double)(1ULL << power), from, sizeof(from)), n, width,
			"########################################");
	}
}

static void print_latency(const char *what, const struct histogram *h)
{
	char t[32];

	printf("  %s: mean %s", what, human_ns(histogram_mean_us(h) * 1e3, t, sizeof(t)));
	for (size_t i = 0; i < NR_PERCENTILES; i++)
		printf(", %s%% %s", percentiles[i].name,
			human_ns(histogram_percentile_us(h, percentiles[i].percent) * 1e3, t,
				sizeof(t)));
	printf(", max %s\n", human_ns((double)h->max_ns, t, sizeof(t)));
}

static void print_result(const struct bench_args *a, const struct bench_result *r)
{
	char size[32];

	printf("%s (%s): %s of %s, depth %u, %u queue%s on %u ring%s\n", r->info.name,
		r->info.transport, pattern_names[a->job.pattern],
		human_bytes(a->job.bytes, size, sizeof(size)), a->job.depth, a->job.queues,
		a->job.queues == 1 ? "" : "s", r->nr_rings, r->nr_rings == 1 ? "" : "s");
	printf("  %.0f IOPS, %.1f MiB/s: %" PRIu64 " in %.2f s\n", iops(r), mib_s(a, r),
		r->latency.nr, r->seconds);
	print_latency("latency", &r->latency);
	if (bench_mixes(a->job.pattern)) {
		printf("  %" PRIu64 " reads, %" PRIu64 " writes\n", r->reads.nr, r->others.nr);
		print_latency("of reads", &r->reads);
		print_latency("of writes", &r->others);
	}
	print_histogram(&r->latency);
	printf("  %" PRIu64 " doorbells, %" PRIu64 " saved, %" PRIu64 " interrupts\n", r->kicks,
		r->kicks_saved, r->interrupts);
	if (r->info.nr_resets + r->info.nr_queue_resets > 0)
		printf("  the device was reset meanwhile: %u times, and %u times one of its "
		       "queues\n",
			r->info.nr_resets, r->info.nr_queue_resets);
}

static int report(const struct bench_args *a, const struct bench_result *r)
{
	if (a->json)
		(void)print_json(result_json(a, r));
	else
		print_result(a, r);
	if (r->nr_errors == 0)
		return EXIT_OK;
	fprintf(stderr, "vblkctl: %s: %" PRIu64 " requests failed", a->source, r->nr_errors);
	if (r->nr_wrong > 0)
		fprintf(stderr, ", of them %" PRIu64 " read other data than was written\n",
			r->nr_wrong);
	else
		fprintf(stderr, ", the first: %s\n", strerror(-r->first_error));
	return EXIT_FAILED;
}

static void log_below(int priority, const char *line)
{
	if (priority <= LOG_WARNING)
		fprintf(stderr, "vblkctl: %s\n", line);
}

/* With DISK open, so that what was looked at is what is overwritten. */
static int bench(const struct bench_args *a, struct vblk_disk *disk)
{
	static struct bench_result result;
	char err[512];

	if (bench_writes(a->job.pattern) && !a->force &&
		check_signature(a->source, disk) != EXIT_OK)
		return EXIT_FAILED;
	if (bench_run(disk, &a->job, &result, err, sizeof(err)) < 0) {
		fprintf(stderr, "vblkctl: %s\n", err);
		return EXIT_FAILED;
	}
	return report(a, &result);
}

int verb_bench(const struct verb_args *args)
{
	const struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND};
	struct vblk_disk *disk;
	struct bench_args a;
	char err[512];
	int status = parse(&a, args->argc, args->argv);

	if (status != 0)
		return status - 1;
	if (bench_writes(a.job.pattern) && !a.destroy_data)
		return refuse(a.source,
			"what is on the disk would be overwritten; --destroy-data if it may be");
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	vblk_set_log(log_below);
	if (vblk_disk_open(a.source, &a.opts, &disk, err, sizeof(err)) < 0) {
		fprintf(stderr, "vblkctl: %s\n", err);
		return EXIT_FAILED;
	}
	status = bench(&a, disk);
	(void)vblk_disk_close(disk);
	return status;
}
