/* space.c - what a file has of the disk: its size, its holes, blocks allocated ahead.
 *
 * Invariants
 *  1. Each step is one handle and leaves a sound file; a long truncate sets the size in its first
 *     step, and until its last one the inode has INODE_F_TRUNCATING and is on the orphan list.
 *  2. Blocks past the size are either unwritten ones of a fallocate, or those that a pending
 *     truncate still has to free. So who moves the size outwards finishes the truncate first. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "alloc.h"
#include "file.h"
#include "orphan.h"

#define UNMAP_EXTENTS_MAX 64U    /* in one handle, which keeps the inode locked */
#define FALLOC_STEP       32768U /* blocks in one handle */

static uint64_t blocks_up(uint64_t bytes)
{
	return (bytes + BLOCK_BYTES - 1) / BLOCK_BYTES;
}

int file_begin(struct fs_thread *t, uint32_t nr_join, uint64_t nr_alloc, struct tx_handle *h)
{
	int err = tx_begin(t, nr_join, nr_alloc, h);

	if (err != -ENOSPC || !orphans_busy(t->fs))
		return err;
	orphans_wait(t);
	return tx_begin(t, nr_join, nr_alloc, h);
}

/* ---- truncate ---- */

int file_unmap(struct tx_handle *h, struct inode *inode, uint64_t first, uint64_t end, bool *more)
{
	unsigned nr = 0;
	int err;

	do {
		err = extent_remove_some(h, inode, first, end, more);
		if (err < 0 &&
			nr > 0) { /* what went before stands; the next call meets the error first */
			*more = true;
			return 0;
		}
	} while (err == 0 && *more && ++nr < UNMAP_EXTENTS_MAX &&
		 h->nr_join >= TX_JOIN_EXTENT + TX_JOIN_INODE);
	return err;
}

/* Bytes [from, to) of block PBLK. Counted, as what makes them visible must not be durable first. */
static int zero_bytes(struct fs_thread *t, uint64_t pblk, uint32_t from, uint32_t to, void *page)
{
	unsigned epoch;
	int err;

	err = cache_read_raw(t, pblk, 1, page);
	if (err < 0)
		return err;
	memset((uint8_t *)page + from, 0, to - from);
	epoch = tx_io_begin(t);
	err = cache_write_raw(t->q, pblk, 1, page);
	tx_io_end(t, epoch);
	return err;
}

int file_zero(struct fs_thread *t, struct inode *inode, uint64_t from, uint64_t to)
{
	uint64_t lblk = from / BLOCK_BYTES;
	struct extent e;
	void *page;
	int err;

	err = extent_map(t, inode, lblk, 1, &e);
	if (err < 0 || e.pblk == 0 || (e.flags & EXTENT_F_UNWRITTEN))
		return err;
	if (file_is_written(inode, lblk, lblk))
		return -EAGAIN;
	page = cache_page_alloc(t->fs);
	if (page == NULL)
		return -ENOMEM;
	err = zero_bytes(t, e.pblk, (uint32_t)(from - lblk * BLOCK_BYTES),
		(uint32_t)(to - lblk * BLOCK_BYTES), page);
	cache_page_free(t->fs, page);
	return err;
}

int file_grow_from_end(struct fs_thread *t, struct inode *inode)
{
	if (inode->flags & INODE_F_TRUNCATING)
		return -EAGAIN;
	if (inode->size % BLOCK_BYTES == 0)
		return 0;
	return file_zero(t, inode, inode->size, blocks_up(inode->size) * BLOCK_BYTES);
}

int file_set_size(struct tx_handle *h, struct inode *inode, uint64_t size)
{
	bool more = false;
	int err;

	if (size > inode->size) {
		err = file_grow_from_end(h->t, inode);
		if (err == 0)
			inode->size = size;
		return err;
	}
	if (!(inode->flags & INODE_F_TRUNCATING)) {
		err = file_unmap(h, inode, blocks_up(size), LBLK_END, &more);
		if (err < 0)
			return err;
	}
	inode->size = size;
	if (!more)
		return 0;
	inode->flags |= INODE_F_TRUNCATING;
	return orphan_add(h, inode);
}

