#!/bin/sh
# Attributes of no known space: each is dropped alone, and what comes after it in a block is kept.
set -e
damage "$1" xattr /others/xattr_inline 0 space=9
damage "$1" xattr /others/xattr_inline 1 space=9
damage "$1" xattr /others/xattr_blocks 0 space=9
