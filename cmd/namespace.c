/* namespace.c - see namespace.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "namespace.h"

int namespace_enter(const char *ns)
{
	char path[PATH_MAX];
	int fd, err;

	if (ns[strspn(ns, "0123456789")] == '\0')
		snprintf(path, sizeof(path), "/proc/%s/ns/mnt", ns);
	else
		snprintf(path, sizeof(path), "%s", ns);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = setns(fd, CLONE_NEWNS) < 0 ? -errno : 0;
	close(fd);
	return err;
}
