#!/bin/sh
# A name is there twice, in two blocks.
set -e
damage "$1" xattr /others/xattr_blocks 3 @4=7365636f6e64 name_bytes=6
