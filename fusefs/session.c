/* session.c - the receive loop.
 *
 * Invariants
 *  1. A worker owns its queue, its slots and its /dev/fuse descriptor. A reply goes to the
 *     descriptor that brought the request: the kernel looks for it nowhere else. libfuse knows only
 *     one descriptor, so replies are written by reply_writev() to the one that the thread names in
 *     reply_fd.
 *  2. A request is received at (page - 80): struct fuse_in_header and struct fuse_write_in are 80
 *     bytes, so the payload of a WRITE begins on a page, and goes to the disk from there.
 *  3. A slot is filled from the front. Each READ or WRITE in flight keeps [its head page, its data)
 *     and a reference; when the last reference goes, the slot is empty again. So one slot holds one
 *     transfer of 1 MiB, or a hundred small ones:
 *
 *        | data_req .. header | data ...   | data_req .. header | data |          free           |
 *        0                 4096            ^ page               ^ page  ^ slot->used
 *
 *  4. The next request is read only when a whole one of the largest kind fits; else the worker only
 *     polls the disk. Every request in flight ends without another request being read, so this is
 *     no deadlock.
 *  5. busy is set before parking is looked at: whoever sets parking, and then sees a worker that is
 *     not busy, knows that it will look.
 *  6. A worker sleeps only in wait_for_work(), and there on everything that can give it work. With
 *     nothing to do it uses no CPU. The queue's descriptor is watched only when it is armed: else
 *     it may be readable for no reason (blockdev.h). */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>
#include "refused.h"
#include "session.h"

#define PAGE_BYTES   FS_BLOCK_BYTES
#define HEADER_BYTES (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))
#define SLOT_BYTES   (2U << 20)
#define SLOT_PAGES   (SLOT_BYTES / PAGE_BYTES)
/* The head page, the data, and a page more: a READ of 1 MiB at an odd offset touches that many
 * blocks. */
#define REQ_PAGES (1 + FS_IO_MAX / PAGE_BYTES + 1)
#define BATCH \
	16 /* requests before the doorbell rings: the first must not wait for too many others */
#define LOOK_NS      20000 /* between two looks at /dev/fuse, a system call each */
#define INIT_BYTES   65536
#define INIT_WAIT_MS 30000
/* After session_stop(): users that go on asking are not served for ever. */
#define STOP_WAIT_NS   (10 * 1000000000ULL)
#define PARKED_MAX     (64U << 20) /* bytes of requests; then none is read any more */
#define PARKED_LOOK_MS 20          /* a worker that has some looks whether to go on */

static_assert(HEADER_BYTES == 80, "invariant 2");
static_assert(sizeof(struct data_req) + HEADER_BYTES <= PAGE_BYTES, "the head page holds both");
static_assert(REQ_PAGES <= SLOT_PAGES, "a slot holds any request");

struct slot {
	uint8_t *mem;
	unsigned used; /* pages, from the front */
	unsigned refs;
};

struct parked { /* a request, as it was read */
	struct parked *next;
	size_t bytes;
	uint8_t data[];
};

struct worker {
	struct session *session;
	pthread_t thread;
	bool started; /* the thread is there to be joined */
	int fuse_fd;  /* worker 0: the session's; else its own clone, or again the session's */
	int idle_fd;  /* epoll: a request, or session_stop() */
	int busy_fd;  /* epoll: and a completion */
	struct fs_thread *t;
	struct blk_queue *q;
	struct slot slots[SESSION_SLOTS_MAX];
	unsigned nr_slots;
	unsigned nr_kept; /* data_reqs not yet answered */
	bool gone;        /* the kernel has ended the connection */
	struct parked *parked, **last_parked;
	atomic_bool busy; /* reads a request, or has one in hand */

	/* The request in hand. */
	struct slot *slot;
	uint8_t *head; /* its head page */
	size_t bytes;
	bool kill_priv;

