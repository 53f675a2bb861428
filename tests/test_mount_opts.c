/* test_mount_opts.c - the options of a mount: cmd/mount_opts.c. */
#include <check.h>
#include <stdlib.h>
#include "../cmd/mount_opts.c"

static struct mount_opts o;
static char err[256];

static void set_up(void)
{
	mount_opts_init(&o);
	free(o.kernel); /* depends on who runs the test */
	o.kernel = NULL;
	err[0] = '\0';
}

static void tear_down(void)
{
	mount_opts_free(&o);
}

static int add(const char *list)
{
	return mount_opts_add(&o, list, false, err, sizeof(err));
}

START_TEST(what_mount_and_fstab_pass_changes_nothing)
{
	ck_assert_int_eq(
		add("defaults,auto,noauto,user,users,owner,group,nofail,_netdev,comment=a b,"
		    "x-systemd.automount,x-systemd.device-timeout=5,X-mount.mkdir=0755,relatime,"
		    "strictatime,nodiratime,lazytime,user=joe"),
		0);
	ck_assert_ptr_null(o.kernel);
	ck_assert(!o.read_only);
	ck_assert_uint_eq(o.commit_s, 0);
}
END_TEST

START_TEST(what_concerns_the_kernel_is_handed_on_in_order)
{
	ck_assert_int_eq(add("rw,nosuid,commit=7,nodev,noatime"), 0);
	ck_assert_str_eq(o.kernel, "rw,nosuid,nodev,noatime");
	ck_assert_uint_eq(o.commit_s, 7);
}
END_TEST

START_TEST(the_last_of_ro_and_rw_counts)
{
	ck_assert_int_eq(add("ro"), 0);
	ck_assert(o.read_only);
	ck_assert_int_eq(add("rw"), 0);
	ck_assert(!o.read_only);
}
END_TEST

START_TEST(a_comma_in_quotes_does_not_end_an_option)
{
	ck_assert_int_eq(add("context=\"system_u:object_r:tmp_t:s0:c1,c2\",ro"), 0);
	ck_assert_str_eq(o.kernel, "context=\"system_u:object_r:tmp_t:s0:c1,c2\",ro");
	ck_assert(o.read_only);
}
END_TEST

START_TEST(an_unknown_option_is_refused_by_name)
{
	ck_assert_int_eq(add("ro,nonsense=1,rw"), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err, "nonsense"));
}
END_TEST

START_TEST(sloppy_tolerates_unknown_options_but_no_bad_values)
{
	ck_assert_int_eq(mount_opts_add(&o, "nonsense", true, err, sizeof(err)), 0);
	ck_assert_int_eq(mount_opts_add(&o, "commit=x", true, err, sizeof(err)), -EINVAL);
}
END_TEST

START_TEST(remount_is_refused)
{
	ck_assert_int_eq(add("remount,ro"), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err, "remount"));
}
END_TEST

START_TEST(a_number_is_taken_from_its_least_to_its_greatest) /* looped over the table */
{
	const struct number *n = &numbers[_i];
	unsigned *at = (unsigned *)((char *)&o + n->at);
	char list[64];

	snprintf(list, sizeof(list), "%s=%u", n->name, n->min);
	ck_assert_int_eq(add(list), 0);
	ck_assert_uint_eq(*at, n->min);
	snprintf(list, sizeof(list), "%s=%u", n->name, n->max);
	ck_assert_int_eq(add(list), 0);
	ck_assert_uint_eq(*at, n->max);
}
END_TEST

START_TEST(what_is_no_such_number_is_refused) /* looped over the table */
{
	static const char *const bad_values[] = {
		"", "=", "=x", "=-1", "=1x", "= 1", "=99999999999999999999"};
	const struct number *n = &numbers[_i];
	char list[64];

	for (size_t i = 0; i < NR(bad_values); i++) {
		snprintf(list, sizeof(list), "%s%s", n->name, bad_values[i]);
		ck_assert_msg(add(list) == -EINVAL, "%s", list);
	}
	snprintf(list, sizeof(list), "%s=%u", n->name, n->max + 1);
	ck_assert_int_eq(add(list), -EINVAL);
	if (n->min > 0) {
		snprintf(list, sizeof(list), "%s=%u", n->name, n->min - 1);
		ck_assert_int_eq(add(list), -EINVAL);
	}
}
END_TEST

