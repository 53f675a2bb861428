/* dump_dir.c - names: the way along a path, and all that is below a directory.
 *
 * Invariants
 *  1. Names are looked for in all leaves, not by their hash: a directory whose keys are damaged can
 *     be read.
 *  2. Each directory is listed once, however many names lead to it: so a circle ends. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <utlist.h>
#include "dump.h"

/* --- along a path --- */

struct finder {
	struct dump_tree tree; /* first */
	const char *name;
	size_t name_bytes;
	struct dump_spot *spot;
	uint64_t *ino;
};

static int find_in_leaf(struct dump_tree *tree, uint64_t block, unsigned level, const uint8_t *data)
{
	struct finder *f = (struct finder *)tree;

	for (unsigned k = 0; level == 0 && k < dump_leaf_slots(data); k++) {
		const struct dirent_disk *e = dump_leaf_entry(data, k);

		if (e == NULL || e->name_bytes != f->name_bytes ||
			memcmp(e->name, f->name, f->name_bytes) != 0)
			continue;
		f->spot->block = block;
		f->spot->offset = (unsigned)((const uint8_t *)e - data);
		*f->ino = le64_get(e->ino);
		return 1;
	}
	return 0;
}

/* *SPOT stays as it is for a PATH that leads to the root. */
static int follow(struct dump *d, const char *path, struct dump_spot *spot, uint64_t *ino)
{
	*ino = FS_ROOT_INO;
	while (*(path += strspn(path, "/")) != '\0') {
		struct finder f = {.tree = {.fn = find_in_leaf},
			.name = path,
			.name_bytes = strcspn(path, "/"),
			.spot = spot,
			.ino = ino};
		int err = dump_dir_walk(d, *ino, &f.tree);

		if (err < 0)
			return err;
		if (err == 0)
			return dump_fail(d, -ENOENT, "no %.*s in directory %" PRIu64,
				(int)f.name_bytes, path, *ino);
		path += f.name_bytes;
	}
	return 0;
}

int dump_dirent_spot(struct dump *d, const char *path, struct dump_spot *out, uint64_t *ino)
{
	int err;

	out->block = 0;
	err = follow(d, path, out, ino);
	if (err == 0 && out->block == 0)
		return dump_fail(d, -EINVAL, "the root is in no directory");
	return err;
}

int dump_lookup(struct dump *d, const char *path, uint64_t *ino)
{
	struct dump_spot spot;

	return follow(d, path, &spot, ino);
}

/* --- all below a directory --- */

struct todo { /* a directory that is yet to be listed */
	uint64_t ino, depth;
	char *path;
	struct todo *next;
};

struct lister {
	struct dump_tree tree; /* first */
	struct dump *d;
	struct dump_out *o;
	uint64_t max_depth;
	struct todo *dir;   /* being listed */
	struct todo *todo;  /* a stack */
	struct todo *found; /* directories in DIR */
	struct dump_seen *seen;
};

static struct todo *todo_new(uint64_t ino, uint64_t depth, char *path)
{
	struct todo *t = calloc(1, sizeof(*t));

	if (t == NULL) {
		free(path);
		return NULL;
	}
	*t = (struct todo){.ino = ino, .depth = depth, .path = path};
	return t;
}

static void todo_free(struct todo *t)
{
	free(t->path);
	free(t);
}

static void show_attributes(struct dump_out *o, const struct inode_disk *inode)
{
	static const char *const keys[] = {"mode", "nlink", "uid", "gid", "size", "mtime_s"};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		dump_show_field(o, dump_find_field(&dump_inode_layout, keys[i]), inode);
}

static const char *fault_of(const struct lister *l, const struct dirent_disk *e,
	const struct inode_disk *inode, const struct inodes_disk *table, char *out, size_t bytes)
{
	struct dump_faults f = {.block = DUMP_ANY, .owner = DUMP_ANY, .type = BT_INODES};
	const char *why;

	if (le64_get(inode->ino) != le64_get(e->ino))
		return "that inode is free";
	if (e->type != (le32_get(inode->mode) & S_IFMT) >> 12)
		return "of another type than the inode";
	why = dump_next_fault(l->d, table, &f);
	if (why == NULL)
		return "";
	snprintf(out, bytes, "block of the inode: %s", why);
	return out;
}

