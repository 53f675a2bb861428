#!/bin/bash
# demo.sh [BUILD] - the main job before your eyes: boot a guest with two disks and run demo-guest.sh in it. Ends with one plain line of
# success, and with a status other than 0 on any difference.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}
work=$(mktemp -d "${TMPDIR:-/tmp}/vblkfs-demo.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Installed as a user would, into a tree that the guest lays over its own root.
make -s O="$build" DESTDIR="$work/root" PREFIX=/usr install
truncate -s 1G "$work/system.img"
mkfs.ext4 -q "$work/system.img"
truncate -s 4G "$work/spare.img"

# A large file that is not made of zeroes: the guest kernel's own modules.
(tar -C "${VBLKFS_CACHE:-.cache}/kernel" -cf - . 2>/dev/null || true) | head -c 160M >"$work/modules.tar"
[ "$(stat -c %s "$work/modules.tar")" -ge $((100 << 20)) ] || { echo "demo: the large file is too small" >&2; exit 1; }

tests/guest/run --timeout 290 --disk "$work/system.img,addr=0x4,serial=system" --disk "$work/spare.img,addr=0x5,serial=spare" \
	-- tests/demo-guest.sh "$work"
