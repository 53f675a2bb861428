/* bar_guard.h - accesses to the registers of a function that was removed.
 *
 * The kernel takes the mapping of a removed function's BAR away, and the next access to it is a
 * SIGBUS. On a guarded page it reads all ones instead, as a bus without the function does, and a
 * store goes nowhere: so the driver's own checks for a lost device see it.
 *
 * The first bar_guard_add() installs a handler of SIGBUS, for the process, which hands on what is
 * not its own.
 *
 * Threads: any. Errors are negative errnos. */
#ifndef VBLKFS_BAR_GUARD_H
#define VBLKFS_BAR_GUARD_H

#define BAR_GUARD_BYTES 4096U /* of a page */

int bar_guard_add(void *page);     /* a forked child has no part in it, too */
void bar_guard_remove(void *page); /* before it is unmapped */
void bar_guard_blank(void *page);  /* one that was added reads ones from now on */
#endif
