/* test_check_repair.c - fsck, problem by problem: what is found, what is kept, what becomes of a
 * repair that is refused, cut off, or made on a disk that fails. */
#include <dirent.h>
#include "fsck_world.h"
#include "dir.h"

static struct world world;
static struct blockdev *dev; /* a copy of the world, to be damaged */
static struct fsck_log fsck_found;
static struct fsck_result result;

static void setup_world(void)
{
	world_open(&world);
}

static void teardown_world(void)
{
	world_close(&world);
}

static void setup(void)
{
	dev = world_copy(&world);
}

static void teardown(void)
{
	blk_close(dev);
}

/* --- the bytes of the copy --- */

static struct super_disk *super(void)
{
	return world_block(dev, 1);
}

static void seal(void *at)
{
	uint8_t *bytes = cut_disk_bytes(dev);

	block_seal(bytes + ((uint64_t)((uint8_t *)at - bytes) & ~(uint64_t)(BLOCK_BYTES - 1)));
}

static uint64_t group_start(uint64_t ino)
{
	return (ino - 1) / le32_get(super()->inodes_per_group) * le32_get(super()->group_blocks);
}

static struct inode_disk *inode(uint64_t ino)
{
	uint64_t slot = (ino - 1) % le32_get(super()->inodes_per_group);
	uint64_t table = group_start(ino) + GROUP_BITMAP + le32_get(super()->bitmap_blocks) +
			 le32_get(super()->ibitmap_blocks);
	struct inodes_disk *d = world_block(dev, table + slot / INODES_PER_BLOCK);

	return &d->inode[slot % INODES_PER_BLOCK];
}

static struct group_disk *group_of(uint64_t ino)
{
	return world_block(dev, group_start(ino) + GROUP_HEADER);
}

static uint64_t root_block(uint64_t ino)
{
	struct fork_btree fork;

	memcpy(&fork, inode(ino)->fork, sizeof(fork));
	return le64_get(fork.root);
}

static struct node_disk *node(uint64_t ino)
{
	struct node_disk *n = world_block(dev, root_block(ino));

	ck_assert_uint_ge(le16_get(n->nr), 3);
	return n;
}

/* The leaf of record I of an inode's tree of height 1; of height 0, the leaf. */
static void *leaf(uint64_t ino, unsigned i)
{
	struct fork_btree fork;

	memcpy(&fork, inode(ino)->fork, sizeof(fork));
	return le32_get(fork.height) == 0 ? world_block(dev, le64_get(fork.root))
					  : world_block(dev, le64_get(node(ino)->rec[i].child));
}

static struct dirent_disk *entry(struct dir_leaf_disk *l, unsigned i)
{
	return (struct dirent_disk *)((uint8_t *)l + le16_get(l->slot[i]));
}

/* --- runs --- */

/* A look finds what a repair does; the repair is one; NAMES are found, each with a blank after it. */
static void repaired(const char *names)
{
	struct fsck_log looked = {0};
	struct fsck_result out;

	ck_assert_int_eq(fsck_run(dev, FSCK_NO, &looked, &out), 0);
	world_repair(dev, &fsck_found, &result);
	ck_assert_str_eq(looked.names, fsck_found.names);
	if (names != NULL)
		ck_assert_str_eq(fsck_found.names, names);
	ck_assert_uint_eq(result.nr_fixed, fsck_found.nr);
}

static bool found(const char *name)
{
	char with_blank[64];

	snprintf(with_blank, sizeof(with_blank), "%s ", name);
	return strstr(fsck_found.names, with_blank) != NULL;
}

static size_t nr_names(struct blockdev *d)
{
	return world_use(d);
}

static size_t nr_names_at_first(void)
{
	struct blockdev *copy = world_copy(&world);
	size_t nr = nr_names(copy);

	blk_close(copy);
	return nr;
}

/* Nothing is lost. */
static void all_names_are_there(void)
{
	ck_assert_uint_eq(nr_names(dev), nr_names_at_first());
}

static bool lookup(uint64_t dir, const char *name, struct fs_attr *out)
{
	struct memfs m = {.dev = dev};
	int err;

	memfs_mount(&m);
	err = fs_lookup(m.t, dir, name, out);
	ck_assert(err == 0 || err == -ENOENT);
	ck_assert_int_eq(memfs_unmount(&m), 0);
	return err == 0;
}

static uint8_t byte_of(struct blockdev *d, uint64_t ino, uint64_t offset)
{
	struct memfs m = {.dev = d};
	uint8_t *buf = blk_dma_alloc(d, 2 * FS_BLOCK_BYTES);
	struct fs_io io = {.ino = ino, .offset = offset, .bytes = 1, .buf = buf};
	uint8_t byte;

	memfs_mount(&m);
	ck_assert_int_eq(io_do(m.t, fs_read, &io), 1);
	byte = *(uint8_t *)io.data;
	ck_assert_int_eq(memfs_unmount(&m), 0);
	blk_dma_free(d, buf, 2 * FS_BLOCK_BYTES);
	return byte;
}

/* --- trees --- */

/* loop: of the directory, of the file; too high by a little, by half the way to the next, too low */
START_TEST(a_wrong_key_costs_nothing)
{
	struct node_disk *n = node(_i % 2 == 0 ? world.names : world.frag);
	uint64_t was = le64_get(n->rec[1].key), before = le64_get(n->rec[0].key),
		 next = le64_get(n->rec[2].key);
	const uint64_t wrong[] = {
		was + 5, was + (next - was) / 2, next - 1, before + (was - before) / 2, 1};

	n->rec[1].key = le64_of(wrong[_i / 2]);
	seal(n);
	repaired("tree-key ");
	all_names_are_there();
}
END_TEST

START_TEST(keys_that_do_not_rise_cost_nothing)
{
	struct node_disk *n = node(world.names);

	n->rec[1].key = le64_of(UINT64_MAX / 2);
	seal(n);
	repaired("tree-order ");
	all_names_are_there();
}
END_TEST

START_TEST(records_that_were_moved_are_sorted)
{
	struct node_disk *n = node(_i == 0 ? world.names : world.frag);
	struct node_record first = n->rec[0];

	n->rec[0] = n->rec[2];
	n->rec[2] = first;
	seal(n);
	repaired("tree-order ");
	all_names_are_there();
}
END_TEST

