#!/bin/bash
# when the power fails, the disk fails, or the daemon dies: what was synced is there
# guest: --smp 2 --monitor --timeout 900
# disk: 256M,log=on
# disk: 256M
# disk: 256M,iops=100000,iothread=off
# shellcheck disable=SC2086,SC2154 # inside and check.sh set MNT, build, work: no blanks in them
. tests/guest/qemu.sh
LOGGED=0000:00:05.0
FAULTY=0000:00:06.0 # QEMU's number 1
SLOW=0000:00:07.0   # number 2


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
	fsck.vblkfs -n -f $FAULTY # replays in memory, and finds nothing
	mount -t fuse.vblkfs $FAULTY $MNT
	logged 1 'was not unmounted; recovering from the journal'
	files_are_there
	echo again >$MNT/more
	sync $MNT/more
	umount $MNT
	logged 1 'unmounted, clean'
	fsck.vblkfs -n -f $FAULTY
}

test_a_read_error_is_the_readers_and_goes_by() {
	mount_with_files
	umount $MNT
	mount -t fuse.vblkfs $FAULTY $MNT # no data is cached
	dd if=$MNT/file of=/dev/null bs=4096 count=1 iflag=direct status=none # but where it is
	: >/run/syslog
	fault_on 1 read
	for _ in 1 2; do
		refuses 1 'Input/output error' \
			dd if=$MNT/file of=/dev/null bs=4096 count=1 skip=50 iflag=direct status=none
	done
	refuses 1 'Input/output error' cat $MNT/file
	refuses 2 'Input/output error' ls $MNT/dir
	logged 1 'inode [0-9]+: read at byte 204800: Input/output error'
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

# --- the daemon is killed ---

# The device goes on for a while with what it was told. What had been acknowledged must be there
# after one command, whatever else was under way.
test_what_was_synced_survives_kills_of_the_daemon() {
	local round earlier
	vblkctl bind $FAULTY
	mkfs.vblkfs -q -f $FAULTY
	mount -t fuse.vblkfs $FAULTY $MNT
	for round in $(seq "${rounds:-3}"); do
		mkdir $MNT/round$round
		"$build/tools/synced" run --seed "$RANDOM" --seconds 600 \
			/run/marks$round $MNT/round$round >/run/out 2>&1 &
		sleep 3.$((RANDOM % 900 + 100))
		kill -KILL "$(daemon_pid $MNT)"
		wait $! || true
		mount -t fuse.vblkfs $FAULTY $MNT
		for earlier in $(seq $round); do
			"$build/tools/synced" check /run/marks$earlier $MNT/round$earlier >/run/out
		done
		note "$(cat /run/out)"
	done
	umount $MNT
	fsck.vblkfs -n -f $FAULTY
}

# Kill the daemon of the slow disk while the device has many reads to do yet, for seconds to come.
kill_with_reads_in_flight() {
	local i pid
	limit_requests 2 2
	for i in $(seq 0 2 30); do
		dd if=$MNT/file of=/dev/null bs=1M count=1 skip=$i iflag=direct status=none 2>/dev/null &
	done
	sleep 0.5
	pid=$(daemon_pid $MNT)
	kill -KILL "$pid"
	wait
	while [ -d "/proc/$pid" ]; do sleep 0.05; done
}

free_pages() {
	cat /sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages
}

# Those reads write into the memory of the dead: nobody else may have it before the device is reset.
# (Without an I/O thread QEMU goes on with them even when bus mastering is off, as it is then. When
# the memory is freed by rm instead, without a reset, the canary sees MiBs change.)
test_the_memory_of_a_killed_daemon_is_not_reused_while_the_device_may_write() {
	local memory=/dev/hugepages/vblkfs-$SLOW inode free
	vblkctl bind $SLOW
	mkfs.vblkfs -q -f $SLOW
	mount -t fuse.vblkfs $SLOW $MNT
	head -c 32M /dev/urandom >$MNT/file
	sync $MNT/file

	free=$(free_pages)
	kill_with_reads_in_flight
	inode=$(stat -c %i $memory)
	[ "$(free_pages)" = "$free" ] || fail "pages were given back: $free free before, $(free_pages) now"
	limit_requests 2 100000 # a mount reads much; the device still has the old reads
	mount -t fuse.vblkfs $SLOW $MNT
	[ "$(stat -c %i $memory)" != "$inode" ] || fail "the memory is the dead daemon's"
	"$build/tools/canary" 4

	kill_with_reads_in_flight
	[ -e $memory ] || fail "the memory did not outlive its daemon"
	umount $MNT
	vblkctl unbind $SLOW
	[ ! -e $memory ] || fail "the memory is still taken"
	note "$("$build/tools/canary" 5)"
	limit_requests 2 100000
}

after_guest() { # [TEST...]
	case " ${*:-steps_under_a_log_of_writes} " in
	*" steps_under_a_log_of_writes "*) ;;
	*) return 0 ;;
	esac
	truncate -s 256M "$work/replayed.img"
	"$build/tools/replaylog" "$work/disk0.log" >"$work/entries"
	"$build/tools/replaylog" "$work/disk0.log" "$work/replayed.img" "$(wc -l <"$work/entries")"
	if ! cmp "$work/disk0.img" "$work/replayed.img"; then
		echo "FAILED: the log, replayed, is another disk" >&2
		return 1
	fi
	head -c $(($(stat -c %s "$work/disk0.log") / 2 + 1)) "$work/disk0.log" >"$work/half.log"
	"$build/tools/replaylog" "$work/half.log" >"$work/half"
	if ! [ -s "$work/half" ] ||
		! head -n "$(wc -l <"$work/half")" "$work/entries" | cmp - "$work/half"; then
		echo "FAILED: half a log is not the half of its entries" >&2
		return 1
	fi
	"$build/tools/synced" log --states "${VBLKFS_STATES:-400}" "$work/disk0.log" $((256 << 20))
}
