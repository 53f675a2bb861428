#!/bin/sh
# Each inode of a block is nonsense.
set -e
for ino in 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
	damage "$1" inode "$ino" random="$ino"
done