START_TEST(a_node_with_a_wrong_level_costs_nothing)
{
	struct node_disk *n = node(world.names);

	n->level = le16_of(5);
	seal(n);
	repaired("tree-level ");
	all_names_are_there();
}
END_TEST

START_TEST(a_checksum_costs_nothing_where_the_contents_are_sound) /* loop: kinds of block */
{
	void *blocks[] = {node(world.names), leaf(world.names, 1), node(world.frag),
		leaf(world.frag, 0), inode(1), leaf(1, 0),
		world_block(dev, le64_get(inode(world.full)->xattr_block))};
	struct block_head *head = world_block(
		dev, (uint64_t)((uint8_t *)blocks[_i] - cut_disk_bytes(dev)) / BLOCK_BYTES);

	head->crc = le32_of(le32_get(head->crc) ^ 1);
	repaired(NULL);
	ck_assert_uint_eq(fsck_found.nr, 1);
	all_names_are_there();
}
END_TEST

START_TEST(a_record_that_leads_to_the_same_child_twice_is_dropped)
{
	struct node_disk *n = node(world.frag);

	n->rec[1].child = n->rec[0].child;
	seal(n);
	repaired(NULL);
	ck_assert(found("extent-range"));
	ck_assert(found("blocks-leaked"));
}
END_TEST

START_TEST(a_lost_leaf_of_a_file_is_a_hole)
{
	uint64_t lblk = le64_get(node(world.frag)->rec[1].key);

	memset(leaf(world.frag, 1), 0, BLOCK_BYTES);
	repaired("tree-block inode-blocks blocks-leaked group-free-blocks super-free-blocks ");
	ck_assert_uint_eq(byte_of(dev, world.frag, 0), 'p');
	ck_assert_uint_eq(byte_of(dev, world.frag, lblk * BLOCK_BYTES), 0);
	all_names_are_there();
}
END_TEST

START_TEST(extents_that_overlap_or_lie_are_dropped)
{
	struct extent_leaf_disk *l = leaf(world.frag, 0);

	l->rec[1].lblk = l->rec[0].lblk;
	l->rec[3].pblk = le64_of(5);
	l->rec[5].nr_blocks = le32_of(0);
	l->rec[7].flags = le32_of(0x80);
	seal(l);
	repaired(NULL);
	ck_assert(found("extent-overlap"));
	ck_assert_str_eq(fsck_found.names, "extent-invalid extent-invalid extent-flags "
					   "extent-overlap inode-blocks blocks-leaked "
					   "group-free-blocks super-free-blocks ");
}
END_TEST

/* --- directories --- */

START_TEST(a_leaf_without_slots_keeps_its_names)
{
	struct dir_leaf_disk *l = leaf(world.names, 1);

	memset(l->slot, 0xff, 40);
	l->nr = le16_of(0);
	seal(l);
	repaired("dir-leaf ");
	all_names_are_there();
}
END_TEST

START_TEST(a_lost_leaf_of_a_directory_costs_names_but_no_inode)
{
	uint64_t file = world.dir[2];
	struct fs_attr attr;

	memset(leaf(file, 0), 0, BLOCK_BYTES);
	repaired(NULL);
	ck_assert(found("tree-block"));
	ck_assert(found("unattached"));
	ck_assert(lookup(FS_ROOT_INO, "lost+found", &attr));
	/* four files, and a directory with what is in it */
	ck_assert_uint_eq(nr_names(dev), nr_names_at_first() + 1);
	ck_assert(lookup(FS_ROOT_INO, "lost+found", &attr));
	ck_assert_uint_eq(attr.nlink, 3);
}
END_TEST

static struct dirent_disk *some_entry(uint64_t dir, uint8_t type)
{
	struct dir_leaf_disk *l = leaf(dir, 0);

	for (unsigned i = 0; i < le16_get(l->nr); i++)
		if (entry(l, i)->type == type)
			return entry(l, i);
	ck_abort_msg("no entry of type %u", type);
}

START_TEST(an_entry_of_another_hash_is_put_where_it_belongs)
{
	struct dirent_disk *e = some_entry(world.dir[0], DT_REG);
	struct fs_attr attr;
	char name[FS_NAME_MAX + 1] = {0};

	e->name[0] = 'F'; /* "File" */
	memcpy(name, e->name, e->name_bytes);
	seal(e);
	repaired("entry-place ");
	ck_assert(lookup(world.dir[0], name, &attr));
	all_names_are_there();
}
END_TEST

START_TEST(entries_that_can_not_be_are_dropped) /* loop */
{
	static const char *const names[] = {
		"entry-name ", "entry-inode ", "entry-free ", "entry-root ", "entry-dir-twice "};
	struct dirent_disk *e = some_entry(world.dir[0], DT_REG);

	switch (_i) {
	case 0:
		e->name[2] = '/';
		break;
	case 1:
		e->ino = le64_of(UINT64_C(1) << 40);
		break;
	case 2:
		e->ino = le64_of(le32_get(super()->inodes_per_group));
		break;
	case 3:
		e->ino = le64_of(FS_ROOT_INO);
		break;
	case 4:
		e->ino = le64_of(world.names);
		break;
	}
	seal(e);
	repaired(NULL);
	ck_assert_msg(strncmp(fsck_found.names, names[_i], strlen(names[_i])) == 0 || _i == 4, "%s",
		fsck_found.names);
	ck_assert(found("unattached"));
	ck_assert_uint_eq(
		nr_names(dev), nr_names_at_first() + 1 + (_i == 4 && !found("entry-dir-twice")));
}
END_TEST

START_TEST(an_entry_of_another_type_is_corrected)
{
	some_entry(world.dir[0], DT_REG)->type = DT_FIFO;
	seal(some_entry(world.dir[0], DT_FIFO));
	repaired("entry-type ");
	all_names_are_there();
}
END_TEST

START_TEST(a_name_is_not_there_twice)
{
	struct dir_leaf_disk *l = leaf(world.dir[0], 0);
	unsigned nr = le16_get(l->nr), at = le16_get(l->heap_start);
	const struct dirent_disk *last = entry(l, nr - 1);
	unsigned bytes = (18U + last->name_bytes + 7U) & ~7U;
	struct dirent_disk *twin = (struct dirent_disk *)((uint8_t *)l + at - bytes);

	memcpy(twin, last, bytes);
	twin->key = le64_of(le64_get(last->key) + 1);
	l->slot[nr] = le16_of((uint16_t)(at - bytes));
	l->nr = le16_of((uint16_t)(nr + 1));
	l->heap_start = le16_of((uint16_t)(at - bytes));
	seal(l);
	repaired("entry-twice ");
	all_names_are_there();
}
END_TEST

