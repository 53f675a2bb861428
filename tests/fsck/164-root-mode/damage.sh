#!/bin/sh
# The root is of no type.
set -e
damage "$1" inode 1 mode:zero
