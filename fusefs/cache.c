/* cache.c - the block cache (cache.h).
 *
 * Invariants
 *  1. A block is in at most one entry that lookups can find; that entry is in the hash of the
 *     block's shard.
 *  2. An entry without references is VALID and on its shard's LRU list, or it does not exist. So
 *     whatever is on a list may be dropped, and whatever is referenced stays.
 *  3. An entry's bytes are believed only once block_verify() has passed them; those that fail leave
 *     the hash before any waiter wakes.
 *  4. Pages come in chunks of DMA memory that are given back only when the cache is destroyed.
 *  5. Of the locks here (a shard's, the pages') no thread holds two. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include <isa-l/crc.h>
#include "cache.h"
#include "table.h"
#include "tx.h"

#define NR_SHARDS         16U /* a power of two */
#define CACHE_MIB_DEFAULT 32U
#define CHUNK_BYTES       (2U << 20)
#define PAGES_PER_MIB     ((1U << 20) / BLOCK_BYTES)

enum entry_state { READING, VALID, FAILED };

struct entry {
	struct buf buf; /* first: a buf is its entry */
	uint64_t owner;
	unsigned refs; /* this and below: under the shard's lock */
	enum entry_state state;
	int err;        /* FAILED: why */
	bool any_owner; /* cache_pin(): type and owner are what the first reader asks for */
	bool forgotten; /* not in the hash: goes with its last reference */
	struct cache *cache;
	UT_hash_handle hh;
	struct entry *prev, *next; /* LRU list, oldest first */
};

struct shard {
	pthread_mutex_t lock;
	pthread_cond_t read_done;
	struct entry *hash;
	struct entry *lru;
	uint64_t hits, misses;
};

struct page { /* a free one */
	struct page *next;
};

struct chunk {
	struct chunk *next;
	void *mem;
};

struct cache {
	struct fs *fs;
	struct shard shard[NR_SHARDS];
	unsigned max_entries; /* may be passed while all is referenced */
	atomic_uint nr_entries;
	atomic_uint next_victim; /* shard to take from when our own has nothing */
	pthread_mutex_t page_lock;
	struct page *pages; /* free; under page_lock, as the next */
	struct chunk *chunks;
};

static void init_buf_locks(struct buf *b)
{
	pthread_mutex_init(&b->lock, NULL);
	pthread_mutex_init(&b->join_lock, NULL);
}

static struct shard *shard_of(struct cache *c, uint64_t block)
{
	return &c->shard[(block * 0x9e3779b97f4a7c15U) >> 60 & (NR_SHARDS - 1)];
}

/* --- blocks and their heads --- */

uint32_t block_crc(const void *block)
{
	static const uint8_t no_crc[4];
	uint8_t *p = (uint8_t *)(uintptr_t)block; /* ISA-L wants it writable, and does not write */
	uint32_t crc = crc32_iscsi(p, offsetof(struct block_head, crc), UINT32_MAX);

	crc = crc32_iscsi((uint8_t *)(uintptr_t)no_crc, sizeof(no_crc), crc);
	return ~crc32_iscsi(p + offsetof(struct block_head, owner) - 8, BLOCK_BYTES - 8, crc);
}

void block_seal(void *block)
{
	((struct block_head *)block)->crc = le32_of(block_crc(block));
}

void block_head_init(
	void *block, const uint8_t uuid[16], enum block_type type, uint64_t at, uint64_t owner)
{
	struct block_head *head = block;

	*head = (struct block_head){
		.magic = le32_of(type),
		.block = le64_of(at),
		.owner = le64_of(owner),
	};
	memcpy(head->fs_uuid, uuid, sizeof(head->fs_uuid));
}

void block_req(struct blk_req *req, enum blk_op op, uint64_t block, uint32_t nr_blocks,
	const struct iovec *iov, int nr_iov)
{
	req->op = op;
	req->sector = block * BLOCK_SECTORS;
	req->nr_sectors = nr_blocks * BLOCK_SECTORS;
	req->iov = iov;
	req->nr_iov = nr_iov;
}

static int do_raw(
	struct blk_queue *q, enum blk_op op, uint64_t block, uint32_t nr_blocks, void *buf)
{
	struct blk_req req;

