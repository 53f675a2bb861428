#!/bin/sh
# A block of the inode table has another group as its owner.
set -e
damage "$1" block 13 head.owner=3