static void show_entry(struct lister *l, const struct dirent_disk *e, const char *path)
{
	struct inodes_disk table;
	struct inode_disk inode;
	uint64_t ino = le64_get(e->ino);
	char why[128];

	l->o->open(l->o, NULL, DUMP_ROW, NULL);
	dump_show(l->o, "ino", ino);
	if (dump_inode_get(l->d, ino, &inode, &table) < 0) {
		dump_show_string(l->o, "fault", dump_error(l->d));
	} else {
		show_attributes(l->o, &inode);
		dump_show_string(l->o, "fault", fault_of(l, e, &inode, &table, why, sizeof(why)));
	}
	dump_show_string(l->o, "path", path);
	l->o->close(l->o);
}

static bool is_dir(struct dump *d, uint64_t ino)
{
	struct inodes_disk table;
	struct inode_disk inode;

	return dump_inode_get(d, ino, &inode, &table) == 0 && S_ISDIR(le32_get(inode.mode)) &&
	       le64_get(inode.ino) == ino;
}

static int list_leaf(struct dump_tree *tree, uint64_t block, unsigned level, const uint8_t *data)
{
	struct lister *l = (struct lister *)tree;

	(void)block;
	for (unsigned k = 0; level == 0 && k < dump_leaf_slots(data); k++) {
		const struct dirent_disk *e = dump_leaf_entry(data, k);
		struct todo *t;
		char *path;

		if (e == NULL)
			continue;
		if (asprintf(&path, "%s/%.*s", l->dir->path, (int)e->name_bytes,
			    (const char *)e->name) < 0)
			return -ENOMEM;
		show_entry(l, e, path);
		if (l->dir->depth + 1 >= l->max_depth || !is_dir(l->d, le64_get(e->ino)) ||
			dump_seen(&l->seen, le64_get(e->ino))) {
			free(path);
			continue;
		}
		t = todo_new(le64_get(e->ino), l->dir->depth + 1, path);
		if (t == NULL)
			return -ENOMEM;
		LL_PREPEND(l->found, t);
	}
	return 0;
}

static void show_broken(struct dump_tree *tree, uint64_t block, const char *why)
{
	struct lister *l = (struct lister *)tree;
	char fault[200];

	snprintf(fault, sizeof(fault), "entries missing: block %" PRIu64 " %s", block, why);
	l->o->open(l->o, NULL, DUMP_ROW, NULL);
	dump_show(l->o, "ino", l->dir->ino);
	dump_show_string(l->o, "fault", fault);
	dump_show_string(l->o, "path", l->dir->path[0] == '\0' ? "/" : l->dir->path);
	l->o->close(l->o);
}

/* List the directories of the stack; those found go on top of it, the first one uppermost. */
static int list_all(struct lister *l)
{
	int err = 0;

	while (err == 0 && l->todo != NULL) {
		l->dir = l->todo;
		LL_DELETE(l->todo, l->dir);
		l->tree = (struct dump_tree){.fn = list_leaf, .broken = show_broken};
		err = dump_dir_walk(l->d, l->dir->ino, &l->tree);
		while (l->found != NULL) {
			struct todo *t = l->found;

			LL_DELETE(l->found, t);
			LL_PREPEND(l->todo, t);
		}
		todo_free(l->dir);
	}
	while (l->todo != NULL) {
		struct todo *t = l->todo;

		LL_DELETE(l->todo, t);
		todo_free(t);
	}
	return err;
}

int dump_files(struct dump *d, struct dump_out *o, uint64_t dir, uint64_t max_depth)
{
	static const struct dump_column columns[] = {{"ino", 8}, {"mode", -10}, {"nlink", 5},
		{"uid", 6}, {"gid", 6}, {"size", 12}, {"mtime_s", -23}, {"path", -1}, {"fault", -1},
		{NULL, 0}};
	struct lister l = {.d = d, .o = o, .max_depth = max_depth};
	int err = dump_need_geometry(d);

	if (err < 0)
		return err;
	l.todo = todo_new(dir, 0, strdup(""));
	if (l.todo == NULL)
		return -ENOMEM;
	(void)dump_seen(&l.seen, dir);
	o->open(o, NULL, DUMP_OBJECT, NULL);
	dump_show(o, "ino", dir);
	o->open(o, "files", DUMP_LIST, columns);
	err = list_all(&l);
	o->close(o);
	o->close(o);
	dump_seen_free(&l.seen);
	return err;
}
