#!/bin/sh
# A tree's root is overwritten with nonsense.
set -e
damage "$1" tree /files/tree 0 random=5
