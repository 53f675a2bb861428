/* ops.c - FUSE requests: decode, one call of the filesystem, one reply.
 *
 * Invariants
 *  1. The sign of an error flips here and nowhere else.
 *  2. This process is the disk's only owner, so the kernel may keep names, attributes and data for
 *     ever: it is told so in every reply. Only what changes without a reply that says so must be
 *     dropped: see has_priv().
 *  3. A reply that hands out an inode carries the reference that the filesystem took. If the reply
 *     fails, nobody will forget it, so it is given back.
 *  4. Nothing but session.c's memory holds file data: a WRITE goes to the disk from where /dev/fuse
 *     put it, a READ is answered from where the disk put it. */
#include <errno.h>
#include <fuse_lowlevel.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include "session.h"

#define FOR_EVER 1e9 /* seconds */

#define MAX_BACKGROUND 128 /* the kernel's default, 12, starves the disk */
#define CONGESTION     96

static struct stat to_stat(const struct fs_attr *a)
{
	return (struct stat){
		.st_ino = a->ino,
		.st_mode = a->mode,
		.st_nlink = a->nlink,
		.st_uid = a->uid,
		.st_gid = a->gid,
		.st_rdev = a->rdev,
		.st_size = (off_t)a->size,
		.st_blksize = FS_BLOCK_BYTES,
		.st_blocks = (blkcnt_t)a->nr_sectors,
		.st_atim = a->atime,
		.st_mtim = a->mtime,
		.st_ctim = a->ctime,
	};
}

static struct fuse_entry_param to_entry(const struct fs_attr *a)
{
	return (struct fuse_entry_param){
		.ino = a->ino,
		.generation = a->generation,
		.attr = to_stat(a),
		.attr_timeout = FOR_EVER,
		.entry_timeout = FOR_EVER,
	};
}

static void reply_err(fuse_req_t req, int err)
{
	fuse_reply_err(req, -err);
}

static void reply_attr(fuse_req_t req, int err, const struct fs_attr *a)
{
	struct stat st;

	if (err < 0) {
		reply_err(req, err);
		return;
	}
	st = to_stat(a);
	fuse_reply_attr(req, &st, FOR_EVER);
}

static void reply_entry(fuse_req_t req, int err, const struct fs_attr *a)
{
	struct fuse_entry_param e;

	if (err < 0) {
		reply_err(req, err);
		return;
	}
	e = to_entry(a);
	if (fuse_reply_entry(req, &e) < 0)
		fs_forget(session_thread(), a->ino, 1);
}

static struct fs_cred cred_of(fuse_req_t req)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	return (struct fs_cred){.uid = ctx->uid, .gid = ctx->gid};
}

/* ---- the connection ---- */

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	unsigned want = FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_WRITEBACK_CACHE |
			FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS |
			FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_EXPORT_SUPPORT |
			FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_IOCTL_DIR;

	(void)userdata;
#ifdef FUSE_CAP_HANDLE_KILLPRIV_V2
	want |= FUSE_CAP_HANDLE_KILLPRIV_V2;
#endif
	/* Not FUSE_CAP_ATOMIC_O_TRUNC: there is no OPEN that could carry O_TRUNC (op_open), so it
	 * must come as SETATTR. Not FUSE_CAP_AUTO_INVAL_DATA: nobody changes files behind the
	 * kernel's back. */
	conn->want = conn->capable & want;
	conn->max_write = FS_IO_MAX;
	conn->max_read = FS_IO_MAX;
	conn->max_background = MAX_BACKGROUND;
	conn->congestion_threshold = CONGESTION;
	conn->time_gran = 1;
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct fs_statfs s;
	struct statvfs out = {
		.f_bsize = FS_BLOCK_BYTES, .f_frsize = FS_BLOCK_BYTES, .f_namemax = FS_NAME_MAX};

	(void)ino;
	fs_statfs(session_fs(), &s);
	out.f_blocks = s.nr_blocks;
	out.f_bfree = s.free_blocks;
	out.f_bavail = s.avail_blocks;
	out.f_files = s.nr_inodes;
	out.f_ffree = out.f_favail = s.free_inodes;
	fuse_reply_statfs(req, &out);
}

