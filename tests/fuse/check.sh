#!/bin/bash
# check.sh BUILD [TEST...] - the filesystem under a real FUSE mount of an image file: random operations against a model,
# system calls against POSIX, data verified by fio, real programs, and the life of a mount.
BUILD=${1:?usage: check.sh BUILD [TEST...]}
shift
HERE=$(cd "$(dirname "$0")" && pwd)
REPO=$(cd "$HERE/../.." && pwd)
# shellcheck source=tests/fuse/lib.sh
. "$HERE/lib.sh"
skip_without_fuse

random_operations() { # SEED OPS
    local sub=$MNT/tree
    mkdir "$sub"
    "$BUILD/tools/fsrandom" --seed "$1" --ops "$2" --every 1500 \
        --remount "'$BUILD/umount.fuse.vblkfs' '$MNT' && '$BUILD/vblkfs' '$IMG' '$MNT'" "$sub"
}
test_random_operations_agree_with_a_model() {
    random_operations "${SEED:-1}" "${OPS:-6000}"
}
test_random_operations_with_a_fresh_seed() {
    random_operations "${SEED:-$(date +%s)}" "${OPS:-3000}"
}
test_random_operations_with_one_worker() {
    remount_fs -o workers=1
    mkdir "$MNT/tree"
    "$BUILD/tools/fsrandom" --seed 7 --ops 2000 "$MNT/tree"
}

test_system_calls_do_what_posix_says() {
    chmod 755 "$T" "$MNT"
    "$BUILD/tools/posix" "$MNT"
}

test_fio_verifies_what_it_wrote() {
    fio --name=v --directory="$MNT" --size=48m --nrfiles=4 --numjobs=2 --bsrange=512-256k \
        --rw=randwrite --verify=crc32c --do_verify=1 --verify_fatal=1 --end_fsync=1 --minimal >/dev/null
    fio --name=d --directory="$MNT" --size=32m --direct=1 --bs=4k --iodepth=16 --ioengine=libaio \
        --rw=randwrite --verify=crc32c --verify_fatal=1 --minimal >/dev/null
}

list_tree() { # every name with type, mode, owner, links, size and nanosecond time
    (cd "$1" && find . -printf '%p %y %m %U:%G %n %s %T@ %l\n' | sed 's/^\(\S* d \S* \S* \S*\) \S*/\1/' | sort)
}

test_a_copied_tree_is_the_same_after_a_remount() {
    cp -a /usr/include "$MNT/include"
    remount_fs
    diff -r --no-dereference /usr/include "$MNT/include"
    diff <(list_tree /usr/include) <(list_tree "$MNT/include")
}

test_git_clones_and_checks_the_repository() {
    git clone -q --no-hardlinks "$REPO" "$MNT/clone"
    git -C "$MNT/clone" fsck --strict
    remount_fs
    [ -z "$(git -C "$MNT/clone" status --porcelain)" ] || fail "the clone differs from what was cloned"
}

test_the_project_builds_on_itself() {
    mkdir "$MNT/src"
    (cd "$REPO" && git ls-files -z | tar --null -T - -cf -) | tar -C "$MNT/src" -xf -
    make -s -C "$MNT/src" -j2 build/mkfs.vblkfs
    "$MNT/src/build/mkfs.vblkfs" --version
}

test_tar_packs_and_unpacks() {
    tar -C /usr/include -cf "$MNT/linux.tar" linux
    mkdir "$MNT/out"
    tar -C "$MNT/out" -xf "$MNT/linux.tar"
    tar -C "$MNT/out" --compare -f "$MNT/linux.tar"
}

