/* virtio.h - virtio 1.2's numbers and shapes: device status, feature bits, split virtqueue, PCI
 * capabilities, block device. Section numbers are the specification's. Names are Linux's.
 *
 * Fields in rings, requests and registers are little-endian; legacy devices have the machine's byte
 * order, and are driven on little-endian machines only. */
#ifndef VBLKFS_VIRTIO_H
#define VBLKFS_VIRTIO_H
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "le.h"

/* 2.1 device status */
#define VIRTIO_CONFIG_S_ACKNOWLEDGE 1U
#define VIRTIO_CONFIG_S_DRIVER      2U
#define VIRTIO_CONFIG_S_DRIVER_OK   4U
#define VIRTIO_CONFIG_S_FEATURES_OK 8U
#define VIRTIO_CONFIG_S_NEEDS_RESET 0x40U
#define VIRTIO_CONFIG_S_FAILED      0x80U

/* 6 reserved feature bits; 6.3: of legacy devices only */
#define VIRTIO_F_NOTIFY_ON_EMPTY    24 /* 6.3 */
#define VIRTIO_F_ANY_LAYOUT         27 /* 6.3 */
#define VIRTIO_RING_F_INDIRECT_DESC 28
#define VIRTIO_RING_F_EVENT_IDX     29
#define VIRTIO_F_VERSION_1          32
#define VIRTIO_F_ACCESS_PLATFORM    33
#define VIRTIO_F_RING_PACKED        34
#define VIRTIO_F_IN_ORDER           35
#define VIRTIO_F_ORDER_PLATFORM     36
#define VIRTIO_F_SR_IOV             37
#define VIRTIO_F_NOTIFICATION_DATA  38
#define VIRTIO_F_NOTIF_CONFIG_DATA  39
#define VIRTIO_F_RING_RESET         40

#define VIRTIO_PCI_VENDOR         0x1af4
#define VIRTIO_PCI_DEVICE_BLK     0x1042 /* modern: 0x1040 + device type */
#define VIRTIO_PCI_DEVICE_BLK_OLD 0x1001 /* transitional */
#define VIRTIO_ID_BLOCK           2

static inline bool virtio_pci_is_transitional(uint16_t device) /* or legacy (4.1.2.3) */
{
	return device >= 0x1000 && device <= 0x103f;
}

/* By the PCI ids. A transitional device has its type in the subsystem's. */
static inline bool virtio_pci_is_blk(uint16_t vendor, uint16_t device, uint16_t subdevice)
{
	return vendor == VIRTIO_PCI_VENDOR &&
	       (device == VIRTIO_PCI_DEVICE_BLK || device == VIRTIO_PCI_DEVICE_BLK_OLD ||
		       (virtio_pci_is_transitional(device) && subdevice == VIRTIO_ID_BLOCK));
}

/* 2.7.5 split ring: descriptor */
#define VRING_DESC_F_NEXT     1
#define VRING_DESC_F_WRITE    2
#define VRING_DESC_F_INDIRECT 4
struct vring_desc {
	le64 addr; /* physical */
	le32 len;  /* bytes */
	le16 flags;
	le16 next;
};
static_assert(sizeof(struct vring_desc) == 16, "virtio 1.2, 2.7.5");

#define VRING_AVAIL_F_NO_INTERRUPT 1
struct vring_avail { /* then le16 used_event, when EVENT_IDX */
	le16 flags;
	le16 idx;
	le16 ring[];
};

#define VRING_USED_F_NO_NOTIFY 1
struct vring_used_elem {
	le32 id;
	le32 len;
};
struct vring_used { /* then le16 avail_event, when EVENT_IDX */
	le16 flags;
	le16 idx;
	struct vring_used_elem ring[];
};
#define VRING_MAX_SIZE 32768U

/* 2.8 packed ring: descriptor, of the ring and of an indirect table */
#define VRING_PACKED_DESC_F_AVAIL 0x80
#define VRING_PACKED_DESC_F_USED  0x8000
struct vring_packed_desc {
	le64 addr; /* physical */
	le32 len;  /* bytes */
	le16 id;   /* of the buffer */
	le16 flags;
};
static_assert(sizeof(struct vring_packed_desc) == 16, "virtio 1.2, 2.8.13");