	/* Written by the worker, read by anyone. */
	atomic_uint_fast64_t requests, writes, sleeps, no_slot;
};

enum run { RUN_SETTING_UP, RUN_SERVE, RUN_QUIT };

struct session {
	struct fs *fs;
	struct blockdev *dev;
	struct fuse_session *se;
	int spin_us;
	unsigned want_slots;
	uint32_t init_offered; /* the kernel's flags, while INIT is in hand; else 0 */
	int wake_fd;           /* readable: look at .stopping */
	int over_fd;           /* readable: the last worker has ended */
	atomic_bool stopping;
	atomic_bool parking;
	atomic_size_t parked_bytes;
	_Atomic uint64_t stop_ns; /* when session_stop() was called */
	atomic_uint nr_serving;

	pthread_mutex_t lock;
	pthread_cond_t cond;
	enum run run;      /* under lock */
	unsigned nr_ready; /* workers whose setting up is over; under lock */
	int setup_err;     /* under lock */
	unsigned nr_syncs; /* FSYNCs not yet answered; under lock */
	struct refused refused;

	unsigned nr_workers;
	struct worker workers[];
};

static _Thread_local struct worker *self;
static _Thread_local int reply_fd = -1;
/* libfuse explains its failures to a log function that has no argument of ours. */
static char *mount_err;
static size_t mount_err_bytes;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

/* ---- the request in hand ---- */

struct fs_thread *session_thread(void)
{
	return self->t;
}

struct fs *session_fs(void)
{
	return self->session->fs;
}

bool session_kill_priv(void)
{
	return self->kill_priv;
}

void session_drop_attr(uint64_t ino)
{
	fuse_lowlevel_notify_inval_inode(self->session->se, ino, -1, 0); /* -1: no data */
}

void session_refused_note(uint64_t ino)
{
	refused_note(&self->session->refused, ino, now_ns());
}

bool session_refused_look(uint64_t ino)
{
	return refused_look(&self->session->refused, ino, now_ns());
}

bool session_refused_take(uint64_t ino)
{
	return refused_take(&self->session->refused, ino, now_ns());
}

void *session_scratch(size_t *room)
{
	size_t off = PAGE_BYTES - HEADER_BYTES + self->bytes;

	off = (off + PAGE_BYTES - 1) & ~(size_t)(PAGE_BYTES - 1);
	*room = (size_t)REQ_PAGES * PAGE_BYTES - off;
	return self->head + off;
}

struct data_req *session_keep(struct fuse_req *req, uint32_t bytes)
{
	struct worker *w = self;
	struct data_req *d = (struct data_req *)w->head;
	size_t end = (size_t)(w->head - w->slot->mem) + PAGE_BYTES + bytes;

	memset(d, 0, sizeof(*d));
	d->io.buf = w->head + PAGE_BYTES;
	d->req = req;
	d->slot = w->slot;
	w->slot->used = (unsigned)((end + PAGE_BYTES - 1) / PAGE_BYTES);
	w->slot->refs++;
	w->nr_kept++;
	return d;
}

void session_release(struct data_req *d)
{
	struct slot *slot = d->slot;

	self->nr_kept--;
	if (--slot->refs == 0)
		slot->used = 0;
}

struct sync_req *session_sync_begin(struct fuse_req *req)
{
	struct session *s = self->session;
	struct sync_req *r;

	r = calloc(1, sizeof(*r));
	if (r == NULL)
		return NULL;
	r->req = req;
	r->session = s;
	r->fd = self->fuse_fd;
	pthread_mutex_lock(&s->lock);
	s->nr_syncs++;
	pthread_mutex_unlock(&s->lock);
	return r;
}

void session_sync_end(struct sync_req *r, int err)
{
	struct session *s = r->session;
	int fd = reply_fd;

	reply_fd = r->fd;
	fuse_reply_err(r->req, -err);
	reply_fd = fd;
	free(r);
	/* Last: from here on session_close() may free the session. */
	pthread_mutex_lock(&s->lock);
	if (--s->nr_syncs == 0)
		pthread_cond_broadcast(&s->cond);
	pthread_mutex_unlock(&s->lock);
}