test_sqlite_with_its_write_ahead_log() {
    sqlite3 "$MNT/t.db" "PRAGMA journal_mode=WAL; CREATE TABLE t(i INTEGER PRIMARY KEY, x BLOB);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
        INSERT INTO t SELECT i, randomblob(500) FROM n; UPDATE t SET x = randomblob(700) WHERE i % 3 = 0; DELETE FROM t WHERE i % 7 = 0;"
    remount_fs
    [ "$(sqlite3 "$MNT/t.db" 'PRAGMA integrity_check; SELECT count(*) FROM t')" = "ok
2572" ] || fail "the database is not what was written"
}

rss_kib() {
    awk '/^VmRSS/ { print $2 }' "/proc/$(daemon_pid)/status"
}

test_a_directory_of_100000_entries() {
    local before after
    umount_fs
    make_fs 2G # for as many inodes
    mount_fs
    mkdir "$MNT/big"
    (cd "$MNT/big" && seq -f 'file-%06.0f' 100000 | xargs touch)
    remount_fs -o cache=4
    before=$(rss_kib)
    [ "$(find "$MNT/big" -type f -links 1 | wc -l)" = 100000 ] || fail "not all names are there"
    [ -e "$MNT/big/file-077777" ] || fail "a name is not found"
    rm -r "$MNT/big"
    [ "$(ls -A "$MNT")" = "" ] || fail "names are left"
    after=$(rss_kib) # 100,000 inodes take 60 MiB
    [ $((after - before)) -lt 35000 ] || fail "the daemon keeps $((after - before)) KiB"
}

test_a_full_disk_gives_its_space_back() {
    umount_fs
    make_fs 64M
    mount_fs
    local before after
    before=$(stat -fc %f "$MNT")
    for i in 1 2 3; do
        dd if=/dev/zero of="$MNT/fill$i" bs=1M oflag=direct 2>"$T/dd" && fail "the disk was never full"
        grep -q 'No space left' "$T/dd" || fail "another error than ENOSPC"
        rm "$MNT"/fill*
        sync -f "$MNT"
    done
    remount_fs
    after=$(stat -fc %f "$MNT")
    [ "$before" = "$after" ] || fail "free blocks: $before before, $after after"
}

test_a_writer_who_never_syncs_hears_of_a_full_disk() {
    umount_fs
    make_fs 64M
    mount_fs
    local status=0
    timeout 60 dd if=/dev/zero of="$MNT/fill" bs=1M 2>"$T/dd" || status=$?
    [ $status = 1 ] || fail "dd ended with status $status: $(cat "$T/dd")"
    grep -q 'error writing.*No space left' "$T/dd" || fail "write() did not say so: $(cat "$T/dd")"
    rm "$MNT/fill"
    # A write past the cache fails by itself, and nobody else is told.
    dd if=/dev/zero of="$MNT/fill" bs=64K oflag=direct 2>"$T/dd" && fail "the disk was never full"
    cat "$MNT/fill" >/dev/null || fail "the reader was told"
    rm "$MNT/fill"
    ! sync -f "$MNT" || fail "the kernel never told of what it could not write" # it does so once
    sync -f "$MNT"
    seq 1000 >"$MNT/after"
    cat "$MNT/after" >"$T/read"
    cmp <(seq 1000) "$T/read"
}

# The image gets holes where files were, and fstrim(8) finds the mount as well as vblkctl does.
test_trim_gives_the_space_of_deleted_files_back() {
    local full trimmed
    for i in $(seq 40); do
        dd if=/dev/urandom of="$MNT/f$i" bs=64K count="$i" status=none
    done
    dd if=/dev/urandom of="$MNT/large" bs=1M count=60 conv=fsync status=none
    (cd "$MNT" && md5sum f*[13579]) >sums
    full=$(du -k "$IMG" | cut -f1)
    rm "$MNT"/large "$MNT"/f*[02468]
    "$BUILD/vblkctl" trim "$MNT" | grep -E "MiB trimmed$" || fail "it does not say how much"
    trimmed=$(du -k "$IMG" | cut -f1)
    [ "$trimmed" -lt $((full - 60000)) ] || fail "the image had $full KiB and has $trimmed"
    [ "$(fstrim -v "$MNT" | grep -c "bytes) trimmed")" = 1 ] || fail "fstrim"
    su nobody -s /bin/sh -c "fstrim $MNT" 2>err && fail "nobody may trim"
    remount_fs
    (cd "$MNT" && md5sum --quiet -c "$T/sums")
    remount_fs -o ro
    ! "$BUILD/vblkctl" trim "$MNT" 2>err || fail "trimmed a read-only mount"
    [ "$(cat err)" = "vblkctl: $MNT: it is read-only" ] || fail "it says: $(cat err)"
}