	block_req(&req, op, block, nr_blocks, NULL, 0);
	return blk_do(q, op, req.sector, req.nr_sectors, buf);
}

int cache_read_raw(struct fs_thread *t, uint64_t block, uint32_t nr_blocks, void *buf)
{
	return do_raw(t->q, BLK_READ, block, nr_blocks, buf);
}

int cache_write_raw(struct blk_queue *q, uint64_t block, uint32_t nr_blocks, void *buf)
{
	return do_raw(q, BLK_WRITE, block, nr_blocks, buf);
}

int cache_flush(struct fs *fs, struct blk_queue *q)
{
	/* Whether the disk needs it is for its driver to know: that may change while it is mounted. */
	if (fs->opts.no_barrier)
		return 0;
	return blk_do(q, BLK_FLUSH, 0, 0, NULL);
}

/* --- pages --- */

static bool add_chunk(struct cache *c)
{
	struct chunk *chunk = malloc(sizeof(*chunk));

	if (chunk == NULL)
		return false;
	chunk->mem = blk_dma_alloc(c->fs->dev, CHUNK_BYTES);
	if (chunk->mem == NULL) {
		free(chunk);
		return false;
	}
	chunk->next = c->chunks;
	c->chunks = chunk;
	for (size_t at = CHUNK_BYTES; at > 0;) {
		struct page *page = (struct page *)((uint8_t *)chunk->mem + (at -= BLOCK_BYTES));

		page->next = c->pages;
		c->pages = page;
	}
	return true;
}

static void *page_alloc(struct cache *c)
{
	struct page *page = NULL;

	pthread_mutex_lock(&c->page_lock);
	if (c->pages != NULL || add_chunk(c)) {
		page = c->pages;
		c->pages = page->next;
	}
	pthread_mutex_unlock(&c->page_lock);
	return page;
}

static void page_free(struct cache *c, void *mem)
{
	struct page *page = mem;

	pthread_mutex_lock(&c->page_lock);
	page->next = c->pages;
	c->pages = page;
	pthread_mutex_unlock(&c->page_lock);
}

/* --- entries --- */

static struct entry *entry_create(struct cache *c)
{
	struct entry *e = calloc(1, sizeof(*e));

	if (e == NULL)
		return NULL;
	e->buf.data = page_alloc(c);
	if (e->buf.data == NULL) {
		free(e);
		return NULL;
	}
	e->cache = c;
	init_buf_locks(&e->buf);
	atomic_fetch_add(&c->nr_entries, 1);
	return e;
}

static void entry_destroy(struct entry *e)
{
	struct cache *c = e->cache;

	pthread_mutex_destroy(&e->buf.lock);
	pthread_mutex_destroy(&e->buf.join_lock);
	page_free(c, e->buf.data);
	free(e);
	atomic_fetch_sub(&c->nr_entries, 1);
}

/* Caller holds the shard's lock. The oldest entry that nobody refers to leaves the cache; NULL:
 * there is none. */
static struct entry *take_oldest(struct shard *s)
{
	struct entry *e = s->lru;

	if (e != NULL) {
		DL_DELETE(s->lru, e);
		HASH_DEL(s->hash, e);
	}
	return e;
}

static bool evict_one(struct cache *c)
{
	for (unsigned i = 0; i < NR_SHARDS; i++) {
		struct shard *s = &c->shard[atomic_fetch_add(&c->next_victim, 1) & (NR_SHARDS - 1)];
		struct entry *e;

		pthread_mutex_lock(&s->lock);
		e = take_oldest(s);
		pthread_mutex_unlock(&s->lock);
		if (e != NULL) {
			entry_destroy(e);
			return true;
		}
	}
	return false;
}

/* An entry to fill; makes room first. */
static struct entry *entry_get(struct cache *c)
{
	struct entry *e;

	if (atomic_load(&c->nr_entries) >= c->max_entries && !evict_one(c))
		tx_hurry(c->fs); /* all is in use: only commits and checkpoints let go of much */
	e = entry_create(c);
	if (e == NULL && evict_one(c)) /* no memory above us, but some below */
		e = entry_create(c);
	return e;
}

