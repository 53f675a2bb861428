/* vblkctl_bind.c - the verbs list, bind and unbind. */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include "bind.h"
#include "bind_list.h"
#include "holders.h"
#include "vblkctl.h"

static struct json_object *text_or_null(const char *s)
{
	return s[0] == '\0' ? NULL : json_object_new_string(s);
}

static struct json_object *disk_json(const struct pci_disk *d)
{
	struct json_object *o = json_object_new_object();
	char id[16], users[256];

	snprintf(id, sizeof(id), "%04x:%04x", d->vendor, d->device);
	json_object_object_add(o, "address", json_object_new_string(d->address));
	json_object_object_add(o, "id", json_object_new_string(id));
	snprintf(id, sizeof(id), "%04x:%04x", d->subvendor, d->subdevice);
	json_object_object_add(o, "subsystem_id", json_object_new_string(id));
	json_object_object_add(o, "revision", json_object_new_int(d->revision));
	json_object_object_add(o, "driver", text_or_null(d->driver));
	json_object_object_add(o, "device", text_or_null(d->block[0] != '\0' ? d->block : d->node));
	json_object_object_add(o, "bytes", d->bytes == 0 ? NULL : json_object_new_uint64(d->bytes));
	json_object_object_add(o, "serial", text_or_null(d->serial));
	(void)holders_of_disk(d, users, sizeof(users));
	json_object_object_add(o, "used_by", text_or_null(users));
	return o;
}

static const char *or_dash(const char *s)
{
	return s[0] == '\0' ? "-" : s;
}

static void print_disk(const struct pci_disk *d)
{
	char size[32], users[256];

	(void)holders_of_disk(d, users, sizeof(users));
	printf("%-13s %04x:%04x  %-16s %-7s %-11s %-20s %s\n", d->address, d->vendor, d->device,
		or_dash(d->driver), or_dash(d->block[0] != '\0' ? d->block : d->node),
		d->bytes == 0 ? "-" : human_bytes(d->bytes, size, sizeof(size)), or_dash(d->serial),
		or_dash(users));
}

int verb_list(const struct verb_args *a)
{
	struct json_object *all = NULL;
	struct pci_disk *d = NULL;
	int n = pci_disk_list(&d);

	if (n < 0) {
		fprintf(stderr, "vblkctl: cannot list PCI functions: %s\n", strerror(-n));
		return EXIT_FAILED;
	}
	if (a->json)
		all = json_object_new_array();
	else if (n == 0)
		fputs("vblkctl: no virtio disk on PCI in this machine\n", stderr);
	else
		printf("%-13s %-9s  %-16s %-7s %-11s %-20s %s\n", "ADDRESS", "ID", "DRIVER",
			"DEVICE", "SIZE", "SERIAL", "USED BY");
	for (int i = 0; i < n; i++) {
		if (a->json)
			json_object_array_add(all, disk_json(&d[i]));
		else
			print_disk(&d[i]);
	}
	free(d);
	return a->json ? print_json(all) : EXIT_OK;
}

static void tell_bound(const struct pci_disk *d, const struct bind_report *r)
{
	if (r->already) {
		printf("%s is bound to %s already (%s)\n", d->address, d->driver, d->node);
		return;
	}
	if (r->module_loaded)
		printf("loaded the module %s\n", d->driver);
	if (r->hugepages_reserved > 0)
		printf("reserved %llu hugepages of 2 MiB\n",
			(unsigned long long)r->hugepages_reserved);
	printf("%s: from %s to %s (%s)\n", d->address,
		d->old_driver[0] == '\0' ? "no driver" : d->old_driver, d->driver, d->node);
}

/* Bind D if it is on the list and with the kernel's driver. One whose block device is not there yet
 * comes again: as udev's next event. */
static int bind_listed(struct pci_disk *d, const char *driver)
{
	struct bind_report report;
	char err[512];
	int found = bind_list_has(d, err, sizeof(err));

	if (found == 0 || (found > 0 && d->block[0] == '\0'))
		return EXIT_OK;
	if (found < 0 || bind_disk(d, driver, false, &report, err, sizeof(err)) < 0) {
		fprintf(stderr, "vblkctl: %s\n", err);
		openlog("vblkctl", LOG_PID,
			LOG_DAEMON); /* udev's rule has nobody who reads the line above */
		syslog(LOG_ERR, "%s", err);
		return EXIT_FAILED;
	}
	tell_bound(d, &report);
	return EXIT_OK;
}

static int bind_all_listed(const char *driver)
{
	struct pci_disk *d = NULL;
	int n = pci_disk_list(&d), ret = EXIT_OK;

	if (n < 0) {
		fprintf(stderr, "vblkctl: cannot list PCI functions: %s\n", strerror(-n));
		return EXIT_FAILED;
	}
	for (int i = 0; i < n; i++)
		if (bind_listed(&d[i], driver) != EXIT_OK)
			ret = EXIT_FAILED;
	free(d);
	return ret;
}

int verb_bind(const struct verb_args *a)
{
	struct bind_report report;
	struct pci_disk d;
	char err[512];

	if (a->argc == 0)
		return bind_all_listed(a->driver);
	if (a->listed && pci_disk_find(a->argv[0], &d, err, sizeof(err)) == 0)
		return bind_listed(&d, a->driver);
	if (pci_disk_find(a->argv[0], &d, err, sizeof(err)) < 0 ||
		bind_disk(&d, a->driver, a->force, &report, err, sizeof(err)) < 0) {
		fprintf(stderr, "vblkctl: %s\n", err);
		return EXIT_FAILED;
	}
	bind_list_skip(&d, false);
	if (a->json)
		return print_json(disk_json(&d));
	tell_bound(&d, &report);
	return EXIT_OK;
}

int verb_unbind(const struct verb_args *a)
{
	struct pci_disk d;
	char err[512];
	bool already;

	if (pci_disk_find(a->argv[0], &d, err, sizeof(err)) < 0 ||
		unbind_disk(&d, &already, err, sizeof(err)) < 0) {
		fprintf(stderr, "vblkctl: %s\n", err);
		return EXIT_FAILED;
	}
	if (a->json)
		return print_json(disk_json(&d));
	printf("%s is %swith %s%s%s%s\n", d.address, already ? "" : "back ",
		d.driver[0] == '\0' ? "no driver" : d.driver, d.block[0] == '\0' ? "" : " (",
		d.block, d.block[0] == '\0' ? "" : ")");
	return EXIT_OK;
}
