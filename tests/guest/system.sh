# shellcheck shell=bash disable=SC2154 # kernel.sh sets cache and kernel_*
# system.sh - Debian with its own systemd, for a guest: made once, with mmdebstrap, as root. Sourced by
# boot.sh.
#
# It lands beside the kernel, as system/SUITE-KERNEL.img, an ext4, with what vblkfs needs and the
# kernel's modules; remove it to make it anew.
system_packages=(systemd-sysv udev kmod fuse3 mount libpciaccess0 libfuse3-3 libisal2 libxxhash0 libjson-c5 libuuid1
	libblkid1 libmount1 liburing2)

make_system() { # IMAGE SUITE
	local tmp mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
	[ "$(id -u)" = 0 ] || fail_boot "only root can make the system's root"
	need_program mmdebstrap mmdebstrap
	need_program mke2fs e2fsprogs
	mkdir -p "$cache/system"
	tmp=$(mktemp -d "$cache/system/.make.XXXXXX")
	echo "guest: making a root of Debian $2 in $cache (once)" >&2
	if ! mmdebstrap --variant=minbase --include="${system_packages[*]}" \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		"$2" "$tmp/root" "$mirror" >"$tmp/log" 2>&1; then
		tail -n 20 "$tmp/log" >&2
		rm -rf "$tmp"
		fail_boot "cannot make a root of Debian $2"
	fi
	cp -a "$kernel_dir/lib/modules" "$tmp/root/usr/lib/"
	truncate -s 2G "$tmp/img"
	mke2fs -q -t ext4 -d "$tmp/root" "$tmp/img"
	mv "$tmp/img" "$1"
	rm -rf "$tmp"
}

# Prints its name; makes what is missing.
prepare_system() {
	local suite image
	suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	image=$cache/system/$suite-$kernel_version.img
	[ -e "$image" ] || make_system "$image" "$suite"
	echo "$image"
}
