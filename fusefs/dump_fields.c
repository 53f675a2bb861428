/* dump_fields.c - which fields the structures of format.h have, and what their values mean.
 *
 * Invariants
 *  1. Offset and size of a field come from format.h's structure, never from a number here.
 *  2. Names are those of vblkfs(5). They are keys of the JSON that vblkctl(8) prints: stable. */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <uuid/uuid.h>
#include "dump.h"

#define ARRAY_LEN(a)  (sizeof(a) / sizeof((a)[0]))
#define SIZE_OF(s, m) sizeof(((struct s *)0)->m)
#define FIELD(s, m, k)                                                   \
	{                                                                \
#m, offsetof(struct s, m), SIZE_OF(s, m), DUMP_##k, NULL \
	}
#define NAMED(s, m, k, n)                                             \
	{                                                             \
#m, offsetof(struct s, m), SIZE_OF(s, m), DUMP_##k, n \
	}
#define LAYOUT(name, type, structure, fields, records)                    \
	{                                                                 \
		name, type, structure, fields, ARRAY_LEN(fields), records \
	}
#define NO_FIELDS(name, type, structure, records)       \
	{                                               \
		name, type, structure, NULL, 0, records \
	}

/* --- names of values --- */

static const struct dump_name state_names[] = {
	{STATE_CLEAN, "clean"}, {STATE_ERRORS, "errors"}, {0, NULL}};
static const struct dump_name group_flags[] = {{GROUP_F_BITMAP_READY, "bitmap_ready"}, {0, NULL}};
static const struct dump_name inode_flags[] = {
	{INODE_F_ORPHAN, "orphan"}, {INODE_F_TRUNCATING, "truncating"}, {0, NULL}};
static const struct dump_name extent_flags[] = {{EXTENT_F_UNWRITTEN, "unwritten"}, {0, NULL}};
static const struct dump_name fork_formats[] = {{FORK_NONE, "none"}, {FORK_EXTENTS, "extents"},
	{FORK_BTREE, "btree"}, {FORK_SYMLINK, "symlink"}, {FORK_SYMLINK_BLOCK, "symlink_block"},
	{0, NULL}};
const struct dump_name dump_xattr_spaces[] = {{XATTR_USER, "user."}, {XATTR_TRUSTED, "trusted."},
	{XATTR_SECURITY, "security."}, {XATTR_ACL_ACCESS, "system.posix_acl_access"},
	{XATTR_ACL_DEFAULT, "system.posix_acl_default"}, {0, NULL}};
static const struct dump_name dirent_types[] = {{DT_UNKNOWN, "unknown"}, {DT_FIFO, "fifo"},
	{DT_CHR, "char_device"}, {DT_DIR, "directory"}, {DT_BLK, "block_device"}, {DT_REG, "file"},
	{DT_LNK, "symlink"}, {DT_SOCK, "socket"}, {0, NULL}};

/* --- structures that are parts of blocks --- */

static const struct dump_field head_fields[] = {
	FIELD(block_head, magic, MAGIC),
	FIELD(block_head, crc, HEX),
	FIELD(block_head, block, UINT),
	FIELD(block_head, owner, UINT),
	FIELD(block_head, fs_uuid, UUID),
	FIELD(block_head, sequence, UINT),
};
const struct dump_layout dump_head = LAYOUT("head", 0, "block_head", head_fields, NULL);

