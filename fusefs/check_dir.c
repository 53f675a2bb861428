/* check_dir.c - pass 2: directories, and the names in them.
 *
 * Checks: each directory's tree (check_tree.c); in its leaves the form, and of each entry: its
 * name, that it stands where the name is looked for, that no name is there twice, that it leads
 * to an inode in use, and of which type. Collects: who has a name, how many names, where a
 * directory's name is; claims of the trees' blocks. Relies on: pass 1.
 *
 * A leaf whose form is broken still has entries that can be told from noise: each carries the
 * hash of its name. They are found by looking at every place where one can begin. An entry that
 * is not where it is looked for is taken out, and put in by check_attach.c in the end. A
 * directory has one name: the first that is found. */
#include <errno.h>
#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>
#include "btree.h"
#include "checker.h"
#include "dir.h"

#define SLOTS_AT    ((unsigned)offsetof(struct dir_leaf_disk, slot))
#define SLOT_BYTES  2U
#define DIRENT_HEAD ((unsigned)offsetof(struct dirent_disk, name))
#define ENTRIES_MAX ((BLOCK_BYTES - SLOTS_AT) / 24U + 1U) /* of the smallest */
#define HASH_NAMES  (DIR_KEY_SEQ_MASK + 1U)
#define KEY_MIN     (UINT64_C(1) << DIR_KEY_SEQ_BITS)
#define KEY_END     (UINT64_C(1) << 63)

struct entry {
	uint64_t key, ino;
	uint8_t type, name_bytes;
	bool drop;
	uint8_t name[FS_NAME_MAX];
};

struct walk { /* of one directory */
	struct check *c;
	uint64_t dir;
	uint64_t block;
	unsigned nr;
	struct entry e[ENTRIES_MAX];
	bool dirty;
	/* names of the last hash: they may go on in the next leaf */
	uint64_t hash;
	unsigned nr_names, max_names;
	struct entry *names;
};

static bool fix(
	struct walk *w, enum problem_code code, const struct entry *e, uint64_t x, uint64_t y)
{
	struct problem_at at = {.ino = w->dir,
		.block = w->block,
		.x = x,
		.y = y,
		.name = (const char *)e->name,
		.name_bytes = e->name_bytes};
	bool yes = chk_fix(w->c, code, &at);

	w->dirty |= yes;
	return yes;
}

static unsigned entry_bytes(unsigned name_bytes)
{
	return (DIRENT_HEAD + name_bytes + 7U) & ~7U;
}

/* --- the form of a leaf --- */

static void take(struct walk *w, const struct dirent_disk *d)
{
	struct entry *e = &w->e[w->nr++];

	*e = (struct entry){.key = le64_get(d->key),
		.ino = le64_get(d->ino),
		.type = d->type,
		.name_bytes = d->name_bytes};
	memcpy(e->name, d->name, d->name_bytes);
}

/* Mark the units of 8 bytes that an entry takes; false: some are taken. */
static bool occupy(uint8_t units[BLOCK_BYTES / 8], unsigned at, unsigned bytes)
{
	for (unsigned i = at / 8; i < (at + bytes) / 8; i++) {
		if (units[i])
			return false;
		units[i] = 1;
	}
	return true;
}

static const char out_of_order[] = "keys are out of order"; /* all else of the leaf is all right */

/* Take all entries by their slots. NULL: the leaf is in order. */
static const char *take_slots(struct walk *w, const uint8_t *page)
{
	const struct dir_leaf_disk *leaf = (const struct dir_leaf_disk *)page;
	unsigned nr = le16_get(leaf->nr), heap = le16_get(leaf->heap_start), live = 0;
	uint8_t units[BLOCK_BYTES / 8] = {0};
	bool in_order = true;

	w->nr = 0;
	if (nr == 0 || nr > ENTRIES_MAX || heap > BLOCK_BYTES || SLOTS_AT + SLOT_BYTES * nr > heap)
		return "its counts are impossible";
	for (unsigned i = 0; i < nr; i++) {
		unsigned at = le16_get(leaf->slot[i]);
		const struct dirent_disk *d = (const struct dirent_disk *)(page + at);

		if (at % 8 != 0 || at < heap || at + DIRENT_HEAD > BLOCK_BYTES ||
			d->name_bytes == 0 || at + entry_bytes(d->name_bytes) > BLOCK_BYTES)
			return "a slot leads outside";
		if (!occupy(units, at, entry_bytes(d->name_bytes)))
			return "entries overlap";
		if (i > 0 && le64_get(d->key) <= w->e[i - 1].key)
			in_order = false;
		live += entry_bytes(d->name_bytes);
		take(w, d);
	}
	if (live + le16_get(leaf->heap_dead) != BLOCK_BYTES - heap)
		return "its heap does not add up";
	return in_order ? NULL : out_of_order;
}

