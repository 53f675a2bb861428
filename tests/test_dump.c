/* test_dump.c - dump*.c: fields and their values; what a damaged disk may do to whoever looks at it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include "cut_disk.h"
#include "dump.h"
#include "cache.h"
#include "io_wait.h"
#include "memfs.h"

#define DISK_MIB 16U

static struct blockdev *disk;
static struct dump *d;
static uint64_t dir_ino, file_ino;

/* --- a sink that keeps the last document as text --- */

static char *shown;
static size_t shown_bytes, nr_shown, depth;
static FILE *to;

static void note_open(
	struct dump_out *o, const char *key, enum dump_form form, const struct dump_column *columns)
{
	(void)o;
	(void)columns;
	fprintf(to, "%s%c", key == NULL ? "" : key, form == DUMP_LIST ? '[' : '{');
	depth++;
}

static void note_close(struct dump_out *o)
{
	(void)o;
	ck_assert_uint_gt(depth, 0);
	depth--;
	fputs("}\n", to);
}

static void note_value(struct dump_out *o, const struct dump_value *value)
{
	char *text = dump_text(value);

	(void)o;
	ck_assert_ptr_nonnull(text);
	fprintf(to, "%s=%s;", value->key == NULL ? "" : value->key, text);
	nr_shown++;
	free(text);
}

static struct dump_out sink = {note_open, note_close, note_value};

static void begin(void)
{
	free(shown);
	shown = NULL;
	nr_shown = 0;
	to = open_memstream(&shown, &shown_bytes);
}

static void end(void)
{
	ck_assert_uint_eq(depth, 0);
	fclose(to);
}

#define SHOW(call)                           \
	do {                                 \
		begin();                     \
		ck_assert_int_eq((call), 0); \
		end();                       \
	} while (0)
#define HAS(words) ck_assert_msg(strstr(shown, (words)) != NULL, "%s is not in: %s", (words), shown)

/* --- a disk with a directory and a file of many extents --- */

static uint64_t make_node(struct fs_thread *t, uint64_t dir, const char *name, uint32_t mode)
{
	struct fs_attr a;

	ck_assert_int_eq(fs_mknod(t, dir, name, mode, 0, &(struct fs_cred){0}, &a), 0);
	fs_forget(t, a.ino, 1);
	return a.ino;
}

static void write_file(struct fs_thread *t, uint64_t ino, uint64_t block)
{
	void *buf = blk_dma_alloc(disk, FS_BLOCK_BYTES);
	struct fs_io io = {
		.ino = ino, .offset = block * FS_BLOCK_BYTES, .bytes = FS_BLOCK_BYTES, .buf = buf};

	ck_assert_int_eq(io_do(t, fs_write, &io), FS_BLOCK_BYTES);
	blk_dma_free(disk, buf, FS_BLOCK_BYTES);
}

static void populate(void)
{
	struct fs_thread *t;
	struct fs *fs;
	char name[64];

	ck_assert_int_eq(fs_mount(disk, NULL, &fs), 0);
	ck_assert_int_eq(fs_thread_open(fs, &t), 0);
	dir_ino = make_node(t, FS_ROOT_INO, "dir", S_IFDIR | 0755);
	file_ino = make_node(t, dir_ino, "file", S_IFREG | 0644);
	for (uint64_t i = 0; i < 200; i++)
		write_file(t, file_ino, 2 * i);
	for (int i = 0; i < 150; i++) {
		snprintf(name, sizeof(name), "a name long enough to fill leaves, number %d", i);
		make_node(t, dir_ino, name, S_IFIFO | 0600);
	}
	ck_assert_int_eq(fs_setxattr(t, file_ino, "user.a", "value", 5, 0), 0);
	fs_thread_close(t);
	ck_assert_int_eq(fs_unmount(fs), 0);
}

static void setup(void)
{
	struct mkfs_geometry geo;
	char err[128];

	ck_assert_int_eq(cut_disk_open(DISK_MIB * 2048, &disk), 0);
	ck_assert_int_eq(mkfs_write(disk, &(struct mkfs_opts){0}, &geo, err, sizeof(err)), 0);
	populate();
	ck_assert_int_eq(dump_open(disk, &d), 0);
}