static const struct dump_field inode_fields[] = {
	FIELD(inode_disk, ino, UINT),
	FIELD(inode_disk, mode, MODE),
	FIELD(inode_disk, nlink, UINT),
	FIELD(inode_disk, uid, UINT),
	FIELD(inode_disk, gid, UINT),
	FIELD(inode_disk, size, UINT),
	FIELD(inode_disk, nr_blocks, UINT),
	FIELD(inode_disk, generation, UINT),
	NAMED(inode_disk, flags, FLAGS, inode_flags),
	FIELD(inode_disk, atime_s, TIME),
	FIELD(inode_disk, mtime_s, TIME),
	FIELD(inode_disk, ctime_s, TIME),
	FIELD(inode_disk, btime_s, TIME),
	FIELD(inode_disk, atime_ns, UINT),
	FIELD(inode_disk, mtime_ns, UINT),
	FIELD(inode_disk, ctime_ns, UINT),
	FIELD(inode_disk, btime_ns, UINT),
	FIELD(inode_disk, parent_rdev, UINT),
	FIELD(inode_disk, orphan_next, UINT),
	FIELD(inode_disk, xattr_block, UINT),
	NAMED(inode_disk, fork_format, ENUM, fork_formats),
	FIELD(inode_disk, fork_count, UINT),
	FIELD(inode_disk, xattr_bytes, UINT),
};
const struct dump_layout dump_inode_layout = LAYOUT("inode", 0, "inode_disk", inode_fields, NULL);

#define IN_FORK(m, name)                                                                  \
	{                                                                                 \
		name, offsetof(struct inode_disk, fork) + offsetof(struct fork_btree, m), \
			SIZE_OF(fork_btree, m), DUMP_UINT, NULL                           \
	}
static const struct dump_field fork_fields[] = {IN_FORK(root, "root"), IN_FORK(height, "height")};
const struct dump_layout dump_fork_layout = LAYOUT("fork", 0, "fork_btree", fork_fields, NULL);

static const struct dump_field extent_fields[] = {
	FIELD(extent_disk, lblk, UINT),
	FIELD(extent_disk, pblk, UINT),
	FIELD(extent_disk, nr_blocks, UINT),
	NAMED(extent_disk, flags, FLAGS, extent_flags),
};
const struct dump_layout dump_extent_layout =
	LAYOUT("extent", 0, "extent_disk", extent_fields, NULL);

static const struct dump_field record_fields[] = {
	FIELD(node_record, key, UINT),
	FIELD(node_record, child, UINT),
};
static const struct dump_layout record_layout =
	LAYOUT("record", 0, "node_record", record_fields, NULL);

static const struct dump_field dirent_fields[] = {
	FIELD(dirent_disk, key, HEX),
	FIELD(dirent_disk, ino, UINT),
	NAMED(dirent_disk, type, ENUM, dirent_types),
	FIELD(dirent_disk, name_bytes, UINT),
};
const struct dump_layout dump_dirent_layout =
	LAYOUT("entry", 0, "dirent_disk", dirent_fields, NULL);

static const struct dump_field xattr_fields[] = {
	NAMED(xattr_disk, space, ENUM, dump_xattr_spaces),
	FIELD(xattr_disk, name_bytes, UINT),
	FIELD(xattr_disk, value_bytes, UINT),
};
const struct dump_layout dump_xattr_layout =
	LAYOUT("attribute", 0, "xattr_disk", xattr_fields, NULL);

static const struct dump_field tag_fields[] = {
	FIELD(journal_tag, block, UINT),
	FIELD(journal_tag, crc, HEX),
};
static const struct dump_layout tag_layout = LAYOUT("tag", 0, "journal_tag", tag_fields, NULL);

static const struct dump_field number64_fields[] = {{"", 0, 8, DUMP_UINT, NULL}};
static const struct dump_layout number64 = LAYOUT("number", 0, "le64", number64_fields, NULL);
static const struct dump_field number16_fields[] = {{"", 0, 2, DUMP_UINT, NULL}};
static const struct dump_layout number16 = LAYOUT("number", 0, "le16", number16_fields, NULL);

/* --- arrays in blocks --- */

static const char *const inode_columns[] = {
	"ino", "mode", "nlink", "uid", "gid", "size", "nr_blocks", "flags", "fork_format", NULL};
static const char *const extent_columns[] = {"lblk", "pblk", "nr_blocks", "flags", NULL};
static const char *const record_columns[] = {"key", "child", NULL};
static const char *const tag_columns[] = {"block", "crc", NULL};

