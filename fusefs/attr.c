/* attr.c - an inode's attributes, read and set. */
#include <errno.h>
#include <sys/stat.h>
#include "file.h"
#include "xattr.h"

#define SET_TIMES  (FS_SET_ATIME | FS_SET_MTIME | FS_SET_CTIME)
#define CAPABILITY "security.capability"

int fs_getattr(struct fs_thread *t, uint64_t ino, struct fs_attr *out)
{
	struct inode *inode;
	int err;

	err = inode_get(t, ino, &inode);
	if (err < 0)
		return err;
	pthread_rwlock_rdlock(&inode->lock);
	inode_attr(inode, out);
	pthread_rwlock_unlock(&inode->lock);
	inode_put(t, inode);
	return 0;
}

/* Set-group-ID without group-execute once meant mandatory locking: the kernel leaves it alone, and
 * so do we. */
static uint32_t priv_bits(uint32_t mode)
{
	uint32_t bits = mode & S_ISUID;

	if ((mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
		bits |= S_ISGID;
	return bits;
}

bool inode_has_priv(struct fs_thread *t, struct inode *inode)
{
	return priv_bits(inode->mode) != 0 || xattr_present(t, inode, CAPABILITY) != 0;
}

int inode_kill_priv(struct tx_handle *h, struct inode *inode)
{
	int err;

	inode->mode &= ~priv_bits(inode->mode);
	err = xattr_remove_locked(h, inode, CAPABILITY);
	return err == -ENODATA ? 0 : err;
}

static bool time_ok(const struct timespec *ts)
{
	return ts->tv_nsec >= 0 && ts->tv_nsec < 1000000000;
}

static int check_set(const struct inode *inode, const struct fs_setattr *set)
{
	if (set->valid & FS_SET_SIZE) {
		if (S_ISDIR(inode->mode))
			return -EISDIR;
		if (!S_ISREG(inode->mode))
			return -EINVAL;
		if (set->size > FS_FILE_SIZE_MAX)
			return -EFBIG;
	}
	if (((set->valid & FS_SET_ATIME) && !time_ok(&set->atime)) ||
		((set->valid & FS_SET_MTIME) && !time_ok(&set->mtime)) ||
		((set->valid & FS_SET_CTIME) && !time_ok(&set->ctime)))
		return -EINVAL;
	return 0;
}

static bool is_times_only(const struct fs_setattr *set)
{
	return (set->valid & ~(unsigned)SET_TIMES) == 0;
}

static void apply_times(struct inode *inode, const struct fs_setattr *set)
{
	struct timespec now;

	inode_now(&now);
	if (set->valid & FS_SET_ATIME)
		inode->atime = set->atime;
	if (set->valid & FS_SET_MTIME)
		inode->mtime = set->mtime;
	else if (set->valid & FS_SET_SIZE)
		inode->mtime = now;
	inode->ctime = set->valid & FS_SET_CTIME ? set->ctime : now;
}

/* Who gives a file away, or has it given, keeps no privilege in it: as chown(2) has it. */
static bool kills_priv(const struct inode *inode, const struct fs_setattr *set)
{
	if (S_ISDIR(inode->mode))
		return false;
	return (set->valid & (FS_KILL_PRIV | FS_SET_UID | FS_SET_GID)) != 0;
}

/* Caller holds inode->lock for writing. */
static int apply(struct tx_handle *h, struct inode *inode, const struct fs_setattr *set)
{
	int err = 0;

	if (set->valid & FS_SET_SIZE)
		err = file_set_size(h, inode, set->size);
	if (err < 0)
		return err;
	if (kills_priv(inode, set))
		err = inode_kill_priv(h, inode);
	if (err < 0)
		return fs_abort(inode->fs, err, "inode %llu: attributes half set",
			(unsigned long long)inode->ino);
	if (set->valid & FS_SET_MODE)
		inode->mode = (inode->mode & S_IFMT) | (set->mode & 07777);
	if (set->valid & FS_SET_UID)
		inode->uid = set->uid;
	if (set->valid & FS_SET_GID)
		inode->gid = set->gid;
	apply_times(inode, set);
	if (is_times_only(set))
		tx_times_only(h);
	return inode_update(h, inode, is_times_only(set));
}

/* Times of an inode that has no name stay in memory: nobody will see them on the disk, and the
 * kernel sends some after each unlink. False: it is another case. */
static bool set_nameless(struct inode *inode, const struct fs_setattr *set, struct fs_attr *out)
{
	bool nameless;

	if (!is_times_only(set) || fs_may_write(inode->fs) < 0)
		return false;
	pthread_rwlock_wrlock(&inode->lock);
	nameless = inode->nlink == 0;
	if (nameless)
		apply_times(inode, set);
	if (nameless && out != NULL)
		inode_attr(inode, out);
	pthread_rwlock_unlock(&inode->lock);
	return nameless;
}

/* One attempt. *TRUNCATING: blocks are left to free. */
static int set_once(struct fs_thread *t, struct inode *inode, const struct fs_setattr *set,
	struct fs_attr *out, bool *truncating)
{
	struct tx_handle h;
	int err;

	err = tx_begin(t, 2 * TX_JOIN_EXTENT + TX_JOIN_INODE, 0, &h);
	if (err < 0)
		return err;
	pthread_rwlock_wrlock(&inode->lock);
	err = apply(&h, inode, set);
	if (err == 0 && out != NULL)
		inode_attr(inode, out);
	*truncating = (set->valid & FS_SET_SIZE) && (inode->flags & INODE_F_TRUNCATING);
	pthread_rwlock_unlock(&inode->lock);
	tx_end(&h);
	return err;
}

int fs_setattr(struct fs_thread *t, uint64_t ino, const struct fs_setattr *set, struct fs_attr *out)
{
	struct inode *inode;
	bool truncating = false;
	int err;

	err = inode_get(t, ino, &inode);
	if (err < 0)
		return err;
	err = check_set(inode, set);
	while (err == 0 && !set_nameless(inode, set, out)) {
		err = set_once(t, inode, set, out, &truncating);
		if (err != -EAGAIN)
			break;
		err = file_settle(t, inode);
	}
	if (err == 0 && truncating)
		file_truncate_later(inode);
	inode_put(t, inode);
	return err;
}
