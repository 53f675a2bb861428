/* refused.h - files that lost writes lately, because the disk was full.
 *
 * The kernel's writeback cache takes data before the disk has, and goes on taking it when the disk
 * is full: whoever writes without fsync(2) or close(2) would never hear of it, and never end. So
 * it is made to ask before the file's next write, and is told then, once.
 *
 * Any thread. Of many files at once the oldest are forgotten; so is what is REFUSED_S old, because
 * a reader may come to ask in the writer's stead. */
#ifndef VBLKFS_REFUSED_H
#define VBLKFS_REFUSED_H
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define REFUSED_MAX 64U
#define REFUSED_S   10U

struct refused {
	atomic_uint nr; /* of .file that are in use; written under lock. 0: nobody takes it */
	pthread_mutex_t lock;
	unsigned next; /* where the oldest is; under lock, and so is the rest */
	struct {
		uint64_t ino; /* 0: none */
		uint64_t when_ns;
	} file[REFUSED_MAX];
};

void refused_init(struct refused *r);
void refused_destroy(struct refused *r);
void refused_note(struct refused *r, uint64_t ino, uint64_t now_ns);
bool refused_look(struct refused *r, uint64_t ino, uint64_t now_ns);
bool refused_take(struct refused *r, uint64_t ino, uint64_t now_ns); /* and forget it */
#endif
