/* fsck.vblkfs.c - check and repair a vblkfs filesystem that nobody has mounted.
 *
 * Invariants
 *  1. With -n the disk is opened for reading only.
 *  2. What goes to standard output tells of the filesystem only, in the order in which it was found:
 *     two runs on the same bytes print the same. Time and memory are told with -t alone.
 *  3. The exit status is that of fsck(8). */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>
#include "source.h"
#include "vblkfs.h"

enum { /* exit status: a sum of these */
	EXIT_FIXED = 1,
	EXIT_LEFT = 4,
	EXIT_FAILED = 8,
	EXIT_USAGE = 16,
	EXIT_CANCELLED = 32,
};

struct job {
	const char *disk;
	struct fsck_opts opts;
	bool mode_given;
	bool verbose, timing, json;
	bool yes_to_all;
	bool bar;          /* progress for people, on standard error */
	int lines;         /* progress for programs: a file that is open; 0: none */
	unsigned pass;     /* whose name was printed */
	unsigned bar_pass; /* which the bar shows, since BAR_STARTED */
	bool bar_shown;
	struct timespec started, bar_started, bar_last;
};

static volatile sig_atomic_t interrupted;

static void usage(FILE *to)
{
	fputs("usage: fsck.vblkfs [-n | -p | -a | -y] [-fvt] [-C fd] [-b block] [--json] disk\n"
	      "       fsck.vblkfs --list-problems | --help | --version\n",
		to);
}

static int complain(int status, const char *what, const char *why)
{
	size_t n = strlen(what);

	if (strncmp(why, what, n) == 0 && why[n] == ':') /* a driver's words may name it already */
		fprintf(stderr, "fsck.vblkfs: %s\n", why);
	else
		fprintf(stderr, "fsck.vblkfs: %s: %s\n", what, why);
	return status;
}

/* --- options */

static bool parse_number(const char *text, uint64_t *out)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*out = strtoull(text, &end, 10);
	return errno == 0 && *end == '\0';
}

static bool parse_fd(struct job *job, const char *text)
{
	uint64_t fd;

	if (!parse_number(text, &fd) || fd > 65535)
		return false;
	if (fd == 0) {
		job->bar = true;
		return true;
	}
	job->lines = (int)fd;
	return fcntl(job->lines, F_GETFD) >= 0;
}

static bool set_mode(struct job *job, enum fsck_mode mode)
{
	bool ok = !job->mode_given || job->opts.mode == mode;

	job->opts.mode = mode;
	job->mode_given = true;
	return ok;
}

enum { OPT_HELP = 256, OPT_VERSION, OPT_JSON, OPT_LIST };

