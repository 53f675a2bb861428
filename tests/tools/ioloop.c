/* ioloop.c - read or write a file or a block device in a loop, and say how fast that was: the
 * kernel's side of the benchmark.
 *
 *	ioloop PATH --rw randread --bs 4096 --depth 32 --runtime 4 --direct
 *
 * As little work per request as can be, so that in an emulated guest the storage is measured and
 * not the loop. Depth 1 is pread and pwrite; deeper is Linux AIO, which is asynchronous with
 * --direct only. Random positions come in an order that visits each block once before any comes
 * again, so that a page cache cannot answer. Prints "iops=N mib_s=N mean_us=N". */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define DEPTH_MAX 256U

static struct {
	const char *path;
	bool write, random;
	size_t bytes;
	unsigned depth;
	double runtime_s;
	uint64_t span; /* bytes from the start; 0: all there is */
	bool direct;
	bool fsync_each; /* after every write */
	bool fsync_end;  /* inside the time */
	bool once;       /* end when every block was visited */
} opt = {.bytes = 4096, .depth = 1, .runtime_s = 4};

static int fd;
static uint64_t nr_blocks,
	mask;             /* of opt.bytes; mask: a power of two minus 1, at least nr_blocks - 1 */
static uint64_t position; /* of the last request, in blocks */
static uint64_t nr_started, nr_done;

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* The next block. The multiplier is 1 modulo 4 and the increment odd: all of 0 to mask, each once
 * (Hull and Dobell). */
static uint64_t next_offset(void)
{
	nr_started++;
	if (!opt.random) {
		position = (nr_started - 1) % nr_blocks;
	} else {
		do
			position = (position * 6364136223846793005U + 1442695040888963407U) & mask;
		while (position >= nr_blocks);
	}
	return position * opt.bytes;
}

static bool time_is_over(double end_s)
{
	return (opt.once && nr_started >= nr_blocks) || now_s() >= end_s;
}

static void loop_one(void *buf, double end_s)
{
	while (!time_is_over(end_s)) {
		off_t at = (off_t)next_offset();
		ssize_t n =
			opt.write ? pwrite(fd, buf, opt.bytes, at) : pread(fd, buf, opt.bytes, at);

		if (n != (ssize_t)opt.bytes)
			err(1, "%s: %zd of %zu bytes at %lld", opt.path, n, opt.bytes,
				(long long)at);
		if (opt.fsync_each && fdatasync(fd) < 0)
			err(1, "%s: fdatasync", opt.path);
		nr_done++;
	}
}

static void submit(aio_context_t ctx, struct iocb **list, long nr)
{
	while (nr > 0) {
		long n = syscall(SYS_io_submit, ctx, nr, list);

		if (n < 0)
			err(1, "%s: io_submit", opt.path);
		list += n;
		nr -= n;
	}
}

static void loop_deep(uint8_t *buf, double end_s)
{
	struct iocb cb[DEPTH_MAX], *list[DEPTH_MAX];
	struct io_event events[DEPTH_MAX];
	aio_context_t ctx = 0;
	long in_flight = opt.depth;

	if (syscall(SYS_io_setup, opt.depth, &ctx) < 0)
		err(1, "io_setup");
	for (unsigned i = 0; i < opt.depth; i++) {
		cb[i] = (struct iocb){
			.aio_lio_opcode = opt.write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
			.aio_fildes = (uint32_t)fd,
			.aio_buf = (uint64_t)(uintptr_t)(buf + i * opt.bytes),
			.aio_nbytes = opt.bytes,
			.aio_offset = (int64_t)next_offset(),
		};
		list[i] = &cb[i];
	}
	submit(ctx, list, in_flight);
	while (in_flight > 0) {
		long n = syscall(SYS_io_getevents, ctx, 1L, (long)opt.depth, events, NULL),
		     again = 0;

		if (n < 0)
			err(1, "%s: io_getevents", opt.path);
		for (long i = 0; i < n; i++) {
			struct iocb *done = (struct iocb *)(uintptr_t)events[i].obj;

			if (events[i].res != (int64_t)opt.bytes)
				errx(1, "%s: %lld of %zu bytes", opt.path, (long long)events[i].res,
					opt.bytes);
			if (time_is_over(end_s))
				continue;
			done->aio_offset = (int64_t)next_offset();
			list[again++] = done;
		}
		nr_done += (uint64_t)n;
		in_flight += again - n;
		submit(ctx, list, again);
	}
	syscall(SYS_io_destroy, ctx);
}

