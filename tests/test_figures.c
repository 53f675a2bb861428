/* test_figures.c - sums and tables of rings' figures: cmd/figures.c and cmd/figures_print.c. */
#include <check.h>
#include <stdlib.h>
#include "../cmd/figures.c"
#include "../cmd/figures_print.c"
#include "../cmd/human.c"
#include "../cmd/latency.c"

const char *const disk_json_ops[BLK_NR_OPS] = {
	"read", "write", "flush", "discard", "write_zeroes", "secure_erase"};

static struct blk_stat rings[2];
static char *text;

static void setup(void)
{
	rings[0] = (struct blk_stat){
		.reads = 7,
		.read_bytes = 28672,
		.others = 3,
		.kicks = 4,
		.kicks_saved = 1,
		.batches = {4, 0, 1},
	};
	rings[0].latency[BLK_READ][3] = 7;
	rings[0].latency[BLK_DISCARD][12] = 3;
	rings[1] = (struct blk_stat){.writes = 5, .write_bytes = 4096, .kicks = 5, .errors = 2};
	rings[1].latency[BLK_WRITE][9] = 5;
}

static void teardown(void)
{
	free(text);
	text = NULL;
}

static void print(unsigned n, double seconds, bool histograms)
{
	size_t bytes;
	FILE *to = open_memstream(&text, &bytes);

	figures_print(to, rings, n, seconds, histograms);
	ck_assert_int_eq(fclose(to), 0);
}

/* Whether TEXT has a line of these words, whatever is between them. */
static bool has_line(const char *words)
{
	char *copy = strdup(text), *rest = copy, *l;
	bool found = false;

	while (!found && (l = strsep(&rest, "\n")) != NULL) {
		char joined[256] = "", *word;

		while ((word = strsep(&l, " ")) != NULL) {
			if (*word == '\0')
				continue;
			if (joined[0] != '\0')
				strcat(joined, " ");
			strcat(joined, word);
		}
		found = strcmp(joined, words) == 0;
	}
	free(copy);
	return found;
}

START_TEST(each_ring_has_a_line_and_all_have_one)
{
	print(2, 0, false);
	ck_assert_msg(has_line("req.0 7 28.0 KiB 0 0 B 0 3 0"), "%s", text);
	ck_assert(has_line("req.1 0 0 B 5 4.0 KiB 0 0 2"));
	ck_assert(has_line("total 7 28.0 KiB 5 4.0 KiB 0 3 2"));
	ck_assert(has_line("req.0 4 1 0 0 0 2.0"));
	ck_assert(has_line("total 9 1 0 0 0 1.5"));
	ck_assert(has_line("req.0 discard 3 0 3072 3994 4076 4094"));
	ck_assert(has_line("total write 5 0 384 499 509 512"));
	ck_assert_ptr_null(strstr(text, "batches"));
}
END_TEST

START_TEST(one_ring_needs_no_sum)
{
	print(1, 0, true);
	ck_assert_ptr_nonnull(strstr(text, "req.0"));
	ck_assert_ptr_null(strstr(text, "total"));
}
END_TEST

START_TEST(counters_of_an_interval_are_rates)
{
	print(2, 2, false);
	ck_assert_msg(has_line("req.0 3.5 14.0 KiB 0 0 B 0 1.5 0"), "%s", text);
	ck_assert(has_line("total 4.5 0.5 0 0 0 1.5")); /* a batch is none */
	ck_assert(has_line("req.0 discard 3 0 3072 3994 4076 4094"));
}
END_TEST

START_TEST(histograms_have_each_bucket_of_each_ring)
{
	print(2, 0, true);
	ck_assert_msg(has_line("req.0 4 0 1 0 0 0 0 0"), "%s", text);
	ck_assert(has_line("total 4 0 1 0 0 0 0 0"));
	ck_assert(has_line("req.0 latency read write discard")); /* of no flush */
	ck_assert(has_line("4.0 us and up 7 0 0"));
	ck_assert(has_line("2.0 ms and up 0 0 3"));
	ck_assert(has_line("256 us and up 0 5 0"));
}
END_TEST

START_TEST(hundred_columns_are_enough) /* for thousands of millions, and all ops */
{
	char *rest, *l;

	memset(rings, 0, sizeof(rings));
	for (size_t i = 0; i < sizeof(rings[0]) / sizeof(uint64_t); i++)
		((uint64_t *)&rings[0])[i] = 70000000;
	print(2, 0, true);
	rest = text;
	while ((l = strsep(&rest, "\n")) != NULL)
		ck_assert_msg(strlen(l) <= 100, "%s", l);
}
END_TEST

START_TEST(an_interval_is_a_difference)
{
	struct blk_stat now = rings[0], sum = rings[1];

	figures_add(&now, &rings[1]);
	figures_subtract(&now, &rings[0]);
	ck_assert_mem_eq(&now, &rings[1], sizeof(now));
	figures_subtract(&sum, &rings[0]); /* another ring's: none is below 0 */
	ck_assert_uint_eq(sum.reads, 0);
	ck_assert_uint_eq(sum.writes, 5);
	ck_assert_uint_eq(sum.kicks, 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("figures");
	TCase *tc = tcase_create("figures");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, each_ring_has_a_line_and_all_have_one);
	tcase_add_test(tc, one_ring_needs_no_sum);
	tcase_add_test(tc, counters_of_an_interval_are_rates);
	tcase_add_test(tc, histograms_have_each_bucket_of_each_ring);
	tcase_add_test(tc, hundred_columns_are_enough);
	tcase_add_test(tc, an_interval_is_a_difference);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
