/* log.h - where the driver's messages go: to syslog(3), unless whoever embeds it wants them. */
#ifndef VBLKFS_LOG_H
#define VBLKFS_LOG_H

/* A line without its newline; PRIORITY is syslog(3)'s. */
typedef void (*log_fn)(int priority, const char *line);

void log_line(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_to(log_fn fn); /* from now on; NULL: to syslog(3). Any thread */
#endif
