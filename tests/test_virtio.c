/* test_virtio.c - the virtio bus (virtio_bus.c) on a transport of the test's own, which writes down
 * what it is asked to do.
 *
 * Row ids are those of the virtio checklist. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "virtio_bus.h"

#define BIT(n)    (1ULL << (n))
#define TEST_TYPE 77 /* a device type that no other driver wants */

/* The transport: a status register, and a log in words. */

static struct {
	char log[1024];
	uint8_t status;
	uint64_t offered, told;
	bool refuse_features_ok;
	bool gone;
	int reset_err, function_reset_err, finalize_err;
} t;

static void note(const char *word)
{
	if (t.log[0] != '\0')
		strcat(t.log, " ");
	strcat(t.log, word);
}

static uint8_t get_status(struct virtio_device *vdev)
{
	(void)vdev;
	return t.gone ? 0xff : t.status;
}

static void set_status(struct virtio_device *vdev, uint8_t status)
{
	char word[16];

	(void)vdev;
	(void)snprintf(word, sizeof(word), "s%u", status);
	note(word);
	ck_assert_uint_ne(status, 0);
	ck_assert_uint_eq(t.status & ~status, 0); /* ST2 */
	if (t.refuse_features_ok)
		status &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
	t.status = status;
}

static int reset(struct virtio_device *vdev)
{
	(void)vdev;
	note("reset");
	if (t.gone)
		return -ENODEV;
	if (t.reset_err == 0)
		t.status = 0;
	return t.reset_err;
}

static uint64_t get_features(struct virtio_device *vdev)
{
	(void)vdev;
	return t.offered;
}

static int finalize_features(struct virtio_device *vdev)
{
	note("features");
	t.told = vdev->features;
	return t.finalize_err;
}

static const struct virtio_config_ops config_ops = {
	.get_status = get_status,
	.set_status = set_status,
	.reset = reset,
	.get_features = get_features,
	.finalize_features = finalize_features,
};

static int bus_master(struct hw *hw, bool on)
{
	(void)hw;
	note(on ? "master" : "no-master");
	return 0;
}

static int function_reset(struct hw *hw)
{
	(void)hw;
	note("function-reset");
	if (t.function_reset_err == 0)
		t.status = 0;
	return t.function_reset_err;
}

static const struct hw_ops hw_ops = {.bus_master = bus_master, .function_reset = function_reset};
static struct hw hw = {.ops = &hw_ops};

/* The driver */

static struct {
	int validate_err, probe_err;
	bool ready_in_probe;
	bool config_in_probe;
	unsigned config_changes;
} d;

static int validate(struct virtio_device *vdev)
{
	note("validate");
	virtio_clear_feature(vdev, 5);
	return d.validate_err;
}

static int probe(struct virtio_device *vdev)
{
	note("probe");
	if (d.config_in_probe)
		virtio_config_changed(vdev);
	if (d.ready_in_probe)
		ck_assert_int_eq(virtio_device_ready(vdev), 0);
	return d.probe_err;
}

static void scan(struct virtio_device *vdev)
{
	(void)vdev;
	note("scan");
}

static void remove_device(struct virtio_device *vdev)
{
	note("remove");
	(void)virtio_reset_device(vdev);
}

static void config_changed(struct virtio_device *vdev)
{
	(void)vdev;
	note("config");
	d.config_changes++;
}

static const struct virtio_device_id ids[] = {{TEST_TYPE, VIRTIO_ANY_ID}, {0, 0}};
static const unsigned modern[] = {1, 2, 5, 9};
static const unsigned legacy[] = {1};
static struct virtio_driver driver = {
	.name = "test",
	.id_table = ids,
	.feature_table = modern,
	.nr_features = 4,
	.feature_table_legacy = legacy,
	.nr_features_legacy = 1,
	.validate = validate,
	.probe = probe,
	.scan = scan,
	.remove = remove_device,
	.config_changed = config_changed,
};

static struct virtio_device vdev;

static void setup(void)
{
	memset(&t, 0, sizeof(t));
	memset(&d, 0, sizeof(d));
	memset(&vdev, 0, sizeof(vdev));
	t.offered = ~0ULL;
	vdev.config = &config_ops;
	vdev.hw = &hw;
	vdev.id = (struct virtio_device_id){.device = TEST_TYPE, .vendor = 0x1af4};
	(void)virtio_register_driver(&driver);
}

static void log_is(const char *expect)
{
	ck_assert_str_eq(t.log, expect);
}

