/* vblkctl_dump.c - the verb dump: what is on an unmounted disk, damaged or not.
 *
 * The disk is opened read-only, and refused while somebody else has it open for writing. */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "source.h"
#include "vblkctl.h"
#include "vblkctl_dump.h"

struct request { /* what comes after SOURCE */
	int argc;
	char **argv; /* [0] is the view's name */
	struct dump *d;
	struct dump_out *o;
	char why[512];
};

static int bad_argument(struct request *r, const char *arg, const char *what)
{
	snprintf(r->why, sizeof(r->why), "%s: not %s", arg, what);
	return -EINVAL;
}

static bool parse_number(const char *text, uint64_t *out)
{
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	*out = strtoull(text, &end, 0);
	return errno == 0 && *end == '\0';
}

/* An inode's number or a path from the root; the root without one. */
static int parse_inode(struct request *r, uint64_t *ino)
{
	const char *arg = r->argc > 1 ? r->argv[1] : "/";
	int err;

	if (parse_number(arg, ino))
		return 0;
	if (arg[0] != '/')
		return bad_argument(r, arg, "an inode's number, nor a path that begins with /");
	err = dump_lookup(r->d, arg, ino);
	return err;
}

static int show_summary(struct request *r)
{
	return dump_summary(r->d, r->o);
}

static int show_super(struct request *r)
{
	return dump_super(r->d, r->o);
}

static int show_groups(struct request *r)
{
	return dump_groups(r->d, r->o);
}

static int show_group(struct request *r)
{
	uint64_t group;

	if (!parse_number(r->argv[1], &group))
		return bad_argument(r, r->argv[1], "a group's number");
	return dump_group(r->d, r->o, group);
}

static int show_block(struct request *r)
{
	uint64_t block;

	if (!parse_number(r->argv[1], &block))
		return bad_argument(r, r->argv[1], "a block's number");
	return dump_block(r->d, r->o, block);
}

static int show_inode(struct request *r)
{
	uint64_t ino;
	int err = parse_inode(r, &ino);

	return err < 0 ? err : dump_inode(r->d, r->o, ino);
}

static int show_extents(struct request *r)
{
	uint64_t ino;
	int err = parse_inode(r, &ino);

	return err < 0 ? err : dump_extents(r->d, r->o, ino);
}

static int show_tree(struct request *r)
{
	uint64_t ino, depth = UINT64_MAX;
	int err = parse_inode(r, &ino);

	if (err == 0 && r->argc > 2 && (!parse_number(r->argv[2], &depth) || depth == 0))
		return bad_argument(r, r->argv[2], "a number of levels");
	return err < 0 ? err : dump_files(r->d, r->o, ino, depth);
}

static int show_journal(struct request *r)
{
	return dump_journal(r->d, r->o);
}

static const struct view {
	const char *name;
	int (*show)(struct request *r);
	int min_args, max_args; /* after the name */
} views[] = {
	{"super", show_super, 0, 0},
	{"groups", show_groups, 0, 0},
	{"group", show_group, 1, 1},
	{"inode", show_inode, 1, 1},
	{"path", show_inode, 1, 1},
	{"tree", show_tree, 0, 2},
	{"extents", show_extents, 1, 1},
	{"block", show_block, 1, 1},
	{"journal", show_journal, 0, 0},
};

static const struct view *find_view(const struct request *r)
{
	static const struct view summary = {"", show_summary, 0, 0};

	if (r->argc == 0)
		return &summary;
	for (size_t i = 0; i < sizeof(views) / sizeof(views[0]); i++)
		if (strcmp(views[i].name, r->argv[0]) == 0 && r->argc - 1 >= views[i].min_args &&
			r->argc - 1 <= views[i].max_args)
			return &views[i];
	return NULL;
}

static int complain(const char *source, const char *why)
{
	fprintf(stderr, "vblkctl: %s: %s\n", source, why);
	return EXIT_FAILED;
}

/* What a view that failed has shown before is shown, too. */
static int show(struct request *r, const struct view *view, const struct verb_args *a)
{
	const char *source = a->argv[0];
	struct json_object *doc = NULL;
	int err = view->show(r);
	int status = EXIT_OK;

	if (a->json)
		doc = dump_json_destroy(r->o);
	else
		dump_text_destroy(r->o);
	if (doc != NULL && err == 0)
		status = print_json(doc);
	else
		json_object_put(doc);
	if (fflush(stdout) != 0)
		status = complain("standard output", strerror(errno));
	if (err == 0)
		return status;
	if (r->why[0] == '\0')
		snprintf(r->why, sizeof(r->why), "%s",
			err == -ENOMEM ? strerror(ENOMEM) : dump_error(r->d));
	return complain(source, r->why);
}

static int dump_disk(struct request *r, const struct view *view, const struct verb_args *a)
{
	const struct disk_opts opts = {.read_only = true};
	struct blockdev *dev;
	int status = EXIT_FAILED;
	int err;

	if (source_open(a->argv[0], &opts, &dev, r->why, sizeof(r->why)) < 0) {
		fprintf(stderr, "vblkctl: %s\n", r->why);
		return EXIT_FAILED;
	}
	r->why[0] = '\0';
	err = dump_open(dev, &r->d);
	if (err < 0) {
		status = complain(a->argv[0], strerror(-err));
		goto close_dev;
	}
	r->o = a->json ? dump_json_create() : dump_text_create();
	if (r->o == NULL)
		status = complain(a->argv[0], strerror(ENOMEM));
	else
		status = show(r, view, a);
	dump_close(r->d);
close_dev:
	blk_close(dev);
	return status;
}

int verb_dump(const struct verb_args *a)
{
	struct request r = {.argc = a->argc - 1, .argv = a->argv + 1};
	const struct view *view = find_view(&r);

	if (view == NULL) {
		fprintf(stderr,
			"vblkctl: no such view: %s, or not so many arguments; vblkctl --help has "
			"them\n",
			a->argv[1]);
		return EXIT_USAGE;
	}
	return dump_disk(&r, view, a);
}
