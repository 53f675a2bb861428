#!/bin/sh
# The second block of attributes is zeros.
set -e
damage "$1" xblock /others/xattr_blocks 1 zero
