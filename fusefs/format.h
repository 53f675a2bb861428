/* format.h - the filesystem's bytes on the disk. vblkfs(5) is this file in prose: change both in
 * one commit.
 *
 * Invariants
 *  1. A block is 4096 bytes; block N is sectors 8N to 8N + 7. All integers are little-endian,
 *     padding is zero.
 *  2. Every metadata block begins with struct block_head: who it is, whose, where, of which
 *     filesystem, and a crc32c of the whole block. It is verified when the block is read and
 *     computed when it is committed. The superblock carries the same head.
 *  3. Group G covers blocks [G * group_blocks, ...). Inside it, relative to its first block:
 *
 *        0        1             2        3 ...          |              |              |
 *     | boot | super or copy | group | block bitmap x B | inode bitmap x I | inode table x T | data
 *
 *     Relative block 0 of group 0 holds a protective MBR; of others it is unused. Superblock
 *     copies: groups 1, 2, 4, 8, ... (elsewhere relative block 1 is unused). The journal is one run
 *     of blocks in group 0 right after its inode table (it may cross into no other group).
 *  4. The last group may be short; a rest too short for its own tables and 64 blocks belongs to no
 *     group.
 *  5. Bitmaps and inode tables are initialised on first use: group_disk.flags and .inodes_ready say
 *     how far. What is not initialised is never read: it may hold anything.
 *  6. Inode number I (1 up) is in group (I - 1) / inodes_per_group, slot (I - 1) %
 *     inodes_per_group.
 *  7. A block of the block bitmap is allocated to exactly one use. */
#ifndef VBLKFS_FORMAT_H
#define VBLKFS_FORMAT_H
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "le.h"

#define BLOCK_BYTES   4096U
#define BLOCK_SECTORS 8U

