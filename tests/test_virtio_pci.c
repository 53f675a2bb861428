/* test_virtio_pci.c - the PCI transport, modern and legacy, against the strict model. Row ids are those of the
 * virtio checklist. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "model/rig.h"
#include "until.h"

#define BIT(n)        (1ULL << (n))
#define COMMON(field) offsetof(struct virtio_pci_common_cfg, field)

static struct rig r;

static void setup(void)
{
	rig_init(&r);
}

static void setup_legacy(void)
{
	setup();
	model_legacy(&r.cfg);
}

static void teardown(void)
{
	rig_end(&r);
}

static void plug(void)
{
	ck_assert_msg(rig_plug(&r) == 0, "%s", r.err);
}

static void io_works(void)
{
	struct rig_io io;

	rig_io_alloc(&r, &io, 512);
	ck_assert_int_eq(rig_io_add(&r, r.vq[0], &io, VIRTIO_BLK_T_IN, 0, 1), 0);
	rig_kick(r.vq[0]);
	ck_assert_ptr_eq(rig_get(&r, r.vq[0], 3), &io);
	ck_assert_uint_eq(*io.status, VIRTIO_BLK_S_OK);
	rig_io_free(&r, &io);
}

static void plugs_and_works(void)
{
	plug();
	io_works();
}

static void is_refused(int err, const char *word)
{
	ck_assert_int_eq(rig_plug(&r), err);
	ck_assert_msg(strstr(r.err, word) != NULL, "'%s' does not say '%s'", r.err, word);
	ck_assert_ptr_null(strchr(r.err, '\n'));
}

/* Status */

static void status_writes_are(const uint8_t *expect, size_t nr)
{
	uint64_t status = r.cfg.legacy ? VIRTIO_PCI_STATUS : COMMON(device_status);
	struct model_access a;
	size_t at = 0;

	for (size_t i = 0; i < nr; i++) {
		ck_assert(model_trace_find(r.m, &at, MODEL_COMMON, true, status, &a));
		ck_assert_uint_eq(a.value, expect[i]);
	}
	ck_assert(!model_trace_find(r.m, &at, MODEL_COMMON, true, status, &a));
}

START_TEST(status_bits_are_added_one_by_one) /* ST1, ST2, IN1, IN4 */
{
	plug();
	status_writes_are((const uint8_t[]){0, 1, 3, 11, 15}, 5);
	io_works();
	rig_unplug(&r);
	status_writes_are((const uint8_t[]){0, 1, 3, 11, 15, 0}, 6);
}
END_TEST

START_TEST(refused_features_end_in_failed_and_a_reset) /* IN2, IN3, ST3 */
{
	r.cfg.refuse_features_ok = true;
	is_refused(-EOPNOTSUPP, "features");
	status_writes_are((const uint8_t[]){0, 1, 3, 11, 131, 0}, 6);
	model_config(r.m)->refuse_features_ok = false;
	model_trace_clear(r.m);
	plugs_and_works();
	status_writes_are((const uint8_t[]){0, 1, 3, 11, 15}, 5);
}
END_TEST

START_TEST(reset_is_awaited_before_anything_else) /* RS1, PC12, CL2 */
{
	r.cfg.reset_delay = 50;
	rig_model(&r);
	model_left_live(r.m);
	plugs_and_works();
	rig_unplug(&r);
}
END_TEST

START_TEST(reset_that_never_ends_has_a_deadline) /* RS1 */
{
	struct model_stat s;

	r.cfg.status_stuck = true;
	r.cfg.no_function_reset = true;
	rig_model(&r);
	model_left_live(r.m);
	is_refused(-ETIMEDOUT, "reset");
	model_get_stat(r.m, &s);
	ck_assert_uint_ge(s.slept_us, 100 * 1000);
	ck_assert(!model_is_bus_master(r.m));
}
END_TEST

START_TEST(memory_of_a_device_that_does_not_reset_is_kept) /* CL2, VIRTIO.md trap 14 */
{
	size_t live;

	r.cfg.no_function_reset = _i;
	plugs_and_works();
	live = model_dma_live(r.m);
	ck_assert_uint_gt(live, 0);
	model_config(r.m)->status_stuck = true;
	rig_unplug(&r);
	ck_assert(!model_is_bus_master(r.m));
	/* A function reset makes the device forget; then it is free memory. */
	ck_assert_uint_eq(model_dma_live(r.m), _i ? live : 0);
}
END_TEST

START_TEST(function_that_reads_all_ones_is_gone)
{
	rig_model(&r);
	model_remove(r.m);
	ck_assert_int_eq(rig_plug(&r) < 0, 1);
}
END_TEST

START_TEST(what_a_dead_owner_left_is_reset_first) /* VIRTIO.md traps 7, 9, 13 */
{
	r.cfg.stale_irq = true;
	r.cfg.msix_left_on = true;
	r.use_irq = true;
	rig_model(&r);
	model_left_live(r.m);
	plugs_and_works();
	ck_assert_uint_eq(model_config_space(r.m)[0x43] & 0x80, 0); /* MSI-X is off now */
}
END_TEST

/* Features */

static bool is_vital(unsigned bit)
{
	return bit == VIRTIO_F_VERSION_1;
}

/* FE1, FE2, RF1: each bit masked in turn */
START_TEST(device_without_any_one_feature_is_served_or_refused)
{
	r.cfg.features[0] &= ~BIT(_i);
	if (is_vital((unsigned)_i))
		is_refused(-EPROTO, "VERSION_1");
	else
		plugs_and_works();
}
END_TEST

static bool accepted(unsigned bit)
{
	return model_driver_features(r.m) >> bit & 1;
}

/* FE1, FE4, RF1 to RF7, VQ1, NT2, NT3: all 128 offered */
START_TEST(unknown_features_are_left_alone)
{
	r.cfg.features[0] = r.cfg.features[1] = ~0ULL;
	r.cfg.odd_notify_data = true;
	plugs_and_works();
	ck_assert(accepted(VIRTIO_F_VERSION_1));
	ck_assert(accepted(VIRTIO_F_ACCESS_PLATFORM));
	ck_assert(accepted(VIRTIO_F_NOTIF_CONFIG_DATA));
#if defined(__x86_64__) /* elsewhere it asks for barriers that reach devices */
	ck_assert(accepted(VIRTIO_F_ORDER_PLATFORM));
#endif
	ck_assert(accepted(VIRTIO_F_RING_PACKED)); /* RF3 */
	ck_assert(accepted(VIRTIO_F_IN_ORDER));
	ck_assert(accepted(VIRTIO_F_NOTIFICATION_DATA));
	ck_assert(accepted(VIRTIO_F_RING_RESET));
	ck_assert(!accepted(VIRTIO_F_SR_IOV));
	ck_assert_uint_eq(r.vdev->features, model_driver_features(r.m));
}
END_TEST

