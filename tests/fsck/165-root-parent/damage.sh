#!/bin/sh
# The root has another parent.
set -e
damage "$1" inode 1 parent_rdev=2
