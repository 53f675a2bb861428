/* vblkctl_stat.c - the verb stat: the figures of running daemons, from their control sockets. */
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include "control.h"
#include "disk.h"
#include "vblkctl.h"

static uint64_t number(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_uint64(v) : 0;
}

static const char *text(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) && v != NULL ? json_object_get_string(v) : "";
}

static void print_space(struct json_object *fs)
{
	uint64_t unit = number(fs, "block_bytes");
	char total[32], unused[32];

	printf("  space    %s, %s free; %" PRIu64 " inodes, %" PRIu64 " free\n",
		human_bytes(number(fs, "blocks") * unit, total, sizeof(total)),
		human_bytes(number(fs, "free_blocks") * unit, unused, sizeof(unused)),
		number(fs, "inodes"), number(fs, "free_inodes"));
}

static void print_fs(struct json_object *fs)
{
	uint64_t commits = number(fs, "commits");

	print_space(fs);
	printf("  commits  %" PRIu64 ", of %.1f blocks and %.1f ms on average\n", commits,
		commits == 0 ? 0 : (double)number(fs, "commit_blocks") / (double)commits,
		commits == 0 ? 0 : (double)number(fs, "commit_us") / 1000 / (double)commits);
	printf("  cache    %" PRIu64 " blocks (%" PRIu64 " dirty), %" PRIu64 " hits, %" PRIu64
	       " misses\n",
		number(fs, "cache_blocks"), number(fs, "dirty_blocks"), number(fs, "cache_hits"),
		number(fs, "cache_misses"));
}

static void print_ring(size_t index, struct json_object *r)
{
	char in[32], out[32];

	printf("  req.%-4zu %9" PRIu64 " %10s %9" PRIu64 " %10s %8" PRIu64 " %9" PRIu64 " %9" PRIu64
	       " %10" PRIu64 " %9" PRIu64 " %11" PRIu64 " %6" PRIu64 "\n",
		index, number(r, "reads"), human_bytes(number(r, "read_bytes"), in, sizeof(in)),
		number(r, "writes"), human_bytes(number(r, "write_bytes"), out, sizeof(out)),
		number(r, "flushes"), number(r, "kicks"), number(r, "kicks_saved"),
		number(r, "interrupts"), number(r, "polls_hit"), number(r, "polls_missed"),
		number(r, "errors"));
}

static void print_rings(struct json_object *rings)
{
	size_t n = json_object_array_length(rings);

	if (n == 0)
		return;
	printf("  %-8s %9s %10s %9s %10s %8s %9s %9s %10s %9s %11s %6s\n", "ring", "reads", "bytes",
		"writes", "bytes", "flushes", "kicks", "saved", "interrupts", "polls hit", "missed",
		"errors");
	for (size_t i = 0; i < n; i++)
		print_ring(i, json_object_array_get_idx(rings, i));
}

/* As mounted, or since an error; of the latter the list of mounts knows nothing. */
static const char *read_only(struct json_object *o)
{
	struct json_object *fs;

	if (strcmp(text(o, "read_only"), "true") == 0)
		return ", read-only";
	if (json_object_object_get_ex(o, "fs", &fs) && strcmp(text(fs, "read_only"), "true") == 0)
		return ", read-only since an error: see the system log";
	return "";
}

static void print_mount(struct json_object *o)
{
	struct json_object *part;

	printf("%s on %s (process %" PRIu64 ", %s%s)\n", text(o, "source"), text(o, "mountpoint"),
		number(o, "pid"), text(o, "state"), read_only(o));
	if (json_object_object_get_ex(o, "fs", &part))
		print_fs(part);
	if (json_object_object_get_ex(o, "rings", &part))
		print_rings(part);
}

/* The daemon that serves TARGET: a directory on the mount, or the source as it was given to mount.
 */
static int find_daemon(const char *target, pid_t *pid)
{
	char dev[32], full[PATH_MAX];
	struct stat st;

	if (disk_parse_address(target, full, sizeof(full)))
		return control_find("source", full, pid) == 0 ? 0
							      : control_find("source", target, pid);
	if (stat(target, &st) == 0 && S_ISDIR(st.st_mode)) {
		snprintf(dev, sizeof(dev), "%u:%u", major(st.st_dev), minor(st.st_dev));
		return control_find("dev", dev, pid);
	}
	if (control_find("source", target, pid) == 0)
		return 0;
	return realpath(target, full) == NULL ? -ENOENT : control_find("source", full, pid);
}

static int stat_one(const char *target, bool json)
{
	struct json_object *o;
	pid_t pid;
	int err;

	if (find_daemon(target, &pid) < 0) {
		fprintf(stderr, "vblkctl: %s: no vblkfs is mounted there or from there\n", target);
		return EXIT_FAILED;
	}
	err = control_ask(pid, "stat", &o);
	if (err < 0) {
		fprintf(stderr, "vblkctl: %s: process %d does not answer: %s\n", target, (int)pid,
			strerror(-err));
		return EXIT_FAILED;
	}
	if (json)
		return print_json(o);
	print_mount(o);
	json_object_put(o);
	return EXIT_OK;
}

static bool collect(void *arg, pid_t pid, struct json_object *hello)
{
	struct json_object *o;

	(void)hello;
	if (control_ask(pid, "stat", &o) == 0) /* else it has just gone */
		json_object_array_add(arg, o);
	return true;
}

static int stat_all(bool json)
{
	struct json_object *all = json_object_new_array();
	int err = control_each(collect, all);
	size_t n = json_object_array_length(all);

	if (err < 0) {
		fprintf(stderr, "vblkctl: cannot look for daemons: %s\n", strerror(-err));
		json_object_put(all);
		return EXIT_FAILED;
	}
	if (json)
		return print_json(all);
	if (n == 0)
		fputs("vblkctl: no vblkfs is mounted\n", stderr);
	for (size_t i = 0; i < n; i++)
		print_mount(json_object_array_get_idx(all, i));
	json_object_put(all);
	return EXIT_OK;
}

int verb_stat(const struct verb_args *a)
{
	return a->argc == 0 ? stat_all(a->json) : stat_one(a->argv[0], a->json);
}
