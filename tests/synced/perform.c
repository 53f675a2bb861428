/* perform.c - do a step by system calls (see steps.h). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "steps.h"

struct work {
	const struct stream *s;
	const struct step *step;
	const struct stream_file *file;
	const char *base;
	const char *what; /* the system call at hand */
	char dir[STREAM_PATH_MAX], path[STREAM_PATH_MAX], tmp[STREAM_PATH_MAX];
};

static int failed(struct work *w, const char *what)
{
	w->what = what;
	return -errno;
}

static int sync_dir(struct work *w, const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return failed(w, "open of a directory");
	if (fsync(fd) < 0)
		err = failed(w, "fsync of a directory");
	close(fd);
	return err;
}

static int write_step(struct work *w, int fd, bool append)
{
	const struct step *st = w->step;
	uint8_t *buf = malloc(st->bytes);
	uint32_t done = 0;
	int err = 0;

	if (buf == NULL)
		return -ENOMEM;
	step_bytes(w->s, st, st->offset, buf, st->bytes);
	while (err == 0 && done < st->bytes) {
		ssize_t n = append ? write(fd, buf + done, st->bytes - done)
				   : pwrite(fd, buf + done, st->bytes - done, st->offset + done);

		if (n < 0 && errno != EINTR)
			err = failed(w, "write");
		else if (n > 0)
			done += (uint32_t)n;
	}
	free(buf);
	return err;
}

/* Write PATH, anew or in part, and sync it as the step's kind says. */
static int write_file(struct work *w, const char *path, int flags)
{
	enum step_kind kind = w->step->kind;
	int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0644);
	int err;

	if (fd < 0)
		return failed(w, "open");
	err = write_step(w, fd, flags & O_APPEND);
	if (err == 0 && kind == STEP_APPEND && fdatasync(fd) < 0)
		err = failed(w, "fdatasync");
	if (err == 0 && (kind == STEP_CREATE || kind == STEP_REPLACE || kind == STEP_OVERWRITE) &&
		fsync(fd) < 0)
		err = failed(w, "fsync");
	if (close(fd) < 0 && err == 0)
		err = failed(w, "close");
	return err;
}

static int replace(struct work *w)
{
	int err = write_file(w, w->tmp, O_CREAT | O_TRUNC);

	if (err < 0)
		return err;
	if (rename(w->tmp, w->path) < 0)
		return failed(w, "rename over");
	return sync_dir(w, w->dir);
}

/* Change the file as it is, without data, and fsync it. */
static int change_file(struct work *w)
{
	const struct step *st = w->step;
	int fd = open(w->path, O_RDWR | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return failed(w, "open");
	if (st->kind == STEP_TRUNCATE && ftruncate(fd, st->offset) < 0)
		err = failed(w, "ftruncate");
	if (st->kind == STEP_PUNCH && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					      st->offset, st->bytes) < 0)
		err = failed(w, "fallocate");
	if (st->kind == STEP_ATTR &&
		fsetxattr(fd, STREAM_ATTR, &st->number, sizeof(st->number), 0) < 0)
		err = failed(w, "fsetxattr");
	if (err == 0 && fsync(fd) < 0)
		err = failed(w, "fsync");
	close(fd);
	return err;
}

static int toggle_link(struct work *w)
{
	char second[STREAM_PATH_MAX];

	stream_link_path(w->s, w->base, w->file->dir, w->step->file, second);
	if (w->file->linked ? unlink(second) < 0 : link(w->path, second) < 0)
		return failed(w, w->file->linked ? "unlink" : "link");
	return sync_dir(w, w->dir);
}

static int move(struct work *w)
{
	char from[STREAM_PATH_MAX];

	stream_file_path(w->s, w->base, w->file->dir, w->step->file, from);
	if (rename(from, w->path) < 0)
		return failed(w, "rename");
	return sync_dir(w, w->dir);
}

static int unlink_file(struct work *w)
{
	if (unlink(w->path) < 0)
		return failed(w, "unlink");
	return sync_dir(w, w->dir);
}

static int remove_dir(struct work *w)
{
	char own[STREAM_PATH_MAX];

	if (rmdir(w->dir) < 0)
		return failed(w, "rmdir");
	stream_dir_path(w->s, w->base, 0, own);
	return sync_dir(w, own);
}

static int perform(struct work *w)
{
	switch (w->step->kind) {
	case STEP_CREATE:
		return write_file(w, w->path, O_CREAT | O_EXCL);
	case STEP_REPLACE:
	case STEP_REPLACE_LAZILY:
		return replace(w);
	case STEP_APPEND:
		return write_file(w, w->path, O_APPEND);
	case STEP_OVERWRITE:
		return write_file(w, w->path, 0);
	case STEP_OVERWRITE_DSYNC:
		return write_file(w, w->path, O_DSYNC);
	case STEP_LINK:
		return toggle_link(w);
	case STEP_MOVE:
		return move(w);
	case STEP_UNLINK:
		return unlink_file(w);
	case STEP_RMDIR:
		return remove_dir(w);
	default:
		return change_file(w);
	}
}

int step_perform(
	const struct stream *s, const struct step *step, const char *base, const char **what)
{
	struct work w = {.s = s, .step = step, .file = &s->file[step->file], .base = base};
	int err = 0;

	stream_dir_path(s, base, step->dir, w.dir);
	stream_file_path(s, base, step->dir, step->file, w.path);
	stream_tmp_path(s, base, step->dir, step->file, w.tmp);
	/* Nobody syncs what is above: a file's fsync is to make its whole path durable. */
	if (step->kind != STEP_RMDIR && !s->dir_exists[step->dir] && mkdir(w.dir, 0755) < 0)
		err = failed(&w, "mkdir");
	if (err == 0)
		err = perform(&w);
	*what = w.what;
	return err;
}
