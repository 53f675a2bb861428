/* vblkctl_watch.c - stat --watch: what happened in each interval, a line for each mount, or with
 * --json a line of JSON.
 *
 * A mount is known by its daemon's process number: one that comes later has its first line an
 * interval after it was first seen. */
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "disk_json.h"
#include "vblkctl.h"

#define LINES_A_HEADER 20U
#define MIB            (1024.0 * 1024.0)

struct sample { /* of one mount: counters, all rings together */
	uint64_t reads, writes, flushes, others, read_bytes, write_bytes, errors;
	uint64_t kicks, kicks_saved, interrupts, commits;
	struct latency latency[BLK_NR_OPS];
};

static void add_ring(struct sample *s, struct json_object *ring)
{
	s->reads += json_number(ring, "reads");
	s->writes += json_number(ring, "writes");
	s->flushes += json_number(ring, "flushes");
	s->others += json_number(ring, "others");
	s->read_bytes += json_number(ring, "read_bytes");
	s->write_bytes += json_number(ring, "write_bytes");
	s->errors += json_number(ring, "errors");
	s->kicks += json_number(ring, "kicks");
	s->kicks_saved += json_number(ring, "kicks_saved");
	s->interrupts += json_number(ring, "interrupts");
	for (unsigned op = 0; op < BLK_NR_OPS; op++) {
		struct latency l;

		disk_json_get_latency(ring, (enum blk_op)op, &l);
		latency_add(&s->latency[op], &l);
	}
}

static struct sample sample_of(struct json_object *mount)
{
	struct sample s = {0};
	struct json_object *v;

	if (json_object_object_get_ex(mount, "rings", &v))
		for (size_t i = 0; i < json_object_array_length(v); i++)
			add_ring(&s, json_object_array_get_idx(v, i));
	if (json_object_object_get_ex(mount, "fs", &v))
		s.commits = json_number(v, "commits");
	return s;
}

static struct sample difference(const struct sample *now, const struct sample *before)
{
	struct sample d = *now;

	d.reads -= before->reads;
	d.writes -= before->writes;
	d.flushes -= before->flushes;
	d.others -= before->others;
	d.read_bytes -= before->read_bytes;
	d.write_bytes -= before->write_bytes;
	d.errors -= before->errors;
	d.kicks -= before->kicks;
	d.kicks_saved -= before->kicks_saved;
	d.interrupts -= before->interrupts;
	d.commits -= before->commits;
	for (unsigned op = 0; op < BLK_NR_OPS; op++)
		latency_subtract(&d.latency[op], &before->latency[op]);
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

static uint64_t nr_requests(const struct sample *d)
{
	return d->reads + d->writes + d->flushes + d->others;
}

static void print_header(void)
{
	printf("%-20s %8s %8s %8s %8s %7s %8s %8s %8s %8s %8s %6s %6s %7s\n", "", "read/s", "MiB/s",
		"write/s", "MiB/s", "flush/s", "r50% us", "r99% us", "w50% us", "w99% us",
		"f99% us", "batch", "saved", "irq/s");
}

static void print_line(const char *name, const struct sample *d, double s)
{
	uint64_t batches = d->kicks + d->kicks_saved;

	printf("%-20s %8.0f %8.1f %8.0f %8.1f %7.0f %8.0f %8.0f %8.0f %8.0f %8.0f %6.1f %5.0f%% "
	       "%7.0f\n",
		name, (double)d->reads / s, (double)d->read_bytes / MIB / s, (double)d->writes / s,
		(double)d->write_bytes / MIB / s, (double)d->flushes / s,
		latency_percentile(&d->latency[BLK_READ], 50),
		latency_percentile(&d->latency[BLK_READ], 99),
		latency_percentile(&d->latency[BLK_WRITE], 50),
		latency_percentile(&d->latency[BLK_WRITE], 99),
		latency_percentile(&d->latency[BLK_FLUSH], 99),
		batches == 0 ? 0 : (double)nr_requests(d) / (double)batches,
		batches == 0 ? 0 : 100 * (double)d->kicks_saved / (double)batches,
		(double)d->interrupts / s);
}

static void add_double(struct json_object *o, const char *key, double v)
{
	char text[32];

	snprintf(text, sizeof(text), "%.3f", v);
	json_object_object_add(o, key, json_object_new_double_s(v, text));
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
	return o;
}

static struct json_object *interval_json(
	struct json_object *mount, const struct sample *d, double s)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "pid", json_object_new_uint64(json_number(mount, "pid")));
	json_object_object_add(o, "source", json_object_new_string(json_text(mount, "source")));
	json_object_object_add(
		o, "mountpoint", json_object_new_string(json_text(mount, "mountpoint")));
	add_double(o, "seconds", s);
	add_double(o, "reads_s", (double)d->reads / s);
	add_double(o, "read_mib_s", (double)d->read_bytes / MIB / s);
	add_double(o, "writes_s", (double)d->writes / s);
	add_double(o, "write_mib_s", (double)d->write_bytes / MIB / s);
	add_double(o, "flushes_s", (double)d->flushes / s);
	add_double(o, "others_s", (double)d->others / s);
	add_double(o, "kicks_s", (double)d->kicks / s);
	add_double(o, "kicks_saved_s", (double)d->kicks_saved / s);
	add_double(o, "interrupts_s", (double)d->interrupts / s);
	add_double(o, "commits_s", (double)d->commits / s);
	json_object_object_add(o, "errors", json_object_new_uint64(d->errors));
	for (unsigned op = 0; op < BLK_NR_OPS; op++)
		if (latency_nr(&d->latency[op]) > 0)
			json_object_object_add(o, disk_json_ops[op], latency_json(&d->latency[op]));
	return o;
}

static void print_interval(
	struct json_object *now, struct json_object *before, double s, const struct verb_args *a)
{
	struct json_object *all = json_object_new_array();

	for (size_t i = 0; i < json_object_array_length(now); i++) {
		struct json_object *mount = json_object_array_get_idx(now, i);
		struct json_object *old = find_mount(before, json_number(mount, "pid"));
		struct sample new = sample_of(mount), base, d;

		if (old == NULL)
			continue;
		base = sample_of(old);
		d = difference(&new, &base);
		if (a->json)
			json_object_array_add(all, interval_json(mount, &d, s));
		else
			print_line(json_text(mount, "mountpoint"), &d, s);
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
		if (!a->json && i % LINES_A_HEADER == 0)
			print_header();
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
