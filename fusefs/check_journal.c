/* check_journal.c - pass 0: what the journal has committed goes home, as at a mount.
 *
 * Checks: the journal's head; that its transactions make sense; that a clean filesystem has none.
 * Collects: nothing. Relies on: the geometry.
 *
 * replay.c does the work; with FSCK_NO it pins the images in the cache, where chk_read() finds
 * them. Without a head nobody knows where the ring begins, and older transactions must not be
 * replayed: what they changed may have been freed and be a file's contents by now. So the journal
 * begins anew, and the passes mend what was on its way. */
#include <errno.h>
#include "checker.h"
#include "journal.h"
#include "super.h"

static const char *head_fault(struct check *c, const uint8_t *page)
{
	const struct journal_head_disk *head = (const struct journal_head_disk *)page;
	bool salvage;
	const char *why = chk_fault(c, page, c->fs.journal_start, BT_JOURNAL_HEAD, 0, &salvage);

	if (why != NULL)
		return why;
	if (le64_get(head->tail) == 0 || le64_get(head->tail) >= c->fs.journal_blocks)
		return "leads outside of it";
	if (le64_get(head->tail_sequence) == 0 ||
		le64_get(head->tail_sequence) > JOURNAL_SEQUENCE_MAX)
		return "has an impossible sequence";
	return NULL;
}

/* The highest number of anything in the ring that may be taken for a record of ours. */
static int highest_sequence(struct check *c, uint64_t *out)
{
	*out = 1;
	for (uint64_t at = 1; at < c->fs.journal_blocks;) {
		uint64_t left = c->fs.journal_blocks - at;
		uint32_t nr = (uint32_t)(left < WINDOW_BLOCKS ? left : WINDOW_BLOCKS);
		int err = chk_read_run(c, c->fs.journal_start + at, nr, c->window);

		if (err < 0 && err != -EIO)
			return err;
		for (uint32_t i = 0; i < nr && err == 0; i++) {
			const struct block_head *head =
				(const void *)(c->window + (size_t)i * BLOCK_BYTES);
			uint64_t sequence = le64_get(head->sequence);

			if (memcmp(head->fs_uuid, c->fs.uuid, sizeof(c->fs.uuid)) == 0 &&
				le32_get(head->crc) == block_crc(head) && sequence > *out)
				*out = sequence;
		}
		at += nr;
	}
	return 0;
}

static int begin_anew(struct check *c)
{
	uint8_t *page = chk_page_get(c);
	uint64_t sequence;
	int err = highest_sequence(c, &sequence);

	if (err == 0) {
		journal_head_fill(&c->fs, (struct journal_head_disk *)page, 1, sequence + 2);
		err = chk_write(c, c->fs.journal_start, page);
	}
	chk_page_put(c, page);
	return err;
}

static int replay(struct check *c, uint64_t nr)
{
	int err;

	if (c->clean &&
		(nr == 0 || !chk_fix(c, P_JOURNAL_NOT_EMPTY, &(struct problem_at){.x = nr})))
		return 0;
	err = tx_replay(&c->t, &nr);
	c->out->journal_replayed = nr > 0;
	return err == 0 ? 0 : chk_fail(c, err, "cannot replay the journal: %s", strerror(-err));
}

int check_journal(struct check *c)
{
	uint8_t *page = chk_page_get(c);
	int err = chk_read(c, c->fs.journal_start, page);
	const char *why = err == -EIO ? "can't be read" : NULL;
	uint64_t nr = 0, nr_behind = 0;

	if (err == 0)
		why = head_fault(c, page);
	chk_page_put(c, page);
	if (err < 0 && err != -EIO)
		return err;
	if (why != NULL)
		return chk_fix(c, P_JOURNAL_HEAD,
			       &(struct problem_at){.block = c->fs.journal_start, .s = why})
			       ? begin_anew(c)
			       : 0;
	/* Looked at first: what can't be read there is damage, but a disk that fails when the images
	 * go home is none, and the journal must have them still at the next run. */
	err = tx_replay_scan(&c->t, &nr, c->clean ? NULL : &nr_behind);
	if (err == -EUCLEAN || err == -EIO)
		return chk_fix(c, P_JOURNAL_RECORD,
			       &(struct problem_at){.block = c->fs.journal_start})
			       ? begin_anew(c)
			       : 0;
	if (err == 0 && nr_behind > 0 &&
		!chk_fix(c, P_JOURNAL_BEHIND, &(struct problem_at){.x = nr_behind}))
		return 0;
	return err < 0 ? err : replay(c, nr);
}
