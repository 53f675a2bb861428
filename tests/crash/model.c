/* model.c - what the filesystem should hold (model.h). */
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#define XXH_INLINE_ALL
#include <xxhash.h>
#include "model.h"
#include "world.h"

/* --- hashes and patterns --- */

uint64_t bytes_hash(const void *bytes, size_t nr, uint64_t seed)
{
	return XXH3_64bits_withSeed(bytes, nr, seed);
}

uint64_t facts_hash(const struct facts *f)
{
	return bytes_hash(f, sizeof(*f), 1);
}

uint64_t entry_hash(uint64_t dir, const char *name, uint64_t ino)
{
	return bytes_hash(name, strlen(name), dir * 1000003 + ino);
}

uint64_t xattr_hash(const char *name, const void *value, size_t bytes)
{
	return bytes_hash(value, bytes, bytes_hash(name, strlen(name), 2)) | 1;
}

/* Every word says whose it is, where and by which operation, though not in clear. */
void model_pattern(
	uint64_t ino, uint64_t generation, uint32_t op, uint64_t offset, uint8_t *out, size_t bytes)
{
	uint64_t key = bytes_hash(&op, sizeof(op), ino * 0x10001 + generation);

	for (size_t at = 0; at < bytes;) {
		uint64_t word = (offset + at) / 8, in = (offset + at) % 8, state = key + word;
		uint64_t r = mix64(&state) | 0x0101010101010101U; /* no byte is zero */
		size_t nr = 8 - in < bytes - at ? 8 - in : bytes - at;

		memcpy(out + at, (uint8_t *)&r + in, nr);
		at += nr;
	}
}

void model_target(uint32_t op, char *out, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes; i++)
		out[i] = (char)('a' + (op + i) % 26);
	out[bytes] = '\0';
}

void model_xattr(uint32_t op, int which, char *name, uint8_t *value, uint32_t bytes)
{
	sprintf(name, "user.attribute%d", which);
	model_pattern((uint64_t)which, 7, op, 0, value, bytes);
}

/* --- finding --- */

static struct mnode *child(const struct mnode *dir, const char *name, size_t bytes)
{
	for (struct mentry *e = dir->entries; e != NULL; e = e->next)
		if (strlen(e->name) == bytes && memcmp(e->name, name, bytes) == 0)
			return e->node;
	return NULL;
}

static struct mnode *walk(const struct model *m, const char *path, size_t bytes)
{
	struct mnode *node = m->root;

	while (bytes > 0 && node != NULL) {
		const char *slash = memchr(path, '/', bytes);
		size_t nr = slash == NULL ? bytes : (size_t)(slash - path);

		node = child(node, path, nr);
		nr += slash != NULL;
		path += nr;
		bytes -= nr;
	}
	return node;
}

struct mnode *model_find(const struct model *m, const char *path)
{
	uint64_t ino;

	if (path[0] != '#')
		return walk(m, path, strlen(path));
	ino = strtoull(path + 1, NULL, 10);
	for (struct mnode *n = m->nodes; n != NULL; n = n->next)
		if (n->key.ino == ino && (n->nlink > 0 || n->held > 0))
			return n;
	return NULL;
}

struct mnode *model_parent(const struct model *m, const char *path, const char **name)
{
	const char *slash = strrchr(path, '/');

	*name = slash == NULL ? path : slash + 1;
	return walk(m, path, slash == NULL ? 0 : (size_t)(slash - path));
}

struct mnode *model_node(const struct model *m, uint64_t ino, uint64_t generation)
{
	struct mnode key = {.key = {ino, generation}}, *node;

	HASH_FIND(hh, m->by_key, &key.key, sizeof(key.key), node);
	return node;
}

/* --- contents --- */

static struct sector *sector_of(struct model *m, struct mnode *n, uint64_t nr)
{
	if (nr >= n->nr_sectors) {
		uint32_t room = n->nr_sectors == 0 ? 32 : n->nr_sectors;
		struct sector *bigger;

		while (room <= nr)
			room *= 2;
		bigger = arena_zeroed(&m->mem, room * sizeof(*bigger));
		if (n->nr_sectors > 0)
			memcpy(bigger, n->sector, n->nr_sectors * sizeof(*bigger));
		n->sector = bigger;
		n->nr_sectors = room;
	}
	return &n->sector[nr];
}

const uint8_t *model_latest(const struct mnode *node, uint64_t sector)
{
	const struct sector *s = sector < node->nr_sectors ? &node->sector[sector] : NULL;

	return s == NULL || s->nr == 0 ? NULL : s->v[s->nr - 1].bytes;
}

