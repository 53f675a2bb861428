#!/bin/sh
# A bit of the superblock flipped, and one group has no copy of it.
set -e
damage -k "$1" super @1000=01
