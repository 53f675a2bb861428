/* streams.c - several streams, and what marks say of them (see synced.h). */
#include <errno.h>
#include <stdio.h>
#include "judge.h"
#include "synced.h"

static int begin(struct streams *all, uint64_t seed, unsigned id)
{
	int err = stream_init(&all->s[id], seed, id);

	if (err == 0) {
		all->begun[id] = true;
		all->seed = seed;
		all->nr++;
	}
	return err;
}

int streams_learn(struct streams *all, const uint8_t *block)
{
	uint64_t seed, step;
	unsigned id;
	int err = 0;

	if (!mark_decode(block, &seed, &id, &step))
		return 0;
	if (id >= STREAMS_MAX || (all->nr > 0 && seed != all->seed))
		return -EINVAL;
	if (!all->begun[id])
		err = begin(all, seed, id);
	while (err == 0 && all->s[id].step < step) {
		struct step next;

		step_next(&all->s[id], &next);
		step_apply(&all->s[id], &next);
	}
	return err;
}

void streams_free(struct streams *all)
{
	for (unsigned i = 0; i < STREAMS_MAX; i++)
		if (all->begun[i])
			stream_free(&all->s[i]);
	*all = (struct streams){0};
}

uint64_t streams_steps(const struct streams *all)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < STREAMS_MAX; i++)
		n += all->begun[i] ? all->s[i].step : 0;
	return n;
}

struct first_problem {
	char *why;
	size_t why_bytes;
};

static void keep_first(void *arg, const struct fsck_problem *problem, bool fixed)
{
	struct first_problem *f = arg;

	(void)fixed;
	if (f->why[0] == '\0')
		(void)snprintf(f->why, f->why_bytes, "fsck: %s", problem->text);
}

int check_disk(struct blockdev *dev, char *why, size_t why_bytes)
{
	struct first_problem first = {why, why_bytes};
	struct fsck_opts opts = {
		.mode = FSCK_NO, .force = true, .report = keep_first, .arg = &first};
	struct fsck_result result;
	int err;

	why[0] = '\0';
	err = fs_check(dev, &opts, &result);
	if (err < 0)
		(void)snprintf(why, why_bytes, "fsck: %s", result.error);
	return err < 0 || result.nr_problems > 0 ? -1 : 0;
}

int streams_judge(
	const struct streams *all, struct tree *tree, const char *base, char *why, size_t why_bytes)
{
	for (unsigned i = 0; i < STREAMS_MAX; i++)
		if (all->begun[i] && judge_stream(&all->s[i], tree, base, why, why_bytes) < 0)
			return -1;
	return 0;
}
