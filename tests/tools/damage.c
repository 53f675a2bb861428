/* damage.c - change named fields of a filesystem in an image file, as bad luck or malice would.
 *
 *	damage [-k] IMAGE WHAT CHANGE...	-k: leave the checksum of the block as it is
 *	damage get IMAGE WHAT FIELD		print the field's value as it is, a number
 *
 * WHAT is what is changed, CHANGE is relative to it:
 *	super | group N | block N | inode F | extent F K | dirent PATH | xattr F K |
 *	tree F K (the Kth block of its tree, the root is 0) | xblock F K (of attributes) |
 *	target F (the block of a long symbolic link) | bit block|inode N | journal K (index; 0: head)
 * with F an inode's number or a path, K from 0. CHANGE is
 *	FIELD=VALUE, FIELD+N, FIELD-N, FIELD:VERB, VERB (of all of it), @OFFSET=HEX (bytes)
 *	set, clear (of a bit), remove (of a dirent), copy=N (all of block N), swap=I,J (records)
 * with VERB zero, ones, firstbit, lastbit, random=SEED. FIELD is as in vblkfs(5), head.FIELD in the
 * block's head, and for blocks with records NAME[K].FIELD. VALUE is a number, the name of a flag or
 * of an enumerated value, or text.
 *
 * The checksum is made good again unless -k says otherwise or the head was overwritten by a VERB. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "bitmap.h"
#include "cache.h"
#include "disk.h"
#include "dump.h"

struct target {
	uint64_t block;
	unsigned offset, bytes;
	const struct dump_layout *layout; /* NULL: a block of no known type */
	bool is_block, is_dirent, is_bit;
	uint32_t bit;
};

static const char *image;
static struct dump *d;
static bool keep_crc;
static uint8_t block[BLOCK_BYTES] __attribute__((aligned(8)));

static void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

static void die(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "damage: %s: ", image);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

static void must(int err)
{
	if (err < 0)
		die("%s", dump_error(d));
}

static uint64_t number(const char *text)
{
	char *end;
	uint64_t n;

	errno = 0;
	n = strtoull(text, &end, 0);
	if (errno != 0 || end == text || *end != '\0')
		die("%s: not a number", text);
	return n;
}

static uint64_t inode_number(const char *text)
{
	uint64_t ino;

	if (text[0] != '/')
		return number(text);
	must(dump_lookup(d, text, &ino));
	return ino;
}

/* --- what --- */

static void target_block(struct target *t, uint64_t at)
{
	t->block = at;
	t->bytes = BLOCK_BYTES;
	t->is_block = true;
	must(dump_read(d, at, block));
	t->layout = dump_layout_of(le32_get(((struct block_head *)block)->magic));
}

static void target_part(struct target *t, const struct dump_spot *spot,
	const struct dump_layout *layout, unsigned bytes)
{
	t->block = spot->block;
	t->offset = spot->offset;
	t->layout = layout;
	t->bytes = bytes;
}

static void target_super(struct target *t, char **arg)
{
	(void)arg;
	target_block(t, GROUP_SUPER);
}

static void target_number(struct target *t, char **arg)
{
	target_block(t, number(arg[0]));
}

static void target_group(struct target *t, char **arg)
{
	target_block(t, number(arg[0]) * d->geo.group_blocks + GROUP_HEADER);
}

static void target_journal(struct target *t, char **arg)
{
	target_block(t, d->geo.journal_start + number(arg[0]));
}

static void target_inode(struct target *t, char **arg)
{
	struct dump_spot spot;

	must(dump_inode_spot(d, inode_number(arg[0]), &spot));
	target_part(t, &spot, &dump_inode_layout, INODE_BYTES);
}

static void target_extent(struct target *t, char **arg)
{
	struct dump_spot spot;

	must(dump_extent_spot(d, inode_number(arg[0]), number(arg[1]), &spot));
	target_part(t, &spot, &dump_extent_layout, sizeof(struct extent_disk));
}

