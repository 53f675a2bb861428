/* test_features.c - the table of man/vblkfs.7 says of every feature bit and transport what the driver
 * does when a device offers all bits at once. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "model/rig.h"
#include "model/vmock.h"
#include "vhost_user.h"
#include "virtio_blk.h"

#define PAGE     "man/vblkfs.7" /* tests run at the top of the repository */
#define NR_BITS  64U
#define NR_NAMED 29U
#define BIT(n)   (1ULL << (n))

enum { PCI, LEGACY, VFIO, VHOST_USER, NR_TRANSPORTS };

struct row {
	bool there;
	char name[32];
	char says[NR_TRANSPORTS][8];
};

static struct row rows[NR_BITS];

static void read_row(const char *line)
{
	struct row row = {.there = true};
	unsigned bit;

	if (sscanf(line, ".It %u Ta %31s Ta %7s Ta %7s Ta %7s Ta %7s", &bit, row.name, row.says[0],
		    row.says[1], row.says[2], row.says[3]) != 2 + NR_TRANSPORTS)
		return;
	ck_assert_uint_lt(bit, NR_BITS);
	ck_assert_msg(!rows[bit].there, "bit %u is there twice", bit);
	rows[bit] = row;
}

static void read_page(void)
{
	FILE *page = fopen(PAGE, "r");
	char line[256];

	ck_assert_msg(page != NULL, "no " PAGE ": run this at the top of the repository");
	memset(rows, 0, sizeof(rows));
	while (fgets(line, sizeof(line), page) != NULL)
		read_row(line);
	(void)fclose(page);
}

static void compare(unsigned transport, uint64_t offered, uint64_t accepted)
{
	for (unsigned bit = 0; bit < NR_BITS; bit++) {
		const char *is = accepted & BIT(bit) ? "yes" : offered & BIT(bit) ? "no" : "-";

		if (rows[bit].there)
			ck_assert_msg(strcmp(rows[bit].says[transport], is) == 0,
				"bit %u, %s: %s, and the page says %s", bit, rows[bit].name, is,
				rows[bit].says[transport]);
		else
			ck_assert_msg(strcmp(is, "yes") != 0,
				"bit %u is accepted, and not on the page", bit);
	}
}

static uint64_t features_of(struct blockdev *dev)
{
	static struct vblk_detail detail;

	ck_assert_int_eq(vblk_describe(dev, &detail), 0);
	return detail.features;
}

START_TEST(every_named_bit_has_its_row)
{
	unsigned nr = 0;

	read_page();
	for (unsigned bit = 0; bit < NR_BITS; bit++) {
		const char *name = virtio_blk_feature_name(bit);

		if (name != NULL)
			ck_assert_str_eq(rows[bit].name, name);
		nr += rows[bit].there;
		ck_assert(rows[bit].there == (name != NULL));
	}
	ck_assert_uint_eq(nr, NR_NAMED);
}
END_TEST

static void configure(struct model_config *cfg, int transport)
{
	if (transport == LEGACY)
		model_legacy(cfg);
	if (transport == VFIO) {
		cfg->nr_vectors = 2;
		cfg->iommu_translates = cfg->iommu_is_ours = true;
	}
	cfg->features[0] = cfg->features[1] = ~0ULL;
	cfg->odd_notify_data = true;
}

START_TEST(pci_device)
{
	static struct rig r;

	read_page();
	rig_init(&r);
	configure(&r.cfg, _i);
	ck_assert_msg(rig_disk(&r) == 0, "%s", r.err);
	ck_assert_uint_eq(features_of(r.dev), model_driver_features(r.m));
	compare((unsigned)_i, _i == LEGACY ? UINT32_MAX : UINT64_MAX, features_of(r.dev));
	rig_end(&r);
}
END_TEST

START_TEST(vhost_user_back_end)
{
	struct vmock_config cfg;
	struct disk_opts opts = {.max_rings = 0};
	struct vmock *mock;
	struct blockdev *dev;
	char err[256];

	read_page();
	vmock_defaults(&cfg);
	cfg.features = ~BIT(VIRTIO_BLK_F_ZONED); /* which this one can't describe */
	cfg.config_bytes = sizeof(struct virtio_blk_config);
	mock = vmock_start(&cfg);
	ck_assert_msg(
		vblk_open_socket(vmock_path(mock), &opts, &dev, err, sizeof(err)) == 0, "%s", err);
	compare(VHOST_USER, ~0ULL, features_of(dev));
	blk_close(dev);
	ck_assert_str_eq(vmock_complaint(mock), "");
	vmock_stop(mock);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("features");
	TCase *tc = tcase_create("vblkfs(7)");
	SRunner *sr;
	int nr_failed;

	tcase_add_test(tc, every_named_bit_has_its_row);
	tcase_add_loop_test(tc, pci_device, PCI, VFIO + 1);
	tcase_add_test(tc, vhost_user_back_end);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	nr_failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return nr_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
