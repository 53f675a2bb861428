/* bind.c - see bind.h.
 *
 * Order of a bind: everything that may fail harmlessly first (module, hugepages), then the checks,
 * with the block device held exclusively from before they are made until the driver has let go, so
 * that nothing can be mounted in between; then unbind, driver_override, bind. A failure after the
 * unbind gives the disk back to its old driver.
 *
 * The last step of an unbind frees the memory that a killed daemon left: not before a driver has
 * taken the function, and reset it, for until then its requests may still write there. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "bind.h"
#include "bind_list.h"
#include "dma.h"
#include "holders.h"
#include "hw_open.h"
#include "run_dir.h"
#include "signature.h"
#include "sysfs.h"
#include "vfio_group.h"
#include "virtio.h"

#define LOCK_FILE RUN_DIR "/bind.lock"
#define DRIVERS   "/sys/bus/pci/drivers"
#define DEVICES   "/sys/bus/pci/devices"
#define HUGEPAGES "/sys/kernel/mm/hugepages/hugepages-2048kB"

struct message {
	char *text;
	size_t bytes;
};

static int fail(const struct message *m, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int fail(const struct message *m, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(m->text, m->bytes, fmt, ap);
	va_end(ap);
	return code;
}

/* One bind or unbind at a time on this machine. */
static int lock_binding(const struct message *m)
{
	int fd;

	if (geteuid() != 0)
		return fail(m, -EPERM, "only root can change a device's driver; run it with sudo");
	if (mkdir(RUN_DIR, 0700) < 0 && errno != EEXIST)
		return fail(m, -errno, "%s: %s", RUN_DIR, strerror(errno));
	fd = open(LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX) < 0) {
		int code = -errno;

		if (fd >= 0)
			close(fd);
		return fail(m, code, LOCK_FILE ": %s", strerror(-code));
	}
	return fd;
}

bool bind_is_under_way(void)
{
	int fd = open(LOCK_FILE, O_RDWR | O_CLOEXEC);
	bool held = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;

	if (fd >= 0)
		close(fd);
	return held;
}

static int run_modprobe(const char *module)
{
	char *argv[] = {"modprobe", "-q", (char *)module, NULL};
	pid_t pid;
	int status, err;

	/* It is looked for in our own, and udev gives none. */
	(void)setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
	err = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);
	if (err != 0)
		return -err;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ENOENT;
}

static int load_module(const char *driver, struct bind_report *report, const struct message *m)
{
	char path[64];

	snprintf(path, sizeof(path), DRIVERS "/%s", driver);
	if (access(path, F_OK) == 0)
		return 0;
	(void)run_modprobe(driver);
	if (access(path, F_OK) < 0)
		return fail(m, -ENOENT,
			"the kernel has no driver %s, and 'modprobe %s' did not load it; install "
			"the kernel's modules",
			driver, driver);
	report->module_loaded = true;
	return 0;
}

static int reserve_hugepages(struct bind_report *report, const struct message *m)
{
	uint64_t have = 0, got = 0;
	char wanted[32];

	if (sysfs_read_u64(&have, HUGEPAGES "/nr_hugepages") < 0)
		return fail(m, -EOPNOTSUPP, "this kernel has no hugepages of 2 MiB");
	if (have > 0)
		return 0;
	snprintf(wanted, sizeof(wanted), "%u", BIND_HUGEPAGES);
	(void)sysfs_write(wanted, HUGEPAGES "/nr_hugepages");
	(void)sysfs_read_u64(&got, HUGEPAGES "/nr_hugepages");
	if (got == 0)
		return fail(m, -ENOMEM,
			"no hugepages could be reserved: memory is short or in pieces; boot with "
			"hugepages=%u, or free memory and run: sysctl vm.nr_hugepages=%u",
			BIND_HUGEPAGES, BIND_HUGEPAGES);
	report->hugepages_reserved = got;
	return 0;
}

static int check_signature(const struct pci_disk *d, const struct message *m)
{
	char path[64], what[128];
	int found;

	snprintf(path, sizeof(path), "/dev/%s", d->block);
	found = signature_find(path, what, sizeof(what));
	if (found < 0)
		return fail(m, found, "%s: cannot look for signatures: %s", path, strerror(-found));
	if (found == SIGNATURE_FOREIGN)
		return fail(m, -EBUSY, "%s (%s) holds %s; --force binds it all the same",
			d->address, d->block, what);
	return 0;
}

/* As holders_of(). udev looks at each disk that is new, or was written to, and lets go of it soon: it
 * is given three seconds. */
