/* fds.c - see fds.h. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include "fds.h"
#include "fz.h"
#include "world.h"

#define FDS_MAX   64
#define FILES_MAX 160
#define FD_BASE   1000000   /* no real one is as large */
#define IN_BYTES  2048U     /* of a socket, not read yet */
#define ANSWER_US 10000000U /* the driver's patience for an answer, and some turns of others */
#define PASSED    32U       /* messages with descriptors, likewise */

int __wrap_poll(struct pollfd *fds, nfds_t nr, int timeout_ms);
int __wrap_eventfd(unsigned count, int flags);
int __wrap_eventfd_read(int fd, eventfd_t *count);
int __wrap_eventfd_write(int fd, eventfd_t count);
ssize_t __wrap_read(int fd, void *buf, size_t bytes);
ssize_t __wrap_write(int fd, const void *buf, size_t bytes);
int __wrap_close(int fd);
int __wrap_socket(int domain, int type, int protocol);
int __wrap_socketpair(int domain, int type, int protocol, int fd[2]);
int __wrap_setsockopt(int fd, int level, int name, const void *val, socklen_t bytes);
int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t bytes);
int __wrap_shutdown(int fd, int how);
ssize_t __wrap_send(int fd, const void *buf, size_t bytes, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __wrap_recv(int fd, void *buf, size_t bytes, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags);

struct passed {
	size_t at; /* the byte that they go with */
	unsigned nr;
	int file[FDS_PASS_MAX];
};

struct file {
	enum fds_kind kind;
	unsigned refs;
	bool shut, reset; /* a socket */
	bool is_client;   /* a socket: requests are sent, and their answers received */
	uint64_t sent_us; /* when the last one was */
	int peer;         /* of a socket; -1: none, or none any more */
	uint64_t count;   /* of an eventfd */
	size_t nr_in, nr_visible;
	unsigned nr_passed;
	struct passed passed[PASSED];
	uint8_t in[IN_BYTES];
};

static struct file files[FILES_MAX];
static struct {
	struct fds_ops ops;
	int fd[FDS_MAX]; /* -1, or its file */
	size_t trickle, cut;
	int err;
} f;

void fds_begin(const struct fds_ops *ops)
{
	memset(&f, 0, sizeof(f));
	memset(f.fd, 0xff, sizeof(f.fd));
	if (ops != NULL)
		f.ops = *ops;
}

void fds_end(void)
{
	for (int i = 0; i < FDS_MAX; i++)
		FZ_CHECK(f.fd[i] < 0, "a descriptor is left: kind %d", files[f.fd[i]].kind);
	for (int i = 0; i < FILES_MAX; i++)
		FZ_CHECK(files[i].kind == FDS_NONE, "file %d is left: kind %d", i, files[i].kind);
}

/* --- files --- */

static int new_file(enum fds_kind kind)
{
	int i = 0;

	while (i < FILES_MAX && files[i].kind != FDS_NONE)
		i++;
	FZ_CHECK(i < FILES_MAX, "files without end");
	memset(&files[i], 0, offsetof(struct file, passed));
	files[i].kind = kind;
	files[i].refs = 1;
	files[i].peer = -1;
	return i;
}

int fds_new(enum fds_kind kind)
{
	return new_file(kind);
}

static struct file *file_at(int file)
{
	FZ_CHECK(file >= 0 && file < FILES_MAX && files[file].refs > 0, "file %d", file);
	return &files[file];
}

enum fds_kind fds_kind(int file)
{
	return file_at(file)->kind;
}

/* What was sent along with the first BYTES goes, or moves to the front. */
static void drop_passed(struct file *s, size_t bytes)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < s->nr_passed; i++) {
		struct passed *p = &s->passed[i];

		if (p->at < bytes) {
			for (unsigned n = 0; n < p->nr; n++)
				fds_put(p->file[n]);
			continue;
		}
		p->at -= bytes;
		s->passed[kept++] = *p;
	}
	s->nr_passed = kept;
}

static void close_socket(struct file *s)
{
	drop_passed(s, SIZE_MAX);
	if (s->peer < 0)
		return;
	files[s->peer].peer = -1;
	files[s->peer].reset = s->nr_in > 0; /* it had not read everything */
}

void fds_get(int file)
{
	file_at(file)->refs++;
}

void fds_put(int file)
{
	struct file *p = file_at(file);

	if (p->refs == 1 && p->kind == FDS_SOCKET)
		close_socket(p);
	if (--p->refs == 0)
		p->kind = FDS_NONE;
}

void fds_add(int file)
{
	FZ_CHECK(fds_kind(file) == FDS_EVENT, "file %d is no eventfd", file);
	files[file].count++;
}

