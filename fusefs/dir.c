/* dir.c - directory entries in leaves of a B+tree, by hash of the name.
 *
 * Invariants (format.h draws the leaf)
 *  1. Keys rise strictly through a leaf and from leaf to leaf, each within its leaf's range; no key
 *     is below 4096.
 *  2. Entries of one hash are neighbours, though a leaf may end among them. A new one takes the
 *     first free number.
 *  3. A key never changes while its name stands, so it serves as the cookie of readdir: it survives
 *     splits and merges.
 *  4. No leaf is empty. An empty directory has no tree.
 *  5. Bytes of all entries that slots lead to, and heap_dead, make up the heap. Free bytes and dead
 *     bytes are zero.
 *  6. A lookup believes only the slots and entries that it touches, and checks those; a walk and a
 *     change check the whole leaf first.
 *  7. Until a change has all its blocks, an error leaves the directory as it was. */
#include <errno.h>
#include <string.h>
#include <dirent.h>
#define XXH_INLINE_ALL /* names are short: a call would cost as much as the hash */
#include <xxhash.h>
#include "dir.h"

#define HEAP_END    BLOCK_BYTES
#define SLOTS_AT    ((unsigned)offsetof(struct dir_leaf_disk, slot))
#define DIRENT_HEAD ((unsigned)offsetof(struct dirent_disk, name))
#define SLOT_BYTES  2U
#define LEAF_ROOM   (HEAP_END - SLOTS_AT)
#define SPARSE      (LEAF_ROOM / 4U) /* a leaf below this looks for a neighbour to merge with */
#define MERGED_MAX \
	(LEAF_ROOM / 2U) /* what the two may make: room to grow, or it would soon be split again */
#define KEY_MIN (1ULL << DIR_KEY_SEQ_BITS)
#define KEY_END (1ULL << 63)

struct leaf { /* one that is being read */
	struct fs *fs;
	struct buf *b;
	struct dir_leaf_disk *d;
	unsigned nr, heap_start;
	uint64_t lo, hi; /* its keys are from LO up to below HI */
};

struct name {
	const char *s;
	unsigned bytes;
	uint64_t hash; /* the key of number 0 */
};

struct place { /* of a name: where it is, or where it would be */
	struct btree_path path;
	struct leaf leaf;
	unsigned index;
	uint64_t key; /* when it is not there: the first free one */
};

static struct btree tree_of(struct inode *dir)
{
	return (struct btree){dir, BT_DIR_LEAF, BT_DIR_NODE};
}

static unsigned entry_bytes(unsigned name_bytes)
{
	return (DIRENT_HEAD + name_bytes + 7U) & ~7U;
}

uint64_t dir_key(const struct fs *fs, const char *name, unsigned name_bytes)
{
	uint64_t hash = XXH3_64bits_withSeed(name, name_bytes, fs->hash_seed);
	uint64_t key = hash >> 1 & ~(uint64_t)DIR_KEY_SEQ_MASK;

	return key == 0 ? KEY_MIN : key;
}

static int name_of(struct fs *fs, const char *s, struct name *out)
{
	size_t bytes = strnlen(s, FS_NAME_MAX + 1);

	if (bytes == 0)
		return -EINVAL;
	if (bytes > FS_NAME_MAX)
		return -ENAMETOOLONG;
	out->s = s;
	out->bytes = (unsigned)bytes;
	out->hash = dir_key(fs, s, out->bytes);
	return 0;
}

/* 0, -ENOENT (empty), or -EUCLEAN. */
static int has_tree(struct inode *dir)
{
	if (dir->fork_format == FORK_BTREE)
		return 0;
	if (dir->fork_format == FORK_NONE)
		return -ENOENT;
	return fs_corrupt(dir->fs, 0, "directory %llu: fork of format %u",
		(unsigned long long)dir->ino, dir->fork_format);
}

static int bad_leaf(const struct leaf *l, const char *what)
{
	return fs_corrupt(l->fs, l->b->block, "directory leaf: %s", what);
}

static int leaf_open(struct fs *fs, const struct btree_path *path, struct leaf *l)
{
	l->fs = fs;
	l->b = path->leaf;
	l->d = (struct dir_leaf_disk *)l->b->data;
	l->nr = le16_get(l->d->nr);
	l->heap_start = le16_get(l->d->heap_start);
	btree_leaf_range(path, &l->lo, &l->hi);
	if (l->lo < KEY_MIN)
		l->lo = KEY_MIN;
	if (l->hi > KEY_END)
		l->hi = KEY_END;
	if (l->nr == 0 || l->heap_start > HEAP_END || SLOTS_AT + SLOT_BYTES * l->nr > l->heap_start)
		return bad_leaf(l, "its counts are impossible");
	return 0;
}

