/* synced_run.c - do the steps, several streams at a time, and write down what was acknowledged. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "synced.h"

#define NOISE_FILES 24U
#define NOISE_BYTES (200U << 10)

struct run {
	const struct synced_args *args;
	const char *dir;
	int marks_fd;
	atomic_bool stop, failed;
};

struct runner {
	struct run *run;
	struct stream stream;
	pthread_t thread;
	uint8_t *mark; /* MARK_BYTES, aligned for O_DIRECT */
};

static void give_up(struct run *run, const char *what, int err)
{
	if (!atomic_exchange(&run->failed, true))
		fprintf(stderr, "synced: %s: %s\n", what, strerror(-err));
	atomic_store(&run->stop, true);
}

/* Past this the step must survive. */
static int acknowledge(struct runner *r, uint64_t step)
{
	const struct stream *s = &r->stream;
	ssize_t n;

	mark_encode(s->seed, s->id, step, r->mark);
	n = pwrite(r->run->marks_fd, r->mark, MARK_BYTES, (off_t)s->id * MARK_BYTES);
	return n == MARK_BYTES ? 0 : n < 0 ? -errno : -EIO;
}

static void *do_steps(void *arg)
{
	struct runner *r = arg;
	const char *what = "a mark";
	char text[128];
	int err = 0;

	while (err == 0 && !atomic_load(&r->run->stop) && r->stream.step < r->run->args->nr_steps) {
		struct step step;

		step_next(&r->stream, &step);
		err = step_perform(&r->stream, &step, r->run->dir, &what);
		if (err == 0) {
			step_apply(&r->stream, &step);
			what = "a mark";
			err = acknowledge(r, step.number);
		} else {
			(void)snprintf(text, sizeof(text), "stream %u, step %" PRIu64 " (%s): %s",
				r->stream.id, step.number, step_name(step.kind), what);
			what = text;
		}
	}
	if (err < 0)
		give_up(r->run, what, err);
	return NULL;
}

/* What nobody syncs: it may be there after a crash or not, but it must do no harm. */
static void *make_noise(void *arg)
{
	struct run *run = arg;
	unsigned rng = (unsigned)run->args->seed;
	char path[STREAM_PATH_MAX], other[STREAM_PATH_MAX];
	char *buf = calloc(1, NOISE_BYTES);

	while (buf != NULL && !atomic_load(&run->stop)) {
		unsigned n = (unsigned)rand_r(&rng) % NOISE_FILES,
			 kind = (unsigned)rand_r(&rng) % 8;
		size_t bytes = (size_t)rand_r(&rng) % (kind == 0 ? NOISE_BYTES : 8192);
		int fd;

		(void)snprintf(path, sizeof(path), "%s/noise/n%u", run->dir, n);
		(void)snprintf(other, sizeof(other), "%s/noise/n%u", run->dir, n / 2);
		memset(buf, 'a' + (int)n, bytes);
		if (kind == 1)
			(void)unlink(path);
		else if (kind == 2)
			(void)rename(path, other);
		else if (kind == 3)
			(void)!truncate(path, (off_t)bytes);
		else if ((fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)) >= 0) {
			(void)!pwrite(fd, buf, bytes, rand_r(&rng) % 10000);
			close(fd);
		}
		usleep(2000);
	}
	free(buf);
	return NULL;
}

static int sync_path(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int err = fd < 0 || fsync(fd) < 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return err;
}

/* Its blocks are there before the first mark, so that a mark is one write of one block. */
static int open_marks(struct run *run, const char *path)
{
	static const uint8_t zeros[MARK_BYTES];
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int err;

	if (fd < 0)
		return -errno;
	for (unsigned i = 0; i < run->args->nr_streams; i++)
		if (write(fd, zeros, MARK_BYTES) != MARK_BYTES)
			return -EIO;
	err = fsync(fd) < 0 ? -errno : 0;
	close(fd);
	run->marks_fd = open(path, O_WRONLY | O_DIRECT | O_CLOEXEC);
	if (run->marks_fd < 0 && errno == EINVAL) /* tmpfs, which has no disk to go to */
		run->marks_fd = open(path, O_WRONLY | O_CLOEXEC);
	return err < 0 ? err : run->marks_fd < 0 ? -errno : 0;
}

static int make_dirs(const struct run *run)
{
	struct stream s = {0};
	char path[STREAM_PATH_MAX];
	int err;

	(void)snprintf(path, sizeof(path), "%s/noise", run->dir);
	if (mkdir(path, 0755) < 0)
		return -errno;
	for (s.id = 0; s.id < run->args->nr_streams; s.id++) {
		stream_dir_path(&s, run->dir, 0, path);
		if (mkdir(path, 0755) < 0)
			return -errno;
		err = sync_path(path);
		if (err < 0)
			return err;
	}
	return sync_path(run->dir);
}

static int start_runner(struct run *run, struct runner *r, unsigned id)
{
	int err = stream_init(&r->stream, run->args->seed, id);

	if (err < 0)
		return err;
	r->run = run;
	r->mark = aligned_alloc(MARK_BYTES, MARK_BYTES);
	if (r->mark == NULL)
		return -ENOMEM;
	err = acknowledge(r, 0);
	return err < 0 ? err : -pthread_create(&r->thread, NULL, do_steps, r);
}

static void wait_for_the_end(struct run *run)
{
	const struct timespec tick = {.tv_nsec = 50000000};

	for (uint64_t i = 0; i < run->args->seconds * 20 && !atomic_load(&run->stop); i++)
		nanosleep(&tick, NULL);
	atomic_store(&run->stop, true);
}

static int run_all(struct run *run)
{
	static struct runner r[STREAMS_MAX];
	pthread_t noise;
	uint64_t nr_steps = 0;
	unsigned nr = 0;
	int err = 0;

	for (; err == 0 && nr < run->args->nr_streams; nr++)
		err = start_runner(run, &r[nr], nr);
	if (err < 0) {
		give_up(run, "start", err);
		return 1;
	}
	err = pthread_create(&noise, NULL, make_noise, run);
	if (run->args->nr_steps == UINT64_MAX)
		wait_for_the_end(run);
	for (unsigned i = 0; i < nr; i++) {
		pthread_join(r[i].thread, NULL);
		nr_steps += r[i].stream.step;
	}
	atomic_store(&run->stop, true);
	if (err == 0)
		pthread_join(noise, NULL);
	printf("synced: seed %" PRIu64 ": %" PRIu64 " steps were acknowledged\n", run->args->seed,
		nr_steps);
	return atomic_load(&run->failed) ? 1 : 0;
}

int synced_run(const struct synced_args *a)
{
	struct run run = {.args = a, .dir = a->second};
	int err = make_dirs(&run);

	if (err == 0)
		err = open_marks(&run, a->first);
	if (err < 0) {
		give_up(&run, "cannot begin", err);
		return 1;
	}
	return run_all(&run);
}
