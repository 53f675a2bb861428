/* inode.c - inodes in memory and their slots in the inode table.
 *
 * Invariants
 *  1. There is at most one struct inode of a number in the tables. It is read from its slot under
 *     the table block's buf->lock, so it is never older than the slot.
 *  2. A struct inode is dropped from memory only with refs and nlookup 0, off the orphan list, and
 *     with its last change and its last write durable: what fsync has to wait for, and to tell, is
 *     known of every inode that has anything of that.
 *  3. An inode without links is on the orphan list, on the disk and in memory.
 *  4. Its slot is cleared, and it has left the tables, before its number can be handed out again.
 *  5. The bytes of orphan_next in a slot are orphan.c's; inode_update() leaves them alone. */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <utlist.h>
#include "alloc.h"
#include "file.h"
#include "inode.h"
#include "orphan.h"
#include "xattr.h"

#define NR_SHARDS     16U
#define LRU_PER_SHARD 256U   /* unreferenced inodes kept: the kernel forgets and looks up again */
#define LRU_LOOKS     8U     /* at how many of the oldest, for one that may be dropped */
#define TRIM_EVERY    16384U /* inodes deleted, some 10 MiB */

struct shard {
	pthread_mutex_t lock;
	struct inode *table; /* uthash, by ino */
	struct inode *lru;   /* oldest first */
	unsigned nr_lru;
};

struct inodes {
	struct shard shard[NR_SHARDS];
	atomic_uint nr_deleted; /* since malloc was last asked to give memory back */
};

static struct shard *shard_of(struct fs *fs, uint64_t ino)
{
	return &fs->inodes->shard[ino % NR_SHARDS];
}

static uint64_t inode_max(const struct fs *fs)
{
	return (uint64_t)fs->nr_groups * fs->inodes_per_group;
}

static uint64_t group_of_ino(const struct fs *fs, uint64_t ino)
{
	return (ino - 1) / fs->inodes_per_group;
}

int inodes_create(struct fs *fs)
{
	fs->inodes = calloc(1, sizeof(*fs->inodes));
	if (fs->inodes == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < NR_SHARDS; i++)
		pthread_mutex_init(&fs->inodes->shard[i].lock, NULL);
	return 0;
}

static struct inode *inode_new(struct fs *fs, uint64_t ino)
{
	struct inode *inode = calloc(1, sizeof(*inode));
	pthread_rwlockattr_t attr;

	if (inode == NULL)
		return NULL;
	pthread_rwlockattr_init(&attr);
	/* Readers come all the time; a writer must not wait for a moment without any. */
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&inode->lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	pthread_mutex_init(&inode->writes_lock, NULL);
	inode->ino = ino;
	inode->fs = fs;
	inode->refs = 1;
	return inode;
}

static void inode_delete(struct inode *inode)
{
	pthread_mutex_destroy(&inode->writes_lock);
	pthread_rwlock_destroy(&inode->lock);
	atomic_fetch_add_explicit(&inode->fs->inodes->nr_deleted, 1, memory_order_relaxed);
	free(inode);
}

/* A million inodes take more than half a GiB, which malloc keeps when they are gone, unless it is
 * asked. Caller holds no lock: it may take a while. */
static void give_memory_back(struct inodes *inodes)
{
	unsigned nr = atomic_load_explicit(&inodes->nr_deleted, memory_order_relaxed);

	if (nr >= TRIM_EVERY && atomic_compare_exchange_strong(&inodes->nr_deleted, &nr, 0))
		malloc_trim(0);
}

void inodes_destroy(struct fs *fs)
{
	struct inode *inode, *tmp;

	if (fs->inodes == NULL)
		return;
	for (unsigned i = 0; i < NR_SHARDS; i++) {
		struct shard *s = &fs->inodes->shard[i];

		HASH_ITER (hh, s->table, inode, tmp) {
			HASH_DEL(s->table, inode);
			inode_delete(inode);
		}
		pthread_mutex_destroy(&s->lock);
	}
	free(fs->inodes);
	fs->inodes = NULL;
}

