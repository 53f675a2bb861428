/* vblkctl.c - look at virtio disks, give one to user space and back, and see what a mount does. */
#include <getopt.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "bind.h"
#include "vblkctl.h"

#define OWN_OPTIONS (-1) /* for max_args: the verb gets its whole command line */
enum {
	TAKES_FORCE = 1,
	TAKES_WATCH = 2,
	TAKES_FLUSH = 4,
	TAKES_DRIVER = 8,
	TAKES_QUEUE = 16,
	TAKES_LISTED = 32,
	TAKES_SECURE = 64,
	TAKES_HISTOGRAM = 128,
};

static const struct verb {
	const char *name;
	int (*run)(const struct verb_args *a);
	int min_args, max_args;
	unsigned takes; /* of the options that not every verb has */
	const char *synopsis;
	const char *what;
} verbs[] = {
	{"list", verb_list, 0, 0, 0, "list [--json]",
		"the virtio disks, their drivers, and who uses them"},
	{"bind", verb_bind, 0, 1, TAKES_FORCE | TAKES_DRIVER | TAKES_LISTED,
		"bind [--driver uio_pci_generic | vfio-pci] [--force] [--json] ADDRESS\n"
		"                    | --listed [ADDRESS]",
		"give a disk to user space, for vblkfs to drive"},
	{"unbind", verb_unbind, 1, 1, 0, "unbind [--json] ADDRESS",
		"give it back to the kernel's driver"},
	{"stat", verb_stat, 0, 1, TAKES_WATCH | TAKES_HISTOGRAM,
		"stat [--histogram] [--json] [--watch[=SECONDS]] [--count=N]\n"
		"                    [ADDRESS | DIRECTORY]",
		"live figures of one mount, or of all"},
	{"info", verb_info, 1, 1, 0, "info [--json] ADDRESS | SOURCE | DIRECTORY",
		"what a disk is and can: features, limits, rings"},
	{"trim", verb_trim, 1, 1, TAKES_SECURE, "trim [--secure] [--json] ADDRESS | DIRECTORY",
		"let a mount's disk know which of its blocks are free"},
	{"dump", verb_dump, 1, 4, 0, "dump [--json] SOURCE [VIEW [ARGUMENT ...]]",
		"what is on an unmounted disk, damaged or not"},
	{"bench", verb_bench, 0, OWN_OPTIONS, 0,
		"bench [--rw=randread | read | randwrite | write | randrw | rw | flush |\n"
		"                     randdiscard | discard | randwrite-zeroes | write-zeroes]\n"
		"                     [--rwmixread=PERCENT]\n"
		"                     [--bs=BYTES] [--iodepth=N] [--queues=N]\n"
		"                     [--runtime=SECONDS] [--ios=N] [--span=BYTES] [--verify]\n"
		"                     [--destroy-data] [--force] [--poll] [--spin=MICROSECONDS]\n"
		"                     [--rings=N] [--ring-size=N] [--json] SOURCE",
		"how fast a disk is, and how long requests take"},
	{"sync", verb_sync, 1, 1, 0, "sync [--json] ADDRESS | DIRECTORY",
		"make all that was written to a mount durable"},
	{"freeze", verb_freeze, 1, 1, 0, "freeze [--json] ADDRESS | DIRECTORY",
		"let nothing be written until the thaw, for a copy of the disk"},
	{"thaw", verb_thaw, 1, 1, 0, "thaw [--json] ADDRESS | DIRECTORY", "end a freeze"},
	{"cache", verb_cache, 1, 2, 0,
		"cache [--json] ADDRESS | DIRECTORY [writeback | writethrough]",
		"whether a mount's disk caches writes, and change that"},
	{"reset", verb_reset, 1, 1, TAKES_QUEUE | TAKES_FORCE,
		"reset [--queue=N [--size=ENTRIES] [--force]] [--json] ADDRESS | DIRECTORY",
		"reset a mount's device, or one queue of it, and go on with it"},
	{"shutdown", verb_shutdown, 1, 1, TAKES_FLUSH,
		"shutdown [--flush | --no-flush] [--json] ADDRESS | DIRECTORY",
		"go dead as in a power cut; for tests"},
};
#define NR_VERBS (sizeof(verbs) / sizeof(verbs[0]))

