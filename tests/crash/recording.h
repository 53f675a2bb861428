/* recording.h - recordings in files. */
#ifndef VBLKFS_CRASH_RECORDING_H
#define VBLKFS_CRASH_RECORDING_H
#include "runner.h"

int recording_save(const struct recording *rec, const char *path);
/* REC is zeroed; its base is the caller's to set (rec->w.has_files says which). */
int recording_load(const char *path, struct recording *rec);
#endif