/* dir3 is in dir2. */
START_TEST(a_directory_that_does_not_lead_to_the_root_gets_to_lost_found)
{
	struct dir_leaf_disk *l = leaf(FS_ROOT_INO, 0), *l3 = leaf(world.dir[3], 0);
	struct fs_attr attr;

	for (unsigned i = 0; i < le16_get(l->nr);
		i++) /* "dir2" of the root leads to a file instead */
		if (le64_get(entry(l, i)->ino) == world.dir[2]) {
			entry(l, i)->ino = le64_of(world.file);
			entry(l, i)->type = DT_REG;
		}
	seal(l);
	for (unsigned i = 0; i < le16_get(l3->nr); i++) /* and "empty" of dir3 to dir2: a cycle */
		if (entry(l3, i)->type == DT_DIR)
			entry(l3, i)->ino = le64_of(world.dir[2]);
	seal(l3);
	repaired(NULL);
	ck_assert(found("dir-cycle"));
	ck_assert(found("unattached")); /* "empty" */
	ck_assert(lookup(FS_ROOT_INO, "lost+found", &attr));
	ck_assert_uint_eq(attr.nlink, 4);
	(void)nr_names(dev);
}
END_TEST

START_TEST(a_directory_knows_its_parent)
{
	inode(world.dir[3])->parent_rdev = le64_of(FS_ROOT_INO);
	seal(inode(world.dir[3]));
	repaired("dir-parent ");
	all_names_are_there();
}
END_TEST

START_TEST(without_a_root_all_is_in_lost_found)
{
	memset(inode(FS_ROOT_INO), 0, INODE_BYTES);
	seal(inode(FS_ROOT_INO));
	repaired(NULL);
	ck_assert(found("root-missing"));
	/* lost+found is one more, and "file" has other names than the one that it lost */
	ck_assert_uint_eq(nr_names(dev), nr_names_at_first());
}
END_TEST

/* --- inodes --- */

START_TEST(a_field_of_an_inode_is_corrected) /* loop */
{
	static const char *const names[] = {"inode-number ", "inode-mode ", "inode-size ",
		"inode-times ", "inode-flags ", "inode-truncating orphan-list ",
		"inode-fork-count ", "inode-blocks ", "dir-size ", "link-count ", "symlink-size ",
		"inode-truncating "};
	struct inode_disk *d = inode(world.file);

	switch (_i) {
	case 0:
		d->ino = le64_of(77777);
		break;
	case 1:
		d->mode = le32_of(le32_get(d->mode) | 0x100000);
		break;
	case 2:
		d->size = le64_of(UINT64_MAX);
		break;
	case 3:
		d->ctime_ns = le32_of(1000000000);
		break;
	case 4:
		d->flags = le32_of(8);
		break;
	case 5:
		d->flags = le32_of(INODE_F_TRUNCATING);
		break;
	case 6:
		d = inode(world.frag);
		d->fork_count = 2;
		break;
	case 7:
		d->nr_blocks = le64_of(9);
		break;
	case 8:
		d = inode(world.names);
		d->size = le64_of(4095);
		break;
	case 9:
		d->nlink = le32_of(5);
		break;
	case 10:
		for (uint64_t ino = 1; (le32_get(d->mode) & S_IFMT) != S_IFLNK; ino++)
			d = inode(ino);
		d->size = le64_of(3);
		break;
	case 11:
		d = inode(world.names);
		d->flags = le32_of(INODE_F_TRUNCATING);
		break;
	}
	seal(d);
	repaired(names[_i]);
	all_names_are_there();
}
END_TEST

START_TEST(an_inode_without_a_type_is_what_its_contents_are)
{
	const uint64_t ino[] = {world.file, world.frag, world.names, world.dir[3]};

	for (size_t i = 0; i < sizeof(ino) / sizeof(ino[0]); i++) {
		inode(ino[i])->mode = le32_of(07 << 12 | 0640);
		seal(inode(ino[i]));
	}
	repaired(NULL);
	ck_assert(found("inode-type-known"));
	ck_assert(!found("inode-type"));
	ck_assert_uint_eq(le32_get(inode(world.file)->mode), S_IFREG | 0640);
	ck_assert_uint_eq(le32_get(inode(world.names)->mode), S_IFDIR | 0640);
	all_names_are_there();
}
END_TEST

START_TEST(an_inode_without_type_and_contents_is_cleared)
{
	inode(world.file)->mode = le32_of(0);
	inode(world.file)->fork_format = FORK_NONE;
	seal(inode(world.file));
	repaired(NULL);
	ck_assert(found("inode-type"));
	ck_assert_uint_eq(nr_names(dev), nr_names_at_first() - WORLD_NAMES - 1);
}
END_TEST

START_TEST(inodes_past_those_that_count_as_initialised_are_found) /* loop: groups */
{
	struct group_disk *g = group_of(1 + (uint64_t)_i * le32_get(super()->inodes_per_group));

	ck_assert_uint_ge(le32_get(g->inodes_ready), _i == 0 ? 30 : 15);
	g->inodes_ready = le32_of(_i == 0 ? 15 : 0);
	seal(g);
	repaired("group-inodes-ready ");
	all_names_are_there();
}
END_TEST

/* --- attributes --- */

START_TEST(
	an_attribute_that_breaks_the_format_takes_only_what_follows) /* looped: or not even that */
{
	struct inode_disk *d = inode(world.full);
	struct xattr_block_disk *x = world_block(dev, le64_get(d->xattr_block));

	if (_i == 0)
		((struct xattr_disk *)x->data)->value_bytes = le16_of(5000);
	else
		((struct xattr_disk *)x->data)->space = 9;
	seal(x);
	repaired(_i == 0 ? "xattr-entry xattr-empty inode-blocks blocks-leaked group-free-blocks "
			   "super-free-blocks "
			 : "xattr-form xattr-empty inode-blocks blocks-leaked group-free-blocks "
			   "super-free-blocks ");
	all_names_are_there();
}
END_TEST

