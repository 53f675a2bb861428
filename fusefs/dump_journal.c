/* dump_journal.c - the journal: its head, its transactions, and why their row ends.
 *
 * The walk is replay's (replay.c), step by step, but nothing is taken home, and what does not fit
 * is said instead of left out.
 *
 * Invariants
 *  1. A transaction is walked through at most as many blocks as the ring has; all of them together,
 *     too: then the ring is full, or the numbers lie. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "dump.h"
#include "journal.h"

struct record {
	uint64_t index;
	uint64_t home; /* of an image */
	uint32_t magic;
	uint32_t nr; /* images described, blocks revoked */
	bool is_image;
};

struct scan {
	struct dump *d;
	uint64_t ring;
	uint64_t at; /* index */
	uint64_t sequence;
	uint64_t nr_seen; /* blocks of the ring, in all */
	uint32_t crc;
	uint64_t start; /* of this transaction */
	uint64_t time_s;
	struct record *record; /* of this transaction */
	size_t nr_records, max_records;
	bool whole;
	char why[160]; /* it is not */
	uint8_t block[BLOCK_BYTES] __attribute__((aligned(8)));
};

static int stop(struct scan *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* 0: this transaction is not whole. */
static int stop(struct scan *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(s->why, sizeof(s->why), fmt, ap);
	va_end(ap);
	return 0;
}

/* The next block of the ring into s->block: 1, 0: no more, or an error. */
static int advance(struct scan *s)
{
	int err;

	if (s->nr_seen == s->ring)
		return stop(s, "the whole ring has been seen");
	err = dump_read(s->d, s->d->geo.journal_start + s->at, s->block);
	if (err < 0)
		return err;
	s->at = s->at % s->ring + 1;
	s->nr_seen++;
	return 1;
}

static int add_record(struct scan *s, const struct record *r)
{
	if (s->nr_records == s->max_records) {
		size_t max = s->max_records == 0 ? 64 : s->max_records * 2;
		struct record *v = realloc(s->record, max * sizeof(*v));

		if (v == NULL)
			return -ENOMEM;
		s->record = v;
		s->max_records = max;
	}
	s->record[s->nr_records++] = *r;
	return 1;
}

static int take_image(struct scan *s, const struct journal_tag *tag)
{
	uint64_t home = le64_get(tag->block);
	struct dump_faults f = {.block = home, .owner = DUMP_ANY};
	const struct block_head *head = (const struct block_head *)s->block;
	struct record r = {.index = s->at, .home = home, .is_image = true};
	const char *fault;
	int ret = advance(s);

	if (ret <= 0)
		return ret;
	r.magic = le32_get(head->magic);
	ret = add_record(s, &r);
	fault = dump_next_fault(s->d, s->block, &f);
	if (ret > 0 && fault != NULL)
		return stop(s, "index %" PRIu64 ": image of block %" PRIu64 ": %s", r.index, home,
			fault);
	if (ret > 0 && le32_get(head->crc) != le32_get(tag->crc))
		return stop(s,
			"index %" PRIu64 ": image of block %" PRIu64 ": crc is not the tag's",
			r.index, home);
	return ret;
}

static bool is_home(const struct dump_geometry *g, uint64_t block)
{
	return block != 0 && block < g->nr_blocks &&
	       (block < g->journal_start || block >= g->journal_start + g->journal_blocks);
}

static int take_desc(struct scan *s, uint64_t index)
{
	struct journal_desc_disk desc;
	uint32_t nr;
	int ret = 1;

	memcpy(&desc, s->block, sizeof(desc)); /* s->block moves on */
	nr = le32_get(desc.nr);
	if (nr > JOURNAL_TAGS)
		return stop(s, "index %" PRIu64 ": describes %u images", index, nr);
	for (uint32_t i = 0; i < nr && ret > 0; i++) {
		if (!is_home(&s->d->geo, le64_get(desc.tag[i].block)))
			return stop(s, "index %" PRIu64 ": has an image of block %" PRIu64, index,
				le64_get(desc.tag[i].block));
		ret = take_image(s, &desc.tag[i]);
	}
	return ret;
}

static int take_commit(struct scan *s, uint64_t index)
{
	const struct journal_commit_disk *c = (const struct journal_commit_disk *)s->block;
	uint64_t nr = (index + s->ring - s->start) % s->ring + 1;

	s->time_s = le64_get(c->time_s);
	if (le32_get(c->nr_blocks) != nr)
		return stop(s, "index %" PRIu64 ": the commit counts %u blocks, not %" PRIu64,
			index, le32_get(c->nr_blocks), nr);
	if (le32_get(c->crc) != s->crc)
		return stop(s, "index %" PRIu64 ": the commit's checksum of the records is wrong",
			index);
	s->whole = true;
	return 0;
}

/* A record must have been written for this place and this transaction. */
static int check_record(struct scan *s, uint64_t index)
{
	const struct block_head *head = (const struct block_head *)s->block;
	struct dump_faults f = {.block = s->d->geo.journal_start + index, .owner = DUMP_ANY};
	uint32_t magic = le32_get(head->magic);
	const char *fault;

	if (magic != BT_JOURNAL_DESC && magic != BT_JOURNAL_REVOKE && magic != BT_JOURNAL_COMMIT)
		return stop(s, "index %" PRIu64 ": no record", index);
	if (le64_get(head->sequence) != s->sequence)
		return stop(s,
			"index %" PRIu64 ": a record of transaction %" PRIu64 ", not %" PRIu64,
			index, le64_get(head->sequence), s->sequence);
	fault = dump_next_fault(s->d, s->block, &f);
	return fault == NULL ? 1 : stop(s, "index %" PRIu64 ": %s", index, fault);
}

/* 1: there is more of the transaction, 0: no more, or an error. */
static int take_record(struct scan *s)
{
	struct record r = {.index = s->at};
	int ret = advance(s);

	if (ret > 0)
		ret = check_record(s, r.index);
	if (ret <= 0)
		return ret;
	r.magic = le32_get(((struct block_head *)s->block)->magic);
	/* the number of images or revokes is in the same place */
	r.nr = r.magic == BT_JOURNAL_COMMIT ? 0
					    : le32_get(((struct journal_desc_disk *)s->block)->nr);
	ret = add_record(s, &r);
	if (ret < 0 || r.magic == BT_JOURNAL_COMMIT)
		return ret < 0 ? ret : take_commit(s, r.index);
	s->crc = journal_crc_add(s->crc, s->block);
	if (r.magic == BT_JOURNAL_DESC)
		return take_desc(s, r.index);
	return r.nr <= JOURNAL_REVOKES
		       ? 1
		       : stop(s, "index %" PRIu64 ": revokes %u blocks", r.index, r.nr);
}

/* --- showing --- */

static void show_revoked(struct scan *s, struct dump_out *o, const struct record *r)
{
	struct journal_revoke_disk revoke;

	if (dump_read(s->d, s->d->geo.journal_start + r->index, &revoke) < 0)
		return;
	for (uint32_t i = 0; i < r->nr && i < JOURNAL_REVOKES; i++) {
		o->open(o, NULL, DUMP_ROW, NULL);
		dump_show_string(o, "record", "revoked");
		dump_show(o, "home", le64_get(revoke.block[i]));
		o->close(o);
	}
}

static void show_record(struct scan *s, struct dump_out *o, const struct record *r)
{
	const struct dump_layout *layout = dump_layout_of(r->magic);

	o->open(o, NULL, DUMP_ROW, NULL);
	dump_show(o, "index", r->index);
	dump_show_string(o, "record",
		r->is_image                     ? "image"
		: r->magic == BT_JOURNAL_DESC   ? "description"
		: r->magic == BT_JOURNAL_REVOKE ? "revokes"
						: "commit");
	if (r->is_image) {
		dump_show(o, "home", r->home);
		dump_show_string(o, "type", layout == NULL ? "unknown" : layout->name);
	} else if (r->magic != BT_JOURNAL_COMMIT) {
		dump_show(o, "nr", r->nr);
	}
	o->close(o);
	if (!r->is_image && r->magic == BT_JOURNAL_REVOKE)
		show_revoked(s, o, r);
}

static void show_transaction(struct scan *s, struct dump_out *o)
{
	static const struct dump_column columns[] = {
		{"index", 8}, {"record", -12}, {"nr", 5}, {"home", 12}, {"type", -1}, {NULL, 0}};
	static const struct dump_field time = {"time_s", 0, 8, DUMP_TIME, NULL};
	le64 when = le64_of(s->time_s);

	o->open(o, NULL, DUMP_ROW, NULL);
	dump_show(o, "sequence", s->sequence);
	dump_show(o, "index", s->start);
	dump_show(o, "nr_records", s->nr_records);
	dump_show_bool(o, "whole", s->whole);
	if (s->whole)
		dump_show_field(o, &time, &when);
	o->open(o, "records", DUMP_LIST, columns);
	for (size_t i = 0; i < s->nr_records; i++)
		show_record(s, o, &s->record[i]);
	o->close(o);
	o->close(o);
}

static int show_transactions(struct scan *s, struct dump_out *o)
{
	int ret;

	do {
		s->start = s->at;
		s->nr_records = 0;
		s->crc = 0;
		s->whole = false;
		do
			ret = take_record(s);
		while (ret > 0);
		if (s->nr_records > 0)
			show_transaction(s, o);
		s->sequence += s->whole;
	} while (s->whole);
	return ret;
}

static bool head_is_usable(struct scan *s, const struct journal_head_disk *head)
{
	s->at = le64_get(head->tail);
	s->sequence = le64_get(head->tail_sequence);
	return dump_is_type(head, BT_JOURNAL_HEAD) && s->at != 0 && s->at <= s->ring;
}

int dump_journal(struct dump *d, struct dump_out *o)
{
	struct scan *s = calloc(1, sizeof(*s));
	int err = s == NULL ? -ENOMEM : dump_need_geometry(d);

	if (err < 0)
		goto free_scan;
	s->d = d;
	s->ring = d->geo.journal_blocks - 1;
	err = dump_read(d, d->geo.journal_start, s->block);
	if (err < 0)
		goto free_scan;
	o->open(o, NULL, DUMP_OBJECT, NULL);
	dump_show(o, "block", d->geo.journal_start);
	dump_show(o, "ring_blocks", s->ring);
	dump_show_head(d, o, d->geo.journal_start, s->block, BT_JOURNAL_HEAD, 0);
	dump_show_fields(o, dump_layout_of(BT_JOURNAL_HEAD), s->block);
	o->open(o, "transactions", DUMP_LIST, NULL);
	if (head_is_usable(s, (struct journal_head_disk *)s->block))
		err = show_transactions(s, o);
	else
		(void)stop(s, "the head leads nowhere");
	o->close(o);
	dump_show_string(o, "end", err < 0 ? dump_error(d) : s->why);
	o->close(o);
free_scan:
	if (s != NULL)
		free(s->record);
	free(s);
	return err;
}
