#!/bin/bash
# check.sh BUILD [TEST...] - vblkfs as the front-end of a vhost-user-blk back-end that others wrote, qemu-storage-daemon: its
# rings, its memory, its death and its return, under a real FUSE mount.
BUILD=${1:?usage: check.sh BUILD [TEST...]}
shift
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/fuse/lib.sh
. "$HERE/../fuse/lib.sh"
skip_without_fuse
command -v qemu-storage-daemon >/dev/null || {
    echo "SKIPPED: these tests need qemu-storage-daemon (Debian 12: qemu-system-common, 13: qemu-utils)" >&2
    [ -z "${VBLKFS_CI:-}" ] || fail "in CI nothing is skipped"
    exit 0
}
SOCK=$T/back-end.sock
export SIZE=512M

# shellcheck source=tests/vhost/backend.sh
. "$HERE/backend.sh"

# The mount first, which needs it; with clean_up() its number is gone, too.
end_all() {
    local pid=''
    [ ! -s "$T/back-end.pid" ] || pid=$(cat "$T/back-end.pid")
    clean_up
    [ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || true
}
trap end_all EXIT

# What lib.sh's run_tests begins each test with, on the back-end instead of the image.
make_fs() { # SIZE
    kill_backend
    rm -f "$IMG"
    truncate -s "$1" "$IMG"
    start_backend
    "$BUILD/mkfs.vblkfs" -q "vhost-user:$SOCK"
}

mount_fs() { # [options]
    "$BUILD/vblkfs" "vhost-user:$SOCK" "$MNT" "$@"
}

refused() { # PATTERN COMMAND...
    local pattern=$1
    shift
    ! "$@" 2>"$T/err" || fail "not refused: $*"
    [ "$(wc -l <"$T/err")" = 1 ] || fail "not one line: $(cat "$T/err")"
    grep -qE -- "$pattern" "$T/err" || fail "'$(cat "$T/err")' does not match '$pattern'"
}

test_a_copied_tree_is_the_same_after_a_remount() {
    cp -a /usr/include/linux "$MNT/linux"
    remount_fs
    diff -r --no-dereference /usr/include/linux "$MNT/linux"
    "$BUILD/vblkctl" stat --json "$MNT" >"$T/stat"
    [ "$(grep -c '"kicks":' "$T/stat")" = 2 ] || fail "not 2 rings: $(cat "$T/stat")"
}

test_the_image_holds_the_same_filesystem() {
    cp -a /usr/include/linux "$MNT/linux"
    umount_fs
    kill_backend
    "$BUILD/vblkfs" "$IMG" "$MNT" -o ro
    diff -r --no-dereference /usr/include/linux "$MNT/linux"
}

test_fio_verifies_what_it_wrote() {
    fio --name=v --directory="$MNT" --size=32m --nrfiles=4 --numjobs=2 --bsrange=512-1m \
        --rw=randwrite --verify=crc32c --do_verify=1 --verify_fatal=1 --end_fsync=1 --minimal >/dev/null
    fio --name=d --directory="$MNT" --size=32m --direct=1 --bs=4k --iodepth=32 --ioengine=libaio \
        --rw=randwrite --verify=crc32c --verify_fatal=1 --minimal >/dev/null
}

test_small_rings_and_polling() {
    remount_fs -o queue-size=4,poll,workers=4
    fio --name=p --directory="$MNT" --size=8m --direct=1 --bs=64k --iodepth=8 --ioengine=libaio \
        --rw=randwrite --verify=crc32c --verify_fatal=1 --minimal >/dev/null
}

test_random_operations_agree_with_a_model() {
    mkdir "$MNT/tree"
    "$BUILD/tools/fsrandom" --seed "${SEED:-1}" --ops 1500 --every 700 \
        --remount "'$BUILD/umount.fuse.vblkfs' '$MNT' && '$BUILD/vblkfs' 'vhost-user:$SOCK' '$MNT'" "$MNT/tree"
}

kill_and_restart() { # TIMES
    for _ in $(seq "$1"); do
        sleep 0.7
        kill_backend
        sleep 0.2
        start_backend
    done
}

# Without a write cache nothing is lost: every request that was under way is done again.
test_a_killed_backend_is_not_noticed_by_those_who_write() {
    local load
    remount_fs -o writethrough
    fio --name=k --directory="$MNT" --size=6m --bs=4k --iodepth=16 --ioengine=libaio --direct=1 \
        --rw=randwrite --verify=crc32c --verify_fatal=1 --minimal --loops=2 >/dev/null &
    load=$!
    kill_and_restart 3
    wait $load
    cp -a /usr/include/linux "$MNT/linux" &
    load=$!
    kill_and_restart 1
    wait $load
    remount_fs
    diff -r --no-dereference /usr/include/linux "$MNT/linux"
}

figures() { # of all rings, a line each
    "$BUILD/vblkctl" stat --json "$MNT" | jq '.rings | [map(.reads), map(.writes), map(.flushes), map(.others), map(.kicks),
        map(.kicks_saved), map(.interrupts)] | map(add)[]'
}

