#!/bin/sh
# A block of the block bitmap is zeros.
set -e
damage "$1" block 3 zero
