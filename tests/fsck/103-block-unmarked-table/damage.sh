#!/bin/sh
# A block of the inode table is marked as free.
set -e
damage "$1" bit block 20 clear
