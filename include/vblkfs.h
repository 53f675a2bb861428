/* vblkfs.h - the filesystem, as its users call it: the FUSE daemon, mkfs, fsck, tests.
 *
 * It knows no FUSE and no PCI. Sizes and offsets of files are bytes. Errors are negative errnos:
 * -EIO the disk failed, -EUCLEAN its contents break the format (logged once, with the block),
 * -EROFS mounted or turned read-only, -ESTALE no such inode or another generation, and what POSIX
 * says of each call.
 *
 * Threads: each thread that calls has a struct fs_thread of its own, which owns one queue of the
 * disk. Calls on one inode from several threads are safe. A call may poll its thread's queue, so
 * done() of an earlier request may be called inside it; done() must not call back into the
 * filesystem.
 *
 * Inodes are named by number. A number handed out by fs_lookup() and its like (marked "takes a
 * reference") stays valid, even unlinked, until fs_forget() has given the references back. The root
 * is FS_ROOT_INO, always valid. */
#ifndef VBLKFS_VBLKFS_H
#define VBLKFS_VBLKFS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>
#include "blockdev.h"

#define FS_ROOT_INO      1
#define FS_BLOCK_BYTES   4096U
#define FS_NAME_MAX      255
#define FS_SYMLINK_MAX   4095
#define FS_IO_MAX        (1U << 20) /* bytes in one fs_io */
#define FS_FILE_SIZE_MAX (INT64_MAX & ~(int64_t)(FS_BLOCK_BYTES - 1))

struct fs;
struct fs_thread;

enum fs_errors { FS_ERRORS_REMOUNT_RO, FS_ERRORS_CONTINUE, FS_ERRORS_SHUTDOWN };

struct fs_mount_opts { /* all zero: the defaults */
	bool read_only;
	bool no_barrier;   /* no FLUSH but at the unmount: after a power cut anything may be left */
	unsigned commit_s; /* seconds between commits; 0: 5 */
	unsigned cache_mib;    /* metadata cache; 0: 32 */
	enum fs_errors errors; /* what corruption does */
};

int fs_mount(struct blockdev *dev, const struct fs_mount_opts *opts, struct fs **out);
/* All threads closed before. Makes everything durable and marks the filesystem clean; on error it
 * is not clean, and FS is gone all the same. */
int fs_unmount(struct fs *fs);

int fs_thread_open(struct fs *fs, struct fs_thread **out); /* for the calling thread */
void fs_thread_close(struct fs_thread *t);                 /* nothing in flight */
struct blk_queue *fs_thread_queue(struct fs_thread *t);

/* Freeze: when it returns 0 everything done so far is durable and at home, and nothing is written
 * until fs_thaw(): a copy of the disk made meanwhile is sound, and has nothing to replay. Calls that
 * change something wait, others go on. Both from any thread. -EBUSY: it is frozen; -ECANCELED: it
 * was thawed before it was frozen; -EROFS, -EIO: it can't be written anyway. */
int fs_freeze(struct fs *fs);
int fs_thaw(struct fs *fs); /* -EINVAL: it is not frozen. fs_unmount() thaws, too */
/* As a power cut would, go dead now, or (FLUSH) once all is committed: from then on every call
 * fails with -EIO and nothing is written. Any thread. Returns what the flush did. */
int fs_shutdown(struct fs *fs, bool flush);

struct fs_attr {
	uint64_t ino;
	uint64_t generation;
	uint64_t size;       /* bytes */
	uint64_t nr_sectors; /* allocated, 512 bytes each (st_blocks) */
	uint32_t mode;       /* with type */
	uint32_t nlink;
	uint32_t uid, gid;
	uint64_t rdev;
	struct timespec atime, mtime, ctime, btime;
};

struct fs_cred { /* who makes a new inode */
	uint32_t uid, gid;
};

