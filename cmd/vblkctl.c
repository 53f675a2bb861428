/* vblkctl.c - look at virtio disks, give one to user space and back, and see what a mount does. */
#include <getopt.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "vblkctl.h"

static const struct verb {
	const char *name;
	int (*run)(const struct verb_args *a);
	int min_args, max_args;
	bool takes_force;
	const char *synopsis;
	const char *what;
} verbs[] = {
	{"list", verb_list, 0, 0, false, "list [--json]",
		"the virtio disks, their drivers, and who uses them"},
	{"bind", verb_bind, 1, 1, true, "bind [--force] [--json] ADDRESS",
		"give a disk to uio_pci_generic, for vblkfs to drive"},
	{"unbind", verb_unbind, 1, 1, false, "unbind [--json] ADDRESS",
		"give it back to the kernel's driver"},
	{"stat", verb_stat, 0, 1, false, "stat [--json] [ADDRESS | DIRECTORY]",
		"live figures of one mount, or of all"},
	{"dump", verb_dump, 1, 4, false, "dump [--json] SOURCE [VIEW [ARGUMENT ...]]",
		"what is on an unmounted disk, damaged or not"},
};
#define NR_VERBS (sizeof(verbs) / sizeof(verbs[0]))

static void usage(FILE *to)
{
	fputs("usage:", to);
	for (size_t i = 0; i < NR_VERBS; i++)
		fprintf(to, "%s vblkctl %s\n", i == 0 ? "" : "      ", verbs[i].synopsis);
	fputs("       vblkctl --help | --version\n", to);
}

static int help(void)
{
	usage(stdout);
	putchar('\n');
	for (size_t i = 0; i < NR_VERBS; i++)
		printf("%-8s %s\n", verbs[i].name, verbs[i].what);
	puts("\nviews of dump: super, groups, group N, inode N, path PATH, tree [N | PATH "
	     "[DEPTH]],\n"
	     "extents N | PATH, block N, journal\n"
	     "\nvblkctl(8) has the whole story.");
	return EXIT_OK;
}

static int bad_usage(const char *why, const char *what)
{
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

const char *human_bytes(unsigned long long bytes, char *out, unsigned len)
{
	static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	double v = (double)bytes;
	unsigned u = 0;

	for (; v >= 1024 && u < 5; u++)
		v /= 1024;
	snprintf(out, len, u == 0 ? "%.0f %s" : "%.1f %s", v, unit[u]);
	return out;
}

static int run_verb(const struct verb *verb, int argc, char **argv)
{
	static const struct option options[] = {{"json", no_argument, NULL, 'j'},
		{"force", no_argument, NULL, 'f'}, {"help", no_argument, NULL, 'h'}, {0}};
	struct verb_args a = {0};
	int c;

	while ((c = getopt_long(argc, argv, "jfh", options, NULL)) != -1) {
		if (c == 'j')
			a.json = true;
		else if (c == 'f' && verb->takes_force)
			a.force = true;
		else if (c == 'h')
			return help();
		else if (c == 'f')
			return bad_usage("no --force for this verb", verb->name);
		else
			return bad_usage("see the usage", NULL);
	}
	a.argc = argc - optind;
	a.argv = argv + optind;
	if (a.argc < verb->min_args)
		return bad_usage("an argument is missing", verb->synopsis);
	if (a.argc > verb->max_args)
		return bad_usage("one argument too many", a.argv[verb->max_args]);
	return verb->run(&a);
}

int main(int argc, char **argv)
{
	const struct verb *verb;

	if (argc < 2)
		return bad_usage("a verb is missing", NULL);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return help();
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		puts("vblkctl (vblkfs) " VBLKFS_VERSION);
		return EXIT_OK;
	}
	verb = find_verb(argv[1]);
	if (verb == NULL)
		return bad_usage("no such verb", argv[1]);
	return run_verb(verb, argc - 1, argv + 1);
}
