#!/bin/bash
# fio.sh BUILD - fio(1) with this library's engine: data verified, on an image file and on a vhost-user back-end.
BUILD=${1:?usage: fio.sh BUILD}
# shellcheck source=tests/lib/lib.sh
. "$(dirname "$0")/lib.sh"

command -v fio >/dev/null || skip "fio's engine needs fio (Debian: fio)"
command -v qemu-storage-daemon >/dev/null || skip "a back-end needs qemu-storage-daemon (Debian 12: qemu-system-common, 13: qemu-utils)"
[ "${FIO_SRC:-}" ] || FIO_SRC=$("$HERE/fio-source" 2>"$T/err") || skip "no source of fio: $(tail -n 1 "$T/err")"
make -s -C "$HERE/../.." O="$BUILD" FIO_SRC="$FIO_SRC" fio-engine
cd "$T" # fio leaves files where it runs

run() { # OPTIONS...: no error; its figures are $T/json
    fio --ioengine=external:"$BUILD/vblk-fio.so" --output-format=json --output="$T/json" "$@" 2>"$T/err" ||
        fail "fio $*: $(cat "$T/err" "$T/json")"
    jq -e '[.jobs[].error] | all(. == 0)' "$T/json" >"$T/out" || fail "fio $*: $(cat "$T/err" "$T/json")"
}
refused() { # WORDS OPTIONS...
    local words=$1
    shift
    ! fio --ioengine=external:"$BUILD/vblk-fio.so" "$@" >"$T/out" 2>&1 || fail "not refused: $*"
    grep -qF -- "$words" "$T/out" || fail "\"$(cat "$T/out")\" does not say \"$words\""
}
verified=(--verify=crc32c --verify_fatal=1 --do_verify=1)

on_disk() { # SOURCE
    run --disk="$1" --name=mixed --rw=randwrite --bsrange=512-256k --iodepth=16 --size=16m "${verified[@]}"
    run --disk="$1" --name=deep --rw=randwrite --bs=4k --iodepth=128 --iodepth_batch=32 --size=8m --fsync=64 "${verified[@]}"
    # Two queues of one disk, in two threads, each on its part, and one more that only reads.
    run --disk="$1" --bs=8k --iodepth=8 --size=8m --name=reader --rw=randread \
        --name=a --rw=randwrite --offset=0 "${verified[@]}" --name=b --rw=randwrite --offset=32m "${verified[@]}"
    [ "$(jq '.jobs | length' "$T/json")" = 3 ] || fail "not three jobs: $(cat "$T/json")"
    run --disk="$1" --name=trim --rw=randtrim --bs=64k --iodepth=4 --size=4m --io_size=4m
    [ "$(jq '.jobs[0].trim.total_ios' "$T/json")" = 64 ] || fail "not 64 trims: $(cat "$T/json")"
    run --disk="$1" --name=sync --rw=write --bs=4k --size=1m --end_fsync=1 --fdatasync=16
}

truncate -s 64M "$IMG"
on_disk "$IMG"
# It is on the disk, and not elsewhere: the kernel's file says the same.
run --disk="$IMG" --name=there --rw=write --bs=64k --size=8m --verify=crc32c --do_verify=0
fio --name=there --filename="$IMG" --rw=write --bs=64k --size=8m --verify=crc32c --verify_only=1 >"$T/out" 2>&1 ||
    fail "the file holds other data: $(cat "$T/out")"
start_backend ''
on_disk "vhost-user:$SOCK"
run --disk="vhost-user:$SOCK" --poll=1 --rings=1 --name=poll --rw=randwrite --bs=4k --iodepth=4 --size=2m "${verified[@]}"
# Two disks in one process.
truncate -s 16M "$T/other.img"
run --size=8m --rw=randwrite --bs=4k --iodepth=16 "${verified[@]}" --name=a --disk="$T/other.img" --name=b --disk="vhost-user:$SOCK"
kill_backend

# One that was built for another fio, by what it says of itself.
version=$(fio --version)
sed "s/$version/${version//[0-9]/0}/" "$BUILD/vblk-fio.so" >"$T/other.so"
! fio --ioengine=external:"$T/other.so" --name=x --rw=read --disk="$IMG" >"$T/out" 2>&1 || fail "another fio's engine runs"
grep -q 'build it anew' "$T/out" || fail "another fio's engine: $(cat "$T/out")"
refused 'disk= is missing' --name=x --rw=read
refused 'no back-end listens there' --name=x --rw=read --disk="vhost-user:$SOCK"
(
    exec 9<"$IMG"
    flock -s 9
    refused 'in use by another process' --name=x --rw=write --size=4k --disk="$IMG"
)
echo "tests/lib/fio.sh: passed"
