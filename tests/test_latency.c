/* test_latency.c - percentiles from buckets: cmd/latency.c. */
#include <check.h>
#include <stdlib.h>
#include "../cmd/latency.c"

START_TEST(percentile_lies_in_its_bucket)
{
	struct latency l = {.buckets = {[1] = 50, [5] = 49, [20] = 1}, .us = 50 + 49 * 20 + 600000};

	ck_assert_uint_eq(latency_nr(&l), 100);
	ck_assert_double_eq_tol(latency_mean(&l), 6010.3, 0.01);
	ck_assert_double_eq_tol(latency_percentile(&l, 50), 2, 0.001); /* all of 1 to 2 us */
	ck_assert_double_ge(latency_percentile(&l, 51), 16);
	ck_assert_double_le(latency_percentile(&l, 99), 32);
	ck_assert_double_gt(latency_percentile(&l, 99.9), 1 << 19);
	ck_assert_double_le(latency_percentile(&l, 100), 1 << 20);
}
END_TEST

START_TEST(none_have_no_latency)
{
	struct latency l = {0};

	ck_assert_double_eq(latency_mean(&l), 0);
	ck_assert_double_eq(latency_percentile(&l, 99), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("latency");
	TCase *tc = tcase_create("latency");
	SRunner *sr;
	int failed;

	tcase_add_test(tc, percentile_lies_in_its_bucket);
	tcase_add_test(tc, none_have_no_latency);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