/* 2.8.14 event suppression, as one word: offset 0-14, wrap counter 15, flags 16-17 */
#define VRING_PACKED_EVENT_WRAP         0x8000U
#define VRING_PACKED_EVENT_FLAGS_SHIFT  16
#define VRING_PACKED_EVENT_FLAG_ENABLE  0U
#define VRING_PACKED_EVENT_FLAG_DISABLE 1U
#define VRING_PACKED_EVENT_FLAG_DESC    2U

/* 4.1.4 PCI vendor capabilities */
#define VIRTIO_PCI_CAP_COMMON_CFG 1
#define VIRTIO_PCI_CAP_NOTIFY_CFG 2
#define VIRTIO_PCI_CAP_ISR_CFG    3
#define VIRTIO_PCI_CAP_DEVICE_CFG 4
#define VIRTIO_PCI_CAP_PCI_CFG    5
#define VIRTIO_PCI_CAP_SHARED_MEM 8
#define VIRTIO_PCI_CAP_VENDOR_CFG 9

struct virtio_pci_cap {   /* in PCI configuration space */
	uint8_t cap_vndr; /* 9 */
	uint8_t cap_next;
	uint8_t cap_len;
	uint8_t cfg_type;
	uint8_t bar;
	uint8_t id;
	uint8_t padding[2];
	le32 offset; /* in the BAR, bytes */
	le32 length; /* bytes */
};
static_assert(sizeof(struct virtio_pci_cap) == 16, "virtio 1.2, 4.1.4");

struct virtio_pci_common_cfg { /* 4.1.4.3; only its offsets are used: registers are accessed one by one */
	le32 device_feature_select;
	le32 device_feature;
	le32 driver_feature_select;
	le32 driver_feature;
	le16 config_msix_vector;
	le16 num_queues;
	uint8_t device_status;
	uint8_t config_generation;
	le16 queue_select;
	le16 queue_size;
	le16 queue_msix_vector;
	le16 queue_enable;
	le16 queue_notify_off;
	le32 queue_desc_lo, queue_desc_hi;
	le32 queue_driver_lo, queue_driver_hi;
	le32 queue_device_lo, queue_device_hi;
	le16 queue_notify_data;
	le16 queue_reset;
};
static_assert(offsetof(struct virtio_pci_common_cfg, queue_reset) == 0x3a, "virtio 1.2, 4.1.4.3");
#define VIRTIO_MSI_NO_VECTOR 0xffffU

/* 4.1.4.10 legacy registers: offsets in BAR 0 */
#define VIRTIO_PCI_HOST_FEATURES       0  /* 32 bits */
#define VIRTIO_PCI_GUEST_FEATURES      4  /* 32 */
#define VIRTIO_PCI_QUEUE_PFN           8  /* 32 */
#define VIRTIO_PCI_QUEUE_NUM           12 /* 16: its size */
#define VIRTIO_PCI_QUEUE_SEL           14 /* 16 */
#define VIRTIO_PCI_QUEUE_NOTIFY        16 /* 16 */
#define VIRTIO_PCI_STATUS              18 /* 8 */
#define VIRTIO_PCI_ISR                 19 /* 8 */
#define VIRTIO_PCI_CONFIG_OFF(msix_on) ((msix_on) ? 24U : 20U)
#define VIRTIO_PCI_QUEUE_ADDR_SHIFT    12
#define VIRTIO_PCI_VRING_ALIGN         4096U /* of the used ring (2.7.2) */

#define VIRTIO_PCI_ISR_QUEUE  1U
#define VIRTIO_PCI_ISR_CONFIG 2U

