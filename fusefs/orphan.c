/* orphan.c - the list of inodes that a crash must not leave behind, and the thread that frees them.
 *
 * Invariants
 *  1. The list in memory and the one on the disk have the same inodes in the same order, from the
 *     same transaction on. New ones come first.
 *  2. A listed inode stays in memory (inode.c), so its neighbours can be found and changed.
 *  3. The thread holds a reference to each inode in its queue, or has taken it over to free it.
 *  4. What cannot be freed (the filesystem was shut, or is damaged there) stays listed: it is the
 *     next mount's, or fsck's. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <utlist.h>
#include "file.h"
#include "orphan.h"

struct orphans {
	struct inode *list; /* under fs->orphan_lock; utlist's DL_ by orphan_prev, orphan_next */

	pthread_mutex_t lock; /* leaf; guards all below */
	pthread_cond_t kicked;
	struct inode *queue; /* by kick_next, oldest first */
	bool working, stop;

	pthread_t thread;
	bool has_thread;
	struct fs_thread *t; /* the thread's */
};

/* ---- the list ---- */

static struct super_disk *super_of(struct fs *fs)
{
	return (struct super_disk *)fs->super->data;
}

static void set_head(struct fs *fs, uint64_t ino)
{
	pthread_mutex_lock(&fs->super->lock);
	super_of(fs)->orphan_head = le64_of(ino);
	pthread_mutex_unlock(&fs->super->lock);
}

/* Write NEXT into the slot, and FLAGS of an inode that is the caller's (NULL: its neighbour's,
 * whose flags stay). */
static void set_next(struct buf *b, struct inode_disk *disk, uint64_t next, const uint32_t *flags)
{
	pthread_mutex_lock(&b->lock);
	disk->orphan_next = le64_of(next);
	if (flags != NULL)
		disk->flags = le32_of(*flags);
	pthread_mutex_unlock(&b->lock);
}

int orphan_add(struct tx_handle *h, struct inode *inode)
{
	struct fs *fs = inode->fs;
	struct orphans *o = fs->orphans;
	struct inode_disk *disk;
	struct buf *b;
	int err;

	if (inode->flags & INODE_F_ORPHAN)
		return 0;
	pthread_mutex_lock(&fs->orphan_lock);
	err = inode_slot_join(h, inode->ino, &b, &disk);
	if (err < 0)
		goto unlock;
	err = tx_join(h, fs->super);
	if (err == 0) {
		inode->flags |= INODE_F_ORPHAN;
		set_next(b, disk, o->list == NULL ? 0 : o->list->ino, &inode->flags);
		set_head(fs, inode->ino);
		DL_PREPEND2(o->list, inode, orphan_prev, orphan_next);
	}
	cache_put(b);
unlock:
	pthread_mutex_unlock(&fs->orphan_lock);
	return err;
}

/* Let what leads to INODE lead to NEXT. */
static int unlink_prev(struct tx_handle *h, struct inode *inode, uint64_t next)
{
	struct fs *fs = inode->fs;
	struct inode_disk *disk;
	struct buf *b;
	int err;

	if (fs->orphans->list == inode) {
		err = tx_join(h, fs->super);
		if (err == 0)
			set_head(fs, next);
		return err;
	}
	err = inode_slot_join(h, inode->orphan_prev->ino, &b, &disk);
	if (err == 0) {
		set_next(b, disk, next, NULL);
		cache_put(b);
	}
	return err;
}

int orphan_remove(struct tx_handle *h, struct inode *inode)
{
	struct fs *fs = inode->fs;
	struct inode_disk *disk;
	struct buf *b;
	int err;

	if (!(inode->flags & INODE_F_ORPHAN))
		return 0;
	pthread_mutex_lock(&fs->orphan_lock);
	err = inode_slot_join(h, inode->ino, &b, &disk);
	if (err < 0)
		goto unlock;
	err = unlink_prev(h, inode, inode->orphan_next == NULL ? 0 : inode->orphan_next->ino);
	if (err == 0) {
		inode->flags &= ~INODE_F_ORPHAN;
		set_next(b, disk, 0, &inode->flags);
		DL_DELETE2(fs->orphans->list, inode, orphan_prev, orphan_next);
		inode->orphan_prev = inode->orphan_next = NULL;
	}
	cache_put(b);
unlock:
	pthread_mutex_unlock(&fs->orphan_lock);
	return err;
}

/* ---- the thread ---- */

void orphan_kick(struct inode *inode)
{
	struct orphans *o = inode->fs->orphans;

	pthread_mutex_lock(&o->lock);
	inode->kick_next = NULL;
	LL_APPEND2(o->queue, inode, kick_next);
	pthread_cond_signal(&o->kicked);
	pthread_mutex_unlock(&o->lock);
}

static struct inode *next_job(struct orphans *o)
{
	struct inode *inode;

	pthread_mutex_lock(&o->lock);
	o->working = false;
	while (o->queue == NULL && !o->stop)
		pthread_cond_wait(&o->kicked, &o->lock);
	inode = o->queue;
	if (inode != NULL) {
		LL_DELETE2(o->queue, inode, kick_next);
		o->working = true;
	}
	pthread_mutex_unlock(&o->lock);
	return inode;
}

