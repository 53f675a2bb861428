#!/bin/bash
# run.sh BUILD RUNS JOBS SEED TARGET... - fuzz the driver: RUNS inputs for each target, by JOBS processes at
# once. An input does the same each time; which one libFuzzer draws next depends on more than SEED.
#
# It begins with tests/fuzz/corpus/TARGET. VBLKFS_CORPUS=DIR: with DIR/TARGET too, where it leaves the inputs
# that reach something new. An input that fails is kept in BUILD/fuzz.
set -euo pipefail

build=$1 runs=$2 jobs=$3 seed=$4
shift 4
here=$(dirname "$0")
export UBSAN_OPTIONS=print_stacktrace=1

length_of() { # TARGET: beyond that its inputs show nothing more
	case $1 in
	ring) echo 160 ;;
	*) echo 512 ;;
	esac
}

one() { # TARGET NUMBER CORPUS: one process
	local args=(-runs=$(((runs + jobs - 1) / jobs)) -seed=$((seed + $2)) -max_len="$(length_of "$1")")
	args+=(-len_control=0 -timeout=30 -artifact_prefix="$build/fuzz/$1-" -print_final_stats=1)
	"$build/fuzz/$1" "${args[@]}" "$3" "$here/corpus/$1" >"$build/fuzz/$1.$2.log" 2>&1
}

report() { # TARGET: how many runs, how fast, how much of the code
	awk -v target="$1" '/stat::number_of_executed_units/ { n += $2 }
		/^Done/ { if ($5 > s) s = $5 }
		match($0, /cov: [0-9]+/) { c = substr($0, RSTART + 5, RLENGTH - 5); if (c + 0 > most) most = c + 0 }
		END { printf "fuzz %-8s %d runs, %d a second, %d edges\n", target, n, n / (s > 0 ? s : 1), most }' \
		"$build/fuzz/$1".*.log
}

fuzz() { # TARGET
	local corpus=${VBLKFS_CORPUS:-$scratch}/$1 pids=() number failed=0
	mkdir -p "$corpus"
	rm -f "$build/fuzz/$1".*.log
	for ((number = 0; number < jobs; number++)); do
		one "$1" "$number" "$corpus" &
		pids+=($!)
	done
	for number in "${!pids[@]}"; do
		if ! wait "${pids[number]}"; then
			failed=1
			grep -vE '^#[0-9]+\s+(NEW|REDUCE|pulse|RELOAD)|NEW_FUNC' "$build/fuzz/$1.$number.log" >&2
		fi
	done
	if [ $failed = 1 ]; then
		echo "fuzz $1: FAILED; the input is a file above: $build/fuzz/$1 FILE runs it again" >&2
		return 1
	fi
	report "$1"
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for target in "$@"; do
	fuzz "$target"
done
