/* vmock.h - a vhost-user-blk back-end in this process, on a socket, with a disk in memory: strict,
 * and bad in whatever way a test asks for.
 *
 * It checks what the specification asks of a front-end; what is wrong is a line of text that
 * vmock_complaint() gives. Numbers of requests are those of driver/vhost_proto.h.
 *
 * Threads: one of its own; everything here may be called from the test's. */
#ifndef VBLKFS_TESTS_MODEL_VMOCK_H
#define VBLKFS_TESTS_MODEL_VMOCK_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "virtio.h"

#define VMOCK_DISK_BYTES (4U << 20)

struct vmock;

/* Start from vmock_defaults(); may be changed while it serves, or between two back-ends. */
struct vmock_config {
	atomic_uint_fast64_t features; /* with bit 30 */
	atomic_uint_fast64_t proto;
	atomic_uint_fast64_t nr_queues, nr_slots;
	atomic_uint config_bytes; /* more must not be asked for */
	atomic_uint_fast64_t capacity;
	atomic_uchar writeback;
	bool in_pieces;          /* replies come byte by byte */
	atomic_bool hold;        /* complete nothing */
	bool ends_at_stop;       /* but end request 0 of a ring when that is stopped */
	atomic_uint bad_request; /* the reply to this one is wrong in */
	_Atomic enum {
		BAD_NOTHING,
		BAD_TYPE,
		BAD_FLAGS,
		BAD_SIZE,
		BAD_REFUSED,
		BAD_CLOSE,
		BAD_NO_FD,
		BAD_MORE_FDS
	} how;
};

void vmock_defaults(struct vmock_config *cfg);
struct vmock *vmock_start(const struct vmock_config *cfg);
void vmock_stop(struct vmock *v);
const char *vmock_path(const struct vmock *v);
struct vmock_config *vmock_config(struct vmock *v);

/* The connection and the socket go, as when a process is killed; the disk stays. */
void vmock_kill(struct vmock *v);
void vmock_return(struct vmock *v);

/* The requests so far, oldest first; -1: no more. */
int vmock_request(struct vmock *v, unsigned i);
unsigned vmock_count(struct vmock *v, int request);
const char *vmock_complaint(struct vmock *v); /* empty: none */

bool vmock_holds(struct vmock *v, size_t at, const void *bytes, size_t nr); /* on its disk */
unsigned vmock_nr_held(struct vmock *v); /* requests fetched, not completed */
unsigned vmock_nr_done(struct vmock *v, uint32_t type);
unsigned vmock_nr_again(struct vmock *v); /* of them: the last back-end had them, by its notes */
uint8_t vmock_writeback(struct vmock *v); /* as set last */
/* By its own channel. The acknowledgement: -1: none was due or came. */
int64_t vmock_change_capacity(struct vmock *v, uint64_t capacity);
void vmock_say_changed(struct vmock *v); /* the configuration; nothing is due, nor waited for */
void vmock_push_used(struct vmock *v, unsigned queue, uint32_t id); /* past all rules */
#endif
