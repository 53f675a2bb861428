/* hw_qtest.h - the hardware, as a QEMU without a guest has it.
 *
 * What firmware and uio_pci_generic would have done is done here: BARs are placed and decoded, and
 * an interrupt masks itself. */
#ifndef VBLKFS_TESTS_QTEST_HW_QTEST_H
#define VBLKFS_TESTS_QTEST_HW_QTEST_H
#include "hw.h"
#include "qemu.h"

/* The disk of Q, which stays the caller's. One at a time. */
struct hw *hw_qtest_open(struct qemu *q);
#endif
