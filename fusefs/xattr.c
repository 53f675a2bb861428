/* xattr.c - extended attributes: a few bytes in the inode, then a short list of blocks.
 *
 * Invariants
 *  1. An attribute is whole in one area: the inode's, or one block's. No name is there twice.
 *  2. An area's entries lie one after another with no gap; what follows them is zero.
 *  3. No block is empty, and there are at most AREAS_MAX - 1 of them: so one handle can free them
 *     all, and a list that goes in a circle is found out.
 *  4. All areas are read and checked before one is changed; until a change has its blocks an error
 *     leaves things as they were. */
#include <errno.h>
#include <linux/limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include "alloc.h"
#include "btree.h"
#include "xattr.h"

#define AREAS_MAX  17U
#define ENTRY_HEAD ((uint32_t)offsetof(struct xattr_disk, data))
#define BLOCK_ROOM ((uint32_t)sizeof(((struct xattr_block_disk *)0)->data))

static const struct {
	const char *prefix;
	uint8_t space;
	bool alone; /* the prefix is the whole name */
} spaces[] = {
	{"user.", XATTR_USER, false},
	{"trusted.", XATTR_TRUSTED, false},
	{"security.", XATTR_SECURITY, false},
	{"system.posix_acl_access", XATTR_ACL_ACCESS, true},
	{"system.posix_acl_default", XATTR_ACL_DEFAULT, true},
};
#define NR_SPACES (sizeof(spaces) / sizeof(spaces[0]))

struct name {
	uint8_t space;
	uint8_t bytes;
	const char *s; /* without prefix */
};

struct area {
	struct buf *b; /* NULL: in the inode */
	uint8_t *data;
	uint32_t bytes, room;
};

struct areas {
	struct inode *inode;
	struct area a[AREAS_MAX]; /* [0] is the inode's, the others in the list's order */
	unsigned nr;
};

/* Where an attribute was found. */
struct spot {
	struct area *area;
	uint32_t at, bytes;
	const uint8_t *value;
	uint32_t value_bytes;
};

static uint32_t entry_bytes(uint32_t name_bytes, uint32_t value_bytes)
{
	return (ENTRY_HEAD + name_bytes + value_bytes + 3U) & ~3U;
}

static int name_of(const char *s, struct name *out)
{
	for (unsigned i = 0; i < NR_SPACES; i++) {
		size_t n = strlen(spaces[i].prefix), rest;

		if (strncmp(s, spaces[i].prefix, n) != 0)
			continue;
		rest = strnlen(s + n, XATTR_NAME_MAX + 1);
		if (spaces[i].alone && rest > 0)
			break;
		if (n + rest > XATTR_NAME_MAX)
			return -ERANGE;
		if (!spaces[i].alone && rest == 0)
			return -EINVAL;
		*out = (struct name){spaces[i].space, (uint8_t)rest, s + n};
		return 0;
	}
	return -EOPNOTSUPP;
}

static const char *prefix_of(uint8_t space)
{
	for (unsigned i = 0; i < NR_SPACES; i++)
		if (spaces[i].space == space)
			return spaces[i].prefix;
	return NULL;
}

uint32_t xattr_entry_check(const uint8_t *area, uint32_t bytes, uint32_t at)
{
	const struct xattr_disk *e = (const struct xattr_disk *)(area + at);
	const char *prefix;
	uint32_t nr;

	if (bytes - at < ENTRY_HEAD)
		return 0;
	prefix = prefix_of(e->space);
	if (prefix == NULL || (e->name_bytes == 0) != (e->space >= XATTR_ACL_ACCESS) ||
		strlen(prefix) + e->name_bytes > XATTR_NAME_MAX) /* nobody could ask for it */
		return 0;
	nr = entry_bytes(e->name_bytes, le16_get(e->value_bytes));
	if (nr > bytes - at || memchr(e->data, '\0', e->name_bytes) != NULL)
		return 0;
	return nr;
}

