/* test_check.c - fsck as a whole: whatever happens to a block of metadata, a repair ends with a
 * filesystem that is sound, can be used, and in which a second run finds nothing.
 *
 * VBLKFS_SEED chooses other random damage, VBLKFS_ROUNDS more of it. */
#include "fsck_world.h"

static struct world world;

static uint64_t metadata[4096]; /* blocks */
static unsigned nr_metadata;

static uint64_t rng;

static uint64_t rnd(uint64_t below) /* xorshift64* */
{
	rng ^= rng >> 12;
	rng ^= rng << 25;
	rng ^= rng >> 27;
	return (rng * 0x2545f4914f6cdd1dULL >> 11) % below;
}

static uint64_t env_number(const char *name, uint64_t otherwise)
{
	const char *s = getenv(name);

	return s == NULL ? otherwise : strtoull(s, NULL, 0);
}

/* All blocks with a head that is in order, but for those of the journal's ring. */
static void find_metadata(void)
{
	const struct super_disk *sb = world_block(world.m.dev, 1);
	uint64_t ring = le64_get(sb->journal_start) + 1,
		 end = le64_get(sb->journal_start) + le64_get(sb->journal_blocks);

	nr_metadata = 0;
	for (uint64_t b = 1; b < le64_get(sb->nr_blocks); b++) {
		const struct block_head *head = world_block(world.m.dev, b);

		if (le64_get(head->block) == b &&
			memcmp(head->fs_uuid, sb->head.fs_uuid, 16) == 0 && (b < ring || b >= end))
			metadata[nr_metadata++] = b;
	}
}

static void setup(void)
{
	world_open(&world);
	find_metadata();
}

static void teardown(void)
{
	world_close(&world);
}

START_TEST(a_sound_filesystem_has_no_problems)
{
	fsck_sound(world.m.dev);
	ck_assert_uint_eq(cut_disk_nr_events(world.m.dev), 0);
	ck_assert_uint_gt(nr_metadata, 60);
}
END_TEST

/* --- damage --- */

static void fill_random(uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)rnd(256);
}

/* A byte of those that mean something: of the first 512, or any. */
static unsigned some_byte(void)
{
	return (unsigned)(rnd(2) ? 64 + rnd(448) : rnd(BLOCK_BYTES));
}

static void zeros(uint8_t *b)
{
	memset(b, 0, BLOCK_BYTES);
}

static void noise(uint8_t *b)
{
	fill_random(b, BLOCK_BYTES);
}

static void half_noise(uint8_t *b)
{
	fill_random(b + BLOCK_BYTES / 2, BLOCK_BYTES / 2);
}

static void a_bit(uint8_t *b)
{
	b[rnd(BLOCK_BYTES)] ^= (uint8_t)(1 << rnd(8));
}

static void a_bit_of_the_head(uint8_t *b)
{
	b[rnd(sizeof(struct block_head) - 16)] ^= (uint8_t)(1 << rnd(8));
}

static void a_byte_sealed(uint8_t *b)
{
	b[some_byte()] = (uint8_t)rnd(256);
	block_seal(b);
}

static void bytes_sealed(uint8_t *b)
{
	for (int i = 0; i < 8; i++)
		b[some_byte()] = rnd(2) ? (uint8_t)rnd(256) : 0xff;
	block_seal(b);
}

static void a_number_sealed(uint8_t *b)
{
	unsigned at = some_byte() & ~7U;

	fill_random(b + at, 1 + rnd(8));
	block_seal(b);
}

/* Eight bytes move: fields change places, an order is broken. */
static void moved_sealed(uint8_t *b)
{
	unsigned from = some_byte() & ~7U, to = some_byte() & ~7U;

	memcpy(b + to, b + from, 8);
	block_seal(b);
}

