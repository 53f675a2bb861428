/* explorer.c - makes the disks that a power cut may leave, and has them checked (explorer.h).
 *
 * The image `durable` follows the log: what completed flushes cover is written to it. A state is
 * that image with some of the pending writes on top, so making one costs these alone. */
#include <stdlib.h>
#include <string.h>
#include "explorer.h"
#include "oracle.h"
#include "world.h"

#define CHOICE_NONE    0U
#define CHOICE_ALL     1U
#define CHOICES_MIN    4U
#define CHOICES_MAX    48U
#define EXHAUSTIVE_MAX 4U /* pending writes of which all subsets are tried */
#define NESTED_EVERY   12U
#define NESTED_CUTS    3U
#define THOROUGH_EVERY 8U  /* states: see oracle.h */
#define AHEAD_MAX      64U /* events that may be in flight */

struct pending {
	uint32_t *v; /* events */
	uint32_t nr, max;
};

struct explorer {
	struct seen *seen;
	struct counts *counts;
	struct cut *now;
	struct oracle *oracle;
	struct image durable;
	const struct image *base; /* of which it is a copy, but for what it has changed */
	struct blockdev *dev;
	const struct recording *rec;
	struct pending pending;  /* of the recording */
	struct pending pending2; /* of a mount's log */
	uint32_t flushed;        /* events before it are in `durable` */
	struct moment at;
	bool logging; /* what the mount that is checked writes */
	bool one;     /* a state is made again: nothing is left out */
	uint64_t seed;
};

/* --- which writes a cut leaves open --- */

static void pend(struct pending *p, uint32_t event)
{
	if (p->nr == p->max) {
		p->max = p->max == 0 ? 64 : p->max * 2;
		p->v = realloc(p->v, p->max * sizeof(*p->v));
		if (p->v == NULL)
			abort();
	}
	p->v[p->nr++] = event;
}

/* Events before the result are covered by a flush that was completed before event NR. */
static uint32_t flushed_at(const struct log_events *log, uint32_t nr, uint32_t from)
{
	uint32_t flushed = from;

	for (uint32_t i = from; i < nr; i++)
		if (log->v[i].kind == LOG_FLUSH && log->v[i].submitted > flushed)
			flushed = log->v[i].submitted;
	return flushed;
}

/* Writes that are done but not flushed, and those in flight. */
static void find_pending(
	const struct log_events *log, uint32_t flushed, uint32_t nr, struct pending *p)
{
	p->nr = 0;
	for (uint32_t i = flushed; i < log->nr && i < nr + AHEAD_MAX; i++)
		if (log->v[i].kind == LOG_WRITE && (log->v[i].submitted < nr || i < nr))
			pend(p, i);
}

/* --- choices --- */

static void put_sectors(
	struct blockdev *dev, const struct log_event *e, uint32_t from, uint32_t end)
{
	if (from < end)
		log_disk_put(dev, e->value + from, end - from, e->data + (size_t)from * 512);
}

/* Units of UNIT sectors are kept or lost. */
static void put_some(struct blockdev *dev, const struct log_event *e, uint32_t unit, uint64_t *rng)
{
	for (uint32_t s = 0; s < e->nr_sectors; s += unit)
		if (mix64(rng) & 1)
			put_sectors(dev, e, s, s + unit < e->nr_sectors ? s + unit : e->nr_sectors);
}

/* All but one unit; or (ONLY) that one alone. */
static void put_but_one(
	struct blockdev *dev, const struct log_event *e, uint32_t unit, bool only, uint64_t *rng)
{
	uint32_t nr = (e->nr_sectors + unit - 1) / unit;
	uint32_t from = (uint32_t)(mix64(rng) % nr) * unit;
	uint32_t end = from + unit < e->nr_sectors ? from + unit : e->nr_sectors;

	if (only) {
		put_sectors(dev, e, from, end);
	} else {
		put_sectors(dev, e, 0, from);
		put_sectors(dev, e, end, e->nr_sectors);
	}
}

