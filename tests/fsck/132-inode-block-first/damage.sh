#!/bin/sh
# The first block of the inode table, with the root, is zeros.
set -e
damage "$1" block 13 zero
