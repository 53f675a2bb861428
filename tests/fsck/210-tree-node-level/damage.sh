#!/bin/sh
# A node has the wrong level.
set -e
damage "$1" tree /files/tree 0 level=3
