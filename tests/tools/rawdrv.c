/* rawdrv.c - exercise a disk below the filesystem: reads, writes or flushes at a depth, and how
 * long they took.
 *
 *	rawdrv DISK --rw randread --bs 4096 --depth 32 --runtime 5
 *
 * DISK is what disk_open() takes. Each thread has a queue of its own. Written data carries its own
 * position, so that --verify, on a later read, knows what must be there. */
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "disk.h"

enum pattern { READ, WRITE, RANDREAD, RANDWRITE, FLUSH, NR_PATTERNS };
static const char *const pattern_names[] = {"read", "write", "randread", "randwrite", "flush"};

static struct {
	const char *disk;
	enum pattern pattern;
	size_t bytes;
	unsigned depth, threads;
	double runtime_s;
	uint64_t count; /* requests a thread; 0: until the time is over */
	uint64_t span;  /* bytes of the disk that are used; 0: all */
	bool json, verify;
	int spin_us; /* -1: the disk's own */
	struct disk_opts disk_opts;
} opt = {.bytes = 4096, .depth = 1, .threads = 1, .runtime_s = 5, .spin_us = -1};

static struct blockdev *dev;
static struct blk_info info;

/* Latencies by binary magnitude, 32 steps in each: 3 % exact, no memory per request. */
#define STEPS      32U
#define NR_BUCKETS (64U * STEPS)

struct worker {
	pthread_t thread;
	unsigned number;
	struct blk_queue *q;
	uint64_t nr_started, nr_done, nr_errors;
	uint64_t next;   /* sequential position, in requests */
	uint64_t random; /* state */
	uint64_t end_ns;
	uint64_t lat_sum_ns;
	int first_error;
	uint64_t bucket[NR_BUCKETS];
};

struct slot { /* one request in flight */
	struct blk_req req;
	struct iovec iov;
	struct worker *w;
	uint64_t start_ns;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

static unsigned bucket_of(uint64_t ns)
{
	unsigned magnitude;

	if (ns < STEPS)
		return (unsigned)ns;
	magnitude = 63U - (unsigned)__builtin_clzll(ns);
	return (magnitude - 4) * STEPS + (unsigned)(ns >> (magnitude - 5)) - STEPS;
}

static uint64_t bucket_ns(unsigned bucket)
{
	if (bucket < STEPS)
		return bucket;
	return (uint64_t)(STEPS + bucket % STEPS) << (bucket / STEPS - 1);
}

static uint64_t next_random(struct worker *w) /* xorshift64 */
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->random;
}

static bool is_write(void)
{
	return opt.pattern == WRITE || opt.pattern == RANDWRITE;
}

/* Every 8 bytes say where on the disk they are. */
static void stamp(void *buf, uint64_t sector)
{
	uint64_t *word = buf;

	for (size_t i = 0; i < opt.bytes / sizeof(*word); i++)
		word[i] = sector * SECTOR_BYTES + i * sizeof(*word) + 1;
}

static bool is_stamped(const void *buf, uint64_t sector)
{
	const uint64_t *word = buf;

	for (size_t i = 0; i < opt.bytes / sizeof(*word); i++)
		if (word[i] != sector * SECTOR_BYTES + i * sizeof(*word) + 1)
			return false;
	return true;
}

static uint64_t choose_sector(struct worker *w)
{
	uint64_t places = opt.span / opt.bytes, place;

	if (opt.pattern == RANDREAD || opt.pattern == RANDWRITE) {
		place = next_random(w) % places;
	} else { /* each thread has a stretch of its own */
		uint64_t stretch = places / opt.threads;

		place = w->number * stretch + w->next++ % (stretch == 0 ? 1 : stretch);
	}
	return place * (opt.bytes / SECTOR_BYTES);
}

