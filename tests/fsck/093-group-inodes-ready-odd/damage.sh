#!/bin/sh
# inodes_ready is in the middle of a block.
set -e
damage "$1" group 0 inodes_ready+1
