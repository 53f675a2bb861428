#!/bin/sh
# The root has lost all its names.
set -e
damage "$1" inode 1 fork_format=none fork.root=0 size=0 nr_blocks=0
