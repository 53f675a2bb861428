/* main.c - the crash explorer: cuts the power of a disk under the filesystem, over and over.
 *
 *	crash [--states N] [--seed N] [--jobs N] [--only KIND] [--failures N]
 *	      [--hang SECONDS] [--keep DIR] [--json]
 *	crash --workload NAME [--save FILE]
 *	crash {--workload NAME | --load FILE} --event N --choice N [--event2 N --choice2 N]
 *	crash --list
 *
 * The first explores workload after workload until so many distinct states were checked. The
 * second all of one workload; the third makes one state again and shows it. See explorer.h for what
 * a state is and workloads.h for the workloads. Exit status: 0 all is well, 1 a promise is broken,
 * 2 usage. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "explorer.h"
#include "recording.h"
#include "report.h"
#include "workloads.h"

#define JOBS_MAX         64U
#define STATES_DEFAULT   20000U
#define SHARE_STATES     40U /* that one share of a workload is worth */
#define ONE_WORKLOAD_MAX 200000U
#define DRY_MAX          200U /* workloads on end without a new state: there are no more */
#define TELL_S           60U  /* a line of progress */
#define HANG_S           300U /* for one workload */

struct job { /* what a process is at: if it dies, the others can say on what */
	char name[48];
	struct cut cut;
};

struct shared {
	struct counts counts;
	_Atomic uint64_t next; /* workload */
	struct job job[JOBS_MAX];
};

struct options {
	uint64_t states;
	uint64_t failures;
	unsigned hang_s;
	const char *only, *workload, *load, *save, *keep;
	struct cut cut;
	bool one, list;
	struct run run;
};

static struct recording recording; /* large: not on the stack */

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* --- many workloads --- */

static void keep(const struct options *o, const struct recording *rec, const struct failure *f)
{
	char path[300], name[48];

	strcpy(name, rec->w.name);
	if (strchr(name, ':') != NULL)
		*strchr(name, ':') = '-';
	(void)snprintf(path, sizeof(path), "%s/crash-%s.log", o->keep, name);
	report_failure(&o->run, rec, f, recording_save(rec, path) == 0 ? path : NULL);
}

static void explore_one(const struct options *o, struct shared *sh, struct runner *r,
	struct explorer *x, const struct workload *w, uint32_t max_states)
{
	struct failure f = {.why = ""};

	if (!runner_record(r, w, &recording, f.why, sizeof(f.why))) {
		atomic_fetch_add(&sh->counts.failures, 1);
	} else if (explorer_run(x, &recording, max_states, &f)) {
		if (strncmp(w->name, "ace", 3) == 0)
			atomic_fetch_add(&sh->counts.ace[w->name[3] - '1'], 1);
		return;
	}
	keep(o, &recording, &f);
}

static bool is_wanted(const struct options *o, const struct workload *w)
{
	size_t nr = o->only == NULL ? 0 : strlen(o->only);

	return strncmp(w->name, o->only == NULL ? "" : o->only, nr) == 0 &&
	       (nr == 0 || w->name[nr] == ':');
}

static void work(const struct options *o, struct shared *sh, struct seen *seen, struct job *job)
{
	struct runner *r = runner_open();
	struct explorer *x = explorer_open(seen, &sh->counts, &job->cut);
	unsigned nr_dry = 0;

	while (sh->counts.distinct < o->states && sh->counts.failures < o->failures &&
		nr_dry < DRY_MAX) {
		uint64_t before = sh->counts.distinct;
		uint64_t index = atomic_fetch_add(&sh->next, 1);
		struct workload w;
		uint32_t share;

		workload_by_index(index, o->run.seed, &w, &share);
		if (!is_wanted(o, &w))
			continue;
		strcpy(job->name, w.name);
		(void)alarm(o->hang_s);
		explore_one(o, sh, r, x, &w, share * SHARE_STATES);
		nr_dry = sh->counts.distinct > before ? 0 : nr_dry + 1;
	}
	explorer_close(x);
	recording_free(&recording);
	runner_close(r);
}

