#!/bin/bash
# what is done with the device of a mount: resize, trim, cache mode, reset; and what is seen of it
# guest: --smp 2 --monitor --timeout 600
# disk: 1G,num-queues=2,serial=device
# disk: mkfs,256M,iops=100000
# shellcheck disable=SC2086 # inside sets MNT: no blanks in it
. tests/guest/qemu.sh
DISK=0000:00:05.0
SLOW=0000:00:06.0

fresh_mount() {
	vblkctl bind $DISK
	mkfs.vblkfs -q -f $DISK
	mount -t fuse.vblkfs $DISK $MNT
}

info_of() { # TARGET FILTER of jq(1)
	vblkctl info --json "$1" | jq -r "$2"
}

# The text has what the JSON has.
says_the_same() {
	local line
	vblkctl info $MNT >/run/text
	vblkctl info --json $MNT >/run/json
	while read -r line; do
		grep -qxF "  $line" /run/text || fail "no '$line' in: $(cat /run/text)"
	done < <(jq -r '"block         \(.logical_bytes) bytes, physical \(.physical_bytes)",
		(.geometry | "geometry      \(.cylinders) cylinders, \(.heads) heads, \(.sectors) sectors"),
		(.topology | "topology      2^\(.physical_block_exp) blocks in a physical one, the first at \(.alignment_offset); " +
			"best I/O \(.min_io_size) to \(.opt_io_size) blocks"),
		(.queues[] | "\(.name)         \(.size) entries, requests of up to \(.segments) segments, \(.threads) threads")' /run/json)
	for line in common isr device notify; do
		grep -qE "^  $line +BAR [0-9] at 0x[0-9a-f]+, 0x[0-9a-f]+ bytes$" /run/text || fail "no $line in: $(cat /run/text)"
	done
}

test_info_is_the_same_mounted_or_not() {
	local what='[.serial, .bytes, .limits, .queues[0].size, [.features[] | select(.negotiated).name]] | tojson'
	local free mounted
	vblkctl bind $DISK
	free=$(info_of $DISK "$what")
	note "$free"
	fresh_mount
	mounted=$(info_of $MNT "$what")
	[ "$free" = "$mounted" ] || fail "free: $free; mounted: $mounted"
	[[ $free = *'"device",1073741824'*'"CONFIG_WCE"'*'"VERSION_1"'* ]] || fail "$free"
	[ "$(info_of $MNT '.status_names | last')" = DRIVER_OK ] || fail "its status"
	vblkctl info $MNT | grep -E '^ +32  VERSION_1 +yes$'
	says_the_same
	umount $MNT
}

# By the library alone: two threads on two rings, and what was written is read.
test_the_bare_device_is_benched_with_its_data_verified() {
	local figures
	vblkctl bind $DISK
	vblkctl bench --rw=randwrite --ios=2000 --queues=2 --iodepth=16 --destroy-data --force --verify serial=device
	vblkctl bench --rw=write --span=4M --ios=1024 --iodepth=8 --destroy-data --force --verify $DISK
	figures=$(vblkctl bench --json --rw=randread --span=4M --ios=1000 --queues=2 --iodepth=8 --verify $DISK |
		jq -c '[.transport, .rings, .ios, .errors, .interrupts + .kicks > 0]')
	[[ $figures = '["virtio-pci'*'",2,1000,0,true]' ]] || fail "$figures"
	vblkctl bench --rw=randrw --rwmixread=70 --span=4M --ios=1000 --iodepth=8 --destroy-data --force --verify $DISK
	vblkctl bench --rw=randwrite-zeroes --span=4M --ios=100 --iodepth=8 --destroy-data --force $DISK
	vblkctl bench --rw=randdiscard --span=4M --ios=100 --iodepth=8 --destroy-data --force $DISK
	fresh_mount
	! vblkctl bench --ios=1 $DISK 2>/run/err || fail "a mounted disk is benched"
	grep -q 'in use' /run/err || fail "$(cat /run/err)"
	umount $MNT
	! vblkctl bench --rw=write --ios=1 --destroy-data $DISK 2>/run/err || fail "a filesystem is overwritten"
	grep -q 'a vblkfs filesystem' /run/err || fail "$(cat /run/err)"
}

# Requests go on all the while; in the end all is as it was written.
test_reset_and_cache_mode_under_load() {
	local n=0 flushes
	fresh_mount
	cp -a /run/tree $MNT/
	(for i in 1 2 3; do cp -a /run/tree /run/large $MNT/ && sync $MNT/large; done) &
	while kill -0 $! 2>/dev/null && [ $n -lt 12 ]; do
		vblkctl reset $MNT
		vblkctl cache $MNT writethrough
		[ "$(vblkctl cache $MNT)" = writethrough ] || fail "the mode is not shown"
		vblkctl reset $MNT
		vblkctl cache $MNT writeback
		n=$((n + 1))
	done
	wait
	note "$n rounds; $(info_of $MNT '.resets') resets"
	[ "$(info_of $MNT '.resets')" = $((2 * n)) ] || fail "not $((2 * n)) resets"
	[ $n -gt 0 ] || fail "it was over before it began"
	[ "$(stat_number $MNT errors)" = 0 ] || fail "requests failed"
	flushes=$(stat_number $MNT flushes)
	[ "$flushes" -gt 0 ] || fail "no flushes"
	umount $MNT
	mount -t fuse.vblkfs $DISK $MNT
	same_tree /run/tree $MNT/tree
	cmp /run/large $MNT/large
	umount $MNT
}

# The reset waits for a device that has seconds to do; who only looks does not.
test_a_busy_device_is_looked_at_without_waiting() {
	local pid i
	vblkctl bind $SLOW
	mount -t fuse.vblkfs $SLOW $MNT
	dd if=/dev/zero of=$MNT/file bs=1M count=32 conv=fsync status=none
	limit_requests 1 1
	for i in $(seq 0 2 30); do
		dd if=$MNT/file of=/dev/null bs=1M count=1 skip=$i iflag=direct status=none &
	done
	vblkctl reset $MNT &
	pid=$!
	until [ "$(info_of $MNT .busy)" = true ]; do
		kill -0 $pid || fail "it was reset before anybody saw it"
	done
	vblkctl info $MNT | grep 'status  *busy' || fail "info does not say so"
	[ "$(info_of $MNT .limits)" = null ] || fail "it has limits"
	[ "$(stat_number $MNT errors)" = 0 ] || fail "no figures"
	kill -0 $pid || fail "that waited for the reset"
	limit_requests 1 100000
	wait
	[ "$(info_of $MNT '[.busy, .resets, .limits.seg_max > 0] | tojson')" = '[false,1,true]' ] ||
		fail "$(info_of $MNT .)"
	umount $MNT
}

host_bytes() { # what the image takes there
	qemu_ask '{"execute": "query-named-block-nodes"}' |
		jq '.return[] | select(."node-name" == "disk0").image."actual-size"'
}

test_trim_frees_the_hosts_space() {
	local full
	fresh_mount
	dd if=/dev/urandom of=$MNT/zero bs=1M count=64 conv=fsync status=none
	full=$(host_bytes)
	rm $MNT/zero
	vblkctl trim $MNT | grep -E 'MiB trimmed$'
	note "$full bytes on the host, $(host_bytes) after the trim"
	[ "$(host_bytes)" -le $((full - (60 << 20))) ] || fail "the host has not got it"
	[ "$(vblkctl stat --json $MNT | jq '[.rings[].latency.discard.buckets | add // 0] | add > 0')" = true ] ||
		fail "no discards"
	[ "$(stat_number $MNT errors)" = 0 ] || fail "requests failed"
	umount $MNT
}

resize_disk() { # BYTES
	qemu_ask "{\"execute\": \"block_resize\", \"arguments\": {\"node-name\": \"disk0\", \"size\": $1}}" >/dev/null
}

test_capacity_follows_the_host_and_a_shrunk_disk_goes_on() {
	fresh_mount
	cp -a /run/tree $MNT/
	resize_disk $((2 << 30))
	for _ in $(seq 50); do
		[ "$(info_of $MNT .bytes)" = $((2 << 30)) ] && break
		sleep 0.1
	done
	[ "$(info_of $MNT .bytes)" = $((2 << 30)) ] || fail "not grown: $(info_of $MNT .bytes)"
	resize_disk $((512 << 20))
	for _ in $(seq 50); do
		[ "$(info_of $MNT .smaller_than_used)" = true ] && break
		sleep 0.1
	done
	[ "$(info_of $MNT .smaller_than_used)" = true ] || fail "it does not say that the disk is too small"
	grep "shrinks from .* are in use" /run/syslog || fail "nor does the log"
	same_tree /run/tree $MNT/tree
	resize_disk $((1 << 30))
	for _ in $(seq 50); do
		[ "$(info_of $MNT .smaller_than_used)" = false ] && break
		sleep 0.1
	done
	cp -a /run/large $MNT/
	umount $MNT
	mount -t fuse.vblkfs $DISK $MNT
	same_tree /run/tree $MNT/tree
	cmp /run/large $MNT/large
	umount $MNT
}
