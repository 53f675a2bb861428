#!/bin/bash
# debian13.sh [COMMAND] - build and test in a chroot of Debian 13 (libfuse 3.17, gcc 14, QEMU
# 10.0). Needs root and mmdebstrap; not part of CI.
#
# The chroot stays in .cache/debian13 (or $VBLKFS_CACHE/debian13); remove it to make it anew. COMMAND
# is a line for sh, run in the copy of the repository there, instead of the default: build with gcc
# and clang, the unit tests (and so the driver on QEMU's own device), the library, and the tests on a
# FUSE mount, of a back-end of QEMU's too.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$(realpath -m "${VBLKFS_CACHE:-.cache}")/debian13
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

die() {
	echo "debian13.sh: $*" >&2
	exit 1
}

make_chroot() {
	local keyring=/usr/share/keyrings/debian-archive-trixie-stable.gpg
	[ -e "$keyring" ] || die "missing: Debian 13's key. As root: apt-get install debian-archive-keyring"
	mkdir -p "$(dirname "$root")"
	rm -rf "$root.part"
	mmdebstrap --variant=minbase --keyring="$keyring" --include=make,ca-certificates \
		trixie "$root.part" "$mirror"
	mv "$root.part" "$root"
}

copy_repository() {
	rm -rf "$root/src"
	mkdir "$root/src"
	git ls-files -z | tar --null -T - -cf - | tar -C "$root/src" -xf -
	# What git clone reads in a test.
	git init -q "$root/src"
	git -C "$root/src" add -A
	git -C "$root/src" -c user.name=test -c user.email=test@localhost commit -qm "as tested"
}

in_chroot() { # COMMAND
	# shellcheck disable=SC2016 # expanded inside
	unshare --mount --propagation private sh -euc '
		mount --rbind /dev "$1/dev"
		mount --rbind /sys "$1/sys"
		mount -t proc proc "$1/proc"
		mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"
		mount -t tmpfs tmpfs "$1/run"
		cp /etc/resolv.conf "$1/etc/resolv.conf"
		exec chroot "$1" env -i PATH="$PATH" TERM=dumb DEBIAN_FRONTEND=noninteractive HOME=/root \
			sh -euc "cd /src; $2"
	' sh "$root" "$1"
}

[ "$(id -u)" = 0 ] || die "needs root, for the chroot"
command -v mmdebstrap >/dev/null || die "missing: mmdebstrap. As root: apt-get install mmdebstrap"
[ -e "$root/etc/debian_version" ] || make_chroot
copy_repository
in_chroot "tests/prepare.sh build unit mount; command -v clang >/dev/null || apt-get install -qy --no-install-recommends clang"
if [ $# -gt 0 ]; then
	in_chroot "$*"
else
	in_chroot "make -s -j2 all tools && make -s -j2 O=build/clang CC=clang all tools"
	in_chroot "make -j2 units && make unit"
	in_chroot "make check-lib"
	in_chroot "make check-fuse"
fi
echo "debian13.sh: passed in Debian $(cat "$root/etc/debian_version") with libfuse $(in_chroot "pkg-config --modversion fuse3") and QEMU $(in_chroot "dpkg-query -Wf '\${Version}' qemu-system-x86")"