START_TEST(device_is_brought_up_in_the_specified_order) /* ST1, IN1 */
{
	ck_assert_int_eq(virtio_register_device(&vdev), 0);
	log_is("reset s1 s3 validate features s11 probe s15 scan");
	ck_assert_ptr_eq(vdev.drv, &driver);
	virtio_unregister_device(&vdev);
	log_is("reset s1 s3 validate features s11 probe s15 scan remove reset");
}
END_TEST

START_TEST(driver_that_does_io_in_probe_makes_the_device_ready_itself) /* IN4 */
{
	d.ready_in_probe = true;
	ck_assert_int_eq(virtio_register_device(&vdev), 0);
	log_is("reset s1 s3 validate features s11 probe s15 scan");
	virtio_unregister_device(&vdev);
}
END_TEST

START_TEST(only_what_both_sides_know_is_accepted) /* FE1, FE4 */
{
	t.offered = ~BIT(9);
	ck_assert_int_eq(virtio_register_device(&vdev), 0);
	/* Block bits: the table's, as offered, without what validate() cleared. Above: the
	 * transport decides. */
	ck_assert_uint_eq(t.told & (BIT(28) - 1), BIT(1) | BIT(2));
	ck_assert_uint_eq(t.told & ~t.offered, 0);
	ck_assert(virtio_has_feature(&vdev, 2));
	ck_assert(!virtio_has_feature(&vdev, 5));
	virtio_unregister_device(&vdev);
}
END_TEST

START_TEST(device_without_version_1_is_offered_the_legacy_table) /* FE2 */
{
	t.offered = ~BIT(VIRTIO_F_VERSION_1);
	ck_assert_int_eq(virtio_register_device(&vdev), 0);
	ck_assert_uint_eq(t.told & (BIT(28) - 1), BIT(1));
	virtio_unregister_device(&vdev);
}
END_TEST

START_TEST(device_that_no_driver_wants_is_let_go) /* IN3 */
{
	vdev.id.device = TEST_TYPE + 1;
	ck_assert_int_eq(virtio_register_device(&vdev), -ENXIO);
	log_is("reset s1 s129 reset");
	ck_assert_ptr_nonnull(strstr(vdev.why, "78"));
}
END_TEST

START_TEST(no_step_follows_one_that_failed) /* IN2, IN3, ST3 */
{
	static const char *const logs[] = {
		"reset s1 s3 validate s131 reset",
		"reset s1 s3 validate features s131 reset",
		"reset s1 s3 validate features s11 s131 reset",
		"reset s1 s3 validate features s11 probe s139 reset",
	};

	d.validate_err = _i == 0 ? -EPROTO : 0;
	t.finalize_err = _i == 1 ? -EPROTO : 0;
	t.refuse_features_ok = _i == 2;
	d.probe_err = _i == 3 ? -EPROTO : 0;
	ck_assert_int_eq(virtio_register_device(&vdev), _i == 2 ? -EOPNOTSUPP : -EPROTO);
	log_is(logs[_i]);
	ck_assert_uint_eq(t.status, 0);
}
END_TEST

START_TEST(first_reason_of_a_failure_is_kept)
{
	ck_assert_int_eq(virtio_fail(&vdev, -EPROTO, "first %d", 1), -EPROTO);
	ck_assert_int_eq(virtio_fail(&vdev, -EIO, "second"), -EIO);
	ck_assert_str_eq(vdev.why, "first 1");
}
END_TEST

START_TEST(giving_up_happens_once)
{
	virtio_give_up(&vdev);
	virtio_give_up(&vdev);
	log_is("s128 reset");
}
END_TEST

START_TEST(device_that_does_not_reset_loses_bus_mastering) /* CL2, VIRTIO.md trap 14 */
{
	t.reset_err = -ETIMEDOUT;
	t.function_reset_err = _i ? -EOPNOTSUPP : 0;
	t.status = 15;
	ck_assert_int_eq(virtio_reset_device(&vdev), _i ? -ETIMEDOUT : 0);
	log_is("reset no-master function-reset");
	ck_assert_int_eq(vdev.reset_failed, _i); /* then its memory may not be freed */
}
END_TEST

START_TEST(removed_device_is_gone) /* VIRTIO.md trap 15: all ones */
{
	t.gone = true;
	ck_assert_int_eq(virtio_register_device(&vdev), -ENODEV);
	log_is("reset no-master");
	ck_assert_ptr_nonnull(strstr(vdev.why, "gone"));
}
END_TEST

