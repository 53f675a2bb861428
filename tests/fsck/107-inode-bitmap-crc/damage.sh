#!/bin/sh
# A bit of the inode bitmap flipped.
set -e
damage -k "$1" bit inode 500 set
