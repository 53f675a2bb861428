/* steps.c - see steps.h; step_perform() is in perform.c. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "le.h"
#include "steps.h"

static uint64_t mix(uint64_t z) /* splitmix64 */
{
	z += 0x9e3779b97f4a7c15U;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
	return z ^ (z >> 31);
}

static uint64_t key_of(const struct stream *s, uint64_t step)
{
	return mix(mix(s->seed + s->id) + step);
}

static uint32_t below(uint64_t *state, uint32_t n)
{
	return (uint32_t)(mix((*state)++) % n);
}

int stream_init(struct stream *s, uint64_t seed, unsigned id)
{
	*s = (struct stream){.seed = seed, .id = id};
	s->dir_exists[0] = true;
	for (unsigned i = 0; i < STREAM_FILES; i++) {
		s->file[i].data = calloc(1, STREAM_FILE_MAX);
		if (s->file[i].data == NULL) {
			stream_free(s);
			return -ENOMEM;
		}
	}
	return 0;
}

void stream_free(struct stream *s)
{
	for (unsigned i = 0; i < STREAM_FILES; i++)
		free(s->file[i].data);
}

const char *step_name(enum step_kind kind)
{
	static const char *const name[NR_STEP_KINDS] = {"create", "replace", "replace lazily",
		"append", "overwrite", "overwrite with O_DSYNC", "truncate", "punch", "setxattr",
		"link", "move", "unlink", "rmdir"};

	return name[kind];
}

/* Small ones mostly, for many steps; some that take several requests. */
static uint32_t random_bytes(uint64_t *rng)
{
	switch (below(rng, 8)) {
	case 0:
		return 1 + below(rng, STREAM_FILE_MAX);
	case 1:
		return 4096 * (1 + below(rng, 16));
	case 2:
		return 1 + below(rng, 100);
	default:
		return 1 + below(rng, 20000);
	}
}

static bool dir_is_empty(const struct stream *s, unsigned dir)
{
	for (unsigned i = 0; i < STREAM_FILES; i++)
		if (s->file[i].exists && s->file[i].dir == dir)
			return false;
	return true;
}

/* A range of the file, or from where it has LESS than that to the end. */
static void pick_range(const struct stream_file *f, uint64_t *rng, struct step *out)
{
	out->offset = below(rng, f->size + 1);
	if (below(rng, 2) == 0)
		out->offset &= ~4095U;
	out->bytes = random_bytes(rng);
	if (out->bytes > STREAM_FILE_MAX - out->offset)
		out->bytes = STREAM_FILE_MAX - out->offset;
}

/* A file that has a second name stays where it is, and stays itself. */
static enum step_kind pick_kind(const struct stream_file *f, uint64_t *rng)
{
	static const enum step_kind kinds[] = {STEP_REPLACE, STEP_REPLACE, STEP_REPLACE_LAZILY,
		STEP_APPEND, STEP_APPEND, STEP_OVERWRITE, STEP_OVERWRITE_DSYNC, STEP_TRUNCATE,
		STEP_PUNCH, STEP_ATTR, STEP_LINK, STEP_MOVE, STEP_UNLINK};
	enum step_kind kind = kinds[below(rng, sizeof(kinds) / sizeof(kinds[0]))];
	bool renames = kind == STEP_REPLACE || kind == STEP_REPLACE_LAZILY || kind == STEP_MOVE ||
		       kind == STEP_UNLINK;

	if (f->linked && renames)
		return STEP_LINK;
	if ((kind == STEP_APPEND && f->size == STREAM_FILE_MAX) ||
		(kind == STEP_PUNCH && f->size == 0))
		return STEP_OVERWRITE;
	return kind;
}

static void pick_details(const struct stream_file *f, uint64_t *rng, struct step *out)
{
	switch (out->kind) {
	case STEP_APPEND:
		out->offset = f->size;
		out->bytes = random_bytes(rng);
		if (out->bytes > STREAM_FILE_MAX - out->offset)
			out->bytes = STREAM_FILE_MAX - out->offset;
		break;
	case STEP_OVERWRITE:
	case STEP_OVERWRITE_DSYNC:
		pick_range(f, rng, out);
		if (out->bytes == 0) {
			out->offset--;
			out->bytes = 1;
		}
		break;
	case STEP_PUNCH:
		pick_range(f, rng, out);
		if (out->offset == f->size)
			out->offset = 0;
		if (out->bytes > f->size - out->offset)
			out->bytes = f->size - out->offset;
		break;
	case STEP_TRUNCATE:
		out->offset = below(rng, below(rng, 2) == 0 ? f->size + 1 : STREAM_FILE_MAX);
		break;
	case STEP_MOVE:
		out->dir = (f->dir + 1 + below(rng, STREAM_DIRS - 1)) % STREAM_DIRS;
		break;
	default: /* a new file */
		out->bytes = random_bytes(rng);
		break;
	}
}

