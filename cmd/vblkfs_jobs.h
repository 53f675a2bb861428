/* vblkfs_jobs.h - what may take long on a running mount: sync, freeze, shutdown, secure trims, resets and the
 * cache's mode; and thaw. One job at a time, on a thread of its own, so that the control socket always
 * answers.
 *
 * Requests, and what they answer with:
 *	sync, freeze, shutdown, shutdown-flush, trim-secure, reset, reset-queue QUEUE SIZE,
 *	cache-writeback, cache-writethrough	{"job": N}: begun; {"busy": true}: another is at work
 *	job N	{"done": false}, or {"done": true}, with "error" (TEXT) if it failed, and what the
 *		job has to tell: "erased_bytes" of trim-secure
 *	thaw	nothing, or "error" */
#ifndef VBLKFS_VBLKFS_JOBS_H
#define VBLKFS_VBLKFS_JOBS_H
#include <stdbool.h>
#include <sys/types.h>

struct blockdev;
struct fs;
struct session;
struct json_object;
struct jobs;

int jobs_create(struct blockdev *dev, struct fs *fs, struct session *session, dev_t mount_dev,
	struct jobs **out);
void jobs_destroy(struct jobs *j); /* thaws, and waits for what is at work; NULL: nothing */
bool jobs_answer(struct jobs *j, const char *line, struct json_object *out); /* as control_fn */
void jobs_thaw(struct jobs *j);                                              /* if it is frozen */
#endif
