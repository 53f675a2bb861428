#!/bin/sh
# A leaf of extents is zeros.
set -e
damage "$1" tree /files/tree 2 zero
