/* vblkctl_info.c - the verb info: what a disk is and can. Of a mounted one its daemon is asked; any
 * other is opened, which resets it, and closed again. */
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <unistd.h>
#include "disk_json.h"
#include "source.h"
#include "vblkctl.h"

static struct json_object *member(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? v : NULL;
}

static bool is_true(struct json_object *o, const char *key)
{
	return json_object_get_boolean(member(o, key));
}

static const char *yes_no(struct json_object *o, const char *key)
{
	return is_true(o, key) ? "yes" : "no";
}

static void print_head(struct json_object *o)
{
	char size[32];

	printf("%s: %s%s%s, %s%s%s\n", json_text(o, "name"), json_text(o, "transport"),
		json_text(o, "driver")[0] != '\0' ? ", by " : "", json_text(o, "driver"),
		human_bytes(json_number(o, "bytes"), size, sizeof(size)),
		json_text(o, "serial")[0] != '\0' ? ", serial " : "", json_text(o, "serial"));
	printf("  block         %" PRIu64 " bytes, physical %" PRIu64 "\n",
		json_number(o, "logical_bytes"), json_number(o, "physical_bytes"));
	printf("  read-only     %s\n  cache         %s\n  discard       %s\n  write zeroes  %s\n"
	       "  secure erase  %s\n",
		yes_no(o, "read_only"), is_true(o, "volatile_cache") ? "writeback" : "writethrough",
		yes_no(o, "can_discard"), yes_no(o, "can_write_zeroes"),
		yes_no(o, "can_secure_erase"));
}

static void print_interrupt(struct json_object *o)
{
	uint64_t nr = json_number(o, "vectors");

	if (!is_true(o, "interrupt"))
		puts("  interrupt     no: polled");
	else if (nr > 0)
		printf("  interrupt     MSI-X, %" PRIu64 " vectors\n", nr);
	else
		puts("  interrupt     yes");
}

static void print_status(struct json_object *o)
{
	struct json_object *names = member(o, "status_names");

	print_interrupt(o);
	if (is_true(o, "busy")) {
		puts("  status        busy: it is being reset, or its cache set");
		return;
	}
	printf("  status        0x%02" PRIx64, json_number(o, "status"));
	for (size_t i = 0; i < json_object_array_length(names); i++)
		printf(" %s", json_object_get_string(json_object_array_get_idx(names, i)));
	putchar('\n');
}

static void print_shape(struct json_object *o)
{
	struct json_object *g = member(o, "geometry"), *t = member(o, "topology");

	if (g != NULL)
		printf("  geometry      %" PRIu64 " cylinders, %" PRIu64 " heads, %" PRIu64
		       " sectors\n",
			json_number(g, "cylinders"), json_number(g, "heads"),
			json_number(g, "sectors"));
	if (t != NULL)
		printf("  topology      2^%" PRIu64
		       " blocks in a physical one, the first at %" PRIu64 "; best I/O %" PRIu64
		       " to %" PRIu64 " blocks\n",
			json_number(t, "physical_block_exp"), json_number(t, "alignment_offset"),
			json_number(t, "min_io_size"), json_number(t, "opt_io_size"));
}

/* How much of its life one type of its memory has behind it, in tenths. */
static void print_wear(const char *type, uint64_t est)
{
	if (est >= 1 && est <= 10)
		printf(", %s %" PRIu64 "-%" PRIu64 " %% used", type, (est - 1) * 10, est * 10);
	else if (est == 11)
		printf(", %s past its end", type);
}

static void print_lifetime(struct json_object *o)
{
	static const char *const pre_eol[] = {"unknown", "normal", "warning", "urgent"};
	struct json_object *l = member(o, "lifetime");
	uint64_t info;

	if (l == NULL)
		return;
	info = json_number(l, "pre_eol_info");
	printf("  lifetime      %s", pre_eol[info < 4 ? info : 0]);
	print_wear("type A", json_number(l, "device_lifetime_est_typ_a"));
	print_wear("type B", json_number(l, "device_lifetime_est_typ_b"));
	putchar('\n');
}

static void print_limit(struct json_object *limits, const char *key)
{
	uint64_t v = json_number(limits, key);

	if (v != 0)
		printf(" %s %" PRIu64, key, v);
}

