/* oracle.h - is what a mount shows after a power cut among what the model allows?
 *
 * A failure cites the promise of vblkfs(5) that is broken. */
#ifndef VBLKFS_CRASH_ORACLE_H
#define VBLKFS_CRASH_ORACLE_H
#include "model.h"

struct moment {         /* of the workload at which the power was cut */
	uint32_t done;  /* the last operation that had ended */
	uint32_t begun; /* the last that had begun */
};

struct oracle;

struct oracle *oracle_open(void);
void oracle_close(struct oracle *o);
/* The disk DEV after a cut at moment AT: mount it, hold it against M, unmount it, check it offline;
 * THOROUGH: that before the mount, too, and then for reading only; and use it afterwards. ON_TREE
 * (NULL: nobody) is told what is there, line by line. False: WHY says what is wrong. */
bool oracle_check(struct oracle *o, struct blockdev *dev, const struct model *m, struct moment at,
	bool thorough, void (*on_tree)(const char *line), char *why, size_t why_bytes);
#endif
