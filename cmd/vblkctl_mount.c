/* vblkctl_mount.c - the verbs that do something to a running mount: sync, freeze, thaw, shutdown. */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "control.h"
#include "vblkctl.h"

#define LOOK_MS 5L /* between two questions whether the job is done */

static void pause_a_little(void)
{
	struct timespec ts = {.tv_nsec = LOOK_MS * 1000000};

	nanosleep(&ts, NULL);
}

/* The kernel sends its dirty pages, but waits for none (vblkfs(8), CAVEATS): the daemon will. */
static int send_dirty_pages(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (syncfs(fd) < 0)
		err = -errno;
	close(fd);
	return err;
}

/* Its answer to LINE, again and again while another's job is at work. NULL: the reason was printed. */
static struct json_object *ask_until_free(const char *target, pid_t pid, const char *line)
{
	struct json_object *o;

	while ((o = ask_daemon(target, pid, line)) != NULL && json_number(o, "busy") != 0) {
		json_object_put(o);
		pause_a_little();
	}
	return o;
}

/* O: the answer that began the job, or has its error. The answer that ended it. */
static struct json_object *await_job(const char *target, pid_t pid, struct json_object *o)
{
	uint64_t number = o == NULL ? 0 : json_number(o, "job");
	char line[32];

	if (number == 0)
		return o;
	snprintf(line, sizeof(line), "job %u", (unsigned)number);
	do {
		json_object_put(o);
		pause_a_little();
		o = ask_daemon(target, pid, line);
	} while (o != NULL && json_number(o, "done") == 0);
	return o;
}

static int report(const struct verb_args *a, struct json_object *o, const char *result)
{
	struct json_object *out;

	if (o == NULL)
		return EXIT_FAILED;
	json_object_put(o);
	if (!a->json)
		return EXIT_OK;
	out = json_object_new_object();
	json_object_object_add(out, "result", json_object_new_string(result));
	return print_json(out);
}

struct json_object *run_job(const char *target, const char *job)
{
	pid_t pid;

	if (find_target(target, &pid) < 0)
		return NULL;
	return await_job(target, pid, ask_until_free(target, pid, job));
}

int do_job(const struct verb_args *a, const char *job, const char *result)
{
	return report(a, run_job(a->argv[0], job), result);
}

/* The same, of all that was written until now. */
static int do_job_on_pages(const struct verb_args *a, const char *job, const char *result)
{
	const char *target = a->argv[0];
	struct json_object *o;
	char dir[4096];
	pid_t pid;
	int err;

	if (find_target(target, &pid) < 0)
		return EXIT_FAILED;
	o = ask_daemon(target, pid, "hello");
	if (o == NULL)
		return EXIT_FAILED;
	snprintf(dir, sizeof(dir), "%s", json_text(o, "mountpoint"));
	json_object_put(o);
	err = send_dirty_pages(dir);
	if (err < 0) {
		fprintf(stderr, "vblkctl: %s: %s\n", dir, strerror(-err));
		return EXIT_FAILED;
	}
	return do_job(a, job, result);
}

int verb_sync(const struct verb_args *a)
{
	return do_job_on_pages(a, "sync", "synced");
}

int verb_freeze(const struct verb_args *a)
{
	return do_job_on_pages(a, "freeze", "frozen");
}

int verb_thaw(const struct verb_args *a)
{
	return do_job(a, "thaw", "thawed");
}

int verb_shutdown(const struct verb_args *a)
{
	return do_job(a, a->flush ? "shutdown-flush" : "shutdown", "shut down");
}