START_TEST(both_feature_words_are_written_and_only_before_features_ok) /* FE3 */
{
	size_t at = 0, ok = 0;
	struct model_access a;

	plug();
	while (model_trace_find(r.m, &at, MODEL_COMMON, true, COMMON(device_status), &a))
		if (a.value == 11)
			ok = at;
	ck_assert_uint_ne(ok, 0);
	at = 0;
	ck_assert_uint_eq(model_trace_count(r.m, MODEL_COMMON, true, COMMON(driver_feature)), 2);
	while (model_trace_find(r.m, &at, MODEL_COMMON, true, COMMON(driver_feature), &a))
		ck_assert_uint_lt(at, ok);
}
END_TEST

/* RF6, PC6: the registers are past its end */
START_TEST(short_common_structure_has_no_notify_data_and_no_queue_reset)
{
	r.cfg.features[0] |= BIT(VIRTIO_F_NOTIF_CONFIG_DATA);
	r.cfg.caps[0].length = _i ? 0x3a : 0x38;
	plugs_and_works();
	ck_assert_int_eq(accepted(VIRTIO_F_NOTIF_CONFIG_DATA), _i);
	ck_assert(!accepted(VIRTIO_F_RING_RESET));
}
END_TEST

START_TEST(translating_iommu_is_refused_only_if_the_device_uses_it) /* RF2, VIRTIO.md trap 21 */
{
	r.cfg.iommu_translates = true;
	if (_i) {
		r.cfg.features[0] |= BIT(VIRTIO_F_ACCESS_PLATFORM);
		is_refused(-EOPNOTSUPP, "IOMMU");
	} else {
		plugs_and_works();
	}
}
END_TEST

/* RF2: it would take the IOMMU's addresses for physical ones */
START_TEST(iommu_of_our_own_is_for_devices_that_go_by_it)
{
	r.cfg.iommu_translates = r.cfg.iommu_is_ours = true;
	if (_i) {
		r.cfg.features[0] |= BIT(VIRTIO_F_ACCESS_PLATFORM);
		plugs_and_works();
	} else {
		is_refused(-EOPNOTSUPP, "past the IOMMU");
	}
}
END_TEST

/* Identity and capabilities */

START_TEST(block_devices_are_known_by_their_ids) /* PC1, PC2 */
{
	static const struct {
		uint16_t vendor, device, subdevice;
		bool ours;
	} ids[] = {
		{VIRTIO_PCI_VENDOR, VIRTIO_PCI_DEVICE_BLK, 0x4321, true},
		{VIRTIO_PCI_VENDOR, VIRTIO_PCI_DEVICE_BLK_OLD, 0x4321, true},
		{VIRTIO_PCI_VENDOR, 0x1041, VIRTIO_ID_BLOCK, false},
		{0x8086, VIRTIO_PCI_DEVICE_BLK, VIRTIO_ID_BLOCK, false},
		{VIRTIO_PCI_VENDOR, 0x1000, VIRTIO_ID_BLOCK, true},
		{VIRTIO_PCI_VENDOR, 0x103f, VIRTIO_ID_BLOCK, true},
		{VIRTIO_PCI_VENDOR, 0x0fff, VIRTIO_ID_BLOCK, false},
		{VIRTIO_PCI_VENDOR, 0x1040, VIRTIO_ID_BLOCK, false},
		{VIRTIO_PCI_VENDOR, 0x1000, 1, false},
	};

	r.cfg.ids.vendor = ids[_i].vendor;
	r.cfg.ids.device = ids[_i].device;
	r.cfg.ids.revision = (uint8_t)(77 * _i);
	r.cfg.ids.subvendor = (uint16_t)(0x1234 * _i);
	r.cfg.ids.subdevice = ids[_i].subdevice;
	if (ids[_i].ours)
		plugs_and_works();
	else
		is_refused(-ENXIO, "not a virtio block device");
}
END_TEST

START_TEST(missing_structure_is_refused) /* PC4 */
{
	r.cfg.caps[_i].type = 42;
	is_refused(-EOPNOTSUPP, "virtio 1");
}
END_TEST

static void insert_cap(unsigned at, struct model_cap cap)
{
	memmove(&r.cfg.caps[at + 1], &r.cfg.caps[at], (MODEL_MAX_CAPS - 1 - at) * sizeof(cap));
	r.cfg.caps[at] = cap;
	r.cfg.nr_caps++;
}

START_TEST(unusable_and_unknown_capabilities_are_passed_over) /* PC4, PC22 */
{
	static const struct model_cap junk[] = {
		{42, 4, 0, 64, 0},
		{VIRTIO_PCI_CAP_COMMON_CFG, 6, 0, 64, 0},
		{VIRTIO_PCI_CAP_COMMON_CFG, 0xff, 0, 64, 0},
		{VIRTIO_PCI_CAP_COMMON_CFG, 0, 0, 64, 0}, /* BAR 0 is not there */
		{VIRTIO_PCI_CAP_COMMON_CFG, 4, 0x3ff0, 64, 0},
		{VIRTIO_PCI_CAP_COMMON_CFG, 4, 0xfffffff0, 64, 0},
		{VIRTIO_PCI_CAP_COMMON_CFG, 4, 0xffffffff, 0xffffffff, 0},
		{VIRTIO_PCI_CAP_COMMON_CFG, 4, 0, 8, 0},
		{VIRTIO_PCI_CAP_VENDOR_CFG, 4, 0x2000, 0x1000, 24},
		{VIRTIO_PCI_CAP_SHARED_MEM, 4, 0, 64, 24},
		{VIRTIO_PCI_CAP_NOTIFY_CFG, 4, 0x3000, 0x1000, 16}, /* no room for the multiplier */
		{VIRTIO_PCI_CAP_ISR_CFG, 4, 0x1000, 0, 0},
	};

	insert_cap(0, junk[_i]);
	r.cfg.nr_queues = 2; /* so that queue 0's doorbell is not at the structure's start */
	r.cfg.queue_size[1] = 16;
	/* What the driver must not use is not to be found there either. */
	plugs_and_works();
	for (size_t i = 0; i < model_trace_len(r.m); i++)
		ck_assert_int_ne(model_trace(r.m, i).region, MODEL_ELSEWHERE);
}
END_TEST

