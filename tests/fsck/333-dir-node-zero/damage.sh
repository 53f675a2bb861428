#!/bin/sh
# The root of a large directory's tree is zeros.
set -e
damage "$1" tree /dirs/many 0 zero