void *cache_page_alloc(struct fs *fs)
{
	void *page = page_alloc(fs->cache);

	if (page == NULL && evict_one(fs->cache))
		page = page_alloc(fs->cache);
	return page;
}

void cache_page_free(struct fs *fs, void *page)
{
	if (page != NULL)
		page_free(fs->cache, page);
}

/* Caller holds the shard's lock. Not found: NULL. Found: referenced. */
static struct entry *find(struct shard *s, uint64_t block)
{
	struct entry *e;

	HASH_FIND(hh, s->hash, &block, sizeof(block), e);
	if (e != NULL && e->refs++ == 0)
		DL_DELETE(s->lru, e);
	return e;
}

/* Caller holds the shard's lock. E is new, and referenced once. False: no memory. */
static bool insert(struct shard *s, struct entry *e, uint64_t block)
{
	e->buf.block = block;
	e->refs = 1;
	HASH_ADD(hh, s->hash, buf.block, sizeof(e->buf.block), e);
	return table_has(e);
}

/* Caller holds the shard's lock. True: E is nobody's any more, and the caller's to destroy. */
static bool unref(struct shard *s, struct entry *e)
{
	struct cache *c = e->cache;

	if (--e->refs > 0)
		return false;
	if (e->forgotten)
		return true;
	if (atomic_load(&c->nr_entries) > c->max_entries) {
		HASH_DEL(s->hash, e);
		return true;
	}
	DL_APPEND(s->lru, e);
	return false;
}

int block_verify(
	struct fs *fs, const void *data, uint64_t block, enum block_type type, uint64_t owner)
{
	const struct block_head *head = data;

	if (le32_get(head->magic) != (uint32_t)type)
		return fs_corrupt(fs, block, "magic is %08x, not %08x", le32_get(head->magic),
			(unsigned)type);
	if (le32_get(head->crc) != block_crc(data))
		return fs_corrupt(fs, block, "checksum is wrong");
	if (le64_get(head->block) != block)
		return fs_corrupt(fs, block, "was written for block %llu",
			(unsigned long long)le64_get(head->block));
	if (memcmp(head->fs_uuid, fs->uuid, sizeof(fs->uuid)) != 0)
		return fs_corrupt(fs, block, "belongs to another filesystem");
	if (le64_get(head->owner) != owner)
		return fs_corrupt(fs, block, "belongs to %llu, not to %llu",
			(unsigned long long)le64_get(head->owner), (unsigned long long)owner);
	return 0;
}

/* The first to miss reads; others wait in wait_read(). E is in the hash, READING. */
static int read_in(
	struct fs_thread *t, struct shard *s, struct entry *e, enum block_type type, uint64_t owner)
{
	int err = cache_read_raw(t, e->buf.block, 1, e->buf.data);

	if (err == 0)
		err = block_verify(t->fs, e->buf.data, e->buf.block, type, owner);
	else
		fs_note_io(t->fs, err, "block %llu: read of metadata",
			(unsigned long long)e->buf.block);
	pthread_mutex_lock(&s->lock);
	e->buf.type = type;
	e->owner = owner;
	e->err = err;
	e->state = err == 0 ? VALID : FAILED;
	if (err < 0 && !e->forgotten) { /* the next to ask reads again */
		HASH_DEL(s->hash, e);
		e->forgotten = true;
	}
	pthread_cond_broadcast(&s->read_done);
	pthread_mutex_unlock(&s->lock);
	return err;
}

/* Caller holds the shard's lock and a reference. Another thread reads E: it waits for nothing but
 * its own queue. */
static int wait_read(struct shard *s, struct entry *e)
{
	while (e->state == READING)
		pthread_cond_wait(&s->read_done, &s->lock);
	return e->state == FAILED ? e->err : 0;
}

/* E was verified for whoever read it; is it what this caller means? */
static int check_cached(
	struct fs *fs, struct shard *s, struct entry *e, enum block_type type, uint64_t owner)
{
	bool same;
	int err = 0;