test_an_image_is_not_erased_securely() {
    ! "$BUILD/vblkctl" trim --secure "$MNT" 2>"$T/err" || fail "erased"
    [ "$(cat "$T/err")" = "vblkctl: $MNT: the disk can't erase securely" ] || fail "it says: $(cat "$T/err")"
    ! "$BUILD/vblkctl" sync --secure "$MNT" 2>"$T/err" || fail "sync took --secure"
}

as_user() { # COMMAND...: as somebody who is not root and has logged in
    XDG_RUNTIME_DIR=$T/user setpriv --reuid nobody --regid nogroup --clear-groups "$@"
}

user_mount() { # a filesystem of the user's
    chown nobody "$MNT"
    umount_fs
    chmod 755 "$T"
    mkdir -p "$T/user"
    chown nobody "$IMG" "$MNT" "$T/user"
    as_user "$BUILD/vblkfs" "$IMG" "$MNT"
}

user_daemon() {
    basename "$T/user/vblkfs/"*.sock .sock
}

test_a_user_unmounts_what_is_the_users_own() {
    user_mount
    as_user "$BUILD/vblkctl" stat "$MNT" | grep -q "^$IMG on $MNT" || fail "stat finds no daemon"
    [ "$(as_user "$BUILD/umount.fuse.vblkfs" -v "$MNT")" = "umount: $MNT: unmounted, and the disk is clean" ] ||
        fail "it did not wait for the daemon"
    flock -n "$IMG" true || fail "the image is still locked"
    ! as_user "$BUILD/umount.fuse.vblkfs" "$MNT" 2>"$T/err" || fail "unmounted twice"
    [ "$(wc -l <"$T/err")" = 1 ] || fail "not one line: $(cat "$T/err")"
    mount_fs
    ! as_user "$BUILD/umount.fuse.vblkfs" "$MNT" 2>"$T/err" || fail "root's was unmounted"
    is_mounted || fail "root's is not mounted any more"
}

test_a_users_daemon_ends_and_is_replaced() {
    local pid
    user_mount
    pid=$(user_daemon)
    as_user touch "$MNT/f"
    kill -KILL "$pid"
    while [ -d "/proc/$pid" ]; do sleep 0.05; done
    as_user "$BUILD/vblkfs" "$IMG" "$MNT"
    as_user touch "$MNT/g"
    rm "$T/user/vblkfs/$pid.sock"
    pid=$(user_daemon)
    kill -TERM "$pid"
    while [ -d "/proc/$pid" ]; do sleep 0.05; done
    ! is_mounted || fail "still mounted"
    mount_fs
    [ -e "$MNT/g" ] || fail "a name is gone"
}

test_truncating_open_empties_the_file() {
    seq 10000 >"$MNT/f"
    : >"$MNT/f"
    [ ! -s "$MNT/f" ] || fail "size $(stat -c %s "$MNT/f")"
    seq 3 >"$MNT/f"
    remount_fs
    [ "$(cat "$MNT/f")" = "$(seq 3)" ] || fail "wrong contents"
}

test_an_unlinked_open_file_lives_until_closed() {
    exec 9<>"$MNT/gone"
    seq 5000 >&9
    rm "$MNT/gone"
    [ "$(wc -l </proc/self/fd/9)" = 5000 ] || fail "contents lost"
    exec 9>&-
}

