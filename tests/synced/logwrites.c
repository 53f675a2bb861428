/* logwrites.c - see logwrites.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "le.h"
#include "logwrites.h"

#define MAGIC     0x6a736677736872ULL
#define VERSION   1U
#define ALL_FLAGS (LOGW_FLUSH | LOGW_FUA | LOGW_DISCARD | LOGW_MARK)

struct super {
	le64 magic;
	le64 version;
	le64 nr_entries;
	le32 sector_bytes;
};

struct head {
	le64 sector;
	le64 nr_sectors;
	le64 flags;
	le64 data_bytes; /* of a mark's words */
};

static int read_all(int fd, void *buf, size_t bytes, off_t at)
{
	uint8_t *p = buf;

	while (bytes > 0) {
		ssize_t n = pread(fd, p, bytes, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p += n;
		at += n;
		bytes -= (size_t)n;
	}
	return 0;
}

static int read_super(struct logw *log)
{
	struct super s;
	struct stat st;
	int err = read_all(log->fd, &s, sizeof(s), 0);

	if (err < 0)
		return err;
	if (le64_get(s.magic) != MAGIC || le64_get(s.version) != VERSION)
		return -EINVAL;
	log->sector_bytes = le32_get(s.sector_bytes);
	log->nr_counted = le64_get(s.nr_entries);
	if (log->sector_bytes != 512 && log->sector_bytes != 4096)
		return -EINVAL;
	if (fstat(log->fd, &st) < 0)
		return -errno;
	log->bytes = st.st_size;
	logw_rewind(log);
	return 0;
}

int logw_open(const char *path, struct logw *out, char *err, size_t err_bytes)
{
	int code;

	*out = (struct logw){.fd = open(path, O_RDONLY | O_CLOEXEC)};
	code = out->fd < 0 ? -errno : read_super(out);
	if (code == 0)
		return 0;
	if (out->fd >= 0)
		close(out->fd);
	(void)snprintf(err, err_bytes, "%s: %s", path,
		code == -EINVAL ? "not a log of writes (dm-log-writes, version 1)"
				: strerror(-code));
	return code;
}

void logw_close(struct logw *log)
{
	close(log->fd);
}

void logw_rewind(struct logw *log)
{
	log->next_at = (off_t)log->sector_bytes;
	log->next_index = 0;
}

/* Past the counted entries there may be anything: an entry that was half written, zeros. */
static bool makes_sense(const struct logw *log, const struct head *h, const struct logw_entry *e)
{
	if (e->flags & ~ALL_FLAGS)
		return false;
	if (e->nr_sectors == 0 && e->flags == 0 && le64_get(h->data_bytes) == 0)
		return false;
	if (e->sector > UINT64_MAX / 4096 || e->nr_sectors > (uint64_t)INT64_MAX / 4096)
		return false;
	return !e->has_data || logw_bytes(log, e) <= (uint64_t)(log->bytes - e->data_at);
}

int logw_next(struct logw *log, struct logw_entry *out)
{
	struct head h;
	struct logw_entry e = {0};

	if (log->bytes - log->next_at < (off_t)log->sector_bytes ||
		read_all(log->fd, &h, sizeof(h), log->next_at) < 0)
		return 0;
	e.index = log->next_index;
	e.sector = le64_get(h.sector);
	e.nr_sectors = le64_get(h.nr_sectors);
	e.flags = le64_get(h.flags);
	e.data_at = log->next_at + (off_t)log->sector_bytes;
	e.has_data = e.nr_sectors > 0 && !(e.flags & LOGW_DISCARD);
	if (!makes_sense(log, &h, &e))
		return 0;
	log->next_index++;
	log->next_at = e.data_at + (e.has_data ? (off_t)logw_bytes(log, &e) : 0);
	*out = e;
	return 1;
}

int logw_read(const struct logw *log, const struct logw_entry *e, uint64_t offset, void *buf,
	size_t nr_bytes)
{
	if (!e->has_data || offset + nr_bytes > logw_bytes(log, e))
		return -EINVAL;
	return read_all(log->fd, buf, nr_bytes, e->data_at + (off_t)offset);
}
