/* test_disk_json.c - what JSON says of a device: cmd/disk_json.c. */
#include <check.h>
#include <string.h>
#include "../cmd/disk_json.c"

static struct json_object *o;

static void teardown(void)
{
	json_object_put(o);
	o = NULL;
}

START_TEST(a_feature_that_the_specification_does_not_know_has_no_name)
{
	const struct vblk_detail d = {.offered = 1ULL << 47 | 1ULL << 9, .features = 1ULL << 9};

	o = features_json(&d);
	ck_assert_str_eq(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN),
		"[{\"bit\":9,\"name\":\"FLUSH\",\"negotiated\":true},"
		"{\"bit\":47,\"name\":null,\"negotiated\":false}]");
}
END_TEST

START_TEST(figures_come_back_as_they_were)
{
	struct blk_stat st, got;

	for (size_t i = 0; i < sizeof(st) / sizeof(uint64_t); i++)
		((uint64_t *)&st)[i] = i + 1;
	st.batches[BLK_BATCH_BUCKETS - 1] = 0; /* not written */
	o = ring_json(&st);
	disk_json_get_stat(o, &got);
	ck_assert_mem_eq(&got, &st, sizeof(st));
}
END_TEST

START_TEST(figures_that_are_not_there_are_0)
{
	const struct blk_stat none = {0};
	struct blk_stat got;

	o = json_object_new_object();
	disk_json_get_stat(o, &got);
	ck_assert_mem_eq(&got, &none, sizeof(none));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("disk_json");
	TCase *tc = tcase_create("disk_json");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, NULL, teardown);
	tcase_add_test(tc, a_feature_that_the_specification_does_not_know_has_no_name);
	tcase_add_test(tc, figures_come_back_as_they_were);
	tcase_add_test(tc, figures_that_are_not_there_are_0);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