START_TEST(a_list_of_attributes_that_goes_in_a_circle_ends)
{
	struct inode_disk *d = inode(world.full);
	struct xattr_block_disk *x = world_block(dev, le64_get(d->xattr_block)), *last = x;

	while (le64_get(last->next) != 0)
		last = world_block(dev, le64_get(last->next));
	last->next = d->xattr_block;
	seal(last);
	repaired("xattr-list ");
	all_names_are_there();
}
END_TEST

START_TEST(an_attribute_is_not_there_twice)
{
	struct inode_disk *d = inode(world.full);
	struct xattr_block_disk *x = world_block(dev, le64_get(d->xattr_block));
	struct xattr_block_disk *y = world_block(dev, le64_get(x->next));

	memcpy(y->data, x->data, sizeof(x->data));
	y->bytes = x->bytes;
	seal(y);
	repaired(NULL);
	ck_assert_str_eq(fsck_found.names, "xattr-twice xattr-empty inode-blocks blocks-leaked "
					   "group-free-blocks super-free-blocks ");
}
END_TEST

/* --- shared blocks --- */

START_TEST(who_shares_blocks_gets_a_copy)
{
	struct inode_disk *d = inode(world.file);
	struct extent_disk e, other;
	uint64_t victim = le64_get(some_entry(world.dir[1], DT_REG)->ino);

	memcpy(&other, inode(victim)->fork, sizeof(other));
	memcpy(&e, d->fork, sizeof(e));
	e.pblk = other.pblk;
	memcpy(d->fork, &e, sizeof(e));
	seal(d);
	repaired(NULL);
	ck_assert(found("blocks-shared"));
	ck_assert_uint_eq(byte_of(dev, victim, 0), 'b');
	ck_assert_uint_eq(byte_of(dev, world.file, 0), 'b'); /* nobody knows whose it was */
	all_names_are_there();
}
END_TEST

START_TEST(metadata_keeps_a_shared_block)
{
	struct inode_disk *d = inode(world.file);
	struct extent_disk e;

	memcpy(&e, d->fork, sizeof(e));
	e.pblk = le64_of(root_block(world.names));
	e.nr_blocks = le32_of(1);
	memcpy(d->fork, &e, sizeof(e));
	d->nr_blocks = le64_of(le64_get(d->nr_blocks) - 2);
	seal(d);
	repaired(NULL);
	ck_assert(found("blocks-shared"));
	all_names_are_there();
}
END_TEST

/* All free blocks are marked as in use: so there is none that is surely nobody's. */
START_TEST(without_room_for_a_copy_the_extent_is_dropped)
{
	struct extent_leaf_disk *l0 = leaf(world.frag, 0), *l1 = leaf(world.frag, 1);

	for (uint32_t g = 0; g < le32_get(super()->nr_groups); g++) {
		uint64_t start = (uint64_t)g * le32_get(super()->group_blocks);
		struct group_disk *header = world_block(dev, start + GROUP_HEADER);

		for (uint32_t i = 0; i < le32_get(super()->bitmap_blocks); i++) {
			struct bitmap_disk *b = world_block(dev, start + GROUP_BITMAP + i);

			memset(b, 0, BLOCK_BYTES);
			block_head_init(b, super()->head.fs_uuid, BT_BLOCK_BITMAP,
				start + GROUP_BITMAP + i, g);
			memset(b->bits, 0xff, sizeof(b->bits));
			seal(b);
		}
		header->flags = le32_of(GROUP_F_BITMAP_READY);
		seal(header);
	}
	for (unsigned i = 0; i < le16_get(l1->nr);
		i++) /* all of a leaf, so that it goes with them */
		l1->rec[i].pblk = l0->rec[i % le16_get(l0->nr)].pblk;
	seal(l1);
	repaired(NULL);
	ck_assert(found("blocks-shared-lost"));
	ck_assert_uint_eq(byte_of(dev, world.frag, 0), 'p');
	all_names_are_there();
}
END_TEST

/* --- superblock, journal, groups --- */

START_TEST(a_copy_stands_in_for_the_superblock) /* loop: how much of it is lost */
{
	if (_i == 0)
		memset(super(), 0, BLOCK_BYTES);
	else
		super()->nr_blocks = le64_of(3);
	repaired("super-damaged ");
	all_names_are_there();
}
END_TEST

START_TEST(the_copy_that_is_named_is_taken)
{
	const struct fsck_opts opts = {.mode = FSCK_YES, .alt_super = 524289};

	memset(super(), 0, BLOCK_BYTES);
	memset(world_block(dev, 262145), 0, BLOCK_BYTES);
	ck_assert_int_eq(
		fs_check(dev, &(struct fsck_opts){.mode = FSCK_YES, .alt_super = 262145}, &result),
		-ENODATA);
	ck_assert_ptr_nonnull(strstr(result.error, "262145"));
	ck_assert_int_eq(fs_check(dev, &opts, &result), 0);
	ck_assert_uint_eq(result.nr_fixed, 2); /* block 1, and the other copy */
	fsck_sound(dev);
	all_names_are_there();
}
END_TEST

START_TEST(an_image_in_the_journal_stands_in_for_the_superblock)
{
	memset(super(), 0, BLOCK_BYTES);
	memset(world_block(dev, 262145), 0, BLOCK_BYTES);
	memset(world_block(dev, 524289), 0, BLOCK_BYTES);
	repaired("super-damaged super-copy super-copy ");
	all_names_are_there();
}
END_TEST

START_TEST(a_disk_without_a_superblock_is_refused)
{
	struct blockdev *none;

	ck_assert_int_eq(mem_disk_open(65536, &none), 0);
	ck_assert_int_eq(fs_check(none, &(struct fsck_opts){.mode = FSCK_YES}, &result), -ENODATA);
	ck_assert_str_ne(result.error, "");
	blk_close(none);
}
END_TEST

START_TEST(features_that_nobody_knows_are_left_alone) /* loop: incompat, ro_compat */
{
	*(_i == 0 ? &super()->incompat : &super()->ro_compat) = le32_of(4);
	block_seal(super());
	ck_assert_int_eq(
		fs_check(dev, &(struct fsck_opts){.mode = FSCK_YES, .force = true}, &result),
		_i == 0 ? -EOPNOTSUPP : -EROFS);
	ck_assert_str_ne(result.error, "");
	ck_assert_uint_eq(cut_disk_nr_events(dev), 0);
}
END_TEST