void inodes_note_lost(struct fs *fs)
{
	struct inode *inode, *tmp;

	for (unsigned i = 0; i < NR_SHARDS; i++) {
		struct shard *s = &fs->inodes->shard[i];

		pthread_mutex_lock(&s->lock);
		HASH_ITER (hh, s->table, inode, tmp)
			if (!tx_is_flushed(fs, atomic_load(&inode->written_at)))
				atomic_store(&inode->write_lost, true);
		pthread_mutex_unlock(&s->lock);
	}
}

void inode_now(struct timespec *out)
{
	clock_gettime(CLOCK_REALTIME, out);
}

/* ---- slots ---- */

static void put_time(le64 *s, le32 *ns, const struct timespec *ts)
{
	*s = le64_of((uint64_t)ts->tv_sec);
	*ns = le32_of((uint32_t)ts->tv_nsec);
}

static void get_time(le64 s, le32 ns, struct timespec *ts)
{
	ts->tv_sec = (time_t)le64_get(s);
	ts->tv_nsec = le32_get(ns);
}

static void encode_fork(const struct inode *inode, uint8_t *fork)
{
	memset(fork, 0, INODE_FORK_BYTES);
	switch (inode->fork_format) {
	case FORK_EXTENTS:
		for (unsigned i = 0; i < inode->fork_count; i++) {
			struct extent_disk e;

			extent_encode(&inode->fork.extents[i], &e);
			memcpy(fork + i * sizeof(e), &e, sizeof(e));
		}
		break;
	case FORK_BTREE:
	case FORK_SYMLINK_BLOCK: {
		struct fork_btree tree = {
			.root = le64_of(inode->fork.btree.root),
			.height = le32_of(inode->fork.btree.height),
		};

		memcpy(fork, &tree, sizeof(tree));
		break;
	}
	case FORK_SYMLINK:
		memcpy(fork, inode->fork.symlink, inode->size);
		break;
	default:
		break;
	}
}

static void encode(const struct inode *inode, struct inode_disk *d)
{
	d->ino = le64_of(inode->ino);
	d->mode = le32_of(inode->mode);
	d->nlink = le32_of(inode->nlink);
	d->uid = le32_of(inode->uid);
	d->gid = le32_of(inode->gid);
	d->size = le64_of(inode->size);
	d->nr_blocks = le64_of(inode->nr_blocks);
	d->generation = le32_of(inode->generation);
	d->flags = le32_of(inode->flags);
	put_time(&d->atime_s, &d->atime_ns, &inode->atime);
	put_time(&d->mtime_s, &d->mtime_ns, &inode->mtime);
	put_time(&d->ctime_s, &d->ctime_ns, &inode->ctime);
	put_time(&d->btime_s, &d->btime_ns, &inode->btime);
	d->parent_rdev = le64_of(S_ISDIR(inode->mode) ? inode->parent : inode->rdev);
	d->xattr_block = le64_of(inode->xattr_block);
	d->fork_format = inode->fork_format;
	d->fork_count = inode->fork_count;
	d->xattr_bytes = le16_of(inode->xattr_bytes);
	encode_fork(inode, d->fork);
	memcpy(d->xattr, inode->xattr, sizeof(d->xattr));
}

static bool mode_ok(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFLNK:
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK:
		return (mode & ~(uint32_t)(S_IFMT | 07777)) == 0;
	default:
		return false;
	}
}

static bool fork_fits_type(const struct inode *inode)
{
	switch (inode->fork_format) {
	case FORK_NONE:
		return !S_ISLNK(inode->mode);
	case FORK_EXTENTS:
		return S_ISREG(inode->mode);
	case FORK_BTREE:
		return S_ISREG(inode->mode) || S_ISDIR(inode->mode);
	case FORK_SYMLINK:
		return S_ISLNK(inode->mode) && inode->size <= INODE_SYMLINK_MAX;
	case FORK_SYMLINK_BLOCK:
		return S_ISLNK(inode->mode) && inode->size > INODE_SYMLINK_MAX;
	default:
		return false;
	}
}