enum { /* fs_setattr.valid */
	FS_SET_MODE = 1,
	FS_SET_UID = 2,
	FS_SET_GID = 4,
	FS_SET_SIZE = 8,
	FS_SET_ATIME = 16,
	FS_SET_MTIME = 32,
	FS_SET_CTIME = 64,  /* else ctime is now */
	FS_KILL_PRIV = 128, /* clear suid, sgid (if group-executable) and security.capability */
};
struct fs_setattr {
	unsigned valid;
	uint32_t mode, uid, gid;
	uint64_t size;
	struct timespec atime, mtime, ctime;
};

int fs_getattr(struct fs_thread *t, uint64_t ino, struct fs_attr *out);
int fs_setattr(
	struct fs_thread *t, uint64_t ino, const struct fs_setattr *set, struct fs_attr *out);

/* NAME is one component, 1 to 255 bytes, no slash; not "." nor "..": those are -EINVAL, but for
 * fs_lookup(). */
/* takes a reference */
int fs_lookup(struct fs_thread *t, uint64_t dir, const char *name, struct fs_attr *out);
/* Make any type: MODE has the type, RDEV is for devices. A directory with set-group-ID gives its
 * group (and, to directories, the bit). Takes a reference. */
int fs_mknod(struct fs_thread *t, uint64_t dir, const char *name, uint32_t mode, uint64_t rdev,
	const struct fs_cred *cred, struct fs_attr *out);
int fs_symlink(struct fs_thread *t, uint64_t dir, const char *name, const char *target,
	const struct fs_cred *cred, struct fs_attr *out); /* takes a reference */
/* NUL-terminated; bytes >= FS_SYMLINK_MAX + 1 */
int fs_readlink(struct fs_thread *t, uint64_t ino, char *buf, size_t bytes);
int fs_link(struct fs_thread *t, uint64_t ino, uint64_t dir, const char *name,
	struct fs_attr *out); /* takes a reference */
int fs_unlink(struct fs_thread *t, uint64_t dir, const char *name);
int fs_rmdir(struct fs_thread *t, uint64_t dir, const char *name);
/* RENAME_NOREPLACE, RENAME_EXCHANGE of renameat2(2) */
int fs_rename(struct fs_thread *t, uint64_t dir, const char *name, uint64_t newdir,
	const char *newname, unsigned flags);
/* gives NR references back; never fails */
void fs_forget(struct fs_thread *t, uint64_t ino, uint64_t nr);

/* Walk DIR in cookie order from after COOKIE (0: the start; "." and ".." come first). FILL is told
 * each entry and the cookie to go on after it; it returns false when it has no room (that entry was
 * not taken). With WANT_ATTR, ATTR is the entry's inode and a reference is taken for each entry
 * that FILL took, but not for "." and ".."; without, only ATTR's ino and mode type bits are set.
 * FILL must not call the filesystem. */
typedef bool (*fs_fill_fn)(
	void *arg, const char *name, const struct fs_attr *attr, uint64_t cookie);
int fs_readdir(struct fs_thread *t, uint64_t dir, uint64_t cookie, bool want_attr, fs_fill_fn fill,
	void *arg);

/* File data. Asynchronous: *IO is the caller's, but the filesystem's from the call to done(), which
 * comes on this thread, inside the call or at a later blk_poll() of the thread's queue. The queue
 * is kicked only by the caller (or by any wait). RESULT is bytes done or a negative errno. */
struct fs_io {
	uint64_t ino;
	uint64_t offset; /* in the file, bytes; any alignment */
	uint32_t bytes;  /* 0 to FS_IO_MAX */
	bool kill_priv;  /* write: as FS_KILL_PRIV */
	void *buf; /* DMA memory, 4096-aligned. write: the data at BUF itself. read: room for the blocks that
			  * [offset, offset + bytes) touches */
	void *data; /* read, set before done(): where in BUF the byte at OFFSET is. write: the filesystem may change bytes after
			  * BUF + BYTES up to the end of that 4096-byte page */
	void (*done)(struct fs_io *io, ssize_t result);
	void *user;        /* the caller's own */
	uint64_t priv[26]; /* the filesystem's */
};
void fs_read(struct fs_thread *t, struct fs_io *io); /* short at the end of the file */
void fs_write(struct fs_thread *t, struct fs_io *io);

