/* oracle.c - holds a mounted filesystem against the model (oracle.h).
 *
 * A walk over the whole tree makes the digest of names and attributes, and notes the files. The
 * digest says which of the allowed states this is; then each file's sectors are looked up among
 * their versions. What the tree has must be all that is in use: nothing leaks. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "log_disk.h"
#include "fs.h"
#include "oracle.h"
#include "orphan.h"
#include "world.h"
#include "../io_wait.h"

#define COMMIT_S_NEVER 100000U
#define FOUND_MAX      4000U
#define BUF_BYTES      (FS_IO_MAX + FS_BLOCK_BYTES)

/* The promises of vblkfs(5), PROMISES, by their numbers. */
#define P_FSYNC  "promise 1 (fsync)"
#define P_SOUND  "promise 2 (mountable and sound)"
#define P_RENAME "promise 3 (replaced by rename: old or new whole)"
#define P_OWN    "promise 4 (no one else's contents)"
#define P_TIME   "promise 5 (not lost after commit= seconds)"
#define P_READ   "promise 7 (a read-only mount writes nothing)"
#define P_WHOLE  "promise 8 (operations whole and in order)"
#define P_BEFORE "promise 9 (contents before the operations that follow)"
#define P_APPEND "promise 10 (appended: size and contents)"
#define P_FROZEN "promise 13 (a frozen copy has nothing to replay)"
#define P_UMOUNT "promise 12 (unmounted: all is there)"

struct found { /* an inode of the tree */
	struct fs_attr attr;
	uint64_t dir;
	char name[OP_PATH_BYTES];
};

struct oracle {
	const struct model *m;
	struct moment at;
	struct blockdev *dev;
	struct fs *fs;
	struct fs_thread *t;
	uint8_t *buf;
	struct found found[FOUND_MAX];
	uint32_t nr_found;
	uint32_t nr_listed; /* whose directories were read */
	uint64_t digest;
	uint64_t blocks, inodes; /* that the tree uses */
	void (*on_tree)(const char *line);
	char *why;
	size_t why_bytes;
};

