/* checkpoint.h - committed transactions go home, and leave the journal's ring.
 *
 * All calls are by the commit thread, or while it does not run. */
#ifndef VBLKFS_CHECKPOINT_H
#define VBLKFS_CHECKPOINT_H
#include "journal.h"

struct checkpoint;

int checkpoint_create(
	struct fs *fs, struct blk_queue *q, struct journal *j, struct checkpoint **out);
void checkpoint_destroy(struct checkpoint *c); /* lets go of all bufs, at home or not */

/* Which of the blocks that TX freed have older versions in the ring: into tx->revoked. */
int checkpoint_find_revokes(struct checkpoint *c, struct tx *tx);
/* TX is durable, and this file's from now on. What it revoked will not be written home any more.
 * -ENOMEM: it is, but not all of it will go home: the tail must not move any more. */
int checkpoint_add(struct checkpoint *c, struct tx *tx);

bool checkpoint_is_empty(const struct checkpoint *c);
bool checkpoint_is_idle(const struct checkpoint *c); /* nothing is on its way home */
/* Is there something to do: because the ring or the cache fills up, or (ALL) because anything is
 * not at home? */
bool checkpoint_is_due(const struct checkpoint *c, bool all);
bool checkpoint_wants_flush(const struct checkpoint *c); /* before it can go on */
/* Do a piece of what is due: at most one batch of writes. Not while it wants a flush. */
int checkpoint_step(struct checkpoint *c, bool all);
void checkpoint_flushed(struct checkpoint *c);           /* after every FLUSH */
uint64_t checkpoint_nr_away(const struct checkpoint *c); /* blocks that are not at home */
#endif
