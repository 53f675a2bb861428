#!/bin/sh
# A long symbolic link is past the end of the disk.
set -e
damage "$1" inode /others/long fork.root=88888
