/* world.h - what the filesystem sees of the machine, made to repeat itself.
 *
 * The program is linked so that time, random numbers, syslog() and poll() of the filesystem under
 * test come here (--wrap): the wall clock stands still between operations, random numbers follow a
 * seed, messages are kept for the report, and a thread that sleeps in poll() can be told from one
 * that works. Only the real clock still drives time limits; world_pass() moves it forward. */
#ifndef VBLKFS_CRASH_WORLD_H
#define VBLKFS_CRASH_WORLD_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void world_reset(
	uint64_t seed); /* random numbers and the clocks begin anew, messages are dropped */
void world_tick(unsigned seconds); /* the wall clock */
void world_pass(unsigned seconds); /* both clocks */
bool world_sleeps(int fd);         /* a thread is in poll() for FD */

const char *world_messages(void); /* of LOG_ERR and worse since world_reset(), a line each */
bool world_has_messages(void);
void world_drop_messages(void);
bool world_replayed(void); /* since then a mount said that it replayed the journal */

uint64_t mix64(uint64_t *state); /* the next of a row of random numbers (splitmix64) */
#endif
