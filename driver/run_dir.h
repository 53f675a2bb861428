/* run_dir.h - where that is kept which need not outlive the machine's run. */
#ifndef VBLKFS_RUN_DIR_H
#define VBLKFS_RUN_DIR_H
#include <stddef.h>

#define RUN_DIR "/run/vblkfs" /* root's: sockets of daemons, records and locks of functions */

/* The caller's own: RUN_DIR, or $XDG_RUNTIME_DIR/vblkfs for who is not root. -ENOENT: there is none. */
int run_dir(char *out, size_t bytes);
#endif
