#!/bin/sh
# A tree with a count of extents.
set -e
damage "$1" inode /files/tree fork_count=2
