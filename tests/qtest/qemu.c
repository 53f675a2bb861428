/* qemu.c - see qemu.h.
 *
 *	this process --+-- qtest: "readl 0xe0000000", "OK 0x1"; unasked: "IRQ raise 21"
 *	               +-- QMP
 *	               +-- RAM, image: unnamed files that both have mapped */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "qemu.h"

#define PROGRAM    "qemu-system-x86_64"
#define RAM_PAGES  64U /* of the arena */
#define LINE_BYTES 256U
#define LIMIT_MS   20000
#define FIRST_PCI  16U /* of the I/O APIC's inputs */
#define ARGS_MAX   40

struct qemu {
	pid_t pid;
	int qmp_fd, image_fd;
	struct json_tokener *tokener;
	uint8_t *disk;
	struct dma_arena *memory;
	void *first_page; /* not for use */

	pthread_mutex_t lock; /* a command and its answer; guards all down to the line */
	int qtest_fd;
	char text[4096]; /* received, and not taken yet */
	size_t nr_text;
	uint64_t irq_high; /* a bit an input */
	/* --- */
	int irq_fd; /* eventfd: irq_high has changed */
};

bool qemu_is_there(void)
{
	return system("command -v " PROGRAM " >/dev/null") == 0;
}

bool qemu_offers(const char *property)
{
	char command[256];

	(void)snprintf(command, sizeof(command),
		PROGRAM " -device virtio-blk-pci,help | grep -q '^ *%s='", property);
	return system(command) == 0;
}

/* --- its beginning --- */

struct args {
	char *arg[ARGS_MAX];
	int nr;
};

__attribute__((format(printf, 2, 3))) static void add(struct args *a, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	ck_assert_int_lt(a->nr, ARGS_MAX - 1);
	ck_assert_int_ge(vasprintf(&a->arg[a->nr++], format, list), 0);
	va_end(list);
}

static void add_option(struct args *a, const char *name, const char *value)
{
	if (value == NULL)
		return;
	add(a, "%s", name);
	add(a, "%s", value);
}

static void add_device(struct args *a, const struct qemu_opts *opts)
{
	const char *drive = opts->filter != NULL ? "top" : "disk";

	if (opts->device != NULL && opts->device[0] == '"')
		add(a,
			"{\"driver\": \"virtio-blk-pci\", \"id\": \"vblk\", \"addr\": \"%u\", "
			"\"drive\": \"%s\", \"serial\": \"QTEST\", \"rerror\": \"report\", "
			"\"werror\": \"report\", %s}",
			QEMU_DISK_SLOT, drive, opts->device);
	else
		add(a,
			"virtio-blk-pci,id=vblk,addr=%u,drive=%s,serial=QTEST,rerror=report,"
			"werror=report%s%s",
			QEMU_DISK_SLOT, drive, opts->device != NULL ? "," : "",
			opts->device != NULL ? opts->device : "");
}

/* Descriptors are inherited under their own numbers. */
static void make_args(struct args *a, const struct qemu *q, const struct qemu_opts *opts,
	int qtest_fd, int qmp_fd)
{
	add(a, PROGRAM);
	add(a, "-S");
	add(a, "-nodefaults");
	add(a, "-no-user-config");
	add_option(a, "-display", "none");
	add_option(a, "-accel", "tcg");
	add_option(a, "-machine", "q35,memory-backend=ram");
	add(a, "-object");
	add(a, "memory-backend-file,id=ram,share=on,size=%u,mem-path=/proc/self/fd/%d",
		RAM_PAGES * DMA_PAGE_BYTES, dma_file(q->memory));
	add(a, "-m");
	add(a, "%uM", RAM_PAGES * DMA_PAGE_BYTES >> 20);
	add(a, "-chardev");
	add(a, "socket,id=qtest,fd=%d", qtest_fd);
	add_option(a, "-object", "qtest,id=server,chardev=qtest,log=/dev/null");
	add(a, "-chardev");
	add(a, "socket,id=qmp,fd=%d", qmp_fd);
	add_option(a, "-mon", "chardev=qmp,mode=control");
	add(a, "-blockdev");
	add(a, "file,node-name=image,filename=/proc/self/fd/%d,locking=off,discard=unmap%s",
		q->image_fd, opts->read_only ? ",read-only=on" : "");
	add(a, "-blockdev");
	add(a, "raw,node-name=disk,file=image,discard=unmap%s",
		opts->read_only ? ",read-only=on" : "");
	add_option(a, "-object", opts->object);
	add_option(a, "-object", opts->object2);
	add_option(a, "-blockdev", opts->filter);
	add(a, "-device");
	add_device(a, opts);
}

