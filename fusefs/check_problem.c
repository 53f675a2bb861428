/* check_problem.c - all that fsck can find, in one table; and what is done about it.
 *
 * A problem's name is for scripts and never changes. In its words stand for what problem_at has: %i
 * inode, %b block, %g group, %x and %y numbers, %o the number x in octal, %s words, %n an entry's
 * name. Words and question begin small and have no full stop. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include "checker.h"

struct kind {
	const char *name, *words;
	const char *question; /* NULL: nothing can be done */
	bool preen;           /* the answer is plain, and nobody loses anything */
};

#define SAFE true
#define RISK false

static const struct kind kinds[NR_PROBLEMS] = {
	/* superblock and journal */
	[P_SUPER_DAMAGED] = {"super-damaged", "superblock: %s", "restore it from block %b", RISK},
	[P_SUPER_COUNTERS_RANGE] = {"super-counters-range", "superblock: a counter is out of range",
		"count anew", SAFE},
	[P_SUPER_COPY] = {"super-copy", "copy of the superblock in block %b: %s", "write it anew",
		SAFE},
	[P_SUPER_ERRORS] = {"super-errors", "damage was seen while it was mounted",
		"take the mark away", SAFE},
	[P_BOOT_SECTOR] = {"boot-sector", "block 0 does not say that the disk is in use",
		"write it anew", SAFE},
	[P_JOURNAL_HEAD] = {"journal-head", "head of the journal: %s",
		"begin an empty journal, without what was not at home yet", RISK},
	[P_JOURNAL_RECORD] = {"journal-record",
		"the journal holds a transaction that makes no sense",
		"begin an empty journal, without what was not at home yet", RISK},
	[P_JOURNAL_BEHIND] = {"journal-behind",
		"the journal holds %x whole transactions behind a damaged one", "pass them over",
		RISK},
	[P_JOURNAL_NOT_EMPTY] = {"journal-not-empty",
		"the superblock says clean, but the journal holds %x transactions", "replay them",
		SAFE},
	/* pass 1 */
	[P_GROUP_HEADER] = {"group-header", "group %g: header: %s", "make it anew", RISK},
	[P_GROUP_INODES_READY] = {"group-inodes-ready",
		"group %g: inodes are in use past the %x that are initialised", "count %y", RISK},
	[P_INODE_BLOCK] = {"inode-block", "group %g: block %b of the inode table %s",
		"keep of it what is sound", RISK},
	[P_INODE_NUMBER] = {"inode-number", "inode %i has the number %x", "correct it", RISK},
	[P_INODE_TYPE] = {"inode-type", "inode %i: mode %o is of no type of file",
		"clear the inode", RISK},
	[P_INODE_TYPE_KNOWN] = {"inode-type-known",
		"inode %i: mode %o is of no type of file, but its contents are those of %s",
		"take it as that", RISK},
	[P_INODE_MODE] = {"inode-mode", "inode %i: mode %o has bits that mean nothing",
		"clear them", SAFE},
	[P_INODE_SIZE] = {"inode-size", "inode %i: size of %x bytes is impossible", "set it to %y",
		RISK},
	[P_INODE_TIMES] = {"inode-times", "inode %i: a time has more than 999999999 nanoseconds",
		"set them to 0", SAFE},
	[P_INODE_FLAGS] = {"inode-flags", "inode %i: unknown flags %x", "clear them", SAFE},
	[P_INODE_TRUNCATING] = {"inode-truncating",
		"inode %i is being cut short, but is no file on the orphan list",
		"correct its flags", SAFE},
	[P_INODE_FORK] = {"inode-fork",
		"inode %i: contents of format %x, which its type can't have", "take it as empty",
		RISK},
	[P_INODE_FORK_COUNT] = {"inode-fork-count", "inode %i: counts %x extents, where none are",
		"set it to 0", SAFE},
	[P_EXTENT_COUNT] = {"extent-count",
		"inode %i: counts %x extents in block %b (0: in the inode)",
		"keep those that are sound", RISK},
	[P_EXTENT_FLAGS] = {"extent-flags",
		"inode %i: extent for block %x of the file has unknown flags (in block %b)",
		"clear them", SAFE},
	[P_EXTENT_INVALID] = {"extent-invalid",
		"inode %i: extent of %y blocks for block %x of the file is impossible (in block "
		"%b)",
		"drop it", RISK},
	[P_EXTENT_ORDER] = {"extent-order", "inode %i: extents are out of order (in block %b)",
		"sort them", SAFE},
	[P_EXTENT_OVERLAP] = {"extent-overlap",
		"inode %i: extent for block %x of the file overlaps the one before (in block %b)",
		"drop it", RISK},
	[P_EXTENT_RANGE] = {"extent-range",
		"inode %i: extent for block %x of the file is in the wrong leaf, block %b",
		"drop it", RISK},
	[P_TREE_ROOT] = {"tree-root", "inode %i: tree of height %x at block %b is impossible",
		"drop it", RISK},
	[P_TREE_HEIGHT] = {"tree-height",
		"inode %i: tree at block %b is said to be of height %x, and is of %y", "correct it",
		SAFE},
	[P_TREE_BLOCK] = {"tree-block", "inode %i: block %b of its tree %s",
		"drop it, and what it leads to", RISK},
	[P_TREE_CHECKSUM] = {"tree-checksum", "inode %i: block %b of its tree %s",
		"keep of it what is sound", RISK},
	[P_TREE_LEVEL] = {"tree-level", "inode %i: node %b says level %x, not %y", "correct it",
		SAFE},
	[P_TREE_COUNT] = {"tree-count", "inode %i: node %b counts %x records",
		"keep those that are sound", RISK},
	[P_TREE_ORDER] = {"tree-order", "inode %i: keys of node %b are out of order",
		"sort by what they lead to", RISK},
	[P_TREE_KEY] = {"tree-key", "inode %i: key %x of node %b is not that of what it leads to",
		"correct it", SAFE},
	[P_TREE_TWICE] = {"tree-twice", "inode %i: node %b is met a second time", "drop this path",
		RISK},
	[P_SYMLINK_TARGET] = {"symlink-target", "inode %i: symbolic link without a target",
		"clear the inode", RISK},
	[P_SYMLINK_SIZE] = {"symlink-size", "inode %i: size is %x, its target has %y bytes",
		"correct it", SAFE},
	[P_SYMLINK_BLOCK] = {"symlink-block", "inode %i: block %b of its target %s",
		"keep what is sound", RISK},
	[P_XATTR_BYTES] = {"xattr-bytes",
		"inode %i: counts %x bytes of extended attributes (in block %b)",
		"keep what is sound", RISK},
	[P_XATTR_ENTRY] = {"xattr-entry",
		"inode %i: extended attribute at byte %x of %y breaks the format (in block %b)",
		"drop it and those after it", RISK},
	[P_XATTR_FORM] = {"xattr-form",
		"inode %i: extended attribute at byte %x of %y breaks the format (in block %b), "
		"but its lengths do not",
		"drop it", RISK},
	[P_XATTR_TWICE] = {"xattr-twice",
		"inode %i: extended attribute at byte %x is there already (in block %b)", "drop it",
		RISK},
	[P_XATTR_BLOCK] = {"xattr-block", "inode %i: block %b of extended attributes %s",
		"drop it and those after it", RISK},
	[P_XATTR_CHECKSUM] = {"xattr-checksum", "inode %i: block %b of extended attributes %s",
		"keep of it what is sound", RISK},
	[P_XATTR_EMPTY] = {"xattr-empty", "inode %i: block %b of extended attributes is empty",
		"drop it", SAFE},
	[P_XATTR_LIST] = {"xattr-list",
		"inode %i: list of extended attributes goes on to block %b, after %x blocks",
		"end it there", RISK},
	[P_INODE_BLOCKS] = {"inode-blocks", "inode %i: counts %x blocks, has %y", "correct it",
		SAFE},
	[P_DIR_SIZE] = {"dir-size", "inode %i: directory of %x bytes, not of %y", "correct it",
		SAFE},
	[P_ROOT_TYPE] = {"root-type", "the root directory has mode %o, of another type",
		"make it a directory again", RISK},
	[P_ROOT_MISSING] = {"root-missing", "there is no root directory", "make an empty one",
		RISK},
	/* pass 2 */
	[P_DIR_LEAF] = {"dir-leaf", "directory %i: block %b: %s", "keep the names that are sound",
		RISK},
	[P_ENTRY_NAME] = {"entry-name", "directory %i: \"%n\" can't be a name", "drop it", RISK},
	[P_ENTRY_PLACE] = {"entry-place", "directory %i: \"%n\" is not where it is looked for",
		"put it there", RISK},
	[P_ENTRY_TWICE] = {"entry-twice", "directory %i: \"%n\" is there twice", "drop the second",
		RISK},
	[P_ENTRY_INODE] = {"entry-inode", "directory %i: \"%n\" leads to inode %x, which can't be",
		"drop it", RISK},
	[P_ENTRY_FREE] = {"entry-free", "directory %i: \"%n\" leads to inode %x, which is free",
		"drop it", RISK},
	[P_ENTRY_ROOT] = {"entry-root", "directory %i: \"%n\" leads to the root directory",
		"drop it", RISK},
	[P_ENTRY_DIR_TWICE] = {"entry-dir-twice",
		"directory %i: \"%n\" is a second name of directory %x", "drop it", RISK},
	[P_ENTRY_TYPE] = {"entry-type", "directory %i: \"%n\" has type %x, its inode type %y",
		"correct it", SAFE},
	/* pass 3 */
	[P_BLOCKS_SHARED] = {"blocks-shared",
		"inode %i: of its %x blocks from %b on, %y are another's, too", "give it copies",
		RISK},
	[P_BLOCKS_SHARED_LOST] = {"blocks-shared-lost",
		"inode %i: no room for copies of its %x blocks from %b on", "drop them from it",
		RISK},
	/* pass 4 */
	[P_DIR_PARENT] = {"dir-parent", "directory %i: parent is %x, not %y", "correct it", SAFE},
	[P_DIR_CYCLE] = {"dir-cycle", "directory %i is below itself", "take it out, to lost+found",
		RISK},
	[P_UNATTACHED] = {"unattached", "inode %i has no name", "give it one in lost+found", SAFE},
	[P_LINK_COUNT] = {"link-count", "inode %i: counts %x links, has %y", "correct it", SAFE},
	[P_ORPHAN_NAMED] = {"orphan-named", "inode %i is on the orphan list, but in use",
		"take it off", SAFE},
	[P_ORPHAN_LIST] = {"orphan-list",
		"orphan list: leads to %x inodes of %y (and to %i, which does not belong there)",
		"make it anew", SAFE},
	/* pass 5 */
	[P_BLOCK_BITMAP] = {"block-bitmap", "group %g: block %b of the block bitmap %s",
		"make it anew", SAFE},
	[P_BLOCK_BITMAP_FLAG] = {"block-bitmap-flag",
		"group %g: has blocks in use, and no block bitmap", "make it", SAFE},
	[P_BLOCKS_LEAKED] = {"blocks-leaked",
		"group %g: %x blocks from %b on are marked as in use, and are not", "free them",
		SAFE},
	[P_BLOCKS_UNMARKED] = {"blocks-unmarked",
		"group %g: %x blocks from %b on are in use, and marked as free", "mark them", SAFE},
	[P_INODE_BITMAP] = {"inode-bitmap", "group %g: block %b of the inode bitmap %s",
		"make it anew", SAFE},
	[P_INODES_LEAKED] = {"inodes-leaked",
		"group %g: %x inodes from %i on are marked as in use, and are not", "free them",
		SAFE},
	[P_INODES_UNMARKED] = {"inodes-unmarked",
		"group %g: %x inodes from %i on are in use, and marked as free", "mark them", SAFE},
	[P_GROUP_FREE_BLOCKS] = {"group-free-blocks", "group %g: counts %x free blocks, has %y",
		"correct it", SAFE},
	[P_GROUP_FREE_INODES] = {"group-free-inodes", "group %g: counts %x free inodes, has %y",
		"correct it", SAFE},
	[P_GROUP_DIRS] = {"group-dirs", "group %g: counts %x directories, has %y", "correct it",
		SAFE},
	[P_SUPER_FREE_BLOCKS] = {"super-free-blocks",
		"superblock: counts %x free blocks, there are %y", "correct it", SAFE},
	[P_SUPER_FREE_INODES] = {"super-free-inodes",
		"superblock: counts %x free inodes, there are %y", "correct it", SAFE},
	/* last */
	[P_ATTACH_FAILED] = {"attach-failed", "inode %i: no name could be made for it: %s", NULL,
		RISK},
};

