/* utab.c - see utab.h. */
#include <libmount/libmount.h>
#include <stddef.h>
#include "utab.h"

/* FS: what to add; NULL: remove what is at DIR. */
static void update(const char *dir, struct libmnt_fs *fs)
{
	struct libmnt_update *upd = mnt_new_update();

	if (upd != NULL && mnt_update_set_fs(upd, 0, fs == NULL ? dir : NULL, fs) == 0)
		mnt_update_table(upd, NULL);
	mnt_free_update(upd);
}

void utab_add(const char *source, const char *dir)
{
	struct libmnt_fs *fs = mnt_new_fs();

	utab_remove(dir); /* of a daemon that was killed */
	if (fs != NULL && mnt_fs_set_source(fs, source) == 0 && mnt_fs_set_target(fs, dir) == 0 &&
		mnt_fs_set_options(fs, "uhelper=fuse.vblkfs") == 0)
		update(dir, fs);
	mnt_unref_fs(fs);
}

void utab_remove(const char *dir)
{
	update(dir, NULL);
}