static int area_check(const struct inode *inode, const struct area *a)
{
	uint32_t at = 0;

	while (at < a->bytes) {
		uint32_t bytes = xattr_entry_check(a->data, a->bytes, at);

		if (bytes == 0)
			return fs_corrupt(inode->fs, a->b == NULL ? 0 : a->b->block,
				"inode %llu: extended attribute at byte %u of %u breaks the format",
				(unsigned long long)inode->ino, at, a->bytes);
		at += bytes;
	}
	return 0;
}

static void areas_put(struct areas *as)
{
	for (unsigned i = 1; i < as->nr; i++)
		cache_put(as->a[i].b);
	as->nr = 0;
}

static struct xattr_block_disk *block_of(const struct area *a)
{
	return (struct xattr_block_disk *)a->b->data;
}

/* The next block of the list. */
static int add_block(struct fs_thread *t, struct areas *as, uint64_t block)
{
	struct area *a = &as->a[as->nr];
	int err;

	if (as->nr == AREAS_MAX || block >= t->fs->nr_blocks)
		return fs_corrupt(t->fs, block,
			"inode %llu: list of extended attributes is too long",
			(unsigned long long)as->inode->ino);
	err = cache_get(t, block, BT_XATTR, as->inode->ino, &a->b);
	if (err < 0)
		return err;
	as->nr++;
	a->data = block_of(a)->data;
	a->bytes = le32_get(block_of(a)->bytes);
	a->room = BLOCK_ROOM;
	if (a->bytes > BLOCK_ROOM || a->bytes == 0)
		return fs_corrupt(t->fs, block,
			"inode %llu: block of extended attributes counts %u bytes",
			(unsigned long long)as->inode->ino, a->bytes);
	return area_check(as->inode, a);
}

/* Read and check all that INODE has. On success: areas_put(). */
static int areas_get(struct fs_thread *t, struct inode *inode, struct areas *as)
{
	uint64_t block = inode->xattr_block;
	int err;

	as->inode = inode;
	as->nr = 1;
	as->a[0] = (struct area){NULL, inode->xattr, inode->xattr_bytes, INODE_XATTR_BYTES};
	err = inode->xattr_bytes > INODE_XATTR_BYTES
		      ? fs_corrupt(t->fs, 0, "inode %llu: counts %u bytes of extended attributes",
				(unsigned long long)inode->ino, inode->xattr_bytes)
		      : area_check(inode, &as->a[0]);
	while (err == 0 && block != 0) {
		err = add_block(t, as, block);
		if (err == 0)
			block = le64_get(block_of(&as->a[as->nr - 1])->next);
	}
	if (err < 0)
		areas_put(as);
	return err;
}

static bool has_any(const struct inode *inode)
{
	return inode->xattr_bytes != 0 || inode->xattr_block != 0;
}

static bool find(struct areas *as, const struct name *name, struct spot *out)
{
	for (unsigned i = 0; i < as->nr; i++) {
		struct area *a = &as->a[i];
		uint32_t at = 0;

		while (at < a->bytes) {
			const struct xattr_disk *e = (const struct xattr_disk *)(a->data + at);
			uint32_t bytes = entry_bytes(e->name_bytes, le16_get(e->value_bytes));

			if (e->space == name->space && e->name_bytes == name->bytes &&
				memcmp(e->data, name->s, name->bytes) == 0) {
				*out = (struct spot){a, at, bytes, e->data + e->name_bytes,
					le16_get(e->value_bytes)};
				return true;
			}
			at += bytes;
		}
	}
	return false;
}

/* Caller holds inode->lock. */
static ssize_t get_locked(
	struct fs_thread *t, struct inode *inode, const struct name *name, void *buf, size_t bytes)
{
	struct areas as;
	struct spot s;
	ssize_t ret;
	int err;

	if (!has_any(inode))
		return -ENODATA;
	err = areas_get(t, inode, &as);
	if (err < 0)
		return err;
	if (!find(&as, name, &s))
		ret = -ENODATA;
	else if (bytes != 0 && bytes < s.value_bytes)
		ret = -ERANGE;
	else
		ret = (ssize_t)s.value_bytes;
	if (ret > 0 && bytes != 0)
		memcpy(buf, s.value, s.value_bytes);
	areas_put(&as);
	return ret;
}

