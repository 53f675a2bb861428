/* vblkctl_dump_text.c - what is dumped, as lines for people.
 *
 * An object is a line for each value; a row is one line; a list with columns is a table, whose head
 * is printed before its first row. An empty list is not printed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "vblkctl_dump.h"

#define DEPTH_MAX   16
#define COLUMNS_MAX 16
#define HEXDUMP_ROW 16

struct level {
	enum dump_form form;
	const char *key;
	const struct dump_column *columns; /* of the list, or of the list that the row is in */
	bool begun;                        /* something of it was printed */
	char *cell[COLUMNS_MAX];           /* of a row in a table */
};

struct text_out {
	struct dump_out out; /* first */
	struct level level[DEPTH_MAX];
	unsigned depth;
};

static struct level *innermost(struct text_out *t)
{
	return t->depth == 0 ? NULL : &t->level[t->depth - 1];
}

static void indent(const struct text_out *t)
{
	for (unsigned i = 1; i < t->depth; i++)
		fputs("  ", stdout);
}

static void print_table_head(struct text_out *t)
{
	const struct dump_column *c = innermost(t)->columns;

	indent(t);
	for (; c->key != NULL; c++)
		printf("%*s%s", c->width, c->key, c[1].key == NULL ? "\n" : " ");
}

/* Something comes in the innermost list: its heading goes before the first of it. */
static void begin_list(struct text_out *t)
{
	struct level *l = innermost(t);

	if (l == NULL || l->form != DUMP_LIST || l->begun)
		return;
	l->begun = true;
	t->depth--;
	indent(t);
	printf("%s:\n", l->key);
	t->depth++;
	if (l->columns != NULL)
		print_table_head(t);
}

static void text_open(
	struct dump_out *o, const char *key, enum dump_form form, const struct dump_column *columns)
{
	struct text_out *t = (struct text_out *)o;
	struct level *around = innermost(t);
	struct level *l = &t->level[t->depth];

	if (t->depth == DEPTH_MAX)
		abort(); /* views are not so deep */
	begin_list(t);
	if (around != NULL && around->form == DUMP_ROW && around->begun)
		putchar('\n'); /* more than a line after all */
	if (around != NULL && around->form == DUMP_ROW)
		around->begun = false;
	*l = (struct level){.form = form, .key = key, .columns = columns};
	if (form != DUMP_LIST && around != NULL && around->form == DUMP_LIST)
		l->columns = around->columns;
	if (form == DUMP_OBJECT && key != NULL) {
		indent(t);
		printf("%s:\n", key);
	}
	t->depth++;
}

static void print_cells(struct text_out *t)
{
	struct level *l = innermost(t);
	const struct dump_column *c = l->columns;
	unsigned last = 0;

	for (unsigned i = 0; i < COLUMNS_MAX && c[i].key != NULL; i++)
		if (l->cell[i] != NULL && l->cell[i][0] != '\0')
			last = i;
	t->depth--; /* as its table */
	indent(t);
	t->depth++;
	for (unsigned i = 0; i < COLUMNS_MAX && c[i].key != NULL; i++) {
		if (i <= last)
			printf("%*s%s", i == last && c[i].width < 0 ? 0 : c[i].width,
				l->cell[i] == NULL ? "" : l->cell[i], i == last ? "\n" : " ");
		free(l->cell[i]);
	}
}

static void text_close(struct dump_out *o)
{
	struct text_out *t = (struct text_out *)o;
	struct level *l = innermost(t);

	if (l->form == DUMP_ROW && l->columns != NULL)
		print_cells(t);
	else if (l->form == DUMP_ROW && l->begun)
		putchar('\n');
	t->depth--;
}

static void hexdump(const uint8_t *p, size_t bytes)
{
	for (size_t at = 0; at < bytes; at += HEXDUMP_ROW) {
		if (at > 0 && at + HEXDUMP_ROW < bytes &&
			memcmp(p + at, p + at - HEXDUMP_ROW, HEXDUMP_ROW) == 0)
			continue; /* as the row before */
		printf("%04zx ", at);
		for (size_t i = at; i < at + HEXDUMP_ROW && i < bytes; i++)
			printf(" %02x", p[i]);
		fputs("  ", stdout);
		for (size_t i = at; i < at + HEXDUMP_ROW && i < bytes; i++)
			putchar(p[i] >= ' ' && p[i] < 0x7f ? p[i] : '.');
		putchar('\n');
	}
}

static void put_cell(struct level *row, const char *key, char *text)
{
	for (unsigned i = 0; i < COLUMNS_MAX && row->columns[i].key != NULL; i++) {
		if (strcmp(row->columns[i].key, key) != 0)
			continue;
		free(row->cell[i]);
		row->cell[i] = text;
		return;
	}
	free(text);
}

static void print_value(struct text_out *t, const struct dump_value *value, const char *text)
{
	struct level *l = innermost(t);

	if (l->form == DUMP_LIST) {
		indent(t);
		printf("%s\n", text);
	} else if (l->form == DUMP_ROW) {
		if (!l->begun) {
			t->depth--;
			indent(t);
			t->depth++;
			if (l->key != NULL)
				printf("%s: ", l->key);
		}
		printf("%s%s %s", l->begun ? ", " : "", value->key, text);
	} else if (value->kind == DUMP_MODE || value->kind == DUMP_TIME) {
		indent(t);
		printf(value->kind == DUMP_MODE ? "%-20s %#llo (%s)\n" : "%-20s %lld (%s)\n",
			value->key, (long long)value->number, text);
	} else {
		indent(t);
		printf("%-20s %s\n", value->key, text);
	}
	l->begun = true;
}

static void text_value(struct dump_out *o, const struct dump_value *value)
{
	struct text_out *t = (struct text_out *)o;
	struct level *l = innermost(t);
	char *text;

	begin_list(t);
	if (value->kind == DUMP_BYTES) {
		hexdump(value->bytes, value->nr_bytes);
		return;
	}
	text = dump_text(value);
	if (text == NULL)
		return;
	if (l->form == DUMP_ROW && l->columns != NULL) {
		put_cell(l, value->key, text);
		return;
	}
	print_value(t, value, text);
	free(text);
}

struct dump_out *dump_text_create(void)
{
	struct text_out *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	t->out = (struct dump_out){text_open, text_close, text_value};
	return &t->out;
}

void dump_text_destroy(struct dump_out *o)
{
	free(o);
}
