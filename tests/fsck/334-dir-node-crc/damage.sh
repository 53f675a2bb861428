#!/bin/sh
# A bit of a directory's node flipped.
set -e
damage -k "$1" tree /dirs/many 0 "rec[3].key:firstbit"
