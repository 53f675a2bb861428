#!/bin/sh
# The block of attributes is past the end of the disk.
set -e
damage "$1" inode /others/xattr_dir xattr_block=77777
