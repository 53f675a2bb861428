#!/bin/sh
# An inode is of a type that does not exist.
set -e
damage "$1" inode /dirs/empty mode=0170755
