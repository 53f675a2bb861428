/* world.h - what the driver sees of the machine, in one thread and without time.
 *
 * The driver's objects are linked so that its threads, locks, clock, sleeps and messages come here,
 * and its descriptors and sockets to fds.h (--wrap). Its threads run when the fuzzer wants them to
 * have a turn, until they would sleep. The clock goes on when it is asked, and with each sleep. Every
 * run sees the same. */
#ifndef VBLKFS_FUZZ_WORLD_H
#define VBLKFS_FUZZ_WORLD_H
#include <stdbool.h>
#include <stdint.h>

struct world_ops {
	void (*idle)(void *arg); /* the thread that opened the disk sleeps */
	void *arg;
};

void world_begin(const struct world_ops *ops);
void world_end(void);       /* checks that no thread is left */
void world_fail_next(void); /* the next thread or descriptor can't be had */
bool world_fails(void);     /* is this the one? */

unsigned world_nr_threads(void); /* since the beginning */
void world_turn(
	unsigned thread); /* by its number; nothing if it has ended, or not for the opener */
/* By what a thread waits in: ends its turn, and returns in the next one. Nothing for the opener. */
void world_rest(void);
void world_wait(void); /* the same, but the opener idles */
bool world_is_thread(void);
void world_pass_us(uint64_t us);
uint64_t world_now_us(void);
unsigned world_nr_critical(void); /* messages, of LOG_CRIT */
#endif
