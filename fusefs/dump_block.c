/* dump_block.c - one block, by what its magic says it is.
 *
 * A block without a known magic is data, and shown as bytes. */
#include <stdlib.h>
#include <string.h>
#include "bitmap.h"
#include "dump.h"

#define COLUMNS_MAX 12

/* Width of a column for a field: as printf's. */
static int width_of(const struct dump_field *f)
{
	if (f->kind == DUMP_FLAGS || f->kind == DUMP_ENUM || f->kind == DUMP_MODE)
		return -12;
	return f->kind == DUMP_HEX || f->bytes > 4 ? 18 : 10;
}

static void columns_of(const struct dump_records *r, struct dump_column *out)
{
	unsigned n = 0;

	out[n++] = (struct dump_column){"index", 5};
	for (; r->column != NULL && r->column[n - 1] != NULL && n + 1 < COLUMNS_MAX; n++) {
		const struct dump_field *f = dump_find_field(r->of, r->column[n - 1]);

		out[n] = (struct dump_column){f->name, width_of(f)};
	}
	if (r->column == NULL)
		out[n++] = (struct dump_column){"value", 18};
	out[n].key = NULL;
}

static unsigned nr_records(const struct dump_layout *layout, const void *data)
{
	const struct dump_records *r = layout->records;
	uint64_t nr = r->max;

	if (r->count != NULL)
		nr = dump_number(dump_find_field(layout, r->count), data);
	return nr < r->max ? (unsigned)nr : r->max;
}

static void show_records(struct dump_out *o, const struct dump_layout *layout, const uint8_t *data)
{
	const struct dump_records *r = layout->records;
	struct dump_column columns[COLUMNS_MAX + 1];
	unsigned nr = nr_records(layout, data);

	columns_of(r, columns);
	o->open(o, r->name, DUMP_LIST, columns);
	for (unsigned k = 0; k < nr; k++) {
		const uint8_t *at = data + r->offset + (size_t)k * r->bytes;

		o->open(o, NULL, DUMP_ROW, NULL);
		dump_show(o, "index", k);
		if (r->column == NULL)
			dump_show(o, "value", dump_number(&r->of->field[0], at));
		else
			dump_show_fields(o, r->of, at);
		o->close(o);
	}
	o->close(o);
}

static void show_bits(struct dump_out *o, const struct bitmap_disk *b)
{
	static const struct dump_column columns[] = {
		{"first", 12}, {"last", 12}, {"count", 12}, {NULL, 0}};
	uint32_t from = 0;

	dump_show(o, "clear_bits", bits_count_clear(b->bits, 0, BITMAP_BITS));
	o->open(o, "clear_runs", DUMP_LIST, columns);
	while ((from = bits_next_clear(b->bits, from, BITMAP_BITS)) < BITMAP_BITS) {
		uint32_t to = bits_next_set(b->bits, from, BITMAP_BITS);

		o->open(o, NULL, DUMP_ROW, NULL);
		dump_show(o, "first", from);
		dump_show(o, "last", to - 1);
		dump_show(o, "count", to - from);
		o->close(o);
		from = to;
	}
	o->close(o);
}

/* --- directory leaves --- */

unsigned dump_leaf_slots(const void *leaf)
{
	const struct dir_leaf_disk *d = leaf;
	unsigned nr = le16_get(d->nr), max = sizeof(d->slot) / sizeof(d->slot[0]);

	return nr < max ? nr : max;
}

const struct dirent_disk *dump_leaf_entry(const void *leaf, unsigned k)
{
	const struct dir_leaf_disk *d = leaf;
	unsigned at = le16_get(d->slot[k]);
	unsigned head = offsetof(struct dirent_disk, name);
	const struct dirent_disk *e = (const struct dirent_disk *)((const uint8_t *)leaf + at);

	if (at % 8 != 0 || at < offsetof(struct dir_leaf_disk, slot) || at + head > BLOCK_BYTES ||
		at + head + e->name_bytes > BLOCK_BYTES)
		return NULL;
	return e;
}

