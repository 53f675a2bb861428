/* recording.c - recordings in files, so that a racy workload can be looked at again (recording.h).
 *
 * Lines of text, then the events as they are in memory: a file is for the program that wrote it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "recording.h"

#define MAGIC "vblkfs crash recording 1"

static void save_event(FILE *f, const struct log_event *e)
{
	struct log_event plain = *e;

	plain.data = NULL; /* so that two files of the same events are the same */
	fwrite(&plain, sizeof(plain), 1, f);
	if (e->kind == LOG_WRITE)
		fwrite(e->data, 512, e->nr_sectors, f);
}

int recording_save(const struct recording *rec, const char *path)
{
	FILE *f = fopen(path, "w");
	char line[300];

	if (f == NULL)
		return -errno;
	fprintf(f, MAGIC "\n%s %" PRIu64 " %d %" PRIu32 " %" PRIu32 " %" PRIu32 " %zu\n",
		rec->w.name, rec->w.seed, rec->w.has_files, rec->w.explore_from, rec->nr_base,
		rec->nr_ops, rec->log.nr);
	for (uint32_t i = 0; i < rec->nr_base + rec->nr_ops; i++) {
		op_print(&rec->ops[i], line, sizeof(line));
		fprintf(f, "%s\n", line);
	}
	for (size_t i = 0; i < rec->log.nr; i++)
		save_event(f, &rec->log.v[i]);
	return fclose(f) == 0 ? 0 : -errno;
}

static bool load_event(FILE *f, struct recording *rec)
{
	struct log_event e, *to;

	if (fread(&e, sizeof(e), 1, f) != 1)
		return false;
	to = log_events_add(&rec->log, (enum log_kind)e.kind, e.value);
	to->submitted = e.submitted;
	to->nr_sectors = e.nr_sectors;
	if (e.kind != LOG_WRITE)
		return true;
	to->data = arena_get(&rec->log.data, (size_t)e.nr_sectors * 512);
	return fread(to->data, 512, e.nr_sectors, f) == e.nr_sectors;
}

static bool load(FILE *f, struct recording *rec)
{
	char line[300], magic[40];
	size_t nr_events;
	int has_files;

	if (fgets(magic, sizeof(magic), f) == NULL ||
		strncmp(magic, MAGIC "\n", sizeof(MAGIC)) != 0)
		return false;
	if (fgets(line, sizeof(line), f) == NULL ||
		sscanf(line, "%47s %" SCNu64 " %d %" SCNu32 " %" SCNu32 " %" SCNu32 " %zu",
			rec->w.name, &rec->w.seed, &has_files, &rec->w.explore_from, &rec->nr_base,
			&rec->nr_ops, &nr_events) != 7)
		return false;
	rec->w.has_files = has_files != 0;
	rec->max_ops = rec->nr_base + rec->nr_ops;
	if (rec->nr_ops > MODEL_OPS_MAX || rec->nr_base > MODEL_OPS_MAX)
		return false;
	rec->ops = calloc(rec->max_ops + 1, sizeof(*rec->ops));
	if (rec->ops == NULL)
		return false;
	for (uint32_t i = 0; i < rec->max_ops; i++)
		if (fgets(line, sizeof(line), f) == NULL || !op_parse(line, &rec->ops[i]))
			return false;
	for (size_t i = 0; i < nr_events; i++)
		if (!load_event(f, rec))
			return false;
	return true;
}

int recording_load(const char *path, struct recording *rec)
{
	FILE *f = fopen(path, "r");
	bool ok;

	if (f == NULL)
		return -errno;
	ok = load(f, rec);
	fclose(f);
	if (!ok)
		return -EINVAL;
	recording_replay(rec, &rec->model, rec->nr_ops);
	return 0;
}
