#!/bin/sh
# A block of the inode table is zeros.
set -e
damage "$1" block 20 zero
