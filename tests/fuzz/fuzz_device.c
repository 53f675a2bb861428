/* fuzz_device.c - the whole driver against a device that lies: open, requests on several queues,
 * resets, interrupts, suspends, close; all of it in one thread.
 *
 *	| header HEADER_BYTES | step 8 | step 8 | ...
 *
 * A step is a lie (liar.h), or something that the driver is asked for (user.h). Those before the
 * first of the latter come before the disk is opened.
 *
 * What must hold, besides what user.h says: no wild access, to memory or to registers; a bounded
 * number of sleeps; at the end nothing is left. */
#include <string.h>
#include "fds.h"
#include "liar.h"
#include "user.h"
#include "world.h"

#define STEPS_MAX 96U
#define TURNS_MAX 40 /* to the end, once the device is gone */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static struct {
	struct liar liar;
	struct user user;
	struct disk_opts opts;
	bool settles; /* in the end it is reset and serves; else it goes away */
} t;

static void on_idle(void *arg)
{
	(void)arg;
	liar_sleep(&t.liar);
	for (unsigned i = 0; i < world_nr_threads(); i++)
		world_turn(i);
}

static void lie(const struct user_step *s)
{
	const struct liar_event event = {.act = s->what, .arg = s->arg, .value = s->value};

	liar_do(&t.liar, s->when, &event);
}

/* One run in a thousand has the patience to see the driver's own time limits pass. */
static bool is_patient(const uint8_t *data, size_t bytes)
{
	uint32_t hash = 2166136261U;

	for (size_t i = 0; i < bytes; i++)
		hash = (hash ^ data[i]) * 16777619U;
	return (hash ^ hash >> 16) % 1024 == 0;
}

static void set_up(struct fz_input *in)
{
	static const struct world_ops world = {.idle = on_idle};
	uint32_t high;
	uint8_t how;

	world_begin(&world);
	fds_begin(NULL);
	liar_begin(&t.liar);
	t.liar.features[0] ^= (uint32_t)fz_take(in, 4);
	high = (uint32_t)fz_take(in, 2);
	t.liar.features[1] ^= high & 0x3fff;
	t.liar.hw.nr_vectors = high >> 14; /* up to 3 */
	how = (uint8_t)fz_take(in, 1);
	t.opts = (struct disk_opts){.poll_only = how & 1,
		.read_only = (how & 6) == 6,
		.write_through = (how & 24) == 24,
		.timeout_s = how & 32 ? 3 : 0,
		.max_rings = 2};
	t.liar.hw.has_irq = !(how & 64);
	t.liar.vanishes = how & 128;
	how = (uint8_t)fz_take(in, 1);
	t.opts.ring_size = how & 1 ? 0 : 8;
	t.opts.max_rings = 1 + (how >> 1) % 4;
	t.liar.function_resets = how & 8;
	t.liar.hw.iommu_translates = (how & 48) == 48;
	t.settles = how & 64;
	if (how & 128)
		liar_be_legacy(&t.liar);
	user_begin(&t.user, &t.liar.blk, &t.opts);
}

static bool open_disk(struct user_step *s, struct fz_input *in)
{
	struct blockdev *dev;
	char why[256] = "";
	int err;

	while (user_next_step(in, LIAR_NR_ACTS, s) && s->what < LIAR_NR_ACTS)
		lie(s);
	err = vblk_open_hw(&t.liar.hw, &t.opts, &dev, why, sizeof(why));
	liar_go_on(&t.liar);
	FZ_CHECK(err == 0 || (err < 0 && why[0] != '\0'), "a failure, %d, without a word", err);
	return err == 0 && user_take_over(&t.user, dev);
}

static void play(struct user_step *s, struct fz_input *in)
{
	unsigned n = 0;

	do {
		liar_go_on(&t.liar);
		if (s->what < LIAR_NR_ACTS)
			lie(s);
		else if (s->what - LIAR_NR_ACTS == USER_SERVE)
			liar_serve(&t.liar);
		else
			user_do(&t.user, s->what - LIAR_NR_ACTS, s);
	} while (++n < STEPS_MAX && user_next_step(in, LIAR_NR_ACTS, s));
}

/* The device does its duty again, is reset, or goes away: all requests end. */
static void wind_up(void)
{
	const struct liar_event needs_reset = {LIAR_STATUS, 0, 0x4f}, irq = {LIAR_IRQ, 0, 2},
				gone = {LIAR_REMOVE, 0, 0};

	t.liar.nr_armed = 0;
	t.liar.hold = false;
	for (int turn = 0; !user_is_idle(&t.user); turn++) {
		liar_go_on(&t.liar);
		FZ_CHECK(turn < TURNS_MAX, "requests hang");
		if (turn == 1 && t.settles)
			liar_do(&t.liar, 0, &needs_reset);
		if (turn == 1 && t.settles)
			liar_do(&t.liar, 0, &irq);
		if (turn == (t.settles ? 10 : 0))
			liar_do(&t.liar, 0, &gone);
		user_wait(&t.user);
	}
	liar_go_on(&t.liar);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct fz_input in = {.at = data, .left = bytes};
	struct user_step s = {.what = LIAR_NR_ACTS + USER_POLL};

	set_up(&in);
	t.liar.patient = is_patient(data, bytes);
	if (open_disk(&s, &in)) {
		play(&s, &in);
		wind_up();
		user_close(&t.user);
	}
	FZ_CHECK(t.liar.closed, "the function was not closed");
	FZ_CHECK(t.liar.dma.live == 0 || t.liar.never_reset, "%zu bytes of DMA memory are left",
		t.liar.dma.live);
	world_end();
	fds_end();
	return 0;
}
