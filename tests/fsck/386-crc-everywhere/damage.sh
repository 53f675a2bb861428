#!/bin/sh
# A bit flipped in each block of metadata of the group.
set -e
for block in 2 3 12 13 14 20 22; do
	damage -k "$1" block "$block" @4090=01
done