START_TEST(first_usable_instance_of_a_structure_is_taken) /* PC5 */
{
	r.cfg.bar[2] = (struct hw_bar){.bytes = 0x4000};
	insert_cap((unsigned)_i,
		(struct model_cap){r.cfg.caps[_i].type, 2, r.cfg.caps[_i].offset, 0x1000, 0});
	plug();
	io_works();
	(void)model_trace_count(r.m, MODEL_COMMON, true, 0);
	for (size_t i = 0; i < model_trace_len(r.m); i++) {
		const struct model_access access = model_trace(r.m, i), *a = &access;
		enum model_region moved[] = {MODEL_COMMON, MODEL_ISR, MODEL_DEVICE, MODEL_NOTIFY};

		if (a->region == moved[_i])
			ck_assert_uint_eq(a->bar, 2);
	}
}
END_TEST

START_TEST(doorbell_in_memory_is_preferred_to_one_in_io_space) /* PC5, VIRTIO.md trap 25 */
{
	r.cfg.bar[0] = (struct hw_bar){.bytes = 64, .is_io = true};
	insert_cap(0, (struct model_cap){VIRTIO_PCI_CAP_NOTIFY_CFG, 0, 0, 64, 0});
	plugs_and_works();
	for (size_t i = 0; i < model_trace_len(r.m); i++)
		if (model_trace(r.m, i).region == MODEL_NOTIFY)
			ck_assert_uint_eq(model_trace(r.m, i).bar, 4);
}
END_TEST

START_TEST(doorbell_in_io_space_works_where_there_is_no_other) /* PC5 */
{
	r.cfg.bar[0] = (struct hw_bar){.bytes = 64, .is_io = true};
	r.cfg.caps[3] = (struct model_cap){VIRTIO_PCI_CAP_NOTIFY_CFG, 0, 0, 64, 0};
	plugs_and_works();
}
END_TEST

START_TEST(longer_capabilities_and_structures_are_accepted) /* PC6, CF3 */
{
	for (unsigned i = 0; i < 4; i++)
		r.cfg.caps[i].cap_len = 32;
	r.cfg.caps[2].length = _i == 0 ? 4096 : _i == 1 ? 60 : 8;
	plugs_and_works();
	ck_assert_uint_le(r.vdev->config_bytes, r.cfg.caps[2].length);
}
END_TEST

START_TEST(capability_list_that_loops_or_strays_ends) /* PC4 */
{
	uint8_t *space;

	rig_model(&r);
	space = model_config_space(r.m);
	switch (_i) {
	case 0: /* the last leads to the first */
		space[0x40 + 4 * 16 + 4 + 1] = 0x40;
		break;
	case 1: /* the low bits of a link are to be masked */
		space[0x34] |= 3;
		space[0x41] |= 3;
		break;
	case 2: /* the last leads to itself */
		space[0x40 + 4 * 16 + 4 + 1] = 0x40 + 4 * 16 + 4;
		break;
	case 3: /* into the header */
		space[0x40 + 4 * 16 + 4 + 1] = 0x10;
		break;
	default: /* to the last bytes, where no capability fits */
		space[0x40 + 4 * 16 + 4 + 1] = 0xfc;
		space[0xfc] = 9;
	}
	plugs_and_works();
}
END_TEST

/* PC4: what looks like a capability there is none */
START_TEST(capability_pointer_into_the_header_is_not_followed)
{
	static const uint8_t lure[] = {
		9, 0x40, 16, VIRTIO_PCI_CAP_COMMON_CFG, 4, 0, 0, 0, 0, 0x20, 0, 0, 0x40};

	rig_model(&r);
	model_config_space(r.m)[0x34] = 0x10;
	memcpy(model_config_space(r.m) + 0x10, lure, sizeof(lure));
	is_refused(-EOPNOTSUPP, "legacy");
}
END_TEST

/* PC23: the bit in PCI status says whether there is one */
START_TEST(no_capability_list_means_no_virtio)
{
	rig_model(&r);
	model_config_space(r.m)[6] = 0;
	is_refused(-EOPNOTSUPP, "legacy");
}
END_TEST

START_TEST(configuration_space_cut_short_is_named) /* VIRTIO.md trap 16 */
{
	r.cfg.config_space_limit = 64;
	is_refused(-EPERM, "root");
}
END_TEST

START_TEST(nothing_is_written_to_capabilities) /* PC8, PC21 */
{
	plugs_and_works();
	for (size_t i = 0; i < model_trace_len(r.m); i++)
		ck_assert(model_trace(r.m, i).region != MODEL_CONFIG_SPACE ||
			  !model_trace(r.m, i).write);
}
END_TEST

START_TEST(no_more_is_mapped_than_needed) /* PC7 */
{
	plugs_and_works();
	for (size_t i = 0; i < model_trace_len(r.m); i++)
		if (model_trace(r.m, i).region == MODEL_MAP)
			ck_assert_uint_le(model_trace(r.m, i).value, 256);
}
END_TEST

/* Queues */

/* PC9, PC10, PC11, VQ4: the model checks; here: each one, once */
START_TEST(each_queue_is_whole_before_it_is_enabled)
{
	r.cfg.nr_queues = r.nr_vqs = 8;
	for (unsigned i = 0; i < 8; i++)
		r.cfg.queue_size[i] = (uint16_t)(256 >> i);
	for (int round = 0; round < 2; round++) {
		plug();
		for (unsigned i = 0; i < 8; i++)
			ck_assert_uint_eq(model_queue_size_set(r.m, i), 256 >> i);
		ck_assert_uint_eq(
			model_trace_count(r.m, MODEL_COMMON, true, COMMON(queue_enable)), 8);
		io_works();
		rig_unplug(&r);
		model_trace_clear(r.m);
	}
}
END_TEST

START_TEST(queue_that_is_not_there_is_refused) /* PC14 */
{
	r.cfg.nr_queues = 4;
	r.nr_vqs = 4 + (_i == 0);
	r.cfg.queue_size[1] = r.cfg.queue_size[2] = r.cfg.queue_size[3] = 64;
	if (_i == 1)
		r.cfg.queue_size[2] = 0;
	is_refused(-EPROTO, "not there");
}
END_TEST

START_TEST(max_size_bounds_the_ring) /* SP2 */
{
	r.max_size = 16;
	plugs_and_works();
	ck_assert_uint_eq(model_queue_size_set(r.m, 0), 16);
}
END_TEST

static void kick_queue(unsigned i)
{
	struct rig_io io;

	rig_io_alloc(&r, &io, 512);
	ck_assert_int_eq(rig_io_add(&r, r.vq[i], &io, VIRTIO_BLK_T_IN, 0, 1), 0);
	rig_kick(r.vq[i]);
	ck_assert_ptr_eq(rig_get(&r, r.vq[i], 0), &io);
	rig_io_free(&r, &io);
}

