/* vblkctl_bench_run.c - see vblkctl_bench.h. Each worker has a thread, a queue, and as many slots as
 * requests may be under way: a request that is done starts the next one in its slot. */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "vblkctl_bench.h"

struct figures {
	unsigned nr_rings;
	uint64_t kicks, kicks_saved, interrupts;
};

struct run {
	const struct bench_job *job;
	struct vblk_disk *disk;
	uint64_t nr_places; /* where on the disk a request may be: multiples of its length */
	uint64_t begin_ns, end_ns;
	struct figures before;
	struct worker *workers;
};

struct worker {
	pthread_t thread;
	const struct run *run;
	unsigned number;
	struct vblk_queue *q;
	struct slot *slots;
	uint64_t nr_started, nr_done, nr_wanted; /* the last: UINT64_MAX: until the time is over */
	uint64_t next;                           /* place, of a sequential pattern */
	uint64_t random;                         /* state */
	uint64_t nr_errors, nr_wrong;
	int first_error;
	struct histogram reads, others; /* how long they took */
};

struct slot { /* one request under way */
	struct vblk_req req;
	struct worker *w;
	uint64_t start_ns;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

static uint64_t next_random(struct worker *w) /* xorshift64 */
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->random;
}

static const struct {
	enum vblk_op op; /* of those that are no reads */
	bool random;
	bool mixed; /* with reads */
} kinds[BENCH_NR_PATTERNS] = {
	[BENCH_READ] = {VBLK_READ, false, false},
	[BENCH_WRITE] = {VBLK_WRITE, false, false},
	[BENCH_RW] = {VBLK_WRITE, false, true},
	[BENCH_RANDREAD] = {VBLK_READ, true, false},
	[BENCH_RANDWRITE] = {VBLK_WRITE, true, false},
	[BENCH_RANDRW] = {VBLK_WRITE, true, true},
	[BENCH_FLUSH] = {VBLK_FLUSH, false, false},
	[BENCH_DISCARD] = {VBLK_DISCARD, false, false},
	[BENCH_RANDDISCARD] = {VBLK_DISCARD, true, false},
	[BENCH_WRITE_ZEROES] = {VBLK_WRITE_ZEROES, false, false},
	[BENCH_RANDWRITE_ZEROES] = {VBLK_WRITE_ZEROES, true, false},
};

bool bench_writes(enum bench_pattern pattern)
{
	return kinds[pattern].op != VBLK_READ && kinds[pattern].op != VBLK_FLUSH;
}

bool bench_mixes(enum bench_pattern pattern)
{
	return kinds[pattern].mixed;
}

bool bench_has_data(enum bench_pattern pattern)
{
	return kinds[pattern].op == VBLK_READ || kinds[pattern].op == VBLK_WRITE;
}

/* Every 8 bytes say where on the disk they are. */
static void stamp(const struct vblk_req *req)
{
	uint64_t *word = req->buf;

	for (uint64_t i = 0; i < req->bytes / sizeof(*word); i++)
		word[i] = req->offset + i * sizeof(*word) + 1;
}

static bool is_stamped(const struct vblk_req *req)
{
	const uint64_t *word = req->buf;

	for (uint64_t i = 0; i < req->bytes / sizeof(*word); i++)
		if (word[i] != req->offset + i * sizeof(*word) + 1)
			return false;
	return true;
}

/* A sequential worker has a stretch of its own, and begins again at its end. */
static uint64_t choose_place(struct worker *w)
{
	const struct run *run = w->run;
	uint64_t stretch = run->nr_places / run->job->queues;

	if (kinds[run->job->pattern].random)
		return next_random(w) % run->nr_places;
	return w->number * stretch + w->next++ % stretch;
}

static enum vblk_op choose_op(struct worker *w)
{
	const struct bench_job *job = w->run->job;

	if (bench_mixes(job->pattern) && next_random(w) % 100 < job->read_percent)
		return VBLK_READ;
	return kinds[job->pattern].op;
}

static bool want_more(const struct worker *w)
{
	return w->nr_started < w->nr_wanted && !atomic_load(w->run->job->stop) &&
	       now_ns() < w->run->end_ns;
}

static void count_error(struct worker *w, int err)
{
	w->nr_errors++;
	if (w->first_error == 0)
		w->first_error = err;
}

