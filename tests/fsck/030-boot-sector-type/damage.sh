#!/bin/sh
# Block 0 has a partition of another type.
set -e
damage "$1" block 0 @450=83
