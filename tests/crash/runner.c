/* runner.c - carries a workload out on the filesystem, and records it (runner.h). */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "cache.h"
#include "inode.h"
#include "orphan.h"
#include "runner.h"
#include "world.h"
#include "../io_wait.h"

#define COMMIT_S_NEVER 100000U
#define BUF_BYTES      (FS_IO_MAX + FS_BLOCK_BYTES)

struct started {          /* a sync that is not waited for */
	struct fs_sync s; /* first */
	struct runner *r;
	atomic_bool done;
	int err;
	bool is_out;
	struct buf *held; /* whose join_lock stops the commit */
};

struct runner {
	struct image base[2]; /* empty; with files */
	struct op base_ops[64];
	uint32_t nr_base_ops;
	struct blockdev *dev;
	struct recording *rec;
	struct fs *fs;
	struct fs_thread *t;
	uint8_t *buf;
	struct started started;
	uint32_t number;    /* of the operation that runs */
	atomic_uint ack;    /* the operation that the next sync's end is the end of; 0: none */
	struct fs_io write; /* OP_START_WRITE's */
	struct io_wait write_wait;
	bool write_is_out;
	uint8_t *write_buf;
};

/* --- waiting --- */

/* The queue that the commit thread opened: a mount's second (super.c's own is the first). */
static bool commit_thread_sleeps(struct runner *r)
{
	struct blk_queue *q = log_disk_queue(r->dev, 1);

	/* In this order: who has taken a wake-up left poll() before that. */
	return q == NULL || (!atomic_load(&q->woken) && world_sleeps(q->event_fd));
}

static void quiesce(struct runner *r)
{
	do {
		orphans_wait(r->t);
		while (!commit_thread_sleeps(r))
			sched_yield();
	} while (orphans_busy(r->fs));
}

static void sync_done(struct fs_sync *s, int err) /* on any thread */
{
	struct started *st = (struct started *)s;
	uint32_t number = atomic_exchange(&st->r->ack, 0);

	if (number != 0) /* here, since the commit thread goes on with other writes */
		log_disk_mark(st->r->dev, LOG_DONE, number);
	st->err = err;
	atomic_store(&st->done, true);
}

static void sync_begin(struct runner *r, struct started *st)
{
	st->r = r;
	st->s.done = sync_done;
	st->is_out = true;
	atomic_store(&st->done, false);
}

static int sync_await(struct runner *r, struct started *st)
{
	if (st->held != NULL) {
		atomic_store(&r->ack, r->number);
		pthread_mutex_unlock(&st->held->join_lock);
		cache_put(st->held);
		st->held = NULL;
	}
	while (!atomic_load(&st->done))
		blk_wait(r->t->q, 1);
	st->is_out = false;
	return st->err;
}

static int do_fsync(struct runner *r, uint64_t ino, bool datasync)
{
	struct started st = {.err = 0};

	sync_begin(r, &st);
	atomic_store(&r->ack, r->number);
	fs_fsync(r->t, ino, datasync, &st.s);
	return sync_await(r, &st);
}

static int do_sync(struct runner *r)
{
	struct started st = {.err = 0};

	sync_begin(r, &st);
	atomic_store(&r->ack, r->number);
	tx_sync(r->t, UINT64_MAX, NULL, &st.s);
	return sync_await(r, &st);
}

/* --- a commit that is stopped halfway --- */

/* The commit thread copies the blocks of a transaction in the order in which they were joined. Who
 * holds the join_lock of the first stops it before it has copied any. */
static void hold_leaf(struct runner *r, uint64_t dir)
{
	struct inode *inode;

	if (inode_get(r->t, dir, &inode) < 0)
		abort();
	r->started.held = cache_peek(r->fs, inode->fork.btree.root);
	inode_put(r->t, inode);
	if (r->started.held == NULL)
		abort();
	pthread_mutex_lock(&r->started.held->join_lock);
}

/* Until the next transaction runs. */
static void wait_closed(struct runner *r, uint64_t sequence)
{
	struct tx_handle h;
	uint64_t now;

	do {
		if (tx_begin(r->t, 1, 0, &h) < 0)
			abort();
		now = tx_sequence(&h);
		tx_end(&h);
	} while (now == sequence);
}

