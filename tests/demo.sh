#!/bin/bash
# demo.sh [BUILD] - the main job before your eyes: boot a guest with two disks and run demo-guest.sh
# in it. Ends with one plain line of success, and with a status other than 0 on any difference.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}
work=$(mktemp -d "${TMPDIR:-/tmp}/vblkfs-demo.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Installed as a user would, into a tree that the guest lays over its own root.
make -s O="$build" DESTDIR="$work/root" PREFIX=/usr install

# What is copied lies on the guest's own disk, and not on the host's, which it reaches too slowly:
# /usr/include, and a large file that is not made of zeroes, the guest kernel's own modules.
mkdir "$work/system"
cp -a /usr/include "$work/system/include"
(tar -C "${VBLKFS_CACHE:-.cache}/kernel" -cf - . 2>/dev/null || true) |
	head -c 160M >"$work/system/modules.tar"
if [ "$(stat -c %s "$work/system/modules.tar")" -lt $((100 << 20)) ]; then
	echo "demo: the large file is too small" >&2
	exit 1
fi
truncate -s 1G "$work/system.img"
mke2fs -q -t ext4 -d "$work/system" "$work/system.img"
rm -r "$work/system"
truncate -s 4G "$work/spare.img"

# One CPU: in an emulated guest a wake-up across CPUs costs a millisecond, and every request to a
# FUSE filesystem has two.
tests/guest/run --smp 1 --timeout 900 --disk "$work/system.img,addr=0x4,serial=system" \
	--disk "$work/spare.img,addr=0x5,serial=spare" \
	-- tests/demo-guest.sh "$work"
