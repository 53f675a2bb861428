/* vhost_proto.c - see vhost_proto.h.
 *
 *	| request 4 | flags 4 | size 4 | payload ... |		descriptors ride on the first byte
 *
 * A stream: a message may come in pieces, and what follows it is not read with it. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include "vhost_proto.h"

#define REPLY_LIMIT_MS 5000
#define PAYLOAD_MAX    sizeof(struct vup_config)

struct header {
	uint32_t request, flags, bytes;
};
static_assert(sizeof(struct header) == 12, "vhost-user");
static_assert(PAYLOAD_MAX >= sizeof(struct vup_mem_table), "the largest payload");

int vup_connect(const char *path, int *out)
{
	const struct timeval limit = {.tv_sec = REPLY_LIMIT_MS / 1000};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd, err;

	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	memcpy(addr.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* One that serves somebody else lets the next one wait. */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		err = errno == EAGAIN ? -ETIMEDOUT : -errno;
		close(fd);
		return err;
	}
	*out = fd;
	return 0;
}

static int error_of_send(void)
{
	if (errno == EAGAIN)
		return -ETIMEDOUT;
	return errno == EPIPE || errno == ECONNRESET ? -ENODEV : -errno;
}

static int send_rest(int fd, const uint8_t *from, size_t bytes)
{
	while (bytes > 0) {
		ssize_t n = send(fd, from, bytes, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_of_send();
		from += n;
		bytes -= (size_t)n;
	}
	return 0;
}

static int send_message(
	int fd, const struct header *h, const void *payload, const int *fds, unsigned nr_fds)
{
	uint8_t bytes[sizeof(*h) + PAYLOAD_MAX];
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(VUP_REGIONS_MAX * sizeof(int))] = {0};
	size_t total = sizeof(*h) + h->bytes;
	struct iovec iov = {.iov_base = bytes, .iov_len = total};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	memcpy(bytes, h, sizeof(*h));
	if (h->bytes > 0)
		memcpy(bytes + sizeof(*h), payload, h->bytes);
	if (nr_fds > 0) {
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(nr_fds * sizeof(int));
		*CMSG_FIRSTHDR(&msg) = (struct cmsghdr){.cmsg_len = CMSG_LEN(nr_fds * sizeof(int)),
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), fds, nr_fds * sizeof(int));
	}
	do
		n = sendmsg(fd, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? error_of_send() : send_rest(fd, bytes + n, total - (size_t)n);
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* As recv(), and the first descriptor that comes along, if one is wanted and none came before. */
static ssize_t receive_some(int fd, void *to, size_t bytes, int *passed_fd)
{
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = {.iov_base = to, .iov_len = bytes};
	struct msghdr msg = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		/* For one, without the padding: it would hold a second one, and nobody close it. */
		.msg_controllen = CMSG_LEN(sizeof(int))};
	const struct cmsghdr *c;
	ssize_t n;

	if (passed_fd == NULL || *passed_fd >= 0)
		return recv(fd, to, bytes, MSG_DONTWAIT);
	n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
	if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		memcpy(passed_fd, CMSG_DATA(c), sizeof(*passed_fd));
	return n;
}

/* All BYTES, by DEADLINE. */
static int receive(int fd, void *to, size_t bytes, int64_t deadline_ms, int *passed_fd)
{
	uint8_t *at = to;

	while (bytes > 0) {
		struct pollfd pfd = {.fd = fd, .events = POLLIN};
		int64_t left = deadline_ms - now_ms();
		ssize_t n;

		if (left <= 0 || poll(&pfd, 1, (int)left) == 0)
			return -ETIMEDOUT;
		n = receive_some(fd, at, bytes, passed_fd);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0 && errno != ECONNRESET)
			return -errno;
		if (n <= 0)
			return -ENODEV;
		at += n;
		bytes -= (size_t)n;
	}
	return 0;
}

