/* namei.c - names: look up, make, link, remove, rename, list.
 *
 * Invariants
 *  1. An operation that changes something: references to the directories it was given, tx_begin(),
 *     locks, all checks, then the changes. The first change (an entry is put or taken, or an inode
 *     made and undone) leaves nothing behind when it fails; from then on a failure is fs_abort().
 *  2. An inode found by name is referenced while its directory's lock is held: so its entry stands,
 *     and it has not been freed.
 *  3. References are dropped when no lock and no handle is held, because the last one may free an
 *     orphan. (readdir says why it may.)
 *  4. A directory without links is dead: nothing is found in it, and nothing is made in it.
 *  5. Before an inode is locked its type is taken from its entry; under its lock the two are
 *     compared.
 *
 * Locks. Nearly every operation goes from a directory to one inode in it. Only rename takes two
 * directories that are not parent and child, and takes fs->rename_lock first, so that there is one
 * such rename at a time and no directory changes its parent meanwhile. It locks an ancestor before
 * its descendant, and otherwise the lower number first. Below its directories it holds one inode at
 * a time, and none that is an ancestor of either directory: these are refused before (-EINVAL,
 * -ENOTEMPTY). So among all the others everyone waits only downward in the tree, and whoever that
 * one rename waits for never waits for it. A rename within one directory follows the common rule.
 * What is not a directory is locked last, with nothing locked after it. (An order that moves with
 * the tree is beyond ThreadSanitizer's search for inversions: TSAN_OPTIONS=detect_deadlocks=0.) */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "alloc.h"
#include "dir.h"
#include "orphan.h"

#define NLINK_MAX         0x7fffffffU
#define COOKIE_DOT        1U
#define COOKIE_DOTDOT     2U
#define SYMLINK_BLOCK_MAX (BLOCK_PAYLOAD - 8U)

static bool is_dir(const struct inode *inode)
{
	return S_ISDIR(inode->mode);
}

static int check_name(const char *name)
{
	size_t bytes = strnlen(name, FS_NAME_MAX + 1);

	if (bytes > FS_NAME_MAX)
		return -ENAMETOOLONG;
	if (bytes == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
		memchr(name, '/', bytes) != NULL)
		return -EINVAL;
	return 0;
}

static void lock_read(struct inode *inode)
{
	pthread_rwlock_rdlock(&inode->lock);
}

static void lock_write(struct inode *inode)
{
	pthread_rwlock_wrlock(&inode->lock);
}

static void unlock(struct inode *inode)
{
	pthread_rwlock_unlock(&inode->lock);
}

/* Caller holds dir->lock. */
static int check_dir(const struct inode *dir)
{
	if (!is_dir(dir))
		return -ENOTDIR;
	return dir->nlink == 0 ? -ENOENT : 0;
}

/* The inode that ENTRY of DIR leads to, referenced. Caller holds dir->lock. */
static int get_entry_inode(
	struct fs_thread *t, struct inode *dir, const struct dir_entry *entry, struct inode **out)
{
	int err = -ESTALE;

	if (entry->ino != dir->ino && entry->ino != FS_ROOT_INO)
		err = inode_get(t, entry->ino, out);
	if (err == -ESTALE)
		return fs_corrupt(t->fs, 0,
			"directory %llu: an entry leads to inode %llu, which can't be in it",
			(unsigned long long)dir->ino, (unsigned long long)entry->ino);
	return err;
}

/* Is INODE what ENTRY says? Caller holds inode->lock. */
static int check_type(const struct inode *inode, const struct dir_entry *entry)
{
	if (IFTODT(inode->mode) == entry->type)
		return 0;
	return fs_corrupt(inode->fs, 0,
		"inode %llu: mode %o, yet its directory's entry is of type %u",
		(unsigned long long)inode->ino, inode->mode, entry->type);
}

static int get_parent(struct fs_thread *t, struct inode *dir, struct inode **out)
{
	int err;

	err = inode_get(t, dir->ino == FS_ROOT_INO ? FS_ROOT_INO : dir->parent, out);
	if (err == -ESTALE)
		return fs_corrupt(t->fs, 0, "directory %llu: its parent %llu is free",
			(unsigned long long)dir->ino, (unsigned long long)dir->parent);
	return err;
}

