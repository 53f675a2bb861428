/* test_histogram.c - latencies by magnitude: cmd/histogram.c. */
#include <check.h>
#include <stdlib.h>
#include "../cmd/histogram.c"

static struct histogram h;

static void setup(void)
{
	h = (struct histogram){0};
}

START_TEST(percentile_is_3_percent_exact) /* looped over powers of two */
{
	uint64_t ns = 1ULL << _i, odd = ns + ns / 3;

	histogram_add(&h, odd);
	h.max_ns = UINT64_MAX; /* else it is exact anyway */
	ck_assert_double_eq_tol(
		histogram_percentile_us(&h, 50) * 1e3, (double)odd, (double)odd * 0.03 + 1e-6);
	ck_assert_uint_eq(histogram_power(&h, (unsigned)_i), 1);
	ck_assert_uint_eq(histogram_power(&h, (unsigned)_i + 1), 0);
}
END_TEST

START_TEST(percentiles_are_in_order)
{
	for (uint64_t ns = 1; ns <= 1000; ns++)
		histogram_add(&h, ns * 1000);
	ck_assert_uint_eq(h.nr, 1000);
	ck_assert_double_eq_tol(histogram_mean_us(&h), 500.5, 0.001);
	ck_assert_double_eq_tol(histogram_percentile_us(&h, 50), 500, 15);
	ck_assert_double_eq_tol(histogram_percentile_us(&h, 99), 990, 30);
	ck_assert_double_eq(histogram_percentile_us(&h, 100), 1000); /* never more than the most */
}
END_TEST

START_TEST(none_have_no_latency)
{
	ck_assert_double_eq(histogram_mean_us(&h), 0);
	ck_assert_double_eq(histogram_percentile_us(&h, 99), 0);
}
END_TEST

START_TEST(merged_counts_both)
{
	static struct histogram other;

	histogram_add(&other, 5000);
	histogram_add(&h, 10);
	histogram_merge(&h, &other);
	ck_assert_uint_eq(h.nr, 2);
	ck_assert_uint_eq(h.max_ns, 5000);
	ck_assert_double_eq_tol(histogram_percentile_us(&h, 50), 0.010, 0.0001);
	ck_assert_double_eq_tol(histogram_percentile_us(&h, 100), 5, 0.15);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("histogram");
	TCase *tc = tcase_create("histogram");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_loop_test(tc, percentile_is_3_percent_exact, 0, 62);
	tcase_add_test(tc, percentiles_are_in_order);
	tcase_add_test(tc, none_have_no_latency);
	tcase_add_test(tc, merged_counts_both);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