static void teardown(void)
{
	dump_close(d);
	blk_close(disk);
	free(shown);
	shown = NULL;
}

static void reopen(void)
{
	dump_close(d);
	ck_assert_int_eq(dump_open(disk, &d), 0);
}

static uint8_t *block_at(uint64_t block)
{
	return cut_disk_bytes(disk) + block * BLOCK_BYTES;
}

static struct inode_disk *inode_at(uint64_t ino)
{
	struct dump_spot spot;

	ck_assert_int_eq(dump_inode_spot(d, ino, &spot), 0);
	return (struct inode_disk *)(void *)(block_at(spot.block) + spot.offset);
}

static uint64_t root_of(uint64_t ino)
{
	return le64_get(((struct fork_btree *)(void *)inode_at(ino)->fork)->root);
}

/* --- fields --- */

static const enum block_type types[] = {BT_SUPER, BT_GROUP, BT_BLOCK_BITMAP, BT_INODE_BITMAP,
	BT_INODES, BT_EXTENT_LEAF, BT_EXTENT_NODE, BT_DIR_LEAF, BT_DIR_NODE, BT_XATTR, BT_SYMLINK,
	BT_JOURNAL_HEAD, BT_JOURNAL_DESC, BT_JOURNAL_REVOKE, BT_JOURNAL_COMMIT};
#define NR_TYPES (sizeof(types) / sizeof(types[0]))

static void check_layout(const struct dump_layout *layout, unsigned from, unsigned bytes)
{
	for (unsigned i = 0; i < layout->nr_fields; i++) {
		const struct dump_field *f = &layout->field[i];

		ck_assert_uint_ge(f->offset, from);
		ck_assert_uint_gt(f->bytes, 0);
		ck_assert_uint_le(f->offset + f->bytes, bytes);
		ck_assert_ptr_eq(dump_find_field(layout, f->name), f); /* names are unique */
		for (unsigned k = 0; k < i; k++)
			ck_assert(f->offset >= layout->field[k].offset + layout->field[k].bytes ||
				  layout->field[k].offset >= f->offset + f->bytes);
		if (f->kind == DUMP_FLAGS || f->kind == DUMP_ENUM)
			ck_assert_ptr_nonnull(f->names);
	}
}

START_TEST(fields_of_each_block_lie_in_it_and_do_not_overlap)
{
	const struct dump_layout *layout = dump_layout_of(types[_i]);

	ck_assert_ptr_nonnull(layout);
	check_layout(layout, sizeof(struct block_head), BLOCK_BYTES);
	if (layout->records != NULL) {
		const struct dump_records *r = layout->records;

		check_layout(r->of, 0, r->bytes);
		ck_assert_uint_le(r->offset + r->max * r->bytes, BLOCK_BYTES);
		ck_assert(r->count == NULL || dump_find_field(layout, r->count) != NULL);
		for (unsigned i = 0; r->column != NULL && r->column[i] != NULL; i++)
			ck_assert_ptr_nonnull(dump_find_field(r->of, r->column[i]));
	}
}
END_TEST

START_TEST(a_path_leads_to_a_field)
{
	const struct dump_layout *inodes = dump_layout_of(BT_INODES);
	const struct dump_layout *leaf = dump_layout_of(BT_DIR_LEAF);
	unsigned at;

	ck_assert_ptr_nonnull(dump_find_path(inodes, "inode[14].nlink", &at));
	ck_assert_uint_eq(at, offsetof(struct inodes_disk, inode[14].nlink));
	ck_assert_ptr_nonnull(dump_find_path(inodes, "head.crc", &at));
	ck_assert_uint_eq(at, 4);
	ck_assert_ptr_nonnull(dump_find_path(leaf, "slot[3]", &at));
	ck_assert_uint_eq(at, 72 + 6);
	ck_assert_ptr_nonnull(dump_find_path(leaf, "heap_dead", &at));
	ck_assert_uint_eq(at, 68);
	ck_assert_ptr_null(dump_find_path(inodes, "inode[15].nlink", &at));
	ck_assert_ptr_null(dump_find_path(inodes, "inode[1]", &at));
	ck_assert_ptr_null(dump_find_path(inodes, "inode[1", &at));
	ck_assert_ptr_null(dump_find_path(inodes, "inode[-1].nlink", &at));
	ck_assert_ptr_null(dump_find_path(inodes, "nlink", &at));
	ck_assert_ptr_null(dump_find_path(leaf, "head.nlink", &at));
}
END_TEST

