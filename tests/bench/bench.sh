#!/bin/bash
# bench.sh [--json] [--quick] [--vfio] [--reps N] [--runtime SECONDS] [--smp N] [--out FILE] - vblkfs
# against what else serves the same disk.
#
# One guest, one run, one disk, which is given to each system in turn, several times round (so that
# a slow minute of the host hits all alike): the bare disk by the kernel's virtio_blk and by our
# driver; a filesystem by vblkfs, by ext4 and by fuse2fs. Prints medians (smallest-largest) and how
# many times better vblkfs is. FILE gets the raw figures, one a line. With --vfio the disk is behind an
# IOMMU, for the kernel too, and our driver has it by vfio-pci.
#
# Under emulation (TCG) the guest's own instructions cost ten times their worth and the device is
# nearly free: read ratios, not figures.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${BUILD:-build}
reps=3 runtime=4 json='' out='' files=10000 smp=2 guest=() properties=''

usage() {
	echo "usage: tests/bench/bench.sh [--json] [--quick] [--vfio] [--reps N] [--runtime SECONDS]" \
		"[--smp N] [--out FILE]" >&2
	exit 2
}

while [ $# -gt 0 ]; do
	case $1 in
	--json) json=--json ;;
	--quick) reps=1 runtime=1 files=2000 ;;
	--reps) reps=$2; shift ;;
	--runtime) runtime=$2; shift ;;
	--out) out=$2; shift ;;
	--smp) smp=$2; shift ;;
	--vfio) guest+=(--iommu) properties=,iommu_platform=on,disable-legacy=on ;;
	*) usage ;;
	esac
	shift
done

work=$(mktemp -d "${TMPDIR:-/tmp}/vblkfs-bench.XXXXXX")
shm=$work
trap 'rm -rf "$work" "$shm"' EXIT
# In memory if there is plenty, so that the host's disk is no part of it; allocated, so that its
# growth is none either.
if [ "$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1)" -gt $((8 << 20)) ] 2>/dev/null; then
	shm=$(mktemp -d /dev/shm/vblkfs-bench.XXXXXX)
fi
fallocate -l 2G "$shm/disk.img"
make -s O="$build" all tools
make -s O="$build" DESTDIR="$work/root" PREFIX=/usr install
mkdir "$work/root/tools" "$work/share"
cp "$build"/tools/* "$work/root/tools/"

started=$SECONDS
tests/guest/run --smp "$smp" --timeout 7200 --share "$work/share" \
	${guest[@]+"${guest[@]}"} --disk "$shm/disk.img$properties" \
	-- tests/bench/inside "$work" "$reps" "$runtime" "$files" >&2
[ -z "$out" ] || cp "$work/share/results" "$out"
if [ -z "$json" ]; then
	printf '\nmedian (smallest-largest) of %d; / SYSTEM: how many times better vblkfs is.\n' "$reps"
	printf '%d CPUs, %s, %d s in all.\n\n' \
		"$smp" "$(cat "$work/share/machine")" $((SECONDS - started))
fi
"$build/tools/benchreport" $json <"$work/share/results"
