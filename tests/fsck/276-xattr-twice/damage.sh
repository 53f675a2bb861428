#!/bin/sh
# A name is there twice.
set -e
damage "$1" xattr /others/xattr_inline 1 @4=6f6e65
