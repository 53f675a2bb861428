#!/bin/sh
# A directory is below itself, and nothing leads there.
set -e
a=$(damage get "$1" dirent /dirs/a ino)
damage "$1" dirent /dirs/a/b/deep "ino=$a" type=directory
damage "$1" inode "$a" "parent_rdev=$(damage get "$1" dirent /dirs/a/b ino)"
damage "$1" dirent /dirs/a remove
