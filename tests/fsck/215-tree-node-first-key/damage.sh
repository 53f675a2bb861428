#!/bin/sh
# The first key of a node is not 0.
set -e
damage "$1" tree /files/tree 0 "rec[0].key=5"
