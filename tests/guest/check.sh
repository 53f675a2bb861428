#!/bin/bash
# check.sh [-b BUILD] [FILE [TEST]... | crash] - the tests in guests: the programs as users run them, on
# QEMU's disks. One line a test.
#
# One guest for each test_*.sh beside this file (FILE: its name, also without test_ and .sh), then
# those of crash.sh. What it needs stands in its head:
#	# guest: OPTIONS of tests/guest/run
#	# disk: SIZE[,PROP=VALUE]...
#	# beside: it runs at the same time as the others
#	# memory: PROGRAM... for memory.sh, packed with the libraries that they need
# Disks are made anew, in order 0000:00:05.0, 0000:00:06.0 ...; with "mkfs," before SIZE one holds
# an empty vblkfs; with log=on what is written to it is logged. If FILE has a function after_guest,
# it is called on this machine, in the end: the disks are then $work/diskN.img, the logs
# $work/diskN.log.
#
# For longer runs: VBLKFS_ROUNDS, how often something is killed; VBLKFS_STATES, how many states of a
# logged disk are judged.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
build=build
if [ "${1:-}" = -b ]; then
	build=$2
	shift 2
fi

need_guest() {
	command -v qemu-system-x86_64 >/dev/null && return
	echo "SKIPPED: guest tests need qemu-system-x86 (tests/prepare.sh guest)" >&2
	[ -z "${VBLKFS_CI:-}" ] || exit 1
	exit 0
}

head_lines() { # FILE KEY: what its head says, one a line
	sed -n "/^#/!q; s/^# $2: *//p" "$1"
}

make_disk() { # FILE SPEC; prints the argument of --disk
	local spec=$2 mkfs=0
	case $spec in
	mkfs,*) mkfs=1 spec=${spec#mkfs,} ;;
	esac
	truncate -s "${spec%%,*}" "$1"
	[ $mkfs = 0 ] || "$build/mkfs.vblkfs" -q "$1"
	spec=${spec/,log=on/,log=${1%.img}.log}
	case $spec in
	*,*) echo "$1,${spec#*,}" ;;
	*) echo "$1" ;;
	esac
}

# On this machine, which does in a moment what takes the guest minutes.
pack_programs() { # TAR PROGRAM...
	local tar=$1 name
	shift
	{
		echo tests/guest
		for name in "$@"; do
			type -P "$name"
		done
		for name in "$@" "$work"/root/usr/sbin/*; do
			ldd "$(type -P "$name")" 2>/dev/null | grep -o '/[^ ]*' || true
		done
	} | sort -u | tar -chf "$tar" --files-from=- 2>/dev/null # "/" is left out, it says
}

# Called neither in an if nor before || or &&: there set -e does not hold, at any depth.
run_file() { # FILE [TEST...]
	local file=$1 options=() programs=() disk n=0 spec
	shift
	read -ra options < <(head_lines "$file" guest | paste -sd ' ')
	while read -r spec; do
		disk=$(make_disk "$work/disk$n.img" "$spec")
		options+=(--disk "$disk")
		n=$((n + 1))
	done < <(head_lines "$file" disk)
	read -ra programs < <(head_lines "$file" memory | paste -sd ' ')
	[ ${#programs[@]} = 0 ] || pack_programs "$work/memory.tar" "${programs[@]}"
	tests/guest/run "${options[@]}" -- env "build=$build" "rounds=${VBLKFS_ROUNDS:-}" \
		tests/guest/inside "$work" "$file" "$@"
	if grep -q '^after_guest()' "$file"; then
		# shellcheck disable=SC1090
		. "$file"
		after_guest "$@"
	fi
}

run_in_turn() { # FILE
	set +e
	(set -e; trap - EXIT; run_file "$1")
	status=$?
	set -e
	[ $status = 0 ] || bad=$((bad + 1))
	rm -f "$work"/disk*
}

start_beside() { # FILE
	local dir
	dir=$work/beside/$(basename "$1")
	mkdir -p "$dir"
	ln "$work"/*.tar "$dir/"
	(set -e; trap - EXIT; work=$dir; run_file "$1") >"$dir/log" 2>&1 &
	beside[$!]=$1
}

need_guest
work=$(mktemp -d "${TMPDIR:-/tmp}/vblkfs-check.XXXXXX")
trap 'rm -rf "$work"' EXIT
make -s O="$build" DESTDIR="$work/root" PREFIX=/usr install
tar -C "$work/root" -cf "$work/root.tar" . # one file: many are slow to reach, as the host's are
tar -C /usr/include -cf "$work/tree.tar" linux

if [ "${1:-}" = crash ]; then
	tests/guest/crash.sh "$build" ${VBLKFS_ROUNDS:+"$VBLKFS_ROUNDS"}
	exit
elif [ $# -gt 0 ]; then
	name=${1#test_}
	shift
	run_file "tests/guest/test_${name%.sh}.sh" "$@"
	exit
fi
bad=0
beside=() # files, by the process
for file in tests/guest/test_*.sh; do
	[ -z "$(head_lines "$file" beside)" ] || start_beside "$file"
done
for file in tests/guest/test_*.sh; do
	[ -z "$(head_lines "$file" beside)" ] || continue
	echo "-- $(sed -n "2s/^# //p" "$file")"
	run_in_turn "$file"
done
for pid in "${!beside[@]}"; do
	wait "$pid" || bad=$((bad + 1))
	echo "-- $(sed -n "2s/^# //p" "${beside[pid]}")"
	cat "$work/beside/$(basename "${beside[pid]}")/log"
done
echo "-- the guest is killed in the middle of load"
tests/guest/crash.sh "$build" ${VBLKFS_ROUNDS:+"$VBLKFS_ROUNDS"} || bad=$((bad + 1))
[ $bad = 0 ] || { echo "FAILED: $bad guests" >&2; exit 1; }
echo "all tests in guests passed"
