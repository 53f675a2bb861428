/* hw_open.c - see hw_open.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "hw_open.h"
#include "run_dir.h"
#include "sysfs.h"
#include "virtio.h"

#define SUSPEND_STATS "/sys/power/suspend_stats"

int hw_fail(const struct hw_reason *why, int err, const char *format, ...)
{
	int n = snprintf(why->text, why->bytes, "%s: ", why->address);
	va_list args;

	if (n < 0 || (size_t)n >= why->bytes)
		return err;
	va_start(args, format);
	(void)vsnprintf(why->text + n, why->bytes - (size_t)n, format, args);
	va_end(args);
	return err;
}

int hw_fail_errno(const struct hw_reason *why, int err, const char *what)
{
	const char *advice = "";

	if (err == -EPERM || err == -EACCES)
		advice = geteuid() == 0
				 ? "; kernel lockdown (secure boot) forbids user-space drivers"
				 : "; root is needed";
	return hw_fail(why, err, "%s: %s%s", what, strerror(-err), advice);
}

void hw_sleep_us(struct hw *hw, uint32_t us)
{
	struct timespec ts = {.tv_sec = us / 1000000, .tv_nsec = (long)(us % 1000000) * 1000};

	(void)hw;
	(void)nanosleep(&ts, NULL);
}

/* A suspend that failed may have got as far as the devices; but not when it was given up because
 * processes did not freeze, as under load: then a device that stops later was stopped by something else,
 * and may have lost what it cached. */
uint64_t hw_nr_suspends(struct hw *hw)
{
	uint64_t success = 0, fail = 0, failed_freeze = 0;

	(void)hw;
	(void)sysfs_read_u64(&success, SUSPEND_STATS "/success");
	(void)sysfs_read_u64(&fail, SUSPEND_STATS "/fail");
	(void)sysfs_read_u64(&failed_freeze, SUSPEND_STATS "/failed_freeze");
	return success + fail - failed_freeze;
}

static uint16_t id_of(const char *address, const char *name)
{
	uint64_t id = 0;

	(void)sysfs_read_u64(&id, PCI_DEVICES "/%s/%s", address, name);
	return (uint16_t)id;
}

static int check_ids(const struct hw_reason *why)
{
	uint16_t vendor, device;
	char path[96];

	(void)snprintf(path, sizeof(path), PCI_DEVICES "/%s", why->address);
	if (access(path, F_OK) < 0)
		return hw_fail(
			why, -ENODEV, "no such PCI function; 'vblkctl list' shows the disks");
	vendor = id_of(why->address, "vendor");
	device = id_of(why->address, "device");
	if (virtio_pci_is_blk(vendor, device, id_of(why->address, "subsystem_device")))
		return 0;
	return hw_fail(why, -ENXIO,
		"not a virtio block device (it is %04x:%04x); 'vblkctl list' shows them", vendor,
		device);
}

static int fail_busy(const struct hw_reason *why, int lock_fd)
{
	char pid[16] = "";
	ssize_t n = pread(lock_fd, pid, sizeof(pid) - 1, 0);

	if (n > 0)
		pid[strcspn(pid, "\n")] = '\0';
	return hw_fail(why, -EBUSY, "in use by process %s", n > 0 ? pid : "?");
}

/* The lock dies with the process; the file stays, for whoever waits on it must see the same one. */
int hw_lock(const struct hw_reason *why, int *lock_fd)
{
	char path[64], pid[16];
	int n, fd, err;

	if (mkdir(RUN_DIR, 0755) < 0 && errno != EEXIST)
		return hw_fail_errno(why, -errno, RUN_DIR);
	(void)snprintf(path, sizeof(path), RUN_DIR "/%s.lock", why->address);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0)
		return hw_fail_errno(why, -errno, path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		err = errno == EWOULDBLOCK ? fail_busy(why, fd) : hw_fail_errno(why, -errno, path);
		close(fd);
		return err;
	}
	n = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	if (ftruncate(fd, 0) < 0 || pwrite(fd, pid, (size_t)n, 0) != n) {
		err = hw_fail_errno(why, -EIO, path);
		close(fd);
		return err;
	}
	*lock_fd = fd;
	return 0;
}

typedef int (*opener)(const struct hw_reason *why, int lock_fd, struct hw **out);

static int find_opener(const struct hw_reason *why, opener *out)
{
	char driver[64];
	bool bound = sysfs_link_name(
			     driver, sizeof(driver), PCI_DEVICES "/%s/driver", why->address) == 0;

	if (bound && strcmp(driver, HW_DRIVER_UIO) == 0)
		*out = hw_uio_open;
	else if (bound && strcmp(driver, HW_DRIVER_VFIO) == 0)
		*out = hw_vfio_open;
	else if (bound)
		return hw_fail(why, -ENOTCONN,
			"in use by the kernel's driver %s; run: vblkctl bind %s", driver,
			why->address);
	else
		return hw_fail(
			why, -ENOTCONN, "bound to no driver; run: vblkctl bind %s", why->address);
	return 0;
}

/* Who is not root can't take our lock, but may own the group of a function that is bound to vfio-pci;
 * and a group is opened only once: by that the kernel keeps out anybody else, root too. */
static int open_as_user(const struct hw_reason *why, struct hw **out)
{
	opener open_it = NULL;
	int err = find_opener(why, &open_it);

	if (err == 0 && open_it != hw_vfio_open)
		err = hw_fail(why, -EACCES, "bound to " HW_DRIVER_UIO ": root is needed");
	return err == 0 ? open_it(why, -1, out) : err;
}

static int open_as_root(const struct hw_reason *why, struct hw **out)
{
	opener open_it = NULL;
	int lock_fd, err = hw_lock(why, &lock_fd);

	if (err < 0)
		return err;
	err = find_opener(why, &open_it); /* with the lock, so that it is not unbound meanwhile */
	if (err == 0)
		err = open_it(why, lock_fd, out);
	if (err < 0)
		close(lock_fd);
	return err;
}

int hw_open(const char *address, struct hw **out, char *err_text, size_t err_bytes)
{
	const struct hw_reason why = {.address = address, .text = err_text, .bytes = err_bytes};
	int err = check_ids(&why);

	if (err < 0)
		return err;
	return geteuid() == 0 ? open_as_root(&why, out) : open_as_user(&why, out);
}