#define RECORDS(s, m, of, nr, count, columns)                                                    \
	{                                                                                        \
#m, of, offsetof(struct s, m), sizeof(((struct s *)0)->m[0]), nr, count, columns \
	}
static const struct dump_records inode_records =
	RECORDS(inodes_disk, inode, &dump_inode_layout, INODES_PER_BLOCK, NULL, inode_columns);
static const struct dump_records extent_records = RECORDS(
	extent_leaf_disk, rec, &dump_extent_layout, EXTENT_LEAF_RECORDS, "nr", extent_columns);
static const struct dump_records node_records =
	RECORDS(node_disk, rec, &record_layout, NODE_RECORDS, "nr", record_columns);
static const struct dump_records slots =
	RECORDS(dir_leaf_disk, slot, &number16, (BLOCK_PAYLOAD - 8U) / 2U, "nr", NULL);
static const struct dump_records tags =
	RECORDS(journal_desc_disk, tag, &tag_layout, JOURNAL_TAGS, "nr", tag_columns);
static const struct dump_records revokes =
	RECORDS(journal_revoke_disk, block, &number64, JOURNAL_REVOKES, "nr", NULL);

/* --- blocks --- */

static const struct dump_field super_fields[] = {
	FIELD(super_disk, signature, TEXT),
	FIELD(super_disk, version, UINT),
	FIELD(super_disk, block_bytes, UINT),
	FIELD(super_disk, compat, HEX),
	FIELD(super_disk, ro_compat, HEX),
	FIELD(super_disk, incompat, HEX),
	NAMED(super_disk, state, FLAGS, state_names),
	FIELD(super_disk, nr_blocks, UINT),
	FIELD(super_disk, group_blocks, UINT),
	FIELD(super_disk, nr_groups, UINT),
	FIELD(super_disk, inodes_per_group, UINT),
	FIELD(super_disk, bitmap_blocks, UINT),
	FIELD(super_disk, ibitmap_blocks, UINT),
	FIELD(super_disk, itable_blocks, UINT),
	FIELD(super_disk, journal_start, UINT),
	FIELD(super_disk, journal_blocks, UINT),
	FIELD(super_disk, free_blocks, UINT),
	FIELD(super_disk, free_inodes, UINT),
	FIELD(super_disk, reserved_blocks, UINT),
	FIELD(super_disk, orphan_head, UINT),
	FIELD(super_disk, hash_seed, HEX),
	FIELD(super_disk, mkfs_time, TIME),
	FIELD(super_disk, mount_time, TIME),
	FIELD(super_disk, write_time, TIME),
	FIELD(super_disk, mount_count, UINT),
	FIELD(super_disk, generation_seed, UINT),
	FIELD(super_disk, label, TEXT),
};

static const struct dump_field group_fields[] = {
	FIELD(group_disk, group, UINT),
	NAMED(group_disk, flags, FLAGS, group_flags),
	FIELD(group_disk, nr_blocks, UINT),
	FIELD(group_disk, free_blocks, UINT),
	FIELD(group_disk, free_inodes, UINT),
	FIELD(group_disk, inodes_ready, UINT),
	FIELD(group_disk, nr_dirs, UINT),
};

static const struct dump_field extent_leaf_fields[] = {FIELD(extent_leaf_disk, nr, UINT)};
static const struct dump_field node_fields[] = {
	FIELD(node_disk, nr, UINT), FIELD(node_disk, level, UINT)};
static const struct dump_field dir_leaf_fields[] = {
	FIELD(dir_leaf_disk, nr, UINT),
	FIELD(dir_leaf_disk, heap_start, UINT),
	FIELD(dir_leaf_disk, heap_dead, UINT),
};
static const struct dump_field xattr_block_fields[] = {
	FIELD(xattr_block_disk, next, UINT), FIELD(xattr_block_disk, bytes, UINT)};
static const struct dump_field symlink_fields[] = {FIELD(symlink_disk, bytes, UINT)};

static const struct dump_field journal_head_fields[] = {
	FIELD(journal_head_disk, tail_sequence, UINT), FIELD(journal_head_disk, tail, UINT)};