uint64_t fds_count(int file)
{
	uint64_t count = file_at(file)->count;

	files[file].count = 0;
	return count;
}

/* --- sockets --- */

bool fds_is_connected(int file)
{
	return file_at(file)->peer >= 0;
}

static void append(struct file *to, const void *buf, size_t bytes, const int *pass, unsigned nr)
{
	if (nr > 0 && to->nr_passed < PASSED && bytes > 0) {
		struct passed *p = &to->passed[to->nr_passed++];

		p->at = to->nr_in;
		p->nr = nr;
		memcpy(p->file, pass, nr * sizeof(*pass));
	} else {
		for (unsigned i = 0; i < nr; i++)
			fds_put(pass[i]);
	}
	memcpy(to->in + to->nr_in, buf, bytes);
	to->nr_in += bytes;
	if (f.trickle == 0)
		to->nr_visible = to->nr_in;
}

/* BYTES, or as many as there are, and the files that go with the first of them; those that go with a
 * later one end it before. */
static size_t take(struct file *s, void *buf, size_t bytes, struct passed *with)
{
	with->nr = 0;
	for (unsigned i = 0; i < s->nr_passed; i++)
		if (s->passed[i].at > 0 && s->passed[i].at < bytes)
			bytes = s->passed[i].at;
	if (bytes == 0)
		return 0;
	memcpy(buf, s->in, bytes);
	if (s->nr_passed > 0 && s->passed[0].at == 0) {
		*with = s->passed[0];
		s->passed[0].nr = 0; /* they are the caller's */
	}
	drop_passed(s, bytes);
	s->nr_in -= bytes;
	s->nr_visible -= bytes < s->nr_visible ? bytes : s->nr_visible;
	memmove(s->in, s->in + bytes, s->nr_in);
	return bytes;
}

size_t fds_pull(int file, void *buf, size_t bytes, int out[FDS_PASS_MAX], unsigned *nr_files)
{
	struct file *s = file_at(file);
	struct passed with;
	size_t n = take(s, buf, bytes < s->nr_in ? bytes : s->nr_in, &with);

	memcpy(out, with.file, with.nr * sizeof(int));
	*nr_files = with.nr;
	return n;
}

void fds_push(int file, const void *buf, size_t bytes, const int *pass, unsigned nr)
{
	struct file *s = file_at(file);

	if (s->peer < 0 || s->shut || files[s->peer].shut ||
		bytes > IN_BYTES - files[s->peer].nr_in) {
		for (unsigned i = 0; i < nr; i++)
			fds_put(pass[i]);
		return;
	}
	append(&files[s->peer], buf, bytes, pass, nr);
}

void fds_trickle(size_t bytes)
{
	f.trickle = bytes;
	for (int i = 0; i < FILES_MAX && bytes == 0; i++)
		files[i].nr_visible = files[i].nr_in;
}

void fds_cut(size_t bytes)
{
	f.cut = bytes;
}

void fds_fail(int err)
{
	f.err = err;
}

/* --- descriptors --- */

static struct file *behind(int fd)
{
	int i = fd - FD_BASE;

	FZ_CHECK(i >= 0 && i < FDS_MAX && f.fd[i] >= 0, "descriptor %d is not open", fd);
	return file_at(f.fd[i]);
}

static struct file *behind_socket(int fd)
{
	struct file *s = behind(fd);

	FZ_CHECK(s->kind == FDS_SOCKET, "descriptor %d is no socket", fd);
	return s;
}

/* The lowest that is free, as ever. */
int fds_open(int file)
{
	int i = 0;

	while (i < FDS_MAX && f.fd[i] >= 0)
		i++;
	FZ_CHECK(i < FDS_MAX, "descriptors without end");
	f.fd[i] = file;
	return FD_BASE + i;
}

static int open_new(enum fds_kind kind)
{
	if (world_fails()) {
		errno = EMFILE;
		return -1;
	}
	return fds_open(new_file(kind));
}

int __wrap_close(int fd)
{
	struct file *p;

	if (fd == -1) {
		errno = EBADF;
		return -1;
	}
	p = behind(fd);
	f.fd[fd - FD_BASE] = -1;
	fds_put((int)(p - files));
	return 0;
}

int __wrap_eventfd(unsigned count, int flags)
{
	int fd = open_new(FDS_EVENT);

	(void)flags;
	if (fd >= 0)
		behind(fd)->count = count;
	return fd;
}

int __wrap_eventfd_read(int fd, eventfd_t *count)
{
	return __wrap_read(fd, count, sizeof(*count)) == sizeof(*count) ? 0 : -1;
}

