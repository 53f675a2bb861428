#!/bin/bash
# the life of a mount: killed, terminated, shared interrupt line, a real tree
# guest: --smp 1 --timeout 900
# disk: 2G,serial=main
# disk: 256M
# disk: 256M
# disk: 256M
# disk: 256M
# shellcheck disable=SC2086 # inside sets MNT: no blanks in it
DISK=0000:00:05.0
SAME_LINE=0000:00:09.0 # slots 5 and 9 share one interrupt line on this machine

fresh_mount() {
	vblkctl bind $DISK
	mkfs.vblkfs -q -f $DISK
	mount -t fuse.vblkfs $DISK $MNT
}

test_a_real_tree_is_the_same_after_a_remount() {
	local interrupts
	fresh_mount
	cp -a /run/linux $MNT/
	head -c 48M /dev/urandom >/run/big
	cp /run/big $MNT/
	interrupts=$(stat_number $MNT interrupts)
	note "interrupts $interrupts, kicks $(stat_number $MNT kicks), saved $(stat_number $MNT kicks_saved)"
	[ "$interrupts" -gt 0 ] || fail "no interrupts"
	[ "$(stat_number $MNT writes)" -gt 0 ] || fail "no writes are counted"
	if fsck.vblkfs -n $DISK 2>/run/fsck.err; then
		fail "a mounted disk was checked"
	fi
	note "fsck of a mounted disk: $(cat /run/fsck.err)"
	umount $MNT
	fsck.vblkfs -fyvt $DISK # on the disk itself, through our driver; 1: it has found something
	fsck.fuse.vblkfs -a $DISK
	mount -t fuse.vblkfs $DISK $MNT
	same_tree /run/linux $MNT/linux
	cmp /run/big $MNT/big
	umount $MNT
	rm /run/big
}

test_umount_returns_when_the_disk_is_free() {
	fresh_mount
	cp -a /run/tree /run/large $MNT/
	umount $MNT
	[ -z "$(pidof vblkfs)" ] || fail "the daemon is still there"
	vblkctl unbind $DISK
	vblkctl bind $DISK # our own signature is no reason to refuse
	mount -t fuse.vblkfs $DISK $MNT
	cmp /run/large $MNT/large
}

test_sigterm_unmounts_cleanly() {
	local pid
	fresh_mount
	cp -a /run/tree $MNT/
	pid=$(daemon_pid $MNT)
	kill -TERM "$pid"
	for _ in $(seq 100); do
		[ -d "/proc/$pid" ] || break
		sleep 0.1
	done
	[ ! -d "/proc/$pid" ] || fail "the daemon is still there after 10 s"
	! mountpoint -q $MNT || fail "still mounted"
	mount -t fuse.vblkfs $DISK $MNT
	same_tree /run/tree $MNT/tree
}

test_after_a_kill_the_disk_can_be_given_back() {
	fresh_mount
	cp -a /run/tree $MNT/
	kill -KILL "$(daemon_pid $MNT)"
	sleep 0.5
	umount $MNT
	[ -e /dev/hugepages/vblkfs-$DISK ] || fail "its DMA memory did not outlive it"
	vblkctl unbind $DISK
	[ ! -e /dev/hugepages/vblkfs-$DISK ] || fail "its DMA memory is still taken"
	[ -b "/dev/$(block_of $DISK)" ] || fail "the kernel did not get its disk back"
	dd if="/dev/$(block_of $DISK)" of=/dev/null bs=1M count=16 iflag=direct status=none
}

# What the disk does not have by then fails, and nothing waits for it. When the function comes back it
# is the kernel's: the daemon, which still has to end, must not touch its registers.
test_a_function_removed_under_load_fails_fast_and_unmounts() {
	local pid
	fresh_mount
	cp -a /run/tree $MNT/
	find $MNT/tree -type f -exec sync {} +
	pid=$(daemon_pid $MNT)
	(while cp -a /run/tree $MNT/copy && rm -rf $MNT/copy; do :; done) >/dev/null 2>&1 &
	(dd if=/dev/zero of=$MNT/zero bs=1M count=400 oflag=direct) >/dev/null 2>&1 &
	sleep 2
	echo 1 >/sys/bus/pci/devices/$DISK/remove
	refuses any "error|Read-only|No such device" timeout 10 dd if=/dev/zero of=$MNT/more bs=1M count=4 status=none
	wait || true
	[ -d "/proc/$pid" ] || fail "the daemon died: $(tail -n 3 /run/syslog)"
	echo 1 >/sys/bus/pci/rescan
	timeout 20 umount $MNT || true
	! mountpoint -q $MNT || fail "still mounted"
	[ -z "$(pidof vblkfs)" ] || fail "the daemon is still there"
	timeout 20 dd if="/dev/$(block_of $DISK)" of=/dev/null bs=1M count=4 iflag=direct status=none
	vblkctl bind $DISK
	mount -t fuse.vblkfs $DISK $MNT
	same_tree /run/tree $MNT/tree
}

# Of what the device reads, writes or is: VmFlags "dc" is "do not copy on fork". And no descriptor but the
# standard ones outlives an exec.
test_a_child_of_the_daemon_has_no_part_of_the_device() {
	local pid fd
	fresh_mount
	pid=$(daemon_pid $MNT)
	awk '/^[0-9a-f]+-/ { name = $6 } /^VmFlags:/ && name ~ /\/resource[0-9]|vblkfs-0000/ {
		n++; if (!/ dc( |$)/) { print "copied on fork: " name; bad = 1 } }
		END { print n " mappings"; exit bad || n < 2 }' "/proc/$pid/smaps"
	for fd in "/proc/$pid/fdinfo"/*; do
		[ "${fd##*/}" -gt 2 ] || continue
		grep -qE '^flags:.*[2367][0-7]{6}$' "$fd" || fail "not closed on exec: $(ls -l "${fd/fdinfo/fd}")"
	done
	umount $MNT
}

test_two_disks_on_one_interrupt_line() {
	local irq dir
	irq=$(cat /sys/bus/pci/devices/$DISK/irq)
	fresh_mount
	vblkctl bind $SAME_LINE
	[ "$(cat /sys/bus/pci/devices/$SAME_LINE/irq)" = "$irq" ] || fail "they are on lines of their own"
	mkfs.vblkfs -q -f $SAME_LINE
	mkdir -p /run/second
	mount -t fuse.vblkfs $SAME_LINE /run/second
	cp -a /run/tree /run/large $MNT/ &
	cp -a /run/tree /run/large /run/second/
	wait
	for dir in $MNT /run/second; do
		note "$dir: $(stat_number $dir interrupts) interrupts"
		[ "$(stat_number $dir interrupts)" -gt 0 ] || fail "no interrupts at $dir"
		[ "$(stat_number $dir errors)" = 0 ] || fail "requests failed at $dir"
	done
	! dmesg | grep 'nobody cared' || fail "the line was shut"
	umount $MNT /run/second
	mount -t fuse.vblkfs $DISK $MNT
	mount -t fuse.vblkfs $SAME_LINE /run/second
	same_tree /run/tree $MNT/tree
	same_tree /run/tree /run/second/tree
	cmp /run/large $MNT/large
	cmp /run/large /run/second/large
	umount $MNT /run/second
}
