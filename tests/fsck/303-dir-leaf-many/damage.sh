#!/bin/sh
# A leaf of a large directory is zeros.
set -e
damage "$1" tree /dirs/many 3 zero
