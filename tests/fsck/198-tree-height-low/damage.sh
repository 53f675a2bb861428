#!/bin/sh
# A tree is higher than it says.
set -e
damage "$1" inode /files/tree fork.height=0
