#!/bin/sh
# A bit of the block bitmap flipped.
set -e
damage -k "$1" bit block 2000 set