static void one_up_sealed(uint8_t *b)
{
	unsigned at = some_byte() & ~3U;
	le32 v;

	memcpy(&v, b + at, 4);
	v = le32_of(le32_get(v) + (rnd(2) ? 1U : (uint32_t)-1));
	memcpy(b + at, &v, 4);
	block_seal(b);
}

static const struct {
	const char *name;
	void (*hit)(uint8_t *b);
	unsigned rounds;
} damages[] = {
	{"zeros", zeros, 1},
	{"noise", noise, 1},
	{"half noise", half_noise, 1},
	{"a bit", a_bit, 1},
	{"a bit of the head", a_bit_of_the_head, 1},
	{"a byte, sealed", a_byte_sealed, 2},
	{"bytes, sealed", bytes_sealed, 1},
	{"a number, sealed", a_number_sealed, 2},
	{"moved, sealed", moved_sealed, 1},
	{"one up, sealed", one_up_sealed, 1},
};
#define NR_DAMAGES (sizeof(damages) / sizeof(damages[0]))

/* Features that nobody knows are refused, and other versions, with reason: not what is tested here.
 */
static void forget_features(uint8_t *b)
{
	struct super_disk *sb = (struct super_disk *)b;
	bool sealed = le32_get(sb->head.crc) == block_crc(sb);

	if (le32_get(sb->head.magic) != BT_SUPER || !sealed)
		return;
	sb->ro_compat = sb->incompat = le32_of(0);
	sb->version = le32_of(FORMAT_VERSION);
	block_seal(sb);
}

static void damage_and_repair(const uint64_t *blocks, unsigned nr, void (*hit)(uint8_t *b))
{
	struct blockdev *dev = world_copy(&world);
	struct fsck_log log = {0};
	struct fsck_result out;

	for (unsigned i = 0; i < nr; i++) {
		hit(world_block(dev, blocks[i]));
		forget_features(world_block(dev, blocks[i]));
	}
	world_repair(dev, &log, &out);
	(void)world_use(dev);
	fsck_sound(dev);
	blk_close(dev);
}

START_TEST(any_block_that_is_hit_is_repaired) /* loop: kinds of damage */
{
	uint64_t rounds = damages[_i].rounds * env_number("VBLKFS_ROUNDS", 1);

	rng = env_number("VBLKFS_SEED", 0x5eed) + (uint64_t)_i * 7919;
	for (uint64_t round = 0; round < rounds; round++)
		for (unsigned i = 0; i < nr_metadata; i++) {
			printf("%s: block %llu, rng %#llx\n", damages[_i].name,
				(unsigned long long)metadata[i], (unsigned long long)rng);
			fflush(stdout);
			damage_and_repair(&metadata[i], 1, damages[_i].hit);
		}
}
END_TEST

START_TEST(any_blocks_that_are_hit_are_repaired) /* loop: kinds of damage */
{
	uint64_t rounds = 20 * env_number("VBLKFS_ROUNDS", 1);

	rng = env_number("VBLKFS_SEED", 0x5eed) + (uint64_t)_i * 104729;
	for (uint64_t round = 0; round < rounds; round++) {
		uint64_t blocks[12];
		unsigned nr = 2 + (unsigned)rnd(10);

		printf("%s: %u blocks, rng %#llx\n", damages[_i].name, nr, (unsigned long long)rng);
		fflush(stdout);
		for (unsigned i = 0; i < nr; i++)
			blocks[i] = metadata[rnd(nr_metadata)];
		damage_and_repair(blocks, nr, damages[_i].hit);
	}
}
END_TEST

static Suite *check_suite(void)
{
	Suite *s = suite_create("check");
	TCase *tc = tcase_create("sweeps");

	tcase_set_timeout(tc, 600);
	tcase_add_unchecked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_sound_filesystem_has_no_problems);
	tcase_add_loop_test(tc, any_block_that_is_hit_is_repaired, 0, NR_DAMAGES);
	tcase_add_loop_test(tc, any_blocks_that_are_hit_are_repaired, 0, NR_DAMAGES);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	return run_suite(check_suite());
}