void step_next(const struct stream *s, struct step *out)
{
	uint64_t rng = key_of(s, s->step + 1);
	const struct stream_file *f;
	unsigned dir = 1 + below(&rng, STREAM_DIRS - 1);

	*out = (struct step){.number = s->step + 1, .file = below(&rng, STREAM_FILES)};
	f = &s->file[out->file];
	if (s->dir_exists[dir] && dir_is_empty(s, dir) && below(&rng, 2) == 0) {
		out->kind = STEP_RMDIR;
		out->dir = dir;
		return;
	}
	if (f->exists) {
		out->kind = pick_kind(f, &rng);
		out->dir = f->dir;
	} else {
		out->kind = below(&rng, 2) == 0 ? STEP_CREATE : STEP_REPLACE_LAZILY;
		out->dir = below(&rng, STREAM_DIRS);
	}
	pick_details(f, &rng, out);
}

void step_bytes(const struct stream *s, const struct step *step, uint32_t offset, uint8_t *out,
	uint32_t bytes)
{
	uint64_t key = key_of(s, step->number) ^ step->file;
	uint64_t word = 0;

	for (uint32_t i = 0; i < bytes; i++) {
		uint32_t at = offset + i;

		if (i == 0 || at % 8 == 0)
			word = mix(key + at / 8);
		out[i] = (uint8_t)(word >> at % 8 * 8);
	}
}

static void set_size(struct stream_file *f, uint32_t size)
{
	if (size < f->size)
		memset(f->data + size, 0, f->size - size);
	f->size = size;
}

void step_apply_file(const struct stream *s, const struct step *step, struct stream_file *f)
{
	uint32_t end = step->offset + step->bytes;

	switch (step->kind) {
	case STEP_CREATE:
	case STEP_REPLACE:
	case STEP_REPLACE_LAZILY:
		set_size(f, 0);
		f->exists = true;
		f->attr = 0;
		break;
	case STEP_TRUNCATE:
		set_size(f, step->offset);
		break;
	case STEP_PUNCH:
		memset(f->data + step->offset, 0, step->bytes);
		return;
	case STEP_ATTR:
		f->attr = step->number;
		return;
	case STEP_LINK:
		f->linked = !f->linked;
		return;
	case STEP_UNLINK:
		set_size(f, 0);
		f->exists = false;
		f->attr = 0;
		return;
	default:
		break;
	}
	f->dir = step->dir;
	if (step->kind == STEP_TRUNCATE || step->kind == STEP_MOVE)
		return;
	step_bytes(s, step, step->offset, f->data + step->offset, step->bytes);
	if (f->size < end)
		f->size = end;
}

void step_apply(struct stream *s, const struct step *step)
{
	if (step->kind == STEP_RMDIR) {
		s->dir_exists[step->dir] = false;
	} else {
		s->dir_exists[step->dir] = true;
		step_apply_file(s, step, &s->file[step->file]);
	}
	s->step = step->number;
}

void stream_dir_path(const struct stream *s, const char *base, unsigned dir, char *out)
{
	int n = snprintf(out, STREAM_PATH_MAX, "%s/stream%u", base, s->id);

	if (dir > 0)
		(void)snprintf(out + n, STREAM_PATH_MAX - (size_t)n, "/d%u", dir);
}

static void name_path(const struct stream *s, const char *base, unsigned dir, const char *before,
	unsigned file, const char *after, char *out)
{
	size_t n;

	stream_dir_path(s, base, dir, out);
	n = strlen(out);
	(void)snprintf(out + n, STREAM_PATH_MAX - n, "/%sf%02u%s", before, file, after);
}

void stream_file_path(
	const struct stream *s, const char *base, unsigned dir, unsigned file, char *out)
{
	name_path(s, base, dir, "", file, "", out);
}

void stream_link_path(
	const struct stream *s, const char *base, unsigned dir, unsigned file, char *out)
{
	name_path(s, base, dir, "", file, ".link", out);
}

void stream_tmp_path(
	const struct stream *s, const char *base, unsigned dir, unsigned file, char *out)
{
	name_path(s, base, dir, ".", file, ".tmp", out);
}

struct mark_disk {
	uint8_t magic[16];
	le64 seed, id, step;
};

static const uint8_t mark_magic[16] = "vblkfs test ack";

void mark_encode(uint64_t seed, unsigned id, uint64_t step, uint8_t block[MARK_BYTES])
{
	struct mark_disk m = {.seed = le64_of(seed), .id = le64_of(id), .step = le64_of(step)};

	memcpy(m.magic, mark_magic, sizeof(m.magic));
	memset(block, 0, MARK_BYTES);
	memcpy(block, &m, sizeof(m));
}

bool mark_decode(const uint8_t *block, uint64_t *seed, unsigned *id, uint64_t *step)
{
	struct mark_disk m;

	memcpy(&m, block, sizeof(m));
	if (memcmp(m.magic, mark_magic, sizeof(m.magic)) != 0)
		return false;
	*seed = le64_get(m.seed);
	*id = (unsigned)le64_get(m.id);
	*step = le64_get(m.step);
	return true;
}