static int start_sync(struct runner *r, const struct op *op, uint64_t ino)
{
	struct tx_handle h;
	uint64_t sequence;

	if (r->started.is_out)
		return -EBUSY;
	sync_begin(r, &r->started);
	if (op->kind == OP_START_FSYNC) {
		fs_fsync(r->t, ino, false, &r->started.s);
		return 0;
	}
	if (op->mode == 1)
		hold_leaf(r, ino);
	if (tx_begin(r->t, 1, 0, &h) < 0)
		abort();
	sequence = tx_sequence(&h);
	tx_end(&h);
	tx_sync(r->t, UINT64_MAX, NULL, &r->started.s);
	if (op->mode == 1)
		wait_closed(r, sequence);
	return 0;
}

/* --- operations --- */

static ssize_t do_write(struct runner *r, uint64_t ino, const struct op *op, uint32_t number)
{
	struct fs_io io = {.ino = ino, .offset = op->offset, .bytes = op->bytes, .buf = r->buf};
	struct fs_attr a;
	int err = fs_getattr(r->t, ino, &a);

	if (err < 0)
		return err;
	model_pattern(ino, a.generation, number, op->offset, r->buf, op->bytes);
	return io_do(r->t, fs_write, &io);
}

/* Its pages are the disk's until it is awaited. */
static ssize_t start_write(struct runner *r, uint64_t ino, const struct op *op, uint32_t number)
{
	struct fs_attr a;

	if (r->write_is_out || fs_getattr(r->t, ino, &a) < 0)
		return -EBUSY;
	r->write_is_out = true;
	r->write_wait = (struct io_wait){0};
	r->write = (struct fs_io){.ino = ino,
		.offset = op->offset,
		.bytes = op->bytes,
		.buf = r->write_buf,
		.done = io_done,
		.user = &r->write_wait};
	model_pattern(ino, a.generation, number, op->offset, r->write_buf, op->bytes);
	fs_write(r->t, &r->write);
	return op->bytes;
}

static int await_write(struct runner *r)
{
	if (!r->write_is_out)
		return -EINVAL;
	while (!r->write_wait.done)
		blk_wait(r->t->q, -1);
	r->write_is_out = false;
	return r->write_wait.result == r->write.bytes ? 0 : -EIO;
}

static int do_make(struct runner *r, uint64_t dir, const char *name, struct op *op, uint32_t number)
{
	static const uint32_t mode[OP_KINDS] = {
		[OP_CREAT] = S_IFREG | 0644,
		[OP_MKDIR] = S_IFDIR | 0755,
		[OP_FIFO] = S_IFIFO | 0600,
	};
	char target[MODEL_TARGET_MAX + 1];
	const struct fs_cred cred = {0};
	struct fs_attr a;
	int err;

	if (op->kind == OP_SYMLINK) {
		model_target(number, target, op->bytes);
		err = fs_symlink(r->t, dir, name, target, &cred, &a);
	} else {
		err = fs_mknod(r->t, dir, name, mode[op->kind], 0, &cred, &a);
	}
	if (err < 0)
		return err;
	op->ino = a.ino;
	op->generation = (uint32_t)a.generation;
	fs_forget(r->t, a.ino, 1);
	return 0;
}

static int do_link(struct runner *r, uint64_t ino, uint64_t dir, const char *name)
{
	struct fs_attr a;
	int err = fs_link(r->t, ino, dir, name, &a);

	if (err == 0)
		fs_forget(r->t, ino, 1);
	return err;
}

static int do_open(struct runner *r, uint64_t dir, const char *name)
{
	struct fs_attr a;

	return fs_lookup(r->t, dir, name, &a);
}

static int do_setattr(struct runner *r, uint64_t ino, const struct op *op)
{
	struct fs_setattr set = {.valid = op->kind == OP_CHMOD ? FS_SET_MODE : FS_SET_SIZE,
		.mode = (uint32_t)op->mode,
		.size = op->offset};

	return fs_setattr(r->t, ino, &set, NULL);
}

static int do_xattr(struct runner *r, uint64_t ino, const struct op *op, uint32_t number)
{
	uint8_t value[MODEL_VALUE_MAX];
	char name[32];

	model_xattr(number, op->mode, name, value, op->kind == OP_SETXATTR ? op->bytes : 0);
	if (op->kind == OP_REMOVEXATTR)
		return fs_removexattr(r->t, ino, name);
	return fs_setxattr(r->t, ino, name, value, op->bytes, 0);
}

