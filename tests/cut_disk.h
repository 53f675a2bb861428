/* cut_disk.h - a disk in memory that remembers what was written when, and can show itself as a
 * power cut would leave it.
 *
 * Events are writes, flushes and notes, numbered from 0 in the order in which they were done. A cut
 * after N events keeps all writes that a flush among them covers (those done before the flush was
 * submitted); of the later writes among them each sector is kept or lost. Events before
 * cut_disk_record() always count as flushed, and are not numbered. */
#ifndef VBLKFS_CUT_DISK_H
#define VBLKFS_CUT_DISK_H
#include "blockdev.h"

int cut_disk_open(uint64_t nr_sectors, struct blockdev **out);
void cut_disk_record(struct blockdev *dev); /* from now on; forgets what was recorded before */
size_t cut_disk_nr_events(struct blockdev *dev);

/* The test's own mark between events: what it was promised so far. cut_disk_noted() is the last one
 * before event NR; 0: none. */
void cut_disk_note(struct blockdev *dev, uint64_t value);
uint64_t cut_disk_noted(struct blockdev *dev, size_t nr_events);

enum cut_keep {
	CUT_ALL,    /* every write done before the cut */
	CUT_NONE,   /* none that was not flushed */
	CUT_RANDOM, /* whole writes, by SEED */
	CUT_TORN,   /* sectors, by SEED */
};
/* Another disk (close it): this one after a cut. It is a cut_disk too, and records from its start.
 */
int cut_disk_cut(struct blockdev *dev, size_t nr_events, enum cut_keep keep, uint64_t seed,
	struct blockdev **out);

/* Faults. The NTH write from now (1: the next) and all later ones fail with -EIO, unwritten; 0:
 * none does. Likewise reads, flushes. With ONCE only that one fails. */
void cut_disk_fail_once(struct blockdev *dev, bool once);
void cut_disk_fail_writes(struct blockdev *dev, uint64_t nth);
void cut_disk_fail_reads(struct blockdev *dev, uint64_t nth);
void cut_disk_fail_flushes(struct blockdev *dev, uint64_t nth);
void cut_disk_set_read_only(struct blockdev *dev, bool on);
void cut_disk_set_write_through(
	struct blockdev *dev); /* no volatile cache: writes are durable when done */

uint64_t cut_disk_nr_reads(struct blockdev *dev); /* since it was opened */
uint64_t cut_disk_nr_writes(struct blockdev *dev);
uint64_t cut_disk_nr_flushes(struct blockdev *dev);
uint8_t *cut_disk_bytes(struct blockdev *dev); /* as it reads now */
#endif
