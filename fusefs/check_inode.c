/* check_inode.c - pass 1: the inode tables, slot by slot.
 *
 * Checks: every slot below inodes_ready: number, type, fields, contents (check_extent.c for
 * files, symbolic links here), extended attributes (check_xattr.c), the count of blocks.
 * Collects: what each inode is, and how many links it counts; the directories, whose trees are
 * pass 2's; inodes with the mark of the orphan list; which blocks are claimed. Relies on: the
 * geometry, and how far the tables go (check_group.c).
 *
 * A slot that makes no sense is cleared only where its type is lost; else what is wrong in it is
 * corrected. Links, parents and the orphan list are judged in pass 4. */
#include <errno.h>
#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>
#include "btree.h"
#include "checker.h"

#define NS_END 1000000000U

/* --- one slot --- */

static bool fix(struct check_inode *i, enum problem_code code, uint64_t x, uint64_t y)
{
	return chk_inode_fix(i, code, x, y);
}

static void clear(struct check_inode *i)
{
	memset(i->d, 0, sizeof(*i->d));
	i->gone = true;
	i->dirty = true;
}

/* Is there a TYPE of this inode in BLOCK? */
static bool has_block(struct check_inode *i, uint64_t block, enum block_type type)
{
	uint8_t *page = chk_page_get(i->c);
	bool salvage;
	bool is = extent_blocks_ok(&i->c->fs, block, 1) && chk_read(i->c, block, page) == 0 &&
		  chk_fault(i->c, page, block, type, i->ino, &salvage) == NULL;

	chk_page_put(i->c, page);
	return is;
}

/* The type that only what is in the fork can tell; 0: it does not. */
static uint32_t type_of_contents(struct check_inode *i, const char **what)
{
	size_t target = strnlen((const char *)i->d->fork, INODE_FORK_BYTES);
	struct fork_btree fork;
	uint64_t root;

	memcpy(&fork, i->d->fork, sizeof(fork));
	root = le64_get(fork.root);
	*what = "a file";
	if (i->d->fork_format == FORK_EXTENTS)
		return S_IFREG;
	if (i->d->fork_format == FORK_BTREE &&
		(has_block(i, root, BT_EXTENT_NODE) || has_block(i, root, BT_EXTENT_LEAF)))
		return S_IFREG;
	*what = "a directory";
	if (i->d->fork_format == FORK_BTREE &&
		(has_block(i, root, BT_DIR_NODE) || has_block(i, root, BT_DIR_LEAF)))
		return S_IFDIR;
	*what = "a symbolic link";
	if (i->d->fork_format == FORK_SYMLINK && target > 0 && target == le64_get(i->d->size))
		return S_IFLNK;
	return i->d->fork_format == FORK_SYMLINK_BLOCK && has_block(i, root, BT_SYMLINK) ? S_IFLNK
											 : 0;
}

/* A mode of no type. */
static void mend_type(struct check_inode *i, uint32_t mode)
{
	struct problem_at at = {.ino = i->ino, .x = mode};
	uint32_t type = type_of_contents(i, &at.s);

	if (type == 0 && fix(i, P_INODE_TYPE, mode, 0))
		clear(i);
	i->gone = type == 0 || !chk_fix(i->c, P_INODE_TYPE_KNOWN, &at);
	if (i->gone)
		return;
	i->d->mode = le32_of(type | (mode & 07777));
	i->dirty = true;
}

static void check_mode(struct check_inode *i)
{
	uint32_t mode = le32_get(i->d->mode);

	if (i->ino == FS_ROOT_INO && (mode & S_IFMT) != S_IFDIR && fix(i, P_ROOT_TYPE, mode, 0)) {
		mode = S_IFDIR | 0755; /* what else the mode says can't be believed */
		i->d->mode = le32_of(mode);
	}
	switch (mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFLNK:
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK:
		break;
	default:
		mend_type(i, mode);
		return;
	}
	if ((mode & ~(uint32_t)(S_IFMT | 07777)) != 0 && fix(i, P_INODE_MODE, mode, 0))
		i->d->mode = le32_of(mode & (S_IFMT | 07777));
}

