#!/bin/bash
# mutants.sh [PATTERN]: break the driver on purpose, check by check, and see that a fuzzer goes red.
#
# Each line of the list below is one mutant: the fuzzer, the file of driver/, and a sed script that breaks it. With
# PATTERN only those whose line matches it. VBLKFS_CORPUS=DIR: begin with DIR/TARGET, too. Exit 1 if one survives RUNS
# (300000) inputs, or no longer applies. Not part of make check: it takes minutes.
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
pattern=${1:-.} runs=${RUNS:-300000}
corpus=${VBLKFS_CORPUS:+$(cd "$VBLKFS_CORPUS" && pwd)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
survivors=0 killed=0
cp -r "$here"/Makefile "$here"/include "$here"/driver "$here"/tests "$work"
mkdir "$work/fusefs"
cd "$work" || exit 1

verdict() { # TARGET
	local corpora=(new tests/fuzz/corpus/"$1") last
	[ -z "$corpus" ] || corpora+=("$corpus/$1")
	rm -rf new
	mkdir new
	if "out/fuzz/$1" -runs="$runs" -seed=1 -max_len=512 -len_control=0 -timeout=60 "${corpora[@]}" >log 2>&1; then
		echo SURVIVES
	elif grep -q ^SUMMARY log; then
		last=$(grep -oE '^#[0-9]+' log | tail -1)
		echo "red after ${last:-#0}"
	else
		echo 'DOES NOT RUN'
	fi
}

mutant() { # TARGET FILE SED
	local what
	[[ "$*" =~ $pattern ]] || return
	cp "driver/$2" saved
	sed -i "$3" "driver/$2"
	if cmp -s saved "driver/$2"; then
		what='DOES NOT APPLY'
	elif ! make -s O=out CPPFLAGS=-w "out/fuzz/$1" >log 2>&1; then
		what='DOES NOT BUILD'
	else
		what=$(verdict "$1")
	fi
	cp saved "driver/$2"
	printf '%-14s %-7s %s: %s\n' "$what" "$1" "$2" "$3"
	if [[ $what = red* ]]; then killed=$((killed + 1)); else survivors=$((survivors + 1)); fi
}

# Replies, their descriptors, their time
mutant vhost vhost_proto.c 's/ || h.bytes < min || h.bytes > max ||/ || h.bytes < min ||/'
mutant vhost vhost_proto.c 's/if (h.request != request ||/if (/'
mutant vhost vhost_proto.c 's/if (h.bytes > sizeof(payload) ||/if (/'
mutant vhost vhost_proto.c 's/= CMSG_LEN(sizeof(int))};/= sizeof(control)};/'
mutant vhost vhost_proto.c '/^int vup_get_fd/,/^}/s/close(\*fd)/(void)0/'
mutant vhost vhost_proto.c 's/int64_t left = deadline_ms - now_ms();/int64_t left = REPLY_LIMIT_MS;/'
mutant vhost vhost_proto.c 's/sendmsg(fd, &msg, MSG_NOSIGNAL)/sendmsg(fd, \&msg, 0)/'
mutant vhost vhost_proto.c 's/recv(fd, to, bytes, MSG_DONTWAIT)/recv(fd, to, bytes, 0)/'
mutant vhost vhost_proto.c 's/: send_rest(fd, bytes + n, total - (size_t)n)/: 0/'
# A connection
mutant vhost vhost_conn.c 's/if (err == 0 \&\& out->fd < 0)/if (0)/'
mutant vhost vhost_conn.c 's/	c->max_regions = regions > VUP_REGIONS_MAX ? VUP_REGIONS_MAX :/	c->max_regions =/'
mutant vhost vhost_conn.c '/^void vhc_close/,/^}/s/close(c->backend_fd)/(void)0/'
mutant vhost vhost_conn.c 's/	close(pair\[1\]);/	(void)0;/'
mutant vhost vhost_conn.c 's/(void)shutdown(c->ch.fd, SHUT_RDWR)/(void)0/'
# One back-end after the other
mutant vhost vhost_user.c 's/if (missing == 0 \&\&/if (/'
mutant vhost vhost_user.c 's/^		next->max_regions >= vu->nr_regions \&\& /		/'
mutant vhost vhost_user.c 's/next->max_queues >= vu->nr_vrings \&\&/1 \&\&/'
mutant vhost vhost_user.c '/^static void forget_inflight/,/^}/s/close(vu->inflight.fd)/(void)0/'
mutant vhost vhost_user.c 's/^		vq_reset(vu->vring\[i\].vq);/		(void)i;/'
mutant vhost vhost_user.c 's/!vu->vdev.rings_kept || !vhc_has_inflight(&vu->conn) ||/!vu->vdev.rings_kept ||/'
mutant vhost vhost_user.c 's/	if (vu->told_memory)/	if (0)/'
mutant vhost vhost_user.c '/^static void disconnect/,/^}/s/vhc_close(&vu->conn)/(void)0/'
mutant vhost vhost_user.c 's/	} while (err == -EAGAIN \&\& now_s() < deadline)/	} while (err == -EAGAIN)/'
mutant vhost virtio_blk.c 's/if (vdev->rings_kept \&\& !atomic_load(&vblk->breaking))/if (vdev->rings_kept)/'
# Rings
mutant vhost virtqueue.c 's/return id < r->size \&\& /return /'
mutant device vblk_queue.c '/^int vblk_ring_resize/,/^}/s/	free_slots(hw, &slots, false);/	(void)0;/'
mutant device virtio_blk.c 's/index >= vblk->nr_rings/0/'
echo "$killed red, $survivors not"
[ "$survivors" = 0 ]
