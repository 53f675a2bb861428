#!/bin/sh
# The link count of a file is too high.
set -e
damage "$1" inode /files/small nlink=7
