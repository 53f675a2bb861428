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
#include <unistd.h>
#include "control.h"
#include "disk.h"
#include "disk_json.h"
#include "figures.h"
#include "vblkctl.h"

#define ANSWER_MS 5000

uint64_t json_number(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_uint64(v) : 0;
}

const char *json_text(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) && v != NULL ? json_object_get_string(v) : "";
}

static void print_space(struct json_object *fs)
{
	uint64_t unit = json_number(fs, "block_bytes");
	char total[32], unused[32];

	printf("  space    %s, %s free; %" PRIu64 " inodes, %" PRIu64 " free\n",
		human_bytes(json_number(fs, "blocks") * unit, total, sizeof(total)),
		human_bytes(json_number(fs, "free_blocks") * unit, unused, sizeof(unused)),
		json_number(fs, "inodes"), json_number(fs, "free_inodes"));
}

static void print_fs(struct json_object *fs)
{
	uint64_t commits = json_number(fs, "commits");

	print_space(fs);
	printf("  commits  %" PRIu64 ", of %.1f blocks and %.1f ms on average\n", commits,
		commits == 0 ? 0 : (double)json_number(fs, "commit_blocks") / (double)commits,
		commits == 0 ? 0 : (double)json_number(fs, "commit_us") / 1000 / (double)commits);
	printf("  cache    %" PRIu64 " blocks (%" PRIu64 " dirty), %" PRIu64 " hits, %" PRIu64
	       " misses\n",
		json_number(fs, "cache_blocks"), json_number(fs, "dirty_blocks"),
		json_number(fs, "cache_hits"), json_number(fs, "cache_misses"));
}

/* Can it be written? Read-only as mounted, or since an error; of the latter the list of mounts knows
 * nothing. */
static const char *write_state(struct json_object *o)
{
	struct json_object *fs;

	if (strcmp(json_text(o, "read_only"), "true") == 0)
		return ", read-only";
	if (json_object_object_get_ex(o, "fs", &fs) &&
		strcmp(json_text(fs, "read_only"), "true") == 0)
		return ", read-only since an error: see the system log";
	if (json_object_object_get_ex(o, "fs", &fs) && strcmp(json_text(fs, "frozen"), "true") == 0)
		return ", frozen: vblkctl thaw lets writing go on";
	return "";
}

struct blk_stat *rings_of(struct json_object *mount, unsigned *n)
{
	struct json_object *a;
	struct blk_stat *rings;

	*n = 0;
	if (!json_object_object_get_ex(mount, "rings", &a) || json_object_array_length(a) == 0)
		return NULL;
	rings = calloc(json_object_array_length(a), sizeof(*rings));
	for (; rings != NULL && *n < json_object_array_length(a); ++*n)
		disk_json_get_stat(json_object_array_get_idx(a, *n), &rings[*n]);
	return rings;
}

static void print_mount(struct json_object *o, bool histograms)
{
	struct json_object *part;
	unsigned n;
	struct blk_stat *rings = rings_of(o, &n);

	printf("%s on %s (process %" PRIu64 ", %s%s)\n", json_text(o, "source"),
		json_text(o, "mountpoint"), json_number(o, "pid"), json_text(o, "state"),
		write_state(o));
	if (json_object_object_get_ex(o, "fs", &part))
		print_fs(part);
	figures_print(stdout, rings, n, 0, histograms);
	free(rings);
}

int find_daemon(const char *target, pid_t *pid)
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

int find_target(const char *target, pid_t *pid)
{
	int err = find_daemon(target, pid);

	if (err < 0)
		fprintf(stderr, "vblkctl: %s: no vblkfs is mounted there or from there\n", target);
	return err;
}

struct json_object *ask_daemon(const char *target, pid_t pid, const char *line)
{
	struct json_object *o, *error;
	int fd = control_send(pid, line);
	int err = fd;

	if (fd >= 0) {
		err = control_receive(fd, ANSWER_MS, &o);
		close(fd);
	}
	if (err < 0) {
		fprintf(stderr, "vblkctl: %s: process %d does not answer: %s\n", target, (int)pid,
			strerror(-err));
		return NULL;
	}
	if (json_object_object_get_ex(o, "error", &error)) {
		fprintf(stderr, "vblkctl: %s: %s\n", target, json_object_get_string(error));
		json_object_put(o);
		return NULL;
	}
	return o;
}

static struct json_object *figures_of(const char *target)
{
	pid_t pid;

	return find_target(target, &pid) < 0 ? NULL : ask_daemon(target, pid, "stat");
}

static bool collect(void *arg, pid_t pid, struct json_object *hello)
{
	struct json_object *o;

	(void)hello;
	if (control_ask(pid, "stat", &o) == 0) /* else it has just gone */
		json_object_array_add(arg, o);
	return true;
}

struct json_object *collect_figures(const char *target)
{
	struct json_object *all = json_object_new_array();
	struct json_object *one;
	int err = 0;

	if (target != NULL) {
		one = figures_of(target);
		if (one != NULL)
			json_object_array_add(all, one);
		err = one == NULL ? -ENOENT : 0;
	} else if (control_each(collect, all) < 0) {
		fputs("vblkctl: cannot look for daemons\n", stderr);
		err = -EIO;
	}
	if (err == 0)
		return all;
	json_object_put(all);
	return NULL;
}

static int print_once(const struct verb_args *a)
{
	struct json_object *all = collect_figures(a->argc == 0 ? NULL : a->argv[0]);
	size_t n;

	if (all == NULL)
		return EXIT_FAILED;
	n = json_object_array_length(all);
	if (a->json && a->argc == 0)
		return print_json(all);
	if (a->json) {
		int status = print_json(json_object_get(json_object_array_get_idx(all, 0)));

		json_object_put(all);
		return status;
	}
	if (n == 0)
		fputs("vblkctl: no vblkfs is mounted\n", stderr);
	for (size_t i = 0; i < n; i++)
		print_mount(json_object_array_get_idx(all, i), a->histogram);
	json_object_put(all);
	return EXIT_OK;
}

int verb_stat(const struct verb_args *a)
{
	return a->watch_s > 0 ? watch_figures(a) : print_once(a);
}
