/* example.c - read a whole disk, with eight requests under way, and say how much of it is not zeros. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <vblk/vblk.h>

#define DEPTH 8
#define CHUNK 65536U

static struct vblk_info info = {.size = sizeof(info)};
static struct vblk_queue *queue;
static uint64_t next, used, seen;

static void read_next(struct vblk_req *req)
{
	req->offset = next;
	req->bytes = info.bytes - next < CHUNK ? info.bytes - next : CHUNK;
	if (req->bytes > 0 && vblk_queue_submit(queue, req) == 0)
		next += req->bytes;
}

static void on_read(struct vblk_req *req, int err)
{
	const char *data = req->buf;

	if (err == 0)
		seen += req->bytes;
	if (err == 0 && (data[0] != 0 || memcmp(data, data + 1, req->bytes - 1) != 0))
		used += req->bytes;
	read_next(req); /* the next poll or wait shows it to the disk */
}

int main(int argc, char **argv)
{
	struct vblk_opts opts = {.size = sizeof(opts), .read_only = true};
	struct vblk_req req[DEPTH] = {0};
	struct vblk_disk *disk;
	char *mem, why[256];

	if (argc != 2 || vblk_disk_open(argv[1], &opts, &disk, why, sizeof(why)) < 0) {
		fprintf(stderr, "%s\n", argc == 2 ? why : "usage: example DISK");
		return 1;
	}
	vblk_disk_info(disk, &info);
	mem = vblk_mem_alloc(disk, DEPTH * CHUNK);
	if (mem == NULL || vblk_queue_open(disk, &queue) < 0)
		return 1;
	for (unsigned i = 0; i < DEPTH; i++) {
		req[i].buf = mem + i * CHUNK;
		req[i].done = on_read; /* op: 0 is VBLK_READ */
		read_next(&req[i]);
	}
	while (vblk_queue_close(queue) < 0) /* something is under way */
		vblk_queue_wait(queue, -1);
	vblk_mem_free(disk, mem, DEPTH * CHUNK);
	vblk_disk_close(disk);
	printf("%" PRIu64 " of %" PRIu64 " bytes used\n", used, seen);
	return seen != info.bytes;
}