/* ---- libfuse's input and output ---- */

static ssize_t reply_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	struct session *s = userdata;

	(void)fd;
	/* libfuse 3.14 never sends these two (3.17 does, then this changes nothing): with the
	 * first, the kernel looks up in one directory in parallel; with the second, it stops asking
	 * for security.capability at each write. */
	if (s->init_offered != 0 && count == 2 &&
		iov[1].iov_len >= offsetof(struct fuse_init_out, max_background)) {
		struct fuse_init_out *out = iov[1].iov_base;

		out->flags |= s->init_offered & (FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV_V2);
	}
	return writev(reply_fd, iov, count);
}

/* libfuse demands it, but receive() reads for itself. */
static ssize_t request_read(int fd, void *buf, size_t bytes, void *userdata)
{
	(void)userdata;
	return read(fd, buf, bytes);
}

static void log_to_mount_err(enum fuse_log_level level, const char *fmt, va_list ap)
{
	if (level > FUSE_LOG_ERR) {
		vfprintf(stderr, fmt, ap);
		return;
	}
	if (mount_err != NULL && mount_err[0] == '\0') {
		vsnprintf(mount_err, mount_err_bytes, fmt, ap);
		mount_err[strcspn(mount_err, "\n")] = '\0';
	} else if (mount_err == NULL) {
		vsyslog(LOG_ERR, fmt, ap);
	}
}

/* ---- receiving ---- */

/* A slot that the next request fits into, or NULL. */
static struct slot *free_slot(struct worker *w)
{
	if (w->slot->used + REQ_PAGES <= SLOT_PAGES)
		return w->slot;
	for (unsigned i = 0; i < w->nr_slots; i++)
		if (w->slots[i].refs == 0)
			return &w->slots[i];
	return NULL;
}

/* The kill flags of the raw request: libfuse 3.14 hands none of them on, and overwrites one. */
static bool wants_kill_priv(const struct fuse_in_header *in, size_t bytes)
{
	const void *arg = in + 1;

	switch (in->opcode) {
	case FUSE_WRITE:
		return bytes >= HEADER_BYTES &&
		       (((const struct fuse_write_in *)arg)->write_flags & FUSE_WRITE_KILL_SUIDGID);
	case FUSE_SETATTR:
		return bytes >= sizeof(*in) + sizeof(struct fuse_setattr_in) &&
		       (((const struct fuse_setattr_in *)arg)->valid & FATTR_KILL_SUIDGID);
	default:
		return false;
	}
}

static uint8_t *request_of(const struct worker *w)
{
	return w->head + PAGE_BYTES - HEADER_BYTES;
}

static void do_request(struct worker *w, size_t bytes)
{
	struct fuse_buf buf = {.mem = request_of(w), .size = bytes};

	w->bytes = bytes;
	w->kill_priv = wants_kill_priv(buf.mem, bytes);
	fuse_session_process_buf(w->session->se, &buf);
}

/* Does it change nothing? To forget the last reference may free an inode. */
static bool is_harmless(uint32_t opcode)
{
	switch (opcode) {
	case FUSE_LOOKUP:
	case FUSE_GETATTR:
	case FUSE_READLINK:
	case FUSE_OPEN:
	case FUSE_READ:
	case FUSE_STATFS:
	case FUSE_RELEASE:
	case FUSE_FSYNC:
	case FUSE_GETXATTR:
	case FUSE_LISTXATTR:
	case FUSE_FLUSH:
	case FUSE_OPENDIR:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
	case FUSE_RELEASEDIR:
	case FUSE_FSYNCDIR:
	case FUSE_ACCESS:
	case FUSE_INTERRUPT:
	case FUSE_LSEEK:
	case FUSE_DESTROY:
		return true;
	default:
		return false;
	}
}