static const struct dump_field desc_fields[] = {FIELD(journal_desc_disk, nr, UINT)};
static const struct dump_field revoke_fields[] = {FIELD(journal_revoke_disk, nr, UINT)};
static const struct dump_field commit_fields[] = {
	FIELD(journal_commit_disk, nr_blocks, UINT),
	FIELD(journal_commit_disk, crc, HEX),
	FIELD(journal_commit_disk, time_s, TIME),
};

static const struct dump_layout layouts[] = {
	LAYOUT("superblock", BT_SUPER, "super_disk", super_fields, NULL),
	LAYOUT("group header", BT_GROUP, "group_disk", group_fields, NULL),
	NO_FIELDS("block bitmap", BT_BLOCK_BITMAP, "bitmap_disk", NULL),
	NO_FIELDS("inode bitmap", BT_INODE_BITMAP, "bitmap_disk", NULL),
	NO_FIELDS("inode table", BT_INODES, "inodes_disk", &inode_records),
	LAYOUT("extent leaf", BT_EXTENT_LEAF, "extent_leaf_disk", extent_leaf_fields,
		&extent_records),
	LAYOUT("extent node", BT_EXTENT_NODE, "node_disk", node_fields, &node_records),
	LAYOUT("directory leaf", BT_DIR_LEAF, "dir_leaf_disk", dir_leaf_fields, &slots),
	LAYOUT("directory node", BT_DIR_NODE, "node_disk", node_fields, &node_records),
	LAYOUT("extended attributes", BT_XATTR, "xattr_block_disk", xattr_block_fields, NULL),
	LAYOUT("symbolic link", BT_SYMLINK, "symlink_disk", symlink_fields, NULL),
	LAYOUT("journal head", BT_JOURNAL_HEAD, "journal_head_disk", journal_head_fields, NULL),
	LAYOUT("journal description", BT_JOURNAL_DESC, "journal_desc_disk", desc_fields, &tags),
	LAYOUT("journal revokes", BT_JOURNAL_REVOKE, "journal_revoke_disk", revoke_fields,
		&revokes),
	LAYOUT("journal commit", BT_JOURNAL_COMMIT, "journal_commit_disk", commit_fields, NULL),
};

/* --- finding --- */

const struct dump_layout *dump_layout_of(uint32_t magic)
{
	for (size_t i = 0; i < ARRAY_LEN(layouts); i++)
		if ((uint32_t)layouts[i].type == magic)
			return &layouts[i];
	return NULL;
}

const struct dump_field *dump_find_field(const struct dump_layout *layout, const char *name)
{
	for (unsigned i = 0; i < layout->nr_fields; i++)
		if (strcmp(layout->field[i].name, name) == 0)
			return &layout->field[i];
	return NULL;
}

/* "rec[3].key" or "slot[3]". */
static const struct dump_field *find_in_records(
	const struct dump_records *r, const char *path, unsigned *offset)
{
	size_t n = strlen(r->name);
	const struct dump_field *f;
	unsigned long k;
	char *end;

	if (strncmp(path, r->name, n) != 0 || path[n] != '[' || path[n + 1] < '0' ||
		path[n + 1] > '9')
		return NULL;
	k = strtoul(path + n + 1, &end, 10);
	if (k >= r->max || *end != ']' || (end[1] != '.' && end[1] != '\0'))
		return NULL;
	f = dump_find_field(r->of, end[1] == '.' ? end + 2 : end + 1);
	if (f != NULL)
		*offset = r->offset + (unsigned)k * r->bytes + f->offset;
	return f;
}

const struct dump_field *dump_find_path(
	const struct dump_layout *layout, const char *path, unsigned *offset)
{
	const struct dump_field *f;

	if (strncmp(path, "head.", 5) == 0)
		f = dump_find_field(&dump_head, path + 5);
	else
		f = dump_find_field(layout, path);
	if (f != NULL)
		*offset = f->offset;
	else if (layout->records != NULL)
		f = find_in_records(layout->records, path, offset);
	return f;
}

