/* judge.c - see judge.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "judge.h"

struct judge {
	const struct stream *s;
	struct step next; /* that may have begun */
	struct tree *tree;
	const char *base;
	uint8_t *got;             /* STREAM_FILE_MAX + 1: what the file has */
	struct stream_file after; /* the file of the next step, as that would leave it */
	char *why;
	size_t why_bytes;
};

static int guilty(struct judge *j, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int guilty(struct judge *j, const char *fmt, ...)
{
	va_list ap;
	int n = snprintf(j->why, j->why_bytes,
		"stream %u after step %llu (next: %s of f%02u): ", j->s->id,
		(unsigned long long)j->s->step, step_name(j->next.kind), j->next.file);

	va_start(ap, fmt);
	(void)vsnprintf(j->why + n, j->why_bytes - (size_t)n, fmt, ap);
	va_end(ap);
	return -1;
}

static bool is_next(const struct judge *j, unsigned file)
{
	return j->next.kind != STEP_RMDIR && j->next.file == file;
}

static bool replaces(const struct judge *j)
{
	return j->next.kind == STEP_REPLACE || j->next.kind == STEP_REPLACE_LAZILY;
}

/* May the file, by its step, be there whole, old or new, and in no other state? */
static bool is_atomic(const struct judge *j)
{
	return replaces(j) || j->next.kind == STEP_UNLINK || j->next.kind == STEP_MOVE ||
	       j->next.kind == STEP_LINK || j->next.kind == STEP_ATTR;
}

/* ---- contents ---- */

static bool is_whole(const struct judge *j, const struct stream_file *f, size_t size)
{
	return size == f->size && memcmp(j->got, f->data, size) == 0;
}

static int judge_bytes(
	struct judge *j, const char *path, const struct stream_file *old, size_t size)
{
	const struct stream_file *new = &j->after;
	uint32_t low = old->size < new->size ? old->size : new->size;
	uint32_t high = old->size < new->size ? new->size : old->size;

	if (size < low || size > high)
		return guilty(j, "%s has %zu bytes, not between %u and %u", path, size, low, high);
	for (size_t i = 0; i < size; i++)
		if (j->got[i] != old->data[i] && j->got[i] != new->data[i])
			return guilty(j, "%s: byte %zu of %zu is %02x, not %02x or %02x", path, i,
				size, j->got[i], old->data[i], new->data[i]);
	return 0;
}

static int judge_contents(struct judge *j, const char *path, unsigned file)
{
	const struct stream_file *old = &j->s->file[file];
	ssize_t size = j->tree->read(j->tree, path, j->got, STREAM_FILE_MAX + 1);
	size_t same = 0;

	if (size < 0)
		return guilty(j, "%s cannot be read: %s", path, strerror((int)-size));
	if (old->exists && is_whole(j, old, (size_t)size))
		return 0;
	if (is_next(j, file) && !is_atomic(j))
		return judge_bytes(j, path, old, (size_t)size);
	if (is_next(j, file) && is_whole(j, &j->after, (size_t)size))
		return 0;
	while (same < (size_t)size && same < old->size && j->got[same] == old->data[same])
		same++;
	return guilty(j, "%s is not what was synced: %zd bytes, not %u; different from byte %zu on",
		path, size, old->size, same);
}

static int judge_attr(struct judge *j, const char *path, unsigned file)
{
	uint64_t old = j->s->file[file].attr, got = 0;
	ssize_t n = j->tree->attr(j->tree, path, STREAM_ATTR, &got, sizeof(got));

	if (n != (ssize_t)sizeof(got) && n != -ENODATA)
		return guilty(j, "%s: attribute: %zd", path, n);
	if (got == old || (is_next(j, file) && got == j->after.attr))
		return 0;
	return guilty(j, "%s: attribute is %llu, not %llu", path, (unsigned long long)got,
		(unsigned long long)old);
}

static int judge_link(struct judge *j, const char *path, unsigned dir, unsigned file)
{
	bool want = j->s->file[file].linked,
	     toggles = is_next(j, file) && j->next.kind == STEP_LINK;
	char second[STREAM_PATH_MAX];
	struct tree_stat st;
	bool have;
	int err;

	stream_link_path(j->s, j->base, dir, file, second);
	err = j->tree->stat(j->tree, second, &st);
	have = err == 0;
	if (err < 0 && err != -ENOENT)
		return guilty(j, "%s: %s", second, strerror(-err));
	if (have != want && !toggles)
		return guilty(j, "%s is %sthere", second, have ? "" : "not ");
	err = j->tree->stat(j->tree, path, &st);
	if (err < 0 || st.nlink != 1U + have)
		return guilty(j, "%s has %u links, not %u", path, st.nlink, 1U + have);
	return have ? judge_contents(j, second, file) : 0;
}

/* ---- names ---- */

static int is_there(struct judge *j, const char *path, bool *there)
{
	struct tree_stat st;
	int err = j->tree->stat(j->tree, path, &st);

	if (err < 0 && err != -ENOENT)
		return guilty(j, "%s: %s", path, strerror(-err));
	*there = err == 0;
	return 0;
}

/* In which directory FILE is; STREAM_DIRS: in none. */
static int find_file(struct judge *j, unsigned file, unsigned *found)
{
	char path[STREAM_PATH_MAX];

	*found = STREAM_DIRS;
	for (unsigned dir = 0; dir < STREAM_DIRS; dir++) {
		bool there;

		stream_file_path(j->s, j->base, dir, file, path);
		if (is_there(j, path, &there) < 0)
			return -1;
		if (there && *found != STREAM_DIRS)
			return guilty(j, "f%02u is in d%u and in d%u", file, *found, dir);
		if (there)
			*found = dir;
	}
	return 0;
}

static bool may_be_in(const struct judge *j, unsigned file, unsigned dir)
{
	const struct stream_file *f = &j->s->file[file];

	if (dir == STREAM_DIRS)
		return !f->exists || (is_next(j, file) && j->next.kind == STEP_UNLINK);
	return (f->exists && f->dir == dir) ||
	       (is_next(j, file) && j->after.exists && j->after.dir == dir);
}

static int judge_file(struct judge *j, unsigned file)
{
	char path[STREAM_PATH_MAX];
	unsigned dir;

	if (find_file(j, file, &dir) < 0)
		return -1;
	if (!may_be_in(j, file, dir))
		return dir == STREAM_DIRS ? guilty(j, "f%02u is gone", file)
					  : guilty(j, "f%02u is in d%u", file, dir);
	if (dir == STREAM_DIRS)
		return 0;
	stream_file_path(j->s, j->base, dir, file, path);
	if (judge_contents(j, path, file) < 0 || judge_attr(j, path, file) < 0)
		return -1;
	return judge_link(j, path, dir, file);
}

struct listing {
	struct judge *j;
	unsigned dir;
	char stray[64];
};

/* Files were judged one by one; here only what no file is called. */
static bool is_known(void *arg, const char *name)
{
	struct listing *l = arg;
	unsigned n;
	int end = 0;

	if (sscanf(name, "f%2u%n", &n, &end) == 1 && n < STREAM_FILES &&
		(name[end] == '\0' || strcmp(name + end, ".link") == 0))
		return true;
	if (sscanf(name, ".f%2u.tmp%n", &n, &end) == 1 && end > 0 && name[end] == '\0' &&
		is_next(l->j, n) && replaces(l->j) && l->j->next.dir == l->dir)
		return true;
	if (l->dir == 0 && sscanf(name, "d%u%n", &n, &end) == 1 && name[end] == '\0' && n > 0 &&
		n < STREAM_DIRS)
		return true;
	(void)snprintf(l->stray, sizeof(l->stray), "%s", name);
	return false;
}

static int judge_dir(struct judge *j, unsigned dir)
{
	struct listing l = {.j = j, .dir = dir};
	bool there, want = j->s->dir_exists[dir];
	char path[STREAM_PATH_MAX];
	int err;

	stream_dir_path(j->s, j->base, dir, path);
	if (is_there(j, path, &there) < 0)
		return -1;
	if (there != want && j->next.dir != dir)
		return guilty(j, "%s is %sthere", path, there ? "" : "not ");
	if (!there && j->next.kind != STEP_RMDIR && want)
		return guilty(j, "%s is gone", path);
	if (!there)
		return 0;
	err = j->tree->list(j->tree, path, is_known, &l);
	if (err < 0)
		return guilty(j, "%s cannot be listed: %s", path, strerror(-err));
	return l.stray[0] == '\0' ? 0 : guilty(j, "%s has a stranger: %s", path, l.stray);
}

static int judge_all(struct judge *j)
{
	for (unsigned dir = 0; dir < STREAM_DIRS; dir++)
		if (judge_dir(j, dir) < 0)
			return -1;
	for (unsigned file = 0; file < STREAM_FILES; file++)
		if (judge_file(j, file) < 0)
			return -1;
	return 0;
}

int judge_stream(
	const struct stream *s, struct tree *tree, const char *base, char *why, size_t why_bytes)
{
	struct judge j = {.s = s, .tree = tree, .base = base, .why = why, .why_bytes = why_bytes};
	const struct stream_file *before;
	int res = -1;

	step_next(s, &j.next);
	before = &s->file[j.next.file];
	j.got = malloc(STREAM_FILE_MAX + 1);
	j.after = *before;
	j.after.data = malloc(STREAM_FILE_MAX);
	if (j.got == NULL || j.after.data == NULL) {
		(void)snprintf(why, why_bytes, "no memory");
		goto out;
	}
	memcpy(j.after.data, before->data, STREAM_FILE_MAX);
	if (j.next.kind != STEP_RMDIR)
		step_apply_file(s, &j.next, &j.after);
	res = judge_all(&j);
out:
	free(j.got);
	free(j.after.data);
	return res;
}
