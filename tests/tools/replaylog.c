/* replaylog.c - look into a log of writes (dm-log-writes, or QEMU's blklogwrites), or make the disk
 * as it was at some entry of it.
 *
 *	replaylog LOG                   each entry, one a line
 *	replaylog LOG IMAGE ENTRIES     bring IMAGE, the disk before the log, to after that many
 *	replaylog --flushes LOG         after how many entries a flush was done, one a line */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "../synced/logwrites.h"

#define CHUNK_BYTES (1U << 20)

static void print_entry(const struct logw *log, const struct logw_entry *e)
{
	printf("%6" PRIu64 "%c sector %-9" PRIu64 " %7" PRIu64 " bytes%s%s%s%s\n", e->index,
		e->index < log->nr_counted ? ' ' : '+', e->sector,
		e->has_data ? logw_bytes(log, e) : 0, e->flags & LOGW_FLUSH ? " flush" : "",
		e->flags & LOGW_FUA ? " fua" : "", e->flags & LOGW_DISCARD ? " discard" : "",
		e->flags & LOGW_MARK ? " mark" : "");
}

static int print_all(struct logw *log, bool flushes)
{
	struct logw_entry e;

	while (logw_next(log, &e) == 1) {
		if (!flushes)
			print_entry(log, &e);
		else if (e.flags & LOGW_FLUSH)
			printf("%" PRIu64 "\n", e.index + 1);
	}
	return 0;
}

static int write_entry(const struct logw *log, const struct logw_entry *e, int fd, uint8_t *chunk)
{
	uint64_t bytes = logw_bytes(log, e), done = 0;
	off_t at = (off_t)(e->sector * log->sector_bytes);

	while (done < bytes) {
		size_t n = bytes - done < CHUNK_BYTES ? (size_t)(bytes - done) : CHUNK_BYTES;
		int err = logw_read(log, e, done, chunk, n);

		if (err < 0)
			return err;
		if (pwrite(fd, chunk, n, at + (off_t)done) != (ssize_t)n)
			return -EIO;
		done += n;
	}
	return 0;
}

/* What is discarded reads as zeros, as on QEMU's raw files. */
static int apply(const struct logw *log, const struct logw_entry *e, int fd, uint8_t *chunk)
{
	if (e->flags & LOGW_MARK)
		return 0;
	if (e->flags & LOGW_DISCARD)
		return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       (off_t)(e->sector * log->sector_bytes),
			       (off_t)logw_bytes(log, e)) < 0
			       ? -errno
			       : 0;
	return e->has_data ? write_entry(log, e, fd, chunk) : 0;
}

static int make_image(struct logw *log, const char *path, uint64_t nr_entries)
{
	uint8_t *chunk = malloc(CHUNK_BYTES);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	struct logw_entry e;
	int err = fd < 0 ? -errno : chunk == NULL ? -ENOMEM : 0;

	while (err == 0 && log->next_index < nr_entries) {
		if (logw_next(log, &e) == 1)
			err = apply(log, &e, fd, chunk);
		else
			err = -ENODATA;
	}
	if (err == -ENODATA)
		fprintf(stderr, "replaylog: the log has %" PRIu64 " entries only\n",
			log->next_index);
	else if (err < 0)
		fprintf(stderr, "replaylog: %s: %s\n", path, strerror(-err));
	if (fd >= 0)
		close(fd);
	free(chunk);
	return err;
}

int main(int argc, char **argv)
{
	bool flushes = argc == 3 && strcmp(argv[1], "--flushes") == 0;
	struct logw log;
	char err[256], *end;
	uint64_t nr;
	int res;

	if (argc != 2 && argc != 4 && !flushes) {
		fputs("usage: replaylog [--flushes] LOG | LOG IMAGE ENTRIES\n", stderr);
		return 2;
	}
	if (logw_open(argv[flushes ? 2 : 1], &log, err, sizeof(err)) < 0) {
		fprintf(stderr, "replaylog: %s\n", err);
		return 1;
	}
	if (argc == 4) {
		nr = strtoull(argv[3], &end, 10);
		res = *end != '\0' ? -EINVAL : make_image(&log, argv[2], nr);
	} else {
		res = print_all(&log, flushes);
	}
	logw_close(&log);
	return res < 0 ? 1 : 0;
}
