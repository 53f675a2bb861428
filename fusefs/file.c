/* file.c - reading and writing file data, straight between the caller's buffer and the disk.
 *
 * Nothing here waits for data but partial blocks (read, merge, write back) and what has become too
 * long for one handle. A transfer is a list of parts, one request each: runs of blocks that are
 * neighbours in the file and on the disk.
 *
 * Invariants
 *  1. Two writes to one block are never in flight together: a write claims its blocks on
 *     inode->writes, under inode->lock, and waits with no lock held while another has one of them.
 *  2. Blocks become mapped before their contents reach them, in the transaction that waits for that
 *     (fs.h). In between the part is "fresh", and readers are given zeros for it. If the contents
 *     never get there the filesystem is shut and the inode is broken: its data cannot be read any
 *     more.
 *  3. What is on the disk past the end of a file, in its last block, is undefined. Who moves the
 *     end outwards puts zeros there first. In the buffer of a write it is zeroed always, so that
 *     nothing foreign gets to the disk.
 *  4. A claim is given up without waiting for a lock or a handle once its requests are submitted.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <utlist.h>
#include "alloc.h"
#include "file.h"
#include "orphan.h"

#define IO_BLOCKS_MAX (FS_IO_MAX / BLOCK_BYTES + 1U) /* unaligned at both ends */

/* A write that maps blocks: two extents at once in any case, more while the handle's joins last. */
#define WRITE_JOIN (2U * TX_JOIN_EXTENT + TX_JOIN_INODE)

enum seg_kind { SEG_HOLE, SEG_UNWRITTEN, SEG_DISK };

struct seg {
	uint64_t lblk, pblk;
	uint32_t nr_blocks;
	enum seg_kind kind;
	bool fresh; /* mapped by this very write */
};

struct plan { /* what is where in a range of a file's blocks */
	unsigned nr;
	struct seg seg[IO_BLOCKS_MAX];
};

struct part {
	struct blk_req req;
	struct iovec iov;
	struct fs_io *io;
	uint64_t lblk;
	uint32_t nr_blocks;
	bool fresh;
};

/* In fs_io.priv, from the claim or the first submit to the end. */
struct __attribute__((may_alias)) xfer {
	struct fs_thread *t;
	struct inode *inode;
	struct fs_io *next; /* on inode->writes */
	struct part *part;  /* &one, or allocated */
	void *bounce; /* a write's own buffer, where the caller's is not aligned as the file is */
	uint32_t bounce_blocks;
	uint32_t nr_parts, nr_left;
	uint32_t result; /* bytes */
	int err;
	unsigned epoch;
	bool is_write;
	bool in_place;  /* nothing but times of the inode changes with it */
	bool has_fresh; /* under inode->lock for writing, and inode->writes_lock */
	struct part one;
};
static_assert(sizeof(struct xfer) <= sizeof(((struct fs_io *)0)->priv), "fs_io.priv is too small");

static struct xfer *xfer_of(const struct fs_io *io)
{
	return (struct xfer *)io->priv;
}

static uint64_t first_block(const struct fs_io *io)
{
	return io->offset / BLOCK_BYTES;
}

static uint64_t last_block(const struct fs_io *io)
{
	return (io->offset + io->bytes - 1) / BLOCK_BYTES;
}

/* ---- claims ---- */

/* Caller holds inode->writes_lock. */
static bool is_claimed(const struct inode *inode, uint64_t first, uint64_t last)
{
	const struct fs_io *io;

	for (io = inode->writes; io != NULL; io = xfer_of(io)->next)
		if (first_block(io) <= last && first <= last_block(io))
			return true;
	return false;
}

bool file_is_written(struct inode *inode, uint64_t first, uint64_t last)
{
	bool claimed;

	pthread_mutex_lock(&inode->writes_lock);
	claimed = is_claimed(inode, first, last);
	pthread_mutex_unlock(&inode->writes_lock);
	return claimed;
}

void file_wait(struct fs_thread *t, struct inode *inode, uint64_t first, uint64_t last)
{
	while (file_is_written(inode, first, last))
		blk_wait(t->q, 1); /* not for ever: it may be another thread's */
}