/* PC15, NT3, NT4; the width is checked by the model */
START_TEST(doorbell_is_where_offset_and_multiplier_say)
{
	static const struct {
		uint32_t multiplier;
		bool shared, odd;
	} how[] = {{0, false, false}, {2, false, false}, {4, false, true}, {1024, false, false},
		{4, true, false}, {0, true, true}};

	r.cfg.notify_multiplier = how[_i].multiplier;
	r.cfg.shared_notify = how[_i].shared;
	r.cfg.odd_notify_data = how[_i].odd;
	if (how[_i].odd)
		r.cfg.features[0] |= BIT(VIRTIO_F_NOTIF_CONFIG_DATA);
	r.cfg.nr_queues = r.nr_vqs = 4;
	for (unsigned i = 0; i < 4; i++)
		r.cfg.queue_size[i] = 16;
	plug();
	for (unsigned i = 0; i < 4; i++)
		kick_queue(i);
}
END_TEST

/* NT2, NT3, PK12: both layouts, over several laps; the model checks each kick's word */
START_TEST(kick_says_how_far_the_queue_is_where_that_is_wanted)
{
	r.cfg.features[0] |= BIT(VIRTIO_F_NOTIFICATION_DATA) | BIT(VIRTIO_F_NOTIF_CONFIG_DATA);
	if (_i)
		r.cfg.features[0] |= BIT(VIRTIO_F_RING_PACKED);
	r.cfg.odd_notify_data = true;
	r.cfg.nr_queues = r.nr_vqs = 2;
	r.cfg.queue_size[0] = r.cfg.queue_size[1] = 16;
	plug();
	ck_assert(accepted(VIRTIO_F_NOTIFICATION_DATA));
	for (unsigned i = 0; i < 100; i++)
		kick_queue(i % 3 == 0);
}
END_TEST

START_TEST(doorbells_too_close_for_32_bits_get_16)
{
	r.cfg.features[0] |= BIT(VIRTIO_F_NOTIFICATION_DATA);
	r.cfg.notify_multiplier = 2;
	r.cfg.nr_queues = r.nr_vqs = 2;
	r.cfg.queue_size[1] = 16;
	plug();
	ck_assert(!accepted(VIRTIO_F_NOTIFICATION_DATA));
	kick_queue(0);
	kick_queue(1);
}
END_TEST

/* Reset of one queue */

static void plug_two_queues(void)
{
	r.cfg.nr_queues = r.nr_vqs = 2;
	r.cfg.queue_size[0] = r.cfg.queue_size[1] = 64;
	r.max_size = 16;
	plug();
	ck_assert(accepted(VIRTIO_F_RING_RESET));
	ck_assert_uint_eq(r.vq[0]->max_size, 64);
}

/* VQ2, VQ3, VQ4, PC13: at once, or late; at the same size, smaller, as large as it can be */
START_TEST(one_queue_is_reset_while_the_other_serves)
{
	static const uint16_t sizes[] = {16, 4, 64};
	const struct virtio_config_ops *config;

	r.cfg.reset_delay = _i / 3 % 2 * 5;
	if (_i / 6)
		r.cfg.features[0] |= BIT(VIRTIO_F_RING_PACKED);
	plug_two_queues();
	config = r.vdev->config;
	for (unsigned round = 0; round < 3; round++) {
		kick_queue(0);
		kick_queue(1);
		ck_assert_int_eq(config->disable_vq_and_reset(r.vq[0]), 0);
		kick_queue(1);
		if (r.vq[0]->size != sizes[_i % 3])
			ck_assert_int_eq(vq_resize(r.vq[0], sizes[_i % 3]), 0);
		ck_assert_int_eq(config->enable_vq_after_reset(r.vq[0]), 0);
		ck_assert_uint_eq(model_queue_size_set(r.m, 0), sizes[_i % 3]);
	}
	ck_assert_uint_eq(model_queue_size_set(r.m, 1), 16);
	kick_queue(0);
	kick_queue(1);
}
END_TEST

START_TEST(reset_of_a_queue_that_never_ends_has_a_deadline) /* PC13 */
{
	struct model_stat s;

	plug_two_queues();
	model_config(r.m)->queue_reset_stuck = true;
	ck_assert_int_eq(r.vdev->config->disable_vq_and_reset(r.vq[1]), -ETIMEDOUT);
	model_get_stat(r.m, &s);
	ck_assert_uint_ge(s.slept_us, 1000 * 1000);
	kick_queue(0);
	model_remove(r.m);
	ck_assert_int_eq(r.vdev->config->disable_vq_and_reset(r.vq[0]), -ENODEV);
}
END_TEST

START_TEST(queue_that_no_memory_is_left_for_stays_as_it_was)
{
	unsigned nth = 0;

	plug_two_queues();
	ck_assert_int_eq(r.vdev->config->disable_vq_and_reset(r.vq[0]), 0);
	do {
		model_fail_nth(r.m, ++nth);
		ck_assert_int_eq(vq_resize(r.vq[0], 64), model_failed(r.m) ? -ENOMEM : 0);
		ck_assert_uint_eq(r.vq[0]->size, model_failed(r.m) ? 16 : 64);
	} while (model_failed(r.m));
	ck_assert_uint_eq(nth, 3); /* ring, tables */
	model_fail_nth(r.m, 0);
	ck_assert_int_eq(r.vdev->config->enable_vq_after_reset(r.vq[0]), 0);
	kick_queue(0);
}
END_TEST

START_TEST(doorbell_outside_its_structure_is_refused) /* PC15 */
{
	static const struct {
		uint32_t multiplier, length;
	} how[] = {
		{4, 2}, {1, 8}, {0x80000000, 0x1000}, {0xffffffff, 0x1000}, {4096, 0x1000}, {4, 5}};

	r.cfg.nr_queues = r.nr_vqs = 2;
	r.cfg.queue_size[1] = 16;
	r.cfg.notify_multiplier = how[_i].multiplier;
	r.cfg.caps[3].length = how[_i].length;
	is_refused(-EPROTO, "doorbell");
}
END_TEST

START_TEST(doorbell_at_the_very_end_of_its_structure_is_used) /* PC15 */
{
	r.cfg.nr_queues = r.nr_vqs = 2;
	r.cfg.queue_size[1] = 16;
	r.cfg.caps[3].length = 6;
	plug();
	kick_queue(0);
	kick_queue(1);
}
END_TEST

