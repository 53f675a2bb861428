#!/bin/sh
# A bit of the superblock flipped, in its padding.
# base: groups
set -e
damage -k "$1" super @1000=01
