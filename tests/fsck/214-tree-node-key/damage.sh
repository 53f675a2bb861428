#!/bin/sh
# A key of a node is not what it leads to.
set -e
damage "$1" tree /files/tree 0 "rec[1].key+2"
