/* owner_lock.h - a lock that costs its one owner nothing, until somebody else needs it too.
 *
 * While it is not shared only the owner may call owner_lock(): that is two plain stores, no atomic
 * read-modify-write and no fence. Another thread first calls owner_lock_share(): from its return on
 * everybody takes the mutex. That is for good.
 *
 * Why it holds: the owner says "inside", then looks at "shared"; the other says "shared", then
 * looks at "inside". Each needs a full fence between the two; membarrier(2) runs the owner's on
 * demand, so that only the other side pays. Where the kernel does not have it, the lock is born
 * shared. */
#ifndef VBLKFS_OWNER_LOCK_H
#define VBLKFS_OWNER_LOCK_H
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct owner_lock {
	pthread_mutex_t mutex;
	atomic_bool shared;
	atomic_bool inside; /* the owner is, without the mutex */
	bool settled;       /* shared, and the owner knows; changes while it is outside */
};

void owner_lock_init(struct owner_lock *l);
void owner_lock_destroy(struct owner_lock *l);
void owner_lock_share(struct owner_lock *l); /* not by one who holds it */

static inline bool owner_lock_is_shared(struct owner_lock *l)
{
	return atomic_load_explicit(&l->shared, memory_order_relaxed);
}

static inline void owner_lock(struct owner_lock *l)
{
	if (!owner_lock_is_shared(l)) {
		atomic_store_explicit(&l->inside, true, memory_order_relaxed);
		/* The processor's half of this fence is owner_lock_share()'s membarrier(2). */
		atomic_signal_fence(memory_order_seq_cst);
		if (!atomic_load_explicit(&l->shared, memory_order_acquire))
			return;
		atomic_store_explicit(&l->inside, false, memory_order_release);
	}
	pthread_mutex_lock(&l->mutex);
}

static inline void owner_unlock(struct owner_lock *l)
{
	if (l->settled)
		pthread_mutex_unlock(&l->mutex);
	else
		atomic_store_explicit(&l->inside, false, memory_order_release);
}
#endif
