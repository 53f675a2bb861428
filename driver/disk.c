/* disk.c - which kind of disk a name means. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "disk.h"

bool disk_parse_address(const char *source, char *out, size_t bytes)
{
	unsigned domain = 0, bus, slot, function;
	int end = 0;

	if (strncmp(source, "virtio:", 7) == 0)
		source += 7;
	if (sscanf(source, "%4x:%2x:%2x.%1x%n", &domain, &bus, &slot, &function, &end) != 4) {
		domain = 0;
		end = 0;
		if (sscanf(source, "%2x:%2x.%1x%n", &bus, &slot, &function, &end) != 3)
			return false;
	}
	if (source[end] != '\0' || slot > 31 || function > 7)
		return false;
	snprintf(out, bytes, "%04x:%02x:%02x.%u", domain, bus, slot, function);
	return true;
}

bool disk_is_pci(const char *source)
{
	char address[32];

	return disk_parse_address(source, address, sizeof(address));
}

const char *disk_socket(const char *source)
{
	static const char prefix[] = "vhost-user:";

	return strncmp(source, prefix, sizeof(prefix) - 1) == 0 ? source + sizeof(prefix) - 1
								: NULL;
}

int disk_open(const char *source, const struct disk_opts *opts, struct blockdev **out, char *err,
	size_t err_bytes)
{
	char address[32];

	if (disk_parse_address(source, address, sizeof(address)))
		return vblk_open(address, opts, out, err, err_bytes);
	if (disk_socket(source) != NULL)
		return vblk_open_socket(disk_socket(source), opts, out, err, err_bytes);
	return image_open(source, opts, out, err, err_bytes);
}
