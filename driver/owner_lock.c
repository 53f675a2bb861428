/* owner_lock.c - see owner_lock.h. */
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "owner_lock.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool have_membarrier;

static void register_membarrier(void)
{
	have_membarrier =
		syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

void owner_lock_init(struct owner_lock *l)
{
	pthread_once(&once, register_membarrier);
	pthread_mutex_init(&l->mutex, NULL);
	atomic_init(&l->shared, !have_membarrier);
	atomic_init(&l->inside, false);
	l->settled = !have_membarrier;
}

void owner_lock_destroy(struct owner_lock *l)
{
	pthread_mutex_destroy(&l->mutex);
}

void owner_lock_share(struct owner_lock *l)
{
	pthread_mutex_lock(&l->mutex);
	if (!l->settled) {
		atomic_store(&l->shared, true);
		(void)syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
		while (atomic_load(&l->inside))
			sched_yield();
		l->settled = true;
	}
	pthread_mutex_unlock(&l->mutex);
}