static const struct option long_options[] = {
	{"json", no_argument, NULL, OPT_JSON},
	{"list-problems", no_argument, NULL, OPT_LIST},
	{"help", no_argument, NULL, OPT_HELP},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

static int wrong_use(const char *what, const char *why)
{
	(void)complain(EXIT_USAGE, what, why);
	usage(stderr);
	return EXIT_USAGE;
}

static int list_problems(void)
{
	struct fsck_problem p;

	for (int code = 0; fs_check_problem(code, &p); code++)
		printf("%s\t%s\t%s\t%s\n", p.name, p.preen ? "safe" : "risk", p.text,
			p.fixable ? p.question : "-");
	return EXIT_SUCCESS;
}

/* -1: go on, else the exit status. */
static int parse_one(struct job *job, int c)
{
	static const char exclude[] = "-n, -p (or -a) and -y exclude each other";

	switch (c) {
	case 'n':
		return set_mode(job, FSCK_NO) ? -1 : wrong_use("-n", exclude);
	case 'p':
	case 'a':
		return set_mode(job, FSCK_PREEN) ? -1 : wrong_use("-p", exclude);
	case 'y':
		return set_mode(job, FSCK_YES) ? -1 : wrong_use("-y", exclude);
	case 'f':
		job->opts.force = true;
		return -1;
	case 'v':
		job->verbose = true;
		return -1;
	case 't':
		job->timing = true;
		return -1;
	case OPT_JSON:
		job->json = true;
		return -1;
	case 'C':
		return parse_fd(job, optarg)
			       ? -1
			       : wrong_use(optarg, "-C: the number of an open file, or 0");
	case 'b':
		return parse_number(optarg, &job->opts.alt_super) && job->opts.alt_super != 0
			       ? -1
			       : wrong_use(optarg, "-b: the number of a block");
	case 'V':
	case OPT_VERSION:
		puts("fsck.vblkfs " VBLKFS_VERSION);
		return EXIT_SUCCESS;
	case OPT_LIST:
		return list_problems();
	case OPT_HELP:
		usage(stdout);
		return EXIT_SUCCESS;
	default:
		usage(stderr);
		return EXIT_USAGE;
	}
}

static int parse(struct job *job, int argc, char **argv)
{
	int c;

	while ((c = getopt_long(argc, argv, "ab:C:fnptvVy", long_options, NULL)) != -1) {
		int status = parse_one(job, c);

		if (status >= 0)
			return status;
	}
	if (argc - optind != 1) {
		usage(stderr);
		return EXIT_USAGE;
	}
	job->disk = argv[optind];
	if (job->mode_given)
		return -1;
	job->opts.mode = FSCK_ASK;
	if (job->json)
		return wrong_use("--json", "asks nothing: give -n, -p or -y");
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		return wrong_use(job->disk, "no terminal to ask on: give -n, -p or -y");
	return -1;
}

/* --- progress */

static const char *const pass_names[FSCK_PASSES + 1] = {
	"", "inodes", "directories", "shared blocks", "links", "bitmaps and counters"};

static double seconds_since(const struct timespec *then)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - then->tv_sec) + (double)(now.tv_nsec - then->tv_nsec) / 1e9;
}

static void clear_bar(struct job *job)
{
	if (job->bar_shown)
		fputs("\r\033[K", stderr);
	job->bar_shown = false;
}

/* Once a pass takes longer than a moment. */
static void show_bar(struct job *job, unsigned pass, uint64_t done, uint64_t total)
{
	double elapsed;

	if (pass != job->bar_pass) {
		job->bar_pass = pass;
		clock_gettime(CLOCK_MONOTONIC, &job->bar_started);
		job->bar_last = job->bar_started;
	}
	elapsed = seconds_since(&job->bar_started);
	if (elapsed < 0.5 || seconds_since(&job->bar_last) < 0.1 || done == 0 || total == 0)
		return;
	clock_gettime(CLOCK_MONOTONIC, &job->bar_last);
	fprintf(stderr, "\rpass %u of %u: %s: %llu of %llu, %.0f %%, %.0f s left \033[K", pass,
		FSCK_PASSES, pass_names[pass], (unsigned long long)done, (unsigned long long)total,
		100.0 * (double)done / (double)total,
		elapsed * (double)(total - done) / (double)done);
	job->bar_shown = true;
}

static void show_progress(
	void *arg, unsigned pass, unsigned nr_passes, uint64_t done, uint64_t total)
{
	struct job *job = arg;

	(void)nr_passes;
	if (interrupted) /* whoever reads it may be what hangs */
		return;
	if (pass != job->pass && !job->json) {
		clear_bar(job);
		printf("pass %u: %s\n", pass, pass_names[pass]);
		fflush(stdout);
	}
	job->pass = pass;
	if (job->lines != 0) /* as e2fsck's */
		dprintf(job->lines, "%u %llu %llu %s\n", pass, (unsigned long long)done,
			(unsigned long long)total, job->disk);
	if (job->bar)
		show_bar(job, pass, done, total);
}

/* --- problems */

