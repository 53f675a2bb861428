# shellcheck shell=bash
# qemu.sh - in a guest with --monitor: talk to the QEMU that runs it. Sourced by tests.
#
# Faults go between a disk's file and its raw node (see add_disk in run), while the guest runs.
MONITOR=/dev/vport0p2

# The next answer; events before it are left out.
qemu_answer() {
	local line
	while read -r -t 20 line <&6; do
		case $line in
		'{"return"'*) echo "$line"; return 0 ;;
		'{"error"'*) echo "$line" >&2; return 1 ;;
		esac
	done
	echo "QEMU's monitor does not answer" >&2
	return 1
}

# The greeting came to whoever was first here; what else there is, is of earlier days.
qemu_open() {
	local line
	exec 6<>$MONITOR
	while read -r -t 0.1 line <&6; do
		:
	done
	echo '{"execute": "qmp_capabilities"}' >&6
	qemu_answer >/dev/null 2>&1 || true # an error, but for the first
	qemu_is_open=1
}

# One QMP command; its answer is printed.
qemu_ask() { # JSON
	[ -n "${qemu_is_open:-}" ] || qemu_open
	echo "$1" | tr -d '\n\t' >&6
	echo >&6
	qemu_answer
}

put_below() { # DISK NUMBER, NODE: what its raw node is to use
	qemu_ask '{"execute": "blockdev-reopen", "arguments": {"options": [{"driver": "raw",
		"node-name": "disk'"$1"'", "discard": "unmap", "file": "'"$2"'"}]}}' >/dev/null
}

# Requests of that kind fail with EIO: the next TIMES of them, or all. (Not all flushes: QEMU itself
# could not flush any more, and refuses to take the fault away.)
fault_on() { # DISK NUMBER, read|write|flush|discard|write-zeroes, [TIMES]
	local rule='"event": "none", "iotype": "'"$2"'", "errno": 5' rules='' i
	if [ $# -lt 3 ]; then
		rules="{$rule}"
	fi
	for ((i = 0; i < ${3:-0}; i++)); do
		rules+="${rules:+,}{$rule, \"once\": true}"
	done
	qemu_ask '{"execute": "blockdev-add", "arguments": {"driver": "blkdebug", "image": "file'"$1"'",
		"node-name": "fault'"$1"'", "inject-error": ['"$rules"']}}' >/dev/null
	put_below "$1" "fault$1"
}

fault_off() { # DISK NUMBER
	put_below "$1" "file$1"
	qemu_ask '{"execute": "blockdev-del", "arguments": {"node-name": "fault'"$1"'"}}' >/dev/null
}

# Of a disk with iops=.
limit_requests() { # DISK NUMBER, A SECOND
	qemu_ask '{"execute": "qom-set", "arguments": {"path": "/objects/limit'"$1"'",
		"property": "limits", "value": {"iops-total": '"$2"'}}}' >/dev/null
}
