#!/bin/sh
# The root's inode is zeros.
set -e
damage "$1" inode 1 zero