static bool is_parking(const struct worker *w)
{
	return atomic_load(&w->session->parking);
}

/* Set the request aside, if that is what is to be done with it. Without memory for that it is done,
 * and waits in the filesystem. */
static bool park(struct worker *w, size_t bytes)
{
	const struct fuse_in_header *in = (const struct fuse_in_header *)request_of(w);
	struct parked *p;

	if (!is_parking(w) || is_harmless(in->opcode))
		return false;
	p = malloc(sizeof(*p) + bytes);
	if (p == NULL)
		return false;
	p->next = NULL;
	p->bytes = bytes;
	memcpy(p->data, in, bytes);
	*w->last_parked = p;
	w->last_parked = &p->next;
	atomic_fetch_add(&w->session->parked_bytes, bytes);
	return true;
}

static void drop_parked(struct worker *w)
{
	struct parked *p = w->parked;

	w->parked = p->next;
	if (w->parked == NULL)
		w->last_parked = &w->parked;
	atomic_fetch_sub(&w->session->parked_bytes, p->bytes);
	free(p);
}

static void do_parked(struct worker *w)
{
	size_t bytes = w->parked->bytes;

	memcpy(request_of(w), w->parked->data, bytes);
	drop_parked(w);
	do_request(w, bytes);
}

static bool is_full(const struct session *s)
{
	return atomic_load(&s->parking) && atomic_load(&s->parked_bytes) >= PARKED_MAX;
}

/* One request, read into the slot at w->head. */
static int read_and_do(struct worker *w)
{
	ssize_t n;

	do
		n = read(w->fuse_fd, request_of(w), HEADER_BYTES + FS_IO_MAX);
	while (n < 0 && (errno == EINTR || errno == ENOENT)); /* ENOENT: its caller was killed */
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n < (ssize_t)sizeof(struct fuse_in_header)) {
		if (n >= 0 || errno != ENODEV) /* ENODEV: unmounted, or aborted */
			syslog(LOG_ERR, "/dev/fuse: %s", n < 0 ? strerror(errno) : "short read");
		w->gone = true;
		return 0;
	}
	atomic_fetch_add_explicit(&w->requests, 1, memory_order_relaxed);
	if (((const struct fuse_in_header *)request_of(w))->opcode == FUSE_WRITE)
		atomic_fetch_add_explicit(&w->writes, 1, memory_order_relaxed);
	if (!park(w, (size_t)n))
		do_request(w, (size_t)n);
	return 1;
}

/* Do one request: 1; 0 when there is none (or no more will come: w->gone), or no room. */
static int receive(struct worker *w)
{
	struct slot *slot = free_slot(w);
	int nr = 1;

	if (slot == NULL) {
		atomic_fetch_add_explicit(&w->no_slot, 1, memory_order_relaxed);
		return 0;
	}
	w->slot = slot;
	w->head = slot->mem + (size_t)slot->used * PAGE_BYTES;
	atomic_store(&w->busy, true); /* invariant 5 */
	if (w->parked != NULL && !is_parking(w))
		do_parked(w);
	else if (is_full(w->session))
		nr = 0;
	else
		nr = read_and_do(w);
	atomic_store(&w->busy, false);
	return nr;
}

static bool must_end(struct worker *w, int nr_received)
{
	struct session *s = w->session;

	if (w->gone)
		return true;
	if (!atomic_load_explicit(&s->stopping, memory_order_acquire))
		return false;
	return (nr_received == 0 && w->nr_kept == 0 && w->parked == NULL) ||
	       now_ns() - s->stop_ns > STOP_WAIT_NS;
}

