/* vblk.h - libvblk: drive a virtio disk from user space.
 *
 * A disk is opened by name, has queues for its requests, and memory that they may point into.
 * Positions and lengths are in bytes, multiples of the disk's block (vblk_info.block_bytes). Errors
 * are negative errnos: -EIO the disk failed, -EPROTO it broke its protocol, -ENODEV it is gone,
 * -EROFS it is read-only, -EOPNOTSUPP it cannot do this.
 *
 * Threads: a queue belongs to one thread at a time: every call on it but vblk_queue_wake(), and so
 * every done(), happens there. All else may be called from any thread, but for vblk_disk_close(),
 * which is the last call. The library has threads of its own, which take no signals.
 *
 * After fork(2) the disk stays the parent's. In the child every call on it fails with -EPERM or does
 * nothing, its end included; only what it is can still be asked.
 *
 * A struct that begins with `size' may grow at its end in later versions: set size to its sizeof,
 * and the rest of what you pass to zeros. What an older library does not know reads as 0. */
#ifndef LIBVBLK_VBLK_H
#define LIBVBLK_VBLK_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct vblk_disk;
struct vblk_queue;

const char *vblk_version(void);

/* What goes on below, for people: a line without its newline, PRIORITY as in syslog(3). NULL, as at
 * first: nobody hears of it. FN is called in any thread, and must not call the library. */
void vblk_set_log(void (*fn)(int priority, const char *line));

/* --- disks --- */

struct vblk_entry {       /* a virtio disk on this machine's PCI; never the caller's to make */
	char address[16]; /* 0000:00:05.0 */
	uint16_t vendor, device;
	bool can_open;   /* bound to a driver that gives it to user space */
	char driver[32]; /* that it is bound to; empty: none */
	char block[32];  /* the kernel's block device, as vda; empty: none */
	char serial[24]; /* empty: none, or not known */
	uint64_t bytes;  /* 0: not known */
};

/* EACH disk, by address, until it returns other than 0: that is then returned. Nothing is opened. */
int vblk_disk_list(int (*each)(void *arg, const struct vblk_entry *entry), void *arg);

struct vblk_opts {
	uint32_t size;
	bool read_only;     /* never write; an image is opened for reading */
	bool poll_only;     /* ask for no interrupts */
	bool write_through; /* switch its write cache off; -EOPNOTSUPP where it can't be */
	bool queue_reset;   /* see timeout_s */
	uint32_t max_rings; /* 0: as many as the disk has */
	uint32_t ring_size; /* 0: the disk's own; else a power of two, 2 to 32768 */
	/* A request that takes longer has the device reset, or, with queue_reset, its queue alone first:
	 * for devices that are known to forget what they had of it. 0: none. */
	uint32_t timeout_s;
	uint32_t reserved;
	/* The disk has another size now (an image's is not watched). Called in any thread, even
	 * before vblk_disk_open() returns: of the library it may call vblk_queue_wake(). */
	void (*resized)(void *arg, uint64_t bytes);
	void *resized_arg;
};

/* SOURCE: a PCI address as 0000:00:05.0, serial=ID, vhost-user:SOCKET, or the path of an image file.
 * OPTS may be NULL. On failure ERR, of ERR_BYTES, has one line that says why; it may be NULL. -EBUSY:
 * somebody else has it open. */
int vblk_disk_open(const char *source, const struct vblk_opts *opts, struct vblk_disk **out,
	char *err, size_t err_bytes);
/* Its memory freed before. -EBUSY: it has queues, and stays open. */
int vblk_disk_close(struct vblk_disk *disk);