test_writing_clears_setuid_and_capability() {
    chmod 755 "$T" "$MNT"
    cp /bin/true "$MNT/prog"
    setcap cap_net_raw+ep "$MNT/prog"
    chown nobody "$MNT/prog"
    [ -z "$(getcap "$MNT/prog")" ] || fail "a capability outlives a change of owner"
    setcap cap_net_raw+ep "$MNT/prog"
    chmod 6777 "$MNT/prog"
    setpriv --reuid nobody --clear-groups sh -c "echo x >>'$MNT/prog'"
    [ "$(stat -c %a "$MNT/prog")" = 777 ] || fail "mode is $(stat -c %a "$MNT/prog")"
    [ -z "$(getcap "$MNT/prog")" ] || fail "a capability outlives a write"
}

test_umount_returns_when_the_image_is_free_and_clean() {
    cp -a /usr/include/linux "$MNT/"
    umount_fs
    flock -n "$IMG" true || fail "the image is still locked"
    "$BUILD/vblkfs" "$IMG" "$MNT" -o ro
    diff -r /usr/include/linux "$MNT/linux"
}

test_sigterm_unmounts_cleanly() {
    local pid
    pid=$(daemon_pid)
    seq 100000 >"$MNT/f"
    kill -TERM "$pid"
    for _ in $(seq 100); do [ -d "/proc/$pid" ] || break; sleep 0.1; done
    [ ! -d "/proc/$pid" ] || fail "the daemon is still there"
    ! is_mounted || fail "still mounted"
    mount_fs
    [ "$(cat "$MNT/f")" = "$(seq 100000)" ] || fail "contents lost"
}

test_a_killed_daemon_is_remounted_by_one_command() {
    local pid
    pid=$(daemon_pid)
    seq 20000 >"$MNT/synced"
    sync "$MNT/synced"
    cp -a /usr/include/linux "$MNT/" &
    sleep 0.3
    kill -KILL "$pid"
    wait || true
    mount_fs
    [ "$(cat "$MNT/synced")" = "$(seq 20000)" ] || fail "a file that was synced is gone"
}

# Who says that nothing was lost must say so when something was.
test_the_judge_of_what_was_synced_sees_each_loss() {
    local judge=("$BUILD/tools/synced" check "$T/marks" "$MNT/a") file
    mkdir "$MNT/a"
    "$BUILD/tools/synced" run --streams 1 --seed 4 --steps 300 "$T/marks" "$MNT/a"
    "${judge[@]}"
    file=$(find "$MNT/a/stream0" -maxdepth 1 -name 'f??' -links 1 -size +8k | sort | head -n 1)
    cp "$file" "$T/whole"

    printf 'damaged!' | dd of="$file" bs=1 seek=5000 conv=notrunc status=none
    guilty 'byte|not what was synced' "${judge[@]}"
    dd if="$T/whole" of="$file" conv=notrunc status=none
    truncate -s -1 "$file"
    guilty 'bytes' "${judge[@]}"
    dd if="$T/whole" of="$file" conv=notrunc status=none
    mv "$file" "$MNT/away"
    guilty 'is gone' "${judge[@]}"
    mkdir -p "$MNT/a/stream0/d1"
    cp "$MNT/away" "$MNT/a/stream0/d1/${file##*/}"
    guilty "$(basename "$file") is in|is there" "${judge[@]}"
    rm "$MNT/a/stream0/d1/${file##*/}"
    rmdir --ignore-fail-on-non-empty "$MNT/a/stream0/d1"
    mv "$MNT/away" "$file"
    touch "$MNT/a/stream0/stranger"
    guilty 'stranger' "${judge[@]}"
    rm "$MNT/a/stream0/stranger"
    ln "$file" "$MNT/a/elsewhere"
    guilty 'links' "${judge[@]}"
    rm "$MNT/a/elsewhere"
    "${judge[@]}"
}

guilty() { # PATTERN COMMAND...
    ! "${@:2}" 2>"$T/err" || fail "nothing was seen where '$1' was to be"
    grep -qE "$1" "$T/err" || fail "not '$1': $(cat "$T/err")"
}