START_TEST(a_journal_without_a_head_begins_anew)
{
	memset(world_block(dev, le64_get(super()->journal_start)), 0, BLOCK_BYTES);
	repaired("journal-head ");
	all_names_are_there();
}
END_TEST

START_TEST(block_0_says_that_the_disk_is_in_use)
{
	memset(world_block(dev, 0), 0, BLOCK_BYTES);
	world_repair(dev, &fsck_found, &result);
	ck_assert_str_eq(fsck_found.names, "boot-sector ");
}
END_TEST

START_TEST(a_group_that_lost_its_header_loses_nothing)
{
	memset(group_of(world.dir[_i]), 0, BLOCK_BYTES);
	repaired("group-header ");
	all_names_are_there();
}
END_TEST

START_TEST(a_bitmap_that_counts_as_unused_is_made)
{
	struct group_disk *g = group_of(world.dir[1]);

	g->flags = le32_of(0);
	seal(g);
	repaired("block-bitmap-flag ");
	all_names_are_there();
}
END_TEST

START_TEST(the_mark_of_damage_goes_with_a_repair)
{
	super()->state = le32_of(STATE_ERRORS);
	block_seal(super());
	ck_assert_int_eq(
		fs_check(dev, &(struct fsck_opts){.mode = FSCK_YES}, &result), 0); /* no force */
	ck_assert_uint_eq(result.nr_fixed, 1);
	ck_assert_uint_eq(le32_get(super()->state), STATE_CLEAN);
	fsck_sound(dev);
}
END_TEST

/* --- after a crash --- */

/* A disk that was never unmounted, with an inode that is open and has no name. */
static struct blockdev *crashed(uint64_t *unlinked)
{
	struct blockdev *at_work = world_copy(&world), *cut;
	struct memfs m = {.dev = at_work};
	struct fs_attr attr;

	memfs_mount(&m);
	ck_assert_int_eq(
		fs_mknod(m.t, FS_ROOT_INO, "open", S_IFREG | 0600, 0, &(struct fs_cred){0}, &attr),
		0);
	*unlinked = attr.ino;
	ck_assert_int_eq(fs_unlink(m.t, FS_ROOT_INO, "open"), 0);
	ck_assert_int_eq(fs_sync(m.t), 0);
	ck_assert_int_eq(cut_disk_cut(at_work, cut_disk_nr_events(at_work), CUT_ALL, 0, &cut), 0);
	fs_forget(m.t, attr.ino, 1);
	memfs_close(&m);
	return cut;
}

START_TEST(a_look_at_a_crashed_filesystem_replays_in_memory_only)
{
	uint64_t unlinked;
	struct blockdev *cut = crashed(&unlinked);

	ck_assert_int_eq(fsck_run(cut, FSCK_NO, &fsck_found, &result), 0);
	ck_assert_str_eq(fsck_found.names, "");
	ck_assert(result.journal_replayed);
	ck_assert_uint_eq(cut_disk_nr_events(cut), 0);
	blk_close(cut);
}
END_TEST

START_TEST(after_a_crash_the_replay_is_all_that_is_needed)
{
	uint64_t unlinked;
	struct blockdev *cut = crashed(&unlinked);

	ck_assert_int_eq(fs_check(cut, &(struct fsck_opts){.mode = FSCK_PREEN}, &result), 0);
	ck_assert(result.was_clean && result.journal_replayed);
	ck_assert_int_eq(fs_check(cut, &(struct fsck_opts){.mode = FSCK_PREEN}, &result), 0);
	ck_assert(result.was_clean && !result.journal_replayed);
	fsck_sound(cut);
	blk_close(cut);
}
END_TEST

/* Looped: the write, the flush. */
START_TEST(a_disk_that_fails_during_the_replay_costs_no_journal)
{
	void (*const fail[])(struct blockdev *, uint64_t) = {
		cut_disk_fail_writes, cut_disk_fail_flushes};
	uint64_t unlinked;
	struct blockdev *cut = crashed(&unlinked);

	fail[_i](cut, 1);
	ck_assert_int_eq(fsck_run(cut, FSCK_YES, &fsck_found, &result), -EIO);
	ck_assert_str_eq(fsck_found.names, "");
	fail[_i](cut, 0);
	ck_assert_int_eq(fs_check(cut, &(struct fsck_opts){.mode = FSCK_PREEN}, &result), 0);
	ck_assert(result.was_clean && result.journal_replayed);
	fsck_sound(cut);
	blk_close(cut);
}
END_TEST

START_TEST(a_clean_filesystem_with_a_journal_is_not_believed)
{
	uint64_t unlinked;
	struct blockdev *cut = crashed(&unlinked);
	struct super_disk *sb = world_block(cut, 1);

	sb->state = le32_of(STATE_CLEAN);
	block_seal(sb);
	ck_assert_int_eq(fsck_run(cut, FSCK_YES, &fsck_found, &result), 0);
	ck_assert_str_eq(fsck_found.names, "journal-not-empty ");
	fsck_sound(cut);
	blk_close(cut);
}
END_TEST

START_TEST(the_orphan_list_is_made_anew) /* loop: ways to break it */
{
	static const char *const names[] = {"orphan-list ", "orphan-list ",
		"orphan-named link-count orphan-list ", "orphan-list "};
	uint64_t unlinked;
	struct inode_disk *d;

	blk_close(dev);
	dev = crashed(&unlinked);
	ck_assert_int_eq(fs_check(dev, &(struct fsck_opts){.mode = FSCK_YES}, &result), 0);
	ck_assert_uint_eq(le64_get(super()->orphan_head), unlinked);
	d = inode(unlinked);
	switch (_i) {
	case 0: /* forgotten */
		super()->orphan_head = le64_of(0);
		break;
	case 1: /* a circle */
		d->orphan_next = le64_of(unlinked);
		break;
	case 2: /* a file in use is marked */
		d = inode(world.file);
		d->flags = le32_of(INODE_F_ORPHAN);
		d->nlink = le32_of(0);
		super()->orphan_head = le64_of(world.file);
		break;
	case 3: /* leads to nowhere */
		super()->orphan_head = le64_of(UINT64_MAX);
		break;
	}
	seal(d);
	block_seal(super());
	repaired(names[_i]);
	ck_assert_uint_eq(le64_get(super()->orphan_head), unlinked);
	all_names_are_there(); /* and the mount frees it */
	ck_assert_uint_eq(le64_get(inode(unlinked)->ino), 0);
}
END_TEST