/* Caller holds inode->lock. False: another write has one of the blocks. */
static bool claim(struct inode *inode, struct fs_io *io)
{
	bool free;

	pthread_mutex_lock(&inode->writes_lock);
	free = !is_claimed(inode, first_block(io), last_block(io));
	if (free) {
		xfer_of(io)->next = inode->writes;
		inode->writes = io;
	}
	pthread_mutex_unlock(&inode->writes_lock);
	return free;
}

static void unclaim(struct inode *inode, struct fs_io *io, bool broken)
{
	struct fs_io **p = &inode->writes;

	pthread_mutex_lock(&inode->writes_lock);
	while (*p != io)
		p = &xfer_of(*p)->next;
	*p = xfer_of(io)->next;
	if (broken)
		inode->broken = true;
	pthread_mutex_unlock(&inode->writes_lock);
}

/* ---- plans ---- */

static void plan_add(struct plan *plan, const struct seg *s)
{
	struct seg *last = &plan->seg[plan->nr - 1];

	/* Unwritten ones stay apart: each is converted as the extent that it is. */
	if (plan->nr > 0 && last->kind == s->kind && last->fresh == s->fresh &&
		(s->kind == SEG_HOLE ||
			(s->kind == SEG_DISK && last->pblk + last->nr_blocks == s->pblk)))
		last->nr_blocks += s->nr_blocks;
	else
		plan->seg[plan->nr++] = *s;
}

/* Caller holds inode->lock. */
static int plan_map(struct fs_thread *t, struct inode *inode, uint64_t first, uint32_t nr_blocks,
	struct plan *plan)
{
	plan->nr = 0;
	while (nr_blocks > 0) {
		struct extent e;
		int err = extent_map(t, inode, first, nr_blocks, &e);

		if (err < 0)
			return err;
		plan_add(plan, &(struct seg){
				       .lblk = first,
				       .pblk = e.pblk,
				       .nr_blocks = e.nr_blocks,
				       .kind = e.pblk == 0                    ? SEG_HOLE
					       : e.flags & EXTENT_F_UNWRITTEN ? SEG_UNWRITTEN
									      : SEG_DISK,
			       });
		first += e.nr_blocks;
		nr_blocks -= e.nr_blocks;
	}
	return 0;
}

static uint32_t plan_blocks(const struct plan *plan, enum seg_kind kind)
{
	uint32_t nr = 0;

	for (unsigned i = 0; i < plan->nr; i++)
		if (plan->seg[i].kind == kind)
			nr += plan->seg[i].nr_blocks;
	return nr;
}

/* Caller holds inode->writes_lock. */
static bool is_fresh(const struct inode *inode, uint64_t lblk, uint32_t nr_blocks)
{
	const struct fs_io *io;

	for (io = inode->writes; io != NULL; io = xfer_of(io)->next) {
		const struct xfer *xf = xfer_of(io);

		for (unsigned i = 0; xf->has_fresh && i < xf->nr_parts; i++)
			if (xf->part[i].fresh && xf->part[i].lblk < lblk + nr_blocks &&
				lblk < xf->part[i].lblk + xf->part[i].nr_blocks)
				return true;
	}
	return false;
}

static void plan_hide_seg(const struct inode *inode, const struct seg *s, struct plan *out)
{
	for (uint32_t i = 0; i < s->nr_blocks; i++) {
		bool fresh = is_fresh(inode, s->lblk + i, 1);

		plan_add(out, &(struct seg){
				      .lblk = s->lblk + i,
				      .pblk = fresh ? 0 : s->pblk + i,
				      .nr_blocks = 1,
				      .kind = fresh ? SEG_HOLE : SEG_DISK,
			      });
	}
}

/* Fresh blocks become holes (invariant 2). Caller holds inode->lock, so that no write adds some. */
static int plan_hide_fresh(struct inode *inode, struct plan *plan)
{
	struct plan in;
	bool broken, any;

	pthread_mutex_lock(&inode->writes_lock);
	any = plan->nr > 0 && is_fresh(inode, plan->seg[0].lblk, IO_BLOCKS_MAX);
	if (any) {
		in = *plan;
		plan->nr = 0;
		for (unsigned i = 0; i < in.nr; i++)
			if (in.seg[i].kind == SEG_DISK)
				plan_hide_seg(inode, &in.seg[i], plan);
			else
				plan_add(plan, &in.seg[i]);
	}
	broken = inode->broken;
	pthread_mutex_unlock(&inode->writes_lock);
	return broken ? -EIO : 0;
}

