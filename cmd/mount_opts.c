/* mount_opts.c - every option is in one of the tables here; what is in none is refused. */
#include <errno.h>
#include <libmount/libmount.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "mount_opts.h"
#include "../fusefs/session.h"

/* Handed on to mount(2) and libfuse. */
static const char *const kernel_flags[] = {"rw", "ro", "suid", "nosuid", "dev", "nodev", "exec",
	"noexec", "sync", "async", "dirsync", "atime", "noatime"};
static const char *const kernel_values[] = {"context", "fscontext", "defcontext", "rootcontext"};

/* For mount(8), systemd and others: no meaning here. A trailing * stands for the rest of the name.
 * Times of last access are never changed by reading, so the options about them change nothing. */
static const char *const swallowed[] = {"defaults", "auto", "noauto", "user", "nouser", "users",
	"nousers", "owner", "noowner", "group", "nogroup", "nofail", "_netdev", "comment", "x-*",
	"X-*", "relatime", "norelatime", "strictatime", "nostrictatime", "diratime", "nodiratime",
	"lazytime", "nolazytime", "iversion", "noiversion", "mand", "nomand", "silent", "loud",
	"default_permissions"};

static const struct number {
	const char *name;
	unsigned min, max;
	size_t at; /* in struct mount_opts */
	bool power_of_two;
} numbers[] = {
	{"commit", 1, 300, offsetof(struct mount_opts, commit_s), false},
	{"cache", 1, 65536, offsetof(struct mount_opts, cache_mib), false},
	{"workers", 1, SESSION_WORKERS_MAX, offsetof(struct mount_opts, workers), false},
	{"slots", 1, SESSION_SLOTS_MAX, offsetof(struct mount_opts, slots), false},
	{"queue-size", 2, 32768, offsetof(struct mount_opts, queue_size), true},
	{"timeout", 0, 86400, offsetof(struct mount_opts, timeout_s), false},
	{"spin_us", 0, 1000000, offsetof(struct mount_opts, spin_us), false},
};

static const struct flag {
	const char *name;
	bool value;
	size_t at; /* in struct mount_opts */
} flags[] = {
	{"poll", true, offsetof(struct mount_opts, poll_only)},
	{"barrier", false, offsetof(struct mount_opts, no_barrier)},
	{"nobarrier", true, offsetof(struct mount_opts, no_barrier)},
	{"writethrough", true, offsetof(struct mount_opts, write_through)},
	{"queue-reset", true, offsetof(struct mount_opts, queue_reset)},
	{"allow_other", true, offsetof(struct mount_opts, allow_other)},
	{"noallow_other", false, offsetof(struct mount_opts, allow_other)},
};

#define NR(array) (sizeof(array) / sizeof((array)[0]))

static bool matches(const char *name, const char *pattern)
{
	size_t n = strcspn(pattern, "*");

	return pattern[n] == '*' ? strncmp(name, pattern, n) == 0 : strcmp(name, pattern) == 0;
}

static bool is_in(const char *name, const char *const *table, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		if (matches(name, table[i]))
			return true;
	return false;
}

static int bad(char *err, size_t err_bytes, const char *name, const char *why)
{
	snprintf(err, err_bytes, "option %s: %s", name, why);
	return -EINVAL;
}

static int set_number(struct mount_opts *o, const struct number *n, const char *value, char *err,
	size_t err_bytes)
{
	char why[64], *end;
	unsigned long v;

	errno = 0;
	v = strtoul(value, &end, 10);
	if (value[0] < '0' || value[0] > '9' || *end != '\0' || errno != 0 || v < n->min ||
		v > n->max || (n->power_of_two && (v & (v - 1)) != 0)) {
		snprintf(why, sizeof(why), "a %s from %u to %u is wanted",
			n->power_of_two ? "power of two" : "number", n->min, n->max);
		return bad(err, err_bytes, n->name, why);
	}
	*(unsigned *)((char *)o + n->at) = (unsigned)v;
	return 0;
}

static int set_errors(struct mount_opts *o, const char *value, char *err, size_t err_bytes)
{
	static const char *const names[] = {
		[FS_ERRORS_REMOUNT_RO] = "remount-ro",
		[FS_ERRORS_CONTINUE] = "continue",
		[FS_ERRORS_SHUTDOWN] = "shutdown",
	};

	for (size_t i = 0; i < NR(names); i++)
		if (strcmp(value, names[i]) == 0) {
			o->errors = (enum fs_errors)i;
			return 0;
		}
	return bad(err, err_bytes, "errors", "remount-ro, continue or shutdown is wanted");
}

static int set_kernel(struct mount_opts *o, const char *name, const char *value)
{
	if (strcmp(name, "ro") == 0)
		o->read_only = true;
	else if (strcmp(name, "rw") == 0)
		o->read_only = false;
	return mnt_optstr_append_option(&o->kernel, name, value);
}

static int add_one(struct mount_opts *o, const char *name, const char *value, bool sloppy,
	char *err, size_t err_bytes)
{
	for (size_t i = 0; i < NR(numbers); i++)
		if (strcmp(name, numbers[i].name) == 0)
			return set_number(o, &numbers[i], value ? value : "", err, err_bytes);
	if (strcmp(name, "errors") == 0)
		return set_errors(o, value ? value : "", err, err_bytes);
	for (size_t i = 0; value == NULL && i < NR(flags); i++)
		if (strcmp(name, flags[i].name) == 0) {
			*(bool *)((char *)o + flags[i].at) = flags[i].value;
			return 0;
		}
	if (is_in(name, value ? kernel_values : kernel_flags,
		    value ? NR(kernel_values) : NR(kernel_flags)))
		return set_kernel(o, name, value);
	if (strcmp(name, "remount") == 0)
		return bad(err, err_bytes, name, "not possible; umount, then mount again");
	if (is_in(name, swallowed, NR(swallowed)) || sloppy)
		return 0;
	return bad(err, err_bytes, name, "unknown");
}

void mount_opts_init(struct mount_opts *o)
{
	*o = (struct mount_opts){.spin_us = -1, .allow_other = geteuid() == 0};
	/* libfuse begins with nosuid,nodev; mount(8) says only what differs from its own defaults.
	 */
	if (geteuid() == 0)
		o->kernel = strdup("suid,dev");
}

int mount_opts_add(struct mount_opts *o, const char *list, bool sloppy, char *err, size_t err_bytes)
{
	char *copy = strdup(list), *rest = copy, *name, *value;
	size_t name_bytes, value_bytes;
	int res = 0;

	if (copy == NULL)
		return -ENOMEM;
	/* It knows quotes: context="system_u:object_r:x:s0:c1,c2". */
	while (res == 0 &&
		mnt_optstr_next_option(&rest, &name, &name_bytes, &value, &value_bytes) == 0) {
		char *n = strndup(name, name_bytes);
		char *v = value != NULL ? strndup(value, value_bytes) : NULL;

		if (n == NULL || (value != NULL && v == NULL))
			res = -ENOMEM;
		else
			res = add_one(o, n, v, sloppy, err, err_bytes);
		free(n);
		free(v);
	}
	if (res == -ENOMEM)
		snprintf(err, err_bytes, "%s", strerror(ENOMEM));
	free(copy);
	return res;
}

void mount_opts_free(struct mount_opts *o)
{
	free(o->kernel);
	o->kernel = NULL;
}
