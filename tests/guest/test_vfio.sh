#!/bin/bash
# vfio-pci: DMA of ordinary memory by an IOMMU, a vector for each queue
# guest: --smp 2 --iommu --timeout 900
# disk: 256M,num-queues=2,iommu_platform=on,disable-legacy=on,serial=vectors
# disk: 256M,num-queues=4,vectors=3,packed=on,iommu_platform=on,disable-legacy=on
# disk: 256M,num-queues=2,vectors=0,iommu_platform=on,disable-legacy=on
# disk: 64M,serial=past-the-iommu
# disk: 64M,addr=0x3.0x7,iommu_platform=on,disable-legacy=on
# shellcheck disable=SC2086 # inside sets MNT and PCI: no blanks in them
DISK=0000:00:05.0
SHARED=0000:00:06.0   # has three vectors for four queues
LINE=0000:00:07.0     # has none
PLAIN=0000:00:08.0    # does not offer ACCESS_PLATFORM
NEIGHBOUR=0000:00:03.7 # its group has the host's files in it, too

hugepages() {
	cat /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
}

# The kernel's count of the interrupts whose line has PATTERN; nothing where it lists none.
interrupts() { # PATTERN
	awk -v pattern="$1" 'index($0, pattern) { n = 0; for (i = 2; $i ~ /^[0-9]+$/; i++) n += $i; print n }' \
		/proc/interrupts
}

begin() { # ADDRESS [-o OPTIONS]
	local address=$1
	shift
	vblkctl bind --driver vfio-pci $address
	mkfs.vblkfs -q -f $address
	mount -t fuse.vblkfs "$@" $address $MNT
}

test_bind_takes_no_hugepages_and_loads_the_module() {
	vblkctl bind --driver vfio-pci $DISK | tee /run/out
	grep -q 'loaded the module vfio-pci' /run/out || fail "loading is not said"
	grep -qE 'from virtio-pci to vfio-pci \(vfio/[0-9]+\)' /run/out || fail "the group is not said"
	[ "$(driver_of $DISK)" = vfio-pci ] || fail "driver is $(driver_of $DISK)"
	vblkctl list | tee /run/out
	grep -qE "^$DISK +1af4:1042 +vfio-pci +vfio/[0-9]+ +256.0 MiB +vectors +-" /run/out || fail "list"
	vblkctl bind --driver vfio-pci $DISK | grep -q 'bound to vfio-pci already' || fail "not 'already'"
	refuses 1 'bound to vfio-pci; run first: vblkctl unbind' vblkctl bind --driver uio_pci_generic $DISK
	vblkctl unbind $DISK | grep -q 'back with virtio-pci' || fail "unbind does not name the driver"
	[ -b "/dev/$(block_of $DISK)" ] || fail "the kernel did not get its disk back"
	[ "$(hugepages)" = 0 ] || fail "hugepages were reserved"
}

# UIO can't program the IOMMU that this disk goes by.
test_a_disk_behind_an_iommu_gets_vfio_without_being_asked() {
	vblkctl bind $DISK
	[ "$(driver_of $DISK)" = vfio-pci ] || fail "driver is $(driver_of $DISK)"
	vblkctl unbind $DISK
	vblkctl bind $PLAIN
	[ "$(driver_of $PLAIN)" = uio_pci_generic ] || fail "driver is $(driver_of $PLAIN)"
	vblkctl unbind $PLAIN
	sysctl -q vm.nr_hugepages=0
}

# The work of each queue comes by a vector of its own; a poll that never spins has to sleep.
test_each_queue_has_a_vector() {
	begin $DISK -o workers=2,spin_us=0
	vblkctl info $MNT | tee /run/out
	grep -q 'virtio-pci, modern, by vfio-pci' /run/out || fail "the driver"
	grep -q 'MSI-X, 3 vectors' /run/out || fail "the vectors"
	grep -qE 'ACCESS_PLATFORM +yes' /run/out || fail "the feature"
	for i in 1 2 3 4; do
		cp /run/large $MNT/large$i &
	done
	wait
	vblkctl sync $MNT
	echo 3 >/proc/sys/vm/drop_caches
	for i in 1 2 3 4; do
		cmp /run/large $MNT/large$i &
	done
	wait
	grep vfio /proc/interrupts
	[ "$(interrupts "vfio-msix[0]($DISK)")" -ge 0 ] || fail "no vector for the configuration"
	[ "$(interrupts "vfio-msix[1]($DISK)")" -gt 0 ] || fail "nothing came by the first queue's"
	[ "$(interrupts "vfio-msix[2]($DISK)")" -gt 0 ] || fail "nothing came by the second queue's"
	[ "$(stat_number $MNT interrupts)" -gt 0 ] || fail "stat shows no interrupts"
	[ "$(hugepages)" = 0 ] || fail "hugepages were reserved"
	umount $MNT
	vblkctl unbind $DISK
}

