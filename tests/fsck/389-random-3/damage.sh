#!/bin/sh
# An inode of nonsense.
set -e
damage "$1" inode /files/small random=12
