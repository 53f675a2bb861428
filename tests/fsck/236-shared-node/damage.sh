#!/bin/sh
# A file's block is the root of another's tree.
set -e
damage "$1" extent /files/small 0 "pblk=$(damage get "$1" inode /files/tree fork.root)"
