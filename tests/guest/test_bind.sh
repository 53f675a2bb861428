#!/bin/bash
# vblkctl list, bind and unbind: what they take, what they refuse and why
# guest: --smp 1 --timeout 900
# disk: 512M,serial=first
# disk: 512M,serial=spare
# disk: 256M
# shellcheck disable=SC2086 # inside sets MNT and PCI: no blanks in them
IN_USE=0000:00:05.0 # vda
SPARE=0000:00:06.0  # vdb
THIRD=0000:00:07.0  # vdc

hugepages() {
	cat /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
}

dev() { # ADDRESS: /dev/vda
	echo "/dev/$(block_of "$1")"
}

small_ext4() { # ADDRESS
	mkfs.ext4 -q -O ^has_journal -N 16 "$(dev "$1")" 2M
}

clear_disk() { # ADDRESS
	wipefs -qa "$(dev "$1")"
}

mount_in_use() {
	small_ext4 $IN_USE
	mkdir -p /run/m
	mount "$(dev $IN_USE)" /run/m
}

test_no_module_is_said() {
	mkdir -p /run/empty
	refuses 1 'uio_pci_generic.*modprobe' \
		unshare -m sh -c "mount --bind /run/empty /lib/modules && vblkctl bind $SPARE"
	[ "$(driver_of $SPARE)" = virtio-pci ] || fail "it changed the driver all the same"
}

test_vfio_without_an_iommu_is_refused() {
	refuses 1 'behind no IOMMU.*use uio_pci_generic' vblkctl bind --driver vfio-pci $SPARE
	[ "$(driver_of $SPARE)" = virtio-pci ] || fail "it changed the driver all the same"
}

# A kernel whose memory is in pieces grants none; here a file that cannot be written stands for it.
test_no_hugepages_to_reserve_is_said() {
	[ "$(hugepages)" = 0 ] || fail "hugepages are there already"
	modprobe uio_pci_generic
	echo 0 >/run/none
	# shellcheck disable=SC2016 # expanded inside
	refuses 1 'no hugepages could be reserved.*vm.nr_hugepages=64' unshare -m sh -c '
		mount --bind /run/none /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
		mount -o remount,bind,ro /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
		vblkctl bind "$1"' sh $SPARE
	[ "$(driver_of $SPARE)" = virtio-pci ] || fail "it changed the driver all the same"
	modprobe -r uio_pci_generic
}

test_bind_loads_the_module_and_reserves_hugepages() {
	[ "$(hugepages)" = 0 ] || fail "hugepages are there already"
	vblkctl bind $SPARE | tee /run/out
	grep -q 'loaded the module' /run/out || fail "loading is not said"
	grep -q 'reserved .* hugepages' /run/out || fail "reserving is not said"
	[ "$(hugepages)" -gt 0 ] || fail "no hugepages"
	[ "$(driver_of $SPARE)" = uio_pci_generic ] || fail "driver is $(driver_of $SPARE)"
	[ -z "$(block_of $SPARE)" ] || fail "the kernel still has it"
}

