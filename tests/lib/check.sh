#!/bin/bash
# check.sh BUILD - libvblk as those have it who build on it: what make install gives, found by pkg-config, linked in both ways,
# and run on an image file and on a vhost-user back-end.
BUILD=${1:?usage: check.sh BUILD}
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/lib.sh"

make -s -C "$HERE/../.." O="$BUILD" DESTDIR="$T/root" PREFIX=/opt/vblk install
root=$T/root/opt/vblk
man3=$root/share/man/man3
header=$root/include/vblk/vblk.h
export PKG_CONFIG_SYSROOT_DIR=$T/root PKG_CONFIG_PATH=$root/lib/pkgconfig LD_LIBRARY_PATH=$root/lib

# What the header declares, and nothing else, can be linked to.
sed 's,/\*.*\*/,,; /\/\*/,/\*\//d' "$header" | grep -oE '\bvblk_[a-z_]+\(' | tr -d '(' | sort -u >"$T/declared"
[ "$(wc -l <"$T/declared")" -ge 20 ] || fail "the header declares: $(cat "$T/declared")"
nm -D --defined-only "$root/lib/libvblk.so" | awk '$2 != "A" { print $3 }' | sort >"$T/exported"
sed 's/$/@@VBLK_0.1/' "$T/declared" | diff - "$T/exported" || fail "libvblk.so exports other symbols"
nm --defined-only -g "$root/lib/libvblk.a" | awk 'NF == 3 { print $3 }' | sort | diff "$T/declared" - ||
    fail "libvblk.a defines other symbols"
objdump -p "$root/lib/libvblk.so" | grep -qE 'SONAME +libvblk.so.0$' || fail "its name is not libvblk.so.0"
! nm -D --undefined-only "$root/lib/libvblk.so" | grep -wE 'exit|_exit|abort|__assert_fail|printf|puts|stdout|stderr|perror' ||
    fail "it ends the process, or writes"

# Each function has its page.
while read -r function; do
    [ -e "$man3/$function.3" ] || fail "no page for $function"
    sed '/^\.Sh SYNOPSIS/q' "$man3/$function.3" | grep -qE "^\.Nm $function( ,)?$" || fail "$function.3 is about others"
    grep -qE "^\.F[no] \"?$function\b" "$man3/$function.3" || fail "$function.3 does not declare it"
done <"$T/declared"
sed -n '/^\.Sh EXAMPLES/,/^\.Ed/p' "$man3/libvblk.3" | sed '1,/^\.Bd/d; /^\.Ed/d; s/\\&//; s/\\e/\\/g' |
    diff - "$HERE/example.c" || fail "libvblk.3's example is not tests/lib/example.c"

