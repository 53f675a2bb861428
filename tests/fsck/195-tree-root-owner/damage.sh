#!/bin/sh
# A tree's root is another file's.
set -e
damage "$1" tree /files/tree 0 head.owner=9