START_TEST(bus_mastering_is_on_only_between_resets) /* VIRTIO.md traps 10, 14 */
{
	rig_model(&r);
	ck_assert(!model_is_bus_master(r.m));
	plugs_and_works();
	ck_assert(model_is_bus_master(r.m));
	rig_unplug(&r);
	ck_assert(!model_is_bus_master(r.m));
}
END_TEST

START_TEST(bus_mastering_that_does_not_stick_is_named)
{
	r.cfg.bus_master_stuck = true;
	is_refused(-EIO, "bus master");
}
END_TEST

/* Interrupts */

static bool called_back(void)
{
	return atomic_load(&r.callbacks[0]) > 0 && atomic_load(&r.config_changes) > 0 &&
	       !model_irq_masked(r.m);
}

START_TEST(one_interrupt_may_mean_queues_and_configuration) /* NT1, PC16, PC18 */
{
	struct model_stat s;

	r.use_irq = true;
	plug();
	model_merge_irq(r.m, VIRTIO_PCI_ISR_QUEUE | VIRTIO_PCI_ISR_CONFIG);
	wait_until(called_back());
	model_get_stat(r.m, &s);
	ck_assert_uint_eq(s.isr_reads, 2); /* one more at the start, for what a dead owner left */
	ck_assert_uint_eq(atomic_load(&r.callbacks[0]), 1);
	ck_assert_uint_eq(atomic_load(&r.config_changes), 1);
}
END_TEST

static bool queue_called_back(void)
{
	return atomic_load(&r.callbacks[0]) > 0 && !model_irq_masked(r.m);
}

START_TEST(spurious_interrupts_do_no_harm) /* NT1 */
{
	r.use_irq = true;
	plug();
	for (int i = 0; i < 20; i++) {
		atomic_store(&r.callbacks[0], 0);
		model_irq(r.m); /* ISR is 0: a neighbour on the line */
		wait_until(queue_called_back());
	}
	ck_assert_uint_eq(atomic_load(&r.config_changes), 0);
	io_works();
}
END_TEST

static void late_completion(struct model *m)
{
	(void)model_complete_all(m);
}

/* PC16, VIRTIO.md trap 3: ISR, then the queues */
START_TEST(completion_between_interrupt_and_isr_read_is_not_lost)
{
	struct rig_io io;

	r.use_irq = true;
	r.cfg.when = MODEL_STEPPED;
	r.cfg.hold = true;
	plug();
	rig_io_alloc(&r, &io, 512);
	(void)vq_enable_cb(r.vq[0]);
	ck_assert_int_eq(rig_io_add(&r, r.vq[0], &io, VIRTIO_BLK_T_IN, 0, 1), 0);
	rig_kick(r.vq[0]);
	(void)model_run(r.m);
	model_at_region(r.m, MODEL_ISR, late_completion);
	model_merge_irq(r.m, VIRTIO_PCI_ISR_QUEUE);
	wait_until(queue_called_back());
	ck_assert_uint_eq(atomic_load(&r.done_at_callback), 1);
	ck_assert_ptr_eq(vq_get_buf(r.vq[0]), &io);
	rig_io_free(&r, &io);
}
END_TEST

/* PC16, PC17: the model checks the thread and the order */
START_TEST(isr_is_read_once_an_interrupt_and_by_one_thread)
{
	struct model_stat before, after;
	struct rig_io io;

	r.use_irq = true;
	r.cfg.spurious_irqs = _i;
	plug();
	rig_io_alloc(&r, &io, 512);
	model_get_stat(r.m, &before);
	for (int i = 0; i < 50; i++) {
		atomic_store(&r.callbacks[0], 0);
		(void)vq_enable_cb(r.vq[0]);
		ck_assert_int_eq(rig_io_add(&r, r.vq[0], &io, VIRTIO_BLK_T_IN, 0, 1), 0);
		rig_kick(r.vq[0]);
		wait_until(queue_called_back());
		ck_assert_ptr_eq(vq_get_buf(r.vq[0]), &io);
	}
	model_get_stat(r.m, &after);
	ck_assert_uint_ge(after.isr_reads - before.isr_reads, 50);
	ck_assert_uint_le(after.isr_reads - before.isr_reads, after.irqs - before.irqs);
	rig_io_free(&r, &io);
}
END_TEST

START_TEST(function_without_interrupt_is_polled) /* VIRTIO.md trap 8 */
{
	r.use_irq = true;
	r.cfg.no_irq = true;
	plugs_and_works();
	ck_assert(!atomic_load(&r.vdev->has_irq));
}
END_TEST

START_TEST(interrupt_not_wanted_is_never_unmasked) /* VIRTIO.md trap 5 */
{
	plugs_and_works();
	ck_assert_uint_eq(model_trace_count(r.m, MODEL_IRQ, true, 1), 0);
	ck_assert(model_irq_masked(r.m));
}
END_TEST

/* Vectors */

static void with_queues(unsigned nr, unsigned nr_vectors)
{
	r.use_irq = true;
	r.cfg.nr_queues = r.nr_vqs = nr;
	for (unsigned i = 0; i < nr; i++)
		r.cfg.queue_size[i] = 16;
	r.cfg.nr_vectors = nr_vectors;
}

static unsigned last_queue; /* whose callback is waited for */

static bool last_queue_called_back(void)
{
	return atomic_load(&r.callbacks[last_queue]) > 0;
}

static void completes_with_a_callback(unsigned queue)
{
	struct rig_io io;

	for (unsigned i = 0; i < r.nr_vqs; i++)
		atomic_store(&r.callbacks[i], 0);
	last_queue = queue;
	rig_io_alloc(&r, &io, 512);
	(void)vq_enable_cb(r.vq[queue]);
	ck_assert_int_eq(rig_io_add(&r, r.vq[queue], &io, VIRTIO_BLK_T_IN, 0, 1), 0);
	rig_kick(r.vq[queue]);
	wait_until(last_queue_called_back());
	ck_assert_ptr_eq(vq_get_buf(r.vq[queue]), &io);
	rig_io_free(&r, &io);
}

static bool config_called_back(void)
{
	return atomic_load(&r.config_changes) > 0;
}

