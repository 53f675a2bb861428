#!/bin/sh
# A leaf of extents is another file's.
set -e
damage "$1" tree /files/tree 2 head.owner=9
