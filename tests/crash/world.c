/* world.c - time, random numbers, messages and sleep, under control (world.h). */
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <syslog.h>
#include <time.h>
#include "world.h"

#define FDS_MAX       1024
#define START_S       1700000000
#define MESSAGE_BYTES 2000

static atomic_long wall_s, passed_s;
static atomic_bool replayed;
static uint64_t random_state;
static atomic_bool asleep[FDS_MAX];
static pthread_mutex_t message_lock = PTHREAD_MUTEX_INITIALIZER;
static char messages[MESSAGE_BYTES];
static size_t message_bytes;

int __real_clock_gettime(clockid_t clock, struct timespec *ts);
int __real_poll(struct pollfd *fds, nfds_t nr, int timeout_ms);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_poll(struct pollfd *fds, nfds_t nr, int timeout_ms);
time_t __wrap_time(time_t *out);
ssize_t __wrap_getrandom(void *buf, size_t bytes, unsigned flags);
void __wrap_syslog(int priority, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

uint64_t mix64(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15U);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
	z = (z ^ z >> 27) * 0x94d049bb133111ebU;
	return z ^ z >> 31;
}

void world_reset(uint64_t seed)
{
	random_state = seed;
	atomic_store(&wall_s, START_S);
	world_drop_messages();
}

void world_tick(unsigned seconds)
{
	atomic_fetch_add(&wall_s, (long)seconds);
}

void world_pass(unsigned seconds)
{
	world_tick(seconds);
	atomic_fetch_add(&passed_s, (long)seconds);
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
	if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) {
		*ts = (struct timespec){.tv_sec = atomic_load(&wall_s)};
		return 0;
	}
	if (__real_clock_gettime(clock, ts) < 0)
		return -1;
	ts->tv_sec += atomic_load(&passed_s);
	return 0;
}

time_t __wrap_time(time_t *out)
{
	time_t now = atomic_load(&wall_s);

	if (out != NULL)
		*out = now;
	return now;
}

ssize_t __wrap_getrandom(void *buf, size_t bytes, unsigned flags)
{
	(void)flags;
	for (size_t at = 0; at < bytes; at += sizeof(uint64_t)) {
		uint64_t r = mix64(&random_state);

		memcpy((uint8_t *)buf + at, &r, bytes - at < sizeof(r) ? bytes - at : sizeof(r));
	}
	return (ssize_t)bytes;
}

/* The flag is down before anyone can see that the sleep is over: see world_sleeps()' users. */
int __wrap_poll(struct pollfd *fds, nfds_t nr, int timeout_ms)
{
	int fd = nr == 1 && fds[0].fd < FDS_MAX ? fds[0].fd : 0;
	int ret;

	atomic_store(&asleep[fd], true);
	ret = __real_poll(fds, nr, timeout_ms);
	atomic_store(&asleep[fd], false);
	return ret;
}

bool world_sleeps(int fd)
{
	return fd > 0 && fd < FDS_MAX && atomic_load(&asleep[fd]);
}

void __wrap_syslog(int priority, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (strstr(fmt, "replayed from the journal") != NULL)
		atomic_store(&replayed, true);
	if (LOG_PRI(priority) > LOG_ERR)
		return;
	pthread_mutex_lock(&message_lock);
	va_start(ap, fmt);
	n = vsnprintf(messages + message_bytes, MESSAGE_BYTES - message_bytes, fmt, ap);
	va_end(ap);
	if (n > 0 && message_bytes + (size_t)n + 2 < MESSAGE_BYTES) {
		message_bytes += (size_t)n;
		messages[message_bytes++] = '\n';
	}
	messages[message_bytes] = '\0';
	pthread_mutex_unlock(&message_lock);
}

const char *world_messages(void)
{
	return messages;
}

bool world_has_messages(void)
{
	bool has;

	pthread_mutex_lock(&message_lock);
	has = messages[0] != '\0';
	pthread_mutex_unlock(&message_lock);
	return has;
}

bool world_replayed(void)
{
	return atomic_load(&replayed);
}

void world_drop_messages(void)
{
	atomic_store(&replayed, false);
	pthread_mutex_lock(&message_lock);
	message_bytes = 0;
	messages[0] = '\0';
	pthread_mutex_unlock(&message_lock);
}
