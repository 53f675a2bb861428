/* utab.h - what umount(8) knows of a mount from user space: /run/mount/utab. Best effort. */
#ifndef VBLKFS_UTAB_H
#define VBLKFS_UTAB_H

/* The mount at DIR is to be undone by umount.fuse.vblkfs.
 *
 * Without it umount(8), called by root with an absolute path, asks statfs(2) for the type, gets
 * "fuse" without the rest, and does not find the helper (util-linux 2.38). */
void utab_add(const char *source, const char *dir);
void utab_remove(const char *dir);
#endif
