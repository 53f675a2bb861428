#!/bin/sh
# A leaf has no extents.
set -e
damage "$1" tree /files/tree 2 nr=0