# Where a page shows a struct, it is the header's.
structs() { # FILE...: a line each, without comments
    cat "$@" | sed 's,\\e,\\,g' | tr -s '\t\n' '  ' | sed 's,/\*[^*]*\(\*[^/][^*]*\)*\*/,,g' | grep -oE 'struct vblk_[a-z]+ \{[^}]*\};' |
        tr -d ' ' | sort -u
}
structs "$header" >"$T/structs"
structs "$man3"/*.3 >"$T/shown"
[ "$(wc -l <"$T/shown")" -ge 5 ] || fail "the pages show no structs: $(cat "$T/shown")"
comm -13 "$T/structs" "$T/shown" >"$T/out"
[ ! -s "$T/out" ] || fail "not as in the header: $(cat "$T/out")"

# The header is for anybody.
[ "$(pkg-config --modversion libvblk)" = "$("$BUILD/vblkctl" --version | sed 's/.* //')" ] || fail "pkg-config has another version"
read -ra cflags < <(pkg-config --cflags libvblk)
read -ra libs < <(pkg-config --libs libvblk)
mapfile -t private < <(pkg-config --static --libs libvblk | tr ' ' '\n' | grep -vx -e -lvblk -e '')
cc=${CC:-gcc}
echo '#include <vblk/vblk.h>' | $cc -std=c99 -pedantic -Wall -Wextra -Werror "${cflags[@]}" -fsyntax-only -x c -
! command -v clang >/dev/null ||
    echo '#include <vblk/vblk.h>' | clang -Wall -Wextra -Werror "${cflags[@]}" -fsyntax-only -x c++ -

# The example, shared and static.
$cc -Wall -Wextra -Werror "${cflags[@]}" -o "$T/shared" "$HERE/example.c" "${libs[@]}"
objdump -p "$T/shared" | grep -qE 'NEEDED +libvblk.so.0$' || fail "the example does not need libvblk.so.0"
$cc -Wall -Wextra -Werror "${cflags[@]}" -o "$T/static" "$HERE/example.c" "$root/lib/libvblk.a" "${private[@]}"
! objdump -p "$T/static" | grep -q 'NEEDED.*vblk' || fail "the static example needs libvblk.so"

says() { # WORDS COMMAND...: its output, standard error too
    local want=$1 got
    shift
    got=$("$@" 2>&1) || true
    [ "$got" = "$want" ] || fail "\"$got\", not \"$want\", from: $*"
}
refused() { # STATUS WORDS COMMAND...: it ends so, with a line that has them
    local want=$1 words=$2 status=0
    shift 2
    "$@" >"$T/out" 2>"$T/err" || status=$?
    [ $status = "$want" ] || fail "status $status, not $want, from: $* ($(cat "$T/err"))"
    [ ! -s "$T/out" ] || fail "it printed: $(cat "$T/out")"
    head -n 1 "$T/err" | grep -qF -- "$words" || fail "\"$(cat "$T/err")\" does not say \"$words\""
}
truncate -s 1000K "$IMG"
printf data | dd of="$IMG" bs=1 seek=70000 conv=notrunc status=none
for example in "$T/shared" "$T/static"; do
    says "65536 of 1024000 bytes used" "$example" "$IMG"
    says "$T/absent: No such file or directory" "$example" "$T/absent"
    flock "$IMG" "$example" "$IMG" 2>"$T/err" && fail "a locked image was opened"
    grep -q 'in use by another process' "$T/err" || fail "locked: $(cat "$T/err")"
done

# vblkctl bench, which is built on the library's API alone.
bench() { # OPTIONS...: no request fails; its JSON is $T/json
    "$BUILD/vblkctl" bench --json "$@" >"$T/json" 2>"$T/err" || fail "bench $*: $(cat "$T/err")"
    [ ! -s "$T/err" ] || fail "bench $*: $(cat "$T/err")"
}
before=$(sha256sum <"$IMG")
refused 1 --destroy-data "$BUILD/vblkctl" bench --rw=write "$IMG"
[ "$(sha256sum <"$IMG")" = "$before" ] || fail "it was written to all the same"
bench --ios=1000 --iodepth=7 --queues=3 "$IMG"
jq -e '.ios == 1000 and .rw == "randread" and .bs == 4096 and ([.histogram[].ios] | add) == 1000 and
    (.latency_us | .p50 <= .p90 and .p90 <= .p99 and .p99 <= .p99_9 and .p99_9 <= .max) and
    .mib_s > 0 and .kicks > 0' "$T/json" >"$T/out" || fail "figures make no sense: $(cat "$T/json")"
[ "$(jq .rings "$T/json")" = 3 ] || fail "an image has a ring for each queue: $(cat "$T/json")"
bench --rw=write --ios=250 --destroy-data --verify "$IMG"
bench --rw=randread --ios=1000 --verify "$IMG"
printf x | dd of="$IMG" bs=1 seek=40000 conv=notrunc status=none
! "$BUILD/vblkctl" bench --json --rw=read --ios=250 --verify "$IMG" >"$T/json" 2>"$T/err" || fail "other data is not noticed"
[ "$(jq '.wrong, .errors' "$T/json" | xargs)" = '1 1' ] || fail "other data: $(cat "$T/json")"
grep -q 'read other data than was written' "$T/err" || fail "other data: $(cat "$T/err")"

# Some of both, and how long each took. What is read was written so, before or now.
bench --rw=write --ios=250 --destroy-data --verify "$IMG"
for rw in rw randrw; do
    bench --rw=$rw --rwmixread=80 --ios=2000 --queues=2 --iodepth=4 --destroy-data --verify "$IMG"
    jq -e --arg rw $rw '.rw == $rw and .rwmixread == 80 and .ios == 2000 and .read.ios + .write.ios == 2000 and .read.ios > 1500 and
        .write.ios > 300 and ([.read, .write | .histogram[].ios] | add) == 2000 and .write.latency_us.max <= .latency_us.max' \
        "$T/json" >"$T/out" || fail "$rw: $(cat "$T/json")"
done
for share in 0 100; do
    bench --rw=randrw --rwmixread=$share --ios=50 --destroy-data "$IMG"
    [ "$(jq '.read.ios' "$T/json")" = $((share / 2)) ] || fail "of $share %: $(cat "$T/json")"
done
"$BUILD/vblkctl" bench --rw=randrw --ios=50 --destroy-data "$IMG" >"$T/out"
grep -qE '^  of reads: mean .*, max ' "$T/out" || fail "no latency of reads: $(cat "$T/out")"

# What empties blocks.
for rw in discard randdiscard write-zeroes randwrite-zeroes; do
    before=$(sha256sum <"$IMG")
    refused 1 --destroy-data "$BUILD/vblkctl" bench --rw=$rw --ios=1 "$IMG"
    [ "$(sha256sum <"$IMG")" = "$before" ] || fail "$rw: it was changed all the same"
done
for rw in discard write-zeroes; do
    bench --rw=write --ios=250 --destroy-data --verify "$IMG"
    bench --rw=$rw --ios=125 --bs=4K --span=500K --destroy-data "$IMG"
    [ "$(jq '.ios' "$T/json")" = 125 ] || fail "$rw: $(cat "$T/json")"
    cmp -n $((500 << 10)) /dev/zero "$IMG" || fail "$rw leaves data"
    ! cmp -sn 512 -i $((500 << 10)):0 "$IMG" /dev/zero || fail "$rw goes past its span"
done
refused 2 '--rwmixread goes with' "$BUILD/vblkctl" bench --rwmixread=50 "$IMG"
refused 2 '--verify goes with' "$BUILD/vblkctl" bench --rw=discard --verify --destroy-data "$IMG"

for wrong in --rw=no --rwmixread=101 --bs=0 --bs=1000 --iodepth=0 --queues=x --runtime=-1 --spin=-1 --ring-size=3 --no-such; do
    refused 2 '' "$BUILD/vblkctl" bench $wrong "$IMG"
done
refused 2 '--rw does not take: no' "$BUILD/vblkctl" bench --rw=no "$IMG"
refused 2 'argument is missing' "$BUILD/vblkctl" bench
! grep -q 'vblkctl stat' "$T/err" || fail "the usage is not of the verb alone: $(cat "$T/err")"
"$BUILD/vblkctl" bench --help >"$T/out"
grep -q randread "$T/out" || fail "no patterns in: $(cat "$T/out")"
"$BUILD/vblkctl" help bench | cmp - "$T/out" || fail "help is not as --help"
"$BUILD/vblkctl" help | diff - <("$BUILD/vblkctl" --help) || fail "help is not as --help"
refused 2 'no such verb: no' "$BUILD/vblkctl" help no
refused 2 'too many: list' "$BUILD/vblkctl" help bench list
refused 1 'too few' "$BUILD/vblkctl" bench --bs=2M "$IMG"
refused 1 'has only' "$BUILD/vblkctl" bench --span=1G "$IMG"
truncate -s 64M "$T/fs.img"
"$BUILD/mkfs.vblkfs" -q -L mine "$T/fs.img"
refused 1 'a vblkfs filesystem, label "mine"' "$BUILD/vblkctl" bench --rw=write --ios=1 --destroy-data "$T/fs.img"
# It is opened once, to be written, and so looked at as nobody else has it.
(
    exec 9<"$T/fs.img"
    flock -s 9
    refused 1 'in use by another process' "$BUILD/vblkctl" bench --rw=write --ios=1 --destroy-data "$T/fs.img"
)
bench --rw=write --ios=1 --destroy-data --force "$T/fs.img"

truncate -s 0 "$IMG"
truncate -s 1000K "$IMG"
printf data | dd of="$IMG" bs=1 seek=70000 conv=notrunc status=none
if command -v qemu-storage-daemon >/dev/null; then
    start_backend ''
    says "65536 of 1024000 bytes used" "$T/shared" "vhost-user:$SOCK"
    says "65536 of 1024000 bytes used" "$T/static" "vhost-user:$SOCK"
    # Two queues, each in a thread of its own, on two rings; what was written is read.
    bench --rw=randwrite --ios=3000 --queues=2 --iodepth=16 --bs=4096 --destroy-data --verify "vhost-user:$SOCK"
    [ "$(jq '.rings, .ios, .errors' "$T/json" | xargs)" = '2 3000 0' ] || fail "vhost-user: $(cat "$T/json")"
    bench --rw=write --ios=250 --destroy-data --verify "vhost-user:$SOCK"
    bench --rw=read --ios=500 --queues=2 --bs=1K --verify "vhost-user:$SOCK"
    bench --rw=flush --ios=10 "vhost-user:$SOCK"
    bench --rw=randdiscard --ios=10 --destroy-data "vhost-user:$SOCK"
    bench --rw=randwrite-zeroes --ios=10 --destroy-data "vhost-user:$SOCK"
    bench --rw=write --ios=250 --destroy-data --verify "vhost-user:$SOCK"
    bench --rw=randrw --ios=500 --queues=2 --destroy-data --verify "vhost-user:$SOCK"
    # Neither opening it nor looking at what it carries is part of the job.
    bench --rw=write --ios=1 --destroy-data --verify "vhost-user:$SOCK"
    [ "$(jq '.kicks + .kicks_saved, .resets, .queue_resets' "$T/json" | xargs)" = '1 0 0' ] || fail "figures: $(cat "$T/json")"
    kill_backend
    bench --rw=read --ios=250 --verify "$IMG"
    says "vhost-user:$SOCK: no back-end listens there" "$T/shared" "vhost-user:$SOCK"
else
    skip "a back-end needs qemu-storage-daemon (Debian 12: qemu-system-common, 13: qemu-utils)"
fi
echo "tests/lib/check.sh: passed"
