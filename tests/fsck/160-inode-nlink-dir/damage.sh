#!/bin/sh
# The link count of a directory is too high.
set -e
damage "$1" inode /dirs nlink+3
