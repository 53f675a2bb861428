#!/bin/sh
# A directory with extents.
set -e
damage "$1" inode /dirs/few fork_format=extents fork_count=1
