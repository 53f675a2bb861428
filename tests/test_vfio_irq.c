/* test_vfio_irq.c - interrupts through a VFIO device file, with a kernel of the test's own behind its
 * ioctl(2). */
#include <check.h>
#include <errno.h>
#include <linux/vfio.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "vfio_irq.h"

#define DEVICE     1000 /* no file: nobody else asks for it */
#define NR_VECTORS 3

static int trigger[NR_VECTORS]; /* 0: none */
static unsigned nr_failures;    /* of what is to come */
static struct vfio_irq irq;
static int sleeper_fd;

/* As the kernel's vfio_msi_set_vector_signal(): the old one goes first. */
static int set_vectors(const struct vfio_irq_set *set)
{
	int fd;

	for (uint32_t i = 0; i < set->count; i++) {
		memcpy(&fd, set->data + i * sizeof(fd), sizeof(fd));
		trigger[set->start + i] = 0;
		if (nr_failures > 0) {
			nr_failures--;
			errno = ENOMEM;
			return -1;
		}
		trigger[set->start + i] = fd;
	}
	if (set->count == 0)
		memset(trigger, 0, sizeof(trigger));
	return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	ck_assert_int_eq(fd, DEVICE);
	if (request == VFIO_DEVICE_GET_IRQ_INFO) {
		struct vfio_irq_info *info = arg;

		info->flags = VFIO_IRQ_INFO_EVENTFD;
		info->count = info->index == VFIO_PCI_MSIX_IRQ_INDEX ? NR_VECTORS : 0;
		return 0;
	}
	ck_assert_uint_eq(request, VFIO_DEVICE_SET_IRQS);
	ck_assert_uint_eq(((struct vfio_irq_set *)arg)->index, VFIO_PCI_MSIX_IRQ_INDEX);
	return set_vectors(arg);
}

static void setup(void)
{
	nr_failures = 0;
	sleeper_fd = eventfd(0, EFD_NONBLOCK);
	ck_assert_int_eq(vfio_irq_open(&irq, DEVICE), 0);
	ck_assert_int_eq(vfio_irq_vectors(&irq, NR_VECTORS), 0);
}

static void teardown(void)
{
	vfio_irq_close(&irq);
	for (unsigned i = 0; i < NR_VECTORS; i++)
		ck_assert_int_eq(trigger[i], 0);
	close(sleeper_fd);
}

static void interrupt(unsigned vector)
{
	ck_assert_int_gt(trigger[vector], 0);
	ck_assert_int_eq(eventfd_write(trigger[vector], 1), 0);
}

static bool sleeper_is_woken(void)
{
	eventfd_t count;

	return eventfd_read(sleeper_fd, &count) == 0;
}

static bool thread_is_told(unsigned vector)
{
	eventfd_t count;

	return eventfd_read(irq.vector_fd[vector], &count) == 0;
}

START_TEST(vector_is_redirected_and_comes_back)
{
	ck_assert_int_eq(vfio_irq_redirect(&irq, 1, sleeper_fd), 0);
	interrupt(1);
	ck_assert(sleeper_is_woken());
	ck_assert(!thread_is_told(1));
	ck_assert_int_eq(vfio_irq_redirect(&irq, 1, -1), 0);
	interrupt(1);
	ck_assert(!sleeper_is_woken());
	ck_assert(thread_is_told(1));
}
END_TEST

START_TEST(vector_that_can_not_be_redirected_stays_with_the_thread)
{
	nr_failures = 1;
	ck_assert_int_eq(vfio_irq_redirect(&irq, 1, sleeper_fd), -ENOSPC);
	interrupt(1);
	ck_assert(!sleeper_is_woken());
	ck_assert(thread_is_told(1));
}
END_TEST

START_TEST(vector_that_does_not_come_back_at_once_does_the_second_time)
{
	ck_assert_int_eq(vfio_irq_redirect(&irq, 1, sleeper_fd), 0);
	nr_failures = 1;
	ck_assert_int_eq(vfio_irq_redirect(&irq, 1, -1), 0);
	interrupt(1);
	ck_assert(thread_is_told(1));
}
END_TEST

START_TEST(vector_that_is_lost_is_said_to_be) /* looped: to the sleeper, and back */
{
	nr_failures = 2;
	ck_assert_int_eq(vfio_irq_redirect(&irq, 1, _i == 0 ? sleeper_fd : -1), -EIO);
	interrupt(2);
	ck_assert(thread_is_told(2));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("vfio_irq");
	TCase *tc = tcase_create("vectors");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, vector_is_redirected_and_comes_back);
	tcase_add_test(tc, vector_that_can_not_be_redirected_stays_with_the_thread);
	tcase_add_test(tc, vector_that_does_not_come_back_at_once_does_the_second_time);
	tcase_add_loop_test(tc, vector_that_is_lost_is_said_to_be, 0, 2);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