uint64_t dump_number(const struct dump_field *field, const void *data)
{
	const uint8_t *p = (const uint8_t *)data + field->offset;
	uint64_t n = 0;

	for (unsigned i = field->bytes; i > 0; i--)
		n = n << 8 | p[i - 1];
	if (field->bytes < 8 && (field->kind == DUMP_INT || field->kind == DUMP_TIME) &&
		n >> (8 * field->bytes - 1) != 0)
		n |= UINT64_MAX << (8 * field->bytes);
	return n;
}

/* --- values as text --- */

const char *dump_enum_name(const struct dump_name *names, uint64_t value)
{
	for (; names->name != NULL; names++)
		if (names->value == value)
			return names->name;
	return NULL;
}

const char *dump_next_flag(const struct dump_name *names, uint64_t *rest)
{
	for (; names->name != NULL; names++)
		if ((*rest & names->value) != 0) {
			*rest &= ~names->value;
			return names->name;
		}
	return NULL;
}

/* The length of the UTF-8 character at P, of N bytes; 0: none, or one that a terminal obeys. */
static size_t utf8_char(const uint8_t *p, size_t n)
{
	size_t len = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	uint32_t c = len == 1 ? p[0] : p[0] & (0xffU >> (len + 1));

	if (len == 0 || len > n || p[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if ((len == 3 && c < 0x800) || (len == 4 && c < 0x10000) || c > 0x10ffff ||
		(c >= 0xd800 && c < 0xe000))
		return 0;
	return c < ' ' || (c >= 0x7f && c < 0xa0) ? 0 : len;
}

static char *escape(const uint8_t *p, size_t n)
{
	char *out = malloc(4 * n + 1), *to = out;

	if (out == NULL)
		return NULL;
	while (n > 0) {
		size_t len = utf8_char(p, n);

		if (len == 0 || *p == '\\') {
			to += sprintf(to, *p == '\\' ? "\\\\" : "\\%03o", *p);
			len = 1;
		} else {
			memcpy(to, p, len);
			to += len;
		}
		p += len;
		n -= len;
	}
	*to = '\0';
	return out;
}

static char *hex(const uint8_t *p, size_t n)
{
	char *out = malloc(2 * n + 1);

	if (out == NULL)
		return NULL;
	out[0] = '\0';
	for (size_t i = 0; i < n; i++)
		sprintf(out + 2 * i, "%02x", p[i]);
	return out;
}

/* "-rw-r--r--", as ls(1) has it. */
static void mode_text(uint64_t mode, char *out)
{
	static const char types[] = "?pc?d?b?-?l?s???";
	static const char rwx[] = "rwxrwxrwx";

	out[0] = types[mode >> 12 & 0xf];
	for (int i = 0; i < 9; i++)
		out[1 + i] = (mode >> (8 - i) & 1) != 0 ? rwx[i] : '-';
	if ((mode & S_ISUID) != 0)
		out[3] = (mode & S_IXUSR) != 0 ? 's' : 'S';
	if ((mode & S_ISGID) != 0)
		out[6] = (mode & S_IXGRP) != 0 ? 's' : 'S';
	if ((mode & S_ISVTX) != 0)
		out[9] = (mode & S_IXOTH) != 0 ? 't' : 'T';
	out[10] = '\0';
}

static void flags_text(const struct dump_value *v, char *out, size_t bytes)
{
	uint64_t rest = v->number;
	const char *name;
	size_t n = 0;

	out[0] = '\0';
	while ((name = dump_next_flag(v->names, &rest)) != NULL)
		n += (size_t)snprintf(out + n, bytes - n, "%s%s", n == 0 ? "" : "|", name);
	if (rest != 0)
		snprintf(out + n, bytes - n, "%s%#" PRIx64, n == 0 ? "" : "|", rest);
	else if (n == 0)
		snprintf(out, bytes, "-");
}

static void time_text(int64_t s, char *out, size_t bytes)
{
	time_t t = (time_t)s;
	struct tm tm;
	char when[48];

	if (gmtime_r(&t, &tm) != NULL && strftime(when, sizeof(when), "%F %T UTC", &tm) > 0)
		snprintf(out, bytes, "%s", when);
	else
		snprintf(out, bytes, "%" PRId64, s);
}

static void magic_text(uint64_t magic, char *out, size_t bytes)
{
	if (dump_layout_of((uint32_t)magic) != NULL)
		snprintf(out, bytes, "%c%c%c%c", (char)magic, (char)(magic >> 8),
			(char)(magic >> 16), (char)(magic >> 24));
	else
		snprintf(out, bytes, "%#" PRIx64, magic);
}

static void enum_text(const struct dump_value *v, char *out, size_t bytes)
{
	const char *name = dump_enum_name(v->names, v->number);

	if (name != NULL)
		snprintf(out, bytes, "%s", name);
	else
		snprintf(out, bytes, "%" PRIu64, v->number);
}

static void number_text(const struct dump_value *v, char *out, size_t bytes)
{
	switch (v->kind) {
	case DUMP_INT:
		snprintf(out, bytes, "%" PRId64, (int64_t)v->number);
		break;
	case DUMP_HEX:
		snprintf(out, bytes, "%#" PRIx64, v->number);
		break;
	case DUMP_FLAGS:
		flags_text(v, out, bytes);
		break;
	case DUMP_ENUM:
		enum_text(v, out, bytes);
		break;
	case DUMP_MODE:
		mode_text(v->number, out);
		break;
	case DUMP_TIME:
		time_text((int64_t)v->number, out, bytes);
		break;
	case DUMP_MAGIC:
		magic_text(v->number, out, bytes);
		break;
	case DUMP_BOOL:
		snprintf(out, bytes, "%s", v->number != 0 ? "yes" : "no");
		break;
	default:
		snprintf(out, bytes, "%" PRIu64, v->number);
	}
}

char *dump_text(const struct dump_value *value)
{
	char out[160];

	switch (value->kind) {
	case DUMP_TEXT:
		return escape(value->bytes, value->nr_bytes);
	case DUMP_BYTES:
		return hex(value->bytes, value->nr_bytes);
	case DUMP_UUID:
		uuid_unparse_lower(value->bytes, out);
		break;
	default:
		number_text(value, out, sizeof(out));
	}
	return strdup(out);
}

/* --- showing --- */

void dump_show(struct dump_out *o, const char *key, uint64_t number)
{
	o->value(o, &(struct dump_value){.key = key, .kind = DUMP_UINT, .number = number});
}

void dump_show_bool(struct dump_out *o, const char *key, bool value)
{
	o->value(o, &(struct dump_value){.key = key, .kind = DUMP_BOOL, .number = value});
}

void dump_show_bytes(struct dump_out *o, const char *key, const void *bytes, size_t nr_bytes)
{
	o->value(o, &(struct dump_value){
			    .key = key, .kind = DUMP_TEXT, .bytes = bytes, .nr_bytes = nr_bytes});
}

void dump_show_string(struct dump_out *o, const char *key, const char *text)
{
	dump_show_bytes(o, key, text, strlen(text));
}

void dump_show_field(struct dump_out *o, const struct dump_field *field, const void *data)
{
	struct dump_value v = {.key = field->name, .kind = field->kind, .names = field->names};

	if (field->kind == DUMP_UUID || field->kind == DUMP_TEXT || field->kind == DUMP_BYTES) {
		v.bytes = (const uint8_t *)data + field->offset;
		v.nr_bytes = field->bytes;
		if (field->kind == DUMP_TEXT)
			v.nr_bytes = strnlen((const char *)v.bytes, field->bytes);
	} else {
		v.number = dump_number(field, data);
	}
	o->value(o, &v);
}

void dump_show_fields(struct dump_out *o, const struct dump_layout *layout, const void *data)
{
	for (unsigned i = 0; i < layout->nr_fields; i++)
		dump_show_field(o, &layout->field[i], data);
}
