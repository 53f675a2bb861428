/* errors.c - what happens when the disk's contents, or a write, cannot be trusted (fs.h). */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include "tx.h"

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

void fs_note_corrupt(struct fs *fs, uint64_t block, const char *fmt, ...)
{
	char why[256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	if (block != 0)
		syslog(LOG_ERR, "%s: corrupt: block %llu: %s", fs->disk_name,
			(unsigned long long)block, why);
	else
		syslog(LOG_ERR, "%s: corrupt: %s", fs->disk_name, why);
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

int fs_may_write(const struct fs *fs)
{
	if (atomic_load(&fs->dead))
		return -EIO;
	return fs->read_only || atomic_load(&fs->shut) ? -EROFS : 0;
}