static void put_torn(struct blockdev *dev, const struct log_event *e, uint64_t *rng)
{
	uint32_t at = (uint32_t)(mix64(rng) % (e->nr_sectors + 1));

	if (mix64(rng) & 1)
		put_sectors(dev, e, 0, at);
	else
		put_sectors(dev, e, at, e->nr_sectors);
}

/* The first block or the last is torn, the rest is whole: where a journal has its records. */
static void put_torn_end(struct blockdev *dev, const struct log_event *e, uint64_t *rng)
{
	uint32_t in = 1 + (uint32_t)(mix64(rng) % (IMAGE_SECTORS - 1));
	bool last = mix64(rng) & 1 && e->nr_sectors >= IMAGE_SECTORS;
	uint32_t from = (last ? e->nr_sectors - IMAGE_SECTORS : 0) + in;
	uint32_t end = last ? e->nr_sectors : IMAGE_SECTORS;

	put_sectors(dev, e, 0, from < e->nr_sectors ? from : e->nr_sectors);
	put_sectors(dev, e, end, e->nr_sectors);
}

/* Writes that were in flight together may have been done in another order. */
static void shuffle(const struct log_events *log, struct pending *p, uint64_t *rng)
{
	for (uint32_t i = 0; i + 1 < p->nr; i++)
		if (log->v[p->v[i + 1]].submitted <= p->v[i] && mix64(rng) & 1) {
			uint32_t event = p->v[i];

			p->v[i] = p->v[i + 1];
			p->v[i + 1] = event;
		}
}

static void put_by_chance(
	struct blockdev *dev, const struct log_events *log, struct pending *p, uint64_t *rng)
{
	uint64_t style = mix64(rng) % 12;
	uint32_t odd = (uint32_t)(mix64(rng) % p->nr); /* the one that is treated otherwise */

	if (style == 7)
		shuffle(log, p, rng);
	for (uint32_t i = 0; i < p->nr; i++) {
		const struct log_event *e = &log->v[p->v[i]];

		if (style <= 1)
			put_some(dev, e, style == 0 ? e->nr_sectors : 1, rng);
		else if (style == 2 || style == 7)
			put_some(dev, e, IMAGE_SECTORS, rng);
		else if (i != odd && style != 6)
			put_sectors(dev, e, 0, e->nr_sectors);
		else if (i != odd)
			put_some(dev, e, e->nr_sectors, rng);
		else if (style == 3 || style == 6)
			put_torn(dev, e, rng);
		else if (style >= 8)
			put_torn_end(dev, e, rng);
		else
			put_but_one(dev, e, mix64(rng) & 1 ? 1 : IMAGE_SECTORS, style == 5, rng);
	}
}

static void put_choice(struct blockdev *dev, const struct log_events *log, struct pending *p,
	uint32_t choice, uint64_t seed)
{
	uint64_t rng = seed ^ (uint64_t)choice << 32;
	bool by_mask = p->nr <= EXHAUSTIVE_MAX && choice <= 1U << p->nr;

	if (p->nr == 0 || choice == CHOICE_NONE)
		return;
	if (choice != CHOICE_ALL && !by_mask) {
		put_by_chance(dev, log, p, &rng);
		return;
	}
	for (uint32_t i = 0; i < p->nr; i++)
		if (choice == CHOICE_ALL || (choice - 1) >> i & 1)
			put_sectors(dev, &log->v[p->v[i]], 0, log->v[p->v[i]].nr_sectors);
}

/* --- following the log --- */

static void begin(struct explorer *x, const struct recording *rec)
{
	if (x->base != rec->base)
		image_copy(&x->durable, rec->base);
	else
		image_restore(&x->durable, rec->base);
	x->base = rec->base;
	x->rec = rec;
	x->flushed = 0;
	x->at = (struct moment){0, 0};
	x->seed = bytes_hash(rec->w.name, strlen(rec->w.name), rec->w.seed);
}