static int truncate_step(struct tx_handle *h, struct inode *inode, bool *more)
{
	int err;

	*more = false;
	if (!(inode->flags & INODE_F_TRUNCATING))
		return 0;
	err = file_unmap(h, inode, blocks_up(inode->size), LBLK_END, more);
	if (err < 0)
		return err;
	if (!*more) {
		inode->flags &= ~INODE_F_TRUNCATING;
		if (inode->nlink > 0)
			err = orphan_remove(h, inode);
	}
	return err < 0 ? err : inode_update(h, inode, false);
}

int file_truncate_finish(struct fs_thread *t, struct inode *inode)
{
	bool more = true;
	int err = 0;

	while (err == 0 && more) {
		struct tx_handle h;

		err = tx_begin(t, 2 * TX_JOIN_EXTENT + TX_JOIN_INODE, 0, &h);
		if (err < 0)
			return err;
		pthread_rwlock_wrlock(&inode->lock);
		err = truncate_step(&h, inode, &more);
		pthread_rwlock_unlock(&inode->lock);
		tx_end(&h);
	}
	return err;
}

void file_truncate_later(struct inode *inode)
{
	inode_hold(inode);
	orphan_kick(inode);
}

int file_settle(struct fs_thread *t, struct inode *inode)
{
	bool truncating;
	uint64_t end;

	pthread_rwlock_rdlock(&inode->lock);
	truncating = inode->flags & INODE_F_TRUNCATING;
	end = inode->size / BLOCK_BYTES;
	pthread_rwlock_unlock(&inode->lock);
	file_wait(t, inode, end, end);
	return truncating ? file_truncate_finish(t, inode) : 0;
}

/* ---- fallocate ---- */

struct range {
	struct fs_thread *t;
	struct inode *inode;
	uint64_t offset, end; /* bytes */
	int mode;
};

/* Bytes of the partial blocks at both ends become zeros. Caller holds inode->lock for writing. */
static int zero_edges(const struct range *r)
{
	uint64_t head = blocks_up(r->offset) * BLOCK_BYTES;
	uint64_t tail = r->end / BLOCK_BYTES * BLOCK_BYTES;
	int err = 0;

	if (head > r->end)
		head = r->end;
	if (r->offset < head)
		err = file_zero(r->t, r->inode, r->offset, head);
	if (err == 0 && tail >= head && tail < r->end)
		err = file_zero(r->t, r->inode, tail, r->end);
	return err;
}

/* The first step of what changes contents: the partial blocks, and the times. */
static int start_change(const struct range *r)
{
	struct inode *inode = r->inode;
	struct tx_handle h;
	int err;

	for (;;) {
		err = tx_begin(r->t, TX_JOIN_INODE, 0, &h);
		if (err < 0)
			return err;
		pthread_rwlock_wrlock(&inode->lock);
		err = zero_edges(r);
		if (err == 0) {
			inode_now(&inode->mtime);
			inode->ctime = inode->mtime;
			err = inode_update(&h, inode, false);
		}
		pthread_rwlock_unlock(&inode->lock);
		tx_end(&h);
		if (err != -EAGAIN)
			return err;
		file_wait(r->t, inode, r->offset / BLOCK_BYTES, r->offset / BLOCK_BYTES);
		file_wait(r->t, inode, r->end / BLOCK_BYTES, r->end / BLOCK_BYTES);
	}
}

static int punch(const struct range *r)
{
	uint64_t first = blocks_up(r->offset), end = r->end / BLOCK_BYTES;
	bool more = first < end;
	int err;

	err = start_change(r);
	while (err == 0 && more) {
		struct tx_handle h;

		err = tx_begin(r->t, 2 * TX_JOIN_EXTENT + TX_JOIN_INODE, 0, &h);
		if (err < 0)
			break;
		pthread_rwlock_wrlock(&r->inode->lock);
		err = file_unmap(&h, r->inode, first, end, &more);
		if (err == 0)
			err = inode_update(&h, r->inode, false);
		pthread_rwlock_unlock(&r->inode->lock);
		tx_end(&h);
	}
	return err;
}

/* How far the holes of [first, end) exceed what is free. Only a first look: later steps may yet
 * find the disk full. */
