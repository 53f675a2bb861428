/* vblkctl_device.c - the verbs reset and cache: the daemon of a mount does something with its disk's
 * device, between two requests. */
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include "vblkctl.h"

int verb_reset(const struct verb_args *a)
{
	char job[64];

	if (!a->has_queue)
		return do_job(a, "reset", "reset");
	(void)snprintf(job, sizeof(job), "reset-queue%s %u %u", a->force ? "-force" : "", a->queue,
		a->size);
	return do_job(a, job, "reset");
}

static int show_cache(const struct verb_args *a)
{
	struct json_object *o, *disk, *v;
	const char *mode;
	bool writeback;
	pid_t pid;

	if (find_target(a->argv[0], &pid) < 0)
		return EXIT_FAILED;
	o = ask_daemon(a->argv[0], pid, "info");
	if (o == NULL)
		return EXIT_FAILED;
	writeback = json_object_object_get_ex(o, "disk", &disk) &&
		    json_object_object_get_ex(disk, "volatile_cache", &v) &&
		    json_object_get_boolean(v);
	json_object_put(o);
	mode = writeback ? "writeback" : "writethrough";
	if (!a->json) {
		puts(mode);
		return EXIT_OK;
	}
	o = json_object_new_object();
	json_object_object_add(o, "cache", json_object_new_string(mode));
	return print_json(o);
}

int verb_cache(const struct verb_args *a)
{
	if (a->argc == 1)
		return show_cache(a);
	if (strcmp(a->argv[1], "writeback") == 0)
		return do_job(a, "cache-writeback", "writeback");
	if (strcmp(a->argv[1], "writethrough") == 0)
		return do_job(a, "cache-writethrough", "writethrough");
	fprintf(stderr, "vblkctl: no cache mode '%s': there are writeback and writethrough\n",
		a->argv[1]);
	return EXIT_USAGE;
}
