#!/bin/sh
# A file's block is a directory's.
set -e
damage "$1" extent /files/small 0 "pblk=$(damage get "$1" inode /dirs/few fork.root)"
