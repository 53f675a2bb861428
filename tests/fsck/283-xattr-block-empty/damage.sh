#!/bin/sh
# A block of attributes is empty.
set -e
damage "$1" xblock /others/xattr_blocks 1 bytes=0