int __wrap_eventfd_write(int fd, eventfd_t count)
{
	return __wrap_write(fd, &count, sizeof(count)) == sizeof(count) ? 0 : -1;
}

ssize_t __wrap_read(int fd, void *buf, size_t bytes)
{
	struct file *p = behind(fd);

	if (p->kind != FDS_EVENT || bytes < 8 || p->count == 0) {
		errno = p->kind != FDS_EVENT || bytes < 8 ? EINVAL : EAGAIN;
		return -1;
	}
	memcpy(buf, &p->count, 8);
	p->count = 0;
	return 8;
}

ssize_t __wrap_write(int fd, const void *buf, size_t bytes)
{
	struct file *p = behind(fd);
	uint64_t add;

	if (p->kind != FDS_EVENT || bytes != 8) {
		errno = EINVAL;
		return -1;
	}
	memcpy(&add, buf, 8);
	p->count += add;
	return 8;
}

void fds_signal(int fd)
{
	fds_add((int)(behind(fd) - files));
}

static short events_of(const struct file *p)
{
	bool ended = p->peer < 0 || p->shut;
	short events = 0;

	if (p->kind == FDS_EVENT)
		return p->count > 0 ? POLLIN : 0;
	if (p->kind != FDS_SOCKET)
		return POLLIN;
	if (p->nr_visible > 0 || ended)
		events |= POLLIN;
	return ended ? events | POLLRDHUP | POLLHUP : events;
}

bool fds_is_readable(int fd)
{
	return events_of(behind(fd)) & POLLIN;
}

static int look(struct pollfd *fds, nfds_t nr)
{
	int n = 0;

	for (nfds_t i = 0; i < nr; i++) {
		fds[i].revents = 0;
		if (fds[i].fd >= 0)
			fds[i].revents =
				events_of(behind(fds[i].fd)) & (short)(fds[i].events | POLLHUP);
		n += fds[i].revents != 0;
	}
	return n;
}

static void show_more(const struct pollfd *fds, nfds_t nr)
{
	for (nfds_t i = 0; i < nr; i++) {
		struct file *p = fds[i].fd >= 0 ? behind(fds[i].fd) : NULL;

		if (p != NULL && p->nr_visible < p->nr_in)
			p->nr_visible += p->nr_in - p->nr_visible < f.trickle
						 ? p->nr_in - p->nr_visible
						 : f.trickle;
	}
}

/* A wait is one turn long: its time passes, or what ends it has happened. The opener is woken for
 * nothing sometimes, and a thread that waits for ever is not. */
int __wrap_poll(struct pollfd *fds, nfds_t nr, int timeout_ms)
{
	int n = look(fds, nr);

	if (n > 0 || timeout_ms == 0)
		return n;
	do {
		world_wait();
		show_more(fds, nr);
		n = look(fds, nr);
	} while (n == 0 && timeout_ms < 0 && world_is_thread());
	if (n == 0 || f.trickle > 0)
		world_pass_us(timeout_ms < 0 || timeout_ms > 1000 ? 1000000
								  : (uint64_t)timeout_ms * 1000);
	return n;
}

/* --- descriptors: sockets --- */

int __wrap_socket(int domain, int type, int protocol)
{
	(void)protocol;
	FZ_CHECK(domain == AF_UNIX && (type & SOCK_CLOEXEC), "a socket of another kind");
	return open_new(FDS_SOCKET);
}

static void join(int a, int b)
{
	files[a].peer = b;
	files[b].peer = a;
}

int __wrap_socketpair(int domain, int type, int protocol, int fd[2])
{
	(void)protocol;
	FZ_CHECK(domain == AF_UNIX && (type & SOCK_CLOEXEC), "a socket of another kind");
	if (world_fails()) {
		errno = EMFILE;
		return -1;
	}
	for (int i = 0; i < 2; i++)
		fd[i] = fds_open(new_file(FDS_SOCKET));
	join(f.fd[fd[0] - FD_BASE], f.fd[fd[1] - FD_BASE]);
	return 0;
}

int __wrap_setsockopt(int fd, int level, int name, const void *val, socklen_t bytes)
{
	(void)behind_socket(fd);
	(void)level;
	(void)name;
	(void)val;
	(void)bytes;
	return 0;
}

int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t bytes)
{
	int far = new_file(FDS_SOCKET), near = (int)(behind_socket(fd) - files);

	(void)addr;
	(void)bytes;
	join(near, far);
	files[near].is_client = true;
	errno = f.ops.connect(f.ops.arg, far);
	if (errno == 0)
		return 0;
	fds_put(far);
	return -1;
}

