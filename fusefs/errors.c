/* errors.c - what happens when the disk's contents, or a write, cannot be trusted (fs.h).
 *
 * Invariants
 *  1. fs->shut and fs->dead are set once and never cleared: the mount ends with them.
 *  2. A disk that is damaged all over, and is looked at again and again, fills no log: nothing is
 *     said twice in a row of LOGGED_MAX, nor more than LOG_BURST lines in LOG_WINDOW_S. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <isa-l/crc.h>
#include "tx.h"

#define LOG_BURST    20U
#define LOG_WINDOW_S 60

/* True: it was not shut before. */
static bool shut(struct fs *fs)
{
	bool is_first = !atomic_exchange(&fs->shut, true);

	if (fs->opts.errors == FS_ERRORS_SHUTDOWN)
		atomic_store(&fs->dead, true);
	if (is_first)
		tx_shut(fs);
	return is_first;
}

/* Caller holds fs->log.lock. */
static bool was_said(struct fs *fs, uint32_t line)
{
	struct fs_log *log = &fs->log;

	for (unsigned i = 0; i < LOGGED_MAX && i < log->nr_lines; i++)
		if (log->line[i] == line)
			return true;
	log->line[log->nr_lines++ % LOGGED_MAX] = line;
	return false;
}

/* How many lines this makes in the window; 0: it was said before. */
static unsigned count_line(struct fs *fs, const char *text)
{
	struct fs_log *log = &fs->log;
	uint32_t line = crc32_iscsi((uint8_t *)text, (int)strlen(text), 0);
	struct timespec now;
	unsigned nr = 0;

	clock_gettime(CLOCK_MONOTONIC, &now);
	pthread_mutex_lock(&log->lock);
	if (!was_said(fs, line)) {
		if (log->nr_in_window == 0 || now.tv_sec - log->window_s >= LOG_WINDOW_S) {
			log->window_s = now.tv_sec;
			log->nr_in_window = 0;
		}
		nr = ++log->nr_in_window;
	}
	pthread_mutex_unlock(&log->lock);
	return nr;
}

static void log_line(struct fs *fs, const char *kind, const char *text)
{
	unsigned nr = count_line(fs, text);

	if (nr > 0 && nr <= LOG_BURST)
		syslog(LOG_ERR, "%s: %s%s", fs->disk_name, kind, text);
	if (nr == LOG_BURST)
		syslog(LOG_ERR, "%s: %smore of it is not logged for %d s", fs->disk_name, kind,
			LOG_WINDOW_S);
}

void fs_note_corrupt(struct fs *fs, uint64_t block, const char *fmt, ...)
{
	char text[320];
	int n = 0;
	va_list ap;

	if (block != 0)
		n = snprintf(text, sizeof(text), "block %llu: ", (unsigned long long)block);
	va_start(ap, fmt);
	(void)vsnprintf(text + n, sizeof(text) - (size_t)n, fmt, ap);
	va_end(ap);
	log_line(fs, "corrupt: ", text);
	atomic_store(&fs->errors_seen, true);
	if (fs->opts.errors != FS_ERRORS_CONTINUE && shut(fs) && !fs->read_only)
		syslog(LOG_ERR, "%s: read-only from now on; unmount it and run fsck.vblkfs",
			fs->disk_name);
}

void fs_note_abort(struct fs *fs, int err, const char *fmt, ...)
{
	char what[256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	if (shut(fs))
		syslog(LOG_ERR, "%s: %s: %s; read-only from now on, what was not synced is lost",
			fs->disk_name, what, strerror(-err));
}

void fs_note_io(struct fs *fs, int err, const char *fmt, ...)
{
	char text[256];
	int n;
	va_list ap;

	if (err != -EIO) /* a lost disk: the driver has said so, for all requests to come */
		return;
	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(text))
		(void)snprintf(text + n, sizeof(text) - (size_t)n, ": %s", strerror(-err));
	log_line(fs, "", text);
}

static int flush_first(struct fs *fs)
{
	struct fs_thread *t;
	int err = fs_thread_open(fs, &t);

	if (err < 0)
		return err;
	err = fs_sync(t);
	fs_thread_close(t);
	return err;
}

int fs_shutdown(struct fs *fs, bool flush)
{
	int err = flush ? flush_first(fs) : 0;

	atomic_store(&fs->dead, true);
	(void)shut(fs);
	syslog(LOG_WARNING, "%s: shut down on request: every call fails from now on",
		fs->disk_name);
	return err;
}

int fs_may_write(const struct fs *fs)
{
	if (atomic_load(&fs->dead))
		return -EIO;
	return fs->read_only || atomic_load(&fs->shut) ? -EROFS : 0;
}