static const struct verb *verb; /* that was asked for; NULL: none so far */

/* Of the verb, or of all. */
static void usage(FILE *to)
{
	if (verb != NULL) {
		fprintf(to, "usage: vblkctl %s\n", verb->synopsis);
		return;
	}
	fputs("usage:", to);
	for (size_t i = 0; i < NR_VERBS; i++)
		fprintf(to, "%s vblkctl %s\n", i == 0 ? "" : "      ", verbs[i].synopsis);
	fputs("       vblkctl [VERB] --help\n       vblkctl help [VERB]\n       vblkctl "
	      "--version\n",
		to);
}

int help(void)
{
	usage(stdout);
	putchar('\n');
	for (size_t i = 0; i < NR_VERBS; i++)
		if (verb == NULL || verb == &verbs[i])
			printf("%-8s %s\n", verbs[i].name, verbs[i].what);
	if (verb == NULL || verb->run == verb_dump)
		puts("\nviews of dump: super, groups, group N, inode N, path PATH, tree [N | PATH "
		     "[DEPTH]],\n"
		     "extents N | PATH, block N, journal");
	puts("\nvblkctl(8) has the whole story.");
	return EXIT_OK;
}

int bad_usage(const char *why, const char *what)
{
	if (why != NULL)
		fprintf(stderr, "vblkctl: %s%s%s\n", why, what == NULL ? "" : ": ",
			what == NULL ? "" : what);
	usage(stderr);
	return EXIT_USAGE;
}

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < NR_VERBS; i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}