/* 5.2 block device */
#define VIRTIO_BLK_F_BARRIER      0 /* legacy */
#define VIRTIO_BLK_F_SIZE_MAX     1
#define VIRTIO_BLK_F_SEG_MAX      2
#define VIRTIO_BLK_F_GEOMETRY     4
#define VIRTIO_BLK_F_RO           5
#define VIRTIO_BLK_F_BLK_SIZE     6
#define VIRTIO_BLK_F_SCSI         7 /* legacy */
#define VIRTIO_BLK_F_FLUSH        9
#define VIRTIO_BLK_F_TOPOLOGY     10
#define VIRTIO_BLK_F_CONFIG_WCE   11
#define VIRTIO_BLK_F_MQ           12
#define VIRTIO_BLK_F_DISCARD      13
#define VIRTIO_BLK_F_WRITE_ZEROES 14
#define VIRTIO_BLK_F_LIFETIME     15
#define VIRTIO_BLK_F_SECURE_ERASE 16
#define VIRTIO_BLK_F_ZONED        17

struct virtio_blk_config { /* 5.2.4; only its offsets are used */
	le64 capacity;     /* 512-byte sectors */
	le32 size_max;
	le32 seg_max;
	le16 cylinders;
	uint8_t heads;
	uint8_t sectors;
	le32 blk_size; /* bytes */
	uint8_t physical_block_exp;
	uint8_t alignment_offset;
	le16 min_io_size;
	le32 opt_io_size;
	uint8_t writeback;
	uint8_t unused0;
	le16 num_queues;
	le32 max_discard_sectors;
	le32 max_discard_seg;
	le32 discard_sector_alignment;
	le32 max_write_zeroes_sectors;
	le32 max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap;
	uint8_t unused1[3];
	le32 max_secure_erase_sectors;
	le32 max_secure_erase_seg;
	le32 secure_erase_sector_alignment;
	le32 zone_sectors; /* from here on: virtio 1.3, with ZONED */
	le32 max_open_zones;
	le32 max_active_zones;
	le32 max_append_sectors;
	le32 write_granularity;
	uint8_t zoned_model;
	uint8_t unused2[3];
};
static_assert(offsetof(struct virtio_blk_config, zone_sectors) == 72, "virtio 1.2, 5.2.4");
static_assert(sizeof(struct virtio_blk_config) == 96, "virtio 1.3, 5.2.4");

#define VIRTIO_BLK_Z_NONE 0
#define VIRTIO_BLK_Z_HM   1 /* host-managed: written in order, zone by zone */
#define VIRTIO_BLK_Z_HA   2 /* host-aware: written in any order, too */

#define VIRTIO_BLK_T_IN           0
#define VIRTIO_BLK_T_OUT          1
#define VIRTIO_BLK_T_FLUSH        4
#define VIRTIO_BLK_T_GET_ID       8
#define VIRTIO_BLK_T_GET_LIFETIME 10
#define VIRTIO_BLK_T_DISCARD      11
#define VIRTIO_BLK_T_WRITE_ZEROES 13
#define VIRTIO_BLK_T_SECURE_ERASE 14
#define VIRTIO_BLK_ID_BYTES       20

struct virtio_blk_lifetime { /* 5.2.6, GET_LIFETIME: as in eMMC, JESD84-B50 */
	le16 pre_eol_info;
	le16 device_lifetime_est_typ_a;
	le16 device_lifetime_est_typ_b;
};
static_assert(sizeof(struct virtio_blk_lifetime) == 6, "virtio 1.2, 5.2.6");

#define VIRTIO_BLK_S_OK     0
#define VIRTIO_BLK_S_IOERR  1
#define VIRTIO_BLK_S_UNSUPP 2

struct virtio_blk_outhdr { /* 5.2.6: first in every request; then data; then one status byte */
	le32 type;
	le32 reserved;
	le64 sector;
};
static_assert(sizeof(struct virtio_blk_outhdr) == 16, "virtio 1.2, 5.2.6");

#define VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP 1U
struct virtio_blk_discard_write_zeroes {
	le64 sector;
	le32 num_sectors;
	le32 flags;
};
static_assert(sizeof(struct virtio_blk_discard_write_zeroes) == 16, "virtio 1.2, 5.2.6");
#endif
