#!/bin/bash
# case.sh NAME - one kind of damage, for check.sh, in the folder with its base images: what is not as
# expected is printed, and then the status is not 0. NAME.first is left, what the first run said.
set -euo pipefail
name=$1
dir=$FSCK_CASES/$name
failed=0

of_script() { # WORD DEFAULT: what "# WORD:" in damage.sh says
	local line
	line=$(sed -n "s/^# $1: //p" "$dir/damage.sh")
	echo "${line:-$2}"
}

wrong() {
	echo "$*"
	failed=1
}

# The output as a user sees it, without the headings of the passes; and the exit status.
run_fsck() { # OUTPUT OPTION...
	local status=0 out=$1
	shift
	timeout 20 fsck.vblkfs "$@" disk.img >said 2>&1 || status=$?
	sed '/^pass [1-9]: [a-z ]*$/d' said >"$out"
	echo "exit $status" >>"$out"
}

# FILE is as expect.WHAT says, or DEFAULT if there is none.
compare() { # WHAT FILE DEFAULT
	local want=$dir/expect.$1
	if [ -n "$FSCK_UPDATE" ]; then
		if cmp -s "$2" "$3"; then rm -f "$want"; else cp "$2" "$want"; fi
		return
	fi
	[ -e "$want" ] || want=$3
	diff -u --label "$name/expect.$1" --label seen "$want" "$2" || failed=1
}

# Nothing is found; how many files and blocks there are is not asked.
is_clean() { # FILE WORDS
	sed -i -E 's|, [0-9]+/[0-9]+ files, .*||' "$1"
	cmp -s "$1" "$FSCK_CASES/expect.clean" || wrong "$2: $(cat "$1")"
}

# After the repair: all can be read, something can be written, and then it is still sound.
check_files() {
	populate verify disk.img >listed || wrong "can't be read after the repair"
	LC_ALL=C sort listed >files
	diff "../$base.files" files >differ || true
	sed -n '/^[<>]/p' differ >changes
	compare files changes /dev/null
	run_fsck third -f -n
	is_clean third "not clean after it was mounted"
}

base=$(of_script base make)
read -ra options <<<"$(of_script fsck "")"
mkdir "$name"
cd "$name"
cp --sparse=always "../$base.img" disk.img
"$dir/damage.sh" disk.img || { echo "damage.sh failed"; exit 1; }
run_fsck first -f -y "${options[@]}"
run_fsck second -f -n
compare 1 first /dev/null
if tail -n 1 first | grep -qE '^exit [0-3]$'; then
	is_clean second "the second run is not clean"
	check_files
else # it can't be repaired, and says so
	compare 2 second /dev/null
fi
cp first "../$name.first"
cd ..
rm -rf "$name"
exit $failed