ssize_t fs_getxattr(struct fs_thread *t, uint64_t ino, const char *name, void *buf, size_t bytes)
{
	struct inode *inode;
	struct name n;
	ssize_t ret;
	int err;

	err = name_of(name, &n);
	if (err < 0)
		return err;
	err = inode_get(t, ino, &inode);
	if (err < 0)
		return err;
	pthread_rwlock_rdlock(&inode->lock);
	ret = get_locked(t, inode, &n, buf, bytes);
	pthread_rwlock_unlock(&inode->lock);
	inode_put(t, inode);
	return ret;
}

int xattr_present(struct fs_thread *t, struct inode *inode, const char *name)
{
	struct name n;
	ssize_t ret;
	int err;

	err = name_of(name, &n);
	if (err < 0)
		return err;
	ret = get_locked(t, inode, &n, NULL, 0);
	if (ret == -ENODATA)
		return 0;
	return ret < 0 ? (int)ret : 1;
}

static void set_bytes(struct inode *inode, struct area *a, uint32_t bytes)
{
	a->bytes = bytes;
	if (a->b == NULL)
		inode->xattr_bytes = (uint16_t)bytes;
	else
		block_of(a)->bytes = le32_of(bytes);
}

static void cut(struct inode *inode, const struct spot *s)
{
	struct area *a = s->area;

	memmove(a->data + s->at, a->data + s->at + s->bytes, a->bytes - s->at - s->bytes);
	memset(a->data + a->bytes - s->bytes, 0, s->bytes);
	set_bytes(inode, a, a->bytes - s->bytes);
}

static void append(struct inode *inode, struct area *a, const struct name *name, const void *value,
	uint32_t value_bytes)
{
	struct xattr_disk *e = (struct xattr_disk *)(a->data + a->bytes);

	e->space = name->space;
	e->name_bytes = name->bytes;
	e->value_bytes = le16_of((uint16_t)value_bytes);
	memcpy(e->data, name->s, name->bytes);
	if (value_bytes > 0)
		memcpy(e->data + name->bytes, value, value_bytes);
	set_bytes(inode, a, a->bytes + entry_bytes(name->bytes, value_bytes));
}

static int join_area(struct tx_handle *h, const struct area *a)
{
	return a->b == NULL ? 0 : tx_join(h, a->b);
}

static void count_blocks(struct inode *inode, int gained)
{
	inode->nr_blocks += (uint64_t)(int64_t)gained;
	if (S_ISDIR(inode->mode))
		inode->size = inode->nr_blocks * BLOCK_BYTES;
}

/* Take the block of area I, which goes empty, out of the list and free it. The area before it, if a
 * block, has been joined. */
static int drop_block(struct tx_handle *h, struct areas *as, unsigned i)
{
	uint64_t block = as->a[i].b->block;
	le64 next = block_of(&as->a[i])->next;
	int err;

	err = alloc_free(h, block, 1, true);
	if (err < 0)
		return err;
	if (i == 1)
		as->inode->xattr_block = le64_get(next);
	else
		block_of(&as->a[i - 1])->next = next;
	count_blocks(as->inode, -1);
	return 0;
}

/* Take away what is at S. Nothing has changed when it fails. */
static int remove_spot(struct tx_handle *h, struct areas *as, const struct spot *s)
{
	unsigned i = (unsigned)(s->area - as->a);
	int err;

	if (s->area->b == NULL || s->bytes < s->area->bytes) {
		err = join_area(h, s->area);
		if (err == 0)
			cut(as->inode, s);
		return err;
	}
	err = join_area(h, &as->a[i - 1]);
	return err < 0 ? err : drop_block(h, as, i);
}

int xattr_remove_locked(struct tx_handle *h, struct inode *inode, const char *name)
{
	struct areas as;
	struct spot s;
	struct name n;
	int err;

	err = name_of(name, &n);
	if (err < 0)
		return err;
	if (!has_any(inode))
		return -ENODATA;
	err = areas_get(h->t, inode, &as);
	if (err < 0)
		return err;
	err = find(&as, &n, &s) ? remove_spot(h, &as, &s) : -ENODATA;
	areas_put(&as);
	return err;
}

