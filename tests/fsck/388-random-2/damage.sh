#!/bin/sh
# Nonsense in the root's leaf and an inode.
set -e
damage "$1" tree / 0 random=10
damage "$1" inode 2 random=11
