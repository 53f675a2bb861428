#!/bin/sh
# A file with a name has no links.
set -e
damage "$1" inode /files/empty nlink=0
