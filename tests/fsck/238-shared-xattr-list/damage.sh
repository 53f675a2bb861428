#!/bin/sh
# Two files have the same block of attributes.
set -e
damage "$1" inode /others/xattr_dir "xattr_block=$(damage get "$1" inode /others/xattr_blocks xattr_block)"
