/* sysfs.h - small files of /sys and /proc, read and written whole. Errors are negative errnos. */
#ifndef VBLKFS_SYSFS_H
#define VBLKFS_SYSFS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The first line of the file that the format names, without its newline; cut to BYTES. */
int sysfs_read(char *out, size_t bytes, const char *path, ...)
	__attribute__((format(printf, 3, 4)));
int sysfs_read_u64(uint64_t *out, const char *path, ...) __attribute__((format(printf, 2, 3)));
int sysfs_write(const char *value, const char *path, ...) __attribute__((format(printf, 2, 3)));
/* Last component of where a symbolic link leads. */
int sysfs_link_name(char *out, size_t bytes, const char *path, ...)
	__attribute__((format(printf, 3, 4)));
/* The first entry of a directory whose name starts with PREFIX. */
int sysfs_child(char *out, size_t bytes, const char *prefix, const char *path, ...)
	__attribute__((format(printf, 4, 5)));
#endif
