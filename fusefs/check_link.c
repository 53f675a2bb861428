/* check_link.c - pass 4: is everything reachable, and counted right.
 *
 * Checks: that each directory leads to the root, and knows its parent; that each inode in use has
 * a name, or is on the orphan list; link counts; the orphan list. Collects: which inodes get a
 * name in lost+found, in c->names. Relies on: passes 1 and 2.
 *
 * An inode that is about to get a name in lost+found has its links counted with it: so a run that
 * is cut off in between finds it without a name again, and nothing else wrong. */
#include <errno.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include "checker.h"

static bool in_range(const struct check *c, uint64_t ino)
{
	return ino != 0 && ino <= (uint64_t)c->fs.nr_groups * c->fs.inodes_per_group;
}

/* --- names to come --- */

static int add_name(struct check *c, const struct check_name *name)
{
	int err =
		chk_grow(c, (void **)&c->names.v, c->names.nr, &c->names.max, sizeof(*c->names.v));

	if (err == 0)
		c->names.v[c->names.nr++] = *name;
	return err;
}

/* INO gets a name in lost+found, which is as good as there. */
static int add_lost(struct check *c, uint64_t ino)
{
	struct check_name name = {.ino = ino, .type = *chk_ino(c, ino) & INO_TYPE};

	name.name_bytes =
		(uint8_t)snprintf(name.name, sizeof(name.name), "#%llu", (unsigned long long)ino);
	*chk_ino(c, ino) |= INO_NAMED;
	--*chk_links(c, ino);
	return add_name(c, &name);
}

/* --- directories --- */

static int set_parent(struct check *c, const struct check_dir *dir, uint64_t parent)
{
	struct inode_disk *d;
	int err;

	if (!chk_fix(c, P_DIR_PARENT,
		    &(struct problem_at){.ino = dir->ino, .x = dir->parent, .y = parent}))
		return 0;
	err = chk_inode_get(c, dir->ino, &d);
	if (err < 0)
		return err;
	d->parent_rdev = le64_of(parent);
	return chk_inode_put(c);
}

/* DIR is below itself. It leaves the directory that it is in. */
static int break_cycle(struct check *c, struct check_dir *dir)
{
	struct check_name name = {
		.dir = dir->found, .ino = dir->ino, .type = DT_DIR, .take_out = true};
	int err;

	if (!chk_fix(c, P_DIR_CYCLE, &(struct problem_at){.ino = dir->ino}))
		return 0;
	err = add_name(c, &name);
	++*chk_links(c, dir->found);
	++*chk_links(c, dir->ino);
	dir->found = 0;
	return err == 0 ? add_lost(c, dir->ino) : err;
}

/* Go up from DIR to the root, to a directory without a name, or to one that was seen: in this
 * RUN, then it is a cycle. All on the way are done. */
static int climb(struct check *c, struct check_dir *dir, uint32_t run)
{
	while (dir != NULL && dir->run == 0) {
		dir->run = run;
		if (dir->ino == FS_ROOT_INO || dir->found == 0)
			return 0;
		dir = chk_dir(c, dir->found);
	}
	return dir != NULL && dir->run == run ? break_cycle(c, dir) : 0;
}

static int check_dirs_up(struct check *c)
{
	int err = 0;

	for (size_t i = 0; i < c->dirs.nr && err == 0; i++)
		err = climb(c, &c->dirs.v[i], (uint32_t)i + 1);
	return err;
}

static int check_parents(struct check *c)
{
	int err = 0;

	for (size_t i = 0; i < c->dirs.nr && err == 0; i++) {
		struct check_dir *dir = &c->dirs.v[i];

		if (dir->ino == FS_ROOT_INO)
			dir->found = FS_ROOT_INO;
		/* without a name it was removed, or gets to lost+found: its parent is anybody */
		if (dir->found == 0 && !in_range(c, dir->parent))
			err = set_parent(c, dir, FS_ROOT_INO);
		else if (dir->found != 0 && dir->parent != dir->found)
			err = set_parent(c, dir, dir->found);
	}
	return err;
}

/* --- inodes --- */

static int put_links(struct check *c, uint64_t ino, int32_t extra)
{
	struct inode_disk *d;
	struct problem_at at = {.ino = ino};
	int64_t right;
	int err = chk_inode_get(c, ino, &d);

	if (err < 0)
		return err;
	at.x = le32_get(d->nlink);
	right = (int64_t)at.x - extra;
	if (at.x > INT32_MAX) /* counted from there */
		right = (int64_t)INT32_MAX - extra;
	at.y = (uint64_t)right;
	if (!chk_fix(c, P_LINK_COUNT, &at))
		return 0;
	d->nlink = le32_of((uint32_t)right);
	return chk_inode_put(c);
}

/* The root has no name, but two links. */
static int32_t own_links(uint64_t ino, uint8_t flags)
{
	return (flags & INO_TYPE) != DT_DIR ? 0 : ino == FS_ROOT_INO ? 2 : 1;
}

