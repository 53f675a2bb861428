#!/bin/sh
# Header and bitmaps of the group are zeros.
set -e
damage "$1" group 0 zero
damage "$1" block 3 zero
damage "$1" block 12 zero