static void target_dirent(struct target *t, char **arg)
{
	struct dump_spot spot;
	uint64_t ino;

	must(dump_dirent_spot(d, arg[0], &spot, &ino));
	target_part(t, &spot, &dump_dirent_layout, sizeof(struct dirent_disk));
	t->is_dirent = true;
}

static struct inode_disk inode_of(uint64_t ino)
{
	struct inodes_disk table;
	struct inode_disk inode;

	must(dump_inode_get(d, ino, &inode, &table));
	return inode;
}

static void target_link(struct target *t, char **arg)
{
	struct inode_disk inode = inode_of(inode_number(arg[0]));

	target_block(t, le64_get(((struct fork_btree *)inode.fork)->root));
}

struct counter {               /* of a tree's blocks */
	struct dump_tree tree; /* first */
	uint64_t k, found;
};

static int count_block(struct dump_tree *tree, uint64_t at, unsigned level, const uint8_t *data)
{
	struct counter *c = (struct counter *)tree;

	(void)level;
	(void)data;
	c->found = at;
	return c->k-- == 0;
}

static void target_tree(struct target *t, char **arg)
{
	uint64_t ino = inode_number(arg[0]);
	struct inode_disk inode = inode_of(ino);
	const struct fork_btree *fork = (const struct fork_btree *)inode.fork;
	bool is_dir = S_ISDIR(le32_get(inode.mode));
	struct counter c = {.tree = {.ino = ino,
				    .root = le64_get(fork->root),
				    .height = le32_get(fork->height),
				    .leaf_type = is_dir ? BT_DIR_LEAF : BT_EXTENT_LEAF,
				    .node_type = is_dir ? BT_DIR_NODE : BT_EXTENT_NODE,
				    .fn = count_block},
		.k = number(arg[1])};

	if (inode.fork_format != FORK_BTREE || dump_tree_walk(d, &c.tree) != 1)
		die("inode %" PRIu64 " has no block %s of a tree", ino, arg[1]);
	target_block(t, c.found);
}

/* Block K of attributes. */
static void list_block(struct target *t, const struct inode_disk *inode, uint64_t k)
{
	uint64_t at = le64_get(inode->xattr_block);

	for (; k > 0 && at != 0; k--) {
		must(dump_read(d, at, block));
		at = le64_get(((struct xattr_block_disk *)block)->next);
	}
	if (at == 0)
		die("inode %" PRIu64 " has not so many attributes", le64_get(inode->ino));
	target_block(t, at);
}

static void target_xblock(struct target *t, char **arg)
{
	struct inode_disk inode = inode_of(inode_number(arg[0]));

	list_block(t, &inode, number(arg[1]));
}

/* Where the Kth entry of DATA is; false: it has less, and K is that much less. */
static bool find_xattr(const uint8_t *data, unsigned bytes, uint64_t *k, unsigned *at)
{
	for (*at = 0; *at + offsetof(struct xattr_disk, data) <= bytes; (*k)--) {
		struct xattr_disk e; /* copied: what DATA is of is not declared as this */

		if (*k == 0)
			return true;
		memcpy(&e, data + *at, offsetof(struct xattr_disk, data));
		*at += (4U + e.name_bytes + le16_get(e.value_bytes) + 3U) & ~3U;
	}
	return false;
}

static void target_xattr(struct target *t, char **arg)
{
	struct inode_disk inode = inode_of(inode_number(arg[0]));
	const struct xattr_block_disk *x = (const struct xattr_block_disk *)block;
	uint64_t k = number(arg[1]);
	struct dump_spot spot;
	unsigned at;

	must(dump_inode_spot(d, le64_get(inode.ino), &spot));
	spot.offset += (unsigned)offsetof(struct inode_disk, xattr);
	if (!find_xattr(inode.xattr, le16_get(inode.xattr_bytes), &k, &at)) {
		uint64_t i = 0;

		do
			list_block(t, &inode, i++);
		while (!find_xattr(x->data, le32_get(x->bytes), &k, &at));
		spot.block = t->block;
		spot.offset = (unsigned)offsetof(struct xattr_block_disk, data);
	}
	spot.offset += at;
	target_part(t, &spot, &dump_xattr_layout, sizeof(struct xattr_disk));
	t->is_block = false;
}