/* The cut comes after event NR - 1; before, it came one earlier. */
static void advance(struct explorer *x, uint32_t nr)
{
	const struct log_events *log = &x->rec->log;
	const struct log_event *e = &log->v[nr - 1];

	if (e->kind == LOG_BEGIN)
		x->at.begun = (uint32_t)e->value;
	else if (e->kind == LOG_DONE)
		x->at.done = (uint32_t)e->value;
	if (e->kind != LOG_FLUSH)
		return;
	for (; x->flushed < e->submitted; x->flushed++) {
		const struct log_event *w = &log->v[x->flushed];

		if (w->kind == LOG_WRITE)
			image_write(&x->durable, w->value, w->nr_sectors, w->data);
	}
}

/* Is there something new after event NR - 1? */
static bool is_interesting(const struct explorer *x, uint32_t nr)
{
	const struct log_event *e = &x->rec->log.v[nr - 1];

	if (x->at.begun < x->rec->w.explore_from)
		return false;
	if (e->kind == LOG_DONE)
		return x->rec->model.last_ack[e->value] == e->value;
	return e->kind == LOG_WRITE || e->kind == LOG_FLUSH;
}

/* --- states --- */

/* The same disk has to be looked at again when more was promised, or other things may be there. */
static bool is_new(struct explorer *x)
{
	const struct model *m = &x->rec->model;
	uint64_t context[3] = {
		log_disk_hash(x->dev), m->chain[x->at.begun], m->last_ack[x->at.done]};

	atomic_fetch_add(&x->counts->states, 1);
	if (!seen_add(x->seen, bytes_hash(context, sizeof(context), 4)))
		return false;
	atomic_fetch_add(&x->counts->distinct, 1);
	return true;
}

static void make_state(struct explorer *x, const struct cut *cut)
{
	log_disk_reset(x->dev, &x->durable);
	find_pending(&x->rec->log, x->flushed, cut->event, &x->pending);
	put_choice(x->dev, &x->rec->log, &x->pending, cut->choice, x->seed + cut->event);
}

static bool check(struct explorer *x, const struct cut *cut, void (*on_tree)(const char *line),
	struct failure *out)
{
	/* Not where the mount is cut, too: what comes then must have been promised before. */
	bool thorough = !x->logging &&
			(x->one || cut->choice % THOROUGH_EVERY == cut->event % THOROUGH_EVERY);

	*x->now = *cut;
	if (oracle_check(x->oracle, x->dev, &x->rec->model, x->at, thorough, on_tree, out->why,
		    sizeof(out->why)))
		return true;
	out->cut = *cut;
	atomic_fetch_add(&x->counts->failures, 1);
	return false;
}

/* On top of a state: what the mount LOG was of had written when the power failed again. */
static void make_nested(struct explorer *x, const struct cut *cut, const struct log_events *log)
{
	uint32_t flushed = flushed_at(log, cut->event2, 0);

	make_state(x, cut);
	for (uint32_t i = 0; i < flushed; i++)
		if (log->v[i].kind == LOG_WRITE)
			put_sectors(x->dev, &log->v[i], 0, log->v[i].nr_sectors);
	find_pending(log, flushed, cut->event2, &x->pending2);
	put_choice(x->dev, log, &x->pending2, cut->choice2, x->seed + cut->event2);
}

/* The state of CUT was checked, and its mount and unmount were logged. */
static bool check_nested(struct explorer *x, const struct cut *cut, struct failure *out)
{
	struct log_events log;
	bool ok = true;

	x->logging = false;
	log_disk_take(x->dev, &log);
	for (uint32_t i = 0; i < NESTED_CUTS && ok && log.nr > 0; i++) {
		uint64_t rng = x->seed + ((uint64_t)cut->event << 20) + cut->choice + i;
		struct cut at = *cut;

		at.nested = true;
		at.event2 = 1 + (uint32_t)(mix64(&rng) % log.nr);
		at.choice2 = (uint32_t)(mix64(&rng) % 24);
		make_nested(x, &at, &log);
		atomic_fetch_add(&x->counts->nested, 1);
		if (is_new(x))
			ok = check(x, &at, NULL, out);
	}
	log_events_free(&log);
	return ok;
}

