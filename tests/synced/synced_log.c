/* synced_log.c - judge the disk as a power cut could have left it, at many points of a log of its
 * writes.
 *
 * The disk is in memory, and has all up to the last flush. For each point a child process, which has
 * the memory as it was when it was forked, adds what came since: all of it, some of the writes, or
 * some of their sectors. It checks what it has as fsck does, mounts it, judges, unmounts and checks
 * once more; then it is gone, and with it all it did.
 *
 * A step counts as acknowledged from the entry on that has its mark: the mark was written when the
 * system calls had returned, and those when their flush had, which so stands before it in the log. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "disk.h"
#include "logwrites.h"
#include "synced.h"

#define CHUNK_BYTES (1U << 20)

enum keep { KEEP_ALL, KEEP_SOME, KEEP_TORN, NR_KEEPS };

struct replay {
	const struct synced_args *args;
	struct logw log;
	struct blockdev *disk;
	struct blk_queue *q;
	uint8_t *chunk;             /* CHUNK_BYTES that requests may point into */
	struct logw_entry *pending; /* done since the last flush */
	size_t nr_pending, max_pending;
	struct streams streams;
	uint64_t nr_entries, nr_flushes, rng;
	uint64_t nr_states, nr_at_flush, nr_kept[NR_KEEPS];
	long nr_children, max_children;
	bool failed;
};

static uint64_t random64(uint64_t *state) /* xorshift */
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* ---- the disk ---- */

static bool is_zero(const uint8_t *p, size_t bytes)
{
	return p[0] == 0 && memcmp(p, p + 1, bytes - 1) == 0;
}

/* Memory that was never written is not there: so look before zeros are written. */
static int zero_range(struct replay *r, uint64_t sector, uint64_t nr_sectors)
{
	while (nr_sectors > 0) {
		uint32_t nr = nr_sectors < CHUNK_BYTES / SECTOR_BYTES ? (uint32_t)nr_sectors
								      : CHUNK_BYTES / SECTOR_BYTES;
		int err = blk_do(r->q, BLK_READ, sector, nr, r->chunk);

		if (err == 0 && !is_zero(r->chunk, (size_t)nr * SECTOR_BYTES))
			err = blk_do(r->q, BLK_WRITE_ZEROES, sector, nr, NULL);
		if (err < 0)
			return err;
		sector += nr;
		nr_sectors -= nr;
	}
	return 0;
}

static int write_sectors(struct replay *r, uint64_t sector, uint32_t nr, enum keep keep)
{
	int err = 0;

	if (keep != KEEP_TORN)
		return blk_do(r->q, BLK_WRITE, sector, nr, r->chunk);
	for (uint32_t i = 0; err == 0 && i < nr; i++)
		if (random64(&r->rng) >> 60 & 1)
			err = blk_do(r->q, BLK_WRITE, sector + i, 1, r->chunk + i * SECTOR_BYTES);
	return err;
}

static int apply(struct replay *r, const struct logw_entry *e, enum keep keep)
{
	uint64_t sector = e->sector * (r->log.sector_bytes / SECTOR_BYTES);
	uint64_t bytes = logw_bytes(&r->log, e), done = 0;
	int err = 0;

	if (e->flags & LOGW_MARK || (keep == KEEP_SOME && random64(&r->rng) >> 60 & 1))
		return 0;
	if (e->flags & LOGW_DISCARD)
		return zero_range(r, sector, bytes / SECTOR_BYTES);
	while (err == 0 && e->has_data && done < bytes) {
		size_t n = bytes - done < CHUNK_BYTES ? (size_t)(bytes - done) : CHUNK_BYTES;

		err = logw_read(&r->log, e, done, r->chunk, n);
		if (err == 0)
			err = write_sectors(r, sector + done / SECTOR_BYTES,
				(uint32_t)(n / SECTOR_BYTES), keep);
		done += n;
	}
	return err;
}

static int apply_pending(struct replay *r, enum keep keep)
{
	int err = 0;

	for (size_t i = 0; err == 0 && i < r->nr_pending; i++)
		err = apply(r, &r->pending[i], keep);
	return err;
}

/* ---- one state, in a child ---- */

static int complain(const struct replay *r, enum keep keep, const char *what, const char *why)
{
	static const char *const kept[NR_KEEPS] = {"all", "some", "torn"};

	fprintf(stderr,
		"synced: after entry %" PRIu64 " (%s of %zu unflushed writes kept, random %" PRIx64
		"): %s: %s\n",
		r->log.next_index - 1, kept[keep], r->nr_pending, r->rng, what, why);
	return 1;
}

static int judge_state(struct replay *r, enum keep keep)
{
	uint64_t rng = r->rng;
	struct tree_fs tree;
	char why[512];
	int64_t nr;
	int err, status = 0;

	err = apply_pending(r, keep);
	r->rng = rng; /* as it is to be told */
	if (err < 0)
		return complain(r, keep, "the log", strerror(-err));
	if (check_disk(r->disk, why, sizeof(why)) < 0)
		return complain(r, keep, "before the mount", why);
	err = tree_fs_open(&tree, r->disk, NULL);
	if (err < 0)
		return complain(r, keep, "mount", strerror(-err));
	nr = tree_read_all(&tree.tree, "/");
	if (nr < 0)
		status = complain(r, keep, "not all can be read", strerror((int)-nr));
	else if (streams_judge(&r->streams, &tree.tree, r->args->base, why, sizeof(why)) < 0)
		status = complain(r, keep, "lost", why);
	err = tree_fs_close(&tree);
	if (err < 0)
		status = complain(r, keep, "unmount", strerror(-err));
	if (status == 0 && check_disk(r->disk, why, sizeof(why)) < 0)
		status = complain(r, keep, "after the unmount", why);
	return status;
}

