/* test_fork.c - a child that was forked after a disk was opened: it has none of the memory that the
 * device reads and writes, no registers, and a program that it runs has no descriptor. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "bar_guard.h"
#include "disk.h"
#include "dma.h"

/* Does a child have the page at MEM? */
static bool child_has(void *mem)
{
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		unsigned char in_core;

		_exit(mincore(mem, 4096, &in_core) == 0 || errno != ENOMEM);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status) != 0;
}

static int grow_at_will(void *arg, unsigned nr_pages)
{
	(void)arg, (void)nr_pages;
	return 0;
}

START_TEST(child_has_no_dma_memory)
{
	struct dma_arena *dma;
	void *mem;

	ck_assert_int_eq(dma_create_shared(grow_at_will, NULL, &dma), 0);
	mem = dma_alloc(dma, 8192);
	ck_assert_ptr_nonnull(mem);
	ck_assert(!child_has(mem));
	dma_free(dma, mem, 8192);
	dma_destroy(dma);
}
END_TEST

START_TEST(child_has_no_registers)
{
	void *bar = mmap(
		NULL, BAR_GUARD_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(bar, MAP_FAILED);
	ck_assert(child_has(bar));
	ck_assert_int_eq(bar_guard_add(bar), 0);
	ck_assert(!child_has(bar));
	bar_guard_blank(bar); /* once it is gone, too */
	ck_assert(!child_has(bar));
	bar_guard_remove(bar);
	(void)munmap(bar, BAR_GUARD_BYTES);
}
END_TEST

START_TEST(program_of_a_child_has_no_descriptor)
{
	char path[] = "/tmp/vblkfs-fork.XXXXXX", err[256];
	struct blockdev *dev;
	struct blk_queue *q;
	bool before[256];
	unsigned nr = 0;
	int fd = mkstemp(path), flags;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, 1 << 20), 0);
	for (int i = 0; i < 256; i++)
		before[i] = fcntl(i, F_GETFD) >= 0;
	ck_assert_msg(disk_open(path, NULL, &dev, err, sizeof(err)) == 0, "%s", err);
	ck_assert_int_eq(blk_queue_open(dev, &q), 0);
	for (int i = 0; i < 256; i++) {
		flags = fcntl(i, F_GETFD);
		if (before[i] || flags < 0)
			continue;
		ck_assert_msg(flags & FD_CLOEXEC, "descriptor %d", i);
		nr++;
	}
	ck_assert_uint_ge(nr, 2);
	blk_queue_close(q);
	blk_close(dev);
	close(fd);
	(void)unlink(path);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fork");
	TCase *tc = tcase_create("fork");
	SRunner *sr;
	int failed;

	tcase_add_test(tc, child_has_no_dma_memory);
	tcase_add_test(tc, child_has_no_registers);
	tcase_add_test(tc, program_of_a_child_has_no_descriptor);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? 0 : 1;
}