/* The record that replay looks at first is made to promise more than it can hold. */
START_TEST(a_journal_that_makes_no_sense_begins_anew)
{
	uint64_t unlinked, start = le64_get(super()->journal_start);
	const struct journal_head_disk *head;
	struct journal_desc_disk *desc;

	blk_close(dev);
	dev = crashed(&unlinked);
	head = world_block(dev, start);
	desc = world_block(dev, start + le64_get(head->tail));
	ck_assert_uint_eq(le32_get(desc->head.magic), BT_JOURNAL_DESC);
	desc->nr = le32_of(JOURNAL_TAGS + 1);
	seal(desc);
	repaired(NULL);
	ck_assert(found("journal-record"));
	(void)nr_names(dev);
}
END_TEST

/* --- no room --- */

static void fill_up(struct memfs *m)
{
	struct fs_attr attr;
	uint64_t bytes = UINT64_C(1) << 30;

	ck_assert_int_eq(
		fs_mknod(m->t, FS_ROOT_INO, "all", S_IFREG | 0600, 0, &(struct fs_cred){0}, &attr),
		0);
	for (uint64_t at = 0; bytes >= BLOCK_BYTES; bytes /= 2)
		while (fs_fallocate(m->t, attr.ino, 0, at, bytes) == 0)
			at += bytes;
	fs_forget(m->t, attr.ino, 1);
}

START_TEST(a_full_disk_leaves_inodes_without_a_name_and_says_so)
{
	struct memfs m = {.dev = dev};
	struct dirent_disk *e;
	struct fs_attr attr;

	super()->reserved_blocks = le64_of(0); /* or there would be room */
	block_seal(super());
	memfs_mount(&m);
	fill_up(&m);
	ck_assert_int_eq(memfs_unmount(&m), 0);
	e = some_entry(world.dir[0], DT_REG);
	e->ino = le64_of(UINT64_C(1) << 40);
	seal(e);
	ck_assert_int_eq(fsck_run(dev, FSCK_YES, &fsck_found, &result), 0);
	ck_assert(found("attach-failed"));
	ck_assert_uint_eq(result.nr_left, 1);
	ck_assert_uint_eq(le32_get(super()->state) & STATE_CLEAN, 0);

	memfs_mount(&m); /* with room it is done */
	ck_assert_int_eq(fs_unlink(m.t, FS_ROOT_INO, "all"), 0);
	ck_assert_int_eq(memfs_unmount(&m), 0);
	world_repair(dev, &fsck_found, &result);
	ck_assert(lookup(FS_ROOT_INO, "lost+found", &attr));
	ck_assert_uint_eq(nr_names(dev), nr_names_at_first() + 1);
}
END_TEST

/* A new root whose two records both lead to what was the root. */
START_TEST(a_node_is_met_once)
{
	struct bitmap_disk *b = world_block(dev, group_start(world.frag) + GROUP_BITMAP);
	struct inode_disk *d = inode(world.frag);
	struct node_disk *old = node(world.frag), *top;
	struct fork_btree fork = {.height = le32_of(2)};
	uint32_t bit = 0;
	uint64_t block;

	while (b->bits[bit / 8] >> bit % 8 & 1)
		bit++;
	b->bits[bit / 8] |= (uint8_t)(1 << bit % 8);
	seal(b);
	block = group_start(world.frag) + bit;
	top = world_block(dev, block);
	memset(top, 0, BLOCK_BYTES);
	block_head_init(top, super()->head.fs_uuid, BT_EXTENT_NODE, block, world.frag);
	top->nr = le16_of(2);
	top->level = le16_of(2);
	top->rec[0].child = top->rec[1].child = le64_of(root_block(world.frag));
	top->rec[1].key = old->rec[1].key;
	seal(top);
	fork.root = le64_of(block);
	memcpy(d->fork, &fork, sizeof(fork));
	seal(d);
	repaired(NULL);
	ck_assert(found("tree-twice"));
	ck_assert_uint_eq(byte_of(dev, world.frag, 0), 'p');
	ck_assert_uint_eq(byte_of(dev, world.frag, (WORLD_PIECES - 1) * 8192U), 'p');
	all_names_are_there();
}
END_TEST

/* --- who decides --- */

static void damage_twice(void) /* once plain, once not */
{
	inode(world.dir[3])->parent_rdev = le64_of(FS_ROOT_INO);
	seal(inode(world.dir[3]));
	inode(world.full)->mode = le32_of(0);
	seal(inode(world.full));
}

START_TEST(a_clean_filesystem_is_not_looked_at)
{
	damage_twice();
	ck_assert_int_eq(fs_check(dev, &(struct fsck_opts){.mode = FSCK_YES}, &result), 0);
	ck_assert(result.was_clean);
	ck_assert_uint_eq(result.nr_problems, 0);
	ck_assert_uint_eq(cut_disk_nr_events(dev), 0);
}
END_TEST

START_TEST(a_look_writes_nothing)
{
	damage_twice();
	ck_assert_int_eq(fsck_run(dev, FSCK_NO, &fsck_found, &result), 0);
	ck_assert_uint_gt(result.nr_left, 1);
	ck_assert_uint_eq(result.nr_fixed, 0);
	ck_assert_uint_eq(cut_disk_nr_events(dev), 0);
}
END_TEST

START_TEST(preen_repairs_what_is_plain)
{
	inode(world.dir[3])->parent_rdev = le64_of(FS_ROOT_INO);
	seal(inode(world.dir[3]));
	ck_assert_int_eq(fsck_run(dev, FSCK_PREEN, &fsck_found, &result), 0);
	ck_assert_uint_eq(result.nr_fixed, 1);
	ck_assert(!result.needs_hand);
	fsck_sound(dev);
}
END_TEST

START_TEST(preen_stops_at_what_is_not)
{
	damage_twice();
	ck_assert_int_eq(fsck_run(dev, FSCK_PREEN, &fsck_found, &result), 0);
	ck_assert(result.needs_hand);
	ck_assert_str_eq(fsck_found.names, "inode-type-known ");
	ck_assert_uint_eq(result.nr_left, 1);
}
END_TEST