static bool size_ok(const struct inode *inode)
{
	switch (inode->mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
		return inode->size <= FS_FILE_SIZE_MAX;
	case S_IFLNK:
		return inode->size > 0 && inode->size <= FS_SYMLINK_MAX;
	default:
		return inode->size == 0;
	}
}

static const char *decode_extents(struct inode *inode, const uint8_t *fork)
{
	uint64_t end = 0, blocks = 0;

	if (inode->fork_count == 0 || inode->fork_count > INODE_INLINE_EXTENTS)
		return "number of extents";
	for (unsigned i = 0; i < inode->fork_count; i++) {
		struct extent *e = &inode->fork.extents[i];
		struct extent_disk disk;

		memcpy(&disk, fork + i * sizeof(disk), sizeof(disk));
		if (!extent_decode(inode->fs, &disk, e))
			return "extent";
		if (e->lblk < end)
			return "extents out of order";
		end = e->lblk + e->nr_blocks;
		blocks += e->nr_blocks;
	}
	return blocks > inode->nr_blocks ? "fewer blocks counted than mapped" : NULL;
}

static const char *decode_tree(struct inode *inode, const uint8_t *fork)
{
	struct fork_btree tree;

	memcpy(&tree, fork, sizeof(tree));
	inode->fork.btree.root = le64_get(tree.root);
	inode->fork.btree.height = le32_get(tree.height);
	if (!extent_blocks_ok(inode->fs, inode->fork.btree.root, 1))
		return "root of the tree";
	if (inode->fork.btree.height > BTREE_HEIGHT_MAX ||
		(inode->fork_format == FORK_SYMLINK_BLOCK && inode->fork.btree.height != 0))
		return "height of the tree";
	return inode->nr_blocks == 0 ? "fewer blocks counted than mapped" : NULL;
}

static const char *decode_fork(struct inode *inode, const uint8_t *fork)
{
	if (!fork_fits_type(inode))
		return "format of the fork";
	if (inode->fork_format == FORK_EXTENTS)
		return decode_extents(inode, fork);
	if (inode->fork_count != 0)
		return "number of extents";
	if (inode->fork_format == FORK_BTREE || inode->fork_format == FORK_SYMLINK_BLOCK)
		return decode_tree(inode, fork);
	if (inode->fork_format == FORK_SYMLINK) {
		memcpy(inode->fork.symlink, fork, INODE_FORK_BYTES);
		if (strnlen(inode->fork.symlink, INODE_FORK_BYTES) != inode->size)
			return "length of the symbolic link";
	}
	return NULL;
}

static bool times_ok(const struct inode *inode)
{
	const long end = 1000000000;

	return inode->atime.tv_nsec < end && inode->mtime.tv_nsec < end &&
	       inode->ctime.tv_nsec < end && inode->btime.tv_nsec < end;
}

static bool flags_ok(const struct inode *inode)
{
	if (inode->flags & ~(INODE_F_ORPHAN | INODE_F_TRUNCATING | INODE_F_USER_MASK))
		return false;
	if ((inode->flags & INODE_F_TRUNCATING) &&
		(!S_ISREG(inode->mode) || !(inode->flags & INODE_F_ORPHAN)))
		return false;
	return inode->nlink > 0 || (inode->flags & INODE_F_ORPHAN); /* invariant 3 */
}

static void decode_plain(const struct inode_disk *d, struct inode *inode)
{
	inode->mode = le32_get(d->mode);
	inode->nlink = le32_get(d->nlink);
	inode->uid = le32_get(d->uid);
	inode->gid = le32_get(d->gid);
	inode->size = le64_get(d->size);
	inode->nr_blocks = le64_get(d->nr_blocks);
	inode->generation = le32_get(d->generation);
	inode->flags = le32_get(d->flags);
	get_time(d->atime_s, d->atime_ns, &inode->atime);
	get_time(d->mtime_s, d->mtime_ns, &inode->mtime);
	get_time(d->ctime_s, d->ctime_ns, &inode->ctime);
	get_time(d->btime_s, d->btime_ns, &inode->btime);
	if (S_ISDIR(inode->mode))
		inode->parent = le64_get(d->parent_rdev);
	else
		inode->rdev = le64_get(d->parent_rdev);
	inode->xattr_block = le64_get(d->xattr_block);
	inode->xattr_bytes = le16_get(d->xattr_bytes);
	memcpy(inode->xattr, d->xattr, sizeof(inode->xattr));
	inode->fork_format = d->fork_format;
	inode->fork_count = d->fork_count;
}

