#!/bin/sh
# The link count of a file is too low.
set -e
damage "$1" inode /files/small nlink=1
