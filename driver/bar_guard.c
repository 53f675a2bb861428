/* bar_guard.c - see bar_guard.h.
 *
 * Invariants
 *  1. The handler takes no lock and frees nothing: it walks a list that only grows, whose entries
 *     are taken over when they are free.
 *  2. A page turns into ones in one step, so that no thread sees anything else in between. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "bar_guard.h"

struct entry {
	atomic_uintptr_t page; /* 0: free */
	struct entry *next;
};

static struct {
	pthread_mutex_t lock; /* of those who add and remove */
	bool installed;
	int ones_fd; /* a page of ones */
	struct sigaction before;
	_Atomic(struct entry *) entries;
} guard = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct entry *find(uintptr_t page)
{
	struct entry *e = atomic_load(&guard.entries);

	while (e != NULL && atomic_load(&e->page) != page)
		e = e->next;
	return e;
}

static bool replace(uintptr_t page)
{
	/* NOLINTNEXTLINE(performance-no-int-to-ptr): the address comes from the kernel */
	void *at = (void *)page, *got;

	if (find(page) == NULL)
		return false;
	got = mmap(at, BAR_GUARD_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
		guard.ones_fd, 0);
	if (got == at)
		(void)madvise(at, BAR_GUARD_BYTES, MADV_DONTFORK);
	/* cppcheck-suppress memleak ; it stands where the registers stood, and is unmapped as they */
	return got == at;
}

static void hand_on(int sig, siginfo_t *info, void *context)
{
	if (guard.before.sa_flags & SA_SIGINFO)
		guard.before.sa_sigaction(sig, info, context);
	else if (guard.before.sa_handler != SIG_DFL && guard.before.sa_handler != SIG_IGN)
		guard.before.sa_handler(sig);
	else
		(void)sigaction(SIGBUS, &guard.before, NULL); /* and the access is done again */
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	uintptr_t page = (uintptr_t)info->si_addr & ~(uintptr_t)(BAR_GUARD_BYTES - 1);
	int err = errno;

	if (info->si_code <= 0 || page == 0 || !replace(page)) /* <= 0: kill(2), not an access */
		hand_on(sig, info, context);
	errno = err;
}

static int make_ones(void)
{
	uint8_t ones[BAR_GUARD_BYTES];
	int fd = memfd_create("vblkfs-removed", MFD_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	memset(ones, 0xff, sizeof(ones));
	errno = EIO; /* should it write less */
	if (write(fd, ones, sizeof(ones)) == (ssize_t)sizeof(ones))
		return fd;
	err = -errno;
	close(fd);
	return err;
}

/* Caller holds the lock. */
static int install(void)
{
	struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};
	int fd;

	if (guard.installed)
		return 0;
	fd = make_ones();
	if (fd < 0)
		return fd;
	guard.ones_fd = fd;
	(void)sigemptyset(&action.sa_mask);
	if (sigaction(SIGBUS, &action, &guard.before) < 0) {
		int err = -errno;

		close(fd);
		return err;
	}
	guard.installed = true;
	return 0;
}

/* Caller holds the lock. */
static int add_entry(uintptr_t page)
{
	struct entry *e = find(0);

	if (e == NULL) {
		e = calloc(1, sizeof(*e));
		if (e == NULL)
			return -ENOMEM;
		e->next = atomic_load(&guard.entries);
		atomic_store(&guard.entries, e);
	}
	atomic_store(&e->page, page);
	return 0;
}

int bar_guard_add(void *page)
{
	int err;

	pthread_mutex_lock(&guard.lock);
	err = install();
	if (err == 0)
		err = add_entry((uintptr_t)page);
	if (err == 0)
		(void)madvise(page, BAR_GUARD_BYTES, MADV_DONTFORK);
	pthread_mutex_unlock(&guard.lock);
	return err;
}

void bar_guard_remove(void *page)
{
	struct entry *e;

	pthread_mutex_lock(&guard.lock);
	e = find((uintptr_t)page);
	if (e != NULL)
		atomic_store(&e->page, 0);
	pthread_mutex_unlock(&guard.lock);
}

void bar_guard_blank(void *page)
{
	(void)replace((uintptr_t)page);
}
