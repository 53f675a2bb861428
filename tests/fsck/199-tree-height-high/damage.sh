#!/bin/sh
# A tree is lower than it says.
set -e
damage "$1" inode /files/leaf fork.height=1
