/* human.h - amounts as people read them. */
#ifndef VBLKFS_HUMAN_H
#define VBLKFS_HUMAN_H

const char *human_bytes(unsigned long long bytes, char *out, unsigned len); /* 128.0 MiB */
const char *human_ns(double ns, char *out, unsigned len);                   /* 1.5 ms */
#endif