static void target_bit(struct target *t, char **arg)
{
	const struct dump_geometry *g = &d->geo;
	bool is_block = strcmp(arg[0], "block") == 0;
	uint64_t per_group = is_block ? g->group_blocks : g->inodes_per_group;
	uint64_t n = number(arg[1]) - !is_block;
	uint64_t bit = n % per_group;

	target_block(t, n / per_group * g->group_blocks + GROUP_BITMAP +
				(is_block ? 0 : g->bitmap_blocks) + bit / BITMAP_BITS);
	t->bit = (uint32_t)(bit % BITMAP_BITS);
	t->is_bit = true;
}

static const struct what {
	const char *word;
	int nr_args;
	bool needs_geometry;
	void (*find)(struct target *t, char **arg);
} whats[] = {
	{"super", 0, false, target_super},
	{"block", 1, false, target_number},
	{"group", 1, true, target_group},
	{"inode", 1, true, target_inode},
	{"extent", 2, true, target_extent},
	{"dirent", 1, true, target_dirent},
	{"xattr", 2, true, target_xattr},
	{"tree", 2, true, target_tree},
	{"xblock", 2, true, target_xblock},
	{"target", 1, true, target_link},
	{"bit", 2, true, target_bit},
	{"journal", 1, true, target_journal},
};

/* Fills T from the words of WHAT; how many there were. */
static int find_target(struct target *t, int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(whats) / sizeof(whats[0]); i++) {
		const struct what *w = &whats[i];

		if (strcmp(w->word, argv[0]) != 0 || argc <= w->nr_args)
			continue;
		if (w->needs_geometry)
			must(dump_need_geometry(d));
		w->find(t, argv + 1);
		return 1 + w->nr_args;
	}
	die("%s: no such thing to damage, or its number is missing", argv[0]);
}

/* --- change --- */

static uint64_t next_random(uint64_t *state) /* splitmix64 */
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15U);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
	return z ^ (z >> 31);
}

static bool apply_verb(const char *verb, uint8_t *at, unsigned bytes)
{
	uint64_t seed;

	if (strcmp(verb, "zero") == 0) {
		memset(at, 0, bytes);
	} else if (strcmp(verb, "ones") == 0) {
		memset(at, 0xff, bytes);
	} else if (strcmp(verb, "firstbit") == 0) {
		at[0] ^= 1;
	} else if (strcmp(verb, "lastbit") == 0) {
		at[bytes - 1] ^= 0x80;
	} else if (strncmp(verb, "random=", 7) == 0) {
		seed = number(verb + 7);
		for (unsigned i = 0; i < bytes; i++)
			at[i] = (uint8_t)next_random(&seed);
	} else {
		return false;
	}
	return true;
}

/* *OFFSET is from the beginning of the block. */
static const struct dump_field *find_field(
	const struct target *t, const char *name, unsigned *offset)
{
	const struct dump_field *f = NULL;

	if (strncmp(name, "head.", 5) == 0) {
		f = dump_find_field(&dump_head, name + 5);
		*offset = f == NULL ? 0 : f->offset;
	} else if (t->is_block && t->layout != NULL) {
		f = dump_find_path(t->layout, name, offset);
	} else if (t->layout == &dump_inode_layout && strncmp(name, "fork.", 5) == 0) {
		f = dump_find_field(&dump_fork_layout, name + 5);
	} else if (t->layout != NULL) {
		f = dump_find_field(t->layout, name);
	}
	if (f == NULL)
		die("no field %s here", name);
	if (!t->is_block && strncmp(name, "head.", 5) != 0)
		*offset = t->offset + f->offset;
	return f;
}

