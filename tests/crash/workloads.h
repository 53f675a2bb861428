/* workloads.h - what is done before the power fails: every workload has a name that makes it again.
 *
 *	ace1:N		every sequence of one operation and a call that makes it durable, or none
 *	ace2:N		every sequence of two, after each such a call or none
 *	KIND:SEED	an area of its own each: see workloads_kinds()
 *
 * The sequences follow CrashMonkey's ACE in their bounds: its operations, four directories with two
 * files each. */
#ifndef VBLKFS_CRASH_WORKLOADS_H
#define VBLKFS_CRASH_WORKLOADS_H
#include "runner.h"

void workloads_init(void); /* once, before all else */
bool workload_by_name(const char *name, struct workload *out);
/* The INDEXth of a run with SEED. It never ends. *SHARE: how many states it is worth, of 100. */
void workload_by_index(uint64_t index, uint64_t seed, struct workload *out, uint32_t *share);
const char *workloads_kind(unsigned i); /* NULL: no more */

/* Between the files that make workloads. */
bool op_is_valid(const struct model *m, const struct op *op); /* would it succeed? */
struct op op_of(enum op_kind kind, const char *path);
uint64_t ace_count(unsigned nr_ops);
void ace_init(void);
void ace_make(unsigned nr_ops, uint64_t index, struct workload *out);
bool kind_make(const char *kind, uint64_t seed, struct workload *out);
unsigned kind_count(void);
const char *kind_name(unsigned i);
uint32_t kind_share(unsigned i);
#endif
