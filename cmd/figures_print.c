/* figures_print.c - figures_print(): a table for the requests, one for what they cost, one for how long
 * they took; the histograms, one for each ring. */
#include <inttypes.h>
#include "disk_json.h"
#include "figures.h"
#include "human.h"

#define NAME_BYTES 16

struct table {
	FILE *to;
	const struct blk_stat *rings;
	unsigned n;
	struct blk_stat sum;
	double seconds;
};

/* A line is a ring's, and the last one of several is the sum's. */
static unsigned nr_lines(const struct table *t)
{
	return t->n > 1 ? t->n + 1 : t->n;
}

static const struct blk_stat *line(const struct table *t, unsigned i)
{
	return i < t->n ? &t->rings[i] : &t->sum;
}

static const char *name(const struct table *t, unsigned i, char *out)
{
	snprintf(out, NAME_BYTES, i < t->n ? "req.%u" : "total", i);
	return out;
}

static void print_count(const struct table *t, int width, uint64_t n)
{
	double rate = t->seconds > 0 ? (double)n / t->seconds : (double)n;

	if (t->seconds > 0)
		fprintf(t->to, "%*.*f", width, rate < 10 && n > 0 ? 1 : 0, rate);
	else
		fprintf(t->to, "%*" PRIu64, width, n);
}

static void print_bytes(const struct table *t, uint64_t n)
{
	double rate = t->seconds > 0 ? (double)n / t->seconds : (double)n;
	char text[32];

	fprintf(t->to, "%12s", human_bytes((unsigned long long)rate, text, sizeof(text)));
}

static void print_requests(const struct table *t)
{
	char text[NAME_BYTES];

	fprintf(t->to, "  %-8s%10s%12s%10s%12s%10s%9s%9s\n", t->seconds > 0 ? "a second" : "ring",
		"reads", "bytes", "writes", "bytes", "flushes", "others", "errors");
	for (unsigned i = 0; i < nr_lines(t); i++) {
		const struct blk_stat *st = line(t, i);

		fprintf(t->to, "  %-8s", name(t, i, text));
		print_count(t, 10, st->reads);
		print_bytes(t, st->read_bytes);
		print_count(t, 10, st->writes);
		print_bytes(t, st->write_bytes);
		print_count(t, 10, st->flushes);
		print_count(t, 9, st->others);
		print_count(t, 9, st->errors);
		fputc('\n', t->to);
	}
}

static void print_doorbells(const struct table *t)
{
	char text[NAME_BYTES];

	fprintf(t->to, "  %-8s%10s%12s%12s%12s%12s%8s\n", t->seconds > 0 ? "a second" : "ring",
		"kicks", "saved", "interrupts", "polls hit", "missed", "batch");
	for (unsigned i = 0; i < nr_lines(t); i++) {
		const struct blk_stat *st = line(t, i);

		fprintf(t->to, "  %-8s", name(t, i, text));
		print_count(t, 10, st->kicks);
		print_count(t, 12, st->kicks_saved);
		print_count(t, 12, st->interrupts);
		print_count(t, 12, st->polls_hit);
		print_count(t, 12, st->polls_missed);
		fprintf(t->to, "%8.1f\n", figures_batch(st));
	}
}

static void print_latencies(const struct table *t)
{
	static const double percents[] = {50, 95, 99, 99.9};
	char text[NAME_BYTES];

	fprintf(t->to, "  %-20s%11s%9s%9s%9s%9s%9s\n", "latency (us)", "requests", "mean", "50%",
		"95%", "99%", "99.9%");
	for (unsigned i = 0; i < nr_lines(t); i++) {
		for (unsigned op = 0; op < BLK_NR_OPS; op++) {
			struct latency l = figures_latency(line(t, i), (enum blk_op)op);

			if (latency_nr(&l) == 0)
				continue;
			fprintf(t->to, "  %-8s%-12s%11" PRIu64 "%9.0f", name(t, i, text),
				disk_json_ops[op], latency_nr(&l), latency_mean(&l));
			for (size_t k = 0; k < sizeof(percents) / sizeof(percents[0]); k++)
				fprintf(t->to, "%9.0f", latency_percentile(&l, percents[k]));
			fputc('\n', t->to);
		}
	}
}

static void print_batches(const struct table *t)
{
	char text[32];

	fprintf(t->to, "  %-10s", "batches of");
	for (unsigned k = 0; k < BLK_BATCH_BUCKETS; k++) {
		unsigned from = 1U << k;

		if (k == 0 || k == BLK_BATCH_BUCKETS - 1)
			snprintf(text, sizeof(text), "%u%s", from, k == 0 ? "" : "+");
		else
			snprintf(text, sizeof(text), "%u-%u", from, 2 * from - 1);
		fprintf(t->to, "%10s", text);
	}
	fputc('\n', t->to);
	for (unsigned i = 0; i < nr_lines(t); i++) {
		fprintf(t->to, "  %-10s", name(t, i, text));
		for (unsigned k = 0; k < BLK_BATCH_BUCKETS; k++)
			fprintf(t->to, "%10" PRIu64, line(t, i)->batches[k]);
		fputc('\n', t->to);
	}
}

static bool has_op(const struct table *t, unsigned op)
{
	struct latency l = figures_latency(&t->sum, (enum blk_op)op);

	return latency_nr(&l) > 0;
}

/* Which buckets have something in them: from *FIRST up to *LAST. */
static void find_buckets(const struct blk_stat *st, unsigned *first, unsigned *last)
{
	*first = BLK_LATENCY_BUCKETS;
	*last = 0;
	for (unsigned op = 0; op < BLK_NR_OPS; op++) {
		for (unsigned b = 0; b < BLK_LATENCY_BUCKETS; b++) {
			if (st->latency[op][b] == 0)
				continue;
			*first = b < *first ? b : *first;
			*last = b > *last ? b : *last;
		}
	}
}

static void print_histogram(const struct table *t, unsigned i)
{
	const struct blk_stat *st = line(t, i);
	char text[32];
	unsigned first, last;

	find_buckets(st, &first, &last);
	if (first > last)
		return; /* nothing was asked of it */
	fprintf(t->to, "  %-8slatency", name(t, i, text));
	for (unsigned op = 0; op < BLK_NR_OPS; op++)
		if (has_op(t, op))
			fprintf(t->to, "%13s", disk_json_ops[op]);
	fputc('\n', t->to);
	for (unsigned b = first; b <= last; b++) {
		double from_us = b == 0 ? 0 : (double)(1ULL << (b - 1));

		fprintf(t->to, "  %8s and up",
			b == 0 ? "0 us" : human_ns(from_us * 1e3, text, sizeof(text)));
		for (unsigned op = 0; op < BLK_NR_OPS; op++)
			if (has_op(t, op))
				fprintf(t->to, "%13" PRIu64, st->latency[op][b]);
		fputc('\n', t->to);
	}
}

void figures_print(
	FILE *to, const struct blk_stat *rings, unsigned n, double seconds, bool histograms)
{
	struct table t = {.to = to, .rings = rings, .n = n, .seconds = seconds};

	if (n == 0)
		return;
	for (unsigned i = 0; i < n; i++)
		figures_add(&t.sum, &rings[i]);
	print_requests(&t);
	print_doorbells(&t);
	print_latencies(&t);
	if (!histograms)
		return;
	print_batches(&t);
	for (unsigned i = 0; i < nr_lines(&t); i++)
		print_histogram(&t, i);
}