static int mount_it(struct runner *r)
{
	const struct fs_mount_opts opts = {
		.commit_s = r->rec->w.commit_s != 0 ? r->rec->w.commit_s : COMMIT_S_NEVER,
		.cache_mib = r->rec->w.cache_mib};
	int err = fs_mount(r->dev, &opts, &r->fs);

	return err < 0 ? err : fs_thread_open(r->fs, &r->t);
}

static int unmount_it(struct runner *r)
{
	struct fs *fs = r->fs;

	if (r->write_is_out)
		(void)await_write(r);
	if (r->started.is_out)
		(void)sync_await(r, &r->started);
	fs_thread_close(r->t);
	r->t = NULL;
	r->fs = NULL;
	return fs_unmount(fs);
}

/* The wall clock has passed the next commit: the thread has to notice. */
static int pass_time(struct runner *r)
{
	world_pass(r->rec->w.commit_s + 1);
	tx_hurry(r->fs);
	return 0;
}

struct ends {                      /* what the paths of an operation lead to */
	uint64_t ino, dir, to_dir; /* 0: there is none */
	const char *name, *to_name;
};

static void find_ends(const struct model *m, const struct op *op, struct ends *e)
{
	const struct mnode *node = model_find(m, op->path);
	const struct mnode *dir = model_parent(m, op->path, &e->name);
	const struct mnode *to_dir = model_parent(m, op->to, &e->to_name);

	e->ino = node == NULL ? 0 : node->key.ino;
	e->dir = dir == NULL ? 0 : dir->key.ino;
	e->to_dir = to_dir == NULL ? 0 : to_dir->key.ino;
}

static int64_t do_names(struct runner *r, struct op *op, const struct ends *e, uint32_t number)
{
	switch (op->kind) {
	case OP_CREAT:
	case OP_MKDIR:
	case OP_FIFO:
	case OP_SYMLINK:
		return do_make(r, e->dir, e->name, op, number);
	case OP_LINK:
		return do_link(r, e->ino, e->to_dir, e->to_name);
	case OP_UNLINK:
		return fs_unlink(r->t, e->dir, e->name);
	case OP_RMDIR:
		return fs_rmdir(r->t, e->dir, e->name);
	case OP_RENAME:
		return fs_rename(r->t, e->dir, e->name, e->to_dir, e->to_name, 0);
	case OP_EXCHANGE:
		return fs_rename(r->t, e->dir, e->name, e->to_dir, e->to_name, RENAME_EXCHANGE);
	default:
		return do_open(r, e->dir, e->name);
	}
}

static int64_t do_inode(struct runner *r, const struct op *op, uint64_t ino, uint32_t number)
{
	switch (op->kind) {
	case OP_TRUNCATE:
	case OP_CHMOD:
		return do_setattr(r, ino, op);
	case OP_WRITE:
		return do_write(r, ino, op, number);
	case OP_START_WRITE:
		return start_write(r, ino, op, number);
	case OP_FALLOC:
		return fs_fallocate(r->t, ino, op->mode, op->offset, op->bytes);
	case OP_SETXATTR:
	case OP_REMOVEXATTR:
		return do_xattr(r, ino, op, number);
	case OP_CLOSE:
		fs_forget(r->t, ino, UINT32_MAX);
		return 0;
	case OP_FSYNC:
	case OP_FDATASYNC:
		return do_fsync(r, ino, op->kind == OP_FDATASYNC);
	default:
		return start_sync(r, op, ino);
	}
}

static int64_t do_all(struct runner *r, const struct op *op)
{
	int err;

	switch (op->kind) {
	case OP_SYNC:
		return do_sync(r);
	case OP_AWAIT_WRITE:
		return await_write(r);
	case OP_AWAIT:
		return r->started.is_out ? sync_await(r, &r->started) : -EINVAL;
	case OP_TIME:
		return pass_time(r);
	case OP_FREEZE:
		return fs_freeze(r->fs);
	case OP_THAW:
		return fs_thaw(r->fs);
	case OP_REMOUNT:
		err = unmount_it(r);
		return err < 0 ? err : mount_it(r);
	default:
		return unmount_it(r);
	}
}