static void reap(struct replay *r)
{
	int status;

	if (wait(&status) < 0)
		return;
	r->nr_children--;
	if (WIFSIGNALED(status))
		fprintf(stderr, "synced: a child died: %s\n", strsignal(WTERMSIG(status)));
	if (status != 0)
		r->failed = true;
}

static int start_state(struct replay *r, enum keep keep)
{
	pid_t pid;

	while (r->nr_children >= r->max_children)
		reap(r);
	(void)random64(&r->rng);
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		_exit(judge_state(r, keep));
	r->nr_children++;
	r->nr_states++;
	r->nr_kept[keep]++;
	return 0;
}

/* ---- the log ---- */

static int count_entries(struct replay *r)
{
	struct logw_entry e;

	while (logw_next(&r->log, &e) == 1) {
		r->nr_entries++;
		r->nr_flushes += e.flags & LOGW_FLUSH ? 1 : 0;
	}
	logw_rewind(&r->log);
	return r->nr_entries == 0 ? -ENODATA : 0;
}

static int learn(struct replay *r, const struct logw_entry *e)
{
	uint64_t bytes = logw_bytes(&r->log, e);
	int err;

	/* Marks of all streams may have gone to the disk in one request, not in a larger one. */
	if (!e->has_data || bytes > STREAMS_MAX * MARK_BYTES)
		return 0;
	err = logw_read(&r->log, e, 0, r->chunk, (size_t)bytes);
	for (uint64_t at = 0; err == 0 && at + MARK_BYTES <= bytes; at += MARK_BYTES)
		err = streams_learn(&r->streams, r->chunk + at);
	return err;
}

static int keep_pending(struct replay *r, const struct logw_entry *e)
{
	if (r->nr_pending == r->max_pending) {
		size_t max = r->max_pending == 0 ? 256 : 2 * r->max_pending;
		struct logw_entry *more = realloc(r->pending, max * sizeof(*more));

		if (more == NULL)
			return -ENOMEM;
		r->pending = more;
		r->max_pending = max;
	}
	r->pending[r->nr_pending++] = *e;
	return 0;
}

/* Half of the states at flushes (or all flushes, if there are fewer), the rest between. */
static bool is_chosen(struct replay *r, bool at_flush)
{
	uint64_t states = r->args->nr_states;
	uint64_t at_flushes = states / 2 < r->nr_flushes ? states / 2 : r->nr_flushes;
	uint64_t between = r->nr_entries - r->nr_flushes;

	if (r->streams.nr == 0)
		return false;
	if (at_flush)
		return random64(&r->rng) % r->nr_flushes < at_flushes;
	return random64(&r->rng) % (between + 1) < states - at_flushes;
}

static int go_on(struct replay *r, const struct logw_entry *e)
{
	bool at_flush = e->flags & LOGW_FLUSH;
	int err = learn(r, e);

	if (err == 0)
		err = keep_pending(r, e);
	if (err == 0 && at_flush) {
		err = apply_pending(r, KEEP_ALL);
		r->nr_pending = 0;
	}
	if (err < 0 || !is_chosen(r, at_flush))
		return err;
	r->nr_at_flush += at_flush ? 1 : 0;
	return start_state(r, at_flush ? KEEP_ALL : (enum keep)(random64(&r->rng) >> 8) % NR_KEEPS);
}

static int replay_all(struct replay *r)
{
	struct logw_entry e;
	int err = count_entries(r);

	while (err == 0 && !r->failed && logw_next(&r->log, &e) == 1)
		err = go_on(r, &e);
	while (r->nr_children > 0)
		reap(r);
	if (err == 0 && !r->failed && r->nr_states == 0)
		err = -ENODATA; /* no mark: nothing was shown */
	return err;
}

static int open_all(struct replay *r, uint64_t bytes)
{
	char why[256];
	int err = logw_open(r->args->first, &r->log, why, sizeof(why));

	if (err < 0) {
		fprintf(stderr, "synced: %s\n", why);
		return err;
	}
	err = mem_disk_open(bytes / SECTOR_BYTES, &r->disk);
	if (err < 0)
		return err;
	err = blk_queue_open(r->disk, &r->q);
	if (err < 0)
		return err;
	r->chunk = blk_dma_alloc(r->disk, CHUNK_BYTES);
	return r->chunk == NULL ? -ENOMEM : 0;
}

int synced_log(const struct synced_args *a)
{
	struct replay r = {.args = a, .rng = a->seed * 0x9e3779b97f4a7c15U + 1};
	char *end;
	uint64_t bytes = strtoull(a->second, &end, 10);
	int err = *end != '\0' || bytes < SECTOR_BYTES ? -EINVAL : open_all(&r, bytes);

	r.max_children = sysconf(_SC_NPROCESSORS_ONLN);
	if (err == 0)
		err = replay_all(&r);
	if (err < 0)
		fprintf(stderr, "synced: %s\n", strerror(-err));
	printf("synced: log of %" PRIu64 " entries, %" PRIu64 " flushes, %" PRIu64
	       " steps acknowledged; %" PRIu64 " states checked, mounted and judged: %" PRIu64
	       " at a flush; between, %" PRIu64 " with some writes lost, %" PRIu64 " torn\n",
		r.nr_entries, r.nr_flushes, streams_steps(&r.streams), r.nr_states, r.nr_at_flush,
		r.nr_kept[KEEP_SOME], r.nr_kept[KEEP_TORN]);
	streams_free(&r.streams);
	free(r.pending);
	return err < 0 || r.failed ? 1 : 0; /* the disk and its memory go with the process */
}
