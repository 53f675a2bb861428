#!/bin/sh
# dump.sh BUILD - vblkctl dump as its users see it, on image files. One line and a non-zero status on failure.
set -eu

build=$(cd "$1" && pwd)
ctl=$build/vblkctl
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

fail() {
	echo "dump.sh: $*" >&2
	exit 1
}

dumped() {
	"$ctl" dump "$@" >out 2>err || fail "vblkctl dump $* failed: $(cat err)"
	[ ! -s err ] || fail "vblkctl dump $* said: $(cat err)"
}

# refused STATUS WORDS ARGS: it fails with that status and one line that has WORDS.
refused() {
	want=$1
	words=$2
	shift 2
	status=0
	"$ctl" dump "$@" >out 2>err || status=$?
	[ "$status" = "$want" ] || fail "vblkctl dump $*: status $status, not $want"
	grep -qF -- "$words" err || fail "vblkctl dump $*: \"$words\" is not in: $(cat err)"
	[ "$(wc -l <err)" = 1 ] || [ "$want" = 2 ] || fail "vblkctl dump $*: not one line: $(cat err)"
}

# shown REGEX: a line of the last output matches.
shown() {
	grep -qE -- "$1" out || fail "/$1/ is not in: $(cat out)"
}

# json FILTER: jq's filter is true of the last output.
json() {
	jq -e "$1" out >/dev/null || fail "not so: $1; in: $(cat out)"
}

"$build/tools/populate" make a.img
before=$(sha256sum <a.img)

# Text.
dumped a.img
shown '^ +label +corpus$'
shown '^ +state +clean$'
shown '^ +0 +0 +4096 +[0-9]+ .* bitmap_ready$'
dumped a.img tree
shown '^ +[0-9]+ -rw-r--r-- +2 +1000 +100 +12 2023-11-14 22:13:20 UTC /files/small$'
shown ' /dirs/a/b/deep$'
[ "$(grep -c ' /dirs/many/a name' out)" = 120 ] || fail "names are missing in /dirs/many"
dumped a.img tree / 1
if grep -q '/dirs/a$' out; then fail "tree / 1 goes deeper than one level"; fi
dumped a.img path /others/xattr_inline
shown ' user.one +5 vvvvv$'
dumped a.img extents /files/tree
[ "$(grep -cE '^ +[0-9]+ +[0-9]+ +1 +[0-9]+ -$' out)" = 400 ] || fail "extents are missing: $(cat out)"
dumped a.img extents /files/unwritten
shown 'unwritten'
dumped a.img path /others/long
shown '^fork: root [0-9]+, height 0$'
dumped a.img block 13
shown '^role +inodes 1 to 15, in group 0$'
dumped a.img block 0
shown '^01f0 .* 55 aa '
dumped a.img group 0
shown '^free_block_runs:$'

# JSON.
dumped --json a.img super
json '.superblock | .state == 1 and .state_names == ["clean"] and .faults == [] and .nr_blocks == 4096'
dumped --json a.img inode 1
json '.mode == 16877 and .mode_name == "drwxr-xr-x" and .in_use'
dumped --json a.img tree
json '[.files[] | select(.path == "/dirs/second") | .size] == [2]'
for view in "" groups "group 0" "block 0" "block 2" "block 3" journal "extents /files/one" "extents /dirs/many"; do
	# shellcheck disable=SC2086
	dumped --json a.img $view
	json 'length > 0'
done

# The journal of a filesystem that was cut off.
cp a.img cut.img
"$build/tools/populate" cut cut.img
dumped --json cut.img journal
json '[.transactions[].whole] == [true, true, true]'
json '[.transactions[].records[] | select(.record == "revokes") | .nr] == [1]'
json '.end | endswith("no record")'
dumped cut.img journal
shown ' image +[0-9]+ superblock$'

# Damage is shown, not refused.
cp a.img bad.img
printf 'x' | dd of=bad.img bs=1 seek=$((13 * 4096 + 64 + 40)) conv=notrunc status=none
dumped --json bad.img inode 1
json '.faults == ["crc wrong"]'
dumped bad.img tree
shown 'block of the inode: crc wrong'
dd if=/dev/zero of=bad.img bs=4096 seek=1 count=1 conv=notrunc status=none
refused 1 "no vblkfs filesystem" bad.img
refused 1 "only single blocks" bad.img tree
dumped bad.img block 13
shown 'crc wrong'
"$build/tools/populate" groups two.img
dd if=/dev/zero of=two.img bs=4096 seek=1 count=1 conv=notrunc status=none
dumped two.img
shown '^ +block +262145$'
shown '^ +instead_of_block_1 '

# What it refuses.
truncate -s 16M empty.img
refused 1 "no vblkfs filesystem" empty.img
refused 1 "vblkctl: absent.img: No such file" absent.img
refused 1 "past the end of the disk" a.img block 4096
refused 1 "no inode 99999" a.img inode 99999
refused 1 "no group 1" a.img group 1
refused 1 "no nowhere in directory 1" a.img path /nowhere
refused 1 "no directory" a.img path /linked/x
refused 1 "begins with /" a.img path dirs
refused 1 "not a block's number" a.img block one
refused 2 "no such view: blocks" a.img blocks
refused 2 "no such view: block" a.img block
refused 2 "missing"
flock a.img "$ctl" dump a.img >out 2>err && fail "an image in use was read"
grep -q "in use" err || fail "an image in use: $(cat err)"

[ "$before" = "$(sha256sum <a.img)" ] || fail "a.img was changed"