# Steps that are each synced before the next, in three directories; others write beside them without.
test_what_was_synced_survives_kills() {
    local round earlier
    for round in $(seq "${VBLKFS_ROUNDS:-3}"); do
        mkdir "$MNT/round$round"
        "$BUILD/tools/synced" run --seed "$RANDOM" --seconds 600 "$T/marks$round" "$MNT/round$round" &
        sleep "1.$((RANDOM % 900 + 100))"
        kill -KILL "$(daemon_pid)"
        wait $! || true
        flock -w 10 "$IMG" true # all of it is dead
        "$BUILD/tools/synced" image --base "/round$round" "$T/marks$round" "$IMG" # read only, and fsck
        mount_fs
        for earlier in $(seq "$round"); do
            "$BUILD/tools/synced" check "$T/marks$earlier" "$MNT/round$earlier"
        done
    done
    umount_fs
    "$BUILD/tools/synced" image --base "/round$round" "$T/marks$round" "$IMG"
}

kill_daemon() {
    local pid
    pid=$(daemon_pid)
    kill -KILL "$pid"
    while [ -d "/proc/$pid" ]; do sleep 0.05; done
}

# With commit=300 nothing is committed but by what is tested.
test_promise_1_synchronous_writes_and_fsync_are_there_after_a_kill() {
    remount_fs -o commit=300
    dd if=/usr/bin/env of="$MNT/dsync" bs=4k count=5 oflag=dsync 2>/dev/null
    dd if=/usr/bin/env of="$MNT/sync" bs=4k count=5 oflag=sync 2>/dev/null
    mkdir "$MNT/dir"
    touch "$MNT/dir/name"
    sync "$MNT/dir"
    touch "$MNT/late"
    kill_daemon
    mount_fs
    head -c 20480 /usr/bin/env | cmp - "$MNT/dsync"
    head -c 20480 /usr/bin/env | cmp - "$MNT/sync"
    [ -e "$MNT/dir/name" ] || fail "a name is gone from a directory that was synced"
    [ ! -e "$MNT/late" ] || fail "it was committed anyway: this test shows nothing"
}

test_promise_3_and_9_a_renamed_file_is_whole_after_a_kill() {
    seq 1000 >"$MNT/f"
    sync "$MNT/f"
    seq 50000 >"$MNT/f.new"
    mv "$MNT/f.new" "$MNT/f"
    "$BUILD/vblkctl" sync "$MNT"
    seq 90000 >"$MNT/f.new"
    mv "$MNT/f.new" "$MNT/f"
    kill_daemon
    mount_fs
    cmp <(seq 50000) "$MNT/f" 2>/dev/null || cmp <(seq 90000) "$MNT/f"
}

test_sync_makes_all_durable_that_was_written() {
    remount_fs -o commit=300
    cp -a /usr/include/linux "$MNT/"
    head -c 100M /dev/urandom >"$T/random"
    # Dirty pages: written by a process that has not closed the file yet.
    exec 9>"$MNT/random"
    cat "$T/random" >&9
    "$BUILD/vblkctl" sync "$MNT"
    kill_daemon
    exec 9>&- || true
    mount_fs
    diff -r /usr/include/linux "$MNT/linux"
    cmp "$T/random" "$MNT/random"
}

