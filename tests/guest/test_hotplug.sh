#!/bin/bash
# disks that udev binds: at boot, and when they are plugged in; and one that is pulled out
# guest: --smp 2 --monitor --timeout 400 --qemu -device --qemu pcie-root-port,id=port0,bus=pcie.0,addr=0x10,chassis=1
# disk: 256M,serial=listed
# disk: 256M,serial=other
# shellcheck disable=SC2086,SC2154 # inside sets MNT: no blanks in it; and work
. tests/guest/qemu.sh
LISTED=0000:00:05.0
OTHER=0000:00:06.0
HOT=0000:01:00.0 # behind the port

start_udev() {
	mkdir -p /etc/vblkfs
	[ ! -e /run/udev/control ] || return 0
	SYSTEMD_LOG_TARGET=console /lib/systemd/systemd-udevd >/run/udev.log 2>&1 &
	until udevadm control --ping 2>/dev/null; do
		sleep 0.1
	done
}

coldplug() { # as at boot; the disks only, since all else takes long
	udevadm trigger --action=add --subsystem-match=virtio --subsystem-match=block
	udevadm settle
}

give_back() { # ADDRESS: and let the list have it again, as after a boot
	vblkctl unbind $1
	udevadm settle # which is told of it
	rm -f /run/vblkfs/$1.unbound
}

wait_for_driver() { # ADDRESS DRIVER
	for _ in $(seq 200); do
		[ "$(driver_of $1)" != "$2" ] || return 0
		sleep 0.1
	done
	fail "$1 is with $(driver_of $1), not with $2"
}

make_hot_disk() {
	qemu_ask '{"execute": "blockdev-create", "arguments": {"job-id": "create",
		"options": {"driver": "file", "filename": "'$work'/hot.img", "size": 268435456}}}' >/dev/null
	qemu_ask '{"execute": "blockdev-add", "arguments": {"driver": "raw", "node-name": "hot",
		"file": {"driver": "file", "filename": "'$work'/hot.img"}}}' >/dev/null
}

plug() {
	qemu_ask '{"execute": "device_add", "arguments": {"driver": "virtio-blk-pci", "id": "hot", "bus": "port0",
		"drive": "hot", "serial": "hot"}}' >/dev/null
}

test_disks_on_the_list_are_bound_at_boot_and_no_others() {
	start_udev
	printf '# ours\n\n serial=listed # the first\n0000:00:17.0\n' >/etc/vblkfs/bind.conf
	coldplug
	[ "$(driver_of $LISTED)" = uio_pci_generic ] || fail "$LISTED is with $(driver_of $LISTED): $(cat /run/udev.log)"
	[ "$(driver_of $OTHER)" = virtio-pci ] || fail "$OTHER is with $(driver_of $OTHER)"
	mkfs.vblkfs -q -f $LISTED
	mount -t fuse.vblkfs serial=listed $MNT
	umount $MNT
}

# Given back by hand it stays with the kernel, until it is bound by hand.
test_what_was_unbound_by_hand_is_left_alone() {
	vblkctl bind --listed
	[ "$(driver_of $LISTED)" = virtio-pci ] || fail "bound in spite of the unbind after the last test"
	vblkctl bind $LISTED
	vblkctl unbind $LISTED
	coldplug
	[ "$(driver_of $LISTED)" = virtio-pci ] || fail "$LISTED is with $(driver_of $LISTED)"
	vblkctl bind $LISTED
	rm -f /run/vblkfs/$LISTED.unbound
	vblkctl unbind $LISTED
	rm -f /run/vblkfs/$LISTED.unbound
	vblkctl bind --listed
	[ "$(driver_of $LISTED)" = uio_pci_generic ] || fail "$LISTED is with $(driver_of $LISTED)"
}

# Both are at it at about the same time when the machine boots.
test_a_mount_waits_for_udev_to_bind_a_disk_on_the_list() {
	local mount
	start_udev
	vblkctl bind $OTHER
	mkfs.vblkfs -q -f -L waited $OTHER
	give_back $OTHER
	printf 'serial=other\n' >/etc/vblkfs/bind.conf
	refuses 32 'no such PCI function' timeout 50 mount -t fuse.vblkfs 0000:00:17.0 $MNT
	mount -t fuse.vblkfs label=waited $MNT &
	mount=$!
	until [ -n "$(pidof vblkfs)" ] || ! kill -0 $mount 2>/dev/null; do
		sleep 0.1
	done
	coldplug
	wait $mount || fail "it did not wait"
	mountpoint -q $MNT || fail "not mounted"
	refuses 32 'not found on 1 bound disks' timeout 50 mount -t fuse.vblkfs serial=missing /media
	umount $MNT
	give_back $OTHER
}

test_a_list_that_makes_no_sense_is_said() {
	printf 'serial=\n' >/etc/vblkfs/bind.conf
	refuses 1 '/etc/vblkfs/bind.conf:1: neither' vblkctl bind --listed $OTHER
	echo $OTHER >/etc/vblkfs/bind.conf
	mkfs.ext4 -q -O ^has_journal -N 16 "/dev/$(block_of $OTHER)" 2M
	refuses 1 'ext4' vblkctl bind --listed
	wipefs -qa "/dev/$(block_of $OTHER)"
}

test_a_disk_that_is_plugged_in_is_bound_and_one_pulled_out_under_load_fails_fast() {
	local pid
	start_udev
	printf '# %0300d\nnonsense\nserial=hot\n' 1 >/etc/vblkfs/bind.conf
	make_hot_disk
	plug
	wait_for_driver $HOT uio_pci_generic
	mkfs.vblkfs -q -f $HOT
	mount -t fuse.vblkfs serial=hot $MNT
	cp -a /run/tree $MNT/
	find $MNT/tree -type f -exec sync {} +
	pid=$(daemon_pid $MNT)
	(while cp -a /run/tree $MNT/copy && rm -rf $MNT/copy; do :; done) >/dev/null 2>&1 &
	(dd if=/dev/zero of=$MNT/zero bs=1M count=150 oflag=direct) >/dev/null 2>&1 &
	sleep 1
	qemu_ask '{"execute": "device_del", "arguments": {"id": "hot"}}' >/dev/null
	for _ in $(seq 200); do
		[ -e /sys/bus/pci/devices/$HOT ] || break
		sleep 0.1
	done
	[ ! -e /sys/bus/pci/devices/$HOT ] || fail "it is not pulled out"
	refuses any "error|Read-only|No such device" timeout 10 dd if=/dev/zero of=$MNT/more bs=1M count=4 status=none
	wait %?cp %?dd || true
	[ -d "/proc/$pid" ] || fail "the daemon died: $(tail -n 3 /run/syslog)"
	grep "vblkfs\[$pid\].*the device is gone" /run/syslog || fail "the log does not say so"
	[ "$(vblkctl info --json $MNT | jq -r .serial)" = hot ] || fail "the daemon answers no questions"
	timeout 20 umount $MNT || true
	! mountpoint -q $MNT || fail "still mounted"
	[ -z "$(pidof vblkfs)" ] || fail "the daemon is still there"
	[ ! -e /dev/hugepages/vblkfs-$HOT ] || fail "its DMA memory is still taken"
	plug
	wait_for_driver $HOT uio_pci_generic
	mount -t fuse.vblkfs serial=hot $MNT
	same_tree /run/tree $MNT/tree
	umount $MNT
}