struct vblk_info {
	uint32_t size;
	uint32_t block_bytes;    /* 512 to 4096: a power of two */
	uint32_t physical_bytes; /* best unit of writing; >= block_bytes */
	uint32_t nr_rings;       /* more queues than these share rings */
	uint64_t bytes;
	bool read_only;
	bool volatile_cache; /* writes need VBLK_FLUSH to be durable */
	bool can_discard;
	bool can_write_zeroes;
	bool can_secure_erase;
	uint8_t reserved[3];
	uint32_t nr_resets;       /* of the device, since it was opened */
	uint32_t nr_queue_resets; /* of one of its queues alone */
	char transport[32];       /* virtio-pci, modern; vhost-user; image file */
	char serial[24];          /* empty: none */
	char name[64];            /* as it was opened; for messages */
};
int vblk_disk_info(struct vblk_disk *disk, struct vblk_info *info);

struct vblk_device { /* what a virtio device says (virtio 1.2, 5.2.4); 0: without that feature */
	uint32_t size;
	uint8_t status; /* 2.1 */
	bool interrupt; /* it has one; else it is polled */
	uint16_t reserved;
	uint64_t features_offered, features; /* these: in use. By bit, see vblk_feature_name() */
	uint32_t size_max, seg_max;
	uint32_t max_discard_sectors, max_discard_seg, discard_sector_alignment; /* of 512 bytes */
	uint32_t max_write_zeroes_sectors, max_write_zeroes_seg;
	uint32_t max_secure_erase_sectors, max_secure_erase_seg, secure_erase_sector_alignment;
	uint32_t ring_entries, ring_segments; /* of the first; segments: of data, in a request */
	uint16_t cylinders;
	uint8_t heads, sectors;
	uint8_t physical_block_exp, alignment_offset; /* offset and I/O sizes: in blocks */
	uint16_t min_io_size;
	uint32_t opt_io_size;
	bool write_zeroes_may_unmap;
	uint8_t reserved2;
	uint16_t pre_eol_info, lifetime_est_typ_a, lifetime_est_typ_b; /* when it was opened */
	uint32_t reserved3;
};
/* Requests may be larger than these limits: they are split. -ENODEV: no virtio device. */
int vblk_disk_device(struct vblk_disk *disk, struct vblk_device *device);
const char *vblk_feature_name(unsigned bit); /* NULL: not known */

enum vblk_op {
	VBLK_READ,
	VBLK_WRITE,
	VBLK_FLUSH,
	VBLK_DISCARD,
	VBLK_WRITE_ZEROES,
	VBLK_SECURE_ERASE
};

#define VBLK_STAT_OPS 16 /* enum vblk_op, with room for more */
/* Bucket 0 counts what took less than 1 microsecond, bucket i what took from 2^(i-1) to 2^i - 1; the
 * last has all that is longer. */
#define VBLK_LATENCY_BUCKETS 28
/* Bucket i counts batches of 2^i to 2^(i+1) - 1 requests; the last has all that are larger. */
#define VBLK_BATCH_BUCKETS 8

struct vblk_stat { /* of one ring, since the disk was opened */
	uint32_t size;
	uint32_t reserved;
	uint64_t reads, writes, flushes, others;
	uint64_t read_bytes, write_bytes;
	uint64_t errors;
	uint64_t kicks;       /* doorbells rung */
	uint64_t kicks_saved; /* batches for which the device asked for none */
	uint64_t interrupts;  /* wake-ups from sleep by the device */
	uint64_t polls_hit, polls_missed;
	uint64_t batches[VBLK_BATCH_BUCKETS]; /* what one doorbell, rung or saved, was for */
	/* From a request's batch's begin until the poll that found it done. One that was split
	 * counts once for each part. */
	uint64_t latency[VBLK_STAT_OPS][VBLK_LATENCY_BUCKETS];
	uint64_t latency_us[VBLK_STAT_OPS]; /* their sum */
};
/* -ENOENT: there is no ring of that number. Of an image each queue is a ring. */
int vblk_disk_stat(struct vblk_disk *disk, unsigned ring, struct vblk_stat *stat);