static void text_is(
	enum dump_kind kind, uint64_t n, const char *bytes, size_t len, const char *want)
{
	static const struct dump_name names[] = {{1, "one"}, {4, "four"}, {0, NULL}};
	struct dump_value v = {.kind = kind,
		.names = names,
		.number = n,
		.bytes = (const uint8_t *)bytes,
		.nr_bytes = len};
	char *text = dump_text(&v);

	ck_assert_str_eq(text, want);
	free(text);
}

START_TEST(values_are_shown_by_their_kind)
{
	text_is(DUMP_UINT, UINT64_MAX, NULL, 0, "18446744073709551615");
	text_is(DUMP_INT, UINT64_MAX, NULL, 0, "-1");
	text_is(DUMP_HEX, 255, NULL, 0, "0xff");
	text_is(DUMP_FLAGS, 5, NULL, 0, "one|four");
	text_is(DUMP_FLAGS, 10, NULL, 0, "0xa");
	text_is(DUMP_FLAGS, 0, NULL, 0, "-");
	text_is(DUMP_ENUM, 4, NULL, 0, "four");
	text_is(DUMP_ENUM, 9, NULL, 0, "9");
	text_is(DUMP_MODE, S_IFDIR | 01777, NULL, 0, "drwxrwxrwt");
	text_is(DUMP_MODE, S_IFREG | 06644, NULL, 0, "-rwSr-Sr--");
	text_is(DUMP_MODE, UINT32_MAX, NULL, 0, "?rwsrwsrwt");
	text_is(DUMP_TIME, 0, NULL, 0, "1970-01-01 00:00:00 UTC");
	text_is(DUMP_TIME, UINT64_MAX, NULL, 0, "1969-12-31 23:59:59 UTC");
	text_is(DUMP_TIME, INT64_MAX, NULL, 0, "9223372036854775807");
	text_is(DUMP_MAGIC, BT_SUPER, NULL, 0, "vbSB");
	text_is(DUMP_MAGIC, 7, NULL, 0, "0x7");
	text_is(DUMP_BYTES, 0, "\1\xff", 2, "01ff");
}
END_TEST

START_TEST(what_a_terminal_obeys_is_escaped)
{
	text_is(DUMP_TEXT, 0, "a\033[2Jb", 6, "a\\033[2Jb");
	text_is(DUMP_TEXT, 0, "back\\slash\n", 11, "back\\\\slash\\012");
	text_is(DUMP_TEXT, 0, "\xc3\xa4\xe2\x82\xac", 5, "\xc3\xa4\xe2\x82\xac");
	text_is(DUMP_TEXT, 0, "\xc2\x9b", 2, "\\302\\233");          /* C1 control */
	text_is(DUMP_TEXT, 0, "\xe2\x82", 2, "\\342\\202");          /* cut off */
	text_is(DUMP_TEXT, 0, "\xc0\xaf", 2, "\\300\\257");          /* overlong */
	text_is(DUMP_TEXT, 0, "\xed\xa0\x80", 3, "\\355\\240\\200"); /* surrogate */
	text_is(DUMP_TEXT, 0, "\xff", 1, "\\377");
}
END_TEST

/* --- a sound disk --- */

START_TEST(a_sound_disk_has_no_faults)
{
	SHOW(dump_summary(d, &sink));
	HAS("faults[}\nsignature=vblkfs;");
	HAS("nr_groups=1;");
	HAS("state=clean;");
	SHOW(dump_inode(d, &sink, file_ino));
	HAS("faults[}\nino=3;mode=-rw-r--r--;");
	HAS("name=user.a;value_bytes=5;value=value;");
	SHOW(dump_journal(d, &sink));
	HAS("faults[}\ntail_sequence");
	SHOW(dump_group(d, &sink, 0));
	HAS("free_block_runs[{first=");
}
END_TEST