static uint64_t size_of(void)
{
	struct stat st;
	uint64_t bytes;

	if (fstat(fd, &st) < 0)
		err(1, "%s", opt.path);
	if (!S_ISBLK(st.st_mode))
		return (uint64_t)st.st_size;
	if (ioctl(fd, BLKGETSIZE64, &bytes) < 0)
		err(1, "%s: BLKGETSIZE64", opt.path);
	return bytes;
}

static void open_target(void)
{
	fd = open(opt.path, (opt.write ? O_RDWR | O_CREAT : O_RDONLY) | (opt.direct ? O_DIRECT : 0),
		0644);
	if (fd < 0)
		err(1, "%s", opt.path);
	if (opt.span == 0)
		opt.span = size_of();
	nr_blocks = opt.span / opt.bytes;
	if (nr_blocks == 0)
		errx(1, "%s: smaller than one request", opt.path);
	mask = nr_blocks;
	for (unsigned shift = 1; shift < 64; shift *= 2)
		mask |= mask >> shift;
	position = 12345 & mask;
	if (opt.random)
		(void)posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
}

static void run(void)
{
	uint8_t *buf = aligned_alloc(4096, (opt.depth * opt.bytes + 4095) & ~4095UL);
	double start = now_s(), seconds;

	if (buf == NULL)
		err(1, "memory");
	for (size_t i = 0; i < opt.depth * opt.bytes; i++)
		buf[i] = (uint8_t)(i * 2654435761U >> 13);
	start = now_s();
	if (opt.depth == 1)
		loop_one(buf, start + opt.runtime_s);
	else
		loop_deep(buf, start + opt.runtime_s);
	if (opt.fsync_end && fsync(fd) < 0)
		err(1, "%s: fsync", opt.path);
	seconds = now_s() - start;
	printf("iops=%.1f mib_s=%.2f mean_us=%.2f\n", (double)nr_done / seconds,
		(double)nr_done * (double)opt.bytes / seconds / (1 << 20),
		seconds * 1e6 * opt.depth / (double)nr_done);
	free(buf);
}

static void usage(void)
{
	fputs("usage: ioloop PATH [--rw read|write|randread|randwrite] [--bs BYTES] [--depth N] "
	      "[--runtime SECONDS]\n"
	      "              [--span BYTES] [--direct] [--fsync-each] [--fsync-end] [--once]\n",
		stderr);
	exit(2);
}

static void parse(int argc, char **argv)
{
	static const struct option options[] = {{"rw", 1, NULL, 'w'}, {"bs", 1, NULL, 'b'},
		{"depth", 1, NULL, 'd'}, {"runtime", 1, NULL, 't'}, {"span", 1, NULL, 's'},
		{"direct", 0, NULL, 'D'}, {"fsync-each", 0, NULL, 'f'}, {"fsync-end", 0, NULL, 'e'},
		{"once", 0, NULL, 'o'}, {0}};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'w':
			opt.random = strncmp(optarg, "rand", 4) == 0;
			opt.write = strcmp(optarg + (opt.random ? 4 : 0), "write") == 0;
			break;
		case 'b':
			opt.bytes = strtoul(optarg, NULL, 0);
			break;
		case 'd':
			opt.depth = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 't':
			opt.runtime_s = strtod(optarg, NULL);
			break;
		case 's':
			opt.span = strtoull(optarg, NULL, 0);
			break;
		case 'D':
			opt.direct = true;
			break;
		case 'f':
			opt.fsync_each = true;
			break;
		case 'e':
			opt.fsync_end = true;
			break;
		case 'o':
			opt.once = true;
			break;
		default:
			usage();
		}
	}
	if (optind != argc - 1 || opt.bytes == 0 || opt.depth == 0 || opt.depth > DEPTH_MAX)
		usage();
	opt.path = argv[optind];
}

int main(int argc, char **argv)
{
	parse(argc, argv);
	open_target();
	run();
	return 0;
}
