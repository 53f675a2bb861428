#!/bin/bash
# demo-guest.sh WORK - the demo's part inside the guest. WORK/root is what make install made; vda
# holds include/ and modules.tar.
#
# Every command is shown as a user would type it, then run; one that fails ends the demo.
work=$1
disk=0000:00:05.0

say() {
	printf '\n\033[1m%s\033[0m\n' "$*"
}

fail() {
	printf '\ndemo: FAILED: %s\n' "$*"
	sed 's/^/  syslog: /' /run/syslog | tail -n 20
	exit 1
}

show() { # COMMAND LINE; tells how long it took when that is long
	local start=${EPOCHREALTIME/./} status tenths
	printf '# %s\n' "$1"
	eval "$1"
	status=$?
	tenths=$(((${EPOCHREALTIME/./} - start) / 100000))
	[ $tenths -lt 10 ] || printf '  (%d.%d s)\n' $((tenths / 10)) $((tenths % 10))
	return $status
}

run() {
	show "$1" || fail "'$1' ended with status $?"
}

run_refused() {
	if show "$1"; then
		fail "'$1' was not refused"
	fi
}

prepare() {
	busybox syslogd -O /run/syslog
	cp -a "$work/root/." /
	mkdir -p /mnt /srv
	mount /dev/vda /srv || fail "vda cannot be mounted"
	mount --bind /srv/include /usr/include
	touch /srv/modules.tar # a time with nanoseconds
}

prepare
say "Debian's kernel $(uname -r) with two virtio disks. vda is in use; vdb is spare."
run "vblkctl list"

say "Give the spare disk to user space, make a filesystem on it, mount it."
run "vblkctl bind $disk"
run_refused "vblkctl bind 0000:00:04.0"
run "mkfs.vblkfs -L demo $disk"
run "mount -t fuse.vblkfs $disk /mnt"
run "findmnt /mnt"
run "df -h /mnt"

say "Copy a real tree and a large file."
run "cp -a /usr/include /mnt/"
run "cp -a /srv/modules.tar /mnt/"
run "vblkctl stat /mnt"
run "grep uio /proc/interrupts"

say "Unmount, mount again, and compare every byte and every attribute."
run "umount /mnt"
run "mount -t fuse.vblkfs $disk /mnt"
run "diff -r --no-dereference /usr/include /mnt/include"
run "cmp /srv/modules.tar /mnt/modules.tar"
# Sizes and link counts of directories are each filesystem's own affair.
# shellcheck disable=SC2016 # evaluated by show
run 'list() {
    cd "$1" && find . -type d -printf "%p %y %m %U:%G %T@\n" -o -printf "%p %y %m %U:%G %n %s %T@ %l\n" | sort
}'
run "diff <(list /usr/include) <(list /mnt/include)"
run "diff <(list /srv | grep modules) <(list /mnt | grep '^./modules')"
run "vblkctl stat /mnt"
interrupts=$(vblkctl stat --json /mnt | awk -F: '/"interrupts"/ { n += $2 } END { print n + 0 }')
[ "$interrupts" -gt 0 ] || fail "no interrupt came from the disk"

say "Give it back to the kernel."
run "umount /mnt"
run "vblkctl unbind $disk"
run "vblkctl list"
run "dd if=/dev/vdb bs=4096 skip=1 count=1 status=none | od -A d -c -N 96"
[ "$(blockdev --getsize64 /dev/vdb)" = $((4 << 30)) ] || fail "the kernel sees another size of vdb"
[ "$(dd if=/dev/vdb bs=4096 skip=1 count=1 status=none | head -c 4)" = vbSB ] ||
	fail "the kernel reads another superblock"

files=$(find /usr/include -type f | wc -l)
mib=$(($(stat -c %s /srv/modules.tar) >> 20))
printf '\ndemo: passed: %d files of /usr/include and %d MiB in one more came back the same\n' "$files" "$mib"