static void do_job(struct fs_thread *t, struct inode *inode)
{
	if (inode->freeing) {
		(void)inode_free_all(t, inode); /* invariant 4 */
		return;
	}
	(void)file_truncate_finish(t, inode);
	inode_put(t, inode);
}

/* The mount ends: what only API callers still hold goes now. */
static void free_unlinked(struct fs_thread *t)
{
	struct orphans *o = t->fs->orphans;
	struct inode *inode, *tmp, *jobs = NULL;

	pthread_mutex_lock(&t->fs->orphan_lock);
	for (inode = o->list; inode != NULL; inode = inode->orphan_next)
		if (inode_take_over(inode))
			LL_PREPEND2(jobs, inode, kick_next);
	pthread_mutex_unlock(&t->fs->orphan_lock);
	LL_FOREACH_SAFE2(jobs, inode, tmp, kick_next)
	(void)inode_free_all(t, inode);
}

static void *orphan_main(void *arg)
{
	struct fs_thread *t = arg;
	struct inode *inode;

	while ((inode = next_job(t->fs->orphans)) != NULL)
		do_job(t, inode);
	free_unlinked(t);
	return NULL;
}

bool orphans_busy(struct fs *fs)
{
	struct orphans *o = fs->orphans;
	bool busy;

	pthread_mutex_lock(&o->lock);
	busy = o->has_thread && (o->working || o->queue != NULL);
	pthread_mutex_unlock(&o->lock);
	return busy;
}

void orphans_wait(struct fs_thread *t)
{
	while (orphans_busy(t->fs))
		blk_wait(t->q, 1);
}

/* ---- what a crash left ---- */

/* One inode of the list as it is found on the disk; its reference goes to the thread. */
static int load_one(struct fs_thread *t, uint64_t ino, uint64_t *next)
{
	struct orphans *o = t->fs->orphans;
	struct inode_disk *disk;
	struct inode *inode;
	struct buf *b;
	int err;

	err = inode_get(t, ino, &inode);
	if (err < 0)
		return err == -ESTALE
			       ? fs_corrupt(t->fs, 0, "orphan list: inode %llu is not in use",
					 (unsigned long long)ino)
			       : err;
	if (!(inode->flags & INODE_F_ORPHAN) || inode->orphan_prev != NULL ||
		(inode->nlink > 0 && !(inode->flags & INODE_F_TRUNCATING))) {
		inode_put(t, inode);
		return fs_corrupt(t->fs, 0,
			"orphan list: inode %llu does not belong there, or twice",
			(unsigned long long)ino);
	}
	err = inode_slot_get(t, ino, &b, &disk);
	if (err < 0) {
		inode_put(t, inode);
		return err;
	}
	*next = le64_get(disk->orphan_next);
	cache_put(b);
	DL_APPEND2(o->list, inode, orphan_prev, orphan_next);
	orphan_kick(inode);
	return 0;
}

/* Stops where the list is not sound: what is before that is freed, if the filesystem may still be
 * written. What could not be read is no such case: new orphans in front of half a list would make
 * the rest of it forgotten. */
static int load_list(struct fs_thread *t)
{
	uint64_t ino = le64_get(super_of(t->fs)->orphan_head);
	unsigned nr = 0;
	int err = 0;

	while (ino != 0 && err == 0) {
		err = load_one(t, ino, &ino);
		if (err == 0)
			nr++;
	}
	if (err < 0 && err != -EUCLEAN) {
		syslog(LOG_ERR, "%s: cannot read the orphan list: %s", t->fs->disk_name,
			strerror(-err));
		return err;
	}
	if (nr > 0)
		syslog(LOG_INFO, "%s: freeing %u inodes that were unlinked or cut short",
			t->fs->disk_name, nr);
	return 0;
}

int orphans_create(struct fs *fs)
{
	struct orphans *o = calloc(1, sizeof(*o));
	int err;

	if (o == NULL)
		return -ENOMEM;
	pthread_mutex_init(&o->lock, NULL);
	pthread_cond_init(&o->kicked, NULL);
	fs->orphans = o;
	if (fs->read_only)
		return 0;
	err = fs_thread_open(fs, &o->t);
	if (err < 0)
		goto destroy;
	err = load_list(o->t); /* before the thread is there: this one may use its queue */
	if (err == 0)
		err = -pthread_create(&o->thread, NULL, orphan_main, o->t);
	if (err < 0)
		goto close_thread;
	o->has_thread = true;
	return 0;

close_thread:
	fs_thread_close(o->t);
destroy:
	fs->orphans = NULL;
	pthread_cond_destroy(&o->kicked);
	pthread_mutex_destroy(&o->lock);
	free(o);
	return err;
}

void orphans_destroy(struct fs *fs)
{
	struct orphans *o = fs->orphans;

	if (o == NULL)
		return;
	if (o->has_thread) {
		pthread_mutex_lock(&o->lock);
		o->stop = true;
		pthread_cond_signal(&o->kicked);
		pthread_mutex_unlock(&o->lock);
		pthread_join(o->thread, NULL);
		fs_thread_close(o->t);
	}
	pthread_cond_destroy(&o->kicked);
	pthread_mutex_destroy(&o->lock);
	free(o);
	fs->orphans = NULL;
}
