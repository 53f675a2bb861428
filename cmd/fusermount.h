/* fusermount.h - unmounting for who is not root, by fusermount3(1): it is setuid, and lets users
 * unmount what is theirs. */
#ifndef VBLKFS_FUSERMOUNT_H
#define VBLKFS_FUSERMOUNT_H
#include <stdbool.h>

/* 0 or a negative errno; -EPERM: it refused, and said why on standard error. */
int fusermount_unmount(const char *dir, bool lazy);
#endif
