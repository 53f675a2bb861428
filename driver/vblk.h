/* vblk.h - what virtio_blk.c and the vblk_*.c share. Nobody else includes it.
 *
 *	blk_queue --- struct vblk_handle --+
 *	blk_queue --- struct vblk_handle --+-- struct vblk_ring --- struct virtqueue
 *
 * Each thread has a handle; a ring has one, or, when there are more threads than rings, several. A
 * request is cut into parts by the device's limits; each part takes a slot of its ring while the
 * device has it.
 *
 * Threads: a handle is its thread's; `armed` is also the interrupt thread's. A ring is under its
 * `lock`. Resets are under config_lock. Lock order: config_lock (virtio_bus.h) > open_lock > ring->lock (several: by number) >
 * handles_lock. done() is called under none. */
#ifndef VBLKFS_VBLK_H
#define VBLKFS_VBLK_H
#include <pthread.h>
#include <stdatomic.h>
#include "blk_count.h"
#include "blockdev.h"
#include "disk.h"
#include "owner_lock.h"
#include "virtio_blk.h"
#include "virtio_bus.h"
#include "virtqueue.h"

#define VBLK_RESETS_MAX 5U    /* of a device that asks for them, in a minute; then it is given up */
#define VBLK_SEGS_MAX   128U  /* with header and status */
#define VBLK_PATIENCE_S 30U   /* where requests have no time limit */
#define VBLK_NO_STATUS  0xffU /* stands there until the device writes one */
#define VBLK_PART_BYTES (1U << 30) /* more at a time serves nobody; 2.7.5.2 allows 4 GiB */

struct vblk;
struct vblk_ring;

struct vblk_handle {
	struct blk_queue q;
	struct vblk_ring *ring;
	struct vblk_handle *next; /* of the ring; under handles_lock */
	atomic_bool armed;        /* asleep, or about to be: blk_wake() it */
	bool has_slept;           /* by an interrupt, once */
	uint32_t nr_owned;        /* submitted, done() not called */
	uint32_t nap_us;          /* how long to sleep between looks, where there is no interrupt */
	struct blk_req *done, **done_end; /* to be called back; under ring->lock */
};

struct vblk_slot {           /* for one part, while the device has it */
	struct blk_req *req; /* NULL: free, or */
	bool alone;          /* it is a part of no request, see do_alone() */
	uint64_t given_ns;   /* its batch's begin */
};

struct vblk_slot_dma { /* its bytes that the device reads and writes; one cache line */
	struct virtio_blk_outhdr header;
	union {
		struct virtio_blk_discard_write_zeroes range;
		uint8_t id[VIRTIO_BLK_ID_BYTES];
		struct virtio_blk_lifetime lifetime;
	} u;
	uint8_t status;
	uint8_t pad[23];
};
static_assert(sizeof(struct vblk_slot_dma) == 64, "slots share no cache line");

struct vblk_slots { /* as many as the queue has entries */
	struct vblk_slot *slot;
	struct vblk_slot_dma *dma;
	uint64_t dma_addr;
	uint16_t *free; /* a stack */
	uint16_t nr, nr_free;
};

enum vblk_service {
	VBLK_LIVE,
	VBLK_FROZEN,  /* the device may come back: requests wait */
	VBLK_STOPPED, /* for good: requests fail */
};

struct vblk_ring {
	struct vblk *vblk;
	struct virtqueue *vq;
	struct owner_lock lock; /* guards all down to the line */
	enum vblk_service service;
	unsigned max_segs; /* of data, by the ring */
	struct vblk_slots slots;
	struct blk_req *waiting, **waiting_end; /* for room, in order; of any handle */
	uint64_t batch_ns; /* when the first was given since the last kick; 0: none was */
	/* --- */
	struct blk_stat stat;                       /* written under the lock, read by anyone */
	atomic_uint_fast64_t nr_given, nr_returned; /* parts */
	atomic_uint_fast64_t nr_interrupts;

	pthread_mutex_t handles_lock;
	struct vblk_handle *handles;
	unsigned nr_handles; /* under open_lock, as is the next */
	bool asked_to_wake;  /* the transport, to wake the only handle without a thread between */
	atomic_bool wakes;   /* and it does */
};

/* The device's; a configuration change may write them at any time, so each is read once per use. */
struct vblk_limits {
	atomic_uint_fast64_t nr_sectors;
	atomic_uint_fast32_t size_max; /* bytes a segment */
	atomic_uint_fast32_t seg_max;
	atomic_uint_fast32_t discard_sectors, discard_align, zeroes_sectors;
	atomic_uint_fast32_t erase_sectors, erase_align;
};

enum vblk_cure { VBLK_NO_CURE, VBLK_QUEUE_RESET, VBLK_DEVICE_RESET }; /* of a ring that stands */