START_TEST(a_path_is_followed)
{
	uint64_t ino;

	ck_assert_int_eq(dump_lookup(d, "/dir/file", &ino), 0);
	ck_assert_uint_eq(ino, file_ino);
	ck_assert_int_eq(dump_lookup(d, "//dir//file/", &ino), 0);
	ck_assert_int_eq(dump_lookup(d, "/", &ino), 0);
	ck_assert_uint_eq(ino, FS_ROOT_INO);
	ck_assert_int_eq(dump_lookup(d, "/dir/fil", &ino), -ENOENT);
	ck_assert_int_eq(dump_lookup(d, "/dir/file/x", &ino), -ENOTDIR);
}
END_TEST

START_TEST(structures_are_found)
{
	struct dump_spot spot;
	const struct extent_disk *e;
	uint64_t ino;

	ck_assert_int_eq(dump_extent_spot(d, file_ino, 199, &spot), 0);
	e = (const struct extent_disk *)(void *)(block_at(spot.block) + spot.offset);
	ck_assert_uint_eq(le64_get(e->lblk), 398);
	ck_assert_int_eq(dump_extent_spot(d, file_ino, 200, &spot), -ENOENT);
	ck_assert_int_eq(dump_dirent_spot(d, "/dir/file", &spot, &ino), 0);
	ck_assert(memcmp(block_at(spot.block) + spot.offset + 18, "file", 4) == 0);
	ck_assert_int_eq(dump_dirent_spot(d, "/", &spot, &ino), -EINVAL);
	ck_assert_int_eq(dump_inode_spot(d, 0, &spot), -EINVAL);
	ck_assert_int_eq(dump_inode_spot(d, UINT64_MAX, &spot), -EINVAL);
}
END_TEST

START_TEST(all_files_are_listed)
{
	SHOW(dump_files(d, &sink, FS_ROOT_INO, UINT64_MAX));
	HAS("path=/dir/file;");
	HAS("path=/dir/a name long enough to fill leaves, number 149;");
	ck_assert_uint_eq(nr_shown, 1 + 152 * 9);
	SHOW(dump_files(d, &sink, FS_ROOT_INO, 1));
	ck_assert_uint_eq(nr_shown, 1 + 9);
}
END_TEST

START_TEST(extents_and_their_tree_are_shown)
{
	SHOW(dump_extents(d, &sink, file_ino));
	HAS("fork_format=btree;");
	HAS("level=1;");
	HAS("lblk=398;");
}
END_TEST

/* --- a damaged one --- */

START_TEST(a_block_with_faults_is_shown_with_their_names)
{
	struct block_head *head = (struct block_head *)(void *)block_at(2);

	head->block = le64_of(7);
	head->owner = le64_of(9);
	head->fs_uuid[0] ^= 1;
	SHOW(dump_group(d, &sink, 0));
	HAS("=crc wrong;=written for block 7;=owner is not 0;=of another filesystem;");
	HAS("nr_dirs=2;");
}
END_TEST

START_TEST(a_superblock_with_a_wrong_checksum_still_leads_everywhere)
{
	block_at(1)[300] = 1;
	reopen();
	SHOW(dump_super(d, &sink));
	HAS("=crc wrong;");
	SHOW(dump_files(d, &sink, FS_ROOT_INO, UINT64_MAX));
	HAS("path=/dir/file;");
}
END_TEST

START_TEST(without_geometry_there_are_still_blocks)
{
	uint64_t ino;

	((struct super_disk *)(void *)block_at(1))->nr_groups = le32_of(0);
	reopen();
	SHOW(dump_super(d, &sink));
	HAS("fault=nr_groups does not fit nr_blocks;");
	SHOW(dump_block(d, &sink, 2));
	HAS("type=group header;");
	ck_assert_int_eq(dump_groups(d, &sink), -EUCLEAN);
	ck_assert_int_eq(dump_lookup(d, "/dir", &ino), -EUCLEAN);
	ck_assert_int_eq(dump_block(d, &sink, DISK_MIB * 256), -ENXIO);
}
END_TEST