/* In the child. */
static void become_qemu(char **arg, const int *inherit, unsigned nr)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (unsigned i = 0; i < nr; i++)
		if (fcntl(inherit[i], F_SETFD, 0) < 0)
			_exit(127);
	(void)execvp(arg[0], arg);
	_exit(127);
}

static void spawn(struct qemu *q, const struct qemu_opts *opts)
{
	struct args a = {.nr = 0};
	int qtest[2], qmp[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, qtest), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, qmp), 0);
	make_args(&a, q, opts, qtest[1], qmp[1]);
	q->pid = fork();
	ck_assert_int_ge(q->pid, 0);
	if (q->pid == 0)
		become_qemu(a.arg,
			(const int[]){qtest[1], qmp[1], q->image_fd, dma_file(q->memory)}, 4);
	close(qtest[1]);
	close(qmp[1]);
	q->qtest_fd = qtest[0];
	q->qmp_fd = qmp[0];
	for (int i = 0; i < a.nr; i++)
		free(a.arg[i]);
}

static void make_disk(struct qemu *q)
{
	q->image_fd = memfd_create("image", MFD_CLOEXEC);
	ck_assert_int_ge(q->image_fd, 0);
	ck_assert_int_eq(ftruncate(q->image_fd, QEMU_DISK_BYTES), 0);
	q->disk = mmap(NULL, QEMU_DISK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, q->image_fd, 0);
	ck_assert_ptr_ne(q->disk, MAP_FAILED);
}

static int grows(void *arg, unsigned nr_pages)
{
	(void)arg;
	return nr_pages <= RAM_PAGES ? 0 : -ENOMEM;
}

static void make_memory(struct qemu *q)
{
	ck_assert_int_eq(dma_create_shared(grows, NULL, &q->memory), 0);
	q->first_page = dma_alloc(q->memory, DMA_PAGE_BYTES);
	ck_assert_ptr_eq(q->first_page, dma_page(q->memory, 0));
}

/* --- qtest --- */

/* One received line, if there is a whole one. */
static bool take_line(struct qemu *q, char line[LINE_BYTES])
{
	char *end = memchr(q->text, '\n', q->nr_text);
	size_t n;

	if (end == NULL)
		return false;
	n = (size_t)(end - q->text);
	ck_assert_uint_lt(n, LINE_BYTES);
	memcpy(line, q->text, n);
	line[n] = '\0';
	q->nr_text -= n + 1;
	memmove(q->text, end + 1, q->nr_text);
	return true;
}

static void receive(struct qemu *q, int flags)
{
	ssize_t n = recv(q->qtest_fd, q->text + q->nr_text, sizeof(q->text) - q->nr_text, flags);

	if (n < 0 && errno == EAGAIN && flags != 0)
		return;
	ck_assert_msg(n > 0, "QEMU has ended, or does not answer");
	q->nr_text += (size_t)n;
}

/* "IRQ raise 21" or lower. False: it is something else. */
static bool take_irq(struct qemu *q, const char *line)
{
	char what[8];
	unsigned input;

	if (sscanf(line, "IRQ %7s %u", what, &input) != 2)
		return false;
	if (input < FIRST_PCI || input > 63)
		return true;
	if (strcmp(what, "raise") == 0)
		q->irq_high |= 1ULL << input;
	else
		q->irq_high &= ~(1ULL << input);
	(void)eventfd_write(q->irq_fd, 1);
	return true;
}

__attribute__((format(printf, 2, 3))) static uint64_t command(
	struct qemu *q, const char *format, ...)
{
	char line[LINE_BYTES];
	uint64_t val = 0;
	va_list list;
	int n;

	va_start(list, format);
	n = vsnprintf(line, sizeof(line), format, list);
	va_end(list);
	pthread_mutex_lock(&q->lock);
	ck_assert_int_eq(send(q->qtest_fd, line, (size_t)n, MSG_NOSIGNAL), n);
	do
		while (!take_line(q, line))
			receive(q, 0);
	while (take_irq(q, line));
	pthread_mutex_unlock(&q->lock);
	ck_assert_msg(strncmp(line, "OK", 2) == 0, "QEMU says: %s", line);
	if (line[2] != '\0')
		val = strtoull(line + 3, NULL, 0);
	return val;
}

static char letter(int bytes)
{
	return bytes == 1 ? 'b' : bytes == 2 ? 'w' : 'l';
}

uint32_t qemu_in(struct qemu *q, uint16_t port, int bytes)
{
	return (uint32_t)command(q, "in%c 0x%x\n", letter(bytes), port);
}