static void print_json(struct json_object *o)
{
	puts(json_object_to_json_string_ext(
		o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(o);
}

static void report_json(const struct fsck_problem *p, bool fixed)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "problem", json_object_new_string(p->name));
	json_object_object_add(o, "text", json_object_new_string(p->text));
	if (p->question != NULL)
		json_object_object_add(o, "repair", json_object_new_string(p->question));
	if (p->ino != 0)
		json_object_object_add(o, "inode", json_object_new_uint64(p->ino));
	if (p->block != 0)
		json_object_object_add(o, "block", json_object_new_uint64(p->block));
	json_object_object_add(o, "fixed", json_object_new_boolean(fixed));
	print_json(o);
}

static void print_problem(const struct fsck_problem *p)
{
	if (p->question != NULL)
		printf("%s [%s]. %c%s? ", p->text, p->name, p->question[0] & ~0x20,
			p->question + 1);
	else
		printf("%s [%s].\n", p->text, p->name);
}

static void report(void *arg, const struct fsck_problem *p, bool fixed)
{
	struct job *job = arg;

	clear_bar(job);
	if (job->json) {
		report_json(p, fixed);
	} else if (p->question == NULL) {
		print_problem(p);
	} else if (job->opts.mode != FSCK_ASK) { /* there ask() has printed it */
		print_problem(p);
		puts(fixed ? "yes" : "no");
	} else if (job->yes_to_all) {
		puts(fixed ? "" : "no");
	}
}

/* Yes, no, all (that is yes from now on); the end of input, or an interrupt, stops. */
static int ask(void *arg, const struct fsck_problem *p, bool dflt)
{
	struct job *job = arg;
	char line[80];

	clear_bar(job);
	print_problem(p);
	if (job->yes_to_all) {
		fputs("yes", stdout);
		return 1;
	}
	for (;;) {
		fputs(dflt ? "[Y/n/a] " : "[y/N/a] ", stdout);
		fflush(stdout);
		if (fgets(line, sizeof(line), stdin) == NULL)
			return -1;
		switch (line[0]) {
		case '\n':
			return dflt;
		case 'y':
		case 'Y':
			return 1;
		case 'n':
		case 'N':
			return 0;
		case 'a':
		case 'A':
			job->yes_to_all = true;
			return 1;
		default:
			fputs("yes, no, or all? ", stdout);
		}
	}
}

/* --- the end */

static int status_of(const struct fsck_result *r, int err)
{
	int status = 0;

	if (r->nr_fixed > 0)
		status |= EXIT_FIXED;
	if (r->nr_left > 0 || r->stopped)
		status |= EXIT_LEFT;
	if (interrupted)
		status |= EXIT_CANCELLED;
	else if (err < 0)
		status |= EXIT_FAILED;
	return status;
}

static void sum_up_json(const struct job *job, const struct fsck_result *r, int status)
{
	struct json_object *o = json_object_new_object();
	const struct {
		const char *key;
		uint64_t value;
	} number[] = {
		{"problems", r->nr_problems},
		{"fixed", r->nr_fixed},
		{"left", r->nr_left},
		{"inodes", r->nr_inodes},
		{"used_inodes", r->used_inodes},
		{"blocks", r->nr_blocks},
		{"used_blocks", r->used_blocks},
		{"files", r->nr_files},
		{"directories", r->nr_dirs},
		{"symlinks", r->nr_symlinks},
		{"others", r->nr_others},
		{"extents", r->nr_extents},
		{"memory_bytes", r->memory_bytes},
		{"status", (uint64_t)status},
	};

	json_object_object_add(o, "disk", json_object_new_string(job->disk));
	json_object_object_add(o, "label", json_object_new_string(r->label));
	json_object_object_add(o, "checked", json_object_new_boolean(!r->was_clean));
	json_object_object_add(o, "journal_replayed", json_object_new_boolean(r->journal_replayed));
	for (size_t i = 0; i < sizeof(number) / sizeof(number[0]); i++)
		json_object_object_add(o, number[i].key, json_object_new_uint64(number[i].value));
	if (r->error[0] != '\0')
		json_object_object_add(o, "error", json_object_new_string(r->error));
	print_json(o);
}

