/* run_dir.c - see run_dir.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "run_dir.h"

int run_dir(char *out, size_t bytes)
{
	const char *own = secure_getenv("XDG_RUNTIME_DIR");
	int n;

	if (geteuid() == 0)
		n = snprintf(out, bytes, "%s", RUN_DIR);
	else if (own != NULL && own[0] == '/')
		n = snprintf(out, bytes, "%s/vblkfs", own);
	else
		return -ENOENT;
	return n < (int)bytes ? 0 : -ENAMETOOLONG;
}