static void put_number(uint8_t *at, unsigned bytes, uint64_t n)
{
	for (unsigned i = 0; i < bytes; i++)
		at[i] = (uint8_t)(n >> 8 * i);
}

static uint64_t get_number(const struct dump_field *f, unsigned offset)
{
	return dump_number(f, block + offset - f->offset);
}

static uint64_t value_of(const struct dump_field *f, const char *text)
{
	for (const struct dump_name *n = f->names; n != NULL && n->name != NULL; n++)
		if (strcmp(n->name, text) == 0)
			return n->value;
	if (f->kind == DUMP_MAGIC && strlen(text) == 4)
		return FMT_MAGIC(text[0], text[1], text[2], text[3]);
	return number(text);
}

static void put_hex(uint8_t *at, unsigned room, const char *hex)
{
	unsigned n;

	for (; hex[0] != '\0' && hex[1] != '\0'; hex += 2, at++, room--) {
		if (room == 0 || sscanf(hex, "%2x", &n) != 1)
			die("%s: too long, or no hexadecimal digits", hex);
		*at = (uint8_t)n;
	}
}

static void put_text(uint8_t *at, unsigned bytes, const char *text)
{
	if (strlen(text) > bytes)
		die("%s: longer than %u bytes", text, bytes);
	memset(at, 0, bytes);
	memcpy(at, text, strlen(text));
}

static void put_value(const struct dump_field *f, uint8_t *at, const char *text)
{
	if (f->kind == DUMP_TEXT)
		put_text(at, f->bytes, text);
	else if (f->kind == DUMP_UUID || f->kind == DUMP_BYTES)
		put_hex(at, f->bytes, text);
	else
		put_number(at, f->bytes, value_of(f, text));
}

/* A change of the form FIELD, OP, rest. */
static void change_field(const struct target *t, const char *change)
{
	size_t n = strcspn(change, "=+-:");
	const char *rest = change + n + 1;
	const struct dump_field *f;
	unsigned offset;
	char name[64];

	if (change[n] == '\0' || n >= sizeof(name))
		die("%s: no such change", change);
	snprintf(name, sizeof(name), "%.*s", (int)n, change);
	if (t->is_dirent && strcmp(name, "name") == 0) { /* not longer than it is */
		struct dirent_disk *e = (struct dirent_disk *)(block + t->offset);

		put_text(e->name, e->name_bytes, rest);
		return;
	}
	f = find_field(t, name, &offset);
	if (change[n] == '=')
		put_value(f, block + offset, rest);
	else if (change[n] == '+')
		put_number(block + offset, f->bytes, get_number(f, offset) + number(rest));
	else if (change[n] == '-')
		put_number(block + offset, f->bytes, get_number(f, offset) - number(rest));
	else if (!apply_verb(rest, block + offset, f->bytes))
		die("%s: no such verb", rest);
}

static void change_bytes(const struct target *t, const char *change)
{
	unsigned at = 0;
	int n = 0;

	if (sscanf(change, "@%u=%n", &at, &n) != 1 || n == 0 || t->offset + at >= BLOCK_BYTES)
		die("%s: no such change", change);
	put_hex(block + t->offset + at, BLOCK_BYTES - t->offset - at, change + n);
}