/* The entry of slot I, within the block; NULL when it is not. */
static struct dirent_disk *entry_at(const struct leaf *l, unsigned i)
{
	unsigned at = le16_get(l->d->slot[i]);
	struct dirent_disk *e = (struct dirent_disk *)(l->b->data + at);

	if (at % 8 != 0 || at < l->heap_start || at + DIRENT_HEAD > HEAP_END ||
		e->name_bytes == 0 || at + entry_bytes(e->name_bytes) > HEAP_END) {
		bad_leaf(l, "a slot leads outside");
		return NULL;
	}
	return e;
}

/* The first slot whose key is at least KEY. */
static int leaf_search(const struct leaf *l, uint64_t key, unsigned *index)
{
	unsigned left = 0, right = l->nr;
	uint64_t min = l->lo, max = l->hi; /* of the keys between left and right */

	while (left < right) {
		unsigned mid = (left + right) / 2;
		const struct dirent_disk *e = entry_at(l, mid);
		uint64_t k;

		if (e == NULL)
			return -EUCLEAN;
		k = le64_get(e->key);
		if (k < min || k >= max)
			return bad_leaf(l, "keys out of order");
		if (k < key) {
			left = mid + 1;
			min = k + 1;
		} else {
			right = mid;
			max = k;
		}
	}
	*index = left;
	return 0;
}

/* All of a leaf, before it is changed. *USED is what its entries and slots take. */
static int leaf_check(const struct leaf *l, unsigned *used)
{
	uint64_t min = l->lo;
	unsigned live = 0;

	for (unsigned i = 0; i < l->nr; i++) {
		const struct dirent_disk *e = entry_at(l, i);

		if (e == NULL)
			return -EUCLEAN;
		if (le64_get(e->key) < min || le64_get(e->key) >= l->hi)
			return bad_leaf(l, "keys out of order");
		min = le64_get(e->key) + 1;
		live += entry_bytes(e->name_bytes);
	}
	if (live + le16_get(l->d->heap_dead) != HEAP_END - l->heap_start)
		return bad_leaf(l, "its heap does not add up");
	*used = live + SLOT_BYTES * l->nr;
	return 0;
}

static int entry_out(const struct leaf *l, const struct dirent_disk *e, struct dir_entry *out)
{
	if (memchr(e->name, '/', e->name_bytes) != NULL ||
		memchr(e->name, '\0', e->name_bytes) != NULL)
		return bad_leaf(l, "a name has a slash or a zero");
	if (le64_get(e->ino) == 0)
		return bad_leaf(l, "an entry leads to inode 0");
	out->ino = le64_get(e->ino);
	out->cookie = le64_get(e->key);
	out->type = e->type;
	out->name_bytes = e->name_bytes;
	memcpy(out->name, e->name, e->name_bytes);
	out->name[e->name_bytes] = '\0';
	return 0;
}

/* Go through the entries of NAME's hash. 0: it is at p->index; -ENOENT: it is not there, and
 * p->path is at the last leaf that was looked at. On these two the path is held. */
static int scan_hash(
	struct fs_thread *t, const struct btree *bt, const struct name *name, struct place *p)
{
	uint64_t last = name->hash | DIR_KEY_SEQ_MASK, next = name->hash;
	int err;

	err = leaf_search(&p->leaf, name->hash, &p->index);
	while (err == 0) {
		const struct dirent_disk *e;

		if (p->index == p->leaf.nr) {
			if (p->leaf.hi > last)
				return -ENOENT;
			err = btree_next_leaf(t, bt, &p->path);
			if (err == -ENOENT)
				return err;
			if (err == 0)
				err = leaf_open(t->fs, &p->path, &p->leaf);
			p->index = 0;
			continue;
		}
		e = entry_at(&p->leaf, p->index);
		if (e == NULL)
			return -EUCLEAN;
		if (le64_get(e->key) > last)
			return -ENOENT;
		if (le64_get(e->key) < next)
			return bad_leaf(&p->leaf, "keys out of order");
		next = le64_get(e->key) + 1;
		if (p->key == le64_get(e->key))
			p->key++;
		if (e->name_bytes == name->bytes && memcmp(e->name, name->s, name->bytes) == 0)
			return 0;
		p->index++;
	}
	return err;
}

/* As scan_hash(), from the start; on an empty directory -ENOENT with no path. */
static int find_name(
	struct fs_thread *t, struct inode *dir, const struct name *name, struct place *p)
{
	struct btree bt = tree_of(dir);
	int err;