/* INODE has its number and nothing else yet. NULL, or what is wrong with the slot. */
static const char *decode(const struct inode_disk *d, struct inode *inode)
{
	struct fs *fs = inode->fs;

	if (le64_get(d->ino) != inode->ino)
		return "number";
	decode_plain(d, inode);
	if (!mode_ok(inode->mode))
		return "mode";
	if (!size_ok(inode))
		return "size";
	if (inode->nr_blocks > fs->nr_blocks)
		return "number of blocks";
	if (S_ISDIR(inode->mode) &&
		(inode->nlink == 1 || inode->parent == 0 || inode->parent > inode_max(fs)))
		return "links of a directory";
	if (!times_ok(inode))
		return "times";
	if (!flags_ok(inode))
		return "flags";
	if (inode->xattr_bytes > INODE_XATTR_BYTES || inode->xattr_bytes % 4 != 0 ||
		(inode->xattr_block != 0 && !extent_blocks_ok(fs, inode->xattr_block, 1)))
		return "extended attributes";
	return decode_fork(inode, d->fork);
}

int inode_slot_get(struct fs_thread *t, uint64_t ino, struct buf **b, struct inode_disk **disk)
{
	uint64_t block;
	uint32_t slot;
	int err;

	err = alloc_inode_where(t, ino, &block, &slot);
	if (err < 0)
		return err;
	err = cache_get(t, block, BT_INODES, group_of_ino(t->fs, ino), b);
	if (err < 0)
		return err;
	*disk = &((struct inodes_disk *)(*b)->data)->inode[slot];
	return 0;
}

int inode_slot_join(struct tx_handle *h, uint64_t ino, struct buf **b, struct inode_disk **disk)
{
	int err;

	err = inode_slot_get(h->t, ino, b, disk);
	if (err < 0)
		return err;
	err = tx_join(h, *b);
	if (err < 0)
		cache_put(*b);
	return err;
}

int inode_update(struct tx_handle *h, struct inode *inode, bool times_only)
{
	struct inode_disk *disk;
	struct buf *b;
	int err;

	err = inode_slot_join(h, inode->ino, &b, &disk);
	if (err < 0)
		return fs_abort(
			inode->fs, err, "inode %llu: not updated", (unsigned long long)inode->ino);
	pthread_mutex_lock(&b->lock);
	encode(inode, disk);
	pthread_mutex_unlock(&b->lock);
	cache_put(b);
	inode->changed_seq = tx_sequence(h);
	if (!times_only)
		inode->synced_seq_needed = inode->changed_seq;
	return 0;
}

void inode_attr(const struct inode *inode, struct fs_attr *out)
{
	*out = (struct fs_attr){
		.ino = inode->ino,
		.generation = inode->generation,
		.size = inode->size,
		.nr_sectors = inode->nr_blocks * BLOCK_SECTORS,
		.mode = inode->mode,
		.nlink = inode->nlink,
		.uid = inode->uid,
		.gid = inode->gid,
		.rdev = inode->rdev,
		.atime = inode->atime,
		.mtime = inode->mtime,
		.ctime = inode->ctime,
		.btime = inode->btime,
	};
}

/* ---- finding, references ---- */

/* Caller holds the shard's lock, as in what follows up to inode_get(). */
static void lru_remove(struct shard *s, struct inode *inode)
{
	if (!inode->in_lru)
		return;
	DL_DELETE2(s->lru, inode, lru_prev, lru_next);
	inode->in_lru = false;
	s->nr_lru--;
}

