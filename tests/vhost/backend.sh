# shellcheck shell=bash
# backend.sh - a qemu-storage-daemon that serves $IMG on $SOCK. Sourced with both set, and T, a folder of the test's own, and
# fail().

start_backend() { # [properties of the export]
    # Not the shell's own child: else it reports the kill.
    (qemu-storage-daemon --blockdev "driver=file,node-name=file,filename=$IMG,discard=unmap" \
        --blockdev driver=raw,node-name=disk,file=file,discard=unmap \
        --export "vhost-user-blk,id=e,node-name=disk,addr.type=unix,addr.path=$SOCK,writable=on,num-queues=2${1:+,$1}" \
        >"$T/back-end.log" 2>&1 &
        echo $! >"$T/back-end.pid")
    for _ in $(seq 100); do
        grep -qF " $SOCK" /proc/net/unix && return
        sleep 0.02
    done
    fail "qemu-storage-daemon does not start: $(cat "$T/back-end.log")"
}

kill_backend() {
    local pid
    [ -s "$T/back-end.pid" ] || return 0
    pid=$(cat "$T/back-end.pid")
    : >"$T/back-end.pid"
    kill -KILL "$pid" 2>/dev/null || true
    while [ -d "/proc/$pid" ] && ! grep -q '^State:.*Z' "/proc/$pid/status"; do sleep 0.02; done
}
