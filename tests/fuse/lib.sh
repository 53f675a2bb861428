# shellcheck shell=bash
# lib.sh - what the tests on a real FUSE mount share. Sourced with BUILD set.
#
# Each test is a function test_NAME; run_tests runs those named on the command line, or all, each on a filesystem of its own
# in $T/disk.img, mounted at $T/mnt. A test fails by calling fail, or by a command that fails (set -e).

set -euo pipefail
BUILD=$(realpath "$BUILD")
T=$(mktemp -d "${TMPDIR:-/tmp}/vblkfs-test.XXXXXX")
IMG=$T/disk.img
MNT=$T/mnt
mkdir "$MNT"
cd "$T" # fio leaves files where it runs

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

make_fs() { # SIZE [mkfs options]
    rm -f "$IMG"
    truncate -s "$1" "$IMG"
    "$BUILD/mkfs.vblkfs" -q "${@:2}" "$IMG"
}

is_mounted() { # also when its daemon is dead, which mountpoint(1) does not count
    grep -qF " $MNT " /proc/self/mounts
}

mount_fs() { # [options]
    "$BUILD/vblkfs" "$IMG" "$MNT" "$@"
}

umount_fs() {
    "$BUILD/umount.fuse.vblkfs" "$MNT"
}

remount_fs() {
    umount_fs
    mount_fs "$@"
}

daemon_pid() {
    local pid
    pid=$("$BUILD/vblkctl" stat --json "$MNT" | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' | head -n 1)
    [ -n "$pid" ] || fail "vblkctl stat names no pid"
    echo "$pid"
}

clean_up() {
    if is_mounted; then
        "$BUILD/umount.fuse.vblkfs" "$MNT" 2>/dev/null || umount -l "$MNT" 2>/dev/null || true
    fi
    rm -rf "$T"
}
trap clean_up EXIT

skip_without_fuse() {
    [ -c /dev/fuse ] && [ "$(id -u)" = 0 ] && return 0
    echo "SKIPPED: tests on a FUSE mount need /dev/fuse and root" >&2
    [ -z "${VBLKFS_CI:-}" ] || fail "in CI nothing is skipped"
    exit 0
}

has_probes() {
    readelf -n "$BUILD/vblkfs" | grep -q 'Name: interrupt$' && return
    echo "SKIPPED: built without systemtap-sdt-dev"
    [ -z "${VBLKFS_CI:-}" ] || fail "systemtap-sdt-dev is missing"
    return 1
}

# gdb(1) writes to the file probes which the daemon passes, with up to three arguments, until it ends.
watch_probes() { # NAME...; sets watcher
    local probe last
    {
        echo "set pagination off"
        for probe in "$@"; do
            last=2
            [ "$probe" != interrupt ] || last=1
            printf 'break -probe-stap vblkfs:%s\ncommands\nsilent\n' "$probe"
            # shellcheck disable=SC2046
            printf 'printf "%s%s\\n"' "$probe" "$(printf ' %%u%.0s' $(seq 0 $last))"
            # shellcheck disable=SC2046,SC2016
            printf ', $_probe_arg%d' $(seq 0 $last)
            printf '\ncontinue\nend\n'
        done
        printf 'printf "watching\\n"\ncontinue\n'
    } >probes.gdb
    gdb -nx -batch -p "$(daemon_pid)" -x probes.gdb >probes 2>probes.err &
    watcher=$!
    until grep -qs '^watching' probes; do
        kill -0 $watcher || fail "gdb: $(cat probes.err)"
        sleep 0.05
    done
}

# Called neither in an if nor before || or &&: there set -e does not hold, at any depth.
run_one() { # NAME; sets status
    local log=$T/log start=$SECONDS
    set +e
    (set -e; trap - EXIT; make_fs "${SIZE:-1G}"; mount_fs; "test_$1"; if is_mounted; then umount_fs; fi) >"$log" 2>&1
    status=$?
    set -e
    if [ "$status" != 0 ]; then
        echo "not ok  $1 ($((SECONDS - start)) s)"
        sed 's/^/    /' "$log" | tail -n 40
        ! is_mounted || umount_fs 2>/dev/null || umount -l "$MNT"
    else
        echo "ok      $1 ($((SECONDS - start)) s)"
    fi
}

run_tests() {
    local bad=0 name status
    [ $# -gt 0 ] || mapfile -t names < <(declare -F | sed -n 's/^declare -f test_//p')
    [ $# -eq 0 ] || names=("$@")
    for name in "${names[@]}"; do
        run_one "$name"
        [ "$status" = 0 ] || bad=$((bad + 1))
    done
    [ $bad -eq 0 ] || fail "$bad of ${#names[@]} tests"
    echo "all ${#names[@]} tests on a FUSE mount passed"
}
