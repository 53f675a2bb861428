/* fuzz_vhost.c - the driver against a vhost-user back-end that lies: open, requests on several
 * queues, back-ends that die and others that come, close; all of it in one thread.
 *
 *	| features 6 | protocol 2 | how 2 | step 8 | step 8 | ...
 *
 * A step is a lie (backend.h), or something that the driver is asked for (user.h). Those before the
 * first of the latter come before the disk is opened.
 *
 * What must hold, besides what user.h says: no wild access; a bounded number of sleeps, and of
 * seconds for an answer; at the end nothing is left: no thread, no descriptor, no memory. */
#include <string.h>
#include "backend.h"
#include "shm.h"
#include "user.h"
#include "vhost_user.h"
#include "world.h"

#define STEPS_MAX 96U
#define TURNS_MAX 400 /* to the end, once the back-end is gone */
#define RETRY_S   3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static struct {
	struct backend backend;
	struct user user;
	struct disk_opts opts;
	bool settles; /* in the end another back-end serves; else none comes any more */
} t;

static void on_idle(void *arg)
{
	(void)arg;
	backend_sleep(&t.backend);
	for (unsigned i = 0; i < world_nr_threads(); i++)
		world_turn(i);
}

static void lie(const struct user_step *s)
{
	const struct backend_event event = {.act = s->what, .arg = s->arg, .value = s->value};

	backend_do(&t.backend, s->when, &event);
}

static void set_up(struct fz_input *in)
{
	static const struct world_ops world = {.idle = on_idle};
	struct fds_ops fds = backend_fds_ops;
	uint8_t how;

	fds.arg = &t.backend;
	vhost_user_retry_s = RETRY_S;
	world_begin(&world);
	fds_begin(&fds);
	shm_begin();
	backend_begin(&t.backend);
	t.backend.features ^= fz_take(in, 6);
	t.backend.proto ^= fz_take(in, 2);
	how = (uint8_t)fz_take(in, 1);
	t.opts = (struct disk_opts){.poll_only = how & 1,
		.read_only = (how & 6) == 6,
		.write_through = (how & 24) == 24,
		.timeout_s = how & 32 ? 3 : 0,
		.ring_size = (how & 192) == 192 ? 0 : 8 << (how >> 6)};
	how = (uint8_t)fz_take(in, 1);
	t.opts.max_rings = 1 + how % BACKEND_QUEUES;
	t.backend.max_slots -= how >> 2 & 7;
	t.settles = how & 32;
	user_begin(&t.user, &t.backend.blk, &t.opts);
}

static bool open_disk(struct user_step *s, struct fz_input *in)
{
	struct blockdev *dev;
	char why[256] = "";
	int err;

	while (user_next_step(in, BACKEND_NR_ACTS, s) && s->what < BACKEND_NR_ACTS)
		lie(s);
	err = vblk_open_socket("back-end", &t.opts, &dev, why, sizeof(why));
	backend_go_on(&t.backend);
	FZ_CHECK(err == 0 || (err < 0 && why[0] != '\0'), "a failure, %d, without a word", err);
	return err == 0 && user_take_over(&t.user, dev);
}

static void play(struct user_step *s, struct fz_input *in)
{
	unsigned n = 0;

	do {
		backend_go_on(&t.backend);
		if (s->what < BACKEND_NR_ACTS)
			lie(s);
		else if (s->what - BACKEND_NR_ACTS == USER_SERVE)
			backend_serve(&t.backend);
		else
			user_do(&t.user, s->what - BACKEND_NR_ACTS, s);
	} while (++n < STEPS_MAX && user_next_step(in, BACKEND_NR_ACTS, s));
}

/* The back-end does its duty again, or another one does, or there is none: all requests end. */
static void wind_up(void)
{
	const struct backend_event dies = {BACKEND_DIE, 0, 0};

	backend_settle(&t.backend);
	for (int turn = 0; !user_is_idle(&t.user); turn++) {
		backend_go_on(&t.backend);
		FZ_CHECK(turn < TURNS_MAX, "requests hang");
		if (turn == 1 && t.settles)
			backend_do(&t.backend, 0, &dies);
		if (turn == (t.settles ? 40 : 0))
			backend_die(&t.backend);
		user_wait(&t.user);
	}
	backend_go_on(&t.backend);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct fz_input in = {.at = data, .left = bytes};
	struct user_step s = {.what = BACKEND_NR_ACTS + USER_POLL};

	set_up(&in);
	if (open_disk(&s, &in)) {
		play(&s, &in);
		wind_up();
		user_close(&t.user);
	}
	backend_end(&t.backend);
	shm_end();
	world_end();
	fds_end();
	return 0;
}