/* ---- transfers ---- */

static void xfer_init(struct fs_thread *t, struct inode *inode, struct fs_io *io, bool is_write)
{
	struct xfer *xf = xfer_of(io);

	xf->t = t;
	xf->inode = inode;
	xf->part = &xf->one;
	xf->bounce = NULL;
	xf->nr_parts = 0;
	xf->err = 0;
	xf->is_write = is_write;
	xf->in_place = false;
	xf->has_fresh = false;
}

/* Room for NR parts. */
static int xfer_reserve(struct xfer *xf, uint32_t nr)
{
	struct part *part;

	if (nr <= 1)
		return 0;
	part = malloc(nr * sizeof(*part));
	if (part == NULL)
		return -ENOMEM;
	xf->part = part;
	return 0;
}

static void xfer_free_parts(struct xfer *xf)
{
	if (xf->part != &xf->one)
		free(xf->part);
	xf->part = &xf->one;
	xf->nr_parts = 0;
	xf->has_fresh = false;
}

static void part_done(struct blk_req *req, int err);

static void part_fill(struct part *p, struct fs_io *io, const struct seg *s, uint8_t *data)
{
	p->io = io;
	p->lblk = s->lblk;
	p->nr_blocks = s->nr_blocks;
	p->fresh = s->fresh;
	p->iov = (struct iovec){data, (size_t)s->nr_blocks * BLOCK_BYTES};
	p->req.done = part_done;
	block_req(&p->req, xfer_of(io)->is_write ? BLK_WRITE : BLK_READ, s->pblk, s->nr_blocks,
		&p->iov, 1);
}

/* Make the parts of what PLAN has on the disk, and count the transfer. BASE is the buffer's place
 * of file block FIRST. There is room for them. Caller holds inode->lock. */
static void xfer_build(struct fs_io *io, const struct plan *plan, uint8_t *base, uint64_t first)
{
	struct xfer *xf = xfer_of(io);
	unsigned nr = 0;

	if (plan->nr == 1 && xf->part != &xf->one) {
		free(xf->part);
		xf->part = &xf->one;
	}
	for (unsigned i = 0; i < plan->nr; i++) {
		const struct seg *s = &plan->seg[i];

		if (s->kind != SEG_DISK)
			continue;
		part_fill(&xf->part[nr++], io, s, base + (s->lblk - first) * BLOCK_BYTES);
		if (s->fresh)
			xf->has_fresh = true;
	}
	xf->nr_parts = nr;
	if (nr > 0)
		xf->epoch = tx_io_begin(xf->t);
}

static bool lost_fresh(const struct xfer *xf)
{
	return xf->err < 0 && xf->has_fresh;
}

static void bounce_free(struct xfer *xf)
{
	struct fs *fs = xf->inode->fs;

	if (xf->bounce == NULL)
		return;
	if (xf->bounce_blocks == 1)
		cache_page_free(fs, xf->bounce);
	else
		blk_dma_free(fs->dev, xf->bounce, (size_t)xf->bounce_blocks * BLOCK_BYTES);
	xf->bounce = NULL;
}

/* All parts of the transfer are done. Only leaf locks are taken here: it is called from done(). */
static void xfer_finish(struct fs_io *io)
{
	struct xfer *xf = xfer_of(io);
	struct inode *inode = xf->inode;
	ssize_t result = xf->err < 0 ? xf->err : (ssize_t)xf->result;

	if (lost_fresh(xf)) /* before tx_io_end(): now no commit can make the mapping durable */
		(void)fs_abort(inode->fs, xf->err, "inode %llu: new data lost",
			(unsigned long long)inode->ino);
	else if (xf->err < 0)
		fs_note_io(inode->fs, xf->err, "inode %llu: %s at byte %llu",
			(unsigned long long)inode->ino, xf->is_write ? "write" : "read",
			(unsigned long long)io->offset);
	if (xf->is_write) {
		unclaim(inode, io, lost_fresh(xf));
		if (xf->in_place)
			tx_io_end_in_place(xf->t, xf->epoch, inode);
		else
			tx_io_end(xf->t, xf->epoch);
	} else {
		tx_io_end_read(xf->t, xf->epoch);
	}
	xfer_free_parts(xf);
	bounce_free(xf);
	inode_put_io(inode);
	io->done(io, result);
}

