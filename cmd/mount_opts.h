/* mount_opts.h - the options of a mount: vblkfs(8)'s own, and what mount(8) and fstab(5) pass
 * along. */
#ifndef VBLKFS_MOUNT_OPTS_H
#define VBLKFS_MOUNT_OPTS_H
#include <stdbool.h>
#include <stddef.h>
#include "vblkfs.h"

struct mount_opts {
	char *kernel; /* for mount(2), by commas; malloc'ed, NULL: none */
	bool read_only, allow_other, poll_only, no_barrier, write_through, queue_reset;
	unsigned commit_s, cache_mib, workers, slots, queue_size, timeout_s; /* 0: the default */
	int spin_us;                                                         /* -1: the default */
	enum fs_errors errors;
};

void mount_opts_init(struct mount_opts *o);
/* Take LIST, as after -o. SLOPPY: unknown options are no error. On failure ERR has a line. */
int mount_opts_add(
	struct mount_opts *o, const char *list, bool sloppy, char *err, size_t err_bytes);
void mount_opts_free(struct mount_opts *o);
#endif
