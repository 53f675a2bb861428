/* until.h - how a test waits for what another thread does: for the state that it is about, as long as
 * that takes. One that never comes ends with the test's time limit, and Check names the line. */
#ifndef VBLKFS_TESTS_UNTIL_H
#define VBLKFS_TESTS_UNTIL_H
#include <check.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#define wait_until(condition)              \
	do {                               \
		mark_point();              \
		while (!(condition))       \
			(void)usleep(100); \
	} while (0)

/* That something took long enough is a fact; where it took too long the machine may have been busy: let
 * it try again. */
static inline uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}
#endif