START_TEST(a_tree_that_leads_to_itself_ends)
{
	struct node_disk *node = (struct node_disk *)(void *)block_at(root_of(file_ino));

	node->rec[1].child = le64_of(root_of(file_ino));
	SHOW(dump_extents(d, &sink, file_ino));
	HAS("fault=is in the tree twice;");
	node->rec[1].child = le64_of(2);
	SHOW(dump_extents(d, &sink, file_ino));
	HAS("fault=magic wrong: no leaf of this tree;");
	node->rec[1].child = le64_of(UINT64_MAX);
	SHOW(dump_extents(d, &sink, file_ino));
	HAS("past the end of the disk");
	node->level = le16_of(6);
	SHOW(dump_extents(d, &sink, file_ino));
	HAS("fault=level wrong;");
}
END_TEST

START_TEST(a_directory_in_itself_is_listed_once)
{
	struct dump_spot spot;
	struct dirent_disk *e;
	uint64_t ino;

	ck_assert_int_eq(dump_dirent_spot(d, "/dir/file", &spot, &ino), 0);
	e = (struct dirent_disk *)(void *)(block_at(spot.block) + spot.offset);
	e->ino = le64_of(FS_ROOT_INO);
	SHOW(dump_files(d, &sink, FS_ROOT_INO, UINT64_MAX));
	HAS("fault=of another type than the inode;path=/dir/file;");
	ck_assert_uint_eq(nr_shown, 1 + 152 * 9);
}
END_TEST

/* --- a journal --- */

static void cut(void)
{
	struct fs_thread *t;
	struct blockdev *after;
	struct fs *fs;
	size_t n;

	cut_disk_record(disk);
	ck_assert_int_eq(fs_mount(disk, NULL, &fs), 0);
	ck_assert_int_eq(fs_thread_open(fs, &t), 0);
	make_node(t, FS_ROOT_INO, "first", S_IFREG | 0644);
	ck_assert_int_eq(fs_sync(t), 0);
	make_node(t, FS_ROOT_INO, "second", S_IFREG | 0644);
	ck_assert_int_eq(fs_sync(t), 0);
	n = cut_disk_nr_events(disk);
	fs_thread_close(t);
	ck_assert_int_eq(fs_unmount(fs), 0);
	ck_assert_int_eq(cut_disk_cut(disk, n, CUT_ALL, 0, &after), 0);
	dump_close(d);
	blk_close(disk);
	disk = after;
	ck_assert_int_eq(dump_open(disk, &d), 0);
}

/* The Kth block after where the journal's tail is. */
static uint8_t *record_at(unsigned k)
{
	const struct journal_head_disk *head =
		(const struct journal_head_disk *)(void *)block_at(d->geo.journal_start);

	return block_at(d->geo.journal_start + le64_get(head->tail) + k);
}

START_TEST(the_journal_is_shown_up_to_where_it_ends)
{
	cut();
	SHOW(dump_journal(d, &sink));
	HAS("record=description;");
	HAS("record=commit;");
	HAS(": no record;");
	ck_assert_ptr_nonnull(strstr(strstr(shown, "whole=yes") + 1, "whole=yes"));
	ck_assert_ptr_null(strstr(shown, "whole=no"));

	record_at(1)[2000] ^= 1;
	SHOW(dump_journal(d, &sink));
	HAS("whole=no;");
	HAS(": crc wrong;");
	ck_assert_ptr_null(strstr(shown, "whole=yes"));
}
END_TEST

