/* vblkctl_watch.c - stat --watch: what happened in each interval, the tables of each mount, or with
 * --json a line of JSON.
 *
 * A mount is known by its daemon's process number: one that comes later is first shown an interval
 * after it was first seen. */
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "disk_json.h"
#include "figures.h"
#include "vblkctl.h"

#define MIB (1024.0 * 1024.0)

struct interval { /* of one mount */
	double seconds;
	uint64_t commits;
	struct blk_stat *rings; /* what each of them did */
	unsigned nr_rings;
};

static uint64_t commits_of(struct json_object *mount)
{
	struct json_object *fs;

	return json_object_object_get_ex(mount, "fs", &fs) ? json_number(fs, "commits") : 0;
}

static struct interval between(struct json_object *before, struct json_object *now, double s)
{
	struct interval d = {.seconds = s, .commits = commits_of(now) - commits_of(before)};
	unsigned n;
	struct blk_stat *old = rings_of(before, &n);

	d.rings = rings_of(now, &d.nr_rings);
	for (unsigned i = 0; i < n && i < d.nr_rings; i++)
		figures_subtract(&d.rings[i], &old[i]);
	free(old);
	return d;
}

/* The same mount in an earlier answer; NULL: it was not there. */
static struct json_object *find_mount(struct json_object *all, uint64_t pid)
{
	for (size_t i = 0; i < json_object_array_length(all); i++)
		if (json_number(json_object_array_get_idx(all, i), "pid") == pid)
			return json_object_array_get_idx(all, i);
	return NULL;
}

static void print_tables(struct json_object *mount, const struct interval *d, bool histograms)
{
	printf("%s, %.1f s: %" PRIu64 " commits\n", json_text(mount, "mountpoint"), d->seconds,
		d->commits);
	figures_print(stdout, d->rings, d->nr_rings, d->seconds, histograms);
}

static void add_double(struct json_object *o, const char *key, double v)
{
	char text[32];

	snprintf(text, sizeof(text), "%.3f", v);
	json_object_object_add(o, key, json_object_new_double_s(v, text));
}

static struct json_object *numbers_json(const uint64_t *v, unsigned n)
{
	struct json_object *a = json_object_new_array();

	for (unsigned i = 0; i < n; i++)
		json_object_array_add(a, json_object_new_uint64(v[i]));
	return a;
}

static struct json_object *latency_json(const struct latency *l)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "requests", json_object_new_uint64(latency_nr(l)));
	add_double(o, "mean_us", latency_mean(l));
	add_double(o, "p50_us", latency_percentile(l, 50));
	add_double(o, "p95_us", latency_percentile(l, 95));
	add_double(o, "p99_us", latency_percentile(l, 99));
	add_double(o, "p99_9_us", latency_percentile(l, 99.9));
	json_object_object_add(o, "buckets", numbers_json(l->buckets, BLK_LATENCY_BUCKETS));
	return o;
}

static void add_figures(struct json_object *o, const struct blk_stat *d, double s)
{
	add_double(o, "reads_s", (double)d->reads / s);
	add_double(o, "read_mib_s", (double)d->read_bytes / MIB / s);
	add_double(o, "writes_s", (double)d->writes / s);
	add_double(o, "write_mib_s", (double)d->write_bytes / MIB / s);
	add_double(o, "flushes_s", (double)d->flushes / s);
	add_double(o, "others_s", (double)d->others / s);
	add_double(o, "kicks_s", (double)d->kicks / s);
	add_double(o, "kicks_saved_s", (double)d->kicks_saved / s);
	add_double(o, "interrupts_s", (double)d->interrupts / s);
	add_double(o, "polls_hit_s", (double)d->polls_hit / s);
	add_double(o, "polls_missed_s", (double)d->polls_missed / s);
	add_double(o, "batch", figures_batch(d));
	json_object_object_add(o, "batches", numbers_json(d->batches, BLK_BATCH_BUCKETS));
	json_object_object_add(o, "errors", json_object_new_uint64(d->errors));
	for (unsigned op = 0; op < BLK_NR_OPS; op++) {
		struct latency l = figures_latency(d, (enum blk_op)op);

		if (latency_nr(&l) > 0)
			json_object_object_add(o, disk_json_ops[op], latency_json(&l));
	}
}

/* The figures of all rings together, then of each. */
static struct json_object *interval_json(struct json_object *mount, const struct interval *d)
{
	struct json_object *o = json_object_new_object(), *rings = json_object_new_array();
	struct blk_stat sum = {0};

	json_object_object_add(o, "pid", json_object_new_uint64(json_number(mount, "pid")));
	json_object_object_add(o, "source", json_object_new_string(json_text(mount, "source")));
	json_object_object_add(
		o, "mountpoint", json_object_new_string(json_text(mount, "mountpoint")));
	add_double(o, "seconds", d->seconds);
	add_double(o, "commits_s", (double)d->commits / d->seconds);
	for (unsigned i = 0; i < d->nr_rings; i++) {
		struct json_object *ring = json_object_new_object();

		figures_add(&sum, &d->rings[i]);
		add_figures(ring, &d->rings[i], d->seconds);
		json_object_array_add(rings, ring);
	}
	add_figures(o, &sum, d->seconds);
	json_object_object_add(o, "rings", rings);
	return o;
}

static void print_interval(
	struct json_object *now, struct json_object *before, double s, const struct verb_args *a)
{
	struct json_object *all = json_object_new_array();

	for (size_t i = 0; i < json_object_array_length(now); i++) {
		struct json_object *mount = json_object_array_get_idx(now, i);
		struct json_object *old = find_mount(before, json_number(mount, "pid"));
		struct interval d;

		if (old == NULL)
			continue;
		d = between(old, mount, s);
		if (a->json)
			json_object_array_add(all, interval_json(mount, &d));
		else
			print_tables(mount, &d, a->histogram);
		free(d.rings);
	}
	if (a->json)
		puts(json_object_to_json_string_ext(all, JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(all);
}

static double now_s(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void sleep_s(double s)
{
	struct timespec ts = {
		.tv_sec = (time_t)s, .tv_nsec = (long)((s - (double)(time_t)s) * 1e9)};

	(void)nanosleep(&ts, NULL);
}

int watch_figures(const struct verb_args *a)
{
	const char *target = a->argc == 0 ? NULL : a->argv[0];
	struct json_object *before = collect_figures(target), *now;
	double then = now_s(), at;

	for (unsigned i = 0; before != NULL && (a->count == 0 || i < a->count); i++) {
		sleep_s(a->watch_s);
		now = collect_figures(target);
		at = now_s();
		if (now != NULL)
			print_interval(now, before, at - then, a);
		json_object_put(before);
		before = now;
		then = at;
		if (fflush(stdout) != 0)
			break; /* nobody reads it any more */
	}
	if (before == NULL)
		return EXIT_FAILED;
	json_object_put(before);
	return EXIT_OK;
}