static void show_entries(struct dump_out *o, const struct dir_leaf_disk *leaf)
{
	static const struct dump_column columns[] = {{"index", 5}, {"offset", 6}, {"key", 18},
		{"ino", 12}, {"type", -12}, {"name", -1}, {NULL, 0}};
	unsigned nr = dump_leaf_slots(leaf);

	o->open(o, "entries", DUMP_LIST, columns);
	for (unsigned k = 0; k < nr; k++) {
		const struct dirent_disk *e = dump_leaf_entry(leaf, k);

		o->open(o, NULL, DUMP_ROW, NULL);
		dump_show(o, "index", k);
		dump_show(o, "offset", le16_get(leaf->slot[k]));
		if (e != NULL) {
			dump_show_fields(o, &dump_dirent_layout, e);
			dump_show_bytes(o, "name", e->name, e->name_bytes);
		} else {
			dump_show_string(o, "fault", "leads outside of the heap");
		}
		o->close(o);
	}
	o->close(o);
}

static void show_target(struct dump_out *o, const struct symlink_disk *s)
{
	uint32_t n = le32_get(s->bytes);

	dump_show_bytes(o, "target", s->target, n < sizeof(s->target) ? n : sizeof(s->target));
}

void dump_show_payload(struct dump_out *o, const struct dump_layout *layout, const void *data)
{
	dump_show_fields(o, layout, data);
	switch (layout->type) {
	case BT_BLOCK_BITMAP:
	case BT_INODE_BITMAP:
		show_bits(o, data);
		break;
	case BT_DIR_LEAF:
		show_entries(o, data);
		break;
	case BT_SYMLINK:
		show_target(o, data);
		break;
	case BT_XATTR: {
		const struct xattr_block_disk *x = data;
		uint32_t n = le32_get(x->bytes);

		dump_show_xattrs(o, le64_get(x->head.block), x->data,
			n < sizeof(x->data) ? n : sizeof(x->data));
		break;
	}
	default:
		if (layout->records != NULL)
			show_records(o, layout, data);
	}
}

/* Images in the journal carry the number of their home. */
static uint64_t block_wanted(const struct dump *d, uint64_t block, uint32_t magic)
{
	bool in_ring = d->have_geo && block > d->geo.journal_start &&
		       block < d->geo.journal_start + d->geo.journal_blocks;
	bool is_record = magic == BT_JOURNAL_DESC || magic == BT_JOURNAL_REVOKE ||
			 magic == BT_JOURNAL_COMMIT;

	return in_ring && !is_record ? DUMP_ANY : block;
}

int dump_block(struct dump *d, struct dump_out *o, uint64_t block)
{
	union {
		struct block_head head;
		struct bitmap_disk bitmap; /* bits are looked at in words */
		uint8_t bytes[BLOCK_BYTES];
		uint64_t align;
	} b;
	const struct dump_layout *layout;
	char role[80];
	int err = dump_read(d, block, &b);

	if (err < 0)
		return err;
	layout = dump_layout_of(le32_get(b.head.magic));
	dump_block_role(d, block, role, sizeof(role));
	o->open(o, NULL, DUMP_OBJECT, NULL);
	dump_show(o, "block", block);
	dump_show_string(o, "role", role);
	dump_show_string(o, "type", layout == NULL ? "data" : layout->name);
	if (layout != NULL) {
		dump_show_head(
			d, o, block_wanted(d, block, le32_get(b.head.magic)), &b, 0, DUMP_ANY);
		dump_show_payload(o, layout, &b);
	} else {
		o->value(o, &(struct dump_value){.key = "data",
				    .kind = DUMP_BYTES,
				    .bytes = b.bytes,
				    .nr_bytes = BLOCK_BYTES});
	}
	o->close(o);
	return 0;
}