static void part_done(struct blk_req *req, int err)
{
	struct part *p = (struct part *)((char *)req - offsetof(struct part, req));
	struct xfer *xf = xfer_of(p->io);

	if (err < 0 && xf->err == 0)
		xf->err = err;
	if (--xf->nr_left == 0)
		xfer_finish(p->io);
}

/* The transfer may be over, and IO the caller's, when this returns. */
static void xfer_submit(struct fs_io *io)
{
	struct xfer *xf = xfer_of(io);
	struct blk_queue *q = xf->t->q;
	struct part *part = xf->part;
	unsigned nr = xf->nr_parts;

	xf->nr_left = nr;
	for (unsigned i = 0; i < nr; i++) {
		int err = blk_submit(q, &part[i].req);

		if (err < 0)
			part_done(&part[i].req, err);
	}
}

/* ---- reading ---- */

static int check_io(const struct fs_io *io, const struct inode *inode)
{
	if (S_ISDIR(inode->mode))
		return -EISDIR;
	if (!S_ISREG(inode->mode) || io->bytes > FS_IO_MAX)
		return -EINVAL;
	return 0;
}

static void zero_holes(const struct plan *plan, uint8_t *base, uint64_t first)
{
	for (unsigned i = 0; i < plan->nr; i++) {
		const struct seg *s = &plan->seg[i];

		if (s->kind != SEG_DISK)
			memset(base + (s->lblk - first) * BLOCK_BYTES, 0,
				(size_t)s->nr_blocks * BLOCK_BYTES);
	}
}

/* Caller holds inode->lock. *BYTES is how much there is to read. */
static int read_plan(struct fs_thread *t, struct fs_io *io, struct inode *inode, struct plan *plan,
	uint32_t *bytes)
{
	uint64_t end = io->offset + io->bytes;
	uint64_t first = first_block(io);
	int err;

	*bytes = 0;
	plan->nr = 0;
	if (io->bytes == 0 || io->offset >= inode->size)
		return 0;
	if (end > inode->size)
		end = inode->size;
	err = plan_map(t, inode, first, (uint32_t)((end - 1) / BLOCK_BYTES - first + 1), plan);
	if (err == 0)
		err = plan_hide_fresh(inode, plan);
	if (err == 0)
		err = xfer_reserve(xfer_of(io), plan->nr);
	*bytes = (uint32_t)(end - io->offset);
	return err;
}

/* -EINPROGRESS: the disk is reading. */
static ssize_t read_start(struct fs_thread *t, struct fs_io *io, struct inode *inode)
{
	struct xfer *xf = xfer_of(io);
	struct plan plan;
	uint32_t bytes;
	int err;

	err = check_io(io, inode);
	if (err < 0)
		return err;
	io->data = (uint8_t *)io->buf + io->offset % BLOCK_BYTES;
	xfer_init(t, inode, io, false);
	pthread_rwlock_rdlock(&inode->lock);
	err = read_plan(t, io, inode, &plan, &bytes);
	if (err == 0)
		xfer_build(io, &plan, io->buf, first_block(io));
	pthread_rwlock_unlock(&inode->lock);
	if (err < 0)
		return err;
	zero_holes(&plan, io->buf, first_block(io));
	if (xf->nr_parts == 0) {
		xfer_free_parts(xf);
		return bytes;
	}
	xf->result = bytes;
	xfer_submit(io);
	return -EINPROGRESS;
}

void fs_read(struct fs_thread *t, struct fs_io *io)
{
	struct inode *inode;
	ssize_t n;

	n = inode_get(t, io->ino, &inode);
	if (n == 0) {
		n = read_start(t, io, inode);
		if (n == -EINPROGRESS)
			return;
		inode_put(t, inode);
	}
	io->done(io, n);
}

/* ---- writing: the buffer ---- */

