#!/bin/sh
# A tree's root is zeros.
set -e
damage "$1" tree /files/tree 0 zero