static int clear_orphan(struct check *c, uint64_t ino)
{
	struct inode_disk *d;
	int err;

	if (!chk_fix(c, P_ORPHAN_NAMED, &(struct problem_at){.ino = ino}))
		return 0;
	err = chk_inode_get(c, ino, &d);
	if (err < 0)
		return err;
	d->flags = le32_of(le32_get(d->flags) & ~(INODE_F_ORPHAN | INODE_F_TRUNCATING));
	*chk_ino(c, ino) &= (uint8_t)~INO_ORPHAN;
	return chk_inode_put(c);
}

/* Is INO, with the mark of the orphan list, rightly there: without any name, or being cut short? */
static int check_orphan_mark(struct check *c, uint64_t ino, bool *is_orphan)
{
	struct inode_disk *d;
	bool named = (*chk_ino(c, ino) & INO_NAMED) != 0;
	bool cut_short;
	int err = chk_inode_get(c, ino, &d);

	*is_orphan = false;
	if (err < 0)
		return err;
	cut_short = (le32_get(d->flags) & INODE_F_TRUNCATING) != 0;
	*is_orphan = !named && le32_get(d->nlink) == 0;
	if (*is_orphan || (named && cut_short))
		return 0;
	if (!named && cut_short) /* it gets a name, and stays listed */
		return 0;
	return clear_orphan(c, ino);
}

static int check_ino(struct check *c, uint64_t ino)
{
	uint8_t flags = *chk_ino(c, ino);
	bool is_orphan = false;
	int32_t extra;
	int err = 0;

	if (!(flags & INO_USED))
		return 0;
	if (flags & INO_ORPHAN)
		err = check_orphan_mark(c, ino, &is_orphan);
	if (err < 0 || is_orphan)
		return err;
	if (!(flags & INO_NAMED) && ino != FS_ROOT_INO) {
		if (!chk_fix(c, P_UNATTACHED, &(struct problem_at){.ino = ino}))
			return 0;
		err = add_lost(c, ino);
	}
	extra = *chk_links(c, ino) - own_links(ino, flags);
	return err == 0 && extra != 0 ? put_links(c, ino, extra) : err;
}

static int check_group_inodes(struct check *c, uint32_t group)
{
	uint64_t first = (uint64_t)group * c->fs.inodes_per_group + 1;
	int err = 0;

	for (uint32_t i = 0; i < c->group[group].ready && err == 0; i++) {
		err = check_ino(c, first + i);
		if (err == 0 && i % 4096 == 0)
			err = chk_go_on(c);
	}
	return err;
}

/* --- the orphan list --- */

static struct check_orphan *find_orphan(struct check *c, uint64_t ino)
{
	size_t lo = 0, hi = c->orphans.nr;

	while (lo < hi) { /* by number: so pass 1 met them */
		size_t mid = (lo + hi) / 2;

		if (c->orphans.v[mid].ino < ino)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < c->orphans.nr && c->orphans.v[lo].ino == ino ? &c->orphans.v[lo] : NULL;
}

/* How many of the list belong there. *STRAY: the first that does not; 0: none. */
static uint64_t follow_list(struct check *c, uint64_t *stray)
{
	uint64_t ino = le64_get(c->sb.orphan_head), nr = 0;

	for (*stray = 0; ino != 0; nr++) {
		struct check_orphan *o = find_orphan(c, ino);

		if (o == NULL || o->listed || !(*chk_ino(c, ino) & INO_ORPHAN)) {
			*stray = ino;
			break;
		}
		o->listed = true;
		ino = o->next;
	}
	return nr;
}

/* All that have the mark, in the order of their numbers. */
static int make_list(struct check *c)
{
	uint64_t next = 0;
	int err = 0;

	for (size_t i = c->orphans.nr; i-- > 0 && err == 0;) {
		uint64_t ino = c->orphans.v[i].ino;
		struct inode_disk *d;

		if (!(*chk_ino(c, ino) & INO_ORPHAN))
			continue;
		err = chk_inode_get(c, ino, &d);
		if (err < 0)
			return err;
		d->orphan_next = le64_of(next);
		err = chk_inode_put(c);
		next = ino;
	}
	c->sb.orphan_head = le64_of(next);
	c->super_bad = true;
	return err;
}

static int check_orphans(struct check *c)
{
	uint64_t stray, nr_listed = follow_list(c, &stray), nr = 0;

	for (size_t i = 0; i < c->orphans.nr; i++)
		nr += (*chk_ino(c, c->orphans.v[i].ino) & INO_ORPHAN) != 0;
	if (stray == 0 && nr == nr_listed)
		return 0;
	if (!chk_fix(c, P_ORPHAN_LIST, &(struct problem_at){.ino = stray, .x = nr_listed, .y = nr}))
		return 0;
	return make_list(c);
}

int check_links(struct check *c)
{
	int err = check_dirs_up(c);

	if (err == 0)
		err = check_parents(c);
	for (uint32_t g = 0; g < c->fs.nr_groups && err == 0; g++) {
		err = check_group_inodes(c, g);
		chk_progress(c, g + 1, c->fs.nr_groups);
	}
	return err == 0 ? check_orphans(c) : err;
}
