#!/bin/bash
# debian13.sh [MAKE-TARGETS...] - build and test in a chroot of Debian 13 (libfuse 3.17, gcc 14), made by mmdebstrap.
#
# The chroot stays in .cache/debian13 (or $VBLKFS_CACHE/debian13); remove it to make it anew. The default target: all tools unit, and the
# FUSE tests where /dev/fuse is there. Needs root. Not part of CI.
set -euo pipefail
cd "$(dirname "$0")/.."
root=${VBLKFS_CACHE:-$PWD/.cache}/debian13
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
packages=gcc,clang,make,pkg-config,git,ca-certificates,check,uthash-dev,libfuse3-dev,fuse3,libpciaccess-dev,libisal-dev,libxxhash-dev,libjson-c-dev,uuid-dev,libblkid-dev,libmount-dev,liburing-dev,fio,sqlite3

[ "$(id -u)" = 0 ] || { echo "debian13.sh: needs root, for the chroot" >&2; exit 1; }
command -v mmdebstrap >/dev/null || { echo "debian13.sh: missing: apt-get install mmdebstrap" >&2; exit 1; }

if [ ! -e "$root/etc/debian_version" ]; then
    mkdir -p "$(dirname "$root")"
    # Its packages are Debian's own; the host may not have Debian 13's signing key.
    keyring=/usr/share/keyrings/debian-archive-trixie-stable.gpg
    trusted=()
    [ -e "$keyring" ] || trusted=(--aptopt='Acquire::AllowInsecureRepositories "1"' --aptopt='APT::Get::AllowUnauthenticated "1"')
    mmdebstrap "${trusted[@]}" --variant=minbase --include="$packages" trixie "$root" "$mirror"
fi

rm -rf "$root/src"
mkdir -p "$root/src"
git ls-files -z | tar --null -T - -cf - | tar -C "$root/src" -xf -
in_chroot() { # COMMAND
    # shellcheck disable=SC2016 # expanded inside
    unshare --mount --propagation private sh -c '
        mount --bind /dev "$1/dev" && mount -t proc proc "$1/proc" && mount --rbind /sys "$1/sys" && exec chroot "$1" sh -c "cd /src && $2"
    ' sh "$root" "$1"
}
if [ $# -gt 0 ]; then
    in_chroot "make -j2 $*"
else
    in_chroot "make -j2 all tools unit && make O=build/clang CC=clang all"
    [ ! -c /dev/fuse ] || in_chroot "tests/fuse/check.sh build"
fi
echo "debian13.sh: passed"
