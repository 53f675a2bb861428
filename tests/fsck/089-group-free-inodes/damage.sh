#!/bin/sh
# The header counts one free inode too many.
set -e
damage "$1" group 0 free_inodes+1
