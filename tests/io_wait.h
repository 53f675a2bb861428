/* io_wait.h - for tests: reads and writes of the filesystem that are waited for. */
#ifndef VBLKFS_TESTS_IO_WAIT_H
#define VBLKFS_TESTS_IO_WAIT_H
#include <stdbool.h>
#include <string.h>
#include <sys/types.h>
#include "blockdev.h"
#include "vblkfs.h"

struct io_wait {
	bool done;
	ssize_t result;
};

/* An fs_io's .done; its .user is a struct io_wait. */
static inline void io_done(struct fs_io *io, ssize_t result)
{
	struct io_wait *w = io->user;

	w->result = result;
	w->done = true;
}

static inline ssize_t io_result(struct fs_thread *t, const struct io_wait *w)
{
	while (!w->done)
		(void)blk_wait(fs_thread_queue(t), -1);
	return w->result;
}

/* CALL, fs_read or fs_write, from beginning to end. */
static inline ssize_t io_do(
	struct fs_thread *t, void (*call)(struct fs_thread *t, struct fs_io *io), struct fs_io *io)
{
	struct io_wait w = {0};

	io->done = io_done;
	io->user = &w;
	call(t, io);
	return io_result(t, &w);
}

static inline bool all_are(int value, const uint8_t *p, size_t bytes)
{
	return bytes == 0 || (p[0] == value && memcmp(p, p + 1, bytes - 1) == 0);
}
#endif
