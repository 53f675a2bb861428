/* report.c - what a run comes to (report.h). JSON: one object a line; the last one is the run. */
#include <inttypes.h>
#include <stdio.h>
#include <json-c/json.h>
#include "report.h"

static void print_cut(FILE *to, const struct cut *cut)
{
	fprintf(to, "--event %u --choice %u", cut->event, cut->choice);
	if (cut->nested)
		fprintf(to, " --event2 %u --choice2 %u", cut->event2, cut->choice2);
}

/* The operations, and where among them the cut is. */
void report_ops(const struct recording *rec, const struct cut *cut)
{
	uint32_t begun = 0, done = 0;

	for (uint32_t i = 0; i < cut->event && i < rec->log.nr; i++) {
		if (rec->log.v[i].kind == LOG_BEGIN)
			begun = (uint32_t)rec->log.v[i].value;
		if (rec->log.v[i].kind == LOG_DONE)
			done = (uint32_t)rec->log.v[i].value;
	}
	for (uint32_t i = 0; i < rec->nr_ops; i++) {
		char line[300];

		op_print(&rec->ops[rec->nr_base + i], line, sizeof(line));
		fprintf(stderr, "  %4u %s%s\n", i + 1, line,
			i + 1 == begun
				? (begun == done ? "   <- cut after this" : "   <- cut in this")
				: "");
		if (i + 1 > begun)
			break;
	}
}

static void failure_json(const struct run *run, const struct recording *rec,
	const struct failure *f, const char *file)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "failure", json_object_new_string(f->why));
	json_object_object_add(o, "workload", json_object_new_string(rec->w.name));
	json_object_object_add(o, "seed", json_object_new_uint64(run->seed));
	json_object_object_add(o, "event", json_object_new_int64(f->cut.event));
	json_object_object_add(o, "choice", json_object_new_int64(f->cut.choice));
	if (f->cut.nested) {
		json_object_object_add(o, "event2", json_object_new_int64(f->cut.event2));
		json_object_object_add(o, "choice2", json_object_new_int64(f->cut.choice2));
	}
	if (file != NULL)
		json_object_object_add(o, "recording", json_object_new_string(file));
	printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	json_object_put(o);
}

void report_failure(const struct run *run, const struct recording *rec, const struct failure *f,
	const char *file)
{
	if (run->json) {
		failure_json(run, rec, f, file);
		fflush(stdout);
	}
	fprintf(stderr, "FAILED: workload %s: %s\n", rec->w.name, f->why);
	report_ops(rec, &f->cut);
	if (!rec->w.racy) {
		fprintf(stderr, "  again: %s --workload %s ", run->program, rec->w.name);
		print_cut(stderr, &f->cut);
		fputc('\n', stderr);
	}
	if (file != NULL) {
		fprintf(stderr, "  again: %s --load %s ", run->program, file);
		print_cut(stderr, &f->cut);
		fputc('\n', stderr);
	}
}

static void end_json(const struct run *run, const struct counts *c, double rate)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "workloads", json_object_new_uint64(c->workloads));
	json_object_object_add(o, "ace1", json_object_new_uint64(c->ace[0]));
	json_object_object_add(o, "ace2", json_object_new_uint64(c->ace[1]));
	json_object_object_add(o, "states", json_object_new_uint64(c->states));
	json_object_object_add(o, "distinct", json_object_new_uint64(c->distinct));
	json_object_object_add(o, "nested", json_object_new_uint64(c->nested));
	json_object_object_add(o, "failures", json_object_new_uint64(c->failures));
	json_object_object_add(o, "seed", json_object_new_uint64(run->seed));
	json_object_object_add(o, "jobs", json_object_new_int64(run->jobs));
	json_object_object_add(o, "seconds", json_object_new_double(run->seconds));
	json_object_object_add(o, "distinct_per_second", json_object_new_double(rate));
	printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN));
	json_object_put(o);
}

void report_end(const struct run *run, const struct counts *c)
{
	double rate = run->seconds > 0 ? (double)c->distinct / run->seconds : 0;

	if (run->json)
		end_json(run, c, rate);
	else
		printf("%" PRIu64 " workloads, %" PRIu64 " states (%" PRIu64
		       " of them cut twice), %" PRIu64 " distinct and checked, %" PRIu64
		       " failures; seed %" PRIu64 ", %u jobs, %.1f s, %.0f a second\n",
			c->workloads, c->states, c->nested, c->distinct, c->failures, run->seed,
			run->jobs, run->seconds, rate);
	if (!run->json && run->ace[0] != 0)
		printf("sequences of one operation: %" PRIu64 " of %" PRIu64 ", of two: %" PRIu64
		       " of %" PRIu64 "\n",
			c->ace[0], run->ace[0], c->ace[1], run->ace[1]);
}
