# shellcheck shell=bash
# lib.sh - what the tests of the library share: a folder $T, an image $IMG, a back-end on $SOCK. Sourced with BUILD set.
set -euo pipefail
BUILD=$(realpath "$BUILD")
HERE=$(cd "$(dirname "$0")" && pwd)
T=$(mktemp -d "${TMPDIR:-/tmp}/vblkfs-lib.XXXXXX")
export IMG=$T/disk.img SOCK=$T/back-end.sock
# shellcheck source=tests/vhost/backend.sh
. "$HERE/../vhost/backend.sh"
trap 'kill_backend; rm -rf "$T"' EXIT

fail() {
    echo "tests/lib/${0##*/}: $*" >&2
    exit 1
}
skip() { # WORDS: the rest
    [ -z "${VBLKFS_CI:-}" ] || fail "in CI nothing is skipped: $*"
    echo "SKIPPED: $*" >&2
    exit 0
}