/* Sleep until there may be something to do. */
static void wait_for_work(struct worker *w)
{
	struct epoll_event ev;
	struct pollfd fds[2] = {{.fd = blk_fd(w->q), .events = POLLIN},
		{.fd = w->session->wake_fd, .events = POLLIN}};
	bool is_stuffed = is_full(w->session);
	int timeout_ms = is_stuffed || w->parked != NULL ? PARKED_LOOK_MS : -1;

	if (w->q->nr_inflight > 0 && blk_arm(w->q))
		return;
	atomic_fetch_add_explicit(&w->sleeps, 1, memory_order_relaxed);
	if (is_stuffed || free_slot(w) == NULL)
		poll(fds, 2, timeout_ms);
	else
		epoll_wait(w->q->nr_inflight > 0 ? w->busy_fd : w->idle_fd, &ev, 1, timeout_ms);
}

/* The disk answers soon, if at all: poll it for a while, as an interrupt costs more; but not for
 * longer than LOOK_NS at a time, so that requests are looked for, too. False: sleep now. */
static bool spin(struct worker *w, uint64_t *quiet_ns)
{
	uint64_t now = now_ns(), end = now + LOOK_NS;

	if (*quiet_ns == 0)
		*quiet_ns = now;
	if (now - *quiet_ns >= (uint64_t)w->q->spin_us * 1000)
		return false;
	for (; now < end; now = now_ns()) {
		if (blk_poll(w->q) > 0) {
			*quiet_ns = 0;
			break;
		}
	}
	return true;
}

static void serve(struct worker *w)
{
	uint64_t quiet_ns = 0; /* since when nothing happened; 0: something just did */

	for (;;) {
		int nr_received = 0, nr_done;

		while (nr_received < BATCH && receive(w))
			nr_received++;
		if (must_end(w, nr_received))
			return;
		if (w->q->nr_inflight > 0)
			blk_kick(w->q);
		nr_done = blk_poll(w->q);
		if (nr_received + nr_done > 0)
			quiet_ns = 0;
		if (nr_done > 0 || nr_received == BATCH)
			continue; /* there is more to receive, or room for it now */
		if (w->q->nr_inflight > 0 && spin(w, &quiet_ns))
			continue;
		wait_for_work(w);
		quiet_ns = 0;
	}
}

/* ---- a worker's life ---- */

/* As many slots as there is DMA memory for, up to what was asked; one is enough to work. */
static int alloc_slots(struct worker *w)
{
	while (w->nr_slots < w->session->want_slots) {
		uint8_t *mem = blk_dma_alloc(w->session->dev, SLOT_BYTES);

		if (mem == NULL)
			break;
		w->slots[w->nr_slots++].mem = mem;
	}
	w->slot = &w->slots[0];
	return w->nr_slots > 0 ? 0 : -ENOMEM;
}

static void free_slots(struct worker *w)
{
	while (w->nr_slots > 0)
		blk_dma_free(w->session->dev, w->slots[--w->nr_slots].mem, SLOT_BYTES);
}

