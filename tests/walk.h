/* walk.h - read all that a mounted filesystem holds, by its own calls. */
#ifndef VBLKFS_TESTS_WALK_H
#define VBLKFS_TESTS_WALK_H
#include <stdio.h>
#include "vblkfs.h"

/* Each directory, all data, targets and extended attributes. LIST (NULL: none) gets a line for each
 * file: path, mode, links, owner, size, checksums of its contents (with where they are) and of its
 * attributes. 0, or a negative errno with one line in ERR. */
int walk_all(struct fs_thread *t, struct blockdev *dev, FILE *list, char *err, size_t err_bytes);

/* Then make a file, write to it, remove it. */
int walk_write(struct fs_thread *t, struct blockdev *dev, char *err, size_t err_bytes);
#endif
