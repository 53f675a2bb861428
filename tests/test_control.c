/* test_control.c - the daemon's socket and its clients: cmd/control.c, in a directory of its own. */
#include <check.h>
#include <sys/wait.h>
#include "run_dir.h"
static int run_dir_of_test(char *out, size_t bytes);
#define run_dir run_dir_of_test
#include "../cmd/control.c"

static char dir_of_test[64];

static int run_dir_of_test(char *out, size_t bytes)
{
	return snprintf(out, bytes, "%s", dir_of_test) < (int)bytes ? 0 : -ENAMETOOLONG;
}

static struct control *control;

static bool add_figure(void *arg, const char *line, struct json_object *out)
{
	if (strcmp(line, "stat") != 0)
		return false;
	json_object_object_add(out, "figure", json_object_new_int(*(int *)arg));
	return true;
}

static int figure = 42;

static void set_up(void)
{
	struct json_object *hello = json_object_new_object();

	strcpy(dir_of_test, "/tmp/vblkfs-control.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir_of_test));
	json_object_object_add(hello, "source", json_object_new_string("0000:00:05.0"));
	json_object_object_add(hello, "dev", json_object_new_string("0:45"));
	ck_assert_int_eq(control_open(hello, add_figure, &figure, &control), 0);
}

static void tear_down(void)
{
	control_close(control, 0);
	ck_assert_int_eq(rmdir(dir_of_test), 0); /* nothing is left in it */
}

static const char *member(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : "";
}

static int raw_client(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%d.sock", dir_of_test, (int)getpid());
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

START_TEST(hello_says_which_mount)
{
	struct json_object *o;

	ck_assert_int_eq(control_ask(getpid(), "hello", &o), 0);
	ck_assert_str_eq(member(o, "source"), "0000:00:05.0");
	ck_assert_str_eq(member(o, "state"), "mounted");
	ck_assert_str_eq(member(o, "figure"), "");
	json_object_put(o);
}
END_TEST

START_TEST(stat_has_figures_until_the_unmount_begins)
{
	struct json_object *o;

	ck_assert_int_eq(control_ask(getpid(), "stat", &o), 0);
	ck_assert_str_eq(member(o, "figure"), "42");
	json_object_put(o);
	control_unmounting(control);
	ck_assert_int_eq(control_ask(getpid(), "stat", &o), 0);
	ck_assert_str_eq(member(o, "figure"), "");
	ck_assert_str_eq(member(o, "state"), "unmounting");
	json_object_put(o);
}
END_TEST

START_TEST(a_daemon_is_found_by_what_it_says)
{
	pid_t pid = 0;

	ck_assert_int_eq(control_find("dev", "0:45", &pid), 0);
	ck_assert_int_eq(pid, getpid());
	ck_assert_int_eq(control_find("dev", "0:4", &pid), -ENOENT);
	ck_assert_int_eq(control_find("nothing", "0:45", &pid), -ENOENT);
}
END_TEST

START_TEST(an_unknown_request_is_an_error)
{
	struct json_object *o;

	ck_assert_int_eq(control_ask(getpid(), "explode", &o), 0);
	ck_assert_str_ne(member(o, "error"), "");
	json_object_put(o);
}
END_TEST

START_TEST(a_line_that_never_ends_is_cut_off)
{
	char line[2 * LINE_BYTES];
	struct json_object *o;
	int fd;

	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	ck_assert_int_eq(control_send(getpid(), line), -EINVAL);
	line[LINE_BYTES - 2] = '\0';
	fd = control_send(getpid(), line); /* the longest that has an end */
	ck_assert_int_eq(control_receive(fd, 1000, &o), 0);
	json_object_put(o);
	close(fd);

	fd = control_send(getpid(), "wait");
	ck_assert_int_eq(write(fd, line, 2), 2); /* more than its line */
	ck_assert_int_eq(control_receive(fd, 1000, &o), -EPIPE);
	close(fd);
	fd = raw_client();
	memset(line, 'x', sizeof(line));
	ck_assert_int_eq(write(fd, line, sizeof(line)), sizeof(line));
	ck_assert_int_eq(control_receive(fd, 1000, &o), -EPIPE);
	close(fd);
}
END_TEST

START_TEST(wait_is_answered_at_the_end_only) /* looped: clean, failed */
{
	struct json_object *o;
	int fd = control_send(getpid(), "wait");

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(control_receive(fd, 100, &o), -ETIMEDOUT);
	control_close(control, _i == 0 ? 0 : -EIO);
	control = NULL;
	ck_assert_int_eq(control_receive(fd, 1000, &o), 0);
	ck_assert_str_eq(member(o, "result"), _i == 0 ? "clean" : "failed");
	if (_i != 0)
		ck_assert_str_eq(member(o, "error"), strerror(EIO));
	json_object_put(o);
	close(fd);
}
END_TEST

START_TEST(many_wait_more_than_there_are_places_and_all_are_answered)
{
	int fds[CLIENTS_MAX + 8];
	struct json_object *o;

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		fds[i] = control_send(getpid(), "wait");
		ck_assert_int_ge(fds[i], 0);
	}
	ck_assert_int_eq(control_receive(fds[0], 100, &o), -ETIMEDOUT);
	control_close(control, 0);
	control = NULL;
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		ck_assert_int_eq(control_receive(fds[i], 1000, &o), 0);
		ck_assert_str_eq(member(o, "result"), "clean");
		json_object_put(o);
		close(fds[i]);
	}
}
END_TEST