static bool fail(struct oracle *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static bool fail(struct oracle *o, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(o->why, o->why_bytes, fmt, ap);
	va_end(ap);
	return false;
}

/* --- the walk --- */

static bool take_entry(void *arg, const char *name, const struct fs_attr *attr, uint64_t cookie)
{
	struct oracle *o = arg;
	struct found *f = &o->found[o->nr_found];

	(void)cookie;
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return true;
	if (o->nr_found == FOUND_MAX || strlen(name) >= sizeof(f->name))
		return false;
	f->attr = *attr;
	f->dir = o->found[o->nr_listed].attr.ino;
	strcpy(f->name, name);
	o->nr_found++;
	return true;
}

/* An inode with several names is found with the first. */
static bool seen_before(const struct oracle *o, uint32_t i)
{
	if (o->found[i].attr.nlink <= 1 || S_ISDIR(o->found[i].attr.mode))
		return false;
	for (uint32_t k = 0; k < i; k++)
		if (o->found[k].attr.ino == o->found[i].attr.ino)
			return true;
	return false;
}

static bool add_xattrs(struct oracle *o, const struct fs_attr *a, struct facts *f)
{
	char list[512];
	uint8_t value[MODEL_VALUE_MAX];
	ssize_t n = fs_listxattr(o->t, a->ino, list, sizeof(list));

	if (n < 0)
		return fail(o, P_SOUND ": attributes of inode %lu: %s", a->ino, strerror((int)-n));
	for (const char *name = list; name < list + n; name += strlen(name) + 1) {
		ssize_t bytes = fs_getxattr(o->t, a->ino, name, value, sizeof(value));

		if (bytes < 0)
			return fail(o, P_SOUND ": attribute %s of inode %lu: %s", name, a->ino,
				strerror((int)-bytes));
		f->xattr_sum += xattr_hash(name, value, (size_t)bytes);
	}
	return true;
}

static bool add_target(struct oracle *o, const struct fs_attr *a, struct facts *f)
{
	char target[FS_SYMLINK_MAX + 1];
	int err = fs_readlink(o->t, a->ino, target, sizeof(target));

	if (err < 0)
		return fail(o, P_SOUND ": target of inode %lu: %s", a->ino, strerror(-err));
	f->target_hash = bytes_hash(target, strlen(target), 3);
	return true;
}

static bool add_inode(struct oracle *o, uint32_t i)
{
	const struct fs_attr *a = &o->found[i].attr;
	struct facts f = {
		.ino = a->ino,
		.generation = a->generation,
		.size = S_ISREG(a->mode) || S_ISLNK(a->mode) ? a->size : 0,
		.mode = a->mode,
		.nlink = a->nlink,
		.uid = a->uid,
		.gid = a->gid,
	};

	if (i > 0)
		o->digest += entry_hash(o->found[i].dir, o->found[i].name, a->ino);
	if (seen_before(o, i))
		return true;
	if (!add_xattrs(o, a, &f) || (S_ISLNK(a->mode) && !add_target(o, a, &f)))
		return false;
	o->digest += facts_hash(&f);
	o->blocks += a->nr_sectors / (FS_BLOCK_BYTES / SECTOR_BYTES);
	o->inodes++;
	return true;
}

static void tell_tree(struct oracle *o)
{
	for (uint32_t i = 0; i < o->nr_found; i++) {
		const struct found *f = &o->found[i];
		char line[200];

		(void)snprintf(line, sizeof(line),
			"in %-4lu %-12s ino %lu mode %o nlink %u size %lu", f->dir, f->name,
			f->attr.ino, f->attr.mode, f->attr.nlink, f->attr.size);
		o->on_tree(line);
	}
}

static bool walk(struct oracle *o)
{
	int err = fs_getattr(o->t, FS_ROOT_INO, &o->found[0].attr);

	if (err < 0)
		return fail(o, P_SOUND ": the root: %s", strerror(-err));
	o->found[0].dir = 0;
	o->found[0].name[0] = '\0';
	o->digest = o->blocks = o->inodes = 0;
	o->nr_found = 1;
	for (o->nr_listed = 0; o->nr_listed < o->nr_found; o->nr_listed++) {
		uint32_t i = o->nr_listed;
		uint32_t first = o->nr_found;

		if (!add_inode(o, i))
			return false;
		if (!S_ISDIR(o->found[i].attr.mode))
			continue;
		err = fs_readdir(o->t, o->found[i].attr.ino, 0, true, take_entry, o);
		if (err < 0)
			return fail(o, P_SOUND ": directory %lu: %s", o->found[i].attr.ino,
				strerror(-err));
		for (uint32_t k = first; k < o->nr_found; k++)
			fs_forget(o->t, o->found[k].attr.ino, 1);
	}
	if (o->on_tree != NULL)
		tell_tree(o);
	return true;
}

/* --- names and attributes --- */

/* Whose promise it is that what is older than the last acknowledgement is there. */
static const char *acknowledged(const struct oracle *o)
{
	switch (o->m->kind[o->m->last_ack[o->at.done]]) {
	case OP_TIME:
		return P_TIME;
	case OP_FREEZE:
		return P_FROZEN;
	case OP_REMOUNT:
	case OP_UNMOUNT:
		return P_UMOUNT;
	default:
		return P_FSYNC;
	}
}

/* Contents are older than operation STATE, which is there. */
static const char *published(const struct oracle *o, uint32_t state)
{
	switch (o->m->kind[state]) {
	case OP_RENAME:
		return P_RENAME;
	case OP_WRITE:
		return P_APPEND;
	default:
		return P_BEFORE;
	}
}

/* Which state this is; of several the earliest, which allows most. */
static bool find_state(struct oracle *o, uint32_t *state)
{
	const struct model *m = o->m;
	uint32_t floor = m->floor[o->at.done];

	for (uint32_t k = floor; k <= o->at.begun; k++)
		if (m->digest[k] == o->digest) {
			*state = k;
			return true;
		}
	for (uint32_t k = floor; k-- > 0;)
		if (m->digest[k] == o->digest)
			return fail(o,
				"%s: names and attributes are as after operation %u, but those up "
				"to %u were acknowledged as durable",
				acknowledged(o), k, floor);
	return fail(o,
		P_WHOLE ": names and attributes are as at no moment between operations %u and %u",
		floor, o->at.begun);
}

/* --- contents --- */

struct data { /* of one file */
	const struct mnode *node;
	uint32_t floor;  /* nothing older than after this operation */
	uint32_t synced; /* of that: what an fsync acknowledged */
};

static bool matches(const struct version *v, const uint8_t *bytes, size_t nr)
{
	static const uint8_t zeros[MODEL_SECTOR];

	return memcmp(v->bytes == NULL ? zeros : v->bytes, bytes, nr) == 0;
}

struct allowed {                                 /* versions that a sector may have */
	const struct version *base, *from, *end; /* BASE, or one of [FROM, END) */
};

static struct allowed allowed_of(const struct sector *s, uint32_t floor, uint32_t begun)
{
	static const struct version never = {0, NULL};
	struct allowed a = {&never, NULL, NULL};

	if (s == NULL || s->nr == 0)
		return a;
	for (a.from = s->v; a.from < s->v + s->nr && a.from->op <= floor; a.from++)
		a.base = a.from;
	for (a.end = a.from; a.end < s->v + s->nr && a.end->op <= begun; a.end++)
		;
	return a;
}

static uint8_t byte_of(const struct version *v, size_t at)
{
	return v->bytes == NULL ? 0 : v->bytes[at];
}

static bool byte_matches(const struct allowed *a, uint8_t byte, size_t at)
{
	bool found = byte_of(a->base, at) == byte;

	for (const struct version *v = a->from; v < a->end && !found; v++)
		found = byte_of(v, at) == byte;
	return found;
}

/* What a truncate has cut off is zeros to the model at once, but stays on the disk; what is done to
 * the block later leaves it there. If the truncate is lost the file shows it again, next to what
 * was done later. */
static bool was_cut(const struct oracle *o, const struct allowed *a)
{
	for (const struct version *v = a->from; v < a->end; v++)
		if (o->m->kind[v->op] == OP_TRUNCATE)
			return true;
	return false;
}

static bool is_allowed(
	const struct oracle *o, const struct allowed *a, const uint8_t *bytes, size_t nr)
{
	bool all = was_cut(o, a);

	if (matches(a->base, bytes, nr))
		return true;
	for (const struct version *v = a->from; v < a->end; v++)
		if (matches(v, bytes, nr))
			return true;
	for (size_t i = 0; i < nr && all; i++)
		all = byte_matches(a, bytes[i], i);
	return all;
}

/* Whose bytes are they? */
static bool find_owner(const struct model *m, const uint8_t *bytes, size_t nr,
	const struct mnode **owner, uint64_t *sector, uint32_t *op)
{
	for (const struct mnode *n = m->nodes; n != NULL; n = n->next)
		for (uint32_t i = 0; i < n->nr_sectors; i++)
			for (uint32_t k = 0; k < n->sector[i].nr; k++)
				if (n->sector[i].v[k].bytes != NULL &&
					matches(&n->sector[i].v[k], bytes, nr)) {
					*owner = n;
					*sector = i;
					*op = n->sector[i].v[k].op;
					return true;
				}
	return false;
}

static bool is_zero(const uint8_t *bytes, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		if (bytes[i] != 0)
			return false;
	return true;
}

static bool fail_data(
	struct oracle *o, const struct data *d, uint64_t nr, const uint8_t *bytes, size_t visible)
{
	const char *promise = d->floor == d->synced ? acknowledged(o) : published(o, d->floor);
	const struct mnode *owner;
	uint64_t sector;
	uint32_t op;

	if (is_zero(bytes, visible))
		return fail(o,
			"%s: inode %lu: sector %lu is zeros, not as after operation %u or later",
			promise, d->node->key.ino, nr, d->floor);
	if (!find_owner(o->m, bytes, visible, &owner, &sector, &op))
		return fail(o,
			P_OWN ": inode %lu: sector %lu has bytes that nobody wrote there: %02x "
			      "%02x %02x %02x",
			d->node->key.ino, nr, bytes[0], bytes[1], bytes[2], bytes[3]);
	if (owner != d->node || sector != nr)
		return fail(o,
			P_OWN
			": inode %lu: sector %lu has what operation %u wrote to sector %lu of "
			"inode %lu",
			d->node->key.ino, nr, op, sector, owner->key.ino);
	return fail(o,
		"%s: inode %lu: sector %lu is as after operation %u, not as after %u or later",
		promise, d->node->key.ino, nr, op, d->floor);
}

static ssize_t read_file(struct oracle *o, uint64_t ino, uint64_t offset, uint8_t **data)
{
	struct fs_io io = {.ino = ino, .offset = offset, .bytes = FS_IO_MAX, .buf = o->buf};
	ssize_t result = io_do(o->t, fs_read, &io);

	*data = io.data;
	return result;
}

static bool check_piece(
	struct oracle *o, const struct data *d, uint64_t offset, const uint8_t *bytes, size_t nr)
{
	for (size_t at = 0; at < nr; at += MODEL_SECTOR) {
		uint64_t sector = (offset + at) / MODEL_SECTOR;
		size_t visible = nr - at < MODEL_SECTOR ? nr - at : MODEL_SECTOR;
		const struct sector *s =
			sector < d->node->nr_sectors ? &d->node->sector[sector] : NULL;
		struct allowed a = allowed_of(s, d->floor, o->at.begun);

		if (!is_allowed(o, &a, bytes + at, visible))
			return fail_data(o, d, sector, bytes + at, visible);
	}
	return true;
}

static bool check_file(struct oracle *o, const struct fs_attr *a, uint32_t state)
{
	struct data d = {.node = model_node(o->m, a->ino, a->generation)};

	if (d.node == NULL)
		return fail(o, P_WHOLE ": nobody made inode %lu", a->ino);
	d.synced = model_data_floor(o->m, d.node, o->at.done);
	d.floor = d.synced > state ? d.synced : state;
	for (uint64_t offset = 0; offset < a->size; offset += FS_IO_MAX) {
		uint8_t *bytes;
		ssize_t n = read_file(o, a->ino, offset, &bytes);

		if (n < 0)
			return fail(
				o, P_SOUND ": reading inode %lu: %s", a->ino, strerror((int)-n));
		if ((uint64_t)n != (a->size - offset < FS_IO_MAX ? a->size - offset : FS_IO_MAX))
			return fail(o, P_SOUND ": reading inode %lu stops short", a->ino);
		if (!check_piece(o, &d, offset, bytes, (size_t)n))
			return false;
	}
	return true;
}

static bool check_files(struct oracle *o, uint32_t state)
{
	for (uint32_t i = 0; i < o->nr_found; i++)
		if (S_ISREG(o->found[i].attr.mode) && !seen_before(o, i) &&
			!check_file(o, &o->found[i].attr, state))
			return false;
	return true;
}

/* --- what is in use --- */

static bool check_counts(struct oracle *o)
{
	struct fs_statfs st;

	fs_statfs(o->fs, &st);
	if (st.nr_blocks - st.free_blocks != o->blocks)
		return fail(o, P_SOUND ": %lu blocks are in use, but the tree has %lu",
			st.nr_blocks - st.free_blocks, o->blocks);
	if (st.nr_inodes - st.free_inodes != o->inodes)
		return fail(o, P_SOUND ": %lu inodes are in use, but the tree has %lu",
			st.nr_inodes - st.free_inodes, o->inodes);
	return true;
}

/* --- what else a mount is for --- */

/* A mount for reading only shows the same, and writes nothing. What has no name is not freed. */
static bool check_read_only(struct oracle *o)
{
	const struct fs_mount_opts opts = {.read_only = true};
	uint64_t before = log_disk_nr_writes(o->dev);
	uint32_t state = 0;
	bool ok;
	int err;

	err = fs_mount(o->dev, &opts, &o->fs);
	if (err < 0)
		return fail(
			o, P_SOUND ": read-only mount: %s: %s", strerror(-err), world_messages());
	if (fs_thread_open(o->fs, &o->t) < 0)
		abort();
	ok = walk(o) && find_state(o, &state) && check_files(o, state);
	fs_thread_close(o->t);
	err = fs_unmount(o->fs);
	if (ok && (err < 0 || world_has_messages()))
		ok = fail(o, P_SOUND ": read-only: %s: %s", strerror(-err), world_messages());
	if (ok && log_disk_nr_writes(o->dev) != before)
		ok = fail(o, P_READ);
	return ok;
}

/* The filesystem goes on as ever: a new file, with contents, in the place of another. */
static bool use(struct oracle *o)
{
	const struct fs_cred cred = {0};
	struct fs_io io = {.bytes = 5000, .buf = o->buf};
	ssize_t written;
	struct fs_attr a;
	int err = fs_mknod(o->t, FS_ROOT_INO, "after-the-crash", S_IFREG | 0600, 0, &cred, &a);

	if (err == -ENOSPC)
		return true;
	if (err < 0)
		return fail(o, P_SOUND ": a new file after the crash: %s", strerror(-err));
	io.ino = a.ino;
	written = io_do(o->t, fs_write, &io);
	err = fs_rename(o->t, FS_ROOT_INO, "after-the-crash", FS_ROOT_INO, "foo", RENAME_EXCHANGE);
	fs_forget(o->t, a.ino, 1);
	if ((written < 0 && written != -ENOSPC) || (err < 0 && err != -ENOENT && err != -ENOSPC))
		return fail(o, P_SOUND ": using the filesystem after the crash: %ld, %s",
			(long)written, strerror(-err));
	return true;
}

/* --- fsck --- */

static void note_problem(void *arg, const struct fsck_problem *p, bool fixed)
{
	struct oracle *o = arg;
	size_t used = strlen(o->why);

	(void)fixed;
	(void)snprintf(o->why + used, o->why_bytes - used, "%s%s", used == 0 ? "" : "; ", p->text);
}

/* Nothing is to be repaired. WHEN: of the mount. */
static bool check_offline(struct oracle *o, const char *when)
{
	const struct fsck_opts opts = {
		.mode = FSCK_NO, .force = true, .report = note_problem, .arg = o};
	struct fsck_result result;
	char found[300];
	int err;

	o->why[0] = '\0';
	err = fs_check(o->dev, &opts, &result);
	if (err == 0 && result.nr_problems == 0 && !world_has_messages())
		return true;
	(void)snprintf(found, sizeof(found), "%s", o->why);
	return fail(o, P_SOUND ": fsck %s: %s %s %s", when, err < 0 ? strerror(-err) : "", found,
		world_messages());
}

/* --- all of it --- */

static bool check_mounted(struct oracle *o)
{
	uint32_t state = 0;

	orphans_wait(o->t);
	if (!walk(o) || !find_state(o, &state) || !check_files(o, state))
		return false;
	if (world_has_messages())
		return fail(o, P_SOUND ": %s", world_messages());
	return check_counts(o);
}

/* The cut came while it was frozen. */
static bool is_frozen(const struct oracle *o)
{
	return o->at.done > 0 && o->at.begun == o->at.done && o->m->kind[o->at.done] == OP_FREEZE;
}

/* Mount it, and what is to be seen then; WAS_CLEAN: it said so before. */
static bool check_online(struct oracle *o, bool thorough, bool was_clean)
{
	const struct fs_mount_opts opts = {.commit_s = COMMIT_S_NEVER};
	bool ok;
	int err;

	world_drop_messages();
	err = fs_mount(o->dev, &opts, &o->fs);
	if (err < 0)
		return fail(o, P_SOUND ": mount: %s: %s", strerror(-err), world_messages());
	if (fs_thread_open(o->fs, &o->t) < 0)
		abort();
	ok = check_mounted(o);
	if (ok && was_clean && world_replayed())
		ok = fail(o, P_UMOUNT ": marked as clean, but the journal was not empty");
	if (ok && is_frozen(o) && world_replayed())
		ok = fail(o, P_FROZEN ": the journal was not empty");
	if (ok && thorough)
		ok = use(o);
	fs_thread_close(o->t);
	err = fs_unmount(o->fs);
	if (ok && (err < 0 || world_has_messages()))
		ok = fail(o, P_SOUND ": unmount: %s: %s", strerror(-err), world_messages());
	if (ok && log_disk_fault(o->dev) != NULL)
		ok = fail(o, P_SOUND ": %s", log_disk_fault(o->dev));
	return ok;
}

bool oracle_check(struct oracle *o, struct blockdev *dev, const struct model *m, struct moment at,
	bool thorough, void (*on_tree)(const char *line), char *why, size_t why_bytes)
{
	struct fs_ident ident;
	int err;

	o->m = m;
	o->at = at;
	o->dev = dev;
	o->on_tree = on_tree;
	o->why = why;
	o->why_bytes = why_bytes;
	world_drop_messages();
	err = fs_identify(dev, &ident);
	if (err < 0)
		return fail(o, P_SOUND ": superblock: %s", strerror(-err));
	if (thorough && (!check_offline(o, "before the mount") || !check_read_only(o)))
		return false;
	if (!check_online(o, thorough, !ident.dirty))
		return false;
	err = fs_identify(dev, &ident);
	if (err < 0 || ident.dirty)
		return fail(o, P_SOUND ": not clean after unmount");
	return check_offline(o, "after the unmount");
}

struct oracle *oracle_open(void)
{
	struct oracle *o = calloc(1, sizeof(*o));

	if (o == NULL)
		abort();
	o->buf = aligned_alloc(FS_BLOCK_BYTES, BUF_BYTES);
	if (o->buf == NULL)
		abort();
	return o;
}

void oracle_close(struct oracle *o)
{
	free(o->buf);
	free(o);
}
