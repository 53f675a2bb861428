#!/bin/sh
# A block of the inode table is overwritten with nonsense.
set -e
damage "$1" block 14 random=4
