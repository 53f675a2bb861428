#!/bin/bash
# boot.sh [BUILD] - Debian boots by its own systemd, with disks of ours in /etc/vblkfs/bind.conf and
# /etc/fstab: what is installed binds and mounts them, and a shutdown unmounts them. One line a test.
#
# Two boots of the same system, with a reboot between them; the disks are judged on this machine after
# each. boot.sh --inside BOOT is the guest's part.
set -euo pipefail

fail() {
	echo "FAILED: boot: $*" >&2
	exit 1
}

ok() {
	echo "ok      $*"
}

# --- in the guest ---

is_mounted() { # SOURCE DIR
	[ "$(findmnt -n -o SOURCE,FSTYPE "$2" | tr -s ' ')" = "$1 fuse.vblkfs" ] ||
		fail "$1 is not at $2: $(journalctl -b --no-pager | grep -E 'vblk|data|udev' | tail -n 40)"
}

when() { # UNIT: microseconds since the boot
	systemctl show --value -p ActiveEnterTimestampMonotonic "$1"
}

failed_units() {
	systemctl --failed --plain --no-legend | awk '{print $1}' | paste -sd ' '
}

daemon_of() { # SOURCE: is there one?
	local arguments
	arguments=$(cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' '\n') # before grep, which has it, too
	grep -qxF "$1" <<<"$arguments"
}

other_boot_than() { # DIRECTORY: is what an earlier boot has written there?
	[ "$(cat "$1/boot")" != "$(cat /proc/sys/kernel/random/boot_id)" ] || fail "$1 is of this boot"
	seq 100000 | cmp - "$1/file"
}

inside_first() {
	is_mounted 0000:00:05.0 /data/address
	is_mounted serial=second /data/serial
	is_mounted label=third /data/label
	is_mounted "uuid=$(cat /etc/uuid)" /data/uuid
	ok "each_line_of_fstab_is_mounted_at_boot"
	[ "$(when data-address.mount)" -le "$(when local-fs.target)" ] || fail "local-fs.target came before the mount"
	ok "the_boot_waits_for_what_is_not_nofail"
	[ "$(failed_units)" = data-missing.mount ] || fail "failed units: $(failed_units)"
	journalctl -b --no-pager -u data-missing.mount | grep -q 'serial=missing: not found on . bound disks' ||
		fail "$(journalctl -b --no-pager -u data-missing.mount)"
	ok "a_missing_disk_that_is_nofail_does_not_hold_up_the_boot"
	[ "$(blkid -o value -s TYPE /dev/vda)" = ext4 ] || fail "vda is not the system's"
	[ "$(lsblk -dno NAME | paste -sd ' ')" = vda ] || fail "the kernel still has one: $(lsblk)"
	for dir in /data/{address,serial,label,uuid}; do
		cat /proc/sys/kernel/random/boot_id >"$dir/boot"
		seq 100000 >"$dir/file" # and no sync: the shutdown has to see to that
	done
}

inside_second() {
	for dir in /data/{address,serial,label}; do
		other_boot_than "$dir"
	done
	ok "what_was_written_is_there_after_a_reboot"
	[ "$(failed_units | tr ' ' '\n' | sort | paste -sd ' ')" = "data-missing.mount data-uuid.mount" ] ||
		fail "failed units: $(failed_units)"
	systemctl is-active --quiet multi-user.target || fail "not up"
	daemon_of label=third || fail "no daemon has that source"
	systemctl stop data-label.mount
	until ! daemon_of label=third; do
		sleep 0.1
	done
	vblkctl unbind 0000:00:07.0
	vblkctl bind 0000:00:07.0
	systemctl start data-label.mount
	other_boot_than /data/label
	ok "a_mount_is_stopped_and_started_as_a_unit"
	# It holds /data/serial, which is nofail, until systemd ends all processes.
	# shellcheck disable=SC2016 # expanded there
	systemd-run -q -p DefaultDependencies=no -p KillMode=none sh -c 'trap "" TERM HUP; cd /data/serial &&
		exec >late && while :; do date; done'
	until [ -s /data/serial/late ]; do
		sleep 0.1
	done
}

if [ "${1:-}" = --inside ]; then
	"inside_$2"
	exit
fi

# --- on this machine ---

cd "$(dirname "$0")/../.."
build=${1:-build}
# shellcheck source=tests/guest/kernel.sh
. tests/guest/kernel.sh
# shellcheck source=tests/guest/system.sh
. tests/guest/system.sh

lay_files() { # DIRECTORY
	local uuid
	uuid=$("$build/vblkctl" dump "$work/disk3.img" | sed -n 's/.* fs_uuid \([-0-9a-f]*\).*/\1/p')
	make -s O="$build" DESTDIR="$1" PREFIX=/usr install
	mkdir -p "$1"/{usr/local/sbin,etc/vblkfs} "$1"/data/{address,serial,label,uuid,missing}
	cp tests/guest/boot.sh "$1/usr/local/sbin/"
	echo "$uuid" >"$1/etc/uuid"
	printf '%s\n' 0000:00:05.0 serial=second serial=third serial=fourth serial=missing >"$1/etc/vblkfs/bind.conf"
	cat >"$1/etc/fstab" <<-END
		0000:00:05.0 /data/address fuse.vblkfs defaults 0 0
		serial=second /data/serial fuse.vblkfs nofail 0 2
		label=third /data/label fuse.vblkfs defaults 0 0
		uuid=$uuid /data/uuid fuse.vblkfs nofail 0 0
		serial=missing /data/missing fuse.vblkfs nofail 0 0
	END
}

boot() { # NAME, NUMBER OF DISKS
	local i disks=()
	for ((i = 0; i < $2; i++)); do
		disks+=(--disk "$work/disk$i.img,serial=${serials[i]}")
	done
	VBLKFS_BOOT_LIMIT=300 tests/guest/run --timeout 600 --system "$work/system.img" --files "$work/files" "${disks[@]}" \
		-- boot.sh --inside "$1"
}

# Without the next mount's help: nothing is left to be recovered.
all_clean() { # NUMBER OF MOUNTS, DISK...
	local mounts=$1 disk state
	shift
	for disk in "$@"; do
		state=$("$build/vblkctl" dump "$work/$disk.img" | awk '$1 == "state" || $1 == "mount_count" {print $2}' | paste -sd ' ')
		[ "$state" = "clean $mounts" ] || fail "$disk: $state, not clean after $mounts mounts"
		"$build/fsck.vblkfs" -fn "$work/$disk.img" >"$work/fsck" 2>&1 || fail "$disk: $(cat "$work/fsck")"
	done
}

prepare_kernel 0
system=$(prepare_system)
work=$(mktemp -d "${TMPDIR:-/tmp}/vblkfs-boot.XXXXXX")
trap 'rm -rf "$work"' EXIT
cp --sparse=always "$system" "$work/system.img"
serials=(first second third fourth)
for i in "${!serials[@]}"; do
	truncate -s 256M "$work/disk$i.img"
	"$build/mkfs.vblkfs" -q -L "${serials[i]}" "$work/disk$i.img"
done
lay_files "$work/files"
boot first 4
all_clean 1 disk0 disk1 disk2 disk3
ok "a_reboot_leaves_all_of_them_clean"
boot second 3
all_clean 2 disk0 disk1
all_clean 3 disk2
all_clean 1 disk3
ok "so_does_one_with_a_process_that_holds_on_to_a_mount"