START_TEST(each_queue_has_its_vector_and_the_configuration_another) /* PC17, PC19 */
{
	with_queues(3, 8);
	plug();
	ck_assert_uint_eq(model_vectors(r.m), 4);
	ck_assert_uint_eq(model_config_vector(r.m), 0);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_uint_eq(model_queue_vector(r.m, i), 1 + i);
		completes_with_a_callback(i);
		for (unsigned other = 0; other < 3; other++)
			ck_assert_uint_eq(atomic_load(&r.callbacks[other]), other == i);
	}
	ck_assert_uint_eq(atomic_load(&r.config_changes), 0);
	model_set_capacity(r.m, 4096, true);
	wait_until(config_called_back());
	ck_assert_uint_eq(model_trace_count(r.m, MODEL_IRQ, true, 1), 0); /* the line stays off */
	rig_unplug(&r);
	ck_assert_uint_eq(model_vectors(r.m), 0);
}
END_TEST

START_TEST(queues_share_the_vectors_that_there_are) /* PC20 */
{
	static const uint16_t vector[][4] = {
		{0, 0, 0, 0}, {1, 1, 1, 1}, {1, 2, 1, 2}, {1, 2, 3, 1}};

	with_queues(4, 1 + (unsigned)_i);
	plug();
	ck_assert_uint_eq(model_vectors(r.m), 1 + (unsigned)_i);
	for (unsigned i = 0; i < 4; i++) {
		ck_assert_uint_eq(model_queue_vector(r.m, i), vector[_i][i]);
		completes_with_a_callback(i);
	}
	model_set_capacity(r.m, 4096, true);
	wait_until(config_called_back());
}
END_TEST

/* PC19: the machine has no more, or the device takes no more: then as with fewer */
START_TEST(vectors_that_are_not_to_be_had_are_done_without)
{
	with_queues(4, 5);
	if (_i < 4)
		r.cfg.vectors_to_be_had = 4 - (unsigned)_i;
	else
		r.cfg.vectors_taken = 8 - (unsigned)_i;
	plug();
	ck_assert_uint_eq(model_vectors(r.m), _i % 4 < 3 ? 2 : 1);
	for (unsigned i = 0; i < 4; i++)
		completes_with_a_callback(i);
}
END_TEST

START_TEST(queue_that_was_reset_has_its_vector_again) /* VQ4, PC19 */
{
	with_queues(2, 3);
	plug();
	ck_assert_int_eq(r.vdev->config->disable_vq_and_reset(r.vq[1]), 0);
	ck_assert_int_eq(r.vdev->config->enable_vq_after_reset(r.vq[1]), 0);
	ck_assert_uint_eq(model_queue_vector(r.m, 1), 2);
	completes_with_a_callback(1);
	ck_assert_int_eq(r.vdev->config->disable_vq_and_reset(r.vq[1]), 0);
	model_config(r.m)->no_vector_taken = true;
	ck_assert_int_lt(r.vdev->config->enable_vq_after_reset(r.vq[1]), 0);
}
END_TEST

START_TEST(device_that_takes_no_vector_has_its_line) /* PC19 */
{
	with_queues(2, 4);
	r.cfg.no_vector_taken = true;
	plug();
	ck_assert_uint_eq(model_vectors(r.m), 0);
	completes_with_a_callback(0);
	completes_with_a_callback(1);
}
END_TEST

START_TEST(vectors_not_wanted_are_not_set)
{
	with_queues(2, 4);
	r.use_irq = false;
	plugs_and_works();
	ck_assert_uint_eq(
		model_trace_count(r.m, MODEL_COMMON, true, COMMON(config_msix_vector)), 0);
}
END_TEST

START_TEST(vector_that_comes_for_nothing_does_no_harm) /* NT1 */
{
	with_queues(3, 4);
	plug();
	for (int i = 0; i < 50; i++)
		model_irq(r.m);
	for (unsigned i = 0; i < 3; i++)
		completes_with_a_callback(i);
}
END_TEST

START_TEST(no_vector_is_ever_set) /* PC19, PC20: uio_pci_generic has INTx only */
{
	r.use_irq = true;
	plugs_and_works();
	ck_assert_uint_eq(
		model_trace_count(r.m, MODEL_COMMON, true, COMMON(config_msix_vector)), 0);
	ck_assert_uint_eq(model_trace_count(r.m, MODEL_COMMON, true, COMMON(queue_msix_vector)), 0);
}
END_TEST

/* Legacy devices */

START_TEST(legacy_status_has_no_features_ok) /* IN5 */
{
	plug();
	status_writes_are((const uint8_t[]){0, 1, 3, 7}, 4);
	io_works();
	rig_unplug(&r);
	status_writes_are((const uint8_t[]){0, 1, 3, 7, 0}, 5);
}
END_TEST

START_TEST(transitional_device_is_driven_as_a_modern_one) /* PC23, 4.1.5.1.1.1 */
{
	r.cfg.ids.device = VIRTIO_PCI_DEVICE_BLK_OLD;
	r.cfg.ids.subdevice = VIRTIO_ID_BLOCK;
	r.cfg.bar[0] = (struct hw_bar){.bytes = 128, .is_io = true};
	plugs_and_works();
	status_writes_are((const uint8_t[]){0, 1, 3, 11, 15}, 5);
}
END_TEST

START_TEST(legacy_device_is_one_by_its_id_and_its_io_bar) /* PC23 */
{
	if (_i == 0)
		r.cfg.ids.device = VIRTIO_PCI_DEVICE_BLK;
	else
		r.cfg.bar[0] = (struct hw_bar){.bytes = _i == 1 ? 0 : 128, .is_io = false};
	is_refused(-EOPNOTSUPP, "legacy");
}
END_TEST

START_TEST(legacy_bar_too_short_for_a_capacity_is_refused) /* LG1 */
{
	static const uint64_t bytes[] = {1, 16, 19, 20, 24, 27, 28};

	r.cfg.bar[0].bytes = bytes[_i];
	if (bytes[_i] < 28)
		is_refused(-EPROTO, "I/O BAR");
	else
		plugs_and_works();
	ck_assert(r.vdev == NULL || r.vdev->config_bytes == 8);
}
END_TEST

/* LG2. Whoever turned it on; with the capability there is room for the vectors in the BAR. */
START_TEST(legacy_configuration_moves_while_msix_is_on)
{
	r.cfg.msix_left_on = true;
	plug();
	ck_assert_uint_eq(r.vdev->config_bytes, 128 - 24);
	for (int i = 0; i < 3; i++) {
		ck_assert_uint_eq(r.vdev->config->get(r.vdev, 0, 8), r.cfg.blk.capacity);
		r.vdev->config->set(
			r.vdev, offsetof(struct virtio_blk_config, writeback), 1, i % 2 == 0);
		ck_assert_uint_eq(model_config(r.m)->blk.writeback, i % 2 == 0);
		model_config_space(r.m)[0x43] ^= 0x80;
	}
	io_works();
}
END_TEST

