/* vblkfs_jobs.c - sync, freeze, thaw and shutdown of a running mount (vblkfs_jobs.h).
 *
 * Invariants
 *  1. While the filesystem is frozen the session parks what would change it: no worker waits, so
 *     reading goes on. Parking begins before the freeze and ends after it.
 *  2. A job's number rises by one; the results of the last few are kept for who asks. */
#include <errno.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <syslog.h>
#include <time.h>
#include "../fusefs/session.h"
#include "vblkfs_jobs.h"

#define NR_RESULTS    16U
#define QUIET_MS      200 /* without the kernel's figure: no write for so long, and all have come */
#define DRAIN_MAX_MS  60000 /* however busy it is */
#define DRAIN_LOOK_MS 1

struct jobs {
	struct fs *fs;
	struct session *session;
	dev_t dev;
	pthread_mutex_t lock; /* guards all below but thread */
	unsigned number;      /* of the job at work, or of the last one */
	bool at_work;
	int results[NR_RESULTS]; /* by number; 0 or a negative errno */
	int (*run)(struct jobs *j);
	bool has_thread; /* to be joined */
	pthread_t thread;
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void sleep_ms(long ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	nanosleep(&ts, NULL);
}

/* ---- sync ---- */

/* Requests that the kernel has and that were not answered; -1: it does not say (fusectl is not
 * mounted). */
static long kernel_waiting(const struct jobs *j)
{
	char path[64];
	long nr = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/waiting", minor(j->dev));
	f = fopen(path, "re");
	if (f == NULL)
		return -1;
	if (fscanf(f, "%ld", &nr) != 1)
		nr = -1;
	fclose(f);
	return nr;
}

struct count {
	uint64_t requests, writes;
};

static struct count received(const struct jobs *j)
{
	struct session_stats st[SESSION_WORKERS_MAX];
	int n = session_stats(j->session, st, (int)SESSION_WORKERS_MAX);
	struct count c = {0};