struct write {
	struct fs_thread *t;
	struct fs_io *io;
	struct inode *inode;
	uint64_t end;   /* of the write, bytes */
	uint64_t first; /* block, and how many */
	uint32_t nr_blocks;
	uint8_t *base; /* the buffer's place of block FIRST */
	uint64_t next; /* first block that is not yet written */
	uint32_t left; /* blocks from there */
	bool claimed;
	bool broken;      /* blocks are mapped that will not be written */
	struct plan plan; /* of those */
	struct tx_handle h;
};

/* A buffer whose blocks are the file's: the caller's, or a copy when the write begins inside a
 * block. */
static int buffer_get(struct write *w)
{
	struct xfer *xf = xfer_of(w->io);
	uint32_t skip = (uint32_t)(w->io->offset % BLOCK_BYTES);
	struct fs *fs = w->t->fs;

	w->base = w->io->buf;
	if (skip == 0)
		return 0;
	xf->bounce = w->nr_blocks == 1 ? cache_page_alloc(fs)
				       : blk_dma_alloc(fs->dev, (size_t)w->nr_blocks * BLOCK_BYTES);
	if (xf->bounce == NULL)
		return -ENOMEM;
	xf->bounce_blocks = w->nr_blocks;
	w->base = xf->bounce;
	memcpy(w->base + skip, w->io->buf, w->io->bytes);
	return 0;
}

/* How many bytes of block LBLK are the file's. */
static uint32_t valid_bytes(const struct inode *inode, uint64_t lblk)
{
	uint64_t start = lblk * BLOCK_BYTES;

	if (inode->size <= start)
		return 0;
	return inode->size - start < BLOCK_BYTES ? (uint32_t)(inode->size - start) : BLOCK_BYTES;
}

static int read_page(struct fs_thread *t, uint64_t pblk, uint8_t *to, uint32_t from, uint32_t end)
{
	uint8_t *page = cache_page_alloc(t->fs);
	int err;

	if (page == NULL)
		return -ENOMEM;
	err = cache_read_raw(t, pblk, 1, page);
	if (err == 0)
		memcpy(to + from, page + from, end - from);
	cache_page_free(t->fs, page);
	return err;
}

/* Bytes [from, end) of block LBLK, which the write leaves alone: put into the buffer what the file
 * has there. */
static int edge_fill(struct write *w, uint64_t lblk, uint32_t from, uint32_t end)
{
	uint8_t *to = w->base + (lblk - w->first) * BLOCK_BYTES;
	uint32_t valid = valid_bytes(w->inode, lblk);
	struct extent e;
	int err;

	if (from >= end)
		return 0;
	memset(to + from, 0, end - from);
	if (valid <= from)
		return 0;
	err = extent_map(w->t, w->inode, lblk, 1, &e);
	if (err < 0 || e.pblk == 0 || (e.flags & EXTENT_F_UNWRITTEN))
		return err;
	return read_page(w->t, e.pblk, to, from, valid < end ? valid : end);
}

/* Caller holds inode->lock and the claim. */
static int edges_fill(struct write *w)
{
	uint32_t tail = (uint32_t)(w->end % BLOCK_BYTES);
	int err;

	err = edge_fill(w, w->first, 0, (uint32_t)(w->io->offset % BLOCK_BYTES));
	if (err == 0 && tail != 0)
		err = edge_fill(w, w->first + w->nr_blocks - 1, tail, BLOCK_BYTES);
	return err;
}

/* ---- writing over what is there ---- */

/* Is anything of the inode to change? Its times need not be better than a second: callers who want
 * more set them. */
static bool inode_must_change(const struct write *w)
{
	struct inode *inode = w->inode;
	struct timespec now;

	if (w->end > inode->size || (w->io->kill_priv && inode_has_priv(w->t, inode)))
		return true;
	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	return now.tv_sec != inode->mtime.tv_sec || now.tv_sec != inode->ctime.tv_sec;
}

/* Caller holds inode->lock and the claim. */
static int overwrite_build(struct write *w)
{
	int err;

	err = plan_map(w->t, w->inode, w->first, w->nr_blocks, &w->plan);
	if (err < 0)
		return err;
	if (plan_blocks(&w->plan, SEG_DISK) != w->nr_blocks)
		return -EAGAIN;
	err = edges_fill(w);
	if (err == 0)
		err = xfer_reserve(xfer_of(w->io), w->plan.nr);
	if (err == 0) {
		xfer_of(w->io)->in_place = true;
		xfer_build(w->io, &w->plan, w->base, w->first);
	}
	return err;
}