/* mode: 0, FALLOC_FL_KEEP_SIZE, and with it PUNCH_HOLE or ZERO_RANGE; ZERO_RANGE alone. Else
 * -EOPNOTSUPP. */
int fs_fallocate(struct fs_thread *t, uint64_t ino, int mode, uint64_t offset, uint64_t bytes);
/* SEEK_DATA, SEEK_HOLE */
int fs_lseek(struct fs_thread *t, uint64_t ino, uint64_t offset, int whence, uint64_t *out);

/* Make durable. Asynchronous: done() comes from any thread, possibly inside the call. */
struct fs_sync {
	void (*done)(struct fs_sync *s, int err);
	void *user;
	struct fs_sync *next; /* the filesystem's */
	uint64_t priv[4];     /* the filesystem's */
};
/* All that was written to INO and all metadata that leads to it; with DATASYNC not what only times
 * changed. */
void fs_fsync(struct fs_thread *t, uint64_t ino, bool datasync, struct fs_sync *s);
int fs_sync(struct fs_thread *t); /* everything done before the call, and wait for it */

/* Extended attributes. FLAGS: XATTR_CREATE, XATTR_REPLACE. With BYTES 0, get and list return the
 * size needed. The result is the size, or -ERANGE, -ENODATA, -E2BIG... */
ssize_t fs_getxattr(struct fs_thread *t, uint64_t ino, const char *name, void *buf, size_t bytes);
int fs_setxattr(struct fs_thread *t, uint64_t ino, const char *name, const void *val, size_t bytes,
	int flags);
ssize_t fs_listxattr(struct fs_thread *t, uint64_t ino, char *buf, size_t bytes);
int fs_removexattr(struct fs_thread *t, uint64_t ino, const char *name);

struct fs_statfs {
	/* of FS_BLOCK_BYTES; avail: without the reserve */
	uint64_t nr_blocks, free_blocks, avail_blocks;
	uint64_t nr_inodes, free_inodes;
};
void fs_statfs(struct fs *fs, struct fs_statfs *out);

/* Discard the free blocks in [offset, offset + bytes) of the disk, or erase them securely, but no run
 * shorter than MIN_BYTES. *TRIMMED: bytes, also on an error. The call takes long and polls the thread's queue. -EOPNOTSUPP:
 * the disk can't. -EINVAL: past the end, less than a block, or no run is ever that long. */
int fs_trim(struct fs_thread *t, uint64_t offset, uint64_t bytes, uint64_t min_bytes, bool secure,
	uint64_t *trimmed);

struct fs_ident { /* of a filesystem on a disk, mounted or not */
	uint8_t uuid[16];
	char label[33]; /* NUL-terminated */
	bool dirty;     /* was not unmounted; the next mount replays its journal */
	uint64_t nr_blocks;
};
/* -EUCLEAN: a vblkfs, damaged; -ENODATA: none */
int fs_identify(struct blockdev *dev, struct fs_ident *out);
void fs_get_ident(struct fs *fs, struct fs_ident *out);

struct fs_stats {
	uint64_t commits, commit_blocks, commit_us;
	uint64_t cache_hits, cache_misses, cache_blocks, dirty_blocks;
	bool read_only; /* mounted so, or turned so by an error */
	bool frozen;    /* or on the way there */
};
void fs_get_stats(struct fs *fs, struct fs_stats *out);

