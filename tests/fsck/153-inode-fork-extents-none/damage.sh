#!/bin/sh
# An empty file says that it has extents.
set -e
damage "$1" inode /files/empty fork_format=extents
