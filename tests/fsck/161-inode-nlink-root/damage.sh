#!/bin/sh
# The link count of the root is too low.
set -e
damage "$1" inode / nlink=2