static void check_times(struct check_inode *i)
{
	struct inode_disk *d = i->d;
	le32 *ns[] = {&d->atime_ns, &d->mtime_ns, &d->ctime_ns, &d->btime_ns};
	bool bad = false;

	for (unsigned k = 0; k < 4; k++)
		bad |= le32_get(*ns[k]) >= NS_END;
	if (!bad || !fix(i, P_INODE_TIMES, 0, 0))
		return;
	for (unsigned k = 0; k < 4; k++)
		if (le32_get(*ns[k]) >= NS_END)
			*ns[k] = le32_of(0);
}

static void check_flags(struct check_inode *i, uint32_t type)
{
	const uint32_t known = INODE_F_ORPHAN | INODE_F_TRUNCATING | INODE_F_USER_MASK;
	uint32_t flags = le32_get(i->d->flags);

	if ((flags & ~known) != 0 && fix(i, P_INODE_FLAGS, flags & ~known, 0))
		flags &= known;
	if ((flags & INODE_F_TRUNCATING) && (type != S_IFREG || !(flags & INODE_F_ORPHAN)) &&
		fix(i, P_INODE_TRUNCATING, 0, 0)) {
		if (type == S_IFREG)
			flags |= INODE_F_ORPHAN; /* blocks may be left: the next mount frees them */
		else
			flags &= ~INODE_F_TRUNCATING;
	}
	i->d->flags = le32_of(flags);
}

/* Those of directories and links are judged with their contents. A file that is too large ends with
 * its last block. */
static void check_size(struct check_inode *i, uint32_t type)
{
	uint64_t max = type == S_IFREG ? FS_FILE_SIZE_MAX : 0;
	uint64_t size = le64_get(i->d->size), end = type == S_IFREG ? i->end * BLOCK_BYTES : 0;

	if (type == S_IFDIR || type == S_IFLNK || size <= max)
		return;
	if (fix(i, P_INODE_SIZE, size, end))
		i->d->size = le64_of(end);
}

static bool fork_fits(const struct inode_disk *d, uint32_t type)
{
	switch (d->fork_format) {
	case FORK_NONE:
		return type != S_IFLNK;
	case FORK_EXTENTS:
		return type == S_IFREG;
	case FORK_BTREE:
		return type == S_IFREG || type == S_IFDIR;
	case FORK_SYMLINK:
	case FORK_SYMLINK_BLOCK:
		return type == S_IFLNK;
	default:
		return false;
	}
}

/* Make the fork empty. */
static void fork_reset(struct inode_disk *d)
{
	d->fork_format = FORK_NONE;
	d->fork_count = 0;
	memset(d->fork, 0, sizeof(d->fork));
}

/* False: the contents can't be used. */
static bool check_fork(struct check_inode *i, uint32_t type)
{
	struct inode_disk *d = i->d;

	if (!fork_fits(d, type)) {
		if (type == S_IFLNK) /* without contents it is nothing */
			return true;
		if (fix(i, P_INODE_FORK, d->fork_format, 0))
			fork_reset(d);
		return false;
	}
	if (d->fork_format != FORK_EXTENTS && d->fork_count != 0 &&
		fix(i, P_INODE_FORK_COUNT, d->fork_count, 0))
		d->fork_count = 0;
	return true;
}

/* --- symbolic links --- */

static void no_target(struct check_inode *i)
{
	if (fix(i, P_SYMLINK_TARGET, 0, 0))
		clear(i);
	i->gone = true;
}

static void check_target(struct check_inode *i, size_t bytes)
{
	uint64_t size = le64_get(i->d->size);

	if (size != bytes && fix(i, P_SYMLINK_SIZE, size, bytes))
		i->d->size = le64_of(bytes);
}

static size_t target_bytes(const struct symlink_disk *link)
{
	uint32_t bytes = le32_get(link->bytes);
	const uint8_t *end = memchr(link->target, '\0', sizeof(link->target));
	size_t found = end == NULL ? sizeof(link->target) : (size_t)(end - link->target);

	return bytes < found ? bytes : found;
}