/* Let the device cache what is written, or not: what was written before is durable then. Requests
 * wait meanwhile. -EOPNOTSUPP: it can't be set; -EAGAIN: a vhost-user back-end is gone, and the next
 * one is awaited; -ETIMEDOUT: the device did not finish what it has. */
int vblk_disk_set_cache(struct vblk_disk *disk, bool writeback);
/* Reset the device and go on: what it has is finished first, and nothing is lost. Errors as before. */
int vblk_disk_reset(struct vblk_disk *disk);

/* Memory that requests may point into: zeroed, aligned to 4096 bytes, contiguous for the device when
 * BYTES is at most 2 MiB (2 MiB-aligned when BYTES is a multiple of it). NULL: none left. */
void *vblk_mem_alloc(struct vblk_disk *disk, size_t bytes);
void vblk_mem_free(struct vblk_disk *disk, void *mem, size_t bytes);

/* --- requests --- */

#define VBLK_FUA 1U /* of a write: done when durable; it is a write, then a flush */

struct vblk_req {       /* the caller's, but the queue's from submit to done() */
	uint32_t op;    /* enum vblk_op */
	uint32_t flags; /* VBLK_FUA */
	uint64_t offset;
	uint64_t bytes; /* any size: split by the disk's limits. Both: 0 in VBLK_FLUSH */
	/* READ and WRITE: of vblk_mem_alloc()'s memory, BYTES in all. Other memory ends in
	 * -EFAULT, or just works, as the disk is. */
	void *buf;               /* or, when nr_iov is not 0: */
	const struct iovec *iov; /* the caller's until done() */
	uint32_t nr_iov;
	uint32_t reserved;
	void (*done)(struct vblk_req *req, int err); /* 0 or a negative errno */
	void *arg;                                   /* the caller's, all the time */
	uint64_t lib[20];                            /* the library's, as long as the queue's */
};

/* A write is durable only after a VBLK_FLUSH that was submitted, on any queue, once the write was
 * done. Completions come in any order. */
int vblk_queue_open(struct vblk_disk *disk, struct vblk_queue **out);
int vblk_queue_close(struct vblk_queue *q); /* -EBUSY: there are requests in it */

/* Queue REQ; the disk learns of it at the next kick. A full ring is no error: REQ waits for room.
 * -EINVAL: misaligned, no bytes, more or less memory than bytes, or past the end; -EROFS;
 * -EOPNOTSUPP; -EPERM: after a fork. On these REQ stays the caller's. */
int vblk_queue_submit(struct vblk_queue *q, struct vblk_req *req);
void vblk_queue_kick(struct vblk_queue *q); /* one doorbell for all that is queued */

/* Reap: calls done() for what has completed, returns how many. Never sleeps. done() may submit; it
 * must not poll, wait or close. */
int vblk_queue_poll(struct vblk_queue *q);

/* Kick, poll for a while, then sleep, until something was done, vblk_queue_wake() was called or
 * TIMEOUT_MS passed (-1: for ever). Returns what vblk_queue_poll() would. */
int vblk_queue_wait(struct vblk_queue *q, int timeout_ms);
/* How long it polls before it sleeps, in microseconds; 0: not at all. */
void vblk_queue_set_spin(struct vblk_queue *q, uint32_t us);

/* To sleep in poll(2) and its like: while arm returns true there is something to poll. When it
 * returned false the descriptor, always the same, becomes readable at the next completion or wake,
 * and vblk_queue_poll() resets it: no wake-up is lost in between. From then on submit, and arm again
 * before the next sleep. (Where a disk has no interrupts arm itself sleeps, up to a millisecond.) */
bool vblk_queue_arm(struct vblk_queue *q);
int vblk_queue_fd(const struct vblk_queue *q);
void vblk_queue_wake(struct vblk_queue *q); /* from any thread: end a sleep, now or the next one */

/* Do one request and wait for it; others' done() may be called meanwhile. */
int vblk_queue_do(
	struct vblk_queue *q, enum vblk_op op, uint64_t offset, uint64_t bytes, void *buf);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