static bool may_drop(const struct inode *inode)
{
	return inode->changed_seq <= tx_committed(inode->fs) && /* invariant 2 */
	       tx_is_flushed(inode->fs, atomic_load(&inode->written_at)) &&
	       !atomic_load(&inode->write_lost);
}

/* Drop the oldest that may go, if there are too many. Those that may not yet are looked at again
 * later. */
static void lru_trim(struct shard *s)
{
	for (unsigned i = 0; i < LRU_LOOKS && s->nr_lru > LRU_PER_SHARD; i++) {
		struct inode *inode = s->lru;

		DL_DELETE2(s->lru, inode, lru_prev, lru_next);
		if (!may_drop(inode)) {
			DL_APPEND2(s->lru, inode, lru_prev, lru_next);
			continue;
		}
		s->nr_lru--;
		HASH_DEL(s->table, inode);
		inode_delete(inode);
	}
}

static void lru_add(struct shard *s, struct inode *inode)
{
	if ((inode->flags & INODE_F_ORPHAN) || inode->broken)
		return;
	DL_APPEND2(s->lru, inode, lru_prev, lru_next);
	inode->in_lru = true;
	s->nr_lru++;
	lru_trim(s);
}

static struct inode *table_find(struct shard *s, uint64_t ino)
{
	struct inode *inode;

	HASH_FIND(hh, s->table, &ino, sizeof(ino), inode);
	return inode;
}

static int table_add(struct shard *s, struct inode *inode)
{
	HASH_ADD(hh, s->table, ino, sizeof(inode->ino), inode);
	return table_has(inode) ? 0 : -ENOMEM;
}

/* -ENOENT: not in memory. */
static int hold_found(struct shard *s, uint64_t ino, struct inode **out)
{
	struct inode *inode = table_find(s, ino);

	if (inode == NULL)
		return -ENOENT;
	if (inode->freeing)
		return -ESTALE;
	lru_remove(s, inode);
	inode->refs++;
	*out = inode;
	return 0;
}

/* Put NEW into the table, decoded from its slot, unless somebody was faster. *WHY: what is wrong
 * with the slot. */
static int load_slot(
	struct inode *new, const struct inode_disk *disk, struct inode **out, const char **why)
{
	struct shard *s = shard_of(new->fs, new->ino);
	int err;

	*why = NULL;
	pthread_mutex_lock(&s->lock);
	err = hold_found(s, new->ino, out);
	if (err == -ENOENT && le64_get(disk->ino) == 0) {
		err = -ESTALE;
	} else if (err == -ENOENT) {
		*why = decode(disk, new);
		err = -EUCLEAN;
		if (*why == NULL)
			err = table_add(s, new);
		if (err == 0)
			*out = new;
	}
	pthread_mutex_unlock(&s->lock);
	return err;
}

static int inode_load(struct fs_thread *t, uint64_t ino, struct inode **out)
{
	struct inode *new, *found = NULL;
	struct inode_disk *disk;
	const char *why;
	struct buf *b;
	int err;

	err = inode_slot_get(t, ino, &b, &disk);
	if (err < 0)
		return err;
	new = inode_new(t->fs, ino);
	if (new == NULL) {
		err = -ENOMEM;
		goto put;
	}
	pthread_mutex_lock(&b->lock); /* invariant 1 */
	err = load_slot(new, disk, &found, &why);
	pthread_mutex_unlock(&b->lock);
	if (why != NULL)
		err = fs_corrupt(
			t->fs, b->block, "inode %llu: bad %s", (unsigned long long)ino, why);
	if (found != new)
		inode_delete(new);
	if (err == 0)
		*out = found;
put:
	cache_put(b);
	return err;
}

