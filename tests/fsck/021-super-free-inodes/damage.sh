#!/bin/sh
# The superblock counts one free inode too few.
set -e
damage "$1" super free_inodes-1
