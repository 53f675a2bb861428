#!/bin/sh
# A directory has another parent.
set -e
damage "$1" inode /dirs/a/b parent_rdev=2