/* A new block as an area; it is in no list yet. */
static int new_block(struct tx_handle *h, struct inode *inode, struct area *a)
{
	struct buf *b;
	uint64_t block;
	uint32_t nr;
	int err;

	err = alloc_blocks(h, btree_goal(inode), 1, &block, &nr);
	if (err < 0)
		return err;
	err = cache_get_new(h, block, BT_XATTR, inode->ino, &b);
	if (err < 0) {
		alloc_free(h, block, 1, true);
		return err;
	}
	*a = (struct area){b, ((struct xattr_block_disk *)b->data)->data, 0, BLOCK_ROOM};
	return 0;
}

static void link_block(struct inode *inode, const struct area *a) /* first in the list */
{
	block_of(a)->next = le64_of(inode->xattr_block);
	inode->xattr_block = a->b->block;
	count_blocks(inode, 1);
}

/* The first area with room for BYTES, once OLD (or NULL) is cut. NULL: a new block is needed. */
static struct area *place_for(struct areas *as, const struct spot *old, uint32_t bytes)
{
	for (unsigned i = 0; i < as->nr; i++) {
		struct area *a = &as->a[i];
		uint32_t used = a->bytes - (old != NULL && old->area == a ? old->bytes : 0);

		if (bytes <= a->room - used)
			return a;
	}
	return NULL;
}

/* Put a value into A, which has room for it once OLD (NULL: none) is cut. */
static int store_in(struct tx_handle *h, struct areas *as, struct area *a, const struct spot *old,
	const struct name *name, const void *value, uint32_t value_bytes)
{
	int err;

	err = join_area(h, a);
	if (err == 0 && old != NULL && old->area == a)
		cut(as->inode, old);
	else if (err == 0 && old != NULL)
		err = remove_spot(h, as, old);
	if (err == 0)
		append(as->inode, a, name, value, value_bytes);
	return err;
}

static int store(struct tx_handle *h, struct areas *as, const struct spot *old,
	const struct name *name, const void *value, uint32_t value_bytes)
{
	struct area new, *a;
	int err;

	a = place_for(as, old, entry_bytes(name->bytes, value_bytes));
	if (a != NULL)
		return store_in(h, as, a, old, name, value, value_bytes);
	if (as->nr == AREAS_MAX)
		return -ENOSPC;
	err = new_block(h, as->inode, &new);
	if (err < 0)
		return err;
	err = old == NULL ? 0 : remove_spot(h, as, old);
	if (err == 0) {
		append(as->inode, &new, name, value, value_bytes);
		link_block(as->inode, &new);
	} else {
		alloc_free(h, new.b->block, 1, true);
	}
	cache_put(new.b);
	return err;
}

/* The attributes have been changed, which can't be taken back. */
static int changed(struct tx_handle *h, struct inode *inode)
{
	int err;

	inode_now(&inode->ctime);
	err = inode_update(h, inode, false);
	return err < 0 ? fs_abort(inode->fs, err, "change of extended attributes stopped halfway")
		       : 0;
}

static int set_locked(struct tx_handle *h, struct inode *inode, const struct name *name,
	const void *value, uint32_t value_bytes, int flags)
{
	struct areas as;
	struct spot old;
	bool there;
	int err;

	if (name->space == XATTR_USER && !S_ISREG(inode->mode) && !S_ISDIR(inode->mode))
		return -EPERM;
	err = areas_get(h->t, inode, &as);
	if (err < 0)
		return err;
	there = find(&as, name, &old);
	if (there && (flags & XATTR_CREATE))
		err = -EEXIST;
	else if (!there && (flags & XATTR_REPLACE))
		err = -ENODATA;
	else
		err = store(h, &as, there ? &old : NULL, name, value, value_bytes);
	areas_put(&as);
	return err;
}

