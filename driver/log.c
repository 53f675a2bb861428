#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <syslog.h>
#include "log.h"

static _Atomic(log_fn) sink;

void log_to(log_fn fn)
{
	atomic_store(&sink, fn);
}

void log_line(int priority, const char *format, ...)
{
	log_fn fn = atomic_load(&sink);
	char line[512];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (fn != NULL)
		fn(priority, line);
	else
		syslog(priority, "%s", line);
}
