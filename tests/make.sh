#!/bin/bash
# make.sh BUILD - make install and uninstall put and take away what they should, make clean leaves
# nothing, and a missing library is named by its Debian package.
set -euo pipefail
build=$(realpath "$1")
cd "$(dirname "$0")/.."
dir=$(mktemp -d "${TMPDIR:-/tmp}/vblkfs-make.XXXXXX")
trap 'rm -rf "$dir"' EXIT

fail() {
	echo "make.sh: $*" >&2
	exit 1
}

# That a program runs, and what it finds beside it.
check_installed() { # ROOT SBINDIR MANDIR
	local program page
	for program in "$build"/vblkfs "$build"/vblkctl "$build"/*.vblkfs "$build"/mount.fuse.vblkfs; do
		[ -x "$1$2/${program##*/}" ] || fail "$2/${program##*/} is not there, or not a program"
	done
	"$1$2/mkfs.vblkfs" --version >/dev/null
	[ "$(readlink "$1$2/mount.fuse.vblkfs")" = vblkfs ] ||
		fail "mount.fuse.vblkfs does not lead to vblkfs beside it"
	for page in man/*.[0-9]; do
		cmp "$page" "$1$3/man${page##*.}/$(basename "$page")"
	done
}

install_and_uninstall() { # SBINDIR MANDIR VARIABLE=VALUE...
	local sbindir=$1 mandir=$2 root=$dir/root
	shift 2
	mkdir -p "$root/usr/sbin"
	touch "$root/usr/sbin/other"
	make -s O="$build" DESTDIR="$root" "$@" install
	make -s O="$build" DESTDIR="$root" "$@" install # once more, over what is there
	check_installed "$root" "$sbindir" "$mandir"
	make -s O="$build" DESTDIR="$root" "$@" uninstall
	make -s O="$build" DESTDIR="$root" "$@" uninstall
	[ "$(find "$root" ! -type d)" = "$root/usr/sbin/other" ] ||
		fail "after uninstall: $(find "$root" ! -type d)"
	rm -r "$root"
}

# A pkg-config that knows of no PACKAGE.
without() { # PACKAGE; sets status, and $dir/err
	local real
	real=$(command -v pkg-config)
	mkdir -p "$dir/bin"
	cat >"$dir/bin/pkg-config" <<-END
		#!/bin/sh
		case " \$* " in *" $1 "*) exit 1 ;; esac
		exec $real "\$@"
	END
	chmod 755 "$dir/bin/pkg-config"
	status=0
	PATH=$dir/bin:$PATH make -s O="$dir/new" "${@:2}" >"$dir/out" 2>"$dir/err" || status=$?
}

expect_missing() { # DEBIAN PACKAGE
	[ $status != 0 ] || fail "make went on without $1"
	grep -q "missing: $1. As root: apt-get install $1" "$dir/err" ||
		fail "$1 is not named: $(cat "$dir/err")"
	[ ! -e "$dir/new/obj" ] || fail "it began to compile without $1"
}

install_and_uninstall /usr/sbin /usr/share/man
install_and_uninstall /usr/local/sbin /usr/local/share/man PREFIX=/usr/local
install_and_uninstall /opt/bin /opt/doc SBINDIR=/opt/bin MANDIR=/opt/doc

without fuse3 all
expect_missing libfuse3-dev
without json-c all
expect_missing libjson-c-dev
without check units
expect_missing check

mkdir "$dir/new"
touch "$dir/new/something"
make -s O="$dir/new" clean
[ ! -e "$dir/new" ] || fail "make clean left $(ls "$dir/new")"
echo "make.sh: passed"
