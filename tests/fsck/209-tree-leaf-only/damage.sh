#!/bin/sh
# The only leaf of a file is zeros.
set -e
damage "$1" tree /files/leaf 0 zero
