#!/bin/sh
# An attribute has no name.
set -e
damage "$1" xattr /others/xattr_inline 1 name_bytes=0
