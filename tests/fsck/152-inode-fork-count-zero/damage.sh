#!/bin/sh
# Extents, but none are counted.
set -e
damage "$1" inode /files/three fork_count=0
