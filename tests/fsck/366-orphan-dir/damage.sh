#!/bin/sh
# A directory in use is on the orphan list.
set -e
damage "$1" inode /dirs flags=orphan
damage "$1" super state=0 "orphan_head=$(damage get "$1" dirent /dirs ino)"
