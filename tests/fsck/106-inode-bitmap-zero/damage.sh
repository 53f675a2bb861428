#!/bin/sh
# The inode bitmap is zeros.
set -e
damage "$1" block 12 zero