static bool is_of_names(enum op_kind kind)
{
	return kind <= OP_EXCHANGE || kind == OP_OPEN;
}

static bool is_of_all(enum op_kind kind)
{
	return kind == OP_SYNC || kind >= OP_AWAIT_WRITE;
}

static int64_t perform(struct runner *r, struct op *op, uint32_t number)
{
	struct ends e;

	if (is_of_all(op->kind))
		return do_all(r, op);
	find_ends(&r->rec->model, op, &e);
	if (e.dir == 0 || e.to_dir == 0)
		return -ENOENT;
	if (is_of_names(op->kind) && (op->kind != OP_LINK || e.ino != 0))
		return do_names(r, op, &e, number);
	return e.ino == 0 ? -ENOENT : do_inode(r, op, e.ino, number);
}

/* --- a workload --- */

static void add_op(struct recording *rec, const struct op *op)
{
	uint32_t nr = rec->nr_base + rec->nr_ops;

	if (nr == rec->max_ops) {
		rec->max_ops = nr == 0 ? 64 : nr * 2;
		rec->ops = realloc(rec->ops, rec->max_ops * sizeof(*rec->ops));
		if (rec->ops == NULL)
			abort();
	}
	rec->ops[nr] = *op;
	if (rec->model.in_base)
		rec->nr_base++;
	else
		rec->nr_ops++;
}

static void run_op(struct runner *r, struct op *op)
{
	struct recording *rec = r->rec;
	uint32_t number = rec->model.in_base ? 0 : rec->nr_ops + 1;

	world_tick(op->same_second ? 0 : 1);
	r->number = number;
	log_disk_mark(r->dev, LOG_BEGIN, number);
	op->result = perform(r, op, number);
	if (!rec->w.racy && r->started.held == NULL && r->fs != NULL)
		quiesce(r);
	rec->w.last_result = op->result;
	if (op->result < 0)
		rec->nr_refused++;
	model_apply(&rec->model, op);
	log_disk_mark(r->dev, LOG_DONE, number); /* for the second time, where it was a sync */
	add_op(rec, op);
}

static void begin_model(struct recording *rec, const struct op *base, uint32_t nr_base)
{
	const struct fs_attr root = {
		.ino = FS_ROOT_INO, .generation = 1, .mode = S_IFDIR | 0755, .nlink = 2};

	rec->nr_ops = rec->nr_base = 0;
	rec->nr_refused = 0;
	model_begin(&rec->model, &root);
	for (uint32_t i = 0; i < nr_base; i++) {
		model_apply(&rec->model, &base[i]);
		add_op(rec, &base[i]);
	}
}

static bool fail(char *why, size_t bytes, const char *what, int err)
{
	(void)snprintf(why, bytes, "while it was recorded: %s: %s %s", what,
		err < 0 ? strerror(-err) : "", world_messages());
	return false;
}

bool runner_record(struct runner *r, const struct workload *w, struct recording *rec, char *why,
	size_t why_bytes)
{
	struct op op;
	int err;

	rec->w = *w;
	rec->base = &r->base[w->has_files];
	r->rec = rec;
	begin_model(rec, r->base_ops, w->has_files ? r->nr_base_ops : 0);
	model_end_base(&rec->model);
	world_reset(w->seed);
	log_events_free(&rec->log);
	log_disk_reset(r->dev, rec->base);
	log_disk_record(r->dev, true);
	err = mount_it(r);
	if (err < 0)
		return fail(why, why_bytes, "mount", err);
	quiesce(r);
	op = (struct op){0};
	while (rec->nr_ops < MODEL_OPS_MAX && rec->w.next(&rec->w, &rec->model, rec->nr_ops, &op)) {
		run_op(r, &op);
		op = (struct op){0};
	}
	log_disk_record(r->dev, false);
	log_disk_take(r->dev, &rec->log);
	if (r->fs != NULL && unmount_it(r) < 0)
		return fail(why, why_bytes, "unmount", -EIO);
	if (log_disk_fault(r->dev) != NULL)
		return fail(why, why_bytes, log_disk_fault(r->dev), 0);
	return world_has_messages() ? fail(why, why_bytes, "messages", 0) : true;
}

