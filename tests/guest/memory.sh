# shellcheck shell=bash disable=SC2154 # inside sets work and file
# memory.sh - in a guest that will be suspended: go on with copies in memory. Sourced by tests.
#
# The host's root does not come back from a suspend: 9p over virtio has no restore. So all that is run
# or read from then on has to be in memory: the programs of the head's line "memory".
MEMORY=/run/memory

go_into_memory() { # TEST...
	local dir
	mkdir -p $MEMORY/mnt $MEMORY/tmp $MEMORY/etc $MEMORY/usr/{bin,sbin,lib,lib64}
	cp -a /bin /sbin /lib /lib64 $MEMORY/ # links into /usr
	tar -C $MEMORY -xf "$work/memory.tar"
	tar -C $MEMORY -xf "$work/root.tar"
	for dir in proc sys dev run; do
		mkdir -p $MEMORY/$dir
		mount --rbind /$dir $MEMORY/$dir
	done
	: >$MEMORY/etc/fstab
	exec chroot $MEMORY env IN_MEMORY=1 bash tests/guest/inside "$work" "$file" "$@"
}

[ -n "${IN_MEMORY:-}" ] || go_into_memory "$@"
trap 'printf "\036end %d\n" $?' EXIT # as stage2 does, which may need the host's root for it