/* A freeze came in between: take all back. A handle will wait for its end. */
static int overwrite_later(struct write *w)
{
	struct xfer *xf = xfer_of(w->io);

	unclaim(w->inode, w->io, false);
	tx_io_end_read(xf->t, xf->epoch);
	xfer_free_parts(xf);
	xf->in_place = false;
	return -EAGAIN;
}

/* The common case: no metadata changes, so no transaction. -EAGAIN: it is not the common case. */
static int overwrite(struct write *w)
{
	struct inode *inode = w->inode;
	int err = -EAGAIN;

	pthread_rwlock_rdlock(&inode->lock);
	if (!inode_must_change(w) && claim(inode, w->io)) {
		err = overwrite_build(w);
		if (err < 0)
			unclaim(inode, w->io, false);
	}
	pthread_rwlock_unlock(&inode->lock);
	if (err == 0 && tx_is_freezing(inode->fs))
		err = overwrite_later(w);
	if (err == 0)
		xfer_submit(w->io);
	return err;
}

/* ---- writing with a transaction ---- */

uint64_t file_goal(struct fs_thread *t, struct inode *inode, uint64_t lblk)
{
	struct extent e;

	if (lblk > 0 && extent_map(t, inode, lblk - 1, 1, &e) == 0 && e.pblk != 0)
		return e.pblk + 1;
	if (inode->alloc_goal != 0)
		return inode->alloc_goal;
	return fs_group_start(
		inode->fs, (uint32_t)((inode->ino - 1) / inode->fs->inodes_per_group));
}

/* Map one run of a hole. *NR: its blocks, at most that many. */
static int map_run(struct write *w, uint64_t lblk, uint32_t *nr, struct plan *out)
{
	struct extent e = {.lblk = lblk};
	int err;

	err = alloc_blocks(&w->h, file_goal(w->t, w->inode, lblk), *nr, &e.pblk, &e.nr_blocks);
	if (err == 0)
		err = extent_insert(&w->h, w->inode, &e);
	if (err < 0)
		return err;
	w->inode->alloc_goal = e.pblk + e.nr_blocks;
	plan_add(out, &(struct seg){e.lblk, e.pblk, e.nr_blocks, SEG_DISK, true});
	*nr = e.nr_blocks;
	return 0;
}

/* Is there enough left of the handle for one more extent, with NR_DATA blocks still to allocate
 * after its tree blocks? */
static bool handle_has_room(const struct tx_handle *h, uint32_t nr_data)
{
	return h->nr_join >= TX_JOIN_EXTENT + TX_JOIN_INODE &&
	       h->nr_reserved >= (uint64_t)nr_data + TX_ALLOC_EXTENT;
}

static int map_seg(struct write *w, struct seg *s, uint32_t *nr_holes, struct plan *out)
{
	uint32_t nr = s->nr_blocks;
	int err = 0;

	if (s->kind == SEG_HOLE) {
		err = map_run(w, s->lblk, &nr, out);
		*nr_holes -= nr;
	} else {
		if (s->kind == SEG_UNWRITTEN) {
			err = extent_convert(&w->h, w->inode, s->lblk, nr);
			s->kind = SEG_DISK;
			s->fresh = true;
		}
		plan_add(out, s);
	}
	s->lblk += nr;
	s->nr_blocks -= nr;
	return err;
}

/* Map and convert all that the plan lacks, or what the handle has room for: the plan then ends
 * there. */
static int map_all(struct write *w)
{
	uint32_t nr_holes = plan_blocks(&w->plan, SEG_HOLE);
	struct plan out;
	int err = 0;

	out.nr = 0;
	for (unsigned i = 0; err == 0 && i < w->plan.nr; i++) {
		struct seg s = w->plan.seg[i];

		while (err == 0 && s.nr_blocks > 0) {
			if (s.kind != SEG_DISK && !handle_has_room(&w->h, nr_holes))
				goto full;
			err = map_seg(w, &s, &nr_holes, &out);
		}
	}
full:
	w->plan = out;
	return err;
}