START_TEST(a_queue_size_is_a_power_of_two)
{
	ck_assert_int_eq(add("queue-size=64"), 0);
	ck_assert_int_eq(add("queue-size=3"), -EINVAL);
	ck_assert_int_eq(add("queue-size=96"), -EINVAL);
	ck_assert_int_eq(add("workers=3"), 0);
}
END_TEST

START_TEST(errors_takes_its_three_words_only)
{
	ck_assert_int_eq(add("errors=shutdown"), 0);
	ck_assert_int_eq(o.errors, FS_ERRORS_SHUTDOWN);
	ck_assert_int_eq(add("errors=continue"), 0);
	ck_assert_int_eq(o.errors, FS_ERRORS_CONTINUE);
	ck_assert_int_eq(add("errors=remount-ro"), 0);
	ck_assert_int_eq(o.errors, FS_ERRORS_REMOUNT_RO);
	ck_assert_int_eq(add("errors=panic"), -EINVAL);
	ck_assert_int_eq(add("errors"), -EINVAL);
}
END_TEST

START_TEST(a_flag_takes_no_value)
{
	ck_assert_int_eq(add("ro=1"), -EINVAL);
	ck_assert_int_eq(add("poll=1"), -EINVAL);
	ck_assert_int_eq(add("queue-reset=1"), -EINVAL);
	ck_assert(!o.queue_reset);
	ck_assert_int_eq(add("queue-reset"), 0);
	ck_assert(o.queue_reset);
	ck_assert_int_eq(add("writethrough=1"), -EINVAL);
	ck_assert(!o.write_through);
	ck_assert_int_eq(add("writethrough"), 0);
	ck_assert(o.write_through);
	ck_assert_int_eq(add("allow_other=1"), -EINVAL);
	ck_assert_int_eq(add("context"), -EINVAL);
}
END_TEST

START_TEST(the_last_of_barrier_and_nobarrier_counts)
{
	ck_assert(!o.no_barrier);
	ck_assert_int_eq(add("nobarrier"), 0);
	ck_assert(o.no_barrier);
	ck_assert_int_eq(add("barrier"), 0);
	ck_assert(!o.no_barrier);
	ck_assert_int_eq(add("barrier=0"), -EINVAL);
}
END_TEST

START_TEST(others_are_let_in_and_kept_out)
{
	ck_assert_int_eq(add("allow_other"), 0);
	ck_assert(o.allow_other);
	ck_assert_int_eq(add("noallow_other"), 0);
	ck_assert(!o.allow_other);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("mount_opts");
	TCase *tc = tcase_create("mount_opts");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, what_mount_and_fstab_pass_changes_nothing);
	tcase_add_test(tc, what_concerns_the_kernel_is_handed_on_in_order);
	tcase_add_test(tc, the_last_of_ro_and_rw_counts);
	tcase_add_test(tc, a_comma_in_quotes_does_not_end_an_option);
	tcase_add_test(tc, an_unknown_option_is_refused_by_name);
	tcase_add_test(tc, sloppy_tolerates_unknown_options_but_no_bad_values);
	tcase_add_test(tc, remount_is_refused);
	tcase_add_loop_test(tc, a_number_is_taken_from_its_least_to_its_greatest, 0, NR(numbers));
	tcase_add_loop_test(tc, what_is_no_such_number_is_refused, 0, NR(numbers));
	tcase_add_test(tc, a_queue_size_is_a_power_of_two);
	tcase_add_test(tc, errors_takes_its_three_words_only);
	tcase_add_test(tc, a_flag_takes_no_value);
	tcase_add_test(tc, the_last_of_barrier_and_nobarrier_counts);
	tcase_add_test(tc, others_are_let_in_and_kept_out);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