static void start(struct slot *s)
{
	struct worker *w = s->w;
	const struct bench_job *job = w->run->job;
	int err;

	s->req.op = choose_op(w);
	if (job->pattern != BENCH_FLUSH) {
		s->req.offset = choose_place(w) * job->bytes;
		s->req.bytes = job->bytes;
	}
	if (job->verify && s->req.op == VBLK_WRITE)
		stamp(&s->req);
	s->start_ns = now_ns();
	w->nr_started++;
	err = vblk_queue_submit(w->q, &s->req);
	if (err < 0) { /* the slot stays idle */
		w->nr_done++;
		count_error(w, err);
	}
}

static void done(struct vblk_req *req, int err)
{
	struct slot *s = req->arg;
	struct worker *w = s->w;

	histogram_add(req->op == VBLK_READ ? &w->reads : &w->others, now_ns() - s->start_ns);
	w->nr_done++;
	if (err == 0 && w->run->job->verify && req->op == VBLK_READ && !is_stamped(req)) {
		w->nr_wrong++;
		err = -EILSEQ;
	}
	if (err < 0)
		count_error(w, err);
	if (want_more(w))
		start(s);
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < w->run->job->depth && want_more(w); i++)
		start(&w->slots[i]);
	while (w->nr_done < w->nr_started)
		(void)vblk_queue_wait(w->q, -1);
	return NULL;
}

/* --- beginning and end --- */