/* The reply to REQUEST, of MIN to MAX bytes. How many. */
static int receive_reply(
	int fd, uint32_t request, void *payload, uint32_t min, uint32_t max, int *passed_fd)
{
	int64_t deadline = now_ms() + REPLY_LIMIT_MS;
	struct header h;
	int err = receive(fd, &h, sizeof(h), deadline, passed_fd);

	if (err < 0)
		return err;
	if (h.request != request || h.bytes < min || h.bytes > max ||
		(h.flags & (VUP_VERSION_MASK | VUP_REPLY)) != (VUP_VERSION | VUP_REPLY))
		return -EPROTO;
	err = receive(fd, payload, h.bytes, deadline, passed_fd);
	return err < 0 ? err : (int)h.bytes;
}

static int receive_ack(int fd, uint32_t request)
{
	uint64_t refused;
	int err = receive_reply(fd, request, &refused, sizeof(refused), sizeof(refused), NULL);

	if (err < 0)
		return err;
	return refused != 0 ? -EREMOTEIO : 0;
}

int vup_set(struct vup_channel *ch, enum vup_request request, const void *payload, uint32_t bytes,
	const int *fds, unsigned nr_fds)
{
	struct header h = {.request = request, .flags = VUP_VERSION, .bytes = bytes};
	int err;

	if (ch->ack)
		h.flags |= VUP_NEED_REPLY;
	err = send_message(ch->fd, &h, payload, fds, nr_fds);
	if (err < 0 || !ch->ack)
		return err;
	return receive_ack(ch->fd, request);
}

int vup_set_u64(struct vup_channel *ch, enum vup_request request, uint64_t val)
{
	return vup_set(ch, request, &val, sizeof(val), NULL, 0);
}

int vup_get(struct vup_channel *ch, enum vup_request request, void *payload, uint32_t bytes,
	uint32_t min)
{
	struct header h = {.request = request, .flags = VUP_VERSION, .bytes = bytes};
	int err = send_message(ch->fd, &h, payload, NULL, 0);

	if (err < 0)
		return err;
	return receive_reply(ch->fd, request, payload, min, bytes, NULL);
}

int vup_get_u64(struct vup_channel *ch, enum vup_request request, uint64_t *val)
{
	struct header h = {.request = request, .flags = VUP_VERSION};
	int err = send_message(ch->fd, &h, NULL, NULL, 0);

	if (err < 0)
		return err;
	err = receive_reply(ch->fd, request, val, sizeof(*val), sizeof(*val), NULL);
	return err < 0 ? err : 0;
}

int vup_get_fd(
	struct vup_channel *ch, enum vup_request request, void *payload, uint32_t bytes, int *fd)
{
	struct header h = {.request = request, .flags = VUP_VERSION, .bytes = bytes};
	int err = send_message(ch->fd, &h, payload, NULL, 0);

	*fd = -1;
	if (err == 0)
		err = receive_reply(ch->fd, request, payload, bytes, bytes, fd);
	if (err >= 0)
		return 0;
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	return err;
}

int vup_next_request(int fd, bool *need_reply)
{
	int64_t deadline = now_ms() + REPLY_LIMIT_MS;
	uint8_t payload[PAYLOAD_MAX];
	struct header h;
	int err = receive(fd, &h, sizeof(h), deadline, NULL);

	if (err < 0)
		return err;
	if (h.bytes > sizeof(payload) || (h.flags & VUP_VERSION_MASK) != VUP_VERSION ||
		(h.flags & VUP_REPLY) != 0 || h.request > INT32_MAX)
		return -EPROTO;
	err = receive(fd, payload, h.bytes, deadline, NULL);
	if (err < 0)
		return err;
	*need_reply = (h.flags & VUP_NEED_REPLY) != 0;
	return (int)h.request;
}

int vup_reply(int fd, uint32_t request, uint64_t val)
{
	const struct header h = {
		.request = request, .flags = VUP_VERSION | VUP_REPLY, .bytes = sizeof(val)};

	return send_message(fd, &h, &val, NULL, 0);
}
