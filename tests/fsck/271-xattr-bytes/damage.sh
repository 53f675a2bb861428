#!/bin/sh
# An inode counts more bytes of attributes than it has.
set -e
damage "$1" inode /others/xattr_inline xattr_bytes=200