	pthread_mutex_lock(&s->lock);
	if (e->any_owner) {
		err = block_verify(fs, e->buf.data, e->buf.block, type, owner);
		if (err == 0) {
			e->any_owner = false;
			e->buf.type = type;
			e->owner = owner;
		}
	}
	same = e->buf.type == type && e->owner == owner;
	pthread_mutex_unlock(&s->lock);
	if (err == 0 && !same)
		err = fs_corrupt(fs, e->buf.block,
			"is in use as another kind of block, or by another owner");
	return err;
}

/* The entry of BLOCK, referenced, with its shard locked; *IS_NEW: it was made, READING, and is the
 * caller's to fill. NULL (and not locked): no memory. */
static struct entry *find_or_insert(struct cache *c, struct shard *s, uint64_t block, bool *is_new)
{
	struct entry *new = NULL;
	struct entry *e;

	pthread_mutex_lock(&s->lock);
	e = find(s, block);
	if (e == NULL) { /* memory is found without the lock, so look again */
		pthread_mutex_unlock(&s->lock);
		new = entry_get(c);
		if (new == NULL)
			return NULL;
		pthread_mutex_lock(&s->lock);
		e = find(s, block);
	}
	*is_new = e == NULL;
	if (e == NULL && insert(s, new, block)) {
		new->state = READING;
		return new;
	}
	if (e == NULL)
		pthread_mutex_unlock(&s->lock);
	if (new != NULL)
		entry_destroy(new);
	return e;
}

int cache_get(
	struct fs_thread *t, uint64_t block, enum block_type type, uint64_t owner, struct buf **out)
{
	struct fs *fs = t->fs;
	struct shard *s = shard_of(fs->cache, block);
	struct entry *e;
	bool is_new;
	int err;

	if (block >= fs->nr_blocks)
		return fs_corrupt(fs, block, "is past the end, and wanted for %llu",
			(unsigned long long)owner);
	e = find_or_insert(fs->cache, s, block, &is_new);
	if (e == NULL)
		return -ENOMEM;
	if (is_new) {
		s->misses++;
		pthread_mutex_unlock(&s->lock);
		err = read_in(t, s, e, type, owner);
	} else {
		s->hits++;
		err = wait_read(s, e);
		pthread_mutex_unlock(&s->lock);
		if (err == 0)
			err = check_cached(fs, s, e, type, owner);
	}
	if (err < 0) {
		cache_put(&e->buf);
		return err;
	}
	*out = &e->buf;
	return 0;
}

/* As find_or_insert(), but no read is in flight: one of a stale copy may be, and fail. */
static struct entry *find_or_insert_quiet(struct cache *c, struct shard *s, uint64_t block)
{
	struct entry *e;
	bool is_new;

	while ((e = find_or_insert(c, s, block, &is_new)) != NULL) {
		if (is_new || wait_read(s, e) == 0)
			return e;
		if (unref(s, e)) {
			pthread_mutex_unlock(&s->lock);
			entry_destroy(e);
		} else {
			pthread_mutex_unlock(&s->lock);
		}
	}
	return NULL;
}

int cache_get_new(
	struct tx_handle *h, uint64_t block, enum block_type type, uint64_t owner, struct buf **out)
{
	struct fs *fs = h->t->fs;
	struct shard *s = shard_of(fs->cache, block);
	struct entry *e;
	int err;

	assert(block < fs->nr_blocks);
	e = find_or_insert_quiet(fs->cache, s, block);
	if (e == NULL)
		return -ENOMEM;
	e->state = VALID;
	e->any_owner = false;
	e->buf.type = type;
	e->owner = owner;
	pthread_mutex_unlock(&s->lock);
	err = tx_join(h,
		&e->buf); /* before the bytes change: an older transaction may still have to copy them */
	if (err < 0) {
		cache_put(&e->buf);
		return err;
	}
	memset(e->buf.data, 0, BLOCK_BYTES);
	block_head_init(e->buf.data, fs->uuid, type, block, owner);
	*out = &e->buf;
	return 0;
}

void cache_ref(struct buf *b)
{
	struct entry *e = (struct entry *)b;
	struct shard *s = shard_of(e->cache, b->block);

	pthread_mutex_lock(&s->lock);
	e->refs++;
	pthread_mutex_unlock(&s->lock);
}

