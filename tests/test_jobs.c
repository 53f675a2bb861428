/* test_jobs.c - what a running mount is asked to do beside its workers: cmd/vblkfs_jobs.c, of a
 * filesystem in memory that nobody has mounted. */
#include <check.h>
#include <sched.h>
#include "fs.h"
#include "memfs.h"
#include "../cmd/vblkfs_jobs.c"

#define MIB (1ULL << 20)

static struct memfs m;
static struct jobs *jobs;

static void set_up(void)
{
	const struct mkfs_opts opts = {.no_discard = true};
	struct mkfs_geometry geo;
	char err[256];

	ck_assert_int_eq(mem_disk_open(32 * MIB / SECTOR_BYTES, &m.dev), 0);
	ck_assert_int_eq(mkfs_write(m.dev, &opts, &geo, err, sizeof(err)), 0);
	memfs_mount(&m);
	ck_assert_int_eq(jobs_create(m.dev, m.fs, NULL, 0, &jobs), 0);
}

static void tear_down(void)
{
	jobs_destroy(jobs);
	memfs_close(&m);
}

static struct json_object *ask(const char *line)
{
	struct json_object *o = json_object_new_object();

	ck_assert(jobs_answer(jobs, line, o));
	return o;
}

static uint64_t number(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_uint64(v) : 0;
}

static const char *text(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : "";
}

/* What job N answers once it is done. */
static struct json_object *end_of(unsigned n)
{
	struct json_object *o;
	char line[32];

	snprintf(line, sizeof(line), "job %u", n);
	while (number(o = ask(line), "done") == 0) {
		json_object_put(o);
		sched_yield();
	}
	return o;
}

static unsigned begin(const char *line)
{
	struct json_object *o = ask(line);
	unsigned n = (unsigned)number(o, "job");

	ck_assert_uint_gt(n, 0);
	json_object_put(o);
	return n;
}

START_TEST(free_space_is_erased_securely_and_how_much_is_told)
{
	struct json_object *o = end_of(begin("trim-secure"));
	struct fs_statfs space;

	fs_statfs(m.fs, &space);
	ck_assert_str_eq(text(o, "error"), "");
	ck_assert_uint_eq(number(o, "erased_bytes"), space.free_blocks * FS_BLOCK_BYTES);
	json_object_put(o);
}
END_TEST

START_TEST(job_that_fails_says_why_in_its_own_words)
{
	struct json_object *o = end_of(begin("reset"));

	ck_assert_str_eq(
		text(o, "error"), "this disk can't do that; 'vblkctl info' shows what it can");
	json_object_put(o);
	o = end_of(begin("cache-writethrough"));
	ck_assert_str_eq(
		text(o, "error"), "this disk can't do that; 'vblkctl info' shows what it can");
	json_object_put(o);
	o = ask("job 99");
	ck_assert_str_eq(text(o, "error"), strerror(ESRCH));
	json_object_put(o);
}
END_TEST

START_TEST(only_what_is_known_with_its_numbers_is_a_job)
{
	static const char *const lines[] = {
		"explode", "reset 0", "reset-queue", "reset-queue 0", "trim-secure 1", "", "job"};
	struct json_object *o = json_object_new_object();

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		ck_assert_msg(!jobs_answer(jobs, lines[i], o), "%s", lines[i]);
	ck_assert_int_eq(json_object_object_length(o), 0);
	json_object_put(o);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("jobs");
	TCase *c = tcase_create("jobs");

	tcase_add_checked_fixture(c, set_up, tear_down);
	tcase_add_test(c, free_space_is_erased_securely_and_how_much_is_told);
	tcase_add_test(c, job_that_fails_says_why_in_its_own_words);
	tcase_add_test(c, only_what_is_known_with_its_numbers_is_a_job);
	suite_add_tcase(s, c);
	return run_suite(s);
}
