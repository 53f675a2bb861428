/* fsck.h - for unit tests: run the check on a disk that nobody has mounted. */
#ifndef VBLKFS_TESTS_FSCK_H
#define VBLKFS_TESTS_FSCK_H
#include <stdio.h>
#include <string.h>
#include "memfs.h"

struct fsck_log { /* of one run: names of what was found, each with a blank after it */
	char names[4096];
	unsigned nr;
	bool loud;
};

static inline void fsck_report(void *arg, const struct fsck_problem *p, bool fixed)
{
	struct fsck_log *log = arg;
	size_t n = strlen(log->names);

	if (n + strlen(p->name) + 2 < sizeof(log->names))
		snprintf(log->names + n, sizeof(log->names) - n, "%s ", p->name);
	log->nr++;
	if (log->loud)
		printf("%s: %s%s%s\n", p->name, p->text, p->fixable ? "; " : "",
			fixed        ? "fixed"
			: p->fixable ? p->question
				     : "");
}

static inline int fsck_run(
	struct blockdev *dev, enum fsck_mode mode, struct fsck_log *log, struct fsck_result *out)
{
	const struct fsck_opts opts = {
		.mode = mode, .force = true, .report = fsck_report, .arg = log};
	int err;

	log->names[0] = '\0';
	log->nr = 0;
	err = fs_check(dev, &opts, out);
	if (err < 0)
		printf("fs_check: %s: %s\n", strerror(-err), out->error);
	return err;
}

/* Nothing is found. */
static inline void fsck_sound(struct blockdev *dev)
{
	struct fsck_log log = {.loud = true};
	struct fsck_result out;

	ck_assert_int_eq(fsck_run(dev, FSCK_NO, &log, &out), 0);
	ck_assert_msg(log.nr == 0, "found: %s", log.names);
	ck_assert_uint_eq(out.nr_problems, 0);
}
#endif
