/* table.h - uthash, as everything here uses it: without memory HASH_ADD() adds nothing, where by
 * itself it would end the program. Ask table_has() after each. */
#ifndef VBLKFS_TABLE_H
#define VBLKFS_TABLE_H
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define table_has(elt) ((elt)->hh.tbl != NULL)
#endif