int print_json(struct json_object *o)
{
	puts(json_object_to_json_string_ext(
		o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(o);
	return fflush(stdout) == 0 ? EXIT_OK : EXIT_FAILED;
}

bool parse_real(const char *text, double max, double *out)
{
	char *end;

	*out = strtod(text, &end);
	return end != text && *end == '\0' && *out > 0 && *out <= max;
}

/* As parse_option(). */
static int parse_queue_option(struct verb_args *a, int c)
{
	char *end;
	unsigned long n = strtoul(optarg, &end, 10);

	if (*optarg < '0' || *optarg > '9' || *end != '\0' || n > UINT16_MAX ||
		(c == 's' && n == 0))
		return bad_usage(c == 'q' ? "not the number of a queue" : "not a number of entries",
			       optarg) +
		       1;
	if (c == 'q') {
		a->has_queue = true;
		a->queue = (unsigned)n;
	} else {
		a->size = (unsigned)n;
	}
	return 0;
}

/* As parse_option(). */
static int parse_watch_option(struct verb_args *a, int c)
{
	double n = 1;

	if (optarg != NULL && !parse_real(optarg, 86400, &n))
		return bad_usage("not a number from 0 to 86400", optarg) + 1;
	if (c == 'n' && n != (unsigned)n)
		return bad_usage("not a whole number", optarg) + 1;
	if (c == 'w')
		a->watch_s = n;
	else
		a->count = (unsigned)n;
	return 0;
}

/* 0, or the exit status plus 1. */
static int parse_option(struct verb_args *a, int c)
{

	switch (c) {
	case 'j':
		a->json = true;
		return 0;
	case 'h':
		return help() + 1;
	case 'f':
		a->force = true;
		return verb->takes & TAKES_FORCE
			       ? 0
			       : bad_usage("--force is for other verbs", NULL) + 1;
	case 'd':
		a->driver = optarg;
		if (!(verb->takes & TAKES_DRIVER))
			return bad_usage("--driver is for other verbs", NULL) + 1;
		return bind_knows_driver(optarg) ? 0 : bad_usage("no such driver", optarg) + 1;
	case 'l':
		a->listed = true;
		return verb->takes & TAKES_LISTED
			       ? 0
			       : bad_usage("--listed is for other verbs", NULL) + 1;
	case 'S':
		a->secure = true;
		return verb->takes & TAKES_SECURE
			       ? 0
			       : bad_usage("--secure is for other verbs", NULL) + 1;
	case 'H':
		a->histogram = true;
		return verb->takes & TAKES_HISTOGRAM
			       ? 0
			       : bad_usage("--histogram is for other verbs", NULL) + 1;
	case 'F':
	case 'N':
		a->flush = c == 'F';
		return verb->takes & TAKES_FLUSH
			       ? 0
			       : bad_usage("--flush is for other verbs", NULL) + 1;
	case 'q':
	case 's':
		if (!(verb->takes & TAKES_QUEUE))
			return bad_usage("--queue is for other verbs", NULL) + 1;
		return parse_queue_option(a, c);
	case 'w':
	case 'n':
		if (!(verb->takes & TAKES_WATCH))
			return bad_usage("--watch is for other verbs", NULL) + 1;
		return parse_watch_option(a, c);
	default:
		return bad_usage(NULL, NULL) + 1; /* getopt_long() has said why */
	}
}

static int run_verb(int argc, char **argv)
{
	static const struct option options[] = {{"json", no_argument, NULL, 'j'},
		{"force", no_argument, NULL, 'f'}, {"help", no_argument, NULL, 'h'},
		{"watch", optional_argument, NULL, 'w'}, {"count", required_argument, NULL, 'n'},
		{"driver", required_argument, NULL, 'd'}, {"flush", no_argument, NULL, 'F'},
		{"no-flush", no_argument, NULL, 'N'}, {"queue", required_argument, NULL, 'q'},
		{"size", required_argument, NULL, 's'}, {"listed", no_argument, NULL, 'l'},
		{"secure", no_argument, NULL, 'S'}, {"histogram", no_argument, NULL, 'H'}, {0}};
	struct verb_args a = {0};
	int c, res;

	if (verb->max_args == OWN_OPTIONS) {
		a.argc = argc;
		a.argv = argv;
		return verb->run(&a);
	}
	while ((c = getopt_long(argc, argv, "jfhlw::n:", options, NULL)) != -1)
		if ((res = parse_option(&a, c)) != 0)
			return res - 1;
	a.argc = argc - optind;
	a.argv = argv + optind;
	if ((verb->takes & TAKES_QUEUE) && (a.size != 0 || a.force) && !a.has_queue)
		return bad_usage("--size and --force go with --queue", NULL);
	if (a.count != 0 && a.watch_s == 0)
		return bad_usage("--count goes with --watch", NULL);
	if (a.argc < verb->min_args || ((verb->takes & TAKES_LISTED) && a.argc == 0 && !a.listed))
		return bad_usage("an argument is missing", NULL);
	if (a.argc > verb->max_args)
		return bad_usage("one argument too many", a.argv[verb->max_args]);
	return verb->run(&a);
}

/* As --help: of all verbs, or of the one in argv[0]. */
static int verb_help(int argc, char **argv)
{
	if (argc > 1)
		return bad_usage("one argument too many", argv[1]);
	if (argc == 1 && (verb = find_verb(argv[0])) == NULL)
		return bad_usage("no such verb", argv[0]);
	return help();
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return bad_usage("a verb is missing", NULL);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return help();
	if (strcmp(argv[1], "help") == 0)
		return verb_help(argc - 2, argv + 2);
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		puts("vblkctl (vblkfs) " VBLKFS_VERSION);
		return EXIT_OK;
	}
	verb = find_verb(argv[1]);
	if (verb == NULL)
		return bad_usage("no such verb", argv[1]);
	argv[1] = argv[0]; /* what getopt_long() says begins with it */
	return run_verb(argc - 1, argv + 1);
}