/* NAME in DIR. *INODE is referenced; ENTRY has its number and type. */
static int find_inode(struct fs_thread *t, struct inode *dir, const char *name,
	struct dir_entry *entry, struct inode **inode)
{
	int err;

	entry->type = DT_DIR;
	lock_read(dir);
	err = check_dir(dir);
	if (err < 0)
		goto out;
	if (strcmp(name, ".") == 0) {
		inode_hold(dir);
		*inode = dir;
	} else if (strcmp(name, "..") == 0) {
		err = get_parent(t, dir, inode);
	} else {
		err = dir_lookup(t, dir, name, entry);
		if (err == 0)
			err = get_entry_inode(t, dir, entry, inode);
	}
out:
	unlock(dir);
	return err;
}

int fs_lookup(struct fs_thread *t, uint64_t dirno, const char *name, struct fs_attr *out)
{
	struct inode *dir, *inode = NULL;
	struct dir_entry entry;
	int err;

	err = check_name(name);
	if (err < 0 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
		return err;
	err = inode_get(t, dirno, &dir);
	if (err < 0)
		return err;
	err = find_inode(t, dir, name, &entry, &inode);
	if (err == 0) {
		lock_read(inode);
		err = check_type(inode, &entry);
		inode_attr(inode, out);
		unlock(inode);
	}
	if (err == 0)
		atomic_fetch_add(&inode->nlookup, 1);
	inode_put(t, inode);
	inode_put(t, dir);
	return err;
}

/* Changes have been made and can't be taken back: ERR must stop the filesystem. */
static int must(struct fs *fs, int err)
{
	return err < 0 ? fs_abort(fs, err, "change of names stopped halfway") : 0;
}

/* Caller holds dir->lock for writing, and has changed its entries. */
static int touch_dir(struct tx_handle *h, struct inode *dir)
{
	inode_now(&dir->mtime);
	dir->ctime = dir->mtime;
	return inode_update(h, dir, false);
}

/* A new inode that could not be given a name: to be freed as an orphan when its reference goes. */
static void undo_create(struct tx_handle *h, struct inode *inode)
{
	int err;

	inode->nlink = 0;
	err = orphan_add(h, inode);
	if (err == 0)
		err = inode_update(h, inode, false);
	must(h->t->fs, err);
}

/* What fs_mknod() and fs_symlink() differ in. */
struct making {
	const char *name;
	uint32_t mode;
	uint64_t rdev;
	const char *target; /* of a symlink */
	size_t target_bytes;
	const struct fs_cred *cred;
};

static int store_target(struct tx_handle *h, struct inode *inode, const char *target, size_t bytes)
{
	struct symlink_disk *d;
	struct buf *b;
	uint64_t block;
	uint32_t nr;
	int err;

	inode->size = bytes;
	if (bytes <= INODE_SYMLINK_MAX) {
		memcpy(inode->fork.symlink, target, bytes);
		inode->fork_format = FORK_SYMLINK;
		return 0;
	}
	err = alloc_blocks(h, btree_goal(inode), 1, &block, &nr);
	if (err < 0)
		return err;
	err = cache_get_new(h, block, BT_SYMLINK, inode->ino, &b);
	if (err < 0) {
		alloc_free(h, block, 1, true);
		return err;
	}
	d = (struct symlink_disk *)b->data;
	d->bytes = le32_of((uint32_t)bytes);
	memcpy(d->target, target, bytes);
	cache_put(b);
	inode->fork.btree.root = block;
	inode->fork.btree.height = 0;
	inode->fork_format = FORK_SYMLINK_BLOCK;
	inode->nr_blocks = 1;
	return 0;
}

/* The new inode and its name. Caller holds dir->lock for writing; NAME is free. *OUT is referenced,
 * on an error too unless NULL. */
static int make_in(struct tx_handle *h, struct inode *dir, const struct making *m,
	struct inode **out, struct fs_attr *attr)
{
	struct inode *inode;
	uint32_t mode = m->mode, gid = m->cred->gid;
	int err;

	if (dir->mode & S_ISGID) {
		gid = dir->gid;
		if (S_ISDIR(mode))
			mode |= S_ISGID;
	}
	err = inode_create(h, dir->ino, mode, m->cred->uid, gid, &inode);
	if (err < 0)
		return err;
	*out = inode;
	inode->rdev = m->rdev;
	if (m->target != NULL)
		err = store_target(h, inode, m->target, m->target_bytes);
	if (err == 0)
		err = dir_insert(h, dir, m->name, inode->ino, IFTODT(mode));
	if (err < 0) {
		undo_create(h, inode);
		goto unlock;
	}
	if (S_ISDIR(mode))
		dir->nlink++;
	err = inode_update(h, inode, false);
	if (err == 0)
		err = touch_dir(h, dir);
	err = must(h->t->fs, err);
	inode_attr(inode, attr);
unlock:
	unlock(inode);
	return err;
}

static int may_make(struct fs_thread *t, struct inode *dir, const struct making *m)
{
	struct dir_entry entry;
	int err;

	err = check_dir(dir);
	if (err == 0)
		err = dir_lookup(t, dir, m->name, &entry);
	if (err == 0)
		return -EEXIST;
	if (err == -ENOENT && dir->nlink != 0)
		err = S_ISDIR(m->mode) && dir->nlink >= NLINK_MAX ? -EMLINK : 0;
	return err;
}

static int make(struct fs_thread *t, uint64_t dirno, const struct making *m, struct fs_attr *out)
{
	struct inode *dir, *inode = NULL;
	struct tx_handle h;
	int err;

	err = check_name(m->name);
	if (err < 0)
		return err;
	err = inode_get(t, dirno, &dir);
	if (err < 0)
		return err;
	err = tx_begin(t, TX_JOIN_NAMES, TX_ALLOC_NAMES, &h);
	if (err < 0)
		goto put_dir;
	lock_write(dir);
	err = may_make(t, dir, m);
	if (err == 0)
		err = make_in(&h, dir, m, &inode, out);
	unlock(dir);
	tx_end(&h);
	if (err == 0)
		atomic_fetch_add(&inode->nlookup, 1);
	inode_put(t, inode);
put_dir:
	inode_put(t, dir);
	return err;
}

int fs_mknod(struct fs_thread *t, uint64_t dir, const char *name, uint32_t mode, uint64_t rdev,
	const struct fs_cred *cred, struct fs_attr *out)
{
	struct making m = {.name = name, .mode = mode & (S_IFMT | 07777), .cred = cred};

	switch (mode & S_IFMT) {
	case 0: /* as mknod(2) has it */
		m.mode |= S_IFREG;
		break;
	case S_IFREG:
	case S_IFDIR:
	case S_IFIFO:
	case S_IFSOCK:
		break;
	case S_IFCHR:
	case S_IFBLK:
		m.rdev = rdev;
		break;
	default:
		return -EINVAL;
	}
	return make(t, dir, &m, out);
}

int fs_symlink(struct fs_thread *t, uint64_t dir, const char *name, const char *target,
	const struct fs_cred *cred, struct fs_attr *out)
{
	struct making m = {.name = name, .mode = S_IFLNK | 0777, .target = target, .cred = cred};

	m.target_bytes = strnlen(target, FS_SYMLINK_MAX + 1);
	if (m.target_bytes == 0)
		return -ENOENT;
	if (m.target_bytes > SYMLINK_BLOCK_MAX)
		return -ENAMETOOLONG;
	return make(t, dir, &m, out);
}

/* Caller holds inode->lock. BUF has room for the longest. */
static int read_target(struct fs_thread *t, const struct inode *inode, char *buf)
{
	const struct symlink_disk *d;
	struct buf *b;
	int err;

	if (inode->size == 0 ||
		inode->size > (inode->fork_format == FORK_SYMLINK ? INODE_SYMLINK_MAX
								  : SYMLINK_BLOCK_MAX))
		return fs_corrupt(t->fs, 0, "symlink %llu: its target is %llu bytes",
			(unsigned long long)inode->ino, (unsigned long long)inode->size);
	if (inode->fork_format == FORK_SYMLINK) {
		memcpy(buf, inode->fork.symlink, inode->size);
	} else if (inode->fork_format == FORK_SYMLINK_BLOCK) {
		err = cache_get(t, inode->fork.btree.root, BT_SYMLINK, inode->ino, &b);
		if (err < 0)
			return err;
		d = (const struct symlink_disk *)b->data;
		memcpy(buf, d->target, inode->size);
		err = le32_get(d->bytes) == inode->size ? 0 : -EUCLEAN;
		cache_put(b);
		if (err < 0)
			return fs_corrupt(t->fs, inode->fork.btree.root,
				"symlink %llu: block and inode differ in length",
				(unsigned long long)inode->ino);
	} else {
		return fs_corrupt(t->fs, 0, "symlink %llu: fork of format %u",
			(unsigned long long)inode->ino, inode->fork_format);
	}
	buf[inode->size] = '\0';
	return 0;
}

int fs_readlink(struct fs_thread *t, uint64_t ino, char *buf, size_t bytes)
{
	struct inode *inode;
	int err;

	if (bytes < FS_SYMLINK_MAX + 1)
		return -EINVAL;
	err = inode_get(t, ino, &inode);
	if (err < 0)
		return err;
	lock_read(inode);
	err = S_ISLNK(inode->mode) ? read_target(t, inode, buf) : -EINVAL;
	unlock(inode);
	inode_put(t, inode);
	return err;
}

/* Caller holds dir->lock and inode->lock for writing. */
static int link_in(struct tx_handle *h, struct inode *dir, const char *name, struct inode *inode)
{
	int err;

	if (inode->nlink == 0)
		return -ENOENT;
	if (inode->nlink >= NLINK_MAX)
		return -EMLINK;
	err = dir_insert(h, dir, name, inode->ino, IFTODT(inode->mode));
	if (err < 0)
		return err;
	inode->nlink++;
	inode_now(&inode->ctime);
	err = inode_update(h, inode, false);
	if (err == 0)
		err = touch_dir(h, dir);
	return must(h->t->fs, err);
}

static int link_locked(struct fs_thread *t, struct inode *dir, const char *name,
	struct inode *inode, struct fs_attr *out)
{
	struct tx_handle h;
	int err;

	err = tx_begin(t, TX_JOIN_NAMES, TX_ALLOC_NAMES, &h);
	if (err < 0)
		return err;
	lock_write(dir);
	err = check_dir(dir);
	if (err == 0) {
		lock_write(inode);
		err = link_in(&h, dir, name, inode);
		if (err == 0)
			inode_attr(inode, out);
		unlock(inode);
	}
	unlock(dir);
	tx_end(&h);
	return err;
}

int fs_link(
	struct fs_thread *t, uint64_t ino, uint64_t dirno, const char *name, struct fs_attr *out)
{
	struct inode *dir, *inode;
	int err;

	err = check_name(name);
	if (err < 0)
		return err;
	err = inode_get(t, ino, &inode);
	if (err < 0)
		return err;
	err = inode_get(t, dirno, &dir);
	if (err < 0)
		goto put_inode;
	lock_read(inode); /* now: a directory must not be locked after DIR, which may be below it */
	err = is_dir(inode) ? -EPERM : 0;
	unlock(inode);
	if (err == 0)
		err = link_locked(t, dir, name, inode, out);
	if (err == 0)
		atomic_fetch_add(&inode->nlookup, 1);
	inode_put(t, dir);
put_inode:
	inode_put(t, inode);
	return err;
}

/* INODE loses a name, a directory its only one. Caller holds its lock for writing, and what is
 * needed has been checked. */
static int drop_link(struct tx_handle *h, struct inode *inode)
{
	int err = 0;

	inode->nlink = is_dir(inode) ? 0 : inode->nlink - 1;
	inode_now(&inode->ctime);
	if (inode->nlink == 0)
		err = orphan_add(h, inode);
	return err < 0 ? err : inode_update(h, inode, false);
}

/* May INODE lose its name in DIR, from which it was found? Caller holds both locks. */
static int check_drop(const struct inode *dir, const struct inode *inode)
{
	if (inode->nlink == 0)
		return fs_corrupt(dir->fs, 0,
			"directory %llu: an entry leads to inode %llu, which has no links",
			(unsigned long long)dir->ino, (unsigned long long)inode->ino);
	if (!is_dir(inode))
		return 0;
	if (!dir_is_empty(inode))
		return -ENOTEMPTY;
	if (dir->nlink <= 2)
		return fs_corrupt(dir->fs, 0, "directory %llu: %u links, yet it has a subdirectory",
			(unsigned long long)dir->ino, dir->nlink);
	return 0;
}

/* Caller holds both locks for writing. */
static int remove_in(struct tx_handle *h, struct inode *dir, const char *name, struct inode *inode)
{
	int err;

	err = check_drop(dir, inode);
	if (err < 0)
		return err;
	err = dir_remove(h, dir, name);
	if (err < 0)
		return err;
	if (is_dir(inode))
		dir->nlink--;
	err = drop_link(h, inode);
	if (err == 0)
		err = touch_dir(h, dir);
	return must(h->t->fs, err);
}

/* fs_unlink() and fs_rmdir(). */
static int remove_name(struct fs_thread *t, uint64_t dirno, const char *name, bool want_dir)
{
	struct inode *dir, *inode = NULL;
	struct dir_entry entry;
	struct tx_handle h;
	int err;

	err = check_name(name);
	if (err < 0)
		return err;
	err = inode_get(t, dirno, &dir);
	if (err < 0)
		return err;
	err = tx_begin(t, TX_JOIN_NAMES, 0, &h);
	if (err < 0)
		goto put_dir;
	lock_write(dir);
	err = check_dir(dir);
	if (err == 0)
		err = dir_lookup(t, dir, name, &entry);
	if (err == 0 && (entry.type == DT_DIR) != want_dir)
		err = want_dir ? -ENOTDIR : -EISDIR;
	if (err == 0)
		err = get_entry_inode(t, dir, &entry, &inode);
	if (err == 0) {
		lock_write(inode);
		err = check_type(inode, &entry);
		if (err == 0)
			err = remove_in(&h, dir, name, inode);
		unlock(inode);
	}
	unlock(dir);
	tx_end(&h);
	inode_put(t, inode);
put_dir:
	inode_put(t, dir);
	return err;
}

int fs_unlink(struct fs_thread *t, uint64_t dir, const char *name)
{
	return remove_name(t, dir, name, false);
}

int fs_rmdir(struct fs_thread *t, uint64_t dir, const char *name)
{
	return remove_name(t, dir, name, true);
}

/* Both ends of a rename. */
struct end {
	struct inode *dir;
	const char *name;
	struct dir_entry entry; /* ino 0: no such name */
	struct inode *inode;    /* that it leads to; referenced */
	/* DIR's child on the way down to the other end's directory; 0: DIR is no ancestor of it */
	uint64_t way;
};

struct renaming {
	struct end from, to;
	unsigned flags;
	bool two_dirs;
};

/* One step up from *INO; -ENOENT: that directory has been removed. Caller holds rename_lock, so
 * parents stay. */
static int parent_of(struct fs_thread *t, uint64_t *ino)
{
	struct inode *inode;
	int err;

	err = inode_get(t, *ino, &inode);
	if (err == -ESTALE) /* only above a dead directory: no living one is without its parent */
		return -ENOENT;
	if (err < 0)
		return err;
	*ino = inode->parent;
	/* should it have died meanwhile: it is not freed here, below a lock and a handle */
	inode_put_io(inode);
	return 0;
}

/* If BELOW is under ABOVE: *WAY is the child of ABOVE that leads there. Else 0. */
static int find_way(struct fs_thread *t, uint64_t above, uint64_t below, uint64_t *way)
{
	uint64_t ino = below, mark = 0, steps = 0, next_mark = 1;
	int err;

	*way = 0;
	while (ino != FS_ROOT_INO && ino != above) {
		uint64_t child = ino;

		if (ino == mark)
			return fs_corrupt(t->fs, 0, "directory %llu is its own ancestor",
				(unsigned long long)ino);
		if (++steps == next_mark) { /* a circle is longer than the way to one of these */
			mark = ino;
			next_mark *= 2;
		}
		err = parent_of(t, &ino);
		if (err < 0)
			return err;
		if (ino == above)
			*way = child;
	}
	return 0;
}

/* Caller holds rename_lock if there are two. */
static int lock_dirs(struct fs_thread *t, struct renaming *r)
{
	struct inode *first = r->from.dir, *second = r->to.dir;
	int err;

	if (!r->two_dirs) {
		lock_write(first);
		return 0;
	}
	err = find_way(t, first->ino, second->ino, &r->from.way);
	if (err == 0)
		err = find_way(t, second->ino, first->ino, &r->to.way);
	if (err < 0)
		return err;
	if (r->to.way != 0 || (r->from.way == 0 && second->ino < first->ino)) {
		first = r->to.dir;
		second = r->from.dir;
	}
	lock_write(first);
	lock_write(second);
	return 0;
}

static void unlock_dirs(struct renaming *r)
{
	unlock(r->from.dir);
	if (r->two_dirs)
		unlock(r->to.dir);
}

static int find_end(struct fs_thread *t, struct end *e)
{
	int err;

	err = dir_lookup(t, e->dir, e->name, &e->entry);
	if (err < 0) {
		e->entry.ino = 0;
		return err;
	}
	return get_entry_inode(t, e->dir, &e->entry, &e->inode);
}

/* A last look at E's inode before it is changed. */
static int check_end(const struct renaming *r, const struct end *e)
{
	int err;

	if (e->inode == NULL)
		return 0;
	if (e->inode == r->from.dir || e->inode == r->to.dir)
		return fs_corrupt(e->dir->fs, 0, "directory %llu is in another than its parent",
			(unsigned long long)e->inode->ino);
	lock_read(e->inode);
	err = check_type(e->inode, &e->entry);
	unlock(e->inode);
	return err;
}

static bool leads_to_dir(const struct end *e)
{
	return e->entry.ino != 0 && e->entry.type == DT_DIR;
}

/* What POSIX and rename(2) say. 1: there is nothing to do. */
static int check_rename(struct fs_thread *t, struct renaming *r)
{
	struct end *from = &r->from, *to = &r->to;
	bool swap = r->flags & RENAME_EXCHANGE;
	int err;

	err = check_dir(from->dir);
	if (err == 0)
		err = check_dir(to->dir);
	if (err == 0)
		err = find_end(t, from);
	if (err < 0)
		return err;
	err = find_end(t, to);
	if (err < 0 && (err != -ENOENT || swap))
		return err;
	if (err == 0 && (r->flags & RENAME_NOREPLACE))
		return -EEXIST;
	if (from->entry.ino == to->entry.ino)
		return 1;
	if (from->way == from->entry.ino)
		return -EINVAL;
	if (to->inode != NULL && to->way == to->entry.ino)
		return swap ? -EINVAL : -ENOTEMPTY;
	if (to->inode != NULL && !swap && leads_to_dir(from) != leads_to_dir(to))
		return leads_to_dir(to) ? -EISDIR : -ENOTDIR;
	err = check_end(r, from);
	return err < 0 ? err : check_end(r, to);
}

static int check_links(const struct end *e, int gain)
{
	if (gain > 0 && e->dir->nlink >= NLINK_MAX)
		return -EMLINK;
	if (gain < 0 && e->dir->nlink <= 2)
		return fs_corrupt(e->dir->fs, 0,
			"directory %llu: %u links, yet it has a subdirectory",
			(unsigned long long)e->dir->ino, e->dir->nlink);
	return 0;
}

/* INODE has moved to DIR. Caller holds the directories' locks; this one is taken here, alone of its
 * kind. */
static int moved(struct tx_handle *h, struct inode *inode, const struct inode *dir)
{
	int err;

	lock_write(inode);
	inode_now(&inode->ctime);
	if (is_dir(inode) && inode->parent != dir->ino)
		inode->parent = dir->ino;
	err = inode_update(h, inode, false);
	unlock(inode);
	return err;
}

static int do_exchange(struct tx_handle *h, struct renaming *r)
{
	struct end *from = &r->from, *to = &r->to;
	int err;

	err = dir_replace(h, from->dir, from->name, to->entry.ino, to->entry.type);
	if (err < 0)
		return err;
	err = dir_replace(h, to->dir, to->name, from->entry.ino, from->entry.type);
	if (err == 0)
		err = moved(h, from->inode, to->dir);
	if (err == 0)
		err = moved(h, to->inode, from->dir);
	return must(h->t->fs, err);
}

/* The name is free: put it, take the old one. */
static int do_move(struct tx_handle *h, struct renaming *r)
{
	struct end *from = &r->from, *to = &r->to;
	int err;

	err = dir_insert(h, to->dir, to->name, from->entry.ino, from->entry.type);
	if (err < 0)
		return err;
	err = dir_remove(h, from->dir, from->name);
	if (err == 0)
		err = moved(h, from->inode, to->dir);
	return must(h->t->fs, err);
}

/* The name is taken: its inode loses it. */
static int do_overwrite(struct tx_handle *h, struct renaming *r)
{
	struct end *from = &r->from, *to = &r->to;
	int err;

	lock_write(to->inode);
	err = check_drop(to->dir, to->inode);
	if (err == 0)
		err = dir_remove(h, from->dir, from->name);
	if (err == 0) {
		err = dir_replace(h, to->dir, to->name, from->entry.ino, from->entry.type);
		if (err == 0)
			err = drop_link(h, to->inode);
		err = must(h->t->fs, err);
	}
	unlock(to->inode);
	return err < 0 ? err : must(h->t->fs, moved(h, from->inode, to->dir));
}

static int rename_locked(struct tx_handle *h, struct renaming *r)
{
	struct end *from = &r->from, *to = &r->to;
	int gain_from, gain_to, err;

	err = check_rename(h->t, r);
	if (err != 0)
		return err < 0 ? err : 0;
	gain_to = leads_to_dir(from) - leads_to_dir(to);
	gain_from = r->flags & RENAME_EXCHANGE ? -gain_to : -leads_to_dir(from);
	if (!r->two_dirs) {
		gain_to += gain_from;
		gain_from = 0;
	}
	err = check_links(to, gain_to);
	if (err == 0)
		err = check_links(from, gain_from);
	if (err < 0)
		return err;

	if (r->flags & RENAME_EXCHANGE)
		err = do_exchange(h, r);
	else
		err = to->inode == NULL ? do_move(h, r) : do_overwrite(h, r);
	if (err < 0)
		return err;
	to->dir->nlink += (uint32_t)gain_to;
	from->dir->nlink += (uint32_t)gain_from;
	err = touch_dir(h, to->dir);
	if (err == 0 && r->two_dirs)
		err = touch_dir(h, from->dir);
	return must(h->t->fs, err);
}

/* References to both directories are held. */
static int rename_in(struct fs_thread *t, struct renaming *r)
{
	struct fs *fs = t->fs;
	struct tx_handle h;
	int err;

	err = tx_begin(t, TX_JOIN_NAMES, TX_ALLOC_NAMES, &h);
	if (err < 0)
		return err;
	if (r->two_dirs)
		pthread_mutex_lock(&fs->rename_lock);
	err = lock_dirs(t, r);
	if (err == 0) {
		err = rename_locked(&h, r);
		unlock_dirs(r);
	}
	if (r->two_dirs)
		pthread_mutex_unlock(&fs->rename_lock);
	tx_end(&h);
	inode_put(t, r->from.inode);
	inode_put(t, r->to.inode);
	return err;
}

/* Before anyone looks for its ancestors. It may yet die until it is locked for good. */
static int check_dir_alone(struct inode *dir)
{
	int err;

	lock_read(dir);
	err = check_dir(dir);
	unlock(dir);
	return err;
}

int fs_rename(struct fs_thread *t, uint64_t dir, const char *name, uint64_t newdir,
	const char *newname, unsigned flags)
{
	struct renaming r = {.from.name = name, .to.name = newname, .flags = flags};
	int err;

	if ((flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0 ||
		flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	err = check_name(name);
	if (err == 0)
		err = check_name(newname);
	if (err == 0)
		err = inode_get(t, dir, &r.from.dir);
	if (err < 0)
		return err;
	err = inode_get(t, newdir, &r.to.dir);
	if (err < 0)
		goto put_from;
	r.two_dirs = r.from.dir != r.to.dir;
	err = check_dir_alone(r.from.dir);
	if (err == 0)
		err = check_dir_alone(r.to.dir);
	if (err == 0)
		err = rename_in(t, &r);
	inode_put(t, r.to.dir);
put_from:
	inode_put(t, r.from.dir);
	return err;
}

struct listing {
	struct fs_thread *t;
	struct inode *dir;
	bool want_attr;
	fs_fill_fn fill;
	void *arg;
	struct inode *left; /* referenced; of an entry that was not taken */
};

/* "." and "..", which are not stored. Returns false when FILL has no room. */
static bool list_dots(struct listing *l, uint64_t *cookie)
{
	struct fs_attr attr = {.ino = l->dir->ino, .mode = S_IFDIR};

	if (*cookie < COOKIE_DOT) {
		if (!l->fill(l->arg, ".", &attr, COOKIE_DOT))
			return false;
		*cookie = COOKIE_DOT;
	}
	if (*cookie < COOKIE_DOTDOT) {
		if (l->dir->ino != FS_ROOT_INO)
			attr.ino = l->dir->parent;
		if (!l->fill(l->arg, "..", &attr, COOKIE_DOTDOT))
			return false;
		*cookie = COOKIE_DOTDOT;
	}
	return true;
}

/* 0: taken; 1: no room. */
static int list_entry(struct listing *l, const struct dir_entry *entry)
{
	struct fs_attr attr = {.ino = entry->ino, .mode = DTTOIF(entry->type)};
	struct inode *inode;
	int err;

	if (!l->want_attr)
		return l->fill(l->arg, entry->name, &attr, entry->cookie) ? 0 : 1;
	err = get_entry_inode(l->t, l->dir, entry, &l->left);
	if (err < 0)
		return err;
	inode = l->left;
	lock_read(inode);
	err = check_type(inode, entry);
	inode_attr(inode, &attr);
	unlock(inode);
	if (err < 0)
		return err;
	if (!l->fill(l->arg, entry->name, &attr, entry->cookie))
		return 1;
	/* With the lookup reference in place this put frees nothing, so it may come under the
	 * directory's lock. */
	atomic_fetch_add(&inode->nlookup, 1);
	l->left = NULL;
	inode_put(l->t, inode);
	return 0;
}

/* Caller holds dir->lock for reading. */
static int list(struct listing *l, uint64_t cookie)
{
	struct dir_cursor cursor = {.at_leaf = false};
	struct dir_entry entry;
	int err;

	err = check_dir(l->dir);
	if (err < 0 || !list_dots(l, &cookie))
		return err;
	do {
		err = dir_next(l->t, l->dir, &cursor, cookie, &entry);
		if (err == 0) {
			err = list_entry(l, &entry);
			cookie = entry.cookie;
		}
	} while (err == 0);
	dir_cursor_put(&cursor);
	return err == -ENOENT || err == 1 ? 0 : err;
}

int fs_readdir(struct fs_thread *t, uint64_t dir, uint64_t cookie, bool want_attr, fs_fill_fn fill,
	void *arg)
{
	struct listing l = {.t = t, .want_attr = want_attr, .fill = fill, .arg = arg};
	int err;

	err = inode_get(t, dir, &l.dir);
	if (err < 0)
		return err;
	lock_read(l.dir);
	err = list(&l, cookie);
	unlock(l.dir);
	inode_put(t, l.left);
	inode_put(t, l.dir);
	return err;
}