/* ---- inodes ---- */

/* Must whoever asks with a file in hand (a writer, most likely) be told that the disk is full? */
static bool must_hear_of_full_disk(fuse_ino_t ino)
{
	struct fs_statfs s;

	if (!session_refused_take(ino))
		return false;
	fs_statfs(session_fs(), &s);
	return s.avail_blocks < FS_IO_MAX / FS_BLOCK_BYTES;
}

/* The kernel, too, asks with a file in hand before a write, if it does not know the attributes. */
static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	double timeout = FOR_EVER;
	struct fs_attr a;
	struct stat st;
	int err;

	if (fi != NULL && must_hear_of_full_disk(ino)) {
		reply_err(req, -ENOSPC);
		return;
	}
	if (session_refused_look(ino)) /* stat(2); the writer has not come yet */
		timeout = 0;
	err = fs_getattr(session_thread(), ino, &a);
	if (err < 0) {
		reply_err(req, err);
		return;
	}
	st = to_stat(&a);
	fuse_reply_attr(req, &st, timeout);
}

static struct fs_setattr to_setattr(const struct stat *st, int to_set)
{
	static const struct {
		int fuse;
		unsigned fs;
	} bits[] = {
		{FUSE_SET_ATTR_MODE, FS_SET_MODE},
		{FUSE_SET_ATTR_UID, FS_SET_UID},
		{FUSE_SET_ATTR_GID, FS_SET_GID},
		{FUSE_SET_ATTR_SIZE, FS_SET_SIZE},
		{FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW, FS_SET_ATIME},
		{FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW, FS_SET_MTIME},
		{FUSE_SET_ATTR_CTIME, FS_SET_CTIME},
	};
	struct fs_setattr set = {
		.mode = st->st_mode,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.size = (uint64_t)st->st_size,
		.atime = st->st_atim,
		.mtime = st->st_mtim,
		.ctime = st->st_ctim,
	};
	struct timespec now;

	for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
		if (to_set & bits[i].fuse)
			set.valid |= bits[i].fs;
	clock_gettime(CLOCK_REALTIME, &now);
	if (to_set & FUSE_SET_ATTR_ATIME_NOW)
		set.atime = now;
	if (to_set & FUSE_SET_ATTR_MTIME_NOW)
		set.mtime = now;
	return set;
}

static void op_setattr(
	fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set, struct fuse_file_info *fi)
{
	struct fs_setattr set = to_setattr(st, to_set);
	struct fs_attr a;
	int err;

	(void)fi;
	/* With FUSE_HANDLE_KILLPRIV_V2 a new owner ends the old one's privileges without the
	 * kernel's asking. */
	if (session_kill_priv() || (set.valid & (FS_SET_UID | FS_SET_GID)))
		set.valid |= FS_KILL_PRIV;
	err = fs_setattr(session_thread(), ino, &set, &a);
	reply_attr(req, err, &a);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	size_t room;
	char *target = session_scratch(&room);
	int err;

	err = fs_readlink(session_thread(), ino, target, room);
	if (err < 0)
		reply_err(req, err);
	else
		fuse_reply_readlink(req, target);
}