/* 0: mended, or all right. -ENODATA: there is no target. */
static int mend_target(struct check_inode *i, uint64_t block, uint8_t *page)
{
	struct symlink_disk *link = (struct symlink_disk *)page;
	struct problem_at at = {.ino = i->ino, .block = block};
	bool salvage = false;
	int err = chk_read(i->c, block, page);
	size_t bytes;

	if (err < 0 && err != -EIO)
		return err;
	at.s = err == -EIO ? "can't be read"
			   : chk_fault(i->c, page, block, BT_SYMLINK, i->ino, &salvage);
	if (at.s != NULL && !salvage)
		return -ENODATA;
	bytes = target_bytes(link);
	if (bytes <= INODE_SYMLINK_MAX)
		return -ENODATA;
	if (at.s == NULL && bytes != le32_get(link->bytes))
		at.s = "counts more bytes than it has";
	if (at.s != NULL && chk_fix(i->c, P_SYMLINK_BLOCK, &at)) {
		chk_head_mend(i->c, page, block, BT_SYMLINK, i->ino);
		link->bytes = le32_of((uint32_t)bytes);
		err = chk_write(i->c, block, page);
	}
	check_target(i, bytes);
	return err;
}

static int check_symlink_block(struct check_inode *i)
{
	struct fork_btree fork;
	uint8_t *page;
	uint64_t block;
	int err;

	memcpy(&fork, i->d->fork, sizeof(fork));
	block = le64_get(fork.root);
	if (!extent_blocks_ok(&i->c->fs, block, 1)) {
		no_target(i);
		return 0;
	}
	if (le32_get(fork.height) != 0 && fix(i, P_TREE_ROOT, le32_get(fork.height), block)) {
		fork.height = le32_of(0);
		memcpy(i->d->fork, &fork, sizeof(fork));
	}
	page = chk_page_get(i->c);
	err = mend_target(i, block, page);
	chk_page_put(i->c, page);
	if (err == -ENODATA) {
		no_target(i);
		return 0;
	}
	i->nr_blocks++;
	return err < 0 ? err : chk_claim(i->c, block, 1);
}

static int check_symlink(struct check_inode *i)
{
	size_t bytes;

	if (i->d->fork_format == FORK_SYMLINK_BLOCK)
		return check_symlink_block(i);
	bytes = strnlen((const char *)i->d->fork, INODE_FORK_BYTES);
	if (i->d->fork_format != FORK_SYMLINK || bytes == 0 || bytes > INODE_SYMLINK_MAX)
		no_target(i);
	else
		check_target(i, bytes);
	return 0;
}

/* --- directories: what pass 2 needs --- */

static int add_dir(struct check_inode *i)
{
	struct check *c = i->c;
	struct tree tree = {
		.c = c, .ino = i->ino, .leaf_type = BT_DIR_LEAF, .node_type = BT_DIR_NODE};
	struct check_dir *dir;
	struct fork_btree fork;
	uint64_t root;
	int err = chk_grow(c, (void **)&c->dirs.v, c->dirs.nr, &c->dirs.max, sizeof(*dir));

	if (err < 0)
		return err;
	dir = &c->dirs.v[c->dirs.nr++];
	*dir = (struct check_dir){.ino = i->ino,
		.parent = le64_get(i->d->parent_rdev),
		.nr_blocks = le64_get(i->d->nr_blocks) - i->nr_blocks};
	if (i->d->fork_format != FORK_BTREE)
		return 0;
	memcpy(&fork, i->d->fork, sizeof(fork));
	root = le64_get(fork.root);
	dir->height = le32_get(fork.height);
	if (tree_mend_height(&tree, root, &dir->height)) {
		fork.height = le32_of(dir->height);
		memcpy(i->d->fork, &fork, sizeof(fork));
		i->dirty = true;
	}
	if (extent_blocks_ok(&c->fs, root, 1) && dir->height <= BTREE_HEIGHT_MAX)
		dir->root = root;
	else if (chk_fix(c, P_TREE_ROOT,
			 &(struct problem_at){.ino = i->ino, .block = root, .x = dir->height})) {
		fork_reset(i->d);
		i->dirty = true;
	}
	return 0;
}

struct check_dir *chk_dir(struct check *c, uint64_t ino)
{
	size_t lo = 0, hi = c->dirs.nr;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (c->dirs.v[mid].ino < ino)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < c->dirs.nr && c->dirs.v[lo].ino == ino ? &c->dirs.v[lo] : NULL;
}

/* --- all of a slot --- */

static int add_orphan(struct check_inode *i)
{
	struct check *c = i->c;
	int err = chk_grow(
		c, (void **)&c->orphans.v, c->orphans.nr, &c->orphans.max, sizeof(*c->orphans.v));

	if (err == 0)
		c->orphans.v[c->orphans.nr++] =
			(struct check_orphan){.ino = i->ino, .next = le64_get(i->d->orphan_next)};
	return err;
}