START_TEST(one_who_waits_may_go_away)
{
	struct json_object *o;

	for (int i = 0; i < 2 * CLIENTS_MAX; i++)
		close(control_send(getpid(), "wait"));
	ck_assert_int_eq(control_ask(getpid(), "hello", &o), 0);
	json_object_put(o);
}
END_TEST

START_TEST(a_dead_daemon_is_told_from_a_live_one_and_its_socket_removed)
{
	struct json_object *o;
	char path[128];
	int fd = -1, status;
	pid_t pid = fork();

	if (pid == 0) { /* a daemon that is killed */
		struct control *c;

		_exit(control_open(json_object_new_object(), add_figure, &figure, &c) != 0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	snprintf(path, sizeof(path), "%s/%d.sock", dir_of_test, (int)pid);
	ck_assert_int_eq(access(path, F_OK), 0);
	fd = control_send(pid, "wait");
	ck_assert_int_eq(fd, -ECONNREFUSED);
	ck_assert_int_eq(control_find("dev", "none", &pid), -ENOENT);
	ck_assert_int_ne(access(path, F_OK), 0);
	ck_assert_int_eq(control_ask(getpid(), "hello", &o), 0);
	json_object_put(o);
}
END_TEST

static bool count_one(void *arg, pid_t pid, struct json_object *hello)
{
	(void)pid;
	(void)hello;
	++*(int *)arg;
	return true;
}

START_TEST(other_files_in_the_directory_are_left_alone)
{
	char path[128];
	int n = 0;

	snprintf(path, sizeof(path), "%s/0000:00:05.0.sock", dir_of_test);
	fclose(fopen(path, "w"));
	ck_assert_int_eq(control_each(count_one, &n), 1);
	ck_assert_int_eq(n, 1);
	ck_assert_int_eq(unlink(path), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("control");
	TCase *tc = tcase_create("control");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, hello_says_which_mount);
	tcase_add_test(tc, stat_has_figures_until_the_unmount_begins);
	tcase_add_test(tc, a_daemon_is_found_by_what_it_says);
	tcase_add_test(tc, an_unknown_request_is_an_error);
	tcase_add_test(tc, a_line_that_never_ends_is_cut_off);
	tcase_add_loop_test(tc, wait_is_answered_at_the_end_only, 0, 2);
	tcase_add_test(tc, many_wait_more_than_there_are_places_and_all_are_answered);
	tcase_add_test(tc, one_who_waits_may_go_away);
	tcase_add_test(tc, a_dead_daemon_is_told_from_a_live_one_and_its_socket_removed);
	tcase_add_test(tc, other_files_in_the_directory_are_left_alone);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