/* -1: an error. */
static int await_job(pid_t pid, const struct options *o, const struct shared *sh, double *told)
{
	int status;
	pid_t got;

	while ((got = waitpid(pid, &status, WNOHANG)) == 0) {
		(void)usleep(20000);
		if (now_s() < *told + TELL_S)
			continue;
		*told = now_s();
		fprintf(stderr, "%lu of %lu states, %lu failures\n",
			(unsigned long)sh->counts.distinct, o->states,
			(unsigned long)sh->counts.failures);
	}
	return got == pid ? status : -1;
}

static void await_jobs(const pid_t *pids, const struct options *o, struct shared *sh)
{
	double told = now_s();

	for (unsigned i = 0; i < o->run.jobs; i++) {
		const struct job *job = &sh->job[i];
		int status = await_job(pids[i], o, sh, &told);

		if (status == 0)
			continue;
		sh->counts.failures++;
		fprintf(stderr,
			"FAILED: workload %s: %s at --event %u --choice %u --event2 %u --choice2 "
			"%u\n",
			job->name,
			WIFSIGNALED(status)
				? (WTERMSIG(status) == SIGALRM ? "it hangs"
							       : strsignal(WTERMSIG(status)))
				: "the program failed",
			job->cut.event, job->cut.choice, job->cut.event2, job->cut.choice2);
	}
}

static int explore_all(struct options *o)
{
	struct shared *sh =
		mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct seen *seen = seen_open(o->states);
	pid_t pids[JOBS_MAX];
	double start = now_s();

	if (sh == MAP_FAILED)
		abort();
	if (!o->run.json)
		printf("crash: %lu states, seed %lu, %u jobs\n", o->states, o->run.seed,
			o->run.jobs);
	fflush(stdout);
	for (unsigned i = 0; i < o->run.jobs; i++) {
		pids[i] = fork();
		if (pids[i] < 0)
			abort();
		if (pids[i] == 0) {
			work(o, sh, seen, &sh->job[i]);
			exit(0);
		}
	}
	await_jobs(pids, o, sh);
	o->run.seconds = now_s() - start;
	o->run.ace[0] = ace_count(1);
	o->run.ace[1] = ace_count(2);
	report_end(&o->run, &sh->counts);
	return sh->counts.failures == 0 ? 0 : 1;
}

/* --- one workload --- */

static void show_line(const char *line)
{
	printf("  %s\n", line);
}

static void show_state(const struct options *o, struct explorer *x)
{
	static struct model m;
	struct failure f = {.why = ""};
	bool ok;

	report_ops(&recording, &o->cut);
	printf("the tree:\n");
	ok = explorer_one(x, &recording, &o->cut, show_line, &f);
	printf("%s%s\n", ok ? "as it may be" : "FAILED: ", f.why);
	recording_replay(&recording, &m, recording.nr_ops);
	printf("the model after all operations:\n");
	model_print(&m, show_line);
	model_free(&m);
	if (!ok)
		exit(1);
}

static int record_named(const struct options *o, struct runner *r)
{
	char why[600];
	struct workload w;
	int err;

	if (o->load != NULL) {
		err = recording_load(o->load, &recording);
		if (err < 0) {
			fprintf(stderr, "crash: %s: %s\n", o->load, strerror(-err));
			return 2;
		}
		recording.base = runner_base(r, recording.w.has_files);
		return 0;
	}
	if (!workload_by_name(o->workload, &w)) {
		fprintf(stderr, "crash: no workload %s; --list shows the kinds\n", o->workload);
		return 2;
	}
	if (!runner_record(r, &w, &recording, why, sizeof(why))) {
		fprintf(stderr, "FAILED: workload %s: %s\n", w.name, why);
		return 1;
	}
	err = o->save == NULL ? 0 : recording_save(&recording, o->save);
	if (err < 0)
		fprintf(stderr, "crash: %s: %s\n", o->save, strerror(-err));
	return err < 0 ? 2 : 0;
}

