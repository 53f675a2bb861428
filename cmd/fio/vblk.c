/* vblk.c - an I/O engine for fio(1), by the library: make fio-engine FIO_SRC=DIR, where DIR is the
 * source of the very fio that will run it, configured.
 *
 *	fio --ioengine=external:./vblk-fio.so --disk=0000:00:05.0 --name=a --rw=randread --iodepth=32
 *
 * Options: disk=SOURCE, as vblk_disk_open(3) takes it; poll, no interrupts; rings=N, no more than
 * these. Jobs are threads of one process, and those with the same disk share it: it is opened by the
 * first job's setup, before any thread is there, and closed after the last. Each job has a queue.
 *
 * Of an io_u and a thread_data only members are used that have the same place however fio was
 * configured. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <fio.h>
#include <optgroup.h>
#include "vblk/vblk.h"

struct options {
	void *td; /* fio's: see its init.c */
	char *disk;
	unsigned poll;
	unsigned rings;
};

struct shared_disk {
	char *source;
	struct vblk_disk *disk;
	bool read_only;
	unsigned nr_users;
	struct shared_disk *next;
};

struct job {
	struct shared_disk *shared;
	struct vblk_queue *q;
	void *mem;
	size_t mem_bytes;
	struct io_u **done;         /* FIFO, iodepth long */
	unsigned nr_done, nr_taken; /* of them: by fio, which may look until it asks again */
};

struct request { /* an io_u's engine_data */
	struct vblk_req req;
	struct io_u *io_u;
	struct job *job;
	bool under_way;
};

static struct {
	pthread_mutex_t lock;
	struct shared_disk *disks;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void log_below(int priority, const char *line)
{
	if (priority <= LOG_WARNING)
		log_err("vblk: %s\n", line);
}

/* --- disks; the caller holds all.lock --- */

static int open_disk(struct shared_disk *d, const struct options *o, bool for_reading)
{
	struct vblk_opts opts = {.size = sizeof(opts),
		.read_only = for_reading,
		.poll_only = o->poll != 0,
		.max_rings = o->rings};
	char err[256];
	int code = vblk_disk_open(o->disk, &opts, &d->disk, err, sizeof(err));

	if (code < 0) {
		log_err("vblk: %s\n", err);
		d->disk = NULL;
	}
	d->read_only = for_reading;
	return code;
}

static struct shared_disk *find_disk(const char *source)
{
	struct shared_disk *d = all.disks;

	while (d != NULL && strcmp(d->source, source) != 0)
		d = d->next;
	return d;
}

static struct shared_disk *new_disk(const char *source)
{
	struct shared_disk *d = calloc(1, sizeof(*d));

	if (d == NULL || (d->source = strdup(source)) == NULL) {
		free(d);
		return NULL;
	}
	d->next = all.disks;
	all.disks = d;
	return d;
}

static void put_disk(struct shared_disk *d)
{
	struct shared_disk **at;

	if (--d->nr_users > 0)
		return;
	for (at = &all.disks; *at != d; at = &(*at)->next)
		;
	*at = d->next;
	if (d->disk != NULL)
		(void)vblk_disk_close(d->disk);
	free(d->source);
	free(d);
}

/* The jobs' setups are all before the first of them runs: a disk that only readers have seen so far
 * has no queues, and may be opened again for a writer. */
static struct shared_disk *get_disk(const struct options *o, bool for_reading)
{
	struct shared_disk *d = find_disk(o->disk);

