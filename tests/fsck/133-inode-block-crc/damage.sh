#!/bin/sh
# A bit of a block of the inode table flipped.
set -e
damage -k "$1" inode /files/small mtime_ns+1
