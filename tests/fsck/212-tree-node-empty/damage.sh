#!/bin/sh
# A node has no records.
set -e
damage "$1" tree /files/tree 0 nr=0
