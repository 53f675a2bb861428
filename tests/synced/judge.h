/* judge.h - hold a tree, as a crash left it, to what a stream was promised.
 *
 *  1. All steps up to the last acknowledged one are there: names, sizes, attributes, every byte.
 *  2. Of the next step there may be anything that it could have left on its way: a file that is
 *     replaced or unlinked is the old one whole or the new one whole (or gone); one that is moved is
 *     in exactly one place; of one that is written or cut each byte is old or new.
 *  3. There is no other name. */
#ifndef VBLKFS_JUDGE_H
#define VBLKFS_JUDGE_H
#include "steps.h"
#include "tree.h"

/* 0, or -1 and one line in WHY. S has applied what was acknowledged, and no more. */
int judge_stream(
	const struct stream *s, struct tree *tree, const char *base, char *why, size_t why_bytes);
#endif