static bool name_ok(const uint8_t *name, unsigned bytes)
{
	if (memchr(name, '/', bytes) != NULL || memchr(name, '\0', bytes) != NULL)
		return false;
	return !(name[0] == '.' && (bytes == 1 || (bytes == 2 && name[1] == '.')));
}

static bool in_place(const struct walk *w, const struct entry *e)
{
	return dir_key(&w->c->fs, (const char *)e->name, e->name_bytes) ==
	       (e->key & ~(uint64_t)DIR_KEY_SEQ_MASK);
}

static int by_key(const void *a, const void *b)
{
	uint64_t x = ((const struct entry *)a)->key, y = ((const struct entry *)b)->key;

	return x < y ? -1 : x > y;
}

/* False: two have the same key. */
static bool sort(struct walk *w)
{
	qsort(w->e, w->nr, sizeof(w->e[0]), by_key);
	for (unsigned i = 1; i < w->nr; i++)
		if (w->e[i].key == w->e[i - 1].key)
			return false;
	return true;
}

/* Take what can only be an entry, wherever it is. */
static void take_heap(struct walk *w, const uint8_t *page)
{
	unsigned nr = 0, at = (SLOTS_AT + 7U) & ~7U;

	w->nr = 0;
	while (at + DIRENT_HEAD <= BLOCK_BYTES && w->nr < ENTRIES_MAX) {
		const struct dirent_disk *d = (const struct dirent_disk *)(page + at);

		if (d->name_bytes != 0 && at + entry_bytes(d->name_bytes) <= BLOCK_BYTES) {
			take(w, d);
			if (name_ok(d->name, d->name_bytes) && in_place(w, &w->e[w->nr - 1])) {
				at += entry_bytes(d->name_bytes);
				continue;
			}
			w->nr--;
		}
		at += 8;
	}
	qsort(w->e, w->nr, sizeof(w->e[0]), by_key);
	for (unsigned i = 0; i < w->nr; i++)
		if (nr == 0 || w->e[i].key != w->e[nr - 1].key)
			w->e[nr++] = w->e[i];
	w->nr = nr;
}

static void put_leaf(struct walk *w, uint8_t *page)
{
	struct dir_leaf_disk *leaf = (struct dir_leaf_disk *)page;
	unsigned at = BLOCK_BYTES;

	memset(page + sizeof(struct block_head), 0, BLOCK_PAYLOAD);
	for (unsigned i = 0; i < w->nr; i++) {
		const struct entry *e = &w->e[i];
		struct dirent_disk *d;

		at -= entry_bytes(e->name_bytes);
		d = (struct dirent_disk *)(page + at);
		d->key = le64_of(e->key);
		d->ino = le64_of(e->ino);
		d->type = e->type;
		d->name_bytes = e->name_bytes;
		memcpy(d->name, e->name, e->name_bytes);
		leaf->slot[i] = le16_of((uint16_t)at);
	}
	leaf->nr = le16_of((uint16_t)w->nr);
	leaf->heap_start = le16_of((uint16_t)at);
}

/* --- entries --- */

/* It is put in anew, in the end; until then it counts as if it were. */
static int move(struct walk *w, struct entry *e)
{
	struct check *c = w->c;
	struct check_name *n;
	int err = chk_grow(c, (void **)&c->names.v, c->names.nr, &c->names.max, sizeof(*n));

	if (err < 0)
		return err;
	n = &c->names.v[c->names.nr++];
	*n = (struct check_name){
		.dir = w->dir, .ino = e->ino, .type = e->type, .name_bytes = e->name_bytes};
	memcpy(n->name, e->name, e->name_bytes);
	return 0;
}

