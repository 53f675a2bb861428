/* test_owner_lock.c - nobody is inside together with the owner, from before it was shared to long after. */
#include <check.h>
#include <stdlib.h>
#include "owner_lock.h"

#define ROUNDS     40
#define OWNER_ADDS 5000U
#define GUEST_ADDS 500U

static struct owner_lock lock;
static unsigned long counter; /* plain: two inside at once lose an addition */
static atomic_bool owner_runs;

static void add(unsigned times)
{
	for (unsigned i = 0; i < times; i++) {
		owner_lock(&lock);
		*(volatile unsigned long *)&counter += 1;
		owner_unlock(&lock);
	}
}

static void *owner(void *arg)
{
	(void)arg;
	atomic_store(&owner_runs, true);
	add(OWNER_ADDS);
	return NULL;
}

static void *guest(void *arg)
{
	(void)arg;
	owner_lock_share(&lock);
	add(GUEST_ADDS);
	return NULL;
}

START_TEST(additions_of_owner_and_guests_are_never_lost)
{
	for (int round = 0; round < ROUNDS; round++) {
		pthread_t thread[3];

		owner_lock_init(&lock);
		counter = 0;
		atomic_store(&owner_runs, false);
		pthread_create(&thread[0], NULL, owner, NULL);
		while (!atomic_load(&owner_runs))
			;
		pthread_create(&thread[1], NULL, guest, NULL);
		pthread_create(&thread[2], NULL, guest, NULL);
		for (int i = 0; i < 3; i++)
			pthread_join(thread[i], NULL);
		ck_assert_uint_eq(counter, OWNER_ADDS + 2 * GUEST_ADDS);
		owner_lock_destroy(&lock);
	}
}
END_TEST

START_TEST(sharing_waits_until_the_owner_is_out)
{
	pthread_t thread;

	owner_lock_init(&lock);
	counter = 0;
	owner_lock(&lock);
	pthread_create(&thread, NULL, guest, NULL);
	for (int i = 0; i < 100000; i++)
		ck_assert_uint_eq(*(volatile unsigned long *)&counter, 0);
	owner_unlock(&lock);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(counter, GUEST_ADDS);
	owner_lock_destroy(&lock);
}
END_TEST

START_TEST(the_owner_alone_stays_unshared)
{
	owner_lock_init(&lock);
	add(10);
	ck_assert(!owner_lock_is_shared(&lock));
	owner_lock_share(&lock);
	ck_assert(owner_lock_is_shared(&lock));
	add(10);
	owner_lock_destroy(&lock);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("owner_lock");
	TCase *t = tcase_create("lock");
	SRunner *runner = srunner_create(s);
	int failed;

	tcase_add_test(t, additions_of_owner_and_guests_are_never_lost);
	tcase_add_test(t, sharing_waits_until_the_owner_is_out);
	tcase_add_test(t, the_owner_alone_stays_unshared);
	tcase_set_timeout(t, 60);
	suite_add_tcase(s, t);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
