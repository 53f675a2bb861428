#!/bin/bash
# fsck.sh BUILD - fsck.vblkfs as its users see it, on image files. One line and a non-zero status on failure.
set -eu

build=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

fail() {
	echo "fsck.sh: $*" >&2
	exit 1
}

# ends STATUS ARGS: fsck.vblkfs does, with what it says in out and err.
ends() {
	local want=$1 status=0
	shift
	timeout 60 "$build/fsck.vblkfs" "$@" >out 2>err </dev/null || status=$?
	[ "$status" = "$want" ] || fail "fsck.vblkfs $*: status $status, not $want: $(cat out err)"
}

# shown WORDS: the last output has them; told WORDS: its last error.
shown() {
	grep -qF -- "$1" out || fail "\"$1\" is not in: $(cat out)"
}
told() {
	grep -qF -- "$1" err || fail "\"$1\" is not in: $(cat err)"
}

# unchanged COMMAND...: the image has the same bytes afterwards.
unchanged() {
	local before
	before=$(sha256sum <a.img)
	"$@"
	[ "$before" = "$(sha256sum <a.img)" ] || fail "the image was changed by: $*"
}

# hit BYTE...: the byte at that place is another.
hit() {
	local at
	for at; do
		printf 'x' | dd of=a.img bs=1 seek="$at" conv=notrunc status=none
	done
}
header=8300 boot=510 # of group 0: to make it anew is a risk; of block 0: that is not

"$build/mkfs.vblkfs" -q a.img 64M

# Sound.
unchanged ends 0 a.img -n
[ "$(cat out)" = "a.img: clean, 1/4110 files, 1311/16384 blocks" ] || fail "clean: $(cat out)"
unchanged ends 0 -p a.img
shown ": clean, "
unchanged ends 0 -fn a.img
shown "pass 5: bitmaps and counters"
shown "no problem found"
ends 0 -fyvt a.img
shown "1 directories"
told "MiB of memory"

# Damaged: a look, what is safe, everything; and then nothing.
hit $boot $header
unchanged ends 0 -y a.img # it is marked clean
unchanged ends 4 -fn a.img
shown "[boot-sector]. Write it anew? no"
shown "[group-header]. Make it anew? no"
shown "2 problems, 0 repaired, 2 left"
cp out first
ends 4 -fn a.img
cmp -s first out || fail "two runs differ: $(diff first out)"
ends 5 -fp a.img
shown "[boot-sector]. Write it anew? yes"
shown "needs decisions"
ends 1 -y a.img # no -f: it is not marked clean any more
shown "[group-header]. Make it anew? yes"
shown "repaired"
ends 0 -fn a.img
ends 0 -n a.img
shown ": clean, "

# Wrong use.
for wrong in "-n -y" "-p -n" "-y -a" "-x" "--no-such" "" "a.img b.img" "--json" "-C x" "-C 77 -n" "-b x" "-b 0"; do
	case $wrong in "") ;; "a.img b.img") ;; *) wrong="$wrong a.img" ;; esac
	# shellcheck disable=SC2086
	ends 16 $wrong
	grep -q '^usage:' err || fail "fsck.vblkfs $wrong: no usage"
done
ends 16 a.img
told "no terminal"

# What can't be checked.
ends 8 -n absent.img
told "No such file"
truncate -s 64M empty.img
ends 8 -n empty.img
told "no vblkfs superblock"
[ "$(wc -l <err)" = 1 ] || fail "not one line: $(cat err)"
"$build/mkfs.vblkfs" -q short.img 64M
truncate -s 63M short.img
ends 8 -n short.img
told "the filesystem is larger than the disk"
flock a.img sh -c "! '$build/fsck.vblkfs' -y a.img 2>err" || fail "a locked image was checked"
told "in use"
chmod 400 a.img
if [ "$(id -u)" != 0 ]; then
	ends 8 -y a.img
	ends 0 -n a.img
fi
chmod 600 a.img

# A copy of the superblock.
"$build/mkfs.vblkfs" -q big.img 3G
dd if=/dev/zero of=big.img bs=4096 seek=1 count=1 conv=notrunc status=none
ends 4 -n big.img
shown "Restore it from block 262145? no"
ends 8 -y -b 5 big.img
told "block 5"
ends 1 -y -b 524289 big.img
shown "Restore it from block 524289? yes"
ends 0 -fn big.img

# For programs: JSON lines, progress lines.
hit $boot $header
ends 4 -fn --json a.img
[ "$(wc -l <out)" = 3 ] || fail "JSON: $(cat out)"
[ "$(grep -c '^{".*}$' out)" = 3 ] || fail "JSON: $(cat out)"
shown '{"problem":"boot-sector","text":"block 0 does not say that the disk is in use","repair":"write it anew","fixed":false}'
shown '"problem":"group-header"'
shown '"block":2'
shown '"problems":2,"fixed":0,"left":2'
shown '"status":4'
ends 1 -fy --json a.img
shown '"fixed":true'
ends 0 -fn -C 3 a.img 3>progress
grep -qE '^1 [0-9]+ [0-9]+ a\.img$' progress || fail "-C 3: $(cat progress)"
grep -qE '^5 1 1 a\.img$' progress || fail "-C 3: $(cat progress)"

# Questions, on a terminal.
asks() {
	local want=$1 answers=$2 status=0
	printf '%b' "$answers" | script -qec "$build/fsck.vblkfs -f a.img" /dev/null >out 2>err || status=$?
	[ "$status" = "$want" ] || fail "answers $answers: status $status, not $want: $(cat out)"
}
if command -v script >/dev/null; then
	hit $boot $header
	unchanged asks 4 'n\nn\n'
	shown "[Y/n/a]"
	asks 5 'n\ny\n'
	shown "2 problems, 1 repaired, 1 left"
	hit $header
	asks 1 'a\n'
	shown "repaired"
	ends 0 -fn a.img
fi

# An interrupt, while nobody reads the progress.
mkfifo pipe
exec 3<>pipe
head -c 65536 /dev/zero >&3
timeout 60 "$build/fsck.vblkfs" -fn -C 3 a.img >out 2>err &
pid=$!
sleep 0.5
kill -INT $pid # timeout passes it on
status=0
wait $pid || status=$?
exec 3>&-
[ "$status" = 32 ] || fail "interrupted: status $status, not 32: $(cat out err)"

# The usage is the man page's synopsis.
if command -v mandoc >/dev/null; then
	"$build/fsck.vblkfs" --help | tr -s ' \n' '\n' | grep -v '^usage:$' >usage.txt
	mandoc -T ascii -O width=200 "$here/../man/fsck.vblkfs.8" | col -b |
		sed -n '/^SYNOPSIS/,/^DESCRIPTION/p' | sed '1d;$d' | tr -s ' \n' '\n' | grep . >synopsis.txt
	cmp -s usage.txt synopsis.txt || fail "--help and the man page differ: $(diff usage.txt synopsis.txt | tr '\n' ' ')"
fi