/* Block types: struct block_head.magic, four letters as a little-endian number. */
#define FMT_MAGIC(a, b, c, d) \
	((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)
enum block_type {
	BT_SUPER = FMT_MAGIC('v', 'b', 'S', 'B'),
	BT_GROUP = FMT_MAGIC('v', 'b', 'G', 'R'),
	BT_BLOCK_BITMAP = FMT_MAGIC('v', 'b', 'B', 'B'),
	BT_INODE_BITMAP = FMT_MAGIC('v', 'b', 'I', 'B'),
	BT_INODES = FMT_MAGIC('v', 'b', 'I', 'N'),
	BT_EXTENT_LEAF = FMT_MAGIC('v', 'b', 'E', 'L'),
	BT_EXTENT_NODE = FMT_MAGIC('v', 'b', 'E', 'N'),
	BT_DIR_LEAF = FMT_MAGIC('v', 'b', 'D', 'L'),
	BT_DIR_NODE = FMT_MAGIC('v', 'b', 'D', 'N'),
	BT_XATTR = FMT_MAGIC('v', 'b', 'X', 'A'),
	BT_SYMLINK = FMT_MAGIC('v', 'b', 'S', 'Y'),
	BT_JOURNAL_HEAD = FMT_MAGIC('v', 'b', 'J', 'H'),
	BT_JOURNAL_DESC = FMT_MAGIC('v', 'b', 'J', 'D'),
	BT_JOURNAL_REVOKE = FMT_MAGIC('v', 'b', 'J', 'R'),
	BT_JOURNAL_COMMIT = FMT_MAGIC('v', 'b', 'J', 'C'),
};

/*    0       4     8        16       24             40         48       56     64
 *    | magic | crc | block  | owner  | fs_uuid (16) | sequence | length | pad |   */
struct block_head {
	le32 magic; /* enum block_type */
	le32 crc;   /* crc32c of the 4096 bytes, this field taken as zero */
	le64 block; /* where this block is */
	le64 owner; /* inode number; group number for tables and bitmaps; 0 for super and journal */
	uint8_t fs_uuid[16]; /* the superblock's */
	le64 sequence;       /* of the transaction that last wrote it */
	le64 pad[2];
};
static_assert(sizeof(struct block_head) == 64, "format");
static_assert(offsetof(struct block_head, block) == 8, "format");
static_assert(offsetof(struct block_head, fs_uuid) == 24, "format");
static_assert(offsetof(struct block_head, sequence) == 40, "format");
#define BLOCK_PAYLOAD (BLOCK_BYTES - 64U)

/* Feature words. compat: mount anyway; ro_compat: unknown bit, mount read-only; incompat: unknown
 * bit, refuse. */
#define FEATURE_COMPAT_KNOWN    0U
#define FEATURE_RO_COMPAT_KNOWN 0U
#define FEATURE_INCOMPAT_KNOWN  0U

#define FORMAT_VERSION 1U
#define STATE_CLEAN    1U /* unmounted; the journal is empty */
#define STATE_ERRORS   2U /* corruption was seen: fsck wanted */

#define SUPER_SIGNATURE "vblkfs\0" /* 8 bytes with the NUL that C adds */

struct super_disk { /* block 1, and its copies */
	struct block_head head;
	uint8_t signature[8]; /* "vblkfs", then zeros */
	le32 version;         /* FORMAT_VERSION */
	le32 block_bytes;     /* 4096 */
	le32 compat, ro_compat, incompat;
	le32 state;        /* STATE_* */
	le64 nr_blocks;    /* in groups, and before: the end of the last group */
	le32 group_blocks; /* blocks a group; a power of two */
	le32 nr_groups;
	le32 inodes_per_group; /* a multiple of INODES_PER_BLOCK */
	le32 bitmap_blocks;    /* B: block bitmap's blocks a group */
	le32 ibitmap_blocks;   /* I */
	le32 itable_blocks;    /* T */
	le64 journal_start;    /* block */
	le64 journal_blocks;
	le64 free_blocks; /* exact when read after replay */
	le64 free_inodes;
	le64 reserved_blocks; /* kept back for operations that free space */
	le64 orphan_head;     /* first of the list of unlinked or half-truncated inodes; 0: none */
	le64 hash_seed;       /* of directory hashes */
	le64 mkfs_time;       /* seconds since 1970 */
	le64 mount_time, write_time;
	le32 mount_count;
	le32 generation_seed; /* the next inode's generation is counted from here */
	uint8_t label[32];    /* zero-padded UTF-8 */
	uint8_t pad[3848];
};
static_assert(sizeof(struct super_disk) == 4096, "format");
static_assert(offsetof(struct super_disk, version) == 72, "format");
static_assert(offsetof(struct super_disk, nr_blocks) == 96, "format");
static_assert(offsetof(struct super_disk, journal_start) == 128, "format");
static_assert(offsetof(struct super_disk, hash_seed) == 176, "format");
static_assert(offsetof(struct super_disk, label) == 216, "format");

/* Blocks of a group, relative to its first. */
#define GROUP_BOOT     0U
#define GROUP_SUPER    1U
#define GROUP_HEADER   2U
#define GROUP_BITMAP   3U  /* B blocks; then I of the inode bitmap, T of the inode table */
#define GROUP_DATA_MIN 64U /* a last group has at least so many blocks after its tables */

#define GROUP_BLOCKS_DEFAULT 262144U /* 1 GiB */
#define GROUP_BLOCKS_MIN     2048U   /* a power of two, in this range */
#define GROUP_BLOCKS_MAX     262144U
#define FS_BLOCKS_MIN        4096U /* the smallest filesystem: 16 MiB */
#define JOURNAL_BLOCKS_MIN   1024U /* 4 MiB */
#define GROUP_F_BITMAP_READY 1U    /* the block bitmap's blocks are initialised */
struct group_disk {
	struct block_head head;
	le32 group;
	le32 flags;     /* GROUP_F_* */
	le32 nr_blocks; /* this group's; less than group_blocks only in the last */
	le32 free_blocks;
	le32 free_inodes;
	le32 inodes_ready; /* slots below this are in initialised blocks of the inode table; a multiple of INODES_PER_BLOCK */
	le32 nr_dirs; /* directories among its inodes */
	uint8_t pad[4004];
};
static_assert(sizeof(struct group_disk) == 4096, "format");
static_assert(offsetof(struct group_disk, inodes_ready) == 84, "format");

/* Of the inode bitmap those blocks are initialised that have bits of slots below inodes_ready.
 * Numbers are given from the lowest free one up, so no slot from inodes_ready on is in use. */

/* Relative block 1 of these holds a copy of the superblock, as of mkfs or the last change of its
 * fixed fields. */
static inline bool format_has_super_copy(uint32_t group)
{
	return group != 0 && (group & (group - 1)) == 0;
}

/* A bit is set when its block or inode is in use. Bit N of the group is bit N % BITMAP_BITS of
 * bitmap block N / BITMAP_BITS; bits past the group's end are set. Bit k of a block is bit k % 8 of
 * byte k / 8. */
#define BITMAP_BITS 32256U
struct bitmap_disk {
	struct block_head head;
	uint8_t bits[BLOCK_PAYLOAD];
};
static_assert(sizeof(struct bitmap_disk) == 4096, "format");
static_assert(BITMAP_BITS == BLOCK_PAYLOAD * 8U, "format");

/* An extent maps file blocks to disk blocks. */
#define EXTENT_F_UNWRITTEN 1U /* allocated, reads as zeros */
#define EXTENT_BLOCKS_MAX  0x7fffffffU
struct extent_disk {
	le64 lblk; /* first block in the file */
	le64 pblk; /* first block on the disk */
	le32 nr_blocks;
	le32 flags; /* EXTENT_F_* */
};
static_assert(sizeof(struct extent_disk) == 24, "format");

#define INODE_BYTES          256U
#define INODES_PER_BLOCK     15U
#define INODE_FORK_BYTES     80U
#define INODE_INLINE_EXTENTS 3U
#define INODE_SYMLINK_MAX    79U /* longer: one block of BT_SYMLINK */
#define INODE_XATTR_BYTES    48U

enum fork_format {              /* inode_disk.fork_format: what its fork holds */
	FORK_NONE = 0,          /* devices, fifos, sockets; an empty file or directory */
	FORK_EXTENTS = 1,       /* fork_count extents, in order */
	FORK_BTREE = 2,         /* struct fork_btree: extents, or directory entries */
	FORK_SYMLINK = 3,       /* the target itself; its length is size */
	FORK_SYMLINK_BLOCK = 4, /* struct fork_btree, height 0: the block of the target */
};
struct fork_btree {
	le64 root;   /* block */
	le32 height; /* 0: the root is a leaf */
	le32 pad;
};

#define INODE_F_ORPHAN     1U /* on the orphan list */
#define INODE_F_TRUNCATING 2U /* blocks past size may still be mapped: the orphan list's work */
#define INODE_F_USER_MASK  0xffff0000U /* reserved for chattr-like flags */
/*    0     8      12      16    20    24     32          40           44      48
 *    | ino | mode | nlink | uid | gid | size | nr_blocks | generation | flags |
 *   48                   80                     96            104           112           120
 *    | 4 times, seconds  | 4 times, nanoseconds | parent_rdev | orphan_next | xattr_block |
 *   120           121          122           124    128            208            256
 *    | fork_format | fork_count | xattr_bytes | pad  | fork (80)    | xattr (48)    |       */
struct inode_disk {
	le64 ino; /* its own number; 0: the slot is free */
	le32 mode;
	le32 nlink; /* a directory's: 2 + its subdirectories */
	le32 uid, gid;
	le64 size;      /* bytes; a directory's is nr_blocks * 4096 */
	le64 nr_blocks; /* allocated, tree and xattr blocks too */
	le32 generation;
	le32 flags;                              /* INODE_F_* */
	le64 atime_s, mtime_s, ctime_s, btime_s; /* signed seconds since 1970 */
	le32 atime_ns, mtime_ns, ctime_ns, btime_ns;
	le64 parent_rdev; /* directory: its parent's number; device: its number as makedev(3) gives it */
	le64 orphan_next;    /* next on the orphan list */
	le64 xattr_block;    /* first block of BT_XATTR; 0: none */
	uint8_t fork_format; /* enum fork_format */
	uint8_t fork_count;
	le16 xattr_bytes; /* used of xattr */
	uint8_t pad[4];
	uint8_t fork[INODE_FORK_BYTES];
	uint8_t xattr[INODE_XATTR_BYTES];
};
static_assert(sizeof(struct inode_disk) == INODE_BYTES, "format");
static_assert(offsetof(struct inode_disk, size) == 24, "format");
static_assert(offsetof(struct inode_disk, atime_s) == 48, "format");
static_assert(offsetof(struct inode_disk, parent_rdev) == 96, "format");
static_assert(offsetof(struct inode_disk, fork_format) == 120, "format");
static_assert(offsetof(struct inode_disk, xattr) == 208, "format");
static_assert(offsetof(struct inode_disk, fork) == 128, "format");

struct inodes_disk { /* a block of the inode table */
	struct block_head head;
	struct inode_disk inode[INODES_PER_BLOCK];
	uint8_t pad[BLOCK_PAYLOAD - INODES_PER_BLOCK * INODE_BYTES];
};
static_assert(sizeof(struct inodes_disk) == 4096, "format");

/* B+trees (of extents, keyed by file block; of directory entries, keyed by cookie). Record k of a
 * node leads to the keys from its key up to the next record's; the first record's key is taken as
 * 0. */
struct node_record {
	le64 key;
	le64 child; /* block */
};
#define NODE_RECORDS ((BLOCK_PAYLOAD - 8U) / 16U)
struct node_disk { /* BT_EXTENT_NODE, BT_DIR_NODE */
	struct block_head head;
	le16 nr;
	le16 level; /* leaves are 0, so at least 1 */
	le32 pad;
	struct node_record rec[NODE_RECORDS];
	uint8_t pad2[BLOCK_PAYLOAD - 8U - 16U * NODE_RECORDS];
};
static_assert(sizeof(struct node_disk) == 4096, "format");
static_assert(offsetof(struct node_disk, rec) == 72, "format");
#define BTREE_HEIGHT_MAX 7U

#define EXTENT_LEAF_RECORDS ((BLOCK_PAYLOAD - 8U) / 24U)
struct extent_leaf_disk {
	struct block_head head;
	le16 nr;
	uint8_t pad[6];
	struct extent_disk rec[EXTENT_LEAF_RECORDS];
	uint8_t pad2[BLOCK_PAYLOAD - 8U - 24U * EXTENT_LEAF_RECORDS];
};
static_assert(sizeof(struct extent_leaf_disk) == 4096, "format");
static_assert(offsetof(struct extent_leaf_disk, rec) == 72, "format");

/* Directory leaf: slots, in key order, point at entries that are heaped up from the block's end.
 *
 *    0      64   66          68          70    72                     heap_start            4096
 *    | head | nr | heap_start | heap_dead | pad | slot[nr] ...  free  | entries and dead bytes |
 *
 * A key is an entry's cookie: 63 bits. Its upper 51 bits are the upper bits of XXH3 (64 bits, seed:
 * the superblock's hash_seed) of the name, shifted right by one; the lower 12 number the entries of
 * one such hash from 0, the first free one. Hash 0 is taken as 1, so that no key is below 4096:
 * cookies 1 and 2 are "." and "..", which are not stored. */
#define DIR_KEY_SEQ_BITS 12U
#define DIR_KEY_SEQ_MASK 0xfffU
struct dirent_disk { /* at multiples of 8 */
	le64 key;
	le64 ino;
	uint8_t type; /* DT_* of readdir(3) */
	uint8_t name_bytes;
	uint8_t name[]; /* no NUL; then zeros to the multiple of 8 */
};
struct dir_leaf_disk {
	struct block_head head;
	le16 nr;
	le16 heap_start; /* offset in the block of the lowest entry; 4096: none */
	le16 heap_dead;  /* bytes of the heap that no slot leads to */
	le16 pad;
	le16 slot[(BLOCK_PAYLOAD - 8U) / 2U]; /* offsets in the block */
};
static_assert(sizeof(struct dir_leaf_disk) == 4096, "format");
static_assert(offsetof(struct dir_leaf_disk, slot) == 72, "format");
static_assert(offsetof(struct dirent_disk, name) == 18, "format");

/* Extended attributes: entries one after another, in the inode (xattr_bytes of them) and in a list
 * of blocks. An entry is whole in one place and starts at a multiple of 4. */
enum xattr_space {
	XATTR_USER = 1,
	XATTR_TRUSTED = 2,
	XATTR_SECURITY = 3,
	XATTR_ACL_ACCESS = 4,
	XATTR_ACL_DEFAULT = 5
};
struct xattr_disk {
	uint8_t space;      /* enum xattr_space: the prefix; the ACLs have no name beyond it */
	uint8_t name_bytes; /* of the name without prefix */
	le16 value_bytes;
	uint8_t data[]; /* name, value, zeros to the multiple of 4 */
};
struct xattr_block_disk {
	struct block_head head;
	le64 next;  /* block; 0: the last */
	le32 bytes; /* used of data */
	le32 pad;
	uint8_t data[BLOCK_PAYLOAD - 16U];
};
static_assert(sizeof(struct xattr_block_disk) == 4096, "format");
static_assert(offsetof(struct xattr_block_disk, data) == 80, "format");
static_assert(offsetof(struct xattr_disk, data) == 4, "format");

struct symlink_disk { /* targets longer than INODE_SYMLINK_MAX; up to 4024 bytes fit, FS_SYMLINK_MAX is cut to that */
	struct block_head head;
	le32 bytes;
	le32 pad;
	uint8_t target[BLOCK_PAYLOAD - 8U];
};
static_assert(sizeof(struct symlink_disk) == 4096, "format");
static_assert(offsetof(struct symlink_disk, target) == 72, "format");

/* The journal: its first block is a head, the rest a ring of transactions. A transaction is
 *
 *    | desc | images ... | desc | images ... | revoke ... | commit |
 *
 * with one rising sequence number in the head.sequence of its desc, revoke and commit blocks
 * (head.block is where the record itself is). An image is the metadata block as it shall stand at
 * its home. Replay starts at the head's tail and takes transactions while sequence and checksums
 * fit; an image is not written home when its block is revoked by the same or a later transaction.
 */
#define JOURNAL_SEQUENCE_MAX (UINT64_MAX / 2) /* of the tail: no journal lives to see it */
struct journal_head_disk {
	struct block_head head;
	le64 tail_sequence; /* the first transaction that is not all at home; from 1 */
	le64 tail;          /* where it starts: index of a journal block, from 1 */
	uint8_t pad[BLOCK_PAYLOAD - 16U];
};
static_assert(sizeof(struct journal_head_disk) == 4096, "format");

struct journal_tag {
	le64 block; /* home */
	le32 crc;   /* the image's own head.crc, repeated */
	le32 pad;
};
#define JOURNAL_TAGS    ((BLOCK_PAYLOAD - 8U) / 16U)
#define JOURNAL_REVOKES ((BLOCK_PAYLOAD - 8U) / 8U)
struct journal_desc_disk {
	struct block_head head;
	le32 nr;
	le32 pad;
	struct journal_tag tag[JOURNAL_TAGS];
	uint8_t pad2[BLOCK_PAYLOAD - 8U - 16U * JOURNAL_TAGS];
};
static_assert(sizeof(struct journal_desc_disk) == 4096, "format");
static_assert(offsetof(struct journal_desc_disk, tag) == 72, "format");

struct journal_revoke_disk {
	struct block_head head;
	le32 nr;
	le32 pad;
	le64 block[JOURNAL_REVOKES];
};
static_assert(sizeof(struct journal_revoke_disk) == 4096, "format");

struct journal_commit_disk {
	struct block_head head;
	le32 nr_blocks; /* of the transaction, this one too */
	le32 crc;       /* crc32c over the crc fields of all its desc and revoke heads, in order */
	le64 time_s;
	uint8_t pad[BLOCK_PAYLOAD - 16U];
};
static_assert(sizeof(struct journal_commit_disk) == 4096, "format");
static_assert(offsetof(struct journal_commit_disk, crc) == 68, "format");
#endif