static void start(struct slot *s)
{
	static const enum blk_op ops[] = {BLK_READ, BLK_WRITE, BLK_READ, BLK_WRITE, BLK_FLUSH};
	struct worker *w = s->w;
	int rc;

	s->req.op = ops[opt.pattern];
	s->req.sector = opt.pattern == FLUSH ? 0 : choose_sector(w);
	s->req.nr_sectors = opt.pattern == FLUSH ? 0 : (uint32_t)(opt.bytes / SECTOR_BYTES);
	if (opt.verify && is_write())
		stamp(s->iov.iov_base, s->req.sector);
	s->start_ns = now_ns();
	w->nr_started++;
	rc = blk_submit(w->q, &s->req);
	if (rc < 0)
		errx(1, "%s: submit: %s", opt.disk, strerror(-rc));
}

static bool want_more(const struct worker *w)
{
	return opt.count != 0 ? w->nr_started < opt.count : now_ns() < w->end_ns;
}

static void done(struct blk_req *req, int error)
{
	struct slot *s = (struct slot *)req;
	struct worker *w = s->w;
	uint64_t took = now_ns() - s->start_ns;

	if (error == 0 && opt.verify && req->op == BLK_READ &&
		!is_stamped(s->iov.iov_base, req->sector))
		error = -EILSEQ;
	if (error < 0) {
		w->nr_errors++;
		if (w->first_error == 0)
			w->first_error = error;
	}
	w->nr_done++;
	w->lat_sum_ns += took;
	w->bucket[bucket_of(took)]++;
	if (want_more(w))
		start(s);
}

static struct slot *make_slots(struct worker *w)
{
	struct slot *slots = calloc(opt.depth, sizeof(*slots));

	if (slots == NULL)
		err(1, "slots");
	for (unsigned i = 0; i < opt.depth; i++) {
		slots[i].w = w;
		slots[i].req.done = done;
		if (opt.pattern == FLUSH)
			continue;
		slots[i].iov.iov_base = blk_dma_alloc(dev, opt.bytes);
		slots[i].iov.iov_len = opt.bytes;
		slots[i].req.iov = &slots[i].iov;
		slots[i].req.nr_iov = 1;
		if (slots[i].iov.iov_base == NULL)
			errx(1, "%s: no DMA memory for %u requests of %zu bytes", opt.disk,
				opt.depth, opt.bytes);
	}
	return slots;
}

static void free_slots(struct slot *slots)
{
	for (unsigned i = 0; i < opt.depth; i++)
		blk_dma_free(dev, slots[i].iov.iov_base, opt.bytes);
	free(slots);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct slot *slots = make_slots(w);
	int rc = blk_queue_open(dev, &w->q);

	if (rc < 0)
		errx(1, "%s: queue: %s", opt.disk, strerror(-rc));
	if (opt.spin_us >= 0)
		w->q->spin_us = (uint32_t)opt.spin_us;
	w->random = 88172645463325252U + w->number;
	w->end_ns = now_ns() + (uint64_t)(opt.runtime_s * 1e9);
	for (unsigned i = 0; i < opt.depth && want_more(w); i++)
		start(&slots[i]);
	while (w->nr_done < w->nr_started)
		(void)blk_wait(w->q, -1);
	blk_queue_close(w->q);
	free_slots(slots);
	return NULL;
}

/* --- what came of it --- */

struct result {
	uint64_t nr_done, nr_errors;
	int first_error;
	double seconds, iops, mib_s, mean_us, p50_us, p99_us;
};

static double percentile_us(const uint64_t *bucket, uint64_t total, double part)
{
	uint64_t seen = 0;

	for (unsigned i = 0; i < NR_BUCKETS; i++) {
		seen += bucket[i];
		if ((double)seen >= part * (double)total)
			return (double)bucket_ns(i) / 1e3;
	}
	return 0;
}

static void sum_up(const struct worker *workers, double seconds, struct result *r)
{
	static uint64_t bucket[NR_BUCKETS];
	uint64_t lat_sum_ns = 0;

	*r = (struct result){.seconds = seconds};
	for (unsigned i = 0; i < opt.threads; i++) {
		const struct worker *w = &workers[i];

		r->nr_done += w->nr_done;
		r->nr_errors += w->nr_errors;
		if (r->first_error == 0)
			r->first_error = w->first_error;
		lat_sum_ns += w->lat_sum_ns;
		for (unsigned b = 0; b < NR_BUCKETS; b++)
			bucket[b] += w->bucket[b];
	}
	r->iops = (double)r->nr_done / seconds;
	r->mib_s = opt.pattern == FLUSH ? 0 : r->iops * (double)opt.bytes / (1 << 20);
	r->mean_us = r->nr_done == 0 ? 0 : (double)lat_sum_ns / (double)r->nr_done / 1e3;
	r->p50_us = percentile_us(bucket, r->nr_done, 0.50);
	r->p99_us = percentile_us(bucket, r->nr_done, 0.99);
}

