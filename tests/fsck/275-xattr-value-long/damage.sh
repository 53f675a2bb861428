#!/bin/sh
# An attribute's value reaches beyond its block.
set -e
damage "$1" xattr /others/xattr_blocks 1 value_bytes=5000