struct vblk_watch {
	pthread_t thread;
	int wake_fd;    /* eventfd: `on` was set, or `stop` */
	atomic_bool on; /* somebody sleeps while requests are with the device */
	atomic_bool stop;
	int tick_ms;
	unsigned stall_ticks;          /* without progress: then it is reported */
	uint64_t seen[VBLK_RINGS_MAX]; /* nr_returned at the last tick */
	unsigned idle_ticks[VBLK_RINGS_MAX];
	bool queue_reset;                     /* a queue that stands is reset alone, first */
	enum vblk_cure tried[VBLK_RINGS_MAX]; /* since a request of that ring was done */
	uint32_t generation;
};

struct vblk_config { /* the device's configuration, defaults where it has no field */
	uint64_t capacity;
	uint32_t size_max, seg_max, blk_size;
	uint16_t cylinders;
	uint8_t heads, sectors;
	uint8_t physical_exp, alignment_offset;
	uint16_t min_io_blocks;
	uint32_t opt_io_blocks;
	uint8_t writeback;
	uint16_t num_queues;
	uint32_t discard_sectors, discard_seg, discard_align, zeroes_sectors, zeroes_seg;
	uint8_t zeroes_may_unmap;
	uint32_t erase_sectors, erase_seg, erase_align;
};

struct vblk {
	struct blockdev dev;
	struct virtio_device *vdev;
	struct hw *hw;
	struct vblk_limits limits;
	struct blk_info info; /* all but nr_sectors */
	struct vblk_lifetime lifetime;
	uint32_t unit_sectors;      /* of a logical block */
	bool zeroes_unmap;          /* WRITE_ZEROES may free the space */
	uint64_t offered, features; /* when it was opened; the bus chooses anew in a reset */
	unsigned timeout_s;         /* 0: a request may take for ever */
	struct vblk_watch watch;
	void (*resized)(void *arg, uint64_t nr_sectors); /* may be NULL */
	void *resized_arg;

	bool write_through;         /* it was told so */
	atomic_bool volatile_cache; /* writes need a flush */

	/* Resets: who makes one holds config_lock, as does who calls vblk_break(). */
	uint64_t reset_ns[VBLK_RESETS_MAX]; /* the last that the device asked for */
	atomic_bool busy; /* at one, or at what takes as long: config_lock is held till the end */
	atomic_uint nr_resets, nr_queue_resets;
	uint64_t nr_suspends; /* of the machine, when the device was last made live */

	/* Changing requests that are done (see vblk_nr_changes()) when the last successful flush was
	 * submitted. And a negative errno that the next flush owes. */
	atomic_uint_fast64_t nr_flushed;
	atomic_int flush_err;

	atomic_bool breaking;
	atomic_int dead; /* a negative errno: the device was reset and requests fail */

	pthread_mutex_t open_lock; /* opening and closing of handles */
	unsigned nr_rings;
	struct vblk_ring ring[];
};

struct vblk_progress { /* of a request; lives in blk_req.priv */
	struct vblk_handle *owner;
	union {
		size_t iov_off;  /* bytes into iov[iov_index]: the first that was not given yet */
		uint64_t covers; /* of a flush: the changes before it */
	};
	uint32_t iov_index;
	uint32_t left;  /* sectors to give; of a flush: 1 */
	uint32_t parts; /* with the device */
	int32_t err;    /* the first */
} __attribute__((may_alias));
static_assert(sizeof(struct vblk_progress) <= sizeof(((struct blk_req *)0)->priv), "it fits");

static inline struct vblk_progress *vblk_progress_of(struct blk_req *req)
{
	return (struct vblk_progress *)req->priv;
}

/* One thread writes at a time, under the ring's lock, and others read. */
static inline void vblk_count_parts(atomic_uint_fast64_t *counter)
{
	uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, now + 1, memory_order_relaxed);
}

static inline void vblk_free_slot(struct vblk_ring *ring, uint16_t slot)
{
	ring->slots.slot[slot].req = NULL;
	ring->slots.slot[slot].alone = false;
	ring->slots.free[ring->slots.nr_free++] = slot;
}

/* For the device, by looking again and again. */
struct vblk_wait {
	uint64_t limit_us;
	uint64_t waited_us, look_us; /* so far; when its health is looked at next */
};

/* How long a request may take before somebody who waits for it gives up. */
static inline uint64_t vblk_patience_us(const struct vblk *vblk)
{
	return (vblk->timeout_s == 0 ? VBLK_PATIENCE_S : vblk->timeout_s) * 1000000ULL;
}

/* vblk_part.c: */
/* Sleep a little, longer each time. -ETIMEDOUT: long enough; and as virtio_device_health(). */
int vblk_wait_a_little(struct vblk *vblk, struct vblk_wait *w);
/* Caller holds ring->lock: */
/* Give the device the next part of REQ. -ENOSPC: there is no room. Any other error: REQ can't go
 * on. */
int vblk_give_part(struct vblk_ring *ring, struct blk_req *req);
int vblk_error_of(uint8_t status); /* as the device wrote it */
/* Flush, before there are handles; errors as below, and -EIO. */
int vblk_ring_flush(struct vblk_ring *ring);
/* Ask for the serial number, before there are handles. -ENODATA: it has none; -ETIMEDOUT: no
 * answer; and as virtio_device_health(). */