/* Is it a name of the last hash? If not, it becomes one. */
static int is_twice(struct walk *w, const struct entry *e, bool *twice)
{
	uint64_t hash = e->key & ~(uint64_t)DIR_KEY_SEQ_MASK;

	*twice = false;
	if (hash != w->hash)
		w->nr_names = 0;
	w->hash = hash;
	for (unsigned i = 0; i < w->nr_names && !*twice; i++)
		*twice = w->names[i].name_bytes == e->name_bytes &&
			 memcmp(w->names[i].name, e->name, e->name_bytes) == 0;
	if (*twice || w->nr_names == HASH_NAMES)
		return 0;
	if (w->nr_names == w->max_names) {
		unsigned max = w->max_names == 0 ? 4 : w->max_names * 2;
		void *mem = realloc(w->names, max * sizeof(*e));

		if (mem == NULL)
			return -ENOMEM;
		w->names = mem;
		w->max_names = max;
	}
	w->names[w->nr_names++] = *e;
	return 0;
}

/* What it leads to. True: it stays. */
static bool check_target(struct walk *w, struct entry *e)
{
	struct check *c = w->c;
	struct check_dir *dir;
	uint8_t type;

	if (e->ino == FS_ROOT_INO)
		return !fix(w, P_ENTRY_ROOT, e, 0, 0);
	if (e->ino == 0 || e->ino > (uint64_t)c->fs.nr_groups * c->fs.inodes_per_group)
		return !fix(w, P_ENTRY_INODE, e, e->ino, 0);
	if (!chk_ino_ready(c, e->ino) || !(*chk_ino(c, e->ino) & INO_USED))
		return !fix(w, P_ENTRY_FREE, e, e->ino, 0);
	type = *chk_ino(c, e->ino) & INO_TYPE;
	dir = type == DT_DIR ? chk_dir(c, e->ino) : NULL;
	if (dir != NULL && dir->found != 0)
		return !fix(w, P_ENTRY_DIR_TWICE, e, e->ino, 0);
	if (e->type != type && fix(w, P_ENTRY_TYPE, e, e->type, type))
		e->type = type;
	*chk_ino(c, e->ino) |= INO_NAMED;
	--*chk_links(c, e->ino);
	if (dir != NULL) {
		dir->found = w->dir;
		--*chk_links(c, w->dir);
	}
	return true;
}

static int check_entry(struct walk *w, struct entry *e, uint64_t lo, uint64_t hi)
{
	bool placed = in_place(w, e) && e->key >= lo && e->key < hi, twice = false;
	int err = 0;

	if (!name_ok(e->name, e->name_bytes)) {
		e->drop = fix(w, P_ENTRY_NAME, e, 0, 0);
		return 0;
	}
	if (placed)
		err = is_twice(w, e, &twice);
	if (err < 0)
		return err;
	if (twice && fix(w, P_ENTRY_TWICE, e, 0, 0)) {
		e->drop = true;
		return 0;
	}
	if (!placed && w->c->names.nr >= NAMES_MAX) { /* so many: then to lost+found */
		e->drop = fix(w, P_ENTRY_PLACE, e, 0, 0);
		return 0;
	}
	if (!check_target(w, e)) {
		e->drop = true;
		return 0;
	}
	if (!placed && fix(w, P_ENTRY_PLACE, e, 0, 0)) {
		e->drop = true;
		err = move(w, e);
	}
	return err;
}