struct mkfs_opts { /* all zero: the defaults */
	char label[33];
	bool have_uuid;
	uint8_t uuid[16];
	uint32_t inode_bytes_ratio; /* bytes of disk an inode; 0: 16384 */
	uint64_t journal_bytes;     /* 0: by size */
	bool no_discard;
	bool secure_erase; /* instead; -EOPNOTSUPP where the disk can't, and nothing is written */
	void (*progress)(void *arg, uint64_t done, uint64_t total); /* may be NULL */
	void *arg;
};
struct mkfs_geometry { /* what was, or would be, made */
	uint8_t uuid[16];
	char label[33];
	uint64_t nr_blocks, free_blocks, journal_blocks;
	uint32_t nr_groups, group_blocks, inodes_per_group;
	uint64_t nr_inodes;
};
/* -ENOSPC: disk too small; -EINVAL: option out of range (ERR says which). Checks no signatures: the
 * caller does. */
int mkfs_plan(uint64_t nr_sectors, const struct mkfs_opts *opts, struct mkfs_geometry *out,
	char *err, size_t err_bytes);
int mkfs_write(struct blockdev *dev, const struct mkfs_opts *opts, struct mkfs_geometry *out,
	char *err, size_t err_bytes);

/* Check, and repair, the filesystem on a disk that nobody has mounted: checker.h tells how. */
enum fsck_mode {
	FSCK_NO, /* writes nothing; the journal is replayed, and repairs are made, in memory only */
	FSCK_PREEN, /* repairs what can lose nothing, and stops at the first other problem */
	FSCK_YES,   /* repairs all that can be repaired */
	FSCK_ASK,   /* asks */
};
struct fsck_problem {
	int code;             /* checker.h: enum problem_code */
	const char *name;     /* for scripts: never changes */
	const char *text;     /* what is wrong, one line */
	const char *question; /* what would be done; NULL: it can't be repaired */
	uint64_t ino, block;  /* where; 0: says nothing */
	bool fixable, preen;
};
struct fsck_opts { /* all zero: report only, and nothing of a filesystem that is clean */
	enum fsck_mode mode;
	bool force; /* even if it is marked clean */
	uint64_t
		alt_super; /* block of a copy of the superblock to believe; 0: the first sound one */
	/* FSCK_ASK: 1 yes, 0 no, -1 stop. DFLT is the answer to an empty line. */
	int (*ask)(void *arg, const struct fsck_problem *problem, bool dflt);
	/* Of each problem; FIXED: it is being repaired. All four may be NULL. */
	void (*report)(void *arg, const struct fsck_problem *problem, bool fixed);
	void (*progress)(
		void *arg, unsigned pass, unsigned nr_passes, uint64_t done, uint64_t total);
	bool (*cancelled)(void *arg); /* looked at often; true: stop, -ECANCELED */
	void *arg;
};
#define FSCK_PASSES 5U
struct fsck_result {
	uint64_t nr_problems, nr_fixed, nr_left;
	bool was_clean; /* or had only its journal to replay: no force, so no pass was made */
	bool journal_replayed; /* there was something to replay */
	bool needs_hand;       /* FSCK_PREEN met a problem that is not for it */
	bool stopped;          /* FSCK_ASK: -1 was the answer */
	bool changed;          /* something was written, replay aside */
	uint64_t nr_inodes, used_inodes, nr_blocks, used_blocks;
	uint64_t nr_dirs, nr_files, nr_symlinks, nr_others; /* of the inodes in use */
	uint64_t nr_extents, nr_tree_files; /* extents; files that have them in a tree */
	uint64_t memory_bytes;              /* the most it used, file data aside */
	char label[33];
	char error[200]; /* of a negative return: one line */
};
/* 0: done, *OUT says what was found; this does not mean that nothing was. Else -ENODATA: no
 * superblock, -EOPNOTSUPP: features unknown, -EROFS, -EIO, -ENOMEM, -ECANCELED; *OUT is filled in as
 * far as it came. */
int fs_check(struct blockdev *dev, const struct fsck_opts *opts, struct fsck_result *out);
/* Row CODE, from 0, of the table of all problems. In text and question stand, for what they mention,
 * %i inode, %b block, %g group, %n a name, %s words, others numbers. False: there are no more. */
bool fs_check_problem(int code, struct fsck_problem *out);
#endif
