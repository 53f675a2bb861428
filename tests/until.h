/* until.h - how a test waits for what another thread does: for the state that it is about, as long as
 * that takes. One that never comes ends with the test's time limit, and Check names the line. */
#ifndef VBLKFS_TESTS_UNTIL_H
#define VBLKFS_TESTS_UNTIL_H
#include <check.h>
#include <unistd.h>

#define wait_until(condition)              \
	do {                               \
		mark_point();              \
		while (!(condition))       \
			(void)usleep(100); \
	} while (0)
#endif
