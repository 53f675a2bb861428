/* vblkctl.h - the verbs of vblkctl, one function each. Each gets its own argv and returns the exit
 * status: 0, 1 failure, 2 usage. */
#ifndef VBLKFS_VBLKCTL_H
#define VBLKFS_VBLKCTL_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "human.h"

struct json_object;

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct verb_args {
	bool json;
	bool force;
	bool listed;
	bool flush;
	bool secure;
	bool histogram;
	const char *driver; /* NULL: any */
	double watch_s;     /* 0: once */
	unsigned count;     /* of intervals; 0: until interrupted */
	bool has_queue;
	unsigned queue, size; /* size 0: as it is */
	int argc;             /* what is left: addresses, mount points */
	char **argv;
};

int verb_list(const struct verb_args *a);
int verb_bind(const struct verb_args *a);
int verb_unbind(const struct verb_args *a);
int verb_stat(const struct verb_args *a);
int verb_dump(const struct verb_args *a);
int verb_bench(const struct verb_args *a); /* with the verb in argv[0], and its options */
int verb_info(const struct verb_args *a);
int verb_reset(const struct verb_args *a);
int verb_cache(const struct verb_args *a);
int verb_sync(const struct verb_args *a);
int verb_freeze(const struct verb_args *a);
int verb_thaw(const struct verb_args *a);
int verb_shutdown(const struct verb_args *a);
int verb_trim(const struct verb_args *a);

/* vblkctl_stat.c: what others need of it */
uint64_t json_number(struct json_object *o, const char *key);  /* 0 where there is none */
const char *json_text(struct json_object *o, const char *key); /* "" likewise */
/* The daemon that serves TARGET: a directory on the mount, or the source as it was given to mount.
 */
int find_daemon(const char *target, pid_t *pid);
int find_target(const char *target, pid_t *pid); /* likewise; on failure the reason was printed */
/* Ask it LINE; on failure the reason was printed. */
struct json_object *ask_daemon(const char *target, pid_t pid, const char *line);
/* The mounts' figures now: of TARGET, or (NULL) of all. NULL: failed, the reason was printed. */
struct json_object *collect_figures(const char *target);
struct blk_stat *rings_of(struct json_object *mount, unsigned *n); /* of its rings; to free() */

/* vblkctl_mount.c: have the daemon of a mount do a JOB (vblkfs_jobs.h), and wait for its end: what it
 * answers then. NULL: failed, the reason was printed. */
struct json_object *run_job(const char *target, const char *job);
/* The same of the mount in argv[0]; the exit status. RESULT: what --json prints. */
int do_job(const struct verb_args *a, const char *job, const char *result);

/* vblkctl_watch.c: figures by interval, until interrupted or a->count is reached. */
int watch_figures(const struct verb_args *a);

/* vblkctl.c: the usage of the verb, on standard output, or after WHY (and WHAT; either may be NULL) on
 * standard error; the exit status. */
int help(void);
int bad_usage(const char *why, const char *what);
bool parse_real(const char *text, double max, double *out); /* positive, and nothing after it */

/* Print O as one JSON document on standard output, and free it. */
int print_json(struct json_object *o);
#endif
