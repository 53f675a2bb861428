/* synced.c - is what was synced there after a crash? A workload whose every step is made durable and
 * then acknowledged (../synced/steps.h), and three who judge what a crash has left.
 *
 *	synced run [--seed N] [--streams N] [--seconds N] [--steps N] MARKS DIR
 *		do steps below DIR (which is there, and empty) until the time or the number is up,
 *		and write to MARKS what was acknowledged. Beside them others write without syncing.
 *	synced check MARKS DIR
 *		on a mount, DIR as it was then
 *	synced image [--base DIR] MARKS IMAGE
 *		on a disk that nobody has mounted; IMAGE is not written to
 *	synced log [--base DIR] [--states N] [--seed N] LOG BYTES
 *		on the disk of BYTES, blank at first, as it was at many points of LOG; MARKS was a
 *		file on that disk, so what had been acknowledged by then stands in the log, too
 *
 * Exit status 0: all there; 1: not so, one line says what; 2: usage. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include "../synced/synced.h"

static void usage(void)
{
	fputs("usage: synced run [--seed N] [--streams N] [--seconds N] [--steps N] MARKS DIR\n"
	      "       synced check MARKS DIR\n"
	      "       synced image [--base DIR] MARKS IMAGE\n"
	      "       synced log [--base DIR] [--states N] [--seed N] LOG BYTES\n",
		stderr);
}

static int parse(int argc, char **argv, struct synced_args *a)
{
	static const struct option options[] = {{"seed", required_argument, NULL, 's'},
		{"streams", required_argument, NULL, 'n'},
		{"seconds", required_argument, NULL, 't'}, {"steps", required_argument, NULL, 'c'},
		{"base", required_argument, NULL, 'b'}, {"states", required_argument, NULL, 'k'},
		{0}};
	uint64_t *value[128] = {['s'] = &a->seed,
		['n'] = &a->nr_streams,
		['t'] = &a->seconds,
		['c'] = &a->nr_steps,
		['k'] = &a->nr_states};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		char *end = NULL;

		if (c == 'b')
			a->base = optarg;
		else if (c == '?' || value[c] == NULL)
			return -EINVAL;
		else
			*value[c] = strtoull(optarg, &end, 10);
		if (end != NULL && *end != '\0')
			return -EINVAL;
	}
	if (argc - optind != 2 || a->nr_streams == 0 || a->nr_streams > STREAMS_MAX)
		return -EINVAL;
	a->first = argv[optind];
	a->second = argv[optind + 1];
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(const struct synced_args *a);
	} verbs[] = {{"run", synced_run}, {"check", synced_check}, {"image", synced_image},
		{"log", synced_log}};
	struct synced_args a = {.seed = 1,
		.nr_streams = 3,
		.seconds = 10,
		.nr_steps = UINT64_MAX,
		.nr_states = 500,
		.base = ""};

	/* What the filesystem finds wrong is to be seen. */
	openlog("synced", LOG_PERROR, LOG_USER);
	setlogmask(LOG_UPTO(LOG_ERR));
	for (size_t i = 0; argc > 1 && i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (strcmp(argv[1], verbs[i].name) == 0 && parse(argc - 1, argv + 1, &a) == 0)
			return verbs[i].run(&a);
	usage();
	return 2;
}