static int fail(char *err, size_t err_bytes, int code, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
static int fail(char *err, size_t err_bytes, int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(err, err_bytes, format, args);
	va_end(args);
	return code;
}

static int make_slots(struct worker *w)
{
	const struct bench_job *job = w->run->job;

	w->slots = calloc(job->depth, sizeof(*w->slots));
	if (w->slots == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < job->depth; i++) {
		struct slot *s = &w->slots[i];

		s->w = w;
		s->req.done = done;
		s->req.arg = s;
		if (bench_has_data(job->pattern) &&
			(s->req.buf = vblk_mem_alloc(w->run->disk, job->bytes)) == NULL)
			return -ENOMEM;
	}
	return 0;
}

static void close_worker(struct worker *w)
{
	const struct bench_job *job = w->run->job;

	for (unsigned i = 0; w->slots != NULL && i < job->depth; i++)
		vblk_mem_free(w->run->disk, w->slots[i].req.buf, job->bytes);
	free(w->slots);
	if (w->q != NULL)
		(void)vblk_queue_close(w->q);
}

static int open_worker(struct worker *w, const struct run *run, unsigned number)
{
	const struct bench_job *job = run->job;
	int err;

	w->run = run;
	w->number = number;
	w->random = 88172645463325252U + number;
	w->nr_wanted = job->nr_ios == 0
			       ? UINT64_MAX
			       : job->nr_ios / job->queues + (number < job->nr_ios % job->queues);
	err = vblk_queue_open(run->disk, &w->q);
	if (err == 0 && job->spin_us >= 0)
		vblk_queue_set_spin(w->q, (uint32_t)job->spin_us);
	return err < 0 ? err : make_slots(w);
}

/* Since the disk was opened. */
static struct figures sum_figures(struct vblk_disk *disk)
{
	struct vblk_stat stat = {.size = sizeof(stat)};
	struct figures sum = {0};

	for (; vblk_disk_stat(disk, sum.nr_rings, &stat) == 0; sum.nr_rings++) {
		sum.kicks += stat.kicks;
		sum.kicks_saved += stat.kicks_saved;
		sum.interrupts += stat.interrupts;
	}
	return sum;
}

static void sum_up(struct run *run, struct bench_result *r)
{
	struct figures now = sum_figures(run->disk);

	r->seconds = (double)(now_ns() - run->begin_ns) / 1e9;
	for (unsigned i = 0; i < run->job->queues; i++) {
		const struct worker *w = &run->workers[i];

		histogram_merge(&r->reads, &w->reads);
		histogram_merge(&r->others, &w->others);
		r->nr_errors += w->nr_errors;
		r->nr_wrong += w->nr_wrong;
		if (r->first_error == 0)
			r->first_error = w->first_error;
	}
	histogram_merge(&r->latency, &r->reads);
	histogram_merge(&r->latency, &r->others);
	r->nr_rings = now.nr_rings;
	r->kicks = now.kicks - run->before.kicks;
	r->kicks_saved = now.kicks_saved - run->before.kicks_saved;
	r->interrupts = now.interrupts - run->before.interrupts;
	(void)vblk_disk_info(run->disk, &r->info);
}

/* Threads for all, or an error and none is left. */
static int work_all(struct run *run)
{
	unsigned n;
	int err = 0;

	run->before = sum_figures(run->disk);
	run->begin_ns = now_ns();
	run->end_ns = run->job->runtime_s == 0
			      ? UINT64_MAX
			      : run->begin_ns + (uint64_t)(run->job->runtime_s * 1e9);
	for (n = 0; n < run->job->queues && err == 0; n++)
		err = -pthread_create(&run->workers[n].thread, NULL, work, &run->workers[n]);
	if (err < 0) {
		atomic_store(run->job->stop, true);
		n--;
	}
	while (n > 0)
		pthread_join(run->workers[--n].thread, NULL);
	return err;
}

static int run_workers(struct run *run, struct bench_result *r, char *err, size_t err_bytes)
{
	const struct bench_job *job = run->job;
	int code = 0;

	run->workers = calloc(job->queues, sizeof(*run->workers));
	if (run->workers == NULL)
		return fail(err, err_bytes, -ENOMEM, "no memory for %u queues", job->queues);
	for (unsigned i = 0; i < job->queues && code == 0; i++)
		code = open_worker(&run->workers[i], run, i);
	if (code == 0)
		code = work_all(run);
	if (code == 0)
		sum_up(run, r);
	else if (code == -ENOMEM)
		fail(err, err_bytes, code,
			"%s: no DMA memory for %u queues of %u requests of %llu bytes",
			r->info.name, job->queues, job->depth, (unsigned long long)job->bytes);
	else
		fail(err, err_bytes, code, "%s: %s", r->info.name, strerror(-code));
	for (unsigned i = 0; i < job->queues && run->workers[i].run != NULL; i++)
		close_worker(&run->workers[i]);
	free(run->workers);
	return code;
}

/* Can the disk do what the job asks? */
static int check_op(
	const struct bench_job *job, const struct vblk_info *info, char *err, size_t err_bytes)
{
	enum vblk_op op = kinds[job->pattern].op;

	if ((op == VBLK_DISCARD && !info->can_discard) ||
		(op == VBLK_WRITE_ZEROES && !info->can_write_zeroes))
		return fail(err, err_bytes, -EOPNOTSUPP,
			"%s: this disk cannot %s; 'vblkctl info' shows what it can", info->name,
			op == VBLK_DISCARD ? "discard" : "write zeroes");
	return 0;
}

/* Do its requests fit? */
static int measure(struct run *run, const struct vblk_info *info, char *err, size_t err_bytes)
{
	const struct bench_job *job = run->job;
	uint64_t span = job->span == 0 ? info->bytes : job->span;

	if (job->bytes % info->block_bytes != 0)
		return fail(err, err_bytes, -EINVAL,
			"%s: requests of %llu bytes are no multiple of its blocks of %u",
			info->name, (unsigned long long)job->bytes, info->block_bytes);
	if (span > info->bytes)
		return fail(err, err_bytes, -EINVAL, "%s: has only %llu bytes", info->name,
			(unsigned long long)info->bytes);
	run->nr_places = span / job->bytes;
	if (run->nr_places < job->queues)
		return fail(err, err_bytes, -EINVAL, "%s: %llu bytes are too few for that",
			info->name, (unsigned long long)span);
	return 0;
}

int bench_run(struct vblk_disk *disk, const struct bench_job *job, struct bench_result *result,
	char *err, size_t err_bytes)
{
	struct run run = {.disk = disk, .job = job};
	int code;

	*result = (struct bench_result){.info.size = sizeof(result->info)};
	code = vblk_disk_info(disk, &result->info);
	if (code == 0)
		code = check_op(job, &result->info, err, err_bytes);
	if (code == 0)
		code = measure(&run, &result->info, err, err_bytes);
	if (code == 0)
		code = run_workers(&run, result, err, err_bytes);
	return code;
}