static void sum_stats(struct blk_stat *sum)
{
	struct blk_stat ring[64];
	int n = blk_stats(dev, ring, 64);

	*sum = (struct blk_stat){0};
	for (int i = 0; i < n; i++) {
		sum->kicks += ring[i].kicks;
		sum->kicks_saved += ring[i].kicks_saved;
		sum->interrupts += ring[i].interrupts;
	}
}

static void print_json(const struct result *r, const struct blk_stat *stat)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "disk", json_object_new_string(opt.disk));
	json_object_object_add(o, "rw", json_object_new_string(pattern_names[opt.pattern]));
	json_object_object_add(o, "bs", json_object_new_uint64(opt.bytes));
	json_object_object_add(o, "depth", json_object_new_uint64(opt.depth));
	json_object_object_add(o, "threads", json_object_new_uint64(opt.threads));
	json_object_object_add(o, "rings", json_object_new_uint64(info.nr_rings));
	json_object_object_add(o, "seconds", json_object_new_double(r->seconds));
	json_object_object_add(o, "requests", json_object_new_uint64(r->nr_done));
	json_object_object_add(o, "errors", json_object_new_uint64(r->nr_errors));
	json_object_object_add(o, "iops", json_object_new_double(r->iops));
	json_object_object_add(o, "mib_s", json_object_new_double(r->mib_s));
	json_object_object_add(o, "mean_us", json_object_new_double(r->mean_us));
	json_object_object_add(o, "p50_us", json_object_new_double(r->p50_us));
	json_object_object_add(o, "p99_us", json_object_new_double(r->p99_us));
	json_object_object_add(o, "kicks", json_object_new_uint64(stat->kicks));
	json_object_object_add(o, "kicks_saved", json_object_new_uint64(stat->kicks_saved));
	json_object_object_add(o, "interrupts", json_object_new_uint64(stat->interrupts));
	puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	json_object_put(o);
}

static void print_text(const struct result *r, const struct blk_stat *stat)
{
	printf("%s %s: bs %zu, depth %u, threads %u on %u rings\n", opt.disk,
		pattern_names[opt.pattern], opt.bytes, opt.depth, opt.threads, info.nr_rings);
	printf("  %.0f IOPS, %.1f MiB/s; latency mean %.1f us, p50 %.1f us, p99 %.1f us\n", r->iops,
		r->mib_s, r->mean_us, r->p50_us, r->p99_us);
	printf("  %llu requests in %.2f s; %llu kicks, %llu saved; %llu interrupts\n",
		(unsigned long long)r->nr_done, r->seconds, (unsigned long long)stat->kicks,
		(unsigned long long)stat->kicks_saved, (unsigned long long)stat->interrupts);
	if (r->nr_errors > 0)
		printf("  %llu errors, the first: %s\n", (unsigned long long)r->nr_errors,
			strerror(-r->first_error));
}

/* --- options --- */

static void usage(void)
{
	fprintf(stderr,
		"usage: rawdrv DISK [--rw read|write|randread|randwrite|flush] [--bs BYTES] "
		"[--depth N]\n"
		"              [--threads N] [--runtime SECONDS | --count N] [--span BYTES] "
		"[--verify]\n"
		"              [--rings N] [--ring-size N] [--poll-only] [--spin US] [--json]\n");
	exit(2);
}

static uint64_t number(const char *text)
{
	char *end;
	uint64_t n = strtoull(text, &end, 0);

	switch (*end) {
	case 'k':
		n <<= 10;
		end++;
		break;
	case 'm':
		n <<= 20;
		end++;
		break;
	case 'g':
		n <<= 30;
		end++;
		break;
	default:
		break;
	}
	if (end == text || *end != '\0')
		usage();
	return n;
}

