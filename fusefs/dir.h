/* dir.h - a directory's entries: a B+tree by hash of the name (format.h draws it).
 *
 * A change keeps the inode's nr_blocks and size; the caller calls inode_update(). When it fails
 * with anything, nothing has changed. Caller holds the directory's inode->lock: for reading to
 * look, for writing to change. Nothing here knows links or orphans: namei.c does. */
#ifndef VBLKFS_DIR_H
#define VBLKFS_DIR_H
#include "inode.h"
#include "btree.h"

struct dir_entry {
	uint64_t ino;
	uint64_t cookie;
	uint8_t type; /* DT_* */
	uint8_t name_bytes;
	char name[FS_NAME_MAX + 1];
};

int dir_lookup(struct fs_thread *t, struct inode *dir, const char *name,
	struct dir_entry *out); /* -ENOENT */
int dir_insert(struct tx_handle *h, struct inode *dir, const char *name, uint64_t ino,
	uint8_t type); /* -EEXIST */
int dir_remove(struct tx_handle *h, struct inode *dir, const char *name);
/* Let NAME, which is there, lead to another inode; its cookie stays. */
int dir_replace(
	struct tx_handle *h, struct inode *dir, const char *name, uint64_t ino, uint8_t type);
/* The first entry with a cookie above COOKIE; -ENOENT: none. A cursor, zeroed at first, makes a
 * walk cheap: COOKIE only rises along it, and the lock is held from its first use until it is
 * put. */
struct dir_cursor {
	struct btree_path path;
	bool at_leaf;
};
int dir_next(struct fs_thread *t, struct inode *dir, struct dir_cursor *c, uint64_t cookie,
	struct dir_entry *out);
void dir_cursor_put(struct dir_cursor *c);
/* The key of number 0 of a name's hash. */
uint64_t dir_key(const struct fs *fs, const char *name, unsigned name_bytes);
bool dir_is_empty(const struct inode *dir);
#endif