int inode_get(struct fs_thread *t, uint64_t ino, struct inode **out)
{
	struct shard *s;
	int err;

	if (atomic_load_explicit(&t->fs->dead, memory_order_relaxed))
		return -EIO;
	if (ino == 0 || ino > inode_max(t->fs))
		return -ESTALE;
	s = shard_of(t->fs, ino);
	pthread_mutex_lock(&s->lock);
	err = hold_found(s, ino, out);
	pthread_mutex_unlock(&s->lock);
	return err == -ENOENT ? inode_load(t, ino, out) : err;
}

void inode_hold(struct inode *inode)
{
	struct shard *s = shard_of(inode->fs, inode->ino);

	pthread_mutex_lock(&s->lock);
	inode->refs++;
	pthread_mutex_unlock(&s->lock);
}

/* Caller holds the shard's lock. True: that was the last reference to an unlinked inode, which is
 * the caller's now, to free. */
static bool let_go(struct shard *s, struct inode *inode)
{
	if (inode->refs > 0 || atomic_load(&inode->nlookup) > 0)
		return false;
	if (inode->nlink > 0) {
		lru_add(s, inode);
		return false;
	}
	inode->freeing = true;
	inode->refs = 1;
	return true;
}

static bool drop_ref(struct inode *inode)
{
	struct shard *s = shard_of(inode->fs, inode->ino);
	bool last;

	pthread_mutex_lock(&s->lock);
	inode->refs--;
	last = let_go(s, inode);
	pthread_mutex_unlock(&s->lock);
	return last;
}

bool inode_take_over(struct inode *inode)
{
	struct shard *s = shard_of(inode->fs, inode->ino);
	bool mine;

	pthread_mutex_lock(&s->lock);
	mine = inode->refs == 0 && !inode->freeing && inode->nlink == 0;
	if (mine) {
		inode->freeing = true;
		inode->refs = 1;
	}
	pthread_mutex_unlock(&s->lock);
	return mine;
}

static void free_now_or_later(struct fs_thread *t, struct inode *inode)
{
	if (inode->fork_format == FORK_BTREE)
		orphan_kick(inode);
	else
		(void)inode_free_all(
			t, inode); /* failing, it stays on the list: the next mount's work */
}

void inode_put(struct fs_thread *t, struct inode *inode)
{
	if (inode != NULL && drop_ref(inode))
		free_now_or_later(t, inode);
}

void inode_put_io(struct inode *inode)
{
	if (drop_ref(inode))
		orphan_kick(inode);
}

void fs_forget(struct fs_thread *t, uint64_t ino, uint64_t nr)
{
	struct shard *s = shard_of(t->fs, ino);
	struct inode *inode;
	bool last = false;

	pthread_mutex_lock(&s->lock);
	inode = table_find(s, ino);
	if (inode != NULL && !inode->freeing) {
		uint64_t have = atomic_load(&inode->nlookup);

		while (!atomic_compare_exchange_weak(
			&inode->nlookup, &have, have > nr ? have - nr : 0))
			;
		last = have > 0 && let_go(s, inode);
	}
	pthread_mutex_unlock(&s->lock);
	if (last)
		free_now_or_later(t, inode);
	give_memory_back(t->fs->inodes);
}

/* ---- making and freeing ---- */

static void init_new(struct inode *inode, uint64_t parent, uint32_t mode, uint32_t uid,
	uint32_t gid, uint32_t generation)
{
	inode->mode = mode;
	inode->nlink = S_ISDIR(mode) ? 2 : 1;
	inode->uid = uid;
	inode->gid = gid;
	inode->generation = generation;
	inode->parent = S_ISDIR(mode) ? parent : 0;
	inode_now(&inode->btime);
	inode->atime = inode->mtime = inode->ctime = inode->btime;
}

static void slot_write(struct inode *inode, struct buf *b, struct inode_disk *disk)
{
	pthread_mutex_lock(&b->lock);
	memset(disk, 0, sizeof(*disk)); /* its old owner may have left anything */
	encode(inode, disk);
	pthread_mutex_unlock(&b->lock);
}

