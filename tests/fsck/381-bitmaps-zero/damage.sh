#!/bin/sh
# All bitmaps are zeros.
set -e
damage "$1" block 3 zero
damage "$1" block 12 zero