int __wrap_shutdown(int fd, int how)
{
	struct file *s = behind_socket(fd);

	FZ_CHECK(how == SHUT_RDWR, "half a shutdown");
	s->shut = true;
	return 0;
}

static bool fails(void)
{
	if (f.err == 0)
		return false;
	errno = f.err;
	f.err = 0;
	return true;
}

static ssize_t send_some(int fd, const struct iovec *iov, const int *pass, unsigned nr, int flags)
{
	struct file *s = behind_socket(fd);
	size_t bytes = iov->iov_len;
	int far = s->peer;

	FZ_CHECK(flags & MSG_NOSIGNAL, "SIGPIPE");
	if (fails())
		return -1;
	if (far < 0 || s->shut) {
		errno = EPIPE;
		return -1;
	}
	if (f.cut > 0 && f.cut < bytes)
		bytes = f.cut;
	f.cut = 0;
	if (bytes > IN_BYTES - files[far].nr_in) {
		errno = EAGAIN;
		return -1;
	}
	for (unsigned i = 0; i < nr; i++)
		fds_get(pass[i]);
	s->sent_us = world_now_us();
	append(&files[far], iov->iov_base, bytes, pass, nr);
	f.ops.sent(f.ops.arg, far);
	return (ssize_t)bytes;
}

ssize_t __wrap_send(int fd, const void *buf, size_t bytes, int flags)
{
	const struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = bytes};

	return send_some(fd, &iov, NULL, 0, flags);
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	const struct cmsghdr *c = msg->msg_controllen > 0 ? CMSG_FIRSTHDR(msg) : NULL;
	int pass[FDS_PASS_MAX];
	unsigned nr = 0;

	FZ_CHECK(msg->msg_iovlen == 1, "a message in pieces");
	if (c != NULL) {
		nr = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		FZ_CHECK(c->cmsg_type == SCM_RIGHTS && nr <= FDS_PASS_MAX, "%u descriptors", nr);
		memcpy(pass, CMSG_DATA(c), nr * sizeof(int));
	}
	for (unsigned i = 0; i < nr; i++)
		pass[i] = (int)(behind(pass[i]) - files);
	return send_some(fd, msg->msg_iov, pass, nr, flags);
}

static ssize_t receive_some(int fd, void *buf, size_t bytes, int flags, struct passed *with)
{
	struct file *s = behind_socket(fd);

	with->nr = 0;
	FZ_CHECK(flags & MSG_DONTWAIT, "it waits for ever");
	FZ_CHECK(!s->is_client || world_now_us() - s->sent_us < ANSWER_US, "it waits too long");
	if (fails())
		return -1;
	if (bytes == 0)
		return 0;
	if (s->nr_visible == 0) {
		if (s->nr_in == 0 && s->reset) {
			s->reset = false;
			errno = ECONNRESET;
			return -1;
		}
		errno = EAGAIN;
		return s->peer < 0 || s->shut ? 0 : -1;
	}
	return (ssize_t)take(s, buf, bytes < s->nr_visible ? bytes : s->nr_visible, with);
}

ssize_t __wrap_recv(int fd, void *buf, size_t bytes, int flags)
{
	struct passed with;
	ssize_t n = receive_some(fd, buf, bytes, flags, &with);

	for (unsigned i = 0; i < with.nr; i++)
		fds_put(with.file[i]);
	return n;
}

/* Room for descriptors is counted from the header on, padding or not. */
ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags)
{
	size_t room = msg->msg_controllen < sizeof(struct cmsghdr)
			      ? 0
			      : (msg->msg_controllen - sizeof(struct cmsghdr)) / sizeof(int);
	struct passed with;
	ssize_t n =
		receive_some(fd, msg->msg_iov[0].iov_base, msg->msg_iov[0].iov_len, flags, &with);
	unsigned nr = 0;

	FZ_CHECK(flags & MSG_CMSG_CLOEXEC, "descriptors for children");
	msg->msg_flags = 0;
	for (unsigned i = 0; i < with.nr; i++) {
		if (i >= room || world_fails()) {
			msg->msg_flags = MSG_CTRUNC;
			fds_put(with.file[i]);
			continue;
		}
		((int *)(void *)CMSG_DATA((struct cmsghdr *)msg->msg_control))[nr++] =
			fds_open(with.file[i]);
	}
	if (nr > 0)
		*(struct cmsghdr *)msg->msg_control =
			(struct cmsghdr){.cmsg_len = CMSG_LEN(nr * sizeof(int)),
				.cmsg_level = SOL_SOCKET,
				.cmsg_type = SCM_RIGHTS};
	msg->msg_controllen = nr > 0 ? CMSG_LEN(nr * sizeof(int)) : 0;
	return n;
}
