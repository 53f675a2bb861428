#!/bin/sh
# A file counts more blocks than it has.
set -e
damage "$1" inode /files/one nr_blocks+5
