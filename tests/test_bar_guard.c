/* test_bar_guard.c - a mapping that goes away under its user, as a removed function's BAR does: a
 * file that is cut short gives the same SIGBUS. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "bar_guard.h"

#define NR_PAGES 3
#define BYTES    (NR_PAGES * (size_t)BAR_GUARD_BYTES)

static int fd;
static volatile uint8_t *mem;

static void setup(void)
{
	void *p;

	fd = memfd_create("bar", MFD_CLOEXEC);
	ck_assert_int_eq(ftruncate(fd, BYTES), 0);
	p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(p, MAP_FAILED);
	memset(p, 0x0f, BYTES);
	mem = p;
}

static void teardown(void)
{
	(void)munmap((void *)mem, BYTES);
	close(fd);
}

static void *page(unsigned i)
{
	return (void *)(mem + (size_t)i * BAR_GUARD_BYTES);
}

static void guard_all(void)
{
	for (unsigned i = 0; i < NR_PAGES; i++)
		ck_assert_int_eq(bar_guard_add(page(i)), 0);
}

static void unguard_all(void)
{
	for (unsigned i = 0; i < NR_PAGES; i++)
		bar_guard_remove(page(i));
}

static void take_away(void)
{
	ck_assert_int_eq(ftruncate(fd, 0), 0);
}

START_TEST(page_that_is_there_is_left_alone)
{
	guard_all();
	mem[5] = 1;
	ck_assert_uint_eq(mem[5], 1);
	ck_assert_uint_eq(mem[6], 0x0f);
	unguard_all();
}
END_TEST

START_TEST(page_that_went_away_reads_all_ones) /* VIRTIO.md trap 15 */
{
	guard_all();
	take_away();
	errno = 0;
	for (size_t i = 0; i < BYTES; i += 64)
		ck_assert_uint_eq(*(volatile uint32_t *)(mem + i), 0xffffffff);
	ck_assert_int_eq(errno, 0); /* the interrupted code's, not the handler's */
	unguard_all();
}
END_TEST

START_TEST(store_to_a_page_that_went_away_is_survived)
{
	guard_all();
	take_away();
	for (size_t i = 0; i < BYTES; i += BAR_GUARD_BYTES) {
		*(volatile uint16_t *)(mem + i) = 7;
		ck_assert_uint_eq(mem[i + 20], 0xff);
	}
	unguard_all();
}
END_TEST

START_TEST(page_is_guarded_once_more_after_others_were_let_go)
{
	guard_all();
	unguard_all();
	for (int i = 0; i < 100; i++) {
		ck_assert_int_eq(bar_guard_add(page(1)), 0);
		bar_guard_remove(page(1));
	}
	ck_assert_int_eq(bar_guard_add(page(2)), 0);
	take_away();
	ck_assert_uint_eq(mem[2 * BAR_GUARD_BYTES], 0xff);
	bar_guard_remove(page(2));
}
END_TEST

static void *read_all(void *arg)
{
	for (int i = 0; i < 200000; i++) {
		uint8_t val = mem[i % NR_PAGES * (int)BAR_GUARD_BYTES];

		if (val != 0x0f && val != 0xff)
			*(int *)arg = val + 1;
	}
	return NULL;
}

START_TEST(threads_see_the_old_or_ones_and_nothing_else)
{
	pthread_t thread[3];
	int bad[3] = {0};

	guard_all();
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, read_all, &bad[i]), 0);
	usleep(500);
	take_away();
	for (int i = 0; i < 3; i++) {
		pthread_join(thread[i], NULL);
		ck_assert_int_eq(bad[i], 0);
	}
	unguard_all();
}
END_TEST

/* Before the guard's, and after a look at what was there: the sanitizer's. */
static void default_action(void)
{
	const struct sigaction action = {.sa_handler = SIG_DFL};

	ck_assert_int_eq(sigaction(SIGBUS, &action, NULL), 0);
}

START_TEST(other_pages_still_raise_the_signal)
{
	default_action();
	ck_assert_int_eq(bar_guard_add(page(0)), 0);
	ck_assert_int_eq(bar_guard_add(page(1)), 0);
	bar_guard_remove(page(1));
	take_away();
	(void)mem[_i * (int)BAR_GUARD_BYTES];
}
END_TEST

static volatile int nr_handled;

static void by_file_again(int sig)
{
	(void)sig;
	nr_handled++;
	if (ftruncate(fd, BYTES) != 0)
		abort();
}

START_TEST(handler_that_was_there_before_still_gets_its_own)
{
	const struct sigaction action = {.sa_handler = by_file_again};

	ck_assert_int_eq(sigaction(SIGBUS, &action, NULL), 0);
	ck_assert_int_eq(bar_guard_add(page(0)), 0);
	take_away();
	ck_assert_uint_eq(mem[BAR_GUARD_BYTES], 0);
	ck_assert_int_eq(nr_handled, 1);
	bar_guard_remove(page(0));
}
END_TEST

START_TEST(signal_that_is_sent_is_no_access)
{
	const struct sigaction action = {.sa_handler = by_file_again};
	siginfo_t info = {.si_signo = SIGBUS, .si_code = SI_QUEUE};

	ck_assert_int_eq(sigaction(SIGBUS, &action, NULL), 0);
	ck_assert_int_eq(bar_guard_add(page(0)), 0);
	info.si_addr = page(0); /* where it has the sender's pid and uid, in fact */
	ck_assert_int_eq(syscall(SYS_rt_sigqueueinfo, getpid(), SIGBUS, &info), 0);
	ck_assert_int_eq(nr_handled, 1);
	bar_guard_remove(page(0));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("bar_guard");
	TCase *tc = tcase_create("guard");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, page_that_is_there_is_left_alone);
	tcase_add_test(tc, page_that_went_away_reads_all_ones);
	tcase_add_test(tc, store_to_a_page_that_went_away_is_survived);
	tcase_add_test(tc, page_is_guarded_once_more_after_others_were_let_go);
	tcase_add_test(tc, threads_see_the_old_or_ones_and_nothing_else);
	tcase_add_loop_test_raise_signal(tc, other_pages_still_raise_the_signal, SIGBUS, 1, 3);
	tcase_add_test(tc, handler_that_was_there_before_still_gets_its_own);
	tcase_add_test(tc, signal_that_is_sent_is_no_access);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
