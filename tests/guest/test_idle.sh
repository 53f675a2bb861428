#!/bin/bash
# a mount that nobody uses
# guest: --smp 1
# disk: 256M
# beside: the others, for it takes time, but no CPU
# shellcheck disable=SC2086 # inside sets MNT: no blanks in it
DISK=0000:00:05.0

cpu_ticks() { # PID: user and system, 1/100 s
	awk '{print $14 + $15}' "/proc/$1/stat"
}

# The commit timer and all else must rest when there is nothing to do: less than 1/20 s of CPU in a
# minute.
test_an_idle_mount_uses_no_cpu_over_a_minute() {
	local pid before used
	vblkctl bind $DISK
	mkfs.vblkfs -q -f $DISK
	mount -t fuse.vblkfs $DISK $MNT
	cp -a /run/tree $MNT/
	sync -f $MNT/tree
	sleep 7 # the last commit
	pid=$(daemon_pid $MNT)
	before=$(cpu_ticks "$pid")
	sleep 60
	used=$(($(cpu_ticks "$pid") - before))
	note "CPU time in 60 s: $((used * 10)) ms"
	[ $used -le 5 ] || fail "$used clock ticks of 10 ms in 60 s"
	umount $MNT
}
