/* test_refused.c - what is remembered of files that lost writes. */
#include <check.h>
#include <stdlib.h>
#include "memfs.h"
#include "refused.h"

#define SECOND 1000000000ULL

static struct refused r;

static void setup(void)
{
	refused_init(&r);
}

static void teardown(void)
{
	refused_destroy(&r);
}

START_TEST(a_lost_write_is_told_once)
{
	refused_note(&r, 5, SECOND);
	refused_note(&r, 5, SECOND);
	ck_assert(refused_look(&r, 5, 2 * SECOND));
	ck_assert(!refused_take(&r, 6, 2 * SECOND));
	ck_assert(refused_take(&r, 5, 2 * SECOND));
	ck_assert(!refused_look(&r, 5, 2 * SECOND));
	ck_assert(!refused_take(&r, 5, 2 * SECOND));
	refused_note(&r, 5, 3 * SECOND);
	ck_assert(refused_take(&r, 5, 3 * SECOND));
}
END_TEST

START_TEST(what_is_old_is_forgotten)
{
	refused_note(&r, 5, SECOND);
	ck_assert(refused_look(&r, 5, REFUSED_S * SECOND));
	ck_assert(!refused_look(&r, 5, (REFUSED_S + 1) * SECOND));
	ck_assert(!refused_take(&r, 5, SECOND));
}
END_TEST

/* As the test has the lock, whoever takes it waits for ever. */
START_TEST(nobody_takes_the_lock_once_all_is_told_or_old)
{
	refused_note(&r, 5, SECOND);
	refused_note(&r, 6, SECOND);
	ck_assert(refused_take(&r, 5, SECOND));
	ck_assert(!refused_look(&r, 7, (REFUSED_S + 1) * SECOND));
	pthread_mutex_lock(&r.lock);
	ck_assert(!refused_look(&r, 6, SECOND));
	ck_assert(!refused_take(&r, 6, SECOND));
	pthread_mutex_unlock(&r.lock);
	refused_note(&r, 6, 20 * SECOND);
	ck_assert(refused_take(&r, 6, 20 * SECOND));
	pthread_mutex_lock(&r.lock);
	ck_assert(!refused_take(&r, 6, 20 * SECOND));
	pthread_mutex_unlock(&r.lock);
}
END_TEST

START_TEST(what_was_noted_after_the_look_began_is_not_old)
{
	refused_note(&r, 5, 2 * SECOND);
	ck_assert(refused_look(&r, 5, SECOND));
	ck_assert(refused_look(&r, 5, 2 * SECOND));
}
END_TEST

START_TEST(of_many_the_oldest_make_room)
{
	for (unsigned i = 1; i <= REFUSED_MAX + 3; i++)
		refused_note(&r, i, SECOND);
	for (unsigned i = 1; i <= REFUSED_MAX + 3; i++)
		ck_assert_int_eq(refused_take(&r, i, SECOND), i > 3);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("refused");
	TCase *tc = tcase_create("refused");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_lost_write_is_told_once);
	tcase_add_test(tc, what_is_old_is_forgotten);
	tcase_add_test(tc, nobody_takes_the_lock_once_all_is_told_or_old);
	tcase_add_test(tc, what_was_noted_after_the_look_began_is_not_old);
	tcase_add_test(tc, of_many_the_oldest_make_room);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return run_suite(suite());
}
