/* canary.c - does anybody write into memory that is ours?
 *
 *	canary SECONDS
 *
 * Takes all hugepages of 2 MiB that are free, fills them with a pattern, waits, and looks. A device
 * that still writes where a dead driver told it to is seen so. Exit status 0: nothing has changed;
 * 1: something has, or there was no page to be had. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE_BYTES (2U << 20)
#define FREE_PAGES "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"

static size_t nr_free(void)
{
	FILE *f = fopen(FREE_PAGES, "re");
	size_t n = 0;

	if (f == NULL || fscanf(f, "%zu", &n) != 1)
		n = 0;
	if (f != NULL)
		(void)fclose(f);
	return n;
}

static uint64_t pattern(size_t i)
{
	return 0xc0ffee0000000000U + i * 0x9e3779b1U;
}

int main(int argc, char **argv)
{
	size_t nr = nr_free(), nr_words = nr * (PAGE_BYTES / sizeof(uint64_t)), nr_changed = 0;
	uint64_t *mem;

	if (argc != 2) {
		fputs("usage: canary SECONDS\n", stderr);
		return 2;
	}
	mem = mmap(NULL, nr * PAGE_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE, -1, 0);
	if (nr == 0 || mem == MAP_FAILED) {
		fprintf(stderr, "canary: %zu free hugepages: %s\n", nr, strerror(errno));
		return 1;
	}
	for (size_t i = 0; i < nr_words; i++)
		mem[i] = pattern(i);
	sleep((unsigned)atoi(argv[1]));
	for (size_t i = 0; i < nr_words; i++)
		nr_changed += ((volatile uint64_t *)mem)[i] != pattern(i);
	printf("canary: %zu pages of 2 MiB, %zu bytes changed\n", nr,
		nr_changed * sizeof(uint64_t));
	return nr_changed == 0 ? 0 : 1;
}