test_promise_13_a_copy_of_a_frozen_disk_has_all_and_reading_goes_on() {
    umount_fs
    make_fs 64M
    mount_fs
    seq 1000 >"$MNT/f"
    mkdir "$MNT/w" # whoever waits to make a name has the kernel's lock of that directory
    "$BUILD/vblkctl" freeze "$MNT"
    ! "$BUILD/vblkctl" freeze "$MNT" 2>"$T/err" || fail "frozen twice"
    grep -q 'frozen already' "$T/err"
    "$BUILD/vblkctl" stat --json "$MNT" | grep -q '"frozen": *true'
    "$BUILD/vblkctl" stat "$MNT" | grep -q ', frozen'
    cp "$IMG" "$T/copy.img"
    for i in $(seq 20); do seq 100 >"$MNT/w/new$i" & done
    dd if=/dev/zero of="$MNT/w/f2" bs=1M count=4 oflag=direct 2>/dev/null &
    sleep 6 # longer than commit=
    cmp <(seq 1000) "$MNT/f"
    [ ! -e "$MNT/none" ] || fail "a name that nobody made"
    cmp "$IMG" "$T/copy.img" || fail "something was written while it was frozen"
    "$BUILD/fsck.vblkfs" -f -n "$T/copy.img"
    "$BUILD/vblkctl" thaw "$MNT"
    wait
    for i in $(seq 20); do cmp <(seq 100) "$MNT/w/new$i"; done
    ! "$BUILD/vblkctl" thaw "$MNT" 2>"$T/err" || fail "thawed twice"
    umount_fs
    IMG=$T/copy.img mount_fs
    cmp <(seq 1000) "$MNT/f"
}

test_a_frozen_mount_can_be_unmounted_and_its_daemon_ended() {
    seq 1000 >"$MNT/f"
    "$BUILD/vblkctl" freeze "$MNT"
    seq 1000 >"$MNT/g" &
    sleep 0.3
    kill -TERM "$(daemon_pid)"
    wait || true
    for _ in $(seq 100); do is_mounted || break; sleep 0.1; done
    ! is_mounted || fail "still mounted"
    while ! mount_fs 2>"$T/err"; do grep -q 'in use' "$T/err" || fail "$(cat "$T/err")"; sleep 0.1; done
    cmp <(seq 1000) "$MNT/f"
    exec 9>"$MNT/h"
    seq 1000 >&9
    "$BUILD/vblkctl" freeze "$MNT"
    exec 9>&-
    umount_fs 2>"$T/err"
    grep -q thawed "$T/err" || fail "umount did not say that it thawed: $(cat "$T/err")"
    mount_fs
    cmp <(seq 1000) "$MNT/h"
}

test_shutdown_is_a_power_cut_or_one_after_a_commit() {
    remount_fs -o commit=300
    touch "$MNT/a"
    "$BUILD/vblkctl" sync "$MNT"
    touch "$MNT/b"
    "$BUILD/vblkctl" shutdown "$MNT"
    ! touch "$MNT/c" 2>"$T/err" || fail "a file could be made"
    grep -q 'Input/output error' "$T/err" || fail "not EIO: $(cat "$T/err")"
    ! umount_fs 2>"$T/err" || fail "unmounted as if clean"
    grep -q 'not clean' "$T/err" || fail "umount did not say so: $(cat "$T/err")"
    mount_fs -o commit=300
    [ -e "$MNT/a" ] || fail "what was synced is gone"
    [ ! -e "$MNT/b" ] || fail "it was committed: this was no power cut"
    touch "$MNT/b"
    [ "$("$BUILD/vblkctl" shutdown --flush --json "$MNT" | tr -d ' \n')" = '{"result":"shutdown"}' ]
    umount_fs 2>/dev/null || true
    mount_fs
    [ -e "$MNT/b" ] || fail "what was flushed is gone"
}

test_a_read_only_mount_refuses_and_writes_nothing() {
    umount_fs
    make_fs 64M
    mount_fs
    seq 10 >"$MNT/f"
    umount_fs
    sha256sum "$IMG" >"$T/sum"
    mount_fs -o ro
    [ "$(cat "$MNT/f")" = "$(seq 10)" ] || fail "wrong contents"
    ! touch "$MNT/g" 2>/dev/null || fail "a file could be made"
    umount_fs
    sha256sum --quiet -c "$T/sum"
}