START_TEST(legacy_device_never_gets_addresses_of_an_iommu) /* RF2: it has no ACCESS_PLATFORM */
{
	r.cfg.iommu_translates = r.cfg.iommu_is_ours = true;
	is_refused(-EOPNOTSUPP, "uio_pci_generic");
	ck_assert_uint_eq(model_trace_count(r.m, MODEL_COMMON, true, VIRTIO_PCI_QUEUE_PFN), 0);
}
END_TEST

START_TEST(legacy_device_without_any_one_feature_is_served) /* FE1, LG5 */
{
	r.cfg.features[0] |= BIT(VIRTIO_F_ANY_LAYOUT);
	r.cfg.features[0] &= ~BIT(_i);
	plugs_and_works();
}
END_TEST

START_TEST(legacy_features_are_32_and_the_unknown_are_left_alone) /* FE4, LG4, LG8 */
{
	static const unsigned never[] = {
		VIRTIO_BLK_F_BARRIER, VIRTIO_BLK_F_SCSI, VIRTIO_F_NOTIFY_ON_EMPTY, 25, 26, 30, 31};

	r.cfg.features[0] = r.cfg.features[1] = ~0ULL;
	r.wants &= ~BIT(VIRTIO_BLK_F_BARRIER) & ~BIT(VIRTIO_BLK_F_SCSI);
	plugs_and_works();
	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		ck_assert(!accepted(never[i]));
	ck_assert(accepted(VIRTIO_F_ANY_LAYOUT));
	ck_assert(accepted(VIRTIO_RING_F_EVENT_IDX));
	ck_assert_uint_eq(r.vdev->features, model_driver_features(r.m));
	ck_assert_uint_eq(model_trace_count(r.m, MODEL_COMMON, true, VIRTIO_PCI_GUEST_FEATURES), 1);
}
END_TEST

START_TEST(legacy_queue_has_the_size_that_the_device_gives) /* LG3 */
{
	r.cfg.queue_size[0] = (uint16_t)(4U << _i);
	r.max_size = 4;
	plugs_and_works();
	ck_assert_uint_eq(r.vq[0]->size, 4U << _i);
	ck_assert_uint_eq(model_trace_count(r.m, MODEL_COMMON, true, VIRTIO_PCI_QUEUE_PFN), 1);
}
END_TEST

START_TEST(legacy_queue_of_a_senseless_size_is_refused) /* LG3 */
{
	static const struct {
		uint16_t size;
		const char *says;
	} sizes[] = {{0, "not there"}, {3, "3 entries"}, {255, "255"}, {32769, "32769"},
		{65535, "65535"}, {48, "48"}};

	r.cfg.queue_size[0] = sizes[_i].size;
	is_refused(-EPROTO, sizes[_i].says);
}
END_TEST

static uint64_t above_16_tib(struct hw *hw, const void *mem, size_t *contig)
{
	(void)hw;
	(void)mem;
	*contig = MODEL_HUGE_BYTES;
	return 1ULL << 44;
}

START_TEST(legacy_queue_past_32_bits_of_pages_is_refused) /* LG3, VIRTIO.md trap 22 */
{
	struct hw_ops ops;
	struct hw *hw;

	rig_model(&r);
	hw = model_hw(r.m);
	ops = *hw->ops;
	ops.dma_addr = above_16_tib;
	hw->ops = &ops;
	is_refused(-EOPNOTSUPP, "16 TiB");
	ck_assert_uint_eq(model_trace_count(r.m, MODEL_COMMON, true, VIRTIO_PCI_QUEUE_PFN), 0);
}
END_TEST

/* LG3: queue_enabled after a reset, as some dead owner's */
START_TEST(legacy_queue_that_a_reset_did_not_end_is_refused)
{
	unsigned nth = 0;

	plug();
	for (size_t i = 0; i < model_trace_len(r.m); i++) {
		const struct model_access access = model_trace(r.m, i), *a = &access;

		if (a->write || a->region > MODEL_ELSEWHERE || a->region == MODEL_CONFIG_SPACE)
			continue;
		nth++;
		if (a->region == MODEL_COMMON && a->off == VIRTIO_PCI_QUEUE_PFN)
			break;
	}
	rig_unplug(&r);
	model_reopen(r.m);
	model_lie_at(r.m, nth, 0x1234);
	is_refused(-EPROTO, "already");
}
END_TEST

static void resize_between_reads(struct model *m, uint32_t off, void *arg)
{
	unsigned *left = arg;

	if (off == 0 && *left > 0) {
		(*left)--;
		model_set_capacity(m, 0x100000000 + *left, false);
	}
}

START_TEST(legacy_generation_changes_when_two_looks_do_not_agree) /* LG6, 2.5.4 */
{
	unsigned resizes = 0;
	uint32_t before;

	r.cfg.on_config_read = resize_between_reads;
	r.cfg.arg = &resizes;
	plug();
	before = r.vdev->config->generation(r.vdev);
	(void)r.vdev->config->get(r.vdev, 0, 8);
	ck_assert_uint_eq(r.vdev->config->generation(r.vdev), before);
	resizes = 3;
	(void)r.vdev->config->get(r.vdev, 0, 8);
	ck_assert_uint_ne(r.vdev->config->generation(r.vdev), before);
}
END_TEST

/* Failures */

/* IN3; what is left is found by rig_end() and the leak checker */
START_TEST(any_failing_step_leaves_nothing_behind)
{
	r.use_irq = true;
	r.cfg.nr_queues = r.nr_vqs = 2;
	r.cfg.queue_size[1] = 16;
	r.cfg.msix_left_on = true;
	r.cfg.nr_vectors = _i == 0 ? 0 : 3;
	for (unsigned nth = 1;; nth++) {
		int err;

		rig_model(&r);
		model_fail_nth(r.m, nth);
		err = rig_plug(&r);
		if (!model_failed(r.m)) {
			ck_assert_int_eq(err, 0);
			ck_assert_uint_gt(nth, 10);
			break;
		}
		ck_assert_msg(err < 0, "step %u failed, and nobody noticed", nth);
		ck_assert_str_ne(r.err, "");
		ck_assert_uint_eq(model_status(r.m), 0);
		ck_assert_uint_eq(model_dma_live(r.m), 0);
		ck_assert(!model_is_bus_master(r.m));
		rig_no_violations(&r);
		model_destroy(r.m);
		r.m = NULL;
	}
}
END_TEST

static TCase *begin(Suite *suite, const char *name, SFun set_up)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, set_up, teardown);
	tcase_set_timeout(tc, 30);
	suite_add_tcase(suite, tc);
	return tc;
}