static void add_version(struct model *m, struct mnode *n, uint64_t nr, const uint8_t *bytes)
{
	struct sector *s = sector_of(m, n, nr);

	if (s->nr > 0 && s->v[s->nr - 1].op == m->nr_ops) {
		s->v[s->nr - 1].bytes = bytes;
		return;
	}
	if (s->nr == s->max) {
		uint32_t max = s->max == 0 ? 2 : s->max * 2;
		struct version *v = arena_get(&m->mem, max * sizeof(*v));

		if (s->nr > 0)
			memcpy(v, s->v, s->nr * sizeof(*v));
		s->v = v;
		s->max = max;
	}
	s->v[s->nr++] = (struct version){m->nr_ops, bytes};
}

/* A new version of bytes [from, end) of one sector. NULL: zeros. */
static void change_sector(struct model *m, struct mnode *n, uint64_t nr, uint32_t from,
	uint32_t end, const uint8_t *bytes)
{
	const uint8_t *old = model_latest(n, nr);
	uint8_t *new;

	if (bytes == NULL && (old == NULL || end - from == MODEL_SECTOR)) {
		if (old != NULL)
			add_version(m, n, nr, NULL);
		return;
	}
	new = arena_get(&m->mem, MODEL_SECTOR);
	if (old == NULL)
		memset(new, 0, MODEL_SECTOR);
	else
		memcpy(new, old, MODEL_SECTOR);
	if (bytes == NULL)
		memset(new + from, 0, end - from);
	else
		memcpy(new + from, bytes, end - from);
	add_version(m, n, nr, new);
}

static void change_bytes(
	struct model *m, struct mnode *n, uint64_t from, uint64_t end, const uint8_t *bytes)
{
	uint64_t room = (uint64_t)n->nr_sectors * MODEL_SECTOR;

	if (bytes == NULL && end > room) /* nothing but zeros there */
		end = room;
	while (from < end) {
		uint64_t nr = from / MODEL_SECTOR;
		uint32_t in = (uint32_t)(from % MODEL_SECTOR);
		uint32_t stop =
			end - from < MODEL_SECTOR - in ? in + (uint32_t)(end - from) : MODEL_SECTOR;

		change_sector(m, n, nr, in, stop, bytes);
		from += stop - in;
		if (bytes != NULL)
			bytes += stop - in;
	}
}

static void set_size(struct model *m, struct mnode *n, uint64_t size)
{
	if (size < n->size)
		change_bytes(m, n, size, UINT64_MAX, NULL);
	n->size = size;
	n->touched = m->nr_ops;
}

static void apply_write(struct model *m, struct mnode *n, const struct op *op)
{
	uint32_t bytes = (uint32_t)op->result;
	uint8_t *data = malloc(bytes);

	if (data == NULL)
		abort();
	model_pattern(n->key.ino, n->key.generation, m->nr_ops, op->offset, data, bytes);
	change_bytes(m, n, op->offset, op->offset + bytes, data);
	free(data);
	if (op->offset + bytes > n->size)
		set_size(m, n, op->offset + bytes);
}

