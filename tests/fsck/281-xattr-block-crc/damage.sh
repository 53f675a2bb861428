#!/bin/sh
# A bit of a block of attributes flipped.
set -e
damage -k "$1" xblock /others/xattr_dir 0 @200=77