	if (d == NULL && (d = new_disk(o->disk)) == NULL)
		return NULL;
	d->nr_users++;
	if (d->disk != NULL && d->read_only && !for_reading && vblk_disk_close(d->disk) == 0)
		d->disk = NULL;
	if (d->disk == NULL && open_disk(d, o, for_reading) < 0) {
		put_disk(d);
		return NULL;
	}
	return d;
}

/* --- a job's begin and end --- */

static bool version_fits(void)
{
	if (strcmp(fio_version_string, VBLK_FIO_VERSION) == 0)
		return true;
	log_err("vblk: this engine was built for %s, and this is %s: build it anew\n",
		VBLK_FIO_VERSION, fio_version_string);
	return false;
}

static int add_disk_as_file(struct thread_data *td, struct vblk_disk *disk, const char *name)
{
	struct vblk_info info = {.size = sizeof(info)};

	(void)vblk_disk_info(disk, &info);
	if (!td->files_index) {
		add_file(td, name, 0, 0);
		td->o.nr_files = td->o.nr_files != 0 ? td->o.nr_files : 1;
		td->o.open_files++;
	}
	td->files[0]->real_file_size = info.bytes;
	td->files[0]->filetype = FIO_TYPE_BLOCK;
	return 0;
}

static int vblk_setup(struct thread_data *td)
{
	const struct options *o = td->eo;
	struct job *job;

	if (!version_fits())
		return 1;
	if (o->disk == NULL) {
		log_err("vblk: disk= is missing: a PCI address, serial=ID, vhost-user:SOCKET or an "
			"image file\n");
		return 1;
	}
	td->o.use_thread = 1; /* a disk does not survive fork(2) */
	vblk_set_log(log_below);
	job = calloc(1, sizeof(*job));
	if (job == NULL)
		return 1;
	pthread_mutex_lock(&all.lock);
	job->shared = get_disk(o, !td_write(td) && !td_trim(td));
	pthread_mutex_unlock(&all.lock);
	if (job->shared == NULL) {
		free(job);
		return 1;
	}
	td->io_ops_data = job;
	return add_disk_as_file(td, job->shared->disk, o->disk);
}

static int vblk_init(struct thread_data *td)
{
	struct job *job = td->io_ops_data;
	int err;

	if (job == NULL) {
		log_err("vblk: create_serialize=0 can't be had with this engine\n");
		return 1;
	}
	job->done = calloc(td->o.iodepth, sizeof(struct io_u *));
	if (job->done == NULL)
		return 1;
	err = vblk_queue_open(job->shared->disk, &job->q);
	if (err < 0)
		log_err("vblk: %s: no queue: %s\n", job->shared->source, strerror(-err));
	return err < 0;
}

static void vblk_cleanup(struct thread_data *td)
{
	struct job *job = td->io_ops_data;

	if (job == NULL)
		return;
	if (job->q != NULL)
		(void)vblk_queue_close(job->q);
	pthread_mutex_lock(&all.lock);
	put_disk(job->shared);
	pthread_mutex_unlock(&all.lock);
	free(job->done);
	free(job);
	td->io_ops_data = NULL;
}

static int vblk_iomem_alloc(struct thread_data *td, size_t bytes)
{
	struct job *job = td->io_ops_data;

	job->mem = vblk_mem_alloc(job->shared->disk, bytes);
	job->mem_bytes = bytes;
	td->orig_buffer = job->mem;
	return job->mem == NULL;
}

static void vblk_iomem_free(struct thread_data *td)
{
	struct job *job = td->io_ops_data;

	if (job == NULL)
		return;
	vblk_mem_free(job->shared->disk, job->mem, job->mem_bytes);
	job->mem = NULL;
}

/* --- requests --- */

static int vblk_io_u_init(struct thread_data *td, struct io_u *io_u)
{
	struct request *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return 1;
	r->io_u = io_u;
	r->job = td->io_ops_data;
	io_u->engine_data = r;
	return 0;
}

static void vblk_io_u_free(struct thread_data *td, struct io_u *io_u)
{
	struct request *r = io_u->engine_data;

	(void)td;
	if (r == NULL)
		return;
	while (r->under_way) /* fio gave up on it, after an error */
		(void)vblk_queue_wait(r->job->q, -1);
	free(r);
	io_u->engine_data = NULL;
}

static void on_done(struct vblk_req *req, int err)
{
	struct request *r = req->arg;

	r->under_way = false;
	r->io_u->error = (unsigned)-err;
	r->job->done[r->job->nr_done++] = r->io_u;
}

static bool translate(const struct io_u *io_u, struct vblk_req *req)
{
	switch (io_u->ddir) {
	case DDIR_READ:
		req->op = VBLK_READ;
		break;
	case DDIR_WRITE:
		req->op = VBLK_WRITE;
		break;
	case DDIR_TRIM:
		req->op = VBLK_DISCARD;
		break;
	case DDIR_SYNC:
	case DDIR_DATASYNC:
		*req = (struct vblk_req){.op = VBLK_FLUSH};
		return true;
	default:
		return false;
	}
	req->offset = io_u->offset;
	req->bytes = io_u->xfer_buflen;
	req->buf = io_u->xfer_buf;
	return true;
}

static enum fio_q_status vblk_queue(struct thread_data *td, struct io_u *io_u)
{
	struct request *r = io_u->engine_data;
	int err = -EINVAL;

