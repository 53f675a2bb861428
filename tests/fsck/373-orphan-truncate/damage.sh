#!/bin/sh
# A file is to be cut short.
set -e
one=$(damage get "$1" dirent /files/one ino)
damage "$1" inode "$one" flags=3 size=8192
damage "$1" super state=0 "orphan_head=$one"