	memset(&p->path, 0, sizeof(p->path));
	p->key = name->hash;
	err = has_tree(dir);
	if (err < 0)
		return err;
	err = btree_find(t, &bt, name->hash, &p->path);
	if (err == 0)
		err = leaf_open(t->fs, &p->path, &p->leaf);
	if (err == 0)
		err = scan_hash(t, &bt, name, p);
	if (err < 0 && err != -ENOENT)
		btree_path_put(&p->path);
	return err;
}

int dir_lookup(struct fs_thread *t, struct inode *dir, const char *name, struct dir_entry *out)
{
	struct place p;
	struct name n;
	int err;

	err = name_of(t->fs, name, &n);
	if (err < 0)
		return err;
	err = find_name(t, dir, &n, &p);
	if (err == 0)
		err = entry_out(&p.leaf, entry_at(&p.leaf, p.index), out);
	btree_path_put(&p.path);
	return err;
}

/* Give the heap's dead bytes back to the free ones. The leaf was checked. */
static void compact(struct dir_leaf_disk *d)
{
	uint8_t old[BLOCK_BYTES];
	unsigned nr = le16_get(d->nr), at = HEAP_END, slots_end = SLOTS_AT + SLOT_BYTES * nr;

	memcpy(old, d, sizeof(old));
	for (unsigned i = 0; i < nr; i++) {
		const struct dirent_disk *e =
			(const struct dirent_disk *)(old + le16_get(d->slot[i]));
		unsigned bytes = entry_bytes(e->name_bytes);

		at -= bytes;
		memcpy((uint8_t *)d + at, e, bytes);
		d->slot[i] = le16_of((uint16_t)at);
	}
	memset((uint8_t *)d + slots_end, 0, at - slots_end);
	d->heap_start = le16_of((uint16_t)at);
	d->heap_dead = le16_of(0);
}

/* Make a slot at AT and an entry of BYTES, for which there is room. */
static struct dirent_disk *add_slot(struct dir_leaf_disk *d, unsigned at, unsigned bytes)
{
	unsigned nr = le16_get(d->nr), heap_start = le16_get(d->heap_start) - bytes;

	memmove(&d->slot[at + 1], &d->slot[at], (size_t)(nr - at) * SLOT_BYTES);
	d->slot[at] = le16_of((uint16_t)heap_start);
	d->nr = le16_of((uint16_t)(nr + 1));
	d->heap_start = le16_of((uint16_t)heap_start);
	return (struct dirent_disk *)((uint8_t *)d + heap_start);
}

/* Append FROM's entries from slot FIRST up to TO, which has room for them. */
static void append_entries(
	struct dir_leaf_disk *to, const struct dir_leaf_disk *from, unsigned first)
{
	for (unsigned i = first; i < le16_get(from->nr); i++) {
		const uint8_t *e = (const uint8_t *)from + le16_get(from->slot[i]);
		unsigned bytes = entry_bytes(((const struct dirent_disk *)e)->name_bytes);

		memcpy(add_slot(to, le16_get(to->nr), bytes), e, bytes);
	}
}

struct new_entry {
	const struct name *name;
	uint64_t key, ino;
	uint8_t type;
};

/* Put NEW into D at slot AT; D's dead and free bytes are enough. */
static void put_entry(struct dir_leaf_disk *d, unsigned at, const struct new_entry *new)
{
	unsigned bytes = entry_bytes(new->name->bytes);
	struct dirent_disk *e;

	if (le16_get(d->heap_start) < SLOTS_AT + SLOT_BYTES * (le16_get(d->nr) + 1U) + bytes)
		compact(d);
	e = add_slot(d, at, bytes);
	memset(e, 0, bytes);
	e->key = le64_of(new->key);
	e->ino = le64_of(new->ino);
	e->type = new->type;
	e->name_bytes = (uint8_t) new->name->bytes;
	memcpy(e->name, new->name->s, new->name->bytes);
}

/* The slot where the second half of L's bytes begins; never the first or past the last. */
static unsigned middle(const struct leaf *l, unsigned used)
{
	unsigned i, sum = 0;

	for (i = 0; i < l->nr - 1 && sum < used / 2; i++)
		sum += SLOT_BYTES + entry_bytes(entry_at(l, i)->name_bytes);
	return i;
}

/* L, at PATH, is full: move its upper half to a new leaf, and put NEW where it belongs; AT is its
 * slot in L as it was. */
