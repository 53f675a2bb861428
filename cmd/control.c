/* control.c - the daemon's control socket, both ends.
 *
 * One thread serves all clients; it never waits for one of them. Clients that "wait" stay connected
 * until control_close().
 *
 * Invariants
 *  1. .fn is called under .lock only, and not after control_unmounting(): what it reads may be
 *     gone then.
 *  2. The socket is removed before the last clients are answered: whoever could connect gets an
 *     answer. */
#include <errno.h>
#include <dirent.h>
#include <json-c/json.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "control.h"
#include "run_dir.h"

#define CLIENTS_MAX  32
#define LINE_BYTES   64
#define ANSWER_MS    5000 /* a daemon answers at once, or something is wrong */
#define ANSWER_BYTES (512 << 10)

struct client {
	int fd;
	bool waiting; /* for the end */
	size_t nr_bytes;
	char line[LINE_BYTES];
};

struct control {
	pthread_t thread;
	pthread_mutex_t lock;
	struct json_object *hello; /* under lock */
	control_fn fn;             /* under lock; NULL: unmounting */
	void *arg;
	int listen_fd;
	int wake_fd; /* readable: end */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct client clients[CLIENTS_MAX]; /* the thread's; after its end control_close()'s */
	int nr_clients;
};

/* ---- its place ---- */

static int name_of(pid_t pid, const char *what, char *out, size_t bytes)
{
	char dir[PATH_MAX];
	int err = run_dir(dir, sizeof(dir));

	if (err == 0 && snprintf(out, bytes, "%s/%d.%s", dir, (int)pid, what) >= (int)bytes)
		err = -ENAMETOOLONG;
	return err;
}

static int make_dir(void)
{
	char dir[PATH_MAX];
	int err = run_dir(dir, sizeof(dir));

	return err == 0 && mkdir(dir, 0755) < 0 && errno != EEXIST ? -errno : err;
}

/* ---- the daemon's side ---- */

static void send_json(int fd, struct json_object *o)
{
	const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
	struct iovec iov[2] = {{(void *)text, strlen(text)}, {"\n", 1}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};

	/* A client that does not read its answer has a socket buffer's room, and loses the rest. */
	(void)!sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void send_error(int fd, const char *text)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "error", json_object_new_string(text));
	send_json(fd, o);
	json_object_put(o);
}

/* The state of the mount, and to a LINE what is asked for. */
static void send_state(struct control *c, int fd, const char *line)
{
	struct json_object *o = NULL;
	bool known = true;

	pthread_mutex_lock(&c->lock);
	if (json_object_deep_copy(c->hello, &o, NULL) == 0) {
		json_object_object_add(o, "state",
			json_object_new_string(c->fn != NULL ? "mounted" : "unmounting"));
		if (line != NULL && c->fn != NULL)
			known = c->fn(c->arg, line, o);
	}
	pthread_mutex_unlock(&c->lock);
	if (known)
		send_json(fd, o);
	else
		send_error(fd, "unknown request");
	json_object_put(o);
}

/* False: done with this client. */
static bool obey(struct control *c, struct client *cl)
{
	if (strcmp(cl->line, "wait") == 0)
		return cl->waiting = true;
	if (strcmp(cl->line, "hello") == 0)
		send_state(c, cl->fd, NULL);
	else
		send_state(c, cl->fd, cl->line);
	return false;
}

