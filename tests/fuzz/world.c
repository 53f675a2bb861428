/* world.c - see world.h. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>
#include "fz.h"
#include "world.h"

#define THREADS_MAX 8U
#define FDS_MAX     64
#define FD_BASE     1000000 /* no real one is as large */
#define LOOK_NS     2000U   /* a look at the clock takes so long */
#define START_S     1000

int __wrap_pthread_create(
	pthread_t *out, const pthread_attr_t *attr, void *(*start)(void *), void *arg);
int __wrap_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_setname_np(pthread_t thread, const char *name);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_nanosleep(const struct timespec *ts, struct timespec *left);
int __wrap_poll(struct pollfd *fds, nfds_t nr, int timeout_ms);
int __wrap_eventfd(unsigned count, int flags);
int __wrap_eventfd_read(int fd, eventfd_t *count);
int __wrap_eventfd_write(int fd, eventfd_t count);
ssize_t __wrap_read(int fd, void *buf, size_t bytes);
ssize_t __wrap_write(int fd, const void *buf, size_t bytes);
int __wrap_close(int fd);
void __wrap_syslog(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));

static struct {
	struct world_ops ops;
	uint64_t now_ns;
	bool fail_next;
	struct {
		void *(*start)(void *);
		void *arg;
		bool joined, ended;
	} thread[THREADS_MAX];
	unsigned nr_threads;
	int turn;    /* whose, -1: the opener's */
	bool ending; /* it must end */
	bool polled; /* it has been in poll() in this turn */
	jmp_buf rest;
	struct {
		bool open;
		uint64_t count;
	} fd[FDS_MAX];
} w;

void world_begin(const struct world_ops *ops)
{
	memset(&w, 0, sizeof(w));
	w.ops = *ops;
	w.now_ns = START_S * 1000000000ULL;
	w.turn = -1;
}

void world_end(void)
{
	for (unsigned i = 0; i < w.nr_threads; i++)
		FZ_CHECK(w.thread[i].joined, "thread %u is left", i);
	for (int i = 0; i < FDS_MAX; i++)
		FZ_CHECK(!w.fd[i].open, "a descriptor is left");
}

void world_fail_next(void)
{
	w.fail_next = true;
}

static bool fails(void)
{
	bool now = w.fail_next;

	w.fail_next = false;
	return now;
}

/* --- threads --- */

unsigned world_nr_threads(void)
{
	return w.nr_threads;
}

static void run(unsigned thread)
{
	w.turn = (int)thread;
	w.polled = false;
	if (setjmp(w.rest) == 0) {
		(void)w.thread[thread].start(w.thread[thread].arg);
		w.thread[thread].ended = true;
	}
	w.turn = -1;
}

void world_turn(unsigned thread)
{
	if (w.turn == -1 && thread < w.nr_threads && !w.thread[thread].ended)
		run(thread);
}

void world_rest(void)
{
	if (w.turn != -1 && !w.ending)
		longjmp(w.rest, 1);
}

bool world_is_ending(void)
{
	return w.ending;
}

int __wrap_pthread_create(
	pthread_t *out, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
	(void)attr;
	if (fails())
		return EAGAIN;
	FZ_CHECK(w.nr_threads < THREADS_MAX, "threads without end");
	w.thread[w.nr_threads].start = start;
	w.thread[w.nr_threads].arg = arg;
	*out = ++w.nr_threads;
	return 0;
}

int __wrap_pthread_join(pthread_t thread, void **result)
{
	unsigned i = (unsigned)thread - 1;

	(void)result;
	FZ_CHECK(i < w.nr_threads && !w.thread[i].joined && w.turn == -1, "a join of nobody");
	w.thread[i].joined = true;
	w.ending = true;
	if (!w.thread[i].ended)
		run(i);
	w.ending = false;
	return 0;
}

int __wrap_pthread_setname_np(pthread_t thread, const char *name)
{
	(void)thread;
	(void)name;
	return 0;
}

