#!/bin/sh
# Extents of a leaf overlap.
set -e
damage "$1" tree /files/tree 2 "rec[5].nr_blocks=3"