static void count(struct check *c, uint32_t type, const struct inode_disk *d)
{
	if (type == S_IFREG)
		c->out->nr_files++;
	else if (type == S_IFDIR)
		c->out->nr_dirs++;
	else if (type == S_IFLNK)
		c->out->nr_symlinks++;
	else
		c->out->nr_others++;
	if (type == S_IFREG && d->fork_format == FORK_BTREE)
		c->out->nr_tree_files++;
	if (le32_get(d->generation) > c->generation)
		c->generation = le32_get(d->generation);
}

/* It is in use, and stays. */
static int enter(struct check_inode *i, uint32_t type)
{
	struct check *c = i->c;
	struct check_group *g = &c->group[(i->ino - 1) / c->fs.inodes_per_group];
	bool orphan = (le32_get(i->d->flags) & INODE_F_ORPHAN) != 0;
	uint32_t nlink = le32_get(i->d->nlink);
	int err = 0;

	*chk_ino(c, i->ino) = (uint8_t)(IFTODT(type) | INO_USED | (orphan ? INO_ORPHAN : 0));
	*chk_links(c, i->ino) = nlink > INT32_MAX ? INT32_MAX : (int32_t)nlink;
	g->nr_used++;
	count(c, type, i->d);
	if (type == S_IFDIR) {
		uint64_t bytes = le64_get(i->d->nr_blocks) * BLOCK_BYTES;

		g->nr_dirs++;
		if (le64_get(i->d->size) != bytes &&
			fix(i, P_DIR_SIZE, le64_get(i->d->size), bytes))
			i->d->size = le64_of(bytes);
		err = add_dir(i);
	} else if (le64_get(i->d->nr_blocks) != i->nr_blocks &&
		   fix(i, P_INODE_BLOCKS, le64_get(i->d->nr_blocks), i->nr_blocks)) {
		i->d->nr_blocks = le64_of(i->nr_blocks);
	}
	if (err == 0 && orphan)
		err = add_orphan(i);
	return err;
}

static int check_contents(struct check_inode *i, uint32_t type)
{
	bool usable = check_fork(i, type);

	if (type == S_IFLNK)
		return check_symlink(i);
	return usable && type == S_IFREG ? check_extents(i) : 0;
}

static int check_slot(struct check_inode *i)
{
	uint32_t type;
	int err;

	if (le64_get(i->d->ino) != i->ino && fix(i, P_INODE_NUMBER, le64_get(i->d->ino), 0))
		i->d->ino = le64_of(i->ino);
	check_mode(i);
	if (i->gone)
		return 0;
	type = le32_get(i->d->mode) & S_IFMT;
	check_times(i);
	check_flags(i, type);
	err = check_contents(i, type);
	if (err == 0 && !i->gone)
		check_size(i, type);
	if (err == 0 && !i->gone)
		err = check_xattrs(i);
	if (err == 0 && !i->gone)
		err = enter(i, type);
	return err;
}

/* --- the tables --- */

/* In a block that was hit, a slot counts only if it still knows its number. */
static void forget_strangers(struct inodes_disk *d, uint64_t first)
{
	for (uint32_t k = 0; k < INODES_PER_BLOCK; k++)
		if (le64_get(d->inode[k].ino) != first + k)
			memset(&d->inode[k], 0, sizeof(d->inode[k]));
}

/* One that was freed is all zeros; if only the number is, then that was hit. */
static bool is_used(const struct inode_disk *d)
{
	return le64_get(d->ino) != 0 ||
	       (le32_get(d->nlink) != 0 && (le32_get(d->mode) & S_IFMT) != 0);
}

static int check_block(struct check *c, uint32_t group, uint32_t index, uint8_t *page, int read_err)
{
	uint64_t first =
		(uint64_t)group * c->fs.inodes_per_group + (uint64_t)index * INODES_PER_BLOCK + 1;
	struct inodes_disk *d = (struct inodes_disk *)page;
	struct problem_at at = {.block = chk_itable_block(c, group, index), .group = group};
	bool dirty = false, salvage; /* all are tried: the place says what it is */
	int err = 0;

	if (read_err < 0)
		memset(page, 0, BLOCK_BYTES);
	at.s = read_err < 0 ? "can't be read"
			    : chk_fault(c, page, at.block, BT_INODES, group, &salvage);
	if (at.s != NULL) {
		dirty = chk_fix(c, P_INODE_BLOCK, &at);
		if (!dirty)
			return 0;
		chk_head_mend(c, page, at.block, BT_INODES, group);
		forget_strangers(d, first);
	}
	for (uint32_t k = 0; k < INODES_PER_BLOCK && err == 0; k++) {
		struct check_inode i = {.c = c, .ino = first + k, .d = &d->inode[k]};

		if (is_used(i.d))
			err = check_slot(&i);
		dirty |= i.dirty;
	}
	return dirty && err == 0 ? chk_write(c, at.block, page) : err;
}