static int watch(int epoll_fd, int fd, uint32_t events)
{
	struct epoll_event ev = {.events = events};

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

static int open_waits(struct worker *w)
{
	int err;

	w->idle_fd = epoll_create1(EPOLL_CLOEXEC);
	w->busy_fd = epoll_create1(EPOLL_CLOEXEC);
	if (w->idle_fd < 0 || w->busy_fd < 0)
		return -errno;
	err = watch(w->idle_fd, w->session->wake_fd, EPOLLIN);
	if (err == 0)
		err = watch(w->busy_fd, w->session->wake_fd, EPOLLIN);
	if (err == 0)
		err = watch(w->busy_fd, blk_fd(w->q), EPOLLIN);
	return err;
}

/* Exclusive: a request wakes one sleeping worker, not all. */
static int watch_requests(struct worker *w)
{
	int err = watch(w->idle_fd, w->fuse_fd, EPOLLIN | EPOLLEXCLUSIVE);

	return err < 0 ? err : watch(w->busy_fd, w->fuse_fd, EPOLLIN | EPOLLEXCLUSIVE);
}

static int worker_set_up(struct worker *w)
{
	int err;

	err = fs_thread_open(w->session->fs, &w->t);
	if (err < 0)
		return err;
	w->q = fs_thread_queue(w->t);
	if (w->session->spin_us >= 0)
		w->q->spin_us = (uint32_t)w->session->spin_us;
	err = open_waits(w);
	return err < 0 ? err : alloc_slots(w);
}

static void worker_tear_down(struct worker *w)
{
	free_slots(w);
	if (w->idle_fd >= 0)
		close(w->idle_fd);
	if (w->busy_fd >= 0)
		close(w->busy_fd);
	if (w->t != NULL)
		fs_thread_close(w->t);
}

/* Say that the setting up is over, and wait for what comes then. */
static enum run worker_ready(struct worker *w, int err)
{
	struct session *s = w->session;
	enum run run;

	pthread_mutex_lock(&s->lock);
	if (err < 0 && s->setup_err == 0)
		s->setup_err = err;
	s->nr_ready++;
	pthread_cond_broadcast(&s->cond);
	while (s->run == RUN_SETTING_UP)
		pthread_cond_wait(&s->cond, &s->lock);
	run = s->run;
	pthread_mutex_unlock(&s->lock);
	return run;
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct session *s = w->session;

	self = w;
	w->last_parked = &w->parked;
	if (worker_ready(w, worker_set_up(w)) == RUN_SERVE) {
		reply_fd = w->fuse_fd;
		if (watch_requests(w) == 0)
			serve(w);
		while (w->nr_kept > 0)
			blk_wait(w->q, -1);
		while (w->parked != NULL) /* nobody waits for an answer any more */
			drop_parked(w);
		if (atomic_fetch_sub(&s->nr_serving, 1) == 1)
			eventfd_write(s->over_fd, 1);
	}
	worker_tear_down(w);
	return NULL;
}

/* ---- the session ---- */

static unsigned default_workers(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	return cpus < 1 ? 1 : cpus > 4 ? 4 : (unsigned)cpus;
}

static int add_mount_opts(struct fuse_args *args, const struct session_opts *opts)
{
	char *list = NULL, *source = NULL;
	int err = -ENOMEM;

	/* max_read must be said here and in INIT. */
	if (asprintf(&list, "subtype=vblkfs,default_permissions,max_read=%u%s%s%s", FS_IO_MAX,
		    opts->allow_other ? ",allow_other" : "", opts->mount_opts ? "," : "",
		    opts->mount_opts ? opts->mount_opts : "") < 0)
		return -ENOMEM;
	if (asprintf(&source, "fsname=%s", opts->source) < 0) {
		free(list);
		return -ENOMEM;
	}
	if (fuse_opt_add_opt_escaped(&list, source) == 0 && fuse_opt_add_arg(args, "vblkfs") == 0 &&
		fuse_opt_add_arg(args, "-o") == 0 && fuse_opt_add_arg(args, list) == 0 &&
		(!opts->debug || fuse_opt_add_arg(args, "-d") == 0))
		err = 0;
	free(source);
	free(list);
	return err;
}

static int make_fuse_session(struct session *s, const struct session_opts *opts)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	int err;

	err = add_mount_opts(&args, opts);
	if (err == 0) {
		s->se = fuse_session_new(&args, &ops_table, sizeof(ops_table), s);
		if (s->se == NULL)
			err = -EINVAL;
	}
	fuse_opt_free_args(&args);
	return err;
}

static int start_workers(struct session *s)
{
	int err = 0;

	for (unsigned i = 0; i < s->nr_workers && err == 0; i++) {
		err = -pthread_create(&s->workers[i].thread, NULL, worker_main, &s->workers[i]);
		s->workers[i].started = err == 0;
		pthread_mutex_lock(&s->lock);
		while (err == 0 && s->nr_ready <= i)
			pthread_cond_wait(&s->cond, &s->lock);
		err = err < 0 ? err : s->setup_err;
		pthread_mutex_unlock(&s->lock);
	}
	return err;
}

