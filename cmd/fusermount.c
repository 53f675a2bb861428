/* fusermount.c - see fusermount.h. */
#include <errno.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#include "fusermount.h"

int fusermount_unmount(const char *dir, bool lazy)
{
	char *argv[] = {"fusermount3", lazy ? "-uz" : "-u", "--", (char *)dir, NULL};
	int status, err;
	pid_t pid;

	err = -posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);
	if (err < 0)
		return err;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return status == 0 ? 0 : -EPERM;
}