static bool is_nested(const struct explorer *x, const struct cut *cut)
{
	uint64_t rng = x->seed + cut->event * 977 + cut->choice;

	return mix64(&rng) % NESTED_EVERY == 0;
}

static bool try_state(struct explorer *x, const struct cut *cut, struct failure *out)
{
	bool nested = is_nested(x, cut);

	make_state(x, cut);
	if (!is_new(x))
		return true;
	x->logging = nested;
	log_disk_record(x->dev, nested);
	if (!check(x, cut, NULL, out))
		return false;
	return !nested || check_nested(x, cut, out);
}

/* --- all of it --- */

/* A long write can be torn in more ways. */
static uint32_t weight(const struct log_event *e)
{
	uint32_t nr = 1;

	for (uint32_t s = IMAGE_SECTORS; s < e->nr_sectors; s *= 8)
		nr++;
	return nr;
}

static uint32_t choices_for(struct explorer *x, uint32_t max_states)
{
	const struct recording *rec = x->rec;
	uint32_t nr = 0, each;

	for (uint32_t i = 1; i <= rec->log.nr; i++) {
		const struct log_event *e = &rec->log.v[i - 1];

		if (e->kind == LOG_BEGIN)
			x->at.begun = (uint32_t)e->value;
		if (is_interesting(x, i))
			nr += weight(e);
	}
	x->at.begun = 0;
	each = max_states / (nr == 0 ? 1 : nr);
	return each < CHOICES_MIN ? CHOICES_MIN : each > CHOICES_MAX ? CHOICES_MAX : each;
}

bool explorer_run(
	struct explorer *x, const struct recording *rec, uint32_t max_states, struct failure *out)
{
	uint32_t choices;

	begin(x, rec);
	choices = choices_for(x, max_states);
	atomic_fetch_add(&x->counts->workloads, 1);
	for (uint32_t nr = 1; nr <= rec->log.nr; nr++) {
		struct cut cut = {.event = nr};

		advance(x, nr);
		if (!is_interesting(x, nr))
			continue;
		for (cut.choice = 0; cut.choice < choices * weight(&rec->log.v[nr - 1]);
			cut.choice++) {
			if (!try_state(x, &cut, out))
				return false;
			if (x->pending.nr == 0)
				break;
		}
	}
	return true;
}

bool explorer_one(struct explorer *x, const struct recording *rec, const struct cut *cut,
	void (*on_tree)(const char *line), struct failure *out)
{
	struct cut first = *cut;
	struct log_events log;
	bool ok;

	x->one = true;
	begin(x, rec);
	for (uint32_t nr = 1; nr <= cut->event && nr <= rec->log.nr; nr++)
		advance(x, nr);
	first.nested = false;
	make_state(x, &first);
	x->logging = cut->nested;
	log_disk_record(x->dev, cut->nested);
	ok = check(x, &first, cut->nested ? NULL : on_tree, out);
	if (!cut->nested)
		return ok;
	x->logging = false;
	log_disk_take(x->dev, &log);
	make_nested(x, cut, &log);
	ok = check(x, cut, on_tree, out);
	log_events_free(&log);
	return ok;
}

struct explorer *explorer_open(struct seen *seen, struct counts *counts, struct cut *now)
{
	struct explorer *x = calloc(1, sizeof(*x));

	if (x == NULL)
		abort();
	x->seen = seen;
	x->counts = counts;
	x->now = now;
	x->oracle = oracle_open();
	image_open(&x->durable, DISK_BLOCKS);
	if (log_disk_open(&x->durable, &x->dev) < 0)
		abort();
	return x;
}

void explorer_close(struct explorer *x)
{
	blk_close(x->dev);
	image_close(&x->durable);
	oracle_close(x->oracle);
	free(x->pending.v);
	free(x->pending2.v);
	free(x);
}