static void apply_falloc(struct model *m, struct mnode *n, const struct op *op)
{
	uint64_t end = op->offset + op->bytes;

	if (op->mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		change_bytes(m, n, op->offset, end, NULL);
	if (!(op->mode & FALLOC_FL_KEEP_SIZE) && end > n->size)
		set_size(m, n, end);
}

/* --- names --- */

static struct mnode *node_new(
	struct model *m, uint64_t ino, uint64_t generation, uint32_t mode, uint32_t nlink)
{
	struct mnode *n = arena_zeroed(&m->mem, sizeof(*n));

	n->key.ino = ino;
	n->key.generation = generation;
	n->mode = mode;
	n->nlink = nlink;
	n->touched = m->nr_ops;
	n->next = m->nodes;
	m->nodes = n;
	HASH_ADD(hh, m->by_key, key, sizeof(n->key), n);
	if (!table_has(n))
		abort();
	return n;
}

static void put_entry(struct model *m, struct mnode *dir, const char *name, struct mnode *node)
{
	struct mentry *e = arena_zeroed(&m->mem, sizeof(*e));

	strcpy(e->name, name);
	e->node = node;
	e->next = dir->entries;
	dir->entries = e;
	dir->touched = node->touched = m->nr_ops;
	if (S_ISDIR(node->mode)) {
		node->parent = dir;
		dir->nlink++;
	}
}

static void take_entry(struct model *m, struct mnode *dir, const char *name)
{
	struct mentry **at = &dir->entries;

	while (strcmp((*at)->name, name) != 0)
		at = &(*at)->next;
	if (S_ISDIR((*at)->node->mode))
		dir->nlink--;
	dir->touched = (*at)->node->touched = m->nr_ops;
	*at = (*at)->next;
}

static void drop_link(struct mnode *n)
{
	n->nlink = S_ISDIR(n->mode) ? 0 : n->nlink - 1;
}

static const uint32_t made_mode[OP_KINDS] = {
	[OP_CREAT] = S_IFREG | 0644,
	[OP_MKDIR] = S_IFDIR | 0755,
	[OP_FIFO] = S_IFIFO | 0600,
	[OP_SYMLINK] = S_IFLNK | 0777,
};

static void apply_make(struct model *m, const struct op *op)
{
	const char *name;
	struct mnode *dir = model_parent(m, op->path, &name);
	struct mnode *n = node_new(
		m, op->ino, op->generation, made_mode[op->kind], op->kind == OP_MKDIR ? 2 : 1);

	put_entry(m, dir, name, n);
	if (op->kind == OP_SYMLINK) {
		char target[MODEL_TARGET_MAX + 1];

		model_target(m->nr_ops, target, op->bytes);
		n->size = op->bytes;
		n->target_hash = bytes_hash(target, op->bytes, 3);
	}
}

static void apply_remove(struct model *m, const struct op *op)
{
	const char *name;
	struct mnode *dir = model_parent(m, op->path, &name);
	struct mnode *n = child(dir, name, strlen(name));

	take_entry(m, dir, name);
	drop_link(n);
}

static void apply_link(struct model *m, const struct op *op)
{
	const char *name;
	struct mnode *n = model_find(m, op->path);

	struct mnode *dir = model_parent(m, op->to, &name);

	put_entry(m, dir, name, n);
	n->nlink++;
}

static void apply_rename(struct model *m, const struct op *op)
{
	const char *name, *new_name;
	struct mnode *from = model_parent(m, op->path, &name);
	struct mnode *to = model_parent(m, op->to, &new_name);
	struct mnode *n = child(from, name, strlen(name));
	struct mnode *old = child(to, new_name, strlen(new_name));

	if (n == old)
		return;
	take_entry(m, from, name);
	if (old != NULL) {
		take_entry(m, to, new_name);
		if (op->kind == OP_EXCHANGE)
			put_entry(m, from, name, old);
		else
			drop_link(old);
	}
	put_entry(m, to, new_name, n);
}

/* --- what is promised --- */

static void add_ack(struct model *m, struct ack **list, uint32_t covers)
{
	struct ack *a = arena_get(&m->mem, sizeof(*a));

	*a = (struct ack){m->nr_ops, covers, *list};
	*list = a;
}

/* Of NODE (NULL: of all) everything up to operation AT is durable now; METADATA: names and
 * attributes up to that one. */
static void promise(struct model *m, struct mnode *node, uint32_t at, uint32_t metadata)
{
	add_ack(m, node == NULL ? &m->acks : &node->acks, at);
	if (metadata > m->floor[m->nr_ops])
		m->floor[m->nr_ops] = metadata;
	m->last_ack[m->nr_ops] = m->nr_ops;
}

static void start(struct model *m, struct mnode *node)
{
	m->started = node;
	m->started_at = m->nr_ops;
	m->started_floor = node == NULL ? m->nr_ops : node->touched;
}

static void apply_persist(struct model *m, const struct op *op)
{
	struct mnode *n = model_find(m, op->path);

	switch (op->kind) {
	case OP_FSYNC:
	case OP_FDATASYNC:
		promise(m, n, m->nr_ops, n->touched);
		break;
	case OP_START_FSYNC:
		start(m, n);
		break;
	case OP_START_SYNC:
		start(m, NULL);
		break;
	case OP_AWAIT_WRITE:
	case OP_THAW:
		break;
	case OP_AWAIT:
		promise(m, m->started, m->started_at, m->started_floor);
		break;
	default:
		promise(m, NULL, m->nr_ops, m->nr_ops);
		break;
	}
}

uint32_t model_data_floor(const struct model *m, const struct mnode *node, uint32_t done)
{
	uint32_t floor = 0;

	for (int i = 0; i < 2; i++)
		for (const struct ack *a = i == 0 ? m->acks : node->acks; a != NULL; a = a->next)
			if (a->at <= done && a->covers > floor)
				floor = a->covers;
	return floor;
}

/* --- digests --- */

static uint64_t node_digest(const struct mnode *n)
{
	struct facts f = {
		.ino = n->key.ino,
		.generation = n->key.generation,
		.size = S_ISREG(n->mode) || S_ISLNK(n->mode) ? n->size : 0,
		.target_hash = n->target_hash,
		.mode = n->mode,
		.nlink = n->nlink,
		.uid = n->uid,
		.gid = n->gid,
	};

	for (int i = 0; i < MODEL_XATTRS; i++)
		f.xattr_sum += n->xattr[i];
	return facts_hash(&f);
}

static uint64_t digest_of(const struct model *m)
{
	uint64_t digest = 0;

	for (const struct mnode *n = m->nodes; n != NULL; n = n->next) {
		if (n->nlink == 0)
			continue;
		digest += node_digest(n);
		for (const struct mentry *e = n->entries; e != NULL; e = e->next)
			digest += entry_hash(n->key.ino, e->name, e->node->key.ino);
	}
	return digest;
}

/* --- all of it --- */

static void set_xattr(struct model *m, struct mnode *n, const struct op *op)
{
	uint8_t value[MODEL_VALUE_MAX];
	char name[32];

	n->xattr[op->mode] = 0;
	if (op->kind == OP_SETXATTR) {
		model_xattr(m->nr_ops, op->mode, name, value, op->bytes);
		n->xattr[op->mode] = xattr_hash(name, value, op->bytes);
	}
	n->touched = m->nr_ops;
}

static void close_all(struct model *m)
{
	for (struct mnode *n = m->nodes; n != NULL; n = n->next)
		n->held = 0;
}

static void apply_inode(struct model *m, struct mnode *n, const struct op *op)
{
	switch (op->kind) {
	case OP_TRUNCATE:
		set_size(m, n, op->offset);
		break;
	case OP_WRITE:
	case OP_START_WRITE:
		apply_write(m, n, op);
		break;
	case OP_FALLOC:
		apply_falloc(m, n, op);
		break;
	case OP_SETXATTR:
	case OP_REMOVEXATTR:
		set_xattr(m, n, op);
		break;
	case OP_CHMOD:
		n->mode = (n->mode & S_IFMT) | (uint32_t)op->mode;
		n->touched = m->nr_ops;
		break;
	case OP_OPEN:
		n->held++;
		break;
	case OP_CLOSE:
		n->held = 0;
		break;
	default:
		apply_persist(m, op);
		break;
	}
}

static void apply_done(struct model *m, const struct op *op)
{
	switch (op->kind) {
	case OP_CREAT:
	case OP_MKDIR:
	case OP_FIFO:
	case OP_SYMLINK:
		apply_make(m, op);
		break;
	case OP_LINK:
		apply_link(m, op);
		break;
	case OP_UNLINK:
	case OP_RMDIR:
		apply_remove(m, op);
		break;
	case OP_RENAME:
	case OP_EXCHANGE:
		apply_rename(m, op);
		break;
	case OP_REMOUNT:
		close_all(m);
		apply_persist(m, op);
		break;
	default:
		apply_inode(m, model_find(m, op->path), op);
		break;
	}
}

static uint64_t chain_op(uint64_t chain, const struct op *op)
{
	char text[300];

	op_print(op, text, sizeof(text));
	return bytes_hash(text, strlen(text), chain);
}

void model_apply(struct model *m, const struct op *op)
{
	if (!m->in_base) {
		uint32_t i = ++m->nr_ops;

		if (i > MODEL_OPS_MAX)
			abort();
		m->floor[i] = m->floor[i - 1];
		m->last_ack[i] = m->last_ack[i - 1];
	}
	m->kind[m->nr_ops] = (uint8_t)op->kind;
	m->chain[m->nr_ops] = chain_op(m->chain[m->nr_ops - !m->in_base], op);
	if (op->result >= 0)
		apply_done(m, op);
	m->digest[m->nr_ops] = digest_of(m);
}

void model_begin(struct model *m, const struct fs_attr *root)
{
	HASH_CLEAR(hh, m->by_key);
	arena_clear(&m->mem);
	m->nodes = NULL;
	m->acks = NULL;
	m->nr_ops = 0;
	m->floor[0] = m->last_ack[0] = 0;
	m->chain[0] = 0;
	m->in_base = true;
	m->root = node_new(m, root->ino, root->generation, root->mode, root->nlink);
	m->digest[0] = digest_of(m);
}

void model_end_base(struct model *m)
{
	m->in_base = false;
}

void model_free(struct model *m)
{
	HASH_CLEAR(hh, m->by_key);
	arena_free(&m->mem);
}

static void print_dir(const struct mnode *dir, const char *path, void (*line)(const char *text))
{
	for (const struct mentry *e = dir->entries; e != NULL; e = e->next) {
		const struct mnode *n = e->node;
		char text[400], below[300];

		(void)snprintf(below, sizeof(below), "%s/%s", path, e->name);
		(void)snprintf(text, sizeof(text), "%-20s ino %lu mode %o nlink %u size %lu", below,
			n->key.ino, n->mode, n->nlink, S_ISDIR(n->mode) ? 0 : n->size);
		line(text);
		if (S_ISDIR(n->mode))
			print_dir(n, below, line);
	}
}

void model_print(const struct model *m, void (*line)(const char *text))
{
	print_dir(m->root, "", line);
}