void qemu_out(struct qemu *q, uint16_t port, int bytes, uint32_t val)
{
	(void)command(q, "out%c 0x%x 0x%x\n", letter(bytes), port, val);
}

uint32_t qemu_read(struct qemu *q, uint64_t addr, int bytes)
{
	return (uint32_t)command(q, "read%c 0x%llx\n", letter(bytes), (unsigned long long)addr);
}

void qemu_write(struct qemu *q, uint64_t addr, int bytes, uint32_t val)
{
	(void)command(q, "write%c 0x%llx 0x%x\n", letter(bytes), (unsigned long long)addr, val);
}

/* What has come without being asked for. */
static uint64_t look_at_irqs(struct qemu *q)
{
	char line[LINE_BYTES];
	eventfd_t count;
	uint64_t high;

	(void)eventfd_read(q->irq_fd, &count);
	pthread_mutex_lock(&q->lock);
	receive(q, MSG_DONTWAIT);
	while (take_line(q, line))
		ck_assert_msg(take_irq(q, line), "QEMU says, unasked: %s", line);
	high = q->irq_high;
	pthread_mutex_unlock(&q->lock);
	return high;
}

int qemu_irq_wait(struct qemu *q, int wake_fd)
{
	struct pollfd pfd[3] = {{.fd = q->qtest_fd, .events = POLLIN},
		{.fd = q->irq_fd, .events = POLLIN}, {.fd = wake_fd, .events = POLLIN}};

	while (poll(pfd, 3, 0) >= 0 && pfd[2].revents == 0) {
		if (look_at_irqs(q) != 0)
			return 1;
		(void)poll(pfd, 3, -1);
	}
	return 0;
}

/* --- QMP --- */

static struct json_object *receive_json(struct qemu *q)
{
	struct json_object *obj = NULL;
	char c;

	json_tokener_reset(q->tokener);
	while (obj == NULL) {
		ck_assert_msg(recv(q->qmp_fd, &c, 1, 0) == 1, "QEMU has ended, or does not answer");
		obj = json_tokener_parse_ex(q->tokener, &c, 1);
	}
	return obj;
}

struct json_object *qemu_qmp(struct qemu *q, const char *format, ...)
{
	struct json_object *answer, *val;
	char *text;
	va_list list;
	int n;

	va_start(list, format);
	n = vasprintf(&text, format, list);
	va_end(list);
	ck_assert_int_ge(n, 0);
	ck_assert_int_eq(send(q->qmp_fd, text, (size_t)n, MSG_NOSIGNAL), n);
	free(text);
	for (;;) {
		answer = receive_json(q);
		if (json_object_object_get_ex(answer, "return", &val))
			break;
		ck_assert_msg(!json_object_object_get_ex(answer, "error", &val), "QEMU says: %s",
			json_object_to_json_string(val));
		json_object_put(answer); /* an event, or the greeting */
	}
	json_object_get(val);
	json_object_put(answer);
	return val;
}

/* --- life --- */

static void limit_patience(int fd)
{
	const struct timeval limit = {.tv_sec = LIMIT_MS / 1000};

	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
}

struct qemu *qemu_start(const struct qemu_opts *opts)
{
	struct qemu *q = calloc(1, sizeof(*q));

	ck_assert_ptr_nonnull(q);
	pthread_mutex_init(&q->lock, NULL);
	q->tokener = json_tokener_new();
	q->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	make_disk(q);
	make_memory(q);
	spawn(q, opts);
	limit_patience(q->qtest_fd);
	limit_patience(q->qmp_fd);
	json_object_put(qemu_qmp(q, "{\"execute\": \"qmp_capabilities\"}"));
	(void)command(q, "irq_intercept_in ioapic\n");
	return q;
}

void qemu_stop(struct qemu *q)
{
	(void)kill(q->pid, SIGKILL);
	(void)waitpid(q->pid, NULL, 0);
	close(q->qtest_fd);
	close(q->qmp_fd);
	close(q->irq_fd);
	close(q->image_fd);
	(void)munmap(q->disk, QEMU_DISK_BYTES);
	dma_free(q->memory, q->first_page, DMA_PAGE_BYTES);
	dma_destroy(q->memory);
	json_tokener_free(q->tokener);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

struct dma_arena *qemu_memory(struct qemu *q)
{
	return q->memory;
}

uint64_t qemu_memory_addr(const struct qemu *q, const void *mem)
{
	return (uint64_t)((const uint8_t *)mem - (const uint8_t *)dma_page(q->memory, 0));
}

uint8_t *qemu_disk(struct qemu *q)
{
	return q->disk;
}

uint64_t qemu_disk_used(struct qemu *q)
{
	struct stat st;

	ck_assert_int_eq(fstat(q->image_fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}
