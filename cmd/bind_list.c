/* bind_list.c - see bind_list.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include "bind.h"
#include "bind_list.h"
#include "disk.h"
#include "run_dir.h"

static const char serial_key[] = "serial=";

static void skip_path(const struct pci_disk *d, char *out, size_t bytes)
{
	snprintf(out, bytes, RUN_DIR "/%s.unbound", d->address);
}

static bool is_skipped(const struct pci_disk *d)
{
	char path[64];

	skip_path(d, path, sizeof(path));
	return access(path, F_OK) == 0;
}

void bind_list_skip(const struct pci_disk *d, bool skip)
{
	char path[64];
	int fd;

	skip_path(d, path, sizeof(path));
	if (!skip) {
		(void)unlink(path);
		return;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd >= 0)
		close(fd);
}

/* LINE without comment and blanks at its ends. */
static char *strip(char *line)
{
	char *end;

	line[strcspn(line, "#\n")] = '\0';
	line += strspn(line, " \t");
	end = line + strlen(line);
	while (end > line && (end[-1] == ' ' || end[-1] == '\t'))
		*--end = '\0';
	return line;
}

/* 1, 0, -EINVAL. */
static int line_names(const char *line, const struct pci_disk *d)
{
	char address[32];
	size_t key = sizeof(serial_key) - 1;

	if (strncasecmp(line, serial_key, key) == 0 && line[key] != '\0')
		return d->serial[0] != '\0' && strcmp(line + key, d->serial) == 0;
	if (disk_parse_address(line, address, sizeof(address)))
		return strcmp(address, d->address) == 0;
	return -EINVAL;
}

/* A line that makes no sense does not hide those below it. */
static int look_up(FILE *f, const struct pci_disk *d, char *err, size_t err_bytes)
{
	char *buf = NULL, *line;
	size_t bytes = 0;
	int bad = 0, found = 0;

	for (int nr = 1; found <= 0 && getline(&buf, &bytes, f) > 0; nr++) {
		line = strip(buf);
		found = *line != '\0' ? line_names(line, d) : 0;
		if (found < 0 && bad == 0)
			bad = nr;
	}
	free(buf);
	if (found > 0 || bad == 0)
		return found > 0;
	snprintf(err, err_bytes,
		BIND_CONF ":%d: neither a PCI address (like 0000:00:05.0) nor serial=ID", bad);
	return -EINVAL;
}

int bind_list_has(const struct pci_disk *d, char *err, size_t err_bytes)
{
	FILE *f;
	int found;

	if (is_skipped(d))
		return 0;
	f = fopen(BIND_CONF, "re");
	if (f == NULL && errno == ENOENT)
		return 0;
	if (f == NULL) {
		snprintf(err, err_bytes, BIND_CONF ": %s", strerror(errno));
		return -errno;
	}
	found = look_up(f, d, err, err_bytes);
	(void)fclose(f);
	return found;
}

static bool may_be_bound_yet(const struct pci_disk *d)
{
	char err[256];

	if (pci_disk_is_ours(d) || is_skipped(d))
		return false;
	return d->block[0] == '\0' || bind_list_has(d, err, sizeof(err)) > 0;
}

bool bind_list_is_pending(const char *address)
{
	struct pci_disk *d = NULL;
	bool pending = false;
	int n;

	if (access(BIND_CONF, F_OK) < 0)
		return false;
	n = pci_disk_list(&d);
	for (int i = 0; i < n && !pending; i++)
		pending = (address == NULL || strcmp(d[i].address, address) == 0) &&
			  may_be_bound_yet(&d[i]);
	free(d);
	/* Asked last: a disk that looks like ours may be so only by half. */
	return pending || bind_is_under_way();
}
