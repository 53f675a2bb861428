/* vblkctl.h - the verbs of vblkctl, one function each. Each gets its own argv and returns the exit
 * status: 0, 1 failure, 2 usage. */
#ifndef VBLKFS_VBLKCTL_H
#define VBLKFS_VBLKCTL_H
#include <stdbool.h>

struct json_object;

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct verb_args {
	bool json;
	bool force;
	int argc; /* what is left: addresses, mount points */
	char **argv;
};

int verb_list(const struct verb_args *a);
int verb_bind(const struct verb_args *a);
int verb_unbind(const struct verb_args *a);
int verb_stat(const struct verb_args *a);
int verb_dump(const struct verb_args *a);

/* Print O as one JSON document on standard output, and free it. */
int print_json(struct json_object *o);
const char *human_bytes(unsigned long long bytes, char *out, unsigned len); /* 128.0 MiB */
#endif
