#!/bin/sh
# More extents than an inode has room for.
set -e
damage "$1" inode /files/three fork_count=200
