/* umount.h - umount.fuse.vblkfs: what umount(8) runs. */
#ifndef VBLKFS_UMOUNT_H
#define VBLKFS_UMOUNT_H

int umount_main(int argc, char **argv); /* returns the exit status, as umount(8) */
#endif