START_TEST(a_journal_of_nonsense_ends)
{
	struct journal_desc_disk *desc;
	struct journal_head_disk *head;

	cut();
	desc = (struct journal_desc_disk *)(void *)record_at(0);
	desc->nr = le32_of(UINT32_MAX);
	block_seal(desc);
	SHOW(dump_journal(d, &sink));
	HAS(": describes 4294967295 images;");
	desc->nr = le32_of(1);
	desc->tag[0].block = le64_of(d->geo.journal_start);
	block_seal(desc);
	SHOW(dump_journal(d, &sink));
	HAS(": has an image of block ");
	head = (struct journal_head_disk *)(void *)block_at(d->geo.journal_start);
	head->tail = le64_of(UINT64_MAX);
	SHOW(dump_journal(d, &sink));
	HAS("end=the head leads nowhere;");
}
END_TEST

/* --- anything --- */

static uint64_t rng = 1;

static uint64_t rnd(uint64_t below) /* xorshift64* */
{
	rng ^= rng >> 12;
	rng ^= rng << 25;
	rng ^= rng >> 27;
	return (rng * 0x2545f4914f6cdd1dULL >> 11) % below;
}

static void show_everything(const uint64_t *block, size_t nr)
{
	begin();
	(void)dump_summary(d, &sink);
	(void)dump_group(d, &sink, 0);
	(void)dump_files(d, &sink, FS_ROOT_INO, UINT64_MAX);
	(void)dump_extents(d, &sink, file_ino);
	(void)dump_extents(d, &sink, dir_ino);
	(void)dump_inode(d, &sink, file_ino);
	(void)dump_journal(d, &sink);
	for (size_t i = 0; i < nr; i++)
		(void)dump_block(d, &sink, block[i]);
	end();
}

/* The sanitizers judge. */
START_TEST(any_bytes_can_be_looked_at)
{
	static const uint8_t extremes[] = {0, 1, 0x7f, 0x80, 0xff};
	uint64_t targets[] = {1, 2, 3, 12, 13, root_of(file_ino), root_of(dir_ino),
		root_of(dir_ino) + 1, d->geo.journal_start, d->geo.journal_start + 1};
	size_t nr = sizeof(targets) / sizeof(targets[0]);

	rng = 1 + (uint64_t)_i;
	for (int round = 0; round < 12; round++) {
		uint8_t *b = block_at(targets[rnd(nr)]);

		for (int k = 0; k < 8; k++) /* magics mostly stay */
			b[8 + rnd(rnd(2) == 0 ? 120 : BLOCK_BYTES - 8)] =
				extremes[rnd(sizeof(extremes))];
		if (rnd(2) == 0)
			block_seal(b);
		reopen();
		show_everything(targets, nr);
	}
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("dump");
	TCase *tc = tcase_create("dump"), *any = tcase_create("any");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(
		tc, fields_of_each_block_lie_in_it_and_do_not_overlap, 0, (int)NR_TYPES);
	tcase_add_test(tc, a_path_leads_to_a_field);
	tcase_add_test(tc, values_are_shown_by_their_kind);
	tcase_add_test(tc, what_a_terminal_obeys_is_escaped);
	tcase_add_test(tc, a_sound_disk_has_no_faults);
	tcase_add_test(tc, a_path_is_followed);
	tcase_add_test(tc, structures_are_found);
	tcase_add_test(tc, all_files_are_listed);
	tcase_add_test(tc, extents_and_their_tree_are_shown);
	tcase_add_test(tc, a_block_with_faults_is_shown_with_their_names);
	tcase_add_test(tc, a_superblock_with_a_wrong_checksum_still_leads_everywhere);
	tcase_add_test(tc, without_geometry_there_are_still_blocks);
	tcase_add_test(tc, a_tree_that_leads_to_itself_ends);
	tcase_add_test(tc, a_directory_in_itself_is_listed_once);
	tcase_add_test(tc, the_journal_is_shown_up_to_where_it_ends);
	tcase_add_test(tc, a_journal_of_nonsense_ends);
	suite_add_tcase(s, tc);

	tcase_set_timeout(any, 60);
	tcase_add_checked_fixture(any, setup, teardown);
	tcase_add_loop_test(any, any_bytes_can_be_looked_at, 0, 12);
	suite_add_tcase(s, any);
	return s;
}

int main(void)
{
	return run_suite(suite());
}