static int answers; /* of the questions: bits, the first the lowest */

static int answer(void *arg, const struct fsck_problem *p, bool dflt)
{
	int yes = answers & 1;

	(void)arg;
	ck_assert_ptr_nonnull(p->question);
	ck_assert(dflt);
	answers >>= 1;
	return yes;
}

static int stop(void *arg, const struct fsck_problem *p, bool dflt)
{
	(void)arg;
	(void)p;
	(void)dflt;
	return -1;
}

START_TEST(any_answers_are_lived_with) /* loop: patterns of answers */
{
	const struct fsck_opts opts = {.mode = FSCK_ASK, .force = true, .ask = answer};

	answers = _i;
	damage_twice();
	memset(leaf(world.names, 1), 0, BLOCK_BYTES);
	memset(node(world.frag), 0xff, 200);
	some_entry(world.dir[0], DT_REG)->ino = le64_of(999);
	seal(leaf(world.dir[0], 0));
	ck_assert_int_eq(fs_check(dev, &opts, &result), 0);
	ck_assert_uint_eq(result.nr_fixed + result.nr_left, result.nr_problems);
	ck_assert((le32_get(super()->state) & STATE_CLEAN) == 0 || result.nr_fixed == 0);
	world_repair(dev, &fsck_found, &result);
	(void)nr_names(dev);
}
END_TEST

START_TEST(an_end_of_the_answers_stops)
{
	damage_twice();
	ck_assert_int_eq(
		fs_check(dev, &(struct fsck_opts){.mode = FSCK_ASK, .force = true, .ask = stop},
			&result),
		0);
	ck_assert(result.stopped);
	ck_assert_uint_eq(result.nr_problems, 1);
	ck_assert_uint_eq(cut_disk_nr_events(dev), 0);
}
END_TEST

static bool cancel_now(void *arg)
{
	unsigned *left = arg;

	return (*left)-- == 0;
}

START_TEST(a_check_can_be_cancelled_anywhere)
{
	for (unsigned n = 0;; n++) {
		unsigned left = n;
		const struct fsck_opts opts = {
			.mode = FSCK_YES, .force = true, .cancelled = cancel_now, .arg = &left};
		int err;

		damage_twice();
		err = fs_check(dev, &opts, &result);
		if (err == 0)
			break;
		ck_assert_int_eq(err, -ECANCELED);
	}
	fsck_sound(dev);
}
END_TEST

/* --- repairs that are cut off --- */

/* The block at AT is written as it stands, so that cuts of the disk have it. */
static void write_back(const void *at)
{
	uint64_t block = (uint64_t)((const uint8_t *)at - cut_disk_bytes(dev)) / BLOCK_BYTES;
	uint8_t *page = blk_dma_alloc(dev, BLOCK_BYTES);
	struct blk_queue *q;

	ck_assert_int_eq(blk_queue_open(dev, &q), 0);
	memcpy(page, world_block(dev, block), BLOCK_BYTES);
	ck_assert_int_eq(cache_write_raw(q, block, 1, page), 0);
	ck_assert_int_eq(blk_do(q, BLK_FLUSH, 0, 0, NULL), 0);
	blk_queue_close(q);
	blk_dma_free(dev, page, BLOCK_BYTES);
}

/* A little of everything that takes several steps. */
static void damage_much(void)
{
	struct inode_disk *d = inode(world.file);
	void *hit[] = {leaf(world.dir[2], 0), group_of(world.dir[1]), d, leaf(world.frag, 1),
		leaf(world.dir[0], 0)};
	struct extent_disk e, other;

	memcpy(&other, inode(le64_get(some_entry(world.dir[1], DT_REG)->ino))->fork, sizeof(other));
	memcpy(&e, d->fork, sizeof(e));
	e.pblk = other.pblk;
	memcpy(d->fork, &e, sizeof(e));
	seal(d);
	some_entry(world.dir[0], DT_REG)->name[0] = 'F';
	seal(hit[4]);
	memset(hit[0], 0, BLOCK_BYTES);
	memset(hit[1], 0, BLOCK_BYTES);
	memset(hit[3], 0, BLOCK_BYTES);
	for (unsigned i = 0; i < 5; i++)
		write_back(hit[i]);
}

/* Who says clean is sound, or has not been touched: it has its NR_DAMAGES still. */
static void is_clean_or_says_so(struct blockdev *cut, unsigned nr_damages)
{
	ck_assert_int_eq(fs_check(cut, &(struct fsck_opts){.mode = FSCK_NO}, &result), 0);
	if (!result.was_clean)
		return;
	ck_assert_int_eq(fsck_run(cut, FSCK_NO, &fsck_found, &result), 0);
	ck_assert(result.nr_problems == 0 || result.nr_problems == nr_damages);
}

START_TEST(a_repair_that_is_cut_off_is_finished_by_the_next) /* loop: what a cut keeps */
{
	static const enum cut_keep keeps[] = {CUT_ALL, CUT_NONE, CUT_RANDOM, CUT_TORN};
	size_t first, nr_events, nr;
	uint64_t second = le64_get(some_entry(world.dir[1], DT_REG)->ino); /* of two with a block */
	unsigned nr_damages;

	damage_much();
	ck_assert_int_eq(fsck_run(dev, FSCK_NO, &fsck_found, &result), 0);
	nr_damages = fsck_found.nr;
	first = cut_disk_nr_events(dev);
	world_repair(dev, &fsck_found, &result);
	nr = nr_names(dev);
	nr_events = cut_disk_nr_events(dev);
	ck_assert_uint_gt(nr_events, first + 20);
	for (size_t at = first; at <= nr_events; at += 1 + at / 40) {
		struct blockdev *cut;

		ck_assert_int_eq(cut_disk_cut(dev, at, keeps[_i], at * 77 + 1, &cut), 0);
		is_clean_or_says_so(cut, nr_damages);
		world_repair(cut, &fsck_found, &result);
		ck_assert_uint_eq(nr_names(cut), nr);
		ck_assert_uint_eq(byte_of(cut, second, 0), 'b'); /* the copy is one */
		blk_close(cut);
	}
}
END_TEST