test_bad_options_are_refused_in_one_line() {
    umount_fs
    ! mount_fs -o nonsense=1 2>"$T/err" || fail "mounted with an unknown option"
    [ "$(wc -l <"$T/err")" = 1 ] || fail "not one line: $(cat "$T/err")"
    grep -q nonsense "$T/err" || fail "the option is not named: $(cat "$T/err")"
    mount_fs -o rw,defaults,noatime,nofail,_netdev,x-systemd.automount,nodev,nosuid
}

test_an_idle_mount_uses_no_cpu() {
    local pid before after
    pid=$(daemon_pid)
    cp -a /usr/include/linux "$MNT/"
    sync -f "$MNT"
    sleep 7 # the last commit
    before=$(awk '{print $14 + $15}' "/proc/$pid/stat")
    sleep 5
    after=$(awk '{print $14 + $15}' "/proc/$pid/stat")
    [ "$before" = "$after" ] || fail "$((after - before)) clock ticks in 5 s"
}

test_stat_shows_latencies_and_what_an_interval_brought() {
    local line
    cp -a /usr/include/linux "$MNT/"
    sync "$MNT/linux/fs.h"
    "$BUILD/vblkctl" stat "$MNT" | grep -E '^  total +write +[0-9]+ +[0-9]+' || fail "no latency of writes"
    "$BUILD/vblkctl" stat --json "$MNT" |
        jq -e '[.rings[] | (.latency.write.buckets | add // 0) == .writes] | all' >/dev/null ||
        fail "not every write is in a bucket"
    "$BUILD/vblkctl" stat --json --watch=1.5 --count=1 "$MNT" >watch.json &
    sleep 0.3
    dd if=/dev/zero of="$MNT/zero" bs=1M count=6 conv=fsync status=none
    wait $!
    jq -e '.[0].write | .p50_us <= .p99_us and .p99_us <= .p99_9_us' watch.json >/dev/null || fail "percentiles: $(cat watch.json)"
    line=$(jq -r '.[0] | (.write_mib_s * .seconds | round), .errors, (.flush.p99_us > 0)' watch.json | paste -sd ' ')
    [[ $line =~ ^[67]\ 0\ true$ ]] || fail "6 MiB and a flush, seen as: $line"
    jq -e '.[0] | .write as $all | ([.rings[].write.requests // 0] | add) == $all.requests and ($all.buckets | add) == $all.requests' \
        watch.json >/dev/null || fail "the rings are not all: $(cat watch.json)"
    "$BUILD/vblkctl" stat --watch=0.1 --count=2 "$MNT" >out
    [ "$(grep -c "^$MNT, 0.[1-9] s: " out)" = 2 ] || fail "not two intervals: $(cat out)"
    [ "$(grep -c '^  total' out)" -ge 4 ] || fail "no tables of them: $(cat out)"
    [ "$("$BUILD/vblkctl" stat --watch=x "$MNT" 2>&1 >/dev/null | head -n 1)" = \
        "vblkctl: not a number from 0 to 86400: x" ] || fail "a bad interval"
    ! "$BUILD/vblkctl" stat --watch --count=0.5 "$MNT" 2>err || fail "half an interval"
    ! "$BUILD/vblkctl" stat --count=1 "$MNT" 2>err || fail "no intervals to count"
    grep -qx "vblkctl: --count goes with --watch" err || fail "$(cat err)"
}

counts_of_rings() { # a line for each, and one for all
    "$BUILD/vblkctl" stat --json "$MNT" | jq -r 'def counts: [.reads, .writes, .flushes, .others, .errors];
        (.rings | map(counts)) | . + [transpose | map(add)] | .[] | map(tostring) | join(" ")'
}

