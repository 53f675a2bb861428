#!/bin/sh
# The first 16 blocks of the disk are zeros.
# base: groups
set -e
for block in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
	damage "$1" block "$block" zero
done
