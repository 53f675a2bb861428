/* disk_json.h - an open disk, in JSON: for the daemon's answers and for vblkctl. */
#ifndef VBLKFS_DISK_JSON_H
#define VBLKFS_DISK_JSON_H
#include "blockdev.h"

struct json_object;

struct json_object *disk_json(struct blockdev *dev);       /* what every disk has */
struct json_object *disk_json_info(struct blockdev *dev);  /* and what is behind it */
struct json_object *disk_json_rings(struct blockdev *dev); /* the figures of each */

extern const char *const disk_json_ops[BLK_NR_OPS]; /* the ops' names in the figures */
/* Back from the figures of a ring; 0 is what it does not have. */
void disk_json_get_stat(struct json_object *ring, struct blk_stat *out);
#endif