void recording_replay(const struct recording *rec, struct model *m, uint32_t nr)
{
	const struct fs_attr root = {
		.ino = FS_ROOT_INO, .generation = 1, .mode = S_IFDIR | 0755, .nlink = 2};

	model_begin(m, &root);
	for (uint32_t i = 0; i < rec->nr_base; i++)
		model_apply(m, &rec->ops[i]);
	model_end_base(m);
	for (uint32_t i = 0; i < nr; i++)
		model_apply(m, &rec->ops[rec->nr_base + i]);
}

void recording_free(struct recording *rec)
{
	log_events_free(&rec->log);
	model_free(&rec->model);
	free(rec->ops);
}

/* --- the bases --- */

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "crash: cannot make the base filesystem: %s: %s\n", what, world_messages());
	abort();
}

static void make_empty(struct runner *r)
{
	struct mkfs_opts opts = {.have_uuid = true,
		.uuid = "crash explorer",
		.journal_bytes = 4U << 20,
		.no_discard = true};
	struct mkfs_geometry geo;
	char err[128] = "";

	world_reset(1);
	must(mkfs_write(r->dev, &opts, &geo, err, sizeof(err)) == 0, err);
	log_disk_to_image(r->dev, &r->base[0]);
}

static void base_op(struct runner *r, enum op_kind kind, const char *path, uint32_t bytes)
{
	struct op op = {.kind = kind, .bytes = bytes};

	strcpy(op.path, path);
	run_op(r, &op);
	must(op.result >= 0, path);
}

/* Four directories, in each a file with contents and an attribute. */
static void make_files(struct runner *r, struct recording *rec)
{
	static const char *const dirs[] = {"A", "B", "A/C"};
	static const char *const files[] = {"foo", "A/foo", "B/foo", "A/C/foo"};

	log_disk_reset(r->dev, &r->base[0]);
	r->rec = rec;
	begin_model(rec, NULL, 0);
	world_reset(2);
	must(mount_it(r) == 0, "mount");
	for (unsigned i = 0; i < 3; i++)
		base_op(r, OP_MKDIR, dirs[i], 0);
	for (unsigned i = 0; i < 4; i++) {
		base_op(r, OP_CREAT, files[i], 0);
		base_op(r, OP_WRITE, files[i], 10000);
		base_op(r, OP_SETXATTR, files[i], 20);
	}
	must(unmount_it(r) == 0, "unmount");
	image_copy(&r->base[1], &r->base[0]);
	log_disk_to_image(r->dev, &r->base[1]);
	r->nr_base_ops = rec->nr_base;
	memcpy(r->base_ops, rec->ops, rec->nr_base * sizeof(*rec->ops));
}

static void check_root(struct runner *r)
{
	struct fs_attr a;

	log_disk_reset(r->dev, &r->base[0]);
	must(mount_it(r) == 0 && fs_getattr(r->t, FS_ROOT_INO, &a) == 0, "root");
	must(a.mode == (S_IFDIR | 0755) && a.generation == 1, "root's attributes");
	must(unmount_it(r) == 0, "unmount");
}

struct runner *runner_open(void)
{
	struct runner *r = calloc(1, sizeof(*r));
	struct recording rec = {.w.name = "base"};

	if (r == NULL)
		abort();
	image_open(&r->base[0], DISK_BLOCKS);
	image_open(&r->base[1], DISK_BLOCKS);
	must(log_disk_open(&r->base[0], &r->dev) == 0, "disk");
	r->buf = blk_dma_alloc(r->dev, BUF_BYTES);
	r->write_buf = blk_dma_alloc(r->dev, BUF_BYTES);
	must(r->buf != NULL && r->write_buf != NULL, "memory");
	make_empty(r);
	r->rec = &rec;
	check_root(r);
	make_files(r, &rec);
	recording_free(&rec);
	return r;
}

const struct image *runner_base(const struct runner *r, bool has_files)
{
	return &r->base[has_files];
}

void runner_close(struct runner *r)
{
	blk_dma_free(r->dev, r->buf, BUF_BYTES);
	blk_dma_free(r->dev, r->write_buf, BUF_BYTES);
	blk_close(r->dev);
	image_close(&r->base[0]);
	image_close(&r->base[1]);
	free(r);
}
