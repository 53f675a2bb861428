/* vblkctl_dump_json.c - what is dumped, as JSON.
 *
 * Numbers are numbers, as they stand on the disk; what one means is beside it, under its key with
 * _name or _names. Names of files and other bytes are text with \ooo for what is no printable
 * UTF-8. */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include "vblkctl_dump.h"

#define DEPTH_MAX 16

struct json_out {
	struct dump_out out; /* first */
	struct json_object *root;
	struct json_object *in[DEPTH_MAX]; /* those that are open; the innermost is in[depth - 1] */
	unsigned depth;
};

static void add(struct json_out *j, const char *key, const char *suffix, struct json_object *value)
{
	struct json_object *in = j->depth == 0 ? NULL : j->in[j->depth - 1];
	char name[64];

	if (in == NULL) {
		j->root = value;
	} else if (json_object_is_type(in, json_type_array)) {
		json_object_array_add(in, value);
	} else {
		snprintf(name, sizeof(name), "%s%s", key, suffix);
		json_object_object_add(in, name, value);
	}
}

static void json_open(
	struct dump_out *o, const char *key, enum dump_form form, const struct dump_column *columns)
{
	struct json_out *j = (struct json_out *)o;
	struct json_object *v =
		form == DUMP_LIST ? json_object_new_array() : json_object_new_object();

	(void)columns;
	if (j->depth == DEPTH_MAX)
		abort(); /* views are not so deep */
	add(j, key, "", v);
	j->in[j->depth++] = v;
}

static void json_close(struct dump_out *o)
{
	((struct json_out *)o)->depth--;
}

static struct json_object *string_of(const struct dump_value *value)
{
	char *text = dump_text(value);
	struct json_object *s = text == NULL ? NULL : json_object_new_string(text);

	free(text);
	return s;
}

static void add_flag_names(struct json_out *j, const struct dump_value *value)
{
	struct json_object *names = json_object_new_array();
	uint64_t rest = value->number;
	const char *name;

	while ((name = dump_next_flag(value->names, &rest)) != NULL)
		json_object_array_add(names, json_object_new_string(name));
	add(j, value->key, "_names", names);
}

static void json_value(struct dump_out *o, const struct dump_value *value)
{
	struct json_out *j = (struct json_out *)o;

	switch (value->kind) {
	case DUMP_UUID:
	case DUMP_TEXT:
	case DUMP_BYTES:
		add(j, value->key, "", string_of(value));
		return;
	case DUMP_BOOL:
		add(j, value->key, "", json_object_new_boolean(value->number != 0));
		return;
	case DUMP_INT:
	case DUMP_TIME:
		add(j, value->key, "", json_object_new_int64((int64_t)value->number));
		return;
	default:
		add(j, value->key, "", json_object_new_uint64(value->number));
	}
	if (value->kind == DUMP_FLAGS)
		add_flag_names(j, value);
	else if (value->kind != DUMP_UINT && value->kind != DUMP_HEX)
		add(j, value->key, "_name", string_of(value));
}

struct dump_out *dump_json_create(void)
{
	struct json_out *j = calloc(1, sizeof(*j));

	if (j == NULL)
		return NULL;
	j->out = (struct dump_out){json_open, json_close, json_value};
	return &j->out;
}

struct json_object *dump_json_destroy(struct dump_out *o)
{
	struct json_object *root = ((struct json_out *)o)->root;

	free(o);
	return root;
}