static void print_limits(struct json_object *o)
{
	static const char *const keys[] = {"size_max", "seg_max", "max_discard_sectors",
		"max_discard_seg", "discard_sector_alignment", "max_write_zeroes_sectors",
		"max_write_zeroes_seg", "max_secure_erase_sectors", "max_secure_erase_seg",
		"secure_erase_sector_alignment"};
	struct json_object *limits = member(o, "limits");

	if (limits == NULL) /* the device is busy */
		return;
	printf("  limits       ");
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		print_limit(limits, keys[i]);
	printf("%s\n", is_true(limits, "write_zeroes_may_unmap") ? " write_zeroes_may_unmap" : "");
}

static void print_queues(struct json_object *queues)
{
	for (size_t i = 0; i < json_object_array_length(queues); i++) {
		struct json_object *q = json_object_array_get_idx(queues, i);

		printf("  %-13s %" PRIu64 " entries, requests of up to %" PRIu64
		       " segments, %" PRIu64 " threads\n",
			json_text(q, "name"), json_number(q, "size"), json_number(q, "segments"),
			json_number(q, "threads"));
	}
}

static void print_structures(struct json_object *regions)
{
	for (size_t i = 0; i < json_object_array_length(regions); i++) {
		struct json_object *r = json_object_array_get_idx(regions, i);

		printf("  %-13s BAR %" PRIu64 " at 0x%" PRIx64 ", 0x%" PRIx64 " bytes\n",
			json_text(r, "name"), json_number(r, "bar"), json_number(r, "offset"),
			json_number(r, "length"));
	}
}

/* One that the specification does not know has no name. */
static void print_feature(struct json_object *f)
{
	char bit[16];

	snprintf(bit, sizeof(bit), "bit %u", (unsigned)json_number(f, "bit"));
	printf("                %4" PRIu64 "  %-17s  %s\n", json_number(f, "bit"),
		member(f, "name") != NULL ? json_text(f, "name") : bit, yes_no(f, "negotiated"));
}

static void print_features(struct json_object *features)
{
	printf("  features       bit  name               used\n");
	for (size_t i = 0; i < json_object_array_length(features); i++)
		print_feature(json_object_array_get_idx(features, i));
}

static void print_info(struct json_object *o)
{
	print_head(o);
	if (member(o, "features") == NULL) /* an image has no device */
		return;
	print_status(o);
	print_shape(o);
	print_lifetime(o);
	print_limits(o);
	print_queues(member(o, "queues"));
	print_structures(member(o, "structures"));
	print_features(member(o, "features"));
}

static struct json_object *info_of_mounted(const char *target, pid_t pid)
{
	struct json_object *answer = ask_daemon(target, pid, "info");
	struct json_object *disk = NULL;

	if (answer == NULL)
		return NULL;
	disk = json_object_get(member(answer, "disk"));
	if (disk == NULL)
		fprintf(stderr, "vblkctl: %s: it is being unmounted\n", target);
	json_object_put(answer);
	return disk;
}

static struct json_object *info_of_free(const char *source)
{
	bool is_file = access(source, F_OK) == 0;
	struct disk_opts opts = {.read_only = is_file}; /* then others may have it open, too */
	struct json_object *disk;
	struct blockdev *dev;
	char err[256];

	if (source_open(source, &opts, &dev, err, sizeof(err)) < 0) {
		fprintf(stderr, "vblkctl: %s\n", err);
		return NULL;
	}
	disk = disk_json_info(dev);
	if (is_file)
		json_object_object_add(
			disk, "read_only", json_object_new_boolean(access(source, W_OK) < 0));
	blk_close(dev);
	return disk;
}

int verb_info(const struct verb_args *a)
{
	const char *target = a->argv[0];
	struct json_object *disk;
	pid_t pid;

	disk = find_daemon(target, &pid) == 0 ? info_of_mounted(target, pid) : info_of_free(target);
	if (disk == NULL)
		return EXIT_FAILED;
	if (a->json)
		return print_json(disk);
	print_info(disk);
	json_object_put(disk);
	return EXIT_OK;
}
