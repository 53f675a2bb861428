#!/bin/sh
# A bit of a leaf of extents flipped.
set -e
damage -k "$1" tree /files/tree 2 @4090=01