static void forget(fuse_ino_t ino, uint64_t nlookup)
{
	session_refused_take(ino); /* the next file of that number has lost nothing */
	fs_forget(session_thread(), ino, nlookup);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	forget(ino, nlookup);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		forget(forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

/* ---- names ---- */

static void op_lookup(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	struct fuse_entry_param none = {.entry_timeout = FOR_EVER};
	struct fs_attr a;
	int err;

	err = fs_lookup(session_thread(), dir, name, &a);
	if (err == -ENOENT)
		fuse_reply_entry(req, &none); /* the kernel remembers that, too */
	else
		reply_entry(req, err, &a);
}

static void op_mknod(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode, dev_t rdev)
{
	struct fs_cred cred = cred_of(req);
	struct fs_attr a;
	int err;

	err = fs_mknod(session_thread(), dir, name, mode, rdev, &cred, &a);
	reply_entry(req, err, &a);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode)
{
	op_mknod(req, dir, name, S_IFDIR | (mode & 07777), 0);
}

static void op_create(
	fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct fs_cred cred = cred_of(req);
	struct fuse_entry_param e;
	struct fs_attr a;
	int err;

	err = fs_mknod(session_thread(), dir, name, S_IFREG | (mode & 07777), 0, &cred, &a);
	if (err < 0) {
		reply_err(req, err);
		return;
	}
	e = to_entry(&a);
	fi->keep_cache = 1;
	if (fuse_reply_create(req, &e, fi) < 0)
		fs_forget(session_thread(), a.ino, 1);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t dir, const char *name)
{
	struct fs_cred cred = cred_of(req);
	struct fs_attr a;
	int err;

	err = fs_symlink(session_thread(), dir, name, target, &cred, &a);
	reply_entry(req, err, &a);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t dir, const char *name)
{
	struct fs_attr a;
	int err;

	err = fs_link(session_thread(), ino, dir, name, &a);
	reply_entry(req, err, &a);
}

static void op_unlink(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	reply_err(req, fs_unlink(session_thread(), dir, name));
}

static void op_rmdir(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	reply_err(req, fs_rmdir(session_thread(), dir, name));
}

static void op_rename(fuse_req_t req, fuse_ino_t dir, const char *name, fuse_ino_t newdir,
	const char *newname, unsigned flags)
{
	reply_err(req, fs_rename(session_thread(), dir, name, newdir, newname, flags));
}

/* ---- directories ---- */

struct filler {
	fuse_req_t req;
	char *buf;
	size_t used, bytes;
};

static bool fill_plain(void *arg, const char *name, const struct fs_attr *a, uint64_t cookie)
{
	struct filler *f = arg;
	struct stat st = {.st_ino = a->ino, .st_mode = a->mode};
	size_t n;

	n = fuse_add_direntry(
		f->req, f->buf + f->used, f->bytes - f->used, name, &st, (off_t)cookie);
	if (n > f->bytes - f->used)
		return false;
	f->used += n;
	return true;
}

static bool is_dot(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static bool fill_plus(void *arg, const char *name, const struct fs_attr *a, uint64_t cookie)
{
	struct filler *f = arg;
	struct fuse_entry_param e = to_entry(a);
	size_t n;

	if (is_dot(name))
		e.ino = 0; /* no reference was taken: the kernel then uses the name and type only */
	n = fuse_add_direntry_plus(
		f->req, f->buf + f->used, f->bytes - f->used, name, &e, (off_t)cookie);
	if (n > f->bytes - f->used)
		return false;
	f->used += n;
	return true;
}

static void list(fuse_req_t req, fuse_ino_t dir, size_t bytes, off_t cookie, bool plus)
{
	struct filler f = {.req = req};
	size_t room;
	int err;

	f.buf = session_scratch(&room);
	f.bytes = bytes < room ? bytes : room;
	err = fs_readdir(
		session_thread(), dir, (uint64_t)cookie, plus, plus ? fill_plus : fill_plain, &f);
	/* An error after some entries: they are given (their references with them); it comes again
	 * at the next. */
	if (err < 0 && f.used == 0)
		reply_err(req, err);
	else
		fuse_reply_buf(req, f.buf, f.used);
}

static void op_readdir(
	fuse_req_t req, fuse_ino_t dir, size_t bytes, off_t cookie, struct fuse_file_info *fi)
{
	(void)fi;
	list(req, dir, bytes, cookie, false);
}

static void op_readdirplus(
	fuse_req_t req, fuse_ino_t dir, size_t bytes, off_t cookie, struct fuse_file_info *fi)
{
	(void)fi;
	list(req, dir, bytes, cookie, true);
}

/* ---- file data ---- */

/* ENOSYS: the kernel sends no OPEN, OPENDIR, RELEASE any more, and keeps data and listings across
 * opens. An unlinked file lives by its references (fs_forget()). */
static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	reply_err(req, -ENOSYS);
}

static void read_done(struct fs_io *io, ssize_t result)
{
	struct data_req *d = (struct data_req *)io;

	if (result < 0)
		reply_err(d->req, (int)result);
	else
		fuse_reply_buf(d->req, io->data, (size_t)result);
	session_release(d);
}

static void op_read(
	fuse_req_t req, fuse_ino_t ino, size_t bytes, off_t offset, struct fuse_file_info *fi)
{
	struct data_req *d;

	(void)fi;
	if (bytes > FS_IO_MAX || offset < 0) {
		reply_err(req, -EINVAL);
		return;
	}
	d = session_keep(req, (uint32_t)bytes + (uint32_t)(offset % FS_BLOCK_BYTES));
	d->io.ino = ino;
	d->io.offset = (uint64_t)offset;
	d->io.bytes = (uint32_t)bytes;
	d->io.done = read_done;
	fs_read(session_thread(), &d->io);
}

/* The kernel leaves it to us to take suid and sgid from a file that a user changes, but does not
 * ask afterwards whether we did: it would go on to run the changed file with its owner's rights. */
static bool has_priv(fuse_ino_t ino)
{
	struct fs_attr a;

	return fs_getattr(session_thread(), ino, &a) == 0 && (a.mode & (S_ISUID | S_ISGID));
}

static void write_done(struct fs_io *io, ssize_t result)
{
	struct data_req *d = (struct data_req *)io;
	bool refused =
		d->from_cache && (result == -ENOSPC || (result >= 0 && (size_t)result < io->bytes));

	if (refused)
		session_refused_note(io->ino);
	if (d->drop_attr)
		session_drop_attr(io->ino);
	if (result < 0)
		reply_err(d->req, (int)result);
	else if ((size_t)result < io->bytes)
		/* The disk became full half-way. The kernel's writeback takes a short write for a
		 * whole one: only an error reaches the fsync() or close() that must know. */
		reply_err(d->req, -ENOSPC);
	else
		fuse_reply_write(d->req, (size_t)result);
	if (refused) /* now that nobody, ending the file, can wait for the reply */
		session_drop_attr(io->ino);
	session_release(d);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t bytes, off_t offset,
	struct fuse_file_info *fi)
{
	struct data_req *d;

	(void)buf; /* d->io.buf: session.c's invariant 2 */
	if (bytes > FS_IO_MAX || offset < 0) {
		reply_err(req, -EINVAL);
		return;
	}
	d = session_keep(req, (uint32_t)bytes);
	d->io.ino = ino;
	d->io.offset = (uint64_t)offset;
	d->io.bytes = (uint32_t)bytes;
	d->io.kill_priv = session_kill_priv();
	d->drop_attr = d->io.kill_priv && has_priv(ino);
	d->from_cache = fi->writepage != 0;
	d->io.done = write_done;
	fs_write(session_thread(), &d->io);
}

static void sync_done(struct fs_sync *s, int err)
{
	session_sync_end((struct sync_req *)s, err);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct sync_req *r = session_sync_begin(req);

	(void)fi;
	if (r == NULL) {
		reply_err(req, -ENOMEM);
		return;
	}
	r->sync.done = sync_done;
	fs_fsync(session_thread(), ino, datasync != 0, &r->sync);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t bytes,
	struct fuse_file_info *fi)
{
	int err;

	(void)fi;
	if (offset < 0 || bytes <= 0) {
		reply_err(req, -EINVAL);
		return;
	}
	err = fs_fallocate(session_thread(), ino, mode, (uint64_t)offset, (uint64_t)bytes);
	/* It changes contents, but has no flag that says to take suid. */
	if (err == 0 && fuse_req_ctx(req)->uid != 0 && has_priv(ino)) {
		struct fs_setattr set = {.valid = FS_KILL_PRIV};
		struct fs_attr a;

		err = fs_setattr(session_thread(), ino, &set, &a);
		session_drop_attr(ino);
	}
	reply_err(req, err);
}

/* fstrim(8)'s FITRIM, on any file or directory; that is all. */
static void op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg,
	struct fuse_file_info *fi, unsigned flags, const void *in, size_t in_bytes,
	size_t out_bytes)
{
	struct fstrim_range range;
	uint64_t trimmed;
	int err;

	(void)ino, (void)arg, (void)fi, (void)flags;
	if (cmd != (unsigned)FITRIM || in_bytes < sizeof(range) || out_bytes < sizeof(range)) {
		reply_err(req, -ENOTTY);
		return;
	}
	if (fuse_req_ctx(req)->uid != 0) {
		reply_err(req, -EPERM);
		return;
	}
	memcpy(&range, in, sizeof(range));
	err = fs_trim(session_thread(), range.start, range.len, range.minlen, false, &trimmed);
	range.len = trimmed;
	if (err < 0)
		reply_err(req, err);
	else
		fuse_reply_ioctl(req, 0, &range, sizeof(range));
}

/* ---- extended attributes ---- */

/* Access control lists come as system.posix_acl_*: to keep what nobody obeys would be worse than to
 * refuse it. */
static bool is_unsupported(const char *name)
{
	return strncmp(name, "system.", 7) == 0;
}

static void reply_xattr(fuse_req_t req, ssize_t n, const void *buf, size_t bytes)
{
	if (n < 0)
		reply_err(req, (int)n);
	else if (bytes == 0)
		fuse_reply_xattr(req, (size_t)n);
	else
		fuse_reply_buf(req, buf, (size_t)n);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t bytes)
{
	size_t room;
	char *buf = session_scratch(&room);
	ssize_t n;

	if (bytes > room)
		bytes = room;
	n = is_unsupported(name) ? -EOPNOTSUPP
				 : fs_getxattr(session_thread(), ino, name, buf, bytes);
	reply_xattr(req, n, buf, bytes);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t bytes)
{
	size_t room;
	char *buf = session_scratch(&room);
	ssize_t n;

	if (bytes > room)
		bytes = room;
	n = fs_listxattr(session_thread(), ino, buf, bytes);
	reply_xattr(req, n, buf, bytes);
}

static void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
	size_t bytes, int flags)
{
	if (is_unsupported(name))
		reply_err(req, -EOPNOTSUPP);
	else
		reply_err(req, fs_setxattr(session_thread(), ino, name, value, bytes, flags));
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	if (is_unsupported(name))
		reply_err(req, -EOPNOTSUPP);
	else
		reply_err(req, fs_removexattr(session_thread(), ino, name));
}

/* Not here on purpose: flush (its absence ends FLUSH requests), release (follows from op_open), and
 * the locks (the kernel then keeps them itself, which is right for a disk with one owner), and
 * lseek: the kernel does not write its dirty pages before it asks, so SEEK_DATA would deny data
 * that was just written (seen with 6.18: ENXIO), and cp(1) would leave it out. Without it the
 * kernel says that all of a file is data. */
const struct fuse_lowlevel_ops ops_table = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.symlink = op_symlink,
	.rename = op_rename,
	.link = op_link,
	.create = op_create,
	.open = op_open,
	.opendir = op_open,
	.read = op_read,
	.write = op_write,
	.fsync = op_fsync,
	.fsyncdir = op_fsync,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.statfs = op_statfs,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.setxattr = op_setxattr,
	.removexattr = op_removexattr,
	.fallocate = op_fallocate,
	.ioctl = op_ioctl,
};