static enum pattern pattern(const char *name)
{
	for (unsigned i = 0; i < NR_PATTERNS; i++)
		if (strcmp(name, pattern_names[i]) == 0)
			return (enum pattern)i;
	usage();
	return NR_PATTERNS;
}

static const struct option options[] = {
	{"rw", required_argument, NULL, 'w'},
	{"bs", required_argument, NULL, 'b'},
	{"depth", required_argument, NULL, 'd'},
	{"threads", required_argument, NULL, 't'},
	{"runtime", required_argument, NULL, 'r'},
	{"count", required_argument, NULL, 'c'},
	{"span", required_argument, NULL, 's'},
	{"rings", required_argument, NULL, 'n'},
	{"ring-size", required_argument, NULL, 'z'},
	{"spin", required_argument, NULL, 'i'},
	{"poll-only", no_argument, NULL, 'p'},
	{"verify", no_argument, NULL, 'v'},
	{"json", no_argument, NULL, 'j'},
	{NULL, 0, NULL, 0},
};

static void take_option(int c)
{
	switch (c) {
	case 'w':
		opt.pattern = pattern(optarg);
		break;
	case 'b':
		opt.bytes = number(optarg);
		break;
	case 'd':
		opt.depth = (unsigned)number(optarg);
		break;
	case 't':
		opt.threads = (unsigned)number(optarg);
		break;
	case 'r':
		opt.runtime_s = strtod(optarg, NULL);
		break;
	case 'c':
		opt.count = number(optarg);
		break;
	case 's':
		opt.span = number(optarg);
		break;
	case 'n':
		opt.disk_opts.max_rings = (uint32_t)number(optarg);
		break;
	case 'z':
		opt.disk_opts.ring_size = (uint32_t)number(optarg);
		break;
	case 'i':
		opt.spin_us = (int)number(optarg);
		break;
	case 'p':
		opt.disk_opts.poll_only = true;
		break;
	case 'v':
		opt.verify = true;
		break;
	case 'j':
		opt.json = true;
		break;
	default:
		usage();
	}
}

static void parse(int argc, char **argv)
{
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		take_option(c);
	if (optind + 1 != argc || opt.depth == 0 || opt.threads == 0 || opt.bytes == 0 ||
		opt.bytes % SECTOR_BYTES != 0)
		usage();
	opt.disk = argv[optind];
}

static void open_disk(void)
{
	char why[256];
	uint64_t bytes;

	opt.disk_opts.read_only = !is_write() && opt.pattern != FLUSH;
	if (disk_open(opt.disk, &opt.disk_opts, &dev, why, sizeof(why)) < 0)
		errx(1, "%s", why);
	blk_get_info(dev, &info);
	bytes = info.nr_sectors * SECTOR_BYTES;
	if (opt.span == 0 || opt.span > bytes)
		opt.span = bytes;
	if (opt.span < opt.bytes * opt.threads)
		errx(1, "%s: too small", opt.disk);
}

static double run(struct worker *workers)
{
	uint64_t begin = now_ns();
	int rc;

	for (unsigned i = 0; i < opt.threads; i++) {
		workers[i].number = i;
		rc = pthread_create(&workers[i].thread, NULL, work, &workers[i]);
		if (rc != 0)
			errx(1, "thread: %s", strerror(rc));
	}
	for (unsigned i = 0; i < opt.threads; i++)
		pthread_join(workers[i].thread, NULL);
	return (double)(now_ns() - begin) / 1e9;
}

int main(int argc, char **argv)
{
	struct worker *workers;
	struct blk_stat stat;
	struct result result;

	parse(argc, argv);
	open_disk();
	workers = calloc(opt.threads, sizeof(*workers));
	if (workers == NULL)
		err(1, "workers");
	sum_up(workers, run(workers), &result);
	sum_stats(&stat);
	blk_close(dev);
	free(workers);
	if (opt.json)
		print_json(&result, &stat);
	else
		print_text(&result, &stat);
	return result.nr_errors == 0 ? 0 : 1;
}
