/* check_xattr.c - part of pass 1: extended attributes of an inode.
 *
 * Checks: the area in the inode and the list of blocks: heads, counts, each attribute's form,
 * that no name is there twice, and that the list ends. Collects: claims of the blocks, their
 * number. Relies on: the geometry.
 *
 * In an area attributes follow one another without marks. The lengths of a broken one are believed
 * only if they, and those after it, lead exactly to the area's end; else what comes after it can't be
 * told from its value, which may look like an attribute that nobody has set: the area ends there.
 * Likewise the list, where a block is none. */
#include <errno.h>
#include <stdlib.h>
#include "checker.h"
#include "xattr.h"

#define AREAS_MAX  17U
#define ENTRY_HEAD ((uint32_t)offsetof(struct xattr_disk, data))
#define BLOCK_ROOM ((uint32_t)sizeof(((struct xattr_block_disk *)0)->data))

struct area {
	uint64_t block; /* 0: in the inode */
	uint8_t *page;  /* a copy of the block */
	uint8_t *data;
	uint32_t bytes, room;
	bool dirty, empty;
};

struct areas {
	struct check_inode *i;
	unsigned nr;
	struct area a[AREAS_MAX];
	uint8_t mem[AREAS_MAX - 1][BLOCK_BYTES] __attribute__((aligned(8)));
};

static bool fix(struct areas *as, struct area *a, enum problem_code code, const char *s, uint64_t x,
	uint64_t y)
{
	struct problem_at at = {.ino = as->i->ino, .block = a->block, .x = x, .y = y, .s = s};
	bool yes = chk_fix(as->i->c, code, &at);

	a->dirty |= yes;
	return yes;
}

static struct xattr_block_disk *block_of(const struct area *a)
{
	return (struct xattr_block_disk *)a->page;
}

static uint32_t entry_bytes(const struct xattr_disk *e)
{
	return (ENTRY_HEAD + e->name_bytes + le16_get(e->value_bytes) + 3U) & ~3U;
}

/* The area ends at byte END. */
static void cut(struct area *a, uint32_t end)
{
	memset(a->data + end, 0, a->room - end);
	a->bytes = end;
}

/* Do lengths lead from the attribute at byte AT to the end of the area? */
static bool lengths_fit(const struct area *a, uint32_t at)
{
	while (at < a->bytes) {
		const struct xattr_disk *e = (const struct xattr_disk *)(a->data + at);

		if (a->bytes - at < ENTRY_HEAD || entry_bytes(e) > a->bytes - at ||
			(e->name_bytes == 0 && xattr_entry_check(a->data, a->bytes, at) == 0))
			return false;
		at += entry_bytes(e);
	}
	return true;
}

static void drop_entry(struct area *a, uint32_t at)
{
	uint32_t bytes = entry_bytes((const struct xattr_disk *)(a->data + at));

	memmove(a->data + at, a->data + at + bytes, a->bytes - at - bytes);
	cut(a, a->bytes - bytes);
}

/* What is broken at byte AT goes, alone if that can be; false: it is to stay. */
static bool mend_entry(struct areas *as, struct area *a, uint32_t at)
{
	bool alone = lengths_fit(a, at);

	if (!fix(as, a, alone ? P_XATTR_FORM : P_XATTR_ENTRY, NULL, at, a->bytes))
		return false;
	/* A count that was too high leads into zeros: nothing is lost there. */
	if (alone)
		drop_entry(a, at);
	else
		cut(a, at);
	return true;
}

static void check_entries(struct areas *as, struct area *a)
{
	uint32_t at = 0;

	if (a->bytes > a->room || a->bytes % 4 != 0) {
		if (!fix(as, a, P_XATTR_BYTES, NULL, a->bytes, 0)) {
			a->bytes = 0; /* for us */
			return;
		}
		a->bytes = a->bytes > a->room ? a->room : a->bytes & ~3U;
	}
	while (at < a->bytes) {
		if (xattr_entry_check(a->data, a->bytes, at) != 0)
			at += entry_bytes((const struct xattr_disk *)(a->data + at));
		else if (!mend_entry(as, a, at))
			a->bytes = at; /* for us */
	}
}

/* --- no name twice --- */

struct spot {
	struct area *a;
	uint32_t at;
};

static int compare(const struct spot *x, const struct spot *y)
{
	const struct xattr_disk *e = (const struct xattr_disk *)(x->a->data + x->at);
	const struct xattr_disk *f = (const struct xattr_disk *)(y->a->data + y->at);

	if (e->space != f->space)
		return e->space - f->space;
	if (e->name_bytes != f->name_bytes)
		return e->name_bytes - f->name_bytes;
	return memcmp(e->data, f->data, e->name_bytes);
}

static int by_name(const void *a, const void *b)
{
	const struct spot *x = a, *y = b;
	int cmp = compare(x, y);

	if (cmp != 0)
		return cmp;
	if (x->a != y->a)
		return x->a < y->a ? -1 : 1;
	return x->at < y->at ? -1 : x->at > y->at;
}

static unsigned find_all(struct areas *as, struct spot *spots)
{
	unsigned nr = 0;

	for (unsigned k = 0; k < as->nr; k++) {
		struct area *a = &as->a[k];

		for (uint32_t at = 0; at < a->bytes;
			at += entry_bytes((const struct xattr_disk *)(a->data + at))) {
			if (spots != NULL)
				spots[nr] = (struct spot){a, at};
			nr++;
		}
	}
	return nr;
}

/* Drop what is at S, and true; or false, when that is not wanted. */
static bool drop_twice(struct areas *as, const struct spot *s)
{
	if (!fix(as, s->a, P_XATTR_TWICE, NULL, s->at, 0))
		return false;
	drop_entry(s->a, s->at);
	return true;
}