static int explore_named(struct options *o)
{
	struct runner *r = runner_open();
	struct seen *seen = seen_open(ONE_WORKLOAD_MAX);
	struct counts counts = {0};
	struct failure f = {.why = ""};
	struct cut now;
	struct explorer *x = explorer_open(seen, &counts, &now);
	double start = now_s();
	int ret = record_named(o, r);

	if (ret == 0 && o->one) {
		show_state(o, x);
	} else if (ret == 0) {
		if (!explorer_run(x, &recording, ONE_WORKLOAD_MAX, &f))
			report_failure(&o->run, &recording, &f, o->load);
		o->run.seconds = now_s() - start;
		o->run.jobs = 1;
		report_end(&o->run, &counts);
		ret = counts.failures == 0 ? 0 : 1;
	}
	explorer_close(x);
	recording_free(&recording);
	runner_close(r);
	return ret;
}

/* --- options --- */

static int usage(void)
{
	fprintf(stderr,
		"usage: crash [--states N] [--seed N] [--jobs N] [--only KIND] [--failures N]\n"
		"             [--hang SECONDS] [--keep DIR] [--json]\n"
		"       crash --workload NAME [--save FILE]\n"
		"       crash {--workload NAME | --load FILE} --event N --choice N\n"
		"             [--event2 N --choice2 N]\n"
		"       crash --list\n");
	return 2;
}

static int list(void)
{
	printf("ace1:0 to ace1:%lu\nace2:0 to ace2:%lu\n", ace_count(1) - 1, ace_count(2) - 1);
	for (unsigned i = 0; workloads_kind(i) != NULL; i++)
		printf("%s:SEED\n", workloads_kind(i));
	return 0;
}

static bool take_option(struct options *o, int c)
{
	uint64_t nr = optarg == NULL ? 0 : strtoull(optarg, NULL, 0);

	switch (c) {
	case 's':
		o->run.seed = nr;
		break;
	case 'n':
		o->states = nr;
		break;
	case 'j':
		o->run.jobs = (unsigned)nr;
		break;
	case 'f':
		o->failures = nr;
		break;
	case 'H':
		o->hang_s = (unsigned)nr;
		break;
	case 'o':
		o->only = optarg;
		break;
	case 'w':
		o->workload = optarg;
		break;
	case 'l':
		o->load = optarg;
		break;
	case 'S':
		o->save = optarg;
		break;
	case 'k':
		o->keep = optarg;
		break;
	case 'e':
		o->cut.event = (uint32_t)nr;
		o->one = true;
		break;
	case 'c':
		o->cut.choice = (uint32_t)nr;
		break;
	case 'E':
		o->cut.event2 = (uint32_t)nr;
		o->cut.nested = true;
		break;
	case 'C':
		o->cut.choice2 = (uint32_t)nr;
		break;
	case 'J':
		o->run.json = true;
		break;
	case 'L':
		o->list = true;
		break;
	default:
		return false;
	}
	return true;
}

static const struct option long_options[] = {
	{"seed", required_argument, NULL, 's'},
	{"states", required_argument, NULL, 'n'},
	{"jobs", required_argument, NULL, 'j'},
	{"failures", required_argument, NULL, 'f'},
	{"hang", required_argument, NULL, 'H'},
	{"only", required_argument, NULL, 'o'},
	{"workload", required_argument, NULL, 'w'},
	{"load", required_argument, NULL, 'l'},
	{"save", required_argument, NULL, 'S'},
	{"keep", required_argument, NULL, 'k'},
	{"event", required_argument, NULL, 'e'},
	{"choice", required_argument, NULL, 'c'},
	{"event2", required_argument, NULL, 'E'},
	{"choice2", required_argument, NULL, 'C'},
	{"json", no_argument, NULL, 'J'},
	{"list", no_argument, NULL, 'L'},
	{NULL, 0, NULL, 0},
};

int main(int argc, char **argv)
{
	struct options o = {.states = STATES_DEFAULT,
		.failures = 3,
		.hang_s = HANG_S,
		.keep = ".",
		.run = {.seed = 1, .jobs = 2, .program = argv[0]}};
	int c;

	while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1)
		if (!take_option(&o, c))
			return usage();
	if (optind < argc || o.run.jobs == 0 || o.run.jobs > JOBS_MAX ||
		(o.one && o.workload == NULL && o.load == NULL))
		return usage();
	workloads_init();
	if (o.list)
		return list();
	return o.workload != NULL || o.load != NULL ? explore_named(&o) : explore_all(&o);
}
