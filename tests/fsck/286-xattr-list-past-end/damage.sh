#!/bin/sh
# The list of attributes goes on past the end of the disk.
set -e
damage "$1" xblock /others/xattr_blocks 1 next:ones
