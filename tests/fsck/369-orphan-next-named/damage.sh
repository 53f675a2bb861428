#!/bin/sh
# The orphan list goes on to a file in use.
# base: orphan
set -e
head=$(damage get "$1" super orphan_head)
damage "$1" inode "$head" orphan_next="$(damage get "$1" dirent /files/small ino)"
