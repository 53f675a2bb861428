/* human.c - see human.h. */
#include <stdio.h>
#include "human.h"

const char *human_bytes(unsigned long long bytes, char *out, unsigned len)
{
	static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	double v = (double)bytes;
	unsigned u = 0;

	for (; v >= 1024 && u < 5; u++)
		v /= 1024;
	snprintf(out, len, u == 0 ? "%.0f %s" : "%.1f %s", v, unit[u]);
	return out;
}

const char *human_ns(double ns, char *out, unsigned len)
{
	static const char *const unit[] = {"ns", "us", "ms", "s"};
	unsigned u = 0;

	for (; ns >= 1000 && u < 3; u++)
		ns /= 1000;
	snprintf(out, len, "%.*f %s", ns < 10 && u > 0 ? 1 : 0, ns, unit[u]);
	return out;
}
