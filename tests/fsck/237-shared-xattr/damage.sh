#!/bin/sh
# A file's block is one of attributes.
set -e
damage "$1" extent /files/small 0 "pblk=$(damage get "$1" inode /others/xattr_dir xattr_block)"
