#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "parse_bytes.h"

bool parse_bytes(const char *text, uint64_t *out)
{
	static const char suffixes[] = {'K', 'M', 'G', 'T', 'P'};
	const char *suffix;
	unsigned shift = 0;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*out = strtoull(text, &end, 10);
	if (errno != 0)
		return false;
	if (*end != '\0') {
		suffix = memchr(suffixes, *end & ~0x20, sizeof(suffixes));
		if (suffix == NULL || end[1] != '\0')
			return false;
		shift = 10 * (unsigned)(suffix - suffixes + 1);
	}
	if (*out == 0 || *out > (uint64_t)INT64_MAX >> shift)
		return false;
	*out <<= shift;
	return true;
}
