#!/bin/bash
# prepare.sh PURPOSE... - install the Debian packages that the purposes need: build; lint, unit,
# mount, guest: the parts of make check, or all of them: check; bench. As root, or through sudo.
#
# Quiet when all is there. The libraries stand in deps.mk; every other package that any script here
# uses stands below, once.
set -euo pipefail
cd "$(dirname "$0")/.."

library_packages() { # VARIABLE of deps.mk, with the lines it goes on over
	sed -n "/^$1 :=/,/[^\\\\]\$/p" tests/deps.mk | grep -oE '[^ :]+:[a-z][a-z0-9.+-]*' | cut -d: -f2
}

packages_for() { # PURPOSE
	case $1 in
	build)
		echo gcc libc6-dev make pkg-config uthash-dev fuse3
		echo zlib1g-dev # libpciaccess needs it in a static link
		library_packages LIBS
		;;
	guest) # kmod and busybox for the initramfs; the guest uses the host's programs
		echo qemu-system-x86 busybox-static kmod xz-utils e2fsprogs fuse3 mount util-linux iproute2 procps
		echo dmsetup fdisk udev jq
		;;
	bench)
		packages_for guest
		echo fio fuse2fs
		;;
	unit) # QEMU: its device, without a guest; clang: the fuzzers
		library_packages CHECK_LIB
		echo qemu-system-x86 clang libclang-rt-dev
		;;
	mount) # the FUSE tests, which build the project, too
		packages_for build
		echo mount util-linux procps fio git sqlite3 libcap2-bin mandoc bsdextrautils ca-certificates jq
		echo qemu-system-common qemu-utils # qemu-storage-daemon: Debian 12 has it in the one, 13 in the other
		echo systemtap-sdt-dev gdb # the static probes, and to see them
		;;
	lint)
		echo clang clang-format clang-tidy cppcheck shellcheck mandoc
		;;
	check)
		packages_for lint
		packages_for unit
		packages_for mount
		packages_for guest
		;;
	*)
		echo "prepare.sh: no purpose '$1'" >&2
		return 2
		;;
	esac
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		echo "prepare.sh: neither root nor sudo. As root: apt-get install ${missing[*]}" >&2
		return 1
	fi
}

install_missing() {
	local status
	missing=()
	for package in "$@"; do
		status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) || true
		[ "$status" = installed ] || missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	echo "installing Debian packages: ${missing[*]}"
	as_root apt-get update -q
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"
}

[ $# -gt 0 ] || { echo "usage: tests/prepare.sh build|lint|unit|mount|guest|check|bench..." >&2; exit 2; }
command -v apt-get >/dev/null || {
	echo "prepare.sh: no apt-get here: on other systems than Debian install by hand what this script lists" >&2
	exit 1
}
wanted=()
for purpose; do
	mapfile -t -O ${#wanted[@]} wanted < <(packages_for "$purpose" | tr ' ' '\n')
	wait $! # packages_for's status
done
mapfile -t wanted < <(printf '%s\n' "${wanted[@]}" | sort -u)
install_missing "${wanted[@]}"

# fio's engine is built with fio's headers, which are in its source only.
case " $* " in
*" mount "* | *" check "*)
	tests/lib/fio-source >/dev/null || echo "prepare.sh: no source of fio: the test of its engine will be skipped" >&2
	;;
esac

# The guest's kernel comes from apt too, which has to know it.
case " $* " in
*" guest "* | *" bench "* | *" check "*)
	if ! compgen -G "${VBLKFS_CACHE:-.cache}/kernel/*/vmlinux" >/dev/null &&
		! apt-cache show linux-image-amd64 >/dev/null 2>&1; then
		as_root apt-get update -q
	fi
	tests/guest/run --prepare
	;;
esac