static int check_space(const struct range *r, uint64_t first, uint64_t end)
{
	struct fs_statfs st;
	uint64_t need = 0;
	int err = 0;

	alloc_statfs(r->t->fs, &st);
	while (err == 0 && first < end && need <= st.avail_blocks) {
		uint64_t max = end - first;
		struct extent e;

		pthread_rwlock_rdlock(&r->inode->lock);
		err = extent_map(
			r->t, r->inode, first, max < UINT32_MAX ? (uint32_t)max : UINT32_MAX, &e);
		pthread_rwlock_unlock(&r->inode->lock);
		if (err == 0) {
			need += e.pblk == 0 ? e.nr_blocks : 0;
			first += e.nr_blocks;
		}
	}
	if (err == 0 && need > st.avail_blocks && !orphans_busy(r->t->fs))
		err = -ENOSPC;
	return err;
}

/* Map one unwritten run into the hole at FIRST, if it still is one. Caller holds inode->lock for
 * writing. */
static int fill_run(
	struct tx_handle *h, struct inode *inode, uint64_t first, uint32_t max, uint32_t *nr)
{
	struct extent e;
	int err;

	err = extent_map(h->t, inode, first, max, &e);
	if (err < 0)
		return err;
	*nr = e.nr_blocks;
	if (e.pblk != 0)
		return 0;
	err = alloc_blocks(h, file_goal(h->t, inode, first), e.nr_blocks, &e.pblk, &e.nr_blocks);
	if (err < 0)
		return err;
	e.flags = EXTENT_F_UNWRITTEN;
	err = extent_insert(h, inode, &e);
	if (err < 0)
		return fs_abort(inode->fs, err, "inode %llu: allocation half done",
			(unsigned long long)inode->ino);
	inode->alloc_goal = e.pblk + e.nr_blocks;
	*nr = e.nr_blocks;
	return inode_update(h, inode, false);
}

/* Allocate in what holes [first, end) has. */
static int fill_holes(const struct range *r, uint64_t first, uint64_t end)
{
	int err;

	err = check_space(r, first, end);
	while (err == 0 && first < end) {
		uint32_t max = end - first < FALLOC_STEP ? (uint32_t)(end - first) : FALLOC_STEP;
		struct tx_handle h;
		struct extent e;
		uint32_t nr = 0;

		pthread_rwlock_rdlock(&r->inode->lock);
		err = extent_map(r->t, r->inode, first, max, &e);
		pthread_rwlock_unlock(&r->inode->lock);
		if (err == 0 && e.pblk != 0) {
			first += e.nr_blocks;
			continue;
		}
		if (err == 0)
			err = file_begin(r->t, TX_JOIN_EXTENT + TX_JOIN_INODE,
				(uint64_t)e.nr_blocks + TX_ALLOC_EXTENT, &h);
		if (err < 0)
			return err;
		pthread_rwlock_wrlock(&r->inode->lock);
		err = fill_run(&h, r->inode, first, e.nr_blocks, &nr);
		pthread_rwlock_unlock(&r->inode->lock);
		tx_end(&h);
		first += nr;
	}
	return err;
}

/* Let what is written in [first, end) be unwritten. */
static int unwrite(const struct range *r, uint64_t first, uint64_t end)
{
	int err = 0;

	while (err == 0 && first < end) {
		uint32_t max = end - first < UINT32_MAX ? (uint32_t)(end - first) : UINT32_MAX;
		struct tx_handle h;
		struct extent e;

		err = tx_begin(r->t, TX_JOIN_EXTENT + TX_JOIN_INODE, 0, &h);
		if (err < 0)
			return err;
		pthread_rwlock_wrlock(&r->inode->lock);
		err = extent_map(r->t, r->inode, first, max, &e);
		if (err == 0 && e.pblk != 0 && !(e.flags & EXTENT_F_UNWRITTEN)) {
			err = extent_unwrite(&h, r->inode, first, e.nr_blocks);
			if (err == 0)
				err = inode_update(&h, r->inode, false);
		}
		pthread_rwlock_unlock(&r->inode->lock);
		tx_end(&h);
		if (err == 0)
			first += e.nr_blocks;
	}
	return err;
}

