#!/bin/sh
# A node leads to another file's leaf.
set -e
damage "$1" tree /files/tree 0 "rec[2].child=$(damage get "$1" inode /files/leaf fork.root)"