/* Its addresses may be another one's by then: removed and plugged in again. */
START_TEST(device_that_was_lost_is_not_touched_any_more)
{
	ck_assert_int_eq(virtio_register_device(&vdev), 0);
	if (_i == 0) {
		virtio_device_gone(&vdev, -ENODEV);
	} else {
		t.gone = true;
		ck_assert_int_eq(virtio_device_health(&vdev), -ENODEV);
		t.gone = false;
	}
	t.log[0] = '\0';
	ck_assert_int_eq(virtio_device_ready(&vdev), -ENODEV);
	ck_assert_int_eq(virtio_reset_device(&vdev), -ENODEV);
	virtio_unregister_device(&vdev);
	log_is("no-master remove no-master");
	ck_assert_uint_eq(t.status, 15);
}
END_TEST

START_TEST(change_before_the_probe_ended_is_told_after_it) /* NT1, BO18 */
{
	d.config_in_probe = true;
	ck_assert_int_eq(virtio_register_device(&vdev), 0);
	log_is("reset s1 s3 validate features s11 probe s15 scan config");
	ck_assert_uint_eq(d.config_changes, 1);
	virtio_config_changed(&vdev);
	ck_assert_uint_eq(d.config_changes, 2);
	virtio_unregister_device(&vdev);
}
END_TEST

START_TEST(health_is_what_the_status_register_says) /* ST4 */
{
	ck_assert_int_eq(virtio_register_device(&vdev), 0);
	ck_assert_int_eq(virtio_device_health(&vdev), 0);
	t.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	ck_assert_int_eq(virtio_device_health(&vdev), -EIO);
	t.status = 11; /* bus mastering was taken away: QEMU drops DRIVER_OK */
	ck_assert_int_eq(virtio_device_health(&vdev), -ECONNRESET);
	t.status = 15;
	virtio_device_gone(&vdev, -ENODEV);
	ck_assert_uint_eq(d.config_changes, 1);
	ck_assert_int_eq(virtio_device_health(&vdev), -ENODEV);
	virtio_unregister_device(&vdev);
}
END_TEST

START_TEST(driver_is_registered_once)
{
	ck_assert_int_eq(virtio_register_driver(&driver), -EEXIST);
}
END_TEST

static void attribute_is(const char *name, const char *expect)
{
	char text[80];

	ck_assert_int_eq(virtio_attribute(&vdev, name, text, sizeof(text)), (int)strlen(expect));
	ck_assert_str_eq(text, expect);
}

START_TEST(attributes_read_as_in_sysfs)
{
	char text[8];

	t.offered = BIT(1) | BIT(VIRTIO_F_VERSION_1);
	ck_assert_int_eq(virtio_register_device(&vdev), 0);
	attribute_is("status", "0x0000000f");
	attribute_is("device", "0x004d");
	attribute_is("vendor", "0x1af4");
	attribute_is("modalias", "virtio:d0000004Dv00001AF4");
	attribute_is(
		"features", "0100000000000000000000000000000010000000000000000000000000000000");
	ck_assert_int_eq(virtio_attribute(&vdev, "size", text, sizeof(text)), -ENOENT);
	virtio_unregister_device(&vdev);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("virtio");
	TCase *tc = tcase_create("bus");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, device_is_brought_up_in_the_specified_order);
	tcase_add_test(tc, driver_that_does_io_in_probe_makes_the_device_ready_itself);
	tcase_add_test(tc, only_what_both_sides_know_is_accepted);
	tcase_add_test(tc, device_without_version_1_is_offered_the_legacy_table);
	tcase_add_test(tc, device_that_no_driver_wants_is_let_go);
	tcase_add_loop_test(tc, no_step_follows_one_that_failed, 0, 4);
	tcase_add_test(tc, first_reason_of_a_failure_is_kept);
	tcase_add_test(tc, giving_up_happens_once);
	tcase_add_loop_test(tc, device_that_does_not_reset_loses_bus_mastering, 0, 2);
	tcase_add_test(tc, removed_device_is_gone);
	tcase_add_loop_test(tc, device_that_was_lost_is_not_touched_any_more, 0, 2);
	tcase_add_test(tc, change_before_the_probe_ended_is_told_after_it);
	tcase_add_test(tc, health_is_what_the_status_register_says);
	tcase_add_test(tc, driver_is_registered_once);
	tcase_add_test(tc, attributes_read_as_in_sysfs);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
