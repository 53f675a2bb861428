/* vblkfs_jobs.c - what may take long on a running mount (vblkfs_jobs.h).
 *
 * Invariants
 *  1. While the filesystem is frozen the session parks what would change it: no worker waits, so
 *     reading goes on. Parking begins before the freeze and ends after it.
 *  2. A job's number rises by one; the results of the last few are kept for who asks. */
#include <errno.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <syslog.h>
#include <time.h>
#include "../fusefs/session.h"
#include "disk.h"
#include "virtio_blk.h"
#include "vblkfs_jobs.h"

#define NR_RESULTS    16U
#define QUIET_MS      200 /* without the kernel's figure: no write for so long, and all have come */
#define DRAIN_MAX_MS  60000 /* however busy it is */
#define DRAIN_LOOK_MS 1
#define ERASE_BYTES   (1ULL << 30)

struct job {
	const struct kind *kind;
	unsigned arg[2];
};

struct kind {
	const char *verb;
	int nr_args;
	int (*run)(struct jobs *j, const unsigned *arg);
	const char *(*why)(int err);
	const char *figure; /* what it is asked to tell, as a key; NULL: nothing */
};

struct result {
	const struct kind *kind;
	int err; /* 0, or negative */
	uint64_t figure;
};

struct jobs {
	struct blockdev *dev;
	struct fs *fs;
	struct session *session;
	atomic_bool ending;
	dev_t mount_dev;
	pthread_mutex_t lock; /* guards all below but thread; not .job while it is at work */
	unsigned number;      /* of the job at work, or of the last one */
	bool at_work;
	struct job job;
	uint64_t figure;                   /* the job's, while it is at work */
	struct result results[NR_RESULTS]; /* by number */
	bool has_thread;                   /* to be joined */
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

	snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/waiting", minor(j->mount_dev));
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

static int run_sync(struct jobs *j, const unsigned *arg)
{
	struct fs_thread *t;
	int err;

	(void)arg;
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

static int run_freeze(struct jobs *j, const unsigned *arg)
{
	int err;

	(void)arg;
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

static int run_shutdown(struct jobs *j, const unsigned *arg)
{
	(void)arg;
	return fs_shutdown(j->fs, false);
}

static int run_shutdown_flush(struct jobs *j, const unsigned *arg)
{
	(void)arg;
	return fs_shutdown(j->fs, true);
}

static const char *why_of_fs(int err)
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

/* ---- trim ---- */

/* In steps, so that an unmount waits for no more than one. */
static int erase_free(struct jobs *j, struct fs_thread *t)
{
	int err = 0;

	for (uint64_t at = 0; err == 0; at += ERASE_BYTES) {
		uint64_t erased = 0;

		err = atomic_load(&j->ending) ? -ECANCELED
					      : fs_trim(t, at, ERASE_BYTES, 0, true, &erased);
		j->figure += erased;
		if (err == -EINVAL && at > 0) /* past the end */
			return 0;
	}
	return err;
}

static int run_trim_secure(struct jobs *j, const unsigned *arg)
{
	struct fs_thread *t;
	int err = fs_thread_open(j->fs, &t);

	(void)arg;
	if (err < 0)
		return err;
	err = erase_free(j, t);
	fs_thread_close(t);
	return err;
}

static const char *why_of_trim(int err)
{
	switch (err) {
	case -EOPNOTSUPP:
		return "the disk can't erase securely";
	case -ECANCELED:
		return "it is being unmounted: not all that is free was erased";
	default:
		return why_of_fs(err);
	}
}

/* ---- the device, between two of its requests ---- */

static int run_reset(struct jobs *j, const unsigned *arg)
{
	(void)arg;
	return vblk_reset_disk(j->dev);
}

static int run_reset_queue(struct jobs *j, const unsigned *arg)
{
	return vblk_reset_queue(j->dev, arg[0], arg[1], false);
}

static int run_reset_queue_force(struct jobs *j, const unsigned *arg)
{
	return vblk_reset_queue(j->dev, arg[0], arg[1], true);
}

static int run_cache_writeback(struct jobs *j, const unsigned *arg)
{
	(void)arg;
	return vblk_set_cache(j->dev, true);
}

static int run_cache_writethrough(struct jobs *j, const unsigned *arg)
{
	(void)arg;
	return vblk_set_cache(j->dev, false);
}

static const char *why_of_device(int err)
{
	switch (err) {
	case -EOPNOTSUPP:
		return "this disk can't do that; 'vblkctl info' shows what it can";
	case -EAGAIN:
		return "the back-end is gone; try again when the next is there";
	case -ETIMEDOUT:
		return "the device does not finish what it has";
	default:
		return strerror(-err);
	}
}

static const char *why_of_queue(int err)
{
	switch (err) {
	case -EINVAL:
		return "there is no such queue, or it can't have so many entries: a power of two, "
		       "from 4 to the max_size that 'vblkctl info --json' shows";
	case -ETIMEDOUT:
		return "the device did not finish what it has of that queue; 'vblkctl reset' "
		       "without --queue resets the device (and see --force)";
	case -ENOMEM:
		return "it was reset, but there is no DMA memory for that size";
	case -ECANCELED:
		return "the device can't reset that queue alone and was reset whole: the queue has "
		       "as many entries as before";
	default:
		return why_of_device(err);
	}
}

/* ---- jobs ---- */

static const struct kind kinds[] = {
	{"sync", 0, run_sync, why_of_fs, NULL},
	{"freeze", 0, run_freeze, why_of_fs, NULL},
	{"shutdown", 0, run_shutdown, why_of_fs, NULL},
	{"shutdown-flush", 0, run_shutdown_flush, why_of_fs, NULL},
	{"trim-secure", 0, run_trim_secure, why_of_trim, "erased_bytes"},
	{"reset", 0, run_reset, why_of_device, NULL},
	{"reset-queue", 2, run_reset_queue, why_of_queue, NULL},
	{"reset-queue-force", 2, run_reset_queue_force, why_of_queue, NULL},
	{"cache-writeback", 0, run_cache_writeback, why_of_device, NULL},
	{"cache-writethrough", 0, run_cache_writethrough, why_of_device, NULL},
};

/* VERB, and its numbers. */
static bool parse(const char *line, struct job *out)
{
	char verb[32];
	int n = sscanf(line, "%31s %u %u", verb, &out->arg[0], &out->arg[1]);

	for (size_t i = 0; n > 0 && i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(verb, kinds[i].verb) == 0 && n - 1 == kinds[i].nr_args) {
			out->kind = &kinds[i];
			return true;
		}
	return false;
}

static void *job_main(void *arg)
{
	struct jobs *j = arg;
	int err = j->job.kind->run(j, j->job.arg);

	pthread_mutex_lock(&j->lock);
	j->results[j->number % NR_RESULTS] = (struct result){j->job.kind, err, j->figure};
	j->at_work = false;
	pthread_mutex_unlock(&j->lock);
	return NULL;
}

/* Caller holds the lock. */
static int start(struct jobs *j, const struct job *job)
{
	int err;

	if (j->has_thread)
		pthread_join(j->thread, NULL);
	j->has_thread = false;
	j->job = *job;
	j->figure = 0;
	j->number++;
	j->at_work = true;
	err = -pthread_create(&j->thread, NULL, job_main, j);
	j->has_thread = err == 0;
	j->at_work = err == 0;
	return err;
}

static void add_error(struct json_object *out, const char *why)
{
	json_object_object_add(out, "error", json_object_new_string(why));
}

static void answer_start(struct jobs *j, const struct job *job, struct json_object *out)
{
	int err = 0;

	pthread_mutex_lock(&j->lock);
	if (j->at_work) {
		json_object_object_add(out, "busy", json_object_new_boolean(true));
	} else {
		err = start(j, job);
		if (err == 0)
			json_object_object_add(out, "job", json_object_new_int((int)j->number));
	}
	pthread_mutex_unlock(&j->lock);
	if (err < 0)
		add_error(out, strerror(-err));
}

static void answer_job(struct jobs *j, unsigned number, struct json_object *out)
{
	struct result r = {0};
	bool known, done;

	pthread_mutex_lock(&j->lock);
	known = number <= j->number && j->number - number < NR_RESULTS;
	done = known && !(number == j->number && j->at_work);
	if (done)
		r = j->results[number % NR_RESULTS];
	pthread_mutex_unlock(&j->lock);
	json_object_object_add(out, "done", json_object_new_boolean(done || !known));
	if (!known)
		add_error(out, strerror(ESRCH));
	else if (r.err < 0)
		add_error(out, r.kind->why(r.err));
	else if (r.kind != NULL && r.kind->figure != NULL)
		json_object_object_add(out, r.kind->figure, json_object_new_uint64(r.figure));
}

bool jobs_answer(struct jobs *j, const char *line, struct json_object *out)
{
	struct job job;
	unsigned number;
	int err;

	if (parse(line, &job)) {
		answer_start(j, &job, out);
		return true;
	}
	if (strcmp(line, "thaw") == 0) {
		err = thaw(j);
		if (err < 0)
			add_error(out, why_of_fs(err));
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

int jobs_create(struct blockdev *dev, struct fs *fs, struct session *session, dev_t mount_dev,
	struct jobs **out)
{
	struct jobs *j = calloc(1, sizeof(*j));

	if (j == NULL)
		return -ENOMEM;
	j->dev = dev;
	j->fs = fs;
	j->session = session;
	j->mount_dev = mount_dev;
	pthread_mutex_init(&j->lock, NULL);
	*out = j;
	return 0;
}

void jobs_destroy(struct jobs *j)
{
	if (j == NULL)
		return;
	atomic_store(&j->ending, true);
	jobs_thaw(j);
	if (j->has_thread)
		pthread_join(j->thread, NULL);
	jobs_thaw(j); /* what it may have frozen just now */
	pthread_mutex_destroy(&j->lock);
	free(j);
}