	fio_ro_check(td, io_u);
	if (translate(io_u, &r->req)) {
		r->req.done = on_done;
		r->req.arg = r;
		err = vblk_queue_submit(r->job->q, &r->req);
	}
	if (err < 0) {
		io_u->error = (unsigned)-err;
		return FIO_Q_COMPLETED;
	}
	r->under_way = true;
	return FIO_Q_QUEUED;
}

static int vblk_commit(struct thread_data *td)
{
	struct job *job = td->io_ops_data;

	vblk_queue_kick(job->q);
	return 0;
}

static int remaining_ms(const struct timespec *timeout)
{
	return timeout == NULL ? -1 : (int)(timeout->tv_sec * 1000 + timeout->tv_nsec / 1000000);
}

static int vblk_getevents(
	struct thread_data *td, unsigned min, unsigned max, const struct timespec *timeout)
{
	struct job *job = td->io_ops_data;

	job->nr_done -= job->nr_taken;
	memmove(job->done, job->done + job->nr_taken, job->nr_done * sizeof(struct io_u *));
	job->nr_taken = 0;
	(void)vblk_queue_poll(job->q);
	while (job->nr_done < min) {
		/* 0: the time is over; nobody wakes it */
		if (vblk_queue_wait(job->q, remaining_ms(timeout)) == 0)
			break;
	}
	job->nr_taken = job->nr_done < max ? job->nr_done : max;
	return (int)job->nr_taken;
}

static struct io_u *vblk_event(struct thread_data *td, int event)
{
	struct job *job = td->io_ops_data;

	return job->done[event];
}

/* fio's file is only a name. */
static int vblk_open_file(struct thread_data *td, struct fio_file *f)
{
	(void)td;
	(void)f;
	return 0;
}

static struct fio_option vblk_options[] = {
	{.name = "disk",
		.lname = "disk",
		.type = FIO_OPT_STR_STORE,
		.off1 = offsetof(struct options, disk),
		.help = "PCI address, serial=ID, vhost-user:SOCKET or image file",
		.category = FIO_OPT_C_ENGINE,
		.group = FIO_OPT_G_INVALID},
	{.name = "poll",
		.lname = "poll only",
		.type = FIO_OPT_BOOL,
		.off1 = offsetof(struct options, poll),
		.help = "Ask for no interrupts",
		.def = "0",
		.category = FIO_OPT_C_ENGINE,
		.group = FIO_OPT_G_INVALID},
	{.name = "rings",
		.lname = "rings",
		.type = FIO_OPT_INT,
		.off1 = offsetof(struct options, rings),
		.help = "Use no more of the disk's rings than this",
		.def = "0",
		.category = FIO_OPT_C_ENGINE,
		.group = FIO_OPT_G_INVALID},
	{.name = NULL},
};

/* The one name that fio looks for. */
__attribute__((visibility("default"))) struct ioengine_ops ioengine = {
	.name = "vblk",
	.version = FIO_IOOPS_VERSION,
	.flags = FIO_DISKLESSIO | FIO_NOEXTEND | FIO_RAWIO,
	.setup = vblk_setup,
	.init = vblk_init,
	.cleanup = vblk_cleanup,
	.iomem_alloc = vblk_iomem_alloc,
	.iomem_free = vblk_iomem_free,
	.io_u_init = vblk_io_u_init,
	.io_u_free = vblk_io_u_free,
	.queue = vblk_queue,
	.commit = vblk_commit,
	.getevents = vblk_getevents,
	.event = vblk_event,
	.open_file = vblk_open_file,
	.invalidate = vblk_open_file,
	.options = vblk_options,
	.option_struct_size = sizeof(struct options),
};