static void print_counts(const struct fsck_result *r)
{
	printf("%12llu files, %llu of them with extents in a tree\n"
	       "%12llu extents\n"
	       "%12llu directories\n"
	       "%12llu symbolic links\n"
	       "%12llu devices, fifos and sockets\n",
		(unsigned long long)r->nr_files, (unsigned long long)r->nr_tree_files,
		(unsigned long long)r->nr_extents, (unsigned long long)r->nr_dirs,
		(unsigned long long)r->nr_symlinks, (unsigned long long)r->nr_others);
}

static void sum_up(const struct job *job, const struct fsck_result *r)
{
	unsigned long long nr = r->nr_problems, fixed = r->nr_fixed, left = r->nr_left;

	if (r->journal_replayed)
		printf("%s: journal replayed%s\n", job->disk,
			job->opts.mode == FSCK_NO ? ", in memory only" : "");
	if (r->was_clean)
		printf("%s: clean", job->disk);
	else if (nr == 0)
		printf("%s: no problem found", job->disk);
	else if (left == 0)
		printf("%s: %llu problem%s repaired", job->disk, nr, nr == 1 ? "" : "s");
	else
		printf("%s: %llu problem%s, %llu repaired, %llu left", job->disk, nr,
			nr == 1 ? "" : "s", fixed, left);
	printf(", %llu/%llu files, %llu/%llu blocks\n", (unsigned long long)r->used_inodes,
		(unsigned long long)r->nr_inodes, (unsigned long long)r->used_blocks,
		(unsigned long long)r->nr_blocks);
	if (r->needs_hand)
		printf("%s: needs decisions: run fsck.vblkfs without -p, or with -y\n", job->disk);
	if (job->verbose && !r->was_clean)
		print_counts(r);
}

static int finish(struct job *job, const struct fsck_result *r, int err)
{
	int status = status_of(r, err);

	clear_bar(job);
	if (job->json)
		sum_up_json(job, r, status);
	else if (err == 0)
		sum_up(job, r);
	fflush(stdout);
	if (err < 0)
		(void)complain(0, job->disk, r->error[0] != '\0' ? r->error : strerror(-err));
	if (job->timing)
		fprintf(stderr, "%.2f s, %.1f MiB of memory\n", seconds_since(&job->started),
			(double)r->memory_bytes / (1 << 20));
	if (ferror(stdout))
		status |= complain(EXIT_FAILED, "standard output", strerror(errno));
	return status;
}

/* --- the work */

static void on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
}

static bool cancelled(void *arg)
{
	(void)arg;
	return interrupted != 0;
}

static void catch_signals(void)
{
	const struct sigaction sa = {.sa_handler = on_signal}; /* reads are cut short */

	(void)sigaction(SIGINT, &sa, NULL);
	(void)sigaction(SIGTERM, &sa, NULL);
}

static int check(struct job *job)
{
	const struct disk_opts disk_opts = {.read_only = job->opts.mode == FSCK_NO};
	struct fsck_result result;
	struct blockdev *dev;
	char err[256];
	int res;

	if (source_open(job->disk, &disk_opts, &dev, err, sizeof(err)) < 0)
		return complain(EXIT_FAILED, job->disk, err);
	res = fs_check(dev, &job->opts, &result);
	blk_close(dev);
	return finish(job, &result, res);
}

int main(int argc, char **argv)
{
	struct job job = {0};
	int status = parse(&job, argc, argv);

	if (status >= 0)
		return status;
	openlog("fsck.vblkfs", LOG_PID, LOG_DAEMON);
	clock_gettime(CLOCK_MONOTONIC, &job.started);
	job.bar |= job.verbose && isatty(STDERR_FILENO) && !job.json;
	job.opts.ask = ask;
	job.opts.report = report;
	job.opts.progress = show_progress;
	job.opts.cancelled = cancelled;
	job.opts.arg = &job;
	catch_signals();
	return check(&job);
}