/* As dir.c does it. */
static void remove_dirent(const struct target *t)
{
	struct dir_leaf_disk *leaf = (struct dir_leaf_disk *)block;
	struct dirent_disk *e = (struct dirent_disk *)(block + t->offset);
	unsigned bytes = (offsetof(struct dirent_disk, name) + e->name_bytes + 7U) & ~7U;
	unsigned nr = le16_get(leaf->nr), k = 0;

	while (k < nr && le16_get(leaf->slot[k]) != t->offset)
		k++;
	if (!t->is_dirent || k == nr)
		die("only an entry of a directory can be removed");
	memmove(&leaf->slot[k], &leaf->slot[k + 1], (nr - k - 1) * sizeof(leaf->slot[0]));
	leaf->slot[nr - 1] = le16_of(0);
	leaf->nr = le16_of((uint16_t)(nr - 1));
	leaf->heap_dead = le16_of((uint16_t)(le16_get(leaf->heap_dead) + bytes));
	memset(e, 0, bytes);
}

static void swap_records(const struct target *t, const char *which)
{
	const struct dump_records *r = t->layout == NULL ? NULL : t->layout->records;
	unsigned i, j;
	uint8_t keep[INODE_BYTES];

	if (!t->is_block || r == NULL || sscanf(which, "%u,%u", &i, &j) != 2 || i >= r->max ||
		j >= r->max || r->bytes > sizeof(keep))
		die("%s: no two records", which);
	memcpy(keep, block + r->offset + i * r->bytes, r->bytes);
	memcpy(block + r->offset + i * r->bytes, block + r->offset + j * r->bytes, r->bytes);
	memcpy(block + r->offset + j * r->bytes, keep, r->bytes);
}

static void change(const struct target *t, const char *how)
{
	if (t->is_bit && strcmp(how, "set") == 0) {
		bits_set(((struct bitmap_disk *)block)->bits, t->bit, t->bit + 1);
	} else if (t->is_bit && strcmp(how, "clear") == 0) {
		bits_clear(((struct bitmap_disk *)block)->bits, t->bit, t->bit + 1);
	} else if (strcmp(how, "remove") == 0) {
		remove_dirent(t);
	} else if (t->is_block && strncmp(how, "copy=", 5) == 0) {
		must(dump_read(d, number(how + 5), block));
		keep_crc = true;
	} else if (strncmp(how, "swap=", 5) == 0) {
		swap_records(t, how + 5);
	} else if (how[0] == '@') {
		change_bytes(t, how);
	} else if (apply_verb(how, block + t->offset, t->bytes)) {
		keep_crc |= t->is_block; /* the head is gone with the rest */
	} else {
		change_field(t, how);
	}
}

static void write_block(uint64_t at)
{
	int fd = open(image, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || pwrite(fd, block, BLOCK_BYTES, (off_t)(at * BLOCK_BYTES)) != BLOCK_BYTES)
		die("%s", strerror(errno));
	close(fd);
}

static int usage(void)
{
	fputs("usage: damage [-k] IMAGE WHAT CHANGE...\n"
	      "       damage get IMAGE WHAT FIELD\n",
		stderr);
	return 2;
}

int main(int argc, char **argv)
{
	const struct disk_opts opts = {.read_only = true};
	bool get = argc > 1 && strcmp(argv[1], "get") == 0;
	struct target t = {0};
	struct blockdev *dev;
	unsigned offset;
	char err[256];
	int at = 1;

	keep_crc = argc > 1 && strcmp(argv[1], "-k") == 0;
	at += get || keep_crc;
	if (argc - at < 3)
		return usage();
	image = argv[at++];
	if (disk_open(image, &opts, &dev, err, sizeof(err)) < 0)
		die("%s", err);
	if (dump_open(dev, &d) < 0)
		die("no memory");
	at += find_target(&t, argc - at, argv + at);
	if (at == argc)
		return usage();
	must(dump_read(d, t.block, block));
	if (get) {
		const struct dump_field *f = find_field(&t, argv[at], &offset);

		printf("%" PRIu64 "\n", get_number(f, offset));
	} else {
		for (; at < argc; at++)
			change(&t, argv[at]);
		if (!keep_crc)
			block_seal(block);
		write_block(t.block);
	}
	dump_close(d);
	blk_close(dev);
	return 0;
}
