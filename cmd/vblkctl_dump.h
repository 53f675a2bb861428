/* vblkctl_dump.h - the two ways in which vblkctl dump shows a document. */
#ifndef VBLKFS_VBLKCTL_DUMP_H
#define VBLKFS_VBLKCTL_DUMP_H
#include "../fusefs/dump.h"

/* Text goes to standard output as it comes. */
struct dump_out *dump_text_create(void); /* NULL: no memory */
void dump_text_destroy(struct dump_out *o);

/* JSON is collected. */
struct json_object;
struct dump_out *dump_json_create(void);
/* The document, the caller's to put; NULL: none was begun. */
struct json_object *dump_json_destroy(struct dump_out *o);
#endif