# VmFlags "dc" is "do not copy on fork"; a page of registers has it because an access to it that fails is caught.
test_registers_are_guarded_and_not_a_childs() {
	begin $DISK
	awk '/^[0-9a-f]+-/ { name = $6 } /^VmFlags:/ && name ~ /vfio-device/ {
		n++; if (!/ dc( |$)/) { print "copied on fork: " name; bad = 1 } }
		END { print n + 0 " mappings"; exit bad || n < 1 }' "/proc/$(daemon_pid $MNT)/smaps"
	umount $MNT
	vblkctl unbind $DISK
}

test_vectors_are_back_after_a_reset() {
	local before
	begin $DISK -o spin_us=0
	vblkctl reset $MNT
	before=$(interrupts "vfio-msix[1]($DISK)")
	cp -a /run/tree $MNT/
	vblkctl sync $MNT
	[ "$(interrupts "vfio-msix[1]($DISK)")" -gt "$before" ] || fail "no interrupt since the reset"
	[ "$(stat_number $MNT errors)" = 0 ] || fail "requests failed"
	umount $MNT
	vblkctl unbind $DISK
}

test_queues_share_when_vectors_are_few() {
	begin $SHARED -o workers=4,spin_us=0
	vblkctl info $MNT | grep -q 'MSI-X, 3 vectors' || fail "$(vblkctl info $MNT)"
	cp -a /run/tree /run/large $MNT/
	umount $MNT
	mount -t fuse.vblkfs $SHARED $MNT
	same_tree /run/tree $MNT/tree
	cmp /run/large $MNT/large
	umount $MNT
	vblkctl unbind $SHARED
}

test_a_disk_without_vectors_has_its_line() {
	begin $LINE -o spin_us=0
	vblkctl info $MNT | grep -qE 'interrupt +yes' || fail "$(vblkctl info $MNT)"
	cp /run/large $MNT/
	umount $MNT
	mount -t fuse.vblkfs $LINE $MNT
	cmp /run/large $MNT/large
	[ "$(interrupts "vfio-intx($LINE)")" -gt 0 ] || fail "no interrupt came"
	umount $MNT
	vblkctl unbind $LINE
}

test_a_killed_daemon_is_remounted() {
	local pid
	begin $DISK
	cp /run/large $MNT/large
	vblkctl sync $MNT
	cp -a /run/tree $MNT/ # some of it is under way
	pid=$(daemon_pid $MNT)
	kill -KILL $pid
	umount -l $MNT
	mount -t fuse.vblkfs serial=vectors $MNT
	cmp /run/large $MNT/large
	cp -a /run/linux/netfilter $MNT/
	diff -r /run/linux/netfilter $MNT/netfilter
	umount $MNT
	fsck.vblkfs -n $DISK
	vblkctl unbind $DISK
}

test_who_may_not_have_a_bound_disk_is_told_why() {
	begin $DISK
	mkdir -p /run/other
	refuses 32 'in use by process' mount -t fuse.vblkfs $DISK /run/other
	refuses 1 'is open in process' vblkctl unbind $DISK
	umount $MNT
	exec 5<>"/dev/vfio/$(basename "$(readlink $PCI/$DISK/iommu_group)")"
	refuses any 'open in another program' mkfs.vblkfs -f $DISK
	exec 5<&-
	refuses any 'root' as_nobody vblkfs $DISK $MNT
	refuses any 'RLIMIT_MEMLOCK is 64 KiB' prlimit --memlock=65536:65536 \
		setpriv --bounding-set -ipc_lock,-sys_resource mkfs.vblkfs -f $DISK
	vblkctl unbind $DISK
}

