#!/bin/sh
# An extent in a leaf is past the end of the disk.
set -e
damage "$1" tree /files/leaf 0 "rec[4].pblk=999999"
