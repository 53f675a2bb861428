/* manyfiles.c - make, look at, read or remove many small files, and say how many a second.
 *
 *	manyfiles DIR create|stat|readdir|read|unlink COUNT
 *
 * The files are DIR/f000000 and on, of 4096 bytes each. Prints one number. */
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FILE_BYTES 4096

static uint8_t buf[FILE_BYTES];

static void create(const char *name)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0644);

	if (fd < 0 || write(fd, buf, sizeof(buf)) != (ssize_t)sizeof(buf) || close(fd) < 0)
		err(1, "create %s", name);
}

static void look(const char *name)
{
	struct stat st;

	if (stat(name, &st) < 0)
		err(1, "stat %s", name);
	if (st.st_size != FILE_BYTES)
		errx(1, "%s: %lld bytes", name, (long long)st.st_size);
}

static void read_one(const char *name)
{
	int fd = open(name, O_RDONLY);

	if (fd < 0 || read(fd, buf, sizeof(buf)) != (ssize_t)sizeof(buf) || close(fd) < 0)
		err(1, "read %s", name);
}

static void remove_one(const char *name)
{
	if (unlink(name) < 0)
		err(1, "unlink %s", name);
}

static void list(unsigned count)
{
	DIR *dir = opendir(".");
	unsigned n = 0;

	if (dir == NULL)
		err(1, "opendir");
	for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
		n += e->d_name[0] == 'f';
	closedir(dir);
	if (n != count)
		errx(1, "%u entries, not %u", n, count);
}

static const struct phase {
	const char *name;
	void (*one)(const char *name);
} phases[] = {
	{"create", create},
	{"stat", look},
	{"readdir", NULL}, /* all at once */
	{"read", read_one},
	{"unlink", remove_one},
};
#define NR_PHASES (sizeof(phases) / sizeof(phases[0]))

static void run(const struct phase *p, unsigned count)
{
	char name[16];

	if (p->one == NULL) {
		list(count);
		return;
	}
	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "f%06u", i);
		p->one(name);
	}
}

int main(int argc, char **argv)
{
	struct timespec a, b;
	unsigned count;

	if (argc != 4)
		errx(2, "usage: manyfiles DIR create|stat|readdir|read|unlink COUNT");
	if (chdir(argv[1]) < 0)
		err(1, "%s", argv[1]);
	count = (unsigned)strtoul(argv[3], NULL, 0);
	for (size_t i = 0; i < NR_PHASES; i++) {
		if (strcmp(phases[i].name, argv[2]) != 0)
			continue;
		clock_gettime(CLOCK_MONOTONIC, &a);
		run(&phases[i], count);
		clock_gettime(CLOCK_MONOTONIC, &b);
		printf("%.1f\n", count / ((double)(b.tv_sec - a.tv_sec) +
						 (double)(b.tv_nsec - a.tv_nsec) / 1e9));
		return 0;
	}
	errx(2, "no phase %s", argv[2]);
}