START_TEST(a_disk_that_fails_meanwhile_is_repaired_later) /* loop: writes, reads, flushes */
{
	void (*const fail[])(struct blockdev * d, uint64_t nth) = {
		cut_disk_fail_writes, cut_disk_fail_reads, cut_disk_fail_flushes};
	int err = -1;

	damage_much();
	for (uint64_t n = 1; err < 0; n += 1 + n / 8) {
		fail[_i](dev, n);
		err = fs_check(dev, &(struct fsck_opts){.mode = FSCK_YES, .force = true}, &result);
		if (err < 0)
			ck_assert_str_ne(result.error, "");
		fail[_i](dev, 0);
	}
	world_repair(dev, &fsck_found, &result);
	ck_assert_uint_ge(nr_names(dev), nr_names_at_first());
}
END_TEST

/* --- */

static void add(Suite *s, const char *name, void (*fill)(TCase *tc))
{
	TCase *tc = tcase_create(name);

	tcase_set_timeout(tc, 300);
	tcase_add_unchecked_fixture(tc, setup_world, teardown_world);
	tcase_add_checked_fixture(tc, setup, teardown);
	fill(tc);
	suite_add_tcase(s, tc);
}

static void add_contents(TCase *tc)
{
	tcase_add_loop_test(tc, a_wrong_key_costs_nothing, 0, 10);
	tcase_add_test(tc, keys_that_do_not_rise_cost_nothing);
	tcase_add_loop_test(tc, records_that_were_moved_are_sorted, 0, 2);
	tcase_add_test(tc, a_node_with_a_wrong_level_costs_nothing);
	tcase_add_loop_test(tc, a_checksum_costs_nothing_where_the_contents_are_sound, 0, 7);
	tcase_add_test(tc, a_record_that_leads_to_the_same_child_twice_is_dropped);
	tcase_add_test(tc, a_lost_leaf_of_a_file_is_a_hole);
	tcase_add_test(tc, extents_that_overlap_or_lie_are_dropped);
	tcase_add_loop_test(tc, a_field_of_an_inode_is_corrected, 0, 12);
	tcase_add_test(tc, an_inode_without_a_type_is_what_its_contents_are);
	tcase_add_test(tc, an_inode_without_type_and_contents_is_cleared);
	tcase_add_loop_test(tc, inodes_past_those_that_count_as_initialised_are_found, 0, 2);
	tcase_add_loop_test(tc, an_attribute_that_breaks_the_format_takes_only_what_follows, 0, 2);
	tcase_add_test(tc, a_list_of_attributes_that_goes_in_a_circle_ends);
	tcase_add_test(tc, an_attribute_is_not_there_twice);
}

static void add_names(TCase *tc)
{
	tcase_add_test(tc, a_leaf_without_slots_keeps_its_names);
	tcase_add_test(tc, a_lost_leaf_of_a_directory_costs_names_but_no_inode);
	tcase_add_test(tc, an_entry_of_another_hash_is_put_where_it_belongs);
	tcase_add_loop_test(tc, entries_that_can_not_be_are_dropped, 0, 5);
	tcase_add_test(tc, an_entry_of_another_type_is_corrected);
	tcase_add_test(tc, a_name_is_not_there_twice);
	tcase_add_test(tc, a_directory_that_does_not_lead_to_the_root_gets_to_lost_found);
	tcase_add_test(tc, a_directory_knows_its_parent);
	tcase_add_test(tc, without_a_root_all_is_in_lost_found);
}

static void add_space(TCase *tc)
{
	tcase_add_test(tc, who_shares_blocks_gets_a_copy);
	tcase_add_test(tc, metadata_keeps_a_shared_block);
	tcase_add_test(tc, without_room_for_a_copy_the_extent_is_dropped);
	tcase_add_loop_test(tc, a_copy_stands_in_for_the_superblock, 0, 2);
	tcase_add_test(tc, the_copy_that_is_named_is_taken);
	tcase_add_test(tc, an_image_in_the_journal_stands_in_for_the_superblock);
	tcase_add_test(tc, a_disk_without_a_superblock_is_refused);
	tcase_add_loop_test(tc, features_that_nobody_knows_are_left_alone, 0, 2);
	tcase_add_test(tc, a_journal_without_a_head_begins_anew);
	tcase_add_test(tc, block_0_says_that_the_disk_is_in_use);
	tcase_add_loop_test(tc, a_group_that_lost_its_header_loses_nothing, 0, 3);
	tcase_add_test(tc, a_bitmap_that_counts_as_unused_is_made);
	tcase_add_test(tc, the_mark_of_damage_goes_with_a_repair);
	tcase_add_test(tc, a_look_at_a_crashed_filesystem_replays_in_memory_only);
	tcase_add_test(tc, after_a_crash_the_replay_is_all_that_is_needed);
	tcase_add_loop_test(tc, a_disk_that_fails_during_the_replay_costs_no_journal, 0, 2);
	tcase_add_test(tc, a_clean_filesystem_with_a_journal_is_not_believed);
	tcase_add_loop_test(tc, the_orphan_list_is_made_anew, 0, 4);
	tcase_add_test(tc, a_journal_that_makes_no_sense_begins_anew);
	tcase_add_test(tc, a_full_disk_leaves_inodes_without_a_name_and_says_so);
	tcase_add_test(tc, a_node_is_met_once);
}

static void add_decisions(TCase *tc)
{
	tcase_add_test(tc, a_clean_filesystem_is_not_looked_at);
	tcase_add_test(tc, a_look_writes_nothing);
	tcase_add_test(tc, preen_repairs_what_is_plain);
	tcase_add_test(tc, preen_stops_at_what_is_not);
	tcase_add_loop_test(tc, any_answers_are_lived_with, 0, 32);
	tcase_add_test(tc, an_end_of_the_answers_stops);
	tcase_add_test(tc, a_check_can_be_cancelled_anywhere);
	tcase_add_loop_test(tc, a_repair_that_is_cut_off_is_finished_by_the_next, 0, 4);
	tcase_add_loop_test(tc, a_disk_that_fails_meanwhile_is_repaired_later, 0, 3);
}

int main(void)
{
	Suite *s = suite_create("check_repair");

	add(s, "contents", add_contents);
	add(s, "names", add_names);
	add(s, "space", add_space);
	add(s, "decisions", add_decisions);
	return run_suite(s);
}
