#!/bin/sh
# Extents of an inode overlap.
set -e
damage "$1" extent /files/three 0 nr_blocks=3
