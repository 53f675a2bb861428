#!/bin/sh
# The root is a file.
set -e
damage "$1" inode 1 mode=0100644