/* --- time --- */

void world_pass_us(uint64_t us)
{
	w.now_ns += us * 1000;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
	(void)clock;
	w.now_ns += LOOK_NS;
	*ts = (struct timespec){.tv_sec = (time_t)(w.now_ns / 1000000000),
		.tv_nsec = (long)(w.now_ns % 1000000000)};
	return 0;
}

/* Only those who poll for want of interrupts nap; for them time flies. */
int __wrap_nanosleep(const struct timespec *ts, struct timespec *left)
{
	(void)ts;
	(void)left;
	world_pass_us(50000);
	if (w.turn == -1)
		w.ops.idle(w.ops.arg);
	return 0;
}

/* --- descriptors: eventfds, all of them --- */

static int index_of(int fd)
{
	int i = fd - FD_BASE;

	FZ_CHECK(i >= 0 && i < FDS_MAX && w.fd[i].open, "descriptor %d is not open", fd);
	return i;
}

bool world_is_readable(int fd)
{
	return w.fd[index_of(fd)].count > 0;
}

void world_signal(int fd)
{
	w.fd[index_of(fd)].count++;
}

int __wrap_eventfd(unsigned count, int flags)
{
	int i = 0;

	(void)flags;
	while (i < FDS_MAX && w.fd[i].open)
		i++;
	if (i == FDS_MAX || fails()) {
		errno = EMFILE;
		return -1;
	}
	w.fd[i].open = true;
	w.fd[i].count = count;
	return FD_BASE + i;
}

int __wrap_eventfd_read(int fd, eventfd_t *count)
{
	return __wrap_read(fd, count, sizeof(*count)) == sizeof(*count) ? 0 : -1;
}

int __wrap_eventfd_write(int fd, eventfd_t count)
{
	return __wrap_write(fd, &count, sizeof(count)) == sizeof(count) ? 0 : -1;
}

ssize_t __wrap_read(int fd, void *buf, size_t bytes)
{
	int i = index_of(fd);

	if (bytes < 8 || w.fd[i].count == 0) {
		errno = bytes < 8 ? EINVAL : EAGAIN;
		return -1;
	}
	memcpy(buf, &w.fd[i].count, 8);
	w.fd[i].count = 0;
	return 8;
}

ssize_t __wrap_write(int fd, const void *buf, size_t bytes)
{
	uint64_t add;
	int i = index_of(fd);

	if (bytes != 8) {
		errno = EINVAL;
		return -1;
	}
	memcpy(&add, buf, 8);
	w.fd[i].count += add;
	return 8;
}

int __wrap_close(int fd)
{
	w.fd[index_of(fd)].open = false;
	return 0;
}

static int look(struct pollfd *fds, nfds_t nr)
{
	int n = 0;

	for (nfds_t i = 0; i < nr; i++) {
		fds[i].revents = world_is_readable(fds[i].fd) ? POLLIN : 0;
		n += fds[i].revents != 0;
	}
	return n;
}

/* A thread waits at most once in a turn: for its time to pass, or for ever. */
int __wrap_poll(struct pollfd *fds, nfds_t nr, int timeout_ms)
{
	int n = look(fds, nr);

	if (n > 0 || timeout_ms == 0)
		return n;
	if (w.turn != -1) {
		if (timeout_ms < 0 || w.polled)
			world_rest();
		w.polled = true;
		world_pass_us((uint64_t)timeout_ms * 1000);
		return 0;
	}
	w.ops.idle(w.ops.arg);
	n = look(fds, nr);
	if (n == 0)
		world_pass_us(timeout_ms < 0 || timeout_ms > 1000 ? 1000000
								  : (uint64_t)timeout_ms * 1000);
	return n;
}

/* --- messages: are their arguments what the format says? --- */

void __wrap_syslog(int priority, const char *format, ...)
{
	char text[1024];
	va_list args;

	(void)priority;
	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
}
