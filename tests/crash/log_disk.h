/* log_disk.h - a disk that lies over an image, and logs what is done to it.
 *
 * Reads see the image with what was written on top; the image itself stays. Resetting costs what
 * was written. The log has writes, flushes and marks in the order in which they were done; with
 * each write and flush, how long the log was when it was submitted.
 *
 * Unlike cut_disk.h's, which a test holds in its hands for one cut, it is for thousands of disks a
 * second: nothing is mapped, and nothing copied but what was written. */
#ifndef VBLKFS_CRASH_LOG_DISK_H
#define VBLKFS_CRASH_LOG_DISK_H
#include "arena.h"
#include "blockdev.h"
#include "image.h"

enum log_kind { LOG_WRITE, LOG_FLUSH, LOG_BEGIN, LOG_DONE };

struct log_event {
	uint8_t kind;
	uint32_t submitted;  /* WRITE, FLUSH: events that were logged before */
	uint32_t nr_sectors; /* WRITE */
	uint64_t value;      /* WRITE: sector; BEGIN, DONE: an operation's number */
	uint8_t *data;       /* WRITE: the log's */
};

struct log_events {
	struct log_event *v;
	size_t nr, max;
	struct arena data; /* the events' */
};

int log_disk_open(const struct image *base, struct blockdev **out);
/* As after log_disk_open(), on BASE. No queue is open. */
void log_disk_reset(struct blockdev *dev, const struct image *base);
void log_disk_record(struct blockdev *dev, bool on); /* off: nothing is logged */
const struct log_events *log_disk_events(struct blockdev *dev);
void log_disk_take(struct blockdev *dev, struct log_events *out); /* the log goes to the caller */
void log_disk_mark(struct blockdev *dev, enum log_kind kind, uint64_t value);

/* Not logged: what was there before anyone looked. */
void log_disk_put(struct blockdev *dev, uint64_t sector, uint32_t nr_sectors, const uint8_t *data);
/* What IMAGE would hash to with all that was written; *IMAGE is the base. */
uint64_t log_disk_hash(struct blockdev *dev);
void log_disk_to_image(struct blockdev *dev, struct image *to); /* TO is a copy of the base */
/* What the filesystem did that no disk should see, since the reset; NULL: nothing. While recording:
 * two writes of the same sectors in flight together, a buffer changed while it is written. */
const char *log_disk_fault(struct blockdev *dev);
uint64_t log_disk_nr_writes(struct blockdev *dev); /* since the reset, logged or not */
/* The NTH queue opened since the reset, and still open; NULL: there is none. */
struct blk_queue *log_disk_queue(struct blockdev *dev, unsigned nth);

void log_events_free(struct log_events *log);
struct log_event *log_events_add(struct log_events *log, enum log_kind kind, uint64_t value);
#endif