struct text {
	char s[640];
	size_t n;
};

static void add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void add(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->s + t->n, sizeof(t->s) - t->n, fmt, ap);
	va_end(ap);
	if (n > 0)
		t->n += (size_t)n < sizeof(t->s) - t->n ? (size_t)n : sizeof(t->s) - t->n - 1;
}

/* A name is what anybody put on the disk: nothing of it may reach the terminal as a command. */
static void add_name(struct text *t, const char *name, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++) {
		unsigned char ch = (unsigned char)name[i];

		if (ch < 0x80 && (!isprint(ch) || ch == '"' || ch == '\\'))
			add(t, "\\%03o", ch);
		else
			add(t, "%c", ch);
	}
}

static void add_token(struct text *t, char token, const struct problem_at *at)
{
	switch (token) {
	case 'i':
		add(t, "%llu", (unsigned long long)at->ino);
		break;
	case 'b':
		add(t, "%llu", (unsigned long long)at->block);
		break;
	case 'g':
		add(t, "%u", at->group);
		break;
	case 'x':
		add(t, "%llu", (unsigned long long)at->x);
		break;
	case 'y':
		add(t, "%llu", (unsigned long long)at->y);
		break;
	case 'o':
		add(t, "%llo", (unsigned long long)at->x);
		break;
	case 's':
		add(t, "%s", at->s);
		break;
	case 'n':
		add_name(t, at->name, at->name_bytes);
		break;
	default:
		assert(false);
	}
}