test_an_interval_is_the_difference_of_the_figures() {
    local watcher
    remount_fs -o spin_us=0
    cp -a /usr/include/linux "$MNT/linux"
    "$BUILD/vblkctl" sync "$MNT"
    figures >before
    "$BUILD/vblkctl" stat --json --watch=2 --count=1 "$MNT" >watch.json &
    watcher=$!
    sleep 0.5
    dd if=/dev/zero of="$MNT/zero" bs=64K count=100 oflag=direct conv=fsync status=none
    dd if="$MNT/zero" of=/dev/null bs=64K iflag=direct status=none
    "$BUILD/vblkctl" trim "$MNT"
    wait $watcher
    figures >after
    jq '.[0] | .seconds as $s | [.reads_s, .writes_s, .flushes_s, .others_s, .kicks_s, .kicks_saved_s, .interrupts_s][] * $s | round' \
        watch.json >seen
    paste before after | awk '{ print $2 - $1 }' | diff - seen || fail "$(cat before after watch.json)"
    jq -e '.[0] | [.rings[].writes_s] as [$a, $b] | ($a + $b - .writes_s | fabs) < 0.01' watch.json >/dev/null ||
        fail "the rings are not all: $(cat watch.json)"
    [ "$(head -n 5 seen | grep -c '^0$')" = 0 ] || fail "nothing happened: $(cat seen)"
}

# A worker that never spins sleeps at once, and is woken by the device, unless that is the faster one.
test_static_probes_tell_what_the_device_does() {
    has_probes || return 0
    remount_fs -o spin_us=0,workers=1
    watch_probes submit kick interrupt complete
    for _ in $(seq 200); do
        dd if=/dev/zero of="$MNT/f" bs=64K count=4 oflag=direct conv=fsync status=none
        ! grep -qE '^interrupt [01] 1$' probes || break
    done
    umount_fs
    wait "$watcher" || fail "gdb: $(cat probes.err)"
    grep -qE '^submit [01] 1 [1-9]' probes || fail "no write was submitted: $(cat probes)"
    grep -qE '^kick [01] [1-9][0-9]* [01]$' probes || fail "no batch was shown: $(cat probes)"
    grep -qE '^interrupt [01] 1$' probes || fail "nobody was woken: $(cat probes)"
    grep -qE '^complete [01] 1 [1-9]' probes || fail "no write took its time: $(cat probes)"
    [ "$(grep -c ^submit probes)" = "$(grep -c ^complete probes)" ] || fail "not all that was submitted was done"
}