int fs_setxattr(struct fs_thread *t, uint64_t ino, const char *name, const void *val, size_t bytes,
	int flags)
{
	struct inode *inode;
	struct tx_handle h;
	struct name n;
	int err;

	if (flags & ~(XATTR_CREATE | XATTR_REPLACE))
		return -EINVAL;
	err = name_of(name, &n);
	if (err < 0)
		return err;
	if (bytes > BLOCK_ROOM || entry_bytes(n.bytes, (uint32_t)bytes) > BLOCK_ROOM)
		return -E2BIG;
	err = inode_get(t, ino, &inode);
	if (err < 0)
		return err;
	err = tx_begin(t, TX_JOIN_EXTENT, 1, &h);
	if (err < 0)
		goto put;
	pthread_rwlock_wrlock(&inode->lock);
	err = set_locked(&h, inode, &n, val, (uint32_t)bytes, flags);
	if (err == 0)
		err = changed(&h, inode);
	pthread_rwlock_unlock(&inode->lock);
	tx_end(&h);
put:
	inode_put(t, inode);
	return err;
}

/* How an entry's full name reads. Returns its bytes with the zero; it is put at OUT (NULL: nowhere)
 * if there is room before END. */
static size_t full_name(const struct xattr_disk *e, char *out, const char *end)
{
	const char *prefix = prefix_of(e->space);
	size_t n = strlen(prefix), bytes = n + e->name_bytes + 1;

	if (out != NULL && bytes <= (size_t)(end - out)) {
		memcpy(out, prefix, n);
		memcpy(out + n, e->data, e->name_bytes);
		out[bytes - 1] = '\0';
	}
	return bytes;
}

static ssize_t list_areas(const struct areas *as, char *buf, size_t bytes)
{
	size_t sum = 0;

	for (unsigned i = 0; i < as->nr; i++) {
		const struct area *a = &as->a[i];
		uint32_t at = 0;

		while (at < a->bytes) {
			const struct xattr_disk *e = (const struct xattr_disk *)(a->data + at);

			sum += full_name(
				e, bytes != 0 && sum < bytes ? buf + sum : NULL, buf + bytes);
			at += entry_bytes(e->name_bytes, le16_get(e->value_bytes));
		}
	}
	return bytes != 0 && sum > bytes ? -ERANGE : (ssize_t)sum;
}

ssize_t fs_listxattr(struct fs_thread *t, uint64_t ino, char *buf, size_t bytes)
{
	struct inode *inode;
	struct areas as;
	ssize_t ret;

	ret = inode_get(t, ino, &inode);
	if (ret < 0)
		return ret;
	pthread_rwlock_rdlock(&inode->lock);
	if (has_any(inode)) {
		ret = areas_get(t, inode, &as);
		if (ret == 0) {
			ret = list_areas(&as, buf, bytes);
			areas_put(&as);
		}
	}
	pthread_rwlock_unlock(&inode->lock);
	inode_put(t, inode);
	return ret;
}

int fs_removexattr(struct fs_thread *t, uint64_t ino, const char *name)
{
	struct inode *inode;
	struct tx_handle h;
	int err;

	err = inode_get(t, ino, &inode);
	if (err < 0)
		return err;
	err = tx_begin(t, TX_JOIN_EXTENT, 0, &h);
	if (err < 0)
		goto put;
	pthread_rwlock_wrlock(&inode->lock);
	err = xattr_remove_locked(&h, inode, name);
	if (err == 0)
		err = changed(&h, inode);
	pthread_rwlock_unlock(&inode->lock);
	tx_end(&h);
put:
	inode_put(t, inode);
	return err;
}

int xattr_free_all(struct tx_handle *h, struct inode *inode)
{
	struct areas as;
	int err;

	if (!has_any(inode))
		return 0;
	err = areas_get(h->t, inode, &as);
	if (err < 0)
		return err;
	for (unsigned i = 1; i < as.nr && err == 0; i++)
		err = alloc_free(h, as.a[i].b->block, 1, true);
	if (err == 0) {
		count_blocks(inode, 1 - (int)as.nr);
		memset(inode->xattr, 0, sizeof(inode->xattr));
		inode->xattr_bytes = 0;
		inode->xattr_block = 0;
	}
	areas_put(&as);
	return err;
}
