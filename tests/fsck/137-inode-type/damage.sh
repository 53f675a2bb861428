#!/bin/sh
# An inode is of no type.
set -e
damage "$1" inode /files/small mode=0644
