#!/bin/sh
# An attribute of no known space.
set -e
damage "$1" xattr /others/xattr_inline 0 space=9
