#!/bin/sh
# A block of attributes is zeros.
set -e
damage "$1" xblock /others/xattr_blocks 0 zero