int inode_create(struct tx_handle *h, uint64_t parent, uint32_t mode, uint32_t uid, uint32_t gid,
	struct inode **out)
{
	struct fs *fs = h->t->fs;
	struct inode_disk *disk;
	uint32_t generation;
	struct inode *inode;
	struct shard *s;
	struct buf *b;
	uint64_t ino;
	int err;

	err = alloc_inode(h, parent, S_ISDIR(mode), &ino, &generation);
	if (err < 0)
		return err;
	err = inode_slot_join(h, ino, &b, &disk);
	if (err < 0)
		goto free_ino;
	inode = inode_new(fs, ino);
	if (inode == NULL) {
		err = -ENOMEM;
		goto put_slot;
	}
	init_new(inode, parent, mode, uid, gid, generation);
	inode->changed_seq = inode->synced_seq_needed = tx_sequence(h);
	pthread_rwlock_wrlock(&inode->lock);
	/* First the table, then the slot: whoever reads the slot finds its inode (invariant 1). */
	s = shard_of(fs, ino);
	pthread_mutex_lock(&s->lock);
	err = table_add(s, inode);
	pthread_mutex_unlock(&s->lock);
	if (err < 0)
		goto delete;
	slot_write(inode, b, disk);
	cache_put(b);
	*out = inode;
	return 0;

	delete : pthread_rwlock_unlock(&inode->lock);
	inode_delete(inode);
put_slot:
	cache_put(b);
free_ino:
	(void)alloc_inode_free(h, ino, S_ISDIR(mode));
	return err;
}

static int slot_clear(struct tx_handle *h, uint64_t ino)
{
	struct inode_disk *disk;
	struct buf *b;
	int err;

	err = inode_slot_join(h, ino, &b, &disk);
	if (err < 0)
		return err;
	pthread_mutex_lock(&b->lock);
	memset(disk, 0, sizeof(*disk));
	pthread_mutex_unlock(&b->lock);
	cache_put(b);
	return 0;
}

static void table_remove(struct inode *inode)
{
	struct shard *s = shard_of(inode->fs, inode->ino);

	pthread_mutex_lock(&s->lock);
	HASH_DEL(s->table, inode);
	pthread_mutex_unlock(&s->lock);
}

/* All but its extents, which are gone. *GONE: it is in no table any more. */
static int free_rest(struct tx_handle *h, struct inode *inode, bool *gone)
{
	bool is_dir = S_ISDIR(inode->mode);
	int err;

	err = xattr_free_all(h, inode);
	if (err == 0 && inode->fork_format == FORK_SYMLINK_BLOCK)
		err = alloc_free(h, inode->fork.btree.root, 1, true);
	if (err == 0)
		err = orphan_remove(h, inode);
	if (err == 0)
		err = slot_clear(h, inode->ino);
	if (err == 0) {
		table_remove(inode); /* invariant 4 */
		*gone = true;
		err = alloc_inode_free(h, inode->ino, is_dir);
	}
	if (err < 0)
		(void)fs_abort(
			inode->fs, err, "inode %llu: half freed", (unsigned long long)inode->ino);
	return err;
}

/* 1: all is done; 0: there is more. */
static int free_step(struct fs_thread *t, struct inode *inode, bool *gone)
{
	struct tx_handle h;
	bool more = false;
	int err;

	err = tx_begin(t, TX_JOIN_EXTENT + TX_JOIN_NAMES, 0, &h);
	if (err < 0)
		return err;
	pthread_rwlock_wrlock(&inode->lock);
	if (S_ISREG(inode->mode))
		err = file_unmap(&h, inode, 0, LBLK_END, &more);
	if (err == 0 && more)
		err = inode_update(&h, inode, false);
	else if (err == 0)
		err = free_rest(&h, inode, gone);
	pthread_rwlock_unlock(&inode->lock);
	tx_end(&h);
	return err < 0 ? err : !more;
}

int inode_free_all(struct fs_thread *t, struct inode *inode)
{
	bool gone = false;
	int ret;

	do
		ret = free_step(t, inode, &gone);
	while (ret == 0);
	if (gone)
		inode_delete(inode);
	return ret < 0 ? ret : 0;
}
