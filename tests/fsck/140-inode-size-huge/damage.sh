#!/bin/sh
# A file is larger than a file can be.
set -e
damage "$1" inode /files/small size:ones
