#!/bin/sh
# A block of attributes counts more bytes than it has.
set -e
damage "$1" xblock /others/xattr_blocks 1 bytes=9999