/* NR blocks from INDEX on; where one of them can't be read, they are read one by one. */
static int check_run(struct check *c, uint32_t group, uint32_t index, uint32_t nr)
{
	int err = chk_read_run(c, chk_itable_block(c, group, index), nr, c->window);
	bool single = err == -EIO;

	if (err < 0 && !single)
		return err;
	for (uint32_t i = 0; i < nr; i++) {
		uint8_t *page = c->window + (size_t)i * BLOCK_BYTES;

		err = single ? chk_read(c, chk_itable_block(c, group, index + i), page) : 0;
		if (err == 0 || err == -EIO)
			err = check_block(c, group, index + i, page, err);
		if (err < 0)
			return err;
	}
	return 0;
}

static int check_table(struct check *c, uint32_t group)
{
	struct check_group *g = &c->group[group];
	uint32_t end = g->ready / INODES_PER_BLOCK;
	int err = 0;

	if (end == 0)
		return 0;
	g->inode = chk_alloc(c, g->ready);
	g->links = chk_alloc(c, g->ready * sizeof(*g->links));
	if (g->inode == NULL || g->links == NULL)
		return -ENOMEM;
	for (uint32_t at = 0; at < end && err == 0; at += WINDOW_BLOCKS) {
		err = chk_go_on(c);
		if (err == 0)
			err = check_run(
				c, group, at, end - at < WINDOW_BLOCKS ? end - at : WINDOW_BLOCKS);
	}
	return err;
}

/* --- the root --- */

static void new_root(struct inode_disk *d)
{
	memset(d, 0, sizeof(*d));
	d->ino = le64_of(FS_ROOT_INO);
	d->mode = le32_of(S_IFDIR | 0755);
	d->nlink = le32_of(2);
	d->generation = le32_of(1);
	d->parent_rdev = le64_of(FS_ROOT_INO);
}

static int check_root(struct check *c)
{
	struct check_dir dir = {.ino = FS_ROOT_INO, .parent = FS_ROOT_INO};
	struct inode_disk *d;
	int err;

	if ((*chk_ino(c, FS_ROOT_INO) & (INO_TYPE | INO_USED)) == (DT_DIR | INO_USED))
		return 0;
	if (!chk_fix(c, P_ROOT_MISSING, &(struct problem_at){.ino = FS_ROOT_INO}))
		return chk_fail(c, -EUCLEAN, "nothing more can be done without a root directory");
	err = chk_inode_get(c, FS_ROOT_INO, &d);
	if (err < 0)
		return err;
	new_root(d);
	err = chk_inode_put(c);
	if (err == 0)
		err = chk_grow(c, (void **)&c->dirs.v, c->dirs.nr, &c->dirs.max, sizeof(dir));
	if (err < 0)
		return err;
	memmove(c->dirs.v + 1, c->dirs.v, c->dirs.nr * sizeof(dir));
	c->dirs.v[0] = dir;
	c->dirs.nr++;
	c->group[0].nr_used += !(*chk_ino(c, FS_ROOT_INO) & INO_USED);
	c->group[0].nr_dirs++;
	*chk_ino(c, FS_ROOT_INO) = DT_DIR | INO_USED;
	*chk_links(c, FS_ROOT_INO) = 2;
	c->out->nr_dirs++;
	return 0;
}

int check_inodes(struct check *c)
{
	int err = 0;

	for (uint32_t g = 0; g < c->fs.nr_groups && err == 0; g++) {
		err = chk_go_on(c);
		if (err == 0)
			err = check_group_header(c, g);
		if (err == 0)
			err = check_table(c, g);
		chk_progress(c, g + 1, c->fs.nr_groups);
	}
	return err < 0 ? err : check_root(c);
}