static int split_and_put(struct tx_handle *h, const struct btree *bt, struct btree_path *path,
	const struct leaf *l, unsigned used, unsigned at, const struct new_entry *new)
{
	unsigned half = middle(l, used);
	struct dir_leaf_disk *d;
	struct buf *b;
	int err;

	err = btree_add_leaf(h, bt, path, le64_get(entry_at(l, half)->key), &b);
	if (err < 0)
		return err;
	d = (struct dir_leaf_disk *)b->data;
	d->heap_start = le16_of(HEAP_END);
	append_entries(d, l->d, half);
	l->d->nr = le16_of((uint16_t)half);
	compact(l->d);
	if (at <= half) /* its key is below that of slot HALF, which is the border now */
		put_entry(l->d, at, new);
	else
		put_entry(d, at - half, new);
	cache_put(b);
	return 0;
}

/* Put NEW into the leaf of its key. */
static int insert_at(
	struct tx_handle *h, const struct btree *bt, struct place *p, const struct new_entry *new)
{
	unsigned used, at;
	int err;

	if (new->key >= p->leaf.hi ||
		new->key < p->leaf.lo) { /* the scan went on to another leaf */
		btree_path_put(&p->path);
		err = btree_find(h->t, bt, new->key, &p->path);
		if (err == 0)
			err = leaf_open(h->t->fs, &p->path, &p->leaf);
		if (err < 0)
			return err;
	}
	err = leaf_check(&p->leaf, &used);
	if (err == 0)
		err = leaf_search(&p->leaf, new->key, &at);
	if (err == 0)
		err = tx_join(h, p->leaf.b);
	if (err < 0)
		return err;
	if (used + SLOT_BYTES + entry_bytes(new->name->bytes) > LEAF_ROOM)
		return split_and_put(h, bt, &p->path, &p->leaf, used, at, new);
	put_entry(p->leaf.d, at, new);
	return 0;
}

static int insert_first(struct tx_handle *h, const struct btree *bt, const struct new_entry *new)
{
	struct dir_leaf_disk *d;
	struct buf *b;
	int err;

	err = btree_create(h, bt, &b);
	if (err < 0)
		return err;
	d = (struct dir_leaf_disk *)b->data;
	d->heap_start = le16_of(HEAP_END);
	put_entry(d, 0, new);
	cache_put(b);
	return 0;
}

int dir_insert(struct tx_handle *h, struct inode *dir, const char *name, uint64_t ino, uint8_t type)
{
	struct btree bt = tree_of(dir);
	struct new_entry new;
	struct place p;
	struct name n;
	int err;

	err = name_of(h->t->fs, name, &n);
	if (err < 0)
		return err;
	err = find_name(h->t, dir, &n, &p);
	if (err == 0)
		err = -EEXIST;
	if (err != -ENOENT)
		goto put;
	new = (struct new_entry){&n, p.key, ino, type};
	if (p.key > (n.hash | DIR_KEY_SEQ_MASK))
		err = -ENOSPC; /* all numbers of this hash are taken */
	else if (p.path.leaf == NULL)
		err = insert_first(h, &bt, &new);
	else
		err = insert_at(h, &bt, &p, &new);
	dir->size = dir->nr_blocks * BLOCK_BYTES;
put:
	btree_path_put(&p.path);
	return err;
}

static void take_slot(struct dir_leaf_disk *d, unsigned at)
{
	unsigned nr = le16_get(d->nr), entry = le16_get(d->slot[at]);
	struct dirent_disk *e = (struct dirent_disk *)((uint8_t *)d + entry);
	unsigned bytes = entry_bytes(e->name_bytes);

	memset(e, 0, bytes);
	memmove(&d->slot[at], &d->slot[at + 1], (size_t)(nr - at - 1) * SLOT_BYTES);
	d->slot[nr - 1] = le16_of(0);
	d->nr = le16_of((uint16_t)(nr - 1));
	if (entry == le16_get(d->heap_start))
		d->heap_start = le16_of((uint16_t)(entry + bytes));
	else
		d->heap_dead = le16_of((uint16_t)(le16_get(d->heap_dead) + bytes));
}

/* Move all of FROM's leaf to the one before it, TO, if both together are small. They have the same
 * parent: so FROM's keys are TO's once its record is gone. Nothing hangs on it: an error leaves
 * things as they are. Puts FROM. */
static void absorb(
	struct tx_handle *h, const struct btree *bt, const struct leaf *to, struct btree_path *from)
{
	struct leaf l;
	unsigned used_to, used;

