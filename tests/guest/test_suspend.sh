#!/bin/bash
# the machine is suspended under load, and wakes up
# guest: --smp 2 --monitor --bzimage --wake-up --timeout 300
# disk: 512M
# memory: bash env sh busybox cat cp rm ln ls mkdir mkfifo mv sort diff cmp find stat readlink basename dirname
# memory: head tail wc tr cut paste seq sleep date touch sync timeout dd awk grep sed ps pidof tar xargs
# memory: mount umount mountpoint losetup dmesg jq mount.fuse fusermount3
# shellcheck disable=SC2086 # inside sets MNT: no blanks in it
DISK=0000:00:05.0
vblkctl bind $DISK # which needs the modules of the host's root
. tests/guest/memory.sh
. tests/guest/qemu.sh

nr_suspends() {
	cat /sys/power/suspend_stats/success
}

# From idle a key wakes it, which is pressed now, and let go of when the machine sleeps; from S3
# tests/guest/run.
sleep_once() { # s2idle|deep
	[ "$1" = deep ] || qemu_ask '{"execute": "human-monitor-command",
		"arguments": {"command-line": "sendkey a 3000"}}' >/dev/null
	echo mem >/sys/power/state || note "a suspend failed: $(dmesg | grep -o 'Freezing of tasks failed.*' | tail -n 1)"
}

# Tasks that wait for an answer of the daemon do not freeze when it is frozen already: then the kernel
# tries in vain, and we a few times more; at last with the load stopped, so that nothing new is waited for.
suspend() { # s2idle|deep, which is S3: power for nothing but the memory
	local before keyboard i
	before=$(nr_suspends)
	echo "$1" >/sys/power/mem_sleep
	echo 2000 >/sys/power/pm_freeze_timeout
	for keyboard in /sys/devices/platform/i8042/serio*/power/wakeup; do
		echo enabled >$keyboard
	done
	for i in $(seq 8); do
		[ $i -le 4 ] || { kill -STOP -- -$load && sleep 1; }
		sleep_once "$1"
		[ $i -le 4 ] || kill -CONT -- -$load
		[ "$(nr_suspends)" = "$before" ] || return 0
	done
	fail "the machine does not sleep: $(dmesg | tail -n 20)"
}

copy_again_and_again() {
	local i
	for i in $(seq 200); do
		[ ! -e /run/enough ] || break
		cp -a /run/tree $MNT/tree.$i
		cp /run/large $MNT/large
		sync $MNT/large
		[ $i -lt 3 ] || rm -rf $MNT/tree.$((i - 2))
		echo $i >/run/copies
	done
}

suspend_under_load() { # s2idle|deep
	local i resets before
	before=$(nr_suspends)
	vblkctl bind $DISK
	mkfs.vblkfs -q -f $DISK
	mount -t fuse.vblkfs $DISK $MNT
	cp -a /run/tree $MNT/
	rm -f /run/enough
	: >/run/syslog
	set -m # a process group of its own
	copy_again_and_again &
	load=$!
	set +m
	for i in 1 2 3; do
		sleep 1
		suspend "$1"
	done
	touch /run/enough
	wait
	resets=$(vblkctl info --json $MNT | jq .resets)
	note "$(($(nr_suspends) - before)) suspends, $resets resets, $(cat /run/copies) copies"
	[ "$resets" -ge 1 ] || fail "the device was never reset"
	grep 'the machine was suspended: it is reset' /run/syslog || fail "the log does not say why"
	! grep 'may be lost' /run/syslog || fail "something may be lost"
	[ "$(stat_number $MNT errors)" = 0 ] || fail "requests failed"
	umount $MNT
	fsck.vblkfs -n $DISK
	mount -t fuse.vblkfs $DISK $MNT
	same_tree /run/tree $MNT/tree
	cmp /run/large $MNT/large
	same_tree /run/tree "$MNT/tree.$(cat /run/copies)"
	umount $MNT
}

test_a_suspend_to_idle_under_load_loses_nothing() {
	suspend_under_load s2idle
}

test_a_suspend_to_memory_under_load_loses_nothing() {
	suspend_under_load deep
}
