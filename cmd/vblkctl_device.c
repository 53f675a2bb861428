/* vblkctl_device.c - the verbs reset and cache: the daemon of a mount does something with its disk's
 * device, between two requests. */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include "vblkctl.h"

#define PATIENCE_MS 120000 /* requests under way are finished first */

/* Ask the daemon of TARGET; the exit status. */
static int tell(const struct verb_args *a, const char *target, const char *line)
{
	struct json_object *o;
	pid_t pid;

	if (find_daemon(target, &pid) < 0) {
		fprintf(stderr, "vblkctl: %s: no vblkfs is mounted there or from there\n", target);
		return EXIT_FAILED;
	}
	o = ask_daemon_within(target, pid, line, PATIENCE_MS);
	if (o == NULL)
		return EXIT_FAILED;
	if (a->json)
		return print_json(o);
	json_object_put(o);
	return EXIT_OK;
}

int verb_reset(const struct verb_args *a)
{
	char line[64];

	if (a->has_queue)
		(void)snprintf(line, sizeof(line), "reset %u %u", a->queue, a->size);
	return tell(a, a->argv[0], a->has_queue ? line : "reset");
}

static int show_cache(const struct verb_args *a)
{
	struct json_object *o, *disk, *v;
	bool writeback;
	pid_t pid;

	if (find_daemon(a->argv[0], &pid) < 0) {
		fprintf(stderr, "vblkctl: %s: no vblkfs is mounted there or from there\n",
			a->argv[0]);
		return EXIT_FAILED;
	}
	o = ask_daemon(a->argv[0], pid, "info");
	if (o == NULL)
		return EXIT_FAILED;
	if (a->json)
		return print_json(o);
	writeback = json_object_object_get_ex(o, "disk", &disk) &&
		    json_object_object_get_ex(disk, "volatile_cache", &v) &&
		    json_object_get_boolean(v);
	puts(writeback ? "writeback" : "writethrough");
	json_object_put(o);
	return EXIT_OK;
}

int verb_cache(const struct verb_args *a)
{
	if (a->argc == 1)
		return show_cache(a);
	if (strcmp(a->argv[1], "writeback") == 0)
		return tell(a, a->argv[0], "cache writeback");
	if (strcmp(a->argv[1], "writethrough") == 0)
		return tell(a, a->argv[0], "cache writethrough");
	fprintf(stderr, "vblkctl: no cache mode '%s': there are writeback and writethrough\n",
		a->argv[1]);
	return EXIT_USAGE;
}
