#!/bin/sh
# The leaf of the root is zeros.
set -e
damage "$1" tree / 0 zero
