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
	r->file[at].ino = ino;
	r->file[at].when_ns = now_ns;
	atomic_store(&r->any, true);
	pthread_mutex_unlock(&r->lock);
}

static bool look(struct refused *r, uint64_t ino, uint64_t now_ns, bool take)
{
	bool found = false;
	unsigned at;

	if (!atomic_load(&r->any))
		return false;
	pthread_mutex_lock(&r->lock);
	at = find(r, ino);
	if (at < REFUSED_MAX) {
		found = now_ns - r->file[at].when_ns < REFUSED_S * 1000000000ULL;
		if (take || !found)
			r->file[at].ino = 0;
	}
	pthread_mutex_unlock(&r->lock);
	return found;
}

bool refused_look(struct refused *r, uint64_t ino, uint64_t now_ns)
{
	return look(r, ino, now_ns, false);
}

bool refused_take(struct refused *r, uint64_t ino, uint64_t now_ns)
{
	return look(r, ino, now_ns, true);
}
