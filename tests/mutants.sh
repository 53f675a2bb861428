#!/bin/bash
# mutants.sh [PATTERN]: break the driver on purpose, rule by rule, and see that a test goes red.
#
# Each line of the list below is one mutant: the rule's id (those of the test comments), the test program and, after a
# colon, the test case that has to notice; the file of driver/; and a sed script that breaks it. With PATTERN only those whose id
# matches it. Exit 1 if one survives, or no longer applies. Not part of make check: it takes minutes.
#
# Every rule of virtio 1.2 for a PCI block device, modern or legacy, has a mutant here.
set -u
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
survivors=0 killed=0

rules() {
	printf '%s\n' ST{1..4} FE{1..4} RS1 CF{1..4} IN{1..5} CL{1,2} VQ{1..4} NT{1..4} SP{1..19} PK{1..13} PC{1..23} LG{1..8} \
		BI{1..6} BO{1..18} RF{1..7}
}
forgotten=$(rules | grep -vxF -f <(sed -n 's/^mutant \([A-Z]*[0-9]*\) .*/\1/p' "$0") | paste -sd ' ')
[ -z "$forgotten" ] || { echo "no mutant for: $forgotten"; exit 1; }

cp -r "$here"/Makefile "$here"/include "$here"/driver "$here"/tests "$work"
mkdir "$work/fusefs"
cd "$work" || exit 1
shared=$(echo tests/model/*.c) # what else the tests share needs the filesystem
for test in virtio virtio_pci virtqueue virtio_blk ring_features hostile bar_guard vhost_user; do
	make -s O=out FUSEFS_SRC= TEST_SHARED="$shared" "out/san/test_$test" || exit 1
	"out/san/test_$test" || exit 1 # red before anything was broken
done

# mutant ID TEST[:CASE] FILE SED
mutant() {
	local id=$1 test=${2%%:*} case=${2#*:} file=driver/$3 script=$4
	[[ $id =~ ${pattern:-.} ]] || return
	[ "$case" = "$test" ] && case=
	cp "$file" saved
	sed -i "$script" "$file"
	if cmp -s saved "$file"; then
		verdict='DOES NOT APPLY'
	elif ! make -s O=out FUSEFS_SRC= TEST_SHARED="$shared" CFLAGS=-w WARN=-w "out/san/test_$test" >log 2>&1; then
		verdict='DOES NOT COMPILE'
	elif env CK_TIMEOUT_MULTIPLIER=0.3 ${case:+"CK_RUN_CASE=$case"} \
		timeout 120 "out/san/test_$test" >log 2>&1; then
		verdict=SURVIVES
	else
		verdict=killed
	fi
	mv saved "$file"
	touch "$file"
	printf '%-16s %-8s test_%-20s %s\n' "$verdict" "$id" "${2}" "$script"
	if [ "$verdict" = killed ]; then killed=$((killed + 1)); else survivors=$((survivors + 1)); fi
}
pattern=${1-}

# Status, features, configuration, initialisation
mutant ST1 virtio virtio_bus.c 's/add_status(vdev, VIRTIO_CONFIG_S_DRIVER)/add_status(vdev, 0)/'
mutant ST1 virtio_pci virtio_bus.c 's/add_status(vdev, VIRTIO_CONFIG_S_ACKNOWLEDGE)/add_status(vdev, 3)/'
mutant ST2 virtio_pci virtio_bus.c 's/set_status(vdev, status | bits)/set_status(vdev, bits)/'
mutant ST3 virtio_pci virtio_bus.c '/^void virtio_give_up/,/^}/s/(void)virtio_reset_device(vdev);//'
mutant ST4 virtio_blk:changes virtio_blk.c '/^static int reread_config/,/^}/s/= virtio_device_health(vdev);/= 0;/'
mutant ST4 hostile vblk_part.c 's/err = virtio_device_health(vblk->vdev);/err = 0;/'
mutant FE1 virtio_pci virtio_bus.c 's/vdev->features = vdev->offered & (known/vdev->features = (known/'
mutant FE2 virtio_pci virtio_pci_modern.c 's/if (!virtio_has_feature(vdev, VIRTIO_F_VERSION_1))/if (0)/'
mutant FE3 virtio_pci virtio_pci_modern.c '/COMMON(driver_feature), (uint32_t)(vdev->features >> 32))/d'
mutant FE3 virtio_pci virtio_bus.c 's/^	err = add_status(vdev, VIRTIO_CONFIG_S_FEATURES_OK);/&\n	(void)vdev->config->finalize_features(vdev);/'
mutant FE4 virtio_pci virtio_pci_modern.c 's/vdev->features &= device_bits | known_transport_features(vpci);/(void)device_bits;/'
mutant RS1 virtio_pci virtio_pci_common.c 's/while ((status = vdev->config->get_status(vdev)) != 0) {/while ((status = 0) != 0) {/'
mutant CF1 virtio_blk:configuration virtio_blk.c 's/if (vdev->config->generation(vdev) == generation)/if (true)/'
mutant CF2 virtio_blk:configuration virtio_blk.c 's/if (!virtio_has_feature(vdev, feature))/if (false)/'
mutant CF3 virtio_blk:configuration virtio_blk.c 's/if (feature_fields\[i\].end > vdev->config_bytes)/if (false)/'
mutant CF4 virtio_blk:configuration virtio_blk.c '/^static int vblk_validate/,/^}/s/^{/{\n	vdev->config->set(vdev, CONFIG(writeback), 1, 1);/'
mutant IN1 virtio_pci virtio_bus.c 's/if (!(vdev->config->get_status(vdev) & VIRTIO_CONFIG_S_FEATURES_OK))/if (false)/'
mutant IN2 virtio virtio_bus.c 's/if (!(vdev->config->get_status(vdev) & VIRTIO_CONFIG_S_FEATURES_OK))/if (false)/'
mutant IN3 virtio_pci virtio_bus.c '/add_status(vdev, VIRTIO_CONFIG_S_FAILED);/d'
mutant IN4 virtio_blk:configuration virtio_blk.c 's/err = virtio_device_ready(vblk->vdev);/err = 0;/'
mutant CL1 virtqueue virtqueue.c '/^static void put_direct/,/^}/s/r->free_head = at;//'
mutant CL2 virtio_blk:changes virtio_blk.c '/^static void vblk_remove/,/^}/s/(void)virtio_reset_device(vdev);//'

# Queues and notifications
mutant VQ1 virtqueue:split virtqueue.c 's/if (virtio_has_feature(vdev, VIRTIO_F_RING_PACKED))/if (true)/'
mutant VQ1 virtqueue:packed virtqueue.c 's/if (virtio_has_feature(vdev, VIRTIO_F_RING_PACKED))/if (false)/'
mutant VQ2 virtio_pci virtio_pci_modern.c '/^static int await_queue_reset/,/^}/s/ != 0) {/ == 2) {/'
mutant VQ2 virtio_blk:queue_resets vblk_queue.c '/^void vblk_ring_take_back/,/^}/s/vq_reset(ring->vq);/;/'
mutant VQ3 virtio_pci virtio_pci_modern.c '/^static int vpci_disable_vq_and_reset/,/^}/s/err = await_queue_reset(vpci);/err = 0;/'
mutant VQ3 ring_features vblk_reset.c 's/err = config->disable_vq_and_reset(ring->vq);/err = 0;/'
mutant VQ3 virtio_blk:queue_resets vblk_reset.c 's/if (err < 0 \&\& (pending == VBLK_AWAIT || never_forgets(vblk)))/if (false)/'
mutant VQ3 virtio_blk:queue_resets vblk_reset.c 's/^	vblk_ring_take_back(ring);//'
mutant VQ4 ring_features virtqueue.c '/^int vq_resize/,/^}/s/vq->size = size;//'
mutant VQ4 virtio_pci virtio_pci_modern.c '/write_common64(vpci, COMMON(queue_driver_lo), addr.driver);/d'
mutant NT1 virtio_pci virtio_pci_common.c '/^static void handle_line/,/^}/s/virtio_config_changed(&vpci->vdev);/{ virtio_config_changed(\&vpci->vdev); return; }/'
mutant NT3 virtio_pci virtio_pci_modern.c '/vq->notify_data = vpci_read16/d'
mutant NT2 virtio_pci virtio_pci_modern.c 's/(uint32_t)vq_notification_data(vq) << 16 | //'
mutant NT4 virtio_pci virtio_pci_modern.c '/^static void vpci_notify/,/^}/s/if (virtio_has_feature.*/if (true)/'

# Split ring
mutant SP1 virtqueue virtqueue.c 's/r->addr.device = r->addr.desc + used_at;/r->addr.device = r->addr.desc + used_at + 2;/'
mutant SP2 virtqueue virtio_pci_modern.c 's/while (size > device/while (size > 2 * device/'
mutant SP2 virtqueue virtio_pci_modern.c '/^static uint16_t choose_size/,/^}/s/^	return (uint16_t).*/	return (uint16_t)device;/'
mutant SP3 virtqueue virtqueue.c 's/(i >= nr_out ? VRING_DESC_F_WRITE : 0)/(i < nr_out ? VRING_DESC_F_WRITE : 0)/'
mutant SP4 virtio_blk:requests vblk_part.c 's/last->addr + last->bytes == addr/false/'
mutant SP5 virtqueue virtqueue.c '/^static void put_direct/,/^}/s/i + 1 < nr ? next : 0/i + 1 < nr ? r->free_head : 0/'
mutant SP6 virtqueue virtqueue.c 's/if (vq->ring->tables.mem == NULL || vq->size < VQ_TABLE_DESCS)/if (vq->ring->tables.mem == NULL)/'
mutant SP7 virtqueue virtqueue.c 's/if (err == 0 && virtio_has_feature(vdev, VIRTIO_RING_F_INDIRECT_DESC))/if (err == 0)/'
mutant SP7 virtqueue virtqueue.c 's/&whole, VRING_DESC_F_INDIRECT, 0)/\&whole, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 0)/'
mutant SP7 virtqueue virtqueue.c '/^static uint16_t put_indirect/,/^}/s/desc_flags(i, nr_out, nr)/VRING_DESC_F_INDIRECT | desc_flags(i, nr_out, nr)/'
mutant SP8 virtqueue:in_order virtqueue.c '/^static void \*reclaim/,/^}/s/if (r->in_order)/if (false)/'
mutant SP8 virtqueue:in_order virtqueue.c '/^static uint16_t put_indirect/,/^}/s/i + 1 < nr ? i + 1 : 0/i + 1 < nr ? nr - 1 : 0/'
mutant SP9 virtqueue:in_order virtqueue.c '/^static bool take_used/,/^}/s/if (r->in_order)/if (false)/'
mutant SP9 virtqueue:in_order virtqueue.c '/^static bool take_batch/,/^}/s/if ((uint16_t)(end .*/if (false) {/'
mutant SP9 hostile:in_order vblk_queue.c 's/if (is_skipped(ring, status))/if (false)/'
mutant SP10 virtqueue virtqueue.c '/^int vq_add/,/^}/s/r->avail_idx++;/r->avail_idx--;/'
mutant SP11 virtqueue virtqueue.c '/^static void quench/,/^}/s/if (r->event_idx)/if (false)/'
mutant SP12 virtqueue virtqueue.c 's/if (bytes > r->entry\[id\].in_bytes \&\&/if (bytes != r->entry[id].in_bytes \&\&/'
mutant SP13 virtqueue virtqueue.c '/^static void start_ring/,/^}/s/^	quench(r);/	r->used->flags = le16_of(1);\n&/'
mutant SP14 virtqueue virtqueue.c 's/return !(dma_load16(r->hw, &r->used->flags) & VRING_USED_F_NO_NOTIFY);/return true;/'
mutant SP14 virtqueue virtqueue.c 's/return !(dma_load16(r->hw, &r->used->flags) & VRING_USED_F_NO_NOTIFY);/return false;/'
mutant SP14 virtqueue virtqueue.c '/^bool vq_kick_prepare/,/^}/s/if (r->event_idx) {/if (true) {/'
mutant SP15 virtqueue virtqueue.c 's/return (uint16_t)(new - event - 1) < (uint16_t)(new - old);/return new > event;/'
mutant SP15 virtqueue virtqueue.c 's/return (uint16_t)(new - event - 1) < (uint16_t)(new - old);/return event == old;/'
mutant SP15 virtqueue virtqueue.c '/^bool vq_kick_prepare/,/^}/s/if (r->event_idx) {/if (false) {/'
mutant SP16 virtqueue virtqueue.c '/^bool vq_kick_prepare/,/^}/s/dma_wmb(r->hw);//'
mutant SP17 virtqueue virtqueue.c '/^bool vq_kick_prepare/,/^}/s/dma_mb(r->hw);//'
mutant SP17 virtqueue virtqueue.c '/^bool vq_kick_prepare/,/^}/s/dma_mb(r->hw);/dma_wmb(r->hw);/'
mutant SP18 virtqueue virtqueue.c 's/dma_rmb(r->hw);//'
mutant SP18 virtio_blk:rings virtqueue.c 's/dma_rmb(r->hw);//'
mutant SP19 virtqueue virtqueue.c '/^bool vq_enable_cb/,/^}/s/dma_mb(r->hw);//'
mutant SP19 virtqueue virtqueue.c '/^bool vq_enable_cb/,/^}/s/return vq->broken ||.*/return vq->broken;/'
mutant SP19 virtio_blk:rings virtqueue.c '/^bool vq_enable_cb/,/^}/s/dma_mb(r->hw);//'

# Packed ring
mutant PK1 virtqueue:packed vq_packed.c 's/p->addr.driver = p->addr.desc + driver_at;/p->addr.driver = p->addr.desc + driver_at + 2;/'
mutant PK1 virtqueue:packed vq_packed.c 's/^	set_event(p, 0, VRING_PACKED_EVENT_FLAG_DISABLE);$/&\n	p->desc[1].flags = le16_of(1);/'
mutant PK2 virtqueue:packed virtio_pci_modern.c '/^static void enable_queue/,/^}/s/COMMON(queue_size), vq->size)/COMMON(queue_size), 0)/'
mutant PK3 virtqueue:packed vq_packed.c 's/p->avail_wrap = p->used_wrap = true;/p->avail_wrap = p->used_wrap = false;/'
mutant PK3 virtqueue:packed vq_packed.c 's/p->avail_wrap = !p->avail_wrap;/;/'
mutant PK3 virtqueue:packed vq_packed.c 's/p->used_wrap = !p->used_wrap;/;/'
mutant PK3 virtqueue:packed vq_packed.c 's/return avail == used \&\& used == p->used_wrap;/return avail == used;/'
mutant PK4 virtqueue:packed vq_packed.c '/^bool vqp_has_room/,/^}/s/return .*/return true;/'
mutant PK5 virtqueue:packed vq_packed.c 's/if (p->unshown_descs == 0) {/if (false) {/'
mutant PK5 virtqueue:packed vq_packed.c 's/^	flags |= lap_flags(p);/	flags |= VRING_PACKED_DESC_F_AVAIL;/'
mutant PK6 virtqueue:packed vq_packed.c 's/if (p->tables.mem == NULL || p->size < VQ_TABLE_DESCS)/if (p->tables.mem == NULL)/'
mutant PK6 virtqueue:packed vq_packed.c 's/i >= nr_out ? VRING_DESC_F_WRITE : 0/i < nr_out ? VRING_DESC_F_WRITE : 0/'
mutant PK7 virtqueue:packed vq_packed.c 's/dma_store16(p->hw, \&d->id, id);/dma_store16(p->hw, \&d->id, 0);/'
mutant PK7 virtqueue:packed vq_packed.c 's/p->next_used = (uint16_t)(p->next_used + e->nr_desc);/p->next_used++;/'
mutant PK8 virtqueue:packed vq_packed.c 's/if (err == 0 \&\& virtio_has_feature(vdev, VIRTIO_RING_F_INDIRECT_DESC))/if (err == 0)/'
mutant PK8 virtqueue:packed vq_packed.c 's/i >= nr_out ? VRING_DESC_F_WRITE : 0);$/VRING_DESC_F_NEXT | (i >= nr_out ? VRING_DESC_F_WRITE : 0));/'
mutant PK9 virtqueue:packed vq_packed.c '/^bool vqp_kick_prepare/,/^}/s/dma_wmb(p->hw);//'
mutant PK9 virtqueue:packed vq_packed.c '/^bool vqp_kick_prepare/,/^}/s/dma_mb(p->hw);//'
mutant PK9 virtqueue:packed vq_packed.c 's/dma_rmb(p->hw);//'
mutant PK9 virtqueue:packed vq_packed.c '/^bool vqp_enable_cb/,/^}/s/dma_mb(p->hw);//'
mutant PK10 hostile:packed vq_packed.c 's/(flags & VRING_DESC_F_WRITE) != 0 \&\& bytes > /false \&\& bytes > /'
mutant PK11 virtqueue:packed vq_packed.c '/^bool vqp_enable_cb/,/^}/s/if (p->event_idx)/if (true)/'
mutant PK11 virtqueue:packed vq_packed.c '/^static bool wants_kick/,/^}/s/event = (uint16_t)(event - p->size);.*/;/'
mutant PK11 virtqueue:packed vq_packed.c 's/return flags != VRING_PACKED_EVENT_FLAG_DISABLE;/return true;/'
mutant PK11 virtqueue:packed vq_packed.c '/^void vqp_disable_cb/,/^}/s/set_event(p, 0, VRING_PACKED_EVENT_FLAG_DISABLE);//'
mutant PK12 virtio_pci vq_packed.c 's/return with_wrap(p->next_avail, p->avail_wrap);/return p->next_avail;/'
mutant PK13 virtqueue:packed_in_order vq_packed.c 's/p->in_order ? p->entry\[id\].number + 1 : p->returned + 1/p->returned + 1/'
mutant PK13 virtqueue:packed_in_order vq_packed.c 's/p->in_order \&\& size > 1 ? size - 1 : size/size/'
mutant PK13 virtqueue:packed_in_order vq_packed.c '/^bool vqp_enable_cb/,/^}/s/return p->returned != p->batch_end ||/return/'
mutant PK13 hostile:packed_in_order vblk_queue.c 's/if (is_skipped(ring, status))/if (false)/'
mutant RF3 virtio_pci virtqueue.c 's/ | 1ULL << VIRTIO_F_RING_PACKED |/ |/'
mutant ID hostile:packed vq_packed.c '/^static bool is_with_device/,/^}/s/id < p->size \&\&//'
mutant ID hostile:packed vq_packed.c '/^static bool is_with_device/,/^}/s/p->entry\[id\].token != NULL/true/'

# PCI transport
mutant PC1 virtio_pci virtio_pci_common.c 's/ids->device == VIRTIO_PCI_DEVICE_BLK_OLD/false/'
mutant PC1 virtio_pci virtio_pci_common.c 's/return ids->vendor == VIRTIO_PCI_VENDOR &&/return/'
mutant PC2 virtio_pci virtio_pci_common.c 's/return ids->vendor == VIRTIO_PCI_VENDOR &&/return ids->revision <= 1 \&\& ids->vendor == VIRTIO_PCI_VENDOR \&\&/'
mutant PC3 virtio_pci virtio_pci_modern.c '/^static uint8_t vpci_get_status/,/^}/s/vpci_read8/(uint8_t)vpci_read16/'
mutant PC3 virtio_blk:configuration virtio_pci_common.c '/^uint64_t vpci_get_field(/,/^}/s/return vpci_read16(vpci, r, off);/return vpci_read8(vpci, r, off) | vpci_read8(vpci, r, off + 1) << 8;/'
mutant PC4 virtio_pci virtio_pci_layout.c 's/return cap->bar <= 5 &&/return/'
mutant PC4 virtio_pci virtio_pci_layout.c 's/hw->bar\[cap->bar\].bytes != 0 &&//;s/off + bytes <= hw->bar\[cap->bar\].bytes/true/'
mutant PC4 virtio_pci virtio_pci_layout.c 's/ && !seen\[at \/ 4\]//'
mutant PC4 virtio_pci virtio_pci_layout.c 's/at >= PCI_HEADER_BYTES && //'
mutant PC4 virtio_pci virtio_pci_layout.c 's/at = cap\[1\] & 0xfc/at = cap[1]/;s/for (at &= 0xfc; /for (; /'
mutant PC4 virtio_pci virtio_pci_layout.c 's/return NULL; .* 4.1.4.1: to be ignored .*/return \&out->common;/'
mutant PC5 virtio_pci virtio_pci_layout.c 's/return have->bytes == 0 ||.*/return true;/'
mutant PC5 virtio_pci virtio_pci_layout.c 's/return have->bytes == 0 ||.*/return have->bytes == 0;/'
mutant PC6 virtio_pci virtio_pci_layout.c 's/if (cap.cap_len < sizeof(cap))/if (cap.cap_len != sizeof(cap) \&\& cap.cap_len != 20)/'
mutant PC6 virtio_pci virtio_pci_layout.c 's/&& bytes >= min &&/\&\&/'
mutant PC6 virtio_pci virtio_pci_layout.c 's/cap.cap_len < sizeof(cap) + 4 ||//'
mutant PC7 virtio_pci virtio_pci_common.c '/^int vpci_map_region(/,/^}/s/if (r->bytes > max)/if (false)/'
mutant PC8 virtio_pci virtio_pci_layout.c 's/seen\[at \/ 4\] = true;/& (void)hw->ops->cfg_write(hw, at, cap, 1);/'
mutant PC9 virtio_pci virtio_pci_modern.c '/^static void enable_queue/,/^}/s/^	vq_get_addresses.*/&\n	vpci_write16(vpci, \&vpci->at.common, COMMON(queue_notify_off), 0);/'
mutant PC10 virtio_pci virtio_pci_modern.c '/^static void enable_queue/,/^}/s/^	write_common64(vpci, COMMON(queue_device_lo).*/	vpci_write16(vpci, \&vpci->at.common, COMMON(queue_enable), 1);\n&/'
mutant PC11 virtio_pci virtio_pci_modern.c '/^static void enable_queue/,/^}/s/^	vq_get_addresses.*/&\n	vpci_write16(vpci, \&vpci->at.common, COMMON(queue_enable), 0);/'
mutant PC12 virtio virtio_bus.c 's/int err = virtio_reset_device(vdev);/int err = 0;/;s/^	err = virtio_reset_device(vdev);/	err = 0;/'
mutant PC12 virtio_pci virtio_pci_common.c 's/if (waited_us >= RESET_LIMIT_US)/if (waited_us >= 1000)/'
mutant PC13 virtio_pci virtio_pci_modern.c 's/if (waited_us >= QUEUE_RESET_LIMIT_US)/if (waited_us >= 1000)/'
mutant PC14 virtio_pci virtio_pci_modern.c 's/if (size == 0 || vpci_read16/if (vpci_read16/'
mutant PC15 virtio_pci virtio_pci_modern.c 's/ || off + bytes > vpci->at.notify.bytes//'
mutant PC15 virtio_pci virtio_pci_modern.c 's/off % bytes != 0 || //'
mutant PC15 virtio_pci virtio_pci_modern.c 's/(uint64_t)vpci->at.notify_multiplier \*/4ULL */'
mutant PC16 virtio_pci virtio_pci_common.c 's/^		handle_line(vpci);/		(void)hw->ops->irq_unmask(hw);\n&/'
mutant PC16 virtio_pci virtio_pci_common.c '/^static void handle_line/,/^}/{s/uint8_t isr = vpci_read8.*/uint8_t isr = 3;/;s/^}/	(void)vpci_read8(vpci, \&vpci->at.isr, 0);\n}/}'
mutant PC18 virtio_pci virtio_pci_common.c 's/if (isr & VIRTIO_PCI_ISR_CONFIG)/if (isr == VIRTIO_PCI_ISR_CONFIG)/'
mutant PC19 virtio_pci virtio_pci_modern.c '/^static void enable_queue/,/^}/s/^	vq_get_addresses.*/&\n	vpci_write16(vpci, \&vpci->at.common, COMMON(queue_msix_vector), 0);/'
mutant PC17 virtio_pci virtio_pci_common.c '/^static void handle_message/,/^}/s/^	if (vector == 0)/	(void)vpci_read8(vpci, \&vpci->at.isr, 0);\n&/'
mutant PC19 virtio_pci virtio_pci_common.c 's/ == vector ? 0 : -ENOSPC;/ == vector ? 0 : 0;/'
mutant PC19 'virtio_blk:modern changes' virtio_pci_common.c 's/if (err == 0 \&\& vdev->nr_vectors > 0 \&\& set_vectors(vpci, vpci->nr_vqs) < 0)/if (false)/'
mutant PC19 virtio_pci virtio_pci_modern.c 's/err = vpci_set_queue_vector(vpci, vq->index);/err = 0;/'
mutant PC20 virtio_pci virtio_pci_common.c 's/: 1 + queue % (nr - 1)/: 1 + queue/'
mutant PC20 virtio_pci virtio_pci_common.c 's/nr = nr > 2 ? 2 : nr - 1;/nr = 0;/'
mutant PC21 virtio_pci virtio_pci_layout.c 's/^	if (cap.cap_len < sizeof(cap))$/	if (cap.cfg_type == VIRTIO_PCI_CAP_PCI_CFG)\n		(void)hw->ops->cfg_write(hw, at + 8, \&cap.offset, 4);\n&/'
mutant PC22 virtio_pci virtio_pci_layout.c 's/case VIRTIO_PCI_CAP_COMMON_CFG:/&\n	case VIRTIO_PCI_CAP_VENDOR_CFG:/'
mutant PC23 virtio_pci virtio_pci_modern.c 's/return at->common.bytes != 0 \&\& at->notify.bytes/return at->notify.bytes/'
mutant MSIX virtio_pci virtio_pci_common.c 's/err = disable_msix(vdev->hw, vpci->at.msix);//'
mutant ISR0 virtio_pci virtio_pci_common.c 's/(void)vpci_read8(vpci, &vpci->at.isr, 0);//'
mutant MASTER virtio_pci virtio_pci_common.c 's/err = hw->ops->bus_master(hw, true);/err = 0;/'
mutant RF1 virtio_pci virtqueue.c 's/1ULL << VIRTIO_F_VERSION_1 |/0 |/'
mutant RF2 virtio_pci virtio_pci_common.c 's/if (by_iommu \&\& vdev->hw->iommu_translates/if (false/'
mutant RF2 virtio_pci virtio_pci_common.c 's/if (!by_iommu \&\& vdev->hw->iommu_is_ours)/if (false)/'
mutant RF2 virtio_pci virtio_pci_modern.c 's/ | 1ULL << VIRTIO_F_ACCESS_PLATFORM//'
mutant RF4 virtio_pci virtqueue.c '/known |= 1ULL << VIRTIO_F_ORDER_PLATFORM;/d'
mutant RF5 virtio_pci virtio_pci_modern.c 's/ | 1ULL << VIRTIO_F_ACCESS_PLATFORM/& | 1ULL << VIRTIO_F_SR_IOV/'
mutant RF6 virtio_pci virtio_pci_modern.c 's/if (vpci->at.common.bytes >= COMMON(queue_notify_data) + 2)/if (true)/'

mutant RF7 virtio_pci virtio_pci_modern.c 's/if ((vpci->at.notify.off | .*/if (true)/'
mutant RF7 virtio_pci virtio_pci_modern.c 's/if (vpci->at.common.bytes >= COMMON(queue_reset) + 2)/if (true)/'

# Legacy devices
mutant IN5 virtio_pci:legacy virtio_bus.c 's/if (err < 0 || !virtio_has_feature(vdev, VIRTIO_F_VERSION_1))/if (err < 0)/'
mutant PC23 virtio_pci virtio_pci_common.c 's/err = virtio_pci_modern_probe(vpci);/err = -ENODEV;/'
mutant PC23 virtio_pci:legacy virtio_pci_legacy.c 's/!virtio_pci_is_transitional(vpci->vdev.hw->ids.device) ||//'
mutant PC23 virtio_pci:legacy virtio_pci_legacy.c 's/^		!bar->is_io)/		false)/'
mutant LG1 virtio_pci:legacy virtio_pci_legacy.c '/^static void legacy_set_status/,/^}/s/vpci_write8/vpci_write16/'
mutant LG1 virtio_pci:legacy virtio_pci_legacy.c 's/if (bar->bytes < VIRTIO_PCI_CONFIG_OFF.*/if (false)/'
mutant LG2 'virtio_pci:legacy common' virtio_pci_common.c 's/err = disable_msix(vdev->hw, vpci->at.msix);//'
mutant LG2 virtio_pci:legacy virtio_pci_legacy.c 's/VIRTIO_PCI_CONFIG_OFF(vpci_msix_is_on(vpci))/VIRTIO_PCI_CONFIG_OFF(false)/'
mutant LG2 virtio_pci:legacy virtio_pci_legacy.c 's/\.bytes = all.bytes - VIRTIO_PCI_CONFIG_OFF(at->msix != 0)/.bytes = all.bytes - VIRTIO_PCI_CONFIG_OFF(false)/'
mutant LG3 virtqueue:legacy virtqueue.c 's/r->legacy ? VIRTIO_PCI_VRING_ALIGN : LINE_BYTES/LINE_BYTES/'
mutant LG3 virtio_pci:legacy virtio_pci_legacy.c 's/(size \& (size - 1)) != 0/false/'
mutant LG3 virtio_pci:legacy virtio_pci_legacy.c 's/if (addr.desc >> VIRTIO_PCI_QUEUE_ADDR_SHIFT > UINT32_MAX)/if (false)/'
mutant LG3 virtio_pci:legacy virtio_pci_legacy.c 's/if (vpci_read32(vpci, r, VIRTIO_PCI_QUEUE_PFN) != 0)/if (false)/'
mutant RF2 virtio_pci:legacy virtio_pci_legacy.c 's/int err = vpci_check_addresses(vdev);/int err = 0;/'
mutant LG4 virtio_pci:legacy virtio_pci_legacy.c 's/vdev->features &= UINT32_MAX & (device_bits | vq_known_features());/(void)device_bits;/'
mutant LG5 'virtio_blk:legacy configuration' virtio_blk.c 's/VIRTIO_F_ANY_LAYOUT, .*/VIRTIO_BLK_F_SIZE_MAX,/'
mutant LG6 virtio_pci:legacy virtio_pci_legacy.c 's/atomic_fetch_add(&vpci->torn, 1);/;/'
mutant LG6 'virtio_blk:legacy configuration' virtio_pci_legacy.c 's/atomic_fetch_add(&vpci->torn, 1);/;/'
mutant LG7 hostile:legacy virtqueue.c 's/ && !r->legacy) {/) {/'
mutant LG8 virtio_pci:legacy virtqueue.c 's/1ULL << VIRTIO_RING_F_EVENT_IDX |$/& 1ULL << 30 |/'

# Block device
mutant BI1 virtio_blk:configuration virtio_blk.c 's/vblk->unit_sectors = c->blk_size \/ SECTOR_BYTES;/vblk->unit_sectors = 1;/'
mutant BI1 virtio_blk:configuration virtio_blk.c 's/c->capacity - c->capacity % unit/(c->capacity - c->capacity % unit) * unit/'
mutant BI2 virtio_blk:requests vblk_part.c 's/= VIRTIO_BLK_T_FLUSH,/= VIRTIO_BLK_T_OUT,/'
mutant BI3 virtio_blk:configuration virtio_blk.c '/^static int vblk_validate/,/^}/s/^{/{\n	(void)vdev->config->get(vdev, CONFIG(writeback), 1);/'
mutant BI4 virtio_blk:requests virtio_blk.c '/CONFIG(writeback), 1,$/{n;s/virtio_has_feature(vdev, VIRTIO_BLK_F_FLUSH)/0/}'
mutant BI4 virtio_blk:requests virtio_blk.c 's/virtio_has_feature(vdev, VIRTIO_BLK_F_FLUSH) && c->writeback != 0/virtio_has_feature(vdev, VIRTIO_BLK_F_FLUSH)/'
mutant BI5 virtio_blk:configuration virtio_blk.c 's/if (c->num_queues == 0)/if (false)/'
mutant BI6 virtio_blk:requests vblk_part.c 's/min32(contig, size_max)/(uint32_t)contig/'
mutant BI6 virtio_blk:requests vblk_part.c 's/(uint64_t)last->bytes + bytes <= size_max/true/'
mutant BI6 virtio_blk:requests vblk_part.c 's/unsigned max = min32(ring->max_segs,/unsigned max = ring->max_segs + 0 * min32(0,/'
mutant BO1 virtio_blk:changes vblk_queue.c 's/if (!in_range(ring->vblk, req))/if (false)/'
mutant BO2 virtio_blk:requests virtio_blk.c 's/info->read_only = virtio_has_feature(vdev, VIRTIO_BLK_F_RO) ||/info->read_only =/'
mutant BO3 virtio_blk:requests vblk_part.c 's/dma->header.reserved, 0)/dma->header.reserved, 1)/'
mutant BO4 virtio_blk:requests vblk_part.c 's/part->sector = 0; .*/part->sector = 1 + req->sector;/'
mutant BO5 virtio_blk:requests vblk_part.c '/^static int plan(/,/^}/s/case BLK_FLUSH:/case (enum blk_op)77:/'
mutant BO6 virtio_blk:requests vblk_part.c 's/trim(req, part, over);/over = 0;/'
mutant BO7 virtio_blk:requests vblk_part.c 's/\.bytes = sizeof(dma->u.range)}/.bytes = sizeof(dma->u)}/'
mutant BO8 virtio_blk:requests vblk_part.c 's/\tnr = min32(left, max);/\tnr = left;/'
mutant BO8 virtio_blk:requests vblk_part.c 's/nr -= tail;.*/(void)tail;/'
mutant BO9 virtio_blk:requests vblk_part.c 's/unmap = req->op == BLK_WRITE_ZEROES && /unmap = /'
mutant BO9 virtio_blk:requests vblk_part.c 's/BLK_WRITE_ZEROES && ring->vblk->zeroes_unmap;/BLK_WRITE_ZEROES;/'
mutant BO10 virtio_blk:configuration vblk_part.c 's/GET_ID, VIRTIO_BLK_ID_BYTES/GET_ID, 16/'
mutant BO11 virtio_blk:configuration vblk_part.c 's/GET_LIFETIME, sizeof(dma->u.lifetime)/GET_LIFETIME, 8/'
mutant BO12 virtio_blk:requests vblk_part.c 's/VBLK_NO_STATUS/0/'
mutant BO12 virtio_blk:requests vblk_part.c '/^int vblk_error_of/,/^}/s/return -EIO;/return 0;/'
mutant BO13 virtio_blk:requests vblk_queue.c '/^static void part_returned/,/^}/s/if (p->err == 0)/if (true)/'
mutant BO14 virtio_blk:requests vblk_part.c 's/= VIRTIO_BLK_T_WRITE_ZEROES,/= VIRTIO_BLK_T_DISCARD,/'
mutant BO15 virtio_blk:requests vblk_queue.c '/^static bool is_noop/,/^}/s/!atomic_load_explicit(&vblk->volatile_cache, memory_order_relaxed)/vblk != NULL/'
mutant BO16 virtio_blk:requests virtio_blk.c 's/if (err == 0 && vblk->write_through)/if (false)/'
mutant BO16 virtio_blk:requests virtio_blk.c 's/if (mode == c->writeback \&\& !vdev->cache_mode_unset)/if (true)/'
mutant BO17 virtqueue virtqueue.c 's/void \*token = e->token;/void *token = r->entry[0].token != NULL ? r->entry[0].token : e->token;/'
mutant BO18 virtio_blk:changes virtio_blk.c '/^static void set_capacity/,/^}/s/set_limits(vblk, c);/;/'

# A device that breaks the rules
mutant ID hostile virtqueue.c '/^static bool is_with_device/,/^}/s/id < r->size &&//'
mutant ID hostile virtqueue.c '/^static bool is_with_device/,/^}/s/r->entry\[id\].token != NULL/true/'
mutant JUMP hostile virtqueue.c 's/if ((uint16_t)(idx - r->used_idx) > (uint16_t)(r->shown_idx - r->used_idx))/if (false)/'
mutant LEN hostile virtqueue.c 's/if (bytes > r->entry\[id\].in_bytes \&\&/if (false \&\&/'
mutant GONE virtio virtio_bus.c 's/int err = atomic_load(&vdev->gone) != 0 ? -ENODEV :/int err =/'
mutant GONE virtio virtio_bus.c 's/ || atomic_load(&vdev->gone) != 0)/)/'
mutant GONE virtio virtio_bus.c '/^int virtio_device_health/,/^}/s/atomic_store(&vdev->gone, -ENODEV);//'
mutant GONE virtio virtio_bus.c '/^int virtio_reset_device/,/^}/s/(void)vdev->hw->ops->bus_master(vdev->hw, false);//'
mutant GONE bar_guard bar_guard.c 's/if (find(page) == NULL)/if (true)/'
mutant GONE bar_guard bar_guard.c 's/if (find(page) == NULL)/if (false)/'
mutant GONE bar_guard bar_guard.c 's/memset(ones, 0xff, sizeof(ones));/memset(ones, 0, sizeof(ones));/'
mutant GONE bar_guard bar_guard.c '/^static void hand_on/,/^}/s/guard.before.sa_handler(sig);/(void)sig;/'
mutant GONE virtio_blk:changes virtio_blk.c 's/err = virtio_device_health(vdev); .* may look like sense .*/err = 0;/'
mutant STALL virtio_blk:changes virtio_pci_common.c 's/if (!(command & PCI_COMMAND_MASTER))/if (false)/'
mutant STALL virtio_blk:changes vblk_watch.c '/^static void check_ring/,/^}/s/handle_stall(vblk, index);/;/'
mutant STALL virtio_blk:changes virtio_blk.c '/^static int no_answer/,/^}/s/err == -ECONNRESET ? -EIO/false ? -EIO/'
mutant BROKEN hostile vblk_queue.c 's/^	if (broke)$/	if (false)/'

# vhost-user
mutant VU1 vhost_user vhost_conn.c 's/c->ch.ack = has(c, VUP_PROTO_ACK);/c->ch.ack = true;/'
mutant VU2 vhost_user vhost_proto.c 's/n = receive_some(fd, at, bytes, passed_fd);/& if (n > 0 \&\& (size_t)n < bytes) return -EIO;/'
mutant VU2 vhost_user vhost_proto.c 's/if (h.request != request ||/if (/'
mutant VU2 vhost_user vhost_proto.c 's/ || h.bytes > max ||/ ||/'
mutant VU2 vhost_user vhost_proto.c 's/^.*(h.flags & (VUP_VERSION_MASK | VUP_REPLY)) != .*/		false)/'
mutant VU3 vhost_user vhost_conn.c '/^static int agree_on_protocol/,/^}/s/if (!(c->features >> VUP_F_PROTOCOL & 1))/if (false)/'
mutant VU3 vhost_user vhost_conn.c 's/VUP_SET_PROTOCOL_FEATURES, offered & PROTO_KNOWN/VUP_SET_PROTOCOL_FEATURES, offered/'
mutant VU4 vhost_user vhost_conn.c '/^static int settle/,/^}/s/if (c->ch.ack)/if (true)/'
mutant VU4 vhost_user vhost_proto.c 's/return refused != 0 ? -EREMOTEIO : 0;/return 0;/'
mutant VU5 vhost_user vhost_conn.c 's/if (n != 0) .*/if (true)/'
mutant VU6 vhost_user virtio_blk.c 's/if (mode == c->writeback \&\& !vdev->cache_mode_unset)/if (mode == c->writeback)/'
mutant VU6 vhost_user:requests vhost_user.c '/^static int vu_set(/,/^}/s/vu->written = before;/;/'
mutant VU6 vhost_user:requests virtio_blk.c 's/if (err == 0 \&\& atomic_load(&vblk->vdev->away))/if (false)/'
mutant VU8 vhost_user vhost_conn.c 's/\.used = ring->device,/.used = ring->driver,/;s/\.avail = ring->driver}/.avail = ring->device}/'
mutant VU9 vhost_user vhost_user.c 's/if (vu->told_memory)/if (false)/'
mutant VU9 vhost_user vhost_user.c 's/if (err == -EREMOTEIO)/if (false)/'
mutant VU10 vhost_user vhost_conn.c 's/msg = index;/msg = index | 0x100;/'
mutant VU11 vhost_user vhost_user.c '/^static void vu_set_status/,/^}/s/(void)enable_vrings(vu);/;/'
mutant VU13 vhost_user vhost_user.c 's/if (request == VUP_BACKEND_CONFIG_CHANGE)/if (false)/'
mutant VU13 vhost_user vhost_user.c '/^static bool serve_backend/,/^}/s/request != VUP_BACKEND_CONFIG_CHANGE) == 0/1) == 0/'
mutant VU14 vhost_user vhost_user.c 's/virtio_device_gone(&vu->vdev, -ENODEV);//'
mutant VU15 vhost_user vhost_user.c 's/vu->vdev.rings_kept = vu->inflight.fd >= 0;/vu->vdev.rings_kept = false;/'
mutant VU15 vhost_user vhost_user.c 's/if (vu->inflight.fd < 0)/if (true)/'
mutant VU15 vhost_user vhost_user.c 's/vu->vdev.rings_kept = false; \/.*//'
mutant VU15 vhost_user vhost_user.c 's/if (!vu->vdev.rings_kept || !vhc_has_inflight(&vu->conn) ||/if (!vu->vdev.rings_kept ||/'
mutant VU15 vhost_user vhost_user.c '/^static void begin_anew/,/^}/s/forget_inflight(vu);//'
mutant VU15 vhost_user vhost_user.c '/^static int go_on/,/^}/s/vq_notify(.*/;/'
mutant VU15 vhost_user vhost_user.c 's/\.base = vq_used_idx(ring->vq),//'
mutant VU15 vhost_user vhost_conn.c 's/if (err == 0 \&\& out->fd < 0)/if (false)/'
mutant VU15 vhost_user vblk_queue.c 's/if (!vblk->vdev->rings_kept)/if (true)/'
mutant VU17 vhost_user vblk_queue.c '/^static bool fail_flushes/,/^}/s/vblk_progress_of(req)->err = err;/;/'
mutant VU17 vhost_user virtio_blk.c '/^static void vblk_freeze/,/^}/s/if (vdev->rings_kept \&\&/if (false \&\&/'
mutant VU16 vhost_user vhost_user.c 's/vq_reset(vu->vring\[i\].vq);/;/'
mutant VU16 vhost_user vblk_queue.c '/^void vblk_rings_restore/,/^}/s/take_back_all(&vblk->ring\[i\]);/;/'
mutant VU16 vhost_user vblk_queue.c '/^static void take_back_all/,/^}/s/rewind_request(ring->vblk, req);//'
mutant VU16 vhost_user vblk_queue.c '/^static void rewind_request/,/^}/s/p->iov_off = 0;/;/'
mutant VU16 vhost_user vhost_user.c 's/uint64_t missing = .*/uint64_t missing = 0;/'
mutant VU16 vhost_user vhost_user.c '/^static int give_rings/,/^}/s/drain(ring->kick_fd);//'
mutant VU16 vhost_user vhost_user.c '/^static int go_on/,/^}/s/err = write_config(vu);/;/'
mutant VU16 vhost_user:requests vhost_user.c '/^static int vu_renew_vqs/,/^}/s/begin_anew(vu);/;/'
mutant VU16 vhost_user:requests vblk_reset.c '/^static int renew(/,/^}/s/err = vblk_quiesce(vblk);/err = 0;/'
mutant VU17 vhost_user virtio_blk.c '/^static void restore_rings/,/^}/s/err = -EIO;/err = 0;/'
mutant VU17 vhost_user vblk_queue.c 's/p->err = atomic_exchange(&vblk->flush_err, 0);/;/'
mutant VU17 vhost_user vblk_queue.c 's/told |= flush_err < 0 \&\& fail_flushes(&vblk->ring\[i\], flush_err);/told |= flush_err < 0;/'
mutant VU17 vhost_user vblk_queue.c '/^static void finish/,/^}/s/vblk_note_flushed(ring->vblk, p->covers);/;/'
mutant VU17 vhost_user vblk_queue.c 's/if (flush_err < 0 \&\& !told)/if (flush_err < 0)/'

echo "$killed killed, $survivors not"
[ "$survivors" -eq 0 ]