static int users_of(const struct pci_disk *d, char *why, size_t bytes)
{
	const struct timespec tick = {.tv_nsec = 50000000};
	int in_use = holders_of(d->block, why, bytes);

	for (int i = 0; i < 60 && in_use > 0 && strstr(why, "udev") != NULL; i++) {
		nanosleep(&tick, NULL);
		in_use = holders_of(d->block, why, bytes);
	}
	return in_use;
}

/* A descriptor that keeps the block device from being used; -1 where it has none. */
static int check_free(const struct pci_disk *d, bool force, int *guard, const struct message *m)
{
	char why[256];
	int in_use, err;

	*guard = -1;
	if (d->block[0] == '\0')
		return 0;
	*guard = holders_lock(d->block); /* readers, like the probe below, are not kept out */
	in_use = users_of(d, why, sizeof(why));
	if (in_use < 0)
		err = fail(m, in_use, "%s: cannot find out who uses %s: %s", d->address, d->block,
			strerror(-in_use));
	else if (in_use > 0)
		err = fail(m, -EBUSY, "%s is in use: %s", d->address, why);
	else if (*guard < 0)
		err = fail(m, *guard, "%s is in use: /dev/%s: %s", d->address, d->block,
			strerror(-*guard));
	else
		err = force ? 0 : check_signature(d, m);
	if (err < 0 && *guard >= 0)
		close(*guard);
	return err;
}

static int bind_to(const char *address, const char *driver)
{
	int err = sysfs_write(driver, DEVICES "/%s/driver_override", address);

	if (err < 0)
		return err;
	return sysfs_write(address, DRIVERS "/%s/bind", driver);
}

/* Clear the override and let DRIVER, or without one any that claims it, take the function. */
static int give_back(const char *address, const char *driver)
{
	int err = sysfs_write("\n", DEVICES "/%s/driver_override", address);

	if (err < 0)
		return err;
	if (driver[0] != '\0')
		return sysfs_write(address, DRIVERS "/%s/bind", driver);
	return sysfs_write(address, "/sys/bus/pci/drivers_probe");
}

static int switch_driver(struct pci_disk *d, const char *driver, const struct message *m)
{
	int err;

	if (d->driver[0] != '\0') {
		err = sysfs_write(d->address, DEVICES "/%s/driver/unbind", d->address);
		if (err < 0)
			return fail(m, err, "%s: %s did not let go of it: %s", d->address,
				d->driver, strerror(-err));
	}
	err = bind_to(d->address, driver);
	if (err == 0)
		return 0;
	if (give_back(d->address, d->driver) < 0)
		return fail(m, err, "%s: %s refused it (%s), and %s did not take it back",
			d->address, driver, strerror(-err), d->driver);
	return fail(m, err, "%s: %s refused it: %s; it is with %s again", d->address, driver,
		strerror(-err), d->driver);
}

/* --- which driver --- */

static bool is_vfio(const char *driver)
{
	return strcmp(driver, HW_DRIVER_VFIO) == 0;
}

bool bind_knows_driver(const char *name)
{
	return strcmp(name, HW_DRIVER_UIO) == 0 || is_vfio(name);
}

/* Has the kernel's driver, which takes the feature where it is offered, agreed with the disk to go
 * by the IOMMU? A disk that is with no driver may. */
static bool goes_by_iommu(const struct pci_disk *d)
{
	char virtio[32], features[80];

	if (sysfs_child(virtio, sizeof(virtio), "virtio", DEVICES "/%s", d->address) < 0 ||
		sysfs_read(features, sizeof(features), DEVICES "/%s/%s/features", d->address,
			virtio) < 0)
		return d->driver[0] == '\0';
	return strlen(features) > VIRTIO_F_ACCESS_PLATFORM &&
	       features[VIRTIO_F_ACCESS_PLATFORM] == '1';
}

/* What UIO can't serve: it programs no IOMMU. */
static bool needs_vfio(const struct pci_disk *d)
{
	char type[32];

	return d->driver[0] != '\0' && goes_by_iommu(d) &&
	       sysfs_read(type, sizeof(type), DEVICES "/%s/iommu_group/type", d->address) == 0 &&
	       strcmp(type, "identity") != 0;
}

static int check_vfio(const struct pci_disk *d, const struct message *m)
{
	const struct hw_reason why = {.address = d->address, .text = m->text, .bytes = m->bytes};
	int err = vfio_group_check(&why);

	if (err < 0 || goes_by_iommu(d))
		return err;
	return fail(m, -EOPNOTSUPP,
		"%s: it goes past the IOMMU (no ACCESS_PLATFORM; QEMU: iommu_platform=on); use "
		"--driver " HW_DRIVER_UIO,
		d->address);
}