	for (int i = 0; i < n; i++) {
		c.requests += st[i].requests;
		c.writes += st[i].writes;
	}
	return c;
}

/* The client had the kernel send its dirty pages (syncfs(2)), and the kernel did not wait for them:
 * they are in its queue, which is first in, first out. They have all come when
 *  - nothing waits; or
 *  - as many writes have come since as requests waited; or
 *  - as many requests as waited have come, and no write was among them. */
static void await_dirty_pages(const struct jobs *j)
{
	uint64_t end_ms = now_ms() + DRAIN_MAX_MS;
	long waiting = kernel_waiting(j), window = waiting;
	struct count first = received(j), from = first;
	uint64_t quiet_ms = now_ms();

	while (waiting != 0 && now_ms() < end_ms) {
		struct count c = received(j);

		if (waiting > 0 && c.writes - first.writes >= (uint64_t)waiting)
			return;
		if (waiting < 0 ? now_ms() - quiet_ms >= QUIET_MS
				: c.requests - from.requests >= (uint64_t)window) {
			if (c.writes == from.writes)
				return;
			window = kernel_waiting(j);
			from = c;
			quiet_ms = now_ms();
		}
		if (kernel_waiting(j) == 0)
			return;
		sleep_ms(DRAIN_LOOK_MS);
	}
}

static int run_sync(struct jobs *j)
{
	struct fs_thread *t;
	int err;

	await_dirty_pages(j);
	session_settle(j->session); /* what has come has begun: fs_sync() waits for it */
	err = fs_thread_open(j->fs, &t);
	if (err < 0)
		return err;
	err = fs_sync(t);
	fs_thread_close(t);
	return err;
}

/* ---- the others ---- */

static int run_freeze(struct jobs *j)
{
	int err;

	await_dirty_pages(j);
	session_park(j->session);
	err = fs_freeze(j->fs);
	if (err < 0 && err != -EBUSY)
		session_unpark(j->session);
	return err;
}

static int thaw(struct jobs *j)
{
	int err = fs_thaw(j->fs);

	if (err == 0)
		session_unpark(j->session);
	return err;
}

static int run_shutdown(struct jobs *j)
{
	return fs_shutdown(j->fs, false);
}

static int run_shutdown_flush(struct jobs *j)
{
	return fs_shutdown(j->fs, true);
}

static const struct {
	const char *line;
	int (*run)(struct jobs *j);
} runs[] = {{"sync", run_sync}, {"freeze", run_freeze}, {"shutdown", run_shutdown},
	{"shutdown-flush", run_shutdown_flush}};

/* ---- jobs ---- */

static void *job_main(void *arg)
{
	struct jobs *j = arg;
	int err = j->run(j);

	pthread_mutex_lock(&j->lock);
	j->results[j->number % NR_RESULTS] = err;
	j->at_work = false;
	pthread_mutex_unlock(&j->lock);
	return NULL;
}

/* Caller holds the lock. */
static int start(struct jobs *j, int (*run)(struct jobs *j))
{
	int err;

	if (j->has_thread)
		pthread_join(j->thread, NULL);
	j->has_thread = false;
	j->run = run;
	j->number++;
	j->at_work = true;
	err = -pthread_create(&j->thread, NULL, job_main, j);
	j->has_thread = err == 0;
	j->at_work = err == 0;
	return err;
}

static const char *why(int err)
{
	switch (err) {
	case -EBUSY:
		return "it is frozen already";
	case -EINVAL:
		return "it is not frozen";
	case -ECANCELED:
		return "it was thawed meanwhile";
	case -EROFS:
		return "it is read-only";
	default:
		return strerror(-err);
	}
}

static void add_error(struct json_object *out, int err)
{
	if (err < 0)
		json_object_object_add(out, "error", json_object_new_string(why(err)));
}

static void answer_start(struct jobs *j, int (*run)(struct jobs *j), struct json_object *out)
{
	int err = 0;

	pthread_mutex_lock(&j->lock);
	if (j->at_work) {
		json_object_object_add(out, "busy", json_object_new_boolean(true));
	} else {
		err = start(j, run);
		if (err == 0)
			json_object_object_add(out, "job", json_object_new_int((int)j->number));
	}
	pthread_mutex_unlock(&j->lock);
	add_error(out, err);
}

static void answer_job(struct jobs *j, unsigned number, struct json_object *out)
{
	bool known, done;
	int err = 0;

	pthread_mutex_lock(&j->lock);
	known = number <= j->number && j->number - number < NR_RESULTS;
	done = known && !(number == j->number && j->at_work);
	if (done)
		err = j->results[number % NR_RESULTS];
	pthread_mutex_unlock(&j->lock);
	json_object_object_add(out, "done", json_object_new_boolean(done || !known));
	add_error(out, known ? err : -ESRCH);
}

bool jobs_answer(struct jobs *j, const char *line, struct json_object *out)
{
	unsigned number;

	for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++)
		if (strcmp(line, runs[i].line) == 0) {
			answer_start(j, runs[i].run, out);
			return true;
		}
	if (strcmp(line, "thaw") == 0) {
		add_error(out, thaw(j));
		return true;
	}
	if (sscanf(line, "job %u", &number) != 1)
		return false;
	answer_job(j, number, out);
	return true;
}

void jobs_thaw(struct jobs *j)
{
	if (j != NULL && thaw(j) == 0)
		syslog(LOG_NOTICE, "thawed, as the mount ends");
}

int jobs_create(struct fs *fs, struct session *session, dev_t mount_dev, struct jobs **out)
{
	struct jobs *j = calloc(1, sizeof(*j));

	if (j == NULL)
		return -ENOMEM;
	j->fs = fs;
	j->session = session;
	j->dev = mount_dev;
	pthread_mutex_init(&j->lock, NULL);
	*out = j;
	return 0;
}

void jobs_destroy(struct jobs *j)
{
	if (j == NULL)
		return;
	jobs_thaw(j);
	if (j->has_thread)
		pthread_join(j->thread, NULL);
	jobs_thaw(j); /* what it may have frozen just now */
	pthread_mutex_destroy(&j->lock);
	free(j);
}