/* Offsets change with each drop, so the search begins anew: drops are rare. */
static int check_twice(struct areas *as)
{
	unsigned nr = find_all(as, NULL);
	size_t bytes = nr * sizeof(struct spot);
	struct spot *spots;
	bool again = nr > 1;

	if (!again)
		return 0;
	spots = chk_alloc(as->i->c, bytes);
	if (spots == NULL)
		return -ENOMEM;
	while (again) {
		again = false;
		nr = find_all(as, spots);
		qsort(spots, nr, sizeof(*spots), by_name);
		for (unsigned k = 1; k < nr && !again; k++)
			again = compare(&spots[k - 1], &spots[k]) == 0 && drop_twice(as, &spots[k]);
	}
	chk_free(as->i->c, spots, bytes);
	return 0;
}

/* --- the list --- */

/* Let the list end, or go on to NEXT, after what there is. */
static void link_to(struct areas *as, uint64_t next)
{
	struct area *last = &as->a[as->nr - 1];

	if (last->block == 0)
		as->i->d->xattr_block = le64_of(next);
	else
		block_of(last)->next = le64_of(next);
	last->dirty = true;
}

static bool is_listed(const struct areas *as, uint64_t block)
{
	for (unsigned k = 1; k < as->nr; k++)
		if (as->a[k].block == block)
			return true;
	return false;
}

/* 1: it is a block of the list; 0: it is not, and the list ends. */
static int read_block(struct areas *as, uint64_t block, struct area *a)
{
	struct check *c = as->i->c;
	bool salvage = false;
	uint8_t *page;
	const char *why;
	int err;

	page = chk_page_get(c);
	err = chk_read(c, block, page);
	why = err == -EIO ? "can't be read"
			  : chk_fault(c, page, block, BT_XATTR, as->i->ino, &salvage);
	memcpy(a->page, page, BLOCK_BYTES);
	chk_page_put(c, page);
	if (err < 0 && err != -EIO)
		return err;
	if (why == NULL)
		return 1;
	if (!salvage) {
		if (fix(as, a, P_XATTR_BLOCK, why, 0, 0))
			link_to(as, 0);
		return 0;
	}
	if (fix(as, a, P_XATTR_CHECKSUM, why, 0, 0))
		chk_head_mend(c, a->page, block, BT_XATTR, as->i->ino);
	return 1;
}

static int check_block(struct areas *as, uint64_t block, uint64_t *next)
{
	struct area *a = &as->a[as->nr];
	struct problem_at at = {.ino = as->i->ino, .block = block, .x = as->nr - 1};
	int ret;

	*next = 0;
	if (as->nr == AREAS_MAX || !extent_blocks_ok(&as->i->c->fs, block, 1) ||
		is_listed(as, block)) {
		if (chk_fix(as->i->c, P_XATTR_LIST, &at))
			link_to(as, 0);
		return 0;
	}
	*a = (struct area){.block = block, .page = as->mem[as->nr - 1], .room = BLOCK_ROOM};
	ret = read_block(as, block, a);
	if (ret <= 0)
		return ret;
	a->data = block_of(a)->data;
	a->bytes = le32_get(block_of(a)->bytes);
	*next = le64_get(block_of(a)->next);
	as->nr++;
	check_entries(as, a);
	return 0;
}

/* Blocks in which nothing is left go from the list. */
static void drop_empty(struct areas *as)
{
	struct area *last = &as->a[0];

	for (unsigned k = 1; k < as->nr; k++) {
		struct area *a = &as->a[k];

		if (a->bytes == 0 && fix(as, a, P_XATTR_EMPTY, NULL, 0, 0)) {
			a->empty = true;
			if (last->block == 0)
				as->i->d->xattr_block = block_of(a)->next;
			else
				block_of(last)->next = block_of(a)->next;
			last->dirty = true;
		} else {
			last = a;
		}
	}
}

static int put_blocks(struct areas *as)
{
	struct check *c = as->i->c;
	int err = 0;

	for (unsigned k = 1; k < as->nr && err == 0; k++) {
		struct area *a = &as->a[k];

		if (a->empty)
			continue;
		as->i->nr_blocks++;
		err = chk_claim(c, a->block, 1);
		if (err == 0 && a->dirty) {
			uint8_t *page = chk_page_get(c);

			block_of(a)->bytes = le32_of(a->bytes);
			memcpy(page, a->page, BLOCK_BYTES);
			err = chk_write(c, a->block, page);
			chk_page_put(c, page);
		}
	}
	return err;
}

static int check_areas(struct areas *as)
{
	struct inode_disk *d = as->i->d;
	uint64_t next = le64_get(d->xattr_block);
	int err = 0;

	as->nr = 1;
	as->a[0] = (struct area){
		.data = d->xattr, .bytes = le16_get(d->xattr_bytes), .room = INODE_XATTR_BYTES};
	check_entries(as, &as->a[0]);
	while (err == 0 && next != 0)
		err = check_block(as, next, &next);
	if (err == 0)
		err = check_twice(as);
	if (err < 0)
		return err;
	drop_empty(as);
	if (as->a[0].dirty) {
		d->xattr_bytes = le16_of((uint16_t)as->a[0].bytes);
		as->i->dirty = true;
	}
	return put_blocks(as);
}

int check_xattrs(struct check_inode *i)
{
	struct areas *as;
	int err;

	if (le16_get(i->d->xattr_bytes) == 0 && le64_get(i->d->xattr_block) == 0)
		return 0;
	as = chk_alloc(i->c, sizeof(*as));
	if (as == NULL)
		return -ENOMEM;
	as->i = i;
	err = check_areas(as);
	chk_free(i->c, as, sizeof(*as));
	return err;
}
