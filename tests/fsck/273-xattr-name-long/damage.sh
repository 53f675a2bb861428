#!/bin/sh
# An attribute's name reaches beyond its area.
set -e
damage "$1" xattr /others/xattr_inline 1 name_bytes=255