static int prepare(const struct pci_disk *d, const char *driver, struct bind_report *report,
	const struct message *m)
{
	int err = is_vfio(driver) ? check_vfio(d, m) : 0;

	if (err == 0)
		err = load_module(driver, report, m);
	if (err == 0 && !is_vfio(driver))
		err = reserve_hugepages(report, m);
	return err;
}

static int bind_locked(struct pci_disk *d, const char *driver, bool force,
	struct bind_report *report, const struct message *m)
{
	int guard, err;

	err = prepare(d, driver, report, m);
	if (err < 0)
		return err;
	err = check_free(d, force, &guard, m);
	if (err < 0)
		return err;
	err = pci_disk_record_write(d);
	if (err < 0)
		fail(m, err, "%s: cannot record its driver: %s", RUN_DIR, strerror(-err));
	else
		err = switch_driver(d, driver, m);
	if (err < 0)
		pci_disk_record_remove(d);
	if (guard >= 0)
		close(guard);
	return err;
}

/* DRIVER NULL: any will do. */
static int already_bound(
	const struct pci_disk *d, const char *driver, bool *already, const struct message *m)
{
	*already = pci_disk_is_ours(d);
	if (!*already || driver == NULL || strcmp(driver, d->driver) == 0)
		return 0;
	return fail(m, -EBUSY, "%s is bound to %s; run first: vblkctl unbind %s", d->address,
		d->driver, d->address);
}

int bind_disk(struct pci_disk *d, const char *driver, bool force, struct bind_report *report,
	char *err, size_t err_bytes)
{
	const struct message m = {err, err_bytes};
	char again[16];
	int lock, code;

	memset(report, 0, sizeof(*report));
	lock = lock_binding(&m);
	if (lock < 0)
		return lock;
	snprintf(again, sizeof(again), "%s", d->address);
	code = pci_disk_find(again, d, err, err_bytes); /* as it is under the lock */
	if (code == 0)
		code = already_bound(d, driver, &report->already, &m);
	if (code == 0 && driver == NULL)
		driver = needs_vfio(d) ? HW_DRIVER_VFIO : HW_DRIVER_UIO;
	if (code == 0 && !report->already)
		code = bind_locked(d, driver, force, report, &m);
	if (code == 0 && !report->already)
		code = pci_disk_find(again, d, err, err_bytes);
	close(lock);
	return code;
}

/* The kernel makes the block device in its own time: wait a little, so that the next command finds
 * it. */
static void await_kernel_disk(struct pci_disk *d)
{
	const struct timespec tick = {.tv_nsec = 20000000};
	char address[16], err[256];

	snprintf(address, sizeof(address), "%s", d->address);
	for (int i = 0; i < 100; i++) {
		if (pci_disk_find(address, d, err, sizeof(err)) < 0 || d->block[0] != '\0')
			return;
		nanosleep(&tick, NULL);
	}
}

/* Nobody has it open, and nobody can. */
static int unbind_locked(struct pci_disk *d, const struct message *m)
{
	int err = sysfs_write(d->address, DRIVERS "/%s/unbind", d->driver);

	if (err < 0)
		return fail(m, err, "%s: %s did not let go of it: %s", d->address, d->driver,
			strerror(-err));
	bind_list_skip(d, true); /* else udev's rule would take it right back */
	err = give_back(d->address, d->old_driver);
	if (err < 0)
		return fail(m, err, "%s: %s did not take it back: %s", d->address,
			d->old_driver[0] != '\0' ? d->old_driver : "no driver", strerror(-err));
	pci_disk_record_remove(d);
	await_kernel_disk(d);
	if (d->block[0] != '\0')
		dma_remove_file(d->address);
	return 0;
}

static int unbind_unused(struct pci_disk *d, const struct message *m)
{
	const struct hw_reason why = {.address = d->address, .text = m->text, .bytes = m->bytes};
	char users[256];
	int lock_fd, err;

	if (holders_of_disk(d, users, sizeof(users)) > 0)
		return fail(m, -EBUSY, "%s is in use: %s; unmount it first", d->address, users);
	err = hw_lock(&why, &lock_fd);
	if (err < 0)
		return err;
	err = unbind_locked(d, m);
	close(lock_fd);
	return err;
}

int unbind_disk(struct pci_disk *d, bool *already, char *err, size_t err_bytes)
{
	const struct message m = {err, err_bytes};
	char again[16];
	int lock, code;

	*already = false;
	lock = lock_binding(&m);
	if (lock < 0)
		return lock;
	snprintf(again, sizeof(again), "%s", d->address);
	code = pci_disk_find(again, d, err, err_bytes);
	if (code == 0 && !pci_disk_is_ours(d))
		*already = true;
	else if (code == 0)
		code = unbind_unused(d, &m);
	close(lock);
	return code;
}