test_stat_shows_the_figures_of_each_ring() {
    remount_fs -o workers=3
    cp -a /usr/include/linux "$MNT/"
    "$BUILD/vblkctl" sync "$MNT"
    "$BUILD/vblkctl" trim "$MNT"
    until
        counts_of_rings >counts
        "$BUILD/vblkctl" stat --histogram "$MNT" >out
        counts_of_rings | cmp -s - counts # else a commit came between
    do :; done
    awk '$1 == "ring" { here = $2 == "reads" } here && /^  (req|total)/ { print $2, $5, $8, $9, $10 }
        /latency/ { exit }' out | diff - counts || fail "other requests: $(cat out)"
    awk 'length > 100 { exit 1 }' out || fail "it is too wide: $(cat out)"
    [ "$(awk '$1 == "total" && $2 == "discard" { print $3 }' out)" = "$(tail -n 1 counts | cut -d ' ' -f 4)" ] ||
        fail "other discards: $(cat out)"
    [ "$(grep -cE '^  (req.[0-9]|total) +latency .*write' out)" -ge 2 ] || fail "no histograms: $(cat out)"
    ! "$BUILD/vblkctl" stat "$MNT" | grep -E 'and up|batches of' || fail "histograms that nobody asked for"
}

test_info_says_what_the_disk_is() {
    [ "$("$BUILD/vblkctl" info --json "$MNT" | jq -r '.transport, .bytes' | paste -sd ' ')" = "image file 1073741824" ]
    umount_fs
    "$BUILD/vblkctl" info "$IMG" | grep "image file, 1.0 GiB"
    ! "$BUILD/vblkctl" info "$IMG.none" || fail "no such disk"
}

says_of_address() { # WORDS ADDRESS: whoever is given it
    local words=$1 address=$2 command
    for command in vblkctl\ {info,bench,bind,unbind,dump}\ ADDRESS 'mkfs.vblkfs ADDRESS' 'fsck.vblkfs -n ADDRESS' "vblkfs ADDRESS $MNT"; do
        # shellcheck disable=SC2086
        ! "$BUILD"/${command/ADDRESS/$address} 2>err || fail "$command $address: done"
        grep -qE "^${command%% *}: $address: $words; 'vblkctl list' shows" err || fail "$command $address: $(cat err)"
        [ "$(wc -l <err)" = 1 ] || fail "not one line: $(cat err)"
    done
}

test_a_pci_address_without_a_disk_is_told_from_a_file() {
    local other
    umount_fs
    says_of_address 'no such PCI function' 0000:00:99.0
    for other in /sys/bus/pci/devices/*; do
        grep -qxs 0x8086 "$other/vendor" || continue
        says_of_address 'not a virtio block device \(it is [0-9a-f:]{9}\)' "${other##*/}"
        break
    done
}

refused_by_the_disk() { # ARGUMENT... of vblkctl
    ! "$BUILD/vblkctl" "$@" 2>"$T/err" || fail "done: $*"
    [ "$(cat "$T/err")" = "vblkctl: $MNT: this disk can't do that; 'vblkctl info' shows what it can" ] || fail "$*: $(cat "$T/err")"
}

test_an_image_has_no_device_to_reset() {
    refused_by_the_disk reset "$MNT"
    refused_by_the_disk reset --queue=0 "$MNT"
    refused_by_the_disk cache "$MNT" writethrough
}

# All but "interrupt", which an image file has not: see tests/vhost/check.sh.
test_static_probes_tell_what_the_disk_does() {
    has_probes || return 0
    watch_probes submit complete kick commit
    dd if=/dev/zero of="$MNT/f" bs=64K count=1 conv=fsync status=none
    umount_fs
    wait $watcher || fail "gdb: $(cat probes.err)"
    grep -q '^submit 0 1 [1-9]' probes || fail "no write was submitted"
    grep -q '^complete 0 1 [1-9]' probes || fail "no write took its time"
    grep -q '^complete 0 2 ' probes || fail "no flush was done"
    grep -q '^kick 0 [1-9][0-9]* 1$' probes || fail "no doorbell was rung"
    grep -q '^commit [1-9][0-9]* [1-9]' probes || fail "no transaction was committed"
    [ "$(grep -c ^submit probes)" = "$(grep -c ^complete probes)" ] || fail "not all that was submitted was done"
}

run_tests "$@"
