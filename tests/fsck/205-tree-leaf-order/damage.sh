#!/bin/sh
# Extents of a leaf are out of order.
set -e
damage "$1" tree /files/tree 2 swap=3,9
