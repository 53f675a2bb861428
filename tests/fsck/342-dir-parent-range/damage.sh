#!/bin/sh
# A directory has a parent that does not exist.
set -e
damage "$1" inode /dirs/few parent_rdev:ones
