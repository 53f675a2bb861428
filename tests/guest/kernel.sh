# shellcheck shell=bash
# kernel.sh - Debian's kernel for the guest, fetched once, and the initramfs that boots it. Sourced
# by run.
#
# Everything lands in $VBLKFS_CACHE (default: .cache of the repository), which git ignores:
#	kernel/VERSION/vmlinux		unpacked, booted by PVH: an emulated decompressor takes seconds
#	kernel/VERSION/bzImage		as packed, booted where PVH will not do
#	kernel/VERSION/lib/modules	the package's modules, with modules.dep
#	kernel/VERSION/initramfs	busybox, the modules that reach the host's root, and init
# A directory becomes visible under its name only when it is complete, so a broken download is not
# taken for a kernel.

PATH=$PATH:/usr/sbin:/sbin # not all users have these: modprobe, depmod
guest_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$(realpath -m "${VBLKFS_CACHE:-$guest_dir/../../.cache}") # init knows no links

# What init must load before the host's root, with its modules, is there.
boot_modules=(virtio_pci virtio_console 9pnet_virtio 9p overlay)

fail_boot() {
	echo "guest: $*" >&2
	exit 125
}

need_program() { # PROGRAM PACKAGE
	command -v "$1" >/dev/null || fail_boot "$1 is missing. As root: apt-get install $2"
}

# Turn a bzImage into the ELF file inside it. The payload's start is found by its compressor's magic
# number.
unpack_vmlinux() { # BZIMAGE VMLINUX
	local magic tool offset
	while read -r magic tool; do
		while IFS=: read -r offset _; do
			# The payload is followed by other bytes, of which the tool complains: the
			# result is what counts.
			tail -c "+$((offset + 1))" "$1" | $tool >"$2" 2>/dev/null
			if [ "$(head -c 4 "$2" | tr -d '\177')" = ELF ]; then
				return 0
			fi
		done < <(LC_ALL=C grep -aobP "$magic" "$1")
	done <<-'END'
		\xfd7zXZ\x00 xz -dc --single-stream
		\x28\xb5\x2f\xfd zstd -dc
		\x1f\x8b\x08 gzip -dc
	END
	return 1
}

# Download and unpack the kernel that Debian's linux-image-amd64 stands for today. Prints its
# version.
fetch_kernel() {
	local package version tmp
	need_program apt-get apt
	need_program dpkg-deb dpkg
	need_program depmod kmod
	need_program xz xz-utils
	package=$(apt-cache depends linux-image-amd64 2>/dev/null |
		sed -n 's/^ *Depends: \(linux-image-[0-9]\)/\1/p' | head -n 1)
	[ -n "$package" ] || fail_boot "apt knows no linux-image-amd64. As root: apt-get update"
	version=${package#linux-image-}
	version=${version%-unsigned}
	tmp=$(mktemp -d "$cache/kernel/.fetch.XXXXXX")
	echo "guest: fetching $package into $cache (once)" >&2
	if ! (cd "$tmp" && apt-get download -q "$package" && dpkg-deb -x ./*.deb tree) >"$tmp/apt.log" 2>&1; then
		cat "$tmp/apt.log" >&2
		rm -rf "$tmp"
		fail_boot "cannot fetch $package"
	fi
	mkdir "$tmp/out"
	mv "$tmp/tree/lib" "$tmp/out/lib" 2>/dev/null || mv "$tmp/tree/usr/lib" "$tmp/out/lib"
	if ! unpack_vmlinux "$tmp/tree/boot/vmlinuz-$version" "$tmp/out/vmlinux"; then
		cp "$tmp/tree/boot/vmlinuz-$version" "$tmp/out/vmlinux" # slower, but it boots
	fi
	cp "$tmp/tree/boot/vmlinuz-$version" "$tmp/out/bzImage"
	depmod -b "$tmp/out" "$version"
	if [ -d "$cache/kernel/$version" ]; then # of the days when it had no bzImage; in use, perhaps
		mv "$tmp/out/bzImage" "$cache/kernel/$version/"
	else
		mv "$tmp/out" "$cache/kernel/$version"
	fi
	rm -rf "$tmp"
}

# With those that they need; DIRECTORY/order has the order in which to load them.
copy_modules() { # KERNEL'S DIRECTORY, DIRECTORY, MODULE...
	local kernel=$1 to=$2 module
	shift 2
	mkdir -p "$to"
	for module in "$@"; do
		modprobe -d "$kernel" -S "$(basename "$kernel")" --show-depends "$module"
	done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r module; do
		cp "$module" "$to/"
		basename "$module"
	done >"$to/order"
}

# $1 = kernel's directory: (re)make its initramfs when it is older than what it is made from.
make_initramfs() {
	local dir=$1 tmp busybox
	if [ "$dir/initramfs" -nt "$guest_dir/init" ] &&
		[ "$dir/initramfs" -nt "$guest_dir/kernel.sh" ]; then
		return
	fi
	need_program busybox busybox-static
	busybox=$(command -v busybox)
	if ldd "$busybox" >/dev/null 2>&1; then
		fail_boot "$busybox is not static. As root: apt-get install busybox-static"
	fi
	tmp=$(mktemp -d "$cache/kernel/.initramfs.XXXXXX")
	mkdir -p "$tmp/root"/{bin,proc,sys,dev,host,rw,new}
	cp "$busybox" "$tmp/root/bin/busybox"
	cp "$guest_dir/init" "$tmp/root/init"
	chmod 755 "$tmp/root/init"
	copy_modules "$dir" "$tmp/root/modules" "${boot_modules[@]}"
	(cd "$tmp/root" && find . | busybox cpio -o -H newc 2>/dev/null) >"$tmp/initramfs"
	mv "$tmp/initramfs" "$dir/initramfs"
	rm -rf "$tmp"
}

newest_kernel() {
	(cd "$cache/kernel" && compgen -G '[0-9]*/vmlinux' | sort -V | tail -n 1)
}

# Sets kernel_dir and kernel_version; fetches what is missing. Runs that start together wait for the
# one that fetches.
prepare_kernel() { # [1: with bzImage]
	mkdir -p "$cache/kernel"
	exec 8>"$cache/lock"
	flock 8
	kernel_version=$(newest_kernel)
	if [ -z "$kernel_version" ] || { [ "${1:-0}" = 1 ] && [ ! -e "$cache/kernel/${kernel_version%/*}/bzImage" ]; }; then
		fetch_kernel
		kernel_version=$(newest_kernel)
	fi
	kernel_version=${kernel_version%/vmlinux}
	kernel_dir=$cache/kernel/$kernel_version
	make_initramfs "$kernel_dir"
	exec 8>&-
}
