/* refused.c - files that lost writes lately, because the disk was full. */
#include <stddef.h>
#include <string.h>
#include "refused.h"

void refused_init(struct refused *r)
{
	memset(r, 0, sizeof(*r));
	pthread_mutex_init(&r->lock, NULL);
}

void refused_destroy(struct refused *r)
{
	pthread_mutex_destroy(&r->lock);
}

/* The place of INO, or of none. Caller holds r->lock. */
static unsigned find(const struct refused *r, uint64_t ino)
{
	unsigned i = 0;

	while (i < REFUSED_MAX && r->file[i].ino != ino)
		i++;
	return i;
}

void refused_note(struct refused *r, uint64_t ino, uint64_t now_ns)
{
	unsigned at;

	pthread_mutex_lock(&r->lock);
	at = find(r, ino);
	if (at == REFUSED_MAX) {
		at = r->next;
		r->next = (r->next + 1) % REFUSED_MAX;
	}
	if (r->file[at].ino == 0)
		atomic_fetch_add(&r->nr, 1);
	r->file[at].ino = ino;
	r->file[at].when_ns = now_ns;
	pthread_mutex_unlock(&r->lock);
}

/* Caller holds r->lock, as of the next. */
static void forget(struct refused *r, unsigned at)
{
	r->file[at].ino = 0;
	atomic_fetch_sub(&r->nr, 1);
}

/* Of any file: else one that nobody asks for would keep them all from being looked for in vain. A
 * time may be later than NOW_NS, which was taken before the lock. */
static void forget_old(struct refused *r, uint64_t now_ns)
{
	for (unsigned at = 0; at < REFUSED_MAX; at++)
		if (r->file[at].ino != 0 &&
			now_ns >= r->file[at].when_ns + REFUSED_S * 1000000000ULL)
			forget(r, at);
}

static bool look(struct refused *r, uint64_t ino, uint64_t now_ns, bool take)
{
	unsigned at;

	if (atomic_load(&r->nr) == 0)
		return false;
	pthread_mutex_lock(&r->lock);
	forget_old(r, now_ns);
	at = find(r, ino);
	if (at < REFUSED_MAX && take)
		forget(r, at);
	pthread_mutex_unlock(&r->lock);
	return at < REFUSED_MAX;
}

bool refused_look(struct refused *r, uint64_t ino, uint64_t now_ns)
{
	return look(r, ino, now_ns, false);
}

bool refused_take(struct refused *r, uint64_t ino, uint64_t now_ns)
{
	return look(r, ino, now_ns, true);
}
