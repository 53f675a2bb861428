/* user.h - who uses the disk: requests on several queues, and all else that the driver offers, step
 * by step; and what must hold of it.
 *
 * Each request that was taken is called back once; what is read and said to be read is not another
 * sector's; a device has data only of requests that are not done yet. */
#ifndef VBLKFS_FUZZ_USER_H
#define VBLKFS_FUZZ_USER_H
#include "dev_blk.h"
#include "virtio_blk.h"

#define USER_QUEUES 4U
#define USER_REQS   8U
#define USER_PIECES 16U

enum user_act {
	USER_SUBMIT,
	USER_KICK,
	USER_POLL,
	USER_ARM,
	USER_WAIT,
	USER_WAKE,
	USER_TURN,  /* of a thread of the driver */
	USER_SERVE, /* the device does what it has to; not the user's */
	USER_RESET,
	USER_CACHE,
	USER_DESCRIBE,
	USER_OPEN_QUEUE,
	USER_CLOSE_QUEUE,
	USER_CANT,        /* the next thread or descriptor can't be had */
	USER_RESET_QUEUE, /* number WHEN, to ARG entries; VALUE odd: by force */
	USER_CLAIM,       /* VALUE sectors */
	USER_DO,          /* a request, waited for */
	USER_ALLOC,       /* a piece of DMA memory; or free it */
	USER_NR_ACTS
};

/*	| what 1 | when 1 | argument 2 | value 4 |	*/
struct user_step {
	uint8_t what, when; /* WHAT: those of the device first, NR_BEFORE of them */
	uint16_t arg;
	uint32_t value;
};

struct user_io {
	struct blk_req req; /* first */
	struct iovec iov[3];
	bool busy;
};

struct user {
	const struct dev_blk *device;
	struct blockdev *dev;
	struct blk_queue *q[USER_QUEUES];
	struct user_io io[USER_REQS];
	uint8_t *buf;
	uint64_t nr_sectors; /* as the driver said last */
	struct {
		void *mem;
		size_t bytes;
	} piece[USER_PIECES];
	unsigned nr_pieces;
};

/* DEVICE is told that its data are the user's. */
void user_begin(struct user *u, struct dev_blk *device, struct disk_opts *opts);
bool user_take_over(struct user *u, struct blockdev *dev); /* false: it can't, and DEV is closed */

bool user_next_step(struct fz_input *in, unsigned nr_before, struct user_step *s);
void user_do(struct user *u, enum user_act act, const struct user_step *s);

bool user_is_idle(const struct user *u);
void user_wait(struct user *u);  /* a while, for what is not done yet */
void user_close(struct user *u); /* once it is idle: checks that all was called back */
#endif
