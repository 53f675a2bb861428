/* world.h - what the driver sees of the machine, in one thread and without time.
 *
 * The driver's objects are linked so that its threads, clock, sleeps, descriptors and messages come
 * here (--wrap). Its threads are functions that are called when the fuzzer wants them to have a
 * turn: one returns, or leaves by world_rest() where it would sleep. The clock goes on when it is
 * asked, and with each sleep. Every run sees the same. */
#ifndef VBLKFS_FUZZ_WORLD_H
#define VBLKFS_FUZZ_WORLD_H
#include <stdbool.h>
#include <stdint.h>

struct world_ops {
	void (*idle)(void *arg); /* the thread that opened the disk sleeps */
	void *arg;
};

void world_begin(const struct world_ops *ops);
void world_end(void);       /* checks that no thread and no descriptor is left */
void world_fail_next(void); /* the next thread or descriptor can't be had */

unsigned world_nr_threads(void);  /* since the beginning */
void world_turn(unsigned thread); /* by its number; nothing if it has ended */
/* By what a thread waits in: end its turn. If it is to end, or it is the opener's: returns. */
void world_rest(void);
bool world_is_ending(void); /* the thread whose turn it is must end: somebody joins it */
bool world_is_readable(int fd);
void world_signal(int fd); /* an eventfd, by the kernel */
void world_pass_us(uint64_t us);
#endif