static void add_common(TCase *tc)
{
	tcase_add_test(tc, reset_is_awaited_before_anything_else);
	tcase_add_test(tc, reset_that_never_ends_has_a_deadline);
	tcase_add_loop_test(tc, memory_of_a_device_that_does_not_reset_is_kept, 0, 2);
	tcase_add_test(tc, function_that_reads_all_ones_is_gone);
	tcase_add_test(tc, what_a_dead_owner_left_is_reset_first);
	tcase_add_test(tc, nothing_is_written_to_capabilities);
	tcase_add_test(tc, no_more_is_mapped_than_needed);
	tcase_add_loop_test(tc, queue_that_is_not_there_is_refused, 0, 2);
	tcase_add_test(tc, bus_mastering_is_on_only_between_resets);
	tcase_add_test(tc, bus_mastering_that_does_not_stick_is_named);
	tcase_add_test(tc, one_interrupt_may_mean_queues_and_configuration);
	tcase_add_test(tc, spurious_interrupts_do_no_harm);
	tcase_add_test(tc, completion_between_interrupt_and_isr_read_is_not_lost);
	tcase_add_loop_test(tc, isr_is_read_once_an_interrupt_and_by_one_thread, 0, 2);
	tcase_add_test(tc, function_without_interrupt_is_polled);
	tcase_add_test(tc, interrupt_not_wanted_is_never_unmasked);
	tcase_add_loop_test(tc, any_failing_step_leaves_nothing_behind, 0, 2);
}

static void add_modern(TCase *tc)
{
	tcase_add_test(tc, status_bits_are_added_one_by_one);
	tcase_add_test(tc, refused_features_end_in_failed_and_a_reset);
	tcase_add_loop_test(tc, device_without_any_one_feature_is_served_or_refused, 0, 64);
	tcase_add_test(tc, unknown_features_are_left_alone);
	tcase_add_test(tc, both_feature_words_are_written_and_only_before_features_ok);
	tcase_add_loop_test(tc, short_common_structure_has_no_notify_data_and_no_queue_reset, 0, 2);
	tcase_add_loop_test(tc, translating_iommu_is_refused_only_if_the_device_uses_it, 0, 2);
	tcase_add_loop_test(tc, iommu_of_our_own_is_for_devices_that_go_by_it, 0, 2);
	tcase_add_loop_test(tc, block_devices_are_known_by_their_ids, 0, 9);
	tcase_add_loop_test(tc, missing_structure_is_refused, 0, 4);
	tcase_add_loop_test(tc, unusable_and_unknown_capabilities_are_passed_over, 0, 12);
	tcase_add_loop_test(tc, first_usable_instance_of_a_structure_is_taken, 0, 4);
	tcase_add_test(tc, doorbell_in_memory_is_preferred_to_one_in_io_space);
	tcase_add_test(tc, doorbell_in_io_space_works_where_there_is_no_other);
	tcase_add_loop_test(tc, longer_capabilities_and_structures_are_accepted, 0, 3);
	tcase_add_loop_test(tc, capability_list_that_loops_or_strays_ends, 0, 5);
	tcase_add_test(tc, capability_pointer_into_the_header_is_not_followed);
	tcase_add_test(tc, no_capability_list_means_no_virtio);
	tcase_add_test(tc, configuration_space_cut_short_is_named);
	tcase_add_test(tc, each_queue_is_whole_before_it_is_enabled);
	tcase_add_test(tc, max_size_bounds_the_ring);
	tcase_add_loop_test(tc, doorbell_is_where_offset_and_multiplier_say, 0, 6);
	tcase_add_loop_test(tc, kick_says_how_far_the_queue_is_where_that_is_wanted, 0, 2);
	tcase_add_test(tc, doorbells_too_close_for_32_bits_get_16);
	tcase_add_loop_test(tc, one_queue_is_reset_while_the_other_serves, 0, 12);
	tcase_add_test(tc, reset_of_a_queue_that_never_ends_has_a_deadline);
	tcase_add_test(tc, queue_that_no_memory_is_left_for_stays_as_it_was);
	tcase_add_loop_test(tc, doorbell_outside_its_structure_is_refused, 0, 6);
	tcase_add_test(tc, doorbell_at_the_very_end_of_its_structure_is_used);
	tcase_add_test(tc, each_queue_has_its_vector_and_the_configuration_another);
	tcase_add_loop_test(tc, queues_share_the_vectors_that_there_are, 0, 4);
	tcase_add_loop_test(tc, vectors_that_are_not_to_be_had_are_done_without, 0, 8);
	tcase_add_test(tc, queue_that_was_reset_has_its_vector_again);
	tcase_add_test(tc, device_that_takes_no_vector_has_its_line);
	tcase_add_test(tc, vectors_not_wanted_are_not_set);
	tcase_add_test(tc, vector_that_comes_for_nothing_does_no_harm);
	tcase_add_test(tc, no_vector_is_ever_set);
	tcase_add_test(tc, transitional_device_is_driven_as_a_modern_one);
}

static void add_legacy(TCase *tc)
{
	tcase_add_test(tc, legacy_status_has_no_features_ok);
	tcase_add_loop_test(tc, legacy_device_is_one_by_its_id_and_its_io_bar, 0, 3);
	tcase_add_loop_test(tc, legacy_bar_too_short_for_a_capacity_is_refused, 0, 7);
	tcase_add_test(tc, legacy_configuration_moves_while_msix_is_on);
	tcase_add_test(tc, legacy_device_never_gets_addresses_of_an_iommu);
	tcase_add_loop_test(tc, legacy_device_without_any_one_feature_is_served, 0, 32);
	tcase_add_test(tc, legacy_features_are_32_and_the_unknown_are_left_alone);
	tcase_add_loop_test(tc, legacy_queue_has_the_size_that_the_device_gives, 0, 14);
	tcase_add_loop_test(tc, legacy_queue_of_a_senseless_size_is_refused, 0, 6);
	tcase_add_test(tc, legacy_queue_past_32_bits_of_pages_is_refused);
	tcase_add_test(tc, legacy_queue_that_a_reset_did_not_end_is_refused);
	tcase_add_test(tc, legacy_generation_changes_when_two_looks_do_not_agree);
}

int main(void)
{
	Suite *suite = suite_create("virtio_pci");
	SRunner *runner;
	int failed;

	add_common(begin(suite, "common", setup));
	add_modern(begin(suite, "modern", setup));
	add_common(begin(suite, "legacy common", setup_legacy));
	add_legacy(begin(suite, "legacy", setup_legacy));
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
