#!/bin/bash
# crash.sh BUILD [ROUNDS] - the guest is killed in the middle of load, round after round, on one disk:
# by its reset button, with its QEMU (SIGKILL), and by QEMU's own quit.
#
# Each round first mounts, by one command, what the last one has left, and looks whether all that was
# acknowledged in all rounds is there; then it makes load until it dies. Acknowledgements go to this
# machine at once (a 9p share without a cache). After each round the disk is judged here, too, without
# a guest; it is only read.
#
# crash.sh --inside WORK BUILD ROUND WAY SECONDS is the guest's part.
set -euo pipefail
ADDRESS=0000:00:05.0
MNT=/mnt

fail() {
	echo "FAILED: crash: $*" >&2
	exit 1
}

# --- in the guest ---

mount_and_look() { # WORK BUILD ROUND
	local round
	vblkctl bind $ADDRESS
	[ "$3" != 1 ] || mkfs.vblkfs -q $ADDRESS
	mount -t fuse.vblkfs $ADDRESS $MNT
	for ((round = 1; round < $3; round++)); do
		"$2/tools/synced" check "$1/share/marks$round" "$MNT/round$round"
	done
}

inside() { # WORK BUILD ROUND WAY SECONDS
	local work=$1 build=$2 round=$3 way=$4 seconds=$5
	tar -C / --no-overwrite-dir -xf "$work/root.tar"
	mount_and_look "$work" "$build" "$round"
	mkdir "$MNT/round$round"
	"$build/tools/synced" run --seed "$RANDOM" --seconds 600 \
		"$work/share/marks$round" "$MNT/round$round" &
	sleep "$seconds"
	touch "$work/share/loaded$round"
	# shellcheck source=tests/guest/qemu.sh
	. tests/guest/qemu.sh
	case $way in
	reset) qemu_ask '{"execute": "system_reset"}' ;; # QEMU ends there: -no-reboot
	quit) qemu_ask '{"execute": "quit"}' ;;
	esac
	sleep 60
}

# --- on this machine ---

kill_when_loaded() { # ROUND
	local i
	for ((i = 0; i < 1200; i++)); do
		if [ -e "$work/share/loaded$1" ]; then
			kill -KILL "$(cat "$work/pid")"
			return
		fi
		sleep 0.1
	done
}

# The disk as it is, read only: what a mount here sees.
judge_image() { # ROUND
	local round
	for ((round = 1; round <= $1; round++)); do
		"$build/tools/synced" image --base "/round$round" "$work/share/marks$round" \
			"$work/disk.img" >"$work/judged" || fail "after round $1, judged by image"
	done
}

run_round() { # ROUND WAY
	local status=0 killer=''
	rm -f "$work/pid"
	if [ "$2" = SIGKILL ]; then
		kill_when_loaded "$1" &
		killer=$!
	fi
	tests/guest/run --smp 2 --timeout 300 --monitor --pidfile "$work/pid" --share "$work/share" \
		--disk "$work/disk.img" -- tests/guest/crash.sh --inside "$work" "$build" "$1" "$2" \
		"$((2 + RANDOM % 3)).$((RANDOM % 10))" >"$work/log" 2>&1 || status=$?
	[ -z "$killer" ] || wait "$killer"
	if [ $status != 125 ] || [ ! -e "$work/share/loaded$1" ]; then
		sed 's/^/    /' "$work/log" >&2
		fail "round $1 ($2): the guest was to die, under load; its status is $status"
	fi
	judge_image "$1"
	echo "ok      killed in round $1 by $2: $(sed -n 's/^synced: //p' "$work/judged")"
}

if [ "${1:-}" = --inside ]; then
	shift
	inside "$@"
	exit
fi
cd "$(dirname "$0")/../.."
build=${1:?usage: crash.sh BUILD [ROUNDS]} rounds=${2:-2}
ways=(SIGKILL reset quit)
work=$(mktemp -d "${TMPDIR:-/tmp}/vblkfs-crash.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/share"
make -s O="$build" DESTDIR="$work/root" PREFIX=/usr install
tar -C "$work/root" -cf "$work/root.tar" .
truncate -s 512M "$work/disk.img"
for ((round = 1; round <= rounds; round++)); do
	run_round $round "${ways[(round - 1) % 3]}"
done