/* Let the size reach the end of the range, unless it is to be kept. */
static int grow(const struct range *r)
{
	struct inode *inode = r->inode;
	int err;

	for (;;) {
		struct tx_handle h;

		err = tx_begin(r->t, TX_JOIN_EXTENT + TX_JOIN_INODE, 0, &h);
		if (err < 0)
			return err;
		pthread_rwlock_wrlock(&inode->lock);
		if (!(r->mode & FALLOC_FL_KEEP_SIZE) && r->end > inode->size)
			err = file_set_size(&h, inode, r->end);
		if (err == 0) {
			inode_now(&inode->ctime);
			inode->mtime = inode->ctime;
			err = inode_update(&h, inode, false);
		}
		pthread_rwlock_unlock(&inode->lock);
		tx_end(&h);
		if (err == -EAGAIN)
			err = file_settle(r->t, inode);
		else
			return err;
		if (err < 0)
			return err;
	}
}

static int allocate(const struct range *r)
{
	uint64_t first = r->offset / BLOCK_BYTES, end = blocks_up(r->end);
	int err = 0;

	err = file_truncate_finish(
		r->t, r->inode); /* it would free what is allocated past the end */
	if (err == 0 && (r->mode & FALLOC_FL_ZERO_RANGE)) {
		err = check_space(r, first, end);
		if (err == 0)
			err = start_change(r);
		if (err == 0)
			err = unwrite(r, blocks_up(r->offset), r->end / BLOCK_BYTES);
	}
	if (err == 0)
		err = fill_holes(r, first, end);
	if (err == 0)
		err = grow(r);
	return err;
}

static int check_range(
	struct fs_thread *t, const struct inode *inode, int mode, uint64_t offset, uint64_t bytes)
{
	switch (mode) {
	case 0:
	case FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE:
	case FALLOC_FL_KEEP_SIZE | FALLOC_FL_ZERO_RANGE:
	case FALLOC_FL_ZERO_RANGE:
		break;
	default:
		return -EOPNOTSUPP;
	}
	if (S_ISDIR(inode->mode))
		return -EISDIR;
	if (!S_ISREG(inode->mode))
		return -ENODEV;
	if (bytes == 0)
		return -EINVAL;
	if (offset > FS_FILE_SIZE_MAX || bytes > FS_FILE_SIZE_MAX - offset)
		return -EFBIG;
	return fs_may_write(t->fs);
}

int fs_fallocate(struct fs_thread *t, uint64_t ino, int mode, uint64_t offset, uint64_t bytes)
{
	struct range r = {.t = t, .offset = offset, .end = offset + bytes, .mode = mode};
	int err;

	err = inode_get(t, ino, &r.inode);
	if (err < 0)
		return err;
	err = check_range(t, r.inode, mode, offset, bytes);
	if (err == 0)
		err = mode & FALLOC_FL_PUNCH_HOLE ? punch(&r) : allocate(&r);
	inode_put(t, r.inode);
	return err;
}

/* ---- seeking ---- */

/* Caller holds inode->lock. */
static int seek(struct fs_thread *t, struct inode *inode, uint64_t offset, bool data, uint64_t *out)
{
	uint64_t at = offset;

	while (at < inode->size) {
		struct extent e;
		bool is_data;
		int err;

		err = extent_map(t, inode, at / BLOCK_BYTES, UINT32_MAX, &e);
		if (err < 0)
			return err;
		is_data = e.pblk != 0 && !(e.flags & EXTENT_F_UNWRITTEN);
		if (is_data == data) {
			*out = at;
			return 0;
		}
		at = (e.lblk + e.nr_blocks) * BLOCK_BYTES;
	}
	if (data)
		return -ENXIO;
	*out = inode->size; /* the end is a hole */
	return 0;
}

int fs_lseek(struct fs_thread *t, uint64_t ino, uint64_t offset, int whence, uint64_t *out)
{
	struct inode *inode;
	int err;

	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return -EINVAL;
	err = inode_get(t, ino, &inode);
	if (err < 0)
		return err;
	pthread_rwlock_rdlock(&inode->lock);
	if (!S_ISREG(inode->mode))
		err = -EINVAL;
	else if (offset >= inode->size)
		err = -ENXIO;
	else
		err = seek(t, inode, offset, whence == SEEK_DATA, out);
	pthread_rwlock_unlock(&inode->lock);
	inode_put(t, inode);
	return err;
}
