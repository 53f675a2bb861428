/* journal.c - committed transactions go to the disk. */
#include <errno.h>
#include <stdlib.h>
#include "journal.h"

struct journal {
	struct fs *fs;
	struct blk_queue *q;
};

int journal_create(struct fs *fs, struct blk_queue *q, struct journal **out)
{
	struct journal *j = calloc(1, sizeof(*j));

	if (j == NULL)
		return -ENOMEM;
	j->fs = fs;
	j->q = q;
	*out = j;
	return 0;
}

void journal_destroy(struct journal *j)
{
	free(j);
}

uint32_t journal_tx_max(const struct journal *j)
{
	return (uint32_t)(j->fs->journal_blocks / 4);
}

int journal_commit(struct journal *j, struct tx *tx)
{
	int err = 0;

	for (struct tx_block *tb = tx->blocks; tb != NULL && err == 0; tb = tb->next) {
		struct block_head *head;

		if (tb->dropped)
			continue;
		err = tx_block_copy(j->fs, tb);
		if (err < 0)
			break;
		head = tb->image;
		head->sequence = le64_of(tx->sequence);
		block_seal(head);
		err = cache_write_raw(j->q, tb->block, 1, head);
		cache_page_free(j->fs, tb->image);
		tb->image = NULL;
	}
	return err;
}

int tx_replay(struct fs_thread *t)
{
	(void)t;
	return 0;
}
