#!/bin/sh
# A tree's root is past the end of the disk.
set -e
damage "$1" inode /files/tree fork.root=100000
