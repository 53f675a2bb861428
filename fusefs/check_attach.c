/* check_attach.c - names that fsck puts in: into lost+found, or where they should have been.
 *
 * Checks: nothing. Relies on: all passes: the filesystem is sound by now, but for inodes without
 * a name. So it is mounted, and the names are made by the code that always makes them, in
 * transactions: a run that is cut off here leaves it sound up to the last name.
 *
 * Link counts count these names already (check_link.c); only lost+found's own changes with each
 * directory that it gets. Without room for lost+found the root directory takes its place. */
#include <errno.h>
#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>
#include "checker.h"
#include "dir.h"
#include "inode.h"

#define LOST_FOUND "lost+found"
#define TRIES      100U

struct attach {
	struct check *c;
	struct fs *fs;
	struct fs_thread *t;
	uint64_t lost_found; /* 0: not looked for yet */
};

static int find_lost_found(struct attach *a)
{
	const struct fs_cred root = {0};
	struct fs_attr attr;
	char name[32] = LOST_FOUND;
	int err = -EEXIST;

	if (a->lost_found != 0)
		return 0;
	for (unsigned i = 1; i < TRIES && err == -EEXIST; i++) {
		err = fs_lookup(a->t, FS_ROOT_INO, name, &attr);
		if (err == -ENOENT)
			err = fs_mknod(a->t, FS_ROOT_INO, name, S_IFDIR | 0700, 0, &root, &attr);
		if (err == 0)
			fs_forget(a->t, attr.ino, 1);
		if (err == 0 && !S_ISDIR(attr.mode))
			err = -EEXIST;
		if (err == -EEXIST)
			snprintf(name, sizeof(name), LOST_FOUND ".%u", i);
	}
	if (err == 0)
		a->lost_found = attr.ino;
	else if (err == -ENOSPC)
		a->lost_found = FS_ROOT_INO;
	return a->lost_found != 0 ? 0 : err;
}

/* The name that leads from DIR to INO. Caller holds DIR's lock. */
static int find_name(struct attach *a, struct inode *dir, uint64_t ino, struct dir_entry *out)
{
	struct dir_cursor cursor = {0};
	uint64_t cookie = 0;
	int err;

	do {
		err = dir_next(a->t, dir, &cursor, cookie, out);
		cookie = out->cookie;
	} while (err == 0 && out->ino != ino);
	dir_cursor_put(&cursor);
	return err;
}

/* One change of one directory, in a transaction of its own. */
static int change(struct attach *a, uint64_t dir_ino, const struct check_name *n, const char *name,
	int (*what)(struct attach *a, struct tx_handle *h, struct inode *dir,
		const struct check_name *n, const char *name))
{
	struct inode *dir;
	struct tx_handle h;
	int err = inode_get(a->t, dir_ino, &dir);

	if (err < 0)
		return err;
	err = tx_begin(a->t, TX_JOIN_NAMES, TX_ALLOC_NAMES, &h);
	if (err == 0) {
		pthread_rwlock_wrlock(&dir->lock);
		err = what(a, &h, dir, n, name);
		if (err == 0)
			err = inode_update(&h, dir, false);
		pthread_rwlock_unlock(&dir->lock);
		tx_end(&h);
	}
	inode_put(a->t, dir);
	return err;
}

static int take_out(struct attach *a, struct tx_handle *h, struct inode *dir,
	const struct check_name *n, const char *name)
{
	struct dir_entry entry;
	int err = find_name(a, dir, n->ino, &entry);

	(void)name;
	return err < 0 ? err : dir_remove(h, dir, entry.name);
}

static int put_in(struct attach *a, struct tx_handle *h, struct inode *dir,
	const struct check_name *n, const char *name)
{
	(void)a;
	return dir_insert(h, dir, name, n->ino, n->type);
}

static int leave(struct attach *a, struct tx_handle *h, struct inode *dir,
	const struct check_name *n, const char *name)
{
	(void)a;
	(void)h;
	(void)n;
	(void)name;
	dir->nlink--;
	return 0;
}

/* As put_in(), into lost+found: a directory's parent is there from now on. */
static int put_lost(struct attach *a, struct tx_handle *h, struct inode *dir,
	const struct check_name *n, const char *name)
{
	struct inode *child;
	int err;

	if (n->type != DT_DIR)
		return put_in(a, h, dir, n, name);
	err = inode_get(a->t, n->ino, &child);
	if (err < 0)
		return err;
	pthread_rwlock_wrlock(&child->lock);
	err = dir_insert(h, dir, name, n->ino, n->type);
	if (err == 0) {
		child->parent = dir->ino;
		dir->nlink++;
		err = inode_update(h, child, false);
	}
	pthread_rwlock_unlock(&child->lock);
	inode_put(a->t, child);
	return err;
}

static int to_lost_found(struct attach *a, const struct check_name *n)
{
	char name[64];
	int err = find_lost_found(a);

	snprintf(name, sizeof(name), "#%llu", (unsigned long long)n->ino);
	if (err == 0)
		err = change(a, a->lost_found, n, name, put_lost);
	for (unsigned i = 1; i < TRIES && err == -EEXIST; i++) {
		snprintf(name, sizeof(name), "#%llu.%u", (unsigned long long)n->ino, i);
		err = change(a, a->lost_found, n, name, put_lost);
	}
	return err;
}

static int attach(struct attach *a, const struct check_name *n)
{
	int err;

	if (n->take_out)
		return change(a, n->dir, n, NULL, take_out);
	if (n->dir == 0)
		return to_lost_found(a, n);
	err = change(a, n->dir, n, n->name, put_in);
	if (err == 0)
		return 0;
	/* The name is there already, or its hash is full, or there is no room in that place. */
	err = to_lost_found(a, n);
	if (err == 0 && n->type == DT_DIR)
		err = change(a, n->dir, n, NULL, leave);
	return err;
}

static int attach_all(struct attach *a, bool take_out_ones)
{
	struct check *c = a->c;

	for (size_t i = 0; i < c->names.nr; i++) {
		const struct check_name *n = &c->names.v[i];
		int err;

		if (n->take_out != take_out_ones)
			continue;
		err = chk_go_on(c);
		if (err == 0)
			err = attach(a, n);
		if (err == -ECANCELED)
			return err;
		if (err < 0)
			(void)chk_fix(c, P_ATTACH_FAILED,
				&(struct problem_at){.ino = n->ino, .s = strerror(-err)});
	}
	return 0;
}

int check_attach(struct check *c)
{
	const struct fs_mount_opts opts = {.errors = FS_ERRORS_CONTINUE};
	struct attach a = {.c = c};
	int err = fs_mount(c->fs.dev, &opts, &a.fs);
	int end;

	if (err < 0)
		return chk_fail(c, err, "cannot put in names: mounting: %s", strerror(-err));
	a.fs->reserved_blocks = 0; /* this is what a reserve is for */
	err = fs_thread_open(a.fs, &a.t);
	if (err == 0) {
		err = attach_all(&a, true);
		if (err == 0)
			err = attach_all(&a, false);
		fs_thread_close(a.t);
	}
	end = fs_unmount(a.fs);
	if (end < 0)
		return chk_fail(c, end, "cannot put in names: %s", strerror(-end));
	return err;
}
