/* synced.h - the verbs of the program tools/synced.c. Each returns the exit status. */
#ifndef VBLKFS_SYNCED_H
#define VBLKFS_SYNCED_H
#include "steps.h"
#include "tree.h"

#define STREAMS_MAX 8U

struct synced_args {
	const char *first, *second; /* as the usage says */
	const char *base;           /* where the streams are, in the filesystem */
	uint64_t seed, nr_streams, seconds, nr_steps, nr_states;
};

struct streams {
	uint64_t seed; /* 0: no mark was seen */
	unsigned nr;
	struct stream s[STREAMS_MAX];
	bool begun[STREAMS_MAX];
};

int synced_run(const struct synced_args *a);
int synced_check(const struct synced_args *a);
int synced_image(const struct synced_args *a);
int synced_log(const struct synced_args *a);

/* Learn from BLOCK, of MARK_BYTES, if it is a mark: bring its stream to that step. */
int streams_learn(struct streams *all, const uint8_t *block);
void streams_free(struct streams *all);
uint64_t streams_steps(const struct streams *all); /* acknowledged, of all */
/* What fsck.vblkfs -n -f says of a disk that nobody has mounted. 0: nothing; -1 and one line in WHY. */
int check_disk(struct blockdev *dev, char *why, size_t why_bytes);
/* Hold what is in TREE to them. 0, or -1 and one line in WHY. */
int streams_judge(const struct streams *all, struct tree *tree, const char *base, char *why,
	size_t why_bytes);
#endif
