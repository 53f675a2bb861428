#!/bin/bash
# when the power fails, the disk fails, or the daemon dies: what was synced is there
# guest: --smp 2 --monitor --timeout 900
# disk: 256M,log=on
# shellcheck disable=SC2086,SC2154 # inside and check.sh set MNT, build, work: no blanks in them
LOGGED=0000:00:05.0

# Judged in after_guest: the log has what every power cut could have left.
test_steps_under_a_log_of_writes() {
	vblkctl bind $LOGGED
	mkfs.vblkfs -q -K $LOGGED # without the discard of all of the disk, which the log would repeat
	mount -t fuse.vblkfs $LOGGED $MNT
	"$build/tools/synced" run --seed "$RANDOM" --seconds 12 $MNT/marks $MNT >/run/out
	note "$(cat /run/out)"
	umount $MNT
}

after_guest() {
	truncate -s 256M "$work/replayed.img"
	"$build/tools/replaylog" "$work/disk0.log" "$work/replayed.img" \
		"$("$build/tools/replaylog" "$work/disk0.log" | wc -l)"
	if ! cmp "$work/disk0.img" "$work/replayed.img"; then
		echo "FAILED: the log, replayed, is another disk" >&2
		return 1
	fi
	"$build/tools/synced" log --states "${VBLKFS_STATES:-400}" "$work/disk0.log" $((256 << 20))
}
