/* steps.h - a workload of which each step is durable before the next begins, and its model.
 *
 * A stream is a directory of its own, and a seed. Its steps come one after the other, and step N is
 * a function of the seed and of the steps before it: whoever knows the last step that was
 * acknowledged (its system calls, the one that makes it durable included, have returned) knows every
 * byte that must be there. Of the step after that, anything from nothing to all may be there.
 *
 *	stream3/f00 f01 ...	files; f01.link a second name; .f01.tmp while it is being replaced
 *	stream3/d1/, d2/	the same files when they were moved, or made there */
#ifndef VBLKFS_STEPS_H
#define VBLKFS_STEPS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STREAM_FILES    12U
#define STREAM_DIRS     3U           /* with the stream's own, number 0 */
#define STREAM_FILE_MAX (384U << 10) /* bytes */
#define STREAM_PATH_MAX 256U
#define STREAM_ATTR     "user.step"

enum step_kind {
	STEP_CREATE,          /* open, write, fsync of the file alone */
	STEP_REPLACE,         /* write another file, fsync, rename over, fsync the directory */
	STEP_REPLACE_LAZILY,  /* without the first fsync */
	STEP_APPEND,          /* write at the end, fdatasync */
	STEP_OVERWRITE,       /* write inside, fsync */
	STEP_OVERWRITE_DSYNC, /* write inside through O_DSYNC */
	STEP_TRUNCATE,        /* shorter or longer, fsync */
	STEP_PUNCH,           /* a hole, fsync */
	STEP_ATTR,            /* setxattr, fsync */
	STEP_LINK,            /* a second name, or it is taken away; fsync the directory */
	STEP_MOVE,            /* to another directory, fsync that one */
	STEP_UNLINK,          /* fsync the directory */
	STEP_RMDIR,           /* fsync the stream's directory */
	NR_STEP_KINDS
};

struct step {
	uint64_t number; /* from 1 */
	enum step_kind kind;
	unsigned file;
	unsigned dir;           /* where it comes to be; STEP_RMDIR: what goes */
	uint32_t offset, bytes; /* what is written; STEP_TRUNCATE: offset is the new size */
};

struct stream_file {
	bool exists, linked;
	unsigned dir;
	uint32_t size;
	uint64_t attr; /* 0: none */
	uint8_t *data; /* STREAM_FILE_MAX; zeros from size on */
};

struct stream {
	uint64_t seed;
	unsigned id;
	uint64_t step; /* the last that was applied */
	bool dir_exists[STREAM_DIRS];
	struct stream_file file[STREAM_FILES];
};

int stream_init(struct stream *s, uint64_t seed, unsigned id);
void stream_free(struct stream *s);
void step_next(const struct stream *s, struct step *out);
void step_apply(struct stream *s, const struct step *step);
/* What STEP makes of a file; FILE's data is changed in place. */
void step_apply_file(const struct stream *s, const struct step *step, struct stream_file *file);
const char *step_name(enum step_kind kind);

/* What STEP writes, from the byte at OFFSET of the file on. */
void step_bytes(const struct stream *s, const struct step *step, uint32_t offset, uint8_t *out,
	uint32_t bytes);

/* Below BASE, the directory of all streams. */
void stream_dir_path(const struct stream *s, const char *base, unsigned dir, char *out);
void stream_file_path(
	const struct stream *s, const char *base, unsigned dir, unsigned file, char *out);
void stream_link_path(
	const struct stream *s, const char *base, unsigned dir, unsigned file, char *out);
void stream_tmp_path(
	const struct stream *s, const char *base, unsigned dir, unsigned file, char *out);

/* Do STEP below BASE, by system calls. On failure WHAT says which one. */
int step_perform(
	const struct stream *s, const struct step *step, const char *base, const char **what);

/* An acknowledgement, as it is written: one block for each stream. */
#define MARK_BYTES 4096U
void mark_encode(uint64_t seed, unsigned id, uint64_t step, uint8_t block[MARK_BYTES]);
bool mark_decode(const uint8_t *block, uint64_t *seed, unsigned *id, uint64_t *step);
#endif