test_bind_and_unbind_may_be_repeated() {
	vblkctl bind $SPARE
	vblkctl bind ${SPARE#0000:} | grep -q already || fail "the second bind does not say 'already'"
	vblkctl unbind $SPARE | grep -q 'back with virtio-pci' || fail "unbind does not name the driver"
	[ -b "$(dev $SPARE)" ] || fail "the kernel did not get its disk back"
	vblkctl unbind $SPARE
	[ "$(driver_of $SPARE)" = virtio-pci ] || fail "driver is $(driver_of $SPARE)"
	[ "$(cat $PCI/$SPARE/driver_override)" = '(null)' ] || fail "driver_override is left behind"
}

test_bind_and_unbind_in_json() {
	vblkctl bind --json $SPARE | tee /run/out
	grep -q '"address": *"0000:00:06.0"' /run/out || fail "the address"
	grep -q '"driver": *"uio_pci_generic"' /run/out || fail "the driver"
	grep -q '"bytes": *536870912' /run/out || fail "the size"
	grep -q '"serial": *"spare"' /run/out || fail "the serial"
	vblkctl unbind --json $SPARE | tee /run/out
	grep -q '"driver": *"virtio-pci"' /run/out || fail "the driver after unbind"
	grep -q '"device": *"vd' /run/out || fail "the block device after unbind"
	refuses 1 'nonsense' vblkctl stat nonsense
	refuses 1 'no vblkfs is mounted' vblkctl stat $SPARE
	[ "$(vblkctl stat --json | tr -d ' \n')" = '[]' ] || fail "stat --json without a mount"
}

test_list_shows_every_disk_its_driver_and_its_user() {
	mount_in_use
	vblkctl bind $SPARE
	vblkctl list | tee /run/out
	umount /run/m
	clear_disk $IN_USE
	grep -qE "^$IN_USE +1af4:1001 +virtio-pci +vda +512.0 MiB +first +vda is mounted at /run/m" \
		/run/out || fail "vda's line"
	grep -qE "^$SPARE +1af4:1001 +uio_pci_generic +uio0 +512.0 MiB +spare +-" \
		/run/out || fail "the bound disk's line"
	[ "$(wc -l </run/out)" = 4 ] || fail "there are three disks"
	vblkctl list --json | tee /run/out
	[ "$(grep -c '"address":' /run/out)" = 3 ] || fail "three in JSON"
}

test_a_mounted_disk_is_refused_even_by_force() {
	mount_in_use
	refuses 1 'mounted at /run/m' vblkctl bind $IN_USE
	refuses 1 'mounted at /run/m' vblkctl bind --force $IN_USE
	umount /run/m
	clear_disk $IN_USE
}

test_a_disk_with_a_mounted_partition_is_refused() {
	local disk
	disk=$(dev $IN_USE)
	printf '1M,100M\n' | sfdisk -q "$disk"
	mkfs.ext4 -q -O ^has_journal -N 16 "${disk}1" 2M
	mkdir -p /run/m
	mount "${disk}1" /run/m
	refuses 1 '1 is mounted at /run/m' vblkctl bind --force $IN_USE
	umount /run/m
	refuses 1 'force' vblkctl bind $IN_USE # the partition table is a signature
	sfdisk -q --delete "$disk"
	clear_disk $IN_USE
}

test_swap_is_refused() {
	mkswap "$(dev $IN_USE)"
	swapon "$(dev $IN_USE)"
	refuses 1 'swap' vblkctl bind --force $IN_USE
	swapoff -a
	clear_disk $IN_USE
}

test_a_disk_under_device_mapper_is_refused() {
	modprobe dm-mod
	dmsetup create --noudevsync upper --table "0 8192 linear $(dev $IN_USE) 0"
	refuses 1 'is held by dm-0' vblkctl bind --force $IN_USE
	dmsetup remove --noudevsync upper
}

# What mdadm(8) does, by sysfs: the disk becomes a member.
test_a_member_of_an_md_array_is_refused() {
	local md=/sys/block/md_test/md
	modprobe -a md-mod raid1
	echo md_test >/sys/module/md_mod/parameters/new_array
	echo none >$md/metadata_version
	echo raid1 >$md/level
	echo 2 >$md/raid_disks
	cat "/sys/class/block/$(block_of $IN_USE)/dev" >$md/new_dev
	refuses 1 'is held by md_test' vblkctl bind --force $IN_USE
	vblkctl list | grep "^$IN_USE" | grep -q 'held by md_test' || fail "list does not say so"
	echo clear >$md/array_state
	vblkctl bind $IN_USE
	vblkctl unbind $IN_USE
}

test_a_disk_under_a_loop_device_is_refused() {
	local loop
	loop=$(losetup -f --show "$(dev $IN_USE)")
	refuses 1 "${loop#/dev/}" vblkctl bind --force $IN_USE
	losetup -d "$loop"
}

test_an_open_disk_is_refused() {
	exec 5<"$(dev $IN_USE)"
	refuses 1 "is open in process $BASHPID" vblkctl bind --force $IN_USE
	exec 5<&-
}

test_a_signature_is_refused_and_force_overrides_it() {
	small_ext4 $IN_USE
	refuses 1 'ext4.*--force' vblkctl bind $IN_USE
	vblkctl bind --force $IN_USE
	refuses 1 'ext4' mkfs.vblkfs $IN_USE
	mkfs.vblkfs -q -f $IN_USE
	mount -t fuse.vblkfs $IN_USE $MNT
	umount $MNT
	vblkctl unbind $IN_USE
	vblkctl bind $IN_USE # our own is no stranger's
	vblkctl unbind $IN_USE
	clear_disk $IN_USE
	dd if=/dev/zero of="$(dev $IN_USE)" bs=1M count=1 status=none
}

test_what_is_no_virtio_disk_is_refused() {
	refuses 1 '0000:00:02.0.*not a virtio' vblkctl bind 0000:00:02.0 # virtio, a serial port
	refuses 1 '0000:00:1f.2.*not a virtio' vblkctl bind 0000:00:1f.2 # AHCI
	refuses 1 '0000:00:13.0' vblkctl bind 0000:00:13.0		 # nothing
	refuses any 'nonsense' vblkctl bind nonsense
	[ "$(driver_of 0000:00:02.0)" = virtio-pci ] || fail "it changed the serial port's driver"
}

test_only_root_may() {
	refuses 1 'root' as_nobody vblkctl bind $SPARE
	vblkctl bind $SPARE
	mkfs.vblkfs -q $SPARE
	refuses any 'root|ermission' as_nobody mkfs.vblkfs -f $SPARE
	refuses any 'root|ermission' as_nobody vblkfs $SPARE $MNT
	refuses 1 'root' as_nobody vblkctl unbind $SPARE
	as_nobody vblkctl list >/dev/null
}

test_a_disk_that_is_not_bound_is_said_to_be_so() {
	refuses any 'vblkctl bind' mkfs.vblkfs -f $SPARE
	refuses 32 'vblkctl bind' mount -t fuse.vblkfs $SPARE $MNT
}

test_no_hugepages_is_said_with_the_command_that_helps() {
	local had
	vblkctl bind $SPARE
	mkfs.vblkfs -q -f $SPARE
	had=$(hugepages)
	sysctl -q vm.nr_hugepages=0
	refuses any 'vm.nr_hugepages' mkfs.vblkfs -f $SPARE
	refuses 32 'vm.nr_hugepages' mount -t fuse.vblkfs $SPARE $MNT
	sysctl -q vm.nr_hugepages="$had"
	mount -t fuse.vblkfs $SPARE $MNT
	umount $MNT
}

test_a_bound_disk_has_one_opener() {
	vblkctl bind $SPARE
	mkfs.vblkfs -q -f $SPARE
	mount -t fuse.vblkfs $SPARE $MNT
	mkdir -p /run/other
	refuses 32 'in use|busy|already' mount -t fuse.vblkfs $SPARE /run/other
	refuses any 'in use|busy|already' mkfs.vblkfs -f $SPARE
	refuses 1 'in use' vblkctl unbind $SPARE
	seq 1000 >$MNT/f
	[ "$(cat $MNT/f)" = "$(seq 1000)" ] || fail "the mount was disturbed"
	umount $MNT
}

test_a_disk_without_a_filesystem_is_not_mounted() {
	vblkctl bind $THIRD
	refuses 32 'no vblkfs|not a vblkfs|mkfs' mount -t fuse.vblkfs $THIRD $MNT
	refuses 1 'nonsense' mount -t fuse.vblkfs -o nonsense $THIRD $MNT
}

test_fstab_and_a_foreign_mkfs() {
	vblkctl bind $SPARE
	mkfs.vblkfs -q -f -L tab $SPARE
	echo "$SPARE $MNT fuse.vblkfs noauto,nofail,noatime,x-systemd.automount 0 0" >>/etc/fstab
	mount $MNT
	findmnt -n -o SOURCE $MNT | grep -q "^$SPARE" || fail "the source is $(findmnt -n -o SOURCE $MNT)"
	umount $MNT
	vblkctl unbind $SPARE
	! mkfs.ext4 -q "$(dev $SPARE)" </dev/null >/run/out 2>&1 || blkid -p "$(dev $SPARE)" ||
		fail "to others the disk looks empty"
}
