/* session.h - a mount: requests from /dev/fuse, to ops.c, and the replies back.
 *
 * Workers are threads; each has its own /dev/fuse descriptor, fs_thread, queue of the disk and
 * slots of DMA memory. session_open() to session_close() are called by the thread that owns the
 * session, the rest of the first part from any; the second part is for ops.c, on a worker, about
 * the request that the worker has in hand. */
#ifndef VBLKFS_SESSION_H
#define VBLKFS_SESSION_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "vblkfs.h"

#define SESSION_WORKERS_MAX   64U
#define SESSION_SLOTS_DEFAULT 8U
#define SESSION_SLOTS_MAX     64U

struct session;
struct fuse_req;
struct fuse_lowlevel_ops;

struct session_opts {
	const char *source;     /* what /proc/mounts shows */
	const char *mount_opts; /* for mount(2), by commas: "ro,nosuid"; NULL: none */
	unsigned workers;       /* 0: one a CPU, at most 4 */
	unsigned slots;         /* 2 MiB of DMA memory each, a worker; 0: SESSION_SLOTS_DEFAULT */
	int spin_us; /* how long a worker polls before it sleeps; -1: as the disk likes it */
	bool allow_other;
	bool debug; /* each request to standard error */
};

struct session_stats { /* of one worker */
	uint64_t requests;
	uint64_t writes; /* of them */
	uint64_t sleeps;
	uint64_t no_slot; /* times that it looked for a request and had no slot for one */
};

/* Mount FS at DIR, and serve it. On success INIT is answered and the workers run. On failure ERR
 * has one line. */
int session_open(struct fs *fs, struct blockdev *dev, const char *dir,
	const struct session_opts *opts, struct session **out, char *err, size_t err_bytes);
int session_fd(const struct session *s); /* readable once no worker serves any more */
void session_stop(struct session *s);    /* answer what is queued, then serve no more */
int session_stats(
	const struct session *s, struct session_stats *out, int max); /* how many were filled in */
/* From session_park() to session_unpark() what would change something is set aside as it comes, and
 * reading goes on: else the workers would wait in a filesystem that is frozen. Up to 64 MiB; then
 * all wait. session_park() returns when nothing that came before is in a worker's hand any more, and
 * so does session_settle(), which does only that. From any thread. */
void session_park(struct session *s);
void session_unpark(struct session *s);
void session_settle(struct session *s);
/* Wait for the workers and all that is in flight, then let go of the mount (detach it if it is
 * still there). */
void session_close(struct session *s);

/* ---- for ops.c ---- */

extern const struct fuse_lowlevel_ops ops_table; /* ops.c's */

/* The request in hand. */
struct fs_thread *session_thread(void);
struct fs *session_fs(void);
bool session_kill_priv(void); /* the kernel asks to clear suid, sgid and security.capability */
/* Let the kernel ask for INO's attributes again. It takes no lock of the kernel's that a request
 * may hold. */
void session_drop_attr(uint64_t ino);
/* A write to INO was refused because the disk is full: see refused.h. For the kernel to ask,
 * session_drop_attr(), too. */
void session_refused_note(uint64_t ino);
bool session_refused_look(uint64_t ino);
bool session_refused_take(uint64_t ino);
/* Memory for an answer that is given at once: behind the request, page-aligned, *ROOM bytes (more
 * than 512 KiB). */
void *session_scratch(size_t *room);

/* A READ or WRITE that is answered later. It lies in the slot, in front of the request, and keeps
 * the slot. */
struct data_req {
	struct fs_io io; /* .buf is set: page-aligned, FS_IO_MAX and a page long */
	struct fuse_req *req;
	struct slot *slot;
	bool drop_attr;  /* with the reply the kernel's idea of the attributes is wrong */
	bool from_cache; /* no write(2) waits for the reply */
};
struct data_req *session_keep(
	struct fuse_req *req, uint32_t bytes); /* BYTES of .buf are used, rounded up to pages */
void session_release(struct data_req *d);      /* after the reply, on its worker */

/* A FSYNC that is answered later, perhaps by another thread. */
struct sync_req {
	struct fs_sync sync;
	struct fuse_req *req;
	struct session *session;
	int fd;
};
struct sync_req *session_sync_begin(struct fuse_req *req); /* NULL: no memory */
void session_sync_end(struct sync_req *r, int err);        /* replies; any thread */
#endif