int vblk_ring_get_id(struct vblk_ring *ring, char id[VIRTIO_BLK_ID_BYTES]);
/* Likewise, how worn it is. -ENODATA: it does not know. */
int vblk_ring_get_lifetime(struct vblk_ring *ring, struct vblk_lifetime *out);

/* vblk_queue.c: */
void vblk_ring_prepare(
	struct vblk_ring *ring, struct vblk *vblk); /* enough for vblk_ring_wake() and _destroy() */
int vblk_ring_init(struct vblk_ring *ring, struct virtqueue *vq);
void vblk_ring_destroy(struct vblk_ring *ring, bool leak);
bool vblk_ring_wake(struct vblk_ring *ring); /* all that sleep on it; was there one? Any thread */
int vblk_handle_open(struct blockdev *dev, struct blk_queue **out);
void vblk_handle_close(struct blk_queue *q);
int vblk_submit(struct blk_queue *q, struct blk_req *req);
void vblk_kick(struct blk_queue *q);
int vblk_poll(struct blk_queue *q);
bool vblk_arm(struct blk_queue *q);
int vblk_stat(struct blockdev *dev, struct blk_stat *out, int max);
/* The device lost the ring and all that was in it; it has an empty one again, or, with
 * vdev->rings_kept, the same. Between the two nothing of the ring is touched. FLUSH_ERR: what flushes that wait or were in flight end with, or,
 * if there are none, the next one; 0: they are done again. All rings at once. */
void vblk_ring_freeze(struct vblk_ring *ring);
void vblk_rings_restore(struct vblk *vblk, int flush_err);
/* The same without a loss: show the device what it was not shown yet, then give it nothing more, and
 * only vblk_rings_reap() takes from it; in the end vblk_rings_thaw(). */
void vblk_rings_quiesce(struct vblk *vblk);
unsigned vblk_rings_reap(struct vblk *vblk); /* how many parts the device has still */
void vblk_rings_thaw(struct vblk *vblk);
/* One ring of them; between quiesce and thaw, once the device does not have its queue any more: what
 * it had waits again; then it may get another size, and on failure keeps its own. */
void vblk_ring_quiesce(struct vblk_ring *ring);
unsigned vblk_ring_reap(struct vblk_ring *ring);
/* Has the device finished what nobody has taken from the ring yet? It is taken. */
bool vblk_ring_has_answers(struct vblk_ring *ring);
void vblk_ring_take_back(struct vblk_ring *ring);
int vblk_ring_resize(struct vblk_ring *ring, uint16_t size);
void vblk_ring_thaw(struct vblk_ring *ring);
void vblk_note_flushed(struct vblk *vblk, uint64_t nr_changes);
uint64_t vblk_nr_changes(const struct vblk *vblk); /* writes, discards: done, of all rings */

/* vblk_watch.c: */
int vblk_watch_start(struct vblk *vblk);
void vblk_watch_stop(struct vblk *vblk);
void vblk_watch_on(struct vblk *vblk);   /* somebody goes to sleep with requests in flight; cheap */
void vblk_watch_tick(struct vblk *vblk); /* what its thread does every tick_ms while it is on */

enum vblk_reset_cause {
	VBLK_REQUESTED, /* it finishes what it has first, and flushes */
	VBLK_SUSPENDED, /* what it had is sent again */
	VBLK_BROKEN,    /* that, and what it did not flush may be lost */
};

/* vblk_reset.c; caller holds config_lock and no ring's: */
/* The device is of no use any more: reset it, then fail everything with ERR. Once. WHY goes to the
 * log. */
void vblk_break(struct vblk *vblk, int err, const char *why);
/* Reset the device and go on: requests wait meanwhile. WHY goes to the log. On failure everything
 * fails. */
int vblk_reset(struct vblk *vblk, enum vblk_reset_cause cause, const char *why);
/* The device has lost its state: because the machine was suspended, and is awake again? Then it was
 * at rest, and may have kept what it was given: the memory that depends on it was kept, too. */
bool vblk_was_suspended(struct vblk *vblk);
/* What the device has of a queue that is to be reset: it is to finish it; or, where it does not, it is
 * believed to forget it; or that at once. */
enum vblk_pending { VBLK_AWAIT, VBLK_AWAIT_OR_FORGET, VBLK_FORGET };
/* The same for one queue, while the others go on; it has SIZE entries then. -EOPNOTSUPP: the device
 * can't; -ETIMEDOUT: it does not finish, and is not believed to forget, or is known not to, and all is
 * as before; -ENOMEM: reset, but of the size that it was. Where the queue can't be reset the device is:
 * -ECANCELED, if the size is the one that it was and SIZE another. */
int vblk_reset_ring(struct vblk *vblk, struct vblk_ring *ring, uint16_t size,
	enum vblk_pending pending, const char *why);
/* All that was submitted is done, and durable. Whatever comes of it, vblk_rings_thaw() next. */
int vblk_quiesce(struct vblk *vblk);

/* virtio_blk.c: */
const char *vblk_what_is_wrong(int err); /* with the device's health */
/* After a reset: configuration, cache mode, then the rings. */
int vblk_go_on(struct vblk *vblk, enum vblk_reset_cause cause);
#endif
