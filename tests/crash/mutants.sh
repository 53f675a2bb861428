#!/bin/bash
# mutants.sh [--short] [PATTERN]: break the filesystem on purpose, rule by rule, and see that the crash explorer goes red.
#
# Each line of the list below is one mutant: the rule that it breaks, the workloads it is looked for with ("-": those of a short run),
# the file of fusefs/, and a sed script that breaks it. With PATTERN only those whose rule matches it; --short: the few that make check
# runs. Exit 1 if one survives, or no longer applies.
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
states=24000 jobs=$(nproc) short=
[ "${1-}" = --short ] && { short=1; shift; }
pattern=${1-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
survivors=0 killed=0

mkdir -p "$work/tests"
cp -r "$here"/Makefile "$here"/include "$here"/driver "$here"/fusefs "$work"
cp -r "$here"/tests/crash "$here"/tests/*.mk "$here"/tests/io_wait.h "$work/tests"
cd "$work" || exit 1
unset MAKEFLAGS # of a make that runs this
build() { make -s -j"$jobs" O=out CFLAGS='-O2 -w' WARN=-w out/crash; }
build >/dev/null || exit 1

# run ONLY: 0 when it is all green
run() {
	local only=()
	[ "$1" = - ] || only=(--only "$1")
	timeout 120 out/crash --states "$states" --jobs "$jobs" --failures 1 --hang 30 "${only[@]}" >log 2>&1
}

# Not here, since they change nothing that a disk could show: the FLUSH after the new tail (the space that it frees is far from the
# ring's head), the commit record's own count and checksum (numbers are not used twice, so all that it vouches for is vouched for), the
# checksum of a description (where one is torn, half of a tag is missing, and its image has another checksum).

# mutant RULE ONLY FILE SED
mutant() {
	local rule=$1 kind=$2 file=fusefs/$3 script=$4 start=$SECONDS how
	[[ $rule =~ ${pattern:-.} ]] || return
	cp "$file" saved
	sed -i "$script" "$file"
	if cmp -s saved "$file"; then
		verdict='DOES NOT APPLY'
	elif ! build >log 2>&1; then
		verdict='DOES NOT COMPILE'
	elif run "$kind"; then
		verdict=SURVIVES
	else
		verdict=killed
	fi
	mv saved "$file"
	touch "$file"
	how=$(sed -n 's/^FAILED: workload \([^ ]*\): \(.*\)/\1: \2/p' log | head -n 1)
	printf '%-9s %-34s %2ds  %.110s\n' "$verdict" "$rule" $((SECONDS - start)) "$how"
	if [ "$verdict" = killed ]; then killed=$((killed + 1)); else survivors=$((survivors + 1)); fi
}
slow() { [ -n "$short" ] || mutant "$@"; }

# Flushes and their order
mutant flush-before-commit - tx.c '/^static int write_tx/,/^}/s/err = flush(txs);/err = 0;/'
slow flush-after-commit - tx.c '/^static int write_tx/,/^}/s/return err < 0 ? err : flush(txs);.*/return err;/'
slow flush-before-tail - checkpoint.c '/^int checkpoint_step/,/^}/s/c->state = HOME_WRITTEN;/c->state = HOME_DURABLE;/'
slow flush-of-data-alone - tx.c '/^static int flush_round/,/^}/s/^\tif (!atomic_load(&txs->data_unflushed))/\tif (true)/'
slow flush-before-head-of-replay - replay.c '/^static int write_head/,/^}/s/int err = cache_flush(r->fs, r->t->q);/int err = 0;/'
slow flush-before-clean-bit - tx.c '/^static void step_checkpoint/,/^}/s/if (flush(txs) == 0 \&\&/checkpoint_flushed(txs->checkpoint); if (1 \&\&/'

# Contents and what shows them
mutant wait-for-writes-in-flight - tx.c '/^static int write_tx/,/^}/s/drain_epoch(txs, epoch);//'
slow written-data-counts - tx.c '/^void tx_io_end_in_place(/,/^}/s/atomic_store(&txs->data_unflushed, true);.*//'
slow zeros-at-the-end-count - space.c 's/tx_io_end(t, epoch);/tx_io_end_read(t, epoch);/'
slow zeros-past-the-end - space.c '/^int file_grow_from_end/,/^}/s/return file_zero.*/return 0;/'
slow unwritten-until-written - space.c 's/e.flags = EXTENT_F_UNWRITTEN;/e.flags = 0;/'

# The journal
mutant revoke-written - checkpoint.c '/^int checkpoint_find_revokes/,/^}/s/if (find_newest(c, f->start + i) != NULL)/if (false)/'
slow revoke-heeded - replay.c '/^static bool is_wanted/,/^}/s/ \&\& image->sequence > last->revoked//'
slow newest-image-wins - replay.c '/^static bool is_wanted/,/^}/s/last->index == image->index \&\&//'
slow checksum-of-images - replay.c '/^static bool image_ok/,/^}/s/le32_get(head->crc) == block_crc(image)/true/'
slow tag-of-images - replay.c '/^static bool image_ok/,/^}/s/le32_get(head->crc) == le32_get(tag->crc)/true/'
slow commit-record-needed - replay.c '/^static int scan_transaction/,/^}/s/if (ret == 0 \&\& whole)/whole = whole || (ret == 0 \&\& r->images.nr > r->nr_taken);\n\t&/'
slow sequence-of-records - journal.c '/^bool journal_record_ok/,/^}/s/le64_get(head->sequence) == sequence/true/'
mutant frozen-blocks - tx.c '/^static int make_newest/,/^}/s/int err = tx_block_copy(fs, b->newest);/int err = 0;/'
slow frozen-blocks-go-home - checkpoint.c '/^static int load_image/,/^}/s/is_there = b->newest == tb;/is_there = true;/'
slow newest-goes-home - checkpoint.c '/ add_version(/,/^}/s/^\t\tlet_go(c, older);/\t\t;/'
slow tail-after-home - checkpoint.c '/^int checkpoint_step/,/^}/s/if (err == 0 \&\& c->at == c->nr_todo)/if (err == 0)/'

# What is freed, and what has no name
slow freed-blocks-wait - tx.c 's/err = write_tx(txs, tx, epoch);/{ release_freed(txs->fs, tx); err = write_tx(txs, tx, epoch); }/'
mutant orphans-freed-at-mount - orphan.c '/ load_list(/,/^}/s/while (ino != 0/while (false/'
slow orphans-listed - namei.c '/^static int drop_link/,/^}/s/err = orphan_add(h, inode);/inode->flags |= 0;/'
slow truncate-remembered halfcut space.c '/^int file_set_size/,/^}/s/return orphan_add(h, inode);/return 0;/'

# What was acknowledged
slow fsync-waits - tx.c '/^static void serve_syncs/,/^}/s/target > atomic_load/false \&\& &/'
slow fsync-of-names - namei.c '/^static int moved/,/^}/s/err = inode_update(h, inode, false);/err = 0;/'
slow commit-in-time - tx.c '/^static int commit_in_ms/,/^}/s/return now >= due ? 0 : (int)(due - now);/return -1;/'

# Mounting, freezing and unmounting
slow frozen-is-at-home freeze tx.c '/^static int bring_all_home/,/^}/s/while (err == 0 \&\&/while (false \&\&/'
slow frozen-has-contents freeze tx.c '/^static int bring_all_home/,/^}/s/err = flush_round(txs);/err = 0;/'
slow clean-bit-last - super.c '/^int fs_unmount/,/^}/s/err = tx_destroy(fs);/if (!fs->read_only) (void)mark_clean(fs);\n\t&/'
slow clean-bit-taken - super.c '/^static int mark_mounted/,/^}/s/\& ~STATE_CLEAN/\& ~0U/'
slow replay-at-mount - super.c '/^static int recover/,/^}/s/err = tx_replay(&t.*);/err = 0;/'

# Operations are whole
slow rename-in-one - namei.c '/^static int do_move/,/^}/s/^\terr = dir_remove(h, from->dir, from->name);/\ttx_end(h); (void)tx_sync_wait(h->t, UINT64_MAX); (void)tx_begin(h->t, TX_JOIN_NAMES, TX_ALLOC_NAMES, h);\n&/;/^static int do_move/,/^}/s/^\tif (err == 0)$/\tif (err == 0)/'
slow link-joins-inode - namei.c '/^static int link_in/,/^}/s/err = inode_update(h, inode, false);/err = 0;/'

echo "$killed killed, $survivors not"
[ "$survivors" -eq 0 ]