void cache_put(struct buf *b)
{
	struct entry *e = (struct entry *)b;
	struct shard *s;
	bool gone;

	if (b == NULL)
		return;
	s = shard_of(e->cache, b->block);
	pthread_mutex_lock(&s->lock);
	gone = unref(s, e);
	pthread_mutex_unlock(&s->lock);
	if (gone)
		entry_destroy(e);
}

void cache_forget(struct fs *fs, uint64_t block)
{
	struct shard *s = shard_of(fs->cache, block);
	struct entry *e;
	bool gone = false;

	pthread_mutex_lock(&s->lock);
	e = find(s, block);
	if (e != NULL) {
		HASH_DEL(s->hash, e);
		e->forgotten = true;
		gone = unref(s, e);
	}
	pthread_mutex_unlock(&s->lock);
	if (gone)
		entry_destroy(e);
}

struct buf *cache_peek(struct fs *fs, uint64_t block)
{
	struct shard *s = shard_of(fs->cache, block);
	struct entry *e;

	pthread_mutex_lock(&s->lock);
	HASH_FIND(hh, s->hash, &block, sizeof(block), e);
	if (e != NULL && e->state != VALID)
		e = NULL;
	if (e != NULL)
		e = find(s, block);
	pthread_mutex_unlock(&s->lock);
	return e == NULL ? NULL : &e->buf;
}

int cache_pin(struct fs *fs, uint64_t block, const void *data)
{
	struct shard *s = shard_of(fs->cache, block);
	struct entry *e;
	bool is_new;

	e = find_or_insert(fs->cache, s, block, &is_new);
	if (e == NULL)
		return -ENOMEM;
	e->state = VALID;
	e->any_owner = true;
	memcpy(e->buf.data, data, BLOCK_BYTES);
	if (!is_new)
		(void)unref(s, e); /* pinned before, by an earlier transaction */
	pthread_mutex_unlock(&s->lock);
	return 0; /* its reference is never put */
}

void cache_stats(struct fs *fs, struct fs_stats *out)
{
	struct cache *c = fs->cache;

	for (unsigned i = 0; i < NR_SHARDS; i++) {
		struct shard *s = &c->shard[i];

		pthread_mutex_lock(&s->lock);
		out->cache_hits += s->hits;
		out->cache_misses += s->misses;
		pthread_mutex_unlock(&s->lock);
	}
	out->cache_blocks += atomic_load(&c->nr_entries);
}

uint32_t cache_max_blocks(const struct fs *fs)
{
	return fs->cache->max_entries;
}

int cache_create(struct fs *fs)
{
	struct cache *c = calloc(1, sizeof(*c));
	unsigned mib = fs->opts.cache_mib == 0 ? CACHE_MIB_DEFAULT : fs->opts.cache_mib;

	if (c == NULL)
		return -ENOMEM;
	c->fs = fs;
	c->max_entries = mib * PAGES_PER_MIB;
	pthread_mutex_init(&c->page_lock, NULL);
	for (unsigned i = 0; i < NR_SHARDS; i++) {
		pthread_mutex_init(&c->shard[i].lock, NULL);
		pthread_cond_init(&c->shard[i].read_done, NULL);
	}
	fs->cache = c;
	return 0;
}

static void shard_destroy(struct shard *s)
{
	struct entry *e = NULL, *tmp = NULL;

	HASH_ITER (hh, s->hash, e, tmp) {
		assert(e->refs == 0 || e->cache->fs->read_only); /* only cache_pin() keeps them */
		HASH_DEL(s->hash, e);
		entry_destroy(e);
	}
	pthread_cond_destroy(&s->read_done);
	pthread_mutex_destroy(&s->lock);
}

void cache_destroy(struct fs *fs)
{
	struct cache *c = fs->cache;

	for (unsigned i = 0; i < NR_SHARDS; i++)
		shard_destroy(&c->shard[i]);
	while (c->chunks != NULL) {
		struct chunk *chunk = c->chunks;

		c->chunks = chunk->next;
		blk_dma_free(fs->dev, chunk->mem, CHUNK_BYTES);
		free(chunk);
	}
	pthread_mutex_destroy(&c->page_lock);
	free(c);
	fs->cache = NULL;
}
