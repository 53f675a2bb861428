/* namespace.h - mount(8)'s and umount(8)'s -N. */
#ifndef VBLKFS_NAMESPACE_H
#define VBLKFS_NAMESPACE_H

/* Go into the mount namespace NS: a path, or a process number. 0 or a negative errno. One thread
 * only. */
int namespace_enter(const char *ns);
#endif
