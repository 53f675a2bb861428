#!/bin/sh
# The only leaf of a directory is zeros.
set -e
damage "$1" tree /dirs/few 0 zero
