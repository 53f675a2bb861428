/* world.c - see world.h.
 *
 * The opener runs on the stack that libFuzzer gave it, each thread on one of its own (a fiber). It is
 * always the opener that gives a thread its turn, and gets it back. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <ucontext.h>
#include "fz.h"
#include "world.h"

#define THREADS_MAX 8U
#define STACK_BYTES (256U << 10)
#define TURNS_MAX   20000U /* that somebody waits for a lock, or for the end of a thread */
#define NAP_US      50000U /* only those who poll for want of interrupts nap; for them time flies */
#define LOOK_NS     2000U  /* a look at the clock takes so long */
#define START_S     1000

int __wrap_pthread_create(
	pthread_t *out, const pthread_attr_t *attr, void *(*start)(void *), void *arg);
int __wrap_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_setname_np(pthread_t thread, const char *name);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_nanosleep(const struct timespec *ts, struct timespec *left);
void __wrap_syslog(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));

struct fiber {
	ucontext_t context;
	const void *stack;
	size_t bytes;
	void *fake; /* AddressSanitizer's stack */
};

static _Alignas(4096) uint8_t stacks[THREADS_MAX][STACK_BYTES];

static struct {
	struct world_ops ops;
	uint64_t now_ns;
	bool fail_next;
	unsigned nr_critical;
	struct {
		void *(*start)(void *);
		void *arg;
		struct fiber fiber;
		bool joined, ended;
	} thread[THREADS_MAX];
	unsigned nr_threads;
	int turn; /* whose, -1: the opener's */
	struct fiber opener;
} w;

void world_begin(const struct world_ops *ops)
{
	memset(&w, 0, sizeof(w));
	w.ops = *ops;
	w.now_ns = START_S * 1000000000ULL;
	w.turn = -1;
}

void world_end(void)
{
	for (unsigned i = 0; i < w.nr_threads; i++)
		FZ_CHECK(w.thread[i].joined, "thread %u is left", i);
}

void world_fail_next(void)
{
	w.fail_next = true;
}

bool world_fails(void)
{
	bool now = w.fail_next;

	w.fail_next = false;
	return now;
}

/* --- threads --- */

unsigned world_nr_threads(void)
{
	return w.nr_threads;
}

/* swapcontext() itself: AddressSanitizer's own takes all poison off the stack that it goes to. */
static void swap(ucontext_t *from, const ucontext_t *to)
{
	static int (*real)(ucontext_t *, const ucontext_t *);

	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "swapcontext");
	FZ_CHECK(real != NULL && real(from, to) == 0, "swapcontext");
}

static void switch_to(struct fiber *from, struct fiber *to, bool ends)
{
	__sanitizer_start_switch_fiber(ends ? NULL : &from->fake, to->stack, to->bytes);
	swap(&from->context, &to->context);
	__sanitizer_finish_switch_fiber(from->fake, NULL, NULL);
}

static void fiber_main(void)
{
	int i = w.turn;

	__sanitizer_finish_switch_fiber(NULL, &w.opener.stack, &w.opener.bytes);
	(void)w.thread[i].start(w.thread[i].arg);
	w.thread[i].ended = true;
	switch_to(&w.thread[i].fiber, &w.opener, true);
}

void world_turn(unsigned thread)
{
	if (w.turn != -1 || thread >= w.nr_threads || w.thread[thread].ended)
		return;
	w.turn = (int)thread;
	switch_to(&w.opener, &w.thread[thread].fiber, false);
	w.turn = -1;
}

static void turn_of_all(void)
{
	for (unsigned i = 0; i < w.nr_threads; i++)
		world_turn(i);
}

void world_rest(void)
{
	if (w.turn != -1)
		switch_to(&w.thread[w.turn].fiber, &w.opener, false);
}

bool world_is_thread(void)
{
	return w.turn != -1;
}

void world_wait(void)
{
	if (w.turn != -1)
		world_rest();
	else
		w.ops.idle(w.ops.arg);
}

static void prepare_fiber(struct fiber *f, uint8_t *stack)
{
	ASAN_UNPOISON_MEMORY_REGION(stack, STACK_BYTES); /* of an earlier run's */
	f->stack = stack;
	f->bytes = STACK_BYTES;
	FZ_CHECK(getcontext(&f->context) == 0, "getcontext");
	f->context.uc_stack.ss_sp = stack;
	f->context.uc_stack.ss_size = STACK_BYTES;
	makecontext(&f->context, fiber_main, 0);
}

int __wrap_pthread_create(
	pthread_t *out, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
	(void)attr;
	if (world_fails())
		return EAGAIN;
	FZ_CHECK(w.nr_threads < THREADS_MAX, "threads without end");
	w.thread[w.nr_threads].start = start;
	w.thread[w.nr_threads].arg = arg;
	prepare_fiber(&w.thread[w.nr_threads].fiber, stacks[w.nr_threads]);
	*out = ++w.nr_threads;
	return 0;
}

int __wrap_pthread_join(pthread_t thread, void **result)
{
	unsigned i = (unsigned)thread - 1, turns = 0;

	(void)result;
	FZ_CHECK(i < w.nr_threads && !w.thread[i].joined && w.turn == -1, "a join of nobody");
	while (!w.thread[i].ended) {
		FZ_CHECK(turns++ < TURNS_MAX, "thread %u does not end", i);
		turn_of_all();
	}
	w.thread[i].joined = true;
	return 0;
}

int __wrap_pthread_setname_np(pthread_t thread, const char *name)
{
	(void)thread;
	(void)name;
	return 0;
}

/* Whoever has it is in the middle of something. */
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
	for (unsigned turns = 0; pthread_mutex_trylock(mutex) != 0; turns++) {
		FZ_CHECK(turns < TURNS_MAX, "a deadlock");
		if (w.turn != -1)
			world_rest();
		else
			turn_of_all();
	}
	return 0;
}

/* --- time --- */

uint64_t world_now_us(void)
{
	return w.now_ns / 1000;
}

void world_pass_us(uint64_t us)
{
	w.now_ns += us * 1000;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
	(void)clock;
	w.now_ns += LOOK_NS;
	*ts = (struct timespec){.tv_sec = (time_t)(w.now_ns / 1000000000),
		.tv_nsec = (long)(w.now_ns % 1000000000)};
	return 0;
}

int __wrap_nanosleep(const struct timespec *ts, struct timespec *left)
{
	(void)ts;
	(void)left;
	world_pass_us(NAP_US);
	world_wait();
	return 0;
}

/* --- messages: are their arguments what the format says? --- */

unsigned world_nr_critical(void)
{
	return w.nr_critical;
}

void __wrap_syslog(int priority, const char *format, ...)
{
	char text[1024];
	va_list args;

	w.nr_critical += priority == LOG_CRIT;
	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
}