/* Where the plan ends. */
static uint64_t plan_end(const struct plan *plan)
{
	const struct seg *last = &plan->seg[plan->nr - 1];

	return last->lblk + last->nr_blocks;
}

static int round_change(struct write *w)
{
	struct inode *inode = w->inode;
	bool killed = w->io->kill_priv && inode_has_priv(w->t, inode);
	bool times_only = !killed && plan_blocks(&w->plan, SEG_DISK) == w->left;
	uint64_t end;
	int err;

	err = map_all(w);
	if (err == 0 && killed)
		err = inode_kill_priv(&w->h, inode);
	if (err < 0) {
		w->broken = true;
		return fs_abort(inode->fs, err, "inode %llu: write half mapped",
			(unsigned long long)inode->ino);
	}
	end = plan_end(&w->plan) * BLOCK_BYTES;
	if (end > w->end)
		end = w->end;
	if (end > inode->size) {
		inode->size = end;
		times_only = false;
	}
	inode_now(&inode->mtime);
	inode->ctime = inode->mtime;
	if (times_only)
		tx_times_only(&w->h);
	xfer_of(w->io)->in_place = times_only;
	err = inode_update(&w->h, inode, times_only);
	w->broken = err < 0;
	return err;
}

/* All that may fail or has to wait, before the first change. Caller holds inode->lock for writing.
 */
static int round_prepare(struct write *w, uint64_t nr_alloc)
{
	struct inode *inode = w->inode;
	int err = 0;

	if (!w->claimed && !claim(inode, w->io))
		return -EAGAIN;
	w->claimed = true;
	if (w->end > inode->size && w->first * BLOCK_BYTES > inode->size)
		err = file_grow_from_end(w->t, inode);
	else if (w->end > inode->size && (inode->flags & INODE_F_TRUNCATING))
		err = -EAGAIN;
	if (err == 0)
		err = plan_map(w->t, inode, w->next, w->left, &w->plan);
	if (err < 0)
		return err;
	if (plan_blocks(&w->plan, SEG_DISK) < w->left &&
		plan_blocks(&w->plan, SEG_HOLE) + TX_ALLOC_EXTENT > nr_alloc)
		return -EAGAIN; /* somebody made a hole meanwhile */
	err = edges_fill(w);
	if (err == 0)
		err = xfer_reserve(xfer_of(w->io), w->left);
	return err;
}

/* How many blocks the handle must be able to allocate. */
static int round_need(struct write *w, uint64_t *nr_alloc)
{
	int err;

	w->left = w->nr_blocks - (uint32_t)(w->next - w->first);
	pthread_rwlock_rdlock(&w->inode->lock);
	err = plan_map(w->t, w->inode, w->next, w->left, &w->plan);
	pthread_rwlock_unlock(&w->inode->lock);
	*nr_alloc = 0;
	if (err == 0 && plan_blocks(&w->plan, SEG_DISK) < w->left)
		*nr_alloc = plan_blocks(&w->plan, SEG_HOLE) + TX_ALLOC_EXTENT;
	return err;
}

/* Map what one handle can take of the write. The transfer is counted before the handle ends, so its
 * commit waits for it. */
static int round_map(struct write *w)
{
	struct inode *inode = w->inode;
	uint64_t nr_alloc;
	int err;

	err = round_need(w, &nr_alloc);
	if (err < 0)
		return err;
	err = file_begin(w->t, WRITE_JOIN, nr_alloc, &w->h);
	if (err < 0)
		return err;
	pthread_rwlock_wrlock(&inode->lock);
	err = round_prepare(w, nr_alloc);
	if (err == 0)
		err = round_change(w);
	if (err == 0)
		xfer_build(w->io, &w->plan, w->base, w->first);
	pthread_rwlock_unlock(&inode->lock);
	tx_end(&w->h);
	return err;
}

/* What was mapped is not all: write it and wait, for no handle may begin while a counted transfer
 * is not submitted. */
