#!/bin/sh
# A bit of a tree's root flipped.
set -e
damage -k "$1" tree /files/tree 0 "rec[1].key+1"