# The lock in /run/vblkfs is root's; what keeps two from one disk here is the kernel's.
test_a_user_may_have_the_disk_whose_group_is_the_users() {
	local group dir=/run/user-mount
	vblkctl bind --driver vfio-pci $DISK
	group=/dev/vfio/$(basename "$(readlink $PCI/$DISK/iommu_group)")
	refuses any "$group: Permission denied; run as root, or give it to this user" as_nobody mkfs.vblkfs -f $DISK
	chown nobody "$group"
	chmod 666 /dev/fuse # as udev does
	export XDG_RUNTIME_DIR=$dir/run
	install -d -o nobody -m 700 $dir $dir/run $dir/mnt
	ulimit -l unlimited
	as_nobody mkfs.vblkfs -q -f $DISK
	as_nobody vblkfs $DISK $dir/mnt
	as_nobody vblkctl info --json $dir/mnt | jq -e '.driver == "vfio-pci"'
	refuses any 'open in another program' mkfs.vblkfs -f $DISK
	refuses any 'open in another program' as_nobody mkfs.vblkfs -f $DISK
	refuses 1 'is open in process' vblkctl unbind $DISK
	as_nobody umount $dir/mnt
	mount -t fuse.vblkfs $DISK $MNT
	refuses any 'open in another program' as_nobody vblkfs $DISK $dir/mnt
	umount $MNT
	vblkctl unbind $DISK
}

test_a_disk_bound_to_uio_is_roots() {
	vblkctl bind $PLAIN
	refuses any 'bound to uio_pci_generic: root is needed' as_nobody mkfs.vblkfs -f $PLAIN
	vblkctl unbind $PLAIN
	sysctl -q vm.nr_hugepages=0
}

# The kernel waits for who has the device: it must be let go, mounted or not.
test_a_disk_that_is_taken_away_is_let_go_at_once() {
	begin $DISK
	cp -a /run/tree $MNT/
	timeout 20 sh -c "echo $DISK >/sys/bus/pci/drivers/vfio-pci/unbind" || fail "the kernel waits still"
	[ "$(driver_of $DISK)" = none ] || fail "it is bound still"
	! timeout 20 sh -c "echo x >$MNT/f && sync $MNT/f" || fail "written to a disk that is not there"
	umount $MNT || true # it says what was lost
	echo $DISK >/sys/bus/pci/drivers/vfio-pci/bind
	mount -t fuse.vblkfs $DISK $MNT
	ls $MNT
	umount $MNT
	vblkctl unbind $DISK
}

test_what_vfio_cannot_serve_is_refused() {
	refuses 1 'goes past the IOMMU.*uio_pci_generic' vblkctl bind --driver vfio-pci $PLAIN
	[ "$(driver_of $PLAIN)" = virtio-pci ] || fail "it changed the driver all the same"
	refuses 1 'group [0-9]+ has 0000:00:03.0 .driver virtio-pci. in it, too' \
		vblkctl bind --driver vfio-pci $NEIGHBOUR
	vblkctl unbind $PLAIN
	refuses 2 'no such driver: nonsense' sh -c "vblkctl bind --driver nonsense $DISK 2>&1 | head -1 >&2; exit 2"
	mkdir -p /run/empty
	modprobe -r vfio-pci
	refuses 1 'vfio-pci.*modprobe' \
		unshare -m sh -c "mount --bind /run/empty /lib/modules && vblkctl bind --driver vfio-pci $DISK"
	[ "$(driver_of $DISK)" = virtio-pci ] || fail "it changed the driver all the same"
}

# By hand, past the checks of bind.
test_a_device_that_goes_past_the_iommu_is_not_driven() {
	modprobe vfio-pci
	echo $PLAIN >$PCI/$PLAIN/driver/unbind
	echo vfio-pci >$PCI/$PLAIN/driver_override
	echo $PLAIN >/sys/bus/pci/drivers/vfio-pci/bind
	refuses any 'goes past the IOMMU' mkfs.vblkfs -f $PLAIN
	vblkctl unbind $PLAIN
	[ "$(driver_of $PLAIN)" = virtio-pci ] || fail "driver is $(driver_of $PLAIN)"
}
