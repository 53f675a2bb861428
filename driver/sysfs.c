#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "sysfs.h"

#define FORMAT_PATH(path, fmt)                          \
	do {                                            \
		va_list ap;                             \
		va_start(ap, fmt);                      \
		vsnprintf(path, sizeof(path), fmt, ap); \
		va_end(ap);                             \
	} while (0)

static int read_line(char *out, size_t bytes, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, out, bytes - 1);
	if (n < 0) {
		n = -errno;
		close(fd);
		return (int)n;
	}
	close(fd);
	out[n] = '\0';
	out[strcspn(out, "\n")] = '\0';
	return 0;
}

int sysfs_read(char *out, size_t bytes, const char *fmt, ...)
{
	char path[PATH_MAX];

	FORMAT_PATH(path, fmt);
	return read_line(out, bytes, path);
}

int sysfs_read_u64(uint64_t *out, const char *fmt, ...)
{
	char path[PATH_MAX], line[64], *end;
	uint64_t value;
	int err;

	FORMAT_PATH(path, fmt);
	err = read_line(line, sizeof(line), path);
	if (err < 0)
		return err;
	value = strtoull(line, &end, 0);
	if (end == line)
		return -EINVAL;
	*out = value;
	return 0;
}

int sysfs_write(const char *value, const char *fmt, ...)
{
	char path[PATH_MAX];
	size_t bytes = strlen(value);
	int fd, err = 0;

	FORMAT_PATH(path, fmt);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, value, bytes) != (ssize_t)bytes)
		err = errno != 0 ? -errno : -EIO;
	close(fd);
	return err;
}

int sysfs_link_name(char *out, size_t bytes, const char *fmt, ...)
{
	char path[PATH_MAX], target[PATH_MAX];
	const char *name;
	ssize_t n;

	FORMAT_PATH(path, fmt);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return -errno;
	target[n] = '\0';
	name = strrchr(target, '/');
	snprintf(out, bytes, "%s", name == NULL ? target : name + 1);
	return 0;
}

int sysfs_child(char *out, size_t bytes, const char *prefix, const char *fmt, ...)
{
	char path[PATH_MAX];
	struct dirent *e;
	int err = -ENOENT;
	DIR *dir;

	FORMAT_PATH(path, fmt);
	dir = opendir(path);
	if (dir == NULL)
		return -errno;
	while (err < 0 && (e = readdir(dir)) != NULL) {
		if (e->d_name[0] == '.' || strncmp(e->d_name, prefix, strlen(prefix)) != 0)
			continue;
		snprintf(out, bytes, "%s", e->d_name);
		err = 0;
	}
	closedir(dir);
	return err;
}
