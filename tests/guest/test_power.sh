#!/bin/bash
# when the power fails, the disk fails, or the daemon dies: what was synced is there
# guest: --smp 2 --monitor --timeout 900
# disk: 256M,log=on
# disk: 256M
# shellcheck disable=SC2086,SC2154 # inside and check.sh set MNT, build, work: no blanks in them
. tests/guest/qemu.sh
LOGGED=0000:00:05.0
FAULTY=0000:00:06.0 # QEMU's number 1


# Judged in after_guest: the log has what every power cut could have left.
test_steps_under_a_log_of_writes() {
	vblkctl bind $LOGGED
	mkfs.vblkfs -q -K $LOGGED # without the discard of all of the disk, which the log would repeat
	mount -t fuse.vblkfs $LOGGED $MNT
	"$build/tools/synced" run --seed "$RANDOM" --seconds 12 $MNT/marks $MNT >/run/out
	note "$(cat /run/out)"
	umount $MNT
}

# --- faults ---

mount_with_files() {
	fault_off 1 2>/dev/null || true # left by a test that failed
	vblkctl bind $FAULTY
	mkfs.vblkfs -q -f $FAULTY
	mount -t fuse.vblkfs $FAULTY $MNT
	mkdir $MNT/dir
	seq 100000 >$MNT/file
	seq 2000 >$MNT/dir/file
	sync $MNT/file $MNT/dir/file $MNT/dir
	: >/run/syslog
}

files_are_there() {
	seq 100000 | cmp - $MNT/file
	seq 2000 | cmp - $MNT/dir/file
}

logged() { # HOW OFTEN, PATTERN
	[ "$(grep -cE "$2" /run/syslog)" = "$1" ] || fail "not $1 lines with '$2': $(cat /run/syslog)"
}

# What is mounted has failed and is read-only: see that it is, and what it takes to go on.
recover() { # PATTERN OF WHAT THE LOG SAYS
	refuses 1 'Read-only file system' touch $MNT/more
	refuses 1 'Input/output error' sync $MNT/new
	files_are_there
	vblkctl stat $MNT | grep -q 'read-only since an error' || fail "stat does not say so"
	logged 1 "$1: Input/output error; read-only from now on"
	logged 1 'vblkfs'
	fault_off 1
	refuses 1 'Read-only file system' touch $MNT/more # well again, but what was lost is lost
	refuses 32 'not clean: Input/output error; the next mount recovers it' umount $MNT
	mount -t fuse.vblkfs $FAULTY $MNT
	logged 1 'was not unmounted; recovering from the journal'
	files_are_there
	echo again >$MNT/more
	sync $MNT/more
	umount $MNT
	logged 1 'unmounted, clean'
}

test_a_read_error_is_the_readers_and_goes_by() {
	mount_with_files
	umount $MNT
	mount -t fuse.vblkfs $FAULTY $MNT # nothing is cached
	: >/run/syslog
	fault_on 1 read
	refuses 1 'Input/output error' cat $MNT/file
	refuses 1 'Input/output error' cat $MNT/file
	refuses 2 'Input/output error' ls $MNT/dir
	logged 1 'inode [0-9]+: read at byte 0: Input/output error'
	logged 1 'block [0-9]+: read of metadata: Input/output error'
	fault_off 1
	files_are_there
	echo new >$MNT/new
	sync $MNT/new
	[ "$(stat_number $MNT errors)" -ge 3 ] || fail "the failed requests are not counted"
	umount $MNT
	logged 1 'unmounted, clean'
}

test_a_write_error_is_told_by_fsync() {
	mount_with_files
	fault_on 1 write
	echo new >$MNT/new # the kernel has it
	refuses 1 'Input/output error' sync $MNT/new
	recover 'inode [0-9]+: new data lost'
}

test_one_failed_write_of_the_journal_is_told_by_fsync() {
	mount_with_files
	fault_on 1 write 1
	: >$MNT/new # no data: what is written is the journal
	refuses 1 'Input/output error' sync $MNT/new
	recover 'write a transaction'
}

test_one_failed_flush_is_told_by_fsync() {
	mount_with_files
	fault_on 1 flush 1
	echo new >$MNT/new
	refuses 1 'Input/output error' sync $MNT/new
	recover 'flush'
}

test_an_overwrite_that_fails_is_told_once_and_goes_by() {
	mount_with_files
	fault_on 1 write 1
	refuses 1 'Input/output error' dd if=/dev/zero of=$MNT/file bs=4096 count=1 seek=2 \
		oflag=direct conv=notrunc status=none
	fault_off 1
	logged 1 'inode [0-9]+: write at byte 8192: Input/output error'
	dd if=/dev/zero of=$MNT/file bs=4096 count=1 seek=2 oflag=direct conv=notrunc,fsync status=none
	echo new >$MNT/new
	sync $MNT/new
	umount $MNT
	logged 1 'unmounted, clean'
}

test_a_failing_disk_is_not_mounted_nor_made() {
	mount_with_files
	umount $MNT
	fault_on 1 read
	refuses 32 'Input/output error' mount -t fuse.vblkfs $FAULTY $MNT
	refuses 1 'Input/output error' mkfs.vblkfs $FAULTY
	fault_off 1
	fault_on 1 write
	refuses 32 'Input/output error' mount -t fuse.vblkfs $FAULTY $MNT
	refuses 1 'Input/output error' mkfs.vblkfs -q -f $FAULTY
	fault_off 1
	refuses 32 'mkfs.vblkfs|fsck.vblkfs' mount -t fuse.vblkfs $FAULTY $MNT # it had begun
	fault_on 1 flush 1
	refuses 1 'Input/output error' mkfs.vblkfs -q -f $FAULTY
	fault_off 1
	mkfs.vblkfs -q -f $FAULTY
	mount -t fuse.vblkfs $FAULTY $MNT
	umount $MNT
}

after_guest() {
	truncate -s 256M "$work/replayed.img"
	"$build/tools/replaylog" "$work/disk0.log" "$work/replayed.img" \
		"$("$build/tools/replaylog" "$work/disk0.log" | wc -l)"
	if ! cmp "$work/disk0.img" "$work/replayed.img"; then
		echo "FAILED: the log, replayed, is another disk" >&2
		return 1
	fi
	"$build/tools/synced" log --states "${VBLKFS_STATES:-400}" "$work/disk0.log" $((256 << 20))
}