# Requests wait meanwhile. Without a back-end there is nothing to reset; the next one is told the mode.
test_reset_and_cache_mode_under_load() {
    local load n=0 resets
    fio --name=k --directory="$MNT" --size=6m --bs=4k --iodepth=16 --ioengine=libaio --direct=1 \
        --rw=randwrite --verify=crc32c --verify_fatal=1 --minimal --loops=4 --fsync=32 >/dev/null &
    load=$!
    while kill -0 $load 2>/dev/null && [ $n -lt 12 ]; do
        "$BUILD/vblkctl" reset "$MNT"
        "$BUILD/vblkctl" cache "$MNT" writethrough
        [ "$("$BUILD/vblkctl" cache "$MNT")" = writethrough ] || fail "the mode is not shown"
        [ "$("$BUILD/vblkctl" cache --json "$MNT" | jq -r .cache)" = writethrough ] || fail "nor in JSON"
        "$BUILD/vblkctl" reset "$MNT"
        "$BUILD/vblkctl" cache "$MNT" writeback
        n=$((n + 1))
    done
    wait $load
    [ $n -gt 0 ] || fail "it was over before it began"
    resets=$("$BUILD/vblkctl" info --json "$MNT" | jq .resets)
    [ "$resets" = $((2 * n)) ] || fail "not $((2 * n)) resets: $resets"
    "$BUILD/vblkctl" cache "$MNT" writethrough
    kill_backend
    refused 'the back-end is gone' "$BUILD/vblkctl" reset "$MNT"
    start_backend
    cp -a /usr/include/linux "$MNT/linux"
    remount_fs
    diff -r --no-dereference /usr/include/linux "$MNT/linux"
}

# With one the back-end may have lost what it acknowledged: then fsync says so, and only what was
# synced counts.
test_a_write_cache_that_died_fails_the_next_fsync() {
    seq 100000 >"$MNT/synced"
    sync "$MNT/synced"
    dd if=/dev/urandom of="$MNT/data" bs=1M count=8 oflag=direct status=none
    kill_backend
    start_backend
    ! dd if=/dev/zero of="$MNT/more" bs=4k count=1 conv=fsync 2>"$T/err" || fail "fsync saw nothing"
    ! touch "$MNT/f" 2>/dev/null || fail "still writable"
    umount_fs 2>/dev/null || true
    mount_fs
    [ "$(cat "$MNT/synced")" = "$(seq 100000)" ] || fail "a file that was synced is gone"
    seq 10 >"$MNT/f"
    sync "$MNT/f"
}

test_readers_wait_for_the_next_backend() {
    dd if=/dev/urandom of="$MNT/data" bs=1M count=32 status=none
    remount_fs -o ro
    kill_backend
    (sleep 1; start_backend) &
    cmp "$MNT/data" "$MNT/data" # from the disk: nothing is cached yet
    wait
    fio --name=r --filename="$MNT/data" --readonly --rw=randread --bs=4k --direct=1 --iodepth=8 \
        --ioengine=libaio --size=32m --minimal >/dev/null
}

test_a_mount_whose_backend_is_gone_can_be_unmounted() {
    kill_backend
    (sleep 2; start_backend) &
    umount_fs
    wait
    mount_fs
}

test_a_backend_that_is_read_only() {
    seq 10 >"$MNT/f"
    umount_fs
    kill_backend
    start_backend writable=off
    refused 'read-only' mount_fs -o rw
    mount_fs -o ro
    [ "$(cat "$MNT/f")" = "$(seq 10)" ] || fail "wrong contents"
}

test_blocks_of_4096() {
    umount_fs
    kill_backend
    start_backend logical-block-size=4096
    mount_fs
    cp -a /usr/include/linux "$MNT/linux"
    remount_fs
    diff -r --no-dereference /usr/include/linux "$MNT/linux"
}

test_it_is_as_large_as_its_image() {
    umount_fs
    kill_backend
    rm "$IMG"
    truncate -s 300004K "$IMG"
    "$BUILD/mkfs.vblkfs" -n --json "$IMG" | grep -vE 'uuid|disk' >"$T/image"
    start_backend
    "$BUILD/mkfs.vblkfs" -n --json "vhost-user:$SOCK" | grep -vE 'uuid|disk' >"$T/socket"
    diff "$T/image" "$T/socket"
    "$BUILD/mkfs.vblkfs" -q "vhost-user:$SOCK"
    mount_fs
}

test_what_is_wrong_is_said_in_one_line() {
    refused 'serve somebody else' "$BUILD/mkfs.vblkfs" -n "vhost-user:$SOCK"
    umount_fs
    kill_backend
    refused 'no back-end listens' mount_fs
    rm -f "$SOCK"
    refused 'no back-end listens' mount_fs
    refused 'name too long' "$BUILD/mkfs.vblkfs" -n "vhost-user:$(printf '/%0200d' 1)"
    refused 'image files only' "$BUILD/mkfs.vblkfs" "vhost-user:$SOCK" 1G
    start_backend
    mount_fs
}

run_tests "$@"
