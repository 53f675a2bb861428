#!/bin/sh
# A symbolic link is larger than a target can be.
set -e
damage "$1" inode /others/short size=100000
