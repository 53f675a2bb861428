/* mem_disk.c - a disk in memory, for tests. Requests are carried out by the owner's poll, in order.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include "disk.h"
#include "plain_dma.h"

struct mem_disk {
	struct blockdev dev;
	uint64_t nr_sectors;
	uint8_t *bytes;
};

struct mem_queue {
	struct blk_queue q;
	struct blk_req *first, **last; /* submitted */
};

static void mem_info(struct blockdev *dev, struct blk_info *out)
{
	*out = (struct blk_info){
		.nr_sectors = ((struct mem_disk *)dev)->nr_sectors,
		.logical_bytes = SECTOR_BYTES,
		.physical_bytes = 4096,
		.nr_rings = 64,
		.volatile_cache = true,
		.can_discard = true,
		.can_write_zeroes = true,
		.can_secure_erase = true,
		.serial = "memory",
		.name = "memory",
	};
}

static int mem_queue_open(struct blockdev *dev, struct blk_queue **out)
{
	struct mem_queue *mq = calloc(1, sizeof(*mq));

	(void)dev;
	if (mq == NULL)
		return -ENOMEM;
	mq->last = &mq->first;
	*out = &mq->q;
	return 0;
}

static void mem_queue_close(struct blk_queue *q)
{
	free(q);
}

static int mem_submit(struct blk_queue *q, struct blk_req *req)
{
	struct mem_queue *mq = (struct mem_queue *)q;

	req->next = NULL;
	*mq->last = req;
	mq->last = &req->next;
	return 0;
}

static void mem_kick(struct blk_queue *q)
{
	(void)q;
}

/* Transfers of the same sectors may be under way at once, on a real disk too, and each word is then
 * one or the other: so the disk's side is atomic. The caller's side is plain, for ThreadSanitizer
 * to watch. */
static void transfer(_Atomic uint64_t *at, const struct blk_req *req)
{
	for (int i = 0; i < req->nr_iov; i++) {
		uint64_t *word = req->iov[i].iov_base;
		size_t nr = req->iov[i].iov_len / sizeof(*word);

		for (size_t k = 0; k < nr; k++, at++) {
			if (req->op == BLK_READ)
				word[k] = atomic_load_explicit(at, memory_order_relaxed);
			else
				atomic_store_explicit(at, word[k], memory_order_relaxed);
		}
	}
}

static void fill(_Atomic uint64_t *at, uint64_t word, const struct blk_req *req)
{
	for (size_t i = 0; i < (size_t)req->nr_sectors * SECTOR_BYTES / sizeof(word); i++)
		atomic_store_explicit(&at[i], word, memory_order_relaxed);
}

static void carry_out(struct mem_disk *disk, const struct blk_req *req)
{
	_Atomic uint64_t *at = (void *)(disk->bytes + req->sector * SECTOR_BYTES);

	switch (req->op) {
	case BLK_READ:
	case BLK_WRITE:
		transfer(at, req);
		break;
	case BLK_DISCARD: /* a reader may count on nothing: give it something that shows */
		fill(at, 0xdddddddddddddddd, req);
		break;
	case BLK_SECURE_ERASE:
		fill(at, 0xeeeeeeeeeeeeeeee, req);
		break;
	case BLK_WRITE_ZEROES:
		fill(at, 0, req);
		break;
	case BLK_FLUSH:
		break;
	}
}

static int mem_poll(struct blk_queue *q)
{
	struct mem_queue *mq = (struct mem_queue *)q;
	struct blk_req *req = mq->first;
	int n = 0;

	mq->first = NULL; /* what done() submits waits for the next poll */
	mq->last = &mq->first;
	while (req != NULL) {
		struct blk_req *next = req->next;

		carry_out((struct mem_disk *)q->dev, req);
		req->done(req, 0);
		req = next;
		n++;
	}
	return n;
}

static bool mem_arm(struct blk_queue *q)
{
	return ((struct mem_queue *)q)->first != NULL;
}

static void mem_close(struct blockdev *dev)
{
	struct mem_disk *disk = (struct mem_disk *)dev;

	munmap(disk->bytes, disk->nr_sectors * SECTOR_BYTES);
	free(disk);
}

static const struct blockdev_ops mem_ops = {
	.info = mem_info,
	.queue_open = mem_queue_open,
	.queue_close = mem_queue_close,
	.submit = mem_submit,
	.kick = mem_kick,
	.poll = mem_poll,
	.arm = mem_arm,
	.dma_alloc = plain_dma_alloc,
	.dma_free = plain_dma_free,
	.close = mem_close,
};

int mem_disk_open(uint64_t nr_sectors, struct blockdev **out)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	const size_t bytes = nr_sectors * SECTOR_BYTES;
	struct mem_disk *disk = calloc(1, sizeof(*disk));

	if (disk == NULL)
		return -ENOMEM;
	disk->dev.ops = &mem_ops;
	disk->nr_sectors = nr_sectors;
	/* Pages that are never written are never there: tests use disks of many GiB. */
	/* cppcheck-suppress invalidFunctionArg ; -1 is what MAP_ANONYMOUS asks for */
	disk->bytes = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (disk->bytes == MAP_FAILED) {
		free(disk);
		return -ENOMEM;
	}
	*out = &disk->dev;
	return 0;
}
