#!/bin/sh
# The list of attributes goes in a circle.
set -e
damage "$1" xblock /others/xattr_blocks 1 "next=$(damage get "$1" inode /others/xattr_blocks xattr_block)"
