/* logwrites.h - read a log of what was written to a disk, in the format of the kernel's dm-log-writes
 * and of QEMU's blklogwrites.
 *
 *	sector 0          super: magic, version, number of entries, bytes of a sector
 *	then, each        one sector with the entry's head; its data, if any
 *
 * The number of entries in sector 0 is of the last flush, or older: what comes after is read too, as
 * far as it makes sense. Positions on the disk are in the log's own sectors. */
#ifndef VBLKFS_LOGWRITES_H
#define VBLKFS_LOGWRITES_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define LOGW_FLUSH   1U /* all that was done before is durable */
#define LOGW_FUA     2U /* this write is durable */
#define LOGW_DISCARD 4U
#define LOGW_MARK    8U /* somebody's words; nothing is written */

struct logw_entry {
	uint64_t index;              /* from 0 */
	uint64_t sector, nr_sectors; /* on the disk */
	uint64_t flags;
	off_t data_at; /* in the log file */
	bool has_data;
};

struct logw {
	int fd;
	off_t bytes; /* of the file */
	off_t next_at;
	uint64_t next_index;
	uint32_t sector_bytes;
	uint64_t nr_counted; /* by sector 0 */
};

/* On failure ERR has a line. */
int logw_open(const char *path, struct logw *out, char *err, size_t err_bytes);
void logw_close(struct logw *log);
/* 1: *OUT is the next entry; 0: no more. */
int logw_next(struct logw *log, struct logw_entry *out);
void logw_rewind(struct logw *log);
/* NR_BYTES of the entry's data, from byte OFFSET of it. */
int logw_read(const struct logw *log, const struct logw_entry *e, uint64_t offset, void *buf,
	size_t nr_bytes);
static inline uint64_t logw_bytes(const struct logw *log, const struct logw_entry *e)
{
	return e->nr_sectors * log->sector_bytes;
}
#endif
