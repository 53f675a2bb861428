#!/bin/sh
# mkfs.sh BUILD - mkfs.vblkfs as its users see it, on image files. One line and a non-zero status on failure.
set -eu

mkfs=$(cd "$1" && pwd)/mkfs.vblkfs
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

fail() {
	echo "mkfs.sh: $*" >&2
	exit 1
}

# made ARGS: mkfs succeeds.
made() {
	"$mkfs" "$@" >out 2>err || fail "mkfs.vblkfs $* failed: $(cat err)"
}

# refused WORDS ARGS: mkfs fails with status 1 and one line, which has WORDS.
refused() {
	words=$1
	shift
	status=0
	"$mkfs" "$@" >out 2>err || status=$?
	[ "$status" = 1 ] || fail "mkfs.vblkfs $*: status $status, not 1"
	[ "$(wc -l <err)" = 1 ] || fail "mkfs.vblkfs $*: not one line: $(cat err)"
	grep -qF -- "$words" err || fail "mkfs.vblkfs $*: \"$words\" is not in: $(cat err)"
}

# shown WORDS: the last output has them.
shown() {
	grep -qF -- "$1" out || fail "\"$1\" is not in: $(cat out)"
}

# unchanged FILE COMMAND...: the file has the same bytes afterwards.
unchanged() {
	file=$1
	shift
	before=$(sha256sum <"$file")
	"$@"
	[ "$before" = "$(sha256sum <"$file")" ] || fail "$file was changed by: $*"
}

disk_kib() {
	du -k "$1" | cut -f1
}

# A new image file: sparse, of the size told.
made new.img 64M
shown 16384
[ "$(stat -c %s new.img)" = 67108864 ] || fail "new.img is not of 64 MiB"
[ "$(disk_kib new.img)" -lt 1024 ] || fail "new.img takes $(disk_kib new.img) KiB"

# Ours is refused by name, a label included; -f overwrites.
unchanged new.img refused "vblkfs filesystem" new.img
made -f -L "my disk" new.img
unchanged new.img refused 'label "my disk"' new.img
made -fq new.img
[ ! -s out ] || fail "-q printed: $(cat out)"
printf 'x' | dd of=new.img bs=1 seek=4200 conv=notrunc status=none
refused "damaged vblkfs" new.img

# Others' too, and nothing is written.
truncate -s 64M table.img
printf '\203\000\000\000\000\001\000\000\000\000\200' | dd of=table.img bs=1 seek=450 conv=notrunc status=none
printf '\125\252' | dd of=table.img bs=1 seek=510 conv=notrunc status=none
unchanged table.img refused "dos partition table" table.img
if command -v mke2fs >/dev/null; then
	truncate -s 64M ext4.img
	mke2fs -q -t ext4 -L other ext4.img
	unchanged ext4.img refused 'type ext4, label "other"' ext4.img
	unchanged ext4.img refused 'type ext4' ext4.img 200M
	made -f ext4.img
	refused "vblkfs filesystem" ext4.img
fi

# A dry run writes nothing, creates nothing and tells all.
for n in -n -N --dry-run; do
	unchanged table.img made "$n" -f table.img
	shown "journal"
done
made -n absent.img 1G
[ ! -e absent.img ] || fail "-n created a file"

# Sizes.
refused "16 MiB" small.img 15M
[ ! -e small.img ] || fail "a file that was refused is there"
truncate -s 1M small.img
refused "16 MiB" small.img
made small.img 16M
[ "$(stat -c %s small.img)" = 16777216 ] || fail "small.img was not extended"
refused "larger" -f small.img 15M
refused "not a size" x.img 12Q
refused "image files only" 0000:00:1f.7 1G
made -q huge.img 1T
[ "$(disk_kib huge.img)" -lt 16384 ] || fail "1 TiB takes $(disk_kib huge.img) KiB"
refused "No such file" absent.img
refused "image files only" /dev/null 1G

# Options.
made -f --json -L name -U 01234567-89ab-cdef-0123-456789abcdef -i 64K -J size=32 new.img
shown '"uuid":"01234567-89ab-cdef-0123-456789abcdef"'
shown '"label":"name"'
shown '"journal_blocks":8192'
shown '"written":true'
made -n -f --json new.img
shown '"written":false'
refused "32 bytes" -f -L 0123456789abcdef0123456789abcdefg new.img
refused "a UUID" -f -U 0123 new.img
refused "1023 bytes an inode" -f -i 1023 new.img
refused "a journal of 1024 KiB" -f -J size=1 new.img
refused "number of MiB" -f -J 64 new.img
for wrong in "-x new.img" "--no-such new.img" "" "a b c"; do
	# shellcheck disable=SC2086
	if "$mkfs" $wrong >out 2>err; then fail "mkfs.vblkfs $wrong succeeded"; fi
	grep -q '^usage:' err || fail "mkfs.vblkfs $wrong: no usage"
done

# A disk in use.
flock new.img sh -c "! '$mkfs' -f new.img 2>err" || fail "a locked image was overwritten"
grep -q "in use" err || fail "a locked image: $(cat err)"

# The usage is the man page's synopsis.
if command -v mandoc >/dev/null; then
	"$mkfs" --help | tr -s ' \n' '\n' | grep -v '^usage:$' >usage.txt
	mandoc -T ascii -O width=200 "$here/../man/mkfs.vblkfs.8" | col -b |
		sed -n '/^SYNOPSIS/,/^DESCRIPTION/p' | sed '1d;$d' | tr -s ' \n' '\n' | grep . >synopsis.txt
	cmp -s usage.txt synopsis.txt || fail "--help and the man page differ: $(diff usage.txt synopsis.txt | tr '\n' ' ')"
fi