static int round_write(struct write *w)
{
	struct xfer *xf = xfer_of(w->io);
	int err = 0;

	for (unsigned i = 0; i < xf->nr_parts && err == 0; i++) {
		const struct blk_req *req = &xf->part[i].req;

		err = blk_do(
			w->t->q, BLK_WRITE, req->sector, req->nr_sectors, xf->part[i].iov.iov_base);
	}
	if (err < 0 && xf->has_fresh) {
		w->broken = true;
		(void)fs_abort(w->inode->fs, err, "inode %llu: new data lost",
			(unsigned long long)w->inode->ino);
	}
	tx_io_end(w->t, xf->epoch);
	pthread_mutex_lock(&w->inode->writes_lock);
	if (w->broken)
		w->inode->broken = true;
	xfer_free_parts(xf);
	pthread_mutex_unlock(&w->inode->writes_lock);
	w->next = plan_end(&w->plan);
	return err;
}

/* Something is in the way of the next round: wait for it, keeping the claim only if part of the
 * write is done. */
static int round_settle(struct write *w)
{
	if (w->claimed && w->next == w->first) {
		unclaim(w->inode, w->io, false);
		w->claimed = false;
	}
	if (!w->claimed)
		file_wait(w->t, w->inode, w->first, w->first + w->nr_blocks - 1);
	return file_settle(w->t, w->inode);
}

/* 0: submitted. */
static int write_rounds(struct write *w)
{
	int err;

	do {
		err = round_map(w);
		if (err == 0 && plan_end(&w->plan) < w->first + w->nr_blocks) {
			err = round_write(w);
			if (err == 0)
				err = -EINPROGRESS;
		} else if (err == -EAGAIN) {
			err = round_settle(w);
			if (err == 0)
				err = -EINPROGRESS;
		}
	} while (err == -EINPROGRESS);
	if (err == 0)
		xfer_submit(w->io);
	else if (w->claimed)
		unclaim(w->inode, w->io, w->broken);
	return err;
}

/* Bytes written, or an error: IO is not in flight. -EINPROGRESS: it is. */
static ssize_t write_start(struct write *w)
{
	struct xfer *xf = xfer_of(w->io);
	int err;

	xfer_init(w->t, w->inode, w->io, true);
	xf->result = w->io->bytes;
	err = buffer_get(w);
	if (err < 0)
		return err;
	err = overwrite(w);
	if (err == -EAGAIN)
		err = write_rounds(w);
	if (err == 0)
		return -EINPROGRESS;
	xfer_free_parts(xf);
	bounce_free(xf);
	if (w->next > w->first) /* disk full or broken on the way */
		return (ssize_t)(w->next * BLOCK_BYTES - w->io->offset);
	return err;
}

static int write_check(struct fs_thread *t, const struct fs_io *io, const struct inode *inode)
{
	int err = check_io(io, inode);

	if (err < 0)
		return err;
	if (io->offset > FS_FILE_SIZE_MAX || io->bytes > FS_FILE_SIZE_MAX - io->offset)
		return -EFBIG;
	return fs_may_write(t->fs);
}

void fs_write(struct fs_thread *t, struct fs_io *io)
{
	struct write w;
	ssize_t n;

	n = inode_get(t, io->ino, &w.inode);
	if (n < 0)
		goto done;
	n = write_check(t, io, w.inode);
	if (n == 0 && io->bytes > 0) {
		w.t = t;
		w.io = io;
		w.end = io->offset + io->bytes;
		w.first = first_block(io);
		w.nr_blocks = (uint32_t)(last_block(io) - w.first + 1);
		w.next = w.first;
		w.claimed = w.broken = false;
		n = write_start(&w);
		if (n == -EINPROGRESS)
			return;
	}
	inode_put(t, w.inode);
done:
	io->done(io, n);
}

/* ---- making durable ---- */

void fs_fsync(struct fs_thread *t, uint64_t ino, bool datasync, struct fs_sync *s)
{
	struct inode *inode;
	uint64_t sequence;
	int err;

	err = inode_get(t, ino, &inode);
	if (err < 0) {
		s->done(s, err);
		return;
	}
	pthread_rwlock_rdlock(&inode->lock);
	/* Entries of a directory change with its times: they are its data. */
	sequence = datasync && S_ISREG(inode->mode) ? inode->synced_seq_needed : inode->changed_seq;
	pthread_rwlock_unlock(&inode->lock);
	tx_sync(t, sequence, inode, s);
}

int fs_sync(struct fs_thread *t)
{
	return tx_sync_wait(t, UINT64_MAX);
}