static void tell_workers(struct session *s, enum run run)
{
	pthread_mutex_lock(&s->lock);
	s->run = run;
	pthread_cond_broadcast(&s->cond);
	pthread_mutex_unlock(&s->lock);
}

/* Answer INIT on this thread, so that the mount is known to work before anyone is told so. */
static int answer_init(struct session *s)
{
	static const struct fuse_custom_io io = {.writev = reply_writev, .read = request_read};
	int fd = fuse_session_fd(s->se);
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	struct fuse_buf buf = {0};
	const struct fuse_in_header *in;
	ssize_t n;
	int err;

	err = fuse_session_custom_io(s->se, &io, fd);
	if (err < 0)
		return err;
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
		return -errno;
	if (poll(&pfd, 1, INIT_WAIT_MS) == 0)
		return -ETIMEDOUT;
	in = buf.mem = malloc(INIT_BYTES);
	if (in == NULL)
		return -ENOMEM;
	n = read(fd, buf.mem, INIT_BYTES);
	err = n < 0 ? -errno : 0;
	if (n >= (ssize_t)(sizeof(*in) + offsetof(struct fuse_init_in, flags2)) &&
		in->opcode == FUSE_INIT) {
		buf.size = (size_t)n;
		s->init_offered = ((const struct fuse_init_in *)(in + 1))->flags;
		reply_fd = fd;
		fuse_session_process_buf(s->se, &buf);
		reply_fd = -1;
		s->init_offered = 0;
	} else if (err == 0) {
		err = -EPROTO;
	}
	free(buf.mem);
	return err;
}

/* A descriptor of its own lets a worker's requests be looked for apart from the others'. Without,
 * they share. */
static void clone_fds(struct session *s)
{
	uint32_t master = (uint32_t)fuse_session_fd(s->se);

	s->workers[0].fuse_fd = (int)master;
	for (unsigned i = 1; i < s->nr_workers; i++) {
		int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);

		if (fd >= 0 && ioctl(fd, FUSE_DEV_IOC_CLONE, &master) < 0) {
			close(fd);
			fd = -1;
		}
		s->workers[i].fuse_fd = fd >= 0 ? fd : (int)master;
	}
}

static struct session *session_new(
	struct fs *fs, struct blockdev *dev, const struct session_opts *opts)
{
	unsigned nr = opts->workers != 0 ? opts->workers : default_workers();
	struct session *s;

	s = calloc(1, sizeof(*s) + nr * sizeof(s->workers[0]));
	if (s == NULL)
		return NULL;
	s->fs = fs;
	s->dev = dev;
	s->spin_us = opts->spin_us;
	s->want_slots = opts->slots != 0 ? opts->slots : SESSION_SLOTS_DEFAULT;
	s->nr_workers = nr;
	atomic_init(&s->nr_serving, nr);
	for (unsigned i = 0; i < nr; i++)
		s->workers[i] =
			(struct worker){.session = s, .fuse_fd = -1, .idle_fd = -1, .busy_fd = -1};
	refused_init(&s->refused);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->cond, NULL);
	s->wake_fd = eventfd(0, EFD_CLOEXEC);
	s->over_fd = eventfd(0, EFD_CLOEXEC);
	if (s->wake_fd < 0 || s->over_fd < 0) {
		session_close(s);
		return NULL;
	}
	return s;
}

static void warn_of_few_slots(const struct session *s)
{
	unsigned nr = 0;

	for (unsigned i = 0; i < s->nr_workers; i++)
		nr += s->workers[i].nr_slots;
	if (nr < s->nr_workers * s->want_slots)
		syslog(LOG_WARNING, "DMA memory for %u of %u slots: slower; raise vm.nr_hugepages",
			nr, s->nr_workers * s->want_slots);
}

