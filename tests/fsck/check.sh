#!/bin/bash
# check.sh [--update] [BUILD [CASE...]] - fsck.vblkfs on damaged images.
#
# Each folder here is a kind of damage:
#	damage.sh	does it to the image that it is given; its comments say what it is, on which
#			base image ("# base:", else make) and with which further options of fsck
#			("# fsck:")
#	expect.1	what the first run (-f -y) says, and its exit status
#	expect.2	what the second run (-f -n) says, if the first could not repair all
#	expect.files	how the files after the repair differ from those of the base: path, mode,
#			links, owner, size, checksums of contents and of attributes. Without it they
#			do not.
# A repaired image is then mounted, all of it is read, something is written, and it is checked once
# more (case.sh). Each row of fsck's table of problems must be met in some case. After all cases,
# fieldfuzz damages fields at random; VBLKFS_SEED chooses others.
#
# --update writes what was seen into expect.*, to be read before it is committed.
set -euo pipefail
FSCK_CASES=$(cd "$(dirname "$0")" && pwd)
FSCK_UPDATE=
if [ "${1:-}" = --update ]; then
	FSCK_UPDATE=1
	shift
fi
build=$(cd "${1:-build}" && pwd)
[ $# -eq 0 ] || shift
PATH=$build:$build/tools:$PATH
export FSCK_CASES FSCK_UPDATE PATH

make_orphans() { # IMAGE: not unmounted, two files without names on the list
	local one two
	one=$(damage get "$1" dirent /files/one ino)
	two=$(damage get "$1" dirent /files/three ino)
	damage "$1" inode "$one" nlink=0 flags=orphan orphan_next="$two"
	damage "$1" inode "$two" nlink=0 flags=orphan
	damage "$1" dirent /files/one remove
	damage "$1" dirent /files/three remove
	damage "$1" super state=0 orphan_head="$one"
}

make_bases() {
	populate make make.img
	populate groups groups.img
	for base in cut found orphan; do cp --sparse=always make.img "$base.img"; done
	populate cut cut.img
	populate found found.img
	make_orphans orphan.img
	for base in make groups cut found orphan; do # as they are when nothing is damaged
		cp --sparse=always "$base.img" disk.img
		populate verify disk.img | LC_ALL=C sort >"$base.files"
	done
}

run_one() { # CASE
	"$FSCK_CASES/case.sh" "$1" >"$1.log" 2>&1 && return
	cat "$1.log"
	echo "FAILED: $1"
	touch "$1.failed"
}

# Each row of the table is to stand in the output of some case.
problems_without_a_case() {
	fsck.vblkfs --list-problems | cut -f 1 | while read -r problem; do
		grep -qwF -- "$problem" ./*.first || echo "$problem"
	done
}

# What the cases leave out: any field, any block; one, and several at once.
fuzz() {
	local seed=${VBLKFS_SEED:-1} failed=0
	fieldfuzz --seed "$seed" --runs 300 make.img &
	fieldfuzz --seed "$seed" --runs 150 --fields 5 make.img || failed=1
	fieldfuzz --seed "$seed" --runs 100 --fields 2 cut.img || failed=1
	wait $! || failed=1
	return $failed
}

work=$(mktemp -d -p "$([ -w /dev/shm ] && echo /dev/shm || echo "${TMPDIR:-/tmp}")")
trap 'rm -rf "$work"' EXIT
cd "$work"
make_bases
all=$((! $#))
if [ $all = 1 ]; then
	mapfile -t cases < <(cd "$FSCK_CASES" && ls -d [0-9]*/)
	set -- "${cases[@]%/}"
fi
half=$(($# / 2)) # two at a time
(for name in "${@:1:half}"; do run_one "$name"; done) &
for name in "${@:half + 1}"; do run_one "$name"; done
wait

status=0
failed=$(find . -name '*.failed' | wc -l)
[ "$failed" = 0 ] || { echo "$failed of $# kinds of damage: not as expected"; status=1; }
if [ $all = 1 ]; then
	missing=$(problems_without_a_case)
	[ -z "$missing" ] || { echo "problems that no case has:" "$missing"; status=1; }
	fuzz >fuzz.log || { cat fuzz.log; status=1; }
fi
exit $status
