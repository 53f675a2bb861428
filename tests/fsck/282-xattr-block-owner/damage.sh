#!/bin/sh
# A block of attributes is another file's.
set -e
damage "$1" xblock /others/xattr_dir 0 head.owner=4