static void expand(struct text *t, const char *words, const struct problem_at *at)
{
	t->n = 0;
	t->s[0] = '\0';
	for (; *words != '\0'; words++) {
		if (*words == '%')
			add_token(t, *++words, at);
		else
			add(t, "%c", *words);
	}
}

static bool decide(struct check *c, const struct fsck_problem *p)
{
	int answer;

	if (!p->fixable || c->stop)
		return false;
	switch (c->opts->mode) {
	case FSCK_NO:
		return c->nr_pinned < OVERLAY_BLOCKS; /* rule 3 */
	case FSCK_YES:
		return true;
	case FSCK_PREEN:
		c->out->needs_hand |= !p->preen;
		c->stop |= !p->preen;
		return p->preen;
	case FSCK_ASK:
		break;
	}
	answer = c->opts->ask == NULL ? 0 : c->opts->ask(c->opts->arg, p, true);
	if (answer < 0)
		c->stop = c->out->stopped = true;
	return answer > 0;
}

bool chk_fix(struct check *c, enum problem_code code, const struct problem_at *at)
{
	const struct kind *kind = &kinds[code];
	struct text words, question;
	struct fsck_problem p = {.code = code,
		.name = kind->name,
		.text = words.s,
		.ino = at->ino,
		.block = at->block,
		.fixable = kind->question != NULL,
		.preen = kind->preen};
	bool fix;

	expand(&words, kind->words, at);
	if (p.fixable) {
		expand(&question, kind->question, at);
		p.question = question.s;
	}
	fix = decide(c, &p);
	c->out->nr_problems++;
	if (fix && c->writes)
		c->out->nr_fixed++;
	else
		c->out->nr_left++;
	if (c->opts->report != NULL)
		c->opts->report(c->opts->arg, &p, fix && c->writes);
	return fix;
}

bool fs_check_problem(int code, struct fsck_problem *out)
{
	if (code < 0 || code >= NR_PROBLEMS)
		return false;
	*out = (struct fsck_problem){.code = code,
		.name = kinds[code].name,
		.text = kinds[code].words,
		.question = kinds[code].question,
		.fixable = kinds[code].question != NULL,
		.preen = kinds[code].preen};
	return true;
}

const char *chk_problem_name(enum problem_code code)
{
	return kinds[code].name;
}
