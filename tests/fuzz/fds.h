/* fds.h - the driver's descriptors: eventfds, sockets, memory files.
 *
 * Behind a descriptor is a file, which others may hold, too: what is sent along with a message, and
 * the far ends of sockets. Those are another process's, and so of fds_*(). As the kernel has it: an
 * end is readable when there is something or nobody is at the other one; descriptors come with the
 * byte that they were sent with, as many as there is room for, and the others are closed. */
#ifndef VBLKFS_FUZZ_FDS_H
#define VBLKFS_FUZZ_FDS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FDS_PASS_MAX 8U

enum fds_kind { FDS_NONE, FDS_EVENT, FDS_SOCKET, FDS_MEMORY };

struct fds_ops {
	/* The driver connects, and FILE, to be put, is the far end. 0, or an errno. */
	int (*connect)(void *arg, int file);
	void (*sent)(void *arg, int file); /* the driver sent something to FILE, a far end */
	void *arg;
};

void fds_begin(const struct fds_ops *ops); /* may be NULL: there are no sockets */
void fds_end(void);                        /* checks that none is left, and no file */

/* By descriptor */
bool fds_is_readable(int fd);
void fds_signal(int fd); /* an eventfd, by the kernel */

/* By file */
int fds_new(enum fds_kind kind); /* one reference; not a socket */
void fds_get(int file);          /* another reference */
void fds_put(int file);
enum fds_kind fds_kind(int file);
void fds_add(int file);       /* to an eventfd's count */
uint64_t fds_count(int file); /* of an eventfd: take it */
int fds_open(int file);       /* a descriptor of the driver's for it */

bool fds_is_connected(int file); /* a far end: somebody is at the other one */
/* From what the driver sent to FILE: how many bytes, and the files that came with them, to be put. */
size_t fds_pull(int file, void *buf, size_t bytes, int files[FDS_PASS_MAX], unsigned *nr_files);
/* To the driver; FILES go along, whose references are taken. What there is no room for is lost. */
void fds_push(int file, const void *buf, size_t bytes, const int *files, unsigned nr_files);

/* Faults, from now on */
void fds_trickle(size_t bytes); /* the driver gets no more each time that it waits; 0: all */
void fds_cut(size_t bytes);     /* of the next thing it sends, no more goes at once */
void fds_fail(int err);         /* the next that is sent or received: errno ERR */
#endif
