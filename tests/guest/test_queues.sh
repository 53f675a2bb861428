#!/bin/bash
# the driver on disks of every kind: queues, ring sizes, features, block sizes, read-only
# guest: --smp 2 --timeout 900
# disk: 256M,num-queues=1
# disk: 256M,num-queues=2,queue-size=1024
# disk: 256M,num-queues=4
# disk: 256M,num-queues=1,queue-size=4
# disk: 256M,packed=on
# disk: 256M,write-cache=off,config-wce=off
# disk: mkfs,256M,read-only=on
# disk: 256M,logical_block_size=4096,physical_block_size=4096
# disk: 256M,logical_block_size=512,physical_block_size=4096,indirect_desc=off
# disk: 256M,event_idx=off,discard=off,write-zeroes=off,disable-legacy=on
# disk: 256M,event_idx=off,indirect_desc=off,num-queues=2,queue-size=8
# disk: 256M,num-queues=2,disable-modern=on,serial=legacy
# shellcheck disable=SC2086 # inside sets MNT and PCI: no blanks in them
at() { # N: the address of the Nth disk
	printf '0000:00:%02x.0' $((4 + $1))
}

test_one_queue() {
	RINGS=1 exercise "$(at 1)"
}

test_two_queues_of_1024() {
	RINGS=2 exercise "$(at 2)"
}

test_four_queues() {
	RINGS=4 exercise "$(at 3)" -o workers=4
}

test_a_queue_of_4() {
	exercise "$(at 4)"
}

test_a_queue_cut_to_2() {
	exercise "$(at 1)" -o queue-size=2
}

test_a_queue_cut_to_16_without_indirect_descriptors() {
	exercise "$(at 9)" -o queue-size=16
}

test_packed_rings() {
	exercise "$(at 5)"
	exercise "$(at 5)" -o queue-size=4
}

test_packed_rings_are_what_the_device_gets() {
	vblkctl bind "$(at 5)"
	mkfs.vblkfs -q -f "$(at 5)"
	mount -t fuse.vblkfs "$(at 5)" $MNT
	vblkctl info $MNT >/run/info
	grep -qiE 'ring_packed' /run/info || fail "not among the features: $(cat /run/info)"
	umount $MNT
}

test_what_a_disk_cannot_do_is_not_benched() {
	local rw
	vblkctl bind "$(at 10)"
	for rw in discard randdiscard write-zeroes randwrite-zeroes; do
		refuses 1 'this disk cannot (discard|write zeroes)' \
			vblkctl bench --rw=$rw --ios=1 --destroy-data --force "$(at 10)"
	done
}

# One queue after the other, while all are written to; in the end all is as it was written.
resize_under_load() { # ADDRESS, NUMBER OF QUEUES
	local n sizes=(4 64 16 256 8 128 32)
	rm -f /run/enough
	vblkctl bind "$1"
	mkfs.vblkfs -q -f "$1"
	mount -t fuse.vblkfs -o workers=4 "$1" $MNT
	(until [ -e /run/enough ]; do cp -a /run/tree /run/large $MNT/ && sync $MNT/large; done) &
	for ((n = 0; n < 16; n++)); do
		vblkctl reset --queue=$((n % $2)) --size=${sizes[n % 7]} $MNT
	done
	touch /run/enough
	wait $!
	vblkctl info --json $MNT >/run/info
	[ "$(jq .queue_resets /run/info)" = $n ] || fail "not $n: $(cat /run/info)"
	[ "$(jq .resets /run/info)" = 0 ] || fail "the device was reset: $(cat /run/info)"
	[ "$(jq ".queues[$(((n - 1) % $2))].size" /run/info)" = ${sizes[(n - 1) % 7]} ] ||
		fail "not ${sizes[(n - 1) % 7]} entries: $(cat /run/info)"
	[ "$(stat_number $MNT errors)" = 0 ] || fail "requests failed"
	umount $MNT
	mount -t fuse.vblkfs "$1" $MNT
	same_tree /run/tree $MNT/tree
	cmp /run/large $MNT/large
	umount $MNT
}

test_queues_are_resized_under_load() {
	resize_under_load "$(at 3)" 4
}

test_packed_queues_are_resized_under_load() {
	resize_under_load "$(at 5)" 1
}

test_a_queue_that_can_not_be_reset_says_so() {
	vblkctl bind "$(at 3)"
	mkfs.vblkfs -q -f "$(at 3)"
	mount -t fuse.vblkfs "$(at 3)" $MNT
	refuses 1 'no such queue' vblkctl reset --queue=4 $MNT
	refuses 1 'a power of two' vblkctl reset --queue=0 --size=512 $MNT
	refuses 1 'a power of two' vblkctl reset --queue=0 --size=24 $MNT
	umount $MNT
}

test_without_a_write_cache() {
	exercise "$(at 6)"
}

test_a_read_only_disk_mounts_ro_and_says_why_not_rw() {
	vblkctl bind "$(at 7)"
	refuses any 'read-only' mkfs.vblkfs -f "$(at 7)"
	refuses 32 'read-only' mount -t fuse.vblkfs -o rw "$(at 7)" $MNT
	mount -t fuse.vblkfs -o ro "$(at 7)" $MNT
	ls -la $MNT
	refuses any 'Read-only' touch $MNT/f
	[ "$(stat_number $MNT writes)" = 0 ] || fail "it wrote"
	umount $MNT
}

test_blocks_of_4096() {
	exercise "$(at 8)"
}

test_no_event_index_no_discard_modern_only() {
	exercise "$(at 10)"
}

test_two_small_queues_without_indirect_or_event_index() {
	exercise "$(at 11)"
}

test_a_legacy_disk() {
	local disk
	disk=$(at 12)
	vblkctl list --json | jq -e --arg a "$disk" '.[] | select(.address == $a)' || fail "list does not have it"
	RINGS=2 exercise "$disk" -o spin_us=0
	vblkctl bind "$disk"
	mount -t fuse.vblkfs -o spin_us=0 "$disk" $MNT
	[ "$(vblkctl info --json $MNT | jq -r '.transport, .serial' | paste -sd ' ')" = "virtio-pci, legacy legacy" ] ||
		fail "$(vblkctl info $MNT)"
	vblkctl reset $MNT
	vblkctl cache $MNT writethrough
	cp -a /run/tree $MNT/again
	vblkctl sync $MNT
	same_tree /run/tree $MNT/again
	[ "$(stat_number $MNT interrupts)" -gt 0 ] || fail "no interrupts"
	[ "$(stat_number $MNT errors)" = 0 ] || fail "requests failed"
	umount $MNT
}

test_polling_only() {
	exercise "$(at 3)" -o poll
}

test_sleeping_at_once() {
	exercise "$(at 3)" -o spin_us=0
}