int session_open(struct fs *fs, struct blockdev *dev, const char *dir,
	const struct session_opts *opts, struct session **out, char *err, size_t err_bytes)
{
	struct session *s;
	int res;

	s = session_new(fs, dev, opts);
	if (s == NULL) {
		snprintf(err, err_bytes, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	err[0] = '\0';
	mount_err = err;
	mount_err_bytes = err_bytes;
	fuse_set_log_func(log_to_mount_err);
	res = start_workers(s);
	if (res < 0) {
		if (res == -ENOMEM)
			snprintf(err, err_bytes,
				"not enough hugepages: the workers' slots want %u more, %u at "
				"least; "
				"raise vm.nr_hugepages, or lower workers=, slots= or cache=",
				s->nr_workers * s->want_slots, s->nr_workers);
		goto fail;
	}
	res = make_fuse_session(s, opts);
	if (res < 0)
		goto fail;
	res = fuse_session_mount(s->se, dir) == 0 ? 0 : -EIO;
	if (res < 0)
		goto fail;
	res = answer_init(s);
	if (res < 0)
		goto fail;
	mount_err = NULL;
	clone_fds(s);
	warn_of_few_slots(s);
	tell_workers(s, RUN_SERVE);
	*out = s;
	return 0;

fail:
	if (err[0] == '\0')
		snprintf(err, err_bytes, "%s", strerror(-res));
	mount_err = NULL;
	session_close(s);
	return res;
}

int session_fd(const struct session *s)
{
	return s->over_fd;
}

void session_stop(struct session *s)
{
	if (atomic_load(&s->stopping))
		return;
	s->stop_ns = now_ns();
	atomic_store_explicit(&s->stopping, true, memory_order_release);
	eventfd_write(s->wake_fd, 1); /* nobody reads it: it wakes all, and again */
}

int session_stats(const struct session *s, struct session_stats *out, int max)
{
	int i;

	for (i = 0; i < max && i < (int)s->nr_workers; i++) {
		out[i].requests =
			atomic_load_explicit(&s->workers[i].requests, memory_order_relaxed);
		out[i].writes = atomic_load_explicit(&s->workers[i].writes, memory_order_relaxed);
		out[i].sleeps = atomic_load_explicit(&s->workers[i].sleeps, memory_order_relaxed);
		out[i].no_slot = atomic_load_explicit(&s->workers[i].no_slot, memory_order_relaxed);
	}
	return i;
}

void session_settle(struct session *s)
{
	struct timespec ts = {.tv_nsec = 100000};

	for (unsigned i = 0; i < s->nr_workers; i++)
		while (atomic_load(&s->workers[i].busy))
			nanosleep(&ts, NULL);
}

void session_park(struct session *s)
{
	atomic_store(&s->parking, true);
	session_settle(s);
}

void session_unpark(struct session *s)
{
	atomic_store(&s->parking, false);
}

static void join_workers(struct session *s)
{
	for (unsigned i = 0; i < s->nr_workers; i++)
		if (s->workers[i].started)
			pthread_join(s->workers[i].thread, NULL);
	pthread_mutex_lock(&s->lock);
	while (s->nr_syncs > 0)
		pthread_cond_wait(&s->cond, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

void session_close(struct session *s)
{
	session_stop(s);
	if (s->run == RUN_SETTING_UP)
		tell_workers(s, RUN_QUIT);
	join_workers(s);
	if (s->se != NULL) {
		for (unsigned i = 1; i < s->nr_workers; i++)
			if (s->workers[i].fuse_fd >= 0 &&
				s->workers[i].fuse_fd != s->workers[0].fuse_fd)
				close(s->workers[i].fuse_fd);
		fuse_session_unmount(s->se); /* closes worker 0's */
		fuse_session_destroy(s->se);
	}
	if (s->wake_fd >= 0)
		close(s->wake_fd);
	if (s->over_fd >= 0)
		close(s->over_fd);
	pthread_cond_destroy(&s->cond);
	pthread_mutex_destroy(&s->lock);
	refused_destroy(&s->refused);
	free(s);
}