	if (leaf_open(h->t->fs, from, &l) == 0 && leaf_check(&l, &used) == 0 &&
		leaf_check(to, &used_to) == 0 && used + used_to <= MERGED_MAX &&
		tx_join(h, to->b) == 0) {
		/* freed by the next line, and copied after: before, it could still fail */
		cache_ref(l.b);
		if (btree_remove_leaf(h, bt, from) == 0) {
			compact(to->d);
			append_entries(to->d, l.d, 0);
		}
		cache_put(l.b);
	}
	btree_path_put(from);
}

/* The leaf at PATH has become sparse: join it with a neighbour under the same parent. */
static void merge(struct tx_handle *h, const struct btree *bt, struct btree_path *path)
{
	struct btree_path near;
	struct leaf to;

	if (path->height == 0)
		return;
	btree_path_copy(&near, path);
	if (path->index[0] > 0) {
		if (btree_prev_leaf(h->t, bt, &near) == 0 && leaf_open(h->t->fs, &near, &to) == 0)
			absorb(h, bt, &to, path);
		btree_path_put(&near);
	} else if (path->index[0] + 1U < le16_get(((struct node_disk *)path->node[0]->data)->nr)) {
		if (btree_next_leaf(h->t, bt, &near) == 0 && leaf_open(h->t->fs, path, &to) == 0)
			absorb(h, bt, &to, &near);
	}
	btree_path_put(&near);
}

int dir_remove(struct tx_handle *h, struct inode *dir, const char *name)
{
	struct btree bt = tree_of(dir);
	struct place p;
	struct name n;
	unsigned used;
	int err;

	err = name_of(h->t->fs, name, &n);
	if (err < 0)
		return err;
	err = find_name(h->t, dir, &n, &p);
	if (err == 0)
		err = leaf_check(&p.leaf, &used);
	if (err == 0)
		err = tx_join(h, p.leaf.b);
	if (err < 0)
		goto put;
	if (p.leaf.nr == 1) {
		err = btree_remove_leaf(h, &bt, &p.path);
	} else {
		used -= SLOT_BYTES + entry_bytes(entry_at(&p.leaf, p.index)->name_bytes);
		take_slot(p.leaf.d, p.index);
		if (used < SPARSE)
			merge(h, &bt, &p.path);
	}
	dir->size = dir->nr_blocks * BLOCK_BYTES;
put:
	btree_path_put(&p.path);
	return err;
}

int dir_replace(
	struct tx_handle *h, struct inode *dir, const char *name, uint64_t ino, uint8_t type)
{
	struct dirent_disk *e;
	struct place p;
	struct name n;
	int err;

	err = name_of(h->t->fs, name, &n);
	if (err < 0)
		return err;
	err = find_name(h->t, dir, &n, &p);
	if (err == 0)
		err = tx_join(h, p.leaf.b);
	if (err == 0) {
		e = entry_at(&p.leaf, p.index);
		e->ino = le64_of(ino);
		e->type = type;
	}
	btree_path_put(&p.path);
	return err;
}

void dir_cursor_put(struct dir_cursor *c)
{
	btree_path_put(&c->path);
	c->at_leaf = false;
}

/* A walk has come to a leaf: unlike a search it would not notice entries that are lost in a bad
 * order. */
static int arrive(struct fs_thread *t, struct dir_cursor *c, struct leaf *l)
{
	unsigned used;
	int err;

	c->at_leaf = true;
	err = leaf_open(t->fs, &c->path, l);
	return err < 0 ? err : leaf_check(l, &used);
}

int dir_next(struct fs_thread *t, struct inode *dir, struct dir_cursor *c, uint64_t cookie,
	struct dir_entry *out)
{
	struct btree bt = tree_of(dir);
	struct leaf l;
	unsigned i;
	int err;

	err = has_tree(dir);
	if (err < 0)
		return err;
	if (cookie >= KEY_END - 1)
		return -ENOENT;
	if (c->at_leaf) {
		err = leaf_open(t->fs, &c->path, &l);
	} else {
		err = btree_find(t, &bt, cookie + 1, &c->path);
		if (err == 0)
			err = arrive(t, c, &l);
	}
	while (err == 0) {
		err = leaf_search(&l, cookie + 1, &i);
		if (err == 0 && i < l.nr)
			return entry_out(&l, entry_at(&l, i), out);
		if (err == 0)
			err = btree_next_leaf(t, &bt, &c->path);
		if (err == 0)
			err = arrive(t, c, &l);
	}
	if (err != -ENOENT)
		dir_cursor_put(c);
	return err;
}

bool dir_is_empty(const struct inode *dir)
{
	return dir->fork_format == FORK_NONE;
}
