/* probes.h - static probes (USDT) of the provider vblkfs, for perf(1), bpftrace(8), SystemTap and
 * gdb(1).
 *
 * One that nobody watches is a nop. They need sys/sdt.h at build time (Debian: systemtap-sdt-dev);
 * without it they are nothing. What each has as arguments stands in vblkfs(8); all are integers. */
#ifndef VBLKFS_PROBES_H
#define VBLKFS_PROBES_H

#if defined(__has_include)
#if __has_include(<sys/sdt.h>)
#include <stdint.h>
#include <sys/sdt.h>
/* Of one width: gdb knows no name of a register's part, like r12b. */
#define PROBE2(name, a, b) DTRACE_PROBE2(vblkfs, name, (uint64_t)(a), (uint64_t)(b))
#define PROBE3(name, a, b, c) \
	DTRACE_PROBE3(vblkfs, name, (uint64_t)(a), (uint64_t)(b), (uint64_t)(c))
#define PROBE4(name, a, b, c, d) \
	DTRACE_PROBE4(vblkfs, name, (uint64_t)(a), (uint64_t)(b), (uint64_t)(c), (uint64_t)(d))
#endif
#endif

#ifndef PROBE2
#define PROBE2(name, a, b)       ((void)0)
#define PROBE3(name, a, b, c)    ((void)0)
#define PROBE4(name, a, b, c, d) ((void)0)
#endif
#endif
