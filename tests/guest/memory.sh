# shellcheck shell=bash disable=SC2154 # inside sets work and file
# memory.sh - in a guest that will be suspended: go on with copies in memory. Sourced by tests.
#
# The host's root does not come back from a suspend: 9p over virtio has no restore. So all that is run
# or read from then on has to be in memory.
MEMORY=/run/memory

# Each with the libraries that it needs.
copy_programs() { # NAME...
	local name path
	for name in "$@"; do
		path=$(type -P "$name")
		echo "$path"
		ldd "$path" 2>/dev/null | grep -o '/[^ ]*' || true
	done | sort -u | xargs cp --parents -L -t $MEMORY
}

go_into_memory() { # TEST...
	local dir
	mkdir -p $MEMORY/mnt $MEMORY/tmp $MEMORY/etc $MEMORY/usr/{bin,sbin,lib,lib64}
	cp -a /bin /sbin /lib /lib64 $MEMORY/ # links into /usr
	copy_programs bash env sh busybox cat cp rm ln ls mkdir mkfifo mv sort diff cmp find stat readlink basename dirname \
		head tail wc tr cut paste seq sleep date touch sync timeout dd awk grep sed ps pidof tar xargs \
		mount umount mountpoint losetup dmesg jq \
		mount.fuse mount.fuse.vblkfs umount.fuse.vblkfs fusermount3 vblkfs mkfs.vblkfs fsck.vblkfs vblkctl
	for dir in proc sys dev run; do
		mkdir -p $MEMORY/$dir
		mount --rbind /$dir $MEMORY/$dir
	done
	cp -a --parents tests/guest $MEMORY
	: >$MEMORY/etc/fstab
	exec chroot $MEMORY env IN_MEMORY=1 bash tests/guest/inside "$work" "$file" "$@"
}

[ -n "${IN_MEMORY:-}" ] || go_into_memory "$@"
trap 'printf "\036end %d\n" $?' EXIT # as stage2 does, which may need the host's root for it
