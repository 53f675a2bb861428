#!/bin/sh
# An inode in use is marked as free.
set -e
damage "$1" bit inode 4 clear