static bool client_readable(struct control *c, struct client *cl)
{
	char *end;
	ssize_t n;

	n = recv(cl->fd, cl->line + cl->nr_bytes, sizeof(cl->line) - cl->nr_bytes, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (n == 0 || cl->waiting) /* gone, or says more than its line */
		return false;
	cl->nr_bytes += (size_t)n;
	end = memchr(cl->line, '\n', cl->nr_bytes);
	if (end == NULL)
		return cl->nr_bytes < sizeof(cl->line);
	if (end != cl->line + cl->nr_bytes - 1)
		return false;
	*end = '\0';
	return obey(c, cl);
}

static void accept_clients(struct control *c)
{
	int fd;

	while (c->nr_clients < CLIENTS_MAX &&
		(fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		c->clients[c->nr_clients++] = (struct client){.fd = fd};
}

static void serve_clients(struct control *c, const struct pollfd *fds)
{
	int kept = 0;

	for (int i = 0; i < c->nr_clients; i++) {
		if (fds[i].revents != 0 && !client_readable(c, &c->clients[i]))
			close(c->clients[i].fd);
		else
			c->clients[kept++] = c->clients[i];
	}
	c->nr_clients = kept;
}

static void *control_main(void *arg)
{
	struct control *c = arg;
	struct pollfd fds[CLIENTS_MAX + 2];

	for (;;) {
		int n = c->nr_clients;

		for (int i = 0; i < n; i++)
			fds[i] = (struct pollfd){.fd = c->clients[i].fd, .events = POLLIN};
		fds[n] = (struct pollfd){.fd = c->wake_fd, .events = POLLIN};
		/* When all places are taken, others wait in the backlog. */
		fds[n + 1] = (struct pollfd){
			.fd = n < CLIENTS_MAX ? c->listen_fd : -1, .events = POLLIN};
		if (poll(fds, (nfds_t)n + 2, -1) < 0)
			continue;
		if (fds[n].revents != 0)
			return NULL;
		serve_clients(c, fds);
		if (fds[n + 1].revents != 0)
			accept_clients(c);
	}
}

static int listen_on(struct control *c)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	mode_t mask;
	int err = name_of(getpid(), "sock", c->path, sizeof(c->path));

	/* Under its own name only once it listens: clients remove a socket on which nobody does. */
	if (err == 0)
		err = name_of(getpid(), "new", addr.sun_path, sizeof(addr.sun_path));
	if (err == 0)
		err = make_dir();
	if (err < 0)
		return err;
	c->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->listen_fd < 0)
		return -errno;
	unlink(addr.sun_path); /* an earlier process of this number */
	mask = umask(0177);
	err = bind(c->listen_fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
	umask(mask);
	if (err == 0 && listen(c->listen_fd, CLIENTS_MAX) < 0)
		err = -errno;
	if (err == 0 && rename(addr.sun_path, c->path) < 0)
		err = -errno;
	return err;
}

static void control_free(struct control *c)
{
	if (c->listen_fd >= 0)
		close(c->listen_fd);
	if (c->wake_fd >= 0)
		close(c->wake_fd);
	json_object_put(c->hello);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

int control_open(struct json_object *hello, control_fn fn, void *arg, struct control **out)
{
	struct control *c;
	int err;

	c = calloc(1, sizeof(*c));
	if (c == NULL) {
		json_object_put(hello);
		return -ENOMEM;
	}
	pthread_mutex_init(&c->lock, NULL);
	c->hello = hello;
	c->fn = fn;
	c->arg = arg;
	c->listen_fd = -1;
	c->wake_fd = eventfd(0, EFD_CLOEXEC);
	err = c->wake_fd < 0 ? -errno : listen_on(c);
	if (err == 0)
		err = -pthread_create(&c->thread, NULL, control_main, c);
	if (err < 0) {
		control_free(c);
		return err;
	}
	*out = c;
	return 0;
}

void control_unmounting(struct control *c)
{
	pthread_mutex_lock(&c->lock);
	c->fn = NULL;
	pthread_mutex_unlock(&c->lock);
}

void control_close(struct control *c, int err)
{
	struct json_object *o;

	if (c == NULL)
		return;
	eventfd_write(c->wake_fd, 1);
	pthread_join(c->thread, NULL);
	unlink(c->path);
	o = json_object_new_object();
	json_object_object_add(o, "result", json_object_new_string(err == 0 ? "clean" : "failed"));
	if (err < 0)
		json_object_object_add(o, "error", json_object_new_string(strerror(-err)));
	/* To those in the backlog, too: whatever they ask, the answer is that it is over. */
	for (accept_clients(c); c->nr_clients > 0; accept_clients(c))
		while (c->nr_clients > 0) {
			int fd = c->clients[--c->nr_clients].fd;

			send_json(fd, o);
			close(fd);
		}
	json_object_put(o);
	control_free(c);
}

/* ---- the clients' side ---- */

int control_send(pid_t pid, const char *verb)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char line[LINE_BYTES];
	int fd, n, err;

	n = snprintf(line, sizeof(line), "%s\n", verb);
	if (n >= (int)sizeof(line))
		return -EINVAL;
	err = name_of(pid, "sock", addr.sun_path, sizeof(addr.sun_path));
	if (err < 0)
		return err;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
		send(fd, line, (size_t)n, MSG_NOSIGNAL) != n) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

int control_receive(int fd, int timeout_ms, struct json_object **out)
{
	char *text = malloc(ANSWER_BYTES);
	size_t used = 0;
	int err = text == NULL ? -ENOMEM : 0;

	while (err == 0 && (used == 0 || text[used - 1] != '\n')) {
		struct pollfd pfd = {.fd = fd, .events = POLLIN};
		ssize_t n;
		int ready = poll(&pfd, 1, timeout_ms);

		if (ready <= 0) {
			err = ready == 0 ? -ETIMEDOUT : errno == EINTR ? 0 : -errno;
			continue;
		}
		n = recv(fd, text + used, ANSWER_BYTES - 1 - used, 0);
		if (n <= 0)
			err = n == 0 || errno == ECONNRESET ? -EPIPE : -errno;
		else
			used += (size_t)n;
	}
	if (err == 0) {
		text[used] = '\0';
		*out = json_tokener_parse(text);
		err = *out == NULL ? -EPROTO : 0;
	}
	free(text);
	return err;
}

int control_ask(pid_t pid, const char *verb, struct json_object **out)
{
	int fd, err;

	fd = control_send(pid, verb);
	if (fd < 0)
		return fd;
	err = control_receive(fd, ANSWER_MS, out);
	close(fd);
	return err;
}

/* PID.sock; 0: not such a name. */
static pid_t pid_of(const char *name)
{
	int pid, end = 0;

	return sscanf(name, "%d.sock%n", &pid, &end) == 1 && end > 0 && name[end] == '\0' && pid > 0
		       ? pid
		       : 0;
}

int control_each(control_each_fn fn, void *arg)
{
	char path[PATH_MAX];
	DIR *dir = run_dir(path, sizeof(path)) == 0 ? opendir(path) : NULL;
	struct dirent *e;
	bool more = true;
	int n = 0;

	while (dir != NULL && more && (e = readdir(dir)) != NULL) {
		pid_t pid = pid_of(e->d_name);
		struct json_object *hello = NULL;
		int err;

		if (pid == 0)
			continue;
		err = control_ask(pid, "hello", &hello);
		if (err == -ECONNREFUSED)
			unlinkat(dirfd(dir), e->d_name, 0); /* its daemon was killed */
		if (err < 0)
			continue;
		n++;
		more = fn(arg, pid, hello);
		json_object_put(hello);
	}
	if (dir != NULL)
		closedir(dir);
	return n;
}

struct wanted {
	const char *key, *value;
	pid_t pid;
};

static bool is_wanted(void *arg, pid_t pid, struct json_object *hello)
{
	struct wanted *w = arg;
	struct json_object *v;

	if (json_object_object_get_ex(hello, w->key, &v) &&
		strcmp(json_object_get_string(v), w->value) == 0)
		w->pid = pid;
	return w->pid == 0;
}

int control_find(const char *key, const char *value, pid_t *pid)
{
	struct wanted w = {.key = key, .value = value};

	control_each(is_wanted, &w);
	if (w.pid == 0)
		return -ENOENT;
	*pid = w.pid;
	return 0;
}