static int check_entries(struct walk *w, struct tree *t, const struct tree_range *range)
{
	unsigned nr_below = 0, nr_above = 0, nr = 0;
	uint64_t lo, hi;
	int err = 0;

	for (unsigned i = 0; i < w->nr; i++) {
		nr_below += w->e[i].key < range->lo && in_place(w, &w->e[i]);
		nr_above += w->e[i].key >= range->hi && in_place(w, &w->e[i]);
	}
	tree_range_pick(t, range, w->nr, nr_below, nr_above, true, &lo, &hi);
	if (lo < KEY_MIN)
		lo = KEY_MIN;
	if (hi > KEY_END)
		hi = KEY_END;
	for (unsigned i = 0; i < w->nr && err == 0; i++)
		err = check_entry(w, &w->e[i], lo, hi);
	for (unsigned i = 0; i < w->nr; i++)
		if (!w->e[i].drop)
			w->e[nr++] = w->e[i];
	w->nr = nr;
	return err;
}

static int check_leaf(struct tree *t, uint64_t block, uint8_t *page, const struct tree_range *range,
	struct tree_leaf *out)
{
	struct walk *w = t->arg;
	struct problem_at at = {.ino = w->dir, .block = block};
	bool keep = false; /* as it is */
	int err;

	w->block = block;
	w->dirty = false;
	at.s = take_slots(w, page);
	if (at.s != NULL) {
		w->dirty = chk_fix(t->c, P_DIR_LEAF, &at);
		keep = !w->dirty;
		if (at.s != out_of_order || !sort(w))
			take_heap(w, page);
	}
	err = check_entries(w, t, range);
	out->empty = w->nr == 0 && !keep;
	if (err < 0 || out->empty)
		return err;
	out->dirty = w->dirty && !keep;
	out->min = w->nr == 0 ? range->rlo : w->e[0].key;
	out->max = w->nr == 0 ? range->rlo : w->e[w->nr - 1].key;
	if (out->dirty)
		put_leaf(w, page);
	return 0;
}

/* --- a directory --- */

/* Tree and count of blocks, as they were found. */
static int put_inode(
	struct check *c, const struct check_dir *dir, bool no_tree, bool blocks, uint64_t nr_blocks)
{
	struct inode_disk *d;
	uint64_t rest; /* of attributes */
	int err = chk_inode_get(c, dir->ino, &d);

	if (err < 0)
		return err;
	if (no_tree) {
		d->fork_format = FORK_NONE;
		memset(d->fork, 0, sizeof(d->fork));
	}
	if (blocks) {
		rest = le64_get(d->nr_blocks) - dir->nr_blocks;
		d->nr_blocks = le64_of(rest + nr_blocks);
		d->size = le64_of((rest + nr_blocks) * BLOCK_BYTES);
	}
	return chk_inode_put(c);
}

static int check_dir(struct walk *w, size_t index)
{
	struct check *c = w->c;
	struct check_dir dir = c->dirs.v[index];
	struct tree tree = {.c = c,
		.ino = dir.ino,
		.leaf_type = BT_DIR_LEAF,
		.node_type = BT_DIR_NODE,
		.leaf = check_leaf,
		.arg = w};
	bool blocks;
	int err = 0;

	w->dir = dir.ino;
	w->hash = 0;
	w->nr_names = 0;
	if (dir.root != 0)
		err = tree_check(&tree, &dir.root, dir.height);
	if (err < 0)
		return err;
	blocks = tree.nr_blocks != dir.nr_blocks &&
		 chk_fix(c, P_INODE_BLOCKS,
			 &(struct problem_at){
				 .ino = dir.ino, .x = dir.nr_blocks, .y = tree.nr_blocks});
	if (dir.root == c->dirs.v[index].root && !blocks)
		return 0;
	err = put_inode(c, &dir, dir.root == 0, blocks, tree.nr_blocks);
	c->dirs.v[index].root = dir.root;
	return err;
}

int check_dirs(struct check *c)
{
	struct walk *w = chk_alloc(c, sizeof(*w));
	int err = w == NULL ? -ENOMEM : 0;

	if (w != NULL)
		w->c = c;
	for (size_t i = 0; i < c->dirs.nr && err == 0; i++) {
		err = chk_go_on(c);
		if (err == 0)
			err = check_dir(w, i);
		chk_progress(c, i + 1, c->dirs.nr);
	}
	if (w != NULL)
		free(w->names);
	chk_free(c, w, sizeof(*w));
	return err;
}
