/* backend.h - a vhost-user-blk back-end at the other end of fds.h's sockets, that lies where it is
 * told to.
 *
 * Left alone it is honest: it answers in the middle of the send, keeps notes of what is in flight,
 * serves while the driver sleeps, and where it dies another one listens at once. A lie is an act: now,
 * or armed, to happen at the nth message or sleep from now, or at the next message of a type.
 *
 * It checks the driver, too: each message has its form, its descriptors, and was agreed on; rings,
 * and the memory that they lead to, are in regions that this back-end was told of. */
#ifndef VBLKFS_FUZZ_BACKEND_H
#define VBLKFS_FUZZ_BACKEND_H
#include "dev_blk.h"
#include "fds.h"
#include "vhost_proto.h"
#include "virtio.h"

#define BACKEND_QUEUES    4U
#define BACKEND_ARMED_MAX 16U

enum backend_act {
	BACKEND_PATCH,  /* the next reply has VALUE at its byte ARG, of header and payload */
	BACKEND_LENGTH, /* the next reply is ARG bytes long, whatever its header says */
	BACKEND_SILENT, /* the next request gets none */
	BACKEND_TWICE,  /* the next one gets two */
	BACKEND_PASS, /* ARG descriptors go along with the next message; VALUE odd: but not its own */
	BACKEND_REFUSE,   /* the next acknowledgement says VALUE */
	BACKEND_DIE,      /* after ARG bytes of the next reply, 0: now; VALUE connects fail then */
	BACKEND_TRICKLE,  /* ARG bytes at a time, 0: no longer */
	BACKEND_CUT,      /* the driver sends ARG bytes at first */
	BACKEND_FAIL,     /* what it sends or receives next has an error of VALUE's choice */
	BACKEND_ASK,      /* a request of its own, of ARG bytes */
	BACKEND_HANG_UP,  /* it has no requests any more */
	BACKEND_CONFIG,   /* VALUE in the configuration at ARG */
	BACKEND_SHORT,    /* the configuration has ARG bytes */
	BACKEND_FEATURES, /* VALUE is flipped, from bit ARG on; seen by who connects */
	BACKEND_PROTO,    /* the same of the protocol's */
	BACKEND_LIMITS,   /* ARG queues, VALUE memory slots */
	BACKEND_CALL,     /* for ring ARG */
	BACKEND_TAKE,     /* these as in liar.h */
	BACKEND_FINISH,
	BACKEND_USE,
	BACKEND_JUMP,
	BACKEND_SCRIBBLE,
	BACKEND_HOLD,
	BACKEND_CANT, /* the driver can't have the next thread, descriptor, or memory */
	BACKEND_NR_ACTS
};

struct backend_event {
	enum backend_act act;
	uint16_t arg;
	uint32_t value;
};

struct backend_queue {
	uint32_t size;
	uint16_t base;
	struct vup_vring_addr addr;
	int kick, call; /* files; -1: none */
	bool enabled, live;
	struct dev_ring ring;
};

struct backend_in { /* a message on its way in */
	uint8_t bytes[512];
	size_t nr;
	int file[FDS_PASS_MAX];
	unsigned nr_files;
};

struct backend {
	uint64_t features, proto, max_queues, max_slots; /* offered */
	uint8_t config[sizeof(struct virtio_blk_config)];
	uint32_t config_bytes;
	bool hold;
	unsigned sleeps; /* since backend_go_on() */

	/* Of a connection */
	int conn, channel; /* files; -1: none */
	uint64_t agreed, acked;
	uint64_t said_features, said_queues, said_slots; /* as its answers had them, lies or not */
	bool has_said_features, garbles; /* the stream is out of step: who knows what it said */
	unsigned nr_regions;
	unsigned nr_pages; /* of memory, that it was told of */
	struct backend_in in, in_channel;
	struct backend_queue queue[BACKEND_QUEUES];
	bool has_notes, was_given_notes; /* the latter may be another's, by a lie */

	int notes; /* the file with what is in flight; -1: none */

	/* Lies to come */
	bool patches, cuts, silent, twice, refuses, dies, withholds;
	uint16_t patch_at, length, pass, die_at;
	uint32_t patch, refusal, nr_refused;
	struct {
		unsigned countdown;
		uint32_t request; /* 0: any, and sleeps, are counted */
		struct backend_event event;
	} armed[BACKEND_ARMED_MAX];
	unsigned nr_armed;

	struct dev_blk blk; /* last */
};

void backend_begin(struct backend *b); /* honest, with what qemu-storage-daemon offers, and more */
void backend_end(struct backend *b);   /* lets go of all */
extern const struct fds_ops backend_fds_ops; /* ARG: a struct backend */

#define BACKEND_AT 128U /* WHEN, from here on: at a message of a type */
void backend_do(struct backend *b, unsigned when, const struct backend_event *event);
void backend_go_on(struct backend *b);  /* the driver is called again: patience begins anew */
void backend_serve(struct backend *b);  /* all that it has, honestly */
void backend_sleep(struct backend *b);  /* the driver waits */
void backend_die(struct backend *b);    /* and nobody comes after it */
void backend_settle(struct backend *b); /* no more lies than those that were told */
#endif
